//! Data movement between general registers and memory (SDM 2: MOV, MOVZX, MOVSX, LEA).

use guest_api::Emit;

use super::Sem;
use super::operand::{effective_address, read, write};
use crate::insn::Insn;

#[inline(always)]
pub fn mov<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    let v = read(e, i, 1, i.width)?;
    write(e, i, 0, i.width, v)
}
#[inline(always)]
pub fn lea<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    let a = effective_address(e, i);
    let a = e.zext(i.width, a);
    write(e, i, 0, i.width, a)
}
#[inline(always)]
pub fn movzx<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    let v = read(e, i, 1, i.src_width)?;
    write(e, i, 0, i.width, v)
}
#[inline(always)]
pub fn movsx<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    let v = read(e, i, 1, i.src_width)?;
    let v = e.sext(i.src_width, v);
    let v = e.zext(i.width, v);
    write(e, i, 0, i.width, v)
}
