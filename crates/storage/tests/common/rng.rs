/// SplitMix64.
#[derive(Clone)]
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// Less than `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// Bytes that compress about by half.
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
