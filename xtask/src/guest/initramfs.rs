//! The root of small guests: busybox and the recipe's files in an initramfs.

use super::Files;
use crate::cpio::{Archive, Kind};
use crate::util::output;
use anyhow::Result;
use flate2::{Compression, GzBuilder};
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

/// Bytes of `/sample`, the file that boot tests take checksums of.
const SAMPLE_BYTES: usize = 300_000;

/// `/sample`: bytes of xorshift64* (Vigna, 2014), so that nothing about it compresses or repeats.
pub fn sample() -> Vec<u8> {
    let mut x = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(SAMPLE_BYTES);
    while bytes.len() < SAMPLE_BYTES {
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        bytes.push((x.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 56) as u8);
    }
    bytes
}

/// The initramfs, compressed: [`busybox_root`].
pub fn make(busybox: &Path, overlay: &Files, sample: &[u8]) -> Result<Vec<u8>> {
    gzip(&busybox_root(busybox, overlay, sample)?)
}

/// The archive: busybox with a link for each of its programs, the files of `overlay`, `/sample`.
fn busybox_root(busybox: &Path, overlay: &Files, sample: &[u8]) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    let dirs = ["bin", "dev", "etc", "proc", "root", "sbin", "sys", "tmp", "usr", "usr/bin", "usr/sbin", "var"];
    for dir in dirs {
        archive.add(dir, 0o755, &Kind::Dir);
    }
    archive.add("dev/console", 0o600, &Kind::Char(5, 1)); // the kernel opens it for init before devtmpfs is there
    archive.add("bin/busybox", 0o755, &Kind::File(&fs::read(busybox)?));
    let programs = String::from_utf8(output(Command::new(busybox).arg("--list-full"))?)?;
    for program in programs.lines().filter(|program| *program != "bin/busybox") {
        // `--list-full` may name directories of later Debian releases; ours are the classical ones
        if dirs.iter().any(|dir| Path::new(program).parent() == Some(Path::new(dir))) {
            archive.add(program, 0o777, &Kind::Symlink("/bin/busybox"));
        }
    }
    let mut made: BTreeSet<&str> = dirs.into();
    for (name, (mode, contents)) in overlay {
        for (at, _) in name.match_indices('/') {
            if made.insert(&name[..at]) {
                archive.add(&name[..at], 0o755, &Kind::Dir);
            }
        }
        archive.add(name, *mode, &Kind::File(contents));
    }
    archive.add("sample", 0o644, &Kind::File(sample));
    Ok(archive.finish())
}

/// gzip without a name or time in its header: the same bytes for the same contents.
fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut gz = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    gz.write_all(bytes)?;
    Ok(gz.finish()?)
}
