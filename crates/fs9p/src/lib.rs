//! A file server for guests: 9P2000.L, as Linux's `v9fs` speaks it, on trees of files.
//!
//! [`Server`] takes the bytes of requests and gives those of replies; it knows no transport. What it serves is a
//! [`FileTree`]: [`MemoryTree`], files given to the machine, [`HostTree`], a directory of the host's, or [`MappedTree`], one whose
//! owners, modes and types of files are kept in files beside them.
//!
//! Nothing blocks. What a tree can answer at once is answered within [`Server::submit`]; the rest are futures that
//! [`Server::poll`] goes on with when the tree has woken them.

mod errno;
mod server;
mod tree;
pub mod wire;

pub use errno::{Errno, Result};
pub use server::{RequestId, Server};
pub use tree::{
    ArchiveError, DirWriter, FileTree, Flags, HostMessages, HostModes, HostTree, MappedTree, MemoryTree, New, Owner,
    Owners, SetXattr, device, mode,
};
