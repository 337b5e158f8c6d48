use super::{
    Devfn, PciHost,
    spec::{BRIDGE, CONFIG_ADDRESS, CONFIG_ADDRESS_WRITABLE, CONFIG_DATA, CONFIG_DATA_END, ConfigAddress, INTX},
};
use bus::{
    DevCtx, Device, Dma, IoError, IoResult, Line, Master, Mmio, MmioAccess, Pio, PioAccess, Width,
    pci::{ConfigSpace, PciFunction, command, io_access},
};

/// The wire of a pin (0 is INTA#) of a device (2.2.6, implementation note "Interrupt routing").
pub const fn intx_line(devfn: Devfn, pin: u8) -> Line {
    INTX[(devfn.device() + pin) as usize % INTX.len()]
}

impl<F: PciFunction> PciHost<F> {
    /// A bus whose memory window begins at physical address `window`; accesses come as offsets from there.
    pub fn new(window: u64) -> Self {
        Self { address: 0, bridge: ConfigSpace::new(BRIDGE), functions: Vec::new(), window }
    }

    /// Attaches a function. 0:0.0 is the bridge itself; a place is used once.
    ///
    /// # Panics
    /// When the place is taken (the board's doing).
    pub fn attach(&mut self, at: Devfn, function: F) {
        assert!(at != Devfn(0) && self.functions.iter().all(|(d, _)| *d != at), "PCI function number in use");
        self.functions.push((at, function));
    }

    /// The functions, in the order of their attachment.
    pub fn functions(&self) -> impl Iterator<Item = (Devfn, &F)> {
        self.functions.iter().map(|(at, f)| (*at, f))
    }

    /// All functions, in the order of their attachment: see [`PciHost::function_mut`].
    pub fn functions_mut(&mut self) -> impl Iterator<Item = &mut F> {
        self.functions.iter_mut().map(|(_, f)| f)
    }

    /// A function, to be given what comes from outside. It reaches the guest at the next transfer.
    pub fn function_mut(&mut self, at: Devfn) -> Option<&mut F> {
        self.functions.iter_mut().find(|(d, _)| *d == at).map(|(_, f)| f)
    }

    /// Calls a function from outside the bus (a request of its has completed), then drives the interrupts.
    pub fn with<R>(&mut self, cx: &mut DevCtx, at: Devfn, f: impl FnOnce(&mut F, &mut DevCtx) -> R) -> Option<R> {
        let result = self.functions.iter_mut().find(|(d, _)| *d == at).map(|(_, function)| f(function, cx));
        self.drive(cx);
        result
    }

    /// A write to the bus changed something: the wires.
    fn drive(&self, cx: &mut DevCtx) {
        let high = self.functions.iter().fold(0, |m, (at, f)| {
            let enabled = f.config().command() & command::INTX_DISABLE == 0;
            match f.config().interrupt_pin() {
                Some(pin) if enabled && f.intx() => m | intx_line(*at, pin).bit(),
                _ => m,
            }
        });
        INTX.iter().for_each(|line| cx.irq.set(*line, high & line.bit() != 0));
    }

    /// Offset of byte `port - CONFIG_DATA` of the addressed register; `None` when configuration cycles are off.
    fn config_offset(&self, port: u16) -> Option<(ConfigAddress, u8)> {
        let a = ConfigAddress::from_bits(self.address);
        a.enable().then(|| (a, a.register() << 2 | (port - CONFIG_DATA) as u8 & 3))
    }

    fn config_read(&mut self, cx: &mut DevCtx, a: PioAccess) -> u32 {
        let Some((address, at)) = self.config_offset(a.port) else { return u32::MAX };
        // a whole doubleword, of which the byte enables choose
        let v = match (address.bus(), address.devfn()) {
            (0, 0) => Some(self.bridge.read(at & !3, Width::B4)),
            (0, d) => {
                let function = self.functions.iter_mut().find(|(at, _)| at.0 == d);
                function.map(|(_, f)| f.config_read(cx, at & !3, Width::B4))
            }
            _ => None,
        };
        // nobody answers: master abort, all ones
        v.map_or(u32::MAX, |v| v >> (8 * (at & 3)))
    }

    fn config_write(&mut self, cx: &mut DevCtx, a: PioAccess, v: u32) {
        let Some((address, at)) = self.config_offset(a.port) else { return };
        match (address.bus(), address.devfn()) {
            (0, 0) => self.bridge.write(at, a.width, v),
            (0, d) => {
                if let Some((_, f)) = self.functions.iter_mut().find(|(at, _)| at.0 == d) {
                    f.config_write(cx, at, a.width, v);
                }
            }
            _ => {}
        }
        self.drive(cx);
    }

    fn memory(&mut self, address: u64) -> Option<(&mut F, usize, u64)> {
        self.functions.iter_mut().find_map(|(_, f)| {
            let (bar, offset) = f.config().decode_memory(address)?;
            Some((f, bar, offset))
        })
    }

    fn io(&mut self, port: u16) -> Option<(&mut F, usize, u64)> {
        self.functions.iter_mut().find_map(|(_, f)| {
            let (bar, offset) = f.config().decode_io(port)?;
            Some((f, bar, offset))
        })
    }
}

impl<F: PciFunction> Device for PciHost<F> {
    fn name(&self) -> &'static str {
        "pci_host"
    }

    fn reset(&mut self, cx: &mut DevCtx) {
        self.address = 0;
        self.bridge.reset();
        self.functions.iter_mut().for_each(|(_, f)| f.reset(cx));
        self.drive(cx);
    }

    fn pio(&mut self) -> Option<&mut dyn Pio> {
        Some(self)
    }

    fn mmio(&mut self) -> Option<&mut dyn Mmio> {
        Some(self)
    }

    fn master(&mut self) -> Option<&mut dyn Master> {
        Some(self)
    }
}

/// Whether the function may read and write RAM (6.2.2).
fn is_master(f: &impl PciFunction) -> bool {
    f.config().command() & command::BUS_MASTER != 0
}

impl<F: PciFunction> Master for PciHost<F> {
    fn wants_transfer(&self) -> bool {
        self.functions.iter().any(|(_, f)| is_master(f) && f.wants_transfer())
    }

    fn transfer(&mut self, cx: &mut DevCtx, ram: &mut dyn Dma) {
        self.functions.iter_mut().filter(|(_, f)| is_master(f)).for_each(|(_, f)| f.transfer(cx, ram));
        self.drive(cx);
    }
}

/// An access to a configuration register that lies within it and can go in one piece.
fn aligned(a: PioAccess) -> bool {
    a.port & (u16::from(a.width.bytes()) - 1) == 0
}

impl<F: PciFunction> Pio for PciHost<F> {
    fn read(&mut self, cx: &mut DevCtx, a: PioAccess) -> IoResult<u32> {
        match (a.port, a.width) {
            (CONFIG_ADDRESS, Width::B4) => IoResult::Ok(self.address),
            (CONFIG_DATA..=CONFIG_DATA_END, _) if !aligned(a) => IoError::Width.into(),
            (CONFIG_DATA..=CONFIG_DATA_END, _) => IoResult::Ok(self.config_read(cx, a)),
            _ => match self.io(a.port) {
                Some((f, bar, offset)) => {
                    let result = f.bar_read(cx, bar, io_access(offset, a)).map(|v| v as u32);
                    self.drive(cx);
                    result
                }
                // CONFIG_ADDRESS answers only to doublewords, other accesses pass it by (3.2.2.3.2)
                None => IoError::NoDevice.into(),
            },
        }
    }

    fn write(&mut self, cx: &mut DevCtx, a: PioAccess, value: u32) -> IoResult<()> {
        match (a.port, a.width) {
            (CONFIG_ADDRESS, Width::B4) => self.address = value & CONFIG_ADDRESS_WRITABLE,
            (CONFIG_DATA..=CONFIG_DATA_END, _) if !aligned(a) => return IoError::Width.into(),
            (CONFIG_DATA..=CONFIG_DATA_END, _) => self.config_write(cx, a, value),
            _ => {
                let Some((f, bar, offset)) = self.io(a.port) else { return IoError::NoDevice.into() };
                let result = f.bar_write(cx, bar, io_access(offset, a), value.into());
                self.drive(cx);
                return result;
            }
        }
        IoResult::Ok(())
    }
}

impl<F: PciFunction> Mmio for PciHost<F> {
    fn read(&mut self, cx: &mut DevCtx, a: MmioAccess) -> IoResult<u64> {
        let Some((f, bar, offset)) = self.memory(self.window.wrapping_add(a.offset)) else {
            return IoError::NoDevice.into();
        };
        let result = f.bar_read(cx, bar, MmioAccess::new(offset, a.width));
        self.drive(cx);
        result
    }

    fn write(&mut self, cx: &mut DevCtx, a: MmioAccess, value: u64) -> IoResult<()> {
        let Some((f, bar, offset)) = self.memory(self.window.wrapping_add(a.offset)) else {
            return IoError::NoDevice.into();
        };
        let result = f.bar_write(cx, bar, MmioAccess::new(offset, a.width), value);
        self.drive(cx);
        result
    }
}
