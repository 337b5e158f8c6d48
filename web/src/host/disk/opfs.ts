// Files in the browser's own storage for this site (the origin private file system), which stay when the page is
// gone. Only in workers.

import type { Access, DiskFile } from "./file.ts";
import { BlobFile } from "./memory.ts";

/** What is left out of TypeScript's library for pages: it is there in workers only. */
export interface SyncAccessHandle {
  read(into: Uint8Array, options: { at: number }): number;
  write(bytes: Uint8Array, options: { at: number }): number;
  truncate(size: number): void;
  flush(): void;
  getSize(): number;
  close(): void;
}

export type FileHandle = FileSystemFileHandle & { createSyncAccessHandle?: () => Promise<SyncAccessHandle> };

export const OPFS_PREFIX = "opfs:";

/** The directory of files that can be had again: all in it goes when another file needs the room. */
export const SPARE_DIRECTORY = "pagevm-kept";
/** Files of it that this worker has open. */
const spare = new Set<OpfsFile>();
/**
 * Browsers notice a little later that a file has given up its room, or that a tab which had one is gone: what fails is tried again so often,
 * after so many milliseconds.
 */
const TIMES = 10;
const NOTICED = 200;
/** It is not looked for more room again before, while no file here has any to give. Milliseconds. */
const AGAIN = 5000;
/** Whether others have given up room; there while a browser may not have noticed. */
let room: Promise<boolean> | undefined;
let looked = Number.NEGATIVE_INFINITY;

/** Has those give up their room that can; nothing if there is nobody. */
function makeRoom(): Promise<boolean> | undefined {
  const now = performance.now();
  if (spare.size === 0 && (room || now - looked < AGAIN)) return room;
  looked = now;
  const given = spare.size > 0;
  for (const file of spare) file.giveUp();
  const made = removeSpare()
    .catch(() => false) // there is none
    .then((removed) => given || removed);
  room = made;
  const over = () => {
    if (room === made) room = undefined;
  };
  void made.then((more) => (more ? setTimeout(over, TIMES * NOTICED) : over()));
  return made;
}

/** Removes what of other files, of this visit or an earlier one, can be had again; what another tab has open stays. Whether there was any. */
async function removeSpare(): Promise<boolean> {
  const root = await navigator.storage.getDirectory();
  const directory = await root.getDirectoryHandle(SPARE_DIRECTORY);
  const names: string[] = [];
  for await (const name of directory.keys()) names.push(name);
  const removed = await Promise.allSettled(names.map((name) => directory.removeEntry(name)));
  return removed.some(({ status }) => status === "fulfilled");
}

/** Tries again what fails for a reason that passes. */
async function patiently<T>(act: () => T | Promise<T>, passes: (cause: unknown) => boolean): Promise<T> {
  for (let left = TIMES; ; left--) {
    try {
      return await act();
    } catch (cause) {
      if (left === 0 || !passes(cause)) throw cause;
    }
    await new Promise((resolve) => setTimeout(resolve, NOTICED));
  }
}

class OpfsFile implements DiskFile {
  readonly writable = true;
  readonly remote = false;
  readonly tag = "";
  readonly #handle: SyncAccessHandle;
  #gone = false;

  constructor(handle: SyncAccessHandle) {
    this.#handle = handle;
  }

  /** Makes the file empty and closes it. Whoever needs the room has nothing to do with what goes wrong here. */
  giveUp(): void {
    try {
      this.#handle.truncate(0);
    } catch {
      // it keeps its room until it is removed
    } finally {
      this.close();
    }
  }

  get alive(): boolean {
    return !this.#gone;
  }

  get size(): number {
    return this.#gone ? 0 : this.#handle.getSize();
  }

  read(offset: number, into: Uint8Array): undefined {
    if (this.#gone) throw new Error("it is closed");
    const read = this.#handle.read(into, { at: offset });
    if (read !== into.length) throw new Error(`it ends after ${offset + read} bytes`);
  }

  write(offset: number, bytes: Uint8Array): Promise<void> | undefined {
    if (this.#gone) throw full(undefined);
    try {
      this.#put(offset, bytes);
      return undefined;
    } catch (cause) {
      if (spare.has(this)) this.close(); // the engine keeps nothing more in it
      const more = cause instanceof Full && !this.#gone ? makeRoom() : undefined;
      if (!more) throw cause;
      const copy = bytes.slice();
      return more.then((given) => {
        if (!given) throw cause;
        return patiently(
          () => this.#put(offset, copy),
          (cause) => cause instanceof Full,
        );
      });
    }
  }

  #put(offset: number, bytes: Uint8Array): void {
    let written = 0;
    try {
      written = this.#handle.write(bytes, { at: offset });
    } catch (cause) {
      throw named(cause, "QuotaExceededError") ? full(cause) : cause;
    }
    if (written !== bytes.length) throw full(undefined);
  }

  flush(): undefined {
    if (!this.#gone) this.#handle.flush();
  }

  close(): void {
    this.#gone = true;
    spare.delete(this);
    this.#handle.close();
  }
}

/** Opens `opfs:PATH`; a file that is to be written is made if there is none, and is this machine's alone. `gives`: its room, when another needs it. */
export async function openOpfs(name: string, access: "create", gives: true): Promise<OpfsFile>;
export async function openOpfs(name: string, access: Access): Promise<DiskFile>;
export async function openOpfs(name: string, access: Access, gives = false): Promise<DiskFile> {
  const path = name
    .slice(OPFS_PREFIX.length)
    .split("/")
    .filter((part) => part !== "");
  const create = access === "create";
  const last = path.pop();
  if (last === undefined) throw new Error("the name after opfs: is empty");
  if (typeof navigator === "undefined" || !navigator.storage?.getDirectory) {
    throw new Error("this browser keeps no files for sites, or not in a private window");
  }
  try {
    let directory = await navigator.storage.getDirectory();
    for (const part of path) directory = await directory.getDirectoryHandle(part, { create });
    const file: FileHandle = await directory.getFileHandle(last, { create });
    if (access === "read") return new BlobFile(await file.getFile());
    const handle = await patiently(async () => file.createSyncAccessHandle?.(), isOpen);
    if (!handle) throw new Error("this browser cannot write files for sites");
    const opened = new OpfsFile(handle);
    if (gives) spare.add(opened);
    return opened;
  } catch (cause) {
    if (named(cause, "NotFoundError")) throw new Error("there is no such file in this site's storage", { cause });
    if (isOpen(cause)) {
      throw new Error("it is open in another tab or window: two machines on one disk would destroy it; close one", {
        cause,
      });
    }
    throw named(cause, "QuotaExceededError") ? full(cause) : cause;
  }
}

/** Whether somebody else has the file open. */
const isOpen = (cause: unknown): boolean =>
  named(cause, "NoModificationAllowedError") || named(cause, "InvalidStateError");

function named(error: unknown, name: string): boolean {
  return error instanceof Error && error.name === name;
}

class Full extends Error {}

function full(cause: unknown): Error {
  return new Full("the browser's storage for this site is full: free some, or export the disk", { cause });
}
