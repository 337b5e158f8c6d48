//! A second tier for tests: code becomes a region when it is seen for the first time, and [`ir::eval`] runs that from then on.
//!
//! It is what `jit` is with a function in WebAssembly, on any host and as simple as can be: what differs from the interpreter is wrong in the
//! semantics as they are recorded, in a pass of `ir` or in its evaluator, and not in what is generated.
#![deny(unsafe_op_in_unsafe_fn)]

mod env;
mod record;

use std::collections::BTreeMap;

use guest_api::{Code, Decoded, Exchange, Guest, Left, StateLayout, Tier};
use ir::Region;
use ir::eval::{self, State};

use env::{Lent, Used};

/// Bytes in a page.
const PAGE: u64 = 4096;

/// Code as a region, and where it was.
struct Known {
    region: Region,
    /// The slots that it reads and writes.
    used: Used,
    /// Physical address of its entry, and how its bytes are decoded.
    key: (u64, u32),
    /// Physical ranges of code, within one page each.
    ranges: Vec<(u64, u32)>,
}

/// The tier.
pub struct Evaluator {
    layout: StateLayout,
    /// What there is, by table slot.
    regions: BTreeMap<u32, Known>,
    /// The slot that was used last: none is used twice.
    last: u32,
    /// Slots of what there is.
    slots: BTreeMap<(u64, u32), u32>,
    /// For [`Tier::changes`].
    changes: Vec<(u64, u32, u32)>,
}

impl Evaluator {
    /// For a guest whose state is as `layout` says.
    pub fn new(layout: StateLayout) -> Evaluator {
        Evaluator { layout, regions: BTreeMap::new(), last: 0, slots: BTreeMap::new(), changes: Vec::new() }
    }

    fn drop_where(&mut self, dead: impl Fn(&Known) -> bool) {
        self.regions.retain(|_, known| {
            let dead = dead(known);
            if dead {
                self.slots.remove(&known.key);
                self.changes.push((known.key.0, known.key.1, 0));
            }
            !dead
        });
    }
}

impl Tier for Evaluator {
    fn threshold(&self) -> u32 {
        1
    }

    fn hot<C: Code>(&mut self, code: &mut C, block: Decoded, pc: u64) -> u32 {
        let key = (block.pa, block.mode);
        if !self.slots.contains_key(&key)
            && let Some((region, ranges)) = record::record(code, block, pc)
        {
            self.last += 1;
            self.regions.insert(self.last, Known { used: Used::by(&region), region, key, ranges });
            self.slots.insert(key, self.last);
            self.changes.push((key.0, key.1, self.last));
        }
        self.threshold()
    }

    fn find(&self, pa: u64, mode: u32) -> u32 {
        self.slots.get(&(pa, mode)).copied().unwrap_or(0)
    }

    fn in_page(&self, pa: u64) -> bool {
        let page = pa & !(PAGE - 1);
        self.slots.range((page, 0)..(page + PAGE, 0)).next().is_some()
    }

    fn enter(&mut self, guest: &mut dyn Guest, slot: u32, pc: u64, left: i64) -> Left {
        let interpret = Left { pc, left, interpret: true };
        let Some(known) = self.regions.get(&slot) else { return interpret };
        let page = pc & !(PAGE - 1);
        let mut pages = known.region.pages.iter();
        if !pages.all(|&(delta, pa)| guest.executes(page.wrapping_add(delta as u64), pa)) {
            return interpret;
        }
        let mut lent = Lent { guest, layout: &self.layout };
        let units = lent.exchange::<u32>(core::mem::offset_of!(Exchange, units));
        if known.region.units & !units != 0 {
            return interpret;
        }
        let mut state = State::default();
        lent.load_slots(&known.used, &mut state);
        let out = eval::run(&known.region, &mut state, &mut lent, pc, left);
        lent.store_slots(&known.used, &state);
        Left { pc: out.pc, left: out.left, interpret: out.interpret }
    }

    fn written(&mut self, pa: u64, len: u64) {
        let hit = |&(at, bytes): &(u64, u32)| at < pa + len && pa < at + u64::from(bytes);
        self.drop_where(|known| known.ranges.iter().any(hit));
    }

    fn drop_all(&mut self) {
        self.drop_where(|_| true);
    }

    fn ranges(&self, page: Option<u64>, each: &mut dyn FnMut(u64, u32)) {
        for &(pa, bytes) in self.regions.values().flat_map(|known| &known.ranges) {
            if page.is_none_or(|page| pa & !(PAGE - 1) == page) {
                each(pa, bytes);
            }
        }
    }

    fn changed(&self) -> bool {
        !self.changes.is_empty()
    }

    fn changes(&mut self, each: &mut dyn FnMut(u64, u32, u32)) -> bool {
        for (pa, mode, slot) in self.changes.drain(..) {
            each(pa, mode, slot);
        }
        false
    }
}
