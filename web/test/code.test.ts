// Translated code in a stand-in for the engine: memory, a table, a helper, and a way into the table's slots.

import assert from "node:assert/strict";
import { test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { CodeSupport } from "../src/abi.gen.ts";
import { CodeHost, codeSupport } from "../src/host/code.ts";
import type { CodeLimits } from "../src/protocol.ts";
import { ADD, assemble, call, callIndirect, i32, local, type Parts, returnCallIndirect, TABLE, TRAP } from "./wasm.ts";

/** Slot 1 is a stub that returns 7, slot 0 holds nothing, as in a module of Rust's. */
const STUB = 1;
const ENGINE = new WebAssembly.Module(
  assemble({
    functions: [
      ["i:i", [...local(0), ...local(0), ...ADD]],
      ["ii:i", [...local(1), ...local(0), ...callIndirect("i:i")]],
      ["i:i", i32(7)],
    ],
    memory: 1,
    table: 2,
    exports: { double: 0, enter: 1 },
    elements: [STUB, 2],
  }),
);
const [PTR, SLOTS] = [1024, 16];

function engine(limits?: CodeLimits) {
  const host = new CodeHost(limits);
  const { exports } = new WebAssembly.Instance(ENGINE);
  host.attach(exports);
  const memory = exports.memory as WebAssembly.Memory;
  return {
    ...host.imports,
    host,
    table: exports[TABLE] as WebAssembly.Table,
    enter: exports.enter as (slot: number, x: number) => number,
    compile(bytes: Uint8Array, slots: readonly number[] = []): number {
      new Uint8Array(memory.buffer).set(bytes, PTR);
      new Uint32Array(memory.buffer, SLOTS).set(slots);
      return host.imports.code_compile(PTR, bytes.length, SLOTS, slots.length);
    },
  };
}

/** Two regions: one doubles and adds `n` by way of the engine's helper, the other goes on to `next`'s slot. */
function code(slot: number, n: number, next: number, form: "linked" | "unlinked"): Uint8Array<ArrayBuffer> {
  const linked = form === "linked";
  const parts: Parts = {
    imports: {
      functions: { double: "i:i", ...(linked ? {} : { enter: "ii:i" as const }) },
      memory: true,
      table: linked,
    },
    functions: [
      ["i:i", [...local(0), ...call(0), ...i32(n), ...ADD]],
      linked
        ? ["i:i", [...local(0), ...i32(next), ...returnCallIndirect("i:i")]]
        : ["i:i", [...i32(next), ...local(0), ...call(1)]],
    ],
  };
  const first = linked ? 1 : 2;
  return assemble(
    linked ? { ...parts, elements: [slot, first, first + 1] } : { ...parts, exports: { f0: first, f1: first + 1 } },
  );
}

for (const form of ["linked", "unlinked"] as const) {
  test(`${form}: regions run from their slots and enter each other's`, () => {
    const e = engine({ support: form });
    assert.equal(e.code_support(), form === "linked" ? CodeSupport.Linked : CodeSupport.Unlinked);
    const first = e.table_grow(4, STUB);
    assert.equal(first, 2);
    assert.equal(e.enter(first + 3, 1), 7);
    assert.equal(e.compile(code(first, 100, first + 2, form), [first, first + 1]), 1);
    assert.deepEqual([e.enter(first, 4), e.enter(first + 1, 4)], [108, 7]);
    assert.equal(e.compile(code(first + 2, 200, first, form), [first + 2, first + 3]), 2);
    assert.deepEqual([e.enter(first + 1, 4), e.enter(first + 3, 4)], [208, 108], "links follow the slot's content");

    e.table_copy(first, STUB, 2);
    e.code_drop(1);
    assert.deepEqual([e.enter(first, 4), e.enter(first + 3, 4), e.enter(first + 2, 4)], [7, 7, 208]);
    assert.equal(e.host.live, 1);
  });

  test(`${form}: what does not compile is refused, and nothing else has changed`, () => {
    const e = engine({ support: form });
    const first = e.table_grow(2, STUB);
    const good = code(first, 1, first, form);
    for (const [what, bytes, slots] of [
      ["nothing", new Uint8Array(0), []],
      ["no module", Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8), []],
      ["cut short", good.slice(0, -3), [first, first + 1]],
      ["invalid", assemble({ functions: [[":i", ADD]] }), []],
      ["an unknown import", assemble({ imports: { functions: { none: "i:i" } } }), []],
      ["another signature", assemble({ imports: { functions: { double: "ii:i" } } }), []],
      ...(form === "unlinked"
        ? ([
            ["a slot that there is not", good, [first, 99]],
            ["an export that is missing", good, [first, first + 1, first]],
          ] as const)
        : ([["a segment past the table", code(first + 1, 1, first, form), []]] as const)),
    ] as const) {
      assert.equal(e.compile(bytes, slots), 0, what);
      assert.equal(e.enter(first, 1), 7, what);
    }
    assert.equal(e.code_compile(65_530, 100, 0, 0), 0, "outside memory");
    assert.equal(e.host.live, 0);
    assert.equal(e.compile(good, [first, first + 1]), 1);
    assert.equal(e.enter(first, 4), 9);
  });
}

test("a table that cannot grow stays usable", () => {
  const e = engine();
  for (const count of [10_000_000, 0x7fff_ffff, -1]) assert.equal(e.table_grow(count, STUB), 0, `${count}`);
  assert.equal(e.table_grow(1, 999), 0, "no such slot");
  assert.equal(e.table.length, 2);
  assert.equal(e.table_grow(100_000, STUB), 2);
  assert.equal(e.enter(100_001, 1), 7);
  assert.equal(e.table_grow(1, 0), 100_002, "an empty slot is copied like any other");
  assert.throws(() => e.table_copy(100_002, STUB, 2), RangeError, "the engine's own error is not hidden");
});

test("a limit refuses, and what was dropped makes room", () => {
  const e = engine({ modules: 2, slots: 3, support: "linked" });
  const first = e.table_grow(2, STUB);
  assert.equal(e.table_grow(2, STUB), 0);
  assert.equal(e.table_grow(1, STUB), first + 2);
  const good = code(first, 1, first, "linked");
  assert.deepEqual([e.compile(good), e.compile(good), e.compile(good)], [1, 2, 0]);
  e.code_drop(1);
  e.code_drop(1);
  assert.deepEqual([e.compile(good), e.compile(good)], [3, 0]);
  assert.equal(engine({ modules: 0 }).compile(good), 0);
});

test("translated code that traps ends the call that entered it, and no other", () => {
  const e = engine();
  const first = e.table_grow(1, STUB);
  assert.equal(e.compile(assemble({ imports: { table: true }, functions: [["i:i", TRAP]], elements: [first, 0] })), 1);
  assert.throws(() => e.enter(first, 1), WebAssembly.RuntimeError);
  e.table_copy(first, STUB, 1);
  assert.equal(e.enter(first, 1), 7);
});

test("what this host can do, and what a test says it can", () => {
  assert.equal(codeSupport(), CodeSupport.Linked, "the tests run in the Node that stands for browsers");
  assert.equal(codeSupport("none"), CodeSupport.None);
  const none = engine({ support: "none" });
  assert.deepEqual([none.code_support(), none.compile(assemble({}))], [CodeSupport.None, 0]);
  const bare = new CodeHost();
  bare.attach({});
  assert.equal(bare.imports.code_support(), CodeSupport.None, "an engine without a table");
  assert.deepEqual([bare.imports.code_compile(0, 8, 0, 0), bare.imports.table_grow(1, 0)], [0, 0]);
});

test("a module whose slots were overwritten is garbage", async () => {
  setFlagsFromString("--expose-gc");
  const gc = runInNewContext("gc") as () => void;
  const { Module } = WebAssembly;
  for (const form of ["linked", "unlinked"] as const) {
    const e = engine({ support: form });
    const first = e.table_grow(2, STUB);
    const made: WeakRef<WebAssembly.Module>[] = [];
    WebAssembly.Module = new Proxy(Module, {
      construct(target, args: [BufferSource]) {
        const module = new target(...args);
        made.push(new WeakRef(module));
        return module;
      },
    });
    try {
      for (let n = 1; n <= 50; n++) {
        assert.equal(e.compile(code(first, n, first, form), [first, first + 1]), n);
        assert.equal(e.enter(first, 0), n);
        e.code_drop(n - 1);
      }
    } finally {
      WebAssembly.Module = Module;
    }
    let kept = made.length;
    for (let turn = 0; turn < 20 && kept > 1; turn++) {
      await new Promise((done) => setImmediate(done));
      gc();
      kept = made.filter((module) => module.deref()).length;
    }
    assert.equal(kept, 1, `${form}: the last module, which is in use, and no other`);
    assert.equal(e.enter(first, 0), 50);
  }
});
