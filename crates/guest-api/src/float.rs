//! Floating-point operations as small numbers: by them translated code asks the guest for one.

use crate::{F1, F2, Fp, FpCvt, FpMode, FpRel, FpRound};

/// An operation of [`crate::EmitVector`] that computes in the guest's floating-point environment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Float {
    F2(F2, Fp),
    F1(F1, Fp),
    Cmp(FpRel, Fp),
    /// Of 64 bits, signalling. The result's bits: 0 less, 1 equal, 2 unordered.
    Order(bool, bool),
    Cvt(FpCvt),
    /// Of 64 bits, to 64 bits.
    ToInt(bool, bool, FpMode),
    /// The same; the integer is the low part of the second operand.
    ToFloat(bool, bool),
}

const SHAPES: [Fp; 4] = [Fp::S32, Fp::S64, Fp::P32, Fp::P64];
const MODES: [FpMode; 5] = [FpMode::Current, FpMode::Nearest, FpMode::Down, FpMode::Up, FpMode::Zero];
const BINARIES: [F2; 7] = [F2::Add, F2::Sub, F2::AddSub, F2::Mul, F2::Div, F2::Min, F2::Max];

// Fields: the kind, what there is of it, the shape, the mode, whether it is quiet.
const WHICH: u32 = 3;
const SHAPE: u32 = 8;
const MODE: u32 = 12;
const QUIET: u32 = 16;

impl Float {
    /// Its number.
    pub const fn code(self) -> u32 {
        const fn two(a: bool, b: bool) -> u32 {
            (a as u32 | (b as u32) << 1) << WHICH
        }
        match self {
            Float::F2(op, shape) => (op as u32) << WHICH | (shape as u32) << SHAPE,
            Float::F1(op, shape) => {
                let op = match op {
                    F1::Sqrt => 0,
                    F1::Rcp => 1 << WHICH,
                    F1::Rsqrt => 2 << WHICH,
                    F1::Round(r) => 3 << WHICH | (r.mode as u32) << MODE | (r.quiet as u32) << QUIET,
                };
                1 | op | (shape as u32) << SHAPE
            }
            Float::Cmp(rel, shape) => 2 | (rel as u32) << WHICH | (shape as u32) << SHAPE,
            Float::Order(double, signal) => 3 | two(double, signal),
            Float::Cvt(op) => {
                let (which, mode) = match op {
                    FpCvt::F32ToF64 => (0, FpMode::Current),
                    FpCvt::F64ToF32 => (1, FpMode::Current),
                    FpCvt::PackedF32ToF64 => (2, FpMode::Current),
                    FpCvt::PackedF64ToF32 => (3, FpMode::Current),
                    FpCvt::PackedI32ToF32 => (4, FpMode::Current),
                    FpCvt::PackedI32ToF64 => (5, FpMode::Current),
                    FpCvt::LowI32ToF32 => (6, FpMode::Current),
                    FpCvt::PackedF32ToI32(mode) => (7, mode),
                    FpCvt::PackedF64ToI32(mode) => (8, mode),
                    FpCvt::LowF32ToI32(mode) => (9, mode),
                };
                4 | which << WHICH | (mode as u32) << MODE
            }
            Float::ToInt(double, wide, mode) => 5 | two(double, wide) | (mode as u32) << MODE,
            Float::ToFloat(double, wide) => 6 | two(double, wide),
        }
    }

    /// The operation of a number that [`Float::code`] gave.
    pub fn of_code(code: u32) -> Option<Float> {
        let which = code >> WHICH & 31;
        let (a, b) = (which & 1 != 0, which & 2 != 0);
        let shape = *SHAPES.get((code >> SHAPE & 15) as usize)?;
        let mode = *MODES.get((code >> MODE & 15) as usize)?;
        Some(match code & 7 {
            0 => Float::F2(*BINARIES.get(which as usize)?, shape),
            1 => {
                let op = match which {
                    0 => F1::Sqrt,
                    1 => F1::Rcp,
                    2 => F1::Rsqrt,
                    _ => F1::Round(FpRound { mode, quiet: code >> QUIET & 1 != 0 }),
                };
                Float::F1(op, shape)
            }
            2 => Float::Cmp(*FpRel::ALL.get(which as usize)?, shape),
            3 => Float::Order(a, b),
            4 => Float::Cvt(match which {
                0 => FpCvt::F32ToF64,
                1 => FpCvt::F64ToF32,
                2 => FpCvt::PackedF32ToF64,
                3 => FpCvt::PackedF64ToF32,
                4 => FpCvt::PackedI32ToF32,
                5 => FpCvt::PackedI32ToF64,
                6 => FpCvt::LowI32ToF32,
                7 => FpCvt::PackedF32ToI32(mode),
                8 => FpCvt::PackedF64ToI32(mode),
                9 => FpCvt::LowF32ToI32(mode),
                _ => return None,
            }),
            5 => Float::ToInt(a, b, mode),
            6 => Float::ToFloat(a, b),
            _ => return None,
        })
    }
}
