//! The networks' channels, by the host's imports.

use crate::host;
use host_abi::{ChannelEvent, ChannelKind};
use netstack::{ChannelId, Channels, Event, Kind};

/// Channels of this engine's host.
pub struct HostChannels;

fn kind(kind: Kind) -> ChannelKind {
    match kind {
        Kind::Tcp => ChannelKind::Tcp,
        Kind::Udp => ChannelKind::Udp,
        Kind::Resolve => ChannelKind::Resolve,
        Kind::TcpListen => ChannelKind::TcpListen,
        Kind::TcpAccept => ChannelKind::TcpAccept,
        Kind::UdpListen => ChannelKind::UdpListen,
        Kind::WebSocket => ChannelKind::WebSocket,
        Kind::Fetch => ChannelKind::Fetch,
        Kind::Lan => ChannelKind::Lan,
    }
}

/// What the host says; `None` if it is no `ChannelEvent`.
pub fn event(code: u32, value: u32, data: &[u8]) -> Option<Event> {
    Some(match ChannelEvent::from_u32(code)? {
        ChannelEvent::Opened => Event::Opened,
        ChannelEvent::Data => Event::Data(data.to_vec()),
        ChannelEvent::Credit => Event::Credit(value as usize),
        ChannelEvent::Finished => Event::Finished,
        ChannelEvent::Closed => Event::Closed(String::from_utf8_lossy(data).into_owned()),
        ChannelEvent::Accepted => Event::Accepted(value),
    })
}

impl Channels for HostChannels {
    fn supports(&self, of: Kind) -> bool {
        host::channels::support() >> kind(of) as u32 & 1 != 0
    }

    fn open(&mut self, id: ChannelId, of: Kind, address: &str) {
        host::channels::open(id.0, kind(of), address);
    }

    fn send(&mut self, id: ChannelId, data: &[u8]) {
        host::channels::send(id.0, data);
    }

    fn finish(&mut self, id: ChannelId) {
        host::channels::finish(id.0);
    }

    fn close(&mut self, id: ChannelId) {
        host::channels::close(id.0);
    }

    fn credit(&mut self, id: ChannelId, bytes: usize) {
        host::channels::credit(id.0, bytes as u32);
    }
}
