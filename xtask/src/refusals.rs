//! What cannot be booted is refused with one clear message: `tests/boot/refusals.txt`, through the whole command line.

use crate::guest;
use crate::host::{Host, Job};
use crate::util::{root, target};
use anyhow::{Context, Result, bail};
use std::fs;
use std::process::Stdio;

pub fn run(host: Host) -> Result<()> {
    let made = guest::make(guest::DEFAULT)?;
    let kernel = made.dir.join("vmlinuz");
    let half = target().join("half-a-kernel");
    let bytes = fs::read(&kernel)?;
    fs::write(&half, &bytes[..bytes.len() / 2])?;
    let initrd = made.dir.join("initrd.gz");

    let path = root().join("tests/boot/refusals.txt");
    for line in fs::read_to_string(&path)?.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (options, message) = line.split_once(" | ").with_context(|| format!("no ` | ` in `{line}`"))?;
        let word = |word| match word {
            "KERNEL" => kernel.to_string_lossy().into_owned(),
            "INITRD" => initrd.to_string_lossy().into_owned(),
            "HALF" => half.to_string_lossy().into_owned(),
            word => str::to_owned(word),
        };
        let options = options.split_whitespace().map(word).collect();
        let mut command = host.command(&Job { options, ..Job::default() })?;
        let out = command.stdin(Stdio::null()).output()?;
        let said = String::from_utf8_lossy(&out.stderr);
        if out.status.success() || out.status.code().is_none() {
            bail!("`{line}`: not refused ({}): {said}", out.status);
        }
        if !said.contains(message) || said.trim_end().lines().count() != 1 {
            bail!("`{line}`: the one message should have `{message}`, it is: {said}");
        }
    }
    Ok(())
}
