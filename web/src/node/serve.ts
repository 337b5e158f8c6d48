// A static server that sends no special header, as any static host would, and knows ranges, as most do: `node tools/serve.mjs DIR [PORT]`.
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, normalize, resolve } from "node:path";
import { pipeline } from "node:stream";

/** @type {Record<string, string>} */
const TYPES = {
  ".css": "text/css; charset=utf-8",
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".json": "application/json",
  ".map": "application/json",
  ".mjs": "text/javascript; charset=utf-8",
  ".wasm": "application/wasm",
};

/**
 * Serves `dir`, and each of `files` by its own address, on the loopback interface; an address that ends in `/` is a directory's.
 * Port 0 is any free one.
 * @param {string} dir
 * @param {number} port
 * @param {Readonly<Record<string, string>>} [files] paths by address
 * @returns {Promise<{ url: string, close: () => void }>}
 */
export function serve(dir, port, files = {}) {
  const server = createServer((request, response) => {
    void answer(request, response).catch(() => response.destroy());
  });

  /** @type {(request: import("node:http").IncomingMessage, response: import("node:http").ServerResponse) => Promise<void>} */
  async function answer(request, response) {
    const address = (request.url ?? "/").replace(/[?#].*/, "");
    const under = address.slice(0, address.lastIndexOf("/") + 1);
    const path = Object.hasOwn(files, address)
      ? files[address]
      : Object.hasOwn(files, under)
        ? inside(files[under] ?? "", address.slice(under.length))
        : inside(dir, address);
    const info = path === undefined ? undefined : await stat(path).catch(() => undefined);
    if (path === undefined || !info?.isFile() || (request.method !== "GET" && request.method !== "HEAD")) {
      response.writeHead(404, { "content-type": "text/plain" }).end("Not Found\n");
      return;
    }
    const headers = {
      "content-type": TYPES[extname(path)] ?? "application/octet-stream",
      "cache-control": "no-cache",
      "accept-ranges": "bytes",
      etag: `"${info.size.toString(16)}-${info.mtimeMs.toString(16)}"`,
    };
    const part = range(request.headers.range, info.size);
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

  return new Promise((done, failed) => {
    server.once("error", failed);
    server.listen(port, "127.0.0.1", () => {
      const bound = server.address();
      const at = typeof bound === "object" && bound ? bound.port : port;
      done({ url: `http://localhost:${at}/`, close: () => server.closeAllConnections() ?? server.close() });
    });
  });
}

/**
 * One range of bytes; other forms are answered with the whole file, as a server may (RFC 9110, 14.2).
 * @type {(header: string | undefined, size: number) => { start: number, end: number } | undefined}
 */
function range(header, size) {
  const match = /^bytes=(\d+)-(\d*)$/.exec(header ?? "");
  if (!match) return undefined;
  const [, first = "0", last = ""] = match;
  return { start: Number(first), end: last === "" ? size : Math.min(Number(last) + 1, size) };
}

/** @type {(dir: string, address: string) => string | undefined} */
function inside(dir, address) {
  try {
    const path = normalize(decodeURIComponent(address));
    if (path.includes("\0") || path.startsWith("..")) return undefined;
    return join(resolve(dir), path.endsWith("/") ? `${path}index.html` : path);
  } catch {
    return undefined;
  }
}

if (import.meta.main) {
  const [dir = "dist", port = "8000"] = process.argv.slice(2);
  try {
    const { url } = await serve(dir, Number(port));
    console.log(`pagevm is at ${url} (Ctrl-C ends)`);
  } catch (error) {
    console.error(`pagevm: cannot serve on port ${port}: ${/** @type {Error} */ (error).message}`);
    process.exitCode = 1;
  }
}
