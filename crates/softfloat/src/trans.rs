//! The x87's transcendental instructions (8.3.6 to 8.3.8) in 128-bit arithmetic.
//!
//! Results carry some 110 good bits before the one rounding to 64, so they are the correctly rounded ones but for about one operand
//! in 2^40. The manual allows an error below one unit in the last place. As on the processor, arguments of the
//! trigonometric functions are reduced by a π of 66 bits. PE is raised for every result that is not given by a special operand.

use crate::f80::{Class, Env80, F80, from_i64, nan_result};
use crate::flag;
use crate::num::{Num, Round, mul_wide};

/// `±m·2^(exp-127)`; bit 127 of `m` is set unless the value is zero.
#[derive(Clone, Copy, Debug)]
struct Big {
    neg: bool,
    exp: i32,
    m: u128,
}

// 128 bits of each
const PI: Big = Big { neg: false, exp: 1, m: 0xc90f_daa2_2168_c234_c4c6_628b_80dc_1cd1 };
const LN_2: Big = Big { neg: false, exp: -1, m: 0xb172_17f7_d1cf_79ab_c9e3_b398_03f2_f6af };
const LOG2_E: Big = Big { neg: false, exp: 0, m: 0xb8aa_3b29_5c17_f0bb_be87_fed0_691d_3e88 };
const LOG2_10: Big = Big { neg: false, exp: 1, m: 0xd49a_784b_cd1b_8afe_492b_f6ff_4daf_db4c };
const LOG10_2: Big = Big { neg: false, exp: -2, m: 0x9a20_9a84_fbcf_f798_8f89_59ac_0b7c_9178 };

/// The 66-bit π by which arguments are reduced, times 2^66 (8.3.8).
const PI_66: u128 = 0xc_90fd_aa22_168c_234c;

/// The high half of the product, a unit or so too small at most.
fn mul_high(a: u128, b: u128) -> u128 {
    let (ah, al, bh, bl) = ((a >> 64) as u64, a as u64, (b >> 64) as u64, b as u64);
    let wide = |a, b| {
        let (h, l) = mul_wide(a, b);
        u128::from(h) << 64 | u128::from(l)
    };
    let (cross1, cross2) = (wide(ah, bl), wide(al, bh));
    let carry = u128::from(cross1 as u64) + u128::from(cross2 as u64);
    wide(ah, bh) + (cross1 >> 64) + (cross2 >> 64) + (carry >> 64)
}

impl Big {
    const ZERO: Self = Self { neg: false, exp: 0, m: 0 };
    const ONE: Self = Self { neg: false, exp: 0, m: 1 << 127 };

    fn normal(neg: bool, exp: i32, m: u128) -> Self {
        if m == 0 {
            return Self::ZERO;
        }
        let n = m.leading_zeros();
        Self { neg, exp: exp - n as i32, m: m << n }
    }

    fn from_num(n: Num) -> Self {
        Self { neg: n.neg, exp: n.exp, m: u128::from(n.m) << 64 | u128::from(n.x) }
    }

    /// Never exact, so that the rounding mode has its effect.
    fn to_num(self) -> Num {
        Num { neg: self.neg, exp: self.exp, m: (self.m >> 64) as u64, x: self.m as u64 | 1 }
    }

    fn with_neg(self, neg: bool) -> Self {
        Self { neg, ..self }
    }

    fn negated(self) -> Self {
        self.with_neg(!self.neg)
    }

    fn mul(self, o: Self) -> Self {
        Self::normal(self.neg != o.neg, self.exp + o.exp + 1, mul_high(self.m, o.m))
    }

    /// Times a fraction in units of 2^-128.
    fn mul_fraction(self, f: u128) -> Self {
        Self::normal(self.neg, self.exp, mul_high(self.m, f))
    }

    fn add(self, o: Self) -> Self {
        if self.m == 0 || o.m == 0 {
            return if self.m == 0 { o } else { self };
        }
        let (a, b) = if (self.exp, self.m) >= (o.exp, o.m) { (self, o) } else { (o, self) };
        let shifted = b.m.checked_shr((a.exp - b.exp) as u32).unwrap_or(0);
        if a.neg != b.neg {
            return Self::normal(a.neg, a.exp, a.m - shifted);
        }
        let (m, carry) = a.m.overflowing_add(shifted);
        if carry {
            Self { neg: a.neg, exp: a.exp + 1, m: m >> 1 | 1 << 127 }
        } else {
            Self { neg: a.neg, exp: a.exp, m }
        }
    }

    fn sub(self, o: Self) -> Self {
        self.add(o.negated())
    }

    /// The quotient, by Newton's iteration for the divisor's reciprocal. `o` is not zero.
    fn div(self, o: Self) -> Self {
        // 1/d for d = o.m·2^-128, in units of 2^-127: 52 bits from the host, then 104, then all
        let d = (o.m >> 64) as u64 as f64 / 18_446_744_073_709_551_616.0;
        let mut r = u128::from((9_223_372_036_854_775_808.0 / d) as u64) << 64;
        for _ in 0..2 {
            let error = (1i128 << 126).wrapping_sub((mul_high(o.m, r) >> 1) as i128) << 1;
            let step = mul_high(r, error.unsigned_abs()) << 1;
            r = if error < 0 { r.saturating_sub(step) } else { r.saturating_add(step) };
        }
        Self::normal(self.neg != o.neg, self.exp - o.exp, mul_high(self.m, r))
    }

    /// The magnitude in units of 2^-128; the value is below one.
    fn to_fraction(self) -> u128 {
        self.m.checked_shr(-(self.exp + 1) as u32).unwrap_or(0)
    }
}

/// `1/d` in units of 2^-128, for `d > 1`.
const fn inverse(d: u128) -> u128 {
    u128::MAX / d
}

/// `1/k!`, `2 <= k < 34`; 0 and 1 have no fraction that holds them and are not used.
const INVERSE_FACTORIAL: [u128; 34] = {
    let mut t = [0; 34];
    let (mut k, mut f) = (2, 1);
    while k < 34 {
        f *= k as u128;
        t[k] = inverse(f);
        k += 1;
    }
    t
};

/// `1/(2k+1)`, `k >= 1`.
const INVERSE_ODD: [u128; 28] = {
    let mut t = [0; 28];
    let mut k = 1;
    while k < 28 {
        t[k] = inverse(2 * k as u128 + 1);
        k += 1;
    }
    t
};

/// `1 - q·(c1 - q·(c2 - ..))` in units of 2^-128, a little below one where `q` vanishes.
fn alternating(q: u128, coefficients: impl DoubleEndedIterator<Item = u128>) -> u128 {
    let inner = coefficients.rev().fold(0, |acc, c| c - mul_high(q, acc));
    mul_high(q, inner).max(1).wrapping_neg()
}

/// Sine and cosine of a magnitude up to π/4.
fn sin_cos(y: Big) -> (Big, Big) {
    let q = y.mul(y).to_fraction();
    let s = alternating(q, (3..32).step_by(2).map(|k| INVERSE_FACTORIAL[k]));
    let c = alternating(q, (2..32).step_by(2).map(|k| INVERSE_FACTORIAL[k]));
    (y.mul_fraction(s), Big::normal(false, -1, c))
}

/// `atan(i/16)` in units of 2^-120, by Euler's series: each term is the last times `2n/(2n+1)·x²/(1+x²)`.
const ATAN_SIXTEENTHS: [u128; 17] = {
    let mut t = [0; 17];
    let mut i = 1;
    while i <= 16 {
        let (i2, d) = ((i * i) as u128, (i * i + 256) as u128);
        let mut term = (1u128 << 120) * 16 / d * i as u128;
        let mut n = 1;
        while term != 0 {
            t[i] += term;
            term = term * (2 * n) / (2 * n + 1) * i2 / d;
            n += 1;
        }
        i += 1;
    }
    t
};

/// The arc tangent of `0 <= t <= 1`.
fn atan(t: Big) -> Big {
    // atan t = atan c + atan((t - c) / (1 + t·c)), c the nearest sixteenth
    let i = if t.exp >= 0 { 16 } else { ((t.to_fraction() >> 123) as usize).div_ceil(2) };
    let c = Big::normal(false, 123, i as u128);
    let u = if i == 0 { t } else { t.sub(c).div(Big::ONE.add(t.mul(c))) };
    let a = alternating(u.mul(u).to_fraction(), INVERSE_ODD[1..14].iter().copied());
    u.mul_fraction(a).add(Big::normal(false, 7, ATAN_SIXTEENTHS[i]))
}

/// `2/ln 2 · atanh(s)` for `|s| < 0.172`: the binary logarithm of `(1+s)/(1-s)`.
fn log2_ratio(s: Big) -> Big {
    let q = s.mul(s).to_fraction();
    let inner = INVERSE_ODD[1..27].iter().rev().fold(0, |acc, &c| c + mul_high(q, acc));
    let r = s.add(s.mul_fraction(mul_high(q, inner))).mul(LOG2_E);
    Big { exp: r.exp + 1, ..r }
}

/// The `e` for which `v·2^-e` is in [√½, √2).
fn nearest_power(v: Big) -> i32 {
    const SQRT_2: u128 = 0xb504_f333_f9de_6484_597d_89b3_754a_be9f;
    v.exp + i32::from(v.m >= SQRT_2)
}

/// `log2(v)`, `v > 0`.
fn log2(v: Big) -> Big {
    let e = nearest_power(v);
    let f = Big { exp: v.exp - e, ..v };
    // f - 1 is exact, so the logarithm keeps its relative accuracy near one
    let fraction = log2_ratio(f.sub(Big::ONE).div(f.add(Big::ONE)));
    Big::normal(e < 0, 127, e.unsigned_abs().into()).add(fraction)
}

/// `log2(1 + x)`, `x > -1`.
fn log2_1p(x: Big) -> Big {
    let v = Big::ONE.add(x);
    if nearest_power(v) == 0 { log2_ratio(x.div(v.add(Big::ONE))) } else { log2(v) }
}

/// `2^x - 1` for `|x| <= 1`.
fn exp2_m1(x: Big) -> Big {
    let z = x.mul(LN_2);
    let q = z.to_fraction();
    let inner = INVERSE_FACTORIAL[2..34].iter().rev().fold(0, |acc, &c| {
        let p = mul_high(q, acc);
        if z.neg { c - p } else { c + p }
    });
    // z + z²·inner
    let second = z.mul_fraction(mul_high(q, inner)).with_neg(false);
    z.add(second)
}

/// An argument less its nearest multiple of π/2, and that multiple modulo 4; None if it is out of range.
fn reduce(n: Num) -> Option<(Big, u32)> {
    if n.exp > 62 {
        return None;
    }
    let x = Big::from_num(n).with_neg(false);
    if n.exp < -4 {
        return Some((x, 0));
    }
    // |x|·2^67 = m·2^(exp + 4), taken modulo PI_66 (π/2 in the same unit) a bit at a time
    let (mut r, mut q) = (u128::from(n.m), 0u32);
    for _ in 0..n.exp + 4 {
        r <<= 1;
        q <<= 1;
        if r >= PI_66 {
            r -= PI_66;
            q |= 1;
        }
    }
    let over = r > PI_66 / 2;
    if over {
        r = PI_66 - r;
        q = q.wrapping_add(1);
    }
    Some((Big::normal(over, 127 - 67, r), q & 3))
}

impl Env80 {
    /// Rounds an inexact result.
    fn transcendental(&mut self, v: Big) -> F80 {
        self.raise(flag::PE);
        if v.m == 0 { F80::ZERO } else { self.finish_full(&v.to_num()) }
    }
}

/// What FSIN, FCOS, FSINCOS and FPTAN find out first.
enum Angle {
    /// A special operand: the result of each function of it.
    Special(F80),
    Zero,
    OutOfRange,
    /// Sine and cosine.
    Point(Big, Big),
}

fn angle(a: F80, env: &mut Env80) -> Angle {
    if let Some(r) = nan_result(a, a, env) {
        return Angle::Special(r);
    }
    match a.class() {
        Class::Zero => return Angle::Zero,
        Class::Infinity => return Angle::Special(env.invalid()),
        _ => {}
    }
    if env.denormal_stops(&[a]) {
        return Angle::Special(a);
    }
    let n = a.unpack();
    let Some((y, quadrant)) = reduce(n) else { return Angle::OutOfRange };
    let (s, c) = sin_cos(y);
    let (s, c) = match quadrant {
        0 => (s, c),
        1 => (c, s.negated()),
        2 => (s.negated(), c.negated()),
        _ => (c.negated(), s),
    };
    Angle::Point(s.with_neg(s.neg != n.neg), c)
}

/// FSIN; None (C2) if the operand's magnitude is 2^63 or more.
pub fn sin(a: F80, env: &mut Env80) -> Option<F80> {
    match angle(a, env) {
        Angle::Special(r) => Some(r),
        Angle::Zero => Some(a),
        Angle::OutOfRange => None,
        Angle::Point(s, _) => Some(env.transcendental(s)),
    }
}

/// FCOS; None (C2) if the operand's magnitude is 2^63 or more.
pub fn cos(a: F80, env: &mut Env80) -> Option<F80> {
    match angle(a, env) {
        Angle::Special(r) => Some(r),
        Angle::Zero => Some(F80::ONE),
        Angle::OutOfRange => None,
        Angle::Point(_, c) => Some(env.transcendental(c)),
    }
}

/// FSINCOS: sine and cosine; None (C2) if the operand's magnitude is 2^63 or more. C1 is the sine's.
pub fn sin_and_cos(a: F80, env: &mut Env80) -> Option<(F80, F80)> {
    match angle(a, env) {
        Angle::Special(r) => Some((r, r)),
        Angle::Zero => Some((a, F80::ONE)),
        Angle::OutOfRange => None,
        Angle::Point(s, c) => {
            let c = env.transcendental(c);
            Some((env.transcendental(s), c))
        }
    }
}

/// The tangent FPTAN leaves below a one (or, of a NaN, below the same NaN); None (C2) if the operand's magnitude is 2^63 or more.
pub fn tan(a: F80, env: &mut Env80) -> Option<F80> {
    match angle(a, env) {
        Angle::Special(r) => Some(r),
        Angle::Zero => Some(a),
        Angle::OutOfRange => None,
        // y + y³/3 is y, or just above
        Angle::Point(..) if a.unpack().exp < -40 => Some(env.transcendental(Big::from_num(a.unpack()))),
        Angle::Point(s, c) => Some(env.transcendental(s.div(c))),
    }
}

/// FPATAN: the angle of the point with abscissa `x` (`st(0)`) and ordinate `y` (`st(1)`).
pub fn atan2(y: F80, x: F80, env: &mut Env80) -> F80 {
    if let Some(r) = nan_result(x, y, env) {
        return r;
    }
    if env.denormal_stops(&[x, y]) {
        return x;
    }
    let quarters = |n: u32| {
        let m = Big::normal(y.is_neg(), 127, n.into());
        let v = m.mul(PI);
        Big { exp: v.exp - 2, ..v }
    };
    let zero = if y.is_neg() { F80::ZERO.negated() } else { F80::ZERO };
    match (y.class(), x.class(), x.is_neg()) {
        (Class::Infinity, Class::Infinity, left) => return env.transcendental(quarters(if left { 3 } else { 1 })),
        (Class::Infinity, ..) => return env.transcendental(quarters(2)),
        (Class::Zero, _, false) | (_, Class::Infinity, false) => return zero,
        (Class::Zero, _, true) | (_, Class::Infinity, true) => return env.transcendental(quarters(4)),
        (_, Class::Zero, _) => return env.transcendental(quarters(2)),
        _ => {}
    }
    let (ny, nx) = (y.unpack(), x.unpack());
    if ny.exp - nx.exp < -65 && !x.is_neg() {
        // t - t³/3 is just below t, which may be exact
        let t = Big::from_num(ny.div(nx));
        return env.transcendental(Big::normal(y.is_neg(), t.exp, t.m - 1));
    }
    let (ny, nx) = (Big::from_num(ny).with_neg(false), Big::from_num(nx).with_neg(false));
    let quarter_turns = |n: u32| quarters(n).with_neg(false);
    let angle = match ((ny.exp, ny.m) > (nx.exp, nx.m), x.is_neg()) {
        (false, false) => atan(ny.div(nx)),
        (false, true) => quarter_turns(4).sub(atan(ny.div(nx))),
        (true, false) => quarter_turns(2).sub(atan(nx.div(ny))),
        (true, true) => quarter_turns(2).add(atan(nx.div(ny))),
    };
    env.transcendental(angle.with_neg(y.is_neg()))
}

/// F2XM1: `2^x - 1`. Outside `-1..=1`, where the manual leaves it undefined, the operand comes back.
pub fn exp2_minus_1(x: F80, env: &mut Env80) -> F80 {
    if let Some(r) = nan_result(x, x, env) {
        return r;
    }
    match (x.class(), x.is_neg()) {
        (Class::Zero, _) | (Class::Infinity, false) => return x,
        (Class::Infinity, true) => return F80::ONE.negated(),
        _ => {}
    }
    if env.denormal_stops(&[x]) {
        return x;
    }
    let n = x.unpack();
    if n.exp >= 0 {
        env.raise(flag::PE);
        return match (x.abs() == F80::ONE, n.neg) {
            (true, true) => F80 { m: 1 << 63, se: 0xbffe },
            _ => x,
        };
    }
    env.transcendental(exp2_m1(Big::from_num(n)))
}

/// What the logarithm instructions make of an infinite, zero or (`one`) unit argument: `y` times the sign of the logarithm.
fn signed(magnitude: F80, y: F80, negative: bool) -> F80 {
    if y.is_neg() != negative { magnitude.negated() } else { magnitude }
}

/// FYL2X: `y·log2(x)` for `x` in `st(0)`, `y` in `st(1)`.
pub fn y_log2(y: F80, x: F80, env: &mut Env80) -> F80 {
    if let Some(r) = nan_result(x, y, env) {
        return r;
    }
    if x.is_neg() && x.class() != Class::Zero {
        return env.invalid();
    }
    match (x.class(), y.class()) {
        (Class::Zero, Class::Zero) | (Class::Infinity, Class::Zero) => return env.invalid(),
        (Class::Zero, Class::Infinity) => return signed(F80::INFINITY, y, true),
        (Class::Zero, _) => {
            env.raise(flag::ZE);
            return signed(F80::INFINITY, y, true);
        }
        _ => {}
    }
    if x == F80::ONE && y.class() == Class::Infinity {
        return env.invalid();
    }
    if env.denormal_stops(&[x, y]) {
        return x;
    }
    if x.class() == Class::Infinity {
        return signed(F80::INFINITY, y, false);
    }
    let n = x.unpack();
    let below_one = n.exp < 0;
    match y.class() {
        Class::Infinity => return signed(F80::INFINITY, y, below_one),
        Class::Zero => return signed(F80::ZERO, y, below_one),
        _ if x == F80::ONE => return signed(F80::ZERO, y, false),
        _ => {}
    }
    if n.m == 1 << 63 {
        // an exact logarithm
        env.raise(flag::PE);
        let r = env.finish_full(&y.unpack().mul(from_i64(n.exp.into()).unpack()));
        if r.class() == Class::Denormal {
            env.raise(flag::UE);
        }
        return r;
    }
    env.transcendental(log2(Big::from_num(n)).mul(Big::from_num(y.unpack())))
}

/// FYL2XP1: `y·log2(x + 1)` for `x` in `st(0)`, `y` in `st(1)`. The manual defines it for `|x| < 1 - √½`; here it goes on to
/// where the logarithm ends, at -1, below which the operation is invalid.
pub fn y_log2_plus_1(y: F80, x: F80, env: &mut Env80) -> F80 {
    if let Some(r) = nan_result(x, y, env) {
        return r;
    }
    let minus_one = F80::ONE.negated();
    let n = if x.class() == Class::Normal { Some(x.unpack()) } else { None };
    let beyond = x.is_neg() && (x.class() == Class::Infinity || n.is_some_and(|n| n.exp >= 0 && x != minus_one));
    match (x.class(), y.class()) {
        _ if beyond => return env.invalid(),
        (Class::Zero, Class::Infinity) | (Class::Infinity, Class::Zero) => return env.invalid(),
        (_, Class::Zero) if x == minus_one => return env.invalid(),
        _ => {}
    }
    if x == minus_one {
        if y.class() != Class::Infinity {
            env.raise(flag::ZE);
        }
        return signed(F80::INFINITY, y, true);
    }
    if env.denormal_stops(&[x, y]) {
        return x;
    }
    match (x.class(), y.class()) {
        (Class::Infinity, _) | (_, Class::Infinity) => return signed(F80::INFINITY, y, x.is_neg()),
        (Class::Zero, _) | (_, Class::Zero) => return signed(F80::ZERO, y, x.is_neg()),
        _ => {}
    }
    let log = log2_1p(Big::from_num(x.unpack()));
    env.transcendental(log.mul(Big::from_num(y.unpack())))
}

/// The constants of FLDL2T, FLDL2E, FLDPI, FLDLG2 and FLDLN2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Constant {
    /// log2(10)
    Log2Of10,
    /// log2(e)
    Log2OfE,
    /// π
    Pi,
    /// log10(2)
    Log10Of2,
    /// ln(2)
    LnOf2,
}

/// A constant rounded by the mode; no exception is raised (8.3.4).
pub fn constant(which: Constant, round: Round) -> F80 {
    let v = match which {
        Constant::Log2Of10 => LOG2_10,
        Constant::Log2OfE => LOG2_E,
        Constant::Pi => PI,
        Constant::Log10Of2 => LOG10_2,
        Constant::LnOf2 => LN_2,
    };
    Env80::new(0x37f | (round as u16) << 10).finish_full(&v.to_num())
}
