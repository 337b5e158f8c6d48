//! Delivery of interrupts and exceptions (SDM 3 chapter 6, SDM 2 INT n).

use guest_api::{Space, Width};

use super::debug::{DR6_BREAKPOINTS, DR6_BT, DR7_GD};
use super::paging::{as_system, canonical, with_privilege};
use super::segments::{Descriptor, mark_accessed, need_descriptor, stack_descriptor, system};
use super::stack::Stack;
use super::task;
use crate::cpu::{CodeSize, Cpu, RSP, SegReg, cr0, rflags};
use crate::exec::Exec;
use crate::fault::{self, Exception, GP, NP, PF, SS, Stop, StopReason, TS};
use crate::insn::Insn;

/// Where an event comes from: it decides on privilege checks, the pushed RIP and double faults.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// A fault or trap of an instruction.
    Exception,
    /// INT n, INT3, INTO: DPL of the gate is checked.
    Software,
    /// An external interrupt or NMI.
    External,
}

/// Error code bits (SDM 3 6.13).
const EXT: u32 = 1;
const IDT: u32 = 2;

impl Exec<'_> {
    /// [`Cpu::set_rflags`] for instructions that load all of RFLAGS often: the interpreter looks up only where there is something to see.
    /// Translated code asks [`Exec::can_load_rflags`] before.
    pub(crate) fn set_rflags(&mut self, v: u64) {
        let had = self.cpu.interrupts_enabled();
        self.cpu.load_rflags(v);
        let new = self.cpu.rflags_rest();
        if !self.cpu.translated {
            let waiting = new & rflags::RF != 0 && self.cpu.code_breakpoints
                || new & rflags::IF != 0 && (!had || new & rflags::RF != 0) && self.platform.interrupt_pending();
            if new & rflags::TF != 0 || waiting {
                self.cpu.attention = true;
            }
        }
        if self.cpu.translated || !self.cpu.attention {
            // It has nothing to hold off, and the next instruction clears it.
            *self.cpu.rflags_rest_mut() &= !rflags::RF;
        }
    }
}

impl Cpu {
    /// Holds interrupts and debug traps off for one instruction: MOV SS, POP SS (SDM 3 6.8.3).
    pub(crate) fn hold_off(&mut self) {
        self.shadow = true;
        self.attention = true;
    }
}

impl Exec<'_> {
    /// Whether RFLAGS `v` can be loaded here: translated code does not look up behind the instruction, so what makes that necessary
    /// is left to the interpreter.
    pub(crate) fn can_load_rflags(&mut self, v: u64) -> Result<(), Stop> {
        let seen = v & rflags::TF != 0
            || v & rflags::RF != 0 && self.cpu.code_breakpoints
            || v & rflags::IF != 0 && !self.cpu.interrupts_enabled() && self.platform.interrupt_pending();
        if self.cpu.translated && seen { Err(Stop) } else { Ok(()) }
    }
}

/// Classes of exceptions for double faults (SDM 3 table 6-4).
#[derive(PartialEq, Eq)]
enum Class {
    Benign,
    Contributory,
    PageFault,
}

fn class(e: Exception, source: Source) -> Class {
    match e.vector {
        _ if source != Source::Exception => Class::Benign,
        fault::DE | TS | NP | SS | GP => Class::Contributory,
        PF => Class::PageFault,
        _ => Class::Benign,
    }
}

/// Delivers an event through the IDT: `cpu.rip` is what is pushed. On an error while delivering, the double fault rules apply
/// (SDM 3 6.15): this function resolves them, and returns `Err` only for a triple fault.
pub fn deliver(cx: &mut Exec<'_>, e: Exception, source: Source) -> Result<(), Stop> {
    /// A #AC while #AC is delivered to ring 3 would go on for ever: it is made a shutdown.
    const ROUNDS: u32 = 8;
    let (mut event, mut source) = (e, source);
    for _ in 0..ROUNDS {
        if inject(cx, event, source).is_ok() {
            return Ok(());
        }
        // Of a new task too, to which the first one has led.
        let Some(second) = cx.cpu.stop.exception() else { return Err(Stop) };
        let first = class(event, source);
        let next = class(second, Source::Exception);
        let was_double = event.vector == fault::DF && source == Source::Exception;
        if was_double && next != Class::Benign {
            cx.cpu.stop = StopReason::TripleFault;
            return Err(Stop);
        }
        let double = match first {
            Class::Benign => false,
            Class::Contributory => next == Class::Contributory,
            Class::PageFault => next != Class::Benign,
        };
        event = if double { Exception { vector: fault::DF, error: Some(0) } } else { second };
        source = Source::Exception;
    }
    cx.cpu.stop = StopReason::TripleFault;
    Err(Stop)
}

/// Delivers one event, or raises the exception that its delivery meets.
pub(crate) fn inject(cx: &mut Exec<'_>, e: Exception, source: Source) -> Result<(), Stop> {
    let r = match cx.cpu.cr0 & cr0::PE {
        0 => real_mode(cx, e.vector),
        _ if cx.cpu.long_mode() => long_mode(cx, e, source),
        _ => protected_mode(cx, e, source),
    };
    if r.is_err() {
        // An error met while delivering an event from outside the program says so.
        if source != Source::Software
            && let StopReason::Exception(e) | StopReason::InNewTask(e) = &mut cx.cpu.stop
            && let Exception { vector: TS | NP | SS | GP, error: Some(code) } = e
        {
            *code |= EXT;
        }
        return r;
    }
    cx.cpu.shadow = false;
    // Traps of the interrupted instruction are lost; that of a task switch is the new task's, and what INT n has found waiting behind MOV SS comes at the handler's
    // first instruction.
    cx.cpu.debug_trap &= DR6_BT | if source == Source::Software { DR6_BREAKPOINTS } else { 0 };
    cx.cpu.attention |= cx.cpu.debug_trap != 0;
    if e.vector == fault::DB && source != Source::Software {
        cx.cpu.dr[7] &= !DR7_GD;
    }
    cx.cpu.update_context();
    Ok(())
}

/// RFLAGS as pushed: RF is set for faults (SDM 3 17.3.1.1).
fn pushed_flags(cpu: &Cpu, e: Exception, source: Source) -> u64 {
    let fault = source == Source::Exception
        && !matches!(e.vector, fault::DB | fault::NMI | fault::BP | fault::OF | fault::DF | 18);
    cpu.rflags() | if fault { rflags::RF } else { 0 }
}

/// Clears what an event clears in RFLAGS; an interrupt gate also IF.
fn clear_flags(cpu: &mut Cpu, interrupt_gate: bool) {
    use rflags::{IF, NT, RF, TF, VM};
    *cpu.rflags_rest_mut() &= !(TF | NT | RF | VM | if interrupt_gate { IF } else { 0 });
}

fn real_mode(cx: &mut Exec<'_>, vector: u8) -> Result<(), Stop> {
    let at = u64::from(vector) * 4;
    if at + 3 > u64::from(cx.cpu.idtr.limit) {
        return Err(cx.fault(GP, Some(0)));
    }
    let entry = cx.load_linear(Width::W32, cx.cpu.idtr.base.wrapping_add(at), Space::FLAT)?;
    let mut stack = Stack::current(cx.cpu);
    stack.push(cx, Width::W16, cx.cpu.rflags())?;
    stack.push(cx, Width::W16, u64::from(cx.cpu.seg[SegReg::Cs as usize].selector))?;
    stack.push(cx, Width::W16, cx.cpu.rip)?;
    stack.commit(cx.cpu);
    *cx.cpu.rflags_rest_mut() &= !(rflags::IF | rflags::TF | rflags::AC | rflags::RF);
    cx.cpu.set_paragraph(SegReg::Cs, (entry >> 16) as u16);
    cx.cpu.rip = entry & 0xffff;
    Ok(())
}

/// A gate of the IDT.
#[derive(Clone, Copy)]
struct Gate {
    low: u64,
    /// The upper eight bytes, in IA-32e mode.
    high: u64,
}

impl Gate {
    fn selector(self) -> u16 {
        (self.low >> 16) as u16
    }
    fn offset(self) -> u64 {
        self.low & 0xffff | self.low >> 32 & 0xffff_0000 | self.high << 32
    }
    fn kind(self) -> u16 {
        (self.low >> 40) as u16 & 15
    }
    fn ist(self) -> u64 {
        self.low >> 32 & 7
    }
}

/// Reads and checks the gate of `vector`: limit, type, DPL, presence (SDM 2 INT n).
fn gate(cx: &mut Exec<'_>, vector: u8, source: Source) -> Result<Gate, Stop> {
    let code = (u32::from(vector) * 8) | IDT;
    let long = cx.cpu.long_mode();
    let size = if long { 16 } else { 8 };
    let offset = u64::from(vector) * size;
    if offset + size - 1 > u64::from(cx.cpu.idtr.limit) {
        return Err(cx.fault(GP, Some(code)));
    }
    let at = cx.cpu.idtr.base.wrapping_add(offset);
    let g = as_system(cx, |cx| {
        Ok(Gate {
            low: cx.load_linear(Width::W64, at, Space::FLAT)?,
            high: if long { cx.load_linear(Width::W64, at.wrapping_add(8), Space::FLAT)? & 0xffff_ffff } else { 0 },
        })
    })?;
    let is_system = g.low >> 44 & 1 == 0;
    let good = match g.kind() {
        system::INTERRUPT_GATE | system::TRAP_GATE => is_system,
        system::TASK_GATE | system::INTERRUPT_GATE16 | system::TRAP_GATE16 => is_system && !long,
        _ => false,
    };
    let dpl = (g.low >> 45) as u8 & 3;
    if !good || (source == Source::Software && dpl < cx.cpu.cpl) {
        return Err(cx.fault(GP, Some(code)));
    }
    if g.low >> 47 & 1 == 0 {
        return Err(cx.fault(NP, Some(code)));
    }
    Ok(g)
}

/// The code segment that a gate leads to.
fn gate_code(cx: &mut Exec<'_>, selector: u16) -> Result<Descriptor, Stop> {
    if selector & !3 == 0 {
        return Err(cx.fault(GP, Some(0)));
    }
    let d = need_descriptor(cx, selector, GP)?;
    if !d.is_code() || d.dpl() > cx.cpu.cpl {
        return Err(cx.selector_fault(GP, selector));
    }
    if !d.present() {
        return Err(cx.selector_fault(NP, selector));
    }
    Ok(d)
}

fn long_mode(cx: &mut Exec<'_>, e: Exception, source: Source) -> Result<(), Stop> {
    let g = gate(cx, e.vector, source)?;
    let mut d = gate_code(cx, g.selector())?;
    if !d.is_64() || d.attr() & super::segments::attr::DB != 0 {
        return Err(cx.selector_fault(GP, g.selector()));
    }
    let old_cpl = cx.cpu.cpl;
    let cpl = if d.is_conforming() { old_cpl } else { d.dpl() };
    let sp = if g.ist() != 0 {
        tss_stack64(cx, 28 + 8 * g.ist())?
    } else if cpl != old_cpl {
        tss_stack64(cx, 4 + 8 * u64::from(cpl))?
    } else {
        cx.cpu.regs[RSP as usize]
    };
    if !canonical(g.offset()) {
        return Err(cx.gp0());
    }
    mark_accessed(cx, &mut d)?;
    let mut stack = Stack::flat(sp & !15);
    let flags = pushed_flags(cx.cpu, e, source);
    let w = Width::W64;
    with_privilege(cx, cpl, true, |cx| {
        stack.push(cx, w, u64::from(cx.cpu.seg[SegReg::Ss as usize].selector))?;
        stack.push(cx, w, cx.cpu.regs[RSP as usize])?;
        stack.push(cx, w, flags)?;
        stack.push(cx, w, u64::from(cx.cpu.seg[SegReg::Cs as usize].selector))?;
        stack.push(cx, w, cx.cpu.rip)?;
        e.error.map_or(Ok(()), |code| stack.push(cx, w, u64::from(code)))
    })?;
    stack.commit(cx.cpu);
    if cpl != old_cpl {
        cx.cpu.set_null(SegReg::Ss, u16::from(cpl));
    }
    cx.cpu.set_code_segment(d, g.selector(), cpl);
    cx.cpu.rip = g.offset();
    clear_flags(cx.cpu, g.kind() == system::INTERRUPT_GATE);
    Ok(())
}

/// The stack pointer at `offset` of the 64-bit TSS (SDM 3 figure 8-11).
pub(crate) fn tss_stack64(cx: &mut Exec<'_>, offset: u64) -> Result<u64, Stop> {
    let tr = cx.cpu.tr;
    if offset + 7 > u64::from(tr.segment.limit) {
        return Err(cx.selector_fault(TS, tr.segment.selector));
    }
    let sp = as_system(cx, |cx| cx.load_linear(Width::W64, tr.base.wrapping_add(offset), Space::FLAT))?;
    if canonical(sp) { Ok(sp) } else { Err(cx.fault(SS, Some(0))) }
}

/// The stack for privilege `cpl` that the TSS names: checked, with its descriptor (SDM 2 INT n, "inter-privilege").
pub(crate) fn tss_stack(cx: &mut Exec<'_>, cpl: u8) -> Result<(Stack, Descriptor, u16), Stop> {
    let tr = cx.cpu.tr;
    let wide = task::is_wide(tr.segment);
    let (offset, size) = if wide { (u64::from(cpl) * 8 + 4, 5) } else { (u64::from(cpl) * 4 + 2, 3) };
    if offset + size > u64::from(tr.segment.limit) {
        return Err(cx.selector_fault(TS, tr.segment.selector));
    }
    let at = tr.base.wrapping_add(offset);
    let (sp, ss) = as_system(cx, |cx| {
        let w = if wide { Width::W32 } else { Width::W16 };
        let sp = cx.load_linear(w, at, Space::FLAT)?;
        let ss = cx.load_linear(Width::W16, at.wrapping_add(u64::from(w.bytes())), Space::FLAT)?;
        Ok((sp, ss as u16))
    })?;
    let d = stack_descriptor(cx, ss, cpl, TS)?;
    Ok((Stack::new(d.segment(ss), d.base(), sp), d, ss))
}

fn protected_mode(cx: &mut Exec<'_>, e: Exception, source: Source) -> Result<(), Stop> {
    let g = gate(cx, e.vector, source)?;
    if g.kind() == system::TASK_GATE {
        task::switch(cx, g.selector(), task::Cause::Interrupt)?;
        if let Some(code) = e.error {
            let mut stack = Stack::current(cx.cpu);
            let w = if task::is_wide(cx.cpu.tr.segment) { Width::W32 } else { Width::W16 };
            stack.push(cx, w, u64::from(code))?;
            stack.commit(cx.cpu);
        }
        return Ok(());
    }
    let mut d = gate_code(cx, g.selector())?;
    let wide = matches!(g.kind(), system::INTERRUPT_GATE | system::TRAP_GATE);
    let w = if wide { Width::W32 } else { Width::W16 };
    let offset = g.offset() & w.mask();
    let old_cpl = cx.cpu.cpl;
    let cpl = if d.is_conforming() { old_cpl } else { d.dpl() };
    let v86 = cx.cpu.virtual_8086();
    if v86 && cpl != 0 {
        return Err(cx.selector_fault(GP, g.selector()));
    }
    let flags = pushed_flags(cx.cpu, e, source);
    let old = |cx: &Exec<'_>, s: SegReg| u64::from(cx.cpu.seg[s as usize].selector);
    let mut new_ss = None;
    let mut stack = if cpl != old_cpl {
        let (stack, d, ss) = tss_stack(cx, cpl)?;
        new_ss = Some((d, ss));
        stack
    } else {
        Stack::current(cx.cpu)
    };
    if offset > u64::from(d.limit()) {
        return Err(cx.gp0());
    }
    mark_accessed(cx, &mut d)?;
    with_privilege(cx, cpl, true, |cx| {
        if v86 {
            for s in [SegReg::Gs, SegReg::Fs, SegReg::Ds, SegReg::Es] {
                stack.push(cx, w, old(cx, s))?;
            }
        }
        if new_ss.is_some() {
            stack.push(cx, w, old(cx, SegReg::Ss))?;
            stack.push(cx, w, cx.cpu.regs[RSP as usize])?;
        }
        stack.push(cx, w, flags)?;
        stack.push(cx, w, old(cx, SegReg::Cs))?;
        stack.push(cx, w, cx.cpu.rip)?;
        e.error.map_or(Ok(()), |code| stack.push(cx, w, u64::from(code)))
    })?;
    clear_flags(cx.cpu, matches!(g.kind(), system::INTERRUPT_GATE | system::INTERRUPT_GATE16));
    if v86 {
        for s in [SegReg::Gs, SegReg::Fs, SegReg::Ds, SegReg::Es] {
            cx.cpu.set_null(s, 0);
        }
    }
    if let Some((d, ss)) = new_ss {
        cx.cpu.set_segment(SegReg::Ss, d.segment(ss), d.base());
    }
    stack.commit(cx.cpu);
    cx.cpu.set_code_segment(d, g.selector(), cpl);
    cx.cpu.rip = offset;
    Ok(())
}

/// INT n.
pub fn int_n(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
    if cx.cpu.virtual_8086() && cx.cpu.iopl() < 3 {
        return Err(cx.gp0());
    }
    software(cx, i.imm() as u8)
}
pub fn int3(cx: &mut Exec<'_>, _: &Insn) -> Result<(), Stop> {
    software(cx, fault::BP)
}
pub fn into(cx: &mut Exec<'_>, _: &Insn) -> Result<(), Stop> {
    if cx.cpu.flags.of() { software(cx, fault::OF) } else { Ok(()) }
}
/// ICEBP: a #DB without privilege check that leaves DR6 alone.
pub fn int1(cx: &mut Exec<'_>, _: &Insn) -> Result<(), Stop> {
    inject(cx, Exception { vector: fault::DB, error: None }, Source::Exception)
}

fn software(cx: &mut Exec<'_>, vector: u8) -> Result<(), Stop> {
    inject(cx, Exception { vector, error: None }, Source::Software)
}

/// Whether an interrupt waits is looked at behind this instruction.
pub(crate) fn look(cx: &mut Exec<'_>) -> Result<u64, Stop> {
    if cx.cpu.translated {
        return Err(Stop); // translated code does not look up
    }
    cx.cpu.attention |= cx.platform.interrupt_pending();
    Ok(0)
}

pub fn hlt(cx: &mut Exec<'_>, _: &Insn) -> Result<(), Stop> {
    cx.require_cpl0()?;
    cx.cpu.stop = StopReason::Halt;
    Err(Stop)
}

/// Whether the current code is 64-bit code: shorthand of the instructions that need it.
pub(crate) fn in_64_bit_mode(cpu: &Cpu) -> bool {
    cpu.code_size() == CodeSize::Bits64
}
