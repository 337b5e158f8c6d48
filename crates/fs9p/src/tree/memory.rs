//! Files in memory.

mod archive;
mod content;
mod directory;
mod files;
mod inode;
mod operations;

use crate::wire::Timespec;
pub use archive::ArchiveError;
use inode::{Inode, Node};
use std::cell::Cell;
use std::rc::Rc;

/// A tree whose files are in memory: what is given to the machine, and what the guest makes of it.
///
/// Cloning gives another handle of the same tree: one for the server, one for whoever puts and gets files meanwhile.
#[derive(Clone)]
pub struct MemoryTree {
    state: Rc<State>,
    root: Node,
}

/// What all files of a tree share.
pub struct State {
    now: Box<dyn Fn() -> Timespec>,
    next_inode: Cell<u64>,
    /// Bytes that the tree may hold and that it holds, files' contents and what describes them.
    capacity: u64,
    used: Cell<u64>,
    inodes: Cell<u64>,
}

/// What an inode and its name are counted as, beside its contents.
const INODE_BYTES: u64 = 512;

impl MemoryTree {
    /// An empty tree that holds up to `capacity` bytes (and says ENOSPC beyond), with a clock for the files' times.
    pub fn new(capacity: u64, now: impl Fn() -> Timespec + 'static) -> Self {
        let state = Rc::new(State {
            now: Box::new(now),
            next_inode: Cell::new(1),
            capacity,
            used: Cell::new(0),
            inodes: Cell::new(0),
        });
        let root = Inode::root(&state);
        Self { state, root }
    }

    /// Bytes held.
    pub fn used(&self) -> u64 {
        self.state.used.get()
    }
}

impl State {
    fn now(&self) -> Timespec {
        (self.now)()
    }

    /// Counts `bytes` more; whether there was room for them.
    fn take(&self, bytes: u64) -> bool {
        match self.used.get().checked_add(bytes) {
            Some(used) if used <= self.capacity => {
                self.used.set(used);
                true
            }
            _ => false,
        }
    }

    fn give_back(&self, bytes: u64) {
        self.used.set(self.used.get().saturating_sub(bytes));
    }
}
