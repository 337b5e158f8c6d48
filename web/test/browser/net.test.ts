// A guest's network in a page: Linux's own driver and busybox's clients, HTTP by fetch, all else by a relay.

import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { test } from "node:test";
import { bytes, sha256, until, webServer, wispRelay } from "../servers.ts";
import { host, setting, Tab } from "./tab.ts";

const MIB = 1 << 20;
const site = setting();

/** Channels to the outside that are open, and all of the engine's memory. */
const figures = (tab: Tab) =>
  tab.page.evaluate(async () => {
    const stats = await window.pagevm?.machine?.stats();
    return { channels: stats?.net_channels, memory: stats?.memory_bytes ?? 0 };
  });

test("HTTP by fetch: what CORS allows, and a clear answer to everything else", async (t) => {
  const [open, closed] = [await webServer({ cors: true }), await webServer()];
  t.after(open.close);
  t.after(closed.close);
  const tab = await Tab.boot(site.browser, site.server.url, ["-nic", "user,proxy=http"]);
  await tab.dhcp();
  const began = Date.now();
  const sum = await tab.run(`wget -q -O - http://10.0.2.2:${open.port}/${20 * MIB}/1 | sha256sum`);
  console.log(`20 MiB by fetch in ${host}: ${Date.now() - began} ms`);
  assert.equal(sum.slice(0, 64), sha256(bytes(20 * MIB, 1)));
  const posted = await tab.run(`wget -q -O - --post-data 'a=1&b=2' http://10.0.2.2:${open.port}/`);
  assert.equal(posted, "a=1&b=2\n=0=\n");
  assert.ok(open.asked.includes("POST /"), "what a page may ask is asked as it is");
  // what the other server does not allow, and what is not there at all, are told apart: to the guest, and in the page
  const request = (port: number) => tab.run(`printf 'GET /1000/3 HTTP/1.0\\r\\n\\r\\n' | nc 10.0.2.2 ${port}`);
  const forbidden =
    /could not be fetched: the server answers, but does not allow pages of http:\S+ to read it \(CORS\)/;
  assert.match(await request(closed.port), forbidden);
  await tab.logged(forbidden);
  const down = /http:\/\/localhost:1\/1000\/3 could not be fetched: the server cannot be reached/;
  assert.match(await request(1), down);
  await tab.logged(down);
  // names are resolved when they are used; what is not HTTP is refused at once, and the page says what would do
  assert.match(await tab.run("nslookup example.org"), /Address: 198\.18\.0\.1/);
  assert.match(await tab.run("nc -w 100 1.2.3.4 22"), /Connection refused/);
  await tab.logged(/connection to 1\.2\.3\.4:22 is refused.*name a relay/);
  await until("all channels are closed", async () => (await figures(tab)).channels === 0);
  await tab.screenshot("fetch");
  await tab.close();
});

test("all by a relay: 100 MiB, 100 connections at once, datagrams, names; a relay that goes away", async (t) => {
  const web = await webServer({ together: 100 });
  t.after(web.close);
  let relay = await wispRelay();
  t.after(() => relay.close());
  const tftp = createSocket("udp4");
  // TFTP (RFC 1350): the answer to a request is the first and last block
  tftp.on("message", (data, from) => data[1] === 1 && tftp.send("\0\x03\0\x01by UDP\n", from.port, from.address));
  tftp.bind(0, "127.0.0.1");
  await once(tftp, "listening");
  t.after(() => tftp.close());
  const tab = await Tab.boot(site.browser, site.server.url, ["-nic", `user,relay=${relay.url}`]);
  await tab.dhcp();
  const began = Date.now();
  const sum = await tab.run(`wget -q -O - http://10.0.2.2:${web.port}/${100 * MIB}/1 | sha256sum`);
  console.log(`100 MiB by a relay in ${host}: ${Date.now() - began} ms`);
  assert.equal(sum.slice(0, 64), sha256(bytes(100 * MIB, 1)));

  const expected = Array.from({ length: 100 }, (_, n) => `${sha256(bytes(100_000, n + 1))}  -`);
  const each = `(wget -q -O - http://10.0.2.2:${web.port}/all/100000/$n | sha256sum > /tmp/o/$n) &`;
  let first = 0;
  for (let round = 1; round <= 3; round++) {
    await tab.run(`mkdir -p /tmp/o; for n in $(seq 100); do ${each} done; wait`);
    const sums = await tab.run("for n in $(seq 100); do cat /tmp/o/$n; done; rm -r /tmp/o");
    assert.deepEqual(sums.split("\n").slice(0, 100), expected);
    await until("all connections are closed", () => web.sockets.size === 0);
    const { channels, memory } = await figures(tab);
    assert.equal(channels, 1, "the relay's channel is all that is left");
    // buffers of two hundred connections are more than this; code that is decoded and translated meanwhile is less
    first ||= memory;
    assert.ok(memory - first < 8 * MIB, `${memory - first} bytes are lost`);
  }

  const { port } = tftp.address();
  assert.match(await tab.run(`tftp -g -l /tmp/file -r file 10.0.2.2 ${port}; cat /tmp/file`), /^by UDP$/m);
  const address = "a=$(nslookup relayed.example | sed -n 's/^Address: //p')";
  assert.match(await tab.run(`${address}; wget -q -O - http://$a:${web.port}/16/1 | wc -c`), /^16$/m);
  assert.match(await tab.run("wget -O - http://10.0.2.2:1/"), /reset by peer|refused/i);

  // in the middle of a response the relay goes away; then there is none; then it is back
  await tab.type(`wget -O - http://10.0.2.2:${web.port}/all/100000/7; echo; echo =$?=\n`);
  await until("the request is there", () => web.asked.at(-1) === "GET /all/100000/7");
  relay.close();
  assert.match(await tab.waitFor(/^=\d+=\n/m), /reset by peer/i);
  await tab.waitFor(/ # $/);
  await tab.logged(/^relay=ws:.*: the relay has closed the connection/);
  assert.match(await tab.run("wget -O - http://10.0.2.2:1/"), /reset by peer/i);
  await tab.logged(/^relay=ws:.*: the relay cannot be reached/);
  relay = await wispRelay(Number(new URL(relay.url).port));
  assert.match(await tab.run(`wget -q -O - http://10.0.2.2:${web.port}/1000/3 | wc -c`), /^1000$/m);
  await tab.screenshot("relay");
  await tab.close();
  await until("the page has left the relay", () => relay.clients.size === 0);
});
