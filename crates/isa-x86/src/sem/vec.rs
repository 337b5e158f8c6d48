//! Operands of MMX and SSE instructions (SDM 1 chapters 9 and 10).
//!
//! Many rows have an MMX and an XMM form. An MMX register is a vector whose upper half reads as 0 and is dropped when written, so that
//! both forms are one function wherever the operation does not cross the halves.

use guest_api::{Align, EmitVector, Flag, Fp, Rel, Unit, Width, XSlot};

use super::Sem;
use super::helpers::ENTER_MMX;
use super::operand::address;
use crate::insn::{Insn, Kind};

/// XMM registers, usable while CR0.EM and CR0.TS are clear and CR4.OSFXSR is set.
pub const SSE: Unit = Unit(0);
/// MMX registers: CR0.EM and CR0.TS clear, no x87 exception pending.
pub const MMX: Unit = Unit(1);
/// Both at once.
pub const BOTH: Unit = Unit(2);

/// Slot of MM0; XMM registers are 0..=15.
pub const MM: u8 = 16;

/// The MMX form of an instruction that has both.
#[inline(always)]
pub fn is_mmx(i: &Insn) -> bool {
    i.kinds[0] == Kind::Mm || i.kinds[1] == Kind::Mm
}

/// Slot of register operand `n`.
#[inline(always)]
pub fn slot(i: &Insn, n: usize) -> XSlot {
    XSlot(if i.kinds[n] == Kind::Mm { MM + (i.regs[n] & 7) } else { i.regs[n] & 15 })
}

/// The checks that an instruction begins with.
#[inline(always)]
pub fn begin<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    e.require(if is_mmx(i) { MMX } else { SSE })
}

/// The 8-bit immediate.
#[inline(always)]
pub fn imm8(i: &Insn) -> u8 {
    i.imm() as u8
}

/// Loads the low `w` of the memory operand, zero-extended to 128 bits. No alignment is demanded.
#[inline(never)]
pub fn load_low<E: EmitVector>(e: &mut E, i: &Insn, w: Width) -> Result<E::X, E::Exit> {
    let a = address(e, i);
    let v = e.load(w, a, i.space)?;
    Ok(e.widen(v))
}

/// Loads the memory operand: 8 bytes for an MMX instruction, else 16, aligned.
#[inline(never)]
fn load<E: EmitVector>(e: &mut E, i: &Insn) -> Result<E::X, E::Exit> {
    if is_mmx(i) {
        return load_low(e, i, Width::W64);
    }
    let a = address(e, i);
    e.loadx(Align::Natural, a, i.space)
}

/// Operand `n`: a register, or memory of the register's size, which for XMM must be aligned.
#[inline(always)]
pub fn source<E: EmitVector>(e: &mut E, i: &Insn, n: usize) -> Result<E::X, E::Exit> {
    if i.kinds[n] == Kind::Mem { load(e, i) } else { Ok(e.getx(slot(i, n))) }
}

/// Operand `n`: an XMM or MMX register, or memory of width `w`.
#[inline(always)]
pub fn source_low<E: EmitVector>(e: &mut E, i: &Insn, n: usize, w: Width) -> Result<E::X, E::Exit> {
    if i.kinds[n] == Kind::Mem { load_low(e, i, w) } else { Ok(e.getx(slot(i, n))) }
}

/// Operand `n` of a floating-point operation: memory is as wide as what is computed.
#[inline(always)]
pub fn source_fp<E: EmitVector>(e: &mut E, i: &Insn, n: usize, shape: Fp) -> Result<E::X, E::Exit> {
    match shape {
        Fp::S32 => source_low(e, i, n, Width::W32),
        Fp::S64 => source_low(e, i, n, Width::W64),
        Fp::P32 | Fp::P64 => source(e, i, n),
    }
}

/// What all MMX instructions but EMMS do to the x87 state: TOP = 0, no register empty (SDM 1 9.5.1). To be called when nothing
/// can fault any more.
#[inline(always)]
pub fn enter_mmx<E: EmitVector>(e: &mut E) -> Sem<E> {
    e.helper(ENTER_MMX, &[]).map(|_| ())
}

/// Writes the destination, operand 0.
#[inline(always)]
pub fn finish<E: EmitVector>(e: &mut E, i: &Insn, r: E::X) -> Sem<E> {
    if i.kinds[0] == Kind::Mm {
        enter_mmx(e)?;
    }
    e.putx(slot(i, 0), r);
    Ok(())
}

/// Both operands of an instruction of the form `dst = dst op src`.
#[inline(always)]
pub fn operands<E: EmitVector>(e: &mut E, i: &Insn) -> Result<(E::X, E::X), E::Exit> {
    if i.kinds[0] == Kind::Xmm && i.kinds[1] == Kind::Xmm {
        e.require(SSE)?;
        return Ok((e.getx(slot(i, 0)), e.getx(slot(i, 1))));
    }
    other_operands(e, i)
}

#[inline(never)]
fn other_operands<E: EmitVector>(e: &mut E, i: &Insn) -> Result<(E::X, E::X), E::Exit> {
    begin(e, i)?;
    let b = source(e, i, 1)?;
    Ok((e.getx(slot(i, 0)), b))
}

/// `dst = f(dst, src)`.
#[inline(always)]
pub fn binary<E: EmitVector>(e: &mut E, i: &Insn, f: impl FnOnce(&mut E, E::X, E::X) -> E::X) -> Sem<E> {
    let (a, b) = operands(e, i)?;
    let r = f(e, a, b);
    finish(e, i, r)
}

/// `dst = f(src)`.
#[inline(always)]
pub fn unary<E: EmitVector>(e: &mut E, i: &Insn, f: impl FnOnce(&mut E, E::X) -> E::X) -> Sem<E> {
    begin(e, i)?;
    let b = source(e, i, 1)?;
    let r = f(e, b);
    finish(e, i, r)
}

/// Sets ZF, PF (clear where not given) and CF, and clears OF, SF and AF: as COMISx and PTEST do.
#[inline(always)]
pub fn set_zf_pf_cf<E: EmitVector>(e: &mut E, zero: E::C, parity: Option<E::C>, carry: E::C) {
    // A result of 1 has an odd number of bits set, is not 0 and not negative.
    let (one, no) = (e.imm(1), e.imm(0));
    let no = e.rel_imm(Rel::Ne, no, 0);
    e.flags_with(Width::W8, one, carry, no);
    e.set_flag(Flag::Zero, zero);
    if let Some(p) = parity {
        e.set_flag(Flag::Parity, p);
    }
}
