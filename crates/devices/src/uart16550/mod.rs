//! The serial port: National Semiconductor PC16550D, with FIFOs.
//!
//! Transmission is immediate: a byte leaves for the host when it is written, so the transmitter is always empty, and
//! writing the holding register makes a new THRE interrupt at once. Reception respects the FIFO's depth: the host asks
//! [`Uart16550::can_receive`] and keeps the rest. The character timeout runs at the programmed baud rate.

mod device;
mod snapshot;
pub mod spec;
#[cfg(test)]
mod tests;

use bus::{Line, Stream};
use spec::{FifoControl, InterruptEnable, LineControl, LineStatus, ModemControl, ModemStatus};
use std::collections::VecDeque;

/// One 16550 at eight ports from a base.
#[derive(Debug)]
pub struct Uart16550 {
    base: u16,
    line: Line,
    stream: Stream,

    divisor: u16,
    ier: InterruptEnable,
    fcr: FifoControl,
    lcr: LineControl,
    mcr: ModemControl,
    /// Only the bits that are latched: overrun.
    errors: LineStatus,
    /// Only the delta bits; the inputs are computed.
    deltas: ModemStatus,
    scratch: u8,
    /// Receiver FIFO, or the holding register when FIFOs are off.
    rx: VecDeque<u8>,
    /// When a character last entered or left the receiver, ns.
    rx_active_at: u64,
    /// Character timeout indication (8.6.4, FIFO mode).
    rx_timeout: bool,
    /// The transmitter-empty interrupt has been raised and not yet been read from IIR.
    thre_pending: bool,
}
