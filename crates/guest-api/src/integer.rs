//! What the operations on integers compute.

use crate::{Bin, Rel, Un};

impl Bin {
    /// The result; 0 for a quotient that is not defined, which nobody may ask for.
    #[inline(always)]
    pub fn of(self, a: u64, b: u64) -> u64 {
        match self {
            Bin::Add => a.wrapping_add(b),
            Bin::Sub => a.wrapping_sub(b),
            Bin::Mul => a.wrapping_mul(b),
            Bin::MulHiU => ((u128::from(a) * u128::from(b)) >> 64) as u64,
            Bin::MulHiS => ((i128::from(a as i64) * i128::from(b as i64)) >> 64) as u64,
            Bin::DivU => a.checked_div(b).unwrap_or(0),
            Bin::RemU => a.checked_rem(b).unwrap_or(0),
            Bin::DivS => (a as i64).checked_div(b as i64).unwrap_or(0) as u64,
            Bin::RemS => (a as i64).checked_rem(b as i64).unwrap_or(0) as u64,
            Bin::And => a & b,
            Bin::Or => a | b,
            Bin::Xor => a ^ b,
            Bin::Shl => a << (b & 63),
            Bin::ShrU => a >> (b & 63),
            Bin::ShrS => ((a as i64) >> (b & 63)) as u64,
            Bin::Rotl => a.rotate_left((b & 63) as u32),
            Bin::Rotr => a.rotate_right((b & 63) as u32),
            Bin::Rotl32 => u64::from((a as u32).rotate_left((b & 31) as u32)),
            Bin::Rotr32 => u64::from((a as u32).rotate_right((b & 31) as u32)),
        }
    }
}

impl Un {
    /// The result.
    #[inline(always)]
    pub fn of(self, a: u64) -> u64 {
        match self {
            Un::Not => !a,
            Un::Neg => a.wrapping_neg(),
            Un::Zext8 => u64::from(a as u8),
            Un::Zext16 => u64::from(a as u16),
            Un::Zext32 => u64::from(a as u32),
            Un::Sext8 => a as i8 as u64,
            Un::Sext16 => a as i16 as u64,
            Un::Sext32 => a as i32 as u64,
            Un::Clz => u64::from(a.leading_zeros()),
            Un::Ctz => u64::from(a.trailing_zeros()),
            Un::Popcnt => u64::from(a.count_ones()),
            Un::Bswap => a.swap_bytes(),
        }
    }
}

impl Rel {
    /// Whether it holds.
    #[inline(always)]
    pub fn holds(self, a: u64, b: u64) -> bool {
        match self {
            Rel::Eq => a == b,
            Rel::Ne => a != b,
            Rel::LtU => a < b,
            Rel::LeU => a <= b,
            Rel::LtS => (a as i64) < b as i64,
            Rel::LeS => a as i64 <= b as i64,
        }
    }
}
