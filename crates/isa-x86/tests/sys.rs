//! Runs the small kernels of `tests/sys/*.asm` from real mode on and compares what they report with the `.txt` beside them.
//!
//! The reports were checked line by line against QEMU's TCG (`-dLAX` leaves out what it does not check) and the manual.
//! TCG faults at a target that is not canonical; processors at the branch (`tests/diff`), and so do we. `BLESS=1` rewrites them.
//! With a second tier, [`Evaluator`], they come to the same.

use std::path::{Path, PathBuf};
use std::process::Command;

use bare::Bare;
use evaluator::Evaluator;
use guest_api::{NoTier, Tier};
use isa_x86::{Cpu, CpuExit, Vcpu};

const RAM: u64 = 8 << 20;
/// Runs of a program with the second tier: what is seen in one is evaluated in the next.
const TURNS: u32 = 3;
/// The share of programs that are mostly 64-bit code. Of `debug` 60 percent are evaluated, of the others 73 to 89. What is not is executed for the
/// first time, of the system, or faults.
const LONG: u64 = 50;
/// That of programs without 64-bit code, which is all that is offered to a second tier.
const NONE: u64 = 0;
/// They fill tables by REP STOS, which does at once what the TLB knows: it may have some turns more.
const REPEATS: u64 = 8;

fn assemble(source: &Path) -> Vec<u8> {
    let out =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(source.file_stem().expect("name")).with_extension("sys.bin");
    let run = Command::new("nasm")
        .args(["-f", "bin", "-O1", "-w+error", "-w-number-overflow", "-o"])
        .arg(&out)
        .arg("-I")
        .arg(source.parent().expect("directory"))
        .arg(source)
        .output()
        .expect("nasm is missing: install it (apt-get install nasm), or run `cargo xtask test`, which does");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    std::fs::read(out).expect("binary")
}

fn machine() -> Vcpu {
    bare::vcpu(Cpu::new(bare::memory(RAM)))
}

/// Runs the program on a processor that was reset: what it wrote to port 0xE9, and how it ended if not by port 0xF4.
fn run<T: Tier>(v: &mut Vcpu, tier: &mut T, code: &[u8]) -> String {
    bare::begin_sys(&mut v.cpu, code);
    let mut platform = Bare::default();
    let exit = v.run_with(&mut platform, tier, 5_000_000);
    let mut text: String = platform.io.iter().filter(|w| w.0 == 0xe9).map(|w| char::from(w.2 as u8)).collect();
    let finished = platform.io.last().is_some_and(|w| w.0 == 0xf4) && exit == CpuExit::Halted;
    if !finished {
        text += &format!("\n{exit:x?} at {:#x}, {:?}\n", v.cpu.rip, v.cpu.code_size());
    }
    text
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sys").join(name).with_extension("asm")
}

/// Compares the report `got` with that of `golden`.
fn compare(name: &str, got: &str, golden: &Path) {
    let want = std::fs::read_to_string(golden).expect("golden");
    if let Some((g, w)) = got.lines().zip(want.lines()).find(|(g, w)| g != w) {
        panic!("{name}:\n got      {g}\n expected {w}");
    }
    assert_eq!(got.len(), want.len(), "{name}: one report is longer:\n{got}");
}

/// Runs the program again and again, with a second tier. How many instructions that were, and how many of them were evaluated.
fn evaluate(name: &str, code: &[u8], golden: &Path) -> (u64, u64) {
    let [mut alone, mut v] = [(); 2].map(|()| machine());
    run(&mut alone, &mut NoTier, code);
    let want = bare::outcome(&alone.cpu);
    let mut tier = Evaluator::new(isa_x86::tier::layout());
    let mut image = vec![0; RAM as usize];
    image[bare::BOOT_SECTOR as usize..][..code.len()].copy_from_slice(code);
    let (mut executed, mut evaluated) = (0, 0);
    for turn in 0..TURNS {
        v.cpu.reset();
        bare::restore(&mut v.cpu.mem, &image);
        let before = (v.cpu.insns, v.translated);
        let text = run(&mut v, &mut tier, code);
        let insns = v.cpu.insns - before.0;
        if turn > 0 {
            (executed, evaluated) = (executed + insns, evaluated + v.translated - before.1);
        }
        compare(&format!("{name}, turn {turn}"), &text, golden);
        assert_eq!(bare::outcome(&v.cpu), want, "{name}, turn {turn}");
        let more = insns.abs_diff(alone.cpu.insns);
        assert!(more <= REPEATS, "{name}, turn {turn}: {insns} instructions, alone {}", alone.cpu.insns);
    }
    (executed, evaluated)
}

/// `share`: of its instructions, when it is run again, those that must be evaluated, in percent.
fn check(name: &str, share: u64) {
    let source = source(name);
    let golden = source.with_extension("txt");
    let code = assemble(&source);
    let got = run(&mut machine(), &mut NoTier, &code);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&golden, &got).expect("write");
        return;
    }
    compare(name, &got, &golden);
    let (executed, evaluated) = evaluate(name, &code, &golden);
    assert!(evaluated * 100 >= executed * share, "{name}: {evaluated} of {executed} instructions were evaluated");
}

#[test]
fn long_mode_exceptions() {
    check("long_exceptions", LONG);
}

#[test]
fn long_mode_transfers() {
    check("long_transfers", LONG);
}

#[test]
fn protected_mode() {
    check("protected", NONE);
}

#[test]
fn real_mode() {
    check("real", NONE);
}

#[test]
fn debug_exceptions() {
    check("debug", LONG);
}

#[test]
fn translations() {
    check("tlb", LONG);
}

#[test]
fn units_and_what_they_report() {
    check("units", LONG);
}

#[test]
fn saved_state_cpuid_and_ports() {
    check("state", LONG);
}
