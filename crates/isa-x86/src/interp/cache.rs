//! Decoded blocks, found by linear and by physical address.

use guest_api::Tier;
use mem::{Access, PAGE_MASK};

use crate::cpu::{CodeSize, Cpu, SegReg};
use crate::exec::Exec;
use crate::fault::{GP, Stop};
use crate::insn::Insn;
use crate::sys::paging::fetch_address;

use super::block::{Block, BlockId, Place};
use super::index::{Index, Key};
use super::life::Counts;
use super::links::{Links, Missed};
use super::packed::{Forms, Instructions, Packed};
use super::pieces::Budget;
use super::targets::Targets;

/// Longest block, in places of instructions: bounds the time to the next look at interrupts.
pub(super) const MAX_PLACES: usize = 64;

/// Bytes that a block takes beside its instructions.
const BLOCK_BYTES: usize = size_of::<Block>() + Index::ENTRY_BYTES;
/// Bytes of the instructions of two blocks: 21 places on average (gcc, a boot), and one in ten is kept whole. What memory is divided by.
const TWO_BLOCKS: usize = 21 * size_of::<Packed>() + 2 * size_of::<Insn>();

/// The blocks and their instructions. [`super::links`] says which block follows, [`super::decoding`] makes blocks, [`super::life`] drops them.
pub(super) struct CodeCache {
    /// Those of a block lie side by side.
    pub(super) insns: Instructions,
    pub(super) forms: Forms,
    /// What instructions may take: [`CodeCache::insns`], and those of [`CodeCache::forms`].
    pub(super) budget: Budget,
    /// Room for all that there may be was made at first: to be found by one look is worth that.
    pub(super) blocks: Vec<Block>,
    /// The same numbers as those of `blocks`.
    pub(super) index: Index,
    pub(super) links: Links,
    pub(super) targets: Targets,
    pub(super) counts: Counts,
    /// Bytes of the longest block.
    pub(super) longest: u16,
    /// Instructions decoded so far.
    pub(super) decoded: u64,
    /// How often all blocks were dropped for want of room.
    pub(super) drops: u64,
}

impl CodeCache {
    /// A cache of up to `bytes`, 2 MiB at least, or of what the host can give.
    pub(super) fn new(bytes: usize) -> CodeCache {
        let mut bytes = bytes.max(2 << 20);
        let (mut blocks, mut index) = (Vec::new(), Index::new());
        let count = loop {
            let count = 2 * (bytes / (TWO_BLOCKS + 2 * BLOCK_BYTES));
            if blocks.try_reserve_exact(count).is_ok() && index.reserve(count) {
                break count;
            }
            blocks = Vec::new();
            bytes /= 2;
        };
        let mut budget = Budget::new(bytes - count * BLOCK_BYTES);
        CodeCache {
            insns: Instructions::new(&mut budget),
            forms: Forms::new(&mut budget),
            budget,
            blocks,
            index,
            links: Links::new(),
            targets: Targets::default(),
            counts: Counts::new(),
            longest: 0,
            decoded: 0,
            drops: 0,
        }
    }

    /// Bytes of host memory that grow with what is decoded.
    pub(super) fn bytes(&self) -> usize {
        self.budget.bytes() + self.blocks.capacity() * BLOCK_BYTES
    }

    /// Makes room for another block, of the longest, if it may be and the host can give it.
    #[inline]
    pub(super) fn try_make_room(&mut self) -> bool {
        self.blocks.len() < self.blocks.capacity()
            && self.forms.make_room(MAX_PLACES, &mut self.budget)
            && self.insns.make_room(MAX_PLACES + 1, &mut self.budget)
    }

    #[inline(always)]
    pub(super) fn block(&self, id: BlockId) -> &Block {
        &self.blocks[id as usize]
    }
    #[inline(always)]
    pub(super) fn block_mut(&mut self, id: BlockId) -> &mut Block {
        &mut self.blocks[id as usize]
    }
    /// The instructions of a block and its forks, and what is behind them.
    #[inline(always)]
    pub(super) fn insns_from(&self, at: Place) -> &[Packed] {
        self.insns.from(at.first)
    }
    /// The instruction at place `k` of a block that was not overwritten.
    pub(super) fn insn(&self, at: Place, k: usize) -> Option<Insn> {
        let block = self.block(at.block);
        if block.count != 0 { self.forms.unpack(self.insns_from(at), k, block.lead() as u16) } else { None }
    }
    /// The blocks that the code of `key` is within, and not the beginning, and how far it is behind the beginning of their runs.
    pub(super) fn around(&self, key: Key) -> impl Iterator<Item = (&Block, u64)> {
        let pa = key.pa();
        let from = (pa & !PAGE_MASK).max(pa.saturating_sub(self.longest.into()));
        let mut found = Vec::new();
        if from < pa {
            self.index.each(from, pa, |id, start| {
                let block = self.block(id);
                if start < pa && pa < start + u64::from(block.bytes) && self.index.key(id).mode() == key.mode() {
                    found.push((block, block.lead() + (pa - start)));
                }
            });
        }
        found.into_iter()
    }
    pub(super) fn place(&self, block: BlockId) -> Place {
        Place { block, first: self.block(block).first }
    }

    /// The block at CS:RIP, decoded if need be; raises the faults of an instruction fetch.
    #[inline(always)]
    pub(super) fn find<T: Tier>(&mut self, cx: &mut Exec<'_>, tier: &mut T) -> Result<Place, Stop> {
        let pc = cx.cpu.rip.wrapping_add(cx.cpu.seg_base(SegReg::Cs));
        let key = cx.cpu.fetch_key(pc);
        let missed = core::mem::take(&mut self.links.missed);
        let known = if matches!(missed, Missed::Nothing) { self.known(cx.cpu, pc, key) } else { None };
        let to = match known {
            Some(to) => to,
            None => {
                let id = match missed {
                    Missed::Code(code) => self.make_block(cx, tier, pc, code, CodeSize::Bits64)?,
                    _ => self.find_slow(cx, tier, pc)?,
                };
                let to = self.place(id);
                self.link(pc, key, to);
                to
            }
        };
        self.found(pc, key, to);
        Ok(to)
    }

    /// The block of 64-bit code at `pc`, of one page, if it was decoded and the TLB knows where it is: what the jump cache has lost or never had. If not, it
    /// is noted what [was missed](Missed).
    #[inline(never)]
    pub(super) fn find_decoded(&mut self, cpu: &Cpu, pc: u64, key: u32) -> Option<Place> {
        self.links.missed = Missed::Link;
        let pa = cpu.mem.lookup(Access::Execute, pc)?;
        let code = Key::new(pa, cpu.fetch_mode(pc));
        let Some(id) = self.index.find(code) else {
            if cpu.code_size() == CodeSize::Bits64 {
                self.links.missed = Missed::Code(code);
            }
            return None;
        };
        let block = self.block(id);
        if block.bits != CodeSize::Bits64 || block.crosses {
            return None;
        }
        self.links.missed = Missed::Nothing;
        let to = self.place(id);
        self.note_jump(pc, key, to);
        self.link(pc, key, to);
        Some(to)
    }

    #[inline(never)]
    fn find_slow<T: Tier>(&mut self, cx: &mut Exec<'_>, tier: &mut T, pc: u64) -> Result<BlockId, Stop> {
        let bits = cx.cpu.code_size();
        let mut pc = pc;
        if bits != CodeSize::Bits64 {
            pc &= 0xffff_ffff;
            if cx.cpu.rip > u64::from(cx.cpu.seg[SegReg::Cs as usize].limit) {
                return Err(cx.fault(GP, Some(0)));
            }
        }
        let pa = fetch_address(cx, pc)?;
        let key = Key::new(pa, cx.cpu.fetch_mode(pc));
        let Some(id) = self.index.find(key) else { return self.make_block(cx, tier, pc, key, bits) };
        if bits != CodeSize::Bits64 && !self.block(id).is_within_limit(cx.cpu) {
            // Other jumps' entries of the jump cache may have it still.
            self.block_mut(id).overwrite();
            self.index.remove(id);
            return self.make_block(cx, tier, pc, key, bits);
        }
        if self.block(id).crosses {
            // The mapping of the second page may have changed: such blocks are verified each time, and decoded anew if it did.
            let second = fetch_address(cx, (pc | PAGE_MASK).wrapping_add(1))?;
            if second & !PAGE_MASK != self.index.second_page(id) {
                self.index.remove(id);
                return self.make_block(cx, tier, pc, key, bits);
            }
            return Ok(id);
        }
        self.note_jump(pc, cx.cpu.fetch_key(pc), self.place(id));
        Ok(id)
    }
}
