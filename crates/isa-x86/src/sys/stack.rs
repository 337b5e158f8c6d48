//! A stack under construction: frames of interrupts and far calls are written before the registers change.

use guest_api::{Space, Width};

use super::segments::{attr, within};
use crate::cpu::{CodeSize, Cpu, RSP, SegReg, Segment};
use crate::exec::Exec;
use crate::fault::{SS, Stop};
use crate::insn::STACK;

/// A stack pointer with the segment it moves in. Accesses are made at the privilege in force: see `paging::with_privilege`.
#[derive(Clone, Copy)]
pub(crate) struct Stack {
    segment: Segment,
    base: u64,
    pub(crate) sp: u64,
    /// 64-bit mode: no segment.
    flat: bool,
    /// Error code of #SS: the selector of a new stack, 0 for the current one.
    error: u16,
}

impl Stack {
    /// The stack in use.
    pub(crate) fn current(cpu: &Cpu) -> Stack {
        Stack {
            segment: cpu.seg[SegReg::Ss as usize],
            base: cpu.seg_base(SegReg::Ss),
            sp: cpu.regs[RSP as usize],
            flat: cpu.code_size() == CodeSize::Bits64,
            error: 0,
        }
    }
    /// A stack of 64-bit mode.
    pub(crate) fn flat(sp: u64) -> Stack {
        Stack { segment: Segment::default(), base: 0, sp, flat: true, error: 0 }
    }
    /// A new stack outside 64-bit mode.
    pub(crate) fn new(segment: Segment, base: u64, sp: u64) -> Stack {
        Stack { segment, base, sp, flat: false, error: segment.selector & !3 }
    }

    fn mask(&self) -> u64 {
        match self.segment.attr & attr::DB {
            _ if self.flat => u64::MAX,
            0 => 0xffff,
            _ => 0xffff_ffff,
        }
    }

    fn linear(&self, cx: &mut Exec<'_>, sp: u64, w: Width) -> Result<(u64, Space), Stop> {
        if self.flat {
            return Ok((sp, STACK));
        }
        let at = sp & self.mask();
        if !within(self.segment, at, w.bytes()) {
            return Err(cx.fault(SS, Some(u32::from(self.error))));
        }
        Ok((self.base.wrapping_add(at) & 0xffff_ffff, STACK))
    }

    /// The stack pointer moved by `by`: bits beyond its width stay.
    fn moved(&self, by: u64) -> u64 {
        self.sp & !self.mask() | self.sp.wrapping_add(by) & self.mask()
    }

    pub(crate) fn push(&mut self, cx: &mut Exec<'_>, w: Width, v: u64) -> Result<(), Stop> {
        let sp = self.moved(u64::from(w.bytes()).wrapping_neg());
        let (va, s) = self.linear(cx, sp, w)?;
        cx.store_linear(w, va, v & w.mask(), s)?;
        self.sp = sp;
        Ok(())
    }

    pub(crate) fn pop(&mut self, cx: &mut Exec<'_>, w: Width) -> Result<u64, Stop> {
        let (va, s) = self.linear(cx, self.sp, w)?;
        let v = cx.load_linear(w, va, s)?;
        self.sp = self.moved(u64::from(w.bytes()));
        Ok(v)
    }

    /// The stack pointer without the topmost `bytes`.
    pub(crate) fn skip(&mut self, bytes: u64) {
        self.sp = self.moved(bytes);
    }

    /// Makes it the stack pointer in use.
    pub(crate) fn commit(&self, cpu: &mut Cpu) {
        cpu.regs[RSP as usize] = self.sp;
    }
}
