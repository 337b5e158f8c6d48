//! The SSE operations against the machine's own: results and all flags, in every mode.
#![cfg(target_arch = "x86_64")]
#![allow(unsafe_code)]

mod common;

use common::{Operands, hard, rng};
use core::arch::asm;
use softfloat::{Env, Round, sse};

const FLAGS: u32 = 0x3f;

/// Runs an instruction under an MXCSR; `(result, MXCSR after)`.
macro_rules! native {
    ($mxcsr:expr, $ins:expr, $dst:ident = $d:expr, $src:ident = $s:expr) => {{
        let mut csr: u32 = $mxcsr;
        let mut host: u32 = 0;
        let mut dst = $d;
        // SAFETY: MXCSR is restored before the block ends and all its exceptions are masked.
        unsafe {
            asm!("stmxcsr [{host}]", "ldmxcsr [{csr}]", $ins, "stmxcsr [{csr}]", "ldmxcsr [{host}]",
                 host = in(reg) &mut host, csr = in(reg) &mut csr, d = inout($dst) dst, s = in($src) $s, out("rax") _, options(nostack));
        }
        (dst, csr)
    }};
}

fn f64x(v: u64) -> f64 {
    f64::from_bits(v)
}

fn f32x(v: u32) -> f32 {
    f32::from_bits(v)
}

/// Every MXCSR with exceptions masked: rounding, DAZ, FTZ, and flags clear or some set already.
fn modes() -> Vec<u32> {
    let mut v = Vec::new();
    for rc in 0..4 {
        for daz_ftz in [0, 1 << 6, 1 << 15, 1 << 6 | 1 << 15] {
            for sticky in [0, 0x20, 0x3f] {
                v.push(0x1f80 | rc << 13 | daz_ftz | sticky);
            }
        }
    }
    v
}

fn check<T: PartialEq + core::fmt::LowerHex>(name: &str, inputs: &[u64], csr: u32, ours: (T, Env), native: (T, u32)) {
    let mut env = ours.1;
    assert!(!env.finish());
    assert!(
        ours.0 == native.0 && env.mxcsr & FLAGS == native.1 & FLAGS,
        "{name} {inputs:x?} mxcsr {csr:04x}: ours {:x} flags {:02x}, native {:x} flags {:02x}",
        ours.0,
        env.mxcsr & FLAGS,
        native.0,
        native.1 & FLAGS
    );
}

fn one64(a: u64, b: u64, csr: u32) {
    macro_rules! binary {
        ($($f:ident $ins:literal)*) => {$({
            let mut env = Env::new(csr);
            let r = sse::$f(a, b, &mut env);
            let (n, after) = native!(csr, concat!($ins, " {d}, {s}"), xmm_reg = f64x(a), xmm_reg = f64x(b));
            check(stringify!($f), &[a, b], csr, (r, env), (n.to_bits(), after));
        })*};
    }
    binary!(add64 "addsd" sub64 "subsd" mul64 "mulsd" div64 "divsd" min64 "minsd" max64 "maxsd");
    macro_rules! unary {
        ($($name:literal: $e:expr, $ins:literal, $dst:ident $init:expr, $bits:expr;)*) => {$({
            let mut env = Env::new(csr);
            #[allow(clippy::redundant_closure_call)]
            let r = $e(a, &mut env);
            let (n, after) = native!(csr, $ins, $dst = $init, xmm_reg = f64x(a));
            #[allow(clippy::redundant_closure_call)]
            check($name, &[a], csr, (r, env), ($bits(n), after));
        })*};
    }
    let rc = Env::new(csr).round();
    unary! {
        "sqrt64": sse::sqrt64, "sqrtsd {d}, {s}", xmm_reg 0f64, f64::to_bits;
        "f64_to_f32": sse::f64_to_f32, "cvtsd2ss {d}, {s}", xmm_reg 0f32, f32::to_bits;
        "f64_to_i32": |a, e: &mut _| sse::f64_to_i32(a, rc, e), "cvtsd2si {d:e}, {s}", reg 0i32, |v| v;
        "f64_to_i64": |a, e: &mut _| sse::f64_to_i64(a, rc, e), "cvtsd2si {d}, {s}", reg 0i64, |v| v;
        "f64_to_i32 truncated": |a, e: &mut _| sse::f64_to_i32(a, Round::Zero, e), "cvttsd2si {d:e}, {s}", reg 0i32, |v| v;
        "f64_to_i64 truncated": |a, e: &mut _| sse::f64_to_i64(a, Round::Zero, e), "cvttsd2si {d}, {s}", reg 0i64, |v| v;
        "i64_to_f64": |a: u64, e: &mut _| sse::i64_to_f64(a as i64, e), "movq rax, {s}; cvtsi2sd {d}, rax", xmm_reg 0f64, f64::to_bits;
        "i64_to_f32": |a: u64, e: &mut _| sse::i64_to_f32(a as i64, e), "movq rax, {s}; cvtsi2ss {d}, rax", xmm_reg 0f32, f32::to_bits;
        "i32_to_f32": |a: u64, e: &mut _| sse::i32_to_f32(a as i32, e), "movd eax, {s}; cvtsi2ss {d}, eax", xmm_reg 0f32, f32::to_bits;
        "i32_to_f64": |a: u64, e: &mut _| sse::i32_to_f64(a as i32, e), "movd eax, {s}; cvtsi2sd {d}, eax", xmm_reg 0f64, f64::to_bits;
        "round64 nearest": |a, e: &mut _| sse::round64(a, Round::Nearest, e), "roundsd {d}, {s}, 0", xmm_reg 0f64, f64::to_bits;
        "round64 down": |a, e: &mut _| sse::round64(a, Round::Down, e), "roundsd {d}, {s}, 1", xmm_reg 0f64, f64::to_bits;
        "round64 up": |a, e: &mut _| sse::round64(a, Round::Up, e), "roundsd {d}, {s}, 2", xmm_reg 0f64, f64::to_bits;
        "round64 zero": |a, e: &mut _| sse::round64(a, Round::Zero, e), "roundsd {d}, {s}, 3", xmm_reg 0f64, f64::to_bits;
    }
}

fn one32(a: u32, b: u32, csr: u32) {
    macro_rules! binary {
        ($($f:ident $ins:literal)*) => {$({
            let mut env = Env::new(csr);
            let r = sse::$f(a, b, &mut env);
            let (n, after) = native!(csr, concat!($ins, " {d}, {s}"), xmm_reg = f32x(a), xmm_reg = f32x(b));
            check(stringify!($f), &[a.into(), b.into()], csr, (r, env), (n.to_bits(), after));
        })*};
    }
    binary!(add32 "addss" sub32 "subss" mul32 "mulss" div32 "divss" min32 "minss" max32 "maxss");
    macro_rules! unary {
        ($($name:literal: $e:expr, $ins:literal, $dst:ident $init:expr, $bits:expr;)*) => {$({
            let mut env = Env::new(csr);
            #[allow(clippy::redundant_closure_call)]
            let r = $e(a, &mut env);
            let (n, after) = native!(csr, $ins, $dst = $init, xmm_reg = f32x(a));
            #[allow(clippy::redundant_closure_call)]
            check($name, &[a.into()], csr, (r, env), ($bits(n), after));
        })*};
    }
    let rc = Env::new(csr).round();
    unary! {
        "sqrt32": sse::sqrt32, "sqrtss {d}, {s}", xmm_reg 0f32, f32::to_bits;
        "f32_to_f64": sse::f32_to_f64, "cvtss2sd {d}, {s}", xmm_reg 0f64, f64::to_bits;
        "f32_to_i32": |a, e: &mut _| sse::f32_to_i32(a, rc, e), "cvtss2si {d:e}, {s}", reg 0i32, |v| v;
        "f32_to_i64": |a, e: &mut _| sse::f32_to_i64(a, rc, e), "cvtss2si {d}, {s}", reg 0i64, |v| v;
        "f32_to_i32 truncated": |a, e: &mut _| sse::f32_to_i32(a, Round::Zero, e), "cvttss2si {d:e}, {s}", reg 0i32, |v| v;
        "f32_to_i64 truncated": |a, e: &mut _| sse::f32_to_i64(a, Round::Zero, e), "cvttss2si {d}, {s}", reg 0i64, |v| v;
        "round32 nearest": |a, e: &mut _| sse::round32(a, Round::Nearest, e), "roundss {d}, {s}, 0", xmm_reg 0f32, f32::to_bits;
        "round32 down": |a, e: &mut _| sse::round32(a, Round::Down, e), "roundss {d}, {s}, 1", xmm_reg 0f32, f32::to_bits;
        "round32 up": |a, e: &mut _| sse::round32(a, Round::Up, e), "roundss {d}, {s}, 2", xmm_reg 0f32, f32::to_bits;
        "round32 zero": |a, e: &mut _| sse::round32(a, Round::Zero, e), "roundss {d}, {s}, 3", xmm_reg 0f32, f32::to_bits;
    }
}

#[test]
fn hard_values_of_f64_in_every_mode() {
    let hard = hard(52, 11);
    for csr in modes() {
        for &a in &hard {
            for &b in &hard {
                one64(a, b, csr);
            }
        }
    }
}

#[test]
fn hard_values_of_f32_in_every_mode() {
    let hard = hard(23, 8);
    for csr in modes() {
        for &a in &hard {
            for &b in &hard {
                one32(a as u32, b as u32, csr);
            }
        }
    }
}

#[test]
fn random_values_in_every_mode() {
    let (mut rng, modes) = (rng(), modes());
    for _ in 0..200_000 {
        let csr = rng.pick(&modes);
        let a = rng.f64();
        // often a near neighbour, for cancellation and exact quotients
        let b = if rng.below(8) == 0 { a ^ rng.below(16) ^ rng.below(2) << 63 } else { rng.f64() };
        one64(a, b, csr);
        let a = rng.f32();
        let b = if rng.below(8) == 0 { a ^ rng.below(16) as u32 ^ (rng.below(2) as u32) << 31 } else { rng.f32() };
        one32(a, b, csr);
    }
}

/// Small multiples of powers of two: results exact about as often as not, for the fast path's exactness checks.
#[test]
fn nearly_exact_values_raise_precision_rightly() {
    let mut rng = rng();
    for _ in 0..200_000 {
        let mut small = || {
            let bits = 1 + rng.below(53);
            let n = (rng.next() >> (64 - bits)) as f64 * 2f64.powi(rng.below(80) as i32 - 40);
            if rng.below(2) == 0 { n } else { -n }
        };
        let (a, b) = (small(), small());
        one64(a.to_bits(), b.to_bits(), 0x1f80);
        one64((a * b).to_bits(), b.to_bits(), 0x1f80);
        one64((a * a).to_bits(), b.to_bits(), 0x1f80);
        let (a, b) = (a as f32, b as f32);
        one32(a.to_bits(), b.to_bits(), 0x1f80);
        one32((a * b).to_bits(), b.to_bits(), 0x1f80);
        one32((a * a).to_bits(), b.to_bits(), 0x1f80);
    }
}

#[test]
fn comparisons_with_every_predicate() {
    let avx = std::is_x86_feature_detected!("avx");
    for csr in modes() {
        for &a in &hard(52, 11) {
            for &b in &hard(52, 11) {
                for signal in [false, true] {
                    let mut env = Env::new(csr);
                    let r = sse::comi64(a, b, signal, &mut env);
                    // ZF, PF, CF as (U)COMISD sets them
                    let ours = match r {
                        None => 0x45,
                        Some(core::cmp::Ordering::Equal) => 0x40,
                        Some(core::cmp::Ordering::Less) => 1,
                        Some(core::cmp::Ordering::Greater) => 0,
                    };
                    let (n, after) = if signal {
                        native!(
                            csr,
                            "comisd {d}, {s}; lahf; movzx eax, ah; movq {d}, rax",
                            xmm_reg = f64x(a),
                            xmm_reg = f64x(b)
                        )
                    } else {
                        native!(
                            csr,
                            "ucomisd {d}, {s}; lahf; movzx eax, ah; movq {d}, rax",
                            xmm_reg = f64x(a),
                            xmm_reg = f64x(b)
                        )
                    };
                    check("comi64", &[a, b], csr, (ours, env), (n.to_bits() & 0x45, after));
                }
                macro_rules! predicates {
                    ($ins:literal: $($imm:literal)*) => {$({
                        let mut env = Env::new(csr);
                        let ours = if sse::cmp64(a, b, $imm, &mut env) { !0u64 } else { 0 };
                        let (n, after) = native!(csr, concat!($ins, $imm), xmm_reg = f64x(a), xmm_reg = f64x(b));
                        check(concat!("cmp64 ", $imm), &[a, b], csr, (ours, env), (n.to_bits(), after));
                    })*};
                }
                predicates!("cmpsd {d}, {s}, ": 0 1 2 3 4 5 6 7);
                if avx {
                    predicates!("vcmpsd {d}, {d}, {s}, ":
                        0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31);
                }
            }
        }
    }
}

#[test]
fn fused_multiply_add() {
    if !std::is_x86_feature_detected!("fma") {
        return;
    }
    let (mut rng, modes, hard) = (rng(), modes(), hard(52, 11));
    for i in 0..400_000 {
        let csr = rng.pick(&modes);
        let value = |rng: &mut random::Rng| if i % 2 == 0 { rng.pick(&hard) } else { rng.f64() };
        let (a, b) = (value(&mut rng), value(&mut rng));
        let product = (f64x(a) * f64x(b)).to_bits();
        let c = if rng.below(4) == 0 { product ^ rng.below(8) ^ rng.below(2) << 63 } else { value(&mut rng) };
        // VFMADD213SD x1, x2, x3 is x2 * x1 + x3
        macro_rules! forms {
            ($($ins:literal $negate:expr;)*) => {$({
                let mut env = Env::new(csr);
                let r = sse::fma64(b, a, c, $negate, &mut env);
                let mut x1 = f64x(a);
                let (mut after, mut host) = (csr, 0u32);
                // SAFETY: MXCSR is restored before the block ends and all its exceptions are masked.
                unsafe {
                    asm!("stmxcsr [{h}]", "ldmxcsr [{m}]", concat!($ins, " {a}, {b}, {c}"), "stmxcsr [{m}]", "ldmxcsr [{h}]",
                         h = in(reg) &mut host, m = in(reg) &mut after, a = inout(xmm_reg) x1, b = in(xmm_reg) f64x(b),
                         c = in(xmm_reg) f64x(c), options(nostack));
                }
                check($ins, &[a, b, c], csr, (r, env), (x1.to_bits(), after));
            })*};
        }
        forms! {
            "vfmadd213sd" (false, false);
            "vfmsub213sd" (false, true);
            "vfnmadd213sd" (true, false);
            "vfnmsub213sd" (true, true);
        }
    }
}
