//! The interpreter's loop: blocks, budgets, self-modifying code.

mod common;

use common::{CODE, long_mode, run};
use isa_x86::CpuExit;
use isa_x86::cpu::cr0;

#[test]
fn a_loop_counts_exactly() {
    // mov ecx,1000; xor eax,eax; l: add rax,rcx; sub rcx,1; jne l; jmp $
    let code = [0xb9, 0xe8, 3, 0, 0, 0x31, 0xc0, 0x48, 1, 0xc8, 0x48, 0x83, 0xe9, 1, 0x75, 0xf7, 0xeb, 0xfe];
    let mut v = long_mode(&code);
    v.cpu.cr0 &= !cr0::PG;
    assert_eq!(run(&mut v, 2 + 3 * 1000), CpuExit::Budget);
    assert_eq!(v.cpu.regs[0], 500_500);
    assert_eq!(v.cpu.insns, 3002);
    assert_eq!(v.cpu.rip, CODE + 16);
    run(&mut v, 10);
    assert_eq!(v.cpu.insns, 3012);
}

#[test]
fn code_that_writes_itself_is_seen_at_the_next_instruction() {
    // mov byte [rip+1], 7 ; mov al, 1 (immediate patched)  ; jmp $
    let code = [0xc6, 0x05, 1, 0, 0, 0, 7, 0xb0, 1, 0xeb, 0xfe];
    let mut v = long_mode(&code);
    v.cpu.cr0 &= !cr0::PG;
    run(&mut v, 2);
    assert_eq!(v.cpu.regs[0] & 0xff, 7);
}
