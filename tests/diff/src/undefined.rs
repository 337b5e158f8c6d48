//! What the manual leaves undefined, instruction by instruction (SDM 2, "Flags Affected"), and so is not compared; and what one maker's
//! processors do against it, or by themselves where it says nothing. This is the whole list.

use iced_x86::{Code, Decoder, DecoderOptions, Instruction, MemorySize, Mnemonic, OpKind, Register};

use crate::{Case, segments};

const CF: u64 = 1;
const PF: u64 = 4;
const AF: u64 = 0x10;
const ZF: u64 = 0x40;
const SF: u64 = 0x80;
const OF: u64 = 0x800;

const C0: u16 = 0x100;
const C1: u16 = 0x200;
const C2: u16 = 0x400;
const C3: u16 = 0x4000;

/// An access that the interpreter makes and a processor may spare itself, with the access's fault.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Spared {
    /// The store of a result that an unmasked x87 exception keeps from its destination.
    StoppedStore,
    /// The upper half of the 32 bits on the stack that a selector has.
    SelectorsUpperHalf,
    /// BOUND's upper bound, where the index is below the lower one.
    UpperBound,
}

/// What to leave out of a comparison.
#[derive(Default)]
pub struct Ignore {
    pub flags: u64,
    /// All flags, where the instruction faults.
    pub flags_at_fault: bool,
    /// Registers that may have been loaded before a fault: a bit for each.
    pub partial_regs: u16,
    /// Registers whose upper half may have become 0: a bit for each.
    pub zero_extended: u16,
    /// Bits of the x87 status word.
    pub fsw: u16,
    /// What was written to memory before a fault.
    pub partial_writes: bool,
    /// All x87 state, where the instruction faults.
    pub x87_at_fault: bool,
    /// The vector result's 32-bit lanes are approximations, to a relative error of 1.5 * 2^-12.
    pub approximate: bool,
    /// Bytes of the vector result's lanes, where one that is a NaN may be another NaN.
    pub nans: Option<usize>,
    /// Which of several faults is raised.
    pub priority: bool,
    /// Which of two operands is accessed first, and so faults where both would.
    pub order: bool,
    pub spared: Option<Spared>,
    /// Units in the last place by which x87 registers may differ.
    pub st_ulp: u128,
}

/// The count operand of a shift or rotate, masked as the processor does.
fn count(case: &Case, i: &Instruction) -> u64 {
    let last = i.op_count() - 1;
    let raw = match i.op_kind(last) {
        OpKind::Immediate8 => i.immediate(last),
        _ => case.state.regs[1],
    };
    let bits = operand_bits(i);
    raw & if bits == 64 { 63 } else { 31 }
}

fn operand_bits(i: &Instruction) -> u64 {
    match i.op0_kind() {
        OpKind::Register => match i.op0_register() as u32 {
            r if r <= Register::R15L as u32 => 8,
            r if r <= Register::R15W as u32 => 16,
            r if r <= Register::R15D as u32 => 32,
            _ => 64,
        },
        _ => match i.memory_size() {
            MemorySize::UInt8 | MemorySize::Int8 => 8,
            MemorySize::UInt16 | MemorySize::Int16 => 16,
            MemorySize::UInt32 | MemorySize::Int32 => 32,
            _ => 64,
        },
    }
}

/// Whether `i` pushes or pops a segment register by 32 bits.
fn is_32_bit_selector(i: &Instruction) -> bool {
    use Code::*;
    matches!(i.code(), Pushd_ES | Pushd_CS | Pushd_SS | Pushd_DS | Pushd_FS | Pushd_GS)
        || matches!(i.code(), Popd_ES | Popd_SS | Popd_DS | Popd_FS | Popd_GS)
}

fn is_mmx(r: Register) -> bool {
    (Register::MM0 as u32..=Register::MM7 as u32).contains(&(r as u32))
}

/// Whether `i` is repeated and its pointers are ESI or EDI in 64-bit code.
fn repeats_short(case: &Case, i: &Instruction) -> bool {
    let short = |n| matches!(i.op_kind(n), OpKind::MemorySegESI | OpKind::MemoryESEDI);
    case.bits == 64 && (i.has_rep_prefix() || i.has_repne_prefix()) && (0..i.op_count()).any(short)
}

/// What is undefined after `case`.
pub fn of(case: &Case) -> Ignore {
    let i = Decoder::with_ip(case.bits, &case.bytes, 0, DecoderOptions::NONE).decode();
    let mut ignore = Ignore::default();
    // Operands that are misaligned and beyond their segment's limit, or that the processor reads or writes in parts, of which one is
    // beyond the limit and another not present (SDM 3 table 6-2: faults from executing an instruction have no order).
    let size = format!("{:?}", i.memory_size());
    ignore.priority = case.bits != 64 && ["128", "Bcd", "Float80"].iter().any(|s| size.contains(s));
    if repeats_short(case, &i) {
        // RCX, RSI, RDI. Intel's processors write ECX, ESI and EDI even where no iteration completes.
        ignore.zero_extended = 1 << 1 | 1 << 6 | 1 << 7;
    }
    use Mnemonic::*;
    match i.mnemonic() {
        // Flags: "Flags Affected" on each instruction's page of SDM 2 names those left undefined, for which counts, and no others.
        And | Or | Xor | Test => ignore.flags = AF,
        Shl | Sal | Shr | Sar => {
            let n = count(case, &i);
            if n != 0 {
                ignore.flags = AF;
                if n != 1 {
                    ignore.flags |= OF;
                }
                if n >= operand_bits(&i) && i.mnemonic() != Sar {
                    ignore.flags |= CF;
                }
            }
        }
        Shld | Shrd => {
            let n = count(case, &i);
            if n != 0 {
                ignore.flags = AF;
                if n != 1 {
                    ignore.flags |= OF;
                }
            }
        }
        Rol | Ror | Rcl | Rcr if count(case, &i) != 1 => ignore.flags = OF,
        Mul | Imul => ignore.flags = SF | ZF | AF | PF,
        Div | Idiv => ignore.flags = CF | OF | SF | ZF | AF | PF,
        // Of the destination for a source of 0: both makers' processors leave it as it was, which AMD documents.
        Bsf | Bsr => ignore.flags = CF | OF | SF | AF | PF,
        Bt | Bts | Btr | Btc => ignore.flags = OF | SF | AF | PF,
        Daa | Das => ignore.flags = OF,
        Aaa | Aas => ignore.flags = OF | SF | ZF | PF,
        Aam | Aad => ignore.flags = OF | AF | CF,
        // How much is there when a later push faults is the model's: the instruction is restarted (SDM 3 6.5, faults).
        Enter | Pusha | Pushad => ignore.partial_writes = true,
        // A push of 32 bits may be a move of 16 (SDM 2 PUSH), as it is on Intel's processors, which read no more for a pop either.
        Push | Pop if is_32_bit_selector(&i) => ignore.spared = Some(Spared::SelectorsUpperHalf),
        // The stack is read again when the instruction is restarted (SDM 2 POPA): what was popped before a fault is the model's.
        Popa | Popad => ignore.partial_regs = 0xff,
        // Both makers' processors push before they find the target beyond the segment's limit (SDM 2 CALL has it the other way round).
        Call => {
            ignore.partial_writes = true;
            ignore.priority = true;
        }
        // In which order the frame is read (SDM 3 table 6-2, as above).
        Ret | Retf | Iret | Iretd => {
            ignore.priority = true;
            // Intel's processors read 16 bits (SDM 2 RET has 32 of them within the limit).
            if matches!(i.code(), Code::Retfd | Code::Retfd_imm16) {
                ignore.spared = Some(Spared::SelectorsUpperHalf);
            }
        }
        // Two operands are read, in no order that the manual tells (SDM 3 table 6-2, as above); models differ in it. And as SCAS.
        Cmpsb | Cmpsw | Cmpsd | Cmpsq if i.op0_kind() != OpKind::Register => {
            ignore.order = true;
            ignore.flags_at_fault = i.has_rep_prefix() || i.has_repne_prefix();
        }
        // A fault restores the flags of before the instruction (SDM 2 REP); AMD's processors leave those of the iteration before it.
        Scasb | Scasw | Scasd | Scasq => ignore.flags_at_fault = i.has_rep_prefix() || i.has_repne_prefix(),
        // Intel's processors read the upper bound last, if at all: #BR and an operand's fault have no order (SDM 3 table 6-2, as above).
        Bound => ignore.spared = Some(Spared::UpperBound),
        // Of 16 bytes, Intel's processors access the upper eight first: which page's fault it is has no order either.
        Maskmovdqu => ignore.order = true,
        // Intel's processors have done what all MMX instructions do to the x87 state (SDM 1 9.5.1) before these fault,
        Movd | Movq | Movntq if i.op0_kind() == OpKind::Memory && is_mmx(i.op1_register()) => {
            ignore.x87_at_fault = true;
        }
        // and both makers' before these do.
        Maskmovq | Cvtpi2ps | Cvtps2pi | Cvttps2pi | Cvtpd2pi | Cvttpd2pi => ignore.x87_at_fault = true,
        // Approximations: the manual bounds their error (SDM 2 RCPPS, RSQRTPS), models differ in how they stay within.
        Rcpps | Rcpss | Rsqrtps | Rsqrtss => ignore.approximate = true,
        // Which product's NaN comes out, and in which lane, is implementation-dependent (SDM 2 DPPS).
        Dpps => ignore.nans = Some(4),
        Dppd => ignore.nans = Some(8),
        // Intel's processors raise an exception before the operand's fault, which have no order (SDM 3 table 6-2, as above); of ten bytes they
        // store eight before they meet the fault of the others.
        Fst | Fstp | Fist | Fistp | Fisttp | Fbstp if i.op0_kind() == OpKind::Memory => {
            ignore.spared = Some(Spared::StoppedStore);
            ignore.partial_writes = matches!(i.memory_size(), MemorySize::Float80 | MemorySize::Bcd);
        }
        // An unmasked invalid or denormal operand leaves the condition codes alone (SDM 2 FCOM); both makers' processors set them.
        Fcom | Fcomp | Fcompp | Fucom | Fucomp | Fucompp | Ftst | Ficom | Ficomp if case.state.fx[0] & 3 != 3 => {
            ignore.fsw = C0 | C2 | C3;
        }
        // C1 is set to 0 (SDM 2 FCOMI); both makers' processors leave it.
        Fcomi | Fcomip | Fucomi | Fucomip => {
            ignore.fsw = C1;
            if case.state.fx[0] & 3 != 3 {
                ignore.flags = CF | PF | AF | ZF | SF | OF;
            }
        }
        // Transcendental results are good to a unit in the last place (SDM 1 8.3.10), and C1 says how they were rounded.
        Fsin | Fcos | Fsincos | Fptan | Fpatan | F2xm1 | Fyl2x | Fyl2xp1 => {
            ignore.fsw = C1;
            ignore.st_ulp = 1;
        }
        _ => {}
    }
    ignore
}

/// Whether a case must not be run at all: its result itself is undefined.
pub fn wholly(case: &Case, i: &Instruction) -> bool {
    match i.mnemonic() {
        // SHLD and SHRD of 16 bits by more than 16 (SDM 2 SHLD).
        Mnemonic::Shld | Mnemonic::Shrd => count(case, i) > operand_bits(i),
        // PAUSE with REX.B, which is ignored (SDM 2 2.2.1): AMD's processors exchange RAX and R8.
        Mnemonic::Pause => case.bytes.iter().any(|b| b & 0xf1 == 0x41),
        // A repeat prefix before LOOPE, LOOPNE is reserved (SDM 2 2.1.1): AMD's processors take the condition from it.
        Mnemonic::Loope | Mnemonic::Loopne => i.has_rep_prefix() || i.has_repne_prefix(),
        // RETF n that carries out of a 16-bit SP: AMD's processors carry into the upper half of ESP (SDM 2 RET adds to SP).
        Mnemonic::Retf if case.bits != 64 && i.op_count() == 1 => {
            !segments::big(case.state.seg[2]) && (case.state.regs[4] & 0xffff) + 8 + i.immediate(0) > 0xffff
        }
        // A denormal scaled by 0, or its remainder of infinity, with underflow unmasked: on Intel's processors the operand, on AMD's an underflow.
        Mnemonic::Fscale | Mnemonic::Fprem | Mnemonic::Fprem1 if case.state.fx[0] & 0x10 == 0 => {
            let [st0, st1] =
                [32, 48].map(|at| u128::from_le_bytes(case.state.fx[at..at + 16].try_into().expect("16 bytes")));
            let special = if i.mnemonic() == Mnemonic::Fscale { 0 } else { 0x7fff << 64 | 1 << 63 };
            st0 >> 64 & 0x7fff == 0 && st1 & !(1 << 79) == special
        }
        // FYL2XP1 of what is not in ±(1 - √½) (SDM 2 FYL2XP1). 0x3ffd is the exponent of a quarter.
        Mnemonic::Fyl2xp1 => u16::from_le_bytes([case.state.fx[40], case.state.fx[41]]) & 0x7fff > 0x3ffc,
        _ => false,
    }
}
