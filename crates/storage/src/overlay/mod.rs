//! What was written, apart from the image that it was written to.
//!
//! Nothing that a flush has made durable is ever overwritten: a granule that is written after a flush goes to a free
//! slot, and its old slot is free when the next flush is complete. So a file of any moment has exactly what the last
//! complete flush left, or, if one was under way, perhaps what that one was to leave; never a mixture.
//!
//! In memory (a [`Memory`](crate::Memory) below) it is QEMU's `snapshot=on`; the same bytes are the file that is
//! exported and imported.

mod format;
mod log;
mod map;
mod write;

use crate::io::{read_padded, within};
use crate::sync::RwLock;
use crate::{BlockError, Io, Result, SECTOR, Source, Store};
use format::{BASE, BITS, SLOT, ZEROS};
use log::Log;
use map::{Map, Slots};
use rustc_hash::FxHashMap;
use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;

/// What tells whether an image is the one that it was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// In bytes.
    pub size: u64,
    /// An ETag, a date, a hash: whatever changes with the content. Empty: nothing is known.
    pub tag: String,
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.size)?;
        if self.tag.is_empty() { Ok(()) } else { write!(f, ", {}", self.tag) }
    }
}

/// A base image, and what was written to it.
pub struct Overlay {
    name: String,
    base: Rc<dyn Source>,
    identity: Identity,
    store: Rc<dyn Store>,
    size: u64,
    map: RefCell<Map>,
    slots: RefCell<Slots>,
    /// Granules that were written since the last flush began, and what they were before: their slots may be
    /// overwritten.
    dirty: RefCell<FxHashMap<u32, u32>>,
    /// Slots that are free when nobody reads or writes.
    retired: RefCell<Vec<u32>>,
    log: RefCell<Log>,
    /// Shared by who uses slots; held by who changes which are durable, or free.
    lock: RwLock,
    flushing: RwLock,
}

impl Overlay {
    /// Opens the overlay in `store`, or makes one if that is empty. `base` must be the image that it was made for:
    /// `identity` tells.
    pub async fn open(store: Rc<dyn Store>, base: Rc<dyn Source>, identity: Identity) -> Result<Self> {
        let size = base.size().div_ceil(SECTOR).saturating_mul(SECTOR);
        if size.div_ceil(SLOT) > u64::from(u32::MAX) {
            return Err(BlockError::unsupported(store.name(), "an overlay over a disk of more than 16 TiB"));
        }
        format::check_tag(store.name(), &identity.tag)?;
        let mut overlay = Self {
            name: base.name().to_owned(),
            base,
            identity,
            store,
            size,
            map: RefCell::default(),
            slots: RefCell::default(),
            dirty: RefCell::default(),
            retired: RefCell::default(),
            log: RefCell::default(),
            lock: RwLock::default(),
            flushing: RwLock::default(),
        };
        match overlay.superblock().await? {
            Some(superblock) => overlay.load(superblock).await?,
            None => overlay.create().await?,
        }
        Ok(overlay)
    }

    /// Bytes of the disk that differ from the base image, in whole granules.
    pub fn written(&self) -> u64 {
        self.map.borrow().iter().count() as u64 * SLOT
    }

    /// Flushes, and writes a copy to `target`, which is empty: an overlay with nothing in it that is not needed.
    pub async fn export(&self, target: Rc<dyn Store>) -> Result<()> {
        self.flush().await?;
        let copy = Self::open(target, self.base.clone(), self.identity.clone()).await?;
        let entries: Vec<_> = self.map.borrow().iter().collect();
        let mut buf = vec![0; SLOT as usize];
        for (granule, slot) in entries {
            let offset = u64::from(granule) << BITS;
            let part = &mut buf[..SLOT.min(self.size - offset) as usize];
            if slot == ZEROS {
                copy.write_zeroes(offset, part.len() as u64).await?;
            } else {
                self.read(offset, part).await?;
                copy.write_at(offset, part).await?;
            }
        }
        copy.flush().await
    }

    async fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let guard = self.lock.shared().await;
        let mut from_base: Vec<Range<usize>> = Vec::new();
        let mut at = 0;
        while at < buf.len() {
            let (slot, len) = self.run(offset + at as u64, (buf.len() - at) as u64);
            let part = at..at + len as usize;
            at = part.end;
            match slot {
                BASE => from_base.push(part),
                ZEROS => buf[part].fill(0),
                slot => {
                    let inside = (offset + part.start as u64) & (SLOT - 1);
                    read_padded(&*self.store, (u64::from(slot) << BITS) + inside, &mut buf[part]).await?;
                }
            }
        }
        drop(guard); // the base never changes, and may take its time
        for part in from_base {
            read_padded(&*self.base, offset + part.start as u64, &mut buf[part]).await?;
        }
        Ok(())
    }

    /// Where byte `offset` of the disk is, and for how many of `len` bytes that goes on: in slots that are
    /// neighbours, in the base, in zeros.
    fn run(&self, offset: u64, len: u64) -> (u32, u64) {
        let map = self.map.borrow();
        let granule = (offset >> BITS) as u32;
        let first = map.get(granule);
        let end = offset + len;
        let mut granules = 1;
        loop {
            let next = (u64::from(granule) + granules) << BITS;
            if next >= end {
                return (first, len);
            }
            let slot = map.get(granule + granules as u32);
            let expected = if first <= ZEROS { first } else { first.wrapping_add(granules as u32) };
            if slot != expected || (first > ZEROS && slot <= ZEROS) {
                return (first, next - offset);
            }
            granules += 1;
        }
    }

    fn damaged(&self, what: impl Into<String>) -> BlockError {
        let what = what.into();
        BlockError::Io {
            image: self.store.name().to_owned(),
            reason: format!("the overlay is damaged: {what}; import a copy that was exported, or begin a new one"),
        }
    }
}

impl Source for Overlay {
    fn name(&self) -> &str {
        &self.name
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn read_at<'a>(&'a self, offset: u64, buf: &'a mut [u8]) -> Io<'a> {
        Box::pin(async move {
            within(self, offset, buf.len() as u64)?;
            self.read(offset, buf).await
        })
    }
}

impl Store for Overlay {
    fn write_at<'a>(&'a self, offset: u64, data: &'a [u8]) -> Io<'a> {
        Box::pin(async move {
            within(self, offset, data.len() as u64)?;
            self.write(offset, data).await
        })
    }

    fn flush(&self) -> Io<'_> {
        Box::pin(self.commit())
    }

    fn write_zeroes(&self, offset: u64, len: u64) -> Io<'_> {
        Box::pin(async move {
            within(self, offset, len)?;
            self.zero(offset, len).await
        })
    }

    fn discard(&self, offset: u64, len: u64) -> Io<'_> {
        Box::pin(async move {
            within(self, offset, len)?;
            self.discard_granules(offset, len).await
        })
    }
}
