//! What Linux's file systems make of owners and modes, for trees that keep them themselves.

use super::{Owner, mode};
use crate::wire::{SetAttr, setattr};

/// Whom a new file of type `kind` belongs to. A directory with the set-group-ID bit gives its group to what is made in it: inode(7).
/// `dir`: its mode and group.
pub fn inherit(dir: (u32, u32), kind: u32, owner: Owner) -> Owner {
    match dir.0 & mode::SETGID {
        0 => owner,
        _ if kind == mode::DIRECTORY => Owner { gid: dir.1, mode: owner.mode | mode::SETGID, ..owner },
        _ => Owner { gid: dir.1, ..owner },
    }
}

/// chown(2) and chmod(2), as far as `changes` have them, of a file with these: its mode has the type.
pub fn change(file: Owner, changes: &SetAttr) -> Owner {
    let is = |bit| changes.valid & bit != 0;
    let mut new = file;
    if is(setattr::UID | setattr::GID) {
        if file.mode & mode::TYPE != mode::DIRECTORY {
            new.mode = without_privileges(file.mode);
        }
        new.uid = if is(setattr::UID) && changes.uid != !0 { changes.uid } else { file.uid };
        new.gid = if is(setattr::GID) && changes.gid != !0 { changes.gid } else { file.gid };
    }
    if is(setattr::MODE) {
        new.mode = file.mode & mode::TYPE | changes.mode & mode::BITS;
    }
    new
}

/// What a new owner leaves of a mode: chown(2).
fn without_privileges(mode: u32) -> u32 {
    let setgid = if mode & mode::GROUP_EXECUTE != 0 { mode::SETGID } else { 0 };
    mode & !(mode::SETUID | setgid)
}
