//! A bounded cache of the image's tables (L2 tables and refcount blocks), in slices.

use crate::io::{read_padded, room};
use crate::{BlockError, Result, Source, Store};
use rustc_hash::FxHashMap;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Longest slice, in bytes: a whole table where clusters have 64 KiB or less.
const SLICE: u64 = 64 << 10;
/// Bytes of slices that are kept, those that wait to be written apart.
const KEPT: u64 = 4 << 20;

/// Which tables a slice is of: they are written one kind after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    L2,
    Refcount,
}

/// Part of a table, in memory as in the file.
pub struct Slice {
    kind: Kind,
    bytes: RefCell<Vec<u8>>,
    dirty: Cell<bool>,
    used: Cell<u64>,
}

impl Slice {
    /// The big-endian number of 8 bytes at `at`, which wraps.
    pub fn u64(&self, at: u64) -> u64 {
        let bytes = self.bytes.borrow();
        let at = at as usize & (bytes.len() - 1) & !7;
        bytes[at..at + 8].iter().fold(0, |n, byte| n << 8 | u64::from(*byte))
    }

    pub fn with<T>(&self, f: impl FnOnce(&[u8]) -> T) -> T {
        f(&self.bytes.borrow())
    }

    fn change(&self, f: impl FnOnce(&mut [u8])) {
        f(&mut self.bytes.borrow_mut());
        self.dirty.set(true);
    }
}

pub struct Tables {
    slice_bytes: u64,
    slices: RefCell<FxHashMap<u64, Rc<Slice>>>,
    dirty: Cell<usize>,
    clock: Cell<u64>,
}

impl Tables {
    pub fn new(cluster_size: u64) -> Self {
        Self {
            slice_bytes: cluster_size.min(SLICE),
            slices: RefCell::default(),
            dirty: Cell::new(0),
            clock: Cell::new(0),
        }
    }

    fn limit(&self) -> usize {
        (KEPT / self.slice_bytes) as usize
    }

    /// Whether so many slices wait to be written that they should be.
    pub fn is_full(&self) -> bool {
        self.dirty.get() >= self.limit()
    }

    /// Bytes of tables that wait to be written.
    pub fn unwritten(&self) -> u64 {
        self.dirty.get() as u64 * self.slice_bytes
    }

    /// The slice that has byte `at` of the table at `table`.
    pub async fn get(&self, file: &dyn Source, kind: Kind, table: u64, at: u64) -> Result<Rc<Slice>> {
        let offset = table + (at & !(self.slice_bytes - 1));
        if let Some(slice) = self.slices.borrow().get(&offset) {
            self.touch(slice);
            return Ok(slice.clone());
        }
        if offset >= file.size() {
            let what = format!("it is truncated: a table at byte {offset}, of {} bytes of file", file.size());
            return Err(BlockError::damaged(file.name(), what));
        }
        let mut bytes = room(file.name(), self.slice_bytes)?;
        read_padded(file, offset, &mut bytes).await?;
        Ok(self.insert(kind, offset, bytes, false))
    }

    /// Changes the slice that has byte `at` of the table at `table`, by what `f` does to its bytes.
    pub async fn change(
        &self,
        file: &dyn Source,
        (kind, table, at): (Kind, u64, u64),
        f: impl FnOnce(&mut [u8]),
    ) -> Result<()> {
        let slice = self.get(file, kind, table, at).await?;
        if !slice.dirty.get() {
            self.dirty.set(self.dirty.get() + 1);
        }
        slice.change(f);
        Ok(())
    }

    /// A new table of `len` bytes at `table`: a copy of the one at `from`, or zeros.
    pub async fn create(&self, file: &dyn Source, kind: Kind, table: u64, len: u64, from: Option<u64>) -> Result<()> {
        for at in (0..len).step_by(self.slice_bytes as usize) {
            let bytes = match from {
                Some(from) => self.get(file, kind, from, at).await?.with(<[u8]>::to_vec),
                None => room(file.name(), self.slice_bytes)?,
            };
            self.forget(table + at);
            self.insert(kind, table + at, bytes, true);
        }
        Ok(())
    }

    /// What was cached of a table that is no more.
    pub fn forget_table(&self, table: u64, len: u64) {
        (0..len).step_by(self.slice_bytes as usize).for_each(|at| self.forget(table + at));
    }

    fn forget(&self, offset: u64) {
        if self.slices.borrow_mut().remove(&offset).is_some_and(|slice| slice.dirty.get()) {
            self.dirty.set(self.dirty.get() - 1);
        }
    }

    /// Writes the slices of one kind that were changed. Returns whether there were any.
    pub async fn write(&self, file: &dyn Store, kind: Kind) -> Result<bool> {
        let changed = |slice: &Slice| slice.kind == kind && slice.dirty.get();
        let mut offsets: Vec<u64> =
            self.slices.borrow().iter().filter(|(_, s)| changed(s)).map(|(offset, _)| *offset).collect();
        offsets.sort_unstable();
        for offset in &offsets {
            let Some(slice) = self.slices.borrow().get(offset).cloned() else { continue };
            let bytes = slice.with(<[u8]>::to_vec);
            file.write_at(*offset, &bytes).await?;
            slice.dirty.set(false);
            self.dirty.set(self.dirty.get() - 1);
        }
        Ok(!offsets.is_empty())
    }

    fn insert(&self, kind: Kind, offset: u64, bytes: Vec<u8>, dirty: bool) -> Rc<Slice> {
        self.evict();
        let slice = Rc::new(Slice { kind, bytes: RefCell::new(bytes), dirty: Cell::new(dirty), used: Cell::new(0) });
        self.touch(&slice);
        self.dirty.set(self.dirty.get() + usize::from(dirty));
        // two readers may have loaded the same
        self.slices.borrow_mut().entry(offset).or_insert(slice).clone()
    }

    fn touch(&self, slice: &Slice) {
        self.clock.set(self.clock.get() + 1);
        slice.used.set(self.clock.get());
    }

    /// Makes room for one more.
    fn evict(&self) {
        let mut slices = self.slices.borrow_mut();
        if slices.len() < self.limit() + self.dirty.get() {
            return;
        }
        let clean = slices.iter().filter(|(_, slice)| !slice.dirty.get());
        if let Some(oldest) = clean.min_by_key(|(_, slice)| slice.used.get()).map(|(offset, _)| *offset) {
            slices.remove(&oldest);
        }
    }
}
