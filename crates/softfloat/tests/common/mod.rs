//! Operands for the tests: hard values, and random ones from a printed seed.
#![allow(dead_code)]

use random::Rng;
use softfloat::F80;

/// Seeded from `SOFTFLOAT_SEED`, or else fixed; the seed is printed, for a failure to be repeated.
pub fn rng() -> Rng {
    let seed = std::env::var("SOFTFLOAT_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
    println!("SOFTFLOAT_SEED={seed}");
    Rng(seed)
}

/// Numbers near the ends of what their formats can hold.
pub trait Operands {
    /// A significand fraction of `bits` bits, often with long runs of equal bits.
    fn fraction(&mut self, bits: u32) -> u64;
    /// A pattern of an interchange format with `f` fraction and `e` exponent bits.
    fn float(&mut self, f: u32, e: u32) -> u64;
    /// Any f80 encoding: mostly supported ones.
    fn f80(&mut self) -> F80;

    fn f32(&mut self) -> u32 {
        self.float(23, 8) as u32
    }

    fn f64(&mut self) -> u64 {
        self.float(52, 11)
    }
}

impl Operands for Rng {
    fn fraction(&mut self, bits: u32) -> u64 {
        let r = self.next();
        let v = match self.below(6) {
            0 => 0,
            1 => !0,
            2 => 1 << self.below(64),
            3 => !0 << self.below(64),
            4 => !0 << self.below(64) ^ 1 << self.below(64),
            _ => r,
        };
        let v = if self.below(4) == 0 { v ^ r & 7 } else { v };
        if bits == 64 { v } else { v & ((1 << bits) - 1) }
    }

    fn float(&mut self, f: u32, e: u32) -> u64 {
        let max = (1u64 << e) - 1;
        let exp = match self.below(8) {
            0 => self.below(4),
            1 => max - self.below(4),
            2 | 3 => max / 2 - 3 + self.below(8),
            4 => max / 2 + self.below(70),
            5 => (max / 2).wrapping_sub(self.below(70)) & max,
            _ => self.below(max + 1),
        };
        self.below(2) << (f + e) | exp << f | self.fraction(f)
    }

    fn f80(&mut self) -> F80 {
        let sign = (self.next() as u16) & 0x8000;
        let max = 0x7fffu64;
        let exp = match self.below(12) {
            0 | 1 => self.below(4),
            2 | 3 => max - self.below(4),
            4 | 5 => 0x3fff - 3 + self.below(8),
            6 => 0x3fff + self.below(70),
            7 => 0x3fff - self.below(70),
            8 => self.below(70),
            _ => self.below(max + 1),
        } as u16;
        let mut m = self.fraction(64);
        if exp != 0 && self.below(16) != 0 || exp == 0 && self.below(4) == 0 {
            m |= 1 << 63;
        }
        if exp == 0 && self.below(2) == 0 {
            m &= (1 << 63) - 1;
        }
        F80 { m, se: exp | sign }
    }
}

/// Values with something hard about them, of an interchange format.
pub fn hard(f: u32, e: u32) -> Vec<u64> {
    let (one, inf) = (((1u64 << (e - 1)) - 1) << f, ((1u64 << e) - 1) << f);
    let base = [
        0,
        1,
        2,
        (1 << f) - 1,
        1 << f,
        (1 << f) + 1,
        2 << f,
        one - 1,
        one,
        one + 1,
        one | 1 << (f - 1),
        one + (1 << f),
        one - (1 << f),
        one + ((f as u64) << f),
        one + ((f as u64 + 1) << f),
        one + (31 << f),
        one + (62 << f),
        one + (63 << f),
        (one + (30 << f)) | ((1 << f) - 1),
        inf - 1,
        inf,
        inf | 1,
        inf | 1 << (f - 1),
        inf | 1 << (f - 1) | 1,
        inf | ((1 << f) - 1),
    ];
    base.iter().flat_map(|&v| [v, v | 1 << (f + e)]).collect()
}

/// The same for f80, with the encodings only it has.
pub fn hard80() -> Vec<F80> {
    const J: u64 = 1 << 63;
    const Q: u64 = 1 << 62;
    let base = [
        (0, 0),
        (0, 1),
        (0, 2),
        (0, Q),
        (0, J - 1),
        (0, J),
        (0, J | 1),
        (0, !0),
        (1, J),
        (1, J | 1),
        (1, !0),
        (1, 0),
        (1, Q),
        (2, J),
        (0x3ffe, J),
        (0x3ffe, !0),
        (0x3fff, J),
        (0x3fff, J | 1),
        (0x3fff, J | Q),
        (0x3fff, !0),
        (0x3fff, 0),
        (0x3fff, Q),
        (0x4000, J),
        (0x4000, 0xc90f_daa2_2168_c235),
        (0x400d, !0),
        (0x400e, J),
        (0x401d, !0),
        (0x401e, J),
        (0x403d, !0),
        (0x403d, J),
        (0x403e, J),
        (0x403e, J | 1),
        (0x403e, !0),
        (0x403f, J),
        (0x3fbf, J),
        (0x3f80, J),
        (0x3f6a, J),
        (0x3f69, J),
        (0x3c01, J),
        (0x3c00, !0),
        (0x3bcd, J),
        (0x3bcc, J),
        (0x407e, J),
        (0x407e, !0),
        (0x407f, J),
        (0x43fe, !0),
        (0x43ff, J),
        (0x403a, 0xde0b_6b3a_763f_fff0),
        (0x403a, 0xde0b_6b3a_7640_0000),
        (0x4015, 0x8000_0000_0000_0100),
        (0x7ffe, J),
        (0x7ffe, !0),
        (0x7ffe, Q),
        (0x7fff, J),
        (0x7fff, J | 1),
        (0x7fff, J | Q),
        (0x7fff, J | Q | 1),
        (0x7fff, !0),
        (0x7fff, 0),
        (0x7fff, 1),
        (0x7fff, Q),
    ];
    base.iter().flat_map(|&(se, m)| [F80 { m, se }, F80 { m, se: se | 0x8000 }]).collect()
}
