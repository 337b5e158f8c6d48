//! Archives of another writer, and what is no archive.

mod common;

use common::memory;
use fs9p::{ArchiveError, Errno, mode};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A directory with files of each type, and their names: a directory before what is in it.
fn tree(name: &str) -> (PathBuf, Vec<&'static str>) {
    let root = std::env::temp_dir().join(format!("pagevm-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&root);
    fs::create_dir_all(root.join("a/empty")).unwrap();
    fs::write(root.join("a/run"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(root.join("a/run"), fs::Permissions::from_mode(0o4751)).unwrap();
    fs::write(root.join("a/big"), vec![7; 300_001]).unwrap();
    fs::write(root.join("nothing"), "").unwrap();
    fs::hard_link(root.join("a/big"), root.join("again")).unwrap();
    symlink("../nothing", root.join("a/link")).unwrap();
    assert!(Command::new("mkfifo").arg(root.join("fifo")).status().unwrap().success());
    fs::set_permissions(root.join("a"), fs::Permissions::from_mode(0o1700)).unwrap();
    assert!(
        Command::new("touch")
            .args(["-hd@1234567890"])
            .arg(root.join("a"))
            .arg(root.join("again"))
            .status()
            .unwrap()
            .success()
    );
    (root, vec![".", "a", "a/empty", "a/run", "a/big", "nothing", "again", "a/link", "fifo"])
}

/// What busybox makes of them.
fn cpio(root: &Path, names: &[&str]) -> Vec<u8> {
    let mut child = Command::new("busybox")
        .args(["cpio", "-o", "-H", "newc"])
        .current_dir(root)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("busybox is needed: package busybox-static");
    child.stdin.take().unwrap().write_all(names.join("\n").as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success());
    out.stdout
}

#[test]
fn what_cpio_has_packed_is_there_as_it_was() {
    let (root, names) = tree("archive");
    let tree = memory(1 << 20);
    tree.unpack(&cpio(&root, &names)).unwrap();
    for name in &names {
        let (want, got) = (fs::symlink_metadata(root.join(name)).unwrap(), tree.stat_path(name.as_bytes()).unwrap());
        assert_eq!((got.mode, got.uid, got.gid), (want.mode(), want.uid(), want.gid()), "{name}");
        assert_eq!((got.mtime.sec as i64, got.nlink), (want.mtime(), want.nlink()), "{name}");
        if want.is_file() {
            assert!(tree.get(name.as_bytes()).unwrap() == fs::read(root.join(name)).unwrap(), "{name}");
        }
    }
    assert_eq!(tree.link_target(b"a/link").unwrap(), b"../nothing");
    assert_eq!(tree.stat_path(b"again").unwrap().qid, tree.stat_path(b"a/big").unwrap().qid);
    tree.put(b"again", b"new", 0o600).unwrap();
    assert_eq!(tree.get(b"a/big").unwrap(), b"new");
    fs::remove_dir_all(root).unwrap();
}

#[test]
fn what_is_no_archive_or_does_not_fit_is_refused() {
    let (root, names) = tree("no-archive");
    let archive = cpio(&root, &names);
    fs::remove_dir_all(root).unwrap();
    for cut in [0, 1, 109, 113, 1000, archive.len() - 600] {
        let error = memory(1 << 20).unpack(&archive[..cut]).unwrap_err();
        assert!(matches!(error, ArchiveError::Damaged { at } if at <= cut), "{cut}: {error}");
    }
    let full = memory(100_000).unpack(&archive).unwrap_err();
    assert_eq!(full, ArchiveError::Path { path: "a/big".to_owned(), errno: Errno::ENOSPC });
    let tree = memory(1 << 20);
    tree.unpack(&archive).unwrap();
    assert_eq!(tree.unpack(&archive).unwrap_err().to_string(), "its file a/run cannot be made: EEXIST");
    // no path leads out, and no number is believed
    let out = String::from_utf8_lossy(&archive).find("nothing\0").unwrap();
    let mut up = archive.clone();
    up[out..out + 3].copy_from_slice(b"../");
    assert!(memory(1 << 20).unpack(&up).unwrap_err().to_string().contains("EINVAL"));
    for at in (0..archive.len()).filter(|at| at % 97 < 8 || at % 512 < 120) {
        for byte in [b'f', b'0', 0xff] {
            let mut bad = archive.clone();
            bad[at] = byte;
            let tree = memory(1 << 20);
            let _ = tree.unpack(&bad);
            assert!(tree.used() <= 1 << 20);
        }
        if at > 4000 {
            break;
        }
    }
    assert_eq!(mode::FIFO, 0o010000);
}
