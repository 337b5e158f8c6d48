//! Decodes what [`super::encodings`] has: nearly all that 64-bit programs consist of, ten times as fast as a complete decoder does, to what the
//! interpreter keeps.
//!
//! Which form an instruction has is as good as random, so that a branch on it is mispredicted: what is little work is computed.

use crate::cpu::{BLOCK, SEG_BASE, SegReg, ZERO};
use crate::insn::Insn;
use crate::interp::{Constants, Head, Packed};

use super::MAX_LEN;
use super::encodings::{
    BRANCH, COMPUTED, ENDS_BLOCK, FLAT, IMMEDIATE, IN_FS, MAPPED, MEMORY, MODRM, NO_NUMBER, NUMBERS, NUMBERS_BYTES,
    ON_STACK, P66, REGISTER, SIGNED_8, SIGNED_32, SIZES, STRING, TABLE, TWO, form_of_row,
};

/// Bytes that are looked at: an instruction, and what a wide read of its last byte takes along.
const WINDOW: usize = 24;

/// Classes of prefixes: 66, F3 and F2 by the map that they select.
const SEGMENT: u8 = 4;
/// CS, DS, ES, SS: without effect.
const IGNORED: u8 = 5;
/// LOCK, and addresses of 32 bits.
const OTHER: u8 = 6;

static PREFIXES: [u8; 256] = {
    let mut p = [0; 256];
    (p[0x66], p[0xf3], p[0xf2]) = (1, 2, 3);
    (p[0x64], p[0x65]) = (SEGMENT, SEGMENT);
    (p[0x26], p[0x2e], p[0x36], p[0x3e]) = (IGNORED, IGNORED, IGNORED, IGNORED);
    (p[0x67], p[0xf0]) = (OTHER, OTHER);
    p
};

/// What a ModRM byte says (SDM 2 table 2-2), with REX.B still to be added.
#[derive(Clone, Copy)]
struct Address {
    /// [`ZERO`] where r/m is a register.
    base: u8,
    /// Bits of the base that REX.B adds.
    extension: u8,
    /// The kind of displacement.
    displacement: u8,
    /// [`SIB`], [`RELATIVE`].
    more: u8,
}

const SIB: u8 = 1;
/// Relative to the next instruction.
const RELATIVE: u8 = 2;

static ADDRESSES: [Address; 256] = {
    let mut all = [Address { base: ZERO, extension: 0, displacement: NO_NUMBER, more: 0 }; 256];
    let mut modrm = 0;
    while modrm < 0xc0 {
        let (mode, rm) = (modrm as u8 >> 6, modrm as u8 & 7);
        let a = &mut all[modrm];
        a.displacement = [NO_NUMBER, SIGNED_8, SIGNED_32][mode as usize];
        match (mode, rm) {
            (_, 4) => a.more = SIB,
            (0, 5) => (a.base, a.displacement, a.more) = (BLOCK, SIGNED_32, RELATIVE),
            _ => (a.base, a.extension) = (rm, 8),
        }
        modrm += 1;
    }
    all
};

/// What is told of a decoded instruction beside itself: its length, and bits of [`Row::form`](super::encodings::Row::form) above. A
/// word, which is returned in a register; 0: none was decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Found(u32);

impl Found {
    pub(crate) fn of(i: &Insn) -> Found {
        let ends = if i.ends_block() { ENDS_BLOCK } else { 0 };
        let computed = if i.jumps_computed() { COMPUTED } else { 0 };
        Found(u32::from(i.len) | u32::from(ends | computed) << 4)
    }
    pub(crate) fn len(self) -> usize {
        self.0 as usize & 15
    }
    /// Its block ends behind it.
    pub(crate) fn ends_block(self) -> bool {
        self.0 >> 4 & u32::from(ENDS_BLOCK) != 0
    }
    /// By a computed jump.
    pub(crate) fn computed(self) -> bool {
        self.0 >> 4 & u32::from(COMPUTED) != 0
    }
}

/// Decodes the instruction of 64-bit code at the start of `bytes`, `off` bytes behind its block's start, to `place`. `None` where it
/// is not in the tables, or is longer than `bytes`.
#[inline(always)]
pub(crate) fn decode(place: &mut Packed, bytes: &[u8], off: u16) -> Option<Found> {
    let last;
    let window = match bytes.first_chunk() {
        Some(window) => window,
        None => {
            last = padded(bytes);
            &last
        }
    };
    let plain = PREFIXES[usize::from(window[0])] == 0;
    let found = if plain { one_byte(place, window, off) } else { prefixed(place, window, off) };
    (found.0 != 0 && found.len() <= bytes.len()).then_some(found)
}

/// What `bytes` begins with, and zeros.
#[cold]
#[inline(never)]
fn padded(bytes: &[u8]) -> [u8; WINDOW] {
    let mut window = [0; WINDOW];
    let n = bytes.len().min(WINDOW);
    window[..n].copy_from_slice(&bytes[..n]);
    window
}

/// Prefixes before REX; more are for the complete decoder.
const MAX_PREFIXES: u8 = 4;

/// Eight bytes at `at`. No instruction has one beyond 15: the mask spares the check.
#[inline(always)]
fn eight(window: &[u8; WINDOW], at: usize) -> u64 {
    window[at & 15..].first_chunk().map_or(0, |b| u64::from_le_bytes(*b))
}

/// The number of this kind at `at`.
#[inline(always)]
fn number(window: &[u8; WINDOW], at: usize, kind: u8) -> u64 {
    let kind = &NUMBERS[usize::from(kind & 7)];
    ((eight(window, at) & kind.mask) ^ kind.flipped).wrapping_sub(kind.less)
}

/// Bytes of a number of this kind.
#[inline(always)]
fn bytes_of(kind: u8) -> usize {
    (NUMBERS_BYTES >> (4 * (kind & 7)) & 15) as usize
}

/// The prefixes before REX: their number (0: these are none of the usual ones), the map that they select, the slot of the segment base. As
/// a little-endian word, which is returned in a register.
#[inline(never)]
fn prefixes(window: &[u8; WINDOW]) -> u32 {
    let (mut map, mut segment, mut segments) = (0, ZERO, false);
    for (count, &b) in (0..=MAX_PREFIXES).zip(window) {
        match PREFIXES[usize::from(b)] {
            0 => return u32::from_le_bytes([count, map, segment, 0]),
            SEGMENT if !segments => segment = SEG_BASE + if b == 0x64 { SegReg::Fs } else { SegReg::Gs } as u8,
            IGNORED if !segments => {}
            m @ 1..=3 if map == 0 => map = m,
            _ => return 0,
        }
        segments |= PREFIXES[usize::from(b)] >= SEGMENT;
    }
    0
}

/// Prefixes before REX, as [`prefixes`] tells of them.
struct Before {
    count: u8,
    map: u8,
    segment: u8,
}

const NOTHING: Before = Before { count: 0, map: 0, segment: ZERO };

/// Opcodes of one byte, without a prefix before REX: three of four instructions.
#[inline(never)]
fn one_byte(place: &mut Packed, window: &[u8; WINDOW], off: u16) -> Found {
    within::<false>(place, window, off, NOTHING)
}

#[inline(never)]
fn two_bytes(place: &mut Packed, window: &[u8; WINDOW], off: u16) -> Found {
    within::<true>(place, window, off, NOTHING)
}

#[inline(never)]
fn prefixed(place: &mut Packed, window: &[u8; WINDOW], off: u16) -> Found {
    let [count, map, segment, _] = prefixes(window).to_le_bytes();
    if count == 0 {
        return NONE;
    }
    within::<true>(place, window, off, Before { count: count & 7, map: map & 3, segment })
}

const NONE: Found = Found(0);

/// All that is done for each of nearly all instructions; what is seldom is for the complete decoder. The next instruction waits until it is known
/// how long this one is. `TWO_BYTES`: the opcode may have two.
#[inline(always)]
fn within<const TWO_BYTES: bool>(place: &mut Packed, window: &[u8; WINDOW], off: u16, before: Before) -> Found {
    let Before { count, map, segment } = before;
    let mut at = usize::from(count);
    let first = window[at];
    let has_rex = first & 0xf0 == 0x40;
    let rex = if has_rex { first } else { 0 };
    at += usize::from(has_rex);
    let mut map = usize::from(map);
    // Opcode, ModRM and SIB.
    let mut rest = eight(window, at) as u32;
    if rest as u8 == 0x0f {
        if !TWO_BYTES {
            return two_bytes(place, window, off);
        }
        map += TWO;
        at += 1;
        rest >>= 8;
    }
    let [opcode, modrm, sib, _] = rest.to_le_bytes();
    let size = usize::from(rex >> 2 & 2 | u8::from(map & 3 == P66));
    let entry = MAPPED[map & 7][usize::from(opcode)];
    let encoding = usize::from(entry & 0x1fff) + usize::from(u16::from(modrm >> 3) & entry >> 13);
    let row_number = encoding * SIZES + size;
    let Some(row) = TABLE.get(row_number) else { return NONE };
    let has_modrm = row.form & MODRM;
    at += 1 + usize::from(has_modrm);
    // What names a register in its opcode does so as ModRM would.
    let rm = if has_modrm != 0 { modrm } else { opcode };
    let mut head = Head {
        arm: row.arms[0],
        above: row.immediate >> 4,
        form: form_of_row(row_number),
        base: ZERO,
        index: ZERO,
        ..Head::default()
    };
    let mut rm_reg = u16::from(rm & 7 | (rex & 1) << 3);
    let constants;
    if has_modrm != 0 && modrm < 0xc0 {
        if row.form & MEMORY == 0 {
            return NONE;
        }
        rm_reg = 0;
        let a = &ADDRESSES[usize::from(modrm)];
        let mut base = a.base | rex << 3 & a.extension;
        let mut displacement = a.displacement;
        let mut plain = segment == ZERO;
        if a.more & SIB != 0 {
            at += 1;
            let index = sib >> 3 & 7 | (rex & 2) << 2;
            plain &= index == 4;
            head.index = if index == 4 { ZERO } else { index } | sib >> 6 << 5;
            let no_base = sib & 7 == 5 && modrm < 0x40;
            base = if no_base { ZERO } else { sib & 7 | (rex & 1) << 3 };
            displacement = if no_base { SIGNED_32 } else { displacement };
        }
        let mut disp = number(window, at, displacement);
        at += bytes_of(displacement);
        let imm = number(window, at, row.immediate);
        at += usize::from(row.bytes);
        disp = disp.wrapping_add(if a.more & RELATIVE != 0 { u64::from(off) + at as u64 } else { 0 });
        let beside = row.form & IMMEDIATE != 0;
        if beside && disp as i32 as u64 != disp {
            return NONE;
        }
        constants = Constants::displacement(disp, imm, beside);
        head.base = base;
        head.above = segment - ZERO;
        head.arm = row.arms[if plain { 1 } else { 2 }];
        head.form += match segment {
            ZERO if base & !1 == 4 => ON_STACK,
            ZERO => FLAT,
            _ => u16::from(segment) - FS + IN_FS,
        };
    } else {
        if row.form & REGISTER == 0 || segment != ZERO && row.form & STRING != 0 {
            return NONE;
        }
        constants = Constants::immediate(number(window, at, row.immediate));
        at += usize::from(row.bytes);
    }
    let reg = u16::from(modrm >> 3 & 7 | (rex & 4) << 1);
    head.regs = row.regs | reg.wrapping_mul(row.reg_unit) | rm_reg.wrapping_mul(row.rm_unit);
    let high = if has_rex { 0 } else { row.high };
    if at > MAX_LEN || head.regs & high != 0 {
        return NONE;
    }
    head.len = at as u8;
    place.set(constants.of_branch(row.form & BRANCH != 0, off.wrapping_add(at as u16)), head);
    Found(at as u32 | u32::from(row.form) << 4)
}

/// The slot of FS's base.
const FS: u16 = (SEG_BASE + SegReg::Fs as u8) as u16;
