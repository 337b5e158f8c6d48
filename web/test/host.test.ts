import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { NO_STATS } from "../src/abi.gen.ts";
import { FEATURES, missingFeatures } from "../src/host/features.ts";
import { compile, counted, openUrl } from "../src/host/files.ts";
import { fill, openImage } from "../src/host/images.ts";
import { readJob } from "../src/node/job.ts";
import { serve } from "../src/node/serve.ts";
import { EscapeKey, figures } from "../src/node/terminal.ts";
import { join as joinLine, split } from "../src/page/commandline.ts";
import { fromQuery } from "../src/page/config.ts";
import { file } from "./mock-engine.ts";

const EMPTY_MODULE = Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0);

test("this host has every feature, and each one that is missing is named", () => {
  assert.deepEqual(missingFeatures(), []);
  const names = Object.keys(FEATURES);
  let asked = 0;
  for (const [i, name] of names.entries()) {
    asked = 0;
    assert.deepEqual(
      missingFeatures(() => asked++ !== i),
      [`WebAssembly ${name}`],
    );
  }
  assert.equal(asked, names.length);
});

test("a module compiles from any stream; one that does not says where it was from", async () => {
  const open = async () => file([EMPTY_MODULE.slice(0, 3), EMPTY_MODULE.slice(3)], 8)();
  const seen: number[] = [];
  const module = await compile(open, "e.wasm", (loaded) => seen.push(loaded));
  assert.ok(module instanceof WebAssembly.Module);
  assert.deepEqual(seen, [0, 3, 8, 8]);
  const html = async () => file([new TextEncoder().encode("<!doctype html>")])();
  await assert.rejects(
    compile(html, "e.wasm", () => {}),
    /^VmError: engine\.wasm does not load from e\.wasm: .*magic/,
  );
  const short = async () => file([EMPTY_MODULE], 9)();
  await assert.rejects(
    compile(short, "e.wasm", () => {}),
    /broke off after 8 of 9 bytes/,
  );
  const gone = async () => {
    throw new Error("the server answers 404 Not Found");
  };
  await assert.rejects(
    compile(gone, "e.wasm", () => {}),
    /does not load from e\.wasm: the server answers 404/,
  );
});

test("the server serves its directory and named files, with no special header, and nothing else", async () => {
  const dir = mkdtempSync(join(tmpdir(), "pagevm-"));
  writeFileSync(join(dir, "index.html"), "page");
  writeFileSync(join(dir, "a.wasm"), EMPTY_MODULE);
  const server = await serve(dir, 0, { "/host/1/x": join(dir, "a.wasm") });
  try {
    const page = await fetch(server.url);
    assert.equal(await page.text(), "page");
    assert.equal(page.headers.get("cross-origin-opener-policy"), null);
    const wasm = await openUrl("a.wasm", server.url);
    assert.equal(wasm.total, 8);
    let length = 0;
    for await (const chunk of counted(wasm, () => {})) length += chunk.length;
    assert.equal(length, 8);
    assert.equal((await fetch(`${server.url}host/1/x?y`)).status, 200);
    for (const bad of ["none", "%2e%2e/%2e%2e/etc/passwd", "..%2fx", "%ff", "__proto__"]) {
      await assert.rejects(openUrl(bad, server.url), /the server answers 404 Not Found/, bad);
    }
  } finally {
    server.close();
    rmSync(dir, { recursive: true });
  }
  await assert.rejects(openUrl("http://[", server.url), /this is not an address/);
  await assert.rejects(openUrl(server.url), /the server cannot be reached/);
});

test("Ctrl-A x quits, Ctrl-A Ctrl-A is typed, other keys pass", () => {
  const key = new EscapeKey();
  assert.deepEqual(key.filter(Uint8Array.of(0x61, 1)), { data: Uint8Array.of(0x61), quit: false });
  assert.deepEqual(key.filter(Uint8Array.of(1, 0x78)), { data: Uint8Array.of(1, 0x78), quit: false });
  assert.deepEqual(key.filter(Uint8Array.of(0x62, 1, 0x71, 1, 0x78, 0x63)), { data: Uint8Array.of(0x62), quit: true });
});

test("a job is checked field by field", () => {
  assert.deepEqual(readJob('{"options":["-m","64"],"timeout":2}'), { options: ["-m", "64"], timeout: 2 });
  const code = { support: "unlinked", modules: 3, slots: 0 };
  assert.deepEqual(readJob(JSON.stringify({ options: [], code })).code, code);
  for (const [job, message] of [
    [undefined, /usage/],
    ["{", /cannot be read/],
    ["/none", /cannot be read/],
    ["{}", /no "options"/],
    ['{"options":"-m"}', /"options" is wrong/],
    ['{"options":[],"timeot":1}', /unknown field "timeot"/],
    ['{"options":[],"toString":1}', /unknown field "toString"/],
    ['{"options":[],"script":[{"send":"x"}]}', /"script" is wrong/],
    ['{"options":[],"code":{"support":"fast"}}', /"code" is wrong/],
    ['{"options":[],"code":{"modules":-1}}', /"code" is wrong/],
    ['{"options":[],"code":{"module":1}}', /"code" is wrong/],
  ] as const) {
    assert.throws(() => readJob(job), message);
  }
});

test("a stats file has exact counts and rounded times", () => {
  const stats = {
    ...NO_STATS,
    mips: 100,
    translated: 0.5,
    busy: 1,
    uptime_ms: 5,
    engine_ms: 0,
    run_ms: 0,
    load_ms: 1.23456,
    wall_ms: 9.999,
    first_output_ms: null,
    until_ms: 3,
    guest_insns: 12345678901,
    interp_insns: 12345678900,
    compile_ns: 12_345_678,
    region_insns: 1,
    memory_bytes: 2,
    fetched_bytes: 3,
    helper_calls: {},
    net_sent_bytes: 4,
    net_received_bytes: 5,
  };
  const out = figures("node", stats, { ok: true, reason: "until" });
  assert.equal(out.load_ms, 1.23);
  assert.equal(out.wall_ms, 10);
  assert.equal(out.first_output_ms, null);
  assert.equal(out.guest_insns, 12345678901);
  assert.deepEqual([out.compile_ms, out.lift_ms, out.modules, out.mips], [12.35, 0, 0, undefined]);
  assert.ok(!Object.keys(out).some((name) => name.endsWith("_ns")));
});

test("the page's address gives options", () => {
  assert.deepEqual(fromQuery("?m=512&kernel=a/b&append=console%3DttyS0%20quiet"), {
    arguments: ["-m", "512", "-kernel", "a/b", "-append", "console=ttyS0 quiet"],
  });
  assert.deepEqual(fromQuery('?args=["-m","64"]')?.arguments, ["-m", "64"]);
  assert.equal(fromQuery(""), undefined);
  assert.throws(() => fromQuery("?kernal=x"), /parameter "kernal"/);
  assert.throws(() => fromQuery("?args=[1]"), /not a JSON list of strings/);
});

test("options as a line come back as they went", () => {
  const args = ["-m", "512", "-append", 'console=ttyS0 "a\\b" it\'s', "", "ü\n"];
  assert.deepEqual(split(joinLine(args)), args);
  assert.deepEqual(split(" -m  512\t-append 'a \\ b'c\\ d "), ["-m", "512", "-append", "a \\ bc d"]);
  assert.deepEqual(split(""), []);
  assert.throws(() => split("-append 'x"), /not closed/);
});

test("a file that the packer compressed comes as it was; a damaged one says so", async () => {
  const text = new TextEncoder().encode("words ".repeat(50_000));
  const packed = new Uint8Array(gzipSync(text));
  const load = async (name: string, bytes: Uint8Array<ArrayBuffer>, total?: number) => {
    let room = new Uint8Array(0);
    const open = async () => file([bytes.slice(0, 100), bytes.slice(100)], total)();
    await fill(await openImage(open, {}, name, () => {}), (length) => {
      room = new Uint8Array(length);
      return (offset, piece) => room.set(piece, offset);
    });
    return room;
  };
  assert.deepEqual(await load("guest/a.gzip", packed, packed.length), text);
  assert.deepEqual(await load("guest/a.gz", packed, packed.length), packed, "a guest may want that as it is");
  await assert.rejects(load("a.gzip", packed.slice(0, -20)), /it does not decompress: it is damaged, or cut off/);
  await assert.rejects(load("a.gzip", packed.slice(0, 200), packed.length), /the transfer broke off after 200 of /);
  await assert.rejects(load("a.gzip", text), /it does not decompress/);
});
