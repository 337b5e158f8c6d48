//! Brings a fresh Debian machine with rustup and Node to where a command can run: says what it does, does nothing twice.

use crate::util::{output, root, run, say, which};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The program a command needs, and the Debian package that has it.
type Program = (&'static str, &'static str);

pub const CHROMIUM: Program = ("chromium", "chromium");
pub const FIREFOX: Program = ("firefox-esr", "firefox-esr");
pub const QEMU: Program = ("qemu-system-x86_64", "qemu-system-x86");
pub const BUSYBOX: Program = ("busybox", "busybox-static");
pub const NASM: Program = ("nasm", "nasm");
pub const QEMU_IMG: Program = ("qemu-img", "qemu-utils");
pub const PYTHON: Program = ("python3", "python3");
pub const GCC: Program = ("gcc", "gcc");

/// Times that [`programs`] installs what is missing.
const TURNS: usize = 3;

/// Installs the Debian packages of the programs that are not there, until all are: a package can take the place of another's that was,
/// as one of QEMU's does of those of another version.
pub fn programs(wanted: &[Program]) -> Result<()> {
    let missing = || wanted.iter().filter(|(program, _)| which(program).is_none()).copied().collect::<Vec<_>>();
    for _ in 0..TURNS {
        install(&missing())?;
    }
    let still: Vec<_> = missing().iter().map(|(program, package)| format!("{program} ({package})")).collect();
    if !still.is_empty() {
        bail!("missing though their packages were installed, {TURNS} times: {}", still.join(", "));
    }
    Ok(())
}

/// What gcc needs to make 32-bit programs.
pub fn gcc_multilib() -> Result<()> {
    // gcc prints the name as it was given when it finds no such file
    let found = output(Command::new("gcc").args(["-m32", "-print-file-name=libc.a"]))?;
    if found.starts_with(b"/") { Ok(()) } else { install(&[("32-bit libc.a", "gcc-multilib")]) }
}

/// A PC's firmware, which v86 has no copy of.
pub fn seabios() -> Result<()> {
    if Path::new("/usr/share/seabios/bios.bin").is_file() { Ok(()) } else { install(&[("bios.bin", "seabios")]) }
}

/// What makes ext4 images; it is not on an ordinary user's path.
pub fn mke2fs() -> Result<&'static str> {
    const PROGRAM: &str = "/usr/sbin/mke2fs";
    if !Path::new(PROGRAM).is_file() {
        install(&[("mke2fs", "e2fsprogs")])?;
    }
    Ok(PROGRAM)
}

fn install(missing: &[Program]) -> Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<_> = missing.iter().map(|(_, package)| *package).collect();
    let by_hand = format!("apt-get install --no-install-recommends {}", packages.join(" "));
    let programs = missing.iter().map(|(program, _)| *program).collect::<Vec<_>>().join(", ");
    if which("apt-get").is_none() {
        bail!("missing: {programs}. This is no Debian machine (no apt-get): install them by its own means");
    }
    let by_hand = || format!("missing: {programs}. As root: {by_hand}");
    let apt = || {
        let mut command = as_root()?;
        command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "-q"]);
        anyhow::Ok(command)
    };
    apt().with_context(by_hand)?;
    say(format!("installing Debian packages (a minute or two): {}", packages.join(" ")));
    output(apt()?.arg("update"))
        .and_then(|_| output(apt()?.args(["install", "-y", "--no-install-recommends"]).args(&packages)))
        .map(drop)
        .with_context(by_hand)
}

/// `env`, as root: settings of its environment may follow, then a program. A user who may use sudo is asked for the
/// password on the terminal; without one, sudo says why it cannot.
pub fn as_root() -> Result<Command> {
    if output(Command::new("id").arg("-u"))?.trim_ascii() == b"0" {
        return Ok(Command::new("env"));
    }
    if which("sudo").is_none() {
        bail!("this needs root, and there is no sudo to become it");
    }
    let mut command = Command::new("sudo");
    command.arg("env");
    Ok(command)
}

/// The Rust target the engine is built for.
pub fn wasm_target() -> Result<()> {
    let target = crate::build::TARGET;
    let libdir = output(Command::new("rustc").args(["--print", "target-libdir", "--target", target]))?;
    let libdir = PathBuf::from(String::from_utf8(libdir)?.trim_end());
    if libdir.is_dir() {
        return Ok(());
    }
    say(format!("installing the Rust target {target}"));
    run(Command::new("rustup").args(["target", "add", target]))
        .with_context(|| format!("the Rust target {target} is missing and rustup cannot add it"))
}

/// The npm packages of `web/`.
pub fn web() -> Result<()> {
    npm(&root().join("web"))
}

/// The npm packages of the directory `dir`, as its lock file says.
pub fn npm(dir: &Path) -> Result<()> {
    let lock_file = dir.join("package-lock.json");
    let lock = fs::read(&lock_file).with_context(|| lock_file.display().to_string())?;
    let installed = dir.join("node_modules/.lock-installed");
    if fs::read(&installed).is_ok_and(|seen| seen == lock) {
        return Ok(());
    }
    if which("npm").is_none() {
        bail!("npm is missing: install Node 20 or newer");
    }
    say(format!("installing npm packages in {}", dir.display()));
    // not `npm ci`: docs/decisions/040-npm-install.md
    let install = ["install", "--no-save", "--no-audit", "--no-fund", "--loglevel=error"];
    run(Command::new("npm").args(install).current_dir(dir))?;
    fs::write(installed, lock)?;
    Ok(())
}

/// A current Node: the one in the npm package `node`, since the machine's own may have a V8 years behind the browsers'.
pub fn node() -> Result<PathBuf> {
    web()?;
    let node = root().join("web/node_modules/node/bin/node");
    if !node.is_file() {
        bail!(
            "{} is missing although npm packages are installed: remove web/node_modules and try again",
            node.display()
        );
    }
    Ok(node)
}
