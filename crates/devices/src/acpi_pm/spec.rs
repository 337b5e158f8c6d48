//! ACPI specification 6.5, section 4.8 "ACPI hardware".

use bitfield_struct::bitfield;
use bus::Frequency;
use serde::{Deserialize, Serialize};

/// Register blocks, as offsets from the base; the FADT names their ports.
pub const PM1_STATUS: u16 = 0;
pub const PM1_ENABLE: u16 = 2;
pub const PM1_CONTROL: u16 = 4;
pub const PM_TIMER: u16 = 8;
/// Ports that the blocks occupy.
pub const PORTS: u16 = 12;
/// Lengths for the FADT.
pub const PM1_EVENT_LENGTH: u8 = 4;
pub const PM1_CONTROL_LENGTH: u8 = 2;
pub const PM_TIMER_LENGTH: u8 = 4;

/// The timer counts at this rate (4.8.1.4), in 24 bits; its most significant bit changing is an event.
pub const TIMER: Frequency = Frequency::from_hz(3_579_545);
pub const TIMER_BITS: u32 = 24;

/// SLP_TYP that this machine's \_S5 object names: soft off.
pub const SLP_TYP_S5: u8 = 5;

bitflags::bitflags! {
    /// PM1 status and enable registers (4.8.3.1.1, 4.8.3.1.2).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
    pub struct Event: u16 {
        const TIMER = 1 << 0;
        /// Status only: bus master activity.
        const BUS_MASTER = 1 << 4;
        const GLOBAL = 1 << 5;
        const POWER_BUTTON = 1 << 8;
        const SLEEP_BUTTON = 1 << 9;
        const RTC = 1 << 10;
        /// Status only.
        const WAKE = 1 << 15;
    }
}

impl Event {
    /// Events with an enable bit.
    pub const ENABLES: Self =
        Self::TIMER.union(Self::GLOBAL).union(Self::POWER_BUTTON).union(Self::SLEEP_BUTTON).union(Self::RTC);
}

/// PM1 control register (4.8.3.2.1).
#[bitfield(u16)]
#[derive(PartialEq, Eq, Serialize, Deserialize)]
pub struct Control {
    pub sci_enable: bool,
    pub bus_master_reload: bool,
    /// Write-only.
    pub global_release: bool,
    #[bits(7)]
    __: u8,
    #[bits(3)]
    pub sleep_type: u8,
    /// Write-only.
    pub sleep_enable: bool,
    #[bits(2)]
    __: u8,
}
