use super::*;
use crate::testing::{Bench, round_trip};
use bus::{Device, Reset, Signal, Stream, Width};

#[test]
fn resets_at_the_rising_edge() {
    for (v, kind) in [(0x06, Reset::Hard), (0x04, Reset::Init), (0x0c, Reset::Hard)] {
        let (mut r, mut b) = (ResetCtl::new(), Bench::default());
        b.outb(&mut r, 0xcf9, v & !4);
        assert_eq!(b.out.take_signal(), None);
        b.outb(&mut r, 0xcf9, v);
        assert_eq!(b.out.take_signal(), Some(Signal::Reset(kind)));
        b.outb(&mut r, 0xcf9, v);
        assert_eq!(b.out.take_signal(), None, "no edge");
        assert_eq!(b.inb(&mut r, 0xcf9), v);
    }
}

#[test]
fn port_92() {
    let (mut r, mut b) = (ResetCtl::new(), Bench::default());
    assert_eq!(b.inb(&mut r, 0x92), 2);
    b.outb(&mut r, 0x92, 0);
    b.outb(&mut r, 0x92, 0xfe);
    b.outb(&mut r, 0x92, 3);
    b.outb(&mut r, 0x92, 3);
    let signals = std::iter::from_fn(|| b.out.take_signal()).collect::<Vec<_>>();
    assert_eq!(signals, [Signal::A20(false), Signal::A20(true), Signal::Reset(Reset::Init)]);
    assert_eq!(b.inb(&mut r, 0x92), 3);
    r.reset(&mut b.cx());
    assert_eq!(b.inb(&mut r, 0x92), 2);
}

#[test]
fn post_and_debug_console() {
    let (mut r, mut b) = (ResetCtl::new(), Bench::default());
    b.output(&mut r, 0x80, Width::B1, 0x42);
    assert_eq!((r.post(), b.inb(&mut r, 0x80)), (0x42, 0x42));
    b.outb(&mut r, 0x80, 0x42);
    assert_eq!((b.out.take_signal(), b.out.take_signal()), (Some(Signal::Post(0x42)), None));
    assert_eq!(b.inb(&mut r, 0xe9), 0xe9);
    b"hi".iter().for_each(|c| b.outb(&mut r, 0xe9, *c));
    assert_eq!(b.out.take_bytes(Stream::DebugCon), b"hi");
    round_trip(&r, &mut ResetCtl::new());
}
