//! Drives as options describe them, on a host that answers later: formats, caches, chunks, overlays, failures.

mod common;

use common::files::{Dir, Native};
use common::model::Model;
use common::{now, qemu_img};
use random::Rng;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use storage::{
    Access, BlockBackend, BlockError, Codec, Disk, Drive, Ended, Executor, Format, Host, HostFiles, Memory, OpenedFile,
    Opener, Packer, Piece, Request, Started, Store, Tag, object_name,
};

/// Files by name, some of them far away. What is asked is answered by [`Far::answer`].
#[derive(Default)]
struct Far {
    files: RefCell<Vec<(String, Vec<u8>)>>,
    remote: bool,
    writable: bool,
    /// The tags may be those of other contents, too.
    vague: Cell<bool>,
    asked: RefCell<BTreeMap<u32, Ended>>,
    bytes: Cell<u64>,
    requests: Cell<u64>,
    open: Cell<i32>,
    failing: Cell<bool>,
    again: Cell<u64>,
}

impl Far {
    fn put(&self, name: &str, bytes: Vec<u8>) {
        self.files.borrow_mut().push((name.to_owned(), bytes));
    }

    fn find(&self, name: &str, base: &str) -> Option<usize> {
        let name = match base.rsplit_once('/') {
            Some((directory, _)) if !name.starts_with('/') => format!("{directory}/{name}"),
            _ => name.to_owned(),
        };
        self.files.borrow().iter().position(|(n, _)| *n == name)
    }

    fn later(&self, request: u32, ended: Ended) -> Started {
        self.requests.set(self.requests.get() + 1);
        let ended = if self.failing.get() { Ended::Failed("the server cannot be reached".to_owned()) } else { ended };
        self.asked.borrow_mut().insert(request, ended);
        Started::Pending
    }

    /// Answers what was asked; false if nothing was.
    fn answer(&self, files: &HostFiles) -> bool {
        let asked = self.asked.take();
        let any = !asked.is_empty();
        asked.into_iter().for_each(|(request, ended)| files.answer(request, ended));
        any
    }
}

impl Host for Far {
    fn open(&self, name: &str, base: &str, access: Access, request: u32) {
        let ended = match self.find(name, base) {
            None => Ended::Failed("there is no such file".to_owned()),
            Some(file) => {
                self.open.set(self.open.get() + 1);
                Ended::Opened(OpenedFile {
                    file: file as u32,
                    size: self.files.borrow()[file].1.len() as u64,
                    writable: self.writable && access != Access::Read,
                    remote: self.remote && !name.starts_with("kept:"),
                    exact: !self.vague.get(),
                    tag: format!("tag of {name}"),
                })
            }
        };
        self.later(request, ended);
    }

    fn fetch(&self, name: &str, base: &str, again: bool, request: u32) {
        self.again.set(self.again.get() + u64::from(again));
        let ended = match self.find(name, base) {
            None => Ended::Failed("there is no such file".to_owned()),
            Some(file) => Ended::Done(self.files.borrow()[file].1.clone()),
        };
        self.later(request, ended);
    }

    fn read(&self, file: u32, offset: u64, buf: &mut [u8], request: u32) -> Started {
        let files = self.files.borrow();
        let bytes = &files[file as usize].1[offset as usize..offset as usize + buf.len()];
        if !files[file as usize].0.contains("kept:") {
            self.bytes.set(self.bytes.get() + buf.len() as u64);
        }
        if !self.remote {
            buf.copy_from_slice(bytes);
            return Started::Done;
        }
        self.later(request, Ended::Done(bytes.to_vec()))
    }

    fn write(&self, file: u32, offset: u64, data: &[u8], _request: u32) -> Started {
        let bytes = &mut self.files.borrow_mut()[file as usize].1;
        let end = offset as usize + data.len();
        bytes.resize(bytes.len().max(end), 0);
        bytes[offset as usize..end].copy_from_slice(data);
        Started::Done
    }

    fn flush(&self, _file: u32, request: u32) -> Started {
        self.later(request, Ended::Done(Vec::new()))
    }

    fn close(&self, _file: u32) {
        self.open.set(self.open.get() - 1);
    }
}

struct Machine {
    far: Rc<Far>,
    files: HostFiles,
    executor: Rc<Executor>,
}

impl Machine {
    fn new(far: Far) -> Self {
        let far = Rc::new(far);
        Self { files: HostFiles::new(far.clone()), far, executor: Rc::default() }
    }

    fn open(&self, drive: &Drive) -> Result<Disk, BlockError> {
        let opener = Opener { files: Rc::new(self.files.clone()), executor: self.executor.clone() };
        let (drive, opened) = (drive.clone(), Rc::new(RefCell::new(None)));
        let to = opened.clone();
        self.executor.spawn(async move { *to.borrow_mut() = Some(opener.drive(&drive).await) });
        while opened.borrow().is_none() {
            assert!(self.far.answer(&self.files), "it waits for nothing");
            self.executor.run();
        }
        opened.take().unwrap()
    }

    fn request(&self, disk: &mut Disk, request: Request) -> Result<Vec<u8>, BlockError> {
        disk.submit(Tag(5), request);
        loop {
            if let Some(completion) = disk.poll() {
                assert_eq!(completion.tag, Tag(5));
                return completion.result;
            }
            assert!(self.far.answer(&self.files), "it waits for nothing");
        }
    }

    fn read(&self, disk: &mut Disk, offset: u64, len: usize) -> Vec<u8> {
        self.request(disk, Request::Read { offset, len }).unwrap()
    }
}

fn drive(file: &str) -> Drive {
    Drive { file: file.to_owned(), ..Drive::default() }
}

/// An image with a backing file, and what it holds.
fn chain(dir: &Dir, rng: &mut Rng) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let mut bytes = rng.bytes(8 << 20);
    let base = bytes.clone();
    dir.write("base.raw", &base);
    let path = dir.path("top.qcow2");
    qemu_img(&["create", "-f", "qcow2", "-b", "base.raw", "-F", "raw", &path]);
    let top = now(storage::Qcow2::open(storage::Layer::ReadWrite(Rc::new(Native::open(&path))), None)).unwrap();
    let data = rng.bytes(300_000 / 512 * 512);
    now(top.write_at(1 << 20, &data)).unwrap();
    now(top.flush()).unwrap();
    // written without its backing file: the clusters' other parts are zeros
    let end = (1 << 20) + data.len();
    bytes[1 << 20..end].copy_from_slice(&data);
    bytes[end..end.next_multiple_of(65536)].fill(0);
    (bytes, base, std::fs::read(&path).unwrap())
}

#[test]
fn a_chain_far_away_is_fetched_lazily_and_written_to_memory() {
    let dir = Dir::new("far");
    let mut rng = Rng(11);
    let (mut bytes, base, top) = chain(&dir, &mut rng);
    let machine = Machine::new(Far { remote: true, ..Far::default() });
    machine.far.put("http://host/a/base.raw", base);
    machine.far.put("http://host/a/top.qcow2", top);
    let mut disk = machine.open(&drive("http://host/a/top.qcow2")).unwrap();
    assert!(!disk.read_only());
    assert!(machine.far.bytes.get() < 1 << 20, "{} bytes to open it", machine.far.bytes.get());
    for offset in [0, 5 << 20, 1 << 20, (1 << 20) + 280_064] {
        assert!(machine.read(&mut disk, offset, 4096) == bytes[offset as usize..][..4096]);
    }
    let before = machine.far.requests.get();
    assert!(machine.read(&mut disk, 4096, 4096) == bytes[4096..8192]);
    assert_eq!(machine.far.requests.get(), before, "what is there is not fetched again");
    let data = rng.bytes(10 * 512);
    machine.request(&mut disk, Request::Write { offset: 3 << 20, data: data.clone() }).unwrap();
    bytes[3 << 20..][..data.len()].copy_from_slice(&data);
    assert!(machine.far.bytes.get() < 2 << 20, "{} bytes of 8 MiB", machine.far.bytes.get());
    // one who reads it all has fewer and longer requests
    let before = machine.far.requests.get();
    for offset in (0..8 << 20).step_by(64 << 10) {
        assert!(machine.read(&mut disk, offset, 64 << 10) == bytes[offset as usize..][..64 << 10]);
    }
    assert!(machine.far.requests.get() - before < 30, "{} requests", machine.far.requests.get() - before);
    drop(disk);
    assert_eq!(machine.far.open.get(), 0);
}

#[test]
fn what_was_fetched_is_kept_for_the_next_time() {
    let dir = Dir::new("kept");
    let (bytes, base, top) = chain(&dir, &mut Rng(11));
    let machine = Machine::new(Far { remote: true, writable: true, ..Far::default() });
    machine.far.put("http://host/a/base.raw", base);
    machine.far.put("http://host/a/top.qcow2", top);
    machine.far.put("kept:http://host/a/top.qcow2", Vec::new());
    machine.far.put("http://host/a/kept:base.raw", Vec::new());
    let fetched = |forget| {
        let before = machine.far.bytes.get();
        let snapshot = Drive { snapshot: true, forget, ..drive("http://host/a/top.qcow2") };
        let mut disk = machine.open(&snapshot).unwrap();
        for offset in [0, 5 << 20, 1 << 20, (1 << 20) + 280_064] {
            assert!(machine.read(&mut disk, offset, 4096) == bytes[offset as usize..][..4096]);
        }
        machine.far.bytes.get() - before
    };
    let first = fetched(false);
    assert!(first > 512 << 10, "{first} bytes");
    assert_eq!(fetched(false), 8, "the first bytes say which format it is");
    assert_eq!(fetched(true), first, "with cache=none");
    machine.far.vague.set(true);
    assert_eq!(fetched(false), first, "where the bytes may be those of another version");
    assert_eq!(machine.far.open.get(), 0);
}

#[test]
fn names_of_what_is_kept_are_the_engines_own() {
    let dir = Dir::new("named");
    let machine = Machine::new(Far { writable: true, ..Far::default() });
    machine.far.put("kept:a.img", vec![7; 4096]);
    machine.far.put("a.img", vec![7; 4096]);
    let mut tops = Vec::new();
    for backing in ["kept:a.img", "file:kept:a.img"] {
        let path = dir.path("top.qcow2");
        qemu_img(&["create", "-u", "-f", "qcow2", "-b", backing, "-F", "raw", &path, "4096"]);
        tops.push(format!("{backing}.qcow2").replace("kept:", "on-"));
        machine.far.put(tops.last().unwrap(), std::fs::read(&path).unwrap());
    }
    let refused = |drive: Drive| {
        let error = machine.open(&drive).err().unwrap().to_string();
        assert!(error.starts_with("kept:a.img: not supported: a name that begins with `kept:`"), "{error}");
    };
    refused(drive("kept:a.img"));
    refused(Drive { overlay: Some("kept:a.img".to_owned()), ..drive("a.img") });
    tops.iter().for_each(|top| refused(drive(top)));
    assert_eq!(machine.far.open.get(), 0);
}

#[test]
fn a_failure_is_an_error_and_the_next_request_tries_again() {
    let machine = Machine::new(Far { remote: true, ..Far::default() });
    machine.far.put("http://host/disk.img", vec![9; 4 << 20]);
    let mut disk = machine.open(&Drive { format: Some(Format::Raw), ..drive("http://host/disk.img") }).unwrap();
    machine.far.failing.set(true);
    let error = machine.request(&mut disk, Request::Read { offset: 0, len: 512 }).unwrap_err().to_string();
    assert_eq!(error, "http://host/disk.img: the server cannot be reached");
    machine.far.failing.set(false);
    assert!(machine.read(&mut disk, 0, 512) == [9; 512]);
    let error = machine.open(&drive("http://host/none.img")).err().unwrap().to_string();
    assert_eq!(error, "http://host/none.img: there is no such file");
}

#[test]
fn chunks_are_shared_checked_and_fetched_once() {
    for (codec, level) in [(Codec::Stored, 0), (Codec::Deflate, 6), (Codec::Zstd, 1)] {
        let mut rng = Rng(12);
        let mut bytes = rng.bytes((2 << 20) + 512);
        bytes.copy_within(0..256 << 10, 512 << 10);
        bytes[1 << 20..(1 << 20) + (300 << 10)].fill(0);
        let machine = Machine::new(Far { remote: true, ..Far::default() });
        let compress = |chunk: &[u8]| match codec {
            Codec::Stored => chunk.to_vec(),
            Codec::Deflate => miniz_oxide::deflate::compress_to_vec(chunk, level),
            Codec::Zstd => ruzstd::encoding::compress_to_vec(chunk, ruzstd::encoding::CompressionLevel::Fastest),
        };
        let mut packer = Packer::new(Rc::new(Memory::new("disk.img", bytes.clone())), codec, 16);
        let mut objects = 0;
        let manifest = loop {
            match now(packer.next()).unwrap() {
                Piece::Chunk(hash, chunk) => {
                    objects += 1;
                    machine.far.put(&format!("http://host/{}", object_name(&hash)), compress(&chunk));
                }
                Piece::Manifest(manifest) => break manifest,
            }
        };
        // 33 chunks, of which 4 are zeros and 4 there twice
        assert_eq!((manifest.chunks.len(), objects), (33, 25));
        machine.far.put("http://host/disk.chunks", manifest.to_bytes());
        let mut disk = machine.open(&drive("http://host/disk.chunks")).unwrap();
        for _ in 0..200 {
            let len = (1 + rng.below(300) as usize) * 512;
            let offset = rng.below((bytes.len() - len) as u64 / 512) * 512;
            assert!(machine.read(&mut disk, offset, len) == bytes[offset as usize..][..len], "{codec:?}");
        }
        assert!(machine.far.requests.get() < 40, "{} requests", machine.far.requests.get());
        // a chunk that is not what its name says is asked for once more, and refused
        let mut files = machine.far.files.take();
        files.iter_mut().filter(|(name, _)| name.contains("/chunks/")).for_each(|(_, object)| object[20] ^= 1);
        *machine.far.files.borrow_mut() = files;
        let mut disk = machine.open(&drive("http://host/disk.chunks")).unwrap();
        let error = machine.request(&mut disk, Request::Read { offset: 0, len: 512 }).unwrap_err().to_string();
        assert!(error.starts_with("http://host/disk.chunks: ") && error.contains("chunk"), "{error}");
        assert_eq!(machine.far.again.get(), 1);
    }
}

#[test]
fn an_overlay_in_a_file_keeps_what_was_written_and_its_base_as_it_was() {
    let mut rng = Rng(13);
    let base = rng.bytes(1 << 20);
    let machine = Machine::new(Far { writable: true, ..Far::default() });
    machine.far.put("base.img", base.clone());
    machine.far.put("mine.overlay", Vec::new());
    let with = Drive { overlay: Some("mine.overlay".to_owned()), ..drive("base.img") };
    let mut model = Model { bytes: base.clone() };
    for _ in 0..3 {
        let mut disk = machine.open(&with).unwrap();
        assert!(machine.read(&mut disk, 0, 1 << 20) == model.bytes);
        let data = rng.bytes(20_480);
        let offset = rng.below(2000) * 512;
        machine.request(&mut disk, Request::Write { offset, data: data.clone() }).unwrap();
        machine.request(&mut disk, Request::Flush).unwrap();
        model.bytes[offset as usize..][..data.len()].copy_from_slice(&data);
    }
    assert!(machine.far.files.borrow()[0].1 == base);
    // without it, and with snapshot, the base is as it was; and what snapshot has is gone
    let snapshot = Drive { snapshot: true, ..drive("base.img") };
    for _ in 0..2 {
        let mut disk = machine.open(&snapshot).unwrap();
        assert!(machine.read(&mut disk, 0, 1 << 20) == base);
        machine.request(&mut disk, Request::Write { offset: 0, data: vec![0; 4096] }).unwrap();
        assert!(machine.read(&mut disk, 0, 4096) == vec![0; 4096]);
    }
}

#[test]
fn what_was_taken_to_be_raw_stays_so() {
    let machine = Machine::new(Far { writable: true, ..Far::default() });
    machine.far.put("disk.img", vec![0; 1 << 20]);
    let mut header = vec![0; 512];
    header[..4].copy_from_slice(b"QFI\xfb");
    let write = || Request::Write { offset: 0, data: header.clone() };
    let mut disk = machine.open(&drive("disk.img")).unwrap();
    let error = machine.request(&mut disk, write()).unwrap_err().to_string();
    assert!(error.contains("disk.img") && error.contains("format=raw"), "{error}");
    machine.request(&mut disk, Request::Write { offset: 512, data: header.clone() }).unwrap();
    let mut disk = machine.open(&Drive { format: Some(Format::Raw), ..drive("disk.img") }).unwrap();
    machine.request(&mut disk, write()).unwrap();
}

/// The last sector is the guest's as a whole, whatever is written to it.
#[test]
fn a_last_sector_that_is_not_whole_is_written_as_one() {
    for format in [None, Some(Format::Raw)] {
        let machine = Machine::new(Far { writable: true, ..Far::default() });
        machine.far.put("disk.img", vec![1; 1000]);
        let mut disk = machine.open(&Drive { format, ..drive("disk.img") }).unwrap();
        machine.request(&mut disk, Request::Write { offset: 512, data: vec![2; 512] }).unwrap();
        assert!(machine.read(&mut disk, 512, 512) == [2; 512]);
        machine.far.put("zeroed.img", vec![1; 1000]);
        let mut disk = machine.open(&Drive { format, ..drive("zeroed.img") }).unwrap();
        machine.request(&mut disk, Request::WriteZeroes { offset: 0, len: 1024 }).unwrap();
        assert!(machine.read(&mut disk, 0, 1024) == [0; 1024]);
    }
}

#[test]
fn requests_are_checked_and_a_disk_that_is_read_only_is_not_written() {
    let machine = Machine::new(Far { writable: true, ..Far::default() });
    machine.far.put("disk.img", vec![1; 1000]);
    let mut disk = machine.open(&Drive { read_only: true, ..drive("disk.img") }).unwrap();
    assert!(disk.read_only());
    assert_eq!(disk.capacity(), 1024);
    let mut last = vec![1; 488];
    last.resize(512, 0);
    assert!(machine.read(&mut disk, 512, 512) == last);
    for request in [
        Request::Write { offset: 0, data: vec![0; 512] },
        Request::Discard { offset: 0, len: 512 },
        Request::WriteZeroes { offset: 0, len: 512 },
    ] {
        assert!(matches!(machine.request(&mut disk, request), Err(BlockError::ReadOnly { .. })));
    }
    machine.request(&mut disk, Request::Flush).unwrap();
    for (offset, len) in [(1024, 512), (512, 1024), (u64::MAX - 100, 512), (0, usize::MAX)] {
        let result = machine.request(&mut disk, Request::Read { offset, len });
        assert!(matches!(result, Err(BlockError::OutOfRange { .. })), "{result:?}");
    }
}
