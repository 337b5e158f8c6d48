//! Debug registers, breakpoints and single-stepping (SDM 3 chapter 17).
//!
//! Nothing of it costs anything while it is off: pages with data breakpoints are kept out of the TLB, and while an instruction
//! breakpoint, TF or RF is set the interpreter takes one instruction at a time.

use guest_api::Width;
use mem::{Access, PAGE_MASK};

use crate::cpu::{CodeSize, Cpu, SegReg, cr4, rflags};
use crate::exec::Exec;
use crate::fault::{self, Stop};
use crate::insn::Insn;
use crate::sem::operand::write_gpr;

/// DR6 bits.
pub const DR6_BD: u64 = 1 << 13;
pub const DR6_BS: u64 = 1 << 14;
pub const DR6_BT: u64 = 1 << 15;
/// Bits of DR6 that read as 1, and those that can be written (no RTM, no bus-lock detection).
const DR6_FIXED: u64 = 0xffff_0ff0;
const DR6_WRITABLE: u64 = 0xe00f;
/// B0 to B3: the breakpoints.
pub const DR6_BREAKPOINTS: u64 = 0xf;
/// IA32_DEBUGCTL: single-step on branches (SDM 3 17.4.3), the only bit of it that there is.
pub const DEBUGCTL_BTF: u64 = 1 << 1;
/// DR7: general detect.
pub const DR7_GD: u64 = 1 << 13;
/// DR7: the local enables, which a task switch clears.
pub const DR7_LOCAL: u64 = 0x155;
const DR7_FIXED: u64 = 0x400;
const DR7_WRITABLE: u64 = 0xffff_23ff;

/// What a breakpoint watches: DR7's R/W field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Execute,
    Write,
    Io,
    ReadWrite,
}

#[derive(Clone, Copy)]
struct Breakpoint {
    /// Its bit in DR6.
    bit: u64,
    kind: Kind,
    start: u64,
    /// Last address.
    last: u64,
}

/// The breakpoints that DR7 enables.
fn breakpoints(cpu: &Cpu) -> impl Iterator<Item = Breakpoint> + use<> {
    let (dr, dr7, de) = (cpu.dr, cpu.dr[7], cpu.cr4 & cr4::DE != 0);
    (0..4).filter(move |n| dr7 >> (2 * n) & 3 != 0).filter_map(move |n| {
        let kind = match dr7 >> (16 + 4 * n) & 3 {
            0 => Kind::Execute,
            1 => Kind::Write,
            2 if de => Kind::Io,
            2 => return None,
            _ => Kind::ReadWrite,
        };
        let mask = match dr7 >> (18 + 4 * n) & 3 {
            0 => 0,
            1 => 1,
            2 => 7,
            _ => 3,
        };
        let start = dr[n] & !mask;
        Some(Breakpoint { bit: 1 << n, kind, start, last: start.wrapping_add(mask) })
    })
}

impl Cpu {
    /// Follows a change of DR0-DR3, DR7 or CR4.DE.
    pub(crate) fn update_breakpoints(&mut self) {
        let had = self.watching;
        self.watching = breakpoints(self).any(|b| matches!(b.kind, Kind::Write | Kind::ReadWrite));
        self.code_breakpoints = breakpoints(self).any(|b| b.kind == Kind::Execute);
        if had || self.watching {
            self.flush_tlb();
        }
        self.attention = true;
    }

    /// What #DB for the causes `hit`, bits of DR6, leaves in the registers. Of earlier causes those of breakpoints go, and the others stay (SDM 3 17.2.3).
    pub(crate) fn note_debug_exception(&mut self, hit: u64) {
        self.dr[6] = self.dr[6] & !DR6_BREAKPOINTS | hit;
        self.msr.debugctl &= !DEBUGCTL_BTF;
    }

    /// An instruction has ended, which has `branched` or not: where single steps are branches, others do not trap.
    pub(crate) fn step_by_branches(&mut self, branched: bool) {
        if self.msr.debugctl & DEBUGCTL_BTF != 0 && !branched {
            self.debug_trap &= !DR6_BS;
        }
    }

    /// SYSCALL and SYSRET trap by the TF that they leave, other instructions by the one that they found.
    pub(crate) fn step_by_new_flags(&mut self) {
        if self.rflags_rest() & rflags::TF != 0 {
            self.debug_trap |= DR6_BS;
            self.attention = true;
        } else {
            self.debug_trap &= !DR6_BS;
        }
    }

    /// The breakpoints on the instruction at CS:RIP, as bits of DR6.
    pub(crate) fn code_breakpoint(&self) -> u64 {
        let mut at = self.rip.wrapping_add(self.seg_base(SegReg::Cs));
        if self.code_size() != CodeSize::Bits64 {
            at &= 0xffff_ffff;
        }
        breakpoints(self).filter(|b| b.kind == Kind::Execute && b.start == at).fold(0, |bits, b| bits | b.bit)
    }
}

/// Whether data accesses to the page of `va` must be looked at one by one.
pub(crate) fn watches_page(cpu: &Cpu, va: u64) -> bool {
    cpu.watching
        && breakpoints(cpu).any(|b| matches!(b.kind, Kind::Write | Kind::ReadWrite) && (b.start ^ va) & !PAGE_MASK == 0)
}

/// Notes the data breakpoints that an access of `n` bytes meets: the trap comes behind the instruction.
pub(crate) fn data_access(cpu: &mut Cpu, va: u64, n: u32, access: Access) {
    if !cpu.watching {
        return;
    }
    let last = va.wrapping_add(u64::from(n) - 1);
    let hit = breakpoints(cpu)
        .filter(|b| b.kind == Kind::ReadWrite || (b.kind == Kind::Write && access == Access::Write))
        .filter(|b| b.start <= last && va <= b.last)
        .fold(0, |bits, b| bits | b.bit);
    if hit != 0 {
        cpu.debug_trap |= hit;
        cpu.attention = true;
    }
}

/// Notes the I/O breakpoints that an access of `n` bytes meets.
pub(crate) fn io_access(cpu: &mut Cpu, port: u16, n: u32) {
    let (first, last) = (u64::from(port), u64::from(port) + u64::from(n) - 1);
    let hit = breakpoints(cpu)
        .filter(|b| b.kind == Kind::Io && b.start <= last && first <= b.last)
        .fold(0, |bits, b| bits | b.bit);
    if hit != 0 {
        cpu.debug_trap |= hit;
        cpu.attention = true;
    }
}

/// Number of the debug register that MOV names: 4 and 5 are 6 and 7 where CR4.DE is clear.
fn number(cx: &mut Exec<'_>, n: u8) -> Result<usize, Stop> {
    cx.require_cpl0()?;
    let n = match n {
        4 | 5 if cx.cpu.cr4 & cr4::DE == 0 => n + 2,
        0..=3 | 6 | 7 => n,
        _ => return Err(cx.ud()),
    };
    if cx.cpu.dr[7] & DR7_GD != 0 {
        cx.cpu.note_debug_exception(DR6_BD);
        *cx.cpu.rflags_rest_mut() |= rflags::RF;
        return Err(cx.fault(fault::DB, None));
    }
    Ok(usize::from(n))
}

pub fn mov_from_dr(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
    let n = number(cx, i.regs[1])?;
    let v = cx.cpu.dr[n];
    write_gpr(cx, i.width(), i.regs[0], v & i.width().mask());
    Ok(())
}

pub fn mov_to_dr(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
    let n = number(cx, i.regs[0])?;
    let v = cx.cpu.regs[usize::from(i.regs[1] & 15)] & i.width().mask();
    if n >= 6 && i.width() == Width::W64 && v >> 32 != 0 {
        return Err(cx.gp0());
    }
    cx.cpu.dr[n] = match n {
        6 => v & DR6_WRITABLE | DR6_FIXED,
        7 => v & DR7_WRITABLE | DR7_FIXED,
        _ => v,
    };
    cx.cpu.update_breakpoints();
    Ok(())
}
