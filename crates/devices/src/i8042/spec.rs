//! IBM Personal System/2 Hardware Interface Technical Reference, "Keyboard and auxiliary device controller" and
//! "Keyboards (101- and 102-key)"; IBM PC/AT Technical Reference for the controller without auxiliary device.

use bitfield_struct::bitfield;
use serde::{Deserialize, Serialize};

pub const DATA: u16 = 0x60;
pub const COMMAND: u16 = 0x64;
/// Bytes of RAM that the commands 0x20-0x3F read; byte 0 is the configuration.
pub const RAM: usize = 32;

/// Controller commands.
pub mod command {
    pub const READ_RAM: u8 = 0x20;
    pub const READ_RAM_END: u8 = 0x3f;
    pub const WRITE_RAM: u8 = 0x60;
    pub const WRITE_RAM_END: u8 = 0x7f;
    pub const SELF_TEST: u8 = 0xaa;
    pub const TEST_KEYBOARD: u8 = 0xab;
    pub const DISABLE_KEYBOARD: u8 = 0xad;
    pub const ENABLE_KEYBOARD: u8 = 0xae;
    pub const READ_INPUT_PORT: u8 = 0xc0;
    pub const READ_OUTPUT_PORT: u8 = 0xd0;
    pub const WRITE_OUTPUT_PORT: u8 = 0xd1;
    pub const WRITE_OUTPUT_BUFFER: u8 = 0xd2;
    pub const READ_TEST_INPUTS: u8 = 0xe0;
    /// Pulses those output port bits low whose bit in the command is 0.
    pub const PULSE: u8 = 0xf0;
}

/// Answers to the tests.
pub const SELF_TEST_PASSED: u8 = 0x55;
pub const KEYBOARD_TEST_PASSED: u8 = 0x00;
/// Input port: keyboard not locked, colour display, manufacturing jumper not installed.
pub const INPUT_PORT: u8 = 0xb0;

/// Status register.
#[bitfield(u8)]
pub struct Status {
    pub output_full: bool,
    pub input_full: bool,
    pub system: bool,
    /// The last write went to the command port.
    pub command: bool,
    pub not_locked: bool,
    #[bits(3)]
    __: u8,
}

/// Controller configuration byte.
#[bitfield(u8)]
#[derive(PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    pub interrupt: bool,
    pub aux_interrupt: bool,
    pub system: bool,
    __: bool,
    pub keyboard_disabled: bool,
    pub aux_disabled: bool,
    /// Scan codes of set 2 become those of set 1.
    pub translate: bool,
    __: bool,
}

/// Output port.
#[bitfield(u8)]
#[derive(PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputPort {
    /// Active low; going low resets the CPU.
    pub not_reset: bool,
    pub a20: bool,
    #[bits(2)]
    __: u8,
    pub output_full: bool,
    __: bool,
    #[bits(2)]
    pub lines: u8,
}

/// Keyboard commands and answers.
pub mod keyboard {
    pub const SET_LEDS: u8 = 0xed;
    pub const ECHO: u8 = 0xee;
    pub const SCAN_CODE_SET: u8 = 0xf0;
    pub const IDENTIFY: u8 = 0xf2;
    pub const SET_RATE: u8 = 0xf3;
    pub const ENABLE: u8 = 0xf4;
    pub const DISABLE: u8 = 0xf5;
    pub const DEFAULTS: u8 = 0xf6;
    /// Make all keys typematic, make, ... in set 3.
    pub const ALL_KEYS: u8 = 0xf7;
    pub const ALL_KEYS_END: u8 = 0xfa;
    pub const KEY_TYPE: u8 = 0xfb;
    pub const KEY_TYPE_END: u8 = 0xfd;
    pub const RESEND: u8 = 0xfe;
    pub const RESET: u8 = 0xff;

    pub const ACK: u8 = 0xfa;
    pub const PLEASE_RESEND: u8 = 0xfe;
    pub const TEST_PASSED: u8 = 0xaa;
    pub const ID: [u8; 2] = [0xab, 0x83];
    /// Sent instead of what did not fit.
    pub const OVERRUN: u8 = 0x00;
    /// Prefix of a released key.
    pub const BREAK: u8 = 0xf0;
    /// Bytes of scan codes that wait for the system.
    pub const BUFFER: usize = 16;
    pub const DEFAULT_RATE: u8 = 0x2b;
}

/// What the controller makes of each code of set 2 below 0x85 ("Scan code translation"); the others pass as they are.
#[rustfmt::skip]
pub const TRANSLATION: [u8; 0x85] = [
    0xff, 0x43, 0x41, 0x3f, 0x3d, 0x3b, 0x3c, 0x58, 0x64, 0x44, 0x42, 0x40, 0x3e, 0x0f, 0x29, 0x59,
    0x65, 0x38, 0x2a, 0x70, 0x1d, 0x10, 0x02, 0x5a, 0x66, 0x71, 0x2c, 0x1f, 0x1e, 0x11, 0x03, 0x5b,
    0x67, 0x2e, 0x2d, 0x20, 0x12, 0x05, 0x04, 0x5c, 0x68, 0x39, 0x2f, 0x21, 0x14, 0x13, 0x06, 0x5d,
    0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5e, 0x6a, 0x72, 0x32, 0x24, 0x16, 0x08, 0x09, 0x5f,
    0x6b, 0x33, 0x25, 0x17, 0x18, 0x0b, 0x0a, 0x60, 0x6c, 0x34, 0x35, 0x26, 0x27, 0x19, 0x0c, 0x61,
    0x6d, 0x73, 0x28, 0x74, 0x1a, 0x0d, 0x62, 0x6e, 0x3a, 0x36, 0x1c, 0x1b, 0x75, 0x2b, 0x63, 0x76,
    0x55, 0x56, 0x77, 0x78, 0x79, 0x7a, 0x0e, 0x7b, 0x7c, 0x4f, 0x7d, 0x4b, 0x47, 0x7e, 0x7f, 0x6f,
    0x52, 0x53, 0x50, 0x4c, 0x4d, 0x48, 0x01, 0x45, 0x57, 0x4e, 0x51, 0x4a, 0x37, 0x49, 0x46, 0x54,
    0x80, 0x81, 0x82, 0x41, 0x54,
];
