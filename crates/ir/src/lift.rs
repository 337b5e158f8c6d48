//! The recording instance of the vocabulary: guest semantics become operations.
//!
//! What is known while recording is used at once ([`crate::fold`]): constants, values of slots that the block has already read or
//! written, operands that cannot have upper bits. The condition flags are kept as what they come from; a condition is computed
//! from that when it is asked for, so a comparison and a branch become one comparison.

use core::convert::Infallible;

use guest_api::{
    Align, Bin, Cond, Emit, EmitVector, F1, F2, Flag, FlagForm, FlagOp, FlagSource, Fp, FpCvt, FpMode, FpOrder, FpRel,
    Helper, Lane, Rel, Slot, Space, Trap, Un, Unit, V1, V2, Width, XSlot,
};

use crate::Op;
use crate::fold;
use crate::region::{Exit, Fork, Inst, Region, SLOTS, Target, Val, XSLOTS, flag_slot};

/// Operations for which there is room when a block begins: most have fewer.
const ROOM: usize = 64;

/// How the recorded instructions of a block end. Offsets are from the region's base.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// They do not: what follows them is next.
    Fall,
    Jump(i64),
    Branch {
        cond: Val,
        then: i64,
        other: i64,
    },
    Goto(Val),
}

/// Where the flags but the carry are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Source {
    /// In their slots, in this form.
    Slots(FlagForm),
    /// In their slots, in a form that is not known; and packed, but for the carry, if they were asked for.
    Unknown(Val),
    /// These values, which are also in the slots.
    Values { source: FlagSource, w: Width, apart: bool, a: Val, b: Val, r: Val },
}

impl Source {
    /// The slots, in this form if it is known.
    fn slots(form: Option<FlagForm>) -> Source {
        form.map_or(Source::Unknown(Val::NONE), Source::Slots)
    }
    /// The form in which the slots have it, where that is known.
    fn form(self) -> Option<FlagForm> {
        match self {
            Source::Slots(form) => Some(form),
            Source::Unknown(_) => None,
            Source::Values { source, w, apart, .. } => {
                let form = FlagForm::new(source, w);
                Some(if apart { form.apart() } else { form })
            }
        }
    }
}

/// Where the instructions of a block go that were recorded since it began, or since it was last asked.
#[derive(Clone, Copy)]
pub struct Way {
    pub end: End,
    /// They end with a call that returns to this offset.
    pub calls: Option<i64>,
    /// They end with a return.
    pub returns: bool,
    /// The form of the flags at their end, if it is known.
    pub form: Option<FlagForm>,
}

/// A block as recorded.
pub struct Recorded {
    pub insts: Vec<Inst>,
    pub insns: u32,
    pub forks: Vec<Fork>,
    /// Of its last instructions.
    pub way: Way,
}

/// Records the blocks of a region, one after the other.
pub struct Lift<'r> {
    region: &'r mut Region,
    supports: fn(Op) -> bool,
    base: u64,
    zero: Slot,
    block: Slot,
    insts: Vec<Inst>,
    slots: [Val; SLOTS],
    xslots: [Val; XSLOTS],
    source: Source,
    /// Conditions of single flags that are known beside `source`, by [`Flag`]; the carry is always among the known or in its slot.
    flags: [Val; 6],
    /// Slots put and vector slots put in the current conditional part.
    puts: u64,
    xputs: u32,
    depth: u32,
    /// Of the instruction being recorded: where it is, its exit once it has one, whether it has stored.
    pc: u64,
    block_pc: u64,
    exit: Option<u32>,
    stored: bool,
    refused: bool,
    end: End,
    calls: Option<i64>,
    returns: bool,
    /// Instructions of the block recorded before the current one.
    insns: u32,
    forks: Vec<Fork>,
    first_exit: usize,
    saved: Saved,
}

/// What is brought back when an instruction turns out not to be one for translation.
#[derive(Clone, Copy)]
struct Saved {
    insts: usize,
    exits: usize,
    consts: usize,
    units: u32,
    source: Source,
    flags: [Val; 6],
}

impl<'r> Lift<'r> {
    /// Records into `region`, whose base is linear address `base`. `zero` and `block` are the guest's slots that always read 0 and
    /// the address of the block. `supports`: which operations may be recorded.
    pub fn new(region: &'r mut Region, base: u64, zero: Slot, block: Slot, supports: fn(Op) -> bool) -> Self {
        let (source, flags) = (Source::slots(None), [Val::NONE; 6]);
        Lift {
            saved: Saved { insts: 0, exits: 0, consts: 0, units: 0, source, flags },
            region,
            supports,
            base,
            zero,
            block,
            insts: Vec::new(),
            slots: [Val::NONE; SLOTS],
            xslots: [Val::NONE; XSLOTS],
            source,
            flags,
            puts: 0,
            xputs: 0,
            depth: 0,
            pc: 0,
            block_pc: 0,
            exit: None,
            stored: false,
            refused: false,
            end: End::Fall,
            calls: None,
            returns: false,
            insns: 0,
            forks: Vec::new(),
            first_exit: 0,
        }
    }

    /// Begins a block, at whose start the flags are in `form`, where that is known.
    pub fn begin_block(&mut self, form: Option<FlagForm>) {
        self.insts = Vec::with_capacity(ROOM);
        self.slots = [Val::NONE; SLOTS];
        self.xslots = [Val::NONE; XSLOTS];
        self.source = Source::slots(form);
        self.flags = [Val::NONE; 6];
        self.end = End::Fall;
        (self.calls, self.returns) = (None, false);
        self.insns = 0;
        self.first_exit = self.region.exits.len();
    }

    /// Begins the instruction at linear address `pc`, decoded in a block at `block_pc`.
    pub fn begin_insn(&mut self, block_pc: u64, pc: u64) {
        (self.block_pc, self.pc) = (block_pc, pc);
        (self.exit, self.stored, self.refused) = (None, false, false);
        self.saved = Saved {
            insts: self.insts.len(),
            exits: self.region.exits.len(),
            consts: self.region.consts.len(),
            units: self.region.units,
            source: self.source,
            flags: self.flags,
        };
    }

    /// Ends the instruction. False where it is not one for translation: nothing of it was recorded, and the block must end
    /// before it.
    pub fn end_insn(&mut self) -> bool {
        if self.refused {
            let s = self.saved;
            self.insts.truncate(s.insts);
            self.region.exits.truncate(s.exits);
            self.region.consts.truncate(s.consts);
            self.region.units = s.units;
            (self.source, self.flags) = (s.source, s.flags);
            // What slots hold may be of the instruction, or was replaced by it.
            (self.slots, self.xslots) = ([Val::NONE; SLOTS], [Val::NONE; XSLOTS]);
            self.end = End::Fall;
            (self.calls, self.returns) = (None, false);
            self.depth = 0;
            return false;
        }
        self.insns += 1;
        true
    }

    /// Where the instructions so far go. More may follow in the block: what they find on one way, the others being [forks](Lift::fork).
    pub fn way(&mut self) -> Way {
        let form = self.source.form();
        if let (Source::Values { .. }, Some(form)) = (self.source, form) {
            self.put_form(form);
        }
        let way = Way { end: self.end, calls: self.calls, returns: self.returns, form };
        self.end = End::Fall;
        (self.calls, self.returns) = (None, false);
        way
    }

    /// Goes to `to`, where `cond` holds, or else where it does not.
    pub fn fork(&mut self, cond: Val, holds: bool, to: Target) {
        let cond = if holds { cond } else { self.not(cond) };
        self.push(Op::Fork, &[cond], self.forks.len() as u64);
        // Until the block ends: the number of instructions done.
        self.forks.push(Fork { to, undone: self.insns });
    }

    /// Ends the block.
    pub fn end_block(&mut self) -> Recorded {
        let way = self.way();
        // recorded as the number of instructions done
        let undone = self.region.exits[self.first_exit..].iter_mut().map(|e| &mut e.undone);
        for undone in undone.chain(self.forks.iter_mut().map(|f| &mut f.undone)) {
            *undone = self.insns - *undone;
        }
        Recorded {
            insts: core::mem::take(&mut self.insts),
            insns: self.insns,
            forks: core::mem::take(&mut self.forks),
            way,
        }
    }

    fn offset(&self, pc: u64) -> i64 {
        pc.wrapping_sub(self.base) as i64
    }
    /// Leaves the instruction to the interpreter.
    pub fn refuse(&mut self) {
        self.refused = true;
    }

    fn push(&mut self, op: Op, args: &[Val], imm: u64) -> Val {
        if !(self.supports)(op) {
            self.refused = true;
        }
        let v = Val(self.insts.len() as u32);
        self.insts.push(Inst::new(op, args, imm, u32::MAX));
        v
    }
    /// An operation that may leave by the instruction's exit.
    fn push_exit(&mut self, op: Op, args: &[Val], imm: u64) -> Val {
        let exit = match self.exit {
            Some(exit) => exit,
            None => {
                let form = self.saved.source.form();
                self.region.exits.push(Exit { pc: self.offset(self.pc), undone: self.insns, form });
                let exit = self.region.exits.len() as u32 - 1;
                self.exit = Some(exit);
                exit
            }
        };
        let v = self.push(op, args, imm);
        self.insts[v.index()].exit = exit;
        v
    }
    fn vector_const(&mut self, v: u128) -> u64 {
        let consts = &mut self.region.consts;
        let n = consts.iter().position(|&c| c == v).unwrap_or_else(|| {
            consts.push(v);
            consts.len() - 1
        });
        n as u64
    }

    fn get_slot(&mut self, slot: u8) -> Val {
        let n = usize::from(slot);
        if n >= SLOTS {
            self.refuse();
            return self.imm(0);
        }
        if self.slots[n] == Val::NONE {
            self.slots[n] = self.push(Op::Get, &[], slot.into());
        }
        self.slots[n]
    }
    fn put_slot(&mut self, slot: u8, v: Val) {
        let n = usize::from(slot);
        if n >= SLOTS {
            return self.refuse();
        }
        if self.slots[n] == v {
            return; // it has that value
        }
        self.push(Op::Put, &[v], slot.into());
        self.slots[n] = v;
        self.puts |= 1 << n;
    }

    fn put_form(&mut self, form: FlagForm) {
        let form = self.imm(form.0.into());
        self.put_slot(flag_slot::FORM, form);
    }

    /// `v` as a condition.
    fn nonzero(&mut self, v: Val) -> Val {
        let zero = self.imm(0);
        self.rel(Rel::Ne, v, zero)
    }
    fn sign_of(&mut self, w: Width, v: Val) -> Val {
        let v = self.sext(w, v);
        let zero = self.imm(0);
        self.rel(Rel::LtS, v, zero)
    }
    fn never(&mut self) -> Val {
        let zero = self.imm(0);
        self.rel(Rel::Ne, zero, zero)
    }

    /// Where the flags come from, as values; packed flags are `Values` too.
    fn values(&mut self) -> (FlagSource, Width, Val, Val, Val) {
        match self.source {
            Source::Values { source, w, a, b, r, .. } => return (source, w, a, b, r),
            Source::Unknown(bits) if bits != Val::NONE => return (FlagSource::Packed, Width::W64, bits, bits, bits),
            Source::Slots(_) | Source::Unknown(_) => {}
        }
        let (a, b, r) = (self.get_slot(flag_slot::A), self.get_slot(flag_slot::B), self.get_slot(flag_slot::R));
        match self.source.form() {
            Some(form) => {
                let (source, w) = (form.source(), form.width());
                let r = match source {
                    FlagSource::Add => {
                        let r = self.bin(Bin::Add, a, b);
                        self.zext(w, r)
                    }
                    FlagSource::Sub => {
                        let r = self.bin(Bin::Sub, a, b);
                        self.zext(w, r)
                    }
                    _ => r,
                };
                if self.depth == 0 {
                    self.source = Source::Values { source, w, apart: form.is_apart(), a, b, r };
                }
                (source, w, a, b, r)
            }
            None => {
                let form = self.get_slot(flag_slot::FORM);
                let bits = self.push(Op::PackFlags, &[form, a, b, r], 0);
                if self.depth == 0 {
                    self.source = Source::Unknown(bits);
                }
                (FlagSource::Packed, Width::W64, bits, bits, bits)
            }
        }
    }

    /// All flags but the carry, packed.
    fn packed(&mut self) -> Val {
        let mut v = self.imm(0);
        for f in [Flag::Parity, Flag::Aux, Flag::Zero, Flag::Sign, Flag::Overflow] {
            let c = self.flag(f);
            let c = self.value(c);
            let c = self.shift_imm(Bin::Shl, c, f as u32);
            v = self.or(v, c);
        }
        v
    }

    /// Whether `r` is `op` of `a` and `b` at width `w`, without a carry in.
    fn is_plain(&self, op: Bin, w: Width, a: Val, b: Val, r: Val) -> bool {
        let r = self.insts[fold::strip(&self.insts, r, w).index()];
        let same = |x: Val, y: Val| fold::strip(&self.insts, x, w) == fold::strip(&self.insts, y, w);
        r.op == Op::Bin(op) && same(r.args[0], a) && same(r.args[1], b)
    }

    /// Sets the flags. `carry`: it is apart.
    fn set_source(&mut self, source: FlagSource, w: Width, [a, b, r]: [Val; 3], carry: Option<Val>) {
        self.source = Source::Values { source, w, apart: false, a, b, r };
        self.flags = [Val::NONE; 6];
        let [has_a, has_b, has_r] = source.operands();
        for (has, slot, v) in [(has_a, flag_slot::A, a), (has_b, flag_slot::B, b), (has_r, flag_slot::R, r)] {
            if has {
                self.put_slot(slot, v);
            }
        }
        if let Some(carry) = carry {
            self.set_carry(carry);
        }
    }
    /// Sets the carry apart.
    fn set_carry(&mut self, c: Val) {
        let v = self.value(c);
        self.put_slot(flag_slot::CARRY, v);
        self.flags[Flag::Carry as usize] = c;
        match &mut self.source {
            Source::Values { apart, .. } => *apart = true,
            Source::Slots(form) => {
                *form = form.apart();
                let form = *form;
                self.put_form(form);
            }
            Source::Unknown(_) => {
                let form = self.get_slot(flag_slot::FORM);
                let apart = self.imm(FlagForm(0).apart().0.into());
                let form = self.or(form, apart);
                self.put_slot(flag_slot::FORM, form);
            }
        }
    }
    /// The carry, computed where it is not known yet.
    fn carry(&mut self) -> Val {
        let Some(form) = self.source.form() else {
            let [form, a, b, carry] =
                [flag_slot::FORM, flag_slot::A, flag_slot::B, flag_slot::CARRY].map(|s| self.get_slot(s));
            return self.push(Op::CarryOf, &[form, a, b, carry], 0);
        };
        if form.is_apart() {
            let v = self.get_slot(flag_slot::CARRY);
            return self.nonzero(v);
        }
        let (source, _, a, b, r) = self.values();
        match source {
            FlagSource::Add => self.rel(Rel::LtU, r, a),
            FlagSource::Sub => self.rel(Rel::LtU, a, b),
            _ => self.never(),
        }
    }

    /// Records what `f` records as done where `c` holds.
    fn nest(&mut self, c: Val, f: impl FnOnce(&mut Self)) {
        // What the flags are afterwards depends on the condition, so they must be in their slots before.
        let before = self.source.form();
        let (source, flags) = (self.source, self.flags);
        if let Some(form) = before {
            self.put_form(form);
        }
        self.push(Op::If, &[c], 0);
        let (slots, xslots, puts, xputs) = (self.slots, self.xslots, self.puts, self.xputs);
        (self.puts, self.xputs) = (0, 0);
        self.depth += 1;
        f(self);
        self.depth -= 1;
        let sourced = self.source != source;
        if sourced && let Some(form) = self.source.form() {
            self.put_form(form);
        }
        self.push(Op::End, &[], 0);
        let (inner, xinner) = (self.puts, self.xputs);
        (self.slots, self.xslots) = (slots, xslots);
        for (n, v) in self.slots.iter_mut().enumerate() {
            if inner >> n & 1 != 0 {
                *v = Val::NONE;
            }
        }
        for (n, v) in self.xslots.iter_mut().enumerate() {
            if xinner >> n & 1 != 0 {
                *v = Val::NONE;
            }
        }
        (self.puts, self.xputs) = (puts | inner, xputs | xinner);
        let flags_put = flag_slot::ALL.iter().any(|&s| inner >> s & 1 != 0);
        if flags_put {
            self.source = Source::slots(before.filter(|_| !sourced));
            self.flags = [Val::NONE; 6];
        } else {
            (self.source, self.flags) = (source, flags);
        }
    }

    fn out(&mut self, end: End) {
        if self.depth != 0 || self.end != End::Fall {
            return self.refuse();
        }
        self.end = end;
    }
}

impl Emit for Lift<'_> {
    type V = Val;
    type C = Val;
    type Exit = Infallible;

    fn block_pc(&self) -> u64 {
        self.block_pc
    }
    fn imm(&mut self, v: u64) -> Val {
        self.push(Op::Const, &[], v)
    }
    fn code_address(&mut self, pc: u64) -> Val {
        let offset = self.offset(pc) as u64;
        self.push(Op::Pc, &[], offset)
    }
    fn get(&mut self, s: Slot) -> Val {
        if s == self.zero {
            return self.imm(0);
        }
        if s == self.block {
            return self.code_address(self.block_pc);
        }
        self.get_slot(s.0)
    }
    fn put(&mut self, s: Slot, v: Val) {
        if s == self.zero || s == self.block {
            return self.refuse();
        }
        self.put_slot(s.0, v);
    }
    fn get_shared(&mut self, s: Slot) -> Val {
        self.push(Op::GetShared, &[], s.0.into())
    }
    fn put_shared(&mut self, s: Slot, v: Val) {
        self.push(Op::PutShared, &[v], s.0.into());
    }
    fn bin(&mut self, op: Bin, a: Val, b: Val) -> Val {
        match fold::bin(&mut self.insts, op, a, b) {
            Some(v) => v,
            None => self.push(Op::Bin(op), &[a, b], 0),
        }
    }
    fn un(&mut self, op: Un, a: Val) -> Val {
        match fold::un(&mut self.insts, op, a) {
            Some(v) => v,
            None => self.push(Op::Un(op), &[a], 0),
        }
    }
    fn rel(&mut self, op: Rel, a: Val, b: Val) -> Val {
        self.push(Op::Rel(op), &[a, b], 0)
    }
    fn not(&mut self, c: Val) -> Val {
        match fold::not(&mut self.insts, c) {
            Some(v) => v,
            None => self.push(Op::Not, &[c], 0),
        }
    }
    fn both(&mut self, a: Val, b: Val) -> Val {
        self.push(Op::Both, &[a, b], 0)
    }
    fn either(&mut self, a: Val, b: Val) -> Val {
        self.push(Op::Either, &[a, b], 0)
    }
    fn overflows_signed(&mut self, a: Val, b: Val) -> Val {
        self.push(Op::Overflows, &[a, b], 0)
    }
    fn value(&mut self, c: Val) -> Val {
        match fold::value(&mut self.insts, c) {
            Some(v) => v,
            None => self.push(Op::Value, &[c], 0),
        }
    }
    fn select(&mut self, c: Val, then: Val, other: Val) -> Val {
        self.push(Op::Select, &[c, then, other], 0)
    }

    fn load(&mut self, w: Width, addr: Val, s: Space) -> Result<Val, Infallible> {
        self.linear(s);
        Ok(self.push_exit(Op::Load(w), &[addr], 0))
    }
    fn load_rmw(&mut self, w: Width, addr: Val, s: Space) -> Result<Val, Infallible> {
        self.linear(s);
        Ok(self.push_exit(Op::LoadRmw(w), &[addr], 0))
    }
    fn store(&mut self, w: Width, addr: Val, v: Val, s: Space) -> Result<(), Infallible> {
        self.linear(s);
        self.stores();
        self.push_exit(Op::Store(w), &[addr, v], 0);
        Ok(())
    }
    fn probe_write(&mut self, bytes: u32, addr: Val, s: Space) -> Result<(), Infallible> {
        self.linear(s);
        self.push_exit(Op::Probe, &[addr], bytes.into());
        Ok(())
    }

    fn flags(&mut self, op: FlagOp, w: Width, a: Val, b: Val, r: Val) {
        let (source, carry) = match op {
            FlagOp::Logic => (FlagSource::Logic, None),
            FlagOp::Add if self.is_plain(Bin::Add, w, a, b, r) => (FlagSource::Add, None),
            FlagOp::Sub if self.is_plain(Bin::Sub, w, a, b, r) => (FlagSource::Sub, None),
            FlagOp::Add => {
                // The carry out of the top bit: (a & b) | ((a | b) & !r).
                let (and, or, not) = (self.and(a, b), self.or(a, b), self.un(Un::Not, r));
                let t = self.and(or, not);
                let t = self.or(and, t);
                (FlagSource::AddCarry, Some(self.sign_of(w, t)))
            }
            FlagOp::Sub => {
                let not = self.un(Un::Not, a);
                let (and, or) = (self.and(not, b), self.or(not, b));
                let t = self.and(or, r);
                let t = self.or(and, t);
                (FlagSource::SubBorrow, Some(self.sign_of(w, t)))
            }
        };
        self.set_source(source, w, [a, b, r], carry);
    }
    fn flags_with(&mut self, w: Width, r: Val, carry: Val, overflow: Val) {
        let b = self.value(overflow);
        self.set_source(FlagSource::Given, w, [Val::NONE, b, r], Some(carry));
        self.flags[Flag::Overflow as usize] = overflow;
    }
    fn set_flag(&mut self, f: Flag, c: Val) {
        if f == Flag::Carry {
            return self.set_carry(c);
        }
        let mut flags = self.flags;
        flags[f as usize] = c;
        self.flags[f as usize] = c;
        let carry = self.flag(Flag::Carry);
        let bits = self.packed();
        self.set_source(FlagSource::Packed, Width::W64, [bits, bits, bits], Some(carry));
        flags[Flag::Carry as usize] = carry;
        self.flags = flags;
    }
    fn flag(&mut self, f: Flag) -> Val {
        let known = self.flags[f as usize];
        if known != Val::NONE {
            return known;
        }
        if f == Flag::Carry {
            return self.carry();
        }
        let (source, w, a, b, r) = self.values();
        if source == FlagSource::Packed {
            return self.bit(a, f as u32);
        }
        let (zero, plain) = (self.imm(0), matches!(source, FlagSource::Logic | FlagSource::Given));
        match f {
            Flag::Zero if source == FlagSource::Sub => self.rel(Rel::Eq, a, b),
            Flag::Zero => self.rel(Rel::Eq, r, zero),
            Flag::Sign => self.sign_of(w, r),
            Flag::Parity => {
                let v = self.un(Un::Zext8, r);
                let v = self.un(Un::Popcnt, v);
                let v = self.and_imm(v, 1);
                self.rel(Rel::Eq, v, zero)
            }
            Flag::Aux if plain => self.never(),
            Flag::Aux => {
                let v = self.xor(a, b);
                let v = self.xor(v, r);
                self.bit(v, 4)
            }
            Flag::Overflow if source == FlagSource::Given => self.nonzero(b),
            Flag::Overflow if plain => self.never(),
            Flag::Overflow | Flag::Carry => {
                let (ab, ar) = (self.xor(a, b), self.xor(a, r));
                let ab =
                    if matches!(source, FlagSource::Add | FlagSource::AddCarry) { self.un(Un::Not, ab) } else { ab };
                let v = self.and(ab, ar);
                self.sign_of(w, v)
            }
        }
    }
    fn cond(&mut self, c: Cond) -> Val {
        let (sub, logic, w, a, b, r) = match self.source {
            // Single flags that are known say more than where the rest came from.
            _ if self.flags[1..].iter().any(|&f| f != Val::NONE) => {
                (false, false, Width::W64, Val::NONE, Val::NONE, Val::NONE)
            }
            Source::Unknown(_) => (false, false, Width::W64, Val::NONE, Val::NONE, Val::NONE),
            _ => {
                let (source, w, a, b, r) = self.values();
                (source == FlagSource::Sub, source == FlagSource::Logic, w, a, b, r)
            }
        };
        let v = match c {
            Cond::O | Cond::No => self.flag(Flag::Overflow),
            Cond::B | Cond::Ae => self.flag(Flag::Carry),
            Cond::E | Cond::Ne => self.flag(Flag::Zero),
            // The carry of a comparison can have been replaced since.
            Cond::Be | Cond::A if sub && self.source.form().is_some_and(|f| !f.is_apart()) => self.rel(Rel::LeU, a, b),
            Cond::Be | Cond::A => {
                let (carry, zero) = (self.flag(Flag::Carry), self.flag(Flag::Zero));
                self.either(carry, zero)
            }
            Cond::S | Cond::Ns => self.flag(Flag::Sign),
            Cond::P | Cond::Np => self.flag(Flag::Parity),
            Cond::L | Cond::Ge | Cond::Le | Cond::G if sub || logic => {
                let (x, y) = if sub { (self.sext(w, a), self.sext(w, b)) } else { (self.sext(w, r), self.imm(0)) };
                self.rel(if matches!(c, Cond::L | Cond::Ge) { Rel::LtS } else { Rel::LeS }, x, y)
            }
            Cond::L | Cond::Ge | Cond::Le | Cond::G => {
                let (s, o) = (self.flag(Flag::Sign), self.flag(Flag::Overflow));
                let (s, o) = (self.value(s), self.value(o));
                let less = self.rel(Rel::Ne, s, o);
                if matches!(c, Cond::L | Cond::Ge) {
                    less
                } else {
                    let zero = self.flag(Flag::Zero);
                    self.either(less, zero)
                }
            }
        };
        if c as u8 & 1 != 0 { self.not(v) } else { v }
    }

    fn when(&mut self, c: Val, f: impl FnOnce(&mut Self) -> Result<(), Infallible>) -> Result<(), Infallible> {
        self.nest(c, |e| {
            let Ok(()) = f(e);
        });
        Ok(())
    }
    fn raise(&mut self, _: Trap) -> Result<(), Infallible> {
        if self.depth == 0 {
            self.refuse();
        } else {
            self.push_exit(Op::Bail, &[], 0);
        }
        Ok(())
    }
    fn helper(&mut self, h: Helper, args: &[Val]) -> Result<Val, Infallible> {
        let none = self.imm(0);
        let mut all = [none; 4];
        if args.len() > 4 {
            self.refuse();
        } else {
            all[..args.len()].copy_from_slice(args);
        }
        Ok(self.push_exit(Op::Helper, &all, h.0.into()))
    }
    fn div_wide(&mut self, h: Helper, signed: bool, high: Val, low: Val, d: Val) -> Result<Val, Infallible> {
        Ok(self.push_exit(Op::DivWide(signed), &[high, low, d], h.0.into()))
    }

    fn calls(&mut self, back: u64) {
        self.calls = Some(self.offset(back));
    }
    fn returns(&mut self) {
        self.returns = true;
    }
    fn jump(&mut self, target: u64) {
        let target = self.offset(target);
        self.out(End::Jump(target));
    }
    fn goto(&mut self, target: Val) {
        self.out(End::Goto(target));
    }
    fn branch(&mut self, c: Val, taken: u64, next: u64) {
        let (then, other) = (self.offset(taken), self.offset(next));
        self.out(End::Branch { cond: c, then, other });
    }
}

impl Lift<'_> {
    /// Addresses must be linear ones.
    fn linear(&mut self, s: Space) {
        if s.0 > 1 {
            self.refuse();
        }
    }
    /// An instruction that stores twice could meet a device or code at the second store.
    fn stores(&mut self) {
        if self.stored {
            self.refuse();
        }
        self.stored = true;
    }
}

impl EmitVector for Lift<'_> {
    type X = Val;

    fn require(&mut self, unit: Unit) -> Result<(), Infallible> {
        self.region.units |= 1 << (unit.0 & 31);
        Ok(())
    }
    fn getx(&mut self, s: XSlot) -> Val {
        let n = usize::from(s.0);
        if n >= XSLOTS {
            self.refuse();
            return self.immx(0);
        }
        if self.xslots[n] == Val::NONE {
            self.xslots[n] = self.push(Op::GetX, &[], n as u64);
        }
        self.xslots[n]
    }
    fn putx(&mut self, s: XSlot, v: Val) {
        let n = usize::from(s.0);
        if n >= XSLOTS {
            return self.refuse();
        }
        if self.xslots[n] == v {
            return;
        }
        self.push(Op::PutX, &[v], n as u64);
        self.xslots[n] = v;
        self.xputs |= 1 << n;
    }
    fn loadx(&mut self, align: Align, addr: Val, s: Space) -> Result<Val, Infallible> {
        self.linear(s);
        Ok(self.push_exit(Op::LoadX(align), &[addr], 0))
    }
    fn storex(&mut self, align: Align, addr: Val, v: Val, s: Space) -> Result<(), Infallible> {
        self.linear(s);
        self.stores();
        self.push_exit(Op::StoreX(align), &[addr, v], 0);
        Ok(())
    }
    fn immx(&mut self, v: u128) -> Val {
        let n = self.vector_const(v);
        self.push(Op::ConstX, &[], n)
    }
    fn v1(&mut self, op: V1, a: Val) -> Val {
        self.push(Op::V1(op), &[a], 0)
    }
    fn v2(&mut self, op: V2, a: Val, b: Val) -> Val {
        if a == b {
            match op {
                V2::Xor | V2::AndNot | V2::Sub(_) | V2::GtS(_) => return self.immx(0),
                V2::Eq(_) => return self.immx(u128::MAX),
                V2::And | V2::Or => return a,
                _ => {}
            }
        }
        self.push(Op::V2(op), &[a, b], 0)
    }
    fn vshift(&mut self, op: Bin, lane: Lane, a: Val, n: Val) -> Val {
        self.push(Op::VShift(op, lane), &[a, n], 0)
    }
    fn shuffle(&mut self, lane: Lane, sel: [u8; 16], a: Val, b: Val) -> Val {
        let n = self.vector_const(u128::from_le_bytes(sel));
        self.push(Op::Shuffle(lane), &[a, b], n)
    }
    fn vselect(&mut self, mask: Val, then: Val, other: Val) -> Val {
        self.push(Op::VSelect, &[mask, then, other], 0)
    }
    fn widen(&mut self, v: Val) -> Val {
        self.push(Op::Widen, &[v], 0)
    }
    fn extract(&mut self, lane: Lane, n: u8, a: Val) -> Val {
        let from = self.insts[a.index()];
        if from.op == Op::Widen && n == 0 {
            return match lane {
                Lane::B64 => from.args[0],
                Lane::B32 => self.zext(Width::W32, from.args[0]),
                Lane::B16 => self.zext(Width::W16, from.args[0]),
                Lane::B8 => self.zext(Width::W8, from.args[0]),
            };
        }
        self.push(Op::Extract(lane), &[a], n.into())
    }
    fn insert(&mut self, lane: Lane, n: u8, a: Val, v: Val) -> Val {
        self.push(Op::Insert(lane), &[a, v], n.into())
    }
    fn movemask(&mut self, lane: Lane, a: Val) -> Val {
        self.push(Op::MoveMask(lane), &[a], 0)
    }
    fn is_zero(&mut self, a: Val) -> Val {
        self.push(Op::IsZero, &[a], 0)
    }
    fn f2(&mut self, op: F2, shape: Fp, a: Val, b: Val) -> Result<Val, Infallible> {
        Ok(self.push_exit(Op::F2(op, shape), &[a, b], 0))
    }
    fn f1(&mut self, op: F1, shape: Fp, a: Val, b: Val) -> Result<Val, Infallible> {
        Ok(self.push_exit(Op::F1(op, shape), &[a, b], 0))
    }
    fn fcmp(&mut self, rel: FpRel, shape: Fp, a: Val, b: Val) -> Result<Val, Infallible> {
        Ok(self.push_exit(Op::FCmp(rel, shape), &[a, b], 0))
    }
    fn forder(&mut self, double: bool, signal: bool, a: Val, b: Val) -> Result<FpOrder<Val>, Infallible> {
        let v = self.push_exit(Op::FOrder(double, signal), &[a, b], 0);
        Ok(FpOrder { less: self.bit(v, 0), equal: self.bit(v, 1), unordered: self.bit(v, 2) })
    }
    fn fcvt(&mut self, op: FpCvt, a: Val, b: Val) -> Result<Val, Infallible> {
        Ok(self.push_exit(Op::FCvt(op), &[a, b], 0))
    }
    fn to_int(&mut self, double: bool, wide: bool, mode: FpMode, a: Val) -> Result<Val, Infallible> {
        Ok(self.push_exit(Op::ToInt(double, wide, mode), &[a], 0))
    }
    fn to_float(&mut self, double: bool, wide: bool, a: Val, v: Val) -> Result<Val, Infallible> {
        Ok(self.push_exit(Op::ToFloat(double, wide), &[a, v], 0))
    }
}
