//! Differential tests of guest semantics against the native CPU.
