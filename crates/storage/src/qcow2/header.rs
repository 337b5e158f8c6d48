//! The header and its extensions (<https://www.qemu.org/docs/master/interop/qcow2.html>, "Header").

use crate::chunked::Codec;
use crate::io::read_padded;
use crate::{BlockError, Result, SECTOR, Source};

/// "QFI\xfb".
pub const MAGIC: [u8; 4] = *b"QFI\xfb";
/// Where the header has the refcount table's offset (8 bytes) and length in clusters (4 bytes).
pub const REFCOUNT_TABLE_AT: u64 = 48;
/// Where the header has the autoclear feature bits (8 bytes).
pub const AUTOCLEAR_AT: u64 = 88;

const V2_LENGTH: usize = 72;
const V3_LENGTH: usize = 104;
/// Longest header with its extensions that is read; the specification allows a cluster.
const AREA: u64 = 64 << 10;
/// QEMU's own limits.
const MAX_L1_BYTES: u64 = 32 << 20;
pub const MAX_REFCOUNT_TABLE_BYTES: u64 = 8 << 20;
const MAX_BACKING_NAME: u32 = 1023;

const DIRTY: u64 = 1 << 0;
const CORRUPT: u64 = 1 << 1;
const EXTERNAL_DATA: u64 = 1 << 2;
const COMPRESSION_TYPE: u64 = 1 << 3;
const EXTENDED_L2: u64 = 1 << 4;

const EXT_END: u32 = 0;
const EXT_BACKING_FORMAT: u32 = 0xe279_2aca;
const EXT_FEATURE_NAMES: u32 = 0x6803_f857;

/// A file that holds what this image does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backing {
    pub name: String,
    /// As the image says; where it does not, the file is to be looked at.
    pub format: Option<String>,
}

#[derive(Clone, Debug)]
pub struct Header {
    pub version: u32,
    pub cluster_bits: u32,
    /// Bytes of the disk.
    pub size: u64,
    pub l1_entries: u32,
    pub l1_offset: u64,
    pub refcount_table_offset: u64,
    pub refcount_table_clusters: u32,
    /// A refcount has `1 << refcount_order` bits.
    pub refcount_order: u32,
    pub autoclear: u64,
    pub codec: Codec,
    pub backing: Option<Backing>,
    /// Why it must not be written.
    pub read_only: Option<&'static str>,
}

/// Big-endian numbers at fixed places; what is not there is an error.
struct Fields<'a> {
    image: &'a str,
    bytes: &'a [u8],
}

impl Fields<'_> {
    fn slice(&self, at: usize, len: usize) -> Result<&[u8]> {
        let bytes = at.checked_add(len).and_then(|end| self.bytes.get(at..end));
        bytes.ok_or_else(|| BlockError::damaged(self.image, format!("its header ends before byte {at}")))
    }

    fn u32(&self, at: usize) -> Result<u32> {
        Ok(self.slice(at, 4)?.iter().fold(0, |n, byte| n << 8 | u32::from(*byte)))
    }

    fn u64(&self, at: usize) -> Result<u64> {
        Ok(u64::from(self.u32(at)?) << 32 | u64::from(self.u32(at + 4)?))
    }

    fn text(&self, at: usize, len: usize) -> Result<String> {
        Ok(String::from_utf8_lossy(self.slice(at, len)?).into_owned())
    }
}

impl Header {
    pub async fn read(file: &dyn Source) -> Result<Self> {
        let mut bytes = vec![0; AREA.min(file.size()) as usize];
        read_padded(file, 0, &mut bytes).await?;
        Self::parse(file.name(), &bytes)
    }

    fn parse(image: &str, bytes: &[u8]) -> Result<Self> {
        let fields = Fields { image, bytes };
        if fields.slice(0, 4)? != MAGIC {
            return Err(BlockError::damaged(image, "it is not a qcow2 image: the first bytes are not `QFI\\xfb`"));
        }
        let version = fields.u32(4)?;
        if version != 2 && version != 3 {
            return Err(BlockError::unsupported(image, format!("qcow2 version {version}; there are 2 and 3")));
        }
        let v3 = |at| if version == 3 { fields.u64(at) } else { Ok(0) };
        let incompatible = v3(72)?;
        let header_length = if version == 3 { fields.u32(100)? as usize } else { V2_LENGTH };
        let refcount_order = if version == 3 { fields.u32(96)? } else { 4 };
        let extensions = Extensions::read(&fields, header_length)?;
        let mut header = Self {
            version,
            cluster_bits: fields.u32(20)?,
            size: fields.u64(24)? & !(SECTOR - 1), // as QEMU
            l1_entries: fields.u32(36)?,
            l1_offset: fields.u64(40)?,
            refcount_table_offset: fields.u64(REFCOUNT_TABLE_AT as usize)?,
            refcount_table_clusters: fields.u32(56)?,
            refcount_order,
            autoclear: v3(AUTOCLEAR_AT as usize)?,
            codec: Codec::Deflate,
            backing: None,
            read_only: None,
        };
        refuse_features(image, incompatible, &extensions)?;
        header.read_only = read_only(incompatible);
        if fields.u32(32)? != 0 {
            return Err(BlockError::unsupported(image, "encryption; decrypt it with `qemu-img convert`"));
        }
        if version == 3 && header_length < V3_LENGTH {
            return Err(BlockError::damaged(image, format!("its header has {header_length} bytes")));
        }
        if incompatible & COMPRESSION_TYPE != 0 {
            header.codec = match fields.slice(V3_LENGTH, 1)? {
                [0] => Codec::Deflate,
                [1] => Codec::Zstd,
                [other, ..] => {
                    return Err(BlockError::unsupported(image, format!("compression type {other}")));
                }
                [] => Codec::Deflate,
            };
        }
        header.backing = backing(&fields, extensions.backing_format)?;
        header.check(image)?;
        Ok(header)
    }

    pub fn cluster_size(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// What the rest of the code relies on.
    fn check(&self, image: &str) -> Result<()> {
        let damaged = |what: String| Err(BlockError::damaged(image, what));
        if !(9..=21).contains(&self.cluster_bits) {
            return damaged(format!("clusters of 2^{} bytes; there are 2^9 to 2^21", self.cluster_bits));
        }
        if self.refcount_order > 6 {
            return damaged(format!("refcounts of 2^{} bits; there are 2^0 to 2^6", self.refcount_order));
        }
        let covered = u128::from(self.l1_entries) << (2 * self.cluster_bits - 3);
        if u64::from(self.l1_entries) * 8 > MAX_L1_BYTES || covered < u128::from(self.size) {
            return damaged(format!("an L1 table of {} entries for {} bytes", self.l1_entries, self.size));
        }
        let table = u64::from(self.refcount_table_clusters) << self.cluster_bits;
        if table > MAX_REFCOUNT_TABLE_BYTES || table == 0 {
            return damaged(format!("a refcount table of {table} bytes"));
        }
        for (what, offset) in [("L1", self.l1_offset), ("refcount", self.refcount_table_offset)] {
            if offset & (self.cluster_size() - 1) != 0 || offset >> 56 != 0 || (offset == 0 && self.l1_entries != 0) {
                return damaged(format!("its {what} table is at byte {offset}"));
            }
        }
        Ok(())
    }
}

fn backing(fields: &Fields<'_>, format: Option<String>) -> Result<Option<Backing>> {
    let (offset, len) = (fields.u64(8)?, fields.u32(16)?);
    if offset == 0 {
        return Ok(None);
    }
    if len > MAX_BACKING_NAME {
        return Err(BlockError::damaged(fields.image, format!("its backing file's name has {len} bytes")));
    }
    let name = fields.text(usize::try_from(offset).unwrap_or(usize::MAX), len as usize)?;
    Ok(Some(Backing { name, format }))
}

fn read_only(incompatible: u64) -> Option<&'static str> {
    if incompatible & CORRUPT != 0 {
        Some("it is marked as corrupt; repair it with `qemu-img check -r all`")
    } else if incompatible & DIRTY != 0 {
        Some("it was not closed, so its refcounts are not to be relied on; repair it with `qemu-img check -r all`")
    } else {
        None
    }
}

fn refuse_features(image: &str, incompatible: u64, extensions: &Extensions) -> Result<()> {
    let known = DIRTY | CORRUPT | COMPRESSION_TYPE;
    let unknown = (0..64).filter(|bit| incompatible & !known & 1 << bit != 0);
    let names: Vec<_> = unknown
        .map(|bit| match 1_u64 << bit {
            EXTERNAL_DATA => "an external data file (make it one file with `qemu-img convert`)".to_owned(),
            EXTENDED_L2 => "extended L2 entries (`qemu-img convert -O qcow2 -o extended_l2=off`)".to_owned(),
            _ => match extensions.incompatible_names.iter().find(|(b, _)| *b == bit as u8) {
                Some((_, name)) => format!("the feature that it calls `{name}` (incompatible bit {bit})"),
                None => format!("incompatible feature bit {bit}"),
            },
        })
        .collect();
    if names.is_empty() { Ok(()) } else { Err(BlockError::unsupported(image, names.join(", "))) }
}

#[derive(Default)]
struct Extensions {
    backing_format: Option<String>,
    /// Bit number and name.
    incompatible_names: Vec<(u8, String)>,
}

impl Extensions {
    fn read(fields: &Fields<'_>, mut at: usize) -> Result<Self> {
        let mut found = Self::default();
        loop {
            // an image that is shorter than its header's cluster has no more
            let (Ok(kind), Ok(len)) = (fields.u32(at), fields.u32(at.saturating_add(4))) else { return Ok(found) };
            let (start, len) = (at + 8, len as usize);
            match kind {
                EXT_END => return Ok(found),
                EXT_BACKING_FORMAT => found.backing_format = Some(fields.text(start, len)?),
                EXT_FEATURE_NAMES => {
                    for entry in fields.slice(start, len)?.chunks_exact(48) {
                        if let [0, bit, name @ ..] = entry {
                            let name = String::from_utf8_lossy(name);
                            found.incompatible_names.push((*bit, name.trim_end_matches('\0').to_owned()));
                        }
                    }
                }
                _ => {}
            }
            at = start.saturating_add(len).saturating_add(7) & !7;
        }
    }
}
