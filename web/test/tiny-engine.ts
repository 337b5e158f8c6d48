// An `engine.wasm` of a few hundred bytes whose guest is one translated region: what a host's modules, table and traps
// come to in a real page and in real Node.

import { Exit, VERSION } from "../src/abi.gen.ts";
import { assemble, call, callIndirect, DROP, f64, i32, i64 } from "./wasm.ts";

/** The first slot that `table_grow` makes. */
const SLOT = 2;
const CODE = 1024;
/** `run` ends so where the region was not compiled. */
export const REFUSED = Exit.Reset;

/** An engine whose `run` compiles `region`, a function without parameters, enters it, and returns what it returns. */
export function tinyEngine(region: readonly number[]): Uint8Array<ArrayBuffer> {
  const code = assemble({
    imports: { table: true },
    functions: [[":i", region]],
    elements: [SLOT, 0],
  });
  const [grow, compile, stub] = [0, 1, 2];
  return assemble({
    imports: { functions: { "pagevm.table_grow": "ii:i", "pagevm.code_compile": "iiii:i" } },
    functions: [
      [":i", i32(REFUSED)],
      [":i", i32(VERSION)],
      ["i:i", i32(0x8000)], // room, all in the same place
      ["ii:i", i32(0xa000)],
      ["i:i", i32(0)],
      [":i", i32(0)],
      ["i:l", i64(0)],
      [":l", i64(0)],
      [":d", f64(0)],
      ["i:", []],
      [":", []],
      [
        "d:i",
        [
          ...[...i32(1), ...i32(1), ...call(grow), ...DROP],
          ...[...i32(CODE), ...i32(code.length), ...i32(0), ...i32(0), ...call(compile), ...DROP],
          ...[...i32(SLOT), ...callIndirect(":i")],
        ],
      ],
    ],
    memory: 1,
    table: 2,
    elements: [1, stub],
    data: [CODE, code],
    exports: {
      ...{ abi_version: stub + 1, scratch: stub + 2, image_begin: stub + 3, configure: stub + 4, create: stub + 5 },
      ...{
        console_mode: stub + 5,
        stats: stub + 5,
        image_name: stub + 6,
        console_output: stub + 7,
        message: stub + 7,
        helper_calls: stub + 7,
      },
      ...{ idle_until: stub + 8, console_input: stub + 9, reset: stub + 10, run: stub + 11 },
    },
  });
}
