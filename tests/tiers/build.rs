//! Assembles the programs of `asm` and of `crates/isa-x86/tests/{insn,sys}` with NASM, for the tests' module to include.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn sources(dir: &Path) -> Vec<PathBuf> {
    println!("cargo::rerun-if-changed={}", dir.display());
    let mut files: Vec<PathBuf> = fs::read_dir(dir).expect("programs").map(|f| f.expect("entry").path()).collect();
    files.retain(|p| p.extension().is_some_and(|e| e == "asm"));
    files.sort();
    files
}

fn assemble(source: &Path, include: &Path, out: &Path) {
    let run = Command::new("nasm")
        .args(["-f", "bin", "-O1", "-w+error", "-w-number-overflow", "-I"])
        .args([include, Path::new("-o"), out, source])
        .output()
        .expect("nasm is missing: install it (apt-get install nasm), or run `cargo xtask test`, which does");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
}

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var("CARGO_CFG_TARGET_ARCH").as_deref() != Ok("wasm32") {
        return;
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo"));
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/isa-x86/tests");
    let mut list = String::from("pub const INSN: &[(&str, u64, &[u8])] = &[\n");
    for source in sources(&tests.join("insn")) {
        let text = fs::read_to_string(&source).expect("source");
        let bits = text.lines().find_map(|l| l.strip_prefix("; bits ")).map_or("64", str::trim);
        let start = if bits == "16" { 0x7c00 } else { 0x10_0000 };
        let name = source.file_stem().expect("name").to_string_lossy();
        let (wrapped, bin) = (out.join(format!("{name}.asm")), out.join(format!("{name}.insn.bin")));
        fs::write(&wrapped, format!("bits {bits}\norg {start:#x}\n_start:\n{text}")).expect("write");
        assemble(&wrapped, &tests.join("insn"), &bin);
        let _ = writeln!(list, "    ({name:?}, {bits}, include_bytes!({bin:?})),");
    }
    list += "];\n/// Name, program, and what it is to report.\npub const SYS: &[(&str, &[u8], &str)] = &[\n";
    for source in sources(&tests.join("sys")) {
        let name = source.file_stem().expect("name").to_string_lossy();
        let bin = out.join(format!("{name}.sys.bin"));
        assemble(&source, &tests.join("sys"), &bin);
        let golden = fs::canonicalize(source.with_extension("txt")).expect("report");
        let _ = writeln!(list, "    ({name:?}, include_bytes!({bin:?}), include_str!({golden:?})),");
    }
    list += "];\n";
    for source in sources(Path::new("asm")) {
        let name = source.file_stem().expect("name").to_string_lossy();
        let bin = out.join(format!("{name}.bin"));
        assemble(&source, Path::new("asm"), &bin);
        let _ = writeln!(list, "pub const {}: &[u8] = include_bytes!({bin:?});", name.to_uppercase());
    }
    fs::write(out.join("asm.rs"), list).expect("write");
}
