// The page's worker: a session behind `postMessage`.

import { VmError } from "../error.ts";
import { originDirectory, shareHandle } from "../files/browser.ts";
import type { Handlers } from "../files/server.ts";
import type { Answer, Calls, Command, Event } from "../protocol.ts";
import { urlDisks } from "./disk/urls.ts";
import { openUrl } from "./files.ts";
import { commonPlatform, Session } from "./loop.ts";
import { webChannels } from "./webchannels.ts";

const scope = self as unknown as {
  onmessage: ((message: MessageEvent<Command>) => void) | null;
  postMessage(message: Event | Answer, transfer: Transferable[]): void;
};

// A message to oneself is the fastest way round the event loop that cannot starve other messages.
const channel = new MessageChannel();
let turn: () => void = () => {};
channel.port1.onmessage = () => turn();

/** A directory that the user has picked, or `opfs:NAME`: one of the page's own storage. */
async function share(
  path: string,
  given: FileSystemDirectoryHandle | undefined,
  tell: (text: string) => void,
): Promise<Handlers> {
  if (given) return shareHandle(given, tell);
  const name = /^opfs:(.*)$/s.exec(path)?.[1];
  if (name === undefined) {
    throw new Error("a page has no such directories; give path=opfs:NAME, or pick:NAME for one that its user picks");
  }
  return shareHandle(await originDirectory(name), tell);
}

const session = new Session(
  commonPlatform({
    soon: (next) => {
      turn = next;
      channel.port2.postMessage(null);
    },
    open: openUrl,
    disks: urlDisks,
    channels: webChannels,
    share,
  }),
  (event) => scope.postMessage(event, event.type === "output" ? [event.data.buffer] : []),
);

async function answer<N extends keyof Calls>(id: number, name: N, args: Parameters<Calls[N]>): Promise<void> {
  try {
    const value = await session.call(name, ...args);
    scope.postMessage({ type: "answer", id, value }, value instanceof Uint8Array ? [value.buffer as ArrayBuffer] : []);
  } catch (cause) {
    const { kind, message, code } = failed(cause);
    scope.postMessage({ type: "answer", id, error: { kind, message, ...(code === undefined ? {} : { code }) } }, []);
  }
}

function failed(cause: unknown): VmError {
  return cause instanceof VmError ? cause : new VmError("engine", `pagevm failed: ${String(cause)}`);
}

scope.onmessage = ({ data: command }) => {
  if (command.type === "load") void session.load(command.job);
  else void answer(command.id, command.name, command.args);
};
