//! Interrupt wires between devices and interrupt controllers.

use serde::{Deserialize, Serialize};

/// An interrupt wire, numbered as a global system interrupt (ACPI 6.5, 5.2.13): 0-15 are the ISA IRQs, 16-23 the
/// further IOAPIC inputs. High means asserted, whatever the polarity of the input it stands for. (ISA IRQ 0 enters the IOAPIC at pin 2; that is the board's wiring, not the device's.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line(u8);

impl Line {
    /// Number of wires.
    pub const COUNT: u8 = 24;

    /// `n` is below [`Line::COUNT`] (a constant of the board); higher numbers wrap.
    pub const fn new(n: u8) -> Self {
        Self(n % Self::COUNT)
    }

    pub const fn number(self) -> u8 {
        self.0
    }

    /// The wire's bit in a mask of all wires.
    pub const fn bit(self) -> u32 {
        1 << self.0
    }
}

/// A message-signalled interrupt: a 32-bit write to 0xFEEx_xxxx (SDM 3A, 11.11). The IOAPIC's output has this form too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Msi {
    pub address: u64,
    pub data: u32,
}

/// What happened on the wires since the last [`IrqLines::take`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineChange {
    /// Level of every wire now.
    pub level: u32,
    /// Wires that rose at least once, also when they have fallen again.
    pub rose: u32,
    /// Wires that rose or whose level differs.
    pub changed: u32,
}

/// All interrupt wires of the machine, and the messages under way between IOAPIC, devices and LAPIC.
///
/// Devices drive wires; controllers never look at them directly: the machine takes the changes after each device call
/// and hands them to the PIC and the IOAPIC, which latch edges.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IrqLines {
    /// What ordinary sources drive.
    driven: u32,
    /// What the HPET drives: instead of the ordinary source on the wires it has taken over, beside it on others.
    overlay: u32,
    /// Wires taken over from their ordinary source.
    overlaid: u32,
    rose: u32,
    /// Levels at the last `take`.
    taken: u32,
    msis: Vec<Msi>,
    eois: Vec<u8>,
}

impl IrqLines {
    /// Drives a wire from its ordinary source.
    pub fn set(&mut self, line: Line, high: bool) {
        let driven = if high { self.driven | line.bit() } else { self.driven & !line.bit() };
        self.update(driven, self.overlay, self.overlaid);
    }

    /// A short high pulse: an edge for an edge-triggered input.
    pub fn pulse(&mut self, line: Line) {
        self.set(line, false);
        self.set(line, true);
        self.set(line, false);
    }

    /// Drives `levels` from the HPET, and takes the wires in `mask` over from their ordinary source: the legacy replacement
    /// route (IA-PC HPET 1.0a, 2.3.5), which disconnects the PIT from IRQ 0 and the RTC from IRQ 8. Other wires are shared
    /// with their source, as level-triggered ones are: high while either drives them.
    pub fn replace(&mut self, mask: u32, levels: u32) {
        self.update(self.driven, levels, mask);
    }

    fn update(&mut self, driven: u32, overlay: u32, overlaid: u32) {
        let before = self.levels();
        (self.driven, self.overlay, self.overlaid) = (driven, overlay, overlaid);
        self.rose |= self.levels() & !before;
    }

    /// Level of every wire.
    pub fn levels(&self) -> u32 {
        (self.driven & !self.overlaid) | self.overlay
    }

    /// Level of one wire.
    pub fn is_high(&self, line: Line) -> bool {
        self.levels() & line.bit() != 0
    }

    /// Sends a message-signalled interrupt to the local APIC.
    pub fn send(&mut self, msi: Msi) {
        self.msis.push(msi);
    }

    /// The local APIC's EOI broadcast to the IOAPIC (SDM 3A, 11.8.5).
    pub fn broadcast_eoi(&mut self, vector: u8) {
        self.eois.push(vector);
    }

    /// Whether the machine has anything to deliver: cheap enough to ask after every device access.
    pub fn pending(&self) -> bool {
        self.rose != 0 || self.levels() != self.taken || !self.msis.is_empty() || !self.eois.is_empty()
    }

    /// Takes what happened on the wires; `None` if nothing did.
    pub fn take(&mut self) -> Option<LineChange> {
        let level = self.levels();
        let rose = std::mem::take(&mut self.rose);
        let changed = rose | (level ^ std::mem::replace(&mut self.taken, level));
        (changed != 0).then_some(LineChange { level, rose, changed })
    }

    /// Takes the oldest message on its way to the local APIC.
    pub fn take_msi(&mut self) -> Option<Msi> {
        (!self.msis.is_empty()).then(|| self.msis.remove(0))
    }

    /// Takes the oldest EOI broadcast on its way to the IOAPIC.
    pub fn take_eoi(&mut self) -> Option<u8> {
        (!self.eois.is_empty()).then(|| self.eois.remove(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pulse_between_two_takes_is_an_edge() {
        let mut irq = IrqLines::default();
        irq.pulse(Line::new(4));
        assert!(irq.pending());
        assert_eq!(irq.take(), Some(LineChange { level: 0, rose: 0x10, changed: 0x10 }));
        assert!(!irq.pending());
        assert_eq!(irq.take(), None);
    }

    #[test]
    fn a_fall_is_a_change_but_no_edge() {
        let mut irq = IrqLines::default();
        irq.set(Line::new(1), true);
        irq.take();
        irq.set(Line::new(1), true);
        assert_eq!(irq.take(), None);
        irq.set(Line::new(1), false);
        assert_eq!(irq.take(), Some(LineChange { level: 0, rose: 0, changed: 2 }));
    }

    #[test]
    fn a_replaced_wire_ignores_its_ordinary_source() {
        let mut irq = IrqLines::default();
        irq.replace(1 << 0 | 1 << 8, 0);
        irq.set(Line::new(0), true);
        irq.set(Line::new(3), true);
        assert_eq!(irq.levels(), 1 << 3);
        irq.replace(1 << 0 | 1 << 8, 1 << 8);
        assert_eq!(irq.levels(), 1 << 3 | 1 << 8);
        irq.replace(0, 0);
        assert_eq!(irq.levels(), 1 << 3 | 1 << 0, "given back, the wire shows what its source drives");
    }

    #[test]
    fn a_wire_that_is_not_taken_over_is_shared() {
        let mut irq = IrqLines::default();
        irq.set(Line::new(20), true);
        irq.replace(0, 1 << 20 | 1 << 21);
        irq.set(Line::new(20), false);
        assert_eq!(irq.levels(), 1 << 20 | 1 << 21);
        irq.set(Line::new(21), true);
        irq.replace(0, 0);
        assert_eq!(irq.levels(), 1 << 21);
    }

    #[test]
    fn messages_keep_their_order() {
        let mut irq = IrqLines::default();
        for data in [1, 2] {
            irq.send(Msi { address: 0xfee0_0000, data });
        }
        irq.broadcast_eoi(0x31);
        assert_eq!(irq.take_msi().map(|m| m.data), Some(1));
        assert_eq!(irq.take_msi().map(|m| m.data), Some(2));
        assert_eq!(irq.take_msi(), None);
        assert_eq!((irq.take_eoi(), irq.take_eoi()), (Some(0x31), None));
    }
}
