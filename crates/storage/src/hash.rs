//! What content is called by itself: BLAKE3.

use std::fmt;

/// The BLAKE3 hash of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hash(pub [u8; Self::BYTES]);

impl Hash {
    pub const BYTES: usize = 32;

    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// The first 16 bytes: enough against accidents.
    pub(crate) fn short(bytes: &[u8]) -> [u8; 16] {
        let mut short = [0; 16];
        short.copy_from_slice(&Self::of(bytes).0[..16]);
        short
    }
}

/// In hexadecimal.
impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
