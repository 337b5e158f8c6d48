// pagevm in Node: the same session, on this thread.

import { createReadStream } from "node:fs";
import { open as openFile, readFile } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import type { Disks } from "../host/disk/host.ts";
import { urlDisks } from "../host/disk/urls.ts";
import { openUrl, type Source } from "../host/files.ts";
import { commonPlatform, Session } from "../host/loop.ts";
import type { Event, Job } from "../protocol.ts";
import { Directory } from "./directory.ts";
import { openPath } from "./disk.ts";
import { nodeChannels } from "./sockets.ts";

export type { Session } from "../host/loop.ts";
export type { Event, Job, Result, State, Stats, Step } from "../protocol.ts";

/** Starts a machine; files are paths or addresses. Whatever goes wrong comes as an event, with one message. */
export function start(job: Omit<Job, "engine"> & { engine?: string }, onEvent: (event: Event) => void): Session {
  const session = new Session(
    commonPlatform({
      soon: setImmediate,
      open,
      disks: nodeDisks,
      channels: nodeChannels,
      share: (path) => new Directory(path),
    }),
    onEvent,
  );
  void session.start({ ...job, engine: job.engine ?? new URL("engine.wasm", import.meta.url).href });
  return session;
}

function isAddress(name: string): boolean {
  return /^https?:/.test(name);
}

/** Disks are paths or addresses; a relative path is relative to the file that names it, or to the working directory. */
const nodeDisks: Disks = {
  address: (name, base) => {
    if (isAddress(name) || (base !== undefined && isAddress(base))) return urlDisks.address(name, base);
    if (name.startsWith("file:")) return fileURLToPath(name);
    return base === undefined ? resolve(name) : resolve(dirname(base), name);
  },
  open: async (address, access, account) =>
    isAddress(address) ? urlDisks.open(address, access, account) : openPath(address, access),
  fetch: async (address, again, account) => {
    if (isAddress(address)) return urlDisks.fetch(address, again, account);
    try {
      return await readFile(address);
    } catch (cause) {
      throw new Error("there is no such file, or it cannot be read", { cause });
    }
  },
};

async function open(name: string): Promise<Source> {
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
