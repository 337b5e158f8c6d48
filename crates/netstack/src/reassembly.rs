//! Datagrams that come in fragments (RFC 791, 3.2), put together.

use smoltcp::wire::{Ipv4Address, Ipv4Packet};

/// Datagrams under way at once, and guest nanoseconds after which one is given up.
const UNDER_WAY: usize = 8;
const TIMEOUT_NS: u64 = 15_000_000_000;
/// Longest payload of an IP packet.
const LIMIT: usize = 65_515;
/// Fragment offsets are in units of this.
const UNIT: usize = 8;

#[derive(Clone, Copy, PartialEq, Eq)]
struct Key {
    src: Ipv4Address,
    dst: Ipv4Address,
    ident: u16,
    protocol: u8,
}

struct Datagram {
    key: Key,
    since_ns: u64,
    header: Vec<u8>,
    payload: Vec<u8>,
    /// Which units have come; and how long the payload is, once the last fragment has.
    have: Vec<bool>,
    len: Option<usize>,
}

/// See the module.
#[derive(Default)]
pub struct Reassembly {
    under_way: Vec<Datagram>,
}

impl Reassembly {
    /// One fragment more. Returns the whole packet, whose checksum is not set, when it was the one that was missing.
    pub fn add(&mut self, now_ns: u64, packet: &Ipv4Packet<&[u8]>) -> Option<Vec<u8>> {
        self.under_way.retain(|datagram| now_ns.saturating_sub(datagram.since_ns) < TIMEOUT_NS);
        let key = Key {
            src: packet.src_addr(),
            dst: packet.dst_addr(),
            ident: packet.ident(),
            protocol: packet.next_header().into(),
        };
        let at = self.under_way.iter().position(|datagram| datagram.key == key).unwrap_or_else(|| {
            if self.under_way.len() == UNDER_WAY {
                self.under_way.remove(0);
            }
            self.under_way.push(Datagram {
                key,
                since_ns: now_ns,
                header: Vec::new(),
                payload: Vec::new(),
                have: Vec::new(),
                len: None,
            });
            self.under_way.len() - 1
        });
        let datagram = &mut self.under_way[at];
        match datagram.add(packet) {
            None => {
                self.under_way.remove(at);
                None
            }
            Some(false) => None,
            Some(true) => Some(self.under_way.remove(at).whole()),
        }
    }
}

impl Datagram {
    /// Whether it is whole now; `None`: this fragment fits no datagram.
    fn add(&mut self, packet: &Ipv4Packet<&[u8]>) -> Option<bool> {
        let (offset, piece, last) = (usize::from(packet.frag_offset()), packet.payload(), !packet.more_frags());
        let end = offset + piece.len();
        let fits = end <= LIMIT && !piece.is_empty() && (last || piece.len() % UNIT == 0);
        let agrees = self.len.is_none_or(|len| if last { len == end } else { end <= len });
        if !fits || !agrees || last && self.payload.len() > end {
            return None;
        }
        if last {
            self.len = Some(end);
        }
        if offset == 0 {
            let header = usize::from(packet.header_len());
            self.header = packet.clone().into_inner().get(..header)?.to_vec();
        }
        if self.payload.len() < end {
            self.payload.resize(end, 0);
            self.have.resize(end.div_ceil(UNIT), false);
        }
        self.payload[offset..end].copy_from_slice(piece);
        self.have[offset / UNIT..end.div_ceil(UNIT)].fill(true);
        Some(self.len.is_some() && !self.header.is_empty() && self.have.iter().all(|have| *have))
    }

    fn whole(self) -> Vec<u8> {
        let mut bytes = self.header;
        let header = bytes.len();
        bytes.extend(self.payload);
        // With options the header is longer than LIMIT leaves room for.
        bytes.truncate(usize::from(u16::MAX));
        let len = bytes.len().max(header) as u16;
        let mut packet = Ipv4Packet::new_unchecked(&mut bytes);
        packet.set_total_len(len);
        packet.clear_flags();
        packet.set_frag_offset(0);
        bytes
    }
}
