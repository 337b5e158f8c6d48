//! Reads of a file far away that the host answers in parts: each chunk is there when it has come, and the link says how many.

use random::Rng;
use std::cell::RefCell;
use std::rc::Rc;
use storage::{
    Access, BlockBackend, BlockError, Disk, Drive, Ended, Executor, Format, Host, HostFiles, OpenedFile, Opener, Pace,
    Request, Started, Tag,
};

const CHUNK: usize = 128 << 10;
const CHUNKS: usize = 100;

/// A host whose answers are the test's.
#[derive(Default)]
struct Silent {
    /// Reads that were asked for: the request, the offset, the bytes.
    reads: RefCell<Vec<(u32, u64, usize)>>,
    opened: RefCell<Vec<u32>>,
}

impl Host for Silent {
    fn open(&self, _name: &str, _base: &str, _access: Access, request: u32) {
        self.opened.borrow_mut().push(request);
    }

    fn fetch(&self, _name: &str, _base: &str, _again: bool, _request: u32) {
        panic!("nothing is fetched as a whole");
    }

    fn read(&self, _file: u32, offset: u64, buf: &mut [u8], request: u32) -> Started {
        self.reads.borrow_mut().push((request, offset, buf.len()));
        Started::Pending
    }

    fn write(&self, _file: u32, _offset: u64, _data: &[u8], _request: u32) -> Started {
        panic!("nothing is written");
    }

    fn flush(&self, _file: u32, _request: u32) -> Started {
        Started::Done
    }

    fn close(&self, _file: u32) {}
}

struct Machine {
    host: Rc<Silent>,
    files: HostFiles,
    executor: Rc<Executor>,
    bytes: Vec<u8>,
    disk: Disk,
}

impl Machine {
    /// With a raw disk of random bytes.
    fn new() -> Self {
        let (host, executor) = (Rc::new(Silent::default()), Rc::<Executor>::default());
        let files = HostFiles::new(host.clone());
        let opener = Opener { files: Rc::new(files.clone()), executor: executor.clone() };
        let opened = Rc::new(RefCell::new(None));
        let to = opened.clone();
        let drive =
            Drive { file: "far.img".to_owned(), format: Some(Format::Raw), read_only: true, ..Drive::default() };
        executor.spawn(async move { *to.borrow_mut() = Some(opener.drive(&drive).await) });
        let request = host.opened.borrow_mut().pop().unwrap();
        let size = (CHUNKS * CHUNK) as u64;
        let file = OpenedFile { file: 1, size, writable: false, remote: true, exact: false, tag: String::new() };
        files.answer(request, Ended::Opened(file));
        executor.run();
        let disk = opened.take().unwrap().unwrap();
        Self { host, files, executor, bytes: Rng(1).bytes(CHUNKS * CHUNK), disk }
    }

    /// The guest reads the beginning of a chunk. What the host is asked for: the request, and which chunks.
    fn ask(&mut self, chunk: usize) -> Option<(u32, Vec<usize>)> {
        self.disk.submit(Tag(chunk as u64), Request::Read { offset: (chunk * CHUNK) as u64, len: 512 });
        let (request, offset, len) = self.host.reads.borrow_mut().pop()?;
        assert!(self.host.reads.borrow().is_empty(), "one request is enough");
        let first = offset as usize / CHUNK;
        Some((request, (first..first + len / CHUNK).collect()))
    }

    fn part(&self, request: u32, chunks: std::ops::Range<usize>) {
        self.files.part(request, self.bytes[chunks.start * CHUNK..chunks.end * CHUNK].to_vec());
        self.executor.run();
    }

    fn end(&self, request: u32, ended: Ended) {
        self.files.answer(request, ended);
        self.executor.run();
    }

    fn chunk(&self, chunk: usize) -> Vec<u8> {
        self.bytes[chunk * CHUNK..][..CHUNK].to_vec()
    }

    /// The chunk whose read has ended; its bytes are right.
    fn got(&mut self) -> Option<Result<u64, BlockError>> {
        let completion = self.disk.poll()?;
        let right = |bytes: Vec<u8>| {
            assert!(bytes == self.bytes[completion.tag.0 as usize * CHUNK..][..512]);
            completion.tag.0
        };
        Some(completion.result.map(right))
    }

    /// A read of a chunk, by which the host says what the link is like.
    fn measure(&mut self, chunk: usize, pace: Pace) {
        let (request, chunks) = self.ask(chunk).unwrap();
        assert_eq!(chunks, [chunk]);
        self.files.pace(request, pace);
        self.end(request, Ended::Done(self.chunk(chunk)));
        assert_eq!(self.got(), Some(Ok(chunk as u64)));
    }
}

/// Two chunks and a bit come in a wait.
const FAST: Pace = Pace { latency: 30.0, rate: 12_500.0 };
/// Half a chunk does.
const SLOW: Pace = Pace { latency: 100.0, rate: 625.0 };

#[test]
fn the_guest_goes_on_when_its_own_chunk_is_there() {
    let mut machine = Machine::new();
    machine.measure(3, FAST);
    let (request, chunks) = machine.ask(50).unwrap();
    assert_eq!(chunks, [50, 51, 52]);
    assert_eq!(machine.got(), None);
    machine.part(request, 50..51);
    assert_eq!(machine.got(), Some(Ok(50)), "the others are still on their way");
    assert_eq!(machine.ask(52), None, "which it is not asked for again");
    machine.part(request, 51..52);
    assert_eq!(machine.got(), None);
    machine.end(request, Ended::Done(machine.chunk(52)));
    assert_eq!(machine.got(), Some(Ok(52)));
    assert_eq!(machine.ask(51), None);
    assert_eq!(machine.got(), Some(Ok(51)));
}

#[test]
fn parts_may_end_anywhere() {
    let mut machine = Machine::new();
    machine.measure(3, FAST);
    let (request, _) = machine.ask(50).unwrap();
    let bytes = machine.bytes[50 * CHUNK..53 * CHUNK].to_vec();
    let mut at = 0;
    for end in [1, CHUNK - 1, CHUNK + 5, CHUNK + 6, 3 * CHUNK - 1] {
        machine.files.part(request, bytes[at..end].to_vec());
        machine.executor.run();
        at = end;
        assert_eq!(machine.got().is_some(), end == CHUNK + 5);
    }
    machine.end(request, Ended::Done(bytes[at..].to_vec()));
    assert_eq!([52, 51].map(|chunk| (machine.ask(chunk), machine.got())), [(None, Some(Ok(52))), (None, Some(Ok(51)))]);
}

#[test]
fn where_bytes_cost_more_than_waits_only_what_is_wanted_comes() {
    let mut machine = Machine::new();
    machine.measure(3, SLOW);
    machine.measure(50, SLOW);
    machine.measure(5, SLOW);
}

#[test]
fn what_has_come_before_a_failure_stays_and_the_rest_is_asked_for_again() {
    let mut machine = Machine::new();
    machine.measure(3, FAST);
    let (request, _) = machine.ask(50).unwrap();
    machine.part(request, 50..51);
    assert_eq!(machine.got(), Some(Ok(50)));
    assert_eq!(machine.ask(51), None);
    machine.end(request, Ended::Failed("the server is gone".to_owned()));
    let error = machine.got().unwrap().unwrap_err().to_string();
    assert!(error.contains("far.img") && error.contains("the server is gone"), "{error}");
    assert_eq!((machine.ask(50), machine.got()), (None, Some(Ok(50))));
    let (request, chunks) = machine.ask(51).unwrap();
    assert_eq!(chunks[0], 51);
    machine.end(request, Ended::Done(machine.bytes[51 * CHUNK..][..chunks.len() * CHUNK].to_vec()));
    assert_eq!(machine.got(), Some(Ok(51)));
}

#[test]
fn more_or_fewer_bytes_than_were_asked_for_are_an_error() {
    for bytes in [0, CHUNK - 1, CHUNK + 1, 5 * CHUNK] {
        let mut machine = Machine::new();
        let (request, _) = machine.ask(50).unwrap();
        machine.files.part(request, vec![0; bytes / 2]);
        machine.end(request, Ended::Done(vec![0; bytes - bytes / 2]));
        let error = machine.got().unwrap().unwrap_err().to_string();
        assert!(error.contains("that were asked for"), "{error}");
    }
}
