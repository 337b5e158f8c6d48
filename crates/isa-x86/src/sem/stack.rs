//! The stack (SDM 2: PUSH, POP, PUSHA, POPA, PUSHF, POPF, ENTER, LEAVE).

use guest_api::Emit;

use super::Sem;
use super::operand::*;
use crate::cpu::{RBP, RSP};
use crate::insn::{Insn, Kind};

#[inline(always)]
pub fn push<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    let v = read(e, i, 0, i.width())?;
    super::operand::push(e, i, i.width(), v)
}

#[inline(always)]
pub fn pop<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    let w = i.width();
    let (v, sp) = peek(e, i, w)?;
    if i.kinds[0] == Kind::Mem {
        // An address made of RSP takes its value behind the pop.
        let by = if i.base == RSP { u64::from(w.bytes()) } else { 0 };
        let moved = i.moved(by);
        let a = address(e, &moved);
        e.store(w, a, v, i.space)?;
        set_stack_pointer(e, i, sp);
    } else {
        // POP RSP: the popped value stays.
        set_stack_pointer(e, i, sp);
        write_gpr(e, w, i.regs[0], v);
    }
    Ok(())
}

/// PUSHA, PUSHAD: eight registers in the order of their numbers, RSP as it was.
pub fn pusha<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    let w = i.width();
    let at = |e: &mut E, n: u64| stack_pointer(e, i, (n * u64::from(w.bytes())).wrapping_neg());
    // All or nothing.
    for n in 1..=8 {
        let a = at(e, n);
        e.probe_write(w.bytes(), a, i.stack())?;
    }
    for r in 0..8 {
        let a = at(e, u64::from(r) + 1);
        let v = read_gpr(e, w, r);
        e.store(w, a, v, i.stack())?;
    }
    let sp = at(e, 8);
    set_stack_pointer(e, i, sp);
    Ok(())
}

/// POPA, POPAD: the value for RSP is skipped.
pub fn popa<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    let w = i.width();
    let at = |e: &mut E, n: u64| stack_pointer(e, i, n * u64::from(w.bytes()));
    let mut values = [None; 8];
    for r in (0..8_u8).rev().filter(|&r| r != RSP) {
        let a = at(e, 7 - u64::from(r));
        values[usize::from(r)] = Some(e.load(w, a, i.stack())?);
    }
    let sp = at(e, 8);
    set_stack_pointer(e, i, sp);
    for (r, v) in (0..8).zip(values) {
        if let Some(v) = v {
            write_gpr(e, w, r, v);
        }
    }
    Ok(())
}

/// ENTER: the level is static, so its copies of frame pointers are written out.
pub fn enter<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    let w = i.width();
    let (size, level) = (i.imm() & 0xffff, u64::from(i.second_imm()) & 31);
    let bytes = u64::from(w.bytes());
    let at = |e: &mut E, n: u64| stack_pointer(e, i, (n * bytes).wrapping_neg());
    let pushed = if level == 0 { 1 } else { level + 1 };
    let last = at(e, pushed);
    let top = e.add_imm(last, size.wrapping_neg());
    let top = e.zext(i.stack_width(), top);
    let frame = at(e, 1);
    let bp = e.get(crate::cpu::gpr(RBP));
    let outer = |e: &mut E, n: u64| {
        let a = e.add_imm(bp, (n * bytes).wrapping_neg());
        let a = e.zext(i.stack_width(), a);
        e.load(w, a, i.stack())
    };
    // Everything that can fault, in the order of the pushes; last, a write at the final stack pointer must be possible (SDM 2
    // ENTER, exceptions).
    e.probe_write(w.bytes(), frame, i.stack())?;
    for n in 1..level {
        outer(e, n)?;
        let a = at(e, n + 1);
        e.probe_write(w.bytes(), a, i.stack())?;
    }
    e.probe_write(w.bytes(), last, i.stack())?;
    e.probe_write(w.bytes(), top, i.stack())?;
    let v = e.zext(w, bp);
    e.store(w, frame, v, i.stack())?;
    for n in 1..level {
        // Loaded again: the frames may lie where this instruction pushes.
        let v = outer(e, n)?;
        let a = at(e, n + 1);
        e.store(w, a, v, i.stack())?;
    }
    // The new frame pointer is all of ESP behind the first push, the upper bits of a 16-bit stack's too (SDM 2 ENTER).
    let sp = e.get(crate::cpu::gpr(RSP));
    let upper = e.and_imm(sp, !i.stack_width().mask());
    let frame = e.or(upper, frame);
    let frame = e.zext(w, frame);
    if level != 0 {
        e.store(w, last, frame, i.stack())?;
    }
    set_stack_pointer(e, i, top);
    write_gpr(e, w, RBP, frame);
    Ok(())
}

#[inline(always)]
pub fn leave<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    let w = i.width();
    let bp = read_gpr(e, i.stack_width(), RBP);
    let v = e.load(w, bp, i.stack())?;
    let sp = e.add_imm(bp, u64::from(w.bytes()));
    let sp = e.zext(i.stack_width(), sp);
    set_stack_pointer(e, i, sp);
    write_gpr(e, w, RBP, v);
    Ok(())
}
