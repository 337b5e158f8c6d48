//! What a translator sees of the decoded code.

use guest_api::{Code, Decoded, EmitVector, Slot};
use mem::PAGE_MASK;

use crate::cpu::{BLOCK, Cpu, ZERO};
use crate::sys::paging;

use super::cache::CodeCache;
use super::index::Key;

/// The decoded code and the mappings under which it is seen.
pub(super) struct View<'a> {
    pub(super) code: &'a CodeCache,
    pub(super) cpu: &'a mut Cpu,
}

impl Code for View<'_> {
    const ZERO: Slot = Slot(ZERO);
    const BLOCK: Slot = Slot(BLOCK);

    fn state(&self) -> u32 {
        core::ptr::from_ref::<Cpu>(self.cpu).addr() as u32
    }
    fn block_at(&mut self, pc: u64) -> Option<Decoded> {
        let pa = paging::code_address(self.cpu, pc)?;
        let key = Key::new(pa, self.cpu.fetch_mode(pc));
        let id = self.code.index.find(key)?;
        let block = self.code.block(id).can_be_hot().then(|| self.block(id))?;
        let cpu = &mut *self.cpu;
        let next = |page: u64| paging::code_address(cpu, (pc | PAGE_MASK).wrapping_add(1)) == Some(page);
        block.next_page.is_none_or(next).then_some(block)
    }
    fn block(&self, id: u32) -> Decoded {
        let b = self.code.block(id);
        let key = self.code.index.key(id);
        let next_page = b.crosses.then(|| self.code.index.second_page(id));
        let (insns, bytes) = (b.count.into(), b.bytes.into());
        Decoded { id, pa: key.pa(), mode: key.mode(), insns, bytes, next_page, runs: b.runs(self.code.counts.counting) }
    }
    fn offset(&self, id: u32, k: u32) -> u32 {
        self.code.offset(id, k as usize).into()
    }
    fn targets(&self, id: u32) -> Vec<u64> {
        self.code.targets.of(self.code.block(id).computed)
    }
    fn lift<E: EmitVector>(&self, id: u32, k: u32, e: &mut E) -> Option<Result<(), E::Exit>> {
        crate::table::translate(e, &self.code.insn(id, k as usize)?)
    }
}
