// A static server that sends no special header, as any static host would, and knows ranges, as most do.

import { createReadStream, type Stats } from "node:fs";
import { stat } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { extname, join, normalize, resolve } from "node:path";
import { pipeline } from "node:stream";

const TYPES: Readonly<Record<string, string>> = {
  ".css": "text/css; charset=utf-8",
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".json": "application/json",
  ".map": "application/json",
  ".mjs": "text/javascript; charset=utf-8",
  ".wasm": "application/wasm",
};

/** Addresses of the packer's that change with the content: of chunks, and of what has a hash behind its name. */
const IMMUTABLE = /\/chunks\/[0-9a-f]{2}\/[0-9a-f]{64}$|\/guest\/[^/]*-[0-9a-f]{16}[.a-z]*$/;

export interface Server {
  url: string;
  close(): void;
}

/**
 * Serves `dir`, and each of `files` by its own address, on the loopback interface; an address that ends in `/` is a
 * directory's. Port 0 is any free one.
 */
export function serve(dir: string, port: number, files: Readonly<Record<string, string>> = {}): Promise<Server> {
  const server = createServer((request, response) => {
    void answer(dir, files, request, response).catch(() => response.destroy());
  });
  return new Promise((done, failed) => {
    server.once("error", failed);
    server.listen(port, "127.0.0.1", () => {
      const bound = server.address();
      const at = typeof bound === "object" && bound ? bound.port : port;
      const close = () => {
        server.closeAllConnections();
        server.close();
      };
      done({ url: `http://localhost:${at}/`, close });
    });
  });
}

async function answer(
  dir: string,
  files: Readonly<Record<string, string>>,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const address = (request.url ?? "/").replace(/[?#].*/, "");
  const path = find(dir, files, address);
  const info = path === undefined ? undefined : await stat(path).catch(() => undefined);
  const asked = request.method === "GET" || request.method === "HEAD";
  if (asked && info?.isDirectory() && !address.endsWith("/")) {
    // addresses in a page are relative to its directory; two slashes would be another host's
    const query = (request.url ?? "").slice(address.length);
    response.writeHead(301, { location: `${address.replace(/^\/+/, "/")}/${query}` }).end();
    return;
  }
  if (path === undefined || !info?.isFile() || !asked) {
    response.writeHead(404, { "content-type": "text/plain" }).end("Not Found\n");
    return;
  }
  const headers = headersOf(address, path, info);
  if (request.headers["if-none-match"] === headers.etag) {
    response.writeHead(304, headers).end();
    return;
  }
  // who has a part of another version wants all of this one (RFC 9110, 13.1.5)
  const wanted = request.headers["if-range"] ?? headers.etag;
  const part = wanted === headers.etag ? range(request.headers.range, info.size) : undefined;
  if (part && part.start >= info.size) {
    response.writeHead(416, { ...headers, "content-range": `bytes */${info.size}` }).end();
    return;
  }
  const { start, end } = part ?? { start: 0, end: info.size };
  response.writeHead(part ? 206 : 200, {
    ...headers,
    "content-length": end - start,
    ...(part ? { "content-range": `bytes ${start}-${end - 1}/${info.size}` } : {}),
  });
  if (request.method === "HEAD" || start === end) response.end();
  else pipeline(createReadStream(path, { start, end: end - 1 }), response, () => {});
}

function headersOf(address: string, path: string, info: Stats) {
  return {
    "content-type": TYPES[extname(path)] ?? "application/octet-stream",
    "cache-control": IMMUTABLE.test(address) ? "public, max-age=31536000, immutable" : "no-cache",
    "accept-ranges": "bytes",
    etag: `"${info.size.toString(16)}-${info.mtimeMs.toString(16)}"`,
  };
}

/** One range of bytes; other forms are answered with the whole file, as a server may (RFC 9110, 14.2). */
function range(header: string | undefined, size: number): { start: number; end: number } | undefined {
  const match = /^bytes=(\d+)-(\d*)$/.exec(header ?? "");
  if (!match) return undefined;
  const [, first = "0", last = ""] = match;
  return { start: Number(first), end: last === "" ? size : Math.min(Number(last) + 1, size) };
}

function find(dir: string, files: Readonly<Record<string, string>>, address: string): string | undefined {
  if (Object.hasOwn(files, address)) return files[address];
  const under = address.slice(0, address.lastIndexOf("/") + 1);
  if (Object.hasOwn(files, under)) return inside(files[under] ?? "", address.slice(under.length));
  return inside(dir, address);
}

function inside(dir: string, address: string): string | undefined {
  try {
    const path = normalize(decodeURIComponent(address));
    if (path.includes("\0") || path.startsWith("..")) return undefined;
    return join(resolve(dir), path.endsWith("/") ? `${path}index.html` : path);
  } catch {
    return undefined;
  }
}
