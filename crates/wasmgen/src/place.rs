//! Where values live: on WebAssembly's stack where they are used once, in no place at all where computing them again costs nothing, else
//! in locals that are reused when a value is dead.

use guest_api::Width;
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
fn is_free(i: &Inst, slots: &[Option<u32>; ALL_SLOTS]) -> bool {
    match slot_of(i) {
        Some(slot) => i.op.shape().result.is_some() && slots[slot].is_some(),
        None => matches!(i.op, Op::Const | Op::Pc),
    }
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

/// Where the values of a block are.
#[derive(Default)]
pub(crate) struct Places {
    places: Vec<Place>,
    facts: Vec<Fact>,
}

impl core::ops::Index<usize> for Places {
    type Output = Place;
    fn index(&self, k: usize) -> &Place {
        &self.places[k]
    }
}

/// What is found out about an operation and its value.
#[derive(Clone, Copy)]
struct Fact {
    /// Position at which it is emitted, and that of the value's last use.
    at: u32,
    last: u32,
    /// How often the value is used, and by whom last.
    uses: u32,
    user: u32,
    /// How many operations are computed within it, one within the other.
    depth: u32,
    /// Of a `Put`: the next one of its slot.
    next_put: u32,
    /// The values whose last use this is: the first, and the next of a value's own list.
    first_end: u32,
    next_end: u32,
}

/// No operation.
const NOBODY: u32 = u32::MAX;

/// How many operations are computed one within the other at most: [`Emitter`](crate::emit::Emitter) calls itself for each, on the
/// host's stack.
const DEEPEST: u32 = 64;

impl Places {
    /// Finds where each value of `block` goes. `Put` of a slot ends the life of a `Get` of it. `slots`: the slots' own locals, guest's and
    /// then vectors'.
    pub(crate) fn place(&mut self, block: &Block, slots: &[Option<u32>; ALL_SLOTS], locals: &mut Locals) {
        self.look_at_uses(block, slots);
        self.choose(block, slots);
        self.in_slots(block, slots);
        self.name(block, locals);
    }

    /// Whether the value of operation `k` is only made a vector of, and comes from memory: it is a vector at once then.
    pub(crate) fn is_widened(&self, block: &Block, k: usize) -> bool {
        let f = &self.facts[k];
        let from_memory =
            matches!(block.insts[k].op, Op::Load(Width::W32 | Width::W64) | Op::LoadNear(Width::W32 | Width::W64));
        from_memory && f.uses == 1 && block.insts.get(f.user as usize).is_some_and(|i| i.op == Op::Widen)
    }

    /// What is in the local of operation `k`.
    fn ty(&self, block: &Block, k: usize) -> Option<Ty> {
        if self.is_widened(block, k) { Some(Ty::V128) } else { block.insts[k].op.shape().result }
    }

    fn is_inline(&self, block: &Block, slots: &[Option<u32>; ALL_SLOTS], k: usize) -> bool {
        let i = &block.insts[k];
        // What a helper can write is not read later than it was.
        let waits = i.op.shape().effect == Effect::Pure || matches!(i.op, Op::Get | Op::GetX);
        is_free(i, slots) || (self.facts[k].uses == 1 && waits && self.facts[k].depth < DEEPEST)
    }

    fn look_at_uses(&mut self, block: &Block, slots: &[Option<u32>; ALL_SLOTS]) {
        let n = block.insts.len();
        let blank = Fact {
            at: 0,
            last: 0,
            uses: 0,
            user: NOBODY,
            depth: 0,
            next_put: NOBODY,
            first_end: NOBODY,
            next_end: NOBODY,
        };
        self.facts.clear();
        self.facts.resize(n + 1, blank);
        let facts = &mut self.facts;
        let mut used = |v: Val, by: usize, times: u32| {
            let f = &mut facts[v.index()];
            (f.uses, f.user) = (f.uses + times, by as u32);
        };
        for (k, i) in block.insts.iter().enumerate() {
            i.args().iter().for_each(|&a| used(a, k, 1));
        }
        match &block.term {
            Term::Branch { cond, .. } => used(*cond, n, 1),
            // Compared several times.
            Term::Goto { to, .. } => used(*to, n, 2),
            Term::Jump(_) | Term::Interpret { .. } => {}
        }
        for (k, i) in block.insts.iter().enumerate() {
            let within = i.args().iter().map(|a| a.index()).filter(|&a| self.is_inline(block, slots, a));
            self.facts[k].depth = within.map(|a| self.facts[a].depth + 1).max().unwrap_or(0);
        }
        // A value computed at its only use is emitted where that is emitted.
        self.facts[n].at = n as u32;
        for k in (0..n).rev() {
            let deferred = self.is_inline(block, slots, k) && !is_free(&block.insts[k], slots);
            let at = if deferred { self.facts[self.facts[k].user as usize].at } else { k as u32 };
            self.facts[k].at = at;
            for a in block.insts[k].args() {
                let last = &mut self.facts[a.index()].last;
                *last = (*last).max(at);
            }
        }
        match &block.term {
            Term::Branch { cond: v, .. } | Term::Goto { to: v, .. } => self.facts[v.index()].last = n as u32,
            Term::Jump(_) | Term::Interpret { .. } => {}
        }
    }

    fn choose(&mut self, block: &Block, slots: &[Option<u32>; ALL_SLOTS]) {
        let n = block.insts.len();
        // Where a slot is written next, seen from each `Get`.
        let mut next_put = [NOBODY; ALL_SLOTS];
        self.places.clear();
        self.places.resize(n, Place::None);
        for k in (0..n).rev() {
            let i = &block.insts[k];
            let f = &mut self.facts[k];
            match (slot_of(i), i.op) {
                (Some(slot), Op::Put | Op::PutX) => {
                    f.next_put = core::mem::replace(&mut next_put[slot], k as u32);
                }
                _ if f.uses == 0 => {}
                (Some(slot), _) if f.last > next_put[slot] => self.places[k] = Place::Local(UNNAMED),
                _ if self.is_inline(block, slots, k) => self.places[k] = Place::Inline,
                _ => self.places[k] = Place::Local(UNNAMED),
            }
        }
    }

    /// Values that are put into a slot soon are computed in its local: where nobody can leave with it too early, or needs what was there.
    fn in_slots(&mut self, block: &Block, slots: &[Option<u32>; ALL_SLOTS]) {
        // Of each slot: the last use of what its local holds, and where it was put last.
        let mut needed = [0; ALL_SLOTS];
        let mut put = [0; ALL_SLOTS];
        // Where the operations begin that nobody leaves between.
        let mut calm = 0;
        for (k, i) in block.insts.iter().enumerate() {
            match (slot_of(i), i.op) {
                (Some(slot), Op::Put | Op::PutX) => {
                    let v = i.args[0].index();
                    let last = self.facts[v].last;
                    let free = v + 1 >= calm && needed[slot] <= v as u32 && put[slot] <= v as u32;
                    (needed[slot], put[slot]) = (0, k as u32);
                    if let (Place::Local(UNNAMED), Some(local)) = (self.places[v], slots[slot])
                        && free
                        && last <= self.facts[k].next_put
                    {
                        self.places[v] = Place::Local(local);
                        needed[slot] = last;
                    }
                }
                (Some(slot), _) if self.places[k] == Place::Inline => {
                    needed[slot] = needed[slot].max(self.facts[k].last);
                }
                // What it reads was there when it was computed, and is needed no longer.
                (Some(slot), _) if self.places[k] != Place::None => needed[slot] = needed[slot].max(k as u32),
                _ => {}
            }
            let near = matches!(i.op, Op::LoadNear(_) | Op::StoreNear(_));
            if matches!(i.op.shape().effect, Effect::Exits | Effect::Nests | Effect::Forks) && !near {
                calm = k + 1;
            }
        }
    }

    /// Gives locals, from the first to the last position.
    fn name(&mut self, block: &Block, locals: &mut Locals) {
        for k in 0..block.insts.len() {
            if self.places[k] == Place::Local(UNNAMED)
                && let Some(ty) = self.ty(block, k)
            {
                self.places[k] = Place::Local(locals.take(ty));
                let end = self.facts[k].last.max(k as u32) as usize;
                self.facts[k].next_end = core::mem::replace(&mut self.facts[end].first_end, k as u32);
            }
            self.give_back(block, k, locals);
        }
        self.give_back(block, block.insts.len(), locals);
    }

    /// Gives back the locals of values that were used last at position `k`.
    fn give_back(&self, block: &Block, k: usize, locals: &mut Locals) {
        let mut v = self.facts[k].first_end;
        while v != NOBODY {
            if let (Place::Local(local), Some(ty)) = (self.places[v as usize], self.ty(block, v as usize)) {
                locals.give(ty, local);
            }
            v = self.facts[v as usize].next_end;
        }
    }
}

#[cfg(test)]
mod tests {
    use ir::{Region, Ty};

    use super::{ALL_SLOTS, DEEPEST, Locals, Place, Places};

    /// Where the values are of a block that reads slot 1 and a shared slot, writes both, and only then uses what it has read.
    fn places(local: Option<u32>) -> Vec<Place> {
        let text = "block 0 @0x0 insns 1:
  v0 = get 1
  v1 = getshared 2
  v2 = get 3
  put 1 v2
  putshared 2 v2
  put 4 v0
  put 5 v1
  jump out @0x10
";
        let region: Region = text.parse().unwrap_or_else(|e| panic!("{e}"));
        let mut slots = [None; ALL_SLOTS];
        slots[1] = local;
        let (mut places, mut locals) = (Places::default(), Locals::new(20));
        assert_eq!(locals.take(Ty::I64), 20);
        places.place(&region.blocks[0], &slots, &mut locals);
        (0..3).map(|k| places[k]).collect()
    }

    #[test]
    fn what_is_computed_within_is_not_deep() {
        let ops = 1000;
        let mut text = "block 0 @0x0 insns 1:\n  v0 = get 1\n  v1 = get 2\n".to_owned();
        for k in 2..ops {
            text += &format!("  v{k} = bin.add v{} v1\n", k - 1);
        }
        text += &format!("  put 3 v{}\n  jump out @0x10\n", ops - 1);
        let region: Region = text.parse().unwrap_or_else(|e| panic!("{e}"));
        let (mut places, mut locals) = (Places::default(), Locals::new(20));
        places.place(&region.blocks[0], &[None; ALL_SLOTS], &mut locals);
        let inline: Vec<bool> = (2..ops).map(|k| places[k] == Place::Inline).collect();
        let deepest = inline.split(|inline| !inline).map(<[bool]>::len).max().unwrap_or(0);
        assert!((DEEPEST as usize / 2..=DEEPEST as usize).contains(&deepest), "{deepest} of {ops}");
        assert_eq!(locals.types.len(), 3, "for what is used often, and in turn for what is deep");
    }

    #[test]
    fn what_was_read_is_not_read_again_behind_a_write() {
        for local in [None, Some(20)] {
            let places = places(local);
            assert!(places[..2].iter().all(|p| matches!(p, Place::Local(n) if *n > 20)), "{places:?}");
        }
    }
}
