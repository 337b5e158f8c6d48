//! Dead state and dead values, over the whole region.
//!
//! A slot that is written again before it is read, and before anything that can leave the region, need not be written: nobody can see
//! the value. Where the form of the flags is known when it is left, nobody sees what that form has no use for. Then what nobody uses is
//! dropped.

use guest_api::FlagForm;

use crate::fold::konst;
use crate::region::flag_slot;
use crate::{Block, Effect, Exit, Inst, Op, Region, Target, Term, Val};

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

    /// Out of the region, with the flags in `form`.
    fn out(form: Option<FlagForm>) -> Dead {
        let Some(form) = form else { return NONE };
        let [a, b, r] = form.source().operands();
        let has = [(flag_slot::A, a), (flag_slot::B, b), (flag_slot::R, r), (flag_slot::CARRY, form.is_apart())];
        Dead { slots: has.iter().filter(|h| !h.1).fold(0, |set, h| set | 1 << h.0), xslots: 0 }
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
        at_start[n] = backward(block, n, &region.exits, &at_start, &mut used);
        sweep(block, &used, &mut map);
    }
}

/// Goes through block `n` from its end, where it is known what is dead at the start of those behind it. Returns what is dead at its own,
/// and in `used` for each operation whether it is more than a write that nobody sees, or a value without use.
fn backward(block: &mut Block, n: usize, exits: &[Exit], at_start: &[Dead], used: &mut Vec<bool>) -> Dead {
    let target = |t: &Target, form| match t {
        Target::Block(b) if *b as usize > n => at_start[*b as usize],
        _ => Dead::out(form),
    };
    let form = last_form(&block.insts);
    let mut dead = match &block.term {
        Term::Jump(t) => target(t, form),
        Term::Branch { then, other, .. } => target(then, form).and(target(other, form)),
        Term::Goto { known, .. } => {
            let known = known.iter().map(|k| target(&Target::Block(k.1), form));
            known.fold(Dead::out(form), Dead::and)
        }
        Term::Interpret { .. } => Dead::out(form),
    };
    used.clear();
    used.resize(block.insts.len(), false);
    if let Some(v) = block.term.value_mut() {
        used[v.index()] = true;
    }
    // The ends of conditional parts, and whether there is anything in them.
    let mut parts: Vec<(usize, bool)> = Vec::new();
    for (k, i) in block.insts.iter().enumerate().rev() {
        let bit = 1_u64.checked_shl(i.imm as u32).unwrap_or(0);
        let shape = i.op.shape();
        match i.op {
            Op::Put if dead.slots & bit != 0 => continue,
            Op::PutX if dead.xslots & bit as u32 != 0 => continue,
            _ if shape.effect <= Effect::Reads && !used[k] => continue,
            Op::Put if parts.is_empty() => dead.slots |= bit,
            Op::PutX if parts.is_empty() => dead.xslots |= bit as u32,
            Op::Get => dead.slots &= !bit,
            Op::GetX => dead.xslots &= !(bit as u32),
            // What is dead behind the end is dead at the end of the part, and before it only if the part does not read it: as the
            // part may be skipped, its own writes make nothing dead.
            Op::End => {
                parts.push((k, false));
                continue;
            }
            Op::If => match parts.pop() {
                Some((end, true)) => used[end] = true,
                _ => continue,
            },
            Op::Fork => {
                let form = last_form(&block.insts[..k]);
                dead = block.forks.get(i.imm as usize).map_or(NONE, |f| dead.and(target(&f.to, form)));
            }
            // The form is that of the exit, and not read from its slot.
            _ if shape.effect == Effect::Exits => {
                let form = exits.get(i.exit as usize).and_then(|e| e.form);
                let mut out = Dead::out(form);
                out.slots |= u64::from(form.is_some()) << flag_slot::FORM;
                dead = dead.and(out);
            }
            _ => {}
        }
        used[k] = true;
        if let Some(part) = parts.last_mut() {
            part.1 = true;
        }
        for a in &i.args[..shape.args.len()] {
            used[a.index()] = true;
        }
    }
    dead
}

/// The form of the flags behind `insts`, if it was written there as the last of their slots.
fn last_form(insts: &[Inst]) -> Option<FlagForm> {
    let flags = |i: &&Inst| i.op == Op::End || i.op == Op::Put && i.imm >= u64::from(flag_slot::FORM);
    let last = insts.iter().rfind(flags).filter(|i| i.op == Op::Put && i.imm == u64::from(flag_slot::FORM))?;
    konst(insts, last.args[0]).map(|form| FlagForm(form as u8))
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
