//! What a translator sees of the decoded code.

use guest_api::{Code, Decoded, EmitVector, Slot};
use mem::PAGE_MASK;

use crate::cpu::{BLOCK, Cpu, ZERO};
use crate::sys::paging;

use super::block::BlockId;
use super::cache::CodeCache;
use super::index::Key;
use super::packed::offset;

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
    fn behind(&self, part: &Decoded) -> Option<Decoded> {
        let insns = self.code.insns.from(part.first);
        let jump = part.insns.checked_sub(1).filter(|&last| insns[last as usize].goes_on())?;
        let fork = insns.get(jump as usize + 1)?;
        Some(self.up_to_fork(Decoded {
            first: part.first + part.insns + 1,
            lead: part.lead + part.bytes,
            pa: part.pa + u64::from(part.bytes),
            insns: fork.behind().into(),
            runs: fork.went_on(part.runs),
            ..*part
        }))
    }
    fn offset(&self, part: &Decoded, k: u32) -> u32 {
        offset(self.code.insns.from(part.first), k as usize).into()
    }
    fn targets(&self, part: &Decoded) -> Vec<u64> {
        self.code.targets.of(self.code.block(part.id).computed)
    }
    fn lift<E: EmitVector>(&self, part: &Decoded, k: u32, e: &mut E) -> Option<Result<(), E::Exit>> {
        let insns = self.code.insns.from(part.first);
        crate::table::translate(e, &self.code.forms.unpack(insns, k as usize, part.lead as u16)?)
    }
}

impl View<'_> {
    /// The block `id`, up to its first conditional jump.
    pub(super) fn block(&self, id: BlockId) -> Decoded {
        let b = self.code.block(id);
        let key = self.code.index.key(id);
        let whole = Decoded {
            id,
            first: b.first,
            lead: b.lead() as u32,
            pa: key.pa(),
            mode: key.mode(),
            insns: b.count() as u32,
            bytes: b.bytes.into(),
            next_page: b.crosses.then(|| self.code.index.second_page(id)),
            runs: b.runs(self.code.counts.counting),
        };
        self.up_to_fork(whole)
    }

    /// What the instructions of `part` are up to the first with which the block only goes on.
    fn up_to_fork(&self, part: Decoded) -> Decoded {
        let insns = self.code.insns.from(part.first);
        let fork = insns.iter().take(part.insns as usize).position(|i| i.goes_on());
        let count = fork.map_or(part.insns, |jump| jump as u32 + 1);
        Decoded { insns: count, bytes: self.offset(&part, count), ..part }
    }
}
