//! Arithmetic on unpacked finite numbers, common to all formats.

use core::cmp::Ordering;

/// A rounding mode, encoded as in MXCSR.RC, the x87 control word's RC and the immediate of ROUNDSD (4.8.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Round {
    /// To nearest, ties to even.
    Nearest = 0,
    /// Toward minus infinity.
    Down = 1,
    /// Toward plus infinity.
    Up = 2,
    /// Toward zero.
    Zero = 3,
}

impl Round {
    /// From the two low bits of an RC field.
    #[inline(always)]
    pub const fn from_bits(rc: u32) -> Self {
        match rc & 3 {
            0 => Self::Nearest,
            1 => Self::Down,
            2 => Self::Up,
            _ => Self::Zero,
        }
    }

    /// Whether an overflow in this mode gives infinity rather than the largest finite number.
    pub(crate) const fn overflows_to_inf(self, neg: bool) -> bool {
        match self {
            Self::Nearest => true,
            Self::Down => neg,
            Self::Up => !neg,
            Self::Zero => false,
        }
    }
}

/// A finite non-zero number `±(m·2^64 + x)·2^(exp-127)`. Bit 63 of `m` is set, so `exp` is the IEEE exponent; bit 0 of `x` is
/// sticky: it stands for everything below.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Num {
    pub neg: bool,
    pub exp: i32,
    pub m: u64,
    pub x: u64,
}

/// What [`Num::round_at`] did.
pub(crate) struct Rounded {
    /// The significand with the dropped bits zero; 2^63 after a carry.
    pub m: u64,
    /// The exponent grew by one.
    pub carry: bool,
    pub inexact: bool,
    /// The magnitude grew.
    pub up: bool,
}

impl Num {
    /// `m·2^(exp-63)` for any `m` but zero.
    #[inline]
    pub fn normal(neg: bool, exp: i32, m: u64) -> Self {
        let n = m.leading_zeros();
        Self { neg, exp: exp - n as i32, m: m << n, x: 0 }
    }

    /// The sum; None if it is exactly zero. Sticky bits must have been lost only below what the result is rounded to.
    #[inline]
    pub fn add(self, other: Self) -> Option<Self> {
        let key = |n: &Self| (n.exp, n.m, n.x);
        let (a, b) = if key(&self) >= key(&other) { (self, other) } else { (other, self) };
        let (bm, bx) = shift_right_jam(b.m, b.x, (a.exp - b.exp) as u32);
        if a.neg == b.neg {
            let (x, low) = a.x.overflowing_add(bx);
            let (m, c1) = a.m.overflowing_add(bm);
            let (m, c2) = m.overflowing_add(u64::from(low));
            Some(if c1 | c2 {
                Self { neg: a.neg, exp: a.exp + 1, m: m >> 1 | 1 << 63, x: x >> 1 | x & 1 | m << 63 }
            } else {
                Self { neg: a.neg, exp: a.exp, m, x }
            })
        } else {
            let (x, borrow) = a.x.overflowing_sub(bx);
            let m = a.m.wrapping_sub(bm).wrapping_sub(u64::from(borrow));
            if m != 0 {
                let n = m.leading_zeros();
                Some(Self { neg: a.neg, exp: a.exp - n as i32, m: m << n | (x >> 1) >> (63 - n), x: x << n })
            } else if x != 0 {
                Some(Self::normal(a.neg, a.exp - 64, x))
            } else {
                None
            }
        }
    }

    /// The product. Neither operand may have bits in `x`.
    #[inline]
    pub fn mul(self, other: Self) -> Self {
        let (m, x) = mul_wide(self.m, other.m);
        let (neg, exp) = (self.neg != other.neg, self.exp + other.exp);
        if m >> 63 != 0 { Self { neg, exp: exp + 1, m, x } } else { Self { neg, exp, m: m << 1 | x >> 63, x: x << 1 } }
    }

    /// The quotient. Neither operand may have bits in `x`.
    pub fn div(self, other: Self) -> Self {
        let (neg, exp) = (self.neg != other.neg, self.exp - other.exp);
        let d = other.m;
        let (exp, (q, r)) =
            if self.m >= d { (exp, div_wide(self.m >> 1, self.m << 63, d)) } else { (exp - 1, div_wide(self.m, 0, d)) };
        // what the remainder says about the bits after the quotient: below, at or above one half
        let x = match r.cmp(&(d - r)) {
            _ if r == 0 => 0,
            Ordering::Less => 1,
            Ordering::Equal => 1 << 63,
            Ordering::Greater => 1 << 63 | 1,
        };
        Self { neg, exp, m: q, x }
    }

    /// The square root of the magnitude. The operand may not have bits in `x`.
    pub fn sqrt(self) -> Self {
        // the radicand as a 128-bit integer whose root has exactly 64 bits
        let hi = if self.exp & 1 == 0 { self.m >> 1 } else { self.m };
        let lo = if self.exp & 1 == 0 { self.m << 63 } else { 0 };
        let n = u128::from(hi) << 64 | u128::from(lo);
        let square = |r: u64| {
            let (h, l) = mul_wide(r, r);
            u128::from(h) << 64 | u128::from(l)
        };
        // 52 bits from the host's root, 64 with one Newton step, then at most a unit or two of correction
        let mut r = ((hi as f64).sqrt() * 4_294_967_296.0) as u64;
        r |= 1 << 63;
        let rem = n.wrapping_sub(square(r)) as i128;
        let step = (rem >> 32) as i64 as f64 * 2_147_483_648.0 / r as f64;
        r = r.saturating_add_signed(step as i64);
        let mut s = square(r);
        while s > n {
            r -= 1;
            s = square(r);
        }
        let mut rem = n - s;
        while rem > u128::from(r) << 1 && r < u64::MAX {
            rem -= (u128::from(r) << 1) + 1;
            r += 1;
        }
        let x = if rem == 0 {
            0
        } else if rem <= u128::from(r) {
            1
        } else {
            1 << 63 | 1
        };
        Self { neg: false, exp: self.exp >> 1, m: r, x }
    }

    /// The significand without its `drop` (0..64) lowest bits and `x`, rounded.
    #[inline(always)]
    pub fn round_at(&self, drop: u32, round: Round) -> Rounded {
        round_sig(self.neg, self.m, self.x, drop, round)
    }

    /// The magnitude as an integer, whether that is inexact, and whether it was rounded up; None if it does not fit in 64 bits.
    pub fn to_integer(self, round: Round) -> Option<(u64, bool, bool)> {
        if self.exp > 63 {
            return None;
        }
        let (m, x) = shift_right_jam(self.m, self.x, (63 - self.exp) as u32);
        let r = round_sig(self.neg, m, x, 0, round);
        (!r.carry).then_some((r.m, r.inexact, r.up))
    }
}

/// Rounds `m` and the fraction `x` below it at bit `drop` (0..64) of `m`.
#[inline(always)]
pub(crate) fn round_sig(neg: bool, m: u64, x: u64, drop: u32, round: Round) -> Rounded {
    // the dropped bits, left-justified in 64 with a sticky lowest bit
    let rest = if drop == 0 { x } else { m << (64 - drop) | u64::from(x != 0) };
    let kept = m >> drop << drop;
    let up = match round {
        Round::Nearest => rest > 1 << 63 || rest == 1 << 63 && m >> drop & 1 != 0,
        Round::Down => neg && rest != 0,
        Round::Up => !neg && rest != 0,
        Round::Zero => false,
    };
    let (m, carry) = kept.overflowing_add(u64::from(up) << drop);
    Rounded { m: if carry { 1 << 63 } else { m }, carry, inexact: rest != 0, up }
}

/// `m·2^64 + x` shifted right by `n`, the bits that fall out collected in the lowest bit.
#[inline(always)]
pub(crate) fn shift_right_jam(m: u64, x: u64, n: u32) -> (u64, u64) {
    match n {
        0 => (m, x),
        1..64 => (m >> n, m << (64 - n) | x >> n | u64::from(x << (64 - n) != 0)),
        64 => (0, m | u64::from(x != 0)),
        65..128 => (0, m >> (n - 64) | u64::from(m << (128 - n) != 0 || x != 0)),
        _ => (0, u64::from(m | x != 0)),
    }
}

/// The 128-bit product as (high, low), from 32-bit halves: Wasm has no wider multiplication, and a `u128` one is a call there.
#[inline(always)]
pub(crate) fn mul_wide(a: u64, b: u64) -> (u64, u64) {
    if cfg!(target_pointer_width = "64") {
        let p = u128::from(a) * u128::from(b);
        return ((p >> 64) as u64, p as u64);
    }
    mul_wide_by_halves(a, b)
}

#[inline(always)]
fn mul_wide_by_halves(a: u64, b: u64) -> (u64, u64) {
    const LOW: u64 = 0xffff_ffff;
    let (ah, al, bh, bl) = (a >> 32, a & LOW, b >> 32, b & LOW);
    let (ll, lh, hl, hh) = (al * bl, al * bh, ah * bl, ah * bh);
    let mid = (ll >> 32) + (lh & LOW) + (hl & LOW);
    (hh + (lh >> 32) + (hl >> 32) + (mid >> 32), mid << 32 | ll & LOW)
}

/// Quotient and remainder of `(hi·2^64 + lo) / d` for `hi < d` and bit 63 of `d` set (Knuth, TAOCP 2, 4.3.1, algorithm D).
pub(crate) fn div_wide(hi: u64, lo: u64, d: u64) -> (u64, u64) {
    let (dh, dl) = (d >> 32, d & 0xffff_ffff);
    // one 32-bit digit of the quotient, and what it leaves of `rest·2^32 + next`
    let digit = |rest: u64, next: u64| {
        let mut q = rest / dh;
        let mut r = rest % dh;
        while q >> 32 != 0 || q * dl > (r << 32 | next) {
            q -= 1;
            r += dh;
            if r >> 32 != 0 {
                break;
            }
        }
        (q, (rest << 32 | next).wrapping_sub(q.wrapping_mul(d)))
    };
    let (q1, r) = digit(hi, lo >> 32);
    let (q0, r) = digit(r, lo & 0xffff_ffff);
    (q1 << 32 | q0, r)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_multiplication_and_division_agree_with_u128() {
        let mut rng = random::Rng(1);
        let mut next = || {
            let r = rng.next();
            [r, r | !0 << 33, r & 0xffff_ffff, !0, 1 << 63, r << 40][rng.index(6)]
        };
        for _ in 0..100_000 {
            let (a, b) = (next(), next());
            let p = u128::from(a) * u128::from(b);
            assert_eq!(mul_wide_by_halves(a, b), ((p >> 64) as u64, p as u64));
            let (hi, lo, d) = (a, b, next() | 1 << 63);
            let hi = hi % d;
            let n = u128::from(hi) << 64 | u128::from(lo);
            assert_eq!(div_wide(hi, lo, d), ((n / u128::from(d)) as u64, (n % u128::from(d)) as u64));
        }
    }
}
