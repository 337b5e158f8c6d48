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
use crate::sys::*;
use crate::x87;

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
        pub(crate) const fn ends_block(op: Op) -> bool {
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
    Cmov   [Cmovo Cmovno Cmovb Cmovae Cmove Cmovne Cmovbe Cmova Cmovs Cmovns Cmovp Cmovnp Cmovl Cmovge Cmovle Cmovg]  sem mov::cmov;
    Set    [Seto Setno Setb Setae Sete Setne Setbe Seta Sets Setns Setp Setnp Setl Setge Setle Setg]  sem mov::setcc;
    Xlat   [Xlatb]                      sem mov::xlat;
    Movbe  [Movbe]                      sem bits::movbe;
    Bswap  [Bswap]                      sem bits::bswap;
    Xchg   [Xchg]                       sem exchange::xchg;
    Xadd   [Xadd]                       sem exchange::xadd;
    Cmpxchg     [Cmpxchg]               sem exchange::cmpxchg;
    Cmpxchg8b   [Cmpxchg8b]             sem exchange::cmpxchg8b;
    Cmpxchg16b  [Cmpxchg16b]            sem exchange::cmpxchg16b;
// Control transfer
    Jcc    [Jo Jno Jb Jae Je Jne Jbe Ja Js Jns Jp Jnp Jl Jge Jle Jg]  sem control::jcc, end;
    Jmp    [Jmp]                        sem control::jmp, end;
    Call   [Call]                       sem control::call, end;
    Ret    [Ret]                        sem control::ret, end;
    Loop   [Loop]                       sem control::r#loop, end;
    LoopCc [Loope Loopne]               sem control::loop_cc, end;
    Jcxz   [Jcxz Jecxz Jrcxz]           sem control::jcxz, end;
    Bound  [Bound]                      sem flag::bound;
    Ud     [Ud0 Ud1 Ud2]                sem flag::ud, end;
// Stack
    Push   [Push]                       sem stack::push;
    Pop    [Pop]                        sem stack::pop;
    Pusha  [Pusha Pushad]               sem stack::pusha;
    Popa   [Popa Popad]                 sem stack::popa;
    Pushf  [Pushf Pushfd Pushfq]        sem system::pushf;
    Popf   [Popf Popfd Popfq]           sem system::popf, end;
    Enter  [Enter]                      sem stack::enter;
    Leave  [Leave]                      sem stack::leave;
// Shifts, rotates, bits
    Shl    [Shl Sal]                    sem shift::shl;
    Shr    [Shr]                        sem shift::shr;
    Sar    [Sar]                        sem shift::sar;
    Rol    [Rol]                        sem shift::rol;
    Ror    [Ror]                        sem shift::ror;
    Rcl    [Rcl]                        sem shift::rcl;
    Rcr    [Rcr]                        sem shift::rcr;
    Shld   [Shld]                       sem shift::shld;
    Shrd   [Shrd]                       sem shift::shrd;
    Bt     [Bt]                         sem bits::bt;
    Bts    [Bts]                        sem bits::bts;
    Btr    [Btr]                        sem bits::btr;
    Btc    [Btc]                        sem bits::btc;
    Bsf    [Bsf]                        sem bits::bsf;
    Bsr    [Bsr]                        sem bits::bsr;
    Popcnt [Popcnt]                     sem bits::popcnt;
    Crc32  [Crc32]                      sem bits::crc32;
// Multiplication, division, BCD
    Mul    [Mul]                        sem muldiv::mul;
    Imul   [Imul]                       sem muldiv::imul;
    Div    [Div]                        sem muldiv::div;
    Idiv   [Idiv]                       sem muldiv::idiv;
    Cbw    [Cbw Cwde Cdqe]              sem muldiv::cbw;
    Cwd    [Cwd Cdq Cqo]                sem muldiv::cwd;
    Daa    [Daa]                        sem bcd::daa;
    Das    [Das]                        sem bcd::das;
    Aaa    [Aaa]                        sem bcd::aaa;
    Aas    [Aas]                        sem bcd::aas;
    Aam    [Aam]                        sem bcd::aam;
    Aad    [Aad]                        sem bcd::aad;
// Strings
    Movs   [Movsb Movsw Movsq]          sem string::movs;
    Cmps   [Cmpsb Cmpsw Cmpsq]          sem string::cmps;
    Stos   [Stosb Stosw Stosd Stosq]    sem string::stos;
    Lods   [Lodsb Lodsw Lodsd Lodsq]    sem string::lods;
    Scas   [Scasb Scasw Scasd Scasq]    sem string::scas;
// Flags, and what does nothing
    Clc    [Clc]                        sem flag::clc;
    Stc    [Stc]                        sem flag::stc;
    Cmc    [Cmc]                        sem flag::cmc;
    Cld    [Cld]                        sem flag::cld;
    Std    [Std]                        sem flag::std;
    Lahf   [Lahf]                       sem flag::lahf;
    Sahf   [Sahf]                       sem flag::sahf;
    Salc   [Salc]                       sem flag::salc;
    Nop    [Nop Pause Reservednop Lfence Mfence Sfence]  sem flag::nop;
    Clflush     [Clflush]  helper flag::clflush;
// System
    MovToSeg    []                      helper segments::mov_to_seg, end;
    MovFromSeg  []                      helper segments::mov_from_seg;
    PushSeg     []                      helper segments::push_seg;
    PopSeg      []                      helper segments::pop_seg, end;
    Lds    [Lds]                        helper segments::lds;
    Les    [Les]                        helper segments::les;
    Lss    [Lss]                        helper segments::lss, end;
    Lfs    [Lfs]                        helper segments::lfs;
    Lgs    [Lgs]                        helper segments::lgs;
    Lar    [Lar]                        helper segments::lar;
    Lsl    [Lsl]                        helper segments::lsl;
    Verr   [Verr]                       helper segments::verr;
    Verw   [Verw]                       helper segments::verw;
    Arpl   [Arpl]                       helper segments::arpl;
    Sgdt   [Sgdt]                       helper segments::sgdt;
    Sidt   [Sidt]                       helper segments::sidt;
    Lgdt   [Lgdt]                       helper segments::lgdt;
    Lidt   [Lidt]                       helper segments::lidt;
    Sldt   [Sldt]                       helper segments::sldt;
    Str    [Str]                        helper segments::str;
    Lldt   [Lldt]                       helper segments::lldt;
    Ltr    [Ltr]                        helper segments::ltr;
    Rdfsbase    [Rdfsbase]              helper segments::rdfsbase;
    Rdgsbase    [Rdgsbase]              helper segments::rdgsbase;
    Wrfsbase    [Wrfsbase]              helper segments::wrfsbase;
    Wrgsbase    [Wrgsbase]              helper segments::wrgsbase;
    Swapgs      [Swapgs]                sem system::swapgs;
    MovToCr     []                      sem system::mov_to_cr, end;
    MovFromCr   []                      sem system::mov_from_cr;
    Clts   [Clts]                       helper registers::clts;
    Lmsw   [Lmsw]                       helper registers::lmsw, end;
    Smsw   [Smsw]                       helper registers::smsw;
    Xgetbv [Xgetbv]                     helper registers::xgetbv;
    Xsetbv [Xsetbv]                     helper registers::xsetbv;
    MovToDr     []                      helper debug::mov_to_dr, end;
    MovFromDr   []                      helper debug::mov_from_dr;
    CallFar     []                      helper far::call_far, end;
    JmpFar      []                      helper far::jmp_far, end;
    Retf        [Retf]                  helper far::ret_far, end;
    Iret        [Iret Iretd]            helper far::iret, end;
    Iretq       [Iretq]                 sem system::iretq, end;
    Syscall     [Syscall]               sem system::syscall, end;
    Sysret      [Sysret Sysretq]        sem system::sysret, end;
    Sysenter    [Sysenter]              helper far::sysenter, end;
    Sysexit     [Sysexit Sysexitq]      helper far::sysexit, end;
    Int    [Int]                        helper interrupts::int_n, end;
    Int3   [Int3]                       helper interrupts::int3, end;
    Int1   [Int1]                       helper interrupts::int1, end;
    Into   [Into]                       helper interrupts::into, end;
    Cli    [Cli]                        sem system::cli;
    Sti    [Sti]                        sem system::sti, end;
    Hlt    [Hlt]                        helper interrupts::hlt, end;
    In     [In]                         helper io::r#in, end;
    Out    [Out]                        helper io::out, end;
    Ins    [Insb Insw Insd]             helper io::ins, end;
    Outs   [Outsb Outsw Outsd]          helper io::outs, end;
    Rdmsr  [Rdmsr]                      helper msr::rdmsr;
    Wrmsr  [Wrmsr]                      helper msr::wrmsr, end;
    Rdtsc  [Rdtsc]                      sem system::rdtsc;
    Rdtscp [Rdtscp]                     sem system::rdtscp;
    Rdpid  [Rdpid]                      helper msr::rdpid;
    Rdpmc  [Rdpmc]                      helper msr::rdpmc;
    Rdrand [Rdrand Rdseed]              helper msr::random;
    Cpuid  [Cpuid]                      helper cpuid::cpuid;
    Invlpg      [Invlpg]                sem system::invlpg, end;
    Invpcid     [Invpcid]               helper misc::invpcid, end;
    Wbinvd      [Wbinvd Invd]           helper misc::wbinvd;
    Serialize   [Serialize]             sem flag::nop, end;
    Stac   [Stac]                       sem system::stac;
    Clac   [Clac]                       sem system::clac;
    Fxsave      [Fxsave]                helper xsave::fxsave;
    Fxsave64    [Fxsave64]              helper xsave::fxsave64;
    Fxrstor     [Fxrstor]               helper xsave::fxrstor;
    Fxrstor64   [Fxrstor64]             helper xsave::fxrstor64;
    Xsave       [Xsave Xsaveopt]        helper xsave::xsave;
    Xsave64     [Xsave64 Xsaveopt64]    helper xsave::xsave64;
    Xrstor      [Xrstor]                helper xsave::xrstor;
    Xrstor64    [Xrstor64]              helper xsave::xrstor64;
// x87
    X87    [Fadd Faddp Fiadd Fsub Fsubp Fisub Fsubr Fsubrp Fisubr Fmul Fmulp Fimul Fdiv Fdivp Fidiv Fdivr Fdivrp Fidivr
            Fcom Fcomp Fcompp Fucom Fucomp Fucompp Ficom Ficomp Fcomi Fcomip Fucomi Fucomip Ftst Fxam
            Fld Fst Fstp Fstpnce Fild Fist Fistp Fisttp Fbld Fbstp Fxch Ffree Ffreep Fincstp Fdecstp Fnop
            Fcmovb Fcmove Fcmovbe Fcmovu Fcmovnb Fcmovne Fcmovnbe Fcmovnu
            Fld1 Fldl2t Fldl2e Fldpi Fldlg2 Fldln2 Fldz Fabs Fchs Frndint Fscale Fsqrt Fxtract Fprem Fprem1
            Fsin Fcos Fsincos Fptan Fpatan F2xm1 Fyl2x Fyl2xp1
            Fldcw Fnstcw Fnstsw Fnclex Fninit Fldenv Fnstenv Fnsave Frstor Fneni Fndisi Fnsetpm]
                                        helper x87::execute;
    Fwait  [Wait]                       helper x87::fwait;
    Emms   [Emms]                       helper x87::emms;
// MMX and SSE
    Movaps     [Movaps Movapd Movdqa Movntps Movntpd Movntdq Movntdqa]sem sse_mov::aligned;
    Movups     [Movups Movupd Movdqu Lddqu]sem sse_mov::unaligned;
    Movd       [Movd]               sem sse_mov::movd;
    Movq       [Movq Movntq]        sem sse_mov::movq;
    Movss      [Movss]              sem sse_mov::movss;
    Movsd      [Movsd]              sem sse_mov::movsd;
    Movlps     [Movlps Movlpd]      sem sse_mov::movlps;
    Movhps     [Movhps Movhpd Movlhps]sem sse_mov::movhps;
    Movhlps    [Movhlps]            sem sse_mov::movhlps;
    Movnti     [Movnti]             sem mov::mov;
    Maskmov    [Maskmovdqu Maskmovq]sem sse_mov::maskmov;
    Movq2dq    [Movq2dq Movdq2q]    sem sse_mov::movq2dq;
    Pshuflw    [Pshuflw Pshufw]     sem sse_mov::pshuflw;
    Pextrd     [Pextrd Extractps]   sem sse_mov::pextrd;
    Pand       [Pand Andps Andpd]   sem sse_int::pand;
    Pandn      [Pandn Andnps Andnpd]sem sse_int::pandn;
    Por        [Por Orps Orpd]      sem sse_int::por;
    Pxor       [Pxor Xorps Xorpd]   sem sse_int::pxor;
    Movmskps   [Movmskps]           sem sse_mov::movmskps;
    Movmskpd   [Movmskpd]           sem sse_mov::movmskpd;
    Pmovmskb   [Pmovmskb]           sem sse_mov::pmovmskb;
    Ldmxcsr    [Ldmxcsr]            sem sse_mov::ldmxcsr;
    Stmxcsr    [Stmxcsr]            sem sse_mov::stmxcsr;
    Movddup    [Movddup]            sem sse_mov::movddup;
    Movshdup   [Movshdup]           sem sse_mov::movshdup;
    Movsldup   [Movsldup]           sem sse_mov::movsldup;
    Unpcklps   [Unpcklps]           sem sse_mov::unpcklps;
    Unpckhps   [Unpckhps]           sem sse_mov::unpckhps;
    Unpcklpd   [Unpcklpd]           sem sse_mov::unpcklpd;
    Unpckhpd   [Unpckhpd]           sem sse_mov::unpckhpd;
    Shufps     [Shufps]             sem sse_mov::shufps;
    Shufpd     [Shufpd]             sem sse_mov::shufpd;
    Pshufd     [Pshufd]             sem sse_mov::pshufd;
    Pshufhw    [Pshufhw]            sem sse_mov::pshufhw;
    Pshufb     [Pshufb]             sem sse_mov::pshufb;
    Palignr    [Palignr]            sem sse_mov::palignr;
    Psrldq     [Psrldq]             sem sse_mov::psrldq;
    Pslldq     [Pslldq]             sem sse_mov::pslldq;
    Punpcklbw  [Punpcklbw]          sem sse_mov::punpcklbw;
    Punpcklwd  [Punpcklwd]          sem sse_mov::punpcklwd;
    Punpckldq  [Punpckldq]          sem sse_mov::punpckldq;
    Punpcklqdq [Punpcklqdq]         sem sse_mov::punpcklqdq;
    Punpckhbw  [Punpckhbw]          sem sse_mov::punpckhbw;
    Punpckhwd  [Punpckhwd]          sem sse_mov::punpckhwd;
    Punpckhdq  [Punpckhdq]          sem sse_mov::punpckhdq;
    Punpckhqdq [Punpckhqdq]         sem sse_mov::punpckhqdq;
    Pblendw    [Pblendw]            sem sse_mov::pblendw;
    Blendps    [Blendps]            sem sse_mov::blendps;
    Blendpd    [Blendpd]            sem sse_mov::blendpd;
    Pblendvb   [Pblendvb]           sem sse_mov::pblendvb;
    Blendvps   [Blendvps]           sem sse_mov::blendvps;
    Blendvpd   [Blendvpd]           sem sse_mov::blendvpd;
    Pinsrb     [Pinsrb]             sem sse_mov::pinsrb;
    Pinsrw     [Pinsrw]             sem sse_mov::pinsrw;
    Pinsrd     [Pinsrd]             sem sse_mov::pinsrd;
    Pinsrq     [Pinsrq]             sem sse_mov::pinsrq;
    Pextrb     [Pextrb]             sem sse_mov::pextrb;
    Pextrw     [Pextrw]             sem sse_mov::pextrw;
    Pextrq     [Pextrq]             sem sse_mov::pextrq;
    Insertps   [Insertps]           sem sse_mov::insertps;
    Pmovsxbw   [Pmovsxbw]           sem sse_mov::pmovsxbw;
    Pmovsxbd   [Pmovsxbd]           sem sse_mov::pmovsxbd;
    Pmovsxbq   [Pmovsxbq]           sem sse_mov::pmovsxbq;
    Pmovsxwd   [Pmovsxwd]           sem sse_mov::pmovsxwd;
    Pmovsxwq   [Pmovsxwq]           sem sse_mov::pmovsxwq;
    Pmovsxdq   [Pmovsxdq]           sem sse_mov::pmovsxdq;
    Pmovzxbw   [Pmovzxbw]           sem sse_mov::pmovzxbw;
    Pmovzxbd   [Pmovzxbd]           sem sse_mov::pmovzxbd;
    Pmovzxbq   [Pmovzxbq]           sem sse_mov::pmovzxbq;
    Pmovzxwd   [Pmovzxwd]           sem sse_mov::pmovzxwd;
    Pmovzxwq   [Pmovzxwq]           sem sse_mov::pmovzxwq;
    Pmovzxdq   [Pmovzxdq]           sem sse_mov::pmovzxdq;
    Paddb      [Paddb]              sem sse_int::paddb;
    Paddw      [Paddw]              sem sse_int::paddw;
    Paddd      [Paddd]              sem sse_int::paddd;
    Paddq      [Paddq]              sem sse_int::paddq;
    Psubb      [Psubb]              sem sse_int::psubb;
    Psubw      [Psubw]              sem sse_int::psubw;
    Psubd      [Psubd]              sem sse_int::psubd;
    Psubq      [Psubq]              sem sse_int::psubq;
    Paddsb     [Paddsb]             sem sse_int::paddsb;
    Paddsw     [Paddsw]             sem sse_int::paddsw;
    Psubsb     [Psubsb]             sem sse_int::psubsb;
    Psubsw     [Psubsw]             sem sse_int::psubsw;
    Paddusb    [Paddusb]            sem sse_int::paddusb;
    Paddusw    [Paddusw]            sem sse_int::paddusw;
    Psubusb    [Psubusb]            sem sse_int::psubusb;
    Psubusw    [Psubusw]            sem sse_int::psubusw;
    Pminsb     [Pminsb]             sem sse_int::pminsb;
    Pminsw     [Pminsw]             sem sse_int::pminsw;
    Pminsd     [Pminsd]             sem sse_int::pminsd;
    Pminub     [Pminub]             sem sse_int::pminub;
    Pminuw     [Pminuw]             sem sse_int::pminuw;
    Pminud     [Pminud]             sem sse_int::pminud;
    Pmaxsb     [Pmaxsb]             sem sse_int::pmaxsb;
    Pmaxsw     [Pmaxsw]             sem sse_int::pmaxsw;
    Pmaxsd     [Pmaxsd]             sem sse_int::pmaxsd;
    Pmaxub     [Pmaxub]             sem sse_int::pmaxub;
    Pmaxuw     [Pmaxuw]             sem sse_int::pmaxuw;
    Pmaxud     [Pmaxud]             sem sse_int::pmaxud;
    Pavgb      [Pavgb]              sem sse_int::pavgb;
    Pavgw      [Pavgw]              sem sse_int::pavgw;
    Pcmpeqb    [Pcmpeqb]            sem sse_int::pcmpeqb;
    Pcmpeqw    [Pcmpeqw]            sem sse_int::pcmpeqw;
    Pcmpeqd    [Pcmpeqd]            sem sse_int::pcmpeqd;
    Pcmpeqq    [Pcmpeqq]            sem sse_int::pcmpeqq;
    Pcmpgtb    [Pcmpgtb]            sem sse_int::pcmpgtb;
    Pcmpgtw    [Pcmpgtw]            sem sse_int::pcmpgtw;
    Pcmpgtd    [Pcmpgtd]            sem sse_int::pcmpgtd;
    Pcmpgtq    [Pcmpgtq]            sem sse_int::pcmpgtq;
    Pmullw     [Pmullw]             sem sse_int::pmullw;
    Pmulld     [Pmulld]             sem sse_int::pmulld;
    Pmulhw     [Pmulhw]             sem sse_int::pmulhw;
    Pmulhuw    [Pmulhuw]            sem sse_int::pmulhuw;
    Pmulhrsw   [Pmulhrsw]           sem sse_int::pmulhrsw;
    Pmuludq    [Pmuludq]            sem sse_int::pmuludq;
    Pmuldq     [Pmuldq]             sem sse_int::pmuldq;
    Pmaddwd    [Pmaddwd]            sem sse_int::pmaddwd;
    Pmaddubsw  [Pmaddubsw]          sem sse_int::pmaddubsw;
    Psadbw     [Psadbw]             sem sse_int::psadbw;
    Pabsb      [Pabsb]              sem sse_int::pabsb;
    Pabsw      [Pabsw]              sem sse_int::pabsw;
    Pabsd      [Pabsd]              sem sse_int::pabsd;
    Packsswb   [Packsswb]           sem sse_int::packsswb;
    Packuswb   [Packuswb]           sem sse_int::packuswb;
    Packssdw   [Packssdw]           sem sse_int::packssdw;
    Packusdw   [Packusdw]           sem sse_int::packusdw;
    Psllw      [Psllw]              sem sse_int::psllw;
    Pslld      [Pslld]              sem sse_int::pslld;
    Psllq      [Psllq]              sem sse_int::psllq;
    Psrlw      [Psrlw]              sem sse_int::psrlw;
    Psrld      [Psrld]              sem sse_int::psrld;
    Psrlq      [Psrlq]              sem sse_int::psrlq;
    Psraw      [Psraw]              sem sse_int::psraw;
    Psrad      [Psrad]              sem sse_int::psrad;
    Psignb     [Psignb]             sem sse_int::psignb;
    Psignw     [Psignw]             sem sse_int::psignw;
    Psignd     [Psignd]             sem sse_int::psignd;
    Phaddw     [Phaddw]             sem sse_int::phaddw;
    Phaddd     [Phaddd]             sem sse_int::phaddd;
    Phaddsw    [Phaddsw]            sem sse_int::phaddsw;
    Phsubw     [Phsubw]             sem sse_int::phsubw;
    Phsubd     [Phsubd]             sem sse_int::phsubd;
    Phsubsw    [Phsubsw]            sem sse_int::phsubsw;
    Mpsadbw    [Mpsadbw]            sem sse_int::mpsadbw;
    Phminposuw [Phminposuw]         sem sse_int::phminposuw;
    Ptest      [Ptest]              sem sse_int::ptest;
    Addss      [Addss]              sem sse_fp::addss;
    Addsd      [Addsd]              sem sse_fp::addsd;
    Addps      [Addps]              sem sse_fp::addps;
    Addpd      [Addpd]              sem sse_fp::addpd;
    Subss      [Subss]              sem sse_fp::subss;
    Subsd      [Subsd]              sem sse_fp::subsd;
    Subps      [Subps]              sem sse_fp::subps;
    Subpd      [Subpd]              sem sse_fp::subpd;
    Mulss      [Mulss]              sem sse_fp::mulss;
    Mulsd      [Mulsd]              sem sse_fp::mulsd;
    Mulps      [Mulps]              sem sse_fp::mulps;
    Mulpd      [Mulpd]              sem sse_fp::mulpd;
    Divss      [Divss]              sem sse_fp::divss;
    Divsd      [Divsd]              sem sse_fp::divsd;
    Divps      [Divps]              sem sse_fp::divps;
    Divpd      [Divpd]              sem sse_fp::divpd;
    Minss      [Minss]              sem sse_fp::minss;
    Minsd      [Minsd]              sem sse_fp::minsd;
    Minps      [Minps]              sem sse_fp::minps;
    Minpd      [Minpd]              sem sse_fp::minpd;
    Maxss      [Maxss]              sem sse_fp::maxss;
    Maxsd      [Maxsd]              sem sse_fp::maxsd;
    Maxps      [Maxps]              sem sse_fp::maxps;
    Maxpd      [Maxpd]              sem sse_fp::maxpd;
    Addsubps   [Addsubps]           sem sse_fp::addsubps;
    Addsubpd   [Addsubpd]           sem sse_fp::addsubpd;
    Sqrtss     [Sqrtss]             sem sse_fp::sqrtss;
    Sqrtsd     [Sqrtsd]             sem sse_fp::sqrtsd;
    Sqrtps     [Sqrtps]             sem sse_fp::sqrtps;
    Sqrtpd     [Sqrtpd]             sem sse_fp::sqrtpd;
    Rcpss      [Rcpss]              sem sse_fp::rcpss;
    Rcpps      [Rcpps]              sem sse_fp::rcpps;
    Rsqrtss    [Rsqrtss]            sem sse_fp::rsqrtss;
    Rsqrtps    [Rsqrtps]            sem sse_fp::rsqrtps;
    Roundss    [Roundss]            sem sse_fp::roundss;
    Roundsd    [Roundsd]            sem sse_fp::roundsd;
    Roundps    [Roundps]            sem sse_fp::roundps;
    Roundpd    [Roundpd]            sem sse_fp::roundpd;
    Cmpss      [Cmpss]              sem sse_fp::cmpss;
    Cmpsd      [Cmpsd]              sem sse_fp::cmpsd;
    Cmpps      [Cmpps]              sem sse_fp::cmpps;
    Cmppd      [Cmppd]              sem sse_fp::cmppd;
    Comiss     [Comiss]             sem sse_fp::comiss;
    Comisd     [Comisd]             sem sse_fp::comisd;
    Ucomiss    [Ucomiss]            sem sse_fp::ucomiss;
    Ucomisd    [Ucomisd]            sem sse_fp::ucomisd;
    Haddps     [Haddps]             sem sse_fp::haddps;
    Haddpd     [Haddpd]             sem sse_fp::haddpd;
    Hsubps     [Hsubps]             sem sse_fp::hsubps;
    Hsubpd     [Hsubpd]             sem sse_fp::hsubpd;
    Dpps       [Dpps]               sem sse_fp::dpps;
    Dppd       [Dppd]               sem sse_fp::dppd;
    Cvtss2sd   [Cvtss2sd]           sem sse_fp::cvtss2sd;
    Cvtsd2ss   [Cvtsd2ss]           sem sse_fp::cvtsd2ss;
    Cvtps2pd   [Cvtps2pd]           sem sse_fp::cvtps2pd;
    Cvtpd2ps   [Cvtpd2ps]           sem sse_fp::cvtpd2ps;
    Cvtdq2ps   [Cvtdq2ps]           sem sse_fp::cvtdq2ps;
    Cvtdq2pd   [Cvtdq2pd]           sem sse_fp::cvtdq2pd;
    Cvtps2dq   [Cvtps2dq]           sem sse_fp::cvtps2dq;
    Cvttps2dq  [Cvttps2dq]          sem sse_fp::cvttps2dq;
    Cvtpd2dq   [Cvtpd2dq]           sem sse_fp::cvtpd2dq;
    Cvttpd2dq  [Cvttpd2dq]          sem sse_fp::cvttpd2dq;
    Cvtsi2ss   [Cvtsi2ss]           sem sse_fp::cvtsi2ss;
    Cvtsi2sd   [Cvtsi2sd]           sem sse_fp::cvtsi2sd;
    Cvtss2si   [Cvtss2si]           sem sse_fp::cvtss2si;
    Cvttss2si  [Cvttss2si]          sem sse_fp::cvttss2si;
    Cvtsd2si   [Cvtsd2si]           sem sse_fp::cvtsd2si;
    Cvttsd2si  [Cvttsd2si]          sem sse_fp::cvttsd2si;
    Cvtpi2ps   [Cvtpi2ps]           sem sse_fp::cvtpi2ps;
    Cvtpi2pd   [Cvtpi2pd]           sem sse_fp::cvtpi2pd;
    Cvtps2pi   [Cvtps2pi]           sem sse_fp::cvtps2pi;
    Cvttps2pi  [Cvttps2pi]          sem sse_fp::cvttps2pi;
    Cvtpd2pi   [Cvtpd2pi]           sem sse_fp::cvtpd2pi;
    Cvttpd2pi  [Cvttpd2pi]          sem sse_fp::cvttpd2pi;
    Pcmpestri  [Pcmpestri]          helper sse_str::pcmpestri;
    Pcmpestri64[Pcmpestri64]        helper sse_str::pcmpestri64;
    Pcmpestrm  [Pcmpestrm]          helper sse_str::pcmpestrm;
    Pcmpestrm64[Pcmpestrm64]        helper sse_str::pcmpestrm64;
    Pcmpistri  [Pcmpistri]          sem sse_str::pcmpistri;
    Pcmpistrm  [Pcmpistrm]          helper sse_str::pcmpistrm;
}
