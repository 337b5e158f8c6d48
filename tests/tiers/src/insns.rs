//! Random x86 programs, interpreted and translated, from the same state.
//!
//! A program is a loop of a few blocks of random instructions, with branches and calls among them. The registers that
//! an instruction addresses memory with are set before it, in each turn to something else: mostly to good memory, in the last turns
//! perhaps to bad. It ends where its counter is 0, or with an exception. Both ways to run it must come to the same end.

use bare::Bare;
use diff::guest::{CODE_PA, DATA_PA, Guest, SCRATCH_PA, save_fx};
use diff::{CODE, CODE_LEN, Case, DATA, DATA_LEN, END, SCRATCH, SCRATCH_LEN, START, generate};
use guest_api::{Code, Decoded, Left, Slot, Tier};
use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register,
};
use isa_x86::cpu::CodeSize;
use isa_x86::{CpuExit, Vcpu};
use jit::Jit;
use random::Rng;

use crate::Report;
use crate::host::Runner;
use crate::ops::ordinary;

/// The translator, as a tier that does not wait long.
struct Eager(Jit<Runner>);

impl Tier for Eager {
    fn threshold(&self) -> u32 {
        6
    }
    fn hot<C: Code>(&mut self, code: &mut C, block: Decoded, pc: u64) -> u32 {
        self.0.hot(code, block, pc)
    }
    fn sample<C: Code>(&mut self, code: &mut C) {
        self.0.sample(code);
    }
    fn find(&self, pa: u64, mode: u32) -> u32 {
        self.0.find(pa, mode)
    }
    fn in_page(&self, pa: u64) -> bool {
        self.0.in_page(pa)
    }
    fn enter(&mut self, guest: &mut dyn guest_api::Guest, slot: u32, pc: u64, left: i64) -> Left {
        self.0.enter(guest, slot, pc, left)
    }
    fn written(&mut self, pa: u64, len: u64) {
        self.0.written(pa, len);
    }
    fn drop_all(&mut self) {
        self.0.drop_all();
    }
    fn ranges(&self, page: Option<u64>, each: &mut dyn FnMut(u64, u32)) {
        self.0.ranges(page, each);
    }
    fn changed(&self) -> bool {
        self.0.changed()
    }
    fn changes(&mut self, each: &mut dyn FnMut(u64, u32, u32)) -> bool {
        self.0.changes(each)
    }
}

/// Turns of a program's loop, and instructions after which it is given up.
const TURNS: u64 = 48;
const LIMIT: u64 = 40_000;

/// In the scratch pages: the counter, then a table of addresses for each memory operand, by the counter.
const COUNTER: u64 = SCRATCH;
const TABLES: u64 = SCRATCH + 0x100;
const MAX_TABLES: usize = (SCRATCH_LEN - 0x100) / (8 * (TURNS as usize + 1));

/// An instruction and what is to be done before it.
#[derive(Clone)]
struct Item {
    bytes: Vec<u8>,
    /// Where in the bytes an offset from the next instruction is, and the address that it means, if it was at [`START`].
    relative: Option<(usize, i64)>,
    /// Registers to set, to the value given or in a table.
    set: Vec<(u8, u64, bool)>,
    /// Stays as it is: control flow of the program's own. The block that it goes to.
    to: Option<usize>,
}

/// Block and number of an instruction, and where it, or its preparation, begins.
type Place = (usize, usize, u64);

/// Blocks of instructions.
#[derive(Clone)]
struct Program {
    blocks: Vec<Vec<Item>>,
    seed: u64,
}

impl Program {
    /// It has repeated string instructions.
    fn repeats(&self) -> bool {
        self.blocks.iter().flatten().any(|item| {
            let i = Decoder::new(64, &item.bytes, DecoderOptions::NONE).decode();
            i.is_string_instruction() && (i.has_rep_prefix() || i.has_repne_prefix())
        })
    }

    /// The program's bytes; what the tables hold; where each instruction with its preparation begins.
    fn assemble(&self) -> Option<(Vec<u8>, Vec<u64>, Vec<Place>)> {
        let mut rng = Rng(self.seed);
        let mut code = Vec::new();
        let mut tables = Vec::new();
        let mut places = Vec::new();
        let mut starts = Vec::new();
        let mut fixes = Vec::new();
        for (b, block) in self.blocks.iter().enumerate() {
            starts.push(code.len());
            for (k, item) in block.iter().enumerate() {
                places.push((b, k, CODE + START + code.len() as u64));
                for &(r, value, vary) in &item.set {
                    if vary && r != 4 && tables.len() < MAX_TABLES * (TURNS as usize + 1) {
                        let at = TABLES + 8 * tables.len() as u64;
                        let bad = rng.one_in(6);
                        for turn in 0..=TURNS {
                            tables.push(match rng.below(8) {
                                _ if bad && turn <= 2 => value.wrapping_add(rng.next() & 0xffff_f000),
                                0 => value.wrapping_add(rng.below(64)),
                                1..=3 => value.wrapping_add(rng.below(32) * 16),
                                _ => value,
                            });
                        }
                        // MOV r, [COUNTER]; MOV r, [r * 8 + at]
                        code.extend([0x48 | (r >> 3) << 2, 0x8b, 0x04 | (r & 7) << 3, 0x25]);
                        code.extend((COUNTER as u32).to_le_bytes());
                        code.extend([0x48 | ((r >> 3) * 6), 0x8b, 0x04 | (r & 7) << 3, 0xc5 | (r & 7) << 3]);
                        code.extend((at as u32).to_le_bytes());
                    } else {
                        code.extend([0x48 | r >> 3, 0xb8 | r & 7]);
                        code.extend(value.to_le_bytes());
                    }
                }
                let at = code.len();
                code.extend(&item.bytes);
                if let Some((offset, target)) = item.relative {
                    let value = target - (START as i64 + code.len() as i64);
                    code[at + offset..at + offset + 4].copy_from_slice(&(value as i32).to_le_bytes());
                }
                if let Some(to) = item.to {
                    fixes.push((code.len() - 4, to));
                }
            }
        }
        for (at, to) in fixes {
            let target = *starts.get(to)? as i64 - (at as i64 + 4);
            code[at..at + 4].copy_from_slice(&(target as i32).to_le_bytes());
        }
        (code.len() + 16 < CODE_LEN - START as usize).then_some((code, tables, places))
    }
}

/// Whether the translator takes the instruction.
fn translatable(bytes: &[u8]) -> bool {
    let Ok(i) = isa_x86::decode(bytes, CodeSize::Bits64, guest_api::Width::W64, 0) else { return false };
    let mut region = ir::Region::default();
    let mut lift = ir::Lift::new(&mut region, 0, Slot(16), Slot(17), wasmgen::supports);
    lift.begin_block(None);
    lift.begin_insn(CODE, CODE);
    matches!(isa_x86::translate(&mut lift, &i), Some(Ok(()))) && lift.end_insn()
}

fn gpr(r: Register) -> Option<u8> {
    (r.is_gpr64() || r.is_gpr32()).then(|| r.number() as u8)
}

/// A random instruction that goes on at the next, and the case that it comes from.
fn random(rng: &mut Rng, info: &mut InstructionInfoFactory, keeps_stack: bool, float: bool) -> Option<(Item, Case)> {
    let want = |m: Mnemonic| m != Mnemonic::INVALID;
    let (case, i) = generate::case(&mut Rng(rng.next()), 64, &want)?;
    if float && !(0..i.op_count()).any(|n| i.op_register(n).is_xmm()) && !rng.one_in(8) {
        return None;
    }
    let far = i.flow_control() != FlowControl::Next || i.mnemonic() == Mnemonic::Ldmxcsr && rng.below(8) != 0;
    if far || (!translatable(&case.bytes) && !rng.one_in(24)) {
        return None;
    }
    let used: Vec<(u8, OpAccess)> = info
        .info(&i)
        .used_registers()
        .iter()
        .filter_map(|u| gpr(u.register().full_register()).map(|r| (r, u.access())))
        .collect();
    let writes = |a: OpAccess| {
        matches!(a, OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite)
    };
    if keeps_stack && used.iter().any(|&(r, a)| r == 4 && writes(a)) {
        return None;
    }
    let mut set = Vec::new();
    let memory = (0..i.op_count()).any(|n| i.op_kind(n) != OpKind::Register && i.op_kind(n) != OpKind::Immediate8)
        || i.is_stack_instruction();
    let (base, index) = (gpr(i.memory_base()), gpr(i.memory_index()));
    if memory {
        for &(r, _) in &used {
            if !set.iter().any(|s: &(u8, u64, bool)| s.0 == r)
                && (Some(r) == base || Some(r) == index || !rng.one_in(3))
            {
                set.push((r, case.state.regs[r as usize], Some(r) == base && base != index));
            }
        }
    } else if rng.one_in(3) {
        for &(r, _) in &used {
            if r != 4 && !set.iter().any(|s: &(u8, u64, bool)| s.0 == r) {
                set.push((r, case.state.regs[r as usize], false));
            }
        }
    }
    let relative = if i.is_ip_rel_memory_operand() {
        let offset = Decoder::new(64, &case.bytes, DecoderOptions::NONE);
        let mut d = offset;
        let decoded: Instruction = d.decode();
        let at = d.get_constant_offsets(&decoded).displacement_offset();
        let target = i.memory_displacement64().wrapping_sub(CODE) as i64;
        Some((at, target))
    } else {
        None
    };
    Some((Item { bytes: case.bytes.clone(), relative, set, to: None }, case))
}

fn own(bytes: &[u8], to: Option<usize>) -> Item {
    Item { bytes: bytes.to_vec(), relative: None, set: Vec::new(), to }
}

/// A program, and the state that it starts from.
fn program(seed: u64, info: &mut InstructionInfoFactory) -> Option<(Program, Case)> {
    let mut rng = Rng(seed);
    let blocks = 1 + rng.below(5) as usize;
    let subroutine = rng.one_in(3);
    let mut state = None;
    let mut p = Program { blocks: Vec::new(), seed: rng.next() };
    // Numbers that programs compute with, and more instructions that do, of one format.
    let float = rng.one_in(2).then(|| rng.one_in(2));
    for b in 0..blocks + usize::from(subroutine) {
        let callee = b == blocks;
        let mut items = Vec::new();
        let n = 1 + rng.below(12) as usize;
        let mut tries = 0;
        while items.len() < n && tries < 400 {
            tries += 1;
            if let Some((item, case)) = random(&mut rng, info, callee, float.is_some()) {
                state.get_or_insert(case);
                items.push(item);
            }
        }
        if callee {
            items.push(own(&[0xc3], None));
        } else if b + 1 < blocks {
            // On, past what follows, or past it where a condition holds.
            let to = b + 1 + rng.below((blocks - b) as u64) as usize;
            match rng.below(4) {
                0 if to < blocks => items.push(own(&[0xe9, 0, 0, 0, 0], Some(to))),
                1 | 2 if to < blocks => {
                    items.push(own(&[0x0f, 0x80 | rng.below(16) as u8, 0, 0, 0, 0], Some(to)));
                }
                _ if subroutine => {
                    let mut call = own(&[0xe8, 0, 0, 0, 0], Some(blocks));
                    call.set.push((4, DATA + 0x3000, false));
                    items.push(call);
                }
                _ => {}
            }
        } else {
            // DEC dword [COUNTER]; JNZ 0; then the end
            items.push(own(&[&[0xff, 0x0c, 0x25][..], &(COUNTER as u32).to_le_bytes()].concat(), None));
            items.push(own(&[0x0f, 0x85, 0, 0, 0, 0], Some(0)));
            items.push(own(&[END], None));
        }
        p.blocks.push(items);
    }
    let mut case: Case = state?;
    if let Some(double) = float {
        let pair = |rng: &mut Rng| [ordinary(rng, double), ordinary(rng, double)].map(u64::to_le_bytes).concat();
        case.memory.chunks_exact_mut(16).for_each(|c| c.copy_from_slice(&pair(&mut rng)));
        case.state.fx[160..416].chunks_exact_mut(16).for_each(|c| c.copy_from_slice(&pair(&mut rng)));
        let mxcsr: u32 = if rng.one_in(3) { 0x1f80 } else { 0x1fa0 };
        case.state.fx[24..28].copy_from_slice(&mxcsr.to_le_bytes());
    }
    Some((p, case))
}

/// What a run comes to.
#[derive(PartialEq)]
struct Outcome {
    exit: CpuExit,
    regs: [u64; 16],
    rip: u64,
    rflags: u64,
    cr2: u64,
    fx: [u8; 512],
    insns: u64,
    data: Vec<u8>,
}

fn start(guest: &mut Guest, case: &Case, code: &[u8], tables: &[u64]) {
    let mut bytes = vec![END; CODE_LEN - START as usize];
    bytes[..code.len()].copy_from_slice(code);
    guest.load(case, &bytes);
    guest.vcpu.cpu.cr2 = 0;
    guest.vcpu.cpu.flush_tlb();
    let ram = &mut guest.vcpu.cpu.mem.ram;
    assert!(ram.write_bytes(SCRATCH_PA, &vec![0; SCRATCH_LEN]));
    assert!(ram.write(SCRATCH_PA + COUNTER - SCRATCH, TURNS));
    for (k, &v) in tables.iter().enumerate() {
        assert!(ram.write(SCRATCH_PA + TABLES - SCRATCH + 8 * k as u64, v));
    }
}

fn outcome(v: &Vcpu, exit: CpuExit, before: u64) -> Outcome {
    let mut data = vec![0; DATA_LEN + 0x1000 + SCRATCH_LEN];
    let (low, high) = data.split_at_mut(DATA_LEN + 0x1000);
    assert!(v.cpu.mem.ram.read_bytes(DATA_PA, low));
    assert!(v.cpu.mem.ram.read_bytes(SCRATCH_PA, high));
    let mut fx = [0; 512];
    save_fx(&v.cpu, &mut fx);
    let regs = core::array::from_fn(|k| v.cpu.regs[k]);
    Outcome {
        exit,
        regs,
        rip: v.cpu.rip,
        rflags: v.cpu.rflags(),
        cr2: v.cpu.cr2,
        fx,
        insns: v.cpu.insns.wrapping_sub(before),
        data,
    }
}

fn interpret(guest: &mut Guest) -> Outcome {
    let before = guest.vcpu.cpu.insns;
    let exit = guest.vcpu.run(&mut Bare::default(), LIMIT);
    outcome(&guest.vcpu, exit, before)
}

fn translate(guest: &mut Guest, tier: &mut Eager, code: &[u8], repeats: bool, rng: &mut Rng) -> Outcome {
    let (v, mut platform) = (&mut guest.vcpu, Bare::default());
    let before = v.cpu.insns;
    let exit = loop {
        let slice = if rng.one_in(3) { 1 + rng.below(40) } else { 60 + rng.below(300) };
        match v.run_with(&mut platform, tier, slice) {
            CpuExit::Budget if v.cpu.insns.wrapping_sub(before) < 2 * LIMIT => tier.0.flush(),
            exit => break exit,
        }
        // What no program can tell: translations of addresses are forgotten, a device writes what is there. How many elements of a
        // repeated string instruction are done at once, and so its count, depends on that.
        match rng.below(24) {
            _ if repeats => {}
            0 => v.cpu.flush_tlb(),
            1 => v.cpu.flush_page(CODE + (rng.next() & 0x1000)),
            2 => assert!(v.cpu.mem.dma_write(CODE_PA + START, code)),
            _ => {}
        }
    };
    outcome(v, exit, before)
}

fn differences(a: &Outcome, b: &Outcome) -> String {
    use std::fmt::Write;
    let mut out = String::new();
    let mut line = |name: &str, a: &dyn std::fmt::Debug, b: &dyn std::fmt::Debug| {
        let _ = writeln!(out, "  {name}: interpreted {a:x?}, translated {b:x?}");
    };
    if a.exit != b.exit {
        line("exit", &a.exit, &b.exit);
    }
    const NAMES: [&str; 16] =
        ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"];
    for (k, name) in NAMES.iter().enumerate() {
        if a.regs[k] != b.regs[k] {
            line(name, &a.regs[k], &b.regs[k]);
        }
    }
    for (name, x, y) in [
        ("rip", a.rip, b.rip),
        ("rflags", a.rflags, b.rflags),
        ("cr2", a.cr2, b.cr2),
        ("instructions", a.insns, b.insns),
    ] {
        if x != y {
            line(name, &x, &y);
        }
    }
    for k in (0..a.fx.len()).step_by(8) {
        if a.fx[k..k + 8] != b.fx[k..k + 8] {
            let name = match k {
                24 => "mxcsr".to_owned(),
                160.. => format!("xmm{} byte {}", (k - 160) / 16, k % 16),
                _ => format!("fxsave byte {k}"),
            };
            line(&name, &&a.fx[k..k + 8], &&b.fx[k..k + 8]);
        }
    }
    if let Some(k) = (0..a.data.len()).find(|&k| a.data[k] != b.data[k]) {
        let end = (k + 16).min(a.data.len());
        line(&format!("memory at {k:#x}"), &&a.data[k..end], &&b.data[k..end]);
    }
    out
}

fn listing(p: &Program) -> String {
    use std::fmt::Write;
    let mut out = String::new();
    let Some((code, _, places)) = p.assemble() else { return out };
    let mut d = Decoder::with_ip(64, &code, CODE + START, DecoderOptions::NONE);
    let mut formatter = iced_x86::GasFormatter::new();
    while d.can_decode() {
        let i = d.decode();
        let mut text = String::new();
        iced_x86::Formatter::format(&mut formatter, &i, &mut text);
        let first = places.iter().any(|p| p.2 == i.ip() && p.1 == 0);
        let _ = writeln!(out, "  {}{:x} {text}", if first { ":" } else { " " }, i.ip());
    }
    out
}

pub fn run(seed: u64, count: u32, report: &mut Report) {
    let mut info = InstructionInfoFactory::new();
    let mut rng = Rng(seed);
    let (mut a, mut b) = (Guest::with_scratch(), Guest::with_scratch());
    let layout = isa_x86::tier::layout();
    let mut tier = Eager(Jit::new(Runner, layout, 1 << 20));
    tier.0.warm = 2;
    let mut done = 0;
    let (mut full, mut insns) = (0_u32, 0_u64);
    while done < count && report.failures < 8 {
        let case_seed = rng.next();
        let Some((mut p, case)) = program(case_seed, &mut info) else { continue };
        // What ends the program early goes, so that the rest becomes hot.
        let (want, code, tables) = loop {
            let Some((code, tables, places)) = p.assemble() else { break (None, Vec::new(), Vec::new()) };
            start(&mut a, &case, &code, &tables);
            let want = interpret(&mut a);
            let left = a.vcpu.cpu.mem.ram.read::<u32>(SCRATCH_PA + COUNTER - SCRATCH).unwrap_or(0);
            if matches!(want.exit, CpuExit::Exception(_)) && left > TURNS as u32 / 4 {
                let at = places.iter().rev().find(|pl| pl.2 <= want.rip);
                if let Some(&(block, k, _)) = at
                    && p.blocks[block][k].to.is_none()
                    && p.blocks[block][k].bytes != [END]
                    && p.blocks[block][k].bytes[..1] != [0xff]
                {
                    p.blocks[block].remove(k);
                    continue;
                }
            }
            break (Some(want), code, tables);
        };
        let Some(want) = want else { continue };
        done += 1;
        insns += want.insns;
        full += u32::from(matches!(want.exit, CpuExit::Exception(_)));
        if want.exit == CpuExit::Budget {
            continue;
        }
        start(&mut b, &case, &code, &tables);
        let got = translate(&mut b, &mut tier, &code, p.repeats(), &mut Rng(case_seed));
        if want != got {
            report.fail(format_args!("program {case_seed:#x}\n{}{}", differences(&want, &got), listing(&p)));
        }
    }
    // Two thirds are: what faults early is not hot.
    report.translated("programs", b.vcpu.translated, insns, 50);
    let s = &tier.0.stats;
    report.line(format_args!(
        "{done} programs of {insns} instructions, {full} to an end; {} translated; {} regions, {} modules, {} KB; side exits {}, interpreted {}, guards {}; dropped {}, refused {}",
        b.vcpu.translated, s.regions, s.modules, s.wasm_bytes >> 10, s.exits_side, s.exits_interpret, s.exits_guard, s.invalidations, s.refusals
    ));
}
