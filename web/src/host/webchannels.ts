// The channels that a browser has: WebSocket, fetch, BroadcastChannel.

import type { Bytes, Channel, Line, Openers } from "./channels.ts";

/** Request fields that a page may not send, or that would make the browser ask the server for leave first. */
const DROPPED = /^(accept-encoding|cache-control|dnt|if-.*|pragma|te|upgrade-insecure-requests|user-agent|via)$/;
/** A browser sends a body only as a whole. */
const BODY_MAX = 256 << 20;
const PIECE = 64 << 10;

/** When so many bytes wait for the guest, a relay is slowed down, or else given up. */
const WAITING_MAX = 256 << 20;

const ended = (wasOpen: boolean, code: number | undefined, reason: string | undefined): string => {
  const why = [code === undefined ? "" : `code ${code}`, reason].filter(Boolean).join(", ");
  const what = wasOpen ? "the relay has closed the connection" : "the relay cannot be reached";
  return why === "" ? what : `${what} (${why})`;
};

/** Messages to and from a relay: by `WebSocketStream` where the browser has it, which slows the relay down. */
export function webSocket(address: string, line: Line): Channel {
  const Stream = (globalThis as { WebSocketStream?: WebSocketStreamType }).WebSocketStream;
  return Stream ? messageStream(new Stream(address), line) : messageEvents(new WebSocket(address), line);
}

/** What is left out of TypeScript's library, as not all browsers have it. */
type WebSocketStreamType = new (
  address: string,
) => {
  opened: Promise<{ readable: ReadableStream<ArrayBuffer | Uint8Array | string>; writable: WritableStream<Bytes> }>;
  closed: Promise<{ closeCode?: number; reason?: string }>;
  close(): void;
};

function messageStream(socket: InstanceType<WebSocketStreamType>, line: Line): Channel {
  let writer: WritableStreamDefaultWriter<Bytes> | undefined;
  let resumed: () => void = () => {};
  let closed = false;
  const over = (error?: { closeCode?: number; reason?: string }) =>
    line.closed(ended(writer !== undefined, error?.closeCode, error?.reason));

  async function go(): Promise<void> {
    const { readable, writable } = await socket.opened;
    writer = writable.getWriter();
    line.opened();
    const reader = readable.getReader();
    for (let next = await reader.read(); !next.done && !closed; next = await reader.read()) {
      if (typeof next.value === "string") continue;
      if (line.message(new Uint8Array(next.value)) || line.waiting <= WAITING_MAX) continue;
      await new Promise<void>((resolve) => (resumed = resolve));
    }
    if (closed) await reader.cancel();
  }
  const close = () => {
    closed = true;
    resumed();
    socket.close();
  };
  go().then(
    () => socket.closed.then(over, over),
    (error) => socket.closed.then(over, () => over(error)),
  );
  return {
    send: (data) =>
      void writer?.write(data).then(
        () => line.paid(data.length),
        () => {}, // it is closed, which is told
      ),
    finish: () => socket.close(),
    close,
    resume: () => resumed(),
  };
}

/** The browser buffers what is sent; what it has sent is asked for now and then. */
function messageEvents(socket: WebSocket, line: Line): Channel {
  socket.binaryType = "arraybuffer";
  let unpaid = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const pay = () => {
    timer = undefined;
    const sent = unpaid - socket.bufferedAmount;
    if (sent > 0) {
      line.paid(sent);
      unpaid -= sent;
    }
    if (unpaid > 0) timer ??= setTimeout(pay, 2);
  };
  let wasOpen = false;
  const close = () => {
    clearTimeout(timer);
    socket.onmessage = null;
    socket.onclose = null;
    socket.close();
  };
  socket.onopen = () => {
    wasOpen = true;
    line.opened();
  };
  socket.onmessage = ({ data }) => {
    if (!(data instanceof ArrayBuffer) || line.message(new Uint8Array(data)) || line.waiting <= WAITING_MAX) return;
    close();
    line.closed(
      `it sends faster than the guest takes, and this host cannot slow it down: ${WAITING_MAX >> 20} MiB wait`,
    );
  };
  socket.onclose = ({ code, reason }) => {
    clearTimeout(timer);
    line.closed(ended(wasOpen, code, reason));
  };
  return {
    send(data) {
      if (socket.readyState !== WebSocket.OPEN) return;
      socket.send(data);
      unpaid += data.length;
      timer ??= setTimeout(pay, 0);
    },
    finish: () => socket.close(),
    close,
  };
}

/** One HTTP request. */
export function httpFetch(address: string, line: Line): Channel {
  const [first = "", ...fields] = address.trimEnd().split("\n");
  const [method = "GET", url = ""] = first.split(" ");
  const headers = new Headers();
  for (const field of fields) {
    const colon = field.indexOf(":");
    const name = field.slice(0, colon);
    if (!DROPPED.test(name)) headers.append(name, field.slice(colon + 1).trim());
  }
  const abort = new AbortController();
  const body: Bytes[] = [];
  let length = 0;
  let resumed: (() => void) | undefined;

  async function go(): Promise<void> {
    const init: RequestInit = {
      method,
      headers,
      body: length > 0 ? new Blob(body) : null,
      credentials: "omit",
      referrerPolicy: "no-referrer",
      signal: abort.signal,
    };
    const response = await fetch(url, init).catch(async (error) => {
      throw abort.signal.aborted ? error : new Error(await whyNot(url), { cause: error });
    });
    line.opened();
    line.data(new TextEncoder().encode(responseHead(response)));
    const reader = response.body?.getReader();
    for (let next = await reader?.read(); next && !next.done; next = await reader?.read()) {
      for (let at = 0; at < next.value.length; at += PIECE) {
        const gone = line.stream(next.value.slice(at, at + PIECE));
        if (!gone) await new Promise<void>((resolve) => (resumed = resolve));
      }
    }
    line.end();
  }

  return {
    send(data) {
      body.push(data);
      length += data.length;
      if (length <= BODY_MAX) line.paid(data.length);
      else line.closed(`the request's body is longer than ${BODY_MAX >> 20} MiB, which a page cannot send`);
    },
    finish: () => void go().catch((error) => line.closed(error instanceof Error ? error.message : String(error))),
    close: () => abort.abort(),
    resume: () => resumed?.(),
  };
}

/** Why a page cannot fetch an address. The browser does not say; a request whose answer the page does not see is not forbidden. */
async function whyNot(url: string): Promise<string> {
  try {
    await fetch(url, { method: "HEAD", mode: "no-cors", credentials: "omit", referrerPolicy: "no-referrer" });
    return `the server answers, but does not allow pages of ${self.origin} to read it (CORS)`;
  } catch {
    const mixed = self.location.protocol === "https:" && url.startsWith("http:");
    return mixed
      ? "the server cannot be reached, or the browser forbids it: this page came by https"
      : "the server cannot be reached";
  }
}

function responseHead(response: Response): string {
  const lines = [`${response.status} ${response.statusText}`];
  response.headers.forEach((value, name) => {
    // of another origin's response the page does not see whether it was compressed, so that this says nothing
    if (name === "content-length" && response.type === "cors") return;
    lines.push(`${name}: ${value}`);
  });
  return lines.map((text) => `${text}\n`).join("");
}

/** Frames shared by the pages of one origin. */
export function broadcast(address: string, line: Line): Channel {
  const channel = new BroadcastChannel(`pagevm-lan-${address}`);
  channel.onmessage = ({ data }) => {
    if (data instanceof Uint8Array) line.datagram(data as Bytes);
  };
  line.opened();
  return { send: (data) => channel.postMessage(data), finish: () => {}, close: () => channel.close() };
}

export const webChannels: Openers = { WebSocket: webSocket, Fetch: httpFetch, Lan: broadcast };
