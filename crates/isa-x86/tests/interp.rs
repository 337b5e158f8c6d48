//! The interpreter's loop: blocks, budgets, self-modifying code; changes of mode.

use bare::{Bare, CODE, RAM, TABLES, long_mode, run};
use guest_api::{Code, Decoded, Guest, Left, Tier};
use isa_x86::cpu::{SegReg, Segment, TableRegister, cr0};
use isa_x86::fault::{Exception, GP};
use isa_x86::{CpuExit, Vcpu};
use semantics::FORKS;

#[test]
fn a_budget_ends_with_a_block() {
    // mov ecx,1000; xor eax,eax; l: add rax,rcx; sub rcx,1; jne l; jmp $
    let code = [0xb9, 0xe8, 3, 0, 0, 0x31, 0xc0, 0x48, 1, 0xc8, 0x48, 0x83, 0xe9, 1, 0x75, 0xf7, 0xeb, 0xfe];
    let mut v = long_mode(&code);
    v.cpu.cr0 &= !cr0::PG;
    // The jump behind the loop is part of the last block.
    assert_eq!(run(&mut v, 2 + 3 * 1000), CpuExit::Budget);
    assert_eq!((v.cpu.regs[0], v.cpu.insns, v.cpu.rip), (500_500, 3003, CODE + 16));
    run(&mut v, 10);
    assert_eq!(v.cpu.insns, 3013);
}

#[test]
fn blocks_that_take_each_other_from_the_jump_cache_are_found_and_seen_to_be_overwritten() {
    let (f, g) = (CODE + 0x100, CODE + 0x4101);
    assert_eq!(guest_api::jump_index(f), guest_api::jump_index(g));
    // L: call rbx; call rsi; dec ecx; jnz L; mov byte [rdi], 9; mov ecx, 5; jmp L
    let mut v = long_mode(&[0xff, 0xd3, 0xff, 0xd6, 0xff, 0xc9, 0x75, 0xf8, 0xc6, 7, 9, 0xb9, 5, 0, 0, 0, 0xeb, 0xee]);
    // add eax, 1; ret, which RDI will make add 9; and add edx, 1; ret
    assert!(v.cpu.mem.ram.write_bytes(f, &[0x83, 0xc0, 1, 0xc3]));
    assert!(v.cpu.mem.ram.write_bytes(g, &[0x83, 0xc2, 1, 0xc3]));
    [v.cpu.regs[1], v.cpu.regs[2], v.cpu.regs[3], v.cpu.regs[6], v.cpu.regs[7]] = [5, 0, f, g, f + 2];
    let mut platform = Bare::default();
    // The store is behind the last jump that is not taken.
    assert_eq!(v.run(&mut platform, 2 * 5 * 8 + 3), CpuExit::Budget);
    assert_eq!((v.cpu.regs[0], v.cpu.regs[2], v.cpu.insns), (5 + 5 * 9, 10, 84));
    // Eleven, and two again that were written. The platform is told, as that takes time.
    assert_eq!((v.decoded(), platform.decoded), (13, 13));
}

#[test]
fn what_misses_the_tlb_is_counted() {
    // L: mov rax, [rdi]; add rdi, 4096; dec ecx; jnz L; jmp $
    let mut v = long_mode(&[0x48, 0x8b, 7, 0x48, 0x81, 0xc7, 0, 16, 0, 0, 0xff, 0xc9, 0x75, 0xf2, 0xeb, 0xfe]);
    let mut misses = |pages: u64, at: u64| {
        (v.cpu.rip, v.cpu.regs[1], v.cpu.regs[7]) = (CODE, pages, at);
        let before = v.cpu.tlb_misses;
        run(&mut v, 4 * pages);
        assert_eq!((v.cpu.rip, v.cpu.regs[7]), (CODE + 14, at + (pages << 12)));
        v.cpu.tlb_misses - before
    };
    assert_eq!(misses(100, 0), 101, "each page, and the code's");
    assert_eq!(misses(100, 8), 0, "they are known");
    assert_eq!(misses(3, 0xffc), 6, "both pages of each");
    assert_eq!([misses(1, RAM), misses(1, RAM)], [1, 1], "not of RAM");
}

#[test]
fn what_is_written_beside_code_drops_none() {
    // L: mov [rdi], ecx; dec ecx; jnz L; jmp $; and behind it, in the same line, a byte that belongs to no code
    let mut v = long_mode(&[0x89, 0x0f, 0xff, 0xc9, 0x75, 0xfa, 0xeb, 0xfe]);
    v.cpu.cr0 &= !cr0::PG;
    (v.cpu.regs[1], v.cpu.regs[7]) = (1000, CODE + 8);
    run(&mut v, 3010);
    assert_eq!((v.cpu.rip, v.cpu.mem.ram.read::<u32>(CODE + 8)), (CODE + 6, Some(1)));
    assert!(v.decoded() < 10, "{} instructions", v.decoded());
    // One byte before, which does.
    (v.cpu.rip, v.cpu.regs[1], v.cpu.regs[7]) = (CODE, 1, CODE + 4);
    run(&mut v, 2);
    assert_eq!(v.cpu.mem.ram.read::<u32>(CODE + 4), Some(1));
    let before = v.decoded();
    run(&mut v, 1);
    assert!(v.decoded() > before);
}

#[test]
fn of_many_blocks_that_end_in_a_page_none_stays_when_that_is_written() {
    // Before one page of memory, others in turn, which end in prefixes of the NOP in its first byte: a block begins at each.
    const LINEAR: u64 = 0x200_0000;
    const TABLE: u64 = TABLES + 0x4000;
    const Q: u64 = TABLES + 0x5000;
    const STARTS: u64 = 14;
    // mov [LINEAR + 0x1020], al; hlt
    let mut v = long_mode(&[0x88, 0x04, 0x25, 0x20, 0x10, 0, 2, 0xf4]);
    let ram = &mut v.cpu.mem.ram;
    assert!(ram.write(TABLES + 0x2000 + 8 * (LINEAR >> 21), TABLE | 3));
    assert!(ram.write(TABLE + 8, Q | 3));
    assert!(ram.write_bytes(Q, &[0x90, 0xf4]));
    let execute = |v: &mut Vcpu, pages: u64| {
        let before = v.decoded();
        for page in (0..pages).map(|n| TABLES + 0x6000 + 0x1000 * n) {
            assert!(v.cpu.mem.ram.write(TABLE, page | 3));
            v.cpu.flush_tlb();
            for start in 1..=STARTS {
                assert!(v.cpu.mem.ram.write(page + 0x1000 - start, 0x66_u8));
                v.cpu.rip = LINEAR + 0x1000 - start;
                v.cpu.halted = false;
                assert_eq!(run(v, 10), CpuExit::Halted);
            }
        }
        v.decoded() - before
    };
    for (pages, anew) in [(10, 0), (20, 20 * STARTS)] {
        execute(&mut v, pages);
        assert_eq!(execute(&mut v, pages), 0);
        (v.cpu.rip, v.cpu.halted) = (CODE, false);
        assert_eq!(run(&mut v, 10), CpuExit::Halted);
        assert_eq!(execute(&mut v, pages), anew, "a store beside the code of {pages} pages");
    }
}

#[test]
fn a_call_from_compatibility_mode_to_64_bit_code_pushes_to_a_flat_stack() {
    // call 0x08:CODE + 0x100
    let mut v = long_mode(&[0x9a, 0, 1, 0x10, 0, 8, 0]);
    v.cpu.cr0 &= !cr0::PG;
    let (gdt, data) = (CODE + 0x2000, CODE + 0x3000);
    // 64-bit code, 32-bit code, data at 0x1000
    for (n, d) in [(1, 0x00af_9b00_0000_ffff), (2, 0x00cf_9b00_0000_ffff), (3, 0x00cf_9300_1000_ffffu64)] {
        assert!(v.cpu.mem.ram.write(gdt + 8 * n, d));
    }
    v.cpu.gdtr = TableRegister { base: gdt, limit: 31 };
    v.cpu.set_segment(SegReg::Cs, Segment { selector: 0x10, attr: 0xc09b, limit: u32::MAX }, 0);
    v.cpu.set_segment(SegReg::Ss, Segment { selector: 0x18, attr: 0xc093, limit: u32::MAX }, 0x1000);
    v.cpu.update_context();
    v.cpu.regs[4] = data + 8;
    assert_eq!(run(&mut v, 1), CpuExit::Budget);
    assert_eq!((v.cpu.seg[1].selector, v.cpu.rip, v.cpu.regs[4]), (8, CODE + 0x100, data));
    let frame = [(CODE + 7).to_le_bytes()[..4].to_vec(), vec![0x10, 0, 0, 0]].concat();
    assert_eq!(v.cpu.mem.ram.slice(data, 8), Some(&frame[..]));
}

#[test]
fn code_beyond_the_limit_drops_the_cache_and_runs_on() {
    // 80,000 two-byte jumps to the next instruction, a block each, then jmp $: more than the smallest cache, of 2 MiB, holds.
    let mut code = [0xeb, 0].repeat(80_000);
    code.extend([0xeb, 0xfe]);
    let mut v = long_mode(&code);
    for _ in 0..2 {
        v.cpu.rip = CODE;
        assert_eq!(run(&mut v, 80_000), CpuExit::Budget);
        assert_eq!(v.cpu.rip, CODE + 160_000);
        assert!(v.code_bytes() <= 2 << 20, "{} bytes", v.code_bytes());
    }
    assert_eq!(v.cpu.insns, 160_000);
    assert!(v.decoded_drops() > 8, "{}", v.decoded_drops());
}

const GP0: CpuExit = CpuExit::Exception(Exception { vector: GP, error: Some(0) });

/// 32-bit code without paging at CS's base [`CODE`], limit `limit`, RIP `start`. Exceptions are caught.
fn begin_limited(v: &mut Vcpu, limit: u32, start: u64) {
    v.cpu.set_segment(SegReg::Cs, Segment { selector: 8, attr: 0x409b, limit }, CODE);
    v.cpu.rip = start;
    v.cpu.update_context();
    v.catch_exceptions = true;
}

fn limited(code: &[u8], limit: u32, start: u64) -> Vcpu {
    let mut v = bare::vcpu(isa_x86::cpu::Cpu::new(bare::memory(bare::RAM)));
    bare::begin_insn(&mut v.cpu, 32);
    assert!(v.cpu.mem.ram.write_bytes(CODE, code));
    begin_limited(&mut v, limit, start);
    v
}

#[test]
fn code_that_runs_beyond_the_limit_is_gp_there() {
    let mut code = [0x90; 0x1010];
    code[0x20..0x25].copy_from_slice(&[0xb8, 1, 2, 3, 4]); // mov eax, 0x04030201
    code[0xffe..0x1003].copy_from_slice(&[0xb8, 1, 2, 3, 4]); // in two pages
    const MOVED: u64 = 0x0403_0201;
    for (limit, start, end, eax) in [
        (0x10, 8, 0x11, 0), // runs beyond it
        (0x24, 0x18, 0x25, MOVED),
        (0x23, 0x18, 0x20, 0), // an instruction reaches beyond it
        (0x20, 0x20, 0x20, 0),
        (0xfff, 0xff0, 0xffe, 0),
        (0x1001, 0xff0, 0xffe, 0),
        (0x1002, 0xff0, 0x1003, MOVED),
    ] {
        let mut v = limited(&code, limit, start);
        assert_eq!((run(&mut v, 40), v.cpu.rip, v.cpu.regs[0]), (GP0, end, eax), "limit {limit:#x}");
    }
}

/// Paging of 32 bits that maps only these linear pages, all to [`CODE`].
fn map_to_code(v: &mut Vcpu, pages: &[u64]) {
    assert!(v.cpu.mem.ram.write(0x1000, 0x2003_u32));
    for page in pages {
        assert!(v.cpu.mem.ram.write(0x2000 + 4 * (page >> 12), CODE as u32 | 3));
    }
    (v.cpu.cr3, v.cpu.cr4) = (0x1000, 0);
    v.cpu.cr0 |= cr0::PG;
    v.cpu.flush_tlb();
    v.cpu.update_context();
}

#[test]
fn a_page_beyond_the_limit_is_not_fetched() {
    // nop ..; mov eax, imm32, two bytes of it in the page
    let mut code = [0x90; 0x1000];
    code[0xffe] = 0xb8;
    let mut v = limited(&code, 0xfff, 0xff0);
    map_to_code(&mut v, &[CODE]);
    assert_eq!((run(&mut v, 40), v.cpu.rip), (GP0, 0xffe));
}

#[test]
fn code_that_is_known_is_within_the_limit_too() {
    // A loop, so that the jump cache has it, then nops, and out of the limit: L: dec ecx; jnz L; nop ..; jmp $
    let mut code = [0x90; 0x40];
    code[..3].copy_from_slice(&[0x49, 0x75, 0xfd]);
    code[0x20..0x22].copy_from_slice(&[0xeb, 0xfe]);
    let mut v = limited(&code, u32::MAX, 0);
    let mut again = |limit: u32, start: u64| {
        begin_limited(&mut v, limit, start);
        v.cpu.regs[1] = 4;
        (run(&mut v, 100), v.cpu.rip)
    };
    assert_eq!(again(u32::MAX, 0), (CpuExit::Budget, 0x20));
    for limit in [0x1f, 0x10, 4, 2] {
        assert_eq!(again(limit, 0), (GP0, u64::from(limit) + 1), "limit {limit:#x}");
    }
    assert_eq!(again(1, 0), (GP0, 1));
    // What is shorter now runs on where it may.
    assert_eq!(again(0x1f, 0), (GP0, 0x20));
    assert_eq!(again(u32::MAX, 0), (CpuExit::Budget, 0x20));
    // The same code with another base.
    v.cpu.set_segment(SegReg::Cs, Segment { selector: 8, attr: 0x409b, limit: 0x10 }, CODE - 8);
    v.cpu.rip = 8;
    v.cpu.update_context();
    v.cpu.regs[1] = 1;
    assert_eq!((run(&mut v, 100), v.cpu.rip), (GP0, 0x11));
}

#[test]
fn a_block_that_was_made_shorter_is_seen_to_be_overwritten() {
    const ALIAS: u64 = 0x2000;
    // mov byte [edi], 7; nop; mov al, 1; jmp $
    let mut v = limited(&[0xc6, 7, 7, 0x90, 0xb0, 1, 0xeb, 0xfe], u32::MAX, 4);
    map_to_code(&mut v, &[CODE, CODE + ALIAS]);
    v.cpu.rip = 4 + ALIAS;
    assert_eq!((run(&mut v, 5), v.cpu.regs[0]), (CpuExit::Budget, 1));
    begin_limited(&mut v, 6, 4);
    assert_eq!((run(&mut v, 5), v.cpu.rip), (GP0, 6));
    begin_limited(&mut v, u32::MAX, 0);
    v.cpu.regs[7] = CODE + 5;
    assert_eq!((run(&mut v, 5), v.cpu.regs[0]), (CpuExit::Budget, 7));
    (v.cpu.rip, v.cpu.regs[0]) = (4 + ALIAS, 0);
    assert_eq!((run(&mut v, 5), v.cpu.regs[0]), (CpuExit::Budget, 7));
}

/// Notes what is hot, and translates nothing.
#[derive(Default)]
struct Watch(Vec<u64>);

impl Tier for Watch {
    fn threshold(&self) -> u32 {
        3
    }
    fn hot<C: Code>(&mut self, _: &mut C, _: Decoded, pc: u64) -> u32 {
        self.0.push(pc);
        3
    }
}

#[test]
fn what_is_executed_once_in_a_while_does_not_become_hot() {
    // f: call g; mov ecx, ebx; l: sub ecx, 1; jne l; jmp f; g: ret
    let code = [0xe8, 9, 0, 0, 0, 0x89, 0xd9, 0x83, 0xe9, 1, 0x75, 0xfb, 0xeb, 0xf2, 0xc3];
    let (l, g) = (CODE + 7, CODE + 14);
    let hot_after_five_rounds = |passes: u64| {
        let mut v = long_mode(&code);
        v.cpu.regs[3] = passes;
        let mut watch = Watch::default();
        for _ in 0..50 {
            assert_eq!(
                v.run_with(&mut Bare::default(), &mut watch, (5 * (4 + 2 * passes)).div_ceil(50)),
                CpuExit::Budget
            );
        }
        watch.0
    };
    let often = hot_after_five_rounds(100);
    assert!(often.contains(&l) && often.contains(&g), "{often:x?}");
    let seldom = hot_after_five_rounds(2_200_000);
    assert!(seldom.contains(&l) && !seldom.contains(&g), "{seldom:x?}");
}

#[test]
fn a_block_goes_on_behind_jumps_that_are_not_taken_and_is_entered_within() {
    let mut v = long_mode(&FORKS);
    (v.cpu.regs[1], v.cpu.regs[7]) = (16, CODE + 0x1000);
    assert_eq!(run(&mut v, 1000), CpuExit::Halted);
    // Of sixteen numbers each bit is clear in eight.
    assert_eq!((v.cpu.regs[0], v.cpu.insns), (8 + 8 * 16, 1 + 16 * 7 + 8 + 8 + 1));
    assert_eq!(v.decoded(), 11, "what is jumped to was decoded");
}

/// Notes where the computed jump at the end of what is hot at CODE has gone, when it was hot last.
#[derive(Default)]
struct Targets(Vec<u64>);

impl Tier for Targets {
    fn threshold(&self) -> u32 {
        3
    }
    fn hot<C: Code>(&mut self, code: &mut C, mut part: Decoded, pc: u64) -> u32 {
        while let Some(behind) = code.behind(&part) {
            part = behind;
        }
        if pc == CODE {
            self.0 = code.targets(&part);
        }
        3
    }
}

#[test]
fn jumps_within_a_block_are_none_of_the_computed_one_at_its_end() {
    // l: dec ecx; je e; test cl, 1; jne a; jmp rbx; a: jmp l; b: jmp l; e: hlt
    let code = [0xff, 0xc9, 0x74, 0x0b, 0xf6, 0xc1, 1, 0x75, 2, 0xff, 0xe3, 0xeb, 0xf3, 0xeb, 0xf1, 0xf4];
    let mut v = long_mode(&code);
    (v.cpu.regs[1], v.cpu.regs[3]) = (100, CODE + 13);
    let mut targets = Targets::default();
    assert_eq!(v.run_with(&mut Bare::default(), &mut targets, 1000), CpuExit::Halted);
    assert_eq!(targets.0, [CODE + 13]);
}

/// As soon as anything is hot, has translated code behind the first jump of [`FORKS`], which executes nothing.
#[derive(Default)]
struct Translates {
    at: Option<(u64, u32)>,
    told: bool,
    entered: Vec<u64>,
}

const BEHIND: u64 = CODE + 7;

impl Tier for Translates {
    fn threshold(&self) -> u32 {
        3
    }
    fn hot<C: Code>(&mut self, _: &mut C, block: Decoded, pc: u64) -> u32 {
        self.at.get_or_insert_with(|| (block.pa.wrapping_add(BEHIND.wrapping_sub(pc)), block.mode));
        3
    }
    fn changed(&self) -> bool {
        self.at.is_some() && !self.told
    }
    fn changes(&mut self, each: &mut dyn FnMut(u64, u32, u32)) -> bool {
        self.told = true;
        self.at.into_iter().for_each(|(pa, mode)| each(pa, mode, 1));
        false
    }
    fn find(&self, pa: u64, mode: u32) -> u32 {
        (self.at == Some((pa, mode))).into()
    }
    fn enter(&mut self, _: &mut dyn Guest, _: u32, pc: u64, left: i64) -> Left {
        self.entered.push(pc);
        Left { pc, left, interpret: true }
    }
}

#[test]
fn translated_code_behind_a_jump_that_is_not_taken_is_entered() {
    // It appears when the block that goes on there, eight times of sixteen, has been executed.
    let mut v = long_mode(&FORKS);
    (v.cpu.regs[1], v.cpu.regs[7]) = (16, CODE + 0x1000);
    let mut tier = Translates::default();
    assert_eq!(v.run_with(&mut Bare::default(), &mut tier, 1000), CpuExit::Halted);
    assert_eq!((v.cpu.regs[0], v.cpu.insns), (8 + 8 * 16, 1 + 16 * 7 + 8 + 8 + 1));
    assert!((5..8).contains(&tier.entered.len()) && tier.entered.iter().all(|&pc| pc == BEHIND), "{:x?}", tier.entered);

    // It is there before such a block is decoded.
    let mut v = long_mode(&FORKS);
    let mut tier = Translates::default();
    let mut run = |v: &mut Vcpu, pc, cx| {
        (v.cpu.rip, v.cpu.regs[1], v.cpu.regs[7]) = (pc, cx, CODE + 0x1000);
        v.cpu.halted = false;
        assert_eq!(v.run_with(&mut Bare::default(), &mut tier, 1000), CpuExit::Halted);
        core::mem::take(&mut tier.entered)
    };
    (0..4).for_each(|_| drop(run(&mut v, BEHIND, 1)));
    assert_eq!(run(&mut v, BEHIND, 1), [BEHIND]);
    assert_eq!(run(&mut v, CODE, 4), [BEHIND; 2]);
}
