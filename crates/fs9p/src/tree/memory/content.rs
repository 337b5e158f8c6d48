//! A regular file's bytes, with holes.

use super::State;
use crate::{Errno, Result};
use std::collections::BTreeMap;
use std::rc::Rc;

/// Bytes of a chunk. One whose end was not written is shorter.
const CHUNK: u64 = 64 << 10;
/// What a chunk is counted as, beside its bytes: its entry in a map whose nodes are half empty, and the allocator's share.
const CHUNK_BYTES: u64 = 128;
/// Chunks grow by pages; the first page by powers of two.
const PAGE: usize = 4096;

/// Contents of any size up to `i64::MAX`; what was never written is zero and takes no room.
pub struct Content {
    state: Rc<State>,
    size: u64,
    /// By offset / [`CHUNK`]; a chunk's bytes beyond its vector are zero.
    chunks: BTreeMap<u64, Vec<u8>>,
    /// Bytes of all chunks.
    held: u64,
}

/// What a chunk is counted as, none if it is empty.
fn counted(len: usize) -> u64 {
    if len == 0 { 0 } else { CHUNK_BYTES + len as u64 }
}

/// The greatest size of a file, as on Linux.
pub const SIZE_MAX: u64 = i64::MAX as u64;

impl Content {
    pub fn new(state: &Rc<State>) -> Self {
        Self { state: state.clone(), size: 0, chunks: BTreeMap::new(), held: 0 }
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes that are not a hole.
    pub fn held(&self) -> u64 {
        self.held
    }

    /// Appends up to `count` bytes from `offset` on to `to`.
    pub fn read(&self, offset: u64, count: usize, to: &mut Vec<u8>) {
        let count = self.size.saturating_sub(offset).min(count as u64) as usize;
        let start = to.len();
        to.resize(start + count, 0);
        let mut rest = &mut to[start..];
        let mut at = offset;
        while !rest.is_empty() {
            let within = (at % CHUNK) as usize;
            let (part, others) = rest.split_at_mut(rest.len().min(CHUNK as usize - within));
            if let Some(bytes) = self.chunks.get(&(at / CHUNK)).and_then(|chunk| chunk.get(within..)) {
                let n = bytes.len().min(part.len());
                part[..n].copy_from_slice(&bytes[..n]);
            }
            at += part.len() as u64;
            rest = others;
        }
    }

    /// Writes as much of `data` as there is room for: EFBIG, ENOSPC if that is nothing.
    pub fn write(&mut self, offset: u64, data: &[u8]) -> Result<usize> {
        let room = SIZE_MAX.saturating_sub(offset).min(data.len() as u64) as usize;
        if room == 0 && !data.is_empty() {
            return Err(Errno::EFBIG);
        }
        let (mut at, mut rest) = (offset, &data[..room]);
        while !rest.is_empty() {
            let within = (at % CHUNK) as usize;
            let (part, others) = rest.split_at(rest.len().min(CHUNK as usize - within));
            if !self.write_chunk(at / CHUNK, within, part) {
                break;
            }
            at += part.len() as u64;
            rest = others;
        }
        self.size = self.size.max(at);
        match at - offset {
            0 if !data.is_empty() => Err(Errno::ENOSPC),
            n => Ok(n as usize),
        }
    }

    fn write_chunk(&mut self, number: u64, within: usize, part: &[u8]) -> bool {
        let chunk = self.chunks.entry(number).or_default();
        let end = within + part.len();
        if end > chunk.len() {
            let len = if end < PAGE { end.next_power_of_two() } else { end.next_multiple_of(PAGE) };
            let more = counted(len) - counted(chunk.len());
            let room = self.state.take(more);
            if !room || chunk.try_reserve_exact(len - chunk.len()).is_err() {
                self.state.give_back(if room { more } else { 0 });
                if chunk.is_empty() {
                    self.chunks.remove(&number);
                }
                return false;
            }
            self.held += (len - chunk.len()) as u64;
            chunk.resize(len, 0);
        }
        chunk[within..end].copy_from_slice(part);
        true
    }

    /// Makes the file this long: EFBIG. What is behind the end is forgotten.
    pub fn truncate(&mut self, size: u64) -> Result<()> {
        if size > SIZE_MAX {
            return Err(Errno::EFBIG);
        }
        if size < self.size {
            let last = self.chunks.get_mut(&(size / CHUNK));
            let kept = (size % CHUNK) as usize;
            if let Some(last) = last.filter(|last| kept > 0 && last.len() > kept) {
                let dropped = (last.len() - kept) as u64;
                last.truncate(kept);
                last.shrink_to_fit();
                self.held -= dropped;
                self.state.give_back(dropped);
            }
            let dropped = self.chunks.split_off(&size.div_ceil(CHUNK));
            self.held -= dropped.values().map(|chunk| chunk.len() as u64).sum::<u64>();
            self.state.give_back(dropped.values().map(|chunk| counted(chunk.len())).sum());
        }
        self.size = size;
        Ok(())
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        self.state.give_back(self.held + self.chunks.len() as u64 * CHUNK_BYTES);
    }
}
