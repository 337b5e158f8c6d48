//! The cable to the guest's card: who is at which hardware address, and the frames that wait to be taken.

use options::UserNet;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, IpProtocol,
    Ipv4Packet,
};
use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::num::NonZeroU16;

/// Largest IP packet on the cable, bytes.
pub const MTU: usize = 1500;
pub const ETHERNET_HEADER: usize = 14;
pub const IPV4_HEADER: usize = 20;
/// Frames and bytes for the guest, from which on TCP waits.
const ROOM_FRAMES: usize = 256;
const ROOM_BYTES: usize = 1 << 20;
/// Frames for the guest, from which on answers that cannot wait are dropped, as a switch would.
const LIMIT_FRAMES: usize = 1024;
/// Addresses of guests that are remembered.
const NEIGHBORS: usize = 16;
/// "Locally administered", then `U` and the address, as QEMU makes them.
const MAC_PREFIX: [u8; 2] = [0x52, 0x55];
const HOP_LIMIT: u8 = 64;

/// What is left to the guest's card, if it can do that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offload {
    /// The frame is complete.
    None,
    /// The TCP checksum is only begun: it holds the sum of the pseudo-header.
    Checksum,
    /// The same, and the frame stands for several with at most so many bytes of TCP payload.
    Segment(NonZeroU16),
}

/// An Ethernet frame for the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub bytes: Vec<u8>,
    pub offload: Offload,
}

impl Frame {
    /// Where the checksum of an offloaded frame begins, and where it goes, counted from there.
    pub const CHECKSUM: (u16, u16) = ((ETHERNET_HEADER + IPV4_HEADER) as u16, 16);
}

/// The cable.
pub struct Link {
    net: UserNet,
    neighbors: Vec<(Ipv4Addr, EthernetAddress)>,
    out: VecDeque<Frame>,
    out_bytes: usize,
    ident: u16,
}

/// The hardware address of one of ours.
fn own_mac(ip: Ipv4Addr) -> EthernetAddress {
    let ([a, b], [c, d, e, f]) = (MAC_PREFIX, ip.octets());
    EthernetAddress([a, b, c, d, e, f])
}

impl Link {
    pub fn new(net: UserNet) -> Self {
        Self { net, neighbors: Vec::new(), out: VecDeque::new(), out_bytes: 0, ident: 0 }
    }

    /// Forgets everything, as when the guest is switched off.
    pub fn clear(&mut self) {
        self.neighbors.clear();
        self.out.clear();
        self.out_bytes = 0;
    }

    /// Whether an answer from here may wait in the queue.
    pub fn has_room(&self) -> bool {
        self.out.len() < ROOM_FRAMES && self.out_bytes < ROOM_BYTES
    }

    pub fn take(&mut self) -> Option<Frame> {
        let frame = self.out.pop_front()?;
        self.out_bytes -= frame.bytes.len();
        Some(frame)
    }

    pub fn push(&mut self, frame: Frame) {
        if self.out.len() < LIMIT_FRAMES {
            self.out_bytes += frame.bytes.len();
            self.out.push_back(frame);
        }
    }

    /// `ip` was seen to be at `mac`.
    pub fn learn(&mut self, ip: Ipv4Addr, mac: EthernetAddress) {
        if !self.net.contains(ip) || self.is_own(ip) || !mac.is_unicast() {
            return;
        }
        match self.neighbors.iter_mut().find(|(known, _)| *known == ip) {
            Some(known) => known.1 = mac,
            None => {
                if self.neighbors.len() == NEIGHBORS {
                    self.neighbors.remove(0);
                }
                self.neighbors.push((ip, mac));
            }
        }
    }

    /// Whether `ip` is the gateway or the name server.
    pub fn is_own(&self, ip: Ipv4Addr) -> bool {
        ip == self.net.host || ip == self.net.dns
    }

    /// Whether a packet to `ip` is for everybody here.
    pub fn is_broadcast(&self, ip: Ipv4Addr) -> bool {
        ip.is_broadcast() || ip == self.net.broadcast()
    }

    /// Whether a frame to this hardware address is for the network.
    pub fn is_for_us(&self, mac: EthernetAddress) -> bool {
        mac.is_broadcast() || [self.net.host, self.net.dns].map(own_mac).contains(&mac)
    }

    /// Answers questions for our own addresses (RFC 826), and learns who asked.
    pub fn arp(&mut self, payload: &[u8]) {
        let Ok(ArpRepr::EthernetIpv4 {
            operation,
            source_hardware_addr,
            source_protocol_addr,
            target_protocol_addr,
            ..
        }) = ArpPacket::new_checked(payload).and_then(|packet| ArpRepr::parse(&packet))
        else {
            return;
        };
        self.learn(source_protocol_addr, source_hardware_addr);
        if operation == ArpOperation::Request && self.is_own(target_protocol_addr) {
            let source = own_mac(target_protocol_addr);
            self.push_arp(ArpRepr::EthernetIpv4 {
                operation: ArpOperation::Reply,
                source_hardware_addr: source,
                source_protocol_addr: target_protocol_addr,
                target_hardware_addr: source_hardware_addr,
                target_protocol_addr: source_protocol_addr,
            });
        }
    }

    /// Asks who has `ip`.
    fn ask(&mut self, ip: Ipv4Addr) {
        self.push_arp(ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Request,
            source_hardware_addr: own_mac(self.net.host),
            source_protocol_addr: self.net.host,
            target_hardware_addr: EthernetAddress::BROADCAST,
            target_protocol_addr: ip,
        });
    }

    fn push_arp(&mut self, arp: ArpRepr) {
        let ArpRepr::EthernetIpv4 { source_hardware_addr, target_hardware_addr, .. } = arp else { return };
        let mut bytes = vec![0; ETHERNET_HEADER + arp.buffer_len()];
        ethernet(&mut bytes, source_hardware_addr, target_hardware_addr, EthernetProtocol::Arp);
        arp.emit(&mut ArpPacket::new_unchecked(&mut bytes[ETHERNET_HEADER..]));
        self.push(Frame { bytes, offload: Offload::None });
    }

    /// The Ethernet header of an IP packet; `None` if nobody knows where `dst` is, which is then asked.
    pub fn header(&mut self, src: Ipv4Addr, dst: Ipv4Addr) -> Option<[u8; ETHERNET_HEADER]> {
        let known = self.neighbors.iter().find(|(known, _)| *known == dst).map(|(_, mac)| *mac);
        let mac = match known {
            Some(mac) => mac,
            None if dst.is_broadcast() => EthernetAddress::BROADCAST,
            None => {
                if self.net.contains(dst) && self.has_room() {
                    self.ask(dst);
                }
                return None;
            }
        };
        let from = own_mac(if src == self.net.dns { src } else { self.net.host });
        let mut header = [0; ETHERNET_HEADER];
        ethernet(&mut header, from, mac, EthernetProtocol::Ipv4);
        Some(header)
    }

    /// Sends an IP packet, in fragments if it is longer than the cable allows (RFC 791).
    pub fn send(&mut self, src: Ipv4Addr, dst: Ipv4Addr, protocol: IpProtocol, payload: &[u8]) {
        const PIECE: usize = (MTU - IPV4_HEADER) & !7;
        if payload.len() > usize::from(u16::MAX) - IPV4_HEADER {
            return;
        }
        self.ident = self.ident.wrapping_add(1);
        let mut offset = 0;
        loop {
            let rest = &payload[offset..];
            let piece = if rest.len() > MTU - IPV4_HEADER { &rest[..PIECE] } else { rest };
            let more = piece.len() < rest.len();
            let Some(header) = self.header(src, dst) else { return };
            let mut bytes = [&header[..], &[0; IPV4_HEADER], piece].concat();
            let mut ip = Ipv4Packet::new_unchecked(&mut bytes[ETHERNET_HEADER..]);
            ip.set_version(4);
            ip.set_header_len(IPV4_HEADER as u8);
            ip.set_total_len((IPV4_HEADER + piece.len()) as u16);
            ip.set_ident(self.ident);
            ip.clear_flags();
            ip.set_more_frags(more);
            ip.set_frag_offset(offset as u16);
            ip.set_hop_limit(HOP_LIMIT);
            ip.set_next_header(protocol);
            ip.set_src_addr(src);
            ip.set_dst_addr(dst);
            ip.fill_checksum();
            self.push(Frame { bytes, offload: Offload::None });
            if !more {
                return;
            }
            offset += piece.len();
        }
    }
}

fn ethernet(bytes: &mut [u8], src_addr: EthernetAddress, dst_addr: EthernetAddress, ethertype: EthernetProtocol) {
    EthernetRepr { src_addr, dst_addr, ethertype }.emit(&mut EthernetFrame::new_unchecked(bytes));
}
