//! How a driver reaches a device: over PCI, or by registers in memory.

pub mod mmio;
pub mod pci;
