use super::{
    Lapic, Vectors,
    spec::{ApicBase, Errors, Icr, Lvt, LvtEntry, Spurious},
};

bus::saved_state! {
    /// Version 1.
    pub struct State for Lapic as "lapic" version 1 {
        base: ApicBase,
        tpr: u8,
        ldr: u32,
        dfr: u32,
        spurious: Spurious,
        isr: Vectors,
        irr: Vectors,
        tmr: Vectors,
        errors: Errors,
        new_errors: Errors,
        icr: Icr,
        lvt: [LvtEntry; Lvt::COUNT],
        lint: [bool; 2],
        ext_int: bool,
        divide: u8,
        initial_count: u32,
        started: Option<u64>,
        tsc_deadline: u64,
        deadline_ns: u64,
        pending: Option<u8>,
    }
    check |s| s.started.is_some_and(|t| t > 1 << 62).then_some("timer out of range")
}
