// Two pages of one origin on one cable.

import assert from "node:assert/strict";
import { test } from "node:test";
import { sha256 } from "../servers.ts";
import { setting, Tab } from "./tab.ts";

const site = setting();

test("two tabs on one LAN; a third, which did not ask for it, hears nothing", async () => {
  const nic = (group: string, n: number) => ["-nic", `socket,mcast=${group}:4711,mac=52:54:00:00:00:0${n}`];
  const [one, two] = await Promise.all([
    Tab.boot(site.browser, site.server.url, nic("230.0.0.1", 1)),
    Tab.boot(site.browser, site.server.url, nic("230.0.0.1", 2)),
  ]);
  const heard = await one.page.evaluateHandle(() => {
    const heard: unknown[] = [];
    new BroadcastChannel("pagevm-lan-230.0.0.2:4711").onmessage = ({ data }) => heard.push(data);
    return heard;
  });
  await one.run("ip link set eth0 up; ip addr add 192.168.9.1/24 dev eth0");
  await two.run("ip link set eth0 up; ip addr add 192.168.9.2/24 dev eth0");
  // a tab that gets no time for three seconds is not found
  const ping = "for n in $(seq 20); do ping -c 3 -W 60 192.168.9.2 && break; done";
  assert.match(await one.run(ping), /3 packets received/);
  assert.match(await two.run("ping -c 1 -W 2 192.168.9.9"), /0 packets received/);
  const www = "mkdir /tmp/www; seq 300000 > /tmp/www/file; httpd -p 80 -h /tmp/www";
  assert.match(await two.run(www), /^=0=/m);
  const text = Array.from({ length: 300_000 }, (_, n) => `${n + 1}\n`).join("");
  const fetched = await one.run("wget -q -O - http://192.168.9.2/file | sha256sum");
  assert.equal(fetched.slice(0, 64), sha256(Buffer.from(text)));
  assert.deepEqual(await heard.jsonValue(), []);
  await one.screenshot("lan");
  await one.close();
  await two.close();
});
