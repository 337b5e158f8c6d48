//! The local APIC: xAPIC (memory-mapped) and x2APIC (MSRs), with its timer in all three modes.
//!
//! The CPU asks [`Lapic::ext_int`] and [`Lapic::pending_vector`] before each instruction boundary that may take an
//! interrupt, and answers with the PIC's INTA cycle or [`Lapic::ack`]. NMI, SMI, INIT and SIPI leave as
//! [`bus::Signal`]s. One processor: an IPI to anyone else finds nobody.

mod device;
mod snapshot;
pub mod spec;
#[cfg(test)]
mod tests;

use bus::Frequency;
use spec::{ApicBase, Errors, Icr, Lvt, LvtEntry, Spurious};

/// Refused MSR access: the CPU raises #GP(0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GeneralProtection;

/// 256 bits, one a vector: ISR, IRR, TMR.
pub(crate) type Vectors = [u32; 8];

/// One processor's local APIC.
#[derive(Debug)]
pub struct Lapic {
    /// Input of the timer's divider.
    clock: Frequency,
    id: u32,

    base: ApicBase,
    tpr: u8,
    ldr: u32,
    dfr: u32,
    spurious: Spurious,
    isr: Vectors,
    irr: Vectors,
    tmr: Vectors,
    /// ESR as read, and the errors since its last write.
    errors: Errors,
    new_errors: Errors,
    icr: Icr,
    lvt: [LvtEntry; Lvt::COUNT],
    /// Levels of the two local interrupt pins.
    lint: [bool; 2],
    /// An ExtINT arrived as a message.
    ext_int: bool,

    divide: u8,
    initial_count: u32,
    /// Tick of `clock` at which a running count was loaded.
    started: Option<u64>,
    /// IA32_TSC_DEADLINE, and the guest ns it stands for; 0 when disarmed.
    tsc_deadline: u64,
    deadline_ns: u64,

    /// What `pending_vector` answers.
    pending: Option<u8>,
}
