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
import type { Link } from "../link.ts";
import { Machine } from "../machine.ts";
import type { Event, Job } from "../protocol.ts";
import { Directory } from "./directory.ts";
import { openPath } from "./disk.ts";
import { nodeChannels } from "./sockets.ts";

export { VmError } from "../error.ts";
export type { Match } from "../expect.ts";
export type { Activity, End, Machine, MachineEvent } from "../machine.ts";
export type { DiskInfo, Event, FileInfo, FileOptions, Job, Result, State, Stats, Step } from "../protocol.ts";

export interface MachineOptions extends Omit<Job, "engine"> {
  /** Where `engine.wasm` is, a path or an address; beside this module if not given. */
  engine?: string;
}

/** A machine that loads, on this thread, and is not switched on yet; files are paths or addresses. */
export function createMachine({ engine, ...job }: MachineOptions): Machine {
  const whole = { ...job, engine: engine ?? new URL("engine.wasm", import.meta.url).href };
  return new Machine((onEvent) => sessionLink(whole, onEvent));
}

/** A session for `job`, on this thread. */
function sessionLink(job: Job, onEvent: (event: Event) => void): Link {
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
  queueMicrotask(() => void session.load(job)); // whoever listens hears all of it
  return {
    call: (name, ...args) => session.call(name, ...args),
    close: () => session.close(),
  };
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
