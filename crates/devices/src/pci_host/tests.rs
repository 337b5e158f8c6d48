use super::*;
use crate::testing::{Bench, round_trip};
use bus::{
    DevCtx, Device, IoError, IoResult, MmioAccess, Width,
    pci::{Bar, Identity},
};

const WINDOW: u64 = 0xc000_0000;

/// A function with one register of 32 bits in BAR 0 (I/O) and BAR 1 (memory); bit 0 of it is the interrupt.
#[derive(Debug)]
struct Latch {
    config: ConfigSpace,
    value: u32,
}

impl Latch {
    fn new(pin: u8) -> Self {
        let id =
            Identity { vendor: 0x1234, device: 1, revision: 0, class: 0xff_00_00, subsystem_vendor: 0, subsystem: 0 };
        let config = ConfigSpace::new(id)
            .with_bar(0, Bar::Io { size: 4 })
            .with_bar(1, Bar::Memory32 { size: 16, prefetchable: false })
            .with_interrupt_pin(pin);
        Self { config, value: 0 }
    }
}

impl PciFunction for Latch {
    fn config(&self) -> &ConfigSpace {
        &self.config
    }

    fn config_mut(&mut self) -> &mut ConfigSpace {
        &mut self.config
    }

    fn bar_read(&mut self, _: &mut DevCtx, bar: usize, a: MmioAccess) -> IoResult<u64> {
        match (bar, a.offset) {
            (0 | 1, 0) => IoResult::Ok(self.value.into()),
            _ => IoError::Register.into(),
        }
    }

    fn bar_write(&mut self, _: &mut DevCtx, bar: usize, a: MmioAccess, v: u64) -> IoResult<()> {
        match (bar, a.offset) {
            (0 | 1, 0) => self.value = v as u32,
            _ => return IoError::Register.into(),
        }
        IoResult::Ok(())
    }

    fn intx(&self) -> bool {
        self.value & 1 != 0
    }

    fn reset(&mut self, _: &mut DevCtx) {
        self.config.reset();
        self.value = 0;
    }
}

fn host() -> (PciHost<Latch>, Bench) {
    (PciHost::new(WINDOW), Bench::default())
}

fn select(h: &mut PciHost<Latch>, b: &mut Bench, devfn: Devfn, register: u8) {
    b.outl(h, 0xcf8, 0x8000_0000 | u32::from(devfn.0) << 8 | u32::from(register & !3));
}

fn cfg_r(h: &mut PciHost<Latch>, b: &mut Bench, devfn: Devfn, register: u8) -> u32 {
    select(h, b, devfn, register);
    b.inl(h, 0xcfc)
}

fn cfg_w(h: &mut PciHost<Latch>, b: &mut Bench, devfn: Devfn, register: u8, v: u32) {
    select(h, b, devfn, register);
    b.outl(h, 0xcfc, v);
}

#[test]
fn mechanism_1_is_found_and_the_bridge_answers() {
    let (mut h, mut b) = host();
    b.outb(&mut h, 0xcfb, 1);
    b.outl(&mut h, 0xcf8, 0x8000_0000);
    assert_eq!(b.inl(&mut h, 0xcf8), 0x8000_0000, "as Linux probes");
    assert_eq!(b.inl(&mut h, 0xcfc), 0x1237_8086);
    assert_eq!(b.input(&mut h, 0xcfe, Width::B2), 0x1237);
    assert_eq!(b.input(&mut h, 0xcfd, Width::B2), 0x3780, "a word in the middle");
    assert_eq!(b.inb(&mut h, 0xcff), 0x12);
    b.outl(&mut h, 0xcf8, 0xffff_ffff);
    assert_eq!(b.inl(&mut h, 0xcf8), 0x80ff_fffc);
    let bridge = cfg_r(&mut h, &mut b, Devfn(0), 8);
    assert_eq!(bridge >> 16, 0x0600, "a host bridge");
}

#[test]
fn nobody_answers_with_ones() {
    let (mut h, mut b) = host();
    assert_eq!(cfg_r(&mut h, &mut b, Devfn::new(3, 0), 0), u32::MAX);
    b.outl(&mut h, 0xcf8, 0x8001_0000);
    assert_eq!(b.inl(&mut h, 0xcfc), u32::MAX, "bus 1");
    b.outl(&mut h, 0xcf8, 0);
    assert_eq!(b.inl(&mut h, 0xcfc), u32::MAX, "configuration cycles off");
    assert_eq!(b.inb(&mut h, 0xc000), 0xff);
    assert!(b.read(&mut h, 0x1000, Width::B4).ok().is_none());
}

#[test]
fn bars_are_sized_placed_and_decoded() {
    let (mut h, mut b) = host();
    let at = Devfn::new(3, 1);
    h.attach(at, Latch::new(0));
    assert_eq!(cfg_r(&mut h, &mut b, at, 0), 0x0001_1234);
    cfg_w(&mut h, &mut b, at, 0x14, u32::MAX);
    assert_eq!(cfg_r(&mut h, &mut b, at, 0x14), 0xffff_fff0);
    cfg_w(&mut h, &mut b, at, 0x10, 0xc100);
    cfg_w(&mut h, &mut b, at, 0x14, 0xc000_2000);
    b.outl(&mut h, 0xc100, 7);
    assert!(b.read(&mut h, 0x2000, Width::B4).ok().is_none(), "decoding is off");
    cfg_w(&mut h, &mut b, at, 4, 3);
    assert_eq!(b.r32(&mut h, 0x2000), 0);
    b.w32(&mut h, 0x2000, 0x1234_5678);
    assert_eq!(b.inl(&mut h, 0xc100), 0x1234_5678, "the same register by its I/O BAR");
    assert!(b.read(&mut h, 0x2010, Width::B4).ok().is_none(), "behind the BAR");
    assert_eq!(b.read(&mut h, 0x2004, Width::B4), IoResult::Bad(IoError::Register), "the function's own no");
}

#[test]
fn interrupt_wires_are_shared() {
    let (mut h, mut b) = host();
    // device 1 pin A and device 4 pin B meet on the same wire
    let (one, two, other) = (Devfn::new(1, 0), Devfn::new(4, 0), Devfn::new(2, 0));
    h.attach(one, Latch::new(0));
    h.attach(two, Latch::new(1));
    h.attach(other, Latch::new(0));
    let assert_at = |h: &mut PciHost<Latch>, b: &mut Bench, at, v| h.with(&mut b.cx(), at, |f, _| f.value = v).unwrap();
    assert_at(&mut h, &mut b, one, 1);
    assert_at(&mut h, &mut b, two, 1);
    assert!(b.high(17) && !b.high(16) && !b.high(18));
    assert_at(&mut h, &mut b, one, 0);
    assert!(b.high(17));
    cfg_w(&mut h, &mut b, two, 4, 1 << 10);
    assert!(!b.high(17), "interrupt disable");
    assert_at(&mut h, &mut b, other, 1);
    assert!(b.high(18));
    h.reset(&mut b.cx());
    assert!(!b.high(18));
    assert_eq!(h.with(&mut b.cx(), Devfn::new(9, 0), |_, _| ()), None);
}

#[test]
fn saved_state_round_trips() {
    let (mut h, mut b) = host();
    cfg_w(&mut h, &mut b, Devfn(0), 4, 0x6);
    select(&mut h, &mut b, Devfn::new(3, 0), 0x10);
    round_trip(&h, &mut host().0);
}
