use super::{
    Rtc,
    calendar::{DAY, Fields, weekday},
    spec::{DATA, DONT_CARE, Flags, INDEX, PM, RAM, RegisterA, RegisterB, UPDATE_NS, VALID_RAM_AND_TIME, cmos, reg},
};
use bus::{DevCtx, Device, Frequency, IoError, IoResult, Line, NS_PER_SEC, Pio, PioAccess, Timer, Width};

/// Steps of the search for the next alarm: each settles the hour, the minute or the second, and may carry over.
const ALARM_STEPS: usize = 16;

impl Rtc {
    /// The clock; interrupts on `line`. `unix_ns` is the Unix time in ns at guest time zero. Registers A and B are as
    /// firmware leaves them: 32 kHz, 1024 Hz, 24 hours, BCD.
    pub fn new(line: Line, unix_ns: u64) -> Self {
        Self {
            line,
            index: 0,
            nmi_masked: false,
            ram: [0; RAM],
            a: RegisterA::from_bits(0x26),
            b: RegisterB::new().with_hours_24(true),
            flags: Flags::empty(),
            base: (unix_ns / NS_PER_SEC) as i64,
            phase: (unix_ns % NS_PER_SEC) as u32,
            weekday_shift: 0,
            held: None,
            seen: 0,
        }
    }

    /// Sets the clock from outside: Unix time in ns at guest time `now` (after a resumed snapshot).
    pub fn set_unix_time(&mut self, now: u64, unix_ns: u64) {
        self.set_phase(now, (unix_ns % NS_PER_SEC) as u32);
        self.base = (unix_ns / NS_PER_SEC) as i64 - (self.chain(now) / NS_PER_SEC) as i64;
    }

    /// Unix seconds that the time and date registers show at guest time `now`.
    pub fn unix_time(&self, now: u64) -> i64 {
        self.fields(now).unix()
    }

    /// Writes a CMOS byte, as firmware would (0x0E to 0x7F).
    pub fn set_cmos(&mut self, index: u8, v: u8) {
        if index > reg::D
            && let Some(b) = self.ram.get_mut(usize::from(index))
        {
            *b = v;
        }
    }

    /// Leaves the sizes of memory in CMOS, as firmware does: bytes below 4 GiB (1 MiB or more) and above.
    pub fn set_memory_size(&mut self, below_4g: u64, above_4g: u64) {
        let mut put = |at: u8, v: u64, n: u8| (0..n).for_each(|i| self.set_cmos(at + i, (v >> (8 * i)) as u8));
        let extended = (below_4g.saturating_sub(1 << 20) >> 10).min(0xffff);
        put(cmos::BASE_KIB, 640, 2);
        cmos::EXTENDED_KIB.iter().for_each(|at| put(*at, extended, 2));
        put(cmos::ABOVE_16M_64KIB, (below_4g.saturating_sub(16 << 20) >> 16).min(0xffff), 2);
        put(cmos::ABOVE_4G_64KIB, (above_4g >> 16).min(0xff_ffff), 3);
    }

    /// Whether index bit 7 keeps NMI from the CPU.
    pub fn nmi_masked(&self) -> bool {
        self.nmi_masked
    }

    // -- time

    /// Nanoseconds of the divider chain at `now`: its seconds turn where this is a whole second.
    fn chain(&self, now: u64) -> u64 {
        now.saturating_add(self.phase.into())
    }

    fn unix_at(&self, now: u64) -> i64 {
        self.base.saturating_add((self.chain(now) / NS_PER_SEC) as i64)
    }

    /// Makes the chain show `fraction` ns of a second at `now`.
    fn set_phase(&mut self, now: u64, fraction: u32) {
        let gone = (now % NS_PER_SEC) as u32;
        self.phase = if fraction >= gone { fraction - gone } else { fraction + NS_PER_SEC as u32 - gone };
    }

    fn fields(&self, now: u64) -> Fields {
        self.held.unwrap_or_else(|| {
            let t = self.unix_at(now);
            let weekday = (weekday(t.div_euclid(DAY)) + self.weekday_shift) % 7 + 1;
            Fields { weekday, ..Fields::at(t) }
        })
    }

    /// Starts the clock from these fields; the divider chain keeps its phase.
    fn set_fields(&mut self, now: u64, f: Fields) {
        let t = f.unix();
        self.base = t.saturating_sub((self.chain(now) / NS_PER_SEC) as i64);
        self.weekday_shift = (f.weekday.wrapping_add(6) % 7 + 7 - weekday(t.div_euclid(DAY))) % 7;
    }

    fn is_held(&self) -> bool {
        self.b.set() || self.a.is_held()
    }

    /// Holds or releases the time after registers A or B have changed.
    fn hold_or_release(&mut self, now: u64, before: Fields) {
        match (self.held, self.is_held()) {
            (None, true) => self.held = Some(before),
            (Some(f), false) => {
                self.held = None;
                self.set_fields(now, f);
            }
            _ => {}
        }
    }

    fn update_in_progress(&self, now: u64) -> bool {
        !self.is_held() && self.chain(now) % NS_PER_SEC >= NS_PER_SEC - UPDATE_NS
    }

    // -- number formats

    fn encode(&self, v: u8) -> u8 {
        if self.b.binary() { v } else { ((v / 10 % 10) << 4) | (v % 10) }
    }

    fn decode(&self, v: u8) -> u8 {
        if self.b.binary() { v } else { (v >> 4) * 10 + (v & 15) }
    }

    fn encode_hour(&self, h: u8) -> u8 {
        if self.b.hours_24() {
            return self.encode(h);
        }
        let twelve = if h.is_multiple_of(12) { 12 } else { h % 12 };
        self.encode(twelve) | if h >= 12 { PM } else { 0 }
    }

    fn decode_hour(&self, v: u8) -> u8 {
        if self.b.hours_24() {
            return self.decode(v);
        }
        self.decode(v & !PM) % 12 + if v & PM != 0 { 12 } else { 0 }
    }

    // -- alarm, flags

    /// The first second after `t` that the alarm bytes match, if any ever does.
    fn next_alarm(&self, t: i64) -> Option<i64> {
        let wanted = |r: u8, v: fn(&Self, u8) -> u8| {
            let byte = self.ram[usize::from(r)];
            (byte < DONT_CARE).then(|| i64::from(v(self, byte)))
        };
        // with 12-hour clocks the afternoon bit is no "don't care" together with a valid hour; 0xc0 and up is
        let hour = wanted(reg::HOURS_ALARM, Self::decode_hour);
        let minute = wanted(reg::MINUTES_ALARM, Self::decode);
        let second = wanted(reg::SECONDS_ALARM, Self::decode);
        let mut t = t.saturating_add(1);
        for _ in 0..ALARM_STEPS {
            let s = t.rem_euclid(DAY);
            // distance to the wanted value in units of `unit`, at the start of that unit
            let next = |want: Option<i64>, unit: i64, wraps: i64| {
                let have = s / unit % wraps;
                match want {
                    Some(w) if w >= wraps => None,
                    Some(w) if w != have => Some((w - have).rem_euclid(wraps) * unit - s % unit),
                    _ => Some(0),
                }
            };
            match (next(hour, 3600, 24)?, next(minute, 60, 60)?, next(second, 1, 60)?) {
                (0, 0, 0) => return Some(t),
                (0, 0, d) | (0, d, _) | (d, _, _) => t = t.saturating_add(d),
            }
        }
        None
    }

    /// Raises the flags of what has happened since the last call.
    fn evaluate(&mut self, cx: &mut DevCtx) {
        let (seen, now) = (self.seen, cx.now());
        self.seen = now;
        if !self.is_held() {
            let (from, to) = (self.unix_at(seen), self.unix_at(now));
            if to > from {
                self.flags |= Flags::UPDATE;
                if self.next_alarm(from).is_some_and(|t| t <= to) {
                    self.flags |= Flags::ALARM;
                }
            }
        }
        if let Some(rate) = self.rate()
            && rate.ticks_at(self.chain(now)) > rate.ticks_at(self.chain(seen))
        {
            self.flags |= Flags::PERIODIC;
        }
        self.drive(cx);
    }

    fn rate(&self) -> Option<Frequency> {
        self.a.rate_hz().filter(|_| !self.a.is_held()).map(Frequency::from_hz)
    }

    fn enabled(&self) -> Flags {
        Flags::from_bits_truncate(self.b.into_bits()) - Flags::REQUEST
    }

    fn requests(&self) -> bool {
        self.flags.intersects(self.enabled())
    }

    fn drive(&self, cx: &mut DevCtx) {
        cx.irq.set(self.line, self.requests());
    }

    // -- registers

    fn read_register(&mut self, cx: &mut DevCtx) -> u8 {
        let now = cx.now();
        let f = self.fields(now);
        match self.index {
            reg::SECONDS => self.encode(f.second),
            reg::MINUTES => self.encode(f.minute),
            reg::HOURS => self.encode_hour(f.hour),
            reg::WEEKDAY => self.encode(f.weekday),
            reg::DAY => self.encode(f.day),
            reg::MONTH => self.encode(f.month),
            reg::YEAR => self.encode(f.year),
            reg::CENTURY => self.encode(f.century),
            reg::A => self.a.with_update_in_progress(self.update_in_progress(now)).into_bits(),
            reg::B => self.b.into_bits(),
            reg::C => {
                let request = if self.requests() { Flags::REQUEST } else { Flags::empty() };
                let c = self.flags | request;
                self.flags = Flags::empty();
                self.drive(cx);
                c.bits()
            }
            reg::D => VALID_RAM_AND_TIME,
            i => self.ram[usize::from(i) % RAM],
        }
    }

    fn write_register(&mut self, now: u64, v: u8) {
        let mut f = self.fields(now);
        match self.index {
            reg::SECONDS => f.second = self.decode(v),
            reg::MINUTES => f.minute = self.decode(v),
            reg::HOURS => f.hour = self.decode_hour(v),
            reg::WEEKDAY => f.weekday = self.decode(v),
            reg::DAY => f.day = self.decode(v),
            reg::MONTH => f.month = self.decode(v),
            reg::YEAR => f.year = self.decode(v),
            reg::CENTURY => f.century = self.decode(v),
            reg::A => {
                let was_held = self.a.is_held();
                self.a = RegisterA::from_bits(v).with_update_in_progress(false);
                if was_held && !self.a.is_held() {
                    // the first update comes half a second after the chain is released ("Divider control")
                    let unix = self.unix_at(now);
                    self.set_phase(now, NS_PER_SEC as u32 / 2);
                    self.base = unix.saturating_sub((self.chain(now) / NS_PER_SEC) as i64);
                }
                return self.hold_or_release(now, f);
            }
            reg::B => {
                let b = RegisterB::from_bits(v);
                // SET clears the update-ended enable
                self.b = b.with_update_interrupt(b.update_interrupt() && !b.set());
                return self.hold_or_release(now, f);
            }
            // read-only
            reg::C | reg::D => return,
            i => {
                self.ram[usize::from(i) % RAM] = v;
                return;
            }
        }
        match &mut self.held {
            Some(held) => *held = f,
            None => self.set_fields(now, f),
        }
    }
}

impl Device for Rtc {
    fn name(&self) -> &'static str {
        "rtc"
    }

    /// RESET: interrupt enables and flags are cleared, time and RAM go on ("RESET").
    fn reset(&mut self, cx: &mut DevCtx) {
        self.evaluate(cx);
        self.b = self
            .b
            .with_periodic_interrupt(false)
            .with_alarm_interrupt(false)
            .with_update_interrupt(false)
            .with_square_wave(false);
        self.flags = Flags::empty();
        (self.index, self.nmi_masked) = (0, false);
        self.drive(cx);
    }

    fn pio(&mut self) -> Option<&mut dyn Pio> {
        Some(self)
    }

    fn timer(&mut self) -> Option<&mut dyn Timer> {
        Some(self)
    }
}

impl Pio for Rtc {
    fn read(&mut self, cx: &mut DevCtx, a: PioAccess) -> IoResult<u32> {
        match (a.port, a.width) {
            (INDEX, Width::B1) => IoResult::Ok((self.index | u8::from(self.nmi_masked) << 7).into()),
            (DATA, Width::B1) => {
                self.evaluate(cx);
                IoResult::Ok(self.read_register(cx).into())
            }
            (INDEX | DATA, _) => IoError::Width.into(),
            _ => IoError::Register.into(),
        }
    }

    fn write(&mut self, cx: &mut DevCtx, a: PioAccess, value: u32) -> IoResult<()> {
        let v = value as u8;
        match (a.port, a.width) {
            (INDEX, Width::B1) => (self.index, self.nmi_masked) = (v & 0x7f, v & 0x80 != 0),
            (DATA, Width::B1) => {
                self.evaluate(cx);
                self.write_register(cx.now(), v);
                self.drive(cx);
            }
            (INDEX | DATA, _) => return IoError::Width.into(),
            _ => return IoError::Register.into(),
        }
        IoResult::Ok(())
    }
}

impl Timer for Rtc {
    fn next_deadline(&self) -> Option<u64> {
        if self.requests() {
            // the wire is up until register C is read
            return None;
        }
        let on = |f| self.enabled().contains(f);
        let at_chain = |ns: u64| ns.saturating_sub(self.phase.into());
        let at_unix = |t: i64| at_chain((t.saturating_sub(self.base) as u64).saturating_mul(NS_PER_SEC));
        let runs = !self.is_held();
        let now = self.unix_at(self.seen);
        let periodic = self.rate().filter(|_| on(Flags::PERIODIC)).map(|r| {
            let next = r.ticks_at(self.chain(self.seen)).saturating_add(1);
            at_chain(r.ns_at(next))
        });
        let update = (runs && on(Flags::UPDATE)).then(|| at_unix(now.saturating_add(1)));
        let alarm = if runs && on(Flags::ALARM) { self.next_alarm(now).map(at_unix) } else { None };
        [periodic, update, alarm].into_iter().flatten().min()
    }

    fn tick(&mut self, cx: &mut DevCtx) {
        self.evaluate(cx);
    }
}
