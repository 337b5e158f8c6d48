//! Input devices (virtio 1.2, 5.8): a keyboard, a tablet (absolute pointer), a mouse. The host injects Linux input events.

pub mod spec;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use crate::device::{VirtioDevice, Work};
use crate::queue::Broken;
use crate::spec::DeviceType;
use spec::{ABS_MAX, BUS_VIRTUAL, EVENT, code, ev, select};

const QUEUE: u16 = 64;
/// Events that wait for the guest at most; older ones stay, newer ones are refused.
const EVENTS_MAX: usize = 1024;
const EVENTS: usize = 0;
const STATUS: usize = 1;

/// What an input device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputKind {
    Keyboard,
    /// Coordinates from 0 to 0x7fff.
    Tablet,
    Mouse,
}

/// An event as in Linux's `input_event`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InputEvent {
    pub kind: u16,
    pub code: u16,
    pub value: u32,
}

impl InputEvent {
    /// The end of what happened together.
    pub const SYN: Self = Self { kind: ev::SYN, code: 0, value: 0 };

    fn bytes(self) -> [u8; EVENT] {
        let mut b = [0; EVENT];
        b[..2].copy_from_slice(&self.kind.to_le_bytes());
        b[2..4].copy_from_slice(&self.code.to_le_bytes());
        b[4..].copy_from_slice(&self.value.to_le_bytes());
        b
    }
}

/// An input device.
#[derive(Debug)]
pub struct Input {
    kind: InputKind,
    select: u8,
    subsel: u8,
    events: VecDeque<InputEvent>,
    /// Lit LEDs, a bit for each code.
    leds: u32,
}

impl Input {
    pub fn new(kind: InputKind) -> Self {
        Self { kind, select: 0, subsel: 0, events: VecDeque::new(), leds: 0 }
    }

    pub fn kind(&self) -> InputKind {
        self.kind
    }

    /// Something happened: `events`, and the [`InputEvent::SYN`] that ends them. All or none; false where too many wait.
    #[must_use]
    pub fn inject(&mut self, events: &[InputEvent]) -> bool {
        let fits = self.events.len() + events.len() < EVENTS_MAX;
        if fits {
            self.events.extend(events);
            self.events.push_back(InputEvent::SYN);
        }
        fits
    }

    /// The LEDs that the guest has lit: bit 0 Num Lock, 1 Caps Lock, 2 Scroll Lock.
    pub fn leds(&self) -> u32 {
        self.leds
    }

    fn name(&self) -> &'static str {
        match self.kind {
            InputKind::Keyboard => "pagevm virtio keyboard",
            InputKind::Tablet => "pagevm virtio tablet",
            InputKind::Mouse => "pagevm virtio mouse",
        }
    }

    /// The codes of an event type that the device has.
    fn codes(&self, kind: u16) -> Vec<u16> {
        use code::{ABS_X, ABS_Y, REL_WHEEL, REL_X, REL_Y};
        use code::{BTN_EXTRA, BTN_LEFT, BTN_MIDDLE, BTN_RIGHT, BTN_SIDE, KEY_FIRST, KEY_LAST, LED_LAST};
        match (self.kind, kind) {
            (InputKind::Keyboard, ev::KEY) => (KEY_FIRST..=KEY_LAST).collect(),
            (InputKind::Keyboard, ev::LED) => (0..=LED_LAST).collect(),
            // No codes, but the type: the guest repeats keys by itself.
            (InputKind::Keyboard, ev::REP) => vec![0],
            (InputKind::Tablet | InputKind::Mouse, ev::KEY) => {
                vec![BTN_LEFT, BTN_RIGHT, BTN_MIDDLE, BTN_SIDE, BTN_EXTRA]
            }
            (InputKind::Tablet, ev::ABS) => vec![ABS_X, ABS_Y],
            (InputKind::Tablet, ev::REL) => vec![REL_WHEEL],
            (InputKind::Mouse, ev::REL) => vec![REL_X, REL_Y, REL_WHEEL],
            _ => Vec::new(),
        }
    }

    /// What the selected part of the configuration holds (5.8.4).
    fn selected(&self) -> Vec<u8> {
        match (self.select, self.subsel) {
            (select::ID_NAME, 0) => self.name().into(),
            (select::ID_SERIAL, 0) => b"0".to_vec(),
            (select::ID_DEVIDS, 0) => {
                let product = self.kind as u16 + 1;
                [BUS_VIRTUAL, crate::spec::VENDOR, product, 1].iter().flat_map(|n| n.to_le_bytes()).collect()
            }
            (select::EV_BITS, kind) => bitmap(&self.codes(kind.into())),
            (select::ABS_INFO, axis) if self.codes(ev::ABS).contains(&axis.into()) => {
                [0, ABS_MAX, 0, 0, 0].iter().flat_map(|n| n.to_le_bytes()).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// A bit for each of `codes`, as short as possible.
fn bitmap(codes: &[u16]) -> Vec<u8> {
    let len = codes.iter().max().map_or(0, |last| usize::from(last / 8) + 1);
    let mut map = vec![0; len];
    codes.iter().for_each(|c| map[usize::from(c / 8)] |= 1 << (c % 8));
    map
}

impl VirtioDevice for Input {
    fn device_type(&self) -> DeviceType {
        DeviceType::Input
    }

    fn queues(&self) -> &[u16] {
        &[QUEUE; 2]
    }

    fn features(&self) -> u64 {
        0
    }

    fn config(&self) -> Vec<u8> {
        let what = self.selected();
        let mut c = vec![self.select, self.subsel, what.len() as u8, 0, 0, 0, 0, 0];
        c.extend(what);
        c
    }

    fn write_config(&mut self, offset: u64, bytes: &[u8]) {
        for (at, byte) in (offset..).zip(bytes) {
            match at {
                0 => self.select = *byte,
                1 => self.subsel = *byte,
                _ => {}
            }
        }
    }

    fn process(&mut self, work: &mut Work) -> Result<(), Broken> {
        while let Some(chain) = work.take(STATUS)? {
            if let Some(e) = chain.read::<EVENT>(work.ram, 0) {
                let led = u16::from_le_bytes([e[2], e[3]]);
                if u16::from_le_bytes([e[0], e[1]]) == ev::LED && led <= code::LED_LAST {
                    let lit = u32::from(e[4] != 0) << led;
                    self.leds = self.leds & !(1 << led) | lit;
                }
            }
            work.give(STATUS, chain, 0)?;
        }
        while let Some(event) = self.events.front() {
            let Some(chain) = work.take(EVENTS)? else { break };
            let written = chain.write(work.ram, 0, &event.bytes());
            self.events.pop_front();
            work.give(EVENTS, chain, written)?;
        }
        Ok(())
    }

    fn reset(&mut self) {
        (self.select, self.subsel, self.leds) = (0, 0, 0);
        self.events.clear();
    }
}
