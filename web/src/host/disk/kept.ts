// What the engine keeps of files on web servers for the next visit: a file for each address, in a directory of this site's storage.
// It is a cache: where there is no storage, or no room, or another tab has the file, the machine goes without; where a disk that is kept
// needs the room, it gets it.

import type { KeptFile } from "./host.ts";
import { OPFS_PREFIX, openOpfs, SPARE_DIRECTORY } from "./opfs.ts";

/** Before a file's name: what is kept of it. */
export const KEPT_PREFIX = "kept:";
/** All of it together is at most so many bytes, and this part of what the browser lets the site have: disks that are kept come first. */
const MOST = 1 << 30;
const PART = 1 / 4;
/** What one file may grow to: `LIMIT`, and the table, of crates/storage/src/kept.rs. */
const LARGEST = 513 << 20;

/** A file that is kept, when it was last used. */
export interface Old {
  readonly name: string;
  readonly size: number;
  readonly used: number;
}

/** Which files go, the oldest first, that there is room for one more; nothing if there would be none without them all. */
export function toRemove(files: readonly Old[], quota: number): Old[] | undefined {
  const limit = Math.min(MOST, quota * PART) - LARGEST;
  if (limit < 0) return undefined;
  let total = files.reduce((sum, { size }) => sum + size, 0);
  const removed: Old[] = [];
  for (const file of [...files].sort((a, b) => a.used - b.used)) {
    if (total <= limit) break;
    total -= file.size;
    removed.push(file);
  }
  return removed;
}

/** Opens what is kept of the file at `address`. Throws if nothing can be. */
export async function openKept(address: string): Promise<KeptFile> {
  if (typeof navigator === "undefined" || !navigator.storage?.getDirectory) throw new Error("there is no storage");
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(address)));
  const own = Array.from(digest.subarray(0, 16), (byte) => byte.toString(16).padStart(2, "0")).join("");
  const root = await navigator.storage.getDirectory();
  const directory = await root.getDirectoryHandle(SPARE_DIRECTORY, { create: true });
  const { quota = 0 } = await navigator.storage.estimate();
  const removed = toRemove(await others(directory, own), quota);
  if (!removed) throw new Error("there is too little storage");
  // one that another tab has open stays
  for (const { name } of removed) await directory.removeEntry(name).catch(() => {});
  return openOpfs(`${OPFS_PREFIX}${SPARE_DIRECTORY}/${own}`, "create", true);
}

async function others(directory: FileSystemDirectoryHandle, own: string): Promise<Old[]> {
  const files: Old[] = [];
  for await (const [name, handle] of directory.entries()) {
    if (name === own || handle.kind !== "file") continue;
    const { size, lastModified } = await (handle as FileSystemFileHandle).getFile();
    files.push({ name, size, used: lastModified });
  }
  return files;
}
