//! Forming regions and translating them: the first time, and again where time is spent or accesses are apart.

use guest_api::{Code, Decoded};
use ir::passes;

use super::*;
use crate::form::{Formed, Limits, Surroundings, form};

/// Guest instructions of a region that may be part of others too: going over to it costs more.
const SMALL: u32 = 8;
/// Guest instructions of a region, and of one that is wide. V8 optimises a function when its first code has been left so often that the sizes of
/// that, summed up, come to 13 MB: of large ones it does so after a few hundred executions.
const INSNS: u32 = 100;
const WIDE_INSNS: u32 = 400;
/// Functions in a module, and bytes of them, at which it is not kept waiting for more.
const BATCH: usize = 24;
const BATCH_BYTES: usize = 64 << 10;

impl<H: Host> Jit<H> {
    /// Whether a block is part of a region that waits.
    pub(super) fn is_waited_for(&self, key: Key) -> bool {
        let mut waiting = self.waiting.iter().filter_map(|&n| self.regions[n as usize].as_ref());
        waiting.any(|i| i.key.1 == key.1 && i.ranges.iter().any(|r| r.0 == key.0))
    }

    /// Lets a region wait for its module, which puts it in `slot` in the place of what is there. None waits with the same `key`.
    pub(super) fn add(&mut self, key: Key, slot: u32, formed: Formed, wide: bool, abi: &Abi) {
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
            reaches: Reaches::of(&region),
            ranges,
            pages: region.pages,
            exits: region.exits,
            loops,
            serial,
        });
        if !wide {
            self.known.insert(key, n);
        }
        self.stats.regions += 1;
        self.stats.emit_ns += self.host.now_ns().saturating_sub(start);
    }

    /// Forms the region of `entry`, at linear address `pc`, as good as the passes make it, and notes the time that it takes.
    fn form<C: Code>(&mut self, code: &mut C, entry: Decoded, pc: u64, wide: bool) -> Option<Formed> {
        let start = self.host.now_ns();
        let limits = Limits { runs: self.warm, insns: if wide { WIDE_INSNS } else { INSNS } };
        let mode = entry.mode;
        let mut formed = form(code, entry, pc, limits, wasmgen::supports, &mut Around { jit: self, mode, wide });
        if let Some(formed) = &mut formed {
            // Elsewhere little time is spent: the code is to be short.
            let keeping = wide || self.stress.is_some();
            passes::all(&mut formed.region, self.apart.of((entry.pa, mode)), keeping);
        }
        self.stats.lift_ns += self.host.now_ns().saturating_sub(start);
        formed
    }

    /// Translates the hot block `entry`, at linear address `pc`, and what is around it, for `slot`.
    pub(super) fn translate<C: Code>(&mut self, code: &mut C, entry: Decoded, pc: u64, slot: u32, abi: &Abi) {
        if let Some(formed) = self.form(code, entry, pc, false) {
            self.add((entry.pa, entry.mode), slot, formed, false, abi);
        }
        self.flush_if_full();
    }

    /// Makes a module of what is waiting where that is enough.
    fn flush_if_full(&mut self) {
        let enough = self.stress.as_mut().map_or(BATCH, Stress::batch);
        if self.batch.len() >= enough || self.batch.bytes() >= BATCH_BYTES {
            self.flush();
        }
    }

    /// Translates the region that is entered at `key`, whose shared accesses are often apart, again.
    pub(super) fn mend<C: Code>(&mut self, code: &mut C, key: Key, base: u64) {
        let Some(&n) = self.known.get(&key) else { return };
        let translated = self.regions[n as usize].as_ref().is_some_and(|i| matches!(i.state, State::In(_)));
        if !translated || self.is_waited_for(key) {
            return;
        }
        // What would be smaller has not been interpreted lately: it has to become hot again.
        if !self.translate_again(code, n, base, |info, f| f.insns() >= info.insns) {
            self.remove(n);
        }
    }

    /// Translates region `n`, which is at linear address `base`, again, with all that it goes over to, if that is `better`.
    pub(super) fn translate_again<C: Code>(
        &mut self,
        code: &mut C,
        n: u32,
        base: u64,
        better: impl Fn(&Info, &Formed) -> bool,
    ) -> bool {
        let (Some(abi), Some(Some(info))) = (self.abi, self.regions.get_mut(n as usize)) else { return false };
        info.wide = true;
        let (key, slot) = (info.key, info.slot);
        let entry = code.block_at(base).filter(|e| (e.pa, e.mode) == key);
        let formed = entry.and_then(|e| self.form(code, e, base, true));
        let better = |f: &Formed| self.regions[n as usize].as_ref().is_some_and(|info| better(info, f));
        let Some(formed) = formed.filter(better) else { return false };
        self.stats.widened += 1;
        self.add(key, slot, formed, true, &abi);
        self.flush_if_full();
        true
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
