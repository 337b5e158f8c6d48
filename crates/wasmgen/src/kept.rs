//! Accesses that keep a page ([`ir::Kept`]): what they look at before the TLB is at a constant address.
//!
//! So a hit needs no entry to be found, and its operands no register of the host's. What is noted is true until a helper is called, as
//! nothing else that a region does changes what may be accessed; entries of the TLB may go meanwhile.

use core::mem::{offset_of, size_of};

use guest_api::{Exchange, KeptPage};
use wasm_encoder::{BlockType, MemArg};

use crate::emit::{ENTRY, Emitter};
use crate::memory::PAGE_SHIFT;
use crate::structure::Label;

/// Bytes in a page.
const PAGE: i64 = 1 << PAGE_SHIFT;

impl Emitter<'_> {
    /// Page, limit and addend of kept page `n`.
    fn kept(&self, n: usize) -> [MemArg; 3] {
        let at = self.layout().exchange + (offset_of!(Exchange, kept) + n * size_of::<KeptPage>()) as u32;
        let field = |offset: usize, align| self.of_state(at + offset as u32, align);
        [
            field(offset_of!(KeptPage, page), 3),
            field(offset_of!(KeptPage, limit), 3),
            field(offset_of!(KeptPage, addend), 2),
        ]
    }

    /// Notes that nothing is known of the pages that the region keeps.
    pub(crate) fn forget_pages(&mut self) {
        for n in 0..self.region.kept.len() {
            let [_, limit, _] = self.kept(n);
            self.state().i64_const(0).i64_store(limit);
        }
    }

    /// An access at the address in local `address`, which is in page `n` or to be looked up in the TLB. Both get `table`, or the kept
    /// page, and are to do the same: `hit` with the host address on the stack, `look_up` within a further `if`.
    pub(crate) fn in_kept_page(
        &mut self,
        n: usize,
        address: u32,
        result: BlockType,
        hit: impl FnOnce(&mut Self),
        look_up: impl FnOnce(&mut Self),
    ) {
        let [page, limit, addend] = self.kept(n);
        self.get(address);
        self.state().i64_load(page).i64_sub();
        self.state().i64_load(limit).i64_lt_u();
        self.if_hinted(result, true);
        self.labels.push(Label::If);
        self.state().i32_load(addend).local_get(address).i32_wrap_i64().i32_add();
        hit(self);
        self.i().else_();
        look_up(self);
        self.labels.pop();
        self.i().end();
    }

    /// Notes the page of the address in local `address`, whose entry of `table` the local `ENTRY` leads to, as page `n`.
    pub(crate) fn keep_page(&mut self, n: usize, address: u32, table: u32) {
        let [page, limit, addend] = self.kept(n);
        let entry = self.of_state(table + 8, 2);
        let bytes = self.region.kept.get(n).map_or(PAGE, |k| k.bytes.into());
        self.state().local_get(address).i64_const(-PAGE).i64_and().i64_store(page);
        self.state().i64_const(PAGE + 1 - bytes).i64_store(limit);
        self.state().local_get(ENTRY).i32_load(entry).i32_store(addend);
    }
}
