use super::spec::{feature, request, status};
use super::*;
use crate::testing::Rig;
use std::cell::RefCell;
use std::rc::Rc;
use storage::Disk;

fn image() -> Vec<u8> {
    (0..64 * 512_u32).map(|i| (i / 512 * 7 + i % 251) as u8).collect()
}

fn disk(read_only: bool) -> Rig<Blk> {
    let options = DiskOptions { serial: "serial number 42".into(), physical_block: 4096, ..DiskOptions::default() };
    let device = Blk::new(Box::new(Disk::memory("disk.img", image(), read_only)), options);
    Rig::new(device, feature::FLUSH | feature::BLK_SIZE)
}

fn head(kind: u32, sector: u64) -> Vec<u8> {
    let mut h = Vec::from(kind.to_le_bytes());
    h.extend([0; 4]);
    h.extend(sector.to_le_bytes());
    h
}

/// One range of a discard or write-zeroes request.
fn range(sector: u64, sectors: u32, flags: u32) -> Vec<u8> {
    [&sector.to_le_bytes()[..], &sectors.to_le_bytes(), &flags.to_le_bytes()].concat()
}

fn read(r: &mut Rig<Blk>, sector: u64, sectors: usize) -> Vec<u8> {
    let mut got = r.request(0, &[&head(request::IN, sector)], sectors * 512 + 1);
    assert_eq!(got.pop(), Some(status::OK));
    got
}

#[test]
fn reads_and_writes_over_any_descriptors() {
    let mut r = disk(false);
    assert_eq!(read(&mut r, 3, 2), image()[3 * 512..5 * 512]);
    let data = [[0xaa; 100].to_vec(), [0xbb; 412].to_vec(), [0xcc; 512].to_vec()];
    let header = head(request::OUT, 62);
    let (h1, h2) = header.split_at(5);
    let answer = r.request(0, &[h1, h2, &data[0], &data[1], &data[2]], 1);
    assert_eq!(answer, [status::OK]);
    assert_eq!(read(&mut r, 62, 2), data.concat());
    assert_eq!(read(&mut r, 0, 62), image()[..62 * 512]);
    assert_eq!(r.request(0, &[&head(request::FLUSH, 0)], 1), [status::OK]);
}

#[test]
fn what_the_disk_cannot_do_is_an_error() {
    let mut r = disk(false);
    for (kind, sector, data, room, want) in [
        (request::IN, 64, 0, 513, status::IOERR),
        (request::IN, 63, 0, 1025, status::IOERR),
        (request::IN, u64::MAX, 0, 513, status::IOERR),
        (request::IN, 1 << 55, 0, 513, status::IOERR),
        (request::IN, 0, 0, 101, status::IOERR),
        (request::OUT, 64, 512, 1, status::IOERR),
        (request::OUT, 0, 100, 1, status::IOERR),
        (5, 0, 0, 1, status::UNSUPP),
        (u32::MAX, 0, 0, 1, status::UNSUPP),
    ] {
        let posted = r.post(0, &[&head(kind, sector), &vec![1; data]], room);
        r.kick(0);
        assert_eq!(r.used(0).len(), 1);
        assert_eq!(r.written(posted).last(), Some(&want), "{kind} {sector}");
    }
    assert_eq!(read(&mut r, 0, 64), image());
}

#[test]
fn a_read_only_disk_takes_no_writes() {
    let mut r = disk(true);
    assert_ne!(r.offered() & feature::RO, 0);
    assert_eq!(r.offered() & (feature::DISCARD | feature::WRITE_ZEROES), 0);
    assert_eq!(r.request(0, &[&head(request::OUT, 0), &[1; 512]], 1), [status::IOERR]);
    assert_eq!(r.request(0, &[&head(request::WRITE_ZEROES, 0), &range(0, 1, 0)], 1), [status::IOERR]);
    assert_eq!(read(&mut r, 0, 64), image());
}

#[test]
fn ranges_are_zeroed_and_discarded() {
    let mut r = disk(false);
    let two = [range(1, 2, 0), range(10, 1, 1)].concat();
    assert_eq!(r.request(0, &[&head(request::WRITE_ZEROES, 0), &two], 1), [status::OK]);
    let mut want = image();
    want[512..3 * 512].fill(0);
    want[10 * 512..11 * 512].fill(0);
    assert_eq!(read(&mut r, 0, 64), want);
    assert_eq!(r.request(0, &[&head(request::DISCARD, 0), &range(20, 4, 0)], 1), [status::OK]);
    // a disk that is large enough, and does nothing
    let slow = Slow { capacity: 1 << 40, ..Slow::default() };
    let mut large = Rig::new(Blk::new(Box::new(slow), DiskOptions::default()), 0);
    for (kind, ranges) in [
        (request::DISCARD, range(0, DISCARD_SECTORS + 1, 0)),
        (request::WRITE_ZEROES, range(0, ZEROES_SECTORS + 1, 0)),
        (request::WRITE_ZEROES, range(0, ZEROES_SECTORS / 2 + 1, 0).repeat(2)),
    ] {
        assert_eq!(large.request(0, &[&head(kind, 0), &ranges], 1), [status::IOERR], "{kind} {ranges:?}");
    }
    for (kind, ranges, code) in [
        (request::DISCARD, range(20, 4, 1), status::UNSUPP),
        (request::WRITE_ZEROES, range(20, 4, 2), status::UNSUPP),
        (request::WRITE_ZEROES, range(63, 2, 0), status::IOERR),
        (request::WRITE_ZEROES, range(u64::MAX, 2, 0), status::IOERR),
        (request::WRITE_ZEROES, vec![0; 15], status::IOERR),
        (request::WRITE_ZEROES, vec![], status::IOERR),
        (request::WRITE_ZEROES, vec![0; 17 * 16], status::IOERR),
    ] {
        assert_eq!(r.request(0, &[&head(kind, 0), &ranges], 1), [code], "{kind} {ranges:?}");
    }
}

#[test]
fn the_serial_number_and_the_geometry() {
    let mut r = disk(false);
    let posted = r.post(0, &[&head(request::GET_ID, 0)], 21);
    r.kick(0);
    assert_eq!(r.written(posted), b"serial number 42\0\0\0\0\0");
    let config = |r: &mut Rig<Blk>, at: u64, width| r.read(0x3000 + at, width);
    use bus::Width::{B1, B2, B4, B8};
    assert_eq!(config(&mut r, 0, B8), 64, "capacity");
    assert_eq!((config(&mut r, 12, B4), config(&mut r, 20, B4)), (254, 512), "segments, block size");
    assert_eq!((config(&mut r, 24, B1), config(&mut r, 26, B2)), (3, 1), "8 logical blocks in a physical one");
    assert_eq!((config(&mut r, 40, B4), config(&mut r, 56, B1)), (16, 1), "discard segments, unmap");
    assert_eq!((config(&mut r, 36, B4), config(&mut r, 48, B4)), (1 << 19, 1 << 15), "256 MiB, 16 MiB");
    assert_eq!(config(&mut r, 100, B4), 0, "behind the end");
}

#[test]
fn a_request_without_header_or_status_is_no_request() {
    for (out, room) in [(&[0_u8; 15][..], 1), (&[0; 16], 0)] {
        let mut r = disk(false);
        r.post(0, &[out], room);
        r.kick(0);
        assert!(r.needs_reset());
    }
}

/// A backend of a tebibyte whose requests complete at once.
#[derive(Default)]
struct AtOnce(Vec<Tag>);

impl BlockBackend for AtOnce {
    fn capacity(&self) -> u64 {
        1 << 40
    }

    fn read_only(&self) -> bool {
        false
    }

    fn submit(&mut self, tag: Tag, _: Request) {
        self.0.push(tag);
    }

    fn poll(&mut self) -> Option<Completion> {
        self.0.pop().map(|tag| Completion { tag, result: Ok(Vec::new()) })
    }
}

#[test]
fn a_notification_for_much_is_served_in_parts() {
    use bus::pci::PciFunction;
    let zeroes = (request::WRITE_ZEROES, range(0, ZEROES_SECTORS, 0));
    for (kind, data) in [
        (request::OUT, vec![1; 3 << 20]),
        zeroes,
        (request::DISCARD, range(0, DISCARD_SECTORS, 0).repeat(RANGES_MAX as usize)),
    ] {
        let mut r = Rig::new(Blk::new(Box::<AtOnce>::default(), DiskOptions::default()), 0);
        r.post(0, &[&head(kind, 0), &data], 1);
        (1..16).for_each(|_| r.offer(0, 0));
        r.kick(0);
        let mut parts = vec![r.used(0).len()];
        while r.dev.wants_transfer() {
            assert!(r.dev.intx(), "the driver hears of each part");
            r.read(0x2000, bus::Width::B1);
            r.work();
            parts.push(r.used(0).len());
        }
        let each = if kind == request::OUT { 6 } else { 1 };
        assert_eq!(parts.iter().sum::<usize>(), 16, "{kind}");
        assert!(parts.iter().all(|n| *n <= each), "{kind} {parts:?}");
    }
}

/// The driver wants to hear of the 13th chain, and to be asked when all are taken.
#[test]
fn event_indices_hold_where_a_transfer_stops() {
    use bus::pci::PciFunction;
    let mut r = Rig::cold(Blk::new(Box::<AtOnce>::default(), DiskOptions::default()));
    r.start(crate::spec::feature::VERSION_1 | crate::spec::feature::EVENT_IDX);
    let (available, used) = (r.rings[0].available, r.rings[0].used);
    let (used_event, avail_event) = (available + 4 + 2 * 16, used + 4 + 8 * 16);
    r.post(0, &[&head(request::OUT, 0), &vec![1; 3 << 20]], 1);
    r.kick(0);
    r.read(0x2000, bus::Width::B1);
    assert_eq!((r.used(0).len(), r.u16_at(avail_event)), (1, 1));
    r.put(used_event, &12_u16.to_le_bytes());
    (0..16).for_each(|_| r.offer(0, 0));
    let mut heard = Vec::new();
    r.kick(0);
    loop {
        heard.push((r.used(0).len(), r.dev.intx(), r.u16_at(avail_event)));
        r.read(0x2000, bus::Width::B1);
        if !r.dev.wants_transfer() {
            break;
        }
        r.work();
    }
    assert_eq!(heard, [(6, false, 1), (6, true, 1), (4, false, 17)]);
}

/// A backend whose requests complete when the test says so.
#[derive(Clone)]
struct Slow {
    capacity: u64,
    asked: Rc<RefCell<Vec<(Tag, Request)>>>,
    done: Rc<RefCell<Vec<Completion>>>,
}

impl BlockBackend for Slow {
    fn capacity(&self) -> u64 {
        self.capacity
    }

    fn read_only(&self) -> bool {
        false
    }

    fn submit(&mut self, tag: Tag, request: Request) {
        self.asked.borrow_mut().push((tag, request));
    }

    fn poll(&mut self) -> Option<Completion> {
        self.done.borrow_mut().pop()
    }
}

impl Default for Slow {
    fn default() -> Self {
        Self { capacity: 1 << 20, asked: Rc::default(), done: Rc::default() }
    }
}

impl Slow {
    fn complete(&self, n: usize, result: Result<Vec<u8>, BlockError>) {
        let tag = self.asked.borrow()[n].0;
        self.done.borrow_mut().push(Completion { tag, result });
    }
}

#[test]
fn requests_complete_in_any_order_and_a_reset_forgets_them() {
    let slow = Slow::default();
    let mut r = Rig::new(Blk::new(Box::new(slow.clone()), DiskOptions::default()), 0);
    let a = r.post(0, &[&head(request::IN, 0)], 513);
    let b = r.post(0, &[&head(request::IN, 1)], 513);
    let ranges = [range(0, 1, 0), range(1, 1, 0)].concat();
    let c = r.post(0, &[&head(request::WRITE_ZEROES, 0), &ranges], 1);
    r.kick(0);
    assert_eq!((r.used(0), slow.asked.borrow().len()), (vec![], 4));
    slow.complete(1, Ok(vec![0xbb; 512]));
    slow.complete(2, Ok(vec![]));
    r.work();
    assert_eq!(r.used(0), [(b.head, 513)]);
    assert_eq!(r.written(b)[511..], [0xbb, status::OK]);
    slow.complete(3, Err(BlockError::Io { image: "disk.img".into(), reason: "the server is gone".into() }));
    slow.complete(0, Err(BlockError::Io { image: "disk.img".into(), reason: "the server is gone".into() }));
    r.work();
    let mut heads: Vec<_> = r.used(0).iter().map(|u| u.0).collect();
    heads.sort_unstable();
    assert_eq!(heads, [a.head, c.head]);
    assert_eq!((r.written(a)[512], r.written(c)), (status::IOERR, &[status::IOERR][..]));

    r.post(0, &[&head(request::IN, 0)], 513);
    r.kick(0);
    r.start(crate::spec::feature::VERSION_1);
    slow.complete(4, Ok(vec![0xee; 512]));
    r.work();
    assert_eq!(r.used(0), [], "nobody waits for it");
    let after = r.post(0, &[&head(request::IN, 0)], 513);
    r.kick(0);
    slow.complete(5, Ok(vec![0xdd; 512]));
    r.work();
    assert_eq!(r.used(0), [(after.head, 513)]);
}

/// 5.2.6.2: a driver that has not accepted FLUSH takes what is written to be kept once it is told so.
#[test]
fn what_a_driver_without_flush_writes_is_flushed_before_it_hears_of_it() {
    let zeroes = range(0, 1, 0).repeat(2);
    for (kind, data, parts) in [(request::OUT, vec![1; 512], 1), (request::WRITE_ZEROES, zeroes, 2)] {
        for accepted in [0, feature::FLUSH] {
            let slow = Slow::default();
            let mut r = Rig::new(Blk::new(Box::new(slow.clone()), DiskOptions::default()), accepted);
            let posted = r.post(0, &[&head(kind, 0), &data], 1);
            r.kick(0);
            (0..parts).for_each(|n| slow.complete(n, Ok(vec![])));
            r.work();
            if accepted == 0 {
                assert_eq!(r.used(0), [], "{kind}");
                assert_eq!(slow.asked.borrow()[parts..].iter().map(|(_, r)| r).collect::<Vec<_>>(), [&Request::Flush]);
                slow.complete(parts, Err(BlockError::Io { image: "disk.img".into(), reason: "it is full".into() }));
                r.work();
            }
            assert_eq!(r.used(0), [(posted.head, 1)], "{kind}");
            let want = if accepted == 0 { status::IOERR } else { status::OK };
            assert_eq!(r.written(posted), [want], "{kind}");
            r.post(0, &[&head(request::IN, 0)], 513);
            r.kick(0);
            let reading = slow.asked.borrow().len();
            slow.complete(reading - 1, Ok(vec![0; 512]));
            r.work();
            assert_eq!((r.used(0).len(), slow.asked.borrow().len()), (1, reading), "a read needs no flush");
        }
    }
}

/// A backend may do requests in any order: what was written before a reset is done with when the next driver reads and writes.
#[test]
fn what_was_written_before_a_reset_comes_before_what_follows() {
    let one_range = range(0, 1, 0);
    for (kind, data) in
        [(request::OUT, &[1; 512][..]), (request::WRITE_ZEROES, &one_range), (request::DISCARD, &one_range)]
    {
        let slow = Slow::default();
        let mut r = Rig::new(Blk::new(Box::new(slow.clone()), DiskOptions::default()), feature::FLUSH);
        r.post(0, &[&head(kind, 0), data], 1);
        r.kick(0);
        r.start(crate::spec::feature::VERSION_1);
        let next = r.post(0, &[&head(request::IN, 0)], 513);
        r.kick(0);
        assert_eq!(slow.asked.borrow().len(), 1, "{kind}");
        slow.complete(0, Ok(vec![]));
        r.work();
        assert_eq!(slow.asked.borrow().len(), 2, "{kind}");
        slow.complete(1, Ok(vec![0; 512]));
        r.work();
        assert_eq!(r.used(0), [(next.head, 513)], "{kind}");
    }
}

/// 4.2.2.1: what a queue that was stopped had lent the device is the driver's again.
#[test]
fn a_request_of_a_queue_that_is_stopped_writes_nothing_more() {
    use bus::{Clock, DevCtx, Device, IrqLines, Line, Master, MmioAccess, Outbox, Width};
    let slow = Slow::default();
    let mut d = crate::VirtioMmio::new(Blk::new(Box::new(slow.clone()), DiskOptions::default()), Line::new(20));
    let mut cx = DevCtx { irq: &mut IrqLines::default(), out: &mut Outbox::default(), clock: Clock::default() };
    let mut ram = vec![0; 0x6000];
    // a header of zeros reads the first sector
    for (at, bytes) in [
        (0x1000, &[0, 0x40, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 1, 0, 1, 0][..]),
        (0x1010, &[0, 0x50, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 2, 0, 0, 0]),
        (0x2002, &[1]),
    ] {
        ram[at..at + bytes.len()].copy_from_slice(bytes);
    }
    let features = [(0x24, 1), (0x20, 1), (0x70, 0xb)];
    let queue = [(0x38, 4), (0x80, 0x1000), (0x90, 0x2000), (0xa0, 0x3000), (0x44, 1)];
    for (at, v) in features.into_iter().chain(queue).chain([(0x70, 0xf), (0x50, 0)]) {
        d.mmio().unwrap().write(&mut cx, MmioAccess::new(at, Width::B4), v).ok().unwrap();
    }
    d.transfer(&mut cx, &mut ram);
    assert_eq!(slow.asked.borrow().len(), 1);
    d.mmio().unwrap().write(&mut cx, MmioAccess::new(0x44, Width::B4), 0).ok().unwrap();
    let before = ram.clone();
    slow.complete(0, Ok(vec![7; 512]));
    d.transfer(&mut cx, &mut ram);
    assert!(ram == before);
}

/// What is under way in the backend goes on when the driver resets the device, and counts until it is done.
#[test]
fn resets_add_nothing_to_what_is_under_way() {
    let slow = Slow::default();
    let mut r = Rig::new(Blk::new(Box::new(slow.clone()), DiskOptions::default()), 0);
    let under_way = || slow.asked.borrow().len();
    for _ in 0..600 {
        r.post(0, &[&head(request::FLUSH, 0)], 1);
        r.kick(0);
        r.start(crate::spec::feature::VERSION_1);
    }
    assert_eq!(under_way(), usize::from(QUEUE), "requests without bytes");
    let waiting = r.post(0, &[&head(request::IN, 0)], 513);
    r.kick(0);
    assert_eq!(under_way(), usize::from(QUEUE));
    slow.complete(7, Ok(vec![]));
    r.work();
    assert_eq!((r.used(0), under_way()), (vec![], usize::from(QUEUE) + 1), "there is room for one more");
    slow.complete(usize::from(QUEUE), Ok(vec![0xaa; 512]));
    r.work();
    assert_eq!(r.used(0), [(waiting.head, 513)]);
}

#[test]
fn bytes_under_way_count_across_resets() {
    let slow = Slow::default();
    let mut r = Rig::new(Blk::new(Box::new(slow.clone()), DiskOptions::default()), 0);
    let each = 1 << 20;
    for _ in 0..100 {
        r.post(0, &[&head(request::IN, 0)], each + 1);
        r.kick(0);
        r.start(crate::spec::feature::VERSION_1);
    }
    assert_eq!(slow.asked.borrow().len() as u64, IN_FLIGHT_BYTES / each as u64);
    (0..32).for_each(|n| slow.complete(n, Ok(vec![0; each])));
    r.work();
    assert_eq!(read_late(&mut r, &slow), [(0, 513)]);
}

/// One read of a sector that completes later.
fn read_late(r: &mut Rig<Blk>, slow: &Slow) -> Vec<(u16, u32)> {
    r.post(0, &[&head(request::IN, 0)], 513);
    r.kick(0);
    slow.complete(slow.asked.borrow().len() - 1, Ok(vec![0; 512]));
    r.work();
    r.used(0)
}

#[test]
fn zeros_to_be_written_count_as_bytes_under_way() {
    let slow = Slow::default();
    let mut r = Rig::new(Blk::new(Box::new(slow.clone()), DiskOptions::default()), 0);
    let ranges = range(0, 2048, 0).repeat(16);
    for _ in 0..4 {
        r.post(0, &[&head(request::WRITE_ZEROES, 0), &ranges], 1);
    }
    r.kick(0);
    (0..9).for_each(|_| r.work());
    assert_eq!(slow.asked.borrow().len(), 32, "of 1 MiB each");
}
