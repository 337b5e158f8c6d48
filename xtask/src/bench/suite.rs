//! What is measured, and what is aimed at. To add a benchmark: a line in a table of `bench/guest`, and one here.

use anyhow::{Result, bail};

/// What a row counts towards.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// Code that has run for long.
    Warm,
    /// Code that runs for the first times.
    Cold,
    /// Shown, not counted: a pass between the first and the last.
    Between,
}

pub struct Entry {
    pub family: &'static str,
    /// As the guest prints it; what is before a `/` is the benchmark's name.
    pub row: &'static str,
    /// What one operation is.
    pub about: &'static str,
    pub class: Class,
    /// The aim: native QEMU's time by ours.
    pub target: f64,
}

/// No row should be under this.
pub const FLOOR: f64 = 0.7;

/// The aim for the geometric mean of all.
pub const MEAN: f64 = 2.0;

/// The time to the shell, which the host measures.
pub const BOOT: &str = "boot";

/// The family of programs that need an installed Debian.
pub const DEBIAN: &str = "debian";

/// What [`super::programs::set`] calls the benchmarks' programs.
pub const PROGRAMS: &str = "bench";

const fn warm(family: &'static str, row: &'static str, about: &'static str, target: f64) -> Entry {
    Entry { family, row, about, class: Class::Warm, target }
}

const fn cold(family: &'static str, row: &'static str, about: &'static str, target: f64) -> Entry {
    Entry { family, row, about, class: Class::Cold, target }
}

pub const SUITE: &[Entry] = &[
    warm("hot", "block", "8 instructions, one block", 1.2),
    warm("hot", "blocks2", "one of two ways, by data", 1.2),
    warm("hot", "blocks4", "one of four ways, by data", 1.2),
    warm("hot", "call", "direct call and return", 1.2),
    warm("hot", "fib", "fib(16): 3,193 calls", 1.2),
    warm("hot", "indirect", "call through a table of 16", 1.2),
    warm("memory", "load-store", "a load and a store in 16 KiB", 1.2),
    warm("memory", "tlb-miss", "a load in another page, through 64 MiB", 1.2),
    warm("memory", "memcpy", "64 KiB", 10.0),
    warm("memory", "rep-movsb", "4 KiB", 10.0),
    warm("memory", "rep-stosb", "4 KiB", 10.0),
    warm("memory", "strlen", "4,095 characters", 5.0),
    warm("math", "muldiv", "a multiplication and a division", 1.2),
    warm("math", "nbody", "a step of 5 bodies, double precision", 5.0),
    warm("math", "sse", "16 vector instructions, integer and float", 5.0),
    cold("cold", "cold-2k/1", "2,000 functions of 20 instructions: each, the first time", 10.0),
    cold("cold", "cold-2k/2", "the second time", 10.0),
    warm("cold", "cold-2k/1024", "passes 513 to 1,024", 1.2),
    cold("cold", "cold-50k/1", "50,000 functions: each, the first time", 10.0),
    cold("cold", "cold-50k/2", "the second time", 10.0),
    warm("cold", "cold-50k/64", "passes 33 to 64", 1.2),
    warm("os", "syscall", "getppid", 1.0),
    warm("os", "page-fault", "a page touched for the first time, of 64 mapped at once", 1.0),
    warm("os", "mmap", "a page mapped, touched, unmapped", 1.0),
    warm("os", "fork-exec", "a process of a small static program", 1.0),
    warm("os", "pipe", "a byte to another process and back", 1.0),
    warm("os", "signal", "sent, handled, returned", 1.0),
    warm("code", "code-rewrite", "a function written anew, and called", 5.0),
    warm("code", "code-fresh", "a function written elsewhere each time, called three times", 5.0),
    warm("code", "code-beside-data", "a function called, data in its page written", 5.0),
    warm("code", "xadd", "lock xadd", 1.0),
    warm("programs", "sha256sum", "64 MiB of zeros", 1.2),
    warm("programs", "gzip", "32 MiB of zeros", 1.2),
    warm("programs", "ash-loop", "200,000 turns", 1.2),
    warm("programs", "awk-loop", "a million turns", 1.2),
    warm("programs", "applets", "200 processes of busybox", 1.0),
    cold(DEBIAN, "python-start/1", "python3 -c, the first time, from the disk", 2.0),
    warm(DEBIAN, "python-start/8", "runs 5 to 8", 1.0),
    cold(DEBIAN, "python-compute/1", "a script of loops, calls, lists, dictionaries, strings: the first time", 1.0),
    warm(DEBIAN, "python-compute/2", "the second time", 1.2),
    cold(DEBIAN, "gcc-compile/1", "gcc -O2 -c of four files, the first time", 2.0),
    warm(DEBIAN, "gcc-compile/2", "the second time", 1.0),
    cold(DEBIAN, "sqlite/1", "60,000 rows inserted, joined, updated, checked: the first time", 2.0),
    warm(DEBIAN, "sqlite/2", "the second time", 1.2),
    cold(DEBIAN, "xz/1", "1.5 MB of a program compressed: the first time", 1.0),
    warm(DEBIAN, "xz/2", "the second time", 1.2),
    cold("boot", BOOT, "power-on to the shell's prompt", 2.0),
];

impl Entry {
    /// The benchmark's name.
    pub fn name(&self) -> &'static str {
        self.row.split('/').next().unwrap_or(self.row)
    }
}

/// What is known of a row; a pass that has no entry is one between.
pub fn find(row: &str) -> Option<&'static Entry> {
    SUITE.iter().find(|entry| entry.row == row)
}

pub fn class(row: &str) -> Class {
    find(row).map_or(Class::Between, |entry| entry.class)
}

/// Whether the benchmark of this name, which may have `:PASSES`, needs an installed Debian.
pub fn needs_debian(name: &str) -> bool {
    let name = name.split(':').next();
    SUITE.iter().any(|entry| entry.family == DEBIAN && Some(entry.name()) == name)
}

/// The names of all benchmarks, each once.
pub fn names() -> Vec<&'static str> {
    let mut names: Vec<_> = SUITE.iter().map(Entry::name).collect();
    names.dedup();
    names
}

/// The benchmarks that `wanted` means: names, with `:PASSES` where they have passes, and families; all where it is
/// empty.
pub fn select(wanted: &[String]) -> Result<Vec<String>> {
    if wanted.is_empty() {
        return Ok(names().into_iter().map(str::to_owned).collect());
    }
    let mut selected = Vec::new();
    for word in wanted {
        let family: Vec<_> = SUITE.iter().filter(|entry| entry.family == word).map(|e| e.name().to_owned()).collect();
        let name = word.split(':').next().unwrap_or(word);
        if !family.is_empty() {
            selected.extend(family);
        } else if names().contains(&name) {
            selected.push(word.clone());
        } else {
            let mut families: Vec<_> = SUITE.iter().map(|entry| entry.family).collect();
            families.dedup();
            bail!("no benchmark `{word}`; there are: {}; and families: {}", names().join(", "), families.join(", "));
        }
    }
    selected.dedup();
    Ok(selected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn rows_are_of_one_name_each_and_aim_above_the_floor() {
        let rows: BTreeSet<_> = SUITE.iter().map(|entry| entry.row).collect();
        assert_eq!(rows.len(), SUITE.len());
        let names = names();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
        assert!(SUITE.iter().all(|entry| entry.target > FLOOR));
        // a word on the command line means one thing
        assert!(SUITE.iter().all(|entry| entry.family == BOOT || !names.contains(&entry.family)));
    }

    #[test]
    fn selection() {
        let select = |words: &[&str]| select(&words.iter().map(|&w| w.to_owned()).collect::<Vec<_>>());
        assert_eq!(select(&[]).unwrap().len(), names().len());
        assert_eq!(select(&["cold", "block"]).unwrap(), ["cold-2k", "cold-50k", "block"]);
        assert_eq!(select(&["cold-2k:8"]).unwrap(), ["cold-2k:8"]);
        assert!(select(&["blok"]).unwrap_err().to_string().contains("block"));
        assert!(needs_debian("xz") && needs_debian("python-start:2") && !needs_debian("gzip") && !needs_debian(BOOT));
        assert_eq!(class("cold-2k/8"), Class::Between);
        assert_eq!(class("cold-2k/1"), Class::Cold);
    }
}
