//! The board's ACPI tables (ACPI 6.5), all in the BIOS area.

use acpi_tables::aml::{
    AddressSpace, AddressSpaceCacheable, Device, EISAName, IO, Interrupt, Memory32Fixed, Name, Package, PackageBuilder,
    ResourceTemplate, Scope,
};
use acpi_tables::facs::FACS;
use acpi_tables::fadt::{FADTBuilder, Flags};
use acpi_tables::gas::{AccessSize, AddressSpace as Space, GAS};
use acpi_tables::madt::{EnabledStatus, IoApic, ProcessorLocalApic};
use acpi_tables::rsdp::Rsdp;
use acpi_tables::sdt::Sdt;
use acpi_tables::xsdt::XSDT;
use acpi_tables::{Aml, AmlSink};

use devices::acpi_pm::spec::{self as pm, SLP_TYP_S5};
use devices::hpet::spec as hpet_spec;
use devices::pci_host::{Devfn, intx_line};
use devices::reset_ctl::spec::{HARD_RESET, RESET_CONTROL};

use crate::load::layout::{BIOS, VGA};
use crate::map;
use crate::plug::mmio_line;
use virtio::transport::mmio;

const OEM: [u8; 6] = *b"PAGEVM";
const TABLE: [u8; 8] = *b"PAGEVMPC";
const REVISION: u32 = 1;
/// A table of which only the header is written yet.
const HEADER: u32 = 36;

/// The tables as one block for the BIOS area's start, where the RSDP is.
pub struct Tables {
    pub rsdp: u64,
    pub bytes: Vec<u8>,
}

/// Builds all tables.
///
/// `virtio_mmio`: how many devices there are at [`map::VIRTIO_MMIO`].
pub fn tables(virtio_mmio: usize) -> Tables {
    let mut area = Area { bytes: vec![0; Rsdp::len()] };
    let dsdt = area.add(&dsdt(virtio_mmio), 16);
    let facs = area.add(&FACS::new(), 64);
    let entries = [area.add(&fadt(dsdt, facs), 16), area.add(&madt(), 16), area.add(&hpet(), 16)];
    let mut xsdt = XSDT::new(OEM, TABLE, REVISION);
    entries.into_iter().for_each(|e| xsdt.add_entry(e));
    let xsdt = area.add(&xsdt, 16);
    let mut rsdp = Vec::new();
    Rsdp::new(OEM, xsdt).to_aml_bytes(&mut rsdp);
    area.bytes[..rsdp.len()].copy_from_slice(&rsdp);
    Tables { rsdp: BIOS.start, bytes: area.bytes }
}

/// The BIOS area from its start, as far as it is filled.
struct Area {
    bytes: Vec<u8>,
}

impl Area {
    /// Appends a table; its physical address.
    fn add(&mut self, table: &dyn Aml, align: usize) -> u64 {
        self.bytes.resize(self.bytes.len().next_multiple_of(align), 0);
        let at = BIOS.start + self.bytes.len() as u64;
        table.to_aml_bytes(&mut self.bytes);
        at
    }
}

/// An I/O port block of `bits` bits.
fn port(address: u16, bits: u8, access: AccessSize) -> GAS {
    GAS::new(Space::SystemIo, bits, 0, access, address.into())
}

/// Fixed ACPI Description Table (5.2.9). There is no SMI command port: the machine is always in ACPI mode.
fn fadt(dsdt: u64, facs: u64) -> impl Aml {
    const BOOT_ARCH_LEGACY_DEVICES: u16 = 1;
    const BOOT_ARCH_8042: u16 = 1 << 1;
    const BOOT_ARCH_NO_VGA: u16 = 1 << 2;
    let [event, control, timer] = [pm::PM1_STATUS, pm::PM1_CONTROL, pm::PM_TIMER].map(|block| map::PM_BASE + block);
    let mut fadt = FADTBuilder::new(OEM, TABLE, REVISION)
        .flag(Flags::Wbinvd)
        .flag(Flags::ProcC1)
        .flag(Flags::SlpButton) // no fixed sleep button
        .flag(Flags::FixRtc) // the RTC cannot wake the machine
        .flag(Flags::ResetRegSup);
    // The 32-bit fields are for those that read no others; both forms name the same place.
    fadt.dsdt = (dsdt as u32).into();
    fadt.x_dsdt = dsdt.into();
    fadt.firmware_ctrl = (facs as u32).into();
    fadt.sci_int = u16::from(map::IRQ_SCI).into();
    fadt.pm1a_evt_blk = u32::from(event).into();
    fadt.pm1a_cnt_blk = u32::from(control).into();
    fadt.pm_tmr_blk = u32::from(timer).into();
    fadt.pm1_evt_len = pm::PM1_EVENT_LENGTH;
    fadt.pm1_cnt_len = pm::PM1_CONTROL_LENGTH;
    fadt.pm_tmr_len = pm::PM_TIMER_LENGTH;
    fadt.x_pm1a_evt_blk = port(event, 32, AccessSize::WordAccess);
    fadt.x_pm1a_cnt_blk = port(control, 16, AccessSize::WordAccess);
    fadt.x_pm_tmr_blk = port(timer, 32, AccessSize::DwordAccess);
    // C2 and C3 do not exist: latencies beyond these limits say so.
    fadt.p_lvl2_lat = 101u16.into();
    fadt.p_lvl3_lat = 1001u16.into();
    fadt.century = devices::rtc::spec::reg::CENTURY;
    fadt.iapc_boot_arch = (BOOT_ARCH_LEGACY_DEVICES | BOOT_ARCH_8042 | BOOT_ARCH_NO_VGA).into();
    fadt.reset_reg = port(RESET_CONTROL, 8, AccessSize::ByteAccess);
    fadt.reset_value = HARD_RESET;
    fadt.finalize()
}

/// Multiple APIC Description Table (5.2.12).
fn madt() -> impl Aml {
    const PCAT_COMPAT: u32 = 1; // there are two 8259 as well
    const ACTIVE_HIGH_LEVEL: u16 = 0b1101;
    const AS_THE_BUS: u16 = 0;
    let mut madt = Sdt::new(*b"APIC", HEADER, 5, OEM, TABLE, REVISION);
    madt.append(map::LAPIC as u32);
    madt.append(PCAT_COMPAT);
    let mut add = |structure: &dyn Aml| structure.to_aml_bytes(&mut madt);
    add(&ProcessorLocalApic::new(0, 0, EnabledStatus::Enabled));
    add(&IoApic::new(map::IOAPIC_ID, map::IOAPIC as u32, 0));
    for (irq, gsi, flags) in
        [(map::IRQ_PIT, map::GSI_PIT, AS_THE_BUS), (map::IRQ_SCI, map::IRQ_SCI.into(), ACTIVE_HIGH_LEVEL)]
    {
        // Interrupt source override (5.2.12.5): type, length, bus ISA, source.
        madt.append_slice(&[2, 10, 0, irq]);
        madt.append(gsi);
        madt.append(flags);
    }
    // Local APIC NMI (5.2.12.7): all processors, flags as the bus, LINT1.
    madt.append_slice(&[4, 6, 0xff, 0, 0, 1]);
    madt
}

/// IA-PC HPET 1.0a, 3.2.4.
fn hpet() -> impl Aml {
    const MIN_TICK: u16 = 100;
    let mut hpet = Sdt::new(*b"HPET", HEADER, 1, OEM, TABLE, REVISION);
    hpet.append(hpet_spec::CAPABILITIES as u32); // event timer block ID
    GAS::new(Space::SystemMemory, 64, 0, AccessSize::Undefined, map::HPET).to_aml_bytes(&mut hpet);
    hpet.append(0u8);
    hpet.append(MIN_TICK);
    hpet.append(0u8);
    hpet
}

/// AML already encoded.
struct Raw(Vec<u8>);

impl Raw {
    fn of(parts: &[&dyn Aml]) -> Self {
        let mut bytes = Vec::new();
        parts.iter().for_each(|p| p.to_aml_bytes(&mut bytes));
        Self(bytes)
    }
}

impl Aml for Raw {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        sink.vec(&self.0);
    }
}

/// Differentiated System Description Table: the namespace.
fn dsdt(virtio_mmio: usize) -> impl Aml {
    let mut table = Sdt::new(*b"DSDT", HEADER, 2, OEM, TABLE, REVISION);
    let on_mmio: Vec<_> = (0..virtio_mmio).map(virtio_device).collect();
    let cpu = Raw::of(&[&Device::new(
        "CPU0".into(),
        vec![&Name::new("_HID".into(), &"ACPI0007"), &Name::new("_UID".into(), &0u8)],
    )]);
    let hpet = device("HPET", "PNP0103", 0, vec![&Memory32Fixed::new(true, map::HPET as u32, hpet_spec::SIZE as u32)]);
    let pci = pci_root();
    let mut system_bus: Vec<&dyn Aml> = vec![&cpu, &hpet, &pci];
    system_bus.extend(on_mmio.iter().map(|d| d as &dyn Aml));
    let names = Raw::of(&[
        // SLP_TYP for PM1a_CNT and for PM1b_CNT, two reserved (7.4.2).
        &Name::new("_S0_".into(), &Package::new(vec![&0u8, &0u8, &0u8, &0u8])),
        &Name::new("_S5_".into(), &Package::new(vec![&SLP_TYP_S5, &SLP_TYP_S5, &0u8, &0u8])),
        &Scope::new("_SB_".into(), system_bus),
    ]);
    table.append_slice(&names.0);
    table
}

/// A device with its identifiers and what it takes.
fn device(name: &str, hid: &str, uid: u8, resources: Vec<&dyn Aml>) -> Raw {
    Raw::of(&[&Device::new(
        name.into(),
        vec![
            &Name::new("_HID".into(), &EISAName::new(hid)),
            &Name::new("_UID".into(), &uid),
            &Name::new("_CRS".into(), &ResourceTemplate::new(resources)),
        ],
    )])
}

/// The `n`th virtio device with registers in memory, by the identifier that Linux knows (virtio 1.2 leaves it to platforms).
fn virtio_device(n: usize) -> Raw {
    let at = map::VIRTIO_MMIO + n as u64 * mmio::SIZE;
    Raw::of(&[&Device::new(
        format!("VR{n:02}").as_str().into(),
        vec![
            &Name::new("_HID".into(), &"LNRO0005"),
            &Name::new("_UID".into(), &(n as u8)),
            &Name::new(
                "_CRS".into(),
                &ResourceTemplate::new(vec![
                    &Memory32Fixed::new(true, at as u32, mmio::SIZE as u32),
                    &Interrupt::new(true, false, false, false, mmio_line(n).number().into()),
                ]),
            ),
        ],
    )])
}

/// `length` ports from `first`.
fn io(first: u16, length: u8) -> IO {
    IO::new(first, first, 1, length)
}

/// An edge-triggered interrupt of the ISA bus.
fn irq(n: u8) -> Interrupt {
    Interrupt::new(true, true, false, false, n.into())
}

/// The PCI host bridge with the ISA devices behind it.
fn pci_root() -> Raw {
    const CONFIG: u16 = 0xcf8;
    let memory = |min, max| AddressSpace::new_memory(AddressSpaceCacheable::NotCacheable, true, min, max, None);
    Raw::of(&[&Device::new(
        "PCI0".into(),
        vec![
            &Name::new("_HID".into(), &EISAName::new("PNP0A03")),
            &Name::new("_UID".into(), &0u8),
            &Name::new(
                "_CRS".into(),
                &ResourceTemplate::new(vec![
                    &AddressSpace::new_bus_number(0u16, 0xff),
                    &io(CONFIG, 8),
                    &AddressSpace::new_io(0u16, CONFIG - 1, None),
                    &AddressSpace::new_io(CONFIG + 8, 0xffff, None),
                    &memory(VGA.start as u32, (VGA.end - 1) as u32),
                    &memory(map::PCI_MEMORY.start as u32, (map::PCI_MEMORY.end - 1) as u32),
                ]),
            ),
            &Name::new("_PRT".into(), &pci_routing()),
            &device("PIC_", "PNP0000", 0, vec![&io(0x20, 2), &io(0xa0, 2), &io(0x4d0, 2)]),
            &device("TIMR", "PNP0100", 0, vec![&io(0x40, 4), &irq(map::IRQ_PIT)]),
            &device("RTC_", "PNP0B00", 0, vec![&io(0x70, 2), &irq(map::IRQ_RTC)]),
            &device("KBD_", "PNP0303", 0, vec![&io(0x60, 1), &io(0x64, 1), &irq(map::IRQ_KEYBOARD)]),
            &device("COM1", "PNP0501", 1, vec![&io(map::COM1, 8), &irq(map::IRQ_COM1)]),
            // Ports of the board itself: port B, port A, the PM block.
            &device("SYSR", "PNP0C02", 0, vec![&io(0x61, 1), &io(0x92, 1), &io(map::PM_BASE, 0x10)]),
        ],
    )])
}

/// `_PRT` (6.2.13): each slot's pins, wired to IOAPIC inputs.
fn pci_routing() -> Raw {
    let mut packages = PackageBuilder::new();
    for (slot, pin) in (0..32u8).flat_map(|slot| (0..4u8).map(move |pin| (slot, pin))) {
        let gsi = intx_line(Devfn::new(slot, 0), pin).number();
        packages.add_element(&Package::new(vec![&(u32::from(slot) << 16 | 0xffff), &pin, &0u8, &gsi]));
    }
    Raw::of(&[&packages])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(bytes: &[u8]) -> u8 {
        bytes.iter().fold(0, |a, b| a.wrapping_add(*b))
    }

    fn at(t: &Tables, addr: u64) -> &[u8] {
        &t.bytes[(addr - t.rsdp) as usize..]
    }

    fn u32_at(b: &[u8], at: usize) -> u32 {
        u32::from_le_bytes(b[at..at + 4].try_into().unwrap())
    }

    fn u64_at(b: &[u8], at: usize) -> u64 {
        u64::from_le_bytes(b[at..at + 8].try_into().unwrap())
    }

    /// Signature and bytes of every table that the RSDP leads to.
    fn walk(t: &Tables) -> Vec<([u8; 4], &[u8])> {
        let mut found = Vec::new();
        let rsdp = at(t, t.rsdp);
        assert_eq!((&rsdp[..8], sum(&rsdp[..20]), sum(&rsdp[..36])), (&b"RSD PTR "[..], 0, 0));
        let table = |addr| {
            let b = at(t, addr);
            let b = &b[..u32_at(b, 4) as usize];
            (b[..4].try_into().unwrap(), b)
        };
        let xsdt = table(u64_at(rsdp, 24));
        found.push(xsdt);
        found.extend(xsdt.1[36..].chunks(8).map(|e| table(u64_at(e, 0))));
        let fadt = found.iter().find(|f| &f.0 == b"FACP").unwrap().1;
        assert_eq!(u64_at(fadt, 140), u32_at(fadt, 40).into(), "X_DSDT, DSDT");
        found.push(table(u64_at(fadt, 140)));
        let facs = u32_at(fadt, 36);
        assert_eq!((&at(t, facs.into())[..4], facs % 64), (&b"FACS"[..], 0));
        found
    }

    #[test]
    fn the_rsdp_leads_to_all_tables_and_they_add_up() {
        let t = tables(2);
        assert!(t.rsdp.is_multiple_of(16) && BIOS.contains(&t.rsdp) && t.rsdp + t.bytes.len() as u64 <= BIOS.end);
        let found = walk(&t);
        assert_eq!(found.iter().map(|f| &f.0).collect::<Vec<_>>(), [b"XSDT", b"FACP", b"APIC", b"HPET", b"DSDT"]);
        found.iter().for_each(|(name, b)| assert_eq!(sum(b), 0, "{name:?}"));
    }

    #[test]
    fn the_fadt_names_the_boards_ports() {
        let t = tables(2);
        let fadt = walk(&t)[1].1;
        assert_eq!(fadt.len(), 276, "ACPI 6.5, table 5.9");
        assert_eq!(u16::from_le_bytes([fadt[46], fadt[47]]), 9, "SCI");
        assert_eq!((u32_at(fadt, 48), fadt[52]), (0, 0), "no SMI command");
        assert_eq!([u32_at(fadt, 56), u32_at(fadt, 64), u32_at(fadt, 76)], [0x600, 0x604, 0x608]);
        assert_eq!(
            u32_at(fadt, 112) & (1 << 20 | 1 << 10 | 1 << 4),
            1 << 10,
            "no reduced hardware, reset register, power button"
        );
        assert_eq!((fadt[116], u64_at(fadt, 120), fadt[128]), (1, 0xcf9, 6), "reset register");
        assert_eq!((fadt[148], fadt[149], u64_at(fadt, 152)), (1, 32, 0x600));
        assert_eq!((fadt[172], fadt[173], u64_at(fadt, 176)), (1, 16, 0x604));
        assert_eq!((fadt[208], fadt[209], u64_at(fadt, 212)), (1, 32, 0x608));
    }

    #[test]
    fn the_madt_lists_controllers_and_overrides() {
        let t = tables(2);
        let madt = walk(&t)[2].1;
        assert_eq!((u32_at(madt, 36), u32_at(madt, 40)), (0xfee0_0000, 1));
        let (mut at, mut found) = (44, Vec::new());
        while at < madt.len() {
            found.push(&madt[at..at + madt[at + 1] as usize]);
            at += madt[at + 1] as usize;
        }
        assert_eq!(
            found,
            [
                &[0, 8, 0, 0, 1, 0, 0, 0][..],
                &[1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0],
                &[2, 10, 0, 0, 2, 0, 0, 0, 0, 0],
                &[2, 10, 0, 9, 9, 0, 0, 0, 0xd, 0],
                &[4, 6, 0xff, 0, 0, 1],
            ]
        );
    }

    /// For `iasl -d`: writes the tables where `PAGEVM_ACPI_DIR` says.
    #[test]
    fn tables_for_a_disassembler() {
        let t = tables(2);
        let Some(dir) = std::env::var_os("PAGEVM_ACPI_DIR") else { return };
        for (name, bytes) in walk(&t) {
            let file = std::path::Path::new(&dir).join(format!("{}.aml", String::from_utf8_lossy(&name)));
            std::fs::write(file, bytes).unwrap();
        }
    }
}
