//! Images that somebody has tampered with: no panic, no hang, no file that grows without end. `STORAGE_FUZZ_SECONDS`
//! says how long (10).

mod common;

use common::files::Dir;
use common::{now, qemu_img};
use random::Rng;
use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};
use storage::{Hash, Identity, Io, Layer, Manifest, Memory, Overlay, Qcow2, Source, Store};

fn seconds() -> Duration {
    Duration::from_secs(std::env::var("STORAGE_FUZZ_SECONDS").map_or(10, |text| text.parse().unwrap()))
}

fn seed() -> u64 {
    std::env::var("STORAGE_FUZZ_SEED").map_or(1, |text| text.parse().unwrap())
}

/// Images with every kind of cluster.
fn images() -> Vec<Vec<u8>> {
    let dir = Dir::new("fuzz");
    let mut rng = Rng(99);
    let mut images = Vec::new();
    for options in [
        "compat=0.10",
        "compat=1.1",
        "cluster_size=512",
        "cluster_size=512,refcount_bits=1",
        "cluster_size=4k,compression_type=zstd",
        "cluster_size=4k,compression_type=zlib,refcount_bits=64",
    ] {
        let mut bytes = rng.bytes(200 << 10);
        bytes[20_000..90_000].fill(0);
        let raw = dir.write("raw", &bytes);
        let path = dir.path("disk.qcow2");
        let packed: &[&str] = if options.contains("refcount_bits=1") { &[] } else { &["-c"] };
        qemu_img(&[&["convert", "-f", "raw", "-O", "qcow2", "-o", options], packed, &[&raw, &path]].concat());
        let image = Rc::new(Memory::new("image", std::fs::read(&path).unwrap()));
        let disk = now(Qcow2::open(Layer::ReadWrite(image.clone()), None)).unwrap();
        now(disk.write_at(4096, &[1; 8192])).unwrap();
        now(disk.write_zeroes(65536, 65536)).unwrap();
        now(disk.flush()).unwrap();
        drop(disk);
        images.push(Rc::into_inner(image).unwrap().into_bytes());
    }
    images
}

/// Changes a few bytes, mostly of numbers that mean something.
fn tamper(bytes: &mut Vec<u8>, rng: &mut Rng) {
    for _ in 0..1 + rng.below(6) {
        let at = match rng.below(4) {
            0 => rng.below(112),
            1 => rng.below(bytes.len() as u64 / 8) * 8 + rng.below(8),
            _ => (rng.below(bytes.len() as u64 / 512) * 512) + rng.below(64),
        } as usize;
        let Some(byte) = bytes.get_mut(at) else { continue };
        match rng.below(4) {
            0 => *byte ^= 1 << rng.below(8),
            1 => *byte = 0xff,
            2 => *byte = 0,
            _ => *byte = rng.next() as u8,
        }
    }
    if rng.one_in(8) {
        bytes.truncate(rng.below(bytes.len() as u64) as usize);
    }
}

fn word(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).map_or(0, |word| u64::from_be_bytes(word.try_into().unwrap()))
}

/// Where a good image has the entries of its tables: of the L1 table and the tables it names, and of the refcount table
/// and its blocks (as 64-bit words, however long the counts are).
fn entries(bytes: &[u8]) -> Vec<usize> {
    let cluster = 1_usize << word(bytes, 16) as u32;
    let (l1, l1_entries) = (word(bytes, 40) as usize, (word(bytes, 32) as u32) as usize);
    let refcounts = word(bytes, 48) as usize;
    let mut places = Vec::new();
    for table in (l1..).step_by(8).take(l1_entries).chain((refcounts..).step_by(8).take(8)) {
        places.push(table);
        let second = (word(bytes, table) & 0x00ff_ffff_ffff_fe00) as usize;
        if second != 0 {
            places.extend((second..second + cluster).step_by(8).filter(|at| word(bytes, *at) != 0));
        }
    }
    places
}

/// Changes entries of the tables to what a program with an axe to grind would choose.
fn twist(bytes: &mut [u8], places: &[usize], rng: &mut Rng) {
    for _ in 0..1 + rng.below(4) {
        let mut place = || places[rng.below(places.len() as u64) as usize];
        let (at, other) = (place(), place());
        let (old, end) = (word(bytes, at), bytes.len() as u64);
        let new = match rng.below(12) {
            0 => old ^ 1 << 63,
            1 => old ^ 1 << 62,
            2 => old ^ 1,
            3 => word(bytes, other),
            4 => (other as u64 & !511) | 1 << 63,
            5 => old.wrapping_add(512 << rng.below(12)),
            6 => 1 << 62 | rng.next() >> 2,
            7 => (old & !0xffff) | rng.below(0x1_0000),
            8 => end - end % 512 + (rng.below(3) << 9),
            9 => [0, 1, u64::MAX, 1 << 62, 0x00ff_ffff_ffff_fe00, 1 << 63 | 1 << 55][rng.below(6) as usize],
            10 => (1 << 62) | (61 - rng.below(3)).wrapping_shl(54) | rng.below(end),
            _ => 1 << 63 | [word(bytes, 40), word(bytes, 48), 0][rng.below(3) as usize],
        };
        if let Some(place) = bytes.get_mut(at..at + 8) {
            place.copy_from_slice(&new.to_be_bytes());
        }
    }
}

/// Operations on whatever was opened; each may fail.
fn exercise(store: &dyn Store, rng: &mut Rng) {
    let size = store.size();
    for _ in 0..30 {
        let len = (1 + rng.below(40_000)).min(size);
        let offset = rng.below(size - len + 1);
        let offset = if rng.one_in(2) { rng.below(300_000).min(offset) } else { offset };
        _ = match rng.below(6) {
            0 | 1 => now(store.read_at(offset, &mut vec![0; len as usize])),
            2 => now(store.write_at(offset, &rng.bytes(len as usize))),
            3 => now(store.write_zeroes(offset, len)),
            4 => now(store.discard(offset, len)),
            _ => now(store.flush()),
        };
    }
    _ = now(store.flush());
}

/// A disk whose host dies of too much: it is not to come to that.
const GROWTH: u64 = 200 << 20;
/// Bytes that thirty operations of 40 kB move at most: each may read and write some clusters, of 2 MiB at most.
const WORK: u64 = 4 << 30;

/// A file that counts the bytes that are read and written.
struct Counted {
    file: Memory,
    bytes: Cell<u64>,
}

impl Counted {
    fn new(bytes: Vec<u8>) -> Self {
        Self { file: Memory::new("image", bytes), bytes: Cell::new(0) }
    }

    fn count(&self, len: usize) {
        self.bytes.set(self.bytes.get() + len as u64);
    }
}

impl Source for Counted {
    fn name(&self) -> &str {
        self.file.name()
    }

    fn size(&self) -> u64 {
        self.file.size()
    }

    fn read_at<'a>(&'a self, offset: u64, buf: &'a mut [u8]) -> Io<'a> {
        self.count(buf.len());
        self.file.read_at(offset, buf)
    }
}

impl Store for Counted {
    fn write_at<'a>(&'a self, offset: u64, data: &'a [u8]) -> Io<'a> {
        self.count(data.len());
        self.file.write_at(offset, data)
    }

    fn flush(&self) -> Io<'_> {
        self.file.flush()
    }
}

#[test]
fn qcow2_images() {
    let images: Vec<_> = images().into_iter().map(|image| (entries(&image), image)).collect();
    assert!(images.iter().all(|(places, _)| places.len() > 10), "the tables are found");
    let backing: Rc<dyn Source> = Rc::new(Memory::new("backing", vec![7; 100_000]));
    let end = Instant::now() + seconds();
    let (mut count, mut opened) = (0, 0);
    while Instant::now() < end {
        let mut rng = Rng(seed() + count);
        let (places, image) = &images[rng.below(images.len() as u64) as usize];
        let mut bytes = image.clone();
        if rng.one_in(3) {
            tamper(&mut bytes, &mut rng);
        } else {
            twist(&mut bytes, places, &mut rng);
        }
        let file = Rc::new(Counted::new(bytes));
        let layer = if rng.one_in(3) { Layer::ReadOnly(file.clone()) } else { Layer::ReadWrite(file.clone()) };
        if let Ok(disk) = now(Qcow2::open(layer, rng.one_in(3).then(|| backing.clone()))) {
            opened += 1;
            exercise(&disk, &mut rng);
        }
        assert!(file.bytes.get() < WORK, "seed {}: {} bytes are moved", seed() + count, file.bytes.get());
        assert!(file.size() < GROWTH, "seed {}: {} bytes", seed() + count, file.size());
        count += 1;
    }
    println!("{count} images, {opened} could be opened");
    assert!(opened > 0 && opened < count);
}

/// A checksum that fits again, where the format has one.
fn repair(bytes: &mut [u8]) {
    for superblock in [0, 4096] {
        if let Some(block) = bytes.get_mut(superblock..superblock + 4096) {
            let checksum = Hash::of(&block[..4080]).0;
            block[4080..].copy_from_slice(&checksum[..16]);
        }
    }
    // records: 40 bytes, 8 for each entry
    for at in (0..bytes.len().saturating_sub(40)).step_by(8) {
        if bytes[at..at + 4] == *b"povl" {
            let count = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().unwrap()) as usize;
            let Some(record) = bytes.get_mut(at..at.saturating_add(40 + count * 8)) else { continue };
            record[24..40].fill(0);
            let checksum = Hash::of(record).0;
            record[24..40].copy_from_slice(&checksum[..16]);
        }
    }
}

#[test]
fn overlays() {
    let end = Instant::now() + seconds() / 4;
    let size = 300_000_u64;
    let open = |file: Rc<Memory>| {
        let base = Rc::new(Memory::new("base", vec![3; size as usize]));
        now(Overlay::open(file, base, Identity { size, tag: "tag".to_owned() }))
    };
    let mut rng = Rng(seed());
    let file = Rc::new(Memory::new("overlay", Vec::new()));
    let overlay = open(file.clone()).unwrap();
    exercise(&overlay, &mut rng);
    exercise(&overlay, &mut rng);
    drop(overlay);
    let whole = Rc::into_inner(file).unwrap().into_bytes();
    let (mut count, mut opened) = (0, 0);
    while Instant::now() < end {
        let mut rng = Rng(seed() + count);
        let mut bytes = whole.clone();
        tamper(&mut bytes, &mut rng);
        repair(&mut bytes);
        let file = Rc::new(Memory::new("overlay", bytes));
        if let Ok(overlay) = open(file.clone()) {
            opened += 1;
            exercise(&overlay, &mut rng);
        }
        assert!(file.size() < GROWTH, "seed {}: {} bytes", seed() + count, file.size());
        count += 1;
    }
    println!("{count} overlays, {opened} could be opened");
    assert!(opened > 0 && opened < count);
}

#[test]
fn manifests() {
    let mut rng = Rng(seed());
    let chunks = (0..50).map(|i| (i % 3 > 0).then(|| Hash::of(&[i]))).collect();
    let whole = Manifest { codec: storage::Codec::Zstd, chunk_bits: 16, size: 50 << 16, chunks }.to_bytes();
    for _ in 0..20_000 {
        let mut bytes = whole.clone();
        tamper(&mut bytes, &mut rng);
        if let Some((content, hash)) = bytes.split_last_chunk_mut::<32>() {
            *hash = Hash::of(content).0;
        }
        if let Ok(manifest) = Manifest::parse("manifest", &bytes) {
            assert_eq!(manifest.chunks.len() as u64, manifest.size.div_ceil(1 << manifest.chunk_bits));
        }
    }
}
