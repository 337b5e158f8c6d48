//! Messages at random: whatever they are, each has one reply, that is well-formed and no longer than agreed, and memory stays
//! bounded. 10 s; `FS9P_FUZZ_SECONDS=N FS9P_SEED=S` for more of it.

mod common;

use common::{Client, MSIZE, memory, rng};
use fs9p::wire::{self, Data, NOFID, REQUESTS, Reply, Request, SetAttr, Timespec, VERSION};
use fs9p::{FileTree, HostModes, MappedTree, MemoryTree, RequestId};
use std::time::{Duration, Instant};

const CAPACITY: u64 = 4 << 20;

type Random<'a> = &'a mut dyn FnMut(u64) -> u64;

fn pick<'a>(random: Random, from: &[&'a [u8]]) -> &'a [u8] {
    from[random(from.len() as u64) as usize]
}

fn name<'a>(random: Random) -> &'a [u8] {
    pick(
        random,
        &[
            b"a",
            b"b",
            b"c",
            b"d",
            b".",
            b"..",
            b"",
            b"a/b",
            b"\0",
            &[b'n'; 255],
            &[b'n'; 256],
            b".virtfs_metadata",
            b".virtfs_metadata_root",
        ],
    )
}

/// Few fids, so that they meet.
fn fid(random: Random) -> u32 {
    match random(20) {
        0 => NOFID,
        1 => random(1 << 32) as u32,
        n => n as u32 % 6,
    }
}

/// Mostly small, sometimes at a limit.
fn number(random: Random) -> u64 {
    match random(8) {
        0 => u64::MAX - random(3),
        1 => (1 << 63) - random(3),
        2 => (1 << 32) - random(3),
        3 => random(1 << 33),
        _ => random(200_000),
    }
}

/// A request that means something.
fn request<'a>(random: Random, data: &'a [u8]) -> Request<'a> {
    let n = number(random) as u32;
    let (mode, gid) = (number(random) as u32, n);
    let time = |random: Random| Timespec { sec: number(random), nsec: number(random) };
    match random(30) {
        0 => Request::Tstatfs { fid: fid(random) },
        1 | 2 => Request::Tlopen { fid: fid(random), flags: random(4) as u32 | n & 0o203000 },
        3 | 4 => Request::Tlcreate { fid: fid(random), name: name(random), flags: 2 | n & 0o3200, mode, gid },
        5 => Request::Tsymlink { fid: fid(random), name: name(random), target: name(random), gid },
        6 => Request::Tmknod { dfid: fid(random), name: name(random), mode, major: n, minor: n, gid },
        7 => Request::Trename { fid: fid(random), dfid: fid(random), name: name(random) },
        8 => Request::Treadlink { fid: fid(random) },
        9 => Request::Tgetattr { fid: fid(random), request_mask: number(random) },
        10 => {
            let changes = SetAttr {
                valid: random(1 << 10) as u32,
                mode,
                uid: n,
                gid,
                size: number(random),
                atime: time(random),
                mtime: time(random),
            };
            Request::Tsetattr { fid: fid(random), changes }
        }
        11 => {
            let name = pick(random, &[b"", b"user.a", b"user.b", &[b'x'; 300]]);
            Request::Txattrwalk { fid: fid(random), newfid: fid(random), name }
        }
        12 => {
            let name = pick(random, &[b"", b"user.a", b"user.b", &[b'x'; 300]]);
            let attr_size = if random(2) == 0 { random(20) } else { number(random) };
            Request::Txattrcreate { fid: fid(random), name, attr_size, flags: random(4) as u32 }
        }
        13 | 14 => Request::Treaddir { fid: fid(random), offset: number(random), count: n },
        15 => Request::Tfsync { fid: fid(random), datasync: n },
        16 => {
            let (start, length) = (number(random), number(random));
            let (kind, client_id) = (random(4) as u8, name(random));
            Request::Tlock { fid: fid(random), kind, flags: n, start, length, proc_id: random(3) as u32, client_id }
        }
        17 => {
            let (start, length) = (number(random), number(random));
            let (kind, client_id) = (random(4) as u8, name(random));
            Request::Tgetlock { fid: fid(random), kind, start, length, proc_id: random(3) as u32, client_id }
        }
        18 => Request::Tlink { dfid: fid(random), fid: fid(random), name: name(random) },
        19 => Request::Tmkdir { dfid: fid(random), name: name(random), mode, gid },
        20 => {
            let (olddirfid, oldname) = (fid(random), name(random));
            Request::Trenameat { olddirfid, oldname, newdirfid: fid(random), newname: name(random) }
        }
        21 => Request::Tunlinkat { dirfd: fid(random), name: name(random), flags: [0, 0x200, n][random(3) as usize] },
        22 => Request::Tattach {
            fid: fid(random),
            afid: NOFID,
            uname: b"",
            aname: pick(random, &[b"", b"a"]),
            n_uname: n,
        },
        23 => Request::Tflush { oldtag: random(70_000) as u16 },
        24 | 25 => {
            let names = (0..random(4)).map(|_| name(random)).collect();
            Request::Twalk { fid: fid(random), newfid: fid(random), names }
        }
        26 => Request::Tread { fid: fid(random), offset: number(random), count: n },
        27 => {
            let data = &data[..random(data.len() as u64) as usize];
            Request::Twrite { fid: fid(random), offset: number(random), data: Data(data) }
        }
        28 => Request::Tclunk { fid: fid(random) },
        _ if random(20) == 0 => Request::Tremove { fid: fid(random) },
        _ if random(50) == 0 => Request::Tversion { msize: n, version: pick(random, &[VERSION, b"9P2000", b""]) },
        _ => Request::Tauth { afid: fid(random), uname: b"", aname: b"", n_uname: n },
    }
}

/// The message as it is, with bytes changed, cut off, or nothing but noise.
fn message(random: Random, data: &[u8]) -> Vec<u8> {
    let mut bytes = request(random, data).encode(random(65536) as u16);
    match random(8) {
        0 => {
            for _ in 0..1 + random(3) {
                let at = random(bytes.len().min(80) as u64) as usize;
                bytes[at] = random(256) as u8;
            }
        }
        1 => {
            bytes.truncate(random(bytes.len() as u64 + 1) as usize);
            if random(2) == 0 {
                wire::finish(&mut bytes);
            }
        }
        2 if random(4) == 0 => {
            bytes = (0..random(64)).map(|_| random(256) as u8).collect();
            if bytes.len() > 4 {
                bytes[4] = REQUESTS[random(REQUESTS.len() as u64) as usize];
                wire::finish(&mut bytes);
            }
        }
        _ => {}
    }
    bytes
}

#[test]
fn messages_at_random() {
    let variable = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect(name));
    let seconds = variable("FS9P_FUZZ_SECONDS").unwrap_or(10);
    let seed = variable("FS9P_SEED").unwrap_or(1);
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut random = rng(seed);
    let (mut plain, mut mapped) = (Replies::new(), Replies::new());
    while Instant::now() < end {
        let tree = memory(CAPACITY);
        round(&mut random, seed, &tree, || tree.clone(), &mut plain);
        let tree = memory(CAPACITY);
        round(&mut random, seed, &tree, || MappedTree::new(tree.clone(), HostModes::default()), &mut mapped);
    }
    for replies in [plain, mapped] {
        println!("{replies:?}");
        let all = REQUESTS.iter().filter(|&&kind| kind != 102).all(|kind| replies.contains_key(&(kind + 1)));
        assert!(all || seconds < 5, "some requests never succeeded: {replies:?}");
    }
}

/// Replies by type.
type Replies = std::collections::BTreeMap<u8, u64>;

/// Messages to clients of a tree in `memory`, one client after the other.
fn round<T: FileTree>(random: Random, seed: u64, memory: &MemoryTree, tree: impl Fn() -> T, replies: &mut Replies) {
    let start = || Client::attached(tree(), 0);
    let data = vec![0x5a; MSIZE as usize];
    let mut client = start();
    for step in 0..20_000 {
        if step % 200 == 199 {
            client = start(); // the fuzzer closes what it needs
        }
        let bytes = message(random, &data);
        let sent = (bytes.get(4).copied(), bytes.get(5..7).map(<[u8]>::to_vec));
        let id = RequestId(1_000_000 + step);
        client.server.submit(id, bytes.clone());
        let (replied, reply) = client.server.poll().unwrap_or_else(|| panic!("seed {seed}: no reply: {bytes:?}"));
        assert_eq!((replied, client.server.poll()), (id, None), "seed {seed}: {bytes:?}");
        assert!(reply.len() <= MSIZE as usize * 17, "seed {seed}: {} bytes for {bytes:?}", reply.len());
        let (tag, decoded) = Reply::decode(&reply).unwrap_or_else(|| panic!("seed {seed}: {bytes:?}: {reply:?}"));
        if let (Some(kind), Some(sent_tag)) = sent
            && !matches!(decoded, Reply::Rlerror { .. })
        {
            assert_eq!((reply[4], tag.to_le_bytes().to_vec()), (kind + 1, sent_tag), "seed {seed}: {bytes:?}");
        }
        *replies.entry(reply[4]).or_default() += 1;
        assert!(memory.used() <= CAPACITY, "seed {seed}");
    }
}
