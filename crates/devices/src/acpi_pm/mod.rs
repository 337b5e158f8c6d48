//! ACPI fixed hardware: the PM1 event and control registers and the power-management timer.
//!
//! The machine is always in ACPI mode: there is no SMI command port, and SCI_EN reads as one (ACPI 6.5, 4.8.3.2.1: a
//! platform that supports ACPI only hard-wires it).

mod device;
mod snapshot;
pub mod spec;
#[cfg(test)]
mod tests;

use bus::Line;
use spec::{Control, Event};

/// PM1a event block, PM1a control block, PM timer: twelve ports from a base.
#[derive(Debug)]
pub struct AcpiPm {
    base: u16,
    sci: Line,
    status: Event,
    enable: Event,
    control: Control,
    /// Guest ns up to which the timer's carries have been seen.
    seen: u64,
}
