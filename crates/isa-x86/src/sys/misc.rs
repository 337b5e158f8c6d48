//! What fits nowhere else: TLB and cache maintenance, SMAP's switches.

use guest_api::{Emit, Space, Width};

use super::paging::canonical;
use crate::cpu::{CodeSize, cr4, rflags};
use crate::exec::Exec;
use crate::fault::Stop;
use crate::insn::{Insn, space_segment};
use crate::sem::operand::{address, read_gpr};

/// INVLPG (SDM 2): not canonical addresses are ignored.
pub(crate) fn invlpg(cx: &mut Exec<'_>, va: u64, space: Space) -> Result<u64, Stop> {
    cx.require_cpl0()?;
    cx.can_forget_jumps()?;
    let va = space_segment(space).map_or(va, |s| va.wrapping_add(cx.cpu.seg_base(s)) & 0xffff_ffff);
    if canonical(va) {
        cx.cpu.invalidate_page(va);
    }
    Ok(0)
}

/// INVPCID (SDM 2). Invalidating more than asked for is permitted.
pub fn invpcid(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
    cx.require_cpl0()?;
    let w = if i.bits() == CodeSize::Bits64 { Width::W64 } else { Width::W32 };
    let kind = read_gpr(cx, w, i.regs[0]);
    let a = address(cx, i);
    let pcid = cx.load(Width::W64, a, i.space)?;
    let va = cx.load(Width::W64, a.wrapping_add(8), i.space)?;
    let pcide = cx.cpu.cr4 & cr4::PCIDE != 0;
    if kind > 3 || pcid >> 12 != 0 || (kind < 2 && !pcide && pcid != 0) || (kind == 0 && !canonical(va)) {
        return Err(cx.gp0());
    }
    match kind {
        0 => cx.cpu.invalidate_page(va),
        1 => cx.cpu.flush_pcid(pcid as u16),
        _ => cx.cpu.flush_tlb(),
    }
    Ok(())
}

/// INVD, WBINVD: there is no cache to lose.
pub fn wbinvd(cx: &mut Exec<'_>, _: &Insn) -> Result<(), Stop> {
    cx.require_cpl0()
}

/// STAC and CLAC.
pub(crate) fn set_ac(cx: &mut Exec<'_>, on: bool) -> Result<u64, Stop> {
    if cx.cpu.cpl != 0 {
        return Err(cx.ud());
    }
    if on {
        *cx.cpu.rflags_rest_mut() |= rflags::AC;
    } else {
        *cx.cpu.rflags_rest_mut() &= !rflags::AC;
    }
    cx.cpu.update_data_context();
    Ok(0)
}
