//! Decodes what [`super::encodings`] has: nearly all that 64-bit programs consist of, several times as fast as a complete decoder does.
//!
//! Which form an instruction has is as good as random, so that a branch on it is mispredicted: what can be is computed.

use guest_api::{Space, Width};

use crate::cpu::{BLOCK, SEG_BASE, SegReg, ZERO};
use crate::insn::{Insn, Kind, STACK};
use crate::interp::hot_arm;

use super::MAX_LEN;
use super::encodings::{BYTE_REGISTER, ENDS_BLOCK, KNOWN, MEMORY, MODRM, REGISTER, RELATIVE, SIGNED, STRING, TABLES};

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

/// What a ModRM byte says of a memory operand (SDM 2 table 2-2).
#[derive(Clone, Copy)]
struct Address {
    base: u8,
    /// Bits of the base that REX.B adds.
    extension: u8,
    /// Bytes of displacement.
    displacement: u8,
    sib: bool,
    /// Relative to the next instruction.
    relative: bool,
}

static ADDRESSES: [Address; 192] = {
    let mut all = [Address { base: ZERO, extension: 0, displacement: 0, sib: false, relative: false }; 192];
    let mut modrm = 0;
    while modrm < 192 {
        let (mode, rm) = (modrm as u8 >> 6, modrm as u8 & 7);
        let a = &mut all[modrm];
        a.displacement = [0, 1, 4][mode as usize];
        match (mode, rm) {
            (_, 4) => a.sib = true,
            (0, 5) => (a.base, a.displacement, a.relative) = (BLOCK, 4, true),
            _ => (a.base, a.extension) = (rm, 8),
        }
        modrm += 1;
    }
    all
};

/// Decodes the instruction of 64-bit code at the start of `bytes`, `off` bytes behind its block's start, to `i`; whether its block ends
/// behind it. `None` where it is not in the tables, or is longer than `bytes`.
#[inline(always)]
pub(super) fn decode(i: &mut Insn, bytes: &[u8], off: u16) -> Option<bool> {
    let last;
    let window = match bytes.first_chunk() {
        Some(window) => window,
        None => {
            last = padded(bytes);
            &last
        }
    };
    within(i, window, off).filter(|_| usize::from(i.len) <= bytes.len())
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

/// `bytes` bytes at `at`, as a number; its sign extended or not.
#[inline(always)]
fn number(window: &[u8; WINDOW], at: usize, bytes: u8, signed: bool) -> u64 {
    let shift = (64 - 8 * u32::from(bytes)) & 63;
    let up = eight(window, at) << shift;
    let v = if signed { (up as i64 >> shift) as u64 } else { up >> shift };
    if bytes == 0 { 0 } else { v }
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

#[inline(never)]
fn within(i: &mut Insn, window: &[u8; WINDOW], off: u16) -> Option<bool> {
    let (mut count, mut map, mut segment) = (0, 0, ZERO);
    if PREFIXES[usize::from(window[0])] != 0 {
        [count, map, segment, _] = prefixes(window).to_le_bytes();
        if count == 0 {
            return None;
        }
    }
    let (count, map) = (usize::from(count), usize::from(map));
    // Opcode, ModRM and SIB lie within eight bytes. Each step shifts its byte out.
    let mut rest = eight(window, count);
    let has_rex = rest & 0xf0 == 0x40;
    let rex = if has_rex { rest as u8 } else { 0 };
    rest >>= 8 * u32::from(has_rex);
    let two = rest as u8 == 0x0f;
    rest >>= 8 * u32::from(two);
    let [opcode, modrm, sib, ..] = rest.to_le_bytes();
    let size = usize::from(rex >> 2 & 2 | u8::from(map == 1));
    let entry = TABLES.maps[(map | usize::from(two) << 2) & 7][usize::from(opcode)];
    let row = TABLES.rows.get(usize::from(entry & 0x1fff) + usize::from(u16::from(modrm >> 3) & entry >> 13))?;
    if row.form & KNOWN == 0 {
        return None;
    }
    let sizes = &row.sizes[size & 3];
    let has_modrm = row.form & MODRM != 0;
    let mut at = count + usize::from(has_rex) + usize::from(two) + 1 + usize::from(has_modrm);
    // An assignment would copy field by field.
    core::slice::from_mut(i).copy_from_slice(core::slice::from_ref(&row.insn));
    i.off = off;
    i.widths = sizes.widths;

    let reg = modrm >> 3 & 7 | (rex & 4) << 1;
    let mut rm = if has_modrm { modrm } else { opcode } & 7 | (rex & 1) << 3;
    let mut relative = false;
    let mut disp = 0;
    let memory = has_modrm && modrm < 0xc0;
    if memory {
        if row.form & MEMORY == 0 {
            return None;
        }
        rm = 0;
        (i.kinds, i.hot) = (row.memory, sizes.hot[1]);
        let a = &ADDRESSES[usize::from(modrm)];
        let mut base = a.base | rex << 3 & a.extension;
        let mut bytes = a.displacement;
        relative = a.relative;
        if a.sib {
            at += 1;
            let index = sib >> 3 & 7 | (rex & 2) << 2;
            i.index = if index == 4 { ZERO } else { index };
            i.scale = sib >> 6;
            let no_base = sib & 7 == 5 && modrm < 0x40;
            base = if no_base { ZERO } else { sib & 7 | (rex & 1) << 3 };
            bytes = if no_base { 4 } else { bytes };
        }
        disp = number(window, at, bytes, true);
        at += usize::from(bytes);
        i.base = base;
        i.seg_base = segment;
        i.space = if base & !1 == 4 && segment == ZERO { STACK } else { Space::FLAT };
    } else {
        if (has_modrm && row.form & REGISTER == 0) || (row.form & STRING != 0 && segment != ZERO) {
            return None;
        }
        i.hot = sizes.hot[0];
    }
    let regs = row.regs | u32::from(reg) << (row.reg_shift & 31) | u32::from(rm) << (row.rm_shift & 31);
    i.regs = [regs as u8, (regs >> 8) as u8, (regs >> 16) as u8];
    if row.form & BYTE_REGISTER != 0 && !has_rex {
        high_bytes(i);
    }
    let immediate = sizes.immediate & (SIGNED - 1);
    let imm = number(window, at, immediate, sizes.immediate & SIGNED != 0);
    at += usize::from(immediate);
    if at > MAX_LEN {
        return None;
    }
    i.len = at as u8;
    let branch = if row.form & RELATIVE != 0 { at as u64 } else { 0 };
    let imm = u64::from(row.imm).wrapping_add(imm).wrapping_add(branch);
    let disp = disp.wrapping_add(if relative { u64::from(off) + at as u64 } else { 0 });
    i.set_constants_beside(memory, imm, disp);
    Some(row.form & ENDS_BLOCK != 0)
}

/// Without a REX prefix, byte registers 4 to 7 are AH, CH, DH and BH.
#[inline]
fn high_bytes(i: &mut Insn) {
    for (n, w) in [i.width(), i.src_width()].into_iter().enumerate() {
        if i.kinds[n] == Kind::Gpr && w == Width::W8 && i.regs[n] & 4 != 0 {
            (i.kinds[n], i.regs[n]) = (Kind::GprHigh, i.regs[n] & 3);
            i.hot = hot_arm(i);
        }
    }
}
