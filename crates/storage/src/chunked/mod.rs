//! Images as the packer makes them: compressed chunks, each an object that is called by the hash of its content, and
//! a [`Manifest`].
//!
//! Any static host serves that, without ranges; images share the chunks that are the same; chunks of zeros are
//! nothing; what comes over the network is checked.

mod codec;
mod manifest;

pub use codec::Codec;
pub use manifest::{MAGIC, Manifest};

use crate::{BlockError, Hash, Io, Loader};
use std::collections::BTreeSet;
use std::ops::Range;

/// Where chunks come from.
pub trait Objects {
    /// The compressed chunk whose content has this hash. `again`: what came before was not right, so not out of a
    /// cache.
    fn get<'a>(&'a self, hash: &'a Hash, again: bool) -> Io<'a, Vec<u8>>;
}

/// A chunked image; to be read through a [`Cached`](crate::Cached).
pub struct Chunked<O> {
    name: String,
    manifest: Manifest,
    objects: O,
}

impl<O: Objects> Chunked<O> {
    pub fn new(name: impl Into<String>, manifest: Manifest, objects: O) -> Self {
        Self { name: name.into(), manifest, objects }
    }

    async fn chunk(&self, index: u64) -> crate::Result<Vec<u8>> {
        let len = self.manifest.chunk_len(index);
        let Some(hash) = usize::try_from(index).ok().and_then(|i| *self.manifest.chunks.get(i)?) else {
            return Ok(vec![0; len]);
        };
        let mut why = String::new();
        for again in [false, true] {
            let packed = self.objects.get(&hash, again).await?;
            match self.manifest.codec.unpack(&packed, len) {
                Ok(bytes) if Hash::of(&bytes) == hash => return Ok(bytes),
                Ok(_) => why = "its content has another hash".to_owned(),
                Err(error) => why = format!("it does not decompress: {error}"),
            }
        }
        Err(BlockError::damaged(&self.name, format!("chunk {hash}: {why}")))
    }
}

impl<O: Objects> Loader for Chunked<O> {
    fn name(&self) -> &str {
        &self.name
    }

    fn size(&self) -> u64 {
        self.manifest.size
    }

    fn chunk_bits(&self) -> u32 {
        self.manifest.chunk_bits
    }

    /// Each chunk is an object of its own.
    fn run(&self) -> u64 {
        1
    }

    fn is_zero(&self, chunk: u64) -> bool {
        usize::try_from(chunk).is_ok_and(|i| self.manifest.chunks.get(i) == Some(&None))
    }

    fn load(&self, chunks: Range<u64>) -> Io<'_, Vec<u8>> {
        Box::pin(async move {
            let mut bytes = Vec::new();
            for index in chunks {
                bytes.append(&mut self.chunk(index).await?);
            }
            Ok(bytes)
        })
    }
}

/// What [`pack`] makes of an image, besides the objects.
pub struct Packed {
    pub manifest: Manifest,
    /// Objects that were made, and their bytes.
    pub objects: usize,
    pub bytes: u64,
}

/// Cuts `image` into chunks of `1 << chunk_bits` bytes (12 to 24) and gives each that is new to `put`, compressed by
/// `compress` with `codec`.
pub fn pack<E>(
    size: u64,
    (codec, chunk_bits): (Codec, u32),
    mut read: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
    mut compress: impl FnMut(&[u8]) -> Vec<u8>,
    mut put: impl FnMut(&Hash, Vec<u8>) -> Result<(), E>,
) -> Result<Packed, E> {
    assert!((12..=24).contains(&chunk_bits), "chunks have 2^12 to 2^24 bytes");
    let mut packed =
        Packed { manifest: Manifest { codec, chunk_bits, size, chunks: Vec::new() }, objects: 0, bytes: 0 };
    let mut seen = BTreeSet::new();
    for index in 0..size.div_ceil(1 << chunk_bits) {
        let mut chunk = vec![0; packed.manifest.chunk_len(index)];
        read(index << chunk_bits, &mut chunk)?;
        if chunk.iter().all(|byte| *byte == 0) {
            packed.manifest.chunks.push(None);
            continue;
        }
        let hash = Hash::of(&chunk);
        packed.manifest.chunks.push(Some(hash));
        if seen.insert(hash) {
            let object = compress(&chunk);
            packed.objects += 1;
            packed.bytes += object.len() as u64;
            put(&hash, object)?;
        }
    }
    Ok(packed)
}
