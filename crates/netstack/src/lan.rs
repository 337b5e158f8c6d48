//! A cable shared with other machines: raw frames, as QEMU's `-netdev socket,mcast=` has them.

use crate::channel::{ChannelId, Channels, Event, Ids, Kind};
use options::LanNet;
use std::collections::VecDeque;
use thiserror::Error;

/// Frames that wait for the guest; a switch too has only so many.
const WAITING: usize = 512;
/// Longest frame on the cable, with the tag of a VLAN (IEEE 802.1Q): nobody there segments.
const FRAME: usize = 1518;
/// Shortest thing that has a header.
const HEADER: usize = 14;

/// This host has nothing that could be shared.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("socket,mcast=: this host can share no network; a browser (BroadcastChannel) or Node can")]
pub struct NoLan;

/// One machine's end of the cable.
pub struct Lan {
    channels: Box<dyn Channels>,
    id: ChannelId,
    waiting: VecDeque<Vec<u8>>,
}

impl Lan {
    /// # Errors
    /// The host has no such channel.
    pub fn new(net: LanNet, mut channels: Box<dyn Channels>, ids: &Ids) -> Result<Self, NoLan> {
        if !channels.supports(Kind::Lan) {
            return Err(NoLan);
        }
        let id = ids.next();
        channels.open(id, Kind::Lan, &format!("{}:{}", net.group, net.port));
        Ok(Self { channels, id, waiting: VecDeque::new() })
    }

    /// A frame from the guest, complete with checksums.
    pub fn transmit(&mut self, frame: &[u8]) {
        if (HEADER..=FRAME).contains(&frame.len()) {
            self.channels.send(self.id, frame);
        }
    }

    /// The next frame for the guest.
    pub fn receive(&mut self) -> Option<Vec<u8>> {
        self.waiting.pop_front()
    }

    /// Something that the host says of a channel.
    pub fn event(&mut self, id: ChannelId, event: Event) {
        match event {
            _ if id != self.id => {}
            Event::Data(frame) if (HEADER..=FRAME).contains(&frame.len()) && self.waiting.len() < WAITING => {
                self.waiting.push_back(frame);
            }
            Event::Closed(reason) => log::error!("socket,mcast=: {reason}"),
            _ => {}
        }
    }

    /// The guest was reset.
    pub fn reset(&mut self) {
        self.waiting.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::rc::Rc;

    struct Sent(Rc<RefCell<Vec<Vec<u8>>>>);

    impl Channels for Sent {
        fn supports(&self, _: Kind) -> bool {
            true
        }
        fn open(&mut self, _: ChannelId, _: Kind, _: &str) {}
        fn send(&mut self, _: ChannelId, data: &[u8]) {
            self.0.borrow_mut().push(data.to_vec());
        }
        fn finish(&mut self, _: ChannelId) {}
        fn close(&mut self, _: ChannelId) {}
        fn credit(&mut self, _: ChannelId, _: usize) {}
    }

    #[test]
    fn a_full_frame_of_a_vlan_crosses() {
        let net = LanNet { group: [230, 0, 0, 1].into(), port: 1234 };
        let sent = Rc::default();
        let mut lan = Lan::new(net, Box::new(Sent(Rc::clone(&sent))), &Ids::default()).unwrap();
        let mut frame = vec![0; 14 + 4 + 1500];
        frame[12..14].copy_from_slice(&[0x81, 0]);
        lan.transmit(&frame);
        assert!(sent.borrow().iter().eq([&frame]));
        lan.event(lan.id, Event::Data(frame.clone()));
        assert!(lan.receive().is_some_and(|got| got == frame));
        frame.push(0);
        lan.transmit(&frame);
        assert_eq!(sent.borrow().len(), 1);
    }
}
