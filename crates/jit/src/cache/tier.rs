//! What the interpreter asks of the second tier: which code is hot, the way into translated code and out of it.

use guest_api::{Code, Decoded, Disturbance, Exchange, Guest, Left, Tier};
use wasmgen::abi::Leave;

use super::*;

/// Slices that end in a region before it is made wide.
const SAMPLES: u32 = 16;
/// Of so many entries of a region by the interpreter, those that may end where they began before it is dropped.
const ENTRIES: u16 = 256;
const USELESS: u16 = ENTRIES / 16 * 15;

impl<H: Host> Tier for Jit<H> {
    fn threshold(&self) -> u32 {
        if self.abi.is_some() { self.hot } else { 0 }
    }

    fn hot<C: Code>(&mut self, code: &mut C, entry: Decoded, pc: u64) -> u32 {
        let Some(abi) = self.for_state(code.state()) else { return self.hot };
        let half = self.hot.div_ceil(2);
        let key = (entry.pa, entry.mode);
        if let Some(&n) = self.known.get(&key) {
            // Executed half as often again while it waits: it has waited enough.
            if self.waiting.contains(&n) {
                self.flush();
            }
            return half;
        }
        if self.rest > 0 || self.stress.as_mut().is_some_and(|s| !s.may_compile()) || self.is_waited_for(key) {
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
        self.translate(code, entry, pc, slot, &abi);
        half
    }

    fn sample<C: Code>(&mut self, code: &mut C) {
        let sampled = self.sampled.take();
        if self.rest > 0 {
            return;
        }
        if let Some((key, base)) = self.torn.take() {
            self.mend(code, key, base);
        }
        let Some((n, base)) = sampled else { return };
        let Some(Some(info)) = self.regions.get_mut(n as usize) else { return };
        info.samples += 1;
        if info.samples >= SAMPLES && !info.wide {
            self.translate_again(code, n, base, |info, f| f.insns() > info.insns || !f.region.kept.is_empty());
        }
    }

    fn disturb(&mut self) -> Option<Disturbance> {
        self.mischief()
    }

    fn find(&self, pa: u64, mode: u32) -> u32 {
        let known = self.known.get(&(pa, mode)).and_then(|&n| self.regions[n as usize].as_ref());
        known.filter(|i| matches!(i.state, State::In(_))).map_or(0, |i| i.slot)
    }

    fn in_page(&self, pa: u64) -> bool {
        self.by_page.contains_key(&(pa & !(PAGE - 1)))
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
            let mut entered = Some(slot);
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
                        self.left_by_side(x.region, x.base, x.pc as u32);
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
                        (entered, remapped) = (info.map(|i| i.slot), true);
                    }
                }
            }
            if let Some(slot) = entered {
                self.entered(slot, remapped || out.interpret && out.left == left, remapped);
            }
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

/// What entries of regions show.
impl<H: Host> Jit<H> {
    /// Nearly all entries of region `n` end at once: drops it. Where it is its code that is to be interpreted (and not a mapping that
    /// has changed, or probes that were shared), keeps from translating that again, as long as it is there.
    fn drop_useless(&mut self, n: u32, unfit: bool) {
        let Some(info) = &self.regions[n as usize] else { return };
        let (key, slot) = (info.key, info.slot);
        let of_entry = info.ranges.iter().copied().filter(|r| r.0 == key.0).max_by_key(|r| r.1);
        self.stats.useless += 1;
        let unfit = unfit && !self.apart.all(key);
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
                reaches: Reaches::default(),
                ranges,
                pages,
                exits,
                loops: Vec::new(),
                serial: 0,
            });
            self.known.insert(key, n);
        }
    }

    /// What is in `slot` was entered, by the interpreter as far as that can be told. `useless`: it executed nothing; `remapped`: because of a
    /// mapping.
    fn entered(&mut self, slot: u32, useless: bool, remapped: bool) {
        let Some(owner) = self.owners.get_mut(slot as usize).filter(|o| o.region != NOBODY.region) else { return };
        owner.entries += 1;
        owner.useless += u16::from(useless);
        if owner.entries == ENTRIES {
            let drop = owner.useless >= USELESS;
            (owner.entries, owner.useless) = (0, 0);
            if drop {
                let region = owner.region;
                self.drop_useless(region, !remapped);
            }
        }
    }

    /// Region `n`, which is at linear address `base`, was left by side exit `exit`.
    fn left_by_side(&mut self, n: u32, base: u64, exit: u32) {
        let Some(Some(info)) = self.regions.get_mut(n as usize) else { return };
        if info.reaches.note(exit, self.slices) {
            let offsets = info.reaches.often().filter_map(|e| info.exits.get(e as usize)).map(|e| e.pc);
            self.apart.add(info.key, offsets);
            self.torn = Some((info.key, base));
        }
    }
}
