//! String instructions (SDM 2: MOVS, CMPS, STOS, LODS, SCAS, REP).
//!
//! The meaning is one iteration; under a repeat prefix the instruction then continues at itself, so that it can be interrupted and a
//! fault leaves the registers at the element that faulted. Comparisons set the flags in their last iteration only: a fault before it leaves
//! them as they were (SDM 2 REP). Before its iteration it may skip elements by a bulk helper, all in the
//! page of the iteration's own element, which therefore cannot fault once any was skipped. That is an optimisation, not
//! another meaning: crate `semantics` holds it against the plain instructions.

use guest_api::{Bin, Emit, FlagOp, Helper, Rel, Slot, Space, Width};

use super::operand::*;
use super::{Sem, helpers};
use crate::cpu::{CodeSize, DIRECTION, PASSED, RAX, RCX, RDI, RSI, SegReg};
use crate::insn::{Insn, prefix, segment_space};

/// The destination of string instructions: ES, which cannot be overridden.
#[inline(always)]
fn destination_space(i: &Insn) -> Space {
    if i.bits() == CodeSize::Bits64 { Space::FLAT } else { segment_space(SegReg::Es) }
}

/// Pointer register `r` behind `skip` elements.
#[inline(always)]
fn pointer<E: Emit>(e: &mut E, i: &Insn, r: u8, skip: E::V) -> E::V {
    let p = e.get(crate::cpu::gpr(r));
    let by = e.shift_imm(Bin::Shl, skip, i.width() as u32);
    let p = e.add(p, by);
    e.zext(i.addr_width(), p)
}

/// Commits pointer register `r`, which stood at `p`, behind that element.
#[inline(always)]
fn step<E: Emit>(e: &mut E, i: &Insn, r: u8, p: E::V) {
    let d = e.get(Slot(DIRECTION));
    let by = e.shift_imm(Bin::Shl, d, i.width() as u32);
    let p = e.add(p, by);
    let p = e.zext(i.addr_width(), p);
    write_gpr(e, i.addr_width(), r, p);
}

/// The iteration `body`, given the number of elements that `bulk` skipped, repeated as the prefixes say: while rCX is not 0
/// and, for comparisons, which give what they have compared, it is equal or not as the prefix wants.
#[inline(always)]
fn repeat<E: Emit>(
    e: &mut E,
    i: &Insn,
    compares: bool,
    bulk: Option<Helper>,
    body: impl FnOnce(&mut E, E::V) -> Result<Option<(E::V, E::V)>, E::Exit>,
) -> Sem<E> {
    if !i.has(prefix::REP | prefix::REPNE) {
        let none = e.imm(0);
        if let Some((a, b)) = body(e, none)? {
            compare(e, i, a, b);
        }
        return Ok(());
    }
    let n = read_gpr(e, i.addr_width(), RCX);
    let some = e.rel_imm(Rel::Ne, n, 0);
    e.when(some, |e| {
        let skip = match bulk {
            Some(h) => skip(e, i, h, n)?,
            None => e.imm(0),
        };
        let compared = body(e, skip)?;
        let left = e.sub(n, skip);
        let left = e.add_imm(left, u64::MAX);
        write_gpr(e, i.addr_width(), RCX, left);
        let Some((a, b)) = compared else { return Ok(()) };
        let again = e.rel_imm(Rel::Ne, left, 0);
        let c = e.rel(if i.has(prefix::REPNE) { Rel::Ne } else { Rel::Eq }, a, b);
        let again = e.both(again, c);
        let passed = e.value(again);
        e.put_shared(Slot(PASSED), passed);
        let last = e.not(again);
        e.when(last, |e| {
            compare(e, i, a, b);
            Ok(())
        })
    })?;
    let n = read_gpr(e, i.addr_width(), RCX);
    let mut again = e.rel_imm(Rel::Ne, n, 0);
    if compares {
        let passed = e.get_shared(Slot(PASSED));
        let c = e.rel_imm(Rel::Ne, passed, 0);
        again = e.both(again, c);
    }
    let pc = e.block_pc();
    e.branch(again, i.pc(pc), i.next_pc(pc));
    Ok(())
}

/// Lets `bulk` do elements; their number. At least one of the `n` is left.
fn skip<E: Emit>(e: &mut E, i: &Insn, bulk: Helper, n: E::V) -> Result<E::V, E::Exit> {
    let none = e.imm(0);
    if i.bits() == CodeSize::Bits64 && i.addr_width() != Width::W64 {
        return Ok(none); // pointers that wrap below a segment base
    }
    let up = e.get(Slot(DIRECTION));
    let up = e.rel_imm(Rel::Eq, up, 1);
    let n = e.select(up, n, none);
    let how = e.imm(helpers::Span::pack(i, destination_space(i)));
    let to = pointer(e, i, RDI, none);
    let first = if bulk == helpers::BULK_MOVS || bulk == helpers::BULK_CMPS {
        let p = pointer(e, i, RSI, none);
        segment_address(e, i, p)
    } else {
        read_gpr(e, i.width(), RAX)
    };
    e.helper(bulk, &[first, to, n, how])
}

pub fn movs<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    repeat(e, i, false, Some(helpers::BULK_MOVS), |e, skip| {
        let (si, di) = (pointer(e, i, RSI, skip), pointer(e, i, RDI, skip));
        let a = segment_address(e, i, si);
        let v = e.load(i.width(), a, i.space)?;
        e.store(i.width(), di, v, destination_space(i))?;
        step(e, i, RSI, si);
        step(e, i, RDI, di);
        Ok(None)
    })
}
pub fn stos<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    repeat(e, i, false, Some(helpers::BULK_STOS), |e, skip| {
        let di = pointer(e, i, RDI, skip);
        let v = read_gpr(e, i.width(), RAX);
        e.store(i.width(), di, v, destination_space(i))?;
        step(e, i, RDI, di);
        Ok(None)
    })
}
pub fn lods<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    repeat(e, i, false, None, |e, skip| {
        let si = pointer(e, i, RSI, skip);
        let a = segment_address(e, i, si);
        let v = e.load(i.width(), a, i.space)?;
        step(e, i, RSI, si);
        write_gpr(e, i.width(), RAX, v);
        Ok(None)
    })
}
pub fn cmps<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    let bulk = if i.has(prefix::REPNE) { None } else { Some(helpers::BULK_CMPS) };
    repeat(e, i, true, bulk, |e, skip| {
        let (si, di) = (pointer(e, i, RSI, skip), pointer(e, i, RDI, skip));
        let a = segment_address(e, i, si);
        let a = e.load(i.width(), a, i.space)?;
        let b = e.load(i.width(), di, destination_space(i))?;
        step(e, i, RSI, si);
        step(e, i, RDI, di);
        Ok(Some((a, b)))
    })
}
pub fn scas<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    let bulk = if i.has(prefix::REPNE) { Some(helpers::BULK_SCAS) } else { None };
    repeat(e, i, true, bulk, |e, skip| {
        let di = pointer(e, i, RDI, skip);
        let a = read_gpr(e, i.width(), RAX);
        let b = e.load(i.width(), di, destination_space(i))?;
        step(e, i, RDI, di);
        Ok(Some((a, b)))
    })
}

#[inline(always)]
fn compare<E: Emit>(e: &mut E, i: &Insn, a: E::V, b: E::V) {
    let r = e.sub(a, b);
    let r = e.zext(i.width(), r);
    e.flags(FlagOp::Sub, i.width(), a, b, r);
}
