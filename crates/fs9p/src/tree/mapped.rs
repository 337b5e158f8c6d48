//! A tree of plain files and directories whose owners, modes and types are kept beside them: QEMU's `security_model=mapped-file`.
//!
//! What is kept of the file `dir/name` is in the file `dir/.virtfs_metadata/name` ([`Metadata`]), what is kept of the root in
//! `.virtfs_metadata_root` in it. The guest sees neither. A symbolic link is a file with the target, devices, FIFOs and sockets are empty
//! files. A file without is as its host has it, and so is what the lines of a damaged one do not say. Two names of
//! a file have two names of one file of metadata. QEMU reads what is written here, and the other way round.
//!
//! An operation that needs several of the tree below is not interrupted by another.

mod metadata;
mod names;
mod operations;
mod turn;

use crate::tree::{FileTree, Flags, New, Owner, mode};
use crate::wire::qid_type;
use crate::{Errno, Result};
use metadata::Metadata;
use rustc_hash::FxHashMap;
use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use turn::Turn;

/// The directory of metadata in each directory, and the root's own metadata in it.
const STORE: &[u8] = b".virtfs_metadata";
const ROOT: &[u8] = b".virtfs_metadata_root";
/// The permission bits of both.
const STORE_MODE: u32 = 0o700;
const METADATA_MODE: u32 = 0o600;

/// Permission bits that files and directories are made with on the host: QEMU's `fmode` and `dmode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostModes {
    pub file: u32,
    pub directory: u32,
}

impl Default for HostModes {
    /// QEMU's.
    fn default() -> Self {
        Self { file: 0o600, directory: 0o700 }
    }
}

/// The guest's view of the tree `T` of plain files.
pub struct MappedTree<T: FileTree> {
    below: T,
    modes: HostModes,
    /// Files that somebody has, by the number that the tree below gives them.
    files: RefCell<FxHashMap<u64, Weak<File<T>>>>,
    turn: Turn,
}

/// A file; the same for all its names.
pub struct Node<T: FileTree>(Rc<File<T>>);

struct File<T: FileTree> {
    is_root: bool,
    /// As it was found last.
    below: RefCell<T::Node>,
    metadata: Cell<Metadata>,
    /// Names by which it was found. None for the root, and for what is removed.
    names: RefCell<Vec<(Node<T>, Vec<u8>)>>,
    /// The directory of metadata in it, once it was found.
    store: RefCell<Option<T::Node>>,
}

impl<T: FileTree> Clone for Node<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: FileTree> PartialEq for Node<T> {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0) || *self.0.below.borrow() == *other.0.below.borrow()
    }
}

impl<T: FileTree> Drop for File<T> {
    /// One directory after the other: as deep as a guest can make them, the stack is not.
    fn drop(&mut self) {
        let mut left = self.names.take();
        while let Some((dir, _)) = left.pop() {
            if let Some(file) = Rc::into_inner(dir.0) {
                left.append(&mut file.names.take());
            }
        }
    }
}

impl<T: FileTree> Node<T> {
    fn below(&self) -> T::Node {
        self.0.below.borrow().clone()
    }

    fn add_name(&self, dir: &Self, name: &[u8]) {
        let mut names = self.0.names.borrow_mut();
        if !names.iter().any(|(d, n)| n == name && d == dir) {
            names.push((dir.clone(), name.to_vec()));
        }
    }

    fn drop_name(&self, dir: &Self, name: &[u8]) {
        self.0.names.borrow_mut().retain(|(d, n)| n != name || d != dir);
    }
}

impl<T: FileTree> MappedTree<T> {
    /// A view of `below`, which need not keep owners, types or modes.
    pub fn new(below: T, modes: HostModes) -> Self {
        Self { below, modes, files: RefCell::default(), turn: Turn::default() }
    }

    /// The file that is `below`, of which somebody may know already.
    fn known(&self, below: T::Node, metadata: Metadata, at: Option<(&Node<T>, &[u8])>) -> Node<T> {
        let known = self.files.borrow().get(&self.below.qid(&below).path).and_then(Weak::upgrade).map(Node);
        let Some(node) = known else { return self.new_file(below, metadata, at) };
        *node.0.below.borrow_mut() = below;
        node.0.metadata.set(metadata);
        if let Some((dir, name)) = at {
            node.add_name(dir, name);
        }
        node
    }

    /// The file that is `below`, of which nobody knows: what had its number before is gone.
    fn new_file(&self, below: T::Node, metadata: Metadata, at: Option<(&Node<T>, &[u8])>) -> Node<T> {
        let number = self.below.qid(&below).path;
        let names = at.map(|(dir, name)| (dir.clone(), name.to_vec())).into_iter().collect();
        let file = Rc::new(File {
            is_root: at.is_none(),
            below: RefCell::new(below),
            metadata: Cell::new(metadata),
            names: RefCell::new(names),
            store: RefCell::new(None),
        });
        let mut files = self.files.borrow_mut();
        if files.len() == files.capacity() {
            files.retain(|_, file| file.strong_count() > 0); // before it grows
        }
        files.insert(number, Rc::downgrade(&file));
        Node(file)
    }

    /// The file `name` in `dir` if somebody knows it.
    async fn known_at(&self, dir: &Node<T>, name: &[u8]) -> Result<(T::Node, Option<Node<T>>)> {
        let below = self.below.lookup(&dir.below(), name).await?;
        let known = self.files.borrow().get(&self.below.qid(&below).path).and_then(Weak::upgrade).map(Node);
        Ok((below, known))
    }

    /// The directory of metadata in `dir`; `make`: it is made if there is none.
    async fn store(&self, dir: &Node<T>, make: bool) -> Result<Option<T::Node>> {
        let known = dir.0.store.borrow().clone();
        if known.is_some() {
            return Ok(known);
        }
        let below = dir.below();
        let found = match self.below.lookup(&below, STORE).await {
            Err(Errno::ENOENT) if make => self.below.make(&below, STORE, New::Directory, plain(STORE_MODE)).await?,
            Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(None),
            found => found?,
        };
        if self.below.qid(&found).kind & qid_type::DIR == 0 {
            return if make { Err(Errno::ENOTDIR) } else { Ok(None) };
        }
        *dir.0.store.borrow_mut() = Some(found.clone());
        Ok(Some(found))
    }

    /// What is kept of `name` in `dir`.
    async fn load(&self, dir: &Node<T>, name: &[u8]) -> Result<Metadata> {
        match self.store(dir, false).await? {
            Some(store) => self.load_from(&store, name).await,
            None => Ok(Metadata::default()),
        }
    }

    async fn load_from(&self, store: &T::Node, name: &[u8]) -> Result<Metadata> {
        let read = async {
            let node = self.below.lookup(store, name).await?;
            if self.below.qid(&node).kind != qid_type::FILE {
                return Err(Errno::ENOENT);
            }
            let file = self.below.open(&node, Flags::empty()).await?;
            let mut text = Vec::with_capacity(metadata::LENGTH);
            self.below.read(&file, 0, metadata::LENGTH_MAX, &mut text).await?;
            Ok(Metadata::parse(&text))
        };
        match read.await {
            // as with QEMU, what is no file is no metadata
            Err(Errno::ENOENT | Errno::ENXIO) => Ok(Metadata::default()),
            read => read,
        }
    }

    /// Keeps `metadata` of `node`: ESTALE if it has a name that nobody has told us.
    async fn save(&self, node: &Node<T>, open: Option<&T::Handle>, metadata: Metadata) -> Result<()> {
        let name = node.0.names.borrow().last().cloned();
        match name {
            Some((dir, name)) => self.save_as(&dir, &name, metadata, false).await?,
            None if node.0.is_root => self.save_to(&node.below(), ROOT, metadata, false).await?,
            None => {
                let stat = self.below.stat(&node.below(), open).await?;
                if stat.nlink > 0 && stat.mode & mode::TYPE != mode::DIRECTORY {
                    return Err(Errno::ESTALE);
                }
            }
        }
        node.0.metadata.set(metadata);
        Ok(())
    }

    /// Keeps `metadata` of `name` in `dir`. `new`: what is there is of a file that is gone, and may be another name's too.
    async fn save_as(&self, dir: &Node<T>, name: &[u8], metadata: Metadata, new: bool) -> Result<()> {
        if let Some(store) = self.store(dir, true).await? {
            match self.save_to(&store, name, metadata, new).await {
                // somebody else has removed it meanwhile
                Err(Errno::ENOENT | Errno::ESTALE) => *dir.0.store.borrow_mut() = None,
                saved => return saved,
            }
        }
        let store = self.store(dir, true).await?.ok_or(Errno::ENOENT)?;
        self.save_to(&store, name, metadata, new).await
    }

    async fn save_to(&self, store: &T::Node, name: &[u8], metadata: Metadata, new: bool) -> Result<()> {
        let flags = Flags::WRONLY | Flags::EXCL;
        let file = match self.below.create(store, name, flags, plain(METADATA_MODE)).await {
            Err(Errno::EEXIST) if new => {
                self.below.unlink(store, name, false).await?;
                self.below.create(store, name, flags, plain(METADATA_MODE)).await?.1
            }
            Err(Errno::EEXIST) => {
                let node = self.below.lookup(store, name).await?;
                let longer = self.below.stat(&node, None).await?.size > metadata::LENGTH as u64;
                let truncate = if longer { Flags::TRUNC } else { Flags::empty() };
                self.below.open(&node, Flags::WRONLY | truncate).await?
            }
            made => made?.1,
        };
        self.write_all(&file, &metadata.text()).await
    }

    async fn write_all(&self, file: &T::Handle, data: &[u8]) -> Result<()> {
        let mut rest = data;
        while !rest.is_empty() {
            let offset = (data.len() - rest.len()) as u64;
            match self.below.write(file, offset, rest).await? {
                0 => return Err(Errno::EIO),
                written => rest = rest.get(written..).unwrap_or_default(),
            }
        }
        Ok(())
    }

    /// Nothing is kept of `name` in `dir` any more.
    async fn forget(&self, dir: &Node<T>, name: &[u8]) -> Result<()> {
        let Some(store) = self.store(dir, false).await? else { return Ok(()) };
        match self.below.unlink(&store, name, false).await {
            Err(Errno::ENOENT) => Ok(()),
            gone => gone,
        }
    }
}

/// What is kept beside files is no matter of the guest's. Where names are the same in either case, these are, too.
fn is_hidden(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(STORE) || name.eq_ignore_ascii_case(ROOT)
}

/// The tree below does not ask whose its files are.
fn plain(mode: u32) -> Owner {
    Owner { mode, uid: 0, gid: 0 }
}
