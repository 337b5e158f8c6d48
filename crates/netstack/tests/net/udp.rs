//! UDP flows: there and back, fragments, limits.

use crate::host::Service;
use crate::world::{MS, World};
use netstack::Kind;
use smoltcp::iface::SocketHandle;
use smoltcp::socket::udp;
use smoltcp::wire::IpAddress;

fn bind(world: &mut World, port: u16) -> SocketHandle {
    let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 8], vec![0; 65536]);
    let mut socket = udp::Socket::new(buffer(), buffer());
    socket.bind(port).unwrap();
    world.guest.sockets.add(socket)
}

fn send(world: &mut World, handle: SocketHandle, to: [u8; 4], port: u16, data: &[u8]) {
    let [a, b, c, d] = to;
    let socket = world.guest.sockets.get_mut::<udp::Socket<'_>>(handle);
    socket.send_slice(data, (IpAddress::v4(a, b, c, d), port)).unwrap();
}

#[test]
fn there_and_back() {
    let mut world = World::sockets("", &[("192.0.2.1:7", Service::Echo), ("127.0.0.1:7", Service::Echo)]);
    let handle = bind(&mut world, 5000);
    for to in [[192, 0, 2, 1], [10, 0, 2, 2]] {
        send(&mut world, handle, to, 7, b"hello");
        let mut got = None;
        world.until(2, "echo", |world| {
            let socket = world.guest.sockets.get_mut::<udp::Socket<'_>>(handle);
            got = got.take().or_else(|| socket.recv().ok().map(|(data, from)| (data.to_vec(), from.endpoint)));
            got.is_some()
        });
        let (data, from) = got.unwrap();
        assert_eq!((&data[..], from.port), (&b"hello"[..], 7));
        assert_eq!(from.addr, IpAddress::v4(to[0], to[1], to[2], to[3]));
    }
    assert_eq!(world.stack.flows().udp, 2);
    // A flow that says nothing for three minutes is over.
    let deadline = world.stack.next_deadline().unwrap();
    assert!(deadline <= world.now + 180_000 * MS);
    world.stack.poll(deadline + 1000 * MS);
    assert_eq!(world.stack.flows().udp, 0);
    assert_eq!(world.host.0.borrow().opened, []);
}

#[test]
fn there_are_so_many_flows_and_the_oldest_makes_room() {
    let mut world = World::sockets("", &[("192.0.2.1:7", Service::Echo)]);
    let handle = bind(&mut world, 5000);
    for port in 1000..1400 {
        send(&mut world, handle, [192, 0, 2, 1], port, b"x");
        world.step(MS);
    }
    assert_eq!(world.stack.flows().udp, 256);
    let host = world.host.0.borrow();
    assert_eq!(host.opened.len(), 256);
    assert_eq!((host.opened[0].1, host.opened[0].2.as_str()), (Kind::Udp, "192.0.2.1:1144"));
}

/// The fragments of a datagram with `payload`, from the guest's port 5000 to 192.0.2.1:7.
fn fragments(payload: &[u8], ident: u16) -> Vec<Vec<u8>> {
    let mut udp = [5000u16, 7, payload.len() as u16 + 8, 0].map(u16::to_be_bytes).concat();
    udp.extend(payload);
    let pieces: Vec<_> = udp.chunks(1480).collect();
    let frame = |(n, piece): (usize, &&[u8])| {
        let mut frame = vec![0x52, 0x55, 10, 0, 2, 2];
        frame.extend(crate::guest::MAC);
        frame.extend([8, 0]);
        frame.extend([0; 20]);
        frame.extend(*piece);
        let mut ip = smoltcp::wire::Ipv4Packet::new_unchecked(&mut frame[14..]);
        ip.set_version(4);
        ip.set_header_len(20);
        ip.set_total_len(20 + piece.len() as u16);
        ip.set_ident(ident);
        ip.set_more_frags(n + 1 < pieces.len());
        ip.set_frag_offset((n * 1480) as u16);
        ip.set_hop_limit(64);
        ip.set_next_header(smoltcp::wire::IpProtocol::Udp);
        ip.set_src_addr(crate::guest::ADDRESS);
        ip.set_dst_addr(smoltcp::wire::Ipv4Address::new(192, 0, 2, 1));
        ip.fill_checksum();
        frame
    };
    pieces.iter().enumerate().map(frame).collect()
}

#[test]
fn fragments_are_put_together_in_any_order_and_made_again() {
    let mut world = World::sockets("", &[("192.0.2.1:7", Service::Echo)]);
    let payload: Vec<u8> = (0..9000).map(crate::host::pattern).collect();
    let mut frames = fragments(&payload, 1);
    assert_eq!(frames.len(), 7);
    // One of them lost, and the whole again in another order, one of them twice.
    frames[1..].iter().for_each(|frame| world.stack.transmit(frame));
    let mut frames = {
        frames.drain(..);
        fragments(&payload, 2)
    };
    frames.reverse();
    frames.insert(2, frames[1].clone());
    frames.iter().for_each(|frame| world.stack.transmit(frame));
    assert!(world.host.0.borrow().sent.iter().map(|(_, data)| data).eq([&payload]));
    // The echo comes in fragments too.
    let events = world.host.0.borrow_mut().run();
    events.into_iter().for_each(|(id, event)| world.stack.event(id, event));
    world.stack.poll(MS);
    let mut whole: Vec<u8> = Vec::new();
    while let Some(frame) = world.stack.receive() {
        let ip = smoltcp::wire::Ipv4Packet::new_checked(&frame.bytes[14..]).unwrap();
        assert!(frame.bytes.len() <= 1514 && ip.verify_checksum());
        assert_eq!(usize::from(ip.frag_offset()), whole.len());
        whole.extend(ip.payload().iter());
        assert_eq!(ip.more_frags(), whole.len() < 9008);
    }
    assert_eq!(whole[8..], payload);
}
