//! Motorola MC146818A data sheet (ADI1012, 1984). CMOS bytes above 0x0D as the PC/AT's firmware uses them.

use bitfield_struct::bitfield;
use serde::{Deserialize, Serialize};

pub const INDEX: u16 = 0x70;
pub const DATA: u16 = 0x71;
/// Bytes behind the index.
pub const RAM: usize = 128;

/// Address map, figure 12.
pub mod reg {
    pub const SECONDS: u8 = 0x00;
    pub const SECONDS_ALARM: u8 = 0x01;
    pub const MINUTES: u8 = 0x02;
    pub const MINUTES_ALARM: u8 = 0x03;
    pub const HOURS: u8 = 0x04;
    pub const HOURS_ALARM: u8 = 0x05;
    pub const WEEKDAY: u8 = 0x06;
    pub const DAY: u8 = 0x07;
    pub const MONTH: u8 = 0x08;
    pub const YEAR: u8 = 0x09;
    pub const A: u8 = 0x0a;
    pub const B: u8 = 0x0b;
    pub const C: u8 = 0x0c;
    pub const D: u8 = 0x0d;
    /// The PC's century byte; the FADT names it.
    pub const CENTURY: u8 = 0x32;
}

/// CMOS bytes that tell the memory's size.
pub mod cmos {
    /// Base memory in KiB, low and high byte.
    pub const BASE_KIB: u8 = 0x15;
    /// Memory from 1 MiB in KiB, at most 65535; twice.
    pub const EXTENDED_KIB: [u8; 2] = [0x17, 0x30];
    /// Memory from 16 MiB to 4 GiB in 64 KiB.
    pub const ABOVE_16M_64KIB: u8 = 0x34;
    /// Memory from 4 GiB in 64 KiB, three bytes.
    pub const ABOVE_4G_64KIB: u8 = 0x5b;
}

/// An alarm byte of this or more matches every value ("Alarm").
pub const DONT_CARE: u8 = 0xc0;
/// Hours in 12-hour mode: afternoon.
pub const PM: u8 = 0x80;
/// Register D: the battery is good.
pub const VALID_RAM_AND_TIME: u8 = 0x80;

/// How long UIP announces an update: 244 µs before it and 1984 µs of update with a 32 kHz crystal (table 6, figure 14).
pub const UPDATE_NS: u64 = 244_000 + 1_984_000;

/// Register A.
#[bitfield(u8)]
#[derive(PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterA {
    /// Periodic rate, table 5.
    #[bits(4)]
    pub rate: u8,
    /// Divider: 2 runs from 32 kHz, 6 and 7 hold the chain in reset (table 4).
    #[bits(3)]
    pub divider: u8,
    pub update_in_progress: bool,
}

impl RegisterA {
    /// Whether the divider chain is held.
    pub const fn is_held(self) -> bool {
        self.divider() >= 6
    }

    /// Periodic interrupts a second (table 5, 32.768 kHz).
    pub const fn rate_hz(self) -> Option<u64> {
        match self.rate() {
            0 => None,
            // the two lowest codes repeat the rates of 8 and 9
            r @ 1..=2 => Some(0x8000 >> (r + 6)),
            r => Some(0x8000 >> (r - 1)),
        }
    }
}

/// Register B.
#[bitfield(u8)]
#[derive(PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterB {
    pub daylight_saving: bool,
    pub hours_24: bool,
    pub binary: bool,
    pub square_wave: bool,
    pub update_interrupt: bool,
    pub alarm_interrupt: bool,
    pub periodic_interrupt: bool,
    pub set: bool,
}

bitflags::bitflags! {
    /// Register C; the flags stand in the bits of their enables in register B.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
    pub struct Flags: u8 {
        const UPDATE = 1 << 4;
        const ALARM = 1 << 5;
        const PERIODIC = 1 << 6;
        const REQUEST = 1 << 7;
    }
}
