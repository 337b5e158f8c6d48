//! Making a block: its bytes are fetched, decoded, and entered.

use guest_api::{Tier, Width};
use mem::{PAGE_MASK, PAGE_SIZE};

use crate::cpu::CodeSize;
use crate::decode::{DecodeError, Found, decode_complete, decode_frequent};
use crate::exec::Exec;
use crate::fault::Stop;
use crate::sys::paging::fetch_address;

use super::block::{Block, BlockId};
use super::cache::{CodeCache, MAX_INSNS};
use super::hot::{self, NO_ARM};
use super::index::Key;
use super::packed::{Forms, Packed};

/// Decodes the instruction at the start of `bytes`, `off` bytes behind its block's start, to `place`, for which `forms` has room.
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
    let mut run = Run { count: 0, bytes: 0, last: Found::default(), error: None };
    for place in insns {
        let Some(rest @ [_, ..]) = code.get(run.bytes..) else { break };
        match decode_to(place, forms, rest, bits, stack, run.bytes as u16) {
            Ok(found) => run.last = found,
            Err(e) => {
                run.error = Some(e);
                break;
            }
        }
        run.count += 1;
        run.bytes += run.last.len();
        if run.last.ends_block() {
            break;
        }
    }
    run
}

impl CodeCache {
    /// Decodes the block of `key` at linear `pc`.
    pub(super) fn decode_block<T: Tier>(
        &mut self,
        cx: &mut Exec<'_>,
        tier: &mut T,
        pc: u64,
        key: Key,
        bits: CodeSize,
    ) -> Result<BlockId, Stop> {
        self.make_room(&mut cx.cpu.mem, tier);
        let start = key.pa();
        let stack = cx.cpu.stack_width();
        let (first, places) = self.insns.next();
        // Room was made for the longest block and what stands behind it.
        let insns = &mut places[..MAX_INSNS];
        let forms = &mut self.forms;
        let mut second_page = None;
        let in_page = (PAGE_SIZE - (start & PAGE_MASK)) as usize;
        let ram = cx.cpu.mem.is_ram(start & !PAGE_MASK);
        let mut buffer = [0; 15];
        let mut run = if ram {
            let code = cx.cpu.mem.ram.slice(start, in_page).unwrap_or_default();
            decode_run(insns, forms, code, bits, stack)
        } else {
            let n = in_page.min(buffer.len());
            for (k, b) in buffer[..n].iter_mut().enumerate() {
                *b = cx.read_physical(start + k as u64, 1) as u8;
            }
            // Of a device no more is read than is executed.
            decode_run(&mut insns[..1], forms, &buffer[..n], bits, stack)
        };
        if run.bytes == 0 && run.error == Some(DecodeError::NeedMoreBytes) {
            if ram {
                let _ = cx.cpu.mem.ram.read_bytes(start, &mut buffer[..in_page.min(15)]);
            }
            let rest = buffer.get_mut(in_page..).unwrap_or_default();
            let next = fetch_address(cx, pc.wrapping_add(in_page as u64))?;
            second_page = Some(next & !PAGE_MASK);
            for (k, b) in rest.iter_mut().enumerate() {
                *b = cx.read_physical(next + k as u64, 1) as u8;
            }
            run = decode_run(&mut insns[..1], forms, &buffer, bits, stack);
        }
        let Run { count, bytes, last, error } = run;
        if bytes == 0 {
            return Err(match error {
                Some(DecodeError::Invalid) => cx.ud(),
                _ => cx.gp0(), // longer than 15 bytes
            });
        }
        let end = hot::fuse(&mut insns[..count], last.ends_block(), bytes);
        if let Some(end) = end {
            places[count] = end;
        }
        self.insns.take(count + usize::from(end.is_some()));
        let mut block = Block::new(first, bits, self.counts.take(key), self.counts.counting);
        block.count = count as u8;
        block.bytes = bytes as u16;
        block.crosses = second_page.is_some();
        if last.computed() {
            block.computed = self.targets.number();
        }
        // Translated code is under watch: where no line is there is none.
        if !ram || cx.cpu.mem.holds_code(start, 1) {
            let slot = tier.find(start, key.mode());
            if slot != 0 {
                block.set_slot(slot);
            }
        }
        if ram {
            cx.cpu.mem.mark_code(start, bytes.min(in_page) as u32);
            if let Some(page) = second_page {
                cx.cpu.mem.mark_code(page, block.bytes_beyond(start) as u32);
            }
        }
        self.longest = self.longest.max(block.bytes);
        self.decoded += count as u64;
        cx.platform.decoded(count as u64, cx.cpu.insns);
        self.blocks.push(block);
        Ok(self.index.add(key, second_page, ram))
    }
}
