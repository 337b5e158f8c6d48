//! `bench boot`: the time from power-on to the shell's prompt, here and in native QEMU's TCG, turn about in one run.

use super::console::Row;
use super::report::median;
use super::{MEMORY, Options, Place};
use crate::guest::{self, Guest, PROMPT};
use crate::host::{self, Host, Job};
use crate::util::{say, target};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(600);

/// One boot's figures, as `run --stats` writes them.
struct Round(Value);

impl Round {
    fn ms(&self, name: &str) -> Result<f64> {
        self.0[name].as_f64().with_context(|| format!("no `{name}` in the figures of the run"))
    }

    /// Millions of guest instructions a second, up to the prompt.
    fn mips(&self) -> Result<f64> {
        Ok(self.ms("guest_insns")? / self.ms("until_ms")? / 1e3)
    }
}

pub fn run(opts: &Options) -> Result<()> {
    opts.host.prepare()?;
    Host::Qemu.prepare()?;
    let guest = guest::make(&opts.guest)?;
    let (mut here, mut native) = (Vec::new(), Vec::new());
    for round in 1..=opts.rounds {
        say(format!("boot {round} of {} in {}", opts.rounds, opts.host.name()));
        here.push(one(opts.host, &guest, &[])?);
        say(format!("boot {round} of {} in native QEMU", opts.rounds));
        native.push(one(Host::Qemu, &guest, &[])?);
    }

    println!("{}, {MEMORY} MB, power-on to prompt, {} round(s)", opts.guest, opts.rounds);
    println!(
        "{:>5} {:>12} {:>12} {:>12} {:>10} {:>12} {:>6}",
        "round", "first line", "prompt", "instructions", "MIPS", "QEMU prompt", "ratio"
    );
    let mut ratios = Vec::new();
    for (round, (ours, theirs)) in here.iter().zip(&native).enumerate() {
        let ratio = ours.ms("until_ms")? / theirs.ms("until_ms")?;
        ratios.push(ratio);
        println!(
            "{:>5} {:>10.2} s {:>10.2} s {:>10.1} M {:>10.1} {:>10.2} s {:>6.2}",
            round + 1,
            ours.ms("first_output_ms")? / 1e3,
            ours.ms("until_ms")? / 1e3,
            ours.ms("guest_insns")? / 1e6,
            ours.mips()?,
            theirs.ms("until_ms")? / 1e3,
            ratio
        );
    }
    let mips = here.iter().map(Round::mips).collect::<Result<Vec<_>>>()?;
    println!("median: {:.1} MIPS, {:.2} times native QEMU's time", median(mips.clone()), median(ratios.clone()));

    let report = json!({
        "benchmark": "boot",
        "guest": opts.guest,
        "memory_mib": MEMORY,
        "host": opts.host.name(),
        "qemu": host::qemu_version()?,
        "rounds": here.iter().map(|round| &round.0).collect::<Vec<_>>(),
        "qemu_rounds": native.iter().map(|round| &round.0).collect::<Vec<_>>(),
        "median_mips": median(mips),
        "median_ratio_to_qemu": median(ratios),
    });
    let file = target().join("bench/boot.json");
    fs::create_dir_all(target().join("bench"))?;
    fs::write(&file, format!("{report:#}\n"))?;
    println!("{}", file.display());
    Ok(())
}

/// One boot as a row of the suite.
pub fn row(place: Place, guest: &str) -> Result<Row> {
    let round = match place {
        Place::Host(host) => one(host, &guest::make(guest)?, &[])?,
        Place::Qemu(cpu) => one(Host::Qemu, &guest::make(guest)?, &["-cpu", cpu])?,
        Place::V86 => {
            let options = guest::make(place.guest())?.options(MEMORY);
            let job = Job { options, until: Some(PROMPT.to_owned()), timeout: Some(TIMEOUT), ..Job::default() };
            measured(|stats| place.command(&Job { stats: Some(stats.to_owned()), ..job }))?
        }
    };
    Ok(Row { name: super::suite::BOOT.to_owned(), ns: round.ms("until_ms")? * 1e6, ops: 1, checksum: 0, clock: 1.0 })
}

/// One boot to the prompt with `more` options, console unseen.
fn one(host: Host, guest: &Guest, more: &[&str]) -> Result<Round> {
    measured(|stats| {
        // by the command line itself, so that what is measured is what `run` prints
        let mut command = Command::new(std::env::current_exe()?);
        command.args([
            "run",
            "--host",
            host.name(),
            "--until",
            guest.prompt(),
            "--timeout",
            &TIMEOUT.as_secs().to_string(),
        ]);
        command.arg("--stats").arg(stats).arg("--").args(guest.options(MEMORY)).args(more);
        Ok(command)
    })
}

/// Runs the command made for a file of figures.
fn measured(command: impl FnOnce(&Path) -> Result<Command>) -> Result<Round> {
    let stats = target().join("bench/round.json");
    fs::create_dir_all(target().join("bench"))?;
    let _ = fs::remove_file(&stats);
    crate::util::run(command(&stats)?.stdin(Stdio::null()).stdout(Stdio::null()))?;
    let text = fs::read_to_string(&stats).with_context(|| stats.display().to_string())?;
    Ok(Round(serde_json::from_str(&text)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_that_are_missing_are_named() {
        let round = Round(json!({ "guest_insns": 2e9, "until_ms": 10_000.0 }));
        assert_eq!(round.mips().unwrap(), 200.0);
        assert!(round.ms("first_output_ms").unwrap_err().to_string().contains("first_output_ms"));
    }
}
