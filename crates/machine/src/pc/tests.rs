use super::cpu::IA32_TSC_DEADLINE;
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
    b.begin_slice(HostTime { monotonic_ns: 5 + ms * MS, unix_ns: 0 }, 0);
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

/// A board with a device, its local APIC enabled, and a MiB of memory.
fn with_device(device: &str) -> (Board, Memory) {
    let options = options::parse(["-kernel", "k", "-device", device]).unwrap();
    let mut random = Random::new([1; 32]);
    let plugged = crate::plug::plug(&options, crate::plug::Backends::default(), &mut random);
    let time = HostTime { monotonic_ns: 5, unix_ns: 0 };
    let mut b = Board::new(GuestClock::new(time), 0, 64 << 20, plugged, random);
    lapic(&mut b, 0xf0, 0x1ff);
    (b, Memory::new(mem::GuestRam::new(1 << 20).unwrap(), &[]))
}

#[test]
fn the_hpet_keeps_off_the_wires_of_devices_on_memory_mapped_registers() {
    let (mut b, mut memory) = with_device("virtio-rng-device");
    let entry = 0x10 + 2 * map::GSI_VIRTIO_MMIO;
    ioapic(&mut b, entry, 0x51 | 1 << 15 | 1 << 16);
    // Features, the queue of 4 with one buffer of 8 bytes at 0x4000, DRIVER_OK, the doorbell.
    assert!(memory.ram.write(0x1000, 0x4000_u64) && memory.ram.write(0x1008, 0x2_0000_0008_u64));
    assert!(memory.ram.write(0x2002, 1_u16));
    for (at, v) in [
        (0x70, 3),
        (0x24, 1),
        (0x20, 1),
        (0x70, 11),
        (0x38, 4),
        (0x80, 0x1000),
        (0x90, 0x2000),
        (0xa0, 0x3000),
        (0x44, 1),
        (0x70, 15),
        (0x50, 0),
    ] {
        b.mmio_write(map::VIRTIO_MMIO + at, 4, v, 0);
    }
    b.transfer(&mut memory, 0);
    assert_eq!(b.mmio_read(map::VIRTIO_MMIO + 0x60, 4, 0), 1, "InterruptStatus");
    b.mmio_write(map::HPET + 0x10, 4, 1, 0);
    ioapic(&mut b, entry, 0x51 | 1 << 15);
    assert!(b.interrupt_pending());
    assert_eq!(b.interrupt_ack(), 0x51);
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
    let (mut b, mut memory) = with_device("virtio-rng-pci,addr=5");
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
