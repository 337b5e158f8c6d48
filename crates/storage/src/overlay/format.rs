//! The overlay as a file.
//!
//! It is divided into *slots* of one granule each, 4 KiB. Slots 0 and 1 hold superblocks, of which the valid one with
//! the higher generation counts; the other is overwritten next. A superblock names the *log*, a run of slots: records
//! one after another, each a list of (granule of the disk, slot that holds it). The first record of a log has all of
//! them, each further one what a flush has made durable. Records that are torn, or left by an earlier log, have
//! another checksum or generation: there the log ends. All other slots hold granules, or nothing. Numbers are
//! little-endian.

use super::Identity;
use crate::{BlockError, Hash, Result};

/// Log2 of the bytes of a granule and a slot: the blocks that file systems write.
pub const BITS: u32 = 12;
pub const SLOT: u64 = 1 << BITS;
/// Superblocks' slots.
pub const SUPERBLOCKS: u32 = 2;

/// The granule is the base image's. In a record: it was, once more.
pub const BASE: u32 = 0;
/// The granule is all zeros.
pub const ZEROS: u32 = 1;

const MAGIC: &[u8; 8] = b"pvmovly\x01";
const CHECKSUM_AT: usize = SLOT as usize - 16;
const RECORD_MAGIC: u32 = 0x6c76_6f70;
pub const RECORD_HEADER: usize = 40;
pub const ENTRY: usize = 8;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superblock {
    pub generation: u64,
    pub base: Identity,
    /// First slot of the log, and how many there are.
    pub log: u32,
    pub log_slots: u32,
}

impl Superblock {
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(self.generation.to_le_bytes());
        bytes.extend(self.base.size.to_le_bytes());
        bytes.extend(self.log.to_le_bytes());
        bytes.extend(self.log_slots.to_le_bytes());
        bytes.extend((self.base.tag.len() as u32).to_le_bytes());
        bytes.extend(self.base.tag.as_bytes());
        bytes.resize(CHECKSUM_AT, 0);
        let checksum = Hash::short(&bytes);
        bytes.extend(checksum);
        bytes
    }

    /// Nothing where there is none.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (content, checksum) = bytes.get(..SLOT as usize)?.split_at(CHECKSUM_AT);
        let rest = content.strip_prefix(MAGIC)?;
        if Hash::short(content) != checksum {
            return None;
        }
        let (generation, rest) = rest.split_first_chunk()?;
        let (size, rest) = rest.split_first_chunk()?;
        let (log, rest) = rest.split_first_chunk()?;
        let (log_slots, rest) = rest.split_first_chunk()?;
        let (len, rest) = rest.split_first_chunk()?;
        let tag = rest.get(..u32::from_le_bytes(*len) as usize)?;
        Some(Self {
            generation: u64::from_le_bytes(*generation),
            base: Identity { size: u64::from_le_bytes(*size), tag: String::from_utf8(tag.to_vec()).ok()? },
            log: u32::from_le_bytes(*log),
            log_slots: u32::from_le_bytes(*log_slots),
        })
    }

    /// The longest tag that there is room for.
    pub const MAX_TAG: usize = CHECKSUM_AT - 64;
}

/// Which record of which log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub generation: u64,
    pub sequence: u32,
}

/// A record: granules and their slots.
pub fn record(place: Place, entries: &[(u32, u32)]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(RECORD_HEADER + entries.len() * ENTRY);
    bytes.extend(RECORD_MAGIC.to_le_bytes());
    bytes.extend((entries.len() as u32).to_le_bytes());
    bytes.extend(place.generation.to_le_bytes());
    bytes.extend(place.sequence.to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend([0; 16]);
    for (granule, slot) in entries {
        bytes.extend(granule.to_le_bytes());
        bytes.extend(slot.to_le_bytes());
    }
    let checksum = Hash::short(&bytes);
    bytes[RECORD_HEADER - 16..RECORD_HEADER].copy_from_slice(&checksum);
    bytes
}

/// How many entries the record has that begins so; nothing where it is not the one in that place.
pub fn record_entries(place: Place, header: &[u8; RECORD_HEADER]) -> Option<u32> {
    let expected = record(place, &[]);
    let fits = header[..4] == expected[..4] && header[8..24] == expected[8..24];
    fits.then(|| u32::from_le_bytes([header[4], header[5], header[6], header[7]]))
}

/// The entries of a whole record; nothing where its checksum does not fit.
pub fn entries(bytes: &[u8]) -> Option<impl Iterator<Item = (u32, u32)>> {
    let mut content = bytes.to_vec();
    let (checksum, body) = (bytes.get(RECORD_HEADER - 16..RECORD_HEADER)?, bytes.get(RECORD_HEADER..)?);
    content[RECORD_HEADER - 16..RECORD_HEADER].fill(0);
    if Hash::short(&content) != checksum {
        return None;
    }
    let number = |b: &[u8]| b.iter().rev().fold(0, |n, byte| n << 8 | u32::from(*byte));
    Some(body.chunks_exact(ENTRY).map(move |entry| (number(&entry[..4]), number(&entry[4..]))))
}

pub fn check_tag(overlay: &str, tag: &str) -> Result<()> {
    if tag.len() <= Superblock::MAX_TAG {
        return Ok(());
    }
    Err(BlockError::unsupported(overlay, format!("a base image whose identity has {} bytes", tag.len())))
}
