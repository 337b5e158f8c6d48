//! Decoding to our own [`Insn`]. What is frequent in 64-bit mode is decoded from a table ([`encodings`]); all else is found by iced-x86
//! and lowered at once. A test holds the table to iced. No type of iced's leaves this folder but the mnemonics that the table of
//! operations is keyed by.

mod encodings;
mod frequent;
#[cfg(test)]
mod tests;

use guest_api::{Cond, Space, Width};
use iced_x86::{Code, Decoder, DecoderError, DecoderOptions, Instruction, MemorySize, Mnemonic, OpKind, Register};

use crate::cpu::{BLOCK, CodeSize, RBP, RSP, SEG_BASE, SegReg, ZERO};
use crate::insn::{Insn, Kind, Mode, OPERANDS, STACK, prefix, segment_space};
use crate::interp::Packed;
use crate::table::{Op, op_of};

pub(crate) use encodings::{FORMS_IN_TABLE, form};
pub(crate) use frequent::{Found, decode as decode_frequent};

/// Why bytes are not an instruction that can run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DecodeError {
    /// The instruction is longer than the bytes given.
    NeedMoreBytes,
    /// It is longer than 15 bytes: #GP(0).
    TooLong,
    /// Not an instruction of the announced processor in this mode: #UD.
    Invalid,
}

/// What the announced processor lacks: LZCNT and TZCNT (their bytes are BSR and BSF), and every user of the reserved NOP space
/// (0F 18 to 0F 1F: prefetches, shadow stacks, MPX), which therefore does nothing. WBNOINVD is a WBINVD.
const OPTIONS: u32 = DecoderOptions::NO_MPFX_0FBC
    | DecoderOptions::NO_MPFX_0FBD
    | DecoderOptions::FORCE_RESERVED_NOP
    | DecoderOptions::NO_WBNOINVD;

/// The longest instruction, in bytes (SDM 2 2.3.11).
const MAX_LEN: usize = 15;

/// Decodes the instruction at the start of `bytes` (up to 15 are looked at), which lies `off` bytes behind its block's start.
///
/// # Errors
/// See [`DecodeError`].
pub fn decode(bytes: &[u8], bits: CodeSize, stack_width: Width, off: u16) -> Result<Insn, DecodeError> {
    let mut packed = Packed::default();
    if bits == CodeSize::Bits64 && decode_frequent(&mut packed, bytes, off).is_some() {
        return Ok(packed.unpack(form(packed.form()), off));
    }
    decode_complete(bytes, bits, stack_width, off)
}

/// [`decode`] for every instruction, by iced-x86.
#[inline(never)]
pub(crate) fn decode_complete(bytes: &[u8], bits: CodeSize, stack_width: Width, off: u16) -> Result<Insn, DecodeError> {
    let bitness = match bits {
        CodeSize::Bits16 => 16,
        CodeSize::Bits32 => 32,
        CodeSize::Bits64 => 64,
    };
    let bytes = &bytes[..bytes.len().min(MAX_LEN)];
    let mut decoder = Decoder::with_ip(bitness, bytes, u64::from(off), OPTIONS);
    let mut x = Instruction::default();
    decoder.decode_out(&mut x);
    match decoder.last_error() {
        DecoderError::None => {}
        DecoderError::NoMoreBytes if lacks_bytes(bytes, bitness) => return Err(DecodeError::NeedMoreBytes),
        _ if bytes.len() == MAX_LEN && lacks_bytes(bytes, bitness) => return Err(DecodeError::TooLong),
        _ => return Err(DecodeError::Invalid),
    }
    use Code::{Reservednop_rm16_r16_0F0D, Reservednop_rm32_r32_0F0D, Reservednop_rm64_r64_0F0D};
    let prefetch =
        matches!(x.code(), Reservednop_rm16_r16_0F0D | Reservednop_rm32_r32_0F0D | Reservednop_rm64_r64_0F0D);
    if prefetch && x.op0_kind() == OpKind::Register {
        return Err(DecodeError::Invalid); // PREFETCHW of a register (AMD APM 3)
    }
    let mut i = lower(&x, bits, stack_width, off)?;
    if i.op == Op::X87 {
        i.set_constants(x87_opcode(bytes), i.disp());
    }
    Ok(i)
}

/// Whether the instruction that `bytes` begin is longer: an opcode of the 0F map that is none with any ModRM byte is not, though iced reads
/// one. Of 15 bytes iced says that they are invalid, whether one more is missing or not, of fewer it tells. So those are left out that have no
/// effect on the length: segments' and LOCK prefixes, all but the last of a group of other ones, and REX prefixes before others. No
/// instruction of 16 bytes is without any.
#[cold]
fn lacks_bytes(bytes: &[u8], bitness: u32) -> bool {
    let is_rex = |b: u8| bitness == 64 && b & 0xf0 == 0x40;
    let is_prefix = |b: u8| matches!(b, 0x26 | 0x2e | 0x36 | 0x3e | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3) || is_rex(b);
    let (prefixes, rest) = bytes.split_at(bytes.iter().take_while(|&&b| is_prefix(b)).count());
    let mut short = Vec::with_capacity(2 * MAX_LEN);
    for group in [&[0x66][..], &[0x67], &[0xf2, 0xf3]] {
        short.extend(prefixes.iter().rfind(|b| group.contains(b)));
    }
    short.extend(prefixes.last().filter(|&&b| is_rex(b)));
    short.extend(rest);
    let error = |bytes: &[u8]| {
        let mut decoder = Decoder::with_ip(bitness, bytes, 0, OPTIONS);
        decoder.decode_out(&mut Instruction::default());
        decoder.last_error()
    };
    if error(&short) != DecoderError::NoMoreBytes {
        return false;
    }
    let modrm = short.len();
    short.resize(modrm + 10, 0); // with SIB, displacement and immediate
    !matches!(rest, [0x0f, _])
        || (0..=255).any(|b| {
            short[modrm] = b;
            error(&short) == DecoderError::None
        })
}

/// The eleven bits that tell an x87 instruction: the low three of its escape byte, and the ModRM byte. No prefix is D8-DF.
fn x87_opcode(bytes: &[u8]) -> u64 {
    let at = bytes.iter().position(|b| b & 0xf8 == 0xd8).unwrap_or(0);
    bytes.get(at..at + 2).map_or(0, |b| u64::from(b[0] & 7) << 8 | u64::from(b[1]))
}

/// Lowers an instruction of iced's.
fn lower(x: &Instruction, bits: CodeSize, stack_width: Width, off: u16) -> Result<Insn, DecodeError> {
    let mut i = Insn::BLANK;
    (i.off, i.len, i.cc) = (off, x.len() as u8, condition(x.mnemonic()));
    i.mode = Mode::new(
        bits,
        if x.has_lock_prefix() { prefix::LOCK } else { 0 }
            | if x.has_rep_prefix() { prefix::REP } else { 0 }
            | if x.has_repne_prefix() { prefix::REPNE } else { 0 },
    );
    i.set_stack_width(stack_width);
    i.set_addr_width(match bits {
        CodeSize::Bits16 => Width::W16,
        CodeSize::Bits32 => Width::W32,
        CodeSize::Bits64 => Width::W64,
    });
    i.space = if bits == CodeSize::Bits64 { Space::FLAT } else { segment_space(SegReg::Ds) };
    let mut constants = Constants::default();
    let mut sizes = [None; OPERANDS];
    for n in 0..x.op_count().min(OPERANDS as u32) {
        sizes[n as usize] = operand(&mut i, &mut constants, x, n);
    }
    i.set_constants(constants.imm, constants.disp);
    if let Some(w) = counter_width(x.code()) {
        i.set_addr_width(w);
    }
    let width = width_of(x, bits).or(sizes[0]).unwrap_or(Width::W64);
    i.set_width(width, sizes[1].unwrap_or(width));
    i.op = operation(x, &i)?;
    Ok(i)
}

/// The row of the table. Mnemonics that the manual gives to several unlike things are told apart here.
fn operation(x: &Instruction, i: &Insn) -> Result<Op, DecodeError> {
    let special = match x.mnemonic() {
        Mnemonic::Mov => match (i.kinds[0], i.kinds[1]) {
            (Kind::Seg, _) => Some(Op::MovToSeg),
            (_, Kind::Seg) => Some(Op::MovFromSeg),
            (Kind::Cr, _) => Some(Op::MovToCr),
            (_, Kind::Cr) => Some(Op::MovFromCr),
            (Kind::Dr, _) => Some(Op::MovToDr),
            (_, Kind::Dr) => Some(Op::MovFromDr),
            _ => None,
        },
        Mnemonic::Push if i.kinds[0] == Kind::Seg => Some(Op::PushSeg),
        Mnemonic::Pop if i.kinds[0] == Kind::Seg => Some(Op::PopSeg),
        Mnemonic::Movsd if x.code() == Code::Movsd_m32_m32 => Some(Op::Movs),
        Mnemonic::Cmpsd if x.code() == Code::Cmpsd_m32_m32 => Some(Op::Cmps),
        Mnemonic::Call if far(x) => Some(Op::CallFar),
        Mnemonic::Jmp if far(x) => Some(Op::JmpFar),
        _ => None,
    };
    // What has no row is not announced: tests/complete.rs holds that.
    special.or_else(|| op_of(x.mnemonic())).ok_or(DecodeError::Invalid)
}

fn far(x: &Instruction) -> bool {
    use Code::*;
    matches!(x.op0_kind(), OpKind::FarBranch16 | OpKind::FarBranch32)
        || matches!(x.code(), Call_m1616 | Call_m1632 | Call_m1664 | Jmp_m1616 | Jmp_m1632 | Jmp_m1664)
}

/// The numbers in an instruction. Where there is no memory operand, `disp` is the second immediate.
#[derive(Default)]
struct Constants {
    imm: u64,
    disp: u64,
}

/// Lowers operand `n`; its integer width where it has one.
fn operand(i: &mut Insn, c: &mut Constants, x: &Instruction, n: u32) -> Option<Width> {
    let k = n as usize;
    match x.op_kind(n) {
        OpKind::Register => {
            let (kind, reg, width) = register(x.op_register(n));
            i.kinds[k] = kind;
            i.regs[k] = reg;
            width
        }
        OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64 => {
            i.kinds[k] = Kind::Imm;
            c.imm = x.near_branch_target().wrapping_sub(u64::from(i.off));
            None
        }
        OpKind::FarBranch16 => {
            i.kinds[k] = Kind::Imm;
            (c.imm, c.disp) = (u64::from(x.far_branch16()), u64::from(x.far_branch_selector()));
            Some(Width::W16)
        }
        OpKind::FarBranch32 => {
            i.kinds[k] = Kind::Imm;
            (c.imm, c.disp) = (u64::from(x.far_branch32()), u64::from(x.far_branch_selector()));
            Some(Width::W32)
        }
        OpKind::Immediate8_2nd => {
            c.disp = u64::from(x.immediate8_2nd());
            i.kinds[k] = Kind::Imm;
            None
        }
        OpKind::Immediate8
        | OpKind::Immediate16
        | OpKind::Immediate32
        | OpKind::Immediate64
        | OpKind::Immediate8to16
        | OpKind::Immediate8to32
        | OpKind::Immediate8to64
        | OpKind::Immediate32to64 => {
            i.kinds[k] = Kind::Imm;
            c.imm = x.immediate(n);
            None
        }
        OpKind::Memory => {
            i.kinds[k] = Kind::Mem;
            memory(i, c, x);
            memory_width(x.memory_size())
        }
        // String operands: implicit registers, an address width, and a segment for the source.
        kind => {
            i.set_addr_width(match kind {
                OpKind::MemorySegSI | OpKind::MemorySegDI | OpKind::MemoryESDI => Width::W16,
                OpKind::MemorySegESI | OpKind::MemorySegEDI | OpKind::MemoryESEDI => Width::W32,
                _ => Width::W64,
            });
            if !matches!(kind, OpKind::MemoryESDI | OpKind::MemoryESEDI | OpKind::MemoryESRDI) {
                segment(i, x.memory_segment());
            }
            memory_width(x.memory_size())
        }
    }
}

fn memory(i: &mut Insn, c: &mut Constants, x: &Instruction) {
    let base = x.memory_base();
    let index = x.memory_index();
    if matches!(base, Register::RIP | Register::EIP) {
        // Decoded with the block's start as address 0: the displacement is relative to that.
        i.base = BLOCK;
        c.disp = x.memory_displacement64();
        i.set_addr_width(if base == Register::EIP { Width::W32 } else { Width::W64 });
    } else {
        let (kind, b, width) = register(base);
        let (index_kind, x_reg, index_width) = register(index);
        i.base = if kind == Kind::Gpr { b } else { ZERO };
        i.index = if index_kind == Kind::Gpr { x_reg } else { ZERO };
        i.scale = x.memory_index_scale().trailing_zeros() as u8;
        c.disp = x.memory_displacement64();
        i.set_addr_width(width.or(index_width).unwrap_or_else(|| match x.memory_displ_size() {
            2 => Width::W16,
            4 if i.bits() != CodeSize::Bits64 => Width::W32,
            _ => Width::W64,
        }));
    }
    segment(i, x.memory_segment());
    if i.bits() == CodeSize::Bits64 && i.seg_base == ZERO && matches!(i.base, RSP | RBP) {
        i.space = STACK;
    }
}

/// Sets how memory is addressed through segment register `r`.
fn segment(i: &mut Insn, r: Register) {
    let s = match r {
        Register::ES => SegReg::Es,
        Register::CS => SegReg::Cs,
        Register::SS => SegReg::Ss,
        Register::FS => SegReg::Fs,
        Register::GS => SegReg::Gs,
        _ => SegReg::Ds,
    };
    if i.bits() != CodeSize::Bits64 {
        i.space = segment_space(s);
    } else if matches!(s, SegReg::Fs | SegReg::Gs) {
        i.seg_base = SEG_BASE + s as u8;
    }
}

/// Kind, number and integer width of a register.
fn register(r: Register) -> (Kind, u8, Option<Width>) {
    let n = |first: Register| (r as u32 - first as u32) as u8;
    let between = |a: Register, b: Register| (a as u32..=b as u32).contains(&(r as u32));
    use Register::{
        AL, AX, CR0, CR15, DR0, DR15, EAX, ES, GS, MM0, MM7, R15, R15D, R15L, R15W, RAX, ST0, ST7, XMM0, XMM15,
    };
    if between(AL, R15L) {
        return match n(AL) {
            k @ 0..=3 => (Kind::Gpr, k, Some(Width::W8)),
            k @ 4..=7 => (Kind::GprHigh, k - 4, Some(Width::W8)),
            k => (Kind::Gpr, k - 4, Some(Width::W8)), // SPL, BPL, SIL, DIL, R8L..
        };
    }
    if between(AX, R15W) {
        return (Kind::Gpr, n(AX), Some(Width::W16));
    }
    if between(EAX, R15D) {
        return (Kind::Gpr, n(EAX), Some(Width::W32));
    }
    if between(RAX, R15) {
        return (Kind::Gpr, n(RAX), Some(Width::W64));
    }
    if between(ES, GS) {
        return (Kind::Seg, n(ES), None);
    }
    if between(XMM0, XMM15) {
        return (Kind::Xmm, n(XMM0), None);
    }
    if between(CR0, CR15) {
        return (Kind::Cr, n(CR0), None);
    }
    if between(DR0, DR15) {
        return (Kind::Dr, n(DR0), None);
    }
    if between(ST0, ST7) {
        return (Kind::St, n(ST0), None);
    }
    if between(MM0, MM7) {
        return (Kind::Mm, n(MM0), None);
    }
    (Kind::None, 0, None)
}

fn memory_width(m: MemorySize) -> Option<Width> {
    use MemorySize::*;
    match m {
        UInt8 | Int8 => Some(Width::W8),
        UInt16 | Int16 | WordOffset | FpuEnv14 | FpuState94 => Some(Width::W16),
        UInt32 | Int32 | DwordOffset | FpuEnv28 | FpuState108 => Some(Width::W32),
        UInt64 | Int64 | QwordOffset => Some(Width::W64),
        SegPtr16 => Some(Width::W16),
        SegPtr32 => Some(Width::W32),
        SegPtr64 => Some(Width::W64),
        _ => None,
    }
}

/// Operand size of instructions whose operands do not tell it.
fn width_of(x: &Instruction, bits: CodeSize) -> Option<Width> {
    use Code::*;
    match x.op0_kind() {
        OpKind::NearBranch16 => return Some(Width::W16),
        OpKind::NearBranch32 => return Some(Width::W32),
        OpKind::NearBranch64 => return Some(Width::W64),
        OpKind::Immediate8to16 => return Some(Width::W16),
        OpKind::Immediate8to32 => return Some(Width::W32),
        OpKind::Immediate8to64 | OpKind::Immediate32to64 => return Some(Width::W64),
        _ => {}
    }
    match x.code() {
        Push_imm16 | Retnw | Retnw_imm16 | Retfw | Retfw_imm16 | Iretw | Enterw_imm16_imm8 | Leavew | Pushaw
        | Popaw | Pushfw | Popfw | Pushw_FS | Pushw_GS | Popw_FS | Popw_GS | Pushw_ES | Pushw_CS | Pushw_SS
        | Pushw_DS | Popw_ES | Popw_CS | Popw_SS | Popw_DS | Sgdt_m1632_16 | Sidt_m1632_16 | Lgdt_m1632_16
        | Lidt_m1632_16 | Call_m1616 | Jmp_m1616 | Cbw => Some(Width::W16),
        Pushd_imm32 | Retnd | Retnd_imm16 | Retfd | Retfd_imm16 | Iretd | Enterd_imm16_imm8 | Leaved | Pushad
        | Popad | Pushfd | Popfd | Pushd_FS | Pushd_GS | Popd_FS | Popd_GS | Pushd_ES | Pushd_CS | Pushd_SS
        | Pushd_DS | Popd_ES | Popd_SS | Popd_DS | Sgdt_m1632 | Sidt_m1632 | Lgdt_m1632 | Lidt_m1632 | Call_m1632
        | Jmp_m1632 | Cwde | Cdq | Sysretd | Sysexitd => Some(Width::W32),
        Pushq_imm32 | Retnq | Retnq_imm16 | Retfq | Retfq_imm16 | Iretq | Enterq_imm16_imm8 | Leaveq | Pushfq
        | Popfq | Pushq_FS | Pushq_GS | Popq_FS | Popq_GS | Sgdt_m1664 | Sidt_m1664 | Lgdt_m1664 | Lidt_m1664
        | Call_m1664 | Jmp_m1664 | Cdqe | Cqo | Sysretq | Sysexitq => Some(Width::W64),
        Cwd => Some(Width::W16),
        // In and out: the accumulator's width, whichever operand it is.
        Out_imm8_AL | Out_DX_AL => Some(Width::W8),
        Out_imm8_AX | Out_DX_AX => Some(Width::W16),
        Out_imm8_EAX | Out_DX_EAX => Some(Width::W32),
        // Moves of control and debug registers are always of the mode's full width.
        Mov_cr_r32 | Mov_cr_r64 | Mov_dr_r32 | Mov_dr_r64 => {
            Some(if bits == CodeSize::Bits64 { Width::W64 } else { Width::W32 })
        }
        _ => None,
    }
}

/// The width of the counter of LOOP and JCXZ: their address size.
fn counter_width(c: Code) -> Option<Width> {
    use Code::*;
    match c {
        Loop_rel8_16_CX | Loop_rel8_32_CX | Loope_rel8_16_CX | Loope_rel8_32_CX | Loopne_rel8_16_CX
        | Loopne_rel8_32_CX | Jcxz_rel8_16 | Jcxz_rel8_32 => Some(Width::W16),
        Loop_rel8_16_ECX | Loop_rel8_32_ECX | Loop_rel8_64_ECX | Loope_rel8_16_ECX | Loope_rel8_32_ECX
        | Loope_rel8_64_ECX | Loopne_rel8_16_ECX | Loopne_rel8_32_ECX | Loopne_rel8_64_ECX | Jecxz_rel8_16
        | Jecxz_rel8_32 | Jecxz_rel8_64 => Some(Width::W32),
        _ => None,
    }
}

/// The condition that a mnemonic names.
fn condition(m: Mnemonic) -> Cond {
    use Mnemonic::*;
    match m {
        Jo | Seto | Cmovo => Cond::O,
        Jno | Setno | Cmovno => Cond::No,
        Jb | Setb | Cmovb => Cond::B,
        Jae | Setae | Cmovae => Cond::Ae,
        Je | Sete | Cmove | Loope => Cond::E,
        Jne | Setne | Cmovne | Loopne => Cond::Ne,
        Jbe | Setbe | Cmovbe => Cond::Be,
        Ja | Seta | Cmova => Cond::A,
        Js | Sets | Cmovs => Cond::S,
        Jns | Setns | Cmovns => Cond::Ns,
        Jp | Setp | Cmovp => Cond::P,
        Jnp | Setnp | Cmovnp => Cond::Np,
        Jl | Setl | Cmovl => Cond::L,
        Jge | Setge | Cmovge => Cond::Ge,
        Jle | Setle | Cmovle => Cond::Le,
        Jg | Setg | Cmovg => Cond::G,
        _ => Cond::O,
    }
}
