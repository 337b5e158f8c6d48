//! A client of the server, for tests.
#![allow(dead_code)] // each test uses a part of it

use fs9p::wire::{NOFID, Qid, Reply, Request, SetAttr, Stat, Timespec, VERSION};
use fs9p::{Errno, FileTree, MemoryTree, RequestId, Server};
use std::cell::Cell;
use std::rc::Rc;

pub const MSIZE: u32 = 64 << 10;
pub const ROOT: u32 = 0;

pub struct Client<T: FileTree> {
    pub server: Server<T>,
    next: u64,
}

/// A tree whose clock ticks at each look.
pub fn memory(capacity: u64) -> MemoryTree {
    let ticks = Rc::new(Cell::new(1_000_000_000));
    MemoryTree::new(capacity, move || {
        ticks.set(ticks.get() + 1);
        Timespec { sec: ticks.get(), nsec: 7 }
    })
}

/// Numbers below the one that is given.
pub fn rng(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut rng = random::Rng(seed);
    move |n| rng.below(n)
}

impl<T: FileTree> Client<T> {
    /// Attached to the root as `uid`, with fid [`ROOT`].
    pub fn attached(tree: T, uid: u32) -> Self {
        let mut client = Self { server: Server::new(tree), next: 0 };
        client.expect(Request::Tversion { msize: MSIZE, version: VERSION });
        client.expect(Request::Tattach { fid: ROOT, afid: NOFID, uname: b"", aname: b"", n_uname: uid });
        client
    }

    pub fn send(&mut self, tag: u16, request: &Request) -> RequestId {
        self.next += 1;
        self.server.submit(RequestId(self.next), request.encode(tag));
        RequestId(self.next)
    }

    /// The reply's message; an `Rlerror` is an error.
    pub fn call(&mut self, request: Request) -> Result<Vec<u8>, Errno> {
        let id = self.send(5, &request);
        let (replied, message) = self.server.poll().unwrap_or_else(|| panic!("no reply at once to {request:?}"));
        assert_eq!((replied, self.server.poll()), (id, None));
        match Reply::decode(&message) {
            Some((5, Reply::Rlerror { ecode })) => Err(Errno(ecode)),
            Some((5, _)) => Ok(message),
            _ => panic!("{request:?}: {message:?}"),
        }
    }

    #[track_caller]
    pub fn expect(&mut self, request: Request) -> Vec<u8> {
        let text = format!("{request:?}");
        self.call(request).unwrap_or_else(|e| panic!("{text}: {e:?}"))
    }

    pub fn walk(&mut self, fid: u32, newfid: u32, names: &[&[u8]]) -> Result<Vec<Qid>, Errno> {
        match Reply::decode(&self.call(Request::Twalk { fid, newfid, names: names.to_vec() })?) {
            Some((_, Reply::Rwalk { qids })) => Ok(qids),
            other => panic!("{other:?}"),
        }
    }

    pub fn clunk(&mut self, fid: u32) -> Result<(), Errno> {
        self.call(Request::Tclunk { fid }).map(drop)
    }

    pub fn stat(&mut self, fid: u32) -> Result<Stat, Errno> {
        match Reply::decode(&self.call(Request::Tgetattr { fid, request_mask: 0x7ff })?) {
            Some((_, Reply::Rgetattr { stat })) => Ok(stat),
            other => panic!("{other:?}"),
        }
    }

    pub fn read(&mut self, fid: u32, offset: u64, count: u32) -> Result<Vec<u8>, Errno> {
        match Reply::decode(&self.call(Request::Tread { fid, offset, count })?) {
            Some((_, Reply::Rread { data })) => Ok(data.0.to_vec()),
            other => panic!("{other:?}"),
        }
    }

    pub fn write(&mut self, fid: u32, offset: u64, data: &[u8]) -> Result<u32, Errno> {
        match Reply::decode(&self.call(Request::Twrite { fid, offset, data: fs9p::wire::Data(data) })?) {
            Some((_, Reply::Rwrite { count })) => Ok(count),
            other => panic!("{other:?}"),
        }
    }

    pub fn create(&mut self, fid: u32, name: &[u8], flags: u32, mode: u32) -> Result<(), Errno> {
        self.call(Request::Tlcreate { fid, name, flags, mode, gid: 0 }).map(drop)
    }

    pub fn mkdir(&mut self, dfid: u32, name: &[u8]) -> Result<(), Errno> {
        self.call(Request::Tmkdir { dfid, name, mode: 0o755, gid: 0 }).map(drop)
    }

    /// Offset, type and name of the entries in one reply.
    pub fn read_dir(&mut self, fid: u32, offset: u64, count: u32) -> Result<Vec<(u64, u8, Vec<u8>)>, Errno> {
        let message = self.call(Request::Treaddir { fid, offset, count })?;
        let Some((_, Reply::Rreaddir { data })) = Reply::decode(&message) else { panic!("{message:?}") };
        let (mut rest, mut entries) = (data.0, Vec::new());
        while let Some((head, tail)) = rest.split_at_checked(24) {
            let offset = u64::from_le_bytes(head[13..21].try_into().unwrap());
            let length = usize::from(u16::from_le_bytes([head[22], head[23]]));
            entries.push((offset, head[21], tail[..length].to_vec()));
            rest = &tail[length..];
        }
        assert_eq!(rest, []);
        Ok(entries)
    }

    /// All entries but `.` and `..`, in order of names.
    pub fn names(&mut self, fid: u32) -> Vec<Vec<u8>> {
        let (mut names, mut offset) = (Vec::new(), 0);
        loop {
            let entries = self.read_dir(fid, offset, 600).unwrap();
            let Some(last) = entries.last() else { break };
            offset = last.0;
            names.extend(entries.into_iter().map(|entry| entry.2));
        }
        names.retain(|name| name != b"." && name != b"..");
        names.sort();
        names
    }

    pub fn set_attr(&mut self, fid: u32, valid: u32, change: impl FnOnce(&mut SetAttr)) -> Result<(), Errno> {
        let mut changes = NO_CHANGES;
        changes.valid = valid;
        change(&mut changes);
        self.call(Request::Tsetattr { fid, changes }).map(drop)
    }
}

pub const NO_CHANGES: SetAttr = SetAttr {
    valid: 0,
    mode: 0,
    uid: 0,
    gid: 0,
    size: 0,
    atime: Timespec { sec: 0, nsec: 0 },
    mtime: Timespec { sec: 0, nsec: 0 },
};
