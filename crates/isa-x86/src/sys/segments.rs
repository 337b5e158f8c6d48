//! Segmentation (SDM 3 chapters 3 and 5): descriptors, segment registers, the checks of accesses outside 64-bit mode.

use guest_api::{Emit, Flag, Space, Width};

use super::paging::{as_system, canonical};
use crate::cpu::{CodeSize, Cpu, SegReg, Segment, SystemSegment, TableRegister, cr0, cr4, rflags};
use crate::exec::Exec;
use crate::fault::{GP, NP, SS, Stop};
use crate::insn::{Insn, Kind};
use crate::sem::operand::{address, peek, push as push_operand, read, set_stack_pointer, write, write_gpr};

/// Bits of [`Segment::attr`].
pub mod attr {
    /// Type field: accessed, and for code segments readable, conforming; for data segments writable, expand-down.
    pub const ACCESSED: u16 = 1 << 0;
    pub const READABLE: u16 = 1 << 1;
    pub const WRITABLE: u16 = 1 << 1;
    pub const CONFORMING: u16 = 1 << 2;
    pub const EXPAND_DOWN: u16 = 1 << 2;
    pub const CODE: u16 = 1 << 3;
    /// Code or data, not a system segment.
    pub const S: u16 = 1 << 4;
    pub const PRESENT: u16 = 1 << 7;
    pub const L: u16 = 1 << 13;
    pub const DB: u16 = 1 << 14;
    pub const G: u16 = 1 << 15;
}

/// Types of system descriptors (SDM 3 table 3-2).
pub mod system {
    pub const TSS16: u16 = 1;
    pub const LDT: u16 = 2;
    pub const TSS16_BUSY: u16 = 3;
    pub const CALL_GATE16: u16 = 4;
    pub const TASK_GATE: u16 = 5;
    pub const INTERRUPT_GATE16: u16 = 6;
    pub const TRAP_GATE16: u16 = 7;
    pub const TSS: u16 = 9;
    pub const TSS_BUSY: u16 = 11;
    pub const CALL_GATE: u16 = 12;
    pub const INTERRUPT_GATE: u16 = 14;
    pub const TRAP_GATE: u16 = 15;
}

/// A descriptor's eight bytes, and where it lies.
#[derive(Clone, Copy, Debug)]
pub struct Descriptor {
    pub raw: u64,
    /// Linear address.
    pub at: u64,
}

impl Descriptor {
    /// Bits 55:40 without the limit, as [`Segment::attr`] holds them.
    pub fn attr(self) -> u16 {
        (self.raw >> 40) as u16 & 0xf0ff
    }
    pub fn dpl(self) -> u8 {
        (self.raw >> 45) as u8 & 3
    }
    pub fn present(self) -> bool {
        self.attr() & attr::PRESENT != 0
    }
    /// The type of a system descriptor; `None` for code and data.
    pub fn system(self) -> Option<u16> {
        (self.attr() & attr::S == 0).then_some(self.attr() & 15)
    }
    pub fn is_code(self) -> bool {
        self.attr() & (attr::S | attr::CODE) == attr::S | attr::CODE
    }
    pub fn is_conforming(self) -> bool {
        self.is_code() && self.attr() & attr::CONFORMING != 0
    }
    pub fn is_writable_data(self) -> bool {
        self.attr() & (attr::S | attr::CODE | attr::WRITABLE) == attr::S | attr::WRITABLE
    }
    pub fn is_readable(self) -> bool {
        self.attr() & attr::S != 0 && self.attr() & (attr::CODE | attr::READABLE) != attr::CODE
    }
    pub fn base(self) -> u64 {
        self.raw >> 16 & 0xff_ffff | (self.raw >> 56) << 24
    }
    /// In bytes, granularity applied.
    pub fn limit(self) -> u32 {
        let l = (self.raw & 0xffff | self.raw >> 32 & 0xf_0000) as u32;
        if self.attr() & attr::G != 0 { l << 12 | 0xfff } else { l }
    }
    pub fn segment(self, selector: u16) -> Segment {
        Segment { selector, attr: self.attr(), limit: self.limit() }
    }
    /// Whether the segment's code is 64-bit code, in IA-32e mode.
    pub fn is_64(self) -> bool {
        self.attr() & attr::L != 0
    }
}

impl Segment {
    /// A null segment, of the null selector.
    pub const NULL: Segment = Segment { selector: 0, attr: 0, limit: 0 };
    /// A flat segment, as SYSCALL, SYSENTER and their returns make it: base 0, limit 4 GiB.
    pub const fn flat(selector: u16, attr: u16) -> Segment {
        Segment { selector, attr, limit: u32::MAX }
    }
    pub fn dpl(self) -> u8 {
        (self.attr >> 5) as u8 & 3
    }
    /// A null or unusable segment.
    pub fn is_null(self) -> bool {
        self.attr & attr::PRESENT == 0
    }
}

impl Cpu {
    /// Real-address mode, or virtual-8086 mode: segments are paragraphs.
    pub fn paragraph_mode(&self) -> bool {
        self.cr0 & cr0::PE == 0 || self.virtual_8086()
    }
    pub fn virtual_8086(&self) -> bool {
        self.rflags_rest() & rflags::VM != 0 && self.cr0 & cr0::PE != 0
    }
    pub fn iopl(&self) -> u8 {
        (self.rflags_rest() >> 12) as u8 & 3
    }
    /// Puts `segment` and its base into register `s`.
    pub fn set_segment(&mut self, s: SegReg, segment: Segment, base: u64) {
        self.seg[s as usize] = segment;
        self.set_seg_base(s, base);
    }
    /// CS as 64-bit code sees it has no base: fetches add it.
    pub(crate) fn set_code_segment(&mut self, d: Descriptor, selector: u16, cpl: u8) {
        let base = if self.long_mode() && d.is_64() { 0 } else { d.base() };
        self.set_segment(SegReg::Cs, d.segment(selector & !3 | u16::from(cpl)), base);
        self.cpl = cpl;
    }
    /// A null selector. Intel's processors clear the base.
    pub(crate) fn set_null(&mut self, s: SegReg, selector: u16) {
        self.set_segment(s, Segment { selector, ..Segment::NULL }, 0);
    }
    /// The state that real mode and virtual-8086 mode give a segment register.
    pub(crate) fn set_paragraph(&mut self, s: SegReg, selector: u16) {
        let old = self.seg[s as usize];
        let segment = if self.virtual_8086() {
            Segment { selector, attr: 0xf3, limit: 0xffff }
        } else {
            Segment { selector, ..old }
        };
        self.set_segment(s, segment, u64::from(selector) << 4);
    }
}

impl Exec<'_> {
    /// #GP, #NP, #SS or #TS that names a selector.
    #[cold]
    pub(crate) fn selector_fault(&mut self, vector: u8, selector: u16) -> Stop {
        self.fault(vector, Some(u32::from(selector & !3)))
    }
    /// #GP(0) unless CPL is 0.
    pub(crate) fn require_cpl0(&mut self) -> Result<(), Stop> {
        if self.cpu.cpl == 0 { Ok(()) } else { Err(self.gp0()) }
    }
    /// #UD outside protected mode proper.
    pub(crate) fn require_protected(&mut self) -> Result<(), Stop> {
        if self.cpu.paragraph_mode() { Err(self.ud()) } else { Ok(()) }
    }
    /// User-mode instruction prevention.
    fn require_umip(&mut self) -> Result<(), Stop> {
        if self.cpu.cr4 & cr4::UMIP != 0 && self.cpu.cpl != 0 { Err(self.gp0()) } else { Ok(()) }
    }
}

/// Linear address of `offset..offset + bytes` in segment `s`; raises #GP(0), or #SS(0) for SS, where limit or type forbid it.
pub fn linear(cx: &mut Exec<'_>, s: SegReg, offset: u64, bytes: u32, write: bool) -> Result<u64, Stop> {
    let seg = cx.cpu.seg[s as usize];
    let good = within(seg, offset, bytes) && (cx.cpu.paragraph_mode() || type_allows(seg, write));
    if !good {
        return Err(cx.fault(if s == SegReg::Ss { SS } else { GP }, Some(0)));
    }
    Ok(cx.cpu.seg_base(s).wrapping_add(offset) & 0xffff_ffff)
}

fn type_allows(seg: Segment, write: bool) -> bool {
    // A null segment has no type bits at all.
    if seg.is_null() {
        return false;
    }
    let code = seg.attr & attr::CODE != 0;
    if write { !code && seg.attr & attr::WRITABLE != 0 } else { !code || seg.attr & attr::READABLE != 0 }
}

/// Whether the limit admits `offset..offset + bytes` (SDM 3 5.3).
pub(crate) fn within(seg: Segment, offset: u64, bytes: u32) -> bool {
    let last = offset.wrapping_add(u64::from(bytes) - 1);
    let limit = u64::from(seg.limit);
    if seg.attr & (attr::CODE | attr::EXPAND_DOWN) == attr::EXPAND_DOWN {
        let top = if seg.attr & attr::DB != 0 { 0xffff_ffff } else { 0xffff };
        offset > limit && last <= top && last >= offset
    } else {
        last <= limit && last >= offset
    }
}

/// The descriptor of `selector`; `None` where the table ends before it.
pub(crate) fn descriptor(cx: &mut Exec<'_>, selector: u16) -> Result<Option<Descriptor>, Stop> {
    let (base, limit) = if selector & 4 == 0 {
        (cx.cpu.gdtr.base, u32::from(cx.cpu.gdtr.limit))
    } else if cx.cpu.ldtr.segment.is_null() {
        return Ok(None);
    } else {
        (cx.cpu.ldtr.base, cx.cpu.ldtr.segment.limit)
    };
    let offset = u32::from(selector & !7);
    if offset + 7 > limit {
        return Ok(None);
    }
    let at = base.wrapping_add(u64::from(offset));
    let raw = as_system(cx, |cx| cx.load_linear(Width::W64, at, Space::FLAT))?;
    Ok(Some(Descriptor { raw, at }))
}

/// The descriptor of `selector`, or fault `vector` with the selector where the table ends before it.
pub(crate) fn need_descriptor(cx: &mut Exec<'_>, selector: u16, vector: u8) -> Result<Descriptor, Stop> {
    match descriptor(cx, selector)? {
        Some(d) => Ok(d),
        None => Err(cx.selector_fault(vector, selector)),
    }
}

/// Sets the accessed bit of a code or data descriptor, in memory and in `d`.
pub(crate) fn mark_accessed(cx: &mut Exec<'_>, d: &mut Descriptor) -> Result<(), Stop> {
    set_type(cx, d, (d.attr() | attr::ACCESSED) as u8)
}

/// Writes the descriptor's byte 5.
pub(crate) fn set_type(cx: &mut Exec<'_>, d: &mut Descriptor, byte: u8) -> Result<(), Stop> {
    if (d.raw >> 40) as u8 != byte {
        if cx.cpu.translated {
            return Err(Stop); // it may be code that is overwritten
        }
        let at = d.at.wrapping_add(5);
        as_system(cx, |cx| cx.store_linear(Width::W8, at, u64::from(byte), Space::FLAT))?;
        d.raw = d.raw & !(0xff << 40) | u64::from(byte) << 40;
    }
    Ok(())
}

/// The upper half of a 16-byte descriptor's base (SDM 3 figure 8-4); #GP(selector) where its type field is not 0.
pub(crate) fn upper_base(cx: &mut Exec<'_>, selector: u16, d: Descriptor, vector: u8) -> Result<u64, Stop> {
    let limit = if selector & 4 == 0 { u32::from(cx.cpu.gdtr.limit) } else { cx.cpu.ldtr.segment.limit };
    if u32::from(selector & !7) + 15 > limit {
        return Err(cx.selector_fault(vector, selector));
    }
    let upper = as_system(cx, |cx| cx.load_linear(Width::W64, d.at.wrapping_add(8), Space::FLAT))?;
    if upper >> 40 & 0x1f != 0 {
        return Err(cx.selector_fault(vector, selector));
    }
    Ok(upper << 32)
}

/// The base that descriptor `d` of an LDT or a TSS gives, which must be canonical in IA-32e mode; `bad` as for [`stack_descriptor`].
fn system_base(cx: &mut Exec<'_>, selector: u16, d: Descriptor, bad: u8) -> Result<u64, Stop> {
    if !cx.cpu.long_mode() {
        return Ok(d.base());
    }
    let base = upper_base(cx, selector, d, bad)? | d.base();
    if canonical(base) { Ok(base) } else { Err(cx.selector_fault(bad, selector)) }
}

/// Checks that `selector` may become SS at privilege `cpl` (SDM 2 MOV): the descriptor, accessed bit set. `bad` is the fault for a
/// wrong selector: #GP, or #TS where it came from a TSS.
pub(crate) fn stack_descriptor(cx: &mut Exec<'_>, selector: u16, cpl: u8, bad: u8) -> Result<Descriptor, Stop> {
    if selector & !3 == 0 {
        return Err(cx.fault(bad, Some(0)));
    }
    let mut d = need_descriptor(cx, selector, bad)?;
    if selector as u8 & 3 != cpl || !d.is_writable_data() || d.dpl() != cpl {
        return Err(cx.selector_fault(bad, selector));
    }
    if !d.present() {
        return Err(cx.selector_fault(SS, selector));
    }
    mark_accessed(cx, &mut d)?;
    Ok(d)
}

/// Loads segment register `s` (not CS) as MOV, POP and LDS do.
pub(crate) fn load_segment(cx: &mut Exec<'_>, s: SegReg, selector: u16) -> Result<(), Stop> {
    if cx.cpu.paragraph_mode() {
        cx.cpu.set_paragraph(s, selector);
        return Ok(());
    }
    let null = selector & !3 == 0;
    let rpl = selector as u8 & 3;
    if s == SegReg::Ss {
        if null {
            if cx.cpu.code_size() != CodeSize::Bits64 || cx.cpu.cpl == 3 || rpl != cx.cpu.cpl {
                return Err(cx.gp0());
            }
            cx.cpu.set_null(s, selector);
        } else {
            let d = stack_descriptor(cx, selector, cx.cpu.cpl, GP)?;
            cx.cpu.set_segment(s, d.segment(selector), d.base());
        }
        cx.cpu.update_context();
        return Ok(());
    }
    if null {
        cx.cpu.set_null(s, selector);
        return Ok(());
    }
    let d = data_descriptor(cx, selector, cx.cpu.cpl, GP)?;
    cx.cpu.set_segment(s, d.segment(selector), d.base());
    Ok(())
}

/// Checks that non-null `selector` may become DS, ES, FS or GS at privilege `cpl`; `bad` as for [`stack_descriptor`].
pub(crate) fn data_descriptor(cx: &mut Exec<'_>, selector: u16, cpl: u8, bad: u8) -> Result<Descriptor, Stop> {
    let mut d = need_descriptor(cx, selector, bad)?;
    let denied = !d.is_conforming() && (selector as u8 & 3).max(cpl) > d.dpl();
    if !d.is_readable() || denied {
        return Err(cx.selector_fault(bad, selector));
    }
    if !d.present() {
        return Err(cx.selector_fault(NP, selector));
    }
    mark_accessed(cx, &mut d)?;
    Ok(d)
}

fn seg_reg(n: u8) -> SegReg {
    SegReg::ALL[usize::from(n) % 6]
}

/// MOV Sreg, r/m16.
pub fn mov_to_seg(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
    let s = seg_reg(i.regs[0]);
    if s == SegReg::Cs {
        return Err(cx.ud());
    }
    let selector = read(cx, i, 1, Width::W16)? as u16;
    load_segment(cx, s, selector)?;
    if s == SegReg::Ss {
        cx.cpu.hold_off();
    }
    Ok(())
}

/// MOV r/m, Sreg.
pub fn mov_from_seg(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
    let selector = cx.cpu.seg[seg_reg(i.regs[1]) as usize].selector;
    let w = if i.kinds[0] == Kind::Mem { Width::W16 } else { i.width() };
    write(cx, i, 0, w, u64::from(selector))
}

pub fn push_seg(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
    let selector = cx.cpu.seg[seg_reg(i.regs[0]) as usize].selector;
    push_operand(cx, i, i.width(), u64::from(selector))
}

pub fn pop_seg(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
    let s = seg_reg(i.regs[0]);
    let (v, sp) = peek(cx, i, i.width())?;
    load_segment(cx, s, v as u16)?;
    set_stack_pointer(cx, i, sp);
    if s == SegReg::Ss {
        cx.cpu.hold_off();
    }
    Ok(())
}

/// LDS, LES, LSS, LFS, LGS into `s`.
fn load_far_pointer(cx: &mut Exec<'_>, i: &Insn, s: SegReg) -> Result<(), Stop> {
    let a = address(cx, i);
    let offset = cx.load(i.width(), a, i.space)?;
    let selector = cx.load(Width::W16, a.wrapping_add(u64::from(i.width().bytes())), i.space)?;
    load_segment(cx, s, selector as u16)?;
    write_gpr(cx, i.width(), i.regs[0], offset);
    Ok(())
}
pub fn lds(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
    load_far_pointer(cx, i, SegReg::Ds)
}
pub fn les(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
    load_far_pointer(cx, i, SegReg::Es)
}
pub fn lss(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
    load_far_pointer(cx, i, SegReg::Ss)
}
pub fn lfs(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
    load_far_pointer(cx, i, SegReg::Fs)
}
pub fn lgs(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
    load_far_pointer(cx, i, SegReg::Gs)
}

/// The descriptor of `selector` where it exists, is visible at CPL and RPL, and `good` accepts it: what LAR, LSL, VERR and VERW ask.
fn visible(cx: &mut Exec<'_>, selector: u16, good: impl Fn(Descriptor) -> bool) -> Result<Option<Descriptor>, Stop> {
    if selector & !3 == 0 {
        return Ok(None);
    }
    let level = (selector as u8 & 3).max(cx.cpu.cpl);
    Ok(descriptor(cx, selector)?.filter(|d| good(*d) && (d.is_conforming() || level <= d.dpl())))
}

pub fn lar(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
    cx.require_protected()?;
    let selector = read(cx, i, 1, Width::W16)? as u16;
    let long = cx.cpu.long_mode();
    let d = visible(cx, selector, |d| match d.system() {
        None => true,
        Some(t) => matches!(t, 2 | 9 | 11 | 12) || (!long && matches!(t, 1 | 3 | 4 | 5)),
    })?;
    cx.set_flag(Flag::Zero, d.is_some());
    if let Some(d) = d {
        // Bits 19:16 are undefined by the SDM, the limit's by AMD's APM 3.
        write_gpr(cx, i.width(), i.regs[0], d.raw >> 32 & 0x00ff_ff00 & i.width().mask());
    }
    Ok(())
}

pub fn lsl(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
    cx.require_protected()?;
    let selector = read(cx, i, 1, Width::W16)? as u16;
    let long = cx.cpu.long_mode();
    let d = visible(cx, selector, |d| match d.system() {
        None => true,
        Some(t) => matches!(t, 2 | 9 | 11) || (!long && matches!(t, 1 | 3)),
    })?;
    cx.set_flag(Flag::Zero, d.is_some());
    if let Some(d) = d {
        write_gpr(cx, i.width(), i.regs[0], u64::from(d.limit()) & i.width().mask());
    }
    Ok(())
}

pub fn verr(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
    cx.require_protected()?;
    let selector = read(cx, i, 0, Width::W16)? as u16;
    let ok = visible(cx, selector, Descriptor::is_readable)?.is_some();
    cx.set_flag(Flag::Zero, ok);
    Ok(())
}

pub fn verw(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
    cx.require_protected()?;
    let selector = read(cx, i, 0, Width::W16)? as u16;
    let ok = visible(cx, selector, Descriptor::is_writable_data)?.is_some();
    cx.set_flag(Flag::Zero, ok);
    Ok(())
}

pub fn arpl(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
    cx.require_protected()?;
    let dst = read(cx, i, 0, Width::W16)?;
    let rpl = read(cx, i, 1, Width::W16)? & 3;
    let lower = dst & 3 < rpl;
    if lower {
        write(cx, i, 0, Width::W16, dst & !3 | rpl)?;
    }
    cx.set_flag(Flag::Zero, lower);
    Ok(())
}

/// Width of the base in LGDT's and SGDT's operand: 8 bytes in 64-bit mode.
fn base_width(i: &Insn) -> Width {
    if i.bits() == CodeSize::Bits64 { Width::W64 } else { Width::W32 }
}

fn store_table(cx: &mut Exec<'_>, i: &Insn, t: TableRegister) -> Result<(), Stop> {
    cx.require_umip()?;
    let a = address(cx, i);
    let w = base_width(i);
    cx.probe_write(2 + w.bytes(), a, i.space)?;
    cx.store(Width::W16, a, u64::from(t.limit), i.space)?;
    cx.store(w, a.wrapping_add(2), t.base & w.mask(), i.space)
}

fn load_table(cx: &mut Exec<'_>, i: &Insn) -> Result<TableRegister, Stop> {
    cx.require_cpl0()?;
    let a = address(cx, i);
    let limit = cx.load(Width::W16, a, i.space)? as u16;
    let mut base = cx.load(base_width(i), a.wrapping_add(2), i.space)?;
    if i.width() == Width::W16 {
        base &= 0xff_ffff;
    }
    if !canonical(base) {
        return Err(cx.gp0());
    }
    Ok(TableRegister { base, limit })
}

pub fn sgdt(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
    store_table(cx, i, cx.cpu.gdtr)
}
pub fn sidt(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
    store_table(cx, i, cx.cpu.idtr)
}
pub fn lgdt(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
    cx.cpu.gdtr = load_table(cx, i)?;
    Ok(())
}
pub fn lidt(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
    cx.cpu.idtr = load_table(cx, i)?;
    Ok(())
}

fn store_selector(cx: &mut Exec<'_>, i: &Insn, selector: u16) -> Result<(), Stop> {
    cx.require_protected()?;
    cx.require_umip()?;
    let w = if i.kinds[0] == Kind::Mem { Width::W16 } else { i.width() };
    write(cx, i, 0, w, u64::from(selector))
}
pub fn sldt(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
    store_selector(cx, i, cx.cpu.ldtr.segment.selector)
}
pub fn str(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
    store_selector(cx, i, cx.cpu.tr.segment.selector)
}

/// LDTR for `selector`; `bad` as for [`stack_descriptor`].
pub(crate) fn load_ldtr(cx: &mut Exec<'_>, selector: u16, bad: u8) -> Result<(), Stop> {
    if selector & !3 == 0 {
        cx.cpu.ldtr = SystemSegment { base: 0, segment: Segment { selector, ..Segment::NULL } };
        return Ok(());
    }
    if selector & 4 != 0 {
        return Err(cx.selector_fault(bad, selector));
    }
    let d = need_descriptor(cx, selector, bad)?;
    if d.system() != Some(system::LDT) {
        return Err(cx.selector_fault(bad, selector));
    }
    if !d.present() {
        return Err(cx.selector_fault(if bad == GP { NP } else { bad }, selector));
    }
    let base = system_base(cx, selector, d, bad)?;
    cx.cpu.ldtr = SystemSegment { base, segment: d.segment(selector) };
    Ok(())
}

pub fn lldt(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
    cx.require_protected()?;
    cx.require_cpl0()?;
    let selector = read(cx, i, 0, Width::W16)? as u16;
    load_ldtr(cx, selector, GP)
}

pub fn ltr(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
    cx.require_protected()?;
    cx.require_cpl0()?;
    let selector = read(cx, i, 0, Width::W16)? as u16;
    if selector & !3 == 0 {
        return Err(cx.gp0());
    }
    if selector & 4 != 0 {
        return Err(cx.selector_fault(GP, selector));
    }
    let mut d = need_descriptor(cx, selector, GP)?;
    let long = cx.cpu.long_mode();
    if !matches!(d.system(), Some(t) if t == system::TSS || (t == system::TSS16 && !long)) {
        return Err(cx.selector_fault(GP, selector));
    }
    if !d.present() {
        return Err(cx.selector_fault(NP, selector));
    }
    let base = system_base(cx, selector, d, GP)?;
    // Available to busy.
    let byte = d.attr() as u8 | 2;
    set_type(cx, &mut d, byte)?;
    cx.cpu.tr = SystemSegment { base, segment: d.segment(selector) };
    Ok(())
}

/// RDFSBASE, RDGSBASE, WRFSBASE, WRGSBASE: 64-bit mode with CR4.FSGSBASE only.
fn require_fsgsbase(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
    if i.bits() != CodeSize::Bits64 || cx.cpu.cr4 & cr4::FSGSBASE == 0 { Err(cx.ud()) } else { Ok(()) }
}
fn read_base(cx: &mut Exec<'_>, i: &Insn, s: SegReg) -> Result<(), Stop> {
    require_fsgsbase(cx, i)?;
    let base = cx.cpu.seg_base(s) & i.width().mask();
    write_gpr(cx, i.width(), i.regs[0], base);
    Ok(())
}
fn write_base(cx: &mut Exec<'_>, i: &Insn, s: SegReg) -> Result<(), Stop> {
    require_fsgsbase(cx, i)?;
    let base = read(cx, i, 0, i.width())?;
    if !canonical(base) {
        return Err(cx.gp0());
    }
    cx.cpu.set_seg_base(s, base);
    Ok(())
}
pub fn rdfsbase(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
    read_base(cx, i, SegReg::Fs)
}
pub fn rdgsbase(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
    read_base(cx, i, SegReg::Gs)
}
pub fn wrfsbase(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
    write_base(cx, i, SegReg::Fs)
}
pub fn wrgsbase(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
    write_base(cx, i, SegReg::Gs)
}
