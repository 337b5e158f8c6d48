//! Addresses and interrupt numbers of the `pc` board that the chips do not fix themselves: what the bus decodes
//! ([`crate::pc`]), what the ACPI tables say, and what the loaders leave free, declared once.

use std::ops::Range;

/// Memory-mapped registers.
pub const IOAPIC: u64 = 0xfec0_0000;
pub const IOAPIC_ID: u8 = 0;
pub const HPET: u64 = devices::hpet::spec::BASE;
pub const LAPIC: u64 = 0xfee0_0000;
/// virtio devices with registers in memory, all in this page.
pub const VIRTIO_MMIO: u64 = 0xfeb0_0000;
/// Physical addresses that PCI devices may be given: from the highest RAM possible on.
pub const PCI_MEMORY: Range<u64> = options::RAM_MAX..VIRTIO_MMIO;

/// I/O ports.
pub const COM1: u16 = 0x3f8;
/// ACPI fixed hardware: PM1a event block, +4 PM1a control, +8 PM timer.
pub const PM_BASE: u16 = 0x600;

/// ISA interrupt numbers.
pub const IRQ_PIT: u8 = 0;
pub const IRQ_KEYBOARD: u8 = 1;
pub const IRQ_COM1: u8 = 4;
pub const IRQ_RTC: u8 = 8;
pub const IRQ_SCI: u8 = 9;
/// The IOAPIC input that ISA IRQ 0 is wired to: input 0 is the PIC's.
pub const GSI_PIT: u32 = 2;
/// The IOAPIC input of the first device at [`VIRTIO_MMIO`]; each has one of its own.
pub const GSI_VIRTIO_MMIO: u8 = 20;
