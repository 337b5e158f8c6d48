//! The most frequent encodings of 64-bit mode, as the manual's opcode maps have them (SDM 2 appendix A): what [`super::frequent`] decodes
//! from. What is missing here is iced's.

use guest_api::{Cond, Width};

use crate::cpu::{CodeSize, SEG_BASE, SegReg};
use crate::insn::{Insn, Kind, Mode, OPERANDS, STACK, Widths, has_immediate, prefix};
use crate::interp::{NO_ARM, arm, branches, extends, special};
use crate::table::Op;

/// An operand in the notation of SDM 2 A.2. A letter for where it is: E and W in ModRM's r/m (general, XMM; M: memory only, U: register
/// only), G and V in its reg, Z in the opcode's low three bits, I an immediate, J a branch's displacement, X and Y implicit memory of
/// strings. A letter for its size: b, w, d, q; v by the operand-size prefix and REX.W; y 32 or 64 bits by REX.W; z 16 or 32 bits; x an XMM
/// register or the part of it that the operation uses.
#[derive(Clone, Copy, PartialEq, Eq)]
#[allow(clippy::upper_case_acronyms)]
pub(super) enum Operand {
    Eb,
    Ew,
    Ez,
    Ey,
    Ev,
    /// 64 bits whatever REX.W is: the default of branches and of the stack.
    Eq,
    Mv,
    Gb,
    Gy,
    Gv,
    Zb,
    Zv,
    Zy,
    Zq,
    AL,
    CL,
    /// AX, EAX or RAX.
    RAX,
    Ib,
    /// One byte, its sign extended.
    Is,
    Iw,
    /// Four bytes, their sign extended.
    Id,
    Iz,
    /// As Iz, 64 bits with REX.W.
    Iv,
    /// The constant 1.
    One,
    Jb,
    Jz,
    Xb,
    Xv,
    Yb,
    Yv,
    Vx,
    Wx,
    Mx,
    Ux,
    /// No operand: the operation's size.
    Sv,
    Sq,
}
use Operand::*;

/// A few rows of a map: opcodes, operation, operands. Operations with a condition have it in the opcode's low four bits.
type Rows = &'static [(core::ops::RangeInclusive<u8>, Op, &'static [Operand])];
/// Rows whose operation is in ModRM's reg (SDM 2 A.4).
type Groups = &'static [(u8, [Op; 8], &'static [Operand])];

const NONE: Op = Op::None;
const ARITHMETIC: [Op; 8] = [Op::Add, Op::Or, Op::Adc, Op::Sbb, Op::And, Op::Sub, Op::Xor, Op::Cmp];
const SHIFTS: [Op; 8] = [Op::Rol, Op::Ror, Op::Rcl, Op::Rcr, Op::Shl, Op::Shr, Op::Shl, Op::Sar];
const UNARY: [Op; 8] = [NONE, NONE, Op::Not, Op::Neg, Op::Mul, Op::Imul, Op::Div, Op::Idiv];

/// Opcodes of one byte (SDM 2 table A-2). 00 to 3F are [`ARITHMETIC`].
#[rustfmt::skip]
const ONE_BYTE: Rows = &[
    (0x50..=0x57, Op::Push,  &[Zq]),
    (0x58..=0x5f, Op::Pop,   &[Zq]),
    (0x63..=0x63, Op::Movsx, &[Gv, Ez]),
    (0x68..=0x68, Op::Push,  &[Id, Sq]),
    (0x69..=0x69, Op::Imul,  &[Gv, Ev, Iz]),
    (0x6a..=0x6a, Op::Push,  &[Is, Sq]),
    (0x6b..=0x6b, Op::Imul,  &[Gv, Ev, Is]),
    (0x70..=0x7f, Op::Jcc,   &[Jb]),
    (0x84..=0x84, Op::Test,  &[Eb, Gb]),
    (0x85..=0x85, Op::Test,  &[Ev, Gv]),
    (0x86..=0x86, Op::Xchg,  &[Eb, Gb]),
    (0x87..=0x87, Op::Xchg,  &[Ev, Gv]),
    (0x88..=0x88, Op::Mov,   &[Eb, Gb]),
    (0x89..=0x89, Op::Mov,   &[Ev, Gv]),
    (0x8a..=0x8a, Op::Mov,   &[Gb, Eb]),
    (0x8b..=0x8b, Op::Mov,   &[Gv, Ev]),
    (0x8d..=0x8d, Op::Lea,   &[Gv, Mv]),
    (0x91..=0x97, Op::Xchg,  &[Zv, RAX]),
    (0x98..=0x98, Op::Cbw,   &[Sv]),
    (0x99..=0x99, Op::Cwd,   &[Sv]),
    (0x9c..=0x9c, Op::Pushf, &[Sq]),
    (0x9d..=0x9d, Op::Popf,  &[Sq]),
    (0xa4..=0xa4, Op::Movs,  &[Yb, Xb]),
    (0xa5..=0xa5, Op::Movs,  &[Yv, Xv]),
    (0xa8..=0xa8, Op::Test,  &[AL, Ib]),
    (0xa9..=0xa9, Op::Test,  &[RAX, Iz]),
    (0xaa..=0xaa, Op::Stos,  &[Yb, AL]),
    (0xab..=0xab, Op::Stos,  &[Yv, RAX]),
    (0xb0..=0xb7, Op::Mov,   &[Zb, Ib]),
    (0xb8..=0xbf, Op::Mov,   &[Zv, Iv]),
    (0xc2..=0xc2, Op::Ret,   &[Iw, Sq]),
    (0xc3..=0xc3, Op::Ret,   &[Sq]),
    (0xc9..=0xc9, Op::Leave, &[Sq]),
    (0xe8..=0xe8, Op::Call,  &[Jz]),
    (0xe9..=0xe9, Op::Jmp,   &[Jz]),
    (0xeb..=0xeb, Op::Jmp,   &[Jb]),
    (0xfa..=0xfa, Op::Cli,   &[Sq]),
    (0xfb..=0xfb, Op::Sti,   &[Sq]),
];
#[rustfmt::skip]
const ONE_BYTE_GROUPS: Groups = &[
    (0x80, ARITHMETIC, &[Eb, Ib]),
    (0x81, ARITHMETIC, &[Ev, Iz]),
    (0x83, ARITHMETIC, &[Ev, Is]),
    (0x8f, [Op::Pop, NONE, NONE, NONE, NONE, NONE, NONE, NONE], &[Eq]),
    (0xc0, SHIFTS, &[Eb, Ib]),
    (0xc1, SHIFTS, &[Ev, Ib]),
    (0xc6, [Op::Mov, NONE, NONE, NONE, NONE, NONE, NONE, NONE], &[Eb, Ib]),
    (0xc7, [Op::Mov, NONE, NONE, NONE, NONE, NONE, NONE, NONE], &[Ev, Iz]),
    (0xd0, SHIFTS, &[Eb, One]),
    (0xd1, SHIFTS, &[Ev, One]),
    (0xd2, SHIFTS, &[Eb, CL]),
    (0xd3, SHIFTS, &[Ev, CL]),
    (0xf6, [Op::Test, NONE, NONE, NONE, NONE, NONE, NONE, NONE], &[Eb, Ib]),
    (0xf6, UNARY, &[Eb]),
    (0xf7, [Op::Test, NONE, NONE, NONE, NONE, NONE, NONE, NONE], &[Ev, Iz]),
    (0xf7, UNARY, &[Ev]),
    (0xfe, [Op::Inc, Op::Dec, NONE, NONE, NONE, NONE, NONE, NONE], &[Eb]),
    (0xff, [Op::Inc, Op::Dec, NONE, NONE, NONE, NONE, NONE, NONE], &[Ev]),
    (0xff, [NONE, NONE, Op::Call, NONE, Op::Jmp, NONE, Op::Push, NONE], &[Eq]),
];
/// With F3: string operations.
#[rustfmt::skip]
const ONE_BYTE_F3: Rows = &[
    (0xa4..=0xa4, Op::Movs,  &[Yb, Xb]),
    (0xa5..=0xa5, Op::Movs,  &[Yv, Xv]),
    (0xaa..=0xaa, Op::Stos,  &[Yb, AL]),
    (0xab..=0xab, Op::Stos,  &[Yv, RAX]),
];

/// Opcodes of two bytes, the first 0F (SDM 2 table A-3), without a prefix that selects the operation.
#[rustfmt::skip]
const TWO_BYTE: Rows = &[
    (0x05..=0x05, Op::Syscall, &[Sq]),
    (0x19..=0x1f, Op::Nop,     &[Ev, Gv]),
    (0x40..=0x4f, Op::Cmov,    &[Gv, Ev]),
    (0x80..=0x8f, Op::Jcc,     &[Jz]),
    (0x90..=0x9f, Op::Set,     &[Eb]),
    (0xa3..=0xa3, Op::Bt,      &[Ev, Gv]),
    (0xa4..=0xa4, Op::Shld,    &[Ev, Gv, Ib]),
    (0xa5..=0xa5, Op::Shld,    &[Ev, Gv, CL]),
    (0xab..=0xab, Op::Bts,     &[Ev, Gv]),
    (0xac..=0xac, Op::Shrd,    &[Ev, Gv, Ib]),
    (0xad..=0xad, Op::Shrd,    &[Ev, Gv, CL]),
    (0xaf..=0xaf, Op::Imul,    &[Gv, Ev]),
    (0xb0..=0xb0, Op::Cmpxchg, &[Eb, Gb]),
    (0xb1..=0xb1, Op::Cmpxchg, &[Ev, Gv]),
    (0xb3..=0xb3, Op::Btr,     &[Ev, Gv]),
    (0xb6..=0xb6, Op::Movzx,   &[Gv, Eb]),
    (0xb7..=0xb7, Op::Movzx,   &[Gv, Ew]),
    (0xbb..=0xbb, Op::Btc,     &[Ev, Gv]),
    (0xbc..=0xbc, Op::Bsf,     &[Gv, Ev]),
    (0xbd..=0xbd, Op::Bsr,     &[Gv, Ev]),
    (0xbe..=0xbe, Op::Movsx,   &[Gv, Eb]),
    (0xbf..=0xbf, Op::Movsx,   &[Gv, Ew]),
    (0xc0..=0xc0, Op::Xadd,    &[Eb, Gb]),
    (0xc1..=0xc1, Op::Xadd,    &[Ev, Gv]),
    (0xc8..=0xcf, Op::Bswap,   &[Zy]),
];
#[rustfmt::skip]
const TWO_BYTE_GROUPS: Groups = &[
    (0xba, [NONE, NONE, NONE, NONE, Op::Bt, Op::Bts, Op::Btr, Op::Btc], &[Ev, Ib]),
];
/// ENDBR64 and its like: hints of the reserved NOP space.
#[rustfmt::skip]
const TWO_BYTE_HINTS: Rows = &[
    (0x1e..=0x1e, Op::Nop, &[Ev, Gv]),
];

/// SSE without a prefix, with 66, F3 and F2.
#[rustfmt::skip]
const SSE_NP: Rows = &[
    (0x10..=0x10, Op::Movups,   &[Vx, Wx]),
    (0x11..=0x11, Op::Movups,   &[Wx, Vx]),
    (0x12..=0x12, Op::Movlps,   &[Vx, Mx]),
    (0x13..=0x13, Op::Movlps,   &[Mx, Vx]),
    (0x14..=0x14, Op::Unpcklps, &[Vx, Wx]),
    (0x16..=0x16, Op::Movhps,   &[Vx, Wx]),
    (0x17..=0x17, Op::Movhps,   &[Mx, Vx]),
    (0x28..=0x28, Op::Movaps,   &[Vx, Wx]),
    (0x29..=0x29, Op::Movaps,   &[Wx, Vx]),
    (0x2e..=0x2e, Op::Ucomiss,  &[Vx, Wx]),
    (0x2f..=0x2f, Op::Comiss,   &[Vx, Wx]),
    (0x54..=0x54, Op::Pand,     &[Vx, Wx]),
    (0x55..=0x55, Op::Pandn,    &[Vx, Wx]),
    (0x56..=0x56, Op::Por,      &[Vx, Wx]),
    (0x57..=0x57, Op::Pxor,     &[Vx, Wx]),
    (0x58..=0x58, Op::Addps,    &[Vx, Wx]),
    (0x59..=0x59, Op::Mulps,    &[Vx, Wx]),
    (0x5c..=0x5c, Op::Subps,    &[Vx, Wx]),
    (0x5e..=0x5e, Op::Divps,    &[Vx, Wx]),
    (0xc6..=0xc6, Op::Shufps,   &[Vx, Wx, Ib]),
];
#[rustfmt::skip]
const SSE_66: Rows = &[
    (0x10..=0x10, Op::Movups,     &[Vx, Wx]),
    (0x11..=0x11, Op::Movups,     &[Wx, Vx]),
    (0x12..=0x12, Op::Movlps,     &[Vx, Mx]),
    (0x13..=0x13, Op::Movlps,     &[Mx, Vx]),
    (0x14..=0x14, Op::Unpcklpd,   &[Vx, Wx]),
    (0x15..=0x15, Op::Unpckhpd,   &[Vx, Wx]),
    (0x16..=0x16, Op::Movhps,     &[Vx, Mx]),
    (0x17..=0x17, Op::Movhps,     &[Mx, Vx]),
    (0x28..=0x28, Op::Movaps,     &[Vx, Wx]),
    (0x29..=0x29, Op::Movaps,     &[Wx, Vx]),
    (0x2e..=0x2e, Op::Ucomisd,    &[Vx, Wx]),
    (0x2f..=0x2f, Op::Comisd,     &[Vx, Wx]),
    (0x54..=0x54, Op::Pand,       &[Vx, Wx]),
    (0x55..=0x55, Op::Pandn,      &[Vx, Wx]),
    (0x56..=0x56, Op::Por,        &[Vx, Wx]),
    (0x57..=0x57, Op::Pxor,       &[Vx, Wx]),
    (0x58..=0x58, Op::Addpd,      &[Vx, Wx]),
    (0x59..=0x59, Op::Mulpd,      &[Vx, Wx]),
    (0x5c..=0x5c, Op::Subpd,      &[Vx, Wx]),
    (0x5e..=0x5e, Op::Divpd,      &[Vx, Wx]),
    (0x60..=0x60, Op::Punpcklbw,  &[Vx, Wx]),
    (0x61..=0x61, Op::Punpcklwd,  &[Vx, Wx]),
    (0x62..=0x62, Op::Punpckldq,  &[Vx, Wx]),
    (0x6c..=0x6c, Op::Punpcklqdq, &[Vx, Wx]),
    (0x6d..=0x6d, Op::Punpckhqdq, &[Vx, Wx]),
    (0x6f..=0x6f, Op::Movaps,     &[Vx, Wx]),
    (0x70..=0x70, Op::Pshufd,     &[Vx, Wx, Ib]),
    (0x74..=0x74, Op::Pcmpeqb,    &[Vx, Wx]),
    (0x75..=0x75, Op::Pcmpeqw,    &[Vx, Wx]),
    (0x76..=0x76, Op::Pcmpeqd,    &[Vx, Wx]),
    (0x7f..=0x7f, Op::Movaps,     &[Wx, Vx]),
    (0xd4..=0xd4, Op::Paddq,      &[Vx, Wx]),
    (0xd6..=0xd6, Op::Movq,       &[Wx, Vx]),
    (0xd7..=0xd7, Op::Pmovmskb,   &[Gy, Ux]),
    (0xda..=0xda, Op::Pminub,     &[Vx, Wx]),
    (0xdb..=0xdb, Op::Pand,       &[Vx, Wx]),
    (0xdf..=0xdf, Op::Pandn,      &[Vx, Wx]),
    (0xeb..=0xeb, Op::Por,        &[Vx, Wx]),
    (0xef..=0xef, Op::Pxor,       &[Vx, Wx]),
    (0xfa..=0xfa, Op::Psubd,      &[Vx, Wx]),
    (0xfb..=0xfb, Op::Psubq,      &[Vx, Wx]),
    (0xfc..=0xfc, Op::Paddb,      &[Vx, Wx]),
    (0xfd..=0xfd, Op::Paddw,      &[Vx, Wx]),
    (0xfe..=0xfe, Op::Paddd,      &[Vx, Wx]),
];
#[rustfmt::skip]
const SSE_F3: Rows = &[
    (0x10..=0x10, Op::Movss,     &[Vx, Wx]),
    (0x11..=0x11, Op::Movss,     &[Wx, Vx]),
    (0x2a..=0x2a, Op::Cvtsi2ss,  &[Vx, Ey]),
    (0x2c..=0x2c, Op::Cvttss2si, &[Gy, Wx]),
    (0x58..=0x58, Op::Addss,     &[Vx, Wx]),
    (0x59..=0x59, Op::Mulss,     &[Vx, Wx]),
    (0x5a..=0x5a, Op::Cvtss2sd,  &[Vx, Wx]),
    (0x5c..=0x5c, Op::Subss,     &[Vx, Wx]),
    (0x5e..=0x5e, Op::Divss,     &[Vx, Wx]),
    (0x6f..=0x6f, Op::Movups,    &[Vx, Wx]),
    (0x7e..=0x7e, Op::Movq,      &[Vx, Wx]),
    (0x7f..=0x7f, Op::Movups,    &[Wx, Vx]),
];
#[rustfmt::skip]
const SSE_F2: Rows = &[
    (0x10..=0x10, Op::Movsd,     &[Vx, Wx]),
    (0x11..=0x11, Op::Movsd,     &[Wx, Vx]),
    (0x2a..=0x2a, Op::Cvtsi2sd,  &[Vx, Ey]),
    (0x2c..=0x2c, Op::Cvttsd2si, &[Gy, Wx]),
    (0x51..=0x51, Op::Sqrtsd,    &[Vx, Wx]),
    (0x58..=0x58, Op::Addsd,     &[Vx, Wx]),
    (0x59..=0x59, Op::Mulsd,     &[Vx, Wx]),
    (0x5a..=0x5a, Op::Cvtsd2ss,  &[Vx, Wx]),
    (0x5c..=0x5c, Op::Subsd,     &[Vx, Wx]),
    (0x5d..=0x5d, Op::Minsd,     &[Vx, Wx]),
    (0x5e..=0x5e, Op::Divsd,     &[Vx, Wx]),
    (0x5f..=0x5f, Op::Maxsd,     &[Vx, Wx]),
];

impl Operand {
    /// Its size for the [`Sizes`] of a row, where it has one.
    const fn size(self) -> Option<[Width; 4]> {
        use Width::*;
        match self {
            Eb | Gb | Zb | AL | CL | Xb | Yb => Some([W8; 4]),
            Ew => Some([W16; 4]),
            Ez => Some([W32, W16, W32, W32]),
            Ey | Gy | Zy => Some([W32, W32, W64, W64]),
            Ev | Gv | Zv | RAX | Xv | Yv | Sv => Some([W32, W16, W64, W64]),
            Eq | Zq | Sq => Some([W64; 4]),
            Mv | Ib | Is | Iw | Id | Iz | Iv | One | Jb | Jz | Vx | Wx | Mx | Ux => None,
        }
    }
    const fn kind(self) -> Kind {
        match self {
            Eb | Ew | Ez | Ey | Ev | Eq | Gb | Gy | Gv | Zb | Zv | Zy | Zq | AL | CL | RAX => Kind::Gpr,
            Ib | Is | Iw | Id | Iz | Iv | One | Jb | Jz => Kind::Imm,
            Vx | Wx | Ux => Kind::Xmm,
            Mv | Mx => Kind::Mem,
            Xb | Xv | Yb | Yv | Sv | Sq => Kind::None,
        }
    }
    /// Bytes of an immediate or displacement, and whether its sign is extended.
    const fn immediate(self) -> Option<[(u8, bool); 4]> {
        match self {
            Ib => Some([(1, false); 4]),
            Is | Jb => Some([(1, true); 4]),
            Iw => Some([(2, false); 4]),
            Iz => Some([(4, false), (2, false), (4, true), (4, true)]),
            Iv => Some([(4, false), (2, false), (8, false), (8, false)]),
            Id | Jz => Some([(4, true); 4]),
            _ => None,
        }
    }
    /// 64 bits by default: 66 makes it something else, which is iced's.
    const fn default_64(self) -> bool {
        matches!(self, Eq | Zq | Zy | Sq | Jb | Jz)
    }
}

/// How a number in an instruction's bytes, an immediate or a displacement, is made of eight bytes: what counts of them, which bits of that
/// are flipped, and what is taken from it. So signs are extended.
#[derive(Clone, Copy)]
pub(super) struct Number {
    pub(super) mask: u64,
    pub(super) flipped: u64,
    pub(super) less: u64,
}

/// Kinds of numbers: bytes, and whether the sign is extended.
const KINDS: [(u8, bool); 8] =
    [(0, false), (1, true), (4, true), (0, true), (1, false), (2, false), (4, false), (8, false)];
pub(super) const NO_NUMBER: u8 = 0;
pub(super) const SIGNED_8: u8 = 1;
pub(super) const SIGNED_32: u8 = 2;
/// 1, which no byte says.
const ONE: u8 = 3;

pub(super) static NUMBERS: [Number; 8] = {
    let mut all = [Number { mask: 0, flipped: 0, less: 0 }; 8];
    let mut kind = 0;
    while kind < 8 {
        let (bytes, signed) = KINDS[kind];
        let mask = if bytes == 0 { 0 } else { u64::MAX >> (64 - 8 * bytes as u32) };
        let sign = if signed { mask ^ mask >> 1 } else { 0 };
        all[kind] = Number { mask, flipped: sign, less: sign };
        kind += 1;
    }
    all[ONE as usize].flipped = 1;
    all
};

/// The bytes of each kind of number, four bits each.
pub(super) const NUMBERS_BYTES: u32 = {
    let (mut all, mut kind) = (0, 0);
    while kind < 8 {
        all |= (KINDS[kind].0 as u32) << (4 * kind);
        kind += 1;
    }
    all
};

/// The kind of a number of so many bytes.
const fn number_kind(bytes: u8, signed: bool) -> u8 {
    let mut kind = 0;
    while KINDS[kind].0 != bytes || KINDS[kind].1 != signed {
        kind += 1;
    }
    kind as u8
}

/// An encoding with an operand size: all of a decoded instruction but ModRM's fields and the numbers in its bytes.
#[derive(Clone, Copy)]
pub(super) struct Row {
    /// What is kept of the first two of [`Insn::regs`] where ModRM says nothing.
    pub(super) regs: u16,
    /// By what ModRM's reg, and its r/m or the opcode's register, are multiplied to be put there; 0: nowhere.
    pub(super) reg_unit: u16,
    pub(super) rm_unit: u16,
    /// Bits of the registers there that tell AH, CH, DH or BH where there is no REX prefix.
    pub(super) high: u16,
    pub(super) form: u16,
    /// The interpreter's arm with a register in ModRM's r/m, with a memory operand of a plain address (`interp/facts.rs`), of another.
    pub(super) arms: [u8; 3],
    /// The immediate's kind in the low four bits, the condition above.
    pub(super) immediate: u8,
    /// The immediate's bytes.
    pub(super) bytes: u8,
}

const _: () = assert!(size_of::<Row>() == 16, "found by a shift");

/// The rest of an encoding: what only an [`Insn`] has.
#[derive(Clone, Copy)]
struct Rest {
    insn: Insn,
    /// By operand size.
    widths: [Widths; SIZES],
    /// [`Insn::kinds`] with memory in ModRM's r/m.
    memory: [Kind; OPERANDS],
}

/// Bits of [`Row::form`]. There is a ModRM byte; its r/m, or what is said without one, may be a register, may be memory.
pub(super) const MODRM: u16 = 1;
pub(super) const REGISTER: u16 = 2;
pub(super) const MEMORY: u16 = 4;
/// There is an immediate, in the instruction's bytes or not.
pub(super) const IMMEDIATE: u16 = 8;
/// A [branch](branches).
pub(super) const BRANCH: u16 = 16;
/// Memory without ModRM.
pub(super) const STRING: u16 = 32;
/// The block ends behind it, by a computed jump if it is none to an immediate.
pub(super) const ENDS_BLOCK: u16 = 64;
pub(super) const COMPUTED: u16 = 128;

const NO_ROW: Row =
    Row { bytes: 0, regs: 0, reg_unit: 0, rm_unit: 0, high: 0, form: 0, arms: [NO_ARM; 3], immediate: 0 };

const NO_REST: Rest = Rest { insn: Insn::BLANK, widths: [Insn::BLANK.widths; SIZES], memory: [Kind::None; OPERANDS] };

/// What memory adds to a [form's number](form_of_row): flat addresses, those that begin at the stack's registers, in FS, in GS.
pub(super) const FLAT: u16 = 1;
pub(super) const ON_STACK: u16 = 2;
pub(super) const IN_FS: u16 = 3;
pub(super) const IN_GS: u16 = 4;
/// Numbers of a row.
const FORMS: u16 = 8;

/// The [form's number](form) of row number `row` with a register in ModRM's r/m.
#[inline(always)]
pub(super) const fn form_of_row(row: usize) -> u16 {
    row as u16 * FORMS
}

/// The numbers of forms that the table has: those below.
pub(crate) const FORMS_IN_TABLE: u16 = SIZES as u16 * ROWS as u16 * FORMS;

/// The instruction of form `number` of the table, in which registers (but the third), numbers and what is of its place are blank.
#[inline(always)]
pub(crate) fn form(number: u16) -> Insn {
    let row = usize::from(number / FORMS);
    let Some(rest) = RESTS.get(row / SIZES) else { return Insn::BLANK };
    let mut i = rest.insn;
    i.widths = rest.widths[row % SIZES];
    let memory = number % FORMS;
    if memory != 0 {
        i.kinds = rest.memory;
    }
    match memory {
        ON_STACK => i.space = STACK,
        IN_FS => i.seg_base = SEG_BASE + SegReg::Fs as u8,
        IN_GS => i.seg_base = SEG_BASE + SegReg::Gs as u8,
        _ => {}
    }
    i
}

/// The rows of an encoding, for each operand size: by REX.W and the prefix 66, bits 1 and 0; and the rest.
const fn row(op: Op, opcode: u8, operands: &[Operand], prefix: u8) -> ([Row; SIZES], Rest) {
    let mut r = NO_ROW;
    let mut insn = Insn::BLANK;
    insn.op = op;
    insn.mode = Mode::new(CodeSize::Bits64, prefix);
    if matches!(op, Op::Jcc | Op::Cmov | Op::Set) {
        insn.cc = Cond::ALL[(opcode & 15) as usize];
    }
    let mut width = None;
    let mut src_width = None;
    let mut rm_at = 0;
    let mut immediate = None;
    let mut n = 0;
    while n < operands.len() {
        let o = operands[n];
        if n == 0 || matches!(o, Sv | Sq) {
            width = o.size();
        } else if n == 1 {
            src_width = o.size();
        }
        insn.kinds[n] = o.kind();
        if let Some(i) = o.immediate() {
            immediate = Some(i);
        }
        // The third register is part of the form.
        let unit = if n < 2 { 1 << (8 * n as u32) } else { 0 };
        match o {
            Eb | Ew | Ez | Ey | Ev | Eq | Wx => {
                (r.rm_unit, rm_at) = (unit, n);
                r.form |= MODRM | REGISTER | MEMORY;
            }
            Ux => {
                (r.rm_unit, rm_at) = (unit, n);
                r.form |= MODRM | REGISTER;
            }
            Mv | Mx => {
                rm_at = n;
                r.form |= MODRM | MEMORY;
            }
            Gb | Gy | Gv | Vx => {
                r.reg_unit = unit;
                r.form |= MODRM;
            }
            Zb | Zv | Zy | Zq => r.rm_unit = unit,
            CL => {
                insn.regs[n] = 1;
                r.regs |= unit;
            }
            Xb | Xv | Yb | Yv => r.form |= STRING,
            One | Jb | Jz | AL | RAX | Ib | Is | Iw | Id | Iz | Iv | Sv | Sq => {}
        }
        if matches!(o, Eb | Gb | Zb) {
            r.high |= 4 * unit;
        }
        n += 1;
    }
    if r.form & MODRM == 0 {
        r.form |= REGISTER;
    }
    if has_immediate(insn.kinds) {
        r.form |= IMMEDIATE;
    }
    if branches(op) {
        r.form |= BRANCH;
    }
    if insn.ends_block() {
        r.form |= ENDS_BLOCK;
    }
    if insn.jumps_computed() {
        r.form |= COMPUTED;
    }
    let mut rest = Rest { insn, ..NO_REST };
    rest.memory = insn.kinds;
    rest.memory[rm_at] = Kind::Mem;
    let mut sizes = [r; SIZES];
    let mut k = 0;
    while k < SIZES {
        let r = &mut sizes[k];
        let w = if let Some(w) = width { w[k] } else { Width::W64 };
        let src = if let Some(s) = src_width { s[k] } else { w };
        rest.widths[k] = Widths::flat(w, src);
        if extends(op) {
            r.regs |= (src as u16) << 6;
        }
        let kind = match immediate {
            Some(i) => number_kind(i[k].0, i[k].1),
            None if has_immediate(insn.kinds) => ONE,
            None => NO_NUMBER,
        };
        r.immediate = kind | (insn.cc as u8) << 4;
        r.bytes = KINDS[kind as usize].0;
        let (register, memory) = (arm(op, w, insn.kinds), arm(op, w, rest.memory));
        r.arms = [
            special(register, insn.cc, src, true),
            special(memory, insn.cc, src, true),
            special(memory, insn.cc, src, false),
        ];
        k += 1;
    }
    (sizes, rest)
}

/// The maps, each without a prefix, with 66, F3 and F2: opcodes of one byte, of two.
pub(super) const MAPS: usize = 8;
pub(super) const TWO: usize = 4;
pub(super) const P66: usize = 1;
const F3: usize = 2;
const F2: usize = 3;

/// Operand sizes of an encoding.
pub(super) const SIZES: usize = 4;

struct Tables<const N: usize> {
    maps: [[u16; 256]; MAPS],
    rows: [([Row; SIZES], Rest); N],
    used: usize,
}

impl<const N: usize> Tables<N> {
    /// Enters row `at` at `opcode` of `map`; where 66 is but a size, also of the map with 66.
    const fn enter(&mut self, map: usize, opcode: u8, at: u16, operands: &[Operand]) {
        self.maps[map][opcode as usize] = at;
        if map == 0 || map == TWO {
            let mut sized = true;
            let mut n = 0;
            while n < operands.len() {
                sized &= !operands[n].default_64() && !matches!(operands[n], Vx | Wx | Mx | Ux);
                n += 1;
            }
            self.maps[map + P66][opcode as usize] = if sized { at } else { 0 };
        }
    }
    const fn one(&mut self, map: usize, opcode: u8, op: Op, operands: &[Operand], prefix: u8) {
        self.rows[self.used] = row(op, opcode, operands, prefix);
        self.enter(map, opcode, self.used as u16, operands);
        self.used += 1;
    }
    const fn rows(&mut self, map: usize, rows: Rows, prefix: u8) {
        let mut k = 0;
        while k < rows.len() {
            let (opcodes, op, operands) = &rows[k];
            let mut opcode = *opcodes.start();
            // An opcode that names a register or nothing is in the row's range; a condition makes a row of its own.
            let shared = !matches!(op, Op::Jcc | Op::Cmov | Op::Set);
            loop {
                if shared && opcode != *opcodes.start() {
                    self.enter(map, opcode, self.used as u16 - 1, operands);
                } else {
                    self.one(map, opcode, *op, operands, prefix);
                }
                if opcode == *opcodes.end() {
                    break;
                }
                opcode += 1;
            }
            k += 1;
        }
    }
    const fn groups(&mut self, map: usize, groups: Groups) {
        let mut k = 0;
        while k < groups.len() {
            let (opcode, ops, operands) = groups[k];
            // A second line of a group fills the first one's gaps. FF's are of two sizes: 66 is left out for all of them.
            let first = match self.maps[map][opcode as usize] {
                0 => {
                    self.used += 8;
                    self.used - 8
                }
                known => (known & 0x1fff) as usize,
            };
            let mut n = 0;
            while n < 8 {
                if ops[n] as u16 != NONE as u16 {
                    self.rows[first + n] = row(ops[n], opcode, operands, 0);
                }
                n += 1;
            }
            self.enter(map, opcode, first as u16 | 7 << 13, operands);
            k += 1;
        }
    }
}

const fn tables<const N: usize>() -> Tables<N> {
    let mut t = Tables { maps: [[0; 256]; MAPS], rows: [([NO_ROW; SIZES], NO_REST); N], used: 1 };
    let mut k = 0;
    while k < 8 {
        let (op, at) = (ARITHMETIC[k], 8 * k as u8);
        t.one(0, at, op, &[Eb, Gb], 0);
        t.one(0, at + 1, op, &[Ev, Gv], 0);
        t.one(0, at + 2, op, &[Gb, Eb], 0);
        t.one(0, at + 3, op, &[Gv, Ev], 0);
        t.one(0, at + 4, op, &[AL, Ib], 0);
        t.one(0, at + 5, op, &[RAX, Iz], 0);
        k += 1;
    }
    t.rows(0, ONE_BYTE, 0);
    t.groups(0, ONE_BYTE_GROUPS);
    t.rows(F3, ONE_BYTE_F3, prefix::REP);
    t.rows(TWO, TWO_BYTE, 0);
    t.groups(TWO, TWO_BYTE_GROUPS);
    t.rows(TWO + F3, TWO_BYTE_HINTS, prefix::REP);
    t.rows(TWO, SSE_NP, 0);
    t.rows(TWO + P66, SSE_66, 0);
    t.rows(TWO + F3, SSE_F3, 0);
    t.rows(TWO + F2, SSE_F2, 0);
    t
}

const ROWS: usize = tables::<1024>().used;
const ALL: &Tables<ROWS> = &tables();

/// By map and opcode the number of the first encoding, and in the upper three bits 7 where ModRM's reg is to be added to it. Number 0 is none.
pub(super) static MAPPED: [[u16; 256]; MAPS] = ALL.maps;

/// The rows of each encoding, side by side.
pub(super) static TABLE: [Row; SIZES * ROWS] = {
    let mut rows = [NO_ROW; SIZES * ROWS];
    let mut k = 0;
    while k < rows.len() {
        rows[k] = ALL.rows[k / SIZES].0[k % SIZES];
        k += 1;
    }
    rows
};

static RESTS: [Rest; ROWS] = {
    let mut rests = [NO_REST; ROWS];
    let mut k = 0;
    while k < rests.len() {
        rests[k] = ALL.rows[k].1;
        k += 1;
    }
    rests
};
