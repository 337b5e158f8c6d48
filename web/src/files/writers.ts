// Files of a browser's directory that are being written. In the page's own storage they are written in place (a sync access handle);
// elsewhere a browser writes to a copy that takes the file's place when it is closed, so one copy serves many writes.

import type { FileHandle, SyncAccessHandle } from "../host/disk/opfs.ts";
import { Reader } from "./readers.ts";
import { FileError } from "./server.ts";

/** A file that is open to be written; sizes and offsets in bytes. */
export interface Writer {
  readonly size: number;
  read(offset: number, count: number): Promise<Uint8Array> | Uint8Array;
  /** Returns how many bytes were written. */
  write(offset: number, data: Uint8Array<ArrayBuffer>): Promise<number> | number;
  truncate(size: number): Promise<void> | void;
  /** What was written is in the file. */
  flush(): Promise<void> | void;
  close(): Promise<void> | void;
}

export async function openWriter(handle: FileHandle): Promise<Writer> {
  if (handle.createSyncAccessHandle !== undefined) {
    try {
      return new InPlace(await handle.createSyncAccessHandle());
    } catch (error) {
      // the way to tell that a file is not in the page's own storage
      if (!(error instanceof DOMException) || error.name !== "InvalidStateError") throw error;
    }
  }
  return new Copy(handle, (await handle.getFile()).size);
}

class InPlace implements Writer {
  readonly #file: SyncAccessHandle;

  constructor(file: SyncAccessHandle) {
    this.#file = file;
  }

  get size(): number {
    return this.#file.getSize();
  }

  read(offset: number, count: number): Uint8Array {
    const data = new Uint8Array(Math.max(0, Math.min(count, this.size - offset)));
    return data.subarray(0, this.#file.read(data, { at: offset }));
  }

  write(offset: number, data: Uint8Array): number {
    const written = this.#file.write(data, { at: offset });
    if (written === 0 && data.length > 0) throw new FileError("ENOSPC");
    return written;
  }

  truncate(size: number): void {
    this.#file.truncate(size);
  }

  flush(): void {
    this.#file.flush();
  }

  close(): void {
    try {
      this.#file.flush();
    } finally {
      this.#file.close(); // or nobody could open it any more
    }
  }
}

class Copy implements Writer {
  readonly #handle: FileSystemFileHandle;
  /** Open while it holds what the file does not. */
  #stream: FileSystemWritableFileStream | undefined;
  size: number;

  constructor(handle: FileSystemFileHandle, size: number) {
    this.#handle = handle;
    this.size = size;
  }

  async read(offset: number, count: number): Promise<Uint8Array> {
    await this.flush();
    return new Reader(this.#handle).read(offset, count);
  }

  async write(position: number, data: Uint8Array<ArrayBuffer>): Promise<number> {
    await this.#do((stream) => stream.write({ type: "write", position, data }));
    this.size = Math.max(this.size, position + data.length);
    return data.length;
  }

  async truncate(size: number): Promise<void> {
    await this.#do((stream) => stream.truncate(size));
    this.size = size;
  }

  async flush(): Promise<void> {
    const stream = this.#stream;
    this.#stream = undefined;
    try {
      await stream?.close();
    } catch (error) {
      await this.#lost();
      throw error;
    }
  }

  close(): Promise<void> {
    return this.flush();
  }

  async #do(act: (stream: FileSystemWritableFileStream) => Promise<void>): Promise<void> {
    this.#stream ??= await this.#handle.createWritable({ keepExistingData: true });
    try {
      await act(this.#stream);
    } catch (error) {
      await this.#stream.abort().catch(() => {}); // it may have ended itself
      this.#stream = undefined;
      await this.#lost();
      throw error;
    }
  }

  /** The copy is no more: the file is what it was. */
  async #lost(): Promise<void> {
    this.size = (await this.#handle.getFile()).size;
  }
}
