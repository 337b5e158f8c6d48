//! Instructions as decoded code keeps them. Those that have an arm of the interpreter's loop take 16 bytes, from which the arm gets what it needs. What many
//! of them have in common, their *form*, is in the decoder's table or kept once: with it the instruction is whole again, for the table of
//! operations and for a translator. All others are kept whole, as that executes them.

use guest_api::{Cond, Width};

use crate::cpu::ZERO;
use crate::decode::{FORMS_IN_TABLE, form};
use crate::insn::{Insn, Kind, OPERANDS, has_immediate, has_memory, width_of};
use crate::table::Op;

use super::block::Place;
use super::hot::{NO_ARM, hot_arm};
use super::index::GOLDEN;
use super::links::NO_PLACE;
use super::pieces::{Budget, Pieces, in_piece};

/// A decoded instruction of a block: a quarter of a cache line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(align(16))]
pub(crate) struct Packed {
    /// The immediate, or the displacement of a memory operand; with both, the displacement in the low half and the immediate in the high one. Of a near
    /// branch ([`branches`]) where in its run the next instruction begins, in the low 16 bits; above, the displacement of a memory operand or the
    /// immediate, which is relative to that. Of what is kept [`WHOLE`] its number; of [`Packed::end`] where it goes on; of [`Packed::fork`] where its jump leads.
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
/// Of [`Packed::fork`] how often it was passed, and left by its jump, 16 bits each.
const PASSED: usize = 2;
const LEFT: usize = 4;
/// The first two of [`Insn::regs`], in the low five bits; above, with the first, the width of an extension's source.
const REGS: usize = 4;
/// Slot of the base, in the low five bits; of a conditional jump, which has none, [`GOES_ON`]; of [`Packed::fork`] how many instructions are behind it.
const BASE: usize = 6;
/// The block does not end with this conditional jump: a [fork](Packed::fork) is next.
const GOES_ON: u8 = 1 << 7;
/// Slot of the index in the low five bits; above, its shift. Of [`Packed::fork`] whether it is closed.
const INDEX: usize = 7;

const _: () = assert!(size_of::<Packed>() == 16, "more than a million of them are kept");

/// The instructions of the code cache.
pub(super) type Instructions = Pieces<Packed, { in_piece::<Packed>() }>;

/// In place of a form's number: the instruction is kept whole.
const WHOLE: u16 = u16::MAX;
/// Slots, and registers, are numbers of five bits.
const SLOT: u8 = 31;

/// Near branches: their arms need to know where they are.
pub(crate) const fn branches(op: Op) -> bool {
    matches!(op, Op::Jcc | Op::Jmp | Op::Call)
}

/// Operations whose arms need to know the width of their source.
pub(crate) const fn extends(op: Op) -> bool {
    matches!(op, Op::Movzx | Op::Movsx)
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
    /// What stands behind a block that does not end in a jump: `arm` goes on `off` bytes behind the run's beginning.
    pub(super) const fn end(arm: u8, off: u64) -> Packed {
        Packed::new(off, arm, 0, WHOLE)
    }
    /// What stands behind a conditional jump with which its block does not end. It knows how many instructions are behind it and what block the jump leads to, and
    /// counts the ways that were gone.
    /// It is made behind `before` instructions, `other` being the place of the fork before it or 0, and is to be [completed](Packed::complete_fork).
    pub(super) const fn fork(before: u8, other: usize) -> Packed {
        let mut fork = Packed::new(other as u64, NO_ARM, 0, 0);
        fork.head[BASE] = before;
        fork
    }
    /// Its block has `count` instructions. The place of the fork before it, or 0.
    pub(super) fn complete_fork(&mut self, count: u8) -> usize {
        self.head[BASE] = count - self.head[BASE];
        let other = self.constants as usize;
        self.set_jumps_to(NO_PLACE);
        other
    }
    /// Of a [fork](Packed::fork): translated code begins behind it, or none does. What is [closed](Packed::is_closed) is not passed.
    pub(super) const fn close(&mut self, closed: bool) {
        self.head[INDEX] = closed as u8;
    }
    #[inline(always)]
    pub(super) const fn is_closed(&self) -> bool {
        self.head[INDEX] != 0
    }
    /// Of a [fork](Packed::fork), the instructions behind it.
    #[inline(always)]
    pub(super) const fn behind(&self) -> u8 {
        self.head[BASE]
    }
    /// Of a [fork](Packed::fork), the block in its page that its jump leads to, or [`NO_PLACE`] where that is not known.
    #[inline(always)]
    pub(super) fn jumps_to(&self) -> Place {
        Place { block: self.constants as u32, first: (self.constants >> 32) as u32 }
    }
    pub(super) fn set_jumps_to(&mut self, to: Place) {
        self.constants = u64::from(to.block) | u64::from(to.first) << 32;
    }
    /// The [fork](Packed::fork) was passed, or left by its jump.
    #[inline(always)]
    pub(super) fn count_way(&mut self, jumped: bool) {
        let at = if jumped { LEFT } else { PASSED };
        let n = self.ways(at);
        if n == u16::MAX {
            self.forget_half();
        } else {
            self.head[at..at + 2].copy_from_slice(&(n + 1).to_le_bytes());
        }
    }
    #[inline(always)]
    fn ways(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.head[at], self.head[at + 1]])
    }
    #[cold]
    fn forget_half(&mut self) {
        for at in [PASSED, LEFT] {
            let half = self.ways(at) / 2;
            self.head[at..at + 2].copy_from_slice(&half.to_le_bytes());
        }
    }
    /// How many of so many executions of a [fork](Packed::fork)'s jump went on behind it.
    pub(super) fn went_on(&self, of: u32) -> u32 {
        let [passed, left] = [PASSED, LEFT].map(|at| u64::from(self.ways(at)));
        (u64::from(of) * passed).checked_div(passed + left).unwrap_or(0) as u32
    }
    /// The block does not end with this conditional jump.
    pub(super) const fn go_on(&mut self) {
        self.head[BASE] |= GOES_ON;
    }
    /// It does.
    pub(super) const fn end_here(&mut self) {
        self.head[BASE] &= SLOT;
    }
    /// Whether this is a conditional jump with which its block does not end.
    #[inline(always)]
    pub(super) const fn goes_on(&self) -> bool {
        self.head[BASE] & GOES_ON != 0
    }
    /// Of a near branch, how far from the run's beginning its target is.
    pub(super) const fn target_off(&self) -> u64 {
        self.next_off().wrapping_add((self.constants as i64 >> 16) as u64)
    }
    /// Of a near branch, how far from the run's beginning the next instruction begins.
    #[inline(always)]
    pub(super) const fn next_off(&self) -> u64 {
        self.constants as u16 as u64
    }
    /// Of [`Packed::end`], how far from the run's beginning it goes on.
    #[inline(always)]
    pub(super) const fn end_off(&self) -> u64 {
        self.constants
    }

    #[inline(always)]
    pub(crate) const fn hot(&self) -> u8 {
        self.head[HOT]
    }
    /// Length in bytes.
    #[inline(always)]
    pub(super) const fn len(&self) -> u16 {
        (self.head[LEN] & 15) as u16
    }
    #[inline(always)]
    pub(crate) const fn form(&self) -> u16 {
        u16::from_le_bytes([self.head[FORM], self.head[FORM + 1]])
    }
    pub(super) const fn set_hot(&mut self, arm: u8) {
        self.head[HOT] = arm;
    }

    /// What is [known](Packed::form) by its number and has these `constants` and this `head`.
    #[inline(always)]
    pub(crate) fn set(&mut self, constants: Constants, head: Head) {
        let Head { arm, len, above, form, regs, base, index } = head;
        let fields = [
            (HOT, u64::from(arm)),
            (LEN, u64::from(len | above << 4)),
            (FORM, u64::from(form)),
            (REGS, u64::from(regs)),
            (BASE, u64::from(base)),
            (INDEX, u64::from(index)),
        ];
        let head = fields.into_iter().fold(0, |head, (at, v)| head | v << (8 * at));
        // Each by itself: one store of both would be two to the stack first, and the processor waits for those before it loads them as one.
        self.constants = constants.0;
        self.head = head.to_le_bytes();
    }

    /// Whether `i` can be packed: a displacement beside an immediate may be too large, as it is relative to the run's beginning where
    /// the encoding has it relative to RIP.
    pub(super) fn holds(i: &Insn) -> bool {
        !(has_memory(i.kinds) & has_immediate(i.kinds)) | (i.disp() as i32 as u64 == i.disp())
    }

    /// `i`, which [can be packed](Packed::holds), of the form with this number, executed by `arm`.
    fn pack(&mut self, i: &Insn, number: u16, arm: u8) {
        let (memory, jumps) = (has_memory(i.kinds), branches(i.op));
        let beside = has_immediate(i.kinds);
        let constants = if memory {
            Constants::displacement(i.disp(), i.imm(), beside)
        } else {
            Constants::immediate(i.imm().wrapping_sub(if jumps && beside { i.len.into() } else { 0 }))
        };
        let source = if extends(i.op) { (i.src_width() as u8) << 6 } else { 0 };
        self.set(
            constants.of_branch(jumps, i.off + u16::from(i.len)),
            Head {
                arm,
                len: i.len,
                above: if memory { i.seg_base.wrapping_sub(ZERO) } else { i.cc as u8 },
                form: number,
                regs: u16::from_le_bytes([i.regs[0] | source, i.regs[1]]),
                base: i.base,
                index: i.index | i.scale << 5,
            },
        );
    }

    /// The instruction, of which the form is that of `i` and which lies `off` bytes behind its run's beginning.
    #[inline(always)]
    pub(crate) fn unpack(&self, mut i: Insn, off: u16) -> Insn {
        (i.off, i.len) = (off, self.head[LEN] & 15);
        [i.regs[0], i.regs[1]] = [self.head[REGS] & SLOT, self.head[REGS + 1]];
        (i.base, i.index, i.scale) = (self.head[BASE] & SLOT, self.head[INDEX] & SLOT, self.head[INDEX] >> 5);
        let (memory, jumps) = (has_memory(i.kinds), branches(i.op));
        let value = if jumps { (self.constants as i64 >> 16) as u64 } else { self.constants };
        match (memory, has_immediate(i.kinds)) {
            (true, true) => i.set_constants(value >> 32, value as i32 as u64),
            (true, false) => i.set_constants(0, value),
            (false, true) if jumps => i.set_constants(value.wrapping_add(i.len.into()), 0),
            (false, _) => i.set_constants(value, 0),
        }
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

/// The numbers in an instruction, as they are kept: [`Packed::constants`].
#[derive(Clone, Copy)]
pub(crate) struct Constants(u64);

impl Constants {
    /// An immediate, or none, which is 0. That of a branch is relative to the next instruction.
    #[inline(always)]
    pub(crate) const fn immediate(imm: u64) -> Constants {
        Constants(imm)
    }
    /// A displacement, and the immediate `beside` it, if there is one: both have 32 bits then.
    #[inline(always)]
    pub(crate) const fn displacement(disp: u64, imm: u64, beside: bool) -> Constants {
        Constants(if beside { disp & u32::MAX as u64 | imm << 32 } else { disp })
    }
    /// Those of a [branch](branches), if it is one; `next`: where in its block the next instruction begins.
    #[inline(always)]
    pub(crate) const fn of_branch(self, is: bool, next: u16) -> Constants {
        Constants(if is { self.0 << 16 | next as u64 } else { self.0 })
    }
}

/// What is in [`Packed::head`].
#[derive(Default)]
pub(crate) struct Head {
    pub(crate) arm: u8,
    /// At most 15.
    pub(crate) len: u8,
    /// See [`LEN`].
    pub(crate) above: u8,
    /// The form's number.
    pub(crate) form: u16,
    /// See [`REGS`].
    pub(crate) regs: u16,
    pub(crate) base: u8,
    /// See [`INDEX`].
    pub(crate) index: u8,
}

/// Where what is at place `k` is, in bytes from where the first is.
pub(super) fn offset(insns: &[Packed], k: usize) -> u16 {
    insns.iter().take(k).map(Packed::len).sum()
}

/// What instructions have in common: all but registers (the third is part of it) and the index's shift, constants, place, length and arm.
struct Form {
    /// [`Insn::form`].
    key: u64,
    /// An instruction of this form.
    insn: Insn,
}

/// The forms of instructions that the decoder's table does not have, and instructions that are kept whole.
pub(super) struct Forms {
    /// Their numbers begin with [`FORMS_IN_TABLE`].
    forms: Vec<Form>,
    /// Numbers of forms by a hash of the key, the next place where that is taken; [`WHOLE`]: none.
    found: Box<[u16]>,
    whole: Pieces<Insn, { in_piece::<Insn>() }>,
}

impl Forms {
    /// Forms at most: gcc and python have a few dozen, random bytes fewer than half.
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
    pub(super) fn pack(&mut self, place: &mut Packed, i: &Insn) {
        match hot_arm(i) {
            NO_ARM => *place = self.keep(i),
            arm => place.pack(i, self.number(i), arm),
        }
    }

    /// Keeps `i` whole.
    fn keep(&mut self, i: &Insn) -> Packed {
        let (number, places) = self.whole.next();
        places[0] = *i;
        self.whole.take(1);
        Packed::new(number.into(), NO_ARM, i.len, WHOLE)
    }

    /// Keeps what `place` has, which has no arm, whole, as the table executes it.
    #[inline(never)]
    pub(super) fn keep_packed(&mut self, place: &mut Packed, off: u16) {
        *place = self.keep(&place.unpack(form(place.form()), off));
    }

    /// The number of the form of `i`.
    fn number(&mut self, i: &Insn) -> u16 {
        let key = i.form();
        let mut at = (key.wrapping_mul(GOLDEN) >> (64 - Self::PLACES)) as usize;
        loop {
            let place = &mut self.found[at % (1 << Self::PLACES)];
            match self.forms.get(usize::from(place.wrapping_sub(FORMS_IN_TABLE))) {
                Some(form) if form.key == key => return *place,
                Some(_) => at += 1,
                None => {
                    *place = FORMS_IN_TABLE + self.forms.len() as u16;
                    self.forms.push(Form { key, insn: *i });
                    return *place;
                }
            }
        }
    }

    /// What stands for `packed`, if it is kept whole.
    #[inline(always)]
    pub(super) fn whole(&self, packed: &Packed) -> Option<&Insn> {
        (packed.form() == WHOLE).then(|| self.whole.get(packed.constants as u32))
    }

    /// What is at place `k` of `insns`, the first of which is `lead` bytes behind its run's beginning.
    #[inline(always)]
    pub(super) fn unpack(&self, insns: &[Packed], k: usize, lead: u16) -> Option<Insn> {
        let packed = insns.get(k)?;
        let insn = match packed.form() {
            WHOLE => return self.whole(packed).copied(),
            number @ ..FORMS_IN_TABLE => form(number),
            number => self.forms.get(usize::from(number - FORMS_IN_TABLE))?.insn,
        };
        Some(packed.unpack(insn, lead + offset(insns, k)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::decoding::decode_to;
    use super::*;
    use crate::cpu::CodeSize;
    use crate::decode::decode;

    /// Random bytes, of which many are instructions of `bits`: each as it is kept, and whole.
    fn instructions(bits: CodeSize, mut each: impl FnMut(&Forms, Packed, Insn)) {
        let mut rng = random::Rng(1);
        let mut budget = Budget::new(16 << 20);
        let mut forms = Forms::new(&mut budget);
        for _ in 0..400_000 {
            let mut bytes = rng.bytes(15);
            if rng.one_in(2) {
                bytes[0] = 0x40 | bytes[0] & 15;
            }
            let off = rng.below(900) as u16;
            if !forms.make_room(1, &mut budget) {
                forms.clear(&mut budget);
            }
            let mut packed = Packed::BLANK;
            let told = decode_to(&mut packed, &mut forms, &bytes, bits, Width::W64, off);
            if let Ok(i) = decode(&bytes, bits, Width::W64, off) {
                assert!(told.is_ok());
                each(&forms, packed, i);
            }
        }
    }

    #[test]
    fn what_is_packed_is_whole_again() {
        for bits in [CodeSize::Bits64, CodeSize::Bits32, CodeSize::Bits16] {
            let (mut count, mut kept, mut other) = (0, 0, 0);
            instructions(bits, |forms, packed, i| {
                assert_eq!((packed.len(), packed.hot()), (i.len.into(), hot_arm(&i)));
                let insn = match packed.form() {
                    WHOLE => None,
                    number @ ..FORMS_IN_TABLE => Some(form(number)),
                    number => Some(forms.forms[usize::from(number - FORMS_IN_TABLE)].insn),
                };
                let whole =
                    insn.map_or_else(|| forms.unpack(&[packed], 0, 0).unwrap(), |insn| packed.unpack(insn, i.off));
                assert_eq!(whole, i);
                assert_eq!(packed.form() == WHOLE, packed.hot() == NO_ARM);
                if insn.is_some() {
                    // What is packed by hand is what the decoder writes.
                    let mut again = Packed::BLANK;
                    again.pack(&i, packed.form(), packed.hot());
                    assert_eq!(again, packed, "{i:?}");
                }
                kept += usize::from(packed.form() == WHOLE);
                other += usize::from((FORMS_IN_TABLE..WHOLE).contains(&packed.form()));
                count += 1;
                assert!(forms.forms.len() < Forms::MOST / 2);
            });
            assert!(count > 300_000 && kept > 1000, "{count} {kept}");
            assert!(bits != CodeSize::Bits64 || kept < count * 3 / 4 && other > 1000, "{kept} {other} of {count}");
        }
    }

    #[test]
    fn an_arm_sees_what_it_needs() {
        let mut seen = 0;
        instructions(CodeSize::Bits64, |_, packed, i| {
            if packed.hot() == NO_ARM {
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
