//! One condition out of all that an operation needs, and what is done where it does not hold.

use guest_api::{F2, Fp};
use ir::{Inst, Op, Val};
use wasm_encoder::BlockType;

use super::facts::{Limit, ordered, plain};
use crate::abi::Import;
use crate::emit::{ENTRY, Emitter, INEXACT};
use crate::structure::Label;

/// The bit of `INEXACT` that says that facts may be wrong, beside those of [`guest_api::inexact`].
pub(crate) const SUSPICIOUS: i32 = 2;
/// How far back facts are looked for.
pub(super) const DEPTH: u32 = 4;

/// Where an operation's result is until it is known to be right.
#[derive(Clone, Copy)]
pub(super) enum Result {
    /// The low lane: a number of 64 (true) or 32 bits.
    Low(bool, u32),
    Vector(u32),
    Int(u32),
}

/// The conditions of an operation: each leaves the inner of two blocks that are opened first, in which the way ends that is taken where all hold. So
/// V8 compares and jumps at once; conditions that are joined it makes numbers of.
pub(super) struct Checks<'i> {
    inst: &'i Inst,
    result: Result,
    /// A mask of bad lanes is on the stack.
    lanes: bool,
    /// There is a condition.
    any: bool,
    /// That the host's arithmetic is the guest's is among them.
    environment: bool,
    /// Facts that hold only while `INEXACT` does not say otherwise were used.
    trusting: bool,
}

impl<'i> Checks<'i> {
    /// Begins the checks of `inst`, whose result was computed.
    pub(super) fn new(e: &mut Emitter<'_>, inst: &'i Inst, result: Result) -> Self {
        // What is loaded behind a condition is not there on all ways.
        e.load_inexact();
        e.i().block(BlockType::Empty).block(BlockType::Empty);
        e.labels.extend([Label::Right, Label::Wrong]);
        Checks { inst, result, lanes: false, any: false, environment: false, trusting: false }
    }

    /// Takes a condition from the stack: that something is wrong.
    pub(super) fn join(&mut self, e: &mut Emitter<'_>) {
        e.br_if_unlikely(Label::Wrong);
        self.any = true;
    }
    /// Joins a mask of bad lanes on the stack to those before it. All of them come before any condition.
    pub(super) fn join_lanes(&mut self, e: &mut Emitter<'_>) {
        if self.lanes {
            e.i().v128_or();
        }
        self.lanes = true;
    }
    /// Makes a condition of the masks of bad lanes: of the sign of each 32 bits, as V8 makes a number of whether any bit is set.
    fn settle_lanes(&mut self, e: &mut Emitter<'_>) {
        if core::mem::take(&mut self.lanes) {
            e.i().i32x4_bitmask();
            self.join(e);
        }
    }

    /// The host's arithmetic must be the guest's.
    pub(super) fn environment(&mut self, e: &mut Emitter<'_>) {
        if self.lanes {
            let none = e.limit(Limit::NoLanes);
            e.get(none);
            self.join_lanes(e);
        } else {
            e.get(INEXACT);
            self.join(e);
        }
        self.environment = true;
    }
    /// That, and the result, which is the number in `local`, must be normal and not the smallest such.
    pub(super) fn clear_result(&mut self, e: &mut Emitter<'_>, local: u32, double: bool) {
        let limit = e.limit(if double { Limit::Double } else { Limit::Single });
        e.twice_local(local, double);
        e.not_below(double, limit);
        self.join(e);
        self.environment = true;
    }

    /// The low lane of operand `v` must not be a denormal, nor a NaN where `want_ordered`.
    pub(super) fn operand(&mut self, e: &mut Emitter<'_>, v: Val, shape: Fp, want_ordered: bool) {
        match e.known(v, shape, want_ordered, DEPTH) {
            (true, always) => self.trusting |= !always,
            _ => {
                let kept = e.float.shadows.len();
                e.twice(v, shape.double());
                if want_ordered {
                    e.is_unordered(shape.double())
                } else {
                    e.is_denormal(shape.double())
                }
                if self.any {
                    e.float.forget_shadows(kept);
                }
                self.join(e);
                e.float.learn(v, if want_ordered { ordered(shape) } else { plain(shape) });
            }
        }
    }
    /// No lane of operand `v`, which is in `local`, may be such.
    pub(super) fn operand_lanes(&mut self, e: &mut Emitter<'_>, v: Val, local: u32, shape: Fp, want_ordered: bool) {
        match e.known(v, shape, want_ordered, DEPTH) {
            (true, always) => self.trusting |= !always,
            _ => {
                if want_ordered {
                    e.lanes_unordered(local, shape.double());
                } else {
                    e.lanes_denormal(local, shape.double());
                }
                self.join_lanes(e);
                e.float.learn(v, if want_ordered { ordered(shape) } else { plain(shape) });
            }
        }
    }

    /// Ends the checks: where one failed the guest does the operation.
    pub(super) fn end(self, e: &mut Emitter<'_>) {
        self.end_unless(e, None::<fn(&mut Emitter<'_>)>);
    }
    /// The same, unless `excuse` pushes that all is well.
    pub(super) fn end_unless(mut self, e: &mut Emitter<'_>, excuse: Option<impl FnOnce(&mut Emitter<'_>)>) {
        if !self.finish(e) {
            return;
        }
        let excused = excuse.is_some();
        if let Some(excuse) = excuse {
            excuse(e);
            e.i().i32_eqz();
            e.if_hinted(BlockType::Empty, false);
            e.labels.push(Label::If);
        }
        self.slow(e);
        for _ in 0..1 + usize::from(excused) {
            e.labels.pop();
            e.i().end();
        }
    }

    /// Ends the checks of scalar arithmetic: where one failed a function looks closer.
    pub(super) fn end_shared(mut self, e: &mut Emitter<'_>, op: F2, operands: [Val; 2]) {
        let (Result::Low(double, r), Some(function)) =
            (self.result, crate::shared::index(op, matches!(self.result, Result::Low(true, _))))
        else {
            return self.end(e);
        };
        if !self.finish(e) {
            return;
        }
        e.shares |= crate::shared::bit(op, double);
        let state = e.abi.state as i32;
        e.i().i32_const(state);
        for v in operands {
            e.low_lane(v, double);
        }
        e.get(r).local_get(INEXACT).call(function).local_tee(INEXACT).i32_const(0).i32_lt_s();
        e.if_hinted(BlockType::Empty, false);
        e.labels.push(Label::If);
        e.side_exit(self.inst.exit);
        e.labels.pop();
        e.i().end();
        e.set(r);
        e.set_limits();
        e.labels.pop();
        e.i().end();
    }

    /// All conditions are there: goes on where one does not hold, if there are any.
    fn finish(&mut self, e: &mut Emitter<'_>) -> bool {
        self.settle_lanes(e);
        if self.trusting && !self.environment {
            e.get(INEXACT).i32_const(SUSPICIOUS).i32_and();
            self.join(e);
        }
        if self.any {
            e.br(Label::Right);
        }
        e.labels.pop();
        e.i().end();
        if !self.any {
            e.labels.pop();
            e.i().end();
        }
        self.any
    }

    /// The guest does the operation: its result takes the place of what was computed. What is behind a refusal is the interpreter's.
    pub(super) fn slow(&self, e: &mut Emitter<'_>) {
        use core::mem::offset_of;
        let i = self.inst;
        let Some(op) = i.op.float() else { return };
        let vectors = e.layout().exchange + offset_of!(guest_api::Exchange, vectors) as u32;
        let [first, second] = [vectors, vectors + 16].map(|v| e.of_state(v, 2));
        e.state();
        e.value(i.args[0]);
        e.i().v128_store(first);
        if i.args[1] != Val::NONE {
            e.state();
            e.value(i.args[1]);
            if matches!(i.op, Op::ToFloat(..)) {
                e.i().i64_store(second);
            } else {
                e.i().v128_store(second);
            }
        }
        e.i().i32_const(op.code() as i32).call(Import::Float as u32).local_tee(ENTRY).i32_eqz();
        e.if_hinted(BlockType::Empty, false);
        e.labels.push(Label::If);
        e.side_exit(i.exit);
        e.labels.pop();
        e.i().end();
        // Once an operand or a result was out of the ordinary, facts may be wrong: all the rest of the block is done so too.
        e.get(INEXACT).i32_const(SUSPICIOUS).i32_and().local_get(ENTRY).i32_const(1).i32_sub().i32_or();
        e.set(INEXACT);
        e.set_limits();
        e.state();
        match self.result {
            Result::Low(true, local) => e.i().f64_load(first).local_set(local),
            Result::Low(false, local) => e.i().f32_load(first).local_set(local),
            Result::Vector(local) => e.i().v128_load(first).local_set(local),
            Result::Int(local) => e.i().i64_load(first).local_set(local),
        };
    }
}
