//! Page walks against an independent model: every combination of rights, in every paging mode.

use bare::{Bare, TABLES, long_mode};
use guest_api::Space;
use isa_x86::cpu::{cr0, cr4, efer, rflags};
use isa_x86::fault::{GP, PF, SS, StopReason};
use isa_x86::insn::STACK;
use isa_x86::sys::paging::translate;
use isa_x86::{Exception, Exec, Vcpu};
use mem::Access;

const P: u64 = 1;
const RW: u64 = 2;
const US: u64 = 4;
const A: u64 = 0x20;
const D: u64 = 0x40;
const PS: u64 = 0x80;
const NX: u64 = 1 << 63;

fn walk(v: &mut Vcpu, va: u64, access: Access) -> Result<u64, Exception> {
    walk_in(v, va, access, Space::FLAT)
}
fn walk_in(v: &mut Vcpu, va: u64, access: Access, s: Space) -> Result<u64, Exception> {
    let mut platform = Bare::default();
    let mut cx = Exec::new(&mut v.cpu, &mut platform);
    translate(&mut cx, va, access, s).map_err(|_| match v.cpu.stop {
        StopReason::Exception(e) => e,
        other => panic!("{other:?}"),
    })
}

/// What the manual's section 4.6 says, rule by rule, as a page-fault error code.
#[derive(Clone, Copy)]
struct Setting {
    user: bool,
    wp: bool,
    smep: bool,
    smap: bool,
    ac: bool,
    nxe: bool,
}

fn model(s: Setting, upper: u64, leaf: u64, access: Access) -> Result<(), u32> {
    let mut code = 0;
    if access == Access::Write {
        code |= 2;
    }
    if s.user {
        code |= 4;
    }
    if access == Access::Execute && (s.nxe || s.smep) {
        code |= 16;
    }
    if upper & P == 0 {
        return Err(code);
    }
    if upper & NX != 0 && !s.nxe {
        return Err(code | 9);
    }
    if leaf & P == 0 {
        return Err(code);
    }
    if leaf & NX != 0 && !s.nxe {
        return Err(code | 9);
    }
    let user_address = upper & leaf & US != 0;
    let writable = upper & leaf & RW != 0;
    let nx = (upper | leaf) & NX != 0;
    let allowed = match (s.user, access) {
        (false, Access::Read) => !user_address || !s.smap || s.ac,
        (false, Access::Write) => (!user_address || !s.smap || s.ac) && (writable || !s.wp),
        (false, Access::Execute) => !(nx || user_address && s.smep),
        (true, Access::Read) => user_address,
        (true, Access::Write) => user_address && writable,
        (true, Access::Execute) => user_address && !nx,
    };
    if allowed { Ok(()) } else { Err(code | 1) }
}

/// Runs every combination of rights of an upper and of the leaf entry under every setting. `write_entry` puts them in place.
fn every_combination(v: &mut Vcpu, va: u64, pa: u64, wide: bool, entries: (u64, u64), bits: (u64, u64)) {
    let put = |v: &mut Vcpu, at: u64, e: u64| {
        assert!(if wide { v.cpu.mem.ram.write(at, e) } else { v.cpu.mem.ram.write(at, e as u32) });
    };
    let get = |v: &Vcpu, at: u64| {
        if wide { v.cpu.mem.ram.read::<u64>(at).unwrap() } else { u64::from(v.cpu.mem.ram.read::<u32>(at).unwrap()) }
    };
    let rights: Vec<u64> =
        (0..16).map(|k| (k & 7) | if k & 8 != 0 { NX } else { 0 }).filter(|r| wide || r & NX == 0).collect();
    let mut faults = 0;
    for setting in 0..64_u32 {
        let bit = |n: u32| setting >> n & 1 != 0;
        let s = Setting { user: bit(0), wp: bit(1), smep: bit(2), smap: bit(3), ac: bit(4), nxe: bit(5) && wide };
        v.cpu.cpl = if s.user { 3 } else { 0 };
        v.cpu.cr0 = v.cpu.cr0 & !cr0::WP | if s.wp { cr0::WP } else { 0 };
        v.cpu.cr4 = v.cpu.cr4 & !(cr4::SMEP | cr4::SMAP)
            | if s.smep { cr4::SMEP } else { 0 }
            | if s.smap { cr4::SMAP } else { 0 };
        v.cpu.msr.efer = v.cpu.msr.efer & !efer::NXE | if s.nxe { efer::NXE } else { 0 };
        v.cpu.set_rflags(if s.ac { rflags::AC } else { 0 });
        for &upper in &rights {
            for &leaf in &rights {
                for access in [Access::Read, Access::Write, Access::Execute] {
                    let (upper_entry, leaf_entry) = (bits.0 | upper, bits.1 | leaf);
                    put(v, entries.0, upper_entry);
                    put(v, entries.1, leaf_entry);
                    let got = walk(v, va, access);
                    let what = format!("setting {setting:06b} upper {upper:#x} leaf {leaf:#x} {access:?}");
                    match model(s, upper, leaf, access) {
                        Ok(()) => {
                            assert_eq!(got, Ok(pa), "{what}");
                            assert_eq!(get(v, entries.0), upper_entry | A, "{what}");
                            let d = if access == Access::Write { D } else { 0 };
                            assert_eq!(get(v, entries.1), leaf_entry | A | d, "{what}");
                        }
                        Err(code) => {
                            faults += 1;
                            assert_eq!(got, Err(Exception { vector: PF, error: Some(code) }), "{what}");
                            assert_eq!(v.cpu.cr2, va, "{what}");
                            assert_eq!((get(v, entries.0), get(v, entries.1)), (upper_entry, leaf_entry), "{what}");
                        }
                    }
                    // The same where nothing is left to be marked, which is walked by a shorter way.
                    put(v, entries.0, upper_entry | A);
                    put(v, entries.1, leaf_entry | A | D);
                    let error = |code| Exception { vector: PF, error: Some(code) };
                    assert_eq!(
                        walk(v, va, access),
                        model(s, upper, leaf, access).map(|()| pa).map_err(error),
                        "{what}"
                    );
                    assert_eq!((get(v, entries.0), get(v, entries.1)), (upper_entry | A, leaf_entry | A | D), "{what}");
                }
            }
        }
    }
    assert!(faults > 1000);
}

fn long() -> Vcpu {
    long_mode(&[0xf4])
}

#[test]
fn rights_with_4_kib_pages() {
    let mut v = long();
    let va = 0xffff_9234_5678_9abc;
    let table = |n: u64| TABLES + 0x8000 + n * 0x1000;
    let index = |shift: u32| (va >> shift & 0x1ff) << 3;
    assert!(v.cpu.mem.ram.write(TABLES + index(39), table(0) | P | RW | US));
    assert!(v.cpu.mem.ram.write(table(0) + index(30), table(1) | P | RW | US));
    let entries = (table(1) + index(21), table(2) + index(12));
    every_combination(&mut v, va, 0x1_2345_6abc, true, entries, (table(2), 0x1_2345_6000));
}

#[test]
fn rights_with_2_mib_and_1_gib_pages() {
    let mut v = long();
    let va = 0x0000_1234_5678_9abc;
    let index = |shift: u32| (va >> shift & 0x1ff) << 3;
    let table = |n: u64| TABLES + 0x8000 + n * 0x1000;
    assert!(v.cpu.mem.ram.write(TABLES + index(39), table(0) | P | RW | US));
    let entries = (table(0) + index(30), table(1) + index(21));
    every_combination(&mut v, va, 0x40_0000 + (va & 0x1f_ffff), true, entries, (table(1), 0x40_0000 | PS));
    let entries = (TABLES + index(39), table(0) + index(30));
    every_combination(&mut v, va, 0x8000_0000 + (va & 0x3fff_ffff), true, entries, (table(0), 0x8000_0000 | PS));
}

#[test]
fn rights_in_pae_and_32_bit_paging() {
    let mut v = long();
    v.cpu.msr.efer = 0;
    let va = 0x8234_5678_u64;
    let (pd, pt) = (TABLES + 0x8000, TABLES + 0x9000);
    v.cpu.pdpte = [0, 0, pd | P, 0];
    let entries = (pd + (va >> 21 & 0x1ff) * 8, pt + (va >> 12 & 0x1ff) * 8);
    every_combination(&mut v, va, 0x30_0678, true, entries, (pt, 0x30_0000));
    v.cpu.cr4 &= !cr4::PAE;
    v.cpu.cr3 = pd;
    let entries = (pd + (va >> 22) * 4, pt + (va >> 12 & 0x3ff) * 4);
    every_combination(&mut v, va, 0x30_0678, false, entries, (pt, 0x30_0000));
}

#[test]
fn reserved_bits_and_large_page_addresses() {
    let mut v = long();
    let va = 0x0000_0040_0020_1234_u64; // PML4E 0, PDPTE 256, PDE 1, PTE 1
    let (pdpt, pd, pt) = (TABLES + 0x8000, TABLES + 0x9000, TABLES + 0xa000);
    let at = [TABLES, pdpt + 256 * 8, pd + 8, pt + 8];
    let good = [pdpt | 7, pd | 7, pt | 7, 0x5000 | 7];
    let reserved = |v: &mut Vcpu, level: usize, entry: u64| {
        for (a, e) in at.iter().zip(good) {
            assert!(v.cpu.mem.ram.write(*a, e));
        }
        assert!(v.cpu.mem.ram.write(at[level], entry));
        let refused = |v: &mut Vcpu| match walk(v, va, Access::Read) {
            Err(Exception { vector: PF, error: Some(9) }) => true,
            Ok(_) => false,
            other => panic!("{other:x?}"),
        };
        let first = refused(v);
        for a in at {
            let e = v.cpu.mem.ram.read::<u64>(a).unwrap();
            assert!(v.cpu.mem.ram.write(a, e | A));
        }
        assert_eq!(refused(v), first, "with accessed bits set");
        first
    };
    for (level, entry) in good.iter().enumerate() {
        assert!(!reserved(&mut v, level, *entry));
        for bit in 40..52 {
            assert!(reserved(&mut v, level, entry | 1 << bit), "level {level} bit {bit}");
        }
        for bit in (8..12).chain(52..63) {
            assert!(!reserved(&mut v, level, entry | 1 << bit), "level {level} bit {bit}");
        }
    }
    assert!(reserved(&mut v, 0, good[0] | PS), "bit 7 of a PML4E");
    for bit in 13..21 {
        assert!(reserved(&mut v, 2, 7 | PS | 1 << bit), "2 MiB page, bit {bit}");
    }
    for bit in 13..30 {
        assert!(reserved(&mut v, 1, 7 | PS | 1 << bit), "1 GiB page, bit {bit}");
    }
    assert!(!reserved(&mut v, 2, 7 | PS | 1 << 12), "PAT of a large page");
    // PSE-36: bits 20:13 are address bits 39:32, bit 21 is reserved.
    v.cpu.msr.efer = 0;
    v.cpu.cr4 = cr4::PSE;
    v.cpu.cr3 = pd;
    let pde = |v: &mut Vcpu, e: u32| assert!(v.cpu.mem.ram.write(pd + 8, e));
    pde(&mut v, 0x00c1_e000 | 7 | PS as u32);
    assert_eq!(walk(&mut v, 0x80_1234, Access::Read), Ok(0x0f_00c0_1234));
    pde(&mut v, 0x00e0_0000 | 7 | PS as u32);
    assert_eq!(walk(&mut v, 0x80_1234, Access::Read), Err(Exception { vector: PF, error: Some(9) }));
}

#[test]
fn addresses_that_are_not_canonical() {
    let mut v = long();
    for va in [0x0000_8000_0000_0000, 0xffff_7fff_ffff_ffff] {
        let e = |vector| Err(Exception { vector, error: Some(0) });
        assert_eq!(walk_in(&mut v, va, Access::Read, Space::FLAT), e(GP));
        assert_eq!(walk_in(&mut v, va, Access::Write, STACK), e(SS));
        assert_eq!(walk_in(&mut v, va, Access::Execute, Space::FLAT), e(GP));
    }
    assert!(matches!(walk(&mut v, 0xffff_8000_0000_0000, Access::Read), Err(Exception { vector: PF, .. })));
}

/// MOV CR3 keeps what is global (SDM 3 4.10.4.1), in the new address space too; INVLPG does not.
#[test]
fn a_change_of_address_space_keeps_global_translations() {
    const VA: u64 = 0x40_0000;
    const PDE: u64 = TABLES + 0x2000 + 8 * 2;
    for (global, kept) in [(0x100, 1), (0, 2)] {
        // mov rax,[VA]; mov [PDE],rbp; mov rcx,cr3; mov cr3,rcx; mov rdx,[VA]; invlpg [VA]; mov rsi,[VA]; jmp $
        let at = |v: u64| (v as u32).to_le_bytes();
        let load = |reg: u8| [&[0x48, 0x8b, 0x04 | reg << 3, 0x25][..], &at(VA + 0x8000)].concat();
        let code = [
            load(0),
            [&[0x48, 0x89, 0x2c, 0x25][..], &at(PDE)].concat(),
            vec![0x0f, 0x20, 0xd9, 0x0f, 0x22, 0xd9],
            load(2),
            [&[0x0f, 0x01, 0x3c, 0x25][..], &at(VA + 0x8000)].concat(),
            load(6),
            vec![0xeb, 0xfe],
        ]
        .concat();
        let mut v = long_mode(&code);
        v.cpu.cr4 |= cr4::PGE;
        assert!(v.cpu.mem.ram.write(0x8000, 1_u64) && v.cpu.mem.ram.write(0x20_0000 + 0x8000, 2_u64));
        assert!(v.cpu.mem.ram.write(PDE, 0x83 | global));
        v.cpu.regs[5] = 0x20_0083 | global;
        v.run(&mut Bare::default(), 20);
        assert_eq!((v.cpu.regs[0], v.cpu.regs[2], v.cpu.regs[6]), (1, kept, 2), "global {global:#x}");
    }
}
