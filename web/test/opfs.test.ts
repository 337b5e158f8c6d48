// Files in a browser's own storage where the browser takes its time: the rest is tested in a browser, in test/built and test/browser.

import assert from "node:assert/strict";
import { test } from "node:test";
import { OPFS_PREFIX, openOpfs, SPARE_DIRECTORY } from "../src/host/disk/opfs.ts";

/** What a browser takes to notice that a file is closed, or smaller, when it is busy. Milliseconds. */
const SLOW = 600;
const refused = (name: string) => new DOMException("as the test has it", name);

/** A site's storage, of which a file in the directory of spare ones has all room, and another tab some file. */
class Storage {
  /** When there is room, and when the other tab is gone. */
  room = Number.POSITIVE_INFINITY;
  closed = 0;

  readonly #handle = (spare: boolean) => ({
    write: (bytes: Uint8Array) => {
      if (performance.now() < this.room) throw refused("QuotaExceededError");
      return bytes.length;
    },
    truncate: () => {
      if (spare) this.room = performance.now() + SLOW;
    },
    getSize: () => 0,
    close: () => {},
  });

  #file(spare: boolean) {
    return {
      kind: "file",
      createSyncAccessHandle: async () => {
        if (performance.now() < this.closed) throw refused("NoModificationAllowedError");
        return this.#handle(spare);
      },
    };
  }

  #directory(spare: boolean): object {
    return {
      kind: "directory",
      getDirectoryHandle: async (name: string) => this.#directory(name === SPARE_DIRECTORY),
      getFileHandle: async () => this.#file(spare),
      keys: async function* () {},
    };
  }

  /** Makes this the storage of the page. */
  install(): this {
    const getDirectory = async () => this.#directory(false);
    Object.defineProperty(navigator, "storage", { value: { getDirectory }, configurable: true });
    return this;
  }
}

test("a file that a tab has which is about to be gone is waited for; one that stays open is refused", async () => {
  const storage = new Storage().install();
  storage.closed = performance.now() + SLOW;
  (await openOpfs(`${OPFS_PREFIX}file`, "create")).close();
  storage.closed = Number.POSITIVE_INFINITY;
  await assert.rejects(openOpfs(`${OPFS_PREFIX}file`, "create"), /open in another tab or window/);
});

test("room that another file gives up is waited for", async () => {
  new Storage().install();
  await openOpfs(`${OPFS_PREFIX}${SPARE_DIRECTORY}/spare`, "create", true);
  const file = await openOpfs(`${OPFS_PREFIX}file`, "create");
  await file.write(0, new Uint8Array(8));
  file.close();
});

test("where no file gives up its room, or it does not come, storage is full", async () => {
  const storage = new Storage().install();
  const file = await openOpfs(`${OPFS_PREFIX}file`, "create");
  const full = /storage for this site is full/;
  await assert.rejects(async () => file.write(0, new Uint8Array(8)), full);
  assert.throws(() => file.write(0, new Uint8Array(8)), full, "at once, the second time");
  assert.equal(storage.room, Number.POSITIVE_INFINITY);
  file.close();
});
