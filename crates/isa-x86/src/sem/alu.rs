//! Integer addition, subtraction, comparison and logic (SDM 2: ADD .. XOR).

use guest_api::{Bin, Emit, Flag, FlagOp, Un};

use super::Sem;
use super::operand::{place, read, read_place, write_place};
use crate::insn::Insn;

/// `dst = f(dst, src)` with flags of kind `op`: the shape of the two-operand instructions.
#[inline(always)]
fn binary<E: Emit>(e: &mut E, i: &Insn, op: FlagOp, f: impl FnOnce(&mut E, E::V, E::V) -> E::V) -> Sem<E> {
    let w = i.width();
    let dst = place(e, i, 0);
    let b = read(e, i, 1, w)?;
    let a = read_place(e, i, 0, w, &dst)?;
    let r = f(e, a, b);
    let r = e.zext(w, r);
    write_place(e, i, 0, w, &dst, r)?;
    e.flags(op, w, a, b, r);
    Ok(())
}

#[inline(always)]
pub fn add<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    binary(e, i, FlagOp::Add, |e, a, b| e.add(a, b))
}
#[inline(always)]
pub fn adc<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    let c = e.flag(Flag::Carry);
    let c = e.value(c);
    binary(e, i, FlagOp::Add, |e, a, b| {
        let t = e.add(a, b);
        e.add(t, c)
    })
}
#[inline(always)]
pub fn sub<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    binary(e, i, FlagOp::Sub, |e, a, b| e.sub(a, b))
}
#[inline(always)]
pub fn sbb<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    let c = e.flag(Flag::Carry);
    let c = e.value(c);
    binary(e, i, FlagOp::Sub, |e, a, b| {
        let t = e.sub(a, b);
        e.sub(t, c)
    })
}
#[inline(always)]
pub fn and<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    binary(e, i, FlagOp::Logic, |e, a, b| e.and(a, b))
}
#[inline(always)]
pub fn or<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    binary(e, i, FlagOp::Logic, |e, a, b| e.or(a, b))
}
#[inline(always)]
pub fn xor<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    binary(e, i, FlagOp::Logic, |e, a, b| e.xor(a, b))
}

#[inline(always)]
pub fn cmp<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    let w = i.width();
    let a = read(e, i, 0, w)?;
    let b = read(e, i, 1, w)?;
    let r = e.sub(a, b);
    let r = e.zext(w, r);
    e.flags(FlagOp::Sub, w, a, b, r);
    Ok(())
}
#[inline(always)]
pub fn test<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    let w = i.width();
    let a = read(e, i, 0, w)?;
    let b = read(e, i, 1, w)?;
    let r = e.and(a, b);
    e.flags(FlagOp::Logic, w, a, b, r);
    Ok(())
}

/// INC and DEC: all flags but CF.
#[inline(always)]
fn step<E: Emit>(e: &mut E, i: &Insn, op: FlagOp, bin: Bin) -> Sem<E> {
    let w = i.width();
    let dst = place(e, i, 0);
    let a = read_place(e, i, 0, w, &dst)?;
    let one = e.imm(1);
    let r = e.bin(bin, a, one);
    let r = e.zext(w, r);
    write_place(e, i, 0, w, &dst, r)?;
    let carry = e.flag(Flag::Carry);
    e.flags(op, w, a, one, r);
    e.set_flag(Flag::Carry, carry);
    Ok(())
}
#[inline(always)]
pub fn inc<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    step(e, i, FlagOp::Add, Bin::Add)
}
#[inline(always)]
pub fn dec<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    step(e, i, FlagOp::Sub, Bin::Sub)
}
#[inline(always)]
pub fn neg<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    let w = i.width();
    let dst = place(e, i, 0);
    let b = read_place(e, i, 0, w, &dst)?;
    let a = e.imm(0);
    let r = e.sub(a, b);
    let r = e.zext(w, r);
    write_place(e, i, 0, w, &dst, r)?;
    e.flags(FlagOp::Sub, w, a, b, r);
    Ok(())
}
#[inline(always)]
pub fn not<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    let w = i.width();
    let dst = place(e, i, 0);
    let a = read_place(e, i, 0, w, &dst)?;
    let r = e.un(Un::Not, a);
    let r = e.zext(w, r);
    write_place(e, i, 0, w, &dst, r)
}
