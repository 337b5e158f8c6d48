// What a browser must have for `engine.wasm`, asked before anything is downloaded.

/** Header, one type (func), one function of it. */
const FUNCTION = "0061736d01000000 01040160 0000 03020100";

/**
 * The WebAssembly proposals that the engine's code uses, each with the smallest module that needs it.
 * They are those that rustc's wasm32-unknown-unknown has on, and vectors (`.cargo/config.toml`).
 */
export const FEATURES: Readonly<Record<string, string>> = {
  // i32.const 0, i32.extend8_s, drop
  "sign extension": `${FUNCTION} 0a080106 00 4100 c0 1a 0b`,
  // f32.const 0, i32.trunc_sat_f32_s, drop
  "saturating conversions": `${FUNCTION} 0a0c010a 00 4300000000 fc00 1a 0b`,
  // i32.const 0, i8x16.splat, drop
  "128-bit vectors": `${FUNCTION} 0a090107 00 4100 fd0f 1a 0b`,
  // a memory; i32.const 0 three times, memory.fill
  "bulk memory": `${FUNCTION} 0503010001 0a0d010b 00 4100 4100 4100 fc0b00 0b`,
};

/** The features this JavaScript engine lacks; `validate` for tests. */
export function missingFeatures(validate = (module: BufferSource) => WebAssembly.validate(module)): string[] {
  if (typeof WebAssembly !== "object") return ["WebAssembly"];
  const missing = Object.entries(FEATURES)
    .filter(([, hex]) => !validate(bytes(hex)))
    .map(([name]) => `WebAssembly ${name}`);
  if (typeof WebAssembly.compileStreaming !== "function") missing.push("WebAssembly streaming compilation");
  if (typeof BigInt64Array !== "function") missing.push("64-bit integers");
  return missing;
}

function bytes(hex: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(hex.replaceAll(" ", "").match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}
