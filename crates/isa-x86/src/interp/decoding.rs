//! Making a block: its bytes are fetched, decoded, and entered.

use guest_api::{Tier, Width};
use mem::{PAGE_MASK, PAGE_SIZE};

use crate::cpu::CodeSize;
use crate::decode::{DecodeError, Found, decode_complete, decode_frequent};
use crate::exec::Exec;
use crate::fault::Stop;
use crate::sys::paging::fetch_address;

use super::block::{Block, BlockId, Spot};
use super::cache::{CodeCache, MAX_PLACES};
use super::hot::{self, NO_ARM};
use super::index::Key;
use super::packed::{Forms, Packed};

/// Decodes the instruction at the start of `bytes`, `off` bytes behind its run's start, to `place`, for which `forms` has room.
#[inline(always)]
pub(super) fn decode_to(
    place: &mut Packed,
    forms: &mut Forms,
    bytes: &[u8],
    bits: CodeSize,
    stack: Width,
    off: u16,
) -> Result<Found, DecodeError> {
    if bits == CodeSize::Bits64
        && let Some(found) = decode_frequent(place, bytes, off)
    {
        if place.hot() == NO_ARM {
            forms.keep_packed(place, off);
        }
        return Ok(found);
    }
    decode_seldom(place, forms, bytes, bits, stack, off)
}

/// The same for what is not in the decoder's table.
#[inline(never)]
fn decode_seldom(
    place: &mut Packed,
    forms: &mut Forms,
    bytes: &[u8],
    bits: CodeSize,
    stack: Width,
    off: u16,
) -> Result<Found, DecodeError> {
    let i = decode_complete(bytes, bits, stack, off)?;
    forms.pack(place, &i);
    Ok(Found::of(&i))
}

/// Instructions that were decoded one behind the other.
struct Run {
    count: usize,
    /// Those of the instructions and of the forks between them.
    places: usize,
    /// Their length.
    bytes: usize,
    /// The last.
    last: Found,
    /// Why there is none behind it, if it does not end the block.
    error: Option<DecodeError>,
}

/// Decodes from `code` to `insns` up to the end of a block or of either. What cannot be decoded faults when it is reached, not before;
/// what crosses the page makes a block of its own.
#[inline(never)]
fn decode_run(insns: &mut [Packed], forms: &mut Forms, code: &[u8], bits: CodeSize, stack: Width) -> Run {
    let mut run = Run { count: 0, places: 0, bytes: 0, last: Found::default(), error: None };
    // Places of the last fork, and of what was decoded when it was made.
    let (mut fork_at, mut forked) = (0, 0);
    let mut places = insns.iter_mut();
    while let Some(rest @ [_, ..]) = code.get(run.bytes..) {
        let Some(place) = places.next() else { break };
        match decode_to(place, forms, rest, bits, stack, run.bytes as u16) {
            Ok(found) => run.last = found,
            Err(e) => {
                run.error = Some(e);
                break;
            }
        }
        run.count += 1;
        run.places += 1;
        run.bytes += run.last.len();
        if run.last.ends_block() {
            if !hot::forks(place.hot()) {
                break;
            }
            let Some(fork) = places.next() else { break };
            place.go_on();
            *fork = Packed::fork(run.count as u8, fork_at);
            fork_at = run.places;
            run.places += 1;
            forked = run.places;
        }
    }
    // Nothing was decoded behind the last fork.
    if run.places == forked && forked != 0 {
        insns[fork_at - 1].end_here();
        fork_at = insns[fork_at].complete_fork(run.count as u8);
        run.places -= 1;
    }
    while fork_at != 0 {
        fork_at = insns[fork_at].complete_fork(run.count as u8);
    }
    run
}

impl CodeCache {
    /// Makes the block of `key` at linear `pc`, which the index does not have: a part of what was decoded, or newly decoded. The jump cache knows it from now
    /// on, if it is of one page.
    pub(super) fn make_block<T: Tier>(
        &mut self,
        cx: &mut Exec<'_>,
        tier: &mut T,
        pc: u64,
        key: Key,
        bits: CodeSize,
    ) -> Result<BlockId, Stop> {
        self.make_room(&mut cx.cpu.mem, tier);
        let start = key.pa();
        let ram = cx.cpu.mem.is_ram(start & !PAGE_MASK);
        let translated = tier.in_page(start);
        let (mut block, second_page) = match self.part(pc, cx.cpu.fetch_key(pc), key) {
            // What it is a part of is under watch, if it is in RAM.
            Some(block) => (block, None),
            None => {
                let (block, second_page) = self.decode_block(cx, pc, start, bits)?;
                if translated {
                    self.close_where_translated(&block, key, tier);
                }
                if ram {
                    let beyond = block.bytes_beyond(start);
                    cx.cpu.mem.mark_code(start, u32::from(block.bytes) - beyond as u32);
                    if let Some(page) = second_page {
                        cx.cpu.mem.mark_code(page, beyond as u32);
                    }
                }
                self.longest = self.longest.max(block.bytes);
                (block, second_page)
            }
        };
        block.set_runs(self.counts.take(key).into(), self.counts.counting);
        if translated {
            let slot = tier.find(start, key.mode());
            if slot != 0 {
                block.set_slot(slot);
            }
        }
        self.blocks.push(block);
        let id = self.index.add(key, second_page, ram);
        if second_page.is_none() {
            self.note_jump(pc, cx.cpu.fetch_key(pc), self.place(id));
        }
        Ok(id)
    }

    /// The block of `key` at linear `pc`, if it is a part of another: of the last one, or of any, where none was the last, where that is in another page of
    /// memory, or is itself a part, and this one before it. (Of its run what is before it may have been written since.)
    fn part(&self, pc: u64, seen: u32, key: Key) -> Option<Block> {
        let search = match self.within_page_of_last(pc, seen) {
            Some((last, lead)) if lead >= last.lead() && self.in_memory_page_of_last(key) => {
                let fork = self.behind_last_fork().filter(|behind| behind.lead <= lead);
                return self.part_of(last, fork.unwrap_or_else(|| last.begin()), lead);
            }
            Some(_) => true,
            None => !self.has_last(),
        };
        if search { self.around(key).find_map(|(block, lead)| self.part_of(block, block.begin(), lead)) } else { None }
    }

    /// The block `lead` bytes behind the beginning of the run of `block`, at `from` or behind it, if an instruction of `block` begins there.
    fn part_of(&self, block: &Block, from: Spot, lead: u64) -> Option<Block> {
        let bytes = (block.lead() + u64::from(block.bytes)).checked_sub(lead).filter(|&bytes| bytes != 0)?;
        if block.count == 0 || !block.can_be_hot() || block.crosses {
            return None;
        }
        let begin = self.seek(from, lead)?;
        let mut part = Block::new(begin.first, block.bits, self.counts.counting);
        part.set_within((begin.first - block.run()) as u8, lead as u16);
        part.count = begin.count as u8;
        (part.bytes, part.computed) = (bytes as u16, block.computed);
        Some(part)
    }

    /// The instruction `lead` bytes behind the beginning of its run, which is `from` or behind it in its block, if one begins there.
    pub(super) fn seek(&self, from: Spot, lead: u64) -> Option<Spot> {
        let insns = self.insns.from(from.first);
        let (mut at, mut places) = (from, 0);
        while at.lead < lead {
            let i = &insns[places];
            places += if i.goes_on() { 2 } else { 1 };
            (at.lead, at.count) = (at.lead + u64::from(i.len()), at.count - 1);
        }
        at.first += places as u32;
        (at.lead == lead).then_some(at)
    }

    /// Closes the forks of a block of `key`, newly decoded, where translated code begins behind them.
    fn close_where_translated<T: Tier>(&mut self, block: &Block, key: Key, tier: &T) {
        let (mut at, mut goes_on) = (key.pa(), false);
        let end = at + u64::from(block.bytes);
        for i in self.insns.get_mut(block.first) {
            if at == end {
                break;
            }
            if goes_on {
                i.close(tier.find(at, key.mode()) != 0);
            }
            goes_on = i.goes_on();
            at += u64::from(i.len());
        }
    }

    /// Decodes a block at linear `pc` and physical `start`. With it, the page that its only instruction ends in, where that is another one.
    fn decode_block(
        &mut self,
        cx: &mut Exec<'_>,
        pc: u64,
        start: u64,
        bits: CodeSize,
    ) -> Result<(Block, Option<u64>), Stop> {
        let stack = cx.cpu.stack_width();
        let (first, insns_and_end) = self.insns.next();
        // Room was made for the longest block and what stands behind it.
        let insns = &mut insns_and_end[..MAX_PLACES];
        let forms = &mut self.forms;
        let mut second_page = None;
        let in_page = (PAGE_SIZE - (start & PAGE_MASK)) as usize;
        // What reaches beyond CS's limit is not decoded.
        let most = if bits == CodeSize::Bits64 { usize::MAX } else { cx.cpu.code_within_limit() as usize };
        let ram = cx.cpu.mem.is_ram(start & !PAGE_MASK);
        let mut buffer = [0; 15];
        let mut run = if ram {
            let code = cx.cpu.mem.ram.slice(start, in_page.min(most)).unwrap_or_default();
            decode_run(insns, forms, code, bits, stack)
        } else {
            let n = in_page.min(buffer.len()).min(most);
            for (k, b) in buffer[..n].iter_mut().enumerate() {
                *b = cx.read_physical(start + k as u64, 1) as u8;
            }
            // Of a device no more is read than is executed.
            decode_run(&mut insns[..1], forms, &buffer[..n], bits, stack)
        };
        if run.bytes == 0 && run.error == Some(DecodeError::NeedMoreBytes) && most > in_page {
            if ram {
                let _ = cx.cpu.mem.ram.read_bytes(start, &mut buffer[..in_page.min(15)]);
            }
            let rest = buffer.get_mut(in_page..).unwrap_or_default();
            let next = fetch_address(cx, pc.wrapping_add(in_page as u64))?;
            second_page = Some(next & !PAGE_MASK);
            for (k, b) in rest.iter_mut().enumerate() {
                *b = cx.read_physical(next + k as u64, 1) as u8;
            }
            run = decode_run(&mut insns[..1], forms, &buffer[..most.min(15)], bits, stack);
        }
        let Run { count, places, bytes, last, error } = run;
        if bytes == 0 {
            return Err(match error {
                Some(DecodeError::Invalid) => cx.ud(),
                _ => cx.gp0(), // longer than 15 bytes, or beyond the limit
            });
        }
        let end = hot::fuse(&mut insns[..places], last.ends_block(), bytes);
        if let Some(end) = end {
            insns_and_end[places] = end;
        }
        self.insns.take(places + usize::from(end.is_some()));
        let mut block = Block::new(first, bits, self.counts.counting);
        block.count = count as u8;
        block.bytes = bytes as u16;
        block.crosses = second_page.is_some();
        if last.computed() {
            block.computed = self.targets.number();
        }
        self.decoded += count as u64;
        cx.platform.decoded(count as u64, cx.cpu.insns);
        Ok((block, second_page))
    }
}
