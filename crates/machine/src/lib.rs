//! The `pc` board: CPU, chips and RAM put together, booted directly into a kernel, run in slices.
//!
//! `pc.rs` is the memory map and the wiring, `clock.rs` guest time, `load/` the kernel formats, `acpi.rs` what the guest
//! is told, `machine.rs` the loop. Nothing here knows Wasm or a host: time, randomness, files and console bytes come and
//! go through [`Machine`]'s methods.

mod acpi;
mod clock;
mod load;
mod machine;
mod map;
mod net;
mod pc;
mod plug;
mod random;

pub use clock::HostTime;
pub use load::{LoadError, initrd::Problem as InitrdProblem};
pub use machine::{Exit, Files, Machine, MachineError, Stats, StopReport};
pub use plug::serve;
pub use virtio::input::{InputEvent, InputKind};
pub use virtio::p9::P9Backend;
