//! Linux bzImage by the 64-bit boot protocol (Linux Documentation/arch/x86/boot.rst, zero-page.rst).

use super::layout::{self, BOOT_PARAMS, COMMAND_LINE, GDT, PAGE_TABLES};
use super::{Boot, Entry, Images, LoadError, Piece, command_line, mib, place_initrd};
use options::Config;

/// Offsets in `struct boot_params`; those from 0x1f1 on are the setup header's, at the same offsets in the file.
mod field {
    pub const ACPI_RSDP_ADDR: usize = 0x070;
    pub const E820_ENTRIES: usize = 0x1e8;
    pub const SETUP_SECTS: usize = 0x1f1;
    pub const SYSSIZE: usize = 0x1f4;
    pub const VID_MODE: usize = 0x1fa;
    pub const BOOT_FLAG: usize = 0x1fe;
    /// The header ends at 0x202 plus this byte.
    pub const HEADER_LENGTH: usize = 0x201;
    pub const MAGIC: usize = 0x202;
    pub const VERSION: usize = 0x206;
    pub const TYPE_OF_LOADER: usize = 0x210;
    pub const LOADFLAGS: usize = 0x211;
    pub const CODE32_START: usize = 0x214;
    pub const RAMDISK_IMAGE: usize = 0x218;
    pub const RAMDISK_SIZE: usize = 0x21c;
    pub const CMD_LINE_PTR: usize = 0x228;
    pub const INITRD_ADDR_MAX: usize = 0x22c;
    pub const XLOADFLAGS: usize = 0x236;
    pub const CMDLINE_SIZE: usize = 0x238;
    pub const PREF_ADDRESS: usize = 0x258;
    pub const INIT_SIZE: usize = 0x260;
    pub const HEADER_END: usize = 0x268;
    pub const E820_TABLE: usize = 0x2d0;
}

/// The first version with `xloadflags`: Linux 3.8.
const VERSION_MIN: u16 = 0x20c;
const LOADED_HIGH: u8 = 1;
const XLF_KERNEL_64: u16 = 1;
/// Undefined loader, which is what the protocol has for those that were given no number.
const LOADER_UNDEFINED: u8 = 0xff;
const VID_MODE_NORMAL: u16 = 0xffff;
/// The 64-bit entry, from the start of the protected-mode code.
const ENTRY_64: u64 = 0x200;

/// Selectors the protocol asks for are 0x10 and 0x18: flat 64-bit code, flat data.
const GDT_ENTRIES: [u64; 4] = [0, 0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff];

fn u16_at(b: &[u8], at: usize) -> u16 {
    b.get(at..at + 2).and_then(|s| s.try_into().ok()).map_or(0, u16::from_le_bytes)
}
fn u32_at(b: &[u8], at: usize) -> u32 {
    b.get(at..at + 4).and_then(|s| s.try_into().ok()).map_or(0, u32::from_le_bytes)
}
fn u64_at(b: &[u8], at: usize) -> u64 {
    b.get(at..at + 8).and_then(|s| s.try_into().ok()).map_or(0, u64::from_le_bytes)
}

/// Whether the file has a Linux setup header.
pub fn has_header(file: &[u8]) -> bool {
    u16_at(file, field::BOOT_FLAG) == 0xaa55 && file.get(field::MAGIC..field::MAGIC + 4) == Some(b"HdrS")
}

pub fn load<'a>(config: &Config, images: Images<'a>, rsdp: u64) -> Result<Boot<'a>, LoadError> {
    let file = images.kernel;
    let name = || config.kernel.clone();
    let unsupported = |reason: String| LoadError::Unsupported { name: name(), reason };
    let truncated = |want: u64| LoadError::Truncated { name: name(), have: file.len() as u64, want };
    let version = u16_at(file, field::VERSION);
    if version < VERSION_MIN {
        let (major, minor) = (version >> 8, version & 0xff);
        return Err(unsupported(format!(
            "boot protocol {major}.{minor:02} is too old; give a kernel of Linux 3.8 or later"
        )));
    }
    if file.len() < field::HEADER_END {
        return Err(truncated(field::HEADER_END as u64));
    }
    if u16_at(file, field::XLOADFLAGS) & XLF_KERNEL_64 == 0 {
        return Err(unsupported("it is a 32-bit kernel; give a 64-bit one (Debian's linux-image-amd64)".into()));
    }
    if file[field::LOADFLAGS] & LOADED_HIGH == 0 {
        return Err(unsupported("it is a zImage; give a bzImage".into()));
    }
    let setup_sects = match file[field::SETUP_SECTS] {
        0 => 4,
        n => u64::from(n),
    };
    let setup_size = (setup_sects + 1) * 512;
    // syssize counts 16-byte paragraphs; the last may be partly padding that the file lacks.
    let want = setup_size + u64::from(u32_at(file, field::SYSSIZE)) * 16;
    if (file.len() as u64) < want.saturating_sub(15).max(setup_size + ENTRY_64) {
        return Err(truncated(want));
    }
    let code = &file[setup_size as usize..];

    // A relocatable kernel loaded lower would move itself up to its preferred address, so there is nothing to gain.
    let load_addr = u64_at(file, field::PREF_ADDRESS);
    let end = load_addr.saturating_add(u64::from(u32_at(file, field::INIT_SIZE)).max(code.len() as u64));
    if !(layout::HIGH_MEMORY..options::RAM_MAX).contains(&load_addr) {
        return Err(unsupported(format!("its header asks to be loaded at {load_addr:#x}; give an unmodified kernel")));
    }
    if end > config.ram_bytes {
        return Err(LoadError::KernelTooBig { name: name(), need_mib: mib(end), have_mib: config.ram_bytes >> 20 });
    }

    let cmdline_max = (u32_at(file, field::CMDLINE_SIZE) as usize).min(layout::COMMAND_LINE_MAX);
    let cmdline = command_line(config, cmdline_max)?;
    let initrd = match images.initrd {
        Some(initrd) => {
            let last = u32_at(file, field::INITRD_ADDR_MAX).into();
            Some(Piece::new(place_initrd(config, initrd.len() as u64, end, last)?, initrd))
        }
        None => None,
    };

    let mut params = vec![0; 4096];
    let header_end = (field::MAGIC + usize::from(file[field::HEADER_LENGTH])).min(field::E820_TABLE).min(file.len());
    params[field::SETUP_SECTS..header_end].copy_from_slice(&file[field::SETUP_SECTS..header_end]);
    let mut put = |at: usize, bytes: &[u8]| params[at..at + bytes.len()].copy_from_slice(bytes);
    put(field::ACPI_RSDP_ADDR, &rsdp.to_le_bytes());
    put(field::VID_MODE, &VID_MODE_NORMAL.to_le_bytes());
    put(field::TYPE_OF_LOADER, &[LOADER_UNDEFINED]);
    put(field::CODE32_START, &(load_addr as u32).to_le_bytes());
    put(field::CMD_LINE_PTR, &(COMMAND_LINE as u32).to_le_bytes());
    if let Some(initrd) = &initrd {
        put(field::RAMDISK_IMAGE, &(initrd.addr as u32).to_le_bytes());
        put(field::RAMDISK_SIZE, &(initrd.bytes.len() as u32).to_le_bytes());
    }
    let map = layout::memory_map(config.ram_bytes);
    put(field::E820_ENTRIES, &[map.len() as u8]);
    for (i, (range, kind)) in map.into_iter().enumerate() {
        let at = field::E820_TABLE + 20 * i;
        put(at, &range.start.to_le_bytes());
        put(at + 8, &(range.end - range.start).to_le_bytes());
        put(at + 16, &(kind as u32).to_le_bytes());
    }

    let gdt: Vec<u8> = GDT_ENTRIES.iter().flat_map(|d| d.to_le_bytes()).collect();
    let entry = Entry::Long {
        rip: load_addr + ENTRY_64,
        boot_params: BOOT_PARAMS,
        cr3: PAGE_TABLES,
        gdt: GDT,
        gdt_limit: gdt.len() as u16 - 1,
    };
    let mut pieces = vec![
        Piece::new(layout::BDA, layout::bios_data_area().to_vec()),
        Piece::new(GDT, gdt),
        Piece::new(BOOT_PARAMS, params),
        Piece::new(PAGE_TABLES, identity_map()),
        Piece::new(COMMAND_LINE, cmdline),
        Piece::new(load_addr, code),
    ];
    pieces.extend(initrd);
    Ok(Boot { pieces, entry })
}

/// Page tables that map the first 4 GiB to themselves in 2 MiB pages (SDM 3A, 4.5): PML4, PDPT, four page directories.
fn identity_map() -> Vec<u8> {
    const PRESENT_WRITABLE: u64 = 3;
    const LARGE: u64 = 0x80;
    let table = |first: u64, step: u64, count: u64| {
        (0..512).map(move |i| if i < count { first + i * step } else { 0 }).flat_map(u64::to_le_bytes)
    };
    table(PAGE_TABLES + 0x1000 + PRESENT_WRITABLE, 0, 1)
        .chain(table(PAGE_TABLES + 0x2000 + PRESENT_WRITABLE, 0x1000, 4))
        .chain((0..4).flat_map(|gib| table((gib << 30) + PRESENT_WRITABLE + LARGE, 0x20_0000, 512)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_disjoint, config};
    use super::*;

    /// A bzImage of 2 setup sectors and `code` bytes of protected-mode code, with Debian's header values.
    fn image(code: usize) -> Vec<u8> {
        let mut f = vec![0; 3 * 512 + code];
        let mut put = |at: usize, bytes: &[u8]| f[at..at + bytes.len()].copy_from_slice(bytes);
        put(field::SETUP_SECTS, &[2]);
        put(field::SYSSIZE, &(code.div_ceil(16) as u32).to_le_bytes());
        put(field::BOOT_FLAG, &0xaa55u16.to_le_bytes());
        put(0x200, &[0xeb, 0x6a]);
        put(field::MAGIC, b"HdrS");
        put(field::VERSION, &0x20fu16.to_le_bytes());
        put(field::LOADFLAGS, &[LOADED_HIGH]);
        put(field::INITRD_ADDR_MAX, &0x7fff_ffffu32.to_le_bytes());
        put(field::XLOADFLAGS, &0x7fu16.to_le_bytes());
        put(field::CMDLINE_SIZE, &2047u32.to_le_bytes());
        put(field::PREF_ADDRESS, &0x100_0000u64.to_le_bytes());
        put(field::INIT_SIZE, &0x300_0000u32.to_le_bytes());
        f[3 * 512..].fill(0x90);
        f
    }

    fn load_image<'a>(kernel: &'a [u8], initrd: Option<&'a [u8]>, ram_mib: u64) -> Result<Boot<'a>, LoadError> {
        load(&config(ram_mib, "console=ttyS0"), Images { kernel, initrd }, 0xe0010)
    }

    fn piece<'a>(boot: &'a Boot, addr: u64) -> &'a [u8] {
        &boot.pieces.iter().find(|p| p.addr == addr).unwrap().bytes
    }

    #[test]
    fn everything_in_its_place() {
        let (kernel, initrd) = (image(5000), vec![7; 0x1_2345]);
        let boot = load_image(&kernel, Some(&initrd), 512).unwrap();
        assert_disjoint(&boot, 512 << 20);
        assert_eq!(
            boot.entry,
            Entry::Long { rip: 0x100_0200, boot_params: 0x7000, cr3: 0x9000, gdt: 0x500, gdt_limit: 31 }
        );
        assert_eq!(piece(&boot, 0x100_0000), [0x90; 5000]);
        assert_eq!(piece(&boot, COMMAND_LINE), b"console=ttyS0\0");
        let at = (512 << 20) - 0x1_3000;
        assert_eq!(piece(&boot, at), initrd);
        let p = piece(&boot, BOOT_PARAMS);
        assert_eq!(u64_at(p, 0x70), 0xe0010);
        assert_eq!(u32_at(p, field::RAMDISK_IMAGE), at as u32);
        assert_eq!(u32_at(p, field::RAMDISK_SIZE), 0x1_2345);
        assert_eq!(u32_at(p, field::CMD_LINE_PTR), 0x2_0000);
        assert_eq!((p[field::TYPE_OF_LOADER], p[0x1ef]), (0xff, 0), "loader, sentinel");
        assert_eq!(&p[field::MAGIC..field::MAGIC + 4], b"HdrS");
        assert_eq!(p[field::E820_ENTRIES], 4);
        assert_eq!((u64_at(p, 0x2d0 + 60), u64_at(p, 0x2d0 + 68)), (0x10_0000, (512 << 20) - 0x10_0000));
    }

    #[test]
    fn without_an_initrd_the_fields_are_zero() {
        let mut kernel = image(5000);
        kernel[field::RAMDISK_IMAGE..field::RAMDISK_IMAGE + 8].fill(0);
        let boot = load_image(&kernel, None, 512).unwrap();
        let p = piece(&boot, BOOT_PARAMS);
        assert_eq!(u64_at(p, field::RAMDISK_IMAGE), 0);
        assert_eq!(boot.pieces.len(), 6);
    }

    #[test]
    fn the_identity_map_maps_each_address_to_itself() {
        let tables = identity_map();
        let entry = |table: u64, i: u64| u64_at(&tables, (table - PAGE_TABLES + i * 8) as usize);
        for addr in [0, 0x1f_ffff, 0x100_0200, 0xbfff_ffff, 0xfee0_0000, 0xffff_ffff] {
            let pdpt = entry(PAGE_TABLES, addr >> 39) & !0xfff;
            let pd = entry(pdpt, addr >> 30 & 511) & !0xfff;
            let pde = entry(pd, addr >> 21 & 511);
            assert_eq!(pde & 0xfff, 0x83);
            assert_eq!((pde & !0x1f_ffff) + (addr & 0x1f_ffff), addr);
        }
        assert_eq!(entry(PAGE_TABLES, 1), 0);
        assert_eq!(tables.len(), 6 * 4096);
    }

    #[test]
    fn refusals() {
        let with = |at: usize, bytes: &[u8]| {
            let mut f = image(5000);
            f[at..at + bytes.len()].copy_from_slice(bytes);
            load_image(&f, None, 512).unwrap_err().to_string()
        };
        assert!(with(field::VERSION, &[0x04, 0x02]).contains("boot protocol 2.04 is too old"));
        assert!(with(field::XLOADFLAGS, &[0, 0]).contains("32-bit kernel"));
        assert!(with(field::LOADFLAGS, &[0]).contains("zImage"));
        assert!(with(field::PREF_ADDRESS, &[0; 8]).contains("loaded at 0x0"));
        assert!(with(field::PREF_ADDRESS, &[0xff; 8]).contains("loaded at 0xffffffffffffffff"));
        assert!(with(field::INIT_SIZE, &[1, 0, 0, 0x1f]).contains("needs 513 MiB of RAM, the machine has 512"));
        assert!(load_image(&image(5000), None, 64).is_ok(), "16 MiB + 48 MiB");
    }

    #[test]
    fn every_truncation_is_found() {
        let whole = image(0x400);
        for n in 0..whole.len() - 15 {
            let cut = &whole[..n];
            if has_header(cut) {
                assert!(load_image(cut, None, 512).is_err(), "{n} of {} bytes", whole.len());
            }
        }
        let e = load_image(&whole[..1700], None, 512).unwrap_err().to_string();
        assert!(e.contains("truncated: 1700 bytes where its header asks for 2560"), "{e}");
    }

    #[test]
    fn the_command_line_has_a_limit() {
        let kernel = image(5000);
        let long = "x".repeat(2048);
        let e = load(&config(512, &long), Images { kernel: &kernel, initrd: None }, 0).unwrap_err();
        assert_eq!(e, LoadError::AppendTooLong { have: 2048, most: 2047 });
        assert!(load(&config(512, &long[1..]), Images { kernel: &kernel, initrd: None }, 0).is_ok());
    }

    #[test]
    fn a_damaged_header_never_panics_and_what_loads_lies_in_ram() {
        let whole = image(0x400);
        for at in 0x1f1..field::HEADER_END {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut f = whole.clone();
                f[at] = value;
                if has_header(&f)
                    && let Ok(boot) = load_image(&f, Some(&[0; 100]), 512)
                {
                    assert_disjoint(&boot, 512 << 20);
                }
            }
        }
    }
}
