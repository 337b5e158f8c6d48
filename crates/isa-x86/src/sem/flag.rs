//! Flags and what does nothing (SDM 2: CLC, STC, CMC, CLD, STD, LAHF, SAHF, SALC, NOP, UD).

use guest_api::{Bin, Emit, Flag, Slot, Width};
use mem::Access;

use super::Sem;
use super::operand::*;
use crate::cpu::{DIRECTION, RAX, gpr};
use crate::exec::Exec;
use crate::fault::{Stop, TRAP_BR, TRAP_UD};
use crate::insn::Insn;
use crate::sys::paging;
use guest_api::Rel;

#[inline(always)]
fn set<E: Emit>(e: &mut E, f: Flag, v: bool) {
    let v = e.imm(u64::from(v));
    let c = e.bit(v, 0);
    e.set_flag(f, c);
}

pub fn clc<E: Emit>(e: &mut E, _: &Insn) -> Sem<E> {
    set(e, Flag::Carry, false);
    Ok(())
}
pub fn stc<E: Emit>(e: &mut E, _: &Insn) -> Sem<E> {
    set(e, Flag::Carry, true);
    Ok(())
}
pub fn cmc<E: Emit>(e: &mut E, _: &Insn) -> Sem<E> {
    let c = e.flag(Flag::Carry);
    let c = e.not(c);
    e.set_flag(Flag::Carry, c);
    Ok(())
}
pub fn cld<E: Emit>(e: &mut E, _: &Insn) -> Sem<E> {
    let up = e.imm(1);
    e.put(Slot(DIRECTION), up);
    Ok(())
}
pub fn std<E: Emit>(e: &mut E, _: &Insn) -> Sem<E> {
    let down = e.imm(u64::MAX);
    e.put(Slot(DIRECTION), down);
    Ok(())
}

/// The flags of AH in LAHF and SAHF, by their bits in RFLAGS.
const LOW: [(Flag, u32); 5] = [(Flag::Carry, 0), (Flag::Parity, 2), (Flag::Aux, 4), (Flag::Zero, 6), (Flag::Sign, 7)];

pub fn lahf<E: Emit>(e: &mut E, _: &Insn) -> Sem<E> {
    let mut v = e.imm(2);
    for (f, bit) in LOW {
        let c = e.flag(f);
        let c = e.value(c);
        let c = e.shift_imm(Bin::Shl, c, bit);
        v = e.or(v, c);
    }
    let v = e.shift_imm(Bin::Shl, v, 8);
    let old = e.get(gpr(RAX));
    let kept = e.and_imm(old, !0xff00);
    let v = e.or(kept, v);
    e.put(gpr(RAX), v);
    Ok(())
}
pub fn sahf<E: Emit>(e: &mut E, _: &Insn) -> Sem<E> {
    let v = e.get(gpr(RAX));
    for (f, bit) in LOW {
        let c = e.bit(v, 8 + bit);
        e.set_flag(f, c);
    }
    Ok(())
}
/// SALC: AL = CF ? 0xff : 0 (AMD APM 3, "undocumented" in Intel's).
pub fn salc<E: Emit>(e: &mut E, _: &Insn) -> Sem<E> {
    let c = e.flag(Flag::Carry);
    let (all, none) = (e.imm(0xff), e.imm(0));
    let v = e.select(c, all, none);
    write_gpr(e, Width::W8, RAX, v);
    Ok(())
}

/// NOP in all its forms, PAUSE, fences, prefetches and the reserved NOP space: no memory is touched.
#[inline(always)]
pub fn nop<E: Emit>(_: &mut E, _: &Insn) -> Sem<E> {
    Ok(())
}
/// UD0, UD1, UD2.
pub fn ud<E: Emit>(e: &mut E, _: &Insn) -> Sem<E> {
    e.raise(TRAP_UD)
}

/// BOUND: #BR where the signed index is outside the two bounds in memory.
pub fn bound<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    let w = i.width();
    let a = effective_address(e, i);
    let b = e.add_imm(a, u64::from(w.bytes()));
    let b = e.zext(i.addr_width(), b);
    let low = e.load(w, a, i.space)?;
    let high = e.load(w, b, i.space)?;
    let n = read_gpr(e, w, i.regs[0]);
    let (n, low, high) = (e.sext(w, n), e.sext(w, low), e.sext(w, high));
    let under = e.rel(Rel::LtS, n, low);
    let over = e.rel(Rel::LtS, high, n);
    let out = e.either(under, over);
    e.raise_if(out, TRAP_BR)
}

/// CLFLUSH and its like: there is no cache; the address is checked as for a load, without loading from a device.
pub fn clflush(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
    let a = address(cx, i);
    let va = cx.linear(i.space, a, 1, false)?;
    paging::translate(cx, va, Access::Read, i.space)?;
    Ok(())
}
