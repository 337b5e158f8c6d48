use super::*;
use crate::testing::{Bench, round_trip};
use bus::{Device, Signal, Timer, Width};
use spec::TIMER;

const BASE: u16 = 0x600;
const SCI: u8 = 9;

fn pm() -> (AcpiPm, Bench) {
    (AcpiPm::new(BASE, Line::new(SCI)), Bench::default())
}

fn inw(p: &mut AcpiPm, b: &mut Bench, port: u16) -> u16 {
    b.input(p, BASE + port, Width::B2) as u16
}

fn outw(p: &mut AcpiPm, b: &mut Bench, port: u16, v: u16) {
    b.output(p, BASE + port, Width::B2, v.into());
}

#[test]
fn timer_counts_24_bits() {
    let (mut p, mut b) = pm();
    b.now = 1_000_000_000;
    assert_eq!(b.inl(&mut p, BASE + 8), 3_579_545);
    b.now = TIMER.ns_at((1 << 24) + 5);
    assert_eq!(b.inl(&mut p, BASE + 8), 5);
    assert_eq!(inw(&mut p, &mut b, 8), 5);
    b.outl(&mut p, BASE + 8, 99);
    assert_eq!(b.inl(&mut p, BASE + 8), 5, "read-only");
}

#[test]
fn timer_carry_is_an_event() {
    let (mut p, mut b) = pm();
    assert_eq!(p.next_deadline(), None);
    outw(&mut p, &mut b, 2, 1);
    let at = TIMER.ns_at(1 << 23);
    assert_eq!(b.run(&mut p, at * 5, SCI), [at]);
    assert_eq!(inw(&mut p, &mut b, 0), 1);
    outw(&mut p, &mut b, 0, 1);
    assert!(!b.high(SCI));
    assert_eq!(p.next_deadline(), Some(TIMER.ns_at(6 << 23)));
}

#[test]
fn the_power_button_interrupts_when_enabled() {
    let (mut p, mut b) = pm();
    p.press_power_button(&mut b.cx());
    assert!(!b.high(SCI));
    outw(&mut p, &mut b, 2, 0x100);
    assert!(b.high(SCI));
    assert_eq!(inw(&mut p, &mut b, 0), 0x100);
    outw(&mut p, &mut b, 0, 0xfeff);
    assert!(b.high(SCI), "zeroes clear nothing");
    b.outb(&mut p, BASE + 1, 1);
    assert!(!b.high(SCI));
}

#[test]
fn event_block_by_byte_and_doubleword() {
    let (mut p, mut b) = pm();
    outw(&mut p, &mut b, 2, 0xffff);
    assert_eq!(b.inl(&mut p, BASE), 0x0721_0000);
    b.outb(&mut p, BASE + 3, 1);
    assert_eq!(inw(&mut p, &mut b, 2), 0x0121);
    b.outb(&mut p, BASE + 2, 0);
    assert_eq!((b.inb(&mut p, BASE + 2), b.inb(&mut p, BASE + 3)), (0, 1));
    p.press_power_button(&mut b.cx());
    b.outl(&mut p, BASE, 0x0001_0100);
    assert_eq!(b.inl(&mut p, BASE), 0x0001_0000);
}

#[test]
fn sleep_enable_switches_off() {
    let (mut p, mut b) = pm();
    assert_eq!(inw(&mut p, &mut b, 4), 1, "always in ACPI mode");
    outw(&mut p, &mut b, 4, 5 << 10);
    assert_eq!(b.out.take_signal(), None, "only the type");
    outw(&mut p, &mut b, 4, 5 << 10 | 1 << 13);
    assert_eq!(b.out.take_signal(), Some(Signal::PowerOff));
    assert_eq!(inw(&mut p, &mut b, 4), 5 << 10 | 1, "SLP_EN reads as zero");
    outw(&mut p, &mut b, 4, 1 << 10 | 1 << 13);
    assert_eq!(b.out.take_signal(), Some(Signal::Sleep(1)));
    b.outb(&mut p, BASE + 5, 0x34);
    assert_eq!(b.out.take_signal(), Some(Signal::PowerOff), "by byte");
}

#[test]
fn saved_state_round_trips() {
    let (mut p, mut b) = pm();
    outw(&mut p, &mut b, 2, 0x101);
    p.press_power_button(&mut b.cx());
    b.now = 77;
    inw(&mut p, &mut b, 0);
    round_trip(&p, &mut pm().0);
    p.reset(&mut b.cx());
    assert!(!b.high(SCI));
}
