// What reaches the terminal, and when.

import assert from "node:assert/strict";
import { test } from "node:test";
import { paced } from "../src/page/pace.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

test("much output comes together, a question at once and with what was before it", async () => {
  const written: string[] = [];
  const write = paced((data) => written.push(new TextDecoder().decode(data)));
  write(bytes("first"));
  assert.deepEqual(written, ["first"]);
  write(bytes("a"));
  write(bytes("\x1b[1;31mred"));
  assert.deepEqual(written, ["first"], "it waits");
  write(bytes("# \x1b[6n"));
  assert.deepEqual(written, ["first", "a", "\x1b[1;31mred", "# \x1b[6n"]);
  write(bytes("later"));
  assert.equal(written.length, 4);
  await new Promise((done) => setTimeout(done, 300));
  assert.equal(written.at(-1), "later");
  assert.equal(written.length, 5);
});
