//! Fids: the client's numbers for files.

use super::xattrs::{NewXattr, XattrBytes, XattrValue};
use crate::{Errno, FileTree, Result};
use rustc_hash::FxHashMap;
use std::cell::RefCell;
use std::rc::Rc;

/// Fids that a client may have. Linux has one for each cached name and open file.
pub const FIDS_MAX: usize = 1 << 18;

/// A file that the client has a number for.
pub struct Fid<T: FileTree> {
    pub node: T::Node,
    /// As whom the client has attached: the owner of what is made by it.
    pub uid: u32,
    /// The directory and name by which it was found: for `Tremove` and `Trename`. Follows renames by this server.
    pub entry: RefCell<Option<(T::Node, Vec<u8>)>>,
    pub state: RefCell<State<T>>,
}

/// What a fid is used for.
pub enum State<T: FileTree> {
    Walked,
    Open(Rc<T::Handle>),
    /// Reads an extended attribute or their list.
    Xattr(Rc<XattrValue>),
    /// Collects an extended attribute that `Tclunk` sets.
    NewXattr(Rc<NewXattr>),
}

impl<T: FileTree> Clone for State<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Walked => Self::Walked,
            Self::Open(handle) => Self::Open(handle.clone()),
            Self::Xattr(value) => Self::Xattr(value.clone()),
            Self::NewXattr(new) => Self::NewXattr(new.clone()),
        }
    }
}

impl<T: FileTree> Fid<T> {
    pub fn new(node: T::Node, uid: u32, entry: Option<(T::Node, Vec<u8>)>) -> Self {
        Self { node, uid, entry: RefCell::new(entry), state: RefCell::new(State::Walked) }
    }

    pub fn state(&self) -> State<T> {
        self.state.borrow().clone()
    }

    pub fn handle(&self) -> Option<Rc<T::Handle>> {
        match &*self.state.borrow() {
            State::Open(handle) => Some(handle.clone()),
            _ => None,
        }
    }

    pub fn is_walked(&self) -> bool {
        matches!(*self.state.borrow(), State::Walked)
    }
}

/// All fids of a session.
pub struct Fids<T: FileTree> {
    fids: RefCell<FxHashMap<u32, Rc<Fid<T>>>>,
    pub xattr_bytes: XattrBytes,
}

impl<T: FileTree> Default for Fids<T> {
    fn default() -> Self {
        Self { fids: RefCell::default(), xattr_bytes: XattrBytes::default() }
    }
}

impl<T: FileTree> Fids<T> {
    /// EBADF if the client has no such fid.
    pub fn get(&self, fid: u32) -> Result<Rc<Fid<T>>> {
        self.fids.borrow().get(&fid).cloned().ok_or(Errno::EBADF)
    }

    /// Whether `fid` can be given to a file: EINVAL if it is in use or none, ENFILE if there are too many.
    pub fn check_free(&self, fid: u32) -> Result<()> {
        let fids = self.fids.borrow();
        match fids.contains_key(&fid) || fid == crate::wire::NOFID {
            true => Err(Errno::EINVAL),
            false if fids.len() >= FIDS_MAX => Err(Errno::ENFILE),
            false => Ok(()),
        }
    }

    /// Gives `fid` to a file, with [`check_free`](Self::check_free)'s errors.
    pub fn insert(&self, fid: u32, file: Fid<T>) -> Result<()> {
        self.check_free(fid)?;
        self.fids.borrow_mut().insert(fid, Rc::new(file));
        Ok(())
    }

    /// `fid`, which was `old`, becomes another file: EBADF if it is not that any more.
    pub fn replace(&self, fid: u32, old: &Rc<Fid<T>>, file: Fid<T>) -> Result<()> {
        match self.fids.borrow_mut().get_mut(&fid) {
            Some(place) if Rc::ptr_eq(place, old) => {
                *place = Rc::new(file);
                Ok(())
            }
            _ => Err(Errno::EBADF),
        }
    }

    pub fn remove(&self, fid: u32) -> Result<Rc<Fid<T>>> {
        self.fids.borrow_mut().remove(&fid).ok_or(Errno::EBADF)
    }

    /// What was found as `from` is now found as `to`.
    pub fn renamed(&self, from: (&T::Node, &[u8]), to: (&T::Node, &[u8])) {
        for fid in self.fids.borrow().values() {
            let mut entry = fid.entry.borrow_mut();
            if entry.as_ref().is_some_and(|(dir, name)| name == from.1 && dir == from.0) {
                *entry = Some((to.0.clone(), to.1.to_vec()));
            }
        }
    }
}
