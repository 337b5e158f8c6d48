// The page in a headless browser, with the real engine: what it shows, and that it stays usable whatever it is given.
// DIST is the site (../dist); BROWSER is chromium (the default) or firefox; ARTEFACTS gets screenshots.

import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, beforeEach, test } from "node:test";
import { fileURLToPath } from "node:url";
import type { Browser, Page } from "puppeteer-core";
import { Exit } from "../../src/abi.gen.ts";
import { serve } from "../../src/node/serve.ts";
import type { PageConfig } from "../../src/page/config.ts";
import { launch } from "../../tools/browsers.mjs";
import { ECHO, elf, HALT, POWER_OFF, print, TRIPLE_FAULT } from "../guests.ts";
import { tinyEngine } from "../tiny-engine.ts";
import { i32, TRAP } from "../wasm.ts";

const web = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const dist = process.env.DIST ?? join(web, "../dist");
const host = process.env.BROWSER === "firefox" ? "firefox" : "chromium";
const scratch = mkdtempSync(join(tmpdir(), "pagevm-page-"));

const files: Record<string, string> = {};
let server: Awaited<ReturnType<typeof serve>>;
let browser: Browser;

/** Serves `bytes` as `/NAME`. */
function give(name: string, bytes: Uint8Array | string): void {
  const path = join(scratch, name);
  writeFileSync(path, bytes);
  files[`/${name}`] = path;
}

before(async () => {
  server = await serve(dist, 0, files);
  browser = await launch(host);
});
after(async () => {
  await browser.close();
  server.close();
  rmSync(scratch, { recursive: true });
});
beforeEach(() => {
  for (const name of Object.keys(files)) delete files[name];
  files["/manifest.json"] = "/nonexistent"; // `xtask demo` leaves one in the site
  give("echo.elf", elf([...print("ready\r\n"), ...ECHO]));
});

interface Tab {
  page: Page;
  /** Resolves when the page shows that state; returns its message. */
  state(state: string): Promise<string>;
  /** Resolves when the terminal shows `text`. */
  shows(text: string): Promise<void>;
}

/** Opens the page at `query` or with `config`, does `act`, and checks that the page itself had no error. */
async function withPage(at: string | PageConfig, act: (tab: Tab) => Promise<void>, name = ""): Promise<void> {
  const page = await browser.newPage();
  const errors: unknown[] = [];
  page.on("pageerror", (error) => {
    // Firefox reports a worker that it does not load as an error of the page, handled or not
    if (!String(error).includes("Loading Worker")) errors.push(error);
  });
  try {
    // a button that still moves is not where the click goes; Firefox cannot be told
    if (host === "chromium") await page.emulateMediaFeatures([{ name: "prefers-reduced-motion", value: "reduce" }]);
    if (typeof at !== "string") {
      await page.evaluateOnNewDocument((config) => {
        window.pagevm = config;
      }, at as object);
    }
    await page.goto(server.url + (typeof at === "string" ? at : ""));
    await act({
      page,
      state: async (state) => {
        await page.waitForFunction((s) => document.body.dataset.state === s, { timeout: 120_000 }, state);
        return page.evaluate(() => document.getElementById("message")?.textContent ?? "");
      },
      shows: async (text) => {
        const seen = (t: string) => document.querySelector(".xterm-rows")?.textContent?.includes(t) ?? false;
        await page.waitForFunction(seen, { timeout: 120_000 }, text);
      },
    });
    if (process.env.ARTEFACTS && name) {
      mkdirSync(process.env.ARTEFACTS, { recursive: true });
      await page.screenshot({ path: join(process.env.ARTEFACTS, `page-${host}-${name}.png`) as `${string}.png` });
    }
    assert.deepEqual(errors, []);
  } finally {
    await page.close();
  }
}

test("a guest runs, answers the keyboard, pauses, resumes and resets; the main thread stays free", async () => {
  await withPage(
    "?m=64&kernel=echo.elf",
    async ({ page, state, shows }) => {
      await shows("ready");
      await page.keyboard.type("hello");
      await shows("hello");
      assert.equal(await page.evaluate(() => crossOriginIsolated), false);
      // the guest polls its port all the time: a turn of the page's event loop must not wait for it
      const longest = await page.evaluate(async () => {
        let longest = 0;
        for (let i = 0, last = performance.now(); i < 30; i++) {
          await new Promise((done) => setTimeout(done, 10));
          longest = Math.max(longest, performance.now() - last);
          last = performance.now();
        }
        return longest;
      });
      assert.ok(longest < 1000, `the page was blocked for ${longest} ms`);

      await page.click("#pause");
      await state("paused");
      await page.click("#terminal");
      await page.keyboard.type("later");
      await page.click("#pause");
      await state("running");
      await shows("hellolater");
      await page.click("#reset");
      await page.waitForFunction(
        () => (document.querySelector(".xterm-rows")?.textContent?.split("ready").length ?? 0) === 3,
      );
      await page.waitForFunction(() => /^\d+ MIPS$/.test(document.getElementById("mips")?.textContent ?? ""));
      assert.match(await page.$eval("#mips", (e) => (e as HTMLElement).title), /^\d+\.\d % as translated code$/);
    },
    "running",
  );
});

test("a guest that writes more than the terminal takes, as in a tab that is not seen", async () => {
  await withPage("?kernel=none.elf", async ({ page, state, shows }) => {
    await state("failed");
    await page.evaluate(() => {
      window.Worker = class {
        onmessage: ((message: { data: unknown }) => void) | undefined;
        constructor() {
          const line = new TextEncoder().encode(`${"x".repeat(62)}\r\n`);
          const piece = Uint8Array.from({ length: 1 << 20 }, (_, at) => line[at % line.length] ?? 0);
          setTimeout(() => {
            this.onmessage?.({ data: { type: "state", state: "running" } });
            for (let n = 0; n < 60; n++) this.onmessage?.({ data: { type: "output", data: piece } });
            this.onmessage?.({ data: { type: "output", data: new TextEncoder().encode("the end") } });
          });
        }
        postMessage() {}
        terminate() {}
      } as never;
    });
    await page.click("#restart");
    await shows("the end");
  });
});

for (const readOnly of [false, true]) {
  test(`a guest's question is answered by ${readOnly ? "nobody where the terminal only shows" : "the terminal"}`, async () => {
    await withPage({ arguments: ["-m", "64", "-kernel", "echo.elf"], readOnly }, async ({ page, shows }) => {
      await shows("ready");
      await page.evaluate(() => {
        const decoder = new TextDecoder();
        document.body.dataset.echoed = "";
        window.pagevm?.machine?.on("output", ({ data }) => {
          document.body.dataset.echoed += decoder.decode(data);
        });
      });
      const type = (text: string) => page.evaluate((text) => window.pagevm?.machine?.type(text), text);
      const echoed = async (text: string) => {
        const has = (text: string) => document.body.dataset.echoed?.includes(text) ?? false;
        await page.waitForFunction(has, { timeout: 120_000, polling: 100 }, text);
        return page.evaluate(() => document.body.dataset.echoed);
      };
      // DSR (ECMA-48, 8.3.35), and its answer; the guest echoes both
      await type("\x1b[5nasked");
      await shows("asked");
      if (!readOnly) await echoed("\x1b[0n");
      await page.click("#terminal");
      await page.keyboard.type("typed");
      await type("end");
      assert.equal(await echoed("end"), readOnly ? "\x1b[5naskedend" : "\x1b[5nasked\x1b[0ntypedend");
    });
  });
}

test("power-off is seen as such, and the machine can be switched on again", async () => {
  give("off.elf", elf([...print("bye\r\n"), ...POWER_OFF]));
  await withPage(
    "?m=64&kernel=off.elf",
    async ({ page, state }) => {
      await state("off");
      assert.equal(await page.$eval("#title", (e) => e.textContent), "Powered off");
      await page.click("#restart");
      await page.waitForFunction(
        () => (document.querySelector(".xterm-rows")?.textContent?.split("bye").length ?? 0) === 3,
      );
      await state("off");
    },
    "off",
  );
});

test("a triple fault shows registers and the last PCs, and reset starts again", async () => {
  give("fault.elf", elf([...print("so far"), ...TRIPLE_FAULT]));
  await withPage(
    "?m=64&kernel=fault.elf",
    async ({ page, state }) => {
      const report = await state("stopped");
      assert.match(report, /triple fault/i);
      assert.match(report, /rip/i);
      assert.match(report, /rsp/i);
      await page.click("#reset");
      await state("stopped");
    },
    "triple-fault",
  );
});

test("translated code runs", async () => {
  give("engine.wasm", tinyEngine(i32(Exit.PowerOff)));
  await withPage("?m=64&kernel=echo.elf", async ({ state }) => {
    await state("off");
  });
});

for (const [name, query, prepare, expected] of [
  ["not-a-kernel", "?m=64&kernel=bad", () => give("bad", "#!/bin/sh\necho no kernel\n"), /-kernel bad: not a kernel/],
  ["empty-kernel", "?m=64&kernel=bad", () => give("bad", ""), /-kernel bad: /],
  ["missing-kernel", "?m=64&kernel=none", () => {}, /kernel none: the server answers 404/],
  ["bad-initrd", "?m=64&kernel=echo.elf&initrd=i", () => give("i", Uint8Array.of(0x1f, 0x8b, 8)), /-initrd i: /],
  ["bad-option", '?args=["-kernal","x"]', () => {}, /`-kernal` is not supported; the nearest .* `-kernel`/],
  ["bad-parameter", "?kernal=x", () => {}, /parameter "kernal"/],
  ["no-engine", "?m=64&kernel=echo.elf", () => (files["/engine.wasm"] = "/nonexistent"), /engine\.wasm does not load/],
  [
    "html-for-engine",
    "?m=64&kernel=echo.elf",
    () => give("engine.wasm", "<!doctype html>"),
    /engine\.wasm does not load/,
  ],
  [
    "other-wasm",
    "?m=64&kernel=echo.elf",
    () => give("engine.wasm", Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0)),
    /engine\.wasm is not pagevm's engine/,
  ],
  [
    "trap-in-translated-code",
    "?m=64&kernel=echo.elf",
    () => give("engine.wasm", tinyEngine(TRAP)),
    /^the engine failed in run, which is a bug in pagevm: unreachable/,
  ],
  ["no-worker", "?m=64&kernel=echo.elf", () => (files["/worker.js"] = "/nonexistent"), /pagevm's worker failed: /],
  [
    "old-browser",
    "?m=64&kernel=echo.elf",
    () => give("worker.js", `WebAssembly.validate = () => false;\n${readFileSync(join(dist, "worker.js"), "utf8")}`),
    /this browser is too old for pagevm: it lacks WebAssembly sign extension/,
  ],
] as const) {
  test(`${name}: one clear message, and the page stays usable`, async () => {
    prepare();
    await withPage(
      query,
      async ({ page, state }) => {
        assert.match(await state("failed"), expected);
        assert.equal(await page.$eval("#title", (e) => e.textContent), "The machine cannot run");
        // what was wrong is put right, and the same page goes on
        for (const file of ["/bad", "/none", "/i", "/engine.wasm", "/worker.js"]) delete files[file];
        give("bad", elf([...print("better"), ...HALT]));
        give("none", elf([...print("better"), ...HALT]));
        if (/kernal|initrd/.test(query)) {
          await page.$eval("#options", (e) => (e as HTMLTextAreaElement).select());
          await page.keyboard.type("-m 64 -kernel echo.elf");
        }
        await page.click("#restart");
        await state("running");
      },
      name,
    );
  });
}

test("more RAM than the browser gives: one clear message", {
  skip: host !== "chromium" && "no such limit",
}, async () => {
  const whole = browser;
  browser = await launch(host, { flags: ["--js-flags=--wasm-max-mem-pages=16384"] }); // 1 GiB
  try {
    await withPage(
      "?m=2048&kernel=echo.elf",
      async ({ state }) => assert.match(await state("failed"), /no 2048 MiB of memory.*smaller -m/),
      "too-much-ram",
    );
    await withPage("?m=512&kernel=echo.elf", ({ shows }) => shows("ready"));
  } finally {
    await browser.close();
    browser = whole;
  }
});

test("a page whose terminal does not load says so, and loads it when it is tried again", async () => {
  const chunks = readdirSync(dist).filter((name) => /^chunk-\w+\.js$/.test(name));
  const [terminal = ""] = chunks.filter((name) => readFileSync(join(dist, name), "utf8").includes("xterm-rows"));
  files[`/${terminal}`] = "/nonexistent";
  await withPage("?m=64&kernel=echo.elf", async ({ page, state, shows }) => {
    assert.match(await state("failed"), /^the page's terminal does not load: /);
    delete files[`/${terminal}`];
    await page.click("#restart");
    await shows("ready");
  });
});

test("without a guest the page says so", async () => {
  await withPage("", async ({ state }) => {
    assert.match(await state("failed"), /No guest is set up here/);
  });
});

test("an embedding page's options and files are used, and a manifest where it gives none", async () => {
  await withPage({ arguments: ["-m", "64", "-kernel", "k"], files: { k: "/echo.elf" }, about: "echo" }, async (tab) => {
    await tab.shows("ready");
    assert.equal(await tab.page.$eval("#about", (e) => e.textContent), "echo");
  });
  give("manifest.json", JSON.stringify({ arguments: ["-m", "64", "-kernel", "echo.elf"] }));
  await withPage("", ({ shows }) => shows("ready"));
});
