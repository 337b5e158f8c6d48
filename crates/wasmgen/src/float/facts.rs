//! What is known while a block is generated.

use guest_api::{Fp, FpCvt};
use ir::{Block, Inst, Op, Val};

/// What is known of the lanes of a value, a pair of bits for each [`Fp`]: no denormal; neither denormal nor NaN.
pub(super) type Facts = u8;

pub(super) const fn plain(shape: Fp) -> Facts {
    1 << (2 * shape as u8)
}
pub(super) const fn ordered(shape: Fp) -> Facts {
    2 << (2 * shape as u8)
}

/// What results are compared with, so that they are wrong whatever they are where `INEXACT` is not 0. Each has a local.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    /// Twice the bits of a number of 32 or 64 bits, less those of the least that is clear, are below it.
    Single,
    Double,
    /// The lanes that are wrong for that: none, or all.
    NoLanes,
}

impl Limit {
    pub(super) const ALL: [Limit; 3] = [Limit::Single, Limit::Double, Limit::NoLanes];
}

/// Which limits are right.
type Limited = [bool; Limit::ALL.len()];
/// [`Float::facts`], [`Float::loaded`] and [`Float::limited`].
type Known = (Vec<(Val, Facts)>, bool, Limited);

/// What is known while a block is generated.
#[derive(Default)]
pub(crate) struct Float {
    /// The low lanes of values, as numbers of 64 (true) or 32 bits, in locals.
    pub(super) shadows: Vec<(Val, bool, u32)>,
    /// Locals for them that are free: of 32 bits, of 64 bits.
    pub(super) free: [Vec<u32>; 2],
    /// How often each value's low lane will still be asked for.
    pub(super) uses: Vec<u32>,
    pub(super) facts: Vec<(Val, Facts)>,
    /// `INEXACT` is what the guest's state says, and these [`Limit`]s what it says.
    pub(super) loaded: bool,
    pub(super) limited: Limited,
    /// The limits' locals.
    pub(super) limits: [Option<u32>; Limit::ALL.len()],
    pub(super) int: Option<u32>,
    /// Of the `if`s that are open: what was known before.
    outer: Vec<Known>,
}

/// The operands of `i` whose low lane is computed with, and whether as numbers of 64 bits.
pub(super) fn low_operands(i: &Inst) -> (&[Val], bool) {
    match i.op {
        Op::F2(_, shape @ (Fp::S32 | Fp::S64)) | Op::FCmp(_, shape @ (Fp::S32 | Fp::S64)) => {
            (&i.args[..2], shape.double())
        }
        Op::F1(_, shape @ (Fp::S32 | Fp::S64)) => (&i.args[1..2], shape.double()),
        Op::FOrder(double, _) => (&i.args[..2], double),
        Op::FCvt(FpCvt::F32ToF64) => (&i.args[1..2], false),
        Op::FCvt(FpCvt::F64ToF32) => (&i.args[1..2], true),
        Op::ToInt(double, ..) => (&i.args[..1], double),
        _ => (&[], false),
    }
}

impl Float {
    pub(crate) fn begin(&mut self, block: &Block) {
        self.drop_shadows();
        self.facts.clear();
        self.outer.clear();
        (self.loaded, self.limited) = (false, Limited::default());
        self.uses.clear();
        if block.insts.iter().any(|i| i.op.float().is_some()) {
            self.uses.resize(block.insts.len(), 0);
            for &v in block.insts.iter().flat_map(|i| low_operands(i).0) {
                self.uses[v.index()] += 1;
            }
        }
    }
    /// A conditional part begins.
    pub(crate) fn nest(&mut self) {
        self.outer.push((self.facts.clone(), self.loaded, self.limited));
    }
    /// It ends.
    pub(crate) fn unnest(&mut self) {
        self.drop_shadows();
        if let Some(outer) = self.outer.pop() {
            (self.facts, self.loaded, self.limited) = outer;
        }
    }
    /// The guest's environment may have changed.
    pub(crate) fn changed(&mut self) {
        self.facts.clear();
        (self.loaded, self.limited) = (false, Limited::default());
    }

    pub(super) fn drop_shadows(&mut self) {
        self.forget_shadows(0);
    }
    /// Those but the first `kept`.
    pub(super) fn forget_shadows(&mut self, kept: usize) {
        for (_, double, local) in self.shadows.drain(kept..) {
            self.free[usize::from(double)].push(local);
        }
    }
    pub(super) fn shadow(&self, v: Val, double: bool) -> Option<u32> {
        self.shadows.iter().find(|s| s.0 == v && s.1 == double).map(|s| s.2)
    }
    pub(super) fn learn(&mut self, v: Val, facts: Facts) {
        match self.facts.iter_mut().find(|f| f.0 == v) {
            Some(f) => f.1 |= facts,
            None => self.facts.push((v, facts)),
        }
    }
}
