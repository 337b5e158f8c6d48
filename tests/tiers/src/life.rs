//! How translated code comes and goes over a long time: code that is rewritten for ever, a host that refuses, entries that lead nowhere.

use core::cell::Cell;
use core::num::NonZeroU32;

use bare::{Bare, CODE, TABLES, long_mode};
use isa_x86::cpu::rflags;
use isa_x86::{CpuExit, Vcpu};
use jit::{Host, Jit, Support};

use crate::Report;
use crate::host::Runner;

thread_local! {
    /// Modules that the host was given and did not drop; what it was asked, refusals included.
    static MODULES: Cell<i64> = const { Cell::new(0) };
    static ASKED: Cell<u64> = const { Cell::new(0) };
    static REFUSES: Cell<bool> = const { Cell::new(false) };
    static FULL: Cell<bool> = const { Cell::new(false) };
}

/// The runner, counted, and made to refuse.
pub struct Counted(Runner);

impl Host for Counted {
    fn support(&self) -> Support {
        self.0.support()
    }
    fn compile(&mut self, module: &[u8], slots: &[u32]) -> Option<NonZeroU32> {
        ASKED.set(ASKED.get() + 1);
        let id = if REFUSES.get() { None } else { self.0.compile(module, slots) };
        MODULES.set(MODULES.get() + i64::from(id.is_some()));
        id
    }
    fn drop(&mut self, module: NonZeroU32) {
        MODULES.set(MODULES.get() - 1);
        self.0.drop(module);
    }
    fn grow(&mut self, count: u32, with: u32) -> Option<NonZeroU32> {
        ASKED.set(ASKED.get() + 1);
        if FULL.get() { None } else { self.0.grow(count, with) }
    }
    fn copy(&mut self, to: u32, from: u32, count: u32) {
        self.0.copy(to, from, count);
    }
    fn now_ns(&self) -> u64 {
        0
    }
}

/// A guest at [`CODE`], and its tier.
pub struct Guest {
    pub v: Vcpu,
    pub tier: Jit<Counted>,
    platform: Bare,
}

impl Guest {
    pub fn new(code: &[u8], limit: usize) -> Guest {
        let v = long_mode(code);
        let mut tier = Jit::new(Counted(Runner), isa_x86::tier::layout(), limit);
        (tier.hot, tier.warm) = (20, 5);
        MODULES.set(0);
        ASKED.set(0);
        Guest { v, tier, platform: Bare::default() }
    }
    pub fn slice(&mut self, insns: u64) -> CpuExit {
        let exit = self.v.run_with(&mut self.platform, &mut self.tier, insns);
        self.tier.slice_over();
        exit
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        guest_api::Tier::drop_all(&mut self.tier);
    }
}

/// Functions that are rewritten and called, and where the first is: as many to a page.
const FUNCTIONS: u64 = 24;
const FUNCTION: u64 = 0x10_4000;
const APART: u64 = 0x280;
/// Calls of each function before it is rewritten.
const CALLS: u32 = 120;

/// Writes functions, calls them, and so on, `turns` times. RBX becomes a sum.
fn churning(turns: u32) -> Vec<u8> {
    let mut code = vec![0x41, 0xbc];
    code.extend(turns.to_le_bytes()); // MOV R12D, turns
    let outer = code.len();
    for f in 0..FUNCTIONS {
        // MOV [function + 1], R12D; ADD byte [function + 1], f
        let at = ((FUNCTION + f * APART + 1) as u32).to_le_bytes();
        code.extend([0x44, 0x89, 0x24, 0x25]);
        code.extend(at);
        code.extend([0x80, 0x04, 0x25]);
        code.extend(at);
        code.push(f as u8);
    }
    code.push(0xb9);
    code.extend(CALLS.to_le_bytes()); // MOV ECX, CALLS
    let inner = code.len();
    for f in 0..FUNCTIONS {
        code.push(0xe8);
        let from = CODE + code.len() as u64 + 4;
        code.extend(((FUNCTION + f * APART).wrapping_sub(from) as u32).to_le_bytes());
        code.extend([0x48, 0x01, 0xc3]); // ADD RBX, RAX
    }
    let back = |code: &mut Vec<u8>, to: usize| {
        let offset = to as i32 - (code.len() as i32 + 4);
        code.extend(offset.to_le_bytes());
    };
    code.extend([0xff, 0xc9, 0x0f, 0x85]); // DEC ECX; JNZ
    back(&mut code, inner);
    code.extend([0x41, 0xff, 0xcc, 0x0f, 0x85]); // DEC R12D; JNZ
    back(&mut code, outer);
    code.push(0xf4);
    code
}

/// Some minutes of a guest that writes code: [`FUNCTIONS`] functions are written anew each turn. The long form's 300,000 are as many regions as fifty runs of gcc make, more
/// than a guest that compiles all day.
fn churn(turns: u32, report: &mut Report) {
    const LIMIT: usize = 96 << 10;
    let mut guest = Guest::new(&churning(turns), LIMIT);
    // The functions: MOV EAX, imm32; a few instructions; RET
    for f in 0..FUNCTIONS {
        let function = [0xb8, 0, 0, 0, 0, 0x48, 0xff, 0xc8, 0x48, 0xff, 0xc0, 0xc3];
        assert!(guest.v.cpu.mem.ram.write_bytes(FUNCTION + f * APART, &function));
    }
    let mut most = (0, 0);
    let mut pages = 0;
    let exit = loop {
        let exit = guest.slice(20_000);
        most = (most.0.max(guest.tier.live_modules()), most.1.max(guest.tier.live_regions()));
        if guest.tier.live_modules() as i64 != MODULES.get() {
            report.fail(format_args!("{} modules are live, the host has {}", guest.tier.live_modules(), MODULES.get()));
        }
        if guest.v.cpu.regs[12] <= u64::from(turns) / 2 && pages == 0 {
            pages = core::arch::wasm32::memory_size(0);
        }
        if exit != CpuExit::Budget || report.failures > 0 {
            break exit;
        }
    };
    let want = (1..=u64::from(turns)).fold(0_u64, |sum, n| {
        let functions = (0..FUNCTIONS).map(|f| n & !0xff | (n + f) & 0xff);
        sum.wrapping_add(functions.sum::<u64>().wrapping_mul(CALLS.into()))
    });
    let s = guest.tier.stats;
    report.line(format_args!(
        "{} instructions, {} translated; {} regions, {} modules made; at most {} regions, {} modules at a time; {} dropped, {} evicted",
        guest.v.cpu.insns, guest.v.translated, s.regions, s.modules, most.1, most.0, s.invalidations, s.evictions
    ));
    let mut check = |good: bool, what: core::fmt::Arguments<'_>| {
        if !good {
            report.fail(what);
        }
    };
    check(exit == CpuExit::Halted && guest.v.cpu.regs[3] == want, format_args!("{exit:?}, the sum is wrong"));
    check(s.invalidations > u64::from(turns), format_args!("code was rewritten {turns} times and little dropped"));
    check(most.0 <= 3 * FUNCTIONS as usize, format_args!("{} modules live", most.0));
    check(most.1 <= 4 * FUNCTIONS as usize, format_args!("{} regions live", most.1));
    // Half a megabyte, for the largest batch may be made late; what the modules of a half take is three times as much.
    let grown = core::arch::wasm32::memory_size(0) - pages;
    check(pages != 0 && grown <= 8, format_args!("memory has grown by {grown} pages in the second half"));
    let share = guest.v.translated * 100 / guest.v.cpu.insns;
    check(share >= 30, format_args!("{share} % were translated"));
}

/// A host that refuses is asked less and less often; when it no longer does, code is translated as if it never had.
fn refusals(table: bool, report: &mut Report) {
    let mut guest = Guest::new(&churning(u32::MAX), 1 << 20);
    let name = if table { "slots" } else { "modules" };
    let refuse = |on: bool| if table { FULL.set(on) } else { REFUSES.set(on) };
    for f in 0..FUNCTIONS {
        assert!(guest.v.cpu.mem.ram.write_bytes(FUNCTION + f * APART, &[0xb8, 0, 0, 0, 0, 0xc3]));
    }
    refuse(true);
    for _ in 0..3000 {
        guest.slice(5_000);
    }
    let (asked, lifted) = (ASKED.get(), guest.tier.stats.regions);
    if !(3..=20).contains(&asked) || lifted > 24 * 20 || guest.v.translated != 0 {
        report.fail(format_args!(
            "{name}: asked {asked} times, {lifted} regions in vain, {} translated",
            guest.v.translated
        ));
    }
    refuse(false);
    let (before, mut slices) = (guest.v.cpu.insns, 0);
    while slices < 6000 && guest.v.translated == 0 {
        guest.slice(5_000);
        slices += 1;
    }
    for _ in 0..200 {
        guest.slice(5_000);
    }
    let all = guest.v.cpu.insns - before;
    if guest.v.translated * 3 < 200 * 5_000 {
        report.fail(format_args!("{name}: {} of {all} instructions translated after the refusals", guest.v.translated));
    }
    report
        .line(format_args!("{name}: {asked} refusals in 3000 slices, translated again {slices} slices after the last"));
}

/// A region whose first instruction meets a device is dropped, and made again when its code has changed.
fn useless(report: &mut Report) {
    // L: MOV EAX, [device]; MOV EDX, [device + 4]; ADD RBX, RDX; JMP L
    let device = 0x1000_0000_u32;
    let mut code = vec![0x8b, 0x04, 0x25];
    code.extend(device.to_le_bytes());
    code.extend([0x8b, 0x14, 0x25]);
    code.extend((device + 4).to_le_bytes());
    code.extend([0x48, 0x01, 0xd3, 0xeb, 0xed]);
    let mut guest = Guest::new(&code, 1 << 20);
    let turns = |guest: &mut Guest| {
        for _ in 0..50 {
            guest.slice(400);
        }
        (guest.tier.stats.useless, guest.tier.stats.regions, guest.tier.stats.exits_side)
    };
    let first = turns(&mut guest);
    let second = turns(&mut guest);
    if first.0 == 0 || second.0 != first.0 || second.1 != first.1 {
        report.fail(format_args!("useless regions, all, side exits: {first:?}, and later {second:?}"));
    }
    // The second instruction becomes a load of RAM.
    assert!(guest.v.cpu.mem.dma_write(CODE + 10, &0x30_0000_u32.to_le_bytes()));
    let third = turns(&mut guest);
    if third.1 == second.1 {
        report.fail(format_args!("nothing was translated anew: {third:?}"));
    }
    report.line(format_args!(
        "regions dropped as useless, all, side exits: {first:?}, {second:?}; code changed {third:?}"
    ));
}

/// A loop that calls what was hot before it: regions of their own, until time is seen to go there.
fn wide(report: &mut Report) {
    // MOV ECX, 3000; A: CALL F; LOOP A
    // MOV ECX, 100000; B: CALL F; DEC ECX; JNZ B; HLT
    // F: ADD RBX, RCX; nine times XOR RAX, RBX, ADD RAX, 3, ROL RAX, 7; RET
    let mut code = vec![0xb9, 0xb8, 0x0b, 0, 0, 0xe8, 0x12, 0, 0, 0, 0xe2, 0xf9];
    code.extend([0xb9, 0xa0, 0x86, 1, 0, 0xe8, 6, 0, 0, 0, 0xff, 0xc9, 0x75, 0xf7, 0xf4, 0x90]);
    code.extend([0x48, 0x01, 0xcb]);
    for _ in 0..9 {
        code.extend([0x48, 0x31, 0xd8, 0x48, 0x83, 0xc0, 3, 0x48, 0xc1, 0xc0, 7]);
    }
    code.push(0xc3);
    let mut guest = Guest::new(&code, 1 << 20);
    let mut wide = 0;
    while guest.slice(20_000) == CpuExit::Budget {
        wide = guest.tier.stats.widened;
    }
    let (mut rax, mut rbx) = (0_u64, 0_u64);
    for n in (1..=3000).rev().chain((1..=100_000).rev()) {
        rbx = rbx.wrapping_add(n);
        for _ in 0..9 {
            rax = (rax ^ rbx).wrapping_add(3).rotate_left(7);
        }
    }
    let regs = &guest.v.cpu.regs;
    if (regs[0], regs[3]) != (rax, rbx) || wide == 0 {
        report.fail(format_args!(
            "{wide} wide regions; RAX and RBX are {:x} and {:x}, not {rax:x} and {rbx:x}",
            regs[0], regs[3]
        ));
    }
    report.line(format_args!("{wide} wide of {} regions", guest.tier.stats.regions));
}

/// A loop that calls functions in three pages through a table, in an order that does not repeat soon: they become one region. For one
/// turn in 256 the table has another function, which the region leaves for.
fn computed(report: &mut Report) {
    const TABLE: u64 = 0x30_0000;
    const TURNS: u32 = 200_000;
    // MOV ECX, TURNS; MOV ESI, 1
    // L: IMUL ESI, ESI, 1664525; ADD ESI, 1013904223; MOV EDX, ESI; SHR EDX, 24; CALL [TABLE + 8 * RDX]; DEC ECX; JNZ L; HLT
    let mut code = vec![0xb9];
    code.extend(TURNS.to_le_bytes());
    code.extend([0xbe, 1, 0, 0, 0, 0x69, 0xf6]);
    code.extend(1_664_525_u32.to_le_bytes());
    code.extend([0x81, 0xc6]);
    code.extend(1_013_904_223_u32.to_le_bytes());
    code.extend([0x89, 0xf2, 0xc1, 0xea, 24, 0xff, 0x14, 0xd5]);
    code.extend((TABLE as u32).to_le_bytes());
    code.extend([0xff, 0xc9, 0x75, 0xe4, 0xf4]);
    let mut guest = Guest::new(&code, 1 << 20);
    (guest.tier.hot, guest.tier.warm) = (300, 10);
    let function = |n: u8| if n == 77 { 12 } else { n % 12 };
    for f in 0..13 {
        // LEA RBX, [RBX + 2 * RBX + f]; RET
        assert!(guest.v.cpu.mem.dma_write(FUNCTION + APART * u64::from(f), &[0x48, 0x8d, 0x5c, 0x5b, f, 0xc3]));
    }
    for n in 0..=255 {
        let target = FUNCTION + APART * u64::from(function(n));
        assert!(guest.v.cpu.mem.dma_write(TABLE + 8 * u64::from(n), &target.to_le_bytes()));
    }
    while guest.slice(10_000) == CpuExit::Budget {}
    let (mut esi, mut rbx) = (1_u32, 0_u64);
    for _ in 0..TURNS {
        esi = esi.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        rbx = rbx.wrapping_mul(3).wrapping_add(function((esi >> 24) as u8).into());
    }
    let regions = guest.tier.live_regions();
    if guest.v.cpu.regs[3] != rbx || regions > 5 {
        report.fail(format_args!("RBX is {:x}, not {rbx:x}; {regions} regions", guest.v.cpu.regs[3]));
    }
    report.line(format_args!("computed calls of 12 functions: {regions} regions"));
}

/// A hot loop that calls 4,096 functions in turn, none often: its translated code is entered for a few instructions each time, so the interpreter executes most turns.
fn brief(report: &mut Report) {
    const FUNCTIONS: u64 = 4096;
    const TURNS: u64 = 10 * FUNCTIONS;
    // L: MOV EDX, ECX; AND EDX, 4095; SHL EDX, 4; ADD EDX, FUNCTION; CALL RDX; DEC ECX; JNZ L; HLT
    let mut code = vec![0x89, 0xca, 0x81, 0xe2];
    code.extend((FUNCTIONS as u32 - 1).to_le_bytes());
    code.extend([0xc1, 0xe2, 4, 0x81, 0xc2]);
    code.extend((FUNCTION as u32).to_le_bytes());
    code.extend([0xff, 0xd2, 0xff, 0xc9]);
    code.extend([0x75, (-(code.len() as i32 + 2)) as u8, 0xf4]);
    let mut guest = Guest::new(&code, 1 << 20);
    for n in 0..FUNCTIONS {
        // ADD RBX, n & 15; RET
        assert!(guest.v.cpu.mem.dma_write(FUNCTION + 16 * n, &[0x48, 0x83, 0xc3, n as u8 & 15, 0xc3]));
    }
    guest.v.cpu.regs[1] = TURNS;
    while guest.slice(1000) == CpuExit::Budget {}
    let (visits, sum) = (guest.tier.stats.exits_lookup, guest.v.cpu.regs[3]);
    let want = (1..=TURNS).map(|n| n & 15).sum::<u64>();
    if sum != want || guest.v.translated == 0 || visits > TURNS / 8 {
        report.fail(format_args!("RBX is {sum:x}, not {want:x}; {visits} visits in {TURNS} turns"));
    }
    report.line(format_args!("a hot loop of cold functions: {visits} visits in {TURNS} turns"));
}

/// A function whose first instruction crosses into a page that the guest maps to another one, back, and so on.
fn crossing(report: &mut Report) {
    const PAGES: [u64; 3] = [0x10_8000, 0x10_9000, 0x10_a000];
    const TABLE: u64 = 0x10_b000;
    const LINEAR: u64 = 0x20_0000;
    const F: u64 = LINEAR + 0xffd;
    // MOV ESI, 40; O: MOV ECX, 1000; L: CALL F; ADD RBX, RAX; DEC ECX; JNZ L
    let mut code = vec![0xbe, 40, 0, 0, 0, 0xb9, 0xe8, 3, 0, 0, 0xe8];
    code.extend((F.wrapping_sub(CODE + 15) as u32).to_le_bytes());
    code.extend([0x48, 0x01, 0xc3, 0xff, 0xc9, 0x75, 0xf4]);
    // XOR the page table's second entry, 0x3000; INVLPG [the page]; DEC ESI; JNZ O; HLT
    code.extend([0x48, 0x81, 0x34, 0x25]);
    code.extend((TABLE as u32 + 8).to_le_bytes());
    code.extend(0x3000_u32.to_le_bytes());
    code.extend([0x0f, 0x01, 0x3c, 0x25]);
    code.extend((LINEAR as u32 + 0x1000).to_le_bytes());
    code.extend([0xff, 0xce, 0x75, 0xd3, 0xf4]);
    let mut guest = Guest::new(&code, 1 << 20);
    let mem = &mut guest.v.cpu.mem;
    // F: MOV EAX, 0x0001_1234 or 0x0002_1234, of which the upper half is in the second page; RET
    assert!(mem.dma_write(PAGES[0] + 0xffd, &[0xb8, 0x34, 0x12]));
    assert!(mem.dma_write(PAGES[1], &[1, 0, 0xc3]) && mem.dma_write(PAGES[2], &[2, 0, 0xc3]));
    for (n, page) in PAGES[..2].iter().enumerate() {
        assert!(mem.dma_write(TABLE + 8 * n as u64, &(page | 3).to_le_bytes()));
    }
    assert!(mem.dma_write(TABLES + 0x2008, &(TABLE | 3).to_le_bytes()));
    guest.v.cpu.flush_tlb();
    while guest.slice(10_000) == CpuExit::Budget {}
    let want = 20_000 * (0x1_1234 + 0x2_1234);
    let share = guest.v.translated * 100 / guest.v.cpu.insns;
    if guest.v.cpu.regs[3] != want || share < 90 {
        report.fail(format_args!("RBX is {:x}, not {want:x}; {share} % were translated", guest.v.cpu.regs[3]));
    }
    report.line(format_args!("an instruction in two pages: {share} % were translated"));
}

/// A loop that calls two functions in pages that one entry of the TLB serves for: the region is entered all the same.
fn distant(report: &mut Report) {
    /// Bytes that the TLB covers.
    const REACH: u64 = mem::ENTRIES as u64 * mem::PAGE_SIZE;
    const FAR: u64 = FUNCTION + REACH + APART;
    const TURNS: u32 = 100_000;
    // MOV ECX, TURNS; L: CALL FUNCTION; CALL FAR; DEC ECX; JNZ L; HLT
    let mut code = vec![0xb9];
    code.extend(TURNS.to_le_bytes());
    for function in [FUNCTION, FAR] {
        code.push(0xe8);
        code.extend((function.wrapping_sub(CODE + code.len() as u64 + 4) as u32).to_le_bytes());
    }
    code.extend([0xff, 0xc9, 0x75, 0xf2, 0xf4]);
    let mut guest = Guest::new(&code, 1 << 20);
    let mem = &mut guest.v.cpu.mem;
    // ADD RBX, 3; RET and ADD RBX, 5; RET
    assert!(mem.dma_write(FUNCTION, &[0x48, 0x83, 0xc3, 3, 0xc3]));
    assert!(mem.dma_write(FUNCTION + APART, &[0x48, 0x83, 0xc3, 5, 0xc3]));
    // RAM is there once more at the distance.
    assert!(mem.dma_write(TABLES + 0x2000 + 8 * (REACH >> 21), &0x83_u64.to_le_bytes()));
    while guest.slice(1_000) == CpuExit::Budget {}
    let (share, guards) = (guest.v.translated * 100 / guest.v.cpu.insns, guest.tier.stats.exits_guard);
    if guest.v.cpu.regs[3] != 8 * u64::from(TURNS) || share < 95 || guards > 20 {
        let rbx = guest.v.cpu.regs[3];
        report.fail(format_args!("RBX is {rbx:x}; {share} % were translated, guards failed {guards} times"));
    }
    report
        .line(format_args!("pages with one entry of the TLB: {share} % were translated, guards failed {guards} times"));
}

/// A region that only another region goes over to, when a page of it is mapped to another one: it is made anew.
fn moved(report: &mut Report) {
    const PAGES: [u64; 2] = [0x10_9000, 0x10_a000];
    const TABLE: u64 = 0x10_b000;
    const LINEAR: u64 = 0x20_0000;
    const G: u64 = CODE + 0x100;
    const TURNS: [u32; 2] = [3_000, 100_000];
    let call = |code: &mut Vec<u8>, from: u64, to: u64| {
        code.push(0xe8);
        code.extend((to.wrapping_sub(from + code.len() as u64 + 4) as u32).to_le_bytes());
    };
    // MOV ECX, turns; A: CALL G; LOOP A
    let mut code = vec![0xb9];
    code.extend(TURNS[0].to_le_bytes());
    call(&mut code, CODE, G);
    code.extend([0xe2, 0xf9]);
    // XOR the page table's entry, 0x3000; INVLPG [the page]
    code.extend([0x48, 0x81, 0x34, 0x25]);
    code.extend((TABLE as u32).to_le_bytes());
    code.extend(0x3000_u32.to_le_bytes());
    code.extend([0x0f, 0x01, 0x3c, 0x25]);
    code.extend((LINEAR as u32).to_le_bytes());
    // MOV ECX, turns; B: CALL G; DEC ECX; JNZ B; HLT
    code.push(0xb9);
    code.extend(TURNS[1].to_le_bytes());
    call(&mut code, CODE, G);
    code.extend([0xff, 0xc9, 0x75, 0xf7, 0xf4]);
    // G: thirty times XOR RAX, RBX; CALL LINEAR; RET
    let mut g = [0x48, 0x31, 0xd8].repeat(30);
    call(&mut g, G, LINEAR);
    g.push(0xc3);
    let mut guest = Guest::new(&code, 1 << 20);
    let mem = &mut guest.v.cpu.mem;
    assert!(mem.dma_write(G, &g));
    // ADD RBX, 3; RET or ADD RBX, 5; RET
    assert!(mem.dma_write(PAGES[0], &[0x48, 0x83, 0xc3, 3, 0xc3]));
    assert!(mem.dma_write(PAGES[1], &[0x48, 0x83, 0xc3, 5, 0xc3]));
    assert!(mem.dma_write(TABLE, &(PAGES[0] | 3).to_le_bytes()));
    assert!(mem.dma_write(TABLES + 0x2008, &(TABLE | 3).to_le_bytes()));
    guest.v.cpu.flush_tlb();
    // The second loop in one slice: nothing tells that time goes there.
    while guest.v.cpu.regs[1] != u64::from(TURNS[1]) {
        guest.slice(1);
    }
    guest.tier.flush();
    let exit = guest.slice(1 << 40);
    let want = u64::from(3 * TURNS[0] + 5 * TURNS[1]);
    let guards = guest.tier.stats.exits_guard;
    if exit != CpuExit::Halted || guest.v.cpu.regs[3] != want || guards > 2_000 {
        report.fail(format_args!(
            "{exit:?}, RBX is {:x}, not {want:x}; guards failed {guards} times",
            guest.v.cpu.regs[3]
        ));
    }
    report.line(format_args!("a page that moved: guards failed {guards} times"));
}

/// A page of code that is elsewhere after each call, dropped by INVLPG and by MOV to CR3, more often than flushes are told apart.
fn remapped(report: &mut Report) {
    const PAGES: [u64; 2] = [0x10_9000, 0x10_a000];
    const TABLE: u64 = 0x10_b000;
    const LINEAR: u64 = 0x20_0000;
    const TURNS: u32 = 70_000;
    // XOR RSI, RBX, here and in the function, so often that the interpreter does not execute all of it itself
    let work = [0x48, 0x31, 0xde].repeat(10);
    // MOV ECX, turns; L: the work; CALL LINEAR
    let mut code = vec![0xb9];
    code.extend(TURNS.to_le_bytes());
    code.extend(&work);
    code.push(0xe8);
    code.extend((LINEAR.wrapping_sub(CODE + code.len() as u64 + 4) as u32).to_le_bytes());
    // XOR qword [the page table's entry], 0x3000; INVLPG [the page]
    code.extend([0x48, 0x81, 0x34, 0x25]);
    code.extend((TABLE as u32).to_le_bytes());
    code.extend(0x3000_u32.to_le_bytes());
    code.extend([0x0f, 0x01, 0x3c, 0x25]);
    code.extend((LINEAR as u32).to_le_bytes());
    // MOV RAX, CR3; MOV CR3, RAX; DEC ECX; JNZ L; HLT
    code.extend([0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8, 0xff, 0xc9]);
    code.extend([0x75, (5 - (code.len() as i32 + 2)) as u8, 0xf4]);
    let mut guest = Guest::new(&code, 1 << 20);
    let mem = &mut guest.v.cpu.mem;
    // ADD RBX, 3 or ADD RBX, 5; the work; RET
    for (page, n) in PAGES.into_iter().zip([3, 5]) {
        assert!(mem.dma_write(page, &[&[0x48, 0x83, 0xc3, n], &work[..], &[0xc3]].concat()));
    }
    assert!(mem.dma_write(TABLE, &(PAGES[0] | 3).to_le_bytes()));
    assert!(mem.dma_write(TABLES + 0x2008, &(TABLE | 3).to_le_bytes()));
    guest.v.cpu.flush_tlb();
    let mut exit = CpuExit::Budget;
    while exit == CpuExit::Budget {
        exit = guest.slice(10_000);
    }
    let want = u64::from(TURNS) * 4;
    let share = guest.v.translated * 100 / guest.v.cpu.insns;
    let bails = guest.tier.stats.exits_interpret + guest.tier.stats.exits_side;
    if exit != CpuExit::Halted || guest.v.cpu.regs[3] != want || share < 80 || bails > 2_000 {
        let sum = guest.v.cpu.regs[3];
        report.fail(format_args!(
            "{exit:?}, RBX is {sum:x}, not {want:x}; {share} % translated, {bails} left to the interpreter"
        ));
    }
    report.line(format_args!(
        "a page that moves for ever: {share} % were translated, {bails} instructions left to the interpreter"
    ));
}

/// Accesses that would share a look into the TLB, in two pages: after a while each looks for itself.
fn apart(report: &mut Report) {
    const TURNS: u64 = 20_000;
    const RSP: u64 = 0x30_1008;
    // L: MOV [RSP-24], RCX; ADD RBX, [RSP+8]; DEC ECX; JNZ L; HLT
    let code = [0x48, 0x89, 0x4c, 0x24, 0xe8, 0x48, 0x03, 0x5c, 0x24, 0x08, 0xff, 0xc9, 0x75, 0xf2, 0xf4];
    let mut guest = Guest::new(&code, 1 << 20);
    assert!(guest.v.cpu.mem.dma_write(RSP + 8, &3_u64.to_le_bytes()));
    (guest.v.cpu.regs[1], guest.v.cpu.regs[4]) = (TURNS, RSP);
    while guest.slice(1000) == CpuExit::Budget {}
    let share = guest.v.translated * 100 / guest.v.cpu.insns;
    if guest.v.cpu.regs[3] != 3 * TURNS || share < 90 {
        report.fail(format_args!("RBX is {:x}; {share} % were translated", guest.v.cpu.regs[3]));
    }
    report.line(format_args!("accesses to two pages: {share} % were translated"));
}

/// Accesses that share a look into the TLB, and now and then are in two pages: they go on to share it.
fn seldom_apart(report: &mut Report) {
    const ROUNDS: u64 = 3_000;
    const TURNS: u32 = 60;
    const RSP: u64 = 0x30_1008;
    let mut code = vec![0xb9]; // O: MOV ECX, TURNS
    code.extend(TURNS.to_le_bytes());
    // L: MOV [RSP-24], RCX; ADD RBX, [RSP+8]; DEC ECX; JNZ L
    code.extend([0x48, 0x89, 0x4c, 0x24, 0xe8, 0x48, 0x03, 0x5c, 0x24, 0x08, 0xff, 0xc9, 0x75, 0xf2]);
    // XOR RSP, RDX; MOV [RSP-24], RCX; ADD RBX, [RSP+8]; XOR RSP, RDX; DEC ESI; JNZ O; HLT
    code.extend([0x48, 0x31, 0xd4, 0x48, 0x89, 0x4c, 0x24, 0xe8, 0x48, 0x03, 0x5c, 0x24, 0x08]);
    code.extend([0x48, 0x31, 0xd4, 0xff, 0xce, 0x75, 0xcf, 0xf4]);
    let mut guest = Guest::new(&code, 1 << 20);
    let regs = &mut guest.v.cpu.regs;
    (regs[2], regs[4], regs[6]) = (0x400, RSP ^ 0x400, ROUNDS);
    for (rsp, value) in [(RSP, 3_u64), (RSP ^ 0x400, 1)] {
        assert!(guest.v.cpu.mem.dma_write(rsp + 8, &value.to_le_bytes()));
    }
    let mut slices = 0;
    let mut made = 0;
    while guest.slice(1000) == CpuExit::Budget {
        slices += 1;
        if slices == 100 {
            made = guest.tier.stats.regions;
        }
    }
    let share = guest.v.translated * 100 / guest.v.cpu.insns;
    let (sum, more, sides) = (guest.v.cpu.regs[3], guest.tier.stats.regions - made, guest.tier.stats.exits_side);
    if sum != ROUNDS * (u64::from(TURNS) + 3) || share < 90 || sides < ROUNDS / 2 || more != 0 {
        report.fail(format_args!("RBX is {sum:x}; {share} % were translated, {sides} side exits, {more} regions late"));
    }
    report.line(format_args!("accesses that are seldom in two pages: {share} % were translated, {sides} side exits"));
}

/// Stores over the end of a page, at an offset near the largest: they reach the page that follows, not the memory that does.
fn wrapping(report: &mut Report) {
    const PAGES: [u64; 2] = [0x10_9000, 0x10_d000];
    const TABLE: u64 = 0x10_b000;
    const LINEAR: u64 = 0x20_0000;
    const OFFSET: u64 = i64::MAX as u64 - 1;
    // L: MOV RCX, OFFSET; MOV [RBX+RCX], RAX; MOV [RBX+RCX], RDX; DEC ESI; JNZ L; HLT
    let mut code = vec![0x48, 0xb9];
    code.extend(OFFSET.to_le_bytes());
    code.extend([0x48, 0x89, 0x04, 0x0b, 0x48, 0x89, 0x14, 0x0b, 0xff, 0xce, 0x75, 0xea, 0xf4]);
    let mut guest = Guest::new(&code, 1 << 20);
    let mem = &mut guest.v.cpu.mem;
    for (k, page) in PAGES.into_iter().enumerate() {
        assert!(mem.dma_write(TABLE + 8 * k as u64, &(page | 3).to_le_bytes()));
    }
    assert!(mem.dma_write(TABLES + 0x2008, &(TABLE | 3).to_le_bytes()));
    guest.v.cpu.flush_tlb();
    guest.v.cpu.regs[3] = (LINEAR + 0xfff).wrapping_sub(OFFSET);
    (guest.v.cpu.regs[2], guest.v.cpu.regs[6]) = (0x1111_1111_1111_1111, 10_000);
    while guest.slice(1000) == CpuExit::Budget {}
    let mem = &guest.v.cpu.mem;
    let (beyond, second) = (mem.ram.slice(PAGES[0] + 0x1000, 8), mem.ram.slice(PAGES[1], 8));
    if beyond != Some(&[0; 8]) || second != Some(&[0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0]) {
        report.fail(format_args!("stores over the end of a page: {beyond:x?} behind it, {second:x?} in the next"));
    }
    let share = guest.v.translated * 100 / guest.v.cpu.insns;
    report.line(format_args!("stores over the end of a page: {share} % were translated"));
}

/// A supervisor's store to a user's page behind CLAC faults each time, though an INC of the same behind STAC was allowed.
fn forbidden(report: &mut Report) {
    const TURNS: u64 = 2_000;
    const USER: u64 = 0x100_0000;
    // L: STAC; LOCK INC qword [RBX]; CLAC; MOV [RBX], RAX; DEC ECX; JNZ L; HLT
    let code = [0x0f, 0x01, 0xcb, 0xf0, 0x48, 0xff, 3, 0x0f, 0x01, 0xca, 0x48, 0x89, 3, 0xff, 0xc9, 0x75, 0xef, 0xf4];
    let mut guest = Guest::new(&code, 1 << 20);
    user_again(&mut guest.v, USER);
    (guest.v.cpu.regs[1], guest.v.cpu.regs[3]) = (TURNS, USER + 0x10_9000);
    let mut faults = 0;
    loop {
        match guest.slice(1000) {
            CpuExit::Budget => {}
            CpuExit::Exception(e) if e.vector == isa_x86::fault::PF => {
                faults += 1;
                guest.v.cpu.rip += 3;
            }
            exit => {
                if exit != CpuExit::Halted || faults != TURNS {
                    report.fail(format_args!("{exit:?} after {faults} page faults"));
                }
                break;
            }
        }
    }
    let share = guest.v.translated * 100 / guest.v.cpu.insns;
    report.line(format_args!("{faults} page faults of {TURNS}; {share} % were translated"));
}

/// A user's CLI and STI, translated where IOPL is 3: with IOPL 0 each raises #GP, and neither does anything.
fn unprivileged(report: &mut Report) {
    const USER: u64 = 0x100_0000;
    const TURNS: u64 = 20_000;
    // L: CLI; STI; DEC ECX; JNZ L; UD2
    let mut guest = Guest::new(&[0xfa, 0xfb, 0xff, 0xc9, 0x75, 0xfa, 0x0f, 0x0b], 1 << 20);
    user_again(&mut guest.v, USER);
    let cpu = &mut guest.v.cpu;
    (cpu.cpl, cpu.rip, cpu.regs[1]) = (3, USER + CODE, TURNS);
    *cpu.rflags_rest_mut() |= rflags::IOPL | rflags::IF;
    cpu.update_context();
    let mut allowed = Vec::new();
    while guest.v.cpu.regs[1] > TURNS / 2 || guest.v.cpu.rip != USER + CODE {
        allowed.push(guest.slice(if guest.v.cpu.regs[1] > TURNS / 2 { 1000 } else { 1 }));
    }
    let (share, left) = (guest.v.translated * 100 / guest.v.cpu.insns, guest.v.cpu.regs[1]);
    *guest.v.cpu.rflags_rest_mut() &= !rflags::IOPL;
    let (mut faults, mut cleared) = (0, 0);
    let exit = loop {
        let exit = guest.slice(1000);
        cleared += u64::from(!guest.v.cpu.interrupts_enabled());
        match exit {
            CpuExit::Budget => {}
            CpuExit::Exception(e) if e.vector == isa_x86::fault::GP => {
                faults += 1;
                guest.v.cpu.rip += 1;
            }
            exit => break exit,
        }
    };
    let ended = matches!(exit, CpuExit::Exception(e) if e.vector == isa_x86::fault::UD);
    if !ended || faults != 2 * left || cleared > 0 || share < 50 || allowed.iter().any(|exit| *exit != CpuExit::Budget)
    {
        report.fail(format_args!(
            "{faults} of {} exceptions, IF clear behind {cleared}; {share} % were translated",
            2 * left
        ));
    }
    report.line(format_args!(
        "CLI and STI of a user: {faults} exceptions with IOPL 0; {share} % were translated with IOPL 3"
    ));
}

/// A loop that keeps a user's page, which a supervisor may read behind STAC, and not behind CLAC.
fn kept(report: &mut Report) {
    const TURNS: u32 = 200_000;
    const USER: u64 = 0x100_0000;
    // L: STAC; ADD RAX, [RBX]; CLAC; TEST ECX, 0xfff; JNZ M; ADD RAX, [RBX]; M: DEC ECX; JNZ L; HLT
    let mut code = vec![0x0f, 0x01, 0xcb, 0x48, 0x03, 3, 0x0f, 0x01, 0xca, 0xf7, 0xc1, 0xff, 0x0f, 0, 0, 0x75, 3];
    code.extend([0x48, 0x03, 3, 0xff, 0xc9, 0x75, 0xe8, 0xf4]);
    let mut guest = Guest::new(&code, 1 << 20);
    user_again(&mut guest.v, USER);
    (guest.v.cpu.regs[1], guest.v.cpu.regs[3]) = (TURNS.into(), USER + 0x10_9000);
    assert!(guest.v.cpu.mem.dma_write(0x10_9000, &[3]));
    let mut faults = 0;
    let exit = loop {
        match guest.slice(1000) {
            CpuExit::Budget => {}
            CpuExit::Exception(e) if e.vector == isa_x86::fault::PF => {
                faults += 1;
                guest.v.cpu.rip += 3;
            }
            exit => break exit,
        }
    };
    let (wide, rax) = (guest.tier.stats.widened, guest.v.cpu.regs[0]);
    if exit != CpuExit::Halted || faults != TURNS / 0x1000 || rax != 3 * u64::from(TURNS) || wide == 0 {
        report.fail(format_args!("{exit:?} after {faults} page faults, RAX is {rax:x}; {wide} regions made again"));
    }
    report.line(format_args!("a page that a loop keeps: {faults} page faults where it must not be read"));
}

/// The first 2 MiB once more at `user`, as a user's, with SMAP.
pub fn user_again(v: &mut Vcpu, user: u64) {
    let mem = &mut v.cpu.mem;
    for (at, entry) in [(0, TABLES + 0x1007), (0x1000, TABLES + 0x2007), (0x2000 + 8 * (user >> 21), 0x87)] {
        assert!(mem.dma_write(TABLES + at, &entry.to_le_bytes()));
    }
    v.cpu.cr4 |= isa_x86::cpu::cr4::SMAP;
    v.cpu.flush_tlb();
    v.cpu.update_context();
    v.catch_exceptions = true;
}

/// A hot loop, and jumps in such number that all decoded code is dropped before the loop comes again: its translated code is found.
fn decoded_anew(report: &mut Report) {
    const JUMPS: usize = 80_000;
    const TURNS: u64 = 5000;
    // MOV ECX, TURNS; L: ADD RBX, RCX; DEC ECX; JNZ L; the jumps, each to the next instruction; JMP to the MOV
    let mut code = [&[0xb9][..], &(TURNS as u32).to_le_bytes(), &[0x48, 0x01, 0xcb, 0xff, 0xc9, 0x75, 0xf9]].concat();
    code.extend([0xeb, 0].repeat(JUMPS));
    code.push(0xe9);
    code.extend((-(code.len() as i32 + 4)).to_le_bytes());
    let mut guest = Guest::new(&code, 1 << 20);
    let round = 3 * TURNS + JUMPS as u64 + 2;
    guest.slice(round);
    let (translated, regions) = (guest.v.translated, guest.tier.stats.regions);
    for _ in 0..3 {
        guest.slice(round);
    }
    let again = guest.v.translated - translated;
    let dropped = guest.v.decoded_drops();
    if guest.tier.stats.regions != regions || again < 3 * 3 * TURNS * 9 / 10 || dropped < 4 {
        report.fail(format_args!(
            "decoded anew: {translated} instructions translated, then {again} in three rounds; {dropped} times dropped"
        ));
    }
}

/// The processor is taken to another place: what was translated knows the old one.
fn replaced(report: &mut Report) {
    // MOV ECX, 100000; L: ADD RBX, RCX; DEC ECX; JNZ L; HLT
    let code = [0xb9, 0xa0, 0x86, 1, 0, 0x48, 0x01, 0xcb, 0xff, 0xc9, 0x75, 0xf9, 0xf4];
    let mut guest = Guest::new(&code, 1 << 20);
    for _ in 0..20 {
        guest.slice(1000);
    }
    let (regions, before) = (guest.tier.stats.regions, guest.v.translated);
    let old = guest.v.cpu.regs[3];
    let mut elsewhere = long_mode(&code).cpu;
    core::mem::swap(&mut *guest.v.cpu, &mut *elsewhere);
    core::mem::swap(&mut guest.v.cpu, &mut elsewhere);
    while guest.slice(1000) == CpuExit::Budget {}
    let (again, sum) = (guest.tier.stats.regions - regions, (1..=100_000).sum::<u64>());
    if guest.v.cpu.regs[3] != sum || before == 0 || again == 0 || guest.v.translated < 2 * before {
        report.fail(format_args!(
            "a processor that moved: {again} regions anew, RBX is {}, was {old}, not {sum}",
            guest.v.cpu.regs[3]
        ));
    }
}

pub fn run(count: u32, report: &mut Report) {
    replaced(report);
    decoded_anew(report);
    kept(report);
    wrapping(report);
    forbidden(report);
    unprivileged(report);
    wide(report);
    computed(report);
    brief(report);
    crossing(report);
    distant(report);
    moved(report);
    remapped(report);
    apart(report);
    seldom_apart(report);
    churn(count, report);
    refusals(false, report);
    refusals(true, report);
    useless(report);
}
