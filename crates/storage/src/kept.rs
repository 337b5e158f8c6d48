//! What was fetched, kept in a file of the host's for the next time: a cache that a reload of the page finds again.
//!
//! The file is a header, a table of [`SLOTS`] entries and as many slots, each for a chunk. An entry names the chunk, the version of the
//! image that it is of, and has a keyed hash of both and of the bytes. So nothing needs to be written in order, or flushed: a slot that
//! is torn, lost or another version's has another hash, and is fetched again. Slots of other versions are used again; when there are
//! none left, no more is kept: what a machine reads first is what it reads first the next time. Numbers are little-endian.

use crate::{Hash, Identity, Io, Loader, Result, Store};
use rustc_hash::FxHashMap;
use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;

/// Chunks that are kept of an image at most.
pub const SLOTS: u32 = 4096;
/// Bytes that are kept of an image at most. With the table, `LARGEST` of web/src/host/disk/kept.ts.
const LIMIT: u64 = 512 << 20;
const MAGIC: &[u8; 8] = b"pvmkept\x01";
/// Where the table is.
const TABLE: u64 = 4096;
const ENTRY: usize = 32;
const DATA: u64 = TABLE + SLOTS as u64 * ENTRY as u64;
const CHECK: usize = 16;

/// A loader whose chunks are kept in a store.
pub struct Kept {
    loader: Rc<dyn Loader>,
    store: Rc<dyn Store>,
    /// Of the version of the image.
    key: [u8; Hash::BYTES],
    slots: RefCell<Slots>,
    /// The store has refused to be read or written: it is left alone.
    refused: Cell<bool>,
}

#[derive(Default)]
struct Slots {
    /// Of this version.
    of: FxHashMap<u64, Slot>,
    /// Those that nothing of this version is in, the lowest last.
    free: Vec<u32>,
}

#[derive(Clone, Copy)]
struct Slot {
    number: u32,
    check: [u8; CHECK],
}

impl Kept {
    /// Takes over what is in `store` of this version of the image; the rest is overwritten.
    pub async fn open(loader: Rc<dyn Loader>, store: Rc<dyn Store>, identity: &Identity) -> Result<Self> {
        let version = format!("{identity}, chunks of {} bits, {}", loader.chunk_bits(), MAGIC.escape_ascii());
        let key = Hash::of(version.as_bytes()).0;
        let mut table = vec![0; SLOTS as usize * ENTRY];
        if store.size() >= DATA {
            // whatever the header says: entries of another format have other keys
            store.read_at(TABLE, &mut table).await?;
        }
        // also tells the host that the file is in use
        store.write_at(0, MAGIC).await?;
        if store.size() < DATA {
            store.write_at(TABLE, &table).await?;
        }
        let slots = RefCell::new(Slots::of(&table, &key, LIMIT >> loader.chunk_bits()));
        Ok(Self { loader, store, key, slots, refused: Cell::new(false) })
    }

    fn place(&self, slot: u32) -> u64 {
        DATA + (u64::from(slot) << self.loader.chunk_bits())
    }

    fn check(&self, chunk: u64, bytes: &[u8]) -> [u8; CHECK] {
        let hash = blake3::Hasher::new_keyed(&self.key).update(&chunk.to_le_bytes()).update(bytes).finalize();
        let mut check = [0; CHECK];
        check.copy_from_slice(&hash.as_bytes()[..CHECK]);
        check
    }

    /// Gives a chunk that is kept, and whole, to `come`. False if it is not.
    async fn take(&self, chunk: u64, come: &dyn Fn(u64, Rc<[u8]>)) -> bool {
        let Some(slot) = self.slots.borrow().of.get(&chunk).copied().filter(|_| !self.refused.get()) else {
            return false;
        };
        let (mut bytes, place) = (vec![0; self.chunk_len(chunk)], self.place(slot.number));
        let there = place + bytes.len() as u64 <= self.store.size();
        let read = if there { self.store.read_at(place, &mut bytes).await } else { Ok(()) };
        self.refused.set(self.refused.get() || read.is_err());
        let whole = there && read.is_ok() && self.check(chunk, &bytes) == slot.check;
        if whole {
            come(chunk, bytes.into());
        } else {
            self.slots.borrow_mut().forget(chunk);
        }
        whole
    }

    /// Keeps a chunk, if there is room. What the store has against it only ends the keeping.
    async fn put(&self, chunk: u64, bytes: &[u8]) {
        if self.refused.get() {
            return;
        }
        // one that is there, and was not taken, may be damaged
        self.slots.borrow_mut().forget(chunk);
        let Some(number) = self.slots.borrow_mut().free.pop() else { return };
        let check = self.check(chunk, bytes);
        if self.write(number, chunk, &check, bytes).await.is_ok() {
            self.slots.borrow_mut().of.insert(chunk, Slot { number, check });
        } else {
            self.refused.set(true);
        }
    }

    async fn write(&self, number: u32, chunk: u64, check: &[u8; CHECK], bytes: &[u8]) -> Result<()> {
        self.store.write_at(self.place(number), bytes).await?;
        let mut entry = [0; ENTRY];
        entry[..8].copy_from_slice(&chunk.to_le_bytes());
        entry[8..16].copy_from_slice(&self.key[..8]);
        entry[16..].copy_from_slice(check);
        self.store.write_at(TABLE + u64::from(number) * ENTRY as u64, &entry).await
    }

    async fn load_kept(&self, chunks: Range<u64>, come: &dyn Fn(u64, Rc<[u8]>)) -> Result<()> {
        // what is kept at both ends is taken; what is missing, and all between, is one request
        let mut missing = chunks;
        while !missing.is_empty() && self.take(missing.start, come).await {
            missing.start += 1;
        }
        while !missing.is_empty() && self.take(missing.end - 1, come).await {
            missing.end -= 1;
        }
        if missing.is_empty() {
            return Ok(());
        }
        let came = RefCell::new(Vec::new());
        let both = |chunk, bytes: Rc<[u8]>| {
            came.borrow_mut().push((chunk, bytes.clone()));
            come(chunk, bytes);
        };
        let loaded = self.loader.load(missing, &both).await;
        // also when the rest could not be had
        for (chunk, bytes) in came.take() {
            self.put(chunk, &bytes).await;
        }
        loaded
    }
}

impl Slots {
    fn of(table: &[u8], key: &[u8; Hash::BYTES], limit: u64) -> Self {
        let mut slots = Self::default();
        for (number, entry) in (0..SLOTS).zip(table.chunks_exact(ENTRY)).rev() {
            let (chunk, rest) = entry.split_at(8);
            let (version, check) = rest.split_at(8);
            let known = <[u8; 8]>::try_from(chunk).map(u64::from_le_bytes).ok().filter(|_| *version == key[..8]);
            match (known, <[u8; CHECK]>::try_from(check)) {
                (Some(chunk), Ok(check)) if !slots.of.contains_key(&chunk) => {
                    slots.of.insert(chunk, Slot { number, check });
                }
                _ if u64::from(number) < limit => slots.free.push(number),
                _ => {}
            }
        }
        slots
    }

    fn forget(&mut self, chunk: u64) {
        self.free.extend(self.of.remove(&chunk).map(|slot| slot.number));
    }
}

impl Loader for Kept {
    fn name(&self) -> &str {
        self.loader.name()
    }

    fn size(&self) -> u64 {
        self.loader.size()
    }

    fn chunk_bits(&self) -> u32 {
        self.loader.chunk_bits()
    }

    fn run(&self) -> u64 {
        self.loader.run()
    }

    fn is_zero(&self, chunk: u64) -> bool {
        self.loader.is_zero(chunk)
    }

    fn is_near(&self, chunk: u64) -> bool {
        !self.refused.get() && self.slots.borrow().of.contains_key(&chunk)
    }

    fn in_a_wait(&self) -> Option<u64> {
        self.loader.in_a_wait()
    }

    fn load<'a>(&'a self, chunks: Range<u64>, come: &'a dyn Fn(u64, Rc<[u8]>)) -> Io<'a> {
        Box::pin(self.load_kept(chunks, come))
    }
}
