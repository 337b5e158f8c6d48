//! Blocks that go on behind jumps, and code that is written or mapped elsewhere: what is executed is what is there.

use bare::{CODE, TABLES};
use guest_api::Tier;
use isa_x86::CpuExit;
use isa_x86::fault::{Exception, SS};

use crate::{DATA, On, TABLE, TURNS};

pub(crate) fn a_loop_counts_exactly<T: Tier>(on: &On<T>) {
    // mov ecx, 1000; xor eax, eax; l: add rax, rcx; sub rcx, 1; jne l; hlt
    let code = [0xb9, 0xe8, 3, 0, 0, 0x31, 0xc0, 0x48, 1, 0xc8, 0x48, 0x83, 0xe9, 1, 0x75, 0xf7, 0xf4];
    let mut m = on.machine(&code);
    for _ in 0..TURNS {
        let before = m.v.cpu.insns;
        assert_eq!(m.run_from(CODE), CpuExit::Halted);
        assert_eq!((m.v.cpu.insns - before, m.v.cpu.regs[0]), (2 + 3 * 1000 + 1, 500_500));
    }
}

pub(crate) fn code_that_writes_itself_is_seen_at_the_next_instruction<T: Tier>(on: &On<T>) {
    // inc ecx; mov [rip + 1], dl; mov al, 1 (the immediate that is written); hlt. Then the same by mov [rdi], dl
    for code in [&[0xff, 0xc1, 0x88, 0x15, 1, 0, 0, 0, 0xb0, 1, 0xf4][..], &[0xff, 0xc1, 0x88, 0x17, 0xb0, 1, 0xf4]] {
        let immediate = CODE + code.len() as u64 - 2;
        let mut m = on.machine(code);
        for turn in 0..u64::from(TURNS) {
            m.load(code);
            // What is there already, or elsewhere, until the code is known; and then something else.
            for (at, value) in [(DATA, 1), (DATA, 1), (immediate, 7 + turn)] {
                [m.v.cpu.regs[2], m.v.cpu.regs[7]] = [value, at];
                assert_eq!((m.run_from(CODE), m.v.cpu.regs[0]), (CpuExit::Halted, value));
            }
        }
    }
}

pub(crate) fn an_instruction_in_two_pages_is_seen_to_be_overwritten_in_either<T: Tier>(on: &On<T>) {
    // mov [rdi], 7; jmp to 0xffd; .. 0xffd: mov eax, 0x44332211, its last two bytes in the next page; hlt
    let mut code = [0xc6, 7, 7, 0xe9, 0xf5, 0x0f, 0, 0].to_vec();
    code.resize(0xffd, 0x90);
    code.extend([0xb8, 0x11, 0x22, 0x33, 0x44, 0xf4]);
    let mut m = on.machine(&code);
    for _ in 0..TURNS {
        for (at, want) in [(0xffe, 0x4433_2207), (0x1001, 0x0733_2211)] {
            m.load(&code);
            m.v.cpu.regs[7] = DATA;
            for _ in 0..2 {
                assert_eq!((m.run_from(CODE), m.v.cpu.regs[0]), (CpuExit::Halted, 0x4433_2211));
            }
            m.v.cpu.regs[7] = CODE + at;
            assert_eq!((m.run_from(CODE), m.v.cpu.regs[0]), (CpuExit::Halted, want), "{at:x}");
        }
    }
}

pub(crate) fn the_second_of_a_pair_runs_though_the_first_has_written_code<T: Tier>(on: &On<T>) {
    // mov [rdi], rax; mov [rsi], rax; hlt
    let mut m = on.machine(&[0x48, 0x89, 7, 0x48, 0x89, 6, 0xf4]);
    for turn in 0..u64::from(TURNS) {
        // Into data, and behind the code.
        for (at, value) in [(DATA + 8, 1), (CODE + 8, 2)] {
            [m.v.cpu.regs[0], m.v.cpu.regs[6], m.v.cpu.regs[7]] = [value << turn, DATA, at];
            let before = m.v.cpu.insns;
            assert_eq!((m.run_from(CODE), m.v.cpu.insns - before), (CpuExit::Halted, 3));
            let written = [at, DATA].map(|at| m.v.cpu.mem.ram.read::<u64>(at));
            assert_eq!(written, [Some(value << turn); 2]);
        }
    }
}

pub(crate) fn a_fault_of_the_second_of_a_pair_is_its_own<T: Tier>(on: &On<T>) {
    // pop rax; pop rbx; hlt
    let mut m = on.machine(&[0x58, 0x5b, 0xf4]);
    m.v.catch_exceptions = true;
    // The last 2 MiB of the lower half are RAM.
    for (at, entry) in [(TABLES + 8 * 255, TABLES + 0x1003), (TABLES + 0x1000 + 8 * 511, TABLE | 3)] {
        assert!(m.v.cpu.mem.ram.write(at, entry));
    }
    assert!(m.v.cpu.mem.ram.write(TABLE + 8 * 511, 0x83_u64));
    let not_canonical = CpuExit::Exception(Exception { vector: SS, error: Some(0) });
    for _ in 0..TURNS {
        for (rsp, exit, executed) in [(DATA, CpuExit::Halted, 3), ((1 << 47) - 8, not_canonical.clone(), 1)] {
            m.v.cpu.regs[4] = rsp;
            let before = m.v.cpu.insns;
            assert_eq!((m.run_from(CODE), m.v.cpu.insns - before), (exit, executed));
            assert_eq!((m.v.cpu.rip, m.v.cpu.regs[4]), (CODE + executed, rsp + 8 * executed.min(2)));
        }
    }
}

/// A page is mapped to another one, and not flushed from the TLB until a jump within it has come to the other page's code by a walk. What one page has
/// is never taken for what the other has, neither behind the flush nor where the first is mapped elsewhere.
pub(crate) fn code_of_a_page_that_moved_is_not_taken_for_that_of_the_other<T: Tier>(on: &On<T>) {
    // 2 MiB pages: `at` and, with the same entry of the TLB, `alias`.
    let (at, alias) = (0x80_0000, 0x80_0000 + (mem::ENTRIES as u64) * 0x1000);
    let pde = |va: u64| TABLES + 0x2000 + 8 * (va >> 21);
    let (first, other) = (0x83, 0x20_0083);
    let (start, evict) = (at + CODE, alias + CODE + 0x800);
    let code = |n: u8| {
        let mut code = vec![0x48, 0x89, 0x2c, 0x25]; // mov [pde], rbp
        code.extend((pde(at) as u32).to_le_bytes());
        code.extend([0x66, 0x90, 0x41, 0xff, 0xd1]); // nop; call r9
        code.extend([0x85, 0xc9, 0x75, 1, 0x90]); // r: test ecx, ecx; jne m; nop
        code.extend([0xbb, n, 0, 0, 0]); // m: mov ebx, n
        code.extend([0x85, 0xc9, 0x74, 7, 0x0f, 0x01, 0x38]); // test ecx, ecx; je n; invlpg [rax]
        code.extend([0xff, 0xcf, 0x75, 0xf0]); // dec edi; jne m
        code.extend([0xff, 0xce, 0x74, 19, 0x4c, 0x89, 0xc5]); // n: dec esi; je end; mov rbp, r8
        code.extend([0xb9, 1, 0, 0, 0, 0xbf, 2, 0, 0, 0]); // mov ecx, 1; mov edi, 2
        code.extend([0x49, 0x83, 0xc1, 1, 0xeb, 0xc7, 0xf4]); // add r9, 1; jmp start; end: hlt
        code
    };
    let mut m = on.machine(&code(1));
    let ram = &mut m.v.cpu.mem.ram;
    assert!(ram.write_bytes((other & !0xfff) + CODE, &code(2)) && ram.write_bytes(CODE + 0x800, &[0xc3, 0xc3]));
    for _ in 0..TURNS {
        let ram = &mut m.v.cpu.mem.ram;
        assert!(ram.write(pde(at), first) && ram.write(pde(alias), first));
        m.v.cpu.flush_tlb();
        let regs = &mut m.v.cpu.regs;
        [regs[0], regs[1], regs[5], regs[6]] = [start, 0, first, 2];
        // The TLB is asked for what was not called before only.
        [regs[8], regs[9]] = [other, evict];
        assert_eq!(m.run_from(start), CpuExit::Halted);
        assert_eq!((m.v.cpu.rip, m.v.cpu.regs[3]), (start + 58, 2), "behind the flush");
        let regs = &mut m.v.cpu.regs;
        [regs[1], regs[6], regs[7]] = [1, 1, 1];
        assert_eq!(m.run_from(alias + CODE + 13), CpuExit::Halted);
        let end = (m.v.cpu.rip, m.v.cpu.regs[3]);
        assert_eq!(end, (alias + CODE + 58, 1), "where the first page is mapped elsewhere");
    }
}

pub(crate) fn a_block_that_has_followed_often_is_seen_to_be_overwritten<T: Tier>(on: &On<T>) {
    // l: mov [rdi], dl; jmp b; b: mov al, 1; add cl, al; sub esi, 1; cmp esi, 1; cmove rdi, r8; test esi, esi; jne l; hlt
    let code = [
        0x88, 0x17, 0xeb, 0, 0xb0, 1, 0, 0xc1, 0x83, 0xee, 1, 0x83, 0xfe, 1, 0x49, 0x0f, 0x44, 0xf8, 0x85, 0xf6, 0x75,
        0xea, 0xf4,
    ];
    let mut m = on.machine(&code);
    for _ in 0..TURNS {
        m.load(&code);
        // In the last of six turns the immediate of `mov al` becomes 7.
        let regs = &mut m.v.cpu.regs;
        [regs[1], regs[2], regs[6], regs[7], regs[8]] = [0, 7, 6, DATA, CODE + 5];
        let before = m.v.cpu.insns;
        assert_eq!(m.run_from(CODE), CpuExit::Halted);
        assert_eq!((m.v.cpu.regs[1], m.v.cpu.insns - before), (5 + 7, 6 * 9 + 1));
    }
}

pub(crate) fn what_was_written_before_a_part_of_a_block_is_seen<T: Tier>(on: &On<T>) {
    // xor eax, eax; l: add eax, 1; p: dec ecx; cmove rdi, r8; mov [rdi], dl; test ecx, ecx; jne p; mov ecx, 3; dec ebx; mov rdi, r9; jne l; hlt
    let code = [
        0x31, 0xc0, 0x83, 0xc0, 1, 0xff, 0xc9, 0x49, 0x0f, 0x44, 0xf8, 0x88, 0x17, 0x85, 0xc9, 0x75, 0xf4, 0xb9, 3, 0,
        0, 0, 0xff, 0xcb, 0x4c, 0x89, 0xcf, 0x75, 0xe5, 0xf4,
    ];
    let mut m = on.machine(&code);
    for _ in 0..TURNS {
        m.load(&code);
        // Until the code is known, and goes on at p; then the third store makes the addition one of 16.
        for (at, want) in [(DATA, 2), (DATA, 2), (CODE + 4, 17)] {
            let regs = &mut m.v.cpu.regs;
            [regs[1], regs[2], regs[3], regs[7], regs[8], regs[9]] = [3, 16, 2, DATA, at, DATA];
            assert_eq!((m.run_from(CODE), m.v.cpu.regs[0]), (CpuExit::Halted, want));
        }
    }
}

/// xor eax, eax; l: test cl, 1; jne a; add eax, 1; a: test cl, 2; jne b; add eax, 16; b: mov [rdi], al; dec ecx; jne l; hlt
pub const FORKS: [u8; 25] = [
    0x31, 0xc0, 0xf6, 0xc1, 1, 0x75, 3, 0x83, 0xc0, 1, 0xf6, 0xc1, 2, 0x75, 3, 0x83, 0xc0, 16, 0x88, 0x07, 0xff, 0xc9,
    0x75, 0xea, 0xf4,
];

pub(crate) fn what_stops_behind_jumps_that_are_not_taken_counts_exactly<T: Tier>(on: &On<T>) {
    let mut m = on.machine(&FORKS);
    m.v.catch_exceptions = true;
    for _ in 0..TURNS {
        // It is known how it goes on when it does not stop.
        [m.v.cpu.regs[1], m.v.cpu.regs[7]] = [8, DATA];
        assert_eq!(m.run_from(CODE), CpuExit::Halted);
        // The store faults where neither, one and both jumps were taken: from the beginning, and when the block is entered within.
        for (cx, executed) in [(4, 7), (5, 6), (6, 6), (7, 5)] {
            [m.v.cpu.regs[1], m.v.cpu.regs[7]] = [cx, 1 << 47];
            // Again, at the first jump's target, and where the store is alone.
            for (from, executed) in [(0, executed), (10, if cx & 2 == 0 { 3 } else { 2 }), (18, 0)] {
                let before = m.v.cpu.insns;
                assert!(matches!(m.run_from(CODE + from), CpuExit::Exception(_)));
                assert_eq!((m.v.cpu.rip, m.v.cpu.insns - before), (CODE + 18, executed), "{cx} from {from}");
            }
        }
    }
}

pub(crate) fn what_is_written_behind_a_jump_that_is_not_taken_is_seen<T: Tier>(on: &On<T>) {
    let mut m = on.machine(&FORKS);
    for _ in 0..TURNS {
        m.load(&FORKS);
        // The store makes `add eax, 16` add something else from the second turn on.
        [m.v.cpu.regs[0], m.v.cpu.regs[1], m.v.cpu.regs[7]] = [32, 16, CODE + 17];
        let (mut model, mut step) = (32_u8, 16);
        for cx in (1..=16_u32).rev() {
            model = model.wrapping_add((cx & 1 == 0).into());
            model = model.wrapping_add(if cx & 2 == 0 { step } else { 0 });
            step = model;
        }
        // Without the first instruction.
        assert_eq!((m.run_from(CODE + 2), m.v.cpu.regs[0] as u8), (CpuExit::Halted, model));
    }
}
