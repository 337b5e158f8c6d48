//! `tests/ir/*.ir`: regions before and after a pass. `BLESS=1` writes what comes out as what is expected.
//!
//! ```text
//! ; what the case shows
//! ; pass: fold                  `dead`, `share`, `keep`, or `fold`: the region is recorded anew, an instruction a block
//! ; apart: @0x4                 offsets for `share`, if any
//! block 0 @0x0 insns 1:
//!   ..
//! ---
//! block 0 @0x0 insns 1:         what comes out
//!   ..
//! ```

use std::path::PathBuf;

use guest_api::{Emit, EmitVector, Helper, Slot, Space, Trap, XSlot};
use ir::{Block, End, Inst, Lift, Op, Region, Term, Val, passes, verify};

/// Records `region` anew: each block as one instruction.
fn record(region: &Region) -> Region {
    let mut out = Region { units: region.units, pages: region.pages.clone(), ..Region::default() };
    let mut blocks = Vec::new();
    let mut lift = Lift::new(&mut out, 0, Slot(200), Slot(201), |_| true);
    for b in &region.blocks {
        assert_eq!(b.insns, 1, "an instruction a block");
        lift.begin_block(None);
        lift.begin_insn(b.pc as u64, b.pc as u64);
        let mut values = vec![Val::NONE; b.insts.len()];
        part(&mut lift, region, &b.insts, 0, &mut values);
        match &b.term {
            Term::Branch { cond, .. } => lift.branch(values[cond.index()], 0, 0),
            Term::Goto { to, .. } => lift.goto(values[to.index()]),
            Term::Jump(_) | Term::Interpret { .. } => {}
        }
        assert!(lift.end_insn(), "the recorder refuses block @{:#x}", b.pc);
        blocks.push(lift.end_block());
    }
    drop(lift);
    for (r, b) in blocks.into_iter().zip(&region.blocks) {
        let mut term = b.term.clone();
        match (&mut term, r.way.end) {
            (Term::Branch { cond, .. }, End::Branch { cond: c, .. }) => *cond = c,
            (Term::Goto { to, .. }, End::Goto(t)) => *to = t,
            _ => {}
        }
        out.blocks.push(Block { pc: b.pc, insns: b.insns, insts: r.insts, forks: r.forks, term });
    }
    out
}

/// Records the operations from `k` on, up to the end of the conditional part; where that is.
fn part(e: &mut Lift<'_>, region: &Region, insts: &[Inst], mut k: usize, values: &mut [Val]) -> usize {
    while k < insts.len() {
        let i = &insts[k];
        let [a, b, c, _] = i.args.map(|v| if v == Val::NONE { v } else { values[v.index()] });
        let none = Val::NONE;
        let n = i.imm as u8;
        let Ok(v): Result<Val, core::convert::Infallible> = match i.op {
            Op::Const => Ok(e.imm(i.imm)),
            Op::Pc => Ok(e.code_address(i.imm)),
            Op::Get => Ok(e.get(Slot(n))),
            Op::Put => {
                e.put(Slot(n), a);
                Ok(none)
            }
            Op::Bin(op) => Ok(e.bin(op, a, b)),
            Op::Un(op) => Ok(e.un(op, a)),
            Op::Rel(op) => Ok(e.rel(op, a, b)),
            Op::Not => Ok(e.not(a)),
            Op::Both => Ok(e.both(a, b)),
            Op::Either => Ok(e.either(a, b)),
            Op::Value => Ok(e.value(a)),
            Op::Select => Ok(e.select(a, b, c)),
            Op::Load(w) => e.load(w, a, Space::FLAT),
            Op::LoadRmw(w) => e.load_rmw(w, a, Space::FLAT),
            Op::Store(w) => e.store(w, a, b, Space::FLAT).map(|()| none),
            Op::Probe => e.probe_write(i.imm as u32, a, Space::FLAT).map(|()| none),
            Op::Bail => e.raise(Trap(0)).map(|()| none),
            Op::Helper => e.helper(Helper(i.imm as u16), &i.args.map(|v| values[v.index()])),
            Op::GetX => Ok(e.getx(XSlot(n))),
            Op::PutX => {
                e.putx(XSlot(n), a);
                Ok(none)
            }
            Op::ConstX => Ok(e.immx(region.consts[i.imm as usize])),
            Op::V2(op) => Ok(e.v2(op, a, b)),
            Op::If => {
                let mut end = k;
                let Ok(()) = e.when(a, |e| {
                    end = part(e, region, insts, k + 1, values);
                    Ok(())
                });
                k = end;
                Ok(none)
            }
            Op::End => return k,
            op => panic!("{op:?} is not recorded here"),
        };
        values[k] = v;
        k += 1;
    }
    k
}

#[test]
fn passes_give_what_is_written() {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/ir");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(&dir).expect("tests/ir").map(|f| f.expect("entry").path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "ir"));
    files.sort();
    assert!(!files.is_empty());
    let mut wrong = String::new();
    for file in files {
        let name = file.file_name().expect("name").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&file).expect("text");
        let (input, expected) = text.split_once("---\n").unwrap_or((&text, ""));
        let mut region: Region = input.parse().unwrap_or_else(|e| panic!("{name}: {e}"));
        verify(&region).unwrap_or_else(|e| panic!("{name}: {e}"));
        let pass =
            input.lines().find_map(|l| l.strip_prefix("; pass: ")).unwrap_or_else(|| panic!("{name}: no `; pass:`"));
        match pass {
            "dead" => passes::dead(&mut region),
            "share" => {
                let line = input.lines().find_map(|l| l.strip_prefix("; apart: ")).unwrap_or_default();
                let offset = |w: &str| i64::from_str_radix(w.strip_prefix("@0x")?, 16).ok();
                let apart: Option<Vec<i64>> = line.split_whitespace().map(offset).collect();
                passes::share(&mut region, &apart.unwrap_or_else(|| panic!("{name}: `; apart: {line}`")));
            }
            "keep" => passes::keep(&mut region),
            "fold" => region = record(&region),
            _ => panic!("{name}: no pass {pass}"),
        }
        verify(&region).unwrap_or_else(|e| panic!("{name}, what comes out: {e}\n{region}"));
        let is = region.to_string();
        if is == expected {
            continue;
        }
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&file, format!("{input}---\n{is}")).expect("written");
        } else {
            wrong += &format!("{name}: expected\n{expected}\nis\n{is}\n");
        }
    }
    // Where these are better, run with BLESS=1 and look at the difference.
    assert!(wrong.is_empty(), "{wrong}");
}
