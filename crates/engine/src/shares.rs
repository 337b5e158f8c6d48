//! Trees of files: what serves them, and how the host reaches them.

use crate::host;
use fs9p::wire::Timespec;
use fs9p::{Errno, HostMessages, HostModes, HostTree, MappedTree, MemoryTree, Owners};
use machine::P9Backend;
use options::{Config, SecurityModel, Share, ShareSource};

/// Bytes of files that a tree in memory holds at most.
const MEMORY_BYTES: u64 = 1 << 30;

/// A share's tree, as the host reaches it.
pub enum Tree {
    /// The host serves it. With modes, what it does not keep is kept in files beside its own.
    Host(HostTree, Option<HostModes>),
    /// The host puts and gets files.
    Memory(MemoryTree),
}

/// The trees of a machine, by the order of its shares.
#[derive(Default)]
pub struct Shares(Vec<Tree>);

/// Messages to the host for one share.
struct Messages(u32);

impl HostMessages for Messages {
    fn send(&self, message: Vec<u8>) -> Option<Vec<u8>> {
        host::shares::request(self.0, &message)
    }
}

impl Shares {
    /// Trees for all shares of `config`: files can be put before the machine is made.
    pub fn configure(&mut self, config: &Config) {
        self.0 = config.shares.iter().enumerate().map(|(n, share)| tree(n as u32, share)).collect();
    }

    /// Servers for the machine's devices.
    pub fn serve(&self, config: &Config) -> Vec<Box<dyn P9Backend>> {
        let pairs = config.shares.iter().zip(&self.0);
        pairs
            .map(|(share, tree)| match tree {
                Tree::Host(tree, None) => machine::serve(share, tree.clone()),
                Tree::Host(tree, Some(modes)) => machine::serve(share, MappedTree::new(tree.clone(), *modes)),
                Tree::Memory(tree) => machine::serve(share, tree.clone()),
            })
            .collect()
    }

    /// Brings a reply that the host had not at once.
    pub fn complete(&self, share: u32, reply: &[u8]) {
        if let Some(Tree::Host(tree, _)) = self.0.get(share as usize) {
            tree.complete(reply.to_vec());
        }
    }

    /// The tree in memory of this number: ENODEV if there is none.
    fn memory(&self, share: u32) -> Result<&MemoryTree, Errno> {
        match self.0.get(share as usize) {
            Some(Tree::Memory(tree)) => Ok(tree),
            _ => Err(Errno::ENODEV),
        }
    }

    /// Puts the files of an archive into a tree in memory.
    pub fn unpack(&self, share: u32, archive: &[u8]) -> Result<(), String> {
        let tree = self.memory(share).map_err(|_| "it is no share in memory".to_owned())?;
        tree.unpack(archive).map_err(|error| error.to_string())
    }

    /// Puts a file into a tree in memory: [`MemoryTree::put`].
    pub fn put(&self, share: u32, path: &[u8], contents: &[u8], mode: u32) -> Result<(), Errno> {
        self.memory(share)?.put(path, contents, mode)
    }

    /// What is in a directory of a tree in memory, a line for each name, as `host-abi` describes it: [`MemoryTree::list`].
    pub fn list(&self, share: u32, path: &[u8]) -> Result<Vec<u8>, Errno> {
        let mut lines = Vec::new();
        for (name, stat) in self.memory(share)?.list(path)? {
            lines.extend(format!("{:o} {} {} ", stat.mode, stat.size, stat.mtime.sec).into_bytes());
            lines.extend(name);
            lines.push(0);
        }
        Ok(lines)
    }

    /// Gets a file out of a tree in memory: [`MemoryTree::get`].
    pub fn get(&self, share: u32, path: &[u8]) -> Result<Vec<u8>, Errno> {
        self.memory(share)?.get(path)
    }
}

fn tree(number: u32, share: &Share) -> Tree {
    match &share.source {
        ShareSource::Local { security, .. } => {
            let (owners, modes) = match *security {
                SecurityModel::Passthrough => (Owners::Kept, None),
                SecurityModel::None => (Owners::Tried, None),
                SecurityModel::MappedFile { file_mode: file, directory_mode: directory } => {
                    (Owners::Left, Some(HostModes { file, directory }))
                }
            };
            Tree::Host(HostTree::new(Messages(number), owners), modes)
        }
        ShareSource::Memory { .. } => Tree::Memory(MemoryTree::new(MEMORY_BYTES, now)),
    }
}

fn now() -> Timespec {
    let ns = host::time().unix_ns;
    Timespec { sec: ns.div_euclid(1_000_000_000) as u64, nsec: ns.rem_euclid(1_000_000_000) as u64 }
}
