//! What is around the processor.

use isa_x86::Platform;
use random::Rng;

/// Registers that a test puts at every address that is not RAM.
pub trait Registers {
    /// What `size` bytes at `addr` read, in the low bits.
    fn read(&mut self, addr: u64, size: u32) -> u64;
    fn write(&mut self, addr: u64, size: u32, value: u64);
}

/// No registers: reads give all ones.
impl Registers for () {
    fn read(&mut self, _: u64, size: u32) -> u64 {
        u64::MAX >> (64 - 8 * size)
    }
    fn write(&mut self, _: u64, _: u32, _: u64) {}
}

/// A platform with no device but `mmio`: ports read all ones.
#[derive(Clone, Debug)]
pub struct Bare<R = ()> {
    /// What the TSC counts from: an instruction is a tick.
    pub tsc: u64,
    /// What RDRAND and RDSEED give next.
    pub random: Rng,
    /// The vector of an interrupt that waits.
    pub pending: Option<u8>,
    /// A non-maskable one waits.
    pub nmi: bool,
    /// Writes to ports: port, bytes, value.
    pub io: Vec<(u16, u32, u32)>,
    /// Instructions that it was told were decoded.
    pub decoded: u64,
    pub mmio: R,
}

impl<R> Bare<R> {
    pub fn with(mmio: R) -> Self {
        Self { tsc: 0, random: Rng(0), pending: None, nmi: false, io: Vec::new(), decoded: 0, mmio }
    }
}

impl Default for Bare {
    fn default() -> Self {
        Self::with(())
    }
}

impl<R: Registers> Platform for Bare<R> {
    fn mmio_read(&mut self, addr: u64, size: u32, _: u64) -> u64 {
        self.mmio.read(addr, size)
    }
    fn mmio_write(&mut self, addr: u64, size: u32, value: u64, _: u64) {
        self.mmio.write(addr, size, value);
    }
    fn io_read(&mut self, _: u16, size: u32, _: u64) -> u32 {
        u32::MAX >> (32 - 8 * size)
    }
    fn io_write(&mut self, port: u16, size: u32, value: u32, _: u64) {
        self.io.push((port, size, value));
    }
    fn interrupt_pending(&mut self) -> bool {
        self.pending.is_some()
    }
    fn interrupt_ack(&mut self) -> u8 {
        self.pending.take().unwrap_or(0xff)
    }
    fn take_nmi(&mut self) -> bool {
        core::mem::take(&mut self.nmi)
    }
    fn msr_read(&mut self, _: u32, _: u64) -> Option<u64> {
        None
    }
    fn msr_write(&mut self, _: u32, _: u64, _: u64) -> bool {
        false
    }
    fn decoded(&mut self, insns: u64, _: u64) {
        self.decoded += insns;
    }
    fn cr8(&mut self) -> u8 {
        0
    }
    fn set_cr8(&mut self, _: u8) {}
    fn tsc(&mut self, at: u64) -> u64 {
        self.tsc + at
    }
    fn random(&mut self) -> u64 {
        self.random.next()
    }
    fn wants_exit(&mut self) -> bool {
        false
    }
}
