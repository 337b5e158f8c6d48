//! How long blocks live: what becomes of them when their code is written, memory is mapped anew, or there is no more room.

use std::ops::Range;

use guest_api::{Tier, Verified};
use mem::{LINE, Memory, PAGE_MASK, PAGE_SIZE};

use crate::cpu::{Cpu, NOWHERE as NO_REGION};

use super::block::{Block, Counting};
use super::cache::CodeCache;
use super::index::Key;
use super::links::Missed;

/// Interpreted instructions after which blocks forget half of their executions: what is worth translating is code that takes its
/// share of the interpreter's time, not what comes back once in a while.
const FADE: u64 = 4 << 20;
/// Entries of [`Counts::dropped`].
const DROPPED: usize = 1 << 16;

/// What is known of executions beside the counts of blocks.
pub(super) struct Counts {
    /// By a hash of the key, half of the executions of blocks that were dropped for want of room.
    dropped: Box<[u16]>,
    /// Blocks were dropped for want of room.
    some_dropped: bool,
    /// Interpreted instructions at which counts fade next.
    fade_at: u64,
    pub(super) counting: Counting,
}

impl Counts {
    pub(super) fn new() -> Counts {
        Counts { dropped: vec![0; DROPPED].into(), some_dropped: false, fade_at: FADE, counting: Counting::new() }
    }

    fn of(&mut self, key: Key) -> &mut u16 {
        &mut self.dropped[key.hash() % DROPPED]
    }

    /// Half of the executions of the block with `key`, if it was dropped. Only where some were: to look is to wait for memory.
    pub(super) fn take(&mut self, key: Key) -> u16 {
        if self.some_dropped { core::mem::take(self.of(key)) } else { 0 }
    }
}

/// Blocks that end in one page and begin in others, of which a write to that page drops those that it hits. Where there are more, it drops them all: a guest that maps one page behind
/// thousands of others can have a hundred thousand of them, and to look through those for each write would take milliseconds.
const MOST_CROSSING: usize = 256;

impl CodeCache {
    /// Follows what happened to memory: drops blocks whose code was written and jumps whose pages were remapped.
    pub(super) fn settle<T: Tier>(&mut self, cpu: &mut Cpu, tier: &mut T) {
        self.links.missed = Missed::Nothing;
        self.take_changes(cpu, tier);
        if cpu.mem.code_written() {
            for (pa, len) in cpu.mem.take_code_writes() {
                tier.written(pa, u64::from(len));
                self.invalidate(&mut cpu.mem, tier, pa, u64::from(len));
                self.take_changes(cpu, tier);
            }
        }
        if core::mem::take(&mut cpu.jumps_are_stale) {
            self.forget_jumps();
            cpu.jumps.fill(NO_REGION);
            cpu.verified.fill(Verified::NOTHING);
        }
    }

    /// Learns where translated code has appeared and where it is gone.
    #[inline]
    pub(super) fn take_changes<T: Tier>(&mut self, cpu: &mut Cpu, tier: &mut T) {
        if tier.changed() {
            self.take_all_changes(cpu, tier);
        }
    }

    #[inline(never)]
    fn take_all_changes<T: Tier>(&mut self, cpu: &mut Cpu, tier: &mut T) {
        let reassigned = tier.changes(&mut |pa, mode, slot| {
            let key = Key::new(pa, mode);
            if let Some(id) = self.index.find(key) {
                self.block_mut(id).set_slot(slot);
            }
            // What goes on there without looking for it shall look.
            let places: Vec<u32> =
                self.around(key).filter_map(|(block, lead)| Some(self.seek(block.begin(), lead)?.first)).collect();
            for place in places {
                if let [jump, fork, ..] = self.insns.get_mut(place.saturating_sub(2))
                    && jump.goes_on()
                {
                    fork.close(slot != 0);
                }
            }
        });
        if reassigned {
            cpu.jumps.fill(NO_REGION);
        }
    }

    /// Drops the blocks that hold bytes of `pa..pa + len`, which are in one page, and marks anew the code lines there and of what was dropped.
    fn invalidate<T: Tier>(&mut self, mem: &mut Memory, tier: &T, pa: u64, len: u64) {
        let (page, end) = (pa & !PAGE_MASK, pa + len);
        // If translated code was dropped as well, nobody says which lines it had.
        let mut lines = if tier.changed() { page..page + PAGE_SIZE } else { pa..end };
        let mut drop_if_hit = |block: &mut Block, code: Range<u64>, all: bool| {
            let hit = all || code.start < end && pa < code.end;
            if hit {
                block.overwrite();
                lines = lines.start.min(code.start)..lines.end.max(code.end);
            }
            hit
        };
        let (blocks, longest) = (&mut self.blocks, u64::from(self.longest));
        self.index.remove_some(page.max(pa.saturating_sub(longest)), end, |id, start| {
            let block = &mut blocks[id as usize];
            let code = start..start + u64::from(block.bytes);
            drop_if_hit(block, code, false)
        });
        let crossing = self.index.crossing(page);
        let all = crossing.len() > MOST_CROSSING;
        for &(id, start) in &crossing {
            let block = &mut blocks[id as usize];
            let code = page..page + block.bytes_beyond(start);
            if drop_if_hit(block, code, all) {
                self.index.remove(id);
            }
        }

        let from = lines.start & !(LINE - 1);
        let to = (lines.end.next_multiple_of(LINE)).min(page + PAGE_SIZE);
        mem.unmark_code(from, (to - from) as u32);
        tier.ranges(Some(page), &mut |pa, len| mem.mark_code(pa, len));
        self.index.each(page.max(from.saturating_sub(longest)), to, |id, start| {
            let block = &blocks[id as usize];
            mem.mark_code(start, (u64::from(block.bytes) - block.bytes_beyond(start)) as u32);
        });
        for (id, start) in crossing {
            let block = &blocks[id as usize];
            if block.count > 0 {
                mem.mark_code(page, block.bytes_beyond(start) as u32);
            }
        }
    }

    /// How executions are counted in the next run, from `interpreted` instructions on, where so many make a block `hot`.
    pub(super) fn counting(&mut self, interpreted: u64, hot: u32) -> Counting {
        let counts = &mut self.counts;
        counts.counting.set_hot(hot);
        if hot != 0 && interpreted >= counts.fade_at {
            counts.fade_at = interpreted.wrapping_add(FADE);
            let last = counts.counting;
            if !counts.counting.next_epoch() {
                for block in &mut self.blocks {
                    block.begin_epochs(last);
                }
            }
        }
        self.counts.counting
    }

    /// Has room for another block, of the longest. Where there is none, all blocks are dropped.
    pub(super) fn make_room<T: Tier>(&mut self, mem: &mut Memory, tier: &T) {
        if self.try_make_room() {
            return;
        }
        self.counts.some_dropped = true;
        let counting = self.counts.counting;
        for (id, runs) in (0..).zip(self.blocks.iter().map(|b| b.runs(counting))).filter(|(_, runs)| *runs > 1) {
            let dropped = self.counts.of(self.index.key(id));
            *dropped = (*dropped).max((runs / 2) as u16);
        }
        self.clear(mem, tier);
        self.drops += 1;
    }

    /// Drops all blocks.
    pub(super) fn clear<T: Tier>(&mut self, mem: &mut Memory, tier: &T) {
        self.insns.clear(&mut self.budget);
        self.forms.clear(&mut self.budget);
        self.blocks.clear();
        self.index.clear();
        self.targets.clear();
        self.longest = 0;
        self.forget_links();
        mem.clear_all_code();
        tier.ranges(None, &mut |pa, len| mem.mark_code(pa, len));
    }
}
