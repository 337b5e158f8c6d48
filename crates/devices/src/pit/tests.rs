use super::*;
use crate::testing::{Bench, round_trip};
use bus::{Device, Snapshot, Timer};
use spec::CLK;

const IRQ: u8 = 0;

fn pit() -> (Pit, Bench) {
    (Pit::new(Line::new(IRQ)), Bench::default())
}

/// Sets the time to CLK pulse `t`.
fn at(b: &mut Bench, t: u64) {
    b.now = CLK.ns_at(t);
}

fn program(p: &mut Pit, b: &mut Bench, counter: u16, mode: u8, n: u16) {
    b.outb(p, 0x43, (counter as u8) << 6 | 0x30 | mode << 1);
    let [low, high] = n.to_le_bytes();
    b.outb(p, 0x40 + counter, low);
    b.outb(p, 0x40 + counter, high);
}

fn count(p: &mut Pit, b: &mut Bench, counter: u16) -> u16 {
    b.outb(p, 0x43, (counter as u8) << 6);
    u16::from_le_bytes([b.inb(p, 0x40 + counter), b.inb(p, 0x40 + counter)])
}

fn out(p: &mut Pit, b: &mut Bench, counter: u8) -> bool {
    b.outb(p, 0x43, 0xe0 | 2 << counter);
    b.inb(p, 0x40 + u16::from(counter)) & 0x80 != 0
}

/// OUT of a counter, one sign a CLK pulse from 0.
fn wave(p: &mut Pit, b: &mut Bench, counter: u8, pulses: u64) -> String {
    (0..pulses)
        .map(|t| {
            at(b, t);
            if out(p, b, counter) { '-' } else { '_' }
        })
        .collect()
}

#[test]
fn waves_of_the_modes_that_need_no_trigger() {
    for (mode, n, expect) in [
        (0, 4, "_____-----------"), // low for N + 1 pulses
        (2, 4, "----_---_---_---"), // one pulse low in N, the first after N - 1 + the load
        (2, 3, "---_--_--_--_--_"),
        (3, 4, "---__--__--__--_"),
        (3, 5, "----__---__---__"), // odd: (N + 1) / 2 high
        (4, 4, "-----_----------"), // strobe after N + 1
    ] {
        let (mut p, mut b) = pit();
        program(&mut p, &mut b, 0, mode, n);
        assert_eq!(wave(&mut p, &mut b, 0, 16), expect, "mode {mode} count {n}");
    }
}

#[test]
fn triggered_modes_wait_for_the_gate() {
    for (mode, n, expect) in [(1, 4, "____----"), (5, 4, "----_---")] {
        let (mut p, mut b) = pit();
        program(&mut p, &mut b, 2, mode, n);
        at(&mut b, 1000);
        assert!(out(&mut p, &mut b, 2), "not triggered");
        at(&mut b, 0);
        let (mut p, mut b) = pit();
        program(&mut p, &mut b, 2, mode, n);
        b.outb(&mut p, 0x61, 1);
        assert_eq!(wave(&mut p, &mut b, 2, 8), expect, "mode {mode}");
        b.outb(&mut p, 0x61, 0);
        b.outb(&mut p, 0x61, 1);
        at(&mut b, 8);
        assert_eq!(out(&mut p, &mut b, 2), mode == 5, "triggered again");
    }
}

#[test]
fn counts_in_each_mode() {
    for (mode, n, expect) in [
        (0, 3, [3, 2, 1, 0, 0xffff]),
        (2, 3, [3, 2, 1, 3, 2]),
        (3, 4, [4, 2, 4, 2, 4]),
        (3, 5, [4, 2, 0, 4, 2]),
        (4, 3, [3, 2, 1, 0, 0xffff]),
    ] {
        let (mut p, mut b) = pit();
        program(&mut p, &mut b, 0, mode, n);
        let counts = [1, 2, 3, 4, 5].map(|t| {
            at(&mut b, t);
            count(&mut p, &mut b, 0)
        });
        assert_eq!(counts, expect, "mode {mode} count {n}");
    }
}

#[test]
fn interrupts_of_the_periodic_modes() {
    for mode in [2, 3] {
        let (mut p, mut b) = pit();
        program(&mut p, &mut b, 0, mode, 11932);
        let edges = b.run(&mut p, 50_000_000, IRQ);
        let expect: Vec<u64> = (1..=4).map(|k| CLK.ns_at(1 + k * 11932)).collect();
        assert_eq!(edges, expect, "mode {mode}: about 100 Hz");
    }
}

#[test]
fn one_interrupt_of_the_one_shot_modes() {
    for (mode, pulses) in [(0, 1001), (4, 1002)] {
        let (mut p, mut b) = pit();
        program(&mut p, &mut b, 0, mode, 1000);
        assert_eq!(b.run(&mut p, 100_000_000, IRQ), [CLK.ns_at(pulses)], "mode {mode}");
        assert_eq!(p.next_deadline(), None);
    }
}

#[test]
fn late_ticks_still_make_an_edge() {
    let (mut p, mut b) = pit();
    program(&mut p, &mut b, 0, 2, 1000);
    b.rose(IRQ);
    at(&mut b, 10_500);
    p.tick(&mut b.cx());
    assert!(b.rose(IRQ));
    assert!(p.next_deadline().unwrap() > b.now);
}

#[test]
fn zero_is_the_longest_count() {
    let (mut p, mut b) = pit();
    program(&mut p, &mut b, 0, 2, 0);
    assert_eq!(p.next_deadline(), Some(CLK.ns_at(65_537)));
    at(&mut b, 2);
    assert_eq!(count(&mut p, &mut b, 0), 0xffff);
}

#[test]
fn bcd_counts() {
    let (mut p, mut b) = pit();
    b.outb(&mut p, 0x43, 0x31);
    b.outb(&mut p, 0x40, 0x00);
    b.outb(&mut p, 0x40, 0x10);
    at(&mut b, 2);
    assert_eq!(count(&mut p, &mut b, 0), 0x0999);
    at(&mut b, 1002);
    assert_eq!(count(&mut p, &mut b, 0), 0x9999, "goes on below zero in decimal");
    b.outb(&mut p, 0x40, 0xff);
    b.outb(&mut p, 0x40, 0xff);
    count(&mut p, &mut b, 0); // digits above 9 are the guest's affair, not ours
}

#[test]
fn a_new_count_in_a_periodic_mode_waits_for_the_end() {
    let (mut p, mut b) = pit();
    program(&mut p, &mut b, 0, 2, 4);
    at(&mut b, 2);
    b.outb(&mut p, 0x40, 6);
    b.outb(&mut p, 0x40, 0);
    b.outb(&mut p, 0x43, 0xe2);
    assert_eq!(b.inb(&mut p, 0x40), 0x80 | 0x40 | 0x34, "null count until then");
    assert_eq!(wave(&mut p, &mut b, 0, 14)[2..], *"--_-----_---");
    let (mut p, mut b) = pit();
    program(&mut p, &mut b, 0, 3, 8); // high 1-4, low 5-8
    at(&mut b, 2);
    b.outb(&mut p, 0x40, 4);
    b.outb(&mut p, 0x40, 0);
    let seen = p.next_deadline();
    assert_eq!(wave(&mut p, &mut b, 0, 13)[2..], *"---__--__--", "from the half, in mode 3");
    assert_eq!(seen, Some(CLK.ns_at(7)));
}

#[test]
fn writing_the_first_byte_stops_mode_0() {
    let (mut p, mut b) = pit();
    program(&mut p, &mut b, 0, 0, 2);
    at(&mut b, 10);
    assert!(out(&mut p, &mut b, 0));
    b.outb(&mut p, 0x40, 5);
    assert!(!out(&mut p, &mut b, 0));
    assert_eq!(p.next_deadline(), None);
    b.outb(&mut p, 0x40, 0);
    assert_eq!(p.next_deadline(), Some(CLK.ns_at(16)));
}

#[test]
fn latch_holds_until_read() {
    let (mut p, mut b) = pit();
    program(&mut p, &mut b, 0, 2, 1000);
    at(&mut b, 11);
    b.outb(&mut p, 0x43, 0);
    at(&mut b, 21);
    b.outb(&mut p, 0x43, 0);
    assert_eq!(u16::from_le_bytes([b.inb(&mut p, 0x40), b.inb(&mut p, 0x40)]), 990, "the first latch counts");
    assert_eq!(u16::from_le_bytes([b.inb(&mut p, 0x40), b.inb(&mut p, 0x40)]), 980);
}

#[test]
fn read_back_gives_status_then_count() {
    let (mut p, mut b) = pit();
    program(&mut p, &mut b, 0, 2, 1000);
    program(&mut p, &mut b, 1, 3, 18);
    at(&mut b, 11);
    b.outb(&mut p, 0x43, 0xc0 | 1 << 1 | 1 << 2);
    at(&mut b, 500);
    let bytes = [0x40, 0x40, 0x40, 0x41, 0x41, 0x41].map(|port| b.inb(&mut p, port));
    assert_eq!(bytes, [0xb4, 0xde, 0x03, 0x36, 16, 0]);
    b.outb(&mut p, 0x43, 0x14); // low byte only
    b.outb(&mut p, 0x40, 100);
    at(&mut b, 511);
    assert_eq!([b.inb(&mut p, 0x40), b.inb(&mut p, 0x40)], [90, 90]);
    b.outb(&mut p, 0x43, 0x24); // high byte only
    b.outb(&mut p, 0x40, 2);
    at(&mut b, 522);
    assert_eq!(b.inb(&mut p, 0x40), 1);
}

#[test]
fn port_61_gates_counter_2_and_shows_its_output() {
    // as Linux measures the TSC: mode 0, gate open, wait for bit 5
    let (mut p, mut b) = pit();
    b.outb(&mut p, 0x61, 0x01);
    program(&mut p, &mut b, 2, 0, 1000);
    at(&mut b, 501);
    assert_eq!(b.inb(&mut p, 0x61) & 0x2f, 0x01);
    assert_eq!(count(&mut p, &mut b, 2), 500);
    b.outb(&mut p, 0x61, 0x02);
    at(&mut b, 5000);
    assert_eq!(count(&mut p, &mut b, 2), 500, "closed");
    b.outb(&mut p, 0x61, 0x01);
    at(&mut b, 5499);
    assert_eq!(b.inb(&mut p, 0x61) & 0x20, 0);
    at(&mut b, 5500);
    assert_eq!(b.inb(&mut p, 0x61) & 0x20, 0x20);
}

#[test]
fn a_closed_gate_holds_periodic_modes_high_and_opening_restarts_them() {
    let (mut p, mut b) = pit();
    b.outb(&mut p, 0x61, 1);
    program(&mut p, &mut b, 2, 3, 8);
    at(&mut b, 6);
    assert!(!out(&mut p, &mut b, 2));
    b.outb(&mut p, 0x61, 0);
    assert!(out(&mut p, &mut b, 2));
    at(&mut b, 100);
    b.outb(&mut p, 0x61, 1);
    assert_eq!(wave(&mut p, &mut b, 2, 110)[100..], *"----____--");
}

#[test]
fn refresh_bit_toggles() {
    let (mut p, mut b) = pit();
    let bits = [0, 15_085, 30_170].map(|now| {
        b.now = now;
        b.inb(&mut p, 0x61) & 0x10
    });
    assert_eq!(bits, [0, 0x10, 0]);
}

#[test]
fn saved_state_round_trips() {
    let (mut p, mut b) = pit();
    program(&mut p, &mut b, 0, 3, 777);
    b.outb(&mut p, 0x61, 1);
    program(&mut p, &mut b, 2, 1, 55);
    at(&mut b, 1234);
    b.outb(&mut p, 0x43, 0xc2);
    let mut q = pit().0;
    round_trip(&p, &mut q);
    assert_eq!(q.next_deadline(), p.next_deadline());
    let mut bad = p.save();
    bad.counters[0].run = Some(Run { n: 0, start: 0, frozen: None });
    assert!(q.restore(bad).is_err());
    q.reset(&mut b.cx());
    assert_eq!(q.next_deadline(), None);
}
