//! A tree that somebody else serves: a directory of the host's.
//!
//! The host speaks 9P2000.L too, the messages of [`wire`](crate::wire), each with a fid of its own for a file. So a host is a server
//! like ours, the messages are declared once, and whatever speaks the protocol can be one.

mod calls;
mod operations;

use crate::Result;
use crate::wire::{Qid, Request};
use calls::Calls;
pub use calls::HostMessages;
use std::cell::Cell;
use std::rc::Rc;

/// The fid of the host's root, attached by the first request.
const ROOT: u32 = 0;

/// A tree of the host's. Cloning gives another handle of the same tree: one for the server, one for whoever brings the replies.
#[derive(Clone)]
pub struct HostTree {
    calls: Rc<Calls>,
    owners: Owners,
}

/// What becomes of a file's owner, which a host may refuse to set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owners {
    /// A refusal is an error: QEMU's `security_model=passthrough`.
    Kept,
    /// A refusal is ignored: QEMU's `security_model=none`.
    Tried,
    /// The guest's owner is not even asked for: what is made is the host's own.
    Left,
}

/// A file of the host's. The host forgets it with the last of these.
#[derive(Clone)]
pub struct Node(Rc<File>);

struct File {
    fid: Fid,
    qid: Cell<Qid>,
    /// Where it was found: nothing for the root.
    parent: Option<Node>,
}

/// A file of the host's that is open.
pub struct Handle {
    fid: Fid,
}

/// A number that the host knows a file by, until this is dropped.
struct Fid {
    number: u32,
    calls: Rc<Calls>,
    /// The host has it.
    known: Cell<bool>,
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.0.qid.get().path == other.0.qid.get().path
    }
}

impl Drop for File {
    /// One directory after the other: as deep as a guest can make them, the stack is not.
    fn drop(&mut self) {
        let mut next = self.parent.take();
        while let Some(mut file) = next.and_then(|node| Rc::into_inner(node.0)) {
            next = file.parent.take();
        }
    }
}

impl Drop for Fid {
    fn drop(&mut self) {
        self.calls.drop_fid(self.number, self.known.get());
    }
}

impl HostTree {
    /// A tree behind `host`, which is asked nothing before a guest looks.
    pub fn new(host: impl HostMessages + 'static, owners: Owners) -> Self {
        Self { calls: Rc::new(Calls::new(host)), owners }
    }

    /// Brings a reply that was not there at once. Whatever is no reply to a request that waits is ignored.
    pub fn complete(&self, reply: Vec<u8>) {
        self.calls.complete(reply);
    }

    /// A fid that the host has not heard of yet.
    fn new_fid(&self) -> Fid {
        Fid { number: self.calls.new_fid(), calls: self.calls.clone(), known: Cell::new(false) }
    }

    /// Makes `fid` known by a request: the number is not used again before the host has answered it.
    async fn introduce(&self, fid: &Fid, request: Request<'_>) -> Result<Vec<u8>> {
        let reply = self.calls.call(&request, Some(fid.number)).await?;
        fid.known.set(true);
        Ok(reply)
    }

    /// Another fid of the same file.
    async fn another(&self, of: &Fid) -> Result<Fid> {
        let fid = self.new_fid();
        let walk = Request::Twalk { fid: of.number, newfid: fid.number, names: Vec::new() };
        self.introduce(&fid, walk).await?;
        Ok(fid)
    }
}

/// The fields of a reply that can only be this one: the host's answer to another request is an error of the host's.
macro_rules! reply {
    ($message:expr, $variant:ident { $($field:ident),* }) => {
        match crate::wire::Reply::decode(&$message) {
            Some((_, crate::wire::Reply::$variant { $($field),* })) => ($($field),*),
            _ => return Err(crate::Errno::EIO),
        }
    };
}
use reply;
