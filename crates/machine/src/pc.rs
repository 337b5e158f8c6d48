//! The `pc` board: which chip answers where, and the wires between the chips and the CPU.

mod cpu;

pub(crate) use cpu::DECODE_NS;

use std::collections::VecDeque;

use bus::{
    BadAccessLog, Clock, DevCtx, Device, Frequency, IrqLines, Line, MmioAccess, Outbox, PioAccess, Reset, Signal,
    Stream, Width,
};
use devices::{AcpiPm, Hpet, I8042, IoApic, Lapic, PciHost, Pic, Pit, ResetCtl, Rtc, Uart16550};
use isa_x86::Platform;
use isa_x86::sys::cpuid::TSC_HZ;
use mem::Memory;
use virtio::console::Port;
use virtio::transport::mmio::MmioBus;
use virtio::{AnyDevice, VirtioMmio, VirtioPci};

use crate::clock::{GuestClock, HostTime};
use crate::map;
use crate::net::Networks;
use crate::plug::{Plugged, Ram, Slot, Terminal};
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
    AcpiPm acpi_pm: AcpiPm,
    Com1 com1: Uart16550,
    Hpet hpet: Hpet,
    I8042 i8042: I8042,
    IoApic ioapic: IoApic,
    Lapic lapic: Lapic,
    PciHost pci: PciHost<VirtioPci<AnyDevice>>,
    Pic pic: Pic,
    Pit pit: Pit,
    ResetCtl reset_ctl: ResetCtl,
    Rtc rtc: Rtc,
    VirtioMmio mmio: MmioBus<AnyDevice>,
}

/// The I/O port map.
const fn at_port(port: u16) -> Option<Chip> {
    const PM_LAST: u16 = map::PM_BASE + devices::acpi_pm::spec::PORTS - 1;
    Some(match port {
        0x020..=0x021 | 0x0a0..=0x0a1 | 0x4d0..=0x4d1 => Chip::Pic,
        0x040..=0x043 | 0x061 => Chip::Pit,
        0x060 | 0x064 => Chip::I8042,
        0x070..=0x071 => Chip::Rtc,
        0x080 | 0x092 | 0x0e9 | 0xcf9 => Chip::ResetCtl,
        0x3f8..=0x3ff => Chip::Com1,
        map::PM_BASE..=PM_LAST => Chip::AcpiPm,
        0xcf8 | 0xcfa..=0xcff => Chip::PciHost,
        _ => return None,
    })
}

/// The memory map around RAM: the chip, and the address its registers begin at. The local APIC comes before it: its place
/// is the guest's choice.
const fn at_address(addr: u64) -> Option<(Chip, u64)> {
    Some(match addr & !0xfff {
        map::IOAPIC => (Chip::IoApic, map::IOAPIC),
        map::HPET => (Chip::Hpet, map::HPET),
        map::VIRTIO_MMIO => (Chip::VirtioMmio, map::VIRTIO_MMIO),
        page if page >= map::PCI_MEMORY.start && page < map::PCI_MEMORY.end => (Chip::PciHost, map::PCI_MEMORY.start),
        _ => return None,
    })
}

/// Bytes that devices move in a slice, about: what the guest asks for then is done in the next. That is some GB/s, and some
/// 10 ms of the host's time.
const SLICE_BYTES: u64 = 32 << 20;
/// Bytes of console input that wait for the guest at most.
const INPUT_MAX: usize = 4096;

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
    /// Guest time of the last call of a chip.
    last: Clock,
    /// Console bytes on their way to the guest.
    input: VecDeque<u8>,
    terminal: Terminal,
    pub networks: Networks,
    /// A device wants to read or write RAM: now, or in the next slice, since it has left something to do.
    transfers: bool,
    rest: bool,
    /// Bytes that devices have moved in this slice.
    moved: u64,
    event: Option<Event>,
    nmi: bool,
    random: Random,
}

impl Board {
    /// The board at power-on, at Unix time `unix_ns`, with `ram` bytes of RAM.
    pub fn new(clock: GuestClock, unix_ns: i64, ram: u64, plugged: Plugged, random: Random) -> Self {
        let mut rtc = Rtc::new(Line::new(map::IRQ_RTC), u64::try_from(unix_ns).unwrap_or(0));
        rtc.set_memory_size(ram, 0);
        let mut pci = PciHost::new(map::PCI_MEMORY.start);
        plugged.pci.into_iter().for_each(|(at, device)| pci.attach(at, VirtioPci::new(device)));
        let mmio = plugged.mmio.into_iter().map(|(line, device)| VirtioMmio::new(device, line)).collect();
        let chips = Chips {
            acpi_pm: AcpiPm::new(map::PM_BASE, Line::new(map::IRQ_SCI)),
            com1: Uart16550::new(map::COM1, Line::new(map::IRQ_COM1), Stream::Com1),
            hpet: Hpet::new(),
            i8042: I8042::new(Line::new(map::IRQ_KEYBOARD)),
            ioapic: IoApic::new(map::IOAPIC_ID),
            lapic: Lapic::new(0, Frequency::from_hz(TSC_HZ.into())),
            pci,
            pic: Pic::new(),
            pit: Pit::new(Line::new(map::IRQ_PIT)),
            reset_ctl: ResetCtl::new(),
            rtc,
            mmio: MmioBus(mmio),
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
            last: Clock::default(),
            input: VecDeque::new(),
            terminal: plugged.terminal,
            networks: plugged.networks,
            transfers: false,
            rest: false,
            moved: 0,
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
        // What firmware leaves behind: virtual wire mode, the 8259s with their usual vectors and everything masked.
        self.chips.lapic.virtual_wire();
        for (port, words) in [(0x20, [0x08, 4, 1]), (0xa0, [0x70, 2, 1])] {
            self.io_write(port, 1, 0x11, at);
            words.into_iter().for_each(|w| self.io_write(port + 1, 1, w, at));
            self.io_write(port + 1, 1, 0xff, at);
        }
        self.networks.reset();
        (self.event, self.nmi, self.transfers, self.rest) = (None, false, false, false);
    }

    /// Someone presses the power button. `at`: instructions executed since power-on.
    pub fn power_button(&mut self, at: u64) {
        self.last = Clock::at(self.clock.now(at));
        let mut cx = DevCtx { irq: &mut self.irq, out: &mut self.out, clock: self.last };
        self.chips.acpi_pm.press_power_button(&mut cx);
        self.settle(Chip::AcpiPm);
    }

    /// Calls a chip with everything it may touch, then carries on the wires what it said.
    #[inline]
    fn with<R>(&mut self, chip: Chip, at: u64, f: impl FnOnce(&mut dyn Device, &mut DevCtx) -> R) -> R {
        self.last = Clock::at(self.clock.now(at));
        let device = self.chips.get(chip);
        let result = f(device, &mut DevCtx { irq: &mut self.irq, out: &mut self.out, clock: self.last });
        self.settle(chip);
        result
    }

    /// After a call of `chip`: the interrupt wires, its deadline, its signals.
    #[inline]
    fn settle(&mut self, chip: Chip) {
        // The receiver may have room for what waits.
        while chip as usize == Chip::Com1 as usize
            && self.can_feed_console()
            && let Some(byte) = self.input.pop_front()
        {
            let mut cx = DevCtx { irq: &mut self.irq, out: &mut self.out, clock: self.last };
            self.chips.com1.receive(&mut cx, byte);
        }
        if self.irq.pending() || chip as usize == Chip::Pic as usize {
            self.carry_interrupts();
        }
        self.note_deadline(chip);
        if (chip as usize == Chip::PciHost as usize || chip as usize == Chip::VirtioMmio as usize)
            && let Some(master) = self.chips.get(chip).master()
        {
            self.transfers |= master.wants_transfer();
        }
        if self.out.has_signal() {
            self.take_signals();
        }
    }

    /// The host gives the time: see [`GuestClock::begin_slice`].
    pub fn begin_slice(&mut self, host: HostTime, insns: u64) {
        self.clock.begin_slice(host, insns);
        self.moved = 0;
    }

    /// Whether devices may read and write RAM in this slice.
    fn may_transfer(&self) -> bool {
        self.moved < SLICE_BYTES
    }

    /// Whether a device wants to read or write RAM, and may.
    pub fn wants_transfer(&self, at: u64) -> bool {
        self.transfers && self.may_transfer() || self.networks.deadline().is_some_and(|due| due <= self.clock.now(at))
    }

    /// Lets all devices read and write RAM. What they leave is for the beginning of the next slice: else a guest that asks for much by one
    /// instruction would keep the host for as long.
    pub fn transfer(&mut self, memory: &mut Memory, at: u64) {
        self.networks.set_time(self.clock.now(at));
        if self.may_transfer() {
            self.transfers = false;
            let mut ram = Ram::new(memory);
            for chip in [Chip::PciHost, Chip::VirtioMmio] {
                self.with(chip, at, |device, cx| {
                    if let Some(master) = device.master() {
                        master.transfer(cx, &mut ram);
                    }
                });
            }
            self.rest = std::mem::take(&mut self.transfers);
            self.moved = self.moved.saturating_add(ram.moved);
        }
        self.networks.settle();
    }

    fn note_deadline(&mut self, chip: Chip) {
        let Some(timer) = self.chips.get(chip).timer() else { return };
        let next = timer.next_deadline().unwrap_or(u64::MAX);
        if std::mem::replace(&mut self.deadlines[chip as usize], next) != next {
            self.deadline = self.deadlines.iter().copied().min().unwrap_or(u64::MAX);
        }
    }

    /// Carries changes of the wires to the interrupt controllers, and messages between those, until all is quiet.
    fn carry_interrupts(&mut self) {
        let Self { chips, irq, out, last, .. } = self;
        while irq.pending() {
            if let Some(change) = irq.take() {
                chips.pic.set_lines(change);
                chips.ioapic.set_pins(irq, IoApic::pc_wiring(change));
            }
            while let Some(message) = irq.take_msi() {
                chips.lapic.receive(&mut DevCtx { irq, out, clock: *last }, message);
            }
            while let Some(vector) = irq.take_eoi() {
                chips.ioapic.eoi(irq, vector);
            }
        }
        let intr = chips.pic.intr();
        chips.lapic.set_lint0(&mut DevCtx { irq, out, clock: *last }, intr);
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

    /// Guest ns of the next timer event, or of what else the guest may wait for. From now on an earlier one makes the CPU return.
    pub fn plan(&mut self) -> Option<u64> {
        let rest = if self.rest || self.transfers { self.clock.next_slice() } else { u64::MAX };
        self.planned = self.deadline.min(self.networks.deadline().unwrap_or(u64::MAX)).min(rest);
        (self.planned != u64::MAX).then_some(self.planned)
    }

    /// Takes what the guest did.
    pub fn take_event(&mut self) -> Option<Event> {
        self.event.take()
    }

    /// Bytes for the serial port; returns how many were taken. They wait for [`Board::feed_console`].
    pub fn console_input(&mut self, bytes: &[u8]) -> usize {
        match self.terminal {
            Terminal::Nowhere => bytes.len(),
            Terminal::Com1 => {
                let taken = bytes.len().min(INPUT_MAX - self.input.len());
                self.input.extend(&bytes[..taken]);
                taken
            }
            Terminal::Port { at, port } => self.port(at, port).map_or(bytes.len(), |p| p.send(bytes)),
        }
    }

    /// All virtio devices, on PCI and then on memory-mapped registers.
    pub fn virtio_devices(&mut self) -> impl Iterator<Item = &mut AnyDevice> {
        let Chips { pci, mmio, .. } = &mut self.chips;
        let on_mmio = mmio.0.iter_mut().map(VirtioMmio::device_mut);
        pci.functions_mut().map(VirtioPci::device_mut).chain(on_mmio)
    }

    /// A port of a console device.
    fn port(&mut self, at: Slot, port: usize) -> Option<&mut Port> {
        let device = match at {
            Slot::Pci(at) => self.chips.pci.function_mut(at)?.device_mut(),
            Slot::Mmio(n) => self.chips.mmio.0.get_mut(n)?.device_mut(),
        };
        match device {
            AnyDevice::Console(console) => console.port_mut(port),
            _ => None,
        }
    }

    /// Whether waiting bytes can go on to the receiver now.
    pub fn can_feed_console(&self) -> bool {
        !self.input.is_empty() && !self.clock.withholds_input() && self.chips.com1.can_receive() != 0
    }

    /// Hands waiting bytes to the receiver as far as it has room.
    pub fn feed_console(&mut self, at: u64) {
        if self.can_feed_console() {
            self.last = Clock::at(self.clock.now(at));
            self.settle(Chip::Com1);
        }
    }

    /// Takes what the guest wrote to the terminal.
    pub fn take_console(&mut self) -> Vec<u8> {
        self.out.clear(Stream::Com2);
        self.out.clear(Stream::DebugCon);
        let serial = self.out.take_bytes(Stream::Com1);
        match self.terminal {
            Terminal::Nowhere => Vec::new(),
            Terminal::Com1 => serial,
            Terminal::Port { at, port } => self.port(at, port).map_or_else(Vec::new, Port::take_output),
        }
    }

    /// Accesses that no register answered.
    pub fn bad_accesses(&self) -> u64 {
        self.bad.total()
    }
}

#[cfg(test)]
mod tests;
