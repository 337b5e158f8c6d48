//! A guest: smoltcp with an Ethernet card.

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, Checksum, DeviceCapabilities, Medium};
use smoltcp::socket::tcp;
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr, Ipv4Address};
use std::collections::VecDeque;
use std::net::SocketAddrV4;
use std::num::NonZeroUsize;

pub const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
pub const GATEWAY: Ipv4Address = Ipv4Address::new(10, 0, 2, 2);
pub const ADDRESS: Ipv4Address = Ipv4Address::new(10, 0, 2, 15);

/// Both directions of the card; a checksum that is wrong is noticed.
#[derive(Default)]
pub struct Card {
    pub rx: VecDeque<Vec<u8>>,
    pub tx: VecDeque<Vec<u8>>,
    /// Checksums are the other side's business, and so is segmentation, as with virtio-net's offloads.
    pub offload: bool,
}

pub struct Rx(Vec<u8>);
pub struct Tx<'a>(&'a mut VecDeque<Vec<u8>>);

impl phy::RxToken for Rx {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl phy::TxToken for Tx<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = vec![0; len];
        let result = f(&mut frame);
        self.0.push_back(frame);
        result
    }
}

impl phy::Device for Card {
    type RxToken<'a> = Rx;
    type TxToken<'a> = Tx<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Rx, Tx<'_>)> {
        Some((Rx(self.rx.pop_front()?), Tx(&mut self.tx)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Tx<'_>> {
        (self.tx.len() < 256).then_some(Tx(&mut self.tx))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        if self.offload {
            capabilities.checksum.tcp = Checksum::None;
            capabilities.segmentation.tcpv4 = NonZeroUsize::new(65_549);
        }
        capabilities
    }
}

pub struct Guest {
    pub card: Card,
    pub iface: Interface,
    pub sockets: SocketSet<'static>,
    next_port: u16,
}

impl Guest {
    /// A guest that has QEMU's address, or none yet.
    pub fn new(address: Option<Ipv4Address>, offload: bool) -> Self {
        let mut card = Card { offload, ..Card::default() };
        let mut iface =
            Interface::new(Config::new(HardwareAddress::Ethernet(EthernetAddress(MAC))), &mut card, Instant::ZERO);
        if let Some(address) = address {
            iface.update_ip_addrs(|addrs| addrs.push(IpCidr::new(address.into(), 24)).unwrap());
            iface.routes_mut().add_default_ipv4_route(GATEWAY).unwrap();
        }
        Self { card, iface, sockets: SocketSet::new(Vec::new()), next_port: 40000 }
    }

    pub fn connect(&mut self, to: &str, buffer: usize) -> SocketHandle {
        let to: SocketAddrV4 = to.parse().unwrap();
        let port = self.next_port;
        self.next_port = if port == 59_999 { 40_000 } else { port + 1 };
        let mut socket =
            tcp::Socket::new(tcp::SocketBuffer::new(vec![0; buffer]), tcp::SocketBuffer::new(vec![0; buffer]));
        socket.set_ack_delay(None);
        // Without it a fast retransmission may never go out: see the network's own `set_timers`.
        socket.set_keep_alive(Some(Duration::from_secs(1)));
        socket.connect(self.iface.context(), (IpAddress::Ipv4(*to.ip()), to.port()), port).unwrap();
        self.sockets.add(socket)
    }

    pub fn tcp(&mut self, handle: SocketHandle) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    pub fn poll(&mut self, now_ns: u64) {
        let now = Instant::from_micros((now_ns / 1000) as i64);
        self.iface.poll(now, &mut self.card, &mut self.sockets);
    }
}
