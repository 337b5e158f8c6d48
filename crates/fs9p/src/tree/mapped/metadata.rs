//! What is kept of a file: lines of `virtfs.uid=`, `virtfs.gid=`, `virtfs.mode=`, `virtfs.rdev=` and a decimal number, in any
//! order, as QEMU writes and reads them.

use crate::tree::mode;
use crate::wire::Stat;

/// What is known of a file that its host does not know. What is not there is as the host has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    /// Type and permission bits.
    pub mode: Option<u32>,
    /// A [`device`](crate::device) number.
    pub rdev: Option<u32>,
}

/// Bytes of a file of metadata: no fewer than four numbers take, whoever wrote them.
pub const LENGTH: usize = 96;
/// Bytes that are read of one.
pub const LENGTH_MAX: usize = 4096;

impl Metadata {
    /// What `text` says. A line that says nothing that is known is passed over, and so is the rest of a file that is cut off.
    pub fn parse(text: &[u8]) -> Self {
        let mut this = Self::default();
        for line in text.split_inclusive(|&byte| byte == b'\n') {
            // what does not end may have been longer
            let Some((key, value)) = line.strip_suffix(b"\n").and_then(key_and_number) else { continue };
            match key {
                b"virtfs.uid" => this.uid = Some(value),
                b"virtfs.gid" => this.gid = Some(value),
                b"virtfs.mode" => this.mode = Some(value),
                b"virtfs.rdev" => this.rdev = Some(value),
                _ => {}
            }
        }
        this
    }

    /// The text, of [`LENGTH`] bytes always: written over what is there, which is not truncated before, one or the other is
    /// there whenever the host is killed.
    pub fn text(&self) -> Vec<u8> {
        let lines = [("uid", self.uid), ("gid", self.gid), ("mode", self.mode), ("rdev", self.rdev)];
        let mut text = String::with_capacity(LENGTH);
        for (key, value) in lines {
            if let Some(value) = value {
                // QEMU's numbers have a sign
                text.push_str(&format!("virtfs.{key}={}\n", value.cast_signed()));
            }
        }
        let mut text = text.into_bytes();
        text.resize(LENGTH, b'\n');
        text
    }

    /// What the guest is told of a file of which its host says `stat`.
    pub fn apply(&self, stat: &mut Stat) {
        stat.mode = self.mode_of(stat.mode);
        stat.uid = self.uid.unwrap_or(stat.uid);
        stat.gid = self.gid.unwrap_or(stat.gid);
        stat.rdev = self.rdev.map_or(stat.rdev, u64::from);
        stat.qid.kind = mode::qid_type(stat.mode);
    }

    /// The mode of a file that has `mode` on the host. Only a regular file can stand for another, and for no directory.
    pub fn mode_of(&self, mode: u32) -> u32 {
        let Some(kept) = self.mode else { return mode };
        let kind = match kept & mode::TYPE {
            kind @ (mode::SYMLINK | mode::SOCKET | mode::FIFO | mode::CHAR | mode::BLOCK)
                if mode & mode::TYPE == mode::REGULAR =>
            {
                kind
            }
            _ => mode & mode::TYPE,
        };
        kind | kept & mode::BITS
    }
}

/// `key=number`; the number may have a sign, and has no more than 32 bits.
fn key_and_number(line: &[u8]) -> Option<(&[u8], u32)> {
    let at = line.iter().position(|&byte| byte == b'=')?;
    let number: i64 = std::str::from_utf8(&line[at + 1..]).ok()?.trim().parse().ok()?;
    let number = u32::try_from(number).or_else(|_| i32::try_from(number).map(i32::cast_unsigned)).ok()?;
    Some((&line[..at], number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_what_qemu_writes_and_reads() {
        let all = Metadata { uid: Some(!1), gid: Some(0), mode: Some(0o20640), rdev: Some(0xffff_ffff) };
        let text = all.text();
        assert!(text.starts_with(b"virtfs.uid=-2\nvirtfs.gid=0\nvirtfs.mode=8608\nvirtfs.rdev=-1\n"));
        assert_eq!((text.len(), Metadata::parse(&text)), (LENGTH, all));
        let longest = Metadata { uid: Some(1 << 31), gid: Some(1 << 31), mode: Some(1 << 31), rdev: Some(1 << 31) };
        assert_eq!((longest.text().len(), Metadata::parse(&longest.text())), (LENGTH, longest));
        assert_eq!(Metadata::default().text(), [b'\n'; LENGTH]);
    }

    #[test]
    fn what_is_damaged_is_as_the_host_has_it() {
        let of = |text: &str| Metadata::parse(text.as_bytes());
        assert_eq!(of(""), Metadata::default());
        assert_eq!(of("virtfs.uid=10\nvirtfs.gi"), Metadata { uid: Some(10), ..Default::default() });
        assert_eq!(of("virtfs.uid=10\nvirtfs.gid=100"), Metadata { uid: Some(10), ..Default::default() });
        assert_eq!(of("virtfs.uid=ten\n=\nvirtfs.mode=99999999999\n\0\nvirtfs.rdev=0x1\n"), Metadata::default());
        assert_eq!(of("virtfs.uid=1\nother=2\nvirtfs.uid= 3\r\n"), Metadata { uid: Some(3), ..Default::default() });
    }

    #[test]
    fn only_a_regular_file_stands_for_another() {
        let kept = |mode| Metadata { mode: Some(mode), ..Default::default() };
        assert_eq!(kept(0o120777).mode_of(0o100600), 0o120777);
        assert_eq!(kept(0o4755).mode_of(0o100600), 0o104755);
        assert_eq!(kept(0o40755).mode_of(0o100600), 0o100755);
        assert_eq!(kept(0o100755).mode_of(0o40700), 0o40755);
        assert_eq!(kept(0o20600).mode_of(0o120777), 0o120600);
        assert_eq!(Metadata::default().mode_of(0o100644), 0o100644);
    }
}
