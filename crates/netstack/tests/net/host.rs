//! A host whose Internet is a table of services, under flow control as the protocol of channels asks for.

use netstack::channel::SEND_WINDOW;
use netstack::{ChannelId, Channels, Event, Kind};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

/// What answers at an address.
#[derive(Clone, Debug)]
pub enum Service {
    Echo,
    /// Takes everything; says how much and what it came to when the guest has finished, then finishes.
    Sink,
    /// Sends so many bytes of [`pattern`] and finishes.
    Source(usize),
    /// Accepts, and takes and says nothing.
    Stuck,
    /// Refuses.
    Closed,
    /// Says nothing to a request for a connection.
    Silent,
    /// Breaks the connection when the first data comes.
    Breaks,
    /// Answers `name` with these addresses.
    Names(Vec<&'static str>),
}

/// A byte of the stream that sources send and sinks expect.
pub fn pattern(at: usize) -> u8 {
    let at = at as u64;
    (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8 ^ at as u8
}

/// FNV-1a, as far as it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sum(pub u64, pub usize);

impl Default for Sum {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325, 0)
    }
}

impl Sum {
    pub fn add(&mut self, data: &[u8]) {
        self.1 += data.len();
        for byte in data {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    pub fn of_pattern(len: usize) -> Self {
        let mut sum = Self::default();
        (0..len).for_each(|at| sum.add(&[pattern(at)]));
        sum
    }
}

struct Channel {
    kind: Kind,
    service: Service,
    /// What the engine allows the host, and what it has sent that was not given back.
    credit: usize,
    unpaid: usize,
    waiting: VecDeque<u8>,
    sent: usize,
    sum: Sum,
    engine_finished: bool,
    finished: bool,
}

/// See the module.
#[derive(Default)]
pub struct Host {
    pub kinds: Vec<Kind>,
    pub services: BTreeMap<String, Service>,
    channels: BTreeMap<ChannelId, Channel>,
    events: VecDeque<(ChannelId, Event)>,
    /// Everything that was opened and is not closed.
    pub opened: Vec<(ChannelId, Kind, String)>,
    /// What sinks have got, by address.
    pub sums: Vec<Sum>,
    pub sent: Vec<(ChannelId, Vec<u8>)>,
    pub finished: Vec<ChannelId>,
    pub closed: usize,
}

/// Shared by the engine and the test.
#[derive(Clone, Default)]
pub struct Shared(pub Rc<RefCell<Host>>);

impl Channels for Shared {
    fn supports(&self, kind: Kind) -> bool {
        self.0.borrow().kinds.contains(&kind)
    }

    fn open(&mut self, id: ChannelId, kind: Kind, address: &str) {
        self.0.borrow_mut().open(id, kind, address);
    }

    fn send(&mut self, id: ChannelId, data: &[u8]) {
        self.0.borrow_mut().take(id, data);
    }

    fn finish(&mut self, id: ChannelId) {
        let mut host = self.0.borrow_mut();
        host.finished.push(id);
        if let Some(channel) = host.channels.get_mut(&id) {
            channel.engine_finished = true;
        }
    }

    fn close(&mut self, id: ChannelId) {
        let mut host = self.0.borrow_mut();
        assert!(
            host.channels.remove(&id).is_some() || !host.opened.iter().any(|(open, ..)| *open == id),
            "closed twice"
        );
        host.opened.retain(|(open, ..)| *open != id);
        host.closed += 1;
    }

    fn credit(&mut self, id: ChannelId, bytes: usize) {
        if let Some(channel) = self.0.borrow_mut().channels.get_mut(&id) {
            channel.credit += bytes;
        }
    }
}

impl Host {
    /// Bytes that the engine has allowed on a channel since it was opened.
    pub fn allowed(&self, id: ChannelId) -> usize {
        self.channels.get(&id).map_or(0, |channel| channel.credit)
    }

    fn open(&mut self, id: ChannelId, kind: Kind, address: &str) {
        self.opened.push((id, kind, address.to_owned()));
        let service = self.services.get(address).cloned();
        let service = service.unwrap_or(if kind == Kind::Tcp { Service::Closed } else { Service::Silent });
        match &service {
            Service::Closed => {
                self.events.push_back((id, Event::Closed(format!("{address} refuses"))));
                self.opened.retain(|(open, ..)| *open != id);
                return;
            }
            Service::Names(names) => self.events.push_back((id, Event::Data(names.join("\n").into_bytes()))),
            Service::Silent => {}
            _ => self.events.push_back((id, Event::Opened)),
        }
        let channel = Channel {
            kind,
            service,
            credit: 0,
            unpaid: 0,
            waiting: VecDeque::new(),
            sent: 0,
            sum: Sum::default(),
            engine_finished: false,
            finished: false,
        };
        self.channels.insert(id, channel);
    }

    fn take(&mut self, id: ChannelId, data: &[u8]) {
        let Some(channel) = self.channels.get_mut(&id) else {
            self.sent.push((id, data.to_vec()));
            return;
        };
        if channel.kind == Kind::Udp {
            if matches!(channel.service, Service::Echo) {
                self.events.push_back((id, Event::Data(data.to_vec())));
            }
            self.sent.push((id, data.to_vec()));
            return;
        }
        channel.unpaid += data.len();
        assert!(channel.unpaid <= SEND_WINDOW, "the engine sent more than the window");
        match channel.service {
            Service::Echo => channel.waiting.extend(data),
            Service::Sink => channel.sum.add(data),
            Service::Breaks => {
                self.events.push_back((id, Event::Closed("broken".into())));
                self.channels.remove(&id);
                self.opened.retain(|(open, ..)| *open != id);
            }
            _ => self.sent.push((id, data.to_vec())),
        }
    }

    /// What the engine allows on this channel.
    pub fn credit(&self, id: ChannelId) -> usize {
        self.channels.get(&id).map_or(0, |channel| channel.credit)
    }

    pub fn spend(&mut self, id: ChannelId, bytes: usize) {
        self.channels.get_mut(&id).unwrap().credit -= bytes;
    }

    /// Everything that the engine has sent is paid for.
    pub fn forgive(&mut self) {
        self.channels.values_mut().for_each(|channel| channel.unpaid = 0);
    }

    pub fn say(&mut self, id: ChannelId, event: Event) {
        self.events.push_back((id, event));
    }

    /// Time passes: services go on, and what they say is taken.
    pub fn run(&mut self) -> Vec<(ChannelId, Event)> {
        for (id, channel) in &mut self.channels {
            let mut data = Vec::new();
            match channel.service {
                Service::Echo => {
                    let len = channel.waiting.len().min(channel.credit);
                    data.extend(channel.waiting.drain(..len));
                    if len > 0 {
                        channel.unpaid -= len;
                        self.events.push_back((*id, Event::Credit(len)));
                    }
                }
                Service::Source(len) => {
                    let n = (len - channel.sent).min(channel.credit);
                    data.extend((channel.sent..channel.sent + n).map(pattern));
                }
                Service::Sink if channel.unpaid > 0 => {
                    self.events.push_back((*id, Event::Credit(std::mem::take(&mut channel.unpaid))));
                }
                _ => {}
            }
            channel.credit -= data.len();
            channel.sent += data.len();
            if !data.is_empty() {
                self.events.push_back((*id, Event::Data(data)));
            }
            let done = match channel.service {
                Service::Echo => channel.engine_finished && channel.waiting.is_empty(),
                Service::Source(len) => channel.sent == len,
                Service::Sink => channel.engine_finished,
                _ => false,
            };
            if done && !std::mem::replace(&mut channel.finished, true) {
                self.events.push_back((*id, Event::Finished));
                if matches!(channel.service, Service::Sink) {
                    self.sums.push(channel.sum);
                }
            }
        }
        std::mem::take(&mut self.events).into()
    }

    /// The channel that was opened last for `address`.
    pub fn find(&self, address: &str) -> Option<ChannelId> {
        self.opened.iter().rev().find(|(_, _, a)| a == address).map(|(id, ..)| *id)
    }
}
