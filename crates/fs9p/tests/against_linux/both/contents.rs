//! Both trees compared as a whole.

use super::*;

impl<T: FileTree> Both<T> {
    /// The whole trees, names, attributes and contents.
    pub fn compare(&mut self) {
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
