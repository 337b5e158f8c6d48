//! Disks: what a block device reads from and writes to.

mod memory;

pub use memory::MemoryDisk;

/// Bytes of a sector: what capacities, offsets and lengths are multiples of.
pub const SECTOR: u64 = 512;

/// Names a request to the backend that has not completed; chosen by the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tag(pub u64);

/// What is asked of a disk. Offsets and lengths are in bytes, multiples of [`SECTOR`], within the capacity.
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
    /// All that was completed before is kept from now on, whatever happens.
    Flush,
    /// The range's contents are no longer needed.
    Discard {
        offset: u64,
        len: u64,
    },
    WriteZeroes {
        offset: u64,
        len: u64,
    },
}

/// Why a request failed. The guest sees an I/O error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    #[error("{0} bytes at {1} are beyond the disk's end")]
    OutOfRange(u64, u64),
    #[error("the disk is read-only")]
    ReadOnly,
    /// The source failed; the text names it.
    #[error("{0}")]
    Io(String),
}

/// The outcome of a request: the bytes of a read, nothing of the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    pub tag: Tag,
    pub result: Result<Vec<u8>, BlockError>,
}

/// What a disk is to a block device. Never blocks; completions come in any order.
pub trait BlockBackend {
    /// Bytes, a multiple of [`SECTOR`].
    fn capacity(&self) -> u64;
    fn read_only(&self) -> bool;
    /// Begins a request. What is at hand completes at once: the next `poll` gives it.
    fn submit(&mut self, tag: Tag, request: Request);
    /// Takes a completed request.
    fn poll(&mut self) -> Option<Completion>;
}
