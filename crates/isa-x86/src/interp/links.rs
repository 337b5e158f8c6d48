//! Which block follows: what has followed the last one, and the jump cache, which finds blocks by linear address.

use core::num::NonZeroU32;

use guest_api::{JUMPS, jump_index};
use mem::PAGE_MASK;

use crate::cpu::{CodeSize, Cpu};

use super::block::{Block, BlockId, Place, Spot};
use super::cache::CodeCache;
use super::index::Key;

/// No distance within a page. Where something lies so far away all the same, [`NO_PLACE`] is found there.
pub(super) const UNLINKED: i16 = i16::MAX;

pub(super) const NO_PLACE: Place = Place { block: BlockId::MAX, first: 0 };

impl Place {
    /// None is [`NO_PLACE`].
    #[inline(always)]
    pub(super) fn known(self) -> Option<Place> {
        (self.block != NO_PLACE.block).then_some(self)
    }
}

#[derive(Clone, Copy)]
struct Jump {
    pc: u64,
    key: u32,
    to: Place,
}

const NOWHERE: Jump = Jump { pc: 0, key: u32::MAX, to: NO_PLACE };

/// The block found last, where, and how its page was seen: as long as the key is the same, the page is mapped to where it was. While blocks
/// run in a row it is one before; it is brought up to date where the jump cache is asked, and at the row's end.
struct Last {
    pc: u64,
    key: u32,
    block: BlockId,
    /// The number of the fork at which it was left, if it was: that knows what follows.
    fork: Option<NonZeroU32>,
}

const NO_LAST: Last = Last { pc: 0, key: u32::MAX, block: BlockId::MAX, fork: None };

/// What is known of the block that comes next, as it was looked for in a row.
#[derive(Default)]
pub(super) enum Missed {
    #[default]
    Nothing,
    /// It is not [known](CodeCache::known).
    Link,
    /// It is not known, and this code, which is 64-bit, was not decoded.
    Code(Key),
}

/// Where the guest is, and where it may go from there.
pub(super) struct Links {
    /// Finds blocks by linear address, in the form of [`guest_api::Jump`], by [`jump_index`].
    jumps: Box<[Jump]>,
    last: Last,
    pub(super) missed: Missed,
}

impl Links {
    pub(super) fn new() -> Links {
        Links { jumps: vec![NOWHERE; JUMPS].into(), last: NO_LAST, missed: Missed::Nothing }
    }
}

impl CodeCache {
    /// The block at `pc`, if it is known to follow the last one or by the jump cache, and was not overwritten.
    #[inline(always)]
    pub(super) fn known(&mut self, cpu: &Cpu, pc: u64, key: u32) -> Option<Place> {
        let near = self.within_page_of_last(pc, key).and_then(|(from, by)| match self.links.last.fork {
            None => from.near(by).known(),
            Some(fork) if self.leads_to(fork, by) => self.insns.get(fork.get()).jumps_to().known(),
            Some(_) => None,
        });
        let next = near.or_else(|| self.blocks.get(self.links.last.block as usize)?.far(pc, key));
        let to = next.or_else(|| self.jump_to(cpu, pc, key))?;
        self.blocks.get(to.block as usize).is_some_and(|b| b.count != 0).then_some(to)
    }

    /// The block `to` at `pc` is the last one from now on.
    #[inline(always)]
    pub(super) fn found(&mut self, pc: u64, key: u32, to: Place) {
        self.links.last = Last { pc, key, block: to.block, fork: None };
    }

    /// The block `id` is, and it was left at the fork of this number, if at one.
    pub(super) fn left_at(&mut self, pc: u64, key: u32, id: BlockId, fork: Option<NonZeroU32>) {
        self.links.last = Last { pc, key, block: id, fork };
    }

    /// What is behind the fork at which the last block was left, if it was.
    pub(super) fn behind_last_fork(&self) -> Option<Spot> {
        let fork = self.links.last.fork?.get();
        let [jump, known, ..] = self.insns.from(fork - 1) else { return None };
        Some(Spot { first: fork + 1, lead: jump.next_off(), count: known.behind().into() })
    }

    /// Whether the jump of fork number `fork` leads `by` bytes behind the beginning of its run.
    fn leads_to(&self, fork: NonZeroU32, by: u64) -> bool {
        self.insns.get(fork.get() - 1).target_off() == by
    }

    /// The last block, and how far behind the beginning of its run `pc` is, if it is in the same page.
    pub(super) fn within_page_of_last(&self, pc: u64, key: u32) -> Option<(&Block, u64)> {
        let last = &self.links.last;
        let block = self.blocks.get(last.block as usize)?;
        let here = key == last.key && (pc ^ last.pc) & !PAGE_MASK == 0;
        here.then(|| (block, pc.wrapping_sub(last.pc).wrapping_add(block.lead())))
    }

    /// Whether the code of `key` is in the page of physical memory of the last block. Linear addresses alone do not tell: another page may be mapped there,
    /// and the TLB have lost the first one before it is flushed.
    pub(super) fn in_memory_page_of_last(&self, key: Key) -> bool {
        (self.index.key(self.links.last.block).pa() ^ key.pa()) & !PAGE_MASK == 0
    }

    /// Bytes from the beginning of the last block's run to its own.
    pub(super) fn lead_of_last(&self) -> u64 {
        self.blocks.get(self.links.last.block as usize).map_or(0, Block::lead)
    }

    /// What comes next follows a block.
    pub(super) fn has_last(&self) -> bool {
        self.links.last.block != BlockId::MAX
    }

    /// What comes next follows no block.
    pub(super) fn lose_last(&mut self) {
        self.links.last = NO_LAST;
    }

    /// The block at `pc`, where RIP is, that the jump cache knows. Code of 16 and 32 bits is always found here or slowly, with a look at CS's limit.
    #[inline(never)]
    pub(super) fn jump_to(&mut self, cpu: &Cpu, pc: u64, key: u32) -> Option<Place> {
        let &Jump { pc: at, key: of, to } = &self.links.jumps[jump_index(pc)];
        if at != pc || of != key {
            return None;
        }
        let block = self.block(to.block);
        if block.count == 0 || block.bits != CodeSize::Bits64 && !block.is_within_limit(cpu) {
            return None;
        }
        self.link(pc, key, to);
        Some(to)
    }

    /// The jump cache knows the block `to` at `pc` from now on.
    pub(super) fn note_jump(&mut self, pc: u64, key: u32, to: Place) {
        self.links.jumps[jump_index(pc)] = Jump { pc, key, to };
    }

    /// The last block was followed by `to`.
    pub(super) fn link(&mut self, pc: u64, key: u32, to: Place) {
        let (bits, crosses) = (self.block(to.block).bits, self.block(to.block).crosses);
        let near = self.within_page_of_last(pc, key).filter(|_| self.in_memory_page_of_last(self.index.key(to.block)));
        let near = near.map(|(_, by)| by);
        let fork = self.links.last.fork;
        let Some(from) = self.blocks.get_mut(self.links.last.block as usize) else { return };
        if from.computed != 0 && fork.is_none() {
            self.targets.note(from.computed, pc);
        } else if bits == CodeSize::Bits64 && !crosses {
            // A block that crosses into another page is verified each time.
            match (near, fork) {
                (None, _) => from.set_far(pc, key, to),
                (Some(by), None) => (from.near, from.near_by) = ([to, from.near[0]], [by as i16, from.near_by[0]]),
                (Some(by), Some(fork)) if self.leads_to(fork, by) => self.insns.get_mut(fork.get())[0].set_jumps_to(to),
                (Some(_), Some(_)) => {}
            }
        }
    }

    /// Blocks are found by physical address again: what was mapped where is not so any more.
    pub(super) fn forget_jumps(&mut self) {
        self.links.jumps.fill(NOWHERE);
        for block in &mut self.blocks {
            block.forget_far();
        }
    }

    /// All blocks are gone.
    pub(super) fn forget_links(&mut self) {
        self.links.jumps.fill(NOWHERE);
        self.links.last = NO_LAST;
    }
}
