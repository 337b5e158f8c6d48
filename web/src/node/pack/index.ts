// `pagevm pack`: a static site from a machine's options. The engine reads the options and the images; what is stored is
// called by its content, so packing again writes what has changed.

import { readFileSync, statSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { Image } from "../../abi.gen.ts";
import { Engine } from "../../engine.ts";
import { deferred, VmError } from "../../error.ts";
import { diskHost, type Watch } from "../../host/disk/host.ts";
import { compile } from "../../host/files.ts";
import { COMPRESSED } from "../../host/images.ts";
import { isAddress, nodeDisks, open } from "../files.ts";
import { archive } from "./cpio.ts";
import { packDrive } from "./drive.ts";
import { hashedName, Site } from "./site.ts";

export interface PackJob {
  /** The directory to make. */
  to: string;
  /** QEMU-style options, with paths of this computer; addresses stay as they are. */
  options: readonly string[];
  /** One line about the guest, for the page. */
  about?: string;
  /** Where the page and `engine.wasm` are. */
  from: string;
  log(line: string): void;
}

/** Bytes of files that a share in memory may have: as many as the engine has room for. */
const SHARE_LIMIT = 1 << 30;
/** What a file has to shrink to for a page to decompress it. */
const WORTH_IT = 0.9;

/** Throws one clear message. */
export async function pack({ to, options, about, from, log }: PackJob): Promise<void> {
  let next: PromiseWithResolvers<void> | undefined;
  const answered = () => {
    next = deferred<void>();
    return next.promise;
  };
  const engine = await loadEngine(from, {
    answered: () => next?.resolve(),
    failed: (error) => next?.reject(error),
  });
  engine.configure(options);
  const kernel = local(engine.imageName(Image.Kernel));
  const initrd = local(engine.imageName(Image.Initrd));
  // what is missing is said before anything is written
  const images = [named("kernel", kernel), named("initrd", initrd)];
  const shares = listed((n) => engine.sharePath(n)).map((path, n) =>
    path === "" ? named("archive", local(engine.shareArchive(n))) : archived(path, engine.shareMapped(n)),
  );
  const drives = listed((n) => engine.driveFile(n));
  drives.forEach(present);

  const site = new Site(to);
  const page = site.page(from);
  const names = images.map((image) => image && site.address(store(site, image.name, image.bytes)));
  for (const [n, file] of drives.entries()) {
    if (local(file) === undefined) {
      names.push(undefined);
      continue;
    }
    const { name, chunks } = await packDrive(engine, n, file, site, answered);
    log(`${file}: ${chunks} chunks`);
    names.push(site.address(name));
  }
  for (const share of shares) names.push(share && site.address(store(site, share.name, share.bytes)));
  const guest = site.finish({ ...(about === undefined ? {} : { about }), arguments: engine.packOptions(names) });
  engine.close();
  log(`${to}: page and engine ${size(page)}, guest ${size(guest)}`);
}

async function loadEngine(from: string, told: Pick<Watch, "answered" | "failed">): Promise<Engine> {
  const module = await compile(open, `${from}/engine.wasm`, () => {});
  return Engine.instantiate(module, {
    monotonic: () => performance.now(),
    realtime: () => Date.now(),
    random: (bytes) => crypto.getRandomValues(bytes),
    log: (_, text) => process.stderr.write(`pagevm: ${text}\n`),
    share: () => undefined,
    files: diskHost(nodeDisks, {}, { targets: new Map(), ...told, account: () => {} }),
  });
}

/** What `get` gives for 0, 1, .. until there is none. */
function listed(get: (n: number) => string | undefined): string[] {
  const all: string[] = [];
  for (let value = get(0); value !== undefined; value = get(all.length)) all.push(value);
  return all;
}

/** A name of this computer, not of the web or of a site's storage. */
function local(name: string | undefined): string | undefined {
  return name === undefined || isAddress(name) || name.startsWith("opfs:") ? undefined : name;
}

interface File {
  name: string;
  bytes: Uint8Array;
}

function named(what: string, path: string | undefined): File | undefined {
  if (path === undefined) return undefined;
  try {
    return { name: path, bytes: readFileSync(path) };
  } catch (error) {
    throw new VmError("machine", `${what} ${path}: ${reason(error)}`, { cause: error });
  }
}

/** Throws if a drive's file is not there. */
function present(file: string): void {
  if (local(file) === undefined) return;
  try {
    if (!statSync(file).isFile()) throw new Error("not a file");
  } catch (error) {
    throw new VmError("machine", `-drive: ${file}: ${reason(error)}`, { cause: error });
  }
}

/** What is to be in a share in memory: a directory's files, as the guest sees them; nothing of one that the page's user is to pick. */
function archived(path: string, mapped: boolean): File | undefined {
  if (local(path) === undefined || path.startsWith("pick:")) return undefined;
  try {
    if (!statSync(path).isDirectory()) throw new Error("it is no directory");
    return { name: `${path}.cpio`, bytes: Buffer.concat([...archive(path, SHARE_LIMIT, mapped)]) };
  } catch (error) {
    throw new VmError("machine", `the directory ${path} cannot be packed: ${reason(error)}`, { cause: error });
  }
}

function reason(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  return code === "ENOENT" ? "there is no such file" : code === "EISDIR" ? "not a file" : message;
}

/** Stores a file, compressed where that pays; returns its name. */
function store(site: Site, path: string, bytes: Uint8Array): string {
  if (path.endsWith(COMPRESSED)) {
    const name = hashedName(path.slice(0, -COMPRESSED.length), bytes, COMPRESSED);
    if (!site.has(name)) site.put(name, bytes);
    return name;
  }
  const [plain, packed] = [hashedName(path, bytes), hashedName(path, bytes, COMPRESSED)];
  // the content decides, so what is there is what would be made
  for (const name of [packed, plain]) if (site.has(name)) return name;
  const small = gzipSync(bytes, { level: 9 });
  const worth = small.length < bytes.length * WORTH_IT;
  const name = worth ? packed : plain;
  site.put(name, worth ? small : bytes);
  return name;
}

function size(bytes: number): string {
  return bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}
