//! Single bits and bit counts (SDM 2: BT, BTS, BTR, BTC, BSF, BSR, POPCNT, BSWAP, MOVBE, CRC32).

use guest_api::{Bin, Emit, Flag, FlagOp, Rel, Un, Width};

use super::operand::*;
use super::{Sem, helpers};
use crate::insn::{Insn, Kind};

/// The operand whose bit is meant: a bit offset in a register reaches beyond a memory operand, by whole operands of its width.
#[inline(always)]
fn bit_place<E: Emit>(e: &mut E, i: &Insn) -> Place<E::V> {
    if i.kinds[0] != Kind::Mem || i.kinds[1] == Kind::Imm {
        return place(e, i, 0);
    }
    let offset = read_gpr(e, i.width(), i.regs[1]);
    let offset = e.sext(i.width(), offset);
    let n = e.shift_imm(Bin::ShrS, offset, i.width() as u32 + 3);
    let by = e.shift_imm(Bin::Shl, n, i.width() as u32);
    let a = effective_address(e, i);
    let a = e.add(a, by);
    let a = e.zext(i.addr_width(), a);
    Place::at(segment_address(e, i, a))
}

/// The bit number within the operand.
#[inline(always)]
fn bit_number<E: Emit>(e: &mut E, i: &Insn) -> E::V {
    let mask = u64::from(i.width().bits()) - 1;
    if i.kinds[1] == Kind::Imm {
        e.imm(i.imm() & mask)
    } else {
        let v = e.get(crate::cpu::gpr(i.regs[1]));
        e.and_imm(v, mask)
    }
}

/// CF is the bit `n` of `a`; OF, SF, AF and PF are undefined and stay, ZF stays.
#[inline(always)]
fn set_carry<E: Emit>(e: &mut E, a: E::V, n: E::V) {
    let b = e.bin(Bin::ShrU, a, n);
    let c = e.bit(b, 0);
    e.set_flag(Flag::Carry, c);
}

#[inline(always)]
pub fn bt<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    let p = bit_place(e, i);
    let n = bit_number(e, i);
    let a = load_place(e, i, 0, i.width(), &p)?;
    set_carry(e, a, n);
    Ok(())
}

#[inline(always)]
fn change<E: Emit>(e: &mut E, i: &Insn, f: impl FnOnce(&mut E, E::V, E::V) -> E::V) -> Sem<E> {
    let p = bit_place(e, i);
    let n = bit_number(e, i);
    let a = read_place(e, i, 0, i.width(), &p)?;
    let one = e.imm(1);
    let mask = e.bin(Bin::Shl, one, n);
    let r = f(e, a, mask);
    write_place(e, i, 0, i.width(), &p, r)?;
    set_carry(e, a, n);
    Ok(())
}
#[inline(always)]
pub fn bts<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    change(e, i, |e, a, m| e.or(a, m))
}
#[inline(always)]
pub fn btr<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    change(e, i, |e, a, m| {
        let m = e.un(Un::Not, m);
        e.and(a, m)
    })
}
#[inline(always)]
pub fn btc<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    change(e, i, |e, a, m| e.xor(a, m))
}

/// BSF, BSR: the destination stays where the source is 0 (AMD documents it, Intel's processors do it). All flags but ZF are
/// undefined and stay.
#[inline(always)]
fn scan<E: Emit>(e: &mut E, i: &Insn, f: impl FnOnce(&mut E, E::V) -> E::V) -> Sem<E> {
    let w = i.width();
    let a = read(e, i, 1, w)?;
    let some = e.rel_imm(Rel::Ne, a, 0);
    let r = f(e, a);
    e.when(some, |e| {
        write_gpr(e, w, i.regs[0], r);
        Ok(())
    })?;
    let none = e.not(some);
    e.set_flag(Flag::Zero, none);
    Ok(())
}
#[inline(always)]
pub fn bsf<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    scan(e, i, |e, a| e.un(Un::Ctz, a))
}
#[inline(always)]
pub fn bsr<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    scan(e, i, |e, a| {
        let n = e.un(Un::Clz, a);
        let top = e.imm(63);
        let r = e.sub(top, n);
        e.and_imm(r, 63) // dead where the source is 0
    })
}

#[inline(always)]
pub fn popcnt<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    let w = i.width();
    let a = read(e, i, 1, w)?;
    let r = e.un(Un::Popcnt, a);
    write_gpr(e, w, i.regs[0], r);
    e.flags(FlagOp::Logic, w, r, r, r);
    let no = e.imm(0);
    let no = e.bit(no, 0);
    e.set_flag(Flag::Parity, no);
    Ok(())
}

/// `v`, of width `w`, with its bytes in reverse order.
#[inline(always)]
fn swapped<E: Emit>(e: &mut E, w: Width, v: E::V) -> E::V {
    let v = e.un(Un::Bswap, v);
    e.shift_imm(Bin::ShrU, v, 64 - w.bits())
}
/// BSWAP of a 16-bit register is undefined: processors write 0.
#[inline(always)]
pub fn bswap<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    let w = i.width();
    let r = if w == Width::W16 {
        e.imm(0)
    } else {
        let a = read_gpr(e, w, i.regs[0]);
        swapped(e, w, a)
    };
    write_gpr(e, w, i.regs[0], r);
    Ok(())
}
#[inline(always)]
pub fn movbe<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    let v = read(e, i, 1, i.width())?;
    let v = swapped(e, i.width(), v);
    write(e, i, 0, i.width(), v)
}

/// CRC32: the CRC-32C of the destination's low half continued over the source.
pub fn crc32<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    let v = read(e, i, 1, i.src_width())?;
    let crc = read_gpr(e, Width::W32, i.regs[0]);
    let n = e.imm(u64::from(i.src_width().bytes()));
    let r = e.helper(helpers::CRC32C, &[crc, v, n])?;
    write_gpr(e, Width::W64, i.regs[0], r);
    Ok(())
}
