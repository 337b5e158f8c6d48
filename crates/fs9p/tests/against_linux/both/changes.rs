//! Operations that change names and attributes.

use super::*;

impl<T: FileTree> Both<T> {
    /// chmod, chown, truncate, utimensat.
    pub(super) fn change(&mut self, at: OwnedFd, path: &Path, mode: u32, random: Random) -> Step {
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
                assert!((ours - theirs).abs() <= if self.has.nanoseconds { 0 } else { 1000 }, "{ours} {theirs}");
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
    pub(super) fn xattr(&mut self, path: &Path, random: Random) -> (Result<Vec<u8>, Errno>, Result<Vec<u8>, Errno>) {
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
}
