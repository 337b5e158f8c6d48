//! Regions of the intermediate form as WebAssembly.
//!
//! A region becomes one function ([`function`]), a batch of functions one module ([`Batch`]). See [`abi`] for how generated code,
//! its caller and other generated code agree.
//!
//! # Shape of a function
//!
//! ```text
//! (func (param $state i32) (param $base i64) (param $left i64) (result i32)
//!   budget, units, pages: leave at once if one says so
//!   load the slots that have locals
//!   block $exit
//!     block $lookup
//!       the blocks: nested `block`, `loop` and `if`, from the dominator tree
//!     end
//!     look the target up in the jump cache
//!   end
//!   store those of them that the region writes
//!   go on at the target: return_call_indirect, or return to the caller
//! ```
#![forbid(unsafe_code)]

pub mod abi;
mod emit;
mod float;
mod kept;
mod memory;
mod module;
mod place;
mod scalar;
mod shared;
mod slots;
mod structure;
mod switch;
pub mod vector;

pub use emit::{Code, Id, function, supports};
pub use module::Batch;
