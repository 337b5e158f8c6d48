use super::*;
use crate::testing::{Bench, round_trip};
use bus::{Device, LineChange, Snapshot};

/// Initialised as a PC's firmware and Linux do: vectors 0x20 and 0x28, nothing masked, the given ICW4.
fn pic_with(icw4: u8) -> (Pic, Bench) {
    let (mut p, mut b) = (Pic::new(), Bench::default());
    for (port, words) in [(0x20, [0x11, 0x20, 4, icw4]), (0xa0, [0x11, 0x28, 2, 1])] {
        b.outb(&mut p, port, words[0]);
        for w in &words[1..] {
            b.outb(&mut p, port + 1, *w);
        }
    }
    (p, b)
}

fn pic() -> (Pic, Bench) {
    pic_with(1)
}

fn levels(p: &mut Pic, level: u32) {
    p.set_lines(LineChange { level, rose: 0, changed: 0xffff });
}

#[test]
fn vectors_of_both_chips() {
    for n in (0..16).filter(|n| *n != 2) {
        let (mut p, mut b) = pic();
        levels(&mut p, 1 << n);
        assert!(p.intr());
        assert_eq!(p.ack(), 0x20 + n);
        assert!(!p.intr());
        b.outb(&mut p, 0x20, 0x0b);
        b.outb(&mut p, 0xa0, 0x0b);
        let isr = u16::from(b.inb(&mut p, 0x20)) | u16::from(b.inb(&mut p, 0xa0)) << 8;
        assert_eq!(isr, 1 << n | if n > 7 { 4 } else { 0 });
    }
}

#[test]
fn wire_2_is_not_connected() {
    let (mut p, _) = pic();
    levels(&mut p, 4);
    assert!(!p.intr());
}

#[test]
fn lower_numbers_come_first_and_nest() {
    let (mut p, mut b) = pic();
    levels(&mut p, 1 << 4 | 1 << 6);
    assert_eq!(p.ack(), 0x24);
    assert!(!p.intr(), "6 waits for the end of 4");
    levels(&mut p, 1 << 1 | 1 << 4 | 1 << 6);
    assert_eq!(p.ack(), 0x21, "1 interrupts 4");
    b.outb(&mut p, 0x20, 0x20);
    assert!(!p.intr(), "the non-specific EOI ended 1, not 4");
    b.outb(&mut p, 0x20, 0x64);
    assert_eq!(p.ack(), 0x26);
}

#[test]
fn slave_inputs_rank_between_1_and_3() {
    let (mut p, _) = pic();
    levels(&mut p, 1 << 3 | 1 << 8 | 1 << 15);
    assert_eq!(p.ack(), 0x28);
    assert!(!p.intr());
    levels(&mut p, 1 << 1 | 1 << 3 | 1 << 8 | 1 << 15);
    assert_eq!(p.ack(), 0x21);
}

#[test]
fn two_slave_requests_in_turn() {
    let (mut p, mut b) = pic();
    levels(&mut p, 1 << 8 | 1 << 12);
    assert_eq!(p.ack(), 0x28);
    b.outb(&mut p, 0xa0, 0x20);
    b.outb(&mut p, 0x20, 0x20);
    assert!(p.intr());
    assert_eq!(p.ack(), 0x2c);
}

#[test]
fn edges_are_taken_once_levels_as_long_as_they_last() {
    let (mut p, mut b) = pic();
    levels(&mut p, 1 << 5);
    p.ack();
    b.outb(&mut p, 0x20, 0x20);
    assert!(!p.intr(), "edge: still high, no new request");
    p.set_lines(LineChange { level: 1 << 5, rose: 1 << 5, changed: 1 << 5 });
    assert!(p.intr(), "fell and rose unseen");

    let (mut p, mut b) = pic();
    b.outb(&mut p, 0x4d0, 0x20);
    levels(&mut p, 1 << 5);
    p.ack();
    assert!(!p.intr());
    b.outb(&mut p, 0x20, 0x20);
    assert!(p.intr(), "level: still high, again");
    levels(&mut p, 0);
    assert!(!p.intr());
}

#[test]
fn elcr_keeps_the_system_inputs_edge_triggered() {
    let (mut p, mut b) = pic();
    b.outb(&mut p, 0x4d0, 0xff);
    b.outb(&mut p, 0x4d1, 0xff);
    assert_eq!((b.inb(&mut p, 0x4d0), b.inb(&mut p, 0x4d1)), (0xf8, 0xde));
}

#[test]
fn masked_requests_wait() {
    let (mut p, mut b) = pic();
    b.outb(&mut p, 0x21, 0xfb);
    b.outb(&mut p, 0xa1, 0xff);
    levels(&mut p, 1 | 1 << 8);
    assert!(!p.intr());
    b.outb(&mut p, 0x20, 0x0a);
    b.outb(&mut p, 0xa0, 0x0a);
    assert_eq!((b.inb(&mut p, 0x20), b.inb(&mut p, 0xa0)), (1, 1), "IRR shows them");
    b.outb(&mut p, 0xa1, 0xfe);
    assert_eq!(p.ack(), 0x28);
    assert_eq!(b.inb(&mut p, 0x21), 0xfb);
}

#[test]
fn a_request_that_has_gone_is_spurious() {
    let (mut p, mut b) = pic();
    b.outb(&mut p, 0x4d0, 0x20);
    levels(&mut p, 1 << 5);
    levels(&mut p, 0);
    assert_eq!(p.ack(), 0x27);
    b.outb(&mut p, 0x20, 0x0b);
    assert_eq!(b.inb(&mut p, 0x20), 0, "no bit of ISR tells it from a true 7");
}

#[test]
fn rotation() {
    let (mut p, mut b) = pic();
    b.outb(&mut p, 0x20, 0xc0 | 3); // 3 becomes lowest, 4 highest
    levels(&mut p, 1 << 3 | 1 << 4 | 1 << 0);
    assert_eq!(p.ack(), 0x24);
    b.outb(&mut p, 0x20, 0xa0); // EOI, 4 becomes lowest
    assert_eq!(p.ack(), 0x20);
    b.outb(&mut p, 0x20, 0xe0); // specific EOI of 0, 0 becomes lowest
    assert_eq!(p.ack(), 0x23);
}

#[test]
fn automatic_eoi() {
    let (mut p, mut b) = pic_with(3);
    levels(&mut p, 0x03);
    assert_eq!((p.ack(), p.ack()), (0x20, 0x21));
    b.outb(&mut p, 0x20, 0x80); // rotate in automatic EOI mode
    levels(&mut p, 0);
    levels(&mut p, 0x08);
    assert_eq!(p.ack(), 0x23);
    levels(&mut p, 0);
    levels(&mut p, 0x18);
    assert_eq!(p.ack(), 0x24, "3 has become the lowest");
}

#[test]
fn special_mask_mode_lets_lower_priorities_in() {
    let (mut p, mut b) = pic();
    levels(&mut p, 1 << 1 | 1 << 6);
    assert_eq!(p.ack(), 0x21);
    b.outb(&mut p, 0x21, 1 << 1);
    assert!(!p.intr());
    b.outb(&mut p, 0x20, 0x68);
    assert_eq!(p.ack(), 0x26);
    b.outb(&mut p, 0x20, 0x20);
    b.outb(&mut p, 0x20, 0x0b);
    assert_eq!(b.inb(&mut p, 0x20), 1 << 1, "a non-specific EOI passes over the masked input");
}

#[test]
fn special_fully_nested_mode_lets_the_slave_interrupt_itself() {
    let (mut p, _) = pic_with(0x11);
    levels(&mut p, 1 << 12);
    assert_eq!(p.ack(), 0x2c);
    levels(&mut p, 1 << 12 | 1 << 9);
    assert!(p.intr());
    assert_eq!(p.ack(), 0x29);
}

#[test]
fn in_special_fully_nested_mode_the_slave_in_service_blocks_lower_inputs() {
    let (mut p, mut b) = pic_with(0x11);
    levels(&mut p, 1 << 12);
    assert_eq!(p.ack(), 0x2c);
    levels(&mut p, 1 << 12 | 1 << 4);
    assert!(!p.intr(), "4 is below the slave");
    levels(&mut p, 1 << 12 | 1 << 4 | 1 << 1);
    assert_eq!(p.ack(), 0x21);
    for (port, eoi) in [(0x20, 0x61), (0xa0, 0x64), (0x20, 0x62)] {
        assert!(!p.intr());
        b.outb(&mut p, port, eoi);
    }
    assert_eq!(p.ack(), 0x24);
}

#[test]
fn polling_acknowledges() {
    let (mut p, mut b) = pic();
    b.outb(&mut p, 0x20, 0x0c);
    assert_eq!(b.inb(&mut p, 0x20), 0);
    levels(&mut p, 1 << 4);
    b.outb(&mut p, 0x20, 0x0c);
    assert_eq!(b.inb(&mut p, 0x20), 0x84);
    assert!(!p.intr());
    b.outb(&mut p, 0x20, 0x0b);
    assert_eq!(b.inb(&mut p, 0x20), 1 << 4);
}

#[test]
fn initialisation_clears_and_needs_new_edges() {
    let (mut p, mut b) = pic();
    levels(&mut p, 1 << 4);
    b.outb(&mut p, 0x21, 0x55);
    b.outb(&mut p, 0x20, 0x13); // single, ICW4
    b.outb(&mut p, 0x21, 0x47); // ICW2: the low bits are not used
    b.outb(&mut p, 0x21, 0x01); // ICW4, no ICW3 in single mode
    assert_eq!(b.inb(&mut p, 0x21), 0);
    assert!(!p.intr());
    levels(&mut p, 0);
    levels(&mut p, 1 << 4);
    assert_eq!(p.ack(), 0x44);
}

#[test]
fn saved_state_round_trips() {
    let (mut p, mut b) = pic();
    levels(&mut p, 1 << 4 | 1 << 9);
    p.ack();
    b.outb(&mut p, 0xa1, 0x40);
    let mut q = Pic::new();
    round_trip(&p, &mut q);
    let mut bad = p.save();
    bad.slave.top = 8;
    assert!(q.restore(bad).is_err());
    p.reset(&mut b.cx());
    assert!(!p.intr());
}
