//! Near jumps, calls, returns, loops (SDM 2: Jcc, JMP, CALL, RET, LOOPcc).

use guest_api::{Bin, Emit, Rel, Width};

use super::Sem;
use super::operand::*;
use crate::cpu::RCX;
use crate::fault::TRAP_GP0;
use crate::insn::{Insn, Kind};

/// #GP(0) behind the faults of `first`, the branch not taken, where a dynamic target is not canonical (SDM 2 JMP). Static targets are
/// not checked: one that is not canonical faults when it is fetched.
#[inline(always)]
fn check_target<E: Emit>(e: &mut E, i: &Insn, target: E::V, first: impl FnOnce(&mut E) -> Sem<E>) -> Sem<E> {
    if i.width != Width::W64 {
        return Ok(());
    }
    let t = e.shift_imm(Bin::Shl, target, 16);
    let t = e.shift_imm(Bin::ShrS, t, 16);
    let bad = e.rel(Rel::Ne, t, target);
    e.when(bad, |e| {
        first(e)?;
        e.raise(TRAP_GP0)
    })
}

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
        check_target(e, i, target, |_| Ok(()))?;
        e.goto(target);
    }
    Ok(())
}
#[inline(always)]
pub fn call<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    let w = i.width;
    let pc = e.block_pc();
    let back = e.imm(i.next_pc(pc) & w.mask());
    if i.kinds[0] == Kind::Imm {
        push(e, i, w, back)?;
        e.jump(i.target(pc));
    } else {
        let target = read(e, i, 0, w)?;
        // Faults of the push come first.
        check_target(e, i, target, |e| {
            let sp = stack_pointer(e, i, u64::from(w.bytes()).wrapping_neg());
            e.probe_write(w.bytes(), sp, i.stack())
        })?;
        push(e, i, w, back)?;
        e.goto(target);
    }
    Ok(())
}
/// RET, and RET imm16, which drops that many bytes behind the return address.
#[inline(always)]
pub fn ret<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    let (target, sp) = peek(e, i, i.width)?;
    check_target(e, i, target, |_| Ok(()))?;
    let sp = if i.kinds[0] == Kind::Imm {
        let sp = e.add_imm(sp, i.imm & 0xffff);
        e.zext(i.stack_width, sp)
    } else {
        sp
    };
    set_stack_pointer(e, i, sp);
    e.goto(target);
    Ok(())
}

/// Decrements rCX (of the address size); where it is not 0 then.
#[inline(always)]
fn count_down<E: Emit>(e: &mut E, i: &Insn) -> E::C {
    let n = read_gpr(e, i.addr_width, RCX);
    let n = e.add_imm(n, u64::MAX);
    let n = e.zext(i.addr_width, n);
    write_gpr(e, i.addr_width, RCX, n);
    e.rel_imm(Rel::Ne, n, 0)
}
#[inline(always)]
pub fn r#loop<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    let more = count_down(e, i);
    let pc = e.block_pc();
    e.branch(more, i.target(pc), i.next_pc(pc));
    Ok(())
}
/// LOOPE, LOOPNE.
#[inline(always)]
pub fn loop_cc<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    let more = count_down(e, i);
    let c = e.cond(i.cc);
    let c = e.both(more, c);
    let pc = e.block_pc();
    e.branch(c, i.target(pc), i.next_pc(pc));
    Ok(())
}
/// JCXZ, JECXZ, JRCXZ.
#[inline(always)]
pub fn jcxz<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    let n = read_gpr(e, i.addr_width, RCX);
    let c = e.rel_imm(Rel::Eq, n, 0);
    let pc = e.block_pc();
    e.branch(c, i.target(pc), i.next_pc(pc));
    Ok(())
}
