// A static server that sends no special header, as any static host would: `node tools/serve.mjs DIR [PORT]`.
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
 * Serves `dir`, and each of `files` by its own address, on the loopback interface. Port 0 is any free one.
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
    const path = Object.hasOwn(files, address) ? files[address] : inside(dir, address);
    const info = path === undefined ? undefined : await stat(path).catch(() => undefined);
    if (path === undefined || !info?.isFile() || (request.method !== "GET" && request.method !== "HEAD")) {
      response.writeHead(404, { "content-type": "text/plain" }).end("Not Found\n");
      return;
    }
    response.writeHead(200, {
      "content-type": TYPES[extname(path)] ?? "application/octet-stream",
      "content-length": info.size,
      "cache-control": "no-cache",
    });
    if (request.method === "HEAD") response.end();
    else pipeline(createReadStream(path), response, () => {});
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
