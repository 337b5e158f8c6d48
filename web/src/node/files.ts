// Files of this computer and of the web, as a machine in Node has them.

import { createReadStream } from "node:fs";
import { open as openFile, readFile } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import type { Disks } from "../host/disk/host.ts";
import { urlDisks } from "../host/disk/urls.ts";
import { openUrl, type Source } from "../host/files.ts";
import { openPath } from "./disk.ts";

/** Whether a name is one of the web, not of this computer. */
export function isAddress(name: string): boolean {
  return /^https?:/.test(name);
}

/** Disks are paths or addresses; a relative path is relative to the file that names it, or to the working directory. */
export const nodeDisks: Disks = {
  address: (name, base) => {
    if (isAddress(name) || (base !== undefined && isAddress(base))) return urlDisks.address(name, base);
    if (name.startsWith("file:")) return fileURLToPath(name);
    return base === undefined ? resolve(name) : resolve(dirname(base), name);
  },
  open: async (address, access, use) =>
    isAddress(address) ? urlDisks.open(address, access, use) : openPath(address, access),
  fetch: async (address, again, use) => {
    if (isAddress(address)) return urlDisks.fetch(address, again, use);
    try {
      return await readFile(address);
    } catch (cause) {
      throw new Error("there is no such file, or it cannot be read", { cause });
    }
  },
  keep: async () => {
    throw new Error("what comes from other computers is not kept on this one");
  },
};

export async function open(name: string): Promise<Source> {
  if (isAddress(name)) return openUrl(name);
  const path = name.startsWith("file:") ? fileURLToPath(name) : name;
  let total: number;
  try {
    const file = await openFile(path);
    const stat = await file.stat();
    await file.close();
    if (!stat.isFile()) throw new Error("not a file");
    total = stat.size;
  } catch (cause) {
    const code = cause instanceof Error && "code" in cause ? cause.code : undefined;
    throw new Error(code === "ENOENT" ? "there is no such file" : (cause as Error).message, { cause });
  }
  const stream = Readable.toWeb(createReadStream(path, { highWaterMark: 1 << 20 }));
  return { total, stream: stream as ReadableStream<Uint8Array<ArrayBuffer>> };
}
