//! Near jumps, calls, returns, loops (SDM 2: Jcc, JMP, CALL, RET, LOOPcc).

use guest_api::{Bin, Cond, Emit, Rel, Width};

use super::Sem;
use super::helpers::CHECK_CODE_LIMIT;
use super::operand::*;
use crate::cpu::RCX;
use crate::fault::TRAP_GP0;
use crate::insn::{Insn, Kind};

/// #GP(0) behind the faults of `first`, the branch not taken, where a dynamic target is not canonical, or any is beyond CS's limit
/// outside 64-bit mode (SDM 2 JMP).
#[inline(always)]
fn check_target<E: Emit>(e: &mut E, i: &Insn, target: E::V, first: impl FnOnce(&mut E) -> Sem<E>) -> Sem<E> {
    if i.width() != Width::W64 {
        first(e)?;
        return e.helper(CHECK_CODE_LIMIT, &[target]).map(drop);
    }
    let t = e.shift_imm(Bin::Shl, target, 16);
    let t = e.shift_imm(Bin::ShrS, t, 16);
    let bad = e.rel(Rel::Ne, t, target);
    e.when(bad, |e| {
        first(e)?;
        e.raise(TRAP_GP0)
    })
}

/// The same for a static target, where `c`. In 64-bit mode one that is not canonical faults when it is fetched.
#[inline(always)]
fn check_static<E: Emit>(e: &mut E, i: &Insn, c: E::C) -> Sem<E> {
    if i.width() == Width::W64 {
        return Ok(());
    }
    let target = e.imm(i.target(e.block_pc()));
    e.when(c, |e| e.helper(CHECK_CODE_LIMIT, &[target]).map(drop))
}

#[inline(always)]
pub fn jcc<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    let c = e.cond(i.cc);
    check_static(e, i, c)?;
    let pc = e.block_pc();
    e.branch(c, i.target(pc), i.next_pc(pc));
    Ok(())
}
#[inline(always)]
pub fn jmp<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    if i.kinds[0] == Kind::Imm {
        let target = i.target(e.block_pc());
        if i.width() != Width::W64 {
            let target = e.imm(target);
            check_target(e, i, target, |_| Ok(()))?;
        }
        e.jump(target);
    } else {
        let target = read(e, i, 0, i.width())?;
        check_target(e, i, target, |_| Ok(()))?;
        e.goto(target);
    }
    Ok(())
}
#[inline(always)]
pub fn call<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    let w = i.width();
    let pc = e.block_pc();
    let back = i.next_pc(pc) & w.mask();
    // Faults of the push come first.
    let probe = |e: &mut E| {
        let sp = stack_pointer(e, i, u64::from(w.bytes()).wrapping_neg());
        e.probe_write(w.bytes(), sp, i.stack())
    };
    if i.kinds[0] == Kind::Imm {
        if w != Width::W64 {
            let target = e.imm(i.target(pc));
            check_target(e, i, target, probe)?;
        }
        let v = e.code_address(back);
        push(e, i, w, v)?;
        e.calls(back);
        e.jump(i.target(pc));
    } else {
        let target = read(e, i, 0, w)?;
        check_target(e, i, target, probe)?;
        let v = e.code_address(back);
        push(e, i, w, v)?;
        e.calls(back);
        e.goto(target);
    }
    Ok(())
}
/// RET, and RET imm16, which drops that many bytes behind the return address.
#[inline(always)]
pub fn ret<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    let (target, sp) = peek(e, i, i.width())?;
    check_target(e, i, target, |_| Ok(()))?;
    let sp = if i.kinds[0] == Kind::Imm {
        let sp = e.add_imm(sp, i.imm() & 0xffff);
        e.zext(i.stack_width(), sp)
    } else {
        sp
    };
    set_stack_pointer(e, i, sp);
    e.returns();
    e.goto(target);
    Ok(())
}

/// LOOP, and with `cc` LOOPE and LOOPNE: decrements rCX (of the address size), goes on where it is not 0 then.
#[inline(always)]
fn count_down<E: Emit>(e: &mut E, i: &Insn, cc: Option<Cond>) -> Sem<E> {
    let n = read_gpr(e, i.addr_width(), RCX);
    let n = e.add_imm(n, u64::MAX);
    let n = e.zext(i.addr_width(), n);
    let mut more = e.rel_imm(Rel::Ne, n, 0);
    if let Some(cc) = cc {
        let c = e.cond(cc);
        more = e.both(more, c);
    }
    check_static(e, i, more)?;
    write_gpr(e, i.addr_width(), RCX, n);
    let pc = e.block_pc();
    e.branch(more, i.target(pc), i.next_pc(pc));
    Ok(())
}
#[inline(always)]
pub fn r#loop<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    count_down(e, i, None)
}
/// LOOPE, LOOPNE.
#[inline(always)]
pub fn loop_cc<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    count_down(e, i, Some(i.cc))
}
/// JCXZ, JECXZ, JRCXZ.
#[inline(always)]
pub fn jcxz<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    let n = read_gpr(e, i.addr_width(), RCX);
    let c = e.rel_imm(Rel::Eq, n, 0);
    check_static(e, i, c)?;
    let pc = e.block_pc();
    e.branch(c, i.target(pc), i.next_pc(pc));
    Ok(())
}
