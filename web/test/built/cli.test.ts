// The command line's tools with the real engine: consoles, exit statuses, messages, figures.
// DIST is what was built (../dist); BROWSER is chromium (the default) or firefox.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { constants, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { Exit } from "../../src/abi.gen.ts";
import type { CliJob } from "../../src/node/terminal.ts";
import { ECHO, elf, FIFO, HALT, long, movEdi, POWER_OFF, print, repeat, TRIPLE_FAULT } from "../guests.ts";
import { tinyEngine } from "../tiny-engine.ts";
import { i32, TRAP } from "../wasm.ts";

const web = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const dist = process.env.DIST ?? join(web, "../dist");
const host = process.env.BROWSER === "firefox" ? "firefox" : "chromium";
const scratch = mkdtempSync(join(tmpdir(), "pagevm-cli-"));
after(() => rmSync(scratch, { recursive: true }));

function guest(name: string, code: readonly number[]): string {
  const path = join(scratch, name);
  writeFileSync(path, elf(code));
  return path;
}
const echo = guest("echo.elf", [...print("ready\r\n# "), ...ECHO]);
const off = guest("off.elf", [...print("bye\r\n"), ...POWER_OFF]);
const fault = guest("fault.elf", [...print("so far\r\n"), ...TRIPLE_FAULT]);
const silent = guest("silent.elf", HALT);

interface Outcome {
  status: number | null;
  out: string;
  err: string;
}

/** Runs a tool with a job; `typed` is its standard input. */
function run(tool: string, job: CliJob | string, typed = "", flags: string[] = []): Promise<Outcome> {
  const argument = typeof job === "string" ? job : JSON.stringify({ timeout: 120, ...job });
  const child = spawn(process.execPath, [...flags, tool, argument], { env: { ...process.env, DIST: dist } });
  const outcome: Outcome = { status: null, out: "", err: "" };
  child.stdout.on("data", (data) => {
    outcome.out += data;
  });
  child.stderr.on("data", (data) => {
    outcome.err += data;
  });
  child.stdin.on("error", () => {});
  child.stdin.end(typed);
  return new Promise((done) => {
    child.on("close", (status) => done({ ...outcome, status }));
  });
}
const cli = join(dist, "node-cli.mjs");
const node = (job: CliJob | string, typed?: string, flags?: string[]) => run(cli, job, typed, flags);

test("a guest that powers off ends the run with 0", async () => {
  const { status, out, err } = await node({ options: ["-m", "64", "-kernel", off] });
  assert.deepEqual({ status, out, err }, { status: 0, out: "bye\r\n", err: "" });
});

test("standard input is typed, and its end does not end the run", async () => {
  const { status, out } = await node({ options: ["-m", "64", "-kernel", echo], until: "hello" }, "hello");
  assert.equal(status, 0);
  assert.match(out, /ready\r\n# hel/);
});

test("more is typed than any buffer holds, and nothing is lost", async () => {
  const text = Array.from({ length: 1200 }, (_, i) => `${i} `).join("");
  const fast = guest("fast.elf", [...FIFO, ...print("ready\r\n# "), ...ECHO]);
  const { status, out } = await node({ options: ["-m", "64", "-kernel", fast], type: `${text}END`, until: "END" });
  assert.equal(status, 0);
  assert.equal(out, `ready\r\n# ${text}END`);
});

test("a script, and the figures of its run", async () => {
  const stats = join(scratch, "stats.json");
  const script = [{ expect: "# ", send: "one" }, { expect: "one", send: "two" }, { expect: "two" }];
  const { status } = await node({ options: ["-m", "64", "-kernel", echo], script, stats });
  assert.equal(status, 0);
  const figures = JSON.parse(readFileSync(stats, "utf8"));
  for (const name of [
    ...["first_output_ms", "wall_ms", "load_ms", "guest_insns", "interp_insns", "region_insns", "regions", "modules"],
    ...["wasm_bytes", "compile_ms", "lift_ms", "emit_ms", "tlb_misses", "refusals", "memory_bytes", "fetched_bytes"],
  ]) {
    assert.equal(typeof figures[name], "number", name);
  }
  assert.equal(figures.until_ms, null);
  assert.deepEqual(figures.helper_calls, {}, "nothing is translated");
  assert.ok(figures.guest_insns > 30 && figures.guest_insns === figures.interp_insns + figures.region_insns);
  assert.ok(figures.memory_bytes < (64 + 48) << 20, "more than the guest's RAM and 48 MB");
  assert.ok(figures.first_output_ms <= figures.wall_ms);
});

test("the figures of a guest of which it is known what it does, translated and interpreted", async () => {
  const [turns, pages] = [10_000, 2048];
  // mov rax, [rdi]; add rdi, 1000
  const touch = [...movEdi(4 << 20), ...repeat(pages, [0x48, 0x8b, 0x07, 0x48, 0x81, 0xc7, 0, 0x10, 0, 0])];
  const known = (sums: number) =>
    long([
      ...[...movEdi(4 << 20), ...repeat(sums, [0x48, 0x03, 0x07, 0x48, 0x31, 0xc3])], // add rax, [rdi]; xor rbx, rax
      ...[...touch, ...touch],
      ...[...movEdi(0xfee00030), ...repeat(turns, [0x8b, 0x07, 0x8b, 0x17])], // mov eax, [rdi]; mov edx, [rdi]: the local APIC
      ...repeat(turns, [0x0f, 0x57, 0xc0, 0xf2, 0x0f, 0x5e, 0xc0]), // xorps xmm0, xmm0; divsd xmm0, xmm0
      ...repeat(turns, [0x9c, 0x58]), // pushfq; pop rax
      ...repeat(turns, [0xba, 1, 0, 0, 0, 0x48, 0xf7, 0xf7]), // mov edx, 1; div rdi
      ...repeat(turns, [0x01, 0xf0, 0x0f, 0xa2]), // add eax, esi; cpuid
      ...[...print("done\r\n"), ...POWER_OFF],
    ]);
  const stats = join(scratch, "known.json");
  const figures = async (sums: number, more: Partial<CliJob>) => {
    const job = { options: ["-m", "64", "-kernel", guest("known.elf", known(sums))], stats, ...more };
    const { status, out, err } = await node(job);
    assert.deepEqual({ status, out, err }, { status: 0, out: "done\r\n", err: "" });
    const f = JSON.parse(readFileSync(stats, "utf8"));
    const exits = ["lookup", "interpret", "side", "guard", "budget"].map((reason) => f[`exits_${reason}`]);
    return { ...f, exits: exits.reduce((sum, n) => sum + n) };
  };
  const each = (n: number) => n > turns * 0.8 && n < turns * 1.01;
  const f = await figures(5_000_000, {});
  assert.ok(f.guest_insns === f.interp_insns + f.region_insns && f.region_insns > 50 * f.interp_insns);
  assert.ok(f.samples_translated > 0 && f.samples_translated <= Math.min(f.samples, f.exits));
  // Time goes into the sums; the devices' second load is a region that leaves at once.
  assert.ok(f.regions_widened > 0 && f.regions_useless > 0 && f.regions_live + f.regions_useless <= f.regions);
  assert.ok(f.modules > 0 && f.modules_live + f.evictions <= f.modules && f.modules <= f.regions);
  assert.ok(f.lift_ms > 0 && f.emit_ms > 0 && f.compile_ms > 0);
  const { DIV_U: divisions, code_float, code_pack_flags, code_readable, ...others } = f.helper_calls;
  assert.ok(each(divisions) && each(code_float) && code_pack_flags > turns * 0.8, JSON.stringify(f.helper_calls));
  assert.deepEqual(others, {});
  assert.ok(each(f.exits_interpret), `${f.exits_interpret} for CPUID`);
  assert.ok(f.exits_side > turns / 2 && f.exits_side < 2 * turns * 1.01 && f.exits_side <= code_readable);

  const n = await figures(turns, { code: { support: "none" } });
  assert.deepEqual([n.region_insns, n.samples_translated, n.regions, n.modules, n.exits], [0, 0, 0, 0, 0]);
  assert.deepEqual(n.helper_calls, {});
  // Each page once, each device access; and again where translated code has left one to the interpreter.
  const within = (n: number, least: number) => assert.ok(n >= least && n < least + 100, `${n}, not about ${least}`);
  within(n.tlb_misses, pages + 2 * turns);
  within(f.tlb_misses, pages + 2 * turns + f.exits_side);
});

test("whoever reads standard output goes: the run ends with one message, or none where nobody reads that", async () => {
  for (const both of [false, true]) {
    const job = JSON.stringify({ timeout: 120, options: ["-m", "64", "-kernel", echo] });
    const child = spawn(process.execPath, [cli, job]);
    let err = "";
    child.stderr.on("data", (data) => {
      err += data;
    });
    child.stdin.on("error", () => {});
    child.stdout.once("data", () => {
      child.stdout.destroy();
      if (both) child.stderr.destroy();
      child.stdin.write("hello");
    });
    const [status] = await once(child, "close");
    assert.deepEqual([status, err], [1, both ? "" : "pagevm: standard output: write EPIPE\n"]);
  }
  const full = spawn("/bin/sh", ["-c", '"$0" "$1" help >/dev/full', process.execPath, cli]);
  let err = "";
  full.stderr.on("data", (data) => {
    err += data;
  });
  const [status] = await once(full, "close");
  assert.equal(status, 1);
  assert.match(err, /^pagevm: standard output: ENOSPC[^\n]*\n$/);
});

for (const signal of ["TERM", "INT", "HUP", "QUIT"]) {
  test(`a terminal is what it was before when SIG${signal} ends the run`, async () => {
    const shell = `before=$(stty -g); "$NODE" "$CLI" "$JOB" </dev/tty & pid=$!
      while stty -a | grep -q " icanon"; do sleep 0.1; done
      kill -${signal} $pid; wait $pid; echo "status $?"; [ "$(stty -g)" = "$before" ] && echo as before`;
    const JOB = JSON.stringify({ timeout: 60, options: ["-m", "64", "-kernel", echo] });
    const env = { ...process.env, SHELL: "/bin/sh", NODE: process.execPath, CLI: cli, JOB };
    const child = spawn("script", ["-q", "-e", "-c", shell, "/dev/null"], {
      env,
      stdio: ["ignore", "pipe", "inherit"],
    });
    let out = "";
    child.stdout.on("data", (data) => {
      out += data;
    });
    await once(child, "close");
    assert.match(out, new RegExp(`status ${128 + constants.signals[`SIG${signal}` as "SIGTERM"]}\r\nas before`));
  });
}

for (const [what, job, status, message] of [
  ["a wrong option", { options: ["-kernal", "x"] }, 2, /^pagevm: `-kernal` is not supported; the nearest .*\n$/],
  ["a missing file", { options: ["-kernel", "/none"] }, 1, /^pagevm: kernel \/none: there is no such file\n$/],
  ["a directory", { options: ["-kernel", "/tmp"] }, 1, /^pagevm: kernel \/tmp: not a file\n$/],
  ["no kernel in it", { options: ["-kernel", cli] }, 1, /^pagevm: -kernel .*: not a kernel.*\n$/],
  ["a triple fault", { options: ["-m", "64", "-kernel", fault] }, 1, /^pagevm: .*triple fault.*\n(.*\n)*.*\brip .*\n/],
  ["silence", { options: ["-m", "64", "-kernel", silent], timeout: 1 }, 1, /^pagevm: no end after 1 s\n$/],
  ["no engine", { options: ["-kernel", echo], engine: "/none.wasm" }, 1, /^pagevm: engine\.wasm does not load from /],
  ["a wrong job", "{}", 2, /^pagevm: the job has no "options"\n$/],
] as const) {
  test(`${what}: one message and status ${status}`, async () => {
    const got = await node(job as CliJob | string);
    assert.match(got.err, message);
    assert.equal(got.status, status);
  });
}

test("more RAM than there is: one message", async () => {
  const job = { options: ["-m", "2048", "-kernel", echo] };
  const { status, err } = await node(job, "", ["--wasm-max-mem-pages=16384"]);
  assert.match(err, /^pagevm: -m: the host has no 2048 MiB of memory.*\n$/);
  assert.equal(status, 1);
});

test("more code than the host has memory for: it is decoded again, and the guest runs on", async () => {
  const stats = join(scratch, "stats.json");
  // 500,000 instructions of 32-bit code take 24 MB; 45 MB beside the RAM leave less.
  const long = guest("long.elf", [...new Array<number>(500_000).fill(0x90), ...print("through\r\n"), ...POWER_OFF]);
  const job = { options: ["-m", "64", "-kernel", long], stats };
  const { status, out, err } = await node(job, "", [`--wasm-max-mem-pages=${(64 + 45) * 16}`]);
  assert.deepEqual({ status, out, err }, { status: 0, out: "through\r\n", err: "" });
  const figures = JSON.parse(readFileSync(stats, "utf8"));
  assert.ok(figures.decoded_drops > 0 && figures.memory_bytes <= (64 + 45) << 20);
  assert.equal((await node(job)).status, 0);
  const all = JSON.parse(readFileSync(stats, "utf8"));
  assert.ok(all.decoded_drops === 0 && all.decoded_insns >= 500_000);
  assert.ok(Math.abs(all.decode_estimate_ms - all.decoded_insns * 45e-6) < 0.01, "45 ns each");
});

test("translated code runs where the host takes it, ends the run where it traps, and is refused by a limit", async () => {
  const engine = (name: string, region: readonly number[]) => {
    const path = join(scratch, name);
    writeFileSync(path, tinyEngine(region));
    return { engine: path, options: [] };
  };
  const good = engine("good.wasm", i32(Exit.PowerOff));
  assert.deepEqual(await node(good), { status: 0, out: "", err: "" });
  for (const code of [{ support: "none" }, { modules: 0 }] as const) {
    const { status, err } = await node({ ...good, code });
    assert.deepEqual([status, err], [1, "pagevm: the guest asked for a reset (-no-reboot)\n"], JSON.stringify(code));
  }
  const { status, err } = await node(engine("trap.wasm", TRAP));
  assert.match(err, /^pagevm: the engine failed in run, which is a bug in pagevm: unreachable\n$/);
  assert.equal(status, 1);
});

test("the same job in a browser", async () => {
  const [stats, screenshot] = [join(scratch, "browser.json"), join(scratch, "page.png")];
  const job = {
    host,
    options: ["-m", "64", "-kernel", echo],
    type: "hello",
    until: "hello",
    stats,
    screenshot,
  } as const;
  const tool = join(web, "tools/browser-run.mjs");
  const { status, out, err } = await run(tool, job);
  assert.deepEqual({ status, out, err }, { status: 0, out: "ready\r\n# hello", err: "" });
  assert.equal(JSON.parse(readFileSync(stats, "utf8")).host, host);
  assert.deepEqual([...readFileSync(screenshot).subarray(1, 4)], [0x50, 0x4e, 0x47]);
  const halves = JSON.stringify({ host, timeout: 20, options: job.options, until: "\u00e9!" });
  const child = spawn(process.execPath, [tool, halves], { env: { ...process.env, DIST: dist } });
  child.stdout.once("data", () => {
    child.stdin.write(Uint8Array.of(0xc3));
    setTimeout(() => child.stdin.write(Uint8Array.of(0xa9, 0x21)), 500);
  });
  assert.deepEqual(await once(child, "close"), [0, null], "a character that comes in two pieces");
  const bad = await run(tool, { host, options: ["-kernel", cli] });
  assert.match(bad.err, /^pagevm: -kernel .*: not a kernel.*\n$/);
  assert.equal(bad.status, 1);
});
