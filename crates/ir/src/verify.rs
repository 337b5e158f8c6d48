//! What must hold of a region, whoever made it.
//!
//! - Values are computed before they are used, in the same block, and outside of the conditional part that they were computed in only
//!   where that part is still open: what was not executed has no value. `if` and `end` pair within a block.
//! - Operands have the types that the operation's [`crate::Shape`] says, and there are no others. What is static about an operation is in
//!   its range: slots, constants, lanes that exist.
//! - Operations that may leave have a side exit and no others have one. A side exit belongs to one block, and gives back at least
//!   its own instruction and at most those that the block counted.
//! - Forks are between instructions, in their order, each one operation. Targets exist. Block 0 is at the base.
//! - Each block but the first is entered from an earlier one. A reverse post-order has that property. [`crate::passes::dead`] and
//!   the evaluator do not need more, as any edge that does not go to a later block looks at the budget, so that the region may be left
//!   there; code generation wants dominators before what they dominate, which follows.
//!
//! What cannot be seen here, as instructions are not marked: that an instruction writes no slot before its last operation that may leave.

use core::fmt::{Display, Formatter};

use guest_api::{Bin, F1, F2, Fp, Lane, V1, V2};

use crate::{Block, Effect, Inst, Op, Region, SLOTS, Target, Term, Ty, Val, XSLOTS};

/// What does not hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Invalid {
    pub block: usize,
    /// The operation, as text with its number; `None`: the block itself or its end.
    pub op: Option<String>,
    pub reason: String,
}

impl Display for Invalid {
    fn fmt(&self, f: &mut Formatter<'_>) -> core::fmt::Result {
        write!(f, "block {}", self.block)?;
        if let Some(op) = &self.op {
            write!(f, ", {op}")?;
        }
        write!(f, ": {}", self.reason)
    }
}

impl std::error::Error for Invalid {}

/// Checks `region`.
///
/// # Errors
/// The first thing that does not hold.
pub fn verify(region: &Region) -> Result<(), Invalid> {
    if region.blocks.first().is_none_or(|b| b.pc != 0) {
        return Err(Invalid { block: 0, op: None, reason: "there is no block at the base".into() });
    }
    if region.kept.len() > guest_api::KEPT {
        return Err(Invalid { block: 0, op: None, reason: format!("{} pages are kept", region.kept.len()) });
    }
    // The block that each exit belongs to.
    let mut owners = vec![None; region.exits.len()];
    let mut entered = vec![false; region.blocks.len()];
    entered[0] = true;
    for (n, block) in region.blocks.iter().enumerate() {
        let wrong = |reason: String| Invalid { block: n, op: None, reason };
        if !entered[n] {
            return Err(wrong("no earlier block goes to it".into()));
        }
        let mut scopes = Scopes::default();
        for (k, i) in block.insts.iter().enumerate() {
            let ok = operation(region, block, &mut scopes, k, i).and_then(|()| exit(region, block, n, &mut owners, i));
            ok.map_err(|reason| Invalid { block: n, op: Some(format!("operation {k} `{i}`")), reason })?;
        }
        if !scopes.open.is_empty() {
            return Err(wrong("an `if` has no `end`".into()));
        }
        let forks = block.insts.iter().filter(|i| i.op == Op::Fork).map(|i| i.imm as usize);
        if !forks.eq(0..block.forks.len()) {
            return Err(wrong(format!("its {} forks are not each one operation, in order", block.forks.len())));
        }
        term(region, block, &scopes).map_err(wrong)?;
        for s in block.successors() {
            entered[s as usize] |= s as usize > n;
        }
    }
    Ok(())
}

/// The conditional parts around an operation.
#[derive(Default)]
struct Scopes {
    /// The `if`s that are open, innermost last.
    open: Vec<usize>,
    /// For each operation so far, the innermost `if` open there.
    of: Vec<Option<usize>>,
}

impl Scopes {
    /// Whether `v` has a value of type `ty` here.
    fn has(&self, block: &Block, v: Val, ty: Ty) -> Result<(), String> {
        let Some(scope) = self.of.get(v.index()) else { return Err(format!("{v} is not computed before")) };
        if scope.is_some_and(|s| !self.open.contains(&s)) {
            return Err(format!("{v} is computed in a conditional part that has ended"));
        }
        match block.insts[v.index()].op.shape().result {
            Some(t) if t == ty => Ok(()),
            Some(t) => Err(format!("{v} is of type {t:?}, not {ty:?}")),
            None => Err(format!("{v} is of an operation without a result")),
        }
    }
}

fn operation(region: &Region, block: &Block, scopes: &mut Scopes, k: usize, i: &Inst) -> Result<(), String> {
    let shape = i.op.shape();
    for (n, &v) in i.args.iter().enumerate() {
        match shape.args.get(n) {
            Some(&ty) => scopes.has(block, v, ty)?,
            None if v != Val::NONE => return Err(format!("operand {n} is one too many")),
            None => {}
        }
    }
    scopes.of.push(scopes.open.last().copied());
    match i.op {
        Op::If => scopes.open.push(k),
        Op::End => _ = scopes.open.pop().ok_or("there is no `if`")?,
        Op::Fork if !scopes.open.is_empty() => return Err("it is in a conditional part".into()),
        _ => {}
    }
    let limit = match i.op {
        Op::Const | Op::Pc => return Ok(()),
        Op::Get | Op::Put | Op::GetShared | Op::PutShared => SLOTS,
        Op::GetX | Op::PutX => XSLOTS,
        Op::ConstX | Op::Shuffle(_) => region.consts.len(),
        Op::Extract(lane) | Op::Insert(lane) => lane.count(),
        Op::Fork => block.forks.len(),
        Op::Helper | Op::DivWide(_) => 1 << 16,
        Op::Probe | Op::Reach(_) if i.imm == 0 => return Err("no bytes are probed".into()),
        Op::Probe | Op::Reach(_) => 4097,
        Op::LoadNear(_) | Op::StoreNear(_) | Op::LoadXNear(_) | Op::StoreXNear(_) => 4096,
        _ => 1,
    };
    let number = if i.probes().is_some() { i.number() } else { i.imm };
    if let (Some((bytes, writes)), Some(n)) = (i.probes(), i.page())
        && !region.kept.get(n).is_some_and(|k| k.writes == writes && k.bytes >= bytes)
    {
        return Err(format!("no page {n} is kept for {bytes} bytes"));
    }
    if number >= limit as u64 {
        return Err(format!("{number} is not below {limit}"));
    }
    if !exists(i.op) {
        return Err("there is no such operation".into());
    }
    Ok(())
}

/// Whether an operation has the lanes that it names, as [`guest_api`] says.
pub fn exists(op: Op) -> bool {
    use Lane::*;
    match op {
        Op::V2(op) => match op {
            V2::AddSatS(l) | V2::AddSatU(l) | V2::SubSatS(l) | V2::SubSatU(l) | V2::AvgU(l) => matches!(l, B8 | B16),
            V2::MinS(l) | V2::MinU(l) | V2::MaxS(l) | V2::MaxU(l) => l != B64,
            V2::MulLo(l) => matches!(l, B16 | B32),
            _ => true,
        },
        Op::V1(V1::Abs(l)) => l != B64,
        Op::VShift(op, l) => matches!(op, Bin::Shl | Bin::ShrU | Bin::ShrS) && l != B8,
        Op::MoveMask(l) => l != B16,
        Op::F1(F1::Rcp | F1::Rsqrt, shape) => matches!(shape, Fp::S32 | Fp::P32),
        Op::F2(F2::AddSub, shape) => shape.lanes() > 1,
        _ => true,
    }
}

fn exit(region: &Region, block: &Block, n: usize, owners: &mut [Option<usize>], i: &Inst) -> Result<(), String> {
    match (i.op.shape().effect == Effect::Exits, i.exit) {
        (false, u32::MAX) => return Ok(()),
        (false, _) => return Err("it cannot leave but has a side exit".into()),
        (true, u32::MAX) => return Err("it may leave but has no side exit".into()),
        (true, _) => {}
    }
    let Some(exit) = region.exits.get(i.exit as usize) else { return Err(format!("there is no exit {}", i.exit)) };
    let owner = owners[i.exit as usize].get_or_insert(n);
    if *owner != n {
        return Err(format!("exit {} is one of block {owner}", i.exit));
    }
    if exit.undone == 0 || exit.undone > block.insns {
        return Err(format!("exit {} gives back {} of {} instructions", i.exit, exit.undone, block.insns));
    }
    Ok(())
}

fn term(region: &Region, block: &Block, scopes: &Scopes) -> Result<(), String> {
    let exists = |n: u32| match region.blocks.get(n as usize) {
        Some(b) => Ok(b),
        None => Err(format!("there is no block {n}")),
    };
    let target = |t: &Target| match t {
        Target::Block(n) => exists(*n).map(|_| ()),
        Target::Out { .. } => Ok(()),
    };
    for fork in &block.forks {
        target(&fork.to)?;
        if fork.undone > block.insns {
            return Err(format!("a fork gives back {} of {} instructions", fork.undone, block.insns));
        }
    }
    match &block.term {
        Term::Jump(t) => target(t),
        Term::Branch { cond, then, other } => {
            scopes.has(block, *cond, Ty::I32)?;
            target(then)?;
            target(other)
        }
        Term::Goto { to, known } => {
            scopes.has(block, *to, Ty::I64)?;
            for &(pc, n) in known {
                let at = exists(n)?.pc;
                if at != pc {
                    return Err(format!("block {n} is at {at:#x}, not at {pc:#x}"));
                }
            }
            Ok(())
        }
        Term::Interpret { .. } => Ok(()),
    }
}
