use super::*;
use crate::testing::{Bench, round_trip};
use bus::{Device, Pio, Snapshot, Timer, Width};

const BASE: u16 = 0x3f8;
const IRQ: u8 = 4;

fn uart() -> (Uart16550, Bench) {
    (Uart16550::new(BASE, Line::new(IRQ), Stream::Com1), Bench::default())
}

/// 115200 8N1, FIFOs with trigger level 8.
fn with_fifo() -> (Uart16550, Bench) {
    let (mut u, mut b) = uart();
    b.outb(&mut u, BASE + 3, 0x80);
    b.outb(&mut u, BASE, 1);
    b.outb(&mut u, BASE + 1, 0);
    b.outb(&mut u, BASE + 3, 3);
    b.outb(&mut u, BASE + 2, 0x81);
    (u, b)
}

fn iir(u: &mut Uart16550, b: &mut Bench) -> u8 {
    b.inb(u, BASE + 2)
}

#[test]
fn reset_values() {
    let (mut u, mut b) = uart();
    let regs: Vec<u8> = (1..8).map(|r| b.inb(&mut u, BASE + r)).collect();
    assert_eq!(regs, [0, 1, 0, 0, 0x60, 0xb0, 0]);
    assert!(!b.high(IRQ));
}

#[test]
fn divisor_latch_and_scratch() {
    let (mut u, mut b) = uart();
    b.outb(&mut u, BASE + 3, 0x83);
    b.output(&mut u, BASE, Width::B2, 0x1234);
    assert_eq!(b.input(&mut u, BASE, Width::B2), 0x1234);
    b.outb(&mut u, BASE + 3, 0x03);
    assert_eq!(b.inb(&mut u, BASE + 1), 0, "IER is not the latch");
    assert!(b.out.bytes(Stream::Com1).is_empty(), "the latch is not the transmitter");
    b.outb(&mut u, BASE + 7, 0xa5);
    u.reset(&mut b.cx());
    assert_eq!(b.inb(&mut u, BASE + 7), 0xa5);
}

#[test]
fn transmits_every_byte_in_order() {
    let (mut u, mut b) = uart();
    let text: Vec<u8> = (0..=255).cycle().take(5000).collect();
    for c in &text {
        assert_eq!(b.inb(&mut u, BASE + 5) & 0x60, 0x60);
        b.outb(&mut u, BASE, *c);
    }
    assert_eq!(b.out.take_bytes(Stream::Com1), text);
}

#[test]
fn enabling_the_thre_interrupt_raises_it_each_time() {
    // what Linux tests at start-up (bug_txen, THRE test)
    let (mut u, mut b) = uart();
    for _ in 0..3 {
        b.outb(&mut u, BASE + 1, 2);
        assert!(b.high(IRQ));
        assert_eq!(iir(&mut u, &mut b), 0x02);
        assert!(!b.high(IRQ), "reading IIR clears it");
        assert_eq!(iir(&mut u, &mut b), 0x01);
        b.outb(&mut u, BASE + 1, 2);
        assert_eq!(iir(&mut u, &mut b), 0x01, "no enabling edge, no interrupt");
        b.outb(&mut u, BASE + 1, 0);
    }
}

#[test]
fn each_transmitted_byte_is_a_new_edge() {
    let (mut u, mut b) = uart();
    b.outb(&mut u, BASE + 1, 2);
    assert!(b.rose(IRQ));
    for _ in 0..3 {
        b.outb(&mut u, BASE, b'x');
        assert!(b.rose(IRQ), "also when the interrupt was not read from IIR before");
    }
}

#[test]
fn reading_iir_clears_thre_only_when_it_reports_it() {
    let (mut u, mut b) = uart();
    b.outb(&mut u, BASE + 1, 3);
    u.receive(&mut b.cx(), b'a');
    assert_eq!(iir(&mut u, &mut b), 0x04, "data is more urgent");
    assert_eq!(b.inb(&mut u, BASE), b'a');
    assert_eq!(iir(&mut u, &mut b), 0x02);
}

#[test]
fn without_fifos_one_character_waits_and_the_next_overruns() {
    let (mut u, mut b) = uart();
    b.outb(&mut u, BASE + 1, 5);
    assert_eq!(u.can_receive(), 1);
    u.receive(&mut b.cx(), b'a');
    assert_eq!(u.can_receive(), 0);
    assert_eq!(iir(&mut u, &mut b), 0x04);
    u.receive(&mut b.cx(), b'b');
    assert_eq!(iir(&mut u, &mut b), 0x06, "line status has the highest priority");
    assert_eq!(b.inb(&mut u, BASE + 5), 0x63);
    assert_eq!(b.inb(&mut u, BASE + 5), 0x61, "reading LSR clears the overrun");
    assert_eq!(b.inb(&mut u, BASE), b'b');
    assert!(!b.high(IRQ));
}

#[test]
fn fifo_depth_trigger_and_order() {
    let (mut u, mut b) = with_fifo();
    b.outb(&mut u, BASE + 1, 1);
    assert_eq!(iir(&mut u, &mut b), 0xc1);
    for i in 0..16 {
        assert_eq!(u.can_receive(), 16 - usize::from(i));
        u.receive(&mut b.cx(), i);
        assert_eq!(b.high(IRQ), i >= 7, "trigger level 8");
    }
    assert_eq!(u.can_receive(), 0);
    u.receive(&mut b.cx(), 99);
    assert_eq!(b.inb(&mut u, BASE + 5) & 3, 3, "overrun");
    for i in 0..16 {
        assert_eq!(b.inb(&mut u, BASE), i, "the FIFO keeps what it holds");
    }
    assert_eq!(b.inb(&mut u, BASE + 5) & 1, 0);
}

#[test]
fn below_the_trigger_level_the_timeout_speaks_after_four_characters() {
    let (mut u, mut b) = with_fifo();
    b.outb(&mut u, BASE + 1, 1);
    b.now = 1000;
    u.receive(&mut b.cx(), b'a');
    u.receive(&mut b.cx(), b'b');
    assert!(!b.high(IRQ));
    let chars_4 = 4 * 10 * 1_000_000_000 / 115_200;
    assert_eq!(u.next_deadline(), Some(1000 + chars_4));
    assert_eq!(b.run(&mut u, 1_000_000, IRQ), [1000 + chars_4]);
    assert_eq!(iir(&mut u, &mut b), 0xcc);
    assert_eq!(b.inb(&mut u, BASE), b'a');
    assert!(!b.high(IRQ), "reading starts the timeout again");
    assert_eq!(u.next_deadline(), Some(1_000_000 + chars_4));
    assert_eq!(b.inb(&mut u, BASE), b'b');
    assert_eq!(u.next_deadline(), None);
}

#[test]
fn fifo_control_clears() {
    let (mut u, mut b) = with_fifo();
    for fcr in [0x03, 0x00, 0x01] {
        u.receive(&mut b.cx(), b'a');
        b.outb(&mut u, BASE + 2, fcr);
        assert_eq!(b.inb(&mut u, BASE + 5) & 1, 0, "FCR {fcr:#x}");
    }
    u.receive(&mut b.cx(), b'a');
    b.outb(&mut u, BASE + 2, 0xc1);
    assert_eq!(b.inb(&mut u, BASE + 5) & 1, 1, "a new trigger level clears nothing");
}

#[test]
fn loopback_connects_outputs_to_inputs() {
    let (mut u, mut b) = uart();
    // Linux's autoconfiguration: LOOP | OUT2 | RTS must read back as DCD and CTS
    b.outb(&mut u, BASE + 4, 0x1a);
    assert_eq!(b.inb(&mut u, BASE + 6) & 0xf0, 0x90);
    assert_eq!(u.can_receive(), 0);
    b.outb(&mut u, BASE, b'z');
    assert!(b.out.bytes(Stream::Com1).is_empty());
    assert_eq!(b.inb(&mut u, BASE), b'z');
    for (mcr, msr) in [(0x10, 0x00), (0x11, 0x20), (0x12, 0x10), (0x14, 0x40), (0x18, 0x80), (0x1f, 0xf0)] {
        b.outb(&mut u, BASE + 4, mcr);
        assert_eq!(b.inb(&mut u, BASE + 6) & 0xf0, msr);
    }
}

#[test]
fn modem_deltas_interrupt_until_read() {
    let (mut u, mut b) = uart();
    b.outb(&mut u, BASE + 4, 0x10);
    b.inb(&mut u, BASE + 6);
    b.outb(&mut u, BASE + 1, 8);
    assert!(!b.high(IRQ));
    b.outb(&mut u, BASE + 4, 0x14);
    assert!(!b.high(IRQ), "RI counts at its trailing edge");
    b.outb(&mut u, BASE + 4, 0x12);
    assert_eq!(iir(&mut u, &mut b), 0x00);
    assert_eq!(b.inb(&mut u, BASE + 6), 0x15);
    assert_eq!(b.inb(&mut u, BASE + 6), 0x10);
    assert!(!b.high(IRQ));
}

#[test]
fn reserved_bits_read_zero() {
    let (mut u, mut b) = uart();
    b.outb(&mut u, BASE + 1, 0xff);
    b.outb(&mut u, BASE + 4, 0xef);
    assert_eq!((b.inb(&mut u, BASE + 1), b.inb(&mut u, BASE + 4)), (0x0f, 0x0f));
    assert!(u.read(&mut b.cx(), bus::PioAccess::new(BASE + 8, Width::B1)).ok().is_none());
}

#[test]
fn saved_state_round_trips() {
    let (mut u, mut b) = with_fifo();
    b.outb(&mut u, BASE + 1, 0x0f);
    b.outb(&mut u, BASE + 4, 0x0b);
    u.receive(&mut b.cx(), 7);
    round_trip(&u, &mut uart().0);
    let mut damaged = u.save();
    damaged.rx = vec![0; 17].into();
    assert!(u.restore(damaged).is_err());
}
