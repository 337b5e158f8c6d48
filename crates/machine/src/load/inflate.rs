//! Walks gzip data to its end (RFC 1952, RFC 1951), counting what it would unpack to and keeping nothing.

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
    let mut bits = Bits { data, at: 0, held: 0, count: 0 };
    let length = match deflate_length(&mut bits) {
        Ok(length) => length,
        Err(Bad::End) => return End::Truncated,
        Err(Bad::Data) => return End::Damaged(at + bits.at.min(data.len())),
    };
    let trailer = at + bits.at - (bits.count / 8) as usize;
    let Some(t) = part.get(trailer..trailer + 8) else { return End::Truncated };
    if u32::from_le_bytes([t[4], t[5], t[6], t[7]]) != length as u32 {
        return End::Damaged(trailer);
    }
    End::At(trailer + 8)
}

enum Bad {
    /// The data ends first.
    End,
    /// No deflate data.
    Data,
}

/// A bit reader, least significant bit first. Beyond the end of the data it supplies zeros, and [`Bits::drop`] fails when
/// one of those is used.
struct Bits<'a> {
    data: &'a [u8],
    at: usize,
    held: u64,
    /// Bits held; counts those beyond the end as well.
    count: u32,
}

impl Bits<'_> {
    fn refill(&mut self) {
        while self.count <= 56 {
            self.held |= u64::from(self.data.get(self.at).copied().unwrap_or(0)) << self.count;
            self.at += 1;
            self.count += 8;
        }
    }

    fn drop(&mut self, n: u32) -> Result<(), Bad> {
        self.held >>= n;
        self.count -= n;
        // What is held begins before `at` by `count` bits; it must not begin beyond the end.
        if self.at as u64 * 8 - u64::from(self.count) > self.data.len() as u64 * 8 { Err(Bad::End) } else { Ok(()) }
    }

    fn take(&mut self, n: u32) -> Result<u32, Bad> {
        self.refill();
        let v = (self.held & ((1 << n) - 1)) as u32;
        self.drop(n)?;
        Ok(v)
    }
}

/// Codes up to this long are looked up in one step.
const FAST_BITS: u32 = 10;
const LONGEST: usize = 15;

/// A canonical Huffman code (RFC 1951, 3.2.2).
struct Code {
    /// By the next bits: length << 12 | symbol; 0 for longer or unused codes.
    fast: Vec<u16>,
    /// Number of codes of each length, and the symbols in the codes' order.
    counts: [u16; LONGEST + 1],
    symbols: Vec<u16>,
}

impl Code {
    fn new(lengths: &[u8]) -> Result<Code, Bad> {
        let mut counts = [0u16; LONGEST + 1];
        lengths.iter().for_each(|l| counts[usize::from(*l)] += 1);
        counts[0] = 0;
        let (mut left, mut first, mut offset) = (1i32, [0u32; LONGEST + 2], [0usize; LONGEST + 2]);
        for n in 1..=LONGEST {
            left = (left << 1) - i32::from(counts[n]);
            if left < 0 {
                return Err(Bad::Data); // more codes than fit
            }
            first[n + 1] = (first[n] + u32::from(counts[n])) << 1;
            offset[n + 1] = offset[n] + usize::from(counts[n]);
        }
        let (mut fast, mut symbols) = (vec![0; 1 << FAST_BITS], vec![0; lengths.len()]);
        for (symbol, &length) in lengths.iter().enumerate().filter(|(_, l)| **l != 0) {
            let n = usize::from(length);
            symbols[offset[n]] = symbol as u16;
            offset[n] += 1;
            if u32::from(length) <= FAST_BITS {
                let reversed = first[n].reverse_bits() >> (32 - u32::from(length));
                let step = 1 << length;
                (reversed as usize..1 << FAST_BITS)
                    .step_by(step)
                    .for_each(|i| fast[i] = u16::from(length) << 12 | symbol as u16);
            }
            first[n] += 1;
        }
        Ok(Code { fast, counts, symbols })
    }

    fn symbol(&self, bits: &mut Bits) -> Result<u16, Bad> {
        bits.refill();
        let entry = self.fast[(bits.held & ((1 << FAST_BITS) - 1)) as usize];
        if entry != 0 {
            bits.drop(u32::from(entry >> 12))?;
            return Ok(entry & 0xfff);
        }
        let (mut code, mut first, mut index) = (0i32, 0i32, 0i32);
        for n in 1..=LONGEST {
            code |= (bits.held >> (n - 1) & 1) as i32;
            let count = i32::from(self.counts[n]);
            if code - count < first {
                bits.drop(n as u32)?;
                return self.symbols.get((index + code - first) as usize).copied().ok_or(Bad::Data);
            }
            index += count;
            first = (first + count) << 1;
            code <<= 1;
        }
        bits.drop(LONGEST as u32)?; // zeros beyond the end are no code of damaged data
        Err(Bad::Data)
    }
}

/// Extra bits of the length symbols 257.. and of the distance symbols (RFC 1951, 3.2.5), and the lengths' base values.
const LENGTH_EXTRA: [u8; 29] = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0];
const LENGTH_BASE: [u16; 29] =
    [3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258];

/// Walks deflate data up to the end of its last block; the number of bytes it stands for.
fn deflate_length(bits: &mut Bits) -> Result<u64, Bad> {
    let mut length = 0u64;
    loop {
        let last = bits.take(1)? == 1;
        match bits.take(2)? {
            0 => {
                bits.drop(bits.count % 8)?;
                let (n, inverted) = (bits.take(16)?, bits.take(16)?);
                if n != !inverted & 0xffff {
                    return Err(Bad::Data);
                }
                // Give the held bytes back and step over the stored ones.
                bits.at = bits.at - (bits.count / 8) as usize + n as usize;
                (bits.held, bits.count) = (0, 0);
                bits.drop(0)?;
                length += u64::from(n);
            }
            1 => {
                let lengths: Vec<u8> = (0..288)
                    .map(|s| {
                        if s < 144 {
                            8
                        } else if s < 256 {
                            9
                        } else if s < 280 {
                            7
                        } else {
                            8
                        }
                    })
                    .collect();
                length += codes_length(bits, &Code::new(&lengths)?, &Code::new(&[5; 30])?)?;
            }
            2 => {
                let (literals, distances) = dynamic_codes(bits)?;
                length += codes_length(bits, &literals, &distances)?;
            }
            _ => return Err(Bad::Data),
        }
        if last {
            return Ok(length);
        }
    }
}

fn codes_length(bits: &mut Bits, literals: &Code, distances: &Code) -> Result<u64, Bad> {
    let mut length = 0u64;
    loop {
        match literals.symbol(bits)? {
            0..256 => length += 1,
            256 => return Ok(length),
            symbol => {
                let i = usize::from(symbol - 257);
                let (Some(base), Some(extra)) = (LENGTH_BASE.get(i), LENGTH_EXTRA.get(i)) else {
                    return Err(Bad::Data);
                };
                length += u64::from(*base) + u64::from(bits.take(u32::from(*extra))?);
                let distance = u32::from(distances.symbol(bits)?);
                if distance >= 30 {
                    return Err(Bad::Data);
                }
                bits.take((distance / 2).saturating_sub(1))?;
            }
        }
    }
}

/// The codes of a block that brings its own (RFC 1951, 3.2.7).
fn dynamic_codes(bits: &mut Bits) -> Result<(Code, Code), Bad> {
    const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
    let (literals, distances, lengths) =
        (bits.take(5)? as usize + 257, bits.take(5)? as usize + 1, bits.take(4)? as usize + 4);
    let mut of_lengths = [0u8; 19];
    for place in &ORDER[..lengths] {
        of_lengths[*place] = bits.take(3)? as u8;
    }
    let code = Code::new(&of_lengths)?;
    let mut all: Vec<u8> = Vec::with_capacity(literals + distances);
    while all.len() < literals + distances {
        let (value, times) = match code.symbol(bits)? {
            16 => (*all.last().ok_or(Bad::Data)?, 3 + bits.take(2)?),
            17 => (0, 3 + bits.take(3)?),
            18 => (0, 11 + bits.take(7)?),
            n => (n as u8, 1),
        };
        all.extend(std::iter::repeat_n(value, times as usize));
    }
    if all.len() > literals + distances || all[256] == 0 {
        return Err(Bad::Data);
    }
    Ok((Code::new(&all[..literals])?, Code::new(&all[literals..])?))
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
