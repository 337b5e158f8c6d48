//! Intel 82093AA data sheet (290566-001, May 1996), section 3; the EOI register as in the 82801 (ICH) data sheets.

use bitfield_struct::bitfield;
use serde::{Deserialize, Serialize};

/// Where a PC has it (3.0).
pub const BASE: u64 = 0xfec0_0000;
/// Bytes of address space that it occupies.
pub const SIZE: u64 = 0x1000;
/// Interrupt inputs.
pub const PINS: usize = 24;

/// Memory-mapped registers (3.1, table 2).
pub mod mmio {
    pub const IOREGSEL: u64 = 0x00;
    pub const IOWIN: u64 = 0x10;
    pub const EOI: u64 = 0x40;
}

/// Registers behind IOWIN (3.2, table 2).
pub mod reg {
    pub const ID: u8 = 0;
    pub const VERSION: u8 = 1;
    pub const ARBITRATION: u8 = 2;
    pub const TABLE: u8 = 0x10;
    pub const TABLE_END: u8 = TABLE + 2 * super::PINS as u8;
}

/// IOAPICVER (3.2.2): 24 entries, version 0x20: has the EOI register.
pub const VERSION: u32 = (PINS as u32 - 1) << 16 | 0x20;

/// Delivery modes (3.2.4, bits 10:8) that make a level-triggered interrupt wait for an EOI.
pub const FIXED: u8 = 0;
pub const LOWEST_PRIORITY: u8 = 1;

/// Redirection table entry (3.2.4).
#[bitfield(u64)]
#[derive(PartialEq, Eq, Serialize, Deserialize)]
pub struct Redirection {
    pub vector: u8,
    #[bits(3)]
    pub delivery_mode: u8,
    pub logical: bool,
    pub delivery_pending: bool,
    pub active_low: bool,
    pub remote_irr: bool,
    pub level: bool,
    pub masked: bool,
    #[bits(39)]
    __: u64,
    pub destination: u8,
}

/// Bits of an entry that a guest may write: not delivery status, remote IRR and the reserved ones.
pub const WRITABLE: u64 = 0xff00_0000_0001_afff;
