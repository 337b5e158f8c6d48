//! IEEE 754 and x87 floating point in software.
