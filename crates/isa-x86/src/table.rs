//! The instruction table: which decoded mnemonics are which operation, and what the operation means.
//!
//! `Name [mnemonics] sem f;` - `f` is generic over the vocabulary: every tier runs it.
//! `Name [mnemonics] helper f;` - `f` is a plain function of the interpreter ([`Exec`]): rare or huge.
//! `, end` after either: nothing is decoded behind it in the same block. It may go elsewhere or change how code is decoded.
//!
//! Mnemonics are iced-x86's, which are the SDM's. Legality (LOCK, modes, operand forms) is the decoder's; privilege and CPUID
//! features that the guest can switch (CR4.OSFXSR ...) are the function's.

use guest_api::EmitVector;
use iced_x86::Mnemonic;

use crate::exec::Exec;
use crate::fault::Stop;
use crate::insn::Insn;
use crate::sem::*;
#[allow(unused_imports)]
use crate::{sys, x87};

macro_rules! rows {
    ($($op:ident [$($mn:ident)*] $kind:ident $f:path $(, $end:ident)?;)*) => {
        /// An operation: a row of the table.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u16)]
        pub enum Op {
            /// No operation decoded.
            None,
            $($op,)*
        }

        impl Op {
            /// Every row.
            pub const ALL: &[Op] = &[$(Op::$op,)*];
        }

        /// The operation of a mnemonic; `None` where the emulator has none.
        pub(crate) fn op_of(m: Mnemonic) -> Option<Op> {
            $($(if m == Mnemonic::$mn { return Some(Op::$op); })*)*
            None
        }

        /// Whether a block ends behind the operation.
        pub(crate) fn ends_block(op: Op) -> bool {
            match op {
                $(Op::$op => rows!(@end $($end)?),)*
                Op::None => true,
            }
        }

        /// Executes a decoded instruction. Each row is a function of its own, so that engines that compile functions lazily
        /// compile only what a guest uses.
        pub fn execute(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
            match i.op {
                Op::None => Err(cx.unimplemented("instruction")),
                $(Op::$op => {
                    #[inline(never)]
                    fn row(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
                        $f(cx, i)
                    }
                    row(cx, i)
                })*
            }
        }

        /// Writes down the meaning of `i` in `e`; `None` where the row is a plain function of the interpreter.
        pub fn translate<E: EmitVector>(e: &mut E, i: &Insn) -> Option<Result<(), E::Exit>> {
            match i.op {
                $(Op::$op => rows!(@translate $kind $f, e, i),)*
                _ => None,
            }
        }
    };
    (@end end) => { true };
    (@end) => { false };
    (@translate sem $f:path, $e:ident, $i:ident) => { Some($f($e, $i)) };
    (@translate helper $f:path, $e:ident, $i:ident) => { None };
}

fn pending(cx: &mut Exec<'_>, _: &Insn) -> Result<(), Stop> {
    Err(cx.unimplemented("instruction"))
}

#[rustfmt::skip]
rows! {
// Integer arithmetic and logic
    Add    [Add]                        sem alu::add;
    Adc    [Adc]                        sem alu::adc;
    Sub    [Sub]                        sem alu::sub;
    Sbb    [Sbb]                        sem alu::sbb;
    Cmp    [Cmp]                        sem alu::cmp;
    And    [And]                        sem alu::and;
    Or     [Or]                         sem alu::or;
    Xor    [Xor]                        sem alu::xor;
    Test   [Test]                       sem alu::test;
    Inc    [Inc]                        sem alu::inc;
    Dec    [Dec]                        sem alu::dec;
    Neg    [Neg]                        sem alu::neg;
    Not    [Not]                        sem alu::not;
// Moves
    Mov    [Mov]                        sem mov::mov;
    Lea    [Lea]                        sem mov::lea;
    Movzx  [Movzx]                      sem mov::movzx;
    Movsx  [Movsx Movsxd]               sem mov::movsx;
// Control transfer
    Jcc    [Jo Jno Jb Jae Je Jne Jbe Ja Js Jns Jp Jnp Jl Jge Jle Jg]  sem control::jcc, end;
    Jmp    [Jmp]                        sem control::jmp, end;
// Stack
// Shifts, rotates, bits
// Multiplication, division, BCD
// Strings
    Movs   [Movsb Movsw Movsq]          helper pending;
    Cmps   [Cmpsb Cmpsw Cmpsq]          helper pending;
// System
    MovToSeg    []      helper pending, end;
    MovFromSeg  []      helper pending;
    PushSeg     []      helper pending;
    PopSeg      []      helper pending, end;
    MovToCr     []      helper pending, end;
    MovFromCr   []      helper pending;
    MovToDr     []      helper pending, end;
    MovFromDr   []      helper pending;
    CallFar     []      helper pending, end;
    JmpFar      []      helper pending, end;
// x87
// MMX and SSE
}
