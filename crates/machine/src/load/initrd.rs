//! Is an initrd whole? A guest that gets half of one reports something else, later; so what can be checked without
//! unpacking is checked here (formats: Linux Documentation/driver-api/early-userspace/buffer-format.rst).
//!
//! An initrd is a sequence of cpio archives, each plain or compressed, with zeros between them. Files that begin like
//! none of these may be RAM-disk images, and are the guest's affair.

use thiserror::Error;

use super::inflate;

/// What is wrong with an initrd.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Problem {
    #[error("the file is empty; give a cpio archive, plain or compressed")]
    Empty,
    #[error("it is an HTML page, probably the web server's error page; give a cpio archive, plain or compressed")]
    Html,
    #[error("truncated: its {format} data does not end within its {size} bytes; fetch the file again")]
    Truncated { format: &'static str, size: usize },
    #[error("damaged: its {format} data is invalid at byte {at}; fetch the file again")]
    Damaged { format: &'static str, at: usize },
}

/// Where a part of the file ends.
pub(super) enum End {
    At(usize),
    Truncated,
    /// Offset within the part.
    Damaged(usize),
}

impl End {
    /// The same, of a part that begins at `at` in a larger one.
    pub(super) fn within(self, at: usize) -> End {
        match self {
            End::At(n) => End::At(at + n),
            End::Damaged(n) => End::Damaged(at + n),
            other => other,
        }
    }
}

/// A format by its first bytes, and what finds the end of a part.
struct Format {
    name: &'static str,
    magic: &'static [u8],
    end: fn(&[u8]) -> End,
}

const FORMATS: &[Format] = &[
    Format { name: "cpio", magic: b"070701", end: cpio },
    Format { name: "cpio", magic: b"070702", end: cpio },
    Format { name: "gzip", magic: b"\x1f\x8b", end: inflate::gzip_end },
    Format { name: "zstd", magic: b"\x28\xb5\x2f\xfd", end: zstd },
    Format { name: "xz", magic: b"\xfd7zXZ\0", end: xz },
    Format { name: "lz4", magic: b"\x02\x21\x4c\x18", end: lz4_legacy },
];

/// Looks through all parts of `file` as far as their formats tell.
pub fn check(file: &[u8]) -> Result<(), Problem> {
    let size = file.len();
    if file.is_empty() {
        return Err(Problem::Empty);
    }
    let start = file.trim_ascii_start();
    if [&b"<!doctype"[..], b"<html"].iter().any(|m| start.get(..m.len()).is_some_and(|s| s.eq_ignore_ascii_case(m))) {
        return Err(Problem::Html);
    }
    let mut at = 0;
    while let Some(rest) = file.get(at..) {
        let zeros = rest.iter().take_while(|b| **b == 0).count();
        let part = &rest[zeros..];
        let Some(format) = FORMATS.iter().find(|f| part.starts_with(f.magic)) else { return Ok(()) };
        let format_name = format.name;
        match (format.end)(part) {
            End::At(n) => at += zeros + n,
            End::Truncated => return Err(Problem::Truncated { format: format_name, size }),
            End::Damaged(n) => return Err(Problem::Damaged { format: format_name, at: at + zeros + n }),
        }
    }
    Ok(())
}

/// A cpio archive of the "new" ASCII formats: headers of 110 bytes, name and data padded to 4, up to `TRAILER!!!`.
fn cpio(part: &[u8]) -> End {
    const HEADER: usize = 110;
    let mut at = 0usize;
    loop {
        let Some(header) = part.get(at..at + HEADER) else { return End::Truncated };
        if !header.starts_with(b"07070") {
            return End::Damaged(at);
        }
        let field = |n: usize| {
            let digits = header.get(6 + 8 * n..14 + 8 * n).and_then(|d| std::str::from_utf8(d).ok());
            digits.and_then(|d| u32::from_str_radix(d, 16).ok()).map(|v| v as usize)
        };
        let (Some(file_size), Some(name_size)) = (field(6), field(11)) else { return End::Damaged(at) };
        let name_at = at + HEADER;
        let Some(name_end) = name_at.checked_add(name_size) else { return End::Damaged(at) };
        let Some(name) = part.get(name_at..name_end) else { return End::Truncated };
        let aligned = |n: usize| n.checked_add(3).map(|n| n & !3);
        let Some(next) = aligned(name_end).and_then(|n| n.checked_add(file_size)) else { return End::Damaged(at) };
        if name == b"TRAILER!!!\0" {
            return End::At(next.min(part.len()));
        }
        if next > part.len() {
            return End::Truncated;
        }
        let Some(next) = aligned(next) else { return End::Damaged(at) };
        at = next;
    }
}

/// One zstd frame (RFC 8878, 3.1.1): header, blocks that name their sizes, an optional checksum.
fn zstd(part: &[u8]) -> End {
    let Some(&descriptor) = part.get(4) else { return End::Truncated };
    let single_segment = descriptor >> 5 & 1;
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let content_size = match descriptor >> 6 {
        0 => usize::from(single_segment),
        n => 1 << n,
    };
    let mut at = 5 + usize::from(1 - single_segment) + dictionary + content_size;
    loop {
        let Some(h) = part.get(at..at + 3) else { return End::Truncated };
        let header = u32::from_le_bytes([h[0], h[1], h[2], 0]);
        at += 3 + match header >> 1 & 3 {
            1 => 1, // a run of one byte
            3 => return End::Damaged(at),
            _ => (header >> 3) as usize,
        };
        if header & 1 != 0 {
            at += if descriptor & 4 != 0 { 4 } else { 0 };
            return if at <= part.len() { End::At(at) } else { End::Truncated };
        }
    }
}

/// An xz stream names its size nowhere at its start, but it is a multiple of 4 bytes and ends with a footer: the flags that
/// the header has, and a magic (The .xz File Format 1.2, 2.1). Data that look like one end the walk early, which refuses nothing.
fn xz(part: &[u8]) -> End {
    let Some(flags) = part.get(6..8) else { return End::Truncated };
    let footer = [flags[0], flags[1], b'Y', b'Z'];
    match part.chunks_exact(4).skip(2).position(|word| word == footer) {
        Some(n) => End::At(4 * (n + 3)),
        None => End::Truncated,
    }
}

/// LZ4's legacy frame, which Linux uses: blocks that name their compressed size, up to the end of the file or the next
/// magic.
fn lz4_legacy(part: &[u8]) -> End {
    /// Compressed size of 8 MiB that do not compress (`LZ4_COMPRESSBOUND`).
    const BLOCK_MAX: usize = (8 << 20) + (8 << 20) / 255 + 16;
    let mut at = 4usize;
    loop {
        match part.get(at..at + 4) {
            None if at == part.len() => return End::At(at),
            None => return End::Truncated,
            Some(s) => match u32::from_le_bytes([s[0], s[1], s[2], s[3]]) as usize {
                0 | 0x184c_2102 => return End::At(at),
                n if n > BLOCK_MAX => return End::Damaged(at),
                n => at += 4 + n,
            },
        }
        if at > part.len() {
            return End::Truncated;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, data: &[u8]) -> Vec<u8> {
        let mut m = b"070701".to_vec();
        for field in [1, 0o100644, 0, 0, 1, 0, data.len(), 0, 0, 0, 0, name.len() + 1, 0] {
            m.extend(format!("{field:08x}").bytes());
        }
        m.extend(name.bytes().chain([0]));
        m.resize(m.len().next_multiple_of(4), 0);
        m.extend(data);
        m.resize(m.len().next_multiple_of(4), 0);
        m
    }

    fn archive() -> Vec<u8> {
        [member("init", b"#!/bin/sh\n"), member("etc", b""), member("TRAILER!!!", b"")].concat()
    }

    #[test]
    fn a_whole_archive_and_every_truncation() {
        let whole = archive();
        assert_eq!(check(&whole), Ok(()));
        let trailer_name_end = whole.len() - whole.iter().rev().take_while(|b| **b == 0).count() + 1;
        for n in 6..trailer_name_end {
            assert_eq!(check(&whole[..n]), Err(Problem::Truncated { format: "cpio", size: n }), "{n}");
        }
    }

    #[test]
    fn archives_one_after_another() {
        let mut two = archive();
        two.resize(two.len().next_multiple_of(512), 0);
        let second = two.len();
        two.extend(archive());
        assert_eq!(check(&two), Ok(()));
        assert!(matches!(check(&two[..second + 130]), Err(Problem::Truncated { .. })));
        two[second + 6] = b'x';
        assert_eq!(check(&two), Ok(()), "a damaged inode number is no obstacle to the walk");
        two[second + 6 + 8 * 6] = b'x';
        assert_eq!(check(&two), Err(Problem::Damaged { format: "cpio", at: second }));
    }

    #[test]
    fn zstd_frames() {
        // Single segment, one-byte content size, a raw block of 3 and a last run block, checksum.
        let whole = [&b"\x28\xb5\x2f\xfd\x24\x05"[..], &[0x18, 0, 0], b"abc", &[0x13, 0, 0], b"x", b"CCCC"].concat();
        assert_eq!(check(&whole), Ok(()));
        for n in 4..whole.len() {
            assert_eq!(check(&whole[..n]), Err(Problem::Truncated { format: "zstd", size: n }), "{n}");
        }
        let mut reserved = whole.clone();
        reserved[6] |= 6;
        assert_eq!(check(&reserved), Err(Problem::Damaged { format: "zstd", at: 6 }));
    }

    #[test]
    fn xz_by_its_footer() {
        assert_eq!(check(b"\xfd7zXZ\0....YZ\0\0\0\0"), Ok(()));
        assert_eq!(check(b"\xfd7zXZ\0....Y"), Err(Problem::Truncated { format: "xz", size: 11 }));
    }

    #[test]
    fn an_archive_behind_xz() {
        // "hello\n" by xz 5.4.
        let xz = [
            &b"\xfd7zXZ\0\0\x04\xe6\xd6\xb4\x46\x02\0\x21\x01\x16\0\0\0\x74\x2f\xe5\xa3"[..],
            b"\x01\0\x05hello\n\0\0\0\xa5\x60\x97\xf1\x94\xf6\xfd\xe0",
            b"\0\x01\x1e\x06\xc1\x2f\xa4\x1d\x1f\xb6\xf3\x7d\x01\0\0\0\0\x04YZ",
        ]
        .concat();
        assert_eq!(check(&xz), Ok(()));
        for n in 6..xz.len() {
            assert_eq!(check(&xz[..n]), Err(Problem::Truncated { format: "xz", size: n }), "{n}");
        }
        let two = [&xz[..], &archive()].concat();
        assert_eq!(check(&two), Ok(()));
        let cut = &two[..xz.len() + 130];
        assert_eq!(check(cut), Err(Problem::Truncated { format: "cpio", size: cut.len() }));
        assert!(check(&[&xz[..], &xz[..xz.len() - 1]].concat()).is_err());
    }

    #[test]
    fn lz4_blocks() {
        let whole = b"\x02\x21\x4c\x18\x03\0\0\0abc\x01\0\0\0z";
        assert_eq!(check(whole), Ok(()));
        assert!(check(&whole[..whole.len() - 1]).is_err() && check(&whole[..13]).is_err());
        assert_eq!(check(b"\x02\x21\x4c\x18\xff\xff\xff\xff"), Err(Problem::Damaged { format: "lz4", at: 4 }));
    }

    #[test]
    fn other_files() {
        assert_eq!(check(b""), Err(Problem::Empty));
        assert_eq!(check(b"  <!DOCTYPE html>"), Err(Problem::Html));
        assert_eq!(check(b"a RAM disk image"), Ok(()));
        assert_eq!(check(&[0; 4096]), Ok(()));
    }
}
