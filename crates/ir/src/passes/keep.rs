//! Pages that the accesses of a loop are likely to be in again: the same as at the last turn.
//!
//! Accesses of an innermost loop whose addresses come from one guest register, which the loop changes by small constants or not at all,
//! keep a page ([`Kept`]): what is known of it is at a constant place, so that a hit needs no entry of the TLB to be found.

use guest_api::Bin;

use crate::cfg::Cfg;
use crate::fold::konst;
use crate::{Block, Kept, Op, Region, SLOTS, Val};

/// Most pages that a loop keeps: of those that have more, too many accesses would miss.
const MOST: usize = 6;
/// What a turn adds to an address at most. The more, the sooner it is in another page.
const STEP: i64 = 512;

/// What the addresses of accesses come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Root {
    Slot(u64),
    /// The region's base.
    Base,
    Zero,
}

/// How a loop changes a slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Change {
    /// By so much at most at once, up or down; 0: not at all.
    Steps(i64),
    /// So does it, within what a mask or an extension leaves.
    Around(i64),
    Unknown,
}

/// Says which accesses keep pages.
pub fn keep(region: &mut Region) {
    let cfg = Cfg::new(region);
    for head in 0..region.blocks.len() as u32 {
        if cfg.loops[head as usize] {
            let body = cfg.body(region, head);
            if body.iter().all(|&b| b == head || !cfg.loops[b as usize]) {
                keep_in(region, &body);
            }
        }
    }
}

fn keep_in(region: &mut Region, body: &[u32]) {
    let changes = changes(region, body);
    let mut groups: Vec<(Root, Kept)> = Vec::new();
    let mut members = Vec::new();
    for &b in body {
        let block = &region.blocks[b as usize];
        for (k, i) in block.insts.iter().enumerate() {
            let Some((bytes, writes)) = i.probes() else { continue };
            let Some(root) = root(block, i.args[0], &changes) else { continue };
            let n = groups.iter().position(|g| g.0 == root && g.1.writes == writes).unwrap_or_else(|| {
                groups.push((root, Kept { writes, bytes }));
                groups.len() - 1
            });
            groups[n].1.bytes = groups[n].1.bytes.max(bytes);
            members.push((b, k, n));
        }
    }
    let new = |writes| {
        let count = |k: &mut dyn Iterator<Item = bool>| k.filter(|&w| w == writes).count();
        let (here, there) =
            (count(&mut groups.iter().map(|g| g.1.writes)), count(&mut region.kept.iter().map(|k| k.writes)));
        here.saturating_sub(there)
    };
    if groups.len() > MOST || region.kept.len() + new(false) + new(true) > guest_api::KEPT {
        return;
    }
    // Loops of a region keep their pages in the same places.
    let mut numbers: Vec<usize> = Vec::new();
    for (_, g) in &groups {
        let free = (0..region.kept.len()).find(|n| region.kept[*n].writes == g.writes && !numbers.contains(n));
        let n = free.unwrap_or_else(|| {
            region.kept.push(*g);
            region.kept.len() - 1
        });
        region.kept[n].bytes = region.kept[n].bytes.max(g.bytes);
        numbers.push(n);
    }
    for (b, k, n) in members {
        region.blocks[b as usize].insts[k].set_page(numbers[n]);
    }
}

/// How the loop changes each slot.
fn changes(region: &Region, body: &[u32]) -> [Change; SLOTS] {
    let mut changes = [Change::Steps(0); SLOTS];
    for &b in body {
        let block = &region.blocks[b as usize];
        for i in block.insts.iter().filter(|i| i.op == Op::Put) {
            let Some(change) = changes.get_mut(i.imm as usize) else { continue };
            *change = match (*change, step(block, i.args[0], i.imm)) {
                (Change::Steps(a), Change::Steps(b)) => Change::Steps(a.max(b)),
                (Change::Steps(a) | Change::Around(a), Change::Around(b) | Change::Steps(b)) => {
                    Change::Around(a.max(b))
                }
                _ => Change::Unknown,
            };
        }
    }
    changes
}

/// How `v` differs from what was in `slot`.
fn step(block: &Block, v: Val, slot: u64) -> Change {
    let i = &block.insts[v.index()];
    match i.op {
        Op::Get if i.imm == slot => Change::Steps(0),
        Op::Bin(Bin::Add | Bin::Sub) => match (step(block, i.args[0], slot), konst(&block.insts, i.args[1])) {
            (Change::Steps(n), Some(k)) => Change::Steps(n.saturating_add((k as i64).saturating_abs())),
            (Change::Around(n), Some(k)) => Change::Around(n.saturating_add((k as i64).saturating_abs())),
            _ => Change::Unknown,
        },
        Op::Un(_) | Op::Bin(Bin::And) => match step(block, i.args[0], slot) {
            Change::Steps(n) | Change::Around(n) => Change::Around(n),
            Change::Unknown => Change::Unknown,
        },
        _ => Change::Unknown,
    }
}

/// What address `v` comes from, where it is likely to be in the same page at the next turn.
fn root(block: &Block, v: Val, changes: &[Change; SLOTS]) -> Option<Root> {
    let i = &block.insts[v.index()];
    match i.op {
        Op::Get => match changes.get(i.imm as usize)? {
            Change::Steps(n) if *n <= STEP => Some(Root::Slot(i.imm)),
            _ => None,
        },
        Op::Const => Some(Root::Zero),
        Op::Pc => Some(Root::Base),
        Op::Bin(Bin::Add | Bin::Sub) => {
            let [base, index, ..] = i.args;
            if leaps(block, index, changes, 1) { None } else { root(block, base, changes) }
        }
        _ => None,
    }
}

/// Whether `v`, an index in units of `scale`, is known to be far from where it was a turn before.
fn leaps(block: &Block, v: Val, changes: &[Change; SLOTS], scale: i64) -> bool {
    let i = &block.insts[v.index()];
    match i.op {
        Op::Get => match changes.get(i.imm as usize) {
            Some(Change::Steps(n) | Change::Around(n)) => n.saturating_mul(scale) > STEP,
            _ => false,
        },
        Op::Bin(Bin::Shl) => match konst(&block.insts, i.args[1]) {
            Some(n @ 0..8) => leaps(block, i.args[0], changes, scale << n),
            _ => false,
        },
        Op::Bin(Bin::Add | Bin::Sub | Bin::And) | Op::Un(_) => leaps(block, i.args[0], changes, scale),
        _ => false,
    }
}
