//! The device and its capabilities.

use crate::{Clock, Dma, IoResult, IrqLines, MmioAccess, Outbox, PioAccess};

/// Everything a device may touch during a call.
#[derive(Debug)]
pub struct DevCtx<'a> {
    pub irq: &'a mut IrqLines,
    pub out: &'a mut Outbox,
    pub clock: Clock,
}

impl DevCtx<'_> {
    /// Guest nanoseconds since power-on.
    pub fn now(&self) -> u64 {
        self.clock.now
    }
}

/// A chip on the board. Capabilities are queries, so a new one touches no existing device.
///
/// `Snapshot` is not a supertrait: it has an associated type, and `dyn Device` must stay possible.
pub trait Device {
    /// The chip's name in logs.
    fn name(&self) -> &'static str;

    /// The state after RESET#, as the data sheet gives it. What survives a reset (CMOS RAM, the time of day) survives.
    fn reset(&mut self, cx: &mut DevCtx);

    /// Answers in the I/O port space.
    fn pio(&mut self) -> Option<&mut dyn Pio> {
        None
    }

    /// Answers in memory space.
    fn mmio(&mut self) -> Option<&mut dyn Mmio> {
        None
    }

    /// Acts on its own as time passes.
    fn timer(&mut self) -> Option<&mut dyn Timer> {
        None
    }

    /// Reads and writes RAM on its own.
    fn master(&mut self) -> Option<&mut dyn Master> {
        None
    }
}

/// Registers in the I/O port space.
pub trait Pio {
    /// Reads; the value is in the low bits.
    fn read(&mut self, cx: &mut DevCtx, a: PioAccess) -> IoResult<u32>;
    /// Writes the low bits of `value`.
    fn write(&mut self, cx: &mut DevCtx, a: PioAccess, value: u32) -> IoResult<()>;
}

/// Registers in memory space.
pub trait Mmio {
    /// Reads; the value is in the low bits.
    fn read(&mut self, cx: &mut DevCtx, a: MmioAccess) -> IoResult<u64>;
    /// Writes the low bits of `value`.
    fn write(&mut self, cx: &mut DevCtx, a: MmioAccess, value: u64) -> IoResult<()>;
}

/// A device whose state moves with time. Its registers are computed when looked at; only what the guest must be told
/// unasked (an interrupt) has a deadline.
pub trait Timer {
    /// Guest ns of the next event, `None` while nothing is due. May lie in the past: then `tick` is due now.
    /// Changes only by a call with a `DevCtx`; ask again after each.
    fn next_deadline(&self) -> Option<u64>;
    /// Performs what is due at `cx.now()`; harmless when called early.
    fn tick(&mut self, cx: &mut DevCtx);
}

/// A device that reads and writes RAM on its own. Registers never do: a write to one asks for a transfer, which the board
/// grants before the processor's next instruction.
pub trait Master {
    /// Whether a register access has asked for a transfer, or the last one has left something to do. Changes only by a call with a
    /// `DevCtx`; ask again after each.
    fn wants_transfer(&self) -> bool;
    /// Does what there is to do now: what was asked for, and what the world outside has brought. So much at most that the host does not
    /// wait for long; the board grants another transfer for the rest, in the next slice. Harmless when there is
    /// nothing; called at the beginning of each slice.
    fn transfer(&mut self, cx: &mut DevCtx, ram: &mut dyn Dma);
}
