//! Frames, and what the guest and the network say about their checksums and sizes.

use super::spec::{HEADER, flag, gso};

/// Which of the protocols a frame that is to be segmented carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tcp {
    V4,
    V6,
}

/// A TCP frame that is longer than the link takes: each segment has up to `size` bytes of payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segmentation {
    pub tcp: Tcp,
    pub size: u16,
    /// Bytes of all headers, as a hint.
    pub header_len: u16,
}

/// A checksum that is still to be made: over everything from `start` on, stored at `start + offset`, where the sum of the
/// pseudo-header is (RFC 1071 arithmetic).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartialChecksum {
    pub start: u16,
    pub offset: u16,
}

/// An Ethernet frame without its check sequence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    pub bytes: Vec<u8>,
    pub checksum: Option<PartialChecksum>,
    pub segmentation: Option<Segmentation>,
}

/// What the guest takes: see [`Frame`]. A frame that it does not take as it is must be finished before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offloads {
    /// Frames whose checksum is partial.
    pub checksum: bool,
    /// Frames that are longer than the MTU.
    pub tcp4: bool,
    pub tcp6: bool,
}

impl Frame {
    /// A frame as the driver describes it by its header; `None` where that is wrong (5.1.6.2).
    pub fn from_driver(header: [u8; HEADER], bytes: Vec<u8>) -> Option<Self> {
        let word = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
        let checksum = (header[0] & flag::NEEDS_CSUM != 0).then(|| PartialChecksum { start: word(6), offset: word(8) });
        let fits = |c: &PartialChecksum| usize::from(c.start) + usize::from(c.offset) + 2 <= bytes.len();
        if !checksum.as_ref().is_none_or(fits) {
            return None;
        }
        let tcp = match header[1] & !gso::ECN {
            gso::NONE => None,
            gso::TCPV4 => Some(Tcp::V4),
            gso::TCPV6 => Some(Tcp::V6),
            _ => return None,
        };
        let segmentation = tcp.map(|tcp| Segmentation { tcp, size: word(4), header_len: word(2) });
        // Segments need a size, and a checksum each.
        if segmentation.is_some_and(|s| s.size == 0 || checksum.is_none()) {
            return None;
        }
        Some(Self { bytes, checksum, segmentation })
    }

    /// The header for a frame to the driver, which is spread over `buffers`.
    pub fn header(&self, buffers: u16) -> [u8; HEADER] {
        let mut h = [0; HEADER];
        if let Some(c) = self.checksum {
            h[0] = flag::NEEDS_CSUM;
            h[6..8].copy_from_slice(&c.start.to_le_bytes());
            h[8..10].copy_from_slice(&c.offset.to_le_bytes());
        }
        if let Some(s) = self.segmentation {
            h[1] = match s.tcp {
                Tcp::V4 => gso::TCPV4,
                Tcp::V6 => gso::TCPV6,
            };
            h[2..4].copy_from_slice(&s.header_len.to_le_bytes());
            h[4..6].copy_from_slice(&s.size.to_le_bytes());
        }
        h[10..].copy_from_slice(&buffers.to_le_bytes());
        h
    }

    /// Makes the checksum that is partial.
    pub fn finish_checksum(&mut self) {
        let Some(c) = self.checksum.take() else { return };
        let start = usize::from(c.start);
        let Some(covered) = self.bytes.get(start..) else { return };
        let sum = internet_checksum(covered).to_be_bytes();
        if let Some(place) = self.bytes.get_mut(start + usize::from(c.offset)..).and_then(|b| b.get_mut(..2)) {
            place.copy_from_slice(&sum);
        }
    }

    /// Whether a guest that takes `offloads` takes this frame.
    pub fn suits(&self, offloads: Offloads) -> bool {
        let segments = self.segmentation.is_none_or(|s| match s.tcp {
            Tcp::V4 => offloads.tcp4,
            Tcp::V6 => offloads.tcp6,
        });
        segments && (offloads.checksum || self.checksum.is_none())
    }
}

/// The Internet checksum (RFC 1071) of `bytes`. A sum of zero is sent as all ones (RFC 768), which TCP takes as well.
fn internet_checksum(bytes: &[u8]) -> u16 {
    let pairs = bytes.chunks(2).map(|p| u64::from(u16::from_be_bytes([p[0], p.get(1).copied().unwrap_or(0)])));
    let mut sum: u64 = pairs.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    match !(sum as u16) {
        0 => 0xffff,
        sum => sum,
    }
}
