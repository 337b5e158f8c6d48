//! A disk's contents, for others than its guest: read and exported while the machine stands still.

use crate::io::{read_padded, room};
use crate::{BlockError, Overlay, Request, Result, Source, Store};
use std::cell::Cell;
use std::rc::Rc;

/// What a guest has asked of a disk so far.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Bytes.
    pub read: Cell<u64>,
    /// Bytes, those of zeroes that are written as such included.
    pub written: Cell<u64>,
}

impl Traffic {
    pub(crate) fn count(&self, request: &Request) {
        let add = |to: &Cell<u64>, bytes: u64| to.set(to.get().saturating_add(bytes));
        match *request {
            Request::Read { len, .. } => add(&self.read, len as u64),
            Request::Write { ref data, .. } => add(&self.written, data.len() as u64),
            Request::WriteZeroes { len, .. } => add(&self.written, len),
            Request::Flush | Request::Discard { .. } => {}
        }
    }
}

/// What a disk holds now.
#[derive(Clone)]
pub struct Contents {
    source: Rc<dyn Source>,
    overlay: Option<Rc<Overlay>>,
    capacity: u64,
    read_only: bool,
    traffic: Rc<Traffic>,
}

impl Contents {
    pub(crate) fn new(
        source: Rc<dyn Source>,
        overlay: Option<Rc<Overlay>>,
        capacity: u64,
        read_only: bool,
        traffic: Rc<Traffic>,
    ) -> Self {
        Self { source, overlay, capacity, read_only, traffic }
    }

    /// Bytes of the disk.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    pub fn read_only(&self) -> bool {
        self.read_only
    }

    /// Whether what is written is kept apart from the image.
    pub fn has_overlay(&self) -> bool {
        self.overlay.is_some()
    }

    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// `len` bytes from `offset` on, which must be on the disk.
    pub async fn read(&self, offset: u64, len: u32) -> Result<Vec<u8>> {
        let image = self.source.name();
        if offset.checked_add(len.into()).is_none_or(|end| end > self.capacity) {
            let (image, len, capacity) = (image.to_owned(), len.into(), self.capacity);
            return Err(BlockError::OutOfRange { image, offset, len, capacity });
        }
        let mut data = room(image, len.into())?;
        read_padded(&*self.source, offset, &mut data).await?;
        Ok(data)
    }

    /// Writes what differs from the image to `target`, which is empty: [`Overlay::export`].
    pub async fn export(&self, target: Rc<dyn Store>) -> Result<()> {
        match &self.overlay {
            Some(overlay) => overlay.export(target).await,
            None => Err(BlockError::unsupported(
                self.source.name(),
                "the export of an overlay: this drive has none, its image itself is written; export the disk, or add \
                 snapshot=on or overlay=FILE to the drive",
            )),
        }
    }
}
