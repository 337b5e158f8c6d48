// What a browser keeps of a disk on a web server: a second visit fetches none of it again, a changed image is not mixed with what it was,
// a browser that is killed leaves nothing wrong behind, and where nothing can be kept the machine goes without.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, type TestContext, test } from "node:test";
import type { Browser } from "puppeteer-core";
import type { Server } from "../../src/node/serve.ts";
import { launch } from "../../tools/browsers.mjs";
import { bytes, type ImageServer, imageServer, sha256 } from "../servers.ts";
import { chromium, host, kill, site, Tab } from "./tab.ts";

const MIB = 1 << 20;
const SIZE = 16 * MIB;
const content = bytes(SIZE, 1);
const profile = mkdtempSync(join(tmpdir(), "pagevm-visits-"));
let server: Server;
let browser: Browser;

before(async () => {
  server = await site({});
  browser = await launch(host, { profile });
});
after(async () => {
  await browser.close();
  server.close();
  rmSync(profile, { recursive: true });
});

async function image(t: TestContext): Promise<ImageServer> {
  const remote = await imageServer(content);
  t.after(remote.close);
  return remote;
}

/** Boots a guest on the image and has it read `what` of it; returns the sum, and how many ranges were asked for. */
async function visit(remote: ImageServer, read = "cat /dev/vda", more = ""): Promise<{ sum: string; asked: number }> {
  const before = remote.asked.length;
  const tab = await Tab.boot(browser, server.url, ["-drive", `file=${remote.url},format=raw,if=virtio${more}`]);
  const sum = /[0-9a-f]{64}/.exec(await tab.run(`${read} | sha256sum`))?.[0] ?? "";
  await tab.close();
  return { sum, asked: remote.asked.length - before };
}

test("a second visit fetches nothing but the beginning; of a changed image, everything", async (t) => {
  const remote = await image(t);
  const first = await visit(remote);
  assert.equal(first.sum, sha256(content));
  assert.ok(first.asked > SIZE / MIB, `${first.asked} ranges`);
  assert.deepEqual(await visit(remote), { sum: first.sum, asked: 1 });
  const forgetful = await visit(remote, undefined, ",cache=none");
  assert.equal(forgetful.sum, first.sum);
  // the browser's own cache asks, too
  assert.ok(forgetful.asked > SIZE / MIB, `${forgetful.asked} ranges with cache=none`);

  remote.changed = bytes(SIZE, 2);
  remote.state = "changed";
  const changed = await visit(remote);
  assert.equal(changed.sum, sha256(remote.changed));
  assert.ok(changed.asked > SIZE / MIB);
  assert.deepEqual(await visit(remote), { sum: changed.sum, asked: 1 });
});

test("a second machine on the image, while one has what is kept of it, reads the same", async (t) => {
  const remote = await image(t);
  const drive = ["-drive", `file=${remote.url},format=raw,if=virtio`];
  const tab = await Tab.boot(browser, server.url, drive);
  assert.equal((await visit(remote)).sum, sha256(content));
  assert.match(await tab.run("sha256sum /dev/vda"), new RegExp(sha256(content)));
  await tab.close();
});

test("a browser that is killed while it fetches", {
  skip: !chromium && "its profile does not outlive a kill",
}, async (t) => {
  const remote = await image(t);
  const tab = await Tab.boot(browser, server.url, ["-drive", `file=${remote.url},format=raw,if=virtio`]);
  await tab.type("cat /dev/vda > /dev/null; echo read\n");
  while (remote.asked.length < 8) await new Promise((resolve) => setTimeout(resolve, 5));
  await kill(browser);
  browser = await launch(host, { profile });
  assert.equal((await visit(remote)).sum, sha256(content));
  assert.deepEqual(await visit(remote), { sum: sha256(content), asked: 1 });
});

test("a disk that is kept gets the room; without any, nothing is kept, and nothing is wrong", {
  skip: !chromium && "quotas cannot be set",
}, async (t) => {
  const remote = await image(t);
  const page = await browser.newPage();
  await page.goto(`${server.url}none`);
  const cdp = await page.createCDPSession();
  const { origin } = new URL(server.url);
  /** Leaves the site 4 MiB more than it has. With so little from the beginning, nothing would be kept of images. */
  const little = async () => {
    const usage = await page.evaluate(async () => (await navigator.storage.estimate()).usage ?? 0);
    await cdp.send("Storage.overrideQuotaForOrigin", { origin, quotaSize: usage + 4 * MIB });
  };
  const drive = `file=${remote.url},format=raw,if=virtio,overlay=opfs:room.overlay`;
  const tab = await Tab.boot(browser, server.url, ["-drive", drive]);
  assert.match(await tab.run("sha256sum /dev/vda"), new RegExp(sha256(content)));
  await little();
  assert.match(await tab.run("dd if=/dev/zero of=/dev/vda bs=64k count=192 conv=fsync"), /^=0=/m);
  const rest = `dd if=/dev/vda bs=64k skip=192 iflag=direct | sha256sum; dd if=/dev/vda bs=64k count=192 iflag=direct | sha256sum`;
  const sums = await tab.run(rest);
  assert.match(sums, new RegExp(sha256(content.subarray(12 * MIB))));
  assert.match(sums, new RegExp(sha256(Buffer.alloc(12 * MIB))));
  await tab.close();
  await cdp.send("Storage.overrideQuotaForOrigin", { origin });

  // what is kept of another image, which nobody has open, goes for it, too
  const other = await image(t);
  assert.equal((await visit(other)).sum, sha256(content));
  assert.deepEqual(await visit(other), { sum: sha256(content), asked: 1 });
  const alone = await Tab.boot(browser, server.url, ["-drive", `${drive.replace("room.", "alone.")},cache=none`]);
  await little();
  assert.match(await alone.run("dd if=/dev/zero of=/dev/vda bs=64k count=192 conv=fsync"), /^=0=/m);
  assert.match(await alone.run(rest), new RegExp(sha256(Buffer.alloc(12 * MIB))));
  await alone.close();
  await cdp.send("Storage.overrideQuotaForOrigin", { origin });
  assert.ok((await visit(other)).asked > SIZE / MIB, "it is fetched anew");

  await cdp.send("Storage.overrideQuotaForOrigin", { origin, quotaSize: 1000 });
  for (const _ of [1, 2]) {
    const there = await visit(remote);
    assert.equal(there.sum, sha256(content));
    assert.ok(there.asked > SIZE / MIB, `${there.asked} ranges`);
  }
  await cdp.send("Storage.overrideQuotaForOrigin", { origin });
  await page.close();
});
