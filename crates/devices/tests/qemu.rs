//! The chips against QEMU's, access by access, through QEMU's `qtest` protocol: random scripts, both sides' answers
//! compared. QEMU is an oracle of what guests live with, not of the data sheet: what is known to differ is left out of
//! the scripts, and each such place says why. The virtual machine stands still, so time and timers are not compared.
//!
//! Needs `qemu-system-x86_64`: `cargo test -p devices --test qemu -- --ignored`.

use bus::{
    BadAccessLog, Clock, DevCtx, Device, Frequency, IrqLines, Line, MmioAccess, Outbox, PioAccess, Stream, Width,
};
use devices::{Hpet, I8042, IoApic, Lapic, Pic, Pit, Rtc, Uart16550};
use random::Rng;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// 2026-11-22 13:59:58 UTC.
const START: u64 = 1_795_355_998;

struct Qemu {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Qemu {
    fn start() -> Self {
        let mut child = Command::new("qemu-system-x86_64")
            .args(["-M", "pc", "-accel", "tcg", "-qtest", "stdio", "-display", "none", "-nodefaults", "-S"])
            .args(["-serial", "null", "-m", "64", "-rtc", "base=2026-11-22T13:59:58,clock=vm"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("qemu-system-x86_64 is installed");
        let (to, from) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, to, from }
    }

    /// Sends a command; the number after OK, if any.
    fn ask(&mut self, command: &str) -> u64 {
        writeln!(self.to, "{command}").unwrap();
        loop {
            let mut line = String::new();
            assert_ne!(self.from.read_line(&mut line).unwrap(), 0, "QEMU has gone at {command}");
            let mut words = line.split_whitespace();
            match words.next() {
                Some("OK") => {
                    let word = words.next().unwrap_or("0");
                    return word
                        .strip_prefix("0x")
                        .map_or_else(|| word.parse(), |h| u64::from_str_radix(h, 16))
                        .unwrap();
                }
                Some("IRQ") | None => {}
                _ => panic!("qtest: {command}: {line}"),
            }
        }
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Clone, Copy, Debug)]
enum Op {
    In(u16),
    Out(u16, u8),
    Read(u64, Width),
    Write(u64, Width, u64),
}

/// Our chips, wired as on the board as far as they are compared.
struct Ours {
    irq: IrqLines,
    out: Outbox,
    uart: Uart16550,
    pic: Pic,
    pit: Pit,
    rtc: Rtc,
    i8042: I8042,
    ioapic: IoApic,
    lapic: Lapic,
    hpet: Hpet,
}

impl Ours {
    fn new() -> Self {
        Self {
            irq: IrqLines::default(),
            out: Outbox::default(),
            uart: Uart16550::new(0x3f8, Line::new(4), Stream::Com1),
            pic: Pic::new(),
            pit: Pit::new(Line::new(0)),
            rtc: Rtc::new(Line::new(8), START * 1_000_000_000),
            i8042: I8042::new(Line::new(1)),
            ioapic: IoApic::new(0),
            lapic: Lapic::new(0, Frequency::from_hz(1_000_000_000)),
            hpet: Hpet::new(),
        }
    }

    fn carry(&mut self) {
        while let Some(c) = self.irq.take() {
            self.pic.set_lines(c);
            self.ioapic.set_pins(&mut self.irq, IoApic::pc_wiring(c));
        }
        while let Some(m) = self.irq.take_msi() {
            self.lapic.receive(&mut DevCtx { irq: &mut self.irq, out: &mut self.out, clock: Clock::at(0) }, m);
        }
    }

    fn apply(&mut self, op: Op) -> u64 {
        let mut log = BadAccessLog::default();
        let mut cx = DevCtx { irq: &mut self.irq, out: &mut self.out, clock: Clock::at(0) };
        let v = match op {
            Op::In(port) | Op::Out(port, _) => {
                let device: &mut dyn Device = match port {
                    0x3f8..=0x3ff => &mut self.uart,
                    0x40..=0x43 | 0x61 => &mut self.pit,
                    0x70 | 0x71 => &mut self.rtc,
                    0x60 | 0x64 => &mut self.i8042,
                    _ => &mut self.pic,
                };
                let (pio, a) = (device.pio().unwrap(), PioAccess::new(port, Width::B1));
                match op {
                    Op::Out(_, v) => log.pio_write(pio, "", &mut cx, a, v.into()).map(|()| 0),
                    _ => log.pio_read(pio, "", &mut cx, a).map(u64::from),
                }
            }
            Op::Read(address, width) | Op::Write(address, width, _) => {
                let (device, base): (&mut dyn Device, u64) = match address & !0xfff {
                    0xfed0_0000 => (&mut self.hpet, 0xfed0_0000),
                    _ => (&mut self.ioapic, 0xfec0_0000),
                };
                let (mmio, a) = (device.mmio().unwrap(), MmioAccess::new(address - base, width));
                match op {
                    Op::Write(_, _, v) => log.mmio_write(mmio, "", &mut cx, a, v).map(|()| 0),
                    _ => log.mmio_read(mmio, "", &mut cx, a),
                }
            }
        };
        self.carry();
        v.unwrap()
    }
}

fn byte(r: &mut Rng) -> u8 {
    r.next() as u8
}

/// Runs scripts on both sides; `differs` judges what a read gave here and there.
fn compare(seeds: u64, script: impl Fn(&mut Rng) -> Vec<Op>, differs: impl Fn(Op, u64, u64) -> bool) {
    for seed in 1..=seeds {
        let script = script(&mut Rng(seed));
        let (mut ours, mut qemu) = (Ours::new(), Qemu::start());
        for (n, op) in script.iter().enumerate() {
            let here = ours.apply(*op);
            let there = match *op {
                Op::In(port) => qemu.ask(&format!("inb {port:#x}")),
                Op::Out(port, v) => qemu.ask(&format!("outb {port:#x} {v:#x}")),
                Op::Read(a, Width::B8) => qemu.ask(&format!("readq {a:#x}")),
                Op::Read(a, _) => qemu.ask(&format!("readl {a:#x}")),
                Op::Write(a, Width::B8, v) => qemu.ask(&format!("writeq {a:#x} {v:#x}")),
                Op::Write(a, _, v) => qemu.ask(&format!("writel {a:#x} {v:#x}")),
            };
            if matches!(op, Op::In(_) | Op::Read(..)) && differs(*op, here, there) {
                let from = n.saturating_sub(40);
                panic!("seed {seed}: {op:x?}: {here:#x}, QEMU has {there:#x}, after\n{:x?}", &script[from..n]);
            }
        }
    }
}

fn exact(_: Op, here: u64, there: u64) -> bool {
    here != there
}

#[test]
#[ignore = "needs qemu-system-x86_64"]
fn pic() {
    compare(
        5,
        |r| {
            let mut s = Vec::new();
            for (port, base) in [(0x20, 0x20), (0xa0, 0x28)] {
                s.extend([
                    Op::Out(port, 0x11),
                    Op::Out(port + 1, base),
                    Op::Out(port + 1, 4),
                    Op::Out(port + 1, r.pick(&[1, 3, 0x11])),
                ]);
            }
            s.extend([Op::Out(0x4d0, r.pick(&[0, 0x10, 0xff])), Op::Out(0x4d1, byte(r)), Op::In(0x4d0), Op::In(0x4d1)]);
            // interrupts to rank: the UART on 4, the keyboard on 1
            for _ in 0..300 {
                let chip = r.pick(&[0x20, 0x20, 0xa0]);
                match r.below(10) {
                    1 => s.push(Op::Out(chip + 1, byte(r) & 0xfa)),
                    2 => s.extend([Op::Out(chip, 0x0a + r.below(2) as u8), Op::In(chip)]),
                    3 => s.extend([Op::Out(chip, 0x20), Op::In(chip + 1)]),
                    4 => s.push(Op::Out(chip, r.pick(&[0x60, 0x80, 0xa0, 0xc0, 0xe0, 0x00]) | r.below(8) as u8)),
                    5 => s.extend([Op::Out(chip, 0x0c), Op::In(chip)]),
                    // no special mask mode: QEMU's non-specific EOI clears masked inputs there, the data sheet's does not
                    7 => s.extend([Op::Out(0x3f9, 2 * r.below(2) as u8), Op::In(0x3fa)]),
                    _ => s.extend([Op::Out(0x64, 0xaa), Op::In(0x60)]),
                }
            }
            s
        },
        exact,
    );
}

#[test]
#[ignore = "needs qemu-system-x86_64"]
fn uart16550() {
    compare(
        5,
        |r| {
            let mut s = vec![Op::Out(0x3fb, 3), Op::Out(0x3fc, 0)];
            for _ in 0..400 {
                match r.below(9) {
                    0 => s.extend([Op::Out(0x3f9, byte(r) & 7)]),
                    1 => s.extend([Op::Out(0x3fa, r.pick(&[0, 1, 7, 0x41, 0x81, 0xc1]))]),
                    2 => s.extend([Op::Out(0x3fc, byte(r) & 0x1f)]),
                    3 => s.extend([Op::Out(0x3f8, byte(r))]),
                    4 => s.extend([Op::In(0x3f8)]),
                    _ => s.push(Op::In(0x3f8 + 2 + r.below(6) as u16)),
                }
            }
            s
        },
        |op, here, there| match op {
            // QEMU tells no modem changes that loop-back makes
            Op::In(0x3fe) => (here ^ there) & 0xf0 != 0,
            // an empty receiver shows zero here, the last byte there
            Op::In(0x3f8) => here != 0 && here != there,
            _ => here != there,
        },
    );
}

#[test]
#[ignore = "needs qemu-system-x86_64"]
fn rtc() {
    compare(
        5,
        |r| {
            let mut s = Vec::new();
            for _ in 0..300 {
                match r.below(8) {
                    1 => s.extend([Op::Out(0x70, 0xb), Op::Out(0x71, r.pick(&[0x02, 0x06, 0x04, 0x00, 0x12, 0x22]))]),
                    2 => {
                        // set to a date that is one, in 24-hour BCD
                        s.extend([Op::Out(0x70, 0xb), Op::Out(0x71, 0x82)]);
                        for (i, n, low) in
                            [(0, 60, 0), (2, 60, 0), (4, 24, 0), (7, 28, 1), (8, 12, 1), (9, 100, 0), (0x32, 1, 20)]
                        {
                            let v = r.below(n) as u8 + low;
                            s.extend([Op::Out(0x70, i), Op::Out(0x71, ((v / 10) << 4) | (v % 10))]);
                        }
                        s.extend([Op::Out(0x70, 0xb), Op::Out(0x71, 0x02)]);
                    }
                    3 => s.extend([Op::Out(0x70, 0x0e + r.below(0x20) as u8), Op::Out(0x71, byte(r))]),
                    _ => s.extend([
                        Op::Out(0x70, r.pick(&[0, 2, 4, 7, 8, 9, 0xa, 0xb, 0xd, 0x32, 0x10, 0x20])),
                        Op::In(0x71),
                    ]),
                }
            }
            s
        },
        exact,
    );
}

#[test]
#[ignore = "needs qemu-system-x86_64"]
fn i8042() {
    compare(
        5,
        |r| {
            // as firmware leaves it, which is how ours starts
            let mut s = vec![Op::Out(0x64, 0xaa), Op::In(0x60), Op::Out(0x64, 0x60), Op::Out(0x60, 0x65)];
            for _ in 0..200 {
                match r.below(6) {
                    0 => s.extend([Op::Out(0x64, r.pick(&[0xaa, 0xab, 0xad, 0xae, 0x20]))]),
                    1 => s.extend([Op::Out(0x64, 0x60), Op::Out(0x60, r.pick(&[0x65, 0x25]))]),
                    2 => s.push(Op::Out(0x60, r.pick(&[0xf2, 0xee, 0xf4, 0xf6, 0xff]))),
                    3 => s.extend([Op::Out(0x60, 0xed), Op::In(0x60), Op::Out(0x60, r.below(8) as u8), Op::In(0x60)]),
                    4 => s.extend([Op::Out(0x64, 0xd2), Op::Out(0x60, byte(r))]),
                    _ => {}
                }
                s.extend([Op::In(0x64), Op::In(0x60), Op::In(0x64), Op::In(0x60), Op::In(0x60)]);
            }
            s
        },
        // QEMU's "last write was a command" stays set
        |op, here, there| (here ^ there) & if matches!(op, Op::In(0x64)) { 0xf7 } else { 0xff } != 0,
    );
}

#[test]
#[ignore = "needs qemu-system-x86_64"]
fn hpet() {
    const HPET: u64 = 0xfed0_0000;
    compare(
        5,
        |r| {
            let mut s = Vec::new();
            for _ in 0..300 {
                let t = HPET + 0x100 + 0x20 * r.below(3);
                match r.below(8) {
                    0 => s.push(Op::Write(HPET + 0xf0, Width::B4, r.below(1 << 32))),
                    1 => s.push(Op::Write(t, Width::B4, r.pick(&[0, 2, 4, 6, 0x104]))),
                    2 => s.push(Op::Write(t + 8, Width::B4, r.below(1 << 31))),
                    3 => s.push(Op::Read(HPET + 0x20, Width::B4)),
                    4 => s.push(Op::Read(HPET + 0xf0, r.pick(&[Width::B4, Width::B8]))),
                    5 => s.push(Op::Read(t + 8, Width::B4)),
                    6 => s.push(Op::Write(HPET + 0x20, Width::B4, r.below(8))),
                    _ => s.push(Op::Read(HPET + 0x10, Width::B8)),
                }
            }
            s
        },
        exact,
    );
}

#[test]
#[ignore = "needs qemu-system-x86_64"]
fn ioapic() {
    const IOAPIC: u64 = 0xfec0_0000;
    compare(
        5,
        |r| {
            let mut s = Vec::new();
            for _ in 0..300 {
                let index = 0x10 + r.below(48);
                // masked, so that nothing is sent; no reserved bits, which QEMU keeps
                let v = r.below(1 << 32) & if index & 1 == 0 { 0xefff } else { 0xff00_0000 };
                s.push(Op::Write(IOAPIC, Width::B4, index));
                s.push(Op::Read(IOAPIC, Width::B4));
                s.push(Op::Write(IOAPIC + 0x10, Width::B4, v | (!index & 1) << 16));
                s.push(Op::Read(IOAPIC + 0x10, Width::B4));
            }
            s
        },
        exact,
    );
}

/// Remote IRR and EOI of a pin that the UART drives. (A virtual machine that stands still accepts no interrupt.)
#[test]
#[ignore = "needs qemu-system-x86_64"]
fn ioapic_with_a_device() {
    const IOAPIC: u64 = 0xfec0_0000;
    const ENTRY: u64 = 0x10 + 2 * 4;
    compare(
        5,
        |r| {
            let mut s = Vec::new();
            for _ in 0..400 {
                match r.below(6) {
                    // THRE interrupts on or off, and one taken
                    0 | 1 => s.push(Op::Out(0x3f9, 2 * r.below(2) as u8)),
                    2 => s.push(Op::In(0x3fa)),
                    3 => s.extend([
                        Op::Write(IOAPIC, Width::B4, ENTRY),
                        Op::Write(
                            IOAPIC + 0x10,
                            Width::B4,
                            // no edges: QEMU forgets the level of a pin that becomes level-triggered
                            r.pick(&[0x41, 0x42]) | 1 << 15 | r.pick(&[0, 0, 1 << 16]),
                        ),
                    ]),
                    4 => s.push(Op::Write(IOAPIC + 0x40, Width::B4, r.pick(&[0x41, 0x42]))),
                    _ => {}
                }
                s.extend([Op::Write(IOAPIC, Width::B4, ENTRY), Op::Read(IOAPIC + 0x10, Width::B4)]);
            }
            s
        },
        exact,
    );
}
