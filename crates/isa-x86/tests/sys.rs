//! Runs the small kernels of `tests/sys/*.asm` from real mode on and compares what they report with the `.txt` beside them.
//!
//! The reports were checked line by line against QEMU's TCG (`-dLAX` leaves out what it does not check) and the manual.
//! TCG faults at a target that is not canonical; processors at the branch (`tests/diff`), and so do we. `BLESS=1` rewrites them.

use std::path::{Path, PathBuf};
use std::process::Command;

use bare::Bare;
use isa_x86::{Cpu, CpuExit};

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

/// What the program wrote to port 0xE9, and how it ended if not by port 0xF4.
fn run(code: &[u8]) -> String {
    let mut v = bare::vcpu(Cpu::new(bare::memory(8 << 20)));
    bare::begin_sys(&mut v.cpu, code);
    let mut platform = Bare::default();
    let exit = v.run(&mut platform, 5_000_000);
    let mut text: String = platform.io.iter().filter(|w| w.0 == 0xe9).map(|w| char::from(w.2 as u8)).collect();
    let finished = platform.io.last().is_some_and(|w| w.0 == 0xf4) && exit == CpuExit::Halted;
    if !finished {
        text += &format!("\n{exit:x?} at {:#x}, {:?}\n", v.cpu.rip, v.cpu.code_size());
    }
    text
}

fn check(name: &str) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sys").join(name).with_extension("asm");
    let golden = source.with_extension("txt");
    let got = run(&assemble(&source));
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&golden, &got).expect("write");
        return;
    }
    let want = std::fs::read_to_string(&golden).expect("golden");
    if let Some((g, w)) = got.lines().zip(want.lines()).find(|(g, w)| g != w) {
        panic!("{name}:\n got      {g}\n expected {w}");
    }
    assert_eq!(got.len(), want.len(), "{name}: one report is longer:\n{got}");
}

#[test]
fn long_mode_exceptions() {
    check("long_exceptions");
}

#[test]
fn long_mode_transfers() {
    check("long_transfers");
}

#[test]
fn protected_mode() {
    check("protected");
}

#[test]
fn real_mode() {
    check("real");
}

#[test]
fn debug_exceptions() {
    check("debug");
}

#[test]
fn translations() {
    check("tlb");
}

#[test]
fn saved_state_cpuid_and_ports() {
    check("state");
}
