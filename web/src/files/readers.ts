// Files of a browser's directory that are being read: a browser takes its time for each piece, however small, so more is read
// than was asked for.

/** Bytes that are read at a time. */
const PIECE = 1 << 20;

/** One who reads a file. As on network file systems, what others change may be seen only when the file is opened anew. */
export class Reader {
  readonly #handle: FileSystemFileHandle;
  #file: File | undefined;
  #start = 0;
  #piece = new Uint8Array(0);

  constructor(handle: FileSystemFileHandle) {
    this.#handle = handle;
  }

  /** Bytes at `offset`, up to `count` of them; none at the end. */
  async read(offset: number, count: number): Promise<Uint8Array> {
    if (offset < this.#start || offset >= this.#start + this.#piece.length) await this.#fill(offset, count);
    const at = offset - this.#start;
    return this.#piece.subarray(at, at + count);
  }

  async #fill(offset: number, count: number): Promise<void> {
    // at its end it may have grown
    if (this.#file === undefined || offset >= this.#file.size) this.#file = await this.#handle.getFile();
    const part = (file: File) => file.slice(offset, offset + Math.max(count, PIECE)).arrayBuffer();
    let bytes: ArrayBuffer;
    try {
      bytes = await part(this.#file);
    } catch (error) {
      if (!(error instanceof DOMException) || error.name !== "NotReadableError") throw error;
      // it was changed: what was opened is no more
      this.#file = await this.#handle.getFile();
      bytes = await part(this.#file);
    }
    [this.#start, this.#piece] = [offset, new Uint8Array(bytes)];
  }
}
