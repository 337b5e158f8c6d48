//! The invariants of ARCHITECTURE.md that a reader of the tree relies on, read from `cargo metadata` and the sources.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The crates that make the engine, lowest first: a crate may use only crates of lower layers.
const LAYERS: &[&[&str]] = &[
    &["guest-api", "softfloat", "host-abi"],
    &["mem", "bus", "storage", "fs9p", "options", "ir"],
    &["isa-x86", "devices", "virtio", "netstack", "wasmgen"],
    &["machine", "jit"],
    &["engine"],
];

/// Crates that only tests use, and all that they may use of the workspace: less than they test.
const FOR_TESTS: &[(&str, &[&str])] = &[
    ("random", &[]),
    ("bare", &["isa-x86", "mem", "random"]),
    ("evaluator", &["guest-api", "ir"]),
    ("semantics", &["bare", "guest-api", "isa-x86", "mem", "random"]),
];

/// Crates that guest semantics must not see: they would tie them to one way of running.
const TRANSLATORS: &[&str] = &["ir", "wasmgen", "jit"];

/// Crates that know no guest: neither an instruction nor a register of one.
const GUESTLESS: &[&str] = &["ir", "wasmgen", "jit", "engine"];

/// Names of x86 instructions that are also words of the vocabulary, of Rust or of English.
const COMMON: &[&str] = &[
    "add", "and", "bswap", "call", "cmp", "div", "enter", "in", "int", "into", "leave", "loop", "mul", "neg", "not",
    "or", "out", "pop", "popcnt", "push", "set", "shl", "shr", "std", "str", "sub", "test", "xor",
];

/// Names of x86 that its instruction table does not have: registers, and the architecture itself.
const REGISTERS: &str = "rax rbx rcx rdx rsi rdi rsp rbp r8 r9 r10 r11 r12 r13 r14 r15 eax ebx ecx edx esi edi esp ebp \
    rip eip rflags eflags mxcsr cr0 cr2 cr3 cr4 cr8 efer gdtr idtr ldtr xmm cpl x86 sse x87";

/// Crates that may use `unsafe`, each block with its reason.
const UNSAFE: &[&str] = &["mem", "jit", "engine"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The workspace's crates: directory, and the workspace's crates it depends on outside tests.
fn crates() -> BTreeMap<String, (PathBuf, BTreeSet<String>)> {
    let out = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let metadata: Value = serde_json::from_slice(&out.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let names: BTreeSet<_> = packages.iter().map(|package| text(&package["name"])).collect();
    let crates = packages.iter().map(|package| {
        let dir = Path::new(package["manifest_path"].as_str().unwrap()).parent().unwrap().to_owned();
        let dependencies = package["dependencies"].as_array().unwrap().iter();
        let used = dependencies.filter(|d| d["kind"] != "dev").map(|d| text(&d["name"]));
        (text(&package["name"]), (dir, used.filter(|name| names.contains(name)).collect()))
    });
    crates.collect()
}

fn engine_crates() -> BTreeMap<String, (PathBuf, BTreeSet<String>)> {
    let mut crates = crates();
    crates.retain(|_, (dir, _)| dir.starts_with(root().join("crates")));
    assert!(crates.len() > 5, "cargo metadata shows {crates:?}");
    crates
}

/// Every Rust file under `dir`, with its code: comments and the contents of string literals are blanked.
fn sources(dir: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            let code = code(&fs::read_to_string(&path).unwrap());
            found.push((path, code));
        }
    }
    found
}

/// `text` without line comments and without what is between double quotes (raw strings and block comments are rare
/// enough here not to be read).
fn code(text: &str) -> String {
    let line = |line: &str| {
        let mut out = String::new();
        let (mut quoted, mut chars) = (false, line.chars().peekable());
        while let Some(c) = chars.next() {
            match c {
                '\\' if quoted => _ = chars.next(),
                '"' => quoted = !quoted,
                '/' if !quoted && chars.peek() == Some(&'/') => break,
                _ if quoted => {}
                c => out.push(c),
            }
        }
        out + "\n"
    };
    text.lines().map(line).collect()
}

/// Whether `code` has `word` as a word of its own.
fn has_word(code: &str, word: &str) -> bool {
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word)
        .any(|(at, _)| !code[..at].ends_with(inside) && !code[at + word.len()..].starts_with(inside))
}

/// The words that the identifiers of `code` are made of, in lower case.
fn words(code: &str) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    for identifier in code.split(|c: char| !c.is_alphanumeric()) {
        let mut word = String::new();
        for c in identifier.chars() {
            if c.is_uppercase() && !word.ends_with(char::is_uppercase) {
                words.insert(std::mem::take(&mut word).to_lowercase());
            }
            word.push(c);
        }
        words.insert(word.to_lowercase());
    }
    words
}

/// The names of the instructions in `isa-x86`'s table, and [`REGISTERS`], but for those in [`COMMON`].
fn names_of_x86() -> BTreeSet<String> {
    let table = fs::read_to_string(root().join("crates/isa-x86/src/table.rs")).unwrap();
    let (_, rows) = table.split_once("\nrows! {").unwrap();
    let names = rows.lines().filter_map(|row| row.split_once(']')).flat_map(|(names, _)| names.split(['[', ' ']));
    let names = names.chain(REGISTERS.split_whitespace()).map(str::to_lowercase);
    names.filter(|name| !name.is_empty() && !COMMON.contains(&name.as_str())).collect()
}

#[test]
fn dependencies_point_down() {
    let layer = |name: &str| LAYERS.iter().position(|layer| layer.contains(&name));
    for (name, (_, used)) in engine_crates() {
        let own = layer(&name).unwrap_or_else(|| panic!("crate {name} has no place in LAYERS: give it one"));
        for other in used {
            let other_layer = layer(&other).unwrap_or_else(|| panic!("{name} uses {other}, which has no layer"));
            assert!(other_layer < own, "{name} uses {other}, which is not below it");
        }
    }
}

#[test]
fn what_tests_share_is_below_them() {
    let crates = crates();
    for (name, may) in FOR_TESTS {
        let (_, used) = crates.get(*name).unwrap_or_else(|| panic!("there is no crate {name}"));
        for other in used {
            assert!(may.contains(&other.as_str()), "{name} uses {other}");
        }
        for (engine, (_, used)) in engine_crates() {
            assert!(!used.contains(*name), "{engine} uses {name}, which is for its tests: [dev-dependencies]");
        }
    }
}

#[test]
fn semantics_do_not_see_how_they_run() {
    for (name, (dir, used)) in engine_crates().into_iter().filter(|(name, _)| name.starts_with("isa-")) {
        for translator in TRANSLATORS {
            assert!(!used.contains(*translator), "{name} uses {translator}");
        }
        for (path, code) in sources(&dir.join("src")) {
            assert!(!has_word(&code, "wasm32"), "{}: semantics are the same on every target", path.display());
        }
    }
}

#[test]
fn whoever_translates_knows_no_guest() {
    let names = names_of_x86();
    assert!(names.len() > 400 && names.contains("movzx") && names.contains("rax"), "{names:?}");
    for (name, (dir, used)) in engine_crates() {
        if !GUESTLESS.contains(&name.as_str()) {
            continue;
        }
        assert!(!used.iter().any(|other| other.starts_with("isa-")), "{name} uses {used:?}");
        for (path, code) in sources(&dir.join("src")) {
            let named: Vec<_> = words(&code).intersection(&names).cloned().collect();
            assert!(named.is_empty(), "{}: {named:?} is of x86", path.display());
        }
    }
}

#[test]
fn decisions_have_numbers_of_their_own() {
    let mut numbers = BTreeMap::new();
    for file in fs::read_dir(root().join("docs/decisions")).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let number = name.split('-').next().unwrap().to_owned();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with(&format!("# {number}")), "{name}: its first line has another number");
        if let Some(other) = numbers.insert(number, name.clone()) {
            panic!("{name} and {other} have one number");
        }
    }
}

#[test]
fn devices_see_neither_processor_nor_host() {
    for (name, (dir, used)) in engine_crates() {
        if !["bus", "devices", "virtio", "storage", "netstack", "fs9p"].contains(&name.as_str()) {
            continue;
        }
        for other in used {
            let above = other.starts_with("isa-") || ["engine", "machine", "jit", "host-abi"].contains(&other.as_str());
            assert!(!above, "{name} uses {other}");
        }
        for (path, code) in sources(&dir.join("src")) {
            // A number of microseconds; it has no `now`.
            let code = code.replace("smoltcp::time::Instant", "");
            for clock in ["SystemTime", "Instant"] {
                assert!(!has_word(&code, clock), "{}: devices have guest time only, not {clock}", path.display());
            }
        }
    }
}

#[test]
fn only_the_engine_has_imports_and_exports() {
    for (name, (dir, _)) in engine_crates().into_iter().filter(|(name, _)| name != "engine") {
        for (path, code) in sources(&dir.join("src")) {
            let code = code.replace("extern crate", "");
            // Generated functions have a type; that is no symbol.
            let code = if name == "jit" { code.replace("extern  fn", "") } else { code };
            for word in ["extern", "no_mangle", "export_name", "wasm_import_module", "link_name"] {
                assert!(!has_word(&code, word), "{name}: {} has {word}", path.display());
            }
        }
    }
}

#[test]
fn unsafe_is_where_it_may_be() {
    for (name, (dir, _)) in engine_crates() {
        let manifest = fs::read_to_string(dir.join("Cargo.toml")).unwrap();
        assert!(manifest.contains("[lints]\nworkspace = true"), "{name} does not take the workspace's lints");
        if UNSAFE.contains(&name.as_str()) {
            continue;
        }
        for (path, code) in sources(&dir.join("src")) {
            assert!(!has_word(&code, "unsafe"), "{}: `unsafe` is for {UNSAFE:?}", path.display());
        }
    }
}

#[test]
fn the_checks_see_what_they_look_for() {
    let text = "fn f() { unsafe { g() } } // unsafe\nlet s = \"unsafe \\\" unsafe\"; not_unsafe();\n";
    let seen = code(text);
    assert_eq!(seen.matches("unsafe").count(), 2, "{seen}");
    assert_eq!(
        Vec::from_iter(words("fn read_MxCsr(x: u8) { RFLAGS }")),
        ["", "csr", "fn", "mx", "read", "rflags", "u8", "x"]
    );
    assert!(has_word(&seen, "unsafe") && !has_word("not_unsafe()", "unsafe") && !has_word("unsafe_code", "unsafe"));
}
