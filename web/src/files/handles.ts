// Directories that a browser gives: one that the user has picked (File System Access), or the page's own (OPFS). They keep names
// and contents. They know no owners, modes, links or devices: everything is root's, and what would change that is dropped
// (`security_model=none`) or EPERM.

import { encodeEntry } from "./codec.ts";
import { FileError, type Handlers } from "./server.ts";
import { GETATTR_BASIC, type Messages, type Qid, SETATTR, type Stat } from "./wire.gen.ts";

type Handle = FileSystemDirectoryHandle | FileSystemFileHandle;
/** What the types of some browsers' features lack. */
type Movable = { move?: (parent: FileSystemDirectoryHandle, name: string) => Promise<void> };
type Listed = { entries(): AsyncIterable<[string, Handle]> };

interface Entry {
  handle: Handle;
  parent: Entry | undefined;
  name: string;
  readonly id: bigint;
}

interface Fid {
  readonly entry: Entry;
  open: boolean;
  append: boolean;
  names: [string, Handle][] | undefined;
}

const DIRECTORY_MODE = 0o040755;
const FILE_MODE = 0o100644;
const REMOVE_DIRECTORY = 0x200;
const WRITES = 3;
const [EXCL, TRUNC, APPEND] = [0o200, 0o1000, 0o2000];

/** Linux's name for what a browser's exception says. */
const CODES: Readonly<Record<string, string>> = {
  NotFoundError: "ENOENT",
  TypeMismatchError: "ENOTDIR",
  NotAllowedError: "EACCES",
  SecurityError: "EACCES",
  NoModificationAllowedError: "EBUSY",
  InvalidModificationError: "ENOTEMPTY",
  QuotaExceededError: "ENOSPC",
  InvalidStateError: "EIO",
};

/** Requests one after the other: a browser's directory has no operation that would be atomic otherwise. */
export function shareHandle(root: FileSystemDirectoryHandle): Handlers {
  const directory = new HandleDirectory(root);
  let last: Promise<unknown> = Promise.resolve();
  const wrapped = (name: keyof Handlers) => (fields: never) => {
    const act = async () => {
      try {
        return await (directory[name as keyof HandleDirectory] as (fields: never) => unknown)(fields);
      } catch (error) {
        const code = error instanceof DOMException ? CODES[error.name] : undefined;
        throw code === undefined ? error : new FileError(code);
      }
    };
    const result = last.then(act);
    last = result.catch(() => {});
    return result;
  };
  return Object.fromEntries(HANDLED.map((name) => [name, wrapped(name)])) as Handlers;
}

/** The page's own directory of this name, made if there is none. */
export async function originDirectory(name: string): Promise<FileSystemDirectoryHandle> {
  let directory = await navigator.storage.getDirectory();
  for (const part of name.split("/").filter((part) => part !== "")) {
    directory = await directory.getDirectoryHandle(part, { create: true });
  }
  return directory;
}

class HandleDirectory {
  readonly #root: Entry;
  readonly #ids = new Map<string, bigint>();
  readonly #fids = new Map<number, Fid>();

  constructor(root: FileSystemDirectoryHandle) {
    this.#root = { handle: root, parent: undefined, name: "", id: 1n };
  }

  readonly Tversion = ({ msize, version }: Messages["Tversion"]): Messages["Rversion"] => {
    this.#fids.clear();
    return { msize, version };
  };

  readonly Tattach = ({ fid }: Messages["Tattach"]): Messages["Rattach"] => {
    this.#add(fid, this.#root);
    return { qid: this.#qid(this.#root) };
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
    return { qids: [this.#qid(found)] };
  };

  readonly Tclunk = ({ fid }: Messages["Tclunk"]): Messages["Rclunk"] => {
    this.#fid(fid);
    this.#fids.delete(fid);
    return {};
  };

  readonly Tgetattr = async ({ fid }: Messages["Tgetattr"]): Promise<Messages["Rgetattr"]> => {
    return { stat: await this.#stat(this.#fid(fid).entry) };
  };

  readonly Tsetattr = async ({ fid, changes }: Messages["Tsetattr"]): Promise<Messages["Rsetattr"]> => {
    if (changes.valid & SETATTR.SIZE) await write(this.#file(fid), (file) => file.truncate(Number(changes.size)));
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
    const directory = open.entry.handle.kind === "directory";
    if (directory && (flags & WRITES || flags & TRUNC)) throw new FileError("EISDIR");
    if (!directory && flags & TRUNC) await write(this.#file(fid), (file) => file.truncate(0));
    open.open = true;
    open.append = (flags & APPEND) !== 0;
    return { qid: this.#qid(open.entry), iounit: 0 };
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
    const file = await this.#file(fid).getFile();
    const start = Math.min(Number(offset), file.size);
    return { data: new Uint8Array(await file.slice(start, start + count).arrayBuffer()) };
  };

  readonly Twrite = async ({ fid, offset, data }: Messages["Twrite"]): Promise<Messages["Rwrite"]> => {
    const handle = this.#file(fid);
    const position = this.#fid(fid).append ? (await handle.getFile()).size : Number(offset);
    await write(handle, (file) => file.write({ type: "write", position, data: data.slice() }));
    return { count: data.length };
  };

  /** Each write was closed, which is as durable as a browser's file gets. */
  readonly Tfsync = (): Messages["Rfsync"] => ({});

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
      const part = encodeEntry(this.#qid(entry), BigInt(at + 1), type, new TextEncoder().encode(name));
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
    return { qid: this.#qid(await this.#find(parent, text(name))) };
  };

  readonly Tunlinkat = async ({ dirfd, name, flags }: Messages["Tunlinkat"]): Promise<Messages["Runlinkat"]> => {
    const parent = this.#fid(dirfd).entry;
    const { handle } = await this.#find(parent, text(name));
    if (handle.kind === "directory" && !(flags & REMOVE_DIRECTORY)) throw new FileError("EISDIR");
    if (handle.kind === "file" && flags & REMOVE_DIRECTORY) throw new FileError("ENOTDIR");
    await directory(parent).removeEntry(text(name));
    this.#forget(parent, text(name));
    return {};
  };

  /** What the browser cannot move in one step is EXDEV, upon which mv(1) copies. */
  readonly Trenameat = async (fields: Messages["Trenameat"]): Promise<Messages["Rrenameat"]> => {
    const [from, to] = [this.#fid(fields.olddirfid).entry, this.#fid(fields.newdirfid).entry];
    const entry = await this.#find(from, text(fields.oldname));
    const name = text(fields.newname);
    const movable = entry.handle as Movable;
    if (entry.handle.kind !== "file" || movable.move === undefined) throw new FileError("EXDEV");
    if (await exists(directory(to), name)) {
      const { handle } = await this.#find(to, name);
      if (handle.kind === "directory") throw new FileError("EISDIR");
      if (await handle.isSameEntry(entry.handle)) return {};
    }
    await movable.move(directory(to), name);
    this.#forget(from, text(fields.oldname));
    for (const fid of this.#fids.values()) {
      if (fid.entry.parent === from && fid.entry.name === text(fields.oldname))
        [fid.entry.parent, fid.entry.name] = [to, name];
    }
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

  #file(fid: number): FileSystemFileHandle {
    const { handle } = this.#fid(fid).entry;
    if (handle.kind === "directory") throw new FileError("EISDIR");
    return handle as FileSystemFileHandle;
  }

  #add(fid: number, entry: Entry): void {
    if (this.#fids.has(fid)) throw new FileError("EINVAL");
    this.#fids.set(fid, { entry, open: false, append: false, names: undefined });
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
    const key = `${parent.id}/${name}`;
    const id = this.#ids.get(key) ?? BigInt(this.#nextId++);
    this.#ids.set(key, id);
    return { handle, parent, name, id };
  }

  #nextId = 2;

  #forget(parent: Entry, name: string): void {
    this.#ids.delete(`${parent.id}/${name}`);
  }

  #qid(entry: Entry): Qid {
    return { kind: entry.handle.kind === "directory" ? 0x80 : 0, version: 1, path: entry.id };
  }

  async #stat(entry: Entry): Promise<Stat> {
    const file = entry.handle.kind === "file" ? await (entry.handle as FileSystemFileHandle).getFile() : undefined;
    const ms = file?.lastModified ?? 0;
    const time = { sec: BigInt(Math.floor(ms / 1000)), nsec: BigInt(Math.floor(ms % 1000) * 1_000_000) };
    const size = BigInt(file?.size ?? 0);
    return {
      valid: GETATTR_BASIC,
      qid: this.#qid(entry),
      mode: file ? FILE_MODE : DIRECTORY_MODE,
      uid: 0,
      gid: 0,
      nlink: file ? 1n : 2n,
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

const HANDLED = [
  "Tversion",
  "Tattach",
  "Twalk",
  "Tclunk",
  "Tgetattr",
  "Tsetattr",
  "Tstatfs",
  "Tlopen",
  "Tlcreate",
  "Tread",
  "Twrite",
  "Tfsync",
  "Treaddir",
  "Tmkdir",
  "Tunlinkat",
  "Trenameat",
  "Tsymlink",
  "Tlink",
  "Tmknod",
] as const satisfies readonly (keyof Handlers)[];

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
  if (entry.handle.kind !== "directory") throw new FileError("ENOTDIR");
  return entry.handle as FileSystemDirectoryHandle;
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

async function write(handle: FileSystemFileHandle, act: (file: FileSystemWritableFileStream) => Promise<void>) {
  const file = await handle.createWritable({ keepExistingData: true });
  try {
    await act(file);
  } catch (error) {
    await file.abort();
    throw error;
  }
  await file.close();
}
