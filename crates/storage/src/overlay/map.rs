//! Which slot holds which granule, and which slots are free.

use super::format::{BASE, SUPERBLOCKS};
use std::collections::BTreeSet;
use std::ops::Range;

const PAGE: usize = 1024;

/// Granules to slots, in pages that are made when they are needed.
#[derive(Default)]
pub struct Map(Vec<Option<Box<[u32; PAGE]>>>);

impl Map {
    pub fn get(&self, granule: u32) -> u32 {
        let page = self.0.get(granule as usize / PAGE).and_then(Option::as_ref);
        page.map_or(BASE, |page| page[granule as usize % PAGE])
    }

    pub fn set(&mut self, granule: u32, slot: u32) {
        let index = granule as usize / PAGE;
        if index >= self.0.len() {
            self.0.resize(index + 1, None);
        }
        self.0[index].get_or_insert_with(|| Box::new([BASE; PAGE]))[granule as usize % PAGE] = slot;
    }

    /// All granules that are not the base image's.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u32)> {
        self.0.iter().enumerate().filter_map(|(index, page)| Some((index, page.as_ref()?))).flat_map(|(index, page)| {
            let slots = page.iter().enumerate().filter(|(_, slot)| **slot != BASE);
            slots.map(move |(at, slot)| ((index * PAGE + at) as u32, *slot))
        })
    }
}

/// Slots that nothing is in.
#[derive(Default)]
pub struct Slots {
    free: BTreeSet<u32>,
    /// Slots of the file.
    end: u32,
}

impl Slots {
    /// Of a file of `file` slots, those that `used` does not have; new ones begin behind it, and behind `reserved`.
    pub fn new(file: u32, reserved: u32, used: impl Iterator<Item = u32>) -> Self {
        let mut free: BTreeSet<u32> = (SUPERBLOCKS..file).collect();
        used.for_each(|slot| _ = free.remove(&slot));
        Self { free, end: file.max(reserved).max(SUPERBLOCKS) }
    }

    /// The lowest free slot, so that what is written together lies together; nothing where there are 2^32.
    pub fn take(&mut self) -> Option<u32> {
        if let Some(slot) = self.free.pop_first() {
            return Some(slot);
        }
        self.take_at_end(1).map(|slots| slots.start)
    }

    /// Neighbours, at the file's end.
    pub fn take_at_end(&mut self, count: u32) -> Option<Range<u32>> {
        let start = self.end;
        self.end = start.checked_add(count)?;
        Some(start..self.end)
    }

    /// What [`Self::take_at_end`] has given: the end is where it was, if nobody has taken more.
    pub fn give_back_at_end(&mut self, slots: Range<u32>) {
        if slots.end == self.end {
            self.end = slots.start;
        } else {
            self.give_back(slots);
        }
    }

    pub fn give_back(&mut self, slots: impl IntoIterator<Item = u32>) {
        self.free.extend(slots);
    }
}
