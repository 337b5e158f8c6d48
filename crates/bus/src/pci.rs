//! PCI functions: what a chip on the PCI bus is, and its configuration space.
//!
//! The host bridge owns the functions, decodes configuration cycles and BARs, and routes INTx; a function sees only
//! accesses to its own registers. Section numbers are of the PCI Local Bus Specification 3.0.

use crate::{DevCtx, Dma, IoError, IoResult, MmioAccess, PioAccess, Width};
use serde::{Deserialize, Serialize};

/// Bytes of a function's configuration space.
pub const CONFIG_SIZE: usize = 256;
/// Base address registers of a function.
pub const BARS: usize = 6;

/// Offsets in the type 0 header (6.1, figure 6-1).
pub mod header {
    pub const VENDOR: u8 = 0x00;
    pub const DEVICE: u8 = 0x02;
    pub const COMMAND: u8 = 0x04;
    pub const STATUS: u8 = 0x06;
    pub const REVISION: u8 = 0x08;
    pub const CLASS: u8 = 0x09;
    pub const CACHE_LINE: u8 = 0x0c;
    pub const LATENCY: u8 = 0x0d;
    pub const TYPE: u8 = 0x0e;
    pub const BAR: u8 = 0x10;
    pub const SUBSYSTEM_VENDOR: u8 = 0x2c;
    pub const SUBSYSTEM: u8 = 0x2e;
    pub const CAPABILITIES: u8 = 0x34;
    pub const INTERRUPT_LINE: u8 = 0x3c;
    pub const INTERRUPT_PIN: u8 = 0x3d;
    /// Where capabilities may begin.
    pub const END: u8 = 0x40;
}

/// Command register bits (6.2.2).
pub mod command {
    pub const IO: u16 = 1 << 0;
    pub const MEMORY: u16 = 1 << 1;
    pub const BUS_MASTER: u16 = 1 << 2;
    pub const INTX_DISABLE: u16 = 1 << 10;
    /// Bits that a guest may write here: the above, parity error response and SERR#.
    pub const WRITABLE: u16 = IO | MEMORY | BUS_MASTER | INTX_DISABLE | 1 << 6 | 1 << 8;
}

/// Status register bits (6.2.3).
pub mod status {
    pub const INTERRUPT: u16 = 1 << 3;
    pub const CAPABILITIES: u16 = 1 << 4;
}

/// What a BAR decodes (6.2.5.1). Sizes are powers of two: I/O 4 to 256 bytes, memory from 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bar {
    Io {
        size: u32,
    },
    Memory32 {
        size: u32,
        prefetchable: bool,
    },
    /// Uses the next BAR too.
    Memory64 {
        size: u64,
        prefetchable: bool,
    },
}

/// Who a function is (6.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    pub vendor: u16,
    pub device: u16,
    pub revision: u8,
    /// Base class, sub-class, programming interface: 0xBBSSPP.
    pub class: u32,
    pub subsystem_vendor: u16,
    pub subsystem: u16,
}

/// A function's configuration space: bytes, and which bits the guest may write. A board's function is built once; only
/// the bytes change and are saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigSpace {
    bytes: [u8; CONFIG_SIZE],
    writable: [u8; CONFIG_SIZE],
    reset: [u8; CONFIG_SIZE],
    bars: [Option<Bar>; BARS],
    /// Where the next capability goes.
    next: u8,
    /// The last capability's link.
    link: u8,
}

/// The bytes of a configuration space in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigState(pub Vec<u8>);

impl ConfigSpace {
    /// A type 0 header with no BARs, no interrupt, no capabilities.
    pub fn new(id: Identity) -> Self {
        let mut c = Self {
            bytes: [0; CONFIG_SIZE],
            writable: [0; CONFIG_SIZE],
            reset: [0; CONFIG_SIZE],
            bars: [None; BARS],
            next: header::END,
            link: header::CAPABILITIES,
        };
        c.put(header::VENDOR, &id.vendor.to_le_bytes());
        c.put(header::DEVICE, &id.device.to_le_bytes());
        c.put(header::REVISION, &[id.revision]);
        c.put(header::CLASS, &id.class.to_le_bytes()[..3]);
        c.put(header::SUBSYSTEM_VENDOR, &id.subsystem_vendor.to_le_bytes());
        c.put(header::SUBSYSTEM, &id.subsystem.to_le_bytes());
        c.allow(header::COMMAND, &command::WRITABLE.to_le_bytes());
        c.allow(header::CACHE_LINE, &[0xff]);
        c.allow(header::LATENCY, &[0xff]);
        c.allow(header::INTERRUPT_LINE, &[0xff]);
        c
    }

    /// Adds BAR `n`. A 64-bit one also takes `n + 1`.
    ///
    /// # Panics
    /// When the board's description is impossible: sizes, numbers or an occupied place (never a guest's doing).
    pub fn with_bar(mut self, n: usize, bar: Bar) -> Self {
        let (size, flags, wide): (u64, u32, bool) = match bar {
            Bar::Io { size } => (size.into(), 1, false),
            Bar::Memory32 { size, prefetchable } => (size.into(), u32::from(prefetchable) << 3, false),
            Bar::Memory64 { size, prefetchable } => (size, 4 | u32::from(prefetchable) << 3, true),
        };
        let smallest = if flags & 1 != 0 { 4 } else { 16 };
        assert!(size.is_power_of_two() && size >= smallest, "size of a BAR");
        assert!(n + usize::from(wide) < BARS && self.bars[n].is_none(), "number of a BAR");
        self.bars[n] = Some(bar);
        let at = header::BAR + 4 * n as u8;
        let mask = (!(size - 1)).to_le_bytes();
        self.put(at, &flags.to_le_bytes());
        self.allow(at, &mask[..if wide { 8 } else { 4 }]);
        self
    }

    /// Uses interrupt pin INTA# (0) to INTD# (3).
    pub fn with_interrupt_pin(mut self, pin: u8) -> Self {
        self.put(header::INTERRUPT_PIN, &[pin % 4 + 1]);
        self
    }

    /// Adds a capability (6.7): its identifier, its bytes from offset 2, and which of those bits the guest may write.
    /// Gives its offset.
    ///
    /// # Panics
    /// When they do not fit 192 bytes (the board's doing).
    pub fn add_capability(&mut self, id: u8, body: &[u8], writable: &[u8]) -> u8 {
        let at = self.next;
        let end = usize::from(at) + 2 + body.len();
        assert!(end <= CONFIG_SIZE && writable.len() <= body.len(), "capability too long");
        self.put(self.link, &[at]);
        self.put(at, &[id, 0]);
        self.put(at + 2, body);
        self.allow(at + 2, writable);
        self.put(header::STATUS, &status::CAPABILITIES.to_le_bytes());
        // the next one at a multiple of four; the end of the space leaves no room
        (self.link, self.next) = (at + 1, end.next_multiple_of(4).min(CONFIG_SIZE - 4) as u8);
        at
    }

    /// Marks the device as one with several functions (6.2.1, header type bit 7).
    pub fn set_multifunction(&mut self) {
        self.put(header::TYPE, &[0x80]);
    }

    /// Sets bytes, as the function itself or its builder may; they are also the value after reset.
    fn put(&mut self, at: u8, v: &[u8]) {
        let at = usize::from(at);
        self.bytes[at..at + v.len()].copy_from_slice(v);
        self.reset[at..at + v.len()].copy_from_slice(v);
    }

    fn allow(&mut self, at: u8, v: &[u8]) {
        let at = usize::from(at);
        self.writable[at..at + v.len()].copy_from_slice(v);
    }

    /// Everything as it was built.
    pub fn reset(&mut self) {
        self.bytes = self.reset;
    }

    /// A naturally aligned read.
    pub fn read(&self, at: u8, width: Width) -> u32 {
        let at = usize::from(at & !(width.bytes() - 1));
        let mut v = [0; 4];
        let n = usize::from(width.bytes()).min(4);
        v[..n].copy_from_slice(&self.bytes[at..at + n]);
        u32::from_le_bytes(v)
    }

    /// A naturally aligned write by the guest: only writable bits change.
    pub fn write(&mut self, at: u8, width: Width, v: u32) {
        let at = usize::from(at & !(width.bytes() - 1));
        for (i, new) in v.to_le_bytes().into_iter().enumerate().take(width.bytes().into()) {
            let mask = self.writable[at + i];
            self.bytes[at + i] = self.bytes[at + i] & !mask | new & mask;
        }
    }

    /// A write by the function itself, past the guest's mask (status bits, capability registers).
    pub fn set_u16(&mut self, at: u8, v: u16) {
        let at = usize::from(at & !1);
        self.bytes[at..at + 2].copy_from_slice(&v.to_le_bytes());
    }

    /// The command register.
    pub fn command(&self) -> u16 {
        self.read(header::COMMAND, Width::B2) as u16
    }

    /// The interrupt pin, 0 for INTA#.
    pub fn interrupt_pin(&self) -> Option<u8> {
        self.bytes[usize::from(header::INTERRUPT_PIN)].checked_sub(1)
    }

    /// What BAR `n` decodes, and where it stands now, whether decoding is enabled or not.
    pub fn bar(&self, n: usize) -> Option<(Bar, u64)> {
        let bar = (*self.bars.get(n)?)?;
        let at = header::BAR + 4 * n as u8;
        let low = u64::from(self.read(at, Width::B4));
        Some(match bar {
            Bar::Io { .. } => (bar, low & !3),
            Bar::Memory32 { .. } => (bar, low & !15),
            Bar::Memory64 { .. } => (bar, low & !15 | u64::from(self.read(at + 4, Width::B4)) << 32),
        })
    }

    /// The memory BAR that decodes `address`, and the offset in it.
    pub fn decode_memory(&self, address: u64) -> Option<(usize, u64)> {
        let enabled = self.command() & command::MEMORY != 0;
        (0..BARS).filter(|_| enabled).find_map(|n| match self.bar(n)? {
            (Bar::Memory32 { size, .. }, base) => within(address, base, size.into()).map(|o| (n, o)),
            (Bar::Memory64 { size, .. }, base) => within(address, base, size).map(|o| (n, o)),
            (Bar::Io { .. }, _) => None,
        })
    }

    /// The I/O BAR that decodes `port`, and the offset in it.
    pub fn decode_io(&self, port: u16) -> Option<(usize, u64)> {
        let enabled = self.command() & command::IO != 0;
        (0..BARS).filter(|_| enabled).find_map(|n| match self.bar(n)? {
            (Bar::Io { size }, base) => within(port.into(), base, size.into()).map(|o| (n, o)),
            _ => None,
        })
    }

    pub fn save(&self) -> ConfigState {
        ConfigState(self.bytes.to_vec())
    }

    /// Takes the writable bits from a saved state; the others are the board's. False if it has another size.
    pub fn restore(&mut self, s: &ConfigState) -> bool {
        if s.0.len() != CONFIG_SIZE {
            return false;
        }
        for (i, saved) in s.0.iter().enumerate() {
            self.bytes[i] = self.bytes[i] & !self.writable[i] | saved & self.writable[i];
        }
        true
    }
}

/// Offset of `address` in `size` bytes from `base`. A BAR at 0 is one that nobody has placed.
fn within(address: u64, base: u64, size: u64) -> Option<u64> {
    (base != 0).then(|| address.checked_sub(base)).flatten().filter(|o| *o < size)
}

/// A function on the PCI bus. Its registers in memory or I/O space are reached through its BARs.
pub trait PciFunction {
    fn config(&self) -> &ConfigSpace;
    fn config_mut(&mut self) -> &mut ConfigSpace;

    /// A configuration write, already naturally aligned. A function with registers that act overrides it.
    fn config_write(&mut self, cx: &mut DevCtx, at: u8, width: Width, v: u32) {
        let _ = cx;
        self.config_mut().write(at, width, v);
    }

    /// A configuration read, already naturally aligned. A function with registers that act overrides it.
    fn config_read(&mut self, cx: &mut DevCtx, at: u8, width: Width) -> u32 {
        let _ = cx;
        self.config().read(at, width)
    }

    /// A read in the memory or I/O space of BAR `bar`.
    fn bar_read(&mut self, cx: &mut DevCtx, bar: usize, a: MmioAccess) -> IoResult<u64> {
        let _ = (cx, bar, a);
        IoError::Register.into()
    }

    /// A write in the memory or I/O space of BAR `bar`.
    fn bar_write(&mut self, cx: &mut DevCtx, bar: usize, a: MmioAccess, v: u64) -> IoResult<()> {
        let _ = (cx, bar, a, v);
        IoError::Register.into()
    }

    /// Whether the function asserts its interrupt pin. (The host bridge applies the interrupt disable bit.)
    fn intx(&self) -> bool {
        false
    }

    /// Whether the function wants to read or write RAM: see [`crate::Master`].
    fn wants_transfer(&self) -> bool {
        false
    }

    /// Reads and writes RAM. (The host bridge asks only functions that may be bus masters.)
    fn transfer(&mut self, cx: &mut DevCtx, ram: &mut dyn Dma) {
        let _ = (cx, ram);
    }

    /// RST#.
    fn reset(&mut self, cx: &mut DevCtx);
}

/// An I/O port access as one to a BAR.
pub fn io_access(offset: u64, a: PioAccess) -> MmioAccess {
    MmioAccess::new(offset, a.width)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space() -> ConfigSpace {
        let id = Identity {
            vendor: 0x1af4,
            device: 0x1042,
            revision: 1,
            class: 0x01_00_00,
            subsystem_vendor: 0x1af4,
            subsystem: 2,
        };
        ConfigSpace::new(id)
            .with_bar(0, Bar::Io { size: 64 })
            .with_bar(1, Bar::Memory32 { size: 0x1000, prefetchable: false })
            .with_bar(4, Bar::Memory64 { size: 0x4000, prefetchable: true })
            .with_interrupt_pin(0)
    }

    #[test]
    fn header_reads_as_built_and_keeps_read_only_bits() {
        let mut c = space();
        c.write(0, Width::B4, 0xffff_ffff);
        c.write(8, Width::B4, 0xffff_ffff);
        assert_eq!((c.read(0, Width::B4), c.read(8, Width::B4)), (0x1042_1af4, 0x0100_0001));
        c.write(header::COMMAND, Width::B4, 0xffff_ffff);
        assert_eq!(c.read(header::COMMAND, Width::B4), 0x0000_0547);
        c.write(header::INTERRUPT_LINE, Width::B2, 0xff0b);
        assert_eq!(c.read(header::INTERRUPT_LINE, Width::B2), 0x010b);
        assert_eq!((c.read(0x2f, Width::B1), c.read(0x2d, Width::B1)), (0, 0x1a));
    }

    #[test]
    fn sizing_and_placing_bars() {
        let mut c = space();
        for (at, size) in
            [(0x10, 0xffff_ffc1), (0x14, 0xffff_f000), (0x18, 0), (0x20, 0xffff_c00c), (0x24, 0xffff_ffff)]
        {
            c.write(at, Width::B4, 0xffff_ffff);
            assert_eq!(c.read(at, Width::B4), size, "{at:#x}");
            c.write(at, Width::B4, 0);
        }
        c.write(0x10, Width::B4, 0xc041);
        c.write(0x14, Width::B4, 0xe000_0000);
        c.write(0x20, Width::B4, 0x0001_0000);
        c.write(0x24, Width::B4, 0x8);
        assert_eq!((c.decode_io(0xc045), c.decode_memory(0xe000_0004)), (None, None), "decoding is off");
        c.write(header::COMMAND, Width::B2, 3);
        assert_eq!((c.decode_io(0xc045), c.decode_io(0xc080)), (Some((0, 5)), None));
        assert_eq!(c.decode_memory(0xe000_0fff), Some((1, 0xfff)));
        assert_eq!(c.decode_memory(0x8_0001_3ffc), Some((4, 0x3ffc)));
        assert_eq!(c.decode_memory(0x8_0001_4000), None);
        c.reset();
        assert_eq!((c.command(), c.bar(1).unwrap().1), (0, 0));
    }

    #[test]
    fn capabilities_form_a_list() {
        let mut c = space();
        let a = c.add_capability(0x11, &[1, 0, 0, 0, 0], &[0, 0xc0]);
        let b = c.add_capability(0x09, &[0x10; 14], &[]);
        assert_eq!((a, b), (0x40, 0x48));
        assert_eq!((c.read(0x34, Width::B1), c.read(0x41, Width::B1), c.read(0x49, Width::B1)), (0x40, 0x48, 0));
        assert_eq!(c.read(header::STATUS, Width::B2), 0x10);
        c.write(0x42, Width::B2, 0xffff);
        assert_eq!(c.read(0x40, Width::B4), 0xc001_4811);
    }

    #[test]
    fn saved_bytes_cannot_change_what_the_board_built() {
        let mut c = space();
        c.write(header::COMMAND, Width::B2, 7);
        let saved = c.save();
        let mut d = space();
        assert!(d.restore(&ConfigState(vec![0xff; 256])));
        assert_eq!(d.read(0, Width::B4), 0x1042_1af4);
        assert!(d.restore(&saved));
        assert_eq!(d, c);
        assert!(!d.restore(&ConfigState(vec![])));
    }
}
