//! Writer of initramfs archives: cpio in the `newc` format (Linux, Documentation/driver-api/early-userspace/
//! buffer-format.rst). Same entries in, same bytes out: no owner, time or inode of the building machine gets in.

/// What an entry is.
pub enum Kind<'a> {
    Dir,
    File(&'a [u8]),
    Symlink(&'a str),
    /// Character device: major, minor.
    Char(u32, u32),
}

/// An archive under construction.
#[derive(Default)]
pub struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    /// Appends `name` (relative, no leading slash) with the permission bits `mode`.
    pub fn add(&mut self, name: &str, mode: u32, kind: &Kind) {
        let (format, data, rdev) = match kind {
            Kind::Dir => (0o040_000, &[][..], (0, 0)),
            Kind::File(data) => (0o100_000, *data, (0, 0)),
            Kind::Symlink(to) => (0o120_000, to.as_bytes(), (0, 0)),
            Kind::Char(major, minor) => (0o020_000, &[][..], (*major, *minor)),
        };
        self.entries += 1;
        self.header(self.entries, format | mode, name, data.len(), rdev);
        self.bytes.extend(data);
        self.pad();
    }

    /// The finished archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.header(0, 0, "TRAILER!!!", 0, (0, 0));
        self.bytes
    }

    fn header(&mut self, ino: u32, mode: u32, name: &str, size: usize, rdev: (u32, u32)) {
        let size = u32::try_from(size).expect("a cpio entry is under 4 GiB");
        let name_size = name.len() as u32 + 1;
        self.bytes.extend(b"070701");
        //            ino  mode  uid gid nlink mtime size  dev    rdev            name       check
        let fields = [ino, mode, 0, 0, 1, 0, size, 0, 0, rdev.0, rdev.1, name_size, 0];
        for field in fields {
            self.bytes.extend(format!("{field:08x}").bytes());
        }
        self.bytes.extend(name.bytes());
        self.bytes.push(0);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    /// GNU cpio or busybox reads back what was written.
    #[test]
    fn another_reader_agrees() {
        let mut archive = Archive::default();
        archive.add("bin", 0o755, &Kind::Dir);
        archive.add("bin/odd", 0o640, &Kind::File(b"seven b"));
        archive.add("bin/link", 0o777, &Kind::Symlink("odd"));
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        let Some(tool) = ["busybox", "cpio"].into_iter().find_map(crate::util::which) else {
            panic!("neither busybox nor cpio is here: `cargo xtask test` installs busybox-static");
        };
        let mut command = Command::new(&tool);
        if tool.ends_with("busybox") {
            command.arg("cpio");
        }
        let mut child =
            command.arg("-tv").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(&bytes).unwrap();
        let out = child.wait_with_output().unwrap();
        assert!(out.status.success());
        let listing = String::from_utf8(out.stdout).unwrap();
        let lines: Vec<_> = listing.lines().collect();
        assert_eq!(lines.len(), 3, "{listing}");
        assert!(lines[0].starts_with("drwxr-xr-x") && lines[0].ends_with("bin"), "{listing}");
        assert!(lines[1].starts_with("-rw-r-----") && lines[1].contains(" 7 ") && lines[1].ends_with("bin/odd"));
        assert!(lines[2].ends_with("bin/link -> odd"), "{listing}");
    }

    #[test]
    fn deterministic_and_aligned() {
        let make = || {
            let mut archive = Archive::default();
            archive.add("dev/console", 0o600, &Kind::Char(5, 1));
            archive.finish()
        };
        let bytes = make();
        assert_eq!(bytes, make());
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.starts_with("07070100000001000021800000000000000000000000010000000000000000"), "{text}");
        assert_eq!(&text[78..94], "0000000500000001"); // rdev
    }
}
