//! Runs `tests/insn/*.asm`: NASM sources whose header says what must hold when they are done.
//!
//! Header lines, each a comment:
//! ```text
//! ; bits 64                       16, 32 or 64 (default): the mode
//! ; rax = 0x1234                  a register at the end
//! ; flags = C Z !O                condition flags at the end, set or clear; those not named may be anything
//! ; mem 0x5000 = 01 02 03         bytes of memory at the end
//! ; fault = #GP(0) at label       the exception that ends the program, and where RIP then is: a label's name
//! ```
//! A program begins at `_start` = 0x10_0000 (0x7c00 for 16 bits) with all registers 0 but the stack pointer, 0xf000, and flags clear. It ends where its
//! bytes do. Memory is flat; in 16 bits the segments' bases are 0 as in real mode. Labels are found in NASM's listing.
//!
//! Each is executed instruction by instruction, by the interpreter's loop, and by that and a second tier, [`Evaluator`].

use std::collections::HashMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use bare::Bare;
use evaluator::Evaluator;
use guest_api::{NoTier, Tier};
use isa_x86::cpu::{BLOCK, Cpu};
use isa_x86::fault::StopReason;
use isa_x86::{CpuExit, DecodeError, Exception, Exec, Vcpu, decode, execute};

const NAMES: [&str; 16] =
    ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"];
const FLAGS: [(&str, u64); 7] =
    [("C", 1), ("P", 1 << 2), ("A", 1 << 4), ("Z", 1 << 6), ("S", 1 << 7), ("D", 1 << 10), ("O", 1 << 11)];
const VECTORS: [(&str, u8); 10] = [
    ("#DE", 0),
    ("#OF", 4),
    ("#BR", 5),
    ("#UD", 6),
    ("#NM", 7),
    ("#SS", 12),
    ("#GP", 13),
    ("#PF", 14),
    ("#MF", 16),
    ("#AC", 17),
];
/// More than any program here executes.
const LIMIT: u64 = 100_000;
/// Runs of a program with the second tier: what is seen in one is evaluated in the next.
const TURNS: u32 = 3;
/// Of 64-bit programs' instructions, when they are run again, those that must be evaluated, in percent. 92 are; the others fault, or only the interpreter
/// knows them.
const EVALUATED: u64 = 75;

#[derive(Default)]
struct Case {
    bits: u64,
    registers: Vec<(usize, u64)>,
    flags: Vec<(&'static str, u64, bool)>,
    memory: Vec<(u64, Vec<u8>)>,
    fault: Option<(u8, Option<u32>, String)>,
}

fn number(s: &str) -> u64 {
    let s = s.trim().replace('_', "");
    let (s, negative) = s.strip_prefix('-').map_or((s.as_str(), false), |s| (s, true));
    let v = match s.strip_prefix("0x") {
        Some(h) => u64::from_str_radix(h, 16),
        None => s.parse(),
    }
    .unwrap_or_else(|_| panic!("not a number: {s}"));
    if negative { v.wrapping_neg() } else { v }
}

fn parse(text: &str) -> Case {
    let mut c = Case { bits: 64, ..Case::default() };
    for line in text.lines().map_while(|l| l.strip_prefix(';')) {
        let line = line.trim();
        if let Some(bits) = line.strip_prefix("bits ") {
            c.bits = number(bits);
            continue;
        }
        let Some((left, right)) = line.split_once(" = ") else { continue };
        let (left, right) = (left.trim(), right.trim());
        if left == "flags" {
            for f in right.split_whitespace() {
                let (name, set) = f.strip_prefix('!').map_or((f, true), |f| (f, false));
                let &(name, bit) = FLAGS.iter().find(|x| x.0 == name).unwrap_or_else(|| panic!("no flag {name}"));
                c.flags.push((name, bit, set));
            }
        } else if left == "fault" {
            let (what, label) = right.split_once(" at ").expect("fault = #XX at label");
            let (name, error) = what.split_once('(').map_or((what, None), |(n, e)| (n, Some(e.trim_end_matches(')'))));
            let &(_, vector) = VECTORS.iter().find(|v| v.0 == name).unwrap_or_else(|| panic!("no vector {name}"));
            c.fault = Some((vector, error.map(|e| number(e) as u32), label.trim().to_string()));
        } else if let Some(at) = left.strip_prefix("mem ") {
            let bytes = right.split_whitespace().map(|b| u8::from_str_radix(b, 16).expect("a byte")).collect();
            c.memory.push((number(at), bytes));
        } else {
            let r = NAMES.iter().position(|&n| n == left).unwrap_or_else(|| panic!("no register {left}"));
            c.registers.push((r, number(right)));
        }
    }
    assert!(
        c.fault.is_some() || !(c.registers.is_empty() && c.flags.is_empty() && c.memory.is_empty()),
        "the header expects nothing"
    );
    c
}

/// Machine code of `source`, and the offsets of its labels.
fn assemble(source: &Path, bits: u64, start: u64) -> (Vec<u8>, HashMap<String, u64>) {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let name = source.file_stem().expect("name").to_string_lossy().into_owned();
    let (bin, map, wrapped) =
        (dir.join(format!("{name}.bin")), dir.join(format!("{name}.map")), dir.join(format!("{name}.asm")));
    let text = std::fs::read_to_string(source).expect("source");
    let head = format!("[map symbols {}]\nbits {bits}\norg {start:#x}\n_start:\n", map.display());
    std::fs::write(&wrapped, head + &text).expect("write");
    let out = Command::new("nasm")
        .args(["-f", "bin", "-O1", "-w+error", "-o"])
        .arg(&bin)
        .arg(&wrapped)
        .output()
        .expect("nasm is missing: install it (apt-get install nasm), or run `cargo xtask test`, which does");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    // Lines of the map: real address, virtual address, name.
    let symbols = std::fs::read_to_string(&map).expect("map");
    let labels = symbols.lines().filter_map(|l| {
        let mut w = l.split_whitespace();
        let (a, _, n) = (w.next()?, w.next()?, w.next()?);
        Some((n.to_string(), u64::from_str_radix(a, 16).ok()?))
    });
    (std::fs::read(&bin).expect("binary"), labels.collect())
}

fn machine(bits: u64, code: &[u8]) -> Vcpu {
    let mut v = bare::vcpu(Cpu::new(bare::memory(bare::RAM)));
    assert!(v.cpu.mem.ram.write_bytes(bare::start_of_insn(bits), code));
    bare::begin_insn(&mut v.cpu, bits);
    v
}

/// Executes instruction by instruction, without the interpreter's loop: faults are seen as they are raised.
fn step(v: &mut Vcpu, start: u64, end: u64) -> Result<(), String> {
    let mut platform = Bare::default();
    let mut cx = Exec::new(&mut v.cpu, &mut platform);
    for _ in 0..LIMIT {
        let pc = cx.cpu.rip;
        if pc == end {
            return Ok(());
        }
        if !(start..end).contains(&pc) {
            return Err(format!("RIP {pc:#x} is outside the program"));
        }
        let mut bytes = [0; 15];
        assert!(cx.cpu.mem.ram.read_bytes(pc, &mut bytes));
        let i = match decode(&bytes, cx.cpu.code_size(), cx.cpu.stack_width(), 0) {
            Ok(i) => i,
            Err(DecodeError::Invalid) => return Err(shown(Exception { vector: 6, error: None })),
            Err(DecodeError::TooLong) => return Err(shown(Exception { vector: 13, error: Some(0) })),
            Err(e) => return Err(format!("{e:?} at {pc:#x}: {bytes:02x?}")),
        };
        cx.cpu.regs[BLOCK as usize] = pc;
        cx.cpu.rip = pc + u64::from(i.len);
        if execute(&mut cx, &i).is_err() {
            cx.cpu.rip = pc;
            return Err(match cx.cpu.stop {
                StopReason::Exception(e) => shown(e),
                s => format!("{s:?}"),
            });
        }
    }
    Err("runs for too long".into())
}

/// Executes what is at CS:RIP up to HLT, which is at `end`.
fn in_blocks<T: Tier>(v: &mut Vcpu, tier: &mut T, end: u64) -> Result<(), String> {
    v.catch_exceptions = true;
    match v.run_with(&mut Bare::default(), tier, LIMIT) {
        CpuExit::Halted if v.cpu.rip == end + 1 => Ok(()),
        CpuExit::Exception(e) => Err(shown(e)),
        CpuExit::Budget => Err("runs for too long".into()),
        other => Err(format!("{other:?}")),
    }
}

/// Instructions that were executed, and those of them that were evaluated.
#[derive(Default)]
struct Share {
    executed: u64,
    evaluated: u64,
}

/// What a program has come to after so many instructions.
fn outcome(v: &Vcpu, done: &Result<(), String>, insns: u64) -> String {
    format!("{done:?}, {insns} instructions, {}", bare::outcome(&v.cpu))
}

/// Executes the program again and again, with a second tier. It must always come to what `want` says.
fn evaluate(v: &mut Vcpu, bits: u64, end: u64, want: &str, share: &mut Share) -> Result<(), String> {
    let mut tier = Evaluator::new(isa_x86::tier::layout());
    let image = v.cpu.mem.ram.slice(0, bare::RAM as usize).expect("RAM").to_vec();
    let mut last = Ok(());
    for turn in 0..TURNS {
        bare::restore(&mut v.cpu.mem, &image);
        bare::begin_insn(&mut v.cpu, bits);
        let before = (v.cpu.insns, v.translated);
        let done = in_blocks(v, &mut tier, end);
        let insns = v.cpu.insns - before.0;
        if bits == 64 && turn > 0 {
            share.executed += insns;
            share.evaluated += v.translated - before.1;
        }
        let got = outcome(v, &done, insns);
        if got != want {
            return Err(format!("in turn {turn} otherwise than in blocks:\n    {got}\n   which is\n    {want}\n   "));
        }
        last = done;
    }
    last
}

fn shown(e: Exception) -> String {
    format!("#{} {:?}", e.vector, e.error)
}

/// What is not as expected.
fn check(v: &Vcpu, c: &Case) -> String {
    let mut bad = String::new();
    for &(r, want) in &c.registers {
        let is = v.cpu.regs[r];
        if is != want {
            let _ = write!(bad, "\n    {} is {is:#x}, expected {want:#x}", NAMES[r]);
        }
    }
    for &(name, bit, want) in &c.flags {
        if (v.cpu.rflags() & bit != 0) != want {
            let _ = write!(bad, "\n    flag {name} is {}, expected {}", !want as u8, want as u8);
        }
    }
    for (at, want) in &c.memory {
        let is = v.cpu.mem.ram.slice(*at, want.len()).expect("RAM");
        if is != want {
            let _ = write!(bad, "\n    memory at {at:#x} is {is:02x?}, expected {want:02x?}");
        }
    }
    bad
}

fn run(source: &Path, share: &mut Share) -> Result<(), String> {
    let c = parse(&std::fs::read_to_string(source).expect("source"));
    let start = bare::start_of_insn(c.bits);
    let (mut code, labels) = assemble(source, c.bits, start);
    let end = start + code.len() as u64;
    code.push(0xf4);

    let mut bad = String::new();
    let [mut alone, mut whole, mut again] = [(); 3].map(|()| machine(c.bits, &code));
    let done = step(&mut alone, start, end);
    let done_whole = in_blocks(&mut whole, &mut NoTier, end);
    let want = outcome(&whole, &done_whole, whole.cpu.insns);
    let evaluated = evaluate(&mut again, c.bits, end, &want, share);
    for (tier, v, outcome) in
        [("alone", alone, done), ("in blocks", whole, done_whole), ("evaluated", again, evaluated)]
    {
        let mut wrong = check(&v, &c);
        match (&c.fault, outcome) {
            (None, Ok(())) => {}
            (None, Err(e)) => wrong += &format!("\n    {e} at {:#x}", v.cpu.rip),
            (Some((vector, error, label)), Err(e)) => {
                let want = shown(Exception { vector: *vector, error: *error });
                let at = *labels.get(label).ok_or_else(|| format!("no label {label}"))?;
                if e != want || v.cpu.rip != at {
                    wrong += &format!("\n    {e} at {:#x}, expected {want} at {at:#x}", v.cpu.rip);
                }
            }
            (Some(f), Ok(())) => wrong += &format!("\n    no fault, expected {f:?}"),
        }
        if !wrong.is_empty() {
            bad += &format!("\n  {tier}:{wrong}");
        }
    }
    if bad.is_empty() { Ok(()) } else { Err(bad) }
}

#[test]
fn programs() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/insn");
    let mut sources: Vec<PathBuf> =
        std::fs::read_dir(dir).expect("tests/insn").map(|f| f.expect("entry").path()).collect();
    sources.retain(|p| p.extension().is_some_and(|e| e == "asm"));
    sources.sort();
    assert!(!sources.is_empty());
    let (mut failed, mut share) = (String::new(), Share::default());
    for s in &sources {
        if let Err(e) = run(s, &mut share) {
            let _ = write!(failed, "\n{}:{e}", s.file_name().expect("name").to_string_lossy());
        }
    }
    assert!(failed.is_empty(), "{failed}");
    let Share { executed, evaluated } = share;
    assert!(evaluated * 100 >= executed * EVALUATED, "{evaluated} of {executed} instructions were evaluated");
}
