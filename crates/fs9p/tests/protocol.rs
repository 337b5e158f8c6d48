//! What the protocol says, case by case.

mod common;

use common::{Client, ROOT, memory};
use fs9p::wire::{NOFID, NOTAG, Reply, Request, VERSION, lock};
use fs9p::{Errno, MemoryTree, RequestId, Server};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

fn client() -> Client<MemoryTree> {
    Client::attached(memory(64 << 20), 0)
}

/// `name` in the root, made and open as `fid`.
fn made(client: &mut Client<MemoryTree>, fid: u32, name: &[u8]) {
    client.walk(ROOT, fid, &[]).unwrap();
    client.create(fid, name, 0o2, 0o644).unwrap();
}

#[test]
fn nothing_before_a_version() {
    let mut server = Server::new(memory(1 << 20));
    let attach = Request::Tattach { fid: 0, afid: NOFID, uname: b"", aname: b"", n_uname: 0 };
    server.submit(RequestId(1), attach.encode(3));
    let error = Reply::Rlerror { ecode: Errno::EPROTO.0 }.encode(3);
    assert_eq!(server.poll(), Some((RequestId(1), error)));
    for (msize, version, reply) in [
        (8192, &b"9P2000.u"[..], Reply::Rversion { msize: 8192, version: b"unknown" }),
        (100, VERSION, Reply::Rlerror { ecode: Errno::EMSGSIZE.0 }),
        (u32::MAX, VERSION, Reply::Rversion { msize: 1 << 20, version: VERSION }),
        (8192, VERSION, Reply::Rversion { msize: 8192, version: VERSION }),
    ] {
        server.submit(RequestId(2), Request::Tversion { msize, version }.encode(NOTAG));
        assert_eq!(server.poll(), Some((RequestId(2), reply.encode(NOTAG))));
    }
}

#[test]
fn a_version_forgets_fids() {
    let mut c = client();
    c.expect(Request::Tversion { msize: 8192, version: VERSION });
    assert_eq!(c.stat(ROOT), Err(Errno::EBADF));
}

#[test]
fn no_authentication() {
    let mut c = client();
    let auth = Request::Tauth { afid: 9, uname: b"", aname: b"", n_uname: 0 };
    assert_eq!(c.call(auth), Err(Errno::EOPNOTSUPP));
    let attach = |fid, afid, aname| Request::Tattach { fid, afid, uname: b"", aname, n_uname: 0 };
    assert_eq!(c.call(attach(1, 9, b"")), Err(Errno::EINVAL));
    assert_eq!(c.call(attach(ROOT, NOFID, b"")), Err(Errno::EINVAL), "in use");
    c.mkdir(ROOT, b"dir").unwrap();
    assert_eq!(c.call(attach(1, NOFID, b"/none")), Err(Errno::ENOENT));
    assert_eq!(c.call(attach(1, NOFID, b"/dir/..")), Err(Errno::ENOENT));
    c.expect(attach(1, NOFID, b"/dir"));
    assert_eq!(c.walk(1, 2, &[]).map(|q| q.len()), Ok(0));
}

#[test]
fn walks_that_end_early() {
    let mut c = client();
    c.mkdir(ROOT, b"a").unwrap();
    c.walk(ROOT, 1, &[b"a"]).unwrap();
    c.mkdir(1, b"b").unwrap();
    assert_eq!(c.walk(ROOT, 2, &[b"x", b"y"]), Err(Errno::ENOENT));
    assert_eq!(c.walk(ROOT, 2, &[b"a", b"y", b"z"]).map(|q| q.len()), Ok(1));
    assert_eq!(c.stat(2), Err(Errno::EBADF), "no fid for half a walk");
    assert_eq!(c.walk(ROOT, 2, &[b"a", b"b", b"..", b"..", b".."]).map(|q| q.len()), Ok(5));
    assert_eq!(c.stat(2).unwrap().qid, c.stat(ROOT).unwrap().qid, "no way above the root");
    assert_eq!(c.walk(ROOT, 2, &[b"a"]), Err(Errno::EINVAL), "the fid is in use");
    assert_eq!(c.walk(1, 1, &[b"b"]).map(|q| q.len()), Ok(1), "in place");
    assert_eq!(c.walk(1, 1, &[b"none"]), Err(Errno::ENOENT));
    assert_eq!(c.walk(1, 3, &[]).map(|q| q.len()), Ok(0), "where it was");
    made(&mut c, 4, b"file");
    assert_eq!(c.walk(4, 5, &[b".."]), Err(Errno::ENOTDIR));
    assert_eq!(c.walk(77, 5, &[]), Err(Errno::EBADF));
}

#[test]
fn offsets_in_a_directory_stay() {
    let mut c = client();
    let name = |i: u32| format!("entry-{i}").into_bytes();
    (0..100).for_each(|i| c.mkdir(ROOT, &name(i)).unwrap());
    c.walk(ROOT, 1, &[]).unwrap();
    c.expect(Request::Tlopen { fid: 1, flags: 0o200000 });
    let mut seen = Vec::new();
    let mut offset = 0;
    loop {
        let entries = c.read_dir(1, offset, 300).unwrap();
        let Some(last) = entries.last() else { break };
        offset = last.0;
        for (_, kind, name) in entries {
            assert_eq!(kind, 4, "DT_DIR");
            if name.starts_with(b"entry") {
                c.call(Request::Tunlinkat { dirfd: ROOT, name: &name, flags: 0x200 }).unwrap();
                seen.push(name);
            }
        }
    }
    assert_eq!(seen, (0..100).map(name).collect::<Vec<_>>());
    assert_eq!(c.read_dir(1, 0, 10), Err(Errno::EINVAL), "no room for one entry");
    assert_eq!(c.read_dir(1, u64::MAX, 1000), Ok(Vec::new()));
    assert_eq!(c.read(1, 0, 10), Err(Errno::EISDIR));
}

#[test]
fn a_file_without_a_name_goes_on() {
    let mut c = client();
    made(&mut c, 1, b"file");
    c.write(1, 0, b"contents").unwrap();
    c.call(Request::Tunlinkat { dirfd: ROOT, name: b"file", flags: 0 }).unwrap();
    assert_eq!(c.read(1, 3, 100).unwrap(), b"tents");
    assert_eq!(c.stat(1).unwrap().nlink, 0);
    assert_eq!(c.call(Request::Tlink { dfid: ROOT, fid: 1, name: b"again" }), Err(Errno::ENOENT));
    c.clunk(1).unwrap();
    assert_eq!(c.walk(ROOT, 1, &[b"file"]), Err(Errno::ENOENT));
}

#[test]
fn remove_and_rename_by_fid() {
    let mut c = client();
    made(&mut c, 1, b"one");
    c.mkdir(ROOT, b"dir").unwrap();
    c.walk(ROOT, 2, &[b"dir"]).unwrap();
    c.expect(Request::Trename { fid: 1, dfid: 2, name: b"moved" });
    // by another fid than the one that is removed
    c.expect(Request::Trenameat { olddirfid: 2, oldname: b"moved", newdirfid: ROOT, newname: b"back" });
    c.expect(Request::Tremove { fid: 1 });
    assert_eq!(c.walk(ROOT, 3, &[b"back"]), Err(Errno::ENOENT));
    assert_eq!(c.call(Request::Tremove { fid: 1 }), Err(Errno::EBADF), "the fid is gone");
    assert_eq!(c.call(Request::Trename { fid: ROOT, dfid: 2, name: b"x" }), Err(Errno::EINVAL));
    made(&mut c, 4, b"old");
    c.call(Request::Tunlinkat { dirfd: ROOT, name: b"old", flags: 0 }).unwrap();
    made(&mut c, 5, b"old");
    assert_eq!(c.call(Request::Tremove { fid: 4 }), Err(Errno::ESTALE), "another file has the name");
    assert_eq!(c.walk(ROOT, 6, &[b"old"]).map(|q| q.len()), Ok(1));
}

#[test]
fn extended_attributes() {
    let mut c = client();
    made(&mut c, 1, b"file");
    let set = |c: &mut Client<_>, name: &[u8], value: &[u8], announced: u64, flags| {
        c.walk(1, 2, &[]).unwrap();
        let created = c.call(Request::Txattrcreate { fid: 2, name, attr_size: announced, flags });
        let written = created.and_then(|_| if value.is_empty() { Ok(0) } else { c.write(2, 0, value) });
        let clunked = c.clunk(2);
        written.and(clunked)
    };
    assert_eq!(set(&mut c, b"user.a", b"value", 5, 0), Ok(()));
    assert_eq!(set(&mut c, b"user.a", b"value", 5, 1), Err(Errno::EEXIST));
    assert_eq!(set(&mut c, b"user.b", b"value", 5, 2), Err(Errno::ENODATA));
    assert_eq!(set(&mut c, b"user.b", b"val", 5, 0), Err(Errno::EINVAL), "cut off");
    assert_eq!(set(&mut c, b"user.b", b"value", 4, 0), Err(Errno::ENOSPC), "more than announced");
    assert_eq!(set(&mut c, b"user.b", b"", 65537, 0), Err(Errno::E2BIG));
    assert_eq!(set(&mut c, &[b'n'; 256], b"", 0, 0), Err(Errno::ERANGE));
    assert_eq!(set(&mut c, b"user.b", b"", 0, 0), Ok(()), "an empty value");
    c.expect(Request::Txattrwalk { fid: 1, newfid: 2, name: b"" });
    assert_eq!(c.read(2, 0, 100).unwrap(), b"user.a\0user.b\0");
    assert_eq!(c.read(2, 7, 4).unwrap(), b"user");
    assert_eq!(c.write(2, 0, b"x"), Err(Errno::EBADF));
    c.clunk(2).unwrap();
    assert_eq!(set(&mut c, b"user.b", b"", 0, 2), Ok(()), "Linux's removexattr");
    assert_eq!(c.call(Request::Txattrwalk { fid: 1, newfid: 2, name: b"user.b" }), Err(Errno::ENODATA));
}

#[test]
fn values_of_extended_attributes_are_bounded() {
    let mut c = client();
    let mut refused = None;
    for fid in 1..1000 {
        c.walk(ROOT, fid, &[]).unwrap();
        let create = Request::Txattrcreate { fid, name: b"user.x", attr_size: 65536, flags: 0 };
        refused = c.call(create).err();
        if refused.is_some() {
            break;
        }
    }
    assert_eq!(refused, Some(Errno::ENOMEM));
    let _ = c.clunk(1);
    c.walk(ROOT, 2000, &[]).unwrap();
    c.expect(Request::Txattrcreate { fid: 2000, name: b"user.x", attr_size: 65536, flags: 0 });
}

#[test]
fn locks_of_byte_ranges() {
    let mut c = client();
    made(&mut c, 1, b"file");
    c.walk(1, 2, &[]).unwrap();
    let lock = |c: &mut Client<_>, fid, kind, start, length, proc_id| {
        let message = c.expect(Request::Tlock { fid, kind, flags: 0, start, length, proc_id, client_id: b"host" });
        match Reply::decode(&message) {
            Some((_, Reply::Rlock { status })) => status,
            other => panic!("{other:?}"),
        }
    };
    let get = |c: &mut Client<_>, kind, start, length, proc_id| {
        let message = c.expect(Request::Tgetlock { fid: 1, kind, start, length, proc_id, client_id: b"host" });
        match Reply::decode(&message) {
            Some((_, Reply::Rgetlock { kind, start, length, proc_id, .. })) => (kind, start, length, proc_id),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(lock(&mut c, 1, lock::WRLCK, 10, 20, 1), lock::SUCCESS);
    assert_eq!(lock(&mut c, 1, lock::UNLCK, 15, 5, 1), lock::SUCCESS);
    assert_eq!(lock(&mut c, 2, lock::WRLCK, 15, 5, 2), lock::SUCCESS, "in the hole");
    assert_eq!(lock(&mut c, 2, lock::RDLCK, 14, 1, 2), lock::BLOCKED);
    assert_eq!(get(&mut c, lock::RDLCK, 0, 0, 3), (lock::WRLCK, 10, 5, 1));
    assert_eq!(get(&mut c, lock::RDLCK, 30, 0, 3), (lock::UNLCK, 30, 0, 3));
    assert_eq!(lock(&mut c, 1, lock::RDLCK, 100, 0, 1), lock::SUCCESS);
    assert_eq!(lock(&mut c, 2, lock::RDLCK, 200, 1, 2), lock::SUCCESS, "readers share");
    assert_eq!(lock(&mut c, 2, lock::WRLCK, 200, 1, 2), lock::BLOCKED);
    c.clunk(1).unwrap();
    assert_eq!(lock(&mut c, 2, lock::WRLCK, 0, 0, 2), lock::SUCCESS, "a fid's locks go with it");
    let bad = Request::Tlock { fid: 2, kind: 0, flags: 0, start: 5, length: u64::MAX, proc_id: 1, client_id: b"" };
    assert_eq!(c.call(bad), Err(Errno::EOVERFLOW));
}

#[test]
fn locks_are_bounded() {
    let mut c = client();
    made(&mut c, 1, b"file");
    let id = vec![b'x'; 60_000];
    let mut lock = |kind, start, length, proc_id, client_id: &[u8]| {
        let reply = c.call(Request::Tlock { fid: 1, kind, flags: 0, start, length, proc_id, client_id });
        reply.map(|message| assert_eq!(Reply::decode(&message), Some((5, Reply::Rlock { status: lock::SUCCESS }))))
    };
    let held = (0..600).take_while(|i| lock(lock::WRLCK, 2 * i, 1, *i as u32, &id).is_ok()).count();
    assert!((100..300).contains(&held), "{held} locks with a client's id of 60,000 bytes");
    assert_eq!(lock(lock::WRLCK, 5000, 1, 1, &id), Err(Errno::ENOLCK));
    assert_eq!(lock(lock::WRLCK, 5000, 1, 1, b"another"), Ok(()), "a short id has room");
    assert_eq!(lock(lock::WRLCK, 0, 1, 0, &id), Ok(()), "what replaces a lock takes none");
    // an unlocked hole makes two locks of one
    assert_eq!(lock(lock::UNLCK, 2, 1, 1, &id), Ok(()));
    assert_eq!(lock(lock::WRLCK, 10_000, 0, 1, &id), Ok(()));
    assert_eq!(lock(lock::UNLCK, 10_002, 1, 1, &id), Err(Errno::ENOLCK));
    assert_eq!(lock(lock::UNLCK, 10_000, 1, 1, &id), Ok(()));
}

#[test]
fn room_ends() {
    let mut c = Client::attached(memory(1 << 20), 0);
    made(&mut c, 1, b"file");
    let data = vec![1; 50_000];
    let mut offset = 0;
    let error = loop {
        match c.write(1, offset, &data) {
            Ok(n) => offset += u64::from(n),
            Err(e) => break e,
        }
    };
    assert_eq!(error, Errno::ENOSPC);
    assert!(offset > 900_000, "{offset}");
    assert_eq!(c.stat(1).unwrap().size, offset);
    assert_eq!(c.set_attr(1, fs9p::wire::setattr::SIZE, |s| s.size = 1 << 40), Ok(()), "a hole takes no room");
    assert_eq!(c.write(1, 1 << 39, &data), Err(Errno::ENOSPC));
    c.set_attr(1, fs9p::wire::setattr::SIZE, |s| s.size = 0).unwrap();
    assert_eq!(c.write(1, 1 << 39, b"x"), Ok(1));
    assert_eq!(c.read(1, (1 << 39) - 2, 100).unwrap(), [0, 0, b'x']);
    assert_eq!(c.write(1, i64::MAX as u64, b"x"), Err(Errno::EFBIG));
}

/// Nodes of trees, and allocations, are memory too.
#[test]
fn small_pieces_are_counted_as_what_they_take() {
    let tree = memory(1 << 20);
    let mut c = Client::attached(tree.clone(), 0);
    made(&mut c, 1, b"file");
    let empty = tree.used();
    let pieces = (0..100_000).take_while(|i| c.write(1, i << 16, b"x").is_ok()).count() as u64;
    assert!((4_000..9_000).contains(&pieces), "{pieces} bytes, each in a chunk of its own, in 1 MiB");
    assert_eq!(c.write(1, (pieces << 16) + 5, b"x"), Err(Errno::ENOSPC));
    c.set_attr(1, fs9p::wire::setattr::SIZE, |s| s.size = (pieces / 2) << 16).unwrap();
    let half = tree.used() - empty;
    assert!(half.abs_diff((1 << 19) - empty / 2) < 1000, "{half}");
    let again = (pieces / 2..100_000).take_while(|i| c.write(1, i << 16, b"x").is_ok()).count() as u64;
    assert_eq!(pieces / 2 + again, pieces);
    // what is cut within a chunk, and made again
    c.set_attr(1, fs9p::wire::setattr::SIZE, |s| s.size = 0).unwrap();
    assert_eq!(tree.used(), empty);
    for (size, end) in [(5000, 70_000), (1, 3), (65_536, 65_537)] {
        c.write(1, 0, &vec![1; 60_000]).unwrap();
        c.write(1, 60_000, &vec![1; 20_000]).unwrap();
        c.set_attr(1, fs9p::wire::setattr::SIZE, |s| s.size = size).unwrap();
        c.write(1, end, b"x").unwrap();
        let between = c.read(1, size, (end - size) as u32).unwrap();
        assert_eq!((between.len() as u64, between.iter().max()), (end - size, Some(&0)));
    }
    c.set_attr(1, fs9p::wire::setattr::SIZE, |s| s.size = 0).unwrap();
    assert_eq!(tree.used(), empty);
    // extended attributes
    let mut set = |i: u32, value: &[u8], flags| {
        let name = format!("user.{i}").into_bytes();
        c.walk(1, 2, &[]).unwrap();
        c.expect(Request::Txattrcreate { fid: 2, name: &name, attr_size: value.len() as u64, flags });
        c.write(2, 0, value).unwrap();
        c.clunk(2)
    };
    let attributes = (0..5000).take_while(|i| set(*i, b"x", 0).is_ok()).count() as u32;
    assert!((2_000..4_000).contains(&attributes), "{attributes} attributes in 1 MiB");
    let full = tree.used();
    assert_eq!(set(0, b"", 2), Ok(()), "one is removed");
    assert_eq!(set(attributes, b"x", 0), Ok(()), "and another has its place");
    assert_eq!(set(attributes + 1, b"x", 0), Err(Errno::ENOSPC));
    assert!(tree.used().abs_diff(full) < 10);
    (1..=attributes).for_each(|i| set(i, b"", 2).unwrap());
    assert_eq!(tree.used(), empty);
    // all of it at once
    set(0, b"value", 0).unwrap();
    c.write(1, 0, &[1; 5000]).unwrap();
    c.call(Request::Tunlinkat { dirfd: ROOT, name: b"file", flags: 0 }).unwrap();
    c.clunk(1).unwrap();
    assert_eq!(tree.used(), 0);
}

#[test]
fn deep_directories_are_dropped_without_recursion() {
    let mut c = client();
    c.walk(ROOT, 1, &[]).unwrap();
    for _ in 0..50_000 {
        c.mkdir(1, b"d").unwrap();
        c.walk(1, 1, &[b"d"]).unwrap();
    }
}

#[test]
fn files_go_in_and_out() {
    let tree = memory(1 << 20);
    let mut c = Client::attached(tree.clone(), 0);
    tree.put(b"/etc/conf.d/file", b"contents", 0o640).unwrap();
    c.walk(ROOT, 1, &[b"etc", b"conf.d", b"file"]).unwrap();
    let version = c.stat(1).unwrap().qid.version;
    c.expect(Request::Tlopen { fid: 1, flags: 2 });
    assert_eq!(c.read(1, 0, 100).unwrap(), b"contents");
    tree.put(b"etc/conf.d/file", b"other", 0o600).unwrap();
    assert_eq!(c.read(1, 0, 100).unwrap(), b"other", "the same file");
    assert_ne!(c.stat(1).unwrap().qid.version, version);
    c.write(1, 5, b" words").unwrap();
    assert_eq!(tree.get(b"etc/conf.d/file").unwrap(), b"other words");
    assert_eq!(tree.get(b"etc"), Err(Errno::EISDIR));
    assert_eq!(tree.get(b"etc/../x"), Err(Errno::EINVAL));
    assert_eq!(tree.put(b"etc/conf.d/file/x", b"", 0o644), Err(Errno::ENOTDIR));
    assert_eq!(tree.put(b"big", &vec![0; 2 << 20], 0o644), Err(Errno::ENOSPC));
    let names: Vec<_> = tree.list(b"etc").unwrap().into_iter().map(|(name, stat)| (name, stat.mode)).collect();
    assert_eq!(names, [(b"conf.d".to_vec(), 0o040755)]);
}

#[test]
fn what_is_read_only() {
    let tree = memory(1 << 20);
    tree.put(b"file", b"contents", 0o644).unwrap();
    let mut c = Client::attached(tree, 0);
    c.server = std::mem::replace(&mut c.server, Server::new(memory(0))).read_only(true);
    c.walk(ROOT, 1, &[b"file"]).unwrap();
    assert_eq!(c.call(Request::Tlopen { fid: 1, flags: 1 }), Err(Errno::EROFS));
    assert_eq!(c.call(Request::Tlopen { fid: 1, flags: 0o1000 }), Err(Errno::EROFS));
    c.expect(Request::Tlopen { fid: 1, flags: 0 });
    assert_eq!(c.read(1, 0, 100).unwrap(), b"contents");
    assert_eq!(c.mkdir(ROOT, b"dir"), Err(Errno::EROFS));
    assert_eq!(c.create(ROOT, b"new", 2, 0o644), Err(Errno::EROFS));
    assert_eq!(c.call(Request::Tunlinkat { dirfd: ROOT, name: b"file", flags: 0 }), Err(Errno::EROFS));
}

/// A host whose replies come later, in any order, and requests that are given up meanwhile.
#[test]
fn replies_that_come_later() {
    use fs9p::{HostTree, Owners};
    let memory = memory(1 << 20);
    memory.put(b"a/file", b"contents", 0o644).unwrap();
    let host = Rc::new(RefCell::new(Server::new(memory)));
    let asked = Rc::new(RefCell::new(Vec::new()));
    let queue = asked.clone();
    let tree = HostTree::new(
        move |message: Vec<u8>| {
            queue.borrow_mut().push(message);
            None
        },
        Owners::Tried,
    );
    // the newest request is answered first
    let answer = |n: usize| {
        for _ in 0..n {
            let Some(message) = asked.borrow_mut().pop() else { return };
            host.borrow_mut().submit(RequestId(0), message);
            let reply = host.borrow_mut().poll().unwrap().1;
            tree.complete(reply);
        }
    };
    let mut server = Server::new(tree.clone());
    server.submit(RequestId(0), Request::Tversion { msize: 8192, version: VERSION }.encode(NOTAG));
    assert!(server.poll().is_some());
    let attach = Request::Tattach { fid: 0, afid: NOFID, uname: b"", aname: b"", n_uname: 0 };
    server.submit(RequestId(1), attach.encode(1));
    let finish = |server: &mut Server<HostTree>| {
        for _ in 0..100 {
            if let Some((id, reply)) = server.poll() {
                return (id, reply);
            }
            answer(1);
        }
        panic!("no reply");
    };
    assert_eq!(finish(&mut server).0, RequestId(1));
    let walk = |newfid, name: &'static [u8]| Request::Twalk { fid: 0, newfid, names: vec![b"a", name] };
    server.submit(RequestId(2), walk(1, b"file").encode(2));
    server.submit(RequestId(3), walk(2, b"none").encode(3));
    let mut replies = [finish(&mut server), finish(&mut server)];
    replies.sort_by_key(|(id, _)| id.0);
    let found = |m: &[u8]| match Reply::decode(m) {
        Some((_, Reply::Rwalk { qids })) => qids.len(),
        other => panic!("{other:?}"),
    };
    assert_eq!((found(&replies[0].1), found(&replies[1].1)), (2, 1));
    // a request that reads is given up: no reply to it, and then to the flush
    server.submit(RequestId(4), Request::Tgetattr { fid: 1, request_mask: 0x7ff }.encode(4));
    assert_eq!(server.poll(), None);
    server.submit(RequestId(5), Request::Tflush { oldtag: 4 }.encode(5));
    assert_eq!(server.poll(), Some((RequestId(4), Vec::new())));
    assert_eq!(server.poll(), Some((RequestId(5), Reply::Rflush {}.encode(5))));
    // one that changes is waited for
    server.submit(RequestId(6), Request::Tmkdir { dfid: 0, name: b"dir", mode: 0o755, gid: 0 }.encode(6));
    server.submit(RequestId(7), Request::Tflush { oldtag: 6 }.encode(7));
    assert_eq!(server.poll(), None);
    let (id, reply) = finish(&mut server);
    assert_eq!(id, RequestId(6));
    assert!(matches!(Reply::decode(&reply), Some((6, Reply::Rmkdir { .. }))));
    assert_eq!(server.poll(), Some((RequestId(7), Reply::Rflush {}.encode(7))));
    // whatever the host says that was not asked for
    tree.complete(Vec::new());
    tree.complete(Reply::Rclunk {}.encode(999));
    assert!(!server.is_busy());
}

/// A server of a host that says nothing any more, to a client that has `file` open as fid 1.
fn silent_host() -> Client<fs9p::HostTree> {
    let memory = memory(1 << 20);
    memory.put(b"file", b"contents", 0o644).unwrap();
    let host = RefCell::new(Server::new(memory));
    let answers = Rc::new(Cell::new(true));
    let answering = answers.clone();
    let tree = fs9p::HostTree::new(
        move |message: Vec<u8>| {
            answering.get().then(|| {
                host.borrow_mut().submit(RequestId(0), message);
                host.borrow_mut().poll().unwrap().1
            })
        },
        fs9p::Owners::Tried,
    );
    let mut c = Client::attached(tree, 0);
    c.expect(Request::Tversion { msize: 1 << 20, version: VERSION });
    c.expect(Request::Tattach { fid: ROOT, afid: NOFID, uname: b"", aname: b"", n_uname: 0 });
    c.walk(ROOT, 1, &[b"file"]).unwrap();
    c.expect(Request::Tlopen { fid: 1, flags: 2 });
    answers.set(false);
    c
}

/// How many of these requests, with tags from 0 on, wait; the reply to the first that does not.
fn waiting(c: &mut Client<fs9p::HostTree>, request: &Request) -> (u16, Option<Vec<u8>>) {
    for tag in 0..2000 {
        c.send(tag, request);
        if let Some((_, reply)) = c.server.poll() {
            return (tag, Some(reply));
        }
    }
    (2000, None)
}

#[test]
fn what_is_under_way_is_bounded() {
    let refusal = |tag| Reply::Rlerror { ecode: Errno::EAGAIN.0 }.encode(tag);
    // by bytes of messages
    let data = vec![1; (1 << 20) - 64];
    let write = Request::Twrite { fid: 1, offset: 0, data: fs9p::wire::Data(&data) };
    assert_eq!(waiting(&mut silent_host(), &write), (64, Some(refusal(64))));
    // by bytes that are asked for
    let read = Request::Tread { fid: 1, offset: 0, count: 1 << 20 };
    assert_eq!(waiting(&mut silent_host(), &read), (63, Some(refusal(63))));
    // by number
    let mkdir = Request::Tmkdir { dfid: ROOT, name: b"dir", mode: 0o755, gid: 0 };
    assert_eq!(waiting(&mut silent_host(), &mkdir), (1024, Some(refusal(1024))));
    // what waits for another request counts too
    let mut c = silent_host();
    c.send(5000, &mkdir);
    assert_eq!(waiting(&mut c, &Request::Tflush { oldtag: 5000 }), (1023, Some(refusal(1023))));
    // what a client of Linux's may have is no more than that
    let mut c = silent_host();
    let data = vec![1; 125 * 4096 - 23];
    for tag in 0..128 {
        c.send(tag, &Request::Twrite { fid: 1, offset: 0, data: fs9p::wire::Data(&data) });
    }
    assert_eq!(c.server.poll(), None);
}

/// Bytes behind a message are not kept.
#[test]
fn a_message_is_as_long_as_it_says() {
    let mut c = silent_host();
    for tag in 0..100 {
        let mut message = Request::Tgetattr { fid: 1, request_mask: 0x7ff }.encode(tag);
        message.resize(1 << 20, 0);
        c.server.submit(RequestId(tag.into()), message);
        assert_eq!(c.server.poll(), None, "{tag}");
    }
}
