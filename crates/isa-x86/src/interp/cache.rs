//! Decoded blocks, found by physical address, and the jump cache that finds them by linear address.

use guest_api::{Code, Decoded, EmitVector, JUMPS, Slot, Tier, Verified, jump_index};
use mem::{Memory, PAGE_MASK, PAGE_SIZE};

use crate::cpu::{BLOCK, CodeSize, Cpu, NOWHERE as NO_REGION, SegReg, ZERO};
use crate::decode::{DecodeError, decode_to};
use crate::exec::Exec;
use crate::fault::{GP, Stop};
use crate::insn::{Insn, Kind};
use crate::sys::paging::{self, fetch_address};
use crate::table::Op;

use super::hot;
use super::index::{Index, Key};
use super::targets::Targets;

/// Longest block, in instructions: bounds the time to the next look at interrupts.
const MAX_INSNS: usize = 64;
/// Interpreted instructions after which blocks forget half of their executions: what is worth translating is code that takes its
/// share of the interpreter's time, not what comes back once in a while.
const FADE: u64 = 4 << 20;
/// Bytes for which there is room at first: most guests need no more.
const FIRST_BYTES: usize = 48 << 20;
/// Entries of [`CodeCache::heat`].
const HEAT: usize = 1 << 16;
/// Bytes that a block takes beside its instructions.
const BLOCK_BYTES: usize = size_of::<Block>() + Index::ENTRY_BYTES;
/// Instructions of a block on average: what memory is divided by at first.
const MEAN_INSNS: usize = 5;

pub(super) type BlockId = u32;

/// A straight run of decoded instructions.
#[repr(align(64))]
pub(super) struct Block {
    first: u32,
    /// Instructions; 0 where the code was overwritten: the jump cache may still know such a block.
    count: u16,
    /// Length in bytes of guest code.
    pub(super) bytes: u16,
    pub(super) bits: CodeSize,
    /// Its code ends in another page than it begins in.
    crosses: bool,
    /// Its number among those that end with a computed jump, by which [`Targets`] knows it; 0: it does not.
    computed: u16,
    /// How often it was executed, up to the number that makes it hot, and [`NOT_IN_A_ROW`].
    runs: u32,
    /// Table slot of translated code that starts here; 0: none.
    slot: u32,
    /// Blocks of the same page and mode that have followed this one, and how far from its beginning they begin; [`UNLINKED`]: none.
    near: [Place; 2],
    near_by: [i16; 2],
    /// The one that has followed last by way of the jump cache.
    far: Jump,
}

const _: () = assert!(size_of::<Block>() == 64, "a cache line");

/// The block is translated or was overwritten: the loop over blocks in a row must not run it.
const NOT_IN_A_ROW: u32 = 1 << 31;

/// No distance within a page. Where something lies so far away all the same, [`NO_PLACE`] is found there.
const UNLINKED: i16 = i16::MAX;

/// A block, and where its instructions are. What looks for a block has to wait for memory: it asks for both at once.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) block: BlockId,
    first: u32,
}

/// The block found last, where, and how its page was seen: as long as the key is the same, the page is mapped to where it was.
struct Last {
    pc: u64,
    key: u32,
    block: BlockId,
}

const NO_LAST: Last = Last { pc: 0, key: u32::MAX, block: 0 };

#[derive(Clone, Copy)]
struct Jump {
    pc: u64,
    key: u32,
    to: Place,
}

const NO_PLACE: Place = Place { block: BlockId::MAX, first: 0 };
const NOWHERE: Jump = Jump { pc: 0, key: u32::MAX, to: NO_PLACE };

pub(super) struct CodeCache {
    insns: Vec<Insn>,
    /// Bytes for which there is room, and those that are kept before everything is dropped.
    limit: usize,
    most: usize,
    blocks: Vec<Block>,
    index: Index,
    /// Finds blocks by linear address, in the form of [`guest_api::Jump`], by [`jump_index`].
    jumps: Box<[Jump]>,
    targets: Targets,
    last: Last,
    /// By a hash of the key, half of the executions of blocks that were dropped for want of room.
    heat: Box<[u16]>,
    /// Instructions decoded so far.
    pub(super) decoded: u64,
    /// Interpreted instructions at which counts fade next.
    fade_at: u64,
}

impl CodeCache {
    /// A cache of up to about `bytes`, or of what the host can give.
    pub(super) fn new(bytes: usize) -> CodeCache {
        let most = bytes.max(1 << 20);
        let mut cache = CodeCache {
            insns: Vec::new(),
            limit: 0,
            most,
            blocks: Vec::new(),
            index: Index::new(),
            jumps: vec![NOWHERE; JUMPS].into(),
            targets: Targets::default(),
            last: NO_LAST,
            heat: vec![0; HEAT].into(),
            fade_at: FADE,
            decoded: 0,
        };
        let mut limit = most.min(FIRST_BYTES);
        while !cache.make_room(limit) {
            limit /= 2;
        }
        cache
    }

    /// Makes room for `limit` bytes, if the host can give it: for all at once, as a vector that doubles leaves its former selves behind in the heap.
    fn make_room(&mut self, limit: usize) -> bool {
        let insns = limit / (size_of::<Insn>() + BLOCK_BYTES / MEAN_INSNS) + MAX_INSNS + 1;
        if self.insns.try_reserve_exact(insns.saturating_sub(self.insns.len())).is_err() {
            return false;
        }
        let blocks = insns / MEAN_INSNS;
        let _ = self.blocks.try_reserve_exact(blocks.saturating_sub(self.blocks.len()));
        self.index.reserve(blocks);
        self.limit = limit;
        true
    }

    pub(super) fn bytes(&self) -> usize {
        self.insns.capacity() * size_of::<Insn>() + self.blocks.len() * BLOCK_BYTES
    }

    /// Whether the longest block might not fit.
    fn is_full(&self) -> bool {
        self.insns.len() + MAX_INSNS + 1 > self.insns.capacity()
            || self.insns.len() * size_of::<Insn>() + self.blocks.len() * BLOCK_BYTES > self.limit
    }

    /// Drops all blocks.
    pub(super) fn clear<T: Tier>(&mut self, mem: &mut Memory, tier: &T) {
        self.insns.clear();
        self.blocks.clear();
        self.index.clear();
        self.targets.clear();
        self.forget_jumps();
        self.last = NO_LAST;
        mem.clear_all_code();
        tier.ranges(None, &mut |pa, len| mem.mark_code(pa, len));
    }

    fn forget_jumps(&mut self) {
        self.jumps.fill(NOWHERE);
        for block in &mut self.blocks {
            block.far = NOWHERE;
        }
    }

    #[inline(always)]
    pub(super) fn block(&self, id: BlockId) -> &Block {
        &self.blocks[id as usize]
    }
    #[inline(always)]
    pub(super) fn insns(&self, at: Place) -> &[Insn] {
        &self.insns[at.first as usize..][..self.block(at.block).count.into()]
    }
    /// The instructions of a block, and what is behind them.
    #[inline(always)]
    pub(super) fn insns_from(&self, at: Place) -> &[Insn] {
        &self.insns[at.first as usize..]
    }
    /// Instructions of a block.
    #[inline(always)]
    pub(super) fn count(&self, at: Place) -> u64 {
        self.block(at.block).count.into()
    }
    fn place(&self, block: BlockId) -> Place {
        Place { block, first: self.block(block).first }
    }

    /// Follows what happened to memory: drops blocks whose code was written and jumps whose pages were remapped.
    pub(super) fn settle<T: Tier>(&mut self, cpu: &mut Cpu, tier: &mut T) {
        if cpu.mem.code_written() {
            for (pa, len) in cpu.mem.take_code_writes() {
                tier.written(pa, u64::from(len));
                self.invalidate(&mut cpu.mem, tier, pa, u64::from(len));
            }
        }
        if tier.changed() {
            self.take_changes(cpu, tier);
        }
        if core::mem::take(&mut cpu.jumps_are_stale) {
            self.forget_jumps();
            cpu.jumps.fill(NO_REGION);
            cpu.verified.fill(Verified::NOTHING);
        }
    }

    /// Learns where translated code has appeared and where it is gone.
    pub(super) fn take_changes<T: Tier>(&mut self, cpu: &mut Cpu, tier: &mut T) {
        let reassigned = tier.changes(&mut |pa, mode, slot| {
            if let Some(id) = self.index.find(Key::new(pa, mode)) {
                self.blocks[id as usize].set_slot(slot);
            }
        });
        if reassigned {
            cpu.jumps.fill(NO_REGION);
        }
    }

    #[inline(always)]
    pub(super) fn block_mut(&mut self, id: BlockId) -> &mut Block {
        &mut self.blocks[id as usize]
    }

    /// Drops the blocks that hold bytes of `pa..pa + len`, and marks anew the code lines of those that stay.
    fn invalidate<T: Tier>(&mut self, mem: &mut Memory, tier: &T, pa: u64, len: u64) {
        let page = pa & !PAGE_MASK;
        mem.clear_code(page, u64::MAX);
        tier.ranges(Some(page), &mut |pa, len| mem.mark_code(pa, len));
        let blocks = &mut self.blocks;
        self.index.remove_from_page(page, |id, start| {
            let b = &mut blocks[id as usize];
            // A block that crosses into a second page is dropped by any write to either.
            let hit = b.crosses || (start < pa + len && pa < start + u64::from(b.bytes));
            if hit {
                b.count = 0;
                b.runs |= NOT_IN_A_ROW;
            } else {
                mem.mark_code(start, u32::from(b.bytes));
            }
            hit
        });
    }

    /// `interpreted`: instructions so far. Counts fade when it is time; those of blocks that have become `hot` stay.
    pub(super) fn fade(&mut self, interpreted: u64, hot: u32) {
        if hot == 0 || interpreted < self.fade_at {
            return;
        }
        self.fade_at = interpreted.wrapping_add(FADE);
        for block in self.blocks.iter_mut().filter(|b| b.runs < hot) {
            block.runs /= 2;
        }
    }

    /// The block at CS:RIP, decoded if need be; raises the faults of an instruction fetch.
    #[inline(always)]
    pub(super) fn find<T: Tier>(&mut self, cx: &mut Exec<'_>, tier: &mut T) -> Result<Place, Stop> {
        let pc = cx.cpu.rip.wrapping_add(cx.cpu.seg_base(SegReg::Cs));
        let key = cx.cpu.fetch_key(pc);
        let known = self.linked(pc, key, key == self.last.key).or_else(|| self.jump_to(pc, key));
        let to = match known.filter(|to| self.blocks.get(to.block as usize).is_some_and(|b| b.count != 0)) {
            Some(to) => to,
            None => {
                let id = self.find_slow(cx, tier, pc)?;
                let to = self.place(id);
                self.link(pc, key, to);
                to
            }
        };
        self.last = Last { pc, key, block: to.block };
        Ok(to)
    }

    /// The block at CS:RIP, where it can be run at once: it is known and neither translated nor about to be `hot`. The fetch keys are those of
    /// the last block.
    #[inline(always)]
    pub(super) fn follow(&mut self, cpu: &Cpu, hot: u32) -> Option<Place> {
        let pc = cpu.rip.wrapping_add(cpu.seg_base(SegReg::Cs));
        let key = cpu.fetch_key(pc);
        let to = self.linked(pc, key, true).or_else(|| self.jump_to(pc, key))?;
        let block = self.blocks.get_mut(to.block as usize)?;
        if block.runs >= NOT_IN_A_ROW || block.runs + 1 == hot {
            return None;
        }
        block.runs += u32::from(block.runs < hot);
        self.last = Last { pc, key, block: to.block };
        Some(to)
    }

    /// The block at `pc` if it has followed the last one before, whose key is the same where `near`. Behind computed jumps none is known.
    #[inline(always)]
    fn linked(&self, pc: u64, key: u32, near: bool) -> Option<Place> {
        let from = self.blocks.get(self.last.block as usize)?;
        let by = pc.wrapping_sub(self.last.pc) as i64;
        if near && by == i64::from(from.near_by[0]) {
            return Some(from.near[0]);
        }
        if near && by == i64::from(from.near_by[1]) {
            return Some(from.near[1]);
        }
        (from.far.pc == pc && from.far.key == key).then_some(from.far.to)
    }

    /// The block at `pc` that the jump cache knows.
    #[inline(never)]
    fn jump_to(&mut self, pc: u64, key: u32) -> Option<Place> {
        let &Jump { pc: at, key: of, to } = &self.jumps[jump_index(pc)];
        if at != pc || of != key || self.block(to.block).count == 0 {
            return None;
        }
        self.link(pc, key, to);
        Some(to)
    }

    /// The last block was followed by `to`.
    fn link(&mut self, pc: u64, key: u32, to: Place) {
        let (bits, crosses) = (self.block(to.block).bits, self.block(to.block).crosses);
        let Some(from) = self.blocks.get_mut(self.last.block as usize) else { return };
        if from.computed != 0 {
            self.targets.note(from.computed, pc);
        } else if bits == CodeSize::Bits64 && !crosses {
            // A block that crosses into another page is verified each time.
            if key == self.last.key && (pc ^ self.last.pc) & !PAGE_MASK == 0 {
                let by = pc.wrapping_sub(self.last.pc) as i16;
                (from.near, from.near_by) = ([to, from.near[0]], [by, from.near_by[0]]);
            } else {
                from.far = Jump { pc, key, to };
            }
        }
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
        let id = match self.index.find(key) {
            Some(id) => id,
            None => self.decode_block(cx, tier, pc, key, bits)?,
        };
        if self.blocks[id as usize].crosses {
            // The mapping of the second page may have changed: such blocks are verified each time, and decoded anew if it did.
            let second = fetch_address(cx, (pc | PAGE_MASK).wrapping_add(1))?;
            if second & !PAGE_MASK != self.index.second_page(id) {
                self.index.remove(id);
                return self.decode_block(cx, tier, pc, key, bits);
            }
            return Ok(id);
        }
        self.jumps[jump_index(pc)] = Jump { pc, key: cx.cpu.fetch_key(pc), to: self.place(id) };
        Ok(id)
    }

    /// Decodes the block of `key` at linear `pc`.
    fn decode_block<T: Tier>(
        &mut self,
        cx: &mut Exec<'_>,
        tier: &mut T,
        pc: u64,
        key: Key,
        bits: CodeSize,
    ) -> Result<BlockId, Stop> {
        if self.is_full() && (self.limit >= self.most || !self.make_room(self.most)) {
            for (id, block) in self.blocks.iter().enumerate().filter(|(_, b)| b.runs() > 1) {
                let heat = &mut self.heat[self.index.key(id as BlockId).hash() % HEAT];
                *heat = (*heat).max((block.runs() / 2).try_into().unwrap_or(u16::MAX));
            }
            self.clear(&mut cx.cpu.mem, tier);
        }
        let start = key.pa();
        let stack = cx.cpu.stack_width();
        let first = self.insns.len();
        let mut off = 0_usize;
        let mut second_page = start & !PAGE_MASK;
        let in_page = (PAGE_SIZE - (start & PAGE_MASK)) as usize;
        let ram = cx.cpu.mem.is_ram(second_page);
        let mut buffer = [0; 15];
        // Of a device no more is read than is executed.
        let most = if ram { MAX_INSNS } else { 1 };
        let code = if ram {
            cx.cpu.mem.ram.slice(start, in_page).unwrap_or_default()
        } else {
            let n = in_page.min(buffer.len());
            for (k, b) in buffer[..n].iter_mut().enumerate() {
                *b = cx.read_physical(start + k as u64, 1) as u8;
            }
            &buffer[..n]
        };
        let mut last = Ok(true);
        while let Some(bytes @ [_, ..]) = code.get(off..)
            && self.insns.len() - first < most
        {
            let at = self.insns.len();
            self.insns.push(Insn::BLANK);
            last = decode_to(&mut self.insns[at], bytes, bits, stack, off as u16);
            match last {
                Ok(ends) => {
                    off += usize::from(self.insns[at].len);
                    if ends {
                        break;
                    }
                }
                // What cannot be decoded faults when it is reached, not before; what crosses the page makes a block of its own.
                Err(_) => {
                    self.insns.truncate(at);
                    break;
                }
            }
        }
        if off == 0 && last == Err(DecodeError::NeedMoreBytes) {
            if ram {
                let _ = cx.cpu.mem.ram.read_bytes(start, &mut buffer[..in_page.min(15)]);
            }
            let rest = buffer.get_mut(in_page..).unwrap_or_default();
            let next = fetch_address(cx, pc.wrapping_add(in_page as u64))?;
            second_page = next & !PAGE_MASK;
            for (k, b) in rest.iter_mut().enumerate() {
                *b = cx.read_physical(next + k as u64, 1) as u8;
            }
            let mut i = Insn::BLANK;
            last = decode_to(&mut i, &buffer, bits, stack, 0);
            if last.is_ok() {
                off = usize::from(i.len);
                self.insns.push(i);
            }
        }
        if off == 0 {
            return Err(match last {
                Err(DecodeError::Invalid) => cx.ud(),
                _ => cx.gp0(), // longer than 15 bytes
            });
        }
        let count = self.insns.len() - first;
        let end = hot::fuse(&mut self.insns[first..]);
        let computed = self.insns.last().is_some_and(|i| matches!(i.op, Op::Jmp | Op::Call) && i.kinds[0] != Kind::Imm);
        let mut block = Block {
            computed: if computed { self.targets.number() } else { 0 },
            first: first as u32,
            count: count as u16,
            bytes: off as u16,
            bits,
            runs: core::mem::take(&mut self.heat[key.hash() % HEAT]).into(),
            slot: 0,
            crosses: second_page != start & !PAGE_MASK,
            near: [NO_PLACE; 2],
            near_by: [UNLINKED; 2],
            far: NOWHERE,
        };
        let slot = tier.find(start, key.mode());
        if slot != 0 {
            block.set_slot(slot);
        }
        if ram {
            cx.cpu.mem.mark_code(start, off.min(in_page) as u32);
            if block.crosses {
                cx.cpu.mem.mark_code(second_page, off.saturating_sub(in_page) as u32);
            }
        }
        self.insns.extend(end);
        self.decoded += u64::from(block.count);
        self.blocks.push(block);
        Ok(self.index.add(key, second_page, ram))
    }
}

impl Block {
    pub(super) fn slot(&self) -> u32 {
        self.slot
    }
    /// Translated code starts here, or no more: it must be executed often anew then.
    fn set_slot(&mut self, slot: u32) {
        self.slot = slot;
        self.runs = if slot == 0 { 0 } else { self.runs | NOT_IN_A_ROW };
    }
    fn runs(&self) -> u32 {
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
    /// Translated code can start here.
    pub(super) fn can_be_hot(&self) -> bool {
        self.bits == CodeSize::Bits64
    }
}

/// The decoded code and the mappings under which it is seen.
pub(super) struct View<'a> {
    pub(super) code: &'a CodeCache,
    pub(super) cpu: &'a mut Cpu,
}

impl Code for View<'_> {
    const ZERO: Slot = Slot(ZERO);
    const BLOCK: Slot = Slot(BLOCK);

    fn state(&self) -> u32 {
        core::ptr::from_ref::<Cpu>(self.cpu).addr() as u32
    }
    fn block_at(&mut self, pc: u64) -> Option<Decoded> {
        let pa = paging::code_address(self.cpu, pc)?;
        let key = Key::new(pa, self.cpu.fetch_mode(pc));
        let id = self.code.index.find(key)?;
        let block = self.code.block(id).can_be_hot().then(|| self.block(id))?;
        let cpu = &mut *self.cpu;
        let next = |page: u64| paging::code_address(cpu, (pc | PAGE_MASK).wrapping_add(1)) == Some(page);
        block.next_page.is_none_or(next).then_some(block)
    }
    fn block(&self, id: u32) -> Decoded {
        let b = self.code.block(id);
        let key = self.code.index.key(id);
        let next_page = b.crosses.then(|| self.code.index.second_page(id));
        let (insns, bytes) = (b.count.into(), b.bytes.into());
        Decoded { id, pa: key.pa(), mode: key.mode(), insns, bytes, next_page, runs: b.runs() }
    }
    fn offset(&self, id: u32, k: u32) -> u32 {
        let b = self.code.block(id);
        self.code.insns(self.code.place(id)).get(k as usize).map_or_else(|| b.bytes.into(), |i| i.off.into())
    }
    fn targets(&self, id: u32) -> Vec<u64> {
        self.code.targets.of(self.code.block(id).computed)
    }
    fn lift<E: EmitVector>(&self, id: u32, k: u32, e: &mut E) -> Option<Result<(), E::Exit>> {
        crate::table::translate(e, self.code.insns(self.code.place(id)).get(k as usize)?)
    }
}
