//! UDP (RFC 768): a flow for each pair of addresses, which ends when nothing was said for a while.

use crate::channel::ChannelId;
use crate::icmp;
use crate::link::Link;
use crate::outside::Outside;
use rustc_hash::FxHashMap;
use smoltcp::wire::{Icmpv4DstUnreachable, IpAddress, IpProtocol, Ipv4Repr, UdpPacket};
use std::net::{Ipv4Addr, SocketAddrV4};

/// Flows at once; the one that was silent longest makes room for a new one.
pub const FLOWS: usize = 256;
/// Guest nanoseconds of silence after which a flow ends: RFC 4787 asks for two minutes at least.
pub const TIMEOUT_NS: u64 = 180_000_000_000;
/// First of the dynamic ports (RFC 6335, 6).
const FIRST_PORT: u16 = 49152;
const HEADER: usize = 8;

/// Sends a datagram to the guest; one that no packet can hold is dropped.
pub fn send(link: &mut Link, from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) {
    let len = HEADER + payload.len();
    let Ok(total) = u16::try_from(len) else { return };
    let mut bytes = vec![0; len];
    bytes[HEADER..].copy_from_slice(payload);
    let mut udp = UdpPacket::new_unchecked(&mut bytes);
    udp.set_src_port(from.port());
    udp.set_dst_port(to.port());
    udp.set_len(total);
    udp.fill_checksum(&IpAddress::Ipv4(*from.ip()), &IpAddress::Ipv4(*to.ip()));
    link.send(*from.ip(), *to.ip(), IpProtocol::Udp, &bytes);
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    guest: SocketAddrV4,
    remote: SocketAddrV4,
}

struct Flow {
    key: Key,
    last_ns: u64,
}

/// The flows to the outside.
#[derive(Default)]
pub struct Udp {
    flows: FxHashMap<ChannelId, Flow>,
    ids: FxHashMap<Key, ChannelId>,
}

impl Udp {
    /// Whether there is a flow between these.
    pub fn known(&self, guest: SocketAddrV4, remote: SocketAddrV4) -> bool {
        self.ids.contains_key(&Key { guest, remote })
    }

    /// A peer's first datagram has arrived at the host, for the guest's `to`: `id` becomes a flow; `false`: it cannot.
    pub fn arrived(
        &mut self,
        outside: &mut dyn Outside,
        now_ns: u64,
        id: ChannelId,
        gateway: Ipv4Addr,
        to: SocketAddrV4,
    ) -> bool {
        if self.flows.len() >= FLOWS {
            self.end_oldest(outside);
        }
        // The peer's own port is the host's business; here the number of the flow tells peers apart.
        let port = |n: u32| FIRST_PORT + (n % u32::from(u16::MAX - FIRST_PORT)) as u16;
        let keys = (0..=FLOWS as u32)
            .map(|n| Key { guest: to, remote: SocketAddrV4::new(gateway, port(id.0.wrapping_add(n))) });
        let Some(key) = { keys }.find(|key| !self.ids.contains_key(key)) else { return false };
        self.ids.insert(key, id);
        self.flows.insert(id, Flow { key, last_ns: now_ns });
        true
    }

    /// A datagram of the guest for the outside.
    pub fn receive(
        &mut self,
        link: &mut Link,
        outside: &mut dyn Outside,
        now_ns: u64,
        ip: &Ipv4Repr,
        packet: &UdpPacket<&[u8]>,
        ip_payload: &[u8],
    ) {
        let key = Key {
            guest: SocketAddrV4::new(ip.src_addr, packet.src_port()),
            remote: SocketAddrV4::new(ip.dst_addr, packet.dst_port()),
        };
        let id = match self.ids.get(&key) {
            Some(id) => *id,
            None => {
                if self.flows.len() >= FLOWS {
                    self.end_oldest(outside);
                }
                let Some(id) = outside.udp_open(key.guest, key.remote) else {
                    let reason = Icmpv4DstUnreachable::PortUnreachable;
                    return icmp::unreachable(link, ip.dst_addr, reason, ip, ip_payload);
                };
                self.ids.insert(key, id);
                self.flows.insert(id, Flow { key, last_ns: now_ns });
                id
            }
        };
        if let Some(flow) = self.flows.get_mut(&id) {
            flow.last_ns = now_ns;
            outside.udp_send(id, packet.payload());
        }
    }

    /// A datagram from outside; whether the flow is known.
    pub fn data(&mut self, link: &mut Link, now_ns: u64, id: ChannelId, payload: &[u8]) -> bool {
        let Some(flow) = self.flows.get_mut(&id) else { return false };
        flow.last_ns = now_ns;
        if link.has_room() {
            send(link, flow.key.remote, flow.key.guest, payload);
        }
        true
    }

    /// The outside has lost the flow; whether it was one.
    pub fn closed(&mut self, id: ChannelId) -> bool {
        let flow = self.flows.remove(&id);
        flow.map(|flow| self.ids.remove(&flow.key)).is_some()
    }

    /// Ends what was silent too long; when to look again.
    pub fn expire(&mut self, outside: &mut dyn Outside, now_ns: u64) -> Option<u64> {
        let deadline = |flow: &Flow| flow.last_ns.saturating_add(TIMEOUT_NS);
        let due: Vec<_> = self.flows.iter().filter(|(_, flow)| deadline(flow) <= now_ns).map(|(id, _)| *id).collect();
        due.into_iter().for_each(|id| self.end(outside, id));
        self.flows.values().map(deadline).min()
    }

    pub fn len(&self) -> usize {
        self.flows.len()
    }

    pub fn clear(&mut self, outside: &mut dyn Outside) {
        self.ids.clear();
        self.flows.drain().for_each(|(id, _)| outside.close(id));
    }

    fn end_oldest(&mut self, outside: &mut dyn Outside) {
        let oldest = self.flows.iter().min_by_key(|(id, flow)| (flow.last_ns, **id)).map(|(id, _)| *id);
        oldest.into_iter().for_each(|id| self.end(outside, id));
    }

    fn end(&mut self, outside: &mut dyn Outside, id: ChannelId) {
        if self.closed(id) {
            outside.close(id);
        }
    }
}
