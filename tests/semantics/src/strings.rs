//! Repeated string instructions, which skip ahead in bulk, against a loop of the same instruction without a prefix.

use bare::{CODE, TABLES};
use guest_api::{NoTier, Tier};
use isa_x86::CpuExit;
use isa_x86::cpu::{RAX, RCX, RDI, RSI, rflags};
use mem::PAGE_SIZE;
use random::Rng;

use crate::{DATA, Machine, On, TABLE, TURNS};

/// Eight pages of data, the only ones mapped around here.
const DATA_LEN: u64 = 8 * PAGE_SIZE;
/// Loops of fewer turns are executed by the tier, too.
const SHORT: u64 = 8;
/// Bytes of code for a program.
const ROOM: u64 = 0x40;

/// How the instruction is repeated.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Rep {
    Always,
    Equal,
    NotEqual,
}

#[derive(Debug)]
struct Case {
    opcode: u8,
    /// 0x66, 0x48 or none; log2 of the width.
    operand_size: Option<u8>,
    address_size: bool,
    rep: Rep,
    backward: bool,
    rcx: u64,
    rsi: u64,
    rdi: u64,
    rax: u64,
    /// A page of the data that is not mapped, or 8.
    absent: u64,
}

impl Case {
    /// RFLAGS at the start.
    fn flags(&self) -> u64 {
        2 | rflags::CF | rflags::SF | if self.backward { rflags::DF } else { 0 }
    }
}

/// `REP op; hlt`, and `jrcxz end; l: op; lea rcx,[rcx-1]; (jne/je end;) jrcxz end; jmp l; end: hlt`, in which nothing but the string
/// instruction touches a flag.
fn programs(c: &Case) -> [Vec<u8>; 2] {
    let mut op = Vec::new();
    if c.address_size {
        op.push(0x67);
    }
    op.extend(c.operand_size);
    op.push(c.opcode);
    let mut rep = vec![if c.rep == Rep::NotEqual { 0xf2 } else { 0xf3 }];
    rep.extend(&op);
    rep.push(0xf4);

    let lea: &[u8] = if c.address_size { &[0x67, 0x8d, 0x49, 0xff] } else { &[0x48, 0x8d, 0x49, 0xff] };
    let jrcxz = |to: u8| if c.address_size { vec![0x67, 0xe3, to] } else { vec![0xe3, to] };
    let mut body = op.clone();
    body.extend(lea);
    let skip = jrcxz(0).len() + 2;
    match c.rep {
        Rep::Always => {}
        Rep::Equal => body.extend([0x75, skip as u8]),
        Rep::NotEqual => body.extend([0x74, skip as u8]),
    }
    body.extend(jrcxz(2));
    body.extend([0xeb, (body.len() as u8 + 2).wrapping_neg()]);
    let mut plain = jrcxz(body.len() as u8);
    plain.extend(body);
    plain.push(0xf4);
    [rep, plain]
}

fn machine<'a, T: Tier>(on: &'a On<T>, rng: &mut Rng) -> Machine<'a, T> {
    let mut m = on.machine(&[]);
    // The 2 MiB that hold the data have a page table; the identity map elsewhere has large pages.
    assert!(m.v.cpu.mem.ram.write(TABLES + 0x2000 + 8 * (DATA >> 21), TABLE | 3));
    // Runs of equal bytes, so that comparisons go on for a while.
    let mut fill = 0;
    for at in DATA..DATA + DATA_LEN {
        if rng.below(600) == 0 {
            fill = rng.below(3) as u8;
        }
        assert!(m.v.cpu.mem.ram.write(at, fill));
    }
    m
}

/// Runs `program`, which is at `start`, from the case's state; the registers it ends with and whether it got to its end.
fn run<T: Tier>(m: &mut Machine<'_, T>, c: &Case, start: u64, program: &[u8]) -> (Vec<u64>, u64, bool) {
    for page in 0..512 {
        let pa = (DATA & !0x1f_ffff) + page * PAGE_SIZE;
        let present = (DATA..DATA + DATA_LEN).contains(&pa) && pa != DATA + c.absent * PAGE_SIZE;
        assert!(m.v.cpu.mem.ram.write(TABLE + 8 * page, if present { pa | 3 } else { 0 }));
    }
    let cpu = &mut m.v.cpu;
    cpu.flush_tlb();
    cpu.set_rflags(c.flags());
    for (r, v) in [(RAX, c.rax), (RCX, c.rcx), (RSI, c.rsi), (RDI, c.rdi)] {
        cpu.regs[r as usize] = v;
    }
    cpu.idtr.limit = 0; // a page fault cannot be delivered: shutdown, CR2 tells where it was
    cpu.cr2 = 0;
    let done = match m.run_from(start) {
        CpuExit::Halted => true,
        CpuExit::TripleFault => false,
        other => panic!("{other:?} in {c:x?}"),
    };
    assert!(!done || m.v.cpu.rip == start + program.len() as u64, "{c:x?}");
    let regs = [RAX, RCX, RSI, RDI].map(|r| m.v.cpu.regs[r as usize]);
    (regs.to_vec(), m.v.cpu.rflags() & 0xcd5 | m.v.cpu.cr2 << 12, done)
}

fn data<T: Tier>(m: &Machine<'_, T>) -> Vec<u8> {
    m.v.cpu.mem.ram.slice(DATA, DATA_LEN as usize).expect("RAM").to_vec()
}

fn case(rng: &mut Rng) -> Case {
    let (opcode, compares) =
        [(0xa4, false), (0xaa, false), (0xac, false), (0xa6, true), (0xae, true)][rng.below(5) as usize];
    let width = rng.below(4);
    let rep = match compares {
        false => Rep::Always,
        true if rng.below(2) == 0 => Rep::Equal,
        true => Rep::NotEqual,
    };
    let backward = rng.below(4) == 0;
    // Mostly inside the data; sometimes near to each other, to overlap; unaligned or not.
    let mut rsi = DATA + rng.below(DATA_LEN);
    let mut rdi = DATA + rng.below(DATA_LEN);
    if rng.below(3) == 0 {
        rdi = rsi.wrapping_add(rng.below(80)).wrapping_sub(40);
    }
    if rng.below(2) == 0 {
        (rsi, rdi) = (rsi & !7, rdi & !7);
    }
    Case {
        opcode: opcode + u8::from(width != 0),
        operand_size: [None, Some(0x66), None, Some(0x48)][width as usize],
        address_size: rng.below(8) == 0,
        rep,
        backward,
        rcx: [rng.below(4), rng.below(100), rng.below(3000), rng.below(9000)][rng.below(4) as usize],
        rsi,
        rdi,
        rax: [0, 0x0101_0101_0101_0101, 0x0202_0202_0202_0202, 0x1122_3344_5566_7788][rng.below(4) as usize],
        absent: if rng.below(3) == 0 { rng.below(8) } else { 8 },
    }
}

pub(crate) fn bulk_is_the_iteration_repeated<T: Tier>(on: &On<T>) {
    let mut rng = Rng(42);
    let mut m = machine(on, &mut rng);
    // Long loops are the interpreter's alone, which is quick.
    let alone = On::new(|| NoTier, |_| {});
    let mut model = machine(&alone, &mut Rng(0));
    // Each program has a place of its own, so that it is translated when it comes again.
    let mut placed: Vec<[Vec<u8>; 2]> = Vec::new();
    let (mut faults, mut completed) = (0, 0);
    for n in 0..4000 {
        let c = case(&mut rng);
        let both = programs(&c);
        let place = placed.iter().position(|p| *p == both).unwrap_or_else(|| {
            placed.push(both.clone());
            placed.len() - 1
        });
        let at = CODE + 2 * ROOM * place as u64;
        let before = data(&m);
        let [rep, plain] = &both;
        model.load(plain);
        assert!(model.v.cpu.mem.dma_write(DATA, &before));
        let mut want = run(&mut model, &c, CODE, plain);
        let mut compare = |at: u64, program: &[u8], want: &(Vec<u64>, u64, bool)| {
            let what = || format!("case {n}: {c:x?}\n{program:02x?}");
            m.load_at(at, program);
            assert!(m.v.cpu.mem.dma_write(DATA, &before));
            assert_eq!(run(&mut m, &c, at, program), *want, "{}", what());
            assert!(data(&m) == data(&model), "memory of {}", what());
        };
        if c.rcx < SHORT {
            compare(at + ROOM, plain, &want);
        }
        if want.2 {
            completed += 1;
        } else {
            faults += 1;
            // A fault restores the flags of before the instruction (SDM 2 REP).
            want.1 = want.1 & !0xfff | c.flags() & 0xcd5;
        }
        compare(at, rep, &want);
    }
    assert!(faults > 200 && completed > 2000, "{faults} faults, {completed} completed");
    assert!(CODE + 2 * ROOM * placed.len() as u64 <= TABLES, "the programs are where the page tables are");
}

pub(crate) fn a_page_is_filled_in_two_steps<T: Tier>(on: &On<T>) {
    // The first iteration brings the page into the TLB, then the rest goes in bulk: exact, since time is counted in instructions.
    let mut m = on.machine(&[0xf3, 0xaa, 0xf4]);
    for turn in 1..=TURNS as u8 {
        m.v.cpu.flush_tlb();
        m.v.cpu.regs[RCX as usize] = PAGE_SIZE;
        m.v.cpu.regs[RDI as usize] = DATA;
        m.v.cpu.regs[RAX as usize] = turn.into();
        let before = m.v.cpu.insns;
        assert_eq!(m.run_from(CODE), CpuExit::Halted);
        // HLT is the third.
        assert_eq!((m.v.cpu.insns - before, m.v.cpu.regs[RCX as usize]), (3, 0));
        assert!(m.v.cpu.mem.ram.slice(DATA, PAGE_SIZE as usize).expect("RAM").iter().all(|&b| b == turn));
    }
}

pub(crate) fn code_that_a_string_overwrites_is_seen<T: Tier>(on: &On<T>) {
    // rep movsb (patches the immediate of the next); mov al, 1; hlt
    let code = [0xf3, 0xa4, 0xb0, 1, 0xf4];
    let mut m = on.machine(&[]);
    for _ in 0..TURNS {
        m.load(&code);
        // Until it is known; then again, behind a copy over it.
        for (bytes, want) in [(0, 1), (0, 1), (3, 9)] {
            m.load_at(DATA, &[0xa4, 0xb0, 9]);
            m.v.cpu.regs[RCX as usize] = bytes;
            m.v.cpu.regs[RSI as usize] = DATA;
            m.v.cpu.regs[RDI as usize] = CODE + 1; // the last byte written is the immediate
            assert_eq!(m.run_from(CODE), CpuExit::Halted);
            assert_eq!(m.v.cpu.regs[RAX as usize] & 0xff, want);
        }
    }
}
