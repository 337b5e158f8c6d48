//! The software TLB: three direct-mapped tables (read, write, execute) of 16-byte entries.
//!
//! A tag is the linear page number's bits with the context (address space and privilege) in the 12 bits below. An access of `n` bytes
//! compares the page of its *last* byte while the index comes from its first: one compare also catches page crossing.

use crate::Prim;

pub const PAGE_SIZE: u64 = 4096;
pub const PAGE_MASK: u64 = PAGE_SIZE - 1;
/// Bytes of a line: what of a page holds code is known by lines.
pub const LINE: u64 = PAGE_SIZE / 64;

/// Entries in each of the three tables; a power of two.
pub const ENTRIES: usize = 4096;

/// Kind of access, each with its own table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Access {
    Read = 0,
    Write = 1,
    Execute = 2,
}

/// One mapping.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
pub struct Entry {
    tag: u64,
    /// Host address less linear address, modulo the host's word.
    addend: usize,
}

/// No access has this tag: the context bits of a valid one are never all ones.
const EMPTY: Entry = Entry { tag: u64::MAX, addend: 0 };

/// Entries for writes to pages that hold code; a power of two.
const GUARDED: usize = 64;

pub(crate) struct Tlb {
    pub(crate) tables: [[Entry; ENTRIES]; 3],
    pub(crate) context: u64,
    /// Pages that may be written, but hold code: each write must be looked at, though not translated again.
    guarded: [Entry; GUARDED],
    /// The entries that are for all contexts of a privilege: a bit for each.
    global: [[u64; ENTRIES / 64]; 3],
    /// What the next entry is.
    pub(crate) next_is_global: bool,
}

#[inline(always)]
pub(crate) fn index(va: u64) -> usize {
    (va / PAGE_SIZE) as usize % ENTRIES
}

/// Bits of the lines that `pa..pa+len`, within one page, touches.
#[inline(always)]
pub(crate) fn line_mask(pa: u64, len: u32) -> u64 {
    let first = (pa & PAGE_MASK) / LINE;
    let last = ((pa & PAGE_MASK) + u64::from(len.max(1)) - 1).min(PAGE_MASK) / LINE;
    (u64::MAX << first) & (u64::MAX >> (63 - last))
}

impl Tlb {
    pub(crate) fn new() -> Tlb {
        Tlb {
            tables: [[EMPTY; ENTRIES]; 3],
            context: 0,
            guarded: [EMPTY; GUARDED],
            global: [[0; ENTRIES / 64]; 3],
            next_is_global: false,
        }
    }

    /// Host address of `va`, where an access of `T`'s size there is mapped.
    #[inline(always)]
    pub(crate) fn hit<T: Prim>(&self, access: Access, va: u64) -> Option<usize> {
        let entry = &self.tables[access as usize][index(va)];
        let tag = (va.wrapping_add(u64::from(T::SIZE) - 1) & !PAGE_MASK) | self.context;
        (entry.tag == tag).then(|| entry.addend.wrapping_add(va as usize))
    }

    /// Host address of `va`, where it is in a page that holds code and may be written.
    #[inline]
    pub(crate) fn guarded(&self, va: u64) -> Option<usize> {
        let entry = &self.guarded[index(va) % GUARDED];
        (entry.tag == va & !PAGE_MASK | self.context).then(|| entry.addend.wrapping_add(va as usize))
    }
    pub(crate) fn insert_guarded(&mut self, page: u64, host: usize) {
        self.guarded[index(page) % GUARDED] =
            Entry { tag: page | self.context, addend: host.wrapping_sub(page as usize) };
    }

    pub(crate) fn insert(&mut self, access: Access, page: u64, host: usize) {
        let k = index(page);
        self.tables[access as usize][k] = Entry { tag: page | self.context, addend: host.wrapping_sub(page as usize) };
        let word = &mut self.global[access as usize][k / 64];
        *word = *word & !(1 << (k % 64)) | u64::from(self.next_is_global) << (k % 64);
    }

    pub(crate) fn flush(&mut self) {
        self.tables.as_flattened_mut().fill(EMPTY);
        self.guarded.fill(EMPTY);
        self.global.as_flattened_mut().fill(0);
    }

    /// Host address of `va`, where a global entry has it that was made in a context which differs from this one in the bits `mask`
    /// alone: it is one of this context then.
    pub(crate) fn adopt_global(&mut self, access: Access, va: u64, mask: u64) -> Option<usize> {
        let k = index(va);
        let entry = &mut self.tables[access as usize][k];
        let tag = va & !PAGE_MASK | self.context;
        let is_global = self.global[access as usize][k / 64] >> (k % 64) & 1 != 0;
        if !is_global || entry.tag == EMPTY.tag || (entry.tag ^ tag) & !mask != 0 {
            return None;
        }
        entry.tag = tag;
        Some(entry.addend.wrapping_add(va as usize))
    }

    pub(crate) fn flush_page(&mut self, va: u64) {
        let entry = &mut self.guarded[index(va) % GUARDED];
        if entry.tag & !PAGE_MASK == va & !PAGE_MASK {
            *entry = EMPTY;
        }
        for table in self.tables.iter_mut() {
            let entry = &mut table[index(va)];
            if entry.tag & !PAGE_MASK == va & !PAGE_MASK {
                *entry = EMPTY;
            }
        }
    }

    /// Drops the write mappings of the page of RAM at `host`, which only entry `k` may be; where none is said, any.
    pub(crate) fn forget_writes(&mut self, host: usize, k: Option<usize>) {
        let table = &mut self.tables[Access::Write as usize];
        let entries = match k {
            Some(k) => &mut table[k..=k],
            None => &mut table[..],
        };
        for entry in entries {
            if entry.addend.wrapping_add((entry.tag & !PAGE_MASK) as usize) == host {
                *entry = EMPTY;
            }
        }
    }
}
