// Serves a directory by the messages of a share on standard input and output, for tests of the engine's crates:
// `node web/tools/serve-directory.mjs DIR`.

import { readSync, writeSync } from "node:fs";
import { answer } from "../src/files/server.ts";
import { Directory } from "../src/node/directory.ts";

const directory = new Directory(process.argv[2] ?? ".");

/** Exactly `length` bytes of standard input; nothing at its end.
 * @param {number} length */
function read(length) {
  const bytes = Buffer.alloc(length);
  for (let at = 0; at < length; ) {
    const got = readSync(0, bytes, at, length - at, null);
    if (got === 0) return undefined;
    at += got;
  }
  return bytes;
}

for (let size = read(4); size; size = read(4)) {
  const rest = read(size.readUInt32LE(0) - 4);
  if (!rest) break;
  const reply = await answer(directory, Buffer.concat([size, rest]));
  for (let at = 0; at < reply.length; ) at += writeSync(1, reply, at);
}
