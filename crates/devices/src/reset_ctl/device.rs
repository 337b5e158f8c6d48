use super::{
    ResetCtl,
    spec::{DEBUG, HARD_RESET, PORT_A, POST, PortA, RESET_CONTROL, ResetControl},
};
use bus::{DevCtx, Device, IoError, IoResult, Pio, PioAccess, Reset, Signal, Stream, Width};

impl Default for ResetCtl {
    fn default() -> Self {
        Self::new()
    }
}

impl ResetCtl {
    /// After reset A20 is open, as chip sets with a fast A20 leave it.
    pub const fn new() -> Self {
        Self { reset: ResetControl::new(), port_a: PortA::new().with_a20(true), post: 0 }
    }

    /// The last byte written to the POST port.
    pub fn post(&self) -> u8 {
        self.post
    }

    fn set_post(&mut self, cx: &mut DevCtx, v: u8) {
        // kernels write here only to pass a microsecond: an unchanged code is no news
        if std::mem::replace(&mut self.post, v) != v {
            cx.out.signal(Signal::Post(v));
        }
    }

    fn set_reset(&mut self, cx: &mut DevCtx, v: u8) {
        let old = std::mem::replace(&mut self.reset, ResetControl::from_bits(v & (HARD_RESET | 8)));
        if self.reset.reset() && !old.reset() {
            let whole = self.reset.hard() || self.reset.power_cycle();
            cx.out.signal(Signal::Reset(if whole { Reset::Hard } else { Reset::Init }));
        }
    }

    fn set_port_a(&mut self, cx: &mut DevCtx, v: u8) {
        let old = std::mem::replace(&mut self.port_a, PortA::from_bits(v & 3));
        if self.port_a.a20() != old.a20() {
            cx.out.signal(Signal::A20(self.port_a.a20()));
        }
        if self.port_a.fast_init() && !old.fast_init() {
            cx.out.signal(Signal::Reset(Reset::Init));
        }
    }
}

impl Device for ResetCtl {
    fn name(&self) -> &'static str {
        "reset_ctl"
    }

    fn reset(&mut self, _: &mut DevCtx) {
        *self = Self::new();
    }

    fn pio(&mut self) -> Option<&mut dyn Pio> {
        Some(self)
    }
}

impl Pio for ResetCtl {
    fn read(&mut self, _: &mut DevCtx, a: PioAccess) -> IoResult<u32> {
        let v = match a.port {
            _ if a.width != Width::B1 => return IoError::Width.into(),
            RESET_CONTROL => self.reset.into_bits(),
            PORT_A => self.port_a.into_bits(),
            POST => self.post,
            DEBUG => DEBUG as u8,
            _ => return IoError::Register.into(),
        };
        IoResult::Ok(v.into())
    }

    fn write(&mut self, cx: &mut DevCtx, a: PioAccess, value: u32) -> IoResult<()> {
        let v = value as u8;
        match a.port {
            _ if a.width != Width::B1 => return IoError::Width.into(),
            RESET_CONTROL => self.set_reset(cx, v),
            PORT_A => self.set_port_a(cx, v),
            POST => self.set_post(cx, v),
            DEBUG => cx.out.write(Stream::DebugCon, v),
            _ => return IoError::Register.into(),
        }
        IoResult::Ok(())
    }
}
