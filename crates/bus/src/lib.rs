//! What a device may know of the machine around it.
//!
//! A device is a plain struct. It holds no reference, no lock and no callback: every call brings a [`DevCtx`] with the
//! interrupt wires, the guest's clock and an outbox, so a device is testable in three lines and serialisable by
//! construction. What a device can do is asked by capability ([`Device::pio`], [`Device::mmio`], [`Device::timer`],
//! [`Device::master`]): a new capability touches no existing device.
//!
//! A device reports a bad access as a typed [`IoError`]; what the guest then sees is the bus's decision ([`policy`]).
//!
//! **Invariants.** Nothing here knows a CPU, a translator, a host or wall time. Time is guest nanoseconds since power-on.

pub mod clock;
pub mod device;
pub mod dma;
pub mod io;
pub mod irq;
pub mod msix;
pub mod outbox;
pub mod pci;
pub mod policy;
pub mod snapshot;

pub use clock::{Clock, Frequency, NS_PER_SEC};
pub use device::{DevCtx, Device, Master, Mmio, Pio, Timer};
pub use dma::Dma;
pub use io::{IoError, IoResult, MmioAccess, PioAccess, Token, Width};
pub use irq::{IrqLines, Line, LineChange, Msi};
pub use outbox::{Outbox, Reset, Signal, Stream};
pub use policy::BadAccessLog;
pub use snapshot::{RestoreError, Snapshot};

#[doc(hidden)]
pub use serde;
