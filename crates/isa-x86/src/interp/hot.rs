//! The hottest combinations of operation, width and operand form, each an arm of the interpreter's `match` with these facts
//! known to the compiler. They call the same semantic functions as everything else, and refuse what is seldom: an access that misses
//! the TLB, or a fault. The table executes it then: there are no calls here, and what all arms need stays in registers. Jumps by ZF,
//! the most frequent, have arms of their own: where one goes is known early. Frequent pairs of instructions have arms together: what
//! interpretation costs is memory that is not in the cache and jumps to arms that the host's processor did not predict.

use guest_api::{Cond, Width};

use crate::cpu::{BLOCK, CodeSize, Cpu, ZERO};
use crate::exec::Exec;
use crate::fault::Stop;
use crate::insn::{Insn, Kind, OPERANDS};
use crate::platform::Platform;
use crate::sem::*;
use crate::table::{Op, ends_block, execute};

/// The arm of instructions that have none of their own.
pub(crate) const NO_ARM: u8 = Arm::Other as u8;

/// The arm for `i`.
pub(crate) fn hot_arm(i: &Insn) -> u8 {
    if i.bits() != CodeSize::Bits64 || i.addr_width() != Width::W64 {
        return NO_ARM;
    }
    arm(i.op, i.width(), i.kinds)
}

/// How the execution of a block ends.
pub(super) enum End {
    /// By a jump that has an arm. Nothing was raised.
    Jump,
    /// By another instruction: [`Cpu::attention`] may be raised, or the fetch keys have changed.
    Other,
    /// Behind an instruction, so many of the code cache left: something was raised. Whether it has come to an end.
    Stopped(usize, Result<(), Stop>),
}

/// Attempts `$i` by the arm `$name`. What jumps is a block's last.
macro_rules! arm {
    ($cpu:ident, $platform:ident, $name:ident, $i:ident, $refused:lifetime) => {
        if arms::$name(&mut Exec::attempt($cpu, $platform), $i).is_err() {
            break $refused $i;
        }
        if arms::ends::$name {
            return End::Jump;
        }
    };
}

/// The operands of an arm: two, or three.
macro_rules! kinds {
    ($a:ident $b:ident) => {
        kinds!($a $b None)
    };
    ($a:ident $b:ident $c:ident) => {
        [Kind::$a, Kind::$b, Kind::$c]
    };
}

/// What is known of the instructions that have an arm for it, beside operation, width and kinds of operands.
#[derive(Clone, Copy)]
enum Fact {
    /// The condition is ZF, or its contrary.
    Zero,
    /// The address is a base register and a displacement.
    Plain,
    /// The source has 8 bits; 16; 32.
    From8,
    From16,
    From32,
    /// The same, and [`Fact::Plain`].
    PlainFrom8,
    PlainFrom16,
}

impl Fact {
    /// Whether the address is plain, where that is said; and the width of the source.
    const fn parts(self) -> (bool, Option<Width>) {
        match self {
            Fact::Zero => (false, None),
            Fact::Plain => (true, None),
            Fact::From8 => (false, Some(Width::W8)),
            Fact::From16 => (false, Some(Width::W16)),
            Fact::From32 => (false, Some(Width::W32)),
            Fact::PlainFrom8 => (true, Some(Width::W8)),
            Fact::PlainFrom16 => (true, Some(Width::W16)),
        }
    }
    /// Whether it is one of `i`.
    fn holds(self, i: &Insn) -> bool {
        let (plain, from) = self.parts();
        !(matches!(self, Fact::Zero) && !matches!(i.cc, Cond::E | Cond::Ne)
            || plain && (i.index != ZERO || i.seg_base != ZERO)
            || from.is_some_and(|w| w != i.src_width()))
    }
    /// `i`, of which it is one, with the fact written down for the compiler.
    #[inline(always)]
    fn told(self, mut i: Insn) -> Insn {
        let (plain, from) = self.parts();
        if matches!(self, Fact::Zero) {
            i.cc = if i.cc as u8 == Cond::E as u8 { Cond::E } else { Cond::Ne };
        }
        if plain {
            (i.index, i.seg_base) = (ZERO, ZERO);
        }
        if let Some(w) = from {
            i.set_width(i.width(), w);
        }
        i
    }
}

macro_rules! hot {
    (
        { $($name:ident: $op:ident $width:ident $a:ident $b:ident $($c:ident)? => $f:path;)* }
        special { $($special:ident: $of:ident $fact:ident;)* }
        pairs { $($pair:ident: $first:ident $second:ident;)* }
    ) => {
        #[repr(u8)]
        enum Arm { $($name,)* $($special,)* $($pair,)* Next, Last, Other }

        #[allow(non_snake_case)]
        mod arms {
            use super::*;

            $(#[inline(always)]
            pub fn $name(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
                $f(cx, &i.known(Width::$width, kinds!($a $b $($c)?)))
            })*

            $(#[inline(always)]
            pub fn $special(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
                $of(cx, &Fact::$fact.told(*i))
            })*

            #[allow(non_upper_case_globals)]
            pub mod ends {
                use super::*;

                $(pub const $name: bool = ends_block(Op::$op);)*
                $(pub const $special: bool = $of;)*
            }
        }

        /// The arm for an operation of 64-bit mode with 64-bit addresses, its width and its operands.
        pub(crate) const fn arm(op: Op, width: Width, kinds: [Kind; OPERANDS]) -> u8 {
            match (op, width, kinds) {
                $((Op::$op, Width::$width, kinds!($a $b $($c)?)) => Arm::$name as u8,)*
                _ => Arm::Other as u8,
            }
        }

        /// The pairs: the arms of the first and of the second instruction, and that of both.
        const PAIRS: &[[u8; 3]] = &[$([Arm::$first as u8, Arm::$second as u8, Arm::$pair as u8],)*];

        /// The arm for `i`, which has the arm `i.hot`: that of the first fact that is one of it.
        fn special(i: &Insn) -> u8 {
            match i.hot {
                $(arm if arm == Arm::$of as u8 && Fact::$fact.holds(i) => Arm::$special as u8,)*
                arm => arm,
            }
        }

        /// Executes a block: what `insns` begins with. `keys`: the fetch keys.
        #[allow(non_upper_case_globals)]
        #[inline(always)]
        pub(super) fn run(cpu: &mut Cpu, platform: &mut dyn Platform, insns: &[Insn], keys: [u32; 2]) -> End {
            $(const $name: u8 = Arm::$name as u8;)*
            $(const $special: u8 = Arm::$special as u8;)*
            $(const $pair: u8 = Arm::$pair as u8;)*
            const NEXT: u8 = Arm::Next as u8;
            const LAST: u8 = Arm::Last as u8;
            let mut rest = insns.iter();
            'block: while let Some(i) = rest.next() {
                let i = 'refused: {
                    match i.hot {
                        $($name => { arm!(cpu, platform, $name, i, 'refused); })*
                        $($special => { arm!(cpu, platform, $special, i, 'refused); })*
                        $($pair => {
                            arm!(cpu, platform, $first, i, 'refused);
                            let Some(second) = rest.next() else { break 'block };
                            arm!(cpu, platform, $second, second, 'refused);
                        })*
                        NEXT => {
                            cpu.rip = i.pc(cpu.regs[BLOCK as usize]);
                            return End::Other;
                        }
                        LAST => {
                            cpu.rip = i.next_pc(cpu.regs[BLOCK as usize]);
                            let done = execute(&mut Exec::new(cpu, platform), i);
                            return if done.is_ok() { End::Other } else { End::Stopped(rest.len(), done) };
                        }
                        _ => break 'refused i,
                    }
                    continue 'block;
                };
                // What has no arm, or whose arm has refused it.
                let done = execute(&mut Exec::new(cpu, platform), i);
                if done.is_ok() && i.ends_block() {
                    return End::Other;
                }
                if done.is_err() || cpu.attention || cpu.fetch_keys != keys {
                    return End::Stopped(rest.len(), done);
                }
            }
            End::Stopped(0, Ok(()))
        }
    };
}

/// Different arms that are first, and that are second in a pair; at most.
const FIRSTS: usize = 64;
const SECONDS: usize = 16;

/// [`PAIRS`] for looking up: the number of an arm among those that are first and among those that are second in a pair, and by both the
/// pair's arm. Number 0 is none of them.
struct Pairs {
    first: [u8; 256],
    second: [u8; 256],
    arms: [[u8; SECONDS]; FIRSTS],
}

static PAIR: Pairs = {
    let mut p = Pairs { first: [0; 256], second: [0; 256], arms: [[NO_ARM; SECONDS]; FIRSTS] };
    let (mut firsts, mut seconds) = (0, 0);
    let mut k = 0;
    while k < PAIRS.len() {
        let [a, b, both] = PAIRS[k];
        let (first, second) = (&mut p.first[a as usize], &mut p.second[b as usize]);
        if *first == 0 {
            firsts += 1;
            *first = firsts;
        }
        if *second == 0 {
            seconds += 1;
            *second = seconds;
        }
        p.arms[*first as usize][*second as usize] = both;
        k += 1;
    }
    p
};

/// The arm of two instructions, if there is one for both.
#[inline(always)]
fn pair(first: u8, second: u8) -> Option<u8> {
    let (a, b) = (PAIR.first[usize::from(first)], PAIR.second[usize::from(second)]);
    let both = PAIR.arms[usize::from(a) % FIRSTS][usize::from(b) % SECONDS];
    (both != NO_ARM).then_some(both)
}

/// Gives the instructions of a block arms in pairs, where there are such. What must stand behind them, if their last cannot be the end.
pub(super) fn fuse(insns: &mut [Insn]) -> Option<Insn> {
    let next = match insns.last_mut()? {
        last if last.hot == NO_ARM => {
            last.hot = Arm::Last as u8;
            None
        }
        last if last.ends_block() => None,
        last => {
            let mut next = Insn::BLANK;
            (next.hot, next.off) = (Arm::Next as u8, last.off + u16::from(last.len));
            Some(next)
        }
    };
    for i in insns.iter_mut() {
        i.hot = special(i);
    }
    let mut left = insns.len();
    while left >= 2 {
        match pair(insns[left - 2].hot, insns[left - 1].hot) {
            Some(pair) => {
                insns[left - 2].hot = pair;
                left -= 2;
            }
            None => left -= 1,
        }
    }
    next
}

#[rustfmt::skip]
hot! { {
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
    CmpRR64:   Cmp   W64 Gpr  Gpr  => alu::cmp;
    CmpRI64:   Cmp   W64 Gpr  Imm  => alu::cmp;
    CmpRM64:   Cmp   W64 Gpr  Mem  => alu::cmp;
    CmpMI64:   Cmp   W64 Mem  Imm  => alu::cmp;
    CmpMR64:   Cmp   W64 Mem  Gpr  => alu::cmp;
    CmpRR32:   Cmp   W32 Gpr  Gpr  => alu::cmp;
    CmpRI32:   Cmp   W32 Gpr  Imm  => alu::cmp;
    CmpRM32:   Cmp   W32 Gpr  Mem  => alu::cmp;
    CmpMI32:   Cmp   W32 Mem  Imm  => alu::cmp;
    CmpMR32:   Cmp   W32 Mem  Gpr  => alu::cmp;
    CmpRI8:    Cmp   W8  Gpr  Imm  => alu::cmp;
    CmpMI8:    Cmp   W8  Mem  Imm  => alu::cmp;
    CmpRR8:    Cmp   W8  Gpr  Gpr  => alu::cmp;
    TestRR64:  Test  W64 Gpr  Gpr  => alu::test;
    TestRR32:  Test  W32 Gpr  Gpr  => alu::test;
    TestRR8:   Test  W8  Gpr  Gpr  => alu::test;
    TestRI8:   Test  W8  Gpr  Imm  => alu::test;
    TestMI8:   Test  W8  Mem  Imm  => alu::test;
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
    CmpRM8:    Cmp   W8  Gpr  Mem  => alu::cmp;
    SetR8:     Set   W8  Gpr  None => mov::setcc;
    CmovRR64:  Cmov  W64 Gpr  Gpr  => mov::cmov;
    CmovRR32:  Cmov  W32 Gpr  Gpr  => mov::cmov;
    NopMR32:   Nop   W32 Mem  Gpr  => flag::nop;
    NopM32:    Nop   W32 Mem  None => flag::nop;
    Nop:       Nop   W64 None None => flag::nop;
    CmpRI16:   Cmp   W16 Gpr  Imm  => alu::cmp;
    CmpMI16:   Cmp   W16 Mem  Imm  => alu::cmp;
    TestRI32:  Test  W32 Gpr  Imm  => alu::test;
    XorRM32:   Xor   W32 Gpr  Mem  => alu::xor;
    RolRI32:   Rol   W32 Gpr  Imm  => shift::rol;
    RolRI64:   Rol   W64 Gpr  Imm  => shift::rol;
    IncR64:    Inc   W64 Gpr  None => alu::inc;
    IncR32:    Inc   W32 Gpr  None => alu::inc;
    IncM32:    Inc   W32 Mem  None => alu::inc;
    DecR64:    Dec   W64 Gpr  None => alu::dec;
    DecR32:    Dec   W32 Gpr  None => alu::dec;
    NegR64:    Neg   W64 Gpr  None => alu::neg;
    SbbRR64:   Sbb   W64 Gpr  Gpr  => alu::sbb;
    SbbRI64:   Sbb   W64 Gpr  Imm  => alu::sbb;
    SbbRR32:   Sbb   W32 Gpr  Gpr  => alu::sbb;
    ImulRRI64: Imul  W64 Gpr  Gpr Imm => muldiv::imul;
    ImulRR32:  Imul  W32 Gpr  Gpr  => muldiv::imul;
    ImulRRI32: Imul  W32 Gpr  Gpr Imm => muldiv::imul;
    Cdqe:      Cbw   W64 None None => muldiv::cbw;
    BswapR32:  Bswap W32 Gpr  None => bits::bswap;
    BswapR64:  Bswap W64 Gpr  None => bits::bswap;
    BtsRR32:   Bts   W32 Gpr  Gpr  => bits::bts;
    Leave:     Leave W64 None None => stack::leave;
    CallR64:   Call  W64 Gpr  None => control::call;
    CallM64:   Call  W64 Mem  None => control::call;
    JmpR64:    Jmp   W64 Gpr  None => control::jmp;
    JmpM64:    Jmp   W64 Mem  None => control::jmp;
} special {
    JzI64:      JccI64    Zero;
    SetzR8:     SetR8     Zero;
    MovRM64P:   MovRM64   Plain;
    MovMR64P:   MovMR64   Plain;
    MovMI64P:   MovMI64   Plain;
    MovRM32P:   MovRM32   Plain;
    MovMR32P:   MovMR32   Plain;
    MovMI32P:   MovMI32   Plain;
    LeaRM64P:   LeaRM64   Plain;
    LeaRM32P:   LeaRM32   Plain;
    MovzxRM8P:  MovzxRM32 PlainFrom8;
    MovzxRM16P: MovzxRM32 PlainFrom16;
    MovzxRM8:   MovzxRM32 From8;
    MovzxRR8:   MovzxRR32 From8;
    MovzxRR16:  MovzxRR32 From16;
    MovsxRR32:  MovsxRR64 From32;
    MovsxRM32:  MovsxRM64 From32;
} pairs {
    CmpRR64Jcc:      CmpRR64 JccI64;
    CmpRR64Jz:       CmpRR64 JzI64;
    CmpRI64Jcc:      CmpRI64 JccI64;
    CmpRI64Jz:       CmpRI64 JzI64;
    CmpRM64Jcc:      CmpRM64 JccI64;
    CmpRM64Jz:       CmpRM64 JzI64;
    CmpMI64Jcc:      CmpMI64 JccI64;
    CmpMI64Jz:       CmpMI64 JzI64;
    CmpMR64Jcc:      CmpMR64 JccI64;
    CmpMR64Jz:       CmpMR64 JzI64;
    CmpRR32Jcc:      CmpRR32 JccI64;
    CmpRR32Jz:       CmpRR32 JzI64;
    CmpRI32Jcc:      CmpRI32 JccI64;
    CmpRI32Jz:       CmpRI32 JzI64;
    CmpRM32Jcc:      CmpRM32 JccI64;
    CmpRM32Jz:       CmpRM32 JzI64;
    CmpMI32Jcc:      CmpMI32 JccI64;
    CmpMI32Jz:       CmpMI32 JzI64;
    CmpMR32Jcc:      CmpMR32 JccI64;
    CmpMR32Jz:       CmpMR32 JzI64;
    CmpRI8Jcc:       CmpRI8 JccI64;
    CmpRI8Jz:        CmpRI8 JzI64;
    CmpMI8Jcc:       CmpMI8 JccI64;
    CmpMI8Jz:        CmpMI8 JzI64;
    CmpRR8Jcc:       CmpRR8 JccI64;
    CmpRR8Jz:        CmpRR8 JzI64;
    TestRR64Jcc:     TestRR64 JccI64;
    TestRR64Jz:      TestRR64 JzI64;
    TestRR32Jcc:     TestRR32 JccI64;
    TestRR32Jz:      TestRR32 JzI64;
    TestRR8Jcc:      TestRR8 JccI64;
    TestRR8Jz:       TestRR8 JzI64;
    TestRI8Jcc:      TestRI8 JccI64;
    TestRI8Jz:       TestRI8 JzI64;
    TestMI8Jcc:      TestMI8 JccI64;
    TestMI8Jz:       TestMI8 JzI64;
    CmpRM8Jcc:       CmpRM8 JccI64;
    CmpRM8Jz:        CmpRM8 JzI64;
    CmpRI16Jcc:      CmpRI16 JccI64;
    CmpRI16Jz:       CmpRI16 JzI64;
    CmpMI16Jcc:      CmpMI16 JccI64;
    CmpMI16Jz:       CmpMI16 JzI64;
    TestRI32Jcc:     TestRI32 JccI64;
    TestRI32Jz:      TestRI32 JzI64;
    SubRR64Jcc:      SubRR64 JccI64;
    SubRR64Jz:       SubRR64 JzI64;
    AndRI32Jcc:      AndRI32 JccI64;
    AndRI32Jz:       AndRI32 JzI64;
    DecR64Jcc:       DecR64 JccI64;
    DecR64Jz:        DecR64 JzI64;
    DecR32Jcc:       DecR32 JccI64;
    DecR32Jz:        DecR32 JzI64;
    PopR64PopR64:    PopR64 PopR64;
    PopR64Ret64:     PopR64 Ret64;
    PushR64PushR64:  PushR64 PushR64;
    PushR64MovRR64:  PushR64 MovRR64;
    PushR64MovRR32:  PushR64 MovRR32;
    MovRR64PushR64:  MovRR64 PushR64;
    MovRR64CallI64:  MovRR64 CallI64;
    MovRR64MovRR64:  MovRR64 MovRR64;
    MovRR64MovRM64:  MovRR64 MovRM64P;
    MovRR64MovRR32:  MovRR64 MovRR32;
    MovRR32MovRR64:  MovRR32 MovRR64;
    MovRR32MovRR32:  MovRR32 MovRR32;
    MovRM64MovRM64:  MovRM64P MovRM64P;
    MovRM64MovRR64:  MovRM64P MovRR64;
    MovRM64MovMR64:  MovRM64P MovMR64P;
    MovRM64MovRM32:  MovRM64P MovRM32P;
    MovRM64CallI64:  MovRM64P CallI64;
    MovRM64LeaRM64:  MovRM64P LeaRM64P;
    MovMR64MovMR64:  MovMR64P MovMR64P;
    MovMR64MovRM64:  MovMR64P MovRM64P;
    AddRI64PopR64:   AddRI64 PopR64;
    LeaRM64MovRR64:  LeaRM64 MovRR64;
    LeaRM64PMovRR64: LeaRM64P MovRR64;
    MovRM64XMovMR64: MovRM64 MovMR64P;
    SubRI64MovRM64:  SubRI64 MovRM64P;
    NopMR32PushR64:  NopMR32 PushR64;
    PopR64JmpI64:    PopR64 JmpI64;
    XorRR32MovRR32:  XorRR32 MovRR32;
} }

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::{RBX, SEG_BASE};

    #[test]
    fn a_fact_that_holds_changes_nothing() {
        use Fact::*;
        let mut held = [0; 7];
        for cc in Cond::ALL {
            for (index, seg_base) in [(ZERO, ZERO), (RBX, ZERO), (ZERO, SEG_BASE + 4), (RBX, SEG_BASE + 4)] {
                for src in [Width::W8, Width::W16, Width::W32, Width::W64] {
                    let mut i = Insn::BLANK;
                    (i.cc, i.index, i.seg_base) = (cc, index, seg_base);
                    i.set_width(Width::W32, src);
                    for (fact, held) in
                        [Zero, Plain, From8, From16, From32, PlainFrom8, PlainFrom16].into_iter().zip(&mut held)
                    {
                        if fact.holds(&i) {
                            assert_eq!(fact.told(i), i);
                            *held += 1;
                        } else {
                            assert_ne!(fact.told(i), i);
                        }
                    }
                }
            }
        }
        assert_eq!(held, [2 * 16, 16 * 4, 16 * 4, 16 * 4, 16 * 4, 16, 16]);
    }
}
