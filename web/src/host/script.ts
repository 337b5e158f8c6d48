// `until`, `type` and `script`: reads the guest's console as text and says what to type.

import { VmError } from "../error.ts";
import type { Job } from "../protocol.ts";
import { ConsoleText } from "./text.ts";

/** Where a shell or a login waits for input, at the end of the output. */
const PROMPT = /(?:[#$] |login: )$/;
/** More output than any message spans; older text is dropped. */
const WINDOW = 1 << 16;

interface Wait {
  expect: string | RegExp;
  /** Being idle and silent will do as well. */
  orQuiet: boolean;
  send: string | undefined;
}

export class Script {
  readonly #waits: Wait[] = [];
  readonly #until: string | undefined;
  readonly #scripted: boolean;
  readonly #console = new ConsoleText();
  #text = "";

  constructor(job: Pick<Job, "until" | "type" | "script">) {
    const steps: unknown = job.script ?? [];
    if (!Array.isArray(steps) || !steps.every((step) => typeof step?.expect === "string")) {
      throw new VmError("options", 'script: give a list of {"expect": TEXT, "send": TEXT}');
    }
    if (job.type !== undefined) this.#waits.push({ expect: PROMPT, orQuiet: true, send: job.type });
    for (const step of job.script ?? []) this.#waits.push({ expect: step.expect, orQuiet: false, send: step.send });
    this.#until = job.until;
    this.#scripted = (job.script?.length ?? 0) > 0;
  }

  /** What a guest that ends now leaves undone, if anything. */
  get unfinished(): string | undefined {
    const wait = this.#waits[0];
    if (!this.#scripted || wait === undefined) return undefined;
    return typeof wait.expect === "string"
      ? `still waiting for ${JSON.stringify(wait.expect)}`
      : "still waiting for a prompt";
  }

  get waitsForQuiet(): boolean {
    return this.#waits[0]?.orQuiet ?? false;
  }

  /** Takes what the guest wrote; `send` is called with what to type. Returns what the run has come to, if it has. */
  output(data: Uint8Array, send: (text: string) => void): "until" | "script" | undefined {
    this.#text += this.#console.add(data);
    for (let wait = this.#waits[0]; wait !== undefined; wait = this.#waits[0]) {
      const end = find(this.#text, wait.expect);
      if (end === undefined) break;
      this.#text = this.#text.slice(end);
      const result = this.#next(send);
      if (result) return result;
    }
    if (this.#waits.length === 0 && this.#until !== undefined && this.#text.includes(this.#until)) return "until";
    this.#text = this.#text.slice(-WINDOW);
    return undefined;
  }

  /** The guest has been idle and silent for a while. */
  quiet(send: (text: string) => void): "script" | undefined {
    return this.waitsForQuiet ? this.#next(send) : undefined;
  }

  #next(send: (text: string) => void): "script" | undefined {
    const wait = this.#waits.shift();
    if (wait?.send !== undefined) send(wait.send);
    return this.#waits.length === 0 && this.#scripted && this.#until === undefined ? "script" : undefined;
  }
}

/** Where the first match ends. */
function find(text: string, expect: string | RegExp): number | undefined {
  if (typeof expect !== "string") return expect.test(text) ? text.length : undefined;
  const at = text.indexOf(expect);
  return at < 0 ? undefined : at + expect.length;
}
