//! How many instructions fit into a slice of host time.
//!
//! A guest's speed changes by a factor of ten or a hundred from one moment to the next, when code that was interpreted
//! is translated or when translated code meets new code. So a slice is run in steps, and ends when its time is over. What
//! it may execute at most follows the measured speed, for hosts whose clock is too coarse to tell that the time is over.

/// Before anything is measured: a hundred million instructions a second.
const RATE_AT_START: f64 = 100_000.0;
/// Hosts without cross-origin isolation round their clocks to as much as a millisecond: measure over several.
const WINDOW_MS: f64 = 8.0;
/// Instructions of a slice. The most is what the fastest code executes in a long slice.
const BUDGET_MIN: u64 = 10_000;
const BUDGET_MAX: u64 = 20_000_000;
/// Steps of a slice at a steady speed.
const STEPS: u64 = 4;
/// The longest step: 0.1 ms of the fastest code, where a step costs its thousandth part, and 20 ms of the slowest.
const STEP_MAX: u64 = 400_000;

/// Follows the speed at which the guest runs.
pub struct Pacer {
    insns_per_ms: f64,
    window_ms: f64,
    window_insns: u64,
    /// The slice: instructions that it may execute, those of a step, and when its time is over.
    budget: u64,
    step: u64,
    end_ms: f64,
    /// Instructions of the slice executed so far, and when that was.
    done: u64,
    now_ms: f64,
}

impl Pacer {
    pub fn new() -> Self {
        Self {
            insns_per_ms: RATE_AT_START,
            window_ms: 0.0,
            window_insns: 0,
            budget: 0,
            step: 0,
            end_ms: 0.0,
            done: 0,
            now_ms: 0.0,
        }
    }

    /// A slice of about `slice_ms` milliseconds begins; returns the instructions of its first step.
    pub fn begin(&mut self, slice_ms: f64, now_ms: f64) -> u64 {
        self.budget = self.budget(slice_ms);
        self.step = (self.budget / STEPS).clamp(BUDGET_MIN, STEP_MAX);
        self.end_ms = now_ms + slice_ms;
        (self.done, self.now_ms) = (0, now_ms);
        self.step
    }

    /// Instructions that take about `slice_ms` milliseconds.
    fn budget(&self, slice_ms: f64) -> u64 {
        // the conversion saturates, and makes 0 of what is not a number
        ((self.insns_per_ms * slice_ms) as u64).clamp(BUDGET_MIN, BUDGET_MAX)
    }

    /// The slice has executed `insns` instructions by `now_ms`; returns those of the next step, 0 when it is over.
    pub fn ran(&mut self, insns: u64, now_ms: f64) -> u64 {
        self.window_ms += (now_ms - self.now_ms).max(0.0);
        self.window_insns = self.window_insns.saturating_add(insns.saturating_sub(self.done));
        (self.done, self.now_ms) = (insns, now_ms);
        if self.window_ms >= WINDOW_MS {
            self.insns_per_ms = (self.window_insns as f64 / self.window_ms).max(1.0);
            (self.window_ms, self.window_insns) = (0.0, 0);
        }
        if insns >= self.budget || now_ms >= self.end_ms { 0 } else { self.step }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host whose clock moves in steps of `clock_ms`, and a guest of `rate` instructions a millisecond.
    struct Host {
        pacer: Pacer,
        clock_ms: f64,
        rate: f64,
        now: f64,
    }

    impl Host {
        fn new(rate: f64, clock_ms: f64) -> Self {
            Self { pacer: Pacer::new(), clock_ms, rate, now: 0.0 }
        }

        fn clock(&self) -> f64 {
            (self.now / self.clock_ms).floor() * self.clock_ms
        }

        /// Runs a slice of 2.5 ms; returns how long it was.
        fn slice(&mut self) -> f64 {
            let begin = self.now;
            let (mut step, mut insns) = (self.pacer.begin(2.5, self.clock()), 0);
            while step > 0 {
                insns += step;
                self.now += step as f64 / self.rate;
                step = self.pacer.ran(insns, self.clock());
            }
            assert_eq!(self.pacer.ran(insns, self.clock()), 0, "at the end it is told once more");
            self.now - begin
        }

        /// Runs for `ms` milliseconds; returns how long the longest slice was.
        fn run(&mut self, ms: f64) -> f64 {
            let (end, mut longest) = (self.now + ms, 0.0_f64);
            while self.now < end {
                longest = longest.max(self.slice());
            }
            longest
        }
    }

    /// Interpreted, translated, and as fast as it gets.
    const RATES: [f64; 3] = [30_000.0, 400_000.0, 4_000_000.0];

    #[test]
    fn slices_become_as_long_as_asked() {
        for rate in RATES {
            // clocks of a page with and without isolation, of Firefox, and of Firefox that resists fingerprinting
            for (clock_ms, slices) in [(0.005, 1), (0.1, 1), (1.0, 20), (16.7, 100)] {
                let mut host = Host::new(rate, clock_ms);
                host.run(300.0);
                let begin = host.now;
                (0..slices).for_each(|_| _ = host.slice());
                let slice_ms = (host.now - begin) / f64::from(slices);
                assert!((1.9..3.2).contains(&slice_ms), "{slice_ms} ms at {rate} a ms, clock steps of {clock_ms}");
            }
        }
    }

    #[test]
    fn a_change_of_speed_makes_no_long_slice() {
        for (before, clock_ms) in RATES.iter().flat_map(|rate| [(*rate, 0.005), (*rate, 0.1), (*rate, 1.0)]) {
            for after in RATES {
                let mut host = Host::new(before, clock_ms);
                host.run(300.0);
                host.rate = after;
                let longest = host.run(30.0);
                assert!(longest < 18.0, "{longest} ms from {before} to {after} a ms, clock steps of {clock_ms}");
                let slice_ms = (host.run(60.0), host.slice()).1;
                assert!((1.4..3.8).contains(&slice_ms), "{slice_ms} ms from {before} to {after}, {clock_ms}");
            }
        }
    }

    #[test]
    fn a_guest_that_is_now_slow_now_fast_makes_no_long_slice() {
        let mut host = Host::new(30_000.0, 0.1);
        let mut longest = 0.0_f64;
        for slice in 0..2000 {
            host.rate = if slice / 7 % 2 == 0 { 4_000_000.0 } else { 30_000.0 };
            longest = longest.max(host.slice());
        }
        assert!(longest < 18.0, "{longest}");
    }

    #[test]
    fn the_fastest_code_fills_a_slice() {
        let mut host = Host::new(4_000_000.0, 0.005);
        host.run(100.0);
        assert!(host.pacer.budget(2.5) > 9_900_000 && host.pacer.budget(4.9) < BUDGET_MAX);
    }

    #[test]
    fn odd_clocks_and_slices_are_survived() {
        let mut pacer = Pacer::new();
        assert!(pacer.begin(2.5, 0.0) > 0);
        assert!(pacer.ran(1000, -5.0) > 0);
        assert_eq!(pacer.ran(u64::MAX, 4.0), 0);
        assert_eq!(pacer.budget(2.5), BUDGET_MAX);
        pacer.begin(2.5, 4.0);
        pacer.ran(0, 1e9);
        for slice in [0.0, -1.0, f64::NAN] {
            assert_eq!(pacer.begin(slice, 1e9), BUDGET_MIN);
            assert_eq!(pacer.ran(BUDGET_MIN, 1e9), 0);
        }
        // a clock that stands still: the budget ends the slice
        let mut step = pacer.begin(f64::INFINITY, 0.0);
        assert_eq!(step, STEP_MAX);
        for n in 1..=BUDGET_MAX / STEP_MAX {
            assert_eq!(step, STEP_MAX, "{n}");
            step = pacer.ran(n * STEP_MAX, 0.0);
        }
        assert_eq!(step, 0);
    }
}
