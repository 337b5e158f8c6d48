// The examples, as their readers run them: with the built package by its name, and a guest of Linux's own drivers.
// GUEST is a guest with 9p drivers, as `cargo xtask guest debian-9p-6.1` makes it; DIST is what was built (../dist).

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { serve } from "../../src/node/serve.ts";
import { launch } from "../../tools/browsers.mjs";

const root = dirname(dirname(dirname(dirname(fileURLToPath(import.meta.url)))));
const dist = process.env.DIST ?? join(root, "dist");
const guest = process.env.GUEST ?? join(root, "target/guests/debian-9p-6.1");
const scratch = mkdtempSync(join(tmpdir(), "pagevm-examples-"));

before(() => {
  assert.ok(existsSync(join(guest, "vmlinuz")), `there is no guest in ${guest}: cargo xtask guest debian-9p-6.1`);
  // as after `npm install pagevm`
  cpSync(join(root, "examples"), scratch, { recursive: true });
  mkdirSync(join(scratch, "node_modules"));
  symlinkSync(dist, join(scratch, "node_modules/pagevm"));
});
after(() => rmSync(scratch, { recursive: true }));

function run(...args: string[]): Promise<{ status: number | null; out: string; err: string }> {
  const child = spawn(process.execPath, args, { cwd: scratch });
  const result = { status: null as number | null, out: "", err: "" };
  child.stdout.on("data", (data) => {
    result.out += data;
  });
  child.stderr.on("data", (data) => {
    result.err += data;
  });
  return new Promise((done) => child.on("close", (status) => done({ ...result, status })));
}

test("automate: output and exit status are the guest's command's", async () => {
  const command = "echo 'a  b' $((6 * 7)); cat /none; exit 3";
  const { status, out, err } = await run("automate/automate.mjs", guest, command);
  assert.deepEqual([status, out, err], [3, "a  b 42\ncat: can't open '/none': No such file or directory\n", ""]);
  const none = await run("automate/automate.mjs", "/none", "true");
  assert.deepEqual([none.status, none.err], [125, "kernel /none/vmlinuz: there is no such file\n"]);
});

test("share: what the guest writes is in the directory", async () => {
  const directory = join(scratch, "a, directory");
  mkdirSync(directory);
  writeFileSync(join(directory, "old.txt"), "words\n");
  const { status, out, err } = await run("share/share.mjs", guest, directory, "tr a-z A-Z < old.txt > new.txt");
  assert.deepEqual([status, out, err], [0, "new.txt: 6 bytes\n", ""]);
  assert.equal(readFileSync(join(directory, "new.txt"), "utf8"), "WORDS\n");
});

test("embed: a page with a machine, a file in and a file out", async () => {
  const files: Record<string, string> = { "/pagevm/": dist };
  for (const name of ["vmlinuz", "initrd.gz"]) files[`/guest/${name}`] = join(guest, name);
  const server = await serve(join(scratch, "embed"), 0, files);
  const browser = await launch(process.env.BROWSER === "firefox" ? "firefox" : "chromium");
  try {
    const page = await browser.newPage();
    const errors: unknown[] = [];
    page.on("pageerror", (error) => errors.push(error));
    await page.goto(server.url);
    await page.waitForFunction(() => document.querySelector("output")?.value !== "nothing yet", { timeout: 300_000 });
    const answer = await page.$eval("output", (output) => output.value);
    assert.match(answer, /^Which kernel is this\?\nLinux 6\.1\..*\n$/);
    await page.type("#line", "echo $((40 + 2)) more\n");
    await page.waitForFunction(() => document.querySelector("pre")?.textContent?.includes("42 more"), {
      timeout: 300_000,
    });
    assert.deepEqual(errors, []);
  } finally {
    await browser.close();
    server.close();
  }
});
