//! Extended attributes: fids that read or collect a value.

use super::fids::{Fid, State};
use super::names::xattr_flags;
use super::session::Session;
use crate::tree::SetXattr;
use crate::{Errno, FileTree, Result};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// The greatest value, and list of names, of Linux's VFS (`XATTR_SIZE_MAX`, `XATTR_LIST_MAX`).
const VALUE_MAX: usize = 65536;
const NAME_MAX: usize = 255;
/// Bytes of values that all fids together may hold.
const TOTAL_MAX: usize = 8 << 20;

/// How many bytes of values the fids hold.
#[derive(Clone, Default)]
pub struct XattrBytes(Rc<Cell<usize>>);

/// Bytes counted until this is dropped.
struct Counted(XattrBytes, usize);

impl XattrBytes {
    fn count(&self, bytes: usize) -> Result<Counted> {
        let total = self.0.get() + bytes;
        if total > TOTAL_MAX {
            return Err(Errno::ENOMEM);
        }
        self.0.set(total);
        Ok(Counted(self.clone(), bytes))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let total = &self.0.0;
        total.set(total.get() - self.1);
    }
}

/// A value as it was at `Txattrwalk`.
pub struct XattrValue {
    bytes: Vec<u8>,
    _counted: Counted,
}

impl XattrValue {
    pub fn read(&self, offset: u64, count: usize, to: &mut Vec<u8>) {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.bytes.get(offset..)).unwrap_or_default();
        to.extend_from_slice(&rest[..rest.len().min(count)]);
    }
}

/// A value that is written piece by piece before `Tclunk` sets it.
pub struct NewXattr {
    pub name: Vec<u8>,
    size: usize,
    how: SetXattr,
    value: RefCell<Vec<u8>>,
    _counted: Counted,
}

impl NewXattr {
    /// ENOSPC beyond the size that was announced.
    pub fn write(&self, offset: u64, data: &[u8]) -> Result<u32> {
        let start = usize::try_from(offset).map_err(|_| Errno::ENOSPC)?;
        let end = start.checked_add(data.len()).filter(|&end| end <= self.size).ok_or(Errno::ENOSPC)?;
        let mut value = self.value.borrow_mut();
        if value.len() < end {
            value.resize(end, 0);
        }
        value[start..end].copy_from_slice(data);
        Ok(data.len() as u32)
    }

    /// The value: EINVAL if not all of it was written.
    pub fn complete(&self) -> Result<Vec<u8>> {
        let value = self.value.borrow();
        if value.len() == self.size { Ok(value.clone()) } else { Err(Errno::EINVAL) }
    }

    /// How it is set; `None`: it is removed. The protocol has no message for that: Linux's removexattr sends an empty value
    /// that replaces.
    pub fn how(&self) -> Option<SetXattr> {
        if self.size == 0 && self.how == SetXattr::Replace { None } else { Some(self.how) }
    }
}

impl<T: FileTree> Session<T> {
    /// `newfid` reads the attribute `name` of the file, or without a name the list of all; returns its size.
    pub async fn xattr_walk(&self, fid: u32, newfid: u32, name: &[u8]) -> Result<u64> {
        let file = self.fids.get(fid)?;
        self.fids.check_free(newfid)?;
        let bytes = match name {
            [] => self.tree.list_xattrs(&file.node).await?,
            _ => self.tree.xattr(&file.node, name).await?,
        };
        let (size, counted) = (bytes.len() as u64, self.fids.xattr_bytes.count(bytes.len())?);
        let attribute = Fid::new(file.node.clone(), file.uid, None);
        *attribute.state.borrow_mut() = State::Xattr(Rc::new(XattrValue { bytes, _counted: counted }));
        self.fids.insert(newfid, attribute)?;
        Ok(size)
    }

    /// The fid collects a value of `size` bytes: E2BIG and ERANGE as with setxattr(2).
    pub fn xattr_create(&self, fid: u32, name: &[u8], size: u64, flags: u32) -> Result<()> {
        let file = self.fids.get(fid)?;
        if !file.is_walked() {
            return Err(Errno::EINVAL);
        }
        if name.is_empty() || name.len() > NAME_MAX || name.contains(&0) {
            return Err(Errno::ERANGE);
        }
        let size = usize::try_from(size).ok().filter(|&size| size <= VALUE_MAX).ok_or(Errno::E2BIG)?;
        let (how, counted) = (xattr_flags(flags)?, self.fids.xattr_bytes.count(size)?);
        let new = NewXattr { name: name.to_vec(), size, how, value: RefCell::default(), _counted: counted };
        *file.state.borrow_mut() = State::NewXattr(Rc::new(new));
        Ok(())
    }
}
