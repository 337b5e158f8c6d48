// The engine's open files, by number: its imports, and the answers that it gets.

import { type EngineExports, type EngineImports, FileAccess, FileFlags, FileStarted } from "../../abi.gen.ts";
import type { Access, DiskFile, DiskHost, Reading } from "./file.ts";

type FileImports = Pick<
  EngineImports,
  "file_open" | "file_fetch" | "file_read" | "file_write" | "file_flush" | "file_close"
>;
type Answers = Pick<EngineExports, "scratch" | "file_opened" | "file_part" | "file_pace" | "file_done" | "file_failed">;

function accessOf(code: number): Access {
  return code === FileAccess.Create ? "create" : code === FileAccess.Write ? "write" : "read";
}

export class FileTable {
  readonly imports: FileImports;
  readonly #host: DiskHost | undefined;
  readonly #bytes: (ptr: number, len: number) => Uint8Array;
  readonly #files = new Map<number, DiskFile>();
  #last = 0;
  #answers: Answers | undefined;

  /** `bytes` is a view of the engine's memory, for now. */
  constructor(host: DiskHost | undefined, bytes: (ptr: number, len: number) => Uint8Array) {
    this.#host = host;
    this.#bytes = bytes;
    const text = (ptr: number, len: number) => new TextDecoder().decode(bytes(ptr, len));
    this.imports = {
      file_open: (name, len, base, baseLen, access, request) =>
        this.#later(request, this.#open(text(name, len), text(base, baseLen), accessOf(access)), (file) =>
          this.#opened(request, file),
        ),
      file_fetch: (name, len, base, baseLen, again, request) =>
        this.#later(request, this.#fetch(text(name, len), text(base, baseLen), again !== 0), (bytes) =>
          this.#done(request, bytes),
        ),
      file_read: (file, offset, ptr, len, request) =>
        this.#start(
          request,
          (open) => open.read(Number(BigInt.asUintN(64, offset)), bytes(ptr, len), this.#reading(request)),
          file,
        ),
      file_write: (file, offset, ptr, len, request) =>
        this.#start(request, (open) => open.write(Number(BigInt.asUintN(64, offset)), bytes(ptr, len)), file),
      file_flush: (file, request) => this.#start(request, (open) => open.flush(), file),
      file_close: (file) => {
        this.#files.get(file)?.close();
        this.#files.delete(file);
      },
    };
  }

  attach(answers: Answers): void {
    this.#answers = answers;
  }

  /** Closes all files. */
  close(): void {
    for (const file of this.#files.values()) file.close();
    this.#files.clear();
    this.#answers = undefined;
  }

  async #open(name: string, base: string, access: Access): Promise<DiskFile> {
    if (!this.#host) throw new Error("this host has no files");
    return this.#host.open(name, base, access);
  }

  async #fetch(name: string, base: string, again: boolean): Promise<Uint8Array> {
    if (!this.#host) throw new Error("this host has no files");
    return this.#host.fetch(name, base, again);
  }

  /** What can be done at once, is; also a failure is told later: an import does not call back. */
  #start(request: number, start: (file: DiskFile) => Promise<unknown> | undefined, number: number): number {
    let later: Promise<unknown> | undefined;
    try {
      const file = this.#files.get(number);
      if (!file) throw new Error("it is not open");
      later = start(file);
    } catch (error) {
      later = Promise.reject(error);
    }
    if (!later) return FileStarted.Done;
    this.#later(request, later, (bytes) =>
      this.#done(request, bytes instanceof Uint8Array ? bytes : new Uint8Array(0)),
    );
    return FileStarted.Pending;
  }

  #later<T>(request: number, promise: Promise<T>, tell: (value: T) => void): void {
    promise
      .then(tell, (error: unknown) => {
        const why = new TextEncoder().encode(error instanceof Error ? error.message : String(error));
        this.#answers?.file_failed(request, this.#give(why));
      })
      .then(() => this.#host?.answered())
      .catch((error: unknown) => this.#host?.failed(error));
  }

  #opened(request: number, file: DiskFile): void {
    if (!this.#answers) {
      file.close();
      return;
    }
    this.#last += 1;
    this.#files.set(this.#last, file);
    const flags =
      (file.writable ? FileFlags.Writable : 0) |
      (file.remote ? FileFlags.Remote : 0) |
      (file.exact ? FileFlags.Exact : 0);
    const tag = this.#give(new TextEncoder().encode(file.tag));
    this.#answers.file_opened(request, this.#last, BigInt(file.size), flags, tag);
  }

  #reading(request: number): Reading {
    return {
      part: (bytes) => {
        this.#answers?.file_part(request, this.#give(bytes));
        this.#host?.answered();
      },
      pace: (latency, rate) => this.#answers?.file_pace(request, latency, rate),
    };
  }

  #done(request: number, bytes: Uint8Array): void {
    this.#answers?.file_done(request, this.#give(bytes));
  }

  /** Puts `bytes` into the scratch room; returns their number. */
  #give(bytes: Uint8Array): number {
    const ptr = (this.#answers?.scratch(bytes.length) ?? 0) >>> 0;
    if (ptr !== 0) this.#bytes(ptr, bytes.length).set(bytes);
    return ptr === 0 ? 0 : bytes.length;
  }
}
