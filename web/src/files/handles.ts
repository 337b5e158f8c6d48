// Directories that a browser gives: one that the user has picked (File System Access), or the page's own (OPFS). They keep names
// and contents. They know no owners, modes, links or devices: everything is root's, and what would change that is dropped
// or EPERM; with `security_model=mapped-file` the engine keeps all that in files. A file that is removed or replaced while it is open is gone (ESTALE).

import { encodeEntry } from "./codec.ts";
import { Reader } from "./readers.ts";
import { FileError } from "./server.ts";
import { GETATTR_BASIC, type Messages, type Qid, SETATTR, type Stat } from "./wire.gen.ts";
import { openWriter, type Writer } from "./writers.ts";

type Handle = FileSystemDirectoryHandle | FileSystemFileHandle;
/** What the types of some browsers' features lack. */
type Movable = { move?: (parent: FileSystemDirectoryHandle, name: string) => Promise<void> };
type Listed = { entries(): AsyncIterable<[string, Handle]> };

interface Entry {
  handle: Handle;
  /** Where a file is found: the directory's number and the name. */
  key: string;
  readonly id: bigint;
  /** It was removed, or another file took its place: what its name means now is not this file. */
  gone: boolean;
}

interface Fid {
  readonly entry: Entry;
  /** Open to be written. */
  writes: boolean;
  append: boolean;
  reader: Reader | undefined;
  names: [string, Handle][] | undefined;
}

const DIRECTORY_MODE = 0o040755;
const FILE_MODE = 0o100644;
const REMOVE_DIRECTORY = 0x200;
const WRITES = 3;
const [EXCL, TRUNC, APPEND] = [0o200, 0o1000, 0o2000];

export class HandleDirectory {
  readonly #root: Entry;
  /** Files and directories that the guest has seen, by where they are: they keep their numbers. */
  readonly #entries = new Map<string, Entry>();
  readonly #fids = new Map<number, Fid>();
  /** Files that are being written, by number. */
  readonly #writers = new Map<bigint, Writer>();
  #nextId = 2n;

  constructor(root: FileSystemDirectoryHandle) {
    this.#root = { handle: root, key: "", id: 1n, gone: false };
  }

  readonly Tversion = async ({ msize, version }: Messages["Tversion"]): Promise<Messages["Rversion"]> => {
    this.#fids.clear();
    for (const id of [...this.#writers.keys()]) await this.#settle(id);
    this.#entries.clear();
    return { msize, version };
  };

  readonly Tattach = ({ fid }: Messages["Tattach"]): Messages["Rattach"] => {
    this.#add(fid, this.#root);
    return { qid: qid(this.#root) };
  };

  readonly Twalk = async ({ fid, newfid, names }: Messages["Twalk"]): Promise<Messages["Rwalk"]> => {
    const { entry } = this.#fid(fid);
    const [name] = names;
    if (name === undefined) {
      this.#add(newfid, entry);
      return { qids: [] };
    }
    if (names.length > 1) throw new FileError("EINVAL");
    const found = await this.#find(entry, text(name));
    this.#add(newfid, found);
    return { qids: [qid(found)] };
  };

  readonly Tclunk = async ({ fid }: Messages["Tclunk"]): Promise<Messages["Rclunk"]> => {
    const { entry } = this.#fid(fid);
    this.#fids.delete(fid);
    const others = [...this.#fids.values()].filter((other) => other.entry === entry);
    if (!others.some(({ writes }) => writes)) await this.#settle(entry.id);
    if (others.length === 0 && entry.gone) this.#entries.delete(entry.key);
    return {};
  };

  readonly Tgetattr = async ({ fid }: Messages["Tgetattr"]): Promise<Messages["Rgetattr"]> => {
    return { stat: await this.#stat(this.#fid(fid).entry) };
  };

  readonly Tsetattr = async ({ fid, changes }: Messages["Tsetattr"]): Promise<Messages["Rsetattr"]> => {
    const { entry, writes } = this.#fid(fid);
    if (!(changes.valid & SETATTR.SIZE)) return {};
    await (await this.#writer(entry)).truncate(Number(changes.size));
    if (!writes) await this.#settle(entry.id);
    return {};
  };

  readonly Tstatfs = async (): Promise<Messages["Rstatfs"]> => {
    const { quota = 0, usage = 0 } = await navigator.storage.estimate();
    const [blocks, free] = [BigInt(Math.floor(quota / 4096)), BigInt(Math.floor(Math.max(quota - usage, 0) / 4096))];
    const counts = { blocks, bfree: free, bavail: free, files: 1_000_000n, ffree: 1_000_000n };
    return { stat: { magic: 0x01021997, bsize: 4096, ...counts, fsid: 0n, namelen: 255 } };
  };

  readonly Tlopen = async ({ fid, flags }: Messages["Tlopen"]): Promise<Messages["Rlopen"]> => {
    const open = this.#fid(fid);
    const writes = (flags & WRITES) !== 0;
    if (open.entry.handle.kind === "directory" && (writes || flags & TRUNC)) throw new FileError("EISDIR");
    if (flags & TRUNC) await (await this.#writer(open.entry)).truncate(0);
    if (flags & TRUNC && !writes) await this.#settle(open.entry.id);
    open.writes = writes;
    open.append = (flags & APPEND) !== 0;
    return { qid: qid(open.entry), iounit: 0 };
  };

  readonly Tlcreate = async ({ fid, name, flags }: Messages["Tlcreate"]): Promise<Messages["Rlcreate"]> => {
    const parent = this.#fid(fid).entry;
    const given = text(name);
    if (await exists(directory(parent), given)) {
      if (flags & EXCL) throw new FileError("EEXIST");
    } else await directory(parent).getFileHandle(given, { create: true });
    const entry = await this.#find(parent, given);
    this.#fids.delete(fid);
    this.#add(fid, entry);
    return this.Tlopen({ fid, flags });
  };

  readonly Tread = async ({ fid, offset, count }: Messages["Tread"]): Promise<Messages["Rread"]> => {
    const open = this.#fid(fid);
    const handle = file(open.entry);
    const writer = this.#writers.get(open.entry.id);
    if (!writer) open.reader ??= new Reader(handle);
    return { data: (await (writer ?? open.reader)?.read(Number(offset), count)) ?? new Uint8Array(0) };
  };

  readonly Twrite = async ({ fid, offset, data }: Messages["Twrite"]): Promise<Messages["Rwrite"]> => {
    const { entry, writes, append } = this.#fid(fid);
    if (!writes) throw new FileError("EBADF");
    const writer = await this.#writer(entry);
    return { count: await writer.write(append ? writer.size : Number(offset), data.slice()) };
  };

  readonly Tfsync = async ({ fid }: Messages["Tfsync"]): Promise<Messages["Rfsync"]> => {
    await this.#writers.get(this.#fid(fid).entry.id)?.flush();
    return {};
  };

  readonly Treaddir = async ({ fid, offset, count }: Messages["Treaddir"]): Promise<Messages["Rreaddir"]> => {
    const open = this.#fid(fid);
    const handle = directory(open.entry);
    if (offset === 0n || open.names === undefined) {
      open.names = [
        [".", handle],
        ["..", handle],
      ];
      for await (const entry of (handle as unknown as Listed).entries()) open.names.push(entry);
    }
    const parts: Uint8Array[] = [];
    let length = 0;
    for (let at = Number(offset); at < open.names.length; at++) {
      const [name, handle] = open.names[at] ?? ["", open.entry.handle];
      const entry = at < 2 ? open.entry : this.#entry(open.entry, name, handle);
      const type = handle.kind === "directory" ? 4 : 8;
      const part = encodeEntry(qid(entry), BigInt(at + 1), type, new TextEncoder().encode(name));
      if (length + part.length > count) {
        if (length === 0) throw new FileError("EINVAL");
        break;
      }
      parts.push(part);
      length += part.length;
    }
    const data = new Uint8Array(length);
    let at = 0;
    for (const part of parts) {
      data.set(part, at);
      at += part.length;
    }
    return { data };
  };

  readonly Tmkdir = async ({ dfid, name }: Messages["Tmkdir"]): Promise<Messages["Rmkdir"]> => {
    const parent = this.#fid(dfid).entry;
    if (await exists(directory(parent), text(name))) throw new FileError("EEXIST");
    await directory(parent).getDirectoryHandle(text(name), { create: true });
    return { qid: qid(await this.#find(parent, text(name))) };
  };

  readonly Tunlinkat = async ({ dirfd, name, flags }: Messages["Tunlinkat"]): Promise<Messages["Runlinkat"]> => {
    const parent = this.#fid(dirfd).entry;
    const entry = await this.#find(parent, text(name));
    if (entry.handle.kind === "directory" && !(flags & REMOVE_DIRECTORY)) throw new FileError("EISDIR");
    if (entry.handle.kind === "file" && flags & REMOVE_DIRECTORY) throw new FileError("ENOTDIR");
    await this.#settle(entry.id);
    await directory(parent).removeEntry(text(name));
    this.#gone(entry);
    return {};
  };

  /** A directory, which no browser moves in one step, is EXDEV, upon which mv(1) copies. */
  readonly Trenameat = async (fields: Messages["Trenameat"]): Promise<Messages["Rrenameat"]> => {
    const [from, to] = [this.#fid(fields.olddirfid).entry, this.#fid(fields.newdirfid).entry];
    const [oldName, newName] = [text(fields.oldname), text(fields.newname)];
    const entry = await this.#find(from, oldName);
    if (entry.handle.kind !== "file") throw new FileError("EXDEV");
    const replaced = (await exists(directory(to), newName)) ? await this.#find(to, newName) : undefined;
    if (replaced === entry) return {};
    if (replaced?.handle.kind === "directory") throw new FileError("EISDIR");
    await this.#settle(entry.id);
    if (replaced) await this.#settle(replaced.id);
    await move(entry.handle as FileSystemFileHandle, directory(from), oldName, directory(to), newName);
    if (replaced) this.#gone(replaced);
    this.#entries.delete(entry.key);
    entry.key = keyOf(to, newName);
    entry.handle = await directory(to).getFileHandle(newName);
    this.#entries.set(entry.key, entry);
    return {};
  };

  readonly Tsymlink = (): never => refuse();
  readonly Tlink = (): never => refuse();
  readonly Tmknod = (): never => refuse();

  #fid(number: number): Fid {
    const fid = this.#fids.get(number);
    if (!fid) throw new FileError("EBADF");
    return fid;
  }

  #add(fid: number, entry: Entry): void {
    if (this.#fids.has(fid)) throw new FileError("EINVAL");
    this.#fids.set(fid, { entry, writes: false, append: false, reader: undefined, names: undefined });
  }

  async #find(parent: Entry, name: string): Promise<Entry> {
    const handle = directory(parent);
    try {
      return this.#entry(parent, name, await handle.getFileHandle(name));
    } catch (error) {
      if (!(error instanceof DOMException) || error.name !== "TypeMismatchError") throw error;
      return this.#entry(parent, name, await handle.getDirectoryHandle(name));
    }
  }

  #entry(parent: Entry, name: string, handle: Handle): Entry {
    const key = keyOf(parent, name);
    const known = this.#entries.get(key);
    if (known?.handle.kind === handle.kind) return known;
    const entry = { handle, key, id: this.#nextId++, gone: false };
    this.#entries.set(key, entry);
    return entry;
  }

  /** Its name has another meaning from now on, or none. */
  #gone(entry: Entry): void {
    entry.gone = true;
    if (this.#entries.get(entry.key) === entry) this.#entries.delete(entry.key);
  }

  async #writer(entry: Entry): Promise<Writer> {
    const there = this.#writers.get(entry.id);
    if (there) return there;
    const writer = await openWriter(file(entry));
    this.#writers.set(entry.id, writer);
    return writer;
  }

  /** What was written to a file is in it, and the file not open any more. */
  async #settle(id: bigint): Promise<void> {
    const writer = this.#writers.get(id);
    if (!writer) return;
    this.#writers.delete(id);
    for (const fid of this.#fids.values()) if (fid.entry.id === id) fid.reader = undefined;
    await writer.close();
  }

  async #stat(entry: Entry): Promise<Stat> {
    const writer = this.#writers.get(entry.id);
    const now = entry.handle.kind === "file" ? await file(entry).getFile() : undefined;
    const ms = writer ? Date.now() : (now?.lastModified ?? 0);
    const time = { sec: BigInt(Math.floor(ms / 1000)), nsec: BigInt(Math.floor(ms % 1000) * 1_000_000) };
    const size = BigInt(writer?.size ?? now?.size ?? 0);
    return {
      valid: GETATTR_BASIC,
      qid: qid(entry),
      mode: now ? FILE_MODE : DIRECTORY_MODE,
      uid: 0,
      gid: 0,
      nlink: now ? 1n : 2n,
      rdev: 0n,
      size,
      blksize: 4096n,
      blocks: (size + 511n) / 512n,
      atime: time,
      mtime: time,
      ctime: time,
      btime: time,
      generation: 0n,
      data_version: 0n,
    };
  }
}

function refuse(): never {
  throw new FileError("EPERM");
}

/** Browsers' names are text. */
function text(name: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(name);
  } catch {
    throw new FileError("EINVAL");
  }
}

function directory(entry: Entry): FileSystemDirectoryHandle {
  if (entry.gone) throw new FileError("ESTALE");
  if (entry.handle.kind !== "directory") throw new FileError("ENOTDIR");
  return entry.handle as FileSystemDirectoryHandle;
}

function file(entry: Entry): FileSystemFileHandle {
  if (entry.gone) throw new FileError("ESTALE");
  if (entry.handle.kind === "directory") throw new FileError("EISDIR");
  return entry.handle as FileSystemFileHandle;
}

const keyOf = (parent: Entry, name: string): string => `${parent.id}/${name}`;

function qid(entry: Entry): Qid {
  return { kind: entry.handle.kind === "directory" ? 0x80 : 0, version: 1, path: entry.id };
}

async function exists(handle: FileSystemDirectoryHandle, name: string): Promise<boolean> {
  try {
    await handle.getFileHandle(name);
    return true;
  } catch (error) {
    if (error instanceof DOMException && error.name === "NotFoundError") return false;
    if (error instanceof DOMException && error.name === "TypeMismatchError") return true;
    throw error;
  }
}

/** Moves a file, over another if there is one; where the browser cannot, by a copy that is whole before the old one is removed. */
async function move(
  handle: FileSystemFileHandle & Movable,
  from: FileSystemDirectoryHandle,
  oldName: string,
  to: FileSystemDirectoryHandle,
  name: string,
): Promise<void> {
  if (handle.move) {
    try {
      return await handle.move(to, name);
    } catch (error) {
      if (!(error instanceof DOMException) || error.name !== "NotSupportedError") throw error;
    }
  }
  const copy = await to.getFileHandle(name, { create: true });
  await (await handle.getFile()).stream().pipeTo(await copy.createWritable());
  await from.removeEntry(oldName);
}
