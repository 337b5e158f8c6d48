//! The programs of `crates/isa-x86/tests/insn` and `sys`, translated under stress: they must come to what the interpreter comes to,
//! and report what they report there.

use bare::Bare;
use guest_api::{NoTier, Tier};
use isa_x86::cpu::Cpu;
use isa_x86::{CpuExit, Vcpu};
use jit::Jit;

use crate::Report;
use crate::host::Runner;

include!(concat!(env!("OUT_DIR"), "/asm.rs"));

const RAM: usize = 8 << 20;
const LIMIT: u64 = 5_000_000;
/// The programs of `sys` fill tables by REP STOS, which does at once what the TLB knows: when that is emptied, it has one turn more.
const REPEATS: u64 = 8;

/// Memory as a program of `insn` finds it. Code that the last run has not changed stays as it is, translated.
fn fill(v: &mut Vcpu, start: u64, code: &[u8]) {
    let mem = &mut v.cpu.mem;
    if mem.ram.slice(start, code.len()) != Some(code) {
        assert!(mem.dma_write(start, code));
    }
    let end = start as usize + code.len();
    mem.ram.slice_mut(0, start as usize).expect("RAM").fill(0);
    mem.ram.slice_mut(end as u64, RAM - end).expect("RAM").fill(0);
}

#[derive(PartialEq)]
struct Outcome {
    exit: CpuExit,
    insns: u64,
    /// RAM too.
    state: String,
    io: Vec<(u16, u32, u32)>,
}

fn run_one<T: Tier>(v: &mut Vcpu, tier: &mut T, after: &mut dyn FnMut(&mut T)) -> Outcome {
    let mut platform = Bare::default();
    let before = v.cpu.insns;
    let exit = loop {
        match v.run_with(&mut platform, tier, 20_000) {
            CpuExit::Budget if v.cpu.insns - before < LIMIT => after(tier),
            exit => break exit,
        }
    };
    Outcome { exit, insns: v.cpu.insns - before, state: bare::outcome(&v.cpu), io: platform.io }
}

fn differences(a: &Outcome, b: &Outcome) -> String {
    format!(
        "  interpreted {:?}, {} instructions: {}\n  translated  {:?}, {} instructions: {}",
        a.exit, a.insns, a.state, b.exit, b.insns, b.state
    )
}

pub fn run(seed: u64, report: &mut Report) {
    let [mut a, mut b] = [0, 0].map(|_| bare::vcpu(Cpu::new(bare::memory(RAM as u64))));
    let mut tier = Jit::new(Runner, isa_x86::tier::layout(), 1 << 20);
    for &(name, bits, code) in INSN {
        let start = bare::start_of_insn(bits);
        let mut code = code.to_vec();
        code.extend([0xf4, 0xf4]);
        // REP may count its iterations otherwise.
        let counts = !name.starts_with("string") && !name.contains("strings");
        (a.catch_exceptions, b.catch_exceptions) = (true, true);
        a.reset();
        b.reset();
        fill(&mut a, start, &code);
        bare::begin_insn(&mut a.cpu, bits);
        let mut want = run_one(&mut a, &mut NoTier, &mut |_| {});
        // First it is seen, then it is translated; afterwards it is there.
        for turn in 0..4 {
            tier.stress(seed ^ turn, 1);
            fill(&mut b, start, &code);
            bare::begin_insn(&mut b.cpu, bits);
            let got = run_one(&mut b, &mut tier, &mut Jit::slice_over);
            if !counts {
                want.insns = got.insns;
            }
            if want != got {
                report.fail(format_args!("{name}, turn {turn}\n{}", differences(&want, &got)));
                break;
            }
        }
    }
    let (after_insn, executed) = (b.translated, b.cpu.insns);
    (a.catch_exceptions, b.catch_exceptions) = (false, false);
    for &(name, code, golden) in SYS {
        let mut image = vec![0; RAM];
        image[bare::BOOT_SECTOR as usize..][..code.len()].copy_from_slice(code);
        let load = |v: &mut Vcpu| {
            v.cpu.reset();
            bare::restore(&mut v.cpu.mem, &image);
            bare::begin_sys(&mut v.cpu, code);
        };
        a.reset();
        b.reset();
        load(&mut a);
        let want = run_one(&mut a, &mut NoTier, &mut |_| {});
        // First it is seen, then it is translated; afterwards it is there.
        for turn in 0..4 {
            tier.stress(seed ^ turn, 1);
            load(&mut b);
            let got = run_one(&mut b, &mut tier, &mut Jit::slice_over);
            let text: String = got.io.iter().filter(|w| w.0 == 0xe9).map(|w| char::from(w.2 as u8)).collect();
            if let Some((g, w)) = text.lines().zip(golden.lines()).find(|(g, w)| g != w) {
                report.fail(format_args!("{name}, turn {turn}\n  reports  {g}\n  expected {w}"));
            } else if text != golden {
                report.fail(format_args!("{name}, turn {turn}: one report is longer:\n{text}"));
            } else if want.exit != got.exit || want.insns.abs_diff(got.insns) > REPEATS {
                report.fail(format_args!("{name}, turn {turn}\n{}", differences(&want, &got)));
            }
        }
    }
    // 63 to 72 and 52 to 68 percent are.
    report.translated("insn", after_insn, executed, 50);
    report.translated("sys", b.translated - after_insn, b.cpu.insns - executed, 40);
    let s = &tier.stats;
    report.line(format_args!(
        "{} programs; {after_insn} of {executed} and {} of {} instructions translated; {} regions, {} modules; side exits {}; dropped {}, evicted {}",
        INSN.len() + SYS.len(), b.translated - after_insn, b.cpu.insns - executed, s.regions, s.modules, s.exits_side, s.invalidations, s.evictions
    ));
}
