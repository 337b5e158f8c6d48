//! Instruction semantics, each written once over the vocabulary of `guest_api`.

pub mod alu;
pub mod control;
pub mod helpers;
pub mod mov;
pub mod operand;
pub mod sse_int;
pub mod sse_mov;
pub mod vec;

use guest_api::Emit;

/// What a semantic function returns.
pub type Sem<E> = Result<(), <E as Emit>::Exit>;
