//! Stress, for tests: whatever may happen to translated code happens all the time, by a random seed.
//!
//! Blocks are translated when they are first seen or soon after, a region to a module, or two; room for code and table slots is scarce, so that modules are evicted
//! and slots reassigned; regions are dropped as if their code had been written; the TLB is emptied; a timer's interrupts come that are not due; and the guest runs in
//! pieces of a few instructions, so that regions are left at any back edge, and interrupts come at any of them.

use guest_api::Disturbance;

use crate::{Host, Jit};

/// Bytes of generated code that are kept, and slots.
const LIMIT: usize = 256 << 10;
const SLOTS: usize = 3000;
/// Modules that can be saved up for.
const SAVINGS: u64 = 64;

pub(crate) struct Stress {
    /// State of a SplitMix64.
    rng: u64,
    /// Guest instructions for each module, as the host's compiler takes longer than what is to be tested; those not yet spent.
    pace: u64,
    saved: u64,
    /// Regions translated for which none has been dropped yet.
    due: u64,
}

impl Stress {
    fn below(&mut self, n: u64) -> u64 {
        self.rng = self.rng.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.rng ^ (self.rng >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n.max(1)
    }
    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// Whether a region may be translated now.
    pub(crate) fn may_compile(&mut self) -> bool {
        let may = self.saved >= self.pace;
        if may {
            self.saved -= self.pace;
            self.due += 1;
        }
        may
    }

    /// Functions of the next module.
    pub(crate) fn batch(&mut self) -> usize {
        1 + usize::from(self.one_in(4))
    }
}

impl<H: Host> Jit<H> {
    /// From here on, stress, always the same for the same `seed`. A region is translated for every `pace` instructions at most.
    pub fn stress(&mut self, seed: u64, pace: u64) {
        self.stress = Some(Stress { rng: seed, pace, saved: 0, due: 0 });
        (self.hot, self.warm) = (1, 1);
        self.limit = self.limit.min(LIMIT);
        self.max_slots = SLOTS;
    }

    /// No stress any more, but what it has made small stays so.
    pub fn calm(&mut self) {
        self.stress = None;
    }

    pub(crate) fn mischief(&mut self) -> Option<Disturbance> {
        let s = self.stress.as_mut()?;
        let insns = match s.below(8) {
            0 => 1 + s.below(4),
            1..=3 => 1 + s.below(64),
            4..=6 => 1 + s.below(1000),
            _ => 1 + s.below(10_000),
        };
        let (flush, interrupt) = (s.one_in(16), s.one_in(64));
        // At first sight, when nothing is known of what follows; or later, so that regions are of many blocks.
        self.hot = [1, 1, 2, 5, 12][s.below(5) as usize];
        s.saved = (s.saved + insns).min(s.pace * SAVINGS);
        let modules = s.one_in(3);
        if s.due > 0 && s.one_in(3) {
            s.due -= 1;
            match s.below(500) {
                0..=4 => self.everything_goes(),
                5..=24 => self.evict(),
                25..=350 => {
                    // Many of these numbers are nobody's.
                    let n = s.below(self.regions.len().max(1) as u64) as u32;
                    self.invalidate(n);
                }
                _ => {}
            }
        }
        if modules {
            self.flush();
        }
        Some(Disturbance { insns, flush, interrupt })
    }
}
