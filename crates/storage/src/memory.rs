//! Bytes in memory.

use crate::io::{room, within};
use crate::{BlockError, Io, Result, Source, Store};
use std::cell::RefCell;

/// A file in memory, which grows as it is written.
pub struct Memory {
    name: String,
    bytes: RefCell<Vec<u8>>,
}

impl Memory {
    pub fn new(name: impl Into<String>, bytes: Vec<u8>) -> Self {
        Self { name: name.into(), bytes: RefCell::new(bytes) }
    }

    /// What it holds at the end.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes.into_inner()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        let mut bytes = self.bytes.borrow_mut();
        let no_memory = || BlockError::NoMemory { image: self.name.clone(), len: offset };
        let start = usize::try_from(offset).map_err(|_| no_memory())?;
        let end = start.checked_add(data.len()).ok_or_else(no_memory)?;
        if end > bytes.len() {
            let more = end - bytes.len();
            // twice as much as there is would be half of a 32-bit memory: an eighth more is enough to be linear
            let spare = more.max(bytes.len() / 8);
            if bytes.capacity() < end && bytes.try_reserve_exact(spare).is_err() {
                bytes.try_reserve_exact(more).map_err(|_| no_memory())?;
            }
            bytes.resize(end, 0);
        }
        bytes[start..end].copy_from_slice(data);
        Ok(())
    }
}

impl Source for Memory {
    fn name(&self) -> &str {
        &self.name
    }

    fn size(&self) -> u64 {
        self.bytes.borrow().len() as u64
    }

    fn read_at<'a>(&'a self, offset: u64, buf: &'a mut [u8]) -> Io<'a> {
        Box::pin(async move {
            within(self, offset, buf.len() as u64)?;
            let start = offset as usize;
            buf.copy_from_slice(&self.bytes.borrow()[start..start + buf.len()]);
            Ok(())
        })
    }
}

impl Store for Memory {
    fn write_at<'a>(&'a self, offset: u64, data: &'a [u8]) -> Io<'a> {
        Box::pin(async move { self.write(offset, data) })
    }

    fn flush(&self) -> Io<'_> {
        Box::pin(async { Ok(()) })
    }

    fn write_zeroes(&self, offset: u64, len: u64) -> Io<'_> {
        Box::pin(async move { self.write(offset, &room(&self.name, len)?) })
    }
}
