// From a disk's name to a file: what the job has, this site's storage, the web, this computer.

import type { Job } from "../../protocol.ts";
import type { Access, DiskFile, DiskHost } from "./file.ts";
import { KEPT_PREFIX } from "./kept.ts";
import { BlobFile, MemoryFile } from "./memory.ts";
import { OPFS_PREFIX, openOpfs } from "./opfs.ts";

/** What differs between hosts. An address is absolute; `base` is another, or where the job looks for files. */
export interface Disks {
  address(name: string, base: string | undefined): string;
  open(address: string, access: Access, use: Use): Promise<DiskFile>;
  fetch(address: string, again: boolean, use: Use): Promise<Uint8Array>;
  /** Opens what this host keeps of the file at an address for the next time; throws if it keeps nothing. */
  keep(address: string): Promise<KeptFile>;
}

export interface KeptFile extends DiskFile {
  /** It is open, and keeps what it is given. */
  readonly alive: boolean;
}

export interface Use {
  /** Is told of bytes that have come over the network. */
  account(bytes: number): void;
  /** Whether the engine keeps what it gets, so that no other cache need do so. */
  kept(): boolean;
  /** Is told that the engine gets bytes that may be another version's: it is not to keep them. */
  unsure(): void;
}

export interface Watch {
  /** Files that the host itself has the engine write, by name. */
  targets: ReadonlyMap<string, DiskFile>;
  answered(): void;
  failed(error: unknown): void;
  /** Bytes have come over the network. */
  account(bytes: number): void;
}

export function diskHost(
  disks: Disks,
  job: Pick<Job, "base" | "files">,
  { targets, answered, failed, account }: Watch,
): DiskHost {
  const given = (name: string) => (job.files && Object.hasOwn(job.files, name) ? job.files[name] : undefined);
  const address = (name: string, base: string): string => {
    const there = given(name);
    if (typeof there === "string") return disks.address(there, job.base);
    if (name.startsWith(OPFS_PREFIX)) {
      // an image from elsewhere could hand on what others have kept
      if (base !== "" && !base.startsWith(OPFS_PREFIX))
        throw new Error(`${base} names it, which is not of this storage`);
      return name;
    }
    if (base.startsWith(OPFS_PREFIX)) return base.slice(0, base.lastIndexOf("/") + 1 || OPFS_PREFIX.length) + name;
    return disks.address(name, base === "" ? job.base : address(base, ""));
  };
  /** By address, where the engine keeps what it fetches. */
  const kept = new Map<string, KeptFile>();
  const use = (address: string): Use => ({
    account,
    kept: () => kept.get(address)?.alive ?? false,
    unsure: () => kept.get(address)?.close(),
  });
  return {
    answered,
    failed,
    async open(name, base, access) {
      if (name.startsWith(KEPT_PREFIX)) {
        const where = address(name.slice(KEPT_PREFIX.length), base);
        const file = await disks.keep(where);
        kept.set(where, file);
        return file;
      }
      const target = targets.get(name);
      if (target) return target;
      const there = given(name);
      if (there instanceof Uint8Array) return new MemoryFile(there);
      if (there instanceof Blob) return new BlobFile(there);
      const where = address(name, base);
      return where.startsWith(OPFS_PREFIX) ? openOpfs(where, access) : disks.open(where, access, use(where));
    },
    async fetch(name, base, again) {
      const there = given(name);
      if (there instanceof Uint8Array) return there;
      if (there instanceof Blob) return new Uint8Array(await there.arrayBuffer());
      const where = address(name, base);
      if (!where.startsWith(OPFS_PREFIX)) return disks.fetch(where, again, use(address(base, "")));
      const file = await openOpfs(where, "read");
      const bytes = new Uint8Array(file.size);
      return (await file.read(0, bytes)) ?? bytes;
    },
  };
}
