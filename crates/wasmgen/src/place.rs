//! Where values live: on WebAssembly's stack where they are used once, in no place at all where computing them again costs nothing, else
//! in locals that are reused when a value is dead.

use ir::{Block, Effect, Op, Term, Ty, Val};
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

/// Where each value of `block` goes. `Put` of a slot ends the life of a `Get` of it.
pub(crate) fn place(block: &Block, locals: &mut Locals, places: &mut Vec<Place>) {
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
    let mut next_put = [u32::MAX; ir::SLOTS + ir::XSLOTS];
    places.clear();
    places.resize(n, Place::None);
    for k in (0..n).rev() {
        let i = &block.insts[k];
        match i.op {
            Op::Put => next_put[i.imm as usize % ir::SLOTS] = k as u32,
            Op::PutX => next_put[ir::SLOTS + i.imm as usize % ir::XSLOTS] = k as u32,
            _ if uses[k] == 0 => {}
            Op::Get if last[k] > next_put[i.imm as usize % ir::SLOTS] => places[k] = Place::Local(0),
            Op::GetX if last[k] > next_put[ir::SLOTS + i.imm as usize % ir::XSLOTS] => places[k] = Place::Local(0),
            _ if inline(k) => places[k] = Place::Inline,
            _ => places[k] = Place::Local(0),
        }
    }
    // Locals, from the first to the last position.
    let mut ends: Vec<Vec<(Ty, u32)>> = vec![Vec::new(); n + 1];
    for k in 0..n {
        if places[k] == Place::Local(0)
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
