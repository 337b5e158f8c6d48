//! What is kept of an image for the next time: it is found again, never another version's, and never trusted.

mod common;

use common::crash::Recorded;
use common::now;
use random::Rng;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;
use storage::{BlockError, Identity, Io, Kept, Loader, Memory, Result, Source, Store};

const BITS: u32 = 12;
/// The last chunk is not whole.
const SIZE: usize = (40 << BITS) - 1000;

/// An image that counts the chunks that are loaded of it.
struct Far {
    bytes: Vec<u8>,
    loaded: Cell<u64>,
}

impl Far {
    fn new(seed: u64) -> Rc<Self> {
        Rc::new(Self { bytes: Rng(seed).bytes(SIZE), loaded: Cell::new(0) })
    }
}

impl Loader for Far {
    fn name(&self) -> &str {
        "far"
    }

    fn size(&self) -> u64 {
        SIZE as u64
    }

    fn chunk_bits(&self) -> u32 {
        BITS
    }

    fn run(&self) -> u64 {
        8
    }

    fn load<'a>(&'a self, chunks: Range<u64>, come: &'a dyn Fn(u64, Rc<[u8]>)) -> Io<'a> {
        self.loaded.set(self.loaded.get() + chunks.end - chunks.start);
        Box::pin(async move {
            for chunk in chunks {
                let start = (chunk << BITS) as usize;
                come(chunk, self.bytes[start..start + self.chunk_len(chunk)].into());
            }
            Ok(())
        })
    }
}

fn identity(tag: &str) -> Identity {
    Identity { size: SIZE as u64, tag: tag.to_owned() }
}

fn open(far: &Rc<Far>, store: &Rc<dyn Store>, tag: &str) -> Result<Kept> {
    now(Kept::open(far.clone(), store.clone(), &identity(tag)))
}

/// The bytes of these chunks, each of which comes once.
fn load(kept: &Kept, chunks: Range<u64>) -> Vec<u8> {
    let came = RefCell::new(BTreeMap::new());
    let come = |chunk, bytes: Rc<[u8]>| assert!(came.borrow_mut().insert(chunk, bytes).is_none());
    now(kept.load(chunks, &come)).unwrap();
    came.take().into_values().flat_map(|bytes| bytes.to_vec()).collect()
}

/// Reads `range` of the image, whole chunks, as a machine with this store would, and returns how many chunks came from far.
fn read(far: &Rc<Far>, store: &Rc<dyn Store>, tag: &str, range: Range<usize>) -> u64 {
    let before = far.loaded.get();
    let chunks = range.start as u64 >> BITS..(range.end as u64).div_ceil(1 << BITS);
    assert!(load(&open(far, store, tag).unwrap(), chunks) == far.bytes[range], "other bytes");
    far.loaded.get() - before
}

fn memory() -> Rc<dyn Store> {
    Rc::new(Memory::new("kept", Vec::new()))
}

#[test]
fn the_next_time_nothing_is_fetched_but_what_was_not_read() {
    let (far, store) = (Far::new(1), memory());
    assert_eq!(read(&far, &store, "1", 0..3 << BITS), 3);
    assert_eq!(read(&far, &store, "1", 0..3 << BITS), 0);
    // what is kept at both ends of a read is not fetched with what is missing
    assert_eq!(read(&far, &store, "1", 5 << BITS..6 << BITS), 1);
    assert_eq!(read(&far, &store, "1", 2 << BITS..6 << BITS), 2);
    assert_eq!(read(&far, &store, "1", 0..SIZE), 34);
    assert_eq!(read(&far, &store, "1", 0..SIZE), 0);
}

#[test]
fn what_is_kept_of_another_version_is_not_used() {
    let (old, new, store) = (Far::new(1), Far::new(2), memory());
    assert_eq!(read(&old, &store, "1", 0..SIZE), 40);
    let size = store.size();
    assert_eq!(read(&new, &store, "2", 0..SIZE), 40);
    assert_eq!(read(&new, &store, "2", 0..SIZE), 0);
    assert_eq!(store.size(), size, "its room is used again");
    assert_eq!(read(&old, &store, "1", 0..SIZE), 40);
}

#[test]
fn whatever_a_dying_host_leaves_the_bytes_are_right() {
    let (old, new) = (Far::new(1), Far::new(2));
    let mut rng = Rng(3);
    let kept = Rc::new(Recorded::new(Vec::new()));
    let store: Rc<dyn Store> = kept.clone();
    read(&old, &store, "1", 0..SIZE);
    read(&new, &store, "2", 3 << BITS..30 << BITS);
    for steps in 0..=kept.steps() {
        let crashed: Rc<dyn Store> = Rc::new(Memory::new("kept", kept.crashed(steps, steps % 2 == 0, &mut rng)));
        for (far, tag) in [(&new, "2"), (&old, "1")] {
            read(far, &crashed, tag, 0..SIZE);
            assert_eq!(read(far, &crashed, tag, 0..SIZE), 0, "it is mended");
        }
    }
}

#[test]
fn damage_is_noticed() {
    let (far, store) = (Far::new(1), memory());
    read(&far, &store, "1", 0..SIZE);
    let mut rng = Rng(4);
    for _ in 0..200 {
        let at = rng.below(store.size() - 8);
        now(store.write_at(at, &rng.bytes(8))).unwrap();
        read(&far, &store, "1", 0..SIZE);
    }
}

/// A store that refuses what comes after so many operations.
struct Refusing {
    inner: Memory,
    left: Cell<u32>,
    refused: RefCell<u32>,
}

impl Refusing {
    fn ask(&self) -> Result<()> {
        if self.left.get() > 0 {
            self.left.set(self.left.get() - 1);
            return Ok(());
        }
        *self.refused.borrow_mut() += 1;
        Err(BlockError::Io { image: "kept".to_owned(), reason: "storage is full".to_owned() })
    }
}

impl Source for Refusing {
    fn name(&self) -> &str {
        "kept"
    }

    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn read_at<'a>(&'a self, offset: u64, buf: &'a mut [u8]) -> Io<'a> {
        Box::pin(async move {
            self.ask()?;
            self.inner.read_at(offset, buf).await
        })
    }
}

impl Store for Refusing {
    fn write_at<'a>(&'a self, offset: u64, data: &'a [u8]) -> Io<'a> {
        Box::pin(async move {
            self.ask()?;
            self.inner.write_at(offset, data).await
        })
    }

    fn flush(&self) -> Io<'_> {
        Box::pin(async { self.ask() })
    }
}

#[test]
fn a_store_that_refuses_is_asked_once_more_and_not_again() {
    for left in 0..100 {
        let far = Far::new(1);
        let refusing = Rc::new(Refusing {
            inner: Memory::new("kept", Vec::new()),
            left: Cell::new(left),
            refused: RefCell::new(0),
        });
        let store: Rc<dyn Store> = refusing.clone();
        let Ok(kept) = open(&far, &store, "1") else {
            assert!(left < 2, "only opening may fail");
            continue;
        };
        for _ in 0..2 {
            assert!(load(&kept, 0..40) == far.bytes);
        }
        assert!(*refusing.refused.borrow() <= 1);
    }
}
