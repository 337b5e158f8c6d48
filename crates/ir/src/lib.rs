//! The intermediate form of hot guest code.
//!
//! A [`Region`] is a graph of blocks. A block is a list of operations ([`Op`], one table) on values that live within the block; what
//! lives longer is guest state in *slots*. It is entered at its start only, and may be left in its midst ([`Op::Fork`]). Conditional execution within an instruction is structured ([`Op::If`]). An
//! operation that may fault names its side exit: there the interpreter takes over, before the instruction, so everything that the
//! architecture says about faults, devices and self-modifying code is the interpreter's.
//!
//! Nothing here knows a guest, and nothing knows WebAssembly beyond its types.
#![forbid(unsafe_code)]

pub mod cfg;
pub mod eval;
pub mod fold;
mod lift;
mod ops;
pub mod parse;
pub mod passes;
pub mod print;
mod region;
mod verify;

pub use lift::{End, Lift, Recorded, Way};
pub use ops::*;
pub use region::*;
pub use verify::{Invalid, exists, verify};
