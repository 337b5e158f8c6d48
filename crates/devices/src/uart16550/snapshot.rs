use super::{
    Uart16550,
    spec::{FIFO_DEPTH, FifoControl, InterruptEnable, LineControl, LineStatus, ModemControl, ModemStatus},
};
use std::collections::VecDeque;

bus::saved_state! {
    /// Version 1.
    pub struct State for Uart16550 as "uart16550" version 1 {
        divisor: u16,
        ier: InterruptEnable,
        fcr: FifoControl,
        lcr: LineControl,
        mcr: ModemControl,
        errors: LineStatus,
        deltas: ModemStatus,
        scratch: u8,
        rx: VecDeque<u8>,
        rx_active_at: u64,
        rx_timeout: bool,
        thre_pending: bool,
    }
    check |s| (s.rx.len() > FIFO_DEPTH).then_some("receiver FIFO too long")
}
