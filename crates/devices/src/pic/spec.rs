//! Intel 8259A data sheet (231468-003, December 1988), and the ELCR of the 82371SB (290550-002, 2.5.1).

use bitfield_struct::bitfield;
use serde::{Deserialize, Serialize};

pub const MASTER: u16 = 0x20;
pub const SLAVE: u16 = 0xa0;
/// Edge/level control registers of master and slave.
pub const ELCR: u16 = 0x4d0;

/// Input of the master that carries the slave's INT.
pub const CASCADE: u8 = 2;
/// Input whose vector is sent when the request has gone before INTA ("default IR7").
pub const SPURIOUS: u8 = 7;
/// Inputs that may be level-triggered: not IRQ 0, 1, 2 and not 8, 13 (82371SB 2.5.1).
pub const ELCR_MASK: [u8; 2] = [0xf8, 0xde];

/// Bits that tell the writes to the even port apart: ICW1 has bit 4, OCW3 bit 3.
pub const ICW1: u8 = 1 << 4;
pub const OCW3: u8 = 1 << 3;

/// What a write to the odd port means: the mask (OCW1), or the next of the initialisation words (figure 6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Next {
    #[default]
    Ocw1,
    Icw2,
    Icw3,
    Icw4,
}

/// ICW1.
#[bitfield(u8)]
pub struct Icw1 {
    pub wants_icw4: bool,
    pub single: bool,
    /// Call address interval of the 8080; not used with an 8086.
    pub interval_4: bool,
    /// Replaced by ELCR on PCI chip sets.
    pub level: bool,
    #[bits(4)]
    __: u8,
}

/// ICW4.
#[bitfield(u8)]
pub struct Icw4 {
    pub mode_8086: bool,
    pub auto_eoi: bool,
    pub buffer_master: bool,
    pub buffered: bool,
    pub special_fully_nested: bool,
    #[bits(3)]
    __: u8,
}

/// OCW2: end of interrupt and rotation.
#[bitfield(u8)]
pub struct Ocw2 {
    #[bits(3)]
    pub input: u8,
    #[bits(2)]
    __: u8,
    pub eoi: bool,
    pub specific: bool,
    pub rotate: bool,
}

/// OCW3: special mask mode, poll, register to read.
#[bitfield(u8)]
pub struct Ocw3 {
    pub read_isr: bool,
    pub read_register: bool,
    pub poll: bool,
    #[bits(2)]
    __: u8,
    pub special_mask: bool,
    pub enable_special_mask: bool,
    __: bool,
}
