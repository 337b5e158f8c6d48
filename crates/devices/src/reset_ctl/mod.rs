//! The board's small control ports: reset control (0xCF9), system control port A (0x92), the POST code (0x80) and the
//! debug console (0xE9).

mod device;
mod snapshot;
pub mod spec;
#[cfg(test)]
mod tests;

use spec::{PortA, ResetControl};

/// Four one-byte ports.
#[derive(Debug)]
pub struct ResetCtl {
    reset: ResetControl,
    port_a: PortA,
    post: u8,
}
