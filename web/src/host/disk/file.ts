// What the engine's disks are made of: files that are read and written in pieces.

/** An open file. Offsets and lengths are bytes. Errors say what is wrong without the file's name. */
export interface DiskFile {
  readonly size: number;
  readonly writable: boolean;
  /** Reading takes long, however little is read: the engine then keeps what it has, and reads ahead. */
  readonly remote: boolean;
  /** What changes when the content does; empty if nothing of that kind is known. */
  readonly tag: string;
  /** No two contents have the same tag: what was read may be kept by it for the next visit. */
  readonly exact?: boolean;
  /**
   * Fills `into`, all of it: at once, or else a promise of the bytes is returned, and `into` left alone; of the rest of them where
   * `reading` was given parts.
   */
  read(offset: number, into: Uint8Array, reading?: Reading): Promise<Uint8Array> | undefined;
  /** Writes, at once or later; `bytes` are only there until this returns. What ends after the file makes it longer. */
  write(offset: number, bytes: Uint8Array): Promise<void> | undefined;
  /** What was written is kept, come what may. */
  flush(): Promise<void> | undefined;
  close(): void;
}

/** Is told how a read goes on that takes long. */
export interface Reading {
  /** The next bytes, in their order. */
  part(bytes: Uint8Array): void;
  /** How many milliseconds passed before the first byte, and how many bytes came in one from then on. */
  pace(latency: number, rate: number): void;
}

/** What a file is opened for: `create` makes one if there is none. Where it may not be written, it is opened to be read. */
export type Access = "read" | "write" | "create";

/** Where files are found. */
export interface DiskHost {
  /** Opens a file; a relative name is relative to `base`, if that is not empty. */
  open(name: string, base: string, access: Access): Promise<DiskFile>;
  /** All of a file; `again` if what a cache had was wrong. */
  fetch(name: string, base: string, again: boolean): Promise<Uint8Array>;
  /** The engine has been told something, and wants to run. */
  answered(): void;
  /** The engine has failed while it was told something. */
  failed(error: unknown): void;
}

/** A file that is not to be written. */
export abstract class ReadOnlyFile {
  readonly writable = false;

  write(): undefined {
    throw new Error("it can only be read");
  }

  flush(): undefined {
    return undefined;
  }

  close(): void {}
}
