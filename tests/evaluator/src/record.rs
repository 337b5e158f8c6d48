//! Code as a region: a block, and what the interpreter goes on with behind the conditional jumps that it does not take.

use guest_api::{Code, Decoded};
use ir::{Block, End, Lift, Region, Target, Term};

use crate::PAGE;

/// The region of what begins with `entry`, at linear address `base`, and the physical ranges that it was made from. `None` where the interpreter must
/// execute the first instruction.
pub(crate) fn record<C: Code>(code: &C, entry: Decoded, base: u64) -> Option<(Region, Vec<(u64, u32)>)> {
    let mut region = Region::default();
    let mut ranges = Vec::new();
    let mut lift = Lift::new(&mut region, base, C::ZERO, C::BLOCK, |_| true);
    lift.begin_block(None);
    let block_pc = base.wrapping_sub(entry.lead.into());
    // A jump back to the entry stays in the region.
    let target = |pc: i64| if pc == 0 { Target::Block(0) } else { Target::Out { pc, slot: 0 } };
    let mut part = entry;
    let term = loop {
        let at = |k: u32| i64::from(part.lead - entry.lead) + i64::from(code.offset(&part, k));
        let done = (0..part.insns).find(|&k| {
            lift.begin_insn(block_pc, base.wrapping_add(at(k) as u64));
            let meaning = code.lift(&part, k, &mut lift);
            if meaning.is_none() {
                lift.refuse();
            }
            !(lift.end_insn() && matches!(meaning, Some(Ok(()))))
        });
        ranges.extend(in_pages(&part, code.offset(&part, done.unwrap_or(part.insns))));
        if let Some(k) = done {
            break Term::Interpret { pc: at(k) };
        }
        match lift.way().end {
            End::Branch { cond, then, other } => match code.behind(&part) {
                Some(next) => {
                    let goes_on = then == at(part.insns);
                    lift.fork(cond, !goes_on, target(if goes_on { other } else { then }));
                    part = next;
                }
                None => break Term::Branch { cond, then: target(then), other: target(other) },
            },
            End::Fall => break Term::Jump(target(at(part.insns))),
            End::Jump(to) => break Term::Jump(target(to)),
            End::Goto(to) => break Term::Goto { to, known: Vec::new() },
        }
    };
    let block = lift.end_block();
    if block.insns == 0 {
        return None;
    }
    region.blocks = vec![Block { pc: 0, insns: block.insns, insts: block.insts, forks: block.forks, term }];
    region.pages.extend(entry.next_page.map(|pa| (PAGE as i64, pa)));
    for pass in [false, true] {
        if pass {
            ir::passes::all(&mut region, Some(&[]), true);
        }
        if let Err(e) = ir::verify(&region) {
            panic!("code at {base:#x}, passes {pass}: {e}\n{region}");
        }
    }
    Some((region, ranges))
}

/// Where the first `bytes` of `part` are, by pages.
fn in_pages(part: &Decoded, bytes: u32) -> impl Iterator<Item = (u64, u32)> {
    let first = bytes.min((PAGE - part.pa % PAGE) as u32);
    let ranges = [(part.pa, first), (part.next_page.unwrap_or(0), bytes - first)];
    ranges.into_iter().filter(|range| range.1 > 0)
}
