//! What a network needs of the host: channels, each to something that only the host can reach.
//!
//! A channel is opened with a kind and an address, and is known by the number that the engine gave it. Bytes go both ways
//! until each side has finished, or one closes it. The kinds that are streams are under flow control both ways: the host
//! sends no more than [`Channels::credit`] has allowed, and the engine no more than [`SEND_WINDOW`] ahead of what
//! [`Event::Credit`] has given back. Datagrams and frames are not: who cannot take one drops it.

use std::cell::Cell;
use std::rc::Rc;

/// Bytes of a stream that the engine sends before the host has given any credit back.
pub const SEND_WINDOW: usize = 256 << 10;

/// The number of a channel, not used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelId(pub u32);

impl ChannelId {
    /// The network whose channel it is.
    pub fn net(self) -> usize {
        (self.0 >> NET_SHIFT) as usize
    }
}

/// Above the bits that count a network's channels, its own number.
const NET_SHIFT: u32 = 28;

/// Hands out the numbers of one network; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Ids {
    net: u32,
    last: Rc<Cell<u32>>,
}

impl Ids {
    /// Those of network number `net`, 0 to 15.
    pub fn new(net: usize) -> Self {
        Self { net: (net as u32) << NET_SHIFT, last: Rc::default() }
    }

    /// A number that no channel has had; after 268 million of them they start anew.
    pub fn next(&self) -> ChannelId {
        let next = (self.last.get() + 1) & ((1 << NET_SHIFT) - 1);
        self.last.set(next.max(1));
        ChannelId(self.net | self.last.get())
    }
}

/// What is at the other end, and what its address looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A TCP connection to `ADDRESS:PORT`: a stream.
    Tcp,
    /// Datagrams to and from `ADDRESS:PORT`.
    Udp,
    /// The addresses of `NAME`: as text, one a line, in one [`Event::Data`]; none if there are none.
    Resolve,
    /// Connections that arrive at `ADDRESS:PORT`: [`Event::Accepted`].
    TcpListen,
    /// A connection that has arrived; the address is its number: a stream.
    TcpAccept,
    /// Datagrams that arrive at `ADDRESS:PORT`; each, both ways, begins with the peer's address and port (4 bytes and 2,
    /// big-endian).
    UdpListen,
    /// Binary messages to and from a WebSocket address, under flow control both ways. They are never split: with any credit
    /// left the host may send a whole one. A host that cannot slow the other end down keeps what comes, or gives up.
    WebSocket,
    /// An HTTP request: the address is `METHOD URL`, then header lines as in HTTP, each ended by a line feed. The request's body
    /// is what the engine sends until it finishes. The first [`Event::Data`] is the status and header lines, as in
    /// the address and not under flow control; what follows is the response's body, a stream.
    Fetch,
    /// Ethernet frames, shared by all that opened the same `GROUP:PORT`.
    Lan,
}

/// What the host does for the engine. Every call returns at once; what comes of it are [`Event`]s.
pub trait Channels {
    /// Whether the host can open channels of this kind at all.
    fn supports(&self, kind: Kind) -> bool;
    /// Opens channel `id`.
    fn open(&mut self, id: ChannelId, kind: Kind, address: &str);
    /// Sends bytes: a piece of a stream, or a whole message.
    fn send(&mut self, id: ChannelId, data: &[u8]);
    /// The engine will send nothing more, and still takes what comes.
    fn finish(&mut self, id: ChannelId);
    /// Ends the channel at once, both ways; no event of it is of interest any more.
    fn close(&mut self, id: ChannelId);
    /// The host may send `bytes` more of the stream.
    fn credit(&mut self, id: ChannelId, bytes: usize);
}

/// What the host says of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It is connected. Only after this comes data.
    Opened,
    Data(Vec<u8>),
    /// So many bytes of what the engine sent have gone on.
    Credit(usize),
    /// The other end will send nothing more, and still takes what comes. When both have finished, the engine closes.
    Finished,
    /// The channel is no more, and not because both have finished: it could not be opened, was refused, or has broken.
    /// A sentence says why.
    Closed(String),
    /// A connection has arrived, and waits to be opened as [`Kind::TcpAccept`] with this number.
    Accepted(u32),
}
