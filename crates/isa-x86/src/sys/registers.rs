//! Control registers (SDM 3 2.5, SDM 2 MOV CR).

use guest_api::Width;

use super::paging::{PHYSICAL_BITS, load_pdptes};
use super::segments::attr;
use crate::cpu::{RAX, RCX, RDX, SegReg, cr0, cr4, efer};
use crate::exec::Exec;
use crate::fault::Stop;
use crate::insn::{Insn, Kind};
use crate::sem::operand::{read, write};

/// Bits of CR0 that exist.
const CR0_MASK: u64 = cr0::PE | cr0::MP | cr0::EM | cr0::TS | cr0::NE | cr0::WP | cr0::AM | cr0::NW | cr0::CD | cr0::PG;
/// Bits of CR4 that CPUID's features give.
const CR4_MASK: u64 = cr4::TSD
    | cr4::DE
    | cr4::PSE
    | cr4::PAE
    | cr4::MCE
    | cr4::PGE
    | cr4::PCE
    | cr4::OSFXSR
    | cr4::OSXMMEXCPT
    | cr4::UMIP
    | cr4::FSGSBASE
    | cr4::PCIDE
    | cr4::OSXSAVE
    | cr4::SMEP
    | cr4::SMAP;
/// MOV to CR3 with CR4.PCIDE: keep the translations of the PCID.
const CR3_NO_FLUSH: u64 = 1 << 63;

/// XCR0 bits: x87 and SSE state (SDM 1 13.1).
pub const XCR0_X87: u64 = 1;
pub const XCR0_SSE: u64 = 2;
pub const XCR0_SUPPORTED: u64 = XCR0_X87 | XCR0_SSE;

/// What MOV from control register `n` reads.
pub(crate) fn read_cr(cx: &mut Exec<'_>, n: u64) -> Result<u64, Stop> {
    if !matches!(n, 0 | 2 | 3 | 4 | 8) {
        return Err(cx.ud());
    }
    cx.require_cpl0()?;
    Ok(match n {
        0 => cx.cpu.cr0,
        2 => cx.cpu.cr2,
        3 => cx.cpu.cr3,
        4 => cx.cpu.cr4,
        _ => u64::from(cx.platform.cr8()),
    })
}

/// MOV of `v` to control register `n`.
pub(crate) fn write_cr(cx: &mut Exec<'_>, n: u64, v: u64) -> Result<u64, Stop> {
    if !matches!(n, 0 | 2 | 3 | 4 | 8) {
        return Err(cx.ud());
    }
    cx.require_cpl0()?;
    if n != 3 && cx.cpu.translated {
        return Err(Stop); // rare, and more may change than translated code looks at
    }
    cx.can_forget_jumps()?;
    match n {
        0 => set_cr0(cx, v)?,
        2 => cx.cpu.cr2 = v,
        3 => set_cr3(cx, v)?,
        4 => set_cr4(cx, v)?,
        _ => {
            if v >> 4 != 0 {
                return Err(cx.gp0());
            }
            cx.platform.set_cr8(v as u8);
            cx.cpu.attention = true;
        }
    }
    Ok(0)
}

/// Writes CR0 with the checks of MOV CR0.
pub fn set_cr0(cx: &mut Exec<'_>, v: u64) -> Result<(), Stop> {
    use cr0::{CD, ET, NW, PE, PG, WP};
    let old = cx.cpu.cr0;
    let long_enabled = cx.cpu.msr.efer & efer::LME != 0;
    let bad = v >> 32 != 0
        || (v & PG != 0 && v & PE == 0)
        || (v & NW != 0 && v & CD == 0)
        || (v & PG == 0
            && old & PG != 0
            && (cx.cpu.cr4 & cr4::PCIDE != 0 || super::interrupts::in_64_bit_mode(cx.cpu)));
    if bad {
        return Err(cx.gp0());
    }
    let new = v & CR0_MASK | ET;
    let paging_on = new & !old & PG != 0;
    if paging_on && long_enabled {
        // Entering IA-32e mode (SDM 3 9.8.5): PAE, no 64-bit CS, no 16-bit TSS.
        let cs_long = cx.cpu.seg[SegReg::Cs as usize].attr & attr::L != 0;
        if cx.cpu.cr4 & cr4::PAE == 0 || cs_long || cx.cpu.tr.segment.attr & 0xd == 1 {
            return Err(cx.gp0());
        }
    } else if new & PG != 0 && cx.cpu.cr4 & cr4::PAE != 0 && !long_enabled && (old ^ new) & (PG | CD | NW) != 0 {
        match load_pdptes(cx, cx.cpu.cr3) {
            Some(p) => cx.cpu.pdpte = p,
            None => return Err(cx.gp0()),
        }
    }
    cx.cpu.cr0 = new;
    if new & PG == 0 || !long_enabled {
        cx.cpu.msr.efer &= !efer::LMA;
    } else {
        cx.cpu.msr.efer |= efer::LMA;
    }
    if (old ^ new) & (PG | PE | WP) != 0 {
        cx.cpu.flush_tlb();
    }
    cx.cpu.update_context();
    Ok(())
}

fn set_cr3(cx: &mut Exec<'_>, v: u64) -> Result<(), Stop> {
    let pcide = cx.cpu.cr4 & cr4::PCIDE != 0;
    let keep = pcide && v & CR3_NO_FLUSH != 0;
    let v = if pcide { v & !CR3_NO_FLUSH } else { v };
    if cx.cpu.long_mode() {
        if v >> PHYSICAL_BITS != 0 {
            return Err(cx.gp0());
        }
    } else if cx.cpu.cr0 & cr0::PG != 0 && cx.cpu.cr4 & cr4::PAE != 0 {
        match load_pdptes(cx, v) {
            Some(p) => cx.cpu.pdpte = p,
            None => return Err(cx.gp0()),
        }
    }
    cx.cpu.cr3 = v;
    let pcid = cx.cpu.pcid();
    cx.cpu.enter_address_space(pcid, !keep);
    Ok(())
}

fn set_cr4(cx: &mut Exec<'_>, v: u64) -> Result<(), Stop> {
    use cr4::{DE, PAE, PCIDE, PGE, PSE, SMAP, SMEP};
    let old = cx.cpu.cr4;
    let long = cx.cpu.long_mode();
    let bad =
        v & !CR4_MASK != 0 || (long && v & PAE == 0) || (v & !old & PCIDE != 0 && (!long || cx.cpu.cr3 & 0xfff != 0));
    if bad {
        return Err(cx.gp0());
    }
    if !long && cx.cpu.cr0 & cr0::PG != 0 && v & PAE != 0 && (old ^ v) & (PAE | PGE | PSE | SMEP) != 0 {
        match load_pdptes(cx, cx.cpu.cr3) {
            Some(p) => cx.cpu.pdpte = p,
            None => return Err(cx.gp0()),
        }
    }
    cx.cpu.cr4 = v;
    if (old ^ v) & (PSE | PAE | PGE | PCIDE | SMEP | SMAP) != 0 {
        cx.cpu.flush_tlb();
        let pcid = cx.cpu.pcid();
        cx.cpu.enter_address_space(pcid, true);
    }
    if (old ^ v) & DE != 0 {
        cx.cpu.update_breakpoints();
    }
    cx.cpu.update_context();
    Ok(())
}

pub fn clts(cx: &mut Exec<'_>, _: &Insn) -> Result<(), Stop> {
    cx.require_cpl0()?;
    cx.cpu.cr0 &= !cr0::TS;
    Ok(())
}

/// LMSW: PE, MP, EM, TS; PE cannot be cleared.
pub fn lmsw(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
    cx.require_cpl0()?;
    let v = read(cx, i, 0, Width::W16)? & 15;
    let old = cx.cpu.cr0;
    set_cr0(cx, old & !0xe | v)
}

pub fn smsw(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
    if cx.cpu.cr4 & cr4::UMIP != 0 {
        cx.require_cpl0()?;
    }
    let w = if i.kinds[0] == Kind::Mem { Width::W16 } else { i.width() };
    let v = cx.cpu.cr0 & w.mask();
    write(cx, i, 0, w, v)
}

fn require_osxsave(cx: &mut Exec<'_>) -> Result<(), Stop> {
    if cx.cpu.cr4 & cr4::OSXSAVE == 0 { Err(cx.ud()) } else { Ok(()) }
}

pub fn xgetbv(cx: &mut Exec<'_>, _: &Insn) -> Result<(), Stop> {
    require_osxsave(cx)?;
    if cx.cpu.regs[RCX as usize] as u32 != 0 {
        return Err(cx.gp0());
    }
    cx.cpu.regs[RAX as usize] = cx.cpu.xcr0 & 0xffff_ffff;
    cx.cpu.regs[RDX as usize] = cx.cpu.xcr0 >> 32;
    Ok(())
}

pub fn xsetbv(cx: &mut Exec<'_>, _: &Insn) -> Result<(), Stop> {
    require_osxsave(cx)?;
    cx.require_cpl0()?;
    let v = cx.cpu.regs[RAX as usize] & 0xffff_ffff | cx.cpu.regs[RDX as usize] << 32;
    if cx.cpu.regs[RCX as usize] as u32 != 0 || v & XCR0_X87 == 0 || v & !XCR0_SUPPORTED != 0 {
        return Err(cx.gp0());
    }
    cx.cpu.xcr0 = v;
    Ok(())
}
