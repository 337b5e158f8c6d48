// A small assembler of Wasm modules, for modules that stand for the engine and for the code that it translates.

/** A function of i32 parameters and one i32 result. */
export interface Func {
  params: number;
  body: readonly number[];
}

export interface Parts {
  /** Imported from module `e`. */
  imports?: { functions?: Readonly<Record<string, number>>; memory?: boolean; table?: boolean };
  /** Numbered after the imported ones. */
  functions?: readonly Func[];
  /** Pages of memory, slots of the table. */
  memory?: number;
  table?: number;
  /** Function numbers by name. */
  exports?: Readonly<Record<string, number>>;
  /** First slot and function numbers. */
  elements?: readonly [number, ...number[]];
}

export const TABLE = "__indirect_function_table";
const I32 = 0x7f;

export const leb = (n: number): number[] => (n < 128 ? [n] : [(n & 127) | 128, ...leb(n >>> 7)]);
const sleb = (n: number): number[] => (n < 64 ? [n] : [(n & 127) | 128, ...sleb(n >>> 7)]);
const vec = (items: readonly (readonly number[])[]) => [...leb(items.length), ...items.flat()];
const sized = (bytes: readonly number[]) => [...leb(bytes.length), ...bytes];
const name = (text: string) => sized([...new TextEncoder().encode(text)]);
const section = (id: number, items: readonly (readonly number[])[]) => (items.length ? [id, ...sized(vec(items))] : []);

export const local = (n: number) => [0x20, ...leb(n)];
export const i32 = (n: number) => [0x41, ...sleb(n)];
export const call = (n: number) => [0x10, ...leb(n)];
/** Of a function of `params` parameters; the slot is on the stack. */
export const callIndirect = (params: number) => [0x11, ...leb(params), 0];
export const returnCallIndirect = (params: number) => [0x13, ...leb(params), 0];
export const ADD = [0x6a];
export const TRAP = [0x00];

/** The module's bytes. Type `n` is that of functions of `n` parameters. */
export function assemble(parts: Parts): Uint8Array<ArrayBuffer> {
  const { imports = {}, functions = [], exports = {}, elements } = parts;
  const from = (what: string, kind: readonly number[]) => [...name("e"), ...name(what), ...kind];
  const imported = [
    ...Object.entries(imports.functions ?? {}).map(([what, params]) => from(what, [0, ...leb(params)])),
    ...(imports.memory ? [from("memory", [2, 0, 1])] : []),
    ...(imports.table ? [from(TABLE, [1, 0x70, 0, 1])] : []),
  ];
  const exported = Object.entries(exports).map(([what, n]) => [...name(what), 0, ...leb(n)]);
  if (parts.memory !== undefined) exported.push([...name("memory"), 2, 0]);
  if (parts.table !== undefined) exported.push([...name(TABLE), 1, 0]);
  const types = [0, 1, 2, 3].map((params) => [0x60, ...vec(Array(params).fill([I32])), 1, I32]);
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, types),
    ...section(2, imported),
    ...section(
      3,
      functions.map((f) => leb(f.params)),
    ),
    ...section(4, parts.table === undefined ? [] : [[0x70, 0, ...leb(parts.table)]]),
    ...section(5, parts.memory === undefined ? [] : [[0, ...leb(parts.memory)]]),
    ...section(7, exported),
    ...section(9, elements ? [[0, ...i32(elements[0]), 0x0b, ...vec(elements.slice(1).map(leb))]] : []),
    ...section(
      10,
      functions.map((f) => sized([0, ...f.body, 0x0b])),
    ),
  ]);
}
