//! Owners, modes and types that are kept beside plain files.

mod common;

use common::{Client, ROOT, memory};
use fs9p::wire::{Reply, Request, setattr};
use fs9p::{Errno, FileTree, HostModes, HostTree, MappedTree, MemoryTree, Owners, RequestId, Server};
use std::cell::RefCell;
use std::rc::Rc;

/// A tree, and a client of its mapped view.
fn mapped() -> (MemoryTree, Client<MappedTree<MemoryTree>>) {
    let below = memory(1 << 20);
    (below.clone(), view(&below))
}

fn view(below: &MemoryTree) -> Client<MappedTree<MemoryTree>> {
    Client::attached(MappedTree::new(below.clone(), HostModes::default()), 0)
}

/// What is kept in a file of metadata, without the empty lines at its end.
fn kept(below: &MemoryTree, path: &str) -> String {
    let text = String::from_utf8(below.get(path.as_bytes()).unwrap_or_else(|e| panic!("{path}: {e:?}"))).unwrap();
    assert_eq!(text.len(), 96);
    text.trim_end().replace('\n', " ")
}

fn names(below: &MemoryTree, path: &str) -> Vec<String> {
    let mut names: Vec<_> =
        below.list(path.as_bytes()).unwrap().into_iter().map(|(name, _)| String::from_utf8(name).unwrap()).collect();
    names.sort();
    names
}

/// Mode, owner and group as the guest sees them.
fn seen(c: &mut Client<MappedTree<MemoryTree>>, names: &[&[u8]]) -> (u32, u32, u32) {
    c.walk(ROOT, 90, names).unwrap();
    let stat = c.stat(90).unwrap();
    c.clunk(90).unwrap();
    (stat.mode, stat.uid, stat.gid)
}

fn make_files(c: &mut Client<MappedTree<MemoryTree>>) {
    c.expect(Request::Tmkdir { dfid: ROOT, name: b"d", mode: 0o2750, gid: 5 });
    c.walk(ROOT, 1, &[b"d"]).unwrap();
    c.set_attr(1, setattr::MODE, |c| c.mode = 0o42750).unwrap();
    c.expect(Request::Tmknod { dfid: 1, name: b"null", mode: 0o20666, major: 1, minor: 3, gid: 7 });
    c.expect(Request::Tmknod { dfid: 1, name: b"pipe", mode: 0o10600, major: 0, minor: 0, gid: 7 });
    c.expect(Request::Tsymlink { fid: 1, name: b"link", target: b"../there", gid: 7 });
    c.walk(ROOT, 2, &[]).unwrap();
    c.create(2, b"su", 2, 0o4755).unwrap();
    c.set_attr(ROOT, setattr::UID | setattr::GID, |c| (c.uid, c.gid) = (1000, 1001)).unwrap();
}

/// The names, the lines and the numbers of QEMU 7.2 for the same files.
#[test]
fn files_are_kept_as_qemu_keeps_them() {
    let (below, mut c) = mapped();
    make_files(&mut c);
    assert_eq!(names(&below, ""), [".virtfs_metadata", ".virtfs_metadata_root", "d", "su"]);
    assert_eq!(names(&below, ".virtfs_metadata"), ["d", "su"]);
    assert_eq!(names(&below, "d"), [".virtfs_metadata", "link", "null", "pipe"]);
    assert_eq!(kept(&below, ".virtfs_metadata_root"), "virtfs.uid=1000 virtfs.gid=1001 virtfs.mode=16877");
    assert_eq!(kept(&below, ".virtfs_metadata/d"), "virtfs.uid=0 virtfs.gid=5 virtfs.mode=17896");
    assert_eq!(kept(&below, ".virtfs_metadata/su"), "virtfs.uid=0 virtfs.gid=0 virtfs.mode=35309");
    assert_eq!(kept(&below, "d/.virtfs_metadata/null"), "virtfs.uid=0 virtfs.gid=5 virtfs.mode=8630 virtfs.rdev=259");
    assert_eq!(kept(&below, "d/.virtfs_metadata/link"), "virtfs.uid=0 virtfs.gid=5 virtfs.mode=41471");
    assert_eq!(below.get(b"d/link").unwrap(), b"../there");
    assert_eq!(below.get(b"d/null").unwrap(), b"");
    // and another view of it is the same
    let mut c = view(&below);
    assert_eq!(seen(&mut c, &[b"d", b"null"]), (0o20666, 0, 5));
    assert_eq!(seen(&mut c, &[b"d", b"pipe"]), (0o10600, 0, 5));
    assert_eq!(seen(&mut c, &[b"d", b"link"]), (0o120777, 0, 5));
    assert_eq!(seen(&mut c, &[b"su"]), (0o104755, 0, 0));
    assert_eq!(seen(&mut c, &[]), (0o40755, 1000, 1001));
    c.walk(ROOT, 1, &[b"d", b"null"]).unwrap();
    assert_eq!(c.stat(1).unwrap().rdev, 259);
    c.walk(ROOT, 2, &[b"d", b"link"]).unwrap();
    let target = c.expect(Request::Treadlink { fid: 2 });
    assert!(matches!(Reply::decode(&target), Some((_, Reply::Rreadlink { target: b"../there" }))));
}

#[test]
fn what_is_kept_is_not_the_guests() {
    let (below, mut c) = mapped();
    make_files(&mut c);
    for name in [&b".virtfs_metadata"[..], b".virtfs_metadata_root", b".VirtFS_Metadata"] {
        assert_eq!(c.walk(ROOT, 50, &[name]), Err(Errno::ENOENT));
        assert_eq!(c.mkdir(ROOT, name), Err(Errno::EINVAL));
        assert_eq!(c.create(2, name, 2, 0o644), Err(Errno::EINVAL));
        assert_eq!(c.call(Request::Tsymlink { fid: 1, name, target: b"x", gid: 0 }), Err(Errno::EINVAL));
        let node = Request::Tmknod { dfid: 1, name, mode: 0o10600, major: 0, minor: 0, gid: 0 };
        assert_eq!(c.call(node), Err(Errno::EINVAL));
        c.walk(ROOT, 51, &[b"su"]).unwrap();
        assert_eq!(c.call(Request::Tlink { dfid: ROOT, fid: 51, name }), Err(Errno::EINVAL));
        c.clunk(51).unwrap();
        for flags in [0, 0x200] {
            assert_eq!(c.call(Request::Tunlinkat { dirfd: ROOT, name, flags }), Err(Errno::ENOENT));
        }
        let rename = |oldname, newname| Request::Trenameat { olddirfid: ROOT, oldname, newdirfid: 1, newname };
        assert_eq!(c.call(rename(name, b"x")), Err(Errno::ENOENT));
        assert_eq!(c.call(rename(b"su", name)), Err(Errno::EINVAL));
    }
    // whatever fits into a reply
    for room in [40, 60, 100, 4000] {
        c.walk(ROOT, 52, &[]).unwrap();
        c.expect(Request::Tlopen { fid: 52, flags: 0 });
        let (mut names, mut offset) = (Vec::new(), 0);
        while let Some(last) = c.read_dir(52, offset, room).unwrap().last() {
            offset = last.0;
            names.push(last.2.clone());
        }
        assert!(names.contains(&b"su".to_vec()) && !names.iter().any(|n| n.starts_with(b".v")), "{room}: {names:?}");
        c.clunk(52).unwrap();
    }
    // a directory in which there is nothing else is empty, and goes with what is kept in it
    for name in [&b"null"[..], b"pipe", b"link"] {
        c.expect(Request::Tunlinkat { dirfd: 1, name, flags: 0 });
    }
    below.put(b"d/.virtfs_metadata/removed by somebody else", b"virtfs.uid=3\n", 0o600).unwrap();
    c.expect(Request::Tunlinkat { dirfd: ROOT, name: b"d", flags: 0x200 });
    assert_eq!(names(&below, ""), [".virtfs_metadata", ".virtfs_metadata_root", "su"]);
    assert_eq!(names(&below, ".virtfs_metadata"), ["su"]);
}

#[test]
fn files_of_the_hosts_and_damaged_metadata() {
    let below = memory(1 << 20);
    below.put(b"plain", b"text", 0o640).unwrap();
    below.put(b"half", b"text", 0o640).unwrap();
    below.put(b".virtfs_metadata/half", b"virtfs.uid=9\nvirtfs.mo", 0o600).unwrap();
    below.put(b"dir", b"", 0o644).unwrap();
    below.put(b".virtfs_metadata/dir", b"virtfs.mode=16877\n", 0o600).unwrap();
    below.put(b"odd", b"text", 0o640).unwrap();
    below.put(b".virtfs_metadata/odd/what", b"", 0o600).unwrap();
    below.put(b"long", b"text", 0o640).unwrap();
    below.put(b".virtfs_metadata/long", &[b"x\n".repeat(3000), b"virtfs.uid=7\n".to_vec()].concat(), 0o600).unwrap();
    let mut c = view(&below);
    assert_eq!(seen(&mut c, &[b"plain"]), (0o100640, 0, 0));
    assert_eq!(seen(&mut c, &[b"half"]), (0o100640, 9, 0));
    assert_eq!(seen(&mut c, &[b"dir"]), (0o100755, 0, 0), "no file is a directory");
    assert_eq!(seen(&mut c, &[b"odd"]), (0o100640, 0, 0));
    assert_eq!(seen(&mut c, &[b"long"]), (0o100640, 0, 0), "4 KiB of it are read");
    // what the guest changes is kept, all of it from then on
    let chmod = |c: &mut Client<_>, name: &[u8]| {
        c.walk(ROOT, 1, &[name]).unwrap();
        let done = c.set_attr(1, setattr::MODE, |c| c.mode = 0o600);
        c.clunk(1).unwrap();
        done
    };
    assert_eq!(chmod(&mut c, b"plain"), Ok(()));
    assert_eq!(chmod(&mut c, b"half"), Ok(()));
    assert_eq!(chmod(&mut c, b"long"), Ok(()));
    assert_eq!(chmod(&mut c, b"odd"), Err(Errno::EISDIR), "it cannot be kept");
    assert_eq!(kept(&below, ".virtfs_metadata/plain"), "virtfs.uid=0 virtfs.gid=0 virtfs.mode=33152");
    assert_eq!(kept(&below, ".virtfs_metadata/half"), "virtfs.uid=9 virtfs.gid=0 virtfs.mode=33152");
    assert_eq!(kept(&below, ".virtfs_metadata/long"), "virtfs.uid=0 virtfs.gid=0 virtfs.mode=33152");
    assert_eq!(seen(&mut c, &[b"odd"]), (0o100640, 0, 0));
    // the host's mode is left alone
    assert_eq!(below.list(b"").unwrap().into_iter().find(|(n, _)| n == b"plain").unwrap().1.mode, 0o100640);
}

/// Metadata goes where the name goes, and no other file inherits it.
#[test]
fn metadata_follows_names() {
    let (below, mut c) = mapped();
    for (name, mode) in [(&b"a"[..], 0o4711), (b"b", 0o644)] {
        c.walk(ROOT, 1, &[]).unwrap();
        c.create(1, name, 2, mode).unwrap();
        c.clunk(1).unwrap();
    }
    below.put(b"host", b"", 0o640).unwrap();
    let rename = |oldname, newname| Request::Trenameat { olddirfid: ROOT, oldname, newdirfid: ROOT, newname };
    c.expect(rename(b"a", b"c"));
    assert_eq!(seen(&mut c, &[b"c"]), (0o104711, 0, 0));
    c.expect(rename(b"host", b"c"));
    assert_eq!(seen(&mut c, &[b"c"]), (0o100640, 0, 0), "not what was there");
    assert_eq!(names(&below, ".virtfs_metadata"), ["b"]);
    // of a removed file, if the host has removed it
    below.put(b".virtfs_metadata/new", b"virtfs.rdev=5\nvirtfs.mode=8630\n", 0o600).unwrap();
    c.mkdir(ROOT, b"new").unwrap();
    assert_eq!(kept(&below, ".virtfs_metadata/new"), "virtfs.uid=0 virtfs.gid=0 virtfs.mode=16877");
    below.put(b".virtfs_metadata/link", b"virtfs.uid=5\n", 0o600).unwrap();
    c.walk(ROOT, 3, &[b"b"]).unwrap();
    c.expect(Request::Tlink { dfid: ROOT, fid: 3, name: b"link" });
    assert_eq!(seen(&mut c, &[b"link"]), (0o100644, 0, 0));
    // by either name
    c.walk(ROOT, 4, &[b"link"]).unwrap();
    c.set_attr(4, setattr::UID, |c| c.uid = 77).unwrap();
    assert_eq!((seen(&mut c, &[b"b"]), seen(&mut view(&below), &[b"b"])), ((0o100644, 77, 0), (0o100644, 77, 0)));
    // an open file without a name has attributes as long as it is open
    c.expect(Request::Tlopen { fid: 3, flags: 2 });
    for name in [&b"b"[..], b"link"] {
        c.expect(Request::Tunlinkat { dirfd: ROOT, name, flags: 0 });
    }
    c.set_attr(3, setattr::MODE, |c| c.mode = 0o4600).unwrap();
    let stat = c.stat(3).unwrap();
    assert_eq!((stat.mode, stat.uid, stat.nlink), (0o104600, 77, 0));
    assert_eq!(names(&below, ".virtfs_metadata"), ["new"]);
}

/// A name that somebody else has removed, or a crash, leaves metadata that another name shares.
#[test]
fn a_new_file_does_not_share_what_is_left_of_a_name() {
    let (below, mut c) = mapped();
    c.walk(ROOT, 1, &[]).unwrap();
    c.create(1, b"a", 2, 0o640).unwrap();
    c.expect(Request::Tlink { dfid: ROOT, fid: 1, name: b"b" });
    let (before, _) = (seen(&mut c, &[b"a"]), c.clunk(1).unwrap());
    let mut other = Client::attached(below.clone(), 0);
    other.expect(Request::Tunlinkat { dirfd: ROOT, name: b"b", flags: 0 });
    c.expect(Request::Tmknod { dfid: ROOT, name: b"b", mode: 0o20666, major: 1, minor: 3, gid: 7 });
    assert_eq!(seen(&mut c, &[b"b"]), (0o20666, 0, 7));
    assert_eq!(seen(&mut c, &[b"a"]), before);
}

#[test]
fn a_tree_that_is_full_keeps_nothing_of_a_file_that_failed() {
    let below = memory(3 << 10);
    let mut c = view(&below);
    let mut made = 0;
    let failed = loop {
        match c.mkdir(ROOT, format!("directory {made}").as_bytes()) {
            Ok(()) => made += 1,
            Err(error) => break error,
        }
    };
    assert_eq!((failed, made > 0), (Errno::ENOSPC, true));
    assert_eq!(names(&below, "").len(), made + 1);
    assert_eq!(names(&below, ".virtfs_metadata").len(), made);
}

/// Several requests at once on a host that answers each message later: what is kept is what the guest sees.
#[test]
fn requests_do_not_come_between_one_another() {
    let below = memory(1 << 20);
    let host = RefCell::new(Server::new(below.clone()));
    let answered = Rc::new(RefCell::new(Vec::new()));
    let queue = answered.clone();
    let send = move |message: Vec<u8>| {
        host.borrow_mut().submit(RequestId(0), message);
        queue.borrow_mut().push(host.borrow_mut().poll().unwrap().1);
        None
    };
    let tree = HostTree::new(send, Owners::Left);
    let mut random = common::rng(3);
    let mut server = Server::new(MappedTree::new(tree.clone(), HostModes::default()));
    let mut all = |server: &mut Server<_>, requests: &[Request<'_>]| {
        for (n, request) in requests.iter().enumerate() {
            server.submit(RequestId(n as u64), request.encode(n as u16));
        }
        let mut replies = vec![None; requests.len()];
        for _ in 0..100_000 {
            while let Some((id, reply)) = server.poll() {
                replies[id.0 as usize] = Some(reply);
            }
            let waiting = answered.borrow().len();
            if waiting == 0 {
                break;
            }
            // the replies come in any order
            let reply = answered.borrow_mut().swap_remove(random(waiting as u64) as usize);
            tree.complete(reply);
        }
        assert!(!server.is_busy());
        replies.into_iter().map(|reply| reply.expect("a reply")).collect::<Vec<_>>()
    };
    let ok = |reply: &[u8]| !matches!(Reply::decode(reply), Some((_, Reply::Rlerror { .. })) | None);
    all(&mut server, &[Request::Tversion { msize: 65536, version: fs9p::wire::VERSION }]);
    let (afid, uname, aname) = (fs9p::wire::NOFID, &b""[..], &b""[..]);
    all(&mut server, &[Request::Tattach { fid: 0, afid, uname, aname, n_uname: 0 }]);
    let fids = |fid| Request::Twalk { fid: 0, newfid: fid, names: vec![] };
    all(&mut server, &[fids(1), fids(2)]);
    let create = |fid, name| Request::Tlcreate { fid, name, flags: 2, mode: 0o644, gid: 0 };
    let made = all(&mut server, &[create(1, b"a"), create(2, b"b")]);
    assert!(made.iter().all(|reply| ok(reply)), "{made:?}");
    for turn in 0..50 {
        let mut changes = common::NO_CHANGES;
        (changes.valid, changes.mode) = (setattr::MODE, 0o600 | turn & 0o77);
        let chmod = Request::Tsetattr { fid: 1, changes };
        (changes.valid, changes.uid) = (setattr::UID, turn + 1);
        let chown = Request::Tsetattr { fid: 1, changes };
        let (from, to): (&[u8], &[u8]) = if turn % 2 == 0 { (b"a", b"c") } else { (b"c", b"a") };
        let rename = Request::Trenameat { olddirfid: 0, oldname: from, newdirfid: 0, newname: to };
        let walk = Request::Twalk { fid: 0, newfid: 5, names: vec![to] };
        let stat = Request::Tgetattr { fid: 1, request_mask: 0x7ff };
        let replies = all(&mut server, &[chmod, walk, rename, stat, chown]);
        assert!(replies.iter().enumerate().all(|(n, reply)| n == 1 || ok(reply)), "{turn}");
        if ok(&replies[1]) {
            all(&mut server, &[Request::Tclunk { fid: 5 }]);
        }
        let path = format!(".virtfs_metadata/{}", if turn % 2 == 0 { 'c' } else { 'a' });
        let mode = 0o100600 | turn & 0o77;
        let lines = format!("virtfs.uid={} virtfs.gid=0 virtfs.mode={mode}", turn + 1);
        assert_eq!(kept(&below, &path), lines);
        assert_eq!(names(&below, ".virtfs_metadata").len(), 2);
    }
}

/// Directories as deep as a guest can make them are let go without a stack as deep.
#[test]
fn deep_directories() {
    let small = std::thread::Builder::new().stack_size(128 << 10);
    let descent = small.spawn(|| {
        descend(host(Owners::Kept));
        descend(MappedTree::new(host(Owners::Left), HostModes::default()));
    });
    descent.unwrap().join().unwrap();
}

/// A host that is our own server.
fn host(owners: Owners) -> HostTree {
    let host = RefCell::new(Server::new(memory(1 << 30)));
    let send = move |message: Vec<u8>| {
        host.borrow_mut().submit(RequestId(0), message);
        host.borrow_mut().poll().map(|(_, reply)| reply)
    };
    HostTree::new(send, owners)
}

fn descend(tree: impl FileTree) {
    let mut c = Client::attached(tree, 0);
    c.walk(ROOT, 1, &[]).unwrap();
    for _ in 0..20_000 {
        c.mkdir(1, b"d").unwrap();
        c.walk(1, 1, &[b"d"]).unwrap();
    }
    c.clunk(1).unwrap();
    assert_eq!(c.walk(ROOT, 1, &[&b"d"[..]; 16]).map(|qids| qids.len()), Ok(16));
}
