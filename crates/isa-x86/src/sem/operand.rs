//! Operands: addresses, registers, memory and immediates, read and written at their width.

use guest_api::{Bin, Emit, Width};

use super::Sem;
use crate::cpu::{ZERO, gpr};
use crate::insn::{Insn, Kind};
use guest_api::Slot;

/// Address of the memory operand: the linear address in 64-bit mode, else the offset in its segment.
#[inline(always)]
pub fn address<E: Emit>(e: &mut E, i: &Insn) -> E::V {
    let a = effective_address(e, i);
    segment_address(e, i, a)
}

/// `a`, an effective address, with the base that the instruction's segment adds in 64-bit mode.
#[inline(always)]
pub fn segment_address<E: Emit>(e: &mut E, i: &Insn, a: E::V) -> E::V {
    if i.seg_base == ZERO {
        return a;
    }
    let base = e.get(Slot(i.seg_base));
    e.add(a, base)
}

/// The effective address, as LEA gives it: without a segment base, truncated to the address size.
#[inline(always)]
pub fn effective_address<E: Emit>(e: &mut E, i: &Insn) -> E::V {
    let mut a = e.get(Slot(i.base));
    if i.index != ZERO {
        let x = e.get(Slot(i.index));
        let x = e.shift_imm(Bin::Shl, x, u32::from(i.scale));
        a = e.add(a, x);
    }
    a = e.add_imm(a, i.disp());
    e.zext(i.addr_width(), a)
}

/// The register `r` at width `w`, zero-extended.
#[inline(always)]
pub fn read_gpr<E: Emit>(e: &mut E, w: Width, r: u8) -> E::V {
    let v = e.get(gpr(r));
    e.zext(w, v)
}

/// Writes `v`, zero-extended from `w`, to register `r`: 32 bits clear the upper half, 8 and 16 bits leave the rest (SDM 1 3.4.1.1).
#[inline(always)]
pub fn write_gpr<E: Emit>(e: &mut E, w: Width, r: u8, v: E::V) {
    let v = match w {
        Width::W64 | Width::W32 => v,
        Width::W16 | Width::W8 => {
            let old = e.get(gpr(r));
            let kept = e.and_imm(old, !w.mask());
            e.or(kept, v)
        }
    };
    e.put(gpr(r), v);
}

/// Where a destination operand lies: its address, computed once, if it is memory.
pub struct Place<V> {
    address: Option<V>,
}

impl<V> Place<V> {
    /// Memory at `address`.
    pub fn at(address: V) -> Place<V> {
        Place { address: Some(address) }
    }
}

/// Operand `n` as a place of width `w`.
#[inline(always)]
pub fn place<E: Emit>(e: &mut E, i: &Insn, n: usize) -> Place<E::V> {
    Place { address: if i.kinds[n] == Kind::Mem { Some(address(e, i)) } else { None } }
}

/// Reads a place that will be written too.
#[inline(always)]
pub fn read_place<E: Emit>(e: &mut E, i: &Insn, n: usize, w: Width, p: &Place<E::V>) -> Result<E::V, E::Exit> {
    match p.address {
        Some(a) => e.load_rmw(w, a, i.space),
        None => Ok(read_reg(e, i, n, w)),
    }
}

/// Reads a place that will not be written.
#[inline(always)]
pub fn load_place<E: Emit>(e: &mut E, i: &Insn, n: usize, w: Width, p: &Place<E::V>) -> Result<E::V, E::Exit> {
    match p.address {
        Some(a) => e.load(w, a, i.space),
        None => Ok(read_reg(e, i, n, w)),
    }
}

/// Writes a place. The last thing in an instruction that can fault.
#[inline(always)]
pub fn write_place<E: Emit>(e: &mut E, i: &Insn, n: usize, w: Width, p: &Place<E::V>, v: E::V) -> Sem<E> {
    match p.address {
        Some(a) => e.store(w, a, v, i.space),
        None => {
            write_reg(e, i, n, w, v);
            Ok(())
        }
    }
}

#[inline(always)]
fn read_reg<E: Emit>(e: &mut E, i: &Insn, n: usize, w: Width) -> E::V {
    if i.kinds[n] == Kind::GprHigh {
        let v = e.get(gpr(i.regs[n]));
        let v = e.shift_imm(Bin::ShrU, v, 8);
        e.zext(Width::W8, v)
    } else {
        read_gpr(e, w, i.regs[n])
    }
}

#[inline(always)]
fn write_reg<E: Emit>(e: &mut E, i: &Insn, n: usize, w: Width, v: E::V) {
    if i.kinds[n] == Kind::GprHigh {
        let old = e.get(gpr(i.regs[n]));
        let kept = e.and_imm(old, !0xff00);
        let v = e.shift_imm(Bin::Shl, v, 8);
        let v = e.or(kept, v);
        e.put(gpr(i.regs[n]), v);
    } else {
        write_gpr(e, w, i.regs[n], v);
    }
}

/// Reads operand `n` (register, memory or immediate) at width `w`, zero-extended.
#[inline(always)]
pub fn read<E: Emit>(e: &mut E, i: &Insn, n: usize, w: Width) -> Result<E::V, E::Exit> {
    match i.kinds[n] {
        Kind::Mem => {
            let a = address(e, i);
            e.load(w, a, i.space)
        }
        Kind::Imm => Ok(e.imm(i.imm() & w.mask())),
        _ => Ok(read_reg(e, i, n, w)),
    }
}

/// Writes operand `n` (register or memory) at width `w`; `v` is zero-extended.
#[inline(always)]
pub fn write<E: Emit>(e: &mut E, i: &Insn, n: usize, w: Width, v: E::V) -> Sem<E> {
    let p = place(e, i, n);
    write_place(e, i, n, w, &p, v)
}

/// The top of the stack, as an address in `i.stack()`, moved by `by` bytes but not committed.
#[inline(always)]
pub fn stack_pointer<E: Emit>(e: &mut E, i: &Insn, by: u64) -> E::V {
    let sp = e.get(gpr(crate::cpu::RSP));
    let sp = e.add_imm(sp, by);
    e.zext(i.stack_width(), sp)
}

/// Commits a stack pointer made by [`stack_pointer`].
#[inline(always)]
pub fn set_stack_pointer<E: Emit>(e: &mut E, i: &Insn, sp: E::V) {
    write_gpr(e, i.stack_width(), crate::cpu::RSP, sp);
}

/// Pushes `v` at width `w`: the store first, then RSP.
#[inline(always)]
pub fn push<E: Emit>(e: &mut E, i: &Insn, w: Width, v: E::V) -> Sem<E> {
    let sp = stack_pointer(e, i, (w.bytes() as u64).wrapping_neg());
    e.store(w, sp, v, i.stack())?;
    set_stack_pointer(e, i, sp);
    Ok(())
}

/// The value at the top of the stack and the stack pointer behind it, not committed.
#[inline(always)]
pub fn peek<E: Emit>(e: &mut E, i: &Insn, w: Width) -> Result<(E::V, E::V), E::Exit> {
    let sp = stack_pointer(e, i, 0);
    let v = e.load(w, sp, i.stack())?;
    Ok((v, stack_pointer(e, i, u64::from(w.bytes()))))
}
