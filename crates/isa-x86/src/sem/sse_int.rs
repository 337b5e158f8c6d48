//! MMX and SSE integer arithmetic, comparison, logic, shifts, packing (SDM 1 9.4, 11.4, 12.2 to 12.10).

use guest_api::{Bin, EmitVector, Lane, Rel, V1, V2};

use super::Sem;
use super::vec::*;
use crate::insn::{Insn, Kind};
use Lane::*;

/// `dst = op(dst, src)`, one vector operation.
macro_rules! binaries {
    ($($name:ident $op:expr;)*) => { $(
        #[inline(always)]
        pub fn $name<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
            binary(e, i, |e, a, b| e.v2($op, a, b))
        }
    )* };
}
#[rustfmt::skip]
binaries! {
    pand V2::And;  por V2::Or;  pxor V2::Xor;  pandn V2::AndNot;
    paddb V2::Add(B8);  paddw V2::Add(B16);  paddd V2::Add(B32);  paddq V2::Add(B64);
    psubb V2::Sub(B8);  psubw V2::Sub(B16);  psubd V2::Sub(B32);  psubq V2::Sub(B64);
    paddsb  V2::AddSatS(B8);  paddsw  V2::AddSatS(B16);  psubsb  V2::SubSatS(B8);  psubsw  V2::SubSatS(B16);
    paddusb V2::AddSatU(B8);  paddusw V2::AddSatU(B16);  psubusb V2::SubSatU(B8);  psubusw V2::SubSatU(B16);
    pminsb V2::MinS(B8);  pminsw V2::MinS(B16);  pminsd V2::MinS(B32);
    pminub V2::MinU(B8);  pminuw V2::MinU(B16);  pminud V2::MinU(B32);
    pmaxsb V2::MaxS(B8);  pmaxsw V2::MaxS(B16);  pmaxsd V2::MaxS(B32);
    pmaxub V2::MaxU(B8);  pmaxuw V2::MaxU(B16);  pmaxud V2::MaxU(B32);
    pavgb V2::AvgU(B8);  pavgw V2::AvgU(B16);
    pcmpeqb V2::Eq(B8);   pcmpeqw V2::Eq(B16);   pcmpeqd V2::Eq(B32);   pcmpeqq V2::Eq(B64);
    pcmpgtb V2::GtS(B8);  pcmpgtw V2::GtS(B16);  pcmpgtd V2::GtS(B32);  pcmpgtq V2::GtS(B64);
    pmullw V2::MulLo(B16);  pmulld V2::MulLo(B32);
    pmulhw V2::MulHiS16;  pmulhuw V2::MulHiU16;  pmulhrsw V2::MulRound16;
    pmuludq V2::MulEvenU32;  pmuldq V2::MulEvenS32;
    pmaddwd V2::Dot16;  pmaddubsw V2::DotSat8;  psadbw V2::Sad8;
}

pub fn pabsb<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    unary(e, i, |e, b| e.v1(V1::Abs(B8), b))
}
pub fn pabsw<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    unary(e, i, |e, b| e.v1(V1::Abs(B16), b))
}
pub fn pabsd<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    unary(e, i, |e, b| e.v1(V1::Abs(B32), b))
}

/// The low halves of `a` and `b` as one vector.
#[inline(always)]
fn join<E: EmitVector>(e: &mut E, a: E::X, b: E::X) -> E::X {
    const LOW: [u8; 16] = [0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    e.shuffle(B64, LOW, a, b)
}

/// Packs: the MMX form narrows both operands' lanes into one register.
macro_rules! packs {
    ($($name:ident $op:ident;)*) => { $(
        pub fn $name<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
            binary(e, i, |e, a, b| {
                let (a, b) = if is_mmx(i) { (join(e, a, b), e.immx(0)) } else { (a, b) };
                e.v2(V2::$op, a, b)
            })
        }
    )* };
}
packs! {
    packsswb NarrowS16;
    packuswb NarrowU16;
    packssdw NarrowS32;
    packusdw NarrowU32;
}

/// Shifts of all lanes by one count: an immediate, or the low 64 bits of the source.
#[inline(always)]
fn shift<E: EmitVector>(e: &mut E, i: &Insn, op: Bin, lane: Lane) -> Sem<E> {
    begin(e, i)?;
    let n = if i.kinds[1] == Kind::Imm {
        e.imm(imm8(i).into())
    } else {
        let b = source(e, i, 1)?;
        e.extract(B64, 0, b)
    };
    let a = e.getx(slot(i, 0));
    let r = e.vshift(op, lane, a, n);
    finish(e, i, r)
}
macro_rules! shifts {
    ($($name:ident $op:ident $lane:ident;)*) => { $(
        pub fn $name<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
            shift(e, i, Bin::$op, $lane)
        }
    )* };
}
shifts! {
    psllw Shl B16;
    pslld Shl B32;
    psllq Shl B64;
    psrlw ShrU B16;
    psrld ShrU B32;
    psrlq ShrU B64;
    psraw ShrS B16;
    psrad ShrS B32;
}

/// PSIGNx: `dst`, negated where `src` is negative, 0 where it is 0.
macro_rules! signs {
    ($($name:ident $lane:ident;)*) => { $(
        pub fn $name<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
            binary(e, i, |e, a, b| {
                let zero = e.immx(0);
                let negative = e.v2(V2::GtS($lane), zero, b);
                let r = e.v2(V2::Xor, a, negative);
                let r = e.v2(V2::Sub($lane), r, negative);
                let none = e.v2(V2::Eq($lane), b, zero);
                e.v2(V2::AndNot, none, r)
            })
        }
    )* };
}
signs! {
    psignb B8;
    psignw B16;
    psignd B32;
}

/// Every other lane of two vectors, beginning with lane `first`.
const fn every_other(first: u8) -> [u8; 16] {
    let mut s = [0; 16];
    let mut k = 0;
    while k < 16 {
        s[k as usize] = (2 * k + first) & 31;
        k += 1;
    }
    s
}
/// Horizontal operations: of the even with the odd lanes of `dst` followed by `src`.
macro_rules! horizontals {
    ($($name:ident $lane:ident $op:ident;)*) => { $(
        pub fn $name<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
            const EVEN: [u8; 16] = every_other(0);
            const ODD: [u8; 16] = every_other(1);
            binary(e, i, |e, a, b| {
                let (a, b) = if is_mmx(i) { (join(e, a, b), e.immx(0)) } else { (a, b) };
                let x = e.shuffle($lane, EVEN, a, b);
                let y = e.shuffle($lane, ODD, a, b);
                e.v2(V2::$op($lane), x, y)
            })
        }
    )* };
}
horizontals! {
    phaddw B16 Add;
    phaddd B32 Add;
    phaddsw B16 AddSatS;
    phsubw B16 Sub;
    phsubd B32 Sub;
    phsubsw B16 SubSatS;
}

/// MPSADBW: eight sums of four absolute differences; the destination's bytes start at 4 * imm\[2\], the source's four at 4 * imm\[1:0\].
pub fn mpsadbw<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    let (from, block) = (4 * (imm8(i) >> 2 & 1), 4 * (imm8(i) & 3));
    binary(e, i, |e, a, b| {
        let mut sum = e.immx(0);
        for k in 0..4 {
            let window = core::array::from_fn(|n| (from + k + n as u8) & 15);
            let x = e.shuffle(B8, window, a, a);
            let y = e.shuffle(B8, [block + k; 16], b, b);
            let up = e.v2(V2::SubSatU(B8), x, y);
            let down = e.v2(V2::SubSatU(B8), y, x);
            let d = e.v2(V2::Or, up, down);
            let d = e.v1(V1::WidenU8, d);
            sum = e.v2(V2::Add(B16), sum, d);
        }
        sum
    })
}

/// PHMINPOSUW: the smallest of the source's words, and the number of the first such.
pub fn phminposuw<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    unary(e, i, |e, b| {
        // Word and number in one value: the smallest word, then the smallest number.
        let sixteen = e.imm(16);
        let mut least = e.extract(B16, 0, b);
        least = e.shift_imm(Bin::Shl, least, 16);
        for k in 1..8 {
            let v = e.extract(B16, k, b);
            let v = e.shift_imm(Bin::Shl, v, 16);
            let v = e.add_imm(v, k.into());
            let less = e.rel(Rel::LtU, v, least);
            least = e.select(less, v, least);
        }
        // The word to bits 15:0, the number to bits 31:16.
        let least = e.bin(Bin::Rotl32, least, sixteen);
        e.widen(least)
    })
}

/// PTEST: ZF where `src & dst` is 0, CF where `src & !dst` is 0.
#[inline(always)]
pub fn ptest<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    let (a, b) = operands(e, i)?;
    let common = e.v2(V2::And, a, b);
    let zero = e.is_zero(common);
    let rest = e.v2(V2::AndNot, a, b);
    let carry = e.is_zero(rest);
    set_zf_pf_cf(e, zero, None, carry);
    Ok(())
}
