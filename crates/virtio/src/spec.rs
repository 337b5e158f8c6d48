//! Constants of virtio 1.2 that all devices share.

/// PCI and MMIO vendor (4.1.2, 4.2.2).
pub const VENDOR: u16 = 0x1af4;

/// Device types (5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum DeviceType {
    Net = 1,
    Block = 2,
    Console = 3,
    Entropy = 4,
    Balloon = 5,
    P9 = 9,
    Input = 18,
}

/// Device status (2.1).
pub mod status {
    pub const ACKNOWLEDGE: u8 = 1;
    pub const DRIVER: u8 = 2;
    pub const DRIVER_OK: u8 = 4;
    pub const FEATURES_OK: u8 = 8;
    pub const NEEDS_RESET: u8 = 64;
    pub const FAILED: u8 = 128;
}

/// Feature bits of the queues and the transport (6).
pub mod feature {
    pub const INDIRECT_DESC: u64 = 1 << 28;
    pub const EVENT_IDX: u64 = 1 << 29;
    pub const VERSION_1: u64 = 1 << 32;
    /// What every device offers.
    pub const ALL: u64 = INDIRECT_DESC | EVENT_IDX | VERSION_1;
}
