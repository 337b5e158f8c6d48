// An engine whose guest is a few lines of TypeScript: the session sees nothing but its interface and cannot tell.

import { Exit, Image, NO_STATS } from "../src/abi.gen.ts";
import type { EngineApi, EngineHost, ExitCode } from "../src/engine.ts";
import { VmError } from "../src/error.ts";
import type { Source } from "../src/host/files.ts";
import { Session } from "../src/host/loop.ts";
import { Directory } from "../src/node/directory.ts";
import type { DiskInfo, Event, FileInfo, Job } from "../src/protocol.ts";

/** What the guest does in one slice: returns why it ends. */
export type Guest = (vm: MockEngine) => ExitCode;

interface Drive {
  name: string;
  first?: number | undefined;
  error?: string;
}

export class MockEngine implements EngineApi {
  readonly host: EngineHost;
  readonly images = new Map<number, Uint8Array>();
  readonly guest: Guest;
  consoleMode = "escape" as const;
  readonly memoryBytes = 600 << 20;
  readonly helperCalls = () => ({});
  options: readonly string[] = [];
  typed = "";
  deadline = Number.POSITIVE_INFINITY;
  slices = 0;
  resets = 0;
  report = "";
  refuse: VmError | undefined;
  drives: Drive[] | undefined;
  #output = "";

  constructor(host: EngineHost, guest: Guest) {
    this.host = host;
    this.guest = guest;
  }

  write(text: string): void {
    this.#output += text;
  }

  /** Takes one line of what was typed. */
  line(): string | undefined {
    const end = this.typed.indexOf("\n");
    if (end < 0) return undefined;
    const line = this.typed.slice(0, end);
    this.typed = this.typed.slice(end + 1);
    return line;
  }

  configure(options: readonly string[]): void {
    if (options[0] === "-nonsense") throw new VmError("options", "`-nonsense` is not supported");
    this.options = options;
  }

  /** Paths of the shares. */
  shares: string[] = [];
  /** Replies that came later, by share. */
  readonly replies: [number, Uint8Array][] = [];

  readonly put = new Map<string, Uint8Array>();
  disk = new Uint8Array(0);
  buttons = 0;
  readonly counters = { ...NO_STATS };

  shareId(share: number): string | undefined {
    return this.shares[share] === undefined ? undefined : `share${share}`;
  }

  sharePath(share: number): string | undefined {
    return this.shares[share];
  }

  shareComplete(share: number, reply: Uint8Array): void {
    this.replies.push([share, reply]);
  }

  /** Archives of the shares, and what was unpacked. */
  archives: (string | undefined)[] = [];
  readonly unpacked: [number, Uint8Array][] = [];

  shareArchive(share: number): string | undefined {
    return this.archives[share];
  }

  unpackShare(share: number, archive: Uint8Array): void {
    this.unpacked.push([share, archive]);
  }

  putFile(share: number, path: string, contents: Uint8Array): void {
    this.put.set(`${share}:${path}`, contents);
  }

  getFile(share: number, path: string): Uint8Array<ArrayBuffer> {
    const contents = this.put.get(`${share}:${path}`);
    if (!contents) throw new VmError("machine", `${path}: ENOENT in the guest's files`, { code: "ENOENT" });
    return new Uint8Array(contents);
  }

  listFiles(share: number): FileInfo[] {
    const names = [...this.put].filter(([key]) => key.startsWith(`${share}:`));
    return names.map(([key, { length }]) => ({
      name: key.slice(2),
      type: "file",
      size: length,
      mode: 0o644,
      modified: 0,
    }));
  }

  disks(): DiskInfo[] {
    return this.disk.length === 0 ? [] : [{ id: "d0", size: this.disk.length, readOnly: false, overlay: true }];
  }

  async diskRead(_disk: number, offset: number, length: number): Promise<Uint8Array<ArrayBuffer>> {
    return this.disk.slice(offset, offset + length);
  }

  async diskExport(_disk: number, name: string): Promise<void> {
    const file = await this.host.files?.open(name, "", "create");
    file?.write(2, Uint8Array.of(7));
    file?.write(0, Uint8Array.of(5));
  }

  powerButton(): void {
    this.buttons += 1;
  }

  imageName(image: number): string | undefined {
    const at = this.options.indexOf(image === Image.Kernel ? "-kernel" : "-initrd");
    return at < 0 ? undefined : this.options[at + 1];
  }

  imageBegin(image: number, length: number): (offset: number, bytes: Uint8Array) => void {
    const room = new Uint8Array(length);
    this.images.set(image, room);
    return (offset, bytes) => room.set(bytes, offset);
  }

  /** Each `-drive` is followed by the name of a file, whose first byte is asked for. */
  create(): boolean {
    if (this.refuse) throw this.refuse;
    this.drives ??= this.options.flatMap((option, at) => {
      const name = this.options[at + 1];
      return option === "-drive" && name !== undefined ? [this.#first(name)] : [];
    });
    const failed = this.drives.find((drive) => drive.error !== undefined);
    if (failed) throw new VmError("machine", `-drive: ${failed.name}: ${failed.error}`);
    return this.drives.every((drive) => drive.first !== undefined);
  }

  #first(name: string): Drive {
    const drive: Drive = { name };
    void (async () => {
      try {
        const file = await this.host.files?.open(name, "", "read");
        const into = new Uint8Array(1);
        drive.first = ((await file?.read(0, into)) ?? into)[0];
      } catch (error) {
        drive.error = (error as Error).message;
      }
      this.host.files?.answered();
    })();
    return drive;
  }

  close(): void {}

  run(): ExitCode {
    this.slices += 1;
    return this.guest(this);
  }

  idleUntil(): number {
    return this.deadline;
  }

  consoleInput(bytes: Uint8Array): void {
    this.typed += new TextDecoder().decode(bytes);
  }

  consoleOutput(): Uint8Array<ArrayBuffer> {
    const bytes = new TextEncoder().encode(this.#output);
    this.#output = "";
    return bytes;
  }

  channelEvent(): void {}

  reset(): void {
    this.resets += 1;
  }

  stats() {
    return { ...this.counters, guest_insns: this.slices * 1000, interp_insns: this.slices * 250, ram_bytes: 512 << 20 };
  }

  message(): string {
    return this.report;
  }
}

export interface Run {
  session: Session;
  /** Set once the session has an engine. */
  engine: MockEngine | undefined;
  events: Event[];
  output(): string;
  /** Resolves with the first event that `want` accepts, past ones included. */
  until<T extends Event["type"]>(type: T, want?: (event: Event & { type: T }) => boolean): Promise<Event & { type: T }>;
}

/** Starts a session whose guest is `guest` and whose files are `files`. */
export function run(
  job: Partial<Job>,
  guest: Guest,
  files: Record<string, () => Source> = {},
  prepare: (engine: MockEngine) => void = () => {},
  /** Without it, the machine is started at once. */
  onEvent?: (event: Event) => void,
): Run {
  const events: Event[] = [];
  const watchers = new Set<(event: Event) => void>();
  const result: Run = {
    events,
    engine: undefined,
    session: new Session(
      {
        now: () => performance.now(),
        soon: setImmediate,
        channels: {},
        disks: {
          address: (name) => name,
          open: async () => {
            throw new Error("there is no such file");
          },
          fetch: async () => {
            throw new Error("there is no such file");
          },
          keep: async () => {
            throw new Error("there is no storage");
          },
        },
        share: (path) => {
          if (path === "none") throw new Error("there is no such directory");
          if (path.startsWith("/")) return new Directory(path);
          return { Tclunk: ({ fid }) => (fid === 1 ? {} : Promise.resolve({})) };
        },
        open: async (name) => {
          const file = files[name];
          if (!file) throw new Error("the server answers 404 Not Found");
          return file();
        },
        engine: async (_url, host) => {
          result.engine = new MockEngine(host, guest);
          prepare(result.engine);
          return result.engine;
        },
      },
      (event) => {
        events.push(event);
        onEvent?.(event);
        for (const watcher of watchers) watcher(event);
      },
    ),
    output: () => events.map((e) => (e.type === "output" ? new TextDecoder().decode(e.data) : "")).join(""),
    until: (type, want = () => true) =>
      new Promise((resolve) => {
        const look = (event: Event) => {
          if (event.type !== type || !want(event as Event & { type: typeof type })) return false;
          watchers.delete(look);
          resolve(event as Event & { type: typeof type });
          return true;
        };
        if (!events.some(look)) watchers.add(look);
      }),
  };
  void result.session.load({ options: [], engine: "engine.wasm", ...job });
  if (!onEvent) result.session.start().catch(() => {}); // told as events
  return result;
}

/** A file of these chunks; `total` as the server claims it. */
export function file(chunks: Uint8Array<ArrayBuffer>[], total?: number): () => Source {
  return () => ({
    ...(total === undefined ? {} : { total }),
    stream: new ReadableStream({
      start(controller) {
        for (const chunk of chunks) controller.enqueue(chunk);
        controller.close();
      },
    }),
  });
}

/** A guest with a shell: echoes lines, `poweroff` ends it. */
export function shell(): Guest {
  let booted = false;
  return (vm) => {
    if (!booted) {
      booted = true;
      vm.write("Linux version 6.1\r\n\x1b[1m~ # \x1b[0m\x1b[6n");
      return Exit.Budget;
    }
    const line = vm.line();
    if (line === undefined) return Exit.Idle;
    if (line === "poweroff") return Exit.PowerOff;
    vm.write(`${line}\r\nyou said ${line}\r\n~ # `);
    return Exit.Budget;
  };
}
