// A guest's network in Node, with Linux's own drivers and busybox's own clients: the built engine, real servers, a real relay.
// GUEST is a guest with virtio drivers, as `cargo xtask guest debian-virtio-6.1` makes it.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { connect } from "node:net";
import { dirname, join } from "node:path";
import { before, type TestContext, test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import type * as Api from "../../src/node/index.ts";
import type { Machine } from "../../src/node/index.ts";
import { bytes, sha256, until, webServer, wispRelay } from "../servers.ts";

const root = dirname(dirname(dirname(dirname(fileURLToPath(import.meta.url)))));
const dist = process.env.DIST ?? join(root, "dist");
const guest = process.env.GUEST ?? join(root, "target/guests/debian-virtio-6.1");
const MIB = 1 << 20;
const PROMPT = /\/ # $/;

before(() => {
  assert.ok(existsSync(join(guest, "vmlinuz")), `there is no guest in ${guest}: cargo xtask guest debian-virtio-6.1`);
});

/** A machine at its shell. */
class Shell {
  readonly machine: Machine;

  private constructor(machine: Machine) {
    this.machine = machine;
  }

  static async boot(context: TestContext, ...options: string[]): Promise<Shell> {
    const { createMachine } = (await import(pathToFileURL(join(dist, "node.mjs")).href)) as typeof Api;
    const images = ["-kernel", join(guest, "vmlinuz"), "-initrd", join(guest, "initrd.gz")];
    const machine = createMachine({ options: ["-m", "256", ...images, "-append", "console=ttyS0 quiet", ...options] });
    context.after(() => machine.close());
    await machine.start();
    await machine.waitFor(PROMPT, { timeout: 300_000 });
    const shell = new Shell(machine);
    await shell.run("ip link set lo up; ip link set eth0 up");
    return shell;
  }

  /** Types a command, and returns what it prints. */
  async run(command: string, seconds = 120): Promise<string> {
    // the echo of what is typed may be broken into lines
    await this.machine.type(`${command}; echo; echo =$?=\n`);
    const { before, text } = await this.machine.waitFor(/^=\d+=\n/m, { timeout: seconds * 1000 });
    await this.machine.waitFor(PROMPT, { timeout: seconds * 1000 });
    return before.slice(before.indexOf("\n") + 1) + text;
  }

  /** An address by DHCP, set by hand for want of a script. */
  async dhcp(): Promise<void> {
    const text = await this.run("udhcpc -i eth0 -n -q -t 10 -s /bin/true");
    assert.match(text, /lease of 10\.0\.2\.15 obtained from 10\.0\.2\.2, lease time 86400/);
    await this.run("ip addr add 10.0.2.15/24 dev eth0; ip route add default via 10.0.2.2");
    await this.run("echo nameserver 10.0.2.3 > /etc/resolv.conf");
  }
}

/** Channels to the outside that are open. */
async function channels(shell: Shell): Promise<number> {
  return (await shell.machine.stats()).net_channels;
}

test("Node's sockets: DHCP, echoes, names, 100 MiB, 100 at once, connections to the guest", async (t) => {
  const server = await webServer({ together: 100 });
  t.after(server.close);
  const probe = await webServer();
  probe.close();
  const shell = await Shell.boot(t, "-nic", `user,hostfwd=tcp:127.0.0.1:${probe.port}-:8080`);
  await shell.dhcp();
  assert.match(await shell.run("ping -c1 10.0.2.2"), /1 packets received/);
  assert.match(await shell.run("nslookup localhost"), /Address: 127\.0\.0\.1/);
  assert.match(await shell.run("nslookup no-such-name.invalid"), /NXDOMAIN/);
  const began = Date.now();
  const fetched = await shell.run(`wget -q -O - http://10.0.2.2:${server.port}/${100 * MIB}/1 | sha256sum`, 600);
  assert.ok(fetched.includes(sha256(bytes(100 * MIB, 1))), fetched);
  console.log(`100 MiB by Node's sockets, and their checksum: ${Date.now() - began} ms`);
  assert.match(await shell.run("wget -q -O - http://10.0.2.2:1/"), /Connection refused/);
  // as many at once, each with data of its own, and none is left
  const each = `(wget -q -O - http://10.0.2.2:${server.port}/all/100000/$n | sha256sum > /tmp/o/$n) &`;
  await shell.run(`mkdir /tmp/o; for n in $(seq 100); do ${each} done; wait`, 600);
  const sums = await shell.run("for n in $(seq 100); do cat /tmp/o/$n; done; rm -r /tmp/o");
  for (let n = 1; n <= 100; n++) assert.ok(sums.includes(sha256(bytes(100_000, n))), `connection ${n}`);
  await until("all connections are closed", () => server.sockets.size === 0);
  assert.equal(await channels(shell), 1, "the port that is forwarded is all that is left");
  // the other way
  await shell.run("mkdir -p /tmp/www; echo hello from the guest > /tmp/www/index.html; httpd -p 8080 -h /tmp/www");
  const response = await fetch(`http://127.0.0.1:${probe.port}/`);
  assert.equal(await response.text(), "hello from the guest\n");
  await shell.run("head -c 10000000 /dev/zero | tr '\\0' x > /tmp/www/ten");
  const ten = await (await fetch(`http://127.0.0.1:${probe.port}/ten`)).text();
  assert.ok(ten === "x".repeat(10_000_000), `${ten.length} bytes`);
  const socket = connect(probe.port, "127.0.0.1");
  socket.write("GET /none HTTP/1.0\r\n\r\n");
  assert.match(String((await once(socket, "data"))[0]), /404 Not Found/);
  socket.destroy();
});

test("a relay that speaks wisp, and sends faster than the guest takes", async (t) => {
  const relay = await wispRelay();
  t.after(relay.close);
  const server = await webServer();
  t.after(server.close);
  const shell = await Shell.boot(t, "-nic", `user,relay=${relay.url}`);
  await shell.dhcp();
  assert.match(await shell.run("nslookup relay.example"), /Address: 198\.18\.0\./);
  const began = Date.now();
  const fetched = await shell.run(`wget -q -O - http://10.0.2.2:${server.port}/${100 * MIB}/1 | sha256sum`, 600);
  assert.ok(fetched.includes(sha256(bytes(100 * MIB, 1))), fetched);
  console.log(`100 MiB by a relay in Node, and their checksum: ${Date.now() - began} ms`);
  // what the relay cannot reach is not there
  assert.match(await shell.run("wget -q -O - http://10.0.2.2:1/"), /reset|refused|error/i);
  assert.equal(await channels(shell), 1, "the relay's own");
});

test("two machines on one cable", async (t) => {
  const nic = (n: number) => ["-nic", `socket,mcast=239.83.7.2:47012,mac=52:54:00:00:00:0${n}`];
  const [one, two] = await Promise.all([Shell.boot(t, ...nic(1)), Shell.boot(t, ...nic(2))]);
  await one.run("ip addr add 192.168.9.1/24 dev eth0");
  await two.run("ip addr add 192.168.9.2/24 dev eth0");
  await two.run("{ (echo over the cable; seq 100000) | nc -l -p 5000; } & true");
  assert.match(await one.run("ping -c2 192.168.9.2"), /2 packets received/);
  const text = await one.run("nc -w 5 192.168.9.2 5000 | sha256sum");
  const sum = createHash("sha256");
  sum.update("over the cable\n");
  for (let n = 1; n <= 100_000; n++) sum.update(`${n}\n`);
  assert.ok(text.includes(sum.digest("hex")), text);
});
