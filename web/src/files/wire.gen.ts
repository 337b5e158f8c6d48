// Made by `cargo run -p fs9p --example typescript` from crates/fs9p/src/wire.rs; edit that.

export interface Qid {
  kind: number;
  version: number;
  path: bigint;
}

export interface Timespec {
  sec: bigint;
  nsec: bigint;
}

export interface Stat {
  valid: bigint;
  qid: Qid;
  mode: number;
  uid: number;
  gid: number;
  nlink: bigint;
  rdev: bigint;
  size: bigint;
  blksize: bigint;
  blocks: bigint;
  atime: Timespec;
  mtime: Timespec;
  ctime: Timespec;
  btime: Timespec;
  generation: bigint;
  data_version: bigint;
}

export interface StatFs {
  magic: number;
  bsize: number;
  blocks: bigint;
  bfree: bigint;
  bavail: bigint;
  files: bigint;
  ffree: bigint;
  fsid: bigint;
  namelen: number;
}

export interface SetAttr {
  valid: number;
  mode: number;
  uid: number;
  gid: number;
  size: bigint;
  atime: Timespec;
  mtime: Timespec;
}

/** The fields of each structure, in order. */
export const STRUCTS = {
  Qid: [["kind", "u8"], ["version", "u32"], ["path", "u64"]],
  Timespec: [["sec", "u64"], ["nsec", "u64"]],
  Stat: [["valid", "u64"], ["qid", "Qid"], ["mode", "u32"], ["uid", "u32"], ["gid", "u32"], ["nlink", "u64"], ["rdev", "u64"], ["size", "u64"], ["blksize", "u64"], ["blocks", "u64"], ["atime", "Timespec"], ["mtime", "Timespec"], ["ctime", "Timespec"], ["btime", "Timespec"], ["generation", "u64"], ["data_version", "u64"]],
  StatFs: [["magic", "u32"], ["bsize", "u32"], ["blocks", "u64"], ["bfree", "u64"], ["bavail", "u64"], ["files", "u64"], ["ffree", "u64"], ["fsid", "u64"], ["namelen", "u32"]],
  SetAttr: [["valid", "u32"], ["mode", "u32"], ["uid", "u32"], ["gid", "u32"], ["size", "u64"], ["atime", "Timespec"], ["mtime", "Timespec"]],
} as const;

export interface Messages {
  Tstatfs: { fid: number };
  Rstatfs: { stat: StatFs };
  Tlopen: { fid: number; flags: number };
  Rlopen: { qid: Qid; iounit: number };
  Tlcreate: { fid: number; name: Uint8Array; flags: number; mode: number; gid: number };
  Rlcreate: { qid: Qid; iounit: number };
  Tsymlink: { fid: number; name: Uint8Array; target: Uint8Array; gid: number };
  Rsymlink: { qid: Qid };
  Tmknod: { dfid: number; name: Uint8Array; mode: number; major: number; minor: number; gid: number };
  Rmknod: { qid: Qid };
  Trename: { fid: number; dfid: number; name: Uint8Array };
  Rrename: Record<never, never>;
  Treadlink: { fid: number };
  Rreadlink: { target: Uint8Array };
  Tgetattr: { fid: number; request_mask: bigint };
  Rgetattr: { stat: Stat };
  Tsetattr: { fid: number; changes: SetAttr };
  Rsetattr: Record<never, never>;
  Txattrwalk: { fid: number; newfid: number; name: Uint8Array };
  Rxattrwalk: { size: bigint };
  Txattrcreate: { fid: number; name: Uint8Array; attr_size: bigint; flags: number };
  Rxattrcreate: Record<never, never>;
  Treaddir: { fid: number; offset: bigint; count: number };
  Rreaddir: { data: Uint8Array };
  Tfsync: { fid: number; datasync: number };
  Rfsync: Record<never, never>;
  Tlock: { fid: number; kind: number; flags: number; start: bigint; length: bigint; proc_id: number; client_id: Uint8Array };
  Rlock: { status: number };
  Tgetlock: { fid: number; kind: number; start: bigint; length: bigint; proc_id: number; client_id: Uint8Array };
  Rgetlock: { kind: number; start: bigint; length: bigint; proc_id: number; client_id: Uint8Array };
  Tlink: { dfid: number; fid: number; name: Uint8Array };
  Rlink: Record<never, never>;
  Tmkdir: { dfid: number; name: Uint8Array; mode: number; gid: number };
  Rmkdir: { qid: Qid };
  Trenameat: { olddirfid: number; oldname: Uint8Array; newdirfid: number; newname: Uint8Array };
  Rrenameat: Record<never, never>;
  Tunlinkat: { dirfd: number; name: Uint8Array; flags: number };
  Runlinkat: Record<never, never>;
  Tversion: { msize: number; version: Uint8Array };
  Rversion: { msize: number; version: Uint8Array };
  Tauth: { afid: number; uname: Uint8Array; aname: Uint8Array; n_uname: number };
  Rauth: { aqid: Qid };
  Tattach: { fid: number; afid: number; uname: Uint8Array; aname: Uint8Array; n_uname: number };
  Rattach: { qid: Qid };
  Tflush: { oldtag: number };
  Rflush: Record<never, never>;
  Twalk: { fid: number; newfid: number; names: Uint8Array[] };
  Rwalk: { qids: Qid[] };
  Tread: { fid: number; offset: bigint; count: number };
  Rread: { data: Uint8Array };
  Twrite: { fid: number; offset: bigint; data: Uint8Array };
  Rwrite: { count: number };
  Tclunk: { fid: number };
  Rclunk: Record<never, never>;
  Tremove: { fid: number };
  Rremove: Record<never, never>;
  Rlerror: { ecode: number };
}

/** Type and fields of each message. */
export const MESSAGES = {
  Tstatfs: { kind: 8, fields: [["fid", "u32"]] },
  Rstatfs: { kind: 9, fields: [["stat", "StatFs"]] },
  Tlopen: { kind: 12, fields: [["fid", "u32"], ["flags", "u32"]] },
  Rlopen: { kind: 13, fields: [["qid", "Qid"], ["iounit", "u32"]] },
  Tlcreate: { kind: 14, fields: [["fid", "u32"], ["name", "bytes"], ["flags", "u32"], ["mode", "u32"], ["gid", "u32"]] },
  Rlcreate: { kind: 15, fields: [["qid", "Qid"], ["iounit", "u32"]] },
  Tsymlink: { kind: 16, fields: [["fid", "u32"], ["name", "bytes"], ["target", "bytes"], ["gid", "u32"]] },
  Rsymlink: { kind: 17, fields: [["qid", "Qid"]] },
  Tmknod: { kind: 18, fields: [["dfid", "u32"], ["name", "bytes"], ["mode", "u32"], ["major", "u32"], ["minor", "u32"], ["gid", "u32"]] },
  Rmknod: { kind: 19, fields: [["qid", "Qid"]] },
  Trename: { kind: 20, fields: [["fid", "u32"], ["dfid", "u32"], ["name", "bytes"]] },
  Rrename: { kind: 21, fields: [] },
  Treadlink: { kind: 22, fields: [["fid", "u32"]] },
  Rreadlink: { kind: 23, fields: [["target", "bytes"]] },
  Tgetattr: { kind: 24, fields: [["fid", "u32"], ["request_mask", "u64"]] },
  Rgetattr: { kind: 25, fields: [["stat", "Stat"]] },
  Tsetattr: { kind: 26, fields: [["fid", "u32"], ["changes", "SetAttr"]] },
  Rsetattr: { kind: 27, fields: [] },
  Txattrwalk: { kind: 30, fields: [["fid", "u32"], ["newfid", "u32"], ["name", "bytes"]] },
  Rxattrwalk: { kind: 31, fields: [["size", "u64"]] },
  Txattrcreate: { kind: 32, fields: [["fid", "u32"], ["name", "bytes"], ["attr_size", "u64"], ["flags", "u32"]] },
  Rxattrcreate: { kind: 33, fields: [] },
  Treaddir: { kind: 40, fields: [["fid", "u32"], ["offset", "u64"], ["count", "u32"]] },
  Rreaddir: { kind: 41, fields: [["data", "data"]] },
  Tfsync: { kind: 50, fields: [["fid", "u32"], ["datasync", "u32"]] },
  Rfsync: { kind: 51, fields: [] },
  Tlock: { kind: 52, fields: [["fid", "u32"], ["kind", "u8"], ["flags", "u32"], ["start", "u64"], ["length", "u64"], ["proc_id", "u32"], ["client_id", "bytes"]] },
  Rlock: { kind: 53, fields: [["status", "u8"]] },
  Tgetlock: { kind: 54, fields: [["fid", "u32"], ["kind", "u8"], ["start", "u64"], ["length", "u64"], ["proc_id", "u32"], ["client_id", "bytes"]] },
  Rgetlock: { kind: 55, fields: [["kind", "u8"], ["start", "u64"], ["length", "u64"], ["proc_id", "u32"], ["client_id", "bytes"]] },
  Tlink: { kind: 70, fields: [["dfid", "u32"], ["fid", "u32"], ["name", "bytes"]] },
  Rlink: { kind: 71, fields: [] },
  Tmkdir: { kind: 72, fields: [["dfid", "u32"], ["name", "bytes"], ["mode", "u32"], ["gid", "u32"]] },
  Rmkdir: { kind: 73, fields: [["qid", "Qid"]] },
  Trenameat: { kind: 74, fields: [["olddirfid", "u32"], ["oldname", "bytes"], ["newdirfid", "u32"], ["newname", "bytes"]] },
  Rrenameat: { kind: 75, fields: [] },
  Tunlinkat: { kind: 76, fields: [["dirfd", "u32"], ["name", "bytes"], ["flags", "u32"]] },
  Runlinkat: { kind: 77, fields: [] },
  Tversion: { kind: 100, fields: [["msize", "u32"], ["version", "bytes"]] },
  Rversion: { kind: 101, fields: [["msize", "u32"], ["version", "bytes"]] },
  Tauth: { kind: 102, fields: [["afid", "u32"], ["uname", "bytes"], ["aname", "bytes"], ["n_uname", "u32"]] },
  Rauth: { kind: 103, fields: [["aqid", "Qid"]] },
  Tattach: { kind: 104, fields: [["fid", "u32"], ["afid", "u32"], ["uname", "bytes"], ["aname", "bytes"], ["n_uname", "u32"]] },
  Rattach: { kind: 105, fields: [["qid", "Qid"]] },
  Tflush: { kind: 108, fields: [["oldtag", "u16"]] },
  Rflush: { kind: 109, fields: [] },
  Twalk: { kind: 110, fields: [["fid", "u32"], ["newfid", "u32"], ["names", "bytes[]"]] },
  Rwalk: { kind: 111, fields: [["qids", "Qid[]"]] },
  Tread: { kind: 116, fields: [["fid", "u32"], ["offset", "u64"], ["count", "u32"]] },
  Rread: { kind: 117, fields: [["data", "data"]] },
  Twrite: { kind: 118, fields: [["fid", "u32"], ["offset", "u64"], ["data", "data"]] },
  Rwrite: { kind: 119, fields: [["count", "u32"]] },
  Tclunk: { kind: 120, fields: [["fid", "u32"]] },
  Rclunk: { kind: 121, fields: [] },
  Tremove: { kind: 122, fields: [["fid", "u32"]] },
  Rremove: { kind: 123, fields: [] },
  Rlerror: { kind: 7, fields: [["ecode", "u32"]] },
} as const;

/** Linux's error numbers. */
export const ERRNO: Readonly<Record<string, number>> = {
  EPERM: 1,
  ENOENT: 2,
  EINTR: 4,
  EIO: 5,
  ENXIO: 6,
  E2BIG: 7,
  EBADF: 9,
  EAGAIN: 11,
  ENOMEM: 12,
  EACCES: 13,
  EBUSY: 16,
  EEXIST: 17,
  EXDEV: 18,
  ENODEV: 19,
  ENOTDIR: 20,
  EISDIR: 21,
  EINVAL: 22,
  ENFILE: 23,
  EMFILE: 24,
  ETXTBSY: 26,
  EFBIG: 27,
  ENOSPC: 28,
  EROFS: 30,
  EMLINK: 31,
  ERANGE: 34,
  ENAMETOOLONG: 36,
  ENOLCK: 37,
  ENOSYS: 38,
  ENOTEMPTY: 39,
  ELOOP: 40,
  ENODATA: 61,
  EPROTO: 71,
  EBADMSG: 74,
  EOVERFLOW: 75,
  EMSGSIZE: 90,
  EOPNOTSUPP: 95,
  ESTALE: 116,
  EDQUOT: 122,
};

/** Bits of `valid` in Tsetattr. */
export const SETATTR = {
  MODE: 0x1,
  UID: 0x2,
  GID: 0x4,
  SIZE: 0x8,
  ATIME: 0x10,
  MTIME: 0x20,
  ATIME_SET: 0x80,
  MTIME_SET: 0x100,
} as const;

/** What Rgetattr tells at least. */
export const GETATTR_BASIC = 0x7ffn;
