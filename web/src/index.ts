// pagevm in a page: a machine in a worker of its own.

import { workerLink } from "./link.ts";
import { Machine } from "./machine.ts";
import type { Job } from "./protocol.ts";

export type { ConsoleMode } from "./engine.ts";
export { VmError } from "./error.ts";
export type { Match } from "./expect.ts";
export type { Activity, End, Machine, MachineEvent } from "./machine.ts";
export type { DiskInfo, Event, FileInfo, FileOptions, Job, Result, State, Stats, Step } from "./protocol.ts";

export interface MachineOptions extends Omit<Job, "engine"> {
  /** Where `engine.wasm` is; beside this module if not given. */
  engine?: string | URL;
  /** Where `worker.js` is; beside this module if not given. */
  worker?: string | URL;
}

/** A machine that loads, and is not switched on yet: files can be put into its shares, listeners be added; then comes `start`. */
export function createMachine({ engine, worker, ...job }: MachineOptions): Machine {
  const beside = new URL(import.meta.url);
  const whole = { base: document.baseURI, ...job, engine: new URL(engine ?? "engine.wasm", beside).href };
  return new Machine((onEvent) => workerLink(new URL(worker ?? "worker.js", beside), whole, onEvent));
}
