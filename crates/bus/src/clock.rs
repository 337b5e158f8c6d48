//! Guest time.

/// Nanoseconds in a second.
pub const NS_PER_SEC: u64 = 1_000_000_000;

/// The guest's clock at the moment of an access. Devices never read a clock of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// Guest nanoseconds since power-on; never goes back.
    pub now: u64,
}

impl Clock {
    /// A clock that stands at `now` ns.
    pub const fn at(now: u64) -> Self {
        Self { now }
    }
}

/// A constant frequency in Hz (1 Hz to 18 GHz): converts between nanoseconds and ticks without 128-bit division.
///
/// Both directions are exact in the sense that `ns_at(t)` is the first nanosecond at which `ticks_at` has reached `t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frequency {
    hz: u64,
}

impl Frequency {
    /// `hz` must be in 1..=18 GHz (a constant of the board, never a guest's value).
    pub const fn from_hz(hz: u64) -> Self {
        assert!(hz >= 1 && hz <= 18_000_000_000);
        Self { hz }
    }

    /// Ticks a second.
    pub const fn hz(self) -> u64 {
        self.hz
    }

    /// Whole ticks in `ns` nanoseconds (wraps after 2^64 ticks).
    pub const fn ticks_at(self, ns: u64) -> u64 {
        let (s, rest) = (ns / NS_PER_SEC, ns % NS_PER_SEC);
        s.wrapping_mul(self.hz).wrapping_add(rest * self.hz / NS_PER_SEC)
    }

    /// Nanoseconds until `ticks` whole ticks have passed, rounded up; `u64::MAX` when beyond the clock's range.
    pub const fn ns_at(self, ticks: u64) -> u64 {
        let (s, rest) = (ticks / self.hz, ticks % self.hz);
        // rest < hz <= 18e9, so rest * 1e9 < 1.8e19 < 2^64
        let part = (rest * NS_PER_SEC).div_ceil(self.hz);
        s.saturating_mul(NS_PER_SEC).saturating_add(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ns_at_is_the_first_nanosecond_of_a_tick() {
        for hz in [1, 32_768, 1_193_182, 3_579_545, 100_000_000, 1_000_000_000, 2_999_999_999, 18_000_000_000] {
            let f = Frequency::from_hz(hz);
            for t in [0, 1, 2, 3, 1000, 65_535, hz - 1, hz, hz + 1, hz * 86_400 + 7] {
                let ns = f.ns_at(t);
                assert!(f.ticks_at(ns) >= t, "{hz} {t}");
                assert!(ns == 0 || f.ticks_at(ns - 1) < t, "{hz} {t}");
            }
        }
    }

    #[test]
    fn a_deadline_beyond_the_clock_saturates() {
        assert_eq!(Frequency::from_hz(1).ns_at(u64::MAX), u64::MAX);
        assert_eq!(Frequency::from_hz(1_000_000_000).ns_at(u64::MAX), u64::MAX);
    }
}
