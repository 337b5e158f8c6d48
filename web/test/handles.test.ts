// Directories that browsers give, where a file does not take what was written. What they do otherwise is tested with a guest, in test/browser.

import assert from "node:assert/strict";
import { test } from "node:test";
import { shareHandle } from "../src/files/browser.ts";
import { decode, encode, type Message, type Name } from "../src/files/codec.ts";
import { answer, type Handlers } from "../src/files/server.ts";
import { ERRNO, type Messages } from "../src/files/wire.gen.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
const refused = (name: string) => new DOMException("as the test has it", name);

/** A file of one directory, which is in the page's own storage (written in place) or not (by way of a copy). */
class MockFile {
  readonly kind = "file";
  contents = bytes("old");
  /** What the browser says when it is to keep what was written. */
  failure: DOMException | undefined;
  createSyncAccessHandle: (() => Promise<unknown>) | undefined;
  #locked = false;

  constructor(inPlace: boolean) {
    if (inPlace) this.createSyncAccessHandle = async () => this.#access();
  }

  async getFile(): Promise<File> {
    return new File([this.contents], "file");
  }

  #access() {
    if (this.#locked) throw refused("NoModificationAllowedError");
    this.#locked = true;
    return {
      getSize: () => this.contents.length,
      write: (data: Uint8Array, { at }: { at: number }) => {
        this.#put(data, at);
        return data.length;
      },
      flush: () => this.#keep(),
      close: () => {
        this.#locked = false;
      },
    };
  }

  async createWritable() {
    const writes: { position: number; data: Uint8Array }[] = [];
    return {
      write: async (write: { position: number; data: Uint8Array }) => void writes.push(write),
      close: async () => {
        this.#keep();
        for (const { position, data } of writes) this.#put(data, position);
      },
    };
  }

  #keep(): void {
    if (this.failure) throw this.failure;
  }

  #put(data: Uint8Array, at: number): void {
    const now = new Uint8Array(Math.max(this.contents.length, at + data.length));
    now.set(this.contents);
    now.set(data, at);
    this.contents = now;
  }
}

/** A share of a directory with that file alone. */
class Client {
  readonly #share: Handlers;

  private constructor(file: MockFile) {
    const root = { kind: "directory", getFileHandle: async () => file };
    this.#share = shareHandle(root as unknown as FileSystemDirectoryHandle);
  }

  static async attached(file: MockFile): Promise<Client> {
    const client = new Client(file);
    await client.ask("Tattach", { fid: 0, afid: 0xffffffff, uname: bytes(""), aname: bytes(""), n_uname: 0 });
    return client;
  }

  /** Sends a request; the reply's fields, or the error's name. */
  async ask<N extends Name>(name: N, fields: Messages[N]): Promise<Message["fields"] | string> {
    const reply = decode(await answer(this.#share, encode(name, 1, fields)));
    if (reply.name !== "Rlerror") return reply.fields;
    return Object.entries(ERRNO).find(([, number]) => number === reply.fields.ecode)?.[0] ?? "no such error";
  }

  /** Opens the file to be written. */
  async open(fid: number): Promise<void> {
    assert.equal(typeof (await this.ask("Twalk", { fid: 0, newfid: fid, names: [bytes("file")] })), "object");
    assert.equal(typeof (await this.ask("Tlopen", { fid, flags: 1 })), "object");
  }

  async write(fid: number, text: string, offset = 0n): Promise<void> {
    assert.deepEqual(await this.ask("Twrite", { fid, offset, data: bytes(text) }), { count: text.length });
  }

  async size(fid: number): Promise<bigint> {
    const { stat } = (await this.ask("Tgetattr", { fid, request_mask: 0x7ffn })) as Messages["Rgetattr"];
    return stat.size;
  }
}

test("a file whose last writes fail is closed, and can be written again", async () => {
  const file = new MockFile(true);
  const client = await Client.attached(file);
  await client.open(1);
  await client.write(1, "new");
  file.failure = refused("InvalidStateError");
  assert.equal(await client.ask("Tclunk", { fid: 1 }), "EIO");
  file.failure = undefined;
  await client.open(2);
  await client.write(2, "newer");
  assert.deepEqual(await client.ask("Tclunk", { fid: 2 }), {});
  assert.deepEqual(file.contents, bytes("newer"));
});

test("a file whose copy does not take its place is as it was", async () => {
  const file = new MockFile(false);
  const client = await Client.attached(file);
  await client.open(1);
  await client.write(1, "new and longer");
  file.failure = refused("QuotaExceededError");
  assert.equal(await client.ask("Tfsync", { fid: 1, datasync: 0 }), "ENOSPC");
  assert.equal(await client.size(1), 3n);
  file.failure = undefined;
  await client.write(1, "er", 3n);
  assert.deepEqual(await client.ask("Tfsync", { fid: 1, datasync: 0 }), {});
  assert.deepEqual(file.contents, bytes("older"));
});
