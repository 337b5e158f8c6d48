//! The outside of a host that has sockets: each stream and each flow is a channel.

use super::{Outside, Report, Resolution};
use crate::channel::{ChannelId, Channels, Event, Ids, Kind, SEND_WINDOW};
use crate::dns::Family;
use options::{Protocol, UserNet};
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

/// Peers of `hostfwd=udp:` that are told apart at once, and datagrams that wait for the guest.
const PEERS: usize = 256;
/// A datagram from a `UdpListen` begins with its peer's address and port.
const PEER_HEADER: usize = 6;

enum Channel {
    Stream {
        /// How much the engine may send.
        credit: usize,
        /// Less was taken than was given.
        starved: bool,
    },
    Datagrams,
    Question,
    /// `hostfwd=` number `forward`.
    Listener {
        forward: usize,
    },
    /// A peer of the listener, which has no channel of its own.
    Peer {
        listener: ChannelId,
        addr: SocketAddrV4,
    },
}

/// See the module.
pub struct Sockets {
    channels: Box<dyn Channels>,
    ids: Ids,
    gateway: Ipv4Addr,
    open: FxHashMap<ChannelId, Channel>,
    peers: FxHashMap<(ChannelId, SocketAddrV4), ChannelId>,
    reports: VecDeque<(ChannelId, Report)>,
}

impl Sockets {
    /// Listens at once at what `hostfwd=` names.
    pub fn new(net: &UserNet, channels: Box<dyn Channels>, ids: Ids) -> Self {
        let mut sockets = Self {
            channels,
            ids,
            gateway: net.host,
            open: FxHashMap::default(),
            peers: FxHashMap::default(),
            reports: VecDeque::new(),
        };
        for (forward, at) in net.forwards.iter().enumerate() {
            let kind = if at.protocol == Protocol::Tcp { Kind::TcpListen } else { Kind::UdpListen };
            sockets.add(Channel::Listener { forward }, kind, &SocketAddrV4::new(at.host.0, at.host.1).to_string());
        }
        sockets
    }

    fn add(&mut self, channel: Channel, kind: Kind, address: &str) -> ChannelId {
        let id = self.ids.next();
        self.open.insert(id, channel);
        self.channels.open(id, kind, address);
        id
    }

    /// The gateway stands for the host itself.
    fn address(&self, to: SocketAddrV4) -> String {
        let ip = if *to.ip() == self.gateway { Ipv4Addr::LOCALHOST } else { *to.ip() };
        SocketAddrV4::new(ip, to.port()).to_string()
    }

    fn say(&mut self, id: ChannelId, report: Report) {
        self.reports.push_back((id, report));
    }

    /// A datagram with its peer before it.
    fn arrived(&mut self, listener: ChannelId, forward: usize, data: &[u8]) {
        let Some((&[a, b, c, d, high, low], payload)) = data.split_first_chunk::<PEER_HEADER>() else { return };
        let addr = SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low]));
        let id = match self.peers.get(&(listener, addr)) {
            Some(id) => *id,
            None if self.peers.len() >= PEERS => return,
            None => {
                let id = self.ids.next();
                self.peers.insert((listener, addr), id);
                self.open.insert(id, Channel::Peer { listener, addr });
                self.say(id, Report::Arrived { forward });
                id
            }
        };
        if self.reports.len() < PEERS {
            self.say(id, Report::Data(payload.to_vec()));
        }
    }

    fn resolved(&mut self, id: ChannelId, addrs: Option<Vec<IpAddr>>) {
        self.open.remove(&id);
        self.channels.close(id);
        self.say(id, Report::Resolved(addrs));
    }
}

impl Outside for Sockets {
    fn connect(&mut self, _from: SocketAddrV4, to: SocketAddrV4) -> Option<ChannelId> {
        let stream = Channel::Stream { credit: SEND_WINDOW, starved: false };
        Some(self.add(stream, Kind::Tcp, &self.address(to)))
    }

    fn send(&mut self, id: ChannelId, data: &[u8]) -> usize {
        let Some(Channel::Stream { credit, starved }) = self.open.get_mut(&id) else { return 0 };
        let taken = data.len().min(*credit);
        *credit -= taken;
        *starved |= taken < data.len();
        if taken > 0 {
            self.channels.send(id, &data[..taken]);
        }
        taken
    }

    fn finish(&mut self, id: ChannelId) {
        self.channels.finish(id);
    }

    fn close(&mut self, id: ChannelId) {
        match self.open.remove(&id) {
            Some(Channel::Peer { listener, addr }) => _ = self.peers.remove(&(listener, addr)),
            Some(_) => self.channels.close(id),
            None => {}
        }
    }

    fn credit(&mut self, id: ChannelId, bytes: usize) {
        self.channels.credit(id, bytes);
    }

    fn udp_open(&mut self, _from: SocketAddrV4, to: SocketAddrV4) -> Option<ChannelId> {
        Some(self.add(Channel::Datagrams, Kind::Udp, &self.address(to)))
    }

    fn udp_send(&mut self, id: ChannelId, data: &[u8]) {
        match self.open.get(&id) {
            Some(Channel::Peer { listener, addr }) => {
                let mut message = addr.ip().octets().to_vec();
                message.extend(addr.port().to_be_bytes());
                message.extend(data);
                self.channels.send(*listener, &message);
            }
            Some(_) => self.channels.send(id, data),
            None => {}
        }
    }

    fn resolve(&mut self, name: &str, _family: Family) -> Resolution {
        // Both families are asked for: a name that has only the other one's addresses does exist.
        Resolution::Asked(self.add(Channel::Question, Kind::Resolve, name))
    }

    fn event(&mut self, id: ChannelId, event: Event) {
        let Some(channel) = self.open.get_mut(&id) else { return };
        match (channel, event) {
            (Channel::Stream { .. }, Event::Opened) => self.say(id, Report::Connected),
            (Channel::Stream { .. } | Channel::Datagrams, Event::Data(data)) => self.say(id, Report::Data(data)),
            (Channel::Stream { .. }, Event::Finished) => self.say(id, Report::Finished),
            (Channel::Stream { credit, starved }, Event::Credit(bytes)) => {
                *credit = credit.saturating_add(bytes).min(SEND_WINDOW);
                if std::mem::take(starved) {
                    self.say(id, Report::Writable);
                }
            }
            (Channel::Stream { .. } | Channel::Datagrams, Event::Closed(reason)) => {
                log::debug!("network: {reason}");
                self.open.remove(&id);
                self.say(id, Report::Closed);
            }
            (Channel::Question, Event::Data(text)) => {
                let text = String::from_utf8_lossy(&text);
                let addrs = text.lines().filter_map(|line| line.parse().ok()).collect();
                self.resolved(id, Some(addrs));
            }
            (Channel::Question, Event::Closed(reason)) => {
                log::debug!("network: {reason}");
                self.resolved(id, None);
            }
            (Channel::Listener { forward }, Event::Data(data)) => {
                let forward = *forward;
                self.arrived(id, forward, &data);
            }
            (Channel::Listener { forward }, Event::Accepted(number)) => {
                let forward = *forward;
                let stream = Channel::Stream { credit: SEND_WINDOW, starved: false };
                let id = self.add(stream, Kind::TcpAccept, &number.to_string());
                self.say(id, Report::Arrived { forward });
            }
            (Channel::Listener { .. }, Event::Closed(reason)) => {
                log::error!("hostfwd=: {reason}");
                self.open.remove(&id);
            }
            _ => {}
        }
    }

    fn report(&mut self) -> Option<(ChannelId, Report)> {
        self.reports.pop_front()
    }
}
