//! System instructions that kernels use all the time, in the vocabulary so that translated code need not be left for them: what is
//! not a general register or a condition flag is a helper's affair.

use guest_api::{Bin, Emit, EmitVector, Flag, Rel, Slot, Unit, Width};

use super::Sem;
use super::helpers::*;
use super::operand::{address, peek, push, read_gpr, set_stack_pointer, write_gpr};
use crate::cpu::{
    BEHIND_STI, CodeSize, DIRECTION, FMASK, KERNEL_GS_BASE, LSTAR, NO_STI, NONE_WAITS, PASSED, R11, RAX, RCX, RDX,
    REST, RSP, SEG_BASE, SegReg, gpr, rflags,
};
use crate::insn::Insn;

/// What only CPL 0 of 64-bit mode has.
pub const SUPERVISOR: Unit = Unit(3);
/// What only a CPL not beyond IOPL has: CLI and STI (SDM 2 CLI, table 3-7).
pub const INTERRUPT_FLAG: Unit = Unit(4);

/// The condition flags by their bits in RFLAGS.
const FLAGS: [(Flag, u32); 6] =
    [(Flag::Carry, 0), (Flag::Parity, 2), (Flag::Aux, 4), (Flag::Zero, 6), (Flag::Sign, 7), (Flag::Overflow, 11)];

/// RFLAGS, assembled from the condition flags, DF and `rest`.
#[inline(always)]
fn assemble<E: Emit>(e: &mut E, rest: E::V) -> E::V {
    let mut v = rest;
    for (f, bit) in FLAGS {
        let c = e.flag(f);
        let c = e.value(c);
        let c = e.shift_imm(Bin::Shl, c, bit);
        v = e.or(v, c);
    }
    let d = e.get(Slot(DIRECTION));
    let d = e.and_imm(d, rflags::DF);
    e.or(v, d)
}

/// Sets the condition flags and DF from their bits in `v`.
#[inline(always)]
fn spread<E: Emit>(e: &mut E, v: E::V) {
    let carry = e.bit(v, 0);
    let overflow = e.bit(v, 11);
    let one = e.imm(1);
    e.flags_with(Width::W8, one, carry, overflow);
    for (f, bit) in &FLAGS[1..5] {
        let c = e.bit(v, *bit);
        e.set_flag(*f, c);
    }
    let down = e.and_imm(v, rflags::DF);
    let down = e.rel_imm(Rel::Ne, down, 0);
    let (minus, plus) = (e.imm(u64::MAX), e.imm(1));
    let d = e.select(down, minus, plus);
    e.put(Slot(DIRECTION), d);
}

/// PUSHF: RF and VM are pushed as 0.
pub fn pushf<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    if i.bits() != CodeSize::Bits64 {
        e.helper(REQUIRE_IOPL_IN_V86, &[])?;
    }
    let rest = e.get_shared(Slot(REST));
    let rest = e.and_imm(rest, !(rflags::RF | rflags::VM));
    let fixed = e.imm(2);
    let rest = e.or(rest, fixed);
    let v = assemble(e, rest);
    let v = e.zext(i.width(), v);
    push(e, i, i.width(), v)
}

/// POPF: what may change depends on the privilege; VM, VIF and VIP never do, RF is cleared.
pub fn popf<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    let (v, sp) = peek(e, i, i.width())?;
    let narrow = e.imm(u64::from(i.width() == Width::W16));
    e.helper(POP_RFLAGS, &[v, narrow])?;
    set_stack_pointer(e, i, sp);
    spread(e, v);
    Ok(())
}

/// CLI (SDM 2), without VME and PVI.
pub fn cli<E: EmitVector>(e: &mut E, _: &Insn) -> Sem<E> {
    e.require(INTERRUPT_FLAG)?;
    let rest = e.get_shared(Slot(REST));
    let rest = e.and_imm(rest, !rflags::IF);
    e.put_shared(Slot(REST), rest);
    Ok(())
}
/// STI (SDM 2), without VME and PVI. An interrupt that waits is to come behind the next instruction: what looks for one looks at
/// [`BEHIND_STI`] before.
pub fn sti<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    e.require(INTERRUPT_FLAG)?;
    let rest = e.get_shared(Slot(REST));
    let (was_on, none_waits) = (e.and_imm(rest, rflags::IF), e.get_shared(Slot(NONE_WAITS)));
    let no = e.or(was_on, none_waits);
    let look = e.rel_imm(Rel::Eq, no, 0);
    e.when(look, |e| e.helper(LOOK, &[]).map(drop))?;
    let on = e.imm(rflags::IF);
    let rest = e.or(rest, on);
    e.put_shared(Slot(REST), rest);
    let pc = e.block_pc();
    let next = e.code_address(i.next_pc(pc));
    let no = e.shift_imm(Bin::Shl, was_on, NO_STI - rflags::IF.trailing_zeros());
    // It is canonical, in either half.
    let behind = e.xor(next, no);
    e.put_shared(Slot(BEHIND_STI), behind);
    Ok(())
}
pub fn stac<E: Emit>(e: &mut E, _: &Insn) -> Sem<E> {
    let on = e.imm(1);
    e.helper(SET_AC, &[on]).map(drop)
}
pub fn clac<E: Emit>(e: &mut E, _: &Insn) -> Sem<E> {
    let off = e.imm(0);
    e.helper(SET_AC, &[off]).map(drop)
}

/// SWAPGS (SDM 2): 64-bit mode, CPL 0.
pub fn swapgs<E: EmitVector>(e: &mut E, _: &Insn) -> Sem<E> {
    e.require(SUPERVISOR)?;
    let slots = [SEG_BASE + SegReg::Gs as u8, KERNEL_GS_BASE].map(Slot);
    let [base, kernel] = slots.map(|s| e.get(s));
    e.put(slots[0], kernel);
    e.put(slots[1], base);
    Ok(())
}

/// RDTSC: at CPL 0 only where CR4.TSD is set.
pub fn rdtsc<E: Emit>(e: &mut E, _: &Insn) -> Sem<E> {
    let v = e.helper(READ_TSC, &[])?;
    let low = e.zext(Width::W32, v);
    let high = e.shift_imm(Bin::ShrU, v, 32);
    write_gpr(e, Width::W64, RAX, low);
    write_gpr(e, Width::W64, RDX, high);
    Ok(())
}

/// RDTSCP: IA32_TSC_AUX as well.
pub fn rdtscp<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    let aux = e.helper(READ_TSC_AUX, &[])?;
    rdtsc(e, i)?;
    write_gpr(e, Width::W64, RCX, aux);
    Ok(())
}

/// MOV from a control register.
pub fn mov_from_cr<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    let n = e.imm(i.regs[1].into());
    let v = e.helper(READ_CR, &[n])?;
    let v = e.zext(i.width(), v);
    write_gpr(e, i.width(), i.regs[0], v);
    Ok(())
}

/// MOV to a control register.
pub fn mov_to_cr<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    let n = e.imm(i.regs[0].into());
    let v = read_gpr(e, i.width(), i.regs[1]);
    e.helper(WRITE_CR, &[n, v])?;
    go_on(e, i);
    Ok(())
}

/// INVLPG.
pub fn invlpg<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    let va = address(e, i);
    let space = e.imm(i.space.0.into());
    e.helper(INVLPG, &[va, space])?;
    go_on(e, i);
    Ok(())
}

/// Goes to the next instruction as to any address: where code is may have changed.
fn go_on<E: Emit>(e: &mut E, i: &Insn) {
    let next = i.next_pc(e.block_pc());
    let next = e.code_address(next);
    e.goto(next);
}

/// SYSCALL (SDM 2). Intel's processors have it in 64-bit mode only.
pub fn syscall<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    let rest = e.helper(SYSCALL, &[])?;
    let flags = assemble(e, rest);
    let [target, mask] = [LSTAR, FMASK].map(|s| e.get(Slot(s)));
    let back = i.next_pc(e.block_pc());
    let back = e.code_address(back);
    e.put(gpr(RCX), back);
    e.put(gpr(R11), flags);
    let kept = e.un(guest_api::Un::Not, mask);
    let flags = e.and(flags, kept);
    spread(e, flags);
    e.goto(target);
    Ok(())
}

/// SYSRET to 64-bit (REX.W) or compatibility mode.
pub fn sysret<E: Emit>(e: &mut E, i: &Insn) -> Sem<E> {
    let (target, flags) = (e.get(gpr(RCX)), e.get(gpr(R11)));
    let long = e.imm(u64::from(i.width() == Width::W64));
    let target = e.helper(SYSRET, &[target, flags, long])?;
    spread(e, flags);
    e.goto(target);
    Ok(())
}

/// IRETQ, which only 64-bit mode has.
pub fn iretq<E: Emit>(e: &mut E, _: &Insn) -> Sem<E> {
    let sp = e.get(gpr(RSP));
    let target = e.helper(IRETQ, &[sp])?;
    let (sp, flags) = (e.get_shared(gpr(RSP)), e.get_shared(Slot(PASSED)));
    e.put(gpr(RSP), sp);
    spread(e, flags);
    e.goto(target);
    Ok(())
}
