//! The guest's RAM: one zeroed range of host memory, addressed by offset.

/// The host could not give that much memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfMemory {
    /// Bytes asked for.
    pub bytes: u64,
}

impl core::fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "the host has no {} MiB of memory for the guest's RAM; give a smaller -m", self.bytes >> 20)
    }
}

impl core::error::Error for OutOfMemory {}

/// A plain integer that any bit pattern is a value of.
pub trait Prim: Copy + private::Sealed {
    const SIZE: u32;
}
mod private {
    pub trait Sealed {}
}
macro_rules! prims { ($($t:ty)*) => { $(
    impl private::Sealed for $t {}
    impl Prim for $t { const SIZE: u32 = size_of::<$t>() as u32; }
)* } }
prims!(u8 u16 u32 u64 u128);

/// RAM from physical address 0 to its size.
pub struct GuestRam {
    base: *mut u8,
    size: u64,
}

// SAFETY: the range is owned by this value alone; the raw pointer is not shared.
unsafe impl Send for GuestRam {}

impl GuestRam {
    /// `bytes` of zeroed RAM, a multiple of 4096, at most 4 GiB less the engine's own memory on a 32-bit host.
    ///
    /// # Errors
    /// [`OutOfMemory`] where the host refuses.
    pub fn new(bytes: u64) -> Result<GuestRam, OutOfMemory> {
        let err = OutOfMemory { bytes };
        let size = usize::try_from(bytes).map_err(|_| err)?;
        if size == 0 || size % 4096 != 0 {
            return Err(err);
        }
        Ok(GuestRam { base: allocate(size).ok_or(err)?, size: bytes })
    }

    /// Bytes of RAM.
    #[inline(always)]
    pub fn size(&self) -> u64 {
        self.size
    }
    #[inline(always)]
    pub(crate) fn base(&self) -> usize {
        self.base as usize
    }

    #[inline(always)]
    fn at(&self, addr: u64, len: usize) -> Option<*mut u8> {
        let end = addr.checked_add(len as u64)?;
        // `wrapping_add`: 3 GiB on a 32-bit host is beyond isize::MAX, which `add` must not pass.
        (end <= self.size).then(|| self.base.wrapping_add(addr as usize))
    }

    /// The value at physical address `addr`, little-endian; `None` outside RAM.
    #[inline(always)]
    pub fn read<T: Prim>(&self, addr: u64) -> Option<T> {
        // SAFETY: `at` proved the range to lie in the allocation; every bit pattern is a `Prim`.
        self.at(addr, size_of::<T>()).map(|p| unsafe { core::ptr::read_unaligned(p.cast::<T>()) })
    }

    /// Writes `v` at physical address `addr`; false outside RAM.
    #[inline(always)]
    #[must_use]
    pub fn write<T: Prim>(&mut self, addr: u64, v: T) -> bool {
        match self.at(addr, size_of::<T>()) {
            // SAFETY: as in `read`, and `&mut self` makes the write exclusive.
            Some(p) => unsafe {
                core::ptr::write_unaligned(p.cast::<T>(), v);
                true
            },
            None => false,
        }
    }

    /// The bytes of `addr..addr+len`; `None` where that is not within RAM.
    pub fn slice(&self, addr: u64, len: usize) -> Option<&[u8]> {
        if len > isize::MAX as usize {
            return None;
        }
        // SAFETY: the range lies in the allocation, is initialised, and is borrowed from `self`.
        self.at(addr, len).map(|p| unsafe { core::slice::from_raw_parts(p, len) })
    }
    /// The bytes of `addr..addr+len`, to be written; `None` where that is not within RAM.
    pub fn slice_mut(&mut self, addr: u64, len: usize) -> Option<&mut [u8]> {
        if len > isize::MAX as usize {
            return None;
        }
        // SAFETY: as in `slice`, borrowed mutably.
        self.at(addr, len).map(|p| unsafe { core::slice::from_raw_parts_mut(p, len) })
    }

    /// Copies out of RAM; false, and `out` untouched, where the range is not within RAM.
    #[must_use]
    pub fn read_bytes(&self, addr: u64, out: &mut [u8]) -> bool {
        self.slice(addr, out.len()).map(|s| out.copy_from_slice(s)).is_some()
    }
    /// Copies into RAM; false, and RAM untouched, where the range is not within RAM.
    #[must_use]
    pub fn write_bytes(&mut self, addr: u64, bytes: &[u8]) -> bool {
        self.slice_mut(addr, bytes.len()).map(|s| s.copy_from_slice(bytes)).is_some()
    }
    /// Writes the low `len` bytes (up to 16) of `v`; false, and RAM untouched, where they are not within RAM.
    #[must_use]
    #[inline]
    pub fn write_low(&mut self, addr: u64, len: usize, v: u128) -> bool {
        match len {
            1 => self.write(addr, v as u8),
            2 => self.write(addr, v as u16),
            4 => self.write(addr, v as u32),
            8 => self.write(addr, v as u64),
            _ => self.write_bytes(addr, &v.to_le_bytes()[..len.min(16)]),
        }
    }
    /// Copies `len` bytes within RAM, as memmove does; false where a range is not within RAM.
    #[must_use]
    pub fn copy(&mut self, dst: u64, src: u64, len: usize) -> bool {
        match (self.at(dst, len), self.at(src, len)) {
            // SAFETY: both ranges lie in the allocation; `ptr::copy` allows them to overlap.
            (Some(d), Some(s)) => unsafe {
                core::ptr::copy(s, d, len);
                true
            },
            _ => false,
        }
    }
    /// Makes all RAM zero, as after power-on.
    pub fn clear(&mut self) {
        const CHUNK: usize = 1 << 30;
        let mut at = 0;
        while at < self.size {
            let n = (self.size - at).min(CHUNK as u64) as usize;
            if let Some(s) = self.slice_mut(at, n) {
                s.fill(0);
            }
            at += n as u64;
        }
    }
}

#[cfg(not(target_arch = "wasm32"))]
fn layout(size: usize) -> Option<std::alloc::Layout> {
    std::alloc::Layout::from_size_align(size, 4096).ok()
}

#[cfg(not(target_arch = "wasm32"))]
fn allocate(size: usize) -> Option<*mut u8> {
    // SAFETY: the size is not 0 (checked by the caller).
    let p = unsafe { std::alloc::alloc_zeroed(layout(size)?) };
    (!p.is_null()).then_some(p)
}

#[cfg(not(target_arch = "wasm32"))]
impl Drop for GuestRam {
    fn drop(&mut self) {
        if let Some(l) = layout(self.size as usize) {
            // SAFETY: allocated in `allocate` with the same layout.
            unsafe { std::alloc::dealloc(self.base, l) }
        }
    }
}

/// Grows the Wasm memory itself: the allocator cannot give more than 2 GiB in one piece. Wasm memory cannot be given back, so
/// there is nothing to drop.
#[cfg(target_arch = "wasm32")]
fn allocate(size: usize) -> Option<*mut u8> {
    let page = core::arch::wasm32::memory_grow(0, size.div_ceil(65536));
    (page != usize::MAX).then(|| (page * 65536) as *mut u8)
}
