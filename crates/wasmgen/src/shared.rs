//! Functions that a module's regions share: what a region tells when it returns, and scalar arithmetic where the region's own check failed.
//!
//! The latter take the operands and the host's result, look closer, and let the guest do what the host's arithmetic is wrong for.
//! Results: the result; what `INEXACT` is now, below 0 where the guest has refused.

use core::mem::offset_of;

use guest_api::{Exchange, F2, Float, Fp};
use wasm_encoder::{BlockType, Function, Ieee32, Ieee64, InstructionSink, ValType};

use crate::abi::{Abi, IMPORTS, Import};
use crate::emit::at;
use crate::float::{SUSPICIOUS, inf, unit};

/// The number of the function by which a region returns.
pub(crate) const LEAVE: u32 = IMPORTS.len() as u32;
/// That of the first for arithmetic.
const FIRST: u32 = LEAVE + 1;

/// State, address or side exit, instructions left, the region's base and number, what to return: a [`crate::abi::Leave`].
pub(crate) const LEAVE_PARAMS: [ValType; 6] =
    [ValType::I32, ValType::I64, ValType::I64, ValType::I64, ValType::I32, ValType::I32];

/// Function [`LEAVE`]: fills in the exchange.
pub(crate) fn leave(abi: &Abi) -> Function {
    let mut f = Function::new([]);
    let mut s = f.instructions();
    let exchange = |field: usize| u64::from(abi.layout.exchange) + field as u64;
    s.local_get(0).local_get(1).i64_store(at(exchange(offset_of!(Exchange, pc)), 3));
    s.local_get(0).local_get(2).i64_store(at(exchange(offset_of!(Exchange, left)), 3));
    s.local_get(0).local_get(3).i64_store(at(exchange(offset_of!(Exchange, base)), 3));
    s.local_get(0).local_get(4).i32_store(at(exchange(offset_of!(Exchange, region)), 2));
    s.local_get(5).end();
    f
}

/// The operations, of 32 bits and then of 64.
pub(crate) const OPS: [F2; 4] = [F2::Add, F2::Sub, F2::Mul, F2::Div];

/// The number of the function for `op`.
pub(crate) fn index(op: F2, double: bool) -> Option<u32> {
    let n = OPS.iter().position(|&o| o == op)?;
    Some(FIRST + (OPS.len() * usize::from(double) + n) as u32)
}

/// Its bit in a set of them.
pub(crate) fn bit(op: F2, double: bool) -> u8 {
    index(op, double).map_or(0, |n| 1 << (n - FIRST))
}

/// What is in the place of a function that no region calls.
pub(crate) fn unused() -> Function {
    let mut f = Function::new([]);
    f.instructions().unreachable().end();
    f
}

/// The functions' type.
pub(crate) fn signature(double: bool) -> ([ValType; 5], [ValType; 2]) {
    let t = if double { ValType::F64 } else { ValType::F32 };
    ([ValType::I32, t, t, t, ValType::I32], [t, ValType::I32])
}

// Parameters and locals.
const STATE: u32 = 0;
const A: u32 = 1;
const B: u32 = 2;
const R: u32 = 3;
const INEXACT: u32 = 4;
const STATUS: u32 = 5;
const X: u32 = 6;

/// The instructions for numbers of 64 or of 32 bits.
macro_rules! by_size {
    ($s:ident, $double:expr, $($d:ident($($da:expr),*)).+, $($f:ident($($fa:expr),*)).+) => {
        if $double {
            $s$(.$d($($da),*))+;
        } else {
            $s$(.$f($($fa),*))+;
        }
    };
}

/// The function for `op`.
pub(crate) fn function(op: F2, double: bool, abi: &Abi) -> Function {
    let t = if double { ValType::F64 } else { ValType::F32 };
    let mut f = Function::new([(1, ValType::I32), (1, t)]);
    let mut s = f.instructions();
    // A result of zero is exact in sums, and where it comes from a zero.
    zero(&mut s, double, R);
    match op {
        F2::Mul => {
            zero(&mut s, double, A);
            zero(&mut s, double, B);
            s.i32_or().i32_and();
        }
        F2::Div => {
            zero(&mut s, double, A);
            s.i32_and();
        }
        _ => {}
    }
    // Normal, and not the least such number.
    let clear = |s: &mut InstructionSink<'_>, v: u32| {
        let (unit, inf) = (unit(double), inf(double));
        s.local_get(v);
        below(s, double, 4 * unit, 2 * inf - 4 * unit);
    };
    clear(&mut s, R);
    s.i32_or();
    // No denormals.
    for v in [A, B] {
        s.local_get(v);
        below(&mut s, double, 1, 2 * unit(double) - 1);
        s.i32_eqz().i32_and();
    }
    // The host is right, or would be but for inexact results, and this one is not.
    s.local_get(INEXACT).i32_const(guest_api::inexact::YES as i32).i32_and().i32_eqz();
    s.local_get(INEXACT).i32_const(guest_api::inexact::UNTOLD as i32).i32_and().i32_const(0).i32_ne();
    exact(&mut s, op, double);
    s.i32_and().i32_or().i32_and();
    s.if_(BlockType::Empty).local_get(R).local_get(INEXACT).return_().end();

    let vectors = abi.layout.exchange + offset_of!(Exchange, vectors) as u32;
    for (v, offset) in [(A, vectors), (B, vectors + 16)] {
        s.local_get(STATE).local_get(v);
        by_size!(s, double, f64_store(at(offset, 3)), f32_store(at(offset, 2)));
    }
    let code = Float::F2(op, if double { Fp::S64 } else { Fp::S32 }).code();
    s.i32_const(code as i32).call(Import::Float as u32).local_tee(STATUS).i32_eqz();
    s.if_(BlockType::Empty).local_get(R).i32_const(-1).return_().end();
    s.local_get(STATE);
    by_size!(s, double, f64_load(at(vectors, 3)), f32_load(at(vectors, 2)));
    s.local_get(INEXACT).i32_const(SUSPICIOUS).i32_and().local_get(STATUS).i32_const(1).i32_sub().i32_or().end();
    f
}

/// Replaces the number on the stack by whether twice its bits, less `less`, are below `limit`.
fn below(s: &mut InstructionSink<'_>, double: bool, less: u64, limit: u64) {
    if double {
        s.i64_reinterpret_f64().i64_const(1).i64_shl().i64_const(less as i64).i64_sub();
        s.i64_const(limit as i64).i64_lt_u();
    } else {
        s.i32_reinterpret_f32().i32_const(1).i32_shl().i32_const(less as i32).i32_sub();
        s.i32_const(limit as i32).i32_lt_u();
    }
}

/// Pushes whether `v` is a zero.
fn zero(s: &mut InstructionSink<'_>, double: bool, v: u32) {
    s.local_get(v);
    by_size!(s, double, f64_const(Ieee64::new(0)).f64_eq(), f32_const(Ieee32::new(0)).f32_eq());
}

/// Pushes whether the result, which is a zero or normal, is exact for certain.
fn exact(s: &mut InstructionSink<'_>, op: F2, double: bool) {
    // That a product of these has no more bits than the format: from the zeros at the end of the significands.
    let product = |s: &mut InstructionSink<'_>, a: u32, b: u32| {
        for v in [a, b] {
            s.local_get(v);
            let bit = unit(double);
            by_size!(
                s,
                double,
                i64_reinterpret_f64().i64_const(bit as i64).i64_or().i64_ctz(),
                i32_reinterpret_f32().i32_const(bit as i32).i32_or().i32_ctz()
            );
        }
        by_size!(s, double, i64_add().i64_const(53).i64_ge_u(), i32_add().i32_const(24).i32_ge_u());
    };
    match op {
        // The error of a sum (Knuth): (a - (r - x)) + (b - x), where x = r - a is what of b went into it.
        F2::Add => {
            s.local_get(R).local_get(A);
            by_size!(s, double, f64_sub(), f32_sub());
            s.local_set(X).local_get(A).local_get(R).local_get(X);
            by_size!(s, double, f64_sub().f64_sub(), f32_sub().f32_sub());
            s.local_get(B).local_get(X);
            by_size!(s, double, f64_sub().f64_add(), f32_sub().f32_add());
            by_size!(s, double, f64_const(Ieee64::new(0)).f64_eq(), f32_const(Ieee32::new(0)).f32_eq());
        }
        F2::Sub => {
            s.local_get(R).local_get(A);
            by_size!(s, double, f64_sub(), f32_sub());
            s.local_set(X).local_get(A).local_get(R).local_get(X);
            by_size!(s, double, f64_sub().f64_sub(), f32_sub().f32_sub());
            s.local_get(B).local_get(X);
            by_size!(s, double, f64_add().f64_sub(), f32_add().f32_sub());
            by_size!(s, double, f64_const(Ieee64::new(0)).f64_eq(), f32_const(Ieee32::new(0)).f32_eq());
        }
        F2::Mul => {
            product(s, A, B);
            zero(s, double, R);
            s.i32_or();
        }
        // The quotient times the divisor is the dividend.
        _ => {
            product(s, R, B);
            s.local_get(R).local_get(B);
            by_size!(s, double, f64_mul(), f32_mul());
            s.local_get(A);
            by_size!(s, double, f64_eq(), f32_eq());
            s.i32_and();
        }
    }
}
