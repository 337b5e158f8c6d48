//! `f32` and `f64` as SSE instructions compute them (chapter 11). Operands and results are bit patterns.
//!
//! Every operation runs on the host's own arithmetic where that is provably the same: rounding to nearest, a normal result
//! clear of the underflow threshold, no denormal operand. DAZ and FTZ cannot matter then. The precision exception must be known to be
//! sticky and masked already, or else the result is checked for exactness, which is cheap too.

use crate::ieee::{self, F32, F64};
use crate::{Env, Round, flag, mxcsr};
use core::cmp::Ordering;

impl Env {
    #[inline(always)]
    fn nearest(&self) -> bool {
        self.mxcsr & 3 << mxcsr::RC_SHIFT == 0
    }

    /// Whether raising PE once more would change nothing.
    #[inline(always)]
    fn precision_settled(&self) -> bool {
        const SETTLED: u32 = flag::PE | flag::PE << mxcsr::MASK_SHIFT;
        self.mxcsr & SETTLED == SETTLED
    }

    #[inline(always)]
    fn inexact_unless(&mut self, exact: bool) {
        if !exact {
            self.raise(flag::PE);
        }
    }
}

/// Which of two ordered operands a comparison found greater, or neither, or a NaN: the EFLAGS of (U)COMISx are made from it.
pub type Relation = Option<Ordering>;

/// The fast-path predicates and exactness checks of one format, and the public operations.
macro_rules! format {
    ($F:ident, $f:ident, $u:ident, $i:ident, $p:literal,
     $add:ident $sub:ident $mul:ident $div:ident $sqrt:ident $fma:ident $min:ident $max:ident $cmp:ident $comi:ident
     $round:ident $to_i32:ident $to_i64:ident $from_i32:ident $from_i64:ident $m:ident) => {
        mod $m {
            use super::*;

            const UNIT: $u = 1 << ($p - 1);
            const INF2: $u = <F as crate::ieee::Format>::INF as $u * 2;
            type F = $F;

            /// Normal, and not the smallest such (which may have been rounded up from a tiny value).
            #[inline(always)]
            pub fn clear(r: $f) -> bool {
                let twice = r.to_bits() << 1;
                twice.wrapping_sub(4 * UNIT) < INF2 - 4 * UNIT
            }

            /// Not a denormal.
            #[inline(always)]
            pub fn plain(a: $f) -> bool {
                (a.to_bits() << 1).wrapping_sub(1) >= 2 * UNIT - 1
            }

            /// Neither denormal nor NaN.
            #[inline(always)]
            pub fn ordered(a: $f) -> bool {
                let twice = a.to_bits() << 1;
                twice == 0 || twice.wrapping_sub(2 * UNIT) <= INF2 - 2 * UNIT
            }

            /// Rounded to an integral value.
            #[inline(always)]
            pub fn integral(x: $f, round: Round) -> $f {
                match round {
                    Round::Nearest => x.round_ties_even(),
                    Round::Down => x.floor(),
                    Round::Up => x.ceil(),
                    Round::Zero => x.trunc(),
                }
            }

            /// Whether a finite sum is exact (Dekker's error term, which cannot overflow).
            #[inline(always)]
            pub fn sum_exact(a: $f, b: $f, s: $f) -> bool {
                let (a, b) = if a.abs() >= b.abs() { (a, b) } else { (b, a) };
                b - (s - a) == 0.0
            }

            /// Whether the product of two normal numbers has at most the format's bits; None if it takes more than counting trailing
            /// zeros to tell.
            #[inline(always)]
            pub fn product_exact(a: $f, b: $f) -> Option<bool> {
                let zeros = |v: $f| (v.to_bits() | UNIT).trailing_zeros();
                match zeros(a) + zeros(b) {
                    $p.. => Some(true),
                    n if n < $p - 1 => Some(false),
                    _ => None,
                }
            }
        }

        /// ADDSx: `a + b`.
        #[inline]
        pub fn $add(a: $u, b: $u, env: &mut Env) -> $u {
            let (x, y) = ($f::from_bits(a), $f::from_bits(b));
            let r = x + y;
            if env.nearest() && ($m::clear(r) || r == 0.0) && $m::plain(x) && $m::plain(y) {
                if !env.precision_settled() {
                    env.inexact_unless($m::sum_exact(x, y, r));
                }
                return r.to_bits();
            }
            ieee::add::<$F>(a.into(), b.into(), false, env) as $u
        }

        /// SUBSx: `a - b`.
        #[inline]
        pub fn $sub(a: $u, b: $u, env: &mut Env) -> $u {
            let (x, y) = ($f::from_bits(a), $f::from_bits(b));
            let r = x - y;
            if env.nearest() && ($m::clear(r) || r == 0.0) && $m::plain(x) && $m::plain(y) {
                if !env.precision_settled() {
                    env.inexact_unless($m::sum_exact(x, -y, r));
                }
                return r.to_bits();
            }
            ieee::add::<$F>(a.into(), b.into(), true, env) as $u
        }

        /// MULSx: `a * b`.
        #[inline]
        pub fn $mul(a: $u, b: $u, env: &mut Env) -> $u {
            let (x, y) = ($f::from_bits(a), $f::from_bits(b));
            let r = x * y;
            if env.nearest() && $m::clear(r) && $m::plain(x) && $m::plain(y) {
                if env.precision_settled() {
                    return r.to_bits();
                }
                if let Some(exact) = $m::product_exact(x, y) {
                    env.inexact_unless(exact);
                    return r.to_bits();
                }
            }
            // a factor of zero: exact in every mode; infinity times zero is a NaN
            if r == 0.0 && (x == 0.0 || y == 0.0) && $m::plain(x) && $m::plain(y) {
                return r.to_bits();
            }
            ieee::mul::<$F>(a.into(), b.into(), env) as $u
        }

        /// DIVSx: `a / b`.
        #[inline]
        pub fn $div(a: $u, b: $u, env: &mut Env) -> $u {
            let (x, y) = ($f::from_bits(a), $f::from_bits(b));
            let r = x / y;
            if env.nearest() && $m::clear(r) && $m::plain(x) && $m::plain(y) {
                if env.precision_settled() {
                    return r.to_bits();
                }
                // exact if and only if r * y is exactly x
                if $m::clear(x)
                    && let Some(exact) = $m::product_exact(r, y)
                {
                    env.inexact_unless(exact && r * y == x);
                    return r.to_bits();
                }
            }
            ieee::div::<$F>(a.into(), b.into(), env) as $u
        }

        /// SQRTSx.
        #[inline]
        pub fn $sqrt(a: $u, env: &mut Env) -> $u {
            let x = $f::from_bits(a);
            let r = x.sqrt();
            if env.nearest() && $m::clear(r) && $m::plain(x) {
                if env.precision_settled() {
                    return r.to_bits();
                }
                if $m::clear(x)
                    && let Some(exact) = $m::product_exact(r, r)
                {
                    env.inexact_unless(exact && r * r == x);
                    return r.to_bits();
                }
            }
            ieee::sqrt::<$F>(a.into(), env) as $u
        }

        /// `±a·b ± c` with one rounding (VF(N)MADD, VF(N)MSUB): `negate` says whether the product and `c` are negated. A NaN
        /// result is the first NaN of `a`, `b`, `c`, which are the instruction's operands in the order of table 14-15:
        /// 132 takes (1, 3, 2), 213 takes (2, 1, 3), 231 takes (2, 3, 1).
        pub fn $fma(a: $u, b: $u, c: $u, negate: (bool, bool), env: &mut Env) -> $u {
            ieee::fma::<$F>(a.into(), b.into(), c.into(), negate, env) as $u
        }

        /// MINSx: `b` unless `a < b`.
        #[inline]
        pub fn $min(a: $u, b: $u, env: &mut Env) -> $u {
            let (x, y) = ($f::from_bits(a), $f::from_bits(b));
            if $m::ordered(x) && $m::ordered(y) {
                return if x < y { a } else { b };
            }
            ieee::select::<$F>(a.into(), b.into(), Ordering::Less, env) as $u
        }

        /// MAXSx: `b` unless `a > b`.
        #[inline]
        pub fn $max(a: $u, b: $u, env: &mut Env) -> $u {
            let (x, y) = ($f::from_bits(a), $f::from_bits(b));
            if $m::ordered(x) && $m::ordered(y) {
                return if x > y { a } else { b };
            }
            ieee::select::<$F>(a.into(), b.into(), Ordering::Greater, env) as $u
        }

        /// CMPSx with predicate `imm` (0..8), or VCMPSx (0..32; table 3-1 of volume 2A). Higher bits of `imm` are ignored.
        #[inline]
        pub fn $cmp(a: $u, b: $u, imm: u8, env: &mut Env) -> bool {
            relation(imm, $comi(a, b, predicate_signals(imm), env))
        }

        /// COMISx (`signal`: a quiet NaN raises IE too) and UCOMISx.
        #[inline]
        pub fn $comi(a: $u, b: $u, signal: bool, env: &mut Env) -> Relation {
            let (x, y) = ($f::from_bits(a), $f::from_bits(b));
            if $m::ordered(x) && $m::ordered(y) {
                return x.partial_cmp(&y);
            }
            ieee::compare::<$F>(a.into(), b.into(), signal, env)
        }

        /// ROUNDSx with an explicit rounding mode. For the form that suppresses the precision exception drop [`flag::PE`] from
        /// [`Env::raised`] after it.
        #[inline]
        pub fn $round(a: $u, round: Round, env: &mut Env) -> $u {
            let x = $f::from_bits(a);
            if $m::clear(x) {
                let r = $m::integral(x, round);
                env.inexact_unless(r == x);
                return r.to_bits();
            }
            ieee::round_to_integral::<$F>(a.into(), round, env) as $u
        }

        /// CVTSx2SI to 32 bits: rounded by `round` ([`Env::round`], or [`Round::Zero`] for CVTTSx2SI).
        #[inline]
        pub fn $to_i32(a: $u, round: Round, env: &mut Env) -> i32 {
            let x = $f::from_bits(a);
            let r = $m::integral(x, round);
            if $m::clear(x) && r.abs() < 2_147_483_648.0 {
                env.inexact_unless(r == x);
                return r as i32;
            }
            ieee::to_int::<$F>(a.into(), 32, round, env) as i32
        }

        /// CVTSx2SI to 64 bits.
        #[inline]
        pub fn $to_i64(a: $u, round: Round, env: &mut Env) -> i64 {
            let x = $f::from_bits(a);
            let r = $m::integral(x, round);
            if $m::clear(x) && r.abs() < 9_223_372_036_854_775_808.0 {
                env.inexact_unless(r == x);
                return r as i64;
            }
            ieee::to_int::<$F>(a.into(), 64, round, env)
        }

        /// CVTSI2Sx from 32 bits.
        #[inline]
        pub fn $from_i32(v: i32, env: &mut Env) -> $u {
            $from_i64(v.into(), env)
        }

        /// CVTSI2Sx from 64 bits.
        #[inline]
        pub fn $from_i64(v: i64, env: &mut Env) -> $u {
            if v.unsigned_abs() < 1 << $p {
                return (v as $f).to_bits();
            }
            ieee::from_int::<$F>(v, env) as $u
        }
    };
}

format!(F32, f32, u32, i32, 24, add32 sub32 mul32 div32 sqrt32 fma32 min32 max32 cmp32 comi32
        round32 f32_to_i32 f32_to_i64 i32_to_f32 i64_to_f32 p32);
format!(F64, f64, u64, i64, 53, add64 sub64 mul64 div64 sqrt64 fma64 min64 max64 cmp64 comi64
        round64 f64_to_i32 f64_to_i64 i32_to_f64 i64_to_f64 p64);

/// CVTSS2SD.
#[inline]
pub fn f32_to_f64(a: u32, env: &mut Env) -> u64 {
    let x = f32::from_bits(a);
    if p32::clear(x) {
        return f64::from(x).to_bits();
    }
    ieee::convert::<F32, F64>(a.into(), env)
}

/// CVTSD2SS.
#[inline]
pub fn f64_to_f32(a: u64, env: &mut Env) -> u32 {
    let x = f64::from_bits(a);
    let r = x as f32;
    if env.nearest() && p32::clear(r) {
        env.inexact_unless(f64::from(r) == x);
        return r.to_bits();
    }
    ieee::convert::<F64, F32>(a, env) as u32
}

/// Whether a (V)CMPSx predicate raises IE for quiet NaNs: LT, LE, NLT, NLE and their kin do; bit 4 turns it over.
const fn predicate_signals(imm: u8) -> bool {
    (imm & 3 == 1 || imm & 3 == 2) != (imm & 16 != 0)
}

/// The truth of a (V)CMPSx predicate. 0..4 are EQ, LT, LE, UNORD; bit 2 negates; bit 3 makes EQ true and the others' negations
/// false for NaNs: it moves "unordered" to the other side, and turns UNORD, ORD into FALSE, TRUE.
#[inline(always)]
const fn relation(imm: u8, r: Relation) -> bool {
    let unordered = r.is_none();
    let base = match imm & 3 {
        0 => matches!(r, Some(Ordering::Equal)),
        1 => matches!(r, Some(Ordering::Less)),
        2 => matches!(r, Some(Ordering::Less | Ordering::Equal)),
        _ => unordered && imm & 8 == 0,
    };
    let base = base || imm & 8 != 0 && imm & 3 != 3 && unordered;
    base != (imm & 4 != 0)
}
