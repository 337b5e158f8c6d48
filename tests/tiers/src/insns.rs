pub use diff::guest::Nothing;

use crate::Report;

pub fn run(_seed: u64, _count: u32, _report: &mut Report) {}
