//! The 128-bit half of the vocabulary: integer lanes close to Wasm SIMD's, floating point as the guest's unit computes it.

use crate::listed::listed;
use crate::{Bin, Emit, Listed, Space, dotted};

/// A vector register of the guest. Numbered by the guest; a register narrower than 128 bits reads zero-extended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct XSlot(pub u8);

/// A part of the guest's state that it can switch off. Numbered by the guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unit(pub u8);

listed! {
/// Size of the integer lanes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Lane {
    B8 = 0,
    B16 = 1,
    B32 = 2,
    B64 = 3,
}
}

impl Lane {
    /// Bytes in a lane.
    #[inline(always)]
    pub const fn bytes(self) -> usize {
        1 << self as u32
    }
    /// Lanes in a vector.
    #[inline(always)]
    pub const fn count(self) -> usize {
        16 >> self as u32
    }
}

listed! {
/// Integer operations of two vectors, lane by lane unless said otherwise. Lane sizes not named do not exist.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum V2 {
    And,
    Or,
    Xor,
    /// `!a & b`.
    AndNot,
    Add(Lane),
    Sub(Lane),
    /// Saturating, signed and unsigned: lanes of 8 and 16 bits.
    AddSatS(Lane),
    AddSatU(Lane),
    SubSatS(Lane),
    SubSatU(Lane),
    /// Lanes of 8, 16 and 32 bits.
    MinS(Lane),
    MinU(Lane),
    MaxS(Lane),
    MaxU(Lane),
    /// `(a + b + 1) >> 1`, unsigned without overflow: lanes of 8 and 16 bits.
    AvgU(Lane),
    /// All ones where equal, else 0.
    Eq(Lane),
    /// All ones where greater, signed, else 0.
    GtS(Lane),
    /// Low half of the product: lanes of 16 and 32 bits.
    MulLo(Lane),
    /// High half of the product: lanes of 16 bits.
    MulHiS16,
    MulHiU16,
    /// `((a * b >> 14) + 1) >> 1`, signed lanes of 16 bits, wrapping.
    MulRound16,
    /// 64-bit products of the even 32-bit lanes.
    MulEvenU32,
    MulEvenS32,
    /// Signed 16-bit products, neighbours added to 32-bit lanes, wrapping.
    Dot16,
    /// Unsigned bytes of `a` times signed bytes of `b`, neighbours added to 16-bit lanes with signed saturation.
    DotSat8,
    /// Sums of the absolute differences of the unsigned bytes of each half, in 64-bit lanes.
    Sad8,
    /// Signed lanes of `a`, then of `b`, of 16 or 32 bits, narrowed to half their size with signed or unsigned saturation.
    NarrowS16,
    NarrowS32,
    NarrowU16,
    NarrowU32,
    /// Byte `k` of the result is byte `b[k]` of `a`, or 0 where `b[k]` is 16 or more.
    Swizzle,
}
}

listed! {
/// Integer operations of one vector.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum V1 {
    /// Absolute value, wrapping: lanes of 8, 16 and 32 bits.
    Abs(Lane),
    /// The low half's lanes of 8, 16 or 32 bits extended to twice the size.
    WidenS8,
    WidenS16,
    WidenS32,
    WidenU8,
    WidenU16,
    WidenU32,
}
}

listed! {
/// Shape of a floating-point operation: one lane, the rest of the result being `a`'s, or all lanes of 32 or 64 bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fp {
    S32,
    S64,
    P32,
    P64,
}
}

impl Fp {
    /// Lanes of 64 bits.
    #[inline(always)]
    pub const fn double(self) -> bool {
        matches!(self, Fp::S64 | Fp::P64)
    }
    /// Number of lanes computed.
    #[inline(always)]
    pub const fn lanes(self) -> usize {
        match self {
            Fp::S32 | Fp::S64 => 1,
            Fp::P64 => 2,
            Fp::P32 => 4,
        }
    }
}

listed! {
/// Floating-point operations of two vectors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum F2 {
    Add,
    Sub,
    /// Even lanes subtract, odd lanes add.
    AddSub,
    Mul,
    Div,
    /// `b` unless `a < b`.
    Min,
    /// `b` unless `a > b`.
    Max,
}
}

listed! {
/// Floating-point operations of one vector `b`; a scalar result's other lanes are `a`'s.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum F1 {
    Sqrt,
    /// Approximations, 32-bit lanes: relative error at most 1.5 * 2^-12, no exceptions.
    Rcp,
    Rsqrt,
    /// To an integral value.
    Round(FpRound),
}
}

listed! {
/// Where a rounding mode comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FpMode {
    /// The guest's current rounding mode.
    Current,
    Nearest,
    Down,
    Up,
    Zero,
}
}

/// How to round to an integral value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FpRound {
    pub mode: FpMode,
    /// The inexact exception is not signalled.
    pub quiet: bool,
}

impl Listed for FpRound {
    fn list() -> Vec<FpRound> {
        FpMode::list().into_iter().flat_map(|mode| [false, true].map(|quiet| FpRound { mode, quiet })).collect()
    }
    fn label(self, _: &str) -> String {
        dotted(&[self.mode.label("mode"), self.quiet.label("quiet")])
    }
}

listed! {
/// Comparisons that give a mask. The negations hold for unordered operands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum FpRel {
    Eq = 0,
    Lt = 1,
    Le = 2,
    Unord = 3,
    Ne = 4,
    Nlt = 5,
    Nle = 6,
    Ord = 7,
}
}

impl FpRel {
    pub const ALL: [FpRel; 8] = {
        use FpRel::*;
        [Eq, Lt, Le, Unord, Ne, Nlt, Nle, Ord]
    };
}

listed! {
/// Conversions of the low lanes of `b`. `Packed` ones clear the lanes that get no result; scalar ones keep `a`'s.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FpCvt {
    /// One lane, to the other size.
    F32ToF64,
    F64ToF32,
    /// Two lanes, to the other size.
    PackedF32ToF64,
    PackedF64ToF32,
    /// Signed 32-bit integers: four from and to single, two from and to double. What does not fit becomes `i32::MIN`.
    PackedI32ToF32,
    PackedI32ToF64,
    PackedF32ToI32(FpMode),
    PackedF64ToI32(FpMode),
    /// Two lanes, the others kept from `a`.
    LowI32ToF32,
    /// Two lanes, the others cleared.
    LowF32ToI32(FpMode),
}
}

/// How two floating-point numbers compare: one of these holds, none for "greater".
#[derive(Clone, Copy, Debug)]
pub struct FpOrder<C> {
    pub less: C,
    pub equal: C,
    pub unordered: C,
}

listed! {
/// Alignment that a vector access demands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Align {
    /// None.
    Any,
    /// 16 bytes, or the guest's alignment fault.
    Natural,
}
}

/// Operations on 128-bit vectors, for guests that have them.
///
/// Floating point is computed in the guest's floating-point environment: its rounding mode, its treatment of denormals, its
/// NaNs. The operations of an instruction record their exceptions there and leave by `Exit` where the guest traps one.
pub trait EmitVector: Emit {
    /// A 128-bit value.
    type X: Copy;

    /// Faults as using `unit` now would. Changes seldom: a translator may check it once.
    fn require(&mut self, unit: Unit) -> Result<(), Self::Exit>;

    fn getx(&mut self, s: XSlot) -> Self::X;
    fn putx(&mut self, s: XSlot, v: Self::X);
    fn loadx(&mut self, align: Align, addr: Self::V, s: Space) -> Result<Self::X, Self::Exit>;
    fn storex(&mut self, align: Align, addr: Self::V, v: Self::X, s: Space) -> Result<(), Self::Exit>;

    fn immx(&mut self, v: u128) -> Self::X;
    fn v1(&mut self, op: V1, a: Self::X) -> Self::X;
    fn v2(&mut self, op: V2, a: Self::X, b: Self::X) -> Self::X;
    /// [`Bin::Shl`], [`Bin::ShrU`] or [`Bin::ShrS`] of each lane of 16, 32 or 64 bits by `n`. A count not below the lane's size gives
    /// 0, or the sign for [`Bin::ShrS`].
    fn vshift(&mut self, op: Bin, lane: Lane, a: Self::X, n: Self::V) -> Self::X;
    /// Lane `k` of the result is lane `sel[k]` of `a` followed by `b`. The first [`Lane::count`] entries of `sel` are used.
    fn shuffle(&mut self, lane: Lane, sel: [u8; 16], a: Self::X, b: Self::X) -> Self::X;
    /// `then` where the bits of `mask` are 1, `other` where 0.
    fn vselect(&mut self, mask: Self::X, then: Self::X, other: Self::X) -> Self::X;
    /// `v` zero-extended to 128 bits.
    fn widen(&mut self, v: Self::V) -> Self::X;
    /// Lane `n`, zero-extended.
    fn extract(&mut self, lane: Lane, n: u8, a: Self::X) -> Self::V;
    /// `a` with lane `n` replaced by the low bits of `v`.
    fn insert(&mut self, lane: Lane, n: u8, a: Self::X, v: Self::V) -> Self::X;
    /// The lanes' most significant bits, lane 0's first: lanes of 8, 32 and 64 bits.
    fn movemask(&mut self, lane: Lane, a: Self::X) -> Self::V;
    /// Whether all bits are 0.
    fn is_zero(&mut self, a: Self::X) -> Self::C;

    fn f2(&mut self, op: F2, shape: Fp, a: Self::X, b: Self::X) -> Result<Self::X, Self::Exit>;
    fn f1(&mut self, op: F1, shape: Fp, a: Self::X, b: Self::X) -> Result<Self::X, Self::Exit>;
    /// A mask of the lanes where `rel` holds.
    fn fcmp(&mut self, rel: FpRel, shape: Fp, a: Self::X, b: Self::X) -> Result<Self::X, Self::Exit>;
    /// How the low lanes compare. `signal`: quiet NaNs are invalid too.
    fn forder(&mut self, double: bool, signal: bool, a: Self::X, b: Self::X) -> Result<FpOrder<Self::C>, Self::Exit>;
    fn fcvt(&mut self, op: FpCvt, a: Self::X, b: Self::X) -> Result<Self::X, Self::Exit>;
    /// The low lane as a signed integer of 32 or (`wide`) 64 bits, zero-extended; the most negative one where it does not fit.
    fn to_int(&mut self, double: bool, wide: bool, mode: FpMode, a: Self::X) -> Result<Self::V, Self::Exit>;
    /// The signed integer `v` of 32 or (`wide`) 64 bits in the low lane of `a`.
    fn to_float(&mut self, double: bool, wide: bool, a: Self::X, v: Self::V) -> Result<Self::X, Self::Exit>;
}
