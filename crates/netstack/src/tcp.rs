//! TCP (RFC 9293): every connection of the guest ends here, whatever its address, and goes on as a stream of the outside.
//!
//! A SYN waits until the outside is connected. Then a socket is made that listens at the address it is for, and is given
//! the SYN; if the outside refuses, the SYN is given to smoltcp with no socket for it, which answers RST.
//!
//! A flow holds two buffers and nothing else: the outside has credit for what fits the one, and takes the other's
//! bytes when it can; until then the guest's window is closed.

use crate::channel::ChannelId;
use crate::link::Link;
use crate::outside::Outside;
use crate::wire::{GuestTime, Wire};
use options::UserNet;
use rustc_hash::FxHashMap;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::Duration;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr, IpEndpoint};
use std::net::{Ipv4Addr, SocketAddrV4};

/// Flows at once; a further SYN is refused.
pub const FLOWS: usize = 512;
/// Buffer for each direction of a flow, bytes: large while there are few, so that all together stay below 64 MiB.
const LARGE: usize = 256 << 10;
const SMALL: usize = 32 << 10;
const FEW: usize = 64;
/// A guest that does not acknowledge is given up after this. It is long: a guest may be busy.
const TIMEOUT: Duration = Duration::from_secs(600);
/// The same for a connection that is not made yet.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// When a guest that owes an acknowledgement is asked for it, if nothing else is due.
const PROBE: Duration = Duration::from_secs(1);
/// Ports of connections to the guest (RFC 6335, 6).
const EPHEMERAL: std::ops::RangeInclusive<u16> = 49152..=65535;

/// Whose connection: the guest's address, and the one that it talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    pub guest: SocketAddrV4,
    pub remote: SocketAddrV4,
}

enum Phase {
    /// The outside is connecting; the guest's SYN waits.
    Asked {
        syn: Vec<u8>,
    },
    Open(SocketHandle),
}

struct Flow {
    key: Key,
    phase: Phase,
    /// Size of each buffer.
    room: usize,
    /// The outside will send nothing more; the guest will send nothing more, and the outside knows.
    outside_finished: bool,
    guest_finished: bool,
    /// The guest will send nothing more, but what came before may still wait for the outside.
    fin_received: bool,
    /// Of that, all when both have finished: smoltcp drops what it has with the end of TIME-WAIT.
    rest: Vec<u8>,
    /// The outside took less than it was given, and has not said that it would take more.
    blocked: bool,
    /// The outside has closed, or broken a rule: what is left is to reset the guest's end.
    aborted: bool,
    /// Room that the outside has credit for.
    credit: usize,
}

/// See the module.
pub struct Tcp {
    iface: Interface,
    gateway: Ipv4Addr,
    seed: u64,
    wire: Wire,
    sockets: SocketSet<'static>,
    flows: FxHashMap<ChannelId, Flow>,
    ids: FxHashMap<Key, ChannelId>,
    next_port: u16,
    told_full: bool,
}

impl Tcp {
    /// `gateway` is an address of ours; `seed` makes sequence numbers hard to guess.
    pub fn new(gateway: Ipv4Addr, seed: u64) -> Self {
        let mut wire = Wire::default();
        Self {
            iface: interface(&mut wire, gateway, seed),
            gateway,
            seed,
            wire,
            sockets: SocketSet::new(Vec::new()),
            flows: FxHashMap::default(),
            ids: FxHashMap::default(),
            next_port: *EPHEMERAL.start(),
            told_full: false,
        }
    }

    /// What the card takes off us.
    pub fn set_offload(&mut self, on: bool) {
        if self.wire.offload != on {
            self.wire.offload = on;
            // An interface keeps what the card can do from its beginning. The seed moves on, so as not to repeat numbers.
            self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            self.iface = interface(&mut self.wire, self.gateway, self.seed);
        }
    }

    pub fn len(&self) -> usize {
        self.flows.len()
    }

    /// Whether the guest should let us run before it sends more.
    pub fn is_busy(&self) -> bool {
        self.wire.is_full()
    }

    /// A segment of the guest: `packet` is the IP packet. `allowed`: new connections are.
    pub fn receive(&mut self, outside: &mut dyn Outside, key: Key, packet: &[u8], syn: bool, rst: bool, allowed: bool) {
        match self.ids.get(&key).and_then(|id| Some((*id, self.flows.get(id)?))) {
            Some((id, Flow { phase: Phase::Asked { .. }, .. })) => {
                if rst {
                    self.forget(id);
                    outside.close(id);
                }
            }
            Some(_) => self.wire.give(packet),
            None if !syn => self.wire.give(packet),
            None => {
                if let Some((id, flow)) = self.ask(outside, key, allowed) {
                    self.flows.insert(id, Flow { phase: Phase::Asked { syn: packet.to_vec() }, ..flow });
                    self.ids.insert(key, id);
                } else {
                    self.wire.give(packet); // nobody listens: RST
                }
            }
        }
    }

    fn ask(&mut self, outside: &mut dyn Outside, key: Key, allowed: bool) -> Option<(ChannelId, Flow)> {
        if !allowed || self.is_full() {
            return None;
        }
        let room = self.room();
        let id = outside.connect(key.guest, key.remote)?;
        Some((id, flow(key, room)))
    }

    fn is_full(&mut self) -> bool {
        let full = self.flows.len() >= FLOWS;
        if full && !std::mem::replace(&mut self.told_full, true) {
            log::warn!("network: {FLOWS} connections are open, more are refused (said once)");
        }
        full
    }

    fn room(&self) -> usize {
        if self.flows.len() < FEW { LARGE } else { SMALL }
    }

    /// The outside is connected.
    pub fn connected(&mut self, link: &mut Link, outside: &mut dyn Outside, id: ChannelId, now_ns: u64) {
        let Some(flow) = self.flows.get_mut(&id) else { return };
        let Phase::Asked { syn } = &mut flow.phase else { return };
        let syn = std::mem::take(syn);
        let mut socket = socket(flow.room);
        let listens = socket.listen(endpoint(flow.key.remote)).is_ok();
        let handle = self.sockets.add(socket);
        flow.phase = Phase::Open(handle);
        self.wire.give(&syn);
        // At once, so that of two sockets for one address each gets its own SYN.
        while !self.wire.is_empty() {
            self.iface.poll_ingress_single(instant(now_ns), &mut self.wire.port(link), &mut self.sockets);
        }
        if !listens || self.sockets.get::<Socket<'_>>(handle).is_listening() {
            // smoltcp refused the SYN: its options are garbage.
            self.forget(id);
            outside.close(id);
        }
    }

    /// A connection that arrived at the host, for the guest's `to`: `id` becomes a flow; `false`: it cannot.
    pub fn arrived(&mut self, id: ChannelId, to: SocketAddrV4) -> bool {
        if self.is_full() {
            return false;
        }
        let ports = (0..=EPHEMERAL.end() - EPHEMERAL.start()).map(|n| {
            let from = self.next_port - EPHEMERAL.start();
            EPHEMERAL.start() + from.wrapping_add(n) % (EPHEMERAL.end() - EPHEMERAL.start() + 1)
        });
        let mut keys = ports.map(|port| Key { guest: to, remote: SocketAddrV4::new(self.gateway, port) });
        let Some(key) = keys.find(|key| !self.ids.contains_key(key)) else { return false };
        let port = key.remote.port();
        self.next_port = if port == *EPHEMERAL.end() { *EPHEMERAL.start() } else { port + 1 };
        let room = self.room();
        let mut socket = socket(room);
        if socket.connect(self.iface.context(), endpoint(to), endpoint(key.remote)).is_err() {
            return false;
        }
        let phase = Phase::Open(self.sockets.add(socket));
        self.flows.insert(id, Flow { phase, ..flow(key, room) });
        self.ids.insert(key, id);
        true
    }

    /// Bytes of the outside for the guest.
    pub fn data(&mut self, id: ChannelId, data: &[u8]) -> bool {
        let Some(flow) = self.flows.get_mut(&id) else { return false };
        let Phase::Open(handle) = flow.phase else { return true };
        let socket = self.sockets.get_mut::<Socket<'_>>(handle);
        flow.credit = flow.credit.saturating_sub(data.len());
        // A connection that is at its end takes nothing, and that is right.
        let begun = !matches!(socket.state(), State::SynSent | State::SynReceived);
        if (socket.may_send() || !begun) && socket.send_slice(data) != Ok(data.len()) {
            log::error!("network: the host sent more than it had credit for; the connection is reset");
            flow.aborted = true;
        }
        true
    }

    pub fn writable(&mut self, id: ChannelId) {
        if let Some(flow) = self.flows.get_mut(&id) {
            flow.blocked = false;
        }
    }

    /// The outside will send nothing more.
    pub fn finished(&mut self, id: ChannelId) {
        if let Some(flow) = self.flows.get_mut(&id) {
            flow.outside_finished = true;
        }
    }

    /// The outside has lost the connection, or could not make it; whether it was one.
    pub fn closed(&mut self, id: ChannelId) -> bool {
        let Some(flow) = self.flows.get_mut(&id) else { return false };
        if let Phase::Asked { syn } = &mut flow.phase {
            let syn = std::mem::take(syn);
            self.forget(id);
            self.wire.give(&syn);
        } else {
            flow.aborted = true;
        }
        true
    }

    /// Lets everything go on at guest time `now_ns`.
    pub fn poll(&mut self, link: &mut Link, outside: &mut dyn Outside, now_ns: u64) {
        let now = instant(now_ns);
        loop {
            self.iface.poll(now, &mut self.wire.port(link), &mut self.sockets);
            let moved = self.pump(outside);
            if !moved {
                return;
            }
        }
    }

    /// Guest time at which something is due, if nothing else happens; a past one: now.
    pub fn deadline(&mut self, link: &Link, now_ns: u64) -> Option<u64> {
        if self.wire.is_empty() && !link.has_room() {
            return None; // the guest must take something first
        }
        let at = self.iface.poll_at(instant(now_ns), &self.sockets)?;
        Some(u64::try_from(at.total_micros()).unwrap_or(0).saturating_mul(1000))
    }

    /// Ends all flows, without a word to the guest.
    pub fn clear(&mut self, outside: &mut dyn Outside) {
        self.flows.drain().for_each(|(id, _)| outside.close(id));
        self.ids.clear();
        self.sockets = SocketSet::new(Vec::new());
        self.wire.clear();
    }

    /// Moves bytes between sockets and outside. Whether a socket has something to say because of it.
    fn pump(&mut self, outside: &mut dyn Outside) -> bool {
        let mut moved = false;
        let mut over = Vec::new();
        for (id, flow) in &mut self.flows {
            let Phase::Open(handle) = flow.phase else { continue };
            let socket = self.sockets.get_mut::<Socket<'_>>(handle);
            moved |= flow.pump(outside, *id, socket);
            if flow.is_over(socket) {
                over.push(*id);
            }
        }
        for id in over {
            self.forget(id);
            outside.close(id);
        }
        moved
    }

    fn forget(&mut self, id: ChannelId) {
        let Some(flow) = self.flows.remove(&id) else { return };
        self.ids.remove(&flow.key);
        if let Phase::Open(handle) = flow.phase {
            self.sockets.remove(handle);
        }
    }
}

impl Flow {
    fn pump(&mut self, outside: &mut dyn Outside, id: ChannelId, socket: &mut Socket<'_>) -> bool {
        if self.aborted {
            let open = socket.state() != State::Closed;
            if open {
                socket.abort();
            }
            return open;
        }
        let mut moved = self.give_outside(outside, id, socket);
        self.set_timers(socket);
        // What the guest has acknowledged makes room for as much again. Before it is connected there is none.
        let free = if socket.may_send() { socket.send_capacity() - socket.send_queue() } else { 0 };
        let more = free.saturating_sub(self.credit);
        if more >= self.room / 4 || more > 0 && socket.send_queue() == 0 {
            self.credit += more;
            outside.credit(id, more);
        }
        if self.outside_finished && socket.may_send() {
            socket.close();
            moved = true;
        }
        moved
    }

    /// smoltcp counts its timeout from the last packet, whether or not an answer is owed; and a fast retransmission that it
    /// has begun while there was nothing else to send goes out only with the next packet, for which a keep-alive will do.
    fn set_timers(&self, socket: &mut Socket<'_>) {
        let state = socket.state();
        let owed = socket.send_queue() > 0;
        let closing = matches!(state, State::FinWait1 | State::Closing | State::LastAck);
        if !matches!(state, State::SynSent | State::SynReceived) {
            socket.set_timeout(owed.then_some(TIMEOUT));
        }
        let probe = (owed || closing).then_some(PROBE);
        if socket.keep_alive() != probe {
            socket.set_keep_alive(probe);
        }
    }

    fn give_outside(&mut self, outside: &mut dyn Outside, id: ChannelId, socket: &mut Socket<'_>) -> bool {
        let mut moved = false;
        while !self.blocked && !self.rest.is_empty() {
            let taken = outside.send(id, &self.rest).min(self.rest.len());
            self.rest.drain(..taken);
            self.blocked = !self.rest.is_empty();
        }
        while !self.blocked && socket.can_recv() {
            let taken = socket.recv(|data| {
                let taken = outside.send(id, data).min(data.len());
                self.blocked = taken < data.len();
                (taken, taken)
            });
            moved |= taken.is_ok_and(|taken| taken > 0);
        }
        self.fin_received |=
            matches!(socket.state(), State::CloseWait | State::LastAck | State::Closing | State::TimeWait);
        while self.fin_received && self.outside_finished && socket.can_recv() {
            moved |= socket.recv(|data| (data.len(), self.rest.extend(&*data))).is_ok();
        }
        let all = self.rest.is_empty() && !socket.can_recv();
        if self.fin_received && all && !self.guest_finished {
            self.guest_finished = true;
            outside.finish(id);
        }
        moved
    }

    /// Nothing is left to be said to the guest. What follows in TIME-WAIT could only be answered again, for which RST does as well:
    /// the guest has everything by then. When both have finished, the outside is to have everything too.
    fn is_over(&self, socket: &Socket<'_>) -> bool {
        match socket.state() {
            State::Closed => socket.remote_endpoint().is_none() && (self.rest.is_empty() || self.aborted),
            State::TimeWait => self.guest_finished,
            // The guest has answered SYN and ACK with RST: smoltcp listens again.
            State::Listen => true,
            _ => false,
        }
    }
}

fn flow(key: Key, room: usize) -> Flow {
    Flow {
        key,
        phase: Phase::Asked { syn: Vec::new() },
        room,
        outside_finished: false,
        guest_finished: false,
        fin_received: false,
        rest: Vec::new(),
        blocked: false,
        aborted: false,
        credit: 0,
    }
}

fn socket(room: usize) -> Socket<'static> {
    let mut socket = Socket::new(SocketBuffer::new(vec![0; room]), SocketBuffer::new(vec![0; room]));
    socket.set_timeout(Some(CONNECT_TIMEOUT));
    // There is no network on which small segments or acknowledgements would cost anything.
    socket.set_nagle_enabled(false);
    socket.set_ack_delay(None);
    socket
}

fn interface(wire: &mut Wire, gateway: Ipv4Addr, seed: u64) -> Interface {
    let mut config = Config::new(HardwareAddress::Ip);
    config.random_seed = seed;
    let mut iface = Interface::new(config, &mut wire.port(&mut Link::new(UserNet::default())), GuestTime::ZERO);
    iface.update_ip_addrs(|addrs| _ = addrs.push(IpCidr::new(IpAddress::Ipv4(gateway), 0)));
    iface.set_any_ip(true);
    iface
}

fn endpoint(addr: SocketAddrV4) -> IpEndpoint {
    IpEndpoint::new(IpAddress::Ipv4(*addr.ip()), addr.port())
}

fn instant(ns: u64) -> GuestTime {
    GuestTime::from_micros(i64::try_from(ns / 1000).unwrap_or(i64::MAX))
}
