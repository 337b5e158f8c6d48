//! The interval timer: Intel 8254, and port 0x61, which gates its counter 2 and shows that counter's output.
//!
//! Counter 0 drives IRQ 0, counter 1 was the refresh of the PC/AT, counter 2 the loudspeaker. All counters are computed
//! from the clock when looked at: a counter is the CLK pulse at which its count was loaded, and the count.

mod device;
mod snapshot;
pub mod spec;
#[cfg(test)]
mod tests;

use bus::Line;
use serde::{Deserialize, Serialize};
use spec::{Access, Mode, Port61};

/// The 8254 and port 0x61.
#[derive(Debug)]
pub struct Pit {
    line: Line,
    counters: [Counter; 3],
    port61: Port61,
    /// CLK pulse up to which counter 0's output has been turned into interrupts.
    seen: u64,
}

/// One counter.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counter {
    mode: Mode,
    bcd: bool,
    access: Access,
    gate: bool,
    /// First byte of a count of two.
    low_byte: Option<u8>,
    /// The next read gives the high byte.
    read_high: bool,
    /// Latched count, and latched status.
    count_latch: Option<u16>,
    status_latch: Option<u8>,
    /// Count register CR: 1 to 65536.
    reload: Option<u32>,
    /// CR has not been transferred to CE ("null count").
    null: bool,
    /// In modes 2 and 3, when a new CR is transferred.
    load_at: Option<u64>,
    /// Counting element CE.
    run: Option<Run>,
}

/// A count that was loaded.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    n: u32,
    /// CLK pulse that loaded it.
    start: u64,
    /// Pulses counted when the gate closed.
    frozen: Option<u64>,
}
