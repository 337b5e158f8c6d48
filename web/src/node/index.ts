// pagevm in Node: the same session, on this thread.

import { createReadStream } from "node:fs";
import { open as openFile } from "node:fs/promises";
import { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import { openUrl, type Source } from "../host/files.ts";
import { commonPlatform, Session } from "../host/loop.ts";
import type { Event, Job } from "../protocol.ts";
import { Directory } from "./directory.ts";

export type { Session } from "../host/loop.ts";
export type { Event, Job, Result, State, Stats, Step } from "../protocol.ts";

/** Starts a machine; files are paths or addresses. Whatever goes wrong comes as an event, with one message. */
export function start(job: Omit<Job, "engine"> & { engine?: string }, onEvent: (event: Event) => void): Session {
  const session = new Session(
    commonPlatform(setImmediate, open, (path) => new Directory(path)),
    onEvent,
  );
  void session.start({ ...job, engine: job.engine ?? new URL("engine.wasm", import.meta.url).href });
  return session;
}

async function open(name: string): Promise<Source> {
  if (/^https?:/.test(name)) return openUrl(name);
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
