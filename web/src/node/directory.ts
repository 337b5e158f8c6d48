// A directory of this machine, shared with the guest: requests on files in it, and no way out of it.
//
// Node has no openat(2). Linux's /proc/self/fd gives the same: a directory is held open (O_PATH), a file in it is named by
// `/proc/self/fd/N/NAME` with NAME one component, and nothing is opened through a symbolic link (O_NOFOLLOW). So what anybody
// renames or links meanwhile cannot lead elsewhere.

import * as fs from "node:fs";
import { encodeEntry } from "../files/codec.ts";
import { FileError, MSIZE, type Share } from "../files/server.ts";
import type { Messages } from "../files/wire.gen.ts";
import { attributes, by, change, changeLink, qid } from "./attributes.ts";

const { O_DIRECTORY, O_NOFOLLOW, O_CREAT, O_EXCL, O_APPEND, O_TRUNC, O_DSYNC, O_SYNC, O_NONBLOCK } = fs.constants;
const { S_IFMT, S_IFLNK } = fs.constants;
/** open(2); Node does not name it. */
const O_PATH = 0o10000000;
const ACCESS_MODE = 3;
/** What of `Tlopen`'s flags goes on to open(2); the numbers are the same on x86, not everywhere. */
const FLAGS: readonly (readonly [number, number])[] = [
  [0o1000, O_TRUNC],
  [0o2000, O_APPEND],
  [0o10000, O_DSYNC],
  [0o4000000, O_SYNC],
];
const REMOVE_DIRECTORY = 0x200;

/** A file that the guest has a number for; one for all fids of a file, so that each follows its renames. */
interface Entry {
  readonly key: string;
  readonly directory: boolean;
  /** Where it was last seen: nothing for the root. */
  parent: Entry | undefined;
  name: Buffer;
  /** O_PATH, for directories. */
  readonly fd: number;
  fids: number;
}

interface Fid {
  readonly entry: Entry;
  /** An open regular file. */
  file?: number;
  /** An open directory's names, as they were when it was read from the start. */
  names?: Buffer[];
}

export class Directory implements Share {
  readonly #root: Entry;
  readonly #entries = new Map<string, Entry>();
  readonly #fids = new Map<number, Fid>();

  /** Throws what is wrong with `path`. */
  constructor(path: string) {
    if (process.platform !== "linux") throw new Error("directories can be shared on Linux only, for want of openat(2)");
    // the path itself is its owner's choice: it may be a link
    const fd = fs.openSync(path, O_PATH | O_DIRECTORY);
    this.#root = {
      key: key(fs.fstatSync(fd, { bigint: true })),
      directory: true,
      parent: undefined,
      name: Buffer.alloc(0),
      fd,
      fids: 1,
    };
    this.#entries.set(this.#root.key, this.#root);
  }

  /** Closes everything. */
  close(): void {
    for (const fid of [...this.#fids.keys()]) this.Tclunk({ fid });
    this.#release(this.#root);
  }

  Tversion({ msize, version }: Messages["Tversion"]): Messages["Rversion"] {
    for (const fid of [...this.#fids.keys()]) this.Tclunk({ fid });
    return { msize: Math.min(msize, MSIZE), version };
  }

  Tattach({ fid }: Messages["Tattach"]): Messages["Rattach"] {
    this.#root.fids++;
    this.#add(fid, this.#root);
    return { qid: qid(fs.fstatSync(this.#root.fd, { bigint: true })) };
  }

  Twalk({ fid, newfid, names }: Messages["Twalk"]): Messages["Rwalk"] {
    const { entry } = this.#fid(fid);
    const [name] = names;
    if (name === undefined) {
      entry.fids++;
      this.#add(newfid, entry);
      return { qids: [] };
    }
    if (names.length > 1) throw new FileError("EINVAL");
    const found = this.#find(this.#directory(fid), name);
    this.#add(newfid, found.entry);
    return { qids: [qid(found.stat)] };
  }

  Tclunk({ fid }: Messages["Tclunk"]): Messages["Rclunk"] {
    const { entry, file } = this.#fid(fid);
    this.#fids.delete(fid);
    this.#release(entry);
    if (file !== undefined) fs.closeSync(file);
    return {};
  }

  Tgetattr({ fid }: Messages["Tgetattr"]): Messages["Rgetattr"] {
    const { entry, file } = this.#fid(fid);
    return { stat: attributes(file === undefined ? this.#stat(entry) : fs.fstatSync(file, { bigint: true })) };
  }

  Tsetattr({ fid, changes }: Messages["Tsetattr"]): Messages["Rsetattr"] {
    const { entry, file } = this.#fid(fid);
    if (file !== undefined) change(changes, fs.fstatSync(file), by(file));
    else if (entry.directory) change(changes, fs.fstatSync(entry.fd), by(`/proc/self/fd/${entry.fd}`));
    else if (this.#isLink(entry)) changeLink(changes, path(entry));
    else this.#held(entry, (held) => change(changes, fs.fstatSync(held), by(`/proc/self/fd/${held}`)));
    return {};
  }

  Treadlink({ fid }: Messages["Treadlink"]): Messages["Rreadlink"] {
    const { entry } = this.#fid(fid);
    if (!this.#isLink(entry)) throw new FileError("EINVAL");
    return { target: fs.readlinkSync(path(entry), "buffer") };
  }

  Tstatfs(): Messages["Rstatfs"] {
    const s = fs.statfsSync(`/proc/self/fd/${this.#root.fd}`, { bigint: true });
    const { blocks, bfree, bavail, files, ffree } = s;
    const stat = { magic: Number(s.type & 0xffffffffn), bsize: Number(s.bsize), blocks, bfree, bavail, files, ffree };
    return { stat: { ...stat, fsid: 0n, namelen: 255 } };
  }

  Tlopen({ fid, flags }: Messages["Tlopen"]): Messages["Rlopen"] {
    const open = this.#fid(fid);
    if (open.entry.directory) {
      if ((flags & ACCESS_MODE) !== 0 || flags & 0o1000) throw new FileError("EISDIR");
      open.names = [];
      return { qid: qid(fs.fstatSync(open.entry.fd, { bigint: true })), iounit: 0 };
    }
    return this.#held(open.entry, (held) => {
      const stat = fs.fstatSync(held, { bigint: true });
      if ((Number(stat.mode) & S_IFMT) === S_IFLNK) throw new FileError("ELOOP");
      if (!stat.isFile()) throw new FileError("ENXIO");
      if (flags & 0o200000) throw new FileError("ENOTDIR");
      open.file = fs.openSync(`/proc/self/fd/${held}`, openFlags(flags));
      return { qid: qid(stat), iounit: 0 };
    });
  }

  Tlcreate({ fid, name, flags, mode }: Messages["Tlcreate"]): Messages["Rlcreate"] {
    const before = this.#fid(fid);
    const parent = this.#directory(fid);
    const file = fs.openSync(within(parent, name), openFlags(flags) | O_CREAT | O_EXCL | O_NOFOLLOW, mode & 0o7777);
    try {
      fs.fchmodSync(file, mode & 0o7777); // this process's umask is no matter of the guest's
      const stat = fs.fstatSync(file, { bigint: true });
      this.#fids.delete(fid);
      this.#add(fid, this.#entry(stat, parent, Buffer.from(name)));
      this.#release(before.entry);
      this.#fid(fid).file = file;
      return { qid: qid(stat), iounit: 0 };
    } catch (error) {
      fs.closeSync(file);
      throw error;
    }
  }

  Tread({ fid, offset, count }: Messages["Tread"]): Messages["Rread"] {
    const { entry, file } = this.#fid(fid);
    if (file === undefined) throw new FileError(entry.directory ? "EISDIR" : "EBADF");
    const data = Buffer.allocUnsafe(Math.min(count, MSIZE));
    return { data: data.subarray(0, fs.readSync(file, data, 0, data.length, offset)) };
  }

  Twrite({ fid, offset, data }: Messages["Twrite"]): Messages["Rwrite"] {
    const { file } = this.#fid(fid);
    if (file === undefined) throw new FileError("EBADF");
    if (offset > BigInt(Number.MAX_SAFE_INTEGER)) throw new FileError("EFBIG");
    return { count: fs.writeSync(file, data, 0, data.length, Number(offset)) };
  }

  Tfsync({ fid, datasync }: Messages["Tfsync"]): Messages["Rfsync"] {
    const { entry, file } = this.#fid(fid);
    if (file !== undefined) (datasync ? fs.fdatasyncSync : fs.fsyncSync)(file);
    else if (entry.directory) {
      const fd = fs.openSync(`/proc/self/fd/${entry.fd}`, O_DIRECTORY);
      try {
        fs.fsyncSync(fd);
      } finally {
        fs.closeSync(fd);
      }
    } else throw new FileError("EBADF");
    return {};
  }

  /** Offsets count the names as they were when the directory was read from its start. */
  Treaddir({ fid, offset, count }: Messages["Treaddir"]): Messages["Rreaddir"] {
    const open = this.#fid(fid);
    if (open.names === undefined) throw new FileError(open.entry.directory ? "EBADF" : "ENOTDIR");
    if (offset === 0n) {
      const names = fs.readdirSync(`/proc/self/fd/${open.entry.fd}`, { encoding: "buffer" });
      open.names = [Buffer.from("."), Buffer.from(".."), ...names];
    }
    const parts: Uint8Array[] = [];
    let length = 0;
    for (let at = Number(offset); at < open.names.length; at++) {
      const name = open.names[at] ?? Buffer.alloc(0);
      const stat = at < 2 ? fs.fstatSync(open.entry.fd, { bigint: true }) : lstat(within(open.entry, name));
      if (stat === undefined) continue; // removed meanwhile
      const part = encodeEntry(qid(stat), BigInt(at + 1), Number(stat.mode >> 12n) & 15, name);
      if (length + part.length > count) {
        if (length === 0) throw new FileError("EINVAL");
        break;
      }
      parts.push(part);
      length += part.length;
    }
    return { data: Buffer.concat(parts) };
  }

  Tmkdir({ dfid, name, mode }: Messages["Tmkdir"]): Messages["Rmkdir"] {
    const parent = this.#directory(dfid);
    const made = within(parent, name);
    fs.mkdirSync(made, { mode: mode & 0o7777 });
    const { entry, stat } = this.#find(parent, name);
    // as above; the set-group-ID bit comes from the directory
    if (entry.directory) fs.chmodSync(`/proc/self/fd/${entry.fd}`, (mode & 0o1777) | (Number(stat.mode) & 0o2000));
    this.#release(entry);
    return { qid: qid(stat) };
  }

  Tsymlink({ fid, name, target }: Messages["Tsymlink"]): Messages["Rsymlink"] {
    const made = within(this.#directory(fid), name);
    fs.symlinkSync(Buffer.from(target), made);
    return { qid: qid(fs.lstatSync(made, { bigint: true })) };
  }

  /** Node has no mknod(2). */
  Tmknod(): Messages["Rmknod"] {
    throw new FileError("EPERM");
  }

  Tlink({ dfid, fid, name }: Messages["Tlink"]): Messages["Rlink"] {
    const { entry } = this.#fid(fid);
    const made = within(this.#directory(dfid), name);
    if (entry.directory) throw new FileError(lstat(made) ? "EEXIST" : "EPERM");
    this.#stat(entry);
    fs.linkSync(path(entry), made);
    return {};
  }

  Tunlinkat({ dirfd, name, flags }: Messages["Tunlinkat"]): Messages["Runlinkat"] {
    const gone = within(this.#directory(dirfd), name);
    if (flags & REMOVE_DIRECTORY) fs.rmdirSync(gone);
    else fs.unlinkSync(gone);
    return {};
  }

  Trenameat({ olddirfid, oldname, newdirfid, newname }: Messages["Trenameat"]): Messages["Rrenameat"] {
    const [from, to] = [this.#directory(olddirfid), this.#directory(newdirfid)];
    fs.renameSync(within(from, oldname), within(to, newname));
    const stat = lstat(within(to, newname));
    const entry = stat && this.#entries.get(key(stat));
    if (entry) this.#moved(entry, to, Buffer.from(newname));
    return {};
  }

  #fid(number: number): Fid {
    const fid = this.#fids.get(number);
    if (!fid) throw new FileError("EBADF");
    return fid;
  }

  #directory(fid: number): Entry {
    const { entry } = this.#fid(fid);
    if (!entry.directory) throw new FileError("ENOTDIR");
    return entry;
  }

  /** Takes over one count of `entry`. */
  #add(fid: number, entry: Entry): void {
    if (this.#fids.has(fid)) {
      this.#release(entry);
      throw new FileError("EINVAL");
    }
    this.#fids.set(fid, { entry });
  }

  #find(parent: Entry, name: Uint8Array): { entry: Entry; stat: fs.BigIntStats } {
    const stat = fs.lstatSync(within(parent, name), { bigint: true });
    const entry = this.#entry(stat, parent, Buffer.from(name));
    return { entry, stat: entry.directory ? fs.fstatSync(entry.fd, { bigint: true }) : stat };
  }

  /** The entry of a file that was just seen, counted once more. */
  #entry(stat: fs.BigIntStats, parent: Entry, name: Buffer): Entry {
    const known = this.#entries.get(key(stat));
    if (known) {
      known.fids++;
      if (known !== this.#root) this.#moved(known, parent, name);
      return known;
    }
    if (!stat.isDirectory()) return this.#keep(key(stat), parent, name, -1);
    const fd = fs.openSync(within(parent, name), O_PATH | O_DIRECTORY | O_NOFOLLOW);
    // another may have its name by now: what is open counts
    const opened = key(fs.fstatSync(fd, { bigint: true }));
    const other = this.#entries.get(opened);
    if (other === undefined) return this.#keep(opened, parent, name, fd);
    fs.closeSync(fd);
    other.fids++;
    return other;
  }

  #keep(key: string, parent: Entry, name: Buffer, fd: number): Entry {
    const entry: Entry = { key, directory: fd >= 0, parent, name, fd, fids: 1 };
    parent.fids++;
    this.#entries.set(key, entry);
    return entry;
  }

  #moved(entry: Entry, parent: Entry, name: Buffer): void {
    const before = entry.parent;
    parent.fids++;
    entry.parent = parent;
    entry.name = name;
    if (before) this.#release(before);
  }

  #release(entry: Entry): void {
    for (let at: Entry | undefined = entry; at; at = at.parent) {
      if (--at.fids > 0) return;
      this.#entries.delete(at.key);
      if (at.fd >= 0) fs.closeSync(at.fd);
    }
  }

  /** ENOENT if the file is not where it was last seen. */
  #stat(entry: Entry): fs.BigIntStats {
    if (entry.directory) return fs.fstatSync(entry.fd, { bigint: true });
    const stat = fs.lstatSync(path(entry), { bigint: true });
    if (key(stat) === entry.key) return stat;
    throw new FileError("ENOENT");
  }

  #isLink(entry: Entry): boolean {
    return !entry.directory && this.#stat(entry).isSymbolicLink();
  }

  /** Does something with a descriptor (O_PATH) of the file. */
  #held<T>(entry: Entry, act: (fd: number) => T): T {
    const fd = fs.openSync(path(entry), O_PATH | O_NOFOLLOW);
    try {
      if (key(fs.fstatSync(fd, { bigint: true })) !== entry.key) throw new FileError("ENOENT");
      return act(fd);
    } finally {
      fs.closeSync(fd);
    }
  }
}

/** What a file is known by: device and inode, and the type, for a file system gives an inode's number to another file soon. */
function key(stat: fs.BigIntStats): string {
  return `${stat.dev}:${stat.ino}:${Number(stat.mode) & S_IFMT}`;
}

/** `name` in `parent`, as a path with one component behind the descriptor. */
function within(parent: Entry, name: Uint8Array): Buffer {
  const text = Buffer.from(name);
  if (text.length === 0 || text.includes(0) || text.includes("/") || text.equals(DOT) || text.equals(DOT_DOT)) {
    throw new FileError("ENOENT");
  }
  return Buffer.concat([Buffer.from(`/proc/self/fd/${parent.fd}/`), text]);
}

const DOT = Buffer.from(".");
const DOT_DOT = Buffer.from("..");

function path(entry: Entry): Buffer {
  return entry.parent ? within(entry.parent, entry.name) : Buffer.from(`/proc/self/fd/${entry.fd}`);
}

function lstat(path: Buffer): fs.BigIntStats | undefined {
  return fs.lstatSync(path, { bigint: true, throwIfNoEntry: false });
}

function openFlags(flags: number): number {
  const known = FLAGS.reduce((all, [guest, host]) => (flags & guest ? all | host : all), 0);
  return (flags & ACCESS_MODE) | known | O_NONBLOCK;
}
