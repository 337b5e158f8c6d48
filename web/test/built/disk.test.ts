// Disks in the page, with the real engine in a headless browser: what is kept, and what is refused with its own message.
// DIST is the site (../dist); BROWSER is chromium (the default) or firefox.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import type { Browser, Page } from "puppeteer-core";
import { serve } from "../../src/node/serve.ts";
import { launch } from "../../tools/browsers.mjs";
import { ECHO, elf, print } from "../guests.ts";

const web = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const scratch = mkdtempSync(join(tmpdir(), "pagevm-disks-"));
const files: Record<string, string> = { "/manifest.json": "/nonexistent" };
let server: Awaited<ReturnType<typeof serve>>;
let browser: Browser;

function give(name: string, bytes: Uint8Array): void {
  writeFileSync(join(scratch, name), bytes);
  files[`/${name}`] = join(scratch, name);
}

before(async () => {
  give("echo.elf", elf([...print("ready\r\n"), ...ECHO]));
  give("disk.img", new Uint8Array(1 << 20));
  server = await serve(process.env.DIST ?? join(web, "../dist"), 0, files);
  browser = await launch(process.env.BROWSER === "firefox" ? "firefox" : "chromium");
});
after(async () => {
  await browser.close();
  server.close();
  rmSync(scratch, { recursive: true });
});

/** A tab with a machine that has this drive. */
async function open(drive: string): Promise<Page> {
  const page = await browser.newPage();
  const args = ["-m", "64", "-kernel", "echo.elf", "-drive", `if=virtio,${drive}`];
  await page.goto(`${server.url}?args=${encodeURIComponent(JSON.stringify(args))}`);
  return page;
}

async function runs(page: Page): Promise<void> {
  const ended = () => document.body.dataset.state === "running" || document.body.dataset.state === "failed";
  await page.waitForFunction(ended, { timeout: 120_000 });
  const [state, message] = await told(page);
  assert.equal(state, "running", message);
}

async function told(page: Page): Promise<[string | undefined, string]> {
  return page.evaluate((): [string | undefined, string] => [
    document.body.dataset.state,
    document.getElementById("message")?.textContent ?? "",
  ]);
}

async function refused(page: Page): Promise<string> {
  await page.waitForFunction(() => document.body.dataset.state === "failed", { timeout: 120_000 });
  const [, message] = await told(page);
  await page.close();
  return message;
}

test("a disk on a server needs nothing else", async () => {
  const page = await open("file=disk.img");
  await runs(page);
  await page.close();
});

test("an overlay in the site's storage is one machine's at a time, and that of one image", async () => {
  const drive = "file=disk.img,overlay=opfs:disks/mine.overlay";
  const first = await open(drive);
  await runs(first);
  const second = await refused(await open(drive));
  assert.match(second, /opfs:disks\/mine\.overlay: it is open in another tab or window/);
  await first.close();
  const again = await open(drive);
  await runs(again);
  await again.close();
  give("disk.img", new Uint8Array(1 << 20).fill(1));
  const changed = await refused(await open(drive));
  assert.match(
    changed,
    /opfs:disks\/mine\.overlay: it holds what was written to another image than disk\.img as it is now/,
  );
});

test("what is no image, or not there, is named", async () => {
  assert.match(await refused(await open("file=none.img")), /-drive: none\.img: the server answers 404/);
  assert.match(
    await refused(await open("file=opfs:none.img")),
    /opfs:none\.img: there is no such file in this site's storage/,
  );
  const qcow2 = new Uint8Array(1 << 16);
  qcow2.set([0x51, 0x46, 0x49, 0xfb, 0, 0, 0, 9]);
  give("bad.qcow2", qcow2);
  assert.match(await refused(await open("file=bad.qcow2")), /bad\.qcow2: not supported: qcow2 version 9/);
});
