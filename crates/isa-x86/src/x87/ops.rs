//! The instructions, by their opcode: the low three bits of the escape byte D8-DF and the ModRM byte (SDM 2D A.5).
//!
//! Decoding puts these eleven bits in [`Insn::imm`]; they are FOP too.

use guest_api::{Emit, EmitVector, Width};
use softfloat::f80::{self, Class, Constant, Reduction};
use softfloat::sse::Relation;
use softfloat::{Env80, F80, Round, flag};

use super::image::{Layout, REGISTERS};
use super::{Fpu, status};
use crate::cpu::{BLOCK, SEG_BASE, SegReg, ZERO, cr0, rflags};
use crate::exec::Exec;
use crate::fault::{MF, NM, Stop};
use crate::insn::{Insn, STACK, space_segment};
use crate::sem::operand::{address, effective_address};
use crate::sem::vec::MMX;

const INTEGER_INDEFINITE: i64 = i64::MIN;
const F32_INDEFINITE: u32 = 0xffc0_0000;
const F64_INDEFINITE: u64 = 0xfff8_0000_0000_0000;
const BCD_INDEFINITE: [u8; 10] = [0, 0, 0, 0, 0, 0, 0, 0xc0, 0xff, 0xff];

/// An instruction with an escape opcode.
pub fn execute(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
    let modrm = i.imm() as u8;
    let (escape, reg, rm) = ((i.imm() >> 8) as u8 & 7, modrm >> 3 & 7, modrm & 7);
    if cx.cpu.cr0 & (cr0::EM | cr0::TS) != 0 {
        return Err(cx.fault(NM, None));
    }
    if modrm < 0xc0 {
        return memory(cx, i, escape, reg);
    }
    // the instructions that do not wait
    match (escape, modrm) {
        (3, 0xe2) => cx.cpu.fpu.clear_exceptions(),
        (3, 0xe3) => cx.cpu.fpu.init(),
        // FENI, FDISI and FSETPM of the 8087 and 287 do nothing (SDM 3 24.18.9)
        (3, 0xe0 | 0xe1 | 0xe4) => {}
        (7, 0xe0) => {
            let ax = cx.cpu.fpu.status;
            cx.cpu.regs[0] = cx.cpu.regs[0] & !0xffff | u64::from(ax);
        }
        _ => {
            wait(cx)?;
            return register(cx, i, escape, reg, rm);
        }
    }
    Ok(())
}

/// FWAIT: raises a pending exception.
pub fn fwait(cx: &mut Exec<'_>, _: &Insn) -> Result<(), Stop> {
    if cx.cpu.cr0 & cr0::MP != 0 && cx.cpu.cr0 & cr0::TS != 0 {
        return Err(cx.fault(NM, None));
    }
    wait(cx)
}

/// EMMS: all registers empty. It faults as other MMX instructions do, none of which is translated.
pub fn emms(cx: &mut Exec<'_>, _: &Insn) -> Result<(), Stop> {
    cx.require(MMX)?;
    cx.cpu.fpu.leave_mmx();
    Ok(())
}

/// Raises #MF if an unmasked exception is pending.
#[inline]
pub(crate) fn wait(cx: &mut Exec<'_>) -> Result<(), Stop> {
    if cx.cpu.fpu.exception_pending() { Err(pending(cx)) } else { Ok(()) }
}

#[cold]
fn pending(cx: &mut Exec<'_>) -> Stop {
    if cx.cpu.cr0 & cr0::NE != 0 {
        cx.fault(MF, None)
    } else {
        // MS-DOS compatibility: FERR# and IRQ 13 (SDM 1 D.2)
        cx.unimplemented("x87 exception reported by FERR# (CR0.NE clear)")
    }
}

/// Notes the instruction's pointers, as all but the control instructions do.
#[inline]
fn note(cx: &mut Exec<'_>, i: &Insn) {
    let ip = i.pc(cx.cpu.regs[BLOCK as usize]);
    let cs = cx.cpu.seg[SegReg::Cs as usize].selector;
    let fpu = &mut cx.cpu.fpu;
    (fpu.ip, fpu.cs, fpu.opcode) = (ip, cs, i.imm() as u16);
}

/// The segment that the memory operand is in.
fn operand_segment(i: &Insn) -> SegReg {
    if i.seg_base != ZERO {
        SegReg::ALL[usize::from(i.seg_base - SEG_BASE) % SegReg::ALL.len()]
    } else if i.space == STACK {
        SegReg::Ss
    } else {
        space_segment(i.space).unwrap_or(SegReg::Ds)
    }
}

/// Notes the operand's pointer too.
#[inline]
fn note_operand(cx: &mut Exec<'_>, i: &Insn) {
    note(cx, i);
    let dp = effective_address(cx, i);
    let ds = cx.cpu.seg[operand_segment(i) as usize].selector;
    (cx.cpu.fpu.dp, cx.cpu.fpu.ds) = (dp, ds);
}

fn load_bytes<const N: usize>(cx: &mut Exec<'_>, i: &Insn, at: u64, bytes: usize) -> Result<[u8; N], Stop> {
    let mut b = [0; N];
    let bytes = bytes.min(N);
    for (k, b) in b[..bytes].chunks_mut(2).enumerate() {
        let v = cx.load(Width::W16, at.wrapping_add(2 * k as u64), i.space)? as u16;
        b.copy_from_slice(&v.to_le_bytes()[..b.len()]);
    }
    Ok(b)
}

/// Stores all bytes or, if one cannot be written, none.
fn store_bytes(cx: &mut Exec<'_>, i: &Insn, at: u64, b: &[u8]) -> Result<(), Stop> {
    cx.probe_write(b.len() as u32, at, i.space)?;
    for (k, b) in b.chunks_exact(2).enumerate() {
        let v = u16::from_le_bytes([b[0], b[1]]);
        cx.store(Width::W16, at.wrapping_add(2 * k as u64), v.into(), i.space)?;
    }
    Ok(())
}

fn layout(cx: &Exec<'_>, i: &Insn) -> Layout {
    Layout {
        wide: i.width() != Width::W16,
        real: cx.cpu.cr0 & cr0::PE == 0 || cx.cpu.rflags_rest() & rflags::VM != 0 && !cx.cpu.long_mode(),
    }
}

fn memory(cx: &mut Exec<'_>, i: &Insn, escape: u8, reg: u8) -> Result<(), Stop> {
    let at = address(cx, i);
    // the instructions that do not wait
    match (escape, reg) {
        (1, 6) => {
            let l = layout(cx, i);
            let b = cx.cpu.fpu.env_image(l);
            store_bytes(cx, i, at, &b[..l.env_bytes()])?;
            cx.cpu.fpu.mask_all();
            return Ok(());
        }
        (1, 7) => {
            let v = cx.cpu.fpu.control;
            return cx.store(Width::W16, at, v.into(), i.space);
        }
        (5, 6) => {
            let l = layout(cx, i);
            let mut b = [0; 28 + REGISTERS];
            let n = l.env_bytes();
            b[..n].copy_from_slice(&cx.cpu.fpu.env_image(l)[..n]);
            b[n..n + REGISTERS].copy_from_slice(&cx.cpu.fpu.registers_image());
            store_bytes(cx, i, at, &b[..n + REGISTERS])?;
            cx.cpu.fpu.init();
            return Ok(());
        }
        (5, 7) => {
            let v = cx.cpu.fpu.status;
            return cx.store(Width::W16, at, v.into(), i.space);
        }
        _ => wait(cx)?,
    }
    match (escape, reg) {
        (1, 4) => {
            let l = layout(cx, i);
            let b = load_bytes(cx, i, at, l.env_bytes())?;
            cx.cpu.fpu.set_env_image(l, &b);
        }
        (1, 5) => {
            let v = cx.load(Width::W16, at, i.space)?;
            cx.cpu.fpu.set_control(v as u16);
        }
        (5, 4) => {
            let l = layout(cx, i);
            let env = load_bytes(cx, i, at, l.env_bytes())?;
            let registers = load_bytes(cx, i, at.wrapping_add(l.env_bytes() as u64), REGISTERS)?;
            cx.cpu.fpu.set_env_image(l, &env);
            cx.cpu.fpu.set_registers_image(&registers);
        }
        (0 | 2 | 4 | 6, _) => {
            let width = [Width::W32, Width::W32, Width::W64, Width::W16][usize::from(escape >> 1)];
            let raw = cx.load(width, at, i.space)?;
            note_operand(cx, i);
            let fpu = &mut cx.cpu.fpu;
            let mut env = fpu.env();
            let b = match escape {
                0 => f80::widen32(raw as u32, &mut env),
                2 => f80::from_i64((raw as i32).into()),
                4 => f80::widen64(raw, &mut env),
                _ => f80::from_i64((raw as i16).into()),
            };
            match reg {
                2 | 3 => fpu.compare(Some(b), true, env, u8::from(reg == 3)),
                _ => {
                    fpu.arithmetic(reg, 0, Some(b), env);
                }
            }
        }
        // loads
        (1 | 3 | 5 | 7, 0) => {
            let width = [Width::W32, Width::W32, Width::W64, Width::W16][usize::from(escape >> 1)];
            let raw = cx.load(width, at, i.space)?;
            note_operand(cx, i);
            let mut env = cx.cpu.fpu.env();
            let v = match escape {
                1 => f80::from_f32(raw as u32, &mut env),
                3 => f80::from_i64((raw as i32).into()),
                5 => f80::from_f64(raw, &mut env),
                _ => f80::from_i64((raw as i16).into()),
            };
            cx.cpu.fpu.load(Some(v), &env);
        }
        (7, 5) => {
            let raw = cx.load(Width::W64, at, i.space)?;
            note_operand(cx, i);
            let env = cx.cpu.fpu.env();
            cx.cpu.fpu.load(Some(f80::from_i64(raw as i64)), &env);
        }
        (3, 5) | (7, 4) => {
            let m = cx.load(Width::W64, at, i.space)?;
            let se = cx.load(Width::W16, at.wrapping_add(8), i.space)? as u16;
            let v = F80 { m, se };
            note_operand(cx, i);
            let env = cx.cpu.fpu.env();
            cx.cpu.fpu.load(Some(if escape == 3 { v } else { f80::from_bcd(v.to_bytes()) }), &env);
        }
        // stores
        (1, 2 | 3) => store(cx, i, at, reg == 3, |v, env| match v {
            Some(v) => f80::to_f32(v, env).to_le_bytes(),
            None => F32_INDEFINITE.to_le_bytes(),
        })?,
        (5, 2 | 3) => store(cx, i, at, reg == 3, |v, env| match v {
            Some(v) => f80::to_f64(v, env).to_le_bytes(),
            None => F64_INDEFINITE.to_le_bytes(),
        })?,
        (3 | 5 | 7, 1..=3) | (7, 7) => {
            // FISTTP is reg 1
            let round = move |env: &Env80| if reg == 1 { Round::Zero } else { env.round() };
            let integer = move |v: Option<F80>, bits: u32, env: &mut Env80| match v {
                Some(v) => f80::to_int(v, bits, round(env), env),
                None => INTEGER_INDEFINITE >> (64 - bits),
            };
            match (escape, reg) {
                (7, 1..=3) => store(cx, i, at, reg != 2, |v, env| (integer(v, 16, env) as i16).to_le_bytes())?,
                (3, _) => store(cx, i, at, reg != 2, |v, env| (integer(v, 32, env) as i32).to_le_bytes())?,
                _ => store(cx, i, at, true, |v, env| integer(v, 64, env).to_le_bytes())?,
            }
        }
        (7, 6) => store(cx, i, at, true, |v, env| v.map_or(BCD_INDEFINITE, |v| f80::to_bcd(v, env)))?,
        (3, 7) => store(cx, i, at, true, |v, _| v.unwrap_or(F80::INDEFINITE).to_bytes())?,
        _ => return Err(cx.ud()),
    }
    Ok(())
}

/// Stores ST(0) as `convert` says, which is asked with None for the indefinite of its format; then pops it, if `pop`.
fn store<const N: usize>(
    cx: &mut Exec<'_>,
    i: &Insn,
    at: u64,
    pop: bool,
    convert: impl FnOnce(Option<F80>, &mut Env80) -> [u8; N],
) -> Result<(), Stop> {
    let mut env = cx.cpu.fpu.env();
    let v = cx.cpu.fpu.get(0);
    let b = convert(v, &mut env);
    if v.is_none() {
        env.raised |= flag::IE;
    }
    // only an unmasked precision exception lets the store take place (SDM 1 8.5.6)
    let stores = env.unmasked() & !flag::PE == 0;
    if stores {
        match N {
            2 | 4 | 8 => {
                let width = [Width::W16, Width::W32, Width::W64][N.trailing_zeros() as usize - 1];
                let mut wide = [0; 8];
                wide[..N].copy_from_slice(&b);
                cx.store(width, at, u64::from_le_bytes(wide), i.space)?;
            }
            _ => store_bytes(cx, i, at, &b)?,
        }
    } else {
        cx.probe_write(N as u32, at, i.space)?;
    }
    note_operand(cx, i);
    let fpu = &mut cx.cpu.fpu;
    if v.is_none() {
        fpu.stack_fault(false);
    } else {
        fpu.commit(&env);
    }
    if stores && pop {
        fpu.pop();
    }
    Ok(())
}

fn register(cx: &mut Exec<'_>, i: &Insn, escape: u8, reg: u8, rm: u8) -> Result<(), Stop> {
    note(cx, i);
    let fpu = &mut cx.cpu.fpu;
    let env = fpu.env();
    match (escape, reg) {
        // FCOM, FCOMP and their aliases; FCOMPP
        (0 | 4, 2 | 3) | (6, 2) => fpu.compare(fpu.get(rm), true, env, u8::from(reg == 3 || escape == 6)),
        (6, 3) if rm == 1 => fpu.compare(fpu.get(1), true, env, 2),
        (0, _) => {
            fpu.arithmetic(reg, 0, fpu.get(rm), env);
        }
        // with the destination ST(i) the reversed operations change places
        (4 | 6, 0 | 1 | 4..=7) => {
            let op = if reg >= 4 { reg ^ 1 } else { reg };
            if fpu.arithmetic(op, rm, fpu.get(0), env) && escape == 6 {
                fpu.pop();
            }
        }
        (1, 0) => fpu.load(fpu.get(rm), &env),
        (1 | 5 | 7, 1) => fpu.exchange(rm),
        (1, 2) if rm == 0 => {}
        // FST, FSTP and its aliases
        (5, 2 | 3) | (7, 2 | 3) => fpu.store_register(rm, (escape, reg) != (5, 2)),
        // FSTPNCE: as FSTP, but an empty register is just popped (AMD's processors; no manual lists it)
        (1, 3) => {
            fpu.status &= !status::C1;
            if let Some(v) = fpu.get(0) {
                fpu.set(rm, v);
            }
            fpu.pop();
        }
        (1, 4) => match rm {
            0 => fpu.sign(F80::negated),
            1 => fpu.sign(F80::abs),
            4 => fpu.compare(Some(F80::ZERO), true, env, 0),
            5 => fpu.examine(),
            _ => return Err(cx.ud()),
        },
        (1, 5) => {
            let round = env.round();
            let v = match rm {
                0 => F80::ONE,
                1 => f80::constant(Constant::Log2Of10, round),
                2 => f80::constant(Constant::Log2OfE, round),
                3 => f80::constant(Constant::Pi, round),
                4 => f80::constant(Constant::Log10Of2, round),
                5 => f80::constant(Constant::LnOf2, round),
                6 => F80::ZERO,
                _ => return Err(cx.ud()),
            };
            fpu.load(Some(v), &env);
        }
        (1, 6) => match rm {
            0 => fpu.unary(f80::exp2_minus_1),
            1 => fpu.binary_pop(f80::y_log2),
            2 => fpu.partial_pair(|v, env| {
                f80::tan(v, env).map(|t| (t, if t.class() == Class::Nan { t } else { F80::ONE }))
            }),
            3 => fpu.binary_pop(f80::atan2),
            4 => fpu.replace_by_pair(|v, env| Some(f80::extract(v, env))),
            5 => fpu.remainder(true),
            6 => fpu.spin(7),
            _ => fpu.spin(1),
        },
        (1, 7) => match rm {
            0 => fpu.remainder(false),
            1 => fpu.binary_pop(f80::y_log2_plus_1),
            2 => fpu.unary(f80::sqrt),
            3 => fpu.partial_pair(f80::sin_and_cos),
            4 => fpu.unary(f80::round_to_integral),
            5 => fpu.scale(),
            6 => fpu.partial(f80::sin),
            _ => fpu.partial(f80::cos),
        },
        (2 | 3, 0..=3) => {
            let f = &cx.cpu.flags;
            let holds = [f.cf(), f.zf(), f.cf() || f.zf(), f.pf()][usize::from(reg)];
            cx.cpu.fpu.conditional_move(rm, holds == (escape == 2));
        }
        (2, 5) if rm == 1 => fpu.compare(fpu.get(1), false, env, 2),
        // FFREE; FFREEP, which only AMD's manuals list
        (5 | 7, 0) => {
            fpu.status &= !status::C1;
            fpu.free(rm);
            if escape == 7 {
                fpu.pop();
            }
        }
        (5, 4 | 5) => fpu.compare(fpu.get(rm), false, env, u8::from(reg == 5)),
        (3 | 7, 5 | 6) => {
            if let Some(order) = fpu.order(fpu.get(rm), reg == 6, env) {
                use core::cmp::Ordering::{Equal, Less};
                let unordered = order.is_none();
                cx.cpu.flags.set_all(
                    unordered || order == Some(Less),
                    unordered,
                    false,
                    unordered || order == Some(Equal),
                    false,
                    false,
                );
                if escape == 7 {
                    cx.cpu.fpu.pop();
                }
            }
        }
        _ => return Err(cx.ud()),
    }
    Ok(())
}

impl Fpu {
    /// ST(i), None if it is empty.
    #[inline]
    fn get(&self, i: u8) -> Option<F80> {
        if self.is_empty(i) { None } else { Some(self.st(i)) }
    }

    /// `ST(dst) op b`, by the ModRM byte's `reg` field, to ST(dst). False if an unmasked exception keeps the result from it.
    #[inline]
    fn arithmetic(&mut self, op: u8, dst: u8, b: Option<F80>, mut env: Env80) -> bool {
        let (Some(a), Some(b)) = (self.get(dst), b) else {
            return self.underflow(dst);
        };
        let r = match op {
            0 => f80::add(a, b, &mut env),
            1 => f80::mul(a, b, &mut env),
            4 => f80::sub(a, b, &mut env),
            5 => f80::sub(b, a, &mut env),
            6 => f80::div(a, b, &mut env),
            _ => f80::div(b, a, &mut env),
        };
        self.finish(dst, r, &env)
    }

    /// Commits what was raised, and the result unless that forbids it; whether it did not.
    #[inline]
    fn finish(&mut self, dst: u8, r: F80, env: &Env80) -> bool {
        self.commit(env);
        if env.stops() {
            return false;
        }
        self.set(dst, r);
        true
    }

    /// A stack underflow whose masked response is the indefinite in ST(dst); whether it was masked.
    #[cold]
    fn underflow(&mut self, dst: u8) -> bool {
        let masked = self.stack_fault(false);
        if masked {
            self.set(dst, F80::INDEFINITE);
        }
        masked
    }

    /// Pushes a value, None standing for a source that is empty.
    #[inline]
    fn load(&mut self, v: Option<F80>, env: &Env80) {
        let (true, Some(v)) = (self.is_empty(7), v) else {
            // of both faults the source's comes first
            if self.stack_fault(v.is_some()) {
                self.push(F80::INDEFINITE);
            }
            return;
        };
        self.commit(env);
        // a denormal operand, even unmasked, does not keep a load from completing
        if env.unmasked() & flag::IE == 0 {
            self.push(v);
        }
    }

    fn store_register(&mut self, dst: u8, pop: bool) {
        let done = match self.get(0) {
            Some(v) => {
                self.status &= !status::C1;
                self.set(dst, v);
                true
            }
            None => self.underflow(dst),
        };
        if done && pop {
            self.pop();
        }
    }

    fn exchange(&mut self, i: u8) {
        let (a, b) = (self.get(0), self.get(i));
        if a.is_some() && b.is_some() {
            self.status &= !status::C1;
        } else if !self.stack_fault(false) {
            return;
        }
        self.set(0, b.unwrap_or(F80::INDEFINITE));
        self.set(i, a.unwrap_or(F80::INDEFINITE));
    }

    /// FCHS and FABS, which no datum is invalid for.
    fn sign(&mut self, f: impl FnOnce(F80) -> F80) {
        match self.get(0) {
            Some(v) => {
                self.status &= !status::C1;
                self.set(0, f(v));
            }
            None => {
                self.underflow(0);
            }
        }
    }

    /// FDECSTP and FINCSTP.
    fn spin(&mut self, by: u16) {
        self.status &= !status::C1;
        self.rotate(by);
    }

    fn set_conditions(&mut self, c: u16) {
        self.status = self.status & !(status::C0 | status::C2 | status::C3) | c;
    }

    /// Compares ST(0) with `b`; None if an unmasked exception keeps the result from its destination.
    #[inline]
    fn order(&mut self, b: Option<F80>, signal: bool, mut env: Env80) -> Option<Relation> {
        let (Some(a), Some(b)) = (self.get(0), b) else {
            return self.stack_fault(false).then_some(None);
        };
        let order = f80::compare(a, b, signal, &mut env);
        self.commit(&env);
        (!env.stops()).then_some(order)
    }

    /// FCOM and FUCOM, with their pops.
    #[inline]
    fn compare(&mut self, b: Option<F80>, signal: bool, env: Env80, pops: u8) {
        use core::cmp::Ordering::{Equal, Greater, Less};
        let Some(order) = self.order(b, signal, env) else { return };
        self.set_conditions(match order {
            None => status::C0 | status::C2 | status::C3,
            Some(Less) => status::C0,
            Some(Equal) => status::C3,
            Some(Greater) => 0,
        });
        for _ in 0..pops {
            self.pop();
        }
    }

    /// FXAM.
    fn examine(&mut self) {
        let v = self.st(0);
        let class = if self.is_empty(0) {
            status::C3 | status::C0
        } else {
            match v.class() {
                Class::Unsupported => 0,
                Class::Nan => status::C0,
                Class::Normal => status::C2,
                Class::Infinity => status::C2 | status::C0,
                Class::Zero => status::C3,
                Class::Denormal => status::C3 | status::C2,
            }
        };
        self.status &= !status::C1;
        self.set_conditions(class);
        if v.is_neg() {
            self.status |= status::C1;
        }
    }

    fn unary(&mut self, f: impl FnOnce(F80, &mut Env80) -> F80) {
        let mut env = self.env();
        match self.get(0) {
            Some(v) => {
                let r = f(v, &mut env);
                self.finish(0, r, &env);
            }
            None => {
                self.underflow(0);
            }
        }
    }

    /// `f(ST(1), ST(0))` to ST(1), and a pop.
    fn binary_pop(&mut self, f: impl FnOnce(F80, F80, &mut Env80) -> F80) {
        let mut env = self.env();
        let done = match (self.get(1), self.get(0)) {
            (Some(b), Some(a)) => {
                let r = f(b, a, &mut env);
                self.finish(1, r, &env)
            }
            _ => self.underflow(1),
        };
        if done {
            self.pop();
        }
    }

    fn scale(&mut self) {
        let mut env = self.env();
        match (self.get(0), self.get(1)) {
            (Some(a), Some(b)) => {
                let r = f80::scale(a, b, &mut env);
                self.finish(0, r, &env);
            }
            _ => {
                self.underflow(0);
            }
        }
    }

    /// FPREM and FPREM1: C0, C3, C1 are bits 2, 1, 0 of the quotient, C2 says that the reduction is incomplete.
    fn remainder(&mut self, nearest: bool) {
        let mut env = self.env();
        self.status &= !status::C2;
        let (Some(a), Some(b)) = (self.get(0), self.get(1)) else {
            self.underflow(0);
            return;
        };
        let r = f80::rem(a, b, nearest, &mut env);
        let q = match r.reduction {
            Reduction::None => 0,
            Reduction::Partial => {
                self.status |= status::C2;
                0
            }
            Reduction::Complete(q) => q,
        };
        env.c1 = q & 1 != 0;
        if self.finish(0, r.value, &env) && r.reduction != Reduction::None {
            self.status &= !(status::C0 | status::C3);
            self.status |= if q & 4 != 0 { status::C0 } else { 0 } | if q & 2 != 0 { status::C3 } else { 0 };
        }
    }

    /// FSIN and FCOS: C2 and nothing else if the operand is out of range.
    fn partial(&mut self, f: impl FnOnce(F80, &mut Env80) -> Option<F80>) {
        let mut env = self.env();
        self.status &= !status::C2;
        let Some(v) = self.get(0) else {
            self.underflow(0);
            return;
        };
        match f(v, &mut env) {
            Some(r) => {
                self.finish(0, r, &env);
            }
            None => self.status = self.status & !status::C1 | status::C2,
        }
    }

    /// FPTAN and FSINCOS: ST(0) is replaced by two values; or C2 and nothing else if it is out of range.
    fn partial_pair(&mut self, f: impl FnOnce(F80, &mut Env80) -> Option<(F80, F80)>) {
        self.status &= !status::C2;
        let mut in_range = true;
        self.replace_by_pair(|v, env| {
            let pair = f(v, env);
            in_range = pair.is_some();
            pair
        });
        if !in_range {
            self.status |= status::C2;
        }
    }

    /// Replaces ST(0) by two values, the second to be the new top; not at all if there are none.
    fn replace_by_pair(&mut self, f: impl FnOnce(F80, &mut Env80) -> Option<(F80, F80)>) {
        let mut env = self.env();
        let Some(v) = self.get(0).filter(|_| self.is_empty(7)) else {
            let overflow = !self.is_empty(0);
            if self.stack_fault(overflow) {
                self.set(0, F80::INDEFINITE);
                self.push(F80::INDEFINITE);
            }
            return;
        };
        let Some((deep, top)) = f(v, &mut env) else {
            self.status &= !status::C1;
            return;
        };
        if self.finish(0, deep, &env) {
            self.push(top);
        }
    }

    /// FCMOVcc.
    fn conditional_move(&mut self, i: u8, holds: bool) {
        match (self.get(0), self.get(i)) {
            (Some(_), Some(v)) if holds => self.set(0, v),
            (Some(_), Some(_)) => {}
            _ => {
                self.underflow(0);
            }
        }
    }
}
