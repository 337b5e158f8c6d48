//! The text form of regions. [`crate::parse`] reads it.
//!
//! ```text
//! units 0x1                          the guest's units that must be usable
//! page 0x1000 at 0x8000              code in another page: its distance, and the physical page
//! kept 0 writes 0x8                  a page that accesses keep: how it is looked up, bytes of the largest
//! const 0 0x0f0e0d0c0b0a09080706050403020100
//! exit 0 @0x4 undone 2 form sub.w32  without a form, that in the slot
//! block 0 @0x0 insns 3:
//!   v0 = get 3                       numbers behind the name are static: here a slot
//!   v1 = const 0x10
//!   v2 = bin.add v0 v1
//!   put %carry v2                    a slot of the flags
//!   v4 = load.w32 v2 !0              the side exit; `page 0` behind it: of those that are kept
//!   v5 = rel.eq v4 v1
//!   if v5                            up to `end`, indented
//!     put 3 v4
//!   end
//!   branch v5 block 0 else out @0x10 slot 7
//! ```
//! A block may begin with `fork N to T undone K`, a way out of its midst, where `fork N V` is. Ends of blocks are `jump T`, `branch V T else T`, `goto V`, with `@O block N` for each block that is known, and `interpret @O`. A target
//! is `block N`, or `out @O` and the table slot where it is known. Values are numbered by operations, counting those without a result.

use core::fmt::{Display, Formatter, Result};

use guest_api::{FlagForm, FlagSource, Listed};

use crate::region::flag_slot;
use crate::{Block, Exit, Fork, Inst, Op, Region, Target, Term, Val};

/// The names of the flags' slots.
pub(crate) const FLAG_SLOTS: [(&str, u8); 5] = [
    ("%form", flag_slot::FORM),
    ("%a", flag_slot::A),
    ("%b", flag_slot::B),
    ("%r", flag_slot::R),
    ("%carry", flag_slot::CARRY),
];

/// What [`Inst::imm`] is, for an operation that has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Imm {
    Number,
    Offset,
    Slot,
}

impl Imm {
    pub(crate) fn of(op: Op) -> Option<Imm> {
        match op {
            Op::Const => Some(Imm::Number),
            Op::Pc => Some(Imm::Offset),
            Op::Get | Op::Put | Op::GetShared | Op::PutShared => Some(Imm::Slot),
            Op::Probe
            | Op::Reach(_)
            | Op::LoadNear(_)
            | Op::StoreNear(_)
            | Op::LoadXNear(_)
            | Op::StoreXNear(_)
            | Op::Helper
            | Op::Fork
            | Op::DivWide(_)
            | Op::GetX
            | Op::PutX
            | Op::ConstX
            | Op::Shuffle(_)
            | Op::Extract(_)
            | Op::Insert(_) => Some(Imm::Number),
            _ => None,
        }
    }
}

/// The text of a flag form.
pub(crate) fn form_text(form: FlagForm) -> String {
    let apart = if form == form.apart() { "apart" } else { "" };
    guest_api::dotted(&[form.source().label(""), form.width().label(""), apart.to_owned()])
}

/// Every flag form that has a name.
pub(crate) fn forms() -> impl Iterator<Item = FlagForm> {
    FlagSource::list()
        .into_iter()
        .flat_map(|source| guest_api::Width::list().into_iter().map(move |w| FlagForm::new(source, w)))
        .flat_map(|form| [form, form.apart()])
}

/// An offset from the region's base.
struct Offset(i64);

impl Display for Offset {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "@{}", Signed(self.0))
    }
}

struct Signed(i64);

impl Display for Signed {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{}{:#x}", if self.0 < 0 { "-" } else { "" }, self.0.unsigned_abs())
    }
}

impl Display for Val {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        if *self == Val::NONE { write!(f, "none") } else { write!(f, "v{}", self.0) }
    }
}

impl Display for Exit {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{} undone {}", Offset(self.pc), self.undone)?;
        match self.form {
            Some(form) => write!(f, " form {}", form_text(form)),
            None => Ok(()),
        }
    }
}

impl Display for Target {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Target::Block(n) => write!(f, "block {n}"),
            Target::Out { pc, slot: 0 } => write!(f, "out {}", Offset(*pc)),
            Target::Out { pc, slot } => write!(f, "out {} slot {slot}", Offset(*pc)),
        }
    }
}

impl Display for Fork {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{} undone {}", self.to, self.undone)
    }
}

impl Display for Term {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Term::Jump(t) => write!(f, "jump {t}"),
            Term::Branch { cond, then, other } => write!(f, "branch {cond} {then} else {other}"),
            Term::Goto { to, known } => {
                write!(f, "goto {to}")?;
                known.iter().try_for_each(|(pc, n)| write!(f, " {} block {n}", Offset(*pc)))
            }
            Term::Interpret { pc } => write!(f, "interpret {}", Offset(*pc)),
        }
    }
}

/// The operation with its operands, without the result.
impl Display for Inst {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{}", self.op.text())?;
        let number = if self.probes().is_some() { self.number() } else { self.imm };
        match Imm::of(self.op) {
            Some(Imm::Offset) => write!(f, " {}", Offset(self.imm as i64))?,
            Some(Imm::Slot) => match FLAG_SLOTS.iter().find(|s| u64::from(s.1) == self.imm) {
                Some((name, _)) => write!(f, " {name}")?,
                None => write!(f, " {}", self.imm)?,
            },
            Some(Imm::Number) if number >= 10 => write!(f, " {number:#x}")?,
            Some(Imm::Number) => write!(f, " {number}")?,
            // It should not have one: let it be seen.
            None if number != 0 => write!(f, " {number:#x}")?,
            None => {}
        }
        for v in self.args.iter().take_while(|&&v| v != Val::NONE) {
            write!(f, " {v}")?;
        }
        if self.exit != u32::MAX {
            write!(f, " !{}", self.exit)?;
        }
        self.page().map_or(Ok(()), |n| write!(f, " page {n}"))
    }
}

impl Display for Block {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        writeln!(f, "{} insns {}:", Offset(self.pc), self.insns)?;
        for (n, fork) in self.forks.iter().enumerate() {
            writeln!(f, "  fork {n} to {fork}")?;
        }
        let mut depth = 1_usize;
        for (n, i) in self.insts.iter().enumerate() {
            if i.op == Op::End {
                depth = depth.saturating_sub(1).max(1);
            }
            write!(f, "{:1$}", "", 2 * depth)?;
            if i.op.shape().result.is_some() {
                write!(f, "v{n} = ")?;
            }
            writeln!(f, "{i}")?;
            if i.op == Op::If {
                depth += 1;
            }
        }
        writeln!(f, "  {}", self.term)
    }
}

impl Display for Region {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        if self.units != 0 {
            writeln!(f, "units {:#x}", self.units)?;
        }
        for (distance, pa) in &self.pages {
            writeln!(f, "page {} at {pa:#x}", Signed(*distance))?;
        }
        for (n, k) in self.kept.iter().enumerate() {
            writeln!(f, "kept {n} {} {:#x}", if k.writes { "writes" } else { "reads" }, k.bytes)?;
        }
        for (n, v) in self.consts.iter().enumerate() {
            writeln!(f, "const {n} {v:#034x}")?;
        }
        for (n, e) in self.exits.iter().enumerate() {
            writeln!(f, "exit {n} {e}")?;
        }
        for (n, b) in self.blocks.iter().enumerate() {
            write!(f, "block {n} {b}")?;
        }
        Ok(())
    }
}
