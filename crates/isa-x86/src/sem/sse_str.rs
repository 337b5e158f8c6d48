//! SSE4.2 string comparison: PCMPESTRI, PCMPESTRM, PCMPISTRI, PCMPISTRM (SDM 2 4.1). Of the interpreter only: one call each.

use guest_api::{Align, Emit, EmitVector, Flag, Slot, Width, XSlot};

use super::operand::{address, write_gpr};
use super::vec::{SSE, slot};
use crate::cpu::{RAX, RCX, RDX};
use crate::exec::Exec;
use crate::fault::Stop;
use crate::insn::{Insn, Kind};

/// What the immediate says about the elements.
#[derive(Clone, Copy)]
struct Format {
    imm: u8,
    /// Elements in a vector: 16 bytes or 8 words.
    count: usize,
}

impl Format {
    fn new(imm: u8) -> Format {
        Format { imm, count: if imm & 1 == 0 { 16 } else { 8 } }
    }

    /// Element `k`, sign-extended where the elements are signed.
    fn element(self, v: u128, k: usize) -> i32 {
        match self.imm & 3 {
            0 => i32::from((v >> (8 * k)) as u8),
            1 => i32::from((v >> (16 * k)) as u16),
            2 => i32::from((v >> (8 * k)) as i8),
            _ => i32::from((v >> (16 * k)) as i16),
        }
    }

    /// Elements before the first that is 0.
    fn implicit_length(self, v: u128) -> usize {
        (0..self.count).find(|&k| self.element(v, k) == 0).unwrap_or(self.count)
    }

    /// The magnitude of a length register's value, saturated.
    fn explicit_length(self, v: i64) -> usize {
        v.unsigned_abs().min(self.count as u64) as usize
    }

    /// IntRes1 and IntRes2: the comparison's bits, and those after the polarity. `a` (operand 1) and `b` have `la` and `lb` elements.
    fn compare(self, a: u128, la: usize, b: u128, lb: usize) -> u32 {
        let n = self.count;
        let x = |k| self.element(a, k);
        let y = |k| self.element(b, k);
        let mut r = 0;
        for j in 0..n {
            let hit = match self.imm >> 2 & 3 {
                // Equal any: element j of operand 2 is in the set of operand 1.
                0 => j < lb && (0..la).any(|k| x(k) == y(j)),
                // Ranges: it is in one of operand 1's ranges.
                1 => j < lb && (0..la / 2).any(|k| x(2 * k) <= y(j) && y(j) <= x(2 * k + 1)),
                // Equal each: behind both ends elements are equal, behind one they are not.
                2 => match (j < la, j < lb) {
                    (true, true) => x(j) == y(j),
                    (false, false) => true,
                    _ => false,
                },
                // Equal ordered: operand 1 begins at j in operand 2; what is beyond the vector counts as a match.
                _ => (0..la.min(n - j)).all(|k| j + k < lb && x(k) == y(j + k)),
            };
            r |= u32::from(hit) << j;
        }
        let all = (1 << n) - 1;
        match self.imm >> 4 & 3 {
            1 => r ^ all,
            // Masked: only the elements that operand 2 has.
            3 => r ^ ((1 << lb) - 1),
            _ => r,
        }
    }

    /// The result as a mask, one bit or all bits an element.
    fn mask(self, r: u32) -> u128 {
        if self.imm & 0x40 == 0 {
            return r.into();
        }
        let size = 128 / self.count as u32;
        let ones = u128::MAX >> (128 - size);
        (0..self.count as u32).fold(0, |m, k| if r >> k & 1 != 0 { m | ones << (k * size) } else { m })
    }

    /// The number of the lowest or highest bit set, the count of elements if none is.
    fn index(self, r: u32) -> u64 {
        let i = if self.imm & 0x40 == 0 { r.trailing_zeros() } else { 31u32.wrapping_sub(r.leading_zeros()) };
        if r == 0 { self.count as u64 } else { i.into() }
    }
}

/// Runs the comparison and sets the flags; the format and IntRes2.
fn run(cx: &mut Exec<'_>, i: &Insn, explicit: Option<Width>) -> Result<(Format, u32), Stop> {
    cx.require(SSE)?;
    let b = if i.kinds[1] == Kind::Mem {
        let at = address(cx, i);
        cx.loadx(Align::Any, at, i.space)?
    } else {
        cx.getx(slot(i, 1))
    };
    let a = cx.getx(slot(i, 0));
    let f = Format::new(i.imm as u8);
    let (la, lb) = match explicit {
        None => (f.implicit_length(a), f.implicit_length(b)),
        Some(w) => {
            let mut length = |r: u8| {
                let v = cx.get(Slot(r));
                f.explicit_length(cx.sext(w, v) as i64)
            };
            (length(RAX), length(RDX))
        }
    };
    let r = f.compare(a, la, b, lb);
    // CF: any bit; ZF and SF: operand 2 and 1 end here; OF: bit 0; AF and PF clear.
    cx.flags_with(Width::W8, 1, r != 0, r & 1 != 0);
    cx.set_flag(Flag::Zero, lb < f.count);
    cx.set_flag(Flag::Sign, la < f.count);
    Ok((f, r))
}

fn to_index(cx: &mut Exec<'_>, f: Format, r: u32) {
    write_gpr(cx, Width::W32, RCX, f.index(r));
}
fn to_mask(cx: &mut Exec<'_>, f: Format, r: u32) {
    cx.putx(XSlot(0), f.mask(r));
}

pub fn pcmpestri(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
    let (f, r) = run(cx, i, Some(Width::W32))?;
    to_index(cx, f, r);
    Ok(())
}
pub fn pcmpestri64(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
    let (f, r) = run(cx, i, Some(Width::W64))?;
    to_index(cx, f, r);
    Ok(())
}
pub fn pcmpestrm(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
    let (f, r) = run(cx, i, Some(Width::W32))?;
    to_mask(cx, f, r);
    Ok(())
}
pub fn pcmpestrm64(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
    let (f, r) = run(cx, i, Some(Width::W64))?;
    to_mask(cx, f, r);
    Ok(())
}
pub fn pcmpistri(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
    let (f, r) = run(cx, i, None)?;
    to_index(cx, f, r);
    Ok(())
}
pub fn pcmpistrm(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
    let (f, r) = run(cx, i, None)?;
    to_mask(cx, f, r);
    Ok(())
}
