//! Futures on one thread, polled when somebody has time: the only executor, without queues, locks or threads.

use std::cell::RefCell;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// Futures in flight. Shared by `Rc`; a future may spawn others.
#[derive(Default)]
pub struct Executor {
    tasks: RefCell<Vec<Task>>,
}

struct Task {
    future: Pin<Box<dyn Future<Output = ()>>>,
    woken: Arc<Woken>,
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Task {
    fn poll(&mut self) -> Poll<()> {
        let waker = Waker::from(self.woken.clone());
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }
}

impl Executor {
    /// Polls `future` once, and keeps it if that is not its end.
    pub fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        let mut task = Task { future: Box::pin(future), woken: Arc::new(Woken(AtomicBool::new(false))) };
        if task.poll().is_pending() {
            self.tasks.borrow_mut().push(task);
        }
    }

    /// Polls what was woken, until all that is left waits for the host.
    pub fn run(&self) {
        while let Some(mut task) = self.take_woken() {
            if task.poll().is_pending() {
                self.tasks.borrow_mut().push(task);
            }
        }
    }

    /// Futures that have not ended.
    pub fn waiting(&self) -> usize {
        self.tasks.borrow().len()
    }

    fn take_woken(&self) -> Option<Task> {
        let mut tasks = self.tasks.borrow_mut();
        let at = tasks.iter().position(|task| task.woken.0.swap(false, Ordering::Relaxed))?;
        Some(tasks.swap_remove(at))
    }
}
