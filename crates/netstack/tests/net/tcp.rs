//! TCP: data, both ends of it, and what a guest may do wrong.

use crate::guest::{ADDRESS, Guest};
use crate::host::{Service, Sum, pattern};
use crate::world::{Cable, MS, SOCKETS, World};
use netstack::Event;
use smoltcp::iface::SocketHandle;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::socket::tcp::State;
use smoltcp::wire::{IpProtocol, Ipv4Address, Ipv4Packet, Ipv4Repr, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber};

const MIB: usize = 1 << 20;

/// Lets the guest read until its peer has finished.
fn read_all(world: &mut World, handle: SocketHandle, seconds: u64) -> Sum {
    let mut sum = Sum::default();
    world.until(seconds, "the end of the data", |world| {
        let socket = world.guest.tcp(handle);
        while socket.can_recv() {
            socket.recv(|data| (data.len(), sum.add(data))).unwrap();
        }
        matches!(socket.state(), State::CloseWait | State::Closed)
    });
    sum
}

/// Lets the guest send `len` bytes of the pattern and finish.
fn write_all(world: &mut World, handle: SocketHandle, len: usize, seconds: u64) {
    let mut sent = 0;
    world.until(seconds, "the end of sending", |world| {
        let socket = world.guest.tcp(handle);
        while sent < len && socket.can_send() {
            let piece: Vec<u8> = (sent..len.min(sent + 16384)).map(pattern).collect();
            sent += socket.send_slice(&piece).unwrap();
        }
        sent == len
    });
    world.guest.tcp(handle).close();
}

fn transfer(mut world: World, len: usize) -> World {
    let source = world.guest.connect("192.0.2.1:19", 256 << 10);
    assert_eq!(read_all(&mut world, source, 3600), Sum::of_pattern(len));
    world.guest.tcp(source).close();
    let sink = world.guest.connect("192.0.2.1:9", 256 << 10);
    write_all(&mut world, sink, len, 3600);
    world.until(900, "the sum", |world| !world.host.0.borrow().sums.is_empty());
    assert_eq!(world.host.0.borrow().sums, [Sum::of_pattern(len)]);
    world.until(60, "the end", |world| world.stack.flows().tcp == 0);
    assert_eq!(world.host.0.borrow().opened, []);
    world
}

fn services(len: usize) -> [(&'static str, Service); 2] {
    [("192.0.2.1:19", Service::Source(len)), ("192.0.2.1:9", Service::Sink)]
}

#[test]
fn a_hundred_megabytes_each_way() {
    let world = transfer(World::sockets("", &services(100 * MIB)), 100 * MIB);
    assert_eq!(world.longest, 1514);
}

#[test]
fn a_hundred_megabytes_each_way_with_offloads() {
    let mut world = World::new("", SOCKETS, Guest::new(Some(ADDRESS), true));
    world.host.0.borrow_mut().services =
        services(100 * MIB).map(|(address, service)| (address.to_owned(), service)).into();
    world = transfer(world, 100 * MIB);
    assert!(world.longest > 60_000, "{}", world.longest);
}

#[test]
fn a_cable_that_loses_and_delays() {
    for (lost, late, len) in [(1, 30, 100 * MIB), (10, 30, 8 * MIB), (100, 100, MIB / 2), (0, 300, 4 * MIB)] {
        let mut world = World::sockets("", &services(len));
        world.cable = Cable { lost, late };
        transfer(world, len);
    }
}

#[test]
fn a_connection_that_says_nothing_for_an_hour_lives() {
    let mut world = World::sockets("", &[("192.0.2.1:7", Service::Echo)]);
    let handle = world.guest.connect("192.0.2.1:7", 4096);
    for _ in 0..2 {
        world.until(5, "connection", |world| world.guest.tcp(handle).may_send());
        world.guest.tcp(handle).send_slice(b"x").unwrap();
        world.until(5, "echo", |world| world.guest.tcp(handle).recv(|data| (data.len(), data == b"x")) == Ok(true));
        (0..360).for_each(|_| world.step(10_000 * MS));
        assert_eq!(world.guest.tcp(handle).state(), State::Established);
    }
}

#[test]
fn a_hundred_connections_at_once() {
    let mut world = World::sockets("", &[("192.0.2.1:7", Service::Echo)]);
    const LEN: usize = 100_000;
    let mut open: Vec<_> = (0..100).map(|_| (world.guest.connect("192.0.2.1:7", 8192), 0, Sum::default())).collect();
    world.until(600, "100 echoes", |world| {
        for (handle, sent, sum) in &mut open {
            let socket = world.guest.tcp(*handle);
            if *sent < LEN && socket.can_send() {
                let piece: Vec<u8> = (*sent..LEN.min(*sent + 4096)).map(pattern).collect();
                *sent += socket.send_slice(&piece).unwrap();
                if *sent == LEN {
                    socket.close();
                }
            }
            while socket.can_recv() {
                socket.recv(|data| (data.len(), sum.add(data))).unwrap();
            }
        }
        open.iter().all(|(_, _, sum)| sum.1 == LEN)
    });
    assert!(open.iter().all(|(_, _, sum)| *sum == Sum::of_pattern(LEN)));
    world.until(60, "their end", |world| world.stack.flows().tcp == 0);
}

#[test]
fn half_close_both_ways() {
    // The host finishes first, and still hears what the guest says.
    let mut world = World::sockets("", &[("192.0.2.1:19", Service::Source(5)), ("192.0.2.1:7", Service::Echo)]);
    let handle = world.guest.connect("192.0.2.1:19", 4096);
    assert_eq!(read_all(&mut world, handle, 10), Sum::of_pattern(5));
    world.guest.tcp(handle).send_slice(b"after the end").unwrap();
    world.guest.tcp(handle).close();
    world.until(10, "the flow's end", |world| world.stack.flows().tcp == 0);
    assert_eq!(world.host.0.borrow().sent.iter().map(|(_, data)| &data[..]).collect::<Vec<_>>(), [b"after the end"]);
    // The guest finishes first, and still hears its echo.
    let handle = world.guest.connect("192.0.2.1:7", 4096);
    world.until(5, "connection", |world| world.guest.tcp(handle).may_send());
    world.guest.tcp(handle).send_slice(&[pattern(0), pattern(1), pattern(2)]).unwrap();
    world.guest.tcp(handle).close();
    let mut sum = Sum::default();
    world.until(10, "echo", |world| {
        let socket = world.guest.tcp(handle);
        while socket.can_recv() {
            socket.recv(|data| (data.len(), sum.add(data))).unwrap();
        }
        matches!(socket.state(), State::TimeWait | State::Closed)
    });
    assert_eq!(sum, Sum::of_pattern(3));
}

#[test]
fn refusals_and_resets() {
    let services = [
        ("192.0.2.1:2", Service::Breaks),
        ("192.0.2.1:3", Service::Stuck),
        ("192.0.2.1:4", Service::Silent),
        ("127.0.0.1:80", Service::Echo),
    ];
    let mut world = World::sockets("", &services);
    let refused = world.guest.connect("192.0.2.1:1", 4096);
    world.until(2, "a refusal", |world| world.guest.tcp(refused).state() == State::Closed);
    // The host's reset is the guest's.
    let broken = world.guest.connect("192.0.2.1:2", 4096);
    world.until(2, "connection", |world| world.guest.tcp(broken).may_send());
    world.guest.tcp(broken).send_slice(b"x").unwrap();
    world.until(2, "a reset", |world| world.guest.tcp(broken).state() == State::Closed);
    // The guest's reset is the host's.
    let stuck = world.guest.connect("192.0.2.1:3", 4096);
    world.until(2, "connection", |world| world.guest.tcp(stuck).may_send());
    let open = world.host.0.borrow().opened.len();
    world.guest.tcp(stuck).abort();
    world.until(2, "the flow's end", |world| world.host.0.borrow().opened.len() < open);
    // So is giving up before the host has answered.
    let silent = world.guest.connect("192.0.2.1:4", 4096);
    world.step(MS);
    assert_eq!(world.stack.flows().tcp, 1);
    let frames = world.guest.card.tx.len();
    world.guest.tcp(silent).abort();
    world.step(MS);
    assert_eq!(frames, 0);
    // The gateway is the host itself, the name server is no host, and the network itself neither.
    let host = world.guest.connect("10.0.2.2:80", 4096);
    world.until(2, "connection", |world| world.guest.tcp(host).may_send());
    let dns = world.guest.connect("10.0.2.3:80", 4096);
    world.until(2, "a refusal", |world| world.guest.tcp(dns).state() == State::Closed);
    assert_eq!(world.host.0.borrow().find("10.0.2.3:80"), None);
}

#[test]
fn a_host_that_takes_nothing_closes_the_window() {
    let mut world = World::sockets("", &[("192.0.2.1:3", Service::Stuck)]);
    let handle = world.guest.connect("192.0.2.1:3", 64 << 10);
    let mut sent = 0;
    for _ in 0..20_000 {
        let socket = world.guest.tcp(handle);
        if socket.can_send() {
            sent += socket.send_slice(&[7; 16384]).unwrap();
        }
        world.step(MS / 10);
    }
    // The host's window, the network's buffer, the guest's own.
    assert!((512 << 10..=640 << 10).contains(&sent), "{sent}");
    assert_eq!(world.guest.tcp(handle).state(), State::Established);
}

#[test]
fn a_guest_that_reads_nothing_stops_the_host() {
    let mut world = World::sockets("", &[("192.0.2.1:19", Service::Source(64 * MIB))]);
    let handle = world.guest.connect("192.0.2.1:19", 64 << 10);
    (0..10_000).for_each(|_| world.step(MS / 10));
    assert_eq!(world.guest.tcp(handle).state(), State::Established);
    // And goes on when the guest does.
    assert_eq!(read_all(&mut world, handle, 600), Sum::of_pattern(64 * MIB));
}

#[test]
fn restrict_lets_nothing_out() {
    let mut world = World::sockets(",restrict=on", &[("192.0.2.1:7", Service::Echo), ("127.0.0.1:7", Service::Echo)]);
    for to in ["192.0.2.1:7", "10.0.2.2:7"] {
        let handle = world.guest.connect(to, 4096);
        world.until(2, "a refusal", |world| world.guest.tcp(handle).state() == State::Closed);
    }
    assert_eq!(world.host.0.borrow().opened, []);
}

#[test]
fn a_flood_of_connections_is_bounded() {
    let mut world = World::sockets("", &[("192.0.2.1:3", Service::Stuck), ("192.0.2.1:4", Service::Silent)]);
    for n in 0..2000 {
        world.guest.connect(if n % 2 == 0 { "192.0.2.1:3" } else { "192.0.2.1:4" }, 64);
        if n % 50 == 0 {
            world.step(MS);
        }
    }
    world.until(5, "the limit", |world| world.stack.flows().tcp == 512);
    (0..100).for_each(|_| world.step(MS));
    assert_eq!(world.stack.flows().tcp, 512);
    assert_eq!(world.host.0.borrow().opened.len(), 512);
    world.stack.reset();
    assert_eq!(world.host.0.borrow().opened, []);
}

#[test]
fn a_hundred_thousand_connections_leave_nothing() {
    let mut world = World::sockets("", &[("192.0.2.1:19", Service::Source(3)), ("192.0.2.1:7", Service::Echo)]);
    for n in 0..100_000 {
        let handle = world.guest.connect(["192.0.2.1:19", "192.0.2.1:7", "192.0.2.1:1"][n % 3], 64);
        let mut steps = 0;
        loop {
            world.step(MS / 10);
            let socket = world.guest.tcp(handle);
            if n % 3 == 1 && socket.may_send() {
                if n % 2 == 0 { socket.abort() } else { socket.close() }
            }
            if socket.state() == State::CloseWait {
                socket.close();
            }
            if matches!(socket.state(), State::Closed | State::TimeWait) {
                break;
            }
            steps += 1;
            assert!(steps < 1000, "connection {n} hangs");
        }
        // What a guest does with its last words is its own affair; it sends them.
        world.step(MS / 10);
        world.guest.sockets.remove(handle);
    }
    world.until(60, "the end", |world| world.stack.flows().tcp == 0);
    assert_eq!(world.host.0.borrow().opened, []);
}

/// A segment of the guest's from its port 5000 to 192.0.2.1:3.
fn segment(seq: u32, ack: Option<u32>, control: TcpControl, payload: &[u8]) -> Vec<u8> {
    let (src_addr, dst_addr) = (ADDRESS, Ipv4Address::new(192, 0, 2, 1));
    let repr = TcpRepr {
        src_port: 5000,
        dst_port: 3,
        control,
        seq_number: TcpSeqNumber(seq as i32),
        ack_number: ack.map(|ack| TcpSeqNumber(ack as i32)),
        window_len: 0xffff,
        window_scale: None,
        max_seg_size: None,
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload,
    };
    let ip =
        Ipv4Repr { src_addr, dst_addr, next_header: IpProtocol::Tcp, payload_len: repr.buffer_len(), hop_limit: 64 };
    let mut frame = vec![0x52, 0x55, 10, 0, 2, 2];
    frame.extend(crate::guest::MAC);
    frame.extend([8, 0]);
    frame.resize(14 + ip.buffer_len() + repr.buffer_len(), 0);
    let mut packet = Ipv4Packet::new_unchecked(&mut frame[14..]);
    ip.emit(&mut packet, &ChecksumCapabilities::default());
    let mut packet = TcpPacket::new_unchecked(packet.payload_mut());
    repr.emit(&mut packet, &src_addr.into(), &dst_addr.into(), &ChecksumCapabilities::default());
    frame
}

/// The network takes the guest's segment; the next one for the guest: sequence number and control bits.
fn exchange(world: &mut World, frame: &[u8]) -> Option<(u32, u8)> {
    world.stack.transmit(frame);
    for _ in 0..2 {
        let events = world.host.0.borrow_mut().run();
        events.into_iter().for_each(|(id, event)| world.stack.event(id, event));
        world.stack.poll(world.now);
    }
    let frame = world.stack.receive()?.bytes;
    Some((u32::from_be_bytes(frame[38..42].try_into().unwrap()), frame[47]))
}

#[test]
fn a_guest_that_resets_what_it_was_just_given_leaves_nothing() {
    // As who looks for open ports does, and who has given up meanwhile.
    let mut world = World::sockets("", &[("192.0.2.1:3", Service::Stuck)]);
    let (_, flags) = exchange(&mut world, &segment(100, None, TcpControl::Syn, b"")).unwrap();
    assert_eq!(flags, 0x12, "SYN and ACK");
    assert_eq!(exchange(&mut world, &segment(101, None, TcpControl::Rst, b"")), None);
    assert_eq!(world.stack.flows().tcp, 0);
    assert_eq!(world.host.0.borrow().opened, []);
}

#[test]
fn a_slow_host_gets_what_came_before_the_end() {
    // Both orders: the host has finished before the guest does, or after that.
    for host_first in [true, false] {
        let mut world = World::sockets("", &[("192.0.2.1:3", Service::Stuck)]);
        let handle = world.guest.connect("192.0.2.1:3", 512 << 10);
        world.until(5, "connection", |world| world.guest.tcp(handle).may_send());
        let id = world.host.0.borrow().find("192.0.2.1:3").unwrap();
        let finish = |world: &World| world.host.0.borrow_mut().say(id, Event::Finished);
        if host_first {
            finish(&world);
            world.until(5, "the host's end", |world| world.guest.tcp(handle).state() == State::CloseWait);
        }
        // More than the host's window, and all of it is acknowledged.
        const LEN: usize = 400 << 10;
        let data: Vec<u8> = (0..LEN).map(pattern).collect();
        world.guest.tcp(handle).send_slice(&data).unwrap();
        world.guest.tcp(handle).close();
        if !host_first {
            world.until(5, "the guest's end", |world| world.guest.tcp(handle).state() == State::FinWait2);
            finish(&world);
        }
        (0..1000).for_each(|_| world.step(MS));
        (0..20).for_each(|_| world.step(1000 * MS)); // as long as TIME-WAIT
        let mut got = Sum::default();
        let mut take = |world: &World| {
            let mut host = world.host.0.borrow_mut();
            let sent: Vec<_> = host.sent.drain(..).collect();
            sent.iter().for_each(|(_, data)| got.add(data));
            host.forgive();
            let len = sent.iter().map(|(_, data)| data.len()).sum();
            host.say(id, Event::Credit(len));
        };
        for _ in 0..20 {
            take(&world);
            world.step(MS);
        }
        assert_eq!(got, Sum::of_pattern(LEN), "{host_first}");
        assert_eq!(world.host.0.borrow().finished, [id]);
        assert_eq!(world.stack.flows().tcp, 0);
        assert_eq!(world.host.0.borrow().opened, []);
    }
}
