//! The messages of 9P2000.L, each declared once.
//!
//! Sources: "9P2000.L protocol" of diod (protocol.md) for what Linux has added, section 5 of the Plan 9 manual for the
//! rest; the names of constants are those of Linux's `include/net/9p/9p.h`. A message is `size[4] type[1] tag[2]` and its
//! fields.

mod codec;
mod typescript;

pub(crate) use codec::fields;
pub use codec::{Data, Field, Reader, WALK_MAX};
pub use typescript::typescript;

/// Bytes before a message's fields.
pub const HEADER: usize = 7;
/// Bytes of an `Rread` or `Rreaddir` before the data.
pub const DATA_HEADER: usize = HEADER + 4;
/// The tag of `Tversion`.
pub const NOTAG: u16 = !0;
/// No fid: an attach without authentication.
pub const NOFID: u32 = !0;
/// No numeric user: the name counts.
pub const NONUNAME: u32 = !0;
/// The protocol, as `Tversion` names it.
pub const VERSION: &[u8] = b"9P2000.L";
/// The version by which a server refuses the client's.
pub const UNKNOWN_VERSION: &[u8] = b"unknown";

fields! {
    /// What a server calls a file; the same for the same file only.
    #[derive(Copy)]
    struct Qid {
        /// One of [`qid_type`].
        kind: u8,
        /// Changes when the file is changed behind the client's back. Linux takes 0 for "do not cache".
        version: u32,
        path: u64,
    }
}

fields! {
    /// `Rgetattr`.
    #[derive(Copy)]
    struct Stat {
        /// [`getattr`] bits: which fields mean something.
        valid: u64,
        qid: Qid,
        /// Type and permission bits, as in `st_mode`.
        mode: u32,
        uid: u32,
        gid: u32,
        nlink: u64,
        /// A device's number as the kernel's `new_encode_dev` makes it.
        rdev: u64,
        size: u64,
        blksize: u64,
        /// Of 512 bytes.
        blocks: u64,
        atime: Timespec,
        mtime: Timespec,
        ctime: Timespec,
        btime: Timespec,
        generation: u64,
        data_version: u64,
    }

    /// A time since 1970-01-01 00:00:00 UTC.
    #[derive(Copy, Default, PartialOrd, Ord)]
    struct Timespec {
        /// Two's complement: negative before 1970.
        sec: u64,
        /// 0..1_000_000_000.
        nsec: u64,
    }

    /// `Rstatfs`.
    #[derive(Copy)]
    struct StatFs {
        magic: u32,
        bsize: u32,
        /// Numbers of blocks of `bsize` bytes.
        blocks: u64,
        bfree: u64,
        bavail: u64,
        files: u64,
        ffree: u64,
        fsid: u64,
        namelen: u32,
    }

    /// What `Tsetattr` changes.
    #[derive(Copy)]
    struct SetAttr {
        /// [`setattr`] bits: which fields are to be set.
        valid: u32,
        mode: u32,
        uid: u32,
        gid: u32,
        size: u64,
        atime: Timespec,
        mtime: Timespec,
    }
}

/// The type bits of a [`Qid`] that 9P2000.L uses.
pub mod qid_type {
    pub const DIR: u8 = 0x80;
    pub const SYMLINK: u8 = 0x02;
    pub const FILE: u8 = 0;
}

/// Bits of `valid` in `Tgetattr` and `Rgetattr`.
pub mod getattr {
    /// Everything that `stat` returns.
    pub const BASIC: u64 = 0x7ff;
    pub const BTIME: u64 = 0x800;
}

/// Bits of `valid` in `Tsetattr`.
pub mod setattr {
    pub const MODE: u32 = 1;
    pub const UID: u32 = 2;
    pub const GID: u32 = 4;
    pub const SIZE: u32 = 8;
    pub const ATIME: u32 = 0x10;
    pub const MTIME: u32 = 0x20;
    pub const CTIME: u32 = 0x40;
    /// The message has the time; without it, it is now.
    pub const ATIME_SET: u32 = 0x80;
    pub const MTIME_SET: u32 = 0x100;
    pub const ALL: u32 = 0x1ff;
}

/// Locks: types, flags and statuses of `Tlock` and `Tgetlock`.
pub mod lock {
    pub const RDLCK: u8 = 0;
    pub const WRLCK: u8 = 1;
    pub const UNLCK: u8 = 2;

    pub const FLAG_BLOCK: u32 = 1;
    pub const FLAG_RECLAIM: u32 = 2;

    pub const SUCCESS: u8 = 0;
    /// Somebody else has it: the client asks again, or gives up.
    pub const BLOCKED: u8 = 1;
    pub const ERROR: u8 = 2;
    pub const GRACE: u8 = 3;
}

/// Flags of `Tunlinkat`.
pub const AT_REMOVEDIR: u32 = 0x200;
/// Flags of `Txattrcreate`.
pub const XATTR_CREATE: u32 = 1;
pub const XATTR_REPLACE: u32 = 2;

/// A message, as data.
pub struct Message {
    pub kind: u8,
    pub name: &'static str,
    /// Names and types of the fields.
    pub fields: &'static [(&'static str, &'static str)],
}

macro_rules! messages {
    ($($n:literal $t:ident { $($tf:ident: $tty:ty),* } $r:ident { $($rf:ident: $rty:ty),* })*) => {
        /// What a client sends.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Request<'a> { $($t { $($tf: $tty),* },)* }

        /// What a server answers.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Reply<'a> { Rlerror { ecode: u32 }, $($r { $($rf: $rty),* },)* }

        impl<'a> Request<'a> {
            /// The request of type `kind` with these fields.
            pub fn decode(kind: u8, fields: &'a [u8]) -> Result<Self, Undecodable> {
                let mut _reader = Reader::new(fields);
                let mut request = || Some(match kind {
                    $($n => Self::$t { $($tf: Field::take(&mut _reader)?),* },)*
                    _ => return None,
                });
                request().ok_or(if REQUESTS.contains(&kind) { Undecodable::Fields } else { Undecodable::Type })
            }

            /// The whole message.
            pub fn encode(&self, tag: u16) -> Vec<u8> {
                match self { $(Self::$t { $($tf),* } => message($n, tag, |_to| { $($tf.put(_to);)* }),)* }
            }
        }

        impl<'a> Reply<'a> {
            /// The reply in a whole message, and its tag; `None` if it is none.
            pub fn decode(message: &'a [u8]) -> Option<(u16, Self)> {
                let (kind, tag, fields) = split(message)?;
                let mut reader = Reader::new(fields);
                let reply = match kind {
                    RLERROR => Self::Rlerror { ecode: Field::take(&mut reader)? },
                    $(k if k == $n + 1 => Self::$r { $($rf: Field::take(&mut reader)?),* },)*
                    _ => return None,
                };
                reader.is_empty().then_some((tag, reply))
            }

            /// The whole message.
            pub fn encode(&self, tag: u16) -> Vec<u8> {
                match self {
                    Self::Rlerror { ecode } => message(RLERROR, tag, |to| ecode.put(to)),
                    $(Self::$r { $($rf),* } => message($n + 1, tag, |_to| { $($rf.put(_to);)* }),)*
                }
            }
        }

        /// All messages, as data.
        pub const MESSAGES: &[Message] = &[$(
            Message { kind: $n, name: stringify!($t), fields: &[$((stringify!($tf), stringify!($tty))),*] },
            Message { kind: $n + 1, name: stringify!($r), fields: &[$((stringify!($rf), stringify!($rty))),*] },
        )*];

        /// The types of all requests; a reply's is one more.
        pub const REQUESTS: &[u8] = &[$($n),*];
    };
}

pub const RLERROR: u8 = 7;
/// `Rread` and `Rreaddir`, whose data the server writes where it will be sent from.
pub const RREAD: u8 = 117;
pub const RREADDIR: u8 = 41;

messages! {
    8 Tstatfs { fid: u32 } Rstatfs { stat: StatFs }
    12 Tlopen { fid: u32, flags: u32 } Rlopen { qid: Qid, iounit: u32 }
    14 Tlcreate { fid: u32, name: &'a [u8], flags: u32, mode: u32, gid: u32 } Rlcreate { qid: Qid, iounit: u32 }
    16 Tsymlink { fid: u32, name: &'a [u8], target: &'a [u8], gid: u32 } Rsymlink { qid: Qid }
    18 Tmknod { dfid: u32, name: &'a [u8], mode: u32, major: u32, minor: u32, gid: u32 } Rmknod { qid: Qid }
    20 Trename { fid: u32, dfid: u32, name: &'a [u8] } Rrename {}
    22 Treadlink { fid: u32 } Rreadlink { target: &'a [u8] }
    24 Tgetattr { fid: u32, request_mask: u64 } Rgetattr { stat: Stat }
    26 Tsetattr { fid: u32, changes: SetAttr } Rsetattr {}
    30 Txattrwalk { fid: u32, newfid: u32, name: &'a [u8] } Rxattrwalk { size: u64 }
    32 Txattrcreate { fid: u32, name: &'a [u8], attr_size: u64, flags: u32 } Rxattrcreate {}
    40 Treaddir { fid: u32, offset: u64, count: u32 } Rreaddir { data: Data<'a> }
    50 Tfsync { fid: u32, datasync: u32 } Rfsync {}
    52 Tlock { fid: u32, kind: u8, flags: u32, start: u64, length: u64, proc_id: u32, client_id: &'a [u8] }
        Rlock { status: u8 }
    54 Tgetlock { fid: u32, kind: u8, start: u64, length: u64, proc_id: u32, client_id: &'a [u8] }
        Rgetlock { kind: u8, start: u64, length: u64, proc_id: u32, client_id: &'a [u8] }
    70 Tlink { dfid: u32, fid: u32, name: &'a [u8] } Rlink {}
    72 Tmkdir { dfid: u32, name: &'a [u8], mode: u32, gid: u32 } Rmkdir { qid: Qid }
    74 Trenameat { olddirfid: u32, oldname: &'a [u8], newdirfid: u32, newname: &'a [u8] } Rrenameat {}
    76 Tunlinkat { dirfd: u32, name: &'a [u8], flags: u32 } Runlinkat {}
    100 Tversion { msize: u32, version: &'a [u8] } Rversion { msize: u32, version: &'a [u8] }
    102 Tauth { afid: u32, uname: &'a [u8], aname: &'a [u8], n_uname: u32 } Rauth { aqid: Qid }
    104 Tattach { fid: u32, afid: u32, uname: &'a [u8], aname: &'a [u8], n_uname: u32 } Rattach { qid: Qid }
    108 Tflush { oldtag: u16 } Rflush {}
    110 Twalk { fid: u32, newfid: u32, names: Vec<&'a [u8]> } Rwalk { qids: Vec<Qid> }
    116 Tread { fid: u32, offset: u64, count: u32 } Rread { data: Data<'a> }
    118 Twrite { fid: u32, offset: u64, data: Data<'a> } Rwrite { count: u32 }
    120 Tclunk { fid: u32 } Rclunk {}
    122 Tremove { fid: u32 } Rremove {}
}

/// Why bytes are no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undecodable {
    /// There is no request of this type.
    Type,
    /// The message ends before its fields do, or one has a value that it cannot have.
    Fields,
}

/// A message of type `kind`, the rest of which `fields` appends.
pub fn message(kind: u8, tag: u16, fields: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = begin(kind, tag, 32);
    fields(&mut bytes);
    finish(&mut bytes);
    bytes
}

/// The header of a message that [`finish`] completes, with room for `room` bytes of fields.
pub fn begin(kind: u8, tag: u16, room: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + room);
    0_u32.put(&mut bytes);
    kind.put(&mut bytes);
    tag.put(&mut bytes);
    bytes
}

/// Writes the size into a message that is complete but for it.
pub fn finish(message: &mut [u8]) {
    let size = message.len() as u32;
    if let Some(field) = message.first_chunk_mut() {
        *field = size.to_le_bytes();
    }
}

/// Type, tag and fields of a whole message, which may lie in a longer buffer; `None` if it is cut off.
pub fn split(message: &[u8]) -> Option<(u8, u16, &[u8])> {
    let mut reader = Reader::new(message);
    let size = u32::take(&mut reader)? as usize;
    let (kind, tag) = (u8::take(&mut reader)?, u16::take(&mut reader)?);
    Some((kind, tag, reader.bytes(size.checked_sub(HEADER)?)?))
}

/// A directory entry of `Rreaddir`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    pub qid: Qid,
    pub offset: u64,
    /// `DT_*`: the type's bits of a mode.
    pub kind: u8,
    pub name: &'a [u8],
}

/// The entries in an `Rreaddir`'s data; `None` at last if it is cut off.
pub fn entries(data: &[u8]) -> impl Iterator<Item = Option<Entry<'_>>> {
    let mut rest = Some(Reader::new(data));
    std::iter::from_fn(move || {
        let mut reader = rest.take().filter(|reader| !reader.is_empty())?;
        let entry = Entry::take(&mut reader);
        rest = entry.is_some().then_some(reader);
        Some(entry)
    })
}

impl<'a> Entry<'a> {
    fn take(from: &mut Reader<'a>) -> Option<Self> {
        let (qid, offset) = (Field::take(from)?, Field::take(from)?);
        Some(Self { qid, offset, kind: Field::take(from)?, name: Field::take(from)? })
    }
}

#[cfg(test)]
mod tests;
