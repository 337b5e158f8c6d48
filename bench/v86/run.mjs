// `node run.mjs JOB`: a guest in v86, its serial console on standard input and output. JOB is JSON, as the tools of `web/`
// take it: `options` (-m, -kernel, -initrd, -append), and where given `until`, `timeout` (seconds) and `stats` (a file).
// BIOS is the directory of Debian's SeaBIOS.

import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { V86 } from "v86";

const job = JSON.parse(process.argv[2]);
const bios = process.env.BIOS ?? "/usr/share/seabios";

/** @type {(name: string) => string} */
function option(name) {
  const at = job.options.indexOf(name);
  if (at < 0) throw new Error(`the job's options have no ${name}`);
  return job.options[at + 1];
}

const started = performance.now();
const vm = new V86({
  wasm_path: fileURLToPath(import.meta.resolve("v86")).replace(/libv86\.mjs$/, "v86.wasm"),
  memory_size: Number(option("-m")) << 20,
  vga_memory_size: 2 << 20,
  bios: { url: `${bios}/bios.bin` },
  vga_bios: { url: `${bios}/vgabios-stdvga.bin` },
  bzimage: { url: option("-kernel") },
  initrd: { url: option("-initrd") },
  cmdline: option("-append"),
  acpi: true,
  autostart: true,
});

let text = "";
let line = [];
vm.add_listener("serial0-output-byte", (/** @type {number} */ byte) => {
  line.push(byte);
  // by lines, and the ends of prompts: a write for each byte would be slow
  if (byte === 0x0a || byte === 0x20) flush();
});

function flush() {
  const bytes = Buffer.from(line);
  line = [];
  process.stdout.write(bytes);
  text = (text + bytes.toString("latin1").replaceAll("\r", "")).slice(-4096);
  if (job.until !== undefined && text.includes(job.until)) end(0);
}

/** @type {(status: number) => void} */
function end(status) {
  const now = performance.now() - started;
  if (job.stats !== undefined) writeFileSync(job.stats, JSON.stringify({ host: "v86", until_ms: now, wall_ms: now }));
  process.stdout.write("", () => process.exit(status));
}

process.stdin.on("data", (typed) => vm.serial0_send(typed.toString("latin1")));
process.on("SIGTERM", () => process.exit(1));
if (job.timeout !== undefined) setTimeout(() => end(1), job.timeout * 1000);
