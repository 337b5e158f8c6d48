//! The network device (virtio 1.2, 5.1): one pair of queues and the control queue, checksums and TCP segmentation left to the
//! other side where both agree.

mod frame;
pub mod spec;
#[cfg(test)]
mod tests;

pub use frame::{Frame, Offloads, PartialChecksum, Segmentation, Tcp};
use spec::{CONTROL, HEADER, LINK_UP, NUM_BUFFERS_AT, RECEIVE, TRANSMIT, control, feature};

use crate::chain::Chain;
use crate::device::{VirtioDevice, Work};
use crate::queue::Broken;
use crate::spec::DeviceType;

const QUEUE: u16 = 256;
/// Bytes of a frame at most: 64 KiB of IP and the Ethernet header with a VLAN tag.
const FRAME_MAX: u64 = 65_535 + 18;
/// Buffers that one frame is spread over at most.
const BUFFERS_MAX: usize = 64;

/// The other end of the wire. Never blocks.
pub trait NetBackend {
    /// Takes a frame from the guest, with a checksum and a size that may still have to be made.
    fn send(&mut self, frame: Frame);
    /// Gives the next frame for the guest, one that it takes as it is: [`Frame::suits`] `offloads`.
    fn receive(&mut self, offloads: Offloads) -> Option<Frame>;
    /// Whether it takes frames that have to be segmented, or whose checksum has to be made.
    fn offloads(&self) -> bool {
        true
    }
    /// Whether the cable is plugged in.
    fn link_up(&self) -> bool {
        true
    }
}

/// A network card.
pub struct Net {
    backend: Box<dyn NetBackend>,
    mac: [u8; 6],
    /// The address before a driver has set another.
    own_mac: [u8; 6],
    /// What the driver has switched off of the offloads it negotiated.
    offloads_set: Option<u64>,
    link: bool,
    /// A frame for which there are not enough buffers.
    held: Option<Frame>,
    /// Frames dropped because they were wrong.
    dropped: u64,
}

impl Net {
    pub fn new(backend: Box<dyn NetBackend>, mac: [u8; 6]) -> Self {
        let link = backend.link_up();
        Self { backend, mac, own_mac: mac, offloads_set: None, link, held: None, dropped: 0 }
    }

    /// Frames that were dropped because driver or backend described them wrongly.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    fn offloads(&self, negotiated: u64) -> Offloads {
        let on = self.offloads_set.map_or(negotiated, |set| negotiated & set);
        Offloads {
            checksum: on & feature::GUEST_CSUM != 0,
            tcp4: on & feature::GUEST_TSO4 != 0,
            tcp6: on & feature::GUEST_TSO6 != 0,
        }
    }

    fn transmit(&mut self, work: &mut Work) -> Result<(), Broken> {
        while let Some(chain) = work.take(TRANSMIT)? {
            let header: [u8; HEADER] = chain.read(work.ram, 0).ok_or(Broken::Request)?;
            let len = chain.read_len() - HEADER as u64;
            if len > FRAME_MAX {
                return Err(Broken::Request);
            }
            let mut bytes = Vec::with_capacity(len as usize);
            chain.read_to(work.ram, HEADER as u64, len, &mut bytes);
            match Frame::from_driver(header, bytes) {
                Some(frame) if self.link => self.backend.send(frame),
                Some(_) => {}
                None => self.dropped += 1,
            }
            work.give(TRANSMIT, chain, 0)?;
        }
        Ok(())
    }

    fn receive(&mut self, work: &mut Work) -> Result<(), Broken> {
        let offloads = self.offloads(work.features);
        loop {
            let Some(mut frame) = self.held.take().or_else(|| self.backend.receive(offloads)) else { return Ok(()) };
            if !offloads.checksum && frame.segmentation.is_none() {
                frame.finish_checksum();
            }
            if !frame.suits(offloads) || frame.bytes.len() as u64 > FRAME_MAX {
                self.dropped += 1;
                continue;
            }
            if !deliver(&frame, work)? {
                self.held = Some(frame);
                return Ok(());
            }
        }
    }

    /// One command of the control queue; the answer.
    fn command(&mut self, chain: &Chain, work: &Work) -> Result<u8, Broken> {
        let [class, command] = chain.read(work.ram, 0).ok_or(Broken::Request)?;
        Ok(match (class, command) {
            // Every frame is passed on, which suits every filter.
            (control::RX, _) | (control::MAC, control::MAC_TABLE_SET) => control::OK,
            (control::MAC, control::MAC_ADDR_SET) => match chain.read(work.ram, 2) {
                Some(mac) => {
                    self.mac = mac;
                    control::OK
                }
                None => control::ERR,
            },
            (control::GUEST_OFFLOADS, 0) => match chain.read(work.ram, 2).map(u64::from_le_bytes) {
                Some(set) => {
                    self.offloads_set = Some(set);
                    control::OK
                }
                None => control::ERR,
            },
            _ => control::ERR,
        })
    }
}

/// Writes a frame to the driver's buffers: to one, or (with MRG_RXBUF) to as many as it needs. False where there are too
/// few; they are then kept for the next time.
fn deliver(frame: &Frame, work: &mut Work) -> Result<bool, Broken> {
    let total = (HEADER + frame.bytes.len()) as u64;
    let merges = work.features & feature::MRG_RXBUF != 0;
    let mut chains: Vec<Chain> = Vec::new();
    let mut room = 0;
    while room < total {
        if chains.len() == if merges { BUFFERS_MAX } else { 1 } {
            // It can never fit: the driver's buffers are too small for it.
            return drop_frame(chains, work).map(|()| true);
        }
        let Some(chain) = work.take(RECEIVE)? else {
            chains.into_iter().rev().for_each(|c| work.put_back(RECEIVE, c));
            return Ok(false);
        };
        if chain.write_len() < HEADER as u64 {
            return Err(Broken::Request);
        }
        room += chain.write_len();
        chains.push(chain);
    }
    let header = frame.header(chains.len() as u16);
    debug_assert_eq!(header.len(), NUM_BUFFERS_AT + 2);
    let mut at = 0;
    for (i, chain) in chains.into_iter().enumerate() {
        let mut written = 0;
        if i == 0 {
            written = chain.write(work.ram, 0, &header);
        }
        let n = chain.write(work.ram, written.into(), &frame.bytes[at..]);
        at += n as usize;
        work.give(RECEIVE, chain, written + n)?;
    }
    Ok(true)
}

/// The buffers go back empty but for a header, which drivers drop as too short a frame.
fn drop_frame(chains: Vec<Chain>, work: &mut Work) -> Result<(), Broken> {
    for chain in chains {
        let written = chain.write(work.ram, 0, &Frame::default().header(1));
        work.give(RECEIVE, chain, written)?;
    }
    Ok(())
}

impl VirtioDevice for Net {
    fn device_type(&self) -> DeviceType {
        DeviceType::Net
    }

    fn queues(&self) -> &[u16] {
        &[QUEUE, QUEUE, 64]
    }

    fn features(&self) -> u64 {
        use feature::{CSUM, CTRL_GUEST_OFFLOADS, CTRL_MAC_ADDR, CTRL_RX, CTRL_VQ, GUEST_CSUM, GUEST_TSO4, GUEST_TSO6};
        use feature::{HOST_TSO4, HOST_TSO6, MAC, MRG_RXBUF, STATUS};
        let offloads = if self.backend.offloads() { CSUM | HOST_TSO4 | HOST_TSO6 } else { 0 };
        offloads
            | GUEST_CSUM
            | CTRL_GUEST_OFFLOADS
            | MAC
            | GUEST_TSO4
            | GUEST_TSO6
            | MRG_RXBUF
            | STATUS
            | CTRL_VQ
            | CTRL_RX
            | CTRL_MAC_ADDR
    }

    fn config(&self) -> Vec<u8> {
        let mut c = self.mac.to_vec();
        c.extend(if self.link { LINK_UP } else { 0 }.to_le_bytes());
        c
    }

    fn process(&mut self, work: &mut Work) -> Result<(), Broken> {
        let link = self.backend.link_up();
        if std::mem::replace(&mut self.link, link) != link {
            work.change_config();
        }
        while let Some(chain) = work.take(CONTROL)? {
            let code = self.command(&chain, work)?;
            let written = chain.write(work.ram, 0, &[code]);
            work.give(CONTROL, chain, written)?;
        }
        self.transmit(work)?;
        self.receive(work)
    }

    fn reset(&mut self) {
        (self.mac, self.offloads_set, self.held) = (self.own_mac, None, None);
    }
}
