//! Condition flags as translated code keeps them: the operation they come from and its operands, evaluated when somebody asks.

use crate::listed::listed;
use crate::{Flag, FlagOp, Width};

listed! {
/// What the flags but [`Flag::Carry`] come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum FlagSource {
    /// `a` holds the flags as bits: see [`Flag::bit`].
    Packed = 0,
    /// [`FlagOp::Logic`] with result `r`.
    Logic = 1,
    /// `a + b`.
    Add = 2,
    /// `a - b`.
    Sub = 3,
    /// [`FlagOp::Add`] with a carry in: result `r`.
    AddCarry = 4,
    /// [`FlagOp::Sub`] with a borrow in: result `r`.
    SubBorrow = 5,
    /// Zero, sign and parity from `r`; overflow is `b`, 0 or 1; no auxiliary carry.
    Given = 6,
}
}

impl FlagSource {
    /// Which of [`LazyFlags::a`], `b` and `r` it is found from.
    pub const fn operands(self) -> [bool; 3] {
        match self {
            FlagSource::Packed => [true, false, false],
            FlagSource::Logic => [false, false, true],
            FlagSource::Add | FlagSource::Sub => [true, true, false],
            FlagSource::AddCarry | FlagSource::SubBorrow => [true, true, true],
            FlagSource::Given => [false, true, true],
        }
    }
}

/// A [`FlagSource`], the width of its operands and where the carry is, in one small number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlagForm(pub u8);

impl FlagForm {
    /// `a` holds the flags as bits.
    pub const PACKED: FlagForm = FlagForm::new(FlagSource::Packed, Width::W64);

    /// Set where the carry is apart though it could be computed from the operands.
    const APART: u8 = 1 << 5;

    pub const fn new(source: FlagSource, w: Width) -> FlagForm {
        FlagForm((source as u8) << 2 | w as u8)
    }
    /// The same, but that the carry is in [`LazyFlags::carry`].
    pub const fn apart(self) -> FlagForm {
        FlagForm(self.0 | FlagForm::APART)
    }
    /// Whether the carry is in [`LazyFlags::carry`]. Else it is that of the operation: of a sum, a difference; of logic there is none.
    pub const fn is_apart(self) -> bool {
        self.0 & FlagForm::APART != 0 || !matches!(self.source(), FlagSource::Logic | FlagSource::Add | FlagSource::Sub)
    }
    pub const fn width(self) -> Width {
        match self.0 & 3 {
            0 => Width::W8,
            1 => Width::W16,
            2 => Width::W32,
            _ => Width::W64,
        }
    }
    pub const fn source(self) -> FlagSource {
        match self.0 >> 2 & 7 {
            1 => FlagSource::Logic,
            2 => FlagSource::Add,
            3 => FlagSource::Sub,
            4 => FlagSource::AddCarry,
            5 => FlagSource::SubBorrow,
            6 => FlagSource::Given,
            _ => FlagSource::Packed,
        }
    }
}

/// The flags as translated code leaves them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct LazyFlags {
    /// A [`FlagForm`].
    pub form: u64,
    /// The operands and the result, zero-extended, as far as the form has them.
    pub a: u64,
    pub b: u64,
    pub r: u64,
    /// [`Flag::Carry`], 0 or 1, where the form has it apart.
    pub carry: u64,
}

impl Flag {
    /// The flag's place in packed flags.
    pub const fn bit(self) -> u64 {
        1 << self as u8
    }
}

impl LazyFlags {
    /// From packed flags.
    pub const fn of_packed(bits: u64) -> LazyFlags {
        LazyFlags { form: FlagForm::PACKED.0 as u64, a: bits, b: 0, r: 0, carry: bits & Flag::Carry.bit() }
    }

    /// All flags, each in its [`Flag::bit`].
    pub fn packed(&self) -> u64 {
        let form = FlagForm(self.form as u8);
        let w = form.width();
        let (a, b) = (self.a, self.b);
        let carry = match form.source() {
            _ if form.is_apart() => self.carry & 1,
            FlagSource::Add => (a.wrapping_add(b) & w.mask() < a).into(),
            FlagSource::Sub => (a < b).into(),
            _ => 0,
        };
        let (op, r) = match form.source() {
            FlagSource::Packed => return self.a & !Flag::Carry.bit() | carry,
            FlagSource::Logic | FlagSource::Given => (FlagOp::Logic, self.r),
            FlagSource::Add => (FlagOp::Add, a.wrapping_add(b) & w.mask()),
            FlagSource::Sub => (FlagOp::Sub, a.wrapping_sub(b) & w.mask()),
            FlagSource::AddCarry => (FlagOp::Add, self.r),
            FlagSource::SubBorrow => (FlagOp::Sub, self.r),
        };
        let (overflow, aux) = match op {
            FlagOp::Add => (!(a ^ b) & (a ^ r) & w.sign() != 0, (a ^ b ^ r) & 16 != 0),
            FlagOp::Sub => ((a ^ b) & (a ^ r) & w.sign() != 0, (a ^ b ^ r) & 16 != 0),
            FlagOp::Logic => (form.source() == FlagSource::Given && b != 0, false),
        };
        let bit = |c: bool, f: Flag| if c { f.bit() } else { 0 };
        carry
            | bit((r as u8).count_ones() & 1 == 0, Flag::Parity)
            | bit(aux, Flag::Aux)
            | bit(r == 0, Flag::Zero)
            | bit(r & w.sign() != 0, Flag::Sign)
            | bit(overflow, Flag::Overflow)
    }
}
