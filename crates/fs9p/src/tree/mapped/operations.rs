//! The tree's operations.

use super::metadata::Metadata;
use super::{MappedTree, Node, ROOT, is_hidden, plain};
use crate::tree::{DirWriter, FileTree, Flags, New, Owner, SetXattr, mode, rules};
use crate::wire::{self, Qid, SetAttr, Stat, StatFs, qid_type, setattr};
use crate::{Errno, Result};

/// Bytes of a symbolic link's target at most, as in Linux.
const TARGET_MAX: usize = 4096;
/// Room for any directory entry: one that is hidden may be longer than those that are wanted.
const ENTRY: usize = 512;
/// What is changed in metadata, not in the file below.
const KEPT: u32 = setattr::MODE | setattr::UID | setattr::GID;

impl<T: FileTree> FileTree for MappedTree<T> {
    type Node = Node<T>;
    type Handle = T::Handle;

    async fn root(&self) -> Result<Node<T>> {
        let _turn = self.turn.take().await;
        let below = self.below.root().await?;
        let metadata = self.load_from(&below, ROOT).await?;
        Ok(self.known(below, metadata, None))
    }

    fn qid(&self, node: &Node<T>) -> Qid {
        let qid = self.below.qid(&node.0.below.borrow());
        match qid.kind {
            qid_type::FILE => Qid { kind: mode::qid_type(node.0.metadata.get().mode_of(mode::REGULAR)), ..qid },
            _ => qid,
        }
    }

    async fn lookup(&self, dir: &Node<T>, name: &[u8]) -> Result<Node<T>> {
        if is_hidden(name) {
            return Err(Errno::ENOENT);
        }
        let _turn = self.turn.take().await;
        self.find(dir, name).await
    }

    async fn parent(&self, dir: &Node<T>) -> Result<Node<T>> {
        let parent = dir.0.names.borrow().last().map(|(parent, _)| parent.clone());
        match parent {
            Some(parent) => Ok(parent),
            None if dir.0.is_root => Ok(dir.clone()),
            None => self.root().await,
        }
    }

    async fn stat(&self, node: &Node<T>, open: Option<&T::Handle>) -> Result<Stat> {
        let mut stat = self.below.stat(&node.below(), open).await?;
        node.0.metadata.get().apply(&mut stat);
        // one of the directories in it is not the guest's
        if stat.mode & mode::TYPE == mode::DIRECTORY && stat.nlink > 2 && self.store(node, false).await?.is_some() {
            stat.nlink -= 1;
        }
        Ok(stat)
    }

    async fn set_attr(&self, node: &Node<T>, open: Option<&T::Handle>, changes: &SetAttr) -> Result<()> {
        let _turn = self.turn.take().await;
        let is = |bit| changes.valid & bit != 0;
        let kind = self.kind(node);
        if is(setattr::MODE) && kind == mode::SYMLINK {
            return Err(Errno::EOPNOTSUPP);
        }
        match kind {
            mode::REGULAR => {}
            mode::DIRECTORY if is(setattr::SIZE) => return Err(Errno::EISDIR),
            _ if is(setattr::SIZE) => return Err(Errno::EINVAL),
            _ => {}
        }
        let valid = changes.valid & !KEPT;
        if valid & !setattr::CTIME != 0 {
            let changes = SetAttr { valid, ..*changes };
            self.below.set_attr(&node.below(), open, &changes).await?;
        }
        if !is(KEPT) {
            return Ok(());
        }
        let mut stat = self.below.stat(&node.below(), open).await?;
        let again = SetAttr { valid: setattr::MODE, mode: stat.mode & mode::BITS, ..*changes };
        node.0.metadata.get().apply(&mut stat);
        let new = rules::change(Owner { mode: stat.mode, uid: stat.uid, gid: stat.gid }, changes);
        self.save(node, open, kept(new, stat.rdev)).await?;
        // for the time of the change; who may not do that to the file below has only to do without
        let _ = self.below.set_attr(&node.below(), open, &again).await;
        Ok(())
    }

    async fn read_link(&self, node: &Node<T>) -> Result<Vec<u8>> {
        let below = node.below();
        if self.kind(node) != mode::SYMLINK || self.below.qid(&below).kind == qid_type::SYMLINK {
            return self.read_hosts_link(node, &below).await;
        }
        let file = self.below.open(&below, Flags::empty()).await?;
        let mut target = Vec::new();
        self.below.read(&file, 0, TARGET_MAX, &mut target).await?;
        Ok(target)
    }

    async fn stat_fs(&self) -> Result<StatFs> {
        self.below.stat_fs().await
    }

    async fn open(&self, node: &Node<T>, flags: Flags) -> Result<T::Handle> {
        match self.kind(node) {
            mode::REGULAR | mode::DIRECTORY => {}
            _ if flags.contains(Flags::DIRECTORY) => return Err(Errno::ENOTDIR),
            mode::SYMLINK => return Err(Errno::ELOOP),
            _ => return Err(Errno::ENXIO), // the guest's kernel opens these itself
        }
        self.below.open(&node.below(), flags).await
    }

    async fn create(&self, dir: &Node<T>, name: &[u8], flags: Flags, owner: Owner) -> Result<(Node<T>, T::Handle)> {
        check(name)?;
        let _turn = self.turn.take().await;
        let made = self.below.create(&dir.below(), name, flags | Flags::EXCL, plain(self.modes.file)).await;
        let (below, handle) = match made {
            Err(Errno::EEXIST) if !flags.contains(Flags::EXCL) => {
                let node = self.find(dir, name).await?;
                if self.kind(&node) == mode::DIRECTORY {
                    return Err(Errno::EISDIR);
                }
                let handle = self.open(&node, flags).await?;
                return Ok((node, handle));
            }
            made => made?,
        };
        let node = self.made(dir, name, below, mode::REGULAR, 0, owner).await?;
        Ok((node, handle))
    }

    async fn read(&self, file: &T::Handle, offset: u64, count: usize, to: &mut Vec<u8>) -> Result<()> {
        self.below.read(file, offset, count, to).await
    }

    async fn write(&self, file: &T::Handle, offset: u64, data: &[u8]) -> Result<usize> {
        self.below.write(file, offset, data).await
    }

    async fn read_dir(&self, dir: &T::Handle, offset: u64, to: &mut DirWriter<'_>) -> Result<()> {
        let mut offset = offset;
        loop {
            let mut bytes = Vec::new();
            let mut part = DirWriter::new(&mut bytes, to.room().max(ENTRY));
            self.below.read_dir(dir, offset, &mut part).await?;
            if part.is_full() && bytes.is_empty() {
                to.refuse();
            }
            let (mut seen, mut shown) = (false, false);
            for entry in wire::entries(&bytes) {
                let entry = entry.ok_or(Errno::EIO)?;
                (seen, offset) = (true, entry.offset);
                // what a regular file stands for is not looked up here: DT_UNKNOWN
                let kind = if entry.qid.kind == qid_type::FILE { 0 } else { u32::from(entry.kind) << 12 };
                if !is_hidden(entry.name) {
                    shown = true;
                    if !to.push(entry.qid, entry.offset, kind, entry.name) {
                        return Ok(());
                    }
                }
            }
            if shown || !seen {
                return Ok(());
            }
        }
    }

    async fn sync(&self, file: &T::Handle, data_only: bool) -> Result<()> {
        self.below.sync(file, data_only).await
    }

    async fn make(&self, dir: &Node<T>, name: &[u8], new: New<'_>, owner: Owner) -> Result<Node<T>> {
        check(name)?;
        let _turn = self.turn.take().await;
        let below = dir.below();
        let (made, kind, rdev) = match new {
            New::Directory => {
                let made = self.below.make(&below, name, New::Directory, plain(self.modes.directory)).await?;
                (made, mode::DIRECTORY, 0)
            }
            New::Symlink(target) => (self.make_plain(&below, name, target).await?, mode::SYMLINK, 0),
            New::Node(kind, rdev) => (self.make_plain(&below, name, b"").await?, kind & mode::TYPE, rdev),
        };
        self.made(dir, name, made, kind, rdev, owner).await
    }

    async fn link(&self, node: &Node<T>, dir: &Node<T>, name: &[u8]) -> Result<()> {
        check(name)?;
        let _turn = self.turn.take().await;
        self.add_link(node, dir, name).await
    }

    async fn unlink(&self, dir: &Node<T>, name: &[u8], directory: bool) -> Result<()> {
        if is_hidden(name) {
            return Err(Errno::ENOENT);
        }
        let _turn = self.turn.take().await;
        self.remove(dir, name, directory).await
    }

    async fn rename(&self, from: (&Node<T>, &[u8]), to: (&Node<T>, &[u8])) -> Result<()> {
        if is_hidden(from.1) {
            return Err(Errno::ENOENT);
        }
        check(to.1)?;
        let _turn = self.turn.take().await;
        self.move_name(from, to).await
    }

    async fn xattr(&self, node: &Node<T>, name: &[u8]) -> Result<Vec<u8>> {
        self.below.xattr(&node.below(), name).await
    }

    async fn list_xattrs(&self, node: &Node<T>) -> Result<Vec<u8>> {
        self.below.list_xattrs(&node.below()).await
    }

    async fn set_xattr(&self, node: &Node<T>, name: &[u8], value: &[u8], how: SetXattr) -> Result<()> {
        self.below.set_xattr(&node.below(), name, value, how).await
    }

    async fn remove_xattr(&self, node: &Node<T>, name: &[u8]) -> Result<()> {
        self.below.remove_xattr(&node.below(), name).await
    }
}

impl<T: FileTree> MappedTree<T> {
    /// The type bits of a file's mode. Files of the host's that are neither regular nor links count as regular here: the host
    /// says itself what they are when it is asked.
    fn kind(&self, node: &Node<T>) -> u32 {
        match self.below.qid(&node.0.below.borrow()).kind {
            qid_type::FILE => node.0.metadata.get().mode_of(mode::REGULAR) & mode::TYPE,
            qid_type::SYMLINK => mode::SYMLINK,
            _ => mode::DIRECTORY,
        }
    }

    async fn find(&self, dir: &Node<T>, name: &[u8]) -> Result<Node<T>> {
        let below = self.below.lookup(&dir.below(), name).await?;
        let metadata = self.load(dir, name).await?;
        Ok(self.known(below, metadata, Some((dir, name))))
    }

    async fn read_hosts_link(&self, node: &Node<T>, below: &T::Node) -> Result<Vec<u8>> {
        match self.kind(node) {
            mode::SYMLINK => self.below.read_link(below).await,
            _ => Err(Errno::EINVAL),
        }
    }

    /// A new regular file of the tree below with these bytes.
    async fn make_plain(&self, dir: &T::Node, name: &[u8], bytes: &[u8]) -> Result<T::Node> {
        let flags = Flags::WRONLY | Flags::EXCL;
        let (node, file) = self.below.create(dir, name, flags, plain(self.modes.file)).await?;
        if let Err(error) = self.write_all(&file, bytes).await {
            drop(file);
            self.below.unlink(dir, name, false).await?;
            return Err(error);
        }
        Ok(node)
    }

    /// What was made below becomes the guest's; it is removed if that cannot be kept.
    async fn made(
        &self,
        dir: &Node<T>,
        name: &[u8],
        below: T::Node,
        kind: u32,
        rdev: u32,
        owner: Owner,
    ) -> Result<Node<T>> {
        let keep = async {
            let above = self.stat(dir, None).await?;
            let owner = rules::inherit((above.mode, above.gid), kind, owner);
            let metadata = kept(Owner { mode: kind | owner.mode & mode::BITS, ..owner }, rdev.into());
            self.save_as(dir, name, metadata, true).await?;
            Ok(metadata)
        };
        match keep.await {
            Ok(metadata) => Ok(self.new_file(below, metadata, Some((dir, name)))),
            Err(error) => {
                self.below.unlink(&dir.below(), name, kind == mode::DIRECTORY).await?;
                Err(error)
            }
        }
    }
}

/// What is kept of a file that the guest is to see like this; the mode has the type.
pub fn kept(file: Owner, rdev: u64) -> Metadata {
    let device = matches!(file.mode & mode::TYPE, mode::CHAR | mode::BLOCK);
    let rdev = device.then_some(rdev as u32); // 32 bits, see `device`
    Metadata { uid: Some(file.uid), gid: Some(file.gid), mode: Some(file.mode), rdev }
}

/// EINVAL, as with QEMU, for names that are not for the guest.
fn check(name: &[u8]) -> Result<()> {
    if is_hidden(name) { Err(Errno::EINVAL) } else { Ok(()) }
}
