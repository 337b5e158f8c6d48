// Files on a web server, read by ranges (RFC 9110, 14). A failure is tried again for a while; a file that has changed
// since it was opened is never mixed with what it was.

import { Body, Broken } from "./body.ts";
import { type DiskFile, type Reading, ReadOnlyFile } from "./file.ts";
import { MemoryFile } from "./memory.ts";

/** How patient a host is. Times in milliseconds. */
export interface Patience {
  /** Waits between attempts: there is one more attempt than waits. */
  readonly waits: readonly number[];
  /** Without an answer or a piece of one for this long, an attempt has failed. */
  readonly silence: number;
}

const PATIENCE: Patience = { waits: [250, 500, 1000, 2000, 4000], silence: 30_000 };
/** Fetched when a file is opened: formats have their headers there. */
const FIRST = 128 << 10;
/** What is read is given to the engine in parts of so many bytes: what it calls a chunk, `CHUNK_BITS` of crates/storage/src/cache.rs. */
const PART = 128 << 10;
/** What clocks of browsers are coarser than: nothing takes less. Milliseconds. */
const CLOCK = 0.1;
/** A file that is only to be had as a whole is taken so up to this many bytes. */
const WHOLE_LIMIT = 64 << 20;

export interface HttpOptions {
  /** Is told of bytes that have come. */
  account?: (bytes: number) => void;
  patience?: Patience;
  /** Whether responses may come from a cache, as a browser's does; asked each time. */
  cached?: () => boolean;
  /** Is told that bytes come of which it is not sure that they are of the version that was opened: they are not to be kept. */
  unsure?: () => void;
}

/** Worth another attempt. */
class Passing extends Error {}

/** What identifies the content that a response is of. */
interface Version {
  readonly etag: string | null;
  readonly modified: string | null;
  /** When the server answered. */
  readonly date: string | null;
}

function versionOf(response: Response): Version {
  // another server of a cluster may call the same content weakly another; the date then tells
  const { headers } = response;
  return { etag: headers.get("etag"), modified: headers.get("last-modified"), date: headers.get("date") };
}

/** Whether two responses are of the same content, as far as both tell. */
function same(a: Version, b: Version): boolean {
  if (a.etag !== null && b.etag !== null) return a.etag === b.etag;
  return a.modified === null || b.modified === null || a.modified === b.modified;
}

/** What to call a version: the ETag, else the date. */
function tagOf({ etag, modified }: Version): string {
  return etag ?? (modified === null ? "" : `changed ${modified}`);
}

/** A file that was changed may be changed again within its date. Milliseconds. */
const SETTLED = 60_000;

/**
 * Whether all that has this version is the same, byte for byte (RFC 9110, 8.8.1 and 8.8.2.2): a weak ETag may stay when bytes change,
 * and so may a date of just now.
 */
function exact({ etag, modified, date }: Version): boolean {
  if (etag !== null) return etag !== "" && !etag.startsWith("W/");
  return modified !== null && date !== null && Date.parse(date) - Date.parse(modified) >= SETTLED;
}

/** Whether a response says that it is of a version that is exact. */
function surely(response: Version, version: Version): boolean {
  return version.etag !== null ? response.etag === version.etag : response.modified === version.modified;
}

/** `bytes FIRST-LAST/SIZE`; nothing where it is missing, or hidden by CORS. */
function contentRange(response: Response): { start: number; end: number; size: number } | undefined {
  const match = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(response.headers.get("content-range") ?? "");
  if (!match) return undefined;
  return { start: Number(match[1]), end: Number(match[2]) + 1, size: Number(match[3]) };
}

/** Asks once; passing troubles are `Passing`, all others are not worth another attempt. */
async function ask(url: string, init: RequestInit, signal: AbortSignal): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(url, { ...init, signal });
  } catch (cause) {
    throw new Passing("the server cannot be reached, or does not allow this page to read the file", { cause });
  }
  const { status, statusText } = response;
  if (status === 200 || status === 206 || status === 416) return response;
  await response.body?.cancel();
  const message = `the server answers ${status} ${statusText}`.trimEnd();
  throw status === 408 || status === 429 || status >= 500 ? new Passing(message) : new Error(message);
}

/** The body, which is to have `length` bytes if that is known, and not more than `limit`. */
async function body(
  response: Response,
  length: number | undefined,
  limit: number,
  alive: () => void,
  account: (bytes: number) => void,
): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let total = 0;
  const reader = response.body?.getReader();
  try {
    while (reader) {
      const { done, value } = await reader.read();
      if (done) break;
      alive();
      account(value.length);
      parts.push(value);
      total += value.length;
      if (total > (length ?? limit)) {
        await reader.cancel();
        throw new Error(`the server sends more than ${length ?? limit} bytes`);
      }
    }
  } catch (cause) {
    if (total > (length ?? limit)) throw cause;
    throw new Passing(`the transfer broke off after ${total} bytes`, { cause });
  }
  if (length !== undefined && total !== length) {
    throw new Passing(`the transfer broke off after ${total} of ${length} bytes`);
  }
  const [only] = parts;
  if (parts.length === 1 && only) return only;
  const bytes = new Uint8Array(total);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** Attempts until one succeeds, or fails for good, or too many have failed. */
async function patiently<T>(
  patience: Patience,
  attempt: (signal: AbortSignal, alive: () => void) => Promise<T>,
): Promise<T> {
  for (let failures = 0; ; failures += 1) {
    const control = new AbortController();
    let timer = setTimeout(() => control.abort(), patience.silence);
    const alive = () => {
      clearTimeout(timer);
      timer = setTimeout(() => control.abort(), patience.silence);
    };
    try {
      return await attempt(control.signal, alive);
    } catch (error) {
      const wait = patience.waits[failures];
      if (!(error instanceof Passing)) throw error;
      if (wait === undefined) {
        throw new Error(`${error.message} (given up after ${failures + 1} attempts)`, { cause: error });
      }
      // not all at the same moment, after a server was down
      await new Promise((resolve) => setTimeout(resolve, wait * (0.75 + Math.random() / 2)));
    } finally {
      clearTimeout(timer);
    }
  }
}

const CHANGED = "it has changed on the server since it was opened; start the machine again";

class HttpFile extends ReadOnlyFile implements DiskFile {
  readonly remote = true;
  readonly tag: string;
  readonly exact: boolean;
  readonly size: number;
  readonly #url: string;
  readonly #version: Version;
  readonly #first: Uint8Array;
  /** What the browser's cache is used for, once it is. */
  #cache: Promise<RequestCache> | undefined;
  readonly #options: Required<HttpOptions>;

  constructor(url: string, size: number, version: Version, first: Uint8Array, options: Required<HttpOptions>) {
    super();
    this.#url = url;
    this.size = size;
    this.#version = version;
    this.#first = first;
    this.tag = tagOf(version);
    this.exact = exact(version);
    this.#options = options;
  }

  read(offset: number, into: Uint8Array, reading?: Reading): Promise<Uint8Array> | undefined {
    const { length } = into;
    if (offset + length <= this.#first.length) {
      into.set(this.#first.subarray(offset, offset + length));
      return undefined;
    }
    let came = 0;
    const part =
      reading &&
      ((bytes: Uint8Array) => {
        came += bytes.length;
        reading.part(bytes);
      });
    return patiently(this.#options.patience, async (signal, alive) => {
      const [start, rest] = [offset + came, length - came];
      const cache = await this.#mode(signal);
      const asked = performance.now();
      const response = await this.#range(start, rest, cache, signal);
      const answered = performance.now();
      const last = await this.#body(response, rest, alive, part);
      reading?.pace(answered - asked, rest / Math.max(performance.now() - answered, CLOCK));
      return last;
    });
  }

  /** A cache is left out if it could mix versions. */
  #mode(signal: AbortSignal): RequestCache | Promise<RequestCache> {
    if (!this.#options.cached()) return "no-store";
    this.#cache ??= knowsVersions(this.#url, signal).then((knows) => (knows ? "default" : "no-store"));
    return this.#cache;
  }

  async #range(start: number, length: number, cache: RequestCache, signal: AbortSignal): Promise<Response> {
    const headers = { range: `bytes=${start}-${start + length - 1}` };
    const response = await ask(this.#url, { cache, headers }, signal);
    const range = contentRange(response);
    const version = versionOf(response);
    const wrong = !same(version, this.#version) || response.status === 416 || (range && range.size !== this.size);
    if (wrong || response.status !== 206) {
      await response.body?.cancel();
      throw new Error(wrong ? CHANGED : "the server has answered with all of the file to a request for a part of it");
    }
    if (range && (range.start !== start || range.end !== start + length)) {
      await response.body?.cancel();
      throw new Passing("the server has answered with another part of the file");
    }
    if (!surely(version, this.#version)) this.#options.unsure();
    return response;
  }

  /** The bytes of a range; but for the last of them, in parts, if there is somebody who wants them. */
  async #body(response: Response, length: number, alive: () => void, part?: (bytes: Uint8Array) => void) {
    const body = new Body(response, (bytes) => {
      alive();
      this.#options.account(bytes);
    });
    try {
      let left = length;
      for (; part && left > PART; left -= PART) part(await body.take(PART));
      const last = await body.take(left);
      await body.end();
      return last;
    } catch (cause) {
      throw cause instanceof Broken ? new Passing(cause.message, { cause }) : cause;
    }
  }
}

function complete(options: HttpOptions): Required<HttpOptions> {
  return {
    account: options.account ?? (() => {}),
    patience: options.patience ?? PATIENCE,
    cached: options.cached ?? (() => false),
    unsure: options.unsure ?? (() => {}),
  };
}

/** Opens a file by its first bytes, which say how long it is and whether there are ranges. */
export function openHttp(url: string, options: HttpOptions = {}): Promise<DiskFile> {
  const all = complete(options);
  return patiently(all.patience, async (signal, alive) => {
    // a cache is to ask whether what it has is still so: later ranges are compared with this
    const init: RequestInit = { cache: "no-cache", headers: { range: `bytes=0-${FIRST - 1}` } };
    const response = await ask(url, init, signal);
    const version = versionOf(response);
    if (response.status === 206) {
      const range = contentRange(response);
      const first = await body(response, range && range.end - range.start, FIRST, alive, all.account);
      if (range && range.start !== 0) throw new Passing("the server has answered with another part of the file");
      const size = range?.size ?? (first.length < FIRST ? first.length : await sizeByHead(url, signal));
      return new HttpFile(url, size, version, first, all);
    }
    if (response.status === 416) return new MemoryFileOf(new Uint8Array(0), version); // a file of no bytes has no range
    const length = response.headers.has("content-encoding") ? null : response.headers.get("content-length");
    if (length !== null && Number(length) > WHOLE_LIMIT) {
      await response.body?.cancel();
      throw new Error(
        `the server does not answer range requests, and the file has ${length} bytes, of which ${WHOLE_LIMIT} would be ` +
          "fetched as a whole; serve it from a server that knows ranges, or as chunks (pagevm pack)",
      );
    }
    const expected = length === null ? undefined : Number(length);
    return new MemoryFileOf(await body(response, expected, WHOLE_LIMIT, alive, all.account), version);
  });
}

/**
 * Whether the server looks at If-Range (RFC 9110, 13.1.5). A browser's cache asks by it for what it lacks of a file, and puts the
 * headers of the version that it has before the bytes of another one, if the server sends such all the same.
 */
async function knowsVersions(url: string, signal: AbortSignal): Promise<boolean> {
  try {
    const headers = { range: "bytes=0-0", "if-range": '"another version"' };
    const response = await fetch(url, { headers, cache: "no-store", signal });
    await response.body?.cancel();
    return response.status === 200;
  } catch {
    return false;
  }
}

async function sizeByHead(url: string, signal: AbortSignal): Promise<number> {
  // all of it as a range, since what is asked for by ranges is not to be compressed (Fetch, HTTP-network-or-cache fetch)
  const init: RequestInit = { method: "HEAD", cache: "no-cache", headers: { range: "bytes=0-" } };
  const response = await ask(url, init, signal);
  const length = response.headers.get("content-length");
  if (length === null) {
    throw new Error(
      "the server does not say how long the file is (Access-Control-Expose-Headers: Content-Range, ETag)",
    );
  }
  return Number(length);
}

/** A file that was fetched as a whole: read from memory, not to be written. */
class MemoryFileOf extends ReadOnlyFile implements DiskFile {
  readonly remote = false;
  readonly tag: string;
  readonly size: number;
  readonly #file: MemoryFile;

  constructor(bytes: Uint8Array, version: Version) {
    super();
    this.#file = new MemoryFile(bytes);
    this.size = bytes.length;
    this.tag = tagOf(version);
  }

  read(offset: number, into: Uint8Array): undefined {
    this.#file.read(offset, into);
  }
}

/** All of a file whose name changes with its content. */
export function fetchHttp(url: string, again: boolean, options: HttpOptions = {}): Promise<Uint8Array> {
  const { account, patience, cached } = complete(options);
  return patiently(patience, async (signal, alive) => {
    const response = await ask(url, { cache: !cached() ? "no-store" : again ? "reload" : "default" }, signal);
    const length = response.headers.has("content-encoding") ? null : response.headers.get("content-length");
    return body(response, length === null ? undefined : Number(length), WHOLE_LIMIT, alive, account);
  });
}
