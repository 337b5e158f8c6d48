//! Walks gzip data to its end (RFC 1952, RFC 1951), counting what it would unpack to and keeping nothing.

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};

use super::initrd::End;

/// Where a gzip member ends; its data and the length in its trailer are checked, its CRC is not.
pub fn gzip_end(part: &[u8]) -> End {
    let Some(header) = part.first_chunk::<10>() else { return End::Truncated };
    let flags = header[3];
    if header[2] != 8 || flags & 0xe0 != 0 {
        return End::Damaged(2);
    }
    let mut at = 10usize;
    if flags & 4 != 0 {
        let Some(len) = part.get(at..at + 2) else { return End::Truncated };
        at += 2 + usize::from(u16::from_le_bytes([len[0], len[1]]));
    }
    for flag in [8, 16] {
        if flags & flag != 0 {
            let Some(n) = part.get(at..).and_then(|s| s.iter().position(|b| *b == 0)) else { return End::Truncated };
            at += n + 1;
        }
    }
    at += if flags & 2 != 0 { 2 } else { 0 };
    let Some(data) = part.get(at..) else { return End::Truncated };
    let (consumed, length) = match deflate_end(data) {
        Ok(end) => end,
        Err(end) => return end.within(at),
    };
    let trailer = at + consumed;
    let Some(t) = part.get(trailer..trailer + 8) else { return End::Truncated };
    if u32::from_le_bytes([t[4], t[5], t[6], t[7]]) != length as u32 {
        return End::Damaged(trailer);
    }
    End::At(trailer + 8)
}

/// Bytes of the deflate stream at the start of `data`, and of what it unpacks to.
fn deflate_end(data: &[u8]) -> Result<(usize, usize), End> {
    // As much as a match may reach back; the decompressor goes round in it, and nothing else is kept.
    let mut window = vec![0; 64 << 10];
    let mut state = DecompressorOxide::new();
    let (mut consumed, mut length) = (0, 0);
    loop {
        let at = length % window.len();
        let (status, read, written) = decompress(&mut state, &data[consumed..], &mut window, at, 0);
        consumed += read;
        length += written;
        match status {
            TINFLStatus::Done => return Ok((consumed, length)),
            TINFLStatus::HasMoreOutput => {}
            TINFLStatus::FailedCannotMakeProgress | TINFLStatus::NeedsMoreInput => return Err(End::Truncated),
            _ => return Err(End::Damaged(consumed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // "hello\n" in fixed codes, "hello" stored, the output of `seq 400` in dynamic codes; by zlib.
    const FIXED: &[u8] = b"\x1f\x8b\x08\0\0\0\0\0\x00\x03\xcb\x48\xcd\xc9\xc9\xe7\x02\0\x20\x30\x3a\x36\x06\0\0\0";
    const STORED: &[u8] = b"\x1f\x8b\x08\0\0\0\0\0\x00\x03\x01\x05\0\xfa\xffhello\x86\xa6\x10\x36\x05\0\0\0";
    const DYNAMIC: &[u8] = include_bytes!("testdata/seq400.gz");

    #[test]
    fn whole_members_end_where_they_end() {
        for m in [FIXED, STORED, DYNAMIC] {
            let mut followed = m.to_vec();
            followed.extend(b"something else");
            for f in [m, &followed] {
                assert!(matches!(gzip_end(f), End::At(n) if n == m.len()));
            }
        }
    }

    #[test]
    fn every_truncation_is_found() {
        for m in [FIXED, STORED, DYNAMIC] {
            for n in 2..m.len() {
                assert!(matches!(gzip_end(&m[..n]), End::Truncated), "{n} of {}", m.len());
            }
        }
    }

    #[test]
    fn damage_never_panics_and_a_wrong_length_is_found() {
        for m in [FIXED, STORED, DYNAMIC] {
            for at in 2..m.len() {
                for flip in [1, 0x10, 0x80, 0xff] {
                    let mut f = m.to_vec();
                    f[at] ^= flip;
                    let end = gzip_end(&f);
                    if at >= m.len() - 4 {
                        assert!(matches!(end, End::Damaged(n) if n == m.len() - 8));
                    }
                }
            }
        }
    }

    #[test]
    fn optional_header_fields() {
        let mut f = b"\x1f\x8b\x08\x1e\0\0\0\0\x00\x03\x02\0xyname\0comment\0cc".to_vec();
        f.extend(&FIXED[10..]);
        assert!(matches!(gzip_end(&f), End::At(n) if n == f.len()));
    }
}
