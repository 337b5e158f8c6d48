// One `engine.wasm` instance behind its generated boundary: bytes, strings and errors instead of addresses.

import {
  Console,
  type EngineExports,
  type EngineImports,
  type EngineStats,
  EXPORT_NAMES,
  type Exit,
  IMPORT_MODULE,
  type Image,
  LogLevel,
  Outcome,
  readStats,
  VERSION,
} from "./abi.gen.ts";
import { ERRNO } from "./files/wire.gen.ts";
import { type Bytes, Channels } from "./host/channels.ts";
import { CodeHost } from "./host/code.ts";
import type { DiskHost } from "./host/disk/file.ts";
import { FileTable } from "./host/disk/table.ts";
import type { CodeLimits } from "./protocol.ts";

export type ExitCode = (typeof Exit)[keyof typeof Exit];
export type ImageKind = (typeof Image)[keyof typeof Image];
export type ConsoleMode = "none" | "raw" | "escape";

/** What kept a machine from starting or running, as one message for its user. */
export class VmError extends Error {
  /** `options`: what was asked for is wrong; `machine`: the files or this browser do not allow it; `engine`: our fault. */
  readonly kind: "options" | "machine" | "engine";

  constructor(kind: VmError["kind"], message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "VmError";
    this.kind = kind;
  }
}

/** The engine's surroundings. Times in milliseconds. */
export interface EngineHost {
  monotonic(): number;
  realtime(): number;
  random(bytes: Uint8Array<ArrayBuffer>): void;
  log(level: number, text: string): void;
  readonly code?: CodeLimits;
  readonly files?: DiskHost;
  /** What the machine's networks reach; nothing without them. */
  readonly channels?: Channels;
  /** A request to what serves a share: its reply, or nothing where it comes later. */
  share(share: number, message: Uint8Array): Uint8Array | undefined;
}

/** What the run loop uses of an engine. */
export interface EngineApi {
  configure(options: readonly string[]): void;
  readonly consoleMode: ConsoleMode;
  imageName(image: ImageKind): string | undefined;
  /** Room for an image of `length` bytes; `write` puts bytes at an offset in it. */
  imageBegin(image: ImageKind, length: number): (offset: number, bytes: Uint8Array) => void;
  /** The path of a share; empty for one in memory, nothing if there are no more. */
  sharePath(share: number): string | undefined;
  /** The reply to a request of `EngineHost.share`, later. */
  shareComplete(share: number, reply: Uint8Array): void;
  /** Puts a file into a share in memory; throws Linux's error. */
  putFile(share: number, path: string, contents: Uint8Array, mode: number): void;
  /** A copy of a file in a share in memory; throws Linux's error. */
  getFile(share: number, path: string): Uint8Array<ArrayBuffer>;
  /** Builds the machine; false if the host has to answer first (`DiskHost.answered`), and then to call again. */
  create(): boolean;
  /** Closes the files. */
  close(): void;
  run(sliceMs: number): ExitCode;
  idleUntil(): number;
  consoleInput(bytes: Uint8Array): void;
  /** A copy of what the guest wrote since the last call. */
  consoleOutput(): Uint8Array<ArrayBuffer>;
  channelEvent(channel: number, event: number, value: number, data: Bytes): void;
  reset(): void;
  stats(): EngineStats;
  /** Calls of the engine's helpers by translated code, by name. */
  helperCalls(): Record<string, number>;
  message(): string;
  readonly memoryBytes: number;
}

const NO_BYTES = new Uint8Array(0);

export class Engine implements EngineApi {
  readonly #exports: EngineExports;
  readonly #memory: WebAssembly.Memory;
  readonly #last: { panic: string | undefined };
  readonly #files: FileTable;

  private constructor(
    exports: EngineExports,
    memory: WebAssembly.Memory,
    last: { panic: string | undefined },
    files: FileTable,
  ) {
    this.#exports = exports;
    this.#memory = memory;
    this.#last = last;
    this.#files = files;
  }

  static async instantiate(module: WebAssembly.Module, host: EngineHost): Promise<Engine> {
    let memory: WebAssembly.Memory | undefined;
    const bytes = (ptr: number, len: number) =>
      new Uint8Array(memory?.buffer ?? new ArrayBuffer(0), ptr >>> 0, len >>> 0);
    const last: { panic: string | undefined } = { panic: undefined };
    const code = new CodeHost(host.code);
    const files = new FileTable(host.files, bytes);
    let reply: Uint8Array | undefined;
    const imports: EngineImports = {
      ...code.imports,
      ...files.imports,
      ...(host.channels ?? new Channels({}, () => {})).imports(bytes),
      clock_monotonic: () => host.monotonic(),
      clock_realtime: () => host.realtime(),
      random: (ptr, len) => host.random(bytes(ptr, len) as Uint8Array<ArrayBuffer>),
      share_request: (share, ptr, len) => {
        // the host may keep the message, and the engine's memory moves
        reply = host.share(share, bytes(ptr, len).slice());
        return reply?.length ?? 0;
      },
      share_reply: (ptr) => {
        if (reply) bytes(ptr, reply.length).set(reply);
        reply = undefined;
      },
      log: (level, ptr, len) => {
        const text = new TextDecoder().decode(bytes(ptr, len));
        // a panic ends in a trap, and the call that traps reports it
        if (level === LogLevel.Panic) last.panic = text;
        else host.log(level, text);
      },
    };
    let exports: WebAssembly.Exports;
    try {
      exports = (
        await WebAssembly.instantiate(module, { [IMPORT_MODULE]: imports as unknown as WebAssembly.ModuleImports })
      ).exports;
    } catch (cause) {
      throw new VmError("engine", `engine.wasm does not fit this host: ${text(cause)}`, { cause });
    }
    const missing = EXPORT_NAMES.filter((name) => typeof exports[name] !== "function");
    if (missing.length > 0 || !(exports.memory instanceof WebAssembly.Memory)) {
      throw new VmError("engine", `engine.wasm is not pagevm's engine: it lacks ${missing.join(", ") || "memory"}`);
    }
    memory = exports.memory;
    code.attach(exports);
    const engine = new Engine(exports as unknown as EngineExports, memory, last, files);
    files.attach({
      scratch: (len) => engine.#call("scratch", len),
      file_opened: (...answer) => engine.#call("file_opened", ...answer),
      file_done: (...answer) => engine.#call("file_done", ...answer),
      file_failed: (...answer) => engine.#call("file_failed", ...answer),
    });
    const version = engine.#call("abi_version");
    if (version !== VERSION) {
      throw new VmError(
        "engine",
        `engine.wasm speaks version ${version} of the host interface, this page ${VERSION}: reload`,
      );
    }
    return engine;
  }

  configure(options: readonly string[]): void {
    const bad = options.find((option) => option.includes("\0"));
    if (bad !== undefined) throw new VmError("options", `an option holds a zero character: ${JSON.stringify(bad)}`);
    const length = this.#give(new TextEncoder().encode(options.map((option) => `${option}\0`).join("")));
    this.#check(this.#call("configure", length));
  }

  get consoleMode(): ConsoleMode {
    const mode = this.#call("console_mode");
    return mode === Console.Escape ? "escape" : mode === Console.Raw ? "raw" : "none";
  }

  imageName(image: ImageKind): string | undefined {
    const range = this.#call("image_name", image);
    return range === 0n ? undefined : this.#text(range);
  }

  imageBegin(image: ImageKind, length: number): (offset: number, bytes: Uint8Array) => void {
    const ptr = this.#call("image_begin", image, length) >>> 0;
    if (ptr === 0) throw new VmError("machine", `there is no memory for an image of ${length} bytes`);
    return (offset, bytes) => new Uint8Array(this.#memory.buffer, ptr, length).set(bytes, offset);
  }

  sharePath(share: number): string | undefined {
    const range = this.#call("share_path", share);
    return range === 0n ? undefined : this.#text(range);
  }

  shareComplete(share: number, reply: Uint8Array): void {
    this.#call("share_complete", share, this.#give(reply));
  }

  putFile(share: number, path: string, contents: Uint8Array, mode: number): void {
    const name = new TextEncoder().encode(path);
    const both = new Uint8Array(name.length + contents.length);
    both.set(name);
    both.set(contents, name.length);
    this.#give(both);
    checkFile(path, this.#call("share_put", share, name.length, contents.length, mode));
  }

  getFile(share: number, path: string): Uint8Array<ArrayBuffer> {
    const range = BigInt.asUintN(64, this.#call("share_get", share, this.#give(new TextEncoder().encode(path))));
    if ((range & 0xffff_ffffn) === 0n) checkFile(path, Number(range >> 32n));
    return this.#bytes(range).slice();
  }

  create(): boolean {
    const outcome = this.#call("create");
    if (outcome === Outcome.Pending) return false;
    this.#check(outcome);
    return true;
  }

  close(): void {
    this.#files.close();
  }

  run(sliceMs: number): ExitCode {
    return this.#call("run", sliceMs) as ExitCode;
  }

  idleUntil(): number {
    return this.#call("idle_until");
  }

  consoleInput(bytes: Uint8Array): void {
    this.#call("console_input", this.#give(bytes));
  }

  consoleOutput(): Uint8Array<ArrayBuffer> {
    const range = this.#call("console_output");
    return range >> 32n === 0n ? NO_BYTES : this.#bytes(range).slice();
  }

  channelEvent(channel: number, event: number, value: number, data: Bytes): void {
    this.#call("channel_event", channel, event, value, this.#give(data));
  }

  reset(): void {
    this.#call("reset");
  }

  stats(): EngineStats {
    return readStats(this.#memory.buffer, this.#call("stats") >>> 0);
  }

  helperCalls(): Record<string, number> {
    const lines = this.#text(this.#call("helper_calls")).trim().split("\n");
    return Object.fromEntries(lines.map((line) => line.split(" ")).map(([name, calls]) => [name, Number(calls)]));
  }

  message(): string {
    return this.#text(this.#call("message"));
  }

  get memoryBytes(): number {
    return this.#memory.buffer.byteLength;
  }

  #bytes(range: bigint): Uint8Array<ArrayBuffer> {
    const bits = BigInt.asUintN(64, range);
    return new Uint8Array(this.#memory.buffer, Number(bits & 0xffff_ffffn), Number(bits >> 32n));
  }

  #text(range: bigint): string {
    return new TextDecoder().decode(this.#bytes(range));
  }

  /** Puts `bytes` into the scratch room; returns their number. */
  #give(bytes: Uint8Array): number {
    const ptr = this.#call("scratch", bytes.length) >>> 0;
    if (ptr === 0) throw new VmError("machine", `there is no memory for ${bytes.length} bytes of input`);
    new Uint8Array(this.#memory.buffer, ptr, bytes.length).set(bytes);
    return bytes.length;
  }

  #check(outcome: number): void {
    if (outcome === Outcome.Done) return;
    const kind = outcome === Outcome.BadOptions ? "options" : outcome === Outcome.BadCall ? "engine" : "machine";
    throw new VmError(kind, this.message());
  }

  #call<Name extends keyof EngineExports>(
    name: Name,
    ...args: Parameters<EngineExports[Name]>
  ): ReturnType<EngineExports[Name]> {
    try {
      return (this.#exports[name] as (...args: unknown[]) => ReturnType<EngineExports[Name]>)(...args);
    } catch (cause) {
      const why = this.#last.panic ?? text(cause);
      throw new VmError("engine", `the engine failed in ${name}, which is a bug in pagevm: ${why}`, { cause });
    }
  }
}

function checkFile(path: string, errno: number): void {
  if (errno === 0) return;
  const name = Object.entries(ERRNO).find(([, number]) => number === errno)?.[0] ?? `error ${errno}`;
  const error = new VmError("machine", `${path}: ${name} in the guest's files`);
  throw Object.assign(error, { code: name });
}

function text(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}
