//! The high-precision event timer: IA-PC HPET, three comparators on a 64-bit counter at 100 MHz, with the legacy
//! replacement route. No FSB (message) interrupts.

mod device;
mod snapshot;
pub mod spec;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use spec::{General, TIMERS, TimerConfig};

/// One block with three timers.
#[derive(Debug)]
pub struct Hpet {
    general: General,
    /// Interrupt status: a bit for each level-triggered timer that has fired.
    status: u32,
    timers: [Comparator; TIMERS],
    /// Main counter less the ticks of guest time while it runs; the counter itself while it is halted.
    counter: u64,
    /// Tick of guest time up to which comparators have been matched.
    seen: u64,
}

/// One comparator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparator {
    config: TimerConfig,
    comparator: u64,
    period: u64,
}
