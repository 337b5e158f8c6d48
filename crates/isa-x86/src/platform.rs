//! What the CPU asks of the machine around it.

/// The machine as the CPU sees it. `at` is the number of guest instructions executed since power-on, from which the
/// machine interpolates guest time.
pub trait Platform {
    /// Reads `size` (1, 2, 4, 8) bytes of physical address `addr`, which is not RAM.
    fn mmio_read(&mut self, addr: u64, size: u32, at: u64) -> u64;
    fn mmio_write(&mut self, addr: u64, size: u32, value: u64, at: u64);
    /// Reads `size` (1, 2, 4) bytes of I/O port `port`.
    fn io_read(&mut self, port: u16, size: u32, at: u64) -> u32;
    fn io_write(&mut self, port: u16, size: u32, value: u32, at: u64);

    /// Whether the local APIC (or, in virtual wire mode, the PIC) has an interrupt to deliver.
    fn interrupt_pending(&mut self) -> bool;
    /// Acknowledges that interrupt; its vector.
    fn interrupt_ack(&mut self) -> u8;
    /// Whether a non-maskable interrupt is to be delivered; asking takes it.
    fn take_nmi(&mut self) -> bool {
        false
    }

    /// For tests: an interrupt comes that software must be ready for at any time, if there is one and it is not masked.
    fn interrupt_early(&mut self, _at: u64) {}

    /// Reads a model-specific register that lives outside the CPU core: IA32_APIC_BASE, IA32_TSC_DEADLINE, the x2APIC's.
    /// `None`: no such register (#GP).
    fn msr_read(&mut self, msr: u32, at: u64) -> Option<u64>;
    /// Writes one; false: no such register, or a reserved bit set (#GP).
    #[must_use]
    fn msr_write(&mut self, msr: u32, value: u64, at: u64) -> bool;
    /// Task priority, bits 7:4 of the local APIC's TPR (CR8).
    fn cr8(&mut self) -> u8;
    fn set_cr8(&mut self, priority: u8);

    /// So many instructions were decoded: time in which none is executed.
    fn decoded(&mut self, _insns: u64, _at: u64) {}
    /// The time-stamp counter, without the guest's own offset.
    fn tsc(&mut self, at: u64) -> u64;
    /// A random 64-bit number (RDRAND, RDSEED).
    fn random(&mut self) -> u64;
    /// Whether [`crate::Vcpu::run`] should return soon: power-off, reset, a timer that now expires earlier.
    fn wants_exit(&mut self) -> bool;
}
