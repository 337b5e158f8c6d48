//! Requests in flight together, on stores that answer late and in any order: as on plain bytes, and failures are told.

mod common;

use common::now;
use common::slow::{Gate, Slow};
use random::Rng;
use std::collections::BTreeMap;
use std::rc::Rc;
use storage::{
    BlockBackend, Cached, Disk, Executor, Identity, Layer, Memory, Overlay, Request, SECTOR, Source, Store, Tag,
};

const SIZE: usize = 1 << 20;

/// Requests that do not overlap, up to sixteen at a time; each is checked when it ends.
struct Traffic {
    disk: Disk,
    bytes: Vec<u8>,
    in_flight: BTreeMap<u64, (std::ops::Range<u64>, Option<Vec<u8>>)>,
    next: u64,
    done: u64,
    failed: u64,
}

impl Traffic {
    fn new(layer: Layer, executor: Rc<Executor>, bytes: Vec<u8>) -> Self {
        let disk = Disk::new(layer, executor);
        Self { disk, bytes, in_flight: BTreeMap::new(), next: 0, done: 0, failed: 0 }
    }

    fn submit(&mut self, rng: &mut Rng, write: bool) {
        let sectors = SIZE as u64 / SECTOR;
        let start = rng.below(sectors);
        let end = sectors.min(start + 1 + rng.below(30));
        let range = start * SECTOR..end * SECTOR;
        let overlaps = |(other, _): &(std::ops::Range<u64>, _)| other.start < range.end && range.start < other.end;
        if self.in_flight.len() >= 16 || self.in_flight.values().any(overlaps) {
            return;
        }
        let (offset, len) = (range.start, (range.end - range.start) as usize);
        let (request, after) = match rng.below(if write { 8 } else { 1 }) {
            0..4 => (Request::Read { offset, len }, None),
            4 => (Request::WriteZeroes { offset, len: len as u64 }, Some(vec![0; len])),
            5 => (Request::Flush, None),
            _ => {
                let data = rng.bytes(len);
                (Request::Write { offset, data: data.clone() }, Some(data))
            }
        };
        let range = if request == Request::Flush { 0..0 } else { range };
        self.in_flight.insert(self.next, (range, after));
        self.disk.submit(Tag(self.next), request);
        self.next += 1;
    }

    fn poll(&mut self) {
        while let Some(completion) = self.disk.poll() {
            let (range, after) = self.in_flight.remove(&completion.tag.0).expect("ended twice");
            let place = &mut self.bytes[range.start as usize..range.end as usize];
            match (completion.result, after) {
                // a write that failed may have been done in part
                (Err(_), after) => {
                    self.failed += 1;
                    if after.is_some() {
                        // write it again until it is known
                        self.in_flight.insert(self.next, (range.clone(), after.clone()));
                        let data = after.unwrap_or_default();
                        self.disk.submit(Tag(self.next), Request::Write { offset: range.start, data });
                        self.next += 1;
                    }
                }
                (Ok(_), Some(after)) => place.copy_from_slice(&after),
                (Ok(read), None) => assert!(read == *place, "bytes {range:?} differ"),
            }
            self.done += 1;
        }
    }

    /// Runs until `count` are done, then until nothing is in flight.
    fn run(&mut self, gate: &Gate, rng: &mut Rng, count: u64, write: bool) {
        while self.done < count || !self.in_flight.is_empty() {
            if self.done < count {
                (0..rng.below(4)).for_each(|_| self.submit(rng, write));
            }
            (0..rng.below(3)).for_each(|_| _ = gate.open_one(rng));
            self.poll();
            assert!(self.in_flight.is_empty() || gate.waiting() > 0, "requests that wait for nobody");
        }
    }
}

#[test]
fn overlays() {
    for seed in 0..8 {
        let mut rng = Rng(seed);
        let gate = Rc::new(Gate::default());
        let executor = Rc::new(Executor::default());
        let bytes = rng.bytes(SIZE);
        let store = Rc::new(Slow::new(Memory::new("overlay", Vec::new()), gate.clone()));
        let base = Rc::new(Slow::new(Memory::new("base", bytes.clone()), gate.clone()));
        let made: Rc<std::cell::RefCell<Option<Overlay>>> = Rc::default();
        let (to, opening) = (made.clone(), store.clone());
        executor.spawn(async move {
            let overlay = Overlay::open(opening, base, Identity::default()).await;
            *to.borrow_mut() = Some(overlay.unwrap());
        });
        while made.borrow().is_none() {
            gate.open_one(&mut rng);
            executor.run();
        }
        let overlay: Rc<dyn Store> = Rc::new(made.take().unwrap());
        let mut traffic = Traffic::new(Layer::ReadWrite(overlay.clone()), executor.clone(), bytes.clone());
        gate.fail_one_in.set(if seed % 2 == 1 { 50 } else { 0 });
        traffic.run(&gate, &mut rng, 3000, true);
        assert!((traffic.failed > 0) == (seed % 2 == 1));
        // all is there without any failure, now and when it is opened again
        gate.fail_one_in.set(0);
        traffic.disk.submit(Tag(u64::MAX), Request::Flush);
        while traffic.disk.poll().is_none() {
            gate.open_one(&mut rng);
        }
        let file = {
            let mut file = vec![0; store.inner.size() as usize];
            now(store.inner.read_at(0, &mut file)).unwrap();
            file
        };
        let again = Rc::new(Memory::new("overlay", file));
        let overlay = now(Overlay::open(again, Rc::new(Memory::new("base", bytes)), Identity::default())).unwrap();
        let mut all = vec![0; SIZE];
        now(overlay.read_at(0, &mut all)).unwrap();
        assert!(all == traffic.bytes);
    }
}

#[test]
fn caches() {
    for (seed, limit) in [(0, 64 << 20), (1, 400 << 10), (2, 0)] {
        let mut rng = Rng(seed);
        let gate = Rc::new(Gate::default());
        let executor = Rc::new(Executor::default());
        let bytes = rng.bytes(SIZE);
        let source = Slow::new(Memory::new("far", bytes.clone()), gate.clone());
        let cached = Rc::new(Cached::source(source, executor.clone(), limit));
        let mut traffic = Traffic::new(Layer::ReadOnly(cached.clone()), executor, bytes);
        traffic.run(&gate, &mut rng, 2000, false);
        assert_eq!(traffic.failed, 0);
        assert!(cached.kept() <= limit);
        // the second half fails now and then, which is told and never stays so
        gate.fail_one_in.set(6);
        traffic.run(&gate, &mut rng, 4000, false);
    }
}
