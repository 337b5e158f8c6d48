//! The x87 FPU (SDM 1 chapter 8) and the MMX registers that alias it.

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
            control: 0x37f,
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
