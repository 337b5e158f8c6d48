use super::*;
use crate::testing::{Bench, round_trip};
use bus::{Device, LineChange, Msi, Width};

fn rd(a: &mut IoApic, b: &mut Bench, r: u8) -> u32 {
    b.w32(a, 0, r.into());
    b.r32(a, 0x10)
}

fn wr(a: &mut IoApic, b: &mut Bench, r: u8, v: u32) {
    b.w32(a, 0, r.into());
    b.w32(a, 0x10, v);
}

fn pin(a: &mut IoApic, b: &mut Bench, n: u8, high: bool) {
    let before = a.pins;
    let level = if high { before | 1 << n } else { before & !(1 << n) };
    a.set_pins(&mut b.irq, LineChange { level, rose: level & !before, changed: level ^ before });
}

const LEVEL: u32 = 1 << 15;
const MASKED: u32 = 1 << 16;

#[test]
fn identification() {
    let (mut a, mut b) = (IoApic::new(1), Bench::default());
    assert_eq!(rd(&mut a, &mut b, 1), 0x0017_0020);
    wr(&mut a, &mut b, 0, 0xffff_ffff);
    assert_eq!((rd(&mut a, &mut b, 0), rd(&mut a, &mut b, 2)), (0x0f00_0000, 0x0f00_0000));
    assert_eq!(rd(&mut a, &mut b, 0x40), 0);
}

#[test]
fn entries_start_masked_and_keep_read_only_bits() {
    let (mut a, mut b) = (IoApic::new(0), Bench::default());
    for r in (0x10..0x40).step_by(2) {
        assert_eq!((rd(&mut a, &mut b, r), rd(&mut a, &mut b, r + 1)), (MASKED, 0));
    }
    wr(&mut a, &mut b, 0x3e, 0xffff_ffff);
    wr(&mut a, &mut b, 0x3f, 0xffff_ffff);
    assert_eq!((rd(&mut a, &mut b, 0x3e), rd(&mut a, &mut b, 0x3f)), (0x0001_afff, 0xff00_0000));
}

#[test]
fn an_edge_is_one_message() {
    let (mut a, mut b) = (IoApic::new(0), Bench::default());
    wr(&mut a, &mut b, 0x10 + 2 * 4, 0x0931); // pin 4: vector 0x31, lowest priority, logical
    wr(&mut a, &mut b, 0x11 + 2 * 4, 0x0300_0000);
    pin(&mut a, &mut b, 4, true);
    assert_eq!(b.irq.take_msi(), Some(Msi { address: 0xfee0_3004, data: 0x0131 }));
    pin(&mut a, &mut b, 4, false);
    assert_eq!(b.irq.take_msi(), None);
    a.set_pins(&mut b.irq, LineChange { level: 0, rose: 1 << 4, changed: 1 << 4 });
    assert!(b.irq.take_msi().is_some(), "a pulse within one access");
}

#[test]
fn an_edge_at_a_masked_pin_is_lost() {
    let (mut a, mut b) = (IoApic::new(0), Bench::default());
    wr(&mut a, &mut b, 0x10, 0x31 | MASKED);
    pin(&mut a, &mut b, 0, true);
    wr(&mut a, &mut b, 0x10, 0x31);
    assert_eq!(b.irq.take_msi(), None);
}

#[test]
fn a_level_interrupts_until_it_falls() {
    let (mut a, mut b) = (IoApic::new(0), Bench::default());
    wr(&mut a, &mut b, 0x10 + 18, 0x41 | LEVEL | MASKED);
    pin(&mut a, &mut b, 9, true);
    assert_eq!(b.irq.take_msi(), None);
    wr(&mut a, &mut b, 0x10 + 18, 0x41 | LEVEL);
    assert_eq!(b.irq.take_msi(), Some(Msi { address: 0xfee0_0000, data: 0xc041 }), "a level waits for its mask");
    assert_eq!(rd(&mut a, &mut b, 0x10 + 18), 0x41 | LEVEL | 1 << 14, "remote IRR");
    pin(&mut a, &mut b, 9, false);
    pin(&mut a, &mut b, 9, true);
    assert_eq!(b.irq.take_msi(), None, "not before the EOI");
    a.eoi(&mut b.irq, 0x42);
    assert_eq!(b.irq.take_msi(), None, "another vector");
    a.eoi(&mut b.irq, 0x41);
    assert!(b.irq.take_msi().is_some());
    pin(&mut a, &mut b, 9, false);
    b.w32(&mut a, 0x40, 0x41);
    assert_eq!(b.irq.take_msi(), None);
    assert_eq!(rd(&mut a, &mut b, 0x10 + 18), 0x41 | LEVEL);
}

#[test]
fn switching_to_edge_clears_remote_irr() {
    let (mut a, mut b) = (IoApic::new(0), Bench::default());
    wr(&mut a, &mut b, 0x10 + 18, 0x41 | LEVEL);
    pin(&mut a, &mut b, 9, true);
    b.irq.take_msi();
    wr(&mut a, &mut b, 0x10 + 18, 0x41 | MASKED);
    wr(&mut a, &mut b, 0x10 + 18, 0x41 | LEVEL);
    assert!(b.irq.take_msi().is_some());
}

#[test]
fn isa_irq_0_enters_at_pin_2() {
    let c = IoApic::pc_wiring(LineChange { level: 0b1011, rose: 0b0001, changed: 0b0101 });
    assert_eq!(c, LineChange { level: 0b1110, rose: 0b0100, changed: 0b0100 });
}

#[test]
fn only_doublewords() {
    let (mut a, mut b) = (IoApic::new(0), Bench::default());
    assert!(b.read(&mut a, 0x10, Width::B1).ok().is_none());
    assert!(b.read(&mut a, 0x20, Width::B4).ok().is_none());
    assert!(b.write(&mut a, 0x10, Width::B8, 0).ok().is_none());
}

#[test]
fn saved_state_round_trips() {
    let (mut a, mut b) = (IoApic::new(3), Bench::default());
    wr(&mut a, &mut b, 0x20, 0x41 | LEVEL);
    pin(&mut a, &mut b, 8, true);
    round_trip(&a, &mut IoApic::new(0));
    a.reset(&mut b.cx());
    assert_eq!(rd(&mut a, &mut b, 0x20), MASKED);
}
