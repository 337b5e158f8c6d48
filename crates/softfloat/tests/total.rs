//! Every f80 operation is total: no operand makes it panic (overflow checks are on in tests) or give an unsupported encoding.

mod common;

use common::{Operands, hard80, rng};
use softfloat::f80::{self, Class};
use softfloat::{Env80, F80, Round};

fn all(a: F80, b: F80, cw: u16) {
    let mut env = Env80::new(cw);
    let e = &mut env;
    let mut results = vec![
        f80::add(a, b, e),
        f80::sub(a, b, e),
        f80::mul(a, b, e),
        f80::div(a, b, e),
        f80::sqrt(a, e),
        f80::rem(a, b, false, e).value,
        f80::rem(a, b, true, e).value,
        f80::round_to_integral(a, e),
        f80::scale(a, b, e),
        f80::extract(a, e).0,
        f80::extract(a, e).1,
        f80::atan2(a, b, e),
        f80::exp2_minus_1(a, e),
        f80::y_log2(a, b, e),
        f80::y_log2_plus_1(a, b, e),
    ];
    results.extend([f80::sin(a, e), f80::cos(a, e), f80::tan(a, e)].into_iter().flatten());
    results.extend(f80::sin_and_cos(a, e).map(|v| v.0));
    let (single, double) = (f80::to_f32(a, e), f80::to_f64(a, e));
    results.extend([f80::from_f32(single, e), f80::from_f64(double, e), f80::from_bcd(f80::to_bcd(a, e))]);
    results.extend([16, 32, 64].map(|bits| f80::from_i64(f80::to_int(a, bits, Round::Nearest, e))));
    f80::compare(a, b, true, e);
    // an unmasked exception's result is not delivered, and may be an operand
    if env.unmasked() == 0 {
        for (k, r) in results.into_iter().enumerate() {
            assert!(r.class() != Class::Unsupported, "result {k} of {a:x?}, {b:x?}, cw {cw:x}: {r:x?}");
        }
    }
}

#[test]
fn operations_are_total() {
    let mut rng = rng();
    let hard = hard80();
    for &a in &hard {
        for &b in &hard {
            all(a, b, 0x37f);
            all(a, b, rng.next() as u16);
        }
    }
    for _ in 0..50_000 {
        let bits = |rng: &mut random::Rng| F80 { m: rng.next(), se: rng.next() as u16 };
        let (a, b) = (bits(&mut rng), bits(&mut rng));
        all(a, b, rng.next() as u16);
        all(rng.f80(), rng.f80(), rng.next() as u16);
    }
}
