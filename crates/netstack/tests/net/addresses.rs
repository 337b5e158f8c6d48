//! Who is where: ARP, DHCP, the name server, echoes.

use crate::guest::{ADDRESS, GATEWAY, Guest, MAC};
use crate::host::Service;
use crate::world::{MS, SOCKETS, World};
use netstack::Event;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::socket::{dhcpv4, dns, icmp, tcp, udp};
use smoltcp::wire::{DnsQueryType, Icmpv4DstUnreachable, Icmpv4Packet, Icmpv4Repr, IpAddress, Ipv4Address};

fn lease(options: &str) -> (World, dhcpv4::Config<'static>) {
    let mut world = World::new(options, SOCKETS, Guest::new(None, false));
    let handle = world.guest.sockets.add(dhcpv4::Socket::new());
    let mut found = None;
    world.until(30, "a lease", |world| {
        if let Some(dhcpv4::Event::Configured(config)) =
            world.guest.sockets.get_mut::<dhcpv4::Socket<'_>>(handle).poll()
        {
            found = Some(dhcpv4::Config { packet: None, ..config });
        }
        found.is_some()
    });
    (world, found.unwrap())
}

#[test]
fn dhcp_gives_qemus_addresses() {
    let (_, config) = lease("");
    assert_eq!(config.address.address(), ADDRESS);
    assert_eq!(config.address.prefix_len(), 24);
    assert_eq!(config.router, Some(GATEWAY));
    assert_eq!(config.dns_servers.as_slice(), [Ipv4Address::new(10, 0, 2, 3)]);
}

#[test]
fn dhcp_gives_what_the_options_say() {
    let (_, config) = lease(",net=192.168.7.0/25,dhcpstart=192.168.7.77,dns=192.168.7.5");
    assert_eq!(config.address.to_string(), "192.168.7.77/25");
    assert_eq!(config.dns_servers.as_slice(), [Ipv4Address::new(192, 168, 7, 5)]);
    let (_, config) = lease(",restrict=on");
    assert_eq!((config.router, config.dns_servers.len()), (None, 0));
}

/// A DHCP message by hand: kind, and the hardware address's last byte.
fn message(kind: u8, mac: u8, options: &[u8]) -> Vec<u8> {
    let mut dhcp = vec![0; 240];
    dhcp[..4].copy_from_slice(&[1, 1, 6, 0]);
    dhcp[28..34].copy_from_slice(&[0x52, 0x54, 0, 0, 0, mac]);
    dhcp[236..].copy_from_slice(&[0x63, 0x82, 0x53, 0x63]);
    dhcp.extend([53, 1, kind]);
    dhcp.extend(options);
    dhcp.push(255);
    let udp_len = dhcp.len() as u16 + 8;
    let mut frame = vec![0xff; 6];
    frame.extend([0x52, 0x54, 0, 0, 0, mac, 8, 0, 0x45, 0]);
    frame.extend((udp_len + 20).to_be_bytes());
    frame.extend([0, 0, 0, 0, 64, 17, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255]);
    frame.extend([0, 68, 0, 67]);
    frame.extend(udp_len.to_be_bytes());
    frame.extend([0, 0]);
    frame.extend(dhcp);
    smoltcp::wire::Ipv4Packet::new_unchecked(&mut frame[14..]).fill_checksum();
    frame
}

#[test]
fn every_guest_has_an_address_of_its_own_and_keeps_it() {
    let mut world = World::new(",hostname=vm7", SOCKETS, Guest::new(None, false));
    let mut ask = |kind, mac, options: &[u8]| {
        world.stack.transmit(&message(kind, mac, options));
        let frame = world.stack.receive().map(|frame| frame.bytes);
        assert_eq!(world.stack.receive(), None);
        frame.map(|frame| {
            let dhcp = &frame[42..];
            let hostname = dhcp.windows(6).any(|bytes| bytes == [12, 4, b'v', b'm', b'7', b'x']);
            assert!(!hostname && frame.len() >= 342);
            (dhcp[242], <[u8; 4]>::try_from(&dhcp[16..20]).unwrap(), dhcp.windows(5).any(|b| b == b"\x0c\x03vm7"))
        })
    };
    const OFFER: u8 = 2;
    const ACK: u8 = 5;
    const NAK: u8 = 6;
    assert_eq!(ask(1, 1, &[]), Some((OFFER, [10, 0, 2, 15], true)));
    assert_eq!(ask(1, 2, &[]), Some((OFFER, [10, 0, 2, 16], true)));
    assert_eq!(ask(3, 2, &[50, 4, 10, 0, 2, 16]), Some((ACK, [10, 0, 2, 16], true)));
    assert_eq!(ask(3, 1, &[50, 4, 10, 0, 2, 16]), Some((NAK, [0; 4], false)));
    // Another server was chosen.
    assert_eq!(ask(3, 1, &[50, 4, 10, 0, 2, 15, 54, 4, 10, 0, 2, 9]), None);
    // A free address that is asked for is given.
    assert_eq!(ask(1, 3, &[50, 4, 10, 0, 2, 20]), Some((OFFER, [10, 0, 2, 20], true)));
    assert_eq!(ask(7, 2, &[]), None); // given back
    assert_eq!(ask(1, 4, &[]), Some((OFFER, [10, 0, 2, 16], true)));
    // Who finds an address in use is not given it again, nor is anybody else (RFC 2131, 4.3.3).
    assert_eq!(ask(4, 4, &[50, 4, 10, 0, 2, 16]), None);
    assert_eq!(ask(1, 4, &[50, 4, 10, 0, 2, 16]), Some((OFFER, [10, 0, 2, 17], true)));
    assert_eq!(ask(1, 5, &[]), Some((OFFER, [10, 0, 2, 18], true)));
    // Many more guests than there are leases: everyone gets an answer.
    for mac in 10..200 {
        let (kind, address, _) = ask(1, mac, &[]).unwrap();
        assert!(kind == OFFER && address[3] >= 15, "{address:?}");
    }
}

fn resolve(world: &mut World, name: &str) -> Result<Vec<IpAddress>, dns::GetQueryResultError> {
    let servers = [IpAddress::v4(10, 0, 2, 3)];
    let handle = world.guest.sockets.add(dns::Socket::new(&servers, vec![]));
    let cx = world.guest.iface.context();
    let query = world.guest.sockets.get_mut::<dns::Socket<'_>>(handle).start_query(cx, name, DnsQueryType::A).unwrap();
    let mut result = None;
    world.until(60, name, |world| {
        match world.guest.sockets.get_mut::<dns::Socket<'_>>(handle).get_query_result(query) {
            Err(dns::GetQueryResultError::Pending) => {}
            other => result = Some(other.map(|addrs| addrs.to_vec())),
        }
        result.is_some()
    });
    world.guest.sockets.remove(handle);
    result.unwrap()
}

#[test]
fn names_are_resolved_by_the_host() {
    let names = [
        ("www.example.org", Service::Names(vec!["2001:db8::1", "192.0.2.7"])),
        ("six.example.org", Service::Names(vec!["2001:db8::1"])),
        ("none.example.org", Service::Names(vec![])),
        ("fails.example.org", Service::Closed),
    ];
    let mut world = World::sockets("", &names);
    assert_eq!(resolve(&mut world, "WWW.example.org"), Ok(vec![IpAddress::v4(192, 0, 2, 7)]));
    assert_eq!(resolve(&mut world, "localhost"), Ok(vec![IpAddress::v4(127, 0, 0, 1)]));
    for name in ["six.example.org", "none.example.org", "fails.example.org"] {
        assert_eq!(resolve(&mut world, name), Err(dns::GetQueryResultError::Failed), "{name}");
    }
    assert_eq!(world.host.0.borrow().opened, []);
}

#[test]
fn the_host_has_so_many_questions_at_once() {
    let mut world = World::sockets("", &[]);
    let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 4], vec![0; 2048]);
    let mut socket = udp::Socket::new(buffer(), buffer());
    socket.bind(4000).unwrap();
    let handle = world.guest.sockets.add(socket);
    let ask = |world: &mut World| {
        let query = b"\0\x09\x01\0\0\x01\0\0\0\0\0\0\x04slow\x07example\0\0\x01\0\x01";
        let socket = world.guest.sockets.get_mut::<udp::Socket<'_>>(handle);
        socket.send_slice(query, (IpAddress::v4(10, 0, 2, 3), 53)).unwrap();
        world.step(MS);
        let host = world.host.0.borrow();
        host.opened.len() + host.closed
    };
    let answers = |world: &mut World, n: usize| {
        let waiting: Vec<_> = world.host.0.borrow().opened.iter().take(n).map(|(id, ..)| *id).collect();
        waiting.iter().for_each(|id| world.host.0.borrow_mut().say(*id, Event::Data(b"192.0.2.7".to_vec())));
        world.step(MS);
        let socket = world.guest.sockets.get_mut::<udp::Socket<'_>>(handle);
        std::iter::from_fn(|| socket.recv().ok().map(drop)).count()
    };
    (0..1000).for_each(|_| _ = ask(&mut world));
    assert_eq!(ask(&mut world), 64);
    assert_eq!(answers(&mut world, 1), 1);
    assert_eq!(ask(&mut world), 65, "there is room for another");
    // What the guest does not wait for any more, the host still does.
    world.stack.reset();
    assert_eq!(ask(&mut world), 65);
    assert_eq!(answers(&mut world, 2), 0, "the answers are nobody's");
    assert_eq!(ask(&mut world), 66);
    assert_eq!(ask(&mut world), 67);
    assert_eq!(ask(&mut world), 67);
}

#[test]
fn in_a_page_every_name_has_an_address() {
    let mut world = World::new("", &[netstack::Kind::Fetch], Guest::new(Some(ADDRESS), false));
    assert_eq!(resolve(&mut world, "a.example"), Ok(vec![IpAddress::v4(198, 18, 0, 1)]));
    assert_eq!(resolve(&mut world, "b.example"), Ok(vec![IpAddress::v4(198, 18, 0, 2)]));
    assert_eq!(resolve(&mut world, "a.example"), Ok(vec![IpAddress::v4(198, 18, 0, 1)]));
}

/// What comes back for an echo to `to`.
fn ping(world: &mut World, to: [u8; 4]) -> String {
    let buffer = || icmp::PacketBuffer::new(vec![icmp::PacketMetadata::EMPTY; 4], vec![0; 4096]);
    let mut socket = icmp::Socket::new(buffer(), buffer());
    socket.bind(icmp::Endpoint::Ident(0x22)).unwrap();
    let request = Icmpv4Repr::EchoRequest { ident: 0x22, seq_no: 1, data: b"abcdefgh" };
    let bytes = socket.send(request.buffer_len(), Ipv4Address::from(to).into()).unwrap();
    request.emit(&mut Icmpv4Packet::new_unchecked(bytes), &ChecksumCapabilities::default());
    let handle = world.guest.sockets.add(socket);
    let mut answer = String::new();
    // The guest looks for the gateway first, and asks again after a second.
    for _ in 0..3000 {
        world.step(MS);
        let socket = world.guest.sockets.get_mut::<icmp::Socket<'_>>(handle);
        if let Ok((bytes, from)) = socket.recv() {
            let packet = Icmpv4Packet::new_checked(bytes).unwrap();
            answer = format!("{from}: {:?}", Icmpv4Repr::parse(&packet, &ChecksumCapabilities::default()).unwrap());
            break;
        }
    }
    world.guest.sockets.remove(handle);
    answer
}

#[test]
fn the_gateway_answers_echoes_and_others_are_unreachable() {
    let mut world = World::sockets("", &[]);
    for to in [[10, 0, 2, 2], [10, 0, 2, 3]] {
        let answer = ping(&mut world, to);
        assert!(answer.contains("EchoReply { ident: 34, seq_no: 1, data: [97, 98"), "{answer}");
    }
    // smoltcp's socket does not tell of errors, so that this one is looked at as it comes.
    ping(&mut world, [8, 8, 8, 8]);
    let errors = std::mem::take(&mut world.seen);
    let error = errors.iter().find(|frame| frame[26..30] == [8, 8, 8, 8]).expect("an answer");
    let packet = Icmpv4Packet::new_checked(&error[34..]).unwrap();
    let Ok(Icmpv4Repr::DstUnreachable { reason, header, .. }) =
        Icmpv4Repr::parse(&packet, &ChecksumCapabilities::default())
    else {
        panic!("{error:x?}");
    };
    assert_eq!(reason, Icmpv4DstUnreachable::NetUnreachable);
    assert_eq!((header.src_addr, header.dst_addr), (ADDRESS, Ipv4Address::new(8, 8, 8, 8)));
    // Nobody is at this address of the network, and nobody says so: as on a real one.
    assert_eq!(ping(&mut world, [10, 0, 2, 99]), "");
}

/// RFC 1122, 3.2.2: no error is an answer to a broadcast. Samba's guests send them all the time.
#[test]
fn broadcasts_are_not_answered_by_errors() {
    let mut world = World::sockets("", &[]);
    for to in [[10, 0, 2, 255], [255; 4]] {
        let mut frame = message(1, 1, &[]);
        frame[26..30].copy_from_slice(&ADDRESS.octets());
        frame[30..34].copy_from_slice(&to);
        frame[36..38].copy_from_slice(&137u16.to_be_bytes());
        smoltcp::wire::Ipv4Packet::new_unchecked(&mut frame[14..]).fill_checksum();
        world.stack.transmit(&frame);
        assert_eq!(world.stack.receive(), None, "{to:?}");
    }
}

#[test]
fn frames_for_others_are_not_ours() {
    let mut world = World::sockets("", &[]);
    let mut frame = message(1, 1, &[]);
    frame[..6].copy_from_slice(&MAC);
    world.stack.transmit(&frame);
    assert_eq!(world.stack.receive(), None);
}

#[test]
fn a_reset_ends_everything() {
    let mut world = World::sockets("", &[("192.0.2.1:7", Service::Echo)]);
    let handle = world.guest.connect("192.0.2.1:7", 4096);
    world.until(5, "connection", |world| world.guest.tcp(handle).state() == tcp::State::Established);
    assert_eq!(world.stack.flows().tcp, 1);
    world.stack.reset();
    assert_eq!(world.stack.flows().tcp, 0);
    assert_eq!(world.host.0.borrow().opened, []);
    // The guest is still there, and hears that its connection is not.
    world.guest.tcp(handle).send_slice(b"x").unwrap();
    world.until(60, "reset", |world| world.guest.tcp(handle).state() == tcp::State::Closed);
}
