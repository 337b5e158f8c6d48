//! Transfers between segments and privilege levels: far JMP, CALL and RET, IRET, SYSCALL, SYSENTER and their returns (SDM 2).

use guest_api::{Emit, Space, Width};

use super::interrupts::{in_64_bit_mode, tss_stack, tss_stack64};
use super::paging::{as_system, canonical, with_privilege};
use super::segments::{Descriptor, attr, mark_accessed, need_descriptor, stack_descriptor, system, upper_base};
use super::stack::Stack;
use super::task::{self, Cause};
use crate::cpu::{Cpu, FMASK, PASSED, RCX, RDX, RFLAGS_REST, RSP, SegReg, Segment, cr0, efer, rflags};
use crate::exec::Exec;
use crate::fault::{GP, NP, Stop};
use crate::insn::{Insn, Kind};
use crate::sem::operand::address;

/// Selector and offset that a far branch names.
fn target(cx: &mut Exec<'_>, i: &Insn) -> Result<(u16, u64), Stop> {
    if i.kinds[0] != Kind::Mem {
        return Ok((i.second_imm(), i.imm() & i.width().mask()));
    }
    let a = address(cx, i);
    let offset = cx.load(i.width(), a, i.space)?;
    let selector = cx.load(Width::W16, a.wrapping_add(u64::from(i.width().bytes())), i.space)?;
    Ok((selector as u16, offset))
}

/// Checks that `ip` lies in the code segment of `d`: its limit, or canonical in 64-bit code. #GP(0).
fn check_ip(cx: &mut Exec<'_>, d: Descriptor, ip: u64) -> Result<(), Stop> {
    let good = if cx.cpu.long_mode() && d.is_64() { canonical(ip) } else { ip <= u64::from(d.limit()) };
    if good { Ok(()) } else { Err(cx.gp0()) }
}

/// In IA-32e mode a code descriptor with both L and D is none.
fn check_long(cx: &mut Exec<'_>, d: Descriptor, selector: u16) -> Result<(), Stop> {
    let both = attr::L | attr::DB;
    if cx.cpu.long_mode() && d.attr() & both == both { Err(cx.selector_fault(GP, selector)) } else { Ok(()) }
}

/// A direct far jump's or call's code descriptor at the current privilege.
fn check_code(cx: &mut Exec<'_>, d: &mut Descriptor, selector: u16) -> Result<(), Stop> {
    let (cpl, rpl) = (cx.cpu.cpl, selector as u8 & 3);
    let good = if d.is_conforming() { d.dpl() <= cpl } else { rpl <= cpl && d.dpl() == cpl };
    if !good {
        return Err(cx.selector_fault(GP, selector));
    }
    check_long(cx, *d, selector)?;
    if !d.present() {
        return Err(cx.selector_fault(NP, selector));
    }
    Ok(())
}

/// What a far branch found behind a selector in protected mode.
enum Found {
    Code(Descriptor),
    Gate(Descriptor),
    Task(u16),
}

fn find(cx: &mut Exec<'_>, selector: u16) -> Result<Found, Stop> {
    if selector & !3 == 0 {
        return Err(cx.gp0());
    }
    let mut d = need_descriptor(cx, selector, GP)?;
    let long = cx.cpu.long_mode();
    let Some(kind) = d.system() else {
        if !d.is_code() {
            return Err(cx.selector_fault(GP, selector));
        }
        check_code(cx, &mut d, selector)?;
        return Ok(Found::Code(d));
    };
    let allowed = d.dpl() >= cx.cpu.cpl.max(selector as u8 & 3);
    let known = match kind {
        system::CALL_GATE => true,
        system::CALL_GATE16 | system::TASK_GATE | system::TSS | system::TSS16 => !long,
        _ => false,
    };
    if !known || !allowed {
        return Err(cx.selector_fault(GP, selector));
    }
    if !d.present() {
        return Err(cx.selector_fault(NP, selector));
    }
    match kind {
        system::TASK_GATE => Ok(Found::Task((d.raw >> 16) as u16)),
        system::TSS | system::TSS16 => Ok(Found::Task(selector)),
        _ => Ok(Found::Gate(d)),
    }
}

/// The code that call gate `g` (selected by `gate_selector`) leads to: descriptor, selector, offset.
fn through_gate(
    cx: &mut Exec<'_>,
    g: Descriptor,
    gate_selector: u16,
    call: bool,
) -> Result<(Descriptor, u16, u64), Stop> {
    let long = cx.cpu.long_mode();
    let upper = if long { upper_base(cx, gate_selector, g, GP)? } else { 0 };
    let selector = (g.raw >> 16) as u16;
    let mut offset = g.raw & 0xffff | g.raw >> 32 & 0xffff_0000 | upper;
    if g.system() == Some(system::CALL_GATE16) {
        offset &= 0xffff;
    }
    if selector & !3 == 0 {
        return Err(cx.gp0());
    }
    let d = need_descriptor(cx, selector, GP)?;
    let cpl = cx.cpu.cpl;
    let good = d.is_code()
        && d.dpl() <= cpl
        && (call || d.is_conforming() || d.dpl() == cpl)
        && (!long || d.attr() & (attr::L | attr::DB) == attr::L);
    if !good {
        return Err(cx.selector_fault(GP, selector));
    }
    if !d.present() {
        return Err(cx.selector_fault(NP, selector));
    }
    Ok((d, selector, offset))
}

fn enter(cx: &mut Exec<'_>, mut d: Descriptor, selector: u16, cpl: u8, ip: u64) -> Result<(), Stop> {
    check_ip(cx, d, ip)?;
    mark_accessed(cx, &mut d)?;
    cx.cpu.set_code_segment(d, selector, cpl);
    cx.cpu.rip = ip;
    cx.cpu.update_context();
    Ok(())
}

/// JMP ptr16:n and m16:n.
pub fn jmp_far(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
    let (selector, offset) = target(cx, i)?;
    if cx.cpu.paragraph_mode() {
        if offset > 0xffff {
            return Err(cx.gp0());
        }
        cx.cpu.set_paragraph(SegReg::Cs, selector);
        cx.cpu.rip = offset;
        cx.cpu.update_context();
        return Ok(());
    }
    match find(cx, selector)? {
        Found::Code(d) => enter(cx, d, selector, cx.cpu.cpl, offset),
        Found::Task(selector) => task::switch(cx, selector, Cause::Jump),
        Found::Gate(g) => {
            let (d, selector, offset) = through_gate(cx, g, selector, false)?;
            enter(cx, d, selector, cx.cpu.cpl, offset)
        }
    }
}

/// CALL ptr16:n and m16:n.
pub fn call_far(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
    let (selector, offset) = target(cx, i)?;
    let mut stack = Stack::current(cx.cpu);
    let old_cs = u64::from(cx.cpu.seg[SegReg::Cs as usize].selector);
    let back = cx.cpu.rip;
    if cx.cpu.paragraph_mode() {
        if offset > 0xffff {
            return Err(cx.gp0());
        }
        stack.push(cx, i.width(), old_cs)?;
        stack.push(cx, i.width(), back)?;
        stack.commit(cx.cpu);
        cx.cpu.set_paragraph(SegReg::Cs, selector);
        cx.cpu.rip = offset;
        cx.cpu.update_context();
        return Ok(());
    }
    match find(cx, selector)? {
        Found::Code(d) => {
            check_ip(cx, d, offset)?;
            if cx.cpu.long_mode() && d.is_64() {
                // From compatibility mode too: both makers' processors push as in 64-bit mode where they go there.
                stack = Stack::flat(cx.cpu.regs[RSP as usize]);
            }
            stack.push(cx, i.width(), old_cs)?;
            stack.push(cx, i.width(), back)?;
            enter(cx, d, selector, cx.cpu.cpl, offset)?;
            stack.commit(cx.cpu);
            Ok(())
        }
        Found::Task(selector) => task::switch(cx, selector, Cause::Call),
        Found::Gate(g) => call_gate(cx, g, selector),
    }
}

fn call_gate(cx: &mut Exec<'_>, g: Descriptor, gate_selector: u16) -> Result<(), Stop> {
    let (d, selector, offset) = through_gate(cx, g, gate_selector, true)?;
    let long = cx.cpu.long_mode();
    let w = match g.system() {
        Some(system::CALL_GATE16) => Width::W16,
        _ if long => Width::W64,
        _ => Width::W32,
    };
    let old_cpl = cx.cpu.cpl;
    let cpl = if d.is_conforming() { old_cpl } else { d.dpl() };
    let old_cs = u64::from(cx.cpu.seg[SegReg::Cs as usize].selector);
    let back = cx.cpu.rip;
    check_ip(cx, d, offset)?;
    if cpl == old_cpl {
        let mut stack = if long { Stack::flat(cx.cpu.regs[RSP as usize]) } else { Stack::current(cx.cpu) };
        stack.push(cx, w, old_cs)?;
        stack.push(cx, w, back)?;
        enter(cx, d, selector, cpl, offset)?;
        stack.commit(cx.cpu);
        return Ok(());
    }
    let (mut stack, new_ss) = if long {
        (Stack::flat(tss_stack64(cx, 4 + 8 * u64::from(cpl))?), None)
    } else {
        let (stack, d, ss) = tss_stack(cx, cpl)?;
        (stack, Some((d, ss)))
    };
    // Parameters are copied from the caller's stack (not in IA-32e mode).
    let count = if long { 0 } else { (g.raw >> 32) as usize & 31 };
    let mut parameters = [0; 31];
    let mut from = Stack::current(cx.cpu);
    for p in &mut parameters[..count] {
        *p = from.pop(cx, w)?;
    }
    with_privilege(cx, cpl, true, |cx| {
        stack.push(cx, w, u64::from(cx.cpu.seg[SegReg::Ss as usize].selector))?;
        stack.push(cx, w, cx.cpu.regs[RSP as usize])?;
        for p in parameters[..count].iter().rev() {
            stack.push(cx, w, *p)?;
        }
        stack.push(cx, w, old_cs)?;
        stack.push(cx, w, back)
    })?;
    enter(cx, d, selector, cpl, offset)?;
    match new_ss {
        Some((d, ss)) => cx.cpu.set_segment(SegReg::Ss, d.segment(ss), d.base()),
        None => cx.cpu.set_null(SegReg::Ss, u16::from(cpl)),
    }
    stack.commit(cx.cpu);
    cx.cpu.update_context();
    Ok(())
}

/// The code descriptor that RETF and IRET return to.
fn return_code(cx: &mut Exec<'_>, selector: u16) -> Result<Descriptor, Stop> {
    if selector & !3 == 0 {
        return Err(cx.gp0());
    }
    let mut d = need_descriptor(cx, selector, GP)?;
    let rpl = selector as u8 & 3;
    let level = if d.is_conforming() { d.dpl() <= rpl } else { d.dpl() == rpl };
    if !d.is_code() || rpl < cx.cpu.cpl || !level {
        return Err(cx.selector_fault(GP, selector));
    }
    check_long(cx, d, selector)?;
    if !d.present() {
        return Err(cx.selector_fault(NP, selector));
    }
    mark_accessed(cx, &mut d)?;
    Ok(d)
}

/// The SS that an outer RETF or an IRET returns to: a descriptor, or `None` for a null selector where 64-bit code may have one.
fn return_stack(cx: &mut Exec<'_>, ss: u16, code: Descriptor, cpl: u8) -> Result<Option<Descriptor>, Stop> {
    if ss & !3 == 0 && cx.cpu.long_mode() && code.is_64() && cpl != 3 {
        return if ss as u8 & 3 == cpl { Ok(None) } else { Err(cx.selector_fault(GP, ss)) };
    }
    stack_descriptor(cx, ss, cpl, GP).map(Some)
}

/// Data segments that the outer level may not use become null (SDM 2 RET). Null selectors lose their RPL, as processors have it. The base stays, unlike where a
/// null selector is loaded: 64-bit code goes on with that of FS or GS.
fn drop_inner_segments(cpu: &mut Cpu, cpl: u8) {
    for s in [SegReg::Es, SegReg::Ds, SegReg::Fs, SegReg::Gs] {
        let seg = cpu.seg[s as usize];
        let conforming = seg.attr & (attr::CODE | attr::CONFORMING) == attr::CODE | attr::CONFORMING;
        if seg.is_null() {
            cpu.seg[s as usize].selector = 0;
        } else if !conforming && seg.dpl() < cpl {
            cpu.seg[s as usize] = Segment::NULL;
        }
    }
}

/// Returns to CS:IP and, where it is outer or `with_stack`, to SS:SP, both of which were popped. `skip`: bytes that RET n releases.
fn return_to(
    cx: &mut Exec<'_>,
    cs: u16,
    ip: u64,
    mut stack: Stack,
    w: Width,
    skip: u64,
    with_stack: bool,
) -> Result<(), Stop> {
    let d = return_code(cx, cs)?;
    let cpl = cs as u8 & 3;
    let outer = cpl > cx.cpu.cpl;
    if !outer && !with_stack {
        check_ip(cx, d, ip)?;
        stack.skip(skip);
        cx.cpu.set_code_segment(d, cs, cpl);
        stack.commit(cx.cpu);
    } else {
        stack.skip(skip);
        let sp = stack.pop(cx, w)?;
        let ss = stack.pop(cx, w)? as u16;
        let stack_d = return_stack(cx, ss, d, cpl)?;
        check_ip(cx, d, ip)?;
        cx.cpu.set_code_segment(d, cs, cpl);
        match stack_d {
            Some(s) => cx.cpu.set_segment(SegReg::Ss, s.segment(ss), s.base()),
            None => cx.cpu.set_null(SegReg::Ss, ss),
        }
        if outer {
            drop_inner_segments(cx.cpu, cpl);
        }
        // RET n releases parameters from both stacks. A 16-bit stack keeps the upper bits of ESP.
        let wide = in_64_bit_mode(cx.cpu) || cx.cpu.seg[SegReg::Ss as usize].attr & attr::DB != 0;
        let rsp = &mut cx.cpu.regs[RSP as usize];
        *rsp = if wide { sp.wrapping_add(skip) } else { *rsp & !0xffff | sp.wrapping_add(skip) & 0xffff };
        if !in_64_bit_mode(cx.cpu) {
            cx.cpu.regs[RSP as usize] &= 0xffff_ffff;
        }
    }
    cx.cpu.rip = ip;
    cx.cpu.update_context();
    Ok(())
}

/// RETF, RETF imm16.
pub fn ret_far(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
    let skip = if i.kinds[0] == Kind::Imm { i.imm() & 0xffff } else { 0 };
    let mut stack = Stack::current(cx.cpu);
    let ip = stack.pop(cx, i.width())?;
    let cs = stack.pop(cx, i.width())? as u16;
    if cx.cpu.paragraph_mode() {
        if ip > 0xffff {
            return Err(cx.gp0());
        }
        stack.skip(skip);
        stack.commit(cx.cpu);
        cx.cpu.set_paragraph(SegReg::Cs, cs);
        cx.cpu.rip = ip;
        cx.cpu.update_context();
        return Ok(());
    }
    return_to(cx, cs, ip, stack, i.width(), skip, false)
}

/// The flags that IRET of width `w` may change at privilege `cpl` (SDM 2 IRET).
fn iret_flags(cpu: &Cpu, w: Width, cpl: u8) -> u64 {
    use rflags::*;
    let mut mask = CF | PF | AF | ZF | SF | TF | DF | OF | NT;
    if w != Width::W16 {
        mask |= RF | AC | ID;
    }
    if cpl <= cpu.iopl() {
        mask |= IF;
    }
    if cpl == 0 {
        mask |= IOPL | if w == Width::W16 { 0 } else { VIF | VIP };
    }
    mask
}

fn merge_flags(cx: &mut Exec<'_>, v: u64, mask: u64) {
    cx.set_rflags(cx.cpu.rflags() & !mask | v & mask);
}

/// How each IRET begins. NMIs come through from here on, even where it faults (SDM 3 6.7.1). Whether it returns from a nested task.
fn begin_iret(cx: &mut Exec<'_>) -> Result<bool, Stop> {
    if core::mem::take(&mut cx.cpu.nmi_blocked) {
        cx.cpu.attention = true; // one may be waiting
    }
    let nested = cx.cpu.cr0 & cr0::PE != 0 && cx.cpu.rflags_rest() & rflags::NT != 0 && !cx.cpu.virtual_8086();
    if nested && cx.cpu.long_mode() { Err(cx.gp0()) } else { Ok(nested) }
}

/// IRET, IRETD.
pub fn iret(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
    let w = i.width();
    let mut stack = Stack::current(cx.cpu);
    if begin_iret(cx)? {
        let tr = cx.cpu.tr;
        let link = as_system(cx, |cx| cx.load_linear(Width::W16, tr.base, Space::FLAT))? as u16;
        return task::switch(cx, link, Cause::Iret);
    }
    let v86 = cx.cpu.virtual_8086();
    if v86 && cx.cpu.iopl() < 3 {
        return Err(cx.gp0());
    }
    let ip = stack.pop(cx, w)?;
    let cs = stack.pop(cx, w)? as u16;
    let flags = stack.pop(cx, w)?;
    if cx.cpu.paragraph_mode() {
        if ip > 0xffff {
            return Err(cx.gp0());
        }
        let mut mask = iret_flags(cx.cpu, w, cx.cpu.cpl) & !(rflags::VIF | rflags::VIP);
        if v86 {
            mask = mask & !rflags::IOPL | rflags::IF;
        }
        stack.commit(cx.cpu);
        cx.cpu.set_paragraph(SegReg::Cs, cs);
        cx.cpu.rip = ip;
        merge_flags(cx, flags, mask);
        return Ok(());
    }
    if flags & rflags::VM != 0 && cx.cpu.cpl == 0 && w == Width::W32 && !cx.cpu.long_mode() {
        return iret_to_v86(cx, stack, ip, cs, flags);
    }
    let mask = iret_flags(cx.cpu, w, cx.cpu.cpl);
    return_to(cx, cs, ip, stack, w, 0, in_64_bit_mode(cx.cpu))?;
    merge_flags(cx, flags, mask);
    Ok(())
}

/// What IRETQ with its frame at `sp` does; where it goes.
pub(crate) fn iretq(cx: &mut Exec<'_>, sp: u64) -> Result<u64, Stop> {
    // An NMI may be waiting, and the frame or a descriptor be watched.
    if cx.cpu.translated && (cx.cpu.nmi_blocked || cx.cpu.watching) {
        return Err(Stop);
    }
    begin_iret(cx)?;
    let w = Width::W64;
    cx.cpu.regs[RSP as usize] = sp;
    let mut stack = Stack::flat(sp);
    let ip = stack.pop(cx, w)?;
    let cs = stack.pop(cx, w)? as u16;
    let flags = stack.pop(cx, w)?;
    cx.cpu.regs[PASSED as usize] = flags;
    let mask = iret_flags(cx.cpu, w, cx.cpu.cpl);
    cx.can_load_rflags(cx.cpu.rflags_rest() & !mask | flags & mask)?;
    return_to(cx, cs, ip, stack, w, 0, true)?;
    merge_flags(cx, flags, mask);
    Ok(cx.cpu.rip)
}

fn iret_to_v86(cx: &mut Exec<'_>, mut stack: Stack, ip: u64, cs: u16, flags: u64) -> Result<(), Stop> {
    let w = Width::W32;
    let sp = stack.pop(cx, w)?;
    let mut selectors = [(SegReg::Cs, cs); 6];
    for (k, s) in [SegReg::Ss, SegReg::Es, SegReg::Ds, SegReg::Fs, SegReg::Gs].into_iter().enumerate() {
        selectors[k + 1] = (s, stack.pop(cx, w)? as u16);
    }
    if ip > 0xffff {
        return Err(cx.gp0());
    }
    cx.cpu.set_rflags(flags);
    for (s, selector) in selectors {
        cx.cpu.set_paragraph(s, selector);
    }
    cx.cpu.regs[RSP as usize] = sp;
    cx.cpu.rip = ip;
    cx.cpu.cpl = 3;
    cx.cpu.update_context();
    Ok(())
}

/// Flat code and stack segments at privilege `cpl`; `cs` and `ss` are taken as they are, no descriptor is read.
fn flat_segments(cpu: &mut Cpu, cs: u16, ss: u16, cpl: u8, long: bool) {
    let level = u16::from(cpl) << 5;
    // Code: execute/read, accessed. Data: read/write, accessed. Both present, 4 KiB granular.
    let code = 0x9b | level | attr::G | if long { attr::L } else { attr::DB };
    cpu.set_segment(SegReg::Cs, Segment::flat(cs & !3 | u16::from(cpl), code), 0);
    cpu.set_segment(SegReg::Ss, Segment::flat(ss & !3 | u16::from(cpl), 0x93 | level | attr::G | attr::DB), 0);
    cpu.cpl = cpl;
}

/// What SYSCALL does but for RCX, R11, the condition flags and DF; where it goes.
pub(crate) fn syscall(cx: &mut Exec<'_>) -> Result<u64, Stop> {
    if cx.cpu.msr.efer & efer::SCE == 0 || !in_64_bit_mode(cx.cpu) {
        return Err(cx.ud());
    }
    let cpu = &mut *cx.cpu;
    let cs = (cpu.msr.star >> 32) as u16 & !3;
    flat_segments(cpu, cs, cs.wrapping_add(8), 0, true);
    let rest = 2 | cpu.rflags_rest();
    *cpu.rflags_rest_mut() = rest & RFLAGS_REST & !(cpu.regs[FMASK as usize] | rflags::RF);
    cpu.update_context();
    cpu.step_by_new_flags();
    Ok(rest)
}

/// What SYSRET does but for the condition flags and DF; where it goes. `long`: to 64-bit mode, else to compatibility mode.
pub(crate) fn sysret(cx: &mut Exec<'_>, target: u64, flags: u64, long: bool) -> Result<u64, Stop> {
    if cx.cpu.msr.efer & efer::SCE == 0 || !in_64_bit_mode(cx.cpu) {
        return Err(cx.ud());
    }
    cx.require_cpl0()?;
    if long && !canonical(target) {
        return Err(cx.gp0());
    }
    let flags = flags & 0x3c_7fd7;
    cx.can_load_rflags(flags)?;
    let cpu = &mut *cx.cpu;
    let base = (cpu.msr.star >> 48) as u16;
    flat_segments(cpu, if long { base.wrapping_add(16) } else { base }, base.wrapping_add(8), 3, long);
    cx.set_rflags(flags);
    cx.cpu.update_context();
    cx.cpu.step_by_new_flags();
    Ok(if long { target } else { target & 0xffff_ffff })
}

/// #GP(0) in virtual-8086 mode where IOPL is below 3.
pub(crate) fn require_iopl_in_v86(cx: &mut Exec<'_>) -> Result<(), Stop> {
    let rest = cx.cpu.rflags_rest();
    if rest & rflags::VM != 0 && rest & rflags::IOPL != rflags::IOPL { Err(cx.gp0()) } else { Ok(()) }
}

/// What POPF of `v` does but for the stack pointer, the condition flags and DF. `narrow`: of 16 bits.
pub(crate) fn pop_rflags(cx: &mut Exec<'_>, v: u64, narrow: bool) -> Result<u64, Stop> {
    require_iopl_in_v86(cx)?;
    let old = cx.cpu.rflags_rest();
    let mut fixed = rflags::VM | rflags::VIF | rflags::VIP;
    if cx.cpu.cpl != 0 {
        fixed |= rflags::IOPL;
    }
    if cx.cpu.cpl > cx.cpu.iopl() {
        fixed |= rflags::IF;
    }
    if narrow {
        fixed |= !0xffff;
    }
    let new = (v & !fixed | old & fixed) & !rflags::RF;
    cx.can_load_rflags(new)?;
    cx.set_rflags(new);
    Ok(0)
}

pub fn sysenter(cx: &mut Exec<'_>, _: &Insn) -> Result<(), Stop> {
    let cs = cx.cpu.msr.sysenter_cs as u16;
    if cx.cpu.cr0 & cr0::PE == 0 || cs & !3 == 0 {
        return Err(cx.gp0());
    }
    let long = cx.cpu.long_mode();
    let cpu = &mut *cx.cpu;
    *cpu.rflags_rest_mut() &= !(rflags::VM | rflags::IF | rflags::RF);
    flat_segments(cpu, cs & !3, (cs & !3).wrapping_add(8), 0, long);
    let mask = if long { u64::MAX } else { 0xffff_ffff };
    cpu.regs[RSP as usize] = cpu.msr.sysenter_esp & mask;
    cpu.rip = cpu.msr.sysenter_eip & mask;
    cpu.update_context();
    Ok(())
}

/// SYSEXIT to 64-bit (REX.W) or 32-bit code.
pub fn sysexit(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
    let cs = cx.cpu.msr.sysenter_cs as u16 & !3;
    if cx.cpu.cr0 & cr0::PE == 0 || cs == 0 {
        return Err(cx.gp0());
    }
    cx.require_cpl0()?;
    let long = i.width() == Width::W64;
    let (sp, ip) = (cx.cpu.regs[RCX as usize], cx.cpu.regs[RDX as usize]);
    if long && !(canonical(sp) && canonical(ip)) {
        return Err(cx.gp0());
    }
    let offset = if long { 32 } else { 16 };
    flat_segments(cx.cpu, cs.wrapping_add(offset), cs.wrapping_add(offset + 8), 3, long);
    let mask = if long { u64::MAX } else { 0xffff_ffff };
    cx.cpu.regs[RSP as usize] = sp & mask;
    cx.cpu.rip = ip & mask;
    cx.cpu.update_context();
    Ok(())
}
