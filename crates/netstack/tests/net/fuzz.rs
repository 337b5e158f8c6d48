//! Frames of every kind of garbage: nothing panics, nothing hangs, nothing grows. `NETSTACK_FUZZ_SECONDS` makes it longer,
//! `NETSTACK_FUZZ_SEED` begins elsewhere.

use crate::guest::{ADDRESS, Guest};
use crate::host::Service;
use crate::world::{MS, Rng, SOCKETS, World};
use netstack::{ChannelId, Event, Kind};
use smoltcp::wire::Ipv4Packet;
use std::time::{Duration, Instant};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap())
}

fn garbage(rng: &mut Rng, max: usize) -> Vec<u8> {
    let len = rng.below(max);
    (0..len).map(|_| rng.next() as u8).collect()
}

/// A frame that is nearly right: addresses, lengths and checksums mostly fit, so that it comes far.
fn frame(rng: &mut Rng) -> Vec<u8> {
    let mut frame = vec![0x52, 0x55, 10, 0, 2, 2 + rng.below(2) as u8];
    if rng.below(8) == 0 {
        frame = vec![0xff; 6];
    }
    frame.extend(crate::guest::MAC);
    if rng.below(8) == 0 {
        let kind = [[8, 6], [0x86, 0xdd], [8, 0], [0, 46]][rng.below(4)];
        frame.extend(kind);
        frame.extend([0, 1, 8, 0, 6, 4, 0, 1].into_iter().take(rng.below(9)));
        frame.extend(garbage(rng, 64));
        return frame;
    }
    frame.extend([8, 0]);
    let protocol = [6, 6, 6, 17, 17, 1, rng.next() as u8][rng.below(7)];
    let payload = match protocol {
        6 => segment(rng),
        17 => datagram(rng),
        _ => garbage(rng, 128),
    };
    let words = if rng.below(16) == 0 { 5 + rng.below(4) } else { 5 };
    let at = frame.len();
    frame.extend(vec![0; words * 4]);
    frame.extend(&payload);
    let dst = [[10, 0, 2, 2], [10, 0, 2, 3], [192, 0, 2, 1], [192, 0, 2, 1], [255; 4], [224, 0, 0, 1]][rng.below(6)];
    let mut ip = Ipv4Packet::new_unchecked(&mut frame[at..]);
    ip.set_version(4);
    ip.set_header_len(words as u8 * 4);
    ip.set_total_len((words * 4 + payload.len()) as u16);
    ip.set_ident(rng.below(3) as u16);
    if rng.below(8) == 0 {
        ip.set_more_frags(rng.below(2) == 0);
        ip.set_frag_offset((rng.below(4) * 8) as u16);
    }
    ip.set_hop_limit(64);
    ip.set_next_header(protocol.into());
    ip.set_src_addr(if rng.below(32) == 0 { [rng.next() as u8; 4].into() } else { ADDRESS });
    ip.set_dst_addr(dst.into());
    ip.fill_checksum();
    if rng.below(8) == 0 {
        let at = rng.below(frame.len());
        frame[at] = rng.next() as u8;
    }
    if rng.below(16) == 0 {
        frame.truncate(rng.below(frame.len() + 1));
    }
    frame
}

fn segment(rng: &mut Rng) -> Vec<u8> {
    let words = 5 + if rng.below(4) == 0 { rng.below(11) } else { 0 };
    let mut tcp = (4000 + rng.below(4) as u16).to_be_bytes().to_vec();
    tcp.extend([7u16, 19, 9, 1][rng.below(4)].to_be_bytes());
    tcp.extend((rng.below(4) as u32 * 1000).to_be_bytes());
    tcp.extend((rng.next() as u32).to_be_bytes());
    tcp.extend([(words as u8) << 4, [2, 2, 16, 24, 17, 4, rng.next() as u8][rng.below(7)]]);
    tcp.extend((rng.next() as u16).to_be_bytes());
    tcp.extend([0; 4]);
    tcp.extend((20..words * 4).map(|_| rng.next() as u8 & 15));
    tcp.extend(garbage(rng, 100));
    tcp
}

fn datagram(rng: &mut Rng) -> Vec<u8> {
    let (src, dst) = [(68u16, 67u16), (5000, 53), (5000, 7)][rng.below(3)];
    let payload = match dst {
        67 => {
            let mut dhcp = vec![1, 1, 6, 0];
            dhcp.extend((4..236).map(|_| rng.next() as u8));
            dhcp.extend([0x63, 0x82, 0x53, 0x63, 53, 1, rng.below(9) as u8]);
            dhcp.extend([50, 4, 10, 0, 2, rng.next() as u8].into_iter().take(rng.below(7)));
            dhcp.extend(garbage(rng, 60));
            dhcp
        }
        53 => {
            let mut dns = vec![rng.next() as u8, 0, rng.below(4) as u8, 0, 0, rng.below(3) as u8, 0, 0, 0, 0, 0, 0];
            for _ in 0..rng.below(5) {
                let len = rng.below(12);
                dns.push(len as u8);
                dns.extend((0..len).map(|_| b'a' + rng.below(26) as u8));
            }
            dns.extend([0, 0, [1, 28, 12][rng.below(3)], 0, 1]);
            dns.truncate(dns.len() - if rng.below(8) == 0 { rng.below(12) } else { 0 });
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
    match rng.below(7) {
        0 => Event::Opened,
        1 => Event::Credit(rng.next() as usize),
        2 => Event::Finished,
        3 => Event::Closed(String::new()),
        4 => Event::Accepted(rng.next() as u32),
        5 => Event::Data(garbage(rng, 100_000)),
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
    while Instant::now() < end {
        rounds += 1;
        for _ in 0..rng.below(20) {
            world.stack.transmit(&frame(&mut rng));
        }
        world.now += rng.next() % (10 * MS);
        world.stack.poll(world.now);
        let events = world.host.0.borrow_mut().run();
        events.into_iter().for_each(|(id, event)| world.stack.event(id, event));
        if rng.below(4) == 0 {
            let id = world.host.0.borrow().opened.last().map_or(1, |(id, ..)| id.0);
            world.stack.event(ChannelId(id.saturating_sub(rng.below(3) as u32)), event(&mut rng));
        }
        world.stack.poll(world.now);
        while let Some(frame) = world.stack.receive() {
            assert!(frame.bytes.len() <= if offload { 65_549 } else { 1514 });
        }
        let flows = world.stack.flows();
        assert!(flows.tcp <= 512 && flows.udp <= 256);
        if rng.below(20_000) == 0 {
            world.stack.reset();
        }
        world.host.0.borrow_mut().sent.clear();
        world.host.0.borrow_mut().sums.clear();
        world.host.0.borrow_mut().finished.clear();
    }
    assert!(rounds > 100, "it did little in {time:?}");
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
