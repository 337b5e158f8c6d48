//! The interpreter's loop: blocks, budgets, self-modifying code.

use bare::{CODE, long_mode, run};
use isa_x86::CpuExit;
use isa_x86::cpu::cr0;
use isa_x86::fault::{Exception, SS};

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

#[test]
fn the_second_of_a_pair_runs_though_the_first_has_written_code() {
    // mov [rdi], rax; mov [rsi], rax; jmp $
    let code = [0x48, 0x89, 7, 0x48, 0x89, 6, 0xeb, 0xfe];
    let mut v = long_mode(&code);
    v.cpu.cr0 &= !cr0::PG;
    let data = CODE + 0x1000;
    (v.cpu.regs[0], v.cpu.regs[7], v.cpu.regs[6]) = (0x1234, CODE + 8, data);
    run(&mut v, 3);
    assert_eq!(v.cpu.mem.ram.slice(data, 2), Some(&[0x34, 0x12][..]));
    assert_eq!((v.cpu.insns, v.cpu.rip), (3, CODE + 6));
}

#[test]
fn a_fault_of_the_second_of_a_pair_is_its_own() {
    // pop rax; pop rbx; jmp $
    let mut v = long_mode(&[0x58, 0x5b, 0xeb, 0xfe]);
    v.cpu.cr0 &= !cr0::PG;
    v.catch_exceptions = true;
    v.cpu.regs[4] = 0x7fff_ffff_fff8;
    assert_eq!(run(&mut v, 3), CpuExit::Exception(Exception { vector: SS, error: Some(0) }));
    assert_eq!((v.cpu.insns, v.cpu.rip, v.cpu.regs[4]), (1, CODE + 1, 1 << 47));
}

#[test]
fn code_beyond_the_limit_drops_the_cache_and_runs_on() {
    // 60,000 two-byte jumps to the next instruction, a block each, then jmp $: more than the cache of 1 MiB holds.
    let mut code = [0xeb, 0].repeat(60_000);
    code.extend([0xeb, 0xfe]);
    let mut v = long_mode(&code);
    for _ in 0..2 {
        v.cpu.rip = CODE;
        assert_eq!(run(&mut v, 60_000), CpuExit::Budget);
        assert_eq!(v.cpu.rip, CODE + 120_000);
        assert!(v.code_bytes() < 2 << 20, "{} bytes", v.code_bytes());
    }
    assert_eq!(v.cpu.insns, 120_000);
}
