//! Files of the host, by number. What a host can do at once it does at once; else the answer comes later, with the
//! request's number.

use crate::disk::Layer;
use crate::io::room;
use crate::link::{Link, Pace};
use crate::probe::{Access, File, Files};
use crate::{BlockError, Identity, Io, Result, Source, Store};
use rustc_hash::FxHashMap;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// Whether the host has done something, or will say when it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Started {
    Done,
    Pending,
}

/// How a request ended that was pending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    Opened(OpenedFile),
    /// With what was read, if it was a read, or the rest of it after parts.
    Done(Vec<u8>),
    /// Why, in words that do not name the file.
    Failed(String),
}

/// What a host says of a file that it has opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedFile {
    pub file: u32,
    /// In bytes.
    pub size: u64,
    pub writable: bool,
    /// Each read takes long: it is worth keeping what was read, and reading ahead.
    pub remote: bool,
    /// No two contents have the same tag: what is kept of the file for the next time is kept by it.
    pub exact: bool,
    /// What changes when the content does; empty if the host knows nothing of that kind.
    pub tag: String,
}

/// The host's files. A method that returns [`Started::Done`] has done all of it; one that fails is pending, and fails
/// later.
pub trait Host {
    /// Opens a file, whose name is relative to `base`, the name of another. Always pending.
    fn open(&self, name: &str, base: &str, access: Access, request: u32);
    /// All of a file, past any cache if `again`. Always pending.
    fn fetch(&self, name: &str, base: &str, again: bool, request: u32);
    /// Fills `buf` now, or answers later with the bytes.
    fn read(&self, file: u32, offset: u64, buf: &mut [u8], request: u32) -> Started;
    /// The host has no hold of `data` when this returns.
    fn write(&self, file: u32, offset: u64, data: &[u8], request: u32) -> Started;
    fn flush(&self, file: u32, request: u32) -> Started;
    fn close(&self, file: u32);
}

/// Requests that the host has not answered.
#[derive(Default)]
struct Requests {
    last: Cell<u32>,
    waiting: RefCell<FxHashMap<u32, Waiting>>,
}

#[derive(Default)]
struct Waiting {
    /// Parts of what is read.
    parts: VecDeque<Vec<u8>>,
    pace: Option<Pace>,
    ended: Option<Ended>,
    waker: Option<Waker>,
}

/// A request whose answer nobody waits for any more is forgotten.
struct Request<'a> {
    requests: &'a Requests,
    number: u32,
}

impl Requests {
    fn begin(&self) -> Request<'_> {
        let mut waiting = self.waiting.borrow_mut();
        let mut number = self.last.get();
        loop {
            number = number.wrapping_add(1);
            if !waiting.contains_key(&number) {
                break;
            }
        }
        self.last.set(number);
        waiting.insert(number, Waiting::default());
        Request { requests: self, number }
    }
}

/// What comes of a request.
enum Answer {
    Part(Vec<u8>),
    End(Ended, Option<Pace>),
}

impl Request<'_> {
    async fn next(&self) -> Answer {
        poll_fn(|context| {
            let mut waiting = self.requests.waiting.borrow_mut();
            let Some(this) = waiting.get_mut(&self.number) else { return Poll::Pending };
            if let Some(part) = this.parts.pop_front() {
                return Poll::Ready(Answer::Part(part));
            }
            match this.ended.take() {
                Some(ended) => Poll::Ready(Answer::End(ended, this.pace.take())),
                None => {
                    this.waker = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// The end of a request that has no parts.
    async fn ended(self) -> Ended {
        loop {
            if let Answer::End(ended, _) = self.next().await {
                return ended;
            }
        }
    }
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        self.requests.waiting.borrow_mut().remove(&self.number);
    }
}

/// The host's files, for [`open`](crate::open).
#[derive(Clone)]
pub struct HostFiles {
    host: Rc<dyn Host>,
    requests: Rc<Requests>,
}

impl HostFiles {
    pub fn new(host: Rc<dyn Host>) -> Self {
        Self { host, requests: Rc::default() }
    }

    /// The host's answer. Who waits for it runs when the executor does.
    pub fn answer(&self, request: u32, ended: Ended) {
        self.told(request, |waiting| waiting.ended = Some(ended));
    }

    /// The next bytes of a read that has not ended.
    pub fn part(&self, request: u32, bytes: Vec<u8>) {
        self.told(request, |waiting| waiting.parts.push_back(bytes));
    }

    /// How it went with a read whose answer is next.
    pub fn pace(&self, request: u32, pace: Pace) {
        if let Some(waiting) = self.requests.waiting.borrow_mut().get_mut(&request) {
            waiting.pace = Some(pace);
        }
    }

    fn told(&self, request: u32, what: impl FnOnce(&mut Waiting)) {
        if let Some(waiting) = self.requests.waiting.borrow_mut().get_mut(&request) {
            what(waiting);
            waiting.waker.take().into_iter().for_each(Waker::wake);
        }
    }

    /// Requests that the host has not answered.
    pub fn waiting(&self) -> usize {
        self.requests.waiting.borrow().len()
    }
}

/// An answer that does not belong to the question.
fn odd<T>(name: &str) -> Result<T> {
    Err(BlockError::io(name, "the host's answer is not one to this request: reload the page"))
}

impl Files for HostFiles {
    fn open<'a>(&'a self, name: &'a str, base: &'a str, access: Access) -> Io<'a, File> {
        Box::pin(async move {
            let request = self.requests.begin();
            self.host.open(name, base, access, request.number);
            let opened = match request.ended().await {
                Ended::Opened(opened) => opened,
                Ended::Failed(why) => return Err(BlockError::io(name, why)),
                Ended::Done(_) => return odd(name),
            };
            let identity = Identity { size: opened.size, tag: opened.tag };
            let file = Rc::new(HostFile {
                name: name.to_owned(),
                files: self.clone(),
                file: opened.file,
                size: Cell::new(opened.size),
                link: Link::default(),
            });
            let layer =
                if access != Access::Read && opened.writable { Layer::ReadWrite(file) } else { Layer::ReadOnly(file) };
            Ok(File { layer, identity, remote: opened.remote, exact: opened.exact })
        })
    }

    fn fetch<'a>(&'a self, name: &'a str, base: &'a str, again: bool) -> Io<'a, Vec<u8>> {
        Box::pin(async move {
            let request = self.requests.begin();
            self.host.fetch(name, base, again, request.number);
            match request.ended().await {
                Ended::Done(bytes) => Ok(bytes),
                Ended::Failed(why) => Err(BlockError::io(name, why)),
                Ended::Opened(_) => odd(name),
            }
        })
    }
}

/// An open file; closed when it is dropped.
pub struct HostFile {
    name: String,
    files: HostFiles,
    file: u32,
    size: Cell<u64>,
    link: Link,
}

impl HostFile {
    /// Begins a read; nothing is to come if the host has filled `buf`.
    fn begin_read(&self, offset: u64, buf: &mut [u8]) -> Result<Option<Request<'_>>> {
        crate::io::within(self, offset, buf.len() as u64)?;
        let request = self.files.requests.begin();
        let started = self.files.host.read(self.file, offset, buf, request.number);
        Ok((started == Started::Pending).then_some(request))
    }

    /// Gives what comes of a read of `len` bytes to `take`.
    async fn come(&self, request: Request<'_>, len: usize, take: &mut dyn FnMut(&[u8])) -> Result<()> {
        let mut came = 0;
        loop {
            let (bytes, last) = match request.next().await {
                Answer::Part(bytes) => (bytes, false),
                Answer::End(Ended::Done(bytes), pace) => {
                    pace.into_iter().for_each(|pace| self.link.note(pace));
                    (bytes, true)
                }
                Answer::End(Ended::Failed(why), _) => return Err(BlockError::io(&self.name, why)),
                Answer::End(Ended::Opened(_), _) => return odd(&self.name),
            };
            came += bytes.len();
            if came > len || last && came != len {
                return Err(BlockError::io(&self.name, format!("{came} bytes came of {len} that were asked for")));
            }
            take(&bytes);
            if last {
                return Ok(());
            }
        }
    }

    /// What comes of `start`, now or later.
    async fn request(&self, start: impl FnOnce(&dyn Host, u32) -> Started) -> Result<()> {
        let request = self.files.requests.begin();
        if start(&*self.files.host, request.number) == Started::Done {
            return Ok(());
        }
        match request.ended().await {
            Ended::Done(_) => Ok(()),
            Ended::Failed(why) => Err(BlockError::io(&self.name, why)),
            Ended::Opened(_) => odd(&self.name),
        }
    }
}

impl Drop for HostFile {
    fn drop(&mut self) {
        self.files.host.close(self.file);
    }
}

impl Source for HostFile {
    fn name(&self) -> &str {
        &self.name
    }

    fn size(&self) -> u64 {
        self.size.get()
    }

    fn read_at<'a>(&'a self, offset: u64, buf: &'a mut [u8]) -> Io<'a> {
        Box::pin(async move {
            let Some(request) = self.begin_read(offset, buf)? else { return Ok(()) };
            let (len, mut at) = (buf.len(), 0);
            let mut fill = |bytes: &[u8]| {
                buf[at..at + bytes.len()].copy_from_slice(bytes);
                at += bytes.len();
            };
            self.come(request, len, &mut fill).await
        })
    }

    fn read_parts<'a>(&'a self, offset: u64, len: u64, take: &'a mut dyn FnMut(&[u8])) -> Io<'a> {
        Box::pin(async move {
            let mut bytes = room(&self.name, len)?;
            match self.begin_read(offset, &mut bytes)? {
                None => take(&bytes),
                Some(request) => {
                    let len = std::mem::take(&mut bytes).len();
                    self.come(request, len, take).await?;
                }
            }
            Ok(())
        })
    }

    fn in_a_wait(&self) -> Option<u64> {
        self.link.in_a_wait()
    }
}

impl Store for HostFile {
    fn write_at<'a>(&'a self, offset: u64, data: &'a [u8]) -> Io<'a> {
        Box::pin(async move {
            self.request(|host, request| host.write(self.file, offset, data, request)).await?;
            self.size.set(self.size.get().max(offset + data.len() as u64));
            Ok(())
        })
    }

    fn flush(&self) -> Io<'_> {
        Box::pin(async move { self.request(|host, request| host.flush(self.file, request)).await })
    }

    fn write_zeroes(&self, offset: u64, len: u64) -> Io<'_> {
        Box::pin(async move {
            let zeros = room(&self.name, len.min(1 << 20))?;
            let end = offset.saturating_add(len);
            let mut at = offset;
            while at < end {
                let n = (end - at).min(zeros.len() as u64);
                self.write_at(at, &zeros[..n as usize]).await?;
                at += n;
            }
            Ok(())
        })
    }
}
