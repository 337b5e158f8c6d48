// The API with the real engine, the same things in Node and in a page's worker: drives, files, power, and the page's own uses of it.
// DIST is what was built (../dist); BROWSER is chromium (the default) or firefox.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import type { Browser, Page } from "puppeteer-core";
import type * as PageApi from "../../src/index.ts";
import type * as NodeApi from "../../src/node/index.ts";
import { serve } from "../../src/node/serve.ts";
import { launch } from "../../tools/browsers.mjs";
import { ECHO, elf, POWER_OFF, print } from "../guests.ts";

const web = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const dist = process.env.DIST ?? join(web, "../dist");
const scratch = mkdtempSync(join(tmpdir(), "pagevm-api-"));
const files: Record<string, string> = { "/manifest.json": "/nonexistent" };
const SHARE = ["-fsdev", "memory,id=f", "-device", "virtio-9p-pci,fsdev=f,mount_tag=f"];
const DRIVES = [
  ...[
    "-drive",
    "file=kept.img,format=raw,if=none,id=kept,overlay=mine.overlay",
    "-device",
    "virtio-blk-pci,drive=kept",
  ],
  ...["-drive", "file=plain.img,format=raw,if=virtio"],
];
let server: Awaited<ReturnType<typeof serve>>;
let browser: Browser;
let createMachine: typeof NodeApi.createMachine;

before(async () => {
  ({ createMachine } = (await import(pathToFileURL(join(dist, "node.mjs")).href)) as typeof NodeApi);
  for (const [name, code] of [
    ["echo.elf", [...print("ready\r\n"), ...ECHO]],
    ["off.elf", [...print("bye\r\n"), ...POWER_OFF]],
  ] as const) {
    writeFileSync(join(scratch, name), elf(code));
    files[`/${name}`] = join(scratch, name);
  }
  server = await serve(dist, 0, files);
  browser = await launch(process.env.BROWSER === "firefox" ? "firefox" : "chromium");
});
after(async () => {
  await browser.close();
  server.close();
  rmSync(scratch, { recursive: true });
});

/** What a user does with a machine, in one function that runs in either place; what it returns is compared. */
async function use(create: typeof PageApi.createMachine, kernel: string, share: string[], drives: string[]) {
  const image = new Uint8Array(3 << 20).map((_, i) => i >> 4);
  const machine = create({
    options: ["-m", "64", "-kernel", kernel, ...share, ...drives],
    files: { "kept.img": image.slice(), "plain.img": image.slice(0, 4096), "mine.overlay": new Uint8Array(0) },
  });
  const states: string[] = [];
  machine.on("state", ({ state }) => states.push(state));
  const read = async (stream: ReadableStream) => new Uint8Array(await new Response(stream).arrayBuffer());
  const failed = (call: Promise<unknown>) =>
    call.then(
      () => "done",
      (error) => `${error.code ?? error.name}: ${error.message}`,
    );
  await machine.putFile("a/b.txt", "words", { mode: 0o600 });
  await machine.start();
  await machine.waitFor("ready", { timeout: 120_000 });
  await machine.type("hello");
  await machine.waitFor(/h[el]+o/, { timeout: 120_000 });
  const [entry] = await machine.listFiles("a");
  const disks = await machine.disks();
  const whole = await read(await machine.exportDisk("kept"));
  const overlay = await read(await machine.exportDisk("kept", { content: "overlay" }));
  const result = {
    text: new TextDecoder().decode(await machine.getFile("a/b.txt")),
    entry: entry && { ...entry, modified: entry.modified > 1.6e12 },
    top: (await machine.listFiles()).map(({ name, type }) => `${name}: ${type}`),
    disks,
    same: whole.length === image.length && whole.every((byte, i) => byte === image[i]),
    overlay: overlay.length > 0 && overlay.length < 1 << 20,
    none: await failed(machine.getFile("none")),
    plain: await failed(machine.exportDisk(1, { content: "overlay" })),
    off: await machine.powerOff({ timeout: 50 }),
    end: await machine.ended(),
    states,
  };
  machine.close();
  // what was exported is what option overlay takes
  const again = create({
    options: ["-m", "64", "-kernel", kernel, ...drives],
    files: { "kept.img": image, "plain.img": image.slice(0, 4096), "mine.overlay": overlay },
  });
  await again.start();
  const restored = await read(await again.exportDisk("kept"));
  again.close();
  return { ...result, restored: restored.every((byte, i) => byte === image[i]) };
}

const EXPECTED = {
  text: "words",
  entry: { name: "b.txt", type: "file", size: 5, mode: 0o600, modified: true },
  top: ["a: directory"],
  disks: [
    { id: "kept", size: 3 << 20, readOnly: false, overlay: true },
    { id: "", size: 4096, readOnly: false, overlay: false },
  ],
  same: true,
  overlay: true,
  none: "ENOENT: none: ENOENT in the guest's files",
  off: "forced",
  end: { state: "off", message: "switched off, the guest did not answer its power button in 0.05 s" },
  states: ["loading", "running", "off"],
  restored: true,
};

test("files, drives and power in Node", async () => {
  const create = createMachine as unknown as typeof PageApi.createMachine;
  const { plain, ...result } = await use(create, join(scratch, "echo.elf"), SHARE, DRIVES);
  assert.deepEqual(result, EXPECTED);
  assert.match(plain, /plain\.img.*the export of an overlay: this drive has none/);
});

test("files, drives and power in a page", async () => {
  const page = await browser.newPage();
  await page.goto(`${server.url}package.json`); // any document of the site
  const { plain, ...result } = (await page.evaluate(
    `(async () => (${use})((await import("/index.js")).createMachine, "/echo.elf", ${JSON.stringify(SHARE)}, ${JSON.stringify(DRIVES)}))()`,
  )) as Awaited<ReturnType<typeof use>>;
  await page.close();
  assert.deepEqual(result, EXPECTED);
  assert.match(plain, /plain\.img.*the export of an overlay: this drive has none/);
});

test("start is rejected with the message that there is, wherever it comes from", async () => {
  const wrong = createMachine({ options: ["-kernal", "x"] });
  await assert.rejects(wrong.start(), { kind: "options", message: /`-kernal` is not supported/ });
  wrong.close();
  const page = await browser.newPage();
  await page.goto(`${server.url}package.json`);
  const messages = await page.evaluate(async () => {
    const { createMachine } = (await import("/index.js" as string)) as typeof PageApi;
    const start = (options: PageApi.MachineOptions) =>
      createMachine(options)
        .start()
        .then(
          () => "started",
          (error) => `${error.kind}: ${error.message}`,
        );
    return [
      await start({ options: ["-kernal", "x"] }),
      await start({ options: ["-kernel", "/none"] }),
      await start({ options: [], worker: "none.js" }),
    ];
  });
  await page.close();
  assert.match(messages[0] ?? "", /^options: `-kernal` is not supported/);
  assert.match(messages[1] ?? "", /^machine: kernel \/none: the server answers 404/);
  assert.match(messages[2] ?? "", /^engine: pagevm's worker failed: /);
});

test("a guest that powers off ends by itself", async () => {
  const machine = createMachine({ options: ["-m", "64", "-kernel", join(scratch, "off.elf")] });
  await machine.start();
  assert.equal((await machine.waitFor("bye")).text, "bye");
  assert.deepEqual(await machine.ended(), { state: "off" });
  machine.close();
});

/** Opens the page with these options, running. */
async function openPage(args: string[], act: (page: Page) => Promise<void>): Promise<void> {
  const page = await browser.newPage();
  try {
    await page.goto(
      `${server.url}?args=${encodeURIComponent(JSON.stringify(["-m", "64", "-kernel", "echo.elf", ...args]))}`,
    );
    await page.waitForFunction(() => document.body.dataset.state === "running", { timeout: 120_000 });
    await act(page);
  } finally {
    await page.close();
  }
}

/** Drops a file on the page; resolves with what the page says. */
async function drop(page: Page): Promise<string> {
  await page.evaluate(() => {
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File(["dropped"], "drop.txt"));
    dispatchEvent(new DragEvent("drop", { dataTransfer, cancelable: true }));
  });
  await page.waitForFunction(() => document.getElementById("note")?.textContent !== "", { timeout: 120_000 });
  return page.$eval("#note", (note) => note.textContent ?? "");
}

test("a file that is dropped on the page is in the machine's share, or the page says what is missing", async () => {
  await openPage(SHARE, async (page) => {
    assert.equal(await drop(page), "drop.txt: in the machine's share");
    const text = await page.evaluate(async () =>
      new TextDecoder().decode(await window.pagevm?.machine?.getFile("drop.txt")),
    );
    assert.equal(text, "dropped");
    assert.equal(await page.$eval("#save", (save) => (save as HTMLElement).hidden), true, "there is nothing to save");
  });
  await openPage([], async (page) => assert.match(await drop(page), /no share in memory .* add -fsdev memory/));
});

test("what was written to the page's disks can be saved", async () => {
  writeFileSync(join(scratch, "disk.img"), new Uint8Array(1 << 20));
  files["/disk.img"] = join(scratch, "disk.img");
  await openPage(["-drive", "file=disk.img,if=virtio,format=raw"], async (page) => {
    await page.waitForFunction(() => !(document.getElementById("save") as HTMLElement).hidden, { timeout: 120_000 });
    await page.evaluate(() => {
      // a download of a headless browser goes nowhere: what is asked for is enough
      HTMLAnchorElement.prototype.click = function () {
        document.body.dataset.saved = `${this.download} ${this.href.slice(0, 5)}`;
      };
    });
    await page.click("#save");
    await page.waitForFunction(() => document.body.dataset.saved !== undefined, { timeout: 120_000 });
    assert.equal(await page.$eval("body", (body) => body.dataset.saved), "disk0.overlay blob:");
  });
});
