//! Where direct boot puts things below 1 MiB, and the memory map that the kernel is told.

use std::ops::Range;

/// BIOS data area.
pub const BDA: u64 = 0x400;
pub const GDT: u64 = 0x500;
/// `hvm_start_info`, its module list and its memory map.
pub const START_INFO: u64 = 0x6000;
/// `boot_params`, one page.
pub const BOOT_PARAMS: u64 = 0x7000;
/// PML4, PDPT and four page directories.
pub const PAGE_TABLES: u64 = 0x9000;
/// Up to 64 KiB.
pub const COMMAND_LINE: u64 = 0x2_0000;
pub const COMMAND_LINE_MAX: usize = 0xffff;
/// Conventional memory ends here; the last KiB below 640 KiB is the extended BIOS data area.
pub const EBDA: u64 = 0x9_fc00;
/// The VGA's memory, which is not there: not RAM. The place of option ROMs behind it is RAM, and empty.
pub const VGA: Range<u64> = 0xa_0000..0xc_0000;
/// What a BIOS would fill: here RAM that holds the ACPI tables.
pub const BIOS: Range<u64> = 0xe_0000..0x10_0000;
pub const HIGH_MEMORY: u64 = 0x10_0000;

/// Types of memory of the E820 map (ACPI 6.5, table 15.2), which PVH's memory map shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum MemoryType {
    Ram = 1,
    Reserved = 2,
}

/// The map for `ram` bytes of RAM.
pub fn memory_map(ram: u64) -> [(Range<u64>, MemoryType); 4] {
    [
        (0..EBDA, MemoryType::Ram),
        (EBDA..VGA.start, MemoryType::Reserved),
        (BIOS, MemoryType::Reserved),
        (HIGH_MEMORY..ram, MemoryType::Ram),
    ]
}

/// What kernels read of the BIOS data area: the serial port's address, the EBDA's segment, the KiB of conventional memory.
pub fn bios_data_area() -> [u8; 0x15] {
    let mut bda = [0; 0x15];
    bda[0x00..0x02].copy_from_slice(&0x3f8u16.to_le_bytes());
    bda[0x0e..0x10].copy_from_slice(&((EBDA >> 4) as u16).to_le_bytes());
    bda[0x13..0x15].copy_from_slice(&((EBDA >> 10) as u16).to_le_bytes());
    bda
}
