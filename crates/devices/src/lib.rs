//! The chips of the `pc` board, one folder each, with the same files in each:
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | what the chip is, its public type |
//! | `spec.rs` | the data sheet's constants and bit fields with section numbers, nothing else |
//! | `device.rs` | how it behaves |
//! | `snapshot.rs` | its saved state |
//! | `tests.rs` | what the data sheet says, checked through the bus interface |
//!
//! Interrupt outputs are wires of [`bus::IrqLines`]; timers are lazy: registers are computed from [`bus::Clock`] when
//! looked at, and [`bus::Timer::next_deadline`] names the next moment at which a wire moves by itself.

pub mod acpi_pm;
pub mod hpet;
pub mod i8042;
pub mod ioapic;
pub mod lapic;
pub mod pci_host;
pub mod pic;
pub mod pit;
pub mod reset_ctl;
pub mod rtc;
pub mod uart16550;

pub use acpi_pm::AcpiPm;
pub use hpet::Hpet;
pub use i8042::I8042;
pub use ioapic::IoApic;
pub use lapic::Lapic;
pub use pci_host::PciHost;
pub use pic::Pic;
pub use pit::Pit;
pub use reset_ctl::ResetCtl;
pub use rtc::Rtc;
pub use uart16550::Uart16550;

#[cfg(test)]
mod testing;
