// A drive's content as compressed chunks: the engine cuts and names them, zlib compresses.

import { promisify } from "node:util";
import { deflateRaw } from "node:zlib";
import type { Engine } from "../../engine.ts";
import { hashedName, type Site } from "./site.ts";

const compress = promisify(deflateRaw);
/** Chunks that are compressed at a time: zlib has a few threads. */
const AT_ONCE = 8;
/** Zlib's best takes five times as long, for 0.6 % less of a Debian's disk. */
const LEVEL = 6;

export interface PackedDrive {
  /** The manifest's name in the site. */
  name: string;
  chunks: number;
}

/** `answered` waits until the engine has been told something. */
export async function packDrive(
  engine: Engine,
  drive: number,
  file: string,
  site: Site,
  answered: () => Promise<void>,
): Promise<PackedDrive> {
  engine.packOpen(drive);
  const busy = new Set<Promise<void>>();
  let chunks = 0;
  for (;;) {
    const piece = engine.packNext();
    if (!piece) {
      await answered();
    } else if (piece.last) {
      await Promise.all(busy);
      const name = hashedName(file, piece.content, ".chunks");
      if (!site.has(name)) site.put(name, piece.content);
      return { name, chunks };
    } else {
      chunks += 1;
      if (site.has(piece.name)) continue;
      const done = compress(piece.content, { level: LEVEL }).then((bytes) => {
        site.put(piece.name, bytes);
        busy.delete(done);
      });
      busy.add(done);
      if (busy.size >= AT_ONCE) await Promise.race(busy);
    }
  }
}
