//! Multiplication, division and sign extension of the accumulator (SDM 2: MUL, IMUL, DIV, IDIV, CBW, CWD).

use guest_api::{Bin, Emit, Rel, Width};

use super::operand::{read, read_gpr, write, write_gpr};
use super::{Sem, helpers};
use crate::cpu::{RAX, RDX};
use crate::fault::TRAP_DE;
use crate::insn::{Insn, Kind};

/// The double-width accumulator's high and low halves: AH:AL, DX:AX, EDX:EAX, RDX:RAX.
#[inline(always)]
fn put_pair<E: Emit>(e: &mut E, w: Width, high: E::V, low: E::V) {
    if w == Width::W8 {
        let high = e.shift_imm(Bin::Shl, high, 8);
        let both = e.or(high, low);
        write_gpr(e, Width::W16, RAX, both);
    } else {
        write_gpr(e, w, RAX, low);
        write_gpr(e, w, RDX, high);
    }
}

/// The double-width accumulator as one value. `w` is not 64.
#[inline(always)]
fn get_pair<E: Emit>(e: &mut E, w: Width) -> E::V {
    if w == Width::W8 {
        return read_gpr(e, Width::W16, RAX);
    }
    let low = read_gpr(e, w, RAX);
    let high = read_gpr(e, w, RDX);
    let high = e.shift_imm(Bin::Shl, high, w.bits());
    e.or(high, low)
}

/// The double-width product of `a` and `b`: its halves, and whether the high half says more than the low one.
#[inline(always)]
fn product<E: Emit>(e: &mut E, w: Width, signed: bool, a: E::V, b: E::V) -> (E::V, E::V, E::C) {
    if w == Width::W64 {
        let low = e.bin(Bin::Mul, a, b);
        let high = e.bin(if signed { Bin::MulHiS } else { Bin::MulHiU }, a, b);
        let more = if signed { e.overflows_signed(a, b) } else { e.rel_imm(Rel::Ne, high, 0) };
        return (high, low, more);
    }
    let (a, b) = if signed { (e.sext(w, a), e.sext(w, b)) } else { (a, b) };
    let p = e.bin(Bin::Mul, a, b);
    let low = e.zext(w, p);
    let high = e.shift_imm(Bin::ShrU, p, w.bits());
    let high = e.zext(w, high);
    let expected = if signed { e.sext(w, p) } else { low };
    let more = e.rel(Rel::Ne, p, expected);
    (high, low, more)
}

/// SF, ZF and PF are undefined after a multiplication: they come from the low half.
#[inline(always)]
fn multiply<E: Emit>(e: &mut E, i: &Insn, signed: bool) -> Sem<E> {
    let w = i.width();
    let b = read(e, i, 0, w)?;
    let a = read_gpr(e, w, RAX);
    let (high, low, more) = product(e, w, signed, a, b);
    put_pair(e, w, high, low);
    e.flags_with(w, low, more, more);
    Ok(())
}

#[inline(always)]
pub fn mul<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    multiply(e, i, false)
}

/// IMUL with one, two or three operands.
#[inline(always)]
pub fn imul<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    if i.kinds[1] == Kind::None {
        return multiply(e, i, true);
    }
    let w = i.width();
    let (first, second) = if i.kinds[2] == Kind::None { (0, 1) } else { (1, 2) };
    let a = read(e, i, first, w)?;
    let b = read(e, i, second, w)?;
    let (_, low, more) = product(e, w, true, a, b);
    write(e, i, 0, w, low)?;
    e.flags_with(w, low, more, more);
    Ok(())
}

/// The flags are undefined after a division: they stay.
#[inline(always)]
fn divide<E: Emit>(e: &mut E, i: &Insn, signed: bool) -> Sem<E> {
    let w = i.width();
    let d = read(e, i, 0, w)?;
    let (quotient, remainder);
    if w == Width::W64 {
        let high = e.get(crate::cpu::gpr(RDX));
        let low = e.get(crate::cpu::gpr(RAX));
        let helper = if signed { helpers::DIV_S } else { helpers::DIV_U };
        quotient = e.div_wide(helper, signed, high, low, d)?;
        let back = e.bin(Bin::Mul, quotient, d);
        remainder = e.sub(low, back);
    } else {
        let n = get_pair(e, w);
        let zero = e.rel_imm(Rel::Eq, d, 0);
        e.raise_if(zero, TRAP_DE)?;
        if signed {
            let pair = if w == Width::W32 { n } else { e.sext(double(w), n) };
            let d = e.sext(w, d);
            if w == Width::W32 {
                // The one quotient that 64 bits do not hold.
                let least = e.rel_imm(Rel::Eq, pair, 1 << 63);
                let minus_one = e.rel_imm(Rel::Eq, d, u64::MAX);
                let over = e.both(least, minus_one);
                e.raise_if(over, TRAP_DE)?;
            }
            quotient = e.bin(Bin::DivS, pair, d);
            let fits = e.sext(w, quotient);
            let over = e.rel(Rel::Ne, quotient, fits);
            e.raise_if(over, TRAP_DE)?;
            remainder = e.bin(Bin::RemS, pair, d);
        } else {
            quotient = e.bin(Bin::DivU, n, d);
            let max = e.imm(w.mask());
            let over = e.rel(Rel::LtU, max, quotient);
            e.raise_if(over, TRAP_DE)?;
            remainder = e.bin(Bin::RemU, n, d);
        }
    }
    let (quotient, remainder) = (e.zext(w, quotient), e.zext(w, remainder));
    put_pair(e, w, remainder, quotient);
    Ok(())
}

fn double(w: Width) -> Width {
    match w {
        Width::W8 => Width::W16,
        Width::W16 => Width::W32,
        Width::W32 | Width::W64 => Width::W64,
    }
}
fn half(w: Width) -> Width {
    match w {
        Width::W8 | Width::W16 => Width::W8,
        Width::W32 => Width::W16,
        Width::W64 => Width::W32,
    }
}

#[inline(always)]
pub fn div<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    divide(e, i, false)
}
#[inline(always)]
pub fn idiv<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    divide(e, i, true)
}

/// CBW, CWDE, CDQE: the accumulator's low half sign-extended.
#[inline(always)]
pub fn cbw<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    let a = e.get(crate::cpu::gpr(RAX));
    let a = e.sext(half(i.width()), a);
    let a = e.zext(i.width(), a);
    write_gpr(e, i.width(), RAX, a);
    Ok(())
}
/// CWD, CDQ, CQO: the accumulator's sign in all bits of rDX.
#[inline(always)]
pub fn cwd<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    let a = e.get(crate::cpu::gpr(RAX));
    let a = e.sext(i.width(), a);
    let s = e.shift_imm(Bin::ShrS, a, 63);
    let s = e.zext(i.width(), s);
    write_gpr(e, i.width(), RDX, s);
    Ok(())
}
