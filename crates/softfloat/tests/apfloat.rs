//! Arithmetic against LLVM's APFloat, which needs no particular machine.

mod common;

use common::{Operands, hard80, rng};
use rustc_apfloat::ieee::{Double, Single, X87DoubleExtended};
use rustc_apfloat::{Float, Round as R, Status};
use softfloat::{Env, Env80, F80, f80, flag, sse};

const ROUNDS: [R; 4] = [R::NearestTiesToEven, R::TowardNegative, R::TowardPositive, R::TowardZero];
/// What both report: APFloat knows no denormal operands, detects tininess before rounding, and calls an overflow that is rounded to
/// the largest finite number only inexact.
const COMMON: u32 = flag::IE | flag::ZE | flag::PE;

type Op = fn(F80, F80, &mut Env80) -> F80;

fn flags(s: Status) -> u32 {
    let pairs = [(Status::INVALID_OP, flag::IE), (Status::DIV_BY_ZERO, flag::ZE), (Status::INEXACT, flag::PE)];
    pairs.iter().filter(|(bit, _)| s.contains(*bit)).map(|(_, f)| f).sum()
}

fn ap80(a: F80) -> X87DoubleExtended {
    X87DoubleExtended::from_bits(u128::from(a.se) << 64 | u128::from(a.m))
}

/// Which NaN results is the x87's own rule: here any NaN is as good as another.
fn equal<T: Float>(ours: T, theirs: T) -> bool {
    ours.is_nan() && theirs.is_nan() || ours.to_bits() == theirs.to_bits()
}

#[test]
fn f80() {
    let mut rng = rng();
    let supported = |v: &F80| v.class() != f80::Class::Unsupported && !(v.se & 0x7fff == 0 && v.m >> 63 != 0);
    let hard: Vec<_> = hard80().into_iter().filter(supported).collect();
    for i in 0..200_000 {
        let mut value = || if i % 2 == 0 { rng.pick(&hard) } else { rng.f80() };
        let (a, b) = (value(), value());
        if !supported(&a) || !supported(&b) {
            continue;
        }
        for (rc, round) in ROUNDS.into_iter().enumerate() {
            let ops: [(Op, _); 4] = [
                (f80::add, ap80(a).add_r(ap80(b), round)),
                (f80::sub, ap80(a).sub_r(ap80(b), round)),
                (f80::mul, ap80(a).mul_r(ap80(b), round)),
                (f80::div, ap80(a).div_r(ap80(b), round)),
            ];
            for (k, (op, theirs)) in ops.into_iter().enumerate() {
                let mut env = Env80::new(0x37f | (rc as u16) << 10);
                let ours = op(a, b, &mut env);
                assert!(
                    equal(ap80(ours), theirs.value) && env.raised & COMMON == flags(theirs.status),
                    "{k} {a:x?} {b:x?} {round:?}: {ours:x?} {:02x}, {theirs:?}",
                    env.raised
                );
            }
        }
    }
}

/// f32 and f64 with the operations of one format each.
macro_rules! format {
    ($name:ident $T:ident $u:ident $rand:ident $($op:ident $ap:ident)*) => {
        #[test]
        fn $name() {
            let mut rng = rng();
            for _ in 0..100_000 {
                let (a, b) = (rng.$rand(), rng.$rand());
                let (x, y) = ($T::from_bits(a.into()), $T::from_bits(b.into()));
                for (rc, round) in ROUNDS.into_iter().enumerate() {
                    $({
                        let mut env = Env::new(0x1f80 | (rc as u32) << 13);
                        let ours = sse::$op(a, b, &mut env);
                        let theirs = x.$ap(y, round);
                        assert!(
                            equal($T::from_bits(ours.into()), theirs.value) && env.raised & COMMON == flags(theirs.status),
                            "{} {a:x} {b:x} {round:?}: {ours:x} {:02x}, {theirs:?}", stringify!($op), env.raised
                        );
                    })*
                }
            }
        }
    };
}

format!(f32 Single u32 f32 add32 add_r sub32 sub_r mul32 mul_r div32 div_r);
format!(f64 Double u64 f64 add64 add_r sub64 sub_r mul64 mul_r div64 div_r);
