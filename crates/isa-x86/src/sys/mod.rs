//! The system architecture (SDM 3): paging, segmentation, interrupts, control and model-specific registers.

pub mod cpuid;
pub mod debug;
pub mod far;
pub mod interrupts;
pub mod io;
pub mod misc;
pub mod msr;
pub mod paging;
pub mod registers;
pub mod segments;
mod stack;
mod task;
pub mod xsave;
