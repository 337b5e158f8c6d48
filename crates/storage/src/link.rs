//! What a file far away is like to read, as the host has measured it.

use std::cell::RefCell;
use std::collections::VecDeque;

/// Reads that are remembered: a link changes, and one read tells little.
const READS: usize = 9;

/// Bytes a millisecond that browser, host and engine take in at most, about: a chunk of 128 KiB costs them a millisecond. A read whose host
/// was busy finds all of its bytes there, and looks faster.
const TAKEN_IN: f64 = 131_072.0;

/// How long a read waits for its first byte, and how fast the others come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// Milliseconds until the answer begins.
    pub latency: f64,
    /// Bytes a millisecond from then on.
    pub rate: f64,
}

/// What reads have found lately.
#[derive(Default)]
pub struct Link(RefCell<VecDeque<Pace>>);

impl Link {
    /// A measurement that makes no sense is ignored.
    pub fn note(&self, pace: Pace) {
        if !(pace.latency >= 0.0 && pace.rate >= 0.0 && pace.latency.is_finite() && pace.rate.is_finite()) {
            return;
        }
        let mut paces = self.0.borrow_mut();
        if paces.len() == READS {
            paces.pop_front();
        }
        paces.push_back(pace);
    }

    /// How many bytes come in the time that a read waits for the first, by the medians of both; nothing before there was a read.
    pub fn in_a_wait(&self) -> Option<u64> {
        let paces = self.0.borrow();
        let median = |of: fn(&Pace) -> f64| {
            let mut all: Vec<f64> = paces.iter().map(of).collect();
            all.sort_by(f64::total_cmp);
            all.get(all.len() / 2).copied()
        };
        Some((median(|pace| pace.latency)? * median(|pace| pace.rate)?.min(TAKEN_IN)) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_what_was_measured_lately_counts() {
        let link = Link::default();
        assert_eq!(link.in_a_wait(), None);
        link.note(Pace { latency: 30.0, rate: 12_500.0 });
        assert_eq!(link.in_a_wait(), Some(375_000));
        // one that stood still, and one that a cache on the way had
        link.note(Pace { latency: 20_000.0, rate: 1.0 });
        link.note(Pace { latency: 0.5, rate: 1e6 });
        assert_eq!(link.in_a_wait(), Some(375_000));
        for _ in 0..READS {
            link.note(Pace { latency: 100.0, rate: 625.0 });
        }
        assert_eq!(link.in_a_wait(), Some(62_500));
        // a server on the same machine
        for _ in 0..READS {
            link.note(Pace { latency: 2.5, rate: 1e6 });
        }
        assert_eq!(link.in_a_wait(), Some(327_680));
    }

    #[test]
    fn what_cannot_be_is_ignored() {
        let link = Link::default();
        for (latency, rate) in
            [(f64::NAN, 1.0), (1.0, f64::NAN), (-1.0, 1.0), (1.0, -1.0), (f64::INFINITY, 1.0), (1.0, f64::INFINITY)]
        {
            link.note(Pace { latency, rate });
        }
        assert_eq!(link.in_a_wait(), None);
        link.note(Pace { latency: f64::MAX, rate: f64::MAX });
        assert_eq!(link.in_a_wait(), Some(u64::MAX), "and nothing overflows");
    }
}
