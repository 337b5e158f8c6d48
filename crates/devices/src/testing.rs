//! A bench to put one chip on: wires, outbox, a clock to set, and short forms of bus accesses.

use bus::{
    BadAccessLog, Clock, DevCtx, Device, IoResult, IrqLines, Line, MmioAccess, Outbox, Pio, PioAccess, Snapshot, Timer,
    Width,
};

#[derive(Default)]
pub struct Bench {
    pub irq: IrqLines,
    pub out: Outbox,
    pub now: u64,
}

impl Bench {
    pub fn cx(&mut self) -> DevCtx<'_> {
        DevCtx { irq: &mut self.irq, out: &mut self.out, clock: Clock::at(self.now) }
    }

    pub fn inb(&mut self, d: &mut dyn Pio, port: u16) -> u8 {
        self.input(d, port, Width::B1) as u8
    }

    pub fn inl(&mut self, d: &mut dyn Pio, port: u16) -> u32 {
        self.input(d, port, Width::B4)
    }

    /// As the CPU sees it: through the bus's policy.
    pub fn input(&mut self, d: &mut dyn Pio, port: u16, width: Width) -> u32 {
        BadAccessLog::default().pio_read(d, "test", &mut self.cx(), PioAccess::new(port, width)).unwrap()
    }

    pub fn outb(&mut self, d: &mut dyn Pio, port: u16, v: u8) {
        self.output(d, port, Width::B1, v.into());
    }

    pub fn outl(&mut self, d: &mut dyn Pio, port: u16, v: u32) {
        self.output(d, port, Width::B4, v);
    }

    pub fn output(&mut self, d: &mut dyn Pio, port: u16, width: Width, v: u32) {
        BadAccessLog::default().pio_write(d, "test", &mut self.cx(), PioAccess::new(port, width), v).unwrap();
    }

    pub fn read(&mut self, d: &mut impl Device, offset: u64, width: Width) -> IoResult<u64> {
        d.mmio().expect("memory-mapped").read(&mut self.cx(), MmioAccess::new(offset, width))
    }

    pub fn r32(&mut self, d: &mut impl Device, offset: u64) -> u32 {
        self.read(d, offset, Width::B4).ok().expect("readable") as u32
    }

    pub fn write(&mut self, d: &mut impl Device, offset: u64, width: Width, v: u64) -> IoResult<()> {
        d.mmio().expect("memory-mapped").write(&mut self.cx(), MmioAccess::new(offset, width), v)
    }

    pub fn w32(&mut self, d: &mut impl Device, offset: u64, v: u32) {
        self.write(d, offset, Width::B4, v.into()).ok().expect("writable");
    }

    pub fn high(&self, line: u8) -> bool {
        self.irq.is_high(Line::new(line))
    }

    /// Whether `line` rose since the last call that took the changes.
    pub fn rose(&mut self, line: u8) -> bool {
        self.irq.take().is_some_and(|c| c.rose & Line::new(line).bit() != 0)
    }

    /// Lets time run to `until`, ticking the device at each of its deadlines; gives the times of rising edges of `line`.
    pub fn run(&mut self, d: &mut impl Timer, until: u64, line: u8) -> Vec<u64> {
        let mut edges = Vec::new();
        self.irq.take();
        while let Some(t) = d.next_deadline().filter(|t| *t <= until) {
            self.now = self.now.max(t);
            d.tick(&mut self.cx());
            if self.rose(line) {
                edges.push(self.now);
            }
            assert!(d.next_deadline().is_none_or(|n| n > self.now), "a tick leaves nothing due");
        }
        self.now = until;
        d.tick(&mut self.cx());
        assert!(!self.rose(line), "an edge that no deadline announced");
        edges
    }
}

/// Saves `from`, through bytes, into `to`, and checks that nothing was lost.
pub fn round_trip<T: Snapshot<State: PartialEq + std::fmt::Debug>>(from: &T, to: &mut T) {
    let state = from.save();
    let bytes = postcard::to_allocvec(&state).unwrap();
    to.restore(postcard::from_bytes(&bytes).unwrap()).unwrap();
    assert_eq!(to.save(), state);
}
