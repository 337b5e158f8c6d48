use super::{
    Comparator, Hpet,
    spec::{CAPABILITIES, CLOCK, General, LEGACY_LINES, ROUTES, TIMER_WRITABLE, TIMERS, TimerConfig, reg},
};
use bus::{DevCtx, Device, IoError, IoResult, IrqLines, Mmio, MmioAccess, Timer, Width};

/// Bits of the wires that the legacy route takes over.
const LEGACY_MASK: u32 = 1 << LEGACY_LINES[0] | 1 << LEGACY_LINES[1];

impl Comparator {
    const fn new() -> Self {
        let config = TimerConfig::new().with_periodic_capable(true).with_is_64_bit(true).with_routes(ROUTES);
        Self { config, comparator: u64::MAX, period: 0 }
    }

    fn mask(&self) -> u64 {
        if self.config.force_32_bit() { u32::MAX.into() } else { u64::MAX }
    }

    /// Ticks from counter value `from` until the counter next equals the comparator: 1 to 2^64 - 1 (or 2^32). Equal now
    /// means a whole turn.
    fn distance(&self, from: u64) -> u64 {
        match self.comparator.wrapping_sub(from) & self.mask() {
            0 => self.mask().saturating_add(1),
            d => d,
        }
    }

    /// Matches the comparator while the counter goes on by `ticks` from `from`; true if it fired.
    fn advance(&mut self, from: u64, ticks: u64) -> bool {
        let first = self.distance(from);
        if first > ticks {
            return false;
        }
        if self.config.periodic() && self.period != 0 {
            let periods = (ticks - first) / self.period + 1;
            self.comparator = self.comparator.wrapping_add(self.period.wrapping_mul(periods)) & self.mask();
        }
        true
    }
}

impl Default for Hpet {
    fn default() -> Self {
        Self::new()
    }
}

impl Hpet {
    pub const fn new() -> Self {
        Self { general: General::new(), status: 0, timers: [const { Comparator::new() }; TIMERS], counter: 0, seen: 0 }
    }

    /// The main counter at tick `t` of guest time.
    fn counter_at(&self, t: u64) -> u64 {
        if self.general.enable() { t.wrapping_add(self.counter) } else { self.counter }
    }

    fn set_counter(&mut self, t: u64, v: u64) {
        self.counter = if self.general.enable() { v.wrapping_sub(t) } else { v };
    }

    /// The wire of timer `n` as a mask; zero where it goes nowhere.
    fn wire(&self, n: usize) -> u32 {
        match LEGACY_LINES.get(n) {
            Some(line) if self.general.legacy_route() => 1 << line,
            _ => 1 << self.timers[n].config.route() & ROUTES,
        }
    }

    fn asserts(&self, n: usize) -> bool {
        let c = self.timers[n].config;
        self.general.enable() && c.interrupt() && c.level() && self.status >> n & 1 != 0
    }

    /// Drives the level-triggered wires, and those in `edges` for this moment.
    fn drive(&self, irq: &mut IrqLines, edges: u32) {
        let levels = (0..TIMERS).filter(|n| self.asserts(*n)).fold(edges, |m, n| m | self.wire(n));
        irq.replace(if self.general.legacy_route() { LEGACY_MASK } else { 0 }, levels);
    }

    fn fire(&mut self, irq: &mut IrqLines, n: usize) {
        let c = self.timers[n].config;
        if c.level() {
            // the status follows the match, the wire also needs the enable (2.3.6)
            self.status |= 1 << n;
        } else if c.interrupt() {
            self.drive(irq, self.wire(n));
            self.drive(irq, 0);
        }
    }

    /// Matches the comparators against what has passed; gives the tick that is now.
    fn evaluate(&mut self, cx: &mut DevCtx) -> u64 {
        let t = CLOCK.ticks_at(cx.now());
        let (from, ticks) = (self.counter_at(self.seen), t.saturating_sub(self.seen));
        self.seen = t;
        if self.general.enable() && ticks != 0 {
            for n in 0..TIMERS {
                if self.timers[n].advance(from, ticks) {
                    self.fire(cx.irq, n);
                }
            }
            self.drive(cx.irq, 0);
        }
        t
    }

    fn read_register(&self, t: u64, offset: u64) -> Option<u64> {
        Some(match offset {
            reg::CAPABILITIES => CAPABILITIES,
            reg::CONFIGURATION => self.general.into_bits(),
            reg::STATUS => self.status.into(),
            reg::COUNTER => self.counter_at(t),
            reg::TIMER..reg::TIMER_END => {
                let timer = self.timers.get(((offset - reg::TIMER) / reg::STRIDE) as usize)?;
                match offset % reg::STRIDE {
                    0x00 => timer.config.into_bits(),
                    0x08 => timer.comparator & timer.mask(),
                    // no FSB interrupts
                    _ => 0,
                }
            }
            _ => return None,
        })
    }

    /// Writes the bits of `mask` in a 64-bit register.
    fn write_register(&mut self, t: u64, offset: u64, v: u64, mask: u64) -> Option<()> {
        let old = self.read_register(t, offset)?;
        let new = old & !mask | v & mask;
        match offset {
            reg::CONFIGURATION => {
                let counter = self.counter_at(t);
                self.general = General::from_bits(new & 3);
                self.set_counter(t, counter);
            }
            // write one to clear
            reg::STATUS => self.status &= !((v & mask) as u32),
            reg::COUNTER => self.set_counter(t, new),
            reg::TIMER..reg::TIMER_END => {
                let timer = self.timers.get_mut(((offset - reg::TIMER) / reg::STRIDE) as usize)?;
                match offset % reg::STRIDE {
                    0x00 => {
                        let kept = timer.config.into_bits() & !TIMER_WRITABLE;
                        timer.config = TimerConfig::from_bits(kept | new & TIMER_WRITABLE);
                        timer.comparator &= timer.mask();
                        timer.period &= timer.mask();
                    }
                    0x08 => Self::write_comparator(timer, v, mask),
                    _ => {}
                }
            }
            _ => {}
        }
        Some(())
    }

    /// In periodic mode a write sets the period, and with VAL_SET the accumulator too (2.3.9.2.2).
    fn write_comparator(timer: &mut Comparator, v: u64, mask: u64) {
        let merge = |old: u64| old & !mask | v & mask;
        let all = timer.mask();
        let periodic = timer.config.periodic();
        if periodic {
            timer.period = merge(timer.period) & all;
        }
        if !periodic || timer.config.value_set() {
            timer.comparator = merge(timer.comparator) & all;
        }
        timer.config.set_value_set(false);
    }
}

/// The register and the shift of an access: aligned, 32 or 64 bits (2.1).
fn register(a: MmioAccess) -> Result<(u64, u32), IoError> {
    match (a.width, a.offset % 8) {
        (Width::B8, 0) | (Width::B4, 0) => Ok((a.offset, 0)),
        (Width::B4, 4) => Ok((a.offset - 4, 32)),
        (Width::B4 | Width::B8, _) => Err(IoError::Unaligned),
        _ => Err(IoError::Width),
    }
}

impl Device for Hpet {
    fn name(&self) -> &'static str {
        "hpet"
    }

    fn reset(&mut self, cx: &mut DevCtx) {
        *self = Self { seen: CLOCK.ticks_at(cx.now()), ..Self::new() };
        self.drive(cx.irq, 0);
    }

    fn mmio(&mut self) -> Option<&mut dyn Mmio> {
        Some(self)
    }

    fn timer(&mut self) -> Option<&mut dyn Timer> {
        Some(self)
    }
}

impl Mmio for Hpet {
    fn read(&mut self, cx: &mut DevCtx, a: MmioAccess) -> IoResult<u64> {
        let t = self.evaluate(cx);
        match register(a) {
            Ok((offset, shift)) => match self.read_register(t, offset) {
                Some(v) => IoResult::Ok((v >> shift) & a.width.mask()),
                None => IoError::Register.into(),
            },
            Err(e) => e.into(),
        }
    }

    fn write(&mut self, cx: &mut DevCtx, a: MmioAccess, value: u64) -> IoResult<()> {
        let t = self.evaluate(cx);
        match register(a) {
            Ok((offset, shift)) => match self.write_register(t, offset, value << shift, a.width.mask() << shift) {
                Some(()) => {
                    self.drive(cx.irq, 0);
                    IoResult::Ok(())
                }
                None => IoError::Register.into(),
            },
            Err(e) => e.into(),
        }
    }
}

impl Timer for Hpet {
    fn next_deadline(&self) -> Option<u64> {
        if !self.general.enable() {
            return None;
        }
        let from = self.counter_at(self.seen);
        // a level that is up already brings nothing new
        let waits = |n: &usize| self.timers[*n].config.interrupt() && !self.asserts(*n);
        let ticks = (0..TIMERS).filter(waits).map(|n| self.timers[n].distance(from)).min()?;
        Some(CLOCK.ns_at(self.seen.saturating_add(ticks)))
    }

    fn tick(&mut self, cx: &mut DevCtx) {
        self.evaluate(cx);
    }
}
