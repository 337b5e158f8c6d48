use super::{
    ResetCtl,
    spec::{PortA, ResetControl},
};

bus::saved_state! {
    /// Version 1.
    pub struct State for ResetCtl as "reset_ctl" version 1 {
        reset: ResetControl,
        port_a: PortA,
        post: u8,
    }
}
