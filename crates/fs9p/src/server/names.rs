//! Names: how files are found, made, renamed and removed.

use super::fids::{Fid, State};
use super::session::Session;
use crate::tree::{Flags, New, Owner, SetXattr, device, mode};
use crate::wire::{self, Qid};
use crate::{Errno, FileTree, Result};
use std::rc::Rc;

/// The greatest length of a name in bytes (`NAME_MAX`), and of a link's target (`PATH_MAX` less its NUL).
const NAME_MAX: usize = 255;
const TARGET_MAX: usize = 4095;
/// Who attaches without a number: nobody.
const NOBODY: u32 = 65534;

/// Whether `name` can be a name: ENOENT as with QEMU, ENAMETOOLONG.
pub fn check(name: &[u8]) -> Result<()> {
    match name {
        _ if name.is_empty() || name.contains(&b'/') || name.contains(&0) => Err(Errno::ENOENT),
        _ if name.len() > NAME_MAX => Err(Errno::ENAMETOOLONG),
        _ => Ok(()),
    }
}

/// [`check`], for a name that is to be made: EEXIST for `.` and `..`.
pub fn check_new(name: &[u8]) -> Result<()> {
    check(name)?;
    if is_dots(name) { Err(Errno::EEXIST) } else { Ok(()) }
}

fn is_dots(name: &[u8]) -> bool {
    name == b"." || name == b".."
}

impl<T: FileTree> Session<T> {
    /// `aname` is a path in the tree, of directories: what the client has for its root.
    pub async fn attach(&self, fid: u32, afid: u32, aname: &[u8], n_uname: u32) -> Result<Qid> {
        if afid != wire::NOFID {
            return Err(Errno::EINVAL); // nobody was authenticated
        }
        self.fids.check_free(fid)?;
        let mut node = self.tree.root().await?;
        for name in aname.split(|&byte| byte == b'/').filter(|name| !name.is_empty()) {
            check(name)?;
            if is_dots(name) {
                return Err(Errno::ENOENT);
            }
            node = self.tree.lookup(&node, name).await?;
        }
        let qid = self.tree.qid(&node);
        let uid = if n_uname == wire::NONUNAME { NOBODY } else { n_uname };
        self.fids.insert(fid, Fid::new(node, uid, None))?;
        Ok(qid)
    }

    /// walk(5): as many qids as names were found, an error if that is none; `newfid` is the last file only if all were.
    pub async fn walk(&self, fid: u32, newfid: u32, names: &[&[u8]]) -> Result<Vec<Qid>> {
        let from = self.fids.get(fid)?;
        if newfid == fid {
            if !from.is_walked() {
                return Err(Errno::EINVAL);
            }
        } else {
            self.fids.check_free(newfid)?;
        }
        let mut qids = Vec::with_capacity(names.len());
        let mut file = Fid::new(from.node.clone(), from.uid, from.entry.borrow().clone());
        for name in names {
            match self.step(&file, name).await {
                Ok(next) => file = next,
                Err(errno) if qids.is_empty() => return Err(errno),
                Err(_) => return Ok(qids),
            }
            qids.push(self.tree.qid(&file.node));
        }
        if newfid == fid {
            self.fids.replace(fid, &from, file)?
        } else {
            self.fids.insert(newfid, file)?
        }
        Ok(qids)
    }

    async fn step(&self, from: &Fid<T>, name: &[u8]) -> Result<Fid<T>> {
        check(name)?;
        if self.tree.qid(&from.node).kind & wire::qid_type::DIR == 0 {
            return Err(Errno::ENOTDIR);
        }
        Ok(match name {
            b"." => Fid::new(from.node.clone(), from.uid, from.entry.borrow().clone()),
            b".." => Fid::new(self.tree.parent(&from.node).await?, from.uid, None),
            _ => {
                let node = self.tree.lookup(&from.node, name).await?;
                Fid::new(node, from.uid, Some((from.node.clone(), name.to_vec())))
            }
        })
    }

    /// The fid is gone whatever happens. An extended attribute that it has collected is set.
    pub async fn clunk(&self, fid: u32) -> Result<()> {
        let file = self.fids.remove(fid)?;
        self.locks.borrow_mut().closed(fid);
        let State::NewXattr(new) = file.state() else { return Ok(()) };
        let value = new.complete()?;
        match new.how() {
            None => self.tree.remove_xattr(&file.node, &new.name).await,
            Some(how) => self.tree.set_xattr(&file.node, &new.name, &value, how).await,
        }
    }

    pub async fn mkdir(&self, dfid: u32, name: &[u8], mode: u32, gid: u32) -> Result<Qid> {
        // mkdir(2) takes these bits; the set-group-ID bit comes from the directory above
        self.make(dfid, name, New::Directory, mode & 0o1777, gid).await
    }

    pub async fn symlink(&self, fid: u32, name: &[u8], target: &[u8], gid: u32) -> Result<Qid> {
        match target {
            [] => Err(Errno::ENOENT),
            _ if target.len() > TARGET_MAX => Err(Errno::ENAMETOOLONG),
            _ if target.contains(&0) => Err(Errno::EINVAL),
            _ => self.make(fid, name, New::Symlink(target), 0o777, gid).await,
        }
    }

    /// mknod(2): a file without a type is a regular one.
    pub async fn mknod(&self, dfid: u32, name: &[u8], new: (u32, u32, u32), gid: u32) -> Result<Qid> {
        let (mode, major, minor) = new;
        let special = |kind, rdev| self.make(dfid, name, New::Node(kind, rdev), mode, gid);
        match mode & mode::TYPE {
            0 | mode::REGULAR => {
                check_new(name)?;
                let dir = self.fids.get(dfid)?;
                let owner = Owner { mode: mode & mode::BITS, uid: dir.uid, gid };
                let (node, _) = self.tree.create(&dir.node, name, Flags::EXCL | Flags::RDWR, owner).await?;
                Ok(self.tree.qid(&node))
            }
            kind @ (mode::CHAR | mode::BLOCK) => special(kind, device(major, minor)).await,
            kind @ (mode::FIFO | mode::SOCKET) => special(kind, 0).await,
            mode::DIRECTORY => Err(Errno::EPERM),
            _ => Err(Errno::EINVAL),
        }
    }

    async fn make(&self, dfid: u32, name: &[u8], new: New<'_>, mode: u32, gid: u32) -> Result<Qid> {
        check_new(name)?;
        let dir = self.fids.get(dfid)?;
        let owner = Owner { mode: mode & mode::BITS, uid: dir.uid, gid };
        Ok(self.tree.qid(&self.tree.make(&dir.node, name, new, owner).await?))
    }

    pub async fn link(&self, dfid: u32, fid: u32, name: &[u8]) -> Result<()> {
        check_new(name)?;
        let (dir, file) = (self.fids.get(dfid)?, self.fids.get(fid)?);
        self.tree.link(&file.node, &dir.node, name).await
    }

    /// unlinkat(2): EINVAL for flags that nobody has defined.
    pub async fn unlink_at(&self, dirfd: u32, name: &[u8], flags: u32) -> Result<()> {
        check(name)?;
        let dir = self.fids.get(dirfd)?;
        let directory = match flags {
            0 => false,
            wire::AT_REMOVEDIR => true,
            _ => return Err(Errno::EINVAL),
        };
        match name {
            b"." => Err(Errno::EINVAL),
            b".." => Err(Errno::ENOTEMPTY),
            _ => self.tree.unlink(&dir.node, name, directory).await,
        }
    }

    /// remove(5): the fid is gone whatever happens.
    pub async fn remove(&self, fid: u32) -> Result<()> {
        let file = self.fids.remove(fid)?;
        self.locks.borrow_mut().closed(fid);
        let (dir, name) = self.entry(&file).await?;
        let directory = self.tree.qid(&file.node).kind & wire::qid_type::DIR != 0;
        self.tree.unlink(&dir, &name, directory).await
    }

    pub async fn rename(&self, fid: u32, dfid: u32, name: &[u8]) -> Result<()> {
        let (file, to) = (self.fids.get(fid)?, self.fids.get(dfid)?);
        let (dir, old) = self.entry(&file).await?;
        self.rename_in((&dir, &old), (&to.node, name)).await
    }

    pub async fn rename_at(&self, from: (u32, &[u8]), to: (u32, &[u8])) -> Result<()> {
        let (from_dir, to_dir) = (self.fids.get(from.0)?, self.fids.get(to.0)?);
        self.rename_in((&from_dir.node, from.1), (&to_dir.node, to.1)).await
    }

    async fn rename_in(&self, from: (&T::Node, &[u8]), to: (&T::Node, &[u8])) -> Result<()> {
        check(from.1)?;
        check(to.1)?;
        if is_dots(from.1) || is_dots(to.1) {
            return Err(Errno::EBUSY);
        }
        self.tree.rename(from, to).await?;
        self.fids.renamed(from, to);
        Ok(())
    }

    /// The directory and name of a file: EINVAL if it was not found by one, ESTALE if another file has it now.
    async fn entry(&self, file: &Rc<Fid<T>>) -> Result<(T::Node, Vec<u8>)> {
        let entry = file.entry.borrow().clone();
        let (dir, name) = entry.ok_or(Errno::EINVAL)?;
        match self.tree.lookup(&dir, &name).await? {
            node if node == file.node => Ok((dir, name)),
            _ => Err(Errno::ESTALE),
        }
    }
}

/// How a flag word of `Txattrcreate` sets: EINVAL for both at once or others.
pub fn xattr_flags(flags: u32) -> Result<SetXattr> {
    match flags {
        0 => Ok(SetXattr::Either),
        wire::XATTR_CREATE => Ok(SetXattr::Create),
        wire::XATTR_REPLACE => Ok(SetXattr::Replace),
        _ => Err(Errno::EINVAL),
    }
}
