//! A packed guest: a machine with a disk and a shared directory, packed by `pagevm pack`, served from below the root by a plain
//! static server that knows no ranges, booted in a browser. What it reads has the right checksums, and little was fetched.

use crate::boot::{command, disk, to_prompt};
use crate::guest::{self, Guest};
use crate::host::{Host, Job, Session, artefacts};
use crate::setup;
use crate::util::{output, root, say, size, target};
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const GUEST: &str = "debian-9p-6.1";
const MEMORY: u32 = 512;
/// MiB of the disk, of which the guest reads little.
const DISK: u32 = 256;
/// Where the site is on the server.
const UNDER: &str = "some/where";
/// The power goes off within this.
const OFF: Duration = Duration::from_secs(300);

pub fn run(host: Host) -> Result<()> {
    setup::programs(&[setup::PYTHON])?;
    let guest = guest::make(GUEST)?;
    let stem = format!("pack-{}", host.name());
    let served = target().join("tmp").join(&stem);
    let _ = fs::remove_dir_all(&served);
    let site = served.join(UNDER);
    fs::create_dir_all(&site)?;
    let image = disk(DISK, &guest, &stem)?;
    let share = share(&target().join("tmp/shares").join(&stem))?;

    let mut options = guest.options(MEMORY);
    options.extend(["-drive".into(), format!("file={},if=virtio,format=raw", image.display())]);
    let share_option = format!("local,path={},mount_tag=files,security_model=none", share.display());
    options.extend(["-virtfs".into(), share_option]);
    pack(&site, &options)?;
    let server = Server::start(&served, &artefacts()?.join(format!("{stem}-server.log")))?;
    // Python appends to its log; what it has served before the packing's own check is nothing
    let job = Job {
        page: Some(format!("{}{UNDER}/", server.url)),
        screenshot: Some(artefacts()?.join(format!("{stem}.png"))),
        ..Job::default()
    };
    let mut session = Session::start(host, &job)?;
    let result = check(&mut session, &guest, &share);
    fs::write(artefacts()?.join(format!("{stem}.log")), &session.console)?;
    result.with_context(|| format!("the console is in target/artefacts/{stem}.log"))?;
    report(&server.fetched(&served)?, &image)
}

/// What `pagevm pack` makes of a machine.
pub fn pack(site: &Path, options: &[String]) -> Result<()> {
    let mut command = Command::new(setup::node()?);
    command.arg(root().join("dist/node-cli.mjs")).args(["pack", "-o"]).arg(site).args(options);
    output(&mut command).map(drop)
}

/// A directory of what a tree of files can have.
fn share(dir: &Path) -> Result<PathBuf> {
    let _ = fs::remove_dir_all(dir);
    fs::create_dir_all(dir.join("sub"))?;
    fs::write(dir.join("sub/numbers"), (0..20_000).map(|n| format!("{n}\n")).collect::<String>())?;
    fs::write(dir.join("hello"), "#!/bin/sh\necho hello from a share\n")?;
    output(Command::new("chmod").arg("755").arg(dir.join("hello")))?;
    output(Command::new("ln").args(["-s", "sub/numbers"]).arg(dir.join("link")))?;
    output(Command::new("ln").arg(dir.join("hello")).arg(dir.join("again")))?;
    Ok(dir.to_owned())
}

fn check(session: &mut Session, guest: &Guest, share: &Path) -> Result<()> {
    to_prompt(session, guest, 0)?;
    let mut say = |typed: &str, want: &str| -> Result<()> {
        let got = command(session, typed).with_context(|| format!("`{typed}`"))?;
        if got.trim_end() == want.trim_end() { Ok(()) } else { bail!("`{typed}`: expected `{want}`, got `{got}`") }
    };
    say("mkdir /d /s; mount -t ext4 /dev/vda /d; echo $?", "0")?;
    say("sha256sum < /d/sample", &sha256(&guest.dir.join("sample"))?)?;
    say("echo kept > /d/new; sync; cat /d/new", "kept")?;
    say("mount -t 9p -o trans=virtio,version=9p2000.L,msize=65536 files /s; echo $?", "0")?;
    say("sha256sum < /s/link", &sha256(&share.join("sub/numbers"))?)?;
    say("/s/again; stat -c %h /s/hello; readlink /s/link", "hello from a share\n2\nsub/numbers")?;
    session.send("poweroff\n")?;
    session.wait_end(OFF)
}

/// In the form of `sha256sum < FILE`.
fn sha256(file: &Path) -> Result<String> {
    let sum = output(Command::new("sha256sum").stdin(Stdio::null()).arg(file))?;
    let text = String::from_utf8(sum)?;
    Ok(format!("{}  -", text.split_whitespace().next().context("sha256sum prints nothing")?))
}

/// `python3 -m http.server`, which knows no ranges, and logs what it is asked for.
pub struct Server {
    child: Child,
    pub url: String,
    log: PathBuf,
}

/// Bytes and requests, without the browser's own for an icon.
pub struct Fetched {
    pub all: u64,
    pub requests: usize,
    /// Of that, disks.
    pub disk: u64,
    pub chunks: usize,
}

impl Server {
    pub fn start(dir: &Path, log: &Path) -> Result<Self> {
        let mut child = Command::new("python3")
            .args(["-u", "-m", "http.server", "--bind", "127.0.0.1", "--directory"])
            .arg(dir)
            .arg("0")
            .stdout(Stdio::piped())
            .stderr(fs::File::create(log)?)
            .spawn()
            .context("cannot start python3")?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no output")?).read_line(&mut line)?;
        // Serving HTTP on 127.0.0.1 port 8000 (http://127.0.0.1:8000/) ...
        let port = line.split_once("port ").and_then(|(_, rest)| rest.split(' ').next()).unwrap_or_default();
        let url = format!("http://localhost:{port}/");
        let server = Self { child, url, log: log.to_owned() };
        if port.parse::<u16>().is_err() { bail!("python3 -m http.server says `{line}`") } else { Ok(server) }
    }

    /// What was fetched of the files in `dir`, by the log; an error if the page asked for what there is not.
    pub fn fetched(&self, dir: &Path) -> Result<Fetched> {
        let text = fs::read_to_string(&self.log)?;
        if let Some(line) = text.lines().find(|line| line.contains("\" 404 ") && !line.contains("favicon.ico")) {
            bail!("the page asks for what there is not: {line}");
        }
        let paths: Vec<_> = text
            .lines()
            .filter_map(|line| Some(line.split_once("\"GET /")?.1.split_once(" HTTP/")?.0))
            .filter(|path| !path.ends_with("favicon.ico"))
            .collect();
        let bytes = |path: &&str| fs::metadata(dir.join(path)).map_or(0, |m| if m.is_file() { m.len() } else { 0 });
        let chunks: BTreeSet<_> = paths.iter().copied().filter(|path| path.contains("chunks/")).collect();
        Ok(Fetched {
            all: paths.iter().map(bytes).sum(),
            requests: paths.len(),
            disk: chunks.iter().map(bytes).sum(),
            chunks: chunks.len(),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Says what was fetched of the disk `image`: little.
fn report(fetched: &Fetched, image: &Path) -> Result<()> {
    let Fetched { all, requests, disk, chunks } = *fetched;
    let whole = fs::metadata(image)?.len();
    say(format!(
        "fetched {} in {requests} requests; of the disk's {} that is {} in {chunks} chunks",
        size(all),
        size(whole),
        size(disk)
    ));
    if chunks == 0 || disk > whole / 10 {
        bail!("of the disk's {whole} bytes {disk} were fetched");
    }
    Ok(())
}
