use super::{
    Expects, I8042,
    keyboard::Keyboard,
    spec::{OutputPort, RAM},
};
use std::collections::VecDeque;

bus::saved_state! {
    /// Version 1.
    pub struct State for I8042 as "i8042" version 1 {
        ram: [u8; RAM],
        output_port: OutputPort,
        output: Option<u8>,
        last_output: u8,
        answers: VecDeque<u8>,
        expects: Expects,
        last_was_command: bool,
        break_prefix: bool,
        keyboard: Keyboard,
    }
    check |s| (!s.keyboard.is_sane()).then_some("keyboard buffer too long")
}
