//! A directory's entries.

use super::inode::{Inode, Node};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};

/// The offsets of `.` and `..`; those of entries follow.
pub const DOT: u64 = 1;
pub const DOT_DOT: u64 = 2;

/// Entries by name, and by an offset that each keeps as long as it is there, however others come and go.
pub struct Directory {
    /// Nothing for the root.
    pub parent: RefCell<Weak<Inode>>,
    entries: RefCell<Entries>,
}

#[derive(Default)]
struct Entries {
    by_name: BTreeMap<Rc<[u8]>, (u64, Node)>,
    by_offset: BTreeMap<u64, Rc<[u8]>>,
    last: u64,
}

impl Directory {
    pub fn new(parent: Weak<Inode>) -> Self {
        let entries = Entries { last: DOT_DOT, ..Entries::default() };
        Self { parent: RefCell::new(parent), entries: RefCell::new(entries) }
    }

    pub fn get(&self, name: &[u8]) -> Option<Node> {
        self.entries.borrow().by_name.get(name).map(|(_, node)| node.clone())
    }

    /// Puts `node` there, in the place of what had the name before, which is returned.
    pub fn insert(&self, name: &[u8], node: Node) -> Option<Node> {
        let entries = &mut *self.entries.borrow_mut();
        if let Some((_, old)) = entries.by_name.get_mut(name) {
            return Some(std::mem::replace(old, node));
        }
        entries.last += 1;
        let name: Rc<[u8]> = name.into();
        entries.by_offset.insert(entries.last, name.clone());
        entries.by_name.insert(name, (entries.last, node));
        None
    }

    pub fn remove(&self, name: &[u8]) -> Option<Node> {
        let entries = &mut *self.entries.borrow_mut();
        let (offset, node) = entries.by_name.remove(name)?;
        entries.by_offset.remove(&offset);
        Some(node)
    }

    pub fn is_empty(&self) -> bool {
        self.entries.borrow().by_name.is_empty()
    }

    pub fn len(&self) -> usize {
        self.entries.borrow().by_name.len()
    }

    /// Gives offset, name and file of the entries behind `offset` to `visit`, in the order of offsets, while it says
    /// true.
    pub fn visit(&self, offset: u64, mut visit: impl FnMut(u64, &[u8], &Node) -> bool) {
        let entries = self.entries.borrow();
        for (&offset, name) in entries.by_offset.range(offset.saturating_add(1)..) {
            let Some((_, node)) = entries.by_name.get(name) else { continue };
            if !visit(offset, name, node) {
                break;
            }
        }
    }
}

/// Without recursion: a guest may nest directories deeper than the stack is.
impl Drop for Directory {
    fn drop(&mut self) {
        let mut pending = vec![std::mem::take(&mut *self.entries.borrow_mut())];
        while let Some(entries) = pending.pop() {
            for (_, node) in entries.by_name.into_values() {
                if let Some(inode) = node.into_last() {
                    pending.extend(inode.directory().ok().map(|d| std::mem::take(&mut *d.entries.borrow_mut())));
                }
            }
        }
    }
}
