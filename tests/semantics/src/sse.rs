//! SSE. When it may be used is the program `sys/units.asm`; results are compared with the host's processor by crate `diff`.

use core::array::from_fn;

use bare::{Bare, CODE, Registers, TABLES};
use guest_api::Tier;
use isa_x86::cpu::RCX;
use isa_x86::{CpuExit, Exception};

use crate::{DATA, LIMIT, On, TABLE, TURNS};

/// A device that counts how often it is read.
#[derive(Default)]
struct Count(u32);

impl Registers for Count {
    fn read(&mut self, _: u64, _: u32) -> u64 {
        self.0 += 1;
        0
    }
    fn write(&mut self, _: u64, _: u32, _: u64) {}
}

pub(crate) fn a_load_that_crosses_a_page_faults_as_one<T: Tier>(on: &On<T>) {
    // MOVUPS XMM0, [RAX]; HLT: what it raises, CR2, and how often the device was read.
    let mut m = on.machine(&[0x0f, 0x10, 0x00, 0xf4]);
    m.v.catch_exceptions = true;
    // The 2 MiB before this are RAM.
    let end = (2 << 30) + (2 << 20);
    assert!(m.v.cpu.mem.ram.write(TABLES + 0x1000 + 8 * 2, TABLE | 3) && m.v.cpu.mem.ram.write(TABLE, 0x83_u64));
    let mut load = |rax: u64| {
        (m.v.cpu.rip, m.v.cpu.halted, m.v.cpu.cr2, m.v.cpu.regs[0]) = (CODE, false, 0, rax);
        let mut p = Bare::with(Count::default());
        (m.run(&mut p, LIMIT), m.v.cpu.cr2, p.mmio.0)
    };
    let raises = |vector| CpuExit::Exception(Exception { vector, error: Some(0) });
    for _ in 0..TURNS {
        for into in 1..16 {
            assert_eq!(load(DATA + 0x1000 - into), (CpuExit::Halted, 0, 0), "{into} bytes in RAM");
            // Nothing is mapped there: #GP comes before #PF, as on an EPYC for each of these.
            assert_eq!(load((1 << 47) - into), (raises(13), 0, 0), "{into} bytes below what is not canonical");
            assert_eq!(load(end - into), (raises(14), end, 0), "{into} bytes of RAM below the page");
            // From a device to where nothing is mapped.
            assert_eq!(load((1 << 30) - into), (raises(14), 1 << 30, 0), "{into} bytes below the page");
        }
    }
}

/// PCMPISTRI of what PCMPISTRM says, for each immediate: where elements are compared one by one, they are implemented apart.
pub(crate) fn the_index_of_a_string_comparison_is_that_of_its_mask<T: Tier>(on: &On<T>) {
    let mut rng = random::Rng(1);
    let mut m = on.machine(&[]);
    for imm in 0..128 {
        // HLT behind either.
        let at = [CODE + 16 * u64::from(imm), CODE + 16 * u64::from(imm) + 8];
        m.load_at(at[0], &[0x66, 0x0f, 0x3a, 0x63, 0xc1, imm, 0xf4]);
        m.load_at(at[1], &[0x66, 0x0f, 0x3a, 0x62, 0xc1, imm & !0x40, 0xf4]);
        for _ in 0..200 {
            // few different elements: some are equal, and some 0
            let ends = rng.below(4) != 0;
            let mut string =
                || u128::from_le_bytes(from_fn(|_| [1, 1, 0x80, 0xff, 0][rng.below(4 + u64::from(ends)) as usize]));
            let (a, other) = (string(), string());
            let b = if rng.one_in(2) { a ^ 1 << rng.below(128) } else { other };
            (m.v.cpu.xmm[0], m.v.cpu.xmm[1]) = (a, b);
            let [(index, _, flags), (_, mask, expected)] = at.map(|at| {
                assert_eq!(m.run_from(at), CpuExit::Halted);
                (m.v.cpu.regs[RCX as usize], m.v.cpu.xmm[0] as u32, m.v.cpu.rflags())
            });
            let bit = if imm & 0x40 == 0 { mask.trailing_zeros() } else { 31u32.wrapping_sub(mask.leading_zeros()) };
            let none = if imm & 1 == 0 { 16 } else { 8 };
            assert_eq!(index, u64::from(if mask == 0 { none } else { bit }), "{imm:#x} {a:#x} {b:#x}");
            assert_eq!(flags, expected, "{imm:#x} {a:#x} {b:#x}");
        }
    }
}
