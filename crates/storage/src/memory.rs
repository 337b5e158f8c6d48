//! A raw image held in memory as a whole.

use crate::{BlockBackend, BlockError, Completion, Request, SECTOR, Tag};

/// A disk whose bytes are in memory. What is written is lost with it.
pub struct MemoryDisk {
    bytes: Vec<u8>,
    read_only: bool,
    done: Vec<Completion>,
}

impl MemoryDisk {
    /// A disk of the bytes of a raw image; a last sector that is not whole is filled up with zeros.
    pub fn new(mut image: Vec<u8>, read_only: bool) -> Self {
        image.resize(image.len().next_multiple_of(SECTOR as usize), 0);
        Self { bytes: image, read_only, done: Vec::new() }
    }

    /// The bytes now.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn range(&self, offset: u64, len: u64) -> Result<std::ops::Range<usize>, BlockError> {
        let end = offset.checked_add(len).filter(|end| *end <= self.capacity());
        // the capacity is the length of a slice
        end.map(|end| offset as usize..end as usize).ok_or(BlockError::OutOfRange(len, offset))
    }

    fn writable(&self, offset: u64, len: u64) -> Result<std::ops::Range<usize>, BlockError> {
        if self.read_only { Err(BlockError::ReadOnly) } else { self.range(offset, len) }
    }

    fn perform(&mut self, request: Request) -> Result<Vec<u8>, BlockError> {
        match request {
            Request::Read { offset, len } => return Ok(self.bytes[self.range(offset, len as u64)?].to_vec()),
            Request::Write { offset, data } => {
                let range = self.writable(offset, data.len() as u64)?;
                self.bytes[range].copy_from_slice(&data);
            }
            Request::Discard { offset, len } | Request::WriteZeroes { offset, len } => {
                let range = self.writable(offset, len)?;
                self.bytes[range].fill(0);
            }
            Request::Flush => {}
        }
        Ok(Vec::new())
    }
}

impl BlockBackend for MemoryDisk {
    fn capacity(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_only(&self) -> bool {
        self.read_only
    }

    fn submit(&mut self, tag: Tag, request: Request) {
        let result = self.perform(request);
        self.done.push(Completion { tag, result });
    }

    fn poll(&mut self) -> Option<Completion> {
        self.done.pop()
    }
}
