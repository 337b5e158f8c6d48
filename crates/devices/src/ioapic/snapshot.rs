use super::{
    IoApic,
    spec::{PINS, Redirection},
};

bus::saved_state! {
    /// Version 1.
    pub struct State for IoApic as "ioapic" version 1 {
        id: u8,
        select: u8,
        pins: u32,
        table: [Redirection; PINS],
    }
}
