//! The operations, each declared once.

use guest_api::{Align, Bin, F1, F2, Float, Fp, FpCvt, FpMode, FpRel, Lane, Listed, Rel, Un, V1, V2, Width, dotted};

/// Type of a value: WebAssembly's own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ty {
    /// A condition, 0 or 1.
    I32,
    I64,
    V128,
}

/// What an operation does beside computing its result.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Effect {
    /// Nothing: it may be dropped, repeated and moved.
    Pure,
    /// Reads a slot.
    Reads,
    /// Writes a slot.
    Writes,
    /// May leave the region by the side exit of its instruction, the guest's state being that before the instruction.
    Exits,
    /// Begins or ends the operations done under a condition.
    Nests,
    /// May go to another block.
    Forks,
}

/// Operands, result and effect of an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    pub args: &'static [Ty],
    pub result: Option<Ty>,
    pub effect: Effect,
}

macro_rules! ops {
    ($($(#[$doc:meta])* $name:ident $(($($field:ident: $fty:ty),*))? : [$($arg:ident)*] $(=> $result:ident)? , $effect:ident;)*) => {
        /// An operation. What is static about it beside its kind is in [`crate::Inst::imm`].
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Op {
            $($(#[$doc])* $name $(($($fty),*))?,)*
        }

        impl Op {
            /// Operands, result and effect.
            pub const fn shape(self) -> Shape {
                match self {
                    $(Op::$name $(($(ops!(@any $field)),*))? => Shape {
                        args: &[$(Ty::$arg),*],
                        result: ops!(@result $($result)?),
                        effect: Effect::$effect,
                    },)*
                }
            }
            /// The name of the kind.
            pub const fn name(self) -> &'static str {
                match self { $(Op::$name $(($(ops!(@any $field)),*))? => stringify!($name),)* }
            }
            /// The name in the text form: the kind's and those of what is static, in lower case.
            pub fn text(self) -> String {
                match self {
                    $(Op::$name $(($($field),*))? => dotted(&[
                        stringify!($name).to_lowercase(),
                        $($($field.label(stringify!($field)),)*)?
                    ]),)*
                }
            }
            /// Every operation.
            pub fn list() -> Vec<Op> {
                [$(ops!(@list $name $($($field: $fty),*)?)),*].concat()
            }
        }
    };
    (@list $name:ident) => { vec![Op::$name] };
    (@list $name:ident $a:ident: $aty:ty) => { <$aty>::list().into_iter().map(Op::$name).collect() };
    (@list $name:ident $a:ident: $aty:ty, $b:ident: $bty:ty) => {
        <$aty>::list().into_iter().flat_map(|$a| <$bty>::list().into_iter().map(move |$b| Op::$name($a, $b))).collect()
    };
    (@list $name:ident $a:ident: $aty:ty, $b:ident: $bty:ty, $c:ident: $cty:ty) => {
        <$aty>::list()
            .into_iter()
            .flat_map(|$a| <$bty>::list().into_iter().map(move |$b| ($a, $b)))
            .flat_map(|($a, $b)| <$cty>::list().into_iter().map(move |$c| Op::$name($a, $b, $c)))
            .collect()
    };
    (@any $field:ident) => { _ };
    (@result) => { None };
    (@result $result:ident) => { Some(Ty::$result) };
}

ops! {
// Values
    /// The constant `imm`.
    Const: [] => I64, Pure;
    /// The address of the code at offset `imm` from the region's base.
    Pc: [] => I64, Pure;
    /// Slot `imm`: a guest register, or one of [`crate::flag_slot`].
    Get: [] => I64, Reads;
    Put: [I64], Writes;
    /// Slot `imm` as helpers see it: in the guest's state, and nowhere else.
    GetShared: [] => I64, Reads;
    PutShared: [I64], Writes;
    Bin(op: Bin): [I64 I64] => I64, Pure;
    Un(op: Un): [I64] => I64, Pure;
    Rel(op: Rel): [I64 I64] => I32, Pure;
    Not: [I32] => I32, Pure;
    Both: [I32 I32] => I32, Pure;
    Either: [I32 I32] => I32, Pure;
    /// 1 where the condition holds, else 0.
    Value: [I32] => I64, Pure;
    Select: [I32 I64 I64] => I64, Pure;
    /// Whether the product of signed numbers needs more than 64 bits.
    Overflows: [I64 I64] => I32, Pure;
    /// The carry of form, `a`, `b`, `carry`, as [`guest_api::LazyFlags::packed`] has it.
    CarryOf: [I64 I64 I64 I64] => I32, Pure;
    /// The packed flags of form, `a`, `b`, `r`: those of [`guest_api::LazyFlags::packed`]; the carry means nothing.
    PackFlags: [I64 I64 I64 I64] => I64, Pure;
// Memory, at linear addresses
    /// Zero-extended.
    Load(w: Width): [I64] => I64, Exits;
    /// Loads what the instruction will also store.
    LoadRmw(w: Width): [I64] => I64, Exits;
    Store(w: Width): [I64 I64], Exits;
    /// Nothing, where `imm` bytes could be written.
    Probe: [I64], Exits;
    /// The `imm` bytes at the address, which are in one page and can be read, or written too; leaves where they are not. That holds up to
    /// the next helper. [`crate::passes::share`] records it.
    Reach(writes: bool): [I64] => I32, Exits;
    /// The same as without `Near`, of an address that is `imm` bytes behind that of the `Reach`, the last operand. It can be accessed.
    LoadNear(w: Width): [I64 I32] => I64, Exits;
    StoreNear(w: Width): [I64 I64 I32], Exits;
// Control within an instruction
    /// What follows up to `End` is done where the condition holds.
    If: [I32], Nests;
    End: [], Nests;
    /// Leaves by the instruction's side exit.
    Bail: [], Exits;
    /// Guest helper `imm`. What it has no use for is a constant.
    Helper: [I64 I64 I64 I64] => I64, Exits;
    /// The quotient of the 128-bit number of the first two, the high half first, and the third, as guest helper `imm` gives it.
    DivWide(signed: bool): [I64 I64 I64] => I64, Exits;
// Control between instructions
    /// Goes where fork `imm` of the block leads, where the condition holds.
    Fork: [I32], Forks;
// Vectors
    GetX: [] => V128, Reads;
    PutX: [V128], Writes;
    /// Constant number `imm` of the region.
    ConstX: [] => V128, Pure;
    LoadX(align: Align): [I64] => V128, Exits;
    StoreX(align: Align): [I64 V128], Exits;
    LoadXNear(align: Align): [I64 I32] => V128, Exits;
    StoreXNear(align: Align): [I64 V128 I32], Exits;
    V1(op: V1): [V128] => V128, Pure;
    V2(op: V2): [V128 V128] => V128, Pure;
    VShift(op: Bin, lane: Lane): [V128 I64] => V128, Pure;
    /// The selectors are constant number `imm` of the region, a byte each.
    Shuffle(lane: Lane): [V128 V128] => V128, Pure;
    VSelect: [V128 V128 V128] => V128, Pure;
    /// Zero-extended.
    Widen: [I64] => V128, Pure;
    /// Lane `imm`.
    Extract(lane: Lane): [V128] => I64, Pure;
    Insert(lane: Lane): [V128 I64] => V128, Pure;
    MoveMask(lane: Lane): [V128] => I64, Pure;
    IsZero: [V128] => I32, Pure;
    F2(op: F2, shape: Fp): [V128 V128] => V128, Exits;
    F1(op: F1, shape: Fp): [V128 V128] => V128, Exits;
    FCmp(rel: FpRel, shape: Fp): [V128 V128] => V128, Exits;
    /// How the low lanes compare: bit 0 less, bit 1 equal, bit 2 unordered.
    FOrder(double: bool, signal: bool): [V128 V128] => I64, Exits;
    FCvt(op: FpCvt): [V128 V128] => V128, Exits;
    ToInt(double: bool, wide: bool, mode: FpMode): [V128] => I64, Exits;
    ToFloat(double: bool, wide: bool): [V128 I64] => V128, Exits;
}

impl Op {
    /// Bytes that an access which looks into the TLB for itself reads or writes, and whether it writes.
    pub fn access(self) -> Option<(u32, bool)> {
        Some(match self {
            Op::Load(w) => (w.bytes(), false),
            Op::LoadRmw(w) | Op::Store(w) => (w.bytes(), true),
            Op::LoadX(_) => (16, false),
            Op::StoreX(_) => (16, true),
            _ => return None,
        })
    }
    /// Has vectors as operands or result.
    pub fn is_vector(self) -> bool {
        let s = self.shape();
        s.result == Some(Ty::V128) || s.args.contains(&Ty::V128)
    }
    /// What it asks of the guest, where it computes in the guest's floating-point environment.
    pub const fn float(self) -> Option<Float> {
        Some(match self {
            Op::F2(op, shape) => Float::F2(op, shape),
            Op::F1(op, shape) => Float::F1(op, shape),
            Op::FCmp(rel, shape) => Float::Cmp(rel, shape),
            Op::FOrder(double, signal) => Float::Order(double, signal),
            Op::FCvt(op) => Float::Cvt(op),
            Op::ToInt(double, wide, mode) => Float::ToInt(double, wide, mode),
            Op::ToFloat(double, wide) => Float::ToFloat(double, wide),
            _ => return None,
        })
    }
}

/// Every operation that computes with vectors, for tests that go through all of them.
pub fn vector_ops() -> Vec<Op> {
    let computes = |op: &Op| {
        !matches!(
            op,
            Op::GetX | Op::PutX | Op::ConstX | Op::LoadX(_) | Op::StoreX(_) | Op::LoadXNear(_) | Op::StoreXNear(_)
        )
    };
    let all = Op::list().into_iter().filter(|op| op.is_vector() && crate::exists(*op));
    all.filter(computes).collect()
}
