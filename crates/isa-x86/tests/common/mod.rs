//! A bare machine for tests: RAM, no devices, 64-bit flat mode with paging off where the test does not set it up.
#![allow(dead_code)]

pub mod rng;

use isa_x86::cpu::{Cpu, SegReg, Segment, cr0, cr4, efer};
use isa_x86::{CpuExit, Platform, Vcpu};
use mem::{GuestRam, Memory};

/// A platform with no device: reads give all ones.
#[derive(Default)]
pub struct Bare {
    pub tsc: u64,
    pub random: u64,
    pub pending: Option<u8>,
    pub io: Vec<(u16, u32, u32)>,
}

impl Platform for Bare {
    fn mmio_read(&mut self, _: u64, size: u32, _: u64) -> u64 {
        u64::MAX >> (64 - 8 * size)
    }
    fn mmio_write(&mut self, _: u64, _: u32, _: u64, _: u64) {}
    fn io_read(&mut self, _: u16, size: u32, _: u64) -> u32 {
        u32::MAX >> (32 - 8 * size)
    }
    fn io_write(&mut self, port: u16, size: u32, value: u32, _: u64) {
        self.io.push((port, size, value));
    }
    fn interrupt_pending(&mut self) -> bool {
        self.pending.is_some()
    }
    fn interrupt_ack(&mut self) -> u8 {
        self.pending.take().unwrap_or(0xff)
    }
    fn msr_read(&mut self, _: u32, _: u64) -> Option<u64> {
        None
    }
    fn msr_write(&mut self, _: u32, _: u64, _: u64) -> bool {
        false
    }
    fn cr8(&mut self) -> u8 {
        0
    }
    fn set_cr8(&mut self, _: u8) {}
    fn tsc(&mut self, at: u64) -> u64 {
        self.tsc + at
    }
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        self.random
    }
    fn wants_exit(&mut self) -> bool {
        false
    }
}

pub const RAM: u64 = 4 << 20;
/// Where test code is placed.
pub const CODE: u64 = 0x10_0000;
/// Page tables of [`long_mode`]: identity map of the first GiB.
pub const TABLES: u64 = 0x20_0000;

/// A processor in 64-bit mode, ring 0, with paging by the tables at `tables`, flat segments and SSE enabled.
pub fn flat(mem: Memory, tables: u64) -> Cpu {
    let mut cpu = Cpu::new(mem);
    cpu.cr0 = cr0::PE | cr0::PG | cr0::ET | cr0::NE | cr0::WP | cr0::MP;
    cpu.cr3 = tables;
    cpu.cr4 = cr4::PAE | cr4::OSFXSR | cr4::OSXMMEXCPT | cr4::FSGSBASE;
    cpu.msr.efer = efer::LME | efer::LMA | efer::SCE | efer::NXE;
    for s in SegReg::ALL {
        cpu.seg[s as usize] = Segment { selector: 0x10, attr: 0xc093, limit: u32::MAX };
        cpu.set_seg_base(s, 0);
    }
    cpu.seg[SegReg::Cs as usize] = Segment { selector: 8, attr: 0xa09b, limit: u32::MAX };
    cpu.flush_tlb();
    cpu.update_context();
    cpu
}

/// A processor in 64-bit mode, ring 0, identity-mapped first GiB by 2 MiB pages, SSE enabled, `code` at [`CODE`].
pub fn long_mode(code: &[u8]) -> Vcpu {
    let mut mem = Memory::new(GuestRam::new(RAM).expect("RAM"), &[]);
    assert!(mem.ram.write_bytes(CODE, code));
    assert!(mem.ram.write(TABLES, TABLES + 0x1003));
    assert!(mem.ram.write(TABLES + 0x1000, TABLES + 0x2003));
    for k in 0..512 {
        assert!(mem.ram.write(TABLES + 0x2000 + 8 * k, (k << 21) | 0x83));
    }
    let mut cpu = flat(mem, TABLES);
    cpu.rip = CODE;
    cpu.regs[4] = CODE - 0x1000;
    Vcpu::new(cpu, 1 << 20)
}

/// Runs until `insns` instructions were executed or something else happened.
pub fn run(v: &mut Vcpu, insns: u64) -> CpuExit {
    v.run(&mut Bare::default(), insns)
}
