import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { Exit, Image } from "../src/abi.gen.ts";
import { deferred, VmError } from "../src/error.ts";
import type { Session } from "../src/host/loop.ts";
import { file, type Run, run, shell } from "./mock-engine.ts";

const open: Session[] = [];
const started = (r: Run) => {
  open.push(r.session);
  return r;
};
afterEach(() => {
  for (const session of open.splice(0)) session.close();
});
const turns = async (n: number) => {
  for (let i = 0; i < n; i++) await new Promise((done) => setImmediate(done));
};

test("images come in pieces, known length or not, and every byte arrives", async () => {
  const [a, b] = [Uint8Array.of(1, 2, 3), Uint8Array.of(4, 5)];
  const r = started(
    run({ options: ["-kernel", "k", "-initrd", "i"] }, () => Exit.Idle, { k: file([a, b], 5), i: file([b, a]) }),
  );
  await r.until("state", (e) => e.state === "running");
  assert.deepEqual(r.engine?.images.get(Image.Kernel), Uint8Array.of(1, 2, 3, 4, 5));
  assert.deepEqual(r.engine?.images.get(Image.Initrd), Uint8Array.of(4, 5, 1, 2, 3));
  const progress = r.events.filter((e) => e.type === "progress" && e.name === "kernel");
  assert.deepEqual(progress.at(-1), { type: "progress", name: "kernel", loaded: 5, total: 5 });
  assert.equal(r.session.stats().fetched_bytes, 10);
});

test("a machine waits for its drives; what the host cannot open ends it with one message", async () => {
  const files = { a: Uint8Array.of(7, 8), b: new Blob([Uint8Array.of(9)]) };
  const options = ["-kernel", "k", "-drive", "a", "-drive", "b"];
  const r = started(run({ options, files }, () => Exit.Idle, { k: file([Uint8Array.of(1)], 1) }));
  await r.until("state", (e) => e.state === "running");
  assert.deepEqual(
    r.engine?.drives?.map((drive) => drive.first),
    [7, 9],
  );
  await turns(3);
  const slices = r.engine?.slices;
  r.engine?.host.files?.answered();
  await turns(3);
  assert.equal(r.engine?.slices, (slices ?? 0) + 1, "an answer wakes an idle guest");
  const none = started(run({ options: [...options, "-drive", "c"], files }, () => Exit.Idle, { k: file([], 0) }));
  const { message } = await none.until("state", (e) => e.state === "failed");
  assert.equal(message, "-drive: c: there is no such file");
});

test("bytes given with the job are not fetched", async () => {
  const r = started(run({ options: ["-kernel", "k"], files: { k: Uint8Array.of(9) } }, () => Exit.Idle));
  await r.until("state", (e) => e.state === "running");
  assert.deepEqual(r.engine?.images.get(Image.Kernel), Uint8Array.of(9));
});

for (const [what, files, expected] of [
  ["missing", {}, "kernel k: the server answers 404 Not Found"],
  ["cut short", { k: file([Uint8Array.of(1)], 7) }, "kernel k: the transfer broke off after 1 of 7 bytes"],
] as const) {
  test(`a kernel that is ${what} fails with one message`, async () => {
    const r = started(run({ options: ["-kernel", "k"] }, () => Exit.Idle, files));
    const { result } = await r.until("result");
    assert.deepEqual(result, { ok: false, reason: "machine", message: expected });
    assert.equal(r.session.state, "failed");
    assert.equal(r.engine?.slices, 0);
    assert.equal(r.events.filter((e) => e.type === "state" && e.state === "failed").length, 1);
  });
}

test("of two images that fail, the one named is always the first", async () => {
  const options = ["-kernel", "k", "-initrd", "i"];
  const r = started(run({ options }, () => Exit.Idle, { k: file([Uint8Array.of(1)], 7) }));
  const { message } = await r.until("state", (e) => e.state === "failed");
  assert.equal(message, "kernel k: the transfer broke off after 1 of 7 bytes");
});

test("wrong options and a machine that cannot be built keep their messages", async () => {
  const options = started(run({ options: ["-nonsense"] }, () => Exit.Idle));
  assert.deepEqual((await options.until("result")).result, {
    ok: false,
    reason: "options",
    message: "`-nonsense` is not supported",
  });
  const refuse = new VmError("machine", "there is no memory for 3 GiB of guest RAM");
  const machine = started(
    run(
      {},
      () => Exit.Idle,
      {},
      (engine) => {
        engine.refuse = refuse;
      },
    ),
  );
  assert.deepEqual((await machine.until("result")).result, { ok: false, reason: "machine", message: refuse.message });
});

test("an idle guest is left alone until input comes", async () => {
  const r = started(run({}, shell()));
  await r.until("output");
  await turns(20);
  const before = r.engine?.slices ?? 0;
  await turns(200);
  assert.equal(r.engine?.slices, before, "slices were spent on a guest that waits");
  r.session.input(new TextEncoder().encode("hello\n"));
  await r.until("output", () => r.output().includes("you said hello"));
});

test("what is typed before the machine is there waits for it", async () => {
  const r = started(run({}, shell()));
  r.session.input(new TextEncoder().encode("early\n"));
  assert.equal(r.session.state, "loading");
  await r.until("output", () => r.output().includes("you said early"));
});

test("an idle guest runs again at its deadline, not before", async () => {
  let due = 0;
  let early = 0;
  const r = started(
    run({}, (vm) => {
      const now = vm.host.monotonic();
      if (due === 0) due = now + 30;
      vm.deadline = due;
      // What is left of a timer that fires early is waited for in slices, as many as there are.
      if (due - now > 2) early++;
      if (now < due) return Exit.Idle;
      vm.write("tick");
      vm.deadline = Number.POSITIVE_INFINITY;
      return Exit.Idle;
    }),
  );
  await r.until("output");
  assert.equal(early, 1, `${early} slices long before the deadline`);
});

test("other events get their turn between slices of a busy guest", async () => {
  const r = started(run({}, () => Exit.Budget));
  await r.until("state", (e) => e.state === "running");
  await new Promise((done) => setTimeout(done, 5));
  const before = r.engine?.slices ?? 0;
  await turns(10);
  assert.ok((r.engine?.slices ?? 0) > before);
});

test("a paused guest gets no slices, and input waits for it", async () => {
  const r = started(run({}, shell()));
  await r.until("output");
  r.session.pause();
  assert.equal(r.session.state, "paused");
  r.session.input(new TextEncoder().encode("later\n"));
  const before = r.engine?.slices;
  await turns(50);
  assert.equal(r.engine?.slices, before);
  r.session.resume();
  await r.until("output", () => r.output().includes("you said later"));
});

test("power-off ends the run well; reset switches the machine on again", async () => {
  const r = started(run({ type: "poweroff\n" }, shell()));
  assert.deepEqual((await r.until("result")).result, { ok: true, reason: "poweroff" });
  assert.equal(r.session.state, "off");
  r.session.reset();
  assert.equal(r.session.state, "running");
  assert.equal(r.engine?.resets, 1);
  r.session.input(new TextEncoder().encode("again\n"));
  await r.until("output", () => r.output().includes("you said again"));
  assert.equal(r.events.filter((e) => e.type === "result").length, 1);
});

test("a stopped machine hands over its report; a guest's reset under -no-reboot is no success", async () => {
  const stopped = started(
    run({}, (vm) => {
      vm.report = "triple fault at 0xfff0\nrax 0";
      return Exit.Stopped;
    }),
  );
  const message = "triple fault at 0xfff0\nrax 0";
  assert.deepEqual((await stopped.until("result")).result, { ok: false, reason: "stopped", message });
  assert.ok(stopped.events.some((e) => e.type === "state" && e.state === "stopped" && e.message === message));
  const reset = started(run({}, () => Exit.Reset));
  assert.equal((await reset.until("result")).result.reason, "reset");
});

test("an engine that traps is asked nothing more", async () => {
  const r = started(
    run({}, () => {
      throw new VmError("engine", "the engine failed in run");
    }),
  );
  assert.equal((await r.until("result")).result.reason, "engine");
  r.session.input(Uint8Array.of(10));
  r.session.reset();
  assert.equal(r.session.state, "failed");
  assert.equal(r.engine?.resets, 0);
});

test("an engine that traps between slices ends the machine, also while that is made", async () => {
  const error = new VmError("engine", "the engine failed in stats");
  const waits = started(
    run(
      { options: ["-drive", "a"] },
      () => Exit.Idle,
      {},
      (engine) => {
        engine.drives = [{ name: "a" }];
      },
    ),
  );
  await turns(10);
  waits.engine?.host.files?.failed(error);
  assert.equal((await waits.until("state", (e) => e.state === "failed")).message, error.message);
  await assert.rejects(waits.session.start(), error);
  const runs = started(run({}, shell()));
  await runs.until("output");
  Object.assign(runs.engine ?? {}, {
    stats() {
      throw error;
    },
  });
  assert.equal((await runs.until("state", (e) => e.state === "failed")).message, error.message);
});

test("what follows the typed text counts for until, not what came before", async () => {
  const r = started(run({ type: "Linux\n", until: "said Linux" }, shell()));
  const { result, stats } = await r.until("result");
  assert.deepEqual(result, { ok: true, reason: "until" });
  assert.ok(stats.until_ms !== null && stats.first_output_ms !== null && stats.until_ms >= stats.first_output_ms);
});

test("a script's exchanges run in order, and an end before the last is a failure", async () => {
  const good = started(
    run(
      {
        script: [
          { expect: "~ # ", send: "one\n" },
          { expect: "you said one", send: "two\n" },
          { expect: "you said two" },
        ],
      },
      shell(),
    ),
  );
  assert.deepEqual((await good.until("result")).result, { ok: true, reason: "script" });
  const cut = started(run({ script: [{ expect: "~ # ", send: "poweroff\n" }, { expect: "never" }] }, shell()));
  assert.deepEqual((await cut.until("result")).result, {
    ok: false,
    reason: "script",
    message: 'the guest powered off, still waiting for "never"',
  });
});

test("a script that is none is told, as wrong options are", async () => {
  for (const script of [5, {}, ["x"], [{ send: "x" }], [null]]) {
    const r = started(run({ script: script as never }, shell()));
    const { result } = await r.until("result");
    const message = 'script: give a list of {"expect": TEXT, "send": TEXT}';
    assert.deepEqual(result, { ok: false, reason: "options", message });
  }
});

test("a guest without a prompt is typed to when it has been idle and silent", async () => {
  let asked = false;
  const r = started(
    run({ type: "x\n" }, (vm) => {
      if (!asked) vm.write("press a key");
      asked = true;
      return vm.line() === "x" ? Exit.PowerOff : Exit.Idle;
    }),
  );
  assert.deepEqual((await r.until("result")).result, { ok: true, reason: "poweroff" });
});

test("the time limit names what was still awaited", async () => {
  const r = started(run({ timeout: 0.02, script: [{ expect: "never" }] }, shell()));
  assert.deepEqual((await r.until("result")).result, {
    ok: false,
    reason: "timeout",
    message: 'no end after 0.02 s, still waiting for "never"',
  });
});

test("the share of translated code is that of the last half second", async () => {
  const r = started(run({}, (vm) => (vm.slices < 8 ? Exit.Budget : Exit.Idle)));
  const { stats } = await r.until("stats", (e) => e.stats.guest_insns > 0);
  assert.equal(stats.translated, 0.75);
  assert.equal(stats.region_insns, stats.guest_insns * 0.75);
});

test("a session that is closed while an image comes ends the transfer and says nothing more", async () => {
  let pieces = 0;
  const { promise: over, resolve } = deferred<string>();
  const long = () => ({
    stream: new ReadableStream({
      async pull(controller) {
        await turns(1);
        controller.enqueue(Uint8Array.of(1));
        pieces += 1;
        if (pieces < 100) return;
        controller.close();
        resolve("all of it came");
      },
      cancel: () => resolve("cancelled"),
    }),
  });
  const r = run({ options: ["-kernel", "k"] }, () => Exit.Idle, { k: long });
  await r.until("progress", ({ loaded }) => loaded > 0);
  r.session.close();
  const said = r.events.length;
  assert.deepEqual([await over, r.events.length], ["cancelled", said]);
});

test("a session that is closed while it loads loads nothing more and says nothing", async () => {
  let closed = 0;
  const r = run(
    {},
    () => Exit.Idle,
    {},
    (engine) => {
      engine.close = () => {
        closed += 1;
      };
      queueMicrotask(() => r.session.close());
    },
  );
  await turns(20);
  assert.deepEqual([closed > 0, r.engine?.options, r.engine?.slices], [true, [], 0]);
  assert.deepEqual(r.events, [{ type: "state", state: "loading" }]);
});
