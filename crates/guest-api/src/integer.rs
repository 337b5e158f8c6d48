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

/// Whether the signed product of `a` and `b` needs more than 64 bits. Nearly always their magnitudes tell.
#[inline(always)]
pub fn signed_product_overflows(a: u64, b: u64) -> bool {
    // The least n of -2^n <= x < 2^n. |a * b| is 2^(m + n) at most; where neither is 0, 2^(m + n - 2) at least, and negative ones are beyond it.
    let bits = |x: u64| 64 - (x ^ Bin::ShrS.of(x, 63)).leading_zeros();
    match bits(a) + bits(b) {
        0..63 => false,
        63 | 64 => exactly(a, b),
        65.. => true,
    }
}

#[cold]
#[inline(never)]
fn exactly(a: u64, b: u64) -> bool {
    (a as i64).checked_mul(b as i64).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The powers of two, with either sign, and what lies beside them.
    fn edges() -> impl Iterator<Item = u64> + Clone {
        let near = |n: u32| (0..5).map(move |by| (1_u64 << n).wrapping_add(by).wrapping_sub(2));
        let roots = [3_037_000_499, 3_037_000_500, u64::MAX / 3, i64::MAX as u64 / 3, 0x5555_5555_5555_5555];
        (0..64).flat_map(near).chain(roots).flat_map(|x| [x, x.wrapping_neg()])
    }

    #[test]
    fn a_signed_product_overflows_where_128_bits_say_so() {
        let (mut over, mut fits) = (0, 0);
        for a in edges() {
            for b in edges() {
                let p = i128::from(a as i64) * i128::from(b as i64);
                assert_eq!(signed_product_overflows(a, b), i64::try_from(p).is_err(), "{a:#x} * {b:#x}");
                if i64::try_from(p).is_err() { over += 1 } else { fits += 1 }
            }
            // The factors with which it is at the edge.
            for limit in [i64::MIN, i64::MAX] {
                let Some(q) = limit.checked_div(a as i64) else { continue };
                for b in (-2..=2).map(|by| q.wrapping_add(by) as u64) {
                    let p = i128::from(a as i64) * i128::from(b as i64);
                    assert_eq!(signed_product_overflows(a, b), i64::try_from(p).is_err(), "{a:#x} * {b:#x}");
                }
            }
        }
        assert!(over > 1000 && fits > 1000, "both are tested: {over}, {fits}");
    }
}
