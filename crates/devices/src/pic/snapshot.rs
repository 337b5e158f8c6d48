use super::{Chip, Pic};

bus::saved_state! {
    /// Version 1.
    pub struct State for Pic as "pic" version 1 {
        master: Chip,
        slave: Chip,
    }
    check |s| (s.master.top > 7 || s.slave.top > 7).then_some("priority of an input above 7")
}
