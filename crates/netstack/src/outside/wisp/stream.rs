//! One stream of many.

use std::collections::VecDeque;

/// A connection, or a flow of datagrams.
pub struct Stream {
    pub udp: bool,
    /// Packets that the relay takes before it says `CONTINUE`.
    pub packets: u32,
    /// Less was taken than was given.
    pub starved: bool,
    /// Bytes that the guest takes, and what waits for that.
    pub window: usize,
    pub waiting: VecDeque<Vec<u8>>,
    /// The relay has closed it: why.
    pub closed: Option<u8>,
    /// The guest has finished, and when something was last heard.
    pub finished: bool,
    pub last_ns: u64,
}

impl Stream {
    pub fn new(udp: bool, packets: u32, now_ns: u64) -> Self {
        let waiting = VecDeque::new();
        Self { udp, packets, starved: false, window: 0, waiting, closed: None, finished: false, last_ns: now_ns }
    }

    /// Bytes that wait for the guest.
    pub fn len(&self) -> usize {
        self.waiting.iter().map(Vec::len).sum()
    }
}
