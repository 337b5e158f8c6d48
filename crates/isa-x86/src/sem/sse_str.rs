//! SSE4.2 string comparison: PCMPESTRI, PCMPESTRM, PCMPISTRI, PCMPISTRM (SDM 2 4.1). Libraries use PCMPISTRI, which all tiers have: byte
//! by byte, as strcmp(3) does it, in the vocabulary, else as a helper of the two strings; the others are the interpreter's.

use guest_api::{Align, Bin, Emit, EmitVector, Flag, Lane, Rel, Slot, Un, V2, Width, XSlot};

use super::Sem;
use super::helpers::compare_strings;
use super::operand::{address, write_gpr};
use super::vec::{SSE, imm8, slot};
use crate::cpu::{RAX, RCX, RDX};
use crate::exec::Exec;
use crate::fault::Stop;
use crate::insn::{Insn, Kind};

/// What the immediate says about the elements.
#[derive(Clone, Copy)]
struct Format {
    imm: u8,
    /// Elements in a vector: 16 bytes or 8 words.
    count: usize,
}

/// How elements are compared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Aggregation {
    EqualAny,
    Ranges,
    EqualEach,
    EqualOrdered,
}

/// What becomes of the comparison's bits.
#[derive(Clone, Copy)]
enum Polarity {
    Positive,
    Negative,
    /// Negative for the elements that operand 2 has.
    Masked,
}

impl Format {
    fn new(imm: u8) -> Format {
        Format { imm, count: if imm & 1 == 0 { 16 } else { 8 } }
    }
    fn aggregation(self) -> Aggregation {
        match self.imm >> 2 & 3 {
            0 => Aggregation::EqualAny,
            1 => Aggregation::Ranges,
            2 => Aggregation::EqualEach,
            _ => Aggregation::EqualOrdered,
        }
    }
    fn polarity(self) -> Polarity {
        match self.imm >> 4 & 3 {
            1 => Polarity::Negative,
            3 => Polarity::Masked,
            _ => Polarity::Positive,
        }
    }
    /// The index is that of the highest bit; a mask has all bits of an element.
    fn highest(self) -> bool {
        self.imm & 0x40 != 0
    }
    /// A bit for each element.
    fn all(self) -> u32 {
        (1 << self.count) - 1
    }

    /// The elements, sign-extended where they are signed.
    fn elements(self, v: u128) -> [i32; 16] {
        let bytes = v.to_le_bytes();
        let word = |k: usize| [bytes[2 * k & 15], bytes[2 * k + 1 & 15]];
        match self.imm & 3 {
            0 => bytes.map(i32::from),
            1 => core::array::from_fn(|k| u16::from_le_bytes(word(k)).into()),
            2 => bytes.map(|b| i32::from(b as i8)),
            _ => core::array::from_fn(|k| i16::from_le_bytes(word(k)).into()),
        }
    }

    /// Elements before the first that is 0.
    fn implicit_length(self, v: u128) -> usize {
        self.elements(v)[..self.count].iter().position(|&e| e == 0).unwrap_or(self.count)
    }

    /// The magnitude of a length register's value, saturated.
    fn explicit_length(self, v: i64) -> usize {
        v.unsigned_abs().min(self.count as u64) as usize
    }

    /// IntRes1 and IntRes2: the comparison's bits, and those after the polarity. `a` (operand 1) and `b` have `la` and `lb` elements.
    fn compare(self, a: u128, la: usize, b: u128, lb: usize) -> u32 {
        let n = self.count;
        let (x, y) = (self.elements(a), self.elements(b));
        let x = |k: usize| x[k & 15];
        let y = |k: usize| y[k & 15];
        let mut r = 0;
        for j in 0..n {
            let hit = match self.aggregation() {
                // Element j of operand 2 is in the set of operand 1.
                Aggregation::EqualAny => j < lb && (0..la).any(|k| x(k) == y(j)),
                // It is in one of operand 1's ranges.
                Aggregation::Ranges => j < lb && (0..la / 2).any(|k| x(2 * k) <= y(j) && y(j) <= x(2 * k + 1)),
                // Behind both ends elements are equal, behind one they are not.
                Aggregation::EqualEach => match (j < la, j < lb) {
                    (true, true) => x(j) == y(j),
                    (false, false) => true,
                    _ => false,
                },
                // Operand 1 begins at j in operand 2; what is beyond the vector counts as a match.
                Aggregation::EqualOrdered => (0..la.min(n - j)).all(|k| j + k < lb && x(k) == y(j + k)),
            };
            r |= u32::from(hit) << j;
        }
        match self.polarity() {
            Polarity::Positive => r,
            Polarity::Negative => r ^ self.all(),
            Polarity::Masked => r ^ ((1 << lb) - 1),
        }
    }

    /// The result as a mask, one bit or all bits an element.
    fn mask(self, r: u32) -> u128 {
        if !self.highest() {
            return r.into();
        }
        let size = 128 / self.count as u32;
        let ones = u128::MAX >> (128 - size);
        (0..self.count as u32).fold(0, |m, k| if r >> k & 1 != 0 { m | ones << (k * size) } else { m })
    }

    /// The number of the lowest or highest bit set, the count of elements if none is.
    fn index(self, r: u32) -> u64 {
        let i = if self.highest() { 31u32.wrapping_sub(r.leading_zeros()) } else { r.trailing_zeros() };
        if r == 0 { self.count as u64 } else { i.into() }
    }
}

/// The operands.
fn strings<E: EmitVector>(e: &mut E, i: &Insn) -> Result<[E::X; 2], E::Exit> {
    e.require(SSE)?;
    let b = if i.kinds[1] == Kind::Mem {
        let at = address(e, i);
        e.loadx(Align::Any, at, i.space)?
    } else {
        e.getx(slot(i, 1))
    };
    Ok([e.getx(slot(i, 0)), b])
}

/// What is known of a comparison: the bits of IntRes2, and whether the strings end in the vectors.
struct Compared {
    format: Format,
    bits: u32,
    ends: [bool; 2],
}

impl Compared {
    fn implicit(imm: u8, [a, b]: [u128; 2]) -> Compared {
        let f = Format::new(imm);
        Compared::new(f, [a, b], [f.implicit_length(a), f.implicit_length(b)])
    }
    fn new(format: Format, [a, b]: [u128; 2], [la, lb]: [usize; 2]) -> Compared {
        Compared { format, bits: format.compare(a, la, b, lb), ends: [la, lb].map(|l| l < format.count) }
    }
    fn flags<E: Emit>(e: &mut E, any: E::C, first: E::C, ends: [E::C; 2]) {
        // CF: any bit; ZF and SF: operand 2 and 1 end here; OF: bit 0; AF and PF clear.
        let one = e.imm(1);
        e.flags_with(Width::W8, one, any, first);
        let [a, b] = ends;
        e.set_flag(Flag::Zero, b);
        e.set_flag(Flag::Sign, a);
    }
}

/// The result of helper [`compare_strings`]: the index above the flags that [`pcmpistri`] sets.
pub(super) fn compared(imm: u8, strings: [u128; 2]) -> u64 {
    let c = Compared::implicit(imm, strings);
    let flags = [c.bits != 0, c.bits & 1 != 0, c.ends[0], c.ends[1]];
    flags.iter().enumerate().fold(c.format.index(c.bits) << 4, |v, (k, &f)| v | u64::from(f) << k)
}

/// Equal each, of strings of bytes that end with 0: the bits of IntRes2 and, for both, those of the bytes that are 0.
fn equal_each<E: EmitVector>(e: &mut E, f: Format, [a, b]: [E::X; 2]) -> (E::V, [E::V; 2]) {
    let equal = |e: &mut E, a, b| {
        let equal = e.v2(V2::Eq(Lane::B8), a, b);
        e.movemask(Lane::B8, equal)
    };
    let zero = e.immx(0);
    let [same, a_ends, b_ends] = [(a, b), (a, zero), (b, zero)].map(|(a, b)| equal(e, a, b));
    // The bytes before the first 0: all where there is none.
    let [a_has, b_has] = [a_ends, b_ends].map(|ends| {
        let below = e.add_imm(ends, u64::MAX);
        let not = e.un(Un::Not, ends);
        e.and(below, not)
    });
    let both = e.and(a_has, b_has);
    let one = e.or(a_has, b_has);
    let same = e.and(same, both);
    let neither = e.un(Un::Not, one);
    let bits = e.or(same, neither);
    let bits = match f.polarity() {
        Polarity::Positive => bits,
        Polarity::Negative => e.un(Un::Not, bits),
        Polarity::Masked => e.xor(bits, b_has),
    };
    (e.and_imm(bits, f.all().into()), [a_ends, b_ends])
}

/// The number of the lowest or highest bit set of `bits`, the count of elements if none is.
fn index<E: Emit>(e: &mut E, f: Format, bits: E::V) -> E::V {
    if !f.highest() {
        let end = e.imm(1 << f.count);
        let bits = e.or(bits, end);
        return e.un(Un::Ctz, bits);
    }
    let zeros = e.un(Un::Clz, bits);
    let top = e.imm(63);
    let index = e.sub(top, zeros);
    let any = e.rel_imm(Rel::Ne, bits, 0);
    let none = e.imm(f.count as u64);
    e.select(any, index, none)
}

pub fn pcmpistri<E: EmitVector>(e: &mut E, i: &Insn) -> Sem<E> {
    let [a, b] = strings(e, i)?;
    let format = Format::new(imm8(i));
    if format.aggregation() == Aggregation::EqualEach && format.count == 16 {
        let (bits, ends) = equal_each(e, format, [a, b]);
        let index = index(e, format, bits);
        write_gpr(e, Width::W32, RCX, index);
        let any = e.rel_imm(Rel::Ne, bits, 0);
        let first = e.bit(bits, 0);
        let ends = ends.map(|zeros| e.rel_imm(Rel::Ne, zeros, 0));
        Compared::flags(e, any, first, ends);
        return Ok(());
    }
    let halves = [(a, 0), (a, 1), (b, 0), (b, 1)].map(|(x, n)| e.extract(Lane::B64, n, x));
    let r = e.helper(compare_strings(imm8(i)), &halves)?;
    let [any, first, a_ends, b_ends] = [0, 1, 2, 3].map(|k| e.bit(r, k));
    let index = e.shift_imm(Bin::ShrU, r, 4);
    write_gpr(e, Width::W32, RCX, index);
    Compared::flags(e, any, first, [a_ends, b_ends]);
    Ok(())
}

/// Runs a comparison of the interpreter's and sets the flags; the format and IntRes2. `explicit`: the lengths are in registers of that width.
fn run(cx: &mut Exec<'_>, i: &Insn, explicit: Option<Width>) -> Result<(Format, u32), Stop> {
    let strings = strings(cx, i)?;
    let c = match explicit {
        None => Compared::implicit(imm8(i), strings),
        Some(w) => {
            let f = Format::new(imm8(i));
            let lengths = [RAX, RDX].map(|r| {
                let v = cx.get(Slot(r));
                f.explicit_length(cx.sext(w, v) as i64)
            });
            Compared::new(f, strings, lengths)
        }
    };
    Compared::flags(cx, c.bits != 0, c.bits & 1 != 0, c.ends);
    Ok((c.format, c.bits))
}

fn to_index(cx: &mut Exec<'_>, f: Format, r: u32) {
    write_gpr(cx, Width::W32, RCX, f.index(r));
}
fn to_mask(cx: &mut Exec<'_>, f: Format, r: u32) {
    cx.putx(XSlot(0), f.mask(r));
}

pub fn pcmpestri(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
    let (f, r) = run(cx, i, Some(Width::W32))?;
    to_index(cx, f, r);
    Ok(())
}
pub fn pcmpestri64(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
    let (f, r) = run(cx, i, Some(Width::W64))?;
    to_index(cx, f, r);
    Ok(())
}
pub fn pcmpestrm(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
    let (f, r) = run(cx, i, Some(Width::W32))?;
    to_mask(cx, f, r);
    Ok(())
}
pub fn pcmpestrm64(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
    let (f, r) = run(cx, i, Some(Width::W64))?;
    to_mask(cx, f, r);
    Ok(())
}
pub fn pcmpistrm(cx: &mut Exec<'_>, i: &Insn) -> Result<(), Stop> {
    let (f, r) = run(cx, i, None)?;
    to_mask(cx, f, r);
    Ok(())
}
