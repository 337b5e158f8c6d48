// Disks that a browser keeps: across reloads, after a kill in the middle of writes, with the storage full, and with a server that
// goes away or changes its mind. e2fsck and debugfs of the system say what is on them.

import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { Browser } from "puppeteer-core";
import type { Server } from "../../src/node/serve.ts";
import { launch } from "../../tools/browsers.mjs";
import { ECHO, elf, print } from "../guests.ts";
import { bytes, imageServer, sha256 } from "../servers.ts";
import { chromium, host, kill, site, Tab } from "./tab.ts";

const MIB = 1 << 20;
const scratch = mkdtempSync(join(tmpdir(), "pagevm-kept-"));
const image = join(scratch, "disk.img");
const profile = join(scratch, "profile");
const files: Record<string, string> = { "/disk.img": image, "/echo.elf": join(scratch, "echo.elf") };
const OPTIONS = ["-drive", "id=d,file=disk.img,format=raw,if=virtio,overlay=opfs:kept.overlay"];
const DISK_MIB = 96;
let server: Server;
let browser: Browser;
let uploads: { url: string; taken: Buffer[]; close(): void };

before(async () => {
  writeFileSync(files["/echo.elf"] as string, elf([...print("ready\r\n"), ...ECHO]));
  execFileSync("/usr/sbin/mke2fs", ["-q", "-F", "-t", "ext4", image, `${DISK_MIB}M`]);
  server = await site(files);
  uploads = await takeUploads();
  browser = await launch(host, { profile });
});
after(async () => {
  await browser.close();
  server.close();
  uploads.close();
  rmSync(scratch, { recursive: true });
});

/** Takes what pages post. */
async function takeUploads(): Promise<typeof uploads> {
  const taken: Buffer[] = [];
  const server = createServer(async (request, response) => {
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part);
    taken.push(Buffer.concat(parts));
    response.writeHead(200, { "access-control-allow-origin": "*" }).end();
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const close = () => void server.close();
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, taken, close };
}

/** The disk as it is now, out of the page. */
async function exported(tab: Tab, content: "disk" | "overlay" = "disk"): Promise<Buffer> {
  await tab.page.evaluate(
    async (content, url) => {
      const stream = await window.pagevm?.machine?.exportDisk("d", { content });
      await fetch(url, { method: "POST", body: await new Response(stream).blob() });
    },
    content,
    uploads.url,
  );
  return uploads.taken.pop() ?? Buffer.alloc(0);
}

/** What e2fsck makes of a disk: repaired as a boot would, then looked at without mercy. */
function repaired(disk: Buffer): string {
  const path = join(scratch, "exported.img");
  writeFileSync(path, disk);
  const repair = spawnSync("/usr/sbin/e2fsck", ["-fy", path], { encoding: "utf8" });
  assert.ok(repair.status === 0 || repair.status === 1, repair.stdout + repair.stderr);
  const check = spawnSync("/usr/sbin/e2fsck", ["-fn", path], { encoding: "utf8" });
  assert.equal(check.status, 0, check.stdout + check.stderr);
  return path;
}

const contents = (path: string, name: string): Buffer =>
  execFileSync("/usr/sbin/debugfs", ["-R", `cat ${name}`, path], { stdio: ["ignore", "pipe", "ignore"] });

test("a disk is kept across reloads; a browser killed in the middle of writes leaves all that was synced", async () => {
  let tab = await Tab.boot(browser, server.url, OPTIONS);
  assert.match(await tab.run("mkdir /d; mount /dev/vda /d && echo first > /d/first && sync"), /^=0=/m);
  await tab.page.reload();
  await tab.prompt();
  assert.equal(await tab.run("mkdir /d; mount /dev/vda /d; cat /d/first"), "first\n\n=0=\n");

  // each line is printed when its file is synced
  await tab.type(
    "n=0; while :; do n=$((n+1)); dd if=/dev/urandom of=/d/f$n bs=64k count=1 conv=fsync 2>/dev/null; " +
      "echo synced $n $(sha256sum < /d/f$n); rm -f /d/f$((n-7)); dd if=/dev/urandom of=/d/noise bs=64k count=4 2>/dev/null; done\n",
  );
  const text = await tab.waitFor(/^synced 25 .*\n/m);
  await kill(browser);
  browser = await launch(host, { profile });

  tab = await Tab.open(browser, server.url, OPTIONS, { kernel: "echo.elf" });
  assert.equal(await tab.until("running"), "running", await tab.message());
  const path = repaired(await exported(tab));
  const lines = [...text.matchAll(/^synced (\d+) ([0-9a-f]{64}) /gm)].slice(-5);
  for (const [, n, sum] of lines) assert.equal(sha256(contents(path, `f${n}`)), sum, `f${n}`);
  assert.equal(String(contents(path, "first")), "first\n");

  // an overlay that was exported is the disk elsewhere
  const overlay = await exported(tab, "overlay");
  writeFileSync(join(scratch, "saved.overlay"), overlay);
  files["/saved.overlay"] = join(scratch, "saved.overlay");
  const whole = sha256(await exported(tab));
  const sum = await tab.page.evaluate(async () => {
    const { createMachine } = (await import("/index.js" as string)) as typeof import("../../src/index.ts");
    const saved = new Uint8Array(await (await fetch("/saved.overlay")).arrayBuffer());
    const options = [
      "-m",
      "64",
      "-kernel",
      "echo.elf",
      "-drive",
      "id=d,file=disk.img,format=raw,if=virtio,overlay=saved",
    ];
    const machine = createMachine({ options, files: { saved } });
    await machine.start();
    const disk = await new Response(await machine.exportDisk("d")).arrayBuffer();
    machine.close();
    const sum = new Uint8Array(await crypto.subtle.digest("SHA-256", disk));
    return Array.from(sum, (byte) => byte.toString(16).padStart(2, "0")).join("");
  });
  assert.equal(sum, whole);
  await tab.close();
});

test("a server that is down, an image that changes, full storage: each has its message, the guest an I/O error", async (t) => {
  const content = bytes(64 * MIB, 1);
  const remote = await imageServer(content);
  t.after(remote.close);
  // Nothing is kept of what is read, so that nothing can make room for what is written.
  const drives = [`file=${remote.url},format=raw,if=virtio`, OPTIONS[1]].map((drive) => [
    "-drive",
    `${drive},cache=none`,
  ]);
  const tab = await Tab.boot(browser, server.url, drives.flat());
  const read = (mib: number) => tab.run(`dd if=/dev/vda bs=64k skip=${mib * 16} count=1 iflag=direct | sha256sum`);
  const there = (mib: number) => sha256(content.subarray(mib * MIB, mib * MIB + (64 << 10)));
  assert.match(await read(8), new RegExp(there(8)));
  remote.state = "down";
  assert.match(await read(20), /dd: \/dev\/vda: Input\/output error/);
  await tab.logged(/a\.img: .*the server cannot be reached.*given up after 6 attempts/);
  remote.state = "up";
  assert.match(await read(20), new RegExp(there(20)));
  remote.state = "changed";
  assert.match(await read(40), /dd: \/dev\/vda: Input\/output error/);
  await tab.logged(/a\.img: .*it has changed on the server since it was opened; start the machine again/);
  assert.match(await read(8), new RegExp(there(8)), "what was there is there");

  const write = (what: string, count: number) =>
    tab.run(`dd if=${what} of=/dev/vdb bs=64k seek=160 count=${count} conv=fsync`);
  const written = Buffer.from("what was written\n".repeat(4 * MIB)).subarray(0, 4 * MIB);
  await tab.run("yes what was written | head -c 4194304 > /tmp/r");
  assert.match(await write("/tmp/r", 64), /^=0=/m);
  if (chromium) {
    const cdp = await tab.page.createCDPSession();
    const origin = new URL(server.url).origin;
    const usage = await tab.page.evaluate(async () => {
      const root = await navigator.storage.getDirectory();
      const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
      // a tab that was closed has its files for a moment, and the browser counts again a little later
      for (let left = 20; left > 0; left--) {
        const failed = await root
          .removeEntry("pagevm-kept", { recursive: true })
          .catch((error: DOMException) => error.name);
        if (failed === undefined || failed === "NotFoundError") break;
        await wait(250);
      }
      await wait(1000);
      return (await navigator.storage.estimate()).usage ?? 0;
    });
    await cdp.send("Storage.overrideQuotaForOrigin", { origin, quotaSize: usage + 4 * MIB });
    assert.match(await write("/dev/zero", 512), /dd: .*Input\/output error/);
    await tab.logged(/opfs:kept\.overlay: the browser's storage for this site is full/);
    await tab.screenshot("disk-full");
    await cdp.send("Storage.overrideQuotaForOrigin", { origin });
  }
  // each block is as it was, or as it was written now
  const disk = (await exported(tab)).subarray(10 * MIB, 14 * MIB);
  for (let at = 0; at < disk.length; at += 4096) {
    const block = disk.subarray(at, at + 4096);
    assert.ok(block.equals(written.subarray(at, at + 4096)) || block.every((byte) => byte === 0), `the block at ${at}`);
  }
  assert.match(await write("/tmp/r", 64), /^=0=/m, "there is room again");
  assert.match(await tab.run("dd if=/dev/vdb bs=64k skip=160 count=64 iflag=direct | cmp - /tmp/r"), /^=0=/m);
  await tab.close();
});
