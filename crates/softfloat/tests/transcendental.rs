//! The transcendental functions against correctly rounded results.
//!
//! Each line of `transcendental.txt` has an operation, `st(0)`, `st(1)` and the result rounded to nearest, as sign and exponent, a colon
//! and the significand in hexadecimal; made with mpmath at 400 bits, the trigonometric functions with a π of 66 bits.

use softfloat::{Env80, F80, f80};

fn parse(word: &str) -> F80 {
    let (se, m) = word.split_once(':').unwrap();
    F80 { m: u64::from_str_radix(m, 16).unwrap(), se: u16::from_str_radix(se, 16).unwrap() }
}

#[test]
fn results_are_correctly_rounded() {
    let mut checked = 0;
    for line in include_str!("transcendental.txt").lines() {
        let words: Vec<_> = line.split(' ').collect();
        let [op, a, b, expected] = words[..] else { panic!("{line}") };
        let (a, b, expected) = (parse(a), parse(b), parse(expected));
        let mut env = Env80::new(0x37f);
        let r = match op {
            "sin" => f80::sin(a, &mut env),
            "cos" => f80::cos(a, &mut env),
            "tan" => f80::tan(a, &mut env),
            "2^x-1" => Some(f80::exp2_minus_1(a, &mut env)),
            "atan" => Some(f80::atan2(b, a, &mut env)),
            "log" => Some(f80::y_log2(b, a, &mut env)),
            "log+1" => Some(f80::y_log2_plus_1(b, a, &mut env)),
            _ => panic!("{line}"),
        };
        assert_eq!(r, Some(expected), "{line}");
        checked += 1;
    }
    assert!(checked >= 100);
}
