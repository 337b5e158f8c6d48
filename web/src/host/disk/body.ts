// A response's bytes, taken as many at a time as are wanted, with as little copying as the browser knows how to do.

/** Fills the beginning of `room`, and returns that, perhaps in another buffer, which `room` then is gone to; nothing at the end. */
type Fill = (room: Uint8Array<ArrayBuffer>) => Promise<Uint8Array<ArrayBuffer> | undefined>;

/** The transfer has ended too early. */
export class Broken extends Error {}

export class Body {
  readonly #response: Response;
  readonly #fill: Fill;
  readonly #came: (bytes: number) => void;
  #total = 0;

  /** `came` is told of bytes that have come. */
  constructor(response: Response, came: (bytes: number) => void) {
    this.#response = response;
    this.#fill = filler(response.body);
    this.#came = came;
  }

  /** The next `length` bytes. Throws `Broken` if there are no more so many. */
  async take(length: number): Promise<Uint8Array> {
    let room = new Uint8Array(length);
    for (let at = 0; at < length; ) {
      const filled = await this.#next(room.subarray(at));
      if (!filled) throw new Broken(`the transfer broke off after ${this.#total} bytes`);
      room = new Uint8Array(filled.buffer, 0, length);
      at += filled.length;
    }
    return room;
  }

  /** Throws if more comes than was taken. */
  async end(): Promise<void> {
    const { headers } = this.#response;
    const promised = headers.has("content-encoding") ? null : headers.get("content-length");
    // the browser sees to it that it is no more
    if (promised !== null && Number(promised) === this.#total) return;
    const total = this.#total;
    if (await this.#next(new Uint8Array(1))) throw new Error(`the server sends more than ${total} bytes`);
  }

  async #next(room: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer> | undefined> {
    try {
      const filled = await this.#fill(room);
      this.#total += filled?.length ?? 0;
      if (filled) this.#came(filled.length);
      return filled;
    } catch (cause) {
      throw new Broken(`the transfer broke off after ${this.#total} bytes`, { cause });
    }
  }
}

function filler(stream: ReadableStream<Uint8Array<ArrayBuffer>> | null): Fill {
  if (!stream) return async () => undefined;
  let reader: ReadableStreamBYOBReader;
  try {
    reader = stream.getReader({ mode: "byob" });
  } catch {
    return copying(stream.getReader());
  }
  return async (room) => {
    const { done, value } = await reader.read(room);
    return done ? undefined : value;
  };
}

/** For browsers whose bodies come in buffers of their own (Safari). */
function copying(reader: ReadableStreamDefaultReader<Uint8Array<ArrayBuffer>>): Fill {
  let rest: Uint8Array = new Uint8Array(0);
  return async (room) => {
    while (rest.length === 0) {
      const { done, value } = await reader.read();
      if (done) return undefined;
      rest = value;
    }
    const some = rest.subarray(0, room.length);
    room.set(some);
    rest = rest.subarray(some.length);
    return room.subarray(0, some.length);
  };
}
