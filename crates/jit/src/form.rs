//! How regions are formed: from a hot block along its jumps and calls to what the interpreter has executed too.

use std::collections::VecDeque;

use guest_api::{Code, Decoded, FlagForm};
use ir::cfg::Cfg;
use ir::{Block, End, Lift, Region, Target, Term, Way};
use rustc_hash::{FxHashMap, FxHashSet};

mod rows;

use crate::cache::PAGE;

/// Blocks of a region. More make the host's optimiser slow, out of proportion.
const MAX_BLOCKS: usize = 64;
/// Return addresses that a return is compared with.
const MAX_RETURNS: usize = 6;
/// Addresses that another computed jump is compared with.
const MAX_TARGETS: usize = 16;

/// A region and what it was made from.
pub(crate) struct Formed {
    pub(crate) region: Region,
    /// Physical ranges of code, within one page each.
    pub(crate) ranges: Vec<(u64, u32)>,
}

impl Formed {
    /// Guest instructions.
    pub(crate) fn insns(&self) -> u32 {
        self.region.blocks.iter().map(|b| b.insns).sum()
    }
}

/// What may become part of a region beside its entry.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// Executions that make a block worth including.
    pub(crate) runs: u32,
    /// Guest instructions of the region at most, unless its entry alone has more.
    pub(crate) insns: u32,
}

/// What there is beside the region that is formed.
pub(crate) trait Surroundings {
    /// Whether a region begins at the code at a physical address. What leads there goes over into that region.
    fn taken(&self, pa: u64) -> bool;
    /// The table slot for that code; 0 for none.
    fn slot(&mut self, pa: u64) -> u32;
}

/// A block before it is recorded.
struct Node {
    pc: u64,
    decoded: Decoded,
    /// Instructions that are its own: up to the start of another block.
    insns: u32,
    /// Where it goes, as nodes.
    next: Vec<u64>,
    /// By a computed jump.
    computed: bool,
    back: Option<u64>,
    preds: u32,
}

impl Node {
    /// Where instruction `k` is, or behind the last one.
    fn at<C: Code>(&self, code: &C, k: u32) -> u64 {
        self.pc.wrapping_add(code.offset(&self.decoded, k).into())
    }
    fn end<C: Code>(&self, code: &C) -> u64 {
        self.at(code, self.insns)
    }
    /// What [`Code::BLOCK`] stands for.
    fn block(&self) -> u64 {
        self.pc.wrapping_sub(self.decoded.lead.into())
    }
    /// Where its first `bytes` are, by pages.
    fn ranges(&self, bytes: u32) -> impl Iterator<Item = (u64, u32)> {
        let pa = self.decoded.pa;
        let first = bytes.min((PAGE - pa % PAGE) as u32);
        let parts = [(pa, first), (self.decoded.next_page.unwrap_or(0), bytes - first)];
        parts.into_iter().filter(|part| part.1 > 0)
    }
    /// The linear pages that it is in, and the physical ones that they must be mapped to.
    fn pages(&self) -> impl Iterator<Item = (u64, u64)> {
        let page = self.pc & !(PAGE - 1);
        let next = self.decoded.next_page.map(|pa| (page.wrapping_add(PAGE), pa));
        [(page, self.decoded.pa & !(PAGE - 1))].into_iter().chain(next)
    }
}

/// Forms the region whose entry is `entry`, at linear address `base`. `None` where there is nothing to translate.
pub(crate) fn form<C: Code>(
    code: &mut C,
    entry: Decoded,
    base: u64,
    limits: Limits,
    supports: fn(ir::Op) -> bool,
    around: &mut dyn Surroundings,
) -> Option<Formed> {
    let mut nodes = discover(code, entry, base, limits, supports, around)?;
    cut(code, &mut nodes, supports);
    let order = order_of_nodes(&nodes, base);
    let index: FxHashMap<u64, usize> = order.iter().map(|&n| (nodes[n].pc, n)).collect();
    count_preds(&mut nodes, &order, &index);
    let rows = rows::rows(&nodes, &order, &index);
    let numbers: FxHashMap<u64, u32> = rows.iter().enumerate().map(|(k, row)| (nodes[row[0]].pc, k as u32)).collect();
    // Where calls of the region come back to.
    let backs: Vec<(i64, u32)> = order
        .iter()
        .filter(|&&n| nodes[n].next.iter().any(|t| index.contains_key(t)))
        .filter_map(|&n| nodes[n].back)
        .filter_map(|back| Some((back.wrapping_sub(base) as i64, *numbers.get(&back)?)))
        .collect();

    let mut region = Region::default();
    let mut ranges = Vec::new();
    let mut forms: Vec<Option<FlagForm>> = vec![None; nodes.len()];
    let mut blocks = Vec::with_capacity(rows.len());
    let mut ways = Ways { code, base, numbers: &numbers, backs: &backs, around };
    {
        let mut lift = Lift::new(&mut region, base, C::ZERO, C::BLOCK, supports);
        for (k, row) in rows.iter().enumerate() {
            let first = &nodes[row[0]];
            // The form of the flags is known where the only way here is from a block that is done.
            let form = if first.preds == 1 && k > 0 {
                let before = order.iter().find(|&&p| nodes[p].next.contains(&first.pc));
                before.and_then(|&p| forms[p])
            } else {
                None
            };
            lift.begin_block(form);
            let pc = first.pc.wrapping_sub(base) as i64;
            // As long as nothing was recorded.
            let mut term = Term::Interpret { pc };
            for (m, &n) in row.iter().enumerate() {
                let node = &nodes[n];
                let (insns, refused) = record(ways.code, &mut lift, node);
                ranges.extend(node.ranges(ways.code.offset(&node.decoded, insns)));
                let way = lift.way();
                forms[n] = way.form;
                if let Some(pc) = refused {
                    term = Term::Interpret { pc: pc.wrapping_sub(base) as i64 };
                    break;
                }
                let Some(&next) = row.get(m + 1) else {
                    term = ways.term(node, &way);
                    break;
                };
                if let End::Branch { cond, then, other } = way.end {
                    let goes_on = nodes[next].pc == base.wrapping_add(then as u64);
                    lift.fork(cond, !goes_on, ways.target(node, if goes_on { other } else { then }));
                }
            }
            let r = lift.end_block();
            blocks.push(Block { pc, insns: r.insns, insts: r.insts, forks: r.forks, term });
        }
    }
    if blocks[0].insns == 0 {
        return None;
    }
    region.blocks = blocks;
    reduce(&mut region);
    pages(&mut region, &nodes, &rows, base);
    ranges.sort_unstable();
    ranges.dedup();
    Some(Formed { region, ranges })
}

/// Records what an instruction does in a region of its own: where it goes.
fn scan<C: Code>(code: &C, node: &Node, k: u32, supports: fn(ir::Op) -> bool) -> Option<Way> {
    let mut region = Region::default();
    let mut lift = Lift::new(&mut region, 0, C::ZERO, C::BLOCK, supports);
    lift.begin_block(None);
    lift.begin_insn(node.block(), node.at(code, k));
    match code.lift(&node.decoded, k, &mut lift) {
        Some(Ok(())) if lift.end_insn() => Some(lift.way()),
        _ => None,
    }
}

/// The blocks that become part of the region, the entry first.
fn discover<C: Code>(
    code: &mut C,
    entry: Decoded,
    base: u64,
    limits: Limits,
    supports: fn(ir::Op) -> bool,
    around: &dyn Surroundings,
) -> Option<Vec<Node>> {
    let mut nodes: Vec<Node> = Vec::new();
    let mut seen = FxHashSet::default();
    // Where to look next, and what the interpreter goes on with there without looking for it.
    let mut queue = VecDeque::from([(base, None)]);
    // Where calls come back to, by what they call: they do so within the region only if that is part of it.
    let mut backs: FxHashMap<u64, Vec<u64>> = FxHashMap::default();
    let mut insns = 0;
    while let Some((pc, behind)) = queue.pop_front() {
        if seen.contains(&pc) || nodes.len() >= MAX_BLOCKS {
            continue;
        }
        let decoded = if nodes.is_empty() { Some(entry) } else { both(code.block_at(pc), behind) };
        let Some(decoded) = decoded.filter(|d| nodes.is_empty() || d.runs >= limits.runs && !around.taken(d.pa)) else {
            continue;
        };
        let mut node =
            Node { pc, decoded, insns: decoded.insns, next: Vec::new(), computed: false, back: None, preds: 0 };
        // What is verified of a region is so for one half of the addresses.
        let beyond = |page: u64| (page ^ base) >> 63 != 0;
        // Another page may be mapped there than the entry was found in, as long as that is not flushed.
        let moved = |page, pa| nodes.iter().flat_map(Node::pages).any(|known| known.0 == page && known.1 != pa);
        if node.pages().any(|(page, pa)| beyond(page) || moved(page, pa)) {
            continue;
        }
        if decoded.insns == 0 || insns + decoded.insns > limits.insns && !nodes.is_empty() {
            continue;
        }
        insns += decoded.insns;
        seen.insert(pc);
        follow(code, &mut node, supports);
        queue.extend(backs.remove(&pc).into_iter().flatten().map(|back| (back, None)));
        let behind = code.behind(&node.decoded);
        let end = node.end(code);
        queue.extend(node.next.iter().map(|&t| (t, behind.filter(|_| t == end))));
        if let Some(back) = node.back {
            match node.next.iter().any(|t| seen.contains(t)) {
                true => queue.push_back((back, None)),
                false => node.next.iter().for_each(|&t| backs.entry(t).or_default().push(back)),
            }
        }
        nodes.push(node);
    }
    (!nodes.is_empty()).then_some(nodes)
}

/// What is at a place: a block that begins there and what a block goes on with, the same instructions.
fn both(block: Option<Decoded>, part: Option<Decoded>) -> Option<Decoded> {
    match (block, part) {
        (Some(block), Some(part)) => Some(Decoded { runs: block.runs.saturating_add(part.runs), ..block }),
        (block, part) => block.or(part),
    }
}

/// Where the node's last instruction goes.
fn follow<C: Code>(code: &C, node: &mut Node, supports: fn(ir::Op) -> bool) {
    (node.next, node.back) = (Vec::new(), None);
    let Some(r) = scan(code, node, node.insns - 1, supports) else { return };
    node.computed = matches!(r.end, End::Goto(_));
    // Scanned with base 0: offsets are addresses.
    match r.end {
        End::Fall => node.next.push(node.end(code)),
        End::Jump(t) => node.next.push(t as u64),
        End::Branch { then, other, .. } => node.next.extend([then as u64, other as u64]),
        End::Goto(_) if r.returns => {}
        End::Goto(_) => node.next.extend(code.targets(&node.decoded).into_iter().take(MAX_TARGETS)),
    }
    node.back = r.calls.map(|b| b as u64);
}

/// Ends nodes where others begin.
fn cut<C: Code>(code: &C, nodes: &mut [Node], supports: fn(ir::Op) -> bool) {
    let mut starts: Vec<u64> = nodes.iter().map(|n| n.pc).collect();
    starts.sort_unstable();
    for node in nodes {
        let first = starts.partition_point(|&s| s <= node.pc);
        let end = node.end(code);
        for &s in &starts[first..] {
            if s >= end {
                break;
            }
            let inside = (1..node.insns).find(|&k| node.at(code, k) == s);
            if let Some(k) = inside {
                node.insns = k;
                follow(code, node, supports);
                break;
            }
        }
    }
}

/// Nodes in reverse post-order from the entry, along what [`Node::next`] and returns to [`Node::back`] say.
fn order_of_nodes(nodes: &[Node], base: u64) -> Vec<usize> {
    let index: FxHashMap<u64, usize> = nodes.iter().enumerate().map(|(k, n)| (n.pc, k)).collect();
    // A call goes to its target, and the code behind it is reached from returns: for the order it follows the call.
    let succ = |n: usize, to: &mut Vec<usize>| {
        to.extend(nodes[n].next.iter().chain(&nodes[n].back).filter_map(|pc| index.get(pc)));
    };
    index.get(&base).map_or(Vec::new(), |&entry| reverse_post_order(nodes.len(), entry, succ))
}

/// `succ` adds a node's successors to a list.
fn reverse_post_order(n: usize, entry: usize, succ: impl Fn(usize, &mut Vec<usize>)) -> Vec<usize> {
    let mut order = Vec::with_capacity(n);
    let mut seen = vec![false; n];
    seen[entry] = true;
    // Successors not looked at yet of the nodes on the way here, and for each of those where its own begin.
    let mut left = Vec::with_capacity(n);
    succ(entry, &mut left);
    let mut way = vec![(entry, 0)];
    while let Some(&(at, first)) = way.last() {
        if left.len() == first {
            order.push(at);
            way.pop();
        } else if let Some(s) = left.pop().filter(|&s| !seen[s]) {
            seen[s] = true;
            way.push((s, left.len()));
            succ(s, &mut left);
        }
    }
    order.reverse();
    order
}

fn count_preds(nodes: &mut [Node], order: &[usize], index: &FxHashMap<u64, usize>) {
    let mut counts: FxHashMap<u64, u32> = FxHashMap::default();
    for &n in order {
        for t in nodes[n].next.iter() {
            *counts.entry(*t).or_default() += 1;
        }
        // Behind a call: whatever returns.
        if let Some(back) = nodes[n].back {
            *counts.entry(back).or_default() += 2;
        }
    }
    for node in nodes.iter_mut().filter(|n| index.contains_key(&n.pc)) {
        node.preds = counts.get(&node.pc).copied().unwrap_or(0);
    }
}

/// Records the node's instructions: how many, and the address of the first that the interpreter must execute.
fn record<C: Code>(code: &C, lift: &mut Lift<'_>, node: &Node) -> (u32, Option<u64>) {
    for k in 0..node.insns {
        let pc = node.at(code, k);
        lift.begin_insn(node.block(), pc);
        match code.lift(&node.decoded, k, lift) {
            Some(Ok(())) if lift.end_insn() => {}
            Some(_) => return (k, Some(pc)),
            None => {
                lift.refuse();
                lift.end_insn();
                return (k, Some(pc));
            }
        }
    }
    (node.insns, None)
}

/// Where nodes go, of a region with the blocks `numbers`.
struct Ways<'a, C> {
    code: &'a C,
    base: u64,
    /// Blocks by where they begin.
    numbers: &'a FxHashMap<u64, u32>,
    /// Where calls of the region come back to.
    backs: &'a [(i64, u32)],
    around: &'a mut dyn Surroundings,
}

impl<C: Code> Ways<'_, C> {
    /// What is at `offset`, where `node` goes.
    fn target(&mut self, node: &Node, offset: i64) -> Target {
        let pc = self.base.wrapping_add(offset as u64);
        if let Some(&b) = self.numbers.get(&pc) {
            return Target::Block(b);
        }
        // Within the page the mapping is that of this block.
        let same_page = pc & !(PAGE - 1) == node.pc & !(PAGE - 1);
        let slot = if same_page { self.around.slot(node.decoded.pa.wrapping_add(pc.wrapping_sub(node.pc))) } else { 0 };
        Target::Out { pc: offset, slot }
    }

    /// How a block ends whose last instructions are those of `node`.
    fn term(&mut self, node: &Node, way: &Way) -> Term {
        match way.end {
            End::Fall => Term::Jump(self.target(node, node.end(self.code).wrapping_sub(self.base) as i64)),
            End::Jump(t) => Term::Jump(self.target(node, t)),
            End::Branch { cond, then, other } => {
                Term::Branch { cond, then: self.target(node, then), other: self.target(node, other) }
            }
            End::Goto(to) => {
                let known = if way.returns {
                    self.backs[..self.backs.len().min(MAX_RETURNS)].to_vec()
                } else {
                    let inside = |pc: &u64| Some((pc.wrapping_sub(self.base) as i64, *self.numbers.get(pc)?));
                    node.next.iter().filter_map(inside).collect()
                };
                Term::Goto { to, known }
            }
        }
    }
}

/// Brings the blocks to reverse post-order and drops what is not reached. Edges into the middle of loops leave the region.
fn reduce(region: &mut Region) {
    loop {
        let succ = |n: usize, to: &mut Vec<usize>| to.extend(region.blocks[n].successors().map(|s| s as usize));
        let order = reverse_post_order(region.blocks.len(), 0, succ);
        let mut place = vec![u32::MAX; region.blocks.len()];
        for (k, &n) in order.iter().enumerate() {
            place[n] = k as u32;
        }
        let old = core::mem::take(&mut region.blocks);
        let mut old: Vec<Option<Block>> = old.into_iter().map(Some).collect();
        region.blocks = order.iter().filter_map(|&n| old[n].take()).collect();
        for block in &mut region.blocks {
            retarget(block, |t| place[t as usize]);
        }
        let bad = Cfg::new(region).irreducible(region);
        if bad.is_empty() {
            return;
        }
        for (from, to) in bad {
            let pc = region.blocks[to as usize].pc;
            let block = &mut region.blocks[from as usize];
            for t in targets(block).filter(|t| **t == Target::Block(to)) {
                *t = Target::Out { pc, slot: 0 };
            }
            if let Term::Goto { known, .. } = &mut block.term {
                known.retain(|k| k.1 != to);
            }
        }
    }
}

/// Where a block goes, but for computed jumps.
fn targets(block: &mut Block) -> impl Iterator<Item = &mut Target> {
    let end = match &mut block.term {
        Term::Jump(t) => [Some(t), None],
        Term::Branch { then, other, .. } => [Some(then), Some(other)],
        Term::Goto { .. } | Term::Interpret { .. } => [None, None],
    };
    block.forks.iter_mut().map(|f| &mut f.to).chain(end.into_iter().flatten())
}

fn retarget(block: &mut Block, place: impl Fn(u32) -> u32) {
    for t in targets(block) {
        if let Target::Block(b) = t {
            *b = place(*b);
        }
    }
    if let Term::Goto { known, .. } = &mut block.term {
        known.iter_mut().for_each(|k| k.1 = place(k.1));
    }
}

/// Notes the pages beside the entry's whose mapping the region relies on.
fn pages(region: &mut Region, nodes: &[Node], rows: &[Vec<usize>], base: u64) {
    let entry = base & !(PAGE - 1);
    for block in &region.blocks {
        let pc = base.wrapping_add(block.pc as u64);
        let row = rows.iter().find(|row| nodes[row[0]].pc == pc);
        for (page, pa) in row.into_iter().flatten().flat_map(|&n| nodes[n].pages()) {
            let delta = page.wrapping_sub(entry) as i64;
            if page != entry && !region.pages.iter().any(|p| p.0 == delta) {
                region.pages.push((delta, pa));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use guest_api::Code;

    use super::{Limits, Surroundings, form};
    use crate::testing::{BASE, Chain};

    /// No other region.
    struct Nothing;

    impl Surroundings for Nothing {
        fn taken(&self, _: u64) -> bool {
            false
        }
        fn slot(&mut self, _: u64) -> u32 {
            0
        }
    }

    /// Instructions of the region that begins with the first block and may have so many.
    fn formed(mut code: Chain, insns: u32) -> Option<u32> {
        let entry = code.block_at(BASE)?;
        let limits = Limits { runs: 5, insns };
        form(&mut code, entry, BASE, limits, |_| true, &mut Nothing).map(|formed| formed.insns())
    }

    #[test]
    fn a_region_has_what_is_executed_often_up_to_its_limit() {
        let insns = |most: u32, runs: fn(u32) -> u32| formed(Chain(runs, u32::MAX), most);
        assert_eq!(insns(100, |_| 9), Some(100));
        assert_eq!(insns(99, |_| 9), Some(90));
        // Its entry in any case.
        assert_eq!(insns(5, |_| 9), Some(10));
        assert_eq!(insns(100, |id| if id < 3 { 5 } else { 4 }), Some(30));
    }

    #[test]
    fn what_a_region_sees_of_a_page_is_one_page_of_memory() {
        assert_eq!(formed(Chain(|_| 9, 3), 100), Some(30));
    }
}
