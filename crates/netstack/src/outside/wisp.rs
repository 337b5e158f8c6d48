//! The outside behind a relay: wisp, version 1.2 of <https://github.com/MercuryWorkshop/wisp-protocol>, many streams on one
//! WebSocket. Integers are little-endian.
//!
//! The protocol does not say when a stream is connected, so that the guest's connection is accepted at once and reset if the relay
//! then refuses. It has no half-close: when the guest has finished, the stream goes on until the relay closes
//! it or it was silent for [`LINGER_NS`]. And the relay may send what it likes, which is kept for the guest up to
//! [`BUFFER`] bytes.

use super::names::Names;
use super::{Outside, Report, Resolution};
use crate::channel::{ChannelId, Channels, Event, Ids, Kind, SEND_WINDOW};
use crate::dns::Family;
use options::UserNet;
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4};

/// Bytes of all streams that wait for the guest. The stream whose data exceeds it is closed.
const BUFFER: usize = 64 << 20;
/// Payload of a packet at most: the relay counts packets, whatever their size.
const PACKET: usize = 32 << 10;
/// Guest nanoseconds of silence after which a stream that the guest has finished is closed.
const LINGER_NS: u64 = 120_000_000_000;
const HEADER: usize = 5;

const CONNECT: u8 = 1;
const DATA: u8 = 2;
const CONTINUE: u8 = 3;
const CLOSE: u8 = 4;

const STREAM_TCP: u8 = 1;
const STREAM_UDP: u8 = 2;

const REASON_VOLUNTARY: u8 = 2;
const REASON_CLIENT_ERROR: u8 = 0x81;

struct Stream {
    udp: bool,
    /// Packets that the relay takes before it says `CONTINUE`.
    packets: u32,
    /// Less was taken than was given.
    starved: bool,
    /// Bytes that the guest takes, and what waits for that.
    window: usize,
    waiting: VecDeque<Vec<u8>>,
    /// The relay has closed it: why.
    closed: Option<u8>,
    /// The guest has finished, and when something was last heard.
    finished: bool,
    last_ns: u64,
}

enum Socket {
    None,
    /// Nothing may be sent before the relay's first `CONTINUE`; these packets wait for it.
    Opening(ChannelId, Vec<Vec<u8>>),
    Open(ChannelId),
}

/// See the module.
pub struct Wisp {
    net: UserNet,
    relay: String,
    channels: Box<dyn Channels>,
    ids: Ids,
    socket: Socket,
    /// Bytes that the host takes for the WebSocket.
    credit: usize,
    /// What each new stream begins with.
    packets: u32,
    buffered: usize,
    streams: FxHashMap<ChannelId, Stream>,
    names: Names,
    reports: VecDeque<(ChannelId, Report)>,
    now_ns: u64,
}

impl Wisp {
    /// The relay is called when the guest first wants something.
    pub fn new(net: UserNet, relay: String, channels: Box<dyn Channels>, ids: Ids) -> Self {
        Self {
            net,
            relay,
            channels,
            ids,
            socket: Socket::None,
            credit: SEND_WINDOW,
            packets: 0,
            buffered: 0,
            streams: FxHashMap::default(),
            names: Names::default(),
            reports: VecDeque::new(),
            now_ns: 0,
        }
    }

    fn open(&mut self, to: SocketAddrV4, udp: bool) -> ChannelId {
        if matches!(self.socket, Socket::None) {
            let id = self.ids.next();
            self.credit = SEND_WINDOW;
            self.channels.open(id, Kind::WebSocket, &self.relay);
            self.socket = Socket::Opening(id, Vec::new());
        }
        let id = self.ids.next();
        let (packets, last_ns) = (self.packets, self.now_ns);
        let waiting = VecDeque::new();
        let stream =
            Stream { udp, packets, starved: false, window: 0, waiting, closed: None, finished: false, last_ns };
        self.streams.insert(id, stream);
        let host = match self.names.name(*to.ip()) {
            Some(name) => name.to_owned(),
            None if *to.ip() == self.net.host => Ipv4Addr::LOCALHOST.to_string(),
            None => to.ip().to_string(),
        };
        let mut payload = vec![if udp { STREAM_UDP } else { STREAM_TCP }];
        payload.extend(to.port().to_le_bytes());
        payload.extend(host.bytes());
        self.packet(CONNECT, id.0, &payload);
        id
    }

    fn packet(&mut self, kind: u8, stream: u32, payload: &[u8]) {
        let mut packet = Vec::with_capacity(HEADER + payload.len());
        packet.push(kind);
        packet.extend(stream.to_le_bytes());
        packet.extend(payload);
        match &mut self.socket {
            Socket::None => {}
            Socket::Opening(_, waiting) => waiting.push(packet),
            Socket::Open(id) => {
                // What is not data is small and rare: it may exceed the window.
                self.credit = self.credit.saturating_sub(packet.len());
                self.channels.send(*id, &packet);
            }
        }
    }

    /// One message of the relay; what does not belong to the protocol is passed over.
    fn message(&mut self, message: &[u8]) {
        let Some((&[kind, a, b, c, d], payload)) = message.split_first_chunk::<HEADER>() else { return };
        let id = ChannelId(u32::from_le_bytes([a, b, c, d]));
        match kind {
            CONTINUE => {
                let Some(packets) = payload.first_chunk::<4>() else { return };
                self.resume(id, u32::from_le_bytes(*packets));
            }
            DATA => self.data(id, payload),
            CLOSE => self.closed(id, payload.first().copied().unwrap_or(1)),
            _ => {}
        }
    }

    fn resume(&mut self, id: ChannelId, packets: u32) {
        if id.0 == 0 {
            self.packets = packets;
            if let Socket::Opening(socket, _) = self.socket {
                let Socket::Opening(_, waiting) = std::mem::replace(&mut self.socket, Socket::Open(socket)) else {
                    return;
                };
                for packet in waiting {
                    self.credit = self.credit.saturating_sub(packet.len());
                    self.channels.send(socket, &packet);
                }
                self.streams.values_mut().for_each(|stream| stream.packets = packets);
                self.writable();
            }
        } else if let Some(stream) = self.streams.get_mut(&id) {
            stream.packets = packets;
            self.writable();
        }
    }

    /// Tells the streams that wait that they may go on, if they may.
    fn writable(&mut self) {
        if self.credit == 0 || !matches!(self.socket, Socket::Open(_)) {
            return;
        }
        for (id, stream) in &mut self.streams {
            if stream.starved && stream.packets > 0 {
                stream.starved = false;
                self.reports.push_back((*id, Report::Writable));
            }
        }
    }

    fn data(&mut self, id: ChannelId, payload: &[u8]) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        stream.last_ns = self.now_ns;
        if stream.udp {
            self.reports.push_back((id, Report::Data(payload.to_vec())));
            return;
        }
        if stream.closed.is_some() || payload.is_empty() {
            return;
        }
        if self.buffered + payload.len() > BUFFER {
            log::warn!("relay={}: the guest takes data slower than it comes; a connection is given up", self.relay);
            self.packet(CLOSE, id.0, &[REASON_CLIENT_ERROR]);
            self.end(id);
            self.reports.push_back((id, Report::Closed));
            return;
        }
        self.buffered += payload.len();
        stream.waiting.push_back(payload.to_vec());
        self.flush(id);
    }

    /// Gives the guest what it takes, and the end when there is nothing before it.
    fn flush(&mut self, id: ChannelId) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        while let Some(mut data) = stream.waiting.pop_front() {
            if stream.window < data.len() {
                let rest = data.split_off(stream.window);
                stream.waiting.push_front(rest);
            }
            if data.is_empty() {
                return;
            }
            stream.window -= data.len();
            self.buffered -= data.len();
            self.reports.push_back((id, Report::Data(data)));
        }
        match stream.closed {
            Some(REASON_VOLUNTARY) => self.reports.push_back((id, Report::Finished)),
            Some(_) => {
                self.end(id);
                self.reports.push_back((id, Report::Closed));
            }
            None => {}
        }
    }

    fn closed(&mut self, id: ChannelId, reason: u8) {
        let Some(stream) = self.streams.get_mut(&id).filter(|stream| stream.closed.is_none()) else { return };
        log::debug!("relay={}: a stream was closed: {}", self.relay, reason_text(reason));
        if stream.udp {
            self.end(id);
            self.reports.push_back((id, Report::Closed));
        } else {
            stream.closed = Some(reason);
            self.flush(id);
        }
    }

    /// The connection to the relay is gone, and all streams with it.
    fn lost(&mut self, reason: &str) {
        log::warn!("relay={}: {reason}", self.relay);
        self.socket = Socket::None;
        self.packets = 0;
        self.buffered = 0;
        for (id, stream) in self.streams.drain() {
            // Finished is told already.
            if stream.closed != Some(REASON_VOLUNTARY) || !stream.waiting.is_empty() {
                self.reports.push_back((id, Report::Closed));
            }
        }
    }

    fn end(&mut self, id: ChannelId) -> Option<Stream> {
        let stream = self.streams.remove(&id)?;
        self.buffered -= stream.waiting.iter().map(Vec::len).sum::<usize>();
        Some(stream)
    }
}

impl Outside for Wisp {
    fn connect(&mut self, _from: SocketAddrV4, to: SocketAddrV4) -> Option<ChannelId> {
        let id = self.open(to, false);
        self.reports.push_back((id, Report::Connected));
        Some(id)
    }

    fn send(&mut self, id: ChannelId, data: &[u8]) -> usize {
        let open = matches!(self.socket, Socket::Open(_));
        let Some(stream) = self.streams.get_mut(&id) else { return 0 };
        if stream.closed.is_some() {
            self.end(id);
            self.reports.push_back((id, Report::Closed));
            return 0;
        }
        stream.last_ns = self.now_ns;
        let mut taken = 0;
        while taken < data.len() {
            let Some(stream) = self.streams.get_mut(&id) else { return taken };
            if !open || stream.packets == 0 || self.credit == 0 {
                stream.starved = true;
                break;
            }
            stream.packets -= 1;
            let piece = &data[taken..data.len().min(taken + PACKET)];
            self.packet(DATA, id.0, piece);
            taken += piece.len();
        }
        taken
    }

    fn finish(&mut self, id: ChannelId) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.finished = true;
            stream.last_ns = self.now_ns;
        }
    }

    fn close(&mut self, id: ChannelId) {
        if let Some(stream) = self.end(id)
            && stream.closed.is_none()
        {
            self.packet(CLOSE, id.0, &[REASON_VOLUNTARY]);
        }
    }

    fn credit(&mut self, id: ChannelId, bytes: usize) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.window = stream.window.saturating_add(bytes);
            if !stream.waiting.is_empty() {
                self.flush(id);
            }
        }
    }

    fn udp_open(&mut self, _from: SocketAddrV4, to: SocketAddrV4) -> Option<ChannelId> {
        Some(self.open(to, true))
    }

    fn udp_send(&mut self, id: ChannelId, data: &[u8]) {
        // A datagram that cannot go now is lost, as datagrams may be; the first ones wait for the relay.
        let room = match &self.socket {
            Socket::None => false,
            Socket::Opening(_, waiting) => waiting.len() < 64,
            Socket::Open(_) => self.credit > data.len(),
        };
        if room && let Some(stream) = self.streams.get_mut(&id) {
            stream.last_ns = self.now_ns;
            self.packet(DATA, id.0, data);
        }
    }

    fn resolve(&mut self, name: &str, family: Family) -> Resolution {
        Resolution::Known(match family {
            Family::V4 => vec![self.names.address(name).into()],
            Family::V6 => Vec::new(),
        })
    }

    fn event(&mut self, id: ChannelId, event: Event) {
        if !matches!(self.socket, Socket::Opening(socket, _) | Socket::Open(socket) if socket == id) {
            return;
        }
        match event {
            Event::Data(message) => self.message(&message),
            Event::Credit(bytes) => {
                self.credit = self.credit.saturating_add(bytes).min(SEND_WINDOW);
                self.writable();
            }
            Event::Finished => {
                self.channels.close(id);
                self.lost("the relay has closed the connection");
            }
            Event::Closed(reason) => self.lost(&reason),
            Event::Opened | Event::Accepted(_) => {}
        }
    }

    fn report(&mut self) -> Option<(ChannelId, Report)> {
        self.reports.pop_front()
    }

    fn tick(&mut self, now_ns: u64) -> Option<u64> {
        self.now_ns = now_ns;
        let deadline = |stream: &Stream| stream.finished.then(|| stream.last_ns.saturating_add(LINGER_NS));
        let due = self.streams.iter().filter(|(_, s)| deadline(s).is_some_and(|at| at <= now_ns));
        let due: Vec<_> = due.map(|(id, _)| *id).collect();
        for id in due {
            self.close(id);
            self.reports.push_back((id, Report::Closed));
        }
        self.streams.values().filter_map(deadline).min()
    }
}

/// The protocol's table of reasons.
fn reason_text(reason: u8) -> &'static str {
    match reason {
        0x02 => "the other end has closed it",
        0x03 => "a network error",
        0x41 => "the relay does not accept this address or port",
        0x42 => "the host is unreachable, or there is no such name",
        0x43 => "the host does not answer",
        0x44 => "the host refuses connections to this port",
        0x47 => "the transfer took too long",
        0x48 => "the relay blocks this address",
        0x49 => "the relay allows no more traffic now",
        _ => "no reason given",
    }
}
