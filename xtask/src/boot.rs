//! Boot tests: transcripts in `tests/boot/*.boot`, typed at a guest's shell and compared line by line.
//! `tests/boot/README.md` has the form.

use crate::guest::{self, Guest, PROMPT, Root};
use crate::host::{Host, Job, Session, artefacts, code_limits};
use crate::lazy;
use crate::pack;
use crate::refusals;
use crate::util::{output, root, say, target};
use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A boot to the prompt, and then a command, end within these on the slowest machine that tests run on.
const BOOT: Duration = Duration::from_secs(600);
const COMMAND: Duration = Duration::from_secs(300);

/// In a test's options: the disk that is made for it, and a directory for it alone, empty.
const DISK: &str = "{disk}";
const SHARE: &str = "{share}";

/// Seconds the guest's clock may be away from the host's: what lies between the guest's answer and our reading of it.
const CLOCK: u64 = 10;

/// Kernel warnings that are right although native QEMU has not got them, each for hardware that is not there.
const EXPECTED_WARNINGS: &[&str] = &[
    // the board has a keyboard and no mouse
    "PS/# appears to have AUX port disabled",
];

/// A file of `tests/boot`.
#[derive(Debug)]
pub struct Test {
    pub name: String,
    /// MiB.
    memory: u32,
    /// Added to the guest's kernel command line.
    append: String,
    /// More options; `{disk}` is a disk made for the test, `{share}` a directory.
    options: Vec<String>,
    /// MiB of that disk.
    disk: Option<u32>,
    /// Limits to translated code.
    code: Option<Value>,
    /// Where it runs, and whether only in `test --long`.
    pub places: Vec<Place>,
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    pub guest: String,
    pub host: Host,
    pub long: bool,
}

#[derive(Debug, PartialEq)]
struct Step {
    typed: String,
    expected: Expected,
}

#[derive(Debug, PartialEq)]
enum Expected {
    /// Lines with `{..}` fields.
    Lines(Vec<String>),
    /// The machine powers off.
    Off,
    /// The machine starts again.
    Again,
    /// Kernel warnings, none that native QEMU has not.
    Quiet,
}

/// All of `tests/boot`, in order of their names.
pub fn all() -> Result<Vec<Test>> {
    let dir = root().join("tests/boot");
    let mut paths: Vec<_> = fs::read_dir(&dir)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "boot"));
    paths.sort();
    paths.iter().map(|path| read(path)).collect()
}

fn read(path: &Path) -> Result<Test> {
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    parse(&name, &fs::read_to_string(path)?).with_context(|| path.display().to_string())
}

fn parse(name: &str, text: &str) -> Result<Test> {
    let mut test = Test {
        name: name.to_owned(),
        memory: 0,
        append: String::new(),
        options: Vec::new(),
        disk: None,
        code: None,
        places: Vec::new(),
        steps: Vec::new(),
    };
    for (number, line) in text.lines().enumerate() {
        let here = || format!("line {}: {line}", number + 1);
        if let Some(typed) = line.strip_prefix("$ ") {
            test.steps.push(Step { typed: typed.to_owned(), expected: Expected::Lines(Vec::new()) });
        } else if let Some(step) = test.steps.last_mut() {
            let Expected::Lines(lines) = &mut step.expected else { bail!("{}: nothing may follow", here()) };
            match line {
                "{off}" => step.expected = Expected::Off,
                "{again}" => step.expected = Expected::Again,
                "{quiet}" => step.expected = Expected::Quiet,
                _ => lines.push(line.to_owned()),
            }
        } else {
            let mut words = line.split_whitespace();
            match words.next() {
                None | Some("#") => {}
                Some("memory") => {
                    let mib = words.next().with_context(here)?;
                    test.memory = mib.parse().with_context(here)?;
                }
                Some("append") => test.append = words.fold(String::new(), |line, word| line + " " + word),
                Some("options") => test.options.extend(words.map(str::to_owned)),
                Some("disk") => test.disk = Some(words.next().with_context(here)?.parse().with_context(here)?),
                Some("code") => test.code = Some(code_limits(words.next().with_context(here)?).with_context(here)?),
                Some(when @ ("on" | "long")) => {
                    let guest = words.next().with_context(here)?;
                    for host in words {
                        let (guest, host) = (guest.to_owned(), Host::parse(host).with_context(here)?);
                        test.places.push(Place { guest, host, long: when == "long" });
                    }
                }
                Some(_) => bail!(
                    "{}: expected `memory`, `append`, `options`, `disk`, `code`, `on`, `long`, a comment or `$ `",
                    here()
                ),
            }
        }
    }
    if test.memory == 0 || test.steps.is_empty() || test.places.is_empty() {
        bail!("a boot test has `memory`, `on` and commands");
    }
    Ok(test)
}

/// Runs `test` in one place; the console goes to a file among the artefacts, the page too.
pub fn run(test: &Test, guest_name: &str, host: Host) -> Result<Duration> {
    run_with(test, guest_name, host, test.code.clone())
}

/// [`run`] with other limits to translated code than the test's own.
fn run_with(test: &Test, guest_name: &str, host: Host, code: Option<Value>) -> Result<Duration> {
    let started = Instant::now();
    let mut guest = guest::make(guest_name)?;
    guest.append.push_str(&test.append);
    let stem = format!("{}-{guest_name}-{}", test.name, host.name());
    let page =
        matches!(host, Host::Chromium | Host::Firefox).then(|| artefacts().map(|dir| dir.join(format!("{stem}.png"))));
    let mut options = guest.options(test.memory);
    options.extend(more_options(test, &guest, &stem)?);
    let stats = code.is_some().then(|| artefacts().map(|dir| dir.join(format!("{stem}.json")))).transpose()?;
    let job = Job { options, code, stats, screenshot: page.transpose()?, ..Job::default() };
    let mut session = Session::start(host, &job)?;
    let result = steps(test, &guest, host, &mut session).and_then(|()| match (&job.code, &job.stats) {
        (Some(code), Some(stats)) => translated(code, &serde_json::from_str(&fs::read_to_string(stats)?)?),
        _ => Ok(()),
    });
    fs::write(artefacts()?.join(format!("{stem}.log")), &session.console)?;
    result.with_context(|| {
        let tail: Vec<_> = session.console.lines().rev().take(15).collect();
        let tail: Vec<_> = tail.into_iter().rev().map(|line| format!("    | {line}")).collect();
        format!("the console ends:\n{}\n  boot test {stem}", tail.join("\n"))
    })?;
    Ok(started.elapsed())
}

/// Whether the `figures` of a run are those of a host that has the limits `code`: a test of refusals is one only if there were some.
fn translated(code: &Value, figures: &Value) -> Result<()> {
    let figure = |name| figures[name].as_u64().with_context(|| format!("no `{name}` in the figures of the run"));
    let (regions, refusals) = (figure("regions")?, figure("refusals")?);
    let refuses = code.get("modules").is_some() || code.get("slots").is_some();
    let translates = code.get("support").is_none_or(|support| support != "none") && code["slots"] != 0;
    if (refusals > 0) != refuses || (regions > 0) != translates {
        bail!("{regions} regions were translated and {refusals} refusals met, with `code` {code}");
    }
    Ok(())
}

/// The test's own options, with the disk that they name.
fn more_options(test: &Test, guest: &Guest, stem: &str) -> Result<Vec<String>> {
    let mut options = test.options.clone();
    let mut replace = |field, path: &Path| {
        options.iter_mut().for_each(|word| *word = word.replace(field, &path.to_string_lossy()));
    };
    if let Some(mib) = test.disk {
        replace(DISK, &disk(mib, guest, stem)?);
    }
    if test.options.iter().any(|word| word.contains(SHARE)) {
        let share = target().join("tmp/shares").join(stem);
        let _ = fs::remove_dir_all(&share);
        fs::create_dir_all(&share)?;
        replace(SHARE, &share);
    }
    Ok(options)
}

/// A raw image of `mib` MiB with an ext4 file system, in which the guest's `sample` is.
pub fn disk(mib: u32, guest: &Guest, stem: &str) -> Result<PathBuf> {
    let dir = target().join("tmp/disks").join(stem);
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(dir.join("files"))?;
    fs::copy(guest.dir.join("sample"), dir.join("files/sample"))?;
    let image = dir.join("disk.img");
    guest::ext4(&dir.join("files"), &image, mib)?;
    Ok(image)
}

fn steps(test: &Test, guest: &Guest, host: Host, session: &mut Session) -> Result<()> {
    to_prompt(session, guest, 0)?;
    for step in &test.steps {
        let context = || format!("`{}`", step.typed);
        match &step.expected {
            Expected::Off => {
                session.send(&format!("{}\n", step.typed))?;
                session.wait_end(COMMAND).with_context(context)?;
            }
            Expected::Again => {
                let from = session.console.len();
                session.send(&format!("{}\n", step.typed))?;
                to_prompt(session, guest, from).with_context(context)?;
            }
            Expected::Lines(lines) => {
                let answer = command(session, &step.typed).with_context(context)?;
                compare(lines, &answer, guest).with_context(context)?;
            }
            Expected::Quiet => {
                let log = command(session, &step.typed).with_context(context)?;
                let reference = Reference { guest, memory: test.memory };
                if host == Host::Qemu {
                    reference.add(&log)?;
                    continue;
                }
                let new = reference.new_warnings(&log)?;
                if !new.is_empty() {
                    bail!("{}: warnings that native QEMU has not:\n    {}", context(), new.join("\n    "));
                }
            }
        }
    }
    Ok(())
}

/// Waits for the first prompt of the boot whose output begins at `from`, and makes the console fit to be compared.
pub fn to_prompt(session: &mut Session, guest: &Guest, from: usize) -> Result<()> {
    if guest.root == Root::Disk {
        log_in(session, guest, from)?;
    }
    // a kernel message may follow the prompt at once, so the prompt need not be the end
    let booted = |console: &str| {
        // a console whose driver is a module shows nothing of the first boot's beginning, but nothing precedes that either
        let kernel = if from == 0 { console } else { console[from..].split_once("Linux version")?.1 };
        kernel.contains(PROMPT).then_some(())
    };
    session.wait_for(BOOT, booted).context("no prompt")?;
    // echoed lines must not wrap, and the kernel must not write between the lines of an answer
    session.send("stty cols 500; dmesg -n 1; echo $((9 * 9)) ready\n")?;
    let ready = format!("81 ready\n{PROMPT}");
    session.wait_for(COMMAND, |console| console.ends_with(&ready).then_some(())).context("no answer at the prompt")
}

/// Logs in as root, and gives the shell the prompt of the small guests.
fn log_in(session: &mut Session, guest: &Guest, from: usize) -> Result<()> {
    let asks = |console: &str| console[from..].contains(guest.prompt()).then_some(());
    session.wait_for(BOOT, asks).context("no login prompt")?;
    session.send("root\n")?;
    session.wait_for(COMMAND, |console| console.ends_with(":~# ").then_some(())).context("no shell after the login")?;
    // no history, colours or bracketed paste: what is typed is echoed as it is
    session.send(&format!("cd /; TERM=dumb PS1='{PROMPT}' exec sh\n"))
}

/// Types a command; returns what it printed.
pub fn command(session: &mut Session, typed: &str) -> Result<String> {
    let from = session.console.len();
    session.send(&format!("{typed}\n"))?;
    session.wait_for(COMMAND, |console| {
        let (_echo, answer) = console[from..].split_once('\n')?;
        Some(answer.strip_suffix(PROMPT)?.to_owned())
    })
}

fn compare(expected: &[String], answer: &str, guest: &Guest) -> Result<()> {
    // a blank line ends an answer in the file, for the eye
    let expected = expected.iter().map(String::as_str).rev().skip_while(|line| line.is_empty()).collect::<Vec<_>>();
    let mut lines = answer.lines();
    for want in expected.iter().rev() {
        let Some(line) = lines.next() else { bail!("expected `{want}`, got nothing more") };
        if !matches_line(want, line, guest)? {
            bail!("expected `{want}`, got `{line}`");
        }
    }
    match lines.next() {
        Some(more) => bail!("expected nothing more, got `{more}`"),
        None => Ok(()),
    }
}

/// Whether `line` is what `want` says: literal text around at most one `{..}` field.
fn matches_line(want: &str, line: &str, guest: &Guest) -> Result<bool> {
    let Some((before, rest)) = want.split_once('{') else { return Ok(want == line) };
    let (field, after) = rest.split_once('}').with_context(|| format!("`{want}`: no `}}`"))?;
    let Some(value) = line.strip_prefix(before).and_then(|line| line.strip_suffix(after)) else { return Ok(false) };
    let number = || value.parse::<u64>().ok();
    if field == "now" {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        Ok(number().is_some_and(|seconds| seconds.abs_diff(now) <= CLOCK))
    } else if let Some(file) = field.strip_prefix("sha256:") {
        let sum = output(Command::new("sha256sum").arg(guest.dir.join(file)))?;
        Ok(sum.starts_with(value.as_bytes()) && value.len() == 64)
    } else if let Some((min, max)) = field.split_once("..") {
        let bounds = || Some((min.parse::<u64>().ok()?, max.parse::<u64>().ok()?));
        let (min, max) = bounds().ok_or_else(|| anyhow!("`{want}`: a range is two numbers"))?;
        Ok(number().is_some_and(|n| (min..=max).contains(&n)))
    } else {
        bail!("`{want}`: no field `{{{field}}}`");
    }
}

/// The kernel's warnings and errors in a raw log (`dmesg -r`), without what differs between two boots of one machine:
/// level, time, and every number.
fn warnings(log: &str) -> BTreeSet<String> {
    let message = |line: &str| {
        let line = line.split_once("] ").map_or(line, |(_, message)| message);
        let mut text = String::new();
        for c in line.chars() {
            match c {
                '0'..='9' if text.ends_with('#') => {}
                '0'..='9' => text.push('#'),
                _ => text.push(c),
            }
        }
        text
    };
    log.lines().map(message).collect()
}

/// What native QEMU's kernel log has when it boots `guest` with `memory` MiB. Its warnings are those of all such boots
/// so far: some come and go with the load of the machine.
struct Reference<'a> {
    guest: &'a Guest,
    memory: u32,
}

impl Reference<'_> {
    fn file(&self, what: &str) -> PathBuf {
        self.guest.dir.join(format!("qemu-{what}-{}.txt", self.memory))
    }

    fn add(&self, warnings: &str) -> Result<()> {
        let mut file = File::options().create(true).append(true).open(self.file("warnings"))?;
        Ok(file.write_all(warnings.as_bytes())?)
    }

    /// One boot; the whole log is kept to look at.
    fn make(&self) -> Result<()> {
        say("booting in native QEMU, for the warnings that its kernel log has");
        Host::Qemu.prepare()?;
        let job = Job { options: self.guest.options(self.memory), ..Job::default() };
        let mut session = Session::start(Host::Qemu, &job)?;
        to_prompt(&mut session, self.guest, 0)?;
        fs::write(self.file("dmesg"), command(&mut session, "dmesg -r")?)?;
        self.add(&command(&mut session, "dmesg -r | grep '^<[0-4]>'")?)
    }

    /// The warnings in `log` that native QEMU does not show.
    fn new_warnings(&self, log: &str) -> Result<Vec<String>> {
        if !self.file("warnings").is_file() {
            self.make()?;
        }
        let known = warnings(&fs::read_to_string(self.file("warnings"))?);
        let excused = |line: &str| EXPECTED_WARNINGS.iter().any(|expected| line.contains(expected));
        Ok(warnings(log).into_iter().filter(|line| !known.contains(line) && !excused(line)).collect())
    }
}

/// `cargo xtask boot`: the named tests (all where none is named) in one place, with `code` instead of their own limits.
pub fn by_hand(wanted: &[String], guest: &str, host: Host, code: Option<&Value>) -> Result<()> {
    host.prepare()?;
    let tests = all()?;
    let names: Vec<_> = tests.iter().map(|test| test.name.as_str()).chain(["refusals", "packed", "lazy"]).collect();
    if let Some(unknown) = wanted.iter().find(|name| !names.contains(&name.as_str())) {
        bail!("no boot test `{unknown}`; there are: {}", names.join(", "));
    }
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    if is_wanted("refusals") && host != Host::Qemu {
        refusals::run(host)?;
        say(format!("refusals in {}: ok", host.name()));
    }
    if is_wanted("packed") && matches!(host, Host::Chromium | Host::Firefox) {
        pack::run(host)?;
        say(format!("packed in {}: ok", host.name()));
    }
    // not unless asked for: its guest takes minutes to make
    if wanted.iter().any(|wanted| wanted == "lazy") {
        if !matches!(host, Host::Chromium | Host::Firefox) {
            bail!("lazy: in chromium or firefox, which fetch the disk");
        }
        lazy::run(host)?;
        say(format!("lazy in {}: ok", host.name()));
    }
    for test in tests.iter().filter(|test| is_wanted(&test.name)) {
        let took = run_with(test, guest, host, code.or(test.code.as_ref()).cloned())?;
        say(format!("{} on {guest} in {}: ok, {:.1} s", test.name, host.name(), took.as_secs_f64()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn limits_show_in_the_figures() {
        let is_right = |limits: &str, regions: u64, refusals: u64| {
            let figures = json!({ "regions": regions, "refusals": refusals });
            translated(&code_limits(limits).unwrap(), &figures).is_ok()
        };
        for (limits, regions, refusals) in
            [("modules=3", 9, 4), ("slots=0", 0, 4), ("none", 0, 0), ("unlinked", 9, 0), ("stress=1", 9, 0)]
        {
            assert!(is_right(limits, regions, refusals), "{limits}");
            assert!(!is_right(limits, 9 - regions, refusals) && !is_right(limits, regions, 4 - refusals), "{limits}");
        }
        assert!(translated(&json!({}), &json!({})).is_err());
    }

    #[test]
    fn every_file_reads_and_names_guests_that_there_are() {
        let guests = guest::names().unwrap();
        let tests = all().unwrap();
        assert!(tests.iter().any(|test| test.places.iter().any(|p| p.host == Host::Chromium && !p.long)));
        for place in tests.iter().flat_map(|test| &test.places) {
            assert!(guests.contains(&place.guest), "{}", place.guest);
        }
        for test in &tests {
            assert_eq!(test.steps.last().unwrap().expected, Expected::Off, "{} leaves its machine on", test.name);
        }
    }

    #[test]
    fn form() {
        let test =
            parse("t", "# about\nmemory 64\nappend x=1  y\noptions -a {disk}\noptions -b\ndisk 8\ncode none,slots=1\non g node qemu\nlong h node\n\n$ a b\nx\n\ny\n$ c\n{off}\n")
                .unwrap();
        assert_eq!((test.memory, &*test.append), (64, " x=1 y"));
        assert_eq!((test.options.join(" "), test.disk), ("-a {disk} -b".into(), Some(8)));
        assert_eq!(test.code, code_limits("none,slots=1").ok());
        let place = |guest: &str, host, long| Place { guest: guest.into(), host, long };
        assert_eq!(
            test.places,
            [place("g", Host::Node, false), place("g", Host::Qemu, false), place("h", Host::Node, true)]
        );
        let lines = ["x", "", "y"].map(str::to_owned).to_vec();
        assert_eq!(test.steps[0], Step { typed: "a b".into(), expected: Expected::Lines(lines) });
        assert_eq!(test.steps[1].expected, Expected::Off);
        for bad in ["memory 64\non g node\n", "on g node\n$ a\n", "memory 64\nwhere g\n$ a\n", "memory 64\n$ a\n"] {
            assert!(parse("t", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn answers() {
        let dir = std::env::temp_dir().join(format!("pagevm-answers-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("abc"), "abc").unwrap();
        let guest = Guest::at(&dir);
        let says = |want: &str, answer: &str| {
            compare(&want.lines().map(str::to_owned).collect::<Vec<_>>(), answer, &guest).is_ok()
        };
        assert!(says("a\n\nb\n\n", "a\n\nb\n"));
        assert!(!says("a", "a\nb\n") && !says("a\nb", "a\n") && !says("a", "ab\n"));
        assert!(says("n={3..5}!", "n=4!\n") && !says("n={3..5}!", "n=6!\n") && !says("{3..5}", "x\n"));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        assert!(says("{now}", &now.to_string()) && !says("{now}", &(now + 60).to_string()));
        // FIPS 180-2, appendix B.1
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert!(says("{sha256:abc}  f", &format!("{abc}  f")) && !says("{sha256:abc}  f", "ba78  f"));
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn warnings_compare_without_times_and_numbers() {
        let one = warnings("<4>[    0.110000] PM: 12 bad at 0x1f\n<3>[    2.0] oops\n");
        let two = warnings("<4>[    7.310000] PM: 9 bad at 0x2f\n");
        assert_eq!(one.difference(&two).collect::<Vec<_>>(), ["oops"]);
    }
}
