// What people do with an installed Debian on a network, in Node: apt-get from Debian's own servers, curl and git from this computer.
// GUEST is the installed Debian, as `cargo xtask guest debian-x86_64` makes it.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer as createSecureServer } from "node:https";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import type * as Api from "../../src/node/index.ts";
import { bytes, sha256, until, webServer } from "../servers.ts";

const root = dirname(dirname(dirname(dirname(fileURLToPath(import.meta.url)))));
const dist = process.env.DIST ?? join(root, "dist");
const guest = process.env.GUEST ?? join(root, "target/guests/debian-x86_64");
const MIB = 1 << 20;
const PROMPT = /\/ # $/;

/** A port that is free now. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  return port;
}

/**
 * A repository with a file of a mebibyte and a certificate, served by git's own daemon, and a server that has this certificate: their
 * ports.
 */
async function serveRepository(context: TestContext): Promise<{ port: number; secure: number }> {
  const directory = mkdtempSync(join(tmpdir(), "pagevm-git-"));
  context.after(() => rmSync(directory, { recursive: true }));
  const git = (...args: string[]) => execFileSync("git", ["-C", directory, ...args], { stdio: "pipe" });
  git("init", "-q", "-b", "main");
  writeFileSync(join(directory, "file"), bytes(MIB, 9));
  const [key, certificate] = [join(directory, ".git", "key.pem"), join(directory, "ca.pem")];
  const subject = ["-subj", "/CN=gateway", "-addext", "subjectAltName=IP:10.0.2.2"];
  const made = ["-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, ...subject];
  execFileSync("openssl", ["req", "-x509", "-days", "9", ...made], { stdio: "pipe" });
  const files = { key: readFileSync(key), cert: readFileSync(certificate) };
  const secure = createSecureServer(files, (_, response) => response.end(bytes(MIB, 10)));
  await once(secure.listen(0, "127.0.0.1"), "listening");
  context.after(() => secure.close());
  git("add", ".");
  git("-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-qm", "a mebibyte");
  const port = await freePort();
  const where = [`--base-path=${directory}`, "--export-all", "--listen=127.0.0.1", `--port=${port}`, directory];
  const daemon = spawn("git", ["daemon", ...where], { stdio: "ignore", detached: true });
  context.after(() => process.kill(-(daemon.pid ?? 0)));
  return { port, secure: (secure.address() as AddressInfo).port };
}

/** Boots and logs in; returns what types a command and gives what it prints, with its status, as `=0=`. */
async function debian(context: TestContext, ...options: string[]) {
  assert.ok(existsSync(join(guest, "root.img")), `there is no guest in ${guest}: cargo xtask guest debian-x86_64`);
  const { createMachine } = (await import(pathToFileURL(join(dist, "node.mjs")).href)) as typeof Api;
  const images = ["-kernel", join(guest, "vmlinuz"), "-initrd", join(guest, "initrd.img")];
  const drive = ["-drive", `file=${join(guest, "root.img")},if=virtio,format=raw,snapshot=on`];
  const append = ["-append", "root=/dev/vda rw console=ttyS0 quiet"];
  const machine = createMachine({ options: ["-m", "1024", ...images, ...drive, ...append, ...options] });
  context.after(() => machine.close());
  await machine.start();
  await machine.waitFor(/ login: /, { timeout: 600_000 });
  await machine.type("root\n");
  await machine.waitFor(/:~# $/, { timeout: 300_000 });
  await machine.type("cd /; TERM=dumb PS1='/ # ' exec sh\n");
  await machine.waitFor(PROMPT, { timeout: 300_000 });
  const run = async (command: string, seconds = 300): Promise<string> => {
    await machine.type(`${command}; echo; echo =$?=\n`);
    const { before, text } = await machine.waitFor(/^=\d+=\n/m, { timeout: seconds * 1000 });
    await machine.waitFor(PROMPT, { timeout: seconds * 1000 });
    return before.slice(before.indexOf("\n") + 1) + text;
  };
  return { machine, run };
}

test("apt-get, curl and git in an installed Debian", async (t) => {
  const [web, repository] = [await webServer(), await serveRepository(t)];
  t.after(web.close);
  const { machine, run } = await debian(t, "-nic", "user");
  await run("stty cols 200; /lib/systemd/systemd-networkd-wait-online --timeout 120");

  const updated = await run("apt-get -q update 2>&1 | tail -n 3", 900);
  console.log(updated.trim());
  assert.match(updated, /^Fetched \d+[.\d]* MB in /m);
  assert.doesNotMatch(updated, /^[EW]:/m);
  const installed = await run("apt-get -qq install -y --no-install-recommends hello > /dev/null 2>&1; hello", 900);
  assert.match(installed, /^Hello, world!\n\n=0=/m);

  const began = Date.now();
  const fetched = await run(`curl -sS http://10.0.2.2:${web.port}/${100 * MIB}/1 | sha256sum`, 600);
  console.log(`100 MiB by curl: ${Date.now() - began} ms`);
  assert.equal(fetched.slice(0, 64), sha256(bytes(100 * MIB, 1)));

  const cloned = await run(
    `git clone -q git://10.0.2.2:${repository.port}/ /tmp/r && sha256sum < /tmp/r/file && git -C /tmp/r fsck`,
  );
  assert.equal(cloned.slice(0, 64), sha256(bytes(MIB, 9)));
  assert.match(cloned, /=0=\n$/);
  const secure = await run(`curl -sS --cacert /tmp/r/ca.pem https://10.0.2.2:${repository.secure}/ | sha256sum`);
  assert.equal(secure.slice(0, 64), sha256(bytes(MIB, 10)));
  await until("all connections are closed", () => web.sockets.size === 0);
  assert.equal(await machine.powerOff({ timeout: 120_000 }), "guest");
});
