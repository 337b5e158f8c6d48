//! What is known of an instruction beside its operation, its width and the kinds of its operands: what its arm need not look for.

use guest_api::{Cond, Width};

use crate::cpu::ZERO;
use crate::exec::is_ordered;
use crate::insn::Insn;

/// What is known of the instructions that have an arm for it, beside operation, width and kinds of operands.
#[derive(Clone, Copy)]
pub(super) enum Fact {
    /// The condition is ZF, or its contrary.
    Zero,
    /// The condition is that of an order.
    Ordered,
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

/// Whether the address of `i` is a base register and a displacement.
pub(super) const fn is_plain(i: &Insn) -> bool {
    i.index == ZERO && i.seg_base == ZERO
}

impl Fact {
    /// Whether the address is plain, where that is said; and the width of the source.
    const fn parts(self) -> (bool, Option<Width>) {
        match self {
            Fact::Zero | Fact::Ordered => (false, None),
            Fact::Plain => (true, None),
            Fact::From8 => (false, Some(Width::W8)),
            Fact::From16 => (false, Some(Width::W16)),
            Fact::From32 => (false, Some(Width::W32)),
            Fact::PlainFrom8 => (true, Some(Width::W8)),
            Fact::PlainFrom16 => (true, Some(Width::W16)),
        }
    }
    /// Whether it is one of an instruction of this condition and width of the source, whose address is `plain`.
    pub(super) const fn holds(self, cc: Cond, src: Width, plain: bool) -> bool {
        let (must_be_plain, from) = self.parts();
        let condition = match self {
            Fact::Zero => matches!(cc, Cond::E | Cond::Ne),
            Fact::Ordered => is_ordered(cc),
            _ => true,
        };
        let source = match from {
            Some(from) => from as u8 == src as u8,
            None => true,
        };
        condition && source && (plain || !must_be_plain)
    }
    /// `i`, of which it is one, with the fact written down for the compiler.
    #[inline(always)]
    pub(super) fn told(self, mut i: Insn) -> Insn {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::{Flags, RBX, SEG_BASE};

    #[test]
    fn a_fact_that_holds_changes_nothing() {
        use Fact::*;
        let mut held = [0; 8];
        for cc in Cond::ALL {
            for (index, seg_base) in [(ZERO, ZERO), (RBX, ZERO), (ZERO, SEG_BASE + 4), (RBX, SEG_BASE + 4)] {
                for src in [Width::W8, Width::W16, Width::W32, Width::W64] {
                    let mut i = Insn::BLANK;
                    (i.cc, i.index, i.seg_base) = (cc, index, seg_base);
                    i.set_width(Width::W32, src);
                    for (fact, held) in [Zero, Ordered, Plain, From8, From16, From32, PlainFrom8, PlainFrom16]
                        .into_iter()
                        .zip(&mut held)
                    {
                        if fact.holds(cc, src, is_plain(&i)) {
                            assert_eq!(fact.told(i), i);
                            *held += 1;
                        } else {
                            // What is not known must not be told.
                            assert!(matches!(fact, Ordered) || fact.told(i) != i);
                        }
                    }
                }
            }
        }
        assert_eq!(held, [2 * 16, 8 * 16, 16 * 4, 16 * 4, 16 * 4, 16 * 4, 16, 16]);
    }

    #[test]
    fn conditions_of_an_order_are_what_the_manual_says() {
        let mut f = Flags { zero: 0, sign: 0, carry: 0, aux: 0 };
        for bits in 0..64 {
            f.set_packed(bits);
            let (less, equal) = (f.sf() != f.of(), f.zf());
            let holds = [f.cf(), f.cf() || equal, less, less || equal];
            for (c, holds) in [Cond::B, Cond::Be, Cond::L, Cond::Le].into_iter().zip(holds) {
                let contrary = Cond::ALL[c as usize + 1];
                assert!(is_ordered(c) && is_ordered(contrary));
                assert_eq!((f.ordered(c), f.ordered(contrary)), (holds, !holds), "{c:?} of {bits:#b}");
            }
        }
    }
}
