//! A chain of buffers in guest RAM: first those that the device reads, then those that it writes.

use bus::Dma;

/// One buffer. [`crate::queue`] has found it to be in RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    pub address: u64,
    pub len: u32,
}

/// The buffers of one request. Its parts are addressed by byte offset, whatever descriptors they are spread over
/// (virtio 1.2, 2.7.4).
#[derive(Debug, Default)]
pub struct Chain {
    head: u16,
    segments: Vec<Segment>,
    /// The first so many segments are for the device to read.
    readable: usize,
}

impl Chain {
    pub(crate) fn begin(&mut self, head: u16) {
        self.segments.clear();
        (self.head, self.readable) = (head, 0);
    }

    /// Appends a segment; false if it is to be read and follows one to be written.
    #[must_use]
    pub(crate) fn push(&mut self, segment: Segment, writable: bool) -> bool {
        if !writable && self.readable < self.segments.len() {
            return false;
        }
        self.segments.push(segment);
        self.readable += usize::from(!writable);
        true
    }

    /// The number of its first descriptor, by which the driver knows it.
    pub fn head(&self) -> u16 {
        self.head
    }

    /// The buffers to read.
    pub fn to_read(&self) -> &[Segment] {
        &self.segments[..self.readable]
    }

    /// The buffers to write.
    pub fn to_write(&self) -> &[Segment] {
        &self.segments[self.readable..]
    }

    /// Bytes to read.
    pub fn read_len(&self) -> u64 {
        length(self.to_read())
    }

    /// Bytes to write.
    pub fn write_len(&self) -> u64 {
        length(self.to_write())
    }

    /// The first `N` bytes after `offset` of what is to be read; `None` where there are fewer.
    pub fn read<const N: usize>(&self, ram: &dyn Dma, offset: u64) -> Option<[u8; N]> {
        let mut out = [0; N];
        let mut at = 0;
        pieces(self.to_read(), offset, N as u64, |p| {
            let n = p.len as usize;
            out[at..at + n].copy_from_slice(ram.bytes(p.address, n)?);
            at += n;
            Some(())
        })?;
        (at == N).then_some(out)
    }

    /// Appends to `out` up to `len` bytes from `offset` on of what is to be read.
    pub fn read_to(&self, ram: &dyn Dma, offset: u64, len: u64, out: &mut Vec<u8>) {
        let _ = pieces(self.to_read(), offset, len, |p| {
            out.extend_from_slice(ram.bytes(p.address, p.len as usize)?);
            Some(())
        });
    }

    /// Writes `bytes` at `offset` of what is to be written, as far as there is room; how many fitted.
    pub fn write(&self, ram: &mut dyn Dma, offset: u64, bytes: &[u8]) -> u32 {
        let mut at = 0;
        let _ = pieces(self.to_write(), offset, bytes.len() as u64, |p| {
            let n = p.len as usize;
            ram.bytes_mut(p.address, n)?.copy_from_slice(&bytes[at..at + n]);
            at += n;
            Some(())
        });
        at as u32
    }
}

fn length(segments: &[Segment]) -> u64 {
    segments.iter().map(|s| u64::from(s.len)).sum()
}

/// Calls `f` for each piece of the `len` bytes from `offset` on in `segments`, until it returns `None`.
fn pieces(segments: &[Segment], offset: u64, len: u64, mut f: impl FnMut(Segment) -> Option<()>) -> Option<()> {
    let (mut skip, mut left) = (offset, len);
    for s in segments {
        let size = u64::from(s.len);
        if skip >= size {
            skip -= size;
            continue;
        }
        let n = (size - skip).min(left);
        if n != 0 {
            f(Segment { address: s.address.wrapping_add(skip), len: n as u32 })?;
        }
        (skip, left) = (0, left - n);
        if left == 0 {
            break;
        }
    }
    Some(())
}
