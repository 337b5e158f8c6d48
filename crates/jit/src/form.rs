//! How regions are formed: from a hot block along its jumps and calls to what the interpreter has executed too.

use std::collections::VecDeque;

use guest_api::{Code, Decoded, FlagForm};
use ir::cfg::Cfg;
use ir::{Block, End, Lift, Recorded, Region, Target, Term};
use rustc_hash::{FxHashMap, FxHashSet};

/// Blocks of a region. More make the host's optimiser slow, out of proportion.
const MAX_BLOCKS: usize = 64;
/// Guest instructions of a region.
const MAX_INSNS: u32 = 400;
/// Return addresses that a return is compared with.
const MAX_RETURNS: usize = 6;
/// Addresses that another computed jump is compared with.
const MAX_TARGETS: usize = 16;
/// Bytes in a page.
const PAGE: u64 = 4096;

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
    back: Option<u64>,
    preds: u32,
}

impl Node {
    fn end<C: Code>(&self, code: &C) -> u64 {
        self.pc.wrapping_add(code.offset(self.decoded.id, self.insns).into())
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

/// Forms the region whose entry is block `id` at linear address `base`. `least`: executions that make a block worth including.
/// `None` where there is nothing to translate.
pub(crate) fn form<C: Code>(
    code: &mut C,
    id: u32,
    base: u64,
    least: u32,
    supports: fn(ir::Op) -> bool,
    around: &mut dyn Surroundings,
) -> Option<Formed> {
    let mut nodes = discover(code, id, base, least, supports, around)?;
    cut(code, &mut nodes, supports);
    let order = order_of_nodes(&nodes, base);
    let index: FxHashMap<u64, u32> = order.iter().enumerate().map(|(k, &n)| (nodes[n].pc, k as u32)).collect();
    count_preds(&mut nodes, &order, &index);
    // Where calls of the region come back to.
    let backs: Vec<(i64, u32)> = order
        .iter()
        .filter(|&&n| nodes[n].next.iter().any(|t| index.contains_key(t)))
        .filter_map(|&n| nodes[n].back)
        .filter_map(|back| Some((back.wrapping_sub(base) as i64, *index.get(&back)?)))
        .collect();

    let mut region = Region::default();
    let mut ranges = Vec::new();
    let mut forms: Vec<Option<Option<FlagForm>>> = vec![None; order.len()];
    let mut blocks = Vec::with_capacity(order.len());
    {
        let mut lift = Lift::new(&mut region, base, C::ZERO, C::BLOCK, supports);
        for (k, &n) in order.iter().enumerate() {
            let node = &nodes[n];
            // The form of the flags is known where the only way here is from a block that is done.
            let form = if node.preds == 1 && k > 0 {
                order[..k].iter().position(|&p| nodes[p].next.contains(&node.pc)).and_then(|p| forms[p]).flatten()
            } else {
                None
            };
            lift.begin_block(form);
            let refused = record(code, &mut lift, node);
            let r = lift.end_block();
            forms[k] = Some(r.form);
            ranges.extend(node.ranges(code.offset(node.decoded.id, r.insns)));
            let offset = node.pc.wrapping_sub(base) as i64;
            let term = term(code, node, &r, refused, base, &index, &backs, around);
            blocks.push(Block { pc: offset, insns: r.insns, insts: r.insts, term });
        }
    }
    if blocks[0].insns == 0 {
        return None;
    }
    region.blocks = blocks;
    reduce(&mut region);
    pages(&mut region, &nodes, base);
    ranges.sort_unstable();
    ranges.dedup();
    Some(Formed { region, ranges })
}

/// Records what an instruction does in a region of its own: where it goes.
fn scan<C: Code>(code: &C, node: &Node, k: u32, supports: fn(ir::Op) -> bool) -> Option<Recorded> {
    let mut region = Region::default();
    let start = node.pc;
    let mut lift = Lift::new(&mut region, 0, C::ZERO, C::BLOCK, supports);
    lift.begin_block(None);
    lift.begin_insn(start, start.wrapping_add(code.offset(node.decoded.id, k).into()));
    match code.lift(node.decoded.id, k, &mut lift) {
        Some(Ok(())) if lift.end_insn() => Some(lift.end_block()),
        _ => None,
    }
}

fn discover<C: Code>(
    code: &mut C,
    id: u32,
    base: u64,
    least: u32,
    supports: fn(ir::Op) -> bool,
    around: &dyn Surroundings,
) -> Option<Vec<Node>> {
    let mut nodes: Vec<Node> = Vec::new();
    let mut seen = FxHashSet::default();
    let mut queue = VecDeque::from([base]);
    // Where calls come back to, by what they call: they do so within the region only if that is part of it.
    let mut backs: FxHashMap<u64, Vec<u64>> = FxHashMap::default();
    let mut insns = 0;
    while let Some(pc) = queue.pop_front() {
        if seen.contains(&pc) || nodes.len() >= MAX_BLOCKS {
            continue;
        }
        let decoded = if nodes.is_empty() { Some(code.block(id)) } else { code.block_at(pc) };
        let Some(decoded) = decoded.filter(|d| nodes.is_empty() || d.runs >= least && !around.taken(d.pa)) else {
            continue;
        };
        let mut node = Node { pc, decoded, insns: decoded.insns, next: Vec::new(), back: None, preds: 0 };
        // What is verified of a region is so for one half of the addresses.
        if node.pages().any(|page| (page.0 ^ base) >> 63 != 0) {
            continue;
        }
        if decoded.insns == 0 || insns + decoded.insns > MAX_INSNS && !nodes.is_empty() {
            continue;
        }
        insns += decoded.insns;
        seen.insert(pc);
        follow(code, &mut node, supports);
        queue.extend(backs.remove(&pc).into_iter().flatten().chain(node.next.iter().copied()));
        if let Some(back) = node.back {
            match node.next.iter().any(|t| seen.contains(t)) {
                true => queue.push_back(back),
                false => node.next.iter().for_each(|&t| backs.entry(t).or_default().push(back)),
            }
        }
        nodes.push(node);
    }
    (!nodes.is_empty()).then_some(nodes)
}

/// Where the node's last instruction goes.
fn follow<C: Code>(code: &C, node: &mut Node, supports: fn(ir::Op) -> bool) {
    (node.next, node.back) = (Vec::new(), None);
    let Some(r) = scan(code, node, node.insns - 1, supports) else { return };
    // Scanned with base 0: offsets are addresses.
    match r.end {
        End::Fall => node.next.push(node.end(code)),
        End::Jump(t) => node.next.push(t as u64),
        End::Branch { then, other, .. } => node.next.extend([then as u64, other as u64]),
        End::Goto(_) if r.returns => {}
        End::Goto(_) => node.next.extend(code.targets(node.decoded.id).into_iter().take(MAX_TARGETS)),
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
            let inside = (1..node.insns).find(|&k| node.pc + u64::from(code.offset(node.decoded.id, k)) == s);
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

fn count_preds(nodes: &mut [Node], order: &[usize], index: &FxHashMap<u64, u32>) {
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

/// Records the node's instructions; the offset of the first that the interpreter must execute.
fn record<C: Code>(code: &C, lift: &mut Lift<'_>, node: &Node) -> Option<u64> {
    for k in 0..node.insns {
        let pc = node.pc.wrapping_add(code.offset(node.decoded.id, k).into());
        lift.begin_insn(node.pc, pc);
        match code.lift(node.decoded.id, k, lift) {
            Some(Ok(())) if lift.end_insn() => {}
            Some(_) => return Some(pc),
            None => {
                lift.refuse();
                lift.end_insn();
                return Some(pc);
            }
        }
    }
    None
}

#[expect(clippy::too_many_arguments, reason = "the pieces of one expression")]
fn term<C: Code>(
    code: &C,
    node: &Node,
    r: &Recorded,
    refused: Option<u64>,
    base: u64,
    index: &FxHashMap<u64, u32>,
    backs: &[(i64, u32)],
    around: &mut dyn Surroundings,
) -> Term {
    if let Some(pc) = refused {
        return Term::Interpret { pc: pc.wrapping_sub(base) as i64 };
    }
    let mut target = |offset: i64| {
        let pc = base.wrapping_add(offset as u64);
        if let Some(&b) = index.get(&pc) {
            return Target::Block(b);
        }
        // Within the page the mapping is that of this block.
        let same_page = pc & !(PAGE - 1) == node.pc & !(PAGE - 1);
        let slot = if same_page { around.slot(node.decoded.pa.wrapping_add(pc.wrapping_sub(node.pc))) } else { 0 };
        Target::Out { pc: offset, slot }
    };
    match r.end {
        End::Fall => Term::Jump(target(node.end(code).wrapping_sub(base) as i64)),
        End::Jump(t) => Term::Jump(target(t)),
        End::Branch { cond, then, other } => Term::Branch { cond, then: target(then), other: target(other) },
        End::Goto(to) => {
            let known = if r.returns {
                backs[..backs.len().min(MAX_RETURNS)].to_vec()
            } else {
                let inside = |pc: &u64| Some((pc.wrapping_sub(base) as i64, *index.get(pc)?));
                node.next.iter().filter_map(inside).collect()
            };
            Term::Goto { to, known }
        }
    }
}

/// Brings the blocks to reverse post-order and drops what is not reached. Edges into the middle of loops leave the region.
fn reduce(region: &mut Region) {
    loop {
        let succ = |n: usize, to: &mut Vec<usize>| to.extend(region.blocks[n].term.successors().map(|s| s as usize));
        let order = reverse_post_order(region.blocks.len(), 0, succ);
        let mut place = vec![u32::MAX; region.blocks.len()];
        for (k, &n) in order.iter().enumerate() {
            place[n] = k as u32;
        }
        let old = core::mem::take(&mut region.blocks);
        let mut old: Vec<Option<Block>> = old.into_iter().map(Some).collect();
        region.blocks = order.iter().filter_map(|&n| old[n].take()).collect();
        for block in &mut region.blocks {
            retarget(&mut block.term, |t| place[t as usize]);
        }
        let bad = Cfg::new(region).irreducible(region);
        if bad.is_empty() {
            return;
        }
        for (from, to) in bad {
            let pc = region.blocks[to as usize].pc;
            let out = Target::Out { pc, slot: 0 };
            match &mut region.blocks[from as usize].term {
                Term::Jump(t) if *t == Target::Block(to) => *t = out,
                Term::Branch { then, other, .. } => {
                    for t in [then, other] {
                        if *t == Target::Block(to) {
                            *t = out;
                        }
                    }
                }
                Term::Goto { known, .. } => known.retain(|k| k.1 != to),
                Term::Jump(_) | Term::Interpret { .. } => {}
            }
        }
    }
}

fn retarget(term: &mut Term, place: impl Fn(u32) -> u32) {
    let change = |t: &mut Target| {
        if let Target::Block(b) = t {
            *b = place(*b);
        }
    };
    match term {
        Term::Jump(t) => change(t),
        Term::Branch { then, other, .. } => {
            change(then);
            change(other);
        }
        Term::Goto { known, .. } => known.iter_mut().for_each(|k| k.1 = place(k.1)),
        Term::Interpret { .. } => {}
    }
}

/// Notes the pages beside the entry's whose mapping the region relies on.
fn pages(region: &mut Region, nodes: &[Node], base: u64) {
    let entry = base & !(PAGE - 1);
    for block in &region.blocks {
        let pc = base.wrapping_add(block.pc as u64);
        for (page, pa) in nodes.iter().find(|n| n.pc == pc).into_iter().flat_map(Node::pages) {
            let delta = page.wrapping_sub(entry) as i64;
            if page != entry && !region.pages.iter().any(|p| p.0 == delta) {
                region.pages.push((delta, pa));
            }
        }
    }
}
