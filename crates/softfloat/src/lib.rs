//! IEEE 754 and x87 floating point in software, bit for bit as an x86 processor computes it.
//!
//! * [`sse`]: `f32` and `f64` operations under an MXCSR ([`Env`]), as SSE instructions do them. Each has an inlined fast path
//!   on the host's own arithmetic and an exact path in integer arithmetic.
//! * [`f80`]: the x87 double-extended format under a control word ([`Env80`]).
//!
//! Section numbers are those of the Intel SDM volume 1 (chapters 4, 8 and 11) unless another source is named.
#![forbid(unsafe_code)]

mod ieee;
mod num;
mod trans;

pub mod f80;
pub mod sse;

pub use f80::{Env80, F80};
pub use num::Round;

/// Exception flags, at the bit positions they have in MXCSR, the x87 status word and (as masks) the x87 control word.
pub mod flag {
    /// Invalid operation.
    pub const IE: u32 = 1;
    /// Denormal operand.
    pub const DE: u32 = 1 << 1;
    /// Division of a finite number by zero.
    pub const ZE: u32 = 1 << 2;
    /// Overflow.
    pub const OE: u32 = 1 << 3;
    /// Underflow.
    pub const UE: u32 = 1 << 4;
    /// Precision: the result is inexact.
    pub const PE: u32 = 1 << 5;
    /// The pre-computation exceptions: when one of these is unmasked no result is computed.
    pub const PRE: u32 = IE | DE | ZE;
    /// All six.
    pub const ALL: u32 = 0x3f;
}

/// MXCSR bits other than the exception flags (10.2.3).
pub mod mxcsr {
    /// Denormals are zeros.
    pub const DAZ: u32 = 1 << 6;
    /// Position of the six exception masks.
    pub const MASK_SHIFT: u32 = 7;
    /// Position of the rounding control.
    pub const RC_SHIFT: u32 = 13;
    /// Flush to zero.
    pub const FTZ: u32 = 1 << 15;
    /// The value at reset: everything masked, round to nearest.
    pub const RESET: u32 = 0x1f80;
}

/// The SSE environment of one instruction: the MXCSR it began with and the exceptions its operations raised.
///
/// Load it from MXCSR, run the instruction's operations (one an element), then call [`Env::finish`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Env {
    /// MXCSR.
    pub mxcsr: u32,
    /// Exceptions ([`flag`]) raised since the environment was made and not yet merged by [`Env::finish`].
    pub raised: u32,
}

impl Env {
    /// The environment of an instruction that begins with this MXCSR.
    #[inline(always)]
    pub const fn new(mxcsr: u32) -> Self {
        Self { mxcsr, raised: 0 }
    }

    /// The rounding mode.
    #[inline(always)]
    pub const fn round(&self) -> Round {
        Round::from_bits(self.mxcsr >> mxcsr::RC_SHIFT)
    }

    /// The raised exceptions that are not masked.
    #[inline(always)]
    pub const fn unmasked(&self) -> u32 {
        self.raised & !(self.mxcsr >> mxcsr::MASK_SHIFT)
    }

    /// Merges the raised exceptions into MXCSR's sticky flags; true if one is unmasked, when the instruction must leave its
    /// destination unchanged and raise #XM. An unmasked pre-computation exception of any element keeps the post-computation
    /// exceptions of all elements from being signalled (11.5.3).
    #[inline(always)]
    #[must_use]
    pub fn finish(&mut self) -> bool {
        if self.raised == 0 {
            return false;
        }
        let unmasked = self.unmasked();
        if unmasked & flag::PRE != 0 {
            self.raised &= flag::PRE;
        }
        self.mxcsr |= self.raised;
        self.raised = 0;
        unmasked != 0
    }

    #[inline(always)]
    pub(crate) fn raise(&mut self, flags: u32) {
        self.raised |= flags;
    }

    /// Raises pre-computation exceptions; true if the operation must not go on.
    #[inline(always)]
    pub(crate) fn raise_pre(&mut self, flags: u32) -> bool {
        self.raised |= flags;
        flags & !(self.mxcsr >> mxcsr::MASK_SHIFT) != 0
    }
}
