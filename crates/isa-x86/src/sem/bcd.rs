//! Decimal adjustment (SDM 2: DAA, DAS, AAA, AAS, AAM, AAD). Not in 64-bit mode.

use guest_api::{Bin, Emit, Flag, FlagOp, Rel, Width};

use super::Sem;
use super::operand::{read_gpr, write_gpr};
use crate::cpu::RAX;
use crate::fault::TRAP_DE;
use crate::insn::Insn;

/// AF, or the low digit of `al` is above 9.
fn low_digit<E: Emit>(e: &mut E, al: E::V) -> E::C {
    let digit = e.and_imm(al, 15);
    let nine = e.imm(9);
    let over = e.rel(Rel::LtU, nine, digit);
    let af = e.flag(Flag::Aux);
    e.either(over, af)
}

/// DAA, DAS. OF is undefined and cleared.
fn packed<E: Emit>(e: &mut E, op: Bin) -> Sem<E> {
    let al = read_gpr(e, Width::W8, RAX);
    let cf = e.flag(Flag::Carry);
    let low = low_digit(e, al);
    let limit = e.imm(0x99);
    let over = e.rel(Rel::LtU, limit, al);
    let high = e.either(over, cf);
    let (zero, six, sixty) = (e.imm(0), e.imm(6), e.imm(0x60));
    let by_low = e.select(low, six, zero);
    let by_high = e.select(high, sixty, zero);
    let by = e.add(by_low, by_high);
    let r = e.bin(op, al, by);
    let r = e.zext(Width::W8, r);
    let mut carry = high;
    if op == Bin::Sub {
        // DAS also keeps the borrow of its first step.
        let borrow = e.rel(Rel::LtU, al, six);
        let borrow = e.both(borrow, low);
        carry = e.either(carry, borrow);
    }
    write_gpr(e, Width::W8, RAX, r);
    let no = e.rel(Rel::Ne, zero, zero);
    e.flags_with(Width::W8, r, carry, no);
    e.set_flag(Flag::Aux, low);
    Ok(())
}
pub fn daa<E: Emit>(e: &mut E, _: &Insn) -> Sem<E> {
    packed(e, Bin::Add)
}
pub fn das<E: Emit>(e: &mut E, _: &Insn) -> Sem<E> {
    packed(e, Bin::Sub)
}

/// AAA, AAS. OF, SF, ZF and PF are undefined and stay.
fn unpacked<E: Emit>(e: &mut E, op: Bin) -> Sem<E> {
    let ax = read_gpr(e, Width::W16, RAX);
    let adjust = low_digit(e, ax);
    let (zero, by) = (e.imm(0), e.imm(0x106));
    let by = e.select(adjust, by, zero);
    let r = e.bin(op, ax, by);
    let r = e.and_imm(r, 0xff0f);
    write_gpr(e, Width::W16, RAX, r);
    e.set_flag(Flag::Aux, adjust);
    e.set_flag(Flag::Carry, adjust);
    Ok(())
}
pub fn aaa<E: Emit>(e: &mut E, _: &Insn) -> Sem<E> {
    unpacked(e, Bin::Add)
}
pub fn aas<E: Emit>(e: &mut E, _: &Insn) -> Sem<E> {
    unpacked(e, Bin::Sub)
}

/// AAM: CF, OF and AF are undefined and cleared.
pub fn aam<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    let base = i.imm() & 0xff;
    if base == 0 {
        return e.raise(TRAP_DE);
    }
    let al = read_gpr(e, Width::W8, RAX);
    let base = e.imm(base);
    let high = e.bin(Bin::DivU, al, base);
    let low = e.bin(Bin::RemU, al, base);
    let high = e.shift_imm(Bin::Shl, high, 8);
    let ax = e.or(high, low);
    write_gpr(e, Width::W16, RAX, ax);
    e.flags(FlagOp::Logic, Width::W8, low, low, low);
    Ok(())
}
/// AAD: CF, OF and AF are undefined and cleared.
pub fn aad<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    let ax = read_gpr(e, Width::W16, RAX);
    let high = e.shift_imm(Bin::ShrU, ax, 8);
    let base = e.imm(i.imm() & 0xff);
    let tens = e.bin(Bin::Mul, high, base);
    let r = e.add(ax, tens);
    let r = e.zext(Width::W8, r);
    write_gpr(e, Width::W16, RAX, r);
    e.flags(FlagOp::Logic, Width::W8, r, r, r);
    Ok(())
}
