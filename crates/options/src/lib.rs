//! QEMU's command-line grammar, as far as pagevm has what the options name, to a machine configuration.
//!
//! One table, [`OPTIONS`], declares what exists. Everything else is an error that names the option (or the value, or the
//! sub-option) and the nearest one that is supported: nothing is ignored silently. The grammar is the one of QEMU's
//! "Invocation" manual page: options start with `-` or `--`, values are comma-separated, the first may omit its key.

mod board;
mod devices;
mod nearest;
mod net;
mod packed;
mod properties;
mod shares;

use board::{accel, cpu, machine, ram, serial, smp};
pub use devices::{Chardev, DeviceOptions, Drive, DriveFormat, MMIO_MAX, Model, Place, PortOptions};
use nearest::nearest;
pub use net::{Forward, LanNet, NamedNet, Netdev, Protocol, Proxy, UserNet};
pub use packed::{Packed, packed};
pub use shares::{SecurityModel, Share, ShareSource};
use thiserror::Error;

pub const MIB: u64 = 1 << 20;
/// What a Debian kernel with a small initramfs needs.
pub const RAM_MIN: u64 = 64 * MIB;
/// The `pc` board's RAM ends where its PCI hole begins, and the engine has one 32-bit address space for all it holds.
pub const RAM_MAX: u64 = 3 << 30;
/// QEMU's own default for `pc`.
pub const RAM_DEFAULT: u64 = 128 * MIB;

/// A machine, as the options describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Guest RAM in bytes, a multiple of 8 KiB in [`RAM_MIN`]..=[`RAM_MAX`].
    pub ram_bytes: u64,
    /// Path or URL of a bzImage or an ELF with a PVH note; what fetches it is the host's business.
    pub kernel: String,
    pub initrd: Option<String>,
    /// The kernel's command line.
    pub append: String,
    pub cpu: CpuModel,
    pub serial: Serial,
    /// A guest that asks for a reset ends the run.
    pub no_reboot: bool,
    /// Memory for decoded and translated code in MiB (`-accel tcg,tb-size=`); `None`: the engine's own choice.
    pub tb_size_mib: Option<u32>,
    /// Disk images, in the order of their options.
    pub drives: Vec<Drive>,
    /// Trees of files, in the order of their options.
    pub shares: Vec<Share>,
    pub devices: Vec<DeviceOptions>,
    /// What network cards are plugged into; none unless asked for.
    pub nets: Vec<NamedNet>,
}

impl Config {
    /// What the host's terminal is connected to, be it the serial port or another device.
    pub fn terminal(&self) -> Serial {
        let on_port = |d: &DeviceOptions| match &d.model {
            Model::Serial { ports, .. } => ports.iter().flatten().any(|p| p.chardev == Chardev::Stdio),
            _ => false,
        };
        if self.devices.iter().any(on_port) { Serial::Stdio } else { self.serial }
    }
}

/// What CPUID announces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CpuModel {
    /// All that the engine implements.
    #[default]
    Max,
}

/// Where the first 16550's other end is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Serial {
    /// There is a UART, and nothing is connected to it.
    None,
    /// The host's terminal, every byte as it comes.
    Stdio,
    /// The host's terminal with QEMU's escape key: Ctrl-A x ends the run, Ctrl-A Ctrl-A sends Ctrl-A.
    #[default]
    MonStdio,
}

/// Each message names what was given and what would be accepted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum OptionError {
    #[error(
        "`{given}` is not supported; the nearest supported option is `{nearest}` (supported: {})",
        supported_names()
    )]
    Unknown { given: String, nearest: &'static str },
    #[error(
        "`{given}` is not an option: boot a kernel with `-kernel FILE`; for a disk image give `-drive file={given},if=virtio`"
    )]
    Positional { given: String },
    #[error("`{option}` needs a value: `{option} {usage}`")]
    MissingValue { option: &'static str, usage: &'static str },
    #[error(
        "`{option} {given}`: `{part}` is not supported; the nearest supported is `{nearest}` (supported: {supported})"
    )]
    UnsupportedValue { option: &'static str, given: String, part: String, nearest: &'static str, supported: String },
    #[error("`{option} {given}`: {reason}")]
    BadValue { option: &'static str, given: String, reason: String },
    #[error("`{option}` only makes sense with `-kernel FILE`")]
    NeedsKernel { option: &'static str },
    #[error("`{option}`: there are no such drives; give `-drive file=FILE,if=virtio,format=raw`")]
    NoSuchDrives { option: &'static str },
    #[error("the terminal is used twice, by `-chardev stdio` and `-serial`; give `-serial none`")]
    TwoTerminals,
    #[error("nothing to boot: give a kernel with `-kernel FILE` (there is no firmware yet)")]
    NoKernel,
}

/// One row of the table: names without the dash, the value's form for messages (`""`: the option is a flag).
struct OptionRow {
    names: &'static [&'static str],
    usage: &'static str,
    help: &'static str,
    apply: fn(&mut Parser, Value<'_>) -> Result<(), OptionError>,
}

const OPTIONS: &[OptionRow] = &[
    OptionRow {
        names: &["-m"],
        usage: "SIZE",
        help: "guest RAM, 64M to 3G; a number alone is MiB",
        apply: |p, v| set(&mut p.config.ram_bytes, ram(v)),
    },
    OptionRow {
        names: &["-kernel"],
        usage: "FILE",
        help: "bzImage, or ELF with a PVH note",
        apply: |p, v| set(&mut p.config.kernel, v.non_empty()),
    },
    OptionRow {
        names: &["-initrd"],
        usage: "FILE",
        help: "initial RAM disk",
        apply: |p, v| set(&mut p.config.initrd, v.non_empty().map(Some)),
    },
    OptionRow {
        names: &["-append"],
        usage: "CMDLINE",
        help: "the kernel's command line",
        apply: |p, v| {
            p.append_given = true;
            set(&mut p.config.append, Ok(v.text.to_owned()))
        },
    },
    OptionRow { names: &["-machine", "-M"], usage: "pc[,accel=tcg]", help: "the board", apply: machine },
    OptionRow { names: &["-cpu"], usage: "max", help: "the CPU model", apply: cpu },
    OptionRow { names: &["-smp"], usage: "1", help: "number of CPUs", apply: |_, v| smp(v) },
    OptionRow {
        names: &["-accel"],
        usage: "tcg[,thread=single][,tb-size=MIB]",
        help: "how guest code runs, and the limit for translated code",
        apply: accel,
    },
    OptionRow {
        names: &["-serial"],
        usage: "stdio|mon:stdio|none",
        help: "where the serial port is connected",
        apply: serial,
    },
    OptionRow {
        names: &["-drive"],
        usage: "file=FILE,if=virtio|none[,format=raw|qcow2|chunked][,id=ID][,readonly=on][,snapshot=on|,overlay=FILE][,cache=writeback|none]",
        help: "a disk image, and with if=virtio the disk",
        apply: devices::drive,
    },
    OptionRow {
        names: &["-snapshot"],
        usage: "",
        help: "what the guest writes to any drive is forgotten at the end",
        apply: |p, _| set(&mut p.snapshot, Ok(true)),
    },
    OptionRow {
        names: &["-chardev"],
        usage: "stdio|null,id=ID",
        help: "what a virtconsole or virtserialport is connected to",
        apply: devices::chardev,
    },
    OptionRow {
        names: &["-fsdev"],
        usage: "local,id=ID,path=DIR,security_model=none|mapped-file|passthrough[,fmode=MODE][,dmode=MODE][,readonly=on] or memory,id=ID[,archive=CPIO]",
        help: "a tree of files for -device virtio-9p-pci",
        apply: shares::fsdev,
    },
    OptionRow {
        names: &["-virtfs"],
        usage: "local,path=DIR,mount_tag=TAG,security_model=none|mapped-file|passthrough[,fmode=MODE][,dmode=MODE][,id=ID][,readonly=on]",
        help: "a tree of files that the guest mounts by its tag (-t 9p -o trans=virtio)",
        apply: shares::virtfs,
    },
    OptionRow {
        names: &["-device"],
        usage: "virtio-NAME-pci[,id=ID][,addr=SLOT][,..]",
        help: "blk, net (netdev=ID, mac=MAC), rng, 9p (fsdev=ID, mount_tag=TAG), serial (with virtconsole, virtserialport), balloon, keyboard, tablet or mouse",
        apply: devices::device,
    },
    OptionRow {
        names: &["-netdev"],
        usage: "user|socket,id=ID[,..]",
        help: "a network: user[,net=,host=,dns=,dhcpstart=,restrict=,hostname=,hostfwd=,relay=,proxy=], socket,mcast=",
        apply: net::netdev,
    },
    OptionRow {
        names: &["-nic"],
        usage: "user|socket|none[,mac=MAC][,..]",
        help: "a network and its card in one, with the keys of -netdev",
        apply: net::nic,
    },
    OptionRow {
        names: &["-display"],
        usage: "none",
        help: "there is no display yet",
        apply: |_, v| v.one_of(&["none"]).map(|_| ()),
    },
    OptionRow {
        names: &["-monitor"],
        usage: "none",
        help: "there is no monitor",
        apply: |_, v| v.one_of(&["none"]).map(|_| ()),
    },
    OptionRow {
        names: &["-nographic"],
        usage: "",
        help: "-display none -serial mon:stdio, which is also the default",
        apply: |_, _| Ok(()),
    },
    OptionRow {
        names: &["-no-reboot"],
        usage: "",
        help: "a guest that reboots ends the run",
        apply: |p, _| set(&mut p.config.no_reboot, Ok(true)),
    },
];

/// Drives of a PC that this one has no controllers for.
const NO_SUCH_DRIVES: &[&str] =
    &["-hda", "-hdb", "-hdc", "-hdd", "-cdrom", "-fda", "-fdb", "-sd", "-mtdblock", "-pflash"];

struct Parser {
    config: Config,
    append_given: bool,
    serial_given: bool,
    snapshot: bool,
    chardevs: Vec<devices::NamedChardev>,
    plugged: Vec<devices::Plugged>,
}

/// An option's value as given, with what messages need.
#[derive(Clone, Copy)]
struct Value<'a> {
    option: &'static str,
    text: &'a str,
}

/// Reads arguments as `qemu-system-x86_64` would; a repeated option replaces the earlier one (as in QEMU), except
/// `-serial`, where each use would add a port.
pub fn parse<S: AsRef<str>>(args: impl IntoIterator<Item = S>) -> Result<Config, OptionError> {
    let config = Config {
        ram_bytes: RAM_DEFAULT,
        kernel: String::new(),
        initrd: None,
        append: String::new(),
        cpu: CpuModel::default(),
        serial: Serial::default(),
        no_reboot: false,
        tb_size_mib: None,
        drives: Vec::new(),
        shares: Vec::new(),
        devices: Vec::new(),
        nets: Vec::new(),
    };
    let mut parser = Parser {
        config,
        append_given: false,
        serial_given: false,
        snapshot: false,
        chardevs: Vec::new(),
        plugged: Vec::new(),
    };
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let arg = arg.as_ref();
        let Some(name) = arg.strip_prefix('-') else { return Err(OptionError::Positional { given: arg.to_owned() }) };
        let dashed = dashed(name);
        if let Some(option) = NO_SUCH_DRIVES.iter().find(|n| **n == dashed) {
            return Err(OptionError::NoSuchDrives { option });
        }
        let Some((row, option)) =
            OPTIONS.iter().find_map(|row| row.names.iter().find(|n| **n == dashed).map(|n| (row, *n)))
        else {
            let known = OPTIONS.iter().flat_map(|row| row.names.iter().copied());
            return Err(OptionError::Unknown { given: arg.to_owned(), nearest: nearest(&dashed, known) });
        };
        if row.usage.is_empty() {
            (row.apply)(&mut parser, Value { option, text: "" })?;
            continue;
        }
        let Some(text) = args.next() else { return Err(OptionError::MissingValue { option, usage: row.usage }) };
        (row.apply)(&mut parser, Value { option, text: text.as_ref() })?;
    }
    let Parser { mut config, append_given, serial_given, snapshot, chardevs, plugged } = parser;
    if chardevs.iter().any(|c| c.kind == Chardev::Stdio) {
        if serial_given && config.serial != Serial::None {
            return Err(OptionError::TwoTerminals);
        }
        config.serial = Serial::None;
    }
    devices::check(&chardevs)?;
    config.drives.iter_mut().for_each(|d| d.snapshot |= snapshot);
    config.devices = devices::place(plugged)?;
    net::check(&config)?;
    if config.kernel.is_empty() {
        return Err(match (&config.initrd, append_given) {
            (Some(_), _) => OptionError::NeedsKernel { option: "-initrd" },
            (None, true) => OptionError::NeedsKernel { option: "-append" },
            (None, false) => OptionError::NoKernel,
        });
    }
    Ok(config)
}

/// An option's name, which may be given with two dashes, with one.
fn dashed(name: &str) -> String {
    format!("-{}", name.strip_prefix('-').unwrap_or(name))
}

/// One line an option: its form, and what it does.
pub fn help() -> String {
    OPTIONS
        .iter()
        .map(|row| format!("{:<44}{}\n", format!("{} {}", row.names.join("|"), row.usage), row.help))
        .collect()
}

fn supported_names() -> String {
    OPTIONS.iter().map(|row| row.names[0]).collect::<Vec<_>>().join(" ")
}

fn set<T>(place: &mut T, value: Result<T, OptionError>) -> Result<(), OptionError> {
    *place = value?;
    Ok(())
}

impl<'a> Value<'a> {
    fn bad(self, reason: impl Into<String>) -> OptionError {
        OptionError::BadValue { option: self.option, given: self.text.to_owned(), reason: reason.into() }
    }

    fn unsupported(self, part: &str, supported: &[&'static str]) -> OptionError {
        OptionError::UnsupportedValue {
            option: self.option,
            given: self.text.to_owned(),
            part: part.to_owned(),
            nearest: nearest(part, supported.iter().copied()),
            supported: supported.join(" "),
        }
    }

    fn non_empty(self) -> Result<String, OptionError> {
        if self.text.is_empty() { Err(self.bad("the name is empty")) } else { Ok(self.text.to_owned()) }
    }

    fn one_of(self, supported: &[&'static str]) -> Result<&'static str, OptionError> {
        supported.iter().copied().find(|s| *s == self.text).ok_or_else(|| self.unsupported(self.text, supported))
    }

    /// `first,key=value,..`: QEMU lets the first element omit its key, which is then `first_key`.
    fn parts(self, first_key: &'static str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.text.split(',').enumerate().map(move |(i, part)| match part.split_once('=') {
            Some(pair) => pair,
            None if i == 0 => (first_key, part),
            None => (part, ""),
        })
    }
}

#[cfg(test)]
mod tests;
