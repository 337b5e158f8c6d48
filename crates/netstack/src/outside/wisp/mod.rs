//! The outside behind a relay: wisp, version 1.2 of <https://github.com/MercuryWorkshop/wisp-protocol>, many streams on one
//! WebSocket. Integers are little-endian.
//!
//! The protocol does not say when a stream is connected, so that the guest's connection is accepted at once and reset if the relay
//! then refuses. It has no half-close: when the guest has finished, the stream goes on until the relay closes
//! it or it was silent for [`LINGER_NS`]. And it has no flow control towards the guest: the WebSocket as a whole has, where the
//! host can slow it down. A stream that then keeps the others from going on is given up.

mod protocol;
mod stream;

use super::names::Names;
use super::{Outside, Report, Resolution};
use crate::channel::{ChannelId, Channels, Event, Ids, Kind, SEND_WINDOW};
use crate::dns::Family;
use options::UserNet;
use protocol::*;
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4};
use stream::Stream;

/// Bytes of all streams that wait for the guest; the host is to bring no more.
const BUFFER: usize = 16 << 20;
/// What the guest has taken is told to the host in pieces of so many bytes.
const PAYMENT: usize = 1 << 20;
/// Guest nanoseconds for which the buffer may be full and nobody take anything, if there are several streams.
const STALL_NS: u64 = 10_000_000_000;
/// Payload of a packet at most: the relay counts packets, whatever their size.
const PACKET: usize = 32 << 10;
/// Guest nanoseconds of silence after which a stream that the guest has finished is closed.
const LINGER_NS: u64 = 120_000_000_000;
/// Of [`SEND_WINDOW`], what data leave for packets that open and close streams; it is enough to close all that the guest can have.
const CONTROL: usize = 64 << 10;
/// Bytes of a `CLOSE`.
const CLOSE_LEN: usize = HEADER + 1;

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
    /// Bytes that the host takes for the WebSocket, without those that wait for the relay.
    credit: usize,
    /// What each new stream begins with.
    packets: u32,
    /// Bytes that wait for the guest, and those that are not any more, of which the host was not told yet.
    buffered: usize,
    owed: usize,
    /// When the buffer was last not full, or something was taken from it.
    moved_ns: u64,
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
            owed: 0,
            moved_ns: 0,
            streams: FxHashMap::default(),
            names: Names::default(),
            reports: VecDeque::new(),
            now_ns: 0,
        }
    }

    /// `None`: so much waits for the relay that there is no room for another stream.
    fn open(&mut self, to: SocketAddrV4, udp: bool) -> Option<ChannelId> {
        if matches!(self.socket, Socket::None) {
            let id = self.ids.next();
            self.credit = SEND_WINDOW;
            self.channels.open(id, Kind::WebSocket, &self.relay);
            self.channels.credit(id, BUFFER);
            self.socket = Socket::Opening(id, Vec::new());
        }
        let host = match self.names.name(*to.ip()) {
            Some(name) => name.to_owned(),
            None if *to.ip() == self.net.host => Ipv4Addr::LOCALHOST.to_string(),
            None => to.ip().to_string(),
        };
        let mut payload = vec![if udp { STREAM_UDP } else { STREAM_TCP }];
        payload.extend(to.port().to_le_bytes());
        payload.extend(host.bytes());
        // Each stream is to be closed too.
        if self.credit < HEADER + payload.len() + (self.streams.len() + 1) * CLOSE_LEN {
            log::debug!("relay={}: a stream is refused, as too much waits for the relay", self.relay);
            return None;
        }
        let id = self.ids.next();
        self.streams.insert(id, Stream::new(udp, self.packets, self.now_ns));
        self.packet(CONNECT, id.0, &payload);
        Some(id)
    }

    /// Whether there is room for so many bytes of data.
    fn has_room(&self, len: usize) -> bool {
        self.credit >= CONTROL + HEADER + len
    }

    fn packet(&mut self, kind: u8, stream: u32, payload: &[u8]) {
        let mut packet = Vec::with_capacity(HEADER + payload.len());
        packet.push(kind);
        packet.extend(stream.to_le_bytes());
        packet.extend(payload);
        self.credit = self.credit.saturating_sub(packet.len());
        match &mut self.socket {
            Socket::None => {}
            Socket::Opening(_, waiting) => waiting.push(packet),
            Socket::Open(id) => self.channels.send(*id, &packet),
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
                waiting.iter().for_each(|packet| self.channels.send(socket, packet));
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
        if !self.has_room(PACKET) || !matches!(self.socket, Socket::Open(_)) {
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
        self.buffered += payload.len();
        self.owed -= payload.len();
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
            stream.last_ns = self.now_ns;
            self.buffered -= data.len();
            self.owed += data.len();
            self.moved_ns = self.now_ns;
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
        (self.buffered, self.owed) = (0, 0);
        self.streams.retain(|id, stream| {
            // Finished is told already; what the guest still says is answered by `send`.
            let finished = stream.closed == Some(REASON_VOLUNTARY) && stream.waiting.is_empty();
            if !finished {
                self.reports.push_back((*id, Report::Closed));
            }
            finished
        });
    }

    fn end(&mut self, id: ChannelId) -> Option<Stream> {
        let stream = self.streams.remove(&id)?;
        self.buffered -= stream.len();
        self.owed += stream.len();
        Some(stream)
    }

    /// Lets the host bring as much as has gone.
    fn pay(&mut self) {
        let (Socket::Opening(id, _) | Socket::Open(id)) = self.socket else { return };
        if self.owed >= PAYMENT || self.owed > 0 && (self.buffered == 0 || self.buffered + self.owed >= BUFFER) {
            self.channels.credit(id, std::mem::take(&mut self.owed));
        }
        if self.buffered < BUFFER {
            self.moved_ns = self.now_ns;
        }
    }

    /// When the stream that keeps the others from going on is to be given up.
    fn stalled_at(&self) -> Option<u64> {
        let stalls = self.buffered >= BUFFER && self.streams.len() > 1;
        stalls.then(|| self.moved_ns.saturating_add(STALL_NS))
    }

    fn give_up(&mut self) {
        let Some((&id, _)) = self.streams.iter().max_by_key(|(id, stream)| (stream.len(), **id)) else { return };
        log::warn!(
            "relay={}: the guest does not take what comes on one connection, and all others wait; it is given up",
            self.relay
        );
        self.packet(CLOSE, id.0, &[REASON_CLIENT_ERROR]);
        self.end(id);
        self.reports.push_back((id, Report::Closed));
    }
}

impl Outside for Wisp {
    fn connect(&mut self, _from: SocketAddrV4, to: SocketAddrV4) -> Option<ChannelId> {
        let id = self.open(to, false)?;
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
            let piece = &data[taken..data.len().min(taken + PACKET)];
            let room = open && self.has_room(piece.len());
            let Some(stream) = self.streams.get_mut(&id) else { return taken };
            if !room || stream.packets == 0 {
                stream.starved = true;
                break;
            }
            stream.packets -= 1;
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
        self.pay();
    }

    fn credit(&mut self, id: ChannelId, bytes: usize) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.window = stream.window.saturating_add(bytes);
            if !stream.waiting.is_empty() {
                self.flush(id);
                self.pay();
            }
        }
    }

    fn udp_open(&mut self, _from: SocketAddrV4, to: SocketAddrV4) -> Option<ChannelId> {
        self.open(to, true)
    }

    fn udp_send(&mut self, id: ChannelId, data: &[u8]) {
        // A datagram that cannot go now is lost, as datagrams may be; the first ones wait for the relay.
        let room = match &self.socket {
            Socket::None => false,
            Socket::Opening(_, waiting) => waiting.len() < 64,
            Socket::Open(_) => true,
        };
        if room
            && self.has_room(data.len())
            && let Some(stream) = self.streams.get_mut(&id)
        {
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
            Event::Data(message) => {
                self.owed += message.len();
                self.message(&message);
                self.pay();
            }
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
        // What the relay has closed ends when the guest has everything.
        let lingers = |stream: &Stream| stream.finished && stream.closed.is_none();
        let deadline = |stream: &Stream| lingers(stream).then(|| stream.last_ns.saturating_add(LINGER_NS));
        let due = self.streams.iter().filter(|(_, s)| deadline(s).is_some_and(|at| at <= now_ns));
        let due: Vec<_> = due.map(|(id, _)| *id).collect();
        for id in due {
            self.close(id);
            self.reports.push_back((id, Report::Closed));
        }
        if self.stalled_at().is_some_and(|at| at <= now_ns) {
            self.give_up();
            self.pay();
        }
        self.streams.values().filter_map(deadline).chain(self.stalled_at()).min()
    }
}
