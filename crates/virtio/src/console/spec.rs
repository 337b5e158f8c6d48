//! virtio 1.2, 5.3.

/// Feature bits (5.3.3).
pub mod feature {
    pub const MULTIPORT: u64 = 1 << 1;
    pub const EMERG_WRITE: u64 = 1 << 2;
}

/// Offset of `emerg_wr` in the configuration (5.3.4).
pub const EMERG_WRITE_AT: u64 = 8;

/// Control messages: port, event, value (5.3.6.2).
pub const CONTROL: usize = 8;
pub mod event {
    pub const DEVICE_READY: u16 = 0;
    pub const DEVICE_ADD: u16 = 1;
    pub const PORT_READY: u16 = 3;
    pub const CONSOLE_PORT: u16 = 4;
    pub const PORT_OPEN: u16 = 6;
    pub const PORT_NAME: u16 = 7;
}

/// Ports of a device at most: QEMU's.
pub const PORTS_MAX: usize = 31;

/// Queues of the control messages (5.3.2).
pub const CONTROL_RECEIVE: usize = 2;
pub const CONTROL_TRANSMIT: usize = 3;

/// The receive queue of a port; its transmit queue follows.
pub const fn receive_queue(port: usize) -> usize {
    if port == 0 { 0 } else { 2 + 2 * port }
}
