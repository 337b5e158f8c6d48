// Fills a configured engine with what its options name: kernel, initrd and the archives of the shares in memory.

import { Image } from "../abi.gen.ts";
import type { EngineApi, ImageKind } from "../engine.ts";
import { VmError } from "../error.ts";
import type { Job } from "../protocol.ts";
import type { Open, Progress } from "./files.ts";
import { fill, openImage } from "./images.ts";

const IMAGES: readonly [ImageKind, string][] = [
  [Image.Kernel, "kernel"],
  [Image.Initrd, "initrd"],
];

/** Room of a length, as a function that writes there. */
type Room = (length: number) => (offset: number, bytes: Uint8Array) => void;

export class Loader {
  readonly #engine: EngineApi;
  readonly #open: Open;
  readonly #job: Pick<Job, "base" | "files">;
  readonly #progress: (what: string) => Progress;

  constructor(engine: EngineApi, open: Open, job: Pick<Job, "base" | "files">, progress: (what: string) => Progress) {
    this.#engine = engine;
    this.#open = open;
    this.#job = job;
    this.#progress = progress;
  }

  /** Loads all that the options name, at the same time; `shares`: how many there are. Of several that fail, the first is told of. */
  async load(shares: number): Promise<void> {
    const images = IMAGES.map(([image, what]) =>
      this.#fetch(this.#engine.imageName(image), what, (length) => this.#engine.imageBegin(image, length)),
    );
    const all = [...images, ...Array.from({ length: shares }, (_, share) => this.#archive(share))];
    // Each has somebody who waits for it, also when one before it has failed.
    const outcomes = all.map((one) => one.then(undefined, (cause: unknown) => ({ cause })));
    for (const outcome of outcomes) {
      const failure = await outcome;
      if (failure) throw failure.cause;
    }
  }

  /** What is in a share in memory in the beginning. */
  async #archive(share: number): Promise<void> {
    let archive = new Uint8Array(0);
    const room: Room = (length) => {
      archive = new Uint8Array(length);
      return (offset, bytes) => archive.set(bytes, offset);
    };
    await this.#fetch(this.#engine.shareArchive(share), "archive", room, () =>
      this.#engine.unpackShare(share, archive),
    );
  }

  async #fetch(name: string | undefined, what: string, room: Room, filled = () => {}): Promise<void> {
    if (name === undefined) return;
    try {
      await fill(await openImage(this.#open, this.#job, name, this.#progress(what)), room);
      filled();
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause);
      throw new VmError("machine", `${what} ${name}: ${why}`, { cause });
    }
  }
}
