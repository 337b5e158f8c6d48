//! Exchange and compare-exchange (SDM 2: XCHG, XADD, CMPXCHG, CMPXCHG8B, CMPXCHG16B). On one processor LOCK changes nothing.

use guest_api::{Align, Bin, Emit, EmitVector, Flag, FlagOp, Lane, Rel, Width};

use super::Sem;
use super::operand::*;
use crate::cpu::{RAX, RBX, RCX, RDX, gpr};
use crate::fault::TRAP_GP0;
use crate::insn::{Insn, Kind};

#[inline(always)]
pub fn xchg<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    let w = i.width();
    let p = place(e, i, 0);
    let b = read(e, i, 1, w)?;
    let a = read_place(e, i, 0, w, &p)?;
    write_place(e, i, 0, w, &p, b)?;
    write(e, i, 1, w, a)
}

#[inline(always)]
pub fn xadd<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    let w = i.width();
    let p = place(e, i, 0);
    let a = read_place(e, i, 0, w, &p)?;
    let b = read(e, i, 1, w)?;
    let r = e.add(a, b);
    let r = e.zext(w, r);
    if i.kinds[0] == Kind::Mem {
        write_place(e, i, 0, w, &p, r)?;
        write(e, i, 1, w, a)?;
    } else {
        // Of one and the same register the sum stays.
        write(e, i, 1, w, a)?;
        write_place(e, i, 0, w, &p, r)?;
    }
    e.flags(FlagOp::Add, w, a, b, r);
    Ok(())
}

/// CMPXCHG. Where the comparison fails, a destination in memory is written with what it held; a register is not, not even the upper half
/// of a 32-bit one.
#[inline(always)]
pub fn cmpxchg<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    let w = i.width();
    let p = place(e, i, 0);
    let old = read_place(e, i, 0, w, &p)?;
    let new = read(e, i, 1, w)?;
    let acc = read_gpr(e, w, RAX);
    let equal = e.rel(Rel::Eq, acc, old);
    if i.kinds[0] == Kind::Mem {
        let v = e.select(equal, new, old);
        write_place(e, i, 0, w, &p, v)?;
    } else {
        e.when(equal, |e| write_place(e, i, 0, w, &p, new))?;
    }
    let r = e.sub(acc, old);
    let r = e.zext(w, r);
    e.flags(FlagOp::Sub, w, acc, old, r);
    let differs = e.not(equal);
    e.when(differs, |e| {
        write_gpr(e, w, RAX, old);
        Ok(())
    })
}

/// CMPXCHG8B: only ZF changes.
pub fn cmpxchg8b<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    let pair = |e: &mut E, high: u8, low: u8| {
        let h = e.get(gpr(high));
        let h = e.shift_imm(Bin::Shl, h, 32);
        let l = read_gpr(e, Width::W32, low);
        e.or(h, l)
    };
    let a = address(e, i);
    let old = e.load_rmw(Width::W64, a, i.space)?;
    let acc = pair(e, RDX, RAX);
    let new = pair(e, RCX, RBX);
    let equal = e.rel(Rel::Eq, acc, old);
    let v = e.select(equal, new, old);
    e.store(Width::W64, a, v, i.space)?;
    let differs = e.not(equal);
    e.when(differs, |e| {
        let low = e.zext(Width::W32, old);
        let high = e.shift_imm(Bin::ShrU, old, 32);
        write_gpr(e, Width::W32, RAX, low);
        write_gpr(e, Width::W32, RDX, high);
        Ok(())
    })?;
    e.set_flag(Flag::Zero, equal);
    Ok(())
}

/// CMPXCHG16B: #GP(0) where the operand is not aligned to 16 bytes; only ZF changes.
pub fn cmpxchg16b<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    let a = address(e, i);
    let odd = e.and_imm(a, 15);
    let odd = e.rel_imm(Rel::Ne, odd, 0);
    e.raise_if(odd, TRAP_GP0)?;
    e.probe_write(16, a, i.space)?;
    let old = e.loadx(Align::Any, a, i.space)?;
    let [old_low, old_high] = [0, 1].map(|n| e.extract(Lane::B64, n, old));
    let (acc_low, acc_high) = (e.get(gpr(RAX)), e.get(gpr(RDX)));
    let (new_low, new_high) = (e.get(gpr(RBX)), e.get(gpr(RCX)));
    let low = e.rel(Rel::Eq, acc_low, old_low);
    let high = e.rel(Rel::Eq, acc_high, old_high);
    let equal = e.both(low, high);
    let (low, high) = (e.select(equal, new_low, old_low), e.select(equal, new_high, old_high));
    let v = e.widen(low);
    let v = e.insert(Lane::B64, 1, v, high);
    e.storex(Align::Any, a, v, i.space)?;
    let differs = e.not(equal);
    e.when(differs, |e| {
        e.put(gpr(RAX), old_low);
        e.put(gpr(RDX), old_high);
        Ok(())
    })?;
    e.set_flag(Flag::Zero, equal);
    Ok(())
}
