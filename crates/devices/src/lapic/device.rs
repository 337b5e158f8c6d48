use super::{
    GeneralProtection, Lapic, Vectors,
    spec::{
        APIC_BASE_RESERVED, ApicBase, BASE, DFR_CLUSTER, DFR_FLAT, Errors, FIRST_VECTOR, IA32_APIC_BASE, ICR_WRITABLE,
        Icr, Lvt, LvtEntry, SVR_WRITABLE, Spurious, VERSION, X2APIC_MSR, delivery, msi, reg, shorthand, timer_mode,
    },
};
use bus::{DevCtx, Device, Frequency, IoError, IoResult, Mmio, MmioAccess, Msi, Signal, Timer, Width};

type MsrResult<T> = Result<T, GeneralProtection>;

/// Ticks of the clock are numbered from here, so that a count that has run for the longest time at the highest divisor
/// did not start before zero.
const EPOCH: u64 = 1 << 40;

fn highest(v: &Vectors) -> Option<u8> {
    v.iter().enumerate().rev().find(|(_, w)| **w != 0).map(|(i, w)| (i as u8) << 5 | (31 - w.leading_zeros()) as u8)
}

fn set(v: &mut Vectors, n: u8, on: bool) {
    let (word, bit) = (&mut v[usize::from(n >> 5)], 1 << (n & 31));
    *word = if on { *word | bit } else { *word & !bit };
}

fn has(v: &Vectors, n: u8) -> bool {
    v[usize::from(n >> 5)] >> (n & 31) & 1 != 0
}

impl Lapic {
    /// The APIC of processor `id` after power-up; `clock` drives the timer's divider (the crystal of CPUID leaf 0x15).
    pub const fn new(id: u32, clock: Frequency) -> Self {
        Self {
            clock,
            id,
            base: ApicBase::new().with_page(BASE >> 12).with_enable(true).with_bootstrap(id == 0),
            tpr: 0,
            ldr: 0,
            dfr: u32::MAX,
            spurious: Spurious::new().with_vector(0xff),
            isr: [0; 8],
            irr: [0; 8],
            tmr: [0; 8],
            errors: Errors::empty(),
            new_errors: Errors::empty(),
            icr: Icr::new(),
            lvt: [LvtEntry::new().with_masked(true); Lvt::COUNT],
            lint: [false; 2],
            ext_int: false,
            divide: 0,
            initial_count: 0,
            started: None,
            tsc_deadline: 0,
            deadline_ns: 0,
            pending: None,
        }
    }

    /// INIT: everything but the identity and IA32_APIC_BASE (11.4.7.3).
    pub fn init(&mut self) {
        *self = Self { base: self.base, lint: self.lint, ..Self::new(self.id, self.clock) };
    }

    /// What firmware leaves behind: virtual wire mode (MP specification 1.4, 3.6.2.2). The PIC reaches the CPU through
    /// LINT0, and LINT1 is NMI.
    pub fn virtual_wire(&mut self) {
        self.spurious = Spurious::new().with_vector(0x0f).with_enable(true);
        self.lvt[Lvt::Lint0 as usize] = LvtEntry::new().with_delivery_mode(delivery::EXT_INT);
        self.lvt[Lvt::Lint1 as usize] = LvtEntry::new().with_delivery_mode(delivery::NMI);
    }

    // -- the CPU's side

    /// The vector to take now, if any: the highest request whose priority class is above the processor's (11.8.3).
    #[inline]
    pub fn pending_vector(&self) -> Option<u8> {
        self.pending
    }

    /// Whether the PIC's INTR reaches the CPU and is asserted: fetch the vector with an INTA cycle at the PIC. Has no
    /// priority class; comes before [`Lapic::pending_vector`].
    #[inline]
    pub fn ext_int(&self) -> bool {
        let lvt = self.lvt[Lvt::Lint0 as usize];
        let through = !self.base.enable() || (!lvt.masked() && lvt.delivery_mode() == delivery::EXT_INT);
        self.ext_int || (self.lint[0] && through)
    }

    /// The CPU takes the external interrupt.
    pub fn ack_ext_int(&mut self) {
        self.ext_int = false;
    }

    /// The CPU takes the pending vector: it goes from IRR to ISR. If the request has gone, the spurious vector, which
    /// needs no EOI (11.9).
    pub fn ack(&mut self) -> u8 {
        let Some(v) = self.pending else { return self.spurious.vector() };
        set(&mut self.irr, v, false);
        set(&mut self.isr, v, true);
        self.update();
        v
    }

    /// CR8: the task priority's class (11.8.6).
    pub fn cr8(&self) -> u8 {
        self.tpr >> 4
    }

    /// Writes CR8 (0 to 15).
    pub fn set_cr8(&mut self, class: u8) {
        self.set_tpr(class << 4);
    }

    /// The task-priority register.
    pub fn tpr(&self) -> u8 {
        self.tpr
    }

    pub fn set_tpr(&mut self, tpr: u8) {
        self.tpr = tpr;
        self.update();
    }

    /// Processor priority (11.8.3.1).
    pub fn ppr(&self) -> u8 {
        let in_service = highest(&self.isr).unwrap_or(0) & 0xf0;
        if self.tpr & 0xf0 >= in_service { self.tpr } else { in_service }
    }

    /// The physical page base where the registers answer; `None` when disabled or in x2APIC mode.
    pub fn mmio_base(&self) -> Option<u64> {
        (self.base.enable() && !self.base.x2apic()).then(|| self.base.page() << 12)
    }

    /// Whether the registers are MSRs.
    pub fn is_x2apic(&self) -> bool {
        self.base.x2apic()
    }

    /// IA32_APIC_BASE.
    pub fn apic_base(&self) -> u64 {
        self.base.into_bits()
    }

    /// IA32_TSC_DEADLINE in TSC ticks: 0 when disarmed or in another timer mode.
    pub fn tsc_deadline(&mut self, cx: &mut DevCtx) -> u64 {
        self.evaluate(cx);
        self.tsc_deadline
    }

    /// Writes IA32_TSC_DEADLINE. `ticks` is what the guest wrote (0 disarms); `at` the guest ns at which its TSC will
    /// show that value, offset and TSC_ADJUST included (a time past fires at once). When the guest moves its TSC, the
    /// CPU writes the same deadline again with its new time. Ignored in other timer modes (11.5.4.1).
    pub fn set_tsc_deadline(&mut self, cx: &mut DevCtx, ticks: u64, at: u64) {
        self.evaluate(cx);
        if self.timer_mode() == timer_mode::TSC_DEADLINE {
            (self.tsc_deadline, self.deadline_ns) = (ticks, at);
            self.evaluate(cx);
        }
    }

    /// Reads an MSR of the APIC other than IA32_TSC_DEADLINE.
    pub fn read_msr(&mut self, cx: &mut DevCtx, msr: u32) -> MsrResult<u64> {
        if msr == IA32_APIC_BASE {
            return Ok(self.base.into_bits());
        }
        let r = self.x2apic_register(msr)?;
        match r {
            reg::ICR => Ok(self.icr.into_bits()),
            reg::ICR_HIGH | reg::APR | reg::RRD | reg::DFR | reg::EOI | reg::SELF_IPI => Err(GeneralProtection),
            _ => self.read_register(cx, r).map(u64::from).ok_or(GeneralProtection),
        }
    }

    /// Writes an MSR of the APIC other than IA32_TSC_DEADLINE; reserved bits and read-only registers are refused.
    pub fn write_msr(&mut self, cx: &mut DevCtx, msr: u32, v: u64) -> MsrResult<()> {
        if msr == IA32_APIC_BASE {
            return self.set_apic_base(v);
        }
        let r = self.x2apic_register(msr)?;
        let writable = match r {
            reg::TPR => 0xff,
            reg::SVR => SVR_WRITABLE.into(),
            reg::EOI | reg::ESR => 0,
            reg::ICR => ICR_WRITABLE | 0xffff_ffff_0000_0000,
            reg::LVT..reg::LVT_END => Lvt::WRITABLE[(r - reg::LVT) as usize & 7].into(),
            reg::INITIAL_COUNT => 0xffff_ffff,
            reg::DIVIDE => 0xb,
            reg::SELF_IPI => 0xff,
            _ => return Err(GeneralProtection),
        };
        // delivery status and remote IRR are read-only, not reserved: a guest writes back what it read
        let read_only = if matches!(r, reg::ICR | reg::LVT..reg::LVT_END) { 1 << 12 | 1 << 14 } else { 0 };
        if v & !(writable | read_only) != 0 {
            return Err(GeneralProtection);
        }
        match r {
            reg::ICR => {
                self.icr = Icr::from_bits(v & writable);
                self.send_ipi(cx);
            }
            reg::SELF_IPI => self.receive_fixed(cx, v as u8, false),
            _ => {
                self.write_register(cx, r, v as u32);
            }
        }
        Ok(())
    }

    fn x2apic_register(&self, msr: u32) -> MsrResult<u32> {
        if self.base.enable() && self.base.x2apic() { Ok(msr.wrapping_sub(X2APIC_MSR)) } else { Err(GeneralProtection) }
    }

    /// The transitions of figure 11-27.
    fn set_apic_base(&mut self, v: u64) -> MsrResult<()> {
        let (old, new) = (self.base, ApicBase::from_bits(v));
        let legal = match ((old.enable(), old.x2apic()), (new.enable(), new.x2apic())) {
            (_, (false, true)) | ((false, _), (true, true)) | ((true, true), (true, false)) => false,
            _ => v & APIC_BASE_RESERVED == 0,
        };
        if !legal {
            return Err(GeneralProtection);
        }
        self.base = new;
        if !new.enable() {
            self.init();
        }
        self.update();
        Ok(())
    }

    // -- messages and pins

    /// An interrupt message arrives: from the IOAPIC or from a PCI function.
    pub fn receive(&mut self, cx: &mut DevCtx, m: Msi) {
        let destination = (m.address >> 12) as u32 & 0xff;
        let here = m.address >> 20 == msi::ADDRESS && self.is_for_me(destination, m.address & msi::LOGICAL != 0, 0xff);
        if here && self.base.enable() {
            self.deliver(cx, (m.data >> 8) as u8 & 7, m.data as u8, m.data & msi::LEVEL != 0);
        }
    }

    /// Level of pin LINT0, the PIC's INTR.
    pub fn set_lint0(&mut self, cx: &mut DevCtx, high: bool) {
        self.set_lint(cx, Lvt::Lint0, 0, high);
    }

    /// Level of pin LINT1, on a PC the NMI sources.
    pub fn set_lint1(&mut self, cx: &mut DevCtx, high: bool) {
        self.set_lint(cx, Lvt::Lint1, 1, high);
    }

    fn set_lint(&mut self, cx: &mut DevCtx, which: Lvt, pin: usize, high: bool) {
        let was = std::mem::replace(&mut self.lint[pin], high);
        let rose = high && !was;
        if !self.base.enable() {
            // the pins are INTR and NMI (11.4.3)
            if rose && which == Lvt::Lint1 {
                cx.out.signal(Signal::Nmi);
            }
        } else if rose {
            self.lint_asserted(cx, which);
        }
    }

    fn lint_asserted(&mut self, cx: &mut DevCtx, which: Lvt) {
        let e = &mut self.lvt[which as usize];
        let fixed = e.delivery_mode() == delivery::FIXED;
        // ExtINT is asked for by level, in `ext_int`
        if e.masked() || e.delivery_mode() == delivery::EXT_INT || (fixed && e.level() && e.remote_irr()) {
            return;
        }
        e.set_remote_irr(fixed && e.level());
        let e = *e;
        self.deliver(cx, e.delivery_mode(), e.vector(), e.level());
    }

    /// Whether a destination names this processor (11.6.2); `broadcast` is the all-ones of its width.
    fn is_for_me(&self, destination: u32, logical: bool, broadcast: u32) -> bool {
        if destination == broadcast {
            return true;
        }
        if !logical {
            return destination == self.id;
        }
        let x2apic = self.base.x2apic();
        let ldr = self.logical_id();
        match (x2apic, self.dfr >> 28) {
            (true, _) => destination >> 16 == ldr >> 16 && destination & ldr & 0xffff != 0,
            (false, DFR_FLAT) => destination & ldr >> 24 != 0,
            (false, DFR_CLUSTER) => destination >> 4 == ldr >> 28 && destination & ldr >> 24 & 0xf != 0,
            _ => false,
        }
    }

    fn logical_id(&self) -> u32 {
        if self.base.x2apic() { (self.id >> 4) << 16 | 1 << (self.id & 15) } else { self.ldr }
    }

    fn deliver(&mut self, cx: &mut DevCtx, mode: u8, vector: u8, level: bool) {
        match mode {
            delivery::FIXED | delivery::LOWEST_PRIORITY => self.receive_fixed(cx, vector, level),
            delivery::SMI => cx.out.signal(Signal::Smi),
            delivery::NMI => cx.out.signal(Signal::Nmi),
            delivery::INIT => cx.out.signal(Signal::Init),
            delivery::STARTUP => cx.out.signal(Signal::Sipi(vector)),
            delivery::EXT_INT => self.ext_int = true,
            reserved => log::debug!("lapic: reserved delivery mode {reserved}, vector {vector:#x}"),
        }
    }

    fn receive_fixed(&mut self, cx: &mut DevCtx, vector: u8, level: bool) {
        if !self.spurious.enable() {
            return;
        }
        if vector < FIRST_VECTOR {
            self.error(cx, Errors::RECEIVE_ILLEGAL_VECTOR);
            return;
        }
        set(&mut self.irr, vector, true);
        set(&mut self.tmr, vector, level);
        self.update();
    }

    fn error(&mut self, cx: &mut DevCtx, e: Errors) {
        let first = !self.new_errors.contains(e);
        self.new_errors |= e;
        let lvt = self.lvt[Lvt::Error as usize];
        // an illegal vector in the error entry itself must not report itself again and again
        if first && !lvt.masked() && lvt.vector() >= FIRST_VECTOR {
            self.receive_fixed(cx, lvt.vector(), false);
        }
    }

    fn send_ipi(&mut self, cx: &mut DevCtx) {
        let c = self.icr;
        let fixed = matches!(c.delivery_mode(), delivery::FIXED | delivery::LOWEST_PRIORITY);
        if fixed && c.vector() < FIRST_VECTOR {
            self.error(cx, Errors::SEND_ILLEGAL_VECTOR);
            return;
        }
        let for_me = match c.shorthand() {
            shorthand::NONE => {
                self.is_for_me(c.destination(), c.logical(), if self.base.x2apic() { u32::MAX } else { 0xff })
            }
            // only fixed interrupts may be sent to oneself by shorthand (table 11-3)
            shorthand::SELF => fixed,
            shorthand::ALL => true,
            _ => false,
        };
        // INIT level de-assert is for processors of the past (11.6.1)
        let deassert = c.delivery_mode() == delivery::INIT && c.level() && !c.assert();
        if for_me && !deassert {
            self.deliver(cx, c.delivery_mode(), c.vector(), false);
        }
    }

    fn eoi(&mut self, cx: &mut DevCtx) {
        let Some(v) = highest(&self.isr) else { return };
        set(&mut self.isr, v, false);
        if has(&self.tmr, v) {
            cx.irq.broadcast_eoi(v);
            for (pin, which) in [Lvt::Lint0, Lvt::Lint1].into_iter().enumerate() {
                let e = &mut self.lvt[which as usize];
                if e.remote_irr() && e.vector() == v {
                    e.set_remote_irr(false);
                    if self.lint[pin] {
                        self.lint_asserted(cx, which);
                    }
                }
            }
        }
        self.update();
    }

    fn update(&mut self) {
        let class = self.ppr() >> 4;
        let enabled = self.base.enable() && self.spurious.enable();
        self.pending = highest(&self.irr).filter(|v| enabled && v >> 4 > class);
    }

    // -- timer

    fn timer_mode(&self) -> u8 {
        self.lvt[Lvt::Timer as usize].timer_mode()
    }

    /// Ticks of the clock a count (11.5.4, figure 11-10).
    fn divisor(&self) -> u64 {
        let code = self.divide & 3 | (self.divide >> 1 & 4);
        if code == 7 { 1 } else { 2 << code }
    }

    fn tick_at(&self, now: u64) -> u64 {
        EPOCH.wrapping_add(self.clock.ticks_at(now))
    }

    fn period(&self) -> u64 {
        u64::from(self.initial_count) * self.divisor()
    }

    fn current_count(&self, now: u64) -> u32 {
        let Some(start) = self.started else { return 0 };
        let gone = self.tick_at(now).saturating_sub(start) / self.divisor();
        u64::from(self.initial_count).saturating_sub(gone) as u32
    }

    /// When the timer will expire, masked or not.
    fn expires_at(&self) -> Option<u64> {
        if self.timer_mode() == timer_mode::TSC_DEADLINE {
            (self.tsc_deadline != 0).then_some(self.deadline_ns)
        } else {
            self.started.map(|start| self.clock.ns_at(start.saturating_add(self.period()).saturating_sub(EPOCH)))
        }
    }

    /// Performs an expiry that is due.
    fn evaluate(&mut self, cx: &mut DevCtx) {
        let now = cx.now();
        if self.expires_at().is_none_or(|t| t > now) {
            return;
        }
        match self.timer_mode() {
            timer_mode::PERIODIC => {
                let (ticks, period) = (self.tick_at(now), self.period().max(1));
                self.started = self.started.map(|s| s + ticks.saturating_sub(s) / period * period);
            }
            timer_mode::TSC_DEADLINE => (self.tsc_deadline, self.deadline_ns) = (0, 0),
            _ => self.started = None,
        }
        self.timer_interrupt(cx);
    }

    /// The timer's interrupt, unless it is masked. Tests let it come though the timer has not expired: software must be ready for that.
    pub fn timer_interrupt(&mut self, cx: &mut DevCtx) {
        let lvt = self.lvt[Lvt::Timer as usize];
        if !lvt.masked() {
            self.receive_fixed(cx, lvt.vector(), false);
        }
    }

    fn load_timer(&mut self, now: u64, count: u32) {
        // ignored in TSC-deadline mode (11.5.4.1)
        if self.timer_mode() != timer_mode::TSC_DEADLINE {
            self.initial_count = count;
            self.started = (count != 0).then(|| self.tick_at(now));
        }
    }

    fn set_divide(&mut self, now: u64, v: u32) {
        let left = self.current_count(now);
        self.divide = v as u8 & 0xb;
        if self.started.is_some() {
            let gone = u64::from(self.initial_count - left) * self.divisor();
            self.started = Some(self.tick_at(now).saturating_sub(gone));
        }
    }

    fn set_lvt(&mut self, cx: &mut DevCtx, n: usize, v: u32) {
        let (Some(writable), Some(old)) = (Lvt::WRITABLE.get(n), self.lvt.get(n).copied()) else { return };
        let mut new = LvtEntry::from_bits(v & writable);
        if !self.spurious.enable() {
            new.set_masked(true);
        }
        new.set_remote_irr(old.remote_irr() && new.level());
        if n == Lvt::Timer as usize
            && (old.timer_mode() == timer_mode::TSC_DEADLINE) != (new.timer_mode() == timer_mode::TSC_DEADLINE)
        {
            // a change between the modes disarms the timer (11.5.4.1)
            (self.started, self.tsc_deadline, self.deadline_ns) = (None, 0, 0);
        }
        self.lvt[n] = new;
        for (pin, which) in [Lvt::Lint0, Lvt::Lint1].into_iter().enumerate() {
            // a level that waits is taken when unmasked
            if n == which as usize && new.level() && self.lint[pin] {
                self.lint_asserted(cx, which);
            }
        }
    }

    // -- registers

    /// A 32-bit register; `None` for a reserved one.
    fn read_register(&mut self, cx: &mut DevCtx, r: u32) -> Option<u32> {
        self.evaluate(cx);
        let word = |v: &Vectors| v[r as usize & 7];
        Some(match r {
            reg::ID if self.base.x2apic() => self.id,
            reg::ID => self.id << 24,
            reg::VERSION => VERSION,
            reg::TPR => self.tpr.into(),
            reg::PPR => self.ppr().into(),
            // arbitration was for the three-wire bus; remote read and EOI read as zero
            reg::APR | reg::RRD | reg::EOI => 0,
            reg::LDR => self.logical_id(),
            reg::DFR => self.dfr,
            reg::SVR => self.spurious.into_bits(),
            reg::ISR..reg::TMR => word(&self.isr),
            reg::TMR..reg::IRR => word(&self.tmr),
            reg::IRR..reg::IRR_END => word(&self.irr),
            reg::ESR => self.errors.bits(),
            reg::ICR => self.icr.into_bits() as u32,
            reg::ICR_HIGH => self.icr.destination() << 24,
            reg::LVT..reg::LVT_END => self.lvt.get((r - reg::LVT) as usize)?.into_bits(),
            reg::INITIAL_COUNT => self.initial_count,
            reg::CURRENT_COUNT => self.current_count(cx.now()),
            reg::DIVIDE => self.divide.into(),
            _ => return None,
        })
    }

    /// Writes a 32-bit register; `None` for a reserved or read-only one.
    fn write_register(&mut self, cx: &mut DevCtx, r: u32, v: u32) -> Option<()> {
        self.evaluate(cx);
        match r {
            reg::TPR => self.set_tpr(v as u8),
            reg::EOI => self.eoi(cx),
            reg::LDR => self.ldr = v & 0xff00_0000,
            reg::DFR => self.dfr = v | 0x0fff_ffff,
            reg::SVR => {
                self.spurious = Spurious::from_bits(v & SVR_WRITABLE);
                if !self.spurious.enable() {
                    self.lvt.iter_mut().for_each(|e| e.set_masked(true));
                }
                self.update();
            }
            reg::ESR => self.errors = std::mem::take(&mut self.new_errors),
            reg::ICR => {
                self.icr = Icr::from_bits(u64::from(v) & ICR_WRITABLE).with_destination(self.icr.destination());
                self.send_ipi(cx);
            }
            reg::ICR_HIGH => self.icr.set_destination(v >> 24),
            reg::LVT..reg::LVT_END => self.set_lvt(cx, (r - reg::LVT) as usize, v),
            reg::INITIAL_COUNT => self.load_timer(cx.now(), v),
            reg::DIVIDE => self.set_divide(cx.now(), v),
            // the identity of a P6-family processor is fixed by its package
            reg::ID => {}
            _ => return None,
        }
        Some(())
    }
}

impl Device for Lapic {
    fn name(&self) -> &'static str {
        "lapic"
    }

    fn reset(&mut self, _: &mut DevCtx) {
        *self = Self { lint: self.lint, ..Self::new(self.id, self.clock) };
    }

    fn mmio(&mut self) -> Option<&mut dyn Mmio> {
        Some(self)
    }

    fn timer(&mut self) -> Option<&mut dyn Timer> {
        Some(self)
    }
}

/// The register of a memory-mapped access: 32 bits at multiples of 16 (11.4.1).
fn register(a: MmioAccess) -> Result<u32, IoError> {
    match (a.offset % 16, a.width) {
        (0, Width::B4) => Ok((a.offset >> 4) as u32),
        (0, _) => Err(IoError::Width),
        _ => Err(IoError::Unaligned),
    }
}

impl Mmio for Lapic {
    fn read(&mut self, cx: &mut DevCtx, a: MmioAccess) -> IoResult<u64> {
        match register(a) {
            Ok(r) => {
                let v = self.read_register(cx, r).unwrap_or_else(|| {
                    self.error(cx, Errors::ILLEGAL_REGISTER);
                    0
                });
                IoResult::Ok(v.into())
            }
            Err(e) => e.into(),
        }
    }

    fn write(&mut self, cx: &mut DevCtx, a: MmioAccess, value: u64) -> IoResult<()> {
        match register(a) {
            Ok(r) => {
                if self.write_register(cx, r, value as u32).is_none() {
                    self.error(cx, Errors::ILLEGAL_REGISTER);
                }
                IoResult::Ok(())
            }
            Err(e) => e.into(),
        }
    }
}

impl Timer for Lapic {
    fn next_deadline(&self) -> Option<u64> {
        self.expires_at().filter(|_| !self.lvt[Lvt::Timer as usize].masked())
    }

    fn tick(&mut self, cx: &mut DevCtx) {
        self.evaluate(cx);
    }
}
