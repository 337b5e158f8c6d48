//! The PCI host bridge: configuration mechanism #1, one bus, the place where functions are attached.
//!
//! It identifies itself as Intel's 440FX, which every guest knows, without that chip's memory controller: the registers
//! for shadow RAM (PAM) and SMRAM read as zero and keep nothing.
//!
//! Functions are of one type `F`, on a board an `enum` of what it has, so that nothing is boxed and each can be saved
//! and reached by its own type. INTx is routed as PCI expects it: pin and device number together choose one of four
//! global interrupts ([`spec::INTX`]); the board's _PRT says the same.

mod device;
pub use device::intx_line;
mod snapshot;
pub mod spec;
#[cfg(test)]
mod tests;

use bus::pci::{ConfigSpace, PciFunction};

/// Device and function number on the bus: the device in bits 7:3, the function in 2:0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Devfn(pub u8);

impl Devfn {
    /// Device 0-31, function 0-7.
    pub const fn new(device: u8, function: u8) -> Self {
        Self((device & 31) << 3 | function & 7)
    }

    pub const fn device(self) -> u8 {
        self.0 >> 3
    }
}

/// The bridge and the functions on its bus.
#[derive(Debug)]
pub struct PciHost<F> {
    /// CONFIG_ADDRESS.
    address: u32,
    /// The bridge's own function, 0:0.0.
    bridge: ConfigSpace,
    functions: Vec<(Devfn, F)>,
    /// Physical address at which the memory window begins.
    window: u64,
}

/// A bus with nothing on it.
#[derive(Debug)]
pub enum Nothing {}

impl PciFunction for Nothing {
    fn config(&self) -> &ConfigSpace {
        match *self {}
    }

    fn config_mut(&mut self) -> &mut ConfigSpace {
        match *self {}
    }

    fn reset(&mut self, _: &mut bus::DevCtx) {
        match *self {}
    }
}
