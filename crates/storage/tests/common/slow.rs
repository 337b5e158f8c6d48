//! A store whose operations end when the test says so, in any order, each done at its end.

use random::Rng;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use storage::{BlockError, Io, Source, Store};

/// Who waits, and who may go on.
#[derive(Default)]
pub struct Gate {
    waiting: RefCell<Vec<(Waker, Rc<Cell<bool>>)>>,
    /// Of this many operations, one fails; 0: none does.
    pub fail_one_in: Cell<u64>,
}

impl Gate {
    /// Lets one of those go on who wait. False if nobody does.
    pub fn open_one(&self, rng: &mut Rng) -> bool {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.is_empty() {
            return false;
        }
        let at = rng.below(waiting.len() as u64) as usize;
        let (waker, may) = waiting.swap_remove(at);
        may.set(true);
        waker.wake();
        true
    }

    pub fn waiting(&self) -> usize {
        self.waiting.borrow().len()
    }

    async fn pass(&self) {
        let may = Rc::new(Cell::new(false));
        let mut queued = false;
        poll_fn(|context| {
            if may.get() {
                return Poll::Ready(());
            }
            if !std::mem::replace(&mut queued, true) {
                self.waiting.borrow_mut().push((context.waker().clone(), may.clone()));
            }
            Poll::Pending
        })
        .await;
    }
}

pub struct Slow<S> {
    pub inner: S,
    pub gate: Rc<Gate>,
    pub rng: RefCell<Rng>,
}

impl<S: Source> Slow<S> {
    pub fn new(inner: S, gate: Rc<Gate>) -> Self {
        Self { inner, gate, rng: RefCell::new(Rng(1)) }
    }

    async fn pass(&self) -> Result<(), BlockError> {
        self.gate.pass().await;
        let n = self.gate.fail_one_in.get();
        if n > 0 && self.rng.borrow_mut().one_in(n) {
            return Err(BlockError::Io { image: self.inner.name().to_owned(), reason: "the test says no".to_owned() });
        }
        Ok(())
    }
}

impl<S: Source> Source for Slow<S> {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn read_at<'a>(&'a self, offset: u64, buf: &'a mut [u8]) -> Io<'a> {
        Box::pin(async move {
            self.pass().await?;
            self.inner.read_at(offset, buf).await
        })
    }
}

impl<S: Store> Store for Slow<S> {
    fn write_at<'a>(&'a self, offset: u64, data: &'a [u8]) -> Io<'a> {
        Box::pin(async move {
            self.pass().await?;
            self.inner.write_at(offset, data).await
        })
    }

    fn flush(&self) -> Io<'_> {
        Box::pin(async move {
            self.pass().await?;
            self.inner.flush().await
        })
    }
}
