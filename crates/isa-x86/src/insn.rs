//! The decoded instruction: everything static about it, compact, position-independent.

use guest_api::{Cond, Space, Width};

use crate::cpu::{CodeSize, SegReg, ZERO};
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

/// A decoded instruction. (As decoded code keeps it, it is half as large: `interp/packed.rs`.)
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C, align(32))]
pub struct Insn {
    /// The displacement of a memory operand; where there is none, the immediate.
    wide: u64,
    /// The immediate beside a memory operand; where there is none, the second immediate.
    narrow: u32,
    /// Distance in bytes from the block's first instruction.
    pub off: u16,
    /// Length in bytes, 1..=15.
    pub len: u8,
    // These eight bytes side by side are nearly all of a form ([`Insn::form`]).
    pub op: Op,
    pub cc: Cond,
    pub kinds: [Kind; OPERANDS],
    pub widths: Widths,
    pub mode: Mode,
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

/// The widths of an instruction, in two bits each. The arms of the interpreter's loop know most of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Widths(u8);

/// The size of code that an instruction was decoded for, in two bits, and its prefixes ([`prefix`]).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mode(u8);

/// The width of number `n`, of which two bits count.
#[inline(always)]
pub(crate) const fn width_of(n: u8) -> Width {
    match n & 3 {
        0 => Width::W8,
        1 => Width::W16,
        2 => Width::W32,
        _ => Width::W64,
    }
}

/// Whether one of the operands is memory.
#[inline(always)]
pub(crate) const fn has_memory([a, b, c]: [Kind; OPERANDS]) -> bool {
    matches!(a, Kind::Mem) || matches!(b, Kind::Mem) || matches!(c, Kind::Mem)
}

/// Whether one of the operands is an immediate.
#[inline(always)]
pub(crate) const fn has_immediate([a, b, c]: [Kind; OPERANDS]) -> bool {
    matches!(a, Kind::Imm) || matches!(b, Kind::Imm) || matches!(c, Kind::Imm)
}

impl Widths {
    /// Those of an instruction with addresses and a stack pointer of 64 bits.
    #[inline(always)]
    pub(crate) const fn flat(width: Width, src: Width) -> Widths {
        Widths(src as u8 | (width as u8) << 2 | 0xf0)
    }
    #[inline(always)]
    const fn get(self, n: u32) -> Width {
        width_of(self.0 >> (2 * n))
    }
    #[inline(always)]
    const fn with(self, n: u32, w: Width) -> Widths {
        Widths(self.0 & !(3 << (2 * n)) | (w as u8) << (2 * n))
    }
}

impl Mode {
    pub(crate) const fn new(bits: CodeSize, prefix: u8) -> Mode {
        Mode(bits as u8 | prefix << 2)
    }
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

const _: () = assert!(size_of::<Insn>() == 32, "what the decoder writes for each instruction");

impl Insn {
    /// No instruction: no operand, 64-bit mode.
    pub(crate) const BLANK: Insn = Insn {
        wide: 0,
        narrow: 0,
        op: Op::None,
        off: 0,
        len: 0,
        cc: Cond::O,
        kinds: [Kind::None; OPERANDS],
        regs: [0; OPERANDS],
        base: ZERO,
        index: ZERO,
        scale: 0,
        seg_base: ZERO,
        space: Space::FLAT,
        widths: Widths::flat(Width::W64, Width::W64),
        mode: Mode::new(CodeSize::Bits64, 0),
    };

    /// Immediate, of which the operand size counts; for near branches the target relative to this instruction's first byte.
    #[inline(always)]
    pub const fn imm(&self) -> u64 {
        if has_memory(self.kinds) { self.narrow as i32 as u64 } else { self.wide }
    }
    /// Displacement of the memory operand, sign-extended; where it is relative to RIP, to the block's first byte.
    #[inline(always)]
    pub const fn disp(&self) -> u64 {
        self.wide
    }
    /// The second immediate: ENTER's level, a far pointer's selector.
    #[inline(always)]
    pub const fn second_imm(&self) -> u16 {
        self.narrow as u16
    }
    /// Sets the immediate, and the displacement or, where [`Insn::kinds`] has no memory operand, the second immediate. There is no immediate of
    /// more than 32 significant bits beside a memory operand.
    #[inline(always)]
    pub(crate) const fn set_constants(&mut self, imm: u64, disp: u64) {
        (self.wide, self.narrow) = if has_memory(self.kinds) { (disp, imm as u32) } else { (imm, disp as u32) };
    }
    /// What it has in common with others, as a number: all but registers (the third is part of it) and the index's shift, constants, place
    /// and length.
    #[inline(always)]
    pub(crate) fn form(&self) -> u64 {
        let ([op, more], [a, b, c]) = ((self.op as u16).to_le_bytes(), self.kinds.map(|k| k as u8));
        let bytes = u64::from_le_bytes([op, more, self.cc as u8, a, b, c, self.widths.0, self.mode.0]);
        // A condition and a kind take half a byte each: there is room for four times four bits above them.
        let third = u64::from(self.regs[2]);
        let (segment, space) = (u64::from(self.seg_base.wrapping_sub(ZERO)), u64::from(self.space.0));
        bytes | segment << 20 | space << 28 | (third & 15) << 36 | third >> 4 << 44
    }
    /// Sets the two constants as they are kept: see the fields.
    #[inline(always)]
    pub(crate) const fn set_wide_and_narrow(&mut self, wide: u64, narrow: u32) {
        (self.wide, self.narrow) = (wide, narrow);
    }
    /// The same, `by` bytes further on in memory.
    pub(crate) const fn moved(&self, by: u64) -> Insn {
        let mut moved = *self;
        moved.wide = moved.wide.wrapping_add(by);
        moved
    }

    /// Operand size: of the first operand, or of what is pushed, popped, compared, moved.
    #[inline(always)]
    pub const fn width(&self) -> Width {
        self.widths.get(1)
    }
    /// Size of the source where it differs (MOVZX, MOVSX, CRC32).
    #[inline(always)]
    pub const fn src_width(&self) -> Width {
        self.widths.get(0)
    }
    #[inline(always)]
    pub const fn addr_width(&self) -> Width {
        self.widths.get(2)
    }
    /// Width of the stack pointer: 64 in 64-bit mode, else by SS.B.
    #[inline(always)]
    pub const fn stack_width(&self) -> Width {
        self.widths.get(3)
    }
    pub(crate) const fn set_width(&mut self, width: Width, src: Width) {
        self.widths = self.widths.with(1, width).with(0, src);
    }
    pub(crate) const fn set_addr_width(&mut self, width: Width) {
        self.widths = self.widths.with(2, width);
    }
    pub(crate) const fn set_stack_width(&mut self, width: Width) {
        self.widths = self.widths.with(3, width);
    }
    #[inline(always)]
    pub const fn bits(&self) -> CodeSize {
        match self.mode.0 & 3 {
            0 => CodeSize::Bits16,
            1 => CodeSize::Bits32,
            _ => CodeSize::Bits64,
        }
    }
    #[inline(always)]
    pub const fn has(&self, p: u8) -> bool {
        self.mode.0 >> 2 & p != 0
    }

    /// Nothing is decoded behind it: it may go elsewhere, change the mode, or must be seen by the interpreter's loop.
    pub const fn ends_block(&self) -> bool {
        const REPEATED: u8 = prefix::REP | prefix::REPNE;
        let string = matches!(self.op, Op::Movs | Op::Cmps | Op::Stos | Op::Lods | Op::Scas);
        ends_block(self.op) || (string && self.has(REPEATED))
    }
    /// A near jump or call to an address that is computed.
    pub(crate) const fn jumps_computed(&self) -> bool {
        matches!(self.op, Op::Jmp | Op::Call) && !matches!(self.kinds[0], Kind::Imm)
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
        block_pc.wrapping_add(u64::from(self.off)).wrapping_add(self.imm()) & self.width().mask()
    }
    /// The instruction pointer wraps at 32 bits outside 64-bit mode. (At 16 bits it does not wrap but faults: no block goes beyond the limit.)
    #[inline(always)]
    fn mask_ip(&self, ip: u64) -> u64 {
        if self.bits() as u8 == CodeSize::Bits64 as u8 { ip } else { ip & 0xffff_ffff }
    }
    /// Space of implicit accesses to the stack.
    #[inline(always)]
    pub fn stack(&self) -> Space {
        if self.bits() as u8 == CodeSize::Bits64 as u8 { STACK } else { segment_space(SegReg::Ss) }
    }
}
