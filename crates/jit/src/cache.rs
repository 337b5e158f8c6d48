//! The translated code: regions, modules, table slots; how they come and go.

use core::num::NonZeroU32;
use std::collections::VecDeque;

use guest_api::{Code, Disturbance, Exchange, Guest, Left, StateLayout, Tier};
use ir::{Exit, passes};
use rustc_hash::{FxHashMap, FxHashSet};
use wasmgen::Batch;
use wasmgen::abi::{Abi, Leave};

use crate::form::{Formed, Surroundings, form};
use crate::stress::Stress;
use crate::{Host, Support, call};

/// Executions of a block by the interpreter before it is translated.
const HOT: u32 = 1000;
/// Executions of a block that make it worth including in a region.
const WARM: u32 = HOT / 4;
/// Guest instructions of a region that may be part of others too: going over to it costs more.
const SMALL: u32 = 8;
/// Slices that end in a region before it is made wide.
const SAMPLES: u32 = 4;
/// Functions in a module, and bytes of them, at which it is not kept waiting for more.
const BATCH: usize = 24;
const BATCH_BYTES: usize = 64 << 10;
/// At the end of a slice, a module is made of this many functions, or of those that have waited for so many slices.
const ENOUGH: usize = 16;
const PATIENCE: u32 = 8;
/// Slices for which nothing is translated after the host has refused: at first, and at most. Each refusal doubles them.
const REST: u32 = 16;
const MAX_REST: u32 = 4096;
/// Of so many entries of a region by the interpreter, those that may end where they began before it is dropped.
const ENTRIES: u32 = 256;
const USELESS: u32 = ENTRIES / 16 * 15;
/// Side exits of a region before it is translated anew, each access looking for itself.
const SIDES: u32 = 1024;
/// Table slots asked of the host at once, and slots in all before everything is dropped.
const SLOTS: u32 = 1024;
const MAX_SLOTS: usize = 1 << 16;
const PAGE: u64 = 4096;

/// Where code is: physical address and decoding mode.
type Key = (u64, u32);

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
    /// Regions formed again with all that they went over to.
    pub widened: u64,
    /// Modules dropped for want of room.
    pub evictions: u64,
    /// Regions dropped because entering them led nowhere.
    pub useless: u64,
    pub refusals: u64,
}

impl Stats {
    /// Time spent on translating, all in all.
    fn busy_ns(&self) -> u64 {
        self.lift_ns + self.emit_ns + self.compile_ns
    }
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
    /// How often the budget was used up in it, and a side exit taken.
    samples: u32,
    sides: u32,
    ranges: Vec<(u64, u32)>,
    pages: Vec<(i64, u64)>,
    exits: Vec<Exit>,
    /// Behind them, the ways out because the budget is used up: offsets from the base.
    loops: Vec<i64>,
    /// No other region has had it.
    serial: u32,
    /// Entries by the interpreter lately, and those of them that executed nothing.
    entries: u32,
    useless: u32,
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
    /// Entries of regions that shared probes of the TLB, and often had not at hand what those have in common: they do so no more.
    careful: FxHashSet<Key>,
    /// By slot, the region that is in the table there.
    owners: Vec<u32>,
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
    pub(crate) stress: Option<Stress>,
    /// Executions of a block by the interpreter before it is translated.
    pub hot: u32,
    /// Executions of a block that make it worth including in a region.
    pub warm: u32,
    pub stats: Stats,
    /// The time of [`Stats::busy_ns`] that the guest's clock need not hear of any more.
    told_ns: u64,
}

/// No region.
const NOBODY: u32 = u32::MAX;

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
            careful: FxHashSet::default(),
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
            stress: None,
            hot: HOT,
            warm: WARM,
            stats: Stats::default(),
            told_ns: 0,
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
        self.rest = self.rest.saturating_sub(1);
        if !self.batch.is_empty() {
            self.waited += 1;
            if self.batch.len() >= ENOUGH || self.waited >= PATIENCE {
                self.flush();
            }
        }
        // The guest does not run meanwhile.
        self.told_ns = self.stats.busy_ns();
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
        self.make_way();
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
                let slot = info.slot as usize;
                if self.owners.len() <= slot {
                    self.owners.resize(slot + 1, NOBODY);
                }
                self.owners[slot] = n;
                self.changes.push((info.key.0, info.key.1, info.slot));
            }
        }
        let live = waiting.len();
        self.bytes += module.len();
        self.modules.push_back(Module { id, regions: waiting, live, bytes: module.len() });
        while self.bytes > self.limit && self.modules.len() > 1 {
            self.stats.evictions += 1;
            self.evict();
        }
    }

    /// Drops the regions whose entries are also those of regions that wait.
    fn make_way(&mut self) {
        for n in self.waiting.clone() {
            let Some(key) = self.regions[n as usize].as_ref().map(|i| i.key) else { continue };
            if let Some(older) = self.known.insert(key, n).filter(|&m| m != n) {
                self.remove(older);
                // The code there stays as hot as it is.
                self.changes.retain(|c| (c.0, c.1) != key);
                self.known.insert(key, n);
            }
        }
    }

    /// Drops the oldest module.
    pub(crate) fn evict(&mut self) {
        let Some(module) = self.modules.pop_front() else { return };
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
        let Some(info) = self.regions[n as usize].take() else { return };
        if let State::In(_) = info.state {
            self.live -= 1;
            if let Some(owner) = self.owners.get_mut(info.slot as usize) {
                *owner = NOBODY;
            }
            if let Some(abi) = self.abi {
                self.host.copy(info.slot, abi.lookup_slot, 1);
            }
        }
        if self.known.get(&info.key) == Some(&n) {
            self.known.remove(&info.key);
        }
        self.changes.push((info.key.0, info.key.1, 0));
        for page in info.ranges.iter().map(|r| r.0 & !(PAGE - 1)) {
            if let Some(list) = self.by_page.get_mut(&page) {
                list.retain(|&r| r != n);
                if list.is_empty() {
                    self.by_page.remove(&page);
                }
            }
        }
        self.free_regions.push(n);
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
                if let Some(at) = self.modules.iter().position(|m| m.id == id) {
                    self.modules[at].live -= 1;
                    if self.modules[at].live == 0
                        && let Some(module) = self.modules.remove(at)
                    {
                        self.bytes -= module.bytes;
                        self.host.drop(id);
                    }
                }
            }
        }
    }

    /// Nearly all entries of region `n` end at once: drops it. Where it is its code that is to be interpreted (and not a mapping that
    /// has changed, or probes that were shared), keeps from translating that again, as long as it is there.
    fn drop_useless(&mut self, n: u32, unfit: bool) {
        let Some(info) = &self.regions[n as usize] else { return };
        let (key, slot) = (info.key, info.slot);
        let of_entry = info.ranges.iter().copied().filter(|r| r.0 == key.0).max_by_key(|r| r.1);
        self.stats.useless += 1;
        let unfit = unfit && !self.careful.insert(key);
        self.remove(n);
        if let Some(range) = of_entry.filter(|_| unfit) {
            let n = self.number();
            self.by_page.entry(range.0 & !(PAGE - 1)).or_default().push(n);
            let (ranges, pages, exits) = (vec![range], Vec::new(), Vec::new());
            self.regions[n as usize] = Some(Info {
                key,
                slot,
                state: State::Unfit,
                insns: 0,
                wide: true,
                samples: 0,
                sides: 0,
                ranges,
                pages,
                exits,
                loops: Vec::new(),
                serial: 0,
                entries: 0,
                useless: 0,
            });
            self.known.insert(key, n);
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
        self.careful.clear();
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
    fn owner(&self, slot: u32) -> u32 {
        self.owners.get(slot as usize).copied().unwrap_or(NOBODY)
    }

    /// Region `n` was entered, by the interpreter as far as that can be told. `useless`: it executed nothing; `remapped`: because of a
    /// mapping.
    fn entered(&mut self, n: u32, useless: bool, remapped: bool) {
        let Some(Some(info)) = self.regions.get_mut(n as usize) else { return };
        info.entries += 1;
        info.useless += u32::from(useless);
        if info.entries == ENTRIES {
            let drop = info.useless >= USELESS;
            (info.entries, info.useless) = (0, 0);
            if drop {
                self.drop_useless(n, !remapped);
            }
        }
    }

    /// Whether a block is part of a region that waits.
    fn is_waited_for(&self, key: Key) -> bool {
        let mut waiting = self.waiting.iter().filter_map(|&n| self.regions[n as usize].as_ref());
        waiting.any(|i| i.key.1 == key.1 && i.ranges.iter().any(|r| r.0 == key.0))
    }

    /// Region `n` was left by a side exit.
    fn left_by_side(&mut self, n: u32) {
        let Some(Some(info)) = self.regions.get_mut(n as usize) else { return };
        info.sides += 1;
        if info.sides == SIDES && self.careful.insert(info.key) {
            self.remove(n);
        }
    }

    /// A number for a region.
    fn number(&mut self) -> u32 {
        self.free_regions.pop().unwrap_or_else(|| {
            self.regions.push(None);
            self.regions.len() as u32 - 1
        })
    }

    fn add(&mut self, key: Key, slot: u32, formed: Formed, wide: bool, abi: &Abi) {
        let start = self.host.now_ns();
        let insns = formed.insns();
        let Formed { region, ranges, .. } = formed;
        let n = self.number();
        let serial = self.next_serial;
        self.next_serial = serial.wrapping_add(1);
        let mut code = wasmgen::function(&region, wasmgen::Id { number: n, serial }, abi);
        let loops = core::mem::take(&mut code.loops);
        self.batch.add(n, slot, code);
        self.waiting.push(n);
        for page in ranges.iter().map(|r| r.0 & !(PAGE - 1)) {
            let list = self.by_page.entry(page).or_default();
            if list.last() != Some(&n) {
                list.push(n);
            }
        }
        self.regions[n as usize] = Some(Info {
            key,
            slot,
            state: State::Waiting,
            insns,
            wide,
            samples: 0,
            sides: 0,
            ranges,
            pages: region.pages,
            exits: region.exits,
            loops,
            serial,
            entries: 0,
            useless: 0,
        });
        if !wide {
            self.known.insert(key, n);
        }
        self.stats.regions += 1;
        self.stats.emit_ns += self.host.now_ns().saturating_sub(start);
    }

    /// Forms a region, as good as the passes make it, and notes the time that it takes.
    fn form<C: Code>(&mut self, code: &mut C, id: u32, pc: u64, wide: bool) -> Option<Formed> {
        let start = self.host.now_ns();
        let (least, entry) = (self.warm, code.block(id));
        let (mode, sharing) = (entry.mode, !self.careful.contains(&(entry.pa, entry.mode)));
        let mut formed = form(code, id, pc, least, wasmgen::supports, &mut Around { jit: self, mode, wide });
        if let Some(formed) = &mut formed {
            // Elsewhere little time is spent: the code is to be short.
            passes::all(&mut formed.region, sharing, wide || self.stress.is_some());
        }
        self.stats.lift_ns += self.host.now_ns().saturating_sub(start);
        formed
    }

    /// Makes a module of what is waiting where that is enough.
    fn flush_if_full(&mut self) {
        let enough = self.stress.as_mut().map_or(BATCH, Stress::batch);
        if self.batch.len() >= enough || self.batch.bytes() >= BATCH_BYTES {
            self.flush();
        }
    }

    /// Translates region `n`, which is at linear address `base`, again: with all that it goes over to.
    fn widen<C: Code>(&mut self, code: &mut C, n: u32, base: u64) {
        let (Some(abi), Some(Some(info))) = (self.abi, self.regions.get_mut(n as usize)) else { return };
        let (key, slot, insns) = (info.key, info.slot, info.insns);
        info.wide = true;
        let entry = code.block_at(base).filter(|e| (e.pa, e.mode) == key);
        let better = |f: &Formed| f.insns() > insns || !f.region.kept.is_empty();
        let Some(formed) = entry.and_then(|e| self.form(code, e.id, base, true)).filter(better) else {
            return;
        };
        self.stats.widened += 1;
        self.add(key, slot, formed, true, &abi);
        self.flush_if_full();
    }
}

/// What a region that is formed meets around it, in code of one mode.
struct Around<'a, H> {
    jit: &'a mut Jit<H>,
    mode: u32,
    wide: bool,
}

impl<H: Host> Surroundings for Around<'_, H> {
    fn taken(&self, pa: u64) -> bool {
        let known = self.jit.known.get(&(pa, self.mode)).and_then(|&n| self.jit.regions[n as usize].as_ref());
        known.is_some_and(|i| i.state == State::Unfit || !self.wide && i.insns > SMALL)
    }
    fn slot(&mut self, pa: u64) -> u32 {
        self.jit.slot((pa, self.mode)).unwrap_or(0)
    }
}

impl<H: Host> Tier for Jit<H> {
    fn threshold(&self) -> u32 {
        if self.abi.is_some() { self.hot } else { 0 }
    }

    fn hot<C: Code>(&mut self, code: &mut C, id: u32, pc: u64) -> u32 {
        let Some(abi) = self.for_state(code.state()) else { return 0 };
        let entry = code.block(id);
        let key = (entry.pa, entry.mode);
        if let Some(&n) = self.known.get(&key) {
            // Executed half as often again while it waits: it has waited enough.
            if self.waiting.contains(&n) {
                self.flush();
            }
            return 0;
        }
        if self.rest > 0 || self.stress.as_mut().is_some_and(|s| !s.may_compile()) {
            return self.hot;
        }
        if self.is_waited_for(key) {
            return self.hot;
        }
        if self.slots.len() > self.max_slots {
            self.everything_goes();
        }
        let Some(slot) = self.slot(key) else {
            // The table does not grow: the slots that there are serve for other code when it is this one's turn again.
            self.everything_goes();
            return self.hot;
        };
        if let Some(formed) = self.form(code, id, pc, false) {
            self.add(key, slot, formed, false, &abi);
        }
        self.flush_if_full();
        self.hot.div_ceil(2)
    }

    fn sample<C: Code>(&mut self, code: &mut C) {
        let Some((n, base)) = self.sampled.take() else { return };
        let Some(Some(info)) = self.regions.get_mut(n as usize) else { return };
        info.samples += 1;
        if info.samples >= SAMPLES && !info.wide {
            self.widen(code, n, base);
        }
    }

    fn take_busy_ns(&mut self) -> u64 {
        let all = self.stats.busy_ns();
        all.saturating_sub(core::mem::replace(&mut self.told_ns, all))
    }

    fn disturb(&mut self) -> Option<Disturbance> {
        self.mischief()
    }

    fn find(&self, pa: u64, mode: u32) -> u32 {
        let known = self.known.get(&(pa, mode)).and_then(|&n| self.regions[n as usize].as_ref());
        known.filter(|i| matches!(i.state, State::In(_))).map_or(0, |i| i.slot)
    }

    fn enter(&mut self, guest: &mut dyn Guest, slot: u32, pc: u64, left: i64) -> Left {
        let at = self.layout.exchange;
        let state = guest.state().addr() as u32;
        if self.abi.is_none_or(|abi| abi.state != state) {
            _ = self.for_state(state);
            return Left { pc, left, interpret: true };
        }
        let mut remapped = false;
        for _ in 0..2 {
            let leave = call::enter(guest, slot, at, pc, left);
            let x: Exchange = call::read(guest, at);
            let mut out = Left { pc: x.pc, left: x.left, interpret: false };
            let mut entered = self.owner(slot);
            match leave {
                Leave::Lookup => {
                    if x.left > 0 {
                        self.stats.exits_lookup += 1
                    } else {
                        self.stats.exits_budget += 1;
                        self.sampled = Some((x.region, x.base));
                    }
                    // Nothing was executed: there is no region any more.
                    out.interpret = x.left == left;
                }
                Leave::Interpret => {
                    self.stats.exits_interpret += 1;
                    out.interpret = true;
                }
                Leave::Side => {
                    let Some(Some(info)) = self.regions.get(x.region as usize) else { break };
                    if let Some(exit) = info.exits.get(x.pc as usize) {
                        self.stats.exits_side += 1;
                        if let Some(form) = exit.form {
                            call::set_form(guest, self.layout.flags, form.0.into());
                        }
                        let pc = x.base.wrapping_add(exit.pc as u64);
                        out = Left { pc, left: x.left + i64::from(exit.undone), interpret: true };
                        self.left_by_side(x.region);
                    } else {
                        let Some(pc) = info.loops.get(x.pc as usize - info.exits.len()) else { break };
                        self.stats.exits_budget += 1;
                        self.sampled = Some((x.region, x.base));
                        out.pc = x.base.wrapping_add(*pc as u64);
                    }
                }
                Leave::Guard => {
                    self.stats.exits_guard += 1;
                    // The region may be another than the one entered: what was executed until here is in the exchange.
                    let info = self.regions.get(x.region as usize).and_then(|r| r.as_ref());
                    let entry = x.pc & !(PAGE - 1);
                    let good = info.is_some_and(|i| {
                        i.pages.iter().all(|&(delta, pa)| guest.executes(entry.wrapping_add(delta as u64), pa))
                    });
                    if let Some(info) = info.filter(|_| good) {
                        guest.verified(info.serial, x.pc);
                        if x.pc == pc && x.left == left {
                            continue;
                        }
                    }
                    out.interpret = !good;
                    if !good {
                        (entered, remapped) = (x.region, true);
                    }
                }
            }
            self.entered(entered, remapped || out.interpret && out.left == left, remapped);
            return out;
        }
        Left { pc, left, interpret: true }
    }

    fn written(&mut self, pa: u64, len: u64) {
        let Some(list) = self.by_page.get(&(pa & !(PAGE - 1))) else { return };
        let hit = |n: &&u32| {
            self.regions[**n as usize]
                .as_ref()
                .is_some_and(|i| i.ranges.iter().any(|&(at, bytes)| at < pa + len && pa < at + u64::from(bytes)))
        };
        let dead: Vec<u32> = list.iter().filter(hit).copied().collect();
        for n in dead {
            self.invalidate(n);
        }
    }

    fn drop_all(&mut self) {
        self.everything_goes();
    }

    fn ranges(&self, page: Option<u64>, each: &mut dyn FnMut(u64, u32)) {
        let mut of = |n: u32| {
            for &(pa, len) in self.regions[n as usize].iter().flat_map(|i| &i.ranges) {
                if page.is_none_or(|p| pa & !(PAGE - 1) == p) {
                    each(pa, len);
                }
            }
        };
        match page {
            Some(page) => self.by_page.get(&page).into_iter().flatten().for_each(|&n| of(n)),
            None => (0..self.regions.len() as u32).for_each(of),
        }
    }

    fn changed(&self) -> bool {
        !self.changes.is_empty() || self.reassigned
    }

    fn changes(&mut self, each: &mut dyn FnMut(u64, u32, u32)) -> bool {
        for (pa, mode, slot) in self.changes.drain(..) {
            each(pa, mode, slot);
        }
        core::mem::take(&mut self.reassigned)
    }
}

#[cfg(test)]
mod tests;
