//! Reading.

use super::{Cluster, Qcow2};
use crate::io::{read_padded, room};
use crate::{BlockError, Result, Source};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;

/// Decompressed clusters that are kept: guests read smaller pieces than clusters.
const KEPT: usize = 8;

/// The last decompressed clusters, by where they are in the file. Compressed clusters are never written, so they stay
/// true.
#[derive(Default)]
pub struct Decompressed(RefCell<VecDeque<(u64, Rc<Vec<u8>>)>>);

impl Decompressed {
    fn get(&self, host: u64) -> Option<Rc<Vec<u8>>> {
        self.0.borrow().iter().find(|(at, _)| *at == host).map(|(_, bytes)| bytes.clone())
    }

    fn put(&self, host: u64, bytes: Rc<Vec<u8>>) {
        let mut kept = self.0.borrow_mut();
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back((host, bytes));
    }
}

impl Qcow2 {
    pub(super) async fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let guard = self.lock.shared().await;
        let unallocated = self.read_own(offset, buf).await?;
        drop(guard); // the backing file never changes, and may take its time
        let Some(backing) = &self.backing else { return Ok(()) };
        for part in unallocated {
            read_padded(&**backing, offset + part.start as u64, &mut buf[part]).await?;
        }
        Ok(())
    }

    /// Fills `buf` with what this file has, and zeros; returns the parts that it does not have.
    async fn read_own(&self, offset: u64, buf: &mut [u8]) -> Result<Vec<Range<usize>>> {
        let mut unallocated: Vec<Range<usize>> = Vec::new();
        // clusters that lie one after another in the file are read at once
        let mut run: Option<(u64, Range<usize>)> = None;
        let mut at = 0;
        while at < buf.len() {
            let position = offset + at as u64;
            let inside = position & (self.cluster_size() - 1);
            let part = at..buf.len().min(at + (self.cluster_size() - inside) as usize);
            at = part.end;
            let cluster = self.map(position >> self.header.cluster_bits).await?;
            if let (Cluster::Data { host, .. }, Some((start, range))) = (cluster, &mut run)
                && *start + range.len() as u64 == host + inside
            {
                range.end = part.end;
                continue;
            }
            if let Some((host, range)) = run.take() {
                self.read_data(host, &mut buf[range]).await?;
            }
            match cluster {
                Cluster::Unallocated => {
                    buf[part.clone()].fill(0);
                    match unallocated.last_mut() {
                        Some(last) if last.end == part.start => last.end = part.end,
                        _ => unallocated.push(part),
                    }
                }
                Cluster::Zero { .. } => buf[part].fill(0),
                Cluster::Data { host, .. } => run = Some((host + inside, part)),
                Cluster::Compressed { host, len } => {
                    let bytes = self.decompress(host, len).await?;
                    let inside = inside as usize;
                    buf[part.clone()].copy_from_slice(&bytes[inside..inside + part.len()]);
                }
            }
        }
        if let Some((host, range)) = run {
            self.read_data(host, &mut buf[range]).await?;
        }
        Ok(unallocated)
    }

    async fn read_data(&self, host: u64, buf: &mut [u8]) -> Result<()> {
        let file = self.file.source();
        if host.checked_add(buf.len() as u64).is_none_or(|end| end > file.size()) {
            return Err(self.truncated(host));
        }
        file.read_at(host, buf).await
    }

    pub(super) fn truncated(&self, host: u64) -> BlockError {
        let size = self.file.source().size();
        self.damaged(format!("it is truncated: data at byte {host}, of {size} bytes of file"))
    }

    async fn decompress(&self, host: u64, len: u64) -> Result<Rc<Vec<u8>>> {
        if let Some(bytes) = self.decompressed.get(host) {
            return Ok(bytes);
        }
        let mut packed = room(&self.name, len)?;
        let file = self.file.source();
        if host >= file.size() {
            return Err(self.truncated(host));
        }
        // the last sector need not be whole
        read_padded(&*file, host, &mut packed).await?;
        let unpacked = self.header.codec.unpack(&packed, self.cluster_size() as usize);
        let bytes = Rc::new(unpacked.map_err(|why| {
            self.damaged(format!("the compressed cluster at byte {host} does not decompress ({why})"))
        })?);
        self.decompressed.put(host, bytes.clone());
        Ok(bytes)
    }

    /// All of the cluster with number `number`, whose place is `cluster`.
    pub(super) async fn read_cluster(&self, number: u64, cluster: Cluster) -> Result<Vec<u8>> {
        let mut bytes = room(&self.name, self.cluster_size())?;
        match cluster {
            Cluster::Zero { .. } => {}
            Cluster::Data { host, .. } => self.read_data(host, &mut bytes).await?,
            Cluster::Compressed { host, len } => bytes.copy_from_slice(&self.decompress(host, len).await?),
            Cluster::Unallocated => {
                if let Some(backing) = &self.backing {
                    let offset = number << self.header.cluster_bits;
                    let on_disk = self.size().saturating_sub(offset).min(self.cluster_size()) as usize;
                    read_padded(&**backing, offset, &mut bytes[..on_disk]).await?;
                }
            }
        }
        Ok(bytes)
    }
}
