//! The `pc` board: which chip answers where, and the wires between the chips and the CPU.

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

use crate::clock::GuestClock;
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
    /// A device wants to read or write RAM.
    transfers: bool,
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
        (self.event, self.nmi, self.transfers) = (None, false, false);
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

    /// Whether a device wants to read or write RAM.
    pub fn wants_transfer(&self, at: u64) -> bool {
        self.transfers || self.networks.deadline().is_some_and(|due| due <= self.clock.now(at))
    }

    /// Lets all devices read and write RAM.
    pub fn transfer(&mut self, memory: &mut Memory, at: u64) {
        self.transfers = false;
        self.networks.set_time(self.clock.now(at));
        for chip in [Chip::PciHost, Chip::VirtioMmio] {
            self.with(chip, at, |device, cx| {
                if let Some(master) = device.master() {
                    master.transfer(cx, &mut Ram(memory));
                }
            });
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

    /// Guest ns of the next timer event. From now on an earlier one makes the CPU return.
    pub fn plan(&mut self) -> Option<u64> {
        self.planned = self.deadline.min(self.networks.deadline().unwrap_or(u64::MAX));
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
        !self.input.is_empty() && !self.clock.is_behind() && self.chips.com1.can_receive() != 0
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
            Terminal::Port { at, port } => self.port(at, port).map_or_else(Vec::new, |p| std::mem::take(p.output())),
        }
    }

    /// Accesses that no register answered.
    pub fn bad_accesses(&self) -> u64 {
        self.bad.total()
    }
}

/// Model-specific registers that the CPU asks the board for.
const IA32_TSC_DEADLINE: u32 = 0x6e0;

fn width(size: u32) -> Width {
    Width::of(size as usize).unwrap_or(Width::B1)
}

impl Board {
    /// The chip at a physical address.
    #[inline]
    fn decode(&self, addr: u64) -> Option<(Chip, u64)> {
        match self.chips.lapic.mmio_base() {
            Some(base) if addr & !0xfff == base => Some((Chip::Lapic, base)),
            _ => at_address(addr),
        }
    }
}

impl Platform for Board {
    fn io_read(&mut self, port: u16, size: u32, at: u64) -> u32 {
        let access = PioAccess::new(port, width(size));
        self.last = Clock::at(self.clock.now(at));
        let Some(chip) = at_port(port) else { return self.bad.unclaimed_pio_read(self.last.now, access) };
        let device = self.chips.get(chip);
        let name = device.name();
        let Some(pio) = device.pio() else { return access.width.mask() as u32 };
        let mut cx = DevCtx { irq: &mut self.irq, out: &mut self.out, clock: self.last };
        let value = self.bad.pio_read(pio, name, &mut cx, access);
        self.settle(chip);
        // No chip of this board makes the CPU wait.
        value.unwrap_or_else(|_| access.width.mask() as u32)
    }

    fn io_write(&mut self, port: u16, size: u32, value: u32, at: u64) {
        let access = PioAccess::new(port, width(size));
        self.last = Clock::at(self.clock.now(at));
        let Some(chip) = at_port(port) else { return self.bad.unclaimed_pio_write(self.last.now, access, value) };
        let device = self.chips.get(chip);
        let name = device.name();
        let Some(pio) = device.pio() else { return };
        let mut cx = DevCtx { irq: &mut self.irq, out: &mut self.out, clock: self.last };
        let _ = self.bad.pio_write(pio, name, &mut cx, access, value);
        self.settle(chip);
    }

    fn mmio_read(&mut self, addr: u64, size: u32, at: u64) -> u64 {
        self.last = Clock::at(self.clock.now(at));
        let Some((chip, base)) = self.decode(addr) else {
            return self.bad.unclaimed_mmio_read(self.last.now, MmioAccess::new(addr, width(size)));
        };
        let access = MmioAccess::new(addr - base, width(size));
        let device = self.chips.get(chip);
        let name = device.name();
        let Some(mmio) = device.mmio() else { return access.width.mask() };
        let mut cx = DevCtx { irq: &mut self.irq, out: &mut self.out, clock: self.last };
        let value = self.bad.mmio_read(mmio, name, &mut cx, access);
        self.settle(chip);
        value.unwrap_or_else(|_| access.width.mask())
    }

    fn mmio_write(&mut self, addr: u64, size: u32, value: u64, at: u64) {
        self.last = Clock::at(self.clock.now(at));
        let Some((chip, base)) = self.decode(addr) else {
            return self.bad.unclaimed_mmio_write(self.last.now, MmioAccess::new(addr, width(size)), value);
        };
        let access = MmioAccess::new(addr - base, width(size));
        let device = self.chips.get(chip);
        let name = device.name();
        let Some(mmio) = device.mmio() else { return };
        let mut cx = DevCtx { irq: &mut self.irq, out: &mut self.out, clock: self.last };
        let _ = self.bad.mmio_write(mmio, name, &mut cx, access, value);
        self.settle(chip);
    }

    fn interrupt_pending(&mut self) -> bool {
        self.chips.lapic.ext_int() || self.chips.lapic.pending_vector().is_some()
    }

    fn interrupt_ack(&mut self) -> u8 {
        if !self.chips.lapic.ext_int() {
            return self.chips.lapic.ack();
        }
        self.chips.lapic.ack_ext_int();
        let vector = self.chips.pic.ack();
        self.settle(Chip::Pic);
        vector
    }

    fn take_nmi(&mut self) -> bool {
        std::mem::take(&mut self.nmi)
    }

    /// IA32_TSC_DEADLINE is in ticks of [`Platform::tsc`]: the CPU applies the guest's offset.
    fn msr_read(&mut self, msr: u32, at: u64) -> Option<u64> {
        self.last = Clock::at(self.clock.now(at));
        let mut cx = DevCtx { irq: &mut self.irq, out: &mut self.out, clock: self.last };
        let value = match msr {
            IA32_TSC_DEADLINE => Some(self.chips.lapic.tsc_deadline(&mut cx)),
            _ => self.chips.lapic.read_msr(&mut cx, msr).ok(),
        };
        self.settle(Chip::Lapic);
        value
    }

    fn msr_write(&mut self, msr: u32, value: u64, at: u64) -> bool {
        self.last = Clock::at(self.clock.now(at));
        let mut cx = DevCtx { irq: &mut self.irq, out: &mut self.out, clock: self.last };
        let done = match msr {
            IA32_TSC_DEADLINE => {
                self.chips.lapic.set_tsc_deadline(&mut cx, value, value);
                true
            }
            _ => self.chips.lapic.write_msr(&mut cx, msr, value).is_ok(),
        };
        self.settle(Chip::Lapic);
        done
    }

    fn cr8(&mut self) -> u8 {
        self.chips.lapic.cr8()
    }

    fn set_cr8(&mut self, priority: u8) {
        self.chips.lapic.set_cr8(priority);
    }

    fn tsc(&mut self, at: u64) -> u64 {
        const { assert!(TSC_HZ == 1_000_000_000, "one tick a nanosecond") };
        self.clock.now(at)
    }

    fn random(&mut self) -> u64 {
        self.random.next()
    }

    fn wants_exit(&mut self) -> bool {
        self.event.is_some() || self.transfers || self.deadline < self.planned
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::HostTime;

    const MS: u64 = 1_000_000;

    fn board() -> Board {
        let time = HostTime { monotonic_ns: 5, unix_ns: 1_700_000_000_000_000_000 };
        let plugged =
            Plugged { pci: Vec::new(), mmio: Vec::new(), terminal: Terminal::Com1, networks: Networks::default() };
        Board::new(GuestClock::new(time), time.unix_ns, 512 << 20, plugged, Random::new([1; 32]))
    }

    /// Lets host time and with it guest time pass, and performs what is due.
    fn pass(b: &mut Board, ms: u64) {
        b.clock.begin_slice(HostTime { monotonic_ns: 5 + ms * MS, unix_ns: 0 }, 0);
        b.tick(0);
    }

    fn outb(b: &mut Board, port: u16, value: u8) {
        b.io_write(port, 1, value.into(), 0);
    }

    fn lapic(b: &mut Board, register: u64, value: u32) {
        b.mmio_write(map::LAPIC + register, 4, value.into(), 0);
    }

    fn ioapic(b: &mut Board, register: u8, value: u32) {
        b.mmio_write(map::IOAPIC, 4, register.into(), 0);
        b.mmio_write(map::IOAPIC + 0x10, 4, value.into(), 0);
    }

    /// The 8259s with vectors from 0x20, all unmasked.
    fn init_pic(b: &mut Board) {
        for (port, base, cascade) in [(0x20, 0x20, 4), (0xa0, 0x28, 2)] {
            outb(b, port, 0x11);
            [base, cascade, 1, 0].into_iter().for_each(|v| outb(b, port + 1, v));
        }
    }

    #[test]
    fn what_nothing_answers_reads_all_ones_and_is_counted() {
        let mut b = board();
        assert_eq!(b.io_read(0x2f8, 1, 0), 0xff);
        assert_eq!(b.io_read(0x2f8, 4, 0), 0xffff_ffff);
        assert_eq!(b.mmio_read(0xfed4_0000, 8, 0), u64::MAX);
        b.io_write(0x2f8, 1, 0, 0);
        b.mmio_write(0xa_0000, 4, 0, 0);
        assert_eq!(b.bad_accesses(), 5);
    }

    #[test]
    fn the_pit_reaches_the_cpu_through_the_pic_and_lint0() {
        let mut b = board();
        // Channel 0, mode 2, 11932 ticks: 10 ms.
        outb(&mut b, 0x43, 0x34);
        outb(&mut b, 0x40, 0x9c);
        outb(&mut b, 0x40, 0x2e);
        init_pic(&mut b);
        assert!(!b.interrupt_pending());
        let due = b.plan().unwrap();
        assert!((9 * MS..11 * MS).contains(&due), "{due}");
        pass(&mut b, 9);
        assert!(!b.interrupt_pending());
        pass(&mut b, 11);
        assert!(b.interrupt_pending());
        assert_eq!(b.interrupt_ack(), 0x20);
        assert!(!b.interrupt_pending(), "in service");
        outb(&mut b, 0x20, 0x20);
        pass(&mut b, 19);
        assert!(!b.interrupt_pending());
        pass(&mut b, 21);
        assert!(b.interrupt_pending());
    }

    #[test]
    fn the_serial_port_reaches_the_cpu_through_the_ioapic() {
        let mut b = board();
        lapic(&mut b, 0xf0, 0x1ff);
        ioapic(&mut b, 0x10 + 2 * map::IRQ_COM1, 0x41);
        outb(&mut b, map::COM1 + 1, 1); // received data
        outb(&mut b, map::COM1 + 4, 8); // OUT2, the interrupt's gate
        assert_eq!(b.console_input(b"xy"), 2);
        assert!(!b.interrupt_pending());
        b.feed_console(0);
        assert!(b.interrupt_pending());
        assert_eq!(b.interrupt_ack(), 0x41);
        assert!(!b.interrupt_pending());
        lapic(&mut b, 0xb0, 0);
        assert_eq!(b.io_read(map::COM1, 1, 0), u32::from(b'x'));
        assert!(b.interrupt_pending(), "no FIFO yet: the second byte comes when there is room");
        assert_eq!(b.interrupt_ack(), 0x41);
        lapic(&mut b, 0xb0, 0);
        assert_eq!(b.io_read(map::COM1, 1, 0), u32::from(b'y'));
        assert!(!b.interrupt_pending());
    }

    #[test]
    fn a_level_interrupt_comes_again_after_eoi() {
        let mut b = board();
        lapic(&mut b, 0xf0, 0x1ff);
        ioapic(&mut b, 0x10 + 2 * map::IRQ_COM1, 0x41 | 1 << 15);
        outb(&mut b, map::COM1 + 1, 1);
        outb(&mut b, map::COM1 + 4, 8);
        b.console_input(b"x");
        b.feed_console(0);
        assert_eq!(b.interrupt_ack(), 0x41);
        lapic(&mut b, 0xb0, 0);
        assert!(b.interrupt_pending(), "the byte is still there");
        b.interrupt_ack();
        b.io_read(map::COM1, 1, 0);
        lapic(&mut b, 0xb0, 0);
        assert!(!b.interrupt_pending());
    }

    #[test]
    fn the_pit_is_wired_to_ioapic_input_2() {
        let mut b = board();
        lapic(&mut b, 0xf0, 0x1ff);
        ioapic(&mut b, 0x10 + 2 * map::GSI_PIT as u8, 0x30);
        outb(&mut b, 0x43, 0x34);
        outb(&mut b, 0x40, 0x9c);
        outb(&mut b, 0x40, 0x2e);
        pass(&mut b, 11);
        assert!(b.interrupt_pending());
        lapic(&mut b, 0x350, 0x1_0000); // not through LINT0
        assert_eq!(b.interrupt_ack(), 0x30);
    }

    #[test]
    fn the_tsc_deadline_is_the_next_deadline_and_an_earlier_one_ends_the_run() {
        let mut b = board();
        lapic(&mut b, 0xf0, 0x1ff);
        lapic(&mut b, 0x320, 0x0004_00ef); // TSC-deadline mode
        let now = b.tsc(0);
        assert!(b.msr_write(IA32_TSC_DEADLINE, now + 5 * MS, 0));
        assert_eq!(b.msr_read(IA32_TSC_DEADLINE, 0), Some(now + 5 * MS));
        assert_eq!(b.plan(), Some(now + 5 * MS));
        assert!(!b.wants_exit());
        assert!(b.msr_write(IA32_TSC_DEADLINE, now + 6 * MS, 0));
        assert!(!b.wants_exit(), "later");
        b.plan();
        assert!(b.msr_write(IA32_TSC_DEADLINE, now + 2 * MS, 0));
        assert!(b.wants_exit(), "earlier");
        pass(&mut b, 3);
        assert_eq!(b.interrupt_ack(), 0xef);
        assert_eq!(b.msr_read(IA32_TSC_DEADLINE, 0), Some(0));
        assert_eq!(b.plan(), None);
    }

    #[test]
    fn the_rtc_shows_the_hosts_time_of_day() {
        let mut b = board();
        let mut read = |index| {
            outb(&mut b, 0x70, index);
            b.io_read(0x71, 1, 0)
        };
        // 2023-11-14 22:13:20 UTC
        assert_eq!([0x32, 9, 8, 7, 4, 2, 0].map(&mut read), [0x20, 0x23, 0x11, 0x14, 0x22, 0x13, 0x20]);
        assert_eq!([0x35, 0x34].map(&mut read), [0x1f, 0x00], "512 MiB less 16 in 64 KiB");
    }

    #[test]
    fn in_x2apic_mode_the_registers_are_msrs_and_the_page_is_free() {
        let mut b = board();
        assert_eq!(b.msr_read(0x1b, 0), Some(map::LAPIC | 0x900));
        assert_eq!(b.msr_read(0x802, 0), None);
        assert!(b.msr_write(0x1b, map::LAPIC | 0xd00, 0));
        assert_eq!(b.msr_read(0x802, 0), Some(0));
        assert_eq!(b.mmio_read(map::LAPIC + 0x20, 4, 0), 0xffff_ffff);
        assert!(!b.msr_write(0x802, 1, 0), "read-only");
    }

    #[test]
    fn the_task_priority_is_cr8() {
        let mut b = board();
        lapic(&mut b, 0xf0, 0x1ff);
        b.set_cr8(5);
        assert_eq!((b.cr8(), b.mmio_read(map::LAPIC + 0x80, 4, 0)), (5, 0x50));
        lapic(&mut b, 0x300, 0x4_0041); // a self-IPI of class 4
        assert!(!b.interrupt_pending());
        b.set_cr8(3);
        assert!(b.interrupt_pending());
    }

    #[test]
    fn the_guest_switches_off_and_resets_as_the_acpi_tables_say() {
        let mut b = board();
        let off = u32::from(devices::acpi_pm::spec::SLP_TYP_S5) << 10 | 1 << 13;
        b.io_write(map::PM_BASE + 4, 2, off, 0);
        assert_eq!(b.take_event(), Some(Event::PowerOff));
        outb(&mut b, 0xcf9, 6);
        assert_eq!(b.take_event(), Some(Event::Reset));
        b.reset(0);
        outb(&mut b, 0x92, 1);
        assert_eq!(b.take_event(), Some(Event::Reset), "fast INIT of the only CPU");
    }

    #[test]
    fn the_power_button_interrupts_a_guest_that_listens() {
        let mut b = board();
        b.power_button(0);
        assert_eq!(b.io_read(map::PM_BASE, 2, 0) & 1 << 8, 1 << 8, "PWRBTN_STS");
        b.io_write(map::PM_BASE, 2, 1 << 8, 0);
        assert_eq!(b.io_read(map::PM_BASE, 2, 0) & 1 << 8, 0);
        b.io_write(map::PM_BASE + 2, 2, 1 << 8, 0); // PWRBTN_EN
        for (port, mask) in [(0x21, 0xfb), (0xa1, 0xfd)] {
            outb(&mut b, port, mask); // the cascade and interrupt 9, the SCI's
        }
        assert!(!b.interrupt_pending());
        b.power_button(0);
        assert!(b.interrupt_pending());
        assert_eq!(b.take_event(), None, "it is the guest that switches off");
    }

    #[test]
    fn the_hpet_takes_over_irq_0() {
        let mut b = board();
        lapic(&mut b, 0xf0, 0x1ff);
        ioapic(&mut b, 0x10 + 2 * map::GSI_PIT as u8, 0x30);
        b.mmio_write(map::HPET + 0x100, 4, 4, 0); // timer 0: interrupt enable
        b.mmio_write(map::HPET + 0x108, 8, 1_000_000, 0); // 10 ms at 100 MHz
        b.mmio_write(map::HPET + 0x10, 4, 3, 0); // run, legacy route
        pass(&mut b, 9);
        assert!(!b.interrupt_pending());
        pass(&mut b, 11);
        assert_eq!(b.interrupt_ack(), 0x30);
        assert_eq!(b.mmio_read(map::HPET, 4, 0), 0x8086_a201);
    }

    #[test]
    fn the_pci_bus_has_a_host_bridge_and_nothing_else() {
        let mut b = board();
        b.io_write(0xcf8, 4, 0x8000_0000, 0);
        assert_eq!(b.io_read(0xcfc, 4, 0), 0x1237_8086);
        for slot in 1..32 {
            b.io_write(0xcf8, 4, 0x8000_0000 | slot << 11, 0);
            assert_eq!(b.io_read(0xcfc, 4, 0), 0xffff_ffff, "{slot}");
        }
        assert_eq!(b.io_read(0xcf8, 4, 0), 0x8000_f800, "a doubleword is CONFIG_ADDRESS, though 0xcf9 alone is not");
        assert_eq!(b.mmio_read(0xd000_0000, 4, 0), 0xffff_ffff);
    }

    #[test]
    fn the_keyboard_controller_resets_the_machine() {
        let mut b = board();
        assert_eq!(b.io_read(0x64, 1, 0) & 2, 0, "ready for a command");
        outb(&mut b, 0x64, 0xfe);
        assert_eq!(b.take_event(), Some(Event::Reset));
    }

    #[test]
    fn the_pm_timer_runs_at_3_58_mhz() {
        let mut b = board();
        pass(&mut b, 50);
        assert_eq!(b.io_read(map::PM_BASE + 8, 4, 0), 178_977);
    }

    #[test]
    fn the_machine_sees_a_signal_once() {
        let mut b = board();
        for (signal, event) in [
            (Signal::PowerOff, Some(Event::PowerOff)),
            (Signal::Reset(Reset::Hard), Some(Event::Reset)),
            (Signal::Reset(Reset::Init), Some(Event::Reset)),
            (Signal::Smi, None),
        ] {
            b.out.signal(signal);
            b.settle(Chip::Pit);
            assert_eq!((b.wants_exit(), b.take_event(), b.take_event()), (event.is_some(), event, None));
        }
        b.out.signal(Signal::Nmi);
        b.settle(Chip::Pit);
        assert!(b.take_nmi() && !b.take_nmi());
    }

    #[test]
    fn each_device_of_the_acpi_namespace_is_decoded() {
        for port in [0x20, 0xa0, 0x4d0, 0x40, 0x70, 0x3f8, 0x60, 0x61, 0x64, 0x92, 0x600, 0x60b, 0xcf8, 0xcf9, 0xcff] {
            assert!(at_port(port).is_some(), "{port:#x}");
        }
        let mut b = board();
        for &chip in Chip::ALL {
            let decoded_port = (0..=0xffff).any(|p| at_port(p) == Some(chip));
            assert_eq!(decoded_port, b.chips.get(chip).pio().is_some(), "{chip:?}");
            let decoded_address = [map::IOAPIC, map::HPET, map::LAPIC, map::PCI_MEMORY.start, map::VIRTIO_MMIO]
                .iter()
                .any(|a| b.decode(*a).is_some_and(|d| d.0 == chip));
            assert_eq!(decoded_address, b.chips.get(chip).mmio().is_some(), "{chip:?}");
        }
        assert_eq!(b.decode(map::IOAPIC + 0x10), Some((Chip::IoApic, map::IOAPIC)));
        assert_eq!(b.decode(map::LAPIC + 0xff0), Some((Chip::Lapic, map::LAPIC)));
        assert_eq!(b.decode(map::LAPIC + 0x1000), None);
    }

    /// Register `at` of the PCI function at device number `slot`.
    fn config(b: &mut Board, slot: u32, at: u8) -> u16 {
        b.io_write(0xcf8, 4, 0x8000_0000 | slot << 11 | u32::from(at), 0);
        0xcfc + u16::from(at & 3)
    }

    #[test]
    fn a_doorbell_makes_the_cpu_look_up_and_a_message_reaches_it() {
        const BAR: u64 = 0xe000_0000;
        const TABLE: u64 = 0xd000_0000;
        let options = options::parse("-kernel k -device virtio-rng-pci,addr=5".split_whitespace()).unwrap();
        let mut random = Random::new([1; 32]);
        let plugged = crate::plug::plug(&options, crate::plug::Backends::default(), &mut random);
        let time = HostTime { monotonic_ns: 5, unix_ns: 0 };
        let mut b = Board::new(GuestClock::new(time), 0, 64 << 20, plugged, random);
        let mut memory = Memory::new(mem::GuestRam::new(1 << 20).unwrap(), &[]);
        lapic(&mut b, 0xf0, 0x1ff);
        for (at, v) in [(0x14, TABLE), (0x20, BAR), (0x24, 0), (0x04, 6), (0x40, 0x8000_0000)] {
            let port = config(&mut b, 5, at);
            b.io_write(port, 4, v as u32, 0);
        }
        for (at, v) in [(0x10, 0xfee0_0000), (0x18, 0x51), (0x1c, 0)] {
            b.mmio_write(TABLE + at, 4, v, 0);
        }
        // Features, the queue, vector 1 for it, DRIVER_OK; then one buffer of 8 bytes at 0x4000.
        for (at, size, v) in [
            (8, 4, 1),
            (12, 4, 1),
            (20, 1, 11),
            (24, 2, 4),
            (26, 2, 1),
            (32, 4, 0x1000),
            (40, 4, 0x2000),
            (48, 4, 0x3000),
            (28, 2, 1),
            (20, 1, 15),
        ] {
            b.mmio_write(BAR + at, size, v, 0);
        }
        b.transfer(&mut memory, 0);
        assert!(!b.wants_exit() && !b.interrupt_pending());
        assert!(memory.ram.write(0x1000, 0x4000_u64) && memory.ram.write(0x1008, 0x2_0000_0008_u64));
        assert!(memory.ram.write(0x2002, 1_u16));
        memory.mark_code(0x4000, 8);
        b.mmio_write(BAR + 0x1000, 2, 0, 0);
        assert!(b.wants_exit(), "the machine is to lend its RAM");
        assert!(b.wants_transfer(0) && !b.interrupt_pending());
        b.transfer(&mut memory, 0);
        assert!(!b.wants_exit());
        assert_eq!((memory.ram.read::<u16>(0x3002), memory.ram.read::<u32>(0x3008)), (Some(1), Some(8)));
        assert_ne!(memory.ram.read::<u64>(0x4000), Some(0));
        assert!(memory.code_written(), "what was decoded there is dropped");
        assert!(b.interrupt_pending());
        assert_eq!(b.interrupt_ack(), 0x51);
    }
}
