// Bytes that the page has already, and files that its user has picked.

import { type DiskFile, ReadOnlyFile } from "./file.ts";

/** Bytes in memory. What is written to them is gone with the machine. */
export class MemoryFile implements DiskFile {
  readonly writable = true;
  readonly remote = false;
  readonly tag = "";
  #bytes: Uint8Array;
  #size: number;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#size = bytes.length;
  }

  get size(): number {
    return this.#size;
  }

  /** What it holds. */
  bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.#size);
  }

  read(offset: number, into: Uint8Array): undefined {
    into.set(this.#bytes.subarray(offset, Math.min(offset + into.length, this.#size)));
  }

  write(offset: number, bytes: Uint8Array): undefined {
    const end = offset + bytes.length;
    if (end > this.#bytes.length) {
      const longer = new Uint8Array(Math.max(end, this.#bytes.length + (this.#bytes.length >> 1)));
      longer.set(this.#bytes);
      this.#bytes = longer;
    }
    this.#bytes.set(bytes, offset);
    this.#size = Math.max(this.#size, end);
  }

  flush(): undefined {}

  close(): void {}
}

/** A `Blob`, or a `File` that the user has picked: never read as a whole. */
export class BlobFile extends ReadOnlyFile implements DiskFile {
  readonly remote = false;
  readonly tag: string;
  readonly #blob: Blob;

  constructor(blob: Blob) {
    super();
    this.#blob = blob;
    this.tag = blob instanceof File ? `changed ${blob.lastModified}` : "";
  }

  get size(): number {
    return this.#blob.size;
  }

  async read(offset: number, into: Uint8Array): Promise<Uint8Array> {
    const { length } = into;
    try {
      return new Uint8Array(await this.#blob.slice(offset, offset + length).arrayBuffer());
    } catch (cause) {
      // a File that was changed or moved, or whose permission is gone
      throw new Error("it cannot be read any more: it was changed, moved or withdrawn; pick it again", { cause });
    }
  }
}
