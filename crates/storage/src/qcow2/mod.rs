//! The qcow2 format, versions 2 and 3 (<https://www.qemu.org/docs/master/interop/qcow2.html>).
//!
//! Readers share the image, writers have it for themselves. Data goes into the file at once; tables are changed in
//! memory and written when the guest flushes (or they are many), one kind after another with the file flushed in
//! between, so that after a crash at any point no table refers to what is not there: see [`Qcow2::commit`].

mod header;
mod read;
mod refcounts;
mod tables;
mod write;

pub use header::{Backing, MAGIC};

use crate::disk::Layer;
use crate::io::{room, within};
use crate::sync::RwLock;
use crate::{BlockError, Io, Result, Source, Store};
use header::Header;
use read::Decompressed;
use refcounts::Refcounts;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use tables::{Kind, Tables};

/// Bits of a table's entry that are an offset.
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
/// What the entry refers to has a refcount of exactly one.
const COPIED: u64 = 1 << 63;
const COMPRESSED: u64 = 1 << 62;
/// The cluster reads as zeros (version 3).
const ZERO: u64 = 1;

/// An opened image.
pub struct Qcow2 {
    name: String,
    file: Layer,
    header: Header,
    backing: Option<Rc<dyn Source>>,
    l1: RefCell<Vec<u64>>,
    l1_dirty: RefCell<BTreeSet<usize>>,
    tables: Tables,
    refcounts: Refcounts,
    decompressed: Decompressed,
    /// The features that other writers keep up to date, and this one does not, are still announced.
    autoclear: Cell<bool>,
    lock: RwLock,
}

/// What an L2 entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cluster {
    /// As the backing file.
    Unallocated,
    /// Zeros; a cluster of the file may be set aside for it.
    Zero {
        host: Option<u64>,
        copied: bool,
    },
    Data {
        host: u64,
        copied: bool,
    },
    /// `len` bytes at `host`, the last of which may be another's.
    Compressed {
        host: u64,
        len: u64,
    },
}

impl Qcow2 {
    /// The backing file that an image names, if it does.
    pub async fn backing(file: &dyn Source) -> Result<Option<Backing>> {
        Ok(Header::read(file).await?.backing)
    }

    /// Opens the image in `file`, with `backing` in the places that it does not hold.
    pub async fn open(file: Layer, backing: Option<Rc<dyn Source>>) -> Result<Self> {
        let source = file.source();
        let header = Header::read(&*source).await?;
        if let (Layer::ReadWrite(_), Some(why)) = (&file, header.read_only) {
            return Err(BlockError::ReadOnly { image: source.name().to_owned(), why });
        }
        let image = Self {
            name: source.name().to_owned(),
            tables: Tables::new(header.cluster_size()),
            autoclear: Cell::new(header.autoclear != 0),
            header,
            backing,
            l1: RefCell::default(),
            l1_dirty: RefCell::default(),
            refcounts: Refcounts::default(),
            decompressed: Decompressed::default(),
            lock: RwLock::default(),
            file,
        };
        let bytes = image.load_table("L1", image.header.l1_offset, u64::from(image.header.l1_entries) * 8).await?;
        *image.l1.borrow_mut() = be64(&bytes).collect();
        if let Layer::ReadWrite(_) = image.file {
            image.load_refcounts().await?;
        }
        Ok(image)
    }

    fn cluster_size(&self) -> u64 {
        self.header.cluster_size()
    }

    fn damaged(&self, what: impl Into<String>) -> BlockError {
        BlockError::damaged(&self.name, what)
    }

    fn store(&self) -> Result<&dyn Store> {
        match &self.file {
            Layer::ReadWrite(store) => Ok(&**store),
            Layer::ReadOnly(_) => Err(BlockError::ReadOnly { image: self.name.clone(), why: "it was opened so" }),
        }
    }

    async fn load_table(&self, which: &str, offset: u64, len: u64) -> Result<Vec<u8>> {
        let file = self.file.source();
        let mut bytes = room(&self.name, len)?;
        if offset.checked_add(len).is_none_or(|end| end > file.size()) {
            return Err(self.damaged(format!(
                "it is truncated: its {which} table is at bytes {offset}..+{len}, of {} bytes of file",
                file.size()
            )));
        }
        file.read_at(offset, &mut bytes).await?;
        Ok(bytes)
    }

    /// The L2 table that has `cluster`'s entry: its index in the L1 table, and the L1 entry.
    fn l1_entry(&self, cluster: u64) -> Result<(usize, u64)> {
        let index = (cluster >> (self.header.cluster_bits - 3)) as usize;
        let entry = self.l1.borrow().get(index).copied();
        let entry = entry.ok_or_else(|| self.damaged(format!("its L1 table has no entry {index}")))?;
        if entry & OFFSET & (self.cluster_size() - 1) != 0 {
            return Err(self.damaged(format!("an L2 table at byte {}", entry & OFFSET)));
        }
        Ok((index, entry))
    }

    /// Where in its L2 table the entry of `cluster` is.
    fn l2_position(&self, cluster: u64) -> u64 {
        cluster * 8 & (self.cluster_size() - 1)
    }

    async fn map(&self, cluster: u64) -> Result<Cluster> {
        let table = self.l1_entry(cluster)?.1 & OFFSET;
        if table == 0 {
            return Ok(Cluster::Unallocated);
        }
        let at = self.l2_position(cluster);
        let slice = self.tables.get(&*self.file.source(), Kind::L2, table, at).await?;
        self.parse(slice.u64(at))
    }

    fn parse(&self, entry: u64) -> Result<Cluster> {
        let copied = entry & COPIED != 0;
        if entry & COMPRESSED != 0 {
            let offset_bits = 62 - (self.header.cluster_bits - 8);
            let host = entry & ((1 << offset_bits) - 1);
            let sectors = (entry & !(COPIED | COMPRESSED)) >> offset_bits;
            return Ok(Cluster::Compressed { host, len: (sectors + 1) * 512 - (host & 511) });
        }
        let host = entry & OFFSET;
        if host & (self.cluster_size() - 1) != 0 {
            return Err(self.damaged(format!("a cluster of data at byte {host}")));
        }
        Ok(match host {
            _ if self.header.version >= 3 && entry & ZERO != 0 => {
                Cluster::Zero { host: (host != 0).then_some(host), copied }
            }
            0 => Cluster::Unallocated,
            _ => Cluster::Data { host, copied },
        })
    }
}

impl Source for Qcow2 {
    fn name(&self) -> &str {
        &self.name
    }

    fn size(&self) -> u64 {
        self.header.size
    }

    fn read_at<'a>(&'a self, offset: u64, buf: &'a mut [u8]) -> Io<'a> {
        Box::pin(async move {
            within(self, offset, buf.len() as u64)?;
            self.read(offset, buf).await
        })
    }
}

impl Store for Qcow2 {
    fn write_at<'a>(&'a self, offset: u64, data: &'a [u8]) -> Io<'a> {
        Box::pin(async move {
            within(self, offset, data.len() as u64)?;
            let _guard = self.lock.exclusive().await;
            self.write(offset, data).await
        })
    }

    fn flush(&self) -> Io<'_> {
        Box::pin(async move {
            let _guard = self.lock.exclusive().await;
            self.commit().await
        })
    }

    fn write_zeroes(&self, offset: u64, len: u64) -> Io<'_> {
        Box::pin(async move {
            within(self, offset, len)?;
            let _guard = self.lock.exclusive().await;
            self.zero(offset, len).await
        })
    }

    fn discard(&self, offset: u64, len: u64) -> Io<'_> {
        Box::pin(async move {
            within(self, offset, len)?;
            let _guard = self.lock.exclusive().await;
            self.drop_clusters(offset, len).await
        })
    }
}

fn be64(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.chunks_exact(8).map(|chunk| chunk.iter().fold(0, |n, byte| n << 8 | u64::from(*byte)))
}
