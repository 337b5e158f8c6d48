//! Dead state and dead values, over the whole region.
//!
//! A slot that is written again before it is read, and before anything that can leave the region, need not be written: nobody can see
//! the value. Then what nobody uses is dropped.

use crate::{Block, Effect, Op, Region, Target, Term, Val};

/// Slots whose value nobody sees: a bit each, guest and flag slots, then vector slots.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Dead {
    slots: u64,
    xslots: u32,
}

const NONE: Dead = Dead { slots: 0, xslots: 0 };

impl Dead {
    fn and(self, other: Dead) -> Dead {
        Dead { slots: self.slots & other.slots, xslots: self.xslots & other.xslots }
    }
}

/// Drops dead writes of slots and dead values. Blocks must be in reverse post-order: an edge to the same or an earlier block is one
/// where the budget is looked at, so that the region may be left there. So what is dead at a block's end is known when those behind
/// it are done.
pub fn dead(region: &mut Region) {
    let mut at_start = vec![NONE; region.blocks.len()];
    let (mut used, mut map) = (Vec::new(), Vec::new());
    for n in (0..region.blocks.len()).rev() {
        let block = &mut region.blocks[n];
        at_start[n] = backward(block, n, &at_start, &mut used);
        sweep(block, &used, &mut map);
    }
}

/// Goes through block `n` from its end, where it is known what is dead at the start of those behind it. Returns what is dead at its own,
/// and in `used` for each operation whether it is more than a write that nobody sees, or a value without use.
fn backward(block: &mut Block, n: usize, at_start: &[Dead], used: &mut Vec<bool>) -> Dead {
    let target = |t: &Target| match t {
        Target::Block(b) if *b as usize > n => at_start[*b as usize],
        _ => NONE,
    };
    let mut dead = match &block.term {
        Term::Jump(t) => target(t),
        Term::Branch { then, other, .. } => target(then).and(target(other)),
        Term::Goto { .. } | Term::Interpret { .. } => NONE,
    };
    used.clear();
    used.resize(block.insts.len(), false);
    if let Some(v) = block.term.value_mut() {
        used[v.index()] = true;
    }
    let mut depth = 0;
    for (k, i) in block.insts.iter().enumerate().rev() {
        let bit = 1_u64.checked_shl(i.imm as u32).unwrap_or(0);
        let shape = i.op.shape();
        match i.op {
            Op::Put if dead.slots & bit != 0 => continue,
            Op::PutX if dead.xslots & bit as u32 != 0 => continue,
            _ if shape.effect <= Effect::Reads && !used[k] => continue,
            Op::Put if depth == 0 => dead.slots |= bit,
            Op::PutX if depth == 0 => dead.xslots |= bit as u32,
            Op::Get => dead.slots &= !bit,
            Op::GetX => dead.xslots &= !(bit as u32),
            // What is dead behind the end is dead at the end of the part, and before it only if the part does not read it: as the
            // part may be skipped, its own writes make nothing dead.
            Op::End => depth += 1,
            Op::If => depth -= 1,
            Op::Fork => dead = block.forks.get(i.imm as usize).map_or(NONE, |f| dead.and(target(&f.to))),
            _ if shape.effect == Effect::Exits => dead = NONE,
            _ => {}
        }
        used[k] = true;
        for a in &i.args[..shape.args.len()] {
            used[a.index()] = true;
        }
    }
    dead
}

/// Drops what is not `used`.
fn sweep(block: &mut Block, used: &[bool], map: &mut Vec<Val>) {
    map.clear();
    map.resize(block.insts.len(), Val::NONE);
    let mut n = 0;
    for k in 0..block.insts.len() {
        if used[k] {
            map[k] = Val(n);
            block.insts[n as usize] = block.insts[k].mapped(map);
            n += 1;
        }
    }
    block.insts.truncate(n as usize);
    if let Some(v) = block.term.value_mut() {
        *v = map[v.index()];
    }
}
