//! Port input and output (SDM 1 chapter 19): IN, OUT, INS, OUTS, with IOPL and the TSS's permission map.

use guest_api::{Emit, Slot, Space, Width};

use super::debug;
use super::paging::as_system;
use super::task;
use crate::cpu::{CodeSize, DIRECTION, RAX, RCX, RDI, RDX, RSI, SegReg, ZERO, cr0};
use crate::exec::Exec;
use crate::fault::Stop;
use crate::insn::{Insn, Kind, prefix, segment_space};
use crate::sem::operand::{read_gpr, write_gpr};

/// #GP(0) unless `bytes` ports at `port` may be used: CPL within IOPL, or their bits in the TSS's map clear.
fn check(cx: &mut Exec<'_>, port: u16, bytes: u32) -> Result<(), Stop> {
    let cpu = &*cx.cpu;
    if cpu.cr0 & cr0::PE == 0 || (cpu.cpl <= cpu.iopl() && !cpu.virtual_8086()) {
        return Ok(());
    }
    let tr = cpu.tr;
    let limit = u64::from(tr.segment.limit);
    // A 16-bit TSS has no map. The map is read two bytes at a time, both within the limit (SDM 1 19.5.2).
    if !task::is_wide(tr.segment) || limit < 103 {
        return Err(cx.gp0());
    }
    let denied = as_system(cx, |cx| {
        let map = cx.load_linear(Width::W16, tr.base.wrapping_add(102), Space::FLAT)?;
        let at = map + u64::from(port) / 8;
        if at + 1 > limit {
            return Ok(true);
        }
        let word = cx.load_linear(Width::W16, tr.base.wrapping_add(at), Space::FLAT)?;
        Ok(word >> (port & 7) & ((1 << bytes) - 1) != 0)
    })?;
    if denied { Err(cx.gp0()) } else { Ok(()) }
}

fn input(cx: &mut Exec<'_>, port: u16, w: Width) -> u64 {
    debug::io_access(cx.cpu, port, w.bytes());
    cx.cpu.attention = true;
    u64::from(cx.platform.io_read(port, w.bytes(), cx.cpu.insns)) & w.mask()
}

fn output(cx: &mut Exec<'_>, port: u16, w: Width, v: u64) {
    debug::io_access(cx.cpu, port, w.bytes());
    cx.cpu.attention = true;
    cx.platform.io_write(port, w.bytes(), (v & w.mask()) as u32, cx.cpu.insns);
}

/// The port operand: an immediate byte or DX.
fn port(cx: &Exec<'_>, i: &Insn, n: usize) -> u16 {
    if i.kinds[n] == Kind::Imm { i.imm() as u8 as u16 } else { cx.cpu.regs[RDX as usize] as u16 }
}

pub fn r#in(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
    let port = port(cx, i, 1);
    check(cx, port, i.width().bytes())?;
    let v = input(cx, port, i.width());
    write_gpr(cx, i.width(), RAX, v);
    Ok(())
}

pub fn out(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
    let port = port(cx, i, 0);
    check(cx, port, i.width().bytes())?;
    let v = cx.cpu.regs[RAX as usize];
    output(cx, port, i.width(), v);
    Ok(())
}

/// One element of a string transfer: moves the index register, counts, and comes again where REP wants more.
fn element(cx: &mut Exec<'_>, i: &Insn, index: u8, w: Width) {
    let step = cx.cpu.regs[DIRECTION as usize].wrapping_mul(u64::from(w.bytes()));
    let v = cx.cpu.regs[index as usize].wrapping_add(step) & i.addr_width().mask();
    write_gpr(cx, i.addr_width(), index, v);
    if repeats(i) {
        let count = read_gpr(cx, i.addr_width(), RCX).wrapping_sub(1) & i.addr_width().mask();
        write_gpr(cx, i.addr_width(), RCX, count);
        if count != 0 {
            let pc = i.pc(cx.block_pc());
            cx.jump(pc);
        }
    }
}

fn repeats(i: &Insn) -> bool {
    i.has(prefix::REP) || i.has(prefix::REPNE)
}

pub fn ins(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
    if repeats(i) && read_gpr(cx, i.addr_width(), RCX) == 0 {
        return Ok(());
    }
    let (w, port) = (i.width(), cx.cpu.regs[RDX as usize] as u16);
    check(cx, port, w.bytes())?;
    let at = read_gpr(cx, i.addr_width(), RDI);
    let space = if i.bits() == CodeSize::Bits64 { Space::FLAT } else { segment_space(SegReg::Es) };
    // The device is read only where the store cannot fault.
    cx.probe_write(w.bytes(), at, space)?;
    let v = input(cx, port, w);
    cx.store(w, at, v, space)?;
    element(cx, i, RDI, w);
    Ok(())
}

pub fn outs(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
    if repeats(i) && read_gpr(cx, i.addr_width(), RCX) == 0 {
        return Ok(());
    }
    // The first operand is the port, the second the element.
    let (w, port) = (i.src_width(), cx.cpu.regs[RDX as usize] as u16);
    check(cx, port, w.bytes())?;
    let mut at = read_gpr(cx, i.addr_width(), RSI);
    if i.seg_base != ZERO {
        at = at.wrapping_add(cx.get(Slot(i.seg_base)));
    }
    let v = cx.load(w, at, i.space)?;
    output(cx, port, w, v);
    element(cx, i, RSI, w);
    Ok(())
}
