//! Near jumps, calls, returns, loops (SDM 2: Jcc, JMP, CALL, RET, LOOPcc).

use guest_api::Emit;

use super::Sem;
use super::operand::read;
use crate::insn::{Insn, Kind};

#[inline(always)]
pub fn jcc<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    let c = e.cond(i.cc);
    let pc = e.block_pc();
    e.branch(c, i.target(pc), i.next_pc(pc));
    Ok(())
}
#[inline(always)]
pub fn jmp<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    if i.kinds[0] == Kind::Imm {
        let target = i.target(e.block_pc());
        e.jump(target);
    } else {
        let target = read(e, i, 0, i.width)?;
        e.goto(target);
    }
    Ok(())
}
