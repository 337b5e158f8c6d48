//! The x87 double-extended format (chapter 8): operations under a control word, with the status they leave.

use crate::ieee::{self, F32, F64, Format};
use crate::num::{Num, Round, Rounded, div_wide, round_sig, shift_right_jam};
use crate::{flag, sse::Relation};
use core::cmp::Ordering;

pub use crate::trans::{Constant, atan2, constant, cos, exp2_minus_1, sin, sin_and_cos, tan, y_log2, y_log2_plus_1};

/// An 80-bit value as it lies in a register: sign and exponent, then a significand with an explicit integer bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct F80 {
    /// The significand; bit 63 is the integer bit.
    pub m: u64,
    /// Bit 15 is the sign, bits 14..0 the biased exponent.
    pub se: u16,
}

/// The x87 environment of one instruction: the control word, and what its operation did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Env80 {
    /// The control word (8.1.5): masks in bits 5..0, precision control in 9..8, rounding control in 11..10.
    pub cw: u16,
    /// Exceptions ([`flag`]) raised.
    pub raised: u32,
    /// Condition code C1: the inexact result was rounded up. (After [`rem`] C1 comes from the quotient instead.)
    pub c1: bool,
    /// An operand that came through [`widen32`] or [`widen64`] was denormal before it was widened.
    pub widened_denormal: bool,
}

/// What kind of datum an encoding is (8.2.2, table 8-3); FXAM's classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Pseudo-NaN, pseudo-infinity or unnormal: encodings the 8087 had.
    Unsupported,
    /// A signalling or quiet NaN.
    Nan,
    /// A normal number.
    Normal,
    /// Infinity.
    Infinity,
    /// Zero.
    Zero,
    /// A denormal or pseudo-denormal.
    Denormal,
}

const SIGN: u16 = 0x8000;
const EXP: u16 = 0x7fff;
const BIAS: i32 = 0x3fff;
const INTEGER: u64 = 1 << 63;
const QUIET: u64 = 1 << 62;
/// What an unmasked overflow subtracts from the exponent and an unmasked underflow adds to it (8.5.4, 8.5.5).
const WRAP: i32 = 24576;

impl F80 {
    /// Positive zero.
    pub const ZERO: Self = Self { m: 0, se: 0 };
    /// One.
    pub const ONE: Self = Self { m: INTEGER, se: BIAS as u16 };
    /// Positive infinity.
    pub const INFINITY: Self = Self { m: INTEGER, se: EXP };
    /// The QNaN floating-point indefinite.
    pub const INDEFINITE: Self = Self { m: INTEGER | QUIET, se: SIGN | EXP };

    /// From the ten bytes in memory.
    pub fn from_bytes(b: [u8; 10]) -> Self {
        let [m @ .., s0, s1] = b;
        Self { m: u64::from_le_bytes(m), se: u16::from_le_bytes([s0, s1]) }
    }

    /// The ten bytes in memory.
    pub fn to_bytes(self) -> [u8; 10] {
        let mut b = [0; 10];
        b[..8].copy_from_slice(&self.m.to_le_bytes());
        b[8..].copy_from_slice(&self.se.to_le_bytes());
        b
    }

    /// The sign bit.
    #[inline]
    pub const fn is_neg(self) -> bool {
        self.se & SIGN != 0
    }

    /// The value with its sign bit turned over (FCHS).
    #[inline]
    pub const fn negated(self) -> Self {
        Self { m: self.m, se: self.se ^ SIGN }
    }

    /// The value with its sign bit clear (FABS).
    #[inline]
    pub const fn abs(self) -> Self {
        Self { m: self.m, se: self.se & EXP }
    }

    const fn with_sign(self, neg: bool) -> Self {
        Self { m: self.m, se: self.se & EXP | if neg { SIGN } else { 0 } }
    }

    /// The class of the encoding.
    #[inline]
    pub const fn class(self) -> Class {
        let exp = self.se & EXP;
        if exp == 0 {
            if self.m == 0 { Class::Zero } else { Class::Denormal }
        } else if self.m & INTEGER == 0 {
            Class::Unsupported
        } else if exp != EXP {
            Class::Normal
        } else if self.m == INTEGER {
            Class::Infinity
        } else {
            Class::Nan
        }
    }

    fn is_nan(self) -> bool {
        self.class() == Class::Nan
    }

    fn is_snan(self) -> bool {
        self.is_nan() && self.m & QUIET == 0
    }

    /// A finite non-zero supported value, unpacked.
    #[inline]
    pub(crate) fn unpack(self) -> Num {
        let e = i32::from(self.se & EXP).max(1) - BIAS;
        Num::normal(self.is_neg(), e, self.m)
    }

    /// Whether the arithmetic below has only a normal operand to deal with.
    #[inline(always)]
    fn is_normal(self) -> bool {
        self.m & INTEGER != 0 && (self.se & EXP).wrapping_sub(1) < EXP - 1
    }
}

impl Env80 {
    /// The environment of an instruction under a control word.
    #[inline]
    pub const fn new(cw: u16) -> Self {
        Self { cw, raised: 0, c1: false, widened_denormal: false }
    }

    /// The rounding mode.
    #[inline]
    pub const fn round(&self) -> Round {
        Round::from_bits(self.cw as u32 >> 10)
    }

    /// The raised exceptions that are not masked.
    #[inline]
    pub const fn unmasked(&self) -> u32 {
        self.raised & !(self.cw as u32)
    }

    /// Whether an unmasked exception keeps a register destination unchanged. (Unmasked overflow, underflow and precision
    /// exceptions still deliver a result to a register, though not to memory.)
    #[inline]
    pub const fn stops(&self) -> bool {
        self.unmasked() & flag::PRE != 0
    }

    /// Significand bits by the precision control; the reserved encoding 01 works as 64.
    #[inline]
    fn precision(&self) -> u32 {
        match self.cw >> 8 & 3 {
            0 => 24,
            2 => 53,
            _ => 64,
        }
    }

    #[inline]
    pub(crate) fn raise(&mut self, flags: u32) {
        self.raised |= flags;
    }

    pub(crate) fn masked(&self, flag: u32) -> bool {
        u32::from(self.cw) & flag != 0
    }

    pub(crate) fn invalid(&mut self) -> F80 {
        self.raise(flag::IE);
        F80::INDEFINITE
    }

    /// Raises DE if an operand is or was denormal; true if that is unmasked.
    pub(crate) fn denormal_stops(&mut self, operands: &[F80]) -> bool {
        if self.widened_denormal || operands.iter().any(|a| a.class() == Class::Denormal) {
            self.raise(flag::DE);
            return !self.masked(flag::DE);
        }
        false
    }

    /// Rounds to `p` bits and encodes.
    #[inline]
    fn pack(&mut self, n: &Num, p: u32) -> F80 {
        let r = n.round_at(64 - p, self.round());
        let e = n.exp + BIAS + i32::from(r.carry);
        if e > 0 && e < i32::from(EXP) {
            self.inexact(&r, flag::PE);
            return F80 { m: r.m, se: e as u16 }.with_sign(n.neg);
        }
        self.pack_out_of_range(n, p, e, &r)
    }

    #[inline]
    fn inexact(&mut self, r: &Rounded, flags: u32) {
        if r.inexact {
            self.raise(flags);
            self.c1 = r.up;
        }
    }

    #[cold]
    fn pack_out_of_range(&mut self, n: &Num, p: u32, e: i32, wide: &Rounded) -> F80 {
        let drop = 64 - p;
        if e > 0 {
            self.raise(flag::OE);
            if !self.masked(flag::OE) {
                self.inexact(wide, flag::PE);
                let (e, m) = (e - WRAP, wide.m);
                return if e < i32::from(EXP) { F80 { m, se: e as u16 } } else { self.massive(true) }.with_sign(n.neg);
            }
            self.raise(flag::PE);
            self.c1 = self.round().overflows_to_inf(n.neg);
            let largest = F80 { m: u64::MAX << drop, se: EXP - 1 };
            return if self.c1 { F80::INFINITY } else { largest }.with_sign(n.neg);
        }
        if !self.masked(flag::UE) {
            self.raise(flag::UE);
            self.inexact(wide, flag::PE);
            let (e, m) = (e + WRAP, wide.m);
            return if e > 0 { F80 { m, se: e as u16 } } else { self.massive(false) }.with_sign(n.neg);
        }
        // round again where a denormal ends: the precision control counts from the same bit of the register
        let (m, x) = shift_right_jam(n.m, n.x, (1 - BIAS - n.exp) as u32);
        let r = round_sig(n.neg, m, x, drop, self.round());
        self.inexact(&r, flag::UE | flag::PE);
        F80 { m: r.m, se: (r.m >> 63) as u16 }.with_sign(n.neg)
    }

    /// FSCALE's unmasked overflow or underflow so far out that wrapping the exponent does not help (FSCALE in volume 2A).
    fn massive(&mut self, up: bool) -> F80 {
        self.raise(flag::PE);
        self.c1 = up;
        if up { F80::INFINITY } else { F80::ZERO }
    }

    #[inline]
    fn finish(&mut self, n: &Num) -> F80 {
        self.pack(n, self.precision())
    }

    /// Rounds to 64 bits whatever the precision control.
    pub(crate) fn finish_full(&mut self, n: &Num) -> F80 {
        self.pack(n, 64)
    }
}

/// The result of operands that are unsupported encodings or NaNs: an exception or the NaN table 4-7 selects.
pub(crate) fn nan_result(a: F80, b: F80, env: &mut Env80) -> Option<F80> {
    if a.class() == Class::Unsupported || b.class() == Class::Unsupported {
        return Some(env.invalid());
    }
    if !a.is_nan() && !b.is_nan() {
        return None;
    }
    if a.is_snan() || b.is_snan() {
        env.raise(flag::IE);
    }
    let larger = match a.m.cmp(&b.m) {
        Ordering::Greater => a,
        Ordering::Less => b,
        Ordering::Equal => {
            if a.is_neg() {
                b
            } else {
                a
            }
        }
    };
    let chosen = match (a.is_nan(), b.is_nan()) {
        (true, false) => a,
        (false, true) => b,
        _ => match (a.is_snan(), b.is_snan()) {
            (true, false) => b,
            (false, true) => a,
            _ => larger,
        },
    };
    Some(F80 { m: chosen.m | QUIET, se: chosen.se })
}

/// `a + b` (FADD).
#[inline]
pub fn add(a: F80, b: F80, env: &mut Env80) -> F80 {
    if a.is_normal() && b.is_normal() && !env.widened_denormal {
        return finish_sum(a.unpack().add(b.unpack()), env);
    }
    add_special(a, b, env)
}

/// `a - b` (FSUB; FSUBR with the operands exchanged).
#[inline]
pub fn sub(a: F80, b: F80, env: &mut Env80) -> F80 {
    if b.is_nan() { add(a, b, env) } else { add(a, b.negated(), env) }
}

fn finish_sum(sum: Option<Num>, env: &mut Env80) -> F80 {
    match sum {
        Some(n) => env.finish(&n),
        None => F80::ZERO.with_sign(env.round() == Round::Down),
    }
}

#[cold]
fn add_special(a: F80, b: F80, env: &mut Env80) -> F80 {
    if let Some(r) = nan_result(a, b, env) {
        return r;
    }
    let (ca, cb) = (a.class(), b.class());
    if ca == Class::Infinity && cb == Class::Infinity && a != b {
        return env.invalid();
    }
    if env.denormal_stops(&[a, b]) || ca == Class::Infinity {
        return a;
    }
    if cb == Class::Infinity {
        return b;
    }
    let sum = match (ca == Class::Zero, cb == Class::Zero) {
        (true, true) if a == b => return a,
        (true, true) => None,
        (true, false) => Some(b.unpack()),
        (false, true) => Some(a.unpack()),
        (false, false) => a.unpack().add(b.unpack()),
    };
    finish_sum(sum, env)
}

/// `a * b` (FMUL).
#[inline]
pub fn mul(a: F80, b: F80, env: &mut Env80) -> F80 {
    if a.is_normal() && b.is_normal() && !env.widened_denormal {
        return env.finish(&a.unpack().mul(b.unpack()));
    }
    mul_special(a, b, env)
}

#[cold]
fn mul_special(a: F80, b: F80, env: &mut Env80) -> F80 {
    if let Some(r) = nan_result(a, b, env) {
        return r;
    }
    let (ca, cb) = (a.class(), b.class());
    let infinite = ca == Class::Infinity || cb == Class::Infinity;
    let zero = ca == Class::Zero || cb == Class::Zero;
    if infinite && zero {
        return env.invalid();
    }
    let neg = a.is_neg() != b.is_neg();
    if env.denormal_stops(&[a, b]) || zero {
        return F80::ZERO.with_sign(neg);
    }
    if infinite {
        return F80::INFINITY.with_sign(neg);
    }
    env.finish(&a.unpack().mul(b.unpack()))
}

/// `a / b` (FDIV; FDIVR with the operands exchanged).
#[inline]
pub fn div(a: F80, b: F80, env: &mut Env80) -> F80 {
    if a.is_normal() && b.is_normal() && !env.widened_denormal {
        return env.finish(&a.unpack().div(b.unpack()));
    }
    div_special(a, b, env)
}

#[cold]
fn div_special(a: F80, b: F80, env: &mut Env80) -> F80 {
    if let Some(r) = nan_result(a, b, env) {
        return r;
    }
    let (ca, cb) = (a.class(), b.class());
    let neg = a.is_neg() != b.is_neg();
    match (ca, cb) {
        (Class::Infinity, Class::Infinity) | (Class::Zero, Class::Zero) => return env.invalid(),
        (Class::Normal | Class::Denormal, Class::Zero) => {
            env.raise(flag::ZE);
            return F80::INFINITY.with_sign(neg);
        }
        _ => {}
    }
    if env.denormal_stops(&[a, b]) || ca == Class::Zero || cb == Class::Infinity {
        return F80::ZERO.with_sign(neg);
    }
    if ca == Class::Infinity {
        return F80::INFINITY.with_sign(neg);
    }
    env.finish(&a.unpack().div(b.unpack()))
}

/// FSQRT.
pub fn sqrt(a: F80, env: &mut Env80) -> F80 {
    if let Some(r) = nan_result(a, a, env) {
        return r;
    }
    if a.class() == Class::Zero {
        return a;
    }
    if a.is_neg() {
        return env.invalid();
    }
    if env.denormal_stops(&[a]) || a.class() == Class::Infinity {
        return a;
    }
    env.finish(&a.unpack().sqrt())
}

/// What FPREM and FPREM1 leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remainder {
    /// The remainder, or the partly reduced dividend.
    pub value: F80,
    /// What it is.
    pub reduction: Reduction,
}

/// How far a remainder has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    /// Nothing was divided: an operand was special.
    None,
    /// The value is congruent to the dividend, but not yet below the divisor (C2).
    Partial,
    /// The value is the remainder; the three lowest bits of the quotient's magnitude.
    Complete(u8),
}

/// FPREM (quotient truncated), or FPREM1 (`nearest`: the IEEE 754 remainder).
pub fn rem(a: F80, b: F80, nearest: bool, env: &mut Env80) -> Remainder {
    let special = |value| Remainder { value, reduction: Reduction::None };
    let done = |value, q: u64| Remainder { value, reduction: Reduction::Complete((q & 7) as u8) };
    if let Some(r) = nan_result(a, b, env) {
        return special(r);
    }
    if a.class() == Class::Infinity || b.class() == Class::Zero {
        return special(env.invalid());
    }
    if env.denormal_stops(&[a, b]) {
        return special(a);
    }
    if a.class() == Class::Zero {
        return done(a, 0);
    }
    let n = a.unpack();
    if b.class() == Class::Infinity {
        return done(env.finish_full(&n), 0);
    }
    let d = b.unpack();
    let distance = n.exp - d.exp;
    let mut pack = |neg: bool, exp: i32, m: u64| {
        if m == 0 { F80::ZERO.with_sign(neg) } else { env.finish_full(&Num::normal(neg, exp, m)) }
    };
    if distance < 0 {
        return if nearest && distance == -1 && n.m > d.m {
            done(pack(!n.neg, n.exp, (d.m << 1).wrapping_sub(n.m)), 1)
        } else {
            done(pack(n.neg, n.exp, n.m), 0)
        };
    }
    // N of the manual's algorithm is free between 32 and 63
    let shift = if distance < 64 { distance } else { 32 + distance % 32 } as u32;
    let (q, r) = div_wide((n.m >> 1) >> (63 - shift), n.m << shift, d.m);
    if distance >= 64 {
        return Remainder { value: pack(n.neg, n.exp - shift as i32, r), reduction: Reduction::Partial };
    }
    if nearest && (r > d.m - r || r == d.m - r && q & 1 != 0) {
        return done(pack(!n.neg, d.exp, d.m - r), q.wrapping_add(1));
    }
    done(pack(n.neg, d.exp, r), q)
}

/// FRNDINT.
pub fn round_to_integral(a: F80, env: &mut Env80) -> F80 {
    if let Some(r) = nan_result(a, a, env) {
        return r;
    }
    if matches!(a.class(), Class::Zero | Class::Infinity) || env.denormal_stops(&[a]) {
        return a;
    }
    let n = a.unpack();
    let Some((m, inexact, up)) = (if n.exp < 63 { n.to_integer(env.round()) } else { None }) else { return a };
    if inexact {
        env.raise(flag::PE);
        env.c1 = up;
    }
    if m == 0 { F80::ZERO.with_sign(n.neg) } else { env.finish_full(&Num::normal(n.neg, 63, m)) }
}

/// FSCALE: `a·2^trunc(b)`.
pub fn scale(a: F80, b: F80, env: &mut Env80) -> F80 {
    if let Some(r) = nan_result(a, b, env) {
        return r;
    }
    let (ca, cb) = (a.class(), b.class());
    match (ca, cb, b.is_neg()) {
        (Class::Zero, Class::Infinity, false) | (Class::Infinity, Class::Infinity, true) => return env.invalid(),
        _ => {}
    }
    if env.denormal_stops(&[a, b]) || matches!(ca, Class::Zero | Class::Infinity) {
        return a;
    }
    match (cb, b.is_neg()) {
        (Class::Infinity, false) => return F80::INFINITY.with_sign(a.is_neg()),
        (Class::Infinity, true) => return F80::ZERO.with_sign(a.is_neg()),
        _ => {}
    }
    let mut n = a.unpack();
    if cb != Class::Zero {
        // beyond this every product is out of range, even after an unmasked exception's wrap
        const FAR: u64 = 1 << 17;
        let by = b.unpack().to_integer(Round::Zero).map_or(FAR, |(m, ..)| m.min(FAR)) as i32;
        n.exp += if b.is_neg() { -by } else { by };
    }
    env.finish_full(&n)
}

/// FXTRACT: the unbiased exponent as a number, and the significand with the exponent of one.
pub fn extract(a: F80, env: &mut Env80) -> (F80, F80) {
    if let Some(r) = nan_result(a, a, env) {
        return (r, r);
    }
    match a.class() {
        Class::Infinity => return (F80::INFINITY, a),
        Class::Zero => {
            env.raise(flag::ZE);
            return (F80::INFINITY.negated(), a);
        }
        _ => {}
    }
    env.denormal_stops(&[a]);
    let n = a.unpack();
    (from_i64(n.exp.into()), F80 { m: n.m, se: BIAS as u16 }.with_sign(n.neg))
}

/// The order of two values, None if unordered. `signal` (FCOM, FCOMI, FTST): a quiet NaN raises IE too.
pub fn compare(a: F80, b: F80, signal: bool, env: &mut Env80) -> Relation {
    if nan_result(a, b, env).is_some() {
        if signal {
            env.raise(flag::IE);
        }
        return None;
    }
    env.denormal_stops(&[a, b]);
    // pseudo-denormals order as the numbers they stand for: exponent field 0 means 1
    let key = |v: F80| {
        let magnitude = i128::from(v.se & EXP).max(1) << 64 | i128::from(v.m);
        match (v.class(), v.is_neg()) {
            (Class::Zero, _) => 0,
            (_, false) => magnitude,
            (_, true) => -magnitude,
        }
    };
    Some(key(a).cmp(&key(b)))
}

/// An integer, exactly (FILD).
pub fn from_i64(v: i64) -> F80 {
    let m = v.unsigned_abs();
    if m == 0 {
        return F80::ZERO;
    }
    let n = m.leading_zeros();
    F80 { m: m << n, se: (BIAS + 63 - n as i32) as u16 }.with_sign(v < 0)
}

/// To a signed integer of `bits` (16, 32 or 64) bits, by `round` ([`Env80::round`] for FIST, [`Round::Zero`] for FISTTP); the
/// integer indefinite and IE if it does not fit.
pub fn to_int(a: F80, bits: u32, round: Round, env: &mut Env80) -> i64 {
    let indefinite = i64::MIN >> (64 - bits);
    match to_magnitude(a, indefinite.unsigned_abs() - u64::from(!a.is_neg()), round, env) {
        Some(m) if a.is_neg() => (m as i64).wrapping_neg(),
        Some(m) => m as i64,
        None => indefinite,
    }
}

/// The magnitude as an integer up to `limit`, or else IE and None.
fn to_magnitude(a: F80, limit: u64, round: Round, env: &mut Env80) -> Option<u64> {
    let (m, inexact, up) = match a.class() {
        Class::Zero => (0, false, false),
        Class::Normal | Class::Denormal => a.unpack().to_integer(round).unwrap_or((u64::MAX, false, false)),
        _ => (u64::MAX, false, false),
    };
    if m > limit {
        env.raise(flag::IE);
        return None;
    }
    if inexact {
        env.raise(flag::PE);
        env.c1 = up;
    }
    Some(m)
}

const BCD_DIGITS: u32 = 18;

/// From packed BCD (FBLD): 18 digits, then a byte whose bit 7 is the sign. Digits above 9, whose effect is undefined, count as
/// that many.
pub fn from_bcd(b: [u8; 10]) -> F80 {
    let [digits @ .., sign] = b;
    let v = digits.iter().rev().fold(0u64, |v, &d| v * 100 + u64::from(d >> 4) * 10 + u64::from(d & 15));
    from_i64(v as i64).with_sign(sign & 0x80 != 0)
}

/// To packed BCD (FBSTP); the packed BCD indefinite and IE if it does not fit.
pub fn to_bcd(a: F80, env: &mut Env80) -> [u8; 10] {
    let Some(mut m) = to_magnitude(a, 10u64.pow(BCD_DIGITS) - 1, env.round(), env) else {
        return [0, 0, 0, 0, 0, 0, 0, 0xc0, 0xff, 0xff];
    };
    let mut b = [0; 10];
    let [digits @ .., sign] = &mut b;
    for d in digits {
        let pair = (m % 100) as u8;
        *d = pair / 10 * 16 + pair % 10;
        m /= 100;
    }
    *sign = if a.is_neg() { 0x80 } else { 0 };
    b
}

/// Widens without a change of value or an exception; a NaN keeps its quiet bit. True if the value was denormal.
fn widen<F: Format>(a: u64) -> (F80, bool) {
    let neg = ieee::is_neg::<F>(a);
    let fraction = a << (64 - F::P);
    let exp = if ieee::is_zero::<F>(a) {
        return (F80::ZERO.with_sign(neg), false);
    } else if a & F::INF == F::INF {
        EXP
    } else {
        let n = ieee::unpack::<F>(a);
        return (F80 { m: n.m, se: (n.exp + BIAS) as u16 }.with_sign(neg), ieee::is_denormal::<F>(a));
    };
    (F80 { m: fraction | INTEGER, se: exp }.with_sign(neg), false)
}

/// An `f32` memory operand of an arithmetic instruction; the instruction's operation raises what the operand deserves.
pub fn widen32(a: u32, env: &mut Env80) -> F80 {
    let (v, denormal) = widen::<F32>(a.into());
    env.widened_denormal |= denormal;
    v
}

/// An `f64` memory operand of an arithmetic instruction.
pub fn widen64(a: u64, env: &mut Env80) -> F80 {
    let (v, denormal) = widen::<F64>(a);
    env.widened_denormal |= denormal;
    v
}

fn load<F: Format>(a: u64, env: &mut Env80) -> F80 {
    let (v, denormal) = widen::<F>(a);
    if denormal {
        env.raise(flag::DE);
    }
    if v.is_nan() {
        if v.is_snan() {
            env.raise(flag::IE);
        }
        return F80 { m: v.m | QUIET, se: v.se };
    }
    v
}

/// FLD m32fp. Only an unmasked invalid operation, not a denormal operand, keeps the value from being pushed.
pub fn from_f32(a: u32, env: &mut Env80) -> F80 {
    load::<F32>(a.into(), env)
}

/// FLD m64fp; as [`from_f32`].
pub fn from_f64(a: u64, env: &mut Env80) -> F80 {
    load::<F64>(a, env)
}

fn store<F: Format>(a: F80, env: &mut Env80) -> u64 {
    let sign = if a.is_neg() { F::SIGN } else { 0 };
    match a.class() {
        Class::Unsupported => {
            env.raise(flag::IE);
            F::INDEFINITE
        }
        Class::Nan => {
            if a.is_snan() {
                env.raise(flag::IE);
            }
            sign | F::INF | F::QUIET | (a.m & (INTEGER - 1)) >> (64 - F::P)
        }
        Class::Infinity => sign | F::INF,
        Class::Zero => sign,
        Class::Normal | Class::Denormal => {
            let range = ieee::Range { round: env.round(), flush: false, masks: env.cw.into() };
            let p = ieee::pack::<F>(&a.unpack(), range);
            // an unmasked overflow or underflow keeps the result from memory, and then nothing is said of its precision (8.5.6)
            let out_of_range = p.flags & (flag::OE | flag::UE);
            if out_of_range & !u32::from(env.cw) != 0 {
                env.raise(out_of_range);
            } else {
                env.raise(p.flags);
                env.c1 = p.up && p.flags & flag::PE != 0;
            }
            p.bits
        }
    }
}

/// FST m32fp. Nothing is stored if an exception is unmasked, other than precision.
pub fn to_f32(a: F80, env: &mut Env80) -> u32 {
    store::<F32>(a, env) as u32
}

/// FST m64fp. Nothing is stored if an exception is unmasked, other than precision.
pub fn to_f64(a: F80, env: &mut Env80) -> u64 {
    store::<F64>(a, env)
}
