use super::{
    Uart16550,
    spec::{
        CLOCK_HZ, FIFO_DEPTH, FifoControl, InterruptEnable, LineControl, LineStatus, ModemControl, ModemStatus,
        TIMEOUT_CHARS, iir, reg,
    },
};
use bus::{DevCtx, Device, IoError, IoResult, Line, NS_PER_SEC, Pio, PioAccess, Stream, Timer, Width};
use std::collections::VecDeque;

impl Uart16550 {
    /// A UART at ports `base..base + 8` that interrupts on `line`; what it sends goes to `stream`.
    pub fn new(base: u16, line: Line, stream: Stream) -> Self {
        Self {
            base,
            line,
            stream,
            divisor: 0,
            ier: InterruptEnable::empty(),
            fcr: FifoControl::new(),
            lcr: LineControl::new(),
            mcr: ModemControl::empty(),
            errors: LineStatus::empty(),
            deltas: ModemStatus::empty(),
            scratch: 0,
            rx: VecDeque::with_capacity(FIFO_DEPTH),
            rx_active_at: 0,
            rx_timeout: false,
            thre_pending: false,
        }
    }

    /// How many characters the receiver can take now; the host keeps the others. None while in loopback, where the
    /// input pin is disconnected (8.8).
    pub fn can_receive(&self) -> usize {
        if self.mcr.contains(ModemControl::LOOP) { 0 } else { self.depth().saturating_sub(self.rx.len()) }
    }

    /// A character arrives from the line. Without room ([`Uart16550::can_receive`]) it is lost and the overrun bit is set.
    pub fn receive(&mut self, cx: &mut DevCtx, byte: u8) {
        if !self.mcr.contains(ModemControl::LOOP) {
            self.push_rx(cx.now(), byte);
            self.update(cx);
        }
    }

    fn depth(&self) -> usize {
        if self.fcr.enable() { FIFO_DEPTH } else { 1 }
    }

    fn push_rx(&mut self, now: u64, byte: u8) {
        if self.rx.len() < self.depth() {
            self.rx.push_back(byte);
            (self.rx_active_at, self.rx_timeout) = (now, false);
        } else {
            self.errors |= LineStatus::OVERRUN;
            // without FIFOs the holding register is overwritten; a full FIFO keeps its contents (8.4, bit 1)
            if !self.fcr.enable()
                && let Some(held) = self.rx.front_mut()
            {
                *held = byte;
            }
        }
    }

    fn clear_rx(&mut self) {
        self.rx.clear();
        self.rx_timeout = false;
    }

    fn timeout_ns(&self) -> u64 {
        let divisor = u64::from(self.divisor.max(1));
        TIMEOUT_CHARS * self.lcr.char_bits() * 16 * divisor * NS_PER_SEC / CLOCK_HZ
    }

    /// When characters that wait below the trigger level must be announced.
    fn timeout_at(&self) -> Option<u64> {
        let waits = self.fcr.enable() && !self.rx.is_empty() && !self.rx_timeout;
        waits.then(|| self.rx_active_at.saturating_add(self.timeout_ns()))
    }

    fn data_available(&self) -> bool {
        let trigger = if self.fcr.enable() { self.fcr.trigger_level() } else { 1 };
        self.rx.len() >= trigger
    }

    /// The pending interrupt of the highest priority (8.6 table IV).
    fn pending(&self) -> u8 {
        let on = |e| self.ier.contains(e);
        if on(InterruptEnable::LINE_STATUS) && !self.errors.is_empty() {
            iir::LINE_STATUS
        } else if on(InterruptEnable::DATA) && self.data_available() {
            iir::DATA_AVAILABLE
        } else if on(InterruptEnable::DATA) && self.rx_timeout {
            iir::CHARACTER_TIMEOUT
        } else if on(InterruptEnable::THR_EMPTY) && self.thre_pending {
            iir::THR_EMPTY
        } else if on(InterruptEnable::MODEM_STATUS) && !self.deltas.is_empty() {
            iir::MODEM_STATUS
        } else {
            iir::NONE
        }
    }

    /// Drives INTR. A PC's adapter card gates it with OUT2; guests written for emulators (xv6) leave OUT2 clear and
    /// expect interrupts all the same, and no guest relies on the gate, so it is left out.
    fn update(&mut self, cx: &mut DevCtx) {
        if self.timeout_at().is_some_and(|t| cx.now() >= t) {
            self.rx_timeout = true;
        }
        cx.irq.set(self.line, self.pending() != iir::NONE);
    }

    fn line_status(&self) -> LineStatus {
        let ready = if self.rx.is_empty() { LineStatus::empty() } else { LineStatus::DATA_READY };
        self.errors | ready | LineStatus::THR_EMPTY | LineStatus::TRANSMITTER_EMPTY
    }

    /// Modem inputs: a terminal that is always there, or in loopback our own outputs (8.8).
    fn modem_inputs(&self) -> ModemStatus {
        if !self.mcr.contains(ModemControl::LOOP) {
            return ModemStatus::CTS | ModemStatus::DSR | ModemStatus::DCD;
        }
        [
            (ModemControl::RTS, ModemStatus::CTS),
            (ModemControl::DTR, ModemStatus::DSR),
            (ModemControl::OUT1, ModemStatus::RI),
            (ModemControl::OUT2, ModemStatus::DCD),
        ]
        .into_iter()
        .filter(|(out, _)| self.mcr.contains(*out))
        .fold(ModemStatus::empty(), |s, (_, input)| s | input)
    }

    fn set_mcr(&mut self, mcr: ModemControl) {
        let before = self.modem_inputs();
        self.mcr = mcr;
        let (changed, fell) = (before ^ self.modem_inputs(), before - self.modem_inputs());
        let delta = |input, bit| if changed.contains(input) { bit } else { ModemStatus::empty() };
        self.deltas |= delta(ModemStatus::CTS, ModemStatus::DELTA_CTS)
            | delta(ModemStatus::DSR, ModemStatus::DELTA_DSR)
            | delta(ModemStatus::DCD, ModemStatus::DELTA_DCD);
        if fell.contains(ModemStatus::RI) {
            self.deltas |= ModemStatus::TRAILING_RI;
        }
    }

    fn set_fcr(&mut self, fcr: FifoControl) {
        // turning FIFOs on or off clears both (8.5, bit 0); the other bits count only with bit 0 set
        let toggled = fcr.enable() != self.fcr.enable();
        if toggled || (fcr.enable() && fcr.reset_rx()) {
            self.clear_rx();
        }
        // clearing the transmitter empties it, which is the interrupt's cause
        if toggled || (fcr.enable() && fcr.reset_tx()) {
            self.thre_pending = true;
        }
        self.fcr = if fcr.enable() { fcr.with_reset_rx(false).with_reset_tx(false) } else { FifoControl::new() };
    }

    fn set_ier(&mut self, ier: InterruptEnable) {
        // enabling the interrupt while the transmitter is empty raises it (8.6: source "THR empty"; drivers test for it)
        if (ier - self.ier).contains(InterruptEnable::THR_EMPTY) {
            self.thre_pending = true;
        }
        self.ier = ier;
    }

    fn transmit(&mut self, cx: &mut DevCtx, byte: u8) {
        // the write clears the interrupt, the empty transmitter raises it anew: an edge on the wire
        self.thre_pending = false;
        self.update(cx);
        if self.mcr.contains(ModemControl::LOOP) {
            self.push_rx(cx.now(), byte);
        } else {
            cx.out.write(self.stream, byte);
        }
        self.thre_pending = true;
    }
}

impl Device for Uart16550 {
    fn name(&self) -> &'static str {
        "uart16550"
    }

    /// Master reset, table III; the divisor latch and the scratch register are not affected.
    fn reset(&mut self, cx: &mut DevCtx) {
        let fresh = Self::new(self.base, self.line, self.stream);
        *self = Self { divisor: self.divisor, scratch: self.scratch, ..fresh };
        self.update(cx);
    }

    fn pio(&mut self) -> Option<&mut dyn Pio> {
        Some(self)
    }

    fn timer(&mut self) -> Option<&mut dyn Timer> {
        Some(self)
    }
}

impl Pio for Uart16550 {
    fn read(&mut self, cx: &mut DevCtx, a: PioAccess) -> IoResult<u32> {
        if a.width != Width::B1 {
            return IoError::Width.into();
        }
        self.update(cx);
        let value = match a.port.wrapping_sub(self.base) {
            reg::RBR_THR_DLL if self.lcr.dlab() => self.divisor as u8,
            reg::IER_DLM if self.lcr.dlab() => (self.divisor >> 8) as u8,
            reg::RBR_THR_DLL => {
                let byte = self.rx.pop_front().unwrap_or(0);
                (self.rx_active_at, self.rx_timeout) = (cx.now(), false);
                byte
            }
            reg::IER_DLM => self.ier.bits(),
            reg::IIR_FCR => {
                let pending = self.pending();
                if pending == iir::THR_EMPTY {
                    self.thre_pending = false;
                }
                pending | if self.fcr.enable() { iir::FIFOS_ENABLED } else { 0 }
            }
            reg::LCR => self.lcr.into_bits(),
            reg::MCR => self.mcr.bits(),
            reg::LSR => {
                let status = self.line_status();
                self.errors = LineStatus::empty();
                status.bits()
            }
            reg::MSR => {
                let status = self.modem_inputs() | self.deltas;
                self.deltas = ModemStatus::empty();
                status.bits()
            }
            reg::SCR => self.scratch,
            _ => return IoError::Register.into(),
        };
        self.update(cx);
        IoResult::Ok(value.into())
    }

    fn write(&mut self, cx: &mut DevCtx, a: PioAccess, value: u32) -> IoResult<()> {
        if a.width != Width::B1 {
            return IoError::Width.into();
        }
        let v = value as u8;
        match a.port.wrapping_sub(self.base) {
            reg::RBR_THR_DLL if self.lcr.dlab() => self.divisor = self.divisor & 0xff00 | u16::from(v),
            reg::IER_DLM if self.lcr.dlab() => self.divisor = self.divisor & 0x00ff | u16::from(v) << 8,
            reg::RBR_THR_DLL => self.transmit(cx, v),
            reg::IER_DLM => self.set_ier(InterruptEnable::from_bits_truncate(v)),
            reg::IIR_FCR => self.set_fcr(FifoControl::from_bits(v)),
            reg::LCR => self.lcr = LineControl::from_bits(v),
            reg::MCR => self.set_mcr(ModemControl::from_bits_truncate(v)),
            // LSR is writable for factory tests only (8.4, note), MSR not at all: no effect
            reg::LSR | reg::MSR => {}
            reg::SCR => self.scratch = v,
            _ => return IoError::Register.into(),
        }
        self.update(cx);
        IoResult::Ok(())
    }
}

impl Timer for Uart16550 {
    fn next_deadline(&self) -> Option<u64> {
        self.timeout_at().filter(|_| self.ier.contains(InterruptEnable::DATA) && !self.data_available())
    }

    fn tick(&mut self, cx: &mut DevCtx) {
        self.update(cx);
    }
}
