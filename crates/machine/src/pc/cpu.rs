//! What the CPU asks of the board: ports, memory that is not RAM, interrupts, model-specific registers.

use super::*;

/// Model-specific registers that the CPU asks the board for.
pub const IA32_TSC_DEADLINE: u32 = 0x6e0;

/// What it takes to decode an instruction, its part in making a block included: a processor of 2.5 GHz, code that the host's caches do not have.
pub const DECODE_NS: u64 = 45;

fn width(size: u32) -> Width {
    Width::of(size as usize).unwrap_or(Width::B1)
}

impl Board {
    /// The chip at a physical address.
    #[inline]
    pub(super) fn decode(&self, addr: u64) -> Option<(Chip, u64)> {
        match self.chips.lapic.mmio_base() {
            Some(base) if addr & !0xfff == base => Some((Chip::Lapic, base)),
            _ => at_address(addr),
        }
    }
}

impl Platform for Board {
    fn io_read(&mut self, port: u16, size: u32, at: u64) -> u32 {
        let access = PioAccess::new(port, width(size));
        self.last = Clock::at(self.clock.now(at));
        let Some(chip) = at_port(port) else { return self.bad.unclaimed_pio_read(self.last.now, access) };
        let device = self.chips.get(chip);
        let name = device.name();
        let Some(pio) = device.pio() else { return access.width.mask() as u32 };
        let mut cx = DevCtx { irq: &mut self.irq, out: &mut self.out, clock: self.last };
        let value = self.bad.pio_read(pio, name, &mut cx, access);
        self.settle(chip);
        // No chip of this board makes the CPU wait.
        value.unwrap_or_else(|_| access.width.mask() as u32)
    }

    fn io_write(&mut self, port: u16, size: u32, value: u32, at: u64) {
        let access = PioAccess::new(port, width(size));
        self.last = Clock::at(self.clock.now(at));
        let Some(chip) = at_port(port) else { return self.bad.unclaimed_pio_write(self.last.now, access, value) };
        let device = self.chips.get(chip);
        let name = device.name();
        let Some(pio) = device.pio() else { return };
        let mut cx = DevCtx { irq: &mut self.irq, out: &mut self.out, clock: self.last };
        let _ = self.bad.pio_write(pio, name, &mut cx, access, value);
        self.settle(chip);
    }

    fn mmio_read(&mut self, addr: u64, size: u32, at: u64) -> u64 {
        self.last = Clock::at(self.clock.now(at));
        let Some((chip, base)) = self.decode(addr) else {
            return self.bad.unclaimed_mmio_read(self.last.now, MmioAccess::new(addr, width(size)));
        };
        let access = MmioAccess::new(addr - base, width(size));
        let device = self.chips.get(chip);
        let name = device.name();
        let Some(mmio) = device.mmio() else { return access.width.mask() };
        let mut cx = DevCtx { irq: &mut self.irq, out: &mut self.out, clock: self.last };
        let value = self.bad.mmio_read(mmio, name, &mut cx, access);
        self.settle(chip);
        value.unwrap_or_else(|_| access.width.mask())
    }

    fn mmio_write(&mut self, addr: u64, size: u32, value: u64, at: u64) {
        self.last = Clock::at(self.clock.now(at));
        let Some((chip, base)) = self.decode(addr) else {
            return self.bad.unclaimed_mmio_write(self.last.now, MmioAccess::new(addr, width(size)), value);
        };
        let access = MmioAccess::new(addr - base, width(size));
        let device = self.chips.get(chip);
        let name = device.name();
        let Some(mmio) = device.mmio() else { return };
        let mut cx = DevCtx { irq: &mut self.irq, out: &mut self.out, clock: self.last };
        let _ = self.bad.mmio_write(mmio, name, &mut cx, access, value);
        self.settle(chip);
    }

    fn interrupt_pending(&mut self) -> bool {
        self.chips.lapic.ext_int() || self.chips.lapic.pending_vector().is_some()
    }

    fn interrupt_ack(&mut self) -> u8 {
        if !self.chips.lapic.ext_int() {
            return self.chips.lapic.ack();
        }
        self.chips.lapic.ack_ext_int();
        let vector = self.chips.pic.ack();
        self.settle(Chip::Pic);
        vector
    }

    fn take_nmi(&mut self) -> bool {
        std::mem::take(&mut self.nmi)
    }

    /// IA32_TSC_DEADLINE is in ticks of [`Platform::tsc`]: the CPU applies the guest's offset.
    fn msr_read(&mut self, msr: u32, at: u64) -> Option<u64> {
        self.last = Clock::at(self.clock.now(at));
        let mut cx = DevCtx { irq: &mut self.irq, out: &mut self.out, clock: self.last };
        let value = match msr {
            IA32_TSC_DEADLINE => Some(self.chips.lapic.tsc_deadline(&mut cx)),
            _ => self.chips.lapic.read_msr(&mut cx, msr).ok(),
        };
        self.settle(Chip::Lapic);
        value
    }

    fn msr_write(&mut self, msr: u32, value: u64, at: u64) -> bool {
        self.last = Clock::at(self.clock.now(at));
        let mut cx = DevCtx { irq: &mut self.irq, out: &mut self.out, clock: self.last };
        let done = match msr {
            IA32_TSC_DEADLINE => {
                self.chips.lapic.set_tsc_deadline(&mut cx, value, value);
                true
            }
            _ => self.chips.lapic.write_msr(&mut cx, msr, value).is_ok(),
        };
        self.settle(Chip::Lapic);
        done
    }

    fn interrupt_early(&mut self, at: u64) {
        self.last = Clock::at(self.clock.now(at));
        let mut cx = DevCtx { irq: &mut self.irq, out: &mut self.out, clock: self.last };
        self.chips.lapic.timer_interrupt(&mut cx);
        self.settle(Chip::Lapic);
    }

    fn cr8(&mut self) -> u8 {
        self.chips.lapic.cr8()
    }

    fn set_cr8(&mut self, priority: u8) {
        self.chips.lapic.set_cr8(priority);
    }

    fn decoded(&mut self, insns: u64, at: u64) {
        self.clock.spend(insns * DECODE_NS, at);
    }

    fn tsc(&mut self, at: u64) -> u64 {
        const { assert!(TSC_HZ == 1_000_000_000, "one tick a nanosecond") };
        self.clock.now(at)
    }

    fn random(&mut self) -> u64 {
        self.random.next()
    }

    fn wants_exit(&mut self) -> bool {
        self.event.is_some() || self.transfers && self.may_transfer() || self.deadline < self.planned
    }
}
