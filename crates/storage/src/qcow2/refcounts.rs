//! Which clusters of the file are in use, and how often.
//!
//! A cluster is only given away again when nothing in the file refers to it any more, also after a crash: what is freed
//! is kept in `freed` until the tables that referred to it are written.

use super::header::{MAX_REFCOUNT_TABLE_BYTES, REFCOUNT_TABLE_AT};
use super::tables::Kind;
use super::{Qcow2, be64};
use crate::io::room;
use crate::{BlockError, Result, Store};
use rustc_hash::FxHashSet;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

/// New clusters lie at the file's end; it may be this many further on, when some were given away and not written.
const BEHIND_END: u64 = 64;

#[derive(Default)]
pub struct Refcounts {
    /// Offsets of refcount blocks.
    pub table: RefCell<Vec<u64>>,
    pub table_offset: Cell<u64>,
    /// Entries of the table that wait to be written.
    pub dirty: RefCell<BTreeSet<usize>>,
    /// No cluster below this one is free.
    hint: Cell<u64>,
    /// One reference less to each of these clusters, once the tables are written.
    freed: RefCell<Vec<u64>>,
    /// Clusters that hold the header and the tables in use: never a guest's data, whatever a table says.
    pub metadata: RefCell<FxHashSet<u64>>,
}

impl Qcow2 {
    fn clusters_a_block(&self) -> u64 {
        self.cluster_size() * 8 >> self.header.refcount_order
    }

    /// Where the refcount of `cluster` is: the block's offset, and the bit in it. Nothing where there is no block.
    fn refcount_place(&self, cluster: u64) -> Result<Option<(u64, u64)>> {
        let index = cluster / self.clusters_a_block();
        let block = usize::try_from(index).ok().and_then(|i| self.refcounts.table.borrow().get(i).copied());
        let block = block.unwrap_or(0) & !0x1ff;
        if block & (self.cluster_size() - 1) != 0 || block >> 56 != 0 {
            return Err(self.damaged(format!("a refcount block at byte {block}")));
        }
        let bit = (cluster % self.clusters_a_block()) << self.header.refcount_order;
        Ok((block != 0).then_some((block, bit)))
    }

    /// Nothing where no block has the cluster's refcount: it is free.
    async fn refcount(&self, cluster: u64) -> Result<Option<u64>> {
        let Some((block, bit)) = self.refcount_place(cluster)? else { return Ok(None) };
        let slice = self.tables.get(&*self.file.source(), Kind::Refcount, block, bit / 8).await?;
        Ok(Some(slice.with(|bytes| field(bytes, bit, self.header.refcount_order))))
    }

    async fn set_refcount(&self, cluster: u64, count: u64) -> Result<()> {
        let Some((block, bit)) = self.refcount_place(cluster)? else {
            return Err(self.damaged(format!("cluster {cluster} is in use and has no refcount")));
        };
        let order = self.header.refcount_order;
        let change = |bytes: &mut [u8]| set_field(bytes, bit, order, count);
        self.tables.change(&*self.file.source(), (Kind::Refcount, block, bit / 8), change).await
    }

    /// A cluster of the file that was free; its offset. What it holds is not defined.
    pub(super) async fn allocate(&self) -> Result<u64> {
        loop {
            let cluster = self.refcounts.hint.get();
            let Some((block, bit)) = self.refcount_place(cluster)? else {
                self.add_block(cluster).await?;
                continue;
            };
            let slice = self.tables.get(&*self.file.source(), Kind::Refcount, block, bit / 8).await?;
            let (used, end) = slice.with(|bytes| used_fields(bytes, bit, self.header.refcount_order));
            let cluster = cluster + used;
            self.refcounts.hint.set(cluster);
            self.check_near(cluster)?;
            if !end {
                self.check_not_metadata(cluster)?;
                self.set_refcount(cluster, 1).await?;
                self.refcounts.hint.set(cluster + 1);
                return Ok(cluster << self.header.cluster_bits);
            }
        }
    }

    /// A cluster that [`Self::allocate`] has given, and that nothing refers to after all.
    pub(super) async fn give_back(&self, offset: u64) {
        let cluster = offset >> self.header.cluster_bits;
        // if its refcount cannot be changed, it is lost
        if self.set_refcount(cluster, 0).await.is_ok() {
            self.refcounts.hint.set(self.refcounts.hint.get().min(cluster));
        }
    }

    /// All clusters before this one are counted as used: it is not far behind the file's end.
    fn check_near(&self, cluster: u64) -> Result<()> {
        let end = self.file.source().size() + self.tables.unwritten() + BEHIND_END * self.cluster_size();
        if cluster > end >> self.header.cluster_bits {
            return Err(self.damaged("clusters behind the file's end are counted as used"));
        }
        Ok(())
    }

    /// A cluster of data that a table names can be written.
    pub(super) fn check_data(&self, host: u64) -> Result<()> {
        if host >= self.file.source().size() {
            return Err(self.truncated(host));
        }
        self.check_not_metadata(host >> self.header.cluster_bits)
    }

    fn check_not_metadata(&self, cluster: u64) -> Result<()> {
        if self.refcounts.metadata.borrow().contains(&cluster) {
            return Err(self.damaged(format!("cluster {cluster} has a table, and is also used or free for data")));
        }
        Ok(())
    }

    /// One reference less to the cluster at `offset`.
    pub(super) fn free(&self, offset: u64) {
        self.refcounts.freed.borrow_mut().push(offset >> self.header.cluster_bits);
    }

    /// What is not referred to any more, now that the tables are written. Returns whether there was anything.
    pub(super) async fn apply_freed(&self) -> Result<bool> {
        let freed = self.refcounts.freed.take();
        for &cluster in &freed {
            let count = self.refcount(cluster).await?.unwrap_or(0);
            let Some(less) = count.checked_sub(1) else {
                return Err(self.damaged(format!("cluster {cluster} is in use, and counted as free")));
            };
            self.set_refcount(cluster, less).await?;
            if less == 0 {
                self.refcounts.hint.set(self.refcounts.hint.get().min(cluster));
                self.refcounts.metadata.borrow_mut().remove(&cluster);
            }
        }
        Ok(!freed.is_empty())
    }

    /// A refcount block for `cluster` and its neighbours, none of which is in use: the block lies in the first of
    /// them that is asked for and counts itself.
    async fn add_block(&self, cluster: u64) -> Result<()> {
        let index = (cluster / self.clusters_a_block()) as usize;
        if index >= self.refcounts.table.borrow().len() {
            return self.grow_table().await;
        }
        self.check_near(cluster)?;
        self.check_not_metadata(cluster)?;
        let offset = cluster << self.header.cluster_bits;
        self.tables.create(&*self.file.source(), Kind::Refcount, offset, self.cluster_size(), None).await?;
        self.refcounts.table.borrow_mut()[index] = offset;
        self.refcounts.dirty.borrow_mut().insert(index);
        self.refcounts.metadata.borrow_mut().insert(cluster);
        self.set_refcount(cluster, 1).await
    }

    /// A longer refcount table, in the clusters after those that the old one covers, with the blocks that count it.
    async fn grow_table(&self) -> Result<()> {
        self.commit().await?;
        let store = self.store()?;
        let (cluster_size, a_block) = (self.cluster_size(), self.clusters_a_block());
        let mut table = self.refcounts.table.borrow().clone();
        let old_clusters = table.len() as u64 * 8 / cluster_size;
        let table_clusters = (old_clusters + old_clusters / 2 + 1).max(1);
        if table_clusters * cluster_size > MAX_REFCOUNT_TABLE_BYTES {
            let what = "a refcount table of more than 8 MiB; make the clusters bigger with `qemu-img convert`";
            return Err(BlockError::unsupported(&self.name, what));
        }
        let first = table.len() as u64 * a_block;
        let mut blocks = 1;
        while blocks * a_block < table_clusters + blocks {
            blocks += 1;
        }
        for i in 0..blocks {
            table.push((first + table_clusters + i) << self.header.cluster_bits);
        }
        let mut counts = room(&self.name, blocks * cluster_size)?;
        for used in 0..table_clusters + blocks {
            set_block_field(&mut counts, used, a_block, cluster_size, self.header.refcount_order);
        }
        let mut bytes = room(&self.name, table_clusters * cluster_size)?;
        table.iter().zip(bytes.chunks_exact_mut(8)).for_each(|(entry, to)| to.copy_from_slice(&entry.to_be_bytes()));
        let offset = first << self.header.cluster_bits;
        store.write_at(offset, &bytes).await?;
        store.write_at(offset + table_clusters * cluster_size, &counts).await?;
        store.flush().await?;
        let mut fields = [0; 12];
        fields[..8].copy_from_slice(&offset.to_be_bytes());
        fields[8..].copy_from_slice(&(table_clusters as u32).to_be_bytes());
        store.write_at(REFCOUNT_TABLE_AT, &fields).await?;
        store.flush().await?;

        table.resize((table_clusters * cluster_size / 8) as usize, 0);
        *self.refcounts.table.borrow_mut() = table;
        let old = self.refcounts.table_offset.replace(offset);
        (0..old_clusters).for_each(|i| self.free(old + i * cluster_size));
        self.refcounts.metadata.borrow_mut().extend(first..first + table_clusters + blocks);
        Ok(())
    }

    /// Writes the entries of the refcount table that were changed. Returns whether there were any.
    pub(super) async fn write_refcount_table(&self, store: &dyn Store) -> Result<bool> {
        let dirty = std::mem::take(&mut *self.refcounts.dirty.borrow_mut());
        for &index in &dirty {
            let entry = self.refcounts.table.borrow()[index];
            let at = self.refcounts.table_offset.get() + index as u64 * 8;
            if let Err(error) = store.write_at(at, &entry.to_be_bytes()).await {
                self.refcounts.dirty.borrow_mut().extend(&dirty);
                return Err(error);
            }
        }
        Ok(!dirty.is_empty())
    }

    /// Loads the refcount table, and notes which clusters have metadata.
    pub(super) async fn load_refcounts(&self) -> Result<()> {
        let len = u64::from(self.header.refcount_table_clusters) << self.header.cluster_bits;
        let bytes = self.load_table("refcount", self.header.refcount_table_offset, len).await?;
        *self.refcounts.table.borrow_mut() = be64(&bytes).collect();
        self.refcounts.table_offset.set(self.header.refcount_table_offset);
        let clusters = |offset: u64, len: u64| {
            let first = offset >> self.header.cluster_bits;
            first..first + len.div_ceil(self.cluster_size())
        };
        let mut metadata = self.refcounts.metadata.borrow_mut();
        metadata.insert(0);
        metadata.extend(clusters(self.header.refcount_table_offset, len));
        metadata.extend(clusters(self.header.l1_offset, u64::from(self.header.l1_entries) * 8));
        let blocks = self.refcounts.table.borrow();
        metadata.extend(blocks.iter().filter(|b| **b != 0).map(|block| block >> self.header.cluster_bits));
        let l1 = self.l1.borrow();
        metadata
            .extend(l1.iter().map(|e| e & super::OFFSET).filter(|o| *o != 0).map(|o| o >> self.header.cluster_bits));
        Ok(())
    }
}

/// Sets the refcount of the `n`th cluster that `blocks` count to 1.
fn set_block_field(blocks: &mut [u8], n: u64, a_block: u64, cluster_size: u64, order: u32) {
    let start = (n / a_block * cluster_size) as usize;
    set_field(&mut blocks[start..start + cluster_size as usize], (n % a_block) << order, order, 1);
}

/// How many fields from bit `bit` of a slice on are not zero, and whether that is to its end.
fn used_fields(bytes: &[u8], bit: u64, order: u32) -> (u64, bool) {
    let bits = bytes.len() as u64 * 8;
    let first = bit & (bits - 1);
    let free = (first..bits).step_by(1 << order).position(|at| field(bytes, at, order) == 0);
    (free.map_or((bits - first) >> order, |n| n as u64), free.is_none())
}

/// The big-endian field of `1 << order` bits at bit `bit` of `bytes`, a slice of a block: the position wraps. In
/// fields of less than a byte, the first is in the lowest bits.
fn field(bytes: &[u8], bit: u64, order: u32) -> u64 {
    let at = (bit / 8) as usize & (bytes.len() - 1);
    if order < 3 {
        return u64::from(bytes[at]) >> (bit % 8) & ((1 << (1 << order)) - 1);
    }
    bytes[at..at + (1 << (order - 3))].iter().fold(0, |n, byte| n << 8 | u64::from(*byte))
}

fn set_field(bytes: &mut [u8], bit: u64, order: u32, value: u64) {
    let at = (bit / 8) as usize & (bytes.len() - 1);
    if order < 3 {
        let mask = ((1_u16 << (1 << order)) - 1) as u8;
        let shift = bit % 8;
        bytes[at] = bytes[at] & !(mask << shift) | (value as u8 & mask) << shift;
        return;
    }
    let len = 1 << (order - 3);
    bytes[at..at + len].copy_from_slice(&value.to_be_bytes()[8 - len..]);
}
