// pagevm in Node: the same session, on this thread.

import { commonPlatform, Session } from "../host/loop.ts";
import type { Event, Job } from "../protocol.ts";
import { Directory } from "./directory.ts";
import { nodeDisks, open } from "./files.ts";
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
