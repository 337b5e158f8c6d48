//! Reset control register: 82371SB (290550-002), 2.5.10. System control port A: PS/2 technical reference, section 2
//! "System Control Port A", and 82371SB 2.5.9 "Port 92". POST code: the PC/AT's manufacturing test port. Debug console:
//! as Bochs introduced it; reads give its own number.

use bitfield_struct::bitfield;
use serde::{Deserialize, Serialize};

pub const RESET_CONTROL: u16 = 0xcf9;
pub const PORT_A: u16 = 0x92;
pub const POST: u16 = 0x80;
pub const DEBUG: u16 = 0xe9;

/// What the FADT's RESET_VALUE must be: a hard reset of the system.
pub const HARD_RESET: u8 = 0x06;

/// 0xCF9.
#[bitfield(u8)]
#[derive(PartialEq, Eq, Serialize, Deserialize)]
pub struct ResetControl {
    __: bool,
    /// Type: the whole system rather than the CPU.
    pub hard: bool,
    /// A change from 0 to 1 starts the reset.
    pub reset: bool,
    /// Full power cycle (ICH and later).
    pub power_cycle: bool,
    #[bits(4)]
    __: u8,
}

/// Port 0x92.
#[bitfield(u8)]
#[derive(PartialEq, Eq, Serialize, Deserialize)]
pub struct PortA {
    /// A change from 0 to 1 pulses INIT.
    pub fast_init: bool,
    pub a20: bool,
    #[bits(6)]
    __: u8,
}
