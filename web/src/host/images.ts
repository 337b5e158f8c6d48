// What a machine is loaded with before it starts: kernel, initrd, archives of files. From the job, or by address or path.

import type { Job } from "../protocol.ts";
import { counted, type Open, type Progress, type Source } from "./files.ts";

/** What is called so is a file that the packer has compressed, and that its user gets as it was (RFC 1952). Servers know
    nothing of this ending, so they do not decompress it as they may do with `.gz`. */
export const COMPRESSED = ".gzip";

export interface Image {
  /** Bytes, where known. */
  total: number | undefined;
  chunks: AsyncIterable<Uint8Array<ArrayBuffer>>;
}

/** Opens a file that the options name; throws what went wrong, without the name. */
export async function openImage(
  open: Open,
  { files, base }: Pick<Job, "files" | "base">,
  name: string,
  progress: Progress,
): Promise<Image> {
  const given = files && Object.hasOwn(files, name) ? files[name] : undefined;
  if (given instanceof Uint8Array) return { total: given.length, chunks: once(given) };
  if (given instanceof Blob) {
    return { total: given.size, chunks: counted({ total: given.size, stream: given.stream() }, progress) };
  }
  const address = given ?? name;
  const source = await open(address, base);
  if (!address.endsWith(COMPRESSED)) return { total: source.total, chunks: counted(source, progress) };
  return { total: undefined, chunks: decompressed(source, progress) };
}

async function* once<T>(value: T): AsyncGenerator<T> {
  yield value;
}

async function* decompressed(source: Source, progress: Progress): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const packed = counted(source, progress);
  const stream = new ReadableStream<Uint8Array<ArrayBuffer>>({
    async pull(controller) {
      const { done, value } = await packed.next();
      if (done) controller.close();
      else controller.enqueue(value);
    },
  });
  const reader = stream.pipeThrough(new DecompressionStream("gzip")).getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value as Uint8Array<ArrayBuffer>;
    }
  } catch (cause) {
    // what zlib says is a TypeError in browsers and has a code in Node
    const damaged = cause instanceof TypeError || (cause instanceof Error && "code" in cause);
    throw damaged ? new Error("it does not decompress: it is damaged, or cut off", { cause }) : cause;
  }
}

/** All of an image: given in one piece, or its pieces to be put at their places in room of the right size. */
export async function fill(
  image: Image,
  room: (length: number) => (offset: number, bytes: Uint8Array) => void,
): Promise<void> {
  if (image.total !== undefined) {
    const { total } = image;
    const write = room(total);
    let offset = 0;
    for await (const chunk of image.chunks) {
      write(offset, chunk.subarray(0, total - offset));
      offset += chunk.length;
    }
    return;
  }
  const all: Uint8Array[] = [];
  for await (const chunk of image.chunks) all.push(chunk);
  const write = room(all.reduce((length, chunk) => length + chunk.length, 0));
  let offset = 0;
  for (const chunk of all) {
    write(offset, chunk);
    offset += chunk.length;
  }
}
