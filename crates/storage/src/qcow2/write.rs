//! Writing. The caller has the image for itself.

use super::header::AUTOCLEAR_AT;
use super::tables::Kind;
use super::{COPIED, Cluster, OFFSET, Qcow2, ZERO};
use crate::{Result, Source};
use std::ops::Range;

impl Qcow2 {
    pub(super) async fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.clear_autoclear().await?;
        let mut at = 0;
        while at < data.len() {
            let position = offset + at as u64;
            let inside = position & (self.cluster_size() - 1);
            let n = (data.len() - at).min((self.cluster_size() - inside) as usize);
            self.write_cluster(position >> self.header.cluster_bits, inside, &data[at..at + n]).await?;
            at += n;
        }
        self.commit_if_many().await
    }

    async fn write_cluster(&self, number: u64, inside: u64, data: &[u8]) -> Result<()> {
        let store = self.store()?;
        let cluster = self.map(number).await?;
        if let Cluster::Data { host, copied: true } = cluster {
            self.check_data(host)?;
            return store.write_at(host + inside, data).await;
        }
        if let Cluster::Zero { host: Some(host), copied: true } = cluster {
            self.check_data(host)?;
            return self.fill_cluster(number, host, cluster, inside, data).await;
        }
        let host = self.allocate().await?;
        if let Err(error) = self.fill_cluster(number, host, cluster, inside, data).await {
            self.give_back(host).await;
            return Err(error);
        }
        self.free_cluster(cluster);
        Ok(())
    }

    /// Makes `host` the place of a cluster, whose place was `cluster`.
    async fn fill_cluster(&self, number: u64, host: u64, cluster: Cluster, inside: u64, data: &[u8]) -> Result<()> {
        let store = self.store()?;
        if data.len() as u64 == self.cluster_size() {
            store.write_at(host, data).await?;
        } else {
            let mut bytes = self.read_cluster(number, cluster).await?;
            bytes[inside as usize..inside as usize + data.len()].copy_from_slice(data);
            store.write_at(host, &bytes).await?;
        }
        self.set_entry(number, host | COPIED).await
    }

    /// Zeros from `offset` on.
    pub(super) async fn zero(&self, offset: u64, len: u64) -> Result<()> {
        self.clear_autoclear().await?;
        let end = offset + len;
        let whole = self.whole_clusters(offset, end);
        let (first, last) = (whole.start << self.header.cluster_bits, whole.end << self.header.cluster_bits);
        if whole.is_empty() {
            return self.write_zeros(offset, end).await;
        }
        self.write_zeros(offset, first).await?;
        for number in whole {
            if !self.drop_cluster(number).await? && !self.reads_as_zero(number).await? {
                self.write_cluster(number, 0, &vec![0; self.cluster_size() as usize]).await?;
            }
            self.commit_if_many().await?;
        }
        self.write_zeros(last.min(end), end).await
    }

    /// Gives back the clusters that are in the range as a whole.
    pub(super) async fn drop_clusters(&self, offset: u64, len: u64) -> Result<()> {
        self.clear_autoclear().await?;
        let whole = self.whole_clusters(offset, offset + len);
        let mut number = whole.start;
        while number < whole.end {
            if self.l1_entry(number)?.1 & OFFSET == 0 {
                // nothing is allocated as far as this L2 table would go
                number = (number | (self.cluster_size() / 8 - 1)) + 1;
                continue;
            }
            if self.map(number).await? != Cluster::Unallocated {
                self.drop_cluster(number).await?;
            }
            self.commit_if_many().await?;
            number += 1;
        }
        Ok(())
    }

    /// Makes a cluster read as zeros without any of the file, if the format can say so.
    async fn drop_cluster(&self, number: u64) -> Result<bool> {
        let cluster = self.map(number).await?;
        let entry = match (self.header.version, &self.backing) {
            (2, Some(_)) => return Ok(false),
            (2, None) => 0,
            (_, None) if cluster == Cluster::Unallocated => return Ok(true),
            _ => ZERO,
        };
        if !matches!((cluster, entry), (Cluster::Unallocated, 0) | (Cluster::Zero { host: None, .. }, ZERO)) {
            self.set_entry(number, entry).await?;
            self.free_cluster(cluster);
        }
        Ok(true)
    }

    async fn reads_as_zero(&self, number: u64) -> Result<bool> {
        Ok(match self.map(number).await? {
            Cluster::Zero { .. } => true,
            Cluster::Unallocated => self.backing.is_none(),
            _ => false,
        })
    }

    /// Zeros as data, but for clusters that read as zeros anyway.
    async fn write_zeros(&self, mut offset: u64, end: u64) -> Result<()> {
        while offset < end {
            let inside = offset & (self.cluster_size() - 1);
            let n = (end - offset).min(self.cluster_size() - inside);
            let number = offset >> self.header.cluster_bits;
            if !self.reads_as_zero(number).await? {
                self.write_cluster(number, inside, &vec![0; n as usize]).await?;
            }
            offset += n;
        }
        Ok(())
    }

    /// The clusters that lie in the range as a whole; the disk's last one may end after the disk.
    fn whole_clusters(&self, offset: u64, end: u64) -> Range<u64> {
        let first = offset.div_ceil(self.cluster_size());
        let last = if end == self.size() { end.div_ceil(self.cluster_size()) } else { end >> self.header.cluster_bits };
        first..last.max(first)
    }

    fn free_cluster(&self, cluster: Cluster) {
        match cluster {
            Cluster::Unallocated | Cluster::Zero { host: None, .. } => {}
            Cluster::Data { host, .. } | Cluster::Zero { host: Some(host), .. } => self.free(host),
            Cluster::Compressed { host, len } => {
                let first = host >> self.header.cluster_bits;
                let last = (host + len - 1) >> self.header.cluster_bits;
                (first..=last).for_each(|cluster| self.free(cluster << self.header.cluster_bits));
            }
        }
    }

    async fn set_entry(&self, number: u64, entry: u64) -> Result<()> {
        let table = self.own_table(number).await?;
        let at = self.l2_position(number);
        let change = |bytes: &mut [u8]| {
            let at = at as usize & (bytes.len() - 1);
            bytes[at..at + 8].copy_from_slice(&entry.to_be_bytes());
        };
        self.tables.change(&*self.file.source(), (Kind::L2, table, at), change).await
    }

    /// The L2 table of a cluster, made or copied from a snapshot's if need be, so that it can be written.
    async fn own_table(&self, number: u64) -> Result<u64> {
        let (index, entry) = self.l1_entry(number)?;
        let old = entry & OFFSET;
        if old != 0 && entry & COPIED != 0 {
            return Ok(old);
        }
        let table = self.allocate().await?;
        let from = (old != 0).then_some(old);
        self.tables.create(&*self.file.source(), Kind::L2, table, self.cluster_size(), from).await?;
        self.l1.borrow_mut()[index] = table | COPIED;
        self.l1_dirty.borrow_mut().insert(index);
        self.refcounts.metadata.borrow_mut().insert(table >> self.header.cluster_bits);
        if let Some(old) = from {
            self.tables.forget_table(old, self.cluster_size());
            self.free(old);
        }
        Ok(table)
    }

    async fn commit_if_many(&self) -> Result<()> {
        if self.tables.is_full() { self.commit().await } else { Ok(()) }
    }

    /// Writes the tables. What is flushed before what comes next: data and refcount blocks; the refcount table; L2
    /// tables; the L1 table; and only then is free what was freed.
    pub(super) async fn commit(&self) -> Result<()> {
        let store = self.store()?;
        self.tables.write(store, Kind::Refcount).await?;
        store.flush().await?;
        if self.write_refcount_table(store).await? {
            store.flush().await?;
        }
        if self.tables.write(store, Kind::L2).await? {
            store.flush().await?;
        }
        let dirty = std::mem::take(&mut *self.l1_dirty.borrow_mut());
        for &index in &dirty {
            let entry = self.l1.borrow()[index];
            if let Err(error) = store.write_at(self.header.l1_offset + index as u64 * 8, &entry.to_be_bytes()).await {
                self.l1_dirty.borrow_mut().extend(&dirty);
                return Err(error);
            }
        }
        if !dirty.is_empty() {
            store.flush().await?;
        }
        if self.apply_freed().await? {
            self.tables.write(store, Kind::Refcount).await?;
            store.flush().await?;
        }
        Ok(())
    }

    /// Features such as bitmaps of what was written would not be true any more.
    async fn clear_autoclear(&self) -> Result<()> {
        if self.autoclear.get() {
            let store = self.store()?;
            store.write_at(AUTOCLEAR_AT, &[0; 8]).await?;
            store.flush().await?;
            self.autoclear.set(false);
        }
        Ok(())
    }
}
