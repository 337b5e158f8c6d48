//! A region as a function: its locals, entry, exit, and blocks.

use guest_api::{JUMPS, Jump, StateLayout, Verified};
use ir::cfg::Cfg;
use ir::{Effect, Inst, Op, Region, SLOTS, Target, Term, Ty, Val, XSLOTS, flag_slot};
use wasm_encoder::{BlockType, Encode, InstructionSink, MemArg, MemArgTarget, ValType};

use crate::abi::{Abi, Leave};
use crate::place::{Locals, Place, place};
use crate::structure::Label;

/// A generated function.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Code {
    /// Locals and instructions, as a module's code section has them but for the length in front.
    pub body: Vec<u8>,
    /// Offsets in `body` of conditional branches, and whether they are likely taken.
    pub hints: Vec<(u32, bool)>,
    /// The functions of [`crate::shared`] that it calls: a bit each.
    pub(crate) shares: u8,
}

/// Whether `op` can be generated. What cannot is left to the interpreter.
pub fn supports(op: Op) -> bool {
    !op.is_vector() || crate::vector::supports(op)
}

// Parameters, then the fixed locals.
pub(crate) const STATE: u32 = 0;
pub(crate) const BASE: u32 = 1;
pub(crate) const LEFT: u32 = 2;
/// Where the region is left to: an address, or the number of a side exit.
pub(crate) const TO: u32 = 3;
/// The linear address of an access, where it is in no local of its own.
pub(crate) const ADDRESS: u32 = 4;
/// Scratch values.
pub(crate) const TEMP: [u32; 4] = [5, 6, 7, 8];
/// Bits below the page number in the tags of the TLB's entries.
pub(crate) const CONTEXT: u32 = 9;
/// The slot at which execution goes on; 0: a side exit.
pub(crate) const SLOT: u32 = 10;
/// Address of a TLB or jump cache entry.
pub(crate) const ENTRY: u32 = 11;
/// A host address.
pub(crate) const HOST: u32 = 12;
/// The host address of what the instruction has loaded and will store.
pub(crate) const RMW_HOST: u32 = 13;
/// 0 where the host's floating-point arithmetic is exactly the guest's: see [`crate::float`].
pub(crate) const INEXACT: u32 = 14;
const FIXED: [(u32, ValType); 2] = [(CONTEXT - TO + 1, ValType::I64), (INEXACT - SLOT + 1, ValType::I32)];
/// As in [`guest_api::jump_index`].
const JUMP_SHIFT: i32 = 14;
const FIRST: u32 = INEXACT + 1;
/// Scratch vectors: see [`Emitter::scratch`].
const SCRATCH: usize = 7;

/// How a region is told from others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Id {
    /// Its number now: what [`guest_api::Exchange::region`] gets.
    pub number: u32,
    /// A number that no other region has had: see [`Verified`].
    pub serial: u32,
}

/// Generates the function of `region`.
pub fn function(region: &Region, id: Id, abi: &Abi) -> Code {
    let mut e = Emitter::new(region, id, abi);
    e.entry();
    e.blocks();
    e.exit();
    e.finish()
}

pub(crate) struct Emitter<'r> {
    pub(crate) region: &'r Region,
    id: Id,
    pub(crate) abi: &'r Abi,
    pub(crate) cfg: Cfg,
    pub(crate) code: Vec<u8>,
    hints: Vec<(u32, bool)>,
    pub(crate) locals: Locals,
    slots: [Option<u32>; SLOTS],
    xslots: [Option<u32>; XSLOTS],
    written: u64,
    xwritten: u32,
    /// There are accesses to memory.
    pub(crate) uses_memory: bool,
    /// Of the block being generated.
    pub(crate) places: Vec<Place>,
    pub(crate) block: usize,
    /// Address value whose memory `RMW_HOST` is, and how many bytes of it.
    pub(crate) rmw: Option<(Val, u32)>,
    /// What the labels in scope stand for, outermost first.
    pub(crate) labels: Vec<Label>,
    scratch: [Option<u32>; SCRATCH],
    /// Vector constants that the function begins by putting in locals.
    consts: Vec<(u128, u32)>,
    /// The same of integers.
    long_consts: Vec<(u64, u32)>,
    pub(crate) float: crate::float::Float,
    pub(crate) shares: u8,
}

impl<'r> Emitter<'r> {
    fn new(region: &'r Region, id: Id, abi: &'r Abi) -> Self {
        let mut e = Emitter {
            region,
            id,
            abi,
            cfg: Cfg::new(region),
            code: Vec::new(),
            hints: Vec::new(),
            locals: Locals::new(FIRST),
            slots: [None; SLOTS],
            xslots: [None; XSLOTS],
            written: 0,
            xwritten: 0,
            uses_memory: false,
            places: Vec::new(),
            block: 0,
            rmw: None,
            labels: Vec::new(),
            scratch: [None; SCRATCH],
            consts: Vec::new(),
            long_consts: Vec::new(),
            float: crate::float::Float::default(),
            shares: 0,
        };
        for i in region.blocks.iter().flat_map(|b| &b.insts) {
            let n = i.imm as usize;
            e.uses_memory |= is_access(i.op);
            match i.op {
                Op::Get | Op::Put => {
                    if e.slots[n % SLOTS].is_none() {
                        e.slots[n % SLOTS] = Some(e.locals.take(Ty::I64));
                    }
                    if i.op == Op::Put {
                        e.written |= 1 << n;
                    }
                }
                Op::GetX | Op::PutX => {
                    if e.xslots[n % XSLOTS].is_none() {
                        e.xslots[n % XSLOTS] = Some(e.locals.take(Ty::V128));
                    }
                    if i.op == Op::PutX {
                        e.xwritten |= 1 << n;
                    }
                }
                _ => {}
            }
        }
        e
    }

    /// The instructions so far, to add to.
    pub(crate) fn i(&mut self) -> InstructionSink<'_> {
        InstructionSink::new(&mut self.code)
    }
    pub(crate) fn layout(&self) -> &'r StateLayout {
        &self.abi.layout
    }
    pub(crate) fn slot(&self, n: u64) -> u32 {
        self.slots[n as usize % SLOTS].unwrap_or(TEMP[0])
    }
    pub(crate) fn xslot(&self, n: u64) -> u32 {
        self.xslots[n as usize % XSLOTS].unwrap_or(TEMP[0])
    }
    fn slot_offset(&self, n: usize) -> u32 {
        let l = self.layout();
        match n as u8 {
            flag_slot::FORM..=flag_slot::CARRY => l.flags + 8 * (n as u32 - u32::from(flag_slot::FORM)),
            _ => l.slots + 8 * n as u32,
        }
    }

    /// Scratch vector `n`. Computing a value may overwrite the first four: operands are computed before they are used.
    pub(crate) fn scratch(&mut self, n: usize) -> u32 {
        let locals = &mut self.locals;
        *self.scratch[n].get_or_insert_with(|| locals.fresh(ValType::V128))
    }
    /// A local that holds `v` everywhere.
    pub(crate) fn vector_const(&mut self, v: u128) -> u32 {
        if let Some(&(_, local)) = self.consts.iter().find(|c| c.0 == v) {
            return local;
        }
        let local = self.locals.fresh(ValType::V128);
        self.consts.push((v, local));
        local
    }

    pub(crate) fn long_const(&mut self, v: u64) -> u32 {
        if let Some(&(_, local)) = self.long_consts.iter().find(|c| c.0 == v) {
            return local;
        }
        let local = self.locals.fresh(ValType::I64);
        self.long_consts.push((v, local));
        local
    }

    /// `if`, whose condition is on the stack and is likely, or not likely, to hold.
    pub(crate) fn if_hinted(&mut self, ty: BlockType, likely: bool) {
        self.hints.push((self.code.len() as u32, likely));
        self.i().if_(ty);
    }

    fn exchange(&self, field: usize) -> u64 {
        u64::from(self.layout().exchange) + field as u64
    }

    /// Leaves with `code` at the start, where nothing has been loaded yet.
    fn leave_at_start(&mut self, code: Leave) {
        use core::mem::offset_of;
        let (pc, left) =
            (self.exchange(offset_of!(guest_api::Exchange, pc)), self.exchange(offset_of!(guest_api::Exchange, left)));
        self.i().local_get(STATE).local_get(BASE).i64_store(at(pc, 3));
        self.i().local_get(STATE).local_get(LEFT).i64_store(at(left, 3));
        if code != Leave::Interpret {
            self.tell();
        }
        self.i().i32_const(code as i32).return_();
    }

    /// Tells which region this is, and where it is.
    pub(crate) fn tell(&mut self) {
        use core::mem::offset_of;
        let base = self.exchange(offset_of!(guest_api::Exchange, base));
        let region = self.exchange(offset_of!(guest_api::Exchange, region));
        let number = self.id.number as i32;
        self.i().local_get(STATE).local_get(BASE).i64_store(at(base, 3));
        self.i().local_get(STATE).i32_const(number).i32_store(at(region, 2));
    }

    fn entry(&mut self) {
        use core::mem::offset_of;
        let l = *self.layout();
        self.i().local_get(LEFT).i64_const(0).i64_le_s();
        self.if_hinted(BlockType::Empty, false);
        self.leave_at_start(Leave::Lookup);
        self.i().end();
        if self.region.units != 0 {
            let (units, mask) = (self.exchange(offset_of!(guest_api::Exchange, units)), self.region.units as i32);
            self.i().local_get(STATE).i32_load(at(units, 2)).i32_const(mask).i32_and().i32_const(mask).i32_ne();
            self.if_hinted(BlockType::Empty, false);
            self.leave_at_start(Leave::Interpret);
            self.i().end();
        }
        if !self.region.pages.is_empty() {
            self.guard();
        }
        if self.uses_memory {
            self.i().local_get(STATE).i64_load(at(l.tlb_context, 3)).local_set(CONTEXT);
        }
        for n in 0..SLOTS {
            if let Some(local) = self.slots[n] {
                let offset = self.slot_offset(n);
                self.i().local_get(STATE).i64_load(at(offset, 3)).local_set(local);
            }
        }
        for n in 0..XSLOTS {
            if let Some(local) = self.xslots[n] {
                self.i().local_get(STATE).v128_load(at(l.xslots + 16 * n as u32, 3)).local_set(local);
            }
        }
        self.i().block(BlockType::Empty).block(BlockType::Empty);
        self.labels = vec![Label::Exit, Label::Lookup];
    }

    /// Leaves where the region's pages are not known to be where it expects them.
    fn guard(&mut self) {
        use core::mem::{offset_of, size_of};
        let Id { serial, .. } = self.id;
        let entry = |field: usize| at((size_of::<Verified>() * Verified::index(serial) + field) as u32, 3);
        let table = self.exchange(offset_of!(guest_api::Exchange, verified));
        self.i().local_get(STATE).i32_load(at(table, 2)).local_tee(ENTRY);
        self.i().i64_load(entry(offset_of!(Verified, base))).local_get(BASE).i64_ne();
        // The key, and the serial number above it.
        self.i().local_get(ENTRY).i64_load(entry(offset_of!(Verified, key)));
        self.fetch_key(BASE);
        self.i().i64_extend_i32_u().i64_const((u64::from(serial) << 32) as i64).i64_or().i64_ne().i32_or();
        self.if_hinted(BlockType::Empty, false);
        self.leave_at_start(Leave::Guard);
        self.i().end();
    }

    /// Pushes the key that what is known of code at the address in local `address` must have.
    fn fetch_key(&mut self, address: u32) {
        let keys = self.layout().fetch_keys;
        self.i().local_get(address).i64_const(61).i64_shr_u().i32_wrap_i64().i32_const(4).i32_and();
        self.i().local_get(STATE).i32_add().i32_load(at(keys, 2));
    }

    /// What the blocks branch to when they leave, and the end of the function.
    fn exit(&mut self) {
        use core::mem::{offset_of, size_of};
        let l = *self.layout();
        let lookup = self.abi.lookup_slot as i32;
        // No block runs into this.
        self.i().unreachable().end();
        if self.abi.linked {
            // As `guest_api::jump_index` says.
            self.i().local_get(TO).i32_wrap_i64().local_tee(ENTRY).local_get(ENTRY).i32_const(JUMP_SHIFT).i32_shr_u();
            self.i().i32_xor().i32_const(JUMPS as i32 - 1).i32_and();
            self.i().i32_const(size_of::<Jump>() as i32).i32_mul();
            let jumps = self.exchange(offset_of!(guest_api::Exchange, jumps));
            self.i().local_get(STATE).i32_load(at(jumps, 2)).i32_add().local_set(ENTRY);
            self.i().local_get(ENTRY).i32_load(at(offset_of!(Jump, slot) as u32, 2));
            self.i().i32_const(lookup);
            self.i().local_get(ENTRY).i64_load(at(offset_of!(Jump, pc) as u32, 3)).local_get(TO).i64_eq();
            self.i().local_get(ENTRY).i32_load(at(offset_of!(Jump, key) as u32, 2));
            self.fetch_key(TO);
            self.i().i32_eq().i32_and().select().local_set(SLOT);
        } else {
            self.i().i32_const(lookup).local_set(SLOT);
        }
        self.i().end();
        for n in 0..SLOTS {
            if self.written >> n & 1 != 0 {
                let (offset, local) = (self.slot_offset(n), self.slot(n as u64));
                self.i().local_get(STATE).local_get(local).i64_store(at(offset, 3));
            }
        }
        for n in 0..XSLOTS {
            if self.xwritten >> n & 1 != 0 {
                let local = self.xslot(n as u64);
                self.i().local_get(STATE).local_get(local).v128_store(at(l.xslots + 16 * n as u32, 3));
            }
        }
        let stores = |e: &mut Self| {
            let (pc, left) =
                (e.exchange(offset_of!(guest_api::Exchange, pc)), e.exchange(offset_of!(guest_api::Exchange, left)));
            e.i().local_get(STATE).local_get(TO).i64_store(at(pc, 3));
            e.i().local_get(STATE).local_get(LEFT).i64_store(at(left, 3));
        };
        self.i().local_get(SLOT).i32_eqz();
        self.if_hinted(BlockType::Empty, false);
        stores(self);
        self.tell();
        self.i().i32_const(Leave::Side as i32).return_().end();
        if self.abi.linked {
            self.i().local_get(STATE).local_get(TO).local_get(LEFT).local_get(SLOT).return_call_indirect(0, 0);
        } else {
            stores(self);
            let slot = self.abi.interpret_slot as i32;
            self.i()
                .i32_const(Leave::Interpret as i32)
                .i32_const(Leave::Lookup as i32)
                .local_get(SLOT)
                .i32_const(slot)
                .i32_eq()
                .select();
        }
        self.i().end();
    }

    fn finish(self) -> Code {
        let mut body = Vec::with_capacity(self.code.len() + 32);
        // Runs of locals of one type.
        let mut runs: Vec<(u32, ValType)> = FIXED.to_vec();
        for &ty in &self.locals.types {
            match runs.last_mut() {
                Some((n, last)) if *last == ty => *n += 1,
                _ => runs.push((1, ty)),
            }
        }
        (runs.len() as u32).encode(&mut body);
        for (n, ty) in runs {
            n.encode(&mut body);
            ty.encode(&mut body);
        }
        for &(v, local) in &self.consts {
            InstructionSink::new(&mut body).v128_const(v as i128).local_set(local);
        }
        for &(v, local) in &self.long_consts {
            InstructionSink::new(&mut body).i64_const(v as i64).local_set(local);
        }
        let start = body.len() as u32;
        body.extend_from_slice(&self.code);
        Code { body, hints: self.hints.iter().map(|&(at, likely)| (at + start, likely)).collect(), shares: self.shares }
    }

    /// The operations of block `n`, up to its end.
    pub(crate) fn operations(&mut self, n: usize) {
        let region = self.region;
        let block = &region.blocks[n];
        let mut places = core::mem::take(&mut self.places);
        place(block, &mut self.locals, &mut places);
        self.places = places;
        (self.block, self.rmw) = (n, None);
        self.float.begin(block);
        if block.insns > 0 {
            self.i().local_get(LEFT).i64_const(block.insns.into()).i64_sub().local_set(LEFT);
        }
        for (k, i) in block.insts.iter().enumerate() {
            let place = self.places[k];
            match i.op {
                Op::Put => {
                    let slot = self.slot(i.imm);
                    self.value(i.args[0]);
                    self.i().local_set(slot);
                }
                Op::PutX => {
                    let slot = self.xslot(i.imm);
                    self.value(i.args[0]);
                    self.i().local_set(slot);
                }
                Op::If => {
                    self.value(i.args[0]);
                    self.i().if_(BlockType::Empty);
                    self.labels.push(Label::If);
                    self.rmw = None;
                    self.float.nest();
                }
                Op::End => {
                    self.i().end();
                    self.labels.pop();
                    self.float.unnest();
                    self.rmw = None;
                }
                op if op.shape().effect == Effect::Exits => {
                    self.exiting(k, i);
                    match (place, op.shape().result) {
                        (Place::Local(local), _) => _ = self.i().local_set(local),
                        (_, Some(_)) => _ = self.i().drop(),
                        (_, None) => {}
                    }
                }
                _ => {
                    if let Place::Local(local) = place {
                        self.compute(i);
                        self.i().local_set(local);
                    }
                }
            }
        }
    }

    /// Operation number `k` of the block, which may leave; pushes its result.
    fn exiting(&mut self, k: usize, i: &Inst) {
        match i.op {
            Op::Bail => self.side_exit(i.exit),
            Op::Helper => {
                self.helper(i);
                self.float.changed();
            }
            Op::DivWide(signed) => {
                self.div_wide(i, signed);
                self.float.changed();
            }
            op if op.float().is_some() => crate::float::float(self, k, i),
            _ => self.access(i),
        }
    }

    /// Pushes the value.
    pub(crate) fn value(&mut self, v: Val) {
        match self.places[v.index()] {
            Place::Local(local) => _ = self.i().local_get(local),
            _ => {
                let inst = self.region.blocks[self.block].insts[v.index()];
                self.compute(&inst);
            }
        }
    }

    /// The local that `v` is in, or `otherwise`, to which it is brought.
    pub(crate) fn in_local(&mut self, v: Val, otherwise: u32) -> u32 {
        if let Place::Local(local) = self.places[v.index()] {
            return local;
        }
        let i = self.region.blocks[self.block].insts[v.index()];
        match i.op {
            Op::Get => self.slot(i.imm),
            Op::GetX => self.xslot(i.imm),
            _ => {
                self.value(v);
                self.i().local_set(otherwise);
                otherwise
            }
        }
    }

    /// Whether `v` is in a local, its own or a slot's.
    pub(crate) fn is_in_local(&self, v: Val) -> bool {
        matches!(self.places[v.index()], Place::Local(_))
            || matches!(self.region.blocks[self.block].insts[v.index()].op, Op::Get | Op::GetX)
    }

    /// Pushes what a pure operation computes.
    pub(crate) fn compute(&mut self, i: &Inst) {
        if i.op.is_vector() { crate::vector::compute(self, i) } else { self.scalar(i) }
    }

    /// Branches to `label`.
    pub(crate) fn br(&mut self, label: Label) {
        let at = self.labels.iter().rposition(|&l| l == label).unwrap_or(0);
        let depth = (self.labels.len() - 1 - at) as u32;
        self.i().br(depth);
    }

    /// Leaves by side exit `n`.
    pub(crate) fn side_exit(&mut self, n: u32) {
        self.i().i64_const(n.into()).local_set(TO);
        self.br(Label::Exit);
    }

    /// Pushes the address of the code at offset `pc`.
    pub(crate) fn pc(&mut self, pc: i64) {
        self.i().local_get(BASE);
        if pc != 0 {
            self.i().i64_const(pc).i64_add();
        }
    }

    /// Leaves to offset `pc`, going on at table slot `slot`.
    pub(crate) fn leave(&mut self, pc: i64, slot: u32) {
        self.pc(pc);
        self.i().local_set(TO).i32_const(slot as i32).local_set(SLOT);
        self.br(Label::Exit);
    }
    /// Leaves to `target`, which is out of the region.
    pub(crate) fn leave_to(&mut self, target: Target) {
        let Target::Out { pc, slot } = target else { return };
        if slot != 0 {
            return self.leave(pc, slot);
        }
        self.pc(pc);
        self.i().local_set(TO);
        self.br(Label::Lookup);
    }
    /// Ends a block that the interpreter continues.
    pub(crate) fn interpret(&mut self, pc: i64) {
        self.leave(pc, self.abi.interpret_slot);
    }
    /// The end of block `n`, if it goes to a computed address that is none of those compared: `TO` holds it.
    pub(crate) fn look_up(&mut self) {
        self.br(Label::Lookup);
    }
    /// The end of block `n`.
    pub(crate) fn term(&self, n: usize) -> &'r Term {
        &self.region.blocks[n].term
    }
}

/// Whether `op` goes through the TLB.
fn is_access(op: Op) -> bool {
    matches!(op, Op::Load(_) | Op::LoadRmw(_) | Op::Store(_) | Op::Probe | Op::Reach(_) | Op::LoadX(_) | Op::StoreX(_))
}

/// A memory operand: `offset` from an address on the stack. `align`: a hint, log2 of bytes.
pub(crate) fn at(offset: impl Into<u64>, align: u32) -> MemArg {
    MemArg { offset: offset.into(), align, target: MemArgTarget::Memory(0), ordering: None }
}
