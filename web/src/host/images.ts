// Kernel and initrd: from where the job has them into the engine's memory.

import { Image } from "../abi.gen.ts";
import type { EngineApi, ImageKind } from "../engine.ts";
import { VmError } from "../error.ts";
import type { Job } from "../protocol.ts";
import { counted, type Open, type Progress, type Source } from "./files.ts";

const IMAGES: readonly [ImageKind, string][] = [
  [Image.Kernel, "kernel"],
  [Image.Initrd, "initrd"],
];

/** Fetches all images that the options name, at the same time. */
export async function fetchImages(
  engine: EngineApi,
  job: Pick<Job, "base" | "files">,
  open: Open,
  progress: (what: string) => Progress,
): Promise<void> {
  await Promise.all(
    IMAGES.map(async ([image, what]) => {
      const name = engine.imageName(image);
      if (name === undefined) return;
      try {
        await fetchImage(engine, image, name, job, open, progress(what));
      } catch (cause) {
        const why = cause instanceof Error ? cause.message : String(cause);
        throw new VmError("machine", `${what} ${name}: ${why}`, { cause });
      }
    }),
  );
}

async function fetchImage(
  engine: EngineApi,
  image: ImageKind,
  name: string,
  job: Pick<Job, "base" | "files">,
  open: Open,
  progress: Progress,
): Promise<void> {
  const given = job.files && Object.hasOwn(job.files, name) ? job.files[name] : undefined;
  if (given instanceof Uint8Array) {
    engine.imageBegin(image, given.length)(0, given);
    return;
  }
  const source: Source =
    given instanceof Blob ? { total: given.size, stream: given.stream() } : await open(given ?? name, job.base);
  const { total } = source;
  const chunks = counted(source, progress);
  if (total !== undefined) {
    const write = engine.imageBegin(image, total);
    let offset = 0;
    for await (const chunk of chunks) {
      write(offset, chunk.subarray(0, total - offset));
      offset += chunk.length;
    }
    return;
  }
  const all: Uint8Array[] = [];
  for await (const chunk of chunks) all.push(chunk);
  const length = all.reduce((length, chunk) => length + chunk.length, 0);
  const write = engine.imageBegin(image, length);
  let offset = 0;
  for (const chunk of all) {
    write(offset, chunk);
    offset += chunk.length;
  }
}
