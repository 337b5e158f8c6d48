//! The messages as a TypeScript module: a table, from which `web/src/files/codec.ts` reads and writes them.

use super::{MESSAGES, Qid, RLERROR, SetAttr, Stat, StatFs, Timespec, getattr, setattr};
use crate::Errno;

/// The text of `web/src/files/wire.gen.ts`.
pub fn typescript() -> String {
    let mut ts =
        String::from("// Made by `cargo run -p fs9p --example typescript` from crates/fs9p/src/wire.rs; edit that.\n");
    let structs = [
        ("Qid", Qid::FIELDS),
        ("Timespec", Timespec::FIELDS),
        ("Stat", Stat::FIELDS),
        ("StatFs", StatFs::FIELDS),
        ("SetAttr", SetAttr::FIELDS),
    ];
    for (name, fields) in structs {
        ts += &format!("\nexport interface {name} {{\n");
        fields.iter().for_each(|(field, ty)| ts += &format!("  {field}: {};\n", in_typescript(ty)));
        ts += "}\n";
    }
    ts += "\n/** The fields of each structure, in order. */\nexport const STRUCTS = {\n";
    structs.iter().for_each(|(name, fields)| ts += &format!("  {name}: {},\n", list(fields)));
    ts += "} as const;\n";
    let error = ("Rlerror", &[("ecode", "u32")][..]);
    let messages = || MESSAGES.iter().map(|m| (m.name, m.fields)).chain([error]);
    ts += "\nexport interface Messages {\n";
    for (name, fields) in messages() {
        let fields: Vec<_> = fields.iter().map(|(field, ty)| format!("{field}: {}", in_typescript(ty))).collect();
        let fields =
            if fields.is_empty() { "Record<never, never>".to_owned() } else { format!("{{ {} }}", fields.join("; ")) };
        ts += &format!("  {name}: {fields};\n");
    }
    ts += "}\n\n/** Type and fields of each message. */\nexport const MESSAGES = {\n";
    let kinds = MESSAGES.iter().map(|m| m.kind).chain([RLERROR]);
    for ((name, fields), kind) in messages().zip(kinds) {
        ts += &format!("  {name}: {{ kind: {kind}, fields: {} }},\n", list(fields));
    }
    ts += "} as const;\n\n/** Linux's error numbers. */\nexport const ERRNO: Readonly<Record<string, number>> = {\n";
    Errno::ALL.iter().for_each(|(name, errno)| ts += &format!("  {name}: {},\n", errno.0));
    ts += "};\n\n/** Bits of `valid` in Tsetattr. */\nexport const SETATTR = {\n";
    for (name, bit) in [
        ("MODE", setattr::MODE),
        ("UID", setattr::UID),
        ("GID", setattr::GID),
        ("SIZE", setattr::SIZE),
        ("ATIME", setattr::ATIME),
        ("MTIME", setattr::MTIME),
        ("ATIME_SET", setattr::ATIME_SET),
        ("MTIME_SET", setattr::MTIME_SET),
    ] {
        ts += &format!("  {name}: {bit:#x},\n");
    }
    ts + &format!(
        "}} as const;\n\n/** What Rgetattr tells at least. */\nexport const GETATTR_BASIC = {:#x}n;\n",
        getattr::BASIC
    )
}

/// `&'a [u8]` as `bytes`, `Vec<..>` as `..[]`, the others by their names.
fn plain(ty: &str) -> String {
    match ty.strip_prefix("Vec<").and_then(|ty| ty.strip_suffix('>')) {
        Some(element) => plain(element) + "[]",
        None if ty.contains("[u8]") => "bytes".into(),
        None if ty.starts_with("Data") => "data".into(),
        None => ty.into(),
    }
}

fn in_typescript(ty: &str) -> String {
    let plain = plain(ty);
    match plain.trim_end_matches("[]") {
        "bytes" | "data" => plain.replace("bytes", "Uint8Array").replace("data", "Uint8Array"),
        "u64" => plain.replace("u64", "bigint"),
        "u8" | "u16" | "u32" => "number".into(),
        _ => plain,
    }
}

fn list(fields: &[(&str, &str)]) -> String {
    let fields: Vec<_> = fields.iter().map(|(name, ty)| format!("[\"{name}\", \"{}\"]", plain(ty))).collect();
    format!("[{}]", fields.join(", "))
}
