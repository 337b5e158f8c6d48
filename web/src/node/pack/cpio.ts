// A directory as a cpio archive in the `newc` format (Linux, Documentation/driver-api/early-userspace/buffer-format.rst):
// types, permission bits, owners, times and hard links. The same directory gives the same bytes.

import { type BigIntStats, lstatSync, readdirSync, readFileSync, readlinkSync, realpathSync } from "node:fs";
import { join } from "node:path";

const REGULAR = 0o100000;
const TYPE = 0o170000;
const SYMLINK = 0o120000;

interface Header {
  inode: number;
  mode: number;
  uid: number;
  gid: number;
  nlink: number;
  mtime: number;
  rdev: readonly [number, number];
  name: string;
  size: number;
}

/** The pieces of the archive of a directory; throws what is wrong with a file, with its path, and what is more than `limit` bytes. */
export function* archive(path: string, limit: number): Generator<Uint8Array> {
  const directory = realpathSync(path);
  const inodes = new Map<string, number>();
  let total = 0;
  for (const name of walk(directory)) {
    const path = join(directory, name);
    const stat = lstatSync(path, { bigint: true });
    const mode = Number(stat.mode);
    const key = `${stat.dev}:${stat.ino}`;
    const known = inodes.get(key);
    const inode = known ?? inodes.size + 1;
    inodes.set(key, inode);
    const data = known === undefined ? contents(path, mode) : new Uint8Array(0);
    total += data.length;
    if (total > limit)
      throw new Error(`${directory} has more than ${limit} bytes of files, which a page has in memory`);
    // how many names a directory has is the reader's business, and outside names of a file are not the archive's
    const nlink = (mode & TYPE) === REGULAR ? Number(stat.nlink) : 1;
    const mtime = Number(stat.mtimeMs / 1000n);
    const header = { inode, mode, uid: Number(stat.uid), gid: Number(stat.gid), nlink, mtime, rdev: device(stat) };
    yield entry({ ...header, name, size: data.length });
    yield data;
    yield padding(data.length);
  }
  const nothing = { inode: 0, mode: 0, uid: 0, gid: 0, nlink: 1, mtime: 0, rdev: [0, 0], size: 0 } as const;
  yield entry({ ...nothing, name: "TRAILER!!!" });
}

/** Names of what is there, the directory itself and every directory before what is in it. */
function* walk(directory: string, name = "."): Generator<string> {
  yield name;
  const path = join(directory, name);
  if (!lstatSync(path).isDirectory()) return;
  for (const inside of readdirSync(path).sort()) yield* walk(directory, name === "." ? inside : `${name}/${inside}`);
}

function contents(path: string, mode: number): Uint8Array {
  if ((mode & TYPE) === REGULAR) return readFileSync(path);
  if ((mode & TYPE) === SYMLINK) return readlinkSync(path, "buffer");
  return new Uint8Array(0);
}

/** Major and minor number, as Linux has them in 64 bits: gnu_dev_major(3). */
function device({ rdev }: BigIntStats): readonly [number, number] {
  const major = ((rdev >> 8n) & 0xfffn) | ((rdev >> 32n) & 0xffff_f000n);
  const minor = (rdev & 0xffn) | ((rdev >> 12n) & 0xffff_ff00n);
  return [Number(major), Number(minor)];
}

function entry({ inode, mode, uid, gid, nlink, mtime, rdev, name, size }: Header): Uint8Array {
  const text = Buffer.from(`${name}\0`);
  const time = Math.min(Math.max(mtime, 0), 0xffff_ffff);
  const fields = [inode, mode, uid, gid, nlink, time, size, 0, 0, rdev[0], rdev[1], text.length, 0];
  const header = `070701${fields.map((field) => field.toString(16).padStart(8, "0")).join("")}`;
  return Buffer.concat([Buffer.from(header), text, padding(header.length + text.length)]);
}

function padding(length: number): Uint8Array {
  return new Uint8Array(-length & 3);
}
