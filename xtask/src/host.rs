//! Where a guest runs: a browser or Node by the tools of `web/`, or native QEMU as the machine to compare with.
//!
//! The tools take one JSON argument, the job, and have the guest's serial console on standard input and output:
//! `host`, `options`, and where given `until`, `type`, `timeout` (seconds), `code` (limits to translated code), `stats` and
//! `screenshot` (file names).

use crate::util::{output, root, target};
use crate::{build, setup};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::fs;
use std::io::{IsTerminal, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Host {
    Chromium,
    Firefox,
    Node,
    /// Native QEMU, translating (TCG) as its own users without KVM have it.
    Qemu,
}

/// One boot.
#[derive(Default, Clone)]
pub struct Job {
    /// QEMU-style options.
    pub options: Vec<String>,
    /// End with success when this has appeared on the console.
    pub until: Option<String>,
    /// Typed at the guest's first prompt.
    pub typed: Option<String>,
    pub timeout: Option<Duration>,
    /// Limits to translated code, as [`code_limits`] reads them; native QEMU has none.
    pub code: Option<serde_json::Value>,
    /// Gets the run's figures as JSON.
    pub stats: Option<PathBuf>,
    /// Gets the page at the end as PNG.
    pub screenshot: Option<PathBuf>,
    /// Address of a page that has options of its own, instead of ours with `options`; for browsers.
    pub page: Option<String>,
}

impl Job {
    /// The job as the tools take it.
    pub fn json(&self, host: &str) -> Result<Value> {
        // the tools run elsewhere: file names in the job are absolute, those in the options are the caller's
        let absolute = |path: &PathBuf| std::path::absolute(path);
        let mut value = json!({ "host": host, "options": self.options });
        if let Some(page) = &self.page {
            value["page"] = json!(page);
        }
        if let Some(until) = &self.until {
            value["until"] = json!(until);
        }
        if let Some(typed) = &self.typed {
            value["type"] = json!(typed);
        }
        if let Some(timeout) = self.timeout {
            value["timeout"] = json!(timeout.as_secs_f64());
        }
        if let Some(code) = &self.code {
            value["code"] = code.clone();
        }
        if let Some(stats) = &self.stats {
            value["stats"] = json!(absolute(stats)?);
        }
        if let Some(screenshot) = &self.screenshot {
            value["screenshot"] = json!(absolute(screenshot)?);
        }
        Ok(value)
    }
}

impl Host {
    pub fn parse(name: &str) -> Result<Self> {
        Ok(match name {
            "chromium" => Self::Chromium,
            "firefox" => Self::Firefox,
            "node" => Self::Node,
            "qemu" => Self::Qemu,
            _ => bail!("no host `{name}`: chromium, firefox, node or qemu"),
        })
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Chromium => "chromium",
            Self::Firefox => "firefox",
            Self::Node => "node",
            Self::Qemu => "qemu",
        }
    }

    /// Installs and builds what running here needs.
    pub fn prepare(self) -> Result<()> {
        match self {
            Self::Qemu => return setup::programs(&[setup::QEMU]),
            Self::Chromium => setup::programs(&[setup::CHROMIUM])?,
            Self::Firefox => setup::programs(&[setup::FIREFOX])?,
            Self::Node => {}
        }
        build::run()
    }

    /// The command that does `job` with the console on its standard input and output.
    pub fn command(self, job: &Job) -> Result<Command> {
        if self == Self::Qemu {
            return Ok(qemu(&job.options));
        }
        let tool = match self {
            Self::Node => root().join("dist/node-cli.mjs"),
            _ => root().join("web/tools/browser-run.mjs"),
        };
        let mut command = Command::new(setup::node()?);
        command.arg(tool).arg(job.json(self.name())?.to_string());
        Ok(command)
    }
}

/// Reads what the host shall refuse of translated code: `none`, `linked` or `unlinked` instead of what it can do,
/// `modules=N` and `slots=N` as limits, separated by commas; `stress=SEED` is what the engine itself does to it.
pub fn code_limits(text: &str) -> Result<serde_json::Value> {
    let mut limits = json!({});
    for part in text.split(',') {
        match part.split_once('=') {
            None if ["none", "linked", "unlinked"].contains(&part) => limits["support"] = json!(part),
            Some((name @ ("modules" | "slots" | "stress"), n)) => {
                limits[name] = json!(n.parse::<u32>().context(part.to_owned())?)
            }
            _ => bail!("no limit to translated code `{part}`: none, linked, unlinked, modules=N, slots=N, stress=SEED"),
        }
    }
    Ok(limits)
}

/// Native QEMU with `options`: one thread, translation only, nothing on the board that pagevm has not.
fn qemu(options: &[String]) -> Command {
    let mut command = Command::new("qemu-system-x86_64");
    command.args(["-accel", "tcg,thread=single", "-nic", "none"]).args(options);
    command
}

/// Does `job` with our standard input and output as the console; returns the exit status to end with.
pub fn run(host: Host, job: &Job) -> Result<i32> {
    if host == Host::Qemu {
        return run_qemu(job);
    }
    let status = host.command(job)?.status()?;
    Ok(status.code().unwrap_or(1))
}

/// [`run`] for native QEMU, which knows nothing of `until`, `type`, `timeout` and `stats`.
fn run_qemu(job: &Job) -> Result<i32> {
    if job.screenshot.is_some() {
        bail!("--screenshot: native QEMU has no page");
    }
    let mut session = Session::start(Host::Qemu, job)?;
    session.echo = true;
    let deadline = job.timeout.map(|timeout| session.started + timeout);
    let left = || deadline.map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(Instant::now()));
    let mut until_ms = None;
    let mut status = 0;
    let mut from = 0; // text before what is typed is not what `until` waits for
    if let Some(typed) = &job.typed {
        session.wait_for(left(), |console| at_prompt(console).then_some(()))?;
        from = session.console.len();
        session.send(typed)?;
    } else if std::io::stdin().is_terminal() {
        session.attach_stdin();
    }
    if let Some(until) = &job.until {
        match session.wait_for(left(), |console| console[from..].contains(until.as_str()).then_some(())) {
            Ok(()) => until_ms = Some(session.started.elapsed()),
            Err(e) => {
                eprintln!("xtask: {e:#}");
                status = 1;
            }
        }
    } else if let Err(e) = session.wait_end(left()) {
        eprintln!("xtask: {e:#}");
        status = 1;
    }
    if let Some(stats) = &job.stats {
        let ms = |d: Duration| (d.as_secs_f64() * 1e5).round() / 1e2;
        let figures = json!({
            "host": "qemu",
            "first_output_ms": session.first_output.map(ms),
            "until_ms": until_ms.map(ms),
            "wall_ms": ms(session.started.elapsed()),
        });
        fs::write(stats, format!("{figures:#}\n"))?;
    }
    Ok(status)
}

/// Whether the console's last line is one at which a shell or a login waits.
fn at_prompt(console: &str) -> bool {
    ["# ", "$ ", "login: "].iter().any(|prompt| console.ends_with(prompt))
}

/// A running guest and its console.
pub struct Session {
    child: Child,
    stdin: Option<ChildStdin>,
    chunks: Receiver<Vec<u8>>,
    text: Text,
    /// All that the guest has written, as [`Text`] has it.
    pub console: String,
    /// Copy the console to our standard output as it comes.
    pub echo: bool,
    pub started: Instant,
    pub first_output: Option<Duration>,
    ended: bool,
}

impl Session {
    pub fn start(host: Host, job: &Job) -> Result<Self> {
        Self::of(host.command(job)?)
    }

    /// A guest run by `command`, with the console on its standard input and output.
    pub fn of(mut command: Command) -> Result<Self> {
        let started = Instant::now();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let stdin = child.stdin.take();
        let mut stdout = child.stdout.take().expect("piped");
        let (send, chunks) = channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = stdout.read(&mut buffer) {
                if send.send(buffer[..n].to_vec()).is_err() {
                    break;
                }
            }
        });
        Ok(Self {
            child,
            stdin,
            chunks,
            text: Text::default(),
            console: String::new(),
            echo: false,
            started,
            first_output: None,
            ended: false,
        })
    }

    /// Types `text` on the console.
    pub fn send(&mut self, text: &str) -> Result<()> {
        let stdin = self.stdin.as_mut().context("the console is taken by standard input")?;
        stdin.write_all(text.as_bytes())?;
        stdin.flush()?;
        Ok(())
    }

    /// Our standard input is the console's from here on.
    fn attach_stdin(&mut self) {
        if let Some(mut to) = self.stdin.take() {
            thread::spawn(move || std::io::copy(&mut std::io::stdin(), &mut to));
        }
    }

    /// Reads the console until `found` returns something; an error when the guest ends or `timeout` passes first.
    pub fn wait_for<T>(&mut self, timeout: Duration, mut found: impl FnMut(&str) -> Option<T>) -> Result<T> {
        let start = Instant::now();
        loop {
            if let Some(value) = found(&self.console) {
                return Ok(value);
            }
            if self.ended {
                bail!("the guest ended ({})", self.child.wait()?);
            }
            self.read(timeout.saturating_sub(start.elapsed()))?;
        }
    }

    /// Reads the console until the guest powers off; an error when it ends otherwise or `timeout` passes first.
    pub fn wait_end(&mut self, timeout: Duration) -> Result<()> {
        let start = Instant::now();
        while !self.ended {
            self.read(timeout.saturating_sub(start.elapsed()))?;
        }
        let status = self.child.wait()?;
        if !status.success() {
            bail!("the guest ended badly ({status})");
        }
        Ok(())
    }

    /// Ends the host at once, as a power cut does; then the console is read to its end.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        while !self.ended {
            self.read(Duration::from_secs(10))?;
        }
        self.child.wait()?;
        Ok(())
    }

    fn read(&mut self, timeout: Duration) -> Result<()> {
        // a channel counts to the end of time by an Instant: a day is forever here
        match self.chunks.recv_timeout(timeout.min(Duration::from_secs(86_400))) {
            Ok(chunk) => {
                self.first_output.get_or_insert_with(|| self.started.elapsed());
                if self.echo {
                    let mut out = std::io::stdout().lock();
                    let _ = out.write_all(&chunk).and_then(|()| out.flush());
                }
                self.text.push(&chunk, &mut self.console);
                Ok(())
            }
            Err(RecvTimeoutError::Disconnected) => {
                self.ended = true;
                Ok(())
            }
            Err(RecvTimeoutError::Timeout) => bail!("timed out"),
        }
    }
}

/// Makes text of console bytes that come in pieces: without carriage returns and without a terminal's control sequences
/// (ECMA-48, 5.4: ESC `[`, parameter and intermediate bytes 20..3f, a final byte 40..7e), with which shells ask for the
/// cursor's place.
#[derive(Default)]
struct Text {
    /// The bytes of an unfinished character or sequence.
    pending: Vec<u8>,
}

impl Text {
    fn push(&mut self, bytes: &[u8], to: &mut String) {
        for &byte in bytes {
            self.pending.push(byte);
            match self.pending.as_slice() {
                [0x1b] | [0x1b, b'['] | [0x1b, b'[', .., 0x20..=0x3f] => {}
                [b'\r'] | [0x1b, b'[', .., 0x40..=0x7e] => self.pending.clear(),
                text => match std::str::from_utf8(text) {
                    Err(e) if e.error_len().is_none() => {}
                    _ => {
                        to.push_str(&String::from_utf8_lossy(text));
                        self.pending.clear();
                    }
                },
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        drop(self.stdin.take());
        // SIGTERM first: the tool has a browser to close
        let _ = Command::new("kill").arg(self.child.id().to_string()).stderr(Stdio::null()).status();
        for _ in 0..100 {
            match self.child.try_wait() {
                Ok(None) => thread::sleep(Duration::from_millis(50)),
                _ => return,
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The directory of files that a run leaves behind to look at.
pub fn artefacts() -> Result<PathBuf> {
    let dir = target().join("artefacts");
    fs::create_dir_all(&dir)?;
    Ok(dir)
}

/// QEMU's own version line.
pub fn qemu_version() -> Result<String> {
    let out = String::from_utf8(output(Command::new("qemu-system-x86_64").arg("--version"))?)?;
    Ok(out.lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn console_text() {
        let bytes = "a\r\n\x1b[6n/ # \x1b[1;31mé\x1b[0m\x1bc".as_bytes();
        for split in 0..=bytes.len() {
            let (mut text, mut console) = (Text::default(), String::new());
            text.push(&bytes[..split], &mut console);
            text.push(&bytes[split..], &mut console);
            assert_eq!(console, "a\n/ # é\u{1b}c", "split at {split}");
        }
        let mut console = String::new();
        Text::default().push(b"x\xffy", &mut console);
        assert_eq!(console, "x\u{fffd}y");
    }

    #[test]
    fn limits_to_translated_code() {
        assert_eq!(
            code_limits("unlinked,modules=3,slots=0").unwrap(),
            json!({ "support": "unlinked", "modules": 3, "slots": 0 })
        );
        assert_eq!(code_limits("stress=7").unwrap(), json!({ "stress": 7 }));
        for bad in ["", "fast", "modules", "modules=-1", "slots=x", "none,"] {
            assert!(code_limits(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn prompts() {
        assert!(at_prompt("x\n/ # ") && at_prompt("debian login: ") && !at_prompt("x\n") && !at_prompt(""));
    }
}
