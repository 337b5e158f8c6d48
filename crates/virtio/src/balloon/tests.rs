use super::*;
use crate::testing::{RAM, Rig};
use bus::Width;

fn rig() -> Rig<Balloon> {
    Rig::new(Balloon::new(), feature::STATS_VQ)
}

#[test]
fn the_host_asks_and_the_driver_answers() {
    let mut r = rig();
    r.dev.device_mut().set_wanted(512);
    r.work();
    assert_eq!(r.read(0x2000, Width::B1), 2, "a configuration interrupt");
    assert_eq!((r.read(0x3000, Width::B4), r.read(0x3004, Width::B4)), (512, 0));
    r.work();
    assert_eq!(r.read(0x2000, Width::B1), 0, "once");
    let page = 3 << 20;
    r.put(page, &[7; 8192]);
    let pages = [(page as u32 / 4096).to_le_bytes(), u32::MAX.to_le_bytes(), (RAM as u32 / 4096).to_le_bytes()];
    r.request(INFLATE, &[&pages.concat()], 0);
    let at = page as usize;
    assert_eq!((r.ram[at + 4095], r.ram[at + 4096]), (0, 7), "one page is given up, no other");
    r.write(0x3004, Width::B4, 1);
    r.write(0x3000, Width::B4, 99);
    assert_eq!((r.dev.device().actual(), r.read(0x3000, Width::B4)), (1, 512));
    r.request(DEFLATE, &[&pages.concat()], 0);
    r.write(0x3004, Width::B2, 0);
    assert_eq!(r.dev.device().actual(), 0);
}

#[test]
fn pages_given_up_are_zeroed_in_parts() {
    use bus::pci::PciFunction;
    let mut r = rig();
    let list = (3_u32 << 20 >> 12).to_le_bytes().repeat(REQUEST_PAGES as usize);
    r.post(INFLATE, &[&list], 0);
    (1..16).for_each(|_| r.offer(INFLATE, 0));
    r.kick(INFLATE);
    let mut parts = vec![r.used(INFLATE).len()];
    while r.dev.wants_transfer() {
        r.work();
        parts.push(r.used(INFLATE).len());
    }
    assert_eq!(parts, [4; 4], "of 4 MiB each");
}

#[test]
fn statistics_come_when_they_are_asked_for() {
    let mut r = rig();
    let first = r.post(STATS, &[&[4, 0, 1, 2, 0, 0, 0, 0, 0, 0, 5, 0, 9, 0, 0, 0, 0, 0, 0, 0, 1]], 0);
    r.kick(STATS);
    assert_eq!(r.used(STATS), [], "the device keeps the buffer");
    assert_eq!(r.dev.device().stats(), [(4, 0x201), (5, 9)], "what is cut off is no statistic");
    r.dev.device_mut().ask_for_stats();
    r.work();
    assert_eq!(r.used(STATS), [(first.head, 0)]);
    r.post(STATS, &[&[4, 0, 3, 0, 0, 0, 0, 0, 0, 0]], 0);
    r.kick(STATS);
    assert_eq!(r.dev.device().stats(), [(4, 3)]);
}
