//! A processor with RAM and next to no devices, for tests: what is around it ([`Bare`]), and states that programs begin in. For those that need a whole
//! machine, a [kernel] of a few instructions.

mod kernel;
mod platform;

pub use kernel::kernel;
pub use platform::{Bare, Registers};

use isa_x86::cpu::{Cpu, SegReg, Segment, cr0, cr4, efer};
use isa_x86::{CpuExit, Vcpu};
use mem::{GuestRam, LINE, Memory};

/// Bytes of RAM of [`long_mode`].
pub const RAM: u64 = 4 << 20;
/// Where test code is placed.
pub const CODE: u64 = 0x10_0000;
/// Page tables of [`long_mode`]: identity map of the first GiB.
pub const TABLES: u64 = 0x20_0000;
/// Where a PC's firmware puts a boot sector.
pub const BOOT_SECTOR: u64 = 0x7c00;

/// `bytes` of RAM, all zero.
pub fn memory(bytes: u64) -> Memory {
    Memory::new(GuestRam::new(bytes).expect("RAM"), &[])
}

/// `cpu` with the caches of the interpreter.
pub fn vcpu(cpu: Cpu) -> Vcpu {
    Vcpu::new(cpu, 1 << 20)
}

/// Brings `cpu` to 64-bit mode with paging by the tables at `tables`, SSE enabled. Segments and privilege level stay, and nothing is
/// told of the change: the caller sets them and calls `flush_tlb` and `update_context`.
pub fn set_long_mode(cpu: &mut Cpu, tables: u64) {
    cpu.cr0 = cr0::PE | cr0::PG | cr0::ET | cr0::NE | cr0::WP | cr0::MP;
    cpu.cr3 = tables;
    cpu.cr4 = cr4::PAE | cr4::OSFXSR | cr4::OSXMMEXCPT | cr4::FSGSBASE;
    cpu.msr.efer = efer::LME | efer::LMA | efer::SCE | efer::NXE;
}

/// Flat segments of 64-bit code and of data, with the access rights of level `cpl`, and that level.
pub fn set_flat_segments(cpu: &mut Cpu, code: u16, data: u16, cpl: u8) {
    let dpl = u16::from(cpl) << 5;
    for s in SegReg::ALL {
        cpu.seg[s as usize] = Segment { selector: data, attr: 0xc093 | dpl, limit: u32::MAX };
        cpu.set_seg_base(s, 0);
    }
    cpu.seg[SegReg::Cs as usize] = Segment { selector: code, attr: 0xa09b | dpl, limit: u32::MAX };
    cpu.cpl = cpl;
}

/// Brings `cpu` to 64-bit mode, ring 0, with paging by the tables at `tables` and flat segments.
pub fn enter_flat(cpu: &mut Cpu, tables: u64) {
    set_long_mode(cpu, tables);
    set_flat_segments(cpu, 8, 0x10, 0);
    cpu.flush_tlb();
    cpu.update_context();
}

/// A processor as [`enter_flat`] leaves it.
pub fn flat(mem: Memory, tables: u64) -> Cpu {
    let mut cpu = Cpu::new(mem);
    enter_flat(&mut cpu, tables);
    cpu
}

/// A processor in 64-bit mode, ring 0, identity-mapped first GiB by 2 MiB pages, SSE enabled, `code` at [`CODE`].
pub fn long_mode(code: &[u8]) -> Vcpu {
    let mut mem = memory(RAM);
    assert!(mem.ram.write_bytes(CODE, code));
    assert!(mem.ram.write(TABLES, TABLES + 0x1003));
    assert!(mem.ram.write(TABLES + 0x1000, TABLES + 0x2003));
    for k in 0..512 {
        assert!(mem.ram.write(TABLES + 0x2000 + 8 * k, (k << 21) | 0x83));
    }
    let mut cpu = flat(mem, TABLES);
    cpu.rip = CODE;
    cpu.regs[4] = CODE - 0x1000;
    vcpu(cpu)
}

/// Makes RAM what `image` says. What is so already stays as it is, and code there stays decoded and translated.
pub fn restore(mem: &mut Memory, image: &[u8]) {
    let bytes = LINE as usize;
    for (at, line) in (0..).step_by(bytes).zip(image.chunks(bytes)) {
        if mem.ram.slice(at, line.len()) != Some(line) {
            assert!(mem.dma_write(at, line));
        }
    }
}

/// What a program has come to, as text: registers, and a hash of RAM.
pub fn outcome(cpu: &Cpu) -> String {
    let ram = cpu.mem.ram.slice(0, cpu.mem.ram.size() as usize).expect("RAM");
    let ram = ram.chunks_exact(8).fold(0_u64, |h, w| {
        let w = w.try_into().map_or(0, u64::from_le_bytes);
        (h ^ w).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23)
    });
    format!(
        "{:x?} rip {:x} flags {:x} cr2 {:x} mxcsr {:x}\n    seg {:x?}\n    xmm {:x?}\n    fpu {:x?}\n    RAM {ram:x}",
        &cpu.regs[..16],
        cpu.rip,
        cpu.rflags(),
        cpu.cr2,
        cpu.mxcsr,
        cpu.seg,
        cpu.xmm,
        cpu.fpu
    )
}

/// Runs until `insns` instructions were executed or something else happened.
pub fn run(v: &mut Vcpu, insns: u64) -> CpuExit {
    v.run(&mut Bare::default(), insns)
}

/// Where a program of `isa-x86/tests/insn` lies: code of 16, 32 or 64 `bits`.
pub fn start_of_insn(bits: u64) -> u64 {
    if bits == 16 { BOOT_SECTOR } else { CODE }
}

/// The processor where a program of `isa-x86/tests/insn` begins: paging off, all registers 0 but the stack pointer.
pub fn begin_insn(cpu: &mut Cpu, bits: u64) {
    cpu.reset();
    enter_flat(cpu, TABLES);
    cpu.cr0 &= !cr0::PG;
    if bits != 64 {
        cpu.msr.efer &= !(efer::LMA | efer::LME);
        let big = if bits == 32 { 0xc000 } else { 0 };
        let limit = if bits == 32 { u32::MAX } else { 0xffff };
        for s in SegReg::ALL {
            cpu.seg[s as usize] = Segment { selector: 0, attr: 0x93 | big, limit };
        }
        cpu.seg[SegReg::Cs as usize].attr = 0x9b | big;
        if bits == 16 {
            cpu.cr0 &= !cr0::PE;
        }
    }
    cpu.regs[..16].fill(0);
    cpu.regs[4] = 0xf000;
    cpu.rip = start_of_insn(bits);
    cpu.flush_tlb();
    cpu.update_context();
}

/// `code`, a program of `isa-x86/tests/sys`, as a boot sector, and `cpu`, which was reset, where firmware would start it.
pub fn begin_sys(cpu: &mut Cpu, code: &[u8]) {
    assert!(cpu.mem.ram.write_bytes(BOOT_SECTOR, code));
    cpu.seg[SegReg::Cs as usize].selector = 0;
    cpu.set_seg_base(SegReg::Cs, 0);
    cpu.rip = BOOT_SECTOR;
    cpu.update_context();
}
