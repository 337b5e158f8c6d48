//! The header of a decoded block: where its instructions are, how often it was executed, what has followed it.

use mem::{PAGE_MASK, PAGE_SIZE};

use crate::cpu::CodeSize;

use super::links::{Jump, NO_PLACE, NOWHERE, UNLINKED};

pub(super) type BlockId = u32;

/// A straight run of decoded instructions.
#[repr(align(64))]
pub(super) struct Block {
    /// Number of the first instruction.
    pub(super) first: u32,
    /// Instructions; 0 where the code was overwritten: the jump cache may still know such a block.
    pub(super) count: u16,
    /// Length in bytes of guest code.
    pub(super) bytes: u16,
    pub(super) bits: CodeSize,
    /// Its code ends in another page than it begins in.
    pub(super) crosses: bool,
    /// Its number among those that end with a computed jump, by which [`super::targets::Targets`] knows it; 0: it does not.
    pub(super) computed: u16,
    /// How often it was executed, up to the number that makes it hot, and [`NOT_IN_A_ROW`].
    runs: u32,
    /// Table slot of translated code that starts here; 0: none.
    slot: u32,
    /// Blocks of the same page and mode that have followed this one, and how far from its beginning they begin; [`UNLINKED`]: none.
    pub(super) near: [Place; 2],
    pub(super) near_by: [i16; 2],
    /// The one that has followed last by way of the jump cache.
    pub(super) far: Jump,
}

const _: () = assert!(size_of::<Block>() == 64, "a cache line");

/// A block, and where its instructions are. What looks for a block has to wait for memory: it asks for both at once.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) block: BlockId,
    pub(super) first: u32,
}

/// The block is translated or was overwritten: the loop over blocks in a row must not run it.
const NOT_IN_A_ROW: u32 = 1 << 31;

impl Block {
    /// A block of no instruction yet, which was executed `runs` times before it was dropped.
    pub(super) fn new(first: u32, bits: CodeSize, runs: u16) -> Block {
        Block {
            first,
            count: 0,
            bytes: 0,
            bits,
            crosses: false,
            computed: 0,
            runs: runs.into(),
            slot: 0,
            near: [NO_PLACE; 2],
            near_by: [UNLINKED; 2],
            far: NOWHERE,
        }
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
    pub(super) fn slot(&self) -> u32 {
        self.slot
    }
    /// Translated code starts here, or no more: it must be executed often anew then.
    pub(super) fn set_slot(&mut self, slot: u32) {
        self.slot = slot;
        self.runs = if slot == 0 { 0 } else { self.runs | NOT_IN_A_ROW };
    }
    /// Its code was overwritten.
    pub(super) fn overwrite(&mut self) {
        self.count = 0;
        self.runs |= NOT_IN_A_ROW;
    }
    pub(super) fn runs(&self) -> u32 {
        self.runs & !NOT_IN_A_ROW
    }
    pub(super) fn set_runs(&mut self, runs: u32) {
        self.runs = self.runs & NOT_IN_A_ROW | runs & !NOT_IN_A_ROW;
    }
    /// Counts an execution. Whether it is the one that makes the block `hot`.
    pub(super) fn count_run(&mut self, hot: u32) -> bool {
        let counts = self.runs() < hot;
        self.runs += u32::from(counts);
        counts && self.runs() == hot && self.can_be_hot()
    }
    /// Counts an execution in a row, if it can be one: the block is neither translated nor about to be `hot`.
    #[inline(always)]
    pub(super) fn run_in_a_row(&mut self, hot: u32) -> bool {
        if self.runs >= NOT_IN_A_ROW || self.runs + 1 == hot {
            return false;
        }
        self.runs += u32::from(self.runs < hot);
        true
    }
    /// The block `by` bytes behind the beginning of this one, if it has followed it before in its page. Behind computed jumps none is known.
    #[inline(always)]
    pub(super) fn near(&self, by: u64) -> Option<Place> {
        (0..2).find(|&k| by as i64 == i64::from(self.near_by[k])).map(|k| self.near[k])
    }
    /// The block at `pc` if it has followed this one by way of the jump cache.
    #[inline(always)]
    pub(super) fn far(&self, pc: u64, key: u32) -> Option<Place> {
        (self.far.pc == pc && self.far.key == key).then_some(self.far.to)
    }
    /// Half of the executions are forgotten, if the block has not become `hot`.
    pub(super) fn fade(&mut self, hot: u32) {
        // Of most there is nothing to forget any more: what is not written need not go back to memory.
        if (1..hot).contains(&self.runs) {
            self.runs /= 2;
        }
    }
    /// Translated code can start here.
    pub(super) fn can_be_hot(&self) -> bool {
        self.bits == CodeSize::Bits64
    }
}
