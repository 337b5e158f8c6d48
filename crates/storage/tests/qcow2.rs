//! Images that QEMU makes are read and written here, and QEMU finds them right.

mod common;

use common::crash::Recorded;
use common::files::{Dir, Native, NativeFiles};
use common::full::Full;
use common::model::Model;
use common::{now, qemu_img};
use random::Rng;
use std::cell::Cell;
use std::rc::Rc;
use storage::{
    BlockBackend, Completion, Drive, Executor, Format, Layer, Memory, Opener, Qcow2, Request, Source, Store, Tag,
};

/// How an image is made: `qemu-img create`'s or `convert`'s options.
struct Case {
    name: &'static str,
    options: &'static str,
    /// Bytes of the disk.
    size: usize,
    /// Arguments of `convert` for an image that has content from the start.
    convert: Option<&'static [&'static str]>,
}

const CASES: &[Case] = &[
    Case { name: "default", options: "compat=1.1", size: 4 << 20, convert: None },
    Case { name: "v2", options: "compat=0.10", size: 4 << 20, convert: None },
    Case { name: "v2-content", options: "compat=0.10", size: 3 << 20, convert: Some(&[]) },
    Case { name: "odd-size", options: "compat=1.1", size: (3 << 20) + 1536, convert: Some(&[]) },
    Case { name: "clusters-512", options: "cluster_size=512", size: 1 << 20, convert: None },
    Case { name: "clusters-4k", options: "cluster_size=4k", size: 4 << 20, convert: Some(&[]) },
    Case { name: "clusters-2m", options: "cluster_size=2M", size: 9 << 20, convert: None },
    Case { name: "zlib", options: "compression_type=zlib", size: 4 << 20, convert: Some(&["-c"]) },
    Case { name: "zstd", options: "compression_type=zstd", size: 4 << 20, convert: Some(&["-c"]) },
    Case { name: "zstd-2m", options: "compression_type=zstd,cluster_size=2M", size: 9 << 20, convert: Some(&["-c"]) },
    Case { name: "zlib-512", options: "cluster_size=512", size: 1 << 20, convert: Some(&["-c"]) },
    Case { name: "zlib-v2", options: "compat=0.10,cluster_size=16k", size: 3 << 20, convert: Some(&["-c"]) },
    Case { name: "refcount-1", options: "refcount_bits=1,cluster_size=512", size: 1 << 20, convert: Some(&[]) },
    Case { name: "refcount-4", options: "refcount_bits=4,cluster_size=1k", size: 1 << 20, convert: Some(&["-c"]) },
    Case { name: "refcount-64", options: "refcount_bits=64,cluster_size=512", size: 8 << 20, convert: None },
    Case { name: "preallocated", options: "preallocation=metadata", size: 4 << 20, convert: None },
    Case { name: "lazy", options: "lazy_refcounts=on", size: 4 << 20, convert: None },
];

fn open(path: &str) -> Qcow2 {
    now(Qcow2::open(Layer::ReadWrite(Rc::new(Native::open(path))), None)).unwrap()
}

/// Some of it zeros.
fn content(size: usize, rng: &mut Rng) -> Vec<u8> {
    let mut bytes = rng.bytes(size);
    for _ in 0..8 {
        let start = rng.below(size as u64) as usize;
        let end = size.min(start + rng.below(size as u64 / 8) as usize);
        bytes[start..end].fill(0);
    }
    bytes
}

fn check(path: &str) {
    let report = qemu_img(&["check", "-f", "qcow2", path]);
    assert!(report.contains("No errors were found"), "{report}");
}

/// QEMU finds the same in an image as is in `bytes`.
fn compare(dir: &Dir, path: &str, bytes: &[u8]) {
    let raw = dir.write("expected.raw", bytes);
    qemu_img(&["compare", "-f", "raw", "-F", "qcow2", &raw, path]);
}

fn seeds() -> std::ops::Range<u64> {
    0..std::env::var("STORAGE_SEEDS").map_or(2, |text| text.parse().unwrap())
}

#[test]
fn every_kind_of_image_is_read_and_written() {
    for case in CASES {
        for seed in seeds() {
            println!("{} seed {seed}", case.name);
            let dir = Dir::new(&format!("{}-{seed}", case.name));
            let mut rng = Rng(seed);
            let path = dir.path("disk.qcow2");
            let mut model = Model { bytes: vec![0; case.size] };
            match case.convert {
                Some(more) => {
                    model.bytes = content(case.size, &mut rng);
                    let raw = dir.write("content.raw", &model.bytes);
                    let mut args = vec!["convert", "-f", "raw", "-O", "qcow2", "-o", case.options];
                    args.extend(more);
                    args.extend([raw.as_str(), &path]);
                    qemu_img(&args);
                }
                None => _ = qemu_img(&["create", "-f", "qcow2", "-o", case.options, &path, &case.size.to_string()]),
            }
            for _ in 0..3 {
                let image = open(&path);
                model.check(&image);
                for _ in 0..150 {
                    model.step(&image, &mut rng, 256 << 10);
                }
                now(image.flush()).unwrap();
                model.check(&image);
                drop(image);
                check(&path);
                compare(&dir, &path, &model.bytes);
            }
        }
    }
}

#[test]
fn what_snapshots_share_is_not_written() {
    for (options, seed) in [("compat=1.1", 1), ("compat=0.10", 2), ("cluster_size=512", 3), ("refcount_bits=4", 4)] {
        let dir = Dir::new(&format!("snapshots-{seed}"));
        let mut rng = Rng(seed);
        let path = dir.path("disk.qcow2");
        let mut model = Model { bytes: content(2 << 20, &mut rng) };
        let raw = dir.write("content.raw", &model.bytes);
        // compressed clusters share clusters of the file: more references than four bits count
        let packed: &[&str] = if options == "refcount_bits=4" { &[] } else { &["-c"] };
        let args = ["convert", "-f", "raw", "-O", "qcow2", "-o", options];
        qemu_img(&[&args, packed, &[&raw, &path]].concat());
        let mut states = Vec::new();
        for snapshot in ["one", "two"] {
            let image = open(&path);
            (0..60).for_each(|_| model.step(&image, &mut rng, 128 << 10));
            now(image.flush()).unwrap();
            drop(image);
            qemu_img(&["snapshot", "-c", snapshot, &path]);
            states.push((snapshot, model.bytes.clone()));
        }
        let image = open(&path);
        (0..100).for_each(|_| model.step(&image, &mut rng, 128 << 10));
        now(image.flush()).unwrap();
        drop(image);
        check(&path);
        compare(&dir, &path, &model.bytes);
        for (snapshot, bytes) in states {
            qemu_img(&["snapshot", "-a", snapshot, &path]);
            check(&path);
            compare(&dir, &path, &bytes);
        }
    }
}

#[test]
fn backing_files_are_read_and_never_written() {
    for (seed, middle, top) in [(1, "1M", "3M"), (2, "3M", "1M"), (3, "2500K", "2500K")] {
        let dir = Dir::new(&format!("backing-{seed}"));
        let mut rng = Rng(seed);
        let base = content((2 << 20) + 512, &mut rng);
        dir.write("base.raw", &base);
        let [middle_path, top_path] = [dir.path("middle.qcow2"), dir.path("top.qcow2")];
        qemu_img(&["create", "-f", "qcow2", "-b", "base.raw", "-F", "raw", &middle_path, middle]);
        qemu_img(&["create", "-f", "qcow2", "-o", "compat=0.10", "-b", "middle.qcow2", "-F", "qcow2", &top_path, top]);
        for (path, others) in [(&middle_path, ["base.raw"]), (&top_path, ["middle.qcow2"])] {
            let before: Vec<_> = others.iter().map(|name| std::fs::read(dir.path(name)).unwrap()).collect();
            let files = Rc::new(NativeFiles::default());
            let opener = Opener { files, executor: Rc::default() };
            let drive = Drive { file: path.clone(), format: Some(Format::Qcow2), ..Drive::default() };
            let mut disk = now(opener.drive(&drive)).unwrap();
            let mut bytes = std::fs::read(dir.path(others[0])).unwrap();
            if others[0] == "middle.qcow2" {
                qemu_img(&["convert", "-O", "raw", &middle_path, &dir.path("middle.raw")]);
                bytes = std::fs::read(dir.path("middle.raw")).unwrap();
            }
            bytes.resize(disk.capacity() as usize, 0);
            for i in 0..120 {
                let offset = rng.below(disk.capacity() / 512) * 512;
                let len = (1 + rng.below(200) as usize) * 512;
                let len = len.min((disk.capacity() - offset) as usize);
                let range = offset as usize..offset as usize + len;
                let request = match i % 3 {
                    0 => {
                        let data = rng.bytes(len);
                        bytes[range.clone()].copy_from_slice(&data);
                        Request::Write { offset, data }
                    }
                    1 if rng.one_in(3) => {
                        bytes[range.clone()].fill(0);
                        Request::WriteZeroes { offset, len: len as u64 }
                    }
                    _ => Request::Read { offset, len },
                };
                let read = matches!(request, Request::Read { .. });
                disk.submit(Tag(i), request);
                let Some(Completion { tag: Tag(tag), result }) = disk.poll() else { panic!("nothing was done") };
                assert_eq!(tag, i);
                let result = result.unwrap();
                assert!(!read || result == bytes[range], "bytes {offset}..+{len} of {path} differ");
            }
            disk.submit(Tag(0), Request::Flush);
            disk.poll().unwrap().result.unwrap();
            drop(disk);
            check(path);
            compare(&dir, path, &bytes);
            for (name, before) in others.iter().zip(before) {
                assert!(std::fs::read(dir.path(name)).unwrap() == before, "{name} was written");
            }
        }
    }
}

/// A file whose `at..` bytes are replaced.
fn patched(dir: &Dir, path: &str, at: usize, bytes: &[u8]) -> String {
    let mut image = std::fs::read(path).unwrap();
    image[at..at + bytes.len()].copy_from_slice(bytes);
    dir.write("patched.qcow2", &image)
}

#[test]
fn what_is_not_supported_or_not_right_is_said() {
    let dir = Dir::new("refused");
    let path = dir.path("disk.qcow2");
    qemu_img(&["create", "-f", "qcow2", &path, "64M"]);
    let refused = |path: &str, write: bool| {
        let file = Rc::new(Native::open(path));
        let layer = if write { Layer::ReadWrite(file) } else { Layer::ReadOnly(file) };
        let error = now(Qcow2::open(layer, None)).err().expect("it is to be refused").to_string();
        assert!(error.starts_with(path), "{error}");
        error
    };
    for (bit, message) in [(2, "external data file"), (4, "extended L2 entries"), (40, "incompatible feature bit 40")] {
        let bits = 1_u64 << bit;
        let error = refused(&patched(&dir, &path, 72, &bits.to_be_bytes()), false);
        assert!(error.contains(message), "{error}");
    }
    for (bits, message) in [(1_u64, "was not closed"), (2, "marked as corrupt")] {
        let path = patched(&dir, &path, 72, &bits.to_be_bytes());
        let error = refused(&path, true);
        assert!(error.contains(message) && error.contains("qemu-img check -r all"), "{error}");
        assert!(now(Qcow2::open(Layer::ReadOnly(Rc::new(Native::open(&path))), None)).is_ok());
    }
    for (at, bytes, message) in [
        (0, &b"QFI\xfa"[..], "not a qcow2 image"),
        (4, &[0, 0, 0, 4], "qcow2 version 4"),
        (32, &[0, 0, 0, 2], "encryption"),
        (20, &[0, 0, 0, 30], "clusters of 2^30 bytes"),
        (96, &[0, 0, 0, 7], "refcounts of 2^7 bits"),
        (36, &[0x7f, 0, 0, 0], "an L1 table of"),
        (40, &[0, 0, 0, 0, 0, 0, 2, 0], "L1 table is at byte 512"),
        (24, &[0x7f, 0, 0, 0, 0, 0, 0, 0], "an L1 table of"),
        (40, &[0, 0, 1, 0, 0, 0, 0, 0], "truncated"),
    ] {
        let error = refused(&patched(&dir, &path, at, bytes), false);
        assert!(error.contains(message), "{error}");
    }
    // the image itself calls a feature by name
    let image = std::fs::read(&path).unwrap();
    let names = image.windows(11).position(|w| w == b"dirty bit\0\0").unwrap();
    let mut named = image.clone();
    named[names - 1] = 41;
    named[72..80].copy_from_slice(&(1_u64 << 41).to_be_bytes());
    let error = refused(&dir.write("named.qcow2", &named), false);
    assert!(error.contains("`dirty bit`"), "{error}");
    // cut off in the middle of what it holds
    qemu_img(&["convert", "-f", "raw", "-O", "qcow2", &dir.write("raw", &[1; 1 << 20]), &path]);
    let whole = std::fs::read(&path).unwrap();
    let cut = dir.write("cut.qcow2", &whole[..whole.len() / 2]);
    let image = now(Qcow2::open(Layer::ReadOnly(Rc::new(Native::open(&cut))), None)).unwrap();
    let error = now(image.read_at(0, &mut vec![0; 1 << 20])).unwrap_err().to_string();
    assert!(error.contains("cut.qcow2") && error.contains("truncated"), "{error}");
}

/// QEMU's disks end where their last whole sector does.
#[test]
fn a_size_that_is_no_number_of_sectors_is_as_in_qemu() {
    let dir = Dir::new("sectors");
    let path = dir.path("disk.qcow2");
    qemu_img(&["create", "-f", "qcow2", &path, "1M"]);
    let path = patched(&dir, &path, 24, &((1_u64 << 20) - 100).to_be_bytes());
    let info = qemu_img(&["info", "--output=json", "-f", "qcow2", &path]);
    let opener = Opener { files: Rc::new(NativeFiles::default()), executor: Rc::default() };
    let mut disk = now(opener.drive(&Drive { file: path.clone(), ..Drive::default() })).unwrap();
    let size = disk.capacity();
    assert!(info.contains(&format!("\"virtual-size\": {size},")), "{size}: {info}");
    disk.submit(Tag(0), Request::Write { offset: size - 512, data: vec![7; 512] });
    disk.submit(Tag(1), Request::Flush);
    (0..2).for_each(|_| _ = disk.poll().unwrap().result.unwrap());
    check(&path);
}

#[test]
fn a_file_that_would_be_counted_far_behind_its_end_does_not_grow() {
    let dir = Dir::new("counted");
    let path = dir.path("disk.qcow2");
    qemu_img(&["create", "-f", "qcow2", "-o", "cluster_size=4k", &path, "4M"]);
    let mut image = std::fs::read(&path).unwrap();
    // one block, in which all is in use, for all that the refcount table covers
    let table = u64::from_be_bytes(image[48..56].try_into().unwrap()) as usize;
    let block = image[table..table + 8].to_vec();
    let at = u64::from_be_bytes(block.clone().try_into().unwrap()) as usize;
    image[at..at + 4096].fill(1);
    image[table..table + 4096].copy_from_slice(&block.repeat(512));
    let path = dir.write("counted.qcow2", &image);
    let error = now(open(&path).write_at(0, &[0; 512])).unwrap_err().to_string();
    assert!(error.contains("behind the file's end are counted as used"), "{error}");
    assert_eq!(std::fs::metadata(&path).unwrap().len(), image.len() as u64);
}

#[test]
fn writes_that_fail_take_nothing_of_the_file() {
    let dir = Dir::new("full");
    let path = dir.path("disk.qcow2");
    qemu_img(&["create", "-f", "qcow2", "-o", "cluster_size=4k", &path, "4M"]);
    let file = Memory::new("disk.qcow2", std::fs::read(&path).unwrap());
    let store = Rc::new(Full { room: Cell::new(file.size()), file });
    let image = now(Qcow2::open(Layer::ReadWrite(store.clone()), None)).unwrap();
    for n in 0..300 {
        let error = now(image.write_at(n * 4096, &[1; 4096])).unwrap_err().to_string();
        assert_eq!(error, "disk.qcow2: it is full", "write {n}");
        if n % 50 == 0 {
            now(image.flush()).unwrap();
        }
    }
    store.room.set(u64::MAX);
    now(image.write_at(0, &[1; 4096])).unwrap();
    now(image.flush()).unwrap();
    let mut bytes = vec![0; store.size() as usize];
    now(store.read_at(0, &mut bytes)).unwrap();
    check(&dir.write("disk.qcow2", &bytes));
}

#[test]
fn backing_files_that_go_round_in_a_circle_are_refused() {
    let dir = Dir::new("circle");
    let [a, b] = [dir.path("a.qcow2"), dir.path("b.qcow2")];
    for (path, other) in [(&a, "b.qcow2"), (&b, "a.qcow2")] {
        qemu_img(&["create", "-u", "-f", "qcow2", "-b", other, "-F", "qcow2", path, "1M"]);
    }
    let opener = Opener { files: Rc::new(NativeFiles::default()), executor: Rc::new(Executor::default()) };
    let error = now(opener.drive(&Drive { file: a, ..Drive::default() })).err().unwrap().to_string();
    assert!(error.contains("in a circle"), "{error}");
}

#[test]
fn after_a_crash_the_tables_are_right_and_what_was_flushed_is_there() {
    for (seed, options) in [(1, "cluster_size=4k"), (2, "cluster_size=512,refcount_bits=64"), (3, "compat=0.10")] {
        let dir = Dir::new(&format!("crash-{seed}"));
        let mut rng = Rng(seed);
        let path = dir.path("disk.qcow2");
        let mut bytes = content(1 << 20, &mut rng);
        let raw = dir.write("content.raw", &bytes);
        qemu_img(&["convert", "-c", "-f", "raw", "-O", "qcow2", "-o", options, &raw, &path]);
        let recorded = Rc::new(Recorded::new(std::fs::read(&path).unwrap()));
        let image = now(Qcow2::open(Layer::ReadWrite(recorded.clone()), None)).unwrap();
        // what was flushed, when; and which sectors were written since
        let mut flushed = vec![(0, bytes.clone())];
        let mut written = vec![(0, 0..0)];
        for i in 0..250 {
            let len = 512 * (1 + rng.below(60) as usize);
            let offset = rng.below((bytes.len() - len) as u64 / 512) * 512;
            let range = offset as usize..offset as usize + len;
            written.push((recorded.steps(), range.clone()));
            if rng.one_in(4) {
                now(image.write_zeroes(offset, len as u64)).unwrap();
                bytes[range].fill(0);
            } else {
                let data = rng.bytes(len);
                now(image.write_at(offset, &data)).unwrap();
                bytes[range].copy_from_slice(&data);
            }
            if i % 7 == 0 {
                now(image.flush()).unwrap();
                flushed.push((recorded.steps(), bytes.clone()));
            }
        }
        for sample in 0..120 {
            let steps = rng.below(recorded.steps() as u64 + 1) as usize;
            let file = dir.write("crashed.qcow2", &recorded.crashed(steps, false, &mut rng));
            let out = std::process::Command::new("qemu-img").args(["check", "-f", "qcow2", &file]).output().unwrap();
            let report = String::from_utf8_lossy(&out.stdout).into_owned();
            // 3: leaked clusters, and nothing else
            assert!(matches!(out.status.code(), Some(0 | 3)), "{options}, sample {sample}, step {steps}: {report}");
            let image = open(&file);
            let mut is = vec![0; bytes.len()];
            now(image.read_at(0, &mut is)).unwrap();
            let (at, before) = flushed.iter().rfind(|(at, _)| *at <= steps).unwrap();
            let since = written.iter().filter(|(began, _)| began >= at && *began <= steps);
            let mut may_differ = vec![false; bytes.len()];
            since.for_each(|(_, range)| may_differ[range.clone()].fill(true));
            let wrong = (0..is.len()).find(|i| !may_differ[*i] && is[*i] != before[*i]);
            assert_eq!(wrong, None, "{options}, sample {sample}, step {steps}");
        }
    }
}

#[test]
fn a_table_that_names_a_cluster_behind_the_files_end_makes_no_file_grow() {
    let dir = Dir::new("behind");
    let path = dir.path("disk.qcow2");
    qemu_img(&["convert", "-f", "raw", "-O", "qcow2", &dir.write("raw", &[1; 1 << 20]), &path]);
    let image = std::fs::read(&path).unwrap();
    let number = |at: usize| u64::from_be_bytes(image[at..at + 8].try_into().unwrap()) & 0xff_ffff_ffff_fe00;
    let l2 = number(number(40) as usize) as usize;
    let path = patched(&dir, &path, l2, &(1_u64 << 63 | 1 << 40).to_be_bytes());
    let error = now(open(&path).write_at(0, &[0; 512])).unwrap_err().to_string();
    assert!(error.contains("truncated"), "{error}");
    assert_eq!(std::fs::metadata(&path).unwrap().len(), image.len() as u64);
}
