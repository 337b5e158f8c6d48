// One `engine.wasm` instance behind its generated boundary: bytes, strings and errors instead of addresses.

import {
  Console,
  DiskFlags,
  type EngineExports,
  type EngineImports,
  type EngineStats,
  EXPORT_NAMES,
  type Exit,
  IMPORT_MODULE,
  type Image,
  LogLevel,
  Outcome,
  Packing,
  readStats,
  VERSION,
} from "./abi.gen.ts";
import { deferred, VmError } from "./error.ts";
import { ERRNO } from "./files/wire.gen.ts";
import { type Bytes, Channels } from "./host/channels.ts";
import { CodeHost } from "./host/code.ts";
import type { DiskHost } from "./host/disk/file.ts";
import { FileTable } from "./host/disk/table.ts";
import type { CodeLimits, DiskInfo, FileInfo } from "./protocol.ts";

export type ExitCode = (typeof Exit)[keyof typeof Exit];
export type ImageKind = (typeof Image)[keyof typeof Image];
export type ConsoleMode = "none" | "raw" | "escape";

/** A piece of a packed drive: a chunk to be compressed and stored, or the manifest. */
export type PackedPiece =
  | { last: false; content: Uint8Array<ArrayBuffer>; name: string }
  | { last: true; content: Uint8Array<ArrayBuffer> };

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
  /** The name that the options give a share; nothing if there are no more. */
  shareId(share: number): string | undefined;
  /** The path of a share; empty for one in memory, nothing if there are no more. */
  sharePath(share: number): string | undefined;
  /** The reply to a request of `EngineHost.share`, later. */
  shareComplete(share: number, reply: Uint8Array): void;
  /** Puts a file into a share in memory; throws Linux's error. */
  putFile(share: number, path: string, contents: Uint8Array, mode: number): void;
  /** A copy of a file in a share in memory; throws Linux's error. */
  getFile(share: number, path: string): Uint8Array<ArrayBuffer>;
  /** The archive that is to be in a share in memory in the beginning. */
  shareArchive(share: number): string | undefined;
  /** Puts the files of a cpio archive into a share in memory. */
  unpackShare(share: number, archive: Uint8Array): void;
  /** What is in a directory of a share in memory, in order of names; throws Linux's error. */
  listFiles(share: number, path: string): FileInfo[];
  /** The drives, in the order of the options. */
  disks(): DiskInfo[];
  /** Bytes of a disk as it is now. */
  diskRead(disk: number, offset: number, length: number): Promise<Uint8Array<ArrayBuffer>>;
  /** Writes what differs from the disk's image to a new file of the host's, as an overlay. */
  diskExport(disk: number, name: string): Promise<void>;
  powerButton(): void;
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
  readonly #disks: Answers;

  private constructor(
    exports: EngineExports,
    memory: WebAssembly.Memory,
    last: { panic: string | undefined },
    files: FileTable,
    disks: Answers,
  ) {
    this.#exports = exports;
    this.#memory = memory;
    this.#last = last;
    this.#files = files;
    this.#disks = disks;
  }

  static async instantiate(module: WebAssembly.Module, host: EngineHost): Promise<Engine> {
    let memory: WebAssembly.Memory | undefined;
    const bytes = (ptr: number, len: number) =>
      new Uint8Array(memory?.buffer ?? new ArrayBuffer(0), ptr >>> 0, len >>> 0);
    const last: { panic: string | undefined } = { panic: undefined };
    const code = new CodeHost(host.code);
    const files = new FileTable(host.files, bytes);
    const disks = new Answers();
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
      disk_done: (request, ptr, len) => disks.done(request, bytes(ptr, len).slice() as Bytes),
      disk_failed: (request, ptr, len) =>
        disks.failed(request, new VmError("machine", new TextDecoder().decode(bytes(ptr, len)))),
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
    const engine = new Engine(exports as unknown as EngineExports, memory, last, files, disks);
    files.attach({
      scratch: (len) => engine.#call("scratch", len),
      file_opened: (...answer) => engine.#call("file_opened", ...answer),
      file_part: (...answer) => engine.#call("file_part", ...answer),
      file_pace: (...answer) => engine.#call("file_pace", ...answer),
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

  /** Whether owners, modes and types of a share's files are kept in files beside them: `security_model=mapped-file`. */
  shareMapped(share: number): boolean {
    return this.#call("share_mapped", share) !== 0;
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

  shareArchive(share: number): string | undefined {
    const range = this.#call("share_archive", share);
    return range === 0n ? undefined : this.#text(range);
  }

  unpackShare(share: number, archive: Uint8Array): void {
    this.#check(this.#call("share_unpack", share, this.#give(archive)));
  }

  /** The file of a drive as the options name it; nothing if there are no more. */
  driveFile(drive: number): string | undefined {
    const range = this.#call("drive_file", drive);
    return range === 0n ? undefined : this.#text(range);
  }

  /** Begins to pack a drive. */
  packOpen(drive: number): void {
    this.#check(this.#call("pack_open", drive));
  }

  /** The drive's next piece, its manifest being the last; nothing if the host has to answer first. */
  packNext(): PackedPiece | undefined {
    const packing = this.#call("pack_next");
    if (packing === Packing.Pending) return undefined;
    if (packing === Packing.Failed) throw new VmError("machine", this.message());
    const content = this.#bytes(this.#call("pack_content")).slice();
    if (packing === Packing.Manifest) return { last: true, content };
    return { last: false, content, name: this.#text(this.#call("pack_name")) };
  }

  /** The options with these names for kernel, initrd, each drive, each share; the old ones where there is none. */
  packOptions(names: readonly (string | undefined)[]): string[] {
    const length = this.#give(new TextEncoder().encode(names.map((name) => `${name ?? ""}\0`).join("")));
    return this.#text(this.#call("pack_options", length)).split("\0").slice(0, -1);
  }

  shareId(share: number): string | undefined {
    const range = this.#call("share_id", share);
    return range === 0n ? undefined : this.#text(range);
  }

  listFiles(share: number, path: string): FileInfo[] {
    const range = BigInt.asUintN(64, this.#call("share_list", share, this.#give(new TextEncoder().encode(path))));
    if ((range & 0xffff_ffffn) === 0n) checkFile(path, Number(range >> 32n));
    const lines = this.#text(range).split("\0").slice(0, -1);
    return lines.map((line) => {
      const [, mode = "", size, seconds, name = ""] = /^([0-7]+) (\d+) (\d+) (.*)$/s.exec(line) ?? [];
      const bits = Number.parseInt(mode, 8);
      return { name, type: fileType(bits), size: Number(size), mode: bits & 0o7777, modified: Number(seconds) * 1000 };
    });
  }

  disks(): DiskInfo[] {
    const disks: DiskInfo[] = [];
    for (let disk = 0; ; disk++) {
      const id = this.#call("disk_id", disk);
      if (id === 0n) return disks;
      const flags = this.#call("disk_flags", disk);
      disks.push({
        id: this.#text(id),
        size: Number(BigInt.asUintN(64, this.#call("disk_size", disk))),
        readOnly: (flags & DiskFlags.ReadOnly) !== 0,
        overlay: (flags & DiskFlags.Overlay) !== 0,
      });
    }
  }

  async diskRead(disk: number, offset: number, length: number): Promise<Uint8Array<ArrayBuffer>> {
    return this.#disks.ask((request) => this.#call("disk_read", disk, BigInt(offset), length, request));
  }

  async diskExport(disk: number, name: string): Promise<void> {
    const length = this.#give(new TextEncoder().encode(name));
    await this.#disks.ask((request) => this.#call("disk_export", disk, length, request));
  }

  powerButton(): void {
    this.#call("power_button");
  }

  create(): boolean {
    const outcome = this.#call("create");
    if (outcome === Outcome.Pending) return false;
    this.#check(outcome);
    return true;
  }

  close(): void {
    this.#disks.close();
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
    const lines = this.#text(this.#call("helper_calls")).split("\n").slice(0, -1);
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

/** Questions to the engine that it answers later. */
class Answers {
  readonly #waiting = new Map<number, PromiseWithResolvers<Uint8Array<ArrayBuffer>>>();
  #last = 0;

  ask(begin: (request: number) => void): Promise<Uint8Array<ArrayBuffer>> {
    this.#last = (this.#last + 1) & 0x7fff_ffff;
    const waiting = deferred<Uint8Array<ArrayBuffer>>();
    this.#waiting.set(this.#last, waiting);
    begin(this.#last);
    return waiting.promise;
  }

  done(request: number, data: Uint8Array<ArrayBuffer>): void {
    this.#take(request)?.resolve(data);
  }

  failed(request: number, error: VmError): void {
    this.#take(request)?.reject(error);
  }

  /** No more answers will come. */
  close(): void {
    for (const request of [...this.#waiting.keys()])
      this.failed(request, new VmError("machine", "the machine is gone"));
  }

  #take(request: number): PromiseWithResolvers<Uint8Array<ArrayBuffer>> | undefined {
    const waiting = this.#waiting.get(request);
    this.#waiting.delete(request);
    return waiting;
  }
}

/** The types of `st_mode`, as far as they have names of their own. */
function fileType(mode: number): FileInfo["type"] {
  switch (mode & 0o170000) {
    case 0o040000:
      return "directory";
    case 0o100000:
      return "file";
    case 0o120000:
      return "link";
    default:
      return "other";
  }
}

function checkFile(path: string, errno: number): void {
  if (errno === 0) return;
  const name = Object.entries(ERRNO).find(([, number]) => number === errno)?.[0] ?? `error ${errno}`;
  throw new VmError("machine", `${path}: ${name} in the guest's files`, { code: name });
}

function text(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}
