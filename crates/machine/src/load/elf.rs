//! ELF kernels by the PVH entry point (Xen, docs/misc/pvh.pandoc; xen/include/public/arch-x86/hvm/start_info.h).

use object::elf::{self, FileHeader32, FileHeader64};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, pod};

use super::layout::{self, COMMAND_LINE, START_INFO};
use super::{Boot, Entry, Images, LoadError, Piece, command_line, mib, place_initrd};
use options::Config;

/// `XEN_ELFNOTE_PHYS32_ENTRY`: the physical address of the 32-bit entry point (xen/include/public/elfnote.h).
const PHYS32_ENTRY: u32 = 18;
const START_INFO_MAGIC: u32 = 0x336e_c578;
/// Version 1: with a memory map.
const START_INFO_VERSION: u32 = 1;
/// Offsets from [`START_INFO`] of the module list and of the memory map.
const MODULES: u64 = 0x40;
const MEMORY_MAP: u64 = 0x80;

pub fn load<'a>(config: &Config, images: Images<'a>, rsdp: u64) -> Result<Boot<'a>, LoadError> {
    match images.kernel.get(4) {
        Some(2) => load_class::<FileHeader64<Endianness>>(config, images, rsdp),
        _ => load_class::<FileHeader32<Endianness>>(config, images, rsdp),
    }
}

fn load_class<'a, H: FileHeader<Endian = Endianness> + pod::Pod>(
    config: &Config,
    images: Images<'a>,
    rsdp: u64,
) -> Result<Boot<'a>, LoadError> {
    let file = images.kernel;
    let name = || config.kernel.clone();
    let unsupported = |reason: String| LoadError::Unsupported { name: name(), reason };
    let truncated = |want: u64| LoadError::Truncated { name: name(), have: file.len() as u64, want };
    let bad = |e: object::read::Error| unsupported(format!("a damaged ELF file: {e}; fetch the file again"));

    if file.len() < size_of::<H>() {
        return Err(truncated(size_of::<H>() as u64));
    }
    let header = H::parse(file).map_err(bad)?;
    let endian = header.endian().map_err(bad)?;
    let machine = header.e_machine(endian);
    if machine != elf::EM_X86_64 && machine != elf::EM_386 {
        return Err(unsupported("an ELF file for another machine; give an x86-64 one".into()));
    }
    let table_size = u64::from(header.e_phnum(endian)) * u64::from(header.e_phentsize(endian));
    let table_end = header.e_phoff(endian).into().saturating_add(table_size);
    if table_end > file.len() as u64 {
        return Err(truncated(table_end));
    }

    let (mut pieces, mut entry, mut end) = (Vec::new(), None, 0);
    for segment in header.program_headers(endian, file).map_err(bad)? {
        let (offset, size) = segment.file_range(endian);
        let kind = segment.p_type(endian);
        if kind != elf::PT_LOAD && kind != elf::PT_NOTE {
            continue;
        }
        if offset.saturating_add(size) > file.len() as u64 {
            return Err(truncated(offset.saturating_add(size)));
        }
        if let Some(mut notes) = segment.notes(endian, file).map_err(bad)? {
            while let Some(note) = notes.next().map_err(bad)? {
                if note.name() == b"Xen" && note.n_type(endian).0 == PHYS32_ENTRY {
                    entry = note.desc().first_chunk().map(|d| u32::from_le_bytes(*d));
                }
            }
        }
        let in_memory: u64 = segment.p_memsz(endian).into();
        if kind != elf::PT_LOAD || in_memory == 0 {
            continue;
        }
        let addr: u64 = segment.p_paddr(endian).into();
        if addr < layout::HIGH_MEMORY {
            return Err(unsupported(format!(
                "a segment for physical address {addr:#x}; direct boot needs that memory"
            )));
        }
        let bytes = &file[offset as usize..(offset + size.min(in_memory)) as usize];
        let piece = Piece { zeros: in_memory - bytes.len() as u64, ..Piece::new(addr, bytes) };
        end = end.max(piece.range().end);
        pieces.push(piece);
    }
    let Some(eip) = entry else {
        return Err(unsupported(
            "an ELF file without a PVH entry note (XEN_ELFNOTE_PHYS32_ENTRY); give a kernel built with CONFIG_PVH, or a bzImage"
                .into(),
        ));
    };
    if !pieces.iter().any(|p| p.range().contains(&eip.into())) {
        return Err(unsupported(format!("its entry point {eip:#x} is in none of its segments")));
    }
    if end > config.ram_bytes {
        return Err(LoadError::KernelTooBig { name: name(), need_mib: mib(end), have_mib: config.ram_bytes >> 20 });
    }

    let initrd = match images.initrd {
        Some(initrd) => Some(Piece::new(place_initrd(config, initrd.len() as u64, end, u32::MAX.into())?, initrd)),
        None => None,
    };
    pieces.push(Piece::new(layout::BDA, layout::bios_data_area().to_vec()));
    pieces.push(Piece::new(COMMAND_LINE, command_line(config, layout::COMMAND_LINE_MAX)?));
    pieces.push(Piece::new(START_INFO, start_info(config, initrd.as_ref(), rsdp)));
    pieces.extend(initrd);
    Ok(Boot { pieces, entry: Entry::Protected { eip, start_info: START_INFO as u32 } })
}

/// `struct hvm_start_info` with what it points to.
fn start_info(config: &Config, initrd: Option<&Piece>, rsdp: u64) -> Vec<u8> {
    let map = layout::memory_map(config.ram_bytes);
    let mut info = Vec::new();
    let modules = u32::from(initrd.is_some());
    for word in [START_INFO_MAGIC, START_INFO_VERSION, 0, modules] {
        info.extend(word.to_le_bytes());
    }
    let module_list = if initrd.is_some() { START_INFO + MODULES } else { 0 };
    for address in [module_list, COMMAND_LINE, rsdp, START_INFO + MEMORY_MAP, map.len() as u64] {
        info.extend(address.to_le_bytes()); // the map's length is 32 bits and 32 reserved ones
    }
    info.resize(MODULES as usize, 0);
    if let Some(initrd) = initrd {
        for field in [initrd.addr, initrd.bytes.len() as u64, 0, 0] {
            info.extend(field.to_le_bytes());
        }
    }
    info.resize(MEMORY_MAP as usize, 0);
    for (range, kind) in map {
        for field in [range.start, range.end - range.start, u64::from(kind as u32)] {
            info.extend(field.to_le_bytes());
        }
    }
    info
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_disjoint, config};
    use super::*;

    const ENTRY: u32 = 0x10_0010;

    /// A 64-bit ELF with one segment (100 bytes of 0x90 at 1 MiB, 0x1000 in memory) and one note segment.
    fn image(note_name: &[u8; 4], paddr: u64) -> Vec<u8> {
        let mut f = Vec::new();
        f.extend(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
        for half in [2u16, 62] {
            f.extend(half.to_le_bytes()); // EXEC, x86-64
        }
        f.extend(1u32.to_le_bytes());
        for word in [0u64, 64, 0] {
            f.extend(word.to_le_bytes()); // entry, phoff, shoff
        }
        f.extend(0u32.to_le_bytes());
        for half in [64u16, 56, 2, 0, 0, 0] {
            f.extend(half.to_le_bytes());
        }
        for (kind, offset, paddr, filesz, memsz) in [(1u32, 200u64, paddr, 100u64, 0x1000u64), (4, 176, 0, 24, 24)] {
            f.extend(kind.to_le_bytes());
            f.extend(5u32.to_le_bytes());
            for word in [offset, 0xffff_ffff_8010_0000, paddr, filesz, memsz, 4] {
                f.extend(word.to_le_bytes());
            }
        }
        for word in [4u32, 8, PHYS32_ENTRY] {
            f.extend(word.to_le_bytes());
        }
        f.extend(note_name);
        f.extend(u64::from(ENTRY).to_le_bytes());
        f.resize(300, 0x90);
        f
    }

    fn load_image<'a>(kernel: &'a [u8], initrd: Option<&'a [u8]>) -> Result<Boot<'a>, LoadError> {
        load(&config(64, "quiet"), Images { kernel, initrd }, 0xe0010)
    }

    #[test]
    fn a_pvh_kernel() {
        let kernel = image(b"Xen\0", 0x10_0000);
        let boot = load_image(&kernel, Some(&[1, 2, 3])).unwrap();
        assert_disjoint(&boot, 64 << 20);
        assert_eq!(boot.entry, Entry::Protected { eip: ENTRY, start_info: 0x6000 });
        let code = &boot.pieces[0];
        assert_eq!((code.addr, &*code.bytes, code.zeros), (0x10_0000, &[0x90; 100][..], 0x1000 - 100));
        let info = &boot.pieces.iter().find(|p| p.addr == START_INFO).unwrap().bytes;
        let word = |at: usize| u64::from_le_bytes(info[at..at + 8].try_into().unwrap());
        assert_eq!(word(0), 0x1_336e_c578);
        assert_eq!(word(8) >> 32, 1, "modules");
        assert_eq!([word(16), word(24), word(32), word(40), word(48)], [0x6040, 0x2_0000, 0xe0010, 0x6080, 4]);
        assert_eq!([word(0x40), word(0x48)], [0x3ff_f000, 3]);
        assert_eq!([word(0x80 + 72), word(0x80 + 80), word(0x80 + 88)], [0x10_0000, 0x3f0_0000, 1]);
    }

    #[test]
    fn without_an_initrd_there_is_no_module() {
        let kernel = image(b"Xen\0", 0x10_0000);
        let boot = load_image(&kernel, None).unwrap();
        let info = &boot.pieces.iter().find(|p| p.addr == START_INFO).unwrap().bytes;
        assert_eq!(info[12..24], [0; 12]);
    }

    #[test]
    fn refusals() {
        let refused = |f: &[u8]| load_image(f, None).unwrap_err().to_string();
        assert!(refused(&image(b"GNU\0", 0x10_0000)).contains("without a PVH entry note"));
        assert!(refused(&image(b"Xen\0", 0x8000)).contains("physical address 0x8000"));
        assert!(refused(&image(b"Xen\0", 0x20_0000)).contains("entry point 0x100010"));
        assert!(refused(&image(b"Xen\0", 0x3ff_f001)).contains("entry point"));
        let mut arm = image(b"Xen\0", 0x10_0000);
        arm[18] = 183;
        assert!(refused(&arm).contains("another machine"));
        let mut big = image(b"Xen\0", 0x10_0000);
        big[64 + 40..64 + 48].copy_from_slice(&(64u64 << 20).to_le_bytes());
        assert!(refused(&big).contains("needs 65 MiB of RAM, the machine has 64"));
        big[64 + 40..64 + 48].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(load_image(&big, None).is_err());
    }

    #[test]
    fn every_truncation_is_found() {
        let whole = image(b"Xen\0", 0x10_0000);
        for n in 4..whole.len() {
            let e = load_image(&whole[..n], None).unwrap_err();
            assert!(matches!(e, LoadError::Truncated { .. }), "{n}: {e}");
        }
    }

    #[test]
    fn a_header_table_beyond_all_addresses() {
        let mut f = image(b"Xen\0", 0x10_0000);
        f[32..40].fill(0xff);
        assert!(matches!(load_image(&f, None), Err(LoadError::Truncated { .. })));
    }

    #[test]
    fn a_damaged_file_never_panics() {
        let whole = image(b"Xen\0", 0x10_0000);
        for at in 4..200 {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut f = whole.clone();
                f[at] = value;
                let _ = load_image(&f, Some(&[0; 10]));
            }
        }
    }
}
