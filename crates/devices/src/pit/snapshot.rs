use super::{Counter, Pit, Run, spec::Port61};

bus::saved_state! {
    /// Version 1.
    pub struct State for Pit as "pit" version 1 {
        counters: [Counter; 3],
        port61: Port61,
        seen: u64,
    }
    check |s| s.counters.iter().any(|c| !c.is_sane()).then_some("count or time out of range")
}

/// Later than any clock will show, early enough that no sum overflows.
const END_OF_TIME: u64 = 1 << 62;

impl Counter {
    fn is_sane(&self) -> bool {
        let n_ok = |n: &u32| (2 * u32::from(self.mode.is_periodic())).max(1) <= *n && *n <= 0x1_0000;
        let t_ok = |t: &u64| *t < END_OF_TIME;
        let run_ok = |r: &Run| n_ok(&r.n) && t_ok(&r.start) && r.frozen.as_ref().is_none_or(t_ok);
        self.reload.as_ref().is_none_or(n_ok)
            && self.run.as_ref().is_none_or(run_ok)
            && self.load_at.as_ref().is_none_or(t_ok)
    }
}
