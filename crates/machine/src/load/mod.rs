//! Direct kernel boot: what a boot loader puts into RAM, and the state it leaves the CPU in.
//!
//! A loader is a pure function of its inputs: it returns pieces to be copied and an entry state, and so its tests need no
//! machine.

mod bzimage;
mod elf;
mod inflate;
pub mod initrd;
pub mod layout;

use std::borrow::Cow;
use std::ops::Range;

use options::Config;
use thiserror::Error;

/// The files of a direct kernel boot.
#[derive(Clone, Copy, Debug)]
pub struct Images<'a> {
    pub kernel: &'a [u8],
    pub initrd: Option<&'a [u8]>,
}

/// Bytes for a physical address, followed by zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    pub addr: u64,
    pub bytes: Cow<'a, [u8]>,
    /// Zero bytes to follow `bytes`.
    pub zeros: u64,
}

impl<'a> Piece<'a> {
    fn new(addr: u64, bytes: impl Into<Cow<'a, [u8]>>) -> Self {
        Self { addr, bytes: bytes.into(), zeros: 0 }
    }

    /// The physical addresses it covers.
    pub fn range(&self) -> Range<u64> {
        self.addr..self.addr.saturating_add(self.bytes.len() as u64).saturating_add(self.zeros)
    }
}

/// The CPU's state at the kernel's first instruction. Interrupts are off, segments flat and of privilege level 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// 64-bit mode with paging (Linux x86 boot protocol, "64-bit boot protocol"): CS 0x10, data segments 0x18.
    Long { rip: u64, boot_params: u64, cr3: u64, gdt: u64, gdt_limit: u16 },
    /// 32-bit protected mode without paging (Xen PVH ABI, "CPU state at boot").
    Protected { eip: u32, start_info: u32 },
}

/// A kernel ready to be put into RAM.
#[derive(Clone, Debug)]
pub struct Boot<'a> {
    pub pieces: Vec<Piece<'a>>,
    pub entry: Entry,
}

/// Why a kernel or an initrd was refused; each message says what was wrong with which input, and what to give instead.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LoadError {
    #[error(
        "-kernel {name}: not a kernel: {found}; give a bzImage (Debian's /boot/vmlinuz-*) or an ELF vmlinux with a PVH note"
    )]
    NotAKernel { name: String, found: String },
    #[error("-kernel {name}: truncated: {have} bytes where its header asks for {want}; fetch the file again")]
    Truncated { name: String, have: u64, want: u64 },
    #[error("-kernel {name}: {reason}")]
    Unsupported { name: String, reason: String },
    #[error("-kernel {name}: needs {need_mib} MiB of RAM, the machine has {have_mib}; give -m {need_mib} or more")]
    KernelTooBig { name: String, need_mib: u64, have_mib: u64 },
    #[error(
        "-initrd {name}: {size} bytes do not fit into the {free} bytes of RAM beside the kernel; give -m {need_mib} or more"
    )]
    InitrdTooBig { name: String, size: u64, free: u64, need_mib: u64 },
    #[error(
        "-initrd {name}: {size} bytes do not fit into the {free} bytes beside the kernel where it can reach them; give a smaller one"
    )]
    InitrdOutOfReach { name: String, size: u64, free: u64 },
    #[error("-initrd {name}: {problem}")]
    BadInitrd { name: String, problem: initrd::Problem },
    #[error("-append: {have} bytes are too long a command line, the kernel takes {most}; shorten it")]
    AppendTooLong { have: usize, most: usize },
    #[error("-append: a command line cannot contain a NUL byte")]
    AppendNul,
}

/// Loads by the kernel's own format.
pub fn load<'a>(config: &Config, images: Images<'a>, rsdp: u64) -> Result<Boot<'a>, LoadError> {
    let name = || config.kernel.clone();
    if config.append.contains('\0') {
        return Err(LoadError::AppendNul);
    }
    if let Some(initrd) = images.initrd {
        initrd::check(initrd).map_err(|problem| LoadError::BadInitrd { name: initrd_name(config), problem })?;
    }
    if images.kernel.starts_with(b"\x7fELF") {
        elf::load(config, images, rsdp)
    } else if bzimage::has_header(images.kernel) {
        bzimage::load(config, images, rsdp)
    } else {
        Err(LoadError::NotAKernel { name: name(), found: what_is(images.kernel) })
    }
}

fn initrd_name(config: &Config) -> String {
    config.initrd.clone().unwrap_or_default()
}

/// What a file seems to be, for a message.
fn what_is(file: &[u8]) -> String {
    let text = |magic: &[u8]| {
        file.iter().skip_while(|b| b.is_ascii_whitespace()).copied().take(magic.len()).eq_ignore_case(magic)
    };
    let at = |offset: usize, magic: &[u8]| file.get(offset..).is_some_and(|f| f.starts_with(magic));
    let known: &[(bool, &str)] = &[
        (file.is_empty(), "it is empty"),
        (text(b"<!doctype") || text(b"<html"), "it is an HTML page, probably the web server's error page"),
        (at(0x38, b"ARM\x64"), "it is an arm64 kernel"),
        (at(0x38, b"RSC\x05"), "it is a RISC-V kernel"),
        (at(0, b"\x1f\x8b"), "it is gzip-compressed; decompress it first"),
        (at(0, b"\xfd7zXZ\0"), "it is xz-compressed; decompress it first"),
        (at(0, b"\x28\xb5\x2f\xfd"), "it is zstd-compressed; decompress it first"),
        (at(0, b"!<arch>\ndebian"), "it is a Debian package; the kernel is inside, under boot/"),
        (at(0, b"070701") || at(0, b"070702"), "it is a cpio archive, as for -initrd"),
        (at(0, b"MZ"), "it is an EFI program without a Linux boot header"),
        (at(0x8001, b"CD001"), "it is an ISO image"),
        (at(0, b"QFI\xfb"), "it is a qcow2 disk image"),
        (file.len() < 0x268, "it is too short"),
        (at(510, b"\x55\xaa"), "it is a boot sector or a disk image"),
    ];
    match known.iter().find(|(is, _)| *is) {
        Some((_, what)) => (*what).to_owned(),
        None => format!("it begins with the bytes {:02x?}", &file[..8]),
    }
}

trait EqIgnoreCase: Iterator<Item = u8> + Sized {
    /// Whether the bytes are `want` but for ASCII case.
    fn eq_ignore_case(self, want: &[u8]) -> bool {
        self.map(|b| b.to_ascii_lowercase()).eq(want.iter().copied())
    }
}
impl<I: Iterator<Item = u8>> EqIgnoreCase for I {}

/// Where an initrd of this size goes: as high as RAM and `last_addr` (the last byte it may use) allow, page-aligned, above
/// the kernel's end.
fn place_initrd(config: &Config, size: u64, kernel_end: u64, last_addr: u64) -> Result<u64, LoadError> {
    let kernel_end = kernel_end.next_multiple_of(0x1000);
    let reach = last_addr.saturating_add(1) & !0xfff;
    let top = config.ram_bytes.min(reach) & !0xfff;
    let free_below = |top: u64| top.saturating_sub(kernel_end);
    let name = || initrd_name(config);
    if size > free_below(reach) {
        return Err(LoadError::InitrdOutOfReach { name: name(), size, free: free_below(reach) });
    }
    if size > free_below(top) {
        let need_mib = mib(kernel_end + size.next_multiple_of(0x1000));
        return Err(LoadError::InitrdTooBig { name: name(), size, free: free_below(top), need_mib });
    }
    Ok((top - size) & !0xfff)
}

/// In MiB, rounded up.
fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

/// The command line with its terminator.
fn command_line(config: &Config, most: usize) -> Result<Vec<u8>, LoadError> {
    let have = config.append.len();
    if have > most {
        return Err(LoadError::AppendTooLong { have, most });
    }
    Ok([config.append.as_bytes(), b"\0"].concat())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::path::PathBuf;

    pub fn config(ram_mib: u64, append: &str) -> Config {
        let m = ram_mib.to_string();
        options::parse(["-kernel", "vmlinuz", "-initrd", "initrd.gz", "-m", &m, "-append", append]).unwrap()
    }

    /// All pieces lie in RAM and none overlaps another.
    pub fn assert_disjoint(boot: &Boot, ram: u64) {
        let mut ranges: Vec<_> = boot.pieces.iter().map(Piece::range).collect();
        ranges.sort_by_key(|r| r.start);
        assert!(ranges.iter().all(|r| r.end <= ram && r.start < r.end), "{ranges:x?}");
        assert!(ranges.windows(2).all(|w| w[0].end <= w[1].start), "{ranges:x?}");
    }

    fn refused(kernel: &[u8]) -> String {
        load(&config(512, ""), Images { kernel, initrd: None }, 0xe0000).unwrap_err().to_string()
    }

    #[test]
    fn what_is_not_a_kernel_is_named() {
        let mut boot_sector = vec![0; 1024];
        boot_sector[510..512].copy_from_slice(b"\x55\xaa");
        let mut arm = vec![0; 4096];
        arm[0x38..0x3c].copy_from_slice(b"ARM\x64");
        for (file, want) in [
            (&b""[..], "empty"),
            (b"\n<!DOCTYPE html><html>", "HTML"),
            (b"<HTML>", "HTML"),
            (b"\x1f\x8b\x08", "gzip"),
            (b"hello", "too short"),
            (&[0x41; 5000], "begins with the bytes [41, 41"),
            (&boot_sector, "boot sector"),
            (&arm, "arm64"),
        ] {
            let e = refused(file);
            assert!(e.contains(want) && e.starts_with("-kernel vmlinuz: not a kernel"), "{e}");
        }
    }

    #[test]
    fn a_command_line_with_nul() {
        let e = load(&config(512, "a\0b"), Images { kernel: b"", initrd: None }, 0).unwrap_err();
        assert_eq!(e, LoadError::AppendNul);
    }

    #[test]
    fn an_initrd_goes_to_the_top() {
        let c = config(64, "");
        assert_eq!(place_initrd(&c, 0x1001, 0x100_0000, 0x7fff_ffff), Ok(0x400_0000 - 0x2000));
        assert_eq!(place_initrd(&c, 0x1000, 0x100_0000, 0x1ff_ffff), Ok(0x200_0000 - 0x1000));
        assert_eq!(place_initrd(&c, 0x300_0000, 0x100_0000, u64::MAX), Ok(0x100_0000));
        let e = place_initrd(&c, 0x300_0001, 0x100_0000, u64::MAX).unwrap_err();
        assert!(e.to_string().contains("give -m 65 or more"), "{e}");
        let e = place_initrd(&c, 0x100_0001, 0x100_0000, 0x1ff_ffff).unwrap_err();
        assert!(e.to_string().contains("16777217 bytes") && !e.to_string().contains("-m"), "more RAM is no help: {e}");
    }

    /// The guests that `cargo xtask guest` has made, if any: Debian's kernels and an initrd, whole and cut.
    #[test]
    fn real_images() {
        let guests = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/guests");
        let dirs = std::fs::read_dir(guests).into_iter().flatten().flatten();
        let whole = |d: &PathBuf| d.join("vmlinuz").exists() && d.join("initrd.gz").exists();
        // The benchmarks of a peer for i386 have a kernel that is refused.
        for dir in dirs.map(|d| d.path()).filter(|d| whole(d) && !d.ends_with("bench-i386")) {
            let (kernel, initrd) =
                (std::fs::read(dir.join("vmlinuz")).unwrap(), std::fs::read(dir.join("initrd.gz")).unwrap());
            let with = |kernel: &[u8], initrd: &[u8]| {
                load(&config(512, "console=ttyS0"), Images { kernel, initrd: Some(initrd) }, 0xe0000)
                    .map(|boot| assert_disjoint(&boot, 512 << 20))
            };
            assert_eq!(with(&kernel, &initrd), Ok(()), "{}", dir.display());
            for part in [1, 2, 3] {
                let cut = &kernel[..kernel.len() * part / 4];
                assert!(matches!(with(cut, &initrd), Err(LoadError::Truncated { .. })), "{}", dir.display());
                let cut = &initrd[..initrd.len() * part / 4];
                let truncated = matches!(
                    with(&kernel, cut),
                    Err(LoadError::BadInitrd { problem: initrd::Problem::Truncated { .. }, .. })
                );
                assert!(truncated, "{}", dir.display());
            }
        }
    }
}
