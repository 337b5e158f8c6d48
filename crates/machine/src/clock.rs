//! Guest time.
//!
//! The host gives its time once a slice; within a slice guest time is interpolated by the instruction count, at the rate
//! measured over the last slices. Guest time never goes back and is never ahead of the host's by more than [`AHEAD_NS`].
//!
//! After a long gap (a tab in the background, a pause, a laptop that slept) guest time must reach the host's again, but
//! not in one step: a kernel whose clock leaps by more than 20 s reports a soft lockup or an RCU stall. So a guest that
//! is behind *catches up*: if it computes, its clock runs faster; if it halts, its clock hops from one timer deadline to
//! the next. Either way it takes at most about [`CATCH_UP_STEPS`] steps, and timers fire late by at most one step.

/// The host's clocks at the start of a slice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostTime {
    /// Nanoseconds from any origin; never goes back.
    pub monotonic_ns: u64,
    /// Nanoseconds since 1970-01-01 00:00 UTC.
    pub unix_ns: i64,
}

/// How far guest time may run ahead of the host's within a slice: about the longest slice.
const AHEAD_NS: u64 = 4_000_000;
/// A smaller lag is closed at once: no guest can tell it from a busy host.
const LAG_NS: u64 = 100_000_000;
/// A larger lag is closed in about this many steps.
const CATCH_UP_STEPS: u64 = 4096;
/// Instructions a step takes while the guest computes: 4096 steps are less than half a second of interpretation.
const CATCH_UP_INSNS: u64 = 10_000;

/// Fixed-point nanoseconds an instruction: 20 fractional bits.
const FRACTION: u32 = 20;
const RATE_MIN: u64 = (1 << FRACTION) / 16; // 16 instructions a nanosecond
const RATE_MAX: u64 = 1000 << FRACTION; // a million instructions a second
const RATE_AT_START: u64 = 10 << FRACTION;
/// Slices shorter than this say nothing about the rate.
const MEASURE_INSNS: u64 = 10_000;

/// Guest nanoseconds since power-on, as a function of the instruction count.
#[derive(Clone, Debug)]
pub struct GuestClock {
    /// Host monotonic time of power-on.
    origin: u64,
    /// Guest time at `base_insns`.
    base: u64,
    base_insns: u64,
    /// Guest time that the host's clock stands for.
    host: u64,
    /// Guest time does not pass this before the next slice.
    limit: u64,
    /// Measured.
    ns_per_insn: u64,
    /// In use: the measured rate, or faster while catching up.
    rate: u64,
    /// The least step of a halted guest while catching up; 0 otherwise.
    step: u64,
    /// Host time and instructions at the start of the last slice, if that slice used up its budget.
    measuring: Option<(u64, u64)>,
}

impl GuestClock {
    /// Guest time 0 is `host`.
    pub fn new(host: HostTime) -> Self {
        Self {
            origin: host.monotonic_ns,
            base: 0,
            base_insns: 0,
            host: 0,
            limit: AHEAD_NS,
            ns_per_insn: RATE_AT_START,
            rate: RATE_AT_START,
            step: 0,
            measuring: None,
        }
    }

    /// The host gives the time. `insns`: instructions executed since power-on.
    pub fn begin_slice(&mut self, host: HostTime, insns: u64) {
        if let Some((then, first)) = self.measuring.take() {
            self.measure(host.monotonic_ns.saturating_sub(then), insns.saturating_sub(first));
        }
        self.measuring = Some((host.monotonic_ns, insns));
        let now = self.now(insns);
        self.host = host.monotonic_ns.saturating_sub(self.origin).max(self.host);
        let lag = self.host.saturating_sub(now);
        self.rebase(now, insns);
        if lag > LAG_NS {
            // A lag that grows while it is being closed must not slow the closing down.
            self.step = self.step.max(lag / CATCH_UP_STEPS);
            self.rate = ((self.step << FRACTION) / CATCH_UP_INSNS).max(self.ns_per_insn);
            self.limit = self.host;
        } else {
            self.caught_up(now.max(self.host));
        }
    }

    /// The slice ended before its budget did, so that host time passes without instructions.
    pub fn end_slice_early(&mut self) {
        self.measuring = None;
    }

    fn measure(&mut self, ns: u64, insns: u64) {
        if insns < MEASURE_INSNS {
            return;
        }
        // A longer time was not spent on instructions alone: a throttled tab.
        let rate = ((ns.min(LAG_NS) << FRACTION) / insns).clamp(RATE_MIN, RATE_MAX);
        self.ns_per_insn = (self.ns_per_insn * 7 + rate) / 8;
    }

    fn caught_up(&mut self, now: u64) {
        self.base = now;
        self.step = 0;
        // A sixteenth slower than measured: guest time then steps forward a little at each slice, where a faster clock
        // would have to stand still.
        self.rate = self.ns_per_insn - self.ns_per_insn / 16;
        self.limit = self.host.saturating_add(AHEAD_NS).max(now);
    }

    fn rebase(&mut self, now: u64, insns: u64) {
        (self.base, self.base_insns) = (now, insns);
    }

    /// Guest time after `insns` instructions.
    #[inline]
    pub fn now(&self, insns: u64) -> u64 {
        let passed = insns.saturating_sub(self.base_insns).saturating_mul(self.rate) >> FRACTION;
        self.base.saturating_add(passed).min(self.limit).max(self.base)
    }

    /// Instructions until guest time reaches `deadline`, at least 1; `u64::MAX` if that is not within this slice.
    pub fn insns_until(&self, deadline: u64, insns: u64) -> u64 {
        if deadline > self.limit {
            return u64::MAX;
        }
        let ns = deadline.saturating_sub(self.now(insns));
        (u128::from(ns) << FRACTION).div_ceil(u128::from(self.rate)).clamp(1, u64::MAX.into()) as u64
    }

    /// Guest time is being brought up to the host's after a gap. What happens now on the host is not yet to reach the guest.
    #[inline]
    pub fn is_behind(&self) -> bool {
        self.step != 0
    }

    /// A halted guest waits for `deadline`: lets as much time pass as the host's clock allows. False if `deadline` lies
    /// in the host's future: then the host has to wait.
    pub fn skip_to(&mut self, deadline: Option<u64>, insns: u64) -> bool {
        let now = self.now(insns);
        let hop = deadline.map_or(u64::MAX, |d| d.max(now.saturating_add(self.step)));
        let mut to = hop.min(self.host).max(now);
        self.rebase(to, insns);
        if self.step != 0 && self.host.saturating_sub(to) <= LAG_NS {
            to = to.max(self.host);
            self.caught_up(to);
        }
        deadline.is_some_and(|d| d <= to)
    }

    /// The host's monotonic time at which guest time will be `guest`.
    pub fn host_monotonic(&self, guest: u64) -> u64 {
        self.origin.saturating_add(guest)
    }

    /// Measured instructions a second.
    pub fn insns_per_sec(&self) -> u64 {
        (1_000_000_000 << FRACTION) / self.ns_per_insn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const SEC: u64 = 1000 * MS;
    const ORIGIN: u64 = 77 * SEC;

    fn host(ns: u64) -> HostTime {
        HostTime { monotonic_ns: ORIGIN + ns, unix_ns: 0 }
    }

    #[test]
    fn follows_the_host_and_never_goes_back() {
        let mut c = GuestClock::new(host(0));
        let (mut insns, mut last) = (0, 0);
        // A host of 5 ns an instruction at first, then of 40 ns: the measured rate is wrong after the change.
        for slice in 0..400 {
            let t = if slice < 200 { slice * 2 * MS } else { 400 * MS + (slice - 200) * 16 * MS };
            c.begin_slice(host(t), insns);
            for _ in 0..40 {
                let now = c.now(insns);
                assert!(now >= last && now <= t.max(last) + AHEAD_NS, "{slice}: {last} {now} {t}");
                assert!(now >= t, "behind the host at the start of slice {slice}: {now} {t}");
                last = now;
                insns += 10_000;
            }
        }
    }

    #[test]
    fn the_rate_is_measured() {
        let mut c = GuestClock::new(host(0));
        for slice in 0..100 {
            c.begin_slice(host(slice * 2 * MS), slice * 400_000);
        }
        let mips = c.insns_per_sec() / 1_000_000;
        assert!((195..=205).contains(&mips), "{mips}");
        // Time in which the host did something else does not count.
        c.end_slice_early();
        c.begin_slice(host(SEC), 40_000_001);
        assert_eq!(c.insns_per_sec() / 1_000_000, mips);
    }

    #[test]
    fn a_deadline_in_instructions() {
        let mut c = GuestClock::new(host(0));
        c.begin_slice(host(0), 0);
        let n = c.insns_until(MS, 0);
        assert!(c.now(n) >= MS && c.now(n - 1) < MS, "{n}");
        assert_eq!(c.insns_until(0, 50), 1, "already due");
        assert_eq!(c.insns_until(AHEAD_NS + 1, 0), u64::MAX);
    }

    #[test]
    fn a_halted_guest_waits_for_the_host() {
        let mut c = GuestClock::new(host(0));
        c.begin_slice(host(0), 0);
        assert!(!c.skip_to(Some(5 * MS), 1000));
        assert_eq!(c.host_monotonic(5 * MS), ORIGIN + 5 * MS);
        c.begin_slice(host(5 * MS), 1000);
        assert_eq!(c.now(1000), 5 * MS);
        assert!(c.skip_to(Some(5 * MS), 1000));
        assert!(!c.skip_to(None, 1000));
    }

    #[test]
    fn an_idle_guest_hops_through_a_gap() {
        let mut c = GuestClock::new(host(0));
        c.begin_slice(host(0), 0);
        c.begin_slice(host(60 * SEC), 0);
        // One timer every 4 s: each fires on time.
        let (mut insns, mut fired) = (0, Vec::new());
        while c.skip_to(Some((fired.len() as u64 + 1) * 4 * SEC), insns) {
            fired.push(c.now(insns));
            insns += 500;
        }
        assert_eq!(fired.len(), 15);
        assert!(fired.iter().zip(1..).all(|(t, n)| *t >= n * 4 * SEC && *t < n * 4 * SEC + SEC), "{fired:?}");
        assert!((60 * SEC..60 * SEC + MS).contains(&c.now(insns)));
        assert_eq!(c.step, 0, "caught up");
    }

    #[test]
    fn an_idle_guest_without_a_timer_is_at_the_hosts_time_at_once() {
        let mut c = GuestClock::new(host(0));
        c.begin_slice(host(3600 * SEC), 0);
        assert!(!c.skip_to(Some(3601 * SEC), 0));
        assert_eq!((c.now(0), c.step), (3600 * SEC, 0));
        c.begin_slice(host(7200 * SEC), 0);
        assert!(!c.skip_to(None, 0));
        assert_eq!((c.now(0), c.step), (7200 * SEC, 0));
    }

    #[test]
    fn a_fast_timer_cannot_make_catching_up_endless() {
        let mut c = GuestClock::new(host(0));
        c.begin_slice(host(36_000 * SEC), 0);
        let mut hops = 0;
        while c.skip_to(Some(c.now(0) + MS), 0) {
            hops += 1;
        }
        assert!((1000..=CATCH_UP_STEPS + 1).contains(&hops), "{hops}");
    }

    #[test]
    fn a_busy_guest_catches_up_in_small_steps() {
        let mut c = GuestClock::new(host(0));
        c.begin_slice(host(0), 0);
        let (mut insns, mut last, mut slices) = (0, 0, 0);
        loop {
            c.begin_slice(host(3600 * SEC + slices * MS / 10), insns);
            insns += CATCH_UP_INSNS;
            let now = c.now(insns);
            assert!(now >= last && now - last < SEC, "{last} {now}");
            last = now;
            if now == 3600 * SEC + slices * MS / 10 {
                break;
            }
            slices += 1;
        }
        assert!((1000..5000).contains(&slices), "{slices}");
        c.begin_slice(host(3600 * SEC + slices * MS / 10 + MS), insns);
        assert_eq!(c.now(insns), 3600 * SEC + slices * MS / 10 + MS);
        assert_eq!(c.step, 0, "caught up");
    }

    #[test]
    fn a_host_clock_that_stands_still_or_goes_back_does_no_harm() {
        let mut c = GuestClock::new(host(0));
        c.begin_slice(host(10 * MS), 0);
        let a = c.now(1000);
        c.begin_slice(HostTime::default(), 1000);
        c.begin_slice(host(10 * MS), 1000);
        assert!(c.now(1000) >= a && c.now(u64::MAX) <= 14 * MS);
    }
}
