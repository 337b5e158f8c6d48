// A small assembler of Wasm modules, for modules that stand for the engine and for the code that it translates.

/** Every signature there is: parameters, a colon, the result; `i` is i32, `l` i64, `d` f64. */
const SIGNATURES = [":", "i:", "iii:", ":i", "i:i", "ii:i", "iiii:i", "d:i", ":l", "i:l", ":d"] as const;
export type Signature = (typeof SIGNATURES)[number];
const TYPES: Readonly<Record<string, number>> = { i: 0x7f, l: 0x7e, d: 0x7c };

export interface Parts {
  imports?: {
    /** By name; in module `e` where the name has no `MODULE.` before it. */
    functions?: Readonly<Record<string, Signature>>;
    memory?: boolean;
    table?: boolean;
  };
  /** Numbered after the imported ones. */
  functions?: readonly (readonly [Signature, readonly number[]])[];
  /** Pages of memory, slots of the table. */
  memory?: number;
  table?: number;
  /** Function numbers by name. */
  exports?: Readonly<Record<string, number>>;
  /** First slot and function numbers. */
  elements?: readonly [number, ...number[]];
  /** Address and bytes. */
  data?: readonly [number, Uint8Array];
}

export const TABLE = "__indirect_function_table";

const leb = (n: number): number[] => (n < 128 ? [n] : [(n & 127) | 128, ...leb(n >>> 7)]);
const sleb = (n: number): number[] => (n >= -64 && n < 64 ? [n & 127] : [(n & 127) | 128, ...sleb(n >> 7)]);
const vec = (items: readonly (readonly number[])[]) => [...leb(items.length), ...items.flat()];
const sized = (bytes: readonly number[]) => [...leb(bytes.length), ...bytes];
const name = (text: string) => sized([...new TextEncoder().encode(text)]);
const section = (id: number, items: readonly (readonly number[])[]) => (items.length ? [id, ...sized(vec(items))] : []);
const type = (signature: Signature) => leb(SIGNATURES.indexOf(signature));

export const local = (n: number) => [0x20, ...leb(n)];
export const i32 = (n: number) => [0x41, ...sleb(n)];
export const i64 = (n: number) => [0x42, ...sleb(n)];
export const f64 = (n: number) => [0x44, ...new Uint8Array(Float64Array.of(n).buffer)];
export const call = (n: number) => [0x10, ...leb(n)];
/** The slot is on the stack. */
export const callIndirect = (signature: Signature) => [0x11, ...type(signature), 0];
export const returnCallIndirect = (signature: Signature) => [0x13, ...type(signature), 0];
export const ADD = [0x6a];
export const DROP = [0x1a];
export const TRAP = [0x00];

/** The module's bytes. */
export function assemble(parts: Parts): Uint8Array<ArrayBuffer> {
  const { imports = {}, functions = [], exports = {}, elements, data } = parts;
  const from = (what: string, kind: readonly number[]) => {
    const [module = "", field = ""] = what.includes(".") ? what.split(".") : ["e", what];
    return [...name(module), ...name(field), ...kind];
  };
  const imported = Object.entries(imports.functions ?? {}).map(([what, sig]) => from(what, [0, ...type(sig)]));
  if (imports.memory) imported.push(from("memory", [2, 0, 1]));
  if (imports.table) imported.push(from(TABLE, [1, 0x70, 0, 1]));
  const exported = Object.entries(exports).map(([what, n]) => [...name(what), 0, ...leb(n)]);
  if (parts.memory !== undefined) exported.push([...name("memory"), 2, 0]);
  if (parts.table !== undefined) exported.push([...name(TABLE), 1, 0]);
  const types = SIGNATURES.map((signature) => {
    const [params, results] = signature.split(":").map((side) => vec([...side].map((t) => [TYPES[t] ?? 0])));
    return [0x60, ...(params ?? []), ...(results ?? [])];
  });
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, types),
    ...section(2, imported),
    ...section(
      3,
      functions.map(([signature]) => type(signature)),
    ),
    ...section(4, parts.table === undefined ? [] : [[0x70, 0, ...leb(parts.table)]]),
    ...section(5, parts.memory === undefined ? [] : [[0, ...leb(parts.memory)]]),
    ...section(7, exported),
    ...section(9, elements ? [[0, ...i32(elements[0]), 0x0b, ...vec(elements.slice(1).map(leb))]] : []),
    ...section(
      10,
      functions.map(([, body]) => sized([0, ...body, 0x0b])),
    ),
    ...section(11, data ? [[0, ...i32(data[0]), 0x0b, ...sized([...data[1]])]] : []),
  ]);
}
