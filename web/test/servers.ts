// What guests talk to in tests of networks: a web server whose answers can be checked, a relay.

import { createHash } from "node:crypto";
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo, Socket } from "node:net";

/** Bytes that differ from one `seed` to the next. */
export function bytes(length: number, seed: number): Buffer {
  const body = Buffer.alloc(length);
  for (let at = 0; at + 4 <= length; at += 4) body.writeUInt32LE(Math.imul(at + seed, 2654435761) >>> 0, at);
  return body;
}

export const sha256 = (data: Uint8Array): string => createHash("sha256").update(data).digest("hex");

/** Waits until something is so, for five minutes: a machine may be slow. */
export async function until(what: string, is: () => boolean | Promise<boolean>): Promise<void> {
  for (const end = Date.now() + 300_000; !(await is()); ) {
    if (Date.now() > end) throw new Error(`not in five minutes: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

export interface WebServer {
  port: number;
  /** Requests that have come, as `METHOD PATH`. */
  readonly asked: string[];
  /** Connections that are open. */
  readonly sockets: Set<Socket>;
  close(): void;
}

/**
 * A web server on the loopback interface: `/SIZE/SEED` is `bytes(SIZE, SEED)`; `/all/SIZE/SEED` too, but answered only
 * when `together` requests for it have come; a POST is answered with its body. `cors`: other sites' pages may read it.
 */
export async function webServer(options: { together?: number; cors?: boolean } = {}): Promise<WebServer> {
  const [asked, sockets] = [[] as string[], new Set<Socket>()];
  let waiting: (() => void)[] = [];
  const server = createServer((request, response) => {
    asked.push(`${request.method} ${request.url}`);
    // wisp-js loses what it has of a stream when the other end has closed: the guest is to close first
    response.setHeader("connection", "keep-alive");
    if (options.cors) response.setHeader("access-control-allow-origin", "*");
    if (request.method === "POST") {
      request.pipe(response);
      return;
    }
    const [, all, size = "0", seed = "0"] = /^\/(all\/)?(\d+)\/(\d+)$/.exec(request.url ?? "") ?? [];
    const go = () => response.end(bytes(Number(size), Number(seed)));
    if (all === undefined) return go();
    waiting.push(go);
    if (waiting.length < (options.together ?? 1)) return;
    for (const go of waiting) go();
    waiting = [];
  });
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
  });
  const { port, close } = await listen(server);
  return { port, asked, sockets, close };
}

export interface ImageServer {
  url: string;
  /** What it does now. */
  state: "up" | "down" | "changed";
  /** The image when it has changed. */
  changed: Buffer;
  /** First bytes of the ranges that have been asked for. */
  readonly asked: number[];
  close(): void;
}

/** A server of one image by ranges, which other sites' pages may read. */
export async function imageServer(image: Buffer): Promise<ImageServer> {
  const server = createServer((request, response) => {
    const [, first = 0, last = 0] = (/^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "") ?? []).map(Number);
    const headers = {
      "access-control-allow-origin": "*",
      "access-control-expose-headers": "content-range, etag",
      etag: `"${self.state === "changed" ? 2 : 1}"`,
    };
    if (self.state === "down") {
      request.destroy();
      return;
    }
    if (request.method === "GET") self.asked.push(first);
    const now = self.state === "changed" ? self.changed : image;
    const end = Math.min(last + 1, now.length);
    response.writeHead(206, { ...headers, "content-range": `bytes ${first}-${end - 1}/${now.length}` });
    response.end(now.subarray(first, end));
  });
  const { port, close } = await listen(server);
  const self: ImageServer = { url: `http://127.0.0.1:${port}/a.img`, state: "up", changed: image, asked: [], close };
  return self;
}

export interface Relay {
  url: string;
  /** Connections of machines. */
  readonly clients: Set<Socket>;
  close(): void;
}

/** A relay that speaks wisp, for addresses of this computer too. */
export async function wispRelay(port = 0): Promise<Relay> {
  // @ts-expect-error it has no types
  const { server: wisp, logging } = await import("@mercuryworkshop/wisp-js/server");
  logging.set_level(logging.NONE);
  wisp.options.allow_loopback_ips = true;
  wisp.options.allow_private_ips = true;
  // the one name that the relay knows
  wisp.options.dns_method = async (name: string) => {
    if (name !== "relayed.example") throw new Error(`${name} is not known`);
    return "127.0.0.1";
  };
  const server = createServer();
  const clients = new Set<Socket>();
  server.on("upgrade", (request, socket, head) => {
    clients.add(socket as Socket);
    socket.on("close", () => clients.delete(socket as Socket));
    wisp.routeRequest(request, socket, head);
  });
  const { port: bound, close } = await listen(server, port);
  const end = () => {
    for (const socket of clients) socket.destroy();
    close();
  };
  return { url: `ws://127.0.0.1:${bound}/`, clients, close: end };
}

async function listen(server: Server, port = 0): Promise<{ port: number; close: () => void }> {
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  const close = () => {
    server.closeAllConnections();
    server.close();
  };
  return { port: (server.address() as AddressInfo).port, close };
}
