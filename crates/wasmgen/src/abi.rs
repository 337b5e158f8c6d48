//! How generated code, its caller and other generated code agree.
//!
//! A region's function takes the address of the guest's state (which it also knows: [`Abi::state`]), the linear address at which it is entered (its base) and the
//! number of instructions left of the budget. Guest registers are in the state between regions. It returns one of [`Leave`]'s numbers, with
//! the rest in the state's [`guest_api::Exchange`], or goes on in another region by a tail call through the function table.

use guest_api::{Float, Fp};
use wasm_encoder::ValType::{self, I32, I64};

/// What a region returns to its caller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Leave {
    /// At `Exchange::pc`, where no translated code was found, or the budget is used up.
    Lookup = 0,
    /// By side exit number `Exchange::pc` of region `Exchange::region`, entered at `Exchange::base`. Numbers behind those of
    /// `Region::exits` are of [`crate::Code::loops`]: the budget is used up.
    Side = 1,
    /// At `Exchange::pc`, where the interpreter must execute an instruction.
    Interpret = 2,
    /// At its start: a page of region `Exchange::region` is not mapped as it was, as far as the TLB knows.
    Guard = 3,
}

impl Leave {
    pub const fn of(code: u32) -> Leave {
        match code {
            0 => Leave::Lookup,
            1 => Leave::Side,
            2 => Leave::Interpret,
            _ => Leave::Guard,
        }
    }
}

/// The module that everything is imported from: the engine's exports.
pub const IMPORT_MODULE: &str = "e";
pub const MEMORY: &str = "memory";
pub const TABLE: &str = "__indirect_function_table";

macro_rules! helpers {
    ($($(#[$doc:meta])* $name:ident = $text:literal($($param:ident),*) -> $result:ident;)*) => {
        /// Functions of the engine that generated code calls.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u32)]
        pub enum Import { $($(#[$doc])* $name,)* }

        /// Name, parameters and result of each [`Import`].
        pub const IMPORTS: &[(&str, &[ValType], ValType)] = &[$(($text, &[$($param),*], $result),)*];
    };
}
helpers! {
    /// [`guest_api::Guest::readable`]: `(va, bytes)`, 0 for none.
    Readable = "code_readable"(I64, I32) -> I32;
    /// [`guest_api::Guest::updatable`].
    Updatable = "code_updatable"(I64, I32) -> I32;
    /// [`guest_api::Guest::store`]: `(va, bytes, low, high)`, 0 for refused.
    Store = "code_store"(I64, I32, I64, I64) -> I32;
    /// [`guest_api::Guest::writable`].
    Writable = "code_writable"(I64, I32) -> I32;
    /// [`guest_api::Guest::helper`]: refused where `Exchange::refused` is set.
    Helper = "code_helper"(I32, I64, I64, I64, I64) -> I64;
    /// [`guest_api::Guest::float`] of `Exchange::vectors`: 0 for refused, else 1 and more: `Exchange::inexact` and what
    /// [`suspicious`] says.
    Float = "code_float"(I32) -> I32;
    /// [`guest_api::LazyFlags::packed`] of form, a, b, r.
    PackFlags = "code_pack_flags"(I64, I64, I64, I64) -> I64;
}

/// What is known when functions are generated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Abi {
    pub layout: guest_api::StateLayout,
    /// Address of the state. Generated code has it as a constant, which takes no register of the host's.
    pub state: u32,
    /// Table slots of the functions that return [`Leave::Lookup`] and [`Leave::Interpret`] for their arguments.
    pub lookup_slot: u32,
    pub interpret_slot: u32,
    /// Modules may import the function table. Otherwise each way out of a region returns to the caller.
    pub linked: bool,
}

impl Abi {
    /// Pages of memory in which the state lies for certain: accesses to it need no check then.
    pub(crate) fn memory_pages(&self) -> u64 {
        let l = &self.layout;
        let table = 16 * l.tlb_entries;
        let ends =
            [l.slots + 8, l.xslots + 16, l.tlb_read + table, l.tlb_write + table, l.exchange + 8, l.fetch_keys + 8];
        let end = ends.into_iter().max().unwrap_or(0);
        (u64::from(self.state) + u64::from(end)).div_ceil(1 << 16)
    }
}

/// Parameters and result of a region's function.
pub const REGION_PARAMS: [ValType; 3] = [I32, I64, I64];
pub const REGION_RESULT: ValType = I32;

/// The bit beside those of [`guest_api::inexact`] that says so.
const SUSPICIOUS: u32 = crate::float::SUSPICIOUS as u32;

/// 0 where operands and result of `op` are such as generated code takes for granted after its own checks: zeros, or normal and
/// finite.
pub fn suspicious(op: Float, values: [u128; 3]) -> u32 {
    let (shape, used) = match op {
        Float::F2(_, shape) => (shape, 0..3),
        Float::F1(_, shape) => (shape, 1..3),
        // The result is a mask.
        Float::Cmp(_, shape) => (shape, 0..2),
        Float::Order(double, _) => (if double { Fp::S64 } else { Fp::S32 }, 0..2),
        Float::ToInt(double, ..) => (if double { Fp::S64 } else { Fp::S32 }, 0..1),
        Float::Cvt(_) | Float::ToFloat(..) => return SUSPICIOUS,
    };
    let normal = |v: u64, unit: u64, inf: u64| v == 0 || (unit..inf).contains(&v);
    let good = values[used].iter().all(|&v| {
        (0..shape.lanes()).all(|k| {
            if shape.double() {
                normal((v >> (64 * k)) as u64 & u64::MAX >> 1, 1 << 52, 0x7ff << 52)
            } else {
                normal((v >> (32 * k)) as u64 & 0x7fff_ffff, 1 << 23, 0xff << 23)
            }
        })
    });
    if good { 0 } else { SUSPICIOUS }
}
