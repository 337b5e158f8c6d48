use super::*;
use crate::testing::{Bench, round_trip};
use bus::{Device, Reset, Signal};

const IRQ: u8 = 1;

fn i8042() -> (I8042, Bench) {
    (I8042::new(Line::new(IRQ)), Bench::default())
}

fn command(k: &mut I8042, b: &mut Bench, c: u8) {
    b.outb(k, 0x64, c);
    assert_eq!(b.inb(k, 0x64) & 0x0a, 0x08, "input buffer empty, last write was a command");
}

/// Everything that is to be read at the data port.
fn drain(k: &mut I8042, b: &mut Bench) -> Vec<u8> {
    std::iter::from_fn(|| (b.inb(k, 0x64) & 1 != 0).then(|| b.inb(k, 0x60))).collect()
}

/// What the keyboard answers, untranslated.
fn ask(k: &mut I8042, b: &mut Bench, bytes: &[u8]) -> Vec<u8> {
    bytes
        .iter()
        .flat_map(|c| {
            b.outb(k, 0x60, *c);
            drain(k, b)
        })
        .collect()
}

fn raw() -> (I8042, Bench) {
    let (mut k, mut b) = i8042();
    b.outb(&mut k, 0x64, 0x60);
    b.outb(&mut k, 0x60, 0x05);
    (k, b)
}

#[test]
fn controller_tests() {
    let (mut k, mut b) = i8042();
    for (c, answer) in [(0xaa, 0x55), (0xab, 0x00), (0xc0, 0xb0), (0xe0, 0x03), (0x20, 0x65)] {
        command(&mut k, &mut b, c);
        assert!(b.high(IRQ));
        assert_eq!(drain(&mut k, &mut b), [answer], "command {c:#x}");
        assert!(!b.high(IRQ));
    }
    assert_eq!(b.inb(&mut k, 0x60), 0x65, "an empty buffer shows the last byte");
}

#[test]
fn commands_for_a_mouse_are_unknown() {
    let (mut k, mut b) = i8042();
    for c in [0xa7, 0xa8, 0xa9, 0xd3, 0xd4] {
        command(&mut k, &mut b, c);
        assert_eq!(drain(&mut k, &mut b), []);
    }
}

#[test]
fn configuration_and_ram() {
    let (mut k, mut b) = i8042();
    for (i, v) in [(0, 0x30), (5, 0xa5), (31, 0x5a)] {
        command(&mut k, &mut b, 0x60 + i);
        b.outb(&mut k, 0x60, v);
        command(&mut k, &mut b, 0x20 + i);
        assert_eq!(drain(&mut k, &mut b), [v]);
    }
    assert!(!b.high(IRQ), "interrupts are off in 0x30");
    command(&mut k, &mut b, 0xae);
    command(&mut k, &mut b, 0x20);
    assert_eq!(drain(&mut k, &mut b), [0x20]);
    command(&mut k, &mut b, 0xad);
    command(&mut k, &mut b, 0x20);
    assert_eq!(drain(&mut k, &mut b), [0x30]);
}

#[test]
fn echo_of_a_byte_as_from_the_keyboard() {
    let (mut k, mut b) = i8042();
    command(&mut k, &mut b, 0xd2);
    b.outb(&mut k, 0x60, 0x1c);
    assert!(b.high(IRQ));
    assert_eq!(drain(&mut k, &mut b), [0x1c], "not translated");
}

#[test]
fn what_nobody_reads_is_replaced() {
    let (mut k, mut b) = i8042();
    for v in 0..100 {
        command(&mut k, &mut b, 0xd2);
        b.outb(&mut k, 0x60, v);
    }
    assert_eq!(drain(&mut k, &mut b), [99]);
}

#[test]
fn output_port_a20_and_reset() {
    let (mut k, mut b) = i8042();
    command(&mut k, &mut b, 0xd0);
    assert_eq!(drain(&mut k, &mut b), [0xc3]);
    for v in [0xdd, 0xdf, 0xde] {
        command(&mut k, &mut b, 0xd1);
        b.outb(&mut k, 0x60, v);
    }
    command(&mut k, &mut b, 0xff);
    command(&mut k, &mut b, 0xfe);
    let signals = std::iter::from_fn(|| b.out.take_signal()).collect::<Vec<_>>();
    let reset = Signal::Reset(Reset::Init);
    assert_eq!(signals, [Signal::A20(false), Signal::A20(true), reset, reset]);
}

#[test]
fn keyboard_commands() {
    let (mut k, mut b) = raw();
    for (bytes, answer) in [
        (&[0xff][..], &[0xfa, 0xaa][..]),
        (&[0xf2], &[0xfa, 0xab, 0x83]),
        (&[0xee], &[0xee]),
        (&[0xed, 0x02], &[0xfa, 0xfa]),
        (&[0xf3, 0x00], &[0xfa, 0xfa]),
        (&[0xf0, 0x00], &[0xfa, 0xfa, 0x02]),
        (&[0xf0, 0x03, 0xf0, 0x00], &[0xfa, 0xfa, 0xfa, 0xfa, 0x03]),
        (&[0xf0, 0x04], &[0xfa, 0xfe]),
        (&[0xfe], &[0xfe]),
        (&[0xf4, 0xf5, 0xf6], &[0xfa, 0xfa, 0xfa]),
        (&[0xed, 0xf2], &[0xfa, 0xfa, 0xab, 0x83]),
        (&[0xf0, 0x00], &[0xfa, 0xfa, 0x02]),
        (&[0x12], &[0xfe]),
    ] {
        assert_eq!(ask(&mut k, &mut b, bytes), answer, "{bytes:x?}");
    }
    assert_eq!(k.leds(), 2);
}

#[test]
fn identify_under_translation() {
    let (mut k, mut b) = i8042();
    assert_eq!(ask(&mut k, &mut b, &[0xf2]), [0xfa, 0xab, 0x41]);
}

#[test]
fn keys_are_translated_to_set_1() {
    let (mut k, mut b) = i8042();
    // A down and up, right control down and up, F7
    assert!(k.press(&mut b.cx(), &[0x1c, 0xf0, 0x1c, 0xe0, 0x14, 0xe0, 0xf0, 0x14, 0x83]));
    assert_eq!(drain(&mut k, &mut b), [0x1e, 0x9e, 0xe0, 0x1d, 0xe0, 0x9d, 0x41]);
    let (mut k, mut b) = raw();
    assert!(k.press(&mut b.cx(), &[0x1c, 0xf0, 0x1c]));
    assert_eq!(drain(&mut k, &mut b), [0x1c, 0xf0, 0x1c]);
}

#[test]
fn each_byte_is_an_edge() {
    let (mut k, mut b) = i8042();
    k.press(&mut b.cx(), &[0x1c, 0x1b]);
    assert!(b.rose(IRQ));
    assert_eq!(b.inb(&mut k, 0x60), 0x1e);
    assert!(b.rose(IRQ), "the next byte");
    assert_eq!(b.inb(&mut k, 0x60), 0x1f);
    assert!(!b.rose(IRQ) && !b.high(IRQ));
}

#[test]
fn a_disabled_interface_holds_the_keyboard() {
    let (mut k, mut b) = i8042();
    command(&mut k, &mut b, 0xad);
    assert!(k.press(&mut b.cx(), &[0x1c]));
    assert_eq!(drain(&mut k, &mut b), []);
    command(&mut k, &mut b, 0xae);
    assert_eq!(drain(&mut k, &mut b), [0x1e]);
}

#[test]
fn a_disabled_keyboard_does_not_scan() {
    let (mut k, mut b) = i8042();
    ask(&mut k, &mut b, &[0xf5]);
    assert!(!k.press(&mut b.cx(), &[0x1c]));
    ask(&mut k, &mut b, &[0xf4]);
    assert!(k.press(&mut b.cx(), &[0x1c]));
    assert_eq!(drain(&mut k, &mut b), [0x1e]);
}

#[test]
fn an_overrun_is_told() {
    let (mut k, mut b) = raw();
    let taken = (0..40).filter(|_| k.press(&mut b.cx(), &[0x1c])).count();
    let seen = drain(&mut k, &mut b);
    assert_eq!(seen.len(), taken + 1);
    assert_eq!(seen.last(), Some(&0x00));
}

#[test]
fn saved_state_round_trips() {
    let (mut k, mut b) = i8042();
    k.press(&mut b.cx(), &[0x1c, 0xf0]);
    command(&mut k, &mut b, 0x63);
    round_trip(&k, &mut i8042().0);
    k.reset(&mut b.cx());
    assert_eq!(drain(&mut k, &mut b), []);
}
