//! Ratios.

/// `12.3 ns`, `4.5 µs`, `678 ms`: three digits.
pub fn time(ns: f64) -> String {
    let units = [("ns", 1.0), ("µs", 1e3), ("ms", 1e6), ("s", 1e9)];
    let (unit, size) = units.into_iter().rev().find(|(_, size)| ns >= *size).unwrap_or(units[0]);
    let value = ns / size;
    let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.digits$} {unit}")
}
