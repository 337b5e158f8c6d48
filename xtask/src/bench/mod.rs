//! `bench`: the programs of `bench/` in a guest, here and elsewhere, turn about in one run; and the boot.

pub mod boot;
mod console;
mod programs;
mod report;

pub use programs::programs;

use crate::guest;
use crate::host::{Host, Job, Session};
use crate::util::say;
use anyhow::Result;

/// MiB of RAM, as the figures in the documents have it.
const MEMORY: u32 = 512;

/// The guest with the benchmarks in it.
const GUEST: &str = "bench";

pub struct Options {
    pub names: Vec<String>,
    pub guest: String,
    pub rounds: usize,
    pub host: Host,
}

impl Default for Options {
    fn default() -> Self {
        Self { names: Vec::new(), guest: guest::DEFAULT.to_owned(), rounds: 3, host: Host::Chromium }
    }
}

pub fn run(opts: &Options) -> Result<()> {
    if opts.names == ["boot"] {
        return boot::boot(opts);
    }
    opts.host.prepare()?;
    Host::Qemu.prepare()?;
    let mut guest = guest::make(GUEST)?;
    guest.append += &format!(" bench={}", opts.names.join(","));
    for round in 1..=opts.rounds {
        say(format!("round {round} of {}: {}", opts.rounds, opts.host.name()));
        let here = one(opts.host, guest.options(MEMORY))?;
        say(format!("round {round} of {}: native QEMU", opts.rounds));
        let there = one(Host::Qemu, guest.options(MEMORY))?;
        println!("{:18} {:>10} {:>10} {:>7}", "", opts.host.name(), "QEMU", "ratio");
        for (a, b) in here.iter().zip(&there) {
            let (ours, theirs) = (a.true_ns(), b.true_ns());
            let off = if a.clock_is_off() || b.clock_is_off() { " clock off" } else { "" };
            println!(
                "{:18} {:>10} {:>10} {:>6.2}x{off}",
                a.name,
                report::time(ours),
                report::time(theirs),
                theirs / ours
            );
        }
    }
    Ok(())
}

fn one(host: Host, mut options: Vec<String>) -> Result<Vec<console::Row>> {
    if host == Host::Qemu {
        options.extend(["-cpu", "max"].map(str::to_owned));
    }
    let mut session = Session::start(host, &Job { options, ..Job::default() })?;
    console::read(&mut session)
}
