//! The console device (virtio 1.2, 5.3): ports that are consoles (hvc0, ..) or plain streams by name.

mod spec;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use crate::device::{VirtioDevice, Work};
use crate::queue::Broken;
use crate::spec::DeviceType;
pub use spec::PORTS_MAX;
use spec::{CONTROL, CONTROL_RECEIVE, CONTROL_TRANSMIT, EMERG_WRITE_AT, event, feature, receive_queue};

const QUEUE: u16 = 128;
/// Bytes for the guest that wait in a port at most.
const INPUT_MAX: usize = 64 << 10;
/// Bytes that the guest writes with one request at most. With so many that nobody has taken yet, requests wait in the queue.
const OUTPUT_MAX: usize = 1 << 20;
/// Control messages that wait for the driver's buffers. With so many, those of the driver wait in the queue: the most that a driver
/// brings about at once is three for each port.
const CONTROL_MAX: usize = 4 * PORTS_MAX;
/// Bytes that one buffer of the guest takes at most in one go.
const CHUNK: usize = 4096;

/// What a port is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortKind {
    /// A terminal: /dev/hvcN.
    Console,
    /// A stream: /dev/vportNpM, and by its name under /dev/virtio-ports.
    Stream { name: String },
}

/// One end of a connection; the other is in the guest.
#[derive(Debug)]
pub struct Port {
    kind: PortKind,
    /// The guest's driver knows the port; a program has it open.
    ready: bool,
    open: bool,
    input: VecDeque<u8>,
    /// `None`: nobody reads it.
    output: Option<Vec<u8>>,
}

impl Port {
    /// A port whose other end reads [`Port::take_output`].
    pub fn new(kind: PortKind) -> Self {
        Self { output: Some(Vec::new()), ..Self::unread(kind) }
    }

    /// A port that drops what the guest writes.
    pub fn unread(kind: PortKind) -> Self {
        Self { kind, ready: false, open: false, input: VecDeque::new(), output: None }
    }

    /// Gives bytes to the guest; how many were taken. The rest may be offered again later.
    pub fn send(&mut self, bytes: &[u8]) -> usize {
        let n = bytes.len().min(INPUT_MAX - self.input.len());
        self.input.extend(&bytes[..n]);
        n
    }

    /// Takes what the guest has written. Where it waits for that, it goes on at the next transfer.
    pub fn take_output(&mut self) -> Vec<u8> {
        self.output.as_mut().map(std::mem::take).unwrap_or_default()
    }

    fn is_full(&self) -> bool {
        self.output.as_ref().is_some_and(|output| output.len() >= OUTPUT_MAX)
    }

    /// Whether a program in the guest has the port open.
    pub fn is_open(&self) -> bool {
        self.open
    }
}

/// A control message to the driver.
struct Control {
    bytes: Vec<u8>,
}

impl Control {
    fn new(port: usize, event: u16, value: u16) -> Self {
        let mut bytes = Vec::from((port as u32).to_le_bytes());
        bytes.extend(event.to_le_bytes());
        bytes.extend(value.to_le_bytes());
        Self { bytes }
    }

    fn with(mut self, more: &[u8]) -> Self {
        self.bytes.extend(more);
        self
    }
}

/// A console device: `virtio-serial`.
pub struct Console {
    /// By number; a number without a port is one that nobody uses.
    ports: Vec<Option<Port>>,
    queues: Vec<u16>,
    control: VecDeque<Control>,
}

impl Console {
    /// A device with these ports, by number, up to [`PORTS_MAX`].
    pub fn new(mut ports: Vec<Option<Port>>) -> Self {
        ports.truncate(PORTS_MAX);
        // Port 0 has queues whether it is there or not, and the control queues follow.
        let count = ports.len().max(1);
        Self { ports, queues: vec![QUEUE; 2 + 2 * count], control: VecDeque::new() }
    }

    pub fn port_mut(&mut self, number: usize) -> Option<&mut Port> {
        self.ports.get_mut(number)?.as_mut()
    }

    /// A control message from the driver (5.3.6.2).
    fn hear(&mut self, message: [u8; CONTROL]) {
        let number = u32::from_le_bytes([message[0], message[1], message[2], message[3]]) as usize;
        let what = u16::from_le_bytes([message[4], message[5]]);
        let value = u16::from_le_bytes([message[6], message[7]]);
        if what == event::DEVICE_READY {
            if value != 0 {
                let there = self.ports.iter().enumerate().filter(|(_, p)| p.is_some());
                self.control.extend(there.map(|(n, _)| Control::new(n, event::DEVICE_ADD, 1)));
            }
            return;
        }
        let Some(port) = self.ports.get_mut(number).and_then(Option::as_mut) else { return };
        match what {
            event::PORT_READY => {
                port.ready = value != 0;
                if !port.ready {
                    return;
                }
                match &port.kind {
                    PortKind::Console => self.control.push_back(Control::new(number, event::CONSOLE_PORT, 1)),
                    PortKind::Stream { name } => {
                        self.control.push_back(Control::new(number, event::PORT_NAME, 1).with(name.as_bytes()));
                    }
                }
                self.control.push_back(Control::new(number, event::PORT_OPEN, 1));
            }
            event::PORT_OPEN => port.open = value != 0,
            other => log::debug!("virtio console: control message {other} of the driver is not known"),
        }
    }

    fn exchange_control(&mut self, work: &mut Work) -> Result<(), Broken> {
        self.say(work)?;
        // Beyond that many, the driver notifies when it has buffers again.
        while self.control.len() < CONTROL_MAX
            && let Some(chain) = work.take(CONTROL_TRANSMIT)?
        {
            if let Some(message) = chain.read(work.ram, 0) {
                self.hear(message);
            }
            work.give(CONTROL_TRANSMIT, chain, 0)?;
            self.say(work)?;
        }
        Ok(())
    }

    /// Gives the driver what waits for it.
    fn say(&mut self, work: &mut Work) -> Result<(), Broken> {
        while !self.control.is_empty() {
            let Some(chain) = work.take(CONTROL_RECEIVE)? else { break };
            let Some(message) = self.control.pop_front() else { break };
            let written = chain.write(work.ram, 0, &message.bytes);
            work.give(CONTROL_RECEIVE, chain, written)?;
        }
        Ok(())
    }
}

/// Moves the bytes of one port both ways.
fn exchange(port: &mut Port, number: usize, multiport: bool, work: &mut Work) -> Result<(), Broken> {
    let receive = receive_queue(number);
    let transmit = receive + 1;
    while !port.is_full()
        && let Some(chain) = work.take(transmit)?
    {
        if chain.read_len() > OUTPUT_MAX as u64 {
            return Err(Broken::Request);
        }
        if let Some(output) = &mut port.output {
            chain.read_to(work.ram, 0, chain.read_len(), output);
        }
        work.give(transmit, chain, 0)?;
    }
    if port.is_full() {
        work.leave();
    }
    // A stream that nobody has open would lose what it is sent.
    let listens = !multiport || port.open;
    while listens && !port.input.is_empty() {
        let Some(chain) = work.take(receive)? else { break };
        let (bytes, _) = port.input.as_slices();
        let written = chain.write(work.ram, 0, &bytes[..bytes.len().min(CHUNK)]);
        port.input.drain(..written as usize);
        work.give(receive, chain, written)?;
        if written == 0 {
            // A buffer without room: the driver's mistake. The next may have some.
            continue;
        }
    }
    Ok(())
}

impl VirtioDevice for Console {
    fn device_type(&self) -> DeviceType {
        DeviceType::Console
    }

    fn queues(&self) -> &[u16] {
        &self.queues
    }

    fn features(&self) -> u64 {
        feature::MULTIPORT | feature::EMERG_WRITE
    }

    /// 5.3.4: columns and rows (not offered, as in QEMU: Linux and the specification disagree about their order), ports,
    /// emergency write.
    fn config(&self) -> Vec<u8> {
        let mut c = vec![0; 4];
        c.extend((self.ports.len().max(1) as u32).to_le_bytes());
        c.extend(0_u32.to_le_bytes());
        c
    }

    fn write_config(&mut self, offset: u64, bytes: &[u8]) {
        if let (EMERG_WRITE_AT, Some(byte), Some(port)) = (offset, bytes.first(), self.port_mut(0))
            && !port.is_full()
            && let Some(output) = &mut port.output
        {
            output.push(*byte);
        }
    }

    fn process(&mut self, work: &mut Work) -> Result<(), Broken> {
        let multiport = work.features & feature::MULTIPORT != 0;
        if multiport {
            self.exchange_control(work)?;
        }
        let ports = if multiport { self.ports.len() } else { self.ports.len().min(1) };
        for (number, port) in self.ports[..ports].iter_mut().enumerate() {
            if let Some(port) = port {
                exchange(port, number, multiport, work)?;
            }
        }
        Ok(())
    }

    fn reset(&mut self) {
        self.control.clear();
        self.ports.iter_mut().flatten().for_each(|p| (p.ready, p.open) = (false, false));
    }
}
