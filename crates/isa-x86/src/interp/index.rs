//! Which blocks are where: chains by physical address, and chains by the pages that their code is in.
//!
//! Numbers of blocks only: a boot makes a hundred thousand, and each is looked for and entered once for every time that it is decoded.

use mem::PAGE_MASK;

use super::block::BlockId;

/// What a block is found by: the physical address of its first byte, and the mode that it was decoded for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Key(u64);

/// 2^64 by the golden ratio.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

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

/// The first links of `1 << BITS` chains, by address: `1 << SHIFT` bytes have one, and those of a page lie side by side.
struct Heads<const BITS: u32, const SHIFT: u32>(Box<[u32]>);

impl<const BITS: u32, const SHIFT: u32> Heads<BITS, SHIFT> {
    const IN_PAGE: u32 = PAGE_SHIFT - SHIFT;

    fn new() -> Self {
        Heads(vec![END; 1 << BITS].into_boxed_slice())
    }
    /// Fibonacci hashing of the page.
    #[inline(always)]
    fn place(pa: u64) -> usize {
        let page = (pa >> PAGE_SHIFT).wrapping_mul(GOLDEN) >> (64 - (BITS - Self::IN_PAGE));
        (page << Self::IN_PAGE | (pa & PAGE_MASK) >> SHIFT) as usize
    }
    #[inline(always)]
    fn first(&self, pa: u64) -> u32 {
        self.0[Self::place(pa)]
    }
    #[inline(always)]
    fn first_mut(&mut self, pa: u64) -> &mut u32 {
        &mut self.0[Self::place(pa)]
    }
}

struct Entry {
    key: Key,
    /// Number of the physical page of the rest of an instruction that crosses a page, else of the page of the first byte.
    second_page: u32,
    next: BlockId,
    /// The next places in the chains of the first and of the second page: twice the block's number, and 1 for its second page.
    next_in_page: [u32; 2],
}

impl Entry {
    fn page(&self, place: usize) -> u64 {
        if place == 0 { self.key.pa() & !PAGE_MASK } else { u64::from(self.second_page) * mem::PAGE_SIZE }
    }
}

pub(super) struct Index {
    entries: Vec<Entry>,
    by_key: Heads<18, 5>,
    by_page: Heads<14, PAGE_SHIFT>,
}

impl Index {
    pub(super) const ENTRY_BYTES: usize = size_of::<Entry>();

    pub(super) fn new() -> Index {
        Index { entries: Vec::new(), by_key: Heads::new(), by_page: Heads::new() }
    }

    /// Makes room for `blocks` in all, if the host has memory for them.
    pub(super) fn reserve(&mut self, blocks: usize) -> bool {
        self.entries.try_reserve_exact(blocks).is_ok()
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.by_key.0.fill(END);
        self.by_page.0.fill(END);
    }

    #[inline]
    pub(super) fn find(&self, key: Key) -> Option<BlockId> {
        let mut id = self.by_key.first(key.pa());
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
    /// The page that the block's code ends in.
    #[inline]
    pub(super) fn second_page(&self, id: BlockId) -> u64 {
        self.entries[id as usize].page(1)
    }

    /// Gives the next block its number. It is found from now on where `cached`.
    pub(super) fn add(&mut self, key: Key, second_page: u64, cached: bool) -> BlockId {
        let id = self.entries.len() as BlockId;
        let mut e =
            Entry { key, second_page: (second_page / mem::PAGE_SIZE) as u32, next: END, next_in_page: [END; 2] };
        if cached {
            let first = self.by_key.first_mut(key.pa());
            e.next = core::mem::replace(first, id);
            for place in 0..if e.page(0) == second_page { 1 } else { 2 } {
                let first = self.by_page.first_mut(e.page(place));
                e.next_in_page[place] = core::mem::replace(first, 2 * id + place as u32);
            }
        }
        self.entries.push(e);
        id
    }

    /// Finds the block no more.
    pub(super) fn remove(&mut self, id: BlockId) {
        let Entry { key, next, .. } = self.entries[id as usize];
        let first = self.by_key.first_mut(key.pa());
        if *first == id {
            *first = next;
            return;
        }
        let mut at = *first;
        while let Some(e) = self.entries.get_mut(at as usize) {
            if e.next == id {
                e.next = next;
                return;
            }
            at = e.next;
        }
    }

    /// Removes the blocks with code in `page` of which `hit`, told number and address of the first byte, is true. One that crosses into
    /// another page stays in that page's chain, and is offered again when that is asked for.
    pub(super) fn remove_from_page(&mut self, page: u64, mut hit: impl FnMut(BlockId, u64) -> bool) {
        let mut kept = Vec::new();
        let mut at = core::mem::replace(self.by_page.first_mut(page), END);
        while let Some(e) = self.entries.get(at as usize / 2) {
            let (id, place, next) = (at / 2, at as usize % 2, e.next_in_page[at as usize % 2]);
            if e.page(place) == page && hit(id, e.key.pa()) {
                self.remove(id);
            } else {
                kept.push(at);
            }
            at = next;
        }
        for at in kept {
            let first = self.by_page.first_mut(page);
            self.entries[at as usize / 2].next_in_page[at as usize % 2] = core::mem::replace(first, at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_and_removed_by_address_and_by_page() {
        let mut index = Index::new();
        // Every 16 bytes of 200 pages; the last of each page crosses into the next one.
        let key = |page: u64, n: u64| Key::new(page * 4096 + n * 16, 10);
        for page in 0..200 {
            for n in 0..256 {
                let second = if n == 255 { page + 1 } else { page };
                index.add(key(page, n), second * 4096, true);
            }
        }
        let id = |page: u64, n: u64| (page * 256 + n) as BlockId;
        assert_eq!(index.find(key(3, 7)), Some(id(3, 7)));
        assert_eq!(index.find(Key::new(3 * 4096 + 7 * 16, 0)), None, "another mode");
        assert_eq!((index.second_page(id(3, 7)), index.second_page(id(3, 255))), (3 * 4096, 4 * 4096));
        let mut asked = Vec::new();
        index.remove_from_page(4 * 4096, |n, pa| {
            asked.push((n, pa));
            n % 256 == 255 || pa == 4 * 4096 + 32
        });
        asked.sort_unstable();
        assert_eq!(asked.len(), 257);
        assert_eq!((asked[0], asked[1]), ((id(3, 255), 4 * 4096 - 16), (id(4, 0), 4 * 4096)));
        for n in 0..256 {
            let gone = n == 2 || n == 255;
            assert_eq!(index.find(key(4, n)), (!gone).then_some(id(4, n)));
        }
        assert_eq!((index.find(key(3, 255)), index.find(key(3, 254))), (None, Some(id(3, 254))));
        // A block made anew in its place is not the one that the other page still knows.
        let anew = index.add(key(3, 255), 3 * 4096, true);
        index.remove_from_page(3 * 4096, |n, _| n == id(3, 255));
        assert_eq!(index.find(key(3, 255)), Some(anew));
        let unfound = index.add(key(300, 0), 300 * 4096, false);
        assert_eq!((index.find(key(300, 0)), index.second_page(unfound)), (None, 300 * 4096));
        index.clear();
        assert_eq!(index.find(key(0, 0)), None);
    }
}
