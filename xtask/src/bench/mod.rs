//! `bench`: the programs of `bench/` in a guest, here and elsewhere, turn about in one run; and the time to boot.
//! `bench/README.md` says how to read it, docs/decisions/103 why it is so.

mod boot;
mod console;
mod debian;
mod plot;
mod programs;
mod report;
mod suite;

pub use programs::{Set, programs, set};

use crate::guest;
use crate::host::{self, Host, Job, Session};
use crate::setup;
use crate::util::{root, say, target};
use anyhow::{Result, bail};
use console::Row;
use report::Side;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// MiB of RAM, as the figures in the documents have it.
const MEMORY: u32 = 512;

pub struct Options {
    pub names: Vec<String>,
    /// Of the boot.
    pub guest: String,
    pub rounds: usize,
    pub host: Host,
    pub peers: Vec<Place>,
}

impl Default for Options {
    fn default() -> Self {
        Self { names: Vec::new(), guest: guest::DEFAULT.to_owned(), rounds: 3, host: Host::Chromium, peers: Vec::new() }
    }
}

/// Where a guest with the benchmarks runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// pagevm.
    Host(Host),
    /// Native QEMU, translating, with a processor model of its own.
    Qemu(&'static str),
    /// In Node, with a 32-bit guest: it has no other.
    V86,
}

/// The peer that targets are for. Its processor can do all that QEMU can, as ours can do all that we can.
const QEMU: Place = Place::Qemu("max");

impl Place {
    /// A place to compare with.
    pub fn peer(name: &str) -> Result<Self> {
        match name {
            "qemu-tcg" => Ok(QEMU),
            "qemu64" => Ok(Self::Qemu("qemu64")),
            "v86" => Ok(Self::V86),
            _ => bail!("no peer `{name}`: qemu-tcg, qemu64 (QEMU with its default processor) or v86"),
        }
    }

    fn name(self) -> &'static str {
        match self {
            QEMU => "qemu-tcg",
            Self::Qemu(cpu) => cpu,
            Self::Host(host) => host.name(),
            Self::V86 => "v86",
        }
    }

    /// The guest with the benchmarks in it.
    fn guest(self) -> &'static str {
        match self {
            Self::Host(_) | Self::Qemu(_) => "bench",
            Self::V86 => "bench-i386",
        }
    }

    fn prepare(self) -> Result<()> {
        match self {
            Self::Host(host) => host.prepare()?,
            Self::Qemu(_) => Host::Qemu.prepare()?,
            Self::V86 => {
                setup::node()?;
                setup::npm(&root().join("bench/v86"))?;
                setup::seabios()?;
            }
        }
        guest::make(self.guest()).map(drop)
    }

    fn command(self, job: &Job) -> Result<Command> {
        match self {
            Self::Qemu(cpu) => {
                let mut command = Host::Qemu.command(job)?;
                command.args(["-cpu", cpu]);
                Ok(command)
            }
            Self::Host(host) => host.command(job),
            Self::V86 => {
                let mut command = Command::new(setup::node()?);
                command.arg(root().join("bench/v86/run.mjs")).arg(job.json("v86")?.to_string());
                Ok(command)
            }
        }
    }

    /// The options that boot a guest to run `names`, which are all of one guest, and to power off.
    fn options(self, names: &[String]) -> Result<Vec<String>> {
        if names.iter().any(|name| suite::needs_debian(name)) {
            return debian::options(names, MEMORY);
        }
        let mut guest = guest::make(self.guest())?;
        guest.append += &format!(" bench={}", names.join(","));
        Ok(guest.options(MEMORY))
    }

    /// Boots a guest that runs `names`; `stats` gets our engine's figures.
    fn measure(self, names: &[String], stats: &Path) -> Result<console::Outcome> {
        let mut job = Job { options: self.options(names)?, ..Job::default() };
        if self == Self::V86 {
            job.until = Some(console::END.to_owned()); // it does not say that a guest has powered off
        }
        let _ = fs::remove_file(stats);
        if let Self::Host(_) = self {
            job.stats = Some(stats.to_owned());
        }
        console::read(&mut Session::of(self.command(&job)?)?)
    }
}

/// The benchmarks that `opts` means, and what is said of those that are left out.
fn select(opts: &Options) -> Result<(Vec<String>, Option<String>)> {
    let mut names = suite::select(&opts.names)?;
    if !names.iter().any(|name| suite::needs_debian(name)) || debian::guest()?.is_some() {
        return Ok((names, None));
    }
    if !opts.names.is_empty() {
        bail!("{}", debian::MISSING);
    }
    let (without, left): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| !suite::needs_debian(name));
    names = without;
    Ok((names, Some(format!("LEFT OUT: {}: {}", left.join(", "), debian::MISSING))))
}

pub fn run(opts: &Options) -> Result<()> {
    let (names, left_out) = select(opts)?;
    left_out.iter().for_each(say);
    if opts.rounds == 0 || opts.host == Host::Qemu {
        bail!("bench compares one or more rounds in a browser or Node with as many elsewhere");
    }
    let default_peers = opts.peers.is_empty() || opts.peers == [QEMU];
    if names == [suite::BOOT] && default_peers {
        return boot::run(opts);
    }
    let peers = if opts.peers.is_empty() { vec![QEMU] } else { opts.peers.clone() };
    let places: Vec<_> = std::iter::once(Place::Host(opts.host)).chain(peers).collect();
    for place in &places {
        place.prepare()?;
    }
    let mut sides: Vec<_> = places
        .iter()
        .map(|place| Side { name: place.name(), same_image: *place != Place::V86, rounds: Vec::new() })
        .collect();
    let mut wrong = Vec::new();
    let mut engine = Vec::new();
    for round in 1..=opts.rounds {
        for (place, side) in places.iter().zip(&mut sides) {
            say(format!("round {round} of {}: {}", opts.rounds, place.name()));
            let turn = one_turn(*place, &names, &opts.guest);
            side.rounds.push(turn.rows);
            engine.extend(turn.engine);
            wrong.extend(turn.wrong.into_iter().map(|e| format!("{}, round {round}: {e}", place.name())));
        }
    }
    report(&sides, &places, engine, opts)?;
    left_out.iter().for_each(|line| println!("{line}"));
    if wrong.is_empty() { Ok(()) } else { bail!("{}", wrong.join("\n")) }
}

/// Where our engine's figures of a turn go.
fn stats_file() -> Result<PathBuf> {
    let dir = target().join("bench");
    fs::create_dir_all(&dir)?;
    Ok(dir.join("turn.json"))
}

/// One place's turn. What is there counts, whatever went wrong beside it.
#[derive(Default)]
struct Turn {
    rows: Vec<Row>,
    wrong: Vec<String>,
    /// Our engine's figures of each boot.
    engine: Vec<Value>,
}

impl Turn {
    /// Boots a guest that runs `names`.
    fn measure(&mut self, place: Place, names: &[String]) -> Result<()> {
        let stats = stats_file()?;
        let outcome = place.measure(names, &stats)?;
        self.rows.extend(outcome.rows);
        self.wrong.extend(outcome.wrong);
        if let Ok(text) = fs::read_to_string(&stats) {
            self.engine.push(serde_json::from_str(&text)?);
        }
        Ok(())
    }

    fn note(&mut self, what: &str, result: Result<()>) {
        if let Err(e) = result {
            self.wrong.push(format!("{what}{e:#}"));
        }
    }
}

/// Runs `names` in a place: those of each guest in a boot of their own, and the boot that is itself measured.
fn one_turn(place: Place, names: &[String], boot_guest: &str) -> Turn {
    let mut turn = Turn::default();
    let (boot, names): (Vec<_>, Vec<_>) = names.iter().cloned().partition(|name| name == suite::BOOT);
    let (debian, small): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| suite::needs_debian(name));
    for names in [small, debian] {
        let there = place != Place::V86 || !names.iter().any(|name| suite::needs_debian(name));
        if !names.is_empty() && there {
            let measured = turn.measure(place, &names);
            turn.note("", measured);
        }
    }
    if !boot.is_empty() {
        let row = boot::row(place, boot_guest).map(|row| turn.rows.push(row));
        turn.note("boot: ", row);
    }
    turn
}

/// The table to standard output; the JSON file, with the engine's own figures of each turn, and the pictures.
fn report(sides: &[Side], places: &[Place], engine: Vec<Value>, opts: &Options) -> Result<()> {
    let lines = report::lines(sides);
    let judged = places.iter().position(|place| *place == QEMU);
    println!("pagevm ({}), {MEMORY} MB, {} round(s): time of an operation, medians", sides[0].name, opts.rounds);
    println!("ratio: the peer's time by pagevm's, above 1 pagevm is faster");
    print!("{}", report::table(sides, &lines, judged));
    let dir = target().join("bench");
    let mut json = report::json(sides, &lines);
    json["memory_mib"] = json!(MEMORY);
    json["host"] = json!(opts.host.name());
    json["engine"] = json!(engine);
    if judged.is_some() {
        json["qemu"] = json!(host::qemu_version()?);
    }
    let file = dir.join("suite.json");
    fs::write(&file, format!("{json:#}\n"))?;
    println!("{}", file.display());
    for (peer, side) in sides.iter().enumerate().skip(1) {
        let file = dir.join(format!("suite-{}.svg", side.name));
        fs::write(&file, plot::svg(&lines, peer, sides[0].name, side.name, judged == Some(peer)))?;
        println!("{}", file.display());
    }
    Ok(())
}

/// A test of all of it but the figures: two benchmarks in Node, that each computes the same again, and that the guest's list is this program's.
pub fn smoke() -> Result<()> {
    let place = Place::Host(Host::Node);
    place.prepare()?;
    let bench = target().join("bench/programs/amd64/bench");
    let listed = String::from_utf8(crate::util::output(Command::new(bench).arg("list"))?)?;
    let (listed, mut known): (Vec<_>, _) = (listed.lines().collect(), suite::names());
    known.retain(|name| *name != suite::BOOT);
    if listed != known {
        bail!("the guest's benchmarks are {listed:?}, the suite's {known:?}");
    }
    let outcome = place.measure(&["check", "block", "cold-2k:4"].map(str::to_owned), &stats_file()?)?;
    let rows: Vec<_> = outcome.rows.iter().map(|row| (&*row.name, row.ops >= 2000 && row.ns > 0.0)).collect();
    let expected = ["block", "cold-2k/1", "cold-2k/2", "cold-2k/4"].map(|name| (name, true));
    if rows != expected || !outcome.wrong.is_empty() {
        bail!("the guest's results are {outcome:?}");
    }
    Ok(())
}
