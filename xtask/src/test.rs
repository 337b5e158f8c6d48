//! Every test, one after the other, with a summary at the end.

use crate::boot::{self, Test};
use crate::host::{self, Host};
use crate::util::{root, run as run_command, say};
use crate::{bench, build, disks, guest, lazy, pack, refusals, setup, tiers};
use anyhow::{Result, bail};
use std::process::Command;
use std::time::Instant;

/// Boots in a row that `--long` makes, in Chromium.
const BOOTS: usize = 10;

/// Random instruction instances that `--long` compares with the CPU.
const INSTANCES: &str = "1000000";

/// Random programs, and sequences of vector operations, that `--long` runs translated.
const PROGRAMS: &str = "100000";

/// Random decodings in each mode that `--long` compares with another decoder.
const DECODINGS: &str = "5000000";

/// What ran, and how each ended.
#[derive(Default)]
struct Summary {
    lines: Vec<String>,
    failed: usize,
}

impl Summary {
    fn step(&mut self, name: &str, step: impl FnOnce() -> Result<()>) -> bool {
        say(format!("test: {name}"));
        let started = Instant::now();
        let result = step();
        let seconds = started.elapsed().as_secs_f64();
        if let Err(e) = &result {
            say(format!("FAILED: {name}: {e:#}"));
            self.failed += 1;
        }
        let verdict = if result.is_ok() { "ok" } else { "FAILED" };
        self.lines.push(format!("{verdict:6} {seconds:7.1} s  {name}"));
        result.is_ok()
    }

    fn boot(&mut self, test: &Test, guest: &str, host: Host, name: &str) {
        self.step(name, || boot::run(test, guest, host).map(drop));
    }
}

fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    command.args(args).current_dir(root());
    command
}

fn npm(args: &[&str]) -> Command {
    let mut command = Command::new("npm");
    command.args(args).current_dir(root().join("web"));
    command
}

pub fn run(long: bool) -> Result<()> {
    let mut hosts = vec![setup::CHROMIUM, setup::QEMU, setup::QEMU_IMG, setup::BUSYBOX, setup::NASM, setup::PYTHON];
    if long {
        hosts.push(setup::FIREFOX);
    }
    setup::programs(&hosts)?;
    setup::wasm_target()?;
    setup::web()?;

    let mut summary = Summary::default();
    summary.step("format", || run_command(&mut cargo(&["fmt", "--all", "--check"])));
    summary.step("clippy", || {
        run_command(&mut cargo(&["clippy", "--quiet", "--workspace", "--all-targets", "--", "-Dwarnings"]))
    });
    summary.step("Rust tests", || run_command(&mut cargo(&["test", "--quiet", "--workspace"])));
    summary.step("the chips against QEMU's", || {
        run_command(&mut cargo(&["test", "--quiet", "--package", "devices", "--test", "qemu", "--", "--ignored"]))
    });
    summary.step("files shared by Node against Linux's", || {
        let args = ["test", "--quiet", "--package", "fs9p", "--test", "against_linux", "--", "--ignored"];
        run_command(cargo(&args).env("FS9P_NODE", setup::node()?))
    });
    summary.step("generated code in Node", || tiers::run(Host::Node, None));
    if long {
        summary.step("generated code in Node, for long", || tiers::run(Host::Node, Some(PROGRAMS)));
        summary.step("generated code in Chromium", || tiers::run(Host::Chromium, None));
        summary.step("generated code in Firefox", || tiers::run(Host::Firefox, None));
        summary.step("a million random instructions against the CPU", || {
            run_command(&mut cargo(&["run", "--quiet", "--release", "--package", "diff", "--", "--count", INSTANCES]))
        });
        summary.step("millions of decodings against another decoder", || {
            let args = ["test", "--quiet", "--package", "isa-x86", "--test", "decoder"];
            run_command(cargo(&args).env("PAGEVM_DECODINGS", DECODINGS))
        });
    }
    let built = summary.step("build", build::run);
    if built {
        summary.step("web types and style", || run_command(&mut npm(&["run", "check", "--silent"])));
        summary.step("web tests", || run_command(&mut npm(&["test", "--silent"])));
        summary.step("tests of what was built", || {
            run_command(npm(&["run", "test:built", "--silent"]).env("ARTEFACTS", host::artefacts()?))
        });
        summary.step("a guest's network", || {
            let guest = guest::make("debian-virtio-6.1")?;
            run_command(npm(&["run", "test:net", "--silent"]).env("GUEST", guest.dir))
        });
        summary.step("a guest's network, files and disks in Chromium", || in_browser("chromium"));
        summary.step("the examples", || {
            let guest = guest::make("debian-9p-6.1")?;
            run_command(npm(&["run", "test:examples", "--silent"]).env("GUEST", guest.dir))
        });
        if long {
            summary.step("tests of what was built, in Firefox", || {
                run_command(npm(&["run", "test:built", "--silent"]).env("BROWSER", "firefox"))
            });
            summary.step("apt-get, curl and git in an installed Debian", || {
                let guest = guest::make("debian-x86_64")?;
                run_command(npm(&["run", "test:debian", "--silent"]).env("GUEST", guest.dir))
            });
            summary.step("a guest's network, files and disks in Firefox", || in_browser("firefox"));
        }
        summary.step("a packed guest, served without ranges, in Chromium", || pack::run(Host::Chromium));
        if long {
            summary.step("a packed guest, served without ranges, in Firefox", || pack::run(Host::Firefox));
            summary.step("a Debian whose disk is fetched as it is read, in Chromium", || lazy::run(Host::Chromium));
            summary.step("a Debian whose disk is fetched as it is read, in Firefox", || lazy::run(Host::Firefox));
        }
        summary.step("random blocks on disks of every format", disks::verify);
        let cuts = if long { disks::MANY_CUTS } else { disks::CUTS };
        summary.step("disks after power cuts", || disks::power_cuts(cuts));
        summary.step("refusals", || refusals::run(Host::Node));
        summary.step("benchmarks, as a test", bench::smoke);
        boots(&mut summary, long)?;
    } else {
        say("no boots: the build failed");
    }

    eprintln!("\n{}", summary.lines.join("\n"));
    let passed = summary.lines.len() - summary.failed;
    eprintln!("test result: {passed} passed; {} failed", summary.failed);
    if summary.failed > 0 {
        bail!("{} of {} failed", summary.failed, summary.lines.len());
    }
    Ok(())
}

/// The tests of `web/test/browser`.
fn in_browser(browser: &str) -> Result<()> {
    setup::mke2fs()?;
    let guest = guest::make("debian-9p-6.1")?;
    let mut command = npm(&["run", "test:browser", "--silent"]);
    run_command(command.env("BROWSER", browser).env("GUEST", guest.dir).env("ARTEFACTS", host::artefacts()?))
}

fn boots(summary: &mut Summary, long: bool) -> Result<()> {
    let tests = boot::all()?;
    for test in &tests {
        for place in test.places.iter().filter(|place| long || !place.long) {
            let name = format!("boot {}: {} in {}", test.name, place.guest, place.host.name());
            summary.boot(test, &place.guest, place.host, &name);
        }
    }
    if long {
        for turn in 1..=BOOTS {
            for test in tests.iter().filter(|test| test.name == "row") {
                let name = format!("boot {turn} of {BOOTS} in a row");
                summary.boot(test, guest::DEFAULT, Host::Chromium, &name);
            }
        }
    }
    Ok(())
}
