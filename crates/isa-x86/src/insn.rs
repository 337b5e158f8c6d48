//! The decoded instruction: everything static about it, compact, position-independent.

use guest_api::{Cond, Space, Width};

use crate::cpu::{CodeSize, SegReg, ZERO};
use crate::interp::NO_ARM;
use crate::table::{Op, ends_block};

/// What an operand is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum Kind {
    #[default]
    None,
    /// General register (low part of [`Insn::width`]).
    Gpr,
    /// AH, CH, DH, BH: bits 15:8 of register 0..=3.
    GprHigh,
    Mem,
    /// [`Insn::imm`], sign-extended to 64 bits where the manual says so.
    Imm,
    Seg,
    Cr,
    Dr,
    Xmm,
    Mm,
    St,
}

/// Prefix bits that matter after decoding.
pub mod prefix {
    pub const LOCK: u8 = 1;
    /// F3, as REP or REPE.
    pub const REP: u8 = 2;
    /// F2, as REPNE.
    pub const REPNE: u8 = 4;
}

/// Operands of an instruction at most.
pub const OPERANDS: usize = 3;

/// A decoded instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Insn {
    /// Immediate; for near branches the target relative to this instruction's first byte.
    pub imm: u64,
    /// Displacement, sign-extended; for RIP-relative operands relative to the block's first byte. Where there is no memory operand:
    /// the second immediate (ENTER's level, a far pointer's selector).
    pub disp: u64,
    pub op: Op,
    /// Distance in bytes from the block's first instruction.
    pub off: u16,
    /// The arm of the interpreter's loop.
    pub hot: u8,
    /// Length in bytes, 1..=15.
    pub len: u8,
    /// Operand size: of the first operand, or of what is pushed, popped, compared, moved.
    pub width: Width,
    /// Size of the source where it differs (MOVZX, MOVSX, CRC32).
    pub src_width: Width,
    pub addr_width: Width,
    /// Width of the stack pointer: 64 in 64-bit mode, else by SS.B.
    pub stack_width: Width,
    pub bits: CodeSize,
    pub prefix: u8,
    pub cc: Cond,
    pub kinds: [Kind; OPERANDS],
    pub regs: [u8; OPERANDS],
    /// Slot of the base register, [`ZERO`] for none.
    pub base: u8,
    pub index: u8,
    /// Shift of the index, 0..=3.
    pub scale: u8,
    /// Slot added to the address: the base of FS or GS in 64-bit mode, else [`ZERO`].
    pub seg_base: u8,
    /// How memory operands are addressed.
    pub space: Space,
}

/// Flat addresses whose faults are #SS: RSP- or RBP-based in 64-bit mode.
pub const STACK: Space = Space(1);

/// The space of segment `s` outside 64-bit mode: base, limit and type apply.
pub const fn segment_space(s: SegReg) -> Space {
    Space(2 + s as u8)
}

/// The segment of a space made by [`segment_space`].
pub const fn space_segment(s: Space) -> Option<SegReg> {
    if s.0 < 2 { None } else { Some(SegReg::ALL[(s.0 as usize - 2) % 6]) }
}

impl Default for Insn {
    fn default() -> Insn {
        Insn::BLANK
    }
}

const _: () = assert!(size_of::<Insn>() == 40, "a million of them are kept");

impl Insn {
    /// No instruction: no operand, 64-bit mode.
    pub(crate) const BLANK: Insn = Insn {
        imm: 0,
        disp: 0,
        op: Op::None,
        off: 0,
        hot: NO_ARM,
        len: 0,
        width: Width::W64,
        src_width: Width::W64,
        addr_width: Width::W64,
        stack_width: Width::W64,
        bits: CodeSize::Bits64,
        prefix: 0,
        cc: Cond::O,
        kinds: [Kind::None; OPERANDS],
        regs: [0; OPERANDS],
        base: ZERO,
        index: ZERO,
        scale: 0,
        seg_base: ZERO,
        space: Space::FLAT,
    };

    /// Nothing is decoded behind it: it may go elsewhere, change the mode, or must be seen by the interpreter's loop.
    pub const fn ends_block(&self) -> bool {
        const REPEATED: u8 = prefix::REP | prefix::REPNE;
        let string = matches!(self.op, Op::Movs | Op::Cmps | Op::Stos | Op::Lods | Op::Scas);
        ends_block(self.op) || (string && self.has(REPEATED))
    }
    #[inline(always)]
    pub const fn has(&self, p: u8) -> bool {
        self.prefix & p != 0
    }
    /// Address of this instruction (offset in CS) in a block at `block_pc`.
    #[inline(always)]
    pub fn pc(&self, block_pc: u64) -> u64 {
        self.mask_ip(block_pc.wrapping_add(u64::from(self.off)))
    }
    /// Address of the next instruction.
    #[inline(always)]
    pub fn next_pc(&self, block_pc: u64) -> u64 {
        self.mask_ip(block_pc.wrapping_add(u64::from(self.off) + u64::from(self.len)))
    }
    /// Target of this near branch.
    #[inline(always)]
    pub fn target(&self, block_pc: u64) -> u64 {
        block_pc.wrapping_add(u64::from(self.off)).wrapping_add(self.imm) & self.width.mask()
    }
    /// The instruction pointer wraps at 32 bits outside 64-bit mode. (At 16 bits it does not wrap but faults; a block never gets there.)
    #[inline(always)]
    fn mask_ip(&self, ip: u64) -> u64 {
        if self.bits as u8 == CodeSize::Bits64 as u8 { ip } else { ip & 0xffff_ffff }
    }
    /// Space of implicit accesses to the stack.
    #[inline(always)]
    pub fn stack(&self) -> Space {
        if self.bits as u8 == CodeSize::Bits64 as u8 { STACK } else { segment_space(SegReg::Ss) }
    }
}
