//! Hardware task switching (SDM 3 chapter 8): outside IA-32e mode only.

use guest_api::{Space, Width};

use super::paging::{as_system, load_pdptes};
use super::segments::{data_descriptor, load_ldtr, mark_accessed, need_descriptor, set_type, stack_descriptor, system};
use crate::cpu::{SegReg, Segment, SystemSegment, cr0, cr4, rflags};
use crate::exec::Exec;
use crate::fault::{GP, NP, Stop, StopReason, TS};

/// What makes the switch: it decides on busy bits, NT and the back link (SDM 3 table 8-1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cause {
    Jump,
    Call,
    /// An interrupt or exception through a task gate.
    Interrupt,
    Iret,
}

/// Whether the TSS that `segment` describes is a 32-bit one.
pub(crate) fn is_wide(segment: Segment) -> bool {
    segment.attr & 8 != 0
}

/// Offsets in a TSS (SDM 3 figures 8-2 and 8-10).
struct Layout {
    w: Width,
    ip: u64,
    flags: u64,
    registers: u64,
    segments: u64,
    segment_count: usize,
    ldt: u64,
    /// Smallest limit.
    limit: u32,
}
const WIDE: Layout = Layout {
    w: Width::W32,
    ip: 0x20,
    flags: 0x24,
    registers: 0x28,
    segments: 0x48,
    segment_count: 6,
    ldt: 0x60,
    limit: 0x67,
};
const NARROW: Layout = Layout {
    w: Width::W16,
    ip: 0x0e,
    flags: 0x10,
    registers: 0x12,
    segments: 0x22,
    segment_count: 4,
    ldt: 0x2a,
    limit: 0x2b,
};
const CR3: u64 = 0x1c;
const TRAP: u64 = 0x64;

/// Switches to the task of TSS `selector`. A fault of its own, before its first instruction, is [`StopReason::InNewTask`].
pub(crate) fn switch(cx: &mut Exec<'_>, selector: u16, cause: Cause) -> Result<(), Stop> {
    let bad = if cause == Cause::Iret { TS } else { GP };
    if selector & 4 != 0 || selector & !3 == 0 {
        return Err(cx.selector_fault(bad, selector));
    }
    let mut d = need_descriptor(cx, selector, bad)?;
    let wanted =
        if cause == Cause::Iret { [system::TSS_BUSY, system::TSS16_BUSY] } else { [system::TSS, system::TSS16] };
    if !d.system().is_some_and(|t| wanted.contains(&t)) {
        return Err(cx.selector_fault(bad, selector));
    }
    if !d.present() {
        return Err(cx.selector_fault(NP, selector));
    }
    let wide = d.attr() & 8 != 0;
    let new = if wide { WIDE } else { NARROW };
    if d.limit() < new.limit {
        return Err(cx.selector_fault(TS, selector));
    }
    let old_tr = cx.cpu.tr;
    let old = if is_wide(old_tr.segment) { WIDE } else { NARROW };
    let base = d.base();

    // Everything that can fault in the old task: both TSSes must be mapped, the new one is read.
    let (mut registers, mut selectors) = ([0_u64; 8], [0_u16; 6]);
    let (ip, flags, ldt, new_cr3, trap) = as_system(cx, |cx| {
        let load = |cx: &mut Exec<'_>, w: Width, at: u64| cx.load_linear(w, base.wrapping_add(at), Space::FLAT);
        for (k, r) in registers.iter_mut().enumerate() {
            *r = load(cx, new.w, new.registers + k as u64 * u64::from(new.w.bytes()))?;
        }
        for (k, s) in selectors[..new.segment_count].iter_mut().enumerate() {
            let step = if wide { 4 } else { 2 };
            *s = load(cx, Width::W16, new.segments + k as u64 * step)? as u16;
        }
        let cr3 = if wide { load(cx, Width::W32, CR3)? } else { 0 };
        let trap = wide && load(cx, Width::W16, TRAP)? & 1 != 0;
        Ok((load(cx, new.w, new.ip)?, load(cx, new.w, new.flags)?, load(cx, Width::W16, new.ldt)? as u16, cr3, trap))
    })?;
    let mut saved_flags = cx.cpu.rflags();
    if cause == Cause::Iret {
        saved_flags &= !rflags::NT;
    }
    as_system(cx, |cx| {
        let at = old_tr.base;
        let store = |cx: &mut Exec<'_>, w: Width, offset: u64, v: u64| {
            cx.store_linear(w, at.wrapping_add(offset), v & w.mask(), Space::FLAT)
        };
        store(cx, old.w, old.ip, cx.cpu.rip)?;
        store(cx, old.w, old.flags, saved_flags)?;
        for k in 0..8 {
            store(cx, old.w, old.registers + k as u64 * u64::from(old.w.bytes()), cx.cpu.regs[k])?;
        }
        for k in 0..old.segment_count {
            let step = if old.w == Width::W32 { 4 } else { 2 };
            store(cx, Width::W16, old.segments + k as u64 * step, u64::from(cx.cpu.seg[k].selector))?;
        }
        if matches!(cause, Cause::Call | Cause::Interrupt) {
            cx.store_linear(Width::W16, base, u64::from(old_tr.segment.selector), Space::FLAT)?;
        }
        Ok(())
    })?;
    // The old task stays busy where it will be returned to.
    if matches!(cause, Cause::Jump | Cause::Iret)
        && let Some(mut od) = super::segments::descriptor(cx, old_tr.segment.selector)?
    {
        let byte = od.attr() as u8 & !2;
        set_type(cx, &mut od, byte)?;
    }
    if cause != Cause::Iret {
        let byte = d.attr() as u8 | 2;
        set_type(cx, &mut d, byte)?;
    }

    // The commit point (SDM 3 8.3, step 12 on): faults from here on are the new task's.
    cx.cpu.tr = SystemSegment { base, segment: d.segment(selector) };
    cx.cpu.cr0 |= cr0::TS;
    cx.cpu.dr[7] &= !super::debug::DR7_LOCAL;
    let nested = matches!(cause, Cause::Call | Cause::Interrupt);
    let flags = if wide { flags } else { flags & 0xffff };
    cx.cpu.set_rflags(flags | if nested { rflags::NT } else { 0 });
    for (k, r) in registers.into_iter().enumerate() {
        cx.cpu.regs[k] = if wide { r } else { 0xffff_0000 | r };
    }
    cx.cpu.rip = ip;
    let r = enter(cx, &selectors, ldt, wide.then_some(new_cr3));
    cx.cpu.update_context();
    if let Err(Stop) = r {
        if let StopReason::Exception(e) = cx.cpu.stop {
            cx.cpu.stop = StopReason::InNewTask(e);
        }
        return Err(Stop);
    }
    if trap {
        cx.cpu.debug_trap |= super::debug::DR6_BT;
        cx.cpu.attention = true;
    }
    Ok(())
}

/// Loads the new task's address space and segments.
fn enter(cx: &mut Exec<'_>, selectors: &[u16; 6], ldt: u16, cr3: Option<u64>) -> Result<(), Stop> {
    let v86 = cx.cpu.virtual_8086();
    let cpl = if v86 { 3 } else { selectors[SegReg::Cs as usize] as u8 & 3 };
    for s in SegReg::ALL {
        // Selectors are loaded first, so that a handler sees them; the descriptors are checked one by one.
        cx.cpu.set_segment(s, Segment { selector: selectors[s as usize], ..Segment::NULL }, 0);
    }
    cx.cpu.ldtr = SystemSegment { base: 0, segment: Segment { selector: ldt, ..Segment::NULL } };
    cx.cpu.cpl = cpl;
    cx.cpu.update_context();
    if let Some(cr3) = cr3
        && cx.cpu.cr0 & cr0::PG != 0
        && cr3 != cx.cpu.cr3
    {
        if cx.cpu.cr4 & cr4::PAE != 0 {
            match load_pdptes(cx, cr3) {
                Some(p) => cx.cpu.pdpte = p,
                None => return Err(cx.selector_fault(TS, cx.cpu.tr.segment.selector)),
            }
        }
        cx.cpu.cr3 = cr3;
        cx.cpu.enter_address_space(0, true);
    }
    load_ldtr(cx, ldt, TS)?;
    if v86 {
        for s in SegReg::ALL {
            cx.cpu.set_paragraph(s, selectors[s as usize]);
        }
        return Ok(());
    }
    let cs = selectors[SegReg::Cs as usize];
    if cs & !3 == 0 {
        return Err(cx.fault(TS, Some(0)));
    }
    let mut code = need_descriptor(cx, cs, TS)?;
    let right = if code.is_conforming() { code.dpl() <= cpl } else { code.dpl() == cpl };
    if !code.is_code() || !right {
        return Err(cx.selector_fault(TS, cs));
    }
    if !code.present() {
        return Err(cx.selector_fault(NP, cs));
    }
    mark_accessed(cx, &mut code)?;
    cx.cpu.set_code_segment(code, cs, cpl);
    let ss = selectors[SegReg::Ss as usize];
    let stack = stack_descriptor(cx, ss, cpl, TS)?;
    cx.cpu.set_segment(SegReg::Ss, stack.segment(ss), stack.base());
    for s in [SegReg::Es, SegReg::Ds, SegReg::Fs, SegReg::Gs] {
        let selector = selectors[s as usize];
        if selector & !3 == 0 {
            cx.cpu.set_null(s, selector);
        } else {
            let data = data_descriptor(cx, selector, cpl, TS)?;
            cx.cpu.set_segment(s, data.segment(selector), data.base());
        }
    }
    if cx.cpu.rip > u64::from(cx.cpu.seg[SegReg::Cs as usize].limit) {
        return Err(cx.gp0());
    }
    Ok(())
}
