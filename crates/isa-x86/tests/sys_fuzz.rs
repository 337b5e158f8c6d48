//! No guest can panic the emulator or meet a lack of it: random system code in every mode, with random tables under it.

use bare::{Bare, RAM};
use isa_x86::cpu::{LSTAR, SegReg, Segment, SystemSegment, TableRegister, cr0, cr4, efer};
use isa_x86::{Cpu, CpuExit, Vcpu};
use mem::{GuestRam, Memory};
use random::Rng;

/// Opcodes of system instructions, less their operands: what follows is random.
const OPCODES: &[&[u8]] = &[
    &[0x0f, 0x00], // SLDT .. VERW
    &[0x0f, 0x01], // SGDT .. INVLPG, SWAPGS, XGETBV ..
    &[0x0f, 0x02], // LAR
    &[0x0f, 0x03], // LSL
    &[0x0f, 0x05], // SYSCALL
    &[0x0f, 0x06], // CLTS
    &[0x0f, 0x07], // SYSRET
    &[0x48, 0x0f, 0x07],
    &[0x0f, 0x20], // MOV CR
    &[0x0f, 0x21], // MOV DR
    &[0x0f, 0x22],
    &[0x0f, 0x23],
    &[0x0f, 0x30], // WRMSR
    &[0x0f, 0x31],
    &[0x0f, 0x32], // RDMSR
    &[0x0f, 0x34], // SYSENTER
    &[0x0f, 0x35],
    &[0x0f, 0xa0], // PUSH FS
    &[0x0f, 0xa1],
    &[0x0f, 0xa2],             // CPUID
    &[0x0f, 0xae],             // FXSAVE .. XRSTOR
    &[0xf3, 0x0f, 0xae],       // RDFSBASE ..
    &[0x0f, 0xb2],             // LSS
    &[0x0f, 0xc7],             // RDRAND ..
    &[0x66, 0x0f, 0x38, 0x82], // INVPCID
    &[0x8e],                   // MOV Sreg
    &[0x8c],
    &[0x07],
    &[0x17],
    &[0x1f],
    &[0x9a], // CALL far
    &[0xea],
    &[0xff], // CALL, JMP far, PUSH
    &[0xca],
    &[0xcb], // RETF
    &[0xcc],
    &[0xcd], // INT
    &[0xce],
    &[0xcf], // IRET
    &[0x48, 0xcf],
    &[0x66, 0xcf],
    &[0xf1],
    &[0x6c], // INS, OUTS
    &[0xf3, 0x6d],
    &[0xf3, 0x6f],
    &[0xe4],
    &[0xee],
    &[0xfa],
    &[0xfb],
    &[0x9c],
    &[0x9d], // POPF
    &[0xc4], // LES, LDS (or VEX)
    &[0xc5],
    &[0x63],
    &[0x62],
    &[0xc8], // ENTER
];

const GDT: u64 = 0x8_0000;
const IDT: u64 = 0x9_0000;

fn machine(r: &mut Rng) -> Vcpu {
    let hole = 0xa_0000..0xc_0000;
    let mut mem = Memory::new(GuestRam::new(RAM).expect("RAM"), core::slice::from_ref(&hole));
    let mut bytes = vec![0; 1 << 20];
    for chunk in bytes.chunks_exact_mut(8) {
        // Small numbers make selectors, pointers and page-table entries that lead somewhere.
        let v = r.next();
        let v = match v >> 61 {
            0..=3 => v & 0xfff_f067,
            4 => v & 0xffff,
            5 => v & 0xffff_ffff | 0x00cf_9b00 << 32,
            _ => v,
        };
        chunk.copy_from_slice(&v.to_le_bytes());
    }
    // Code everywhere in the first 256 KiB.
    let mut at = 0;
    while at < 0x4_0000 {
        let op = OPCODES[r.below(OPCODES.len() as u64) as usize];
        bytes[at..at + op.len()].copy_from_slice(op);
        at += op.len() + 1 + r.below(5) as usize;
    }
    assert!(mem.ram.write_bytes(0, &bytes));
    let mode = r.below(5);
    let long = mode == 4;
    // A GDT whose descriptors are plausible, an IDT whose gates mostly lead to code.
    for k in 1..64 {
        let access = [0x9b, 0x93, 0xfb, 0xf3, 0x9e, 0x89, 0x82, 0x81, 0xec, 0x85, 0x13, 0x97][r.below(12) as usize];
        let flags = if long && access & 0x18 == 0x18 { 0x20 } else { 0xc0 };
        let base = if access & 0x10 == 0 { r.below(0x10_0000) } else { 0 };
        let d = 0xffff | (base & 0xff_ffff) << 16 | access << 40 | (flags | 0xf) << 48;
        assert!(
            mem.ram
                .write(GDT + 8 * k, if access == 0xec { 8 << 16 | 0xec << 40 | r.below(0x4_0000) & 0xffff } else { d })
        );
    }
    assert!(mem.ram.write(GDT + 8, 0x00cf_9b00_0000_ffff_u64 ^ if long { 0x60 << 48 } else { 0 }));
    for k in 0..256 {
        let kind = [0x8e, 0x8f, 0xee, 0xef, 0x8e, 0xee, 0x86, 0xe5][r.below(if long { 6 } else { 8 }) as usize];
        let selector = if r.one_in(6) { r.below(0x200) } else { 8 };
        let offset = r.below(0x4_0000);
        let gate = offset & 0xffff | selector << 16 | kind << 40 | (offset >> 16) << 48;
        let at = IDT + k * if long { 16 } else { 8 };
        assert!(mem.ram.write(at, gate | if long { r.below(4) << 32 } else { 0 }));
        if long {
            assert!(mem.ram.write(at + 8, 0_u64));
        }
    }
    let mut cpu = Cpu::new(mem);
    if mode > 0 {
        cpu.cr0 |= cr0::PE | if r.one_in(2) { cr0::WP | cr0::AM } else { 0 };
    }
    for k in 0..16 {
        cpu.regs[k] = if r.one_in(2) { r.below(RAM) } else { r.next() };
    }
    cpu.regs[1] =
        [0xc000_0080 + r.below(8), 0xc000_0100 + r.below(4), r.below(0x400), 0x174 + r.below(3)][r.below(4) as usize];
    for s in SegReg::ALL {
        let attr = 0x93 | if r.one_in(2) { 0x4000 } else { 0 } | if r.one_in(4) { 4 } else { 0 };
        let limit = if r.one_in(2) { u32::MAX } else { r.below(0x4_0000) as u32 };
        cpu.seg[s as usize] = Segment { selector: r.below(0x400) as u16 & !3, attr, limit };
        cpu.set_seg_base(s, if long { 0 } else { r.below(0x2_0000) });
    }
    let code = [0x9b, 0xc09b, 0x9b, 0xc09b, if r.one_in(3) { 0xc09b } else { 0xa09b }][mode as usize];
    cpu.seg[SegReg::Cs as usize] = Segment { selector: 8, attr: code, limit: u32::MAX };
    cpu.set_seg_base(SegReg::Cs, 0);
    cpu.gdtr = TableRegister { base: GDT, limit: if r.one_in(4) { r.next() as u16 } else { 0x1ff } };
    cpu.idtr = TableRegister { base: IDT, limit: if r.one_in(4) { r.next() as u16 } else { 0xfff } };
    cpu.ldtr = SystemSegment {
        base: r.below(RAM),
        segment: Segment { selector: 8, attr: 0x82, limit: r.below(0x1_0000) as u32 },
    };
    let tss = if r.one_in(2) { 0x8b } else { 0x83 };
    cpu.tr = SystemSegment {
        base: r.below(RAM),
        segment: Segment { selector: 16, attr: tss, limit: r.below(0x2000) as u32 },
    };
    cpu.cr4 = [0, cr4::PSE, cr4::PAE, cr4::PAE | cr4::SMAP | cr4::SMEP, cr4::UMIP | cr4::FSGSBASE | cr4::PAE]
        [r.below(5) as usize]
        | if r.one_in(2) { cr4::OSXSAVE | cr4::OSFXSR } else { 0 };
    cpu.msr.star = r.next() & 0x03ff_03ff << 32;
    (cpu.regs[LSTAR as usize], cpu.msr.sysenter_eip) = (r.below(0x4_0000), r.below(0x4_0000));
    (cpu.msr.sysenter_esp, cpu.msr.sysenter_cs) = (r.below(RAM), r.below(0x400));
    if r.one_in(4) {
        cpu.dr[7] = 0x400 | r.below(0x100) | r.below(0x1_0000) << 16;
        cpu.dr[0] = r.below(0x4_0000);
    }
    cpu.set_rflags(r.next() & 0x27_7fd7 & if mode == 2 { u64::MAX } else { !(1 << 17) });
    if mode != 0 && mode != 2 {
        cpu.cpl = [0, 0, 0, 3][r.below(4) as usize];
    }
    if cpu.rflags_rest() & 1 << 17 != 0 {
        cpu.cpl = 3;
    }
    if mode >= 3 {
        // Identity-mapped, with holes and odd rights.
        let tables = 0x10_0000;
        for k in 0..512 {
            let odd = if r.one_in(6) { r.next() & 0x7 } else { 7 };
            let _ = cpu.mem.ram.write::<u64>(tables + 0x3000 + 8 * k, k << 12 | odd);
            let _ = cpu.mem.ram.write::<u64>(tables + 0x2000 + 8 * k, k << 21 | 0x80 | odd | 1);
        }
        let _ = cpu.mem.ram.write::<u64>(tables + 0x2000, (tables + 0x3000) | 7);
        let _ = cpu.mem.ram.write::<u64>(tables + 0x1000, (tables + 0x2000) | 7);
        let _ = cpu.mem.ram.write::<u64>(tables, (tables + 0x1000) | 7);
        cpu.cr4 |= cr4::PAE;
        cpu.cr0 |= cr0::PG;
        cpu.pdpte = [(tables + 0x2000) | 1, r.next() & 0xff_ffff_f001, 0, 0];
        cpu.cr3 = if long { tables } else { tables + 0x1000 };
        if long {
            cpu.msr.efer = efer::LMA | efer::LME | efer::SCE | efer::NXE;
        }
    }
    cpu.rip = r.below(0x4_0000);
    cpu.flush_tlb();
    cpu.update_context();
    Vcpu::new(cpu, 1 << 20)
}

#[test]
fn random_system_code_never_panics() {
    let (mut executed, mut triple) = (0, 0);
    for seed in 1..=250_u64 {
        let mut r = Rng(seed);
        let mut v = machine(&mut r);
        let mut platform = Bare::default();
        // Seen where it fails.
        print!("seed {seed} ");
        for _ in 0..20 {
            platform.pending = r.one_in(3).then_some(r.next() as u8);
            match v.run(&mut platform, 100) {
                CpuExit::Budget => {}
                CpuExit::Exception(e) => panic!("seed {seed}: {e:?} was not delivered"),
                CpuExit::Halted => platform.pending = Some(0x20),
                CpuExit::TripleFault => {
                    triple += 1;
                    break;
                }
                CpuExit::Unimplemented(what) => panic!("seed {seed}: {what}"),
            }
        }
        executed += v.cpu.insns;
    }
    println!("{executed} instructions, {triple} triple faults");
    assert!(executed > 20_000, "the programs run: {executed}");
}
