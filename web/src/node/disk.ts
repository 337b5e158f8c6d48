// Files of this computer as disks. Reading and writing them is so fast that the engine waits.

import { closeSync, existsSync, fstatSync, fsyncSync, openSync, readSync, writeSync } from "node:fs";
import type { Access, DiskFile } from "../host/disk/file.ts";

class NodeFile implements DiskFile {
  readonly remote = false;
  readonly writable: boolean;
  readonly tag: string;
  readonly #fd: number;

  constructor(path: string, access: Access) {
    this.writable = access !== "read";
    this.#fd = openSync(path, access === "read" ? "r" : access === "create" && !existsSync(path) ? "w+" : "r+");
    const stat = fstatSync(this.#fd);
    this.tag = `changed ${stat.mtimeMs}`;
    if (!stat.isFile()) {
      closeSync(this.#fd);
      throw new Error("not a file");
    }
  }

  get size(): number {
    return fstatSync(this.#fd).size;
  }

  read(offset: number, into: Uint8Array): undefined {
    for (let at = 0; at < into.length; ) {
      const read = readSync(this.#fd, into, at, into.length - at, offset + at);
      if (read === 0) throw new Error(`it ends after ${offset + at} bytes: it was cut off since it was opened`);
      at += read;
    }
  }

  write(offset: number, bytes: Uint8Array): undefined {
    for (let at = 0; at < bytes.length; ) {
      at += writeSync(this.#fd, bytes, at, bytes.length - at, offset + at);
    }
  }

  flush(): undefined {
    if (this.writable) fsyncSync(this.#fd);
  }

  close(): void {
    closeSync(this.#fd);
  }
}

/** Opens a path; a file that is to be written, and may not be, is opened to be read. */
export function openPath(path: string, access: Access): DiskFile {
  try {
    return new NodeFile(path, access);
  } catch (cause) {
    const code = cause instanceof Error && "code" in cause ? cause.code : undefined;
    if (access === "write" && (code === "EACCES" || code === "EROFS" || code === "EPERM"))
      return openPath(path, "read");
    throw new Error(code === "ENOENT" ? "there is no such file" : (cause as Error).message, { cause });
  }
}
