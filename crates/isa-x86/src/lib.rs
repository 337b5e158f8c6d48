//! The x86-64 guest: decoding, semantics, the system architecture and the interpreter.
//!
//! Manuals: Intel SDM volumes 1-3 (cited as "SDM 2 MOV", "SDM 3 6.8.3"), AMD APM where they differ.
//!
//! This crate does not know IR, Wasm, devices or the host. What it needs of the machine it asks through [`Platform`].
#![forbid(unsafe_code)]

pub mod cpu;
mod decode;
pub mod exec;
pub mod fault;
pub mod insn;
mod interp;
pub mod platform;
pub mod sem;
pub mod sys;
mod table;
pub mod tier;
pub mod x87;

pub use cpu::Cpu;
pub use decode::{DecodeError, decode};
pub use exec::Exec;
pub use fault::{Exception, Stop};
pub use insn::{Insn, Kind};
pub use interp::{CpuExit, Vcpu};
pub use platform::Platform;
pub use table::{Op, execute, translate};
