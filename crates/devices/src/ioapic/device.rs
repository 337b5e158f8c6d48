use super::{
    IoApic,
    spec::{FIXED, LOWEST_PRIORITY, PINS, Redirection, VERSION, WRITABLE, mmio, reg},
};
use bus::{DevCtx, Device, IoError, IoResult, IrqLines, LineChange, Mmio, MmioAccess, Msi, Width};

/// The message of an entry: SDM 3A, 11.11.1 and 11.11.2.
fn message(e: Redirection) -> Msi {
    Msi {
        address: 0xfee0_0000 | u64::from(e.destination()) << 12 | u64::from(e.logical()) << 2,
        data: u32::from(e.vector())
            | u32::from(e.delivery_mode()) << 8
            | u32::from(e.level()) << 14
            | u32::from(e.level()) << 15,
    }
}

impl IoApic {
    pub const fn new(id: u8) -> Self {
        Self { id: id & 15, select: 0, pins: 0, table: [Redirection::new().with_masked(true); PINS] }
    }

    /// How a PC wires global interrupts to the pins: as numbered, but ISA IRQ 0 enters at pin 2 (MP specification 1.4,
    /// 3.6.2; an interrupt source override in the MADT tells the guest) and pin 0, the PIC's INTR, is left open.
    pub const fn pc_wiring(c: LineChange) -> LineChange {
        const fn wire(m: u32) -> u32 {
            m & !0b101 | (m & 1) << 2
        }
        LineChange { level: wire(c.level), rose: wire(c.rose), changed: wire(c.changed) }
    }

    /// Changes on the pins.
    pub fn set_pins(&mut self, irq: &mut IrqLines, c: LineChange) {
        self.pins = c.level;
        for pin in (0..PINS).filter(|p| c.changed >> p & 1 != 0) {
            let e = self.table[pin];
            if e.level() {
                self.level(irq, pin);
            } else if c.rose >> pin & 1 != 0 && !e.masked() {
                // an edge at a masked pin is lost (3.2.4, bit 16)
                irq.send(message(e));
            }
        }
    }

    /// Sends a level-triggered interrupt if the pin is asserted and the last one is done.
    fn level(&mut self, irq: &mut IrqLines, pin: usize) {
        let e = &mut self.table[pin];
        if e.level() && self.pins >> pin & 1 != 0 && !e.masked() && !e.remote_irr() {
            irq.send(message(*e));
            // the other modes know no EOI
            e.set_remote_irr(matches!(e.delivery_mode(), FIXED | LOWEST_PRIORITY));
        }
    }

    /// End of interrupt for a vector: broadcast by the local APIC, or written to the EOI register. What is still
    /// asserted interrupts again.
    pub fn eoi(&mut self, irq: &mut IrqLines, vector: u8) {
        for pin in 0..PINS {
            let e = &mut self.table[pin];
            if e.level() && e.remote_irr() && e.vector() == vector {
                e.set_remote_irr(false);
                self.level(irq, pin);
            }
        }
    }

    fn read_window(&self) -> u32 {
        match self.select {
            reg::ID | reg::ARBITRATION => u32::from(self.id) << 24,
            reg::VERSION => VERSION,
            r @ reg::TABLE..reg::TABLE_END => {
                let n = usize::from(r - reg::TABLE);
                (self.table[n / 2].into_bits() >> (32 * (n % 2))) as u32
            }
            _ => 0,
        }
    }

    fn write_window(&mut self, irq: &mut IrqLines, v: u32) {
        match self.select {
            reg::ID => self.id = (v >> 24) as u8 & 15,
            r @ reg::TABLE..reg::TABLE_END => {
                let n = usize::from(r - reg::TABLE);
                let shift = 32 * (n % 2);
                let writable = WRITABLE & (0xffff_ffff << shift);
                let old = self.table[n / 2];
                let new = Redirection::from_bits(old.into_bits() & !writable | u64::from(v) << shift & writable);
                // an edge-triggered entry has no remote IRR: guests use this as an EOI
                self.table[n / 2] = new.with_remote_irr(new.remote_irr() && new.level());
                self.level(irq, n / 2);
            }
            _ => {}
        }
    }
}

impl Device for IoApic {
    fn name(&self) -> &'static str {
        "ioapic"
    }

    fn reset(&mut self, _: &mut DevCtx) {
        *self = Self { pins: self.pins, ..Self::new(0) };
    }

    fn mmio(&mut self) -> Option<&mut dyn Mmio> {
        Some(self)
    }
}

impl Mmio for IoApic {
    fn read(&mut self, _: &mut DevCtx, a: MmioAccess) -> IoResult<u64> {
        match (a.offset, a.width) {
            (mmio::IOREGSEL, Width::B1 | Width::B4) => IoResult::Ok(self.select.into()),
            (mmio::IOWIN, Width::B4) => IoResult::Ok(self.read_window().into()),
            (mmio::IOREGSEL | mmio::IOWIN, _) => IoError::Width.into(),
            _ => IoError::Register.into(),
        }
    }

    fn write(&mut self, cx: &mut DevCtx, a: MmioAccess, value: u64) -> IoResult<()> {
        match (a.offset, a.width) {
            (mmio::IOREGSEL, Width::B1 | Width::B4) => self.select = value as u8,
            (mmio::IOWIN, Width::B4) => self.write_window(cx.irq, value as u32),
            (mmio::EOI, Width::B4) => self.eoi(cx.irq, value as u8),
            (mmio::IOREGSEL | mmio::IOWIN | mmio::EOI, _) => return IoError::Width.into(),
            _ => return IoError::Register.into(),
        }
        IoResult::Ok(())
    }
}
