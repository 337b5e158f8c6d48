//! The default guest in a page: served for a browser, or booted in headless Chromium on this terminal.

use crate::host::{Host, Job};
use crate::util::{root, run as run_command, say};
use crate::{guest, host, setup};
use anyhow::Result;
use serde_json::json;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// MiB of RAM of the demo's guest.
const MEMORY: u32 = 512;

pub struct Options {
    pub headless: bool,
    pub port: u16,
}

pub fn run(opts: &Options) -> Result<()> {
    if opts.headless {
        Host::Chromium.prepare()?;
        let options = guest::make(guest::DEFAULT)?.options(MEMORY);
        say("booting in headless Chromium; `poweroff` ends it");
        std::process::exit(host::run(Host::Chromium, &Job { options, ..Job::default() })?);
    }
    crate::build::run()?;
    let made = guest::make(guest::DEFAULT)?;
    let to = root().join("dist/guests").join(guest::DEFAULT);
    fs::create_dir_all(&to)?;
    for file in ["vmlinuz", "initrd.gz"] {
        fs::copy(made.dir.join(file), to.join(file))?;
    }
    // the page boots what this file says; addresses in it are relative to the page
    let guest = guest::Guest { dir: PathBuf::from("guests").join(guest::DEFAULT), ..made };
    let manifest = json!({ "about": guest.about, "arguments": guest.options(MEMORY) });
    fs::write(root().join("dist/manifest.json"), format!("{manifest:#}\n"))?;
    run_command(
        Command::new(setup::node()?)
            .arg(root().join("dist/node-cli.mjs"))
            .arg("serve")
            .arg(root().join("dist"))
            .args(["--port", &opts.port.to_string()]),
    )
}
