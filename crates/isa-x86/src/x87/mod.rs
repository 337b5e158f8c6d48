//! The x87 FPU (SDM 1 chapter 8) and the MMX registers that alias it.

mod image;
mod ops;

pub use image::FX_AREA;
pub(crate) use ops::wait;
pub use ops::{emms, execute, fwait};

use softfloat::{Env80, F80, flag};

/// Status word bits (SDM 1 8.1.3). The six lowest are [`flag`]'s.
mod status {
    /// Stack fault: an invalid operation was one of the register stack.
    pub const SF: u16 = 1 << 6;
    /// Exception summary: a flagged exception is unmasked.
    pub const ES: u16 = 1 << 7;
    pub const C0: u16 = 1 << 8;
    pub const C1: u16 = 1 << 9;
    pub const C2: u16 = 1 << 10;
    pub const TOP_SHIFT: u16 = 11;
    pub const TOP: u16 = 7 << TOP_SHIFT;
    pub const C3: u16 = 1 << 14;
    /// Busy: the same as ES.
    pub const B: u16 = 1 << 15;
    /// What FNCLEX clears.
    pub const CLEARED: u16 = 0x3f | SF | ES | B;
}

/// The control word's bits that can be written; bit 6 is always set (SDM 1 8.1.5).
const CONTROL_WRITABLE: u16 = 0x1f3f;
const CONTROL_FIXED: u16 = 0x40;
/// The control word after FNINIT.
const CONTROL_INITIAL: u16 = 0x37f;
/// Bits of FOP.
const OPCODE: u16 = 0x7ff;

/// x87 state. Registers are by physical number; ST(i) is register (TOP + i) mod 8.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fpu {
    /// Significands: the MMX registers.
    pub significand: [u64; 8],
    /// Sign (bit 15) and biased exponent.
    pub sign_exp: [u16; 8],
    pub control: u16,
    /// Status word; TOP is bits 13:11.
    pub status: u16,
    /// A bit set for each register that is not empty (the abridged tag word of FXSAVE).
    pub valid: u8,
    /// Last instruction's opcode (11 bits), its pointer and its operand's.
    pub opcode: u16,
    pub ip: u64,
    pub dp: u64,
    pub cs: u16,
    pub ds: u16,
}

impl Default for Fpu {
    /// The state after RESET/FNINIT.
    fn default() -> Fpu {
        Fpu {
            significand: [0; 8],
            sign_exp: [0; 8],
            control: CONTROL_INITIAL,
            status: 0,
            valid: 0,
            opcode: 0,
            ip: 0,
            dp: 0,
            cs: 0,
            ds: 0,
        }
    }
}

impl Fpu {
    /// An MMX instruction other than EMMS was executed: all registers become valid and TOP 0 (SDM 1 9.5.1). The instruction
    /// also sets the sign and exponent of a register that it writes to all ones.
    #[inline]
    pub fn enter_mmx(&mut self) {
        self.status &= !status::TOP;
        self.valid = 0xff;
    }

    /// EMMS: all registers become empty.
    #[inline]
    pub fn leave_mmx(&mut self) {
        self.status &= !status::TOP;
        self.valid = 0;
    }

    /// An unmasked exception waits for the next waiting instruction, which raises #MF.
    #[inline]
    pub fn exception_pending(&self) -> bool {
        self.status & status::ES != 0
    }

    /// FNINIT. Registers keep their contents, but are empty.
    pub fn init(&mut self) {
        *self = Fpu { significand: self.significand, sign_exp: self.sign_exp, ..Fpu::default() };
    }

    #[inline]
    fn physical(&self, i: u8) -> usize {
        usize::from(((self.status >> status::TOP_SHIFT) as u8).wrapping_add(i) & 7)
    }

    /// The contents of ST(i), empty or not.
    #[inline]
    fn st(&self, i: u8) -> F80 {
        let p = self.physical(i);
        F80 { m: self.significand[p], se: self.sign_exp[p] }
    }

    #[inline]
    fn is_empty(&self, i: u8) -> bool {
        self.valid >> self.physical(i) & 1 == 0
    }

    /// Writes ST(i), which is valid then.
    #[inline]
    fn set(&mut self, i: u8, v: F80) {
        let p = self.physical(i);
        (self.significand[p], self.sign_exp[p]) = (v.m, v.se);
        self.valid |= 1 << p;
    }

    fn free(&mut self, i: u8) {
        self.valid &= !(1 << self.physical(i));
    }

    /// Moves TOP by `by`, modulo 8.
    #[inline]
    fn rotate(&mut self, by: u16) {
        let top = self.status.wrapping_add(by << status::TOP_SHIFT) & status::TOP;
        self.status = self.status & !status::TOP | top;
    }

    #[inline]
    fn push(&mut self, v: F80) {
        self.rotate(7);
        self.set(0, v);
    }

    #[inline]
    fn pop(&mut self) {
        self.free(0);
        self.rotate(1);
    }

    #[inline]
    fn env(&self) -> Env80 {
        Env80::new(self.control)
    }

    /// Merges what an operation raised into the status word; C1 says how it rounded.
    #[inline]
    fn commit(&mut self, env: &Env80) {
        self.status = self.status & !status::C1 | env.raised as u16 | if env.c1 { status::C1 } else { 0 };
        if env.unmasked() != 0 {
            self.status |= status::ES | status::B;
        }
    }

    /// Makes ES and B what flags and masks say.
    fn summarize(&mut self) {
        self.status &= !(status::ES | status::B);
        if self.status & !self.control & 0x3f != 0 {
            self.status |= status::ES | status::B;
        }
    }

    /// Flags a stack overflow (C1 set) or underflow; true if the masked response is to be given (SDM 1 8.5.1.1).
    #[cold]
    fn stack_fault(&mut self, overflow: bool) -> bool {
        let mut env = self.env();
        (env.raised, env.c1) = (flag::IE, overflow);
        self.commit(&env);
        self.status |= status::SF;
        env.unmasked() == 0
    }

    fn set_control(&mut self, v: u16) {
        self.control = v & CONTROL_WRITABLE | CONTROL_FIXED;
        self.summarize();
    }
}
