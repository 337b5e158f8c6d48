//! An installed Debian in a browser, to its login prompt: how much of its disk is fetched until then, by HTTP ranges of the image and in
//! the packer's chunks. The rest of what it does is tested by `tests/boot/debian.boot`.

use crate::guest::{self, Guest, IMAGE};
use crate::host::{Host, Job, Session, artefacts};
use crate::pack::{Server, pack};
use crate::util::{root, say, size, target};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::fs;
use std::time::Duration;

const GUEST: &str = "debian-x86_64";
const MEMORY: u32 = 512;
/// On the slowest machine that tests run on.
const TIMEOUT: Duration = Duration::from_secs(600);
/// For the tool to end in, after that.
const PATIENCE: Duration = Duration::from_secs(300);
/// No more than one part in so many of the image may be fetched.
const FRACTION: u64 = 8;

pub fn run(host: Host) -> Result<()> {
    let guest = guest::make(GUEST)?;
    ranges(host, &guest)?;
    chunks(host, &guest)
}

/// The image as it is, from our own server, which has ranges.
fn ranges(host: Host, guest: &Guest) -> Result<()> {
    let dir = target().join("tmp/lazy");
    fs::create_dir_all(&dir)?;
    let stats = dir.join("stats.json");
    boot(host, guest, Job { options: guest.options(MEMORY), stats: Some(stats.clone()), ..Job::default() }, "ranges")?;
    let figures: Value = serde_json::from_str(&fs::read_to_string(&stats)?)?;
    let fetched = figures["fetched_bytes"].as_u64().context("no `fetched_bytes` in the figures of the run")?;
    let whole = [guest.file("vmlinuz"), guest.file(guest.initrd()), root().join("dist/engine.wasm")];
    let whole: Vec<_> = whole.iter().map(|file| Ok(fs::metadata(file)?.len())).collect::<Result<_>>()?;
    let disk =
        fetched.checked_sub(whole.iter().sum()).context("less was fetched than kernel, initrd and engine are")?;
    judge(guest, "by ranges", disk)
}

/// Packed, from a server that has none.
fn chunks(host: Host, guest: &Guest) -> Result<()> {
    let site = target().join("tmp/lazy/site");
    fs::create_dir_all(&site)?;
    say("packing the disk (a minute or two)");
    pack(&site, &guest.options(MEMORY))?;
    let server = Server::start(&site, &artefacts()?.join(format!("lazy-chunks-{}-server.log", host.name())))?;
    boot(host, guest, Job { page: Some(server.url.clone()), ..Job::default() }, "chunks")?;
    let fetched = server.fetched(&site)?;
    say(format!("fetched {} in {} requests, {} of them chunks", size(fetched.all), fetched.requests, fetched.chunks));
    judge(guest, "in compressed chunks", fetched.disk)
}

/// Boots to the login prompt; the console and a picture of the page are kept.
fn boot(host: Host, guest: &Guest, job: Job, how: &str) -> Result<()> {
    let stem = artefacts()?.join(format!("lazy-{how}-{}", host.name()));
    let job = Job {
        until: Some(guest.prompt().to_owned()),
        timeout: Some(TIMEOUT),
        screenshot: Some(stem.with_extension("png")),
        ..job
    };
    let mut session = Session::start(host, &job)?;
    let result = session.wait_end(TIMEOUT + PATIENCE);
    let log = stem.with_extension("log");
    fs::write(&log, &session.console)?;
    result.with_context(|| format!("no login prompt; the console is in {}", log.display()))
}

/// Says what part of the image was fetched; it must be a fraction.
fn judge(guest: &Guest, how: &str, disk: u64) -> Result<()> {
    let image = fs::metadata(guest.file(IMAGE))?.len();
    let percent = disk as f64 / image as f64 * 100.0;
    let (fetched, whole) = (size(disk), size(image));
    say(format!("{how}: {fetched} of the disk's {whole} were fetched before the prompt, {percent:.1} %"));
    if disk == 0 || disk > image / FRACTION {
        bail!("{how}: {fetched} of the disk's {whole} were fetched: expected some, and no more than a {FRACTION}th");
    }
    Ok(())
}
