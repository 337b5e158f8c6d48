//! Random instructions and programs of 64-bit code that have a meaning in the vocabulary.

use std::collections::BTreeMap;

use guest_api::{FlagForm, FlagSource, LazyFlags, Width};
use ir::Region;
use isa_x86::cpu::CodeSize;
use isa_x86::{Insn, Kind, Op, decode, translate};
use random::Rng;

use super::machine::{CODE, DATA, Machine, PAGES, lifter, set_flags};

/// An opcode: what stands before ModRM, without a REX prefix.
#[derive(Clone, Copy)]
struct Opcode {
    prefix: &'static [u8],
    wide: bool,
    map: &'static [u8],
    byte: u8,
    /// Bits of the values of ModRM's register field that it has.
    digits: u8,
}

/// What random instructions are made of: for each row of the table that has a meaning in the vocabulary, its opcodes.
pub struct Opcodes(BTreeMap<String, Vec<Opcode>>);

/// Rows that change what a case after them meets, or for which no frame is prepared. Their programs are those of `tests/tiers` and `sys`.
const LEFT_OUT: [Op; 3] = [Op::MovToCr, Op::Invlpg, Op::Iretq];

/// Whether `i` is written in the vocabulary, and whether the recorder takes it.
fn tried(i: &Insn) -> (bool, bool) {
    let mut region = Region::default();
    let mut lift = lifter(&mut region, 0);
    lift.begin_block(None);
    lift.begin_insn(0, 0);
    (translate(&mut lift, i).is_some(), lift.end_insn())
}
fn has_meaning(i: &Insn) -> bool {
    !LEFT_OUT.contains(&i.op) && tried(i).0
}
fn is_translated(i: &Insn) -> bool {
    tried(i) == (true, true)
}

impl Opcodes {
    pub fn new() -> Opcodes {
        const PREFIXES: &[&[u8]] =
            &[&[], &[0x66], &[0xf2], &[0xf3], &[0xf0], &[0x64], &[0x67], &[0x66, 0xf0], &[0x66, 0xf3], &[0x66, 0xf2]];
        const MAPS: &[&[u8]] = &[&[], &[0x0f], &[0x0f, 0x38], &[0x0f, 0x3a]];
        let mut rows: BTreeMap<String, Vec<Opcode>> = BTreeMap::new();
        for &prefix in PREFIXES {
            for wide in [false, true] {
                for &map in MAPS {
                    for byte in 0..=255 {
                        let mut found: BTreeMap<String, u8> = BTreeMap::new();
                        for digit in 0..8 {
                            for rm in [0x03, 0xc0] {
                                let mut bytes = prefix.to_vec();
                                if wide {
                                    bytes.push(0x48);
                                }
                                bytes.extend(map);
                                bytes.extend([byte, rm | digit << 3, 1, 1, 1, 1, 1, 1, 1, 1]);
                                bytes.truncate(15);
                                if let Ok(i) = decode(&bytes, CodeSize::Bits64, Width::W64, 0)
                                    && has_meaning(&i)
                                {
                                    *found.entry(format!("{:?}", i.op)).or_default() |= 1 << digit;
                                }
                            }
                        }
                        for (op, digits) in found {
                            rows.entry(op).or_default().push(Opcode { prefix, wide, map, byte, digits });
                        }
                    }
                }
            }
        }
        Opcodes(rows)
    }

    pub fn rows(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// A random instruction of `row`, to stand at `pc`.
    pub fn instruction(&self, rng: &mut Rng, row: &str, pc: u64) -> Vec<u8> {
        loop {
            let bytes = self.try_instruction(rng, row, pc);
            if let Ok(i) = decode(&bytes, CodeSize::Bits64, Width::W64, 0)
                && format!("{:?}", i.op) == row
            {
                return bytes[..usize::from(i.len)].to_vec();
            }
        }
    }

    fn try_instruction(&self, rng: &mut Rng, row: &str, pc: u64) -> Vec<u8> {
        let o = rng.pick(&self.0[row]);
        // Registers that hold numbers, and that hold addresses.
        const NUMBERS: [u8; 7] = [0, 1, 2, 8, 9, 10, 11];
        const ADDRESSES: [u8; 9] = [3, 4, 5, 6, 7, 12, 13, 14, 15];
        let any = |rng: &mut Rng, usual: &[u8]| if rng.one_in(8) { rng.below(16) as u8 } else { rng.pick(usual) };
        let mut reg = any(rng, &NUMBERS);
        while o.digits >> (reg & 7) & 1 == 0 {
            reg = rng.below(16) as u8;
        }
        let (mut rex, mut modrm, mut rest) = (if o.wide { 0x48 } else { 0 }, 0, Vec::new());
        if reg & 8 != 0 {
            rex |= 0x44;
        }
        modrm |= (reg & 7) << 3;
        let target = place(rng);
        if rng.one_in(2) {
            let rm = any(rng, &NUMBERS);
            modrm |= 0xc0 | rm & 7;
            if rm & 8 != 0 {
                rex |= 0x41;
            }
        } else {
            let base = any(rng, &ADDRESSES);
            let index = rng.one_in(6).then(|| any(rng, &[SMALL])).filter(|&x| x != 4);
            let form = rng.pick(&[0, 0, 1, 1, 2]);
            match rng.below(12) {
                0 => {
                    // relative to RIP; an immediate makes it miss by a few bytes
                    modrm |= 5;
                    rest.extend((target.wrapping_sub(pc + 8) as u32).to_le_bytes());
                }
                1 => {
                    modrm |= 4;
                    rest.push(0x25);
                    rest.extend((target as u32).to_le_bytes());
                }
                _ => {
                    if base & 7 == 4 || index.is_some() || rng.one_in(12) {
                        modrm |= 4;
                        let x = index.unwrap_or(4);
                        rest.push((rng.below(4) as u8) << 6 | (x & 7) << 3 | base & 7);
                        if x & 8 != 0 {
                            rex |= 0x42;
                        }
                    } else {
                        modrm |= base & 7;
                    }
                    if base & 8 != 0 {
                        rex |= 0x41;
                    }
                    let form = if form == 0 && base & 7 == 5 { 1 } else { form };
                    modrm |= form << 6;
                    match form {
                        1 => rest.push(rng.next() as u8),
                        2 => rest.extend((rng.below(0x2000) as i32 - 0x1000).to_le_bytes()),
                        _ => {}
                    }
                }
            }
        }
        if rng.one_in(8) {
            rex |= 0x40;
        }
        // Immediates.
        let immediate = number(rng).to_le_bytes();
        let mut bytes = o.prefix.to_vec();
        if rex != 0 {
            bytes.push(rex);
        }
        bytes.extend(o.map);
        bytes.push(o.byte);
        bytes.push(modrm);
        bytes.extend(rest);
        bytes.extend(immediate);
        bytes.truncate(15);
        bytes
    }
}

/// The register that mostly holds a small number.
const SMALL: u8 = 8;

/// A number that is often at an edge.
pub fn number(rng: &mut Rng) -> u64 {
    let n = match rng.below(8) {
        0 => 0,
        1 => rng.below(4),
        2 => 1 << rng.below(64),
        3 => (1_u64 << rng.below(64)).wrapping_sub(1),
        4 => rng.below(256),
        5 => rng.next() & 0x8000_8000_8080_80ff,
        _ => rng.next(),
    };
    if rng.one_in(4) { n.wrapping_neg() } else { n }
}

/// An address in the data, often near the border of a page, sometimes outside.
fn place(rng: &mut Rng) -> u64 {
    let at = match rng.below(32) {
        0..8 => 0x200 + rng.below(0x1c00),
        8..22 => 0x200 + rng.below(0x1c00) & !15,
        22..24 => 0x1000_u64.wrapping_sub(rng.below(20)),
        24 => rng.below(PAGES * 0x1000),
        25 => (0x1000 * rng.below(PAGES + 1)).wrapping_sub(rng.below(20)),
        26 => 0x4800 + rng.below(64),
        _ => 0x5200 + rng.below(0xc00) & !7,
    };
    DATA.wrapping_add(at)
}

/// Random state in both machines; the flags in the form that the region finds.
pub fn state(rng: &mut Rng, machines: [&mut Machine; 2], starts: &[u64]) -> LazyFlags {
    let [m, other] = machines;
    let cpu = &mut m.cpu;
    for r in 0..16 {
        cpu.regs[r] = if matches!(r, 3..=7 | 12..) && !rng.one_in(40) {
            place(rng)
        } else if r == usize::from(SMALL) && !rng.one_in(8) {
            rng.below(64).wrapping_sub(32)
        } else if rng.one_in(16) {
            CODE + rng.pick(starts)
        } else {
            number(rng)
        };
    }
    cpu.regs[isa_x86::cpu::DIRECTION as usize] = if rng.one_in(4) { u64::MAX } else { 1 };
    for s in [4, 5] {
        cpu.regs[usize::from(isa_x86::cpu::SEG_BASE) + s] = if rng.one_in(2) { rng.below(64) } else { 0 };
    }
    for x in &mut cpu.xmm {
        *x = vector(rng);
    }
    cpu.mxcsr = match rng.below(8) {
        0 => rng.next() as u32 & 0xffff,
        1 => 0x1f80 | rng.next() as u32 & 0x6000,
        2 => 0x1f80,
        _ => 0x1fa0,
    };
    cpu.fpu = isa_x86::x87::Fpu::default();
    *cpu.rflags_rest_mut() = 0;
    cpu.attention = false;
    let pattern: [u128; 16] = core::array::from_fn(|_| vector(rng));
    let address = place(rng);
    let code = CODE + rng.pick(starts);
    for (k, c) in m.memory().chunks_exact_mut(16).enumerate() {
        let mut v = pattern[(k * 7 + k / 16) % 16];
        if k % 11 == 3 {
            v = v >> 64 << 64 | u128::from(if k % 22 == 3 { address } else { code });
        }
        c.copy_from_slice(&v.to_le_bytes());
    }
    let flags = lazy_flags(rng);
    set_flags(&mut m.cpu, flags.packed());
    let (a, b) = (&m.cpu, &mut other.cpu);
    (b.regs, b.flags) = (a.regs, a.flags);
    (b.xmm, b.mxcsr, b.fpu, b.attention) = (a.xmm, a.mxcsr, a.fpu, a.attention);
    other.memory().copy_from_slice(m.memory());
    flags
}

fn vector(rng: &mut Rng) -> u128 {
    let double = |rng: &mut Rng| match rng.below(8) {
        0 => number(rng),
        1 => rng
            .pick(&[f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, f64::MIN_POSITIVE, f64::MAX, 0.5])
            .to_bits(),
        2 => (rng.next() as i32 as f64).to_bits(),
        3..6 => (rng.next() as i32 as f64 / 1024.0).to_bits(),
        _ => rng.next(),
    };
    let single = |rng: &mut Rng| {
        u64::from(match rng.below(6) {
            0 => number(rng) as u32,
            1 => rng.pick(&[f32::NAN, f32::INFINITY, 0.0, -0.0, f32::MIN_POSITIVE, f32::MAX, 2.0]).to_bits(),
            2 => rng.next() as u32,
            _ => (rng.next() as i16 as f32 / 16.0).to_bits(),
        })
    };
    let half = |rng: &mut Rng| if rng.one_in(2) { double(rng) } else { single(rng) | single(rng) << 32 };
    u128::from(half(rng)) | u128::from(half(rng)) << 64
}

/// Flags of any form.
fn lazy_flags(rng: &mut Rng) -> LazyFlags {
    let w = rng.pick(&[Width::W8, Width::W16, Width::W32, Width::W64]);
    let source = rng.pick(&[
        FlagSource::Packed,
        FlagSource::Logic,
        FlagSource::Add,
        FlagSource::Sub,
        FlagSource::AddCarry,
        FlagSource::SubBorrow,
        FlagSource::Given,
    ]);
    let form = if source == FlagSource::Packed { FlagForm::PACKED } else { FlagForm::new(source, w) };
    let mut operand = || number(rng) & w.mask();
    let (a, b) = (operand(), operand());
    let b = if source == FlagSource::Given { b & 1 } else { b };
    let c = operand() & 1;
    let r = match source {
        FlagSource::AddCarry => a.wrapping_add(b).wrapping_add(c) & w.mask(),
        FlagSource::SubBorrow => a.wrapping_sub(b).wrapping_sub(c) & w.mask(),
        _ => operand(),
    };
    let a = if source == FlagSource::Packed { a & 63 } else { a };
    LazyFlags { form: form.0.into(), a, b, r, carry: operand() & 1 }
}

/// Instructions one after the other from [`CODE`], in blocks.
pub struct Program {
    /// Of each block, its offset from [`CODE`] and its instructions.
    pub blocks: Vec<(u64, Vec<Placed>)>,
}

/// A decoded instruction and its bytes.
pub type Placed = (Insn, Vec<u8>);

impl Program {
    /// `insns` instructions of random rows in about `insns / 4` blocks.
    pub fn random(rng: &mut Rng, opcodes: &Opcodes, rows: &[&str], insns: usize) -> Program {
        let mut code: Vec<(bool, Vec<u8>)> = Vec::new();
        let mut at = 0;
        let mut first = true;
        for _ in 0..insns {
            let (bytes, i) = loop {
                let row = rng.pick(rows);
                let bytes = opcodes.instruction(rng, row, CODE + at);
                let i = decode(&bytes, CodeSize::Bits64, Width::W64, 0).expect("made of decodable ones");
                if insns == 1 || rng.one_in(16) || is_translated(&i) {
                    break (bytes, i);
                }
            };
            at += bytes.len() as u64;
            code.push((first, bytes));
            first = i.ends_block() || rng.one_in(6);
        }
        let mut starts = Vec::new();
        let mut at = 0;
        for (first, bytes) in &code {
            if *first {
                starts.push(at);
            }
            at += bytes.len() as u64;
        }
        starts.push(at);
        // Most direct branches go to a block.
        let mut at = 0;
        for (_, bytes) in &mut code {
            let i = decode(bytes, CodeSize::Bits64, Width::W64, 0).expect("decodes");
            at += bytes.len() as u64;
            let branch = matches!(format!("{:?}", i.op).as_str(), "Jcc" | "Jmp" | "Call" | "Loop" | "LoopCc" | "Jcxz");
            if branch && i.kinds[0] == Kind::Imm && i.width() == Width::W64 && !rng.one_in(4) {
                let by = rng.pick(&starts).wrapping_sub(at) as i64;
                let n = bytes.len();
                let (rel8, rel32) = (is_rel8(bytes), n >= 5);
                if rel8 && i8::try_from(by).is_ok() {
                    bytes[n - 1] = by as u8;
                } else if !rel8 && rel32 {
                    bytes[n - 4..].copy_from_slice(&(by as i32).to_le_bytes());
                }
            }
        }
        let mut blocks: Vec<(u64, Vec<Placed>)> = Vec::new();
        let mut at = 0;
        for (first, bytes) in code {
            if first {
                blocks.push((at, Vec::new()));
            }
            let (start, insns) = blocks.last_mut().expect("the first begins one");
            let i = decode(&bytes, CodeSize::Bits64, Width::W64, (at - *start) as u16)
                .unwrap_or_else(|e| panic!("{e:?}: {bytes:02x?}"));
            at += bytes.len() as u64;
            insns.push((i, bytes));
        }
        Program { blocks }
    }

    pub fn starts(&self) -> Vec<u64> {
        self.blocks.iter().map(|b| b.0).collect()
    }

    /// The instruction at `pc` and the address of its block.
    pub fn at(&self, pc: u64) -> Option<(&Insn, u64)> {
        self.blocks.iter().find_map(|(start, insns)| {
            let block = CODE + start;
            insns.iter().find(|(i, _)| i.pc(block) == pc).map(|(i, _)| (i, block))
        })
    }

    pub fn text(&self) -> String {
        use iced_x86::{Decoder, DecoderOptions};
        let mut text = String::new();
        for (start, insns) in &self.blocks {
            text += &format!("block at {:#x}\n", CODE + start);
            for (i, bytes) in insns {
                let pc = i.pc(CODE + start);
                let x = Decoder::with_ip(64, bytes, pc, DecoderOptions::NONE).decode();
                text += &format!("  {pc:#x} {:?} {x} {bytes:02x?}\n", i.op);
            }
        }
        text
    }
}

/// Whether a direct near branch has a displacement of one byte.
fn is_rel8(bytes: &[u8]) -> bool {
    let prefix = |b: &u8| matches!(b, 0x26 | 0x2e | 0x36 | 0x3e | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3 | 0x40..=0x4f);
    let opcode = bytes.iter().copied().find(|b| !prefix(b)).unwrap_or(0);
    matches!(opcode, 0x70..=0x7f | 0xe0..=0xe3 | 0xeb)
}
