//! virtio 1.2, 5.1.

/// Feature bits (5.1.3).
pub mod feature {
    pub const CSUM: u64 = 1 << 0;
    pub const GUEST_CSUM: u64 = 1 << 1;
    pub const CTRL_GUEST_OFFLOADS: u64 = 1 << 2;
    pub const MAC: u64 = 1 << 5;
    pub const GUEST_TSO4: u64 = 1 << 7;
    pub const GUEST_TSO6: u64 = 1 << 8;
    pub const HOST_TSO4: u64 = 1 << 11;
    pub const HOST_TSO6: u64 = 1 << 12;
    pub const MRG_RXBUF: u64 = 1 << 15;
    pub const STATUS: u64 = 1 << 16;
    pub const CTRL_VQ: u64 = 1 << 17;
    pub const CTRL_RX: u64 = 1 << 18;
    pub const CTRL_MAC_ADDR: u64 = 1 << 23;
}

/// Queues (5.1.2).
pub const RECEIVE: usize = 0;
pub const TRANSMIT: usize = 1;
pub const CONTROL: usize = 2;

/// The header before each frame (5.1.6): flags, type of segmentation, header length, segment size, checksum start and
/// offset, number of buffers.
pub const HEADER: usize = 12;
pub const NUM_BUFFERS_AT: usize = 10;
pub mod flag {
    pub const NEEDS_CSUM: u8 = 1;
    pub const DATA_VALID: u8 = 2;
}
pub mod gso {
    pub const NONE: u8 = 0;
    pub const TCPV4: u8 = 1;
    pub const TCPV6: u8 = 4;
    pub const ECN: u8 = 0x80;
}

/// Configuration status (5.1.4).
pub const LINK_UP: u16 = 1;

/// Control commands: class and command (5.1.6.5), and the answers.
pub mod control {
    pub const RX: u8 = 0;
    pub const MAC: u8 = 1;
    pub const MAC_TABLE_SET: u8 = 0;
    pub const MAC_ADDR_SET: u8 = 1;
    pub const GUEST_OFFLOADS: u8 = 5;
    pub const OK: u8 = 0;
    pub const ERR: u8 = 1;
}
