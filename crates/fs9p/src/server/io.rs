//! Files that are open: data and directory entries.

use super::fids::{Fid, State};
use super::names;
use super::session::Session;
use crate::tree::{DirWriter, Flags, Owner, mode};
use crate::wire::{self, DATA_HEADER, Field, Qid};
use crate::{Errno, FileTree, Result};
use std::rc::Rc;

impl<T: FileTree> Session<T> {
    /// EINVAL if the fid is in use for something already.
    pub async fn open(&self, fid: u32, flags: u32) -> Result<Qid> {
        let file = self.fids.get(fid)?;
        if !file.is_walked() {
            return Err(Errno::EINVAL);
        }
        let flags = Flags::from_bits_retain(flags) - Flags::CREATE - Flags::EXCL;
        let handle = self.tree.open(&file.node, flags).await?;
        *file.state.borrow_mut() = State::Open(Rc::new(handle));
        Ok(self.tree.qid(&file.node))
    }

    /// The fid of a directory becomes that of the new file in it.
    pub async fn create(&self, fid: u32, name: &[u8], flags: u32, mode: u32, gid: u32) -> Result<Qid> {
        names::check_new(name)?;
        let dir = self.fids.get(fid)?;
        if !dir.is_walked() {
            return Err(Errno::EINVAL);
        }
        let flags = Flags::from_bits_retain(flags) - Flags::CREATE;
        let owner = Owner { mode: mode & mode::BITS, uid: dir.uid, gid };
        let (node, handle) = self.tree.create(&dir.node, name, flags, owner).await?;
        let file = Fid::new(node, dir.uid, Some((dir.node.clone(), name.to_vec())));
        *file.state.borrow_mut() = State::Open(Rc::new(handle));
        let qid = self.tree.qid(&file.node);
        self.fids.replace(fid, &dir, file)?;
        Ok(qid)
    }

    /// `Rread`, whole.
    pub async fn read(&self, tag: u16, fid: u32, offset: u64, count: u32) -> Result<Vec<u8>> {
        let count = self.room(count);
        let mut reply = begin(wire::RREAD, tag, 0);
        match self.fids.get(fid)?.state() {
            State::Open(handle) => self.tree.read(&handle, offset, count, &mut reply).await?,
            State::Xattr(value) => value.read(offset, count, &mut reply),
            State::Walked | State::NewXattr(_) => return Err(Errno::EBADF),
        }
        Ok(finish(reply))
    }

    pub async fn write(&self, fid: u32, offset: u64, data: &[u8]) -> Result<u32> {
        match self.fids.get(fid)?.state() {
            State::Open(handle) => Ok(self.tree.write(&handle, offset, data).await? as u32),
            State::NewXattr(new) => new.write(offset, data),
            State::Walked | State::Xattr(_) => Err(Errno::EBADF),
        }
    }

    /// `Rreaddir`, whole: EINVAL if `count` is too small for the next entry, as with getdents(2).
    pub async fn read_dir(&self, tag: u16, fid: u32, offset: u64, count: u32) -> Result<Vec<u8>> {
        let State::Open(handle) = self.fids.get(fid)?.state() else {
            return Err(Errno::EBADF);
        };
        let room = self.room(count);
        let mut reply = begin(wire::RREADDIR, tag, room);
        let mut entries = DirWriter::new(&mut reply, room);
        self.tree.read_dir(&handle, offset, &mut entries).await?;
        let full = entries.is_full();
        if full && reply.len() == DATA_HEADER { Err(Errno::EINVAL) } else { Ok(finish(reply)) }
    }

    /// What is not open has nothing that is not written.
    pub async fn sync(&self, fid: u32, data_only: bool) -> Result<()> {
        match self.fids.get(fid)?.state() {
            State::Open(handle) => self.tree.sync(&handle, data_only).await,
            _ => Err(Errno::EBADF),
        }
    }
}

/// A reply with data, up to these.
fn begin(kind: u8, tag: u16, room: usize) -> Vec<u8> {
    let mut reply = wire::begin(kind, tag, room + 4);
    0_u32.put(&mut reply);
    reply
}

/// Writes the sizes of the message and of its data.
fn finish(mut reply: Vec<u8>) -> Vec<u8> {
    let count = reply.len().saturating_sub(DATA_HEADER) as u32;
    if let Some(field) = reply.get_mut(wire::HEADER..DATA_HEADER) {
        field.copy_from_slice(&count.to_le_bytes());
    }
    wire::finish(&mut reply);
    reply
}
