//! A region as a function: its locals, entry, exit, and blocks.

use guest_api::{JUMPS, Jump, StateLayout, Verified};
use ir::cfg::Cfg;
use ir::{Effect, Inst, Op, Region, Target, Term, Val};
use wasm_encoder::{BlockType, Encode, InstructionSink, MemArg, MemArgTarget, ValType};

use crate::abi::{Abi, Leave};
use crate::place::{ALL_SLOTS, Locals, Place, Places};
use crate::structure::Label;

/// A generated function.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Code {
    /// Locals and instructions, as a module's code section has them but for the length in front.
    pub body: Vec<u8>,
    /// Offsets in `body` of conditional branches, and whether they are likely taken.
    pub hints: Vec<(u32, bool)>,
    /// Offsets from the base of the blocks before which the budget can be found used up: the side exits behind the region's own.
    pub loops: Vec<i64>,
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
/// Bytes of a function for which there is room at first.
const ROOM: usize = 4 << 10;
// Opcodes.
const LOCAL_GET: u8 = 0x20;
const LOCAL_SET: u8 = 0x21;
const LOCAL_TEE: u8 = 0x22;
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
    /// Where the `local.set` that was generated last begins and ends, and its local.
    last_set: Option<(usize, usize, u32)>,
    loops: Vec<i64>,
    pub(crate) locals: Locals,
    /// The slots' locals: see [`crate::slots`].
    pub(crate) slots: [Option<u32>; ALL_SLOTS],
    /// The slots that are written: a bit each.
    pub(crate) written: u128,
    /// There are accesses to memory.
    pub(crate) uses_memory: bool,
    /// Of the block being generated.
    pub(crate) places: Places,
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
            code: Vec::with_capacity(ROOM),
            hints: Vec::new(),
            last_set: None,
            loops: Vec::new(),
            locals: Locals::new(FIRST),
            slots: [None; ALL_SLOTS],
            written: 0,
            uses_memory: false,
            places: Places::default(),
            block: 0,
            rmw: None,
            labels: Vec::new(),
            scratch: [None; SCRATCH],
            consts: Vec::new(),
            long_consts: Vec::new(),
            float: crate::float::Float::default(),
            shares: 0,
        };
        e.uses_memory = region.blocks.iter().flat_map(|b| &b.insts).any(|i| is_access(i.op));
        e.choose_slots();
        e
    }

    /// The instructions so far, to add to.
    pub(crate) fn i(&mut self) -> InstructionSink<'_> {
        InstructionSink::new(&mut self.code)
    }
    /// Pushes a local, to go on from there. What [`Emitter::set`] has put into it right before is kept on the stack instead.
    pub(crate) fn get(&mut self, local: u32) -> InstructionSink<'_> {
        match self.last_set.take() {
            Some((at, end, set)) if set == local && end == self.code.len() => self.code[at] = LOCAL_TEE,
            _ => self.local(LOCAL_GET, local),
        }
        self.i()
    }
    /// An operation on a local. Half of all that is generated are these.
    #[inline]
    fn local(&mut self, opcode: u8, local: u32) {
        if local < 0x80 {
            self.code.extend_from_slice(&[opcode, local as u8]);
        } else {
            self.code.push(opcode);
            local.encode(&mut self.code);
        }
    }
    /// Takes what is on the stack to a local.
    pub(crate) fn set(&mut self, local: u32) {
        let at = self.code.len();
        self.local(LOCAL_SET, local);
        self.last_set = Some((at, self.code.len(), local));
    }
    /// Pushes what [`Emitter::of_state`] is an offset from.
    pub(crate) fn state(&mut self) -> InstructionSink<'_> {
        let mut i = self.i();
        i.i32_const(0);
        i
    }
    /// The memory operand for what is at `offset` in the guest's state. `align`: as in [`at`].
    pub(crate) fn of_state(&self, offset: impl Into<u64>, align: u32) -> MemArg {
        at(u64::from(self.abi.state) + offset.into(), align)
    }
    pub(crate) fn layout(&self) -> &'r StateLayout {
        &self.abi.layout
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

    /// Leaves with `code` at the address in local `pc`, telling which region this is, and where.
    fn leave_with(&mut self, code: Leave, pc: u32) {
        let number = self.id.number as i32;
        self.get(STATE).local_get(pc).local_get(LEFT).local_get(BASE).i32_const(number);
        self.i().i32_const(code as i32).call(crate::shared::LEAVE).return_();
    }

    fn entry(&mut self) {
        use core::mem::offset_of;
        let l = *self.layout();
        self.get(LEFT).i64_const(0).i64_le_s();
        self.if_hinted(BlockType::Empty, false);
        self.leave_with(Leave::Lookup, BASE);
        self.i().end();
        if self.region.units != 0 {
            let (units, mask) = (self.exchange(offset_of!(guest_api::Exchange, units)), self.region.units as i32);
            let units = self.of_state(units, 2);
            self.state().i32_load(units).i32_const(mask).i32_and().i32_const(mask).i32_ne();
            self.if_hinted(BlockType::Empty, false);
            self.leave_with(Leave::Interpret, BASE);
            self.i().end();
        }
        if !self.region.pages.is_empty() {
            self.guard();
        }
        if self.uses_memory {
            let context = self.of_state(l.tlb_context, 3);
            self.state().i64_load(context);
            self.set(CONTEXT);
        }
        self.forget_pages();
        self.load_slots();
        self.i().block(BlockType::Empty).block(BlockType::Empty);
        self.labels = vec![Label::Exit, Label::Lookup];
    }

    /// Leaves where the region's pages are not known to be where it expects them.
    fn guard(&mut self) {
        use core::mem::{offset_of, size_of};
        let Id { serial, .. } = self.id;
        let entry = |field: usize| at((size_of::<Verified>() * Verified::index(serial) + field) as u32, 3);
        let table = self.exchange(offset_of!(guest_api::Exchange, verified));
        let table = self.of_state(table, 2);
        self.state().i32_load(table);
        self.set(ENTRY);
        // What differs, not whether: one jump, and V8 loads what it compares in memory twice.
        self.get(ENTRY).i64_load(entry(offset_of!(Verified, base))).local_get(BASE).i64_xor();
        // The key, and the serial number above it.
        self.get(ENTRY).i64_load(entry(offset_of!(Verified, key)));
        self.fetch_key(BASE);
        self.i().i64_extend_i32_u().i64_const((u64::from(serial) << 32) as i64).i64_or().i64_xor().i64_or();
        self.i().i64_const(0).i64_ne();
        self.if_hinted(BlockType::Empty, false);
        self.leave_with(Leave::Guard, BASE);
        self.i().end();
    }

    /// Pushes the key that what is known of code at the address in local `address` must have.
    fn fetch_key(&mut self, address: u32) {
        let keys = self.of_state(self.layout().fetch_keys, 2);
        self.i().local_get(address).i64_const(61).i64_shr_u().i32_wrap_i64().i32_const(4).i32_and();
        self.i().i32_load(keys);
    }

    /// What the blocks branch to when they leave, and the end of the function.
    fn exit(&mut self) {
        use core::mem::{offset_of, size_of};
        let lookup = self.abi.lookup_slot as i32;
        // No block runs into this.
        self.i().unreachable().end();
        if self.abi.linked {
            // As `guest_api::jump_index` says.
            self.get(TO).i32_wrap_i64().local_tee(ENTRY).local_get(ENTRY).i32_const(JUMP_SHIFT).i32_shr_u();
            self.i().i32_xor().i32_const(JUMPS as i32 - 1).i32_and();
            self.i().i32_const(size_of::<Jump>() as i32).i32_mul();
            let jumps = self.exchange(offset_of!(guest_api::Exchange, jumps));
            let jumps = self.of_state(jumps, 2);
            self.state().i32_load(jumps).i32_add();
            self.set(ENTRY);
            self.get(ENTRY).i32_load(at(offset_of!(Jump, slot) as u32, 2));
            self.i().i32_const(lookup);
            self.get(ENTRY).i64_load(at(offset_of!(Jump, pc) as u32, 3)).local_get(TO).i64_xor();
            self.get(ENTRY).i32_load(at(offset_of!(Jump, key) as u32, 2));
            self.fetch_key(TO);
            self.i().i32_xor().i64_extend_i32_u().i64_or().i64_eqz().select();
            self.set(SLOT);
        } else {
            self.i().i32_const(lookup);
            self.set(SLOT);
        }
        self.i().end();
        self.store_slots();
        self.get(SLOT).i32_eqz();
        self.if_hinted(BlockType::Empty, false);
        self.leave_with(Leave::Side, TO);
        self.i().end();
        if self.abi.linked {
            self.get(STATE).local_get(TO).local_get(LEFT).local_get(SLOT).return_call_indirect(0, 0);
        } else {
            let slot = self.abi.interpret_slot as i32;
            self.get(SLOT).i32_const(slot).i32_eq();
            self.if_hinted(BlockType::Empty, false);
            self.leave_with(Leave::Interpret, TO);
            self.i().end();
            self.leave_with(Leave::Lookup, TO);
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
        let hints = self.hints.iter().map(|&(at, likely)| (at + start, likely)).collect();
        Code { body, hints, loops: self.loops, shares: self.shares }
    }

    /// The operations of block `n`, up to its end.
    pub(crate) fn operations(&mut self, n: usize) {
        let region = self.region;
        let block = &region.blocks[n];
        self.places.place(block, &self.slots, &mut self.locals);
        (self.block, self.rmw) = (n, None);
        self.float.begin(block);
        if block.insns > 0 {
            self.get(LEFT).i64_const(block.insns.into()).i64_sub();
            self.set(LEFT);
        }
        for (k, i) in block.insts.iter().enumerate() {
            let place = self.places[k];
            match i.op {
                Op::Put | Op::PutX => self.put_slot(i),
                Op::PutShared => self.store_slot(i.imm as usize, |e| e.value(i.args[0])),
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
                Op::Fork => self.fork(n as u32, i),
                op if op.shape().effect == Effect::Exits => {
                    self.exiting(k, i);
                    match (place, op.shape().result) {
                        (Place::Local(local), _) => self.set(local),
                        (_, Some(_)) => _ = self.i().drop(),
                        (_, None) => {}
                    }
                }
                _ => {
                    if let Place::Local(local) = place {
                        self.compute(i);
                        self.set(local);
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
            _ => self.access(i, self.is_widened(Val(k as u32))),
        }
    }

    /// Pushes the value.
    pub(crate) fn value(&mut self, v: Val) {
        match self.places[v.index()] {
            Place::Local(local) => _ = self.get(local),
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
        match (i.op, self.slot(&i)) {
            (Op::Get | Op::GetX, Some(local)) => local,
            _ => {
                self.value(v);
                self.set(otherwise);
                otherwise
            }
        }
    }

    /// Whether `v` is in a local, its own or a slot's.
    pub(crate) fn is_in_local(&self, v: Val) -> bool {
        let i = &self.region.blocks[self.block].insts[v.index()];
        matches!(self.places[v.index()], Place::Local(_))
            || matches!(i.op, Op::Get | Op::GetX) && self.slot(i).is_some()
    }

    /// Whether `v` was loaded as a vector: see [`Places::is_widened`].
    pub(crate) fn is_widened(&self, v: Val) -> bool {
        self.places.is_widened(&self.region.blocks[self.block], v.index())
    }

    /// Pushes what a pure operation computes.
    pub(crate) fn compute(&mut self, i: &Inst) {
        if i.op.is_vector() { crate::vector::compute(self, i) } else { self.scalar(i) }
    }

    /// How many labels `label` is out from here.
    fn depth(&self, label: Label) -> u32 {
        let at = self.labels.iter().rposition(|&l| l == label).unwrap_or(0);
        (self.labels.len() - 1 - at) as u32
    }
    /// Branches to `label`.
    pub(crate) fn br(&mut self, label: Label) {
        let depth = self.depth(label);
        self.i().br(depth);
    }
    /// Branches to `label` where the condition on the stack holds, which is not likely.
    pub(crate) fn br_if_unlikely(&mut self, label: Label) {
        let depth = self.depth(label);
        self.hints.push((self.code.len() as u32, false));
        self.i().br_if(depth);
    }

    /// Sets the number of the side exit by which may be left.
    pub(crate) fn exit_number(&mut self, n: u32) {
        self.i().i64_const(n.into());
        self.set(TO);
    }
    /// Leaves by side exit `n`.
    pub(crate) fn side_exit(&mut self, n: u32) {
        self.exit_number(n);
        self.br(Label::Exit);
    }

    /// The side exit for a budget that is used up before block `n`.
    pub(crate) fn budget_exit(&mut self, n: u32) -> u32 {
        let pc = self.region.blocks[n as usize].pc;
        let k = self.loops.iter().position(|&l| l == pc).unwrap_or_else(|| {
            self.loops.push(pc);
            self.loops.len() - 1
        });
        (self.region.exits.len() + k) as u32
    }
    /// Leaves by side exit `n` where the condition on the stack holds, which is not likely.
    pub(crate) fn side_exit_if(&mut self, n: u32) {
        self.if_hinted(BlockType::Empty, false);
        self.labels.push(Label::If);
        self.side_exit(n);
        self.labels.pop();
        self.i().end();
    }

    /// Pushes the address of the code at offset `pc`.
    pub(crate) fn pc(&mut self, pc: i64) {
        self.get(BASE);
        if pc != 0 {
            self.i().i64_const(pc).i64_add();
        }
    }

    /// Leaves to offset `pc`, going on at table slot `slot`.
    pub(crate) fn leave(&mut self, pc: i64, slot: u32) {
        self.pc(pc);
        self.set(TO);
        self.i().i32_const(slot as i32).local_set(SLOT);
        self.br(Label::Exit);
    }
    /// Leaves to `target`, which is out of the region.
    pub(crate) fn leave_to(&mut self, target: Target) {
        let Target::Out { pc, slot } = target else { return };
        if slot != 0 {
            return self.leave(pc, slot);
        }
        self.pc(pc);
        self.set(TO);
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
