//! The outside of a page without a relay: HTTP, by the page's `fetch`.
//!
//! Connections to port 80 of any address, and to any port of the gateway (which is the machine that shows the page), are
//! ended here, and each request becomes a [`crate::Kind::Fetch`]. Everything else is refused.

mod connection;
mod request;
mod response;

use super::names::Names;
use super::{Outside, Report, Resolution};
use crate::channel::{ChannelId, Channels, Event, Ids};
use crate::dns::Family;
use connection::{Connection, Context};
use options::{Proxy, UserNet};
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4};

const HTTP_PORT: u16 = 80;

/// See the module.
pub struct Http {
    gateway: Ipv4Addr,
    proxy: Proxy,
    cx: Context,
    connections: FxHashMap<ChannelId, Connection>,
    /// Which connection a fetch is for.
    fetches: FxHashMap<ChannelId, ChannelId>,
    names: Names,
    reports: VecDeque<(ChannelId, Report)>,
    /// It was said what is needed for other connections.
    told: bool,
}

impl Http {
    pub fn new(net: &UserNet, proxy: Proxy, channels: Box<dyn Channels>, ids: Ids) -> Self {
        Self {
            gateway: net.host,
            proxy,
            cx: Context { channels, ids },
            connections: FxHashMap::default(),
            fetches: FxHashMap::default(),
            names: Names::default(),
            reports: VecDeque::new(),
            told: false,
        }
    }

    /// The beginning of the addresses that a connection to `to` asks for, and the host's name if a request has none.
    fn origin(&self, to: SocketAddrV4) -> Option<(&'static str, String, bool)> {
        let scheme = match self.proxy {
            Proxy::Off => return None,
            Proxy::Http => "http",
            Proxy::Https => "https",
        };
        if *to.ip() == self.gateway {
            return Some(("http", format!("localhost:{}", to.port()), true));
        }
        let host = self.names.name(*to.ip()).map_or_else(|| to.ip().to_string(), str::to_owned);
        (to.port() == HTTP_PORT).then_some((scheme, host, false))
    }

    fn refuse(&mut self, what: &str, to: SocketAddrV4) {
        if !std::mem::replace(&mut self.told, true) {
            log::warn!(
                "network: {what} {to} is refused: a page can pass on HTTP to port 80 only; for everything else name a relay, \
                 `-netdev user,relay=wss://..` (said once)"
            );
        }
    }

    /// Lets a connection go on, and keeps the table of fetches.
    fn step(&mut self, id: ChannelId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let before = connection.fetch();
        let ended = connection.step(&mut self.cx, &mut |report| self.reports.push_back((id, report)));
        let after = connection.fetch();
        if before != after {
            before.map(|fetch| self.fetches.remove(&fetch));
            after.map(|fetch| self.fetches.insert(fetch, id));
        }
        if ended {
            self.connections.remove(&id);
        }
    }
}

impl Outside for Http {
    fn connect(&mut self, _from: SocketAddrV4, to: SocketAddrV4) -> Option<ChannelId> {
        let Some((scheme, host, fixed)) = self.origin(to) else {
            self.refuse("a connection to", to);
            return None;
        };
        let id = self.cx.ids.next();
        self.connections.insert(id, Connection::new(scheme, host, fixed));
        self.reports.push_back((id, Report::Connected));
        Some(id)
    }

    fn send(&mut self, id: ChannelId, data: &[u8]) -> usize {
        let taken = self.connections.get_mut(&id).map_or(0, |connection| connection.take(data));
        self.step(id);
        taken
    }

    fn finish(&mut self, id: ChannelId) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.finish();
        }
        self.step(id);
    }

    fn close(&mut self, id: ChannelId) {
        if let Some(fetch) = self.connections.remove(&id).and_then(|connection| connection.fetch()) {
            self.fetches.remove(&fetch);
            self.cx.channels.close(fetch);
        }
    }

    fn credit(&mut self, id: ChannelId, bytes: usize) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.credit(bytes);
        }
        self.step(id);
    }

    fn udp_open(&mut self, _from: SocketAddrV4, to: SocketAddrV4) -> Option<ChannelId> {
        self.refuse("a datagram to", to);
        None
    }

    fn udp_send(&mut self, _id: ChannelId, _data: &[u8]) {}

    fn resolve(&mut self, name: &str, family: Family) -> Resolution {
        Resolution::Known(match family {
            Family::V4 => vec![self.names.address(name).into()],
            Family::V6 => Vec::new(),
        })
    }

    fn event(&mut self, id: ChannelId, event: Event) {
        let Some(&of) = self.fetches.get(&id) else { return };
        if let Some(connection) = self.connections.get_mut(&of) {
            connection.event(&mut self.cx, event);
        }
        self.step(of);
    }

    fn report(&mut self) -> Option<(ChannelId, Report)> {
        self.reports.pop_front()
    }
}
