//! Guest, network and host, and the cable between the first two, which can be a bad one.

use crate::guest::Guest;
use crate::host::{Service, Shared};
use netstack::{Ids, Kind, Offload, UserStack};
use options::{Netdev, UserNet};
use random::Rng;

pub const MS: u64 = 1_000_000;

/// What the cable does to frames, in thousandths of them.
#[derive(Clone, Copy, Default)]
pub struct Cable {
    pub lost: usize,
    pub late: usize,
}

pub struct World {
    pub guest: Guest,
    pub stack: UserStack,
    pub host: Shared,
    pub cable: Cable,
    pub rng: Rng,
    pub now: u64,
    /// Frames on the cable, to the network and to the guest.
    late: (Vec<Vec<u8>>, Vec<Vec<u8>>),
    pub longest: usize,
    /// The last ICMP that the guest got.
    pub seen: Vec<Vec<u8>>,
}

/// The network of `-nic user` with these options.
pub fn net(options: &str) -> UserNet {
    let args = format!("-kernel k -nic user{options}");
    let config = options::parse(args.split_whitespace()).unwrap();
    match config.nets.into_iter().next().unwrap().net {
        Netdev::User(user) => user,
        other => panic!("{other:?}"),
    }
}

pub const SOCKETS: &[Kind] = &[Kind::Tcp, Kind::Udp, Kind::Resolve, Kind::TcpListen, Kind::TcpAccept, Kind::UdpListen];

impl World {
    pub fn new(options: &str, kinds: &[Kind], guest: Guest) -> Self {
        let host = Shared::default();
        host.0.borrow_mut().kinds = kinds.to_vec();
        let mut stack = UserStack::new(&net(options), Box::new(host.clone()), &Ids::default(), 7).unwrap();
        stack.set_offload(guest.card.offload);
        let (cable, rng, late) = (Cable::default(), Rng(0x1234_5678_9abc_def1), Default::default());
        Self { guest, stack, host, cable, rng, now: 0, late, longest: 0, seen: Vec::new() }
    }

    /// A guest with QEMU's address and a host with sockets and these services.
    pub fn sockets(options: &str, services: &[(&str, Service)]) -> Self {
        let guest = Guest::new(Some(crate::guest::ADDRESS), false);
        let world = Self::new(options, SOCKETS, guest);
        let services = services.iter().map(|(address, service)| ((*address).to_owned(), service.clone()));
        world.host.0.borrow_mut().services = services.collect();
        world
    }

    /// What becomes of a frame: lost, passed by the next one, or nothing.
    fn carry(cable: Cable, rng: &mut Rng, late: &mut Vec<Vec<u8>>, frame: Vec<u8>, deliver: &mut dyn FnMut(Vec<u8>)) {
        let fate = rng.index(1000);
        if fate < cable.lost {
            return;
        }
        if fate < cable.lost + cable.late {
            late.push(frame);
            return;
        }
        deliver(frame);
        late.drain(..).for_each(deliver);
    }

    /// One round: the guest, the cable, the network, the host, the cable. Time passes.
    pub fn step(&mut self, ns: u64) {
        self.now += ns;
        self.guest.poll(self.now);
        for frame in std::mem::take(&mut self.guest.card.tx) {
            let stack = &mut self.stack;
            Self::carry(self.cable, &mut self.rng, &mut self.late.0, frame, &mut |frame| stack.transmit(&frame));
        }
        self.stack.poll(self.now);
        let events = self.host.0.borrow_mut().run();
        for (id, event) in events {
            self.stack.event(id, event);
        }
        self.stack.poll(self.now);
        while let Some(frame) = self.stack.receive() {
            let mut bytes = frame.bytes;
            self.longest = self.longest.max(bytes.len());
            match frame.offload {
                Offload::Segment(size) => assert!(bytes.len() > 1514 && usize::from(size.get()) <= 65_495),
                Offload::Checksum => assert!(bytes.len() <= 1514),
                Offload::None => assert!(bytes.len() <= 1514, "{}", bytes.len()),
            }
            if bytes.get(23) == Some(&1) {
                self.seen.push(bytes.clone());
            }
            let rx = &mut self.guest.card.rx;
            if bytes.len() < 60 {
                bytes.resize(60, 0); // a card's padding is not the packet's
            }
            Self::carry(self.cable, &mut self.rng, &mut self.late.1, bytes, &mut |frame| rx.push_back(frame));
        }
        self.guest.poll(self.now);
    }

    /// Steps until `done`; fails after `seconds` of guest time.
    pub fn until(&mut self, seconds: u64, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let end = self.now + seconds * 1000 * MS;
        while !done(self) {
            assert!(self.now < end, "{what} did not come within {seconds} s");
            self.step(MS / 10);
        }
    }
}
