// A machine as its user has it, in a page and in Node alike.

import { deferred } from "./error.ts";
import { Expect, type Match } from "./expect.ts";
import type { Link } from "./link.ts";
import type { DiskInfo, Event, FileInfo, FileOptions, State, Stats } from "./protocol.ts";
import { after } from "./timer.ts";

/** How a machine has come to an end. */
export interface End {
  /** The guest or somebody else switched it off; it cannot go on; it could not even start. */
  state: "off" | "stopped" | "failed";
  /** Why, where that is not the guest's power-off: a report of the processor's state for `stopped`. */
  message?: string;
}

/** Bytes since the machine was started. */
export interface Activity {
  diskRead: number;
  diskWritten: number;
  netSent: number;
  netReceived: number;
}

/** What `on` can listen to. */
export type MachineEvent =
  | Event
  /** Disks or networks were used: at most twice a second. */
  | ({ type: "activity" } & Activity)
  /** The machine has come to an end; after `off` and `stopped`, `reset` begins anew. */
  | ({ type: "exit" } & End);

type Listener = (event: MachineEvent) => void;

/** The power button's patience, in milliseconds. */
const POWER_OFF_MS = 60_000;
/** Bytes of a disk that are read at a time. */
const PIECE = 1 << 20;

export class Machine {
  readonly #link: Link;
  #state: State = "loading";
  #end: End | undefined;
  #ended = deferred<End>();
  readonly #listeners = new Map<MachineEvent["type"] | "*", Set<Listener>>();
  readonly #expect = new Expect();
  #console:
    | { readable: ReadableStream<Uint8Array<ArrayBuffer>>; writable: WritableStream<string | Uint8Array> }
    | undefined;
  #reader: ReadableStreamDefaultController<Uint8Array<ArrayBuffer>> | undefined;
  #active: Activity = { diskRead: 0, diskWritten: 0, netSent: 0, netReceived: 0 };

  /** `connect` makes a session that tells what happens. */
  constructor(connect: (onEvent: (event: Event) => void) => Link) {
    this.#link = connect((event) => this.#event(event));
  }

  get state(): State {
    return this.#state;
  }

  /** Switches the machine on as soon as everything is loaded. Rejected with what keeps it from running. */
  async start(): Promise<void> {
    await this.#link.call("start");
  }

  /** Stops giving the guest time. */
  async pause(): Promise<void> {
    await this.#link.call("pause");
  }

  async resume(): Promise<void> {
    await this.#link.call("resume");
  }

  /** The reset button; switches a machine on that is off. */
  async reset(): Promise<void> {
    await this.#link.call("reset");
  }

  /**
   * Presses the power button, and takes the power away when the guest has not switched itself off in `timeout`
   * milliseconds (60,000; 0: at once). Tells which of the two it was.
   */
  async powerOff({ timeout = POWER_OFF_MS }: { timeout?: number } = {}): Promise<"guest" | "forced"> {
    if (this.#state === "off") return "guest";
    if (timeout > 0 && this.#state !== "stopped") {
      await this.#link.call("resume"); // a guest that sleeps hears no button
      await this.#link.call("powerButton");
      if (await within(this.ended(), timeout)) return "guest";
    }
    const why = timeout > 0 ? `, the guest did not answer its power button in ${timeout / 1000} s` : "";
    await this.#link.call("switchOff", `switched off${why}`);
    return "forced";
  }

  /** Ends the machine and frees its memory. */
  close(): void {
    this.#link.close();
    this.#over({ state: "failed", message: "the machine was closed" });
    this.#state = "failed";
    this.#silent();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** Resolves when the machine has come to an end; at once if it has. */
  ended(): Promise<End> {
    return this.#ended.promise;
  }

  /** The latest figures. */
  stats(): Promise<Stats> {
    return this.#link.call("stats");
  }

  /** What the guest is connected to as its user's terminal: a serial port, or a virtio console. Created when first asked for;
   *  what the guest wrote before is not in it, what is not read is kept. */
  get console(): { readable: ReadableStream<Uint8Array<ArrayBuffer>>; writable: WritableStream<string | Uint8Array> } {
    this.#console ??= {
      readable: new ReadableStream({
        start: (controller) => {
          this.#reader = controller;
          if (this.#state === "failed") this.#silent();
        },
        cancel: () => {
          this.#reader = undefined;
        },
      }),
      writable: new WritableStream({ write: (chunk) => this.type(chunk) }),
    };
    return this.#console;
  }

  /** Types on the guest's console; Enter is `\n`. What is typed before the machine runs waits for it. */
  async type(text: string | Uint8Array): Promise<void> {
    const data = typeof text === "string" ? new TextEncoder().encode(text) : new Uint8Array(text);
    await this.#link.call("input", data);
  }

  /**
   * Waits until the guest writes something: text, or what matches. Carriage returns and terminal control sequences are
   * left out. Each call begins after the match of the last one. Rejected when `timeout` (milliseconds) has passed, or the machine
   * has come to an end.
   */
  waitFor(pattern: string | RegExp, { timeout }: { timeout?: number } = {}): Promise<Match> {
    const match = this.#expect.wait(pattern, timeout);
    if (this.#end) this.#expect.end(ending(this.#end));
    return match;
  }

  /** Puts a file into a share in memory, with directories to it as needed. */
  putFile(path: string, contents: string | Uint8Array, options: FileOptions = {}): Promise<void> {
    const bytes = typeof contents === "string" ? new TextEncoder().encode(contents) : contents;
    return this.#link.call("putFile", path, bytes, options);
  }

  /** A file of a share in memory, as it is now. Rejected with `code` ENOENT if there is none. */
  getFile(path: string, options: FileOptions = {}): Promise<Uint8Array<ArrayBuffer>> {
    return this.#link.call("getFile", path, options);
  }

  /** What is in a directory of a share in memory. */
  listFiles(path = "", options: FileOptions = {}): Promise<FileInfo[]> {
    return this.#link.call("listFiles", path, options);
  }

  /** The drives, in the order of the options. */
  disks(): Promise<DiskInfo[]> {
    return this.#link.call("disks");
  }

  /**
   * A drive's bytes as they are now (`disk`), or what differs from its image as a file for option `overlay` (`overlay`); by the
   * drive's id or number. The machine stands still until all is read or the stream is cancelled. What the guest's kernel has
   * not written yet is not in it: `sync` before.
   */
  async exportDisk(
    disk: string | number,
    { content = "disk" }: { content?: "disk" | "overlay" } = {},
  ): Promise<ReadableStream<Uint8Array<ArrayBuffer>>> {
    const { number, size } = await this.#link.call("exportBegin", disk, content);
    const end = () => this.#link.call("exportEnd", number);
    let offset = 0;
    return new ReadableStream({
      pull: async (controller) => {
        try {
          if (offset < size) {
            const piece = await this.#link.call("exportRead", number, offset, PIECE);
            offset += piece.length;
            controller.enqueue(piece);
          }
          if (offset < size) return;
          await end();
          controller.close();
        } catch (error) {
          await end().catch(() => {}); // the machine may be gone: then nothing is held
          throw error;
        }
      },
      cancel: () => end(),
    });
  }

  /** Calls `listener` at each event of that type, or at every one (`*`). Returns what ends that. */
  on<T extends MachineEvent["type"]>(type: T, listener: (event: MachineEvent & { type: T }) => void): () => void;
  on(type: "*", listener: Listener): () => void;
  on(type: MachineEvent["type"] | "*", listener: (event: never) => void): () => void {
    const listeners = this.#listeners.get(type) ?? new Set();
    this.#listeners.set(type, listeners.add(listener as Listener));
    return () => listeners.delete(listener as Listener);
  }

  #tell(event: MachineEvent): void {
    for (const type of [event.type, "*"] as const)
      for (const listener of this.#listeners.get(type) ?? []) listener(event);
  }

  #event(event: Event): void {
    if (event.type === "state") this.#changed(event.state, event.message);
    if (event.type === "output") this.#written(event.data);
    this.#tell(event);
    if (event.type === "stats") this.#used(event.stats);
    if (event.type === "state" && this.#end) this.#tell({ type: "exit", ...this.#end });
  }

  #changed(state: State, message: string | undefined): void {
    this.#state = state;
    if (state !== "off" && state !== "stopped" && state !== "failed") {
      if (this.#end) this.#ended = deferred();
      this.#end = undefined;
      return;
    }
    this.#over({ state, ...(message === undefined ? {} : { message }) });
    if (state === "failed") this.#silent();
  }

  /** The guest writes nothing more, ever. */
  #silent(): void {
    this.#reader?.close();
    this.#reader = undefined;
  }

  #over(end: End): void {
    this.#end = end;
    this.#ended.resolve(end);
    this.#expect.end(ending(end));
  }

  #written(data: Uint8Array<ArrayBuffer>): void {
    this.#expect.output(data);
    this.#reader?.enqueue(data);
  }

  #used(stats: Stats): void {
    const before = this.#active;
    const now = {
      diskRead: stats.disk_read_bytes,
      diskWritten: stats.disk_written_bytes,
      netSent: stats.net_sent_bytes,
      netReceived: stats.net_received_bytes,
    };
    this.#active = now;
    if (Object.entries(now).some(([name, bytes]) => bytes !== before[name as keyof Activity])) {
      this.#tell({ type: "activity", ...now });
    }
  }
}

function ending({ state, message }: End): string {
  if (state === "off") return message === undefined ? "it powered off" : `the machine went off: ${message}`;
  return `the machine ${state}: ${message?.split("\n")[0]}`;
}

/** Whether `promise` is resolved in so many milliseconds. */
async function within(promise: Promise<unknown>, ms: number): Promise<boolean> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<false>((resolve) => {
    timer = after(ms, () => resolve(false));
  });
  try {
    return await Promise.race([promise.then(() => true), late]);
  } finally {
    clearTimeout(timer);
  }
}
