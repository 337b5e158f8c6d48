//! The interpreter: cached decoded blocks, one `match` loop over them.

#[macro_use]
mod arms;
mod block;
mod cache;
mod decoding;
mod facts;
mod hot;
mod index;
mod life;
mod links;
mod packed;
mod pieces;
mod row;
mod targets;
mod view;

use guest_api::{NoTier, Tier, Width};

use crate::cpu::{BEHIND_STI, BLOCK, Cpu, NO_STI, SegReg, rflags};
use crate::exec::Exec;
use crate::fault::{self, Exception, Stop, StopReason};
use crate::platform::Platform;
use crate::sys::debug::DR6_BS;
use crate::sys::interrupts::{self, Source};
use block::Next;
use cache::CodeCache;
pub(crate) use hot::{NO_ARM, arm, special};
pub(crate) use packed::{Constants, Head, Packed, branches, extends};
use view::View;

/// Why [`Vcpu::run`] returned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CpuExit {
    /// The budget is used up, or the machine wanted to be asked.
    Budget,
    /// HLT: nothing to do before the next interrupt.
    Halted,
    /// Shutdown (SDM 3 6.15).
    TripleFault,
    /// An exception that was not delivered, because [`Vcpu::catch_exceptions`] is set. RIP is where it would be pushed.
    Exception(Exception),
    /// The emulator lacks something that the guest used. What, with the instruction's bytes, address and mode.
    Unimplemented(String),
}

/// A virtual processor: the architectural state and the decoded code.
pub struct Vcpu {
    /// In one place as long as it lives: translated code has its address.
    pub cpu: Box<Cpu>,
    /// Instructions that translated code has executed.
    pub translated: u64,
    /// What has taken from budgets beside instructions, one each: exceptions, interrupts, HLT.
    pub events: u64,
    /// How often the budget was used up, and how often of that in translated code: a sample of where time goes.
    pub samples: u64,
    pub samples_translated: u64,
    /// Return with [`CpuExit::Exception`] where an instruction raises one, for tests and debuggers.
    pub catch_exceptions: bool,
    code: CodeCache,
    /// The second tier has not heard yet that the processor was reset.
    was_reset: bool,
    /// RIPs of the last blocks, newest last, for reports.
    trace: Trace,
}

/// The last sixteen that were noted; `at`: the oldest.
struct Trace {
    pcs: [u64; 16],
    at: usize,
}

impl Trace {
    #[inline(always)]
    fn note(&mut self, pc: u64) {
        self.pcs[self.at % 16] = pc;
        self.at = (self.at + 1) % 16;
    }
}

impl Vcpu {
    /// Bytes of decoded code kept at most, unless something else is asked for: about two million instructions of 64-bit code.
    pub const CODE_BYTES: usize = 60 << 20;

    /// A processor that keeps up to about `code_bytes` of decoded code.
    pub fn new(cpu: Cpu, code_bytes: usize) -> Vcpu {
        Vcpu {
            cpu: Box::new(cpu),
            translated: 0,
            events: 0,
            samples: 0,
            samples_translated: 0,
            catch_exceptions: false,
            code: CodeCache::new(code_bytes),
            was_reset: false,
            trace: Trace { pcs: [0; 16], at: 0 },
        }
    }

    /// Restarts the processor as after RESET; the machine then sets its entry state.
    pub fn reset(&mut self) {
        self.cpu.reset();
        self.code.clear(&mut self.cpu.mem, &NoTier);
        self.was_reset = true;
    }

    /// Calls by translated code of each helper, by name.
    pub fn helper_calls(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        crate::sem::helpers::names().zip(self.cpu.helper_calls)
    }

    /// Instructions decoded.
    pub fn decoded(&self) -> u64 {
        self.code.decoded
    }

    /// How often all decoded code was dropped, as there was no more room for it or the host had no more memory.
    pub fn decoded_drops(&self) -> u64 {
        self.code.drops
    }

    /// Bytes of host memory that decoded code takes.
    pub fn code_bytes(&self) -> usize {
        self.code.bytes()
    }

    /// RIPs of the last blocks executed, oldest first: of blocks in a row the first and the last, of translated code where it was entered.
    pub fn last_pcs(&self) -> impl Iterator<Item = u64> + '_ {
        (0..16).map(|k| self.trace.pcs[(self.trace.at + k) % 16])
    }

    /// Executes about `max_insns` instructions: the last block is finished. `cpu.insns` counts exactly. Each of the [`events`](Vcpu::events)
    /// takes one from the budget too, so that a handler which faults for ever cannot keep the host.
    pub fn run(&mut self, platform: &mut dyn Platform, max_insns: u64) -> CpuExit {
        self.run_with(platform, &mut NoTier, max_insns)
    }

    /// The same, where hot code is executed by `tier`.
    pub fn run_with<T: Tier>(&mut self, platform: &mut dyn Platform, tier: &mut T, max_insns: u64) -> CpuExit {
        let mut left = max_insns;
        loop {
            let part = match tier.disturb() {
                None => return self.run_part(platform, tier, left),
                Some(d) => {
                    if d.flush {
                        self.cpu.flush_tlb();
                    }
                    if d.interrupt {
                        platform.interrupt_early(self.cpu.insns);
                    }
                    d.insns.clamp(1, left.max(1))
                }
            };
            let before = self.cpu.insns;
            let exit = self.run_part(platform, tier, part.min(left));
            // Exceptions take from the budget too.
            left = left.saturating_sub(part.max(self.cpu.insns.wrapping_sub(before)));
            if exit != CpuExit::Budget || left == 0 || platform.wants_exit() {
                return exit;
            }
        }
    }

    fn run_part<T: Tier>(&mut self, platform: &mut dyn Platform, tier: &mut T, max_insns: u64) -> CpuExit {
        let mut end = self.cpu.insns.saturating_add(max_insns);
        self.cpu.attention = true;
        let counting = self.code.counting(self.cpu.insns.wrapping_sub(self.translated), tier.threshold());
        if core::mem::take(&mut self.was_reset) {
            tier.drop_all();
        }
        let mut cx = Exec::new(&mut self.cpu, platform);
        // Translated code has left what is next to the interpreter.
        let mut interpret = false;
        loop {
            // Before `attend`, which arms the single-step trap of the instruction that then must run.
            if cx.cpu.insns >= end {
                self.samples += 1;
                return CpuExit::Budget;
            }
            let catch = self.catch_exceptions;
            let mut single = false;
            if cx.cpu.attention {
                match attend(&mut cx, &mut self.code, tier, catch) {
                    Ok(step) => single = step,
                    Err(Some(exit)) => return exit,
                    Err(None) => {
                        self.events += 1;
                        end -= 1;
                        continue;
                    }
                }
            }
            let pc = cx.cpu.rip;
            let at = match self.code.find(&mut cx, tier) {
                Ok(at) => at,
                Err(Stop) => match settle(&mut cx, pc, catch) {
                    None => {
                        self.events += 1;
                        end -= 1;
                        continue;
                    }
                    Some(exit) => return exit,
                },
            };
            self.trace.note(pc);
            let id = at.block;
            let next = if counting.hot == 0 || single {
                Next::Interpret
            } else {
                self.code.block_mut(id).next(!core::mem::take(&mut interpret), counting)
            };
            match next {
                Next::Enter(slot) => {
                    let visit = enter(&mut cx, tier, slot, end);
                    self.translated = self.translated.wrapping_add(visit.insns);
                    interpret = visit.interpret;
                    self.code.lose_last();
                    if cx.cpu.insns >= end {
                        self.samples_translated += 1;
                        tier.sample(&mut View { code: &self.code, cpu: cx.cpu });
                    } else if !interpret {
                        self.code.block_mut(id).visited(slot, visit.insns, counting);
                    }
                    self.code.take_changes(cx.cpu, tier);
                    continue;
                }
                Next::Translate => {
                    let mut view = View { code: &self.code, cpu: cx.cpu };
                    let block = view.block(id);
                    let again = tier.hot(&mut view, block, pc);
                    self.code.block_mut(id).set_runs(counting.hot.saturating_sub(again), counting);
                    self.code.take_changes(cx.cpu, tier);
                }
                Next::Interpret => {}
            }
            let done = if single {
                row::run_single(&mut cx, &self.code, at)
            } else {
                // To look for the block may have raised something.
                let end = if cx.cpu.attention { cx.cpu.insns } else { end };
                row::run(cx.cpu, cx.platform, &mut self.code, at, end, counting)
            };
            let last = cx.cpu.regs[BLOCK as usize].wrapping_add(self.code.lead_of_last());
            if last != pc {
                self.trace.note(last);
            }
            if let Err(fault_pc) = done {
                if let Some(exit) = settle(&mut cx, fault_pc, catch) {
                    return exit;
                }
                self.events += 1;
                end -= 1;
            }
        }
    }
}

/// What came of entering translated code.
struct Visit {
    /// Instructions that it executed.
    insns: u64,
    /// The interpreter must execute what is next.
    interpret: bool,
}

/// Runs the translated code of `slot`, where CS:RIP is.
fn enter<T: Tier>(cx: &mut Exec<'_>, tier: &mut T, slot: u32, end: u64) -> Visit {
    let (pc, before) = (cx.cpu.rip, cx.cpu.insns);
    let key = cx.cpu.fetch_key(pc);
    cx.cpu.jumps[guest_api::jump_index(pc)] = guest_api::Jump { pc, key, slot };
    cx.begin_translated(end);
    let left = tier.enter(cx, slot, pc, end.wrapping_sub(before) as i64);
    cx.end_translated();
    cx.cpu.rip = left.pc;
    cx.cpu.insns = end.wrapping_sub(left.left as u64);
    Visit { insns: cx.cpu.insns.wrapping_sub(before), interpret: left.interpret }
}

/// Does what raised `attention`. `Ok(true)`: one instruction only may run now. `Err(None)`: look again.
#[cold]
#[inline(never)]
fn attend<T: Tier>(
    cx: &mut Exec<'_>,
    code: &mut CodeCache,
    tier: &mut T,
    catch: bool,
) -> Result<bool, Option<CpuExit>> {
    cx.cpu.attention = false;
    code.settle(cx.cpu, tier);
    if cx.platform.wants_exit() {
        cx.cpu.attention = true;
        return Err(Some(CpuExit::Budget));
    }
    // The order is that of SDM 3 table 6-2. The instruction behind STI or MOV SS runs before interrupts are looked at, that
    // behind MOV SS also before debug traps and breakpoints (SDM 3 6.8.3).
    let debug = !core::mem::take(&mut cx.cpu.shadow);
    let behind_sti = core::mem::replace(&mut cx.cpu.regs[BEHIND_STI as usize], 1 << NO_STI) == cx.cpu.rip;
    let shadow = behind_sti || !debug;
    if debug && cx.cpu.debug_trap != 0 {
        let hit = core::mem::take(&mut cx.cpu.debug_trap);
        cx.cpu.halted = false;
        return Err(debug_exception(cx, hit, catch));
    }
    if !shadow {
        if !cx.cpu.nmi_blocked && cx.platform.take_nmi() {
            cx.cpu.nmi_blocked = true;
            return Err(interrupt(cx, fault::NMI));
        }
        if cx.cpu.interrupts_enabled() && cx.platform.interrupt_pending() {
            let vector = cx.platform.interrupt_ack();
            return Err(interrupt(cx, vector));
        }
        if cx.cpu.halted {
            return Err(Some(CpuExit::Halted));
        }
    }
    // RF holds off the breakpoint on one instruction (SDM 3 17.3.1.1).
    let resume = cx.cpu.rflags_rest() & rflags::RF != 0;
    *cx.cpu.rflags_rest_mut() &= !rflags::RF;
    if cx.cpu.code_breakpoints && debug && !resume {
        let hit = cx.cpu.code_breakpoint();
        if hit != 0 {
            return Err(debug_exception(cx, hit, catch));
        }
    }
    if cx.cpu.rflags_rest() & rflags::TF != 0 {
        cx.cpu.debug_trap |= DR6_BS;
    }
    let step = shadow || resume || cx.cpu.code_breakpoints || cx.cpu.debug_trap != 0;
    cx.cpu.attention = step;
    Ok(step)
}

/// #DB for the causes `hit`, bits of DR6.
fn debug_exception(cx: &mut Exec<'_>, hit: u64, catch: bool) -> Option<CpuExit> {
    cx.cpu.note_debug_exception(hit);
    cx.cpu.attention = true;
    raise(cx, Exception { vector: fault::DB, error: None }, catch)
}

fn interrupt(cx: &mut Exec<'_>, vector: u8) -> Option<CpuExit> {
    cx.cpu.halted = false;
    cx.cpu.attention = true;
    match interrupts::deliver(cx, Exception { vector, error: None }, Source::External) {
        Ok(()) => None,
        Err(Stop) => {
            let pc = cx.cpu.rip;
            settle(cx, pc, false)
        }
    }
}

/// Handles an instruction at `pc` that did not complete.
#[cold]
fn settle(cx: &mut Exec<'_>, pc: u64, catch: bool) -> Option<CpuExit> {
    match cx.cpu.stop {
        StopReason::Exception(e) => {
            cx.cpu.rip = pc;
            raise(cx, e, catch)
        }
        StopReason::InNewTask(e) => raise(cx, e, catch),
        StopReason::Halt => {
            cx.cpu.halted = true;
            cx.cpu.attention = true;
            None
        }
        StopReason::TripleFault => Some(CpuExit::TripleFault),
        StopReason::Unimplemented(what) => {
            cx.cpu.rip = pc;
            Some(CpuExit::Unimplemented(report(cx, what)))
        }
        StopReason::None => Some(CpuExit::Unimplemented("an instruction stopped without a reason".into())),
    }
}

fn raise(cx: &mut Exec<'_>, e: Exception, catch: bool) -> Option<CpuExit> {
    if catch {
        return Some(CpuExit::Exception(e));
    }
    match interrupts::deliver(cx, e, Source::Exception) {
        Ok(()) => None,
        Err(Stop) => match cx.cpu.stop {
            StopReason::Unimplemented(what) => Some(CpuExit::Unimplemented(report(cx, what))),
            _ => Some(CpuExit::TripleFault),
        },
    }
}

/// One line that says which instruction is lacking.
fn report(cx: &mut Exec<'_>, what: &str) -> String {
    use std::fmt::Write;
    let mut text = format!("unimplemented {what} at {:#x} in {:?} mode, bytes", cx.cpu.rip, cx.cpu.code_size());
    let at = cx.cpu.rip.wrapping_add(cx.cpu.seg_base(SegReg::Cs));
    for k in 0..15 {
        match cx.load_linear(Width::W8, at.wrapping_add(k), guest_api::Space::FLAT) {
            Ok(b) => {
                let _ = write!(text, " {b:02x}");
            }
            Err(Stop) => break,
        }
    }
    text
}
