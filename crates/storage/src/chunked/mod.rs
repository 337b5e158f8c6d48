//! Images as the packer makes them: compressed chunks, each an object that is called by the hash of its content, and
//! a [`Manifest`].
//!
//! Any static host serves that, without ranges; images share the chunks that are the same; chunks of zeros are
//! nothing; what comes over the network is checked.

mod codec;
mod manifest;
mod packer;

pub use codec::Codec;
pub use manifest::{MAGIC, Manifest};
pub use packer::{Packer, Piece};

use crate::{BlockError, Hash, Io, Loader};
use std::ops::Range;
use std::rc::Rc;

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

    fn load<'a>(&'a self, chunks: Range<u64>, come: &'a dyn Fn(u64, Rc<[u8]>)) -> Io<'a> {
        Box::pin(async move {
            for index in chunks {
                come(index, self.chunk(index).await?.into());
            }
            Ok(())
        })
    }
}
