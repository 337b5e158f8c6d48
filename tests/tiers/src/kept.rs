//! Loops that keep a page for writing, when it becomes code: what they write from then on is executed.

use bare::CODE;
use isa_x86::CpuExit;

use crate::Report;
use crate::asm::KEPT;
use crate::life::Guest;

const FIRST: u64 = 0x30_0000;
const PAGES: u64 = 64;

/// A guest that runs `program`, with `code` at the begin of each page.
fn guest(program: &[u8], code: &[u8]) -> Guest {
    let mut guest = Guest::new(program, 1 << 20);
    for n in 0..PAGES {
        assert!(guest.v.cpu.mem.dma_write(FIRST + 0x1000 * n, code));
    }
    (guest.v.cpu.regs[2], guest.v.cpu.regs[3]) = (0, FIRST);
    guest
}

/// The loop itself calls it.
fn within(report: &mut Report) {
    // MOV EAX, 0; RET
    let mut guest = guest(KEPT, &[0xb8, 0, 0, 0, 0, 0xc3]);
    guest.v.cpu.regs[5] = PAGES;
    let exit = loop {
        match guest.slice(1000) {
            CpuExit::Budget => {}
            exit => break exit,
        }
    };
    let (sum, want, wide) = (guest.v.cpu.regs[2], PAGES * (0x201 + 0x601 + 0xa01), guest.tier.stats.widened);
    if exit != CpuExit::Halted || sum != want || wide == 0 {
        report
            .fail(format_args!("kept pages that become code: {exit:?}, the sum is {sum:x}, not {want:x}; {wide} wide"));
    }
    report.line(format_args!("kept pages that become code: {wide} regions made again"));
}

/// It is executed between two entries of the loop's region.
fn between(report: &mut Report) {
    // L: INC dword [RBX + 1]; ADD RDX, RCX; DEC ECX; JNZ L; JMP L
    let program = [0xff, 0x43, 1, 0x48, 0x01, 0xca, 0xff, 0xc9, 0x75, 0xf6, 0xeb, 0xf4];
    // MOV EAX, 0; HLT
    let mut guest = guest(&program, &[0xb8, 0, 0, 0, 0, 0xf4]);
    let mut wrong = 0;
    for n in 0..PAGES {
        let page = FIRST + 0x1000 * n;
        guest.v.cpu.regs[3] = page;
        for _ in 0..3 {
            for _ in 0..4 {
                guest.slice(1000);
            }
            let (pc, rax) = (guest.v.cpu.rip, guest.v.cpu.regs[0]);
            guest.v.cpu.rip = page;
            while guest.slice(1) == CpuExit::Budget {}
            guest.v.cpu.halted = false;
            let count = guest.v.cpu.mem.ram.read::<u32>(page + 1);
            wrong += u32::from(count.map(u64::from) != Some(guest.v.cpu.regs[0]));
            (guest.v.cpu.rip, guest.v.cpu.regs[0]) = (pc, rax);
        }
    }
    let (wide, share) = (guest.tier.stats.widened, guest.v.translated * 100 / guest.v.cpu.insns);
    if wrong > 0 || wide == 0 || !(CODE..CODE + 12).contains(&guest.v.cpu.rip) {
        report.fail(format_args!("kept pages that become code between: {wrong} times the old; {wide} wide"));
    }
    report.line(format_args!("kept pages that become code between: {wide} regions made again, {share} % translated"));
}

pub fn run(report: &mut Report) {
    within(report);
    between(report);
}
