//! The user network: reads the guest's frames and gives each to what it is for.

use crate::channel::{ChannelId, Channels, Event, Ids};
use crate::dhcp::{self, Dhcp};
use crate::dns::{self, Dns};
use crate::icmp;
use crate::link::{Frame, Link};
use crate::outside::{self, Outside, OutsideError, Report};
use crate::reassembly::Reassembly;
use crate::tcp::{Key, Tcp};
use crate::udp::Udp;
use options::{Protocol, UserNet};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    EthernetFrame, EthernetProtocol, Icmpv4DstUnreachable, IpProtocol, Ipv4Packet, Ipv4Repr, TcpPacket, UdpPacket,
};
use std::net::SocketAddrV4;

/// Guest nanoseconds from one look at the timers to the next at least.
const PAUSE_NS: u64 = 100_000;

/// A network with DHCP, a name server and a gateway to the outside, for one guest's card.
pub struct UserStack {
    net: UserNet,
    link: Link,
    dhcp: Dhcp,
    dns: Dns,
    udp: Udp,
    tcp: Tcp,
    reassembly: Reassembly,
    outside: Box<dyn Outside>,
    now_ns: u64,
    deadline: Option<u64>,
}

/// How much is open at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flows {
    pub tcp: usize,
    pub udp: usize,
}

impl UserStack {
    /// The network that `net` describes, on a host with these abilities. `seed` makes sequence numbers hard to guess.
    ///
    /// # Errors
    /// The options ask for what the host cannot do.
    pub fn new(net: &UserNet, channels: Box<dyn Channels>, ids: &Ids, seed: u64) -> Result<Self, OutsideError> {
        Ok(Self::with_outside(net, outside::open(net, channels, ids)?, seed))
    }

    /// The same, with an outside of the caller's.
    pub fn with_outside(net: &UserNet, outside: Box<dyn Outside>, seed: u64) -> Self {
        Self {
            link: Link::new(net.clone()),
            dhcp: Dhcp::new(net.clone()),
            dns: Dns::default(),
            udp: Udp::default(),
            tcp: Tcp::new(net.host, seed),
            reassembly: Reassembly::default(),
            outside,
            net: net.clone(),
            now_ns: 0,
            deadline: None,
        }
    }

    /// Whether the guest's card does TCP checksums and segmentation: then frames come as [`crate::Offload`] says.
    pub fn set_offload(&mut self, on: bool) {
        self.tcp.set_offload(on);
    }

    /// A frame from the guest, up to 64 KiB long where its card segments. Checksums of TCP and UDP are not looked at. Call
    /// [`UserStack::poll`] after the last one.
    pub fn transmit(&mut self, frame: &[u8]) {
        let Ok(ethernet) = EthernetFrame::new_checked(frame) else { return };
        if !self.link.is_for_us(ethernet.dst_addr()) {
            return;
        }
        match ethernet.ethertype() {
            EthernetProtocol::Arp => self.link.arp(ethernet.payload()),
            EthernetProtocol::Ipv4 => self.ipv4(&ethernet),
            _ => {}
        }
        if self.tcp.is_busy() {
            self.run();
        }
    }

    /// The next frame for the guest.
    pub fn receive(&mut self) -> Option<Frame> {
        self.link.take()
    }

    /// It is guest time `now_ns`: does what is due, and what the frames and events since the last call have caused.
    pub fn poll(&mut self, now_ns: u64) {
        self.now_ns = self.now_ns.max(now_ns);
        self.run();
    }

    /// Guest time at which `poll` is to be called if nothing else happens; a past one: now.
    pub fn next_deadline(&self) -> Option<u64> {
        self.deadline
    }

    /// Something that the host says of a channel. Call [`UserStack::poll`] after the last one.
    pub fn event(&mut self, id: ChannelId, event: Event) {
        self.outside.event(id, event);
    }

    /// The guest was reset: its connections are no more.
    pub fn reset(&mut self) {
        self.tcp.clear(&mut *self.outside);
        self.udp.clear(&mut *self.outside);
        self.dns.clear();
        self.reassembly = Reassembly::default();
        self.link.clear();
    }

    pub fn flows(&self) -> Flows {
        Flows { tcp: self.tcp.len(), udp: self.udp.len() }
    }

    fn run(&mut self) {
        loop {
            self.tcp.poll(&mut self.link, &mut *self.outside, self.now_ns);
            if !self.reports() {
                break;
            }
        }
        let deadlines = [
            self.tcp.deadline(&self.link, self.now_ns),
            self.udp.expire(&mut *self.outside, self.now_ns),
            self.outside.tick(self.now_ns),
        ];
        // What could be done now is done.
        self.deadline = deadlines.into_iter().flatten().min().map(|at| at.max(self.now_ns + PAUSE_NS));
    }

    /// Takes what the outside has to say; whether there was something.
    fn reports(&mut self) -> bool {
        let mut any = false;
        while let Some((id, report)) = self.outside.report() {
            any = true;
            match report {
                Report::Connected => {
                    self.tcp.connected(&mut self.link, &mut *self.outside, id, self.now_ns);
                }
                Report::Data(data) => {
                    if !self.tcp.data(id, &data) {
                        self.udp.data(&mut self.link, self.now_ns, id, &data);
                    }
                }
                Report::Writable => self.tcp.writable(id),
                Report::Finished => self.tcp.finished(id),
                Report::Closed => _ = self.tcp.closed(id) || self.udp.closed(id),
                Report::Resolved(addrs) => _ = self.dns.resolved(&mut self.link, id, addrs.as_deref()),
                Report::Arrived { forward } => self.arrived(id, forward),
            }
        }
        any
    }

    fn arrived(&mut self, id: ChannelId, forward: usize) {
        let Some(forward) = self.net.forwards.get(forward) else { return self.outside.close(id) };
        let to = SocketAddrV4::new(forward.guest.0.unwrap_or(self.net.dhcp_start), forward.guest.1);
        let taken = match forward.protocol {
            Protocol::Tcp => self.tcp.arrived(id, to),
            Protocol::Udp => self.udp.arrived(&mut *self.outside, self.now_ns, id, self.net.host, to),
        };
        if !taken {
            self.outside.close(id);
        }
    }

    fn ipv4(&mut self, ethernet: &EthernetFrame<&[u8]>) {
        let Ok(packet) = Ipv4Packet::new_checked(ethernet.payload()) else { return };
        if packet.version() != 4 || !packet.verify_checksum() {
            return;
        }
        self.link.learn(packet.src_addr(), ethernet.src_addr());
        if packet.more_frags() || packet.frag_offset() != 0 {
            let Some(whole) = self.reassembly.add(self.now_ns, &packet) else { return };
            let Ok(packet) = Ipv4Packet::new_checked(&whole[..]) else { return };
            return self.packet(&packet);
        }
        self.packet(&packet);
    }

    fn packet(&mut self, packet: &Ipv4Packet<&[u8]>) {
        let Ok(ip) = &Ipv4Repr::parse(packet, &ChecksumCapabilities::ignored()) else { return };
        match ip.next_header {
            IpProtocol::Udp => self.datagram(ip, packet),
            // DHCP is all that a guest without an address may do.
            _ if !self.net.contains(ip.src_addr) || self.link.is_own(ip.src_addr) => {}
            IpProtocol::Icmp => icmp::receive(&mut self.link, ip, packet),
            IpProtocol::Tcp => self.segment(ip, packet),
            _ => {
                let reason = Icmpv4DstUnreachable::ProtoUnreachable;
                icmp::unreachable(&mut self.link, ip.dst_addr, reason, ip, packet.payload());
            }
        }
    }

    fn datagram(&mut self, ip: &Ipv4Repr, packet: &Ipv4Packet<&[u8]>) {
        let Ok(udp) = UdpPacket::new_checked(packet.payload()) else { return };
        if udp.dst_port() == dhcp::SERVER_PORT && (ip.dst_addr.is_broadcast() || ip.dst_addr == self.net.host) {
            return self.dhcp.receive(&mut self.link, udp.payload());
        }
        if !self.net.contains(ip.src_addr) || self.link.is_own(ip.src_addr) {
            return;
        }
        let from = SocketAddrV4::new(ip.src_addr, udp.src_port());
        let to = SocketAddrV4::new(ip.dst_addr, udp.dst_port());
        if self.udp.known(from, to) || self.is_outside(ip) && !self.net.restrict {
            return self.udp.receive(&mut self.link, &mut *self.outside, self.now_ns, ip, &udp, packet.payload());
        }
        if ip.dst_addr == self.net.dns && to.port() == dns::PORT && !self.net.restrict {
            return self.dns.receive(&mut self.link, &mut *self.outside, from, to, udp.payload());
        }
        let reason = Icmpv4DstUnreachable::PortUnreachable;
        icmp::unreachable(&mut self.link, ip.dst_addr, reason, ip, packet.payload());
    }

    fn segment(&mut self, ip: &Ipv4Repr, packet: &Ipv4Packet<&[u8]>) {
        let Ok(tcp) = TcpPacket::new_checked(packet.payload()) else { return };
        if tcp.src_port() == 0 || tcp.dst_port() == 0 || !is_unicast(ip) {
            return;
        }
        let key = Key {
            guest: SocketAddrV4::new(ip.src_addr, tcp.src_port()),
            remote: SocketAddrV4::new(ip.dst_addr, tcp.dst_port()),
        };
        let allowed = !self.net.restrict && self.is_outside(ip);
        let bytes = packet.clone().into_inner();
        let bytes = &bytes[..usize::from(packet.total_len()).min(bytes.len())];
        self.tcp.receive(&mut *self.outside, key, bytes, tcp.syn() && !tcp.ack(), tcp.rst(), allowed);
    }

    /// Whether the packet is for something beyond the gateway, or for the host, whose address is the gateway's.
    fn is_outside(&self, ip: &Ipv4Repr) -> bool {
        is_unicast(ip)
            && (ip.dst_addr == self.net.host || !self.net.contains(ip.dst_addr))
            && ip.dst_addr != self.net.broadcast()
            && ip.dst_addr != self.net.net
            && !ip.dst_addr.is_loopback()
    }
}

fn is_unicast(ip: &Ipv4Repr) -> bool {
    let dst = ip.dst_addr;
    !dst.is_broadcast() && !dst.is_multicast() && !dst.is_unspecified()
}
