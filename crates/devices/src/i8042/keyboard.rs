//! The keyboard: commands from the system, scan codes of set 2 to it.

use super::spec::keyboard::{
    ACK, ALL_KEYS, ALL_KEYS_END, BUFFER, DEFAULT_RATE, DEFAULTS, DISABLE, ECHO, ENABLE, ID, IDENTIFY, KEY_TYPE,
    KEY_TYPE_END, OVERRUN, PLEASE_RESEND, RESEND, RESET, SCAN_CODE_SET, SET_LEDS, SET_RATE, TEST_PASSED,
};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Keyboard {
    /// Answers, then scan codes.
    answers: VecDeque<u8>,
    codes: VecDeque<u8>,
    /// Last byte sent, for RESEND.
    last: u8,
    scanning: bool,
    /// A command that waits for its argument.
    command: Option<u8>,
    leds: u8,
    rate: u8,
    set: u8,
}

impl Keyboard {
    /// After power-up: the basic assurance test has passed, unheard.
    pub fn new() -> Self {
        Self {
            answers: VecDeque::new(),
            codes: VecDeque::new(),
            last: 0,
            scanning: true,
            command: None,
            leds: 0,
            rate: DEFAULT_RATE,
            set: 2,
        }
    }

    pub fn leds(&self) -> u8 {
        self.leds
    }

    /// The scan code set that the system chose: 1, 2 or 3.
    pub fn set(&self) -> u8 {
        self.set
    }

    /// Whether the buffers fit a saved state.
    pub fn is_sane(&self) -> bool {
        self.codes.len() <= BUFFER && self.answers.len() <= BUFFER
    }

    /// Keys: scan codes in the set in force. False if scanning is off or they do not all fit.
    pub fn press(&mut self, codes: &[u8]) -> bool {
        if !self.scanning {
            return false;
        }
        // the last place is for the overrun code
        let fits = self.codes.len() + codes.len() < BUFFER;
        if fits {
            self.codes.extend(codes);
        } else if self.codes.back() != Some(&OVERRUN) {
            self.codes.push_back(OVERRUN);
        }
        fits
    }

    /// The next byte for the system.
    pub fn send(&mut self) -> Option<u8> {
        // during a command with an argument, scanning stops
        let codes = if self.command.is_none() { self.codes.pop_front() } else { None };
        let byte = match self.answers.pop_front() {
            Some(answer) => {
                if let Some(code) = codes {
                    self.codes.push_front(code);
                }
                Some(answer)
            }
            None => codes,
        };
        self.last = byte.unwrap_or(self.last);
        byte
    }

    /// A byte from the system.
    pub fn receive(&mut self, byte: u8) {
        // what was not fetched before a command is lost
        self.answers.clear();
        match (self.command.take(), byte) {
            // a command in place of an argument is a new command
            (Some(command), argument) if argument < SET_LEDS => self.argument(command, argument),
            (_, command) => self.command(command),
        }
    }

    fn answer(&mut self, bytes: &[u8]) {
        self.answers.extend(bytes);
    }

    fn argument(&mut self, command: u8, v: u8) {
        match command {
            SET_LEDS => self.leds = v & 7,
            SET_RATE => self.rate = v & 0x7f,
            SCAN_CODE_SET if v == 0 => return self.answer(&[ACK, self.set]),
            SCAN_CODE_SET if v <= 3 => self.set = v,
            SCAN_CODE_SET => return self.answer(&[PLEASE_RESEND]),
            // a key's type in set 3: every key here is typematic
            _ => {}
        }
        self.answer(&[ACK]);
    }

    fn defaults(&mut self) {
        self.codes.clear();
        (self.rate, self.set) = (DEFAULT_RATE, 2);
    }

    fn command(&mut self, command: u8) {
        match command {
            SET_LEDS | SET_RATE | SCAN_CODE_SET | KEY_TYPE..=KEY_TYPE_END => self.command = Some(command),
            ECHO => return self.answer(&[ECHO]),
            RESEND => return self.answer(&[self.last]),
            IDENTIFY => return self.answer(&[ACK, ID[0], ID[1]]),
            ENABLE => {
                self.codes.clear();
                self.scanning = true;
            }
            DISABLE => {
                self.defaults();
                self.scanning = false;
            }
            DEFAULTS => self.defaults(),
            ALL_KEYS..=ALL_KEYS_END => {}
            RESET => {
                *self = Self::new();
                return self.answer(&[ACK, TEST_PASSED]);
            }
            _ => return self.answer(&[PLEASE_RESEND]),
        }
        self.answer(&[ACK]);
    }
}
