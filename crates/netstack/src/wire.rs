//! smoltcp's view of the cable: IP packets, in by one queue, out to the [`Link`].

use crate::link::{ETHERNET_HEADER, Frame, IPV4_HEADER, Link, MTU, Offload};
use smoltcp::phy::{self, Checksum, ChecksumCapabilities, DeviceCapabilities, Medium, PacketMeta};
use smoltcp::wire::{IpProtocol, Ipv4Packet, TcpPacket};
use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::num::NonZeroUsize;

/// smoltcp's type for times, which are the guest's.
pub type GuestTime = smoltcp::time::Instant;

/// Packets of the guest that may wait.
const WAITING: usize = 64;
/// What the card takes for several frames: an IP packet cannot be longer.
const SEGMENTED: usize = 65_535;

/// The guest's packets that TCP has not seen yet.
#[derive(Default)]
pub struct Wire {
    waiting: VecDeque<Vec<u8>>,
    /// The card does checksums and segmentation.
    pub offload: bool,
}

impl Wire {
    pub fn give(&mut self, packet: &[u8]) {
        self.waiting.push_back(packet.to_vec());
    }

    pub fn is_full(&self) -> bool {
        self.waiting.len() >= WAITING
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub fn clear(&mut self) {
        self.waiting.clear();
    }

    pub fn port<'a>(&'a mut self, link: &'a mut Link) -> Port<'a> {
        Port { wire: self, link }
    }
}

/// Both queues.
pub struct Port<'a> {
    wire: &'a mut Wire,
    link: &'a mut Link,
}

impl phy::Device for Port<'_> {
    type RxToken<'t>
        = Packet
    where
        Self: 't;
    type TxToken<'t>
        = Output<'t>
    where
        Self: 't;

    fn receive(&mut self, _: GuestTime) -> Option<(Packet, Output<'_>)> {
        let packet = self.wire.waiting.pop_front()?;
        Some((Packet(packet), Output { link: self.link, meta: PacketMeta::default(), offload: self.wire.offload }))
    }

    fn transmit(&mut self, _: GuestTime) -> Option<Output<'_>> {
        let offload = self.wire.offload;
        self.link.has_room().then(|| Output { link: self.link, meta: PacketMeta::default(), offload })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = MTU;
        // What the guest sends has crossed no cable; its card may have left the checksum to us.
        let mut checksum = ChecksumCapabilities::default();
        checksum.tcp = if self.wire.offload { Checksum::None } else { Checksum::Tx };
        capabilities.checksum = checksum;
        capabilities.segmentation.tcpv4 = NonZeroUsize::new(SEGMENTED).filter(|_| self.wire.offload);
        capabilities
    }
}

pub struct Packet(Vec<u8>);

impl phy::RxToken for Packet {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

pub struct Output<'a> {
    link: &'a mut Link,
    meta: PacketMeta,
    offload: bool,
}

impl phy::TxToken for Output<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        // The addresses are known only when the packet is there, and the hardware addresses only then.
        let mut bytes = vec![0; ETHERNET_HEADER + len];
        let result = f(&mut bytes[ETHERNET_HEADER..]);
        let Ok(packet) = Ipv4Packet::new_checked(&bytes[ETHERNET_HEADER..]) else { return result };
        let (src, dst) = (packet.src_addr(), packet.dst_addr());
        if let Some(header) = self.link.header(src, dst) {
            bytes[..ETHERNET_HEADER].copy_from_slice(&header);
            let mut offload = Offload::None;
            if self.offload {
                begin_checksum(&mut bytes[ETHERNET_HEADER + IPV4_HEADER..], src, dst);
                offload = self.meta.segmentation_offload_size.map_or(Offload::Checksum, Offload::Segment);
            }
            self.link.push(Frame { bytes, offload });
        }
        result
    }

    fn set_meta(&mut self, meta: PacketMeta) {
        self.meta = meta;
    }
}

/// Puts the sum of the pseudo-header (RFC 9293, 3.1) where the checksum goes.
fn begin_checksum(segment: &mut [u8], src: Ipv4Addr, dst: Ipv4Addr) {
    let words = |ip: Ipv4Addr| (ip.to_bits() >> 16) + (ip.to_bits() & 0xffff);
    let mut sum = words(src) + words(dst) + u32::from(u8::from(IpProtocol::Tcp)) + segment.len() as u32;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    TcpPacket::new_unchecked(segment).set_checksum(sum as u16);
}
