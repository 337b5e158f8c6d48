//! Waiting for one another, among the futures of one thread.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// Who waits for something to change.
#[derive(Default)]
pub struct Waiters(RefCell<Vec<Waker>>);

impl Waiters {
    pub fn add(&self, context: &Context<'_>) {
        self.0.borrow_mut().push(context.waker().clone());
    }

    pub fn wake(&self) {
        self.0.take().into_iter().for_each(Waker::wake);
    }
}

/// Shared by many or held by one, in the order in which they asked.
#[derive(Default)]
pub struct RwLock {
    shared: Cell<usize>,
    exclusive: Cell<bool>,
    /// Tickets of those who wait, the first first.
    queue: RefCell<VecDeque<u64>>,
    tickets: Cell<u64>,
    waiters: Waiters,
}

impl RwLock {
    pub fn shared(&self) -> Acquire<'_> {
        self.acquire(false)
    }

    pub fn exclusive(&self) -> Acquire<'_> {
        self.acquire(true)
    }

    fn acquire(&self, exclusive: bool) -> Acquire<'_> {
        Acquire { lock: self, exclusive, ticket: None }
    }

    fn is_free(&self, exclusive: bool) -> bool {
        !self.exclusive.get() && (!exclusive || self.shared.get() == 0)
    }
}

/// A [`RwLock`] to come.
pub struct Acquire<'a> {
    lock: &'a RwLock,
    exclusive: bool,
    ticket: Option<u64>,
}

impl<'a> Future for Acquire<'a> {
    type Output = Guard<'a>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Guard<'a>> {
        let (lock, exclusive) = (self.lock, self.exclusive);
        let mut queue = lock.queue.borrow_mut();
        let first = queue.front().copied();
        if (first.is_none() || first == self.ticket) && lock.is_free(exclusive) {
            if self.ticket.take().is_some() {
                queue.pop_front();
            }
            drop(queue);
            if exclusive {
                lock.exclusive.set(true);
            } else {
                lock.shared.set(lock.shared.get() + 1);
                lock.waiters.wake(); // the next may share
            }
            return Poll::Ready(Guard { lock, exclusive });
        }
        if self.ticket.is_none() {
            lock.tickets.set(lock.tickets.get() + 1);
            self.ticket = Some(lock.tickets.get());
            queue.push_back(lock.tickets.get());
        }
        lock.waiters.add(context);
        Poll::Pending
    }
}

impl Drop for Acquire<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.lock.queue.borrow_mut().retain(|t| *t != ticket);
            self.lock.waiters.wake();
        }
    }
}

/// A [`RwLock`] that is held until this is dropped.
pub struct Guard<'a> {
    lock: &'a RwLock,
    exclusive: bool,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if self.exclusive {
            self.lock.exclusive.set(false);
        } else {
            self.lock.shared.set(self.lock.shared.get() - 1);
        }
        self.lock.waiters.wake();
    }
}
