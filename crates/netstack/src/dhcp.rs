//! The DHCP server (RFC 2131): addresses from `dhcpstart=` on, one for each hardware address.

use crate::link::Link;
use crate::udp;
use options::UserNet;
use smoltcp::wire::{DhcpFlags, DhcpMessageType, DhcpOption, DhcpPacket, DhcpRepr, EthernetAddress};
use std::net::{Ipv4Addr, SocketAddrV4};

pub const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;
/// Guests that can have an address at once; the one that asked longest ago loses its own to a new one.
const LEASES: usize = 16;
/// Seconds for which an address is given; a guest that goes on asking keeps it.
const LEASE: u32 = 86_400;

/// The client of an address that is in use without having been asked for.
const NOBODY: EthernetAddress = EthernetAddress([0; 6]);

/// Options (RFC 2132) that smoltcp has no name for.
mod option {
    pub const HOST_NAME: u8 = 12;
    pub const REQUESTED_IP: u8 = 50;
    pub const MESSAGE_TYPE: u8 = 53;
    pub const SERVER_IDENTIFIER: u8 = 54;
}

/// Who has which address.
pub struct Dhcp {
    net: UserNet,
    /// The most recently used last.
    leases: Vec<(EthernetAddress, Ipv4Addr)>,
}

/// What a client says, as far as it matters.
struct Message {
    kind: DhcpMessageType,
    xid: u32,
    client: EthernetAddress,
    client_ip: Ipv4Addr,
    broadcast: bool,
    requested: Option<Ipv4Addr>,
    server: Option<Ipv4Addr>,
}

impl Dhcp {
    pub fn new(net: UserNet) -> Self {
        Self { net, leases: Vec::new() }
    }

    pub fn receive(&mut self, link: &mut Link, payload: &[u8]) {
        let Some(message) = parse(payload) else { return };
        if message.server.is_some_and(|server| server != self.net.host) {
            return;
        }
        match message.kind {
            DhcpMessageType::Discover => {
                if let Some(ip) = self.address(&message) {
                    self.reply(link, &message, DhcpMessageType::Offer, ip);
                }
            }
            DhcpMessageType::Request => {
                let asked = message.requested.unwrap_or(message.client_ip);
                match self.address(&message) {
                    Some(ip) if ip == asked => self.reply(link, &message, DhcpMessageType::Ack, ip),
                    _ => self.reply(link, &message, DhcpMessageType::Nak, Ipv4Addr::UNSPECIFIED),
                }
            }
            DhcpMessageType::Inform => self.reply(link, &message, DhcpMessageType::Ack, Ipv4Addr::UNSPECIFIED),
            DhcpMessageType::Release => self.leases.retain(|(client, _)| *client != message.client),
            // Somebody else uses it, whom nobody knows: not to be given before it is the oldest (RFC 2131, 4.3.3).
            DhcpMessageType::Decline => {
                if let Some((client, _)) = self.leases.iter_mut().find(|(client, _)| *client == message.client) {
                    *client = NOBODY;
                }
            }
            _ => {}
        }
    }

    /// The client's address: what it had, what it asks for if that is free, or the first free one.
    fn address(&mut self, message: &Message) -> Option<Ipv4Addr> {
        let known = self.leases.iter().position(|(client, _)| *client == message.client);
        let ip = match known {
            Some(at) => self.leases.remove(at).1,
            None => {
                if self.leases.len() == LEASES {
                    self.leases.remove(0);
                }
                let first = self.net.dhcp_start.to_bits();
                // Gateway and name server may lie among them.
                let pool = (0..LEASES as u32 + 2).map(|n| Ipv4Addr::from_bits(first.wrapping_add(n)));
                let pool: Vec<_> = pool.filter(|ip| self.is_free(*ip)).collect();
                let wanted = message.requested.filter(|ip| pool.contains(ip));
                wanted.or_else(|| pool.first().copied())?
            }
        };
        self.leases.push((message.client, ip));
        Some(ip)
    }

    fn is_free(&self, ip: Ipv4Addr) -> bool {
        let own = [self.net.host, self.net.dns].contains(&ip);
        self.net.contains(ip) && !own && self.leases.iter().all(|(_, taken)| *taken != ip)
    }

    fn reply(&self, link: &mut Link, message: &Message, kind: DhcpMessageType, ip: Ipv4Addr) {
        let nak = kind == DhcpMessageType::Nak;
        let lease = !nak && message.kind != DhcpMessageType::Inform;
        let open = !nak && !self.net.restrict;
        let hostname = self.net.hostname.as_deref().filter(|_| !nak);
        let hostname = hostname.map(|name| DhcpOption { kind: option::HOST_NAME, data: name.as_bytes() });
        let repr = DhcpRepr {
            message_type: kind,
            transaction_id: message.xid,
            secs: 0,
            client_hardware_address: message.client,
            client_ip: if nak { Ipv4Addr::UNSPECIFIED } else { message.client_ip },
            your_ip: ip,
            server_ip: if nak { Ipv4Addr::UNSPECIFIED } else { self.net.host },
            router: open.then_some(self.net.host),
            subnet_mask: (!nak).then(|| self.net.mask()),
            relay_agent_ip: Ipv4Addr::UNSPECIFIED,
            broadcast: message.broadcast,
            requested_ip: None,
            client_identifier: None,
            server_identifier: Some(self.net.host),
            parameter_request_list: None,
            dns_servers: open.then(|| [self.net.dns].into_iter().collect()),
            max_size: None,
            lease_duration: lease.then_some(LEASE),
            renew_duration: lease.then_some(LEASE / 2),
            rebind_duration: lease.then_some(LEASE / 8 * 7),
            additional_options: hostname.as_slice(),
        };
        let mut bytes = vec![0; repr.buffer_len()];
        if repr.emit(&mut DhcpPacket::new_unchecked(&mut bytes)).is_err() {
            return;
        }
        // BOOTP wants 300 bytes (RFC 1542, 2.1), and there are clients that count.
        bytes.resize(bytes.len().max(300), 0);
        // A client without an address takes what is sent to its hardware address; one that cannot has said so.
        let to = match message.client_ip {
            _ if nak || message.broadcast => Ipv4Addr::BROADCAST,
            Ipv4Addr::UNSPECIFIED => {
                link.learn(ip, message.client);
                ip
            }
            known => known,
        };
        udp::send(link, SocketAddrV4::new(self.net.host, SERVER_PORT), SocketAddrV4::new(to, CLIENT_PORT), &bytes);
    }
}

/// Reads what matters here: smoltcp's own parser also refuses what a server need not understand.
fn parse(payload: &[u8]) -> Option<Message> {
    const MAGIC: u32 = 0x6382_5363;
    const ETHERNET: (u8, u8) = (1, 6);
    let packet = DhcpPacket::new_checked(payload).ok()?;
    let (op, hardware) = (*payload.first()?, (*payload.get(1)?, *payload.get(2)?));
    if op != 1 || hardware != ETHERNET || packet.magic_number() != MAGIC {
        return None;
    }
    let data = |kind| packet.options().find(|option| option.kind == kind).map(|option| option.data);
    let addr = |kind| data(kind).and_then(|data| <[u8; 4]>::try_from(data).ok()).map(Ipv4Addr::from);
    Some(Message {
        kind: DhcpMessageType::from(*data(option::MESSAGE_TYPE)?.first()?),
        xid: packet.transaction_id(),
        client: packet.client_hardware_address(),
        client_ip: packet.client_ip(),
        broadcast: packet.flags().contains(DhcpFlags::BROADCAST),
        requested: addr(option::REQUESTED_IP),
        server: addr(option::SERVER_IDENTIFIER),
    })
}
