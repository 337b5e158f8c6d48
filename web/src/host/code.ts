// Code that the engine translates at run time: modules beside its own, entered through its function table.
// What a host can do, and how that is found out: docs/decisions/110-translated-code.md.

import { CODE_IMPORT_MODULE, CodeSupport, type EngineImports, TABLE } from "../abi.gen.ts";
import type { CodeLimits } from "../protocol.ts";

type CodeImports = Pick<
  EngineImports,
  "code_support" | "code_stress" | "code_compile" | "code_drop" | "table_grow" | "table_copy"
>;
type Support = (typeof CodeSupport)[keyof typeof CodeSupport];

/**
 * What translated code imports and is put into: exports that memory and table are among. The table's functions are all
 * that holds a module: once its slots are overwritten, it is garbage.
 */
export class CodeHost {
  readonly imports: CodeImports = {
    code_support: () => this.#support,
    code_stress: () => this.#limits.stress ?? 0,
    code_compile: (ptr, len, slots, count) => this.#compile(ptr >>> 0, len >>> 0, slots >>> 0, count >>> 0),
    code_drop: (module) => void this.#live.delete(module >>> 0),
    table_grow: (count, from) => this.#grow(count >>> 0, from >>> 0),
    table_copy: (to, from, count) => this.#copy(to >>> 0, from >>> 0, count >>> 0),
  };
  readonly #limits: CodeLimits;
  #support: Support = CodeSupport.None;
  #exports: WebAssembly.Exports = {};
  #memory: WebAssembly.Memory | undefined;
  #table: WebAssembly.Table | undefined;
  readonly #live = new Set<number>();
  #last = 0;
  #grown = 0;

  constructor(limits: CodeLimits = {}) {
    this.#limits = limits;
  }

  /** The engine is there. */
  attach(exports: WebAssembly.Exports): void {
    const { memory, [TABLE]: table } = exports;
    if (!(memory instanceof WebAssembly.Memory && table instanceof WebAssembly.Table)) return;
    this.#exports = exports;
    this.#memory = memory;
    this.#table = table;
    this.#support = codeSupport(this.#limits.support);
  }

  /** Modules that the engine has and did not drop. */
  get live(): number {
    return this.#live.size;
  }

  #compile(ptr: number, len: number, slots: number, count: number): number {
    const [memory, table] = [this.#memory, this.#table];
    if (this.#support === CodeSupport.None || !memory || !table) return 0;
    if (this.#live.size >= (this.#limits.modules ?? Number.POSITIVE_INFINITY)) return 0;
    try {
      const module = new WebAssembly.Module(new Uint8Array(memory.buffer, ptr, len));
      const { exports } = new WebAssembly.Instance(module, { [CODE_IMPORT_MODULE]: this.#exports });
      if (this.#support === CodeSupport.Unlinked) {
        const functions = Array.from({ length: count }, (_, i) => exports[`f${i}`] as WebAssembly.ExportValue);
        const view = new DataView(memory.buffer, slots, count * 4);
        const places = functions.map((_, i) => view.getUint32(i * 4, true));
        if (!functions.every((f) => typeof f === "function") || places.some((at) => at >= table.length)) return 0;
        for (const [i, at] of places.entries()) table.set(at, functions[i]);
      }
    } catch {
      return 0; // what is not compiled is interpreted; the engine counts it
    }
    this.#last += 1;
    this.#live.add(this.#last);
    return this.#last;
  }

  #grow(count: number, from: number): number {
    if (!this.#table || this.#grown + count > (this.#limits.slots ?? Number.POSITIVE_INFINITY)) return 0;
    try {
      const first = this.#table.grow(count, this.#table.get(from));
      this.#grown += count;
      return first;
    } catch {
      return 0;
    }
  }

  /** A slot that there is not is an error of the engine's: the call of the engine's that led here ends with it. */
  #copy(to: number, from: number, count: number): void {
    const content = this.#table?.get(from);
    for (let slot = to; slot < to + count; slot++) this.#table?.set(slot, content);
  }
}

/** What this host can do, or what a test says it can. */
export function codeSupport(wanted?: CodeLimits["support"]): Support {
  if (wanted === "none") return CodeSupport.None;
  if (wanted === "unlinked") return CodeSupport.Unlinked;
  if (wanted === "linked") return CodeSupport.Linked;
  // came with V8 13.6, whose tables are not copied any more
  return "escape" in RegExp ? CodeSupport.Linked : CodeSupport.Unlinked;
}
