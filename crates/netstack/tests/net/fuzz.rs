//! Frames of every kind of garbage: nothing panics, nothing hangs, nothing grows. `NETSTACK_FUZZ_SECONDS` makes it longer,
//! `NETSTACK_FUZZ_SEED` begins elsewhere.

use crate::guest::{ADDRESS, Guest};
use crate::host::Service;
use crate::world::{MS, SOCKETS, World};
use netstack::{ChannelId, Event, Kind};
use random::Rng;
use smoltcp::wire::{Ipv4Packet, TcpPacket};
use std::time::{Duration, Instant};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap())
}

fn garbage(rng: &mut Rng, max: usize) -> Vec<u8> {
    let len = rng.index(max);
    (0..len).map(|_| rng.next() as u8).collect()
}

/// A connection as its last segment to the guest left it: what the guest may answer.
#[derive(Clone, Copy)]
struct Heard {
    remote: ([u8; 4], u16),
    port: u16,
    /// Sequence numbers that the other end expects, and that it sends next.
    expects: u32,
    next: u32,
}

impl Heard {
    fn of(frame: &[u8]) -> Option<Self> {
        let ip = Ipv4Packet::new_checked(frame.get(14..)?).ok()?;
        if frame[12..14] != [8, 0] || u8::from(ip.next_header()) != 6 {
            return None;
        }
        let tcp = TcpPacket::new_checked(ip.payload()).ok()?;
        let next = tcp.seq_number().0 as u32;
        Some(Self {
            remote: (ip.src_addr().octets(), tcp.src_port()),
            port: tcp.dst_port(),
            expects: tcp.ack_number().0 as u32,
            next: next.wrapping_add(tcp.segment_len() as u32),
        })
    }

    /// An answer, mostly one that continues the connection.
    fn answer(self, rng: &mut Rng) -> Vec<u8> {
        let mut near = |n: u32| match rng.index(12) {
            0 => n.wrapping_sub(rng.next() as u32 % 2000),
            1 => n.wrapping_add(rng.next() as u32 % 70_000),
            _ => n,
        };
        let (seq, ack) = (near(self.expects), near(self.next));
        let mut tcp = [self.port, self.remote.1].map(u16::to_be_bytes).concat();
        tcp.extend(seq.to_be_bytes());
        tcp.extend(ack.to_be_bytes());
        tcp.extend([5 << 4, [16, 16, 24, 24, 24, 17, 25, 20, 18, rng.next() as u8][rng.index(10)]]);
        tcp.extend([[0, 0], [255, 255], [16, 0], [0, rng.next() as u8]][rng.index(4)]);
        tcp.extend([0; 4]);
        tcp.extend(if rng.index(3) == 0 { http(rng) } else { garbage(rng, 1400) });
        tcp
    }
}

/// What a proxy may read as a request, or nearly.
fn http(rng: &mut Rng) -> Vec<u8> {
    const LINES: [&str; 10] = [
        "Host: example.org\r\n",
        "Host: a\r\n",
        "Content-Length: 5\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Connection: close\r\n",
        "Expect: 100-continue\r\n",
        "\r\n",
        "5\r\nhello\r\n0\r\n\r\n",
        "ffffffffffffffff\r\n",
    ];
    if rng.one_in(4) {
        return b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello".to_vec(); // all of it right
    }
    let first =
        ["GET / HTTP/1.1\r\n", "POST http://a/ HTTP/1.1\r\n", "CONNECT a:443 HTTP/1.1\r\n", "G", ""][rng.index(5)];
    let mut text = first.as_bytes().to_vec();
    (0..rng.index(8)).for_each(|_| text.extend(LINES[rng.index(LINES.len())].as_bytes()));
    if rng.index(4) == 0 && !text.is_empty() {
        let at = rng.index(text.len());
        text[at] = rng.next() as u8;
    }
    text
}

/// A frame that is nearly right: addresses, lengths and checksums mostly fit, so that it comes far. Often it answers one
/// of `heard`, so that connections are made, and used, and end.
fn frame(rng: &mut Rng, heard: &[Heard]) -> Vec<u8> {
    let mut frame = vec![0x52, 0x55, 10, 0, 2, 2 + rng.index(2) as u8];
    if rng.index(8) == 0 {
        frame = vec![0xff; 6];
    }
    frame.extend(crate::guest::MAC);
    if rng.index(8) == 0 {
        let kind = [[8, 6], [0x86, 0xdd], [8, 0], [0, 46]][rng.index(4)];
        frame.extend(kind);
        frame.extend([0, 1, 8, 0, 6, 4, 0, 1].into_iter().take(rng.index(9)));
        frame.extend(garbage(rng, 64));
        return frame;
    }
    frame.extend([8, 0]);
    let protocol = [6, 6, 6, 17, 17, 1, rng.next() as u8][rng.index(7)];
    let answered = heard.get(rng.index(heard.len().max(1))).filter(|_| protocol == 6 && rng.index(4) != 0);
    let payload = match (protocol, answered) {
        (6, Some(heard)) => heard.answer(rng),
        (6, None) => segment(rng),
        (17, _) => datagram(rng),
        _ => garbage(rng, 128),
    };
    let words = if rng.index(16) == 0 { 5 + rng.index(4) } else { 5 };
    let at = frame.len();
    frame.extend(vec![0; words * 4]);
    frame.extend(&payload);
    let dst = [[10, 0, 2, 2], [10, 0, 2, 3], [192, 0, 2, 1], [192, 0, 2, 1], [255; 4], [224, 0, 0, 1]][rng.index(6)];
    let dst = answered.map_or(dst, |heard| heard.remote.0);
    let mut ip = Ipv4Packet::new_unchecked(&mut frame[at..]);
    ip.set_version(4);
    ip.set_header_len(words as u8 * 4);
    ip.set_total_len((words * 4 + payload.len()) as u16);
    ip.set_ident(rng.index(3) as u16);
    if rng.index(8) == 0 {
        ip.set_more_frags(rng.index(2) == 0);
        ip.set_frag_offset((rng.index(4) * 8) as u16);
    }
    ip.set_hop_limit(64);
    ip.set_next_header(protocol.into());
    ip.set_src_addr(if rng.index(32) == 0 { [rng.next() as u8; 4].into() } else { ADDRESS });
    ip.set_dst_addr(dst.into());
    ip.fill_checksum();
    if rng.index(8) == 0 {
        let at = rng.index(frame.len());
        frame[at] = rng.next() as u8;
    }
    if rng.index(16) == 0 {
        frame.truncate(rng.index(frame.len() + 1));
    }
    frame
}

fn segment(rng: &mut Rng) -> Vec<u8> {
    let words = 5 + if rng.index(4) == 0 { rng.index(11) } else { 0 };
    let mut tcp = (4000 + rng.index(4) as u16).to_be_bytes().to_vec();
    tcp.extend([7u16, 19, 9, 1, 80, 443][rng.index(6)].to_be_bytes());
    tcp.extend((rng.index(4) as u32 * 1000).to_be_bytes());
    tcp.extend((rng.next() as u32).to_be_bytes());
    tcp.extend([(words as u8) << 4, [2, 2, 16, 24, 17, 4, rng.next() as u8][rng.index(7)]]);
    tcp.extend((rng.next() as u16).to_be_bytes());
    tcp.extend([0; 4]);
    tcp.extend((20..words * 4).map(|_| rng.next() as u8 & 15));
    tcp.extend(garbage(rng, 100));
    tcp
}

fn datagram(rng: &mut Rng) -> Vec<u8> {
    let (src, dst) = [(68u16, 67u16), (5000, 53), (5000, 7)][rng.index(3)];
    let payload = match dst {
        67 => {
            let mut dhcp = vec![1, 1, 6, 0];
            dhcp.extend((4..236).map(|_| rng.next() as u8));
            dhcp.extend([0x63, 0x82, 0x53, 0x63, 53, 1, rng.index(9) as u8]);
            dhcp.extend([50, 4, 10, 0, 2, rng.next() as u8].into_iter().take(rng.index(7)));
            dhcp.extend(garbage(rng, 60));
            dhcp
        }
        53 => {
            let mut dns = vec![rng.next() as u8, 0, rng.index(4) as u8, 0, 0, rng.index(3) as u8, 0, 0, 0, 0, 0, 0];
            for _ in 0..rng.index(5) {
                let len = rng.index(12);
                dns.push(len as u8);
                dns.extend((0..len).map(|_| b'a' + rng.index(26) as u8));
            }
            dns.extend([0, 0, [1, 28, 12][rng.index(3)], 0, 1]);
            dns.truncate(dns.len() - if rng.index(8) == 0 { rng.index(12) } else { 0 });
            dns
        }
        _ => garbage(rng, 100),
    };
    let mut udp = [src, dst, payload.len() as u16 + 8, 0].map(u16::to_be_bytes).concat();
    udp.extend(payload);
    udp
}

/// What a host that has lost its mind may say.
fn event(rng: &mut Rng) -> Event {
    match rng.index(8) {
        0 => Event::Opened,
        // a relay's packet: its kind, a stream, what it says
        1 => {
            let mut packet = vec![rng.index(6) as u8];
            packet.extend((rng.index(4) as u32).to_le_bytes());
            packet.extend(garbage(rng, 40));
            Event::Data(packet)
        }
        2 => Event::Credit(rng.next() as usize),
        3 => Event::Finished,
        4 => Event::Closed(String::new()),
        5 => Event::Accepted(rng.next() as u32),
        6 => Event::Data(garbage(rng, 100_000)),
        _ => Event::Data(b"200 OK\ncontent-length: 5\n".to_vec()),
    }
}

fn fuzz(options: &str, kinds: &[Kind], offload: bool, seed: u64, time: Duration) {
    let mut rng = Rng(seed);
    let (end, mut rounds) = (Instant::now() + time, 0);
    let mut world = World::new(options, kinds, Guest::new(Some(ADDRESS), false));
    world.stack.set_offload(offload);
    let services =
        [("192.0.2.1:7", Service::Echo), ("192.0.2.1:19", Service::Source(1 << 20)), ("192.0.2.1:9", Service::Sink)];
    world.host.0.borrow_mut().services = services.map(|(address, service)| (address.to_owned(), service)).into();
    let mut heard = Vec::new();
    let mut most = 0;
    // A busy machine has done little by then: it goes on until a connection has carried something.
    while Instant::now() < end || most == 0 && rounds < 200_000 {
        rounds += 1;
        for _ in 0..rng.index(20) {
            world.stack.transmit(&frame(&mut rng, &heard));
        }
        world.now += rng.next() % (10 * MS);
        world.stack.poll(world.now);
        let events = world.host.0.borrow_mut().run();
        events.into_iter().for_each(|(id, event)| world.stack.event(id, event));
        if rng.index(4) == 0 {
            let id = world.host.0.borrow().opened.last().map_or(1, |(id, ..)| id.0);
            world.stack.event(ChannelId(id.saturating_sub(rng.index(3) as u32)), event(&mut rng));
        }
        world.stack.poll(world.now);
        while let Some(frame) = world.stack.receive() {
            assert!(frame.bytes.len() <= if offload { 65_549 } else { 1514 });
            heard.extend(Heard::of(&frame.bytes));
        }
        heard.drain(..heard.len().saturating_sub(16));
        let flows = world.stack.flows();
        assert!(flows.tcp <= 512 && flows.udp <= 256);
        most = most.max(world.host.0.borrow().sent.len());
        if rng.index(20_000) == 0 {
            world.stack.reset();
        }
        world.host.0.borrow_mut().sent.clear();
        world.host.0.borrow_mut().sums.clear();
        world.host.0.borrow_mut().finished.clear();
    }
    println!("{options:?}: {rounds} rounds, up to {most} chunks of data to the host in one");
    assert!(rounds > 100, "it did little in {time:?}");
    assert!(most > 0, "no connection carried anything");
    world.stack.reset();
    assert_eq!(world.stack.flows().tcp + world.stack.flows().udp, 0);
}

#[test]
fn garbage_does_no_harm() {
    let seed = number("NETSTACK_FUZZ_SEED", 0x5eed_0001);
    let time = Duration::from_secs(number("NETSTACK_FUZZ_SECONDS", 10)) / 4;
    println!("NETSTACK_FUZZ_SEED={seed}");
    fuzz("", SOCKETS, false, seed, time);
    fuzz(",hostfwd=tcp::1-:2,hostfwd=udp::1-:2", SOCKETS, true, seed + 1, time);
    fuzz(",proxy=http", &[Kind::Fetch], false, seed + 2, time);
    fuzz(",relay=wss://r/", &[Kind::WebSocket], false, seed + 3, time);
}
