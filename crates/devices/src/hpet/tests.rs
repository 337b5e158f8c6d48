use super::*;
use crate::testing::{Bench, round_trip};
use bus::{Device, Line, Timer, Width};

const CONFIG: u64 = 0x10;
const STATUS: u64 = 0x20;
const COUNTER: u64 = 0xf0;

fn hpet() -> (Hpet, Bench) {
    (Hpet::new(), Bench::default())
}

fn r64(h: &mut Hpet, b: &mut Bench, offset: u64) -> u64 {
    b.read(h, offset, Width::B8).ok().unwrap()
}

fn w64(h: &mut Hpet, b: &mut Bench, offset: u64, v: u64) {
    b.write(h, offset, Width::B8, v).ok().unwrap();
}

const INT: u64 = 1 << 2;
const LEVEL: u64 = 1 << 1;
const PERIODIC: u64 = 1 << 3;
const SET: u64 = 1 << 6;
const FORCE_32: u64 = 1 << 8;
const ROUTE_21: u64 = 21 << 9;

#[test]
fn capabilities() {
    let (mut h, mut b) = hpet();
    assert_eq!(r64(&mut h, &mut b, 0), 0x0098_9680_8086_a201);
    assert_eq!(b.r32(&mut h, 4), 10_000_000, "femtoseconds");
    for n in 0..3 {
        w64(&mut h, &mut b, 0x100 + 0x20 * n, u64::MAX);
        assert_eq!(r64(&mut h, &mut b, 0x100 + 0x20 * n), 0x00f0_0000_0000_3f7e, "timer {n}");
    }
    w64(&mut h, &mut b, CONFIG, u64::MAX);
    assert_eq!(r64(&mut h, &mut b, CONFIG), 3);
}

#[test]
fn the_counter_runs_while_enabled() {
    let (mut h, mut b) = hpet();
    b.now = 1000;
    assert_eq!(r64(&mut h, &mut b, COUNTER), 0);
    w64(&mut h, &mut b, COUNTER, 0xffff_ffff);
    w64(&mut h, &mut b, CONFIG, 1);
    b.now = 2000;
    assert_eq!(r64(&mut h, &mut b, COUNTER), 0x1_0000_0063);
    assert_eq!((b.r32(&mut h, COUNTER), b.r32(&mut h, COUNTER + 4)), (0x63, 1));
    w64(&mut h, &mut b, CONFIG, 0);
    b.now = 9000;
    assert_eq!(r64(&mut h, &mut b, COUNTER), 0x1_0000_0063);
    b.w32(&mut h, COUNTER + 4, 7);
    w64(&mut h, &mut b, CONFIG, 1);
    b.now = 9010;
    assert_eq!(r64(&mut h, &mut b, COUNTER), 0x7_0000_0064);
}

#[test]
fn one_shot_edge() {
    let (mut h, mut b) = hpet();
    w64(&mut h, &mut b, CONFIG, 1);
    w64(&mut h, &mut b, 0x100, INT | ROUTE_21);
    w64(&mut h, &mut b, 0x108, 500);
    assert_eq!(b.run(&mut h, 1_000_000, 21), [5000]);
    assert_eq!(r64(&mut h, &mut b, STATUS), 0, "edges leave no status");
    w64(&mut h, &mut b, 0x108, 100_001);
    assert_eq!(b.run(&mut h, 2_000_000, 21), [1_000_010]);
}

#[test]
fn level_until_cleared() {
    let (mut h, mut b) = hpet();
    w64(&mut h, &mut b, CONFIG, 1);
    w64(&mut h, &mut b, 0x120, INT | LEVEL | ROUTE_21);
    w64(&mut h, &mut b, 0x128, 500);
    assert_eq!(b.run(&mut h, 6000, 21), [5000]);
    assert!(b.high(21));
    assert_eq!((r64(&mut h, &mut b, STATUS), h.next_deadline()), (2, None));
    w64(&mut h, &mut b, STATUS, 1);
    assert!(b.high(21));
    w64(&mut h, &mut b, STATUS, 2);
    assert!(!b.high(21));
}

#[test]
fn periodic_as_linux_sets_it() {
    let (mut h, mut b) = hpet();
    w64(&mut h, &mut b, CONFIG, 3);
    b.now = 100;
    b.w32(&mut h, 0x100, (INT | PERIODIC | SET | FORCE_32) as u32);
    b.w32(&mut h, 0x108, 1010); // first match: accumulator
    b.w32(&mut h, 0x108, 1000); // period
    assert_eq!(b.run(&mut h, 45_000, 0), [10_100, 20_100, 30_100, 40_100]);
    assert_eq!(b.r32(&mut h, 0x108), 5010, "the comparator shows the next match");
    b.now = 99_999;
    h.tick(&mut b.cx());
    assert!(b.rose(0), "late: one edge");
    assert_eq!(h.next_deadline(), Some(100_100));
}

#[test]
fn legacy_route_takes_irq_0_and_8_over() {
    let (mut h, mut b) = hpet();
    b.irq.set(Line::new(0), true);
    w64(&mut h, &mut b, CONFIG, 3);
    assert!(!b.high(0), "the PIT is cut off");
    w64(&mut h, &mut b, 0x100, INT);
    w64(&mut h, &mut b, 0x108, 10);
    w64(&mut h, &mut b, 0x120, INT | LEVEL | ROUTE_21);
    w64(&mut h, &mut b, 0x128, 20);
    assert_eq!(b.run(&mut h, 150, 0), [100]);
    assert_eq!(b.run(&mut h, 300, 8), [200]);
    assert!(b.high(8) && !b.high(21), "the route field is ignored");
    w64(&mut h, &mut b, CONFIG, 1);
    assert!(b.high(0) && !b.high(8) && b.high(21));
}

#[test]
fn a_32_bit_timer_matches_every_turn() {
    let (mut h, mut b) = hpet();
    w64(&mut h, &mut b, COUNTER, 0xffff_fff0);
    w64(&mut h, &mut b, CONFIG, 1);
    w64(&mut h, &mut b, 0x100, INT | FORCE_32 | ROUTE_21);
    w64(&mut h, &mut b, 0x108, 4);
    let turn = 10 << 32;
    assert_eq!(b.run(&mut h, turn + 1000, 21), [200, turn + 200]);
    w64(&mut h, &mut b, 0x100, INT | ROUTE_21);
    assert!(h.next_deadline().unwrap() > u64::MAX / 2, "64 bits: in 5,800 years");
}

#[test]
fn a_wire_is_shared_with_another_device() {
    let (mut h, mut b) = hpet();
    let other = Line::new(21);
    b.irq.set(other, true);
    w64(&mut h, &mut b, CONFIG, 1);
    assert!(b.high(21), "no timer is routed there");
    w64(&mut h, &mut b, 0x100, INT | LEVEL | ROUTE_21);
    w64(&mut h, &mut b, 0x108, 500);
    assert!(b.run(&mut h, 6000, 21).is_empty(), "high already");
    b.irq.set(other, false);
    assert!(b.high(21), "the timer's");
    w64(&mut h, &mut b, STATUS, 1);
    assert!(!b.high(21));
    w64(&mut h, &mut b, 0x100, INT | ROUTE_21);
    w64(&mut h, &mut b, 0x108, 1000);
    b.irq.set(other, true);
    b.run(&mut h, 20_000, 21);
    assert!(b.high(21), "an edge of the timer leaves the other's level");
}

#[test]
fn disabled_timers_have_no_deadline() {
    let (mut h, mut b) = hpet();
    w64(&mut h, &mut b, 0x108, 10);
    w64(&mut h, &mut b, 0x100, INT | ROUTE_21);
    assert_eq!(h.next_deadline(), None, "the whole block is off");
    w64(&mut h, &mut b, CONFIG, 1);
    w64(&mut h, &mut b, 0x100, ROUTE_21);
    assert_eq!(h.next_deadline(), None);
    w64(&mut h, &mut b, 0x100, INT); // a route that this block does not offer
    assert!(b.run(&mut h, 1000, 0).is_empty());
}

#[test]
fn only_aligned_words_of_32_and_64_bits() {
    let (mut h, mut b) = hpet();
    for (offset, width) in [(0, Width::B1), (0, Width::B2), (4, Width::B8), (2, Width::B4), (0x30, Width::B4)] {
        assert!(b.read(&mut h, offset, width).ok().is_none(), "{offset:#x} {width:?}");
        assert!(b.write(&mut h, offset, width, 0).ok().is_none());
    }
}

#[test]
fn saved_state_round_trips() {
    let (mut h, mut b) = hpet();
    b.now = 333;
    w64(&mut h, &mut b, CONFIG, 1);
    w64(&mut h, &mut b, 0x100, INT | PERIODIC | SET | ROUTE_21);
    w64(&mut h, &mut b, 0x108, 77);
    let mut g = Hpet::new();
    round_trip(&h, &mut g);
    assert_eq!(g.next_deadline(), h.next_deadline());
    h.reset(&mut b.cx());
    assert_eq!(h.next_deadline(), None);
}
