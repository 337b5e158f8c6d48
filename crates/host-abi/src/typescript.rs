//! The table as a TypeScript module.

use crate::{CODE_IMPORT_MODULE, CODES, Codes, EXPORTS, Function, IMPORT_MODULE, IMPORTS, STATS, TABLE, VERSION};
use alloc::format;
use alloc::string::String;

/// The text of `web/src/abi.gen.ts`.
pub fn typescript() -> String {
    let mut ts = String::from("// Made by `cargo run -p host-abi` from crates/host-abi/src/lib.rs; edit that.\n\n");
    ts += &format!("export const VERSION = {VERSION};\nexport const IMPORT_MODULE = \"{IMPORT_MODULE}\";\n");
    ts += &format!("export const CODE_IMPORT_MODULE = \"{CODE_IMPORT_MODULE}\";\n");
    ts += &format!("export const TABLE = \"{TABLE}\";\n");
    CODES.iter().for_each(|codes| enumeration(&mut ts, codes));
    ts += "\n/** What the engine asks of its host. */\n";
    interface(&mut ts, "EngineImports", IMPORTS);
    ts += "\n/** What a host may call. A `u32` result comes as a signed number: `>>> 0` makes it an address. */\n";
    interface(&mut ts, "EngineExports", EXPORTS);
    names(&mut ts, "IMPORT_NAMES", "EngineImports", IMPORTS);
    names(&mut ts, "EXPORT_NAMES", "EngineExports", EXPORTS);

    ts += "\n/** Counters since the machine was created. */\nexport interface EngineStats {\n";
    for field in STATS {
        doc(&mut ts, "  ", field.doc);
        ts += &format!("  {}: number;\n", field.name);
    }
    ts += "}\n\n/** Of a machine that has done nothing. */\nexport const NO_STATS: EngineStats = {\n";
    STATS.iter().for_each(|field| ts += &format!("  {}: 0,\n", field.name));
    ts += "};\n\n/** Reads the `Stats` at `ptr`. */\n";
    ts += "export function readStats(memory: ArrayBufferLike, ptr: number): EngineStats {\n";
    ts += "  const view = new DataView(memory, ptr);\n  return {\n";
    for field in STATS {
        ts += &format!("    {}: Number(view.getBigUint64({}, true)),\n", field.name, field.offset);
    }
    ts + "  };\n}\n"
}

fn enumeration(ts: &mut String, codes: &Codes) {
    *ts += "\n";
    doc(ts, "", codes.doc);
    *ts += &format!("export const {} = {{\n", codes.name);
    for code in codes.codes {
        doc(ts, "  ", code.doc);
        *ts += &format!("  {}: {},\n", code.name, code.value);
    }
    *ts += "} as const;\n";
}

fn names(ts: &mut String, name: &str, of: &str, functions: &[Function]) {
    *ts += &format!("\nexport const {name} = [\n");
    functions.iter().for_each(|f| *ts += &format!("  \"{}\",\n", f.name));
    *ts += &format!("] as const satisfies readonly (keyof {of})[];\n");
}

fn interface(ts: &mut String, name: &str, functions: &[Function]) {
    *ts += &format!("export interface {name} {{\n");
    for f in functions {
        doc(ts, "  ", f.doc);
        *ts += &format!("  {}(", f.name);
        for (i, p) in f.params.iter().enumerate() {
            *ts += &format!("{}{}: {}", if i > 0 { ", " } else { "" }, p.name, js(p.ty));
        }
        *ts += &format!("): {};\n", f.result.map_or("void", js));
    }
    *ts += "}\n";
}

fn js(ty: &str) -> &'static str {
    if ty == "u64" { "bigint" } else { "number" }
}

fn doc(ts: &mut String, indent: &str, lines: &[&str]) {
    match lines {
        [] => {}
        [line] => *ts += &format!("{indent}/**{line} */\n"),
        _ => {
            *ts += &format!("{indent}/**\n");
            lines.iter().for_each(|line| *ts += &format!("{indent} *{line}\n"));
            *ts += &format!("{indent} */\n");
        }
    }
}
