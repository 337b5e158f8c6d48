//! Bytes that take their time: what image formats are layered on.

use crate::{BlockError, Result};
use std::pin::Pin;

/// An operation that may have to wait for the host.
pub type Io<'a, T = ()> = Pin<Box<dyn Future<Output = Result<T>> + 'a>>;

/// Bytes that can be read.
pub trait Source {
    /// What messages call it: a path or an address.
    fn name(&self) -> &str;

    /// In bytes.
    fn size(&self) -> u64;

    /// Fills `buf` from `offset` on. All of it must be within [`Self::size`].
    fn read_at<'a>(&'a self, offset: u64, buf: &'a mut [u8]) -> Io<'a>;

    /// Gives `len` bytes from `offset` on to `take`: in order, in pieces as they come.
    fn read_parts<'a>(&'a self, offset: u64, len: u64, take: &'a mut dyn FnMut(&[u8])) -> Io<'a> {
        Box::pin(async move {
            let mut bytes = room(self.name(), len)?;
            self.read_at(offset, &mut bytes).await?;
            take(&bytes);
            Ok(())
        })
    }

    /// How many bytes come in the time for which a read waits for its first one, as far as that is known.
    fn in_a_wait(&self) -> Option<u64> {
        None
    }
}

/// Bytes that can be read and written.
pub trait Store: Source {
    /// Writes all of `data`. What ends after [`Source::size`] makes a file longer, with zeros in between; on a disk,
    /// whose size is fixed, it is an error.
    fn write_at<'a>(&'a self, offset: u64, data: &'a [u8]) -> Io<'a>;

    /// Everything whose writing is complete is kept from now on, come what may.
    fn flush(&self) -> Io<'_>;

    /// The range reads as zeros from now on.
    fn write_zeroes(&self, offset: u64, len: u64) -> Io<'_> {
        Box::pin(async move {
            let zeros = [0; 64 << 10];
            let end = offset.saturating_add(len);
            let mut at = offset;
            while at < end {
                let n = (end - at).min(zeros.len() as u64);
                self.write_at(at, &zeros[..n as usize]).await?;
                at += n;
            }
            Ok(())
        })
    }

    /// The range is not needed any more: it reads as before, or as zeros.
    fn discard(&self, _offset: u64, _len: u64) -> Io<'_> {
        Box::pin(async { Ok(()) })
    }
}

/// Like `read_at`, with zeros after the source's end.
pub(crate) async fn read_padded(source: &dyn Source, offset: u64, buf: &mut [u8]) -> Result<()> {
    let there = source.size().saturating_sub(offset).min(buf.len() as u64) as usize;
    let (inside, outside) = buf.split_at_mut(there);
    outside.fill(0);
    if inside.is_empty() { Ok(()) } else { source.read_at(offset, inside).await }
}

/// Whether `offset..offset + len` is within `size` bytes.
pub(crate) fn within(source: &(impl Source + ?Sized), offset: u64, len: u64) -> Result<()> {
    let capacity = source.size();
    if offset.checked_add(len).is_some_and(|end| end <= capacity) {
        return Ok(());
    }
    Err(BlockError::OutOfRange { image: source.name().to_owned(), offset, len, capacity })
}

/// `len` zero bytes.
pub(crate) fn room(image: &str, len: u64) -> Result<Vec<u8>> {
    let no_memory = || BlockError::NoMemory { image: image.to_owned(), len };
    let n = usize::try_from(len).map_err(|_| no_memory())?;
    let mut room = Vec::new();
    room.try_reserve_exact(n).map_err(|_| no_memory())?;
    room.resize(n, 0);
    Ok(room)
}

impl<S: Source + ?Sized> Source for std::rc::Rc<S> {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn size(&self) -> u64 {
        (**self).size()
    }

    fn read_at<'a>(&'a self, offset: u64, buf: &'a mut [u8]) -> Io<'a> {
        (**self).read_at(offset, buf)
    }

    fn read_parts<'a>(&'a self, offset: u64, len: u64, take: &'a mut dyn FnMut(&[u8])) -> Io<'a> {
        (**self).read_parts(offset, len, take)
    }

    fn in_a_wait(&self) -> Option<u64> {
        (**self).in_a_wait()
    }
}
