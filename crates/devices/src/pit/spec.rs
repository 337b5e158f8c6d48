//! Intel 8254 data sheet (231164-005, September 1993).

use bitfield_struct::bitfield;
use bus::Frequency;
use serde::{Deserialize, Serialize};

/// CLK of all three counters on a PC: 14.31818 MHz / 12.
pub const CLK: Frequency = Frequency::from_hz(1_193_182);

/// Ports: counters 0-2, control word.
pub const COUNTER_0: u16 = 0x40;
pub const CONTROL: u16 = 0x43;
/// Port B of the PC/AT's 8255, "NMI status and control" (82371SB, 2.5.8.2).
pub const PORT_61: u16 = 0x61;

/// Half the period of the refresh toggle in port 0x61, ns (82371SB, 2.5.8.2: toggles every 15 µs).
pub const REFRESH_NS: u64 = 15_085;

/// Counting modes ("Mode Definitions").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    #[default]
    InterruptOnTerminalCount,
    HardwareOneShot,
    RateGenerator,
    SquareWave,
    SoftwareStrobe,
    HardwareStrobe,
}

impl Mode {
    /// From the control word's M field (figure 7): 6 and 7 are 2 and 3.
    pub const fn from_bits(m: u8) -> Self {
        match m & 7 {
            0 => Self::InterruptOnTerminalCount,
            1 => Self::HardwareOneShot,
            2 | 6 => Self::RateGenerator,
            3 | 7 => Self::SquareWave,
            4 => Self::SoftwareStrobe,
            _ => Self::HardwareStrobe,
        }
    }

    /// Reloads itself at the end of its count.
    pub const fn is_periodic(self) -> bool {
        matches!(self, Self::RateGenerator | Self::SquareWave)
    }

    /// Started by a rising gate.
    pub const fn is_triggered(self) -> bool {
        matches!(self, Self::HardwareOneShot | Self::HardwareStrobe)
    }
}

/// Which bytes of the count are read and written (control word's RW field).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    Low = 1,
    High = 2,
    #[default]
    LowThenHigh = 3,
}

/// Control word, figure 7.
#[bitfield(u8)]
pub struct ControlWord {
    pub bcd: bool,
    #[bits(3)]
    pub mode: u8,
    /// 0 is the counter latch command.
    #[bits(2)]
    pub access: u8,
    /// 3 is the read-back command.
    #[bits(2)]
    pub counter: u8,
}

/// Read-back command, figure 10.
#[bitfield(u8)]
pub struct ReadBack {
    __: bool,
    #[bits(3)]
    pub counters: u8,
    pub no_status: bool,
    pub no_count: bool,
    #[bits(2)]
    pub command: u8,
}

/// Status byte, figure 11.
#[bitfield(u8)]
pub struct Status {
    pub bcd: bool,
    #[bits(3)]
    pub mode: u8,
    #[bits(2)]
    pub access: u8,
    pub null_count: bool,
    pub out: bool,
}

/// Port 0x61 (82371SB, 2.5.8.2). Bits 3:0 are read-write, the others read-only.
#[bitfield(u8)]
#[derive(PartialEq, Eq, Serialize, Deserialize)]
pub struct Port61 {
    pub gate_2: bool,
    pub speaker: bool,
    pub serr_disable: bool,
    pub iochk_disable: bool,
    pub refresh: bool,
    pub out_2: bool,
    pub iochk: bool,
    pub serr: bool,
}

/// The writable bits of port 0x61.
pub const PORT_61_WRITABLE: u8 = 0x0f;
