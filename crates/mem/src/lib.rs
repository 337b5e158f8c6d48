//! Guest memory: RAM, the software TLB that maps guest linear addresses to it, and the record of which lines hold translated code.
//!
//! This crate knows bytes, pages and tags. It does not know how a guest's page tables look, nor what a device is: whatever is not
//! RAM misses here and is the caller's affair.
//!
//! # Why `unsafe` is here
//! A TLB hit turns a guest address into a host address and reads or writes through it. It is sound because an [`Entry`] can only be
//! made by [`Memory::insert`], which takes a page that lies wholly in RAM, and because RAM is never freed or moved while a
//! [`Memory`] lives.
#![allow(unsafe_code)]
#![deny(unsafe_op_in_unsafe_fn)]

mod ram;
mod tlb;

pub use ram::{GuestRam, OutOfMemory, Prim};
pub use tlb::{Access, ENTRIES, Entry, LINE, PAGE_MASK, PAGE_SIZE};
use tlb::{Tlb, line_mask};

/// In [`Memory::writers`]: more than one.
const SEVERAL: u16 = u16::MAX;
const _: () = assert!(ENTRIES < SEVERAL as usize);

/// RAM with its holes, the TLB over it and the map of code lines.
pub struct Memory {
    pub ram: GuestRam,
    tlb: Tlb,
    /// Physical ranges below the RAM's size that are not RAM (`start..end`, page-aligned).
    holes: Vec<core::ops::Range<u64>>,
    /// Where the last of them ends.
    holes_end: u64,
    /// For each page of RAM, a bit for each 64-byte line that holds bytes of a cached block.
    code: Vec<u64>,
    /// For each page of RAM, the TLB's entry for writes to it, from 1 on; 0: there is none, [`SEVERAL`]: there may be more. An entry that
    /// is named may have gone since.
    writers: Vec<u16>,
    /// Physical addresses and lengths of writes that touched a code line, until the owner of the block cache takes them.
    code_writes: Vec<(u64, u32)>,
}

impl Memory {
    /// Memory over `ram`. `holes` are page-aligned physical ranges that belong to devices.
    pub fn new(ram: GuestRam, holes: &[core::ops::Range<u64>]) -> Memory {
        let pages = (ram.size() / PAGE_SIZE) as usize;
        let holes_end = holes.iter().map(|h| h.end).max().unwrap_or(0);
        Memory {
            ram,
            tlb: Tlb::new(),
            holes: holes.to_vec(),
            holes_end,
            code: vec![0; pages],
            writers: vec![0; pages],
            code_writes: Vec::new(),
        }
    }

    /// Whether the page at physical address `page` is RAM.
    #[inline]
    pub fn is_ram(&self, page: u64) -> bool {
        page < self.ram.size() && (page >= self.holes_end || !self.holes.iter().any(|h| h.contains(&page)))
    }

    /// The tag bits (below the page number) that current accesses must match: address space and privilege. 12 bits.
    #[inline(always)]
    pub fn context(&self) -> u64 {
        self.tlb.context
    }
    pub fn set_context(&mut self, context: u64) {
        debug_assert!(context < PAGE_MASK);
        self.tlb.context = context & PAGE_MASK;
    }

    /// Loads through the TLB; `None` on a miss or where the access crosses a page.
    #[inline(always)]
    pub fn load<T: Prim>(&self, va: u64) -> Option<T> {
        let host = self.tlb.hit::<T>(Access::Read, va)?;
        // SAFETY: a hit proves that va..va+size lies in a page of RAM mapped by an entry that `insert` made.
        Some(unsafe { core::ptr::read_unaligned(host as *const T) })
    }

    /// Loads through the TLB's write table, for an instruction that will store to the same place.
    #[inline(always)]
    pub fn load_rmw<T: Prim>(&self, va: u64) -> Option<T> {
        let host = self.tlb.hit::<T>(Access::Write, va)?;
        // SAFETY: as in `load`; a writable page of RAM is readable by the host.
        Some(unsafe { core::ptr::read_unaligned(host as *const T) })
    }

    /// Stores through the TLB; false on a miss, where the access crosses a page, or where the page holds code.
    #[inline(always)]
    #[must_use]
    pub fn store<T: Prim>(&mut self, va: u64, v: T) -> bool {
        match self.tlb.hit::<T>(Access::Write, va) {
            // SAFETY: as in `load`; the write table holds only pages that `insert` took for writing.
            Some(host) => unsafe {
                core::ptr::write_unaligned(host as *mut T, v);
                true
            },
            None => false,
        }
    }

    /// Physical address that `va` maps to for `access`, where the TLB knows it.
    #[inline(always)]
    pub fn lookup(&self, access: Access, va: u64) -> Option<u64> {
        let host = self.tlb.hit::<u8>(access, va)?;
        Some((host.wrapping_sub(self.ram.base())) as u64)
    }

    /// Enters the mapping of the page of `va` to the page of `pa` for `access` in the current context. Does nothing where the
    /// page is not RAM. Where it holds code and `access` is a write, only [`Memory::guarded`] finds it: such accesses stay on the slow
    /// path.
    pub fn insert(&mut self, access: Access, va: u64, pa: u64) {
        let page = pa & !PAGE_MASK;
        if !self.is_ram(page) {
            return;
        }
        let host = self.ram.base().wrapping_add(page as usize);
        if access == Access::Write && self.code[(page / PAGE_SIZE) as usize] != 0 {
            return self.tlb.insert_guarded(va & !PAGE_MASK, host);
        }
        if access == Access::Write {
            let entry = tlb::index(va) as u16 + 1;
            let writer = &mut self.writers[(page / PAGE_SIZE) as usize];
            *writer = if *writer == 0 || *writer == entry { entry } else { SEVERAL };
        }
        self.tlb.insert(access, va & !PAGE_MASK, host);
    }

    /// Physical address that `va` maps to, where it is known to be writable RAM in a page that holds code.
    #[inline]
    pub fn guarded(&self, va: u64) -> Option<u64> {
        let pa = self.tlb.guarded(va)?.wrapping_sub(self.ram.base()) as u64;
        // Where the code is gone the page is to be entered for writing again.
        (self.code_lines(pa) != 0).then_some(pa)
    }
    /// Host address of physical address `pa`, if that is RAM, devices' holes included.
    pub fn host(&self, pa: u64) -> Option<usize> {
        (pa < self.ram.size()).then(|| self.ram.base().wrapping_add(pa as usize))
    }
    /// Offset in this structure of the TLB's table for `access`: [`ENTRIES`] entries `{ tag: u64, addend: usize }` of 16 bytes.
    pub const fn tlb_offset(access: Access) -> usize {
        core::mem::offset_of!(Memory, tlb.tables) + access as usize * size_of::<[Entry; ENTRIES]>()
    }
    /// Offset in this structure of the context: see [`Memory::context`].
    pub const fn context_offset() -> usize {
        core::mem::offset_of!(Memory, tlb.context)
    }

    /// Says whether what is entered next holds in all contexts of its privilege: see [`Memory::adopt_global`].
    #[inline(always)]
    pub fn next_is_global(&mut self, global: bool) {
        self.tlb.next_is_global = global;
    }
    /// Physical address that `va` maps to for `access`, where a global entry says so that was made in a context which differs from the
    /// current one in the bits `mask` alone. The entry is one of the current context then.
    pub fn adopt_global(&mut self, access: Access, va: u64, mask: u64) -> Option<u64> {
        let host = self.tlb.adopt_global(access, va, mask & PAGE_MASK)?;
        Some(host.wrapping_sub(self.ram.base()) as u64)
    }

    /// Forgets all mappings.
    pub fn flush(&mut self) {
        self.tlb.flush();
    }
    /// Forgets the page of `va` in all contexts.
    pub fn flush_page(&mut self, va: u64) {
        self.tlb.flush_page(va);
    }

    /// Marks `len` bytes at physical `pa` (within one page of RAM) as held by a cached block.
    pub fn mark_code(&mut self, pa: u64, len: u32) {
        let Some(lines) = self.code.get_mut((pa / PAGE_SIZE) as usize) else { return };
        if *lines == 0 {
            let host = self.ram.base().wrapping_add((pa & !PAGE_MASK) as usize);
            match core::mem::take(&mut self.writers[(pa / PAGE_SIZE) as usize]) {
                0 => {}
                SEVERAL => self.tlb.forget_writes(host, None),
                entry => self.tlb.forget_writes(host, Some(usize::from(entry) - 1)),
            }
        }
        *lines |= line_mask(pa, len);
    }
    /// The code lines of the page of physical address `pa`, a bit for each.
    #[inline]
    pub fn code_lines(&self, pa: u64) -> u64 {
        self.code.get((pa / PAGE_SIZE) as usize).copied().unwrap_or(0)
    }
    /// Whether one of `len` bytes at physical `pa` (within one page) lies in a line that holds code.
    #[inline]
    pub fn holds_code(&self, pa: u64, len: u32) -> bool {
        self.code_lines(pa) & line_mask(pa, len) != 0
    }
    /// The lines of the `len` bytes at physical `pa` (within one page) hold no code any more.
    pub fn unmark_code(&mut self, pa: u64, len: u32) {
        if let Some(lines) = self.code.get_mut((pa / PAGE_SIZE) as usize) {
            *lines &= !line_mask(pa, len);
        }
    }
    /// Forgets all code lines.
    pub fn clear_all_code(&mut self) {
        self.code.fill(0);
        self.code_writes.clear();
    }
    /// To be called after `len` bytes of RAM at physical `pa` (within one page) were written other than by [`Memory::store`].
    /// True where they held code.
    #[inline]
    pub fn wrote(&mut self, pa: u64, len: u32) -> bool {
        let hit = self.holds_code(pa, len);
        if hit {
            self.code_writes.push((pa, len));
        }
        hit
    }
    /// Whether code was written since [`Memory::take_code_writes`].
    #[inline(always)]
    pub fn code_written(&self) -> bool {
        !self.code_writes.is_empty()
    }
    /// The physical ranges of code that were written.
    pub fn take_code_writes(&mut self) -> Vec<(u64, u32)> {
        core::mem::take(&mut self.code_writes)
    }

    /// The `len` bytes at physical `pa`, for a device (DMA); `None` where one of them is not RAM.
    pub fn dma(&self, pa: u64, len: usize) -> Option<&[u8]> {
        self.in_ram(pa, len).then(|| self.ram.slice(pa, len)).flatten()
    }

    /// The same, for a device to write: notes code that is overwritten.
    pub fn dma_mut(&mut self, pa: u64, len: usize) -> Option<&mut [u8]> {
        if !self.in_ram(pa, len) {
            return None;
        }
        let (mut at, end) = (pa, pa + len as u64);
        while at < end {
            let n = (PAGE_SIZE - (at & PAGE_MASK)).min(end - at);
            self.wrote(at, n as u32);
            at += n;
        }
        self.ram.slice_mut(pa, len)
    }

    /// Whether all `len` bytes at `pa` are RAM.
    fn in_ram(&self, pa: u64, len: usize) -> bool {
        let Some(end) = pa.checked_add(len as u64).filter(|end| *end <= self.ram.size()) else { return false };
        pa >= self.holes_end || !self.holes.iter().any(|h| pa < h.end && h.start < end)
    }

    /// Writes to RAM as a device does, noting code that is overwritten. False where the range is not within RAM.
    #[must_use]
    pub fn dma_write(&mut self, pa: u64, bytes: &[u8]) -> bool {
        self.dma_mut(pa, bytes.len()).map(|room| room.copy_from_slice(bytes)).is_some()
    }
}

#[cfg(test)]
mod tests;
