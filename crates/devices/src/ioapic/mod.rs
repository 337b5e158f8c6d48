//! The I/O APIC: Intel 82093AA with the EOI register of its successors (version 0x20).
//!
//! Its output is the interrupt message itself, the write to 0xFEEx_xxxx that a PCI function would send (SDM 3A, 11.11).
//! Wires here carry "asserted", so the polarity bit is kept for the guest and means nothing.

mod device;
mod snapshot;
pub mod spec;
#[cfg(test)]
mod tests;

use spec::{PINS, Redirection};

/// 24 inputs, one output.
#[derive(Debug)]
pub struct IoApic {
    id: u8,
    select: u8,
    /// Levels of the pins.
    pins: u32,
    table: [Redirection; PINS],
}
