//! PCI Local Bus Specification 3.0, section 3.2.2.3.2 "Software generation of configuration transactions"; identity of
//! the Intel 82441FX (290549-001, 3.2).

use bitfield_struct::bitfield;
use bus::{Line, pci::Identity};

pub const CONFIG_ADDRESS: u16 = 0xcf8;
pub const CONFIG_DATA: u16 = 0xcfc;
pub const CONFIG_DATA_END: u16 = 0xcff;

/// Host bridge: class 06 00 00.
pub const BRIDGE: Identity =
    Identity { vendor: 0x8086, device: 0x1237, revision: 2, class: 0x06_00_00, subsystem_vendor: 0, subsystem: 0 };

/// Where the four interrupt wires of the bus end.
pub const INTX: [Line; 4] = [Line::new(16), Line::new(17), Line::new(18), Line::new(19)];

/// CONFIG_ADDRESS.
#[bitfield(u32)]
pub struct ConfigAddress {
    #[bits(2)]
    __: u8,
    /// Register number, in doublewords.
    #[bits(6)]
    pub register: u8,
    pub devfn: u8,
    pub bus: u8,
    #[bits(7)]
    __: u8,
    pub enable: bool,
}

/// Bits of CONFIG_ADDRESS that keep what is written.
pub const CONFIG_ADDRESS_WRITABLE: u32 = 0x80ff_fffc;
