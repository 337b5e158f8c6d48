//! What is durable: opening, and flushing.

use super::Overlay;
use super::format::{self, BASE, BITS, ENTRY, Place, RECORD_HEADER, SLOT, SUPERBLOCKS, Superblock, ZEROS};
use super::map::Slots;
use crate::io::{read_padded, room};
use crate::{BlockError, Result};
use rustc_hash::FxHashSet;
use std::ops::Range;

/// Room in a new log for what comes after its first record, at least.
const LOG_ROOM: u64 = 256 << 10;

/// Slots of a log over a disk of `granules` at most: several times what is ever reserved. What lies behind the log
/// begins so far out, and a file that claims more is to be refused rather than to grow.
fn longest_log(granules: u64) -> u64 {
    (4 * (RECORD_HEADER as u64 + granules.saturating_mul(ENTRY as u64)) + 64 * LOG_ROOM).div_ceil(SLOT)
}

/// Slots of a log whose first record has so many bytes.
fn log_slots(first_record: u64) -> u32 {
    (first_record * 2 + LOG_ROOM).div_ceil(SLOT) as u32
}

/// Where the next record goes.
#[derive(Clone, Default)]
pub struct Log {
    generation: u64,
    slots: Range<u32>,
    /// Bytes from the log's start.
    end: u64,
    sequence: u32,
}

/// A granule that a flush makes durable: its slot, and the one that it had before.
struct Change {
    granule: u32,
    slot: u32,
    old: u32,
}

impl Overlay {
    /// The superblock that counts; nothing if the file is empty, or was not finished when it was made.
    pub(super) async fn superblock(&self) -> Result<Option<Superblock>> {
        let mut blocks = vec![0; (SUPERBLOCKS as usize) << BITS];
        read_padded(&*self.store, 0, &mut blocks).await?;
        let found = blocks.chunks(SLOT as usize).filter_map(Superblock::parse);
        match found.max_by_key(|superblock| superblock.generation) {
            None if !self.is_unfinished(&blocks) => Err(BlockError::unsupported(
                self.store.name(),
                "keeping what is written in a file that is not an overlay of pagevm's, and not empty: use another name",
            )),
            None => Ok(None),
            Some(superblock) if superblock.base != self.identity => Err(BlockError::OtherBase {
                overlay: self.store.name().to_owned(),
                base: self.base.name().to_owned(),
                was: superblock.base.to_string(),
                is: self.identity.to_string(),
            }),
            superblock => Ok(superblock),
        }
    }

    /// Whether superblocks' slots are as they are before the first is whole, and nothing ever was flushed: it is there in parts, and the
    /// second is not yet. What has anything else there is another file, and somebody's.
    fn is_unfinished(&self, blocks: &[u8]) -> bool {
        let first = self.new_superblock(1, SUPERBLOCKS, log_slots(RECORD_HEADER as u64)).to_bytes();
        blocks.iter().zip(first.iter().chain(std::iter::repeat(&0))).all(|(is, made)| *is == 0 || is == made)
    }

    fn new_superblock(&self, generation: u64, log: u32, log_slots: u32) -> Superblock {
        Superblock { generation, base: self.identity.clone(), log, log_slots }
    }

    /// An empty overlay: both superblocks are written, one after the other.
    pub(super) async fn create(&mut self) -> Result<()> {
        *self.slots.borrow_mut() = Slots::new(SUPERBLOCKS, SUPERBLOCKS, std::iter::empty());
        for _ in 0..SUPERBLOCKS {
            self.begin_log().await?;
        }
        Ok(())
    }

    pub(super) async fn load(&mut self, superblock: Superblock) -> Result<()> {
        let file_slots = self.store.size().div_ceil(SLOT).min(u64::from(u32::MAX)) as u32;
        let slots = superblock.log..superblock.log.saturating_add(superblock.log_slots);
        let granules = self.size.div_ceil(SLOT);
        if slots.start < SUPERBLOCKS || slots.start >= file_slots || slots.is_empty() {
            return Err(self.damaged("its log is in no place"));
        }
        if u64::from(superblock.log_slots) > longest_log(granules) {
            return Err(self.damaged(format!("its log has {} slots", superblock.log_slots)));
        }
        let mut log = Log { generation: superblock.generation, slots: slots.clone(), end: 0, sequence: 0 };
        while self.load_record(&mut log).await? {}
        if log.sequence == 0 {
            return Err(self.damaged("its log does not begin"));
        }
        let mut used = FxHashSet::default();
        for (granule, slot) in self.map.borrow().iter() {
            let fits = slot == ZEROS || (slot >= SUPERBLOCKS && slot < file_slots && !slots.contains(&slot));
            if u64::from(granule) >= granules || !fits || (slot != ZEROS && !used.insert(slot)) {
                return Err(self.damaged(format!("granule {granule} in slot {slot} of {file_slots}")));
            }
        }
        // the log's room may go on behind the file's end
        let logged = slots.start..slots.end.min(file_slots);
        *self.slots.borrow_mut() = Slots::new(file_slots, slots.end, used.into_iter().chain(logged));
        *self.log.borrow_mut() = log;
        Ok(())
    }

    /// Applies the record at the log's end; false if there is none.
    async fn load_record(&mut self, log: &mut Log) -> Result<bool> {
        let place = Place { generation: log.generation, sequence: log.sequence };
        let at = (u64::from(log.slots.start) << BITS) + log.end;
        let limit = (u64::from(log.slots.end - log.slots.start) << BITS).saturating_sub(log.end);
        let mut header = [0; RECORD_HEADER];
        if limit < RECORD_HEADER as u64 {
            return Ok(false);
        }
        read_padded(&*self.store, at, &mut header).await?;
        let Some(count) = format::record_entries(place, &header) else { return Ok(false) };
        let len = RECORD_HEADER as u64 + u64::from(count) * ENTRY as u64;
        if len > limit || len > self.store.size() {
            return Ok(false);
        }
        let mut bytes = room(self.store.name(), len)?;
        read_padded(&*self.store, at, &mut bytes).await?;
        let Some(entries) = format::entries(&bytes) else { return Ok(false) };
        let granules = self.size.div_ceil(SLOT);
        for (granule, slot) in entries {
            if u64::from(granule) >= granules {
                return Err(self.damaged(format!("granule {granule} of {granules}")));
            }
            self.map.borrow_mut().set(granule, slot);
        }
        log.end += len;
        log.sequence += 1;
        Ok(true)
    }

    /// Makes durable what was written before.
    pub(super) async fn commit(&self) -> Result<()> {
        let _flushing = self.flushing.exclusive().await;
        let changes = self.take_changes().await;
        let result = self.make_durable(&changes).await;
        let _guard = self.lock.exclusive().await;
        match &result {
            Ok(()) => {
                let old = changes.iter().map(|change| change.old).filter(|slot| *slot > ZEROS);
                let mut slots = self.slots.borrow_mut();
                slots.give_back(old);
                slots.give_back(self.retired.take());
            }
            Err(_) => self.take_back(changes),
        }
        result
    }

    /// What was written since the last flush, when no write is under way.
    async fn take_changes(&self) -> Vec<Change> {
        let _guard = self.lock.exclusive().await;
        let map = self.map.borrow();
        let change = |(granule, old)| Change { granule, slot: map.get(granule), old };
        let mut changes: Vec<_> = self.dirty.take().into_iter().map(change).collect();
        changes.sort_unstable_by_key(|change| change.granule);
        changes
    }

    /// A flush has failed: the next one has to do this, too.
    fn take_back(&self, changes: Vec<Change>) {
        let mut dirty = self.dirty.borrow_mut();
        for Change { granule, slot, old } in changes {
            if dirty.insert(granule, old).is_some() && slot > ZEROS {
                self.retired.borrow_mut().push(slot);
            }
        }
    }

    async fn make_durable(&self, changes: &[Change]) -> Result<()> {
        self.store.flush().await?;
        if changes.is_empty() {
            return Ok(());
        }
        let entries: Vec<_> = changes.iter().map(|change| (change.granule, change.slot)).collect();
        let log = self.log.borrow().clone();
        let record = format::record(Place { generation: log.generation, sequence: log.sequence }, &entries);
        let end = log.end.saturating_add(record.len() as u64);
        if end > u64::from(log.slots.end - log.slots.start) << BITS {
            let old = self.begin_log_with(changes).await?;
            self.retired.borrow_mut().extend(old);
            return Ok(());
        }
        self.store.write_at((u64::from(log.slots.start) << BITS) + log.end, &record).await?;
        self.store.flush().await?;
        *self.log.borrow_mut() = Log { end, sequence: log.sequence + 1, ..log };
        Ok(())
    }

    async fn begin_log(&self) -> Result<()> {
        let old = self.begin_log_with(&[]).await?;
        self.slots.borrow_mut().give_back(old);
        Ok(())
    }

    /// A new log, whose first record has what the old one has and `changes`. Returns the old one's slots.
    async fn begin_log_with(&self, changes: &[Change]) -> Result<Range<u32>> {
        let log = self.log.borrow().clone();
        // what was written since `changes` were taken is not to be durable yet, and has no durable data
        let dirty: Vec<_> = self.dirty.borrow().iter().map(|(granule, old)| (*granule, *old)).collect();
        let mut map: std::collections::BTreeMap<u32, u32> = self.map.borrow().iter().collect();
        map.extend(dirty);
        map.extend(changes.iter().map(|change| (change.granule, change.slot)));
        let entries: Vec<_> = map.into_iter().filter(|(_, slot)| *slot != BASE).collect();

        let place = Place { generation: log.generation + 1, sequence: 0 };
        let record = format::record(place, &entries);
        let count = log_slots(record.len() as u64);
        let full =
            || BlockError::io(self.store.name(), "the overlay has 2^32 slots; export it, and begin with the copy");
        let slots = self.slots.borrow_mut().take_at_end(count).ok_or_else(full)?;
        let superblock = self.new_superblock(place.generation, slots.start, count);
        if let Err(error) = self.write_durably(slots.start, &record).await {
            // no superblock names them
            self.slots.borrow_mut().give_back_at_end(slots);
            return Err(error);
        }
        // generation 1 goes to slot 0
        let slot = ((place.generation + 1) % u64::from(SUPERBLOCKS)) as u32;
        if let Err(error) = self.write_durably(slot, &superblock.to_bytes()).await {
            // the superblock may be durable all the same: its log is left alone, and the old one gets nothing more
            self.log.borrow_mut().end = u64::MAX;
            return Err(error);
        }
        let end = record.len() as u64;
        *self.log.borrow_mut() = Log { generation: place.generation, slots, end, sequence: 1 };
        Ok(log.slots)
    }

    async fn write_durably(&self, slot: u32, bytes: &[u8]) -> Result<()> {
        self.store.write_at(u64::from(slot) << BITS, bytes).await?;
        self.store.flush().await
    }
}
