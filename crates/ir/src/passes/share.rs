//! One probe of the TLB for accesses of a block that lie close to each other: on the stack, in a structure.
//!
//! Addresses that differ by constants are found out once ([`Op::Reach`]), before the first access; the accesses then go to the host's
//! memory directly. Where not all of that is in one page of RAM, the region is left there; accesses that are often apart share nothing.

use guest_api::{Align, Bin, Lane, Width};

use crate::{Block, Inst, Op, Region, Val};

/// Most bytes from the first to the last of those that share. The more, the more often they cross a page.
const SPAN: i64 = 512;

/// Operations behind a store in which it is likely to be still on its way to memory.
const NEAR: usize = 64;

/// What addresses that share have in common.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Root {
    Value(Val),
    /// The region's base.
    Base,
    Zero,
}

struct Group {
    root: Root,
    /// How many conditional parts are open where it begins.
    depth: usize,
    open: bool,
    /// Behind it the block may have been left: what comes now may not be executed where it begins.
    forked: bool,
    /// The first access and its distance from the root.
    first: usize,
    first_at: i64,
    low: i64,
    high: i64,
    writes: bool,
    /// Probes without sharing.
    probes: u32,
    /// Known to be often in two pages.
    apart: bool,
}

impl Group {
    fn shares(&self) -> bool {
        self.probes > 1 && !self.apart
    }
}

/// An access that can share.
#[derive(Clone, Copy)]
struct Member {
    group: usize,
    at: i64,
}

/// Shares probes in all blocks, but not where the first of those that would share is at an offset in `apart`.
pub fn share(region: &mut Region, apart: &[i64]) {
    for block in &mut region.blocks {
        let (mut groups, members) = find(block);
        for g in &mut groups {
            let exit = region.exits.get(block.insts[g.first].exit as usize);
            g.apart = exit.is_some_and(|e| apart.contains(&e.pc));
        }
        if groups.iter().any(Group::shares) {
            rewrite(block, &groups, &members);
        }
    }
}

/// Address `v` as a distance from a root.
fn split(insts: &[Inst], v: Val) -> (Root, i64) {
    let i = &insts[v.index()];
    match i.op {
        Op::Const => (Root::Zero, i.imm as i64),
        Op::Pc => (Root::Base, i.imm as i64),
        Op::Bin(op @ (Bin::Add | Bin::Sub)) => match insts[i.args[1].index()] {
            Inst { op: Op::Const, imm, .. } => {
                (Root::Value(i.args[0]), if op == Bin::Add { imm as i64 } else { (imm as i64).wrapping_neg() })
            }
            _ => (Root::Value(v), 0),
        },
        _ => (Root::Value(v), 0),
    }
}

fn find(block: &Block) -> (Vec<Group>, Vec<Option<Member>>) {
    let mut groups: Vec<Group> = Vec::new();
    let mut members = vec![None; block.insts.len()];
    let mut depth = 0;
    let mut updated = Val::NONE;
    for (k, i) in block.insts.iter().enumerate() {
        match i.op {
            Op::If => depth += 1,
            Op::End => {
                depth -= 1;
                groups.iter_mut().filter(|g| g.depth > depth).for_each(|g| g.open = false);
            }
            // What may be accessed may be different after it.
            Op::Helper => groups.iter_mut().for_each(|g| g.open = false),
            Op::Fork => groups.iter_mut().for_each(|g| g.forked = true),
            _ => {}
        }
        let Some((bytes, writes)) = i.op.access() else { continue };
        let bytes = i64::from(bytes);
        let (root, at) = split(&block.insts, i.args[0]);
        // Beyond the largest offset the difference of two would not be what is between them.
        let Some(end) = at.checked_add(bytes) else {
            updated = Val::NONE;
            continue;
        };
        // A page that may only be read must not be asked for to write what is written on another way.
        let may = |g: &Group| g.open && (g.writes || !writes || !g.forked);
        let near = |g: &Group| may(g) && g.root == root && g.high.max(end).saturating_sub(g.low.min(at)) <= SPAN;
        let n = groups.iter().rposition(near).unwrap_or_else(|| {
            let (first, first_at) = (k, at);
            groups.push(Group {
                root,
                depth,
                open: true,
                forked: false,
                first,
                first_at,
                low: at,
                high: end,
                writes,
                probes: 0,
                apart: false,
            });
            groups.len() - 1
        });
        let g = &mut groups[n];
        (g.low, g.high) = (g.low.min(at), g.high.max(end));
        g.writes |= writes;
        // A store of what the same instruction has loaded needs no probe of its own.
        g.probes += u32::from(!(matches!(i.op, Op::Store(_)) && i.args[0] == updated));
        updated = if matches!(i.op, Op::LoadRmw(_)) { i.args[0] } else { Val::NONE };
        members[k] = Some(Member { group: n, at });
    }
    (groups, members)
}

/// Whether the vector that access `k` loads was in part stored shortly before, by a store of 8 bytes or less. Processors hand a load what is on
/// its way to memory only if one store has all of it, and else let it wait until that is there.
fn torn(insts: &[Inst], members: &[Option<Member>], k: usize) -> bool {
    let Some(load) = members[k] else { return false };
    let mut stores = insts[..k].iter().zip(members).rev().take(NEAR).filter_map(|(i, m)| match (i.op, m) {
        (Op::Store(w), Some(m)) if m.group == load.group => Some(m.at..m.at + i64::from(w.bytes())),
        _ => None,
    });
    stores.any(|s| s.start < load.at + 16 && load.at < s.end)
}

fn rewrite(block: &mut Block, groups: &[Group], members: &[Option<Member>]) {
    let old = core::mem::take(&mut block.insts);
    let new = &mut block.insts;
    let mut map = vec![Val::NONE; old.len()];
    let mut reach = vec![Val::NONE; groups.len()];
    // Where in 16 bytes an access of the group was found to be aligned: others there need not look.
    let mut aligned = vec![None; groups.len()];
    let mut depth = 0;
    let push = |new: &mut Vec<Inst>, op: Op, args: &[Val], imm: u64, exit: u32| {
        new.push(Inst::new(op, args, imm, exit));
        Val(new.len() as u32 - 1)
    };
    for (k, i) in old.iter().enumerate() {
        depth = depth + usize::from(i.op == Op::If) - usize::from(i.op == Op::End);
        let i = i.mapped(&map);
        let [a, v, ..] = i.args;
        let shared = members[k].map(|m| (m, &groups[m.group])).filter(|(_, g)| g.shares());
        let Some((m, g)) = shared else {
            new.push(i);
            map[k] = Val(new.len() as u32 - 1);
            continue;
        };
        if g.first == k {
            // From the first access's address, which is there, down to the lowest.
            let down = g.low.wrapping_sub(g.first_at);
            let low = match down {
                0 => a,
                _ => {
                    let n = push(new, Op::Const, &[], down as u64, u32::MAX);
                    push(new, Op::Bin(Bin::Add), &[a, n], 0, u32::MAX)
                }
            };
            let bytes = (g.high - g.low) as u64;
            reach[m.group] = push(new, Op::Reach(g.writes), &[low], bytes, i.exit);
        }
        let (r, at) = (reach[m.group], (m.at - g.low) as u64);
        let mut look = |align| match align {
            Align::Natural if aligned[m.group] == Some(m.at & 15) => Align::Any,
            Align::Natural if depth == g.depth => {
                aligned[m.group] = Some(m.at & 15);
                align
            }
            _ => align,
        };
        map[k] = match i.op {
            Op::Load(w) | Op::LoadRmw(w) => push(new, Op::LoadNear(w), &[a, r], at, i.exit),
            Op::Store(w) => push(new, Op::StoreNear(w), &[a, v, r], at, i.exit),
            Op::LoadX(Align::Any) if torn(&old, members, k) => {
                let [low, high] = [at, at + 8].map(|at| push(new, Op::LoadNear(Width::W64), &[a, r], at, i.exit));
                let x = push(new, Op::Widen, &[low], 0, u32::MAX);
                push(new, Op::Insert(Lane::B64), &[x, high], 1, u32::MAX)
            }
            Op::LoadX(align) => push(new, Op::LoadXNear(look(align)), &[a, r], at, i.exit),
            Op::StoreX(align) => push(new, Op::StoreXNear(look(align)), &[a, v, r], at, i.exit),
            _ => Val::NONE,
        };
    }
    if let Some(v) = block.term.value_mut() {
        *v = map[v.index()];
    }
}
