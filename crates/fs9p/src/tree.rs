//! What a server serves.

mod host;
mod mapped;
mod memory;
mod rules;

use crate::Result;
use crate::wire::{Field, Qid, SetAttr, Stat, StatFs, qid_type};
pub use host::{HostMessages, HostTree, Owners};
pub use mapped::{HostModes, MappedTree};
pub use memory::{ArchiveError, MemoryTree};

bitflags::bitflags! {
    /// How a file is opened: the bits of `Tlopen` (`P9_DOTL_*`), which are those of Linux on x86.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Flags: u32 {
        const WRONLY = 0o1;
        const RDWR = 0o2;
        const CREATE = 0o100;
        const EXCL = 0o200;
        const TRUNC = 0o1000;
        const APPEND = 0o2000;
        const DSYNC = 0o10000;
        const DIRECTORY = 0o200000;
        const NOFOLLOW = 0o400000;
        const NOATIME = 0o1000000;
        const SYNC = 0o4000000;
        // The others are the client's own business.
        const _ = !0;
    }
}

impl Flags {
    /// Whether data may be read: the two low bits are a number (0 read, 1 write, 2 both).
    pub fn reads(self) -> bool {
        !self.contains(Self::WRONLY)
    }

    /// Whether data may be written.
    pub fn writes(self) -> bool {
        self.intersects(Self::WRONLY | Self::RDWR)
    }
}

/// The parts of a mode, as in `st_mode`.
pub mod mode {
    pub const TYPE: u32 = 0o170000;
    pub const SOCKET: u32 = 0o140000;
    pub const SYMLINK: u32 = 0o120000;
    pub const REGULAR: u32 = 0o100000;
    pub const BLOCK: u32 = 0o060000;
    pub const DIRECTORY: u32 = 0o040000;
    pub const CHAR: u32 = 0o020000;
    pub const FIFO: u32 = 0o010000;
    /// All bits that chmod(2) sets.
    pub const BITS: u32 = 0o7777;
    pub const SETUID: u32 = 0o4000;
    pub const SETGID: u32 = 0o2000;
    pub const GROUP_EXECUTE: u32 = 0o10;

    /// The type of a [`Qid`](crate::wire::Qid) for a file of this mode.
    pub const fn qid_type(mode: u32) -> u8 {
        match mode & TYPE {
            DIRECTORY => super::qid_type::DIR,
            SYMLINK => super::qid_type::SYMLINK,
            _ => super::qid_type::FILE,
        }
    }
}

/// A device's number, as the kernel's `new_encode_dev` packs it: 12 bits major, 20 minor.
pub const fn device(major: u32, minor: u32) -> u32 {
    (minor & 0xff) | (major & 0xfff) << 8 | (minor & 0xf_ff00) << 12
}

/// Whom a new file belongs to, and its permission bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Permission bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

/// What a new file is. Regular files are made by [`FileTree::create`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum New<'a> {
    Directory,
    /// The target, as bytes.
    Symlink(&'a [u8]),
    /// A file of this type (a [`mode`]), and its [`device`] number.
    Node(u32, u32),
}

/// How an extended attribute is set: setxattr(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetXattr {
    Either,
    /// EEXIST if there is one.
    Create,
    /// ENODATA if there is none.
    Replace,
}

/// A tree of files with the semantics of POSIX.
///
/// A [`Node`](Self::Node) is a file, not a path: it stays the same file when that is renamed or unlinked. Names given to
/// these methods are not empty, have at most 255 bytes, neither `/` nor NUL, and are neither `.` nor `..`.
/// Permissions are not checked here: the guest's kernel does that by the attributes that it is told.
#[allow(async_fn_in_trait)] // one thread: no future needs to be Send
pub trait FileTree: 'static {
    /// A file. Equal if it is the same one.
    type Node: Clone + PartialEq + 'static;
    /// A file that is open.
    type Handle: 'static;

    /// The root directory.
    async fn root(&self) -> Result<Self::Node>;
    /// What the client calls the file.
    fn qid(&self, node: &Self::Node) -> Qid;
    /// The file `name` in `dir`: ENOENT, ENOTDIR.
    async fn lookup(&self, dir: &Self::Node, name: &[u8]) -> Result<Self::Node>;
    /// `..`; the root is its own.
    async fn parent(&self, dir: &Self::Node) -> Result<Self::Node>;

    /// What stat(2) tells.
    /// `open`: where it is open, if it is.
    async fn stat(&self, node: &Self::Node, open: Option<&Self::Handle>) -> Result<Stat>;
    /// chmod, chown, truncate, utimensat at once, or nothing of it.
    /// `open`: where it is open, if it is.
    async fn set_attr(&self, node: &Self::Node, open: Option<&Self::Handle>, changes: &SetAttr) -> Result<()>;
    /// What a symbolic link points to: EINVAL if it is none.
    async fn read_link(&self, node: &Self::Node) -> Result<Vec<u8>>;
    async fn stat_fs(&self) -> Result<StatFs>;

    /// Opens a file or directory; `flags` have neither CREATE nor EXCL.
    async fn open(&self, node: &Self::Node, flags: Flags) -> Result<Self::Handle>;
    /// Makes a regular file and opens it: EEXIST if there is one and `flags` have EXCL; without EXCL, that one is opened.
    async fn create(
        &self,
        dir: &Self::Node,
        name: &[u8],
        flags: Flags,
        owner: Owner,
    ) -> Result<(Self::Node, Self::Handle)>;
    /// Appends up to `count` bytes from `offset` on to `to`; fewer only at the file's end.
    async fn read(&self, file: &Self::Handle, offset: u64, count: usize, to: &mut Vec<u8>) -> Result<()>;
    /// Writes, and returns how many bytes it was.
    async fn write(&self, file: &Self::Handle, offset: u64, data: &[u8]) -> Result<usize>;
    /// Writes the entries behind the one with `offset` (0: all), `.` and `..` included, until there is no more room.
    async fn read_dir(&self, dir: &Self::Handle, offset: u64, to: &mut DirWriter<'_>) -> Result<()>;
    /// fsync(2), or fdatasync(2).
    async fn sync(&self, file: &Self::Handle, data_only: bool) -> Result<()>;

    /// mkdir, symlink, mknod.
    async fn make(&self, dir: &Self::Node, name: &[u8], new: New<'_>, owner: Owner) -> Result<Self::Node>;
    /// link(2): another name for `node`.
    async fn link(&self, node: &Self::Node, dir: &Self::Node, name: &[u8]) -> Result<()>;
    /// unlink(2), or rmdir(2).
    async fn unlink(&self, dir: &Self::Node, name: &[u8], directory: bool) -> Result<()>;
    /// rename(2).
    async fn rename(&self, from: (&Self::Node, &[u8]), to: (&Self::Node, &[u8])) -> Result<()>;

    /// getxattr(2): ENODATA if there is none.
    async fn xattr(&self, node: &Self::Node, name: &[u8]) -> Result<Vec<u8>>;
    /// listxattr(2): names, each ended by NUL.
    async fn list_xattrs(&self, node: &Self::Node) -> Result<Vec<u8>>;
    async fn set_xattr(&self, node: &Self::Node, name: &[u8], value: &[u8], how: SetXattr) -> Result<()>;
    async fn remove_xattr(&self, node: &Self::Node, name: &[u8]) -> Result<()>;
}

/// Room for directory entries, in the form of `Rreaddir`: `qid[13] offset[8] type[1] name[s]`.
pub struct DirWriter<'a> {
    to: &'a mut Vec<u8>,
    end: usize,
    /// An entry was too long for the room that there was.
    full: bool,
}

impl<'a> DirWriter<'a> {
    /// Bytes of an entry beside its name.
    const ENTRY: usize = 13 + 8 + 1 + 2;

    /// Appends to `to`, at most `room` bytes.
    pub fn new(to: &'a mut Vec<u8>, room: usize) -> Self {
        let end = to.len().saturating_add(room);
        Self { to, end, full: false }
    }

    /// One entry: `offset` is what the client gives to go on behind it (never 0), `mode` says the file's type. Returns
    /// whether there was room.
    pub fn push(&mut self, qid: Qid, offset: u64, mode: u32, name: &[u8]) -> bool {
        if self.full || self.to.len() + Self::ENTRY + name.len() > self.end {
            self.full = true;
            return false;
        }
        qid.put(self.to);
        offset.put(self.to);
        ((mode >> 12) as u8 & 0xf).put(self.to); // DT_* is the type's bits of a mode
        name.put(self.to);
        true
    }

    /// Bytes of room that are left.
    pub fn room(&self) -> usize {
        self.end.saturating_sub(self.to.len())
    }

    /// As if an entry had been too long: there are more.
    pub fn refuse(&mut self) {
        self.full = true;
    }

    /// Whether an entry was refused.
    pub fn is_full(&self) -> bool {
        self.full
    }
}
