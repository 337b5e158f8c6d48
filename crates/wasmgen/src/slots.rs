//! Slots: in locals where the region uses them often, else in the state.
//!
//! A local costs a load where the region is entered, and a store where it is left if it is written. And most regions use more slots
//! than the host's processor has registers, so there are moves to the stack and back, at edges above all; V8's first compiler has all
//! locals on the stack. In the state a slot costs a load in each block that reads it, and a store for each write.

use ir::cfg::Cfg;
use ir::{Inst, Op, Region, SLOTS, Term, Ty, flag_slot};

use crate::emit::Emitter;
use crate::place::{ALL_SLOTS, Place, slot_of};

/// Turns that a loop is taken to make each time that it is reached.
const TURNS: f32 = 8.0;
/// Of the executions that come to a fork, those that go on behind it.
const BEHIND: f32 = 0.5;
/// What a local costs beside its load and store, in loads.
const MOVES: f32 = 1.0;

/// The slots that are worth a local each, and those that are written: a bit each.
fn worth_locals(region: &Region, cfg: &Cfg) -> (u128, u128) {
    // Reads and writes for one execution of the region, what a local would cost.
    let mut costs = [(0.0, 1.0 + MOVES); ALL_SLOTS];
    let mut written = 0_u128;
    for (block, mut often) in region.blocks.iter().zip(frequencies(region, cfg)) {
        for i in &block.insts {
            if i.op == Op::Fork {
                often *= BEHIND;
            }
            let Some(slot) = slot_of(i) else { continue };
            costs[slot].0 += often;
            written |= u128::from(matches!(i.op, Op::Put | Op::PutX)) << slot;
        }
    }
    let worth = |n: &usize| costs[*n].0 > costs[*n].1 + f32::from(u8::from(written >> n & 1 != 0));
    ((0..ALL_SLOTS).filter(worth).fold(0, |set, n| set | 1 << n), written)
}

/// How often each block is executed for one execution of the region, if a block goes each of its ways as often as the others.
fn frequencies(region: &Region, cfg: &Cfg) -> Vec<f32> {
    let mut often = vec![0.0; region.blocks.len()];
    if let Some(entry) = often.first_mut() {
        *entry = 1.0;
    }
    for (b, block) in region.blocks.iter().enumerate() {
        let ways = match &block.term {
            Term::Jump(_) | Term::Interpret { .. } => 1,
            Term::Branch { .. } => 2,
            Term::Goto { known, .. } => known.len() + 1,
        };
        let mut here = often[b];
        let mut go = |to: u32, times: f32| {
            if to as usize > b {
                often[to as usize] += times;
            }
        };
        for fork in &block.forks {
            fork.to.block().into_iter().for_each(|to| go(to, here * (1.0 - BEHIND)));
            here *= BEHIND;
        }
        block.term.successors().for_each(|to| go(to, here / ways as f32));
    }
    for head in (0..region.blocks.len() as u32).filter(|&b| cfg.loops[b as usize]) {
        for b in cfg.body(region, head) {
            often[b as usize] *= TURNS;
        }
    }
    often
}

impl Emitter<'_> {
    /// Gives the slots that are worth it their locals.
    pub(crate) fn choose_slots(&mut self) {
        let (worth, written) = worth_locals(self.region, &self.cfg);
        self.written = written;
        for n in (0..ALL_SLOTS).filter(|n| worth >> n & 1 != 0) {
            self.slots[n] = Some(self.locals.take(if n < SLOTS { Ty::I64 } else { Ty::V128 }));
        }
    }

    /// The local of the slot that `i` reads or writes, if it has one.
    pub(crate) fn slot(&self, i: &Inst) -> Option<u32> {
        slot_of(i).and_then(|slot| self.slots[slot])
    }

    /// Pushes what is in the slot that `i` reads.
    pub(crate) fn get_slot(&mut self, i: &Inst) {
        let Some(n) = slot_of(i) else { return };
        match self.slots[n] {
            Some(local) => _ = self.get(local),
            None => self.load_slot(n),
        }
    }

    /// Writes the slot that `i` writes.
    pub(crate) fn put_slot(&mut self, i: &Inst) {
        let v = i.args[0];
        let Some(n) = slot_of(i) else { return };
        match self.slots[n] {
            // The value was computed there.
            Some(local) if self.places[v.index()] == Place::Local(local) => {}
            Some(local) => {
                self.value(v);
                self.set(local);
            }
            None => self.store_slot(n, |e| e.value(v)),
        }
    }

    /// Brings slots to their locals.
    pub(crate) fn load_slots(&mut self) {
        for n in 0..ALL_SLOTS {
            if let Some(local) = self.slots[n] {
                self.load_slot(n);
                self.set(local);
            }
        }
    }

    /// Brings the locals of slots that are written back to the state.
    pub(crate) fn store_slots(&mut self) {
        for n in 0..ALL_SLOTS {
            if let Some(local) = self.slots[n].filter(|_| self.written >> n & 1 != 0) {
                self.store_slot(n, |e| _ = e.get(local));
            }
        }
    }

    /// Pushes what the state has in slot `n`.
    pub(crate) fn load_slot(&mut self, n: usize) {
        let from = self.of_state(self.slot_offset(n), 3);
        let mut i = self.state();
        if n < SLOTS {
            i.i64_load(from);
        } else {
            i.v128_load(from);
        }
    }

    /// Stores what `value` pushes to slot `n` of the state.
    pub(crate) fn store_slot(&mut self, n: usize, value: impl FnOnce(&mut Self)) {
        let to = self.of_state(self.slot_offset(n), 3);
        self.state();
        value(self);
        if n < SLOTS {
            self.i().i64_store(to);
        } else {
            self.i().v128_store(to);
        }
    }

    fn slot_offset(&self, n: usize) -> u32 {
        let l = self.layout();
        match n as u8 {
            flag_slot::FORM..=flag_slot::CARRY => l.flags + 8 * (n as u32 - u32::from(flag_slot::FORM)),
            _ if n >= SLOTS => l.xslots + 16 * (n - SLOTS) as u32,
            _ => l.slots + 8 * n as u32,
        }
    }
}

#[cfg(test)]
mod tests {
    use ir::cfg::Cfg;
    use ir::{Region, SLOTS};

    use super::{frequencies, worth_locals};

    fn region(text: &str) -> Region {
        text.parse().unwrap_or_else(|e| panic!("{e}"))
    }

    /// Blocks 1 and 2 are a loop. It uses slots 1 and 2 and a vector, the way there slots 0, 1 and 3.
    const LOOP: &str = "block 0 @0x0 insns 1:
  v0 = get 0
  v1 = get 1
  v2 = rel.eq v0 v1
  put 3 v0
  branch v2 block 1 else out @0x20
block 1 @0x4 insns 1:
  v0 = get 1
  v1 = get 2
  v2 = rel.eq v0 v1
  put 2 v0
  v4 = getx 0
  putx 0 v4
  branch v2 block 2 else out @0x30
block 2 @0x8 insns 1:
  jump block 1
";

    #[test]
    fn behind_forks_is_less() {
        let region = region(
            "block 0 @0x0 insns 2:
  fork 0 to block 1 undone 1
  v0 = get 1
  v1 = get 2
  v2 = rel.eq v0 v1
  fork 0 v2
  v4 = get 3
  put 2 v4
  put 2 v4
  jump block 1
block 1 @0x4 insns 1:
  v0 = get 1
  put 2 v0
  jump out @0x10
",
        );
        let cfg = Cfg::new(&region);
        assert_eq!(frequencies(&region, &cfg), [1.0, 1.0]);
        // Slot 2 is read, written twice in half of the cases, and once more: 3 in all, no more than what a local costs that is written.
        assert_eq!(worth_locals(&region, &cfg), (0, 1 << 2));
    }

    #[test]
    fn each_way_is_as_likely_and_loops_turn() {
        let region = region(LOOP);
        assert_eq!(frequencies(&region, &Cfg::new(&region)), [1.0, 4.0, 2.0]);
    }

    #[test]
    fn what_is_used_often_is_in_a_local() {
        let region = region(LOOP);
        let (often, written) = (1 << 1 | 1 << 2 | 1 << SLOTS, 1 << 2 | 1 << 3 | 1 << SLOTS);
        assert_eq!(worth_locals(&region, &Cfg::new(&region)), (often, written));
    }
}
