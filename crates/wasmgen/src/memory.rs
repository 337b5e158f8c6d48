//! Accesses to guest memory: the TLB's entry is compared inline; what misses is a call, and what the call refuses a side exit.

use guest_api::{Align, Lane, Width};
use ir::{Inst, Op, Val};
use wasm_encoder::BlockType;
use wasm_encoder::ValType::I32;

use crate::abi::Import;
use crate::emit::{ADDRESS, CONTEXT, ENTRY, Emitter, HOST, LEFT, RMW_HOST, TEMP, at};
use crate::place::Place;

/// log2 of the bytes in a page.
pub(crate) const PAGE_SHIFT: i32 = 12;
/// So many bytes, and more, [`guest_api::Guest::readable`] gives where they are in one page only.
const IN_ONE_PAGE: u32 = 17;
/// log2 of the bytes in a TLB entry.
const ENTRY_SHIFT: i32 = 4;

impl Emitter<'_> {
    /// Access `i`; `widened`: what it loads becomes a vector.
    pub(crate) fn access(&mut self, i: &Inst, widened: bool) {
        let [a, v, c, _] = i.args;
        let bytes = i.probes().map_or(0, |p| p.0);
        match i.op {
            Op::Load(w) => {
                self.host_address(a, w.bytes(), Import::Readable, i);
                self.load_as(w, 0, widened);
            }
            Op::LoadRmw(w) => {
                self.host_address(a, w.bytes(), Import::Updatable, i);
                self.i().local_tee(RMW_HOST);
                self.load(w, 0);
                self.rmw = Some((a, w.bytes()));
            }
            Op::Store(w) => {
                if self.rmw.take().is_some_and(|(b, bytes)| b == a && w.bytes() <= bytes) {
                    self.get(RMW_HOST);
                    self.value(v);
                    return self.store(w, 0);
                }
                let address = self.in_local(a, ADDRESS);
                if let Some((x, lane)) = self.lane_of(v, w) {
                    let scratch = self.scratch(0);
                    let x = self.in_local(x, scratch);
                    let hit = |e: &mut Self| {
                        e.get(x);
                        e.store_lane(w, 0, lane);
                    };
                    let slowly = |e: &mut Self| {
                        e.get(x);
                        e.extract_lane(w, lane);
                        e.set(TEMP[0]);
                        e.store_slowly(address, bytes, TEMP[0], i.exit);
                    };
                    return self.mapped(i, address, bytes, BlockType::Empty, hit, slowly);
                }
                let v = self.in_local(v, TEMP[0]);
                let hit = |e: &mut Self| {
                    e.get(v);
                    e.store(w, 0);
                };
                self.mapped(i, address, bytes, BlockType::Empty, hit, |e| e.store_slowly(address, bytes, v, i.exit));
            }
            Op::Probe => {
                let address = self.in_local(a, ADDRESS);
                self.hit(address, i.imm as u32, self.layout().tlb_write);
                self.i().i32_eqz();
                self.if_hinted(BlockType::Empty, false);
                self.slowly(i.exit, |e| {
                    e.get(address).i32_const(i.imm as i32).call(Import::Writable as u32);
                });
                self.i().end();
            }
            Op::LoadX(align) => {
                self.aligned(align, a, i.exit);
                self.host_address(a, 16, Import::Readable, i);
                self.i().v128_load(at(0_u32, 0));
            }
            Op::StoreX(align) => {
                self.aligned(align, a, i.exit);
                let address = self.in_local(a, ADDRESS);
                let scratch = self.scratch(0);
                let x = self.in_local(v, scratch);
                let hit = |e: &mut Self| _ = e.get(x).v128_store(at(0_u32, 0));
                self.mapped(i, address, bytes, BlockType::Empty, hit, |e| e.store_x_slowly(address, x, i.exit));
            }
            Op::Reach(false) => self.host_address(a, bytes.max(IN_ONE_PAGE), Import::Readable, i),
            Op::Reach(true) => self.host_address(a, bytes, Import::Updatable, i),
            Op::LoadNear(w) => {
                self.value(v);
                self.load_as(w, i.imm, widened);
            }
            Op::StoreNear(w) => {
                self.value(c);
                match self.lane_of(v, w) {
                    Some((x, lane)) => {
                        self.value(x);
                        self.store_lane(w, i.imm, lane);
                    }
                    None => {
                        self.value(v);
                        self.store(w, i.imm);
                    }
                }
            }
            Op::LoadXNear(align) => {
                self.aligned(align, a, i.exit);
                self.value(v);
                self.i().v128_load(at(i.imm, 0));
            }
            Op::StoreXNear(align) => {
                self.aligned(align, a, i.exit);
                self.values(&[c, v]);
                self.i().v128_store(at(i.imm, 0));
            }
            _ => _ = self.i().unreachable(),
        }
    }

    /// Stores `x` where the TLB does not have the address.
    fn store_x_slowly(&mut self, address: u32, x: u32, exit: u32) {
        self.slowly(exit, |e| {
            e.get(address).i32_const(16);
            e.get(x).i64x2_extract_lane(0).local_get(x).i64x2_extract_lane(1).call(Import::Store as u32);
        });
    }
    fn store_slowly(&mut self, address: u32, bytes: u32, v: u32, exit: u32) {
        self.slowly(exit, |e| {
            e.get(address).i32_const(bytes as i32).local_get(v).i64_const(0).call(Import::Store as u32);
        });
    }
    /// Pushes the host address of the `bytes` at the address in a local, as the guest gives it.
    fn find_slowly(&mut self, find: Import, address: u32, bytes: u32, exit: u32) {
        self.slowly(exit, |e| {
            e.get(address).i32_const(bytes as i32).call(find as u32).local_tee(HOST);
        });
        self.get(HOST);
    }

    /// Within an `if` that is not among the labels: asks the guest for what is seldom, which `ask` generates, and leaves by `exit` where
    /// the answer is 0. The exit is set beforehand, as a branch needs no block of its own then.
    fn slowly(&mut self, exit: u32, ask: impl FnOnce(&mut Self)) {
        self.exit_number(exit);
        ask(self);
        self.i().i32_eqz();
        self.labels.push(crate::structure::Label::If);
        self.br_if_unlikely(crate::structure::Label::Exit);
        self.labels.pop();
    }

    pub(crate) fn helper(&mut self, i: &Inst) {
        // What may be accessed may be different after it.
        self.rmw = None;
        self.call_helper(i.imm, i.exit, |e| e.values(i.args()));
    }

    /// A division whose dividend nearly always fits in 64 bits.
    pub(crate) fn div_wide(&mut self, i: &Inst, signed: bool) {
        let [high, low, d, _] = TEMP;
        self.values(i.args());
        for local in [d, low, high] {
            self.set(local);
        }
        // The upper half says nothing new, and the division cannot trap.
        self.get(high);
        if signed {
            self.get(low).i64_const(63).i64_shr_s().i64_eq();
            self.get(d).i64_const(1).i64_add().i64_const(1).i64_gt_u().i32_and();
        } else {
            self.i().i64_eqz().local_get(d).i64_const(0).i64_ne().i32_and();
        }
        self.if_hinted(BlockType::Result(wasm_encoder::ValType::I64), true);
        self.get(low).local_get(d);
        let mut f = self.i();
        if signed {
            f.i64_div_s()
        } else {
            f.i64_div_u()
        };
        self.i().else_();
        self.labels.push(crate::structure::Label::If);
        self.call_helper(i.imm, i.exit, |e| {
            e.get(high).local_get(low).local_get(d).i64_const(0);
        });
        self.labels.pop();
        self.i().end();
    }

    /// Calls guest helper `h` with the arguments that `push` pushes; pushes its result.
    fn call_helper(&mut self, h: u64, exit: u32, push: impl FnOnce(&mut Self)) {
        use core::mem::offset_of;
        // The time that a helper may read is that of its instruction.
        let left = self.layout().exchange + offset_of!(guest_api::Exchange, left) as u32;
        let undone = self.region.exits.get(exit as usize).map_or(0, |e| e.undone);
        let left = self.of_state(left, 3);
        self.state().local_get(LEFT);
        if undone != 0 {
            self.i().i64_const(undone.into()).i64_add();
        }
        self.i().i64_store(left);
        self.i().i32_const(h as i32);
        push(self);
        self.i().call(Import::Helper as u32);
        // It may have changed what memory may be accessed, and the floating-point environment.
        if self.uses_memory {
            let context = self.of_state(self.layout().tlb_context, 3);
            self.state().i64_load(context);
            self.set(CONTEXT);
        }
        self.forget_pages();
        let refused = self.layout().exchange + offset_of!(guest_api::Exchange, refused) as u32;
        let refused = self.of_state(refused, 2);
        self.state().i32_load(refused);
        self.side_exit_if(exit);
    }

    /// Sets `ENTRY` so that it is the distance from the begin of a table to the entry for the page of the address in local `address`.
    pub(crate) fn tlb_entry(&mut self, address: u32) {
        let mask = (self.layout().tlb_entries as i32 - 1) << ENTRY_SHIFT;
        self.get(address).i32_wrap_i64().i32_const(PAGE_SHIFT - ENTRY_SHIFT).i32_shr_u();
        self.i().i32_const(mask).i32_and();
        self.set(ENTRY);
    }

    /// Pushes whether an access of `bytes` at the address in local `address` is mapped in `table`: the page of its last byte is
    /// compared, the entry comes from its first, so that one comparison also catches what crosses a page.
    fn hit(&mut self, address: u32, bytes: u32, table: u32) {
        self.tlb_entry(address);
        self.get(address);
        if bytes > 1 {
            self.i().i64_const(i64::from(bytes) - 1).i64_add();
        }
        self.i().i64_const(-1 << PAGE_SHIFT).i64_and().local_get(CONTEXT).i64_or();
        let tag = self.of_state(table, 3);
        self.get(ENTRY).i64_load(tag).i64_eq();
    }

    /// Pushes the host address, after a hit.
    fn hit_address(&mut self, address: u32, table: u32) {
        let addend = self.of_state(table + 8, 2);
        self.get(ENTRY).i32_load(addend).local_get(address).i32_wrap_i64().i32_add();
    }

    /// Pushes the host address of an access to be loaded from.
    fn host_address(&mut self, a: Val, bytes: u32, slow: Import, i: &Inst) {
        let address = self.in_local(a, ADDRESS);
        let slowly = |e: &mut Self| e.find_slowly(slow, address, bytes, i.exit);
        self.mapped(i, address, bytes, BlockType::Result(I32), |_| {}, slowly);
    }

    /// Access `i` of `bytes` at the address in local `address`: `hit` with the host address on the stack, `slowly` where it is not mapped.
    fn mapped(
        &mut self,
        i: &Inst,
        address: u32,
        bytes: u32,
        result: BlockType,
        hit: impl Fn(&mut Self),
        slowly: impl FnOnce(&mut Self),
    ) {
        let writes = i.probes().is_some_and(|p| p.1);
        let table = if writes { self.layout().tlb_write } else { self.layout().tlb_read };
        let page = i.page();
        let look_up = |e: &mut Self| {
            e.hit(address, bytes, table);
            e.if_hinted(result, true);
            if let Some(n) = page {
                e.keep_page(n, address, table);
            }
            e.hit_address(address, table);
            hit(e);
            e.i().else_();
            slowly(e);
            e.i().end();
        };
        match page {
            Some(n) => self.in_kept_page(n, address, result, &hit, look_up),
            None => look_up(self),
        }
    }

    /// Leaves by `exit` where the address `a` is not aligned as demanded.
    fn aligned(&mut self, align: Align, a: Val, exit: u32) {
        if align == Align::Natural {
            let address = self.in_local(a, ADDRESS);
            self.get(address).i32_wrap_i64().i32_const(15).i32_and();
            self.side_exit_if(exit);
        }
    }

    /// Where `v` is a lane of a vector that is as wide as `w`, and not needed but here: the vector, and which lane.
    fn lane_of(&self, v: Val, w: Width) -> Option<(Val, u8)> {
        let i = &self.region.blocks[self.block].insts[v.index()];
        match i.op {
            Op::Extract(lane @ (Lane::B32 | Lane::B64))
                if lane.bytes() == w.bytes() as usize && self.places[v.index()] == Place::Inline =>
            {
                Some((i.args[0], (i.imm as usize % lane.count()) as u8))
            }
            _ => None,
        }
    }
    /// Replaces a vector by a lane of it.
    fn extract_lane(&mut self, w: Width, lane: u8) {
        let mut i = self.i();
        if w == Width::W64 {
            i.i64x2_extract_lane(lane)
        } else {
            i.i32x4_extract_lane(lane).i64_extend_i32_u()
        };
    }
    fn store_lane(&mut self, w: Width, offset: u64, lane: u8) {
        let any = at(offset, 0);
        let mut i = self.i();
        if w == Width::W64 {
            i.v128_store64_lane(any, lane)
        } else {
            i.v128_store32_lane(any, lane)
        };
    }

    /// Loads a number, or a vector of which it is the low lane and the others are 0.
    fn load_as(&mut self, w: Width, offset: u64, vector: bool) {
        if !vector {
            return self.load(w, offset);
        }
        let any = at(offset, 0);
        let mut i = self.i();
        if w == Width::W64 {
            i.v128_load64_zero(any)
        } else {
            i.v128_load32_zero(any)
        };
    }
    fn load(&mut self, w: Width, offset: u64) {
        let any = at(offset, 0);
        let mut i = self.i();
        match w {
            Width::W8 => i.i64_load8_u(any),
            Width::W16 => i.i64_load16_u(any),
            Width::W32 => i.i64_load32_u(any),
            Width::W64 => i.i64_load(any),
        };
    }

    fn store(&mut self, w: Width, offset: u64) {
        let any = at(offset, 0);
        let mut i = self.i();
        match w {
            Width::W8 => i.i64_store8(any),
            Width::W16 => i.i64_store16(any),
            Width::W32 => i.i64_store32(any),
            Width::W64 => i.i64_store(any),
        };
    }
}
