//! Code to form regions of, for tests.

use guest_api::{Code, Decoded, EmitVector, Slot};

use crate::cache::PAGE;

/// Instructions of a block.
const INSNS: u32 = 10;
/// Where the first block is.
pub(crate) const BASE: u64 = 0x1000;

/// Blocks one behind the other, each of [`INSNS`] instructions of a byte, the last of which jumps to the next block. How often they were executed,
/// and from which one on they are in another page of memory.
pub(crate) struct Chain(pub(crate) fn(u32) -> u32, pub(crate) u32);

fn address(id: u32) -> u64 {
    BASE + u64::from(id * INSNS)
}

impl Code for Chain {
    const ZERO: Slot = Slot(0);
    const BLOCK: Slot = Slot(1);

    fn state(&self) -> u32 {
        0
    }
    fn block_at(&mut self, pc: u64) -> Option<Decoded> {
        let id = (pc - BASE) as u32 / INSNS;
        let runs = (self.0)(id);
        let pa = address(id) + if id < self.1 { 0 } else { PAGE };
        Some(Decoded { id, first: 0, lead: 0, pa, mode: 0, insns: INSNS, bytes: INSNS, next_page: None, runs })
    }
    fn behind(&self, _: &Decoded) -> Option<Decoded> {
        None
    }
    fn offset(&self, _: &Decoded, k: u32) -> u32 {
        k
    }
    fn targets(&self, _: &Decoded) -> Vec<u64> {
        Vec::new()
    }
    fn lift<E: EmitVector>(&self, part: &Decoded, k: u32, e: &mut E) -> Option<Result<(), E::Exit>> {
        if k + 1 == INSNS {
            e.jump(address(part.id + 1));
        }
        Some(Ok(()))
    }
}
