//! The hottest combinations of operation, width and operand form, each an arm of the interpreter's `match` with these facts
//! known to the compiler. They call the same semantic functions as everything else.

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
        kinds: [a, b, Kind::None, Kind::None],
        addr_width: Width::W64,
        stack_width: Width::W64,
        bits: CodeSize::Bits64,
        space: Space(i.space.0 & 1),
        ..*i
    }
}

macro_rules! hot {
    ($($name:ident: $op:ident $width:ident $a:ident $b:ident => $f:path;)*) => {
        #[repr(u8)]
        enum Arm { Other, $($name,)* }

        /// The arm for `i`, 0 where it has none. All arms are for 64-bit mode with 64-bit addresses.
        pub(crate) fn hot_arm(i: &Insn) -> u8 {
            if i.bits != CodeSize::Bits64 || i.addr_width != Width::W64 {
                return 0;
            }
            match (i.op, i.width, i.kinds[0], i.kinds[1]) {
                $((Op::$op, Width::$width, Kind::$a, Kind::$b) => Arm::$name as u8,)*
                _ => Arm::Other as u8,
            }
        }

        /// Executes `i`.
        #[allow(non_upper_case_globals)]
        #[inline(always)]
        pub(super) fn dispatch(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
            $(const $name: u8 = Arm::$name as u8;)*
            match i.hot {
                $($name => $f(cx, &known(i, Width::$width, Kind::$a, Kind::$b)),)*
                _ => execute(cx, i),
            }
        }
    };
}

#[rustfmt::skip]
hot! {
    MovRR64:  Mov W64 Gpr Gpr => mov::mov;
    MovRR32:  Mov W32 Gpr Gpr => mov::mov;
    MovRM64:  Mov W64 Gpr Mem => mov::mov;
    MovRM32:  Mov W32 Gpr Mem => mov::mov;
    MovMR64:  Mov W64 Mem Gpr => mov::mov;
    MovMR32:  Mov W32 Mem Gpr => mov::mov;
    MovRI32:  Mov W32 Gpr Imm => mov::mov;
    MovRI64:  Mov W64 Gpr Imm => mov::mov;
    LeaR64:   Lea W64 Gpr Mem => mov::lea;
    AddRR64:  Add W64 Gpr Gpr => alu::add;
    AddRI64:  Add W64 Gpr Imm => alu::add;
    AddRI32:  Add W32 Gpr Imm => alu::add;
    SubRR64:  Sub W64 Gpr Gpr => alu::sub;
    SubRI64:  Sub W64 Gpr Imm => alu::sub;
    XorRR32:  Xor W32 Gpr Gpr => alu::xor;
    AndRI32:  And W32 Gpr Imm => alu::and;
    CmpRR64:  Cmp W64 Gpr Gpr => alu::cmp;
    CmpRI64:  Cmp W64 Gpr Imm => alu::cmp;
    CmpRI32:  Cmp W32 Gpr Imm => alu::cmp;
    TestRR64: Test W64 Gpr Gpr => alu::test;
    TestRR32: Test W32 Gpr Gpr => alu::test;
    Jcc64:    Jcc W64 Imm None => control::jcc;
    Jmp64:    Jmp W64 Imm None => control::jmp;
}
