//! Requests to the host and its replies, by tag.

use crate::wire::{NOFID, Reply, Request, split};
use crate::{Errno, Result};
use rustc_hash::FxHashMap;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// What takes messages to the host.
pub trait HostMessages {
    /// Sends a request. A reply that is there at once is returned; any other comes by
    /// [`HostTree::complete`](super::HostTree::complete).
    fn send(&self, message: Vec<u8>) -> Option<Vec<u8>>;
}

impl<F: Fn(Vec<u8>) -> Option<Vec<u8>>> HostMessages for F {
    fn send(&self, message: Vec<u8>) -> Option<Vec<u8>> {
        self(message)
    }
}

pub struct Calls {
    host: Box<dyn HostMessages>,
    waiting: RefCell<FxHashMap<u16, Slot>>,
    next_tag: Cell<u16>,
    next_fid: Cell<u32>,
    free_fids: RefCell<Vec<u32>>,
    pub attached: Cell<bool>,
}

/// A request under way.
struct Slot {
    state: State,
    /// The fid that the host has from then on.
    introduces: Option<u32>,
}

enum State {
    Waits(Option<Waker>),
    Answered(Vec<u8>),
    /// Nobody waits for it any more.
    Abandoned,
}

impl Calls {
    pub fn new(host: impl HostMessages + 'static) -> Self {
        Self {
            host: Box::new(host),
            waiting: RefCell::default(),
            next_tag: Cell::new(0),
            next_fid: Cell::new(super::ROOT + 1),
            free_fids: RefCell::default(),
            attached: Cell::new(false),
        }
    }

    pub fn new_fid(&self) -> u32 {
        if let Some(fid) = self.free_fids.borrow_mut().pop() {
            return fid;
        }
        let fid = self.next_fid.get();
        self.next_fid.set(fid + 1); // as many as the server has, so far below the end
        fid
    }

    /// The fid is not used any more; `known`: the host is told.
    pub fn drop_fid(&self, fid: u32, known: bool) {
        let introduced = self.waiting.borrow().values().any(|slot| slot.introduces == Some(fid));
        if known {
            self.clunk(fid);
        } else if !introduced {
            self.free_fids.borrow_mut().push(fid);
        } // else when its request is answered
    }

    fn clunk(&self, fid: u32) {
        let Some(tag) = self.free_tag() else { return };
        let slot = Slot { state: State::Abandoned, introduces: None };
        self.waiting.borrow_mut().insert(tag, slot);
        if let Some(reply) = self.host.send(Request::Tclunk { fid }.encode(tag)) {
            self.complete(reply);
        }
        if fid != NOFID {
            self.free_fids.borrow_mut().push(fid);
        }
    }

    fn free_tag(&self) -> Option<u16> {
        let waiting = self.waiting.borrow();
        let mut tag = self.next_tag.get();
        for _ in 0..=u16::MAX {
            let this = tag;
            tag = tag.wrapping_add(1);
            if this != crate::wire::NOTAG && !waiting.contains_key(&this) {
                self.next_tag.set(tag);
                return Some(this);
            }
        }
        None
    }

    /// The reply to a request, as a whole message; an `Rlerror` is an error. `introduces`: the fid that the host has
    /// then.
    pub async fn call(&self, request: &Request<'_>, introduces: Option<u32>) -> Result<Vec<u8>> {
        let tag = self.free_tag().ok_or(Errno::EAGAIN)?;
        let message = request.encode(tag);
        self.waiting.borrow_mut().insert(tag, Slot { state: State::Waits(None), introduces });
        let reply = match self.host.send(message) {
            Some(reply) => {
                self.waiting.borrow_mut().remove(&tag);
                reply
            }
            None => {
                let abandon = Abandon(self, tag);
                let reply = poll_fn(|cx| self.poll(tag, cx.waker())).await;
                std::mem::forget(abandon);
                reply
            }
        };
        match Reply::decode(&reply) {
            Some((_, Reply::Rlerror { ecode })) => Err(Errno(ecode)),
            Some((replied, _)) if replied == tag => Ok(reply),
            _ => Err(Errno::EIO),
        }
    }

    fn poll(&self, tag: u16, waker: &Waker) -> Poll<Vec<u8>> {
        let mut waiting = self.waiting.borrow_mut();
        match waiting.get_mut(&tag).map(|slot| &mut slot.state) {
            Some(State::Waits(place)) => {
                *place = Some(waker.clone());
                Poll::Pending
            }
            Some(State::Answered(reply)) => {
                let reply = std::mem::take(reply);
                waiting.remove(&tag);
                Poll::Ready(reply)
            }
            _ => Poll::Ready(Vec::new()),
        }
    }

    pub fn complete(&self, reply: Vec<u8>) {
        let Some((kind, tag, _)) = split(&reply) else { return };
        let mut waiting = self.waiting.borrow_mut();
        let Some(slot) = waiting.get_mut(&tag) else { return };
        match &mut slot.state {
            State::Waits(waker) => {
                let waker = waker.take();
                slot.state = State::Answered(reply);
                drop(waiting);
                waker.into_iter().for_each(Waker::wake);
            }
            State::Answered(_) => {}
            State::Abandoned => {
                let introduced = slot.introduces;
                waiting.remove(&tag);
                drop(waiting);
                match introduced {
                    Some(fid) if kind == crate::wire::RLERROR => self.free_fids.borrow_mut().push(fid),
                    Some(fid) => self.clunk(fid),
                    None => {}
                }
            }
        }
    }
}

/// Marks the request as one that nobody waits for.
struct Abandon<'a>(&'a Calls, u16);

impl Drop for Abandon<'_> {
    fn drop(&mut self) {
        let mut waiting = self.0.waiting.borrow_mut();
        let Some(slot) = waiting.get_mut(&self.1) else { return };
        if let State::Answered(reply) = std::mem::replace(&mut slot.state, State::Abandoned) {
            drop(waiting);
            self.0.complete(reply);
        }
    }
}
