// A tab with the page and a Linux guest in it. DIST is the site (../dist); GUEST a guest with the drivers of virtio disks,
// networks and 9p, as `cargo xtask guest debian-9p-6.1` makes it; BROWSER is chromium (the default) or firefox; ARTEFACTS gets
// screenshots.

import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync, mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { after, afterEach, before, type TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import type { Browser, Page } from "puppeteer-core";
import { type Server, serve } from "../../src/node/serve.ts";
import { launch } from "../../tools/browsers.mjs";

const root = dirname(dirname(dirname(dirname(fileURLToPath(import.meta.url)))));
const guest = process.env.GUEST ?? join(root, "target/guests/debian-9p-6.1");
const PROMPT = / # $/;
/** For whatever a test waits for, on a machine many times slower than ours: it costs time only when a test fails. Seconds. */
const LIMIT = 300;
/** Characters of a guest's output that a test that fails shows. */
const SHOWN = 4000;

/** The browser that runs the tests. */
export const host = process.env.BROWSER === "firefox" ? "firefox" : "chromium";
/** What only Chromium lets a test do: its protocol sets quotas, its workers run scripts, its profile outlives a kill. */
export const chromium = host === "chromium";

/** The site, with the guest's files and these in it, by address. */
export function site(files: Record<string, string>, port = 0): Promise<Server> {
  assert.ok(existsSync(join(guest, "vmlinuz")), `there is no guest in ${guest}: cargo xtask guest debian-9p-6.1`);
  files["/manifest.json"] = "/nonexistent"; // `xtask demo` leaves one in the site
  for (const name of ["vmlinuz", "initrd.gz"]) files[`/${name}`] = join(guest, name);
  return serve(process.env.DIST ?? join(root, "dist"), port, files);
}

/** Kills a browser as a power cut does; resolves when it is gone, and its profile free. */
export async function kill(browser: Browser): Promise<void> {
  const child = browser.process();
  assert.ok(child, "the browser is ours");
  const gone = once(child, "exit");
  child.kill("SIGKILL");
  await gone;
}

/** The site and the browser, for the tests of a file. */
interface Setting {
  server: Server;
  browser: Browser;
}

/** Has them there before the file's tests, and ends them afterwards. */
export function setting(): Setting {
  const there = {} as Setting;
  before(async () => {
    there.server = await site({});
    there.browser = await launch(host);
  });
  after(async () => {
    await there.browser.close();
    there.server.close();
  });
  return there;
}

/** Tabs of the test that runs now. */
const open = new Set<Tab>();

// what a test that fails had open tells why; the next one does not find it running
afterEach(async (context) => {
  for (const tab of open) {
    if (!(context as TestContext).passed) console.log(await tab.report());
    await tab.page.close().catch(() => {}); // its browser may be gone
  }
  open.clear();
});

interface Other {
  prepare?: () => void;
  kernel?: string;
}

export class Tab {
  readonly page: Page;
  /** What the page itself had to complain of. */
  readonly errors: unknown[] = [];
  /** Messages of the machine's log. */
  readonly log: string[] = [];
  /** What was typed last, and the end of what the guest wrote. */
  #typed = "";
  #written = "";

  constructor(page: Page) {
    this.page = page;
    open.add(this);
    page.setDefaultTimeout(LIMIT * 1000);
    page.setDefaultNavigationTimeout(LIMIT * 1000);
    // Firefox reports a WebSocket that cannot connect as an error of the page, handled or not
    const own = (error: unknown) => /^Firefox can.t establish a connection/.test((error as Error).message);
    page.on("pageerror", (error) => (chromium || !own(error) ? this.errors.push(error) : undefined));
    page.on("console", (message) => {
      if (message.text().startsWith("pagevm: ")) this.log.push(message.text().slice("pagevm: ".length));
    });
  }

  /** Opens the page with these options; `prepare` runs before the page's own code, `kernel` is another one than Linux. */
  static async open(browser: Browser, url: string, options: string[], other: Other = {}): Promise<Tab> {
    const page = await browser.newPage();
    const tab = new Tab(page);
    // a button that still moves is not where the click goes; Firefox cannot be told
    if (chromium) await page.emulateMediaFeatures([{ name: "prefers-reduced-motion", value: "reduce" }]);
    // or the terminal's answers to the shell come behind what is typed here, and are echoed into what it prints
    await page.evaluateOnNewDocument(() => {
      window.pagevm = { readOnly: true };
    });
    if (other.prepare) await page.evaluateOnNewDocument(other.prepare);
    // the kernel is not to write between the lines of an answer
    const linux = ["-m", "192", "-kernel", "vmlinuz", "-initrd", "initrd.gz", "-append", "console=ttyS0 loglevel=1"];
    const machine = other.kernel === undefined ? linux : ["-m", "64", "-kernel", other.kernel];
    await page.goto(`${url}?args=${encodeURIComponent(JSON.stringify([...machine, ...options]))}`);
    return tab;
  }

  /** The same, at the guest's shell. */
  static async boot(browser: Browser, url: string, options: string[]): Promise<Tab> {
    const tab = await Tab.open(browser, url, options);
    await tab.prompt();
    return tab;
  }

  /** Waits for the guest's shell. */
  async prompt(): Promise<void> {
    const state = await this.until("running");
    assert.equal(state, "running", await this.message());
    await this.waitFor(PROMPT);
  }

  /** Types a command, and returns what it prints and its status, as `=0=`. */
  async run(command: string): Promise<string> {
    await this.type(`echo; echo ":"; ${command}; s=$?; echo; echo "=$s="\n`);
    const text = await this.waitFor(/^:\n[\s\S]*^=\d+=\n/m);
    await this.waitFor(PROMPT);
    return text.slice(text.search(/^:\n/m) + 2);
  }

  async type(text: string): Promise<void> {
    this.#typed = text;
    await this.page.evaluate((text) => window.pagevm?.machine?.type(text), text);
  }

  /** Waits until the guest has written what matches; returns that and what was before it. */
  async waitFor(pattern: RegExp, seconds = LIMIT): Promise<string> {
    const wait = async (source: string, flags: string, timeout: number) => {
      const machine = window.pagevm?.machine;
      if (!machine) throw new Error("the page has no machine");
      const match = await machine.waitFor(new RegExp(source, flags), { timeout });
      return match.before + match.text;
    };
    const text = await this.page.evaluate(wait, pattern.source, pattern.flags, seconds * 1000);
    this.#written = (this.#written + text).slice(-SHOWN);
    return text;
  }

  /** An address by DHCP, set by hand for want of a script. */
  async dhcp(): Promise<void> {
    const text = await this.run("ip link set eth0 up; udhcpc -i eth0 -n -q -t 10 -s /bin/true");
    assert.match(text, /lease of 10\.0\.2\.15 obtained from 10\.0\.2\.2/);
    await this.run("ip addr add 10.0.2.15/24 dev eth0; ip route add default via 10.0.2.2");
    await this.run("echo nameserver 10.0.2.3 > /etc/resolv.conf");
  }

  /** Waits until the page shows one of these states, or that the machine has failed. */
  async until(...states: string[]): Promise<string> {
    const there = (states: string[]) => states.includes(document.body.dataset.state ?? "");
    // a tab that is not seen has no frames to look at
    await this.page.waitForFunction(there, { polling: 100 }, [...states, "failed"]);
    return this.page.evaluate(() => document.body.dataset.state ?? "");
  }

  /** What the page says about the machine's state. */
  message(): Promise<string> {
    return this.page.evaluate(() => document.getElementById("message")?.textContent ?? "");
  }

  /** Waits for a message of the machine's log. */
  async logged(pattern: RegExp): Promise<string> {
    const end = Date.now() + LIMIT * 1000;
    for (;;) {
      const found = this.log.find((text) => pattern.test(text));
      if (found !== undefined) return found;
      assert.ok(Date.now() < end, `no message like ${pattern}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  async screenshot(name: string): Promise<void> {
    if (!process.env.ARTEFACTS) return;
    mkdirSync(process.env.ARTEFACTS, { recursive: true });
    await this.page.screenshot({ path: join(process.env.ARTEFACTS, `page-${name}-${host}.png`) as `${string}.png` });
  }

  async close(): Promise<void> {
    await this.page.close();
    assert.deepEqual(this.errors, []);
    open.delete(this);
  }

  /** What a test that fails leaves to look at. */
  async report(): Promise<string> {
    await atMost(10, this.waitFor(/[\s\S]+/, 1)); // what nobody has waited for
    const state = await atMost(
      10,
      this.page.evaluate(() => document.body.dataset.state),
    );
    const message = await atMost(10, this.message());
    const parts = [
      `--- ${this.page.url()}: ${state ?? "no answer from the page"} ${message ?? ""}`,
      ...this.log.slice(-20).map((text) => `--- log: ${text}`),
      ...this.errors.map((error) => `--- error of the page: ${error}`),
      `--- typed last: ${JSON.stringify(this.#typed)}`,
      `--- the guest wrote, last:\n${this.#written}`,
    ];
    return parts.join("\n");
  }
}

/** What `promise` comes to; nothing if it fails, or takes longer than these seconds. */
function atMost<T>(seconds: number, promise: Promise<T>): Promise<T | undefined> {
  const late = new Promise<undefined>((resolve) => {
    setTimeout(resolve, seconds * 1000, undefined);
  });
  return Promise.race([promise.catch(() => undefined), late]);
}
