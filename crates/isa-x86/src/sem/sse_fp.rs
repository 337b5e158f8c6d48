//! SSE floating point (SDM 1 10.4.1, 11.4.1, 12.3, 12.10; exceptions 11.5).

use guest_api::{Align, EmitVector, F1, F2, Fp, FpCvt, FpMode, FpRel, FpRound, Lane, Width};

use super::Sem;
use super::operand::{address, read, write};
use super::vec::*;
use crate::insn::{Insn, Kind};

/// Both operands of `dst = dst op src`.
#[inline(always)]
fn operands<E: EmitVector>(e: &mut E, i: &Insn, shape: Fp) -> Result<(E::X, E::X), E::Exit> {
    e.require(SSE)?;
    let b = source_fp(e, i, 1, shape)?;
    Ok((e.getx(slot(i, 0)), b))
}

/// `dst = op(dst, src)`.
macro_rules! binaries {
    ($($name:ident $op:ident $shape:ident;)*) => { $(
        pub fn $name<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
            let (a, b) = operands(e, i, Fp::$shape)?;
            let r = e.f2(F2::$op, Fp::$shape, a, b)?;
            e.putx(slot(i, 0), r);
            Ok(())
        }
    )* };
}
#[rustfmt::skip]
binaries! {
    addss Add S32;  addsd Add S64;  addps Add P32;  addpd Add P64;
    subss Sub S32;  subsd Sub S64;  subps Sub P32;  subpd Sub P64;
    mulss Mul S32;  mulsd Mul S64;  mulps Mul P32;  mulpd Mul P64;
    divss Div S32;  divsd Div S64;  divps Div P32;  divpd Div P64;
    minss Min S32;  minsd Min S64;  minps Min P32;  minpd Min P64;
    maxss Max S32;  maxsd Max S64;  maxps Max P32;  maxpd Max P64;
    addsubps AddSub P32;  addsubpd AddSub P64;
}

/// `dst = op(src)`, the lanes not computed being `dst`'s.
#[inline(always)]
fn unary<E: EmitVector>(e: &mut E, i: &Insn, op: F1, shape: Fp) -> Sem<E> {
    let (a, b) = operands(e, i, shape)?;
    let r = e.f1(op, shape, a, b)?;
    e.putx(slot(i, 0), r);
    Ok(())
}
macro_rules! unaries {
    ($($name:ident $op:expr, $shape:ident;)*) => { $(
        pub fn $name<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
            unary(e, i, $op, Fp::$shape)
        }
    )* };
}
unaries! {
    sqrtss F1::Sqrt, S32;
    sqrtsd F1::Sqrt, S64;
    sqrtps F1::Sqrt, P32;
    sqrtpd F1::Sqrt, P64;
    rcpss F1::Rcp, S32;
    rcpps F1::Rcp, P32;
    rsqrtss F1::Rsqrt, S32;
    rsqrtps F1::Rsqrt, P32;
}

/// ROUNDxx: bits 1:0 of the immediate are the mode unless bit 2 says MXCSR's; bit 3 suppresses the precision exception.
#[inline(always)]
fn round<E: EmitVector>(e: &mut E, i: &Insn, shape: Fp) -> Sem<E> {
    let m = imm8(i);
    let mode = match m & 7 {
        0 => FpMode::Nearest,
        1 => FpMode::Down,
        2 => FpMode::Up,
        3 => FpMode::Zero,
        _ => FpMode::Current,
    };
    unary(e, i, F1::Round(FpRound { mode, quiet: m & 8 != 0 }), shape)
}
pub fn roundss<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    round(e, i, Fp::S32)
}
pub fn roundsd<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    round(e, i, Fp::S64)
}
pub fn roundps<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    round(e, i, Fp::P32)
}
pub fn roundpd<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    round(e, i, Fp::P64)
}

/// CMPxx: the predicate is in bits 2:0 of the immediate.
#[inline(always)]
fn compare<E: EmitVector>(e: &mut E, i: &Insn, shape: Fp) -> Sem<E> {
    let (a, b) = operands(e, i, shape)?;
    let r = e.fcmp(FpRel::ALL[(imm8(i) & 7) as usize], shape, a, b)?;
    e.putx(slot(i, 0), r);
    Ok(())
}
pub fn cmpss<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    compare(e, i, Fp::S32)
}
pub fn cmpsd<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    compare(e, i, Fp::S64)
}
pub fn cmpps<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    compare(e, i, Fp::P32)
}
pub fn cmppd<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    compare(e, i, Fp::P64)
}

/// COMISx and UCOMISx: ZF, PF, CF all set for unordered; ZF for equal; CF for less.
#[inline(always)]
fn order<E: EmitVector>(e: &mut E, i: &Insn, shape: Fp, signal: bool) -> Sem<E> {
    let (a, b) = operands(e, i, shape)?;
    let o = e.forder(shape.double(), signal, a, b)?;
    let zero = e.either(o.equal, o.unordered);
    let carry = e.either(o.less, o.unordered);
    set_zf_pf_cf(e, zero, Some(o.unordered), carry);
    Ok(())
}
pub fn comiss<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    order(e, i, Fp::S32, true)
}
pub fn comisd<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    order(e, i, Fp::S64, true)
}
pub fn ucomiss<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    order(e, i, Fp::S32, false)
}
pub fn ucomisd<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    order(e, i, Fp::S64, false)
}

/// HADDxx and HSUBxx: of the even with the odd lanes of `dst` followed by `src`.
#[inline(always)]
fn horizontal<E: EmitVector>(e: &mut E, i: &Insn, op: F2, shape: Fp) -> Sem<E> {
    const EVEN: [u8; 16] = [0, 2, 4, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    const ODD: [u8; 16] = [1, 3, 5, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let lane = if shape.double() { Lane::B64 } else { Lane::B32 };
    let (a, b) = operands(e, i, shape)?;
    let x = e.shuffle(lane, EVEN, a, b);
    let y = e.shuffle(lane, ODD, a, b);
    let r = e.f2(op, shape, x, y)?;
    e.putx(slot(i, 0), r);
    Ok(())
}
pub fn haddps<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    horizontal(e, i, F2::Add, Fp::P32)
}
pub fn haddpd<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    horizontal(e, i, F2::Add, Fp::P64)
}
pub fn hsubps<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    horizontal(e, i, F2::Sub, Fp::P32)
}
pub fn hsubpd<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    horizontal(e, i, F2::Sub, Fp::P64)
}

/// A mask of the 32-bit lanes, or pairs of them, whose bit is set.
const fn lanes_mask(bits: u8, lane: Lane) -> u128 {
    let size = 8 * lane.bytes() as u32;
    let mut m = 0;
    let mut k = 0;
    while k < lane.count() as u32 {
        if bits >> k & 1 != 0 {
            m |= (u128::MAX >> (128 - size)) << (k * size);
        }
        k += 1;
    }
    m
}

/// DPPS and DPPD: products of the lanes that the immediate's high half selects, their sum to the lanes that its low half does. Each
/// addition and multiplication may raise exceptions of its own.
#[inline(always)]
fn dot<E: EmitVector>(e: &mut E, i: &Insn, shape: Fp) -> Sem<E> {
    let lane = if shape.double() { Lane::B64 } else { Lane::B32 };
    let (a, b) = operands(e, i, shape)?;
    // A lane not selected counts as +0: so do its factors.
    let selected = e.immx(lanes_mask(imm8(i) >> 4, lane));
    let a = e.v2(guest_api::V2::And, a, selected);
    let b = e.v2(guest_api::V2::And, b, selected);
    let p = e.f2(F2::Mul, shape, a, b)?;
    let mut sum = p;
    let mut other = p;
    if !shape.double() {
        // Lanes 0 and 2 of the first sums.
        const EVEN: [u8; 16] = [0, 2, 4, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        const ODD: [u8; 16] = [1, 3, 4, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let zero = e.immx(0);
        let x = e.shuffle(lane, EVEN, p, zero);
        let y = e.shuffle(lane, ODD, p, zero);
        sum = e.f2(F2::Add, shape, x, y)?;
        other = sum;
    }
    const SECOND: [u8; 16] = [1; 16];
    other = e.shuffle(lane, SECOND, other, other);
    let scalar = if shape.double() { Fp::S64 } else { Fp::S32 };
    let r = e.f2(F2::Add, scalar, sum, other)?;
    let r = e.shuffle(lane, [0; 16], r, r);
    let wanted = e.immx(lanes_mask(imm8(i), lane));
    let r = e.v2(guest_api::V2::And, r, wanted);
    e.putx(slot(i, 0), r);
    Ok(())
}
pub fn dpps<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    dot(e, i, Fp::P32)
}
pub fn dppd<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    dot(e, i, Fp::P64)
}

/// Conversions between vectors. `$source` is how wide memory is: `None` for 16 bytes, aligned.
macro_rules! conversions {
    ($($name:ident $op:expr, $source:expr;)*) => { $(
        pub fn $name<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
            convert(e, i, $op, $source)
        }
    )* };
}
#[inline(always)]
fn convert<E: EmitVector>(e: &mut E, i: &Insn, op: FpCvt, memory: Option<Width>) -> Sem<E> {
    e.require(SSE)?;
    let b = match memory {
        Some(w) => source_low(e, i, 1, w)?,
        None => source(e, i, 1)?,
    };
    let a = e.getx(slot(i, 0));
    let r = e.fcvt(op, a, b)?;
    e.putx(slot(i, 0), r);
    Ok(())
}
conversions! {
    cvtss2sd FpCvt::F32ToF64, Some(Width::W32);
    cvtsd2ss FpCvt::F64ToF32, Some(Width::W64);
    cvtps2pd FpCvt::PackedF32ToF64, Some(Width::W64);
    cvtpd2ps FpCvt::PackedF64ToF32, None;
    cvtdq2ps FpCvt::PackedI32ToF32, None;
    cvtdq2pd FpCvt::PackedI32ToF64, Some(Width::W64);
    cvtps2dq FpCvt::PackedF32ToI32(FpMode::Current), None;
    cvttps2dq FpCvt::PackedF32ToI32(FpMode::Zero), None;
    cvtpd2dq FpCvt::PackedF64ToI32(FpMode::Current), None;
    cvttpd2dq FpCvt::PackedF64ToI32(FpMode::Zero), None;
}

/// CVTSI2SS and CVTSI2SD.
#[inline(always)]
fn from_int<E: EmitVector>(e: &mut E, i: &Insn, double: bool) -> Sem<E> {
    e.require(SSE)?;
    let v = read(e, i, 1, i.src_width())?;
    let a = e.getx(slot(i, 0));
    let r = e.to_float(double, i.src_width() == Width::W64, a, v)?;
    e.putx(slot(i, 0), r);
    Ok(())
}
pub fn cvtsi2ss<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    from_int(e, i, false)
}
pub fn cvtsi2sd<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    from_int(e, i, true)
}

/// CVT(T)SS2SI and CVT(T)SD2SI.
#[inline(always)]
fn to_int<E: EmitVector>(e: &mut E, i: &Insn, double: bool, mode: FpMode) -> Sem<E> {
    e.require(SSE)?;
    let b = source_low(e, i, 1, if double { Width::W64 } else { Width::W32 })?;
    let v = e.to_int(double, i.width() == Width::W64, mode, b)?;
    write(e, i, 0, i.width(), v)
}
pub fn cvtss2si<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    to_int(e, i, false, FpMode::Current)
}
pub fn cvttss2si<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    to_int(e, i, false, FpMode::Zero)
}
pub fn cvtsd2si<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    to_int(e, i, true, FpMode::Current)
}
pub fn cvttsd2si<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    to_int(e, i, true, FpMode::Zero)
}

/// CVTPI2PS: two integers of an MMX register or memory to the low half.
pub fn cvtpi2ps<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    from_mmx(e, i, FpCvt::LowI32ToF32)
}
pub fn cvtpi2pd<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    from_mmx(e, i, FpCvt::PackedI32ToF64)
}
/// From memory, nothing of the x87 is touched (SDM 2 CVTPI2PD).
#[inline(always)]
fn from_mmx<E: EmitVector>(e: &mut E, i: &Insn, op: FpCvt) -> Sem<E> {
    let memory = i.kinds[1] == Kind::Mem;
    e.require(if memory { SSE } else { BOTH })?;
    let b = source_low(e, i, 1, Width::W64)?;
    let a = e.getx(slot(i, 0));
    let r = e.fcvt(op, a, b)?;
    if !memory {
        enter_mmx(e)?;
    }
    e.putx(slot(i, 0), r);
    Ok(())
}

/// CVT(T)PS2PI and CVT(T)PD2PI: two integers to an MMX register.
#[inline(always)]
fn to_mmx<E: EmitVector>(e: &mut E, i: &Insn, op: FpCvt, double: bool) -> Sem<E> {
    e.require(BOTH)?;
    let b = if i.kinds[1] == Kind::Mem && double {
        let a = address(e, i);
        e.loadx(Align::Natural, a, i.space)?
    } else {
        source_low(e, i, 1, Width::W64)?
    };
    let r = e.fcvt(op, b, b)?;
    finish(e, i, r)
}
pub fn cvtps2pi<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    to_mmx(e, i, FpCvt::LowF32ToI32(FpMode::Current), false)
}
pub fn cvttps2pi<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    to_mmx(e, i, FpCvt::LowF32ToI32(FpMode::Zero), false)
}
pub fn cvtpd2pi<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    to_mmx(e, i, FpCvt::PackedF64ToI32(FpMode::Current), true)
}
pub fn cvttpd2pi<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    to_mmx(e, i, FpCvt::PackedF64ToI32(FpMode::Zero), true)
}
