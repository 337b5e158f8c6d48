//! virtio 1.2, 5.8, and the event codes of Linux (`linux/input-event-codes.h`) that it refers to.

/// `select` (5.8.4).
pub mod select {
    pub const ID_NAME: u8 = 0x01;
    pub const ID_SERIAL: u8 = 0x02;
    pub const ID_DEVIDS: u8 = 0x03;
    pub const EV_BITS: u8 = 0x11;
    pub const ABS_INFO: u8 = 0x12;
}

/// Bytes of an event: type, code, value (5.8.6).
pub const EVENT: usize = 8;

/// Event types.
pub mod ev {
    pub const SYN: u16 = 0;
    pub const KEY: u16 = 1;
    pub const REL: u16 = 2;
    pub const ABS: u16 = 3;
    pub const LED: u16 = 0x11;
    pub const REP: u16 = 0x14;
}

/// Codes.
pub mod code {
    pub const BTN_LEFT: u16 = 0x110;
    pub const BTN_RIGHT: u16 = 0x111;
    pub const BTN_MIDDLE: u16 = 0x112;
    pub const BTN_SIDE: u16 = 0x113;
    pub const BTN_EXTRA: u16 = 0x114;
    pub const REL_X: u16 = 0;
    pub const REL_Y: u16 = 1;
    pub const REL_WHEEL: u16 = 8;
    pub const ABS_X: u16 = 0;
    pub const ABS_Y: u16 = 1;
    /// KEY_ESC to KEY_MICMUTE: all keys that PC keyboards have.
    pub const KEY_FIRST: u16 = 1;
    pub const KEY_LAST: u16 = 248;
    pub const LED_LAST: u16 = 2;
}

/// Bus type "virtual" (`linux/input.h`).
pub const BUS_VIRTUAL: u16 = 6;
/// The largest coordinate of the tablet: QEMU's.
pub const ABS_MAX: u32 = 0x7fff;
