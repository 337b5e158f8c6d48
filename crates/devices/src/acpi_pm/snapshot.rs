use super::{
    AcpiPm,
    spec::{Control, Event},
};

bus::saved_state! {
    /// Version 1.
    pub struct State for AcpiPm as "acpi_pm" version 1 {
        status: Event,
        enable: Event,
        control: Control,
        seen: u64,
    }
}
