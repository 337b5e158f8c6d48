//! MSI-X: a table of interrupt messages in a function's memory (PCI Local Bus Specification 3.0, 6.8.2).

use crate::pci::{ConfigSpace, command};
use crate::{IoError, IoResult, IrqLines, MmioAccess, Msi, Width};

/// The capability's identifier (appendix H).
pub const CAPABILITY: u8 = 0x11;
/// Message control (6.8.2.3).
const ENABLE: u16 = 1 << 15;
const MASK_ALL: u16 = 1 << 14;
/// Vector control (6.8.2.9): the only bit that is not reserved.
const MASKED: u32 = 1;
const ENTRY_BYTES: u64 = 16;
/// Vectors of a function at most: the table and the pending bits share a page.
pub const VECTORS_MAX: u16 = 64;
/// Size of the BAR that holds both, and where in it the pending bits are.
pub const BAR_BYTES: u32 = 0x1000;
const PENDING_AT: u64 = 0x800;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    message: Msi,
    control: u32,
}

const RESET: Entry = Entry { message: Msi { address: 0, data: 0 }, control: MASKED };

/// The table of a function, and which of its messages wait because they are masked.
#[derive(Clone, Debug)]
pub struct Msix {
    entries: Vec<Entry>,
    pending: u64,
    /// Offset of the message control register.
    control_at: u8,
}

impl Msix {
    /// Adds the capability for `vectors` messages (1 to [`VECTORS_MAX`]), whose table is in memory BAR `bar`.
    ///
    /// # Panics
    /// When there are more or none (the board's doing).
    pub fn new(config: &mut ConfigSpace, vectors: u16, bar: u8) -> Self {
        assert!((1..=VECTORS_MAX).contains(&vectors), "number of vectors");
        let mut body = Vec::from((vectors - 1).to_le_bytes());
        body.extend(u32::from(bar).to_le_bytes());
        body.extend((PENDING_AT as u32 | u32::from(bar)).to_le_bytes());
        let at = config.add_capability(CAPABILITY, &body, &(ENABLE | MASK_ALL).to_le_bytes());
        Self { entries: vec![RESET; vectors.into()], pending: 0, control_at: at + 2 }
    }

    /// RST#. The configuration space is reset by its owner.
    pub fn reset(&mut self) {
        self.entries.fill(RESET);
        self.pending = 0;
    }

    /// The function was reset by its driver: messages that wait are no longer sent.
    pub fn drop_pending(&mut self) {
        self.pending = 0;
    }

    /// Number of vectors.
    pub fn vectors(&self) -> u16 {
        self.entries.len() as u16
    }

    fn control(&self, config: &ConfigSpace) -> u16 {
        config.read(self.control_at, Width::B2) as u16
    }

    /// Whether the function sends messages instead of asserting its pin.
    pub fn is_enabled(&self, config: &ConfigSpace) -> bool {
        self.control(config) & ENABLE != 0
    }

    /// Sends the message of `vector`, or leaves it pending where it is masked. Vectors that do not exist are none.
    pub fn send(&mut self, config: &ConfigSpace, vector: u16, irq: &mut IrqLines) {
        if vector < self.vectors() {
            self.pending |= 1 << vector;
            self.deliver(config, irq);
        }
    }

    /// Sends what is pending and no longer masked: to be called when the command or message control register was written.
    pub fn deliver(&mut self, config: &ConfigSpace, irq: &mut IrqLines) {
        let control = self.control(config);
        let may_send = control & ENABLE != 0 && control & MASK_ALL == 0 && config.command() & command::BUS_MASTER != 0;
        if self.pending == 0 || !may_send {
            return;
        }
        for (vector, entry) in self.entries.iter().enumerate() {
            if self.pending >> vector & 1 != 0 && entry.control & MASKED == 0 {
                self.pending &= !(1 << vector);
                irq.send(entry.message);
            }
        }
    }

    /// Reads the table or the pending bits, by doublewords and quadwords (6.8.2).
    pub fn read(&self, a: MmioAccess) -> IoResult<u64> {
        match a.width {
            Width::B4 => IoResult::Ok(self.doubleword(a.offset).into()),
            Width::B8 => {
                let high = self.doubleword(a.offset.wrapping_add(4));
                IoResult::Ok(u64::from(self.doubleword(a.offset)) | u64::from(high) << 32)
            }
            _ => IoError::Width.into(),
        }
    }

    fn doubleword(&self, offset: u64) -> u32 {
        match offset {
            PENDING_AT => self.pending as u32,
            _ if offset == PENDING_AT + 4 => (self.pending >> 32) as u32,
            _ => self.entries.get((offset / ENTRY_BYTES) as usize).map_or(0, |e| match offset % ENTRY_BYTES {
                0 => e.message.address as u32,
                4 => (e.message.address >> 32) as u32,
                8 => e.message.data,
                12 => e.control,
                _ => 0,
            }),
        }
    }

    /// Writes the table, and sends what this unmasks. The pending bits are read-only.
    pub fn write(&mut self, config: &ConfigSpace, a: MmioAccess, v: u64, irq: &mut IrqLines) -> IoResult<()> {
        match a.width {
            Width::B4 => self.set_doubleword(a.offset, v as u32),
            Width::B8 => {
                self.set_doubleword(a.offset, v as u32);
                self.set_doubleword(a.offset.wrapping_add(4), (v >> 32) as u32);
            }
            _ => return IoError::Width.into(),
        }
        self.deliver(config, irq);
        IoResult::Ok(())
    }

    fn set_doubleword(&mut self, offset: u64, v: u32) {
        let Some(e) = self.entries.get_mut((offset / ENTRY_BYTES) as usize) else { return };
        let address = e.message.address;
        match offset % ENTRY_BYTES {
            0 => e.message.address = address & !0xffff_ffff | u64::from(v & !3),
            4 => e.message.address = address & 0xffff_ffff | u64::from(v) << 32,
            8 => e.message.data = v,
            12 => e.control = v & MASKED,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pci::{Bar, Identity, header};

    const ADDRESS: u64 = 0xfee0_1000;

    fn function() -> (ConfigSpace, Msix, IrqLines) {
        let id = Identity { vendor: 1, device: 2, revision: 0, class: 0, subsystem_vendor: 0, subsystem: 0 };
        let mut config = ConfigSpace::new(id).with_bar(1, Bar::Memory32 { size: BAR_BYTES, prefetchable: false });
        let msix = Msix::new(&mut config, 3, 1);
        config.write(header::COMMAND, Width::B2, u32::from(command::MEMORY | command::BUS_MASTER));
        (config, msix, IrqLines::default())
    }

    fn put(m: &mut Msix, c: &ConfigSpace, irq: &mut IrqLines, offset: u64, v: u32) {
        m.write(c, MmioAccess::new(offset, Width::B4), v.into(), irq).ok().unwrap();
    }

    #[test]
    fn the_capability_names_table_and_pending_bits() {
        let (mut c, m, _) = function();
        assert_eq!((c.read(0x40, Width::B1), c.read(0x42, Width::B2)), (0x11, 2));
        assert_eq!((c.read(0x44, Width::B4), c.read(0x48, Width::B4)), (1, 0x801));
        c.write(0x42, Width::B2, 0xffff);
        assert_eq!(c.read(0x42, Width::B2), 0xc002);
        assert!(m.is_enabled(&c));
    }

    #[test]
    fn a_message_waits_while_it_is_masked_anywhere() {
        let (mut c, mut m, mut irq) = function();
        put(&mut m, &c, &mut irq, 0x10, ADDRESS as u32 | 3);
        put(&mut m, &c, &mut irq, 0x18, 0x4041);
        m.send(&c, 1, &mut irq);
        c.write(0x42, Width::B2, (ENABLE | MASK_ALL).into());
        m.deliver(&c, &mut irq);
        put(&mut m, &c, &mut irq, 0x1c, 0);
        assert_eq!(irq.take_msi(), None);
        assert_eq!(m.read(MmioAccess::new(PENDING_AT, Width::B8)), IoResult::Ok(2));
        c.write(0x42, Width::B2, ENABLE.into());
        m.deliver(&c, &mut irq);
        assert_eq!(irq.take_msi(), Some(Msi { address: ADDRESS, data: 0x4041 }));
        put(&mut m, &c, &mut irq, 0x1c, 1);
        m.send(&c, 1, &mut irq);
        m.send(&c, 1, &mut irq);
        assert_eq!(irq.take_msi(), None);
        m.write(&c, MmioAccess::new(0x18, Width::B8), 0x4042, &mut irq).ok().unwrap();
        assert_eq!(irq.take_msi(), Some(Msi { address: ADDRESS, data: 0x4042 }), "once, and as it reads now");
        assert_eq!(irq.take_msi(), None);
    }

    #[test]
    fn what_does_not_exist_does_nothing() {
        let (c, mut m, mut irq) = function();
        m.send(&c, 3, &mut irq);
        m.send(&c, 0xffff, &mut irq);
        put(&mut m, &c, &mut irq, 0x30, 1);
        put(&mut m, &c, &mut irq, 0xffc, 1);
        put(&mut m, &c, &mut irq, PENDING_AT, 1);
        assert_eq!(m.pending, 0);
        assert_eq!(m.read(MmioAccess::new(0x30, Width::B4)), IoResult::Ok(0));
        assert_eq!(m.read(MmioAccess::new(0, Width::B2)), IoResult::Bad(IoError::Width));
    }
}
