//! Trees out of archives: cpio in the `newc` format (Linux, Documentation/driver-api/early-userspace/buffer-format.rst),
//! which keeps types, permission bits, owners, times and hard links, and which `cpio -H newc` makes.

use super::MemoryTree;
use super::inode::{Body, Node};
use crate::tree::{New, Owner, device, mode};
use crate::wire::Timespec;
use crate::{Errno, Result};
use std::collections::BTreeMap;

const MAGIC: &[u8] = b"070701";
/// The same with checksums, which cpio makes with `-H crc`.
const MAGIC_CRC: &[u8] = b"070702";
const HEADER: usize = 110;
const LAST: &[u8] = b"TRAILER!!!";

/// Why an archive was not unpacked, or not all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArchiveError {
    /// It is not one, from this byte on.
    Damaged { at: usize },
    /// The tree would not have this path.
    Path { path: String, errno: Errno },
}

impl std::fmt::Display for ArchiveError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Damaged { at } => {
                write!(f, "it is no cpio archive in the newc format, or cut off, at byte {at}")
            }
            Self::Path { path, errno: Errno::ENOSPC } => {
                write!(f, "there is no room in the machine's memory for its file {path}")
            }
            Self::Path { path, errno } => write!(f, "its file {path} cannot be made: {errno:?}"),
        }
    }
}

impl std::error::Error for ArchiveError {}

/// One file of an archive.
struct Entry<'a> {
    inode: (u32, u32, u32),
    mode: u32,
    uid: u32,
    gid: u32,
    nlink: u32,
    mtime: u32,
    rdev: (u32, u32),
    name: &'a [u8],
    data: &'a [u8],
}

impl MemoryTree {
    /// Puts all files of an archive there. Directories that are there stay and take its attributes; other names that are there
    /// are errors.
    pub fn unpack(&self, archive: &[u8]) -> std::result::Result<(), ArchiveError> {
        let mut linked = BTreeMap::new();
        // what is put into a directory changes its time
        let mut directories = Vec::new();
        let mut at = 0;
        loop {
            let (entry, next) = entry(archive, at).ok_or(ArchiveError::Damaged { at })?;
            if entry.name == LAST {
                break;
            }
            let node = self.make_entry(&entry, &mut linked).map_err(|errno| ArchiveError::Path {
                path: String::from_utf8_lossy(entry.name).into_owned(),
                errno,
            })?;
            if node.is_directory() {
                directories.push((node, entry.mtime));
            }
            at = next;
        }
        directories.iter().for_each(|(node, mtime)| set_time(node, *mtime));
        Ok(())
    }

    fn make_entry(&self, entry: &Entry<'_>, linked: &mut BTreeMap<(u32, u32, u32), Node>) -> Result<Node> {
        let kind = entry.mode & mode::TYPE;
        if kind == mode::DIRECTORY {
            self.make_directories(entry.name)?;
            let node = self.at(entry.name)?;
            set_attributes(&node, entry);
            return Ok(node);
        }
        let (dir, name) = self.directory_of(entry.name)?;
        let new = match kind {
            mode::REGULAR => None,
            mode::SYMLINK => Some(New::Symlink(entry.data)),
            mode::CHAR | mode::BLOCK => Some(New::Node(kind, device(entry.rdev.0, entry.rdev.1))),
            mode::FIFO | mode::SOCKET => Some(New::Node(kind, 0)),
            _ => return Err(Errno::EINVAL),
        };
        let first = if entry.nlink > 1 { linked.get(&entry.inode) } else { None };
        let node = match first {
            Some(_) if dir.directory()?.get(name).is_some() => return Err(Errno::EEXIST),
            Some(first) => {
                self.insert(&dir, name, first)?;
                first.clone()
            }
            None => self.add(&dir, name, new, Owner { mode: entry.mode, uid: entry.uid, gid: entry.gid })?,
        };
        if entry.nlink > 1 {
            linked.insert(entry.inode, node.clone());
        }
        // of a file with several names, one entry has the contents
        if let Body::Regular(content) = &node.body
            && !entry.data.is_empty()
        {
            let mut content = content.borrow_mut();
            content.truncate(0)?;
            if content.write(0, entry.data)? < entry.data.len() {
                return Err(Errno::ENOSPC);
            }
        }
        set_attributes(&node, entry);
        Ok(node)
    }
}

fn set_attributes(node: &Node, entry: &Entry<'_>) {
    node.update(|meta| {
        meta.mode = meta.mode & mode::TYPE | entry.mode & mode::BITS;
        (meta.uid, meta.gid) = (entry.uid, entry.gid);
    });
    set_time(node, entry.mtime);
}

fn set_time(node: &Node, seconds: u32) {
    node.update(|meta| meta.mtime = Timespec { sec: seconds.into(), nsec: 0 });
}

/// The entry at `at`, and where the next one is.
fn entry(archive: &[u8], at: usize) -> Option<(Entry<'_>, usize)> {
    let rest = archive.get(at..)?;
    let (header, rest) = rest.split_at_checked(HEADER)?;
    let (magic, fields) = header.split_at_checked(MAGIC.len())?;
    if magic != MAGIC && magic != MAGIC_CRC {
        return None;
    }
    let (fields, _) = fields.as_chunks::<8>();
    let mut numbers = [0; 13];
    for (number, field) in numbers.iter_mut().zip(fields) {
        *number = u32::from_str_radix(std::str::from_utf8(field).ok()?, 16).ok()?;
    }
    let [ino, mode, uid, gid, nlink, mtime, size, major, minor, rmajor, rminor, name_size, _check] = numbers;
    let (name_size, size) = (name_size as usize, size as usize);
    let name = rest.get(..name_size)?.strip_suffix(b"\0")?;
    let data_at = at.checked_add(HEADER)?.checked_add(name_size)?.checked_next_multiple_of(4)?;
    let data_end = data_at.checked_add(size)?;
    let data = archive.get(data_at..data_end)?;
    let (inode, rdev) = ((major, minor, ino), (rmajor, rminor));
    Some((Entry { inode, mode, uid, gid, nlink, mtime, rdev, name, data }, data_end.checked_next_multiple_of(4)?))
}
