//! The vocabulary in which guest instruction semantics are written, once, for every tier.
//!
//! A guest instruction's meaning is one function generic over [`Emit`]. Instantiated with an executing implementation
//! (values are `u64`) it is the interpreter; with a recording one (values are IR temporaries) it is the translator; with a
//! checking one it proves the law of precise faults: *load, compute, store, then commit registers and flags*.
//!
//! What is static (the decoded instruction: widths, register numbers, prefixes, the PC) may be branched on with `if`.
//! What is dynamic ([`Emit::V`], [`Emit::C`]) cannot: the types are opaque, so such a mistake does not compile.
#![forbid(unsafe_code)]

mod flags;
mod float;
mod integer;
mod listed;
mod tier;
mod vector;
pub use flags::*;
pub use float::*;
pub use integer::signed_product_overflows;
use listed::listed;
pub use listed::{Listed, dotted};
pub use tier::*;
pub use vector::*;

listed! {
/// Width of an integer operand.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
#[repr(u8)]
pub enum Width {
    W8 = 0,
    W16 = 1,
    W32 = 2,
    #[default]
    W64 = 3,
}
}

impl Width {
    /// Size in bytes: 1, 2, 4 or 8.
    #[inline(always)]
    pub const fn bytes(self) -> u32 {
        1 << self as u32
    }
    /// Size in bits: 8, 16, 32 or 64.
    #[inline(always)]
    pub const fn bits(self) -> u32 {
        8 << self as u32
    }
    /// All bits of the operand set.
    #[inline(always)]
    pub const fn mask(self) -> u64 {
        u64::MAX >> (64 - self.bits())
    }
    /// The operand's most significant bit.
    #[inline(always)]
    pub const fn sign(self) -> u64 {
        1 << (self.bits() - 1)
    }
    /// The width of `bytes` (1, 2, 4, 8).
    pub const fn of_bytes(bytes: u32) -> Option<Width> {
        match bytes {
            1 => Some(Width::W8),
            2 => Some(Width::W16),
            4 => Some(Width::W32),
            8 => Some(Width::W64),
            _ => None,
        }
    }
}

/// A 64-bit piece of guest state that semantics may get and put: a general register, a segment base. Numbered by the guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot(pub u8);

/// How an address is to be understood: the guest's flat linear space or one of its segments. Numbered by the guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Space(pub u8);

impl Space {
    /// Linear addresses, no segment limit.
    pub const FLAT: Space = Space(0);
}

/// A synchronous exception raised by an instruction's own check. The number is the guest's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Trap(pub u32);

/// A function of the guest too rare or too large to be written generically; the number indexes the guest's own table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Helper(pub u16);

listed! {
/// Operations of two 64-bit operands. Shift and rotate counts must be below the operand's width.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bin {
    Add,
    Sub,
    /// Low 64 bits of the product.
    Mul,
    /// High 64 bits of the unsigned 128-bit product.
    MulHiU,
    /// High 64 bits of the signed 128-bit product.
    MulHiS,
    /// Quotient; the divisor is not 0.
    DivU,
    RemU,
    /// Quotient rounded toward zero; the divisor is not 0 and the quotient is representable.
    DivS,
    RemS,
    And,
    Or,
    Xor,
    Shl,
    ShrU,
    ShrS,
    Rotl,
    Rotr,
    /// Rotations of the low 32 bits; the upper 32 bits of the result are 0.
    Rotl32,
    Rotr32,
}
}

listed! {
/// Operations of one 64-bit operand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Un {
    Not,
    Neg,
    Zext8,
    Zext16,
    Zext32,
    Sext8,
    Sext16,
    Sext32,
    /// Count of leading zeros, 64 for 0.
    Clz,
    /// Count of trailing zeros, 64 for 0.
    Ctz,
    Popcnt,
    /// Byte order of all eight bytes reversed.
    Bswap,
}
}

listed! {
/// Relations between two 64-bit operands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rel {
    Eq,
    Ne,
    LtU,
    LeU,
    LtS,
    LeS,
}
}

/// What kind of operation the lazy condition flags come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FlagOp {
    /// `r = a + b` or `a + b + carry`.
    Add,
    /// `r = a - b` or `a - b - borrow`.
    Sub,
    /// Carry and overflow clear; zero, sign and parity from `r`.
    Logic,
}

/// One condition flag.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Flag {
    Carry,
    Parity,
    /// Carry out of bit 3 (x86 AF).
    Aux,
    Zero,
    Sign,
    Overflow,
}

/// Conditions over the flags, in the order of x86's condition codes (SDM 2 B.1.4): the odd one of a pair is the negation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Cond {
    O,
    No,
    B,
    Ae,
    E,
    Ne,
    Be,
    A,
    S,
    Ns,
    P,
    Np,
    L,
    Ge,
    Le,
    G,
}

impl Cond {
    pub const ALL: [Cond; 16] = {
        use Cond::*;
        [O, No, B, Ae, E, Ne, Be, A, S, Ns, P, Np, L, Ge, Le, G]
    };
}

/// The vocabulary. Integer values are 64 bits wide; an operand of width `w` is held zero-extended.
pub trait Emit: Sized {
    /// A 64-bit value.
    type V: Copy;
    /// A condition.
    type C: Copy;
    /// What a faulting operation leaves the instruction with.
    type Exit;

    /// Address of the first instruction of the block being executed or translated. Static: the translator knows it.
    fn block_pc(&self) -> u64;

    fn imm(&mut self, v: u64) -> Self::V;
    /// The address `pc` of code, computed from [`Emit::block_pc`], as a value.
    fn code_address(&mut self, pc: u64) -> Self::V;
    fn get(&mut self, s: Slot) -> Self::V;
    fn put(&mut self, s: Slot, v: Self::V);
    /// Slot `s` as helpers see it, or have left it: always read from the guest's state, where [`Emit::put`] of a translator writes later.
    fn get_shared(&mut self, s: Slot) -> Self::V;
    /// Sets it for helpers too. A slot is set by this or by [`Emit::put`], not by both.
    fn put_shared(&mut self, s: Slot, v: Self::V);
    fn bin(&mut self, op: Bin, a: Self::V, b: Self::V) -> Self::V;
    fn un(&mut self, op: Un, a: Self::V) -> Self::V;
    /// Whether the signed product of `a` and `b` needs more than 64 bits.
    fn overflows_signed(&mut self, a: Self::V, b: Self::V) -> Self::C;
    fn rel(&mut self, op: Rel, a: Self::V, b: Self::V) -> Self::C;
    fn not(&mut self, c: Self::C) -> Self::C;
    fn both(&mut self, a: Self::C, b: Self::C) -> Self::C;
    fn either(&mut self, a: Self::C, b: Self::C) -> Self::C;
    /// 1 where `c` holds, else 0.
    fn value(&mut self, c: Self::C) -> Self::V;
    fn select(&mut self, c: Self::C, then: Self::V, other: Self::V) -> Self::V;

    /// Loads `w` at `addr`, zero-extended.
    fn load(&mut self, w: Width, addr: Self::V, s: Space) -> Result<Self::V, Self::Exit>;
    /// Loads `w` at `addr` from memory that the instruction will also write: faults as a write does.
    fn load_rmw(&mut self, w: Width, addr: Self::V, s: Space) -> Result<Self::V, Self::Exit>;
    /// Stores the low `w` of `v`.
    fn store(&mut self, w: Width, addr: Self::V, v: Self::V, s: Space) -> Result<(), Self::Exit>;
    /// Faults as a write of `bytes` (1..=4096) at `addr` would, without writing.
    fn probe_write(&mut self, bytes: u32, addr: Self::V, s: Space) -> Result<(), Self::Exit>;

    /// Sets all condition flags from an operation of width `w`: operands and result zero-extended.
    fn flags(&mut self, op: FlagOp, w: Width, a: Self::V, b: Self::V, r: Self::V);
    /// Sets zero, sign and parity from `r`, carry and overflow as given; the auxiliary carry is cleared.
    fn flags_with(&mut self, w: Width, r: Self::V, carry: Self::C, overflow: Self::C);
    fn set_flag(&mut self, f: Flag, c: Self::C);
    fn flag(&mut self, f: Flag) -> Self::C;
    fn cond(&mut self, c: Cond) -> Self::C;

    /// Does `f` where `c` holds. No value may leave `f` but through guest state.
    fn when(&mut self, c: Self::C, f: impl FnOnce(&mut Self) -> Result<(), Self::Exit>) -> Result<(), Self::Exit>;
    fn raise(&mut self, t: Trap) -> Result<(), Self::Exit>;
    fn raise_if(&mut self, c: Self::C, t: Trap) -> Result<(), Self::Exit> {
        self.when(c, |e| e.raise(t))
    }
    /// Calls a guest function with up to four arguments; its result.
    fn helper(&mut self, h: Helper, args: &[Self::V]) -> Result<Self::V, Self::Exit>;
    /// The quotient of the 128-bit `high:low` and `d`, as helper `h` gives it, or its fault where it does not fit in 64 bits.
    #[inline(always)]
    fn div_wide(
        &mut self,
        h: Helper,
        _signed: bool,
        high: Self::V,
        low: Self::V,
        d: Self::V,
    ) -> Result<Self::V, Self::Exit> {
        self.helper(h, &[high, low, d])
    }

    /// The jump that follows is a call whose return continues at `back`. A hint.
    #[inline(always)]
    fn calls(&mut self, _back: u64) {}
    /// The jump that follows returns from a call. A hint.
    #[inline(always)]
    fn returns(&mut self) {}
    /// Continues at a static address.
    fn jump(&mut self, target: u64);
    /// Continues at a dynamic address.
    fn goto(&mut self, target: Self::V);
    /// Continues at `taken` where `c` holds, else at `next`.
    fn branch(&mut self, c: Self::C, taken: u64, next: u64);

    // Shorthands.
    #[inline(always)]
    fn add(&mut self, a: Self::V, b: Self::V) -> Self::V {
        self.bin(Bin::Add, a, b)
    }
    #[inline(always)]
    fn sub(&mut self, a: Self::V, b: Self::V) -> Self::V {
        self.bin(Bin::Sub, a, b)
    }
    #[inline(always)]
    fn and(&mut self, a: Self::V, b: Self::V) -> Self::V {
        self.bin(Bin::And, a, b)
    }
    #[inline(always)]
    fn or(&mut self, a: Self::V, b: Self::V) -> Self::V {
        self.bin(Bin::Or, a, b)
    }
    #[inline(always)]
    fn xor(&mut self, a: Self::V, b: Self::V) -> Self::V {
        self.bin(Bin::Xor, a, b)
    }
    #[inline(always)]
    fn add_imm(&mut self, a: Self::V, k: u64) -> Self::V {
        let k = self.imm(k);
        self.add(a, k)
    }
    #[inline(always)]
    fn and_imm(&mut self, a: Self::V, k: u64) -> Self::V {
        let k = self.imm(k);
        self.and(a, k)
    }
    /// Shift or rotate by a static count.
    #[inline(always)]
    fn shift_imm(&mut self, op: Bin, a: Self::V, k: u32) -> Self::V {
        let k = self.imm(u64::from(k));
        self.bin(op, a, k)
    }
    #[inline(always)]
    fn rel_imm(&mut self, op: Rel, a: Self::V, k: u64) -> Self::C {
        let k = self.imm(k);
        self.rel(op, a, k)
    }
    #[inline(always)]
    fn zext(&mut self, w: Width, a: Self::V) -> Self::V {
        match w {
            Width::W8 => self.un(Un::Zext8, a),
            Width::W16 => self.un(Un::Zext16, a),
            Width::W32 => self.un(Un::Zext32, a),
            Width::W64 => a,
        }
    }
    #[inline(always)]
    fn sext(&mut self, w: Width, a: Self::V) -> Self::V {
        match w {
            Width::W8 => self.un(Un::Sext8, a),
            Width::W16 => self.un(Un::Sext16, a),
            Width::W32 => self.un(Un::Sext32, a),
            Width::W64 => a,
        }
    }
    /// Bit `bit` of `a` as a condition.
    #[inline(always)]
    fn bit(&mut self, a: Self::V, bit: u32) -> Self::C {
        let t = self.and_imm(a, 1 << bit);
        self.rel_imm(Rel::Ne, t, 0)
    }
}
