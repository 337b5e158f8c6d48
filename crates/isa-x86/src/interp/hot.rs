//! The hottest combinations of operation, width and operand form, each an arm of the interpreter's `match` with these facts
//! known to the compiler. They call the same semantic functions as everything else. A comparison and the conditional jump behind it
//! have arms together: what the interpreter costs is jumps to arms that the host's processor could not predict.

use core::slice;

use guest_api::{Space, Width};

use crate::cpu::CodeSize;
use crate::exec::Exec;
use crate::fault::Stop;
use crate::insn::{Insn, Kind};
use crate::sem::*;
use crate::table::{Op, execute};

/// `i` with what the arm knows written down as constants: the compiler drops the tests for the rest.
#[inline(always)]
fn known(i: &Insn, width: Width, a: Kind, b: Kind) -> Insn {
    Insn {
        width,
        kinds: [a, b, Kind::None],
        addr_width: Width::W64,
        stack_width: Width::W64,
        bits: CodeSize::Bits64,
        space: Space(i.space.0 & 1),
        ..*i
    }
}

/// The arm for `i`, 0 where it has none.
pub(crate) fn hot_arm(i: &Insn) -> u8 {
    if i.bits != CodeSize::Bits64 || i.addr_width != Width::W64 || i.kinds[2] != Kind::None {
        return 0;
    }
    arm(i.op, i.width, i.kinds[0], i.kinds[1])
}

macro_rules! hot {
    ($($name:ident: $op:ident $width:ident $a:ident $b:ident => $f:path $(, $with_jcc:ident)?;)*) => {
        #[repr(u8)]
        enum Arm { Other, $($name, $($with_jcc,)?)* }

        /// The arm for an operation of 64-bit mode with 64-bit addresses, its width and its operands, no more than two; 0: none.
        pub(crate) const fn arm(op: Op, width: Width, a: Kind, b: Kind) -> u8 {
            match (op, width, a, b) {
                $((Op::$op, Width::$width, Kind::$a, Kind::$b) => Arm::$name as u8,)*
                _ => Arm::Other as u8,
            }
        }

        /// Makes one of the two instructions at the end of a block, where there is an arm for both.
        #[allow(non_upper_case_globals)]
        pub(super) fn fuse(insns: &mut [Insn]) {
            $(const $name: u8 = Arm::$name as u8;)*
            if let [.., first, Insn { hot: JccI64, .. }] = insns {
                first.hot = match first.hot {
                    $($($name => Arm::$with_jcc as u8,)?)*
                    other => other,
                }
            }
        }

        /// Executes `i`, and the next of `rest` too where there is an arm for both.
        #[allow(non_upper_case_globals)]
        #[inline(always)]
        pub(super) fn dispatch(cx: &mut Exec<'_>, i: &Insn, rest: &mut slice::Iter<'_, Insn>) -> Result<(), Stop> {
            $(const $name: u8 = Arm::$name as u8; $(const $with_jcc: u8 = Arm::$with_jcc as u8;)?)*
            match i.hot {
                $($name => $f(cx, &known(i, Width::$width, Kind::$a, Kind::$b)),
                $($with_jcc => {
                    $f(cx, &known(i, Width::$width, Kind::$a, Kind::$b))?;
                    if !cx.cpu.attention && let Some(i) = rest.next() {
                        control::jcc(cx, &known(i, Width::W64, Kind::Imm, Kind::None))?;
                    }
                    Ok(())
                })?)*
                _ => execute(cx, i),
            }
        }
    };
}

#[rustfmt::skip]
hot! {
    MovRR64:   Mov   W64 Gpr  Gpr  => mov::mov;
    MovRM64:   Mov   W64 Gpr  Mem  => mov::mov;
    MovMR64:   Mov   W64 Mem  Gpr  => mov::mov;
    MovRI64:   Mov   W64 Gpr  Imm  => mov::mov;
    MovMI64:   Mov   W64 Mem  Imm  => mov::mov;
    MovRR32:   Mov   W32 Gpr  Gpr  => mov::mov;
    MovRM32:   Mov   W32 Gpr  Mem  => mov::mov;
    MovMR32:   Mov   W32 Mem  Gpr  => mov::mov;
    MovRI32:   Mov   W32 Gpr  Imm  => mov::mov;
    MovMI32:   Mov   W32 Mem  Imm  => mov::mov;
    MovMR8:    Mov   W8  Mem  Gpr  => mov::mov;
    MovMI8:    Mov   W8  Mem  Imm  => mov::mov;
    MovzxRR32: Movzx W32 Gpr  Gpr  => mov::movzx;
    MovzxRM32: Movzx W32 Gpr  Mem  => mov::movzx;
    MovsxRR64: Movsx W64 Gpr  Gpr  => mov::movsx;
    MovsxRM64: Movsx W64 Gpr  Mem  => mov::movsx;
    LeaRM64:   Lea   W64 Gpr  Mem  => mov::lea;
    LeaRM32:   Lea   W32 Gpr  Mem  => mov::lea;
    AddRR64:   Add   W64 Gpr  Gpr  => alu::add;
    AddRI64:   Add   W64 Gpr  Imm  => alu::add;
    AddRR32:   Add   W32 Gpr  Gpr  => alu::add;
    AddRI32:   Add   W32 Gpr  Imm  => alu::add;
    AddRM64:   Add   W64 Gpr  Mem  => alu::add;
    SubRR64:   Sub   W64 Gpr  Gpr  => alu::sub;
    SubRI64:   Sub   W64 Gpr  Imm  => alu::sub;
    SubRR32:   Sub   W32 Gpr  Gpr  => alu::sub;
    SubRI32:   Sub   W32 Gpr  Imm  => alu::sub;
    SubRM64:   Sub   W64 Gpr  Mem  => alu::sub;
    AndRR64:   And   W64 Gpr  Gpr  => alu::and;
    AndRI64:   And   W64 Gpr  Imm  => alu::and;
    AndRR32:   And   W32 Gpr  Gpr  => alu::and;
    AndRI32:   And   W32 Gpr  Imm  => alu::and;
    OrRR64:    Or    W64 Gpr  Gpr  => alu::or;
    OrRI64:    Or    W64 Gpr  Imm  => alu::or;
    OrRR32:    Or    W32 Gpr  Gpr  => alu::or;
    OrRI32:    Or    W32 Gpr  Imm  => alu::or;
    XorRR64:   Xor   W64 Gpr  Gpr  => alu::xor;
    XorRI64:   Xor   W64 Gpr  Imm  => alu::xor;
    XorRR32:   Xor   W32 Gpr  Gpr  => alu::xor;
    XorRI32:   Xor   W32 Gpr  Imm  => alu::xor;
    CmpRR64:   Cmp   W64 Gpr  Gpr  => alu::cmp, CmpRR64Jcc;
    CmpRI64:   Cmp   W64 Gpr  Imm  => alu::cmp, CmpRI64Jcc;
    CmpRM64:   Cmp   W64 Gpr  Mem  => alu::cmp, CmpRM64Jcc;
    CmpMI64:   Cmp   W64 Mem  Imm  => alu::cmp, CmpMI64Jcc;
    CmpMR64:   Cmp   W64 Mem  Gpr  => alu::cmp, CmpMR64Jcc;
    CmpRR32:   Cmp   W32 Gpr  Gpr  => alu::cmp, CmpRR32Jcc;
    CmpRI32:   Cmp   W32 Gpr  Imm  => alu::cmp, CmpRI32Jcc;
    CmpRM32:   Cmp   W32 Gpr  Mem  => alu::cmp, CmpRM32Jcc;
    CmpMI32:   Cmp   W32 Mem  Imm  => alu::cmp, CmpMI32Jcc;
    CmpMR32:   Cmp   W32 Mem  Gpr  => alu::cmp, CmpMR32Jcc;
    CmpRI8:    Cmp   W8  Gpr  Imm  => alu::cmp, CmpRI8Jcc;
    CmpMI8:    Cmp   W8  Mem  Imm  => alu::cmp, CmpMI8Jcc;
    CmpRR8:    Cmp   W8  Gpr  Gpr  => alu::cmp, CmpRR8Jcc;
    TestRR64:  Test  W64 Gpr  Gpr  => alu::test, TestRR64Jcc;
    TestRR32:  Test  W32 Gpr  Gpr  => alu::test, TestRR32Jcc;
    TestRR8:   Test  W8  Gpr  Gpr  => alu::test, TestRR8Jcc;
    TestRI8:   Test  W8  Gpr  Imm  => alu::test, TestRI8Jcc;
    TestMI8:   Test  W8  Mem  Imm  => alu::test, TestMI8Jcc;
    ShlRI64:   Shl   W64 Gpr  Imm  => shift::shl;
    ShlRI32:   Shl   W32 Gpr  Imm  => shift::shl;
    ShrRI64:   Shr   W64 Gpr  Imm  => shift::shr;
    ShrRI32:   Shr   W32 Gpr  Imm  => shift::shr;
    SarRI64:   Sar   W64 Gpr  Imm  => shift::sar;
    PushR64:   Push  W64 Gpr  None => stack::push;
    PopR64:    Pop   W64 Gpr  None => stack::pop;
    CallI64:   Call  W64 Imm  None => control::call;
    Ret64:     Ret   W64 None None => control::ret;
    JccI64:    Jcc   W64 Imm  None => control::jcc;
    JmpI64:    Jmp   W64 Imm  None => control::jmp;
    MovupsXM:  Movups W64 Xmm Mem  => sse_mov::unaligned;
    MovupsMX:  Movups W64 Mem Xmm  => sse_mov::unaligned;
    MovapsXM:  Movaps W64 Xmm Mem  => sse_mov::aligned;
    MovapsMX:  Movaps W64 Mem Xmm  => sse_mov::aligned;
    MovapsXX:  Movaps W64 Xmm Xmm  => sse_mov::aligned;
    MovsdXM:   Movsd  W64 Xmm Mem  => sse_mov::movsd;
    MovsdMX:   Movsd  W64 Mem Xmm  => sse_mov::movsd;
    PxorXX:    Pxor   W64 Xmm Xmm  => sse_int::pxor;
    PcmpeqbXX: Pcmpeqb W64 Xmm Xmm => sse_int::pcmpeqb;
    Pmovmskb:  Pmovmskb W32 Gpr Xmm => sse_mov::pmovmskb;
    ImulRR64:  Imul  W64 Gpr  Gpr  => muldiv::imul;
    AdcRR64:   Adc   W64 Gpr  Gpr  => alu::adc;
    AdcRI64:   Adc   W64 Gpr  Imm  => alu::adc;
    NegR32:    Neg   W32 Gpr  None => alu::neg;
    NotR64:    Not   W64 Gpr  None => alu::not;
    CmpRM8:    Cmp   W8  Gpr  Mem  => alu::cmp, CmpRM8Jcc;
    SetR8:     Set   W8  Gpr  None => mov::setcc;
    CmovRR64:  Cmov  W64 Gpr  Gpr  => mov::cmov;
    CmovRR32:  Cmov  W32 Gpr  Gpr  => mov::cmov;
    NopMR32:   Nop   W32 Mem  Gpr  => flag::nop;
    NopM32:    Nop   W32 Mem  None => flag::nop;
    Nop:       Nop   W64 None None => flag::nop;
}
