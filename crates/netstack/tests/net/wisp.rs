//! A relay that speaks wisp: byte by byte as the protocol's tables say.

use crate::guest::{ADDRESS, Guest};
use crate::host::{Service, pattern};
use crate::world::{MS, World};
use netstack::channel::SEND_WINDOW;
use netstack::{ChannelId, Event, Kind};
use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::State;
use smoltcp::socket::udp;
use smoltcp::wire::IpAddress;

/// The guest's world, and the WebSocket once the guest has connected to `to`.
fn relay() -> World {
    let world = World::new(",relay=wss://r.example/", &[Kind::WebSocket], Guest::new(Some(ADDRESS), false));
    world.host.0.borrow_mut().services.insert("wss://r.example/".into(), Service::Stuck);
    world
}

fn socket(world: &World) -> ChannelId {
    world.host.0.borrow().find("wss://r.example/").expect("the relay was called")
}

fn packet(kind: u8, stream: u32, payload: &[u8]) -> Event {
    let mut packet = vec![kind];
    packet.extend(stream.to_le_bytes());
    packet.extend(payload);
    Event::Data(packet)
}

/// What the engine has sent since the last call: kind, stream, payload.
fn sent(world: &mut World) -> Vec<(u8, u32, Vec<u8>)> {
    let mut host = world.host.0.borrow_mut();
    let parse = |data: Vec<u8>| (data[0], u32::from_le_bytes(data[1..5].try_into().unwrap()), data[5..].to_vec());
    host.sent.drain(..).map(|(_, data)| parse(data)).collect()
}

fn run(world: &mut World) {
    (0..20).for_each(|_| world.step(MS));
}

fn say(world: &mut World, event: Event) {
    let socket = socket(world);
    world.host.0.borrow_mut().say(socket, event);
    run(world);
}

#[test]
fn streams_are_packets_on_one_socket() {
    let mut world = relay();
    let one = world.guest.connect("192.0.2.1:443", 64 << 10);
    let two = world.guest.connect("10.0.2.2:80", 4096);
    run(&mut world);
    // Nothing is said before the relay has said how much it takes.
    assert_eq!(sent(&mut world), []);
    say(&mut world, packet(3, 0, &4u32.to_le_bytes()));
    let connects = sent(&mut world);
    let [(1, a, first), (1, b, second)] = &connects[..] else { panic!("{connects:?}") };
    assert_eq!(first[..], [&[1, 0xbb, 1][..], b"192.0.2.1"].concat());
    assert_eq!(second[..], [&[1, 80, 0][..], b"127.0.0.1"].concat());
    assert!(a != b && *a != 0);
    // Four packets, and no more until the relay says so.
    let data: Vec<u8> = (0..300_000).map(pattern).collect();
    let mut written = 0;
    for _ in 0..50 {
        if world.guest.tcp(one).can_send() {
            written += world.guest.tcp(one).send_slice(&data[written..]).unwrap();
        }
        world.step(MS);
    }
    let mut packets = sent(&mut world);
    assert_eq!(packets.len(), 4);
    for _ in 0..200 {
        say(&mut world, packet(3, *a, &4u32.to_le_bytes()));
        let credit = Event::Credit(200_000);
        say(&mut world, credit);
        world.host.0.borrow_mut().forgive();
        if world.guest.tcp(one).can_send() {
            written += world.guest.tcp(one).send_slice(&data[written..]).unwrap();
        }
        packets.extend(sent(&mut world));
        if packets.iter().map(|(.., data)| data.len()).sum::<usize>() == data.len() {
            break;
        }
    }
    assert!(packets.iter().all(|(kind, id, data)| (*kind, *id) == (2, *a) && data.len() <= 32 << 10));
    assert!(packets.iter().flat_map(|(.., data)| data).eq(&data));
    // Both directions are apart; the end is told after the data.
    say(&mut world, packet(2, *b, b"hello"));
    say(&mut world, packet(4, *b, &[2]));
    assert_eq!(world.guest.tcp(two).recv(|data| (data.len(), data.to_vec())).unwrap(), b"hello");
    run(&mut world);
    assert_eq!(world.guest.tcp(two).state(), State::CloseWait);
    // Another reason than the end is a reset.
    say(&mut world, packet(4, *a, &[0x44]));
    assert_eq!(world.guest.tcp(one).state(), State::Closed);
    assert_eq!(sent(&mut world), []);
}

#[test]
fn names_go_to_the_relay() {
    let mut world = relay();
    let mut dns = vec![0, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    dns.extend(b"\x01b\x07example\x00\x00\x01\x00\x01");
    let buffer =
        || smoltcp::socket::udp::PacketBuffer::new(vec![smoltcp::socket::udp::PacketMetadata::EMPTY; 4], vec![0; 2048]);
    let mut udp = smoltcp::socket::udp::Socket::new(buffer(), buffer());
    udp.bind(4000).unwrap();
    let handle = world.guest.sockets.add(udp);
    let udp = world.guest.sockets.get_mut::<smoltcp::socket::udp::Socket<'_>>(handle);
    udp.send_slice(&dns, (smoltcp::wire::IpAddress::v4(10, 0, 2, 3), 53)).unwrap();
    let mut address: Vec<u8> = Vec::new();
    world.until(5, "an answer", |world| {
        let udp = world.guest.sockets.get_mut::<smoltcp::socket::udp::Socket<'_>>(handle);
        udp.recv().map(|(data, _)| address.extend(data[data.len() - 4..].iter())).is_ok()
    });
    assert_eq!(address, [198, 18, 0, 1]);
    world.guest.connect("198.18.0.1:22", 4096);
    world.until(5, "a call of the relay", |world| !world.host.0.borrow().opened.is_empty());
    say(&mut world, packet(3, 0, &4u32.to_le_bytes()));
    assert_eq!(sent(&mut world)[0].2, [&[1, 22, 0][..], b"b.example"].concat());
    // Datagrams are streams of another type, without flow control.
    let udp = world.guest.sockets.get_mut::<smoltcp::socket::udp::Socket<'_>>(handle);
    udp.send_slice(b"query", (smoltcp::wire::IpAddress::v4(192, 0, 2, 53), 53)).unwrap();
    run(&mut world);
    let packets = sent(&mut world);
    assert_eq!(packets[0].2, [&[2, 53, 0][..], b"192.0.2.53"].concat());
    assert_eq!((packets[1].0, &packets[1].2[..]), (2, &b"query"[..]));
    say(&mut world, packet(2, packets[0].1, b"answer"));
    let udp = world.guest.sockets.get_mut::<smoltcp::socket::udp::Socket<'_>>(handle);
    assert_eq!(udp.recv().unwrap().0, b"answer");
}

/// The guest's socket, and the address of a name as long as can be.
fn long_name(world: &mut World) -> (SocketHandle, IpAddress) {
    let mut dns = vec![0, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    [63, 63, 63, 61].iter().for_each(|len| dns.extend([&[*len][..], &vec![b'n'; (*len).into()]].concat()));
    dns.extend(b"\x00\x00\x01\x00\x01");
    let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 4], vec![0; 2048]);
    let mut socket = udp::Socket::new(buffer(), buffer());
    socket.bind(4000).unwrap();
    let handle = world.guest.sockets.add(socket);
    let socket = world.guest.sockets.get_mut::<udp::Socket<'_>>(handle);
    socket.send_slice(&dns, (IpAddress::v4(10, 0, 2, 3), 53)).unwrap();
    world.until(5, "an answer", |world| world.guest.sockets.get_mut::<udp::Socket<'_>>(handle).recv().is_ok());
    (0..2).for_each(|_| world.step(1000 * MS)); // smoltcp looks for one neighbour a second
    (handle, IpAddress::v4(198, 18, 0, 1))
}

/// The host takes no more than the window, and says so if it gets more.
#[test]
fn streams_are_refused_where_too_much_waits_for_the_relay() {
    let mut world = relay();
    let (handle, name) = long_name(&mut world);
    // A new stream each, for which the oldest of 256 is closed.
    let flood = |world: &mut World, from: u16| {
        for port in from..from + 1500 {
            let socket = world.guest.sockets.get_mut::<udp::Socket<'_>>(handle);
            socket.send_slice(b"x", (name, port)).unwrap();
            world.step(MS / 10);
        }
    };
    let refused = |world: &mut World| {
        let socket = world.guest.connect("198.18.0.1:1", 4096);
        run(world);
        world.guest.tcp(socket).state() == State::Closed
    };
    let kinds = |world: &mut World| {
        let sent = sent(world);
        [1, 4].map(|wanted| sent.iter().filter(|(kind, ..)| *kind == wanted).count())
    };
    flood(&mut world, 1000);
    assert!(refused(&mut world));
    say(&mut world, packet(3, 0, &100u32.to_le_bytes()));
    let [connects, closes] = kinds(&mut world);
    assert!((900..1000).contains(&connects), "{connects} streams");
    assert!(closes >= connects - 256);
    // The relay takes it, and there is room again.
    world.host.0.borrow_mut().forgive();
    say(&mut world, Event::Credit(SEND_WINDOW));
    assert!(!refused(&mut world));
    assert_eq!(kinds(&mut world), [1, 0]);
    // The same once it is open.
    flood(&mut world, 3000);
    assert!(refused(&mut world));
    assert!((900..1000).contains(&kinds(&mut world)[0]));
}

#[test]
fn data_leave_room_for_new_streams() {
    let mut world = relay();
    let socket = world.guest.connect("192.0.2.1:1", 1 << 20);
    run(&mut world);
    say(&mut world, packet(3, 0, &100u32.to_le_bytes()));
    sent(&mut world);
    world.guest.tcp(socket).send_slice(&vec![1; 1 << 20]).unwrap();
    (0..1000).for_each(|_| world.step(MS));
    let data: usize = sent(&mut world).iter().map(|(.., data)| data.len()).sum();
    assert!((128 << 10..SEND_WINDOW).contains(&data), "{data}");
    world.guest.connect("192.0.2.1:2", 4096);
    run(&mut world);
    assert_eq!(sent(&mut world).len(), 1);
    world.host.0.borrow_mut().forgive();
    say(&mut world, Event::Credit(SEND_WINDOW));
    assert!(sent(&mut world).iter().any(|(kind, ..)| *kind == 2), "it goes on");
}

#[test]
fn a_relay_that_is_lost_resets_and_is_called_again() {
    let mut world = relay();
    let handle = world.guest.connect("192.0.2.1:1", 4096);
    run(&mut world);
    let first = socket(&world);
    say(&mut world, Event::Closed("it is down".into()));
    assert_eq!(world.guest.tcp(handle).state(), State::Closed);
    assert_eq!(world.stack.flows().tcp, 0);
    world.guest.connect("192.0.2.1:1", 4096);
    run(&mut world);
    assert_ne!(socket(&world), first);
}

#[test]
fn a_relay_that_is_lost_resets_what_it_had_finished() {
    let mut world = relay();
    let handle = world.guest.connect("192.0.2.1:1", 4096);
    run(&mut world);
    say(&mut world, packet(3, 0, &4u32.to_le_bytes()));
    let id = sent(&mut world)[0].1;
    say(&mut world, packet(4, id, &[2]));
    assert_eq!(world.guest.tcp(handle).state(), State::CloseWait);
    say(&mut world, Event::Closed("it is down".into()));
    // The guest may read what it was given; what it says has nowhere to go.
    assert_eq!(world.guest.tcp(handle).state(), State::CloseWait);
    world.guest.tcp(handle).send_slice(b"lost").unwrap();
    run(&mut world);
    assert_eq!(world.guest.tcp(handle).state(), State::Closed);
    assert_eq!(world.stack.flows().tcp, 0);
}

#[test]
fn a_guest_that_has_finished_may_take_its_time() {
    let mut world = relay();
    let handle = world.guest.connect("192.0.2.1:1", 64 << 10);
    run(&mut world);
    say(&mut world, packet(3, 0, &4u32.to_le_bytes()));
    let id = sent(&mut world)[0].1;
    world.guest.tcp(handle).close();
    run(&mut world);
    const LEN: usize = 1 << 20;
    bring(&mut world, id, LEN);
    say(&mut world, packet(4, id, &[2]));
    // Four minutes for all of it; what is left when its own TIME-WAIT ends, this guest forgets.
    let mut taken = 0;
    while taken < LEN - (64 << 10) {
        let got = world.guest.tcp(handle).recv(|data| (data.len().min(4096), data.len().min(4096)));
        assert!(got.is_ok_and(|got| got > 0), "{taken} bytes came");
        taken += got.unwrap();
        (0..10).for_each(|_| world.step(100 * MS));
    }
    world.until(60, "the end", |world| world.stack.flows().tcp == 0);
}

#[test]
fn a_stream_that_the_guest_has_finished_does_not_stay_for_ever() {
    let mut world = relay();
    let handle = world.guest.connect("192.0.2.1:1", 4096);
    run(&mut world);
    say(&mut world, packet(3, 0, &4u32.to_le_bytes()));
    let id = sent(&mut world)[0].1;
    world.guest.tcp(handle).close();
    run(&mut world);
    // The protocol has no half-close: the answer may still come.
    assert_eq!(sent(&mut world), []);
    say(&mut world, packet(2, id, b"late"));
    assert_eq!(world.guest.tcp(handle).recv_queue(), 4);
    (0..130).for_each(|_| world.step(1000 * MS));
    assert_eq!(sent(&mut world), [(4, id, vec![2])]);
    world.until(60, "the end", |world| world.stack.flows().tcp == 0);
}

/// A packet of `len` bytes on `stream`, told without time passing.
fn bring(world: &mut World, stream: u32, len: usize) {
    let socket = socket(world);
    world.host.0.borrow_mut().say(socket, packet(2, stream, &vec![0x55; len]));
    world.step(0);
}

#[test]
fn what_the_guest_does_not_take_is_not_paid_for() {
    let mut world = relay();
    let handle = world.guest.connect("192.0.2.1:1", 64 << 10);
    run(&mut world);
    say(&mut world, packet(3, 0, &4u32.to_le_bytes()));
    let (id, socket) = (sent(&mut world)[0].1, socket(&world));
    let allowed = |world: &World| world.host.0.borrow().allowed(socket);
    let begin = allowed(&world);
    let len = 256 << 10;
    let mut brought = 0;
    while brought < begin {
        bring(&mut world, id, len);
        brought += len + 5;
    }
    // A buffer of the gateway's and one of the guest's are full, the rest waits.
    (0..1000).for_each(|_| world.step(10 * MS));
    assert!(allowed(&world) - begin < 2 << 20, "{}", allowed(&world) - begin);
    assert_eq!(world.guest.tcp(handle).state(), State::Established, "alone it may take its time");
    // All of it comes when it is taken, and is paid for.
    let mut taken = 0;
    world.until(600, "the data", |world| {
        let socket = world.guest.tcp(handle);
        while let Ok(n) = socket.recv(|data| (data.len(), data.len()))
            && n > 0
        {
            taken += n;
        }
        taken == brought / (len + 5) * len
    });
    assert_eq!(allowed(&world) - begin, brought);
}

#[test]
fn a_stream_that_keeps_the_others_waiting_is_given_up() {
    let mut world = relay();
    let stuck = world.guest.connect("192.0.2.1:1", 64 << 10);
    let other = world.guest.connect("192.0.2.1:2", 64 << 10);
    run(&mut world);
    say(&mut world, packet(3, 0, &4u32.to_le_bytes()));
    let (connects, socket) = (sent(&mut world), socket(&world));
    let begin = world.host.0.borrow().allowed(socket);
    (0..begin / (1 << 20) + 2).for_each(|_| bring(&mut world, connects[0].1, 1 << 20));
    run(&mut world);
    let before = world.host.0.borrow().allowed(socket);
    assert_eq!(sent(&mut world), []);
    (0..110).for_each(|_| world.step(100 * MS));
    assert_eq!(sent(&mut world), [(4, connects[0].1, vec![0x81])]);
    assert!(world.host.0.borrow().allowed(socket) >= before + begin, "there is room again");
    assert_eq!(world.guest.tcp(stuck).state(), State::Closed);
    say(&mut world, packet(2, connects[1].1, b"on it goes"));
    assert_eq!(world.guest.tcp(other).recv_queue(), 10);
}
