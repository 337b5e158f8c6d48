//! The cables between network cards and networks. A network is shared by its card, which gives and takes frames while RAM may be
//! touched, and the board, which tells it the time and what the host says.

use std::cell::RefCell;
use std::rc::Rc;

use netstack::{ChannelId, Event, Frame, Net, Offload};
use virtio::net::{Frame as CardFrame, NetBackend, Offloads, PartialChecksum, Segmentation, Tcp};

struct Shared {
    net: Net,
    now_ns: u64,
    /// Something has happened since the network was last polled.
    moved: bool,
}

/// A card's end.
pub struct Cable(Rc<RefCell<Shared>>);

/// The board's end of all cables.
#[derive(Default)]
pub struct Networks(Vec<Rc<RefCell<Shared>>>);

impl Networks {
    /// Another network; returns the card's end of its cable.
    pub fn add(&mut self, net: Net) -> Cable {
        let shared = Rc::new(RefCell::new(Shared { net, now_ns: 0, moved: true }));
        self.0.push(shared.clone());
        Cable(shared)
    }

    /// It is guest time `now_ns`: cards may transfer.
    pub fn set_time(&mut self, now_ns: u64) {
        for shared in &self.0 {
            let mut shared = shared.borrow_mut();
            shared.now_ns = now_ns;
            shared.moved |= shared.net.next_deadline().is_some_and(|at| at <= now_ns);
        }
    }

    /// Cards have transferred. One that has no driver, or no room for a frame, asks for nothing; what is due in its network is done all the same, as it would stay due.
    pub fn settle(&mut self) {
        for shared in &self.0 {
            let Shared { net, now_ns, .. } = &mut *shared.borrow_mut();
            if net.next_deadline().is_some_and(|at| at <= *now_ns) {
                net.poll(*now_ns);
            }
        }
    }

    /// Guest time at which the cards are to transfer.
    pub fn deadline(&self) -> Option<u64> {
        self.0.iter().filter_map(|shared| shared.borrow().net.next_deadline()).min()
    }

    /// Something that the host says of a channel.
    pub fn event(&mut self, id: ChannelId, event: Event) {
        if let Some(shared) = self.0.get(id.net()) {
            let mut shared = shared.borrow_mut();
            shared.net.event(id, event);
            shared.moved = true;
        }
    }

    /// The machine was reset.
    pub fn reset(&mut self) {
        self.0.iter().for_each(|shared| shared.borrow_mut().net.reset());
    }
}

impl Shared {
    fn receive(&mut self) -> Option<Frame> {
        if let Some(frame) = self.net.receive() {
            // There is room again.
            self.moved = true;
            return Some(frame);
        }
        if !std::mem::take(&mut self.moved) {
            return None;
        }
        self.net.poll(self.now_ns);
        self.net.receive()
    }
}

impl NetBackend for Cable {
    fn send(&mut self, mut frame: CardFrame) {
        let mut shared = self.0.borrow_mut();
        if !shared.net.offloads() {
            frame.finish_checksum();
        }
        shared.net.transmit(&frame.bytes);
        shared.moved = true;
    }

    fn receive(&mut self, offloads: Offloads) -> Option<CardFrame> {
        let mut shared = self.0.borrow_mut();
        shared.net.set_offload(offloads.checksum && offloads.tcp4);
        let frame = shared.receive()?;
        let (start, offset) = Frame::CHECKSUM;
        let partial = Some(PartialChecksum { start, offset });
        let (checksum, segmentation) = match frame.offload {
            Offload::None => (None, None),
            Offload::Checksum => (partial, None),
            Offload::Segment(size) => {
                // Without options: what this network sends after a SYN has none.
                let header_len = start + 20;
                (partial, Some(Segmentation { tcp: Tcp::V4, size: size.get(), header_len }))
            }
        };
        Some(CardFrame { bytes: frame.bytes, checksum, segmentation })
    }

    fn offloads(&self) -> bool {
        self.0.borrow().net.offloads()
    }
}
