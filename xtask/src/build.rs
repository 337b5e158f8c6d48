//! `dist/`: engine.wasm, the static site and the npm package.

use crate::util::{root, run as run_command, say, size, target};
use crate::{hints, setup};
use anyhow::{Context, Result};
use flate2::{Compression, write::GzEncoder};
use std::fs;
use std::io::Write;
use std::process::Command;

pub const TARGET: &str = "wasm32-unknown-unknown";

pub fn run() -> Result<()> {
    setup::wasm_target()?;
    setup::web()?;
    say("building engine.wasm");
    run_command(
        Command::new("cargo")
            .args(["build", "--quiet", "--package", "engine", "--profile", "engine", "--target", TARGET])
            .current_dir(root()),
    )?;
    let built = target().join(TARGET).join("engine/engine.wasm");
    let wasm = fs::read(&built).with_context(|| built.display().to_string())?;
    let wasm = hints::with_hints(&wasm, &hints::cold_functions(&root().join("crates"))?)?;
    let built = built.with_file_name("hinted.wasm");
    fs::write(&built, &wasm).with_context(|| built.display().to_string())?;
    let mut gz = GzEncoder::new(Vec::new(), Compression::best());
    gz.write_all(&wasm)?;
    say(format!("engine.wasm: {}, gzip {}", size(wasm.len() as u64), size(gz.finish()?.len() as u64)));

    say("building the web bundle");
    run_command(
        Command::new("npm")
            .args(["run", "--silent", "build"])
            .env("ENGINE_WASM", &built)
            .env("DIST", root().join("dist"))
            .current_dir(root().join("web")),
    )
}
