//! Integer vector operations: WebAssembly's own where it has them, else short sequences that compute the same.

use guest_api::{Bin, FpCvt, FpMode, Lane, V1, V2};
use ir::{Inst, Op, Val};
use wasm_encoder::InstructionSink;

use crate::emit::Emitter;
use crate::place::Place;

/// Whether `op` can be generated: what exists, but for conversions to integers that round down or up, which no guest has. (The result
/// would depend on denormals being taken for zeros.)
pub fn supports(op: Op) -> bool {
    match op {
        Op::ToInt(_, _, mode)
        | Op::FCvt(FpCvt::PackedF32ToI32(mode) | FpCvt::PackedF64ToI32(mode) | FpCvt::LowF32ToI32(mode)) => {
            !matches!(mode, FpMode::Down | FpMode::Up)
        }
        _ => ir::exists(op),
    }
}

/// The instruction of each lane size; `$sink` is the emitter's.
macro_rules! by_lane {
    ($sink:expr, $lane:expr, $b8:ident $b16:ident $b32:ident $b64:ident) => {
        match $lane {
            Lane::B8 => $sink.$b8(),
            Lane::B16 => $sink.$b16(),
            Lane::B32 => $sink.$b32(),
            Lane::B64 => $sink.$b64(),
        }
    };
    ($sink:expr, $lane:expr, $b8:ident $b16:ident $b32:ident) => {
        match $lane {
            Lane::B8 => $sink.$b8(),
            Lane::B16 => $sink.$b16(),
            Lane::B32 | Lane::B64 => $sink.$b32(),
        }
    };
    ($sink:expr, $lane:expr, $b8:ident $b16:ident) => {
        match $lane {
            Lane::B8 => $sink.$b8(),
            Lane::B16 | Lane::B32 | Lane::B64 => $sink.$b16(),
        }
    };
}

/// Pushes what a pure operation computes.
pub(crate) fn compute(e: &mut Emitter<'_>, i: &Inst) {
    let [a, b, c, _] = i.args;
    match i.op {
        Op::GetX => e.get_slot(i),
        Op::ConstX => {
            // Making one takes engines several instructions, unless it is 0.
            match e.region.consts[i.imm as usize] {
                0 => _ = e.i().v128_const(0),
                v => {
                    let local = e.vector_const(v);
                    e.get(local);
                }
            }
        }
        Op::VSelect => {
            e.values(&[b, c, a]);
            e.i().v128_bitselect();
        }
        Op::Widen if e.is_widened(a) => e.value(a),
        Op::Widen => {
            e.i().v128_const(0);
            e.value(a);
            e.i().i64x2_replace_lane(0);
        }
        Op::V1(op) => {
            e.value(a);
            v1(&mut e.i(), op);
        }
        Op::V2(op) => v2(e, op, a, b),
        Op::VShift(op, lane) => shift(e, op, lane, a, b),
        Op::Shuffle(lane) => shuffle(e, lane, i.imm, a, b),
        Op::Extract(lane) => {
            e.value(a);
            extract(&mut e.i(), lane, i.imm as u8);
        }
        Op::Insert(lane) => insert(e, lane, i.imm as u8, a, b),
        Op::MoveMask(lane) => {
            e.value(a);
            by_lane!(e.i(), lane, i8x16_bitmask i16x8_bitmask i32x4_bitmask i64x2_bitmask);
            e.i().i64_extend_i32_u();
        }
        Op::IsZero => {
            e.value(a);
            e.i().v128_any_true().i32_eqz();
        }
        // Everything else has an effect.
        _ => _ = e.i().unreachable(),
    }
}

fn v1(s: &mut InstructionSink<'_>, op: V1) {
    match op {
        V1::Abs(lane) => by_lane!(s, lane, i8x16_abs i16x8_abs i32x4_abs i64x2_abs),
        V1::WidenS8 => s.i16x8_extend_low_i8x16_s(),
        V1::WidenS16 => s.i32x4_extend_low_i16x8_s(),
        V1::WidenS32 => s.i64x2_extend_low_i32x4_s(),
        V1::WidenU8 => s.i16x8_extend_low_i8x16_u(),
        V1::WidenU16 => s.i32x4_extend_low_i16x8_u(),
        V1::WidenU32 => s.i64x2_extend_low_i32x4_u(),
    };
}

fn v2(e: &mut Emitter<'_>, op: V2, a: Val, b: Val) {
    match op {
        V2::AndNot => {
            e.values(&[b, a]);
            e.i().v128_andnot();
            return;
        }
        V2::MulHiS16 => return mul_high_signed(e, a, b),
        V2::MulHiU16 => return mul_high_unsigned(e, a, b),
        V2::MulRound16 => return mul_round(e, a, b),
        V2::MulEvenS32 | V2::MulEvenU32 => {
            for v in [a, b] {
                let x = in_local(e, v);
                e.get(x).local_get(x).i8x16_shuffle(bytes_of(Lane::B32, [0, 2, 0, 2]));
            }
            let mut s = e.i();
            if op == V2::MulEvenS32 {
                s.i64x2_extmul_low_i32x4_s()
            } else {
                s.i64x2_extmul_low_i32x4_u()
            };
            return;
        }
        V2::DotSat8 => return dot_saturating(e, a, b),
        V2::Sad8 => return sad(e, a, b),
        _ => {}
    }
    e.values(&[a, b]);
    let mut s = e.i();
    match op {
        V2::And => s.v128_and(),
        V2::Or => s.v128_or(),
        V2::Xor => s.v128_xor(),
        V2::Add(l) => by_lane!(s, l, i8x16_add i16x8_add i32x4_add i64x2_add),
        V2::Sub(l) => by_lane!(s, l, i8x16_sub i16x8_sub i32x4_sub i64x2_sub),
        V2::AddSatS(l) => by_lane!(s, l, i8x16_add_sat_s i16x8_add_sat_s),
        V2::AddSatU(l) => by_lane!(s, l, i8x16_add_sat_u i16x8_add_sat_u),
        V2::SubSatS(l) => by_lane!(s, l, i8x16_sub_sat_s i16x8_sub_sat_s),
        V2::SubSatU(l) => by_lane!(s, l, i8x16_sub_sat_u i16x8_sub_sat_u),
        V2::MinS(l) => by_lane!(s, l, i8x16_min_s i16x8_min_s i32x4_min_s),
        V2::MinU(l) => by_lane!(s, l, i8x16_min_u i16x8_min_u i32x4_min_u),
        V2::MaxS(l) => by_lane!(s, l, i8x16_max_s i16x8_max_s i32x4_max_s),
        V2::MaxU(l) => by_lane!(s, l, i8x16_max_u i16x8_max_u i32x4_max_u),
        V2::AvgU(l) => by_lane!(s, l, i8x16_avgr_u i16x8_avgr_u),
        V2::Eq(l) => by_lane!(s, l, i8x16_eq i16x8_eq i32x4_eq i64x2_eq),
        V2::GtS(l) => by_lane!(s, l, i8x16_gt_s i16x8_gt_s i32x4_gt_s i64x2_gt_s),
        V2::MulLo(Lane::B32) => s.i32x4_mul(),
        V2::MulLo(_) => s.i16x8_mul(),
        V2::Dot16 => s.i32x4_dot_i16x8_s(),
        V2::NarrowS16 => s.i8x16_narrow_i16x8_s(),
        V2::NarrowS32 => s.i16x8_narrow_i32x4_s(),
        V2::NarrowU16 => s.i8x16_narrow_i16x8_u(),
        V2::NarrowU32 => s.i16x8_narrow_i32x4_u(),
        V2::Swizzle => s.i8x16_swizzle(),
        V2::AndNot
        | V2::MulHiS16
        | V2::MulHiU16
        | V2::MulRound16
        | V2::MulEvenS32
        | V2::MulEvenU32
        | V2::DotSat8
        | V2::Sad8 => s.unreachable(),
    };
}

/// The local that `v` is in, or a scratch vector to which it is brought.
fn in_local(e: &mut Emitter<'_>, v: Val) -> u32 {
    let scratch = e.scratch(0);
    e.in_local(v, scratch)
}

/// The locals that `a` and `b` are in, or scratch vectors to which they are brought.
fn both_in_locals(e: &mut Emitter<'_>, a: Val, b: Val) -> (u32, u32) {
    let (x, y) = (e.scratch(0), e.scratch(1));
    if e.is_in_local(a) || e.is_in_local(b) {
        return (e.in_local(a, x), e.in_local(b, y));
    }
    // Computing the second may need what the first would be in.
    e.values(&[a, b]);
    e.set(y);
    e.set(x);
    (x, y)
}

/// From 32-bit products of the even and of the odd lanes, the other factor being 0 there.
fn mul_high_signed(e: &mut Emitter<'_>, a: Val, b: Val) {
    let (a, b) = both_in_locals(e, a, b);
    let odd = e.vector_const(0xffff_0000_ffff_0000_ffff_0000_ffff_0000);
    e.get(a).local_get(odd).v128_andnot().local_get(b).i32x4_dot_i16x8_s().i32_const(16).i32x4_shr_u();
    e.get(a).local_get(odd).v128_and().local_get(b).i32x4_dot_i16x8_s().local_get(odd).v128_and();
    e.i().v128_or();
}

fn mul_high_unsigned(e: &mut Emitter<'_>, a: Val, b: Val) {
    let (a, b) = both_in_locals(e, a, b);
    e.get(a).local_get(b).i32x4_extmul_low_i16x8_u();
    e.get(a).local_get(b).i32x4_extmul_high_i16x8_u();
    e.i().i8x16_shuffle(bytes_of(Lane::B16, [1, 3, 5, 7, 9, 11, 13, 15]));
}

/// The saturating product is this one but where both factors are the least number.
fn mul_round(e: &mut Emitter<'_>, a: Val, b: Val) {
    let (a, b) = both_in_locals(e, a, b);
    let least =
        e.vector_const(u128::from_le_bytes([0, 0x80, 0, 0x80, 0, 0x80, 0, 0x80, 0, 0x80, 0, 0x80, 0, 0x80, 0, 0x80]));
    e.get(a).local_get(b).i16x8_q15mulr_sat_s();
    e.get(a).local_get(least).i16x8_eq().local_get(b).local_get(least).i16x8_eq().v128_and().v128_xor();
}

/// Products of the even and of the odd bytes fit in 16 bits.
fn dot_saturating(e: &mut Emitter<'_>, a: Val, b: Val) {
    let (a, b) = both_in_locals(e, a, b);
    let even =
        e.vector_const(u128::from_le_bytes([0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0]));
    e.get(a).local_get(even).v128_and();
    e.get(b).i32_const(8).i16x8_shl().i32_const(8).i16x8_shr_s().i16x8_mul();
    e.get(a).i32_const(8).i16x8_shr_u().local_get(b).i32_const(8).i16x8_shr_s().i16x8_mul();
    e.i().i16x8_add_sat_s();
}

fn sad(e: &mut Emitter<'_>, a: Val, b: Val) {
    let (a, b) = both_in_locals(e, a, b);
    let low = e.vector_const(0x0000_0000_ffff_ffff_0000_0000_ffff_ffff);
    let sums = e.scratch(2);
    e.get(a).local_get(b).i8x16_sub_sat_u().local_get(b).local_get(a).i8x16_sub_sat_u().v128_or();
    e.i().i16x8_extadd_pairwise_i8x16_u().i32x4_extadd_pairwise_i16x8_u().local_tee(sums);
    e.i().i32_const(32).i64x2_shr_u().local_get(sums).local_get(low).v128_and().i64x2_add();
}

fn shift(e: &mut Emitter<'_>, op: Bin, lane: Lane, a: Val, n: Val) {
    let bits = 8 * lane.bytes() as u32;
    if let Some(count) = e.constant(n) {
        let n = match op {
            Bin::ShrS => count.min(u64::from(bits) - 1),
            _ => count,
        };
        if n >= u64::from(bits) {
            e.i().v128_const(0);
            return;
        }
        e.value(a);
        if n != 0 {
            e.i().i32_const(n as i32);
            lane_shift(&mut e.i(), op, lane);
        }
        return;
    }
    // The count is used twice; `TEMP` is free once it is computed.
    let temp = crate::emit::TEMP[0];
    e.value(a);
    let n = e.in_local(n, temp);
    if op == Bin::ShrS {
        let last = i64::from(bits) - 1;
        e.get(n).i64_const(last).local_get(n).i64_const(last).i64_lt_u().select().i32_wrap_i64();
        lane_shift(&mut e.i(), op, lane);
    } else {
        e.get(n).i32_wrap_i64();
        lane_shift(&mut e.i(), op, lane);
        e.i().i64_const(0).local_get(n).i64_const(bits.into()).i64_lt_u().i64_extend_i32_u().i64_sub();
        e.i().i64x2_splat().v128_and();
    }
}

fn lane_shift(s: &mut InstructionSink<'_>, op: Bin, lane: Lane) {
    match op {
        Bin::Shl => by_lane!(s, lane, i8x16_shl i16x8_shl i32x4_shl i64x2_shl),
        Bin::ShrU => by_lane!(s, lane, i8x16_shr_u i16x8_shr_u i32x4_shr_u i64x2_shr_u),
        _ => by_lane!(s, lane, i8x16_shr_s i16x8_shr_s i32x4_shr_s i64x2_shr_s),
    };
}

/// Selectors of bytes from those of lanes.
pub(crate) fn bytes_of<const N: usize>(lane: Lane, sel: [u8; N]) -> [u8; 16] {
    let n = lane.bytes();
    core::array::from_fn(|k| {
        let s = sel[k / n % N] as usize % (2 * lane.count());
        (s * n + k % n) as u8
    })
}

fn shuffle(e: &mut Emitter<'_>, lane: Lane, sel: u64, a: Val, b: Val) {
    let mut sel = bytes_of(lane, e.region.consts[sel as usize].to_le_bytes());
    if a == b || sel.iter().all(|&s| s < 16) || sel.iter().all(|&s| s >= 16) {
        // Of one operand only.
        let v = if sel[0] < 16 { a } else { b };
        sel = sel.map(|s| s & 15);
        if sel == core::array::from_fn(|k| k as u8) {
            return e.value(v);
        }
        let v = in_local(e, v);
        e.get(v).local_get(v).i8x16_shuffle(sel);
        return;
    }
    e.values(&[a, b]);
    e.i().i8x16_shuffle(sel);
}

fn extract(s: &mut InstructionSink<'_>, lane: Lane, n: u8) {
    let n = n % lane.count() as u8;
    match lane {
        Lane::B8 => s.i8x16_extract_lane_u(n).i64_extend_i32_u(),
        Lane::B16 => s.i16x8_extract_lane_u(n).i64_extend_i32_u(),
        Lane::B32 => s.i32x4_extract_lane(n).i64_extend_i32_u(),
        Lane::B64 => s.i64x2_extract_lane(n),
    };
}

fn insert(e: &mut Emitter<'_>, lane: Lane, n: u8, a: Val, v: Val) {
    let n = n % lane.count() as u8;
    e.value(a);
    // From another vector: as a floating-point number it does not leave the vector unit.
    let from = e.region.blocks[e.block].insts[v.index()];
    if from.op == Op::Extract(lane) && e.places[v.index()] == Place::Inline {
        let k = from.imm as u8 % lane.count() as u8;
        match lane {
            Lane::B32 => {
                e.value(from.args[0]);
                e.i().f32x4_extract_lane(k).f32x4_replace_lane(n);
                return;
            }
            Lane::B64 => {
                e.value(from.args[0]);
                e.i().f64x2_extract_lane(k).f64x2_replace_lane(n);
                return;
            }
            Lane::B8 | Lane::B16 => {}
        }
    }
    e.value(v);
    match lane {
        Lane::B8 => e.i().i32_wrap_i64().i8x16_replace_lane(n),
        Lane::B16 => e.i().i32_wrap_i64().i16x8_replace_lane(n),
        Lane::B32 => e.i().i32_wrap_i64().i32x4_replace_lane(n),
        Lane::B64 => e.i().i64x2_replace_lane(n),
    };
}
