//! Blocks in a row: as long as each is known to follow the one before, the interpreter looks for nothing.

use core::num::NonZeroU32;

use super::block::{Counting, Place};
use super::cache::CodeCache;
use super::hot::{self, End};
use super::links::NO_PLACE;
use super::packed::Instructions;
use crate::cpu::{BLOCK, Cpu, SegReg};
use crate::exec::Exec;
use crate::fault::Stop;
use crate::platform::Platform;
use crate::table::{ends_block, execute};

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
    // The fork at which the last block was left.
    let mut fork;
    let done = 'row: loop {
        // Looked up before it is executed: what comes behind waits for nothing then.
        let from = &code.blocks[at.block as usize];
        cpu.regs[BLOCK as usize] = cpu.rip.wrapping_sub(from.lead());
        let mut insns = code.insns.get_mut(at.first);
        let mut to = NO_PLACE;
        fork = None;
        let jumped = loop {
            match hot::run(cpu, platform, insns, &code.forms, keys) {
                End::Jump => break true,
                End::Fork(left, jumps_to) => {
                    (fork, to) = (NonZeroU32::new(Instructions::number(at.first, left)), jumps_to);
                    break true;
                }
                End::Other => break false,
                End::Stopped(left, done) => {
                    break 'row stopped(cpu, code, at, Instructions::number(at.first, left), done);
                }
                End::Refused(left) => {
                    let number = Instructions::number(at.first, left);
                    match refused(cpu, platform, code, at, number) {
                        Ok(true) => break false,
                        Ok(false) if !cpu.attention && cpu.fetch_keys == keys => insns = code.insns.get_mut(number + 1),
                        done => break 'row stopped(cpu, code, at, number, done.map(drop)),
                    }
                }
            }
        };
        cpu.insns = cpu.insns.wrapping_add(from.count());
        if cpu.insns >= end || !jumped && (cpu.attention || cpu.fetch_keys != keys || cpu.seg_base(SegReg::Cs) != base)
        {
            break Ok(());
        }
        if fork.is_none() {
            to = from.near(cpu.rip.wrapping_sub(cpu.regs[BLOCK as usize]));
        }
        let to = match to.known() {
            Some(to) => to,
            None => {
                let pc = cpu.rip.wrapping_add(base);
                let key = cpu.fetch_key(pc);
                match from.far(pc, key) {
                    Some(to) => to,
                    None => {
                        let from = cpu.regs[BLOCK as usize].wrapping_add(from.lead()).wrapping_add(base);
                        code.left_at(from, cpu.fetch_key(from), at.block, fork);
                        match code.jump_to(cpu, pc, key).or_else(|| code.find_decoded(cpu, pc, key)) {
                            Some(to) => to,
                            None => return Ok(()),
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
    let pc = cpu.regs[BLOCK as usize].wrapping_add(code.block(at.block).lead()).wrapping_add(base);
    code.left_at(pc, keys[(pc >> 63) as usize], at.block, fork);
    done
}

/// Runs the first instruction of a block.
pub(super) fn run_single(cx: &mut Exec<'_>, code: &CodeCache, at: Place) -> Result<(), u64> {
    let Some(first) = code.insn(at, 0) else { return Ok(()) };
    let pc = cx.cpu.rip.wrapping_sub(code.block(at.block).lead());
    cx.cpu.regs[BLOCK as usize] = pc;
    let next = first.next_pc(pc);
    cx.cpu.rip = next;
    let done = execute(cx, &first);
    if done.is_ok() {
        cx.cpu.insns += 1;
        cx.cpu.step_by_branches(ends_block(first.op) && cx.cpu.rip != next);
        return Ok(());
    }
    stopped(cx.cpu, code, at, at.first, done)
}

/// Executes the instruction `number` of the block `at`, whose arm has refused it. Whether it is the block's last.
#[cold]
#[inline(never)]
fn refused(cpu: &mut Cpu, platform: &mut dyn Platform, code: &CodeCache, at: Place, number: u32) -> Result<bool, Stop> {
    let Some(i) = code.insn(at, (number - at.first) as usize) else { return Ok(true) };
    execute(&mut Exec::new(cpu, platform), &i).map(|()| i.ends_block())
}

/// The instructions of the block `at` up to `number` were executed; the last of those has come to an end or, `done` says, has not.
#[cold]
#[inline(never)]
fn stopped(cpu: &mut Cpu, code: &CodeCache, at: Place, number: u32, done: Result<(), Stop>) -> Result<(), u64> {
    let insns = code.insns_from(at);
    let k = (number - at.first) as usize;
    let Some(last) = code.insn(at, k) else { return Ok(()) };
    let before = insns[..k].iter().filter(|i| !i.goes_on()).count() as u64;
    let pc = cpu.regs[BLOCK as usize];
    match done {
        Ok(()) => {
            cpu.insns += before + 1;
            cpu.rip = last.next_pc(pc);
            Ok(())
        }
        Err(Stop) => {
            cpu.insns += before + u64::from(cpu.stop.completes());
            Err(last.pc(pc))
        }
    }
}
