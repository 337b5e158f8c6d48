//! Where values live: on WebAssembly's stack where they are used once, in no place at all where computing them again costs nothing, else
//! in locals that are reused when a value is dead.

use ir::{Block, Effect, Inst, Op, Term, Ty, Val};
use wasm_encoder::ValType;

/// Where a value is when it is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// Nowhere: it has no result or no use.
    None,
    /// Computed where it is used: once, or for nothing.
    Inline,
    /// A local.
    Local(u32),
}

/// Locals beyond the fixed ones, by type.
#[derive(Default)]
pub(crate) struct Locals {
    pub(crate) types: Vec<ValType>,
    first: u32,
    free: [Vec<u32>; 3],
}

impl Locals {
    pub(crate) fn new(first: u32) -> Locals {
        Locals { first, ..Locals::default() }
    }
    pub(crate) fn take(&mut self, ty: Ty) -> u32 {
        self.free[ty as usize].pop().unwrap_or_else(|| {
            self.fresh(match ty {
                Ty::I32 => ValType::I32,
                Ty::I64 => ValType::I64,
                Ty::V128 => ValType::V128,
            })
        })
    }
    /// A local that [`Locals::take`] never gives: while a block is emitted, those that it has may hold values.
    pub(crate) fn fresh(&mut self, ty: ValType) -> u32 {
        self.types.push(ty);
        self.first + self.types.len() as u32 - 1
    }
    pub(crate) fn give(&mut self, ty: Ty, local: u32) {
        self.free[ty as usize].push(local);
    }
}

/// Whether computing it again costs next to nothing.
fn is_free(op: Op) -> bool {
    matches!(op, Op::Const | Op::Pc | Op::Get | Op::GetX)
}

/// Guest slots and vector slots.
pub(crate) const ALL_SLOTS: usize = ir::SLOTS + ir::XSLOTS;
/// A local that is not chosen yet.
const UNNAMED: u32 = u32::MAX;

/// The slot that an operation reads or writes: vectors' follow the others.
pub(crate) fn slot_of(i: &Inst) -> Option<usize> {
    match i.op {
        Op::Get | Op::Put => Some(i.imm as usize % ir::SLOTS),
        Op::GetX | Op::PutX => Some(ir::SLOTS + i.imm as usize % ir::XSLOTS),
        _ => None,
    }
}

/// Values that are put into a slot soon are computed in its local: where nobody can leave with it too early, or needs what was there.
/// `last`: each value's last use; `next`: for each `Put` the next one of its slot.
fn in_slots(block: &Block, slots: &[Option<u32>; ALL_SLOTS], last: &[u32], next: &[u32], places: &mut [Place]) {
    // Of each slot: the last use of what its local holds, and where it was put last.
    let mut needed = [0; ALL_SLOTS];
    let mut put = [0; ALL_SLOTS];
    // Where the operations begin that nobody leaves between.
    let mut calm = 0;
    for (k, i) in block.insts.iter().enumerate() {
        match (slot_of(i), i.op) {
            (Some(slot), Op::Put | Op::PutX) => {
                let v = i.args[0].index();
                let free = v + 1 >= calm && needed[slot] <= v as u32 && put[slot] <= v as u32;
                needed[slot] = 0;
                if let (Place::Local(UNNAMED), Some(local)) = (places[v], slots[slot])
                    && free
                    && last[v] <= next[k]
                {
                    places[v] = Place::Local(local);
                    needed[slot] = last[v];
                }
                put[slot] = k as u32;
            }
            (Some(slot), _) if places[k] == Place::Inline => needed[slot] = needed[slot].max(last[k]),
            // What it reads was there when it was computed, and is needed no longer.
            (Some(slot), _) if matches!(places[k], Place::Local(_)) => needed[slot] = needed[slot].max(k as u32),
            _ => {}
        }
        if matches!(i.op.shape().effect, Effect::Exits | Effect::Nests) {
            calm = k + 1;
        }
    }
}

/// Where each value of `block` goes. `Put` of a slot ends the life of a `Get` of it. `slots`: the slots' own locals, guest's and then vectors'.
pub(crate) fn place(block: &Block, slots: &[Option<u32>; ALL_SLOTS], locals: &mut Locals, places: &mut Vec<Place>) {
    let n = block.insts.len();
    // Position at which each value's computation is emitted, that of its last use, and the number of uses.
    let mut at: Vec<u32> = (0..n as u32).collect();
    let mut last = vec![0_u32; n];
    let mut uses = vec![0_u32; n];
    let mut users = vec![u32::MAX; n];
    let mut used = |v: Val, by: u32| {
        uses[v.index()] += 1;
        users[v.index()] = by;
    };
    for (k, i) in block.insts.iter().enumerate() {
        for &a in i.args() {
            used(a, k as u32);
        }
    }
    match &block.term {
        Term::Branch { cond, .. } => used(*cond, n as u32),
        // Compared several times.
        Term::Goto { to, .. } => {
            used(*to, n as u32);
            used(*to, n as u32);
        }
        Term::Jump(_) | Term::Interpret { .. } => {}
    }
    let inline = |k: usize| {
        let i = &block.insts[k];
        is_free(i.op) || (uses[k] == 1 && i.op.shape().effect == Effect::Pure)
    };
    // A value computed at its only use is emitted where that is emitted.
    for k in (0..n).rev() {
        if uses[k] == 1 && inline(k) && !is_free(block.insts[k].op) {
            let user = users[k] as usize;
            at[k] = if user < n { at[user] } else { n as u32 };
        }
    }
    for (k, i) in block.insts.iter().enumerate() {
        for &a in i.args() {
            last[a.index()] = last[a.index()].max(at[k]);
        }
    }
    match &block.term {
        Term::Branch { cond: v, .. } | Term::Goto { to: v, .. } => last[v.index()] = n as u32,
        Term::Jump(_) | Term::Interpret { .. } => {}
    }
    // Where a slot is written next, seen from each `Get`.
    let mut next_put = [u32::MAX; ALL_SLOTS];
    let mut next = vec![u32::MAX; n];
    places.clear();
    places.resize(n, Place::None);
    for k in (0..n).rev() {
        let i = &block.insts[k];
        match (slot_of(i), i.op) {
            (Some(slot), Op::Put | Op::PutX) => next[k] = core::mem::replace(&mut next_put[slot], k as u32),
            _ if uses[k] == 0 => {}
            (Some(slot), _) if last[k] > next_put[slot] => places[k] = Place::Local(UNNAMED),
            _ if inline(k) => places[k] = Place::Inline,
            _ => places[k] = Place::Local(UNNAMED),
        }
    }
    in_slots(block, slots, &last, &next, places);
    // Locals, from the first to the last position.
    let mut ends: Vec<Vec<(Ty, u32)>> = vec![Vec::new(); n + 1];
    for k in 0..n {
        if places[k] == Place::Local(UNNAMED)
            && let Some(ty) = block.insts[k].op.shape().result
        {
            let local = locals.take(ty);
            places[k] = Place::Local(local);
            ends[(last[k] as usize).max(k)].push((ty, local));
        }
        for (ty, local) in ends[k].drain(..) {
            locals.give(ty, local);
        }
    }
    for (ty, local) in ends[n].drain(..) {
        locals.give(ty, local);
    }
}
