// Files that disks are made of, against a web server that misbehaves and a file system that is there.

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, test } from "node:test";
import { FileAccess, FileFlags, FileStarted } from "../src/abi.gen.ts";
import { VmError } from "../src/error.ts";
import type { DiskFile, Reading } from "../src/host/disk/file.ts";
import { type Disks, diskHost, type Use } from "../src/host/disk/host.ts";
import { fetchHttp, openHttp } from "../src/host/disk/http.ts";
import { toRemove } from "../src/host/disk/kept.ts";
import { BlobFile, MemoryFile } from "../src/host/disk/memory.ts";
import { FileTable } from "../src/host/disk/table.ts";
import { urlDisks } from "../src/host/disk/urls.ts";
import { openPath } from "../src/node/disk.ts";

const BYTES = Uint8Array.from({ length: 500_000 }, (_, i) => (i * 7 + (i >> 8)) & 255);
const patience = { waits: [1, 2, 4], silence: 1000 };

interface Server {
  url: string;
  requests: { method: string | undefined; range: string | undefined }[];
  close(): void;
}

/** Ends the servers of a test that fails: or they keep the tests from ending. */
const ends: (() => void)[] = [];
afterEach(() => {
  for (const end of ends.splice(0)) end();
});

/** A server that is right, but for what `misbehave` does: true if it has answered. */
async function serve(
  misbehave: (response: ServerResponse, count: number, request: IncomingMessage) => boolean = () => false,
  bytes = BYTES,
): Promise<Server> {
  const requests: Server["requests"] = [];
  const server = createServer((request, response) => {
    const { range } = request.headers;
    requests.push({ method: request.method, range });
    response.setHeader("etag", '"one"');
    if (misbehave(response, requests.length, request)) return;
    const match = /^bytes=(\d+)-(\d+)$/.exec(range ?? "");
    if (!match) {
      response.writeHead(200, { "content-length": bytes.length }).end(request.method === "HEAD" ? undefined : bytes);
      return;
    }
    const start = Number(match[1]);
    const end = Math.min(Number(match[2]) + 1, bytes.length);
    if (start >= bytes.length) {
      response.writeHead(416, { "content-range": `bytes */${bytes.length}` }).end();
      return;
    }
    response.writeHead(206, {
      "content-range": `bytes ${start}-${end - 1}/${bytes.length}`,
      "content-length": end - start,
    });
    response.end(bytes.subarray(start, end));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const close = () => {
    server.closeAllConnections();
    server.close();
  };
  ends.push(close);
  return { url: `http://127.0.0.1:${port}/disk.img`, requests, close };
}

async function read(file: DiskFile, offset: number, length: number): Promise<Uint8Array> {
  const into = new Uint8Array(length);
  return (await file.read(offset, into)) ?? into;
}

async function check(file: DiskFile, offset: number, length: number, bytes = BYTES): Promise<void> {
  assert.deepEqual(await read(file, offset, length), bytes.slice(offset, offset + length));
}

test("ranges of a file on a server are fetched, its beginning when it is opened", async () => {
  const server = await serve();
  let account = 0;
  const file = await openHttp(server.url, { account: (bytes) => (account += bytes), patience });
  assert.deepEqual([file.size, file.remote, file.writable, file.tag], [BYTES.length, true, false, '"one"']);
  await check(file, 0, 4096);
  await check(file, 100_000, 31_072);
  assert.equal(server.requests.length, 1);
  await check(file, 131_072, 131_072);
  await check(file, BYTES.length - 100, 100);
  assert.equal(server.requests.length, 3);
  assert.equal(account, 131_072 * 2 + 100);
  server.close();
});

test("passing troubles are tried again: overload, broken transfers, silence, connections that break", async () => {
  const server = await serve((response, count) => {
    switch (count) {
      case 2:
        response.writeHead(503).end();
        return true;
      case 3:
        response.writeHead(206, { "content-length": 1000, "content-range": `bytes 200000-200999/${BYTES.length}` });
        response.write(BYTES.subarray(200_000, 200_500), () => response.destroy());
        return true;
      case 4:
        return true; // never answers
      case 6:
        response.socket?.destroy();
        return true;
      default:
        return false;
    }
  });
  const file = await openHttp(server.url, { patience });
  await check(file, 200_000, 1000);
  assert.equal(server.requests.length, 5);
  await check(file, 300_000, 1000);
  assert.equal(server.requests.length, 7);
  server.close();
});

test("a long range comes in parts, each once, also when the connection breaks between them", async () => {
  const server = await serve((response, count) => {
    if (count !== 2) return false;
    response.writeHead(206, { "content-length": 350_000, "content-range": `bytes 140000-489999/${BYTES.length}` });
    response.write(BYTES.subarray(140_000, 400_000), () => response.destroy());
    return true;
  });
  const file = await openHttp(server.url, { patience });
  const parts: Uint8Array[] = [];
  const paces: number[][] = [];
  const reading = { part: (bytes: Uint8Array) => parts.push(bytes), pace: (...pace: number[]) => paces.push(pace) };
  const last = await file.read(140_000, new Uint8Array(350_000), reading);
  assert.ok(last);
  assert.deepEqual(
    [...parts, last].map(({ length }) => length),
    [131_072, 131_072, 87_856],
  );
  assert.deepEqual(Buffer.concat([...parts, last]), Buffer.from(BYTES.subarray(140_000, 490_000)));
  const [, , again] = server.requests;
  assert.equal(again?.range, `bytes=${140_000 + 131_072}-489999`, "only what had not come is asked for again");
  assert.equal(paces.length, 1);
  assert.ok(
    paces.flat().every((n) => n > 0 && Number.isFinite(n)),
    `${paces}`,
  );
  server.close();
});

test("a body is the same without a reader of the caller's buffers", async () => {
  const without = ReadableStream.prototype.getReader;
  const server = await serve();
  const file = await openHttp(server.url, { patience });
  try {
    ReadableStream.prototype.getReader = function (this: ReadableStream, options?: { mode: "byob" }) {
      if (options) throw new TypeError("no such mode");
      return without.call(this);
    } as typeof without;
    await check(file, 140_000, 350_000);
  } finally {
    ReadableStream.prototype.getReader = without;
  }
  server.close();
});

test("a server that stays away is given up, with what it was and how often", async () => {
  const server = await serve((response, count) => count > 1 && !!response.writeHead(502, "Bad Gateway").end());
  const file = await openHttp(server.url, { patience });
  await assert.rejects(read(file, 200_000, 10), /the server answers 502 Bad Gateway \(given up after 4 attempts\)/);
  server.close();
  await assert.rejects(openHttp(server.url, { patience }), /cannot be reached.*\(given up after 4 attempts\)/);
});

test("what is not there is said at once", async () => {
  const server = await serve((response) => !!response.writeHead(404, "Not Found").end());
  await assert.rejects(openHttp(server.url, { patience }), /^Error: the server answers 404 Not Found$/);
  assert.equal(server.requests.length, 1);
  server.close();
});

for (const [what, change] of Object.entries({
  "another ETag": (response: ServerResponse) => response.setHeader("etag", '"two"'),
  "another size": (response: ServerResponse) =>
    response
      .writeHead(206, { "content-length": 10, "content-range": "bytes 200000-200009/400000" })
      .end(BYTES.slice(0, 10)),
  "an end before the range": (response: ServerResponse) => response.writeHead(416).end(),
})) {
  test(`a file that changes is not mixed with what it was: ${what}`, async () => {
    const server = await serve((response, count) => {
      if (count > 1) change(response);
      return response.headersSent;
    });
    const file = await openHttp(server.url, { patience });
    await assert.rejects(read(file, 200_000, 10), /it has changed on the server since it was opened/);
    assert.equal(server.requests.length, 2);
    server.close();
  });
}

test("a date tells of a change where there is no ETag", async () => {
  const server = await serve((response, count) => {
    response.removeHeader("etag");
    response.setHeader("last-modified", count > 1 ? "Tue, 02 Jan 2024 00:00:00 GMT" : "Mon, 01 Jan 2024 00:00:00 GMT");
    return false;
  });
  const file = await openHttp(server.url, { patience });
  assert.equal(file.tag, "changed Mon, 01 Jan 2024 00:00:00 GMT");
  await assert.rejects(read(file, 200_000, 10), /it has changed/);
  server.close();
});

test("what may be the name of other bytes, too, is not to keep bytes by", async () => {
  const [then, soon, late] = [0, 59, 60].map((seconds) => new Date(Date.UTC(2024, 0, 1, 0, 0, seconds)).toUTCString());
  for (const [headers, exact] of [
    [{ etag: '"one"' }, true],
    [{ etag: '"one"', "last-modified": then, date: soon }, true],
    [{ etag: 'W/"one"' }, false],
    [{ etag: 'W/"one"', "last-modified": then, date: late }, false],
    [{ "last-modified": then, date: late }, true],
    [{ "last-modified": then, date: soon }, false],
    [{ "last-modified": late, date: then }, false],
    [{ "last-modified": then }, false],
    [{}, false],
  ] as const) {
    const server = await serve((response) => {
      response.removeHeader("etag");
      response.sendDate = false;
      for (const [name, value] of Object.entries(headers)) response.setHeader(name, value ?? "");
      return false;
    });
    assert.equal((await openHttp(server.url, { patience })).exact, exact, JSON.stringify(headers));
    server.close();
  }
});

test("a range that does not say which version it is of is not to be kept", async () => {
  let unsure = 0;
  const modified = "Mon, 01 Jan 2024 00:00:00 GMT";
  for (const last of ["etag", "last-modified"]) {
    const server = await serve((response, count) => {
      response.setHeader("last-modified", modified);
      if (last === "last-modified") response.removeHeader("etag");
      if (count === 3) response.removeHeader(last);
      return false;
    });
    unsure = 0;
    const file = await openHttp(server.url, { patience, unsure: () => (unsure += 1) });
    await check(file, 200_000, 10);
    assert.equal(unsure, 0);
    await check(file, 300_000, 10);
    assert.equal(unsure, 1, `without ${last}`);
    server.close();
  }
});

test("what a cache would mix is not taken from a cache", async () => {
  const looks = (response: ServerResponse, _: number, { headers }: IncomingMessage) => {
    if (headers["if-range"] === undefined || headers["if-range"] === '"one"') return false;
    response.end(BYTES); // it has another version: all of it
    return true;
  };
  for (const [server, probed] of [
    [await serve(looks), "default"],
    [await serve(), "no-store"],
  ] as const) {
    const { fetch } = globalThis;
    const caches: (RequestCache | undefined)[] = [];
    globalThis.fetch = (url, init) => {
      caches.push(init?.cache);
      return fetch(url, init);
    };
    try {
      const file = await openHttp(server.url, { patience, cached: () => true });
      assert.deepEqual(await file.read(300_000, new Uint8Array(8)), BYTES.slice(300_000, 300_008));
    } finally {
      globalThis.fetch = fetch;
    }
    assert.deepEqual(caches, ["no-cache", "no-store", probed]);
    server.close();
  }
});

test("a server without ranges: a small file is fetched as a whole, a big one refused", async () => {
  const server = await serve((response) => !!response.writeHead(200, { "content-length": BYTES.length }).end(BYTES));
  const file = await openHttp(server.url, { patience });
  assert.equal(file.remote, false);
  await check(file, 400_000, 100_000);
  assert.equal(server.requests.length, 1);
  server.close();
  const big = await serve((response) => {
    response.writeHead(200, { "content-length": 65 << 20 });
    return !!response.write("x");
  });
  await assert.rejects(openHttp(big.url, { patience }), /does not answer range requests.*68157440 bytes.*pagevm pack/);
  big.close();
});

test("a server that hides how long the file is, is asked for that alone", async () => {
  const server = await serve((response, _count, request) => {
    const write = response.writeHead.bind(response);
    response.writeHead = ((status: number, headers: Record<string, unknown>) => {
      const { "content-range": _hidden, ...rest } = headers;
      return write(status, rest as never);
    }) as never;
    // it has the file compressed, too, for those who take that
    if (request.method !== "HEAD" || !/gzip/.test(request.headers["accept-encoding"] ?? "")) return false;
    write(200, { "content-length": 1234, "content-encoding": "gzip" }).end();
    return true;
  });
  const file = await openHttp(server.url, { patience });
  assert.equal(file.size, BYTES.length);
  assert.equal(server.requests.at(-1)?.method, "HEAD");
  await check(file, 300_000, 5000);
  server.close();
});

test("a short file and an empty one", async () => {
  for (const length of [0, 1, 1000]) {
    const server = await serve(undefined, BYTES.slice(0, length));
    const file = await openHttp(server.url, { patience });
    assert.equal(file.size, length);
    await check(file, 0, length);
    assert.deepEqual(await fetchHttp(server.url, false, { patience }), BYTES.slice(0, length));
    server.close();
  }
});

test("bytes and picked files", async () => {
  const memory = new MemoryFile(BYTES.slice());
  await check(memory, 1234, 100);
  memory.write(BYTES.length - 2, Uint8Array.of(1, 2, 3, 4));
  assert.equal(memory.size, BYTES.length + 2);
  assert.deepEqual(await read(memory, BYTES.length - 2, 4), Uint8Array.of(1, 2, 3, 4));
  const picked = new BlobFile(new File([BYTES], "disk.img", { lastModified: 5 }));
  assert.deepEqual([picked.size, picked.writable, picked.tag], [BYTES.length, false, "changed 5"]);
  await check(picked, 1234, 100_000);
});

test("files of this computer", async () => {
  const directory = mkdtempSync(join(tmpdir(), "pagevm-disk-"));
  const path = join(directory, "disk.img");
  writeFileSync(path, BYTES);
  const file = openPath(path, "write");
  await check(file, 1234, 100_000);
  file.write(BYTES.length, Uint8Array.of(9, 8, 7));
  file.flush();
  assert.equal(file.size, BYTES.length + 3);
  file.close();
  assert.deepEqual([...readFileSync(path).subarray(-3)], [9, 8, 7]);
  const reader = openPath(path, "read");
  writeFileSync(path, BYTES.subarray(0, 1000));
  assert.throws(() => reader.read(500, new Uint8Array(1000)), /it ends after 1000 bytes/);
  reader.close();
  assert.throws(() => openPath(join(directory, "none"), "write"), /there is no such file/);
  assert.throws(() => openPath(directory, "read"), /not a file/);
  openPath(join(directory, "new"), "create").close();
  assert.equal(openPath(join(directory, "new"), "write").size, 0);
  rmSync(directory, { recursive: true });
});

test("names are found with the job, or relative to the file that names them", async () => {
  const server = await serve();
  const watch = { targets: new Map<string, DiskFile>(), answered: () => {}, failed: () => {}, account: () => {} };
  const job = {
    base: new URL("sub/page.html", server.url).href,
    files: { "mine.img": BYTES, "else.img": "../there.img" },
  };
  const host = diskHost(urlDisks, job, watch);
  assert.equal((await host.open("mine.img", "", "read")).writable, true);
  await host.open("else.img", "", "read");
  await host.open("base.img", "else.img", "read");
  assert.equal(server.requests.length, 2);
  await assert.rejects(host.open("kept:base.img", "else.img", "create"), /no storage/);
  await assert.rejects(host.open("new.overlay", "", "create"), /opfs:NAME/);
  const theirs = host.open("opfs:kept.img", "http://elsewhere/disk.qcow2", "read");
  await assert.rejects(theirs, /elsewhere\/disk.qcow2 names it/);
  await assert.rejects(host.open("opfs:kept.img", "opfs:disk.qcow2", "read"), /keeps no files/);
  server.close();
});

test("the browser's cache is left out as long as the engine keeps what comes", async () => {
  const uses: Use[] = [];
  const kept = Object.assign(new MemoryFile(new Uint8Array(0)), { alive: true });
  kept.close = () => {
    kept.alive = false;
  };
  const disks: Disks = {
    ...urlDisks,
    open: async (_address, _access, use) => {
      uses.push(use);
      return new MemoryFile(BYTES);
    },
    keep: async () => Object.assign(kept, { alive: true }),
  };
  const watch = { targets: new Map<string, DiskFile>(), answered: () => {}, failed: () => {}, account: () => {} };
  const host = diskHost(disks, { base: "http://host/" }, watch);
  await host.open("a.img", "", "read");
  await host.open("b.img", "", "read");
  const told = () => uses.map((use) => use.kept());
  assert.deepEqual(told(), [false, false]);
  (await host.open("kept:a.img", "", "create")).close();
  assert.deepEqual(told(), [false, false], "the engine could not use it");
  await host.open("kept:a.img", "", "create");
  assert.deepEqual(told(), [true, false]);
  uses[1]?.unsure();
  assert.deepEqual(told(), [true, false]);
  uses[0]?.unsure();
  assert.deepEqual(told(), [false, false]);
});

test("the engine's files by number: at once, later, and failures later", async () => {
  const memory = new Uint8Array(1 << 16);
  const told: unknown[] = [];
  let answered = () => {};
  const files: Record<string, DiskFile> = {
    "a.img": new MemoryFile(BYTES.slice()),
    "b.img": new BlobFile(new Blob([BYTES])),
    "d.img": Object.assign(new BlobFile(new Blob([])), {
      async read(_: number, into: Uint8Array, reading?: Reading) {
        reading?.part(into.slice(0, 2).fill(1));
        await Promise.resolve();
        reading?.part(into.slice(0, 1).fill(2));
        reading?.pace(30, 12_500);
        return into.slice(0, 1).fill(3);
      },
    }),
  };
  const host = {
    open: async (name: string) => files[name] ?? Promise.reject(new Error("there is no such file")),
    fetch: async () => Uint8Array.of(5, 6),
    answered: () => answered(),
    failed: (error: unknown) => told.push(error),
  };
  const table = new FileTable(host, (ptr, len) => memory.subarray(ptr, ptr + len));
  const text = (len: number) => new TextDecoder().decode(memory.subarray(0x8000, 0x8000 + len));
  table.attach({
    scratch: () => 0x8000,
    file_opened: (request, file, size, flags, tag) => told.push(["opened", request, file, size, flags, text(tag)]),
    file_part: (request, len) => told.push(["part", request, len]),
    file_pace: (request, latency, rate) => told.push(["pace", request, latency, rate]),
    file_done: (request, len) => told.push(["done", request, [...memory.subarray(0x8000, 0x8000 + len)]]),
    file_failed: (request, len) => told.push(["failed", request, text(len)]),
  });
  const next = () => new Promise<void>((resolve) => (answered = resolve));
  const open = async (name: string, request: number) => {
    memory.set(new TextEncoder().encode(name), 100);
    table.imports.file_open(100, name.length, 0, 0, FileAccess.Write, request);
    assert.equal(told.length, 0, "an import does not call back");
    await next();
    return told.pop();
  };
  assert.deepEqual(await open("a.img", 1), ["opened", 1, 1, BigInt(BYTES.length), FileFlags.Writable, ""]);
  assert.deepEqual(await open("b.img", 2), ["opened", 2, 2, BigInt(BYTES.length), 0, ""]);
  assert.deepEqual(await open("c.img", 3), ["failed", 3, "there is no such file"]);
  assert.equal(table.imports.file_read(1, 1000n, 200, 16, 4), FileStarted.Done);
  assert.deepEqual(memory.slice(200, 216), BYTES.slice(1000, 1016));
  assert.equal(table.imports.file_read(2, 1000n, 300, 3, 5), FileStarted.Pending);
  await next();
  assert.deepEqual(told.pop(), ["done", 5, [...BYTES.slice(1000, 1003)]]);
  assert.deepEqual(memory.slice(300, 303), new Uint8Array(3), "what comes later goes to the scratch room");
  assert.equal(table.imports.file_write(1, 7n, 200, 4, 6), FileStarted.Done);
  assert.equal(table.imports.file_write(2, 7n, 200, 4, 7), FileStarted.Pending);
  await next();
  assert.deepEqual(told.pop(), ["failed", 7, "it can only be read"]);
  table.imports.file_fetch(100, 5, 0, 0, 0, 8);
  await next();
  assert.deepEqual(told.pop(), ["done", 8, [5, 6]]);
  await open("d.img", 10);
  assert.equal(table.imports.file_read(3, 0n, 300, 4, 11), FileStarted.Pending);
  while (told.length < 4) await next();
  assert.deepEqual(told.splice(0), [
    ["part", 11, 2],
    ["part", 11, 1],
    ["pace", 11, 30, 12_500],
    ["done", 11, [3]],
  ]);
  table.imports.file_close(1);
  assert.equal(table.imports.file_read(1, 0n, 200, 16, 9), FileStarted.Pending);
  await next();
  assert.deepEqual(told.pop(), ["failed", 9, "it is not open"]);
});

test("an engine that fails while it is told about a file is the host's to know of", async () => {
  const error = new VmError("engine", "the engine failed in file_opened");
  const fails = () => {
    throw error;
  };
  for (const open of [async () => new MemoryFile(BYTES), () => Promise.reject(new Error("there is no such file"))]) {
    const failed = await new Promise((resolve) => {
      const host = { open, fetch: async () => BYTES, answered: () => resolve("answered"), failed: resolve };
      const table = new FileTable(host, () => new Uint8Array(BYTES.length));
      const [file_opened, file_failed] = [fails, fails];
      table.attach({ scratch: () => 8, file_opened, file_failed, file_part() {}, file_pace() {}, file_done() {} });
      table.imports.file_open(0, 0, 0, 0, FileAccess.Read, 1);
    });
    assert.equal(failed, error);
  }
});

test("what is kept of files is bounded: the oldest go first", () => {
  const mib = 1 << 20;
  const files = [3, 1, 2].map((used) => ({ name: `${used}`, size: 200 * mib, used }));
  const names = (quota: number) => toRemove(files, quota * mib)?.map(({ name }) => name);
  assert.deepEqual(names(100_000), ["1"], "a gigabyte, with one that may grow to 513 MiB");
  assert.deepEqual(toRemove(files.slice(1), 100_000 * mib), []);
  assert.deepEqual(names(513 * 4 + 800), ["1", "2"]);
  assert.deepEqual(names(513 * 4), ["1", "2", "3"]);
  assert.equal(names(513 * 4 - 4), undefined);
});
