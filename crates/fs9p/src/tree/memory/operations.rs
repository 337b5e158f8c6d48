//! The tree's operations, with the semantics that POSIX and Linux's file systems give them.

use super::MemoryTree;
use super::content::SIZE_MAX;
use super::directory::{DOT, DOT_DOT, Directory};
use super::inode::{Body, Inode, Node, xattr_counted};
use crate::tree::{DirWriter, FileTree, Flags, New, Owner, SetXattr, mode, rules};
use crate::wire::{Qid, SetAttr, Stat, StatFs, setattr};
use crate::{Errno, Result};

/// An open file.
pub struct Handle {
    node: Node,
    flags: Flags,
}

/// Bytes of a directory entry beside its inode.
const ENTRY_BYTES: u64 = 128;
/// What Linux's VFS allows (`XATTR_SIZE_MAX`, `XATTR_LIST_MAX`).
const XATTR_VALUE_MAX: usize = 65536;
const XATTR_LIST_MAX: usize = 65536;
const XATTR_NAME_MAX: usize = 255;
/// "9P", and the block size that statfs(2) tells.
const MAGIC: u32 = 0x0102_1997;
const BLOCK: u64 = 4096;

impl FileTree for MemoryTree {
    type Node = Node;
    type Handle = Handle;

    async fn root(&self) -> Result<Node> {
        Ok(self.root.clone())
    }

    fn qid(&self, node: &Node) -> Qid {
        node.qid()
    }

    async fn lookup(&self, dir: &Node, name: &[u8]) -> Result<Node> {
        dir.directory()?.get(name).ok_or(Errno::ENOENT)
    }

    async fn parent(&self, dir: &Node) -> Result<Node> {
        Ok(self.parent_of(dir.directory()?, dir))
    }

    async fn stat(&self, node: &Node, _: Option<&Handle>) -> Result<Stat> {
        Ok(node.stat())
    }

    async fn set_attr(&self, node: &Node, _: Option<&Handle>, changes: &SetAttr) -> Result<()> {
        let is = |bit| changes.valid & bit != 0;
        if is(setattr::MODE) && matches!(node.body, Body::Symlink(_)) {
            return Err(Errno::EOPNOTSUPP);
        }
        if is(setattr::SIZE) {
            node.content()?.borrow_mut().truncate(changes.size)?;
            node.modified();
        }
        let now = node.now();
        node.update(|meta| {
            let Owner { mode, uid, gid } =
                rules::change(Owner { mode: meta.mode, uid: meta.uid, gid: meta.gid }, changes);
            (meta.mode, meta.uid, meta.gid) = (mode, uid, gid);
            if is(setattr::ATIME) {
                meta.atime = if is(setattr::ATIME_SET) { changes.atime } else { now };
            }
            if is(setattr::MTIME) {
                meta.mtime = if is(setattr::MTIME_SET) { changes.mtime } else { now };
            }
            if is(setattr::ALL) {
                meta.ctime = now;
            }
        });
        Ok(())
    }

    async fn read_link(&self, node: &Node) -> Result<Vec<u8>> {
        match &node.body {
            Body::Symlink(target) => Ok(target.clone()),
            _ => Err(Errno::EINVAL),
        }
    }

    async fn stat_fs(&self) -> Result<StatFs> {
        let free = (self.state.capacity - self.state.used.get().min(self.state.capacity)) / BLOCK;
        let inodes = self.state.inodes.get();
        Ok(StatFs {
            magic: MAGIC,
            bsize: BLOCK as u32,
            blocks: self.state.capacity / BLOCK,
            bfree: free,
            bavail: free,
            files: inodes + free * (BLOCK / super::INODE_BYTES),
            ffree: free * (BLOCK / super::INODE_BYTES),
            fsid: 0,
            namelen: 255,
        })
    }

    async fn open(&self, node: &Node, flags: Flags) -> Result<Handle> {
        match &node.body {
            Body::Directory(_) if flags.writes() || flags.contains(Flags::TRUNC) => return Err(Errno::EISDIR),
            Body::Directory(_) => {}
            _ if flags.contains(Flags::DIRECTORY) => return Err(Errno::ENOTDIR),
            Body::Symlink(_) => return Err(Errno::ELOOP),
            Body::Special(_) => return Err(Errno::ENXIO), // the guest's kernel opens these itself
            Body::Regular(content) if flags.contains(Flags::TRUNC) => {
                content.borrow_mut().truncate(0)?;
                node.modified();
            }
            Body::Regular(_) => {}
        }
        Ok(Handle { node: node.clone(), flags })
    }

    async fn create(&self, dir: &Node, name: &[u8], flags: Flags, owner: Owner) -> Result<(Node, Handle)> {
        if let Some(node) = dir.directory()?.get(name) {
            if flags.contains(Flags::EXCL) {
                return Err(Errno::EEXIST);
            }
            if node.is_directory() {
                return Err(Errno::EISDIR);
            }
            let handle = self.open(&node, flags).await?;
            return Ok((node, handle));
        }
        let node = self.add(dir, name, None, owner)?;
        Ok((node.clone(), Handle { node, flags }))
    }

    async fn read(&self, file: &Handle, offset: u64, count: usize, to: &mut Vec<u8>) -> Result<()> {
        if !file.flags.reads() {
            return Err(Errno::EBADF);
        }
        file.node.content()?.borrow().read(offset, count, to);
        Ok(())
    }

    async fn write(&self, file: &Handle, offset: u64, data: &[u8]) -> Result<usize> {
        if !file.flags.writes() {
            return Err(Errno::EBADF);
        }
        let mut content = file.node.content()?.borrow_mut();
        let offset = if file.flags.contains(Flags::APPEND) { content.size() } else { offset };
        if offset > SIZE_MAX {
            return Err(Errno::EINVAL);
        }
        let written = content.write(offset, data)?;
        if written > 0 {
            file.node.modified();
        }
        Ok(written)
    }

    async fn read_dir(&self, dir: &Handle, offset: u64, to: &mut DirWriter<'_>) -> Result<()> {
        let directory = dir.node.directory()?;
        let parent = self.parent_of(directory, &dir.node);
        let dots = [(DOT, &b"."[..], &dir.node), (DOT_DOT, b"..", &parent)];
        for (at, name, node) in dots {
            if offset < at && !to.push(node.qid(), at, mode::DIRECTORY, name) {
                return Ok(());
            }
        }
        directory.visit(offset, |at, name, node| to.push(node.qid(), at, node.meta.get().mode, name));
        Ok(())
    }

    async fn sync(&self, _: &Handle, _: bool) -> Result<()> {
        Ok(()) // memory is all the storage that there is
    }

    async fn make(&self, dir: &Node, name: &[u8], new: New<'_>, owner: Owner) -> Result<Node> {
        self.add(dir, name, Some(new), owner)
    }

    async fn link(&self, node: &Node, dir: &Node, name: &[u8]) -> Result<()> {
        let directory = dir.live_directory()?;
        if directory.get(name).is_some() {
            return Err(Errno::EEXIST);
        }
        if node.is_directory() {
            return Err(Errno::EPERM);
        }
        if node.meta.get().nlink == 0 {
            return Err(Errno::ENOENT);
        }
        self.insert(dir, name, node)
    }

    async fn unlink(&self, dir: &Node, name: &[u8], directory: bool) -> Result<()> {
        let entries = dir.directory()?;
        let node = entries.get(name).ok_or(Errno::ENOENT)?;
        match &node.body {
            Body::Directory(_) if !directory => return Err(Errno::EISDIR),
            Body::Directory(entries) if !entries.is_empty() => return Err(Errno::ENOTEMPTY),
            Body::Directory(_) => {}
            _ if directory => return Err(Errno::ENOTDIR),
            _ => {}
        }
        entries.remove(name);
        self.state.give_back(ENTRY_BYTES + name.len() as u64);
        dir.modified();
        unlinked(&node, dir);
        Ok(())
    }

    async fn rename(&self, from: (&Node, &[u8]), to: (&Node, &[u8])) -> Result<()> {
        let (source_dir, target_dir) = (from.0.directory()?, to.0.directory()?);
        let node = source_dir.get(from.1).ok_or(Errno::ENOENT)?;
        to.0.live_directory()?;
        if node.is_directory() && self.is_within(to.0, &node) {
            return Err(Errno::EINVAL);
        }
        let replaced = target_dir.get(to.1);
        match &replaced {
            Some(old) if *old == node => return Ok(()),
            Some(old) => {
                if self.is_within(from.0, old) {
                    return Err(Errno::ENOTEMPTY);
                }
                match (&old.body, node.is_directory()) {
                    (Body::Directory(_), false) => return Err(Errno::EISDIR),
                    (Body::Directory(entries), true) if !entries.is_empty() => return Err(Errno::ENOTEMPTY),
                    (Body::Directory(_), true) => {}
                    (_, true) => return Err(Errno::ENOTDIR),
                    (_, false) => {}
                }
            }
            None if !self.state.take(ENTRY_BYTES + to.1.len() as u64) => return Err(Errno::ENOSPC),
            None => {}
        }
        source_dir.remove(from.1);
        self.state.give_back(ENTRY_BYTES + from.1.len() as u64);
        target_dir.insert(to.1, node.clone());
        from.0.modified();
        to.0.modified();
        node.touch();
        if let Some(old) = replaced {
            unlinked(&old, to.0);
        }
        if let Body::Directory(moved) = &node.body
            && from.0 != to.0
        {
            *moved.parent.borrow_mut() = to.0.downgrade();
            from.0.update(|meta| meta.nlink -= 1);
            to.0.update(|meta| meta.nlink += 1);
        }
        Ok(())
    }

    async fn xattr(&self, node: &Node, name: &[u8]) -> Result<Vec<u8>> {
        node.xattrs.borrow().get(name).cloned().ok_or(Errno::ENODATA)
    }

    async fn list_xattrs(&self, node: &Node) -> Result<Vec<u8>> {
        Ok(node.xattrs.borrow().keys().flat_map(|name| name.iter().copied().chain([0])).collect())
    }

    async fn set_xattr(&self, node: &Node, name: &[u8], value: &[u8], how: SetXattr) -> Result<()> {
        if name.is_empty() || name.len() > XATTR_NAME_MAX {
            return Err(Errno::ERANGE);
        }
        if value.len() > XATTR_VALUE_MAX {
            return Err(Errno::ENOSPC);
        }
        let mut xattrs = node.xattrs.borrow_mut();
        let old = xattrs.get(name).map(Vec::len);
        match (how, old) {
            (SetXattr::Create, Some(_)) => return Err(Errno::EEXIST),
            (SetXattr::Replace, None) => return Err(Errno::ENODATA),
            _ => {}
        }
        let listed: usize = xattrs.keys().map(|name| name.len() + 1).sum();
        if old.is_none() && listed + name.len() + 1 > XATTR_LIST_MAX {
            return Err(Errno::ENOSPC);
        }
        if !self.state.take(xattr_counted(name.len(), value.len())) {
            return Err(Errno::ENOSPC);
        }
        self.state.give_back(old.map_or(0, |old| xattr_counted(name.len(), old)));
        xattrs.insert(name.to_vec(), value.to_vec());
        node.touch();
        Ok(())
    }

    async fn remove_xattr(&self, node: &Node, name: &[u8]) -> Result<()> {
        let value = node.xattrs.borrow_mut().remove(name).ok_or(Errno::ENODATA)?;
        self.state.give_back(xattr_counted(name.len(), value.len()));
        node.touch();
        Ok(())
    }
}

impl MemoryTree {
    /// A new file in `dir`.
    pub(super) fn add(&self, dir: &Node, name: &[u8], new: Option<New<'_>>, owner: Owner) -> Result<Node> {
        if dir.directory()?.get(name).is_some() {
            return Err(Errno::EEXIST);
        }
        dir.live_directory()?;
        let node = Inode::make_in(dir, new, owner)?;
        self.insert(dir, name, &node)?;
        Ok(node)
    }

    /// Gives `node` a name that is free.
    pub(super) fn insert(&self, dir: &Node, name: &[u8], node: &Node) -> Result<()> {
        let directory = dir.live_directory()?;
        if !self.state.take(ENTRY_BYTES + name.len() as u64) {
            return Err(Errno::ENOSPC);
        }
        directory.insert(name, node.clone());
        if node.is_directory() {
            dir.update(|meta| meta.nlink += 1);
        } else {
            node.update(|meta| meta.nlink += 1);
            node.touch();
        }
        dir.modified();
        Ok(())
    }

    fn parent_of(&self, directory: &Directory, node: &Node) -> Node {
        let parent = Node::upgrade(&directory.parent.borrow());
        parent.unwrap_or_else(|| if *node == self.root { node.clone() } else { self.root.clone() })
    }

    /// Whether `dir` is `ancestor` or below it.
    fn is_within(&self, dir: &Node, ancestor: &Node) -> bool {
        let mut at = dir.clone();
        loop {
            if at == *ancestor {
                return true;
            }
            let parent = at.directory().ok().and_then(|directory| Node::upgrade(&directory.parent.borrow()));
            match parent {
                Some(parent) => at = parent,
                None => return false,
            }
        }
    }
}

/// `node` has lost a name in `dir`.
fn unlinked(node: &Node, dir: &Node) {
    if node.is_directory() {
        node.update(|meta| meta.nlink = 0);
        dir.update(|meta| meta.nlink -= 1);
    } else {
        node.update(|meta| meta.nlink -= 1);
    }
    node.touch();
}
