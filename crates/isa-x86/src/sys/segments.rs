//! Segmentation outside 64-bit mode (SDM 3 chapter 3 and 5).

use crate::cpu::SegReg;
use crate::exec::Exec;
use crate::fault::{GP, SS, Stop};

/// Linear address of `offset..offset + bytes` in segment `s`; raises #GP(0), or #SS(0) for SS, where limit or type forbid it.
pub fn linear(cx: &mut Exec<'_>, s: SegReg, offset: u64, bytes: u32, _write: bool) -> Result<u64, Stop> {
    let seg = cx.cpu.seg[s as usize];
    if offset + u64::from(bytes) - 1 > u64::from(seg.limit) {
        return Err(cx.fault(if s == SegReg::Ss { SS } else { GP }, Some(0)));
    }
    Ok(cx.cpu.seg_base(s).wrapping_add(offset) & 0xffff_ffff)
}
