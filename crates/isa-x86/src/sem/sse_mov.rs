//! MMX and SSE data movement: moves, shuffles, blends, insertion, extraction, widening.

use guest_api::{Align, EmitVector, Lane, V1, V2, Width};

use super::Sem;
use super::helpers::{LOAD_MXCSR, MXCSR};
use super::operand::{address, read, write};
use super::vec::*;
use crate::insn::{Insn, Kind};

/// Whole registers: 16 bytes.
#[inline(always)]
fn mov<E: EmitVector>(e: &mut E, i: &Insn, align: Align) -> Sem<E> {
    e.require(SSE)?;
    if i.kinds[0] == Kind::Mem {
        let v = e.getx(slot(i, 1));
        let a = address(e, i);
        return e.storex(align, a, v, i.space);
    }
    let v = if i.kinds[1] == Kind::Mem {
        let a = address(e, i);
        e.loadx(align, a, i.space)?
    } else {
        e.getx(slot(i, 1))
    };
    e.putx(slot(i, 0), v);
    Ok(())
}
/// MOVAPS, MOVAPD, MOVDQA and the non-temporal moves, whose hint is not needed.
#[inline(always)]
pub fn aligned<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    mov(e, i, Align::Natural)
}
/// MOVUPS, MOVUPD, MOVDQU, LDDQU.
#[inline(always)]
pub fn unaligned<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    mov(e, i, Align::Any)
}

/// MOVD, MOVQ, MOVNTQ: the low part of a vector register from or to memory, a general register or another one, zero-extended.
#[inline(always)]
fn low<E: EmitVector>(e: &mut E, i: &Insn, w: Width, lane: Lane) -> Sem<E> {
    begin(e, i)?;
    let v = match i.kinds[1] {
        Kind::Xmm | Kind::Mm => {
            let x = e.getx(slot(i, 1));
            e.extract(lane, 0, x)
        }
        _ => read(e, i, 1, w)?,
    };
    if matches!(i.kinds[0], Kind::Xmm | Kind::Mm) {
        let x = e.widen(v);
        return finish(e, i, x);
    }
    write(e, i, 0, w, v)?;
    if is_mmx(i) { enter_mmx(e) } else { Ok(()) }
}
#[inline(always)]
pub fn movd<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    low(e, i, Width::W32, Lane::B32)
}
#[inline(always)]
pub fn movq<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    low(e, i, Width::W64, Lane::B64)
}

/// MOVSS and MOVSD: between registers the rest is kept, from memory it is cleared.
#[inline(always)]
fn scalar<E: EmitVector>(e: &mut E, i: &Insn, w: Width, lane: Lane) -> Sem<E> {
    if i.kinds[1] == Kind::Mem {
        e.require(SSE)?;
        let v = read(e, i, 1, w)?;
        let x = e.widen(v);
        e.putx(slot(i, 0), x);
        Ok(())
    } else {
        insert_low(e, i, w, lane, 0)
    }
}
#[inline(always)]
pub fn movss<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    scalar(e, i, Width::W32, Lane::B32)
}
#[inline(always)]
pub fn movsd<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    scalar(e, i, Width::W64, Lane::B64)
}

/// Lane `to` of the destination register from the low lane of the source, or memory from that lane of the source.
#[inline(always)]
fn insert_low<E: EmitVector>(e: &mut E, i: &Insn, w: Width, lane: Lane, to: u8) -> Sem<E> {
    e.require(SSE)?;
    if i.kinds[0] == Kind::Mem {
        let x = e.getx(slot(i, 1));
        let v = e.extract(lane, to, x);
        return write(e, i, 0, w, v);
    }
    let v = if i.kinds[1] == Kind::Mem {
        read(e, i, 1, w)?
    } else {
        let x = e.getx(slot(i, 1));
        e.extract(lane, 0, x)
    };
    let x = e.getx(slot(i, 0));
    let x = e.insert(lane, to, x, v);
    e.putx(slot(i, 0), x);
    Ok(())
}
/// MOVLPS and MOVLPD.
pub fn movlps<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    insert_low(e, i, Width::W64, Lane::B64, 0)
}
/// MOVHPS, MOVHPD and MOVLHPS.
pub fn movhps<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    insert_low(e, i, Width::W64, Lane::B64, 1)
}
pub fn movhlps<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    binary(e, i, |e, a, b| e.shuffle(Lane::B64, sel(&[3, 1]), a, b))
}

/// MOVMSKPS, MOVMSKPD, PMOVMSKB.
#[inline(always)]
fn mask<E: EmitVector>(e: &mut E, i: &Insn, lane: Lane) -> Sem<E> {
    begin(e, i)?;
    let x = e.getx(slot(i, 1));
    let v = e.movemask(lane, x);
    if is_mmx(i) {
        enter_mmx(e)?;
    }
    write(e, i, 0, Width::W64, v)
}
pub fn movmskps<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    mask(e, i, Lane::B32)
}
pub fn movmskpd<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    mask(e, i, Lane::B64)
}
pub fn pmovmskb<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    mask(e, i, Lane::B8)
}

/// MASKMOVDQU and MASKMOVQ: the bytes whose mask byte has its top bit set, to DS:rDI. Operands: memory, data, mask.
pub fn maskmov<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    begin(e, i)?;
    let (data, mask) = (e.getx(slot(i, 1)), e.getx(slot(i, 2)));
    let bytes = if is_mmx(i) { 8 } else { 16 };
    let mask = e.movemask(Lane::B8, mask);
    let at = {
        let a = e.get(crate::cpu::gpr(crate::cpu::RDI));
        let a = e.zext(i.addr_width(), a);
        let base = e.get(guest_api::Slot(i.seg_base));
        e.add(a, base)
    };
    // Bytes not selected may fault too (SDM 2 MASKMOVDQU); processors let all of them.
    e.probe_write(bytes, at, i.space)?;
    for k in 0..bytes {
        let selected = e.bit(mask, k);
        e.when(selected, |e| {
            let v = e.extract(Lane::B8, k as u8, data);
            let a = e.add_imm(at, u64::from(k));
            e.store(Width::W8, a, v, i.space)
        })?;
    }
    if is_mmx(i) { enter_mmx(e) } else { Ok(()) }
}

/// MOVQ2DQ and MOVDQ2Q.
pub fn movq2dq<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    e.require(BOTH)?;
    let x = e.getx(slot(i, 1));
    let v = e.extract(Lane::B64, 0, x);
    let x = e.widen(v);
    enter_mmx(e)?;
    e.putx(slot(i, 0), x);
    Ok(())
}

/// LDMXCSR: #GP(0) for a reserved bit.
pub fn ldmxcsr<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    e.require(SSE)?;
    let v = read(e, i, 0, Width::W32)?;
    e.helper(LOAD_MXCSR, &[v]).map(|_| ())
}
pub fn stmxcsr<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    e.require(SSE)?;
    let v = e.helper(MXCSR, &[])?;
    write(e, i, 0, Width::W32, v)
}

/// The first entries of a lane selection.
const fn sel(s: &[u8]) -> [u8; 16] {
    let mut r = [0; 16];
    let mut k = 0;
    while k < s.len() {
        r[k] = s[k];
        k += 1;
    }
    r
}

macro_rules! shuffles {
    ($($name:ident $lane:ident [$($k:literal)*];)*) => { $(
        pub fn $name<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
            const SEL: [u8; 16] = sel(&[$($k),*]);
            binary(e, i, |e, a, b| e.shuffle(Lane::$lane, SEL, a, b))
        }
    )* };
}
#[rustfmt::skip]
shuffles! {
    unpcklps B32 [0 4 1 5];
    unpckhps B32 [2 6 3 7];
    unpcklpd B64 [0 2];
    unpckhpd B64 [1 3];
    movshdup B32 [5 5 7 7];
    movsldup B32 [4 4 6 6];
}

/// MOVDDUP reads 8 bytes.
pub fn movddup<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    e.require(SSE)?;
    let x = source_low(e, i, 1, Width::W64)?;
    let x = e.shuffle(Lane::B64, sel(&[0, 0]), x, x);
    e.putx(slot(i, 0), x);
    Ok(())
}

/// PUNPCKxxx: the lanes of the low or high halves of both operands, in turn. The low MMX forms read 4 bytes of memory.
macro_rules! unpacks {
    ($($name:ident $lane:ident [$($x:literal)*] [$($m:literal)*] $low:literal;)*) => { $(
        pub fn $name<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
            const XMM: [u8; 16] = sel(&[$($x),*]);
            const MMX: [u8; 16] = sel(&[$($m),*]);
            if !is_mmx(i) {
                return binary(e, i, |e, a, b| e.shuffle(Lane::$lane, XMM, a, b));
            }
            begin(e, i)?;
            let b = source_low(e, i, 1, if $low { Width::W32 } else { Width::W64 })?;
            let a = e.getx(slot(i, 0));
            let r = e.shuffle(Lane::$lane, MMX, a, b);
            finish(e, i, r)
        }
    )* };
}
#[rustfmt::skip]
unpacks! {
    punpcklbw  B8  [0 16 1 17 2 18 3 19 4 20 5 21 6 22 7 23]       [0 16 1 17 2 18 3 19]  true;
    punpckhbw  B8  [8 24 9 25 10 26 11 27 12 28 13 29 14 30 15 31] [4 20 5 21 6 22 7 23]  false;
    punpcklwd  B16 [0 8 1 9 2 10 3 11]                             [0 8 1 9]              true;
    punpckhwd  B16 [4 12 5 13 6 14 7 15]                           [2 10 3 11]            false;
    punpckldq  B32 [0 4 1 5]                                       [0 4]                  true;
    punpckhdq  B32 [2 6 3 7]                                       [1 5]                  false;
    punpcklqdq B64 [0 2]                                           [0 2]                  false;
    punpckhqdq B64 [1 3]                                           [1 3]                  false;
}

/// Field `k` of an immediate of 2-bit selectors.
#[inline(always)]
const fn field(imm: u8, k: u32) -> u8 {
    (imm >> (2 * k)) & 3
}

/// PSHUFD.
pub fn pshufd<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    let m = imm8(i);
    let s = sel(&[field(m, 0), field(m, 1), field(m, 2), field(m, 3)]);
    unary(e, i, |e, b| e.shuffle(Lane::B32, s, b, b))
}
/// PSHUFLW, and PSHUFW in its register's only half.
pub fn pshuflw<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    let m = imm8(i);
    let s = sel(&[field(m, 0), field(m, 1), field(m, 2), field(m, 3), 4, 5, 6, 7]);
    unary(e, i, |e, b| e.shuffle(Lane::B16, s, b, b))
}
pub fn pshufhw<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    let m = imm8(i);
    let s = sel(&[0, 1, 2, 3, 4 + field(m, 0), 4 + field(m, 1), 4 + field(m, 2), 4 + field(m, 3)]);
    unary(e, i, |e, b| e.shuffle(Lane::B16, s, b, b))
}
pub fn shufps<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    let m = imm8(i);
    let s = sel(&[field(m, 0), field(m, 1), 4 + field(m, 2), 4 + field(m, 3)]);
    binary(e, i, |e, a, b| e.shuffle(Lane::B32, s, a, b))
}
pub fn shufpd<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    let m = imm8(i);
    let s = sel(&[m & 1, 2 + (m >> 1 & 1)]);
    binary(e, i, |e, a, b| e.shuffle(Lane::B64, s, a, b))
}

/// PSHUFB: bit 7 of a selector clears the byte, else the bits that number a byte of the register count.
pub fn pshufb<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    let bits: u8 = if is_mmx(i) { 0x87 } else { 0x8f };
    binary(e, i, |e, a, b| {
        let bits = e.immx(u128::from_le_bytes([bits; 16]));
        let b = e.v2(V2::And, b, bits);
        e.v2(V2::Swizzle, a, b)
    })
}

/// `n` bytes of `low` followed by `high`, from byte `by` on, where the bytes behind are 0. Bytes of the register: 8 or 16.
#[inline(always)]
fn align_bytes<E: EmitVector>(e: &mut E, i: &Insn, high: E::X, low: E::X, by: u8) -> E::X {
    let zero = e.immx(0);
    let size: u8 = if is_mmx(i) { 8 } else { 16 };
    let mut s = [0; 16];
    // The MMX operands are made one vector, so that both forms shift a vector pair.
    let (low, high) = if size == 8 { (e.shuffle(Lane::B64, sel(&[0, 2]), low, high), zero) } else { (low, high) };
    if by >= 32 {
        return zero;
    }
    let (first, second) = if by >= 16 { (high, zero) } else { (low, high) };
    let mut k = 0;
    while k < 16 {
        s[k as usize] = by % 16 + k;
        k += 1;
    }
    e.shuffle(Lane::B8, s, first, second)
}
pub fn palignr<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    binary(e, i, |e, a, b| align_bytes(e, i, a, b, imm8(i)))
}
/// PSRLDQ.
pub fn psrldq<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    e.require(SSE)?;
    let a = e.getx(slot(i, 0));
    let zero = e.immx(0);
    let r = align_bytes(e, i, zero, a, imm8(i).min(16));
    finish(e, i, r)
}
/// PSLLDQ.
pub fn pslldq<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    e.require(SSE)?;
    let a = e.getx(slot(i, 0));
    let zero = e.immx(0);
    let r = align_bytes(e, i, a, zero, 16 - imm8(i).min(16));
    finish(e, i, r)
}

/// Blends by an immediate: lane `k` is the source's where bit `k` is set.
#[inline(always)]
fn blend<E: EmitVector>(e: &mut E, i: &Insn, lane: Lane) -> Sem<E> {
    let n = lane.count() as u8;
    let mut s = [0; 16];
    let mut k = 0;
    while k < n {
        s[k as usize] = if imm8(i) >> k & 1 != 0 { n + k } else { k };
        k += 1;
    }
    binary(e, i, |e, a, b| e.shuffle(lane, s, a, b))
}
pub fn pblendw<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    blend(e, i, Lane::B16)
}
pub fn blendps<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    blend(e, i, Lane::B32)
}
pub fn blendpd<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    blend(e, i, Lane::B64)
}
/// Blends by the top bits of XMM0's lanes.
#[inline(always)]
fn blendv<E: EmitVector>(e: &mut E, i: &Insn, lane: Lane) -> Sem<E> {
    binary(e, i, |e, a, b| {
        let (zero, m) = (e.immx(0), e.getx(guest_api::XSlot(0)));
        let m = e.v2(V2::GtS(lane), zero, m);
        e.vselect(m, b, a)
    })
}
pub fn pblendvb<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    blendv(e, i, Lane::B8)
}
pub fn blendvps<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    blendv(e, i, Lane::B32)
}
pub fn blendvpd<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    blendv(e, i, Lane::B64)
}

/// PINSRx: lane `imm` of the destination from a general register or memory.
#[inline(always)]
fn pinsr<E: EmitVector>(e: &mut E, i: &Insn, w: Width, lane: Lane) -> Sem<E> {
    begin(e, i)?;
    let v = read(e, i, 1, w)?;
    let x = e.getx(slot(i, 0));
    let x = e.insert(lane, lane_number(i, lane), x, v);
    finish(e, i, x)
}
/// The lane that the immediate names.
#[inline(always)]
fn lane_number(i: &Insn, lane: Lane) -> u8 {
    let lanes = if is_mmx(i) { lane.count() / 2 } else { lane.count() };
    imm8(i) & (lanes as u8 - 1)
}
pub fn pinsrb<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    pinsr(e, i, Width::W8, Lane::B8)
}
pub fn pinsrw<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    pinsr(e, i, Width::W16, Lane::B16)
}
pub fn pinsrd<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    pinsr(e, i, Width::W32, Lane::B32)
}
pub fn pinsrq<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    pinsr(e, i, Width::W64, Lane::B64)
}

/// PEXTRx: a lane to memory of its size, or zero-extended to a general register.
#[inline(always)]
fn pextr<E: EmitVector>(e: &mut E, i: &Insn, w: Width, lane: Lane) -> Sem<E> {
    begin(e, i)?;
    let x = e.getx(slot(i, 1));
    let v = e.extract(lane, lane_number(i, lane), x);
    write(e, i, 0, if i.kinds[0] == Kind::Mem { w } else { Width::W64 }, v)?;
    if is_mmx(i) { enter_mmx(e) } else { Ok(()) }
}
pub fn pextrb<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    pextr(e, i, Width::W8, Lane::B8)
}
pub fn pextrw<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    pextr(e, i, Width::W16, Lane::B16)
}
/// PEXTRD and EXTRACTPS.
pub fn pextrd<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    pextr(e, i, Width::W32, Lane::B32)
}
pub fn pextrq<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    pextr(e, i, Width::W64, Lane::B64)
}

/// INSERTPS: a lane of the source (bits 7:6; memory has only one) to a lane of the destination (5:4), then lanes cleared (3:0).
pub fn insertps<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    e.require(SSE)?;
    let m = imm8(i);
    let b = source_low(e, i, 1, Width::W32)?;
    let from = if i.kinds[1] == Kind::Mem { 0 } else { m >> 6 };
    let v = e.extract(Lane::B32, from, b);
    let x = e.getx(slot(i, 0));
    let x = e.insert(Lane::B32, m >> 4 & 3, x, v);
    let keep = (0..4).fold(0, |r: u128, k| if m >> k & 1 != 0 { r } else { r | 0xffff_ffff << (32 * k) });
    let keep = e.immx(keep);
    let x = e.v2(V2::And, x, keep);
    e.putx(slot(i, 0), x);
    Ok(())
}

/// PMOVSXxx and PMOVZXxx: `steps` doublings of the lane size, from memory as small as needed.
macro_rules! widenings {
    ($($name:ident $w:ident [$($step:ident)*];)*) => { $(
        pub fn $name<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
            e.require(SSE)?;
            let x = source_low(e, i, 1, Width::$w)?;
            $(let x = e.v1(V1::$step, x);)*
            e.putx(slot(i, 0), x);
            Ok(())
        }
    )* };
}
#[rustfmt::skip]
widenings! {
    pmovsxbw W64 [WidenS8];
    pmovsxbd W32 [WidenS8 WidenS16];
    pmovsxbq W16 [WidenS8 WidenS16 WidenS32];
    pmovsxwd W64 [WidenS16];
    pmovsxwq W32 [WidenS16 WidenS32];
    pmovsxdq W64 [WidenS32];
    pmovzxbw W64 [WidenU8];
    pmovzxbd W32 [WidenU8 WidenU16];
    pmovzxbq W16 [WidenU8 WidenU16 WidenU32];
    pmovzxwd W64 [WidenU16];
    pmovzxwq W32 [WidenU16 WidenU32];
    pmovzxdq W64 [WidenU32];
}
