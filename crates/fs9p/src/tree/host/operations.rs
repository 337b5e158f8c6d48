//! The tree's operations, each a request or two.

use super::{File, Handle, HostTree, Node, Owners, ROOT, reply};
use crate::tree::{DirWriter, FileTree, Flags, New, Owner, SetXattr, mode};
use crate::wire::{self, Data, NOFID, Qid, Request, SetAttr, Stat, StatFs, Timespec, qid_type, setattr};
use crate::{Errno, Result};
use std::cell::Cell;
use std::rc::Rc;

impl FileTree for HostTree {
    type Node = Node;
    type Handle = Handle;

    async fn root(&self) -> Result<Node> {
        if !self.calls.attached.get() {
            let version = Request::Tversion { msize: crate::server::MSIZE_MAX, version: wire::VERSION };
            let message = self.calls.call(&version, None).await?;
            if reply!(message, Rversion { msize, version }).1 != wire::VERSION {
                return Err(Errno::EPROTO);
            }
            let attach = Request::Tattach { fid: ROOT, afid: NOFID, uname: b"", aname: b"", n_uname: 0 };
            self.calls.call(&attach, None).await?;
            self.calls.attached.set(true);
        }
        let fid = self.new_fid();
        self.introduce(&fid, Request::Twalk { fid: ROOT, newfid: fid.number, names: Vec::new() }).await?;
        let stat = reply!(self.calls.call(&stat_of(fid.number), None).await?, Rgetattr { stat });
        Ok(Node(Rc::new(File { fid, qid: Cell::new(stat.qid), parent: None })))
    }

    fn qid(&self, node: &Node) -> Qid {
        node.0.qid.get()
    }

    async fn lookup(&self, dir: &Node, name: &[u8]) -> Result<Node> {
        let fid = self.new_fid();
        let walk = Request::Twalk { fid: dir.0.fid.number, newfid: fid.number, names: vec![name] };
        let qids = reply!(self.introduce(&fid, walk).await?, Rwalk { qids });
        let qid = *qids.first().ok_or(Errno::EIO)?;
        Ok(Node(Rc::new(File { fid, qid: Cell::new(qid), parent: Some(dir.clone()) })))
    }

    async fn parent(&self, dir: &Node) -> Result<Node> {
        Ok(dir.0.parent.clone().unwrap_or_else(|| dir.clone()))
    }

    async fn stat(&self, node: &Node, open: Option<&Handle>) -> Result<Stat> {
        let fid = open.map_or(&node.0.fid, |handle| &handle.fid);
        let stat = reply!(self.calls.call(&stat_of(fid.number), None).await?, Rgetattr { stat });
        node.0.qid.set(stat.qid);
        Ok(stat)
    }

    async fn set_attr(&self, node: &Node, open: Option<&Handle>, changes: &SetAttr) -> Result<()> {
        let fid = open.map_or(&node.0.fid, |handle| &handle.fid).number;
        match self.calls.call(&Request::Tsetattr { fid, changes: *changes }, None).await {
            Err(Errno::EPERM | Errno::EOPNOTSUPP | Errno::EINVAL)
                if self.owners == Owners::Tried && changes.valid & OWNER != 0 =>
            {
                let others = SetAttr { valid: changes.valid & !OWNER, ..*changes };
                match others.valid & !setattr::CTIME {
                    0 => Ok(()),
                    _ => self.calls.call(&Request::Tsetattr { fid, changes: others }, None).await.map(drop),
                }
            }
            other => other.map(drop),
        }
    }

    async fn read_link(&self, node: &Node) -> Result<Vec<u8>> {
        let message = self.calls.call(&Request::Treadlink { fid: node.0.fid.number }, None).await?;
        Ok(reply!(message, Rreadlink { target }).to_vec())
    }

    async fn stat_fs(&self) -> Result<StatFs> {
        Ok(reply!(self.calls.call(&Request::Tstatfs { fid: ROOT }, None).await?, Rstatfs { stat }))
    }

    async fn open(&self, node: &Node, flags: Flags) -> Result<Handle> {
        let fid = self.another(&node.0.fid).await?;
        let open = Request::Tlopen { fid: fid.number, flags: flags.bits() };
        node.0.qid.set(reply!(self.calls.call(&open, None).await?, Rlopen { qid, iounit }).0);
        Ok(Handle { fid })
    }

    async fn create(&self, dir: &Node, name: &[u8], flags: Flags, owner: Owner) -> Result<(Node, Handle)> {
        // EXCL always: only what is new gets an owner
        let fid = self.another(&dir.0.fid).await?;
        let Owner { mode, gid, .. } = owner;
        let all = (flags | Flags::CREATE | Flags::EXCL).bits();
        let create = Request::Tlcreate { fid: fid.number, name, flags: all, mode, gid };
        match self.calls.call(&create, None).await {
            Err(Errno::EEXIST) if !flags.contains(Flags::EXCL) => {
                let node = self.lookup(dir, name).await?;
                if self.qid(&node).kind & qid_type::DIR != 0 {
                    return Err(Errno::EISDIR);
                }
                let handle = self.open(&node, flags).await?;
                return Ok((node, handle));
            }
            created => created.map(drop)?,
        }
        let (node, handle) = (self.lookup(dir, name).await?, Handle { fid });
        self.give(&node, owner).await?;
        Ok((node, handle))
    }

    async fn read(&self, file: &Handle, offset: u64, count: usize, to: &mut Vec<u8>) -> Result<()> {
        let read = Request::Tread { fid: file.fid.number, offset, count: count as u32 };
        let message = self.calls.call(&read, None).await?;
        let data = reply!(message, Rread { data });
        to.extend_from_slice(&data.0[..data.0.len().min(count)]);
        Ok(())
    }

    async fn write(&self, file: &Handle, offset: u64, data: &[u8]) -> Result<usize> {
        let write = Request::Twrite { fid: file.fid.number, offset, data: Data(data) };
        let written = reply!(self.calls.call(&write, None).await?, Rwrite { count });
        Ok(data.len().min(written as usize))
    }

    async fn read_dir(&self, dir: &Handle, offset: u64, to: &mut DirWriter<'_>) -> Result<()> {
        let request = Request::Treaddir { fid: dir.fid.number, offset, count: to.room() as u32 };
        let message = self.calls.call(&request, None).await?;
        for entry in wire::entries(reply!(message, Rreaddir { data }).0) {
            let entry = entry.ok_or(Errno::EIO)?;
            if !to.push(entry.qid, entry.offset, u32::from(entry.kind) << 12, entry.name) {
                break;
            }
        }
        Ok(())
    }

    async fn sync(&self, file: &Handle, data_only: bool) -> Result<()> {
        let sync = Request::Tfsync { fid: file.fid.number, datasync: data_only.into() };
        self.calls.call(&sync, None).await.map(drop)
    }

    async fn make(&self, dir: &Node, name: &[u8], new: New<'_>, owner: Owner) -> Result<Node> {
        let (fid, Owner { mode: bits, gid, .. }) = (dir.0.fid.number, owner);
        let request = match new {
            New::Directory => Request::Tmkdir { dfid: fid, name, mode: bits, gid },
            New::Symlink(target) => Request::Tsymlink { fid, name, target, gid },
            New::Node(kind, rdev) => {
                let (major, minor) = (rdev >> 8 & 0xfff, rdev & 0xff | rdev >> 12 & 0xf_ff00);
                Request::Tmknod { dfid: fid, name, mode: kind & mode::TYPE | bits, major, minor, gid }
            }
        };
        self.calls.call(&request, None).await?;
        let node = self.lookup(dir, name).await?;
        self.give(&node, owner).await?;
        Ok(node)
    }

    async fn link(&self, node: &Node, dir: &Node, name: &[u8]) -> Result<()> {
        let link = Request::Tlink { dfid: dir.0.fid.number, fid: node.0.fid.number, name };
        self.calls.call(&link, None).await.map(drop)
    }

    async fn unlink(&self, dir: &Node, name: &[u8], directory: bool) -> Result<()> {
        let flags = if directory { wire::AT_REMOVEDIR } else { 0 };
        self.calls.call(&Request::Tunlinkat { dirfd: dir.0.fid.number, name, flags }, None).await.map(drop)
    }

    async fn rename(&self, from: (&Node, &[u8]), to: (&Node, &[u8])) -> Result<()> {
        let (olddirfid, newdirfid) = (from.0.0.fid.number, to.0.0.fid.number);
        let rename = Request::Trenameat { olddirfid, oldname: from.1, newdirfid, newname: to.1 };
        self.calls.call(&rename, None).await.map(drop)
    }

    async fn xattr(&self, node: &Node, name: &[u8]) -> Result<Vec<u8>> {
        let fid = self.new_fid();
        let walk = Request::Txattrwalk { fid: node.0.fid.number, newfid: fid.number, name };
        let size = reply!(self.introduce(&fid, walk).await?, Rxattrwalk { size });
        let mut value = Vec::new();
        while (value.len() as u64) < size {
            let (offset, before) = (value.len() as u64, value.len());
            let read = Request::Tread { fid: fid.number, offset, count: 32 << 10 };
            value.extend_from_slice(reply!(self.calls.call(&read, None).await?, Rread { data }).0);
            if value.len() == before || value.len() > 1 << 20 {
                return Err(Errno::EIO);
            }
        }
        Ok(value)
    }

    async fn list_xattrs(&self, node: &Node) -> Result<Vec<u8>> {
        self.xattr(node, b"").await
    }

    async fn set_xattr(&self, node: &Node, name: &[u8], value: &[u8], how: SetXattr) -> Result<()> {
        let flags = match how {
            SetXattr::Either => 0,
            SetXattr::Create => wire::XATTR_CREATE,
            SetXattr::Replace => wire::XATTR_REPLACE,
        };
        self.put_xattr(node, name, value, flags).await
    }

    async fn remove_xattr(&self, node: &Node, name: &[u8]) -> Result<()> {
        self.put_xattr(node, name, b"", wire::XATTR_REPLACE).await
    }
}

impl HostTree {
    /// Makes a new file the guest's: the host has made it its own. (The group is left where it comes from the directory.)
    async fn give(&self, node: &Node, owner: Owner) -> Result<()> {
        if self.owners == Owners::Left {
            return Ok(());
        }
        let stat = self.stat(node, None).await?;
        if stat.uid == owner.uid && stat.gid == owner.gid {
            return Ok(());
        }
        let inherited = self.stat_of_parent(node).await?.is_some_and(|dir| dir.mode & mode::SETGID != 0);
        let gid = if inherited { stat.gid } else { owner.gid };
        let changes = SetAttr { valid: OWNER, uid: owner.uid, gid, ..NO_CHANGES };
        self.set_attr(node, None, &changes).await?;
        // chown(2) has taken what the file was made with
        let mode = stat.mode & mode::BITS;
        if mode & (mode::SETUID | mode::SETGID) == 0 || stat.mode & mode::TYPE == mode::DIRECTORY {
            return Ok(());
        }
        self.set_attr(node, None, &SetAttr { valid: setattr::MODE, mode, ..NO_CHANGES }).await
    }

    async fn stat_of_parent(&self, node: &Node) -> Result<Option<Stat>> {
        match &node.0.parent {
            Some(parent) => self.stat(parent, None).await.map(Some),
            None => Ok(None),
        }
    }

    async fn put_xattr(&self, node: &Node, name: &[u8], value: &[u8], flags: u32) -> Result<()> {
        let fid = self.another(&node.0.fid).await?;
        let number = fid.number;
        let create = Request::Txattrcreate { fid: number, name, attr_size: value.len() as u64, flags };
        self.calls.call(&create, None).await?;
        for (i, part) in value.chunks(32 << 10).enumerate() {
            let write = Request::Twrite { fid: number, offset: (i * (32 << 10)) as u64, data: Data(part) };
            self.calls.call(&write, None).await?;
        }
        fid.known.set(false); // this clunk says whether it was set
        self.calls.call(&Request::Tclunk { fid: number }, None).await.map(drop)
    }
}

const OWNER: u32 = setattr::UID | setattr::GID;
const NO_TIME: Timespec = Timespec { sec: 0, nsec: 0 };
const NO_CHANGES: SetAttr = SetAttr { valid: 0, mode: 0, uid: 0, gid: 0, size: 0, atime: NO_TIME, mtime: NO_TIME };

fn stat_of(fid: u32) -> Request<'static> {
    Request::Tgetattr { fid, request_mask: wire::getattr::BASIC }
}
