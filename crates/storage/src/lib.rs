//! Disks: what a block device reads and writes, from images of several formats, on whatever holds their bytes.
//!
//! A block device sees a [`BlockBackend`], which never blocks. Behind it is a [`Disk`]: each request is a future over
//! layers of [`Source`] and [`Store`], polled at once when it is submitted (so what is in memory completes there and
//! then) and again when the host has answered.
//!
//! ```text
//! BlockBackend  Disk ── Executor
//! layers        Overlay (what was written)  Qcow2  Chunked  Cached (what was fetched)  Kept (for the next time)
//! bytes         Memory   HostFile: File, OPFS, HTTP ranges, a file in Node
//! ```

mod ahead;
mod cache;
mod chunked;
mod contents;
mod disk;
mod error;
mod executor;
mod hash;
mod host;
mod io;
mod kept;
mod link;
mod memory;
mod overlay;
mod probe;
mod qcow2;
mod sync;

pub use cache::{Cached, Loader, Ranges};
pub use chunked::{Chunked, Codec, Manifest, Objects, Packer, Piece};
pub use contents::{Contents, Traffic};
pub use disk::{Disk, Layer};
pub use error::{BlockError, Result};
pub use executor::Executor;
pub use hash::Hash;
pub use host::{Ended, Host, HostFile, HostFiles, OpenedFile, Started};
pub use io::{Io, Source, Store};
pub use kept::Kept;
pub use link::Pace;
pub use memory::Memory;
pub use overlay::{Identity, Overlay};
pub use probe::{Access, Drive, File, Files, Format, Opener, object_name, probe};
pub use qcow2::{Backing, Qcow2};

/// Bytes in a sector: offsets and lengths of requests are multiples of it.
pub const SECTOR: u64 = 512;

/// A device's name for a request, given back with its completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tag(pub u64);

/// What a block device asks of its disk. Offsets and lengths are bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    Read {
        offset: u64,
        len: usize,
    },
    Write {
        offset: u64,
        data: Vec<u8>,
    },
    /// What was written by requests that are complete is to survive the end of everything.
    Flush,
    /// The range's contents are not needed any more; it may read as anything that was there, or zeros.
    Discard {
        offset: u64,
        len: u64,
    },
    /// The range reads as zeros from now on.
    WriteZeroes {
        offset: u64,
        len: u64,
    },
}

/// The end of a request: the bytes that were read (nothing for other requests), or why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    pub tag: Tag,
    pub result: Result<Vec<u8>>,
}

/// What a disk is to a block device. Never blocks; completions come in any order.
pub trait BlockBackend {
    /// Bytes, a multiple of [`SECTOR`].
    fn capacity(&self) -> u64;

    fn read_only(&self) -> bool;

    /// Begins a request. One that needs nothing of the host is complete when this returns: the next [`Self::poll`]
    /// has it. Of requests in flight at the same time that overlap, either may be done first.
    fn submit(&mut self, tag: Tag, request: Request);

    /// A request that has ended since.
    fn poll(&mut self) -> Option<Completion>;
}
