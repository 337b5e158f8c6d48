//! How pieces of images are compressed.

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress, inflate_flags};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// Zstandard's windows may be as long as the longest piece that is compressed on its own, and a little more.
const MAX_WINDOW: u64 = 32 << 20;

/// A compression method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// Nothing is compressed.
    Stored,
    /// RFC 1951, without a header.
    Deflate,
    /// RFC 8878, one frame.
    Zstd,
}

impl Codec {
    /// The `len` bytes that `packed` was made of. What follows in `packed` is not looked at. Says why not, otherwise.
    pub fn unpack(self, packed: &[u8], len: usize) -> Result<Vec<u8>, String> {
        match self {
            Self::Stored => packed.get(..len).map(<[u8]>::to_vec).ok_or_else(|| "it is too short".to_owned()),
            Self::Deflate => inflate(packed, len),
            Self::Zstd => unzstd(packed, len),
        }
    }
}

fn inflate(packed: &[u8], len: usize) -> Result<Vec<u8>, String> {
    let mut out = vec![0; len];
    let flags = inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
    let (status, _, written) = decompress(&mut DecompressorOxide::new(), packed, &mut out, 0, flags);
    match status {
        TINFLStatus::Done | TINFLStatus::HasMoreOutput if written == len => Ok(out),
        TINFLStatus::Done => Err(format!("{written} bytes come out of it, not {len}")),
        status => Err(format!("{status:?} after {written} of {len} bytes")),
    }
}

fn unzstd(packed: &[u8], len: usize) -> Result<Vec<u8>, String> {
    let mut decoder = FrameDecoder::new();
    decoder.set_max_window_size(MAX_WINDOW);
    let mut rest = packed;
    decoder.init(&mut rest).map_err(|error| error.to_string())?;
    // not more than was asked for, but for the end of its last block, and one more, which may be empty and say that
    // it is the last
    for strategy in [BlockDecodingStrategy::UptoBytes(len.max(1)), BlockDecodingStrategy::UptoBlocks(1)] {
        if !decoder.is_finished() {
            decoder.decode_blocks(&mut rest, strategy).map_err(|error| error.to_string())?;
        }
    }
    if !decoder.is_finished() {
        return Err(format!("more than {len} bytes come out of it"));
    }
    let out = decoder.collect().unwrap_or_default();
    if out.len() == len { Ok(out) } else { Err(format!("{} bytes come out of it, not {len}", out.len())) }
}
