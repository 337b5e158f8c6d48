// A directory as a cpio archive in the `newc` format (Linux, Documentation/driver-api/early-userspace/buffer-format.rst):
// types, permission bits, owners, times and hard links. The same directory gives the same bytes. Names are bytes, which need not be
// UTF-8: here each byte is a character (latin1).

import { lstatSync, readdirSync, readFileSync, readlinkSync, realpathSync } from "node:fs";
import { join } from "node:path";
import { isMetadata, metadataOf, mode as modeWith } from "./metadata.ts";

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

/**
 * The pieces of the archive of a directory; throws what is wrong with a file, with its path, and what is more than `limit` bytes.
 * `mapped`: owners, modes and types are kept beside the files.
 */
export function* archive(path: string, limit: number, mapped = false): Generator<Uint8Array> {
  const directory = realpathSync(path, "latin1");
  const inodes = new Map<string, number>();
  let total = 0;
  for (const name of walk(directory)) {
    if (mapped && isMetadata(name)) continue;
    const file = bytes(join(directory, name));
    const stat = lstatSync(file, { bigint: true });
    const hosts = Number(stat.mode);
    const kept = mapped ? metadataOf(directory, name) : {};
    const mode = modeWith(kept, hosts);
    const key = `${stat.dev}:${stat.ino}`;
    const known = inodes.get(key);
    const inode = known ?? inodes.size + 1;
    inodes.set(key, inode);
    if (known === undefined && (hosts & TYPE) === REGULAR) total += Number(stat.size);
    if (total > limit) throw new Error(`${path} has more than ${limit} bytes of files, which a page has in memory`);
    const data = known === undefined ? contents(file, mode, hosts) : new Uint8Array(0);
    // how many names a directory has is the reader's business, and outside names of a file are not the archive's
    const nlink = (mode & TYPE) === REGULAR ? Number(stat.nlink) : 1;
    const mtime = Number(stat.mtimeMs / 1000n);
    const [uid, gid] = [kept.uid ?? Number(stat.uid), kept.gid ?? Number(stat.gid)];
    const rdev = device(kept.rdev === undefined ? stat.rdev : BigInt(kept.rdev));
    const header = { inode, mode, uid, gid, nlink, mtime, rdev };
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
  const path = bytes(join(directory, name));
  if (!lstatSync(path).isDirectory()) return;
  for (const inside of readdirSync(path, "latin1").sort())
    yield* walk(directory, name === "." ? inside : `${name}/${inside}`);
}

function bytes(text: string): Buffer {
  return Buffer.from(text, "latin1");
}

/** `hosts` is the mode that the file has here: it may stand for another. */
function contents(path: Buffer, mode: number, hosts: number): Uint8Array {
  const type = mode & TYPE;
  if (type === SYMLINK && (hosts & TYPE) === SYMLINK) return readlinkSync(path, "buffer");
  if (type === REGULAR || type === SYMLINK) return readFileSync(path);
  return new Uint8Array(0);
}

/** Major and minor number, as Linux has them in 64 bits: gnu_dev_major(3). */
function device(rdev: bigint): readonly [number, number] {
  const major = ((rdev >> 8n) & 0xfffn) | ((rdev >> 32n) & 0xffff_f000n);
  const minor = (rdev & 0xffn) | ((rdev >> 12n) & 0xffff_ff00n);
  return [Number(major), Number(minor)];
}

function entry({ inode, mode, uid, gid, nlink, mtime, rdev, name, size }: Header): Uint8Array {
  const text = bytes(`${name}\0`);
  const time = Math.min(Math.max(mtime, 0), 0xffff_ffff);
  const fields = [inode, mode, uid, gid, nlink, time, size, 0, 0, rdev[0], rdev[1], text.length, 0];
  const header = `070701${fields.map((field) => field.toString(16).padStart(8, "0")).join("")}`;
  return Buffer.concat([bytes(header), text, padding(header.length + text.length)]);
}

function padding(length: number): Uint8Array {
  return new Uint8Array(-length & 3);
}
