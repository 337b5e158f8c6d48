//! What leaves the devices: bytes for the host and signals for the machine.

/// A stream of bytes to the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Stream {
    Com1,
    Com2,
    /// Port 0xE9, the console of firmware under test.
    DebugCon,
}

impl Stream {
    pub const ALL: [Self; 3] = [Self::Com1, Self::Com2, Self::DebugCon];
}

/// How much of the machine a reset covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// INIT# on the CPU alone (i8042 pulse, port 0x92): caches, MSRs and devices keep their state.
    Init,
    /// PLTRST#: CPU and every device.
    Hard,
}

/// A wire or request from a device to the machine that is not an interrupt line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    Reset(Reset),
    /// S5: the guest switched the machine off.
    PowerOff,
    /// An enabled entry into a sleep state the machine does not have: the SLP_TYP written.
    Sleep(u8),
    /// Level of the A20 gate: false masks address bit 20.
    A20(bool),
    /// Non-maskable interrupt to the CPU.
    Nmi,
    /// System-management interrupt to the CPU.
    Smi,
    /// INIT from the local APIC.
    Init,
    /// Start-up IPI: the CPU, if it waits for one, starts at physical `vector << 12`.
    Sipi(u8),
    /// Another byte than before on the POST diagnostic port.
    Post(u8),
}

/// Everything devices have said since the machine last looked.
#[derive(Debug, Default)]
pub struct Outbox {
    streams: [Vec<u8>; Stream::ALL.len()],
    signals: Vec<Signal>,
}

impl Outbox {
    /// Appends one byte to a stream. Nothing is ever dropped; the host drains at least once a slice.
    pub fn write(&mut self, to: Stream, byte: u8) {
        self.streams[to as usize].push(byte);
    }

    /// Bytes waiting in a stream.
    pub fn bytes(&self, of: Stream) -> &[u8] {
        &self.streams[of as usize]
    }

    /// Takes the bytes of a stream.
    pub fn take_bytes(&mut self, of: Stream) -> Vec<u8> {
        std::mem::take(&mut self.streams[of as usize])
    }

    /// Forgets the bytes of a stream, keeping its buffer.
    pub fn clear(&mut self, of: Stream) {
        self.streams[of as usize].clear();
    }

    /// Raises a signal.
    pub fn signal(&mut self, s: Signal) {
        self.signals.push(s);
    }

    /// Whether a signal waits: cheap enough to ask after every device access.
    pub fn has_signal(&self) -> bool {
        !self.signals.is_empty()
    }

    /// Takes the oldest signal.
    pub fn take_signal(&mut self) -> Option<Signal> {
        (!self.signals.is_empty()).then(|| self.signals.remove(0))
    }
}
