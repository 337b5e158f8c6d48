//! Random operations on a store and on plain bytes.

use super::now;
use random::Rng;
use storage::{SECTOR, Store};

/// What a disk is to hold. Discarded ranges may hold either.
pub struct Model {
    pub bytes: Vec<u8>,
}

impl Model {
    /// One random operation on both.
    pub fn step(&mut self, store: &dyn Store, rng: &mut Rng, longest: u64) {
        let size = self.bytes.len() as u64;
        let sectors = size / SECTOR;
        let mut offset = rng.below(sectors) * SECTOR;
        let mut len = (1 + rng.below(longest / SECTOR)) * SECTOR;
        if rng.one_in(3) {
            // aligned ones are another path
            offset &= !0xffff;
            len = len.next_multiple_of(0x1_0000);
        }
        len = len.min(size - offset);
        let range = offset as usize..(offset + len) as usize;
        match rng.below(16) {
            0..6 => {
                let data = rng.bytes(len as usize);
                now(store.write_at(offset, &data)).unwrap();
                self.bytes[range].copy_from_slice(&data);
            }
            6..8 => {
                now(store.write_zeroes(offset, len)).unwrap();
                self.bytes[range].fill(0);
            }
            8 => {
                now(store.discard(offset, len)).unwrap();
                // the sectors that changed are zeros now
                let mut read = vec![0; len as usize];
                now(store.read_at(offset, &mut read)).unwrap();
                for (is, was) in read.chunks(512).zip(self.bytes[range].chunks_mut(512)) {
                    assert!(
                        is == was || is.iter().all(|byte| *byte == 0),
                        "discarded, and something else, at {offset}"
                    );
                    was.copy_from_slice(is);
                }
            }
            9 => now(store.flush()).unwrap(),
            _ => {
                let mut read = vec![0xee; len as usize];
                now(store.read_at(offset, &mut read)).unwrap();
                assert!(read == self.bytes[range], "bytes {offset}..+{len} differ");
            }
        }
    }

    /// All of it.
    pub fn check(&self, store: &(impl storage::Source + ?Sized)) {
        let mut read = vec![0xee; self.bytes.len()];
        now(store.read_at(0, &mut read)).unwrap();
        if let Some(at) = read.iter().zip(&self.bytes).position(|(is, is_to)| is != is_to) {
            panic!("byte {at} of {} differs", self.bytes.len());
        }
    }
}
