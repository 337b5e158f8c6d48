use super::*;
use crate::testing::{Bench, round_trip};
use bus::{Device, NS_PER_SEC, Snapshot, Timer, Width};

const IRQ: u8 = 8;
const S: u64 = NS_PER_SEC;
/// 2026-11-22 13:59:58, a Sunday.
const START: u64 = 1_795_355_998;

fn rtc() -> (Rtc, Bench) {
    (Rtc::new(Line::new(IRQ), START * S), Bench::default())
}

fn rd(r: &mut Rtc, b: &mut Bench, i: u8) -> u8 {
    b.outb(r, 0x70, i);
    b.inb(r, 0x71)
}

fn wr(r: &mut Rtc, b: &mut Bench, i: u8, v: u8) {
    b.outb(r, 0x70, i);
    b.outb(r, 0x71, v);
}

/// Seconds, minutes, hours, weekday, day, month, year, century.
fn time(r: &mut Rtc, b: &mut Bench) -> [u8; 8] {
    [0, 2, 4, 6, 7, 8, 9, 0x32].map(|i| rd(r, b, i))
}

#[test]
fn starts_at_the_hosts_time_in_bcd() {
    let (mut r, mut b) = rtc();
    assert_eq!(time(&mut r, &mut b), [0x58, 0x59, 0x13, 1, 0x22, 0x11, 0x26, 0x20]);
    b.now = 2 * S;
    assert_eq!(time(&mut r, &mut b), [0, 0, 0x14, 1, 0x22, 0x11, 0x26, 0x20]);
    b.now = 2 * S + 10 * 3600 * S;
    assert_eq!(time(&mut r, &mut b), [0, 0, 0, 2, 0x23, 0x11, 0x26, 0x20]);
    assert_eq!((rd(&mut r, &mut b, 0xa), rd(&mut r, &mut b, 0xb), rd(&mut r, &mut b, 0xd)), (0x26, 0x02, 0x80));
}

#[test]
fn binary_and_twelve_hours() {
    let (mut r, mut b) = rtc();
    wr(&mut r, &mut b, 0xb, 0x06);
    assert_eq!(time(&mut r, &mut b), [58, 59, 13, 1, 22, 11, 26, 20]);
    for (hour, binary, bcd) in
        [(0, 12, 0x12), (1, 1, 0x01), (11, 11, 0x11), (12, 0x8c, 0x92), (13, 0x81, 0x81), (23, 0x8b, 0x91)]
    {
        wr(&mut r, &mut b, 0xb, 0x06);
        wr(&mut r, &mut b, 4, hour);
        wr(&mut r, &mut b, 0xb, 0x04);
        assert_eq!(rd(&mut r, &mut b, 4), binary, "hour {hour}");
        wr(&mut r, &mut b, 0xb, 0x00);
        assert_eq!(rd(&mut r, &mut b, 4), bcd, "hour {hour}");
        wr(&mut r, &mut b, 4, bcd);
        wr(&mut r, &mut b, 0xb, 0x06);
        assert_eq!(rd(&mut r, &mut b, 4), hour);
    }
}

#[test]
fn set_holds_the_time_while_it_is_written() {
    let (mut r, mut b) = rtc();
    b.now = S / 4;
    wr(&mut r, &mut b, 0xb, 0x92);
    assert_eq!(rd(&mut r, &mut b, 0xb), 0x82, "SET clears UIE");
    b.now = 30 * S;
    assert_eq!(rd(&mut r, &mut b, 0), 0x58);
    // 2099-12-31 23:59:59, called a Wednesday
    for (i, v) in [(0, 0x59), (2, 0x59), (4, 0x23), (6, 4), (7, 0x31), (8, 0x12), (9, 0x99), (0x32, 0x20)] {
        wr(&mut r, &mut b, i, v);
    }
    b.now = 40 * S + S / 2;
    wr(&mut r, &mut b, 0xb, 0x02);
    assert_eq!(time(&mut r, &mut b), [0x59, 0x59, 0x23, 4, 0x31, 0x12, 0x99, 0x20]);
    b.now = 41 * S;
    assert_eq!(time(&mut r, &mut b), [0, 0, 0, 5, 1, 1, 0, 0x21], "the divider kept its phase");
}

#[test]
fn releasing_the_divider_gives_half_a_second() {
    let (mut r, mut b) = rtc();
    b.now = S / 10;
    wr(&mut r, &mut b, 0xa, 0x76);
    b.now = 100 * S + S / 10;
    assert_eq!(rd(&mut r, &mut b, 0), 0x58);
    wr(&mut r, &mut b, 0xa, 0x26);
    b.now += S / 2 - 1;
    assert_eq!(rd(&mut r, &mut b, 0), 0x58);
    b.now += 1;
    assert_eq!(rd(&mut r, &mut b, 0), 0x59);
}

#[test]
fn update_in_progress_announces_the_new_second() {
    let (mut r, mut b) = rtc();
    let uip = [0, S - 2_228_001, S - 2_228_000, S - 1, S].map(|now| {
        b.now = now;
        rd(&mut r, &mut b, 0xa) >> 7
    });
    assert_eq!(uip, [0, 0, 1, 1, 0]);
    b.now = 2 * S - 1;
    wr(&mut r, &mut b, 0xb, 0x82);
    assert_eq!(rd(&mut r, &mut b, 0xa) >> 7, 0, "no updates while SET");
}

#[test]
fn update_ended_interrupts_until_c_is_read() {
    let (mut r, mut b) = rtc();
    wr(&mut r, &mut b, 0xa, 0x20);
    wr(&mut r, &mut b, 0xb, 0x12);
    assert_eq!(b.run(&mut r, 5 * S / 2, IRQ), [S], "one edge, not read");
    assert_eq!(rd(&mut r, &mut b, 0xc), 0x90);
    assert!(!b.high(IRQ));
    assert_eq!(rd(&mut r, &mut b, 0xc), 0);
    assert_eq!(r.next_deadline(), Some(3 * S));
}

#[test]
fn periodic_rates() {
    for (rs, hz) in [(1, 256), (2, 128), (3, 8192), (6, 1024), (13, 8), (15, 2)] {
        let (mut r, mut b) = rtc();
        wr(&mut r, &mut b, 0xa, 0x20 | rs);
        wr(&mut r, &mut b, 0xb, 0x42);
        let mut edges = 0;
        while let Some(t) = r.next_deadline().filter(|t| *t <= S) {
            b.now = t;
            r.tick(&mut b.cx());
            assert_eq!(rd(&mut r, &mut b, 0xc) & 0xc0, 0xc0);
            edges += 1;
        }
        assert_eq!(edges, hz, "rate {rs}");
    }
    let (mut r, mut b) = rtc();
    wr(&mut r, &mut b, 0xa, 0x20);
    wr(&mut r, &mut b, 0xb, 0x42);
    assert_eq!(r.next_deadline(), None);
}

#[test]
fn alarm_at_a_time_and_with_wildcards() {
    for (alarm, expect) in [
        ([0x30, 0x00, 0x14], 32),            // 14:00:30
        ([0x58, 0x59, 0x13], 86_400),        // now: tomorrow
        ([0x57, 0x59, 0x13], 86_399),        // a second ago
        ([0xff, 0xff, 0xff], 1),             // every second
        ([0x00, 0xc0, 0xff], 2),             // every minute
        ([0x00, 0x30, 0xff], 2 + 1800),      // every hour at half past
        ([0xff, 0x00, 0x00], 2 + 10 * 3600), // each second of the minute after midnight
    ] {
        let (mut r, mut b) = rtc();
        wr(&mut r, &mut b, 0xa, 0x20);
        for (i, v) in [1, 3, 5].into_iter().zip(alarm) {
            wr(&mut r, &mut b, i, v);
        }
        wr(&mut r, &mut b, 0xb, 0x22);
        assert_eq!(b.run(&mut r, 90_000 * S, IRQ), [expect * S], "{alarm:x?}");
        assert_eq!(rd(&mut r, &mut b, 0xc), 0xb0);
    }
    let (mut r, mut b) = rtc();
    wr(&mut r, &mut b, 5, 0x30);
    wr(&mut r, &mut b, 0xb, 0x22);
    assert_eq!(r.next_deadline(), None, "there is no hour 30");
}

#[test]
fn flags_rise_without_their_enables() {
    let (mut r, mut b) = rtc();
    b.now = S;
    assert_eq!(rd(&mut r, &mut b, 0xc), 0x50);
    assert!(!b.high(IRQ));
    b.now = 2 * S;
    rd(&mut r, &mut b, 0);
    wr(&mut r, &mut b, 0xb, 0x12);
    assert!(b.high(IRQ), "enabling with the flag up interrupts");
}

#[test]
fn cmos_holds_bytes_and_survives_reset() {
    let (mut r, mut b) = rtc();
    for i in (0x0e..0x80).filter(|i| *i != 0x32) {
        wr(&mut r, &mut b, i, i ^ 0x5a);
    }
    wr(&mut r, &mut b, 0xb, 0x72);
    r.reset(&mut b.cx());
    assert_eq!(rd(&mut r, &mut b, 0xb), 0x02);
    for i in (0x0e..0x80).filter(|i| *i != 0x32) {
        assert_eq!(rd(&mut r, &mut b, i), i ^ 0x5a);
    }
    b.outb(&mut r, 0x70, 0x8f);
    assert!(r.nmi_masked());
    assert_eq!(b.input(&mut r, 0x70, Width::B2), 0x558f);
}

#[test]
fn memory_sizes() {
    let (mut r, mut b) = rtc();
    r.set_memory_size(512 << 20, 1 << 30);
    let bytes = [0x15, 0x16, 0x17, 0x18, 0x30, 0x31, 0x34, 0x35, 0x5b, 0x5c, 0x5d].map(|i| rd(&mut r, &mut b, i));
    assert_eq!(bytes, [0x80, 0x02, 0xff, 0xff, 0xff, 0xff, 0x00, 0x1f, 0x00, 0x40, 0x00]);
}

#[test]
fn the_hosts_time_can_be_set_again() {
    let (mut r, mut b) = rtc();
    for (now, unix) in
        [(5 * S + 7, 1000 * S), (S / 2, 1000 * S + S / 4), (S / 4, 1000 * S + S / 2), (9 * S, 2000 * S - 1)]
    {
        b.now = now;
        r.set_unix_time(now, unix);
        let left = S - unix % S;
        assert_eq!(r.unix_time(now) as u64, unix / S);
        assert_eq!(r.unix_time(now + left - 1) as u64, unix / S);
        assert_eq!(r.unix_time(now + left) as u64, unix / S + 1);
    }
}

#[test]
fn saved_state_round_trips() {
    let (mut r, mut b) = rtc();
    b.now = 12345 * S + 6;
    wr(&mut r, &mut b, 0x40, 9);
    wr(&mut r, &mut b, 0xb, 0x82);
    round_trip(&r, &mut rtc().0);
    let mut bad = r.save();
    bad.ram.pop();
    assert!(r.restore(bad).is_err());
}
