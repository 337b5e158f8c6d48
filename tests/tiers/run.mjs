// node run.mjs MODULE [--host node|chromium|firefox] [--part ops,insns,speed,programs,asm,life,rust] [--seed N] [--count N] [--support linked,unlinked]
import { readFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { PARTS, run } from "./core.mjs";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    host: { type: "string", default: "node" },
    part: { type: "string", default: "ops,insns,programs,asm,life,rust" },
    seed: { type: "string", default: String(Date.now()) },
    count: { type: "string" },
    support: { type: "string", default: "linked,unlinked" },
  },
});
const bytes = await readFile(positionals[0] ?? "");

/** The names in `list`, of which there are `known`. */
function names(/** @type {string} */ list, /** @type {string[]} */ known) {
  const given = list.split(",");
  const wrong = given.find((name) => !known.includes(name));
  if (wrong !== undefined) throw new Error(`${wrong}: expected some of ${known.join(",")}`);
  return known.filter((name) => given.includes(name));
}

const options = {
  parts: names(values.part, PARTS),
  seed: values.seed,
  count: values.count === undefined ? undefined : Number(values.count),
  supports: names(values.support, ["linked", "unlinked"]),
};

/** The same in a page without content. */
async function inBrowser() {
  const { launch } = await import("../../web/tools/browsers.mjs");
  const { build } = await import("../../web/node_modules/esbuild/lib/main.js");
  const entryPoints = [new URL("core.mjs", import.meta.url).pathname];
  const bundle = await build({ entryPoints, bundle: true, write: false, format: "iife", globalName: "tiers" });
  const browser = await launch(values.host);
  try {
    const page = await browser.newPage();
    page.on("console", (message) => console.log(message.text()));
    await page.addScriptTag({ content: bundle.outputFiles[0].text });
    return await page.evaluate(
      (base64, options) => tiers.run(Uint8Array.from(atob(base64), (c) => c.charCodeAt(0)), options, console.log),
      bytes.toString("base64"),
      options,
    );
  } finally {
    await browser.close();
  }
}

const failures = values.host === "node" ? await run(bytes, options, console.log) : await inBrowser();
process.exitCode = failures > 0 ? 1 : 0;
