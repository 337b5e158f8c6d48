//! The x87. When it may be used is the program `sys/units.asm`, images and pending exceptions are `insn/x87_*.asm`; results are compared with the
//! host's processor by crate `diff`.

use bare::CODE;
use guest_api::Tier;
use isa_x86::CpuExit;
use isa_x86::cpu::cr0;

use crate::{On, TURNS};

pub(crate) fn reporting_by_an_external_interrupt_is_named_as_lacking<T: Tier>(on: &On<T>) {
    // inc ecx; fld1; hlt
    let mut m = on.machine(&[0xff, 0xc1, 0xd9, 0xe8, 0xf4]);
    m.v.cpu.cr0 &= !cr0::NE;
    for _ in 0..TURNS {
        (m.v.cpu.fpu.control, m.v.cpu.fpu.status) = (0x37f, 0);
        assert_eq!(m.run_from(CODE), CpuExit::Halted);
        (m.v.cpu.fpu.control, m.v.cpu.fpu.status) = (0x37b, 0x8084);
        let exit = m.run_from(CODE);
        assert!(matches!(&exit, CpuExit::Unimplemented(what) if what.contains("FERR#")), "{exit:?}");
    }
}
