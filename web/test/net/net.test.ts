// A guest's network in Node, with Linux's own drivers and busybox's own clients: the built engine, real servers, a real relay.
// GUEST is a guest with virtio drivers, as `cargo xtask guest debian-virtio-6.1` makes it.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { createServer } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { dirname, join } from "node:path";
import { before, type TestContext, test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import type * as Api from "../../src/node/index.ts";
import type { Machine } from "../../src/node/index.ts";

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
  readonly #machine: Machine;

  private constructor(machine: Machine) {
    this.#machine = machine;
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
    await this.#machine.type(`${command}; echo; echo =$?=\n`);
    const { before, text } = await this.#machine.waitFor(/^=\d+=\n/m, { timeout: seconds * 1000 });
    await this.#machine.waitFor(PROMPT, { timeout: seconds * 1000 });
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

/** A server of `length` bytes, and their checksum. */
async function serve(length: number): Promise<{ port: number; sum: string; close: () => void }> {
  const body = Buffer.alloc(length);
  for (let at = 0; at < length; at += 4) body.writeUInt32LE(Math.imul(at, 2654435761) >>> 0, at);
  const server = createServer((_, response) => {
    response.writeHead(200, { "content-length": length });
    response.end(body);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const close = () => {
    server.closeAllConnections();
    server.close();
  };
  return { port: (server.address() as AddressInfo).port, sum: createHash("sha256").update(body).digest("hex"), close };
}

test("Node's sockets: DHCP, echoes, names, 100 MiB, connections to the guest", async (t) => {
  const server = await serve(100 * MIB);
  t.after(server.close);
  const probe = await serve(0);
  probe.close();
  const shell = await Shell.boot(t, "-nic", `user,hostfwd=tcp:127.0.0.1:${probe.port}-:8080`);
  await shell.dhcp();
  assert.match(await shell.run("ping -c1 10.0.2.2"), /1 packets received/);
  assert.match(await shell.run("nslookup localhost"), /Address: 127\.0\.0\.1/);
  assert.match(await shell.run("nslookup no-such-name.invalid"), /NXDOMAIN/);
  const began = Date.now();
  const fetched = await shell.run(`wget -q -O - http://10.0.2.2:${server.port}/ | sha256sum`, 600);
  assert.ok(fetched.includes(server.sum), fetched);
  console.log(`100 MiB and their checksum: ${Date.now() - began} ms`);
  assert.match(await shell.run("wget -q -O - http://10.0.2.2:1/"), /Connection refused/);
  // many at once, and none is left
  const many = `for n in $(seq 20); do wget -q -O - http://10.0.2.2:${server.port}/ | head -c 1000000 | wc -c & done; wait`;
  assert.equal((await shell.run(many, 600)).match(/^1000000$/gm)?.length, 20);
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

test("a relay that speaks wisp", async (t) => {
  // @ts-expect-error it has no types
  const { server: wisp, logging } = await import("@mercuryworkshop/wisp-js/server");
  logging.set_level(logging.NONE);
  wisp.options.allow_loopback_ips = true;
  wisp.options.allow_private_ips = true;
  const relay = createServer();
  relay.on("upgrade", (request, socket, head) => wisp.routeRequest(request, socket, head));
  relay.listen(0, "127.0.0.1");
  await once(relay, "listening");
  const server = await serve(20 * MIB);
  t.after(server.close);
  const shell = await Shell.boot(t, "-nic", `user,relay=ws://127.0.0.1:${(relay.address() as AddressInfo).port}/`);
  await shell.dhcp();
  const byName = await shell.run(
    `wget -q -O - http://localhost.localdomain:${server.port}/ | wc -c; nslookup relay.example`,
  );
  assert.match(byName, /Address: 198\.18\.0\./);
  const fetched = await shell.run(`wget -q -O - http://10.0.2.2:${server.port}/ | sha256sum`, 600);
  assert.ok(fetched.includes(server.sum), fetched);
  // what the relay cannot reach is not there
  assert.match(await shell.run("wget -q -O - http://10.0.2.2:1/"), /reset|refused|error/i);
  t.after(() => {
    relay.closeAllConnections();
    relay.close();
  });
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
