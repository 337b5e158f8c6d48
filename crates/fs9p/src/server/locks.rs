//! Locks of byte ranges: fcntl(2), "Advisory record locking".

use super::session::Session;
use crate::wire::{Reply, lock};
use crate::{Errno, FileTree, Result};
use rustc_hash::FxHashMap;

/// What a lock is counted as, beside its client's id.
const LOCK_BYTES: usize = 256;
/// Bytes that all locks may take: with the short ids of Linux's client, some 60,000 locks.
const BYTES_MAX: usize = 16 << 20;

/// Who holds a lock: a process of a client.
type Owner<'a> = (&'a [u8], u32);

struct Lock {
    client: Vec<u8>,
    process: u32,
    /// By which it was asked for: it ends with it at the latest.
    fid: u32,
    write: bool,
    /// First and last byte.
    start: u64,
    last: u64,
}

impl Lock {
    fn is_of(&self, owner: Owner) -> bool {
        (self.process, &*self.client) == (owner.1, owner.0)
    }

    fn bytes(&self) -> usize {
        LOCK_BYTES + self.client.len()
    }

    fn meets(&self, start: u64, last: u64) -> bool {
        self.start <= last && start <= self.last
    }

    /// Bytes, 0 for all that follow.
    fn length(&self) -> u64 {
        if self.last == u64::MAX { 0 } else { self.last - self.start + 1 }
    }
}

/// All locks, by the file's qid.
#[derive(Default)]
pub struct Locks {
    files: FxHashMap<u64, Vec<Lock>>,
    bytes: usize,
}

impl Locks {
    fn conflict(&self, file: u64, write: bool, (start, last): (u64, u64), owner: Owner) -> Option<&Lock> {
        let locks = self.files.get(&file)?;
        locks.iter().find(|l| (write || l.write) && l.meets(start, last) && !l.is_of(owner))
    }

    /// Puts `new`, or nothing, in the place of the owner's locks in the range; those that reach over it are cut: ENOLCK.
    fn replace(&mut self, file: u64, (start, last): (u64, u64), owner: Owner, new: Option<Lock>) -> Result<()> {
        // the range first: ids may be long
        let is_replaced = |lock: &Lock| lock.meets(start, last) && lock.is_of(owner);
        let (mut added, mut bytes) = (Vec::from_iter(new), self.bytes);
        for held in self.files.get(&file).into_iter().flatten().filter(|lock| is_replaced(lock)) {
            let part = |start, last| Lock { client: held.client.clone(), start, last, ..*held };
            if held.start < start {
                added.push(part(held.start, start - 1));
            }
            if held.last > last {
                added.push(part(last + 1, held.last));
            }
            bytes -= held.bytes();
        }
        bytes += added.iter().map(Lock::bytes).sum::<usize>();
        if bytes > BYTES_MAX {
            return Err(Errno::ENOLCK);
        }
        self.bytes = bytes;
        let locks = self.files.entry(file).or_default();
        locks.retain(|lock| !is_replaced(lock));
        locks.extend(added);
        if !shrink(locks) {
            self.files.remove(&file);
        }
        Ok(())
    }

    /// The client has given the fid back.
    pub fn closed(&mut self, fid: u32) {
        if self.bytes > 0 {
            self.files.retain(|_, locks| {
                locks.retain(|lock| lock.fid != fid);
                shrink(locks)
            });
            self.bytes = self.files.values().flatten().map(Lock::bytes).sum();
        }
    }
}

/// Gives back the room of locks that are no more; whether any are left.
fn shrink(locks: &mut Vec<Lock>) -> bool {
    if locks.len() < locks.capacity() / 4 {
        locks.shrink_to(2 * locks.len());
    }
    !locks.is_empty()
}

/// First and last byte of `length` from `start` on, 0 for all: EOVERFLOW.
fn range((start, length): (u64, u64)) -> Result<(u64, u64)> {
    match length {
        0 => Ok((start, u64::MAX)),
        _ => start.checked_add(length - 1).map(|last| (start, last)).ok_or(Errno::EOVERFLOW),
    }
}

impl<T: FileTree> Session<T> {
    /// Returns a status. Nothing waits: a client that is told `BLOCKED` asks again.
    pub fn lock(&self, fid: u32, kind: u8, bytes: (u64, u64), owner: Owner) -> Result<u8> {
        let file = self.tree.qid(&self.fids.get(fid)?.node).path;
        let (start, last) = range(bytes)?;
        let mut locks = self.locks.borrow_mut();
        let write = match kind {
            lock::UNLCK => {
                return locks.replace(file, (start, last), owner, None).map(|()| lock::SUCCESS);
            }
            lock::RDLCK => false,
            lock::WRLCK => true,
            _ => return Err(Errno::EINVAL),
        };
        if locks.conflict(file, write, (start, last), owner).is_some() {
            return Ok(lock::BLOCKED);
        }
        let new = Lock { client: owner.0.to_vec(), process: owner.1, fid, write, start, last };
        locks.replace(file, (start, last), owner, Some(new)).map(|()| lock::SUCCESS)
    }

    /// `Rgetlock`, whole: the lock that is in the way of this one, or this one as `UNLCK`.
    pub fn get_lock(&self, tag: u16, fid: u32, kind: u8, bytes: (u64, u64), owner: Owner) -> Result<Vec<u8>> {
        let file = self.tree.qid(&self.fids.get(fid)?.node).path;
        if kind > lock::WRLCK {
            return Err(Errno::EINVAL);
        }
        let locks = self.locks.borrow();
        let reply = match locks.conflict(file, kind == lock::WRLCK, range(bytes)?, owner) {
            Some(held) => Reply::Rgetlock {
                kind: if held.write { lock::WRLCK } else { lock::RDLCK },
                start: held.start,
                length: held.length(),
                proc_id: held.process,
                client_id: &held.client,
            },
            None => {
                let ((start, length), (client_id, proc_id)) = (bytes, owner);
                Reply::Rgetlock { kind: lock::UNLCK, start, length, proc_id, client_id }
            }
        };
        Ok(reply.encode(tag))
    }
}
