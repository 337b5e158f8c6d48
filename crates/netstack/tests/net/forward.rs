//! `hostfwd=`: connections from the host to the guest.

use crate::guest::{ADDRESS, Guest};
use crate::world::{MS, SOCKETS, World, net};
use netstack::{Event, Ids, Kind, UserStack};
use smoltcp::iface::SocketHandle;
use smoltcp::socket::{tcp, udp};

fn world() -> World {
    let mut world = World::new(
        ",restrict=on,hostfwd=tcp:127.0.0.1:2222-:22,hostfwd=udp::5353-:53",
        SOCKETS,
        Guest::new(Some(ADDRESS), false),
    );
    world.host.0.borrow_mut().services.insert("7".into(), crate::host::Service::Stuck);
    // The guest has said who it is.
    world.guest.connect("10.0.2.2:1", 64);
    (0..50).for_each(|_| world.step(MS));
    world
}

fn listen(world: &mut World, port: u16) -> SocketHandle {
    let buffer = || tcp::SocketBuffer::new(vec![0; 4096]);
    let mut socket = tcp::Socket::new(buffer(), buffer());
    socket.listen(port).unwrap();
    world.guest.sockets.add(socket)
}

#[test]
fn a_connection_arrives() {
    let mut world = world();
    let listener = world.host.0.borrow().find("127.0.0.1:2222").expect("it listens");
    let handle = listen(&mut world, 22);
    world.host.0.borrow_mut().say(listener, Event::Accepted(7));
    world.until(5, "the connection", |world| world.guest.tcp(handle).may_send());
    let id = world.host.0.borrow().find("7").expect("it was accepted");
    assert_eq!(world.guest.tcp(handle).remote_endpoint().unwrap().addr, crate::guest::GATEWAY.into());
    world.until(5, "credit", |world| world.host.0.borrow().credit(id) > 4);
    world.host.0.borrow_mut().say(id, Event::Data(b"ping".to_vec()));
    world.until(5, "data", |world| world.guest.tcp(handle).recv_queue() == 4);
    world.guest.tcp(handle).send_slice(b"pong").unwrap();
    world.guest.tcp(handle).close();
    world.until(5, "data", |world| world.host.0.borrow().finished == [id]);
    assert_eq!(world.host.0.borrow().sent, [(id, b"pong".to_vec())]);
    world.host.0.borrow_mut().say(id, Event::Finished);
    world.until(5, "the end", |world| world.stack.flows().tcp == 0);
}

#[test]
fn nobody_listens_in_the_guest() {
    let mut world = world();
    let listener = world.host.0.borrow().find("127.0.0.1:2222").unwrap();
    world.host.0.borrow_mut().say(listener, Event::Accepted(7));
    world.until(5, "the connection", |world| world.host.0.borrow().find("7").is_some());
    world.until(5, "its end", |world| world.host.0.borrow().find("7").is_none());
    assert_eq!(world.stack.flows().tcp, 0);
}

#[test]
fn datagrams_go_back_to_whom_they_came_from() {
    let mut world = world();
    let listener = world.host.0.borrow().find("0.0.0.0:5353").unwrap();
    let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 8], vec![0; 4096]);
    let mut socket = udp::Socket::new(buffer(), buffer());
    socket.bind(53).unwrap();
    let handle = world.guest.sockets.add(socket);
    let from = |port: u8, data: &[u8]| [&[192, 0, 2, 9, 0, port], data].concat();
    for port in [1, 2, 1] {
        world.host.0.borrow_mut().say(listener, Event::Data(from(port, &[b'0' + port])));
    }
    let mut echoed = 0;
    world.until(5, "datagrams", |world| {
        let socket = world.guest.sockets.get_mut::<udp::Socket<'_>>(handle);
        while let Ok((data, meta)) = socket.recv().map(|(data, meta)| (data.to_vec(), meta)) {
            socket.send_slice(&data, meta.endpoint).unwrap();
            echoed += 1;
        }
        world.host.0.borrow().sent.len() == 3
    });
    assert_eq!(echoed, 3);
    let sent: Vec<_> = world.host.0.borrow().sent.iter().map(|(id, data)| (*id, data.clone())).collect();
    assert_eq!(sent, [(listener, from(1, b"1")), (listener, from(2, b"2")), (listener, from(1, b"1"))]);
    assert_eq!(world.stack.flows().udp, 2);
}

#[test]
fn what_a_host_cannot_do_is_said() {
    for (options, kind, part) in [
        (",hostfwd=tcp::1-:2", Kind::Fetch, "works in Node"),
        (",hostfwd=tcp::1-:2,relay=wss://r/", Kind::WebSocket, "leave out `relay=`"),
        (",relay=wss://r/", Kind::Tcp, "relay=wss://r/: this host has no WebSocket"),
    ] {
        let host = crate::host::Shared::default();
        host.0.borrow_mut().kinds.push(kind);
        let stack = UserStack::new(&net(options), Box::new(host), &Ids::default(), 1);
        let message = stack.err().expect(options).to_string();
        assert!(message.contains(part), "{message}");
    }
}
