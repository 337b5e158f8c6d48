use super::{
    Counter, Pit, Run,
    spec::{
        Access, CLK, CONTROL, COUNTER_0, ControlWord, Mode, PORT_61, PORT_61_WRITABLE, Port61, REFRESH_NS, ReadBack,
        Status,
    },
};
use bus::{DevCtx, Device, IoError, IoResult, Line, Pio, PioAccess, Timer, Width};

/// CLK pulses are numbered from here, so that a count that is set back by half a period cannot start before zero.
const EPOCH: u64 = 1 << 17;

fn pulse_at(now: u64) -> u64 {
    CLK.ticks_at(now) + EPOCH
}

/// High part of a square wave in CLK pulses ("Mode 3": (N+1)/2 for odd counts).
const fn high_part(n: u32) -> u64 {
    (n as u64).div_ceil(2)
}

fn from_bcd(v: u16) -> u32 {
    let d = |i: u32| ((v >> (4 * i)) & 15) as u32;
    d(0) + 10 * d(1) + 100 * d(2) + 1000 * d(3)
}

fn to_bcd(v: u32) -> u16 {
    let d = |i: u32, p: u32| (v / p % 10) << (4 * i);
    (d(0, 1) | d(1, 10) | d(2, 100) | d(3, 1000)) as u16
}

impl Run {
    fn elapsed(&self, t: u64) -> u64 {
        self.frozen.unwrap_or_else(|| t.saturating_sub(self.start))
    }
}

impl Counter {
    const fn new(gate: bool) -> Self {
        Self {
            mode: Mode::InterruptOnTerminalCount,
            bcd: false,
            access: Access::LowThenHigh,
            gate,
            low_byte: None,
            read_high: false,
            count_latch: None,
            status_latch: None,
            reload: None,
            null: true,
            load_at: None,
            run: None,
        }
    }

    /// Transfers a new count whose moment has come.
    fn sync(&mut self, t: u64) {
        let (Some(at), Some(n), Some(run)) = (self.load_at, self.reload, self.run) else { return };
        if t >= at {
            // the end of a square wave's high part continues with the low part of the new count
            let back = if self.ends_high_part(&run, at) { high_part(n) } else { 0 };
            self.run = Some(Run { n, start: at.saturating_sub(back), frozen: None });
            (self.load_at, self.null) = (None, false);
        }
    }

    fn ends_high_part(&self, run: &Run, at: u64) -> bool {
        self.mode == Mode::SquareWave && at.saturating_sub(run.start) == high_part(run.n)
    }

    /// OUT at pulse `t`, which is not before the last sync.
    fn out(&self, t: u64) -> bool {
        let Some(run) = self.run else { return self.mode != Mode::InterruptOnTerminalCount };
        let (n, e, started) = (u64::from(run.n), run.elapsed(t), t >= run.start);
        match self.mode {
            Mode::InterruptOnTerminalCount => e >= n,
            Mode::HardwareOneShot => !started || e >= n,
            Mode::RateGenerator => run.frozen.is_some() || e % n != n - 1,
            Mode::SquareWave => run.frozen.is_some() || e % n < high_part(run.n),
            Mode::SoftwareStrobe | Mode::HardwareStrobe => e != n,
        }
    }

    /// The first pulse after `t` at which OUT rises by itself.
    fn next_rise(&self, t: u64) -> Option<u64> {
        let run = self.run.filter(|r| r.frozen.is_none())?;
        let (n, start) = (u64::from(run.n), run.start);
        let rise = match (self.mode, self.load_at) {
            (Mode::SquareWave, Some(at)) if self.ends_high_part(&run, at) => at + u64::from(self.reload? / 2),
            (Mode::RateGenerator | Mode::SquareWave, Some(at)) => at,
            (Mode::RateGenerator | Mode::SquareWave, None) => start + (run.elapsed(t) / n + 1) * n,
            (Mode::InterruptOnTerminalCount | Mode::HardwareOneShot, _) => start + n,
            (Mode::SoftwareStrobe | Mode::HardwareStrobe, _) => start + n + 1,
        };
        (rise > t).then_some(rise)
    }

    /// The counting element as a guest reads it.
    fn count(&self, t: u64) -> u16 {
        let Some(run) = self.run else { return 0 };
        let (n, e) = (u64::from(run.n), run.elapsed(t));
        let modulus = if self.bcd { 10_000 } else { 0x1_0000 };
        let left = match self.mode {
            Mode::RateGenerator => n - e % n,
            Mode::SquareWave => {
                let (p, high) = (e % n, high_part(run.n));
                (n & !1) - 2 * (if p < high { p } else { p - high })
            }
            // the other modes go on counting through zero
            _ => (n + modulus - e % modulus) % modulus,
        };
        if self.bcd { to_bcd((left % 10_000) as u32) } else { left as u16 }
    }

    fn status(&self, t: u64) -> u8 {
        Status::new()
            .with_bcd(self.bcd)
            .with_mode(self.mode as u8)
            .with_access(self.access as u8)
            .with_null_count(self.null || self.run.is_some_and(|r| t < r.start))
            .with_out(self.out(t))
            .into_bits()
    }

    fn latch_count(&mut self, t: u64) {
        // a second latch command before the count was read is ignored
        if self.count_latch.is_none() {
            self.count_latch = Some(self.count(t));
        }
    }

    fn control(&mut self, w: ControlWord) {
        let access = match w.access() {
            1 => Access::Low,
            2 => Access::High,
            _ => Access::LowThenHigh,
        };
        *self = Self { mode: Mode::from_bits(w.mode()), bcd: w.bcd(), access, ..Self::new(self.gate) };
    }

    fn read(&mut self, t: u64) -> u8 {
        if let Some(s) = self.status_latch.take() {
            return s;
        }
        let count = self.count_latch.unwrap_or_else(|| self.count(t));
        let high = match self.access {
            Access::Low => false,
            Access::High => true,
            Access::LowThenHigh => self.read_high,
        };
        if self.access == Access::LowThenHigh {
            self.read_high = !self.read_high;
        }
        if high || self.access == Access::Low {
            self.count_latch = None;
        }
        count.to_le_bytes()[usize::from(high)]
    }

    fn write(&mut self, t: u64, v: u8) {
        let value = match (self.access, self.low_byte.take()) {
            (Access::Low, _) => u16::from(v),
            (Access::High, _) => u16::from(v) << 8,
            (Access::LowThenHigh, Some(low)) => u16::from_le_bytes([low, v]),
            (Access::LowThenHigh, None) => {
                self.low_byte = Some(v);
                if self.mode == Mode::InterruptOnTerminalCount {
                    // "writing the first byte disables counting", OUT goes low
                    self.run = None;
                }
                return;
            }
        };
        let n = match (value, self.bcd) {
            (0, false) => 0x1_0000,
            (0, true) => 10_000,
            (v, false) => u32::from(v),
            (v, true) => from_bcd(v),
        };
        // 1 is illegal in the periodic modes
        self.load(t, if self.mode.is_periodic() { n.max(2) } else { n });
    }

    fn load(&mut self, t: u64, n: u32) {
        self.reload = Some(n);
        match (&mut self.run, self.mode.is_periodic()) {
            _ if self.mode.is_triggered() => self.null = true,
            (Some(run), true) => {
                self.null = true;
                if run.frozen.is_none() {
                    let period = u64::from(run.n);
                    run.start += run.elapsed(t) / period * period;
                    let high_end = run.start + high_part(run.n);
                    let in_high = self.mode == Mode::SquareWave && t < high_end;
                    self.load_at = Some(if in_high { high_end } else { run.start + period });
                }
            }
            _ => {
                self.run = Some(Run { n, start: t + 1, frozen: (!self.gate).then_some(0) });
                self.null = false;
            }
        }
    }

    fn set_gate(&mut self, t: u64, gate: bool) {
        let was = std::mem::replace(&mut self.gate, gate);
        match (was, gate) {
            (false, true) if self.mode.is_triggered() || self.mode.is_periodic() => {
                if let Some(n) = self.reload {
                    self.run = Some(Run { n, start: t, frozen: None });
                    self.null = false;
                }
            }
            (false, true) => {
                if let Some(run) = &mut self.run
                    && let Some(e) = run.frozen.take()
                {
                    run.start = t.saturating_sub(e);
                }
            }
            (true, false) if !self.mode.is_triggered() => {
                self.load_at = None;
                if let Some(run) = &mut self.run {
                    run.frozen = Some(run.elapsed(t));
                }
            }
            _ => {}
        }
    }
}

impl Pit {
    /// The timer; OUT 0 is `line`.
    pub const fn new(line: Line) -> Self {
        Self {
            line,
            counters: [Counter::new(true), Counter::new(true), Counter::new(false)],
            port61: Port61::new(),
            seen: EPOCH,
        }
    }

    /// Level of OUT 2 at guest time `now`, and whether port 0x61 lets it to the loudspeaker.
    pub fn speaker(&self, now: u64) -> (bool, bool) {
        (self.counters[2].out(pulse_at(now)), self.port61.speaker())
    }

    /// Brings all counters to now and turns what counter 0 did meanwhile into interrupts.
    fn evaluate(&mut self, cx: &mut DevCtx) -> u64 {
        let t = pulse_at(cx.now());
        if self.counters[0].next_rise(self.seen).is_some_and(|rise| rise <= t) {
            cx.irq.set(self.line, false);
            cx.irq.set(self.line, true);
        }
        for c in &mut self.counters {
            c.sync(t);
        }
        self.drive(cx, t);
        t
    }

    fn drive(&mut self, cx: &mut DevCtx, t: u64) {
        self.seen = t;
        cx.irq.set(self.line, self.counters[0].out(t));
    }

    fn control(&mut self, t: u64, v: u8) {
        let w = ControlWord::from_bits(v);
        if w.counter() == 3 {
            let r = ReadBack::from_bits(v);
            for (i, c) in self.counters.iter_mut().enumerate() {
                if r.counters() >> i & 1 != 0 {
                    if !r.no_count() {
                        c.latch_count(t);
                    }
                    if !r.no_status() && c.status_latch.is_none() {
                        c.status_latch = Some(c.status(t));
                    }
                }
            }
        } else if let Some(c) = self.counters.get_mut(usize::from(w.counter())) {
            if w.access() == 0 { c.latch_count(t) } else { c.control(w) }
        }
    }
}

impl Device for Pit {
    fn name(&self) -> &'static str {
        "pit"
    }

    /// The 8254 has no reset input; port 0x61 is cleared, which closes gate 2.
    fn reset(&mut self, cx: &mut DevCtx) {
        *self = Self::new(self.line);
        self.drive(cx, pulse_at(cx.now()));
    }

    fn pio(&mut self) -> Option<&mut dyn Pio> {
        Some(self)
    }

    fn timer(&mut self) -> Option<&mut dyn Timer> {
        Some(self)
    }
}

impl Pio for Pit {
    fn read(&mut self, cx: &mut DevCtx, a: PioAccess) -> IoResult<u32> {
        if a.width != Width::B1 {
            return IoError::Width.into();
        }
        let t = self.evaluate(cx);
        let v = match a.port {
            PORT_61 => self
                .port61
                .with_refresh((cx.now() / REFRESH_NS) & 1 != 0)
                .with_out_2(self.counters[2].out(t))
                .into_bits(),
            // the control word register is write-only
            port => match self.counters.get_mut(usize::from(port.wrapping_sub(COUNTER_0))) {
                Some(c) => c.read(t),
                None => return IoError::Register.into(),
            },
        };
        IoResult::Ok(v.into())
    }

    fn write(&mut self, cx: &mut DevCtx, a: PioAccess, value: u32) -> IoResult<()> {
        if a.width != Width::B1 {
            return IoError::Width.into();
        }
        let t = self.evaluate(cx);
        let v = value as u8;
        match a.port {
            PORT_61 => {
                self.port61 = Port61::from_bits(v & PORT_61_WRITABLE);
                self.counters[2].set_gate(t, self.port61.gate_2());
            }
            CONTROL => self.control(t, v),
            port => match self.counters.get_mut(usize::from(port.wrapping_sub(COUNTER_0))) {
                Some(c) => c.write(t, v),
                None => return IoError::Register.into(),
            },
        }
        self.drive(cx, t);
        IoResult::Ok(())
    }
}

impl Timer for Pit {
    fn next_deadline(&self) -> Option<u64> {
        self.counters[0].next_rise(self.seen).map(|t| CLK.ns_at(t - EPOCH))
    }

    fn tick(&mut self, cx: &mut DevCtx) {
        self.evaluate(cx);
    }
}
