//! The real-time clock and CMOS RAM: Motorola MC146818A, with the century byte of the PC.
//!
//! The time of day is a Unix time at guest time zero, given by the host once; from there the guest's clock carries it.
//! Registers and flags are computed when looked at.

mod calendar;
mod device;
mod snapshot;
pub mod spec;
#[cfg(test)]
mod tests;

use bus::Line;
use calendar::Fields;
use spec::{Flags, RAM, RegisterA, RegisterB};

/// Clock, alarm, 128 bytes of CMOS.
#[derive(Debug)]
pub struct Rtc {
    line: Line,
    index: u8,
    /// Index bit 7: the board's NMI mask.
    nmi_masked: bool,
    /// Everything but the time, the date and registers A to D; the alarm is here.
    ram: [u8; RAM],
    a: RegisterA,
    b: RegisterB,
    /// Interrupt flags of register C.
    flags: Flags,

    /// Unix seconds at guest time zero, and the nanoseconds already gone of that second.
    base: i64,
    phase: u32,
    /// The day of the week is a counter of its own: added to the true one.
    weekday_shift: u8,
    /// While updates are inhibited (SET) or the divider is held: the time and date registers as numbers.
    held: Option<Fields>,
    /// Guest ns up to which flags have been raised.
    seen: u64,
}
