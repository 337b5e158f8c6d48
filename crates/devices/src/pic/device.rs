use super::{
    Chip, Pic,
    spec::{CASCADE, ELCR, ELCR_MASK, ICW1, Icw1, Icw4, MASTER, Next, OCW3, Ocw2, Ocw3, SLAVE, SPURIOUS},
};
use bus::{DevCtx, Device, IoError, IoResult, LineChange, Pio, PioAccess, Width};

impl Chip {
    const fn new() -> Self {
        Self {
            inputs: 0,
            edges: 0,
            isr: 0,
            imr: 0,
            level: 0,
            base: 0,
            top: 0,
            next: Next::Ocw1,
            wants_icw4: false,
            single: false,
            auto_eoi: false,
            rotate_on_auto_eoi: false,
            special_fully_nested: false,
            special_mask: false,
            reads_isr: false,
            poll: false,
        }
    }

    fn set_inputs(&mut self, inputs: u8, rose: u8) {
        self.edges |= (rose | inputs & !self.inputs) & !self.level;
        self.inputs = inputs;
    }

    fn irr(&self) -> u8 {
        self.edges & !self.level | self.inputs & self.level
    }

    /// Rank of the most urgent input in `mask`: 0 is the highest priority, 8 means none.
    fn rank(&self, mask: u8) -> u8 {
        mask.rotate_right(self.top.into()).trailing_zeros() as u8
    }

    /// The input that INT is asserted for ("Priority Resolver"; "Fully Nested Mode"; "Special Mask Mode").
    fn request(&self) -> Option<u8> {
        let mut blocking = self.isr;
        if self.special_mask {
            blocking &= !self.imr;
        }
        let rank = self.rank(self.irr() & !self.imr);
        let input = (rank + self.top) & 7;
        if self.special_fully_nested && input == CASCADE {
            // further requests of the slave in service pass, but nothing below it does
            blocking &= !(1 << CASCADE);
        }
        (rank < self.rank(blocking)).then_some(input)
    }

    /// The INTA cycle: input number, the default one when the request has gone.
    fn ack(&mut self) -> u8 {
        let Some(input) = self.request() else { return SPURIOUS };
        self.edges &= !(1 << input);
        if !self.auto_eoi {
            self.isr |= 1 << input;
        } else if self.rotate_on_auto_eoi {
            self.top = (input + 1) & 7;
        }
        input
    }

    fn vector(&self, input: u8) -> u8 {
        self.base | input
    }

    fn read(&mut self, odd: bool) -> u8 {
        if std::mem::take(&mut self.poll) {
            return match self.request() {
                Some(_) => 0x80 | self.ack(),
                None => 0,
            };
        }
        match (odd, self.reads_isr) {
            (true, _) => self.imr,
            (false, true) => self.isr,
            (false, false) => self.irr(),
        }
    }

    fn write_even(&mut self, v: u8) {
        if v & ICW1 != 0 {
            let icw1 = Icw1::from_bits(v);
            // "Initialization Command Words 1 and 2 (a)-(f)": edges must come anew, mask cleared, priorities as numbered
            *self = Self {
                inputs: self.inputs,
                level: self.level,
                base: self.base,
                next: Next::Icw2,
                wants_icw4: icw1.wants_icw4(),
                single: icw1.single(),
                ..Self::new()
            };
        } else if v & OCW3 != 0 {
            let ocw3 = Ocw3::from_bits(v);
            if ocw3.poll() {
                self.poll = true;
            } else if ocw3.read_register() {
                self.reads_isr = ocw3.read_isr();
            }
            if ocw3.enable_special_mask() {
                self.special_mask = ocw3.special_mask();
            }
        } else {
            self.ocw2(Ocw2::from_bits(v));
        }
    }

    fn ocw2(&mut self, c: Ocw2) {
        match (c.eoi(), c.specific(), c.rotate()) {
            (true, specific, rotate) => {
                let input = if specific {
                    c.input()
                } else {
                    // in special mask mode a masked input is not cleared by a non-specific EOI
                    let isr = if self.special_mask { self.isr & !self.imr } else { self.isr };
                    match self.rank(isr) {
                        8 => return,
                        rank => (rank + self.top) & 7,
                    }
                };
                self.isr &= !(1 << input);
                if rotate {
                    self.top = (input + 1) & 7;
                }
            }
            (false, true, true) => self.top = (c.input() + 1) & 7,
            (false, true, false) => {}
            (false, false, rotate) => self.rotate_on_auto_eoi = rotate,
        }
    }

    fn write_odd(&mut self, v: u8) {
        let after_icw3 = if self.wants_icw4 { Next::Icw4 } else { Next::Ocw1 };
        self.next = match self.next {
            Next::Ocw1 => {
                self.imr = v;
                Next::Ocw1
            }
            Next::Icw2 => {
                self.base = v & 0xf8;
                if self.single { after_icw3 } else { Next::Icw3 }
            }
            // the cascade is wired: nothing to choose
            Next::Icw3 => after_icw3,
            Next::Icw4 => {
                let icw4 = Icw4::from_bits(v);
                self.auto_eoi = icw4.auto_eoi();
                self.special_fully_nested = icw4.special_fully_nested();
                Next::Ocw1
            }
        };
    }
}

impl Default for Pic {
    fn default() -> Self {
        Self::new()
    }
}

impl Pic {
    pub const fn new() -> Self {
        Self { master: Chip::new(), slave: Chip::new() }
    }

    /// Changes on wires 0-15, which are the inputs of the same numbers; wire 2 is not connected.
    pub fn set_lines(&mut self, change: LineChange) {
        self.slave.set_inputs((change.level >> 8) as u8, (change.rose >> 8) as u8);
        let cascade = 1 << CASCADE;
        let keep = self.master.inputs & cascade;
        self.master.set_inputs(change.level as u8 & !cascade | keep, change.rose as u8 & !cascade);
        self.cascade();
    }

    /// The slave's INT drives the master's input 2.
    fn cascade(&mut self) {
        let high = u8::from(self.slave.request().is_some()) << CASCADE;
        self.master.set_inputs(self.master.inputs & !(1 << CASCADE) | high, 0);
        if high == 0 {
            // the slave's INT is a level that lasts until INTA, so its fall withdraws the request
            self.master.edges &= !(1 << CASCADE);
        }
    }

    /// Level of the INTR output: LINT0 of the local APIC.
    pub fn intr(&self) -> bool {
        self.master.request().is_some()
    }

    /// The CPU's interrupt acknowledge: the vector. Answers a request that has gone with a spurious vector.
    pub fn ack(&mut self) -> u8 {
        let input = self.master.ack();
        let vector = if input == CASCADE {
            let input = self.slave.ack();
            self.slave.vector(input)
        } else {
            self.master.vector(input)
        };
        // after its INTA the slave lowers INT for a moment: what else it has is a new edge
        self.master.inputs &= !(1 << CASCADE);
        self.cascade();
        vector
    }

    fn chip(&mut self, port: u16) -> Option<&mut Chip> {
        match port & !1 {
            MASTER => Some(&mut self.master),
            SLAVE => Some(&mut self.slave),
            _ => None,
        }
    }
}

impl Device for Pic {
    fn name(&self) -> &'static str {
        "pic"
    }

    fn reset(&mut self, cx: &mut DevCtx) {
        *self = Self::new();
        let levels = cx.irq.levels();
        self.set_lines(LineChange { level: levels, rose: 0, changed: levels });
        (self.master.edges, self.slave.edges) = (0, 0);
    }

    fn pio(&mut self) -> Option<&mut dyn Pio> {
        Some(self)
    }
}

impl Pio for Pic {
    fn read(&mut self, _: &mut DevCtx, a: PioAccess) -> IoResult<u32> {
        if a.width != Width::B1 {
            return IoError::Width.into();
        }
        let v = match (a.port, self.chip(a.port)) {
            (port, Some(chip)) => chip.read(port & 1 != 0),
            (ELCR, None) => self.master.level,
            (port, None) if port == ELCR + 1 => self.slave.level,
            _ => return IoError::Register.into(),
        };
        self.cascade();
        IoResult::Ok(v.into())
    }

    fn write(&mut self, _: &mut DevCtx, a: PioAccess, value: u32) -> IoResult<()> {
        if a.width != Width::B1 {
            return IoError::Width.into();
        }
        let v = value as u8;
        match (a.port, self.chip(a.port)) {
            (port, Some(chip)) if port & 1 == 0 => chip.write_even(v),
            (_, Some(chip)) => chip.write_odd(v),
            (ELCR, None) => self.master.level = v & ELCR_MASK[0],
            (port, None) if port == ELCR + 1 => self.slave.level = v & ELCR_MASK[1],
            _ => return IoError::Register.into(),
        }
        self.cascade();
        IoResult::Ok(())
    }
}
