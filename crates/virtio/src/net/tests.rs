use super::spec::{control, feature};
use super::*;
use crate::testing::Rig;
use bus::Width;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

#[derive(Clone, Default)]
struct Wire {
    sent: Rc<RefCell<Vec<Frame>>>,
    coming: Rc<RefCell<VecDeque<Frame>>>,
    down: Rc<Cell<bool>>,
}

impl NetBackend for Wire {
    fn send(&mut self, frame: Frame) {
        self.sent.borrow_mut().push(frame);
    }

    fn receive(&mut self, _: Offloads) -> Option<Frame> {
        self.coming.borrow_mut().pop_front()
    }

    fn link_up(&self) -> bool {
        !self.down.get()
    }
}

impl Wire {
    fn rig(&self, features: u64) -> Rig<Net> {
        Rig::new(Net::new(Box::new(self.clone()), MAC), features)
    }

    fn give(&self, frame: Frame) {
        self.coming.borrow_mut().push_back(frame);
    }
}

fn plain(bytes: &[u8]) -> Frame {
    Frame { bytes: bytes.to_vec(), ..Frame::default() }
}

#[test]
fn frames_go_out_with_what_the_driver_says_of_them() {
    let wire = Wire::default();
    let mut r = wire.rig(feature::CSUM | feature::HOST_TSO4);
    r.request(TRANSMIT, &[&[0; 12], b"frame"], 0);
    let header = [1, 1, 54, 0, 0xb4, 5, 34, 0, 16, 0, 0, 0];
    r.request(TRANSMIT, &[&header, &[9; 3000]], 0);
    let sent = wire.sent.borrow().clone();
    assert_eq!(sent[0], plain(b"frame"));
    assert_eq!(sent[1].checksum, Some(PartialChecksum { start: 34, offset: 16 }));
    assert_eq!(sent[1].segmentation, Some(Segmentation { tcp: Tcp::V4, size: 1460, header_len: 54 }));
    for wrong in [
        [1, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0], // checksum beyond the frame
        [0, 1, 54, 0, 0xb4, 5, 34, 0, 16, 0, 0, 0],       // segments without a checksum
        [1, 1, 54, 0, 0, 0, 34, 0, 16, 0, 0, 0],          // of no size
        [0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],             // of an unknown protocol
    ] {
        r.request(TRANSMIT, &[&wrong, &[9; 100]], 0);
    }
    assert_eq!((wire.sent.borrow().len(), r.dev.device().dropped()), (2, 4));
    r.post(TRANSMIT, &[&[0; 11]], 0);
    r.kick(TRANSMIT);
    assert!(r.needs_reset(), "a header that is cut off");
}

#[test]
fn a_frame_fills_as_many_buffers_as_it_needs() {
    let wire = Wire::default();
    let mut r = wire.rig(feature::MRG_RXBUF);
    let bytes: Vec<u8> = (0..200).collect();
    let buffers: Vec<_> = (0..2).map(|_| r.post(RECEIVE, &[], 100)).collect();
    wire.give(plain(&bytes));
    r.work();
    assert_eq!(r.used(RECEIVE), [], "212 bytes do not fit two buffers of 100");
    let third = r.post(RECEIVE, &[], 100);
    r.kick(RECEIVE);
    assert_eq!(r.used(RECEIVE), [(buffers[0].head, 100), (buffers[1].head, 100), (third.head, 12)]);
    let got = [buffers[0], buffers[1], third].map(|b| r.written(b).to_vec()).concat();
    assert_eq!((&got[..12], &got[12..212]), (&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0][..], &bytes[..]));
}

#[test]
fn checksums_are_made_for_drivers_that_want_them_made() {
    // A sum that RFC 1071 gives: 0001 f203 f4f5 f6f7 make ddf2, complemented 220d.
    let bytes = [0, 1, 0xf2, 3, 0xf4, 0xf5, 0xf6, 0xf7, 0, 0];
    let frame = Frame { checksum: Some(PartialChecksum { start: 0, offset: 8 }), ..plain(&bytes) };
    for (features, flags, sum) in [(0, 0, [0x22, 0x0d]), (feature::GUEST_CSUM, 1, [0, 0])] {
        let wire = Wire::default();
        let mut r = wire.rig(features);
        wire.give(frame.clone());
        let got = r.request(RECEIVE, &[], 100);
        assert_eq!((got[0], &got[20..22]), (flags, &sum[..]));
    }
}

#[test]
fn a_frame_that_the_driver_cannot_take_is_dropped() {
    let wire = Wire::default();
    let mut r = wire.rig(0);
    let segmentation = Some(Segmentation { tcp: Tcp::V4, size: 100, header_len: 54 });
    wire.give(Frame { segmentation, ..plain(&[1; 60]) });
    wire.give(plain(&[2; 60]));
    assert_eq!(r.request(RECEIVE, &[], 100)[12..], [2; 60]);
    assert_eq!(r.dev.device().dropped(), 1);
    wire.give(plain(&[3; 600]));
    assert_eq!(r.request(RECEIVE, &[], 100).len(), 12, "too long for the buffer: a header alone");
}

#[test]
fn the_control_queue() {
    let wire = Wire::default();
    let mut r = wire.rig(feature::CTRL_VQ | feature::GUEST_CSUM | feature::CTRL_GUEST_OFFLOADS);
    let ask = |r: &mut Rig<Net>, command: &[u8]| r.request(CONTROL, &[command], 1)[0];
    assert_eq!(ask(&mut r, &[control::RX, 0, 1]), control::OK);
    assert_eq!(ask(&mut r, &[control::MAC, 1, 2, 0, 0, 0, 0, 9]), control::OK);
    assert_eq!(ask(&mut r, &[control::MAC, 1, 2]), control::ERR);
    assert_eq!(ask(&mut r, &[4, 0, 1, 0]), control::ERR, "no further queues");
    assert_eq!((r.read(0x3000, Width::B4), r.read(0x3004, Width::B2)), (2, 0x0900));
    assert_eq!(ask(&mut r, &[control::GUEST_OFFLOADS, 0, 0, 0, 0, 0, 0, 0, 0, 0]), control::OK);
    assert!(!r.dev.device().offloads(feature::GUEST_CSUM).checksum);
    r.start(crate::spec::feature::VERSION_1);
    let mac = [r.read(0x3000, Width::B4) as u32, r.read(0x3004, Width::B2) as u32].map(u32::to_le_bytes).concat();
    assert_eq!(mac[..6], MAC, "the next driver finds the card's own, as in QEMU");
    assert!(r.dev.device().offloads(feature::GUEST_CSUM).checksum);
}

#[test]
fn a_pulled_cable_is_noticed() {
    let wire = Wire::default();
    let mut r = wire.rig(feature::STATUS);
    assert_eq!((r.read(0x3006, Width::B2), r.get(21, Width::B1)), (1, 0));
    wire.down.set(true);
    r.work();
    assert_eq!((r.read(0x3006, Width::B2), r.get(21, Width::B1)), (0, 1), "status, generation");
    assert_eq!(r.read(0x2000, Width::B1), 2, "a configuration interrupt");
    r.request(TRANSMIT, &[&[0; 12], b"frame"], 0);
    assert!(wire.sent.borrow().is_empty());
}
