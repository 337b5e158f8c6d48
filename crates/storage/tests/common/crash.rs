//! A file whose host dies: what was not flushed is there, or not, or in part.

use random::Rng;
use std::cell::RefCell;
use storage::{Io, Memory, Source, Store};

enum Step {
    Write { offset: u64, data: Vec<u8> },
    Flush,
}

/// Memory that remembers how it became so.
pub struct Recorded {
    now: Memory,
    start: Vec<u8>,
    steps: RefCell<Vec<Step>>,
}

impl Recorded {
    pub fn new(start: Vec<u8>) -> Self {
        Self { now: Memory::new("recorded", start.clone()), start, steps: RefCell::default() }
    }

    /// Writes and flushes up to now.
    pub fn steps(&self) -> usize {
        self.steps.borrow().len()
    }

    /// What may be there if the host died after the first `steps`: all that was flushed, and of what came then each
    /// write, part of it (in sectors, or, if `torn`, up to any byte), or nothing.
    pub fn crashed(&self, steps: usize, torn: bool, rng: &mut Rng) -> Vec<u8> {
        let log = self.steps.borrow();
        let flushed = log[..steps].iter().rposition(|step| matches!(step, Step::Flush)).unwrap_or(0);
        let mut bytes = self.start.clone();
        for (at, step) in log[..steps].iter().enumerate() {
            let Step::Write { offset, data } = step else { continue };
            let mut put = |part: std::ops::Range<usize>| {
                let start = *offset as usize + part.start;
                let end = start + part.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[start..end].copy_from_slice(&data[part]);
            };
            match rng.below(4) {
                _ if at < flushed => put(0..data.len()),
                0 => put(0..data.len()),
                1 if torn => put(0..rng.below(data.len() as u64) as usize),
                1 | 2 => (0..data.len()).step_by(512).for_each(|start| {
                    if rng.one_in(2) {
                        put(start..data.len().min(start + 512));
                    }
                }),
                _ => {}
            }
        }
        bytes
    }
}

impl Source for Recorded {
    fn name(&self) -> &str {
        self.now.name()
    }

    fn size(&self) -> u64 {
        self.now.size()
    }

    fn read_at<'a>(&'a self, offset: u64, buf: &'a mut [u8]) -> Io<'a> {
        self.now.read_at(offset, buf)
    }
}

impl Store for Recorded {
    fn write_at<'a>(&'a self, offset: u64, data: &'a [u8]) -> Io<'a> {
        self.steps.borrow_mut().push(Step::Write { offset, data: data.to_vec() });
        self.now.write_at(offset, data)
    }

    fn flush(&self) -> Io<'_> {
        self.steps.borrow_mut().push(Step::Flush);
        self.now.flush()
    }
}
