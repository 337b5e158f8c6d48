//! The translated code: regions, modules, table slots; how they come and go.

use core::num::NonZeroU32;
use std::collections::VecDeque;

use guest_api::StateLayout;
use ir::Exit;
use rustc_hash::FxHashMap;
use wasmgen::Batch;
use wasmgen::abi::Abi;

use crate::apart::{Apart, Reaches};
use crate::stress::Stress;
use crate::{Host, Support, call};

mod tier;
mod translate;

/// Executions of a block by the interpreter before it is translated.
const HOT: u32 = 1000;
/// Executions of a block that make it worth including in a region.
const WARM: u32 = HOT / 4;
/// At the end of a slice, a module is made of this many functions, or of those that have waited for so many slices.
const ENOUGH: usize = 16;
const PATIENCE: u32 = 8;
/// Slices for which nothing is translated after the host has refused: at first, and at most. Each refusal doubles them.
const REST: u32 = 16;
const MAX_REST: u32 = 4096;
/// Table slots asked of the host at once, and slots in all before everything is dropped.
const SLOTS: u32 = 1024;
const MAX_SLOTS: usize = 1 << 16;
/// Bytes in a page.
pub(crate) const PAGE: u64 = 4096;

/// Where code is: physical address and decoding mode.
pub(crate) type Key = (u64, u32);

/// Counters since the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub regions: u64,
    pub modules: u64,
    pub wasm_bytes: u64,
    /// Time spent forming and recording regions, on passes and emission, and in the host's compiler.
    pub lift_ns: u64,
    pub emit_ns: u64,
    pub compile_ns: u64,
    pub exits_lookup: u64,
    pub exits_side: u64,
    pub exits_interpret: u64,
    pub exits_guard: u64,
    pub exits_budget: u64,
    pub invalidations: u64,
    /// Regions formed again with all that they went over to, counted among `regions` too.
    pub widened: u64,
    /// Modules dropped, the oldest first, as there was more code than is kept.
    pub evictions: u64,
    /// Regions dropped because entering them led nowhere.
    pub useless: u64,
    pub refusals: u64,
}

/// What became of code that was hot.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// It waits in the batch.
    Waiting,
    In(NonZeroU32),
    /// It is better interpreted, which a region has shown.
    Unfit,
}

pub(crate) struct Info {
    key: Key,
    slot: u32,
    state: State,
    /// Guest instructions in it.
    insns: u32,
    /// Its code is in no other region that it could go over to.
    wide: bool,
    /// How often the budget was used up in it.
    samples: u32,
    reaches: Reaches,
    ranges: Vec<(u64, u32)>,
    pages: Vec<(i64, u64)>,
    exits: Vec<Exit>,
    /// Behind them, the ways out because the budget is used up: offsets from the base.
    loops: Vec<i64>,
    /// No other region has had it.
    serial: u32,
}

/// What is in a slot of the table. Entering it looks at nothing else that is kept of the region.
#[derive(Clone, Copy)]
struct Owner {
    region: u32,
    /// Entries by the interpreter lately, and those of them that executed nothing.
    entries: u16,
    useless: u16,
}

struct Module {
    id: NonZeroU32,
    regions: Vec<u32>,
    live: usize,
    bytes: usize,
}

/// The second tier over a host.
pub struct Jit<H> {
    host: H,
    layout: StateLayout,
    /// `None`: the host cannot.
    abi: Option<Abi>,
    pub(crate) regions: Vec<Option<Info>>,
    free_regions: Vec<u32>,
    next_serial: u32,
    /// Slots given to code, whether translated or not yet.
    slots: FxHashMap<Key, u32>,
    pub(crate) max_slots: usize,
    free_slots: Vec<u32>,
    all_slots: Vec<(u32, u32)>,
    /// Regions by where they are entered.
    known: FxHashMap<Key, u32>,
    /// Those of them that are in the table.
    live: usize,
    apart: Apart,
    /// By slot, the region that is in the table there.
    owners: Vec<Owner>,
    by_page: FxHashMap<u64, Vec<u32>>,
    batch: Batch,
    waiting: Vec<u32>,
    /// Slices for which the first has waited.
    waited: u32,
    /// Slices until the host is asked again after a refusal, and how many they will be after the next.
    rest: u32,
    next_rest: u32,
    modules: VecDeque<Module>,
    bytes: usize,
    pub(crate) limit: usize,
    changes: Vec<(u64, u32, u32)>,
    /// Slots were taken back from the code that had them.
    reassigned: bool,
    /// The region in which the budget was used up, and where it begins.
    sampled: Option<(u32, u64)>,
    /// The entry of a region whose shared accesses are often apart, and its linear address.
    torn: Option<(Key, u64)>,
    /// Slices so far.
    slices: u64,
    pub(crate) stress: Option<Stress>,
    /// Executions of a block by the interpreter before it is translated.
    pub hot: u32,
    /// Executions of a block that make it worth including in a region.
    pub warm: u32,
    pub stats: Stats,
}

/// No region.
const NOBODY: Owner = Owner { region: u32::MAX, entries: 0, useless: 0 };

impl<H: Host> Jit<H> {
    /// A tier for a guest whose state is as `layout` says, keeping about `limit` bytes of generated code.
    pub fn new(host: H, layout: StateLayout, limit: usize) -> Self {
        let linked = match host.support() {
            Support::None => None,
            Support::Linked => Some(true),
            Support::Unlinked => Some(false),
        };
        let abi = linked.map(|linked| Abi {
            layout,
            state: 0,
            lookup_slot: call::lookup as *const () as usize as u32,
            interpret_slot: call::interpret as *const () as usize as u32,
            linked,
        });
        Jit {
            host,
            layout,
            abi,
            regions: Vec::new(),
            free_regions: Vec::new(),
            next_serial: 1,
            slots: FxHashMap::default(),
            max_slots: MAX_SLOTS,
            free_slots: Vec::new(),
            all_slots: Vec::new(),
            known: FxHashMap::default(),
            live: 0,
            apart: Apart::default(),
            owners: Vec::new(),
            by_page: FxHashMap::default(),
            batch: Batch::default(),
            waiting: Vec::new(),
            waited: 0,
            rest: 0,
            next_rest: REST,
            modules: VecDeque::new(),
            bytes: 0,
            limit,
            changes: Vec::new(),
            reassigned: false,
            sampled: None,
            torn: None,
            slices: 0,
            stress: None,
            hot: HOT,
            warm: WARM,
            stats: Stats::default(),
        }
    }

    /// Regions that can be entered.
    pub fn live_regions(&self) -> usize {
        self.live
    }
    pub fn live_modules(&self) -> usize {
        self.modules.len()
    }

    /// A slice of the guest's time is over: makes a module of what is waiting where that is enough or has waited for long.
    pub fn slice_over(&mut self) {
        self.slices += 1;
        self.rest = self.rest.saturating_sub(1);
        if !self.batch.is_empty() {
            self.waited += 1;
            if self.batch.len() >= ENOUGH || self.waited >= PATIENCE {
                self.flush();
            }
        }
    }

    /// What is known for functions of a guest whose state is at `state`: those that are there know that address.
    fn for_state(&mut self, state: u32) -> Option<Abi> {
        if self.abi.is_some_and(|abi| abi.state != state) {
            self.everything_goes();
        }
        let abi = self.abi.as_mut()?;
        abi.state = state;
        Some(*abi)
    }

    /// The host has refused something.
    fn refused(&mut self) {
        self.stats.refusals += 1;
        self.rest = self.next_rest;
        self.next_rest = (2 * self.next_rest).min(MAX_REST);
    }

    /// Makes a module of what is waiting.
    pub fn flush(&mut self) {
        self.waited = 0;
        if self.batch.is_empty() {
            return;
        }
        let Some(abi) = self.abi else { return };
        let start = self.host.now_ns();
        let module = self.batch.module(&abi);
        let slots: Vec<u32> = self.batch.slots().collect();
        let id = self.host.compile(&module, &slots);
        self.stats.compile_ns += self.host.now_ns().saturating_sub(start);
        self.batch.clear();
        let waiting = core::mem::take(&mut self.waiting);
        let Some(id) = id else {
            self.refused();
            for n in waiting {
                self.forget(n);
            }
            return;
        };
        self.next_rest = REST;
        self.stats.modules += 1;
        self.stats.wasm_bytes += module.len() as u64;
        for &n in &waiting {
            if let Some(info) = self.regions[n as usize].as_mut() {
                info.state = State::In(id);
                self.live += 1;
                let (key, slot) = (info.key, info.slot);
                if self.owners.len() <= slot as usize {
                    self.owners.resize(slot as usize + 1, NOBODY);
                }
                self.owners[slot as usize] = Owner { region: n, ..NOBODY };
                self.changes.push((key.0, key.1, slot));
                // It is in the place of what was there, and the code stays as hot as it is.
                let older = self.known.insert(key, n).filter(|&m| m != n);
                if let Some(State::In(id)) = older.and_then(|m| self.forget_of(m)).map(|info| info.state) {
                    self.has_one_less(id);
                }
            }
        }
        let live = waiting.len();
        self.bytes += module.len();
        self.modules.push_back(Module { id, regions: waiting, live, bytes: module.len() });
        while self.bytes > self.limit && self.modules.len() > 1 {
            self.evict();
        }
    }

    /// Drops the oldest module.
    pub(crate) fn evict(&mut self) {
        let Some(module) = self.modules.pop_front() else { return };
        self.stats.evictions += 1;
        for n in module.regions {
            if self.regions[n as usize].as_ref().is_some_and(|i| i.state == State::In(module.id)) {
                self.forget(n);
            }
        }
        self.bytes -= module.bytes;
        self.host.drop(module.id);
    }

    /// Forgets region `n`, whose code may be in the table.
    fn forget(&mut self, n: u32) {
        let Some(info) = self.forget_of(n) else { return };
        if let State::In(_) = info.state {
            if let Some(owner) = self.owners.get_mut(info.slot as usize) {
                *owner = NOBODY;
            }
            if let Some(abi) = self.abi {
                self.host.copy(info.slot, abi.lookup_slot, 1);
            }
        }
        match self.known.get(&info.key) {
            // It was to take the place of another, which stays, and may be made wide again.
            Some(&older) if older != n => {
                if let Some(older) = self.regions[older as usize].as_mut() {
                    (older.wide, older.samples) = (false, 0);
                }
            }
            _ => {
                self.known.remove(&info.key);
                self.changes.push((info.key.0, info.key.1, 0));
            }
        }
    }

    /// Forgets what is kept of region `n`, but for what the table and the interpreter have of it.
    fn forget_of(&mut self, n: u32) -> Option<Info> {
        let info = self.regions[n as usize].take()?;
        self.live -= usize::from(matches!(info.state, State::In(_)));
        for page in info.ranges.iter().map(|r| r.0 & !(PAGE - 1)) {
            if let Some(list) = self.by_page.get_mut(&page) {
                list.retain(|&r| r != n);
                if list.is_empty() {
                    self.by_page.remove(&page);
                }
            }
        }
        self.free_regions.push(n);
        Some(info)
    }

    /// Drops region `n` because its code is no longer what it was made from.
    pub(crate) fn invalidate(&mut self, n: u32) {
        if self.regions.get(n as usize).is_some_and(Option::is_some) {
            self.stats.invalidations += 1;
            self.remove(n);
        }
    }

    /// Drops region `n`, and its module where it was the last.
    fn remove(&mut self, n: u32) {
        let Some(info) = &self.regions[n as usize] else { return };
        match info.state {
            State::Waiting | State::Unfit => {
                if let Some(at) = self.waiting.iter().position(|&w| w == n) {
                    self.waiting.remove(at);
                    self.batch.remove(n);
                }
                self.forget(n);
            }
            State::In(id) => {
                self.forget(n);
                self.has_one_less(id);
            }
        }
    }

    /// One of the regions of module `id` was forgotten: drops the module where it was the last.
    fn has_one_less(&mut self, id: NonZeroU32) {
        let Some(at) = self.modules.iter().position(|m| m.id == id) else { return };
        self.modules[at].live -= 1;
        if self.modules[at].live == 0
            && let Some(module) = self.modules.remove(at)
        {
            self.bytes -= module.bytes;
            self.host.drop(id);
        }
    }

    pub(crate) fn everything_goes(&mut self) {
        self.batch.clear();
        self.waiting.clear();
        for n in 0..self.regions.len() as u32 {
            self.forget(n);
        }
        for module in core::mem::take(&mut self.modules) {
            self.host.drop(module.id);
        }
        self.bytes = 0;
        self.apart.clear();
        // All slots hold the lookup again.
        self.slots.clear();
        self.reassigned = true;
        self.free_slots.clear();
        for &(first, count) in &self.all_slots {
            self.free_slots.extend(first..first + count);
        }
    }

    /// The slot for code at `key`; `None` where the host's table cannot grow.
    fn slot(&mut self, key: Key) -> Option<u32> {
        if let Some(&slot) = self.slots.get(&key) {
            return Some(slot);
        }
        if self.free_slots.is_empty() {
            let lookup = self.abi?.lookup_slot;
            if self.rest > 0 {
                return None;
            }
            let Some(first) = self.host.grow(SLOTS, lookup) else {
                self.refused();
                return None;
            };
            self.all_slots.push((first.get(), SLOTS));
            self.free_slots.extend((first.get()..first.get() + SLOTS).rev());
        }
        let slot = self.free_slots.pop()?;
        self.slots.insert(key, slot);
        Some(slot)
    }

    /// The region that is in the table at `slot`.
    #[cfg(test)]
    fn owner(&self, slot: u32) -> u32 {
        self.owners[slot as usize].region
    }

    /// A number for a region.
    fn number(&mut self) -> u32 {
        self.free_regions.pop().unwrap_or_else(|| {
            self.regions.push(None);
            self.regions.len() as u32 - 1
        })
    }
}

#[cfg(test)]
mod tests;
