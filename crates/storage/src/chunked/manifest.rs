//! The list of an image's chunks.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `pvmchunk` |
//! | 4 | version: 1 |
//! | 4 | codec of the chunks: 0 none, 1 deflate, 2 zstd |
//! | 4 | log2 of a chunk's bytes: 12 to 24 |
//! | 4 | zero |
//! | 8 | bytes of the image |
//! | 32 each | BLAKE3 of each chunk's content, which is what its object is called; zero: it is all zeros, there is no object |
//! | 32 | BLAKE3 of all of this before |
//!
//! Numbers are little-endian. The last chunk is as long as what is left of the image.

use super::Codec;
use crate::io::room;
use crate::{BlockError, Hash, Result, Source};

/// A manifest's first bytes.
pub const MAGIC: &[u8; 8] = b"pvmchunk";
const VERSION: u32 = 1;
const HEADER: usize = 32;
/// 2^32 bytes would be 128 GiB of chunks of 64 KiB: more than this memory holds is refused when it is read.
const MAX_CHUNKS: u64 = 1 << 24;

/// An image as chunks that are called by what they hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    pub codec: Codec,
    /// Log2 of a chunk's bytes, 12 to 24.
    pub chunk_bits: u32,
    /// Bytes of the image.
    pub size: u64,
    /// Nothing for a chunk of zeros.
    pub chunks: Vec<Option<Hash>>,
}

impl Manifest {
    /// The bytes of chunk `index`: all but the last have `1 << chunk_bits`.
    pub fn chunk_len(&self, index: u64) -> usize {
        let start = index << self.chunk_bits;
        self.size.saturating_sub(start).min(1 << self.chunk_bits) as usize
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let codec: u32 = match self.codec {
            Codec::Stored => 0,
            Codec::Deflate => 1,
            Codec::Zstd => 2,
        };
        let mut bytes = MAGIC.to_vec();
        [VERSION, codec, self.chunk_bits, 0].iter().for_each(|n| bytes.extend(n.to_le_bytes()));
        bytes.extend(self.size.to_le_bytes());
        let zero = Hash([0; Hash::BYTES]);
        self.chunks.iter().for_each(|hash| bytes.extend(hash.unwrap_or(zero).0));
        let hash = Hash::of(&bytes);
        bytes.extend(hash.0);
        bytes
    }

    /// Reads all of `file`.
    pub async fn read(file: &dyn Source) -> Result<Self> {
        let most = MAX_CHUNKS * Hash::BYTES as u64 + 1024;
        if file.size() > most {
            return Err(BlockError::unsupported(file.name(), format!("a manifest of more than {most} bytes")));
        }
        let mut bytes = room(file.name(), file.size())?;
        file.read_at(0, &mut bytes).await?;
        Self::parse(file.name(), &bytes)
    }

    pub fn parse(image: &str, bytes: &[u8]) -> Result<Self> {
        let damaged = |what: &str| BlockError::Damaged { image: image.to_owned(), what: what.to_owned() };
        let Some((header, rest)) = bytes.split_at_checked(HEADER) else {
            return Err(damaged("it is shorter than a manifest of chunks"));
        };
        let number = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        if &header[..8] != MAGIC {
            return Err(damaged("it is not a manifest of chunks: it does not begin with `pvmchunk`"));
        }
        if number(8) != VERSION {
            let what = format!("version {} of the manifest; this page knows {VERSION}: reload it", number(8));
            return Err(BlockError::unsupported(image, what));
        }
        let codec = match number(12) {
            0 => Codec::Stored,
            1 => Codec::Deflate,
            2 => Codec::Zstd,
            n => return Err(BlockError::unsupported(image, format!("chunks compressed by method {n}"))),
        };
        let Some((hashes, hash)) = rest.split_last_chunk::<{ Hash::BYTES }>() else {
            return Err(damaged("the manifest is cut off"));
        };
        if Hash::of(&bytes[..bytes.len() - Hash::BYTES]).0 != *hash {
            return Err(damaged("the manifest's hash does not fit: it is cut off, or was changed"));
        }
        let chunk_bits = number(16);
        let size = u64::from(number(24)) | u64::from(number(28)) << 32;
        if !(12..=24).contains(&chunk_bits) || hashes.len() as u64 / 32 != size.div_ceil(1 << chunk_bits) {
            return Err(damaged("the manifest has another number of chunks than the image"));
        }
        let (hashes, _) = hashes.as_chunks::<{ Hash::BYTES }>();
        let chunks = hashes.iter().map(|hash| (*hash != [0; Hash::BYTES]).then_some(Hash(*hash))).collect();
        Ok(Self { codec, chunk_bits, size, chunks })
    }
}
