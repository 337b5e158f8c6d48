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
        self.begin(near);
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
        self.begin(wanted.clone());
        // a load that has ended at once, and in an error, is not found: it is tried again when it is waited for
        let retry = |index| Chunk::Loading(self.load(index..index + 1));
        wanted.map(|index| self.find(index).unwrap_or_else(|| retry(index))).collect()
    }

    /// Begins loads of those of these chunks that are not there.
    fn begin(&self, wanted: Range<u64>) {
        let mut missing: Option<Range<u64>> = None;
        for index in wanted {
            if self.loader.is_zero(index) || self.has(index) {
                continue;
            }
            match &mut missing {
                Some(run) if run.end == index && index - run.start < self.loader.run() => run.end += 1,
                _ => missing.replace(index..index + 1).into_iter().for_each(|run| _ = self.load(run)),
            }
        }
        missing.into_iter().for_each(|run| _ = self.load(run));
    }

    /// A chunk, to be used now.
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
        let mut state = self.state.ahead.borrow_mut();
        let ahead = state.of_reader(wanted, self.count(), self.room(), |chunk| self.knows(chunk));
        drop(state);
        self.begin(ahead);
    }

    /// What lies near chunks that nobody has thought of, and is best loaded after them.
    fn cluster(&self, wanted: &Range<u64>) -> Range<u64> {
        let missed = wanted.clone().find(|chunk| !self.knows(*chunk));
        missed.map_or(0..0, |chunk| ahead::cluster(chunk, self.count(), self.room(), |chunk| self.was_read(chunk)))
    }

    /// Chunks that are loaded at most without being asked for.
    fn room(&self) -> u64 {
        (self.limit >> self.loader.chunk_bits()) / 4
    }

    fn count(&self) -> u64 {
        self.loader.size().div_ceil(1 << self.loader.chunk_bits())
    }

    /// Whether a chunk need not be loaded from far away.
    fn knows(&self, chunk: u64) -> bool {
        self.loader.is_zero(chunk) || self.was_read(chunk)
    }

    /// Whether a chunk was loaded, now or for an earlier visit. All zeros, it never needs to be, which tells nothing of its neighbours.
    fn was_read(&self, chunk: u64) -> bool {
        !self.loader.is_zero(chunk) && (self.loader.is_near(chunk) || self.has(chunk))
    }

    /// Whether a chunk is there or on its way. It is not used by being looked for.
    fn has(&self, chunk: u64) -> bool {
        self.state.chunks.borrow().contains_key(&chunk)
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::{Context, Waker};

    const BITS: u32 = 12;

    /// Chunks of nothing; which were loaded.
    #[derive(Default)]
    struct Far {
        zero: Vec<u64>,
        loaded: RefCell<Vec<u64>>,
    }

    impl Loader for Far {
        fn name(&self) -> &str {
            "far"
        }

        fn size(&self) -> u64 {
            1000 << BITS
        }

        fn chunk_bits(&self) -> u32 {
            BITS
        }

        fn run(&self) -> u64 {
            8
        }

        fn is_zero(&self, chunk: u64) -> bool {
            self.zero.contains(&chunk)
        }

        fn load(&self, chunks: Range<u64>) -> Io<'_, Vec<u8>> {
            self.loaded.borrow_mut().extend(chunks.clone());
            Box::pin(async move { Ok(vec![0; ((chunks.end - chunks.start) << BITS) as usize]) })
        }
    }

    fn cache(zero: &[u64], chunks: u64) -> (Rc<Far>, Cached) {
        let far = Rc::new(Far { zero: zero.to_vec(), ..Far::default() });
        (far.clone(), Cached::new(far, Rc::default(), chunks << BITS))
    }

    /// Which chunks are loaded for a read of one.
    fn read(far: &Far, cached: &Cached, chunk: u64) -> Vec<u64> {
        let mut byte = [0];
        let read = cached.read_at(chunk << BITS, &mut byte).as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert_eq!(read, Poll::Ready(Ok(())));
        far.loaded.take()
    }

    #[test]
    fn neighbours_are_loaded_where_half_was_read_and_there_is_room() {
        let (far, cached) = cache(&[], 100);
        assert_eq!([16, 18].map(|chunk| read(&far, &cached, chunk)), [[16], [18]]);
        // 18 and 20 are not where one reader goes on
        assert_eq!(read(&far, &cached, 20), [20]);
        assert_eq!(read(&far, &cached, 17), [17, 19]);
        let (far, cached) = cache(&[], 15);
        assert_eq!([16, 18, 20].map(|chunk| read(&far, &cached, chunk)), [[16], [18], [20]]);
        assert_eq!(read(&far, &cached, 22), [22]);
        assert_eq!(read(&far, &cached, 17), [17], "a quarter of the cache is less than the neighbourhood");
    }

    #[test]
    fn what_is_known_to_be_zero_was_not_read() {
        let (far, cached) = cache(&[16, 18, 19], 100);
        assert_eq!(read(&far, &cached, 16), []);
        assert_eq!(read(&far, &cached, 17), [17]);
        assert_eq!(read(&far, &cached, 21), [21]);
    }

    #[test]
    fn a_neighbour_that_is_looked_at_is_not_used() {
        let (far, cached) = cache(&[], 16);
        assert_eq!(read(&far, &cached, 16), [16]);
        (10..24).for_each(|far_away| assert_eq!(read(&far, &cached, far_away * 10), [far_away * 10]));
        // looks at 16, and makes the cache full
        assert_eq!(read(&far, &cached, 18), [18]);
        assert_eq!(read(&far, &cached, 500), [500]);
        assert_eq!(read(&far, &cached, 100), [], "16 went");
        assert_eq!(read(&far, &cached, 16), [16]);
    }
}
