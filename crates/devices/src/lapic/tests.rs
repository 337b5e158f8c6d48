use super::*;
use crate::testing::{Bench, round_trip};
use bus::{Device, Msi, Signal, Snapshot, Timer, Width};

/// 100 MHz: 10 ns a tick.
const CLOCK: Frequency = Frequency::from_hz(100_000_000);

const ID: u64 = 0x20;
const TPR: u64 = 0x80;
const PPR: u64 = 0xa0;
const EOI: u64 = 0xb0;
const LDR: u64 = 0xd0;
const DFR: u64 = 0xe0;
const SVR: u64 = 0xf0;
const ISR: u64 = 0x100;
const TMR: u64 = 0x180;
const IRR: u64 = 0x200;
const ESR: u64 = 0x280;
const ICR: u64 = 0x300;
const ICR_HIGH: u64 = 0x310;
const LVT_TIMER: u64 = 0x320;
const LINT0: u64 = 0x350;
const LINT1: u64 = 0x360;
const LVT_ERROR: u64 = 0x370;
const INITIAL: u64 = 0x380;
const CURRENT: u64 = 0x390;
const DIVIDE: u64 = 0x3e0;
const MASKED: u32 = 1 << 16;

/// Software-enabled, as an operating system leaves it.
fn lapic() -> (Lapic, Bench) {
    let (mut l, mut b) = (Lapic::new(0, CLOCK), Bench::default());
    b.w32(&mut l, SVR, 0x1ff);
    (l, b)
}

fn x2apic() -> (Lapic, Bench) {
    let (mut l, mut b) = lapic();
    wrmsr(&mut l, &mut b, 0x1b, 0xfee0_0d00).unwrap();
    (l, b)
}

fn wrmsr(l: &mut Lapic, b: &mut Bench, msr: u32, v: u64) -> Result<(), GeneralProtection> {
    l.write_msr(&mut b.cx(), msr, v)
}

fn rdmsr(l: &mut Lapic, b: &mut Bench, msr: u32) -> Result<u64, GeneralProtection> {
    l.read_msr(&mut b.cx(), msr)
}

fn send(l: &mut Lapic, b: &mut Bench, address: u64, data: u32) {
    l.receive(&mut b.cx(), Msi { address, data });
}

fn fixed(l: &mut Lapic, b: &mut Bench, vector: u8) {
    send(l, b, 0xfee0_0000, vector.into());
}

#[test]
fn registers_after_reset() {
    let (mut l, mut b) = (Lapic::new(0, CLOCK), Bench::default());
    let expect = [
        (ID, 0),
        (0x30, 0x0005_0014),
        (TPR, 0),
        (PPR, 0),
        (LDR, 0),
        (DFR, 0xffff_ffff),
        (SVR, 0xff),
        (LVT_TIMER, MASKED),
        (LINT0, MASKED),
        (LVT_ERROR, MASKED),
        (INITIAL, 0),
        (CURRENT, 0),
        (DIVIDE, 0),
        (EOI, 0),
    ];
    for (r, v) in expect {
        assert_eq!(b.r32(&mut l, r), v, "register {r:#x}");
    }
    assert_eq!(l.apic_base(), 0xfee0_0900);
    assert_eq!(l.mmio_base(), Some(0xfee0_0000));
}

#[test]
fn a_vector_goes_from_irr_to_isr_to_eoi() {
    let (mut l, mut b) = lapic();
    fixed(&mut l, &mut b, 0x61);
    assert_eq!(b.r32(&mut l, IRR + 0x30), 1 << 1);
    assert_eq!((l.pending_vector(), l.ack()), (Some(0x61), 0x61));
    assert_eq!((b.r32(&mut l, IRR + 0x30), b.r32(&mut l, ISR + 0x30)), (0, 1 << 1));
    assert_eq!((l.pending_vector(), b.r32(&mut l, PPR)), (None, 0x60));
    b.w32(&mut l, EOI, 0);
    assert_eq!((b.r32(&mut l, ISR + 0x30), b.r32(&mut l, PPR)), (0, 0));
    assert_eq!(b.irq.take_eoi(), None, "edge: no broadcast");
}

#[test]
fn the_timers_interrupt_may_come_early() {
    let (mut l, mut b) = lapic();
    l.timer_interrupt(&mut b.cx());
    assert_eq!(l.pending_vector(), None, "masked");
    b.w32(&mut l, LVT_TIMER, 0x71);
    b.w32(&mut l, INITIAL, 1000);
    let due = l.next_deadline();
    l.timer_interrupt(&mut b.cx());
    assert_eq!((l.pending_vector(), l.next_deadline()), (Some(0x71), due), "and comes again when it is due");
}

#[test]
fn every_vector_from_16_can_be_received() {
    for v in 16..=255 {
        let (mut l, mut b) = lapic();
        fixed(&mut l, &mut b, v);
        assert_eq!(l.pending_vector(), Some(v));
        assert_eq!(l.ack(), v);
        b.w32(&mut l, EOI, 0);
        assert_eq!(
            l.save(),
            {
                let (mut l, mut b) = lapic();
                b.w32(&mut l, EOI, 0);
                l
            }
            .save()
        );
    }
}

#[test]
fn higher_classes_nest_same_class_waits() {
    let (mut l, mut b) = lapic();
    for v in [0x41, 0x4f, 0x52] {
        fixed(&mut l, &mut b, v);
    }
    assert_eq!(l.ack(), 0x52);
    assert_eq!(l.pending_vector(), None);
    fixed(&mut l, &mut b, 0x5f);
    assert_eq!(l.pending_vector(), None, "the same class does not nest");
    fixed(&mut l, &mut b, 0x60);
    assert_eq!(l.ack(), 0x60);
    b.w32(&mut l, EOI, 0);
    b.w32(&mut l, EOI, 0);
    assert_eq!([l.ack(), l.pending_vector().unwrap_or(0)], [0x5f, 0], "0x52 was ended, 0x4f waits for 0x5f");
    b.w32(&mut l, EOI, 0);
    assert_eq!(l.ack(), 0x4f);
}

#[test]
fn task_priority_holds_its_class_back() {
    let (mut l, mut b) = lapic();
    fixed(&mut l, &mut b, 0x4f);
    b.w32(&mut l, TPR, 0x40);
    assert_eq!((l.pending_vector(), l.cr8(), b.r32(&mut l, PPR)), (None, 4, 0x40));
    assert_eq!(l.ack(), 0xff, "the request is held: spurious");
    l.set_cr8(3);
    assert_eq!((l.pending_vector(), b.r32(&mut l, TPR)), (Some(0x4f), 0x30));
    l.ack();
    b.w32(&mut l, TPR, 0x45);
    assert_eq!(b.r32(&mut l, PPR), 0x45, "equal classes: TPR with its low bits");
}

#[test]
fn a_level_triggered_vector_broadcasts_its_eoi() {
    let (mut l, mut b) = lapic();
    send(&mut l, &mut b, 0xfee0_0000, 0xc031);
    assert_eq!(b.r32(&mut l, TMR + 0x10), 1 << 17);
    l.ack();
    b.w32(&mut l, EOI, 0);
    assert_eq!((b.irq.take_eoi(), b.irq.take_eoi()), (Some(0x31), None));
    fixed(&mut l, &mut b, 0x31);
    assert_eq!(b.r32(&mut l, TMR + 0x10), 0, "TMR follows the last one");
}

#[test]
fn destinations() {
    let (mut l, mut b) = lapic();
    b.w32(&mut l, LDR, 0x0200_0000);
    let mut reaches = |l: &mut Lapic, address: u64| {
        send(l, &mut b, address, 0x55);
        let hit = l.pending_vector().is_some();
        if hit {
            l.ack();
            b.w32(l, EOI, 0);
        }
        hit
    };
    assert!(reaches(&mut l, 0xfee0_0000), "physical 0");
    assert!(!reaches(&mut l, 0xfee0_1000), "physical 1");
    assert!(reaches(&mut l, 0xfeef_f000), "broadcast");
    assert!(reaches(&mut l, 0xfee0_3004), "flat, one of two bits");
    assert!(!reaches(&mut l, 0xfee0_1004), "flat, another bit");
    assert!(!reaches(&mut l, 0xfed0_0000), "not an interrupt message");
    b.w32(&mut l, DFR, 0x0fff_ffff);
    b.w32(&mut l, LDR, 0x3200_0000);
    let mut reaches = |l: &mut Lapic, address: u64| {
        send(l, &mut b, address, 0x55);
        let hit = l.pending_vector().is_some();
        if hit {
            l.ack();
            b.w32(l, EOI, 0);
        }
        hit
    };
    assert!(reaches(&mut l, 0xfee3_6004), "cluster 3, member 2 of 2 and 4");
    assert!(!reaches(&mut l, 0xfee2_2004), "cluster 2");
    assert!(!reaches(&mut l, 0xfee3_1004), "cluster 3, member 1");
}

#[test]
fn software_disabled_takes_no_fixed_interrupts_but_nmi() {
    let (mut l, mut b) = lapic();
    b.w32(&mut l, LVT_TIMER, 0x40);
    b.w32(&mut l, SVR, 0xff);
    assert_eq!(b.r32(&mut l, LVT_TIMER), 0x40 | MASKED);
    b.w32(&mut l, LVT_TIMER, 0x40);
    assert_eq!(b.r32(&mut l, LVT_TIMER), 0x40 | MASKED, "masks cannot be cleared");
    fixed(&mut l, &mut b, 0x55);
    send(&mut l, &mut b, 0xfee0_0000, 0x0400);
    assert_eq!(l.pending_vector(), None);
    assert_eq!(b.out.take_signal(), Some(Signal::Nmi));
    b.w32(&mut l, SVR, 0x1ff);
    assert_eq!(l.pending_vector(), None, "it was not kept");
}

#[test]
fn messages_that_are_not_vectors() {
    for (data, signal) in [(0x200, Signal::Smi), (0x400, Signal::Nmi), (0x500, Signal::Init)] {
        let (mut l, mut b) = lapic();
        send(&mut l, &mut b, 0xfee0_0000, data);
        assert_eq!(b.out.take_signal(), Some(signal));
    }
    let (mut l, mut b) = lapic();
    send(&mut l, &mut b, 0xfee0_0000, 0x700);
    assert!(l.ext_int());
    l.ack_ext_int();
    assert!(!l.ext_int());
}

#[test]
fn one_shot_timer() {
    let (mut l, mut b) = lapic();
    b.now = 1000;
    b.w32(&mut l, DIVIDE, 0b0011); // 16
    b.w32(&mut l, LVT_TIMER, 0x40);
    b.w32(&mut l, INITIAL, 100);
    assert_eq!(l.next_deadline(), Some(1000 + 100 * 160));
    b.now = 1000 + 40 * 160;
    assert_eq!(b.r32(&mut l, CURRENT), 60);
    b.now = 1000 + 100 * 160 - 1;
    l.tick(&mut b.cx());
    assert_eq!(l.pending_vector(), None);
    b.now += 1;
    l.tick(&mut b.cx());
    assert_eq!((l.ack(), b.r32(&mut l, CURRENT), l.next_deadline()), (0x40, 0, None));
}

#[test]
fn all_divisors() {
    for (code, divisor) in [(0, 2), (1, 4), (2, 8), (3, 16), (8, 32), (9, 64), (10, 128), (11, 1)] {
        let (mut l, mut b) = lapic();
        b.w32(&mut l, DIVIDE, code);
        b.w32(&mut l, LVT_TIMER, 0x40);
        b.w32(&mut l, INITIAL, 10);
        assert_eq!(l.next_deadline(), Some(10 * 10 * divisor));
        assert_eq!(b.r32(&mut l, DIVIDE), code);
    }
}

#[test]
fn periodic_timer_keeps_its_phase_when_ticked_late() {
    let (mut l, mut b) = lapic();
    b.w32(&mut l, DIVIDE, 11);
    b.w32(&mut l, LVT_TIMER, 1 << 17 | 0x40);
    b.w32(&mut l, INITIAL, 100);
    b.now = 2345;
    l.tick(&mut b.cx());
    assert_eq!((l.ack(), l.pending_vector()), (0x40, None), "periods missed are one interrupt");
    assert_eq!((l.next_deadline(), b.r32(&mut l, CURRENT)), (Some(3000), 66));
    b.w32(&mut l, INITIAL, 0);
    assert_eq!(l.next_deadline(), None);
}

#[test]
fn a_masked_timer_counts_but_does_not_interrupt() {
    let (mut l, mut b) = lapic();
    b.w32(&mut l, LVT_TIMER, MASKED | 0x40);
    b.w32(&mut l, DIVIDE, 11);
    b.w32(&mut l, INITIAL, u32::MAX);
    assert_eq!(l.next_deadline(), None);
    b.now = 1_000_000;
    assert_eq!(b.r32(&mut l, CURRENT), u32::MAX - 100_000, "as Linux calibrates it");
    b.now = u64::MAX / 4;
    b.w32(&mut l, LVT_TIMER, 0x40);
    assert_eq!((b.r32(&mut l, CURRENT), l.pending_vector(), l.next_deadline()), (0, None, None));
}

#[test]
fn changing_the_divisor_keeps_the_count() {
    let (mut l, mut b) = lapic();
    b.w32(&mut l, DIVIDE, 11);
    b.w32(&mut l, LVT_TIMER, 0x40);
    b.w32(&mut l, INITIAL, 100);
    b.now = 600;
    b.w32(&mut l, DIVIDE, 0);
    assert_eq!((b.r32(&mut l, CURRENT), l.next_deadline()), (40, Some(600 + 40 * 20)));
}

#[test]
fn tsc_deadline() {
    let (mut l, mut b) = lapic();
    l.set_tsc_deadline(&mut b.cx(), 5000, 5000);
    assert_eq!(l.tsc_deadline(&mut b.cx()), 0, "ignored in another mode");
    b.w32(&mut l, LVT_TIMER, 2 << 17 | 0x40);
    b.w32(&mut l, INITIAL, 100);
    assert_eq!(b.r32(&mut l, INITIAL), 0, "the count is ignored in this one");
    l.set_tsc_deadline(&mut b.cx(), 5000, 2500);
    assert_eq!((l.tsc_deadline(&mut b.cx()), l.next_deadline()), (5000, Some(2500)));
    l.set_tsc_deadline(&mut b.cx(), 5000, 3500);
    assert_eq!(l.next_deadline(), Some(3500), "the guest moved its TSC");
    b.now = 3500;
    l.tick(&mut b.cx());
    assert_eq!((l.ack(), l.tsc_deadline(&mut b.cx()), l.next_deadline()), (0x40, 0, None));
    b.w32(&mut l, EOI, 0);
    l.set_tsc_deadline(&mut b.cx(), 1, 3499);
    assert_eq!(l.ack(), 0x40, "a time past fires at once");
    b.w32(&mut l, EOI, 0);
    l.set_tsc_deadline(&mut b.cx(), 9000, 9000);
    l.set_tsc_deadline(&mut b.cx(), 0, 0);
    assert_eq!(l.next_deadline(), None, "0 disarms");
    l.set_tsc_deadline(&mut b.cx(), 9000, 9000);
    b.w32(&mut l, LVT_TIMER, 0x40);
    assert_eq!((l.tsc_deadline(&mut b.cx()), l.next_deadline()), (0, None), "so does leaving the mode");
}

#[test]
fn lint0_carries_the_pic() {
    let (mut l, mut b) = (Lapic::new(0, CLOCK), Bench::default());
    l.set_lint0(&mut b.cx(), true);
    assert!(!l.ext_int(), "masked after reset");
    l.virtual_wire();
    assert!(l.ext_int());
    l.set_lint0(&mut b.cx(), false);
    assert!(!l.ext_int());
    b.w32(&mut l, LINT0, MASKED | 0x700);
    l.set_lint0(&mut b.cx(), true);
    assert!(!l.ext_int());
    wrmsr(&mut l, &mut b, 0x1b, 0xfee0_0100).unwrap();
    assert!(l.ext_int(), "disabled, LINT0 is INTR");
    assert_eq!(l.mmio_base(), None);
}

#[test]
fn lint_pins_as_vectors_and_nmi() {
    let (mut l, mut b) = lapic();
    b.w32(&mut l, LINT1, 0x400);
    l.set_lint1(&mut b.cx(), true);
    l.set_lint1(&mut b.cx(), true);
    assert_eq!((b.out.take_signal(), b.out.take_signal()), (Some(Signal::Nmi), None));
    b.w32(&mut l, LINT0, 1 << 15 | 0x44);
    l.set_lint0(&mut b.cx(), true);
    assert_eq!((l.ack(), b.r32(&mut l, LINT0)), (0x44, 1 << 15 | 1 << 14 | 0x44));
    b.w32(&mut l, EOI, 0);
    assert_eq!(l.ack(), 0x44, "level: still high");
    l.set_lint0(&mut b.cx(), false);
    b.w32(&mut l, EOI, 0);
    assert_eq!((l.pending_vector(), b.r32(&mut l, LINT0)), (None, 1 << 15 | 0x44));
}

#[test]
fn ipis() {
    let (mut l, mut b) = lapic();
    b.w32(&mut l, ICR, 1 << 18 | 0x71);
    assert_eq!(l.ack(), 0x71, "self");
    b.w32(&mut l, EOI, 0);
    b.w32(&mut l, ICR, 2 << 18 | 0x72);
    assert_eq!(l.ack(), 0x72, "all");
    b.w32(&mut l, EOI, 0);
    b.w32(&mut l, ICR, 3 << 18 | 0x73);
    assert_eq!(l.pending_vector(), None, "others: nobody");
    b.w32(&mut l, ICR_HIGH, 0x0100_0000);
    b.w32(&mut l, ICR, 0x74);
    assert_eq!((l.pending_vector(), b.r32(&mut l, ICR_HIGH)), (None, 0x0100_0000));
    assert_eq!(b.r32(&mut l, ICR), 0x74, "delivery status idle");
    b.w32(&mut l, ICR_HIGH, 0);
    b.w32(&mut l, ICR, 0x4500);
    b.w32(&mut l, ICR, 0x8500); // INIT level de-assert: nothing
    b.w32(&mut l, ICR, 0x4609);
    b.w32(&mut l, ICR, 0x4400);
    let signals = std::iter::from_fn(|| b.out.take_signal()).collect::<Vec<_>>();
    assert_eq!(signals, [Signal::Init, Signal::Sipi(9), Signal::Nmi]);
}

#[test]
fn errors_are_latched_and_reported() {
    let (mut l, mut b) = lapic();
    b.w32(&mut l, LVT_ERROR, 0xfe);
    fixed(&mut l, &mut b, 15);
    assert_eq!((l.ack(), b.r32(&mut l, ESR)), (0xfe, 0), "not visible before a write");
    b.w32(&mut l, ICR, 1 << 18 | 5);
    assert_eq!(b.r32(&mut l, 0x400), 0);
    b.w32(&mut l, ESR, 0);
    assert_eq!(b.r32(&mut l, ESR), 0xe0);
    b.w32(&mut l, ESR, 0);
    assert_eq!(b.r32(&mut l, ESR), 0);
}

#[test]
fn only_aligned_doublewords() {
    let (mut l, mut b) = lapic();
    assert!(b.read(&mut l, TPR, Width::B1).ok().is_none());
    assert!(b.read(&mut l, TPR + 4, Width::B4).ok().is_none());
    assert!(b.write(&mut l, TPR, Width::B8, 0).ok().is_none());
}

#[test]
fn modes_of_the_apic_change_only_as_the_manual_allows() {
    const XAPIC: u64 = 0xfee0_0900;
    const X2APIC: u64 = 0xfee0_0d00;
    const OFF: u64 = 0xfee0_0100;
    let (mut l, mut b) = lapic();
    for (v, ok) in [
        (0xfee0_0500, false), // x2APIC without enable
        (XAPIC | 1, false),
        (XAPIC | 1 << 52, false),
        (X2APIC, true),
        (XAPIC, false),
        (OFF, true),
        (X2APIC, false),
        (XAPIC, true),
        (0xf_fee0_0900, true),
    ] {
        assert_eq!(wrmsr(&mut l, &mut b, 0x1b, v).is_ok(), ok, "{v:#x}");
    }
    assert_eq!(l.mmio_base(), Some(0xf_fee0_0000));
    assert_eq!(b.r32(&mut l, SVR), 0xff, "off and on again is a reset");
}

#[test]
fn x2apic_registers() {
    let (mut l, mut b) = x2apic();
    assert!(l.is_x2apic());
    let mut big = Lapic::new(0x123, CLOCK);
    wrmsr(&mut big, &mut b, 0x1b, 0xfee0_0c00).unwrap();
    assert_eq!(rdmsr(&mut big, &mut b, 0x802), Ok(0x123));
    assert_eq!(rdmsr(&mut big, &mut b, 0x80d), Ok(0x0012_0008));
    assert_eq!(rdmsr(&mut l, &mut b, 0x803), Ok(0x0005_0014));
    // write-only, absent, read-only, reserved bits
    for r in [0x80b, 0x809, 0x80e, 0x831, 0x83f, 0x800, 0x840, 0x8ff] {
        assert!(rdmsr(&mut l, &mut b, r).is_err(), "read {r:#x}");
    }
    for (r, v) in [
        (0x802, 0),
        (0x80a, 0),
        (0x80d, 0),
        (0x80b, 1),
        (0x828, 1),
        (0x808, 0x100),
        (0x80f, 1 << 12),
        (0x832, 1 << 20),
        (0x838, 1 << 32),
        (0x83e, 4),
        (0x83f, 0x100),
    ] {
        assert!(wrmsr(&mut l, &mut b, r, v).is_err(), "write {r:#x} {v:#x}");
    }
}

#[test]
fn x2apic_interrupts() {
    let (mut l, mut b) = x2apic();
    wrmsr(&mut l, &mut b, 0x83f, 0x91).unwrap();
    assert_eq!(l.ack(), 0x91, "self IPI");
    wrmsr(&mut l, &mut b, 0x80b, 0).unwrap();
    wrmsr(&mut l, &mut b, 0x830, 0x92).unwrap();
    assert_eq!(l.ack(), 0x92, "physical 0");
    wrmsr(&mut l, &mut b, 0x80b, 0).unwrap();
    wrmsr(&mut l, &mut b, 0x830, 0x0000_0001_0000_0893).unwrap();
    assert_eq!(
        (l.ack(), rdmsr(&mut l, &mut b, 0x830)),
        (0x93, Ok(0x0000_0001_0000_0893)),
        "logical, cluster 0 member 0"
    );
    wrmsr(&mut l, &mut b, 0x80b, 0).unwrap();
    wrmsr(&mut l, &mut b, 0x830, 0x0000_00ff_0000_0094).unwrap();
    assert_eq!(l.pending_vector(), None, "0xff is a processor here");
    wrmsr(&mut l, &mut b, 0x830, 0xffff_ffff_0000_0095).unwrap();
    assert_eq!(l.ack(), 0x95, "broadcast");
    let outside = lapic().0;
    assert!(!outside.is_x2apic());
    let (mut l, mut b) = lapic();
    assert!(rdmsr(&mut l, &mut b, 0x802).is_err(), "no MSRs in xAPIC mode");
}

#[test]
fn init_keeps_base_and_identity() {
    let (mut l, mut b) = x2apic();
    wrmsr(&mut l, &mut b, 0x808, 0x50).unwrap();
    l.init();
    assert!(l.is_x2apic());
    assert_eq!((l.tpr(), rdmsr(&mut l, &mut b, 0x80f)), (0, Ok(0xff)));
    l.reset(&mut b.cx());
    assert_eq!(l.apic_base(), 0xfee0_0900);
}

#[test]
fn saved_state_round_trips() {
    let (mut l, mut b) = lapic();
    b.w32(&mut l, LVT_TIMER, 1 << 17 | 0x40);
    b.w32(&mut l, INITIAL, 1000);
    fixed(&mut l, &mut b, 0x77);
    fixed(&mut l, &mut b, 0x87);
    l.ack();
    let mut m = Lapic::new(0, CLOCK);
    round_trip(&l, &mut m);
    assert_eq!((m.next_deadline(), m.pending_vector()), (l.next_deadline(), l.pending_vector()));
}
