//! Files of all types, and what stat(2) tells of them.

use super::content::Content;
use super::directory::Directory;
use super::{INODE_BYTES, State};
use crate::tree::{New, Owner, mode, rules};
use crate::wire::{Qid, Stat, Timespec, getattr};
use crate::{Errno, Result};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::Deref;
use std::rc::{Rc, Weak};

/// What an extended attribute is counted as, beside its name and value: two allocations, and an entry in a map whose nodes are half empty.
const XATTR_BYTES: u64 = 256;

/// What an extended attribute with a name and a value of these lengths is counted as.
pub fn xattr_counted(name: usize, value: usize) -> u64 {
    XATTR_BYTES + (name + value) as u64
}

/// A file. It lives as long as it has a name, is open, or has a fid.
#[derive(Clone)]
pub struct Node(Rc<Inode>);

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

impl Deref for Node {
    type Target = Inode;
    fn deref(&self) -> &Inode {
        &self.0
    }
}

impl Node {
    pub fn downgrade(&self) -> Weak<Inode> {
        Rc::downgrade(&self.0)
    }

    pub fn upgrade(weak: &Weak<Inode>) -> Option<Self> {
        weak.upgrade().map(Self)
    }

    /// The file itself, if nobody else has it.
    pub fn into_last(self) -> Option<Inode> {
        Rc::into_inner(self.0)
    }
}

pub struct Inode {
    state: Rc<State>,
    number: u64,
    pub body: Body,
    pub meta: Cell<Meta>,
    pub xattrs: RefCell<BTreeMap<Vec<u8>, Vec<u8>>>,
    /// Changes from outside the guest.
    pub changes: Cell<u32>,
}

pub enum Body {
    Regular(RefCell<Content>),
    Directory(Directory),
    Symlink(Vec<u8>),
    /// The device's number.
    Special(u32),
}

#[derive(Clone, Copy)]
pub struct Meta {
    /// With the type.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub nlink: u32,
    pub atime: Timespec,
    pub mtime: Timespec,
    pub ctime: Timespec,
    pub btime: Timespec,
}

impl Inode {
    /// A root directory, which belongs to root.
    pub fn root(state: &Rc<State>) -> Node {
        let owner = Owner { mode: 0o755, uid: 0, gid: 0 };
        Self::build(state, Body::Directory(Directory::new(Weak::new())), mode::DIRECTORY, owner)
    }

    /// A file in `dir` that has no name yet: ENOSPC.
    pub fn make_in(dir: &Node, new: Option<New<'_>>, owner: Owner) -> Result<Node> {
        let state = &dir.state;
        let (kind, body, extra) = match new {
            None => (mode::REGULAR, Body::Regular(RefCell::new(Content::new(state))), 0),
            Some(New::Directory) => (mode::DIRECTORY, Body::Directory(Directory::new(dir.downgrade())), 0),
            Some(New::Symlink(target)) => (mode::SYMLINK, Body::Symlink(target.to_vec()), target.len()),
            Some(New::Node(kind, rdev)) => (kind, Body::Special(rdev), 0),
        };
        if !state.take(INODE_BYTES + extra as u64) {
            return Err(Errno::ENOSPC);
        }
        let Meta { mode, gid, .. } = dir.meta.get();
        Ok(Self::build(state, body, kind, rules::inherit((mode, gid), kind, owner)))
    }

    fn build(state: &Rc<State>, body: Body, kind: u32, owner: Owner) -> Node {
        let (number, now) = (state.next_inode.get(), state.now());
        state.next_inode.set(number + 1);
        state.inodes.set(state.inodes.get() + 1);
        let meta = Meta {
            mode: kind | owner.mode & mode::BITS,
            uid: owner.uid,
            gid: owner.gid,
            nlink: if kind == mode::DIRECTORY { 2 } else { 0 },
            atime: now,
            mtime: now,
            ctime: now,
            btime: now,
        };
        let (meta, changes) = (Cell::new(meta), Cell::new(0));
        Node(Rc::new(Self { state: state.clone(), number, body, meta, xattrs: RefCell::default(), changes }))
    }

    pub fn now(&self) -> Timespec {
        self.state.now()
    }

    pub fn update(&self, change: impl FnOnce(&mut Meta)) {
        let mut meta = self.meta.get();
        change(&mut meta);
        self.meta.set(meta);
    }

    /// The file itself has changed, not its contents.
    pub fn touch(&self) {
        let now = self.now();
        self.update(|meta| meta.ctime = now);
    }

    /// The contents have changed.
    pub fn modified(&self) {
        let now = self.now();
        self.update(|meta| (meta.mtime, meta.ctime) = (now, now));
    }

    pub fn is_directory(&self) -> bool {
        matches!(self.body, Body::Directory(_))
    }

    /// ENOTDIR.
    pub fn directory(&self) -> Result<&Directory> {
        match &self.body {
            Body::Directory(directory) => Ok(directory),
            _ => Err(Errno::ENOTDIR),
        }
    }

    /// A directory that new names can be put in: ENOTDIR; ENOENT if it has been removed itself.
    pub fn live_directory(&self) -> Result<&Directory> {
        let directory = self.directory()?;
        if self.meta.get().nlink == 0 { Err(Errno::ENOENT) } else { Ok(directory) }
    }

    /// A regular file's bytes: EISDIR, EINVAL.
    pub fn content(&self) -> Result<&RefCell<Content>> {
        match &self.body {
            Body::Regular(content) => Ok(content),
            Body::Directory(_) => Err(Errno::EISDIR),
            _ => Err(Errno::EINVAL),
        }
    }

    pub fn qid(&self) -> Qid {
        let version = self.changes.get().wrapping_add(1).max(1);
        Qid { kind: mode::qid_type(self.meta.get().mode), version, path: self.number }
    }

    fn size(&self) -> u64 {
        match &self.body {
            Body::Regular(content) => content.borrow().size(),
            Body::Directory(directory) => (directory.len() as u64 + 2) * 20, // as on tmpfs
            Body::Symlink(target) => target.len() as u64,
            Body::Special(_) => 0,
        }
    }

    pub fn stat(&self) -> Stat {
        let meta = self.meta.get();
        let held = match &self.body {
            Body::Regular(content) => content.borrow().held(),
            _ => 0,
        };
        let rdev = if let Body::Special(rdev) = self.body { rdev } else { 0 };
        Stat {
            valid: getattr::BASIC | getattr::BTIME,
            qid: self.qid(),
            mode: meta.mode,
            uid: meta.uid,
            gid: meta.gid,
            nlink: meta.nlink.into(),
            rdev: rdev.into(),
            size: self.size(),
            blksize: 4096,
            blocks: held.div_ceil(4096) * 8,
            atime: meta.atime,
            mtime: meta.mtime,
            ctime: meta.ctime,
            btime: meta.btime,
            generation: 0,
            data_version: 0,
        }
    }
}

impl Drop for Inode {
    fn drop(&mut self) {
        let target = if let Body::Symlink(target) = &self.body { target.len() as u64 } else { 0 };
        let xattrs = self.xattrs.get_mut().iter().map(|(name, value)| xattr_counted(name.len(), value.len())).sum();
        if self.number != 1 {
            self.state.give_back(INODE_BYTES + target); // the root was not counted
        }
        self.state.give_back(xattrs);
        self.state.inodes.set(self.state.inodes.get() - 1);
    }
}
