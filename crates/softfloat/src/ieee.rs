//! The exact path: `f32` and `f64` in integer arithmetic. Values are bit patterns in a `u64`, whatever their format.

use crate::num::{Num, Round, shift_right_jam};
use crate::{Env, flag, mxcsr};
use core::cmp::Ordering;

/// A binary interchange format.
pub(crate) trait Format {
    /// Bits of the significand, with the implicit one.
    const P: u32;
    /// Bits of the encoding.
    const WIDTH: u32;

    const SIGN: u64 = 1 << (Self::WIDTH - 1);
    const BIAS: i32 = (1 << (Self::WIDTH - Self::P - 1)) - 1;
    const INF: u64 = ((1 << (Self::WIDTH - Self::P)) - 1) << (Self::P - 1);
    const QUIET: u64 = 1 << (Self::P - 2);
    /// The "QNaN floating-point indefinite" (4.8.3.7).
    const INDEFINITE: u64 = Self::SIGN | Self::INF | Self::QUIET;
}

pub(crate) struct F32;
pub(crate) struct F64;

impl Format for F32 {
    const P: u32 = 24;
    const WIDTH: u32 = 32;
}

impl Format for F64 {
    const P: u32 = 53;
    const WIDTH: u32 = 64;
}

pub(crate) fn is_nan<F: Format>(a: u64) -> bool {
    a & !F::SIGN > F::INF
}

pub(crate) fn is_snan<F: Format>(a: u64) -> bool {
    is_nan::<F>(a) && a & F::QUIET == 0
}

pub(crate) fn is_inf<F: Format>(a: u64) -> bool {
    a & !F::SIGN == F::INF
}

pub(crate) fn is_zero<F: Format>(a: u64) -> bool {
    a & !F::SIGN == 0
}

pub(crate) fn is_denormal<F: Format>(a: u64) -> bool {
    a & F::INF == 0 && !is_zero::<F>(a)
}

pub(crate) fn is_neg<F: Format>(a: u64) -> bool {
    a & F::SIGN != 0
}

fn sign<F: Format>(neg: bool) -> u64 {
    if neg { F::SIGN } else { 0 }
}

/// A finite non-zero value, unpacked.
pub(crate) fn unpack<F: Format>(a: u64) -> Num {
    let e = (a & F::INF) >> (F::P - 1);
    let fraction = a & (F::QUIET * 2 - 1);
    let m = if e == 0 { fraction } else { fraction | F::QUIET << 1 };
    Num::normal(is_neg::<F>(a), e.max(1) as i32 - F::BIAS + 64 - F::P as i32, m)
}

/// How [`pack`] treats results out of the format's range.
#[derive(Clone, Copy)]
pub(crate) struct Range {
    pub round: Round,
    pub flush: bool,
    /// The exception masks.
    pub masks: u32,
}

/// A rounded and encoded number.
pub(crate) struct Packed {
    pub bits: u64,
    /// Post-computation exceptions.
    pub flags: u32,
    /// The magnitude was rounded up.
    pub up: bool,
}

/// Rounds to the format. Tininess is detected after rounding (4.9.1.5). With its exception unmasked,
/// an overflowed or tiny result's bits mean nothing: it is never delivered.
pub(crate) fn pack<F: Format>(n: &Num, range: Range) -> Packed {
    let drop = 64 - F::P;
    let encode = |e: i32, m: u64| sign::<F>(n.neg) | ((e as u64) << (F::P - 1)).wrapping_add(m >> drop);
    let r = n.round_at(drop, range.round);
    let e = n.exp + F::BIAS + i32::from(r.carry);
    let inexact = if r.inexact { flag::PE } else { 0 };
    if e > 2 * F::BIAS {
        let to_inf = range.round.overflows_to_inf(n.neg);
        let bits = sign::<F>(n.neg) | if to_inf { F::INF } else { F::INF - 1 };
        // an unmasked overflow is inexact only if rounding without a limit is
        let inexact = if range.masks & flag::OE != 0 { flag::PE } else { inexact };
        return Packed { bits, flags: flag::OE | inexact, up: to_inf };
    }
    if e > 0 {
        // the significand's leading one adds one to the exponent field
        return Packed { bits: encode(e - 1, r.m), flags: inexact, up: r.up };
    }
    if range.masks & flag::UE == 0 {
        return Packed { bits: 0, flags: flag::UE | inexact, up: r.up };
    }
    if range.flush {
        return Packed { bits: sign::<F>(n.neg), flags: flag::UE | flag::PE, up: false };
    }
    let (m, x) = shift_right_jam(n.m, n.x, (1 - F::BIAS - n.exp) as u32);
    let r = crate::num::round_sig(n.neg, m, x, drop, range.round);
    Packed { bits: encode(0, r.m), flags: if r.inexact { flag::UE | flag::PE } else { 0 }, up: r.up }
}

/// The NaN that results from an operation on `a` and `b`, of which one at least is a NaN (table 4-7: SSE prefers the first).
fn propagate<F: Format>(a: u64, b: u64, env: &mut Env) -> u64 {
    if is_snan::<F>(a) || is_snan::<F>(b) {
        env.raise(flag::IE);
    }
    F::QUIET | if is_nan::<F>(a) { a } else { b }
}

fn invalid<F: Format>(env: &mut Env) -> u64 {
    env.raise(flag::IE);
    F::INDEFINITE
}

/// Denormals are zeros, if MXCSR says so.
fn input<F: Format>(a: u64, env: &Env) -> u64 {
    if env.mxcsr & mxcsr::DAZ != 0 && is_denormal::<F>(a) { a & F::SIGN } else { a }
}

/// Raises DE for a denormal operand; true if that is unmasked.
fn denormal_stops<F: Format>(operands: &[u64], env: &mut Env) -> bool {
    operands.iter().any(|&a| is_denormal::<F>(a)) && env.raise_pre(flag::DE)
}

fn finish<F: Format>(n: &Num, env: &mut Env) -> u64 {
    let range = Range { round: env.round(), flush: env.mxcsr & mxcsr::FTZ != 0, masks: env.mxcsr >> mxcsr::MASK_SHIFT };
    let p = pack::<F>(n, range);
    env.raise(p.flags);
    p.bits
}

pub(crate) fn add<F: Format>(a: u64, b: u64, subtract: bool, env: &mut Env) -> u64 {
    let (a, b) = (input::<F>(a, env), input::<F>(b, env));
    if is_nan::<F>(a) || is_nan::<F>(b) {
        return propagate::<F>(a, b, env);
    }
    let b = if subtract { b ^ F::SIGN } else { b };
    if is_inf::<F>(a) && is_inf::<F>(b) && a != b {
        return invalid::<F>(env);
    }
    if denormal_stops::<F>(&[a, b], env) || is_inf::<F>(a) {
        return a;
    }
    if is_inf::<F>(b) {
        return b;
    }
    let sum = match (is_zero::<F>(a), is_zero::<F>(b)) {
        (true, true) if a == b => return a,
        (true, true) => None,
        (true, false) => Some(unpack::<F>(b)),
        (false, true) => Some(unpack::<F>(a)),
        (false, false) => unpack::<F>(a).add(unpack::<F>(b)),
    };
    match sum {
        Some(n) => finish::<F>(&n, env),
        None => sign::<F>(env.round() == Round::Down),
    }
}

pub(crate) fn mul<F: Format>(a: u64, b: u64, env: &mut Env) -> u64 {
    let (a, b) = (input::<F>(a, env), input::<F>(b, env));
    if is_nan::<F>(a) || is_nan::<F>(b) {
        return propagate::<F>(a, b, env);
    }
    let infinite = is_inf::<F>(a) || is_inf::<F>(b);
    let zero = is_zero::<F>(a) || is_zero::<F>(b);
    if infinite && zero {
        return invalid::<F>(env);
    }
    let sign = (a ^ b) & F::SIGN;
    if denormal_stops::<F>(&[a, b], env) || zero {
        return sign;
    }
    if infinite {
        return sign | F::INF;
    }
    finish::<F>(&unpack::<F>(a).mul(unpack::<F>(b)), env)
}

pub(crate) fn div<F: Format>(a: u64, b: u64, env: &mut Env) -> u64 {
    let (a, b) = (input::<F>(a, env), input::<F>(b, env));
    if is_nan::<F>(a) || is_nan::<F>(b) {
        return propagate::<F>(a, b, env);
    }
    if is_inf::<F>(a) && is_inf::<F>(b) || is_zero::<F>(a) && is_zero::<F>(b) {
        return invalid::<F>(env);
    }
    let sign = (a ^ b) & F::SIGN;
    if is_zero::<F>(b) && !is_inf::<F>(a) {
        env.raise(flag::ZE);
        return sign | F::INF;
    }
    if denormal_stops::<F>(&[a, b], env) || is_zero::<F>(a) || is_inf::<F>(b) {
        return sign;
    }
    if is_inf::<F>(a) {
        return sign | F::INF;
    }
    finish::<F>(&unpack::<F>(a).div(unpack::<F>(b)), env)
}

pub(crate) fn sqrt<F: Format>(a: u64, env: &mut Env) -> u64 {
    let a = input::<F>(a, env);
    if is_nan::<F>(a) {
        return propagate::<F>(a, a, env);
    }
    if is_zero::<F>(a) {
        return a;
    }
    if is_neg::<F>(a) {
        return invalid::<F>(env);
    }
    if denormal_stops::<F>(&[a], env) || is_inf::<F>(a) {
        return a;
    }
    finish::<F>(&unpack::<F>(a).sqrt(), env)
}

/// `±a·b ± c` rounded once, as the FMA instructions do. A NaN operand's sign is left alone.
pub(crate) fn fma<F: Format>(a: u64, b: u64, c: u64, negate: (bool, bool), env: &mut Env) -> u64 {
    let [a, b, c] = [a, b, c].map(|v| input::<F>(v, env));
    if let Some(&first) = [a, b, c].iter().find(|&&v| is_nan::<F>(v)) {
        if [a, b, c].iter().any(|&v| is_snan::<F>(v)) {
            env.raise(flag::IE);
        }
        return first | F::QUIET;
    }
    let (a, c) = (a ^ sign::<F>(negate.0), c ^ sign::<F>(negate.1));
    let infinite = is_inf::<F>(a) || is_inf::<F>(b);
    let zero = is_zero::<F>(a) || is_zero::<F>(b);
    let neg = is_neg::<F>(a ^ b);
    if infinite && zero || infinite && is_inf::<F>(c) && is_neg::<F>(c) != neg {
        return invalid::<F>(env);
    }
    if denormal_stops::<F>(&[a, b, c], env) || is_inf::<F>(c) {
        return c;
    }
    if infinite {
        return sign::<F>(neg) | F::INF;
    }
    if zero {
        return match (is_zero::<F>(c), is_neg::<F>(c) == neg) {
            (true, true) => c,
            (true, false) => sign::<F>(env.round() == Round::Down),
            (false, _) => finish::<F>(&unpack::<F>(c), env),
        };
    }
    let product = unpack::<F>(a).mul(unpack::<F>(b));
    let sum = if is_zero::<F>(c) { Some(product) } else { product.add(unpack::<F>(c)) };
    match sum {
        Some(n) => finish::<F>(&n, env),
        None => sign::<F>(env.round() == Round::Down),
    }
}

/// The order of two values, None if unordered. IE is raised for a signalling NaN, and for any NaN if `signal`.
pub(crate) fn compare<F: Format>(a: u64, b: u64, signal: bool, env: &mut Env) -> Option<Ordering> {
    let (a, b) = (input::<F>(a, env), input::<F>(b, env));
    if is_nan::<F>(a) || is_nan::<F>(b) {
        if signal || is_snan::<F>(a) || is_snan::<F>(b) {
            env.raise(flag::IE);
        }
        return None;
    }
    denormal_stops::<F>(&[a, b], env);
    // sign and magnitude to two's complement: both zeros become 0
    let key = |v: u64| {
        let magnitude = (v & !F::SIGN) as i64;
        if is_neg::<F>(v) { -magnitude } else { magnitude }
    };
    Some(key(a).cmp(&key(b)))
}

/// MINSx or MAXSx: the second operand if either is a NaN or both are zero.
pub(crate) fn select<F: Format>(a: u64, b: u64, keep_a: Ordering, env: &mut Env) -> u64 {
    let order = compare::<F>(a, b, true, env);
    input::<F>(if order == Some(keep_a) { a } else { b }, env)
}

/// To a signed integer of `bits` bits; the integer indefinite if it does not fit.
pub(crate) fn to_int<F: Format>(a: u64, bits: u32, round: Round, env: &mut Env) -> i64 {
    let a = input::<F>(a, env);
    let indefinite = i64::MIN >> (64 - bits);
    if is_zero::<F>(a) {
        return 0;
    }
    let limit = indefinite.unsigned_abs();
    match (a & !F::SIGN < F::INF).then(|| unpack::<F>(a).to_integer(round)).flatten() {
        Some((m, inexact, _)) if m < limit || m == limit && is_neg::<F>(a) => {
            if inexact {
                env.raise(flag::PE);
            }
            if is_neg::<F>(a) { (m as i64).wrapping_neg() } else { m as i64 }
        }
        _ => {
            env.raise(flag::IE);
            indefinite
        }
    }
}

pub(crate) fn from_int<F: Format>(v: i64, env: &mut Env) -> u64 {
    if v == 0 { 0 } else { finish::<F>(&Num::normal(v < 0, 63, v.unsigned_abs()), env) }
}

/// Between the two formats.
pub(crate) fn convert<S: Format, D: Format>(a: u64, env: &mut Env) -> u64 {
    let a = input::<S>(a, env);
    let sign = sign::<D>(is_neg::<S>(a));
    if is_nan::<S>(a) {
        if is_snan::<S>(a) {
            env.raise(flag::IE);
        }
        let payload = a << (64 - S::P) << 1 >> (64 - D::P) >> 1;
        return sign | D::INF | D::QUIET | payload;
    }
    if is_inf::<S>(a) {
        return sign | D::INF;
    }
    if is_zero::<S>(a) || denormal_stops::<S>(&[a], env) {
        return sign;
    }
    finish::<D>(&unpack::<S>(a), env)
}

/// To an integral value of the same format.
pub(crate) fn round_to_integral<F: Format>(a: u64, round: Round, env: &mut Env) -> u64 {
    let a = input::<F>(a, env);
    if is_nan::<F>(a) {
        return propagate::<F>(a, a, env);
    }
    if is_zero::<F>(a) || is_inf::<F>(a) {
        return a;
    }
    let n = unpack::<F>(a);
    if n.exp >= F::P as i32 {
        return a;
    }
    let Some((m, inexact, _)) = n.to_integer(round) else { return a };
    if inexact {
        env.raise(flag::PE);
    }
    if m == 0 {
        return a & F::SIGN;
    }
    let range = Range { round, flush: false, masks: flag::ALL };
    pack::<F>(&Num::normal(n.neg, 63, m), range).bits
}
