use super::spec::{code, ev, select};
use super::*;
use crate::testing::Rig;
use bus::Width;

/// What the configuration says of `select`, `subsel`.
fn ask(r: &mut Rig<Input>, select: u8, subsel: u16) -> Vec<u8> {
    r.write(0x3000, Width::B1, select.into());
    r.write(0x3001, Width::B1, subsel.into());
    let size = r.read(0x3002, Width::B1);
    (0..size).map(|i| r.read(0x3008 + i, Width::B1) as u8).collect()
}

fn has(bits: &[u8], code: u16) -> bool {
    bits.get(usize::from(code / 8)).is_some_and(|b| b >> (code % 8) & 1 != 0)
}

#[test]
fn a_keyboard_has_keys_and_leds() {
    let mut r = Rig::new(Input::new(InputKind::Keyboard), 0);
    assert_eq!(ask(&mut r, select::ID_NAME, 0), b"pagevm virtio keyboard");
    assert_eq!(ask(&mut r, select::ID_DEVIDS, 0), [6, 0, 0xf4, 0x1a, 1, 0, 1, 0]);
    let keys = ask(&mut r, select::EV_BITS, ev::KEY);
    assert!(has(&keys, 30) && has(&keys, 248) && !has(&keys, 0) && !has(&keys, code::BTN_LEFT));
    assert_eq!(ask(&mut r, select::EV_BITS, ev::LED), [7]);
    assert_eq!(ask(&mut r, select::EV_BITS, ev::ABS), []);
    assert_eq!(ask(&mut r, 0x55, 0), []);
}

#[test]
fn a_tablet_has_axes() {
    let mut r = Rig::new(Input::new(InputKind::Tablet), 0);
    assert_eq!(ask(&mut r, select::EV_BITS, ev::ABS), [3]);
    let info = ask(&mut r, select::ABS_INFO, code::ABS_Y);
    assert_eq!((info.len(), &info[..8]), (20, &[0, 0, 0, 0, 0xff, 0x7f, 0, 0][..]));
    assert_eq!(ask(&mut r, select::ABS_INFO, 2), []);
    assert!(has(&ask(&mut r, select::EV_BITS, ev::KEY), code::BTN_LEFT));
    let mut r = Rig::new(Input::new(InputKind::Mouse), 0);
    assert_eq!(ask(&mut r, select::EV_BITS, ev::REL), [3, 1]);
}

#[test]
fn events_arrive_one_a_buffer() {
    let mut r = Rig::new(Input::new(InputKind::Keyboard), 0);
    let a = InputEvent { kind: ev::KEY, code: 30, value: 1 };
    assert!(r.dev.device_mut().inject(&[a]));
    let first = r.post(0, &[], 8);
    r.kick(0);
    assert_eq!(r.used(0), [(first.head, 8)]);
    assert_eq!(r.written(first), [1, 0, 30, 0, 1, 0, 0, 0]);
    assert_eq!(r.request(0, &[], 8), [0; 8], "SYN_REPORT waited for a buffer");
    assert!(!r.dev.device_mut().inject(&[a; EVENTS_MAX]), "all or none");
}

#[test]
fn the_guest_lights_leds() {
    let mut r = Rig::new(Input::new(InputKind::Keyboard), 0);
    r.request(1, &[&[0x11, 0, 1, 0, 1, 0, 0, 0]], 0);
    assert_eq!(r.dev.device().leds(), 2);
    r.request(1, &[&[0x11, 0, 99, 0, 1, 0, 0, 0]], 0);
    r.request(1, &[&[0x11]], 0);
    assert_eq!(r.dev.device().leds(), 2);
    r.request(1, &[&[0x11, 0, 1, 0, 0, 0, 0, 0]], 0);
    assert_eq!(r.dev.device().leds(), 0);
}
