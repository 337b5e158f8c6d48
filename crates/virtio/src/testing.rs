//! A driver for tests: finds a device's structures by its capabilities, negotiates, and puts requests into its queues.

use bus::pci::{PciFunction, command, header};
use bus::{Clock, DevCtx, IrqLines, MmioAccess, Outbox, Width};

use crate::device::VirtioDevice;
use crate::spec::{feature, status};
use crate::transport::pci::VirtioPci;

const BAR: usize = 4;
const QUEUE_SIZE: u16 = 16;
pub const RAM: usize = 4 << 20;

/// Offsets of a queue's parts, and how far the driver is.
#[derive(Clone, Copy, Debug)]
pub struct Ring {
    pub descriptors: u64,
    pub available: u64,
    pub used: u64,
    pub size: u16,
    next_descriptor: u16,
    next_available: u16,
    next_used: u16,
}

/// A request in a queue: its first descriptor, and where the device is to write.
#[derive(Clone, Copy, Debug)]
pub struct Posted {
    pub head: u16,
    at: u64,
    len: usize,
}

/// A device, RAM, and a driver.
pub struct Rig<D> {
    pub dev: VirtioPci<D>,
    pub ram: Vec<u8>,
    pub irq: IrqLines,
    out: Outbox,
    pub rings: Vec<Ring>,
    /// Where the next buffer goes.
    free: u64,
}

impl<D: VirtioDevice> Rig<D> {
    /// A device after RST#.
    pub fn cold(device: D) -> Self {
        let mut dev = VirtioPci::new(device);
        dev.config_mut().write(header::COMMAND, Width::B2, u32::from(command::MEMORY | command::BUS_MASTER));
        let ram = vec![0; RAM];
        Self { dev, ram, irq: IrqLines::default(), out: Outbox::default(), rings: Vec::new(), free: 0x1000 }
    }

    /// A device whose driver accepts `features` and the transport's usual ones.
    pub fn new(device: D, features: u64) -> Self {
        let mut rig = Self::cold(device);
        rig.start(features | feature::VERSION_1 | feature::INDIRECT_DESC);
        rig
    }

    /// 3.1.1, all steps.
    pub fn start(&mut self, features: u64) {
        self.set(20, Width::B1, 0);
        assert_eq!(self.get(20, Width::B1), 0, "reset is done");
        self.set(20, Width::B1, (status::ACKNOWLEDGE | status::DRIVER).into());
        let offered = self.offered();
        assert_eq!(features & !offered, 0, "{features:#x} of {offered:#x}");
        for word in 0..2 {
            self.set(8, Width::B4, word);
            self.set(12, Width::B4, features >> (32 * word) & 0xffff_ffff);
        }
        let ready = status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK;
        self.set(20, Width::B1, ready.into());
        assert_eq!(self.get(20, Width::B1), ready.into());
        self.rings.clear();
        for q in 0..self.get(18, Width::B2) {
            self.set(22, Width::B2, q);
            self.setup_queue();
        }
        self.set(20, Width::B1, (ready | status::DRIVER_OK).into());
        self.work();
    }

    pub fn offered(&mut self) -> u64 {
        let mut word = |n| {
            self.set(0, Width::B4, n);
            self.get(4, Width::B4)
        };
        word(0) | word(1) << 32
    }

    /// The selected queue, with as many descriptors as it takes up to 16.
    fn setup_queue(&mut self) {
        let size = QUEUE_SIZE.min(self.get(24, Width::B2) as u16);
        self.set(24, Width::B2, size.into());
        let descriptors = self.allocate(16 * u64::from(size));
        let available = self.allocate(6 + 2 * u64::from(size));
        let used = self.allocate(6 + 8 * u64::from(size));
        for (at, address) in [(32, descriptors), (40, available), (48, used)] {
            self.set(at, Width::B4, address);
            self.set(at + 4, Width::B4, 0);
        }
        self.set(28, Width::B2, 1);
        let ring = Ring { descriptors, available, used, size, next_descriptor: 0, next_available: 0, next_used: 0 };
        self.rings.push(ring);
    }

    /// Zeroed RAM at a multiple of 16.
    pub fn allocate(&mut self, bytes: u64) -> u64 {
        if self.free + bytes > RAM as u64 {
            self.free = 1 << 20; // requests are short-lived
        }
        let at = self.free;
        self.free = (at + bytes).next_multiple_of(16);
        self.ram[at as usize..(at + bytes) as usize].fill(0);
        at
    }

    /// A read of the common structure.
    pub fn get(&mut self, at: u64, width: Width) -> u64 {
        self.read(at, width)
    }

    pub fn set(&mut self, at: u64, width: Width, v: u64) {
        self.write(at, width, v);
    }

    pub fn read(&mut self, at: u64, width: Width) -> u64 {
        let mut cx = DevCtx { irq: &mut self.irq, out: &mut self.out, clock: Clock::default() };
        self.dev.bar_read(&mut cx, BAR, MmioAccess::new(at, width)).ok().expect("readable")
    }

    pub fn write(&mut self, at: u64, width: Width, v: u64) {
        let mut cx = DevCtx { irq: &mut self.irq, out: &mut self.out, clock: Clock::default() };
        self.dev.bar_write(&mut cx, BAR, MmioAccess::new(at, width), v).ok().expect("writable");
    }

    pub fn status(&mut self) -> u8 {
        self.get(20, Width::B1) as u8
    }

    /// Whether the device has given up.
    pub fn needs_reset(&mut self) -> bool {
        self.status() & status::NEEDS_RESET != 0
    }

    pub fn put(&mut self, at: u64, bytes: &[u8]) {
        self.ram[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
    }

    pub fn u16_at(&self, at: u64) -> u16 {
        u16::from_le_bytes([self.ram[at as usize], self.ram[at as usize + 1]])
    }

    pub fn descriptor(&mut self, table: u64, n: u16, address: u64, len: u32, flags: u16, next: u16) {
        let mut d = Vec::from(address.to_le_bytes());
        d.extend(len.to_le_bytes());
        d.extend(flags.to_le_bytes());
        d.extend(next.to_le_bytes());
        self.put(table + 16 * u64::from(n), &d);
    }

    /// Makes descriptor `head` available.
    pub fn offer(&mut self, q: usize, head: u16) {
        let ring = &mut self.rings[q];
        let slot = ring.available + 4 + 2 * u64::from(ring.next_available % ring.size);
        ring.next_available = ring.next_available.wrapping_add(1);
        let (index_at, index) = (ring.available + 2, ring.next_available);
        self.put(slot, &head.to_le_bytes());
        self.put(index_at, &index.to_le_bytes());
    }

    /// A request: `out` for the device to read in pieces, then `len` bytes to write.
    pub fn post(&mut self, q: usize, out: &[&[u8]], len: usize) -> Posted {
        let mut parts: Vec<(u64, u32, bool)> = Vec::new();
        for bytes in out {
            let at = self.allocate(bytes.len() as u64);
            self.put(at, bytes);
            parts.push((at, bytes.len() as u32, false));
        }
        let at = self.allocate(len as u64);
        if len > 0 {
            // in two pieces, of which the second is what does not fit a round size
            let first = len - len % 64;
            for (at, n) in [(at, first), (at + first as u64, len % 64)] {
                if n > 0 {
                    parts.push((at, n as u32, true));
                }
            }
        }
        let (table, size) = (self.rings[q].descriptors, self.rings[q].size);
        let first = self.rings[q].next_descriptor;
        let count = parts.len() as u16;
        for (i, (at, n, writable)) in (0..).zip(parts) {
            let last = i + 1 == count;
            let flags = u16::from(!last) | u16::from(writable) << 1;
            self.descriptor(table, (first + i) % size, at, n, flags, (first + i + 1) % size);
        }
        self.rings[q].next_descriptor = (first + count) % size;
        self.offer(q, first);
        Posted { head: first, at, len }
    }

    /// Rings for a queue and lets the device work, if it wants to.
    pub fn kick(&mut self, q: usize) {
        self.write(0x1000 + 4 * q as u64, Width::B2, q as u64);
        self.work();
    }

    pub fn work(&mut self) {
        let mut cx = DevCtx { irq: &mut self.irq, out: &mut self.out, clock: Clock::default() };
        self.dev.transfer(&mut cx, &mut self.ram);
    }

    /// What came back: heads and lengths.
    pub fn used(&mut self, q: usize) -> Vec<(u16, u32)> {
        let mut found = Vec::new();
        let index = self.u16_at(self.rings[q].used + 2);
        while self.rings[q].next_used != index {
            let ring = &mut self.rings[q];
            let at = (ring.used + 4 + 8 * u64::from(ring.next_used % ring.size)) as usize;
            ring.next_used = ring.next_used.wrapping_add(1);
            let word = |at: usize| u32::from_le_bytes(self.ram[at..at + 4].try_into().unwrap());
            found.push((word(at) as u16, word(at + 4)));
        }
        found
    }

    /// The bytes that a request was to write.
    pub fn written(&self, p: Posted) -> &[u8] {
        &self.ram[p.at as usize..p.at as usize + p.len]
    }

    /// Posts a request, lets the device work, and gives what it wrote.
    pub fn request(&mut self, q: usize, out: &[&[u8]], len: usize) -> Vec<u8> {
        let posted = self.post(q, out, len);
        self.kick(q);
        let used = self.used(q);
        assert_eq!(used.len(), 1, "answered");
        assert_eq!(used[0].0, posted.head);
        let written = self.written(posted);
        written[..(used[0].1 as usize).min(written.len())].to_vec()
    }
}
