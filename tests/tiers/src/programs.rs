//! Random programs of the system that jump about, fault, rewrite their code and remap it ([`diff::programs`]), in step with a
//! processor that executes one instruction at a time and remembers nothing: wherever the budget ends, both are in the same state.

use core::fmt::Write;

use bare::{Bare, Registers};
use diff::programs::{
    BASE, CHOICES, DATA, DATA_PAGES, DEVICE, ENTRIES, Kind, OTHER, PAGES, Program, READ_ONLY, TABLE, VIEWS, program,
};
use guest_api::{NoTier, Tier};
use iced_x86::{Decoder, DecoderOptions, Formatter, GasFormatter};
use isa_x86::cpu::{Cpu, Segment, SystemSegment, TableRegister, rflags};
use isa_x86::{CpuExit, Vcpu};
use jit::Jit;
use random::Rng;

use crate::Report;
use crate::host::Runner;

// Physical addresses.
const TABLES: u64 = 0x1000;
const VIEWS_PT: u64 = 0x4000;
const DATA_PT: u64 = 0x5000;
const SYSTEM_PA: u64 = 0x8000;
const CODE_PA: u64 = 0x10_000;
const OTHER_PA: u64 = 0x14_000;
const DATA_PA: u64 = 0x18_000;
const RAM: usize = 0x20_000;
const DEVICE_PA: u64 = 0x1000_0000;

// Linear addresses of the system's pages: handlers, IDT, GDT and TSS, their stack, counters.
const HANDLERS: u64 = ENTRIES + 0x1_0000;
const IDT: u64 = HANDLERS + 0x1000;
const GDT: u64 = HANDLERS + 0x2000;
const TSS: u64 = GDT + 0x800;
const STACK_END: u64 = HANDLERS + 0x4000;
const COUNTERS: u64 = HANDLERS + 0x4000;

/// Instructions after which a program is given up.
const LIMIT: u64 = 12_000;

/// A device whose registers read differently each time.
#[derive(Default)]
struct Device {
    reads: u64,
    written: u64,
}

impl Registers for Device {
    fn read(&mut self, addr: u64, size: u32) -> u64 {
        self.reads += 1;
        Rng(self.reads ^ addr << 8 ^ u64::from(size) << 32).next() >> (64 - 8 * size)
    }
    fn write(&mut self, addr: u64, size: u32, value: u64) {
        self.written = Rng(self.written ^ addr ^ u64::from(size) << 32 ^ value << 7).next();
    }
}

/// What an exception does: it is counted with its error code and CR2, single-stepping ends, and the program goes on at R15.
fn handlers() -> Vec<u8> {
    let counter = |n: u64| ((COUNTERS + 8 * n) as u32).to_le_bytes();
    let mut code = Vec::new();
    for vector in 0..32_u8 {
        // ADD qword [counter 0], vector; JMP to what follows
        code.extend([0x48, 0x83, 0x04, 0x25]);
        code.extend(counter(0));
        code.extend([vector, 0xe9]);
        let with_error = matches!(vector, 8 | 10..=14 | 17);
        let to = if with_error { 0x400 } else { 0x440 };
        code.extend((to - (code.len() as i32 + 4)).to_le_bytes());
        code.resize(usize::from(vector) * 0x20 + 0x20, 0xcc);
    }
    // PUSH RAX; MOV RAX, [RSP + 8]; ADD [counter 1], RAX; POP RAX; ADD RSP, 8; JMP on
    code.extend([0x50, 0x48, 0x8b, 0x44, 0x24, 8, 0x48, 0x01, 0x04, 0x25]);
    code.extend(counter(1));
    code.extend([0x58, 0x48, 0x83, 0xc4, 8, 0xe9]);
    code.extend((0x440 - (code.len() as i32 + 4)).to_le_bytes());
    code.resize(0x440, 0xcc);
    // PUSH RAX; MOV RAX, CR2; ADD [counter 2], RAX; INC qword [counter 3]; POP RAX
    code.extend([0x50, 0x0f, 0x20, 0xd0, 0x48, 0x01, 0x04, 0x25]);
    code.extend(counter(2));
    code.extend([0x48, 0xff, 0x04, 0x25]);
    code.extend(counter(3));
    code.extend([0x58]);
    // AND dword [RSP + 16], ~TF; MOV [RSP], R15; IRETQ
    code.extend([0x81, 0x64, 0x24, 16, 0xff, 0xfe, 0xff, 0xff, 0x4c, 0x89, 0x3c, 0x24, 0x48, 0xcf]);
    code
}

struct World {
    v: Vcpu,
    platform: Bare<Device>,
}

impl World {
    fn new() -> World {
        World { v: bare::vcpu(Cpu::new(bare::memory(RAM as u64))), platform: Bare::with(Device::default()) }
    }

    /// The processor at the start of `p`.
    fn load(&mut self, p: &Program, seed: u64) {
        let mut rng = Rng(seed);
        self.platform = Bare::with(Device::default());
        self.v.reset();
        let cpu = &mut self.v.cpu;
        let ram = &mut cpu.mem.ram;
        ram.slice_mut(0, RAM).expect("RAM").fill(0);
        let mut put = |at: u64, v: u64| assert!(ram.write(at, v));
        put(TABLES, (TABLES + 0x1000) | 0x63);
        put(TABLES + 0x1000 + 8, (TABLES + 0x2000) | 0x63);
        put(TABLES + 0x2000, VIEWS_PT | 0x63);
        put(TABLES + 0x2008, DATA_PT | 0x63);
        let entry = |va: u64| if va < DATA { VIEWS_PT } else { DATA_PT } + 8 * (va >> 12 & 511);
        for view in VIEWS {
            for k in 0..PAGES as u64 {
                put(entry(view + 0x1000 * k), (CODE_PA + 0x1000 * k) | 0x63);
            }
        }
        let this = CODE_PA + 0x1000 * OTHER as u64;
        // The page, the other one, the page without leave to execute, and nothing.
        for (k, v) in [this | 0x63, OTHER_PA | 0x63, this | 0x63 | 1 << 63, this | 0x62].into_iter().enumerate() {
            put(VIEWS_PT + CHOICES as u64 + 8 * k as u64, v);
        }
        for k in 0..DATA_PAGES as u64 {
            put(entry(DATA + 0x1000 * k), (DATA_PA + 0x1000 * k) | 0x63);
        }
        put(entry(READ_ONLY), (DATA_PA + 0x4000) | 0x61);
        put(entry(DEVICE), DEVICE_PA | 0x63);
        put(entry(ENTRIES), VIEWS_PT | 0x63);
        for k in 0..5 {
            put(entry(HANDLERS + 0x1000 * k), (SYSTEM_PA + 0x1000 * k) | 0x63);
        }
        for vector in 0..32 {
            let to = HANDLERS + 0x20 * vector;
            put(SYSTEM_PA + 0x1000 + 16 * vector, to & 0xffff | 8 << 16 | 0x8e01 << 32 | (to >> 16 & 0xffff) << 48);
        }
        put(SYSTEM_PA + 0x2008, 0x00af_9b00_0000_ffff);
        put(SYSTEM_PA + 0x2010, 0x00cf_9300_0000_ffff);
        assert!(ram.write(SYSTEM_PA + 0x2800 + 36, STACK_END));
        assert!(ram.write_bytes(SYSTEM_PA, &handlers()));
        assert!(ram.write_bytes(CODE_PA, &p.code) && ram.write_bytes(OTHER_PA, &p.other));
        for k in (0..DATA_PAGES as u64 * 0x1000).step_by(8) {
            let v = rng.next();
            let v = rng.pick(&[v, v & 0xff, 0, u64::MAX, VIEWS[0] + (v & 0x3fff)]);
            assert!(ram.write(DATA_PA + k, v));
        }
        for (k, &v) in p.targets.iter().enumerate() {
            assert!(ram.write((DATA_PA + BASE - DATA).wrapping_add_signed((8 * k as i32 - TABLE).into()), v));
        }

        bare::enter_flat(cpu, TABLES);
        cpu.gdtr = TableRegister { base: GDT, limit: 0xff };
        cpu.idtr = TableRegister { base: IDT, limit: 0x1ff };
        cpu.tr = SystemSegment { base: TSS, segment: Segment { selector: 0x18, attr: 0x8b, limit: 0x67 } };
        for r in 0..16 {
            let v = rng.next();
            cpu.regs[r] = rng.pick(&[v, v & 0xffff, 0, 1, u64::MAX]);
            cpu.xmm[r] = u128::from(rng.next()) << 64 | u128::from(v);
        }
        cpu.regs[4] = DATA + 0x3800;
        cpu.regs[5] = BASE;
        cpu.regs[12] = p.fuel.into();
        cpu.regs[13] = VIEWS[0];
        cpu.rip = VIEWS[rng.below(2) as usize] + p.start;
        cpu.regs[15] = cpu.rip;
    }

    /// Executes one instruction, or delivers an exception.
    fn step(&mut self) -> CpuExit {
        // RF lets the interpreter execute but one instruction, and is gone when that is looked at.
        // A trap that is due comes first, and tells what RF was.
        if self.v.cpu.debug_trap == 0 {
            let flags = self.v.cpu.rflags() | rflags::RF;
            self.v.cpu.set_rflags(flags);
        }
        self.v.run(&mut self.platform, 1)
    }

    /// Writes to the code as a device does.
    fn dma(&mut self, at: u64, bytes: &[u8]) {
        assert!(self.v.cpu.mem.dma_write(CODE_PA + at, bytes));
    }
}

/// How `a`, the model, and `b` differ. `exact`: instructions are counted alike.
fn differences(a: &World, b: &World, exact: bool) -> String {
    let mut out = String::new();
    let mut line = |name: &str, a: u128, b: u128| {
        if a != b {
            let _ = writeln!(out, "  {name}: step by step {a:#x}, else {b:#x}");
        }
    };
    let (x, y) = (&a.v.cpu, &b.v.cpu);
    for r in 0..16 {
        line(&format!("register {r}"), x.regs[r].into(), y.regs[r].into());
        line(&format!("xmm{r}"), x.xmm[r], y.xmm[r]);
    }
    line("rip", x.rip.into(), y.rip.into());
    let flags = |c: &Cpu| (c.rflags() & !rflags::RF).into();
    line("rflags", flags(x), flags(y));
    line("cr2", x.cr2.into(), y.cr2.into());
    line("mxcsr", x.mxcsr.into(), y.mxcsr.into());
    line("pending debug trap", x.debug_trap.into(), y.debug_trap.into());
    if exact {
        line("instructions", x.insns.into(), y.insns.into());
    }
    line("device reads", a.platform.mmio.reads.into(), b.platform.mmio.reads.into());
    line("device writes", a.platform.mmio.written.into(), b.platform.mmio.written.into());
    let ram = |w: &World| w.v.cpu.mem.ram.slice(0, RAM).expect("RAM").as_ptr();
    // SAFETY: both are RAM bytes long, and nothing is written meanwhile.
    let (x, y) = unsafe { (core::slice::from_raw_parts(ram(a), RAM), core::slice::from_raw_parts(ram(b), RAM)) };
    if x != y
        && let Some(at) = (0..RAM).find(|&k| x[k] != y[k])
    {
        let _ = writeln!(out, "  RAM at {at:#x}: step by step {:02x?}, else {:02x?}", &x[at..at + 8], &y[at..at + 8]);
    }
    out
}

fn listing(p: &Program) -> String {
    let mut out = String::new();
    for (n, &at) in p.blocks.iter().enumerate() {
        let next = p.blocks.iter().copied().filter(|&b| b > at).min();
        let end = next.unwrap_or(p.code.len().min(at + 0x200));
        let _ = writeln!(out, "  block {n}:");
        let mut d = Decoder::with_ip(64, &p.code[at..end], VIEWS[0] + at as u64, DecoderOptions::NONE);
        let mut formatter = GasFormatter::new();
        let mut ends = 0;
        while d.can_decode() && ends < 2 {
            let i = d.decode();
            let mut text = String::new();
            formatter.format(&i, &mut text);
            let _ = writeln!(out, "    {:x} {text}", i.ip());
            ends += u32::from(i.mnemonic() == iced_x86::Mnemonic::Hlt);
        }
    }
    out
}

/// What a comparison has seen.
#[derive(Default)]
struct Seen {
    insns: u64,
    stops: u64,
    ended: u64,
    exceptions: u64,
}

/// Runs `p` on `b` with `tier`, and on `a` step by step.
fn compare<T: Tier>(
    (a, b): (&mut World, &mut World),
    (p, kind, seed): (&Program, Kind, u64),
    tier: &mut T,
    between: &mut dyn FnMut(&mut T),
    seen: &mut Seen,
) -> Result<(), String> {
    let mut rng = Rng(seed ^ 0x5eed);
    a.load(p, seed);
    b.load(p, seed);
    // Both count from the same number.
    let start = b.v.cpu.insns;
    a.v.cpu.insns = start;
    let mut trail = [0_u64; 12];
    loop {
        let budget = if rng.one_in(3) { 1 + rng.below(30) } else { 30 + rng.below(400) };
        let exit = b.v.run_with(&mut b.platform, tier, budget);
        between(tier);
        let n = b.v.cpu.insns;
        let exit = if b.v.cpu.halted { CpuExit::Halted } else { exit };
        let over = exit != CpuExit::Budget || n - start >= LIMIT;
        seen.stops += 1;
        if kind.strings && !over {
            continue;
        }
        let mut at = CpuExit::Budget;
        let behind = |a: &World| {
            if kind.strings { a.v.cpu.insns - start < 2 * LIMIT } else { a.v.cpu.insns < n }
        };
        if kind.strings && exit == CpuExit::Budget {
            return Ok(()); // it does not end
        }
        while at == CpuExit::Budget && behind(a) {
            trail.rotate_left(1);
            trail[11] = a.v.cpu.rip;
            at = a.step();
            if a.v.cpu.halted {
                at = CpuExit::Halted;
            }
        }
        // Exceptions are no instructions.
        let mut more = 0;
        while !kind.strings && a.v.cpu.rip != b.v.cpu.rip && more < 4 && a.v.cpu.insns == n && at == CpuExit::Budget {
            at = a.step();
            more += 1;
        }
        let mut wrong = differences(a, b, !kind.strings);
        if at != exit {
            let _ = writeln!(wrong, "  ended: step by step {at:?}, else {exit:?}");
        }
        if !wrong.is_empty() {
            let _ = writeln!(
                wrong,
                "  after {} instructions, budget {budget}; latest, step by step: {trail:x?}",
                a.v.cpu.insns - start
            );
            return Err(wrong);
        }
        if over {
            seen.insns += n - start;
            seen.ended += u64::from(exit == CpuExit::Halted);
            seen.exceptions += a.v.cpu.mem.ram.read::<u64>(SYSTEM_PA + 0x4018).unwrap_or(0);
            return Ok(());
        }
        if rng.one_in(6) {
            // A device restores some of the code.
            let at = rng.below(PAGES as u64 * 0x1000 - 64);
            let bytes = &p.code[at as usize..][..1 + rng.below(64) as usize];
            a.dma(at, bytes);
            b.dma(at, bytes);
        }
    }
}

pub fn run(seed: u64, count: u32, report: &mut Report) {
    let mut rng = Rng(seed);
    let (mut a, mut b) = (World::new(), World::new());
    let mut tier = Jit::new(Runner, isa_x86::tier::layout(), 1 << 20);
    let mut seen = Seen::default();
    let mut interpreted = Seen::default();
    for _ in 0..count {
        if report.failures >= 3 {
            break;
        }
        let case = rng.next();
        let kind = Kind { system: true, strings: case.is_multiple_of(8), defined: false };
        let p = program(&mut Rng(case), kind);
        let alone = compare((&mut a, &mut b), (&p, kind, case), &mut NoTier, &mut |_| {}, &mut interpreted);
        if let Err(text) = alone {
            report.fail(format_args!("program {case:#x}, interpreted\n{text}{}", listing(&p)));
            continue;
        }
        // Under stress; or as code becomes hot at its usual pace, only earlier.
        let stress = case >> 3 & 3 != 0;
        if stress {
            tier.stress(case, 1 + (case >> 8) % 200);
        } else {
            tier.calm();
            (tier.hot, tier.warm) = (2 + (case >> 8) as u32 % 6, 1);
        }
        let got = compare((&mut a, &mut b), (&p, kind, case), &mut tier, &mut Jit::slice_over, &mut seen);
        if let Err(text) = got {
            let how = if stress { "under stress" } else { "translated" };
            report.fail(format_args!("program {case:#x}, {how}\n{text}{}", listing(&p)));
        }
    }
    report.translated("programs", b.v.translated, seen.insns, 75);
    let s = &tier.stats;
    report.line(format_args!(
        "{} instructions, {} exceptions, {} of {count} programs ended; compared {} times; {} translated; {} regions, {} modules; side exits {}, guards {}; dropped {}, evicted {}",
        seen.insns, seen.exceptions, seen.ended, seen.stops, b.v.translated, s.regions, s.modules, s.exits_side, s.exits_guard, s.invalidations, s.evictions
    ));
}
