//! Low lanes as numbers, and the conditions of numbers and of all lanes of a vector.

use guest_api::{Fp, Lane};
use ir::{Inst, Op, Val};
use wasm_encoder::{Ieee32, Ieee64, ValType};

use super::facts::{Limit, ordered, plain};
use super::{inf, splat, unit};
use crate::emit::{ENTRY, Emitter, INEXACT, TEMP};
use crate::place::Place;

/// Twice the bits of the least number that is clear, and how far from there they are so: numbers that are normal, but for the smallest.
fn clear(double: bool) -> (u64, u64) {
    let (unit, inf) = (unit(double), inf(double));
    (4 * unit, 2 * inf - 4 * unit)
}

impl Emitter<'_> {
    /// A local for an integer result.
    pub(super) fn float_int(&mut self) -> u32 {
        let locals = &mut self.locals;
        *self.float.int.get_or_insert_with(|| locals.fresh(ValType::I64))
    }
    pub(super) fn low_local(&mut self, double: bool) -> u32 {
        match self.float.free[usize::from(double)].pop() {
            Some(local) => local,
            None => self.locals.fresh(if double { ValType::F64 } else { ValType::F32 }),
        }
    }

    pub(super) fn inst(&self, v: Val) -> Inst {
        self.region.blocks[self.block].insts[v.index()]
    }

    /// Pushes the low lane of `v`, which is in vector `local`, as a number.
    pub(super) fn low_of(&mut self, v: Val, local: u32, double: bool) {
        if self.is_in_local(v) || self.float.shadow(v, double).is_some() || self.inst(v).op == Op::ConstX {
            return self.low_lane(v, double);
        }
        self.get(local);
        by_size!(self, double, f64x2_extract_lane(0), f32x4_extract_lane(0));
        let low = self.low_local(double);
        self.i().local_tee(low);
        self.float.shadows.push((v, double, low));
    }

    /// Pushes the low lane of `v` as a number.
    pub(super) fn low_lane(&mut self, v: Val, double: bool) {
        if let Some(local) = self.float.shadow(v, double) {
            self.get(local);
            return;
        }
        let inst = self.inst(v);
        let inline = !matches!(self.places[v.index()], Place::Local(_));
        let lane = if double { Lane::B64 } else { Lane::B32 };
        match inst.op {
            Op::ConstX => {
                let c = self.region.consts[inst.imm as usize] as u64;
                if double {
                    self.i().f64_const(Ieee64::new(c));
                } else {
                    self.i().f32_const(Ieee32::new(c as u32));
                }
                return;
            }
            Op::Widen if inline && !self.is_widened(inst.args[0]) => self.int_as_low(inst.args[0], double),
            Op::Insert(l) if inline && l == lane && (inst.imm as usize).is_multiple_of(l.count()) => {
                let from = self.inst(inst.args[1]);
                let from_inline = !matches!(self.places[inst.args[1].index()], Place::Local(_));
                if from.op == Op::Extract(lane) && from_inline && (from.imm as usize).is_multiple_of(lane.count()) {
                    self.low_lane(from.args[0], double);
                } else {
                    self.int_as_low(inst.args[1], double);
                }
            }
            _ => {
                self.value(v);
                by_size!(self, double, f64x2_extract_lane(0), f32x4_extract_lane(0));
            }
        }
        let local = self.low_local(double);
        self.i().local_tee(local);
        self.float.shadows.push((v, double, local));
    }

    pub(super) fn int_as_low(&mut self, v: Val, double: bool) {
        self.value(v);
        by_size!(self, double, f64_reinterpret_i64(), i32_wrap_i64().f32_reinterpret_i32());
    }

    /// Pushes twice the bits of the low lane of `v`: without the sign.
    pub(super) fn twice(&mut self, v: Val, double: bool) {
        let inst = self.inst(v);
        let inline = !matches!(self.places[v.index()], Place::Local(_));
        if inst.op == Op::Widen && inline && self.is_in_local(inst.args[0]) && !self.is_widened(inst.args[0]) {
            self.value(inst.args[0]);
            if !double {
                self.i().i32_wrap_i64();
            }
        } else {
            self.low_lane(v, double);
            by_size!(self, double, i64_reinterpret_f64(), i32_reinterpret_f32());
        }
        self.shift_left(double);
    }
    pub(super) fn shift_left(&mut self, double: bool) {
        by_size!(self, double, i64_const(1).i64_shl(), i32_const(1).i32_shl());
    }
    /// Pushes twice the bits of the number in `local`.
    pub(super) fn twice_local(&mut self, local: u32, double: bool) {
        self.get(local);
        by_size!(self, double, i64_reinterpret_f64(), i32_reinterpret_f32());
        self.shift_left(double);
    }

    /// Pushes whether the number on the stack is below `limit`, unsigned, after `less` was subtracted.
    pub(super) fn below(&mut self, double: bool, less: u64, limit: u64) {
        if double {
            let (less, limit) = (self.long_const(less), self.long_const(limit));
            self.get(less).i64_sub().local_get(limit).i64_lt_u();
        } else {
            self.i().i32_const(less as i32).i32_sub().i32_const(limit as i32).i32_lt_u();
        }
    }

    /// Replaces twice the bits of a number of 32 bits by whether it is not normal, or the smallest normal one.
    pub(super) fn not_clear(&mut self) {
        let (less, limit) = clear(false);
        self.below(false, less, limit);
        self.i().i32_eqz();
    }
    /// The same of 32 or 64 bits, where the local `limit` is a [`Limit`].
    pub(super) fn not_below(&mut self, double: bool, limit: u32) {
        let (less, _) = clear(double);
        if double {
            let less = self.long_const(less);
            self.get(less).i64_sub().local_get(limit).i64_ge_u();
        } else {
            self.i().i32_const(less as i32).i32_sub().local_get(limit).i32_ge_u();
        }
    }

    /// The local of a limit, which is right in the rest of the block.
    pub(super) fn limit(&mut self, limit: Limit) -> u32 {
        let n = limit as usize;
        let ty = match limit {
            Limit::Single => ValType::I32,
            Limit::Double => ValType::I64,
            Limit::NoLanes => ValType::V128,
        };
        let locals = &mut self.locals;
        let local = *self.float.limits[n].get_or_insert_with(|| locals.fresh(ty));
        if !self.float.limited[n] {
            self.load_inexact();
            self.float.limited[n] = true;
            self.set_limit(limit, local);
        }
        local
    }
    /// Brings the limits to what `INEXACT` says now.
    pub(super) fn set_limits(&mut self) {
        for limit in Limit::ALL {
            if let (true, Some(local)) = (self.float.limited[limit as usize], self.float.limits[limit as usize]) {
                self.set_limit(limit, local);
            }
        }
    }
    fn set_limit(&mut self, limit: Limit, local: u32) {
        match limit {
            Limit::Single => {
                self.i().i32_const(0).i32_const(clear(false).1 as i32).local_get(INEXACT).select();
            }
            Limit::Double => {
                let most = self.long_const(clear(true).1);
                self.i().i64_const(0).local_get(most).local_get(INEXACT).select();
            }
            Limit::NoLanes => {
                // It is positive.
                self.i().i32_const(0).local_get(INEXACT).i32_sub().i32x4_splat();
            }
        }
        self.set(local);
    }
    /// Replaces twice the bits of a number by whether it is a denormal.
    pub(super) fn is_denormal(&mut self, double: bool) {
        self.below(double, 1, 2 * unit(double) - 1);
    }
    /// Replaces twice the bits of a number by whether it is a denormal or a NaN.
    pub(super) fn is_unordered(&mut self, double: bool) {
        let (unit, inf) = (unit(double), inf(double));
        if double {
            self.i().local_tee(TEMP[0]);
            self.is_denormal(double);
            let inf = self.long_const(2 * inf);
            self.get(TEMP[0]).local_get(inf).i64_gt_u().i32_or();
        } else {
            self.i().local_tee(ENTRY).i32_const(1).i32_sub().i32_const(2 * unit as i32 - 1).i32_lt_u();
            self.get(ENTRY).i32_const((2 * inf) as i32).i32_gt_u().i32_or();
        }
    }

    /// Pushes a mask of the lanes of `local` that are not normal, or the smallest normal number. Only part of a lane may be set.
    pub(super) fn lanes_not_clear(&mut self, local: u32, double: bool) {
        // On the upper words, biased so that a signed comparison is an unsigned one; lower words are never above the limit.
        let (add, limit) = if double {
            (splat(true, 0x7fc0_0000 << 32), splat(true, 0x7f9f_ffff << 32 | 0x7fff_ffff))
        } else {
            (splat(false, 0x7e00_0000), splat(false, 0x7cff_ffff))
        };
        let (add, limit) = (self.vector_const(add), self.vector_const(limit));
        self.get(local).i32_const(1).i32x4_shl().local_get(add).i32x4_add().local_get(limit).i32x4_gt_s();
    }
    /// Pushes a mask of the lanes of `local` that are denormals.
    pub(super) fn lanes_denormal(&mut self, local: u32, double: bool) {
        let bias = if double { 1 << 63 } else { 1 << 31 };
        let (add, limit) = (splat(double, bias - 1), splat(double, bias + 2 * unit(double) - 1));
        let (add, limit) = (self.vector_const(add), self.vector_const(limit));
        self.get(limit).local_get(local).i32_const(1);
        if double {
            self.i().i64x2_shl().local_get(add).i64x2_add().i64x2_gt_s();
        } else {
            self.i().i32x4_shl().local_get(add).i32x4_add().i32x4_gt_s();
        }
    }
    /// Pushes a mask of the lanes of `local` that are denormals or NaNs.
    pub(super) fn lanes_unordered(&mut self, local: u32, double: bool) {
        self.lanes_denormal(local, double);
        self.get(local).local_get(local);
        by_size!(self, double, f64x2_ne(), f32x4_ne());
        self.i().v128_or();
    }
    /// Pushes a mask of the lanes of `local` that are zeros.
    pub(super) fn lanes_zero(&mut self, local: u32, double: bool) {
        let zero = self.vector_const(0);
        self.get(local).local_get(zero);
        by_size!(self, double, f64x2_eq(), f32x4_eq());
    }

    /// Whether the lanes of `v` that `shape` computes with are known to be such; the second says that it is so whatever happened.
    pub(super) fn known(&self, v: Val, shape: Fp, want_ordered: bool, depth: u32) -> (bool, bool) {
        const NO: (bool, bool) = (false, false);
        let all = if shape.double() { Fp::P64 } else { Fp::P32 };
        let facts = self.float.facts.iter().find(|f| f.0 == v).map_or(0, |f| f.1);
        let mut good = ordered(shape) | ordered(all);
        if !want_ordered {
            good |= plain(shape) | plain(all);
        }
        if facts & good != 0 {
            return (true, false);
        }
        if depth == 0 {
            return NO;
        }
        let i = self.inst(v);
        let size = if shape.double() { 8 } else { 4 };
        let scalar = shape != all;
        let of = |v: Val, shape: Fp| self.known(v, shape, want_ordered, depth - 1);
        let both = |a: (bool, bool), b: (bool, bool)| (a.0 && b.0, a.1 && b.1);
        // A lane of a vector: the low one, or any.
        let lane = |v: Val, n: usize| of(v, if n == 0 { shape } else { all });
        match i.op {
            Op::ConstX => {
                let c = self.region.consts[i.imm as usize];
                let good = |k: usize| {
                    let bits = (c >> (8 * size * k)) as u64 & u64::MAX >> (64 - 8 * size);
                    let magnitude = bits & (u64::MAX >> (65 - 8 * size));
                    let double = shape.double();
                    (magnitude == 0 || magnitude >= unit(double)) && (magnitude <= inf(double) || !want_ordered)
                };
                let good = (0..shape.lanes()).all(good);
                (good, good)
            }
            Op::Shuffle(l) if l.bytes() >= size => {
                let sel = self.region.consts[i.imm as usize].to_le_bytes();
                let n = l.count();
                if scalar {
                    let s = sel[0] as usize % (2 * n);
                    return lane(i.args[s / n], s % n);
                }
                let uses = |k: usize| sel[..n].iter().any(|&s| s as usize % (2 * n) / n == k);
                let yes = (true, true);
                let a = if uses(0) { of(i.args[0], all) } else { yes };
                let b = if uses(1) { of(i.args[1], all) } else { yes };
                both(a, b)
            }
            Op::Insert(l) if scalar && l.bytes() == size => {
                let n = i.imm as usize % l.count();
                let from = self.inst(i.args[1]);
                match (n, from.op) {
                    (0, Op::Extract(k)) if k == l => lane(from.args[0], from.imm as usize % l.count()),
                    (0, _) => NO,
                    _ => of(i.args[0], shape),
                }
            }
            // Masks of whole lanes, magnitudes, negations.
            Op::V2(op @ (guest_api::V2::And | guest_api::V2::Xor)) => {
                let constant = |v: Val| {
                    let i = self.inst(v);
                    (i.op == Op::ConstX).then(|| self.region.consts[i.imm as usize])
                };
                let (mask, v) = match (constant(i.args[0]), constant(i.args[1])) {
                    (_, Some(mask)) => (mask, i.args[0]),
                    (Some(mask), _) => (mask, i.args[1]),
                    _ => return NO,
                };
                let keeps = (0..16 / size).all(|k| {
                    let magnitude = (mask >> (8 * size * k)) as u64 & (u64::MAX >> (65 - 8 * size));
                    magnitude == 0 || op == guest_api::V2::And && magnitude == u64::MAX >> (65 - 8 * size)
                });
                if keeps { of(v, shape) } else { NO }
            }
            _ => NO,
        }
    }

    pub(super) fn load_inexact(&mut self) {
        if !self.float.loaded {
            let inexact = self.layout().exchange + core::mem::offset_of!(guest_api::Exchange, inexact) as u32;
            let inexact = self.of_state(inexact, 2);
            self.state().i32_load(inexact);
            self.set(INEXACT);
            self.float.loaded = true;
        }
    }
}
