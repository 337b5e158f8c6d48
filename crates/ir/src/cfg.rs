//! The graph of a region's blocks: predecessors, dominators, loops.

use crate::Region;

/// The graph of a region whose blocks are in reverse post-order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cfg {
    /// Immediate dominators; the entry's is itself.
    pub idom: Vec<u32>,
    /// Edges that come from earlier blocks, counted singly.
    pub forward: Vec<u32>,
    /// An edge comes from the same or a later block.
    pub loops: Vec<bool>,
    /// An edge comes from a block's midst.
    pub forked: Vec<bool>,
}

impl Cfg {
    /// Of `region`, all of whose blocks are reached.
    pub fn new(region: &Region) -> Cfg {
        let n = region.blocks.len();
        let mut cfg = Cfg { idom: vec![0; n], forward: vec![0; n], loops: vec![false; n], forked: vec![false; n] };
        // Edges by where they lead to.
        let mut edges = Vec::with_capacity(2 * n);
        for (b, block) in region.blocks.iter().enumerate() {
            for s in block.forks.iter().filter_map(|f| f.to.block()) {
                cfg.forked[s as usize] = true;
            }
            for s in block.successors() {
                edges.push((s, b as u32));
                if s as usize > b { cfg.forward[s as usize] += 1 } else { cfg.loops[s as usize] = true }
            }
        }
        edges.sort_unstable();
        // Cooper, Harvey, Kennedy, "A Simple, Fast Dominance Algorithm". Earlier blocks are done when a block is reached.
        const UNKNOWN: u32 = u32::MAX;
        cfg.idom.fill(UNKNOWN);
        if n > 0 {
            cfg.idom[0] = 0;
        }
        loop {
            let mut changed = false;
            for to in edges.chunk_by(|a, b| a.0 == b.0).filter(|to| to[0].0 != 0) {
                let mut new = UNKNOWN;
                for &(_, p) in to {
                    if cfg.idom[p as usize] != UNKNOWN {
                        new = if new == UNKNOWN { p } else { cfg.meet(new, p) };
                    }
                }
                let idom = &mut cfg.idom[to[0].0 as usize];
                changed |= *idom != new;
                *idom = new;
            }
            if !changed {
                break;
            }
        }
        cfg
    }

    fn meet(&self, mut a: u32, mut b: u32) -> u32 {
        while a != b {
            while a > b {
                a = self.idom[a as usize];
            }
            while b > a {
                b = self.idom[b as usize];
            }
        }
        a
    }

    /// Whether each way to `b` goes through `a`.
    pub fn dominates(&self, a: u32, b: u32) -> bool {
        let mut at = b;
        while at > a {
            at = self.idom[at as usize];
        }
        at == a
    }

    /// The blocks of the loop at `head`, itself first: those from which it is reached again without leaving what it dominates.
    pub fn body(&self, region: &Region, head: u32) -> Vec<u32> {
        let n = region.blocks.len() as u32;
        let mut inside = vec![false; n as usize];
        inside[head as usize] = true;
        loop {
            let mut changed = false;
            for b in (head + 1..n).rev().filter(|&b| self.dominates(head, b)) {
                let again = region.blocks[b as usize].successors().any(|s| inside[s as usize]);
                changed |= again && !inside[b as usize];
                inside[b as usize] |= again;
            }
            if !changed {
                return (head..n).filter(|&b| inside[b as usize]).collect();
            }
        }
    }

    /// The edges into a loop's middle: from the same or a later block to one that does not dominate it. Without them all control
    /// flow is that of nested blocks and loops.
    pub fn irreducible(&self, region: &Region) -> Vec<(u32, u32)> {
        let mut edges = Vec::new();
        for (b, block) in region.blocks.iter().enumerate() {
            for s in block.successors() {
                if s as usize <= b && !self.dominates(s, b as u32) {
                    edges.push((b as u32, s));
                }
            }
        }
        edges
    }
}
