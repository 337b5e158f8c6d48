//! What was fetched, kept: chunks of an image that comes from far away.
//!
//! A read loads the chunks that are missing, neighbours together; reads of the same chunk wait for the same load; more is loaded ahead
//! ([`Ahead`]). The least recently used chunks go first.

use crate::ahead::{self, Ahead};
use crate::io::within;
use crate::sync::Waiters;
use crate::{BlockError, Executor, Io, Result, Source};
use rustc_hash::FxHashMap;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::ops::Range;
use std::rc::Rc;
use std::task::Poll;

/// Log2 of the bytes that are fetched of a plain file at least.
const CHUNK_BITS: u32 = 17;
/// Bytes of one request at most.
const RUN_BYTES: u64 = 1 << 20;

/// An image in chunks of `1 << chunk_bits` bytes, each of which can be loaded.
pub trait Loader {
    fn name(&self) -> &str;

    fn size(&self) -> u64;

    fn chunk_bits(&self) -> u32;

    /// How many neighbouring chunks are best loaded at once.
    fn run(&self) -> u64;

    /// Whether it is known, without loading it, that a chunk is all zeros.
    fn is_zero(&self, _chunk: u64) -> bool {
        false
    }

    /// Whether a chunk is kept so near that it is not worth reading ahead.
    fn is_near(&self, _chunk: u64) -> bool {
        false
    }

    /// The bytes of these chunks; the image's last one may be shorter.
    fn load(&self, chunks: Range<u64>) -> Io<'_, Vec<u8>>;
}

/// A source in chunks.
pub struct Ranges<S>(pub S);

impl<S: Source> Loader for Ranges<S> {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn size(&self) -> u64 {
        self.0.size()
    }

    fn chunk_bits(&self) -> u32 {
        CHUNK_BITS
    }

    fn run(&self) -> u64 {
        RUN_BYTES >> CHUNK_BITS
    }

    fn load(&self, chunks: Range<u64>) -> Io<'_, Vec<u8>> {
        Box::pin(async move {
            let start = chunks.start << CHUNK_BITS;
            let end = (chunks.end << CHUNK_BITS).min(self.0.size());
            let mut bytes = crate::io::room(self.0.name(), end.saturating_sub(start))?;
            self.0.read_at(start, &mut bytes).await?;
            Ok(bytes)
        })
    }
}

type Chunks = Result<Vec<Rc<[u8]>>>;

/// A run of chunks on its way.
struct Load {
    first: u64,
    ended: RefCell<Option<Chunks>>,
    waiters: Waiters,
}

impl Load {
    /// Waits for chunk `index`.
    async fn chunk(&self, index: u64) -> Result<Rc<[u8]>> {
        poll_fn(|context| match &*self.ended.borrow() {
            Some(Ok(chunks)) => Poll::Ready(Ok(chunks[(index - self.first) as usize].clone())),
            Some(Err(error)) => Poll::Ready(Err(error.clone())),
            None => {
                self.waiters.add(context);
                Poll::Pending
            }
        })
        .await
    }
}

#[derive(Clone)]
enum Chunk {
    Zero,
    Loading(Rc<Load>),
    Ready(Rc<[u8]>),
}

struct Kept {
    chunk: Chunk,
    used: u64,
}

#[derive(Default)]
struct State {
    chunks: RefCell<FxHashMap<u64, Kept>>,
    /// Of the chunks that are ready.
    bytes: Cell<u64>,
    clock: Cell<u64>,
    ahead: RefCell<Ahead>,
}

/// A source that keeps what it has loaded.
pub struct Cached {
    loader: Rc<dyn Loader>,
    executor: Rc<Executor>,
    state: Rc<State>,
    limit: u64,
}

impl Cached {
    /// Keeps at most `limit` bytes, besides what is being read.
    pub fn new(loader: Rc<dyn Loader>, executor: Rc<Executor>, limit: u64) -> Self {
        Self { loader, executor, state: Rc::default(), limit }
    }

    /// A plain source in chunks of 128 KiB.
    pub fn source(source: impl Source + 'static, executor: Rc<Executor>, limit: u64) -> Self {
        Self::new(Rc::new(Ranges(source)), executor, limit)
    }

    /// Bytes that are kept.
    pub fn kept(&self) -> u64 {
        self.state.bytes.get()
    }

    async fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        within(self, offset, buf.len() as u64)?;
        if buf.is_empty() {
            return Ok(());
        }
        let bits = self.loader.chunk_bits();
        let wanted = offset >> bits..((offset + buf.len() as u64 - 1) >> bits) + 1;
        // all of them are on their way before the first is waited for
        let near = self.cluster(&wanted);
        let chunks: Vec<Chunk> = self.chunks(wanted.clone());
        self.load_ahead(&wanted);
        self.chunks(near);
        let mut at = 0;
        for (index, chunk) in wanted.zip(chunks) {
            let inside = (offset + at as u64 - (index << bits)) as usize;
            let n = (buf.len() - at).min((1 << bits) - inside);
            let part = &mut buf[at..at + n];
            match chunk {
                Chunk::Zero => part.fill(0),
                Chunk::Ready(bytes) => part.copy_from_slice(&bytes[inside..inside + n]),
                Chunk::Loading(load) => part.copy_from_slice(&load.chunk(index).await?[inside..inside + n]),
            }
            at += n;
        }
        Ok(())
    }

    /// What there is of these chunks, after loads of the others have begun.
    fn chunks(&self, wanted: Range<u64>) -> Vec<Chunk> {
        let mut missing: Option<Range<u64>> = None;
        for index in wanted.clone() {
            if self.find(index).is_some() {
                continue;
            }
            match &mut missing {
                Some(run) if run.end == index && index - run.start < self.loader.run() => run.end += 1,
                _ => missing.replace(index..index + 1).into_iter().for_each(|run| _ = self.load(run)),
            }
        }
        missing.into_iter().for_each(|run| _ = self.load(run));
        // a load that has ended at once, and in an error, is not found: it is tried again when it is waited for
        let retry = |index| Chunk::Loading(self.load(index..index + 1));
        wanted.map(|index| self.find(index).unwrap_or_else(|| retry(index))).collect()
    }

    fn find(&self, index: u64) -> Option<Chunk> {
        if self.loader.is_zero(index) {
            return Some(Chunk::Zero);
        }
        let state = &self.state;
        state.clock.set(state.clock.get() + 1);
        let mut chunks = state.chunks.borrow_mut();
        let kept = chunks.get_mut(&index)?;
        kept.used = state.clock.get();
        Some(kept.chunk.clone())
    }

    fn load(&self, run: Range<u64>) -> Rc<Load> {
        let load = Rc::new(Load { first: run.start, ended: RefCell::new(None), waiters: Waiters::default() });
        for index in run.clone() {
            let kept = Kept { chunk: Chunk::Loading(load.clone()), used: self.state.clock.get() };
            self.state.chunks.borrow_mut().insert(index, kept);
        }
        let (loader, state, limit, result) = (self.loader.clone(), self.state.clone(), self.limit, load.clone());
        self.executor.spawn(async move {
            let chunks = load_whole(&*loader, run.clone()).await;
            state.loaded(run, &chunks, limit);
            *result.ended.borrow_mut() = Some(chunks);
            result.waiters.wake();
        });
        load
    }

    /// Begins loads of what a reader that goes on where it was will want next.
    fn load_ahead(&self, wanted: &Range<u64>) {
        let room = (self.limit >> self.loader.chunk_bits()) / 4;
        let ahead = self.state.ahead.borrow_mut().of_reader(wanted, self.count(), room, |chunk| self.knows(chunk));
        self.chunks(ahead);
    }

    /// What lies near chunks that nobody has thought of, and is best loaded after them.
    fn cluster(&self, wanted: &Range<u64>) -> Range<u64> {
        let missed = wanted.clone().find(|chunk| !self.knows(*chunk));
        missed.map_or(0..0, |chunk| ahead::cluster(chunk, self.count(), |chunk| self.knows(chunk)))
    }

    fn count(&self) -> u64 {
        self.loader.size().div_ceil(1 << self.loader.chunk_bits())
    }

    /// Whether a chunk need not be loaded from far away.
    fn knows(&self, chunk: u64) -> bool {
        self.loader.is_near(chunk) || self.find(chunk).is_some()
    }
}

/// The chunks of `run`, each as long as it is to be.
async fn load_whole(loader: &dyn Loader, run: Range<u64>) -> Chunks {
    let bits = loader.chunk_bits();
    let expected = (run.end << bits).min(loader.size()) - (run.start << bits);
    let bytes = loader.load(run).await?;
    if bytes.len() as u64 != expected {
        return Err(BlockError::io(loader.name(), format!("{} bytes came, not {expected}", bytes.len())));
    }
    Ok(bytes.chunks(1 << bits).map(Rc::from).collect())
}

impl State {
    fn loaded(&self, run: Range<u64>, loaded: &Chunks, limit: u64) {
        let mut kept = self.chunks.borrow_mut();
        let Ok(chunks) = loaded else {
            // who asks next tries again
            run.for_each(|index| _ = kept.remove(&index));
            return;
        };
        for (index, bytes) in run.zip(chunks) {
            self.bytes.set(self.bytes.get() + bytes.len() as u64);
            if let Some(kept) = kept.get_mut(&index) {
                kept.chunk = Chunk::Ready(bytes.clone());
            }
        }
        while self.bytes.get() > limit {
            let ready = kept.iter().filter(|(_, kept)| matches!(kept.chunk, Chunk::Ready(_)));
            let Some(oldest) = ready.min_by_key(|(_, kept)| kept.used).map(|(index, _)| *index) else { return };
            if let Some(Kept { chunk: Chunk::Ready(bytes), .. }) = kept.remove(&oldest) {
                self.bytes.set(self.bytes.get() - bytes.len() as u64);
            }
        }
    }
}

impl Source for Cached {
    fn name(&self) -> &str {
        self.loader.name()
    }

    fn size(&self) -> u64 {
        self.loader.size()
    }

    fn read_at<'a>(&'a self, offset: u64, buf: &'a mut [u8]) -> Io<'a> {
        Box::pin(self.read(offset, buf))
    }
}
