// What is asked of a machine from outside: files of its shares, contents of its disks.

import type { EngineApi } from "../engine.ts";
import { VmError } from "../error.ts";
import type { Calls } from "../protocol.ts";
import type { DiskFile } from "./disk/file.ts";
import { MemoryFile } from "./disk/memory.ts";

/** What the calls need of a session. The promises are rejected with what has ended the machine. */
export interface Desk {
  /** The engine, when it knows the options: the shares are there. */
  configured(): Promise<EngineApi>;
  /** The engine, when it has a machine. */
  made(): Promise<EngineApi>;
  /** The machine stands still until as many have released it as have held it. */
  hold(): void;
  release(): void;
}

/** Pieces of a disk that are read at a time, at most: bytes. */
const LARGEST_PIECE = 16 << 20;

/** What is being exported. */
interface Export {
  size: number;
  read(offset: number, length: number): Promise<Uint8Array<ArrayBuffer>>;
}

export class Outside {
  readonly #desk: Desk;
  readonly #exports = new Map<number, Export>();
  readonly #targets = new Map<string, MemoryFile>();
  #last = 0;

  constructor(desk: Desk) {
    this.#desk = desk;
  }

  /** Files that the engine writes for an export, by name. */
  get targets(): ReadonlyMap<string, DiskFile> {
    return this.#targets;
  }

  /** The calls, for who does not know the names. */
  readonly calls = {
    putFile: async (...[path, contents, { share, mode = 0o644 }]: Parameters<Calls["putFile"]>) => {
      const engine = await this.#desk.configured();
      engine.putFile(shareNumber(engine, share), path, contents, mode);
    },
    getFile: async (...[path, { share }]: Parameters<Calls["getFile"]>) => {
      const engine = await this.#desk.configured();
      return engine.getFile(shareNumber(engine, share), path);
    },
    listFiles: async (...[path, { share }]: Parameters<Calls["listFiles"]>) => {
      const engine = await this.#desk.configured();
      return engine.listFiles(shareNumber(engine, share), path);
    },
    disks: async () => (await this.#desk.made()).disks(),
    exportBegin: async (...[disk, what]: Parameters<Calls["exportBegin"]>) => {
      const engine = await this.#desk.made();
      const index = diskNumber(engine, disk);
      const number = ++this.#last;
      this.#desk.hold();
      try {
        const begun = what === "disk" ? contents(engine, index) : await this.#overlay(engine, index, number);
        this.#exports.set(number, begun);
        return { number, size: begun.size };
      } catch (error) {
        this.#desk.release();
        throw error;
      }
    },
    exportRead: async (...[number, offset, length]: Parameters<Calls["exportRead"]>) => {
      await this.#desk.made();
      const open = this.#exports.get(number);
      if (!open) throw new VmError("machine", "the export has ended");
      return open.read(offset, Math.min(length, LARGEST_PIECE, Math.max(open.size - offset, 0)));
    },
    exportEnd: (...[number]: Parameters<Calls["exportEnd"]>) => {
      if (this.#exports.delete(number)) this.#desk.release();
    },
  };

  async #overlay(engine: EngineApi, disk: number, number: number): Promise<Export> {
    const name = `pagevm:export-${number}`;
    const file = new MemoryFile(new Uint8Array(0));
    this.#targets.set(name, file);
    try {
      await engine.diskExport(disk, name);
    } finally {
      this.#targets.delete(name);
    }
    return {
      size: file.size,
      read: async (offset, length) => new Uint8Array(file.bytes().slice(offset, offset + length)),
    };
  }
}

function contents(engine: EngineApi, disk: number): Export {
  const size = engine.disks()[disk]?.size ?? 0;
  return { size, read: (offset, length) => engine.diskRead(disk, offset, length) };
}

/** The share with this id, or the first one in memory. */
function shareNumber(engine: EngineApi, share: string | undefined): number {
  const ids: string[] = [];
  for (let n = 0, id = engine.shareId(n); id !== undefined; id = engine.shareId(++n)) {
    const memory = engine.sharePath(n) === "";
    if (share === undefined ? memory : id === share) {
      if (memory) return n;
      throw new VmError("machine", `share ${id} is a directory of the host's: read and write its files there`);
    }
    ids.push(id);
  }
  const there = ids.length === 0 ? "there is none" : `there are ${ids.join(", ")}`;
  if (share !== undefined) throw new VmError("options", `no share has the id ${share}: ${there}`);
  throw new VmError(
    "options",
    `the machine has no share in memory (${there}): add -fsdev memory,id=files -device virtio-9p-pci,fsdev=files,mount_tag=files`,
  );
}

/** The drive with this id, or this number. */
function diskNumber(engine: EngineApi, disk: string | number): number {
  const disks = engine.disks();
  const number = typeof disk === "number" ? disk : disks.findIndex(({ id }) => id === disk && id !== "");
  if (disks[number]) return number;
  const there = disks.map(({ id }, n) => (id === "" ? n : id)).join(", ");
  throw new VmError(
    "options",
    `there is no drive ${disk}: ${there === "" ? "the machine has none" : `there are ${there}`}`,
  );
}
