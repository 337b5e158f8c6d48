// Which machine the page runs: from `window.pagevm`, else the page's address, else a `<script type="application/json"
// id="pagevm">` in the page, else `manifest.json` beside it.

import type { Machine, MachineEvent } from "../machine.ts";
import type { Job } from "../protocol.ts";

/** `window.pagevm`: what an embedding page, or a program that drives the browser, sets before the page's own code runs. */
export interface PageConfig extends Partial<Omit<Job, "options" | "engine">> {
  /** QEMU-style options. */
  arguments?: readonly string[];
  /** One line about the guest. */
  about?: string;
  engine?: string;
  /** The terminal only shows: it types nothing, and answers none of the guest's questions. For a machine that a program types at. */
  readOnly?: boolean;
  /** Sees every event. */
  onEvent?(event: MachineEvent): void;
  /** The running machine; set by the page. */
  machine?: Machine;
}

declare global {
  interface Window {
    pagevm?: PageConfig;
    /** The page's code runs: from here on it shows its own errors. */
    pagevmStarted?: boolean;
  }
}

/** Parameters that are options of one value. */
const VALUES = ["m", "kernel", "initrd", "append", "cpu", "accel", "M", "smp"] as const;

/** The options that the page's address gives, if any; throws one clear message. */
export function fromQuery(search: string): PageConfig | undefined {
  const query = new URLSearchParams(search);
  const config: PageConfig = {};
  const args: string[] = [];
  for (const [key, value] of query) {
    if (key === "args") args.push(...parseArgs(value));
    else if ((VALUES as readonly string[]).includes(key)) args.push(`-${key}`, value);
    else if (key === "about") config.about = value;
    else throw new Error(`The address has the parameter "${key}"; there are args, about, ${VALUES.join(", ")}.`);
  }
  return args.length > 0 ? { ...config, arguments: args } : undefined;
}

function parseArgs(text: string): string[] {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    value = undefined;
  }
  if (!isStrings(value)) {
    throw new Error('The parameter args is not a JSON list of strings, such as ["-m","512","-kernel","vmlinuz"].');
  }
  return value;
}

function isStrings(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((item) => typeof item === "string");
}

export async function readConfig(): Promise<PageConfig> {
  if (window.pagevm?.arguments) return window.pagevm;
  const query = fromQuery(location.search);
  if (query) return { ...window.pagevm, ...query };
  const embedded = document.querySelector('script#pagevm[type="application/json"]');
  if (embedded) return { ...window.pagevm, ...parse(embedded.textContent ?? "", 'The script with id="pagevm"') };
  const response = await fetch("manifest.json").catch(() => undefined);
  if (!response?.ok) {
    throw new Error("No guest is set up here: there is no manifest.json, and the address has no ?kernel=.");
  }
  return { ...window.pagevm, ...parse(await response.text(), "manifest.json") };
}

/** What a page's author has written, as JSON; throws one clear message. */
export function parse(text: string, where: string): PageConfig {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Error(`${where} is not JSON.`);
  }
  if (Array.isArray(value)) value = { arguments: value };
  if (typeof value !== "object" || value === null || !("arguments" in value) || !isStrings(value.arguments)) {
    throw new Error(
      `${where} has no list of options; give {"arguments": ["-m", "512", "-kernel", "vmlinuz"]}, or the list alone.`,
    );
  }
  return value as PageConfig;
}
