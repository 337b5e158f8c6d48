//! HTTP by a page's `fetch`: what the page is asked for, and what the guest gets.

use crate::guest::{ADDRESS, Guest};
use crate::world::{MS, World};
use netstack::{ChannelId, Event, Kind};
use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::State;

fn page(options: &str) -> World {
    World::new(options, &[Kind::Fetch], Guest::new(Some(ADDRESS), false))
}

fn connect(world: &mut World, to: &str, request: &str) -> SocketHandle {
    let handle = world.guest.connect(to, 64 << 10);
    world.until(5, "connection", |world| world.guest.tcp(handle).may_send());
    world.guest.tcp(handle).send_slice(request.as_bytes()).unwrap();
    handle
}

/// The fetch that the page is asked for: its channel and address.
fn fetch(world: &mut World) -> (ChannelId, String) {
    let mut found = None;
    world.until(5, "a fetch", |world| {
        let host = world.host.0.borrow();
        found = host.opened.last().map(|(id, _, address)| (*id, address.clone()));
        found.is_some()
    });
    found.unwrap()
}

fn say(world: &World, id: ChannelId, events: impl IntoIterator<Item = Event>) {
    events.into_iter().for_each(|event| world.host.0.borrow_mut().say(id, event));
}

fn data(text: &str) -> Event {
    Event::Data(text.into())
}

/// What the guest reads until `end`, or until its peer has finished.
fn read(world: &mut World, handle: SocketHandle, end: &str) -> String {
    let mut text = String::new();
    world.until(20, end, |world| {
        let socket = world.guest.tcp(handle);
        while socket.can_recv() {
            socket.recv(|data| (data.len(), text.push_str(std::str::from_utf8(data).unwrap()))).unwrap();
        }
        !end.is_empty() && text.ends_with(end) || matches!(socket.state(), State::CloseWait | State::Closed)
    });
    text
}

#[test]
fn two_requests_on_one_connection() {
    let mut world = page("");
    let head = "GET /a?b=c HTTP/1.1\r\nHost: www.example.org\r\nUser-Agent: wget\r\nConnection: keep-alive\r\n\r\n";
    let handle = connect(&mut world, "192.0.2.1:80", head);
    let (id, asked) = fetch(&mut world);
    assert_eq!(asked, "GET https://www.example.org/a?b=c\nuser-agent: wget\n");
    world.step(MS);
    assert_eq!(world.host.0.borrow().finished, [id]);
    say(&world, id, [data("200 OK\nContent-Type: text/plain\n"), data("hello"), data(", world"), Event::Finished]);
    let text = read(&mut world, handle, "0\r\n\r\n");
    let want = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\ntransfer-encoding: chunked\r\nconnection: keep-alive\r\n\r\n\
                5\r\nhello\r\n7\r\n, world\r\n0\r\n\r\n";
    assert_eq!(text, want);
    world.guest.tcp(handle).send_slice(b"HEAD / HTTP/1.0\r\n\r\n").unwrap();
    let (id, asked) = fetch(&mut world);
    assert_eq!(asked, "HEAD https://192.0.2.1/\n");
    say(&world, id, [data("404 Not Found\ncontent-length: 7\n"), Event::Finished]);
    let text = read(&mut world, handle, "");
    assert_eq!(text, "HTTP/1.1 404 Not Found\r\ncontent-length: 7\r\nconnection: close\r\n\r\n");
    world.guest.tcp(handle).close();
    world.until(5, "the end", |world| world.stack.flows().tcp == 0);
    assert_eq!(world.host.0.borrow().opened, []);
}

#[test]
fn a_body_goes_to_the_page_and_names_stand_for_addresses() {
    let mut world = page(",proxy=http");
    let head = "POST / HTTP/1.1\r\nHost: a.example:80\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n";
    let handle = connect(&mut world, "198.18.0.1:80", head);
    assert_eq!(read(&mut world, handle, "\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
    let (id, asked) = fetch(&mut world);
    assert_eq!(asked, "POST http://a.example/\n");
    world.guest.tcp(handle).send_slice(b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n").unwrap();
    world.until(5, "the body's end", |world| world.host.0.borrow().finished == [id]);
    let body: Vec<u8> = world.host.0.borrow().sent.iter().flat_map(|(_, data)| data.clone()).collect();
    assert_eq!(body, b"abcdefg");
    say(&world, id, [data("204 No Content\n"), Event::Finished]);
    assert!(read(&mut world, handle, "\r\n\r\n").starts_with("HTTP/1.1 204 No Content\r\nconnection: keep-alive"));
}

#[test]
fn a_long_response_waits_for_the_guest() {
    let mut world = page("");
    let handle = connect(&mut world, "192.0.2.1:80", "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let (id, _) = fetch(&mut world);
    say(&world, id, [data("200 OK\ncontent-length: 3000000\n")]);
    let piece = "x".repeat(30_000);
    let (mut sent, mut text) = (0, 0);
    // The host sends what it has credit for, and the guest reads nothing for a while.
    for round in 0..100_000 {
        let credit = world.host.0.borrow().credit(id);
        if credit >= piece.len() && sent < 3_000_000 {
            sent += piece.len();
            world.host.0.borrow_mut().spend(id, piece.len());
            say(&world, id, [data(&piece)]);
            if sent == 3_000_000 {
                say(&world, id, [Event::Finished]);
            }
        }
        world.step(MS / 10);
        if round < 5000 {
            assert!(sent < 1 << 20, "nobody takes it");
            continue;
        }
        let socket = world.guest.tcp(handle);
        while socket.can_recv() {
            text += socket.recv(|data| (data.len(), data.len())).unwrap();
        }
        if text > 3_000_000 {
            break;
        }
    }
    assert_eq!(text, 3_000_000 + "HTTP/1.1 200 OK\r\ncontent-length: 3000000\r\nconnection: keep-alive\r\n\r\n".len());
}

#[test]
fn the_gateway_is_the_machine_that_shows_the_page() {
    let mut world = page("");
    connect(&mut world, "10.0.2.2:8000", "GET /x HTTP/1.1\r\nHost: 10.0.2.2:8000\r\n\r\n");
    assert_eq!(fetch(&mut world).1, "GET http://localhost:8000/x\n");
}

#[test]
fn what_fails_is_explained() {
    let mut world = page("");
    let handle = connect(&mut world, "192.0.2.1:80", "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
    let (id, _) = fetch(&mut world);
    say(&world, id, [Event::Closed("Failed to fetch".into())]);
    let text = read(&mut world, handle, "");
    assert!(text.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{text}");
    for part in ["https://a.example/ could not be fetched: Failed to fetch", "CORS", "relay=wss://"] {
        assert!(text.contains(part), "{text}");
    }
    // Not HTTP.
    let handle = connect(&mut world, "192.0.2.1:80", "\x16\x03\x01\x02\x00\x01\x00\x01");
    assert!(read(&mut world, handle, "").starts_with("HTTP/1.1 400 Bad Request"));
    // A response that breaks off is no short response.
    let handle = connect(&mut world, "192.0.2.1:80", "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
    let (id, _) = fetch(&mut world);
    say(&world, id, [data("200 OK\n"), data("half"), Event::Closed("lost".into())]);
    world.until(5, "a reset", |world| world.guest.tcp(handle).state() == State::Closed);
    // A guest that gives up ends the fetch.
    let handle = connect(&mut world, "192.0.2.1:80", "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
    fetch(&mut world);
    world.guest.tcp(handle).abort();
    world.until(5, "the end", |world| world.host.0.borrow().opened.is_empty());
}

#[test]
fn everything_else_is_refused() {
    for (options, to) in [("", "192.0.2.1:443"), ("", "10.0.2.3:80"), (",proxy=off", "192.0.2.1:80")] {
        let mut world = page(options);
        let handle = world.guest.connect(to, 4096);
        world.until(2, "a refusal", |world| world.guest.tcp(handle).state() == State::Closed);
        assert_eq!(world.host.0.borrow().opened, []);
    }
}

#[test]
fn a_guest_without_chunks_sees_the_end_of_what_was_compressed() {
    let mut world = page("");
    let handle = connect(&mut world, "192.0.2.1:80", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let (id, _) = fetch(&mut world);
    say(&world, id, [data("200 OK\ncontent-length: 3\ncontent-encoding: gzip\n"), data("longer"), Event::Finished]);
    let text = read(&mut world, handle, "");
    assert_eq!(text, "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nlonger");
}
