//! Random drivers: what a hostile guest puts into registers, rings and descriptors neither panics nor hangs a device.
//!
//! `VIRTIO_FUZZ_SECONDS` (10) and `VIRTIO_FUZZ_SEED` set how long and from where; a failure names the seed of its round.

use std::time::{Duration, Instant};

use bus::pci::{PciFunction, command, header};
use bus::{Clock, DevCtx, IrqLines, MmioAccess, Outbox, Width};
use random::Rng as Dice; // `Rng` is a device here
use storage::{BlockBackend, Completion, Disk, Request, Tag};
use virtio::blk::DiskOptions;
use virtio::console::{Port, PortKind};
use virtio::input::{InputEvent, InputKind};
use virtio::net::{Frame, NetBackend, Offloads};
use virtio::p9::{P9Backend, RequestId};
use virtio::{AnyDevice, Balloon, Blk, Console, Input, Net, P9, Rng, VirtioPci};

const RAM: usize = 256 << 10;
const BAR: usize = 4;
/// A transfer moves at most some thousands of chains of this RAM.
const LONGEST: Duration = Duration::from_secs(5);

/// A disk that takes its time, and ends requests in another order than they came.
struct Late {
    disk: Disk,
    held: Vec<Completion>,
    /// Polls since it last gave something back.
    patience: u32,
}

impl BlockBackend for Late {
    fn capacity(&self) -> u64 {
        self.disk.capacity()
    }

    fn read_only(&self) -> bool {
        self.disk.read_only()
    }

    fn submit(&mut self, tag: Tag, request: Request) {
        self.disk.submit(tag, request);
        while let Some(ended) = self.disk.poll() {
            self.held.push(ended);
        }
    }

    fn poll(&mut self) -> Option<Completion> {
        self.patience += 1;
        self.patience.is_multiple_of(7).then(|| self.held.pop()).flatten()
    }
}

/// A network and a file server that give everything back, the second one late.
#[derive(Default)]
struct Echo(Vec<Frame>, Vec<(RequestId, Vec<u8>)>);

impl NetBackend for Echo {
    fn send(&mut self, frame: Frame) {
        self.0.push(frame);
    }

    fn receive(&mut self, _: Offloads) -> Option<Frame> {
        self.0.pop()
    }
}

impl P9Backend for Echo {
    fn submit(&mut self, id: RequestId, message: Vec<u8>) {
        self.1.push((id, message));
    }

    fn poll(&mut self) -> Option<(RequestId, Vec<u8>)> {
        if self.1.len() % 3 == 1 { None } else { self.1.pop() }
    }

    fn reset(&mut self) {}
}

fn device(dice: &mut Dice) -> AnyDevice {
    match dice.below(8) {
        0 => Balloon::new().into(),
        1 => Console::new(vec![Some(Port::new(PortKind::Console)), Some(Port::unread(PortKind::Console))]).into(),
        2 => Input::new(InputKind::Keyboard).into(),
        3 => Net::new(Box::<Echo>::default(), [2; 6]).into(),
        4 => P9::new(Box::<Echo>::default(), "tag".into()).into(),
        5 => Rng::new(Box::new(|| 0x55)).into(),
        n => {
            let disk = Disk::memory("disk.img", vec![1; 64 << 10], dice.one_in(4));
            let late = Late { disk, held: Vec::new(), patience: 0 };
            let disk = Disk::memory("disk.img", vec![1; 64 << 10], dice.one_in(4));
            let backend: Box<dyn BlockBackend> = if n == 6 { Box::new(late) } else { Box::new(disk) };
            Blk::new(backend, DiskOptions::default()).into()
        }
    }
}

struct Guest {
    dev: VirtioPci<AnyDevice>,
    ram: Vec<u8>,
    irq: IrqLines,
    out: Outbox,
    /// Where queues, indirect tables and requests are.
    queues: Vec<[u64; 3]>,
    size: u64,
}

impl Guest {
    fn new(dice: &mut Dice) -> Self {
        let mut dev = VirtioPci::new(device(dice));
        dev.config_mut().write(header::COMMAND, Width::B2, u32::from(command::MEMORY | command::BUS_MASTER));
        let ram = (0..RAM).map(|_| (dice.next() >> 56) as u8 & if dice.one_in(3) { 0xff } else { 3 }).collect();
        let size = 1 << dice.below(6);
        Self { dev, ram, irq: IrqLines::default(), out: Outbox::default(), queues: Vec::new(), size }
    }

    fn write(&mut self, bar: usize, at: u64, width: Width, v: u64) {
        let mut cx = DevCtx { irq: &mut self.irq, out: &mut self.out, clock: Clock::default() };
        let _ = self.dev.bar_write(&mut cx, bar, MmioAccess::new(at, width), v);
    }

    fn read(&mut self, bar: usize, at: u64, width: Width) -> u64 {
        let mut cx = DevCtx { irq: &mut self.irq, out: &mut self.out, clock: Clock::default() };
        self.dev.bar_read(&mut cx, bar, MmioAccess::new(at, width)).ok().unwrap_or(0)
    }

    /// Negotiates, mostly as it should be.
    fn start(&mut self, dice: &mut Dice) {
        self.write(BAR, 20, Width::B1, 0);
        self.write(BAR, 20, Width::B1, 3);
        for word in 0..2 {
            self.write(BAR, 0, Width::B4, word);
            let offered = self.read(BAR, 4, Width::B4);
            self.write(BAR, 8, Width::B4, word);
            let mask = if dice.one_in(4) { dice.next() } else { u64::MAX };
            self.write(BAR, 12, Width::B4, offered & mask | word);
        }
        self.write(BAR, 20, Width::B1, 11);
        self.queues.clear();
        for q in 0..self.read(BAR, 18, Width::B2) {
            let mut part = || if dice.one_in(200) { dice.next() } else { dice.below(RAM as u64 / 16 - 64) * 16 };
            let parts = [part(), part(), part()];
            self.write(BAR, 22, Width::B2, q);
            self.write(BAR, 24, Width::B2, if dice.one_in(200) { dice.next() } else { self.size });
            for (at, v) in [32, 40, 48].into_iter().zip(parts) {
                self.write(BAR, at, Width::B8, v);
            }
            self.write(BAR, 28, Width::B2, 1);
            self.queues.push(parts);
            // indices begin at zero, as drivers let them
            if !dice.one_in(20) {
                parts[1..].iter().for_each(|at| self.put(at.wrapping_add(2), &[0, 0]));
            }
        }
        self.write(BAR, 20, Width::B1, 15);
    }

    fn put(&mut self, at: u64, bytes: &[u8]) {
        if let Some(room) = usize::try_from(at).ok().and_then(|at| self.ram.get_mut(at..at.checked_add(bytes.len())?)) {
            room.copy_from_slice(bytes);
        }
    }

    /// A request such as the device's driver sends, in descriptors of which one may be wrong: what it begins with, then
    /// buffers for the device to write. In an indirect table or not.
    fn honest(&mut self, dice: &mut Dice, q: u64) {
        let [table, available, _] = self.queues[q as usize];
        let mut parts: Vec<(u64, u32, u16)> = Vec::new();
        let room = |dice: &mut Dice, len: u64| dice.below(RAM as u64 - len);
        let head = self.head(dice, q);
        let at = room(dice, head.len() as u64);
        self.put(at, &head);
        parts.push((at, head.len() as u32, 0));
        for writable in [0, 2] {
            for _ in 0..dice.below(4) {
                let len = [512, 1024, 4096, 8, 1 + dice.below(6000)][dice.below(5) as usize];
                parts.push((room(dice, len), len as u32, writable));
            }
        }
        if dice.one_in(4) {
            parts.remove(0);
        }
        parts.push((room(dice, 1), 1, 2));
        if dice.one_in(8) {
            let n = dice.below(parts.len() as u64) as usize;
            parts[n] = (dice.next() >> dice.below(64), dice.next() as u32 >> dice.below(32), dice.below(8) as u16);
        }
        let indirect = dice.one_in(2);
        let direct = parts.len() as u64 <= self.size;
        let (to, first) = match indirect {
            true => (room(dice, 16 * parts.len() as u64) & !15, 0),
            false => (table, dice.below(self.size)),
        };
        let last = parts.len() - 1;
        for (i, (address, len, flags)) in parts.iter().enumerate() {
            let n = if indirect { i as u64 } else { (first + i as u64) % self.size };
            let next = if indirect { n + 1 } else { (n + 1) % self.size };
            let more = u16::from(i < last && (direct || indirect));
            self.descriptor(to, n, (*address, *len, flags | more), next as u16);
        }
        if indirect {
            self.descriptor(table, first, (to, 16 * parts.len() as u32, 4), 0);
        }
        self.offer(available, &[first as u16]);
    }

    /// What a request begins with, for whatever device this is.
    fn head(&self, dice: &mut Dice, q: u64) -> Vec<u8> {
        match self.dev.device() {
            AnyDevice::Blk(_) => {
                let kind = [0_u32, 0, 1, 1, 4, 8, 11, 13, 99][dice.below(9) as usize];
                let mut head = [kind, 0].map(u32::to_le_bytes).concat();
                head.extend((dice.below(140)).to_le_bytes());
                if kind == 11 || kind == 13 {
                    for _ in 0..dice.below(3) {
                        head.extend(dice.below(130).to_le_bytes());
                        head.extend([dice.below(9) as u32, dice.below(2) as u32].map(u32::to_le_bytes).concat());
                    }
                }
                head
            }
            AnyDevice::Console(_) if q == 3 => {
                let mut head = (dice.below(3) as u32).to_le_bytes().to_vec();
                head.extend([dice.below(9) as u16, dice.below(2) as u16].map(u16::to_le_bytes).concat());
                head
            }
            AnyDevice::P9(_) => {
                let len = 7 + dice.below(300) as u32;
                let mut head = len.to_le_bytes().to_vec();
                head.resize(len as usize, dice.next() as u8);
                head
            }
            AnyDevice::Balloon(_) => (0..dice.below(40)).flat_map(|_| (dice.below(80) as u32).to_le_bytes()).collect(),
            AnyDevice::Net(_) => {
                let mut head = vec![dice.below(3) as u8, dice.below(6) as u8];
                head.extend((0..10 + dice.below(1600)).map(|_| dice.next() as u8));
                head
            }
            _ => vec![0; dice.below(64) as usize],
        }
    }

    fn descriptor(&mut self, table: u64, n: u64, (address, len, flags): (u64, u32, u16), next: u16) {
        let mut d = Vec::from(address.to_le_bytes());
        d.extend(len.to_le_bytes());
        d.extend(flags.to_le_bytes());
        d.extend(next.to_le_bytes());
        self.put(table.wrapping_add(16 * n), &d);
    }

    /// A table of descriptors at random.
    fn describe(&mut self, dice: &mut Dice, table: u64) {
        for n in 0..self.size {
            let address = if dice.one_in(60) { dice.next() } else { dice.below(RAM as u64 - 5000) };
            let len = match dice.below(30) {
                0 => dice.next() as u32,
                1 => 0,
                2..10 => 16,
                _ => dice.below(5000) as u32,
            };
            let flags = if dice.one_in(20) { dice.below(8) as u16 } else { [0, 1, 1, 2, 3][dice.below(5) as usize] };
            let next = if dice.one_in(30) { dice.next() as u16 } else { ((n + 1) % self.size) as u16 };
            self.descriptor(table, n, (address, len, flags), next);
        }
    }

    fn step(&mut self, dice: &mut Dice) {
        // A device that has given up, or was never started, does nothing any more.
        if self.read(BAR, 20, Width::B1) & 0x44 != 4 && !dice.one_in(4) {
            self.start(dice);
        }
        match dice.below(12) {
            0 => {
                let at = dice.below(0x4000);
                let width = [Width::B1, Width::B2, Width::B4, Width::B8][dice.below(4) as usize];
                self.write(if dice.one_in(8) { 1 } else { BAR }, at, width, dice.next());
                self.read(if dice.one_in(8) { 1 } else { BAR }, at, width);
            }
            1 => {
                let at = dice.below(RAM as u64 - 8);
                self.put(at, &dice.next().to_le_bytes());
            }
            2 if dice.one_in(4) => self.start(dice),
            3 => self.outside(dice),
            4..10 if !self.queues.is_empty() => {
                let q = dice.below(self.queues.len() as u64);
                (0..=dice.below(3)).for_each(|_| self.honest(dice, q));
                self.write(BAR, 0x1000 + 4 * q, Width::B2, q);
            }
            _ => self.request(dice),
        }
        let mut cx = DevCtx { irq: &mut self.irq, out: &mut self.out, clock: Clock::default() };
        self.dev.transfer(&mut cx, &mut self.ram);
        while self.irq.take_msi().is_some() {}
    }

    /// Chains in a queue.
    fn request(&mut self, dice: &mut Dice) {
        if self.queues.is_empty() {
            return self.start(dice);
        }
        let q = dice.below(self.queues.len() as u64);
        let [table, available, _] = self.queues[q as usize];
        if dice.one_in(2) {
            self.describe(dice, table);
        }
        let head = |dice: &mut Dice| if dice.one_in(100) { dice.next() } else { dice.below(self.size) } as u16;
        let heads: Vec<_> = (0..dice.below(self.size + 1)).map(|_| head(dice)).collect();
        self.offer(available, &heads);
        self.write(BAR, 0x1000 + 4 * q, Width::B2, q);
    }

    /// Makes chains available in the ring there.
    fn offer(&mut self, available: u64, heads: &[u16]) {
        let index_at = available.wrapping_add(2);
        let index = usize::try_from(index_at).ok().and_then(|at| self.ram.get(at..at.checked_add(2)?));
        let mut index = index.map_or(0, |b| u16::from_le_bytes([b[0], b[1]]));
        for head in heads {
            self.put(available.wrapping_add(4 + 2 * (u64::from(index) % self.size)), &head.to_le_bytes());
            index = index.wrapping_add(1);
        }
        self.put(index_at, &index.to_le_bytes());
    }

    /// Something happens at the other end.
    fn outside(&mut self, dice: &mut Dice) {
        match self.dev.device_mut() {
            AnyDevice::Balloon(b) => {
                b.set_wanted(dice.next() as u32);
                b.ask_for_stats();
            }
            AnyDevice::Console(c) => {
                c.port_mut(0).unwrap().send(&[b'x'; 300]);
                c.port_mut(0).unwrap().take_output();
            }
            AnyDevice::Input(i) => {
                let _ = i.inject(&[InputEvent { kind: 1, code: 30, value: 1 }]);
            }
            _ => {}
        }
    }
}

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn random_drivers_neither_panic_nor_hang_a_device() {
    let end = Instant::now() + Duration::from_secs(setting("VIRTIO_FUZZ_SECONDS", 10));
    let first = setting("VIRTIO_FUZZ_SEED", 1);
    let mut chains = 0;
    for seed in first.. {
        if Instant::now() > end {
            break;
        }
        let begin = Instant::now();
        let round = std::panic::catch_unwind(|| {
            let mut dice = Dice(seed);
            let mut guest = Guest::new(&mut dice);
            guest.start(&mut dice);
            (0..200).for_each(|_| guest.step(&mut dice));
            // Used indices say how much was really done.
            let used = guest.queues.iter().map(|q| usize::try_from(q[2].wrapping_add(2)).unwrap_or(RAM));
            used.filter_map(|at| guest.ram.get(at..at.saturating_add(2)))
                .map(|b| u64::from(u16::from_le_bytes([b[0], b[1]])))
                .sum::<u64>()
        });
        match round {
            Ok(n) => chains += n,
            Err(_) => panic!("VIRTIO_FUZZ_SEED={seed}"),
        }
        assert!(begin.elapsed() < LONGEST, "VIRTIO_FUZZ_SEED={seed} took {:?}", begin.elapsed());
    }
    println!("{chains} chains were used");
    assert!(chains > 0);
}
