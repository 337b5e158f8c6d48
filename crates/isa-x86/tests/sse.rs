//! MMX and SSE: when they may be used (SDM 3 2.5, 13.1; SDM 2 2.4), and what they report. Results are compared with the host's
//! processor by crate `diff`.

use core::array::from_fn;

use bare::{Bare, CODE, Registers, long_mode};
use isa_x86::cpu::{RCX, SegReg, cr0, cr4};
use isa_x86::{CpuExit, Exception, Vcpu};

const XORPS: [u8; 3] = [0x0f, 0x57, 0xc0];
const PXOR_MM: [u8; 3] = [0x0f, 0xef, 0xc0];
const MOVDQ2Q: [u8; 4] = [0xf2, 0x0f, 0xd6, 0xc0];
const MOVNTI: [u8; 4] = [0x0f, 0xc3, 0x04, 0x24];
const DIVPS: [u8; 3] = [0x0f, 0x5e, 0xc1];
const EMMS: [u8; 2] = [0x0f, 0x77];
const LDMXCSR: [u8; 4] = [0x0f, 0xae, 0x14, 0x24];

/// Runs one instruction after `set`; the vector raised.
fn raised(code: &[u8], set: impl FnOnce(&mut Vcpu)) -> (Option<u8>, Vcpu) {
    let mut v = long_mode(&[code, &[0xeb, 0xfe]].concat());
    v.catch_exceptions = true;
    set(&mut v);
    let vector = match v.run(&mut Bare::default(), 1) {
        CpuExit::Budget => None,
        CpuExit::Exception(Exception { vector, .. }) => Some(vector),
        other => panic!("{other:?}"),
    };
    (vector, v)
}

fn pending_x87(v: &mut Vcpu) {
    v.cpu.fpu.control = 0x37e;
    v.cpu.fpu.status = 0x8081;
}

#[test]
fn units_that_are_off_fault_in_the_manuals_order() {
    let off = |code: &[u8], cr0_set: u64, fxsr: bool, pending: bool| {
        raised(code, |v| {
            v.cpu.cr0 |= cr0_set;
            if !fxsr {
                v.cpu.cr4 &= !cr4::OSFXSR;
            }
            if pending {
                pending_x87(v);
            }
        })
        .0
    };
    for (code, needs_fxsr, is_x87) in [
        (&XORPS[..], true, false),
        (&PXOR_MM[..], false, true),
        (&EMMS[..], false, true),
        (&MOVDQ2Q[..], true, true),
        (&LDMXCSR[..], true, false),
    ] {
        assert_eq!(off(code, 0, true, false), None, "{code:02x?}");
        assert_eq!(off(code, cr0::EM | cr0::TS, true, true), Some(6), "{code:02x?}: #UD first");
        assert_eq!(off(code, cr0::TS, true, true), Some(7), "{code:02x?}: #NM next");
        assert_eq!(off(code, 0, true, true), is_x87.then_some(16), "{code:02x?}: #MF last");
        assert_eq!(off(code, 0, false, false), needs_fxsr.then_some(6), "{code:02x?}: OSFXSR");
    }
    assert_eq!(off(&MOVNTI, cr0::EM | cr0::TS, false, true), None, "a general register's store");
}

#[test]
fn an_unmasked_exception_leaves_the_destination_and_sets_the_flags() {
    let divide = |xmm: bool| {
        raised(&DIVPS, |v| {
            v.cpu.mxcsr = 0x1f80 & !(1 << 9); // division by zero unmasked
            if !xmm {
                v.cpu.cr4 &= !cr4::OSXMMEXCPT;
            }
            v.cpu.xmm[0] = 0x3f80_0000_3f80_0000_3f80_0000_3f80_0000;
            v.cpu.xmm[1] = 0x3f80_0000_0000_0000_3f80_0000_4040_0000;
        })
    };
    let (vector, v) = divide(true);
    assert_eq!(vector, Some(19));
    assert_eq!(v.cpu.xmm[0], 0x3f80_0000_3f80_0000_3f80_0000_3f80_0000);
    // ZE of the third element; not PE of the first, which comes after the computation that did not happen.
    assert_eq!(v.cpu.mxcsr & 0x3f, 4);
    assert_eq!(divide(false).0, Some(6), "#UD where the system does not want #XM");
}

#[test]
fn mxcsr_takes_no_reserved_bit() {
    let load = |value: u32| {
        raised(&LDMXCSR, |v| {
            let at = v.cpu.regs[4];
            assert!(v.cpu.mem.ram.write(at, value));
        })
    };
    let (vector, v) = load(0xffff);
    assert_eq!((vector, v.cpu.mxcsr), (None, 0xffff));
    let (vector, v) = load(0x1_1f80);
    assert_eq!((vector, v.cpu.mxcsr), (Some(13), 0x1f80));
}

#[test]
fn mmx_registers_are_the_x87s_by_physical_number() {
    // movd mm3, eax
    let (vector, v) = raised(&[0x0f, 0x6e, 0xd8], |v| {
        v.cpu.regs[0] = 0xffff_ffff_8765_4321;
        v.cpu.fpu.status = 5 << 11;
    });
    assert_eq!(vector, None);
    assert_eq!((v.cpu.fpu.significand[3], v.cpu.fpu.sign_exp[3]), (0x8765_4321, 0xffff));
    assert_eq!((v.cpu.fpu.status >> 11 & 7, v.cpu.fpu.valid), (0, 0xff));
}

#[test]
fn alignment_is_that_of_the_linear_address() {
    // In a 32-bit segment with base 8: movaps xmm0, [eax]; movups xmm0, [eax]
    let load = |code: &[u8], offset: u64| {
        raised(code, |v| {
            v.cpu.seg[SegReg::Cs as usize].attr = 0xc09b;
            v.cpu.set_seg_base(SegReg::Ds, 8);
            v.cpu.regs[0] = offset;
            v.cpu.update_context();
        })
        .0
    };
    assert_eq!(load(&[0x0f, 0x28, 0x00], 0x30_0008), None);
    assert_eq!(load(&[0x0f, 0x28, 0x00], 0x30_0010), Some(13));
    assert_eq!(load(&[0x0f, 0x10, 0x00], 0x30_0010), None);
}

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

#[test]
fn a_load_that_crosses_a_page_faults_as_one() {
    // MOVUPS XMM0, [RAX]: what it raises, CR2, and how often the device was read.
    let load = |rax: u64| {
        let mut v = long_mode(&[0x0f, 0x10, 0x00, 0xeb, 0xfe]);
        v.catch_exceptions = true;
        v.cpu.regs[0] = rax;
        let mut p = Bare::with(Count::default());
        (v.run(&mut p, 1), v.cpu.cr2, p.mmio.0)
    };
    let raises = |vector| CpuExit::Exception(Exception { vector, error: Some(0) });
    for into in 1..16 {
        // Nothing is mapped there: #GP comes before #PF, as on an EPYC for each of these.
        assert_eq!(load((1 << 47) - into), (raises(13), 0, 0), "{into} bytes below what is not canonical");
        // From a device to where nothing is mapped.
        assert_eq!(load((1 << 30) - into), (raises(14), 1 << 30, 0), "{into} bytes below the page");
    }
}

/// PCMPISTRI of what PCMPISTRM says, for each immediate: where elements are compared one by one, they are implemented apart.
#[test]
fn the_index_of_a_string_comparison_is_that_of_its_mask() {
    let mut rng = random::Rng(1);
    for imm in 0..128 {
        let index = [0x66, 0x0f, 0x3a, 0x63, 0xc1, imm, 0xeb, 0];
        let mask = [0x66, 0x0f, 0x3a, 0x62, 0xc1, imm & !0x40, 0xeb, 0xfe];
        let mut v = long_mode(&[index, mask].concat());
        for _ in 0..200 {
            // few different elements: some are equal, and some 0
            let ends = rng.below(4) != 0;
            let mut string =
                || u128::from_le_bytes(from_fn(|_| [1, 1, 0x80, 0xff, 0][rng.below(4 + u64::from(ends)) as usize]));
            let (a, other) = (string(), string());
            let b = if rng.one_in(2) { a ^ 1 << rng.below(128) } else { other };
            (v.cpu.rip, v.cpu.xmm[0], v.cpu.xmm[1]) = (CODE, a, b);
            let mut step = || {
                assert_eq!(v.run(&mut Bare::default(), 1), CpuExit::Budget);
                (v.cpu.regs[RCX as usize], v.cpu.xmm[0] as u32, v.cpu.rflags())
            };
            let (index, _, flags) = step();
            let (_, mask, expected) = step();
            let bit = if imm & 0x40 == 0 { mask.trailing_zeros() } else { 31u32.wrapping_sub(mask.leading_zeros()) };
            let none = if imm & 1 == 0 { 16 } else { 8 };
            assert_eq!(index, u64::from(if mask == 0 { none } else { bit }), "{imm:#x} {a:#x} {b:#x}");
            assert_eq!(flags, expected, "{imm:#x} {a:#x} {b:#x}");
        }
    }
}
