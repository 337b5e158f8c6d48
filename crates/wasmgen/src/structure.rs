//! Structured control flow from the dominator tree (Ramsey, "Beyond Relooper: Recursive Translation of Unstructured Control Flow to
//! Structured Control Flow", ICFP 2022).
//!
//! A block's code is followed by the code of the blocks that it dominates. A block that is reached over several forward edges, or from
//! another's midst, is put behind a Wasm `block` that those edges leave; one that is reached over a backward edge is in a `loop`.

use ir::{Inst, Target, Term};
use wasm_encoder::BlockType;

use crate::emit::{Emitter, LEFT, TO};

/// What a label in scope is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Label {
    /// To leave the region, `TO` and the slot being set.
    Exit,
    /// To leave the region to `TO`.
    Lookup,
    /// Forward to a block.
    Forward(u32),
    /// Back to a block.
    Loop(u32),
    /// To where the operation is done again, a check of its having failed, and behind that.
    Wrong,
    Right,
    /// An `if`, which nobody branches to.
    If,
}

impl Emitter<'_> {
    /// All blocks.
    pub(crate) fn blocks(&mut self) {
        self.tree(0);
    }

    /// Block `n` and those that it dominates.
    fn tree(&mut self, n: u32) {
        let is_loop = self.cfg.loops[n as usize];
        if is_loop {
            self.i().loop_(BlockType::Empty);
            self.labels.push(Label::Loop(n));
        }
        // Behind it come the dominated blocks with several ways to them, the last first in nesting.
        let merges: Vec<u32> = (n + 1..self.region.blocks.len() as u32)
            .filter(|&m| self.cfg.idom[m as usize] == n && self.is_merge(m))
            .collect();
        self.within(n, &merges);
        if is_loop {
            self.labels.pop();
            self.i().end();
        }
    }

    fn is_merge(&self, n: u32) -> bool {
        self.cfg.forward[n as usize] > 1 || self.cfg.forked[n as usize]
    }

    fn within(&mut self, n: u32, merges: &[u32]) {
        if let Some((&last, rest)) = merges.split_last() {
            self.i().block(BlockType::Empty);
            self.labels.push(Label::Forward(last));
            self.within(n, rest);
            self.labels.pop();
            self.i().end();
            return self.tree(last);
        }
        self.operations(n as usize);
        match self.term(n as usize) {
            Term::Jump(t) => self.branch(n, *t),
            Term::Branch { cond, then, other } => {
                self.value(*cond);
                self.i().if_(BlockType::Empty);
                self.labels.push(Label::If);
                self.branch(n, *then);
                self.labels.pop();
                self.i().end();
                self.branch(n, *other);
            }
            Term::Goto { to, known } => {
                self.value(*to);
                self.set(TO);
                self.switch(n, known);
            }
            Term::Interpret { pc } => self.interpret(*pc),
        }
    }

    /// The fork `i` of block `n`.
    pub(crate) fn fork(&mut self, n: u32, i: &Inst) {
        let fork = self.region.blocks[n as usize].forks[i.imm as usize];
        self.value(i.args[0]);
        self.i().if_(BlockType::Empty);
        self.labels.push(Label::If);
        if fork.undone > 0 {
            self.get(LEFT).i64_const(fork.undone.into()).i64_add();
            self.set(LEFT);
        }
        self.branch(n, fork.to);
        self.labels.pop();
        self.i().end();
    }

    /// The edge from block `n` to `target`.
    pub(crate) fn branch(&mut self, n: u32, target: Target) {
        let Target::Block(to) = target else { return self.leave_to(target) };
        if to <= n {
            // Each loop looks at the budget.
            let exit = self.budget_exit(to);
            self.get(LEFT).i64_const(0).i64_le_s();
            self.side_exit_if(exit);
            self.br(Label::Loop(to));
        } else if self.is_merge(to) {
            self.br(Label::Forward(to));
        } else {
            self.tree(to);
        }
    }
}
