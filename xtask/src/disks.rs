//! Disks as a guest's kernel uses them: random blocks on every kind of image; and what a power cut leaves, which is a host that is
//! killed in the middle of writes, while the guest writes files and blocks.

use crate::boot::{command, disk, to_prompt};
use crate::guest::{self, Guest};
use crate::host::{Host, Job, Session, artefacts};
use crate::setup;
use crate::util::{output, say, target};
use anyhow::{Context, Result, bail, ensure};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const GUEST: &str = "debian-9p-6.1";
const MEMORY: u32 = 256;
/// Operations on each kind of image, and MiB of it.
const OPERATIONS: u32 = 400;
const VERIFIED: u32 = 24;
/// The power goes off within this.
const OFF: Duration = Duration::from_secs(300);
/// The guest has written something within this.
const WRITTEN: Duration = Duration::from_secs(300);

/// Power cuts in the tests of every day, and in the long ones.
pub const CUTS: u32 = 3;
pub const MANY_CUTS: u32 = 10;

/// Random writes, zeroes, discards and flushes on images of every kind, which are read again as they are to be.
pub fn verify() -> Result<()> {
    setup::programs(&[setup::QEMU_IMG])?;
    let guest = guest::make(GUEST)?;
    let dir = fresh("verify")?;
    let size = format!("{VERIFIED}M");
    let path = |name: &str| dir.join(name).display().to_string();
    for name in ["raw", "base", "forgotten", "backing"] {
        File::create(path(name))?.set_len(u64::from(VERIFIED) << 20)?;
    }
    output(Command::new("qemu-img").args(["create", "-q", "-f", "qcow2", &path("qcow2"), &size]))?;
    let small = ["-o", "cluster_size=4k", "-F", "raw", "-b", &path("backing")];
    output(Command::new("qemu-img").args(["create", "-q", "-f", "qcow2"]).args(small).arg(path("small")))?;
    let drives = [
        format!("file={},format=raw", path("raw")),
        format!("file={},format=raw,snapshot=on", path("forgotten")),
        format!("file={},format=raw,overlay={}", path("base"), path("overlay")),
        format!("file={},format=qcow2", path("qcow2")),
        format!("file={},format=qcow2", path("small")),
    ];
    let mut session = start(&guest, &drives, &[])?;
    let result = verify_all(&mut session, drives.len());
    keep(&session, "disks-verify")?;
    result?;
    for image in ["qcow2", "small"] {
        output(Command::new("qemu-img").args(["check", "-q"]).arg(path(image))).context("after random operations")?;
    }
    for base in ["base", "forgotten", "backing"] {
        ensure!(fs::read(path(base))?.iter().all(|byte| *byte == 0), "{base} was to stay as it is");
    }
    Ok(())
}

fn verify_all(session: &mut Session, disks: usize) -> Result<()> {
    for (disk, seed) in (b'a'..).zip(1..=disks) {
        let typed = format!("blocks verify /dev/vd{} {OPERATIONS} {seed}", char::from(disk));
        let got = command(session, &typed)?;
        ensure!(got.trim_end() == "no difference", "`{typed}`: {got}");
    }
    session.send("poweroff\n")?;
    session.wait_end(OFF)
}

/// Writes files and blocks, and kills the host at any moment, again and again. Everything that was flushed is there after each
/// time, on a file system that needs no more repair than its journal, and on a disk that is exactly as of a flush.
pub fn power_cuts(times: u32) -> Result<()> {
    let guest = guest::make(GUEST)?;
    let image = disk(32, &guest, "power-cuts")?;
    let dir = fresh("power-cuts")?;
    let path = |name: &str| dir.join(name).display().to_string();
    File::create(path("blocks"))?.set_len(8 << 20)?;
    fs::create_dir(path("share"))?;
    let drives = [
        format!("file={},format=raw,overlay={}", image.display(), path("files.overlay")),
        format!("file={},format=raw,overlay={}", path("blocks"), path("blocks.overlay")),
    ];
    let share = ["-virtfs".to_owned(), format!("local,path={},mount_tag=share,security_model=none", path("share"))];
    let mut seen = Seen::default();
    for turn in 0..=times {
        let mut session = start(&guest, &drives, &share)?;
        let result = after_cut(&mut session, &dir.join("share"), &mut seen)
            .and_then(|()| if turn == times { Ok(()) } else { until_cut(&mut session, &mut seen) });
        keep(&session, "disks-power-cut")?;
        result.with_context(|| format!("after {turn} power cuts, {seen:?}"))?;
    }
    say(format!(
        "{times} power cuts: {} files and {} rounds of blocks were flushed, and are there",
        seen.files, seen.rounds
    ));
    Ok(())
}

/// What the guest has said is durable: the last file, the last round of blocks.
#[derive(Debug, Default)]
struct Seen {
    files: u32,
    rounds: u32,
}

/// The contents of file `$1`, which nothing else holds.
const CONTENT: &str = "content() { yes $1 | head -c $((1000 + $1 % 7 * 9000)); }";
/// Files that are kept: older ones are removed.
const FILES: u32 = 40;

fn after_cut(session: &mut Session, share: &Path, seen: &mut Seen) -> Result<()> {
    let mut answer = |typed: &str| command(session, typed).with_context(|| format!("`{typed}`"));
    answer("mkdir /a /s; mount -t 9p -o trans=virtio,version=9p2000.L,msize=524288 share /s")?;
    answer("cat /dev/vda > /s/disk.img")?;
    check_file_system(&share.join("disk.img"))?;

    let state = answer(&format!("blocks state /dev/vdb {}", seen.rounds))?;
    let round = state.trim_end().strip_prefix("as of round ").and_then(|n| n.parse().ok());
    seen.rounds = round.with_context(|| format!("the disk of blocks: {state}"))?;

    answer("mount -t ext4 /dev/vda /a; dmesg | grep -i 'ext4.*error'")?;
    answer(CONTENT)?;
    let first = seen.files.saturating_sub(FILES - 1).max(1);
    let check = "content $n | cmp - /a/f$n || echo $n differs";
    let wrong = answer(&format!("for n in $(seq {first} {}); do {check}; done", seen.files))?;
    ensure!(wrong.is_empty(), "files that were flushed: {wrong}");
    Ok(())
}

/// What the superblock has of all groups, which a kernel writes when it unmounts.
const TOTALS: [&str; 2] = ["Free blocks count wrong (", "Free inodes count wrong ("];

/// What `fsck` says of the file system as the cut left it: the journal is to be replayed, and then all is well.
fn check_file_system(image: &Path) -> Result<()> {
    let e2fsck = setup::mke2fs()?.replace("mke2fs", "e2fsck");
    let run = |how: &str| Command::new(&e2fsck).arg(how).arg("-f").arg(image).output();
    let repaired = run("-y")?;
    let said = String::from_utf8_lossy(&repaired.stdout).into_owned();
    // 1 says that something was corrected: the journal was replayed, and the totals that the kernel keeps in memory
    let asked = said.lines().filter(|line| line.contains(['?'])).count();
    let totals = said.lines().filter(|line| TOTALS.iter().any(|total| line.starts_with(total))).count();
    let well = repaired.status.code().is_some_and(|code| code <= 1) && asked == totals;
    ensure!(well, "e2fsck: {}: {said}", repaired.status);
    let clean = run("-n")?;
    ensure!(clean.status.success(), "after its repair: {}", String::from_utf8_lossy(&clean.stdout));
    Ok(())
}

/// Writes until some moment after the first flush, and kills the host.
fn until_cut(session: &mut Session, seen: &mut Seen) -> Result<()> {
    let from = session.console.len();
    let files = format!(
        "n={}; while :; do n=$((n+1)); content $n > /a/f$n; rm -f /a/f$((n-{FILES})); sync; echo file $n; done",
        seen.files
    );
    session.send(&format!("({files}) & blocks write /dev/vdb {}\n", seen.rounds))?;
    let both = |console: &str| {
        let new = &console[from..];
        (last(new, "file ").is_some() && last(new, "round ").is_some()).then_some(())
    };
    session.wait_for(WRITTEN, both).context("nothing is written")?;
    let moment = SystemTime::now().duration_since(UNIX_EPOCH)?.subsec_nanos() % 2000;
    thread::sleep(Duration::from_millis(moment.into()));
    session.kill()?;
    let new = &session.console[from..];
    seen.files = last(new, "file ").unwrap_or(seen.files);
    seen.rounds = last(new, "round ").unwrap_or(seen.rounds);
    Ok(())
}

/// The number in the last whole line that begins with `word`.
fn last(console: &str, word: &str) -> Option<u32> {
    let (whole, _) = console.rsplit_once('\n')?;
    whole.lines().rev().find_map(|line| line.strip_prefix(word)?.parse().ok())
}

fn start(guest: &Guest, drives: &[String], more: &[String]) -> Result<Session> {
    let mut options = guest.options(MEMORY);
    options.extend(drives.iter().flat_map(|drive| ["-drive".to_owned(), format!("{drive},if=virtio")]));
    options.extend_from_slice(more);
    let mut session = Session::start(Host::Node, &Job { options, ..Job::default() })?;
    to_prompt(&mut session, guest, 0)?;
    Ok(session)
}

fn keep(session: &Session, name: &str) -> Result<()> {
    Ok(fs::write(artefacts()?.join(format!("{name}.log")), &session.console)?)
}

fn fresh(name: &str) -> Result<PathBuf> {
    let dir = target().join("tmp").join(name);
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir)?;
    Ok(dir)
}

/// `cargo xtask disks`
pub fn run(cuts: u32) -> Result<()> {
    Host::Node.prepare()?;
    if cuts == 0 {
        bail!("disks: --cuts 0 tests nothing");
    }
    verify()?;
    power_cuts(cuts)
}
