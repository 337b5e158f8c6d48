// The machine as its users have it, on an engine whose guest is a few lines: what each function promises.

import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { Exit } from "../src/abi.gen.ts";
import { VmError } from "../src/error.ts";
import { type End, Machine, type MachineEvent } from "../src/machine.ts";
import type { Job } from "../src/protocol.ts";
import { type Guest, type MockEngine, run, shell } from "./mock-engine.ts";

interface Made {
  machine: Machine;
  engine(): MockEngine;
  events: MachineEvent[];
}

const open: Machine[] = [];
afterEach(() => {
  for (const machine of open.splice(0)) machine.close();
});

/** A machine that is not started yet. */
function make(guest: Guest, prepare: (engine: MockEngine) => void = () => {}, job: Partial<Job> = {}): Made {
  let session: ReturnType<typeof run> | undefined;
  const machine = new Machine((onEvent) => {
    const made = run(job, guest, {}, prepare, onEvent);
    session = made;
    return { call: (name, ...args) => made.session.call(name, ...args), close: () => made.session.close() };
  });
  open.push(machine);
  const events: MachineEvent[] = [];
  machine.on("*", (event) => events.push(event));
  return { machine, events, engine: () => session?.engine as MockEngine };
}

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

test("a machine starts when it is told to, and not before", async () => {
  const { machine, engine } = make(shell());
  await new Promise((done) => setTimeout(done, 20));
  assert.deepEqual([machine.state, engine().slices], ["loading", 0]);
  await machine.start();
  assert.equal(machine.state, "running");
  await machine.pause();
  assert.equal(machine.state, "paused");
  await machine.resume();
  assert.equal(machine.state, "running");
  await machine.reset();
  assert.equal(engine().resets, 1);
});

test("what keeps a machine from running rejects start, and every call after it", async () => {
  const wrong = make(shell(), () => {}, { options: ["-nonsense"] }).machine;
  await assert.rejects(wrong.start(), { name: "VmError", kind: "options", message: "`-nonsense` is not supported" });
  assert.deepEqual(await wrong.ended(), { state: "failed", message: "`-nonsense` is not supported" });
  for (const call of [wrong.type("x"), wrong.putFile("a", "b"), wrong.disks(), wrong.waitFor("x")]) {
    await assert.rejects(call, /`-nonsense` is not supported/);
  }
});

test("typing and waiting: each wait begins where the last match ended", async () => {
  const { machine } = make(shell());
  await machine.start();
  const boot = await machine.waitFor(/version (\d+)\.(\d+)/);
  assert.deepEqual(boot, { text: "version 6.1", groups: ["6", "1"], before: "Linux " });
  assert.equal((await machine.waitFor("# ")).before, "\n~ ", "control sequences and carriage returns are left out");
  await machine.type("one\n");
  assert.deepEqual(await machine.waitFor("\n"), { text: "\n", groups: [], before: "one" });
  assert.equal((await machine.waitFor("said one")).before, "you ");
  // the flag g does not make a regular expression begin elsewhere
  const global = /you said (\w+)/g;
  for (const word of ["two", "three"]) {
    await machine.type(`${word}\n`);
    assert.deepEqual((await machine.waitFor(global)).groups, [word]);
  }
});

test("a wait that is in vain says for what, and what there was instead", async () => {
  const { machine } = make(shell());
  await machine.start();
  await machine.waitFor("6.1");
  await assert.rejects(machine.waitFor("login: ", { timeout: 10 }), {
    name: "VmError",
    message: 'the guest has not written "login: " within 0.01 s; the last it wrote is "\\n~ # "',
  });
  const ending = machine.waitFor(/never/);
  await machine.type("poweroff\n");
  await assert.rejects(ending, /has not written \/never\/ before it powered off/);
  await assert.rejects(machine.waitFor("x"), /before it powered off/);
  assert.equal((await machine.waitFor("# ")).text, "# ", "what it wrote before is still there");
});

test("patience without end", async () => {
  for (const timeout of [Number.POSITIVE_INFINITY, 2 ** 31]) {
    const { machine } = make((vm) => (vm.line() === undefined ? Exit.Idle : Exit.PowerOff));
    await machine.start();
    const [waits, off] = [machine.waitFor("never", { timeout }), machine.powerOff({ timeout })];
    const early = Promise.race([waits, off]).catch((error) => error);
    const nothing = new Promise((done) => setTimeout(done, 50, "nothing"));
    assert.equal(await Promise.race([early, nothing]), "nothing");
    await machine.type("x\n");
    assert.equal(await off, "guest");
    await assert.rejects(waits, /before it powered off/);
  }
});

test("the console as streams", async () => {
  const { machine } = make(shell());
  const reader = machine.console.readable.pipeThrough(new TextDecoderStream()).getReader();
  const writer = machine.console.writable.getWriter();
  await machine.start();
  await writer.write("hello\n");
  let seen = "";
  while (!seen.includes("you said hello")) seen += (await reader.read()).value;
  machine.close();
  while (!(await reader.read()).done);
});

test("what a machine wrote ends when it has failed, also for who asks for it later", async () => {
  for (const late of [false, true]) {
    const { machine } = make(() => 99 as typeof Exit.Idle);
    const readable = late ? undefined : machine.console.readable;
    await machine.start();
    assert.equal((await machine.ended()).state, "failed");
    const reader = (readable ?? machine.console.readable).getReader();
    const never = new Promise((done) => setTimeout(done, 500, "never"));
    assert.deepEqual(await Promise.race([reader.read(), never]), { value: undefined, done: true });
  }
});

test("files are put before the machine starts, and are there in the guest's share", async () => {
  const { machine, engine } = make(shell(), (engine) => engine.shares.push("", ""));
  await machine.putFile("in/a", "words");
  await machine.putFile("b", Uint8Array.of(1), { share: "share1" });
  assert.equal(engine().slices, 0);
  await machine.start();
  assert.deepEqual([...engine().put.keys()], ["0:in/a", "1:b"]);
  assert.equal(text(await machine.getFile("in/a")), "words");
  assert.deepEqual(
    (await machine.listFiles("", { share: "share1" })).map(({ name, size }) => [name, size]),
    [["b", 1]],
  );
  await assert.rejects(machine.getFile("none"), { code: "ENOENT" });
  await assert.rejects(machine.getFile("a", { share: "x" }), /no share has the id x: there are share0, share1/);
});

test("a machine without a share in memory says how to have one", async () => {
  await assert.rejects(
    make(shell()).machine.putFile("a", ""),
    /no share in memory \(there is none\): add -fsdev memory/,
  );
  const directory = make(shell(), (engine) => engine.shares.push("/home")).machine;
  await assert.rejects(directory.getFile("a", { share: "share0" }), /share0 is a directory of the host's/);
});

test("a disk is exported in pieces, and the guest stands still meanwhile", async () => {
  const size = (2 << 20) + 512;
  const { machine, engine } = make(
    () => Exit.Budget,
    (engine) => {
      engine.disk = Uint8Array.from({ length: size }, (_, i) => i * 7);
    },
  );
  await machine.start();
  assert.deepEqual(await machine.disks(), [{ id: "d0", size, readOnly: false, overlay: true }]);
  const stream = await machine.exportDisk("d0");
  const { slices } = engine();
  await new Promise((done) => setTimeout(done, 20));
  assert.equal(engine().slices, slices, "the guest runs");
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  assert.deepEqual(bytes, engine().disk);
  await new Promise((done) => setTimeout(done, 20));
  assert.ok(engine().slices > slices, "the guest stands still for ever");
  const overlay = await machine.exportDisk(0, { content: "overlay" });
  assert.deepEqual(new Uint8Array(await new Response(overlay).arrayBuffer()), Uint8Array.of(5, 0, 7));
  const given = await machine.exportDisk(0);
  await given.cancel();
  const before = engine().slices;
  await new Promise((done) => setTimeout(done, 20));
  assert.ok(engine().slices > before, "a stream that was cancelled holds the guest");
  for (const disk of ["d1", 1, -1, ""])
    await assert.rejects(machine.exportDisk(disk), /there is no drive .*there are d0/);
});

test("the power button, and the power", async () => {
  const listens: Guest = (vm) => (vm.buttons > 0 ? Exit.PowerOff : Exit.Idle);
  const polite = make(listens);
  await polite.machine.start();
  await polite.machine.pause();
  assert.equal(await polite.machine.powerOff(), "guest");
  assert.equal(polite.machine.state, "off");
  const deaf = make(() => Exit.Idle);
  await deaf.machine.start();
  assert.equal(await deaf.machine.powerOff({ timeout: 10 }), "forced");
  assert.match((await deaf.machine.ended()).message ?? "", /did not answer its power button in 0\.01 s/);
  await deaf.machine.reset();
  assert.equal(deaf.machine.state, "running");
  assert.equal(await deaf.machine.powerOff({ timeout: 0 }), "forced");
  assert.equal(deaf.engine().buttons, 1);
});

test("a machine that is not on yet has no power to lose", async () => {
  const { machine } = make(shell());
  for (const timeout of [0, 10]) {
    const never = new Promise((_, reject) => setTimeout(reject, 500, new Error("never")));
    await assert.rejects(Promise.race([machine.powerOff({ timeout }), never]), /the machine is not on yet/);
  }
  await machine.start();
  assert.equal(await machine.powerOff({ timeout: 0 }), "forced");
});

test("the end of a machine is an event and a promise; reset begins anew", async () => {
  let stops = true;
  const { machine, events } = make((vm) => {
    vm.report = "triple fault\nrip 0";
    return stops ? Exit.Stopped : Exit.Idle;
  });
  await machine.start();
  const end: End = { state: "stopped", message: "triple fault\nrip 0" };
  assert.deepEqual(await machine.ended(), end);
  assert.deepEqual(
    events.filter(({ type }) => type === "exit"),
    [{ type: "exit", ...end }],
  );
  stops = false;
  await machine.reset();
  let over = false;
  void machine.ended().then(() => {
    over = true;
  });
  await new Promise((done) => setTimeout(done, 10));
  assert.deepEqual([machine.state, over], ["running", false]);
});

test("a listener hears its events until it is taken away", async () => {
  const { machine } = make(shell());
  const states: string[] = [];
  const deafen = machine.on("state", ({ state }) => states.push(state));
  await machine.start();
  await machine.pause();
  deafen();
  await machine.resume();
  assert.deepEqual(states, ["running", "paused"]);
});

test("used disks and networks are told", async () => {
  const { machine, engine } = make(() => Exit.Idle);
  const told = new Promise<MachineEvent & { type: "activity" }>((resolve) => machine.on("activity", resolve));
  await machine.start();
  engine().counters.disk_read_bytes = 4096;
  assert.deepEqual(await told, { type: "activity", diskRead: 4096, diskWritten: 0, netSent: 0, netReceived: 0 });
  assert.equal((await machine.stats()).disk_read_bytes, 4096);
});

test("an engine that fails in a call is the machine's end", async () => {
  const { machine, engine } = make(shell(), (engine) => engine.shares.push(""));
  await machine.start();
  engine().getFile = () => {
    throw new VmError("engine", "the engine failed in share_get");
  };
  await assert.rejects(machine.getFile("a"), /failed in share_get/);
  assert.deepEqual(await machine.ended(), { state: "failed", message: "the engine failed in share_get" });
});

test("a closed machine answers nothing and leaves nobody waiting", async () => {
  const { machine } = make(shell());
  await machine.start();
  const waiting = machine.waitFor("never");
  machine.close();
  await assert.rejects(waiting, /the machine was closed/);
  await assert.rejects(machine.disks(), /the machine was closed/);
});
