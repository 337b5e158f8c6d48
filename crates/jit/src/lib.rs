//! The second tier: hot guest code as WebAssembly.
//!
//! A block that the interpreter has executed often becomes the entry of a *region* ([`form`]): the blocks around it, as the
//! interpreter has decoded them, along jumps and calls, computed ones as far as it has seen where they go. Its function waits in a batch; batches become modules of the
//! host ([`Host`]). The function is found at a slot of the engine's function table, which other regions jump through, and which holds a function
//! that returns to the caller as long as there is no region.
//!
//! # Why `unsafe` is here
//! Generated code is entered by its number in the function table, and it calls back into the guest while the caller waits: see
//! [`call`].
#![allow(unsafe_code)]
#![deny(unsafe_op_in_unsafe_fn)]

mod apart;
mod cache;
pub mod call;
mod form;
mod stress;
#[cfg(test)]
mod testing;

pub use cache::{Jit, Stats};

use core::num::NonZeroU32;

/// What the host does for translated code.
pub trait Host {
    /// Whether modules can be compiled, and whether they may import the function table.
    fn support(&self) -> Support;
    /// Compiles and instantiates a module, whose functions are to be at `slots`. Its number; `None` where the host refuses.
    fn compile(&mut self, module: &[u8], slots: &[u32]) -> Option<NonZeroU32>;
    /// Forgets a module.
    fn drop(&mut self, module: NonZeroU32);
    /// Grows the function table by `count` slots that hold what slot `with` holds; the first of them.
    fn grow(&mut self, count: u32, with: u32) -> Option<NonZeroU32>;
    /// Each of the `count` slots from `to` on becomes what slot `from` holds.
    fn copy(&mut self, to: u32, from: u32, count: u32);
    /// Nanoseconds of a clock, for statistics.
    fn now_ns(&self) -> u64;
}

/// What a host can do with translated code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Support {
    /// Nothing.
    None,
    /// Compile modules that import the function table.
    Linked,
    /// Compile modules that do not.
    Unlinked,
}
