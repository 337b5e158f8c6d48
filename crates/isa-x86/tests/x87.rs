//! When the x87 may be used, and how it reports (SDM 3 2.5, table 2-2). Results are compared with the host's processor by crate `diff`,
//! images and pending exceptions are programs in `insn/x87_*.asm`.

use bare::{Bare, long_mode};
use isa_x86::cpu::{SegReg, cr0};
use isa_x86::{CpuExit, Exception, Vcpu};

const FLD1: [u8; 2] = [0xd9, 0xe8];
const FNSTSW_AX: [u8; 2] = [0xdf, 0xe0];
const FNINIT: [u8; 2] = [0xdb, 0xe3];
const FNCLEX: [u8; 2] = [0xdb, 0xe2];
const FLDCW: [u8; 3] = [0xd9, 0x2c, 0x24];
const FNSTCW: [u8; 3] = [0xd9, 0x3c, 0x24];
const FWAIT: [u8; 1] = [0x9b];

fn run(code: &[u8], set: impl FnOnce(&mut Vcpu)) -> CpuExit {
    let mut v = long_mode(&[code, &[0xeb, 0xfe]].concat());
    v.catch_exceptions = true;
    set(&mut v);
    v.run(&mut Bare::default(), 1)
}

fn raised(code: &[u8], cr0_set: u64, pending: bool) -> Option<u8> {
    let exit = run(code, |v| {
        v.cpu.cr0 = v.cpu.cr0 & !(cr0::MP | cr0::EM | cr0::TS) | cr0_set;
        if pending {
            v.cpu.fpu.control = 0x37b;
            v.cpu.fpu.status = 0x8084;
        }
    });
    match exit {
        CpuExit::Budget => None,
        CpuExit::Exception(Exception { vector, .. }) => Some(vector),
        other => panic!("{other:?}"),
    }
}

#[test]
fn ts_and_em_make_the_device_unavailable() {
    for code in [&FLD1[..], &FNSTSW_AX, &FNINIT, &FNCLEX, &FLDCW, &FNSTCW] {
        assert_eq!(raised(code, 0, false), None, "{code:02x?}");
        assert_eq!(raised(code, cr0::TS, true), Some(7), "{code:02x?}: #NM comes before #MF");
        assert_eq!(raised(code, cr0::EM, false), Some(7), "{code:02x?}");
    }
    assert_eq!(raised(&FWAIT, cr0::TS, false), None);
    assert_eq!(raised(&FWAIT, cr0::MP | cr0::TS, true), Some(7));
    assert_eq!(raised(&FWAIT, cr0::EM, true), Some(16));
}

#[test]
fn only_waiting_instructions_raise_a_pending_exception() {
    for code in [&FLD1[..], &FLDCW, &FWAIT] {
        assert_eq!(raised(code, 0, true), Some(16), "{code:02x?}");
    }
    for code in [&FNSTSW_AX[..], &FNINIT, &FNCLEX, &FNSTCW] {
        assert_eq!(raised(code, 0, true), None, "{code:02x?}");
    }
}

#[test]
fn reporting_by_an_external_interrupt_is_named_as_lacking() {
    let exit = run(&FLD1, |v| {
        v.cpu.cr0 &= !cr0::NE;
        v.cpu.fpu.control = 0x37b;
        v.cpu.fpu.status = 0x8084;
    });
    assert!(matches!(&exit, CpuExit::Unimplemented(what) if what.contains("FERR#")), "{exit:?}");
}

/// As a processor has it that does not announce CPUID.7:EBX[13]: of overrides in 64-bit mode only those of FS and GS count.
#[test]
fn fds_is_the_selector_of_the_segment_that_the_operand_is_in() {
    const DS: u16 = 0x18;
    const SS: u16 = 0x20;
    const GS: u16 = 0x30;
    for (code, want) in [
        (&[0xd9, 0x00][..], DS),         // fld dword [rax]
        (&[0xd9, 0x04, 0x24], SS),       // [rsp]
        (&[0xd9, 0x45, 0xfc], SS),       // [rbp - 4]
        (&[0x41, 0xd9, 0x04, 0x24], DS), // [r12]
        (&[0x36, 0xd9, 0x00], DS),       // ss: [rax]
        (&[0x3e, 0xd9, 0x04, 0x24], SS), // ds: [rsp]
        (&[0x65, 0xd9, 0x00], GS),       // gs: [rax]
        (&[0x65, 0xd9, 0x04, 0x24], GS), // gs: [rsp]
        (&[0xd9, 0x05, 0, 0, 0, 0], DS), // [rip]
    ] {
        let mut v = long_mode(code);
        v.cpu.regs[0] = 0x5000;
        v.cpu.regs[5] = 0x5000;
        v.cpu.regs[12] = 0x5000;
        for (s, selector) in [(SegReg::Ds, DS), (SegReg::Ss, SS), (SegReg::Gs, GS)] {
            v.cpu.seg[s as usize].selector = selector;
        }
        // fnstenv [0x6000]
        let behind = bare::CODE + code.len() as u64;
        assert!(v.cpu.mem.ram.write_bytes(behind, &[0xd9, 0x34, 0x25, 0, 0x60, 0, 0]));
        assert_eq!(v.run(&mut Bare::default(), 2), CpuExit::Budget);
        assert_eq!(v.cpu.mem.ram.read::<u16>(0x6018), Some(want), "{code:02x?}");
    }
}
