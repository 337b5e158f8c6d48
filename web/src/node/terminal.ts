// The serial console on standard input and output, and the end of a run on the command line; for the Node host and for
// browsers driven from the command line alike.

import { writeFileSync } from "node:fs";
import type { ConsoleMode } from "../engine.ts";
import type { MachineEvent } from "../machine.ts";
import type { Job, Result, Stats } from "../protocol.ts";

/** What the command line's tools read, as JSON: from their argument, or from the file that it names. */
export interface CliJob extends Omit<Job, "engine" | "files" | "directories" | "origin"> {
  host?: "node" | "chromium" | "firefox";
  engine?: string;
  /** Gets the figures of the run as JSON. */
  stats?: string;
  /** Gets a picture of the page at the end (browsers only). */
  screenshot?: string;
  /** Address of the page to open, which has options of its own, instead of ours with `options` (browsers only). */
  page?: string;
}

/** Signals upon which Node ends without giving the terminal back, as it does upon others. */
const UNMINDED = ["SIGHUP", "SIGQUIT"] as const;

/** QEMU's escape key. */
const CTRL_A = 0x01;

export interface Keys {
  /** What is typed on the guest's console. */
  data: Uint8Array<ArrayBuffer>;
  quit: boolean;
}

/** Takes QEMU's escape sequences out of what is typed: Ctrl-A x ends the run, Ctrl-A Ctrl-A is Ctrl-A. */
export class EscapeKey {
  #escaped = false;

  filter(typed: Uint8Array): Keys {
    const data: number[] = [];
    for (const byte of typed) {
      if (!this.#escaped) {
        if (byte === CTRL_A) this.#escaped = true;
        else data.push(byte);
        continue;
      }
      this.#escaped = false;
      if (byte === 0x78) return { data: Uint8Array.from(data), quit: true };
      if (byte === CTRL_A) data.push(CTRL_A);
    }
    return { data: Uint8Array.from(data), quit: false };
  }
}

/** The figures of a run as `--stats` files have them: all times in milliseconds with two decimals, counts exact. */
export function figures(host: string, stats: Stats, result: Result): Record<string, unknown> {
  const { mips: _mips, translated: _translated, busy: _busy, helper_calls, ...totals } = stats;
  const rows = Object.entries(totals).map(([name, value]) => {
    if (name.endsWith("_ns")) return [name.replace(/_ns$/, "_ms"), rounded((value ?? 0) / 1e6)];
    return [name, name.endsWith("_ms") && value !== null ? rounded(value) : value];
  });
  return { host, ok: result.ok, reason: result.reason, ...Object.fromEntries(rows), helper_calls };
}

function rounded(ms: number): number {
  return Math.round(ms * 100) / 100;
}

/** Calls `gone`, with why, when standard output takes nothing more. What standard error does not take is not said. */
export function watchOutput(gone: (why: string) => void): void {
  process.stdout.on("error", (error) => gone(`standard output: ${error.message}`));
  process.stderr.on("error", () => {});
}

/** One run on the command line. */
export class Cli {
  readonly #job: CliJob;
  readonly #host: string;
  readonly #input: (data: Uint8Array<ArrayBuffer>) => Promise<void>;
  readonly #end: (status: number) => void;
  #mode: ConsoleMode = "raw";
  #attached = false;
  #ended = false;
  #lastStats: Stats | undefined;

  /** `input` types on the console; `end` is called once, with the exit status, when everything is written. */
  constructor(
    job: CliJob,
    host: string,
    input: (data: Uint8Array<ArrayBuffer>) => Promise<void>,
    end: (status: number) => void,
  ) {
    this.#job = job;
    this.#host = host;
    this.#input = input;
    this.#end = end;
    watchOutput((message) => this.end({ ok: false, reason: "quit", message }));
  }

  event(event: MachineEvent): void {
    if (this.#ended) return;
    switch (event.type) {
      case "console":
        this.#mode = event.mode;
        if (event.mode !== "none") this.#attach();
        break;
      case "output":
        process.stdout.write(event.data);
        break;
      case "stats":
        this.#lastStats = event.stats;
        break;
      case "log":
        process.stderr.write(`pagevm: ${event.text}\n`);
        break;
      case "result":
        this.end(event.result, event.stats);
        break;
      default:
    }
  }

  /** Ends the run: says why, writes the figures, gives the terminal back. */
  end(result: Result, stats: Stats | undefined = this.#lastStats): void {
    if (this.#ended) return;
    this.#ended = true;
    if (process.stdin.isTTY && this.#attached) process.stdin.setRawMode(false);
    process.stdin.pause();
    let status = result.ok ? 0 : result.reason === "options" ? 2 : 1;
    if (!result.ok) process.stderr.write(`pagevm: ${result.message}\n`);
    if (this.#job.stats !== undefined && stats) {
      try {
        writeFileSync(this.#job.stats, `${JSON.stringify(figures(this.#host, stats, result), null, 2)}\n`);
      } catch (error) {
        process.stderr.write(`pagevm: ${(error as Error).message}\n`);
        status = 1;
      }
    }
    process.stdout.write("", () => this.#end(status));
  }

  #attach(): void {
    if (this.#attached) return;
    this.#attached = true;
    const { stdin } = process;
    const escapeKey = new EscapeKey();
    const terminal = stdin.isTTY;
    if (terminal) {
      stdin.setRawMode(true);
      for (const signal of UNMINDED) {
        process.once(signal, () => {
          stdin.setRawMode(false);
          process.kill(process.pid, signal);
        });
      }
    }
    stdin.on("data", (typed: Buffer) => {
      const bytes = new Uint8Array(typed);
      const keys = terminal && this.#mode === "escape" ? escapeKey.filter(bytes) : { data: bytes, quit: false };
      if (keys.data.length > 0) this.#input(keys.data).catch(() => {}); // a machine that has failed says so
      if (keys.quit) this.end({ ok: false, reason: "quit", message: "ended by Ctrl-A x" });
    });
    stdin.on("error", () => {}); // a console nobody types on
  }
}
