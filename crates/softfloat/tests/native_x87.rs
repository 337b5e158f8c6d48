//! The f80 operations against the machine's own x87: results, exceptions and C1, masked and unmasked, in every mode.
#![cfg(target_arch = "x86_64")]
#![allow(unsafe_code)]

mod common;

use common::{Operands, hard, hard80, rng};
use core::arch::asm;
use core::cmp::Ordering;
use softfloat::{Env80, F80, Round, f80};

const C1: u16 = 0x200;
const CONDITIONS: u16 = 0x4700;

/// What an instruction left: `st(0)`, `st(1)`, the status word, and the 16 bytes of memory it had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Native {
    st0: F80,
    st1: F80,
    sw: u16,
    mem: [u8; 16],
}

/// Runs an instruction with `st(0)` = a, `st(1)` = b, `{m}` pointing to `mem`.
macro_rules! native {
    ($ins:literal, $cw:expr, $a:expr, $b:expr, $mem:expr) => {{
        let (a, b) = ($a.to_bytes(), $b.to_bytes());
        let (mut st0, mut st1, mut mem, cw, mut sw) = ([0u8; 10], [0u8; 10], $mem, $cw, 0u16);
        // SAFETY: exceptions are cleared before any waiting instruction could deliver them, and the x87 is left as FNINIT leaves it.
        unsafe {
            asm!("fninit", "fld tbyte ptr [{b}]", "fld tbyte ptr [{a}]", "fnclex", "fldcw [{cw}]", concat!($ins, " /* {m} */"), "fnstsw [{sw}]", "fnclex", "fldcw [{masked}]",
                 "fstp tbyte ptr [{st0}]", "fstp tbyte ptr [{st1}]", "fninit",
                 a = in(reg) &a, b = in(reg) &b, cw = in(reg) &cw, sw = in(reg) &mut sw, m = in(reg) &mut mem, masked = in(reg) &0x37fu16,
                 st0 = in(reg) &mut st0, st1 = in(reg) &mut st1,
                 out("st(0)") _, out("st(1)") _, out("st(2)") _, out("st(3)") _,
                 out("st(4)") _, out("st(5)") _, out("st(6)") _, out("st(7)") _, options(nostack));
        }
        Native { st0: F80::from_bytes(st0), st1: F80::from_bytes(st1), sw, mem }
    }};
}

/// Control words: every rounding and precision with all masked; and with each exception unmasked.
fn modes() -> Vec<u16> {
    let mut v = Vec::new();
    for rc in 0..4 {
        for pc in [0, 2, 3] {
            for unmasked in [0, 1, 2, 4, 8, 0x10, 0x20, 0x3f, 0x18] {
                v.push(0x7f & !unmasked | rc << 10 | pc << 8);
            }
        }
    }
    v
}

fn sw(env: &Env80) -> u16 {
    env.raised as u16 | if env.c1 { C1 } else { 0 }
}

#[track_caller]
fn same(name: &str, a: F80, b: F80, cw: u16, ours: (F80, u16), native: (F80, u16), bits: u16) {
    assert!(
        ours.0 == native.0 && (ours.1 ^ native.1) & bits == 0,
        "{name} {a:x?} {b:x?} cw {cw:03x}: ours {:x?} {:04x}, native {:x?} {:04x}",
        ours.0,
        ours.1 & bits,
        native.0,
        native.1 & bits
    );
}

/// Whether makers differ in FSCALE of `a` by `b` where `b` is 0, in FPREM and FPREM1 where it is infinity: with underflow unmasked a denormal
/// `a` underflows on AMD's processors, and is the result on Intel's.
fn makers_differ(a: F80, b: F80, cw: u16, special: f80::Class) -> bool {
    cw & 0x10 == 0 && a.se & 0x7fff == 0 && b.class() == special
}

fn arithmetic(a: F80, b: F80, cw: u16) {
    macro_rules! ops {
        ($($name:literal $e:expr;)*) => {$({
            let n = native!($name, cw, a, b, [0u8; 16]);
            let mut env = Env80::new(cw);
            #[allow(clippy::redundant_closure_call)]
            let r = $e(&mut env);
            let r = if env.stops() { a } else { r };
            if $name != "fscale" || !makers_differ(a, b, cw, f80::Class::Zero) {
                same($name, a, b, cw, (r, sw(&env)), (n.st0, n.sw), C1 | 0x3f);
            }
        })*};
    }
    ops! {
        "fadd st(0), st(1)" |e: &mut _| f80::add(a, b, e);
        "fsub st(0), st(1)" |e: &mut _| f80::sub(a, b, e);
        "fsubr st(0), st(1)" |e: &mut _| f80::sub(b, a, e);
        "fmul st(0), st(1)" |e: &mut _| f80::mul(a, b, e);
        "fdiv st(0), st(1)" |e: &mut _| f80::div(a, b, e);
        "fdivr st(0), st(1)" |e: &mut _| f80::div(b, a, e);
        "fsqrt" |e: &mut _| f80::sqrt(a, e);
        "frndint" |e: &mut _| f80::round_to_integral(a, e);
        "fscale" |e: &mut _| f80::scale(a, b, e);
    }
    for (signal, n) in
        [(true, native!("fcom st(1)", cw, a, b, [0u8; 16])), (false, native!("fucom st(1)", cw, a, b, [0u8; 16]))]
    {
        let mut env = Env80::new(cw);
        let c = match f80::compare(a, b, signal, &mut env) {
            None => 0x4500,
            Some(Ordering::Equal) => 0x4000,
            Some(Ordering::Less) => 0x100,
            Some(Ordering::Greater) => 0,
        };
        let conditions = if env.stops() { 0x3f } else { 0x3f | CONDITIONS };
        same("compare", a, b, cw, (a, sw(&env) | c), (n.st0, n.sw), conditions);
    }
    for (nearest, n) in [(false, native!("fprem", cw, a, b, [0u8; 16])), (true, native!("fprem1", cw, a, b, [0u8; 16]))]
    {
        let mut env = Env80::new(cw);
        let r = f80::rem(a, b, nearest, &mut env);
        let value = if env.stops() { a } else { r.value };
        let c = match r.reduction {
            f80::Reduction::Complete(q) => {
                let q = u16::from(q);
                (q & 1) << 9 | (q >> 1 & 1) << 14 | (q >> 2 & 1) << 8
            }
            f80::Reduction::Partial => 0x400,
            f80::Reduction::None => 0,
        };
        let bits = if env.raised & 1 != 0 || env.stops() { 0x3f } else { 0x3f | CONDITIONS };
        if makers_differ(a, b, cw, f80::Class::Infinity) {
            continue;
        }
        same(if nearest { "fprem1" } else { "fprem" }, a, b, cw, (value, env.raised as u16 | c), (n.st0, n.sw), bits);
    }
    let n = native!("fxtract", cw, a, b, [0u8; 16]);
    let mut env = Env80::new(cw);
    let (exp, sig) = f80::extract(a, &mut env);
    if !env.stops() {
        same("fxtract", a, b, cw, (sig, sw(&env)), (n.st0, n.sw), 0x3f);
        same("fxtract", a, b, cw, (exp, 0), (n.st1, 0), 0);
    } else {
        same("fxtract", a, b, cw, (a, sw(&env)), (n.st0, n.sw), 0x3f);
    }
}

fn stores(a: F80, cw: u16) {
    const OLD: [u8; 16] = [0xa5; 16];
    macro_rules! ops {
        ($($name:literal $e:expr;)*) => {$({
            let n = native!($name, cw, a, F80::ONE, OLD);
            let mut env = Env80::new(cw);
            let mut mem = OLD;
            #[allow(clippy::redundant_closure_call)]
            let r = $e(&mut env);
            if env.unmasked() & 0x1f == 0 {
                mem[..r.len()].copy_from_slice(&r);
            }
            assert_eq!(mem, n.mem, "{} {a:x?} cw {cw:03x}: {env:x?}, native {:04x}", $name, n.sw);
            same($name, a, a, cw, (a, sw(&env)), (a, n.sw), C1 | 0x3f);
        })*};
    }
    ops! {
        "fst dword ptr [{m}]" |e: &mut _| f80::to_f32(a, e).to_le_bytes();
        "fst qword ptr [{m}]" |e: &mut _| f80::to_f64(a, e).to_le_bytes();
        "fist word ptr [{m}]" |e: &mut Env80| (f80::to_int(a, 16, e.round(), e) as i16).to_le_bytes();
        "fist dword ptr [{m}]" |e: &mut Env80| (f80::to_int(a, 32, e.round(), e) as i32).to_le_bytes();
        "fld st(0); fistp qword ptr [{m}]" |e: &mut Env80| f80::to_int(a, 64, e.round(), e).to_le_bytes();
        "fisttp word ptr [{m}]" |e: &mut _| (f80::to_int(a, 16, Round::Zero, e) as i16).to_le_bytes();
        "fisttp dword ptr [{m}]" |e: &mut _| (f80::to_int(a, 32, Round::Zero, e) as i32).to_le_bytes();
        "fisttp qword ptr [{m}]" |e: &mut _| f80::to_int(a, 64, Round::Zero, e).to_le_bytes();
        "fbstp tbyte ptr [{m}]" |e: &mut _| f80::to_bcd(a, e);
    }
}

fn memory_operands(a: F80, s: u32, d: u64, cw: u16) {
    macro_rules! ops {
        ($($name:literal $mem:expr, $e:expr;)*) => {$({
            let mut mem = [0u8; 16];
            mem[..$mem.to_le_bytes().len()].copy_from_slice(&$mem.to_le_bytes());
            let n = native!($name, cw, a, F80::ONE, mem);
            let mut env = Env80::new(cw);
            #[allow(clippy::redundant_closure_call)]
            let r = $e(&mut env);
            let stops = if $name.starts_with("fld") { env.unmasked() & 1 != 0 } else { env.stops() };
            let r = if stops { a } else { r };
            same($name, a, F80 { m: d, se: 0 }, cw, (r, sw(&env)), (n.st0, n.sw), C1 | 0x3f);
        })*};
    }
    ops! {
        "fadd dword ptr [{m}]" s, |e: &mut _| f80::add(a, f80::widen32(s, e), e);
        "fadd qword ptr [{m}]" d, |e: &mut _| f80::add(a, f80::widen64(d, e), e);
        "fmul qword ptr [{m}]" d, |e: &mut _| f80::mul(a, f80::widen64(d, e), e);
        "fdiv qword ptr [{m}]" d, |e: &mut _| f80::div(a, f80::widen64(d, e), e);
        "fdivr dword ptr [{m}]" s, |e: &mut _| f80::div(f80::widen32(s, e), a, e);
        "fld dword ptr [{m}]" s, |e: &mut _| f80::from_f32(s, e);
        "fld qword ptr [{m}]" d, |e: &mut _| f80::from_f64(d, e);
        "fild word ptr [{m}]" d, |_: &mut Env80| f80::from_i64((d as i16).into());
        "fild dword ptr [{m}]" d, |_: &mut Env80| f80::from_i64((d as i32).into());
        "fild qword ptr [{m}]" d, |_: &mut Env80| f80::from_i64(d as i64);
    }
}

#[test]
fn arithmetic_on_hard_values() {
    // each pair in a twelfth of the modes, each mode on a twelfth of the pairs
    let hard = hard80();
    for (i, cw) in modes().into_iter().enumerate() {
        let pairs = hard.iter().flat_map(|&a| hard.iter().map(move |&b| (a, b)));
        for (a, b) in pairs.skip(i % 12).step_by(12) {
            arithmetic(a, b, cw);
        }
    }
}

#[test]
fn arithmetic_on_random_values() {
    let (mut rng, modes) = (rng(), modes());
    for _ in 0..50_000 {
        let (a, mut b) = (rng.f80(), rng.f80());
        if rng.below(4) == 0 {
            b = F80 {
                m: a.m ^ rng.below(16),
                se: a.se.wrapping_add(rng.below(4) as u16) ^ (rng.below(2) as u16) << 15,
            };
        }
        arithmetic(a, b, rng.pick(&modes));
    }
}

#[test]
fn stores_in_every_mode() {
    let (mut rng, modes) = (rng(), modes());
    for &cw in &modes {
        for a in hard80() {
            stores(a, cw);
        }
    }
    for _ in 0..100_000 {
        stores(rng.f80(), rng.pick(&modes));
    }
}

#[test]
fn memory_operands_in_every_mode() {
    let (mut rng, modes) = (rng(), modes());
    for &cw in &modes {
        for a in hard80() {
            for (s, d) in hard(23, 8).into_iter().zip(hard(52, 11)) {
                memory_operands(a, s as u32, d, cw);
            }
        }
    }
    for _ in 0..50_000 {
        memory_operands(rng.f80(), rng.f32(), rng.f64(), rng.pick(&modes));
    }
}

#[test]
fn packed_bcd_loads() {
    let mut rng = rng();
    for _ in 0..10_000 {
        let mut mem = [0u8; 16];
        let digits = rng.below(19) as usize;
        for i in 0..digits {
            mem[i / 2] |= (rng.below(10) as u8) << (i % 2 * 4);
        }
        mem[9] = (rng.below(2) as u8) << 7;
        let n = native!("fbld tbyte ptr [{m}]", 0x37fu16, F80::ONE, F80::ONE, mem);
        let ten = core::array::from_fn(|i| mem[i]);
        assert_eq!(f80::from_bcd(ten), n.st0, "{ten:x?}");
    }
}
