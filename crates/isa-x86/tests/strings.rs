//! Repeated string instructions, which skip ahead in bulk, against a loop of the same instruction without a prefix.

use bare::{Bare, CODE, TABLES, long_mode};
use isa_x86::cpu::{RAX, RCX, RDI, RSI, rflags};
use isa_x86::{CpuExit, Vcpu};
use mem::PAGE_SIZE;
use random::Rng;

/// Eight pages of data, the only ones mapped around here.
const DATA: u64 = 0x30_0000;
const DATA_LEN: u64 = 8 * PAGE_SIZE;
/// Page table of the 2 MiB that hold [`DATA`]; the identity map elsewhere has large pages.
const TABLE: u64 = TABLES + 0x3000;
/// Length of the code slot of each of the two programs.
const LOOP: u64 = CODE + 0x40;

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

/// `REP op; jmp $` at CODE, and at LOOP: `jrcxz end; l: op; lea rcx,[rcx-1]; (jne/je end;) jrcxz end; jmp l; end: jmp $`, in
/// which nothing but the string instruction touches a flag.
fn programs(c: &Case) -> (Vec<u8>, Vec<u8>) {
    let mut op = Vec::new();
    if c.address_size {
        op.push(0x67);
    }
    op.extend(c.operand_size);
    op.push(c.opcode);
    let mut rep = vec![if c.rep == Rep::NotEqual { 0xf2 } else { 0xf3 }];
    rep.extend(&op);
    rep.extend([0xeb, 0xfe]);

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
    plain.extend([0xeb, 0xfe]);
    (rep, plain)
}

fn machine(rng: &mut Rng) -> Vcpu {
    let mut v = long_mode(&[]);
    assert!(v.cpu.mem.ram.write(TABLES + 0x2000 + 8 * (DATA >> 21), TABLE | 3));
    // Runs of equal bytes, so that comparisons go on for a while.
    let mut fill = 0;
    for at in DATA..DATA + DATA_LEN {
        if rng.below(600) == 0 {
            fill = rng.below(3) as u8;
        }
        assert!(v.cpu.mem.ram.write(at, fill));
    }
    v
}

/// Runs the program at `start` from the case's state; the registers it ends with and whether it got to its end.
fn run(v: &mut Vcpu, c: &Case, start: u64, end: u64) -> (Vec<u64>, u64, bool) {
    for page in 0..512 {
        let pa = (DATA & !0x1f_ffff) + page * PAGE_SIZE;
        let present = (DATA..DATA + DATA_LEN).contains(&pa) && pa != DATA + c.absent * PAGE_SIZE;
        assert!(v.cpu.mem.ram.write(TABLE + 8 * page, if present { pa | 3 } else { 0 }));
    }
    let cpu = &mut v.cpu;
    cpu.flush_tlb();
    cpu.set_rflags(c.flags());
    for (r, v) in [(RAX, c.rax), (RCX, c.rcx), (RSI, c.rsi), (RDI, c.rdi)] {
        cpu.regs[r as usize] = v;
    }
    cpu.rip = start;
    cpu.idtr.limit = 0; // a page fault cannot be delivered: shutdown, CR2 tells where it was
    cpu.cr2 = 0;
    let mut slices = 0;
    let done = loop {
        match v.run(&mut Bare::default(), 500) {
            CpuExit::Budget if v.cpu.rip == end => break true,
            CpuExit::Budget => slices += 1,
            CpuExit::TripleFault => break false,
            other => panic!("{other:?} in {c:x?}"),
        }
        assert!(slices < 200, "does not end: {c:x?}");
    };
    let regs = [RAX, RCX, RSI, RDI].map(|r| v.cpu.regs[r as usize]);
    (regs.to_vec(), v.cpu.rflags() & 0xcd5 | v.cpu.cr2 << 12, done)
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

#[test]
fn bulk_is_the_iteration_repeated() {
    let mut rng = Rng(42);
    let mut v = machine(&mut rng);
    let (mut faults, mut completed) = (0, 0);
    for n in 0..4000 {
        let c = case(&mut rng);
        let (rep, plain) = programs(&c);
        assert!(v.cpu.mem.dma_write(CODE, &rep) && v.cpu.mem.dma_write(LOOP, &plain));
        let before = v.cpu.mem.ram.slice(DATA, DATA_LEN as usize).expect("RAM").to_vec();
        let fast = run(&mut v, &c, CODE, CODE + rep.len() as u64 - 2);
        let after = v.cpu.mem.ram.slice(DATA, DATA_LEN as usize).expect("RAM").to_vec();
        assert!(v.cpu.mem.dma_write(DATA, &before));
        let mut slow = run(&mut v, &c, LOOP, LOOP + plain.len() as u64 - 2);
        if !slow.2 {
            // A fault restores the flags of before the instruction (SDM 2 REP).
            slow.1 = slow.1 & !0xfff | c.flags() & 0xcd5;
        }
        assert_eq!(fast, slow, "case {n}: {c:x?}\n{rep:02x?}\n{plain:02x?}");
        assert!(after == v.cpu.mem.ram.slice(DATA, DATA_LEN as usize).expect("RAM"), "memory of case {n}: {c:x?}");
        if fast.2 { completed += 1 } else { faults += 1 }
    }
    assert!(faults > 200 && completed > 2000, "{faults} faults, {completed} completed");
}

#[test]
fn a_page_is_filled_in_two_steps() {
    // The first iteration brings the page into the TLB, then the rest goes in bulk: exact, since time is counted in instructions.
    let mut v = long_mode(&[0xf3, 0xaa, 0xeb, 0xfe]);
    v.cpu.regs[RCX as usize] = PAGE_SIZE;
    v.cpu.regs[RDI as usize] = DATA;
    v.cpu.regs[RAX as usize] = 7;
    assert_eq!(v.run(&mut Bare::default(), 2), CpuExit::Budget);
    assert_eq!((v.cpu.insns, v.cpu.rip, v.cpu.regs[RCX as usize]), (2, CODE + 2, 0));
    assert!(v.cpu.mem.ram.slice(DATA, PAGE_SIZE as usize).expect("RAM").iter().all(|&b| b == 7));
}

#[test]
fn code_that_a_string_overwrites_is_seen() {
    // mov ecx,1; rep movsb (patches the immediate of the next); mov al,1; jmp $
    let code = [0xf3, 0xa4, 0xb0, 1, 0xeb, 0xfe];
    let mut v = long_mode(&code);
    assert!(v.cpu.mem.ram.write(DATA, 0x0909_0909_u32));
    // Executed once, so that the block is cached; then again, behind a copy over it.
    for (from, want) in [(0, 1), (1, 9)] {
        v.cpu.rip = CODE;
        v.cpu.regs[RCX as usize] = from * 3;
        v.cpu.regs[RSI as usize] = DATA;
        v.cpu.regs[RDI as usize] = CODE + 1; // the last byte written is the immediate
        if from == 1 {
            assert!(v.cpu.mem.ram.write(DATA, 0x0009_b0a4_u32));
        }
        assert_eq!(v.run(&mut Bare::default(), 8), CpuExit::Budget);
        assert_eq!(v.cpu.regs[RAX as usize] & 0xff, want);
    }
}
