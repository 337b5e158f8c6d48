// Runs a machine in the page, in a headless browser, with its serial console on standard input and output:
// `node tools/browser-run.mjs JOB` (see ../src/node/job.ts). DIST is the site to serve.
import { statSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { readJob } from "../src/node/job.ts";
import { serve } from "../src/node/serve.ts";
import { Cli } from "../src/node/terminal.ts";
import { launch } from "./browsers.mjs";

const web = dirname(dirname(fileURLToPath(import.meta.url)));

/** What `-drive` calls its file; two commas are one of its name. @type {(value: string) => string | undefined} */
function driveFile(value) {
  const file = /(?:^|,)file=((?:[^,]|,,)*)/.exec(value)?.[1];
  return file?.replaceAll(",,", ",");
}

/** Whether an option, which may be any text, names a file. @type {(option: string) => boolean} */
function isFile(option) {
  try {
    return option !== "" && statSync(option).isFile();
  } catch {
    return false; // no such file, or a text too long for a name
  }
}

/** @type {(argument: string | undefined) => Promise<number>} */
async function main(argument) {
  const { host = "chromium", screenshot, stats, base: _base, engine, page: address, ...job } = readJob(argument);
  if (host === "node") throw new Error("a job for Node: run dist/node-cli.mjs");

  // what the options name and this machine has, the page gets from here
  /** @type {Record<string, string>} */
  const served = {};
  /** @type {Record<string, string>} */
  const files = {};
  job.options.forEach((option, i) => {
    // a drive's file is served with its neighbours, which may be what it is backed by
    const drive = driveFile(option);
    if (job.options[i - 1] === "-drive" && drive !== undefined && isFile(drive)) {
      files[drive] = `/host/${i}/${encodeURIComponent(basename(drive))}`;
      served[`/host/${i}/`] = dirname(resolve(drive));
      return;
    }
    if (!isFile(option)) return;
    files[option] = `/host/${i}/${encodeURIComponent(basename(option))}`;
    served[files[option]] = resolve(option);
  });
  if (engine !== undefined) served["/engine.wasm"] = resolve(engine);
  const server = await serve(process.env.DIST ?? join(web, "../dist"), 0, served);
  const browser = await launch(host, { network: false });
  try {
    const page = await browser.newPage();
    // a picture at the end shows no half of a transition; Firefox cannot be told
    if (host === "chromium") await page.emulateMediaFeatures([{ name: "prefers-reduced-motion", value: "reduce" }]);
    /** @type {Promise<number>} */
    const ended = new Promise((done) => {
      const cli = new Cli(
        { ...job, ...(stats === undefined ? {} : { stats }) },
        host,
        // bytes, which need not end where a character does
        (data) => page.evaluate((bytes) => window.pagevm?.machine?.type(Uint8Array.from(bytes)), [...data]),
        done,
      );
      const failed = (/** @type {string} */ message) => cli.end({ ok: false, reason: "engine", message });
      void page.exposeFunction("pagevmEvent", (/** @type {string} */ text, /** @type {string} */ base64) => {
        const event = JSON.parse(text);
        if (event.type === "output") event.data = Buffer.from(base64, "base64");
        cli.event(event);
      });
      page.on("pageerror", (error) => failed(`the page failed: ${error instanceof Error ? error.message : error}`));
      page.on("error", (error) => failed(`the page crashed: ${error.message}`));
      browser.on("disconnected", () => failed(`${host} ended`));
      page
        .evaluateOnNewDocument(
          (config) => {
            window.pagevm = {
              ...config,
              onEvent(event) {
                const tell = /** @type {any} */ (window).pagevmEvent;
                if (event.type !== "output") tell(JSON.stringify(event), "");
                else
                  tell('{"type":"output"}', btoa(Array.from(event.data, (byte) => String.fromCharCode(byte)).join("")));
              },
            };
          },
          // whoever is at standard input and output answers the guest
          {
            ...job,
            readOnly: true,
            options: undefined,
            ...(address === undefined ? { arguments: job.options, files } : {}),
          },
        )
        .then(() => page.goto(address ?? server.url))
        .catch((error) => failed(`the page does not load: ${error.message}`));
    });
    const status = await ended;
    if (screenshot !== undefined) await page.screenshot({ path: /** @type {`${string}.png`} */ (screenshot) });
    return status;
  } finally {
    await browser.close().catch(() => {});
    server.close();
  }
}

try {
  process.exit(await main(process.argv[2]));
} catch (error) {
  process.stderr.write(`pagevm: ${error instanceof Error ? error.message : error}\n`);
  process.exit(2);
}
