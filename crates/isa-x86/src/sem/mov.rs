//! Data movement between general registers and memory (SDM 2: MOV, MOVZX, MOVSX, LEA, CMOVcc, SETcc, XLAT).

use guest_api::{Emit, Width};

use super::Sem;
use super::operand::*;
use crate::cpu::{RAX, RBX, gpr};
use crate::insn::Insn;

#[inline(always)]
pub fn mov<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    let v = read(e, i, 1, i.width())?;
    write(e, i, 0, i.width(), v)
}
#[inline(always)]
pub fn lea<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    let a = effective_address(e, i);
    let a = e.zext(i.width(), a);
    write(e, i, 0, i.width(), a)
}
#[inline(always)]
pub fn movzx<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    let v = read(e, i, 1, i.src_width())?;
    write(e, i, 0, i.width(), v)
}
#[inline(always)]
pub fn movsx<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    let v = read(e, i, 1, i.src_width())?;
    let v = e.sext(i.src_width(), v);
    let v = e.zext(i.width(), v);
    write(e, i, 0, i.width(), v)
}

/// CMOVcc reads its source, and clears the upper half of a 32-bit destination, whatever the condition.
#[inline(always)]
pub fn cmov<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    let w = i.width();
    let v = read(e, i, 1, w)?;
    let old = read_gpr(e, w, i.regs[0]);
    let c = e.cond(i.cc);
    let v = e.select(c, v, old);
    write_gpr(e, w, i.regs[0], v);
    Ok(())
}
#[inline(always)]
pub fn setcc<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    let c = e.cond(i.cc);
    let v = e.value(c);
    write(e, i, 0, Width::W8, v)
}
/// XLAT: AL from the table at rBX, indexed by AL.
pub fn xlat<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    let table = e.get(gpr(RBX));
    let al = read_gpr(e, Width::W8, RAX);
    let a = e.add(table, al);
    let a = e.zext(i.addr_width(), a);
    let a = segment_address(e, i, a);
    let v = e.load(Width::W8, a, i.space)?;
    write_gpr(e, Width::W8, RAX, v);
    Ok(())
}
