//! What a guest may do to any chip without hurting the machine: random accesses at random times. Overflow checks are on
//! in the test profile, so arithmetic that a guest can push over an end panics here.
//!
//! Held for each chip: no panic; a tick leaves nothing due at its own time; a state saved in the middle and restored
//! into a fresh chip behaves the same from there on.

use bus::{
    BadAccessLog, Clock, DevCtx, Device, Frequency, IrqLines, Line, LineChange, MmioAccess, Msi, Outbox, PioAccess,
    Snapshot, Stream, Width,
};
use devices::{AcpiPm, Hpet, I8042, IoApic, Lapic, PciHost, Pic, Pit, ResetCtl, Rtc, Uart16550, pci_host::Nothing};
use random::Rng;

const STEPS: usize = 20_000;
const SEEDS: u64 = 4;

/// Small, large, all ones, a single bit, anything.
fn value(r: &mut Rng) -> u64 {
    match r.below(5) {
        0 => r.below(16),
        1 => u64::MAX - r.below(16),
        2 => 1 << r.below(64),
        3 => r.next() & 0xffff,
        _ => r.next(),
    }
}

/// What else happens to a chip than accesses.
type Extra<D> = fn(&mut D, &mut DevCtx, &mut Rng);

struct Plan<'a, D> {
    fresh: fn() -> D,
    ports: &'a [u16],
    mmio: u64,
    extra: Extra<D>,
}

/// One step: an access, another event, or time. Everything the guest could see of it.
fn step<D: Device>(
    d: &mut D,
    plan: &Plan<D>,
    irq: &mut IrqLines,
    now: &mut u64,
    r: &mut Rng,
) -> (u64, Option<u64>, u32, Vec<u8>) {
    *now += match r.below(8) {
        0 => r.below(1 << 36),
        1..=3 => r.below(1 << 20),
        _ => r.below(2000),
    };
    let mut out = Outbox::default();
    let mut log = BadAccessLog::default();
    let mut cx = DevCtx { irq, out: &mut out, clock: Clock::at(*now) };
    if let Some(timer) = d.timer() {
        // the machine ticks what is due before anything else happens
        for _ in 0..3 {
            match timer.next_deadline().filter(|t| *t <= cx.clock.now) {
                Some(_) => timer.tick(&mut cx),
                None => break,
            }
        }
        assert!(timer.next_deadline().is_none_or(|t| t > cx.clock.now), "still due after a tick");
    }
    let pio_width = [Width::B1, Width::B1, Width::B2, Width::B4][r.below(4) as usize];
    let mmio_width = [Width::B4, Width::B4, Width::B8, Width::B1][r.below(4) as usize];
    let (what, v, pick) = (r.below(8), value(r), r.next());
    let seen = match what {
        0 => {
            (plan.extra)(d, &mut cx, r);
            0
        }
        _ if plan.mmio != 0 => {
            let align = if r.below(8) == 0 { 0 } else { u64::from(mmio_width.bytes()) - 1 };
            let a = MmioAccess::new((pick % plan.mmio) & !align, mmio_width);
            let mmio = d.mmio().expect("memory-mapped");
            if what & 1 == 0 {
                log.mmio_read(mmio, "", &mut cx, a).unwrap()
            } else {
                log.mmio_write(mmio, "", &mut cx, a, v).map(|()| 0).unwrap()
            }
        }
        _ => {
            let a = PioAccess::new(plan.ports[pick as usize % plan.ports.len()], pio_width);
            let pio = d.pio().expect("ports");
            if what & 1 == 0 {
                log.pio_read(pio, "", &mut cx, a).unwrap().into()
            } else {
                log.pio_write(pio, "", &mut cx, a, v as u32).map(|()| 0).unwrap()
            }
        }
    };
    let deadline = d.timer().and_then(|t| t.next_deadline());
    let change = irq.take().unwrap_or_default();
    while irq.take_msi().is_some() || irq.take_eoi().is_some() {}
    (seen, deadline, change.level | change.rose, out.take_bytes(Stream::Com1))
}

fn torture<D: Device + Snapshot<State: Clone>>(plan: &Plan<D>) {
    for seed in 1..=SEEDS {
        let mut r = Rng(seed);
        let (mut d, mut irq, mut now) = ((plan.fresh)(), IrqLines::default(), 0);
        for _ in 0..STEPS {
            step(&mut d, plan, &mut irq, &mut now, &mut r);
        }
        let bytes = postcard::to_allocvec(&d.save()).unwrap();
        let mut e = (plan.fresh)();
        e.restore(postcard::from_bytes(&bytes).unwrap()).expect("a state that the chip itself reached");
        let (mut irq2, mut now2, mut r2) = (irq.clone(), now, r.clone());
        for n in 0..STEPS / 4 {
            let a = step(&mut d, plan, &mut irq, &mut now, &mut r);
            let b = step(&mut e, plan, &mut irq2, &mut now2, &mut r2);
            assert_eq!(a, b, "seed {seed}, step {n} after the restore");
        }
    }
}

fn nothing<D>(_: &mut D, _: &mut DevCtx, _: &mut Rng) {}

fn wires(r: &mut Rng) -> LineChange {
    let (level, rose) = (r.next() as u32 & 0xff_ffff, r.next() as u32 & 0xff_ffff);
    LineChange { level, rose, changed: level | rose }
}

#[test]
fn uart16550() {
    torture(&Plan {
        fresh: || Uart16550::new(0x3f8, Line::new(4), Stream::Com1),
        ports: &[0x3f8, 0x3f9, 0x3fa, 0x3fb, 0x3fc, 0x3fd, 0x3fe, 0x3ff],
        mmio: 0,
        extra: |d, cx, r| (0..r.below(20)).for_each(|i| d.receive(cx, i as u8)),
    });
}

#[test]
fn pic() {
    torture(&Plan {
        fresh: Pic::new,
        ports: &[0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1],
        mmio: 0,
        extra: |d, _, r| {
            d.set_lines(wires(r));
            if d.intr() {
                d.ack();
            }
        },
    });
}

#[test]
fn pit() {
    torture(&Plan {
        fresh: || Pit::new(Line::new(0)),
        ports: &[0x40, 0x41, 0x42, 0x43, 0x61],
        mmio: 0,
        extra: nothing,
    });
}

#[test]
fn rtc() {
    torture(&Plan {
        fresh: || Rtc::new(Line::new(8), 1_800_000_000_123_456_789),
        ports: &[0x70, 0x71, 0x71],
        mmio: 0,
        extra: |d, cx, r| {
            if r.below(100) == 0 {
                d.set_unix_time(cx.now(), r.next() >> 2);
            }
            // the clock's own registers more often than the RAM
            let index = [0x0a, 0x0b, 0x0c, 0x32, 0x00, 0x01, 0x05, 0x07, 0x08, 0x09][r.below(10) as usize];
            let pio = d.pio().expect("ports");
            let _ = pio.write(cx, PioAccess::new(0x70, Width::B1), index);
        },
    });
}

#[test]
fn ioapic() {
    torture(&Plan {
        fresh: || IoApic::new(0),
        ports: &[],
        mmio: 0x48,
        extra: |d, cx, r| {
            d.set_pins(cx.irq, wires(r));
            d.eoi(cx.irq, r.next() as u8);
        },
    });
}

#[test]
fn lapic() {
    torture(&Plan {
        fresh: || Lapic::new(0, Frequency::from_hz(1_000_000_000)),
        ports: &[],
        mmio: 0x400,
        extra: |d, cx, r| {
            match r.below(8) {
                0 => d.receive(cx, Msi { address: 0xfee0_0000, data: r.next() as u32 & 0xcfff }),
                1 => d.set_tsc_deadline(cx, value(r), value(r) >> 1),
                2 => d.set_lint0(cx, r.below(2) == 0),
                3 => d.set_lint1(cx, r.below(2) == 0),
                4 => _ = d.write_msr(cx, 0x800 + r.below(0x40) as u32, value(r)),
                5 => _ = d.read_msr(cx, 0x800 + r.below(0x100) as u32),
                6 if r.below(16) == 0 => {
                    _ = d.write_msr(cx, 0x1b, [0xfee0_0900, 0xfee0_0d00, 0xfee0_0100][r.below(3) as usize])
                }
                _ => {
                    let _ = d.ext_int();
                    if d.pending_vector().is_some() {
                        d.ack();
                    }
                }
            };
        },
    });
}

#[test]
fn hpet() {
    torture(&Plan { fresh: Hpet::new, ports: &[], mmio: 0x180, extra: nothing });
}

#[test]
fn i8042() {
    torture(&Plan {
        fresh: || I8042::new(Line::new(1)),
        ports: &[0x60, 0x64],
        mmio: 0,
        extra: |d, cx, r| {
            let codes = [0x1c, 0xf0, 0xe0, r.next() as u8];
            d.press(cx, &codes[..r.below(5) as usize]);
        },
    });
}

#[test]
fn acpi_pm() {
    torture(&Plan {
        fresh: || AcpiPm::new(0x600, Line::new(9)),
        ports: &[0x600, 0x601, 0x602, 0x603, 0x604, 0x605, 0x606, 0x607, 0x608, 0x60a, 0x60b, 0x60c],
        mmio: 0,
        extra: |d, cx, _| d.press_power_button(cx),
    });
}

#[test]
fn reset_ctl() {
    torture(&Plan { fresh: ResetCtl::new, ports: &[0x80, 0x92, 0xe9, 0xcf9], mmio: 0, extra: nothing });
}

#[test]
fn pci_host() {
    torture(&Plan {
        fresh: || PciHost::<Nothing>::new(0xc000_0000),
        ports: &[0xcf8, 0xcf8, 0xcfa, 0xcfc, 0xcfd, 0xcfe, 0xcff, 0xffff],
        mmio: 0,
        extra: |d, cx, r| {
            let _ = d.pio().expect("ports").write(
                cx,
                PioAccess::new(0xcf8, Width::B4),
                0x8000_0000 | r.next() as u32 & 0x7ff,
            );
        },
    });
}
