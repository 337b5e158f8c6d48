// The directory that is packed into: what is ours in it, and how files get there.

import { createHash } from "node:crypto";
import { copyFileSync, existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";

/** Says whose the directory is. */
const MARK = ".pagevm-pack";
/** What is the guest's. */
const GUEST = "guest";
/** What the page consists of, beside the modules that it shares (`chunk-HASH.js`). */
const PAGE = ["index.html", "style.css", "page.js", "index.js", "worker.js", "engine.wasm"];

export class Site {
  readonly dir: string;
  /** Paths below `guest`, and bytes. */
  readonly #kept = new Map<string, number>();

  /** Takes a directory that is not there, is empty, or was made here before; throws if it is another. */
  constructor(dir: string) {
    this.dir = dir;
    let names: string[] = [];
    try {
      names = readdirSync(dir);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "ENOTDIR") throw new Error(`-o ${dir}: this is a file; give a directory`);
      if (code !== "ENOENT") throw error;
    }
    if (names.length > 0 && !names.includes(MARK)) {
      throw new Error(`-o ${dir}: this directory has files that pagevm pack has not made; give a new or an empty one`);
    }
    mkdirSync(join(dir, GUEST), { recursive: true });
    writeFileSync(
      join(dir, MARK),
      "This directory is written by `pagevm pack`, which removes what it does not need.\n",
    );
  }

  /** The page and the engine, from the package. Returns their bytes. */
  page(from: string): number {
    const shared = readdirSync(from).filter((name) => /^chunk-\w+\.js$/.test(name));
    const names = [...PAGE, ...shared];
    for (const name of readdirSync(this.dir)) {
      if (name.startsWith("chunk-") && !names.includes(name)) rmSync(join(this.dir, name));
    }
    for (const name of names) copyFileSync(join(from, name), join(this.dir, name));
    return names.reduce((bytes, name) => bytes + statSync(join(this.dir, name)).size, 0);
  }

  /** Whether there is such a file of the guest's already, which is then kept: for names that change with the content. */
  has(name: string): boolean {
    const path = join(this.dir, GUEST, name);
    if (!existsSync(path)) return false;
    this.#kept.set(name, statSync(path).size);
    return true;
  }

  /** Writes a file of the guest's, wholly or not at all. */
  put(name: string, bytes: Uint8Array): void {
    const path = join(this.dir, GUEST, name);
    mkdirSync(dirname(path), { recursive: true });
    const half = join(this.dir, GUEST, "half-written");
    writeFileSync(half, bytes);
    renameSync(half, path);
    this.#kept.set(name, bytes.length);
  }

  /** The address of a file of the guest's, relative to the page. */
  address(name: string): string {
    return `${GUEST}/${name}`;
  }

  /** Writes the manifest, and removes what was the guest's before and is not now. Returns the guest's bytes. */
  finish(manifest: object): number {
    writeFileSync(join(this.dir, "manifest.json"), `${JSON.stringify(manifest, null, 2)}\n`);
    const guest = join(this.dir, GUEST);
    for (const entry of readdirSync(guest, { recursive: true, withFileTypes: true })) {
      const path = join(entry.parentPath, entry.name);
      if (entry.isFile() && !this.#kept.has(path.slice(guest.length + 1).replaceAll("\\", "/"))) rmSync(path);
    }
    return [...this.#kept.values()].reduce((sum, bytes) => sum + bytes, 0);
  }
}

/** A name for what has this content: that of its file, as far as addresses and options need no quotes, and a hash. */
export function hashedName(path: string, content: Uint8Array, ending = ""): string {
  const name = basename(path).replace(/[^\w.-]/g, "_");
  return `${name}-${createHash("sha256").update(content).digest("hex").slice(0, 16)}${ending}`;
}
