//! Regions: blocks of operations, how they are connected, and the exits.

use guest_api::FlagForm;

use crate::Op;

/// A value: the number of the operation of the block that computes it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Val(pub u32);

impl Val {
    /// No operand.
    pub const NONE: Val = Val(u32::MAX);

    #[inline(always)]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Where in [`Inst::imm`] of an access the number of its page is, from 1 on; 0: it keeps none.
const PAGE_SHIFT: u32 = 32;

/// An operation with its operands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Inst {
    pub op: Op,
    /// As many as [`crate::Shape::args`], then [`Val::NONE`].
    pub args: [Val; 4],
    pub imm: u64,
    /// The side exit, for operations that have [`Effect::Exits`].
    pub exit: u32,
}

impl Inst {
    pub(crate) fn new(op: Op, args: &[Val], imm: u64, exit: u32) -> Inst {
        let mut all = [Val::NONE; 4];
        all[..args.len()].copy_from_slice(args);
        Inst { op, args: all, imm, exit }
    }
    /// The same of other values.
    pub(crate) fn mapped(mut self, map: &[Val]) -> Inst {
        self.args.iter_mut().filter(|a| **a != Val::NONE).for_each(|a| *a = map[a.index()]);
        self
    }
    /// Bytes that it looks for in the TLB, and whether for writing, where it can keep a page.
    pub fn probes(&self) -> Option<(u32, bool)> {
        match self.op {
            Op::Reach(writes) => Some((self.number() as u32, writes)),
            op => op.access(),
        }
    }
    /// The page of [`Region::kept`] that the access keeps.
    pub fn page(&self) -> Option<usize> {
        self.probes().and_then(|_| (self.imm >> PAGE_SHIFT).checked_sub(1)).map(|n| n as usize)
    }
    pub(crate) fn set_page(&mut self, n: usize) {
        self.imm = self.number() | (n as u64 + 1) << PAGE_SHIFT;
    }
    /// [`Inst::imm`] without the page.
    pub(crate) fn number(&self) -> u64 {
        self.imm & ((1 << PAGE_SHIFT) - 1)
    }
    /// The operands.
    #[inline(always)]
    pub fn args(&self) -> &[Val] {
        &self.args[..self.op.shape().args.len()]
    }
}

/// Slots of the condition flags, behind the guest's own: the fields of [`guest_api::LazyFlags`]. What the form has no use for means nothing.
pub mod flag_slot {
    pub const FORM: u8 = 48;
    pub const A: u8 = 49;
    pub const B: u8 = 50;
    pub const R: u8 = 51;
    pub const CARRY: u8 = 52;
    /// All of them.
    pub const ALL: [u8; 5] = [FORM, A, B, R, CARRY];
}
/// One more than the highest slot.
pub const SLOTS: usize = 53;
/// One more than the highest vector slot.
pub const XSLOTS: usize = 16;

/// Where the interpreter takes over within a block: before an instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exit {
    /// Offset of the instruction from the region's base.
    pub pc: i64,
    /// Instructions of the block that are counted and were not executed.
    pub undone: u32,
    /// The form of the flags; `None`: that in the slot.
    pub form: Option<FlagForm>,
}

/// Where control goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    Block(u32),
    /// Out of the region, to offset `pc` from its base. `slot`: the table slot of the code there, in the same page; 0: to be
    /// looked up.
    Out {
        pc: i64,
        slot: u32,
    },
}

impl Target {
    /// The block, where it is one.
    pub fn block(self) -> Option<u32> {
        match self {
            Target::Block(b) => Some(b),
            Target::Out { .. } => None,
        }
    }
}

/// How a block ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Term {
    Jump(Target),
    /// To `then` where the condition holds.
    Branch {
        cond: Val,
        then: Target,
        other: Target,
    },
    /// To a computed address, compared with those of `known` blocks.
    Goto {
        to: Val,
        known: Vec<(i64, u32)>,
    },
    /// The interpreter continues at offset `pc`.
    Interpret {
        pc: i64,
    },
}

impl Term {
    /// The value that decides where it goes.
    pub fn value_mut(&mut self) -> Option<&mut Val> {
        match self {
            Term::Branch { cond: v, .. } | Term::Goto { to: v, .. } => Some(v),
            Term::Jump(_) | Term::Interpret { .. } => None,
        }
    }
    /// The blocks it may go to.
    pub fn successors(&self) -> impl DoubleEndedIterator<Item = u32> + '_ {
        let (direct, known) = match self {
            Term::Jump(t) => ([t.block(), None], &[][..]),
            Term::Branch { then, other, .. } => ([then.block(), other.block()], &[][..]),
            Term::Goto { known, .. } => ([None, None], &known[..]),
            Term::Interpret { .. } => ([None, None], &[][..]),
        };
        direct.into_iter().flatten().chain(known.iter().map(|k| k.1))
    }
}

/// A way out of a block's midst, between two instructions: see [`Op::Fork`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fork {
    pub to: Target,
    /// Instructions of the block that are counted and are not executed on this way.
    pub undone: u32,
}

/// Operations done one after the other: an extended basic block, which is entered at its start only and may be left before its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Block {
    /// Offset of the first instruction from the region's base.
    pub pc: i64,
    /// Guest instructions that have been executed when the end is reached. They are counted at the start.
    pub insns: u32,
    pub insts: Vec<Inst>,
    /// In the order of their operations.
    pub forks: Vec<Fork>,
    pub term: Term,
}

impl Block {
    /// The blocks it may go to.
    pub fn successors(&self) -> impl DoubleEndedIterator<Item = u32> + '_ {
        self.forks.iter().filter_map(|f| f.to.block()).chain(self.term.successors())
    }
}

/// Blocks that become one function. Block 0 is the entry, at the base.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Region {
    pub blocks: Vec<Block>,
    pub exits: Vec<Exit>,
    pub consts: Vec<u128>,
    /// The guest's units that must be usable: a bit for each [`guest_api::Unit`].
    pub units: u32,
    /// Other pages than the base's that hold code of the region: distance in bytes from the base's page, and the physical page
    /// that must be mapped there.
    pub pages: Vec<(i64, u64)>,
    /// The pages that accesses keep: at most [`guest_api::KEPT`].
    pub kept: Vec<Kept>,
}

/// A page that accesses are likely to be in: they look there before they look in the TLB, and note there what they find.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kept {
    /// It is looked up for writing.
    pub writes: bool,
    /// Bytes of the largest of the accesses.
    pub bytes: u32,
}
