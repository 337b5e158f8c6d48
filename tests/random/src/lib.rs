//! Random numbers for tests: small, the same on every target, and the same again from the same seed.

/// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014). Any seed is as good as another; the
/// state is the seed of what follows.
#[derive(Clone, Debug)]
pub struct Rng(pub u64);

impl Rng {
    #[expect(clippy::should_implement_trait, reason = "it never ends")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// Less than `n`; 0 where `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    /// Less than `len`, as an index; 0 where `len` is 0.
    pub fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// One of `from`, which is not empty.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.index(from.len())]
    }

    /// Bytes that do not compress.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
    }

    /// `len` bytes that compress about by half.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let seed = self.next();
        let mut rng = Rng(seed);
        let mut bytes = Vec::with_capacity(len + 16);
        while bytes.len() < len {
            bytes.extend(rng.next().to_le_bytes());
            bytes.extend([seed as u8; 8]);
        }
        bytes.truncate(len);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first outputs of the reference implementation (Vigna, `splitmix64.c`) for the seed 1234567, as other libraries test them.
    #[test]
    fn it_is_splitmix64() {
        let mut rng = Rng(1_234_567);
        let first: [u64; 3] = std::array::from_fn(|_| rng.next());
        assert_eq!(first, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn every_length_is_filled() {
        for len in 0..40 {
            let mut bytes = [0; 40];
            Rng(len as u64).fill(&mut bytes[..len]);
            assert!(bytes[len..].iter().all(|&b| b == 0));
            assert!(bytes[..len].iter().filter(|&&b| b == 0).count() <= 2);
            assert_eq!(Rng(1).bytes(len).len(), len);
        }
    }
}
