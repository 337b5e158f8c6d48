//! Which blocks are where: chains by physical address, those of a page side by side.
//!
//! Numbers of blocks only: a boot makes a hundred thousand, and each is looked for and entered once for every time that it is decoded.

use std::collections::BTreeMap;

use mem::PAGE_MASK;

use super::block::BlockId;

/// What a block is found by: the physical address of its first byte, and the mode that it was decoded for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Key(u64);

/// 2^64 by the golden ratio.
pub(super) const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Bits of [`Key`] that are the mode.
const MODE_BITS: u32 = 4;

impl Key {
    pub(super) fn new(pa: u64, mode: u32) -> Key {
        debug_assert!(mode >> MODE_BITS == 0 && pa << MODE_BITS >> MODE_BITS == pa);
        Key(pa << MODE_BITS | u64::from(mode))
    }
    pub(super) fn pa(self) -> u64 {
        self.0 >> MODE_BITS
    }
    /// Fibonacci hashing.
    pub(super) fn hash(self) -> usize {
        (self.0.wrapping_mul(GOLDEN) >> 32) as usize
    }
    pub(super) fn mode(self) -> u32 {
        self.0 as u32 & ((1 << MODE_BITS) - 1)
    }
}

const PAGE_SHIFT: u32 = mem::PAGE_SIZE.trailing_zeros();
/// End of a chain.
const END: u32 = u32::MAX;

/// log2 of the chains, and of the bytes whose blocks are in one.
const CHAINS: u32 = 18;
const CHAIN_SHIFT: u32 = 5;
const CHAINS_IN_PAGE: u32 = PAGE_SHIFT - CHAIN_SHIFT;

/// The chain of the blocks that begin near `pa`: those of a page lie side by side, which is found by Fibonacci hashing.
#[inline(always)]
fn chain(pa: u64) -> usize {
    let page = (pa >> PAGE_SHIFT).wrapping_mul(GOLDEN) >> (64 - (CHAINS - CHAINS_IN_PAGE));
    (page << CHAINS_IN_PAGE | (pa & PAGE_MASK) >> CHAIN_SHIFT) as usize
}

struct Entry {
    key: Key,
    /// Number of the physical page of the rest of an instruction that crosses a page.
    second_page: u32,
    next: BlockId,
}

pub(super) struct Index {
    entries: Vec<Entry>,
    /// The first of each chain.
    heads: Box<[BlockId]>,
    /// Blocks that end in another page than they begin in, by that page. Those that are found no more are still here until it is asked for.
    crossing: BTreeMap<u64, Vec<BlockId>>,
}

impl Index {
    pub(super) const ENTRY_BYTES: usize = size_of::<Entry>();

    pub(super) fn new() -> Index {
        Index { entries: Vec::new(), heads: vec![END; 1 << CHAINS].into(), crossing: BTreeMap::new() }
    }

    /// Makes room for `blocks` in all, if the host has memory for them.
    pub(super) fn reserve(&mut self, blocks: usize) -> bool {
        self.entries.try_reserve_exact(blocks).is_ok()
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.heads.fill(END);
        self.crossing.clear();
    }

    #[inline]
    pub(super) fn find(&self, key: Key) -> Option<BlockId> {
        let mut id = self.heads[chain(key.pa())];
        while let Some(e) = self.entries.get(id as usize) {
            if e.key == key {
                return Some(id);
            }
            id = e.next;
        }
        None
    }

    pub(super) fn key(&self, id: BlockId) -> Key {
        self.entries[id as usize].key
    }
    /// The page that the block's code ends in, if it crosses into another.
    #[inline]
    pub(super) fn second_page(&self, id: BlockId) -> u64 {
        u64::from(self.entries[id as usize].second_page) * mem::PAGE_SIZE
    }

    /// Gives the next block its number. It is found from now on where `cached`. `second_page`: that of the rest of an instruction that
    /// crosses a page.
    pub(super) fn add(&mut self, key: Key, second_page: Option<u64>, cached: bool) -> BlockId {
        let id = self.entries.len() as BlockId;
        let mut e = Entry { key, second_page: second_page.map_or(0, |page| (page / mem::PAGE_SIZE) as u32), next: END };
        if cached {
            e.next = core::mem::replace(&mut self.heads[chain(key.pa())], id);
            if let Some(page) = second_page {
                self.crossing.entry(page).or_default().push(id);
            }
        }
        self.entries.push(e);
        id
    }

    /// Finds the block no more.
    pub(super) fn remove(&mut self, id: BlockId) {
        let pa = self.entries[id as usize].key.pa();
        self.remove_some(pa, pa + 1, |other, _| other == id);
    }

    /// Finds those blocks no more that begin in the page of `from`, from there up to `end` or somewhat around, and of which `gone`, told
    /// number and address of the first byte, is true.
    pub(super) fn remove_some(&mut self, from: u64, end: u64, mut gone: impl FnMut(BlockId, u64) -> bool) {
        let page = from & !PAGE_MASK;
        for head in chain(from)..=chain(end - 1) {
            let (mut before, mut id) = (END, self.heads[head]);
            while let Some(&Entry { key, next, .. }) = self.entries.get(id as usize) {
                let pa = key.pa();
                if pa & !PAGE_MASK != page || !gone(id, pa) {
                    before = id;
                } else if let Some(before) = self.entries.get_mut(before as usize) {
                    before.next = next;
                } else {
                    self.heads[head] = next;
                }
                id = next;
            }
        }
    }

    /// Tells `of` each block that begins in the page of `from`, from there up to `end` or somewhat around, and the address of its first byte.
    pub(super) fn each(&self, from: u64, end: u64, mut of: impl FnMut(BlockId, u64)) {
        for head in chain(from)..=chain(end - 1) {
            let mut id = self.heads[head];
            while let Some(e) = self.entries.get(id as usize) {
                if (e.key.pa() ^ from) & !PAGE_MASK == 0 {
                    of(id, e.key.pa());
                }
                id = e.next;
            }
        }
    }

    /// Blocks that end in `page` and begin in another, with the addresses of their first bytes.
    pub(super) fn crossing(&mut self, page: u64) -> Vec<(BlockId, u64)> {
        let Some(mut blocks) = self.crossing.remove(&page) else { return Vec::new() };
        blocks.retain(|&id| self.find(self.key(id)) == Some(id));
        let found = blocks.iter().map(|&id| (id, self.key(id).pa())).collect();
        if !blocks.is_empty() {
            self.crossing.insert(page, blocks);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_and_removed_by_address() {
        let mut index = Index::new();
        // Every 16 bytes of 200 pages; the last of each page crosses into the next one.
        let key = |page: u64, n: u64| Key::new(page * 4096 + n * 16, 10);
        for page in 0..200 {
            for n in 0..256 {
                index.add(key(page, n), (n == 255).then_some((page + 1) * 4096), true);
            }
        }
        let id = |page: u64, n: u64| (page * 256 + n) as BlockId;
        assert_eq!(index.find(key(3, 7)), Some(id(3, 7)));
        assert_eq!(index.find(Key::new(3 * 4096 + 7 * 16, 0)), None, "another mode");
        assert_eq!(index.second_page(id(3, 255)), 4 * 4096);
        assert_eq!(index.crossing(4 * 4096), [(id(3, 255), 4 * 4096 - 16)]);

        let mut asked = Vec::new();
        index.remove_some(4 * 4096 + 40, 4 * 4096 + 65, |n, pa| {
            asked.push((n, pa));
            pa == 4 * 4096 + 48
        });
        asked.sort_unstable();
        let around: Vec<_> = (2..6).map(|n| (id(4, n), 4 * 4096 + n * 16)).collect();
        assert_eq!(asked, around);
        for n in 0..256 {
            assert_eq!(index.find(key(4, n)), (n != 3).then_some(id(4, n)));
        }
        let mut there = Vec::new();
        index.each(4 * 4096 + 40, 4 * 4096 + 65, |n, pa| there.push((n, pa)));
        there.sort_unstable();
        assert_eq!(there, [around[0], around[2], around[3]]);
        index.remove(id(3, 255));
        assert_eq!((index.find(key(3, 255)), index.find(key(3, 254))), (None, Some(id(3, 254))));
        // A block made anew in its place is not the one that the other page still knows.
        let anew = index.add(key(3, 255), None, true);
        assert_eq!(index.crossing(4 * 4096), []);
        index.remove(id(3, 255));
        assert_eq!(index.find(key(3, 255)), Some(anew));
        index.add(key(300, 0), Some(4096), false);
        assert_eq!((index.find(key(300, 0)), index.crossing(4096).len()), (None, 1));
        index.clear();
        assert_eq!((index.find(key(0, 0)), index.crossing(4096).len()), (None, 0));
    }
}
