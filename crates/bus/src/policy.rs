//! What the guest sees of an access that no register answers: reads are all ones, writes are dropped, as on a PC whose
//! bus nobody drives. Each is logged, rate-limited by guest time.
//!
//! An access wider than a register is split into bytes at consecutive ports, as the ISA bus controller does (82371SB,
//! 4.4); a device asks for it with [`IoError::Width`].

use crate::{DevCtx, IoError, IoResult, Mmio, MmioAccess, NS_PER_SEC, Pio, PioAccess, Token, Width};

/// Reports in each guest second.
const REPORTS_PER_SEC: u32 = 8;

/// The rate-limited log of bad accesses, and their count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BadAccessLog {
    second: u64,
    in_second: u32,
    total: u64,
}

/// Which access to report.
#[derive(Clone, Copy, Debug)]
enum What {
    Port(PioAccess),
    Memory(MmioAccess),
}

impl BadAccessLog {
    /// Bad accesses since power-on.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Counts one; true if it should be reported.
    fn count(&mut self, now: u64) -> bool {
        self.total += 1;
        let second = now / NS_PER_SEC;
        if second != self.second {
            (self.second, self.in_second) = (second, 0);
        }
        self.in_second = self.in_second.saturating_add(1);
        self.in_second <= REPORTS_PER_SEC
    }

    fn report(&mut self, now: u64, who: &str, what: What, written: Option<u64>, e: IoError) {
        if !self.count(now) {
            return;
        }
        let (space, at, n) = match what {
            What::Port(a) => ("port", u64::from(a.port), a.width.bytes()),
            What::Memory(a) => ("mmio +", a.offset, a.width.bytes()),
        };
        match written {
            Some(v) => log::debug!("{who}: write of {v:#x} to {space} {at:#x}/{n}: {e}"),
            None => log::debug!("{who}: read of {space} {at:#x}/{n}: {e}"),
        }
    }

    /// A read of a port that no device claims.
    pub fn unclaimed_pio_read(&mut self, now: u64, a: PioAccess) -> u32 {
        self.report(now, "bus", What::Port(a), None, IoError::NoDevice);
        a.width.mask() as u32
    }

    /// A write to a port that no device claims.
    pub fn unclaimed_pio_write(&mut self, now: u64, a: PioAccess, value: u32) {
        self.report(now, "bus", What::Port(a), Some(value.into()), IoError::NoDevice);
    }

    /// A read of physical memory that neither RAM nor a device claims; `a.offset` is the physical address.
    pub fn unclaimed_mmio_read(&mut self, now: u64, a: MmioAccess) -> u64 {
        self.report(now, "bus", What::Memory(a), None, IoError::NoDevice);
        a.width.mask()
    }

    /// A write to physical memory that neither RAM nor a device claims; `a.offset` is the physical address.
    pub fn unclaimed_mmio_write(&mut self, now: u64, a: MmioAccess, value: u64) {
        self.report(now, "bus", What::Memory(a), Some(value), IoError::NoDevice);
    }

    /// Reads a port of `dev`; `Err` when the CPU must wait for the host.
    pub fn pio_read(&mut self, dev: &mut dyn Pio, who: &str, cx: &mut DevCtx, a: PioAccess) -> Result<u32, Token> {
        match dev.read(cx, a) {
            IoResult::Ok(v) => Ok(v & a.width.mask() as u32),
            IoResult::Wait(t) => Err(t),
            IoResult::Bad(IoError::Width) if a.width != Width::B1 => {
                (0..u16::from(a.width.bytes())).try_fold(0, |v, i| {
                    let byte = PioAccess::new(a.port.wrapping_add(i), Width::B1);
                    Ok(v | self.pio_read(dev, who, cx, byte)? << (8 * i))
                })
            }
            IoResult::Bad(e) => {
                self.report(cx.now(), who, What::Port(a), None, e);
                Ok(a.width.mask() as u32)
            }
        }
    }

    /// Writes a port of `dev`; `Err` when the CPU must wait for the host.
    pub fn pio_write(
        &mut self,
        dev: &mut dyn Pio,
        who: &str,
        cx: &mut DevCtx,
        a: PioAccess,
        value: u32,
    ) -> Result<(), Token> {
        match dev.write(cx, a, value & a.width.mask() as u32) {
            IoResult::Ok(()) => Ok(()),
            IoResult::Wait(t) => Err(t),
            IoResult::Bad(IoError::Width) if a.width != Width::B1 => {
                (0..u16::from(a.width.bytes())).try_for_each(|i| {
                    let byte = PioAccess::new(a.port.wrapping_add(i), Width::B1);
                    self.pio_write(dev, who, cx, byte, value >> (8 * i))
                })
            }
            IoResult::Bad(e) => {
                self.report(cx.now(), who, What::Port(a), Some(value.into()), e);
                Ok(())
            }
        }
    }

    /// Reads memory-mapped registers of `dev`; `Err` when the CPU must wait for the host. Not split: a register that
    /// refuses a width reads all ones.
    pub fn mmio_read(&mut self, dev: &mut dyn Mmio, who: &str, cx: &mut DevCtx, a: MmioAccess) -> Result<u64, Token> {
        match dev.read(cx, a) {
            IoResult::Ok(v) => Ok(v & a.width.mask()),
            IoResult::Wait(t) => Err(t),
            IoResult::Bad(e) => {
                self.report(cx.now(), who, What::Memory(a), None, e);
                Ok(a.width.mask())
            }
        }
    }

    /// Writes memory-mapped registers of `dev`; `Err` when the CPU must wait for the host.
    pub fn mmio_write(
        &mut self,
        dev: &mut dyn Mmio,
        who: &str,
        cx: &mut DevCtx,
        a: MmioAccess,
        value: u64,
    ) -> Result<(), Token> {
        match dev.write(cx, a, value & a.width.mask()) {
            IoResult::Ok(()) => Ok(()),
            IoResult::Wait(t) => Err(t),
            IoResult::Bad(e) => {
                self.report(cx.now(), who, What::Memory(a), Some(value), e);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Clock, IrqLines, Outbox};

    /// Byte registers at ports 0x10..0x12; the last one waits for the host.
    struct Bytes([u8; 2]);

    impl Pio for Bytes {
        fn read(&mut self, _: &mut DevCtx, a: PioAccess) -> IoResult<u32> {
            match (a.width, a.port) {
                (Width::B1, 0x12) => IoResult::Wait(Token(9)),
                (Width::B1, p) => self
                    .0
                    .get(usize::from(p - 0x10))
                    .map_or_else(|| IoError::Register.into(), |b| IoResult::Ok((*b).into())),
                _ => IoError::Width.into(),
            }
        }

        fn write(&mut self, _: &mut DevCtx, a: PioAccess, v: u32) -> IoResult<()> {
            match (a.width, self.0.get_mut(usize::from(a.port - 0x10))) {
                (Width::B1, Some(b)) => {
                    *b = v as u8;
                    IoResult::Ok(())
                }
                (Width::B1, None) => IoError::Register.into(),
                _ => IoError::Width.into(),
            }
        }
    }

    fn with<R>(f: impl FnOnce(&mut BadAccessLog, &mut DevCtx) -> R) -> (R, BadAccessLog) {
        let (mut irq, mut out, mut log) = (IrqLines::default(), Outbox::default(), BadAccessLog::default());
        let mut cx = DevCtx { irq: &mut irq, out: &mut out, clock: Clock::default() };
        let r = f(&mut log, &mut cx);
        (r, log)
    }

    #[test]
    fn a_wide_access_to_byte_registers_is_split() {
        let (v, log) = with(|log, cx| {
            let mut d = Bytes([0, 0]);
            log.pio_write(&mut d, "d", cx, PioAccess::new(0x10, Width::B2), 0xabcd_1234).unwrap();
            assert_eq!(d.0, [0x34, 0x12]);
            log.pio_read(&mut d, "d", cx, PioAccess::new(0x10, Width::B2))
        });
        assert_eq!((v, log.total()), (Ok(0x1234), 0));
    }

    #[test]
    fn a_missing_register_reads_all_ones_and_is_counted() {
        let (v, log) = with(|log, cx| {
            let mut d = Bytes([0, 0]);
            log.pio_write(&mut d, "d", cx, PioAccess::new(0x20, Width::B1), 1).unwrap();
            log.pio_read(&mut d, "d", cx, PioAccess::new(0x13, Width::B1))
        });
        assert_eq!((v, log.total()), (Ok(0xff), 2));
        let mut log = BadAccessLog::default();
        assert_eq!(log.unclaimed_mmio_read(0, MmioAccess::new(0, Width::B8)), u64::MAX);
        assert_eq!(log.unclaimed_pio_read(0, PioAccess::new(0, Width::B2)), 0xffff);
    }

    #[test]
    fn waiting_reaches_the_cpu() {
        let (v, _) = with(|log, cx| log.pio_read(&mut Bytes([0, 0]), "d", cx, PioAccess::new(0x12, Width::B1)));
        assert_eq!(v, Err(Token(9)));
    }

    #[test]
    fn reports_are_limited_each_second() {
        let mut log = BadAccessLog::default();
        let reported = (0..100).filter(|_| log.count(5)).count();
        assert_eq!(reported, REPORTS_PER_SEC as usize);
        assert!(log.count(NS_PER_SEC));
        assert_eq!(log.total(), 101);
    }
}
