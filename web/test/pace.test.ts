// What reaches the terminal, and when.

import assert from "node:assert/strict";
import { test } from "node:test";
import { paced } from "../src/page/pace.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

test("much output comes together, a question at once and with what was before it", async () => {
  const written: string[] = [];
  const write = paced((data, taken) => {
    written.push(new TextDecoder().decode(data));
    taken();
  });
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

test("a terminal that is slow gets what it has room for, all in order, and of too much the end", () => {
  const mib = 1 << 20;
  const taken: (() => void)[] = [];
  let written: (number | string)[] = [];
  const write = paced((data, done) => {
    written.push(data.length === mib ? (data[0] ?? 0) : new TextDecoder().decode(data));
    taken.push(done);
  });
  const piece = (n: number) => write(new Uint8Array(mib).fill(n));
  const drain = () => {
    for (let done = taken.shift(); done; done = taken.shift()) done();
  };
  for (let n = 0; n < 10; n++) piece(n);
  assert.deepEqual(written, [0]);
  write(bytes("\x1b[6n"));
  assert.deepEqual(written, [0], "a question waits for what was before it");
  drain();
  assert.deepEqual(written, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, "\x1b[6n"]);
  written = [];
  for (let n = 0; n < 200; n++) piece(n);
  write(bytes("\x1b[6n"));
  drain();
  assert.equal(written.pop(), "\x1b[6n");
  assert.equal(written.at(-1), 199);
  const numbers = written.filter((what) => typeof what === "number");
  assert.ok(numbers.length > 8 && numbers.length < 20, `${numbers.length} pieces are left`);
  written.forEach((what, at) => {
    const before = at === 0 ? -1 : written[at - 1];
    if (typeof what !== "number") assert.match(what, /left out/);
    else if (typeof before === "number") assert.equal(what, before + 1, "a gap that nothing is said of");
  });
});
