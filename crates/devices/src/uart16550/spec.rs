//! PC16550D data sheet (National Semiconductor, June 1995), section 8 "Registers".

use bitfield_struct::bitfield;
use serde::{Deserialize, Serialize};

/// Input clock of a PC's UART, Hz; sixteen clocks and a divisor of 1 make 115200 baud (8.3).
pub const CLOCK_HZ: u64 = 1_843_200;
/// Depth of each FIFO (8.4).
pub const FIFO_DEPTH: usize = 16;
/// Idle time after which characters below the trigger level are announced, in character times (8.6.4).
pub const TIMEOUT_CHARS: u64 = 4;
/// Ports that the chip occupies.
pub const PORTS: u16 = 8;

/// Register addresses, table I. With DLAB set, 0 and 1 are the divisor latch.
pub mod reg {
    pub const RBR_THR_DLL: u16 = 0;
    pub const IER_DLM: u16 = 1;
    pub const IIR_FCR: u16 = 2;
    pub const LCR: u16 = 3;
    pub const MCR: u16 = 4;
    pub const LSR: u16 = 5;
    pub const MSR: u16 = 6;
    pub const SCR: u16 = 7;
}

/// Interrupt identification, 8.6 table IV, in falling priority. Bit 0 clear: an interrupt is pending.
pub mod iir {
    pub const LINE_STATUS: u8 = 0b0110;
    pub const DATA_AVAILABLE: u8 = 0b0100;
    pub const CHARACTER_TIMEOUT: u8 = 0b1100;
    pub const THR_EMPTY: u8 = 0b0010;
    pub const MODEM_STATUS: u8 = 0b0000;
    pub const NONE: u8 = 0b0001;
    /// Bits 7:6 read as ones while FIFOs are enabled.
    pub const FIFOS_ENABLED: u8 = 0xc0;
}

bitflags::bitflags! {
    /// IER, 8.7.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
    pub struct InterruptEnable: u8 {
        const DATA = 1 << 0;
        const THR_EMPTY = 1 << 1;
        const LINE_STATUS = 1 << 2;
        const MODEM_STATUS = 1 << 3;
    }

    /// MCR, 8.8.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
    pub struct ModemControl: u8 {
        const DTR = 1 << 0;
        const RTS = 1 << 1;
        const OUT1 = 1 << 2;
        const OUT2 = 1 << 3;
        const LOOP = 1 << 4;
    }

    /// LSR, 8.4.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
    pub struct LineStatus: u8 {
        const DATA_READY = 1 << 0;
        const OVERRUN = 1 << 1;
        const PARITY = 1 << 2;
        const FRAMING = 1 << 3;
        const BREAK = 1 << 4;
        const THR_EMPTY = 1 << 5;
        const TRANSMITTER_EMPTY = 1 << 6;
        const FIFO_ERROR = 1 << 7;
    }

    /// MSR, 8.9.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
    pub struct ModemStatus: u8 {
        const DELTA_CTS = 1 << 0;
        const DELTA_DSR = 1 << 1;
        /// Trailing edge of RI.
        const TRAILING_RI = 1 << 2;
        const DELTA_DCD = 1 << 3;
        const CTS = 1 << 4;
        const DSR = 1 << 5;
        const RI = 1 << 6;
        const DCD = 1 << 7;
    }
}

/// FCR, 8.5.
#[bitfield(u8)]
#[derive(PartialEq, Eq, Serialize, Deserialize)]
pub struct FifoControl {
    pub enable: bool,
    pub reset_rx: bool,
    pub reset_tx: bool,
    pub dma_mode: bool,
    #[bits(2)]
    __: u8,
    #[bits(2)]
    pub trigger: u8,
}

impl FifoControl {
    /// Receiver FIFO trigger level in bytes.
    pub const fn trigger_level(self) -> usize {
        [1, 4, 8, 14][self.trigger() as usize & 3]
    }
}

/// LCR, 8.1.
#[bitfield(u8)]
#[derive(PartialEq, Eq, Serialize, Deserialize)]
pub struct LineControl {
    /// Word length less 5 bits.
    #[bits(2)]
    pub word_length: u8,
    /// Two stop bits (1.5 with 5-bit words).
    pub stop_bits: bool,
    pub parity: bool,
    pub even: bool,
    pub stick: bool,
    pub set_break: bool,
    pub dlab: bool,
}

impl LineControl {
    /// Bits on the wire for one character: start, data, parity, stop.
    pub fn char_bits(self) -> u64 {
        1 + 5 + u64::from(self.word_length()) + u64::from(self.parity()) + 1 + u64::from(self.stop_bits())
    }
}
