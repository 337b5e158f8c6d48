//! `-drive`, `-chardev`, `-device`: disks, character devices, and what is plugged into the board.

use crate::net;
use crate::properties::Properties;
use crate::{OptionError, Parser, Value};

/// A disk image, as `-drive` names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drive {
    /// Path or URL.
    pub file: String,
    pub id: Option<String>,
    /// `None`: found out from the image.
    pub format: Option<DriveFormat>,
    pub read_only: bool,
    /// What the guest writes is forgotten at the end.
    pub snapshot: bool,
    /// The file that keeps what the guest writes, and leaves the image as it is.
    pub overlay: Option<String>,
    /// What is fetched of the file is not kept for the next time.
    pub forget: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriveFormat {
    Raw,
    Qcow2,
    /// The packer's: a manifest of compressed chunks.
    Chunked,
}

/// The other end of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chardev {
    /// The host's terminal.
    Stdio,
    /// Nothing: what is written is dropped.
    Null,
}

/// A character device as `-chardev` makes it.
pub struct NamedChardev {
    id: String,
    pub kind: Chardev,
    in_use: bool,
}

/// A port of a `virtio-serial` device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortOptions {
    /// `virtconsole` rather than `virtserialport`.
    pub console: bool,
    /// The name that the guest sees.
    pub name: String,
    pub chardev: Chardev,
}

/// Where a device is plugged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Device number on the PCI bus, 1 to 31.
    Pci { slot: u8 },
    /// Registers in memory, told to the guest by ACPI.
    Mmio,
}

/// A device of the board.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceOptions {
    pub id: Option<String>,
    pub place: Place,
    pub model: Model,
}

/// Which device, and what is its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Model {
    /// `drive`: index in [`crate::Config::drives`].
    Blk {
        drive: usize,
        serial: String,
        logical_block: u32,
        physical_block: u32,
    },
    Net {
        /// Name of a [`crate::net::NamedNet`].
        netdev: String,
        mac: [u8; 6],
    },
    Rng,
    /// Ports by number: as many as `max_ports` says, or up to the last that there is.
    Serial {
        ports: Vec<Option<PortOptions>>,
        max_ports: usize,
    },
    Balloon,
    Keyboard,
    Tablet,
    Mouse,
    /// `share`: index in [`crate::Config::shares`].
    P9 {
        share: usize,
        mount_tag: String,
    },
}

/// Ports of a `virtio-serial` device at most.
const PORTS_MAX: usize = 31;
/// Device numbers that are given out without `addr=`: from behind QEMU's own devices on.
const FIRST_SLOT: u8 = 2;
const SLOTS: u8 = 32;
/// Devices with `virtio-*-device` at most: each has an interrupt wire of its own.
pub const MMIO_MAX: usize = 4;

/// What `-device` knows, by the name without `virtio-` and the bus: `virtio-NAME-pci`, `virtio-NAME-device`, `virtio-NAME`.
struct DeviceRow {
    name: &'static str,
    build: fn(&mut Parser, &mut Properties<'_>) -> Result<Model, OptionError>,
}

const DEVICES: &[DeviceRow] = &[
    DeviceRow { name: "virtio-blk", build: blk },
    DeviceRow { name: "virtio-net", build: net::card },
    DeviceRow { name: "virtio-rng", build: |_, _| Ok(Model::Rng) },
    DeviceRow { name: "virtio-serial", build: serial },
    DeviceRow { name: "virtio-balloon", build: |_, _| Ok(Model::Balloon) },
    DeviceRow { name: "virtio-keyboard", build: |_, _| Ok(Model::Keyboard) },
    DeviceRow { name: "virtio-tablet", build: |_, _| Ok(Model::Tablet) },
    DeviceRow { name: "virtio-mouse", build: |_, _| Ok(Model::Mouse) },
    DeviceRow { name: "virtio-9p", build: crate::shares::device },
];

/// Names of devices for messages; ports are plugged into a `virtio-serial`.
const NAMES: &[&str] = &[
    "virtio-blk-pci",
    "virtio-net-pci",
    "virtio-rng-pci",
    "virtio-serial-pci",
    "virtconsole",
    "virtserialport",
    "virtio-balloon-pci",
    "virtio-keyboard-pci",
    "virtio-tablet-pci",
    "virtio-mouse-pci",
    "virtio-9p-pci",
    "virtio-blk-device",
    "virtio-net-device",
    "virtio-rng-device",
];

/// `-drive`.
pub fn drive(p: &mut Parser, v: Value<'_>) -> Result<(), OptionError> {
    let mut keys = Properties::new(v, "");
    let file = keys.need("file")?;
    let id = keys.take("id");
    let interface = keys.choice("if", &["virtio", "none"])?;
    let format = keys.choice("format", &["raw", "qcow2", "chunked"])?;
    let read_only = keys.switch("readonly")?.or(keys.switch("read-only")?).unwrap_or(false);
    let snapshot = keys.switch("snapshot")?.unwrap_or(false);
    let overlay = keys.take("overlay");
    let forget = keys.choice("cache", &["writeback", "none"])? == Some("none");
    keys.choice("media", &["disk"])?;
    let serial = keys.take("serial").unwrap_or_default();
    let bad = |reason| Err(v.bad(reason));
    let Some(interface) = interface else {
        return bad("there are no IDE disks; give if=virtio, or if=none and a -device virtio-blk-pci".into());
    };
    if let Some(id) = &id
        && p.config.drives.iter().any(|d| d.id.as_ref() == Some(id))
    {
        return bad(format!("there are two drives with id={id}"));
    }
    if overlay.is_some() && (snapshot || read_only) {
        return bad("overlay= keeps what is written: that does not go with snapshot=on or readonly=on".into());
    }
    keys.finish()?;
    let format = format.map(|f| match f {
        "raw" => DriveFormat::Raw,
        "chunked" => DriveFormat::Chunked,
        _ => DriveFormat::Qcow2,
    });
    p.config.drives.push(Drive { file, id, format, read_only, snapshot, overlay, forget });
    if interface == "virtio" {
        let drive = p.config.drives.len() - 1;
        plug(p, v, Model::Blk { drive, serial, logical_block: 512, physical_block: 512 });
    }
    Ok(())
}

/// `-chardev`.
pub fn chardev(p: &mut Parser, v: Value<'_>) -> Result<(), OptionError> {
    let mut keys = Properties::new(v, "backend");
    let kind = match keys.choice("backend", &["stdio", "null"])? {
        Some("stdio") => Chardev::Stdio,
        Some(_) => Chardev::Null,
        None => return Err(v.bad("give `backend=`: stdio or null")),
    };
    let id = keys.need("id")?;
    keys.choice("mux", &["off"])?;
    keys.choice("signal", &["on", "off"])?;
    keys.finish()?;
    if p.chardevs.iter().any(|c| c.id == id) {
        return Err(v.bad(format!("there are two character devices with id={id}")));
    }
    if kind == Chardev::Stdio && p.chardevs.iter().any(|c| c.kind == Chardev::Stdio) {
        return Err(v.bad("stdio can be used by one character device only"));
    }
    p.chardevs.push(NamedChardev { id, kind, in_use: false });
    Ok(())
}

/// Every character device has its port: one on stdio takes the terminal from the serial port.
pub fn check(chardevs: &[NamedChardev]) -> Result<(), OptionError> {
    let Some(unused) = chardevs.iter().find(|c| !c.in_use) else { return Ok(()) };
    let reason = format!("no port uses it: add `-device virtconsole,chardev={}`", unused.id);
    Err(OptionError::BadValue { option: "-chardev", given: unused.id.clone(), reason })
}

/// A device that has no place yet, with the option that asked for it.
pub struct Plugged {
    option: &'static str,
    given: String,
    id: Option<String>,
    slot: Option<u8>,
    mmio: bool,
    model: Model,
}

impl Plugged {
    pub fn model(&self) -> &Model {
        &self.model
    }
}

/// Plugs in a PCI device that another option than `-device` asks for.
pub fn plug(p: &mut Parser, v: Value<'_>, model: Model) {
    let given = v.text.to_owned();
    p.plugged.push(Plugged { option: v.option, given, id: None, slot: None, mmio: false, model });
}

/// `-device`.
pub fn device(p: &mut Parser, v: Value<'_>) -> Result<(), OptionError> {
    let mut keys = Properties::new(v, "driver");
    let name = keys.need("driver")?;
    if name == "virtconsole" || name == "virtserialport" {
        return port(p, v, keys, name == "virtconsole");
    }
    if name.ends_with("-transitional") && !name.ends_with("-non-transitional") {
        return Err(
            keys.bad("there are no transitional devices: virtio 1.0 and later drivers only; give virtio-..-pci")
        );
    }
    let (base, mmio) = match name.strip_suffix("-device") {
        Some(base) => (base, true),
        None => {
            let base = name.strip_suffix("-non-transitional").unwrap_or(&name);
            (base.strip_suffix("-pci").unwrap_or(base), false)
        }
    };
    let Some(row) = DEVICES.iter().find(|row| row.name == base) else { return Err(v.unsupported(&name, NAMES)) };
    let id = keys.take("id");
    if let Some(id) = &id
        && p.plugged.iter().any(|d| d.id.as_ref() == Some(id))
    {
        return Err(v.bad(format!("there are two devices with id={id}")));
    }
    let slot = if mmio { None } else { pci_place(&mut keys)? };
    let model = (row.build)(p, &mut keys)?;
    keys.finish()?;
    p.plugged.push(Plugged { option: v.option, given: v.text.to_owned(), id, slot, mmio, model });
    Ok(())
}

/// `bus=pci.0,addr=SLOT[.0]`, and what QEMU's users write to get modern devices.
fn pci_place(keys: &mut Properties<'_>) -> Result<Option<u8>, OptionError> {
    keys.choice("bus", &["pci.0"])?;
    keys.choice("disable-legacy", &["on", "auto"])?;
    keys.choice("disable-modern", &["off"])?;
    let Some(addr) = keys.take("addr") else { return Ok(None) };
    let (slot, function) = addr.split_once('.').unwrap_or((&addr, "0"));
    match u8::from_str_radix(slot.strip_prefix("0x").unwrap_or(slot), 16) {
        Ok(slot @ 1..SLOTS) if function == "0" => Ok(Some(slot)),
        Ok(1..SLOTS) => Err(keys.bad(format!("`addr={addr}`: devices have one function; give function 0"))),
        _ => Err(keys.bad(format!("`addr={addr}`: not a PCI device number; give 1 to 1f"))),
    }
}

fn blk(p: &mut Parser, keys: &mut Properties<'_>) -> Result<Model, OptionError> {
    let id = keys.need("drive")?;
    let Some(drive) = p.config.drives.iter().position(|d| d.id.as_ref() == Some(&id)) else {
        return Err(keys.bad(format!("there is no drive `{id}`; give -drive file=FILE,if=none,id={id} before")));
    };
    if p.plugged.iter().any(|d| matches!(d.model, Model::Blk { drive: other, .. } if other == drive)) {
        return Err(keys.bad(format!("drive `{id}` is in use")));
    }
    let serial = keys.take("serial").unwrap_or_default();
    let mut block = |key| match keys.number(key)? {
        None => Ok(512),
        Some(n @ 512..=32768) if n.is_power_of_two() => Ok(n as u32),
        Some(_) => Err(keys.bad(format!("{key} is a power of two from 512 to 32768"))),
    };
    let (logical_block, physical_block) = (block("logical_block_size")?, block("physical_block_size")?);
    let physical_block = physical_block.max(logical_block);
    Ok(Model::Blk { drive, serial, logical_block, physical_block })
}

fn serial(_: &mut Parser, keys: &mut Properties<'_>) -> Result<Model, OptionError> {
    match keys.number("max_ports")?.map(usize::try_from) {
        None => Ok(Model::Serial { ports: Vec::new(), max_ports: PORTS_MAX }),
        Some(Ok(n @ 1..=PORTS_MAX)) => Ok(Model::Serial { ports: vec![None; n], max_ports: n }),
        Some(_) => Err(keys.bad(format!("max_ports is 1 to {PORTS_MAX}"))),
    }
}

/// `-device virtconsole` and `-device virtserialport`: a port of the last `virtio-serial`, or of the one that `bus` names.
fn port(p: &mut Parser, v: Value<'_>, mut keys: Properties<'_>, console: bool) -> Result<(), OptionError> {
    let bus = keys.take("bus");
    let chardev = match keys.take("chardev") {
        None => Chardev::Null,
        Some(id) => match p.chardevs.iter_mut().find(|c| c.id == id) {
            Some(c) => {
                if std::mem::replace(&mut c.in_use, true) {
                    return Err(v.bad(format!("character device `{id}` is in use")));
                }
                c.kind
            }
            None => {
                return Err(v.bad(format!("there is no character device `{id}`; give -chardev stdio,id={id} before")));
            }
        },
    };
    let name = keys.take("name").unwrap_or_default();
    let number = keys.number("nr")?;
    keys.take("id");
    keys.finish()?;
    let wanted = bus.as_deref().map(|b| b.strip_suffix(".0").unwrap_or(b));
    let device = p.plugged.iter_mut().rev().find_map(|d| match &mut d.model {
        Model::Serial { ports, max_ports } if wanted.is_none() || d.id.as_deref() == wanted => {
            Some((ports, *max_ports))
        }
        _ => None,
    });
    let Some((ports, max_ports)) = device else {
        return Err(v.bad("a port needs a -device virtio-serial-pci before it"));
    };
    // Number 0 is for consoles.
    let first = usize::from(!console);
    let number = match number {
        Some(n) => usize::try_from(n).unwrap_or(usize::MAX),
        None => (first..).find(|n| ports.get(*n).is_none_or(Option::is_none)).unwrap_or(first),
    };
    if number < first || number >= max_ports {
        return Err(v.bad(match max_ports.checked_sub(first + 1) {
            Some(left) => format!("nr is {first} to {}, as its device has max_ports={max_ports}", first + left),
            None => format!("its device has max_ports={max_ports}, and number 0 is for consoles"),
        }));
    }
    if ports.len() <= number {
        ports.resize(number + 1, None);
    }
    if ports[number].is_some() {
        return Err(v.bad(format!("port {number} is in use")));
    }
    ports[number] = Some(PortOptions { console, name, chardev });
    Ok(())
}

/// Gives each device its place: those with `addr=` first.
pub fn place(plugged: Vec<Plugged>) -> Result<Vec<DeviceOptions>, OptionError> {
    let bad = |d: &Plugged, reason: String| OptionError::BadValue { option: d.option, given: d.given.clone(), reason };
    let mut taken = [false; SLOTS as usize];
    for d in &plugged {
        if let Some(slot) = d.slot
            && std::mem::replace(&mut taken[usize::from(slot)], true)
        {
            return Err(bad(d, format!("PCI device number {slot:#x} is in use")));
        }
    }
    let mut on_mmio = 0;
    let mut devices = Vec::new();
    for d in plugged {
        let place = if d.mmio {
            on_mmio += 1;
            if on_mmio > MMIO_MAX {
                return Err(bad(&d, format!("there are at most {MMIO_MAX} virtio-*-device; give virtio-*-pci")));
            }
            Place::Mmio
        } else {
            let free = || (FIRST_SLOT..SLOTS).find(|slot| !taken[usize::from(*slot)]);
            let Some(slot) = d.slot.or_else(free) else { return Err(bad(&d, "the PCI bus is full".into())) };
            taken[usize::from(slot)] = true;
            Place::Pci { slot }
        };
        devices.push(DeviceOptions { id: d.id, place, model: d.model });
    }
    Ok(devices)
}

#[cfg(test)]
mod tests;
