// The system's own browsers, headless. CHROMIUM and FIREFOX name others.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import puppeteer from "puppeteer-core";

const CHROMIUM_FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** @type {(name: string, candidates: string[]) => string} */
function program(name, candidates) {
  const found = candidates.find((path) => path && existsSync(path));
  if (!found) throw new Error(`${name} is not installed (looked for ${candidates.filter(Boolean).join(", ")})`);
  return found;
}

/**
 * Starts a browser that ends with this process, however that ends.
 * @param {"chromium" | "firefox"} host
 * @param {{ flags?: string[], profile?: string, network?: boolean }} [more] flags for Chromium; a directory for what the browser keeps,
 *   which stays; whether pages tell of their requests, which takes a page that reads a disk by HTTP up to an eighth of its time
 * @returns {Promise<import("puppeteer-core").Browser>}
 */
export async function launch(host, { flags = [], profile, network = true } = {}) {
  // a guest may take its time; who waits for it has a limit of its own
  const common = {
    headless: true,
    defaultViewport: { width: 1100, height: 720 },
    protocolTimeout: 600_000,
    timeout: 300_000, // of a machine that is busy
    networkEnabled: network,
    ...(profile === undefined ? {} : { userDataDir: profile }),
  };
  const browser =
    host === "firefox"
      ? await puppeteer.launch({
          ...common,
          browser: "firefox",
          executablePath: program(host, [process.env.FIREFOX ?? "", "/usr/bin/firefox-esr", "/usr/bin/firefox"]),
        })
      : await puppeteer.launch({
          ...common,
          browser: "chrome",
          executablePath: program(host, [process.env.CHROMIUM ?? "", "/usr/bin/chromium", "/usr/bin/google-chrome"]),
          args: [...CHROMIUM_FLAGS, ...flags],
        });
  const pid = browser.process()?.pid;
  if (pid !== undefined) {
    // the shell's `read` returns when our end of the pipe closes
    const stdio = /** @type {const} */ (["pipe", "ignore", "ignore"]);
    const watch = spawn("/bin/sh", ["-c", `read -r _; kill ${pid} 2>/dev/null`], { stdio: [...stdio], detached: true });
    watch.unref();
    /** @type {import("node:net").Socket} */ (watch.stdin).unref();
  }
  return browser;
}
