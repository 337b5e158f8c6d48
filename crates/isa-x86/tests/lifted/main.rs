//! The semantics recorded as `ir` and evaluated, against the same semantics executed: random instructions and programs, random states.
//!
//! `LIFTED_CASES=N` asks for N cases of each test, `LIFTED_SEED=S` for others than the usual ones.

mod cost;
mod machine;
mod program;

use std::collections::BTreeMap;

use guest_api::FlagForm;
use ir::{Block, End, Recorded, Region, Target, Term};
use isa_x86::{Op, translate};
use random::Rng;

use machine::{CODE, Machine, Why, lifter};
use program::{Opcodes, Program};

/// A program as a region: its blocks reachable from the first, in reverse post-order. How many instructions were not for translation.
fn lift(rng: &mut Rng, p: &Program, start: FlagForm) -> (Region, Vec<String>) {
    let mut region = Region::default();
    let mut refused = Vec::new();
    let mut recorded: Vec<(Recorded, Option<i64>, i64)> = Vec::new();
    // Blocks that may be entered other than from the one before.
    let mut targets: Vec<u64> = vec![CODE];
    for (start, insns) in &p.blocks {
        for (i, _) in insns.iter().filter(|(i, _)| i.ends_block()) {
            targets.extend([i.target(CODE + start), i.pc(CODE + start)]);
        }
    }
    let dynamic = p
        .blocks
        .iter()
        .any(|b| b.1.iter().any(|(i, _)| matches!(format!("{:?}", i.op).as_str(), "Jmp" | "Call" | "Ret")));
    let mut lift = lifter(&mut region, CODE);
    let mut form = Some(start);
    for (n, (start, insns)) in p.blocks.iter().enumerate() {
        let block = CODE + start;
        let alone = if n == 0 { !targets[1..].contains(&block) } else { !targets.contains(&block) };
        lift.begin_block(form.filter(|_| alone && !dynamic && rng.one_in(2)));
        let mut stop = None;
        for (i, _) in insns {
            lift.begin_insn(block, i.pc(block));
            if translate(&mut lift, i).is_none() || !lift.end_insn() {
                refused.push(format!("{:?}", i.op));
                stop = Some(i.pc(block).wrapping_sub(CODE) as i64);
                break;
            }
        }
        let r = lift.end_block();
        form = r.way.form;
        let next = insns.last().map_or(block, |(i, _)| i.next_pc(block)).wrapping_sub(CODE) as i64;
        recorded.push((r, stop, next));
    }
    drop(lift);
    let find = |pc: i64| p.blocks.iter().position(|b| b.0 as i64 == pc);
    // Reverse post-order of what can be reached.
    let successors: Vec<Vec<usize>> = recorded
        .iter()
        .map(|(r, stop, next)| {
            let to = match (stop, r.way.end) {
                (Some(_), _) => vec![],
                (None, End::Fall) => vec![*next],
                (None, End::Jump(t)) => vec![t],
                (None, End::Branch { then, other, .. }) => vec![then, other],
                (None, End::Goto(_)) => p.blocks.iter().map(|b| b.0 as i64).collect(),
            };
            to.into_iter().filter_map(find).collect()
        })
        .collect();
    let mut order = Vec::new();
    let mut seen = vec![false; recorded.len()];
    fn visit(n: usize, successors: &[Vec<usize>], seen: &mut [bool], order: &mut Vec<usize>) {
        if !std::mem::replace(&mut seen[n], true) {
            for &s in &successors[n] {
                visit(s, successors, seen, order);
            }
            order.push(n);
        }
    }
    visit(0, &successors, &mut seen, &mut order);
    order.reverse();
    let number: BTreeMap<usize, u32> = order.iter().enumerate().map(|(k, &n)| (n, k as u32)).collect();
    let target = |pc: i64| match find(pc).and_then(|n| number.get(&n)) {
        Some(&n) => Target::Block(n),
        None => Target::Out { pc, slot: 0 },
    };
    let mut recorded: Vec<Option<_>> = recorded.into_iter().map(Some).collect();
    for &n in &order {
        let (r, stop, next) = recorded[n].take().expect("each once");
        let term = match (stop, r.way.end) {
            (Some(pc), _) => Term::Interpret { pc },
            (None, End::Fall) => Term::Jump(target(next)),
            (None, End::Jump(t)) => Term::Jump(target(t)),
            (None, End::Branch { cond, then, other }) => {
                Term::Branch { cond, then: target(then), other: target(other) }
            }
            (None, End::Goto(to)) => {
                let known = p.blocks.iter().enumerate().filter_map(|(k, b)| Some((b.0 as i64, *number.get(&k)?)));
                Term::Goto { to, known: known.collect() }
            }
        };
        region.blocks.push(Block { pc: p.blocks[n].0 as i64, insns: r.insns, insts: r.insts, forks: r.forks, term });
    }
    (region, refused)
}

/// What differs between two machines, as text.
fn differences(a: &mut Machine, b: &mut Machine) -> String {
    let mut out = String::new();
    let mut differ = |what: &str, a: u128, b: u128| {
        if a != b {
            out += &format!("  {what}: executed {a:#x}, evaluated {b:#x}\n");
        }
    };
    let (x, y) = (&a.cpu, &b.cpu);
    for r in (0..16).chain(18..25) {
        differ(&format!("slot {r}"), x.regs[r].into(), y.regs[r].into());
    }
    differ("rip", x.rip.into(), y.rip.into());
    differ("rflags", x.rflags().into(), y.rflags().into());
    for r in 0..16 {
        differ(&format!("xmm{r}"), x.xmm[r], y.xmm[r]);
    }
    differ("mxcsr", x.mxcsr.into(), y.mxcsr.into());
    if x.fpu != y.fpu {
        out += &format!("  x87: executed {:x?}, evaluated {:x?}\n", x.fpu, y.fpu);
    }
    let at = a.memory().iter().zip(b.memory().iter()).position(|(x, y)| x != y);
    if let Some(at) = at {
        let end = (at + 16).min(a.memory().len());
        out += &format!(
            "  data at {at:#x}: executed {:02x?}, evaluated {:02x?}\n",
            &a.memory()[at..end],
            &b.memory()[at..end]
        );
    }
    out
}

#[derive(Default)]
struct Seen {
    /// By row: how often it was translated, refused.
    rows: BTreeMap<String, (u64, u64)>,
    exits: u64,
    cases: u64,
}

struct Pair {
    a: Machine,
    b: Machine,
}

/// Runs one program on both; what is wrong.
fn compare(pair: &mut Pair, rng: &mut Rng, p: &Program, seen: &mut Seen) -> Result<(), String> {
    let (a, b) = (&mut pair.a, &mut pair.b);
    let flags = program::state(rng, [&mut *a, &mut *b], &p.starts());
    let start = (a.cpu.regs, a.cpu.rflags());
    let (mut region, refused) = lift(rng, p, FlagForm(flags.form as u8));
    let before = format!("{region}");
    let made = ir::verify(&region);
    ir::passes::all(&mut region, Some(&[]), true);
    if let Err(e) = made.and_then(|()| ir::verify(&region)) {
        return Err(format!("{e}\n{}\n{region}\nbefore passes:\n{before}", p.text()));
    }
    for row in &refused {
        seen.rows.entry(row.clone()).or_default().1 += 1;
    }
    let budget = rng.pick(&[1, 3, 10, 50]);
    let (outcome, why) = b.run(&region, &flags, budget);
    seen.cases += 1;
    let executed = budget - outcome.left;
    let wrong = |text: String, a: &mut Machine, b: &mut Machine| {
        Err(format!(
            "{text}\n{}outcome {outcome:x?}, {executed} instructions, {why:?}\nstart {start:x?}, flags {flags:x?}\n{}\n{region}\nbefore passes:\n{before}",
            differences(a, b),
            p.text(),
        ))
    };
    if executed < 0 || executed > budget + 50 {
        return wrong(format!("{executed} instructions of {budget}"), a, b);
    }
    a.cpu.rip = CODE;
    for k in 0..executed {
        let pc = a.cpu.rip;
        let Some((i, block)) = p.at(pc) else {
            return wrong(format!("instruction {k} at {pc:#x} is outside the program"), a, b);
        };
        if let Err(e) = a.step(i, block) {
            return wrong(format!("instruction {k} at {pc:#x} faults: {e:?}"), a, b);
        }
        seen.rows.entry(format!("{:?}", i.op)).or_default().0 += 1;
    }
    // The sticky flags of an instruction that was left midway are set again.
    let sticky = b.cpu.mxcsr;
    if outcome.exit.is_some() && sticky & !0x3f == a.cpu.mxcsr & !0x3f && a.cpu.mxcsr & !sticky == 0 {
        b.cpu.mxcsr = a.cpu.mxcsr;
    }
    if !differences(a, b).is_empty() {
        return wrong("states differ".into(), a, b);
    }
    b.cpu.mxcsr = sticky;
    if outcome.exit.is_some() {
        seen.exits += 1;
        // What the interpreter does next faults, or is not for translated code.
        let Some((i, block)) = p.at(outcome.pc) else {
            return wrong("a side exit outside the program".into(), a, b);
        };
        let (x, y) = (a.step(i, block), b.step(i, block));
        if x != y || !differences(a, b).is_empty() {
            return wrong(format!("{:?} after a side exit: {x:?}, {y:?}", i.op), a, b);
        }
        if x.is_ok() && !matches!(why, Some(Why::Device | Why::Code)) {
            return wrong(format!("{:?} left by a side exit and does not fault", i.op), a, b);
        }
    }
    Ok(())
}

fn setting(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |v| v.parse().unwrap_or_else(|_| panic!("{name}={v} is no number")))
}

/// Runs `cases` programs made by `make`, and tells the first failure of each kind.
fn run(salt: u64, cases: u64, mut make: impl FnMut(&mut Rng) -> Program) -> Seen {
    let cases = setting("LIFTED_CASES", cases);
    let mut rng = Rng(setting("LIFTED_SEED", 1) ^ salt << 32);
    let mut pair = Pair { a: Machine::new(), b: Machine::new() };
    let mut seen = Seen::default();
    let mut failed: BTreeMap<String, (u64, String)> = BTreeMap::new();
    for _ in 0..cases {
        let seed = rng.next();
        let mut rng = Rng(seed);
        let p = make(&mut rng);
        if let Err(text) = compare(&mut pair, &mut rng, &p, &mut seen) {
            let key = if p.blocks.len() == 1 && p.blocks[0].1.len() == 1 {
                format!("{:?}", p.blocks[0].1[0].0.op)
            } else {
                "sequence".into()
            };
            let size = |t: &str| t.len();
            let entry = failed.entry(key).or_insert_with(|| (0, text.clone()));
            entry.0 += 1;
            if size(&text) < size(&entry.1) {
                entry.1 = text;
            }
        }
    }
    let mut text = String::new();
    for (key, (n, first)) in &failed {
        text += &format!("{key}: {n} wrong; one:\n{first}\n\n");
    }
    println!("{} side exits of {} cases; rows run and refused: {:?}", seen.exits, seen.cases, seen.rows);
    assert!(failed.is_empty(), "{} of {cases} cases\n{text}", failed.values().map(|f| f.0).sum::<u64>());
    seen
}

/// Rows of the table that have a meaning; `integer`: those of general registers alone.
fn rows(opcodes: &Opcodes, integer: bool) -> Vec<&str> {
    let integers: Vec<String> =
        Op::ALL.iter().take_while(|op| !integer || **op != Op::Clflush).map(|op| format!("{op:?}")).collect();
    opcodes.rows().filter(|row| integers.iter().any(|name| name == row)).collect()
}

#[test]
fn single_instructions() {
    let opcodes = Opcodes::new();
    let rows = rows(&opcodes, false);
    let seen = run(1, 40_000, |rng| {
        let row = rng.pick(&rows);
        Program::random(rng, &opcodes, &[row], 1)
    });
    for row in rows {
        // Some have few encodings that are legal.
        let again = || run(2, 3000, |rng| Program::random(rng, &opcodes, &[row], 1)).rows.contains_key(row);
        assert!(seen.rows.contains_key(row) || again(), "{row} was never run");
    }
    assert!(seen.exits > seen.cases / 50, "few side exits: {}", seen.exits);
}

#[test]
fn sequences() {
    let opcodes = Opcodes::new();
    let rows = rows(&opcodes, false);
    run(2, 10_000, |rng| {
        let n = 2 + rng.below(8) as usize;
        Program::random(rng, &opcodes, &rows, n)
    });
}

/// Flags and general registers, through several blocks and around loops.
#[test]
fn integer_sequences() {
    let opcodes = Opcodes::new();
    let rows = rows(&opcodes, true);
    run(3, 20_000, |rng| {
        let n = 2 + rng.below(14) as usize;
        Program::random(rng, &opcodes, &rows, n)
    });
}
