//! Writing: into slots that no flush knows of.

use super::Overlay;
use super::format::{BASE, BITS, SLOT, ZEROS};
use crate::io::read_padded;
use crate::{BlockError, Result};
use std::collections::hash_map::Entry;
use std::ops::Range;

impl Overlay {
    pub(super) async fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        let end = offset + data.len() as u64;
        let whole = self.whole_granules(offset, end);
        if whole.is_empty() {
            return self.write_parts(offset, data).await;
        }
        let head = ((u64::from(whole.start) << BITS) - offset) as usize;
        let tail = ((u64::from(whole.end) << BITS).min(end) - offset) as usize;
        self.write_parts(offset, &data[..head]).await?;
        self.write_whole(whole.start, &data[head..tail]).await?;
        self.write_parts(offset + tail as u64, &data[tail..]).await
    }

    /// The granules that lie in the range as a whole; the disk's last one may end after the disk.
    fn whole_granules(&self, offset: u64, end: u64) -> Range<u32> {
        let first = offset.div_ceil(SLOT) as u32;
        let last = if end == self.size { end.div_ceil(SLOT) } else { end >> BITS } as u32;
        first..last.max(first)
    }

    /// Granules from `first` on, all of each.
    async fn write_whole(&self, first: u32, data: &[u8]) -> Result<()> {
        let _guard = self.lock.shared().await;
        // neighbours are written at once
        let mut run: Option<(u32, Range<usize>)> = None;
        let mut places = Vec::new();
        let mut result = Ok(());
        for (granule, at) in (first..).zip((0..data.len()).step_by(SLOT as usize)) {
            let part = at..data.len().min(at + SLOT as usize);
            let slot = match self.writable_slot(granule) {
                Ok((slot, new)) => {
                    places.extend(new.then_some((granule, slot)));
                    slot
                }
                Err(error) => {
                    result = Err(error);
                    break;
                }
            };
            match &mut run {
                Some((start, range)) if *start + (range.len() as u64 >> BITS) as u32 == slot => range.end = part.end,
                _ => {
                    if let Some((start, range)) = run.replace((slot, part)) {
                        result = result.and(self.store.write_at(u64::from(start) << BITS, &data[range]).await);
                    }
                }
            }
        }
        if let Some((start, range)) = run {
            result = result.and(self.store.write_at(u64::from(start) << BITS, &data[range]).await);
        }
        match &result {
            Ok(()) => places.into_iter().for_each(|(granule, slot)| self.remap(granule, slot)),
            Err(_) => self.retired.borrow_mut().extend(places.into_iter().map(|(_, slot)| slot)),
        }
        result
    }

    /// The slot that a granule was written to since the last flush, or a new one.
    fn writable_slot(&self, granule: u32) -> Result<(u32, bool)> {
        match self.map.borrow().get(granule) {
            slot if slot > ZEROS && self.dirty.borrow().contains_key(&granule) => Ok((slot, false)),
            _ => Ok((self.take_slot()?, true)),
        }
    }

    fn take_slot(&self) -> Result<u32> {
        let full =
            || BlockError::io(self.store.name(), "the overlay has 2^32 slots; export it, and begin with the copy");
        self.slots.borrow_mut().take().ok_or_else(full)
    }

    /// A granule is in another slot from now on.
    fn remap(&self, granule: u32, slot: u32) {
        let old = self.map.borrow().get(granule);
        match self.dirty.borrow_mut().entry(granule) {
            Entry::Vacant(entry) => _ = entry.insert(old),
            // no flush knows the old one
            Entry::Occupied(_) if old > ZEROS => self.retired.borrow_mut().push(old),
            Entry::Occupied(_) => {}
        }
        self.map.borrow_mut().set(granule, slot);
    }

    /// Parts of granules.
    async fn write_parts(&self, mut offset: u64, mut data: &[u8]) -> Result<()> {
        while !data.is_empty() {
            let inside = offset & (SLOT - 1);
            let (part, rest) = data.split_at(data.len().min((SLOT - inside) as usize));
            self.write_part((offset >> BITS) as u32, inside as usize, part).await?;
            offset += part.len() as u64;
            data = rest;
        }
        Ok(())
    }

    /// Part of a granule: into its slot, or into a new one together with what the granule was. If it was changed
    /// while that was read, once more.
    async fn write_part(&self, granule: u32, inside: usize, part: &[u8]) -> Result<()> {
        loop {
            let seen = self.map.borrow().get(granule);
            let mut whole = vec![0; SLOT as usize];
            if seen == BASE {
                // the base may take its time: nobody is to wait for that
                let offset = u64::from(granule) << BITS;
                read_padded(&*self.base, offset, &mut whole).await?;
            }
            let _guard = self.lock.shared().await;
            if self.map.borrow().get(granule) != seen {
                continue;
            }
            if seen > ZEROS {
                if self.dirty.borrow().contains_key(&granule) {
                    return self.store.write_at((u64::from(seen) << BITS) + inside as u64, part).await;
                }
                read_padded(&*self.store, u64::from(seen) << BITS, &mut whole).await?;
            }
            whole[inside..inside + part.len()].copy_from_slice(part);
            let slot = self.take_slot()?;
            let written = self.store.write_at(u64::from(slot) << BITS, &whole).await;
            if written.is_ok() && self.map.borrow().get(granule) == seen {
                self.remap(granule, slot);
                return Ok(());
            }
            self.retired.borrow_mut().push(slot);
            written?;
        }
    }

    pub(super) async fn zero(&self, offset: u64, len: u64) -> Result<()> {
        let end = offset + len;
        let whole = self.whole_granules(offset, end);
        if whole.is_empty() {
            return self.write_parts(offset, &vec![0; len as usize]).await;
        }
        let (first, last) = (u64::from(whole.start) << BITS, (u64::from(whole.end) << BITS).min(end));
        self.write_parts(offset, &vec![0; (first - offset) as usize]).await?;
        self.make_zero(whole, |slot| slot != ZEROS).await;
        self.write_parts(last, &vec![0; (end - last) as usize]).await
    }

    /// Gives back the slots of granules that lie in the range as a whole.
    pub(super) async fn discard_granules(&self, offset: u64, len: u64) -> Result<()> {
        self.make_zero(self.whole_granules(offset, offset + len), |slot| slot > ZEROS).await;
        Ok(())
    }

    async fn make_zero(&self, granules: Range<u32>, which: impl Fn(u32) -> bool) {
        let _guard = self.lock.shared().await;
        for granule in granules {
            if which(self.map.borrow().get(granule)) {
                self.remap(granule, ZEROS);
            }
        }
    }
}
