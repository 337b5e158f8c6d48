// Messages of shares, and the directories of Node. What a directory does is compared with Linux by random operations in
// crates/fs9p/tests/against_linux.rs; here is what must not work.

import assert from "node:assert/strict";
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { Exit } from "../src/abi.gen.ts";
import { decode, encode, type Message, type Name } from "../src/files/codec.ts";
import { answer } from "../src/files/server.ts";
import { ERRNO, type Messages } from "../src/files/wire.gen.ts";
import { Directory } from "../src/node/directory.ts";
import { file, type MockEngine, run } from "./mock-engine.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
const scratch = mkdtempSync(join(tmpdir(), "pagevm-files-"));
after(() => rmSync(scratch, { recursive: true }));

test("a message is laid out as the protocol says", () => {
  const walk = encode("Twalk", 1, { fid: 2, newfid: 3, names: [bytes("ab"), bytes("c")] });
  const expected = [0x18, 0, 0, 0, 0x6e, 1, 0, 2, 0, 0, 0, 3, 0, 0, 0, 2, 0, 2, 0, 0x61, 0x62, 1, 0, 0x63];
  assert.deepEqual([...walk], expected);
  const { name, tag, fields } = decode(walk) as Extract<Message, { name: "Twalk" }>;
  assert.deepEqual([name, tag, fields.fid, fields.newfid], ["Twalk", 1, 2, 3]);
  assert.deepEqual(
    fields.names.map((name) => new TextDecoder().decode(name)),
    ["ab", "c"],
  );
  for (let cut = 7; cut < walk.length; cut++) assert.throws(() => decode(walk.subarray(0, cut)), RangeError);
});

/** Sends a request; the reply's fields, or the error's name. */
function ask<N extends Name>(directory: Directory, name: N, fields: Messages[N]): Message["fields"] | string {
  const reply = decode(answer(directory, encode(name, 1, fields)) as Uint8Array);
  if (reply.name !== "Rlerror") return reply.fields;
  return Object.entries(ERRNO).find(([, number]) => number === reply.fields.ecode)?.[0] ?? "no such error";
}

test("there is no way out of a directory", () => {
  const [inside, outside] = [join(scratch, "inside"), join(scratch, "outside")];
  mkdirSync(join(inside, "dir"), { recursive: true });
  mkdirSync(outside);
  writeFileSync(join(outside, "secret"), "secret");
  symlinkSync(outside, join(inside, "link"));
  symlinkSync(join(outside, "secret"), join(inside, "file"));
  const directory = new Directory(inside);
  const attach = { fid: 0, afid: 0xffffffff, uname: bytes(""), aname: bytes(""), n_uname: 0 };
  ask(directory, "Tattach", attach);
  const walk = (fid: number, newfid: number, name: string) =>
    ask(directory, "Twalk", { fid, newfid, names: [bytes(name)] });
  for (const name of ["..", ".", "", "../outside", "link/secret", "/etc", "dir/../..", "a\0b"]) {
    assert.equal(walk(0, 1, name), "ENOENT", name);
    const create = { fid: 0, name: bytes(name), flags: 0o102, mode: 0o644, gid: 0 };
    assert.equal(ask(directory, "Tlcreate", create), "ENOENT", name);
    assert.equal(ask(directory, "Tunlinkat", { dirfd: 0, name: bytes(name), flags: 0 }), "ENOENT", name);
    const rename = { olddirfid: 0, oldname: bytes("dir"), newdirfid: 0, newname: bytes(name) };
    assert.equal(ask(directory, "Trenameat", rename), "ENOENT", name);
  }
  assert.equal(typeof walk(0, 1, "link"), "object", "a link is a file");
  assert.equal(walk(1, 2, "secret"), "ENOTDIR");
  assert.equal(ask(directory, "Tlopen", { fid: 1, flags: 0 }), "ELOOP");
  assert.equal(typeof walk(0, 3, "file"), "object");
  assert.equal(ask(directory, "Tlopen", { fid: 3, flags: 0o1001 }), "ELOOP");
  assert.equal(
    ask(directory, "Tlcreate", { fid: 0, name: bytes("file"), flags: 0o102, mode: 0o644, gid: 0 }),
    "EEXIST",
  );
  // a directory that becomes a link is still the directory
  assert.equal(typeof walk(0, 4, "dir"), "object");
  rmSync(join(inside, "dir"), { recursive: true });
  symlinkSync(outside, join(inside, "dir"));
  assert.equal(walk(4, 5, "secret"), "ENOENT");
  // a file that becomes a link is not opened
  writeFileSync(join(inside, "plain"), "plain");
  assert.equal(typeof walk(0, 6, "plain"), "object");
  rmSync(join(inside, "plain"));
  symlinkSync(join(outside, "secret"), join(inside, "plain"));
  assert.equal(ask(directory, "Tlopen", { fid: 6, flags: 1 }), "ENOENT");
  assert.equal(readFileSync(join(outside, "secret"), "utf8"), "secret");
  directory.close();
});

test("descriptors are given back", () => {
  const inside = join(scratch, "many");
  for (let n = 0; n < 20; n++) mkdirSync(join(inside, `dir-${n}`, "sub"), { recursive: true });
  const next = () => {
    const fd = openSync(inside, "r");
    closeSync(fd);
    return fd;
  };
  const before = next();
  const directory = new Directory(inside);
  ask(directory, "Tattach", { fid: 0, afid: 0xffffffff, uname: bytes(""), aname: bytes(""), n_uname: 0 });
  for (let round = 0; round < 3; round++) {
    for (let n = 0; n < 20; n++) {
      ask(directory, "Twalk", { fid: 0, newfid: 1, names: [bytes(`dir-${n}`)] });
      ask(directory, "Twalk", { fid: 1, newfid: 2, names: [bytes("sub")] });
      ask(directory, "Tclunk", { fid: 1 });
      ask(directory, "Tclunk", { fid: 2 });
    }
  }
  assert.equal(next(), before + 1, "the root is open");
  directory.close();
  assert.equal(next(), before);
});

test("a machine that is closed, or has failed, has nothing of a shared directory open", async () => {
  const open = () => readdirSync("/proc/self/fd").filter((fd) => pathOf(fd).startsWith(scratch)).length;
  const pathOf = (fd: string) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return "";
    }
  };
  for (const exit of [Exit.Idle, 99 as typeof Exit.Idle]) {
    const attach = { fid: 0, afid: 0xffffffff, uname: bytes(""), aname: bytes(""), n_uname: 0 };
    const guest = (vm: MockEngine) => {
      vm.host.share(0, encode("Tattach", 1, attach));
      vm.write(`${open()}`);
      return exit;
    };
    const r = run({}, guest, {}, (vm) => {
      vm.shares = [scratch];
    });
    await r.until("output");
    if (exit === Exit.Idle) r.session.close();
    else await r.until("result");
    assert.deepEqual([r.output(), open()], ["1", 0]);
    r.session.close();
  }
});

test("what cannot be shared is one message", async () => {
  assert.throws(() => new Directory(join(scratch, "missing")), /ENOENT/);
  const r = run(
    { options: ["-kernel", "k"] },
    () => Exit.Idle,
    { k: file([bytes("k")], 1) },
    (vm) => {
      vm.shares = ["none"];
    },
  );
  const { result } = await r.until("result");
  const message = "the directory none cannot be shared: there is no such directory";
  assert.deepEqual(result, { ok: false, reason: "machine", message });
  r.session.close();
});

test("replies come at once, or later and wake the guest", async () => {
  const clunk = (fid: number) => encode("Tclunk", 7, { fid });
  let asked = false;
  const r = run(
    { options: ["-kernel", "k"] },
    (vm) => {
      if (!asked) {
        asked = true;
        assert.deepEqual(vm.host.share(0, clunk(1)), encode("Rclunk", 7, {}));
        assert.equal(vm.host.share(0, clunk(2)), undefined);
      }
      return vm.replies.length > 0 ? Exit.PowerOff : Exit.Idle;
    },
    { k: file([bytes("k")], 1) },
    (vm) => {
      vm.shares = ["directory"];
    },
  );
  await r.until("result");
  assert.deepEqual(r.engine?.replies, [[0, encode("Rclunk", 7, {})]]);
  r.session.close();
});
