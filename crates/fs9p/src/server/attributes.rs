//! What stat(2) and statfs(2) tell, and what changes it.

use super::session::Session;
use crate::wire::{SetAttr, Stat, StatFs, setattr};
use crate::{Errno, FileTree, Result};

impl<T: FileTree> Session<T> {
    /// More than was asked for may be told; what is valid says so.
    pub async fn get_attr(&self, fid: u32, _request_mask: u64) -> Result<Stat> {
        let file = self.fids.get(fid)?;
        self.tree.stat(&file.node, file.handle().as_deref()).await
    }

    /// EINVAL for bits that nobody has defined and for times that are none.
    pub async fn set_attr(&self, fid: u32, changes: &SetAttr) -> Result<()> {
        let file = self.fids.get(fid)?;
        let is = |bit| changes.valid & bit != 0;
        let bad_time = is(setattr::ATIME_SET) && changes.atime.nsec >= 1_000_000_000
            || is(setattr::MTIME_SET) && changes.mtime.nsec >= 1_000_000_000;
        if changes.valid & !setattr::ALL != 0 || bad_time {
            return Err(Errno::EINVAL);
        }
        self.tree.set_attr(&file.node, file.handle().as_deref(), changes).await
    }

    pub async fn stat_fs(&self, fid: u32) -> Result<StatFs> {
        self.fids.get(fid)?;
        self.tree.stat_fs().await
    }
}
