//! The header of a decoded block: where its instructions are, how often it was executed, what has followed it.

use mem::{PAGE_MASK, PAGE_SIZE};

use crate::cpu::{CodeSize, Cpu};

use super::links::{NO_PLACE, UNLINKED};

pub(super) type BlockId = u32;

/// A *superblock*: decoded instructions one behind the other that are entered at the first only. It goes on behind conditional jumps that are not taken. What
/// is jumped to within it is a block too, of the same instructions.
#[repr(align(64))]
pub(super) struct Block {
    /// Number of the first instruction.
    pub(super) first: u32,
    /// Instructions; 0 where the code was overwritten: the jump cache may still know such a block.
    pub(super) count: u8,
    /// Of its translated code's last visits, how many one after the other were [`BRIEF`].
    brief: u8,
    /// Length in bytes of guest code.
    pub(super) bytes: u16,
    pub(super) bits: CodeSize,
    /// Its code ends in another page than it begins in.
    pub(super) crosses: bool,
    /// Its number among those that end with a computed jump, by which [`super::targets::Targets`] knows it; 0: it does not.
    pub(super) computed: u16,
    /// How often it was executed, as [`Counting`] says, and [`NOT_IN_A_ROW`].
    runs: u32,
    /// Table slot of translated code that starts here; 0: none.
    slot: u32,
    /// Blocks of the same page and mode that have followed this one, and how far from its run's beginning they begin; [`UNLINKED`]: none.
    pub(super) near: [Place; 2],
    pub(super) near_by: [i16; 2],
    /// The one that has followed last by way of the jump cache, and for what.
    far_pc: u64,
    far_key: u32,
    far_to: Place,
    /// How far from the beginning of its run it begins, in places of instructions, and in bytes. Instructions know how far they are from there.
    back: u8,
    lead: u16,
}

const _: () = assert!(size_of::<Block>() == 64, "a cache line");

/// A block, and where its instructions are. What looks for a block has to wait for memory: it asks for both at once.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) block: BlockId,
    pub(super) first: u32,
}

/// An instruction of a block: its number, how far it is behind the beginning of the run, in bytes, and how many of the block begin there or behind.
#[derive(Clone, Copy)]
pub(super) struct Spot {
    pub(super) first: u32,
    pub(super) lead: u64,
    pub(super) count: u64,
}

/// The block was overwritten or its translated code is to be entered: the loop over blocks in a row must not run it.
const NOT_IN_A_ROW: u32 = 1 << 31;

/// A visit of translated code that executes fewer instructions takes longer than to interpret them.
const BRIEF: u64 = 8;
/// Brief visits that are counted.
const MOST_BRIEF: u8 = 7;

/// What is to be done with a block.
pub(super) enum Next {
    /// By the interpreter too, but it is hot.
    Translate,
    /// The translated code of this slot.
    Enter(u32),
    Interpret,
}

/// How executions are counted: in each *epoch* all blocks forget half of theirs. A block's number is that of the epoch in which it was executed last,
/// above [`Counting::BITS`] bits for the executions: so what is not executed need not be touched.
#[derive(Clone, Copy)]
pub(super) struct Counting {
    /// The number of a block that was not executed in this epoch, nor before.
    epoch: u32,
    /// Blocks of fewer executions go on in a row.
    below: u32,
    /// Executions that make a block hot; 0: none is.
    pub(super) hot: u32,
}

impl Counting {
    const BITS: u32 = 12;
    /// Executions that are counted.
    const MOST: u32 = (1 << Counting::BITS) - 1;

    pub(super) const fn new() -> Counting {
        Counting { epoch: 0, below: Counting::MOST, hot: 0 }
    }
    /// `hot` executions, no more than can be counted, make a block hot from now on.
    pub(super) fn set_hot(&mut self, hot: u32) {
        self.hot = hot.min(Counting::MOST);
        self.below = self.hot.checked_sub(1).unwrap_or(Counting::MOST);
    }
    /// The next epoch begins; `false`: there is none, and all blocks are to [begin again](Block::begin_epochs).
    pub(super) fn next_epoch(&mut self) -> bool {
        self.epoch = (self.epoch + (1 << Counting::BITS)) % NOT_IN_A_ROW;
        self.epoch != 0
    }
}

impl Block {
    /// A block of no instruction yet.
    pub(super) fn new(first: u32, bits: CodeSize, counting: Counting) -> Block {
        Block {
            first,
            count: 0,
            brief: 0,
            bytes: 0,
            bits,
            crosses: false,
            computed: 0,
            runs: counting.epoch,
            slot: 0,
            near: [NO_PLACE; 2],
            near_by: [UNLINKED; 2],
            far_pc: 0,
            far_key: u32::MAX,
            far_to: NO_PLACE,
            back: 0,
            lead: 0,
        }
    }
    /// It is the end of a run of instructions that begins so many places, and bytes, before it.
    pub(super) fn set_within(&mut self, back: u8, lead: u16) {
        (self.back, self.lead) = (back, lead);
    }
    /// Number of its run's first instruction.
    pub(super) fn run(&self) -> u32 {
        self.first - u32::from(self.back)
    }
    /// Bytes from the beginning of its run.
    #[inline(always)]
    pub(super) fn lead(&self) -> u64 {
        self.lead.into()
    }
    /// Its first instruction.
    pub(super) fn begin(&self) -> Spot {
        Spot { first: self.first, lead: self.lead(), count: self.count() }
    }
    /// Instructions.
    #[inline(always)]
    pub(super) fn count(&self) -> u64 {
        self.count.into()
    }
    /// How many of its bytes are in the page behind that of its first, which is at `start`.
    pub(super) fn bytes_beyond(&self, start: u64) -> u64 {
        if self.crosses { (start & PAGE_MASK) + u64::from(self.bytes) - PAGE_SIZE } else { 0 }
    }
    /// Translated code starts here, or no more: it must be executed often anew then.
    pub(super) fn set_slot(&mut self, slot: u32) {
        (self.slot, self.brief) = (slot, 0);
        self.runs = if slot == 0 { 0 } else { self.runs | NOT_IN_A_ROW };
    }
    /// Its translated code, of `slot`, was entered, and left after this many instructions. After brief visits only, one behind the other, the block is interpreted
    /// the next 1, 3, 7 .. 127 times, or up to the next epoch.
    pub(super) fn visited(&mut self, slot: u32, insns: u64, counting: Counting) {
        if insns >= BRIEF {
            self.brief = 0;
        } else if self.slot == slot && self.count != 0 {
            self.brief = (self.brief + 1).min(MOST_BRIEF);
            self.runs = counting.epoch | counting.below.saturating_sub((1 << self.brief) - 1);
        }
    }
    /// What is to be done where the guest is at this block, of which translated code may be entered or not. An execution by the interpreter is counted.
    pub(super) fn next(&mut self, may_enter: bool, counting: Counting) -> Next {
        if self.slot != 0 && may_enter {
            let left = self.runs & NOT_IN_A_ROW == 0 && self.run_in_a_row(counting);
            return if left { Next::Interpret } else { Next::Enter(self.slot) };
        }
        if self.count_run(counting) { Next::Translate } else { Next::Interpret }
    }
    /// Whether CS's limit admits this block, which is not of 64-bit code, at RIP.
    pub(super) fn is_within_limit(&self, cpu: &Cpu) -> bool {
        u64::from(self.bytes) <= cpu.code_within_limit()
    }
    /// Its code was overwritten.
    pub(super) fn overwrite(&mut self) {
        self.count = 0;
        self.runs |= NOT_IN_A_ROW;
    }
    /// Executions that are not forgotten.
    pub(super) fn runs(&self, counting: Counting) -> u32 {
        let then = self.runs & !(NOT_IN_A_ROW | Counting::MOST);
        let epochs = counting.epoch.wrapping_sub(then) >> Counting::BITS;
        (self.runs & Counting::MOST).checked_shr(epochs).unwrap_or(0)
    }
    pub(super) fn set_runs(&mut self, runs: u32, counting: Counting) {
        self.runs = self.runs & NOT_IN_A_ROW | counting.epoch | runs;
    }
    /// Counts an execution. Whether the block is hot, which what is translated is not.
    fn count_run(&mut self, counting: Counting) -> bool {
        let runs = self.runs(counting) + 1;
        if self.runs & NOT_IN_A_ROW != 0 || self.slot != 0 {
            self.set_runs(runs.min(counting.below), counting);
            return false;
        }
        let hot = runs >= counting.hot;
        self.set_runs(if hot && !self.can_be_hot() { 0 } else { runs }, counting);
        hot && self.can_be_hot()
    }
    /// Counts an execution in a row, if it can be one: the block is neither translated nor about to be hot.
    #[inline(always)]
    pub(super) fn run_in_a_row(&mut self, counting: Counting) -> bool {
        if self.runs.wrapping_sub(counting.epoch) < counting.below {
            self.runs += 1;
            return true;
        }
        self.run_seldom(counting)
    }
    /// The same of what is seldom: the first execution in an epoch, or not in a row.
    #[cold]
    #[inline(never)]
    fn run_seldom(&mut self, counting: Counting) -> bool {
        if self.slot != 0 {
            self.runs |= NOT_IN_A_ROW;
        }
        if self.runs & NOT_IN_A_ROW != 0 {
            return false;
        }
        let runs = self.runs(counting) + 1;
        if runs > counting.below {
            if counting.hot != 0 {
                return false;
            }
            self.set_runs(0, counting);
        } else {
            self.set_runs(runs, counting);
        }
        true
    }
    /// The first epoch comes again, after the last of `counting`.
    pub(super) fn begin_epochs(&mut self, counting: Counting) {
        self.runs = self.runs & NOT_IN_A_ROW | self.runs(counting);
    }
    /// The block `by` bytes behind the beginning of this one's run, if it has followed it before in its page, or [`NO_PLACE`]. Behind computed jumps none is known.
    #[inline(always)]
    pub(super) fn near(&self, by: u64) -> Place {
        (0..2).find(|&k| by as i64 == i64::from(self.near_by[k])).map_or(NO_PLACE, |k| self.near[k])
    }
    /// The block at `pc` if it has followed this one by way of the jump cache.
    #[inline(always)]
    pub(super) fn far(&self, pc: u64, key: u32) -> Option<Place> {
        (self.far_pc == pc && self.far_key == key).then_some(self.far_to)
    }
    /// The block `to` at `pc` has followed by way of the jump cache.
    pub(super) fn set_far(&mut self, pc: u64, key: u32, to: Place) {
        (self.far_pc, self.far_key, self.far_to) = (pc, key, to);
    }
    pub(super) fn forget_far(&mut self) {
        self.far_key = u32::MAX;
    }
    /// Translated code can start here.
    pub(super) fn can_be_hot(&self) -> bool {
        self.bits == CodeSize::Bits64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(runs: u32, counting: Counting) -> Block {
        let mut block = Block::new(0, CodeSize::Bits64, counting);
        block.set_runs(runs, counting);
        block
    }

    #[test]
    fn each_epoch_forgets_half() {
        let mut counting = Counting::new();
        counting.set_hot(1000);
        let mut blocks = [100, 0, 999].map(|runs| block(runs, counting));
        assert!(counting.next_epoch() && counting.next_epoch());
        assert_eq!(blocks.each_ref().map(|b| b.runs(counting)), [25, 0, 249]);
        for b in &mut blocks {
            assert!(b.run_in_a_row(counting) && b.run_in_a_row(counting));
        }
        assert_eq!(blocks.each_ref().map(|b| b.runs(counting)), [27, 2, 251]);
    }

    #[test]
    fn behind_the_last_epoch_is_the_first() {
        let mut counting = Counting::new();
        counting.set_hot(1000);
        let epochs = 1 << (31 - Counting::BITS);
        let old = block(999, counting);
        assert!((1..epochs).all(|_| counting.next_epoch()));
        let mut new = block(100, counting);
        let mut translated = block(100, counting);
        translated.set_slot(7);
        let last = counting;
        assert!(!counting.next_epoch());
        let mut blocks = [old, new, translated];
        for b in &mut blocks {
            b.begin_epochs(last);
        }
        assert_eq!(blocks.each_ref().map(|b| b.runs(counting)), [0, 100, 100]);
        assert_eq!(blocks.each_mut().map(|b| b.run_in_a_row(counting)), [true, true, false]);
        // What was never in the epoch that ended is not hot in the next either.
        new = block(0, counting);
        assert!((0..999).all(|_| new.run_in_a_row(counting)));
        assert!(!new.run_in_a_row(counting) && new.count_run(counting));
        assert_eq!(new.runs(counting), 1000);
    }

    #[test]
    fn after_brief_visits_a_block_is_interpreted_for_a_while() {
        let mut counting = Counting::new();
        counting.set_hot(1000);
        let mut b = block(0, counting);
        b.count = 1;
        b.set_slot(7);
        // Half of the times in a row, and half where something else was to be done before.
        let interpreted = |b: &mut Block, counting| {
            let times = (0..).find(|k| if k % 2 == 0 { !b.run_in_a_row(counting) } else { enters(b, counting) });
            assert!(!b.run_in_a_row(counting) && enters(b, counting));
            times
        };
        assert_eq!(interpreted(&mut b, counting), Some(0));
        for times in [1, 3, 7, 15, 31, 63, 127, 127] {
            b.visited(7, BRIEF - 1, counting);
            assert_eq!(interpreted(&mut b, counting), Some(times));
        }
        b.visited(7, BRIEF, counting);
        assert_eq!(interpreted(&mut b, counting), Some(0));
        b.visited(7, 0, counting);
        assert_eq!(interpreted(&mut b, counting), Some(1), "begins anew");
        b.visited(7, 0, counting);
        assert!(counting.next_epoch());
        assert_eq!(interpreted(&mut b, counting), Some(0), "up to the next epoch");
        b.set_slot(8);
        b.visited(7, 0, counting);
        assert_eq!(interpreted(&mut b, counting), Some(0), "another's visit");
        b.overwrite();
        b.visited(8, 0, counting);
        assert!(!b.run_in_a_row(counting));
    }

    fn enters(b: &mut Block, counting: Counting) -> bool {
        matches!(b.next(true, counting), Next::Enter(_))
    }

    #[test]
    fn without_a_tier_blocks_go_on_in_a_row_for_ever() {
        let counting = Counting::new();
        let mut b = block(0, counting);
        assert!((0..10_000).all(|_| b.run_in_a_row(counting)));
        assert!(b.runs(counting) <= Counting::MOST);
        b.overwrite();
        assert!(!b.run_in_a_row(counting));
    }
}
