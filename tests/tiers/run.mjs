// node run.mjs MODULE [--part ops|insns] [--seed N] [--count N] [--unlinked]: runs the tests in this Node.
import { readFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { CodeHost } from "../../web/src/host/code.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    part: { type: "string" },
    seed: { type: "string" },
    count: { type: "string" },
    unlinked: { type: "boolean" },
  },
});
const bytes = await readFile(positionals[0]);
const parts = ["ops", "insns"].filter((name) => !values.part || values.part === name);
const seed = BigInt(values.seed ?? Date.now());
let failures = 0;
for (const support of values.unlinked ? ["unlinked"] : ["linked", "unlinked"]) {
  for (const part of parts) {
    const code = new CodeHost({ support });
    let memory;
    const say = (ptr, len) => console.log(new TextDecoder().decode(new Uint8Array(memory.buffer, ptr, len)));
    const { instance } = await WebAssembly.instantiate(bytes, {
      pagevm: code.imports,
      tiers: { say, now: () => performance.now() },
    });
    memory = instance.exports.memory;
    code.attach(instance.exports);
    const count = Number(values.count ?? (part === "ops" ? 2000 : 400));
    console.log(`${part}, ${support}, seed ${seed}, ${count} cases`);
    failures += instance.exports.run(part === "ops" ? 0 : 1, seed, count);
  }
}
process.exit(failures > 0 ? 1 : 0);
