//! The `pc` board: which chip answers where, and the wires between the chips and the CPU.

use bus::{
    BadAccessLog, Clock, DevCtx, Device, IrqLines, Line, MmioAccess, Outbox, PioAccess, Reset, Signal, Stream, Width,
};
use devices::{Pic, Pit, Uart16550};
use isa_x86::Platform;

use crate::clock::GuestClock;
use crate::map;
use crate::random::Random;

/// Declares the chips once: the type that names them and the struct that holds them.
macro_rules! chips {
    ($($name:ident $field:ident: $ty:ty),* $(,)?) => {
        /// A chip of the board.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        enum Chip { $($name),* }

        struct Chips { $($field: $ty),* }

        impl Chip {
            const ALL: &[Chip] = &[$(Chip::$name),*];
        }

        impl Chips {
            fn get(&mut self, chip: Chip) -> &mut dyn Device {
                match chip { $(Chip::$name => &mut self.$field),* }
            }
        }
    };
}

chips! {
    Com1 com1: Uart16550,
    Pic pic: Pic,
    Pit pit: Pit,
}

/// The I/O port map.
const fn at_port(port: u16) -> Option<Chip> {
    Some(match port {
        0x3f8..=0x3ff => Chip::Com1,
        0x20..=0x21 | 0xa0..=0xa1 | 0x4d0..=0x4d1 => Chip::Pic,
        0x40..=0x43 | 0x61 => Chip::Pit,
        _ => return None,
    })
}

/// The memory map above and between RAM: the chip and the address its registers begin at.
const fn at_address(addr: u64) -> Option<(Chip, u64)> {
    let _ = addr;
    None
}

/// What the guest did that ends or interrupts the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    PowerOff,
    Reset,
}

/// The chips, the wires, the clock.
pub struct Board {
    chips: Chips,
    irq: IrqLines,
    out: Outbox,
    bad: BadAccessLog,
    pub clock: GuestClock,
    /// Guest ns of each chip's next timer event; `u64::MAX` for none.
    deadlines: [u64; Chip::ALL.len()],
    /// The earliest of them.
    deadline: u64,
    /// The CPU is to return before this deadline; an earlier one makes it look up.
    planned: u64,
    event: Option<Event>,
    nmi: bool,
    random: Random,
}

impl Board {
    pub fn new(clock: GuestClock, unix_ns: i64, random: Random) -> Self {
        let _ = unix_ns;
        let chips = Chips {
            com1: Uart16550::new(map::COM1, Line::new(map::IRQ_COM1), Stream::Com1),
            pic: Pic::new(),
            pit: Pit::new(Line::new(map::IRQ_PIT)),
        };
        let mut board = Self {
            chips,
            irq: IrqLines::default(),
            out: Outbox::default(),
            bad: BadAccessLog::default(),
            clock,
            deadlines: [u64::MAX; Chip::ALL.len()],
            deadline: u64::MAX,
            planned: u64::MAX,
            event: None,
            nmi: false,
            random,
        };
        board.reset(0);
        board
    }

    /// RESET# to every chip. `at`: instructions executed since power-on.
    pub fn reset(&mut self, at: u64) {
        for &chip in Chip::ALL {
            self.with(chip, at, |device, cx| device.reset(cx));
        }
        (self.event, self.nmi) = (None, false);
    }

    /// Calls a chip with everything it may touch, then carries on the wires what it said.
    #[inline]
    fn with<R>(&mut self, chip: Chip, at: u64, f: impl FnOnce(&mut dyn Device, &mut DevCtx) -> R) -> R {
        let clock = Clock::at(self.clock.now(at));
        let device = self.chips.get(chip);
        let result = f(device, &mut DevCtx { irq: &mut self.irq, out: &mut self.out, clock });
        self.settle(chip, clock);
        result
    }

    /// After a call of `chip`: its deadline, the interrupt wires, its signals.
    #[inline]
    fn settle(&mut self, chip: Chip, clock: Clock) {
        if self.irq.pending() {
            self.carry_interrupts(clock);
        }
        self.note_deadline(chip);
        if self.out.has_signal() {
            self.take_signals();
        }
    }

    fn note_deadline(&mut self, chip: Chip) {
        let Some(timer) = self.chips.get(chip).timer() else { return };
        let next = timer.next_deadline().unwrap_or(u64::MAX);
        if std::mem::replace(&mut self.deadlines[chip as usize], next) != next {
            self.deadline = self.deadlines.iter().copied().min().unwrap_or(u64::MAX);
        }
    }

    /// Carries changes of the wires to the interrupt controllers, and messages between those, until all is quiet.
    fn carry_interrupts(&mut self, _clock: Clock) {
        while self.irq.pending() {
            if let Some(change) = self.irq.take() {
                self.chips.pic.set_lines(change);
            }
            while self.irq.take_msi().is_some() {}
            while self.irq.take_eoi().is_some() {}
        }
    }

    fn take_signals(&mut self) {
        while let Some(signal) = self.out.take_signal() {
            match signal {
                Signal::PowerOff => self.event = Some(Event::PowerOff),
                // There is no firmware that would handle INIT of the only CPU otherwise than a reset.
                Signal::Reset(Reset::Hard | Reset::Init) | Signal::Init => {
                    self.event.get_or_insert(Event::Reset);
                }
                Signal::Nmi => self.nmi = true,
                Signal::A20(false) => log::warn!("the guest masks address line 20, which this board does not do"),
                Signal::Sleep(typ) => {
                    log::warn!("the guest asks for sleep state {typ}, which this board does not have")
                }
                Signal::Post(code) => log::debug!("POST code {code:#04x}"),
                // No other CPU to start, no code in system-management mode.
                Signal::A20(true) | Signal::Sipi(_) | Signal::Smi => {}
            }
        }
    }

    /// Performs what is due.
    pub fn tick(&mut self, at: u64) {
        let now = self.clock.now(at);
        if self.deadline > now {
            return;
        }
        for &chip in Chip::ALL {
            if self.deadlines[chip as usize] <= now {
                self.with(chip, at, |device, cx| {
                    if let Some(timer) = device.timer() {
                        timer.tick(cx);
                    }
                });
            }
        }
    }

    /// Guest ns of the next timer event. From now on an earlier one makes the CPU return.
    pub fn plan(&mut self) -> Option<u64> {
        self.planned = self.deadline;
        (self.deadline != u64::MAX).then_some(self.deadline)
    }

    /// Takes what the guest did.
    pub fn take_event(&mut self) -> Option<Event> {
        self.event.take()
    }

    /// Room in the serial port's receiver, bytes.
    pub fn console_room(&self) -> usize {
        self.chips.com1.can_receive()
    }

    /// A byte arrives at the serial port.
    pub fn console_receive(&mut self, byte: u8, at: u64) {
        let clock = Clock::at(self.clock.now(at));
        self.chips.com1.receive(&mut DevCtx { irq: &mut self.irq, out: &mut self.out, clock }, byte);
        self.settle(Chip::Com1, clock);
    }

    /// Takes what the guest wrote to the serial port.
    pub fn take_console(&mut self) -> Vec<u8> {
        self.out.clear(Stream::Com2);
        self.out.clear(Stream::DebugCon);
        self.out.take_bytes(Stream::Com1)
    }

    /// Accesses that no register answered.
    pub fn bad_accesses(&self) -> u64 {
        self.bad.total()
    }
}

fn width(size: u32) -> Width {
    Width::of(size as usize).unwrap_or(Width::B1)
}

impl Platform for Board {
    fn io_read(&mut self, port: u16, size: u32, at: u64) -> u32 {
        let access = PioAccess::new(port, width(size));
        let clock = Clock::at(self.clock.now(at));
        let Some(chip) = at_port(port) else { return self.bad.unclaimed_pio_read(clock.now, access) };
        let device = self.chips.get(chip);
        let name = device.name();
        let Some(pio) = device.pio() else { return access.width.mask() as u32 };
        let mut cx = DevCtx { irq: &mut self.irq, out: &mut self.out, clock };
        let value = self.bad.pio_read(pio, name, &mut cx, access);
        self.settle(chip, clock);
        // No chip of this board makes the CPU wait.
        value.unwrap_or(access.width.mask() as u32)
    }

    fn io_write(&mut self, port: u16, size: u32, value: u32, at: u64) {
        let access = PioAccess::new(port, width(size));
        let clock = Clock::at(self.clock.now(at));
        let Some(chip) = at_port(port) else { return self.bad.unclaimed_pio_write(clock.now, access, value) };
        let device = self.chips.get(chip);
        let name = device.name();
        let Some(pio) = device.pio() else { return };
        let mut cx = DevCtx { irq: &mut self.irq, out: &mut self.out, clock };
        let _ = self.bad.pio_write(pio, name, &mut cx, access, value);
        self.settle(chip, clock);
    }

    fn mmio_read(&mut self, addr: u64, size: u32, at: u64) -> u64 {
        let clock = Clock::at(self.clock.now(at));
        let Some((chip, base)) = at_address(addr) else {
            return self.bad.unclaimed_mmio_read(clock.now, MmioAccess::new(addr, width(size)));
        };
        let access = MmioAccess::new(addr - base, width(size));
        let device = self.chips.get(chip);
        let name = device.name();
        let Some(mmio) = device.mmio() else { return access.width.mask() };
        let mut cx = DevCtx { irq: &mut self.irq, out: &mut self.out, clock };
        let value = self.bad.mmio_read(mmio, name, &mut cx, access);
        self.settle(chip, clock);
        value.unwrap_or(access.width.mask())
    }

    fn mmio_write(&mut self, addr: u64, size: u32, value: u64, at: u64) {
        let clock = Clock::at(self.clock.now(at));
        let Some((chip, base)) = at_address(addr) else {
            return self.bad.unclaimed_mmio_write(clock.now, MmioAccess::new(addr, width(size)), value);
        };
        let access = MmioAccess::new(addr - base, width(size));
        let device = self.chips.get(chip);
        let name = device.name();
        let Some(mmio) = device.mmio() else { return };
        let mut cx = DevCtx { irq: &mut self.irq, out: &mut self.out, clock };
        let _ = self.bad.mmio_write(mmio, name, &mut cx, access, value);
        self.settle(chip, clock);
    }

    fn interrupt_pending(&mut self) -> bool {
        self.chips.pic.intr()
    }

    fn interrupt_ack(&mut self) -> u8 {
        self.chips.pic.ack()
    }

    fn take_nmi(&mut self) -> bool {
        std::mem::take(&mut self.nmi)
    }

    fn msr_read(&mut self, _msr: u32, _at: u64) -> Option<u64> {
        None
    }

    fn msr_write(&mut self, _msr: u32, _value: u64, _at: u64) -> bool {
        false
    }

    fn cr8(&mut self) -> u8 {
        0
    }

    fn set_cr8(&mut self, _priority: u8) {}

    /// One tick a nanosecond: CPUID announces 1 GHz.
    fn tsc(&mut self, at: u64) -> u64 {
        self.clock.now(at)
    }

    fn random(&mut self) -> u64 {
        self.random.next()
    }

    fn wants_exit(&mut self) -> bool {
        self.event.is_some() || self.deadline < self.planned
    }
}
