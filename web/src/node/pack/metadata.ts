// Owners, modes and types that are kept beside the files that they are of: QEMU's `security_model=mapped-file`. The guest's view of it is
// the engine's (crates/fs9p/src/tree/mapped); this one is for the packer.

import { readFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";

const STORE = ".virtfs_metadata";
const ROOT = ".virtfs_metadata_root";
const [TYPE, BITS, REGULAR] = [0o170000, 0o7777, 0o100000];
/** Types that a regular file stands for: symbolic links, sockets, FIFOs, character and block devices. */
const STANDS_FOR = [0o120000, 0o140000, 0o010000, 0o020000, 0o060000];

export interface Metadata {
  uid?: number;
  gid?: number;
  mode?: number;
  rdev?: number;
}

/** Whether a name, with the directories before it, is metadata or in it. */
export function isMetadata(name: string): boolean {
  return name.split("/").some((part) => [STORE, ROOT].includes(part.toLowerCase()));
}

/** What is kept of `name` in the tree `root`, both with a character for each byte; nothing of what is not a line of it. */
export function metadataOf(root: string, name: string): Metadata {
  const path = name === "." ? join(root, ROOT) : join(root, dirname(name), STORE, basename(name));
  let text: string;
  try {
    text = readFileSync(Buffer.from(path, "latin1"), "latin1");
  } catch (error) {
    if (["ENOENT", "ENOTDIR", "EISDIR"].includes((error as NodeJS.ErrnoException).code ?? "")) return {};
    throw error;
  }
  const kept: Metadata = {};
  for (const [, key, number] of text.matchAll(/^virtfs\.(uid|gid|mode|rdev)=[ \t]*([-+]?\d+)[ \t\r]*\n/gm)) {
    const value = Number(number);
    if (value >= -(2 ** 31) && value < 2 ** 32) kept[key as keyof Metadata] = value >>> 0;
  }
  return kept;
}

/** The mode of a file that has the mode `hosts` here. */
export function mode({ mode: kept }: Metadata, hosts: number): number {
  if (kept === undefined) return hosts;
  const type = (hosts & TYPE) === REGULAR && STANDS_FOR.includes(kept & TYPE) ? kept & TYPE : hosts & TYPE;
  return type | (kept & BITS);
}
