//! Shifts and rotates (SDM 2: SAL/SAR/SHL/SHR, RCL/RCR/ROL/ROR, SHLD, SHRD).
//!
//! A count is masked to 5 bits, 6 for 64-bit operands. A masked count of 0 changes no flag. OF is defined for counts of 1 only; for
//! the others it follows the same formula, as current processors do. AF is undefined and cleared.

use guest_api::{Bin, Emit, Flag, Rel, Width};

use super::Sem;
use super::operand::{place, read_gpr, read_place, write_place};
use crate::insn::{Insn, Kind};

/// A masked count; known statically where it is an immediate.
struct Count<V> {
    value: V,
    known: Option<u64>,
}

/// What a shift gives: the result (the operand itself where the count is 0), and CF and OF in bit 0 (where it is not).
struct Shifted<V> {
    result: V,
    carry: V,
    overflow: V,
}

/// Operand `n` as a count.
#[inline(always)]
fn count<E: Emit>(e: &mut E, i: &Insn, n: usize) -> Count<E::V> {
    let mask = if i.width() == Width::W64 { 63 } else { 31 };
    if i.kinds[n] == Kind::Imm {
        let k = i.imm() & mask;
        Count { value: e.imm(k), known: Some(k) }
    } else {
        let c = e.get(crate::cpu::gpr(i.regs[n]));
        Count { value: e.and_imm(c, mask), known: None }
    }
}

/// Operand 0 shifted by operand `n`. `all`: every flag is set, else CF and OF.
#[inline(always)]
fn shift<E: Emit>(
    e: &mut E,
    i: &Insn,
    n: usize,
    all: bool,
    f: impl FnOnce(&mut E, Width, E::V, E::V) -> Shifted<E::V>,
) -> Sem<E> {
    let w = i.width();
    let dst = place(e, i, 0);
    let count = count(e, i, n);
    let a = read_place(e, i, 0, w, &dst)?;
    let s = f(e, w, a, count.value);
    write_place(e, i, 0, w, &dst, s.result)?;
    let flags = |e: &mut E| {
        let carry = e.bit(s.carry, 0);
        let overflow = e.bit(s.overflow, 0);
        if all {
            e.flags_with(w, s.result, carry, overflow);
        } else {
            e.set_flag(Flag::Carry, carry);
            e.set_flag(Flag::Overflow, overflow);
        }
        Ok(())
    };
    match count.known {
        Some(0) => Ok(()),
        Some(_) => flags(e),
        None => {
            let some = e.rel_imm(Rel::Ne, count.value, 0);
            e.when(some, flags)
        }
    }
}

/// Bit `k` of `v`, in bit 0. The bits above are not cleared.
#[inline(always)]
fn down<E: Emit>(e: &mut E, v: E::V, k: u32) -> E::V {
    e.shift_imm(Bin::ShrU, v, k)
}
/// The exclusive or of the sign of `r` and the bit below it, in bit 0: OF of right shifts and rotates.
#[inline(always)]
fn top_bits_differ<E: Emit>(e: &mut E, w: Width, r: E::V) -> E::V {
    let sign = down(e, r, w.bits() - 1);
    let below = down(e, r, w.bits() - 2);
    e.xor(sign, below)
}
/// The exclusive or of the sign of `r` and `carry`, in bit 0: OF of left shifts and rotates.
#[inline(always)]
fn sign_differs<E: Emit>(e: &mut E, w: Width, r: E::V, carry: E::V) -> E::V {
    let sign = down(e, r, w.bits() - 1);
    e.xor(sign, carry)
}
/// `v` shifted right by `n - 1`: its bit 0 is the last bit that a right shift by `n` drops.
#[inline(always)]
fn last_dropped<E: Emit>(e: &mut E, v: E::V, n: E::V) -> E::V {
    let k = e.add_imm(n, u64::MAX);
    let k = e.and_imm(k, 63);
    e.bin(Bin::ShrU, v, k)
}
/// `v` shifted right by `64 - n`: its bit 0 is the last bit that a left shift of 64 bits by `n` drops.
#[inline(always)]
fn last_dropped_left<E: Emit>(e: &mut E, v: E::V, n: E::V) -> E::V {
    let zero = e.imm(0);
    let k = e.sub(zero, n);
    let k = e.and_imm(k, 63);
    e.bin(Bin::ShrU, v, k)
}

#[inline(always)]
pub fn shl<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    shift(e, i, 1, true, |e, w, a, n| {
        let t = e.bin(Bin::Shl, a, n);
        let carry = if w == Width::W64 { last_dropped_left(e, a, n) } else { down(e, t, w.bits()) };
        let result = e.zext(w, t);
        let overflow = sign_differs(e, w, result, carry);
        Shifted { result, carry, overflow }
    })
}
#[inline(always)]
pub fn shr<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    shift(e, i, 1, true, |e, w, a, n| {
        let result = e.bin(Bin::ShrU, a, n);
        let carry = last_dropped(e, a, n);
        let overflow = top_bits_differ(e, w, result);
        Shifted { result, carry, overflow }
    })
}
#[inline(always)]
pub fn sar<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    shift(e, i, 1, true, |e, w, a, n| {
        let a = e.sext(w, a);
        let r = e.bin(Bin::ShrS, a, n);
        let result = e.zext(w, r);
        let k = e.add_imm(n, u64::MAX);
        let k = e.and_imm(k, 63);
        let carry = e.bin(Bin::ShrS, a, k);
        Shifted { result, carry, overflow: e.imm(0) }
    })
}

/// `a` rotated. An operand of 8 or 16 bits is repeated to 32: then rotating by any count is rotating by it modulo the width.
#[inline(always)]
fn rotate<E: Emit>(e: &mut E, w: Width, a: E::V, n: E::V, wide: Bin, narrow: Bin) -> E::V {
    let repeat = match w {
        Width::W64 => return e.bin(wide, a, n),
        Width::W32 => return e.bin(narrow, a, n),
        Width::W16 => 0x1_0001,
        Width::W8 => 0x0101_0101,
    };
    let k = e.imm(repeat);
    let x = e.bin(Bin::Mul, a, k);
    let r = e.bin(narrow, x, n);
    e.zext(w, r)
}

#[inline(always)]
pub fn rol<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    shift(e, i, 1, false, |e, w, a, n| {
        let result = rotate(e, w, a, n, Bin::Rotl, Bin::Rotl32);
        let overflow = sign_differs(e, w, result, result);
        Shifted { result, carry: result, overflow }
    })
}
#[inline(always)]
pub fn ror<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    shift(e, i, 1, false, |e, w, a, n| {
        let result = rotate(e, w, a, n, Bin::Rotr, Bin::Rotr32);
        let carry = down(e, result, w.bits() - 1);
        let overflow = top_bits_differ(e, w, result);
        Shifted { result, carry, overflow }
    })
}

/// The count of RCL and RCR: modulo 9 and 17 for 8 and 16 bits.
#[inline(always)]
fn through_carry<E: Emit>(e: &mut E, i: &Insn, n: E::V) -> E::V {
    let modulus = match i.width() {
        Width::W8 => 9,
        Width::W16 => 17,
        Width::W32 | Width::W64 => return n,
    };
    if i.kinds[1] == Kind::Imm {
        return e.imm((i.imm() & 31) % modulus);
    }
    let k = e.imm(modulus);
    e.bin(Bin::RemU, n, k)
}

#[inline(always)]
pub fn rcl<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    let cf = e.flag(Flag::Carry);
    let cf = e.value(cf);
    shift(e, i, 1, false, |e, w, a, n| {
        let n = through_carry(e, i, n);
        let (result, carry);
        if w == Width::W64 {
            // a << n | cf << (n - 1) | a >> (65 - n), where n is not 0.
            let high = e.bin(Bin::Shl, a, n);
            let k = e.add_imm(n, u64::MAX);
            let k = e.and_imm(k, 63);
            let middle = e.bin(Bin::Shl, cf, k);
            let half = e.shift_imm(Bin::ShrU, a, 1);
            let low = last_dropped_left(e, half, n);
            let r = e.or(high, middle);
            let r = e.or(r, low);
            let none = e.rel_imm(Rel::Eq, n, 0);
            result = e.select(none, a, r);
            carry = last_dropped_left(e, a, n);
        } else {
            // The operand with CF above it, `bits + 1` wide, rotates within 64 bits.
            let bits = w.bits();
            let c = e.shift_imm(Bin::Shl, cf, bits);
            let x = e.or(a, c);
            let high = e.bin(Bin::Shl, x, n);
            let all = e.imm(u64::from(bits) + 1);
            let back = e.sub(all, n);
            let low = e.bin(Bin::ShrU, x, back);
            let r = e.or(high, low);
            carry = down(e, r, bits);
            result = e.zext(w, r);
        }
        let overflow = sign_differs(e, w, result, carry);
        Shifted { result, carry, overflow }
    })
}
#[inline(always)]
pub fn rcr<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    let cf = e.flag(Flag::Carry);
    let cf = e.value(cf);
    shift(e, i, 1, false, |e, w, a, n| {
        let n = through_carry(e, i, n);
        let (result, carry);
        if w == Width::W64 {
            // a >> n | cf << (64 - n) | a << (65 - n), where n is not 0.
            let low = e.bin(Bin::ShrU, a, n);
            let zero = e.imm(0);
            let k = e.sub(zero, n);
            let k = e.and_imm(k, 63);
            let middle = e.bin(Bin::Shl, cf, k);
            let twice = e.shift_imm(Bin::Shl, a, 1);
            let high = e.bin(Bin::Shl, twice, k);
            let r = e.or(low, middle);
            let r = e.or(r, high);
            let none = e.rel_imm(Rel::Eq, n, 0);
            result = e.select(none, a, r);
            carry = last_dropped(e, a, n);
        } else {
            let bits = w.bits();
            let c = e.shift_imm(Bin::Shl, cf, bits);
            let x = e.or(a, c);
            let low = e.bin(Bin::ShrU, x, n);
            let all = e.imm(u64::from(bits) + 1);
            let back = e.sub(all, n);
            let high = e.bin(Bin::Shl, x, back);
            let r = e.or(low, high);
            carry = down(e, r, bits);
            result = e.zext(w, r);
        }
        let overflow = top_bits_differ(e, w, result);
        Shifted { result, carry, overflow }
    })
}

/// A 16-bit operand shifted by more than 16 takes in the destination again behind the source: undefined by the manual, this is what
/// processors do.
#[inline(always)]
fn sandwich<E: Emit>(e: &mut E, a: E::V, b: E::V) -> E::V {
    let high = e.shift_imm(Bin::Shl, a, 32);
    let middle = e.shift_imm(Bin::Shl, b, 16);
    let x = e.or(high, middle);
    e.or(x, a)
}

#[inline(always)]
pub fn shld<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    shift(e, i, 2, true, |e, w, a, n| {
        let b = read_gpr(e, w, i.regs[1]);
        let (r, carry);
        if w == Width::W64 {
            let high = e.bin(Bin::Shl, a, n);
            let half = e.shift_imm(Bin::ShrU, b, 1);
            let all = e.imm(63);
            let back = e.sub(all, n);
            let low = e.bin(Bin::ShrU, half, back);
            r = e.or(high, low);
            carry = last_dropped_left(e, a, n);
        } else {
            let x = if w == Width::W16 {
                sandwich(e, a, b)
            } else {
                let high = e.shift_imm(Bin::Shl, a, 32);
                e.or(high, b)
            };
            let x = e.bin(Bin::Shl, x, n);
            r = e.shift_imm(Bin::ShrU, x, 32);
            // The bit above the destination; a 32-bit destination has none in `x`.
            carry = if w == Width::W16 {
                down(e, x, 48)
            } else {
                let y = e.bin(Bin::Shl, a, n);
                down(e, y, 32)
            };
        }
        let result = e.zext(w, r);
        let changed = e.xor(a, result);
        let overflow = down(e, changed, w.bits() - 1);
        Shifted { result, carry, overflow }
    })
}
#[inline(always)]
pub fn shrd<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    shift(e, i, 2, true, |e, w, a, n| {
        let b = read_gpr(e, w, i.regs[1]);
        let (r, carry);
        if w == Width::W64 {
            let low = e.bin(Bin::ShrU, a, n);
            let twice = e.shift_imm(Bin::Shl, b, 1);
            let all = e.imm(63);
            let back = e.sub(all, n);
            let high = e.bin(Bin::Shl, twice, back);
            r = e.or(low, high);
            carry = last_dropped(e, a, n);
        } else {
            let x = if w == Width::W16 {
                sandwich(e, a, b)
            } else {
                let high = e.shift_imm(Bin::Shl, b, 32);
                e.or(high, a)
            };
            r = e.bin(Bin::ShrU, x, n);
            carry = last_dropped(e, x, n);
        }
        let result = e.zext(w, r);
        let changed = e.xor(a, result);
        let overflow = down(e, changed, w.bits() - 1);
        Shifted { result, carry, overflow }
    })
}
