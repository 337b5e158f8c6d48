//! What makes regions better, one file each.

mod dead;

pub use dead::dead;
