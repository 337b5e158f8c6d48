use super::spec::{CONTROL_RECEIVE, CONTROL_TRANSMIT, event, feature};
use super::*;
use crate::testing::{Posted, Rig};
use bus::Width;
use bus::pci::PciFunction;

fn console() -> Console {
    let stream = PortKind::Stream { name: "org.example.0".into() };
    Console::new(vec![Some(Port::new(PortKind::Console)), None, Some(Port::new(stream))])
}

fn message(port: u32, event: u16, value: u16) -> Vec<u8> {
    [&port.to_le_bytes()[..], &event.to_le_bytes(), &value.to_le_bytes()].concat()
}

struct Driver {
    r: Rig<Console>,
    buffers: Vec<Posted>,
}

impl Driver {
    /// A driver with buffers for control messages.
    fn new() -> Self {
        let mut d = Self { r: Rig::new(console(), feature::MULTIPORT), buffers: Vec::new() };
        d.buffers = (0..8).map(|_| d.r.post(CONTROL_RECEIVE, &[], 40)).collect();
        d
    }

    fn say(&mut self, port: u32, event: u16, value: u16) {
        self.r.request(CONTROL_TRANSMIT, &[&message(port, event, value)], 0);
    }

    /// The device's messages so far. The buffers that had them are offered again.
    fn hear(&mut self) -> Vec<Vec<u8>> {
        let used = self.r.used(CONTROL_RECEIVE);
        used.iter()
            .map(|(head, len)| {
                let at = self.buffers.iter().position(|b| b.head == *head).unwrap();
                let got = self.r.written(self.buffers[at])[..*len as usize].to_vec();
                self.buffers[at] = self.r.post(CONTROL_RECEIVE, &[], 40);
                got
            })
            .collect()
    }

    fn open(&mut self, port: u32) {
        self.say(u32::MAX, event::DEVICE_READY, 1);
        self.say(port, event::PORT_READY, 1);
        self.say(port, event::PORT_OPEN, 1);
        self.hear();
    }
}

#[test]
fn ports_are_announced_with_kind_and_name() {
    let mut d = Driver::new();
    assert_eq!(d.r.read(0x3004, Width::B4), 3, "ports");
    assert_eq!(d.hear(), Vec::<Vec<u8>>::new());
    d.say(u32::MAX, event::DEVICE_READY, 1);
    assert_eq!(d.hear(), [message(0, event::DEVICE_ADD, 1), message(2, event::DEVICE_ADD, 1)]);
    d.say(0, event::PORT_READY, 1);
    assert_eq!(d.hear(), [message(0, event::CONSOLE_PORT, 1), message(0, event::PORT_OPEN, 1)]);
    d.say(2, event::PORT_READY, 1);
    let name = [message(2, event::PORT_NAME, 1), b"org.example.0".to_vec()].concat();
    assert_eq!(d.hear(), [name, message(2, event::PORT_OPEN, 1)]);
    d.say(1, event::PORT_READY, 1);
    d.say(99, event::PORT_READY, 1);
    d.say(2, 77, 1);
    assert_eq!(d.hear(), Vec::<Vec<u8>>::new());
}

#[test]
fn bytes_go_both_ways_when_the_guest_has_the_port_open() {
    let mut d = Driver::new();
    for (number, receive) in [(0, 0), (2, 6)] {
        assert_eq!(d.r.dev.device_mut().port_mut(number).unwrap().send(b"hello"), 5);
        let buffer = d.r.post(receive, &[], 3);
        d.r.kick(receive);
        assert_eq!(d.r.used(receive), [], "closed");
        d.open(number as u32);
        assert!(d.r.dev.device_mut().port_mut(number).unwrap().is_open());
        assert_eq!(d.r.used(receive), [(buffer.head, 3)]);
        assert_eq!(d.r.written(buffer), b"hel");
        assert_eq!(d.r.request(receive, &[], 9), b"lo");
        d.r.request(receive + 1, &[b"from ", b"the guest"], 0);
        let port = d.r.dev.device_mut().port_mut(number).unwrap();
        assert_eq!(port.take_output(), b"from the guest");
    }
}

#[test]
fn without_multiport_there_is_one_console() {
    let mut r = Rig::new(console(), 0);
    r.dev.device_mut().port_mut(0).unwrap().send(b"x");
    assert_eq!(r.request(0, &[], 8), b"x");
    r.request(1, &[b"y"], 0);
    r.write(0x3008, Width::B4, b'!'.into());
    assert_eq!(taken(&mut r), b"y!", "emergency write");
}

#[test]
fn a_port_takes_only_so_much() {
    let mut p = Port::new(PortKind::Console);
    assert_eq!(p.send(&vec![0; INPUT_MAX + 1]), INPUT_MAX);
    assert_eq!(p.send(b"x"), 0);
}

fn taken(r: &mut Rig<Console>) -> Vec<u8> {
    r.dev.device_mut().port_mut(0).unwrap().take_output()
}

/// Makes the same 256 KiB available as often as there are descriptors, and rings once.
fn flood(r: &mut Rig<Console>) {
    let (table, size) = (r.rings[1].descriptors, r.rings[1].size);
    r.descriptor(table, 0, 1 << 20, 256 << 10, 0, 0);
    (0..size).for_each(|_| r.offer(1, 0));
    r.kick(1);
}

#[test]
fn output_waits_in_the_queue_until_what_is_there_is_taken() {
    let mut r = Rig::new(console(), 0);
    flood(&mut r);
    for _ in 0..4 {
        assert_eq!(r.used(1).len(), 4);
        assert!(r.dev.intx() && r.dev.wants_transfer());
        assert_eq!(r.read(0x2000, Width::B1), 1, "the driver hears of each part");
        r.write(0x3008, Width::B4, b'!'.into());
        r.work();
        assert_eq!(r.used(1), [], "nothing is taken meanwhile");
        assert_eq!(taken(&mut r).len(), 1 << 20);
        r.work();
    }
    assert!(!r.dev.wants_transfer());
    r.request(1, &[b"more"], 0);
    assert_eq!(taken(&mut r), b"more");
}

#[test]
fn nothing_is_kept_for_a_port_that_nobody_reads() {
    let mut r = Rig::new(Console::new(vec![Some(Port::unread(PortKind::Console))]), 0);
    flood(&mut r);
    assert_eq!((r.used(1).len(), r.dev.wants_transfer()), (16, false));
    r.write(0x3008, Width::B4, b'!'.into());
    assert_eq!(taken(&mut r).len(), 0);
}

#[test]
fn control_messages_wait_for_buffers_and_the_drivers_for_those() {
    let mut r = Rig::new(console(), feature::MULTIPORT);
    let ready = message(u32::MAX, event::DEVICE_READY, 1);
    // Each is answered by a message for each of two ports.
    for _ in 0..CONTROL_MAX / 2 {
        r.request(CONTROL_TRANSMIT, &[&ready], 0);
    }
    let last = r.post(CONTROL_TRANSMIT, &[&ready], 0);
    r.kick(CONTROL_TRANSMIT);
    assert_eq!((r.used(CONTROL_TRANSMIT), r.dev.device().control.len()), (vec![], CONTROL_MAX));
    for _ in 0..2 {
        r.post(CONTROL_RECEIVE, &[], 40);
    }
    r.kick(CONTROL_RECEIVE);
    assert_eq!(r.used(CONTROL_RECEIVE).len(), 2);
    assert_eq!(r.used(CONTROL_TRANSMIT), [(last.head, 0)]);
}

#[test]
fn a_reset_closes_ports() {
    let mut d = Driver::new();
    d.open(2);
    d.r.set(20, Width::B1, 0);
    assert!(!d.r.dev.device_mut().port_mut(2).unwrap().is_open());
}
