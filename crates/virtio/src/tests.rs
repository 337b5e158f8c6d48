//! Queues and transports, checked by a driver that does what the specification allows and what it forbids.

use bus::pci::{PciFunction, header};
use bus::{Clock, DevCtx, Device, Dma, IrqLines, Line, Master, MmioAccess, Msi, Outbox, Width};

use crate::Rng;
use crate::spec::{feature, status};
use crate::testing::{RAM, Rig};
use crate::transport::mmio::VirtioMmio;

fn rng() -> Rng {
    let mut n = 0_u64;
    Rng::new(Box::new(move || {
        n = n.wrapping_add(0x0101_0101_0101_0101);
        n
    }))
}

fn rig() -> Rig<Rng> {
    Rig::new(rng(), 0)
}

#[test]
fn a_request_is_answered_and_interrupts() {
    let mut r = rig();
    let posted = r.post(0, &[], 20);
    assert!(!r.dev.intx());
    r.kick(0);
    assert_eq!(r.used(0), [(posted.head, 20)]);
    let mut want = [1_u8; 8].to_vec();
    want.extend([2; 8]);
    want.extend([3; 4]);
    assert_eq!(r.written(posted), want);
    assert!(r.dev.intx());
    assert_eq!((r.read(0x2000, Width::B1), r.read(0x2000, Width::B1)), (1, 0), "reading the ISR clears it");
    assert!(!r.dev.intx());
}

#[test]
fn the_ring_goes_round() {
    let mut r = rig();
    for n in 0..70_000_u32 {
        assert_eq!(r.request(0, &[], 1).len(), 1, "{n}");
    }
}

#[test]
fn a_driver_that_wants_no_interrupt_gets_none() {
    let mut r = rig();
    let flags = r.rings[0].available;
    r.put(flags, &[1, 0]);
    r.request(0, &[], 4);
    assert!(!r.dev.intx());
    r.put(flags, &[0, 0]);
    r.request(0, &[], 4);
    assert!(r.dev.intx());
}

#[test]
fn event_indices_limit_interrupts_and_notifications() {
    let mut r = Rig::cold(rng());
    r.start(feature::VERSION_1 | feature::EVENT_IDX);
    let (size, available, used) = (r.rings[0].size, r.rings[0].available, r.rings[0].used);
    let used_event = available + 4 + 2 * u64::from(size);
    let avail_event = used + 4 + 8 * u64::from(size);
    r.put(used_event, &2_u16.to_le_bytes());
    r.request(0, &[], 4);
    assert!(r.dev.intx(), "the first time the device cannot know better");
    r.read(0x2000, Width::B1);
    assert_eq!(r.u16_at(avail_event), 1, "notify when the second request is there");
    r.request(0, &[], 4);
    assert!(!r.dev.intx());
    r.request(0, &[], 4);
    assert!(r.dev.intx(), "the index has passed 2");
    r.read(0x2000, Width::B1);
    r.request(0, &[], 4);
    assert!(!r.dev.intx());
    assert_eq!(r.u16_at(avail_event), 4);
}

/// A chain of `n` bytes in an indirect table of one descriptor each.
fn indirect(r: &mut Rig<Rng>, n: u16, table_bytes: u32, flags: u16, inner_flags: u16) {
    let table = r.allocate(16 * u64::from(n));
    let data = r.allocate(n.into());
    for i in 0..n {
        let more = u16::from(i + 1 < n);
        r.descriptor(table, i, data + u64::from(i), 1, 2 | more | inner_flags, i + 1);
    }
    let ring = r.rings[0].descriptors;
    r.descriptor(ring, 0, table, table_bytes, flags, 1);
    r.offer(0, 0);
    r.kick(0);
}

#[test]
fn an_indirect_table_is_followed_once() {
    let mut r = rig();
    indirect(&mut r, 100, 1600, 4, 0);
    assert_eq!(r.used(0), [(0, 100)]);
    for (n, bytes, flags, inner) in [
        (2, 24, 4, 0),          // not a whole number of descriptors
        (2, 0, 4, 0),           // empty
        (2, 16, 4, 0),          // shorter than its chain
        (2, 32, 5, 0),          // with a next descriptor
        (1, 16, 4, 4),          // a table in a table
        (2, 16 * 1025, 4, 0),   // too long
        (2, 0xffff_fff0, 4, 0), // not in RAM
    ] {
        r = rig();
        indirect(&mut r, n, bytes, flags, inner);
        assert!(r.needs_reset(), "{n} {bytes} {flags} {inner}");
    }
    r = Rig::cold(rng());
    r.start(feature::VERSION_1);
    indirect(&mut r, 2, 32, 4, 0);
    assert!(r.needs_reset(), "not negotiated");
}

#[test]
fn wrong_chains_stop_the_device_until_a_reset() {
    type Spoil = fn(&mut Rig<Rng>);
    let cases: &[(&str, Spoil)] = &[
        ("a loop", |r| {
            let t = r.rings[0].descriptors;
            r.descriptor(t, 0, 0x1000, 1, 3, 1);
            r.descriptor(t, 1, 0x1000, 1, 3, 0);
            r.offer(0, 0);
        }),
        ("a next beyond the table", |r| {
            let t = r.rings[0].descriptors;
            r.descriptor(t, 0, 0x1000, 1, 3, 16);
            r.offer(0, 0);
        }),
        ("a head beyond the table", |r| r.offer(0, 16)),
        ("a buffer beyond RAM", |r| {
            let t = r.rings[0].descriptors;
            r.descriptor(t, 0, RAM as u64 - 1, 2, 2, 0);
            r.offer(0, 0);
        }),
        ("a buffer round the end of the address space", |r| {
            let t = r.rings[0].descriptors;
            r.descriptor(t, 0, u64::MAX, 2, 2, 0);
            r.offer(0, 0);
        }),
        ("to read after to write", |r| {
            let t = r.rings[0].descriptors;
            r.descriptor(t, 0, 0x1000, 1, 3, 1);
            r.descriptor(t, 1, 0x1000, 1, 0, 0);
            r.offer(0, 0);
        }),
        ("an index that jumped", |r| {
            let at = r.rings[0].available + 2;
            r.put(at, &17_u16.to_le_bytes());
        }),
    ];
    for (what, spoil) in cases {
        let mut r = rig();
        spoil(&mut r);
        r.kick(0);
        assert!(r.needs_reset(), "{what}");
        assert_eq!(r.read(0x2000, Width::B1), 2, "{what}: a configuration change is announced");
        assert_eq!(r.used(0), [], "{what}");
        r.kick(0);
        r.start(feature::VERSION_1);
        assert_eq!(r.request(0, &[], 3).len(), 3, "{what}: usable again");
    }
}

#[test]
fn a_ring_that_the_device_itself_fills_ends() {
    let mut index = 1;
    let counting = Rng::new(Box::new(move || {
        index += 1;
        index
    }));
    let mut r = Rig::new(counting, 0);
    let (table, available) = (r.rings[0].descriptors, r.rings[0].available);
    for n in 0..r.rings[0].size {
        r.descriptor(table, n, available + 2, 2, 2, 0);
    }
    r.offer(0, 0);
    r.kick(0);
    assert!(r.needs_reset());
}

#[test]
fn a_queue_must_lie_in_ram_and_be_aligned() {
    for (field, value) in [(32, 8), (32, RAM as u64), (40, 1), (48, 2), (48, u64::from(u32::MAX) & !3)] {
        let mut r = Rig::cold(rng());
        r.start(feature::VERSION_1);
        r.set(20, Width::B1, 0);
        r.set(8, Width::B4, 1);
        r.set(12, Width::B4, 1);
        for (at, address) in [(32, 0x1000), (40, 0x2000), (48, 0x3000)] {
            r.set(at, Width::B8, if at == field { value } else { address });
        }
        r.set(28, Width::B2, 1);
        r.set(20, Width::B1, 0xf);
        r.work();
        assert!(r.needs_reset(), "{field} {value:#x}");
    }
    let mut r = Rig::cold(rng());
    r.set(24, Width::B2, 3);
    r.set(8, Width::B4, 1);
    r.set(12, Width::B4, 1);
    r.set(28, Width::B2, 1);
    r.set(20, Width::B1, 0xf);
    r.work();
    assert!(r.needs_reset(), "a size that is no power of two");
}

#[test]
fn legacy_drivers_and_unknown_features_are_refused() {
    for (words, why) in [([0, 0], "no VERSION_1"), ([1, 1], "a bit that is not on offer")] {
        let mut r = Rig::cold(rng());
        for (word, bits) in (0..).zip(words) {
            r.set(8, Width::B4, word);
            r.set(12, Width::B4, bits);
        }
        r.set(20, Width::B1, 0xb);
        assert_eq!(r.status(), 3, "{why}: FEATURES_OK stays clear");
        r.set(20, Width::B1, 0xf);
        assert_eq!(r.status(), 3, "{why}: and so does DRIVER_OK");
        r.work();
    }
    let mut r = Rig::cold(rng());
    r.set(20, Width::B1, 7);
    assert_eq!(r.status(), 3, "a driver that knows no FEATURES_OK");
}

#[test]
fn features_are_settled_once() {
    let mut r = rig();
    r.set(8, Width::B4, 1);
    r.set(12, Width::B4, 0);
    assert_eq!(r.get(12, Width::B4), 1);
    r.set(0, Width::B4, 2);
    assert_eq!(r.get(4, Width::B4), 0, "there are 64 bits");
}

#[test]
fn a_reset_forgets_queues_and_vectors() {
    let mut r = rig();
    r.set(16, Width::B2, 1);
    r.set(26, Width::B2, 9);
    assert_eq!((r.get(16, Width::B2), r.get(26, Width::B2)), (1, 0xffff), "there is no vector 9");
    r.post(0, &[], 4);
    r.set(20, Width::B1, 0);
    assert_eq!((r.get(16, Width::B2), r.get(28, Width::B2), r.get(32, Width::B8)), (0xffff, 0, 0));
    r.kick(0);
    assert_eq!(r.used(0), [], "nothing is done before DRIVER_OK");
    r.start(feature::VERSION_1);
    assert_eq!(r.request(0, &[], 4).len(), 4);
}

#[test]
fn capabilities_name_the_structures() {
    let mut r = rig();
    let mut cx = DevCtx { irq: &mut IrqLines::default(), out: &mut Outbox::default(), clock: Clock::default() };
    let mut read = |at, width| r.dev.config_read(&mut cx, at, width);
    assert_eq!(read(0, Width::B4), 0x1044_1af4);
    let (mut at, mut found) = (read(header::CAPABILITIES, Width::B1) as u8, Vec::new());
    while at != 0 {
        let id = read(at, Width::B1);
        found.push((id, read(at + 3, Width::B1), read(at + 4, Width::B1), read(at + 8, Width::B4)));
        at = read(at + 1, Width::B1) as u8;
    }
    let vendor: Vec<_> = found.iter().filter(|f| f.0 == 9).map(|f| (f.1, f.2, f.3)).collect();
    assert_eq!(vendor, [(1, 4, 0), (3, 4, 0x2000), (4, 4, 0x3000), (2, 4, 0x1000), (5, 0, 0)]);
    assert_eq!(found[0].0, 0x11);
}

#[test]
fn registers_are_reached_by_configuration_cycles_too() {
    let mut r = rig();
    let mut cx = DevCtx { irq: &mut IrqLines::default(), out: &mut Outbox::default(), clock: Clock::default() };
    r.set(0, Width::B4, 0);
    let window = 0x90;
    assert_eq!(r.dev.config_read(&mut cx, window + 3, Width::B1), 5);
    r.dev.config_write(&mut cx, window + 4, Width::B1, 4);
    for (offset, width, want) in [(18, 2, 1), (20, 1, 0xf), (4, 4, 1 << 28 | 1 << 29)] {
        r.dev.config_write(&mut cx, window + 8, Width::B4, offset);
        r.dev.config_write(&mut cx, window + 12, Width::B4, width);
        assert_eq!(r.dev.config_read(&mut cx, window + 16, Width::B4), want, "{offset}");
    }
    r.dev.config_write(&mut cx, window + 8, Width::B4, 20);
    r.dev.config_write(&mut cx, window + 12, Width::B4, 1);
    r.dev.config_write(&mut cx, window + 16, Width::B1, 0);
    assert_eq!(r.status(), 0, "a reset by configuration cycles");
}

#[test]
fn msix_replaces_the_pin() {
    let mut r = rig();
    let mut out = Outbox::default();
    let mut irq = IrqLines::default();
    let mut cx = DevCtx { irq: &mut irq, out: &mut out, clock: Clock::default() };
    for (at, v) in [(16, 0xfee0_0000_u64), (24, 0x41), (28, 0)] {
        r.dev.bar_write(&mut cx, 1, MmioAccess::new(at, Width::B4), v).ok().unwrap();
    }
    r.dev.config_write(&mut cx, 0x42, Width::B2, 0x8000);
    r.set(22, Width::B2, 0);
    r.set(26, Width::B2, 1);
    r.request(0, &[], 4);
    assert_eq!(r.irq.take_msi(), Some(Msi { address: 0xfee0_0000, data: 0x41 }));
    assert!(!r.dev.intx());
    assert_eq!(r.read(0x2000, Width::B1), 0);
}

/// 2.4: what the device was about to say it no longer says, on whichever wire.
#[test]
fn a_reset_withdraws_interrupts() {
    let mut r = rig();
    r.request(0, &[], 4);
    assert!(r.dev.intx());
    r.set(20, Width::B1, 0);
    assert!(!r.dev.intx());

    let mut cx = DevCtx { irq: &mut IrqLines::default(), out: &mut Outbox::default(), clock: Clock::default() };
    r.dev.config_write(&mut cx, 0x42, Width::B2, 0x8000);
    r.start(feature::VERSION_1);
    r.set(22, Width::B2, 0);
    r.set(26, Width::B2, 1);
    r.request(0, &[], 4); // its message waits: vector 1 is masked
    r.set(20, Width::B1, 0);
    r.dev.bar_write(&mut cx, 1, MmioAccess::new(28, Width::B4), 0).ok().unwrap();
    assert_eq!((cx.irq.take_msi(), r.irq.take_msi()), (None, None));
}

/// The registers in memory: the same driver's steps by hand.
#[test]
fn mmio_version_2() {
    let mut d = VirtioMmio::new(rng(), Line::new(20));
    let (mut irq, mut out, mut ram) = (IrqLines::default(), Outbox::default(), vec![0_u8; 0x10000]);
    let mut cx = DevCtx { irq: &mut irq, out: &mut out, clock: Clock::default() };
    let r = |d: &mut VirtioMmio<Rng>, cx: &mut DevCtx, at| {
        d.mmio().unwrap().read(cx, MmioAccess::new(at, Width::B4)).ok().unwrap()
    };
    let w = |d: &mut VirtioMmio<Rng>, cx: &mut DevCtx, at, v| {
        d.mmio().unwrap().write(cx, MmioAccess::new(at, Width::B4), v).ok().unwrap();
    };
    assert_eq!([0, 4, 8, 0xc].map(|at| r(&mut d, &mut cx, at)), [0x7472_6976, 2, 4, 0x1af4]);
    w(&mut d, &mut cx, 0x14, 1);
    assert_eq!(r(&mut d, &mut cx, 0x10), 1, "VERSION_1");
    w(&mut d, &mut cx, 0x24, 1);
    w(&mut d, &mut cx, 0x20, 1);
    w(&mut d, &mut cx, 0x70, 0xb);
    assert_eq!(r(&mut d, &mut cx, 0x70), 0xb);
    assert_eq!(r(&mut d, &mut cx, 0x34), 8);
    for (at, v) in [(0x38, 4), (0x80, 0x1000), (0x90, 0x2000), (0xa0, 0x3000), (0x44, 1), (0x70, 0xf)] {
        w(&mut d, &mut cx, at, v);
    }
    assert_eq!(r(&mut d, &mut cx, 0x44), 1);
    ram[0x1000..0x1010].copy_from_slice(&[0, 0x40, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 2, 0, 0, 0]);
    ram[0x2002] = 1;
    w(&mut d, &mut cx, 0x50, 0);
    assert!(d.wants_transfer());
    d.transfer(&mut cx, &mut ram);
    assert_eq!((ram[0x3002], ram[0x3008], &ram[0x4000..0x4009]), (1, 8, &[1, 1, 1, 1, 1, 1, 1, 1, 0][..]));
    assert!(cx.irq.is_high(Line::new(20)));
    assert_eq!(r(&mut d, &mut cx, 0x60), 1);
    w(&mut d, &mut cx, 0x64, 1);
    assert!(!cx.irq.is_high(Line::new(20)));
    w(&mut d, &mut cx, 0x44, 0);
    assert_eq!(r(&mut d, &mut cx, 0x44), 0, "a queue is stopped");
    w(&mut d, &mut cx, 0x70, u64::from(status::FAILED));
    w(&mut d, &mut cx, 0x70, 0);
    assert_eq!(r(&mut d, &mut cx, 0x70), 0);
}

/// RAM that counts the pieces that are written.
struct Pieces(Vec<u8>, usize);

impl Dma for Pieces {
    fn bytes(&self, address: u64, len: usize) -> Option<&[u8]> {
        self.0.bytes(address, len)
    }

    fn bytes_mut(&mut self, address: u64, len: usize) -> Option<&mut [u8]> {
        self.1 += 1;
        self.0.bytes_mut(address, len)
    }
}

#[test]
fn random_bytes_are_written_at_once() {
    let mut r = rig();
    let (table, data) = (r.allocate(16 * 1000), r.allocate(1 << 16));
    for i in 0..1000 {
        let (len, more) = if i < 999 { (1, 1) } else { (60_000, 0) };
        r.descriptor(table, i, data + u64::from(i), len, 2 | more, i + 1);
    }
    let ring = r.rings[0].descriptors;
    r.descriptor(ring, 0, table, 16 * 1000, 4, 0);
    r.offer(0, 0);
    r.write(0x1000, Width::B2, 0);
    let mut ram = Pieces(std::mem::take(&mut r.ram), 0);
    let mut cx = DevCtx { irq: &mut IrqLines::default(), out: &mut Outbox::default(), clock: Clock::default() };
    r.dev.transfer(&mut cx, &mut ram);
    r.ram = ram.0;
    assert_eq!(r.used(0), [(0, 60_999)]);
    assert!(ram.1 < 1010, "{}", ram.1);
}
