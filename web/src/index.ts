// pagevm in a page: a machine in a worker of its own.

import { type Command, type Event, failure, type Job } from "./protocol.ts";

export type { ConsoleMode } from "./engine.ts";
export type { Event, Job, Result, State, Stats, Step } from "./protocol.ts";

export interface StartOptions extends Omit<Job, "engine"> {
  /** Where `engine.wasm` is; beside this module if not given. */
  engine?: string | URL;
  /** Where `worker.js` is; beside this module if not given. */
  worker?: string | URL;
  onEvent(event: Event): void;
}

/** A running machine. */
export interface Vm {
  /** Types on the guest's console. */
  input(data: string | Uint8Array): void;
  pause(): void;
  resume(): void;
  /** The reset button; switches a machine on that is off. */
  reset(): void;
  /** Ends the machine and frees its memory. */
  close(): void;
}

/** Starts a machine. Whatever goes wrong comes as an event, with one message. */
export function start({ onEvent, engine, worker, ...job }: StartOptions): Vm {
  const base = new URL(import.meta.url);
  const thread = new Worker(new URL(worker ?? "worker.js", base), { type: "module", name: "pagevm" });
  const tell = (command: Command) => thread.postMessage(command);
  thread.onmessage = (message: MessageEvent<Event>) => onEvent(message.data);
  thread.onerror = (error) => {
    error.preventDefault();
    const why = error.message || "worker.js does not load";
    failure(`pagevm's worker failed: ${why}`).forEach(onEvent);
  };
  tell({ type: "start", job: { base: document.baseURI, ...job, engine: new URL(engine ?? "engine.wasm", base).href } });
  return {
    input: (data) =>
      tell({ type: "input", data: typeof data === "string" ? new TextEncoder().encode(data) : data.slice() }),
    pause: () => tell({ type: "pause" }),
    resume: () => tell({ type: "resume" }),
    reset: () => tell({ type: "reset" }),
    close: () => thread.terminate(),
  };
}
