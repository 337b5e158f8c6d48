//! ICMP (RFC 792): the gateway and the name server answer echoes, everything else is told to be unreachable.

use crate::link::{IPV4_HEADER, Link};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{IPV4_MIN_MTU, Icmpv4DstUnreachable, Icmpv4Packet, Icmpv4Repr, IpProtocol, Ipv4Packet, Ipv4Repr};
use std::net::Ipv4Addr;

/// What the guest sent to `ip.dst_addr`.
pub fn receive(link: &mut Link, ip: &Ipv4Repr, packet: &Ipv4Packet<&[u8]>) {
    let payload = packet.payload();
    let Ok(Icmpv4Repr::EchoRequest { ident, seq_no, data }) =
        Icmpv4Packet::new_checked(payload).and_then(|icmp| Icmpv4Repr::parse(&icmp, &ChecksumCapabilities::ignored()))
    else {
        return;
    };
    if link.is_own(ip.dst_addr) {
        send(link, ip.dst_addr, ip.src_addr, &Icmpv4Repr::EchoReply { ident, seq_no, data });
    } else {
        // The host lets no page and no ordinary program send echoes.
        unreachable(link, ip.dst_addr, Icmpv4DstUnreachable::NetUnreachable, ip, payload);
    }
}

/// Tells the guest that its packet could not be delivered, in the name of `from`.
pub fn unreachable(link: &mut Link, from: Ipv4Addr, reason: Icmpv4DstUnreachable, ip: &Ipv4Repr, payload: &[u8]) {
    if link.is_broadcast(ip.dst_addr) || ip.dst_addr.is_multicast() {
        return;
    }
    let fits = IPV4_MIN_MTU - 2 * IPV4_HEADER - 8;
    let data = &payload[..payload.len().min(fits)];
    send(link, from, ip.src_addr, &Icmpv4Repr::DstUnreachable { reason, header: *ip, data });
}

fn send(link: &mut Link, from: Ipv4Addr, to: Ipv4Addr, icmp: &Icmpv4Repr<'_>) {
    let mut bytes = vec![0; icmp.buffer_len()];
    icmp.emit(&mut Icmpv4Packet::new_unchecked(&mut bytes), &ChecksumCapabilities::default());
    link.send(from, to, IpProtocol::Icmp, &bytes);
}
