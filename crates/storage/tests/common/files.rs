//! Files in a directory of their own.

use std::cell::RefCell;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use storage::{Access, BlockError, Files, Identity, Io, Layer, Source, Store};

/// A directory that is gone in the end.
pub struct Dir(pub PathBuf);

impl Dir {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pagevm-storage-{}-{name}", std::process::id()));
        _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    pub fn write(&self, name: &str, bytes: &[u8]) -> String {
        fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// A file of this machine.
pub struct Native {
    name: String,
    file: File,
}

impl Native {
    pub fn open(path: &str) -> Self {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).unwrap();
        Self { name: path.to_owned(), file }
    }
}

impl Source for Native {
    fn name(&self) -> &str {
        &self.name
    }

    fn size(&self) -> u64 {
        self.file.metadata().unwrap().len()
    }

    fn read_at<'a>(&'a self, offset: u64, buf: &'a mut [u8]) -> Io<'a> {
        Box::pin(async move { self.file.read_exact_at(buf, offset).map_err(|error| io(&self.name, error)) })
    }
}

impl Store for Native {
    fn write_at<'a>(&'a self, offset: u64, data: &'a [u8]) -> Io<'a> {
        Box::pin(async move { self.file.write_all_at(data, offset).map_err(|error| io(&self.name, error)) })
    }

    fn flush(&self) -> Io<'_> {
        Box::pin(async { Ok(()) })
    }
}

fn io(name: &str, error: std::io::Error) -> BlockError {
    BlockError::Io { image: name.to_owned(), reason: error.to_string() }
}

/// Files by their paths, as a host has them.
#[derive(Default)]
pub struct NativeFiles {
    pub opened: RefCell<Vec<String>>,
}

impl Files for NativeFiles {
    fn open<'a>(&'a self, name: &'a str, base: &'a str, access: Access) -> Io<'a, storage::File> {
        Box::pin(async move {
            let path = Path::new(base).parent().unwrap_or_else(|| Path::new("")).join(name);
            let path = path.to_str().unwrap();
            let write = access != Access::Read;
            if access != Access::Create && !Path::new(path).exists() {
                return Err(BlockError::Io { image: name.to_owned(), reason: "there is no such file".to_owned() });
            }
            self.opened.borrow_mut().push(path.to_owned());
            let file = Rc::new(Native::open(path));
            let identity = Identity { size: file.size(), tag: String::new() };
            let layer = if write { Layer::ReadWrite(file) } else { Layer::ReadOnly(file) };
            Ok(storage::File { layer, identity, remote: false, exact: false })
        })
    }

    fn fetch<'a>(&'a self, name: &'a str, base: &'a str, _again: bool) -> Io<'a, Vec<u8>> {
        Box::pin(async move {
            let path = Path::new(base).parent().unwrap_or_else(|| Path::new("")).join(name);
            fs::read(&path).map_err(|error| io(name, error))
        })
    }
}
