//! Random operations on a memory tree, through the protocol, and on a directory of this machine: the same results, the same
//! errors. `FS9P_STEPS=N FS9P_SEED=S` for more of it.

mod common;

use common::{Client, MSIZE, ROOT, memory, rng};
use fs9p::wire::{Reply, Request, Timespec, setattr};
use fs9p::{Errno, FileTree, HostTree, Owners, RequestId, Server};
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, Timestamps, XattrFlags};
use rustix::io;
use std::cell::RefCell;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const NAMES: &[&[u8]] = &[b"a", b"b", b"c", b"dir", b"long name \xff", b"e"];
/// Fids for files on the way, and for those that stay open.
const AT: u32 = 1;
const TO: u32 = 2;
const SPARE: u32 = 3;
const OPEN: u32 = 100;
const SLOTS: usize = 8;

type Random<'a> = &'a mut dyn FnMut(u64) -> u64;
/// What was done, what came of it here, and in Linux.
type Step = (String, Result<Vec<u8>, Errno>, Result<Vec<u8>, Errno>);

struct Both<T: FileTree> {
    ours: Client<T>,
    dir: PathBuf,
    root: OwnedFd,
    open: [Option<OwnedFd>; SLOTS],
    is_root: bool,
    all: bool,
}

impl<T: FileTree> Drop for Both<T> {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn none<T>(_: T) -> Vec<u8> {
    Vec::new()
}

fn linux<T>(result: io::Result<T>) -> Result<T, Errno> {
    result.map_err(|e| Errno(e.raw_os_error() as u32))
}

fn new_directory(what: &str) -> PathBuf {
    let thread = std::thread::current().id();
    let dir = std::env::temp_dir().join(format!("fs9p-{what}-{}-{thread:?}", std::process::id()));
    std::fs::create_dir(&dir).unwrap();
    dir
}

/// What stat tells and both can know.
type Seen = (u32, u32, u32, u64, u64, u64);

impl<T: FileTree> Both<T> {
    /// `all`: the tree has devices, extended attributes and nanoseconds.
    fn new(tree: T, all: bool) -> Self {
        let dir = new_directory("linux");
        let (uid, gid) = (rustix::process::getuid(), rustix::process::getgid());
        fs::chown(&dir, Some(uid), Some(gid)).unwrap();
        fs::chmod(&dir, Mode::from_raw_mode(0o755)).unwrap();
        rustix::process::umask(Mode::empty());
        let root = fs::open(&dir, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        let mut ours = Client::attached(tree, uid.as_raw());
        ours.set_attr(ROOT, setattr::UID | setattr::GID, |c| (c.uid, c.gid) = (uid.as_raw(), gid.as_raw())).unwrap();
        Self { ours, dir, root, open: Default::default(), is_root: uid.is_root(), all }
    }

    /// A fid and a descriptor of a random file: a path of up to three names, each of which is looked up in what the last one led to.
    fn walk(&mut self, fid: u32, random: Random) -> Option<OwnedFd> {
        let mut at = self.root.try_clone().unwrap();
        self.ours.walk(ROOT, fid, &[]).unwrap();
        for _ in 0..random(4) {
            let name = NAMES[random(NAMES.len() as u64) as usize];
            let theirs = linux(fs::openat(&at, name, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty()));
            let ours = self.ours.walk(fid, fid, &[name]);
            assert_eq!(ours.map(drop), theirs.as_ref().map(drop).map_err(|e| *e), "walk");
            match theirs {
                Ok(next) => at = next,
                Err(_) => {
                    self.ours.clunk(fid).unwrap();
                    return None;
                }
            }
        }
        Some(at)
    }

    fn seen(&mut self, fid: u32, theirs: &OwnedFd) -> (Seen, Seen) {
        let (s, t) = (self.ours.stat(fid).unwrap(), fs::fstat(theirs).unwrap());
        let directory = t.st_mode & 0o170000 == 0o040000;
        let size = |n: u64| if directory { 0 } else { n };
        // some file systems do not count directories: they say 1
        let links = |n: u64| if directory && t.st_nlink == 1 { 1 } else { n };
        let ours = (s.mode, s.uid, s.gid, links(s.nlink), size(s.size), s.rdev);
        (ours, (t.st_mode, t.st_uid, t.st_gid, links(t.st_nlink), size(t.st_size as u64), t.st_rdev))
    }

    /// One operation; its name, and what came of it on both sides.
    fn step(&mut self, random: Random) -> Step {
        let name = NAMES[random(NAMES.len() as u64) as usize];
        let slot = random(SLOTS as u64) as usize;
        let fid = OPEN + slot as u32;
        let mode = random(0o10000) as u32 | if self.is_root { 0 } else { 0o700 };
        // Linux protects others' files in sticky directories that all may write to: the guest's kernel's business
        let mode = if mode & 0o022 == 0 { mode } else { mode & !0o1000 };
        let kind = random(20);
        // on open files
        if kind < 6 {
            let Some(file) = &self.open[slot] else { return self.open(slot, name, mode, random) };
            let (offset, count) = (random(200_000), random(70_000));
            return match kind {
                0 => {
                    let (ours, theirs) = self.seen(fid, &self.open[slot].as_ref().unwrap().try_clone().unwrap());
                    (format!("fstat {slot}"), Ok(format!("{ours:?}").into()), Ok(format!("{theirs:?}").into()))
                }
                1 | 2 => {
                    let data: Vec<u8> = (0..count.min(MSIZE as u64 - 23)).map(|i| (i * 7 + offset) as u8).collect();
                    let theirs = linux(io::pwrite(file, &data, offset)).map(|n| n.to_string().into());
                    let ours = self.ours.write(fid, offset, &data).map(|n| n.to_string().into());
                    (format!("write {slot} {offset} {}", data.len()), ours, theirs)
                }
                3 | 4 => {
                    let mut data = vec![0; count.min(MSIZE as u64 - 11) as usize];
                    let theirs = linux(io::pread(file, &mut data, offset)).map(|n| data[..n].to_vec());
                    (format!("read {slot} {offset} {count}"), self.ours.read(fid, offset, count as u32), theirs)
                }
                _ => {
                    self.open[slot] = None;
                    (format!("close {slot}"), self.ours.clunk(fid).map(none), Ok(Vec::new()))
                }
            };
        }
        if kind == 6 {
            return self.open(slot, name, mode, random);
        }
        let Some(at) = self.walk(AT, random) else { return (String::from("walk"), Ok(Vec::new()), Ok(Vec::new())) };
        let bits = Mode::from_raw_mode(mode);
        let gid = rustix::process::getgid().as_raw();
        let path = PathBuf::from(format!("/proc/self/fd/{}", at.as_raw_fd()));
        let (ours, theirs) = match kind {
            7 | 8 => (
                self.ours.call(Request::Tmkdir { dfid: AT, name, mode, gid }).map(none),
                // mkdir(2) takes these bits only; Linux's 9p client would send the set-group-ID bit itself
                linux(fs::mkdirat(&at, name, bits & Mode::from_raw_mode(0o1777))).map(|()| Vec::new()),
            ),
            9 | 10 => {
                let directory = random(3) == 0;
                let (flag, bit) = if directory { (AtFlags::REMOVEDIR, 0x200) } else { (AtFlags::empty(), 0) };
                (
                    self.ours.call(Request::Tunlinkat { dirfd: AT, name, flags: bit }).map(none),
                    linux(fs::unlinkat(&at, name, flag)).map(|()| Vec::new()),
                )
            }
            11 | 12 => {
                let Some(to) = self.walk(TO, random) else { return self.done(kind) };
                let newname = NAMES[random(NAMES.len() as u64) as usize];
                let request = Request::Trenameat { olddirfid: AT, oldname: name, newdirfid: TO, newname };
                let ours = self.ours.call(request).map(none);
                self.ours.clunk(TO).unwrap();
                (ours, linux(fs::renameat(&at, name, &to, newname)).map(|()| Vec::new()))
            }
            13 => {
                let Some(to) = self.walk(TO, random) else { return self.done(kind) };
                let ours = self.ours.call(Request::Tlink { dfid: AT, fid: TO, name }).map(none);
                self.ours.clunk(TO).unwrap();
                let file = PathBuf::from(format!("/proc/self/fd/{}", to.as_raw_fd()));
                (ours, linux(fs::linkat(fs::CWD, file, &at, name, AtFlags::SYMLINK_FOLLOW)).map(|()| Vec::new()))
            }
            14 => {
                let target = &b"somewhere/else/entirely"[..1 + random(22) as usize];
                let ours = self.ours.call(Request::Tsymlink { fid: AT, name, target, gid }).map(none);
                (ours, linux(fs::symlinkat(target, &at, name)).map(|()| Vec::new()))
            }
            15 => {
                let kinds = if !self.all {
                    1
                } else if self.is_root {
                    3
                } else {
                    2
                };
                let (file, bit, device) = match random(kinds) {
                    1 => (FileType::Fifo, 0o010000, 0),
                    0 => (FileType::RegularFile, 0o100000, 0),
                    _ => (FileType::CharacterDevice, 0o020000, fs::makedev(1, 0x12345)),
                };
                let (major, minor) = (fs::major(device), fs::minor(device));
                let ours =
                    self.ours.call(Request::Tmknod { dfid: AT, name, mode: mode | bit, major, minor, gid }).map(none);
                (ours, linux(fs::mknodat(&at, name, file, bits, device)).map(|()| Vec::new()))
            }
            16 => return self.change(at, &path, mode, random),
            17 if self.all => self.xattr(&path, random),
            18 => {
                let ours = self.ours.call(Request::Treadlink { fid: AT });
                let target = |m: Vec<u8>| match Reply::decode(&m) {
                    Some((_, Reply::Rreadlink { target })) => target.to_vec(),
                    other => panic!("{other:?}"),
                };
                // an empty path: the descriptor itself, for which ENOENT says that it is no link
                let theirs = linux(fs::readlinkat(&at, c"", Vec::new())).map(|t| t.into_bytes());
                let theirs = theirs.map_err(|e| if e == Errno::ENOENT { Errno::EINVAL } else { e });
                (ours.map(target), theirs)
            }
            _ => {
                let (ours, theirs) = self.seen(AT, &at);
                (Ok(format!("{ours:?}").into()), Ok(format!("{theirs:?}").into()))
            }
        };
        self.ours.clunk(AT).unwrap();
        (format!("{kind}: {}", String::from_utf8_lossy(name)), ours, theirs)
    }

    fn done(&mut self, kind: u64) -> Step {
        self.ours.clunk(AT).unwrap();
        (format!("{kind}: no second file"), Ok(Vec::new()), Ok(Vec::new()))
    }

    /// Opens, or makes and opens.
    fn open(&mut self, slot: usize, name: &[u8], mode: u32, random: Random) -> Step {
        let fid = OPEN + slot as u32;
        let nothing = (String::from("no file"), Ok(Vec::new()), Ok(Vec::new()));
        if self.open[slot].take().is_some() {
            self.ours.clunk(fid).unwrap();
        }
        let Some(at) = self.walk(fid, random) else { return nothing };
        let all = [0, 0o1000, 0o2000, 0o200, 0o200000];
        let flags = random(3) as u32 | all[random(5) as usize] | all[random(5) as usize];
        let theirs = OFlags::from_bits_retain(flags) | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let create = random(3) > 0;
        // Linux takes O_DIRECTORY with O_CREAT for an error; neither client nor this test sends it
        let (ours, theirs) = if create {
            let flags = flags & !0o200000;
            let bits = Mode::from_raw_mode(mode);
            let gid = rustix::process::getgid().as_raw();
            let theirs = (theirs - OFlags::DIRECTORY) | OFlags::CREATE;
            (
                self.ours.call(Request::Tlcreate { fid, name, flags: flags | 0o100, mode, gid }),
                linux(fs::openat(&at, name, theirs, bits)),
            )
        } else {
            let stat = fs::fstat(&at).unwrap();
            let file = FileType::from_raw_mode(stat.st_mode);
            if !matches!(file, FileType::RegularFile | FileType::Directory) {
                self.ours.clunk(fid).unwrap();
                return nothing; // the guest's kernel opens the others itself
            }
            let flags = flags & !0o200;
            let path = format!("/proc/self/fd/{}", at.as_raw_fd());
            let theirs = theirs - OFlags::NOFOLLOW - OFlags::EXCL;
            (self.ours.call(Request::Tlopen { fid, flags }), linux(fs::open(path, theirs, Mode::empty())))
        };
        let special = theirs.as_ref().is_ok_and(|file| {
            let kind = FileType::from_raw_mode(fs::fstat(file).unwrap().st_mode);
            !matches!(kind, FileType::RegularFile | FileType::Directory)
        });
        if ours.is_err() {
            self.ours.clunk(fid).unwrap();
        }
        let text = format!("open {slot} {flags:o} create {create} {}", String::from_utf8_lossy(name));
        if special || theirs.as_ref().err() == Some(&Errno::ENXIO) {
            // what the kernel would not ask a server to open, we refuse
            assert_eq!(ours.as_ref().err(), Some(&Errno::ENXIO), "{text}");
            return nothing;
        }
        let outcome = theirs.as_ref().map(|_| Vec::new()).map_err(|e| *e);
        self.open[slot] = theirs.ok();
        (text, ours.map(|_| Vec::new()), outcome)
    }

    /// chmod, chown, truncate, utimensat.
    fn change(&mut self, at: OwnedFd, path: &Path, mode: u32, random: Random) -> Step {
        let file = FileType::from_raw_mode(fs::fstat(&at).unwrap().st_mode);
        let link = file == FileType::Symlink;
        let what = random(4);
        let (text, ours, theirs) = match what {
            0 if !link => (
                format!("chmod {mode:o}"),
                self.ours.set_attr(AT, setattr::MODE, |c| c.mode = mode),
                linux(fs::chmod(path, Mode::from_raw_mode(mode))),
            ),
            1 if self.is_root => {
                let (uid, gid) = (random(3) as u32, random(3) as u32);
                let (u, g) = (fs::Uid::from_raw(uid), fs::Gid::from_raw(gid));
                let theirs = linux(fs::chownat(&at, c"", Some(u), Some(g), AtFlags::EMPTY_PATH));
                let ours = self.ours.set_attr(AT, setattr::UID | setattr::GID, |c| (c.uid, c.gid) = (uid, gid));
                (format!("chown {uid} {gid}"), ours, theirs)
            }
            2 if matches!(file, FileType::RegularFile | FileType::Directory) => {
                let size = random(300_000);
                let theirs = linux(fs::open(path, OFlags::WRONLY, Mode::empty()).and_then(|f| fs::ftruncate(f, size)));
                (format!("truncate {size}"), self.ours.set_attr(AT, setattr::SIZE, |c| c.size = size), theirs)
            }
            3 if !link => {
                let (sec, nsec) = (random(1 << 31), random(1_000_000_000));
                let time = rustix::fs::Timespec { tv_sec: sec as i64, tv_nsec: nsec as i64 };
                let times = Timestamps { last_access: time, last_modification: time };
                let theirs_set = linux(fs::utimensat(fs::CWD, path, &times, AtFlags::empty()));
                let bits = setattr::MTIME | setattr::MTIME_SET | setattr::ATIME | setattr::ATIME_SET;
                let set = self.ours.set_attr(AT, bits, |c| {
                    c.mtime = Timespec { sec, nsec };
                    c.atime = c.mtime;
                });
                let (s, t) = (self.ours.stat(AT).unwrap(), fs::fstat(&at).unwrap());
                let ours = i128::from(s.mtime.sec) * 1_000_000_000 + i128::from(s.mtime.nsec);
                let theirs = i128::from(t.st_mtime) * 1_000_000_000 + t.st_mtime_nsec as i128;
                assert!((ours - theirs).abs() <= if self.all { 0 } else { 1000 }, "{ours} {theirs}");
                ("utimensat".to_owned(), set, theirs_set)
            }
            _ => ("no change".to_owned(), Ok(()), Ok(())),
        };
        let (s, t) = self.seen(AT, &at);
        assert_eq!(s, t, "{text}");
        self.ours.clunk(AT).unwrap();
        (text, ours.map(|()| Vec::new()), theirs.map(|()| Vec::new()))
    }

    /// One of setxattr, getxattr, listxattr, removexattr.
    fn xattr(&mut self, path: &Path, random: Random) -> (Result<Vec<u8>, Errno>, Result<Vec<u8>, Errno>) {
        let file = FileType::from_raw_mode(fs::stat(path).map_or(0, |s| s.st_mode));
        if !matches!(file, FileType::RegularFile | FileType::Directory) {
            return (Ok(Vec::new()), Ok(Vec::new()));
        }
        let name = ["user.a", "user.b", "user.c"][random(3) as usize];
        let value = vec![b'v'; random(200) as usize];
        match random(4) {
            0 => {
                let flags = random(3) as u32;
                if flags == 2 && value.is_empty() {
                    return (Ok(Vec::new()), Ok(Vec::new())); // the protocol's removexattr
                }
                let theirs = linux(fs::setxattr(path, name, &value, XattrFlags::from_bits_retain(flags)));
                (self.set_xattr(name, &value, flags), theirs.map(|()| Vec::new()))
            }
            1 => {
                let mut there = vec![0; 1000];
                let theirs = linux(fs::getxattr(path, name, &mut there)).map(|n| there[..n].to_vec());
                (self.get_xattr(name.as_bytes()), theirs)
            }
            2 => {
                let mut there = vec![0; 1000];
                let theirs = linux(fs::listxattr(path, &mut there)).map(|n| there[..n].to_vec());
                let sorted = |list: Vec<u8>| {
                    let mut names: Vec<_> = list.split(|&b| b == 0).filter(|n| n.starts_with(b"user.")).collect();
                    names.sort();
                    names.concat()
                };
                (self.get_xattr(b"").map(sorted), theirs.map(sorted))
            }
            _ => (self.set_xattr(name, b"", 2), linux(fs::removexattr(path, name)).map(|()| Vec::new())),
        }
    }

    fn set_xattr(&mut self, name: &str, value: &[u8], flags: u32) -> Result<Vec<u8>, Errno> {
        self.ours.walk(AT, SPARE, &[]).unwrap();
        let name = name.as_bytes();
        self.ours.expect(Request::Txattrcreate { fid: SPARE, name, attr_size: value.len() as u64, flags });
        if !value.is_empty() {
            assert_eq!(self.ours.write(SPARE, 0, value), Ok(value.len() as u32));
        }
        self.ours.clunk(SPARE).map(|()| Vec::new())
    }

    fn get_xattr(&mut self, name: &[u8]) -> Result<Vec<u8>, Errno> {
        let message = self.ours.call(Request::Txattrwalk { fid: AT, newfid: SPARE, name })?;
        let Some((_, Reply::Rxattrwalk { size })) = Reply::decode(&message) else { panic!("{message:?}") };
        let value = self.ours.read(SPARE, 0, MSIZE - 11).unwrap();
        assert_eq!(value.len() as u64, size);
        self.ours.clunk(SPARE).unwrap();
        Ok(value)
    }

    /// The whole trees, names, attributes and contents.
    fn compare(&mut self) {
        let root = self.root.try_clone().unwrap();
        self.ours.walk(ROOT, AT, &[]).unwrap();
        self.compare_dir(AT, &root, 0);
        self.ours.clunk(AT).unwrap();
    }

    fn compare_dir(&mut self, fid: u32, dir: &OwnedFd, depth: u32) {
        let (ours, theirs) = self.seen(fid, dir);
        assert_eq!(ours, theirs, "depth {depth}");
        let path = format!("/proc/self/fd/{}", dir.as_raw_fd());
        let list = 1000 + depth;
        self.ours.walk(fid, list, &[]).unwrap();
        if ours.0 & 0o170000 == 0o100000 {
            self.ours.expect(Request::Tlopen { fid: list, flags: 0 });
            let theirs = std::fs::read(&path).unwrap();
            let (mut ours, mut part) = (Vec::new(), vec![0]);
            while !part.is_empty() {
                part = self.ours.read(list, ours.len() as u64, MSIZE).unwrap();
                ours.extend_from_slice(&part);
            }
            assert!(ours == theirs, "contents");
        }
        if ours.0 & 0o170000 == 0o040000 {
            self.ours.expect(Request::Tlopen { fid: list, flags: 0 });
            use std::os::unix::ffi::OsStringExt;
            let names = std::fs::read_dir(&path).unwrap().map(|e| e.unwrap().file_name().into_vec());
            let mut names: Vec<_> = names.collect();
            names.sort();
            assert_eq!(self.ours.names(list), names);
            for name in names {
                let next = fs::openat(dir, &*name, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty()).unwrap();
                self.ours.walk(fid, 2000 + depth, &[&name]).unwrap();
                self.compare_dir(2000 + depth, &next, depth + 1);
                self.ours.clunk(2000 + depth).unwrap();
            }
        }
        self.ours.clunk(list).unwrap();
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}: no number")))
}

/// Random operations on `tree`.
fn compare(tree: impl FileTree, all: bool) {
    let (seed, steps) = (number("FS9P_SEED", 1), number("FS9P_STEPS", 15_000));
    let mut both = Both::new(tree, all);
    let mut random = rng(seed);
    let mut outcomes = std::collections::BTreeMap::<String, u64>::new();
    for step in 0..steps {
        let (text, ours, theirs) = both.step(&mut random);
        let text_of = |r: &Result<Vec<u8>, Errno>| {
            r.as_ref().map(|b| String::from_utf8_lossy(&b[..b.len().min(200)]).into_owned()).map_err(|e| *e)
        };
        assert!(ours == theirs, "seed {seed}, step {step}: {text}: {:?}, Linux {:?}", text_of(&ours), text_of(&theirs));
        let outcome = ours.map_or_else(|e| format!("{e:?}"), |_| "done".into());
        let operation = text.split([' ', ':']).next().unwrap_or_default().to_owned();
        *outcomes.entry(format!("{operation} {outcome}")).or_default() += 1;
        if step % 500 == 499 {
            both.compare();
        }
    }
    both.compare();
    println!("{outcomes:#?}");
    assert!(outcomes.len() > 40 || steps < 10_000, "too little happens: {outcomes:?}");
}

#[test]
fn a_tree_in_memory() {
    compare(memory(1 << 30), true);
}

/// A host that is our own server: what is asked of it and what comes back.
#[test]
fn a_tree_of_the_hosts() {
    let server = RefCell::new(Server::new(memory(1 << 30)));
    let host = move |message: Vec<u8>| {
        let mut server = server.borrow_mut();
        server.submit(RequestId(0), message);
        server.poll().map(|(_, reply)| reply)
    };
    compare(HostTree::new(host, Owners::Kept), true);
}

/// The Node host's directory, in a process of its own. Needs a Node that runs TypeScript: `FS9P_NODE=node`.
#[test]
fn a_directory_in_node() {
    let Ok(node) = std::env::var("FS9P_NODE") else { return };
    let dir = new_directory("node");
    std::fs::set_permissions(&dir, PermissionsExt::from_mode(0o755)).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../web/tools/serve-directory.mjs");
    let mut child =
        Command::new(node).arg(script).arg(&dir).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let pipes = RefCell::new((child.stdin.take().unwrap(), child.stdout.take().unwrap()));
    let host = HostTree::new(
        move |message: Vec<u8>| {
            let (to, from) = &mut *pipes.borrow_mut();
            to.write_all(&message).unwrap();
            let mut reply = vec![0; 4];
            from.read_exact(&mut reply).unwrap();
            reply.resize(u32::from_le_bytes(reply[..].try_into().unwrap()) as usize, 0);
            from.read_exact(&mut reply[4..]).unwrap();
            Some(reply)
        },
        Owners::Kept,
    );
    compare(host, false);
    assert!(child.wait().unwrap().success());
    std::fs::remove_dir_all(dir).unwrap();
}
