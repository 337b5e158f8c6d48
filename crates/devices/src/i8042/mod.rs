//! The keyboard controller (Intel 8042 with the PC/AT's program) and an IBM PS/2 keyboard behind it.
//!
//! The controller has no auxiliary port: the commands for a mouse are unknown to it, as they are to an AT's.

mod device;
mod keyboard;
mod snapshot;
pub mod spec;
#[cfg(test)]
mod tests;

use bus::Line;
use keyboard::Keyboard;
use serde::{Deserialize, Serialize};
use spec::{Config, OutputPort};
use std::collections::VecDeque;

/// Controller and keyboard.
#[derive(Debug)]
pub struct I8042 {
    line: Line,
    ram: [u8; spec::RAM],
    output_port: OutputPort,
    /// The byte to be read at the data port.
    output: Option<u8>,
    last_output: u8,
    /// Answers of the controller itself, before what the keyboard sends.
    answers: VecDeque<u8>,
    /// What the next write to the data port is.
    expects: Expects,
    last_was_command: bool,
    /// The keyboard sent the break prefix and the controller translates: the next code gets bit 7.
    break_prefix: bool,
    keyboard: Keyboard,
}

/// What a write to the data port means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Expects {
    #[default]
    ForKeyboard,
    Ram(u8),
    OutputPort,
    /// To be read back as if the keyboard had sent it.
    Echo,
}

impl I8042 {
    fn config(&self) -> Config {
        Config::from_bits(self.ram[0])
    }
}
