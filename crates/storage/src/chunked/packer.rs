//! The packer: an image's bytes to chunks and their manifest, one piece at a time, so that what stores and compresses them may wait.

use super::{Codec, Manifest};
use crate::io::read_padded;
use crate::{Hash, Result, Source};
use std::collections::BTreeSet;
use std::rc::Rc;

/// What packing an image has come to.
pub enum Piece {
    /// A chunk that was not there before, to be compressed and stored as its object.
    Chunk(Hash, Vec<u8>),
    /// The end.
    Manifest(Manifest),
}

/// Cuts an image into chunks. Those that were there before, and those of zeros, are passed over.
pub struct Packer {
    image: Rc<dyn Source>,
    manifest: Manifest,
    seen: BTreeSet<Hash>,
}

impl Packer {
    /// Chunks have `1 << chunk_bits` bytes, 12 to 24, and will be compressed with `codec`.
    pub fn new(image: Rc<dyn Source>, codec: Codec, chunk_bits: u32) -> Self {
        assert!((12..=24).contains(&chunk_bits), "chunks have 2^12 to 2^24 bytes");
        let manifest = Manifest { codec, chunk_bits, size: image.size(), chunks: Vec::new() };
        Self { image, manifest, seen: BTreeSet::new() }
    }

    /// Goes on to the next piece.
    pub async fn next(&mut self) -> Result<Piece> {
        loop {
            let index = self.manifest.chunks.len() as u64;
            let mut chunk = vec![0; self.manifest.chunk_len(index)];
            if chunk.is_empty() {
                return Ok(Piece::Manifest(self.manifest.clone()));
            }
            read_padded(&*self.image, index << self.manifest.chunk_bits, &mut chunk).await?;
            let hash = chunk.iter().any(|byte| *byte != 0).then(|| Hash::of(&chunk));
            self.manifest.chunks.push(hash);
            if let Some(hash) = hash
                && self.seen.insert(hash)
            {
                return Ok(Piece::Chunk(hash, chunk));
            }
        }
    }
}
