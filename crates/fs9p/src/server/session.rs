//! What one client has with the server, from `Tversion` to `Tversion`.

use super::fids::Fids;
use super::locks::Locks;
use crate::tree::Flags;
use crate::wire::{self, Reply, Request};
use crate::{Errno, FileTree, Result};
use std::cell::RefCell;
use std::rc::Rc;

pub struct Session<T: FileTree> {
    pub tree: Rc<T>,
    msize: u32,
    pub fids: Fids<T>,
    pub locks: RefCell<Locks>,
}

impl<T: FileTree> Session<T> {
    /// `msize` 0: no version is agreed on.
    pub fn new(tree: Rc<T>, msize: u32) -> Self {
        Self { tree, msize, fids: Fids::default(), locks: RefCell::default() }
    }

    /// The greatest message in bytes.
    pub fn msize(&self) -> u32 {
        self.msize
    }

    /// Room for data in a reply, of `count` bytes that the client wants.
    pub fn room(&self, count: u32) -> usize {
        count.min(self.msize.saturating_sub(wire::DATA_HEADER as u32)) as usize
    }

    /// Bytes of data that a request asks for.
    pub fn wanted(&self, request: &Request) -> usize {
        match request {
            Request::Tread { count, .. } | Request::Treaddir { count, .. } => self.room(*count),
            _ => 0,
        }
    }

    /// The reply to a message that has been decoded before.
    pub async fn answer(self: Rc<Self>, message: Vec<u8>) -> Vec<u8> {
        let (kind, tag, fields) = wire::split(&message).unwrap_or_default();
        let answer = match Request::decode(kind, fields) {
            Ok(request) => self.handle(tag, request).await,
            Err(_) => Err(Errno::EBADMSG),
        };
        match answer {
            Ok(reply) if reply.len() <= self.msize as usize => reply,
            Ok(_) => Reply::Rlerror { ecode: Errno::EMSGSIZE.0 }.encode(tag),
            Err(errno) => Reply::Rlerror { ecode: errno.0 }.encode(tag),
        }
    }

    async fn handle(&self, tag: u16, request: Request<'_>) -> Result<Vec<u8>> {
        let reply = match request {
            // data first: they are the load
            Request::Tread { fid, offset, count } => return self.read(tag, fid, offset, count).await,
            Request::Treaddir { fid, offset, count } => return self.read_dir(tag, fid, offset, count).await,
            Request::Twrite { fid, offset, data } => Reply::Rwrite { count: self.write(fid, offset, data.0).await? },
            Request::Tgetattr { fid, request_mask } => {
                Reply::Rgetattr { stat: self.get_attr(fid, request_mask).await? }
            }
            Request::Twalk { fid, newfid, names } => Reply::Rwalk { qids: self.walk(fid, newfid, &names).await? },
            Request::Tclunk { fid } => self.clunk(fid).await.map(|()| Reply::Rclunk {})?,
            Request::Tattach { fid, afid, uname: _, aname, n_uname } => {
                Reply::Rattach { qid: self.attach(fid, afid, aname, n_uname).await? }
            }
            // QEMU's answer, and what makes a client attach without
            Request::Tauth { .. } => return Err(Errno::EOPNOTSUPP),
            Request::Tlopen { fid, flags } => Reply::Rlopen { qid: self.open(fid, flags).await?, iounit: 0 },
            Request::Tlcreate { fid, name, flags, mode, gid } => {
                Reply::Rlcreate { qid: self.create(fid, name, flags, mode, gid).await?, iounit: 0 }
            }
            Request::Tfsync { fid, datasync } => self.sync(fid, datasync != 0).await.map(|()| Reply::Rfsync {})?,
            Request::Tsetattr { fid, changes } => self.set_attr(fid, &changes).await.map(|()| Reply::Rsetattr {})?,
            Request::Tstatfs { fid } => Reply::Rstatfs { stat: self.stat_fs(fid).await? },
            Request::Treadlink { fid } => {
                let target = self.tree.read_link(&self.fids.get(fid)?.node).await?;
                let target = if target.len() > u16::MAX.into() { Err(Errno::ENAMETOOLONG) } else { Ok(&*target) };
                return target.map(|target| Reply::Rreadlink { target }.encode(tag));
            }
            Request::Tmkdir { dfid, name, mode, gid } => {
                Reply::Rmkdir { qid: self.mkdir(dfid, name, mode, gid).await? }
            }
            Request::Tsymlink { fid, name, target, gid } => {
                Reply::Rsymlink { qid: self.symlink(fid, name, target, gid).await? }
            }
            Request::Tmknod { dfid, name, mode, major, minor, gid } => {
                Reply::Rmknod { qid: self.mknod(dfid, name, (mode, major, minor), gid).await? }
            }
            Request::Tlink { dfid, fid, name } => self.link(dfid, fid, name).await.map(|()| Reply::Rlink {})?,
            Request::Tunlinkat { dirfd, name, flags } => {
                self.unlink_at(dirfd, name, flags).await.map(|()| Reply::Runlinkat {})?
            }
            Request::Tremove { fid } => self.remove(fid).await.map(|()| Reply::Rremove {})?,
            Request::Trename { fid, dfid, name } => self.rename(fid, dfid, name).await.map(|()| Reply::Rrename {})?,
            Request::Trenameat { olddirfid, oldname, newdirfid, newname } => {
                self.rename_at((olddirfid, oldname), (newdirfid, newname)).await.map(|()| Reply::Rrenameat {})?
            }
            Request::Txattrwalk { fid, newfid, name } => {
                Reply::Rxattrwalk { size: self.xattr_walk(fid, newfid, name).await? }
            }
            Request::Txattrcreate { fid, name, attr_size, flags } => {
                self.xattr_create(fid, name, attr_size, flags).map(|()| Reply::Rxattrcreate {})?
            }
            Request::Tlock { fid, kind, flags: _, start, length, proc_id, client_id } => {
                Reply::Rlock { status: self.lock(fid, kind, (start, length), (client_id, proc_id))? }
            }
            Request::Tgetlock { fid, kind, start, length, proc_id, client_id } => {
                return self.get_lock(tag, fid, kind, (start, length), (client_id, proc_id));
            }
            // the server's own
            Request::Tversion { .. } | Request::Tflush { .. } => return Err(Errno::EPROTO),
        };
        Ok(reply.encode(tag))
    }
}

/// Whether a request changes nothing, neither in the tree nor among the fids, before its reply is there.
pub fn only_reads(request: &Request) -> bool {
    matches!(
        request,
        Request::Tread { .. }
            | Request::Treaddir { .. }
            | Request::Tgetattr { .. }
            | Request::Tstatfs { .. }
            | Request::Treadlink { .. }
            | Request::Twalk { .. }
            | Request::Txattrwalk { .. }
            | Request::Tattach { .. }
    )
}

/// Whether a request changes the tree, or prepares for it.
pub fn changes(request: &Request) -> bool {
    match request {
        Request::Tlopen { flags, .. } => {
            let flags = Flags::from_bits_retain(*flags);
            flags.writes() || flags.contains(Flags::TRUNC)
        }
        Request::Tlcreate { .. }
        | Request::Tsymlink { .. }
        | Request::Tmknod { .. }
        | Request::Trename { .. }
        | Request::Tsetattr { .. }
        | Request::Txattrcreate { .. }
        | Request::Tlink { .. }
        | Request::Tmkdir { .. }
        | Request::Trenameat { .. }
        | Request::Tunlinkat { .. }
        | Request::Tremove { .. } => true,
        _ => false,
    }
}
