//! Differential tests of guest semantics against the native CPU.
//!
//! A case is one random user-mode instruction with a random processor state and memory. It runs on the host's own processor, in the
//! interpreter and, recorded as `ir`, in that's evaluator; registers, flags, vectors, x87 state, memory and faults must agree. What the manual
//! leaves undefined is left out, and listed in [`undefined`]; there, too, both tiers do the same.
//!
//! The generator and the guest's side are of use elsewhere too, on any target.

pub mod generate;
pub mod guest;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod native;
pub mod programs;
pub mod segments;
pub mod undefined;

use std::fmt::Write;

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
use evaluator::Evaluator;
use undefined::Spared;

/// Where the case's code and data lie, in the host's address space and in the guest's. The code's two pages are HLTs but for the
/// instruction, which is at an offset that no special number names.
pub const CODE: u64 = 0x2000_0000;
pub const CODE_LEN: usize = 0x2000;
pub const START: u64 = 0xe50;
/// HLT, which a program may not execute: the general-protection fault that ends a case, behind the instruction or where it went.
pub const END: u8 = 0xf4;
/// Pages that only the guest has, for what a test's program needs beside its data.
pub const SCRATCH: u64 = 0x2020_0000;
pub const SCRATCH_LEN: usize = 0x8000;
/// Four writable pages, then a read-only one; unmapped before and behind.
pub const DATA: u64 = 0x2010_0000;
pub const DATA_LEN: usize = 0x4000;
pub const READ_ONLY: u64 = DATA + DATA_LEN as u64;

/// Processor state before or after a case.
#[derive(Clone, Debug, PartialEq)]
#[repr(C, align(16))]
pub struct State {
    /// The legacy FXSAVE area: x87, MXCSR, XMM0-15.
    pub fx: [u8; 512],
    /// By encoding: RAX RCX RDX RBX RSP RBP RSI RDI R8..R15.
    pub regs: [u64; 16],
    pub rflags: u64,
    /// Offset in CS.
    pub rip: u64,
    /// Selectors: ES CS SS DS FS GS.
    pub seg: [u16; 6],
}

/// How a case ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Completed,
    /// Exception vector, error code, and CR2 for a page fault.
    Fault {
        vector: u8,
        error: u32,
        cr2: u64,
    },
}

#[derive(Clone, PartialEq, Debug)]
pub struct Outcome {
    pub state: State,
    pub memory: Box<[u8; DATA_LEN]>,
    pub event: Event,
}

/// One case.
#[derive(Clone, Debug)]
pub struct Case {
    /// Code of 64 bits, or of 32 or 16 under the same (64-bit) system: compatibility mode.
    pub bits: u32,
    pub bytes: Vec<u8>,
    pub state: State,
    pub memory: Box<[u8; DATA_LEN]>,
}

/// The differences between what the CPU did and what the interpreter did, as text; empty where they agree.
pub fn differences(case: &Case, native: &Outcome, guest: &Outcome) -> String {
    const NAMES: [&str; 16] =
        ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"];
    let mut out = String::new();
    let ignore = undefined::of(case);
    let either = |n, g| {
        let (Event::Fault { vector: n, .. }, Event::Fault { vector: g, .. }) = (n, g) else { return false };
        // The stack's or a page's on one side, or #GP and #SS.
        matches!(n, 12 | 14) || matches!((n, g), (13, 12))
    };
    // A page's, a segment's or the stack's on both sides.
    let of_operand = |e| matches!(e, Event::Fault { vector: 12..=14, .. });
    let other_operand = ignore.order && of_operand(native.event) && of_operand(guest.event);
    let other_fault = ignore.priority && either(native.event, guest.event);
    let pending = native.state.fx[2] & 0x80 != 0; // ES
    let spared = of_operand(guest.event)
        && match ignore.spared {
            Some(Spared::StoppedStore) => native.event == Event::Completed && pending,
            Some(Spared::SelectorsUpperHalf) => {
                // Not what is wrong with the selector.
                matches!(guest.event, Event::Fault { vector: 12, error: 0, .. } | Event::Fault { vector: 14, .. })
            }
            Some(Spared::UpperBound) => matches!(native.event, Event::Fault { vector: 5, .. }),
            None => false,
        };
    if native.event != guest.event && spared {
        return out;
    }
    if native.event != guest.event && !other_operand && !other_fault {
        let _ = writeln!(out, "  event: cpu {:x?}, pagevm {:x?}", native.event, guest.event);
        return out;
    }
    let (n, g) = (&native.state, &guest.state);
    // Code of 32 bits has no upper halves; whether they survive a change of mode is undefined (SDM 1 3.4.1.1).
    let width = if case.bits == 64 { u64::MAX } else { 0xffff_ffff };
    for (k, name) in NAMES.iter().enumerate() {
        let partial = native.event != Event::Completed && ignore.partial_regs & (1 << k) != 0;
        let zero_extended = ignore.zero_extended & (1 << k) != 0 && n.regs[k] == g.regs[k] & 0xffff_ffff;
        if (n.regs[k] ^ g.regs[k]) & width != 0 && !partial && !zero_extended {
            let _ = writeln!(
                out,
                "  {name}: cpu {:#x}, pagevm {:#x} (was {:#x})",
                n.regs[k], g.regs[k], case.state.regs[k]
            );
        }
    }
    if (n.rip ^ g.rip) & width != 0 {
        let _ = writeln!(out, "  rip: cpu {:#x}, pagevm {:#x}", n.rip, g.rip);
    }
    if case.bits != 64 {
        for (k, name) in ["es", "cs", "ss", "ds", "fs", "gs"].iter().enumerate() {
            // The host's kernel returns to its handler from an inner level, by which null selectors lose their RPL.
            let selector = |s: u16| if s < 4 { 0 } else { s };
            if selector(n.seg[k]) != selector(g.seg[k]) {
                let _ = writeln!(
                    out,
                    "  {name}: cpu {:#x}, pagevm {:#x} (was {:#x})",
                    n.seg[k], g.seg[k], case.state.seg[k]
                );
            }
        }
    }
    // RF is set in the image that a fault pushes (SDM 3 17.3.1.1): not the program's state.
    let at_fault = ignore.flags_at_fault && native.event != Event::Completed;
    let mask = 0xcd5 & !if at_fault { 0x8d5 } else { ignore.flags };
    if (n.rflags ^ g.rflags) & mask != 0 {
        let _ = writeln!(
            out,
            "  flags: cpu {:#x}, pagevm {:#x} (was {:#x}), differ in {:#x}",
            n.rflags & 0xcd5,
            g.rflags & 0xcd5,
            case.state.rflags & 0xcd5,
            (n.rflags ^ g.rflags) & mask
        );
    }
    // FOP, FIP and FDP (bytes 6..24) are not stored by AMD unless an exception is pending; MXCSR_MASK (28..32) is the model's.
    // A unit in the last place may be that between the greatest denormal and the least normal number: then one of them underflows.
    let border = ignore.st_ulp != 0 && (0..8).any(|k| (n.fx[39 + 16 * k] ^ g.fx[39 + 16 * k]) & 0x80 != 0);
    let ignored = ignore.fsw | if border { 0x10 } else { 0 };
    let x87 = !(ignore.x87_at_fault && native.event != Event::Completed);
    for (name, range) in [("fcw", 0..2), ("fsw", 2..4), ("ftw", 4..5), ("mxcsr", 24..28)] {
        let (a, b, was) = (&n.fx[range.clone()], &g.fx[range.clone()], &case.state.fx[range.clone()]);
        let differ = if name == "fsw" {
            (u16::from_le_bytes([a[0], a[1]]) ^ u16::from_le_bytes([b[0], b[1]])) & !ignored != 0
        } else {
            a != b
        };
        if differ && (x87 || name == "mxcsr") {
            let _ = writeln!(out, "  {name}: cpu {a:02x?}, pagevm {b:02x?} (was {was:02x?})");
        }
    }
    for k in 0..8 {
        let at = 32 + 16 * k;
        // The ordinal of a number among all of its sign: exponents 0 and 1 are one binade.
        let ordinal = |f: &[u8; 512]| {
            let (m, se) = f[at..at + 10].split_at(8);
            let m = u128::from(u64::from_le_bytes(m.try_into().expect("8 bytes")));
            let se = u128::from(u16::from_le_bytes([se[0], se[1]]));
            (se >> 15 << 80) + m + ((se & 0x7fff).max(1) << 63)
        };
        let close = ignore.st_ulp != 0 && ordinal(&n.fx).abs_diff(ordinal(&g.fx)) <= ignore.st_ulp;
        if x87 && n.fx[at..at + 10] != g.fx[at..at + 10] && !close {
            let show = |f: &[u8; 512]| f[at..at + 10].iter().rev().map(|b| format!("{b:02x}")).collect::<String>();
            let _ =
                writeln!(out, "  st{k}: cpu {}, pagevm {} (was {})", show(&n.fx), show(&g.fx), show(&case.state.fx));
        }
    }
    for k in 0..16 {
        let at = 160 + 16 * k;
        let (a, b) = (&n.fx[at..at + 16], &g.fx[at..at + 16]);
        let nans = ignore.nans.is_some_and(|bytes| same_but_for_nans(a, b, bytes));
        if a != b && !(ignore.approximate && both_approximate(a, b)) && !nans {
            let show = |f: &[u8; 512]| f[at..at + 16].iter().rev().map(|b| format!("{b:02x}")).collect::<String>();
            let _ =
                writeln!(out, "  xmm{k}: cpu {}, pagevm {} (was {})", show(&n.fx), show(&g.fx), show(&case.state.fx));
        }
    }
    if ignore.partial_writes && native.event != Event::Completed {
        return out;
    }
    // What a 16-bit move left of the 32 bits that are pushed.
    let unwritten = ignore.spared == Some(Spared::SelectorsUpperHalf);
    let stack = segments::base(n.seg[2]).wrapping_add(n.regs[4] & if segments::big(n.seg[2]) { width } else { 0xffff });
    let upper = stack.wrapping_add(2).wrapping_sub(DATA);
    let left = |k: usize| {
        unwritten && (k as u64).wrapping_sub(upper) < 2 && native.memory[k] == case.memory[k] && guest.memory[k] == 0
    };
    if let Some(k) = (0..DATA_LEN).find(|&k| native.memory[k] != guest.memory[k] && !left(k)) {
        let end = (k + 16).min(DATA_LEN);
        let _ = writeln!(
            out,
            "  memory at {:#x}: cpu {:02x?}, pagevm {:02x?} (was {:02x?})",
            DATA + k as u64,
            &native.memory[k..end],
            &guest.memory[k..end],
            &case.memory[k..end]
        );
    }
    out
}

/// Whether two vectors of approximations may be of the same exact results: both within 1.5 * 2^-12 of them.
fn both_approximate(a: &[u8], b: &[u8]) -> bool {
    let lanes =
        |v: &[u8]| -> Vec<f32> { v.chunks_exact(4).map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect() };
    lanes(a).into_iter().zip(lanes(b)).all(|(a, b)| {
        // A result at the border of the denormals may be flushed.
        let tiny = a.abs() <= f32::MIN_POSITIVE
            && b.abs() <= f32::MIN_POSITIVE
            && a.is_sign_negative() == b.is_sign_negative();
        a.to_bits() == b.to_bits() || tiny || (a - b).abs() <= a.abs() * (3.0 / 4096.0)
    })
}

/// Whether two vectors of numbers of so many bytes are the same, or both have a NaN.
fn same_but_for_nans(a: &[u8], b: &[u8], bytes: usize) -> bool {
    let nan = |lane: &[u8]| match lane.try_into().map(f32::from_le_bytes) {
        Ok(single) => single.is_nan(),
        Err(_) => lane.try_into().map(f64::from_le_bytes).is_ok_and(f64::is_nan),
    };
    a.chunks_exact(bytes).zip(b.chunks_exact(bytes)).all(|(a, b)| a == b || nan(a) && nan(b))
}

/// What a run found.
#[derive(Default)]
pub struct Report {
    pub cases: u64,
    pub faults: u64,
    /// Cases in which the instruction was evaluated: it is of 64-bit code, has a meaning in `ir`, and did not fault.
    pub evaluated: u64,
    /// Mnemonics that the decoder knows and the emulator lacks.
    pub lacking: std::collections::BTreeMap<String, u64>,
    /// Differences by mnemonic: how many, and the first one's text.
    pub failures: std::collections::BTreeMap<String, (u64, String)>,
    /// How often each mnemonic was run.
    pub seen: std::collections::BTreeMap<String, u64>,
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "{} cases of {} mnemonics, {} of them faults, {} evaluated",
            self.cases,
            self.seen.len(),
            self.faults,
            self.evaluated
        )?;
        if !self.lacking.is_empty() {
            writeln!(f, "lacking: {}", self.lacking.keys().cloned().collect::<Vec<_>>().join(" "))?;
        }
        for (name, (n, text)) in &self.failures {
            writeln!(f, "{name}: {n} of {} differ; the first:\n{text}", self.seen.get(name).unwrap_or(&0))?;
        }
        writeln!(f, "{} mnemonics differ", self.failures.len())
    }
}

/// Whether offset `ip` in segment `cs` is in the code's pages.
pub(crate) fn in_code(ip: u64, cs: u16) -> bool {
    segments::base(cs).wrapping_add(ip).wrapping_sub(CODE) < CODE_LEN as u64
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
/// Whether a case that ends so ends on the host's processor too: at an [`END`] and without a trap or a fault of the next instruction.
fn may_run(case: &Case, got: &Outcome) -> bool {
    const TF: u64 = 1 << 8;
    const AC: u64 = 1 << 18;
    let s = &got.state;
    let at = segments::base(s.seg[1]).wrapping_add(s.rip).wrapping_sub(CODE);
    let itself = START..START + case.bytes.len() as u64;
    got.event != Event::Completed || s.rflags & (TF | AC) == 0 && in_code(s.rip, s.seg[1]) && !itself.contains(&at)
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
/// Runs `count` cases from `seed`, of code of `bits` (16, 32, 64) or of any. `only` selects mnemonics.
pub fn run(seed: u64, count: u64, bits: Option<u32>, only: &dyn Fn(iced_x86::Mnemonic) -> bool) -> Report {
    let native = native::Native::get();
    let [mut guest, mut second] = [(); 2].map(|()| guest::Guest::new());
    let mut tier = Evaluator::new(isa_x86::tier::layout());
    let mut report = Report::default();
    let mut rng = random::Rng(seed);
    while report.cases < count {
        let case_seed = rng.next();
        let bits = bits.unwrap_or(match case_seed & 7 {
            0 | 1 => 32,
            2 => 16,
            _ => 64,
        });
        let Some((case, insn)) = generate::case(&mut random::Rng(case_seed), bits, only) else { continue };
        let name = format!(
            "{:?}{}",
            insn.mnemonic(),
            match bits {
                16 => " (16 bits)",
                32 => " (32 bits)",
                _ => "",
            }
        );
        let got = match guest.run(&case) {
            Ok(got) => got,
            Err(what) => {
                if what == "undecoded" {
                    *report.lacking.entry(name).or_default() += 1;
                    report.cases += u64::from(report.lacking.len() > 100_000);
                } else {
                    let entry = report.failures.entry(name.clone()).or_default();
                    entry.0 += 1;
                    if entry.0 == 1 {
                        entry.1 = format!("  {insn} [{:02x?}] {what}\n", case.bytes);
                    }
                }
                report.cases += 1;
                continue;
            }
        };
        if !may_run(&case, &got) {
            continue;
        }
        let want = native.run(&case);
        report.cases += 1;
        report.faults += u64::from(want.event != Event::Completed);
        *report.seen.entry(name.clone()).or_default() += 1;
        let mut text = differences(&case, &want, &got);
        // It is seen, and then evaluated.
        let _ = second.run_with(&case, &mut tier);
        let before = second.vcpu.translated;
        let again = second.run_with(&case, &mut tier);
        report.evaluated += u64::from(second.vcpu.translated > before);
        if again.as_ref() != Ok(&got) {
            let what = again.map(|again| differences(&case, &want, &again)).unwrap_or_else(|e| e);
            let _ = writeln!(text, "  otherwise than interpreted when evaluated:\n{what}");
        }
        if !text.is_empty() {
            let entry = report.failures.entry(name).or_default();
            entry.0 += 1;
            if entry.0 == 1 {
                entry.1 = format!(
                    "  {insn} {:02x?} seed {case_seed:#x}, ends with cpu {:x?}\n{text}",
                    case.bytes, want.event
                );
            }
        }
    }
    report
}
