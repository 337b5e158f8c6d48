//! QEMU's command-line grammar, as far as pagevm has what the options name, to a machine configuration.
//!
//! One table, [`OPTIONS`], declares what exists. Everything else is an error that names the option (or the value, or the
//! sub-option) and the nearest one that is supported: nothing is ignored silently. The grammar is the one of QEMU's
//! "Invocation" manual page: options start with `-` or `--`, values are comma-separated, the first may omit its key.

mod devices;
mod nearest;
mod net;
mod packed;
mod properties;
mod shares;

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
            Model::Serial { ports } => ports.iter().flatten().any(|p| p.chardev == Chardev::Stdio),
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
        usage: "file=FILE,if=virtio|none[,format=raw|qcow2|chunked][,id=ID][,readonly=on][,snapshot=on|,overlay=FILE]",
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
        usage: "local,id=ID,path=DIR,security_model=none|passthrough[,readonly=on] or memory,id=ID[,archive=CPIO]",
        help: "a tree of files for -device virtio-9p-pci",
        apply: shares::fsdev,
    },
    OptionRow {
        names: &["-virtfs"],
        usage: "local,path=DIR,mount_tag=TAG,security_model=none|passthrough[,id=ID][,readonly=on]",
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

/// `-m`: QEMU's size grammar, where a number without a suffix is MiB.
fn ram(v: Value<'_>) -> Result<u64, OptionError> {
    let mut bytes = None;
    for (key, value) in v.parts("size") {
        match key {
            "size" => bytes = Some(size(value, MIB).ok_or_else(|| v.bad("not a size; give one like 512, 512M or 1G"))?),
            _ => return Err(v.unsupported(key, &["size"])),
        }
    }
    let bytes = bytes.unwrap_or(0).checked_next_multiple_of(8192).unwrap_or(u64::MAX);
    match bytes {
        ..RAM_MIN => Err(v.bad("too little RAM: the least is 64M")),
        RAM_MIN..=RAM_MAX => Ok(bytes),
        _ => Err(v.bad("too much RAM: the most is 3G")),
    }
}

/// A number with an optional fraction and one of QEMU's suffixes (B, K, M, G, T; powers of 1024), in bytes.
fn size(text: &str, default_unit: u64) -> Option<u64> {
    let (number, unit) = match text.as_bytes().last()? {
        b'b' | b'B' => (&text[..text.len() - 1], 1),
        b'k' | b'K' => (&text[..text.len() - 1], 1 << 10),
        b'm' | b'M' => (&text[..text.len() - 1], 1 << 20),
        b'g' | b'G' => (&text[..text.len() - 1], 1 << 30),
        b't' | b'T' => (&text[..text.len() - 1], 1 << 40),
        _ => (text, default_unit),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |s: &str| s.len() <= 18 && s.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || number.ends_with('.') {
        return None;
    }
    let whole = whole.parse::<u64>().ok()?.checked_mul(unit)?;
    let fraction = match fraction {
        "" => 0,
        f => u128::from(f.parse::<u64>().ok()?) * u128::from(unit) / 10u128.pow(f.len() as u32),
    };
    whole.checked_add(fraction as u64)
}

fn machine(p: &mut Parser, v: Value<'_>) -> Result<(), OptionError> {
    for (key, value) in v.parts("type") {
        match (key, value) {
            ("type", "pc") => {}
            ("type", _) => return Err(v.unsupported(value, &["pc"])),
            ("accel", _) => accel(p, Value { option: v.option, text: value })?,
            _ => return Err(v.unsupported(key, &["type", "accel"])),
        }
    }
    Ok(())
}

fn cpu(p: &mut Parser, v: Value<'_>) -> Result<(), OptionError> {
    let (model, features) = v.text.split_once(',').map_or((v.text, None), |(m, f)| (m, Some(f)));
    if model != "max" {
        return Err(v.unsupported(model, &["max"]));
    }
    match features {
        Some(f) => Err(v.bad(format!("`{f}`: features cannot be switched one by one; give `-cpu max`"))),
        None => set(&mut p.config.cpu, Ok(CpuModel::Max)),
    }
}

fn smp(v: Value<'_>) -> Result<(), OptionError> {
    const KEYS: &[&str] = &["cpus", "maxcpus", "sockets", "dies", "cores", "threads"];
    for (key, value) in v.parts("cpus") {
        if !KEYS.contains(&key) {
            return Err(v.unsupported(key, KEYS));
        }
        match value.parse::<u32>() {
            Ok(1) => {}
            Ok(_) => return Err(v.bad("the machine has one CPU; give `-smp 1`")),
            Err(_) => return Err(v.bad(format!("`{value}` is not a number; give `-smp 1`"))),
        }
    }
    Ok(())
}

fn accel(p: &mut Parser, v: Value<'_>) -> Result<(), OptionError> {
    for (key, value) in v.parts("accel") {
        match (key, value) {
            ("accel", "tcg") | ("thread", "single") => {}
            ("accel", _) => return Err(v.unsupported(value, &["tcg"])),
            ("thread", _) => return Err(v.unsupported(&format!("thread={value}"), &["thread=single"])),
            ("tb-size", _) => match value.parse::<u32>() {
                Ok(mib @ 1..=1024) => p.config.tb_size_mib = Some(mib),
                _ => return Err(v.bad("tb-size is a number of MiB from 1 to 1024")),
            },
            _ => return Err(v.unsupported(key, &["accel", "thread", "tb-size"])),
        }
    }
    Ok(())
}

fn serial(p: &mut Parser, v: Value<'_>) -> Result<(), OptionError> {
    if std::mem::replace(&mut p.serial_given, true) {
        return Err(v.bad("there is one serial port; give `-serial` once"));
    }
    let serial = match v.one_of(&["stdio", "mon:stdio", "none"])? {
        "stdio" => Serial::Stdio,
        "none" => Serial::None,
        _ => Serial::MonStdio,
    };
    set(&mut p.config.serial, Ok(serial))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Result<Config, OptionError> {
        parse(line.split_whitespace())
    }

    fn message(line: &str) -> String {
        words(line).expect_err(line).to_string()
    }

    fn ram_of(m: &str) -> Result<u64, OptionError> {
        parse(["-kernel", "k", "-m", m]).map(|c| c.ram_bytes)
    }

    #[test]
    fn the_defaults_are_qemus() {
        let c = words("-kernel vmlinuz").unwrap();
        let want = Config {
            ram_bytes: 128 << 20,
            kernel: "vmlinuz".into(),
            initrd: None,
            append: String::new(),
            cpu: CpuModel::Max,
            serial: Serial::MonStdio,
            no_reboot: false,
            tb_size_mib: None,
            drives: Vec::new(),
            shares: Vec::new(),
            devices: Vec::new(),
            nets: Vec::new(),
        };
        assert_eq!(c, want);
    }

    #[test]
    fn everything_at_once() {
        let args = [
            "-M",
            "pc,accel=tcg",
            "-cpu",
            "max",
            "-smp",
            "cpus=1,cores=1",
            "-m",
            "size=1G",
            "-accel",
            "tcg,thread=single,tb-size=64",
            "-kernel",
            "a/vmlinuz",
            "-initrd",
            "b.cpio.gz",
            "-append",
            "console=ttyS0 root=/dev/ram,x",
            "-nographic",
            "-display",
            "none",
            "-serial",
            "stdio",
            "--no-reboot",
        ];
        let want = Config {
            ram_bytes: 1 << 30,
            kernel: "a/vmlinuz".into(),
            initrd: Some("b.cpio.gz".into()),
            append: "console=ttyS0 root=/dev/ram,x".into(),
            cpu: CpuModel::Max,
            serial: Serial::Stdio,
            no_reboot: true,
            tb_size_mib: Some(64),
            drives: Vec::new(),
            shares: Vec::new(),
            devices: Vec::new(),
            nets: Vec::new(),
        };
        assert_eq!(parse(args).unwrap(), want);
    }

    #[test]
    fn sizes_as_qemu_reads_them() {
        for (text, want) in [
            ("512", 512 * MIB),
            ("512M", 512 * MIB),
            ("512m", 512 * MIB),
            ("1G", 1 << 30),
            ("1.5G", 1536 * MIB),
            ("size=65536K", 64 * MIB),
            ("67108864B", 64 * MIB),
            ("67108865b", 64 * MIB + 8192),
            ("3G", 3 << 30),
        ] {
            assert_eq!(ram_of(text), Ok(want), "{text}");
        }
    }

    #[test]
    fn sizes_that_are_none() {
        for text in ["", "M", ".5G", "1.", "1.2.3", "-1", "0x200", "1GiB", "1e3", "18446744073709551616", "16777216T"] {
            let e = ram_of(text).expect_err(text).to_string();
            assert!(e.contains("not a size"), "{text}: {e}");
        }
        assert!(message("-kernel k -m 63").contains("the least is 64M"));
        assert!(message("-kernel k -m 3073M").contains("the most is 3G"));
        assert!(message("-kernel k -m 16777215T").contains("the most is 3G"));
        assert!(message("-kernel k -m 1G,slots=2").contains("`slots` is not supported"));
    }

    #[test]
    fn unknown_options_name_the_nearest() {
        for (given, nearest) in [
            ("-kernal", "-kernel"),
            ("-noreboot", "-no-reboot"),
            ("--nographics", "-nographic"),
            ("-serials", "-serial"),
            ("-initramfs", "-initrd"),
        ] {
            let e = message(&format!("{given} x"));
            assert!(e.contains(&format!("`{given}`")), "{e}");
            assert!(e.contains(&format!("nearest supported option is `{nearest}`")), "{e}");
        }
        assert!(matches!(words("-driv file=x"), Err(OptionError::Unknown { .. })));
        assert!(matches!(words("disk.img"), Err(OptionError::Positional { .. })));
        assert!(matches!(words("-"), Err(OptionError::Unknown { .. })));
        assert!(matches!(words("---kernel k"), Err(OptionError::Unknown { .. })));
    }

    #[test]
    fn unsupported_values_name_the_nearest() {
        for (line, part, nearest) in [
            ("-M q35", "q35", "pc"),
            ("-machine type=microvm", "microvm", "pc"),
            ("-M pc,accel=kvm", "kvm", "tcg"),
            ("-M pc,acel=tcg", "acel", "accel"),
            ("-cpu host", "host", "max"),
            ("-accel kvm", "kvm", "tcg"),
            ("-accel tcg,thread=multi", "thread=multi", "thread=single"),
            ("-accel tcg,tbsize=5", "tbsize", "tb-size"),
            ("-serial studio", "studio", "stdio"),
            ("-serial mon:stdo", "mon:stdo", "mon:stdio"),
            ("-display gtk", "gtk", "none"),
            ("-smp 1,core=1", "core", "cores"),
        ] {
            match words(line) {
                Err(OptionError::UnsupportedValue { part: p, nearest: n, .. }) => {
                    assert_eq!((&*p, n), (part, nearest), "{line}");
                }
                other => panic!("{line}: {other:?}"),
            }
        }
    }

    #[test]
    fn bad_values_say_why() {
        for (line, why) in [
            ("-smp 2", "one CPU"),
            ("-smp 1,threads=2", "one CPU"),
            ("-smp many", "not a number"),
            ("-cpu max,-sse4.2", "features cannot be switched"),
            ("-accel tcg,tb-size=0", "1 to 1024"),
            ("-accel tcg,tb-size=big", "1 to 1024"),
            ("-serial none -serial stdio", "once"),
        ] {
            let e = message(line);
            assert!(e.contains(why), "{line}: {e}");
        }
        assert!(parse(["-kernel", ""]).unwrap_err().to_string().contains("empty"));
    }

    #[test]
    fn what_is_missing() {
        assert_eq!(words(""), Err(OptionError::NoKernel));
        assert_eq!(words("-append x"), Err(OptionError::NeedsKernel { option: "-append" }));
        assert_eq!(words("-initrd x"), Err(OptionError::NeedsKernel { option: "-initrd" }));
        assert_eq!(words("-kernel"), Err(OptionError::MissingValue { option: "-kernel", usage: "FILE" }));
        assert_eq!(words("-kernel k -M"), Err(OptionError::MissingValue { option: "-M", usage: "pc[,accel=tcg]" }));
    }

    #[test]
    fn the_last_of_a_repeated_option_counts() {
        assert_eq!(words("-kernel a -kernel b -m 64 -m 65").unwrap().kernel, "b");
        assert_eq!(words("-kernel a -m 64 -m 65").unwrap().ram_bytes, 65 * MIB);
    }

    #[test]
    fn shares() {
        let short = words("-kernel k -virtfs local,path=/srv,mount_tag=t,security_model=none,readonly=on").unwrap();
        let local = |security| ShareSource::Local { path: "/srv".into(), security };
        assert_eq!(short.shares, [Share { id: "t".into(), source: local(SecurityModel::None), read_only: true }]);
        let place = Place::Pci { slot: 2 };
        let model = Model::P9 { share: 0, mount_tag: "t".into() };
        assert_eq!(short.devices, [DeviceOptions { id: None, place, model }]);
        let long = words(
            "-kernel k -fsdev memory,id=m -fsdev local,id=f,path=/srv,security_model=passthrough \
             -device virtio-9p-pci,fsdev=f,mount_tag=t",
        );
        let long = long.unwrap();
        assert_eq!(long.shares[1].source, local(SecurityModel::Passthrough));
        assert_eq!(long.devices[0].model, Model::P9 { share: 1, mount_tag: "t".into() });
        for (line, why) in [
            ("-virtfs local,path=/srv,mount_tag=t", "give `security_model=none`"),
            ("-virtfs local,path=/srv,mount_tag=t,security_model=mapped-xattr", "owners and modes are the host's"),
            ("-virtfs local,mount_tag=t,security_model=none", "give `path=`"),
            ("-virtfs proxy,mount_tag=t", "`proxy` is not supported"),
            ("-device virtio-9p-pci,fsdev=x,mount_tag=t", "there is no fsdev `x`"),
            ("-fsdev memory,id=a -fsdev memory,id=a", "two fsdevs"),
            ("-virtfs memory,mount_tag=t,path=/srv", "`path` is not supported"),
        ] {
            let e = message(&format!("-kernel k {line}"));
            assert!(e.contains(why), "{line}: {e}");
        }
    }

    #[test]
    fn help_has_a_line_for_each_option() {
        let help = help();
        assert_eq!(help.lines().count(), OPTIONS.len());
        assert!(OPTIONS.iter().all(|row| help.contains(row.names[0])));
    }
}
