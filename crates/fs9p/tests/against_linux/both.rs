//! A tree and a directory of Linux's, operated on alike.

mod changes;
mod contents;

use crate::common::{Client, MSIZE, ROOT};
use fs9p::wire::{Reply, Request, Timespec, setattr};
use fs9p::{Errno, FileTree};
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, Timestamps, XattrFlags};
use rustix::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

const NAMES: &[&[u8]] = &[b"a", b"b", b"c", b"dir", b"long name \xff", b"e"];
/// Fids for files on the way, and for those that stay open.
const AT: u32 = 1;
const TO: u32 = 2;
const SPARE: u32 = 3;
const OPEN: u32 = 100;
const SLOTS: usize = 8;

pub type Random<'a> = &'a mut dyn FnMut(u64) -> u64;
/// What was done, what came of it here, and in Linux.
pub type Step = (String, Result<Vec<u8>, Errno>, Result<Vec<u8>, Errno>);

/// What a tree has of what Linux has.
#[derive(Clone, Copy)]
pub struct Has {
    pub devices: bool,
    pub xattrs: bool,
    pub nanoseconds: bool,
}

/// A tree of ours and a directory of Linux's.
pub struct Both<T: FileTree> {
    ours: Client<T>,
    dir: PathBuf,
    root: OwnedFd,
    open: [Option<OwnedFd>; SLOTS],
    is_root: bool,
    has: Has,
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

/// A directory that is new.
pub fn new_directory(what: &str) -> PathBuf {
    let thread = std::thread::current().id();
    let dir = std::env::temp_dir().join(format!("fs9p-{what}-{}-{thread:?}", std::process::id()));
    std::fs::create_dir(&dir).unwrap();
    dir
}

/// What stat tells and both can know.
type Seen = (u32, u32, u32, u64, u64, u64);

impl<T: FileTree> Both<T> {
    pub fn new(tree: T, has: Has) -> Self {
        let dir = new_directory("linux");
        let (uid, gid) = (rustix::process::getuid(), rustix::process::getgid());
        fs::chown(&dir, Some(uid), Some(gid)).unwrap();
        fs::chmod(&dir, Mode::from_raw_mode(0o755)).unwrap();
        rustix::process::umask(Mode::empty());
        let root = fs::open(&dir, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        let mut ours = Client::attached(tree, uid.as_raw());
        ours.set_attr(ROOT, setattr::UID | setattr::GID, |c| (c.uid, c.gid) = (uid.as_raw(), gid.as_raw())).unwrap();
        Self { ours, dir, root, open: Default::default(), is_root: uid.is_root(), has }
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
    pub fn step(&mut self, random: Random) -> Step {
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
                let kinds = if !self.has.devices {
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
            17 if self.has.xattrs => self.xattr(&path, random),
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
}
