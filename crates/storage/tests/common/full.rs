//! A store that has only so much room.

use std::cell::Cell;
use storage::{BlockError, Io, Memory, Source, Store};

pub struct Full {
    pub file: Memory,
    pub room: Cell<u64>,
}

impl Source for Full {
    fn name(&self) -> &str {
        self.file.name()
    }

    fn size(&self) -> u64 {
        self.file.size()
    }

    fn read_at<'a>(&'a self, offset: u64, buf: &'a mut [u8]) -> Io<'a> {
        self.file.read_at(offset, buf)
    }
}

impl Store for Full {
    fn write_at<'a>(&'a self, offset: u64, data: &'a [u8]) -> Io<'a> {
        if offset + data.len() as u64 <= self.room.get() {
            return self.file.write_at(offset, data);
        }
        Box::pin(async { Err(BlockError::Io { image: self.name().to_owned(), reason: "it is full".to_owned() }) })
    }

    fn flush(&self) -> Io<'_> {
        self.file.flush()
    }
}
