//! Model-specific registers (SDM 4), the time-stamp counter and random numbers.

use guest_api::Width;

use super::cpuid::bits64;
use super::debug::DEBUGCTL_BTF;
use super::paging::{PHYSICAL_BITS, canonical};
use crate::cpu::{self, RAX, RCX, RDX, SegReg, cr0, cr4, efer};
use crate::exec::Exec;
use crate::fault::Stop;
use crate::insn::Insn;
use crate::sem::operand::write_gpr;

/// Register addresses (SDM 4 table 2-2).
mod index {
    pub const TSC: u32 = 0x10;
    pub const PLATFORM_ID: u32 = 0x17;
    pub const APIC_BASE: u32 = 0x1b;
    pub const TSC_ADJUST: u32 = 0x3b;
    pub const SPEC_CTRL: u32 = 0x48;
    pub const PRED_CMD: u32 = 0x49;
    pub const BIOS_SIGN_ID: u32 = 0x8b;
    pub const MTRRCAP: u32 = 0xfe;
    pub const ARCH_CAPABILITIES: u32 = 0x10a;
    pub const SYSENTER_CS: u32 = 0x174;
    pub const SYSENTER_ESP: u32 = 0x175;
    pub const SYSENTER_EIP: u32 = 0x176;
    pub const MCG_CAP: u32 = 0x179;
    pub const MCG_STATUS: u32 = 0x17a;
    pub const MISC_ENABLE: u32 = 0x1a0;
    pub const DEBUGCTL: u32 = 0x1d9;
    pub const MTRR_PHYSBASE0: u32 = 0x200;
    pub const MTRR_PHYS_END: u32 = 0x20f;
    pub const MTRR_FIX64K: u32 = 0x250;
    pub const MTRR_FIX16K: u32 = 0x258;
    pub const MTRR_FIX16K_LAST: u32 = 0x259;
    pub const MTRR_FIX4K: u32 = 0x268;
    pub const MTRR_FIX4K_LAST: u32 = 0x26f;
    pub const PAT: u32 = 0x277;
    pub const MTRR_DEF_TYPE: u32 = 0x2ff;
    pub const TSC_DEADLINE: u32 = 0x6e0;
    pub const EFER: u32 = 0xc000_0080;
    pub const STAR: u32 = 0xc000_0081;
    pub const LSTAR: u32 = 0xc000_0082;
    pub const CSTAR: u32 = 0xc000_0083;
    pub const FMASK: u32 = 0xc000_0084;
    pub const FS_BASE: u32 = 0xc000_0100;
    pub const GS_BASE: u32 = 0xc000_0101;
    pub const KERNEL_GS_BASE: u32 = 0xc000_0102;
    pub const TSC_AUX: u32 = 0xc000_0103;
}
pub(super) use index::APIC_BASE;
use index::*;

/// IA32_MTRRCAP: eight variable ranges, fixed ranges, write-combining.
const MTRR_CAPABILITIES: u64 = 8 | 1 << 8 | 1 << 10;

/// IA32_ARCH_CAPABILITIES: this processor speculates nothing, so the kernel need not guard against it. RDCL_NO, IBRS_ALL (which
/// spares the guest retpolines), SKIP_L1DFL_VMENTRY, SSB_NO, MDS_NO, IF_PSCHANGE_MC_NO, TAA_NO, SBDR_SSDP_NO, FBSDP_NO, PSDP_NO,
/// BHI_NO, PBRSB_NO, GDS_NO, RFDS_NO, ITS_NO.
const CAPABILITIES: u64 = bits64(&[0, 1, 3, 4, 5, 6, 8, 13, 14, 15, 20, 24, 26, 27, 62]);
/// IA32_SPEC_CTRL: IBRS, STIBP, SSBD, BHI_DIS_S. They are kept and do nothing.
const SPECULATION_CONTROLS: u64 = bits64(&[0, 1, 2, 10]);

/// Memory types that PAT entries and MTRRs may hold (SDM 3 table 12-2): UC, WC, WT, WP, WB; PAT also UC-.
fn memory_type(t: u64, uc_minus: bool) -> bool {
    matches!(t, 0 | 1 | 4 | 5 | 6) || (uc_minus && t == 7)
}
fn eight_types(v: u64, uc_minus: bool) -> bool {
    v.to_le_bytes().iter().all(|b| memory_type(u64::from(*b), uc_minus))
}

impl Exec<'_> {
    /// The guest's time-stamp counter.
    pub fn guest_tsc(&mut self) -> u64 {
        self.platform.tsc(self.cpu.insns).wrapping_add(self.cpu.msr.tsc_offset)
    }
}

/// Reads a register; `None`: it does not exist, #GP(0).
pub fn read_msr(cx: &mut Exec<'_>, n: u32) -> Option<u64> {
    let at = cx.cpu.insns;
    let m = &cx.cpu.msr;
    Some(match n {
        TSC => cx.guest_tsc(),
        TSC_ADJUST => m.tsc_adjust,
        PLATFORM_ID => 0,
        SPEC_CTRL => m.spec_ctrl,
        BIOS_SIGN_ID => 1 << 32,
        MTRRCAP => MTRR_CAPABILITIES,
        ARCH_CAPABILITIES => CAPABILITIES,
        SYSENTER_CS => m.sysenter_cs,
        SYSENTER_ESP => m.sysenter_esp,
        SYSENTER_EIP => m.sysenter_eip,
        // Machine-check architecture without a bank: nothing ever fails.
        MCG_CAP | MCG_STATUS => 0,
        MISC_ENABLE => m.misc_enable,
        DEBUGCTL => m.debugctl,
        MTRR_PHYSBASE0..=MTRR_PHYS_END => m.mtrr_variable[(n - MTRR_PHYSBASE0) as usize],
        MTRR_FIX64K | MTRR_FIX16K..=MTRR_FIX16K_LAST | MTRR_FIX4K..=MTRR_FIX4K_LAST => m.mtrr_fixed[fixed_range(n)],
        PAT => m.pat,
        MTRR_DEF_TYPE => m.mtrr_def_type,
        TSC_DEADLINE => match cx.platform.msr_read(n, at)? {
            0 => 0,
            deadline => deadline.wrapping_add(cx.cpu.msr.tsc_offset),
        },
        EFER => m.efer,
        STAR => m.star,
        LSTAR => cx.cpu.regs[cpu::LSTAR as usize],
        CSTAR => m.cstar,
        FMASK => cx.cpu.regs[cpu::FMASK as usize],
        FS_BASE => cx.cpu.seg_base(SegReg::Fs),
        GS_BASE => cx.cpu.seg_base(SegReg::Gs),
        KERNEL_GS_BASE => cx.cpu.regs[cpu::KERNEL_GS_BASE as usize],
        TSC_AUX => m.tsc_aux,
        _ => return cx.platform.msr_read(n, at),
    })
}

/// Index in `Msrs::mtrr_fixed`.
fn fixed_range(n: u32) -> usize {
    (match n {
        MTRR_FIX64K => 0,
        MTRR_FIX16K..=MTRR_FIX16K_LAST => 1 + n - MTRR_FIX16K,
        _ => 3 + n.saturating_sub(MTRR_FIX4K).min(7),
    }) as usize
}

/// Writes a register; false: it does not exist, is read-only or the value is not allowed: #GP(0).
#[must_use]
pub fn write_msr(cx: &mut Exec<'_>, n: u32, v: u64) -> bool {
    let at = cx.cpu.insns;
    let address = |place: &mut u64| {
        if canonical(v) {
            *place = v;
        }
        canonical(v)
    };
    let checked = |place: &mut u64, good: bool| {
        if good {
            *place = v;
        }
        good
    };
    let m = &mut cx.cpu.msr;
    match n {
        TSC => {
            let delta = v.wrapping_sub(cx.guest_tsc());
            let m = &mut cx.cpu.msr;
            m.tsc_offset = m.tsc_offset.wrapping_add(delta);
            m.tsc_adjust = m.tsc_adjust.wrapping_add(delta);
            true
        }
        TSC_ADJUST => {
            m.tsc_offset = m.tsc_offset.wrapping_add(v.wrapping_sub(m.tsc_adjust));
            m.tsc_adjust = v;
            true
        }
        SPEC_CTRL => checked(&mut m.spec_ctrl, v & !SPECULATION_CONTROLS == 0),
        // IBPB: there is nothing to flush.
        PRED_CMD => v & !1 == 0,
        // Written with 0 before CPUID, to have the microcode revision put there.
        BIOS_SIGN_ID => true,
        SYSENTER_CS => checked(&mut m.sysenter_cs, true),
        SYSENTER_ESP => address(&mut m.sysenter_esp),
        SYSENTER_EIP => address(&mut m.sysenter_eip),
        // Fast strings, and the CPUID limit.
        MISC_ENABLE => checked(&mut m.misc_enable, v & !(1 | 1 << 22) == 0),
        MCG_STATUS => v == 0,
        DEBUGCTL => checked(&mut m.debugctl, v & !DEBUGCTL_BTF == 0),
        MTRR_PHYSBASE0..=MTRR_PHYS_END => {
            let k = (n - MTRR_PHYSBASE0) as usize;
            let low = if k.is_multiple_of(2) { 0xff } else { 1 << 11 };
            let good =
                v & !(((1 << PHYSICAL_BITS) - 0x1000) | low) == 0 && (k % 2 == 1 || memory_type(v & 0xff, false));
            checked(&mut m.mtrr_variable[k], good)
        }
        MTRR_FIX64K | MTRR_FIX16K..=MTRR_FIX16K_LAST | MTRR_FIX4K..=MTRR_FIX4K_LAST => {
            checked(&mut m.mtrr_fixed[fixed_range(n)], eight_types(v, false))
        }
        PAT => checked(&mut m.pat, eight_types(v, true)),
        MTRR_DEF_TYPE => checked(&mut m.mtrr_def_type, v & !0xcff == 0 && memory_type(v & 0xff, false)),
        TSC_DEADLINE => {
            let deadline = if v == 0 { 0 } else { v.wrapping_sub(m.tsc_offset).max(1) };
            cx.cpu.attention = true;
            cx.platform.msr_write(n, deadline, at)
        }
        EFER => write_efer(cx, v),
        STAR => checked(&mut m.star, true),
        LSTAR => address(&mut cx.cpu.regs[cpu::LSTAR as usize]),
        CSTAR => address(&mut m.cstar),
        FMASK => checked(&mut cx.cpu.regs[cpu::FMASK as usize], v >> 32 == 0),
        FS_BASE | GS_BASE => {
            if canonical(v) {
                cx.cpu.set_seg_base(if n == FS_BASE { SegReg::Fs } else { SegReg::Gs }, v);
            }
            canonical(v)
        }
        KERNEL_GS_BASE => address(&mut cx.cpu.regs[cpu::KERNEL_GS_BASE as usize]),
        TSC_AUX => checked(&mut m.tsc_aux, v >> 32 == 0),
        // What else of it is reserved the APIC knows.
        APIC_BASE if v >> PHYSICAL_BITS != 0 => false,
        _ => {
            cx.cpu.attention = true;
            cx.platform.msr_write(n, v, at)
        }
    }
}

fn write_efer(cx: &mut Exec<'_>, v: u64) -> bool {
    use efer::{LMA, LME, NXE, SCE};
    let old = cx.cpu.msr.efer;
    // LMA is the processor's own: what is written to it is ignored.
    let new = v & !LMA | old & LMA;
    if new & !(SCE | LME | LMA | NXE) != 0 || ((old ^ new) & LME != 0 && cx.cpu.cr0 & cr0::PG != 0) {
        return false;
    }
    cx.cpu.msr.efer = new;
    if (old ^ new) & NXE != 0 {
        cx.cpu.flush_tlb();
    }
    cx.cpu.update_context();
    true
}

pub fn rdmsr(cx: &mut Exec<'_>, _: &Insn) -> Result<(), Stop> {
    cx.require_cpl0()?;
    let n = cx.cpu.regs[RCX as usize] as u32;
    match read_msr(cx, n) {
        Some(v) => {
            put_edx_eax(cx, v);
            Ok(())
        }
        None => {
            log::debug!("rdmsr {n:#x}: no such register");
            Err(cx.gp0())
        }
    }
}

pub fn wrmsr(cx: &mut Exec<'_>, _: &Insn) -> Result<(), Stop> {
    cx.require_cpl0()?;
    let n = cx.cpu.regs[RCX as usize] as u32;
    let v = cx.cpu.regs[RAX as usize] & 0xffff_ffff | cx.cpu.regs[RDX as usize] << 32;
    if write_msr(cx, n, v) {
        return Ok(());
    }
    log::debug!("wrmsr {n:#x}, {v:#x}: not allowed");
    Err(cx.gp0())
}

fn put_edx_eax(cx: &mut Exec<'_>, v: u64) {
    cx.cpu.regs[RAX as usize] = v & 0xffff_ffff;
    cx.cpu.regs[RDX as usize] = v >> 32;
}

/// What RDTSC reads: at CPL 0 only where CR4.TSD is set.
pub(crate) fn read_tsc(cx: &mut Exec<'_>) -> Result<u64, Stop> {
    if cx.cpu.cr4 & cr4::TSD != 0 {
        cx.require_cpl0()?;
    }
    Ok(cx.guest_tsc())
}

pub fn rdpid(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
    write_gpr(cx, Width::W64, i.regs[0], cx.cpu.msr.tsc_aux);
    Ok(())
}

/// RDPMC: no counter is announced (CPUID leaf 0AH), so every index is bad.
pub fn rdpmc(cx: &mut Exec<'_>, _: &Insn) -> Result<(), Stop> {
    Err(cx.gp0())
}

/// RDRAND, RDSEED: a number is always ready, CF is set.
pub fn random(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
    let v = cx.platform.random() & i.width().mask();
    write_gpr(cx, i.width(), i.regs[0], v);
    cx.cpu.flags.set_all(true, false, false, false, false, false);
    Ok(())
}
