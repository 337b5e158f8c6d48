//! Instruction semantics, each written once over the vocabulary of `guest_api`.

pub mod alu;
pub mod bcd;
pub mod bits;
pub mod control;
#[cfg(test)]
mod effects;
pub mod exchange;
pub mod flag;
pub mod helpers;
pub mod mov;
pub mod muldiv;
pub mod operand;
pub mod shift;
pub mod sse_fp;
pub mod sse_int;
pub mod sse_mov;
pub mod sse_str;
pub mod stack;
pub mod string;
pub mod system;
pub mod vec;

use guest_api::Emit;

/// What a semantic function returns.
pub type Sem<E> = Result<(), <E as Emit>::Exit>;
