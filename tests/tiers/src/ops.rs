//! Random sequences of vector operations: recorded, generated and run, against the executing instance of the vocabulary.
//!
//! A sequence is a function generic over the vocabulary that draws its choices from a generator, so that recording and executing it with
//! equal generators are the same sequence. Each operation is an instruction of its own: where generated code leaves by its
//! side exit, the state must be that of before it.

use bare::Bare;
use core::mem::offset_of;
use random::Rng;

use diff::generate::{double, integer, single, vector};
use guest_api::{EmitVector, Exchange, F2, Float, Fp, Guest, Jump, LazyFlags, Slot, StateLayout, XSlot};
use ir::{Block, Lift, Op, Region, Target, Term};
use isa_x86::{Cpu, Exec};
use jit::Host;
use mem::{GuestRam, Memory};
use wasmgen::abi::{Abi, Leave};
use wasmgen::{Batch, Id};

use crate::Report;
use crate::host::Runner;

const GPRS: usize = 4;
const VECTORS: usize = 6;

/// The guest's state as generated code sees it.
#[repr(C, align(16))]
struct State {
    x: [u128; 16],
    slots: [u64; 32],
    flags: LazyFlags,
    exchange: Exchange,
    keys: [u32; 2],
    jumps: [Jump; guest_api::JUMPS],
}

fn layout() -> StateLayout {
    StateLayout {
        slots: offset_of!(State, slots) as u32,
        xslots: offset_of!(State, x) as u32,
        flags: offset_of!(State, flags) as u32,
        exchange: offset_of!(State, exchange) as u32,
        fetch_keys: offset_of!(State, keys) as u32,
        tlb_entries: 1,
        ..StateLayout::default()
    }
}

type Function = extern "C" fn(*mut State, u64, i64) -> u32;

extern "C" fn lookup(state: *mut State, pc: u64, left: i64) -> u32 {
    // SAFETY: generated code passes on what `call` gave it.
    let x = unsafe { &mut (*state).exchange };
    (x.pc, x.left) = (pc, left);
    Leave::Lookup as u32
}

/// What does floating-point operations for generated code: a processor of its own, and the state that generated code has.
struct Slow {
    cpu: Cpu,
    state: *mut State,
    calls: u64,
}
thread_local!(static SLOW: core::cell::RefCell<Option<Slow>> = const { core::cell::RefCell::new(None) });

/// As `jit::call::float` does it.
fn float(op: u32) -> u32 {
    SLOW.with_borrow_mut(|slow| {
        let (Some(slow), Some(op)) = (slow, Float::of_code(op)) else { return 0 };
        slow.calls += 1;
        // SAFETY: the state outlives the run, and generated code, which has lent it, waits.
        let x = unsafe { &mut (*slow.state).exchange };
        let [a, b] = x.vectors.map(|[low, high]| u128::from(high) << 64 | u128::from(low));
        let mut platform = Bare::default();
        let mut e = Exec::new(&mut slow.cpu, &mut platform);
        let Some(r) = e.float(op, a, b) else { return 0 };
        x.vectors[0] = [r as u64, (r >> 64) as u64];
        x.inexact = inexact(slow.cpu.mxcsr);
        1 + x.inexact + wasmgen::abi::suspicious(op, [a, b, r])
    })
}

/// One operation, its operands and its result's place drawn from `rng`.
fn operation<E: EmitVector>(e: &mut E, op: Op, rng: &mut Rng) -> Result<(), E::Exit> {
    let x = |e: &mut E, rng: &mut Rng| match rng.below(10) {
        0 => {
            let v = u128::from_le_bytes(vector(rng));
            e.immx(v)
        }
        1 => {
            let v = e.get(Slot(rng.below(GPRS as u64) as u8));
            e.widen(v)
        }
        2 => {
            let [a, b] = [0; 2].map(|_| e.getx(XSlot(rng.below(VECTORS as u64) as u8)));
            let sel = core::array::from_fn(|_| rng.next() as u8 & 31);
            match rng.below(4) {
                0 => e.shuffle(guest_api::Lane::B32, sel.map(|s| s & 7), a, b),
                1 => e.shuffle(guest_api::Lane::B64, sel.map(|s| s & 3), a, b),
                2 => {
                    let v = e.extract(guest_api::Lane::B64, sel[0] & 1, b);
                    e.insert(guest_api::Lane::B64, sel[1] & 1, a, v)
                }
                _ => {
                    let m = e.immx(u128::MAX >> 1);
                    e.v2(guest_api::V2::And, a, m)
                }
            }
        }
        _ => e.getx(XSlot(rng.below(VECTORS as u64) as u8)),
    };
    let v = |e: &mut E, rng: &mut Rng| match rng.below(3) {
        0 => {
            let v = if rng.one_in(2) { integer(rng) } else { rng.below(70) };
            e.imm(v)
        }
        _ => e.get(Slot(rng.below(GPRS as u64) as u8)),
    };
    let a = x(e, rng);
    let b = if rng.one_in(12) { a } else { x(e, rng) };
    let n = rng.next() as u8;
    let vector = match op {
        Op::VSelect => {
            let m = x(e, rng);
            e.vselect(m, a, b)
        }
        Op::V1(op) => e.v1(op, a),
        Op::V2(op) => e.v2(op, a, b),
        Op::VShift(op, lane) => {
            let n = v(e, rng);
            e.vshift(op, lane, a, n)
        }
        Op::Shuffle(lane) => {
            let mut sel = core::array::from_fn(|_| rng.next() as u8 & (2 * lane.count() as u8 - 1));
            if rng.one_in(4) {
                sel = core::array::from_fn(|k| k as u8 & (lane.count() as u8 - 1));
            }
            e.shuffle(lane, sel, a, b)
        }
        Op::Widen => {
            let n = v(e, rng);
            e.widen(n)
        }
        Op::Insert(lane) => {
            let n0 = v(e, rng);
            e.insert(lane, n & (lane.count() as u8 - 1), a, n0)
        }
        Op::F2(op, shape) => e.f2(op, shape, a, b)?,
        Op::F1(op, shape) => e.f1(op, shape, a, b)?,
        Op::FCmp(rel, shape) => e.fcmp(rel, shape, a, b)?,
        Op::FCvt(op) => e.fcvt(op, a, b)?,
        Op::ToFloat(double, wide) => {
            let n = v(e, rng);
            e.to_float(double, wide, a, n)?
        }
        _ => {
            let r = match op {
                Op::Extract(lane) => e.extract(lane, n & (lane.count() as u8 - 1), a),
                Op::MoveMask(lane) => e.movemask(lane, a),
                Op::FOrder(double, signal) => {
                    let o = e.forder(double, signal, a, b)?;
                    let [l, q, u] = [o.less, o.equal, o.unordered].map(|c| e.value(c));
                    let q = e.shift_imm(guest_api::Bin::Shl, q, 1);
                    let u = e.shift_imm(guest_api::Bin::Shl, u, 2);
                    let r = e.or(l, q);
                    e.or(r, u)
                }
                Op::ToInt(double, wide, mode) => e.to_int(double, wide, mode, a)?,
                _ => {
                    let c = e.is_zero(a);
                    e.value(c)
                }
            };
            e.put(Slot(rng.below(GPRS as u64) as u8), r);
            return Ok(());
        }
    };
    e.putx(XSlot(rng.below(VECTORS as u64) as u8), vector);
    Ok(())
}

/// A sequence: its operations, and what their operands are drawn from.
struct Sequence {
    ops: Vec<Op>,
    seed: u64,
    exits: Vec<ir::Exit>,
}

impl Sequence {
    fn rng(&self, k: usize) -> Rng {
        Rng(self.seed ^ (k as u64) << 40)
    }

    fn region(&self) -> Region {
        let mut region = Region::default();
        let recorded = {
            let mut lift = Lift::new(&mut region, 0, Slot(16), Slot(17), wasmgen::supports);
            lift.begin_block(None);
            for (k, &op) in self.ops.iter().enumerate() {
                lift.begin_insn(0, k as u64);
                let Ok(()) = operation(&mut lift, op, &mut self.rng(k));
                assert!(lift.end_insn(), "{op:?} is not supported");
            }
            lift.end_block()
        };
        region.blocks.push(Block {
            pc: 0,
            insns: recorded.insns,
            insts: recorded.insts,
            forks: recorded.forks,
            term: Term::Jump(Target::Out { pc: self.ops.len() as i64, slot: 0 }),
        });
        ir::passes::all(&mut region, Some(&[]), true);
        region
    }
}

/// A double or two floats, of the kind that programs compute with.
pub fn ordinary(rng: &mut Rng, doubles: bool) -> u64 {
    if doubles {
        let exponent = 1023 - 20 + rng.below(40);
        return rng.next() << 63 | exponent << 52 | rng.next() >> 12;
    }
    let mut one = || (rng.next() << 31 | (127 - 10 + rng.below(20)) << 23 | rng.next() >> 41) & 0xffff_ffff;
    one() | one() << 32
}

/// What vectors and registers hold.
#[derive(Clone, Copy, PartialEq)]
enum Values {
    /// What no operation needs the guest for.
    Doubles,
    Floats,
    /// Zeros, denormals, NaNs and all else.
    Any,
}

fn fill(rng: &mut Rng, values: Values, x: &mut [u128; 16], slots: &mut [u64; 32]) {
    for v in x.iter_mut() {
        *v = match values {
            Values::Any if rng.one_in(3) => {
                let (a, b) = (double(rng), u64::from(single(rng)) | u64::from(single(rng)) << 32);
                u128::from(a) << 64 | u128::from(b)
            }
            Values::Any => u128::from_le_bytes(vector(rng)),
            _ => {
                let doubles = values == Values::Doubles;
                u128::from(ordinary(rng, doubles)) << 64 | u128::from(ordinary(rng, doubles))
            }
        };
    }
    for v in slots.iter_mut().take(16) {
        *v = if rng.one_in(3) { rng.below(80) } else { integer(rng) };
    }
}

fn inexact(mxcsr: u32) -> u32 {
    match mxcsr & 0x7020 {
        0x1020 => 0,
        0x1000 => guest_api::inexact::YES | guest_api::inexact::UNTOLD,
        _ => guest_api::inexact::YES,
    }
}

/// How often each operation was met, and done natively.
#[derive(Default, Clone)]
struct Counts {
    met: u64,
    native: u64,
}

fn processor() -> Cpu {
    let mut cpu = Cpu::new(Memory::new(GuestRam::new(0x1_0000).expect("RAM"), &[]));
    cpu.cr4 |= isa_x86::cpu::cr4::OSFXSR | isa_x86::cpu::cr4::OSXMMEXCPT;
    cpu
}

pub fn run(seed: u64, count: u32, report: &mut Report) {
    let all: Vec<Op> = ir::vector_ops().into_iter().filter(|&op| wasmgen::supports(op)).collect();
    let mut counts = vec![Counts::default(); all.len()];
    let mut host = Runner;
    let linked = host.support() == jit::Support::Linked;
    // SAFETY: all zero bits are a value of it.
    let mut state: Box<State> = unsafe { Box::new(core::mem::zeroed()) };
    let abi = Abi {
        layout: layout(),
        state: core::ptr::from_ref(&*state).addr() as u32,
        lookup_slot: lookup as *const () as usize as u32,
        interpret_slot: 0,
        linked,
    };
    let first = host.grow(64, abi.lookup_slot).expect("the table grows").get();
    let mut rng = Rng(seed);
    let mut cpu = processor();
    state.jumps.fill(Jump { pc: u64::MAX, key: 0, slot: abi.lookup_slot });
    let slow = Slow { cpu: processor(), state: core::ptr::from_mut(&mut *state), calls: 0 };
    SLOW.set(Some(slow));
    let mut done = 0;
    let mut next_op = 0;
    while done < count {
        let mut batch = Batch::default();
        let mut sequences = Vec::new();
        for k in 0..32 {
            let seed = rng.next();
            // One operation of each kind in turn, alone or among others.
            let n = if done < all.len() as u32 { 1 } else { 1 + rng.below(10) as usize };
            let mut ops: Vec<Op> = (0..n).map(|_| all[rng.below(all.len() as u64) as usize]).collect();
            if rng.one_in(2) && n > 1 {
                // Of one format, so that what one knows the next can use.
                let shape = rng.pick(&[Fp::S32, Fp::S64, Fp::P32, Fp::P64]);
                for op in &mut ops {
                    *op = Op::F2(rng.pick(&[F2::Add, F2::Sub, F2::Mul, F2::Div, F2::Min, F2::Max]), shape);
                }
            }
            let at = rng.below(n as u64) as usize;
            ops[at] = all[next_op % all.len()];
            next_op += 1;
            let mut s = Sequence { ops, seed, exits: Vec::new() };
            let region = s.region();
            batch.add(k, first + k, wasmgen::function(&region, Id { number: k, serial: k }, &abi));
            s.exits = region.exits;
            sequences.push((s, first + k));
            done += 1;
        }
        let slots: Vec<u32> = batch.slots().collect();
        let Some(module) = host.compile(&batch.module(&abi), &slots) else {
            report.fail(format_args!("a module was refused: {:?}", sequences[0].0.ops));
            return;
        };
        for (s, slot) in &sequences {
            for round in 0..24 {
                case(s, *slot, round, &mut rng, &mut cpu, &mut state, &all, &mut counts, report);
            }
        }
        jit::Host::drop(&mut host, module);
    }
    let native: u64 = counts.iter().map(|c| c.native).sum();
    let met: u64 = counts.iter().map(|c| c.met).sum();
    let calls = SLOW.with_borrow(|s| s.as_ref().map_or(0, |s| s.calls));
    report.line(format_args!(
        "{done} sequences; of {met} operations without the guest {:.1} % were native; {calls} calls of the guest",
        100.0 * native as f64 / met as f64
    ));
    for (op, c) in all.iter().zip(&counts) {
        // Roots of negative numbers among them.
        if c.native * 100 < c.met {
            report.fail(format_args!("{op:?} was native {} times of {}", c.native, c.met));
        }
    }
}

#[expect(clippy::too_many_arguments, reason = "what lives longer than a case")]
fn case(
    s: &Sequence,
    slot: u32,
    round: u32,
    rng: &mut Rng,
    cpu: &mut Cpu,
    state: &mut State,
    all: &[Op],
    counts: &mut [Counts],
    report: &mut Report,
) {
    let values = match round % 4 {
        0 => Values::Doubles,
        1 => Values::Floats,
        _ => Values::Any,
    };
    let mxcsr = if round % 4 != 3 {
        if round < 8 { 0x1f80 } else { 0x1fa0 }
    } else {
        (rng.next() as u32 & 0xe07f) & if rng.one_in(2) { 0x803f } else { u32::MAX }
            | if rng.one_in(4) { rng.next() as u32 & 0x1f80 } else { 0x1f80 }
    };
    fill(rng, values, &mut state.x, &mut state.slots);
    (cpu.xmm, cpu.regs) = (state.x, state.slots);
    cpu.mxcsr = mxcsr;
    let jumps = state.jumps.as_ptr().addr() as u32;
    state.exchange = Exchange { inexact: inexact(mxcsr), jumps, ..Exchange::default() };
    let start = (state.x, state.slots);
    // The guest at hand, or only the side exits.
    let has_guest = rng.one_in(2);
    crate::host::FLOAT.set(has_guest.then_some(float as fn(u32) -> u32));
    SLOW.with_borrow_mut(|s| s.iter_mut().for_each(|s| s.cpu.mxcsr = mxcsr));
    // SAFETY: the slot holds a function of a generated module.
    let function = unsafe { core::mem::transmute::<usize, Function>(slot as usize) };
    let leave = Leave::of(function(core::ptr::from_mut(state), 0, 1000));
    let n = s.ops.len();
    let reached = match leave {
        Leave::Lookup => n,
        Leave::Side => s.exits.get(state.exchange.pc as usize).map_or(usize::MAX, |e| e.pc as usize),
        _ => usize::MAX,
    };
    let show = |report: &mut Report, what: core::fmt::Arguments<'_>| {
        report.fail(format_args!(
            "{what}: {:?} seed {:#x} from {:x?} {:x?} mxcsr {mxcsr:#x}",
            s.ops,
            s.seed,
            &start.0[..VECTORS],
            &start.1[..GPRS]
        ));
    };
    if reached > n {
        return show(report, format_args!("left by {leave:?} {}", state.exchange.pc));
    }
    let mut platform = Bare::default();
    let mut e = Exec::new(cpu, &mut platform);
    for k in 0..reached {
        if operation(&mut e, s.ops[k], &mut s.rng(k)).is_err() {
            return show(report, format_args!("operation {k} traps and was done"));
        }
    }
    for (k, op) in s.ops.iter().enumerate().take(reached + 1) {
        if let Some(c) = all.iter().position(|o| o == op) {
            counts[c].met += u64::from(!has_guest);
            counts[c].native += u64::from(k < reached && !has_guest);
        }
    }
    let got_mxcsr = SLOW.with_borrow(|s| s.as_ref().map_or(0, |s| s.cpu.mxcsr));
    if cpu.mxcsr != got_mxcsr {
        show(
            report,
            format_args!("MXCSR became {got_mxcsr:#x}, not {:#x} within {reached} of {n} operations", cpu.mxcsr),
        );
    } else if cpu.xmm != state.x || cpu.regs[..GPRS] != state.slots[..GPRS] {
        show(
            report,
            format_args!(
                "after {reached} of {n} operations want {:x?} {:x?}, got {:x?} {:x?}",
                &cpu.xmm[..VECTORS],
                &cpu.regs[..GPRS],
                &state.x[..VECTORS],
                &state.slots[..GPRS]
            ),
        );
    }
}
