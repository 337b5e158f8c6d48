//! The system architecture (SDM 3): paging, segmentation, interrupts, control and model-specific registers.

pub mod interrupts;
pub mod paging;
pub mod segments;
