//! IA-PC HPET specification, revision 1.0a (October 2004), section 2.

use bitfield_struct::bitfield;
use bus::Frequency;
use serde::{Deserialize, Serialize};

/// Where a PC has it.
pub const BASE: u64 = 0xfed0_0000;
/// Bytes of address space of a block (2.3.1).
pub const SIZE: u64 = 0x400;
pub const TIMERS: usize = 3;
/// The main counter's rate, and its period in femtoseconds (2.3.4).
pub const CLOCK: Frequency = Frequency::from_hz(100_000_000);
pub const PERIOD_FS: u64 = 1_000_000_000_000_000 / CLOCK.hz();

/// Registers (table 2).
pub mod reg {
    pub const CAPABILITIES: u64 = 0x000;
    pub const CONFIGURATION: u64 = 0x010;
    pub const STATUS: u64 = 0x020;
    pub const COUNTER: u64 = 0x0f0;
    pub const TIMER: u64 = 0x100;
    /// Distance of two timers' registers; each has configuration, comparator, FSB route.
    pub const STRIDE: u64 = 0x20;
    pub const TIMER_END: u64 = TIMER + STRIDE * super::TIMERS as u64;
}

/// General capabilities and ID (2.3.4): revision 1, three timers, 64-bit counter, legacy route, Intel.
pub const CAPABILITIES: u64 = PERIOD_FS << 32 | 0x8086 << 16 | 1 << 15 | 1 << 13 | (TIMERS as u64 - 1) << 8 | 1;

/// Global interrupts that a timer can be routed to (2.3.8): IOAPIC pins 20 to 23, which no PCI slot uses.
pub const ROUTES: u32 = 0x00f0_0000;
/// Wires of the legacy replacement route (2.3.5): timer 0 is IRQ 0, timer 1 is IRQ 8.
pub const LEGACY_LINES: [u8; 2] = [0, 8];

/// General configuration (2.3.5).
#[bitfield(u64)]
#[derive(PartialEq, Eq, Serialize, Deserialize)]
pub struct General {
    pub enable: bool,
    pub legacy_route: bool,
    #[bits(62)]
    __: u64,
}

/// Timer n configuration and capabilities (2.3.8).
#[bitfield(u64)]
#[derive(PartialEq, Eq, Serialize, Deserialize)]
pub struct TimerConfig {
    __: bool,
    pub level: bool,
    pub interrupt: bool,
    pub periodic: bool,
    pub periodic_capable: bool,
    pub is_64_bit: bool,
    /// The next comparator write sets the accumulator of a periodic timer; reads as zero.
    pub value_set: bool,
    __: bool,
    pub force_32_bit: bool,
    #[bits(5)]
    pub route: u8,
    pub fsb_enable: bool,
    pub fsb_capable: bool,
    __: u16,
    pub routes: u32,
}

/// Bits of a timer's configuration that a guest may write.
pub const TIMER_WRITABLE: u64 = 0x3f4e;
