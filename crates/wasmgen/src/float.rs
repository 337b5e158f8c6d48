//! Floating point on the host's arithmetic, where that is the guest's.
//!
//! An operation is computed at once and then one condition says whether that was right: the host rounds as the guest does and need
//! not tell of inexact results (the local `INEXACT` is 0), no operand is a denormal number, the result is neither a NaN nor infinite nor
//! near the underflow threshold. Where it fails the guest does the operation ([`crate::abi::Import::Float`]), or, if that traps, the
//! interpreter the instruction. What an earlier operation of the block has checked, or computed, need not be checked again
//! ([`facts`]).
//!
//! The low lane of a scalar operation is kept in a local of its own type beside the vector ([`lanes`]), so that a chain
//! of scalar operations goes from one to the next without passing through vectors.

use guest_api::{F1, F2, Fp, FpCvt, FpMode, FpRel, Lane};
use ir::{Inst, Op, Val};

use crate::emit::{Emitter, INEXACT, TEMP};
use crate::vector::bytes_of;

/// The instructions for numbers of 64 or of 32 bits.
macro_rules! by_size {
    ($e:ident, $double:expr, $($d:ident($($da:expr),*)).+, $($s:ident($($sa:expr),*)).+) => {
        if $double {
            $e.i()$(.$d($($da),*))+;
        } else {
            $e.i()$(.$s($($sa),*))+;
        }
    };
}

mod checks;
mod facts;
mod lanes;

pub(crate) use checks::SUSPICIOUS;
use checks::{Checks, DEPTH, Result};
pub(crate) use facts::Float;
use facts::{low_operands, ordered, plain};

// Scratch vectors of this file: operands, result.
const A: usize = 4;
const B: usize = 5;
const R: usize = 6;

/// The significand's implicit bit.
pub(crate) const fn unit(double: bool) -> u64 {
    if double { 1 << 52 } else { 1 << 23 }
}
pub(crate) const fn inf(double: bool) -> u64 {
    if double { 0x7ff << 52 } else { 0xff << 23 }
}

/// All lanes of 32 or 64 bits `v`.
const fn splat(double: bool, v: u64) -> u128 {
    if double { v as u128 | (v as u128) << 64 } else { (v as u32 as u128) * 0x0000_0001_0000_0001_0000_0001_0000_0001 }
}

/// A floating-point operation, number `k` of the block: pushes the result.
pub(crate) fn float(e: &mut Emitter<'_>, k: usize, i: &Inst) {
    let v = Val(k as u32);
    match i.op {
        Op::F2(op, shape @ (Fp::S32 | Fp::S64)) => scalar(e, v, i, op, shape),
        Op::F2(op, shape) => packed(e, v, i, op, shape),
        Op::F1(op, shape) => unary(e, v, i, op, shape),
        Op::FCmp(rel, shape) => compare(e, v, i, rel, shape),
        Op::FOrder(double, _) => order(e, i, double),
        Op::FCvt(op) => convert(e, v, i, op),
        Op::ToInt(double, wide, mode) => to_int(e, i, double, wide, mode),
        Op::ToFloat(double, wide) => to_float(e, v, i, double, wide),
        _ => _ = e.i().unreachable(),
    }
    // Low lanes that nobody asks for any more.
    let (operands, double) = low_operands(i);
    for &v in operands {
        let left = &mut e.float.uses[v.index()];
        *left = left.saturating_sub(1);
        if *left == 0
            && let Some(n) = e.float.shadows.iter().position(|s| s.0 == v && s.1 == double)
        {
            let local = e.float.shadows.swap_remove(n).2;
            e.float.free[usize::from(double)].push(local);
        }
    }
}

/// `a` with its low lane replaced by the number in `local`: pushed.
fn replace_low(e: &mut Emitter<'_>, a: u32, double: bool, local: u32) {
    e.get(a).local_get(local);
    by_size!(e, double, f64x2_replace_lane(0), f32x4_replace_lane(0));
}

/// What is in `local` is the low lane of value `v`, if that is asked for again.
fn keep_low(e: &mut Emitter<'_>, v: Val, double: bool, local: u32) {
    if e.float.uses[v.index()] > 0 {
        e.float.shadows.push((v, double, local));
    } else {
        e.float.free[usize::from(double)].push(local);
    }
}

/// The locals of two vector operands.
fn vectors(e: &mut Emitter<'_>, a: Val, b: Val) -> (u32, u32) {
    let (x, y) = (e.scratch(A), e.scratch(B));
    (e.in_local(a, x), e.in_local(b, y))
}
fn vector(e: &mut Emitter<'_>, v: Val, n: usize) -> u32 {
    let x = e.scratch(n);
    e.in_local(v, x)
}

/// Arithmetic on low lanes.
fn scalar(e: &mut Emitter<'_>, v: Val, i: &Inst, op: F2, shape: Fp) {
    let [a, b, ..] = i.args;
    let double = shape.double();
    let rest = vector(e, a, A);
    if matches!(op, F2::Min | F2::Max) {
        let other = vector(e, b, B);
        e.get(other).local_get(rest);
        lesser(e, op, double);
        let r = e.low_local(double);
        by_size!(e, double, f64x2_extract_lane(0), f32x4_extract_lane(0));
        e.set(r);
        let mut checks = Checks::new(e, i, Result::Low(double, r));
        checks.operand(e, a, shape, true);
        checks.operand(e, b, shape, true);
        checks.end(e);
        e.float.learn(v, ordered(shape) | plain(shape));
        replace_low(e, rest, double, r);
        return keep_low(e, v, double, r);
    }
    e.low_of(a, rest, double);
    e.low_lane(b, double);
    match (op, double) {
        (F2::Add, true) => e.i().f64_add(),
        (F2::Sub, true) => e.i().f64_sub(),
        (F2::Mul, true) => e.i().f64_mul(),
        (F2::Div, true) => e.i().f64_div(),
        (F2::Add, false) => e.i().f32_add(),
        (F2::Sub | F2::AddSub, false) => e.i().f32_sub(),
        (F2::Mul, false) => e.i().f32_mul(),
        (F2::Div, false) => e.i().f32_div(),
        (F2::AddSub, true) => e.i().f64_sub(),
        (F2::Min | F2::Max, _) => e.i().unreachable(),
    };
    let r = e.low_local(double);
    e.set(r);
    let mut checks = Checks::new(e, i, Result::Low(double, r));
    checks.clear_result(e, r, double);
    checks.operand(e, a, shape, false);
    checks.operand(e, b, shape, false);
    checks.end_shared(e, op, [a, b]);
    e.float.learn(v, ordered(shape) | plain(shape));
    replace_low(e, rest, double, r);
    keep_low(e, v, double, r);
}

/// x86's lesser or greater of the vectors `b` and `a` on the stack: `b` unless `a` is.
fn lesser(e: &mut Emitter<'_>, op: F2, double: bool) {
    match (op, double) {
        (F2::Min, true) => e.i().f64x2_pmin(),
        (F2::Max, true) => e.i().f64x2_pmax(),
        (F2::Min, false) => e.i().f32x4_pmin(),
        (_, _) => e.i().f32x4_pmax(),
    };
}

/// Arithmetic on all lanes.
fn packed(e: &mut Emitter<'_>, v: Val, i: &Inst, op: F2, shape: Fp) {
    let [va, vb, ..] = i.args;
    let double = shape.double();
    let (a, b) = vectors(e, va, vb);
    let r = e.scratch(R);
    if matches!(op, F2::Min | F2::Max) {
        e.get(b).local_get(a);
        lesser(e, op, double);
        e.set(r);
        let mut checks = Checks::new(e, i, Result::Vector(r));
        checks.operand_lanes(e, va, a, shape, true);
        checks.operand_lanes(e, vb, b, shape, true);
        checks.end(e);
        e.float.learn(v, ordered(shape) | plain(shape));
        e.get(r);
        return;
    }
    let binary = |e: &mut Emitter<'_>, op: F2| {
        e.get(a).local_get(b);
        match (op, double) {
            (F2::Add, true) => e.i().f64x2_add(),
            (F2::Sub, true) => e.i().f64x2_sub(),
            (F2::Mul, true) => e.i().f64x2_mul(),
            (F2::Div, true) => e.i().f64x2_div(),
            (F2::Add, false) => e.i().f32x4_add(),
            (F2::Sub, false) => e.i().f32x4_sub(),
            (F2::Mul, false) => e.i().f32x4_mul(),
            (_, _) => e.i().f32x4_div(),
        };
    };
    if op == F2::AddSub {
        let odd = e.vector_const(if double { u128::MAX << 64 } else { splat(true, u64::MAX << 32) });
        binary(e, F2::Add);
        binary(e, F2::Sub);
        e.get(odd).v128_bitselect();
    } else {
        binary(e, op);
    }
    e.set(r);
    let mut checks = Checks::new(e, i, Result::Vector(r));
    let known = [va, vb].map(|v| e.known(v, shape, false, DEPTH).0);
    e.lanes_not_clear(r, double);
    checks.join_lanes(e);
    checks.operand_lanes(e, va, a, shape, false);
    if va != vb {
        checks.operand_lanes(e, vb, b, shape, false);
    }
    checks.environment(e);
    // A result of zero is exact in sums, and where it comes from a zero.
    checks.end_unless(
        e,
        Some(|e: &mut Emitter<'_>| {
            e.lanes_not_clear(r, double);
            e.lanes_zero(r, double);
            match op {
                F2::Mul => {
                    e.lanes_zero(a, double);
                    e.lanes_zero(b, double);
                    e.i().v128_or().v128_and();
                }
                F2::Div => {
                    e.lanes_zero(a, double);
                    e.i().v128_and();
                }
                _ => {}
            }
            e.i().v128_andnot();
            for (known, local) in [(known[0], a), (known[1], b)] {
                if !known {
                    e.lanes_denormal(local, double);
                    e.i().v128_or();
                }
            }
            e.i().v128_any_true().local_get(INEXACT).i32_or().i32_eqz();
        }),
    );
    e.float.learn(v, ordered(shape) | plain(shape));
    e.get(r);
}

fn unary(e: &mut Emitter<'_>, v: Val, i: &Inst, op: F1, shape: Fp) {
    let [a, b, ..] = i.args;
    let double = shape.double();
    if matches!(shape, Fp::P32 | Fp::P64) {
        return unary_packed(e, v, i, op, shape);
    }
    let rest = vector(e, a, A);
    let r = e.low_local(double);
    match op {
        F1::Sqrt => {
            e.low_lane(b, double);
            by_size!(e, double, f64_sqrt(), f32_sqrt());
            e.set(r);
            let mut checks = Checks::new(e, i, Result::Low(double, r));
            checks.clear_result(e, r, double);
            checks.operand(e, b, shape, false);
            // The root of a zero is exact.
            checks.end_unless(
                e,
                Some(|e: &mut Emitter<'_>| {
                    e.twice(b, double);
                    by_size!(e, double, i64_eqz(), i32_eqz());
                    e.get(INEXACT).i32_eqz().i32_and();
                }),
            );
        }
        F1::Round(how) => {
            e.low_lane(b, double);
            round_low(e, how.mode, double);
            e.set(r);
            let mut checks = Checks::new(e, i, Result::Low(double, r));
            checks.operand(e, b, shape, true);
            if how.mode == FpMode::Current || !how.quiet {
                checks.environment(e);
            }
            checks.end(e);
        }
        F1::Rcp | F1::Rsqrt => {
            // As the guest has them: correctly rounded, but for the denormals.
            if op == F1::Rcp {
                e.i().f32_const(1.0_f32.into());
                e.low_lane(b, false);
                e.i().f32_div();
            } else {
                e.i().f64_const(1.0_f64.into());
                e.low_lane(b, false);
                e.i().f64_promote_f32().f64_sqrt().f64_div().f32_demote_f64();
            }
            e.set(r);
            let mut checks = Checks::new(e, i, Result::Low(double, r));
            e.twice(b, false);
            e.not_clear();
            checks.join(e);
            e.twice_local(r, false);
            e.not_clear();
            checks.join(e);
            checks.end(e);
        }
    }
    e.float.learn(v, ordered(shape) | plain(shape));
    replace_low(e, rest, double, r);
    keep_low(e, v, double, r);
}

fn unary_packed(e: &mut Emitter<'_>, v: Val, i: &Inst, op: F1, shape: Fp) {
    let vb = i.args[1];
    let double = shape.double();
    let b = vector(e, vb, B);
    let r = e.scratch(R);
    match op {
        F1::Sqrt => {
            e.get(b);
            by_size!(e, double, f64x2_sqrt(), f32x4_sqrt());
            e.set(r);
            let mut checks = Checks::new(e, i, Result::Vector(r));
            e.lanes_not_clear(r, double);
            checks.join_lanes(e);
            let known = e.known(vb, shape, false, DEPTH).0;
            checks.operand_lanes(e, vb, b, shape, false);
            checks.environment(e);
            checks.end_unless(
                e,
                Some(|e: &mut Emitter<'_>| {
                    e.lanes_not_clear(r, double);
                    e.lanes_zero(b, double);
                    e.i().v128_andnot();
                    if !known {
                        e.lanes_denormal(b, double);
                        e.i().v128_or();
                    }
                    e.i().v128_any_true().local_get(INEXACT).i32_or().i32_eqz();
                }),
            );
        }
        F1::Round(how) => {
            e.get(b);
            round_lanes(e, how.mode, double);
            e.set(r);
            let mut checks = Checks::new(e, i, Result::Vector(r));
            checks.operand_lanes(e, vb, b, shape, true);
            if how.mode == FpMode::Current || !how.quiet {
                checks.environment(e);
            }
            checks.end(e);
        }
        F1::Rcp => {
            let one = e.vector_const(splat(false, 1.0_f32.to_bits().into()));
            e.get(one).local_get(b).f32x4_div();
            e.set(r);
            let mut checks = Checks::new(e, i, Result::Vector(r));
            e.lanes_not_clear(r, false);
            e.lanes_not_clear(b, false);
            e.i().v128_or();
            checks.join_lanes(e);
            checks.end(e);
        }
        F1::Rsqrt => {
            let one = e.vector_const(splat(true, 1.0_f64.to_bits()));
            e.get(one).local_get(b).f64x2_promote_low_f32x4().f64x2_sqrt().f64x2_div();
            e.i().f32x4_demote_f64x2_zero();
            e.get(one).local_get(b).local_get(b).i8x16_shuffle(bytes_of(Lane::B64, [1, 1]));
            e.i().f64x2_promote_low_f32x4().f64x2_sqrt().f64x2_div().f32x4_demote_f64x2_zero();
            e.i().i8x16_shuffle(bytes_of(Lane::B64, [0, 2]));
            e.set(r);
            let mut checks = Checks::new(e, i, Result::Vector(r));
            e.lanes_not_clear(r, false);
            e.lanes_not_clear(b, false);
            e.i().v128_or();
            checks.join_lanes(e);
            checks.end(e);
        }
    }
    e.float.learn(v, ordered(shape) | plain(shape));
    e.get(r);
}

/// Rounds the number on the stack, where the host rounds to the nearest as the guest does now.
fn round_low(e: &mut Emitter<'_>, mode: FpMode, double: bool) {
    match mode {
        FpMode::Current | FpMode::Nearest => by_size!(e, double, f64_nearest(), f32_nearest()),
        FpMode::Down => by_size!(e, double, f64_floor(), f32_floor()),
        FpMode::Up => by_size!(e, double, f64_ceil(), f32_ceil()),
        FpMode::Zero => by_size!(e, double, f64_trunc(), f32_trunc()),
    }
}

/// The same of a vector's lanes.
fn round_lanes(e: &mut Emitter<'_>, mode: FpMode, double: bool) {
    match mode {
        FpMode::Current | FpMode::Nearest => by_size!(e, double, f64x2_nearest(), f32x4_nearest()),
        FpMode::Down => by_size!(e, double, f64x2_floor(), f32x4_floor()),
        FpMode::Up => by_size!(e, double, f64x2_ceil(), f32x4_ceil()),
        FpMode::Zero => by_size!(e, double, f64x2_trunc(), f32x4_trunc()),
    }
}

/// A mask of where a relation holds.
fn compare(e: &mut Emitter<'_>, v: Val, i: &Inst, rel: FpRel, shape: Fp) {
    let [va, vb, ..] = i.args;
    let double = shape.double();
    let scalar = matches!(shape, Fp::S32 | Fp::S64);
    let (a, b) = vectors(e, va, vb);
    let pair = |e: &mut Emitter<'_>, x: u32, y: u32, op: FpRel| {
        e.get(x).local_get(y);
        match (op, double) {
            (FpRel::Eq, true) => e.i().f64x2_eq(),
            (FpRel::Lt, true) => e.i().f64x2_lt(),
            (FpRel::Le, true) => e.i().f64x2_le(),
            (FpRel::Eq, false) => e.i().f32x4_eq(),
            (FpRel::Lt, false) => e.i().f32x4_lt(),
            (FpRel::Le, false) => e.i().f32x4_le(),
            (_, true) => e.i().f64x2_ne(),
            (_, false) => e.i().f32x4_ne(),
        };
    };
    match rel {
        FpRel::Eq | FpRel::Lt | FpRel::Le | FpRel::Ne => pair(e, a, b, rel),
        FpRel::Nlt => {
            pair(e, a, b, FpRel::Lt);
            e.i().v128_not();
        }
        FpRel::Nle => {
            pair(e, a, b, FpRel::Le);
            e.i().v128_not();
        }
        FpRel::Unord => {
            pair(e, a, a, FpRel::Ne);
            pair(e, b, b, FpRel::Ne);
            e.i().v128_or();
        }
        FpRel::Ord => {
            pair(e, a, a, FpRel::Eq);
            pair(e, b, b, FpRel::Eq);
            e.i().v128_and();
        }
    }
    if scalar {
        let r = e.low_local(double);
        by_size!(e, double, f64x2_extract_lane(0), f32x4_extract_lane(0));
        e.set(r);
        let mut checks = Checks::new(e, i, Result::Low(double, r));
        checks.operand(e, va, shape, true);
        checks.operand(e, vb, shape, true);
        checks.end(e);
        replace_low(e, a, double, r);
        keep_low(e, v, double, r);
    } else {
        let r = e.scratch(R);
        e.set(r);
        let mut checks = Checks::new(e, i, Result::Vector(r));
        checks.operand_lanes(e, va, a, shape, true);
        checks.operand_lanes(e, vb, b, shape, true);
        checks.end(e);
        e.get(r);
    }
}

/// Bits: less, equal, unordered.
fn order(e: &mut Emitter<'_>, i: &Inst, double: bool) {
    let [a, b, ..] = i.args;
    let shape = if double { Fp::S64 } else { Fp::S32 };
    let r = e.float_int();
    e.low_lane(a, double);
    e.low_lane(b, double);
    by_size!(e, double, f64_lt(), f32_lt());
    e.low_lane(a, double);
    e.low_lane(b, double);
    by_size!(e, double, f64_eq(), f32_eq());
    e.i().i32_const(1).i32_shl().i32_or().i64_extend_i32_u();
    e.set(r);
    let mut checks = Checks::new(e, i, Result::Int(r));
    checks.operand(e, a, shape, true);
    checks.operand(e, b, shape, true);
    checks.end(e);
    e.get(r);
}

/// Pushes whether the integer in `local` is beyond what has an exact number of the format.
fn int_rounds(e: &mut Emitter<'_>, local: u32, double: bool) {
    let limit: i64 = if double { 1 << 53 } else { 1 << 24 };
    e.get(local).i64_const(limit).i64_add().i64_const(2 * limit).i64_gt_u();
}

fn to_float(e: &mut Emitter<'_>, v: Val, i: &Inst, double: bool, wide: bool) {
    let [a, n, ..] = i.args;
    let shape = if double { Fp::S64 } else { Fp::S32 };
    let rest = vector(e, a, A);
    let from = e.in_local(n, TEMP[0]);
    let r = e.low_local(double);
    e.get(from);
    match (double, wide) {
        (true, true) => e.i().f64_convert_i64_s(),
        (true, false) => e.i().i32_wrap_i64().f64_convert_i32_s(),
        (false, true) => e.i().f32_convert_i64_s(),
        (false, false) => e.i().i32_wrap_i64().f32_convert_i32_s(),
    };
    e.set(r);
    if !double || wide {
        let mut checks = Checks::new(e, i, Result::Low(double, r));
        // In `TEMP[0]` it is as long as nothing else is computed.
        if wide {
            int_rounds(e, from, double);
        } else {
            e.get(from).i64_extend32_s();
            e.set(TEMP[0]);
            int_rounds(e, TEMP[0], double);
        }
        e.get(INEXACT).i32_const(0).i32_ne().i32_and();
        checks.join(e);
        checks.end(e);
    }
    e.float.learn(v, ordered(shape) | plain(shape));
    replace_low(e, rest, double, r);
    keep_low(e, v, double, r);
}

fn to_int(e: &mut Emitter<'_>, i: &Inst, double: bool, wide: bool, mode: FpMode) {
    let a = i.args[0];
    let r = e.float_int();
    let number = |e: &mut Emitter<'_>| {
        e.low_lane(a, double);
        // The conversion itself rounds to zero.
        if mode != FpMode::Zero {
            round_low(e, mode, double);
        }
    };
    let fits = |e: &mut Emitter<'_>| {
        number(e);
        let limit = if wide { 9_223_372_036_854_775_808.0 } else { 2_147_483_648.0 };
        if double {
            e.i().f64_abs().f64_const(limit.into()).f64_lt();
        } else {
            e.i().f32_abs().f32_const((limit as f32).into()).f32_lt();
        }
    };
    number(e);
    match (double, wide) {
        (true, true) => e.i().i64_trunc_sat_f64_s(),
        (true, false) => e.i().i32_trunc_sat_f64_s().i64_extend_i32_u(),
        (false, true) => e.i().i64_trunc_sat_f32_s(),
        (false, false) => e.i().i32_trunc_sat_f32_s().i64_extend_i32_u(),
    };
    e.set(r);
    let mut checks = Checks::new(e, i, Result::Int(r));
    fits(e);
    e.i().i32_eqz();
    checks.join(e);
    checks.environment(e);
    // What is integral is exact in any environment.
    checks.end_unless(
        e,
        Some(|e: &mut Emitter<'_>| {
            fits(e);
            e.low_lane(a, double);
            e.low_lane(a, double);
            by_size!(e, double, f64_trunc().f64_eq(), f32_trunc().f32_eq());
            e.i().i32_and();
        }),
    );
    e.get(r);
}

fn convert(e: &mut Emitter<'_>, v: Val, i: &Inst, op: FpCvt) {
    let [va, vb, ..] = i.args;
    match op {
        FpCvt::F32ToF64 => {
            let rest = vector(e, va, A);
            let r = e.low_local(true);
            e.low_lane(vb, false);
            e.i().f64_promote_f32();
            e.set(r);
            let mut checks = Checks::new(e, i, Result::Low(true, r));
            checks.operand(e, vb, Fp::S32, true);
            checks.end(e);
            e.float.learn(v, ordered(Fp::S64) | plain(Fp::S64));
            replace_low(e, rest, true, r);
            return keep_low(e, v, true, r);
        }
        FpCvt::F64ToF32 => {
            let rest = vector(e, va, A);
            let r = e.low_local(false);
            e.low_lane(vb, true);
            e.i().f32_demote_f64();
            e.set(r);
            let mut checks = Checks::new(e, i, Result::Low(false, r));
            checks.clear_result(e, r, false);
            checks.end_unless(
                e,
                Some(|e: &mut Emitter<'_>| {
                    e.twice(vb, true);
                    e.i().i64_eqz().local_get(INEXACT).i32_eqz().i32_and();
                }),
            );
            e.float.learn(v, ordered(Fp::S32) | plain(Fp::S32));
            replace_low(e, rest, false, r);
            return keep_low(e, v, false, r);
        }
        _ => {}
    }
    let b = vector(e, vb, B);
    let r = e.scratch(R);
    // Of the two low lanes, where the others do not count.
    const LOW: u128 = u64::MAX as u128;
    match op {
        FpCvt::PackedF32ToF64 => {
            e.get(b).f64x2_promote_low_f32x4();
            e.set(r);
            let mut checks = Checks::new(e, i, Result::Vector(r));
            // Seen in the results: NaNs, and what is below the least normal number of 32 bits but not zero.
            let least = u64::from(1023 - 126_u16) << 52;
            let (add, limit) = (splat(true, (1 << 63) - 1), splat(true, (1 << 63) + 2 * least - 1));
            let (add, limit) = (e.vector_const(add), e.vector_const(limit));
            e.get(r).local_get(r).f64x2_ne().local_get(limit).local_get(r).i32_const(1).i64x2_shl();
            e.get(add).i64x2_add().i64x2_gt_s().v128_or();
            checks.join_lanes(e);
            checks.end(e);
            e.float.learn(v, ordered(Fp::P64) | plain(Fp::P64));
        }
        FpCvt::PackedF64ToF32 => {
            e.get(b).f32x4_demote_f64x2_zero();
            e.set(r);
            let mut checks = Checks::new(e, i, Result::Vector(r));
            let low = e.vector_const(LOW);
            e.lanes_not_clear(r, false);
            e.get(low).v128_and();
            checks.join_lanes(e);
            checks.environment(e);
            checks.end_unless(
                e,
                Some(|e: &mut Emitter<'_>| {
                    e.lanes_not_clear(r, false);
                    e.get(low).v128_and();
                    // zeros of 64 bits, narrowed
                    e.lanes_zero(b, true);
                    e.lanes_zero(b, true);
                    e.i().i8x16_shuffle(bytes_of(Lane::B32, [0, 2, 0, 2])).v128_andnot();
                    e.i().v128_any_true().local_get(INEXACT).i32_or().i32_eqz();
                }),
            );
            e.float.learn(v, ordered(Fp::P32) | plain(Fp::P32));
        }
        FpCvt::PackedI32ToF64 => {
            e.get(b).f64x2_convert_low_i32x4_s();
            e.set(r);
            e.float.learn(v, ordered(Fp::P64) | plain(Fp::P64));
        }
        FpCvt::PackedI32ToF32 => {
            e.get(b).f32x4_convert_i32x4_s();
            e.set(r);
            let mut checks = Checks::new(e, i, Result::Vector(r));
            checks.environment(e);
            checks.end(e);
            e.float.learn(v, ordered(Fp::P32) | plain(Fp::P32));
        }
        FpCvt::LowI32ToF32 => {
            let a = vector(e, va, A);
            e.get(a).local_get(b).f32x4_convert_i32x4_s();
            e.i().i8x16_shuffle(bytes_of(Lane::B64, [2, 1]));
            e.set(r);
            let mut checks = Checks::new(e, i, Result::Vector(r));
            checks.environment(e);
            checks.end(e);
        }
        FpCvt::PackedF32ToI32(mode) | FpCvt::LowF32ToI32(mode) => {
            e.get(b);
            if matches!(op, FpCvt::LowF32ToI32(_)) {
                let low = e.vector_const(LOW);
                e.get(low).v128_and();
            }
            if mode != FpMode::Zero {
                round_lanes(e, mode, false);
            }
            let limit = e.vector_const(splat(false, 2_147_483_648_f32.to_bits().into()));
            e.set(r);
            let mut checks = Checks::new(e, i, Result::Vector(r));
            checks.environment(e);
            e.get(r).f32x4_abs().local_get(limit).f32x4_lt().i32x4_all_true().i32_eqz();
            checks.join(e);
            e.get(r).i32x4_trunc_sat_f32x4_s();
            e.set(r);
            checks.end(e);
        }
        FpCvt::PackedF64ToI32(mode) => {
            e.get(b);
            if mode != FpMode::Zero {
                round_lanes(e, mode, true);
            }
            let limit = e.vector_const(splat(true, 2_147_483_648_f64.to_bits()));
            e.set(r);
            let mut checks = Checks::new(e, i, Result::Vector(r));
            checks.environment(e);
            e.get(r).f64x2_abs().local_get(limit).f64x2_lt().i64x2_all_true().i32_eqz();
            checks.join(e);
            e.get(r).i32x4_trunc_sat_f64x2_s_zero();
            e.set(r);
            checks.end(e);
        }
        FpCvt::F32ToF64 | FpCvt::F64ToF32 => {}
    }
    e.get(r);
}
