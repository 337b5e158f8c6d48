// What stat(2) tells of a file as the guest's kernel has it, and what changes it.

import * as fs from "node:fs";
import { FileError } from "../files/server.ts";
import { GETATTR_BASIC, type Qid, SETATTR, type SetAttr, type Stat, type Timespec } from "../files/wire.gen.ts";

const { S_IFMT, S_IFDIR, S_IFLNK } = fs.constants;

export function qid(stat: fs.BigIntStats): Qid {
  const mode = Number(stat.mode) & S_IFMT;
  // as QEMU has it; never 0, which Linux takes for "do not cache"
  const version = Number((stat.mtimeMs ^ (stat.size << 8n)) & 0xffffffffn) || 1;
  return { kind: mode === S_IFDIR ? 0x80 : mode === S_IFLNK ? 2 : 0, version, path: path64(stat) };
}

/** Files of several devices under one root must not be taken for one another. */
function path64(stat: fs.BigIntStats): bigint {
  return BigInt.asUintN(64, stat.ino ^ (stat.dev << 48n));
}

function time(ns: bigint): Timespec {
  const nsec = ((ns % 1_000_000_000n) + 1_000_000_000n) % 1_000_000_000n;
  return { sec: (ns - nsec) / 1_000_000_000n, nsec };
}

export function attributes(s: fs.BigIntStats): Stat {
  const number = (value: bigint) => Number(value);
  const major = (s.rdev >> 8n) & 0xfffn;
  const minor = (s.rdev & 0xffn) | ((s.rdev >> 12n) & 0xfff00n);
  return {
    valid: GETATTR_BASIC,
    qid: qid(s),
    mode: number(s.mode),
    uid: number(s.uid),
    gid: number(s.gid),
    nlink: s.nlink,
    rdev: (minor & 0xffn) | (major << 8n) | ((minor & 0xfff00n) << 12n),
    size: s.size,
    blksize: s.blksize,
    blocks: s.blocks,
    atime: time(s.atimeNs),
    mtime: time(s.mtimeNs),
    ctime: time(s.ctimeNs),
    btime: time(0n),
    generation: 0n,
    data_version: 0n,
  };
}

interface Changer {
  chmod(mode: number): void;
  chown(uid: number, gid: number): void;
  truncate(size: number): void;
  utimes(atime: number, mtime: number): void;
}

/** Changes a file by a descriptor of it, or by a path that stands for one. */
export function by(file: number | string): Changer {
  if (typeof file === "number") {
    return {
      chmod: (mode) => fs.fchmodSync(file, mode),
      chown: (uid, gid) => fs.fchownSync(file, uid, gid),
      truncate: (size) => fs.ftruncateSync(file, size),
      utimes: (atime, mtime) => fs.futimesSync(file, atime, mtime),
    };
  }
  return {
    chmod: (mode) => fs.chmodSync(file, mode),
    chown: (uid, gid) => fs.chownSync(file, uid, gid),
    truncate: (size) => fs.truncateSync(file, size),
    utimes: (atime, mtime) => fs.utimesSync(file, atime, mtime),
  };
}

export function change(changes: SetAttr, stat: fs.Stats, to: Changer): void {
  const is = (bit: number) => (changes.valid & bit) !== 0;
  if (is(SETATTR.SIZE)) {
    if (changes.size > BigInt(Number.MAX_SAFE_INTEGER)) throw new FileError("EFBIG");
    to.truncate(Number(changes.size));
  }
  if (is(SETATTR.UID | SETATTR.GID)) to.chown(...owner(changes, stat));
  if (is(SETATTR.MODE)) to.chmod(changes.mode & 0o7777);
  if (is(SETATTR.ATIME | SETATTR.MTIME)) to.utimes(...times(changes, stat));
}

/** A symbolic link: it has an owner and times, and its mode means nothing. */
export function changeLink(changes: SetAttr, link: Buffer): void {
  const stat = fs.lstatSync(link);
  const is = (bit: number) => (changes.valid & bit) !== 0;
  if (is(SETATTR.SIZE)) throw new FileError("EINVAL");
  if (is(SETATTR.MODE)) throw new FileError("EOPNOTSUPP");
  if (is(SETATTR.UID | SETATTR.GID)) fs.lchownSync(link, ...owner(changes, stat));
  if (is(SETATTR.ATIME | SETATTR.MTIME)) fs.lutimesSync(link, ...times(changes, stat));
}

function owner(changes: SetAttr, stat: fs.Stats): [number, number] {
  const given = (bit: number, id: number, now: number) => (changes.valid & bit && id !== 0xffffffff ? id : now);
  return [given(SETATTR.UID, changes.uid, stat.uid), given(SETATTR.GID, changes.gid, stat.gid)];
}

/** Seconds, for both. */
function times(changes: SetAttr, stat: fs.Stats): [number, number] {
  const seconds = (bit: number, set: number, given: Timespec, nowMs: number): number => {
    if (!(changes.valid & bit)) return nowMs / 1000;
    if (!(changes.valid & set)) return Date.now() / 1000;
    return Number(BigInt.asIntN(64, given.sec)) + Number(given.nsec) / 1e9;
  };
  return [
    seconds(SETATTR.ATIME, SETATTR.ATIME_SET, changes.atime, stat.atimeMs),
    seconds(SETATTR.MTIME, SETATTR.MTIME_SET, changes.mtime, stat.mtimeMs),
  ];
}
