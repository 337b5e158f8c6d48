//! Guest time.
//!
//! The host gives its time once a slice; within a slice guest time is interpolated by the instruction count, at the rate
//! measured over the last slices. Guest time never goes back. Where it is ahead of the host's by [`AHEAD_NS`] it goes at a
//! fraction of its rate ([`SLOWED`]), but never stands still: a guest that reads two clocks in turn must see both move.
//!
//! After a long gap (a tab in the background, a pause, a laptop that slept) guest time must reach the host's again, but
//! not in one step: a kernel whose clock leaps by more than 20 s reports a soft lockup or an RCU stall. So a guest that
//! is behind *catches up*: if it halts, its clock hops from one timer deadline to the next; if it computes, its clock
//! leaps now and then. (A clock that merely ran faster would let timers expire within their own interrupt handler.)

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
/// What part of its rate guest time goes at when it is that far ahead. Two reads of a counter, a dozen instructions apart, then still
/// differ by the HPET's 10 ns; Linux gives the HPET up if it stands while the TSC moves.
const SLOWED: u64 = 8;
/// A smaller lag is closed at once: no guest can tell it from a busy host. One that has to share its processors lets a guest
/// wait for some tenths of a second again and again; a guest that computes then would never be done with catching up.
const LAG_NS: u64 = 1_000_000_000;
/// A halted guest closes a larger lag in at most this many hops, so timers fire late by at most such a part of it.
const HOPS: u64 = 4096;
/// A computing guest closes it in about this many leaps, of [`LEAP_MAX_NS`] at most, after so many instructions each:
/// half a second of interpretation, unless the gap was longer than an hour.
const LEAPS: u64 = 400;
const LEAP_MAX_NS: u64 = 8_000_000_000;
const LEAP_INSNS: u64 = 100_000;

/// Input waits so long for a guest that catches up, host ns, and no longer: on a very busy host it may never be done.
const INPUT_WAIT_NS: u64 = 10_000_000_000;

/// Fixed-point nanoseconds an instruction: 20 fractional bits.
const FRACTION: u32 = 20;
const RATE_MIN: u64 = (1 << FRACTION) / 16; // 16 instructions a nanosecond
const RATE_MAX: u64 = 1000 << FRACTION; // a million instructions a second
/// Slices shorter than this say nothing about the rate.
const MEASURE_INSNS: u64 = 10_000;
/// The rate is the mean over this host time, most of all its end: longer than the tick of any host's clock, and short,
/// since translated code is a hundred times as fast as code that is new.
const MEASURE_NS: u64 = 20_000_000;
/// A slice that took longer was not spent on instructions alone: a throttled tab.
const MEASURE_MAX_NS: u64 = 100_000_000;
/// Before anything is measured: two milliseconds at 10 ns an instruction.
const MEASURED_AT_START: (u64, u64) = (2_000_000, 200_000);

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
    /// Guest time goes slower from here on, until the next slice.
    limit: u64,
    /// The fixed-point quotient of the next.
    ns_per_insn: u64,
    /// Host time and the instructions executed in it; what is long past weighs less.
    measured: (u64, u64),
    /// While catching up.
    behind: Option<Behind>,
    /// Host time and instructions at the start of the last slice, if that slice used up its budget.
    measuring: Option<(u64, u64)>,
    /// Of the slice's host time, what is taken to have gone by without instructions.
    spent: u64,
}

/// How a guest that is behind catches up.
#[derive(Clone, Copy, Debug)]
struct Behind {
    /// The least hop of a halted guest, ns.
    hop: u64,
    /// The leap of a computing guest, ns, and the instruction count at which it comes next.
    leap: u64,
    leap_at: u64,
    /// Host time at which this began.
    since: u64,
}

impl Behind {
    fn from(insns: u64, since: u64) -> Self {
        Self { hop: 0, leap: 0, leap_at: insns.saturating_add(LEAP_INSNS), since }
    }
}

impl GuestClock {
    /// Guest time 0 is `host`.
    pub fn new(host: HostTime) -> Self {
        let (ns, insns) = MEASURED_AT_START;
        Self {
            origin: host.monotonic_ns,
            base: 0,
            base_insns: 0,
            host: 0,
            limit: AHEAD_NS,
            ns_per_insn: (ns << FRACTION) / insns,
            measured: (ns, insns),
            behind: None,
            measuring: None,
            spent: 0,
        }
    }

    /// The host gives the time. `insns`: instructions executed since power-on.
    pub fn begin_slice(&mut self, host: HostTime, insns: u64) {
        let now = self.now(insns);
        self.end_slice(host, insns);
        self.measuring = Some((host.monotonic_ns, insns));
        self.spent = 0;
        let host = host.monotonic_ns.saturating_sub(self.origin).max(self.host);
        self.host = host;
        let lag = self.host.saturating_sub(now);
        if lag > LAG_NS {
            let before = self.behind.unwrap_or_else(|| Behind::from(insns, host));
            self.behind = Some(Behind {
                // What is left shrinks while it is being closed; the steps do not.
                hop: before.hop.max(lag / HOPS),
                leap: before.leap.max(lag / LEAPS).min(LEAP_MAX_NS),
                leap_at: before.leap_at,
                since: before.since,
            });
            self.limit = self.host;
        } else {
            self.caught_up(now.max(self.host));
        }
    }

    /// From here on host time passes without instructions.
    pub fn end_slice(&mut self, host: HostTime, insns: u64) {
        // Up to here by the old rate, from here on by the new one.
        self.rebase(self.now(insns), insns);
        if let Some((then, first)) = self.measuring.take() {
            let ns = host.monotonic_ns.saturating_sub(then);
            // Where most went by otherwise, what is left is more of a guess than a measurement.
            if self.spent <= ns / 2 {
                self.measure(ns - self.spent, insns.saturating_sub(first));
            }
        }
    }

    /// The engine spends about `ns` on something else than instructions: that goes by for the guest too, as far as its clock may be ahead.
    pub fn spend(&mut self, ns: u64, insns: u64) {
        self.spent = self.spent.saturating_add(ns);
        if self.behind.is_none() {
            let now = self.now(insns);
            self.rebase(now.saturating_add(ns).min(self.limit).max(now), insns);
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
        let ns = ns.min(MEASURE_MAX_NS);
        // The slice weighs as much as the time it took or, should it be longer, as the time it was expected to take:
        // what was much too slow a rate is given up after few slices. A mean of quotients would not do: a coarse clock
        // says 0 for most of them.
        let weight = ns.max(insns.saturating_mul(self.ns_per_insn) >> FRACTION).min(MEASURE_NS / 2);
        let fade = |sum: u64| (u128::from(sum) * u128::from(MEASURE_NS - weight) / u128::from(MEASURE_NS)) as u64;
        self.measured = (fade(self.measured.0) + ns, fade(self.measured.1).saturating_add(insns));
        self.ns_per_insn = ((self.measured.0 << FRACTION) / self.measured.1).clamp(RATE_MIN, RATE_MAX);
    }

    fn caught_up(&mut self, now: u64) {
        self.base = now;
        self.behind = None;
        self.limit = self.host.saturating_add(AHEAD_NS).max(now);
    }

    fn rebase(&mut self, now: u64, insns: u64) {
        (self.base, self.base_insns) = (now, insns);
    }

    /// Fixed-point nanoseconds an instruction: a sixteenth less than measured. Guest time then steps forward a little at
    /// each slice, where a faster clock would have to stand still.
    #[inline]
    fn rate(&self) -> u64 {
        self.ns_per_insn - self.ns_per_insn / 16
    }

    /// Guest time after `insns` instructions.
    #[inline]
    pub fn now(&self, insns: u64) -> u64 {
        let passed = insns.saturating_sub(self.base_insns).saturating_mul(self.rate()) >> FRACTION;
        let full = self.base.saturating_add(passed);
        let ahead = full.saturating_sub(self.limit.max(self.base));
        full - ahead + ahead / SLOWED
    }

    /// Instructions until guest time reaches `deadline` or has to be looked at for another reason, at least 1.
    pub fn insns_until(&self, deadline: Option<u64>, insns: u64) -> u64 {
        let leap = self.behind.map_or(u64::MAX, |b| b.leap_at.saturating_sub(insns));
        let due = match deadline {
            Some(d) if d <= self.limit => {
                let ns = d.saturating_sub(self.now(insns));
                (u128::from(ns) << FRACTION).div_ceil(u128::from(self.rate())).min(u64::MAX.into()) as u64
            }
            _ => u64::MAX,
        };
        due.min(leap).max(1)
    }

    /// A moment that guest time does not come to in this slice by waiting, but soon in the next one.
    pub fn next_slice(&self) -> u64 {
        self.limit.saturating_add(1)
    }

    /// Performs the leap that is due, if one is.
    pub fn leap(&mut self, insns: u64) {
        if let Some(behind) = &mut self.behind
            && insns >= behind.leap_at
        {
            behind.leap_at = insns.saturating_add(LEAP_INSNS);
            let leap = behind.leap;
            self.advance(self.now(insns).saturating_add(leap), insns);
        }
    }

    /// Lets guest time pass up to `to`, but not beyond the host's.
    fn advance(&mut self, to: u64, insns: u64) {
        let to = to.min(self.host).max(self.now(insns));
        self.rebase(to, insns);
        if self.behind.is_some() && self.host.saturating_sub(to) <= LAG_NS {
            self.caught_up(to.max(self.host));
        }
    }

    /// Whether what happens now on the host is not yet to reach the guest, whose clock is far behind.
    pub fn withholds_input(&self) -> bool {
        self.behind.is_some_and(|b| self.host.saturating_sub(b.since) < INPUT_WAIT_NS)
    }

    /// Guest time is being brought up to the host's after a gap.
    #[cfg(test)]
    fn is_behind(&self) -> bool {
        self.behind.is_some()
    }

    /// A halted guest waits for `deadline`: lets as much time pass as the host's clock allows. False if `deadline` lies
    /// in the host's future: then the host has to wait.
    pub fn skip_to(&mut self, deadline: Option<u64>, insns: u64) -> bool {
        let mut least = self.now(insns);
        if let Some(behind) = &mut self.behind {
            behind.leap_at = insns.saturating_add(LEAP_INSNS); // no leaps for those who hop
            least = least.saturating_add(behind.hop);
        }
        self.advance(deadline.map_or(u64::MAX, |d| d.max(least)), insns);
        deadline.is_some_and(|d| d <= self.base)
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
    fn the_end_of_a_slice_turns_nothing_back() {
        let mut c = GuestClock::new(host(0));
        let (mut t, mut insns, mut last) = (0, 0, 0);
        // Of 40 ns an instruction at first, then of 1 ns: guest time runs ahead of the host's until that is noticed.
        for slice in 0..100 {
            c.begin_slice(host(t), insns);
            assert!(c.now(insns) >= last, "{slice}: {last} {}", c.now(insns));
            insns += 50_000;
            t += if slice < 50 { 2 * MS } else { MS / 20 };
            last = c.now(insns);
            c.end_slice(host(t), insns);
            assert!(c.now(insns) >= last, "end of {slice}: {last} {}", c.now(insns));
            // The host compiles for a while.
            t += MS / 100;
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
        c.end_slice(host(SEC + 2 * MS), 40_400_001);
        c.begin_slice(host(2 * SEC), 40_400_001);
        assert!(c.insns_per_sec().abs_diff(mips * 1_000_000) < 2_000_000, "{}", c.insns_per_sec());
    }

    #[test]
    fn the_rate_is_measured_by_coarse_clocks() {
        for (tick, mips) in [(MS / 10, 100), (MS, 100), (MS, 4000), (16 * MS, 400)] {
            let mut c = GuestClock::new(host(0));
            // slices of 0.1 ms
            for slice in 0..2000 {
                c.begin_slice(host(slice * MS / 10 / tick * tick), slice * mips * 100);
            }
            let measured = c.insns_per_sec() / 1_000_000;
            // a tick of 16 ms is most of what the mean is over
            assert!(
                measured.abs_diff(mips) <= if tick > MS { mips } else { mips / 9 },
                "{measured} for {mips}, {tick}"
            );
        }
    }

    #[test]
    fn a_guest_that_is_faster_or_slower_at_once() {
        // Instructions a microsecond: interpreted, translated. A slice is of 2.5 ms at the speed before, or ends when it
        // took longer, after the first of its steps.
        for (before, after) in [(40, 4000), (4000, 40), (40, 400), (400, 40)] {
            let mut c = GuestClock::new(host(0));
            let (mut t, mut insns, mut last) = (0, 0, 0);
            for slice in 0.. {
                let speed = if t < 100 * MS { before } else { after };
                let expected = [100, before, after][usize::from(t >= 20 * MS) + usize::from(t >= 120 * MS)];
                let n = if speed < expected { (expected * 625).min(400_000) } else { expected * 2500 };
                c.begin_slice(host(t), insns);
                let now = c.now(insns);
                assert!(now >= t && now >= last, "{before} to {after}, {slice}: {now}, not {t}");
                assert!(now < t + 3 * AHEAD_NS, "{before} to {after}, {slice}: {now} is far ahead of {t}");
                assert!(!c.is_behind());
                if t > 150 * MS {
                    assert!(now < t + AHEAD_NS, "{before} to {after}: {now} is still ahead of {t}");
                    // much too fast a guest clock would be ahead; a slow one is set right at the next step
                    let measured = c.insns_per_sec() / 1_000_000;
                    assert!((after * 4 / 5..after * 6).contains(&measured), "{before} to {after}: {measured}");
                    break;
                }
                last = c.now(insns + n);
                (insns, t) = (insns + n, t + n * 1000 / speed);
            }
        }
    }

    #[test]
    fn a_deadline_in_instructions() {
        let mut c = GuestClock::new(host(0));
        c.begin_slice(host(0), 0);
        let n = c.insns_until(Some(MS), 0);
        assert!(c.now(n) >= MS && c.now(n - 1) < MS, "{n}");
        assert_eq!(c.insns_until(Some(0), 50), 1, "already due");
        assert_eq!(c.insns_until(Some(AHEAD_NS + 1), 0), u64::MAX);
        assert_eq!(c.insns_until(None, 0), u64::MAX);
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
        assert!(!c.is_behind());
    }

    #[test]
    fn an_idle_guest_without_a_timer_is_at_the_hosts_time_at_once() {
        let mut c = GuestClock::new(host(0));
        c.begin_slice(host(3600 * SEC), 0);
        assert!(!c.skip_to(Some(3601 * SEC), 0));
        assert_eq!((c.now(0), c.is_behind()), (3600 * SEC, false));
        c.begin_slice(host(7200 * SEC), 0);
        assert!(!c.skip_to(None, 0));
        assert_eq!((c.now(0), c.is_behind()), (7200 * SEC, false));
    }

    #[test]
    fn a_fast_timer_cannot_make_catching_up_endless() {
        let mut c = GuestClock::new(host(0));
        c.begin_slice(host(36_000 * SEC), 0);
        let mut hops = 0;
        while c.skip_to(Some(c.now(0) + MS), 0) {
            hops += 1;
        }
        assert!((1000..=HOPS + 1).contains(&hops), "{hops}");
    }

    /// Slices of 200,000 instructions and 2 ms after a gap: the largest leap, and the slices until caught up.
    fn busy_after(gap: u64) -> (u64, u64) {
        let mut c = GuestClock::new(host(0));
        let (mut insns, mut last, mut largest) = (0, 0, 0);
        for slice in 0.. {
            c.begin_slice(host(gap + slice * 2 * MS), insns);
            if !c.is_behind() {
                assert_eq!(c.now(insns), gap + slice * 2 * MS);
                return (largest, slice);
            }
            let end = insns + 200_000;
            while insns < end {
                insns += c.insns_until(None, insns).min(end - insns);
                c.leap(insns);
                let now = c.now(insns);
                assert!(now >= last);
                largest = largest.max(now - last);
                last = now;
            }
        }
        unreachable!()
    }

    #[test]
    fn a_busy_guest_catches_up_in_leaps() {
        let (leap, slices) = busy_after(60 * SEC);
        assert!(leap < LAG_NS + 200 * MS && (100..300).contains(&slices), "{leap} {slices}");
        let (leap, slices) = busy_after(10 * 3600 * SEC);
        assert!(leap < 9 * SEC && slices < 3000, "{leap} {slices}");
    }

    /// Slices of 2 ms on a host that has other things to do: 6 ms apart, and `gap` ns after each 20th. Whether input waits, and how
    /// far the clock is behind, after each.
    fn on_a_busy_host(mut t: u64, gap: u64, slices: u64) -> impl Iterator<Item = (bool, u64)> {
        let mut c = GuestClock::new(host(0));
        let mut insns = 0;
        (0..slices).map(move |slice| {
            c.begin_slice(host(t), insns);
            let end = insns + 200_000;
            while insns < end {
                insns += c.insns_until(None, insns).min(end - insns);
                c.leap(insns);
            }
            c.end_slice(host(t + 2 * MS), insns);
            t += if slice % 20 == 19 { gap } else { 8 * MS };
            (c.withholds_input(), t - c.now(insns))
        })
    }

    #[test]
    fn input_does_not_wait_for_a_busy_guest_on_a_busy_host() {
        assert!(on_a_busy_host(0, 300 * MS, 5000).all(|(waits, lag)| !waits && lag < LAG_NS));
        // It waits after a gap, but not for ever where the guest never catches up.
        let all: Vec<_> = on_a_busy_host(3 * SEC, 2 * SEC, 5000).collect();
        assert!(all.iter().all(|(_, lag)| *lag > LAG_NS), "it never catches up");
        assert!(all[0].0 && all[500..].iter().all(|(waits, _)| !waits));
    }

    #[test]
    fn a_host_clock_that_stands_still_or_goes_back_does_no_harm() {
        let mut c = GuestClock::new(host(0));
        c.begin_slice(host(10 * MS), 0);
        let a = c.now(1000);
        c.begin_slice(HostTime::default(), 1000);
        c.begin_slice(host(10 * MS), 1000);
        assert!(c.now(1000) >= a && c.now(2_000_000) <= 16 * MS);
        assert!(
            c.now(u64::MAX) >= c.now(1 << 40) && c.now(1 << 40) > c.now(1 << 30),
            "no overflow in an endless slice"
        );
    }

    #[test]
    fn what_takes_no_instructions_passes_at_once() {
        let mut c = GuestClock::new(host(0));
        // 40 ns an instruction, and in each second slice as long again for something else.
        let mut t = 0;
        for slice in 0..400 {
            let insns = slice * 50_000;
            c.begin_slice(host(t), insns);
            assert!(c.now(insns) >= t && c.now(insns) <= t + MS / 2, "{slice}: {} {t}", c.now(insns));
            t += 2 * MS;
            if slice % 2 == 1 {
                let before = c.now(insns + 1000);
                for k in 0..40 {
                    c.spend(MS / 20, insns + 1000 + k);
                }
                let passed = c.now(insns + 1040) - before;
                assert!((2 * MS..2 * MS + MS / 100).contains(&passed), "{slice}: {passed}");
                t += 2 * MS;
            }
        }
        assert!(c.insns_per_sec().abs_diff(25_000_000) < 1_000_000, "{}", c.insns_per_sec());
        // Not beyond the limit, nor back, whatever is told.
        c.begin_slice(host(t), 400 * 50_000);
        let mut last = c.now(400 * 50_000);
        for k in 0..1000 {
            c.spend(MS, 400 * 50_000 + k);
            let now = c.now(400 * 50_000 + k);
            assert!(now >= last && now <= t + AHEAD_NS + MS / 10, "{now}");
            last = now;
        }
    }

    #[test]
    fn a_clock_that_is_ahead_goes_slowly_but_never_stands() {
        let mut c = GuestClock::new(host(0));
        c.begin_slice(host(10 * MS), 0);
        // Far beyond the limit at 10 ns an instruction: two reads, 16 instructions apart, still differ by the HPET's tick.
        let insns = 2_000_000;
        assert!(c.now(insns) > 10 * MS + AHEAD_NS && c.now(insns) < 10 * MS + 2 * AHEAD_NS);
        assert!(c.now(insns + 16) >= c.now(insns) + 10);
        // The host's clock comes after: no step back, and at the measured rate again.
        let before = c.now(insns);
        c.begin_slice(host(30 * MS), insns);
        assert!(c.now(insns) >= before);
    }
}
