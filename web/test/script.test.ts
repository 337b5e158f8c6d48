import assert from "node:assert/strict";
import { test } from "node:test";
import { Script } from "../src/host/script.ts";

const bytes = (text: string) => new TextEncoder().encode(text);

test("text is found across pieces, control sequences and carriage returns", () => {
  const script = new Script({ until: "ready\ngo ü" });
  const pieces = ["re", "ad\x1b", "[0", "m", "y\r\ng\x1b[1;32mo "];
  for (const piece of pieces) assert.equal(script.output(bytes(piece), assert.fail), undefined);
  const [first, second] = bytes("ü");
  assert.equal(script.output(Uint8Array.of(first ?? 0), assert.fail), undefined);
  assert.equal(script.output(Uint8Array.of(second ?? 0), assert.fail), "until");
});

test("a prompt is one only at the end of the output", () => {
  const sent: string[] = [];
  const script = new Script({ type: "ls\n" });
  script.output(bytes("item # 1"), (text) => sent.push(text));
  assert.equal(sent.length, 0);
  script.output(bytes("\r\n~ # \x1b[6n"), (text) => sent.push(text));
  assert.deepEqual(sent, ["ls\n"]);
});

test("one piece of output can carry a script several steps", () => {
  const sent: string[] = [];
  const script = new Script({ script: [{ expect: "a", send: "1" }, { expect: "b", send: "2" }, { expect: "a" }] });
  assert.equal(
    script.output(bytes("abxa"), (text) => sent.push(text)),
    "script",
  );
  assert.deepEqual(sent, ["1", "2"]);
  assert.equal(script.unfinished, undefined);
});

test("text before the last exchange does not satisfy until", () => {
  const script = new Script({ script: [{ expect: "$ ", send: "x" }], until: "done" });
  assert.equal(
    script.output(bytes("done\n$ "), () => {}),
    undefined,
  );
  assert.equal(script.output(bytes("done"), assert.fail), "until");
});

test("the memory for past output is bounded", () => {
  const script = new Script({ until: "END" });
  for (let i = 0; i < 40; i++) script.output(bytes("x".repeat(10_000)), assert.fail);
  assert.equal(script.output(bytes("EN"), assert.fail), undefined);
  assert.equal(script.output(bytes("D"), assert.fail), "until");
});
