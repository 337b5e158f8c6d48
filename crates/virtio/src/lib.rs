//! virtio 1.x: what a paravirtual device is made of, over PCI and over memory-mapped registers.
//!
//! | file | holds |
//! |---|---|
//! | `queue.rs`, `chain.rs` | the split virtqueue; the buffers of one request |
//! | `core.rs` | status, feature negotiation, when a device works |
//! | `transport/` | the registers by which a driver reaches that |
//! | `device.rs` | what a device is: [`VirtioDevice`] |
//! | `blk`, `console`, .. | the devices, on seams to the world outside: [`storage::BlockBackend`], [`net::NetBackend`], [`p9::P9Backend`] |
//!
//! **Invariants.** Nothing that the driver puts into memory is believed before it is checked. Registers never touch RAM: a
//! notification asks for a transfer ([`bus::Master`]), in which all queues are looked at, and what backends have completed is
//! passed on. A driver that breaks a queue stops its device until it resets it, with a line in the log.

mod chain;
mod core;
mod device;
mod queue;
pub mod spec;

pub mod balloon;
pub mod blk;
pub mod console;
pub mod input;
pub mod net;
pub mod p9;
pub mod rng;
pub mod transport;

mod any;

pub use any::AnyDevice;
pub use balloon::Balloon;
pub use blk::Blk;
pub use chain::{Chain, Segment};
pub use console::Console;
pub use device::{VirtioDevice, Work};
pub use input::Input;
pub use net::Net;
pub use p9::P9;
pub use queue::{Broken, Queue, RingFeatures};
pub use rng::Rng;
pub use transport::mmio::VirtioMmio;
pub use transport::pci::VirtioPci;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
