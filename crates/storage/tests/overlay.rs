//! What is written to an overlay is there: always, after a crash as of the last flush, and in the copy that is
//! exported.

mod common;

use common::crash::Recorded;
use common::full::Full;
use common::model::Model;
use common::now;
use random::Rng;
use std::cell::Cell;
use std::rc::Rc;
use storage::{BlockError, Identity, Memory, Overlay, Source, Store};

const SIZE: usize = 300 << 10;

fn identity(tag: &str) -> Identity {
    Identity { size: SIZE as u64, tag: tag.to_owned() }
}

fn base(bytes: &[u8]) -> Rc<Memory> {
    Rc::new(Memory::new("base.img", bytes.to_vec()))
}

fn open(store: Rc<dyn Store>, bytes: &[u8]) -> Overlay {
    now(Overlay::open(store, base(bytes), identity("\"v1\""))).unwrap()
}

#[test]
fn random_operations_are_as_on_plain_bytes() {
    for seed in 0..20 {
        let mut rng = Rng(seed);
        let size = [SIZE, SIZE - 512, SIZE - 3584][seed as usize % 3];
        let bytes = rng.bytes(size);
        let store = Rc::new(Memory::new("overlay", Vec::new()));
        let mut model = Model { bytes: bytes.clone() };
        for _ in 0..5 {
            let overlay = open(store.clone(), &bytes);
            model.check(&overlay);
            (0..100).for_each(|_| model.step(&overlay, &mut rng, 40 << 10));
            now(overlay.flush()).unwrap();
            model.check(&overlay);
        }
        // a granule has one slot, and one more while it is written: the log and its successor apart
        assert!(store.size() < 2 * SIZE as u64 + (2 << 20), "the overlay has {} bytes", store.size());
    }
}

#[test]
fn after_a_crash_all_that_was_flushed_is_there_and_nothing_else() {
    for seed in 0..12 {
        let mut rng = Rng(seed);
        let bytes = rng.bytes(SIZE);
        let mut start = Vec::new();
        let mut model = Model { bytes: bytes.clone() };
        // each round goes on with what a crash has left
        for _ in 0..6 {
            let recorded = Rc::new(Recorded::new(start.clone()));
            let overlay = open(recorded.clone(), &bytes);
            model.check(&overlay);
            // the file's states at the ends of flushes, by the number of steps
            let mut flushed = vec![(0, model.bytes.clone())];
            let mut begun = Vec::new();
            for _ in 0..40 {
                if rng.one_in(4) {
                    begun.push((recorded.steps(), model.bytes.clone()));
                    now(overlay.flush()).unwrap();
                    flushed.push((recorded.steps(), model.bytes.clone()));
                }
                let len = 512 * (1 + rng.below(40) as usize);
                let data = rng.bytes(len);
                let offset = rng.below((SIZE - data.len()) as u64 / 512) * 512;
                if rng.one_in(5) {
                    now(overlay.write_zeroes(offset, data.len() as u64)).unwrap();
                    model.bytes[offset as usize..][..data.len()].fill(0);
                } else {
                    now(overlay.write_at(offset, &data)).unwrap();
                    model.bytes[offset as usize..][..data.len()].copy_from_slice(&data);
                }
            }
            let mut last = (start, model.bytes.clone());
            for steps in 0..=recorded.steps() {
                let file = recorded.crashed(steps, true, &mut rng);
                let overlay = open(Rc::new(Memory::new("crashed", file.clone())), &bytes);
                let mut is = vec![0; SIZE];
                now(overlay.read_at(0, &mut is)).unwrap();
                let (_, before) = flushed.iter().rfind(|(at, _)| *at <= steps).unwrap();
                let under_way = begun.iter().rfind(|(at, _)| *at <= steps);
                assert!(
                    is == *before || under_way.is_some_and(|(_, bytes)| is == *bytes),
                    "seed {seed}: after step {steps} of {}, it is neither what was flushed nor what was to be",
                    recorded.steps(),
                );
                last = (file, is);
            }
            (start, model.bytes) = last;
        }
    }
}

#[test]
fn a_long_log_is_begun_anew_and_survives_crashes() {
    let mut rng = Rng(7);
    let bytes = vec![0; SIZE];
    let recorded = Rc::new(Recorded::new(Vec::new()));
    let overlay = open(recorded.clone(), &bytes);
    let mut states = Vec::new();
    // each flush adds a record of 48 to 640 bytes to a log of 256 KiB and more
    for i in 0..3000_u32 {
        for _ in 0..1 + i % 4 {
            let granule = rng.below(SIZE as u64 / 4096);
            now(overlay.write_at(granule * 4096, &i.to_le_bytes().repeat(128))).unwrap();
        }
        now(overlay.flush()).unwrap();
        let mut all = vec![0; SIZE];
        now(overlay.read_at(0, &mut all)).unwrap();
        states.push((recorded.steps(), storage::Hash::of(&all)));
    }
    assert!(recorded.size() < 4 << 20, "slots are used again: {} bytes", recorded.size());
    for _ in 0..300 {
        let steps = rng.below(recorded.steps() as u64) as usize;
        let file = recorded.crashed(steps, true, &mut rng);
        let overlay = open(Rc::new(Memory::new("crashed", file)), &bytes);
        let mut all = vec![0; SIZE];
        now(overlay.read_at(0, &mut all)).unwrap();
        let hash = storage::Hash::of(&all);
        let at = states.iter().rposition(|(at, _)| *at <= steps);
        let fits = |i: usize| states.get(i).is_some_and(|(_, is)| *is == hash);
        assert!(at.map_or(all == bytes, fits) || fits(at.map_or(0, |at| at + 1)), "after step {steps}");
    }
}

/// Nor does what could not be written of a new log take room from then on.
#[test]
fn flushes_that_fail_take_nothing_of_the_file() {
    let bytes = vec![0; SIZE];
    let store = Rc::new(Full { room: Cell::new(u64::MAX), file: Memory::new("overlay", Vec::new()) });
    let overlay = open(store.clone(), &bytes);
    let flush = |n: u32| {
        now(overlay.write_at(4096, &n.to_le_bytes().repeat(1024))).unwrap();
        now(overlay.flush())
    };
    // so much that the file goes on behind the log
    now(overlay.write_at(0, &vec![1; SIZE])).unwrap();
    (0..4).for_each(|n| flush(n).unwrap());
    store.room.set(store.size());
    // until the log has to be begun anew
    let first = (4..).find(|n| flush(*n).is_err()).unwrap();
    (first..first + 100).for_each(|n| _ = flush(n).unwrap_err());
    let before = store.size();
    store.room.set(u64::MAX);
    flush(1 << 20).unwrap();
    assert!(store.size() - before < 1 << 20, "{} bytes more", store.size() - before);
    let mut read = [0; 4];
    now(open(store, &bytes).read_at(4096, &mut read)).unwrap();
    assert_eq!(read, (1_u32 << 20).to_le_bytes());
}

#[test]
fn a_copy_is_the_same_and_has_nothing_that_is_not_needed() {
    let mut rng = Rng(3);
    let bytes = rng.bytes(SIZE);
    let store = Rc::new(Memory::new("overlay", Vec::new()));
    let overlay = open(store.clone(), &bytes);
    let mut model = Model { bytes: bytes.clone() };
    for _ in 0..300 {
        model.step(&overlay, &mut rng, 40 << 10);
    }
    let copy = Rc::new(Memory::new("copy", Vec::new()));
    now(overlay.export(copy.clone())).unwrap();
    assert!(copy.size() <= store.size());
    assert!(copy.size() <= overlay.written() + (1 << 20));
    model.check(&open(copy, &bytes));
}

#[test]
fn another_base_is_refused() {
    let store = Rc::new(Memory::new("mine.overlay", Vec::new()));
    let bytes = vec![1; SIZE];
    now(open(store.clone(), &bytes).write_at(0, &[2; 512])).unwrap();
    for other in [identity("\"v2\""), Identity { size: 4096, tag: "\"v1\"".to_owned() }] {
        let error = now(Overlay::open(store.clone(), base(&bytes), other)).err().unwrap();
        assert!(matches!(error, BlockError::OtherBase { .. }));
        let text = error.to_string();
        assert!(text.starts_with("mine.overlay: ") && text.contains("base.img") && text.contains("\"v1\""), "{text}");
    }
    open(store, &bytes);
}

#[test]
fn what_is_not_an_overlay_is_left_alone() {
    let image = |at: usize, bytes: &[u8]| {
        let mut image = vec![0; 1 << 20];
        image[at..at + bytes.len()].copy_from_slice(bytes);
        image
    };
    for (name, file) in [
        ("letter.txt", vec![7; 10_000]),
        ("note.txt", b"short".to_vec()),
        ("disk.qcow2", image(0, b"QFI\xfb\0\0\0\x03")),
        ("disk.img", image(446, &[0, 32, 33, 0, 131, 8, 2, 0, 0, 8, 0, 0, 0, 8, 0, 0])),
        ("ext4.img", image(1024 + 56, &[0x53, 0xef])),
    ] {
        let store = Rc::new(Memory::new(name, file.clone()));
        let error = now(Overlay::open(store.clone(), base(&[0; SIZE]), identity(""))).err().expect(name).to_string();
        assert!(error.contains(name) && error.contains("not an overlay"), "{error}");
        let mut is = vec![0; file.len()];
        now(store.read_at(0, &mut is)).unwrap();
        assert!(is == file);
    }
}

/// Behind the log new slots begin: one that says it is long makes a long file.
#[test]
fn a_log_that_says_it_is_longer_than_any_is_refused() {
    for log_slots in [u32::MAX, 1 << 22, 1 << 14] {
        let store = Rc::new(Memory::new("overlay", Vec::new()));
        open(store.clone(), &[0; SIZE]);
        // both superblocks, with other log_slots (bytes 28..32), and a checksum that fits
        for slot in [0, 4096] {
            let mut block = vec![0; 4096];
            now(store.read_at(slot, &mut block)).unwrap();
            block[28..32].copy_from_slice(&log_slots.to_le_bytes());
            let checksum = storage::Hash::of(&block[..4080]).0;
            block[4080..].copy_from_slice(&checksum[..16]);
            now(store.write_at(slot, &block)).unwrap();
        }
        let error = now(Overlay::open(store, base(&[0; SIZE]), identity("\"v1\""))).err().unwrap().to_string();
        assert!(error.contains(&format!("its log has {log_slots} slots")), "{error}");
    }
}
