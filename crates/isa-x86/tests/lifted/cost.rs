//! `tests/cost/*.txt`: what typical code becomes, counted. Nothing here is right or wrong: a change shows as a difference to look at.

use std::path::PathBuf;

use guest_api::Width;
use iced_x86::{Decoder, DecoderOptions};
use ir::{Block, Effect, End, Op, Region, Target, Term, passes, verify};
use isa_x86::cpu::CodeSize;
use isa_x86::{decode, translate};
use wasmgen::{Id, abi::Abi};

use crate::machine::lifter;

const PC: u64 = 0x1000;

/// The text of the code in `bytes` and what it costs.
fn cost(bytes: &[u8]) -> String {
    let mut region = Region::default();
    let mut lift = lifter(&mut region, PC);
    lift.begin_block(None);
    let (mut at, mut texts, mut refused) = (0, Vec::new(), false);
    while at < bytes.len() {
        let pc = PC + at as u64;
        let i = decode(&bytes[at..], CodeSize::Bits64, Width::W64, at as u16).expect("an instruction");
        let text = Decoder::with_ip(64, &bytes[at..], pc, DecoderOptions::NONE).decode().to_string();
        at += usize::from(i.len);
        if !refused {
            lift.begin_insn(PC, pc);
            refused = translate(&mut lift, &i).is_none() || !lift.end_insn();
        }
        texts.push(if refused { format!("({text})") } else { text });
    }
    let r = lift.end_block();
    drop(lift);
    let out = |pc: i64| Target::Out { pc, slot: 0 };
    let term = match r.way.end {
        _ if refused => Term::Interpret { pc: 0 },
        End::Fall => Term::Jump(out(at as i64)),
        End::Jump(to) => Term::Jump(out(to)),
        End::Branch { cond, then, other } => Term::Branch { cond, then: out(then), other: out(other) },
        End::Goto(to) => Term::Goto { to, known: Vec::new() },
    };
    let leaves = Block { pc: 0, insns: 0, insts: Vec::new(), forks: Vec::new(), term: Term::Interpret { pc: 0 } };
    let empty = Region { blocks: vec![leaves], ..Region::default() };
    region.blocks.push(Block { pc: 0, insns: r.insns, insts: r.insts, forks: r.forks, term });
    passes::all(&mut region, Some(&[]), true);
    verify(&region).unwrap_or_else(|e| panic!("{e}\n{region}"));
    let count = |f: &dyn Fn(Op) -> bool| region.blocks[0].insts.iter().filter(|i| f(i.op)).count();
    format!(
        "{:44} | ops {:2}  bytes {:3}  exits {}  helpers {}",
        texts.join("; "),
        count(&|op| !matches!(op, Op::Const | Op::ConstX)),
        wasm_bytes(&region) - wasm_bytes(&empty),
        // What was reached before cannot leave.
        count(&|op| op.shape().effect == Effect::Exits && !matches!(op, Op::LoadNear(_) | Op::StoreNear(_))),
        count(&|op| matches!(op, Op::Helper | Op::DivWide(_))),
    )
}

/// Bytes of WebAssembly that `region` becomes, in a host that links modules.
fn wasm_bytes(region: &Region) -> usize {
    let abi = Abi { layout: isa_x86::tier::layout(), state: 1 << 20, lookup_slot: 1, interpret_slot: 2, linked: true };
    let mut batch = wasmgen::Batch::default();
    batch.add(1, 3, wasmgen::function(region, Id { number: 1, serial: 1 }, &abi));
    batch.bytes()
}

#[test]
fn code_costs_what_is_written() {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/cost");
    let mut wrong = String::new();
    for file in std::fs::read_dir(dir).expect("tests/cost").map(|f| f.expect("entry").path()) {
        let old = std::fs::read_to_string(&file).expect("text");
        let mut new = String::new();
        for line in old.lines() {
            let Some((hex, _)) = line.split_once('|').filter(|_| !line.starts_with(';')) else {
                new += &format!("{line}\n");
                continue;
            };
            let bytes: Vec<u8> =
                hex.split_whitespace().map(|b| u8::from_str_radix(b, 16).expect("a byte in hexadecimal")).collect();
            let line = format!("{:36} | {}\n", hex.trim(), cost(&bytes));
            if !old.contains(&line) {
                wrong += &line;
            }
            new += &line;
        }
        if old != new && std::env::var_os("BLESS").is_some() {
            std::fs::write(&file, new).expect("written");
            wrong.clear();
        }
    }
    // Where it is meant, run with BLESS=1 and look at the difference. In parentheses: what the interpreter executes.
    assert!(wrong.is_empty(), "the cost of code has changed:\n{wrong}");
}
