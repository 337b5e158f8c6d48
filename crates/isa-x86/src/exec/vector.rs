//! The vector half of the executing vocabulary, on `u128`. Lane loops are written so that LLVM makes them SIMD instructions;
//! floating point is `softfloat`'s, which runs on the host's arithmetic where that is exact.

use core::array::from_fn;
use core::cmp::Ordering;

use guest_api::{
    Align, Bin, EmitVector, F1, F2, Fp, FpCvt, FpMode, FpOrder, FpRel, Lane, Space, Unit, V1, V2, Width, XSlot,
};
use mem::Access;
use softfloat::{Env, Round, flag, sse};
use zerocopy::transmute;

use super::{Exec, crosses_page};
use crate::cpu::{Cpu, cr0, cr4};
use crate::fault::{NM, Stop, UD, XM};
use crate::platform::Platform;
use crate::sem::system::{INTERRUPT_FLAG, SUPERVISOR};
use crate::sem::vec::{MM, MMX, SSE};
use crate::sys::interrupts::in_64_bit_mode;

/// Lane-wise operations for one lane size.
macro_rules! lanes {
    ($($m:ident $u:ident $i:ident $n:literal $bits:literal;)*) => { $(
        mod $m {
            use super::*;
            pub type Lanes = [$u; $n];

            #[inline(always)]
            pub fn map(a: u128, f: impl Fn($u) -> $u) -> u128 {
                let a: Lanes = transmute!(a);
                transmute!(a.map(f))
            }
            #[inline(always)]
            pub fn map2(a: u128, b: u128, f: impl Fn($u, $u) -> $u) -> u128 {
                let (a, b): (Lanes, Lanes) = (transmute!(a), transmute!(b));
                let r: Lanes = from_fn(|k| f(a[k], b[k]));
                transmute!(r)
            }
            #[inline(always)]
            pub fn mask(c: bool) -> $u {
                if c { $u::MAX } else { 0 }
            }
            #[inline(always)]
            pub fn v2(op: V2, a: u128, b: u128) -> u128 {
                match op {
                    V2::Add(_) => map2(a, b, $u::wrapping_add),
                    V2::Sub(_) => map2(a, b, $u::wrapping_sub),
                    V2::AddSatS(_) => map2(a, b, |a, b| (a as $i).saturating_add(b as $i) as $u),
                    V2::AddSatU(_) => map2(a, b, $u::saturating_add),
                    V2::SubSatS(_) => map2(a, b, |a, b| (a as $i).saturating_sub(b as $i) as $u),
                    V2::SubSatU(_) => map2(a, b, $u::saturating_sub),
                    V2::MinS(_) => map2(a, b, |a, b| (a as $i).min(b as $i) as $u),
                    V2::MinU(_) => map2(a, b, Ord::min),
                    V2::MaxS(_) => map2(a, b, |a, b| (a as $i).max(b as $i) as $u),
                    V2::MaxU(_) => map2(a, b, Ord::max),
                    V2::AvgU(_) => map2(a, b, |a, b| (a | b) - ((a ^ b) >> 1)),
                    V2::Eq(_) => map2(a, b, |a, b| mask(a == b)),
                    V2::GtS(_) => map2(a, b, |a, b| mask(a as $i > b as $i)),
                    _ => map2(a, b, $u::wrapping_mul),
                }
            }
            #[inline(always)]
            pub fn abs(a: u128) -> u128 {
                map(a, |v| (v as $i).wrapping_abs() as $u)
            }
            #[inline(always)]
            pub fn shift(op: Bin, a: u128, n: u64) -> u128 {
                if op == Bin::ShrS {
                    let n = n.min($bits - 1) as u32;
                    return map(a, |v| ((v as $i) >> n) as $u);
                }
                if n >= $bits {
                    return 0;
                }
                let n = n as u32;
                if op == Bin::Shl { map(a, |v| v << n) } else { map(a, |v| v >> n) }
            }
            #[inline(always)]
            pub fn shuffle(sel: [u8; 16], a: u128, b: u128) -> u128 {
                let t: [$u; 2 * $n] = transmute!([a, b]);
                let r: Lanes = from_fn(|k| t[sel[k] as usize % (2 * $n)]);
                transmute!(r)
            }
            #[inline(always)]
            pub fn movemask(a: u128) -> u64 {
                let a: Lanes = transmute!(a);
                (0..$n).fold(0, |m, k| m | u64::from(a[k] >> ($bits - 1)) << k)
            }
        }
    )* };
}
lanes! {
    b8 u8 i8 16 8;
    b16 u16 i16 8 16;
    b32 u32 i32 4 32;
    b64 u64 i64 2 64;
}

/// `$f` of the module for `$lane`.
macro_rules! by_lane {
    ($lane:expr, $f:ident($($arg:expr),*)) => {
        match $lane {
            Lane::B8 => b8::$f($($arg),*),
            Lane::B16 => b16::$f($($arg),*),
            Lane::B32 => b32::$f($($arg),*),
            Lane::B64 => b64::$f($($arg),*),
        }
    };
}

#[inline(always)]
fn v2(op: V2, a: u128, b: u128) -> u128 {
    match op {
        V2::And => a & b,
        V2::Or => a | b,
        V2::Xor => a ^ b,
        V2::AndNot => !a & b,
        V2::Add(l)
        | V2::Sub(l)
        | V2::AddSatS(l)
        | V2::AddSatU(l)
        | V2::SubSatS(l)
        | V2::SubSatU(l)
        | V2::MinS(l)
        | V2::MinU(l)
        | V2::MaxS(l)
        | V2::MaxU(l)
        | V2::AvgU(l)
        | V2::Eq(l)
        | V2::GtS(l)
        | V2::MulLo(l) => by_lane!(l, v2(op, a, b)),
        V2::MulHiS16 => b16::map2(a, b, |a, b| ((i32::from(a as i16) * i32::from(b as i16)) >> 16) as u16),
        V2::MulHiU16 => b16::map2(a, b, |a, b| ((u32::from(a) * u32::from(b)) >> 16) as u16),
        V2::MulRound16 => {
            b16::map2(a, b, |a, b| ((((i32::from(a as i16) * i32::from(b as i16)) >> 14) + 1) >> 1) as u16)
        }
        V2::MulEvenU32 => b64::map2(a, b, |a, b| u64::from(a as u32) * u64::from(b as u32)),
        V2::MulEvenS32 => b64::map2(a, b, |a, b| (i64::from(a as i32) * i64::from(b as i32)) as u64),
        V2::Dot16 => b32::map2(a, b, |a, b| {
            let low = i32::from(a as i16) * i32::from(b as i16);
            let high = (a as i32 >> 16) * (b as i32 >> 16);
            low.wrapping_add(high) as u32
        }),
        V2::DotSat8 => b16::map2(a, b, |a, b| {
            let low = i32::from(a as u8) * i32::from(b as i8);
            let high = i32::from(a >> 8) * i32::from(b as i16 >> 8);
            (low + high).clamp(i16::MIN.into(), i16::MAX.into()) as u16
        }),
        V2::Sad8 => {
            let (a, b): (b8::Lanes, b8::Lanes) = (transmute!(a), transmute!(b));
            let sum = |from: usize| (from..from + 8).map(|k| u64::from(a[k].abs_diff(b[k]))).sum();
            let r: b64::Lanes = [sum(0), sum(8)];
            transmute!(r)
        }
        V2::NarrowS16 => narrow16(a, b, |v| v.clamp(i8::MIN.into(), i8::MAX.into()) as u8),
        V2::NarrowU16 => narrow16(a, b, |v| v.clamp(0, u8::MAX.into()) as u8),
        V2::NarrowS32 => narrow32(a, b, |v| v.clamp(i16::MIN.into(), i16::MAX.into()) as u16),
        V2::NarrowU32 => narrow32(a, b, |v| v.clamp(0, u16::MAX.into()) as u16),
        V2::Swizzle => {
            let (a, b): (b8::Lanes, b8::Lanes) = (transmute!(a), transmute!(b));
            let r: b8::Lanes = from_fn(|k| if b[k] < 16 { a[b[k] as usize % 16] } else { 0 });
            transmute!(r)
        }
    }
}

#[inline(always)]
fn narrow16(a: u128, b: u128, f: impl Fn(i16) -> u8) -> u128 {
    let v: [i16; 16] = transmute!([a, b]);
    transmute!(v.map(f))
}
#[inline(always)]
fn narrow32(a: u128, b: u128, f: impl Fn(i32) -> u16) -> u128 {
    let v: [i32; 8] = transmute!([a, b]);
    transmute!(v.map(f))
}

#[inline(always)]
fn v1(op: V1, a: u128) -> u128 {
    let (b, w, d): (b8::Lanes, b16::Lanes, b32::Lanes) = (transmute!(a), transmute!(a), transmute!(a));
    let r16 = |f: fn(u8) -> u16| -> u128 {
        let r: b16::Lanes = from_fn(|k| f(b[k]));
        transmute!(r)
    };
    let r32 = |f: fn(u16) -> u32| -> u128 {
        let r: b32::Lanes = from_fn(|k| f(w[k]));
        transmute!(r)
    };
    let r64 = |f: fn(u32) -> u64| -> u128 {
        let r: b64::Lanes = from_fn(|k| f(d[k]));
        transmute!(r)
    };
    match op {
        V1::Abs(l) => by_lane!(l, abs(a)),
        V1::WidenU8 => r16(u16::from),
        V1::WidenS8 => r16(|v| v as i8 as u16),
        V1::WidenU16 => r32(u32::from),
        V1::WidenS16 => r32(|v| v as i16 as u32),
        V1::WidenU32 => r64(u64::from),
        V1::WidenS32 => r64(|v| v as i32 as u64),
    }
}

/// An operation of 32-bit numbers on lane `k`.
#[inline(always)]
fn f32_op(op: F2, k: usize, a: u32, b: u32, env: &mut Env) -> u32 {
    match op {
        F2::Add => sse::add32(a, b, env),
        F2::AddSub if k % 2 == 1 => sse::add32(a, b, env),
        F2::Sub | F2::AddSub => sse::sub32(a, b, env),
        F2::Mul => sse::mul32(a, b, env),
        F2::Div => sse::div32(a, b, env),
        F2::Min => sse::min32(a, b, env),
        F2::Max => sse::max32(a, b, env),
    }
}
/// An operation of 64-bit numbers on lane `k`.
#[inline(always)]
fn f64_op(op: F2, k: usize, a: u64, b: u64, env: &mut Env) -> u64 {
    match op {
        F2::Add => sse::add64(a, b, env),
        F2::AddSub if k % 2 == 1 => sse::add64(a, b, env),
        F2::Sub | F2::AddSub => sse::sub64(a, b, env),
        F2::Mul => sse::mul64(a, b, env),
        F2::Div => sse::div64(a, b, env),
        F2::Min => sse::min64(a, b, env),
        F2::Max => sse::max64(a, b, env),
    }
}

/// Packed arithmetic on the host's, all lanes at once; `None` where a lane needs more than that. The conditions are those of
/// `softfloat::sse`: rounding to nearest, the precision exception masked and already recorded, no denormal operand, results clear
/// of infinity and of the underflow threshold.
macro_rules! host_lanes {
    ($($name:ident $m:ident $f:ident $u:ident $p:literal;)*) => { $(
        #[inline(always)]
        fn $name(op: F2, a: u128, b: u128) -> Option<u128> {
            const UNIT: $u = 1 << ($p - 1);
            const INF: $u = $f::INFINITY.to_bits();
            let host = |f: fn($f, $f) -> $f| $m::map2(a, b, |a, b| f($f::from_bits(a), $f::from_bits(b)).to_bits());
            // Where a result of zero is exact: always in sums, from a zero in products.
            let (r, exact_zero) = match op {
                F2::Add => (host(|a, b| a + b), u128::MAX),
                F2::Sub => (host(|a, b| a - b), u128::MAX),
                F2::Mul => (host(|a, b| a * b), $m::map2(a, b, |a, b| $m::mask((a << 1 == 0) | (b << 1 == 0)))),
                F2::Div => (host(|a, b| a / b), 0),
                F2::AddSub | F2::Min | F2::Max => return None,
            };
            let denormal = |v: $u| (v << 1).wrapping_sub(1) < 2 * UNIT - 1;
            let operands = $m::map2(a, b, |a, b| $m::mask(denormal(a) | denormal(b)));
            let results = $m::map2(r, exact_zero, |r, exact_zero| {
                let clear = (r << 1).wrapping_sub(4 * UNIT) < 2 * INF - 4 * UNIT;
                $m::mask(!(clear | ((r << 1 == 0) & (exact_zero != 0))))
            });
            (operands | results == 0).then_some(r)
        }
    )* };
}
host_lanes! {
    host_p32 b32 f32 u32 24;
    host_p64 b64 f64 u64 53;
}

/// The MXCSR under which [`host_p32`] and [`host_p64`] hold.
#[inline(always)]
pub(crate) fn host_rounds(mxcsr: u32) -> bool {
    const PE: u32 = flag::PE;
    const PM: u32 = flag::PE << softfloat::mxcsr::MASK_SHIFT;
    mxcsr & (3 << softfloat::mxcsr::RC_SHIFT | PE | PM) == PE | PM
}

#[inline(always)]
fn rounding(mode: FpMode, env: &Env) -> Round {
    match mode {
        FpMode::Current => env.round(),
        FpMode::Nearest => Round::Nearest,
        FpMode::Down => Round::Down,
        FpMode::Up => Round::Up,
        FpMode::Zero => Round::Zero,
    }
}

const SIGN32: u32 = 1 << 31;
const INF32: u32 = 0x7f80_0000;
const QUIET32: u32 = 1 << 22;
const INDEFINITE32: u32 = SIGN32 | INF32 | QUIET32;

/// RCPPS: correctly rounded, which is within what the manual allows; denormals in and out are zeros.
fn rcp(a: u32) -> u32 {
    let x = f32::from_bits(a);
    if x.is_nan() {
        return a | QUIET32;
    }
    if x.is_subnormal() || x == 0.0 {
        return a & SIGN32 | INF32;
    }
    let r = 1.0 / x;
    if r.is_subnormal() { a & SIGN32 } else { r.to_bits() }
}
/// RSQRTPS, likewise.
fn rsqrt(a: u32) -> u32 {
    let x = f32::from_bits(a);
    if x.is_nan() {
        return a | QUIET32;
    }
    if x.is_subnormal() || x == 0.0 {
        return a & SIGN32 | INF32;
    }
    if x < 0.0 {
        return INDEFINITE32;
    }
    ((1.0 / f64::from(x).sqrt()) as f32).to_bits()
}

#[inline(always)]
fn f32_one(op: F1, a: u32, env: &mut Env) -> u32 {
    match op {
        F1::Sqrt => sse::sqrt32(a, env),
        F1::Rcp => rcp(a),
        F1::Rsqrt => rsqrt(a),
        F1::Round(r) => sse::round32(a, rounding(r.mode, env), env),
    }
}
#[inline(always)]
fn f64_one(op: F1, a: u64, env: &mut Env) -> u64 {
    match op {
        F1::Round(r) => sse::round64(a, rounding(r.mode, env), env),
        // The approximations have no 64-bit form.
        F1::Sqrt | F1::Rcp | F1::Rsqrt => sse::sqrt64(a, env),
    }
}

/// The low lane of `a` replaced.
#[inline(always)]
fn low32(a: u128, v: u32) -> u128 {
    a & !u128::from(u32::MAX) | u128::from(v)
}
#[inline(always)]
fn low64(a: u128, v: u64) -> u128 {
    a & !u128::from(u64::MAX) | u128::from(v)
}

/// `f32`/`f64` bit patterns of each computed lane of `a` and `b` through the function for their size.
#[inline(always)]
fn by_shape(
    shape: Fp,
    a: u128,
    b: u128,
    env: &mut Env,
    f: impl Fn(usize, u32, u32, &mut Env) -> u32,
    d: impl Fn(usize, u64, u64, &mut Env) -> u64,
) -> u128 {
    match shape {
        Fp::S32 => low32(a, f(0, a as u32, b as u32, env)),
        Fp::S64 => low64(a, d(0, a as u64, b as u64, env)),
        Fp::P32 => {
            let (a, b): (b32::Lanes, b32::Lanes) = (transmute!(a), transmute!(b));
            let r: b32::Lanes = from_fn(|k| f(k, a[k], b[k], env));
            transmute!(r)
        }
        Fp::P64 => {
            let (a, b): (b64::Lanes, b64::Lanes) = (transmute!(a), transmute!(b));
            let r: b64::Lanes = from_fn(|k| d(k, a[k], b[k], env));
            transmute!(r)
        }
    }
}

impl Exec<'_> {
    /// Ends a floating-point operation: merges its exceptions into MXCSR and raises the unmasked ones (SDM 1 11.5).
    #[inline(always)]
    fn end_fp(&mut self, mut env: Env) -> Result<(), Stop> {
        if env.raised == 0 {
            return Ok(());
        }
        let trap = env.finish();
        self.cpu.mxcsr = env.mxcsr;
        if trap { Err(self.simd_exception()) } else { Ok(()) }
    }

    #[cold]
    fn simd_exception(&mut self) -> Stop {
        let vector = if self.cpu.cr4 & cr4::OSXMMEXCPT != 0 { XM } else { UD };
        self.fault(vector, None)
    }

    /// Why a unit that is not at hand cannot be used: of vector units in the order of SDM 3 table 13-1 and 2 2.4.
    fn refuse(&mut self, unit: Unit) -> Result<(), Stop> {
        if unit == SUPERVISOR {
            return Err(if in_64_bit_mode(self.cpu) { self.gp0() } else { self.ud() });
        }
        if unit == INTERRUPT_FLAG {
            return Err(self.gp0());
        }
        let c = &self.cpu;
        let vector = if c.cr0 & cr0::EM != 0 || unit != MMX && c.cr4 & cr4::OSFXSR == 0 {
            UD
        } else if c.cr0 & cr0::TS != 0 {
            NM
        } else {
            return if unit == SSE { Ok(()) } else { crate::x87::wait(self) };
        };
        Err(self.fault(vector, None))
    }

    #[inline(always)]
    fn is_aligned(&mut self, align: Align, va: u64) -> Result<(), Stop> {
        if align == Align::Natural && va & 15 != 0 { Err(self.gp0()) } else { Ok(()) }
    }
}

/// Whether `unit` can be used without a look at anything else. Of [`MMX`] that is never known: an x87 exception may be pending.
#[inline(always)]
pub(crate) fn at_hand(c: &Cpu, unit: Unit) -> bool {
    match unit {
        SSE => c.cr0 & (cr0::EM | cr0::TS) | (c.cr4 & cr4::OSFXSR ^ cr4::OSFXSR) == 0,
        SUPERVISOR => c.cpl == 0 && in_64_bit_mode(c),
        INTERRUPT_FLAG => c.cr0 & cr0::PE == 0 || c.cpl <= c.iopl(),
        _ => false,
    }
}

#[cold]
#[inline(never)]
fn refuse(cpu: &mut Cpu, platform: &mut dyn Platform, unit: Unit) -> Result<(), Stop> {
    Exec::new(cpu, platform).refuse(unit)
}

/// Loads 16 bytes that are not all in one page of RAM in the TLB. The value is in [`Cpu::loaded`].
#[cold]
#[inline(never)]
fn load_missed(cpu: &mut Cpu, platform: &mut dyn Platform, va: u64, s: Space) -> Result<(), Stop> {
    let mut cx = Exec::new(cpu, platform);
    if crosses_page(va, 16) {
        // As of any load: of a half in the first page as well.
        cx.translate_pair(va, Access::Read, s)?;
    }
    let low = cx.load_linear(Width::W64, va, s)?;
    let high = cx.load_linear(Width::W64, va.wrapping_add(8), s)?;
    cx.cpu.loaded = [low, high];
    Ok(())
}

/// Stores 16 bytes, the low half first.
#[cold]
#[inline(never)]
fn store_missed(cpu: &mut Cpu, platform: &mut dyn Platform, va: u64, v: [u64; 2], s: Space) -> Result<(), Stop> {
    let mut cx = Exec::new(cpu, platform);
    cx.probe_linear(16, va, s)?;
    cx.store_linear(Width::W64, va, v[0], s)?;
    cx.store_linear(Width::W64, va.wrapping_add(8), v[1], s)
}

impl EmitVector for Exec<'_> {
    type X = u128;

    #[inline(always)]
    fn require(&mut self, unit: Unit) -> Result<(), Stop> {
        if at_hand(self.cpu, unit) {
            return Ok(());
        }
        if self.attempt {
            return Err(Stop);
        }
        refuse(self.cpu, self.platform, unit)
    }

    #[inline(always)]
    fn getx(&mut self, s: XSlot) -> u128 {
        if s.0 < MM { self.cpu.xmm[(s.0 & 15) as usize] } else { self.cpu.fpu.significand[(s.0 & 7) as usize].into() }
    }
    #[inline(always)]
    fn putx(&mut self, s: XSlot, v: u128) {
        if s.0 < MM {
            self.cpu.xmm[(s.0 & 15) as usize] = v;
        } else {
            let n = (s.0 & 7) as usize;
            self.cpu.fpu.significand[n] = v as u64;
            self.cpu.fpu.sign_exp[n] = 0xffff;
        }
    }
    #[inline(always)]
    fn loadx(&mut self, align: Align, addr: u64, s: Space) -> Result<u128, Stop> {
        let va = self.linear(s, addr, 16, false)?;
        self.is_aligned(align, va)?;
        if let Some(v) = self.cpu.mem.load::<u128>(va) {
            return Ok(v);
        }
        if self.attempt {
            return Err(Stop);
        }
        load_missed(self.cpu, self.platform, va, s)?;
        let [low, high] = self.cpu.loaded.map(u128::from);
        Ok(low | high << 64)
    }
    #[inline(always)]
    fn storex(&mut self, align: Align, addr: u64, v: u128, s: Space) -> Result<(), Stop> {
        let va = self.linear(s, addr, 16, true)?;
        self.is_aligned(align, va)?;
        if self.cpu.mem.store(va, v) {
            return Ok(());
        }
        if self.attempt {
            return Err(Stop);
        }
        store_missed(self.cpu, self.platform, va, [v as u64, (v >> 64) as u64], s)
    }

    #[inline(always)]
    fn immx(&mut self, v: u128) -> u128 {
        v
    }
    #[inline(always)]
    fn v1(&mut self, op: V1, a: u128) -> u128 {
        v1(op, a)
    }
    #[inline(always)]
    fn v2(&mut self, op: V2, a: u128, b: u128) -> u128 {
        v2(op, a, b)
    }
    #[inline(always)]
    fn vshift(&mut self, op: Bin, lane: Lane, a: u128, n: u64) -> u128 {
        by_lane!(lane, shift(op, a, n))
    }
    #[inline(always)]
    fn shuffle(&mut self, lane: Lane, sel: [u8; 16], a: u128, b: u128) -> u128 {
        by_lane!(lane, shuffle(sel, a, b))
    }
    #[inline(always)]
    fn vselect(&mut self, mask: u128, then: u128, other: u128) -> u128 {
        then & mask | other & !mask
    }
    #[inline(always)]
    fn widen(&mut self, v: u64) -> u128 {
        v.into()
    }
    #[inline(always)]
    fn extract(&mut self, lane: Lane, n: u8, a: u128) -> u64 {
        let bits = 8 * lane.bytes() as u32;
        (a >> ((u32::from(n) * bits) & 127)) as u64 & u64::MAX >> (64 - bits)
    }
    #[inline(always)]
    fn insert(&mut self, lane: Lane, n: u8, a: u128, v: u64) -> u128 {
        let bits = 8 * lane.bytes() as u32;
        let at = (u32::from(n) * bits) & 127;
        let mask = u64::MAX >> (64 - bits);
        a & !(u128::from(mask) << at) | u128::from(v & mask) << at
    }
    #[inline(always)]
    fn movemask(&mut self, lane: Lane, a: u128) -> u64 {
        match lane {
            Lane::B8 => {
                // The product's top byte gathers bits 7, 15, .. 63: each power of two moves one of them there, no two meet.
                let gather = |v: u64| (v & 0x8080_8080_8080_8080).wrapping_mul(0x0002_0408_1020_4081) >> 56;
                gather(a as u64) | gather((a >> 64) as u64) << 8
            }
            _ => by_lane!(lane, movemask(a)),
        }
    }
    #[inline(always)]
    fn is_zero(&mut self, a: u128) -> bool {
        a == 0
    }

    #[inline(always)]
    fn f2(&mut self, op: F2, shape: Fp, a: u128, b: u128) -> Result<u128, Stop> {
        if host_rounds(self.cpu.mxcsr) {
            let r = match shape {
                Fp::P32 => host_p32(op, a, b),
                Fp::P64 => host_p64(op, a, b),
                Fp::S32 | Fp::S64 => None,
            };
            if let Some(r) = r {
                return Ok(r);
            }
        }
        let mut env = Env::new(self.cpu.mxcsr);
        let r = by_shape(
            shape,
            a,
            b,
            &mut env,
            |k, a, b, env| f32_op(op, k, a, b, env),
            |k, a, b, env| f64_op(op, k, a, b, env),
        );
        self.end_fp(env)?;
        Ok(r)
    }
    #[inline(always)]
    fn f1(&mut self, op: F1, shape: Fp, a: u128, b: u128) -> Result<u128, Stop> {
        let mut env = Env::new(self.cpu.mxcsr);
        let r = by_shape(shape, a, b, &mut env, |_, _, b, env| f32_one(op, b, env), |_, _, b, env| f64_one(op, b, env));
        if let F1::Round(r) = op
            && r.quiet
        {
            env.raised &= !flag::PE;
        }
        self.end_fp(env)?;
        Ok(r)
    }
    #[inline(always)]
    fn fcmp(&mut self, rel: FpRel, shape: Fp, a: u128, b: u128) -> Result<u128, Stop> {
        let mut env = Env::new(self.cpu.mxcsr);
        let rel = rel as u8;
        let r = by_shape(
            shape,
            a,
            b,
            &mut env,
            |_, a, b, env| if sse::cmp32(a, b, rel, env) { u32::MAX } else { 0 },
            |_, a, b, env| if sse::cmp64(a, b, rel, env) { u64::MAX } else { 0 },
        );
        self.end_fp(env)?;
        Ok(r)
    }
    #[inline(always)]
    fn forder(&mut self, double: bool, signal: bool, a: u128, b: u128) -> Result<FpOrder<bool>, Stop> {
        let mut env = Env::new(self.cpu.mxcsr);
        let r = if double {
            sse::comi64(a as u64, b as u64, signal, &mut env)
        } else {
            sse::comi32(a as u32, b as u32, signal, &mut env)
        };
        self.end_fp(env)?;
        Ok(FpOrder { less: r == Some(Ordering::Less), equal: r == Some(Ordering::Equal), unordered: r.is_none() })
    }
    #[inline(always)]
    fn fcvt(&mut self, op: FpCvt, a: u128, b: u128) -> Result<u128, Stop> {
        let mut env = Env::new(self.cpu.mxcsr);
        let e = &mut env;
        let (d, q): (b32::Lanes, b64::Lanes) = (transmute!(b), transmute!(b));
        let r: u128 = match op {
            FpCvt::F32ToF64 => low64(a, sse::f32_to_f64(d[0], e)),
            FpCvt::F64ToF32 => low32(a, sse::f64_to_f32(q[0], e)),
            FpCvt::PackedF32ToF64 => transmute!([sse::f32_to_f64(d[0], e), sse::f32_to_f64(d[1], e)]),
            FpCvt::PackedF64ToF32 => transmute!([sse::f64_to_f32(q[0], e), sse::f64_to_f32(q[1], e), 0, 0]),
            FpCvt::PackedI32ToF32 => transmute!(d.map(|v| sse::i32_to_f32(v as i32, e))),
            FpCvt::PackedI32ToF64 => {
                transmute!([sse::i32_to_f64(d[0] as i32, e), sse::i32_to_f64(d[1] as i32, e)])
            }
            FpCvt::PackedF32ToI32(mode) => {
                let round = rounding(mode, e);
                transmute!(d.map(|v| sse::f32_to_i32(v, round, e)))
            }
            FpCvt::PackedF64ToI32(mode) => {
                let round = rounding(mode, e);
                transmute!([sse::f64_to_i32(q[0], round, e), sse::f64_to_i32(q[1], round, e), 0, 0])
            }
            FpCvt::LowI32ToF32 => {
                let low: u64 = transmute!([sse::i32_to_f32(d[0] as i32, e), sse::i32_to_f32(d[1] as i32, e)]);
                low64(a, low)
            }
            FpCvt::LowF32ToI32(mode) => {
                let round = rounding(mode, e);
                transmute!([sse::f32_to_i32(d[0], round, e), sse::f32_to_i32(d[1], round, e), 0, 0])
            }
        };
        self.end_fp(env)?;
        Ok(r)
    }
    #[inline(always)]
    fn to_int(&mut self, double: bool, wide: bool, mode: FpMode, a: u128) -> Result<u64, Stop> {
        let mut env = Env::new(self.cpu.mxcsr);
        let round = rounding(mode, &env);
        let r = match (double, wide) {
            (false, false) => u64::from(sse::f32_to_i32(a as u32, round, &mut env) as u32),
            (false, true) => sse::f32_to_i64(a as u32, round, &mut env) as u64,
            (true, false) => u64::from(sse::f64_to_i32(a as u64, round, &mut env) as u32),
            (true, true) => sse::f64_to_i64(a as u64, round, &mut env) as u64,
        };
        self.end_fp(env)?;
        Ok(r)
    }
    #[inline(always)]
    fn to_float(&mut self, double: bool, wide: bool, a: u128, v: u64) -> Result<u128, Stop> {
        let mut env = Env::new(self.cpu.mxcsr);
        let v = if wide { v as i64 } else { i64::from(v as i32) };
        let r = if double { low64(a, sse::i64_to_f64(v, &mut env)) } else { low32(a, sse::i64_to_f32(v, &mut env)) };
        self.end_fp(env)?;
        Ok(r)
    }
}
