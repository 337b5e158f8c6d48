// What a machine's user and the session that runs it say to each other, across a worker's boundary or not.

import { type EngineStats, NO_STATS } from "./abi.gen.ts";
import type { ConsoleMode } from "./engine.ts";
import type { VmError } from "./error.ts";

/** One exchange on the guest's console. */
export interface Step {
  /** Waits until the guest has written this. */
  expect: string;
  /** Then types this. */
  send?: string;
}

/** Limits to translated code that make the host refuse: for tests, and to find out whether a fault is in translated code. */
export interface CodeLimits {
  /** Instead of what this host can do; with `none`, everything is interpreted. */
  support?: "none" | "linked" | "unlinked";
  /** Modules at a time. */
  modules?: number;
  /** Slots that the engine's function table may grow by. */
  slots?: number;
  /** A seed: translated code is made early, dropped and left at random (`crates/jit/src/stress.rs`). */
  stress?: number;
}

/** A machine to run, and what to do with it. */
export interface Job {
  /** QEMU-style options. */
  options: readonly string[];
  /** Where `engine.wasm` is. */
  engine: string;
  /** What addresses of files are relative to; in Node, the working directory. */
  base?: string;
  /** Where the files named in the options are, if not where their names say: an address, the bytes, or a file that the user has picked. */
  files?: Readonly<Record<string, string | Uint8Array<ArrayBuffer> | Blob>>;
  /** In a page: the directories that are shared (`-virtfs local,path=PATH`), as its user has picked them, by path. */
  directories?: Readonly<Record<string, FileSystemDirectoryHandle>>;
  /** Ends the run with success when the guest writes this (after `type` and `script` have typed all of theirs). */
  until?: string;
  /** Typed at the guest's first prompt, or when the guest has been idle and silent for a second. */
  type?: string;
  /** Exchanges, one after another; the run fails when the guest ends before the last. */
  script?: readonly Step[];
  /** When loading began, in Unix milliseconds, if that was before the session did: for `load_ms`. */
  origin?: number;
  /** Seconds, from the start of the run, after which it fails. */
  timeout?: number;
  code?: CodeLimits;
}

export type State = "loading" | "running" | "paused" | "off" | "stopped" | "failed";

/**
 * Figures of a run, with the engine's own counters. Times are from the start of the run, when `engine.wasm` is ready and
 * the images are asked for.
 */
export interface Stats extends EngineStats {
  /** Guest instructions a second, in millions, while the guest was running, over the last half second. */
  mips: number;
  /** The share of those instructions that ran as translated code. */
  translated: number;
  /** The share of the last half second in which the guest was running. */
  busy: number;
  /** Since the machine was last switched on or reset. */
  uptime_ms: number;
  /** From `origin`, or the session's start, until `engine.wasm` was compiled; until kernel and initrd were there too: what is
      loaded with a page. Times of the run begin then. */
  engine_ms: number;
  load_ms: number;
  /** Time in the engine's slices since power-on; what remains of `uptime_ms` is the host's loop and waiting. */
  run_ms: number;
  wall_ms: number;
  first_output_ms: number | null;
  until_ms: number | null;
  /** Guest instructions executed as translated code. */
  region_insns: number;
  /** All of the engine's memory, guest RAM included. */
  memory_bytes: number;
  fetched_bytes: number;
  /** Calls by translated code of the guest's helpers and of the engine's functions (`code_*`), by name; none that was not called. */
  helper_calls: Record<string, number>;
  /** What the networks' connections to the outside have carried. */
  net_sent_bytes: number;
  net_received_bytes: number;
  /** Connections and other channels to the outside that are open. */
  net_channels: number;
}

export type Result =
  /** `until` appeared, the script reached its end, or the guest switched the machine off. */
  | { ok: true; reason: "until" | "script" | "poweroff" }
  | {
      ok: false;
      reason: "reset" | "stopped" | "timeout" | "quit" | "script" | "options" | "machine" | "engine";
      message: string;
    };

export type Event =
  /** A download; `total` is missing where the server does not tell. */
  | { type: "progress"; name: string; loaded: number; total?: number }
  /** What the guest's serial port is connected to: `escape` asks a terminal for QEMU's Ctrl-A x. */
  | { type: "console"; mode: ConsoleMode }
  | { type: "state"; state: State; message?: string }
  | { type: "output"; data: Uint8Array<ArrayBuffer> }
  | { type: "stats"; stats: Stats }
  /** Once a run: what `until`, `type`, `script` and `timeout` came to, or how the machine ended. */
  | { type: "result"; result: Result; stats: Stats }
  | { type: "log"; level: number; text: string };

/** What is in a directory of a share. */
export interface FileInfo {
  name: string;
  type: "file" | "directory" | "link" | "other";
  /** Bytes. */
  size: number;
  /** Permission bits. */
  mode: number;
  /** The last change, in Unix milliseconds. */
  modified: number;
}

/** A drive. */
export interface DiskInfo {
  /** As option `-drive` gives it; empty if it gives none. */
  id: string;
  /** Bytes. */
  size: number;
  readOnly: boolean;
  /** Whether what the guest writes is kept apart from the image, and can be exported. */
  overlay: boolean;
}

export interface FileOptions {
  /** The share's id; the first one in memory if not given. */
  share?: string;
  /** Permission bits of a file that is put; 0o644 if not given. */
  mode?: number;
}

/** What a machine is asked, and answers later. */
export interface Calls {
  start(): Promise<void>;
  input(data: Uint8Array<ArrayBuffer>): void;
  pause(): void;
  resume(): void;
  reset(): void;
  powerButton(): void;
  /** Takes the power away. */
  switchOff(why: string): void;
  stats(): Stats;
  putFile(path: string, contents: Uint8Array, options: FileOptions): void;
  getFile(path: string, options: FileOptions): Uint8Array<ArrayBuffer>;
  listFiles(path: string, options: FileOptions): FileInfo[];
  disks(): DiskInfo[];
  /** The machine stands still until `exportEnd`; so it is one moment's disk. */
  exportBegin(disk: string | number, what: "disk" | "overlay"): { number: number; size: number };
  exportRead(number: number, offset: number, length: number): Uint8Array<ArrayBuffer>;
  exportEnd(number: number): void;
}

export type Command =
  | { type: "load"; job: Job }
  | { [N in keyof Calls]: { type: "call"; id: number; name: N; args: Parameters<Calls[N]> } }[keyof Calls];

/** The answer to the call with this number: its value, or what went wrong. */
export type Answer =
  | { type: "answer"; id: number; value: unknown }
  | { type: "answer"; id: number; error: { kind: VmError["kind"]; message: string; code?: string } };

/** Nothing has run. */
const NOTHING: Stats = {
  ...NO_STATS,
  mips: 0,
  translated: 0,
  busy: 0,
  uptime_ms: 0,
  engine_ms: 0,
  load_ms: 0,
  run_ms: 0,
  wall_ms: 0,
  first_output_ms: null,
  until_ms: null,
  region_insns: 0,
  memory_bytes: 0,
  fetched_bytes: 0,
  helper_calls: {},
  net_sent_bytes: 0,
  net_received_bytes: 0,
  net_channels: 0,
};

/** The events of a machine that could not even be asked. */
export function failure(message: string): [Event, Event] {
  return [
    { type: "state", state: "failed", message },
    { type: "result", result: { ok: false, reason: "engine", message }, stats: NOTHING },
  ];
}
