//! The guest as translated code sees it: where its state is, and what it does for accesses that miss the TLB.
//!
//! Whatever is not plain RAM is refused: the interpreter then executes the instruction and meets the fault, the device, the
//! watchpoint or the code that is overwritten.

use core::mem::offset_of;

use guest_api::{EmitVector, Float, Guest, Helper, LazyFlags, Space, StateLayout, Verified};
use mem::{Access, ENTRIES, Memory, PAGE_MASK, PAGE_SIZE};

use crate::cpu::{Cpu, NONE_WAITS};
use crate::exec::{Exec, at_hand};
use crate::fault::Stop;
use crate::sem::helpers;
use crate::sem::system::{INTERRUPT_FLAG, SUPERVISOR};
use crate::sem::vec::SSE;
use crate::sys::{debug, paging};

/// Where translated code finds the processor's state.
pub fn layout() -> StateLayout {
    let mem = |offset: usize| (offset_of!(Cpu, mem) + offset) as u32;
    StateLayout {
        slots: offset_of!(Cpu, regs) as u32,
        xslots: offset_of!(Cpu, xmm) as u32,
        flags: offset_of!(Cpu, lazy_flags) as u32,
        tlb_read: mem(Memory::tlb_offset(Access::Read)),
        tlb_write: mem(Memory::tlb_offset(Access::Write)),
        tlb_entries: ENTRIES as u32,
        tlb_context: mem(Memory::context_offset()),
        exchange: offset_of!(Cpu, exchange) as u32,
        fetch_keys: offset_of!(Cpu, fetch_keys) as u32,
    }
}

impl Exec<'_> {
    /// Brings the state to the form in which translated code has it.
    pub(crate) fn begin_translated(&mut self, end: u64) {
        (self.cpu.translated, self.cpu.budget_end) = (true, end);
        self.cpu.lazy_flags = LazyFlags::of_packed(self.cpu.flags.packed());
        // With IF set, one that waits would have been taken, if it was looked for.
        let looked = self.cpu.interrupts_enabled() && !self.cpu.attention;
        let none_waits = looked || !self.platform.interrupt_pending();
        self.cpu.regs[NONE_WAITS as usize] = none_waits.into();
        self.tell_environment();
    }
    /// Brings the state back to the interpreter's form.
    pub(crate) fn end_translated(&mut self) {
        self.cpu.translated = false;
        self.cpu.regs[NONE_WAITS as usize] = 0;
        let flags = self.cpu.lazy_flags.packed();
        self.cpu.flags.set_packed(flags);
    }

    fn tell_environment(&mut self) {
        let c = &mut *self.cpu;
        c.exchange.jumps = c.jumps.as_ptr().addr() as u32;
        c.exchange.verified = c.verified.as_ptr().addr() as u32;
        c.exchange.units = units(c);
        c.exchange.inexact = inexact(c.mxcsr);
    }

    /// Physical address of `va`. Where there is none the fault has not happened yet, and CR2 is what it was.
    fn translated(&mut self, va: u64, access: Access) -> Option<u64> {
        let cr2 = self.cpu.cr2;
        let pa = paging::translate(self, va, access, Space::FLAT).ok();
        if pa.is_none() {
            self.cpu.cr2 = cr2;
        }
        pa
    }

    /// Physical address of RAM that `va` is mapped to for `access`, entered in the TLB where it may be.
    #[inline]
    fn ram_at(&mut self, va: u64, access: Access) -> Option<u64> {
        let guarded = if access == Access::Write { self.cpu.mem.guarded(va) } else { None };
        guarded.or_else(|| self.ram_missed(va, access))
    }

    /// The same of what misses the TLB.
    fn ram_missed(&mut self, va: u64, access: Access) -> Option<u64> {
        let pa = self.translated(va, access)?;
        if debug::watches_page(self.cpu, va)
            || paging::checks_alignment(self.cpu)
            || !self.cpu.mem.is_ram(pa & !PAGE_MASK)
        {
            return None;
        }
        self.cpu.mem.insert(access, va, pa);
        Some(pa)
    }
}

/// [`guest_api::Exchange::units`].
fn units(c: &Cpu) -> u32 {
    [SSE, SUPERVISOR, INTERRUPT_FLAG].into_iter().map(|unit| u32::from(at_hand(c, unit)) << unit.0).sum()
}

/// [`guest_api::Exchange::inexact`] under `mxcsr`.
fn inexact(mxcsr: u32) -> u32 {
    use guest_api::inexact::{UNTOLD, YES};
    if crate::exec::host_rounds(mxcsr) {
        0
    } else if crate::exec::host_rounds(mxcsr | softfloat::flag::PE) {
        YES | UNTOLD
    } else {
        YES
    }
}

/// The bytes of `va..va + bytes` in its own page, and whether that is all.
fn in_page(va: u64, bytes: u32) -> (u32, bool) {
    let left = (PAGE_SIZE - (va & PAGE_MASK)) as u32;
    (bytes.min(left), bytes <= left)
}

impl Guest for Exec<'_> {
    fn state(&mut self) -> *mut u8 {
        core::ptr::from_mut::<Cpu>(self.cpu).cast()
    }

    fn readable(&mut self, va: u64, bytes: u32) -> Option<usize> {
        let pa = self.ram_at(va, Access::Read)?;
        let (first, all) = in_page(va, bytes);
        if all {
            return self.cpu.mem.host(pa);
        }
        if bytes > 16 {
            return None;
        }
        let next = self.ram_at((va | PAGE_MASK).wrapping_add(1), Access::Read)?;
        let (first, bytes) = (first as usize, bytes as usize);
        let mut copy = [0; 16];
        let good = self.cpu.mem.ram.read_bytes(pa, &mut copy[..first])
            && self.cpu.mem.ram.read_bytes(next, copy.get_mut(first..bytes)?);
        let words = [0, 8].map(|k| u64::from_le_bytes(core::array::from_fn(|n| copy[k + n])));
        self.cpu.exchange.vectors[0] = words;
        good.then(|| core::ptr::from_ref(&self.cpu.exchange.vectors).expose_provenance())
    }

    fn updatable(&mut self, va: u64, bytes: u32) -> Option<usize> {
        let (_, all) = in_page(va, bytes);
        let pa = self.ram_at(va, Access::Write)?;
        if !all || self.cpu.mem.holds_code(pa, bytes) {
            return None;
        }
        self.cpu.mem.host(pa)
    }

    fn store(&mut self, va: u64, bytes: u32, v: u128) -> bool {
        let (first, all) = in_page(va, bytes);
        let Some(pa) = self.ram_at(va, Access::Write) else { return false };
        if self.cpu.mem.holds_code(pa, first) {
            return false;
        }
        let (first, bytes) = (first as usize, bytes as usize);
        if all {
            return self.cpu.mem.ram.write_low(pa, first, v);
        }
        let Some(next) = self.ram_at((va | PAGE_MASK).wrapping_add(1), Access::Write) else { return false };
        if self.cpu.mem.holds_code(next, (bytes - first) as u32) {
            return false;
        }
        self.cpu.mem.ram.write_low(pa, first, v) && self.cpu.mem.ram.write_low(next, bytes - first, v >> (8 * first))
    }

    fn writable(&mut self, va: u64, bytes: u32) -> bool {
        let last = va.wrapping_add(u64::from(bytes) - 1);
        self.ram_at(va, Access::Write).is_some()
            && ((va ^ last) & !PAGE_MASK == 0 || self.ram_at(last, Access::Write).is_some())
    }

    fn helper(&mut self, h: u16, args: [u64; 4]) -> u64 {
        self.cpu.insns = self.cpu.budget_end.wrapping_sub(self.cpu.exchange.left as u64);
        self.cpu.helper_calls[helpers::kind(h)] += 1;
        let cr2 = self.cpu.cr2;
        let r = helpers::call(self, Helper(h), &args);
        match Helper(h) {
            helpers::SYSCALL | helpers::SYSRET | helpers::IRETQ => self.cpu.exchange.units = units(self.cpu),
            helpers::LOAD_MXCSR => self.cpu.exchange.inexact = inexact(self.cpu.mxcsr),
            _ => {}
        }
        self.cpu.exchange.refused = r.is_err().into();
        r.unwrap_or_else(|Stop| {
            self.cpu.cr2 = cr2;
            0
        })
    }

    fn float(&mut self, op: Float, a: u128, b: u128) -> Option<u128> {
        let before = self.cpu.mxcsr;
        let r = match op {
            Float::F2(op, shape) => self.f2(op, shape, a, b),
            Float::F1(op, shape) => self.f1(op, shape, a, b),
            Float::Cmp(rel, shape) => self.fcmp(rel, shape, a, b),
            Float::Order(double, signal) => self
                .forder(double, signal, a, b)
                .map(|o| u128::from(o.less) | u128::from(o.equal) << 1 | u128::from(o.unordered) << 2),
            Float::Cvt(op) => self.fcvt(op, a, b),
            Float::ToInt(double, wide, mode) => self.to_int(double, wide, mode, a).map(u128::from),
            Float::ToFloat(double, wide) => self.to_float(double, wide, a, b as u64),
        };
        if r.is_err() {
            self.cpu.mxcsr = before;
        }
        self.cpu.exchange.inexact = inexact(self.cpu.mxcsr);
        r.ok()
    }

    fn executes(&mut self, va: u64, pa: u64) -> bool {
        let cr2 = self.cpu.cr2;
        let found = paging::fetch_address(self, va);
        self.cpu.cr2 = cr2;
        found.is_ok_and(|found| found & !PAGE_MASK == pa & !PAGE_MASK)
    }

    fn verified(&mut self, serial: u32, base: u64) {
        let key = self.cpu.fetch_key(base);
        self.cpu.verified[Verified::index(serial)] = Verified { base, key, serial };
    }
}
