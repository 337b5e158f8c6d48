//! Instruction semantics, each written once over the vocabulary of `guest_api`.

pub mod alu;
pub mod control;
pub mod helpers;
pub mod mov;
pub mod operand;

use guest_api::Emit;

/// What a semantic function returns.
pub type Sem<E> = Result<(), <E as Emit>::Exit>;
