//! Instructions as decoded code keeps them. Those that have an arm of the interpreter's loop take 16 bytes, from which the arm gets what it needs. What many
//! of them have in common, their *form*, is kept once: with it the instruction is whole again, for the table and for a translator. All others
//! are kept whole, as the table executes them.

use guest_api::{Cond, Width};

use crate::cpu::ZERO;
use crate::insn::{Insn, Kind, OPERANDS, has_memory, width_of};
use crate::table::Op;

use super::hot::{LAST, NO_ARM};
use super::index::GOLDEN;
use super::pieces::{Budget, Pieces};

/// A decoded instruction of a block: a quarter of a cache line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(align(16))]
pub(super) struct Packed {
    /// The immediate, or the displacement of a memory operand; with both, the displacement in the low half and the immediate in the high one. Of a near
    /// branch ([`branches`]) where in the block the next instruction begins, in the low 16 bits; above, the displacement of a memory operand or the
    /// immediate, which is relative to that. Of what is kept [`WHOLE`] its number; of [`Packed::end`] where it goes on.
    constants: u64,
    /// Side by side, so that one store writes them: see the constants below.
    head: [u8; 8],
}

/// What is where in [`Packed::head`]: the arm of the interpreter's loop.
const HOT: usize = 0;
/// Length in bytes in the low four bits; above, with a memory operand, the slot of the segment's base from [`ZERO`] on, otherwise the condition.
const LEN: usize = 1;
/// Number of the form, 16 bits.
const FORM: usize = 2;
/// The first two of [`Insn::regs`], in the low five bits; above, with the first, the width of an extension's source.
const REGS: usize = 4;
/// Slot of the base.
const BASE: usize = 6;
/// Slot of the index in the low five bits; above, its shift.
const INDEX: usize = 7;

const _: () = assert!(size_of::<Packed>() == 16, "more than a million of them are kept");

/// In place of a form's number: the instruction is kept whole.
const WHOLE: u16 = u16::MAX;
/// Slots, and registers, are numbers of five bits.
const SLOT: u8 = 31;

/// Near branches: their arms need to know where they are.
const fn branches(op: Op) -> bool {
    matches!(op, Op::Jcc | Op::Jmp | Op::Call)
}

/// Operations whose arms need to know the width of their source.
const fn extends(op: Op) -> bool {
    matches!(op, Op::Movzx | Op::Movsx)
}

const fn has_immediate(kinds: [Kind; OPERANDS]) -> bool {
    let [a, b, c] = kinds;
    matches!(a, Kind::Imm) || matches!(b, Kind::Imm) || matches!(c, Kind::Imm)
}

/// The condition of number `n`, of which four bits count.
#[inline(always)]
const fn condition(n: u8) -> Cond {
    match n & 15 {
        0 => Cond::O,
        1 => Cond::No,
        2 => Cond::B,
        3 => Cond::Ae,
        4 => Cond::E,
        5 => Cond::Ne,
        6 => Cond::Be,
        7 => Cond::A,
        8 => Cond::S,
        9 => Cond::Ns,
        10 => Cond::P,
        11 => Cond::Np,
        12 => Cond::L,
        13 => Cond::Ge,
        14 => Cond::Le,
        _ => Cond::G,
    }
}

impl Default for Packed {
    fn default() -> Packed {
        Packed::BLANK
    }
}

impl Packed {
    const BLANK: Packed = Packed::new(0, NO_ARM, 0, WHOLE);

    /// An instruction of no registers.
    const fn new(constants: u64, hot: u8, len: u8, form: u16) -> Packed {
        Packed { constants, head: (hot as u64 | (len as u64) << (8 * LEN) | (form as u64) << (8 * FORM)).to_le_bytes() }
    }
    /// What stands behind a block that does not end in a jump: `arm` goes on `off` bytes behind the block's beginning.
    pub(super) const fn end(arm: u8, off: u64) -> Packed {
        Packed::new(off, arm, 0, WHOLE)
    }
    /// Of [`Packed::end`], how far from the block's beginning it goes on.
    #[inline(always)]
    pub(super) const fn end_off(&self) -> u64 {
        self.constants
    }

    #[inline(always)]
    pub(super) const fn hot(&self) -> u8 {
        self.head[HOT]
    }
    /// Length in bytes.
    #[inline(always)]
    pub(super) const fn len(&self) -> u16 {
        (self.head[LEN] & 15) as u16
    }
    #[inline(always)]
    const fn form(&self) -> usize {
        u16::from_le_bytes([self.head[FORM], self.head[FORM + 1]]) as usize
    }

    /// Whether `i`, which has an arm, can be packed: a displacement beside an immediate may be too large, as it is relative to the
    /// block's beginning where the encoding has it relative to RIP.
    #[inline(always)]
    pub(super) fn holds(i: &Insn) -> bool {
        !(has_memory(i.kinds) & has_immediate(i.kinds)) | (i.disp() as i32 as u64 == i.disp())
    }

    /// `i`, which [can be packed](Packed::holds), of the form with this number. What kind of instruction it is is as good as random: nothing branches on it.
    #[inline(always)]
    fn pack(i: &Insn, number: u16, form: &Form) -> Packed {
        let (wide, narrow) = i.constants();
        let (len, off) = (u64::from(i.len), u64::from(i.off));
        let constants = wide.wrapping_sub(len & form.relative) << (form.down - form.up & 63) & form.keep
            | u64::from(narrow) << 32 & !form.keep
            | (off + len) & form.next;
        let fields = [
            (HOT, i.hot),
            (LEN, i.len & 15 | form.above),
            (REGS, i.regs[0] | (i.src_width() as u8) << 6 & form.extends),
            (REGS + 1, i.regs[1]),
            (BASE, i.base),
            (INDEX, i.index & SLOT | i.scale << 5),
        ];
        let head =
            fields.into_iter().fold(u64::from(number) << (8 * FORM), |head, (at, v)| head | u64::from(v) << (8 * at));
        Packed { constants, head: head.to_le_bytes() }
    }

    /// The instruction, which is of `form` and lies `off` bytes behind its block's beginning.
    fn unpack(&self, form: &Form, off: u16) -> Insn {
        let mut i = form.insn;
        (i.off, i.len, i.hot) = (off, self.head[LEN] & 15, self.hot());
        [i.regs[0], i.regs[1]] = [self.head[REGS] & SLOT, self.head[REGS + 1]];
        (i.base, i.index, i.scale) = (self.head[BASE], self.head[INDEX] & SLOT, self.head[INDEX] >> 5);
        let wide = (self.constants << (form.up & 63)) as i64 >> (form.down & 63);
        let narrow = (self.constants & !form.keep) >> 32;
        i.set_wide_and_narrow((wide as u64).wrapping_add(u64::from(i.len) & form.relative), narrow as u32);
        i
    }

    /// The instruction, for an arm that knows that it is `op` of 64-bit mode, with addresses of 64 bits, of this width and these kinds. What they tell is
    /// constant for the compiler; of a branch it is known where the next instruction begins, but not how long the branch is. Not known are: a third register, prefixes,
    /// the source's width where that does not [extend](extends), a condition beside memory, whether the stack is addressed. Arms do not ask for them, and an
    /// arm does not fault: it refuses, and the table has all of the instruction.
    #[inline(always)]
    pub(super) fn known(&self, op: Op, w: Width, kinds: [Kind; OPERANDS]) -> Insn {
        let (memory, above) = (has_memory(kinds), self.head[LEN] >> 4);
        let mut i = Insn::BLANK;
        (i.op, i.kinds, i.regs) = (op, kinds, [self.head[REGS] & SLOT, self.head[REGS + 1], 0]);
        (i.base, i.index, i.scale) = (self.head[BASE] & SLOT, self.head[INDEX] & SLOT, self.head[INDEX] >> 5);
        (i.seg_base, i.cc) = if memory { (ZERO + above, Cond::O) } else { (ZERO, condition(above)) };
        i.set_width(w, if extends(op) { width_of(self.head[REGS] >> 6) } else { w });
        let (wide, narrow) = if branches(op) {
            i.off = self.constants as u16;
            ((self.constants as i64 >> 16) as u64, 0)
        } else if memory && has_immediate(kinds) {
            (((self.constants << 32) as i64 >> 32) as u64, (self.constants >> 32) as u32)
        } else {
            (self.constants, 0)
        };
        i.set_wide_and_narrow(wide, narrow);
        i
    }
}

/// Where instruction `k` of a block's is, in bytes from its beginning.
pub(super) fn offset(insns: &[Packed], k: usize) -> u16 {
    insns.iter().take(k).map(Packed::len).sum()
}

/// What instructions have in common: all but registers (the third is part of it) and the index's shift, constants, place, length and arm.
struct Form {
    /// [`Insn::form`].
    key: u64,
    /// The one constant, or the displacement, is what is left of [`Packed::constants`] shifted so far up, and then down, with its sign.
    up: u8,
    down: u8,
    /// The bits of [`Packed::constants`] that are not an immediate beside a displacement.
    keep: u64,
    /// The bits that are where the next instruction begins.
    next: u64,
    /// All ones where what is above those is relative to that, otherwise 0.
    relative: u64,
    /// The bits of the first register's byte that are the source's width.
    extends: u8,
    /// The upper four bits beside the length.
    above: u8,
    /// An instruction of this form, in which the rest is blank.
    insn: Insn,
}

impl Form {
    /// That of `i`.
    fn of(i: &Insn) -> Form {
        let mut insn = *i;
        (insn.off, insn.len, insn.hot) = (0, 0, NO_ARM);
        [insn.regs[0], insn.regs[1]] = [0; 2];
        (insn.base, insn.index, insn.scale) = (ZERO, ZERO, 0);
        insn.set_constants(0, 0);
        let memory = has_memory(i.kinds);
        let (branches, beside) = (branches(i.op), memory && has_immediate(i.kinds));
        let (up, down) = match () {
            _ if branches => (0, 16),
            _ if beside => (32, 32),
            _ => (0, 0),
        };
        Form {
            key: i.form(),
            up,
            down,
            keep: if beside { u64::from(u32::MAX) } else { u64::MAX },
            next: if branches { 0xffff } else { 0 },
            relative: if branches && !memory { u64::MAX } else { 0 },
            extends: if extends(i.op) { 3 << 6 } else { 0 },
            above: (if memory { i.seg_base.wrapping_sub(ZERO) } else { i.cc as u8 }) << 4,
            insn,
        }
    }
}

/// The forms of instructions, and those that are kept whole.
pub(super) struct Forms {
    forms: Vec<Form>,
    /// Numbers of forms by a hash of the key, the next place where that is taken; [`WHOLE`]: none.
    found: Box<[u16]>,
    whole: Pieces<Insn>,
}

impl Forms {
    /// Forms at most: gcc and python have 200, random bytes fewer than half.
    const MOST: usize = 1 << 12;
    const PLACES: u32 = Self::MOST.trailing_zeros() + 1;

    pub(super) fn new(budget: &mut Budget) -> Forms {
        Forms { forms: Vec::new(), found: vec![WHOLE; 1 << Self::PLACES].into(), whole: Pieces::new(budget) }
    }

    /// Has room for `n` instructions, if it may be and the host can give it.
    #[inline]
    pub(super) fn make_room(&mut self, n: usize, budget: &mut Budget) -> bool {
        self.forms.len() + n <= Self::MOST && self.forms.try_reserve(n).is_ok() && self.whole.make_room(n, budget)
    }

    /// Forgets all. What was packed has no meaning any more.
    pub(super) fn clear(&mut self, budget: &mut Budget) {
        self.forms.clear();
        self.found.fill(WHOLE);
        self.whole.clear(budget);
    }

    /// Packs `i` to `place`, for which there is room.
    #[inline(always)]
    pub(super) fn pack(&mut self, place: &mut Packed, i: &Insn) {
        if i.hot == NO_ARM || i.hot == LAST {
            return *place = self.keep(i);
        }
        let number = self.number(i);
        let Some(form) = self.forms.get(usize::from(number)) else { return };
        let Packed { constants, head } = Packed::pack(i, number, form);
        // Each by itself: one store of both would be two to the stack first, and the processor waits for those before it loads them as one.
        place.constants = constants;
        place.head = head;
    }

    /// Keeps `i` whole.
    #[inline(never)]
    fn keep(&mut self, i: &Insn) -> Packed {
        let (number, places) = self.whole.next();
        places[0] = *i;
        self.whole.take(1);
        Packed::new(number.into(), i.hot, i.len, WHOLE)
    }

    /// The number of the form of `i`.
    #[inline(always)]
    fn number(&mut self, i: &Insn) -> u16 {
        let key = i.form();
        let mut at = (key.wrapping_mul(GOLDEN) >> (64 - Self::PLACES)) as usize;
        loop {
            let number = self.found[at % (1 << Self::PLACES)];
            match self.forms.get(usize::from(number)) {
                Some(form) if form.key == key => return number,
                Some(_) => at += 1,
                None => break,
            }
        }
        self.add(at, i)
    }

    /// The form of `i` gets a number, which is found at `at`.
    #[cold]
    #[inline(never)]
    fn add(&mut self, at: usize, i: &Insn) -> u16 {
        let number = self.forms.len() as u16;
        self.found[at % (1 << Self::PLACES)] = number;
        self.forms.push(Form::of(i));
        number
    }

    /// What stands for `packed`, which is kept whole.
    #[inline(always)]
    pub(super) fn whole(&self, packed: &Packed) -> Option<&Insn> {
        self.whole.from(packed.constants as u32).first()
    }

    /// Instruction `k` of `insns`, of which the first begins a block.
    pub(super) fn unpack(&self, insns: &[Packed], k: usize) -> Option<Insn> {
        let packed = insns.get(k)?;
        match self.forms.get(packed.form()) {
            Some(form) => Some(packed.unpack(form, offset(insns, k))),
            None => self.whole(packed).copied(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::CodeSize;
    use crate::decode::decode;

    /// Random bytes, of which many are instructions of `bits`.
    fn instructions(bits: CodeSize, mut each: impl FnMut(Insn)) {
        let mut rng = random::Rng(1);
        for _ in 0..400_000 {
            let mut bytes = rng.bytes(15);
            if rng.one_in(2) {
                bytes[0] = 0x40 | bytes[0] & 15;
            }
            if let Ok(i) = decode(&bytes, bits, Width::W64, rng.below(900) as u16) {
                each(i);
            }
        }
    }

    #[test]
    fn what_is_packed_is_whole_again() {
        for bits in [CodeSize::Bits64, CodeSize::Bits32, CodeSize::Bits16] {
            let mut budget = Budget::new(16 << 20);
            let mut forms = Forms::new(&mut budget);
            let (mut count, mut kept) = (0, 0);
            instructions(bits, |mut i| {
                if !Packed::holds(&i) {
                    i.hot = NO_ARM;
                }
                if !forms.make_room(1, &mut budget) {
                    forms.clear(&mut budget);
                }
                let mut packed = Packed::BLANK;
                forms.pack(&mut packed, &i);
                assert_eq!(packed.len(), i.len.into());
                let whole = match forms.forms.get(packed.form()) {
                    Some(form) => packed.unpack(form, i.off),
                    None => forms.unpack(&[packed], 0).unwrap(),
                };
                assert_eq!(whole, i);
                kept += usize::from(packed.form() == usize::from(WHOLE));
                count += 1;
            });
            assert!(count > 300_000 && kept > 1000 && forms.forms.len() < Forms::MOST / 2, "{count} {kept}");
            assert!(bits != CodeSize::Bits64 || kept < count * 3 / 4 && forms.forms.len() > 100, "{kept} of {count}");
        }
    }

    #[test]
    fn an_arm_sees_what_it_needs() {
        let mut seen = 0;
        let mut budget = Budget::new(16 << 20);
        let mut forms = Forms::new(&mut budget);
        instructions(CodeSize::Bits64, |i| {
            if !forms.make_room(1, &mut budget) {
                forms.clear(&mut budget);
            }
            let mut packed = Packed::BLANK;
            forms.pack(&mut packed, &i);
            if i.hot == NO_ARM || !Packed::holds(&i) {
                return;
            }
            seen += 1;
            let mut known = packed.known(i.op, i.width(), i.kinds);
            let memory = has_memory(i.kinds);
            if branches(i.op) {
                assert_eq!((known.next_pc(7), i.kinds[0] == Kind::Imm), (i.next_pc(7), known.kinds[0] == Kind::Imm));
                if i.kinds[0] == Kind::Imm {
                    assert_eq!(known.target(7), i.target(7));
                }
            } else if !extends(i.op) {
                assert_eq!(known.imm(), i.imm());
            }
            if memory {
                assert_eq!((known.disp(), known.seg_base), (i.disp(), i.seg_base));
            } else {
                assert_eq!(known.cc, i.cc);
            }
            assert_eq!((known.base, known.index, known.scale), (i.base, i.index, i.scale));
            assert_eq!(known.regs[..2], i.regs[..2]);
            if extends(i.op) {
                assert_eq!(known.src_width(), i.src_width());
            }
            known.set_width(i.width(), i.src_width());
            assert_eq!((known.widths, known.bits()), (i.widths, i.bits()));
        });
        assert!(seen > 10_000, "{seen}");
    }
}
