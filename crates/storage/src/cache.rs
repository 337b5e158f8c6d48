//! What was fetched, kept: chunks of an image that comes from far away.
//!
//! A read loads the chunks that are missing, neighbours together; reads of the same chunk wait for the same load, each until its own has
//! come; more is loaded ahead ([`Ahead`]). The least recently used chunks go first.

use crate::ahead::Ahead;
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

    /// How many bytes come in the time for which a load waits for its first one, as far as that is known.
    fn in_a_wait(&self) -> Option<u64> {
        None
    }

    /// Bytes of a chunk, the image's last one of which may be shorter.
    fn chunk_len(&self, chunk: u64) -> usize {
        let bits = self.chunk_bits();
        chunk.checked_shl(bits).map_or(0, |start| self.size().saturating_sub(start).min(1 << bits) as usize)
    }

    /// Loads these chunks, and gives each to `come` when it is there, in any order.
    fn load<'a>(&'a self, chunks: Range<u64>, come: &'a dyn Fn(u64, Rc<[u8]>)) -> Io<'a>;
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

    fn in_a_wait(&self) -> Option<u64> {
        self.0.in_a_wait()
    }

    fn load<'a>(&'a self, chunks: Range<u64>, come: &'a dyn Fn(u64, Rc<[u8]>)) -> Io<'a> {
        Box::pin(async move {
            let start = chunks.start << CHUNK_BITS;
            let end = (chunks.end << CHUNK_BITS).min(self.0.size());
            let (mut next, mut rest) = (chunks.start, Vec::new());
            let mut take = |bytes: &[u8]| {
                let mut bytes = bytes;
                while !bytes.is_empty() {
                    let len = self.chunk_len(next).max(1);
                    let (more, behind) = bytes.split_at(bytes.len().min(len - rest.len()));
                    bytes = behind;
                    if more.len() == len {
                        come(next, more.into());
                    } else {
                        rest.extend_from_slice(more);
                        if rest.len() < len {
                            break;
                        }
                        come(next, rest.as_slice().into());
                        rest.clear();
                    }
                    next += 1;
                }
            };
            self.0.read_parts(start, end.saturating_sub(start), &mut take).await
        })
    }
}

/// A run of chunks on its way.
struct Load {
    run: Range<u64>,
    came: RefCell<FxHashMap<u64, Rc<[u8]>>>,
    failed: RefCell<Option<BlockError>>,
    waiters: Waiters,
}

impl Load {
    /// Waits for chunk `index`.
    async fn chunk(&self, index: u64) -> Result<Rc<[u8]>> {
        poll_fn(|context| {
            if let Some(bytes) = self.came.borrow().get(&index) {
                return Poll::Ready(Ok(bytes.clone()));
            }
            if let Some(error) = &*self.failed.borrow() {
                return Poll::Ready(Err(error.clone()));
            }
            self.waiters.add(context);
            Poll::Pending
        })
        .await
    }

    /// The first chunk that has not come.
    fn missing(&self) -> Option<u64> {
        self.run.clone().find(|chunk| !self.came.borrow().contains_key(chunk))
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
        let chunks: Vec<Chunk> = self.chunks(wanted.clone());
        self.load_ahead(&wanted);
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

    /// What there is of these chunks, after loads of the others have begun, and of what is worth it behind them.
    fn chunks(&self, wanted: Range<u64>) -> Vec<Chunk> {
        self.state.ahead.borrow_mut().note(&wanted);
        self.begin(wanted.start..self.with_behind(&wanted));
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
        let load = Rc::new(Load {
            run: run.clone(),
            came: RefCell::default(),
            failed: RefCell::default(),
            waiters: Waiters::default(),
        });
        for index in run.clone() {
            let kept = Kept { chunk: Chunk::Loading(load.clone()), used: self.state.clock.get() };
            self.state.chunks.borrow_mut().insert(index, kept);
        }
        let (loader, state, limit, result) = (self.loader.clone(), self.state.clone(), self.limit, load.clone());
        self.executor.spawn(async move {
            let come = |chunk, bytes: Rc<[u8]>| {
                let known = result.run.contains(&chunk) && !result.came.borrow().contains_key(&chunk);
                if known && bytes.len() == loader.chunk_len(chunk) {
                    state.came(chunk, &bytes, limit);
                    result.came.borrow_mut().insert(chunk, bytes);
                    result.waiters.wake();
                }
            };
            let loaded = loader.load(run, &come).await;
            if let Some(missing) = result.missing() {
                let short = || BlockError::io(loader.name(), format!("bytes are missing of chunk {missing}"));
                state.failed(&result);
                *result.failed.borrow_mut() = Some(loaded.err().unwrap_or_else(short));
                result.waiters.wake();
            }
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

    /// Where a load of chunks ends that goes on behind the last of them, which has to be loaded.
    fn with_behind(&self, wanted: &Range<u64>) -> u64 {
        let missing = |chunk| chunk < self.count() && !self.knows(chunk);
        if !missing(wanted.end - 1) {
            return wanted.end;
        }
        let worth =
            self.loader.in_a_wait().map_or(1.0, |bytes| bytes as f64 / (1u64 << self.loader.chunk_bits()) as f64);
        wanted.end + self.state.ahead.borrow().behind(wanted.end, self.room(), worth, missing)
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
        self.loader.is_zero(chunk) || self.loader.is_near(chunk) || self.has(chunk)
    }

    /// Whether a chunk is there or on its way. It is not used by being looked for.
    fn has(&self, chunk: u64) -> bool {
        self.state.chunks.borrow().contains_key(&chunk)
    }
}

impl State {
    /// A chunk has come. Those that were not used for longest go, so that there is room.
    fn came(&self, chunk: u64, bytes: &Rc<[u8]>, limit: u64) {
        let mut kept = self.chunks.borrow_mut();
        self.bytes.set(self.bytes.get() + bytes.len() as u64);
        if let Some(kept) = kept.get_mut(&chunk) {
            kept.chunk = Chunk::Ready(bytes.clone());
        }
        while self.bytes.get() > limit {
            let ready = kept.iter().filter(|(_, kept)| matches!(kept.chunk, Chunk::Ready(_)));
            let Some(oldest) = ready.min_by_key(|(_, kept)| kept.used).map(|(index, _)| *index) else { return };
            if let Some(Kept { chunk: Chunk::Ready(bytes), .. }) = kept.remove(&oldest) {
                self.bytes.set(self.bytes.get() - bytes.len() as u64);
            }
        }
    }

    /// What has not come of a load does not come: who asks next tries again.
    fn failed(&self, load: &Load) {
        let came = load.came.borrow();
        let mut kept = self.chunks.borrow_mut();
        load.run.clone().filter(|chunk| !came.contains_key(chunk)).for_each(|chunk| _ = kept.remove(&chunk));
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
        in_a_wait: Cell<Option<u64>>,
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

        fn in_a_wait(&self) -> Option<u64> {
            self.in_a_wait.get()
        }

        fn load<'a>(&'a self, chunks: Range<u64>, come: &'a dyn Fn(u64, Rc<[u8]>)) -> Io<'a> {
            self.loaded.borrow_mut().extend(chunks.clone());
            Box::pin(async move {
                chunks.for_each(|chunk| come(chunk, vec![0; 1 << BITS].into()));
                Ok(())
            })
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
    fn what_is_behind_is_loaded_as_far_as_the_link_makes_it_worth() {
        let (far, cached) = cache(&[], 100);
        // nothing was measured
        assert_eq!(read(&far, &cached, 10), [10]);
        // a link on which bytes cost more than waits, and one on which four chunks come in a wait
        far.in_a_wait.set(Some(1 << (BITS - 1)));
        assert_eq!(read(&far, &cached, 100), [100]);
        far.in_a_wait.set(Some((4 << BITS) + 1));
        assert_eq!(read(&far, &cached, 200), [200, 201, 202, 203, 204]);
        assert_eq!(read(&far, &cached, 198), [198, 199], "the others are there");
        assert_eq!(read(&far, &cached, 202), []);
        let (far, cached) = cache(&[], 15);
        far.in_a_wait.set(Some(4 << 20));
        assert_eq!(read(&far, &cached, 200), [200, 201, 202, 203], "a quarter of the cache");
    }

    #[test]
    fn where_much_was_read_more_is_loaded() {
        let (far, cached) = cache(&[], 100);
        assert_eq!(read(&far, &cached, 16), [16]);
        assert_eq!(read(&far, &cached, 19), [19, 20], "19 and 16 speak for it");
        assert_eq!(read(&far, &cached, 18), [18]);
        assert_eq!(read(&far, &cached, 21), [21, 22, 23]);
    }

    #[test]
    fn what_is_known_to_be_zero_is_not_loaded() {
        let (far, cached) = cache(&[16, 18, 202], 100);
        assert_eq!(read(&far, &cached, 16), []);
        assert_eq!(read(&far, &cached, 17), [17]);
        far.in_a_wait.set(Some((4 << BITS) + 1));
        assert_eq!(read(&far, &cached, 200), [200, 201]);
        assert_eq!(read(&far, &cached, 998), [998, 999], "not past the end");
    }

    #[test]
    fn a_neighbour_that_is_looked_at_is_not_used() {
        let (far, cached) = cache(&[], 16);
        assert_eq!(read(&far, &cached, 16), [16]);
        (10..24).for_each(|far_away| assert_eq!(read(&far, &cached, far_away * 10), [far_away * 10]));
        // looks at 16, and makes the cache full
        assert_eq!(read(&far, &cached, 15), [15]);
        assert_eq!(read(&far, &cached, 500), [500]);
        assert_eq!(read(&far, &cached, 100), [], "16 went");
        assert_eq!(read(&far, &cached, 16), [16, 17]);
    }
}
