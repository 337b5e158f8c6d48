//! How many instructions fit into a slice of host time.

/// Before anything is measured: a hundred million instructions a second.
const RATE_AT_START: f64 = 100_000.0;
/// Hosts without cross-origin isolation round their clocks to as much as a millisecond: measure over several.
const WINDOW_MS: f64 = 8.0;
const BUDGET_MIN: u64 = 10_000;
const BUDGET_MAX: u64 = 20_000_000;

/// Follows the speed at which the guest runs.
pub struct Pacer {
    insns_per_ms: f64,
    window_ms: f64,
    window_insns: u64,
}

impl Pacer {
    pub fn new() -> Self {
        Self { insns_per_ms: RATE_AT_START, window_ms: 0.0, window_insns: 0 }
    }

    /// Instructions that take about `slice_ms` milliseconds.
    pub fn budget(&self, slice_ms: f64) -> u64 {
        // the conversion saturates, and makes 0 of what is not a number
        ((self.insns_per_ms * slice_ms) as u64).clamp(BUDGET_MIN, BUDGET_MAX)
    }

    /// `insns` took `ms` milliseconds.
    pub fn ran(&mut self, insns: u64, ms: f64) {
        self.window_ms += ms.max(0.0);
        self.window_insns = self.window_insns.saturating_add(insns);
        if self.window_ms >= WINDOW_MS {
            self.insns_per_ms = (self.window_insns as f64 / self.window_ms).max(1.0);
            (self.window_ms, self.window_insns) = (0.0, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_become_as_long_as_asked() {
        for (insns_per_ms, clock_ms) in [(30_000.0, 0.005), (400_000.0, 0.005), (150_000.0, 1.0)] {
            let mut pacer = Pacer::new();
            let (mut now, mut insns) = (0.0_f64, 0);
            for _ in 0..100 {
                let budget = pacer.budget(2.5);
                let before = (now / clock_ms).floor() * clock_ms;
                now += budget as f64 / insns_per_ms;
                pacer.ran(budget, (now / clock_ms).floor() * clock_ms - before);
                insns = budget;
            }
            let slice_ms = insns as f64 / insns_per_ms;
            assert!((2.0..3.2).contains(&slice_ms), "{slice_ms} ms at {insns_per_ms} a ms, clock steps of {clock_ms}");
        }
    }

    #[test]
    fn one_slow_slice_shortens_the_next() {
        let mut pacer = Pacer::new();
        pacer.ran(250_000, 50.0);
        assert_eq!(pacer.budget(2.5), 12_500);
    }

    #[test]
    fn odd_clocks_and_slices_are_survived() {
        let mut pacer = Pacer::new();
        pacer.ran(1000, -5.0);
        pacer.ran(u64::MAX, 9.0);
        assert_eq!(pacer.budget(2.5), BUDGET_MAX);
        pacer.ran(0, 1e9);
        for slice in [0.0, -1.0, f64::NAN] {
            assert_eq!(pacer.budget(slice), BUDGET_MIN);
        }
        assert_eq!(pacer.budget(f64::INFINITY), BUDGET_MAX);
    }
}
