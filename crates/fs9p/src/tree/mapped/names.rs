//! Links, removals and renames: a name and what is kept of it go together.

use super::operations::kept;
use super::{FileTree, MappedTree, Node, is_hidden};
use crate::tree::{DirWriter, Flags, Owner};
use crate::wire::{self, qid_type};
use crate::{Errno, Result};
use std::rc::Rc;

/// Bytes of directory entries that are read at once.
const ENTRIES: usize = 32 << 10;

impl<T: FileTree> MappedTree<T> {
    /// Another name for `node`. What is kept of it is in one file from now on, whatever name it is changed by.
    pub(super) async fn add_link(&self, node: &Node<T>, dir: &Node<T>, name: &[u8]) -> Result<()> {
        self.below.link(&node.below(), &dir.below(), name).await?;
        let linked = self.link_metadata(node, dir, name).await;
        match linked {
            Ok(()) => node.add_name(dir, name),
            Err(_) => self.below.unlink(&dir.below(), name, false).await?,
        }
        linked
    }

    async fn link_metadata(&self, node: &Node<T>, dir: &Node<T>, name: &[u8]) -> Result<()> {
        let stat = self.stat(node, None).await?;
        let owner = Owner { mode: stat.mode, uid: stat.uid, gid: stat.gid };
        self.save(node, None, kept(owner, stat.rdev)).await?;
        let old = node.0.names.borrow().last().cloned();
        let Some((old_dir, old_name)) = old else { return Err(Errno::ENOENT) };
        let (Some(from), Some(to)) = (self.store(&old_dir, false).await?, self.store(dir, true).await?) else {
            return Err(Errno::EIO);
        };
        let file = self.below.lookup(&from, &old_name).await?;
        match self.below.link(&file, &to, name).await {
            // of a file that was removed by somebody else
            Err(Errno::EEXIST) => {
                self.below.unlink(&to, name, false).await?;
                self.below.link(&file, &to, name).await
            }
            linked => linked,
        }
    }

    pub(super) async fn remove(&self, dir: &Node<T>, name: &[u8], directory: bool) -> Result<()> {
        let (below, known) = self.known_at(dir, name).await?;
        if directory && self.below.qid(&below).kind & qid_type::DIR != 0 {
            self.clear(&below).await?;
        }
        self.below.unlink(&dir.below(), name, directory).await?;
        self.lost(known, dir, name);
        self.forget(dir, name).await
    }

    pub(super) async fn move_name(&self, from: (&Node<T>, &[u8]), to: (&Node<T>, &[u8])) -> Result<()> {
        // what cannot be found is for the rename below to say, which knows what comes first
        let source = self.known_at(from.0, from.1).await.ok();
        let target = self.known_at(to.0, to.1).await.ok();
        let is_directory = |node: &T::Node| self.below.qid(node).kind & qid_type::DIR != 0;
        if let (Some((source, _)), Some((target, _))) = (&source, &target) {
            if target == source {
                return Ok(()); // two names of one file stay: rename(2)
            }
            // only what is empty is replaced
            if is_directory(source) && is_directory(target) && !self.is_within(to.0, source) {
                self.clear(target).await?;
            }
        }
        self.below.rename((&from.0.below(), from.1), (&to.0.below(), to.1)).await?;
        self.lost(target.and_then(|(_, known)| known), to.0, to.1);
        if let Some(moved) = source.and_then(|(_, known)| known) {
            moved.drop_name(from.0, from.1);
            moved.add_name(to.0, to.1);
        }
        self.move_metadata(from, to).await
    }

    async fn move_metadata(&self, from: (&Node<T>, &[u8]), to: (&Node<T>, &[u8])) -> Result<()> {
        let Some(source) = self.store(from.0, false).await? else { return self.forget(to.0, to.1).await };
        match self.below.lookup(&source, from.1).await {
            Err(Errno::ENOENT) => return self.forget(to.0, to.1).await,
            found => found.map(drop)?,
        }
        let target = self.store(to.0, true).await?.ok_or(Errno::EIO)?;
        self.below.rename((&source, from.1), (&target, to.1)).await
    }

    /// Whether `dir` is `above` or below it.
    fn is_within(&self, dir: &Node<T>, above: &T::Node) -> bool {
        let mut at = Some(dir.clone());
        while let Some(dir) = at {
            if *dir.0.below.borrow() == *above {
                return true;
            }
            at = dir.0.names.borrow().last().map(|(parent, _)| parent.clone());
        }
        false
    }

    /// A file has lost a name. With its last one its number is free for another.
    fn lost(&self, known: Option<Node<T>>, dir: &Node<T>, name: &[u8]) {
        let Some(node) = known else { return };
        node.drop_name(dir, name);
        if node.0.names.borrow().is_empty() {
            let number = self.below.qid(&node.0.below.borrow()).path;
            let mut files = self.files.borrow_mut();
            if files.get(&number).and_then(|file| file.upgrade()).is_some_and(|file| Rc::ptr_eq(&file, &node.0)) {
                files.remove(&number);
            }
        }
    }

    /// Removes what is kept in a directory of which the guest sees nothing else: ENOTEMPTY if it does.
    async fn clear(&self, dir: &T::Node) -> Result<()> {
        let names = self.names(dir).await?;
        if names.iter().any(|name| !is_hidden(name)) {
            return Err(Errno::ENOTEMPTY);
        }
        for name in names {
            let node = self.below.lookup(dir, &name).await?;
            let is_directory = self.below.qid(&node).kind & qid_type::DIR != 0;
            if is_directory {
                for left in self.names(&node).await? {
                    self.below.unlink(&node, &left, false).await?;
                }
            }
            self.below.unlink(dir, &name, is_directory).await?;
        }
        Ok(())
    }

    /// All names in a directory of the tree below.
    async fn names(&self, dir: &T::Node) -> Result<Vec<Vec<u8>>> {
        let open = self.below.open(dir, Flags::DIRECTORY).await?;
        let (mut names, mut offset) = (Vec::new(), 0);
        loop {
            let mut bytes = Vec::new();
            self.below.read_dir(&open, offset, &mut DirWriter::new(&mut bytes, ENTRIES)).await?;
            if bytes.is_empty() {
                return Ok(names);
            }
            for entry in wire::entries(&bytes) {
                let entry = entry.ok_or(Errno::EIO)?;
                offset = entry.offset;
                if entry.name != b"." && entry.name != b".." {
                    names.push(entry.name.to_vec());
                }
            }
        }
    }
}
