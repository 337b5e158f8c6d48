//! Blocks in a row: as long as each is known to follow the one before, the interpreter looks for nothing.

use super::block::{Counting, Place};
use super::cache::CodeCache;
use super::hot::{self, End};
use crate::cpu::{BLOCK, Cpu, SegReg};
use crate::exec::Exec;
use crate::fault::{Stop, StopReason};
use crate::platform::Platform;
use crate::table::execute;

/// Runs the block `at`, which was found last, and those that follow it, until something else is to be done: `attention`, the budget's `end`,
/// a block that is not known, was overwritten, becomes hot or is translated. `Err` is the address of the instruction that did
/// not complete.
#[inline(never)]
pub(super) fn run(
    cpu: &mut Cpu,
    platform: &mut dyn Platform,
    code: &mut CodeCache,
    mut at: Place,
    end: u64,
    counting: Counting,
) -> Result<(), u64> {
    let (keys, base) = (cpu.fetch_keys, cpu.seg_base(SegReg::Cs));
    let done = loop {
        cpu.regs[BLOCK as usize] = cpu.rip;
        // Looked up before it is executed: what comes behind waits for nothing then.
        let from = code.block(at.block);
        let insns = code.insns_from(at);
        let jumped = match hot::run(cpu, platform, insns, &code.forms, keys) {
            End::Jump => true,
            End::Other => false,
            End::Stopped(left, done) => break stopped(cpu, code, at, insns.len() - left, done),
        };
        cpu.insns += from.count();
        if cpu.insns >= end || !jumped && (cpu.attention || cpu.fetch_keys != keys || cpu.seg_base(SegReg::Cs) != base)
        {
            break Ok(());
        }
        let to = match from.near(cpu.rip.wrapping_sub(cpu.regs[BLOCK as usize])) {
            Some(to) => to,
            None => {
                let pc = cpu.rip.wrapping_add(base);
                let key = cpu.fetch_key(pc);
                match from.far(pc, key) {
                    Some(to) => to,
                    None => {
                        let from = cpu.regs[BLOCK as usize].wrapping_add(base);
                        code.found(from, cpu.fetch_key(from), at);
                        match code.jump_to(pc, key).or_else(|| code.find_decoded(cpu, pc, key)) {
                            Some(to) => to,
                            None => {
                                code.links.missed = true;
                                return Ok(());
                            }
                        }
                    }
                }
            }
        };
        match code.blocks.get_mut(to.block as usize) {
            Some(next) => {
                if !next.run_in_a_row(counting) {
                    break Ok(());
                }
            }
            None => break Ok(()),
        }
        at = to;
    };
    let pc = cpu.regs[BLOCK as usize].wrapping_add(base);
    code.found(pc, keys[(pc >> 63) as usize], at);
    done
}

/// Runs the first instruction of a block.
pub(super) fn run_single(cx: &mut Exec<'_>, code: &CodeCache, at: Place) -> Result<(), u64> {
    let Some(first) = code.insn(at.block, 0) else { return Ok(()) };
    let pc = cx.cpu.rip;
    cx.cpu.regs[BLOCK as usize] = pc;
    cx.cpu.rip = first.next_pc(pc);
    let done = execute(cx, &first);
    if done.is_ok() {
        cx.cpu.insns += 1;
        return Ok(());
    }
    stopped(cx.cpu, code, at, 1, done)
}

/// The first `executed` instructions of the block `at` were executed; the last of those has come to an end or, `done` says, has not.
#[cold]
#[inline(never)]
fn stopped(cpu: &mut Cpu, code: &CodeCache, at: Place, executed: usize, done: Result<(), Stop>) -> Result<(), u64> {
    let Some(last) = executed.checked_sub(1).and_then(|last| code.insn(at.block, last)) else { return Ok(()) };
    let pc = cpu.regs[BLOCK as usize];
    match done {
        Ok(()) => {
            cpu.insns += executed as u64;
            cpu.rip = last.next_pc(pc);
            Ok(())
        }
        Err(Stop) => {
            cpu.insns += executed as u64 - 1 + u64::from(cpu.stop == StopReason::Halt);
            Err(last.pc(pc))
        }
    }
}
