//! Saving and restoring x87, MMX and SSE state: FXSAVE, FXRSTOR, XSAVE, XSAVEOPT, XRSTOR (SDM 1 10.5 and 13).

use guest_api::{Emit, Width};

use super::registers::{XCR0_SSE, XCR0_X87};
use crate::cpu::{CodeSize, Cpu, RAX, RDX, cr0, cr4};
use crate::exec::Exec;
use crate::fault::{NM, Stop};
use crate::insn::Insn;
use crate::sem::operand::address;
use crate::x87::{FX_AREA as LEGACY, Fpu};

/// Bytes of the whole area: the legacy region, and the header.
pub const AREA: u32 = 576;
const XMM: usize = 160;
/// MXCSR bits that exist, DAZ among them.
const MXCSR_MASK: u32 = 0xffff;

type Legacy = [u8; LEGACY];

fn put(b: &mut Legacy, at: usize, v: &[u8]) {
    if let Some(d) = b.get_mut(at..at + v.len()) {
        d.copy_from_slice(v);
    }
}
fn get<const N: usize>(b: &Legacy, at: usize) -> [u8; N] {
    let mut v = [0; N];
    if let Some(s) = b.get(at..at + N) {
        v.copy_from_slice(s);
    }
    v
}

/// Registers XMM8-XMM15 are in the image in 64-bit mode only.
fn xmm_count(i: &Insn) -> usize {
    if i.bits() == CodeSize::Bits64 { 16 } else { 8 }
}

fn save_xmm(cpu: &Cpu, b: &mut Legacy, count: usize) {
    for (k, x) in cpu.xmm[..count].iter().enumerate() {
        put(b, XMM + 16 * k, &x.to_le_bytes());
    }
}
fn save_mxcsr(cpu: &Cpu, b: &mut Legacy) {
    put(b, 24, &cpu.mxcsr.to_le_bytes());
    put(b, 28, &MXCSR_MASK.to_le_bytes());
}

fn read_area(cx: &mut Exec<'_>, a: u64, i: &Insn, b: &mut [u8]) -> Result<(), Stop> {
    for (k, chunk) in b.chunks_exact_mut(8).enumerate() {
        chunk.copy_from_slice(&cx.load(Width::W64, a.wrapping_add(8 * k as u64), i.space)?.to_le_bytes());
    }
    Ok(())
}
/// Writes `b[from..to]`, multiples of 8, behind `a`.
fn write_area(cx: &mut Exec<'_>, a: u64, i: &Insn, b: &Legacy, from: usize, to: usize) -> Result<(), Stop> {
    for k in (from..to).step_by(8) {
        cx.store(Width::W64, a.wrapping_add(k as u64), u64::from_le_bytes(get(b, k)), i.space)?;
    }
    Ok(())
}

/// Operand address, aligned: #NM with TS (or EM for FXSAVE), #GP(0) where misaligned.
fn area(cx: &mut Exec<'_>, i: &Insn, block: u64, mask: u64) -> Result<u64, Stop> {
    if cx.cpu.cr0 & mask != 0 {
        return Err(cx.fault(NM, None));
    }
    let a = address(cx, i);
    // Alignment is that of the linear address.
    let linear = if i.bits() == CodeSize::Bits64 { a } else { cx.linear(i.space, a, 1, false)? };
    if linear & (block - 1) != 0 { Err(cx.gp0()) } else { Ok(a) }
}

fn fxsave_as(cx: &mut Exec<'_>, i: &Insn, wide: bool) -> Result<(), Stop> {
    let a = area(cx, i, 16, cr0::TS | cr0::EM)?;
    cx.probe_write(LEGACY as u32, a, i.space)?;
    let count = xmm_count(i);
    let mut b = [0; LEGACY];
    cx.cpu.fpu.save_fx(&mut b, wide);
    save_mxcsr(cx.cpu, &mut b);
    save_xmm(cx.cpu, &mut b, count);
    // Bytes 464 on are the system's own.
    write_area(cx, a, i, &b, 0, XMM + 16 * count)
}

fn fxrstor_as(cx: &mut Exec<'_>, i: &Insn, wide: bool) -> Result<(), Stop> {
    let a = area(cx, i, 16, cr0::TS | cr0::EM)?;
    let mut b = [0; LEGACY];
    read_area(cx, a, i, &mut b)?;
    let mxcsr = u32::from_le_bytes(get(&b, 24));
    if mxcsr & !MXCSR_MASK != 0 {
        return Err(cx.gp0());
    }
    cx.cpu.fpu.load_fx(&b, wide);
    cx.cpu.mxcsr = mxcsr;
    restore_xmm(cx.cpu, &b, xmm_count(i));
    Ok(())
}

fn restore_xmm(cpu: &mut Cpu, b: &Legacy, count: usize) {
    for (k, x) in cpu.xmm[..count].iter_mut().enumerate() {
        *x = u128::from_le_bytes(get(b, XMM + 16 * k));
    }
}

pub fn fxsave(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
    fxsave_as(cx, i, false)
}
pub fn fxsave64(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
    fxsave_as(cx, i, true)
}
pub fn fxrstor(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
    fxrstor_as(cx, i, false)
}
pub fn fxrstor64(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
    fxrstor_as(cx, i, true)
}

/// The state components that the instruction is about: EDX:EAX and XCR0. #UD without CR4.OSXSAVE.
fn requested(cx: &mut Exec<'_>) -> Result<u64, Stop> {
    if cx.cpu.cr4 & cr4::OSXSAVE == 0 {
        return Err(cx.ud());
    }
    let mask = cx.cpu.regs[RAX as usize] & 0xffff_ffff | cx.cpu.regs[RDX as usize] << 32;
    Ok(mask & cx.cpu.xcr0)
}

/// XSAVE and XSAVEOPT in the standard format. All components count as in use: the initial-state and modified optimisations are
/// permitted, not required (SDM 1 13.6, 13.9).
fn xsave_as(cx: &mut Exec<'_>, i: &Insn, wide: bool) -> Result<(), Stop> {
    let components = requested(cx)?;
    let a = area(cx, i, 64, cr0::TS)?;
    cx.probe_write(AREA, a, i.space)?;
    let header = a.wrapping_add(LEGACY as u64);
    let in_area = cx.load(Width::W64, header, i.space)?;
    let count = xmm_count(i);
    let mut b = [0; LEGACY];
    cx.cpu.fpu.save_fx(&mut b, wide);
    save_mxcsr(cx.cpu, &mut b);
    save_xmm(cx.cpu, &mut b, count);
    if components & XCR0_X87 != 0 {
        write_area(cx, a, i, &b, 0, 24)?;
        write_area(cx, a, i, &b, 32, XMM)?;
    }
    if components & XCR0_SSE != 0 {
        write_area(cx, a, i, &b, 24, 32)?;
        write_area(cx, a, i, &b, XMM, XMM + 16 * count)?;
    }
    cx.store(Width::W64, header, in_area | components, i.space)
}

fn xrstor_as(cx: &mut Exec<'_>, i: &Insn, wide: bool) -> Result<(), Stop> {
    let components = requested(cx)?;
    let a = area(cx, i, 64, cr0::TS)?;
    let mut b = [0; LEGACY];
    let mut header = [0; 64];
    read_area(cx, a.wrapping_add(LEGACY as u64), i, &mut header)?;
    let mut field =
        header.chunks_exact(8).map(|c| u64::from_le_bytes([c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]]));
    let in_area = field.next().unwrap_or(0);
    // Standard format only: XCOMP_BV and the 8 bytes behind it must be 0 (SDM 1 13.8).
    let bad = in_area & !cx.cpu.xcr0 != 0 || field.take(2).any(|v| v != 0);
    if bad {
        return Err(cx.gp0());
    }
    read_area(cx, a, i, &mut b)?;
    let mxcsr = u32::from_le_bytes(get(&b, 24));
    if components & XCR0_SSE != 0 && mxcsr & !MXCSR_MASK != 0 {
        return Err(cx.gp0());
    }
    let given = components & in_area;
    if components & XCR0_X87 != 0 {
        if given & XCR0_X87 != 0 {
            cx.cpu.fpu.load_fx(&b, wide);
        } else {
            cx.cpu.fpu = Fpu::default();
        }
    }
    if components & XCR0_SSE != 0 {
        // MXCSR comes from the area even where the registers are initialised.
        cx.cpu.mxcsr = mxcsr;
        let count = xmm_count(i);
        if given & XCR0_SSE != 0 {
            restore_xmm(cx.cpu, &b, count);
        } else {
            cx.cpu.xmm[..count].fill(0);
        }
    }
    Ok(())
}

pub fn xsave(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
    xsave_as(cx, i, false)
}
pub fn xsave64(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
    xsave_as(cx, i, true)
}
pub fn xrstor(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
    xrstor_as(cx, i, false)
}
pub fn xrstor64(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
    xrstor_as(cx, i, true)
}
