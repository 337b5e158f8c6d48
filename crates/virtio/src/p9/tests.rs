use super::*;
use crate::testing::Rig;
use bus::Width;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

#[derive(Default)]
struct State {
    asked: Vec<(RequestId, Vec<u8>)>,
    answers: VecDeque<(RequestId, Vec<u8>)>,
    resets: u32,
}

#[derive(Clone, Default)]
struct Server(Rc<RefCell<State>>);

impl P9Backend for Server {
    fn submit(&mut self, id: RequestId, message: Vec<u8>) {
        self.0.borrow_mut().asked.push((id, message));
    }

    fn poll(&mut self) -> Option<(RequestId, Vec<u8>)> {
        self.0.borrow_mut().answers.pop_front()
    }

    fn reset(&mut self) {
        self.0.borrow_mut().resets += 1;
    }
}

fn rig() -> (Server, Rig<P9>) {
    let server = Server::default();
    let rig = Rig::new(P9::new(Box::new(server.clone()), "share".into()), MOUNT_TAG);
    (server, rig)
}

#[test]
fn answers_find_their_requests_in_any_order() {
    let (server, mut r) = rig();
    let a = r.post(0, &[b"first", b" request"], 32);
    let b = r.post(0, &[b"second"], 32);
    r.kick(0);
    let asked = server.0.borrow().asked.clone();
    assert_eq!((&asked[0].1[..], &asked[1].1[..]), (&b"first request"[..], &b"second"[..]));
    server.0.borrow_mut().answers.extend([(asked[1].0, b"two".to_vec()), (asked[0].0, b"one".to_vec())]);
    r.work();
    assert_eq!(r.used(0), [(b.head, 3), (a.head, 3)]);
    assert_eq!((&r.written(a)[..3], &r.written(b)[..3]), (&b"one"[..], &b"two"[..]));
}

#[test]
fn much_is_passed_on_in_parts_and_so_much_at_most() {
    let (server, mut r) = rig();
    r.post(0, &[&vec![1; 3 << 20]], 32);
    (1..16).for_each(|_| r.offer(0, 0));
    r.kick(0);
    let asked = || server.0.borrow().asked.len();
    assert_eq!(asked(), 6, "of 3 MiB each");
    (0..9).for_each(|_| r.work());
    assert_eq!(asked(), 16);
    (0..16).for_each(|_| r.offer(0, 0));
    r.kick(0);
    (0..9).for_each(|_| r.work());
    assert_eq!(asked(), 22, "more is under way than 64 MiB");
    let first = server.0.borrow().asked[0].0;
    server.0.borrow_mut().answers.push_back((first, b"done".to_vec()));
    r.work();
    assert_eq!((r.used(0), asked()), (vec![(0, 4)], 23));
}

#[test]
fn the_mount_tag_is_in_the_configuration() {
    let (_, mut r) = rig();
    assert_eq!(r.read(0x3000, Width::B8).to_le_bytes(), *b"\x05\0share\0");
}

#[test]
fn a_reset_is_told_and_late_answers_are_dropped() {
    let (server, mut r) = rig();
    r.post(0, &[b"x"], 32);
    r.kick(0);
    let before = server.0.borrow().resets;
    r.start(crate::spec::feature::VERSION_1);
    assert_eq!(server.0.borrow().resets, before + 1);
    let id = server.0.borrow().asked[0].0;
    server.0.borrow_mut().answers.push_back((id, b"late".to_vec()));
    let next = r.post(0, &[b"y"], 32);
    r.kick(0);
    assert_eq!(r.used(0), []);
    let id = server.0.borrow().asked[1].0;
    server.0.borrow_mut().answers.push_back((id, b"now".to_vec()));
    r.work();
    assert_eq!(r.used(0), [(next.head, 3)]);
}

#[test]
fn an_empty_request_breaks_the_queue() {
    let (_, mut r) = rig();
    r.post(0, &[], 32);
    r.kick(0);
    assert!(r.needs_reset());
}
