//! The tree seen from outside the guest, by path, also while the guest runs.

use super::MemoryTree;
use super::inode::{Body, Node};
use crate::tree::{New, Owner};
use crate::wire::Stat;
use crate::{Errno, Result};

/// What is made from outside belongs to root.
const DIRECTORY: Owner = Owner { mode: 0o755, uid: 0, gid: 0 };

/// Paths are relative to the root and separated by `/`; empty and `.` components mean nothing, `..` is EINVAL, and symbolic
/// links are not followed (ENOTDIR behind one).
impl MemoryTree {
    /// Puts a regular file there, with directories to it as needed: what is at the path keeps its identity, owner and
    /// names, and gets these contents and permission bits. EISDIR, ENOTDIR, ENOSPC (then the file may be cut off).
    pub fn put(&self, path: &[u8], contents: &[u8], mode: u32) -> Result<()> {
        let (dir, name) = self.directory_of(path)?;
        let node = match dir.directory()?.get(name) {
            Some(node) => node,
            None => self.add(&dir, name, None, Owner { mode, ..DIRECTORY })?,
        };
        let content = node.content()?;
        let written = {
            let mut content = content.borrow_mut();
            content.truncate(0)?;
            content.write(0, contents)?
        };
        node.update(|meta| meta.mode = meta.mode & super::super::mode::TYPE | mode & super::super::mode::BITS);
        node.modified();
        node.changes.set(node.changes.get().wrapping_add(1));
        if written == contents.len() { Ok(()) } else { Err(Errno::ENOSPC) }
    }

    /// The contents of a regular file: ENOENT, EISDIR, EINVAL for other types, ENOMEM.
    pub fn get(&self, path: &[u8]) -> Result<Vec<u8>> {
        let node = self.at(path)?;
        let content = node.content()?.borrow();
        let size = usize::try_from(content.size()).map_err(|_| Errno::ENOMEM)?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(size).map_err(|_| Errno::ENOMEM)?;
        content.read(0, size, &mut bytes);
        Ok(bytes)
    }

    /// Names and attributes of what is in a directory, in the order of names.
    pub fn list(&self, path: &[u8]) -> Result<Vec<(Vec<u8>, Stat)>> {
        let node = self.at(path)?;
        let mut found = Vec::new();
        node.directory()?.visit(0, |_, name, node| {
            found.push((name.to_vec(), node.stat()));
            true
        });
        found.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(found)
    }

    /// What stat tells of a path.
    pub fn stat_path(&self, path: &[u8]) -> Result<Stat> {
        Ok(self.at(path)?.stat())
    }

    /// What a symbolic link points to: EINVAL if it is none.
    pub fn link_target(&self, path: &[u8]) -> Result<Vec<u8>> {
        match &self.at(path)?.body {
            Body::Symlink(target) => Ok(target.clone()),
            _ => Err(Errno::EINVAL),
        }
    }

    /// Makes a directory and those to it; nothing where they are.
    pub fn make_directories(&self, path: &[u8]) -> Result<()> {
        self.directories(components(path)?).map(drop)
    }

    /// Makes a symbolic link, with directories to it as needed: EEXIST.
    pub fn symlink(&self, path: &[u8], target: &[u8]) -> Result<()> {
        let (dir, name) = self.directory_of(path)?;
        self.add(&dir, name, Some(New::Symlink(target)), Owner { mode: 0o777, ..DIRECTORY }).map(drop)
    }

    pub(super) fn at(&self, path: &[u8]) -> Result<Node> {
        let mut node = self.root.clone();
        for name in components(path)? {
            let next = node.directory()?.get(name).ok_or(Errno::ENOENT)?;
            node = next;
        }
        Ok(node)
    }

    pub(super) fn directory_of<'a>(&self, path: &'a [u8]) -> Result<(Node, &'a [u8])> {
        let mut names = components(path)?;
        let name = names.pop().ok_or(Errno::EISDIR)?;
        Ok((self.directories(names)?, name))
    }

    fn directories(&self, names: Vec<&[u8]>) -> Result<Node> {
        let mut node = self.root.clone();
        for name in names {
            let found = node.directory()?.get(name);
            node = match found {
                Some(next) => next,
                None => self.add(&node, name, Some(New::Directory), DIRECTORY)?,
            };
            node.directory()?;
        }
        Ok(node)
    }
}

fn components(path: &[u8]) -> Result<Vec<&[u8]>> {
    let mut names = Vec::new();
    for name in path.split(|&byte| byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => return Err(Errno::EINVAL),
            _ if name.len() > 255 => return Err(Errno::ENAMETOOLONG),
            _ if name.contains(&0) => return Err(Errno::EINVAL),
            _ => names.push(name),
        }
    }
    Ok(names)
}
