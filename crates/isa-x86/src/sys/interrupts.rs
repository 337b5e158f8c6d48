//! Delivery of interrupts and exceptions (SDM 3 chapter 6).

use crate::exec::Exec;
use crate::fault::{Exception, Stop};

/// Where an event comes from: it decides on privilege checks, the pushed RIP and double faults.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// A fault or trap of an instruction.
    Exception,
    /// INT n, INT3, INTO: DPL of the gate is checked.
    Software,
    /// An external interrupt or NMI.
    External,
}

/// Delivers an event through the IDT: `cpu.rip` is what is pushed. On an error while delivering, the double fault rules apply
/// (SDM 3 6.15): this function resolves them, and returns `Err` only for a triple fault.
pub fn deliver(cx: &mut Exec<'_>, _e: Exception, _source: Source) -> Result<(), Stop> {
    Err(cx.unimplemented("interrupt delivery"))
}
