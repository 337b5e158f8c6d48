//! One guest that runs benchmarks: what it says on its console, with the host's time beside the guest's.

use crate::host::Session;
use crate::util::say;
use anyhow::Result;
use std::time::{Duration, Instant};

/// The guest says something at least this often, on the slowest machine.
const SILENCE: Duration = Duration::from_secs(300);

/// What the guest says when it is through, before it powers off.
pub const END: &str = "benchmarks end";

/// A line of results.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub name: String,
    /// Nanoseconds an operation, by the guest's clock.
    pub ns: f64,
    pub ops: u64,
    pub checksum: u64,
    /// Host time by guest time, over the benchmark that the row is of.
    pub clock: f64,
}

/// How far the two clocks may be apart: a part of the time, or the console's latency.
const CLOCK_TOLERANCE: f64 = 0.1;
const LATENCY: Duration = Duration::from_millis(50);

#[derive(Debug, PartialEq)]
enum Line {
    Begin(String),
    Result { name: String, ns: f64, ops: u64, checksum: u64 },
    End { guest: Duration },
    Wrong(String),
    Other,
}

/// `bench/guest/main.c` has the form of these lines.
fn line(text: &str) -> Line {
    let words: Vec<_> = text.split_whitespace().collect();
    let parsed = match words.as_slice() {
        ["begin", name] => Some(Line::Begin((*name).to_owned())),
        ["end", _, ns] => ns.parse().ok().map(|ns| Line::End { guest: Duration::from_nanos(ns) }),
        ["failed" | "error", ..] => Some(Line::Wrong(text.to_owned())),
        [name, ns, ops, checksum] => result(name, ns, ops, checksum),
        _ => None,
    };
    parsed.unwrap_or(Line::Other)
}

fn result(name: &str, ns: &str, ops: &str, checksum: &str) -> Option<Line> {
    let checksum = u64::from_str_radix(checksum, 16).ok()?;
    Some(Line::Result { name: name.to_owned(), ns: ns.parse().ok()?, ops: ops.parse().ok()?, checksum })
}

/// Collects the rows from lines and the times at which they came.
#[derive(Default)]
struct Reader {
    rows: Vec<Row>,
    /// The benchmark that is running: when it began, and where its rows do.
    open: Option<(String, Instant, usize)>,
    wrong: Vec<String>,
}

impl Reader {
    fn push(&mut self, text: &str, now: Instant) {
        match line(text) {
            Line::Begin(name) => self.open = Some((name, now, self.rows.len())),
            Line::Result { name, ns, ops, checksum } if self.open.is_some() => {
                self.rows.push(Row { name, ns, ops, checksum, clock: 1.0 });
            }
            Line::End { guest } => {
                let Some((_, began, first)) = self.open.take() else { return };
                let clock = clock(now - began, guest);
                self.rows[first..].iter_mut().for_each(|row| row.clock = clock);
            }
            Line::Wrong(what) => self.wrong.push(what),
            Line::Result { .. } | Line::Other => {}
        }
    }
}

/// Host time by guest time; 1 where the difference is no more than the console's latency.
fn clock(host: Duration, guest: Duration) -> f64 {
    if host.abs_diff(guest) <= LATENCY { 1.0 } else { host.as_secs_f64() / guest.as_secs_f64() }
}

impl Row {
    /// Whether the guest's clock cannot be believed.
    pub fn clock_is_off(&self) -> bool {
        (self.clock - 1.0).abs() > CLOCK_TOLERANCE
    }

    /// Nanoseconds an operation, by the host's clock where the guest's is off.
    pub fn true_ns(&self) -> f64 {
        if self.clock_is_off() { self.ns * self.clock } else { self.ns }
    }
}

/// What a guest's benchmarks came to.
#[derive(Debug)]
pub struct Outcome {
    pub rows: Vec<Row>,
    /// Benchmarks that failed, in the guest's words.
    pub wrong: Vec<String>,
}

/// Reads a guest's console until its benchmarks are through and it has powered off. A guest that stops on the way is an
/// entry in `wrong`, if there are results.
pub fn read(session: &mut Session) -> Result<Outcome> {
    let mut reader = Reader::default();
    if let Err(e) = read_lines(session, &mut reader) {
        let here = match &reader.open {
            Some((name, ..)) => format!("benchmark {name}"),
            None => format!("the console ends: {}", tail(&session.console)),
        };
        let e = e.context(here);
        if reader.rows.is_empty() {
            return Err(e);
        }
        reader.wrong.push(format!("{e:#}"));
    }
    Ok(Outcome { rows: reader.rows, wrong: reader.wrong })
}

fn read_lines(session: &mut Session, reader: &mut Reader) -> Result<()> {
    let mut at = 0;
    loop {
        let text = session.wait_for(SILENCE, |console| {
            let end = at + console[at..].find('\n')? + 1;
            let text = console[at..end].trim_end().to_owned();
            at = end;
            Some(text)
        })?;
        let before = reader.rows.len();
        reader.push(&text, Instant::now());
        for row in &reader.rows[before..] {
            say(format!("  {:18} {}", row.name, super::report::time(row.ns)));
        }
        if text == END {
            return session.wait_end(SILENCE);
        }
    }
}

fn tail(console: &str) -> String {
    let lines: Vec<_> = console.lines().rev().take(5).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        assert_eq!(line("begin cold-2k"), Line::Begin("cold-2k".into()));
        assert_eq!(line("end cold-2k 1500"), Line::End { guest: Duration::from_nanos(1500) });
        let row = Line::Result { name: "cold-2k/1".into(), ns: 12.5, ops: 2000, checksum: 0xffff_ffff_ffff_fffa };
        assert_eq!(line("cold-2k/1 12.500 2000 fffffffffffffffa"), row);
        assert_eq!(line("failed call b"), Line::Wrong("failed call b".into()));
        for other in ["", "hello", "call 1.5 x 0", "[ 1.0] a kernel message"] {
            assert_eq!(line(other), Line::Other, "{other}");
        }
    }

    #[test]
    fn the_two_clocks() {
        let start = Instant::now();
        let mut reader = Reader::default();
        for (ms, text) in [
            (0, "early 1 1 0"), // no benchmark yet
            (100, "begin good"),
            (500, "good 2.0 10 0"),
            (700, "end good 590000000"),
            (1000, "begin slow"),
            (1500, "slow 2.0 10 0"),
            (3000, "end slow 1000000000"),
            (3000, "begin short"),
            (3001, "short 2.0 10 0"),
            (3030, "end short 10000000"),
        ] {
            reader.push(text, start + Duration::from_millis(ms));
        }
        let seen: Vec<_> = reader.rows.iter().map(|row| (&*row.name, row.true_ns(), row.clock_is_off())).collect();
        assert_eq!(seen, [("good", 2.0, false), ("slow", 4.0, true), ("short", 2.0, false)]);
    }
}
