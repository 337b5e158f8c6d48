//! Random cases: bytes that decode to a user-mode instruction, and a state in which it mostly meets good memory.

use iced_x86::{Code, Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};
use random::Rng;

use crate::segments::{self, CODE16, CODE32, FLAT_CODE32, FLAT_CODE64, FLAT_DATA};
use crate::{CODE, Case, DATA, DATA_LEN, START, State, undefined};

/// Instructions that cannot be compared: privileged or system ones (their own tests), those that leave the code page, that read what
/// differs by nature (time, model), or that the host has and the guest does not announce (LZCNT, TZCNT decode as BSR, BSF).
fn excluded(m: Mnemonic) -> bool {
    use Mnemonic::*;
    matches!(
        m,
        INVALID
            | Syscall
            | Sysenter
            | Sysexit
            | Sysret
            | Int
            | Int3
            | Int1
            | Into
            | Hlt
            | In
            | Out
            | Insb
            | Insw
            | Insd
            | Outsb
            | Outsw
            | Outsd
            | Cli
            | Sti
            | Cpuid
            | Rdtsc
            | Rdtscp
            | Rdpmc
            | Rdrand
            | Rdseed
            | Rdpid
            | Rdmsr
            | Wrmsr
            | Iretq
            | Clts
            | Lgdt
            | Lidt
            | Lldt
            | Ltr
            | Lmsw
            | Sgdt
            | Sidt
            | Sldt
            | Str
            | Smsw
            | Invd
            | Wbinvd
            | Invlpg
            | Invpcid
            | Swapgs
            | Xsetbv
            | Xgetbv
            | Xsave
            | Xsave64
            | Xsavec
            | Xsavec64
            | Xsaveopt
            | Xsaveopt64
            | Xsaves
            | Xsaves64
            | Xrstor
            | Xrstor64
            | Xrstors
            | Xrstors64
            | Fxsave
            | Fxsave64
            | Fxrstor
            | Fxrstor64
            | Wrfsbase
            | Wrgsbase
            | Rdfsbase
            | Rdgsbase
            | Popfq
            | Pushfq
            | Lzcnt
            | Tzcnt
            | Monitor
            | Mwait
            | Monitorx
            | Mwaitx
            | Clac
            | Stac
            | Vmcall
            | Vmmcall
            | Vmlaunch
            | Vmresume
            | Vmxoff
            | Vmrun
            | Vmload
            | Vmsave
            | Stgi
            | Clgi
            | Skinit
            | Invlpga
            | Rsm
            | Getsec
            | Xabort
            | Xbegin
            | Xend
            | Xtest
            | Enqcmd
            | Enqcmds
            | Umwait
            | Tpause
            | Umonitor
            | Clzero
            | Rdpru
            | Pconfig
            | Encls
            | Enclu
            | Enclv
            | Ptwrite
            | Wrpkru
            | Rdpkru
            | Mcommit
            | Serialize
            | Wbnoinvd
            | Cldemote
            | Pbndkb
            | Xstore
            | Endbr32
            | Endbr64
            | Incsspd
            | Incsspq
            | Rdsspd
            | Rdsspq
            | Fldenv
            | Fnstenv
            | Fnsave
            | Frstor
    )
}

/// What only code outside 64-bit mode is given here, where the descriptors of the case are known: loads and tests of segment registers,
/// far transfers, and what leaves the code page in 64-bit mode.
fn legacy_only(i: &Instruction) -> bool {
    use Mnemonic::*;
    let segment = (0..i.op_count()).any(|n| i.op_kind(n) == OpKind::Register && is_segment(i.op_register(n)));
    segment
        || matches!(i.mnemonic(), Lar | Lsl | Verr | Verw | Lds | Les | Lfs | Lgs | Lss | Pushf | Popf | Pushfd | Popfd)
        || matches!(i.mnemonic(), Retf | Iret | Iretd)
        || matches!(i.mnemonic(), Jmp | Call | Ret) && !near_64(i)
}

/// Whether a near branch is of 64-bit code. AMD's processors take the operand-size prefix there, Intel's ignore it, as we do.
fn near_64(i: &Instruction) -> bool {
    use Code::*;
    matches!(i.op0_kind(), OpKind::NearBranch64) || matches!(i.code(), Jmp_rm64 | Call_rm64 | Retnq | Retnq_imm16)
}

const HARD_INTEGERS: [u64; 14] = [
    0,
    1,
    2,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0x8000,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
];

pub fn integer(rng: &mut Rng) -> u64 {
    match rng.below(4) {
        0 => rng.next(),
        1 => rng.next() >> rng.below(64),
        2 => rng.pick(&HARD_INTEGERS).wrapping_add(rng.below(3)).wrapping_sub(1),
        _ => u64::MAX << rng.below(64),
    }
}

/// A double that is often special.
pub fn double(rng: &mut Rng) -> u64 {
    let sign = rng.next() & 1 << 63;
    sign | match rng.below(12) {
        0 => 0,
        1 => 0x7ff0_0000_0000_0000,
        2 => 0x7ff8_0000_0000_0000 | rng.next() >> 13,
        3 => 0x7ff0_0000_0000_0000 | rng.next() >> 14 | 1,
        4 => rng.next() >> (12 + rng.below(52)),
        5 => 0x7fef_ffff_ffff_ffff - rng.below(4),
        6 => 0x0010_0000_0000_0000 + rng.below(4),
        7 => (1023 + rng.below(65)) << 52 | (rng.next() >> 12 & u64::MAX << rng.below(52)),
        8 => rng.next() >> 1,
        _ => (1023 - 30 + rng.below(60)) << 52 | rng.next() >> 12,
    }
}

pub fn single(rng: &mut Rng) -> u32 {
    let r = rng.next() as u32;
    (r & 1 << 31)
        | match rng.below(12) {
            0 => 0,
            1 => 0x7f80_0000,
            2 => 0x7fc0_0000 | r & 0x3f_ffff,
            3 => 0x7f80_0000 | (r & 0x3f_ffff) | 1,
            4 => (r & 0x7f_ffff) >> rng.below(23),
            5 => 0x7f7f_ffff - rng.below(4) as u32,
            6 => 0x0080_0000 + rng.below(4) as u32,
            7 => (127 + rng.below(34) as u32) << 23 | (r & 0x7f_ffff & u32::MAX << rng.below(23)),
            8 => r >> 1,
            _ => (127 - 15 + rng.below(30) as u32) << 23 | r & 0x7f_ffff,
        }
}

/// 16 bytes for a vector register or memory.
pub fn vector(rng: &mut Rng) -> [u8; 16] {
    let mut v = [0; 16];
    match rng.below(4) {
        0 => v.chunks_exact_mut(8).for_each(|c| c.copy_from_slice(&double(rng).to_le_bytes())),
        1 => v.chunks_exact_mut(4).for_each(|c| c.copy_from_slice(&single(rng).to_le_bytes())),
        2 => v.chunks_exact_mut(8).for_each(|c| c.copy_from_slice(&integer(rng).to_le_bytes())),
        _ => v.chunks_exact_mut(8).for_each(|c| c.copy_from_slice(&rng.next().to_le_bytes())),
    }
    v
}

/// A double-extended number, pseudo-denormals and unnormals among them.
fn extended(rng: &mut Rng) -> [u8; 10] {
    let sign = (rng.next() & 0x8000) as u16;
    let (exp, sig) = match rng.below(12) {
        0 => (0, 0),
        1 => (0x7fff, 1 << 63),
        2 => (0x7fff, 3 << 62 | rng.next() >> 2),
        3 => (0x7fff, 1 << 63 | rng.next() >> 2 | 1),
        4 => (0, rng.next() >> (1 + rng.below(60))),
        5 => (0x7ffe, u64::MAX - rng.below(4)),
        6 => (rng.below(3) as u16, 1 << 63 | rng.below(4)),
        7 => ((0x3fff + rng.below(66)) as u16, 1 << 63 | (rng.next() & u64::MAX << rng.below(64))),
        8 if rng.one_in(4) => (rng.next() as u16 & 0x7fff, rng.next()),
        _ => ((0x3fff - 40 + rng.below(80)) as u16, 1 << 63 | rng.next()),
    };
    let mut b = [0; 10];
    b[..8].copy_from_slice(&sig.to_le_bytes());
    b[8..].copy_from_slice(&(sign | exp).to_le_bytes());
    b
}

fn state(rng: &mut Rng) -> State {
    let mut s = State {
        fx: [0; 512],
        regs: [0; 16],
        rflags: 0x202 | rng.next() & 0xcd5,
        rip: CODE + START,
        seg: [FLAT_DATA, FLAT_CODE64, FLAT_DATA, FLAT_DATA, 0, 0],
    };
    if !rng.one_in(8) {
        s.rflags &= !0x400; // the direction flag mostly clear
    }
    for r in &mut s.regs {
        *r = integer(rng);
    }
    let control = if rng.one_in(2) { 0x37f } else { (rng.next() as u16 & 0xf00) | 0x7f };
    let unmask = if rng.one_in(16) { rng.next() as u16 & 0x3f } else { 0 };
    s.fx[0..2].copy_from_slice(&(control & !unmask).to_le_bytes());
    // No pending exception: sticky flags may be set, ES and B are not, and unmasked ones are clear.
    let sticky = (rng.next() as u16 & 0x3f) & !unmask;
    let status = (rng.next() as u16 & 0x4700) | (rng.below(8) as u16) << 11 | if rng.one_in(2) { sticky } else { 0 };
    s.fx[2..4].copy_from_slice(&status.to_le_bytes());
    s.fx[4] = match rng.below(4) {
        0 => 0xff,
        1 => 0,
        _ => rng.next() as u8,
    };
    let mut mxcsr = 0x1f80_u32;
    if rng.one_in(2) {
        mxcsr |= (rng.next() as u32 & 0xe07f) & if rng.one_in(2) { 0x6000 } else { u32::MAX };
    }
    if rng.one_in(16) {
        mxcsr &= !(rng.next() as u32 & 0x1f80);
    }
    s.fx[24..28].copy_from_slice(&mxcsr.to_le_bytes());
    for k in 0..8 {
        s.fx[32 + 16 * k..42 + 16 * k].copy_from_slice(&extended(rng));
    }
    for k in 0..16 {
        s.fx[160 + 16 * k..176 + 16 * k].copy_from_slice(&vector(rng));
    }
    s
}

/// Random bytes of the shape of an instruction.
fn bytes(rng: &mut Rng, bits: u32) -> Vec<u8> {
    let mut b = Vec::with_capacity(24);
    if rng.one_in(4) {
        b.push(rng.pick(&[0x66, 0x66, 0xf2, 0xf3, 0xf3, 0x67, 0x65, 0x2e, 0xf0]));
        if rng.one_in(8) {
            b.push(rng.pick(&[0x66, 0xf2, 0xf3, 0x67]));
        }
    }
    // The other sizes, and each segment.
    if bits != 64 && rng.one_in(3) {
        b.push(rng.pick(&[0x66, 0x67, 0x66, 0x67, 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65]));
    }
    let map = rng.below(if bits == 64 { 8 } else { 10 });
    if (4..8).contains(&map) && rng.one_in(2) {
        b.insert(0, rng.pick(&[0x66, 0xf2, 0xf3]));
    }
    if bits == 64 && rng.one_in(2) {
        b.push(0x40 | rng.below(16) as u8);
    }
    match map {
        3 => {
            // x87
            b.push(0xd8 | rng.below(8) as u8);
            b.push(rng.next() as u8);
        }
        4..=6 => b.push(0x0f),
        7 => b.extend([0x0f, rng.pick(&[0x38, 0x3a])]),
        // Of one byte, and what only these modes have or what concerns segments.
        8 => b.push(rng.pick(&[
            0x06, 0x07, 0x0e, 0x16, 0x17, 0x1e, 0x1f, 0x27, 0x2f, 0x37, 0x3f, 0x60, 0x61, 0x62, 0x63, 0x8c, 0x8e, 0x9a,
            0x9c, 0x9d, 0xc2, 0xc3, 0xc4, 0xc5, 0xca, 0xcb, 0xce, 0xcf, 0xd4, 0xd5, 0xd6, 0xea, 0xc8, 0xc9,
        ])),
        9 if rng.one_in(3) => b.extend([0xff, (rng.next() as u8 & 0xc7) | rng.pick(&[0x10, 0x18, 0x20, 0x28])]),
        9 => b.extend([0x0f, rng.pick(&[0x00, 0x02, 0x03, 0xa0, 0xa1, 0xa8, 0xa9, 0xb2, 0xb4, 0xb5])]),
        _ => {}
    }
    while b.len() < 15 {
        b.push(rng.next() as u8);
    }
    b
}

/// Number of the general register whose full, 32- or 16-bit part `r` is.
fn gpr(r: Register) -> Option<usize> {
    [(Register::RAX, Register::R15), (Register::EAX, Register::R15D), (Register::AX, Register::R15W)]
        .iter()
        .find(|(a, b)| (*a as u32..=*b as u32).contains(&(r as u32)))
        .map(|(a, _)| (r as u32 - *a as u32) as usize)
}

/// An offset to address memory at, in a segment of base `base` and limit `limit`.
fn near(rng: &mut Rng, bits: u32, selector: u16) -> u64 {
    let (base, limit) = if bits == 64 { (0, u64::MAX) } else { (segments::base(selector), segments::limit(selector)) };
    let linear = match rng.below(16) {
        0 => DATA + DATA_LEN as u64 - 8 + rng.below(16),
        1 => DATA + 0x1000 - 16 + rng.below(32),
        2 => DATA - 16 + rng.below(32),
        // Not canonical. Not across the border: which of the two faults wins is the model's.
        3 if bits == 64 => 0x8000_0000_0000 + rng.below(16),
        // The end of the address space: which of several faults of an operand across it wins is the model's.
        3 if base == 0 => 0xffff_fff0,
        3 | 4 if base != 0 => return limit.wrapping_sub(rng.below(20)).wrapping_add(8) & 0xffff_ffff,
        5 if base != 0 => return [0u64, 0xfff0, 0x7f8][rng.below(3) as usize] + rng.below(16),
        6..=9 => DATA + (rng.below(DATA_LEN as u64 - 512) & !15),
        _ => DATA + rng.below(DATA_LEN as u64 - 512),
    };
    if bits == 64 { linear } else { linear.wrapping_sub(base) & 0xffff_ffff }
}

fn is_segment(r: Register) -> bool {
    (Register::ES as u32..=Register::GS as u32).contains(&(r as u32))
}

/// Number of a segment register.
fn segment(r: Register) -> usize {
    (r as u32).wrapping_sub(Register::ES as u32) as usize % 6
}

/// Whether bytes that are no instruction of the announced processor are none of the host's: not VEX, EVEX, XOP or 3DNow!, which the
/// decoder here does not know, and not virtualization or AMD's LOCK MOV CR0. Nor RDPKRU and WRPKRU, whose prefixes AMD's processors ignore,
/// nor VERR and VERW with LOCK (#UD, SDM 2 LOCK): they meet the faults of the operand first.
fn nowhere_valid(bytes: &[u8]) -> bool {
    let prefix =
        |b: u8| matches!(b, 0x66 | 0x67 | 0xf2 | 0xf3 | 0xf0 | 0x26 | 0x2e | 0x36 | 0x3e | 0x64 | 0x65 | 0x40..=0x4f);
    let opcode = bytes.iter().position(|&b| !prefix(b)).map_or(&[][..], |n| &bytes[n..]);
    let verify = |modrm: u8| modrm < 0xc0 && matches!(modrm >> 3 & 7, 4 | 5);
    match opcode {
        [0xc4 | 0xc5 | 0x62 | 0x8f, ..]
        | [0x0f, 0x0f | 0x20 | 0x22, ..]
        | [0x0f, 0x01, 0xc0..=0xdf | 0xee | 0xef, ..] => false,
        [0x0f, 0x00, modrm, ..] => !verify(*modrm),
        _ => true,
    }
}

/// One case, or none where the random bytes made none that can be run.
pub fn case(rng: &mut Rng, bits: u32, only: &dyn Fn(Mnemonic) -> bool) -> Option<(Case, Instruction)> {
    let mut bytes = bytes(rng, bits);
    let legacy = bits != 64;
    let mut s = state(rng);
    if legacy {
        s.seg = core::array::from_fn(|k| segments::random_data(rng, k == 2));
        s.seg[1] = match bits {
            16 => CODE16,
            _ if rng.one_in(2) => FLAT_CODE32,
            _ => CODE32,
        };
        s.rip = (CODE + START).wrapping_sub(segments::base(s.seg[1]));
    }
    let mut decoder = Decoder::with_ip(bits, &bytes, s.rip, DecoderOptions::NONE);
    let i = decoder.decode();
    if i.is_invalid() && only(Mnemonic::INVALID) && rng.one_in(16) && nowhere_valid(&bytes) {
        return Some((Case { bits, bytes, state: s, memory: Box::new([0; DATA_LEN]) }, i));
    }
    if i.is_invalid() || excluded(i.mnemonic()) || !only(i.mnemonic()) || !legacy && legacy_only(&i) {
        return None;
    }
    let offsets = decoder.get_constant_offsets(&i);
    bytes.truncate(i.len());
    let indirect = !legacy
        && matches!(i.mnemonic(), Mnemonic::Jmp | Mnemonic::Call | Mnemonic::Ret)
        && i.op0_kind() != OpKind::NearBranch64;
    if indirect && bytes[..i.len() - 1].contains(&0x66) {
        return None; // as near_64 says
    }
    let system_register = (0..i.op_count()).any(|n| {
        i.op_kind(n) == OpKind::Register
            && [(Register::CR0, Register::DR15), (Register::TR0, Register::TR7)]
                .iter()
                .any(|(a, b)| (*a as u32..=*b as u32).contains(&(i.op_register(n) as u32)))
    });
    // FS is the host's thread pointer.
    if system_register || !legacy && (i.segment_prefix() == Register::FS || i.memory_segment() == Register::FS) {
        return None;
    }
    // Stack. The upper half of ESP is nobody's where the stack segment is of 16 bits.
    let stack = near(rng, bits, s.seg[2]);
    s.regs[4] = stack;
    let upper = |rng: &mut Rng| rng.next() & 0xffff_0000;
    if legacy && !segments::big(s.seg[2]) {
        s.regs[4] = stack & 0xffff | upper(rng);
    }
    let mut has_memory = false;
    // Where in linear memory the instruction's operand is, or its stack.
    let mut operand = segments::base(s.seg[2]).wrapping_add(stack);
    let mut short_count = false;
    for n in 0..i.op_count() {
        match i.op_kind(n) {
            OpKind::NearBranch64 | OpKind::NearBranch32 | OpKind::NearBranch16 => {
                if !legacy && bytes[..offsets.immediate_offset()].contains(&0x66) {
                    return None; // AMD's processors take the prefix for a 16-bit branch, Intel's ignore it, as we do
                }
                // Stay among the HLTs behind the instruction; or try the segment's limit.
                if !legacy || !rng.one_in(8) {
                    let at = offsets.immediate_offset();
                    bytes[at] = rng.below(24) as u8;
                    bytes[at + 1..at + offsets.immediate_size()].fill(0);
                }
            }
            OpKind::FarBranch16 | OpKind::FarBranch32 => {
                let mut selector = segments::random(rng);
                if i.mnemonic() == Mnemonic::Call && selector | 3 == FLAT_CODE64 {
                    selector = FLAT_CODE32; // as in `selectors`
                }
                let target = segments::random_target(rng, selector).to_le_bytes();
                let (at, n) = (offsets.immediate_offset(), offsets.immediate_size());
                bytes[at..at + n].copy_from_slice(&target[..n]);
                bytes[at + n..at + n + 2].copy_from_slice(&selector.to_le_bytes());
            }
            OpKind::MemorySegRSI | OpKind::MemorySegESI | OpKind::MemorySegSI => {
                short_count |= i.op_kind(n) == OpKind::MemorySegSI;
                s.regs[6] = near(rng, bits, s.seg[segment(i.memory_segment())]);
            }
            OpKind::MemoryESRDI | OpKind::MemoryESEDI | OpKind::MemoryESDI => {
                short_count |= i.op_kind(n) == OpKind::MemoryESDI;
                s.regs[7] = near(rng, bits, s.seg[0]);
            }
            OpKind::MemorySegRDI | OpKind::MemorySegEDI | OpKind::MemorySegDI => {
                s.regs[7] = near(rng, bits, s.seg[segment(i.memory_segment())]);
            }
            OpKind::Memory => has_memory = true,
            _ => {}
        }
    }
    if short_count {
        for r in [6, 7] {
            s.regs[r] = s.regs[r] & 0xffff | upper(rng);
        }
    }
    if i.has_rep_prefix()
        || i.has_repne_prefix()
        || matches!(i.mnemonic(), Mnemonic::Loop | Mnemonic::Loope | Mnemonic::Loopne)
    {
        s.regs[1] = rng.below(20);
        if rng.one_in(8) {
            s.regs[1] |= 1 << 32;
        }
        if short_count {
            s.regs[1] |= upper(rng);
        }
    }
    if i.mnemonic() == Mnemonic::Xlatb {
        s.regs[3] = near(rng, bits, s.seg[segment(i.memory_segment())]);
        s.regs[0] &= 0xff;
    } else if matches!(i.mnemonic(), Mnemonic::Leave | Mnemonic::Enter) {
        s.regs[5] = near(rng, bits, s.seg[2]);
        operand = segments::base(s.seg[2]).wrapping_add(s.regs[5]);
        if i.mnemonic() == Mnemonic::Enter {
            bytes[i.len() - 1] &= 7;
            bytes[i.len() - 2] &= 3;
        }
    } else if has_memory {
        let selector = s.seg[segment(i.memory_segment())];
        let target = near(rng, bits, selector);
        operand = if legacy { segments::base(selector).wrapping_add(target) } else { target };
        let displacement = i.memory_displacement64();
        let last = DATA + DATA_LEN as u64 + 0x1000;
        match (gpr(i.memory_base()), gpr(i.memory_index())) {
            (None, None) => {
                // Absolute or RIP-relative: patch the displacement.
                let value =
                    if i.is_ip_rel_memory_operand() { target.wrapping_sub(s.rip + i.len() as u64) } else { target };
                let (at, n) = (offsets.displacement_offset(), offsets.displacement_size());
                bytes[at..at + n].copy_from_slice(&value.to_le_bytes()[..n]);
            }
            (Some(base), None) => s.regs[base] = target.wrapping_sub(displacement),
            // A quotient cannot meet a target exactly: near the canonical border the model decides, so keep to the data.
            (None, Some(_)) if target > last => return None,
            (Some(base), Some(index)) if base == index && target > last => return None,
            (None, Some(index)) => {
                s.regs[index] = target.wrapping_sub(displacement) / u64::from(i.memory_index_scale());
            }
            (Some(base), Some(index)) if base == index => {
                s.regs[base] = target.wrapping_sub(displacement) / (1 + u64::from(i.memory_index_scale()));
            }
            (Some(base), Some(index)) => {
                let x = rng.below(1 << 12).wrapping_sub(1 << 11);
                s.regs[index] = x;
                s.regs[base] =
                    target.wrapping_sub(displacement).wrapping_sub(x.wrapping_mul(u64::from(i.memory_index_scale())));
            }
        }
        // Addresses of 16 bits do not see the rest.
        for r in [i.memory_base(), i.memory_index()] {
            if (Register::AX as u32..=Register::R15W as u32).contains(&(r as u32))
                && let Some(r) = gpr(r)
            {
                s.regs[r] = s.regs[r] & 0xffff | upper(rng);
            }
        }
        // Bit strings reach far beyond their operand.
        if matches!(i.mnemonic(), Mnemonic::Bt | Mnemonic::Bts | Mnemonic::Btr | Mnemonic::Btc)
            && i.op1_kind() == OpKind::Register
            && rng.below(8) != 0
            && let Some(n) = gpr(i.op1_register())
            && gpr(i.memory_base()) != Some(n)
            && gpr(i.memory_index()) != Some(n)
        {
            s.regs[n] = rng.below(4096).wrapping_sub(2048);
        }
    }
    let mut memory = Box::new([0; DATA_LEN]);
    let pattern: [[u8; 16]; 16] = core::array::from_fn(|_| vector(rng));
    for (k, c) in memory.chunks_exact_mut(16).enumerate() {
        c.copy_from_slice(&pattern[(k * 7 + k / 16) % 16]);
    }
    if i.mnemonic() == Mnemonic::Ldmxcsr {
        // Bit 17 is AMD's mask of misalignment exceptions (APM 1 4.2.2), which the announced processor does not have.
        memory.iter_mut().for_each(|b| *b &= !2);
    }
    // Comparisons that hold: the accumulator, or RDX:RAX, is what lies in memory.
    if matches!(i.mnemonic(), Mnemonic::Cmpxchg8b | Mnemonic::Cmpxchg16b | Mnemonic::Cmpxchg) && rng.one_in(2) {
        let (a, d) = (s.regs[0].to_le_bytes(), s.regs[2].to_le_bytes());
        let half = if i.mnemonic() == Mnemonic::Cmpxchg8b { 4 } else { 8 };
        for c in memory.chunks_exact_mut(2 * half) {
            c[..half].copy_from_slice(&a[..half]);
            c[half..].copy_from_slice(&d[..half]);
        }
    }
    if indirect {
        // Among the HLTs behind the instruction, or nowhere.
        let to = if rng.one_in(8) { near(rng, bits, 0) } else { s.rip + i.len() as u64 + rng.below(24) };
        match i.op0_kind() {
            OpKind::Register => s.regs[gpr(i.op0_register())?] = to,
            _ => memory.chunks_exact_mut(8).for_each(|c| c.copy_from_slice(&to.to_le_bytes())),
        }
    }
    if legacy {
        if legacy_only(&i) {
            let frame = selectors(rng, &i, &mut s);
            match operand.checked_sub(DATA).filter(|&at| at < DATA_LEN as u64 - 16) {
                Some(place) => memory[place as usize..place as usize + frame.len()].copy_from_slice(&frame),
                // What lies there might name the segment whose limit is the processor's number.
                None if i.mnemonic() == Mnemonic::Lsl => return None,
                None => {}
            }
        }
        s.regs[..8].iter_mut().for_each(|r| *r &= 0xffff_ffff);
    }
    let decoded = Decoder::with_ip(bits, &bytes, s.rip, DecoderOptions::NONE).decode();
    let case = Case { bits, bytes, state: s, memory };
    (!undefined::wholly(&case, &decoded)).then_some((case, decoded))
}

/// Selectors and code addresses where `i` looks for them: in its registers, and as what it reads from its memory operand or its stack.
fn selectors(rng: &mut Rng, i: &Instruction, s: &mut State) -> Vec<u8> {
    use Code::*;
    let mut selector = segments::random(rng);
    // A call from compatibility mode to 64-bit code pushes to the new mode's stack, of which the upper half of RSP is undefined (SDM 1 3.4.1.1).
    if i.mnemonic() == Mnemonic::Call && selector | 3 == FLAT_CODE64 {
        selector = FLAT_CODE32;
    }
    for n in 0..i.op_count() {
        if i.op_kind(n) == OpKind::Register
            && let Some(r) = gpr(i.op_register(n))
        {
            s.regs[r] = match i.mnemonic() {
                Mnemonic::Jmp | Mnemonic::Call => segments::random_target(rng, s.seg[1]),
                _ => u64::from(selector) | rng.next() & 0xffff_0000,
            };
        }
    }
    let near = matches!(i.mnemonic(), Mnemonic::Ret)
        || matches!(i.mnemonic(), Mnemonic::Jmp | Mnemonic::Call)
            && !matches!(i.memory_size(), iced_x86::MemorySize::SegPtr16 | iced_x86::MemorySize::SegPtr32);
    let target = segments::random_target(rng, if near { s.seg[1] } else { selector }) as u32;
    let word = matches!(i.memory_size(), iced_x86::MemorySize::SegPtr16)
        || matches!(i.code(), Retfw | Retfw_imm16 | Iretw | Retnw | Retnw_imm16);
    let mut b = Vec::with_capacity(16);
    let mut put = |v: u32| b.extend(&v.to_le_bytes()[..if word { 2 } else { 4 }]);
    match i.mnemonic() {
        Mnemonic::Popf | Mnemonic::Popfd => put(rng.next() as u32 & !0x4_0100),
        Mnemonic::Jmp
        | Mnemonic::Call
        | Mnemonic::Ret
        | Mnemonic::Retf
        | Mnemonic::Iret
        | Mnemonic::Iretd
        | Mnemonic::Lds
        | Mnemonic::Les
        | Mnemonic::Lfs
        | Mnemonic::Lgs
        | Mnemonic::Lss => {
            put(target);
            put(u32::from(selector) | rng.next() as u32 & 0xffff_0000);
            put(rng.next() as u32 & !0x4_0100);
        }
        _ => put(u32::from(selector) | rng.next() as u32 & 0xffff_0000),
    }
    b
}
