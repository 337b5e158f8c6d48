//! The guest's random numbers: ChaCha20 (RFC 8439, 2.3) keyed by the host's seed.

/// A stream of random numbers; the same seed gives the same stream.
#[derive(Clone, Debug)]
pub struct Random {
    key: [u32; 8],
    block: u64,
    /// Unused words of the current block are `words[next..]`.
    words: [u32; 16],
    next: usize,
}

const CONSTANTS: [u32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];

impl Random {
    pub fn new(seed: [u8; 32]) -> Self {
        let mut key = [0; 8];
        for (word, bytes) in key.iter_mut().zip(seed.chunks_exact(4)) {
            *word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        Self { key, block: 0, words: [0; 16], next: 16 }
    }

    /// A stream of its own.
    pub fn fork(&mut self) -> Self {
        let mut seed = [0; 32];
        seed.chunks_exact_mut(8).for_each(|part| part.copy_from_slice(&self.next().to_le_bytes()));
        Self::new(seed)
    }

    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        if self.next >= 16 {
            self.words = block(&self.key, [self.block as u32, (self.block >> 32) as u32, 0, 0]);
            self.block = self.block.wrapping_add(1);
            self.next = 0;
        }
        let (low, high) = (self.words[self.next], self.words[self.next + 1]);
        self.next += 2;
        u64::from(low) | u64::from(high) << 32
    }
}

/// The block function; `counter` is the last row of the state: counter and nonce.
fn block(key: &[u32; 8], counter: [u32; 4]) -> [u32; 16] {
    let mut start = [0; 16];
    start[..4].copy_from_slice(&CONSTANTS);
    start[4..12].copy_from_slice(key);
    start[12..].copy_from_slice(&counter);
    let mut s = start;
    let mut quarter = |a: usize, b: usize, c: usize, d: usize| {
        for (x, y, z, turn) in [(a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)] {
            s[x] = s[x].wrapping_add(s[y]);
            s[z] = (s[z] ^ s[x]).rotate_left(turn);
        }
    };
    for _ in 0..10 {
        (0..4).for_each(|i| quarter(i, 4 + i, 8 + i, 12 + i));
        (0..4).for_each(|i| quarter(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4));
    }
    s.iter_mut().zip(start).for_each(|(word, first)| *word = word.wrapping_add(first));
    s
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_function_of_the_rfc() {
        // RFC 8439, 2.3.2.
        let key: Vec<u32> = (0..8u32).map(|i| 0x0302_0100 + 0x0404_0404 * i).collect();
        let got = block(&key.try_into().unwrap(), [1, 0x0900_0000, 0x4a00_0000, 0]);
        assert_eq!(got[..4], [0xe4e7_f110, 0x1559_3bd1, 0x1fdd_0f50, 0xc471_20a3]);
        assert_eq!(got[12..], [0xd19c_12b5, 0xb94e_16de, 0xe883_d0cb, 0x4e3c_50a2]);
    }

    #[test]
    fn the_stream_is_that_of_the_seed_and_does_not_repeat() {
        let stream = |seed| {
            let mut r = Random::new([seed; 32]);
            (0..1000).map(|_| r.next()).collect::<Vec<_>>()
        };
        let a = stream(1);
        assert_eq!(a, stream(1));
        assert_ne!(a, stream(2));
        assert_eq!(a.iter().collect::<std::collections::HashSet<_>>().len(), 1000);
    }
}
