//! Executes regions, for tests: what generated code must do, said as plainly as can be.

use guest_api::{Bin, Flag, FlagForm, Lane, LazyFlags, V1, V2};

use crate::region::{SLOTS, XSLOTS, flag_slot};
use crate::{Inst, Op, Region, Target, Term, Val};

/// The guest's state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct State {
    /// By [`guest_api::Slot`] and [`flag_slot`].
    pub slots: [u64; SLOTS],
    /// By [`guest_api::XSlot`].
    pub xslots: [u128; XSLOTS],
}

impl Default for State {
    fn default() -> State {
        State { slots: [0; SLOTS], xslots: [0; XSLOTS] }
    }
}

impl State {
    pub fn flags(&self) -> LazyFlags {
        let slot = |n: u8| self.slots[usize::from(n)];
        LazyFlags {
            form: slot(flag_slot::FORM),
            a: slot(flag_slot::A),
            b: slot(flag_slot::B),
            r: slot(flag_slot::R),
            carry: slot(flag_slot::CARRY),
        }
    }
    pub fn set_flags(&mut self, f: &LazyFlags) {
        for (slot, v) in flag_slot::ALL.into_iter().zip([f.form, f.a, f.b, f.r, f.carry]) {
            self.slots[usize::from(slot)] = v;
        }
    }
}

/// What a region meets outside its state. Where one of these says no, nothing has happened and the region is left by the side exit.
pub trait Env {
    /// Loads `bytes` (1..=16) at `va`, zero-extended. `updates`: the instruction will also store there.
    fn load(&mut self, va: u64, bytes: u32, updates: bool) -> Option<u128>;
    /// Stores the low `bytes` (1..=16) of `v`.
    fn store(&mut self, va: u64, bytes: u32, v: u128) -> bool;
    /// Whether `bytes` (1..=4096) at `va` can be written.
    fn writable(&mut self, va: u64, bytes: u32) -> bool;
    /// `left`: instructions left of the budget before the one that asks.
    fn helper(&mut self, h: u16, args: [u64; 4], left: i64) -> Option<u64>;
    /// A slot as helpers see it.
    fn get_shared(&mut self, slot: u8) -> u64;
    fn put_shared(&mut self, slot: u8, v: u64);
    /// A floating-point operation of its operands (the second is 0 where there is none), computed as the guest does.
    fn float(&mut self, op: Op, a: u128, b: u128) -> Option<u128>;
}

/// How a region was left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// Linear address of the next instruction.
    pub pc: u64,
    /// Instructions left of the budget; may be below 0.
    pub left: i64,
    /// The interpreter must execute the next instruction.
    pub interpret: bool,
    /// The side exit taken.
    pub exit: Option<u32>,
}

/// Runs `region`, which must hold to [`crate::verify`], at linear address `base` with `left` instructions of budget.
///
/// A block's instructions are counted at its start; a side exit or fork gives back those that were not executed. The budget is looked at before
/// the first block, and on each edge to the same or an earlier block: with nothing left the region is left there.
pub fn run(region: &Region, state: &mut State, env: &mut dyn Env, base: u64, mut left: i64) -> Outcome {
    let mut n = 0;
    let mut back = true;
    loop {
        let block = &region.blocks[n];
        let at = |offset: i64| base.wrapping_add(offset as u64);
        let leave = |pc: u64, left: i64, interpret: bool| Outcome { pc, left, interpret, exit: None };
        if back && left <= 0 {
            return leave(at(block.pc), left, false);
        }
        left -= i64::from(block.insns);
        let mut values = vec![0; block.insts.len()];
        let fork = match run_block(region, &block.insts, &mut values, state, env, base, left) {
            Ok(fork) => fork.map(|n| &block.forks[n]),
            Err(exit) => {
                let e = &region.exits[exit as usize];
                if let Some(FlagForm(form)) = e.form {
                    state.slots[usize::from(flag_slot::FORM)] = form.into();
                }
                let out = leave(at(e.pc), left + i64::from(e.undone), true);
                return Outcome { exit: Some(exit), ..out };
            }
        };
        let value = |v: &Val| values[v.index()];
        let target = match &block.term {
            _ if let Some(fork) = fork => {
                left += i64::from(fork.undone);
                fork.to
            }
            Term::Jump(t) => *t,
            Term::Branch { cond, then, other } => *if value(cond) != 0 { then } else { other },
            Term::Goto { to, known } => {
                let to = value(to) as u64;
                match known.iter().find(|k| at(k.0) == to) {
                    Some(k) => Target::Block(k.1),
                    None => return leave(to, left, false),
                }
            }
            Term::Interpret { pc } => return leave(at(*pc), left, true),
        };
        match target {
            Target::Block(next) => {
                let next = next as usize;
                (back, n) = (next <= n, next);
            }
            Target::Out { pc, .. } => return leave(at(pc), left, false),
        }
    }
}

/// Executes operations, up to a fork that is taken; `Err` is the side exit taken.
fn run_block(
    region: &Region,
    insts: &[Inst],
    values: &mut [u128],
    state: &mut State,
    env: &mut dyn Env,
    base: u64,
    left: i64,
) -> Result<Option<usize>, u32> {
    let mut k = 0;
    while k < insts.len() {
        let i = &insts[k];
        // The operands, as far as the operation has them.
        let mut args = [0; 4];
        for (to, v) in args.iter_mut().zip(i.args()) {
            *to = values[v.index()];
        }
        let [a, b, c, _] = args;
        let int = args.map(|v| v as u64);
        let [x, y, z, w] = int;
        let slot = i.imm as usize;
        let near = |reach: u64| reach.wrapping_add(i.imm);
        let lane_at =
            |lane: Lane| (8 * lane.bytes() as u32, i.imm as u32 % lane.count() as u32 * 8 * lane.bytes() as u32);
        values[k] = match i.op {
            Op::Const => i.imm.into(),
            Op::Pc => base.wrapping_add(i.imm).into(),
            Op::Get => state.slots[slot].into(),
            Op::Put => {
                state.slots[slot] = x;
                0
            }
            Op::GetShared => env.get_shared(i.imm as u8).into(),
            Op::PutShared => {
                env.put_shared(i.imm as u8, x);
                0
            }
            Op::Bin(op) => op.of(x, y).into(),
            Op::Un(op) => op.of(x).into(),
            Op::Rel(op) => op.holds(x, y).into(),
            Op::Not => (a == 0).into(),
            Op::Both => a & b,
            Op::Either => a | b,
            Op::Value => a,
            Op::Select => {
                if a != 0 {
                    b
                } else {
                    c
                }
            }
            Op::Overflows => i64::checked_mul(x as i64, y as i64).is_none().into(),
            Op::CarryOf => (LazyFlags { form: x, a: y, b: z, r: 0, carry: w }.packed() & Flag::Carry.bit()).into(),
            Op::PackFlags => {
                let bits = LazyFlags { form: x, a: y, b: z, r: w, carry: 0 }.packed();
                (bits & !Flag::Carry.bit()).into()
            }
            // The accesses look for themselves, at a distance from its address.
            Op::Reach(_) => a,
            Op::Load(w) => env.load(x, w.bytes(), false).ok_or(i.exit)?,
            Op::LoadRmw(w) => env.load(x, w.bytes(), true).ok_or(i.exit)?,
            Op::LoadNear(w) => env.load(near(y), w.bytes(), false).ok_or(i.exit)?,
            Op::Store(w) => env.store(x, w.bytes(), b & u128::from(w.mask())).then_some(0).ok_or(i.exit)?,
            Op::StoreNear(w) => env.store(near(z), w.bytes(), b & u128::from(w.mask())).then_some(0).ok_or(i.exit)?,
            Op::Probe => env.writable(x, i.imm as u32).then_some(0).ok_or(i.exit)?,
            Op::If => {
                if a == 0 {
                    k = end_of(insts, k);
                }
                0
            }
            Op::End => 0,
            Op::Bail => return Err(i.exit),
            Op::Fork if a != 0 => return Ok(Some(slot)),
            Op::Fork => 0,
            Op::Helper | Op::DivWide(_) => {
                let left = left + i64::from(region.exits[i.exit as usize].undone);
                env.helper(i.imm as u16, int, left).ok_or(i.exit)?.into()
            }
            Op::GetX => state.xslots[slot],
            Op::PutX => {
                state.xslots[slot] = a;
                0
            }
            Op::ConstX => region.consts[slot],
            Op::LoadX(align) | Op::StoreX(align) | Op::LoadXNear(align) | Op::StoreXNear(align)
                if align == guest_api::Align::Natural && x & 15 != 0 =>
            {
                return Err(i.exit);
            }
            Op::LoadX(_) => env.load(x, 16, false).ok_or(i.exit)?,
            Op::LoadXNear(_) => env.load(near(y), 16, false).ok_or(i.exit)?,
            Op::StoreX(_) => env.store(x, 16, b).then_some(0).ok_or(i.exit)?,
            Op::StoreXNear(_) => env.store(near(z), 16, b).then_some(0).ok_or(i.exit)?,
            Op::V1(op) => v1(op, a),
            Op::V2(op) => v2(op, a, b),
            Op::VShift(op, lane) => shift(op, lane, a, y),
            Op::Shuffle(lane) => shuffle(lane, region.consts[slot].to_le_bytes(), a, b),
            Op::VSelect => a & b | !a & c,
            Op::Widen => x.into(),
            Op::Extract(lane) => {
                let (bits, at) = lane_at(lane);
                a >> at & ones(bits)
            }
            Op::Insert(lane) => {
                let (bits, at) = lane_at(lane);
                a & !(ones(bits) << at) | (b & ones(bits)) << at
            }
            Op::MoveMask(lane) => {
                let bits = 8 * lane.bytes() as u32;
                (0..128 / bits).fold(0, |m, k| m | (a >> (k * bits + bits - 1) & 1) << k)
            }
            Op::IsZero => (a == 0).into(),
            Op::F2(..) | Op::F1(..) | Op::FCmp(..) | Op::FOrder(..) | Op::FCvt(_) | Op::ToInt(..) | Op::ToFloat(..) => {
                env.float(i.op, a, b).ok_or(i.exit)?
            }
        };
        k += 1;
    }
    Ok(None)
}

/// The end of the part that the `If` at `at` begins.
fn end_of(insts: &[Inst], at: usize) -> usize {
    let mut depth = 0;
    for (k, i) in insts.iter().enumerate().skip(at) {
        match i.op {
            Op::If => depth += 1,
            Op::End if depth == 1 => return k,
            Op::End => depth -= 1,
            _ => {}
        }
    }
    insts.len()
}

const fn ones(bits: u32) -> u128 {
    u128::MAX >> (128 - bits)
}

/// The lanes of `bits` of `a` and `b` through `f`, zero-extended or, `signed`, sign-extended; of the result the low bits are taken.
fn map2(bits: u32, signed: bool, a: u128, b: u128, f: impl Fn(i128, i128) -> i128) -> u128 {
    (0..128 / bits).fold(0, |r, k| {
        let (x, y) = (lane(bits, signed, a, k), lane(bits, signed, b, k));
        r | (f(x, y) as u128 & ones(bits)) << (k * bits)
    })
}
fn lane(bits: u32, signed: bool, v: u128, k: u32) -> i128 {
    let top = v << (128 - bits - k * bits);
    if signed { top as i128 >> (128 - bits) } else { (top >> (128 - bits)) as i128 }
}

fn v2(op: V2, a: u128, b: u128) -> u128 {
    let size = |l: Lane| 8 * l.bytes() as u32;
    let s = |l: Lane, f: fn(i128, i128) -> i128| map2(size(l), true, a, b, f);
    let u = |l: Lane, f: fn(i128, i128) -> i128| map2(size(l), false, a, b, f);
    let sat_s = |l: Lane, f: fn(i128, i128) -> i128| {
        map2(size(l), true, a, b, |x, y| f(x, y).clamp(-(1 << (size(l) - 1)), (1 << (size(l) - 1)) - 1))
    };
    let sat_u =
        |l: Lane, f: fn(i128, i128) -> i128| map2(size(l), false, a, b, |x, y| f(x, y).clamp(0, (1 << size(l)) - 1));
    let narrow = |from: u32, low: i128, high: i128| {
        let (n, to) = (128 / from, from / 2);
        (0..2 * n).fold(0, |r, k| {
            let x = lane(from, true, if k < n { a } else { b }, k % n);
            r | (x.clamp(low, high) as u128 & ones(to)) << (k * to)
        })
    };
    match op {
        V2::And => a & b,
        V2::Or => a | b,
        V2::Xor => a ^ b,
        V2::AndNot => !a & b,
        V2::Add(l) => s(l, |x, y| x + y),
        V2::Sub(l) => s(l, |x, y| x - y),
        V2::AddSatS(l) => sat_s(l, |x, y| x + y),
        V2::AddSatU(l) => sat_u(l, |x, y| x + y),
        V2::SubSatS(l) => sat_s(l, |x, y| x - y),
        V2::SubSatU(l) => sat_u(l, |x, y| x - y),
        V2::MinS(l) => s(l, i128::min),
        V2::MinU(l) => u(l, i128::min),
        V2::MaxS(l) => s(l, i128::max),
        V2::MaxU(l) => u(l, i128::max),
        V2::AvgU(l) => u(l, |x, y| (x + y + 1) >> 1),
        V2::Eq(l) => s(l, |x, y| -i128::from(x == y)),
        V2::GtS(l) => s(l, |x, y| -i128::from(x > y)),
        V2::MulLo(l) => s(l, i128::wrapping_mul),
        V2::MulHiS16 => s(Lane::B16, |x, y| x * y >> 16),
        V2::MulHiU16 => u(Lane::B16, |x, y| x * y >> 16),
        V2::MulRound16 => s(Lane::B16, |x, y| ((x * y >> 14) + 1) >> 1),
        V2::MulEvenU32 => u(Lane::B64, |x, y| i128::from(x as u32) * i128::from(y as u32)),
        V2::MulEvenS32 => u(Lane::B64, |x, y| i128::from(x as i32) * i128::from(y as i32)),
        V2::Dot16 => u(Lane::B32, |x, y| {
            let product = |x: i128, y: i128| i128::from(x as i16) * i128::from(y as i16);
            product(x, y) + product(x >> 16, y >> 16)
        }),
        V2::DotSat8 => u(Lane::B16, |x, y| {
            let product = |x: i128, y: i128| i128::from(x as u8) * i128::from(y as i8);
            (product(x, y) + product(x >> 8, y >> 8)).clamp(i16::MIN.into(), i16::MAX.into())
        }),
        V2::Sad8 => u(Lane::B64, |x, y| {
            x.to_le_bytes().iter().zip(y.to_le_bytes()).map(|(x, y)| i128::from(x.abs_diff(y))).sum()
        }),
        V2::NarrowS16 => narrow(16, i8::MIN.into(), i8::MAX.into()),
        V2::NarrowS32 => narrow(32, i16::MIN.into(), i16::MAX.into()),
        V2::NarrowU16 => narrow(16, 0, u8::MAX.into()),
        V2::NarrowU32 => narrow(32, 0, u16::MAX.into()),
        V2::Swizzle => map2(8, false, b, 0, |n, _| if n < 16 { lane(8, false, a, n as u32) } else { 0 }),
    }
}

fn v1(op: V1, a: u128) -> u128 {
    let widen = |from: u32, signed: bool| {
        (0..64 / from).fold(0, |r, k| r | (lane(from, signed, a, k) as u128 & ones(2 * from)) << (2 * from * k))
    };
    match op {
        V1::Abs(l) => map2(8 * l.bytes() as u32, true, a, 0, |x, _| x.abs()),
        V1::WidenS8 => widen(8, true),
        V1::WidenS16 => widen(16, true),
        V1::WidenS32 => widen(32, true),
        V1::WidenU8 => widen(8, false),
        V1::WidenU16 => widen(16, false),
        V1::WidenU32 => widen(32, false),
    }
}

fn shift(op: Bin, l: Lane, a: u128, n: u64) -> u128 {
    let bits = 8 * l.bytes() as u32;
    let n = n.min(bits.into());
    map2(bits, op == Bin::ShrS, a, 0, |x, _| if op == Bin::Shl { x << n } else { x >> n })
}

fn shuffle(l: Lane, sel: [u8; 16], a: u128, b: u128) -> u128 {
    let (bits, n) = (8 * l.bytes() as u32, l.count() as u32);
    (0..n).fold(0, |r, k| {
        let from = u32::from(sel[k as usize]) % (2 * n);
        let x = lane(bits, false, if from < n { a } else { b }, from % n);
        r | (x as u128) << (k * bits)
    })
}
