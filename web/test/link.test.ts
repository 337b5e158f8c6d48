// A page's end of a machine, with a worker that is a few lines.

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { workerLink } from "../src/link.ts";
import type { Answer, Command, Event } from "../src/protocol.ts";

/** What browsers have as `Worker`: after `terminate` nothing comes from it. */
class Thread {
  static last: Thread;
  onmessage: ((message: { data: Event | Answer }) => void) | null = null;
  onerror: ((error: { message: string; preventDefault(): void }) => void) | null = null;
  terminated = false;
  readonly told: Command[] = [];

  constructor() {
    Thread.last = this;
  }

  postMessage(command: Command): void {
    this.told.push(structuredClone(command));
  }

  say(data: Event | Answer): void {
    if (!this.terminated) this.onmessage?.({ data });
  }

  terminate(): void {
    this.terminated = true;
  }
}

const global = globalThis as { Worker?: unknown };
const before = global.Worker;
beforeEach(() => {
  global.Worker = Thread;
});
afterEach(() => {
  global.Worker = before;
});

const url = new URL("worker.js", "http://site/");

test("a worker that has failed says nothing more", async () => {
  const events: Event[] = [];
  const link = workerLink(url, { options: [], engine: "engine.wasm" }, (event) => events.push(event));
  const waiting = link.call("stats");
  Thread.last.onerror?.({ message: "out of memory", preventDefault() {} });
  Thread.last.say({ type: "state", state: "running" });
  const message = "pagevm's worker failed: out of memory";
  await assert.rejects(waiting, { kind: "engine", message });
  await assert.rejects(link.call("stats"), { kind: "engine", message });
  assert.deepEqual(
    events.map(({ type }) => type),
    ["state", "result"],
  );
  assert.equal(Thread.last.terminated, true);
});

test("what cannot be sent to a worker is refused, and leaves nothing behind", async () => {
  const job = { options: [], engine: "engine.wasm" };
  assert.throws(() => workerLink(url, { ...job, files: { a: (() => {}) as never } }, () => {}), /could not be cloned/);
  assert.equal(Thread.last.terminated, true);
  const link = workerLink(url, job, () => {});
  await assert.rejects(link.call("putFile", "a", (() => {}) as never, {}), /could not be cloned/);
  const stats = link.call("disks");
  Thread.last.say({ type: "answer", id: 2, value: [] });
  assert.deepEqual(await stats, []);
});
