//! The benchmarks that are programs of an installed Debian. They, and what they read, are on a second disk, so that the guest need not
//! be made anew when they change; the guest's first process is the script that runs them, with no services beside it.

use super::programs::{programs, set};
use super::suite;
use crate::guest::{self, Architecture, Files, Guest, read_tree};
use crate::util::{root, target};
use anyhow::{Result, bail};
use std::fs;
use std::path::PathBuf;

const GUEST: &str = "debian-x86_64";

/// MiB of the second disk.
const DISK: u32 = 32;

/// How to get what is missing.
pub const MISSING: &str = "the guest debian-x86_64 is not made (`cargo xtask guest debian-x86_64`; some minutes)";

/// The guest, if it is made: that takes longer than all benchmarks.
pub fn guest() -> Result<Option<Guest>> {
    guest::made(GUEST)
}

/// The options that boot it to run `names` and to power off.
pub fn options(names: &[String], memory: u32) -> Result<Vec<String>> {
    let Some(mut guest) = guest()? else { bail!("{MISSING}") };
    guest.append +=
        &format!(" loglevel=1 init=/bin/sh -- -c \"mount /dev/vdb /mnt && exec /mnt/run {}\"", names.join(" "));
    let mut options = guest.options(memory);
    options.extend(["-drive".into(), format!("file={},if=virtio,format=raw,snapshot=on", disk()?.display())]);
    Ok(options)
}

/// An ext4 image of `bench/debian`, the sources in `bench/guest`, and the programs made of them.
fn disk() -> Result<PathBuf> {
    let mut files = read_tree(&root().join("bench/debian"))?;
    let sources = read_tree(&root().join("bench/guest"))?;
    files.extend(sources.into_iter().map(|(name, file)| (format!("src/{name}"), file)));
    files.extend::<Files>(programs(set(suite::PROGRAMS)?, Architecture::Amd64)?);
    let dir = target().join("bench/disk");
    let _ = fs::remove_dir_all(&dir);
    guest::write_tree(&files, &dir.join("files"))?;
    let image = dir.join("disk.img");
    guest::ext4(&dir.join("files"), &image, DISK)?;
    Ok(image)
}
