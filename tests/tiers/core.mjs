// The test module and what it gets of its host, in Node or in a page.
import { CodeHost } from "../../web/src/host/code.ts";

/** What `run` of the module has, by number. */
export const PARTS = ["ops", "insns", "speed", "programs", "asm", "life", "rust"];

/**
 * Runs `parts` of the module `bytes`; the number of failures.
 * @param {BufferSource} bytes
 * @param {{ parts: string[], seed: string, count: number | undefined, supports: ("linked" | "unlinked")[] }} options
 * @param {(line: string) => void} log
 */
export async function run(bytes, { parts, seed, count, supports }, log) {
  let failures = 0;
  const module = await WebAssembly.compile(bytes);
  for (const support of supports) {
    for (const part of parts) {
      // It has many modules and little code, and asks how much is translated where regions are linked.
      if (part === "life" && support === "unlinked") continue;
      const code = new CodeHost({ support });
      /** @type {any} */
      let exports = {};
      const say = (/** @type {number} */ ptr, /** @type {number} */ len) =>
        log(new TextDecoder().decode(new Uint8Array(exports.memory.buffer, ptr, len)));
      const instance = await WebAssembly.instantiate(module, {
        pagevm: code.imports,
        tiers: { say, now: () => performance.now() },
      });
      exports = instance.exports;
      code.attach(instance.exports);
      const cases = count ?? (part === "ops" ? 8000 : 1200);
      log(`${part}, ${support}, seed ${seed}, ${cases} cases`);
      failures += exports.run(PARTS.indexOf(part), BigInt(seed), cases);
    }
  }
  return failures;
}
