//! What is beyond the gateway.
//!
//! TCP ends in this engine: what crosses to an [`Outside`] is streams and datagrams, each with the number of its own
//! ([`ChannelId`]). Streams are under flow control both ways, as [`crate::channel`] describes it.

pub mod http;
mod names;
mod sockets;
mod wisp;

pub use sockets::Sockets;
pub use wisp::Wisp;

use crate::channel::{ChannelId, Channels, Event, Ids, Kind};
use crate::dns::Family;
use options::{Proxy, UserNet};
use std::net::{IpAddr, SocketAddrV4};
use thiserror::Error;

/// What an outside can say to a question for addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// The addresses, none if there are none of the family.
    Known(Vec<IpAddr>),
    /// The answer follows as [`Report::Resolved`].
    Asked(ChannelId),
    Refused,
}

/// What happened outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// The connection that was asked for is made.
    Connected,
    /// Bytes of a stream, or a datagram.
    Data(Vec<u8>),
    /// After [`Outside::send`] took less than it was given: it may take more now.
    Writable,
    /// The other end will send nothing more.
    Finished,
    /// The connection could not be made, or is broken.
    Closed,
    /// `None`: the question could not be answered. No addresses: there is no such name.
    Resolved(Option<Vec<IpAddr>>),
    /// A connection, or the first datagram of a peer, has arrived for `hostfwd=` number `forward`.
    Arrived { forward: usize },
}

/// See the module. An implementation holds its [`Channels`].
pub trait Outside {
    /// Makes a connection to `to` for the guest's `from`; it has no credit yet. [`Report::Connected`] or
    /// [`Report::Closed`] follows. `None`: it is refused at once.
    fn connect(&mut self, from: SocketAddrV4, to: SocketAddrV4) -> Option<ChannelId>;
    /// Sends bytes of a stream; returns how many were taken.
    fn send(&mut self, id: ChannelId, data: &[u8]) -> usize;
    /// The guest will send nothing more on this stream.
    fn finish(&mut self, id: ChannelId);
    /// Ends a stream or a flow at once. A question goes on until it is answered.
    fn close(&mut self, id: ChannelId);
    /// The outside may send `bytes` more of this stream.
    fn credit(&mut self, id: ChannelId, bytes: usize);
    /// Opens a flow of datagrams; `None`: that is not possible.
    fn udp_open(&mut self, from: SocketAddrV4, to: SocketAddrV4) -> Option<ChannelId>;
    fn udp_send(&mut self, id: ChannelId, data: &[u8]);
    fn resolve(&mut self, name: &str, family: Family) -> Resolution;
    /// Takes what the host says of channel `id`, if that is the outside's.
    fn event(&mut self, id: ChannelId, event: Event);
    /// The oldest report that was not taken yet.
    fn report(&mut self) -> Option<(ChannelId, Report)>;
    /// It is now guest time `now_ns`; returns when to call again.
    fn tick(&mut self, _now_ns: u64) -> Option<u64> {
        None
    }
}

/// Why there can be no such network on this host.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum OutsideError {
    #[error("relay={0}: this host has no WebSocket; use a browser or a newer Node (22), or no relay")]
    NoWebSocket(String),
    #[error("hostfwd=: nothing can reach this host's ports; it works in Node")]
    NoListening,
    #[error("hostfwd=: a relay carries connections of the guest to the outside only; leave out `relay=`")]
    RelayForward,
}

/// The outside that the options and the host's abilities make: the relay that is named, else the host's own sockets,
/// else HTTP by the page's `fetch`.
///
/// # Errors
/// The options ask for what the host cannot do.
pub fn open(net: &UserNet, channels: Box<dyn Channels>, ids: &Ids) -> Result<Box<dyn Outside>, OutsideError> {
    if let Some(relay) = &net.relay {
        if !net.forwards.is_empty() {
            return Err(OutsideError::RelayForward);
        }
        if !channels.supports(Kind::WebSocket) {
            return Err(OutsideError::NoWebSocket(relay.clone()));
        }
        return Ok(Box::new(Wisp::new(net.clone(), relay.clone(), channels, ids.clone())));
    }
    if channels.supports(Kind::Tcp) {
        return Ok(Box::new(Sockets::new(net, channels, ids.clone())));
    }
    if !net.forwards.is_empty() {
        return Err(OutsideError::NoListening);
    }
    let proxy = if channels.supports(Kind::Fetch) { net.proxy } else { Proxy::Off };
    Ok(Box::new(http::Http::new(net, proxy, channels, ids.clone())))
}
