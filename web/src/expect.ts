// `waitFor`: what the guest writes, looked through by those who wait for something in it.

import { deferred, VmError } from "./error.ts";
import { ConsoleText } from "./host/text.ts";
import { after } from "./timer.ts";

/** What the guest wrote. */
export interface Match {
  /** What was waited for. */
  text: string;
  /** The groups of a regular expression: `groups[0]` is its first. */
  groups: (string | undefined)[];
  /** What came before it, from the match before this one on. */
  before: string;
}

/** Text that is kept for those who will wait, in characters; older text is dropped. */
const WINDOW = 1 << 20;
/** As much of the end of the text is in the message of a wait that fails. */
const SHOWN = 400;

interface Wait {
  pattern: string | RegExp;
  /** Where looking for a plain text goes on. */
  from: number;
  promise: PromiseWithResolvers<Match>;
}

/** The guest's output as those see it who wait for parts of it, one after another. */
export class Expect {
  readonly #console = new ConsoleText();
  /** What came after the last match. */
  #text = "";
  #waits: Wait[] = [];

  /** Takes what the guest wrote. */
  output(data: Uint8Array): void {
    this.#text += this.#console.add(data);
    this.#look();
    if (this.#text.length <= WINDOW) return;
    const dropped = this.#text.length - WINDOW;
    this.#text = this.#text.slice(dropped);
    for (const wait of this.#waits) wait.from = Math.max(wait.from - dropped, 0);
  }

  /** The next match of `pattern` in what has not been matched yet. `timeout` in milliseconds. */
  wait(pattern: string | RegExp, timeout?: number): Promise<Match> {
    const promise = deferred<Match>();
    // with the flags g or y a regular expression would begin where it ended before
    const plain =
      typeof pattern === "string" ? pattern : new RegExp(pattern.source, pattern.flags.replace(/[gy]/g, ""));
    const wait = { pattern: plain, from: 0, promise };
    this.#waits.push(wait);
    this.#look();
    if (timeout === undefined || !this.#waits.includes(wait)) return promise.promise;
    const timer = after(timeout, () => {
      this.#waits = this.#waits.filter((other) => other !== wait);
      promise.reject(this.#missing(wait, `within ${timeout / 1000} s`));
    });
    return promise.promise.finally(() => clearTimeout(timer));
  }

  /** The guest writes nothing more: `why`, as the end of a sentence. */
  end(why: string): void {
    const waits = this.#waits;
    this.#waits = [];
    for (const wait of waits) wait.promise.reject(this.#missing(wait, `before ${why}`));
  }

  #look(): void {
    for (let n = 0; n < this.#waits.length; ) {
      const wait = this.#waits[n] as Wait;
      const found = find(this.#text, wait);
      if (!found) {
        n += 1;
        continue;
      }
      this.#waits.splice(n, 1);
      const end = found.at + found.text.length;
      wait.promise.resolve({ text: found.text, groups: found.groups, before: this.#text.slice(0, found.at) });
      this.#text = this.#text.slice(end);
      for (const other of this.#waits) other.from = 0;
    }
  }

  #missing({ pattern }: Wait, when: string): VmError {
    const what = typeof pattern === "string" ? JSON.stringify(pattern) : String(pattern);
    const end = this.#text.slice(-SHOWN);
    const wrote = end === "" ? "it wrote nothing since" : `the last it wrote is ${JSON.stringify(end)}`;
    return new VmError("machine", `the guest has not written ${what} ${when}; ${wrote}`);
  }
}

function find(text: string, wait: Wait): { at: number; text: string; groups: (string | undefined)[] } | undefined {
  const { pattern } = wait;
  if (typeof pattern === "string") {
    const at = text.indexOf(pattern, wait.from);
    wait.from = Math.max(text.length - pattern.length + 1, 0);
    return at < 0 ? undefined : { at, text: pattern, groups: [] };
  }
  const match = pattern.exec(text);
  return match ? { at: match.index, text: match[0], groups: match.slice(1) } : undefined;
}
