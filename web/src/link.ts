// How a machine's user reaches the session that runs it.

import { deferred, VmError } from "./error.ts";
import type { Answer, Calls, Command, Event, Job } from "./protocol.ts";
import { failure } from "./protocol.ts";

/** A session, on this thread or another. */
export interface Link {
  call<N extends keyof Calls>(name: N, ...args: Parameters<Calls[N]>): Promise<Awaited<ReturnType<Calls[N]>>>;
  /** Ends the session; no event follows, and calls that wait are rejected. */
  close(): void;
}

/** A session for `job`, in a worker at `url`. */
export function workerLink(url: URL, job: Job, onEvent: (event: Event) => void): Link {
  const thread = new Worker(url, { type: "module", name: "pagevm" });
  const waiting = new Map<number, PromiseWithResolvers<unknown>>();
  let last = 0;
  let over: VmError | undefined;
  const end = (error: VmError) => {
    over ??= error;
    for (const { reject } of waiting.values()) reject(over);
    waiting.clear();
  };
  thread.onmessage = ({ data: message }: MessageEvent<Event | Answer>) => {
    if (message.type !== "answer") {
      onEvent(message);
      return;
    }
    const asked = waiting.get(message.id);
    waiting.delete(message.id);
    if (!("error" in message)) asked?.resolve(message.value);
    else {
      const { kind, message: text, code } = message.error;
      asked?.reject(new VmError(kind, text, code === undefined ? {} : { code }));
    }
  };
  thread.onerror = (error) => {
    error.preventDefault();
    thread.terminate(); // it may be in any state, and its files are locked for others
    const why = `pagevm's worker failed: ${error.message || "worker.js does not load"}`;
    end(new VmError("engine", why));
    failure(why).forEach(onEvent);
  };
  const tell = (command: Command) => thread.postMessage(command);
  try {
    tell({ type: "load", job });
  } catch (error) {
    thread.terminate(); // what cannot be sent leaves nothing behind
    throw error;
  }
  return {
    call: async (name, ...args) => {
      if (over) throw over;
      const asked = deferred<unknown>();
      const id = ++last;
      tell({ type: "call", id, name, args } as Command);
      waiting.set(id, asked);
      return asked.promise as Promise<never>;
    },
    close: () => {
      thread.terminate();
      end(new VmError("machine", "the machine was closed"));
    },
  };
}
