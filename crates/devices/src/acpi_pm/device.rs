use super::{
    AcpiPm,
    spec::{Control, Event, PM_TIMER, PM1_CONTROL, PM1_ENABLE, PM1_STATUS, SLP_TYP_S5, TIMER, TIMER_BITS},
};
use bus::{DevCtx, Device, IoError, IoResult, Line, Pio, PioAccess, Signal, Timer, Width};

/// Ticks between two changes of the timer's most significant bit.
const HALF: u64 = 1 << (TIMER_BITS - 1);

impl AcpiPm {
    /// The blocks at ports `base..base + 12`; events assert `sci`.
    pub const fn new(base: u16, sci: Line) -> Self {
        Self {
            base,
            sci,
            status: Event::empty(),
            enable: Event::empty(),
            control: Control::new().with_sci_enable(true),
            seen: 0,
        }
    }

    /// Someone presses the power button: the guest's orderly way off (4.8.2.2.1).
    pub fn press_power_button(&mut self, cx: &mut DevCtx) {
        self.status |= Event::POWER_BUTTON;
        self.drive(cx);
    }

    fn evaluate(&mut self, cx: &mut DevCtx) {
        if TIMER.ticks_at(cx.now()) / HALF != TIMER.ticks_at(self.seen) / HALF {
            self.status |= Event::TIMER;
        }
        self.seen = cx.now();
        self.drive(cx);
    }

    fn drive(&self, cx: &mut DevCtx) {
        cx.irq.set(self.sci, self.status.intersects(self.enable));
    }

    fn set_control(&mut self, cx: &mut DevCtx, v: Control) {
        self.control = v.with_sci_enable(true).with_global_release(false).with_sleep_enable(false);
        if v.sleep_enable() {
            cx.out.signal(match v.sleep_type() {
                SLP_TYP_S5 => Signal::PowerOff,
                other => Signal::Sleep(other),
            });
        }
    }
}

impl Device for AcpiPm {
    fn name(&self) -> &'static str {
        "acpi_pm"
    }

    fn reset(&mut self, cx: &mut DevCtx) {
        *self = Self { seen: cx.now(), ..Self::new(self.base, self.sci) };
        self.drive(cx);
    }

    fn pio(&mut self) -> Option<&mut dyn Pio> {
        Some(self)
    }

    fn timer(&mut self) -> Option<&mut dyn Timer> {
        Some(self)
    }
}

impl Pio for AcpiPm {
    fn read(&mut self, cx: &mut DevCtx, a: PioAccess) -> IoResult<u32> {
        self.evaluate(cx);
        let offset = a.port.wrapping_sub(self.base);
        // every register is readable by byte and by word, and the event block as one doubleword
        let wide = u32::from(self.status.bits()) | u32::from(self.enable.bits()) << 16;
        let (block, at) = match offset {
            PM1_STATUS..PM1_CONTROL => (wide, offset),
            PM1_CONTROL..PM_TIMER => (self.control.into_bits().into(), offset - PM1_CONTROL),
            PM_TIMER.. if offset < PM_TIMER + 4 => {
                (TIMER.ticks_at(cx.now()) as u32 & ((1 << TIMER_BITS) - 1), offset - PM_TIMER)
            }
            _ => return IoError::Register.into(),
        };
        if at + u16::from(a.width.bytes()) > 4 {
            return IoError::Unaligned.into();
        }
        IoResult::Ok((block >> (8 * at)) & a.width.mask() as u32)
    }

    fn write(&mut self, cx: &mut DevCtx, a: PioAccess, value: u32) -> IoResult<()> {
        self.evaluate(cx);
        let at = a.port.wrapping_sub(self.base);
        // a byte written to a word register leaves the other byte: zeroes clear no status, the others are merged
        let merge = |old: u16, register: u16| match (a.width, at == register) {
            (Width::B1, true) => old & 0xff00 | value as u16 & 0xff,
            (Width::B1, false) => old & 0x00ff | (value as u16) << 8,
            _ => value as u16,
        };
        match (at & !1, a.width, at & 1) {
            (_, Width::B2 | Width::B4 | Width::B8, 1) => return IoError::Unaligned.into(),
            (PM1_STATUS, Width::B4 | Width::B8, _) => {
                self.status -= Event::from_bits_retain(value as u16);
                self.enable = Event::from_bits_retain((value >> 16) as u16) & Event::ENABLES;
            }
            (PM1_STATUS, ..) => self.status -= Event::from_bits_retain(merge(0, PM1_STATUS)),
            (PM1_ENABLE, Width::B1 | Width::B2, _) => {
                self.enable = Event::from_bits_retain(merge(self.enable.bits(), PM1_ENABLE)) & Event::ENABLES;
            }
            (PM1_CONTROL, ..) => self.set_control(cx, Control::from_bits(merge(self.control.into_bits(), PM1_CONTROL))),
            // the timer is read-only (4.8.3.3), and so is what lies between
            (6..12, ..) => {}
            _ => return IoError::Register.into(),
        }
        self.drive(cx);
        IoResult::Ok(())
    }
}

impl Timer for AcpiPm {
    fn next_deadline(&self) -> Option<u64> {
        let wanted = self.enable.contains(Event::TIMER) && !self.status.contains(Event::TIMER);
        wanted.then(|| TIMER.ns_at((TIMER.ticks_at(self.seen) / HALF + 1) * HALF))
    }

    fn tick(&mut self, cx: &mut DevCtx) {
        self.evaluate(cx);
    }
}
