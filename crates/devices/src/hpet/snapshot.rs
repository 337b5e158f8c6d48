use super::{
    Comparator, Hpet,
    spec::{General, TIMERS},
};

bus::saved_state! {
    /// Version 1.
    pub struct State for Hpet as "hpet" version 1 {
        general: General,
        status: u32,
        timers: [Comparator; TIMERS],
        counter: u64,
        seen: u64,
    }
}
