// The channels that a browser has: WebSocket, fetch, BroadcastChannel.

import type { Bytes, Channel, Line, Openers } from "./channels.ts";

/** Request fields that a page may not send, or that would make the browser ask the server for leave first. */
const DROPPED = /^(accept-encoding|cache-control|dnt|if-.*|pragma|te|upgrade-insecure-requests|user-agent|via)$/;
/** A browser sends a body only as a whole. */
const BODY_MAX = 256 << 20;
const PIECE = 64 << 10;

/** Messages to and from a relay. The browser buffers what is sent; what it has sent is asked for now and then. */
export function webSocket(address: string, line: Line): Channel {
  const socket = new WebSocket(address);
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
  socket.onopen = () => {
    wasOpen = true;
    line.opened();
  };
  socket.onmessage = ({ data }) => {
    if (data instanceof ArrayBuffer) line.data(new Uint8Array(data));
  };
  socket.onclose = ({ code, reason }) => {
    clearTimeout(timer);
    const why = [`code ${code}`, reason].filter(Boolean).join(", ");
    line.closed(wasOpen ? `the relay has closed the connection (${why})` : `the relay cannot be reached (${why})`);
  };
  return {
    send(data) {
      if (socket.readyState !== WebSocket.OPEN) return;
      socket.send(data);
      unpaid += data.length;
      timer ??= setTimeout(pay, 0);
    },
    finish: () => socket.close(),
    close() {
      clearTimeout(timer);
      socket.onclose = null;
      socket.close();
    },
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
    const response = await fetch(url, init);
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
