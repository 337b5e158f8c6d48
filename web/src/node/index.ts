// pagevm in Node: the same session, on this thread.

import { commonPlatform, Session } from "../host/loop.ts";
import type { Link } from "../link.ts";
import { Machine } from "../machine.ts";
import type { Event, Job } from "../protocol.ts";
import { Directory } from "./directory.ts";
import { nodeDisks, open } from "./files.ts";
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
