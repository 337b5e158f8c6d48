//! The interrupt controllers of the PC/AT: two Intel 8259A, the second on input 2 of the first, and the ELCR registers
//! that make inputs level-triggered.
//!
//! An edge is latched until it is acknowledged, also when the input falls before: the data sheet would answer such a
//! request with the spurious vector 7, but devices here compute their wires lazily and may lower them within the same
//! access that raised them.

mod device;
mod snapshot;
pub mod spec;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use spec::Next;

/// The pair. INTR is [`Pic::intr`], the INTA cycle is [`Pic::ack`].
#[derive(Debug)]
pub struct Pic {
    master: Chip,
    slave: Chip,
}

/// One 8259A.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Chip {
    /// Inputs now.
    inputs: u8,
    /// Latched edges; level-triggered inputs are read from `inputs`.
    edges: u8,
    /// In-service register.
    isr: u8,
    /// Interrupt mask register.
    imr: u8,
    /// Inputs that are level-triggered (ELCR).
    level: u8,
    /// Vector of input 0.
    base: u8,
    /// Input with the highest priority.
    top: u8,
    /// What the next write to the odd port is.
    next: Next,
    wants_icw4: bool,
    single: bool,
    auto_eoi: bool,
    rotate_on_auto_eoi: bool,
    special_fully_nested: bool,
    special_mask: bool,
    /// The even port reads ISR rather than IRR.
    reads_isr: bool,
    /// The next read is a poll.
    poll: bool,
}
