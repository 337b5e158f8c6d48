//! The developer's commands. Each sets up what is missing, builds what is stale, and runs; each may be repeated at will.

mod bench;
mod boot;
mod build;
mod cpio;
mod demo;
mod disks;
mod guest;
mod hints;
mod host;
mod lazy;
mod modules;
mod pack;
mod refusals;
mod setup;
mod test;
mod tiers;
mod util;

use anyhow::{Result, bail};
use lexopt::prelude::*;
use std::time::Duration;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  demo [--headless] [--port N]  build, make the default guest, serve the page and print its address;
                                --headless boots it in Chromium and attaches this terminal
  test [--long]                 every test; --long adds Firefox, an installed Debian, every kernel, ten boots in a row, millions of random cases
  run --host chromium|firefox|node|qemu [--until TEXT] [--type TEXT] [--timeout S] [--stats FILE]
      [--screenshot FILE] [--code LIMITS] -- OPTIONS
                                boot with QEMU-style OPTIONS, serial console on standard input and output; exit 0 when
                                the guest powers off or TEXT appears; `qemu` is native QEMU's TCG, for comparison;
                                LIMITS make the host refuse translated code: none|linked|unlinked, modules=N, slots=N;
                                stress=SEED makes, drops and leaves it at random
  boot [NAME..] [--guest NAME] [--host chromium|firefox|node|qemu] [--code LIMITS]
                                the boot tests of tests/boot in one place
  disks [--cuts N]              random blocks on disks of every format, and N (3) power cuts, in Node
  bench [NAME..] [--peer qemu-tcg|qemu64|v86].. [--host chromium|firefox|node] [--rounds N] [--guest NAME]
                                the benchmarks NAME (a benchmark or a family; all where none is named) here and in the
                                peers, turn about; table, JSON and pictures in target/bench/; `bench boot` boots NAME
  guest [NAME..]                make a guest under target/guests; without a name, list them
  build                         dist/: the static site and the npm package";

fn main() {
    if let Err(e) = dispatch() {
        eprintln!("xtask: {e:#}");
        std::process::exit(1);
    }
}

fn dispatch() -> Result<()> {
    let mut args = lexopt::Parser::from_env();
    let Some(Value(command)) = args.next()? else {
        println!("{USAGE}");
        return Ok(());
    };
    match command.to_str() {
        Some("demo") => {
            let mut opts = demo::Options { headless: false, port: 8080 };
            while let Some(arg) = args.next()? {
                match arg {
                    Long("headless") => opts.headless = true,
                    Long("port") => opts.port = args.value()?.parse()?,
                    other => return Err(other.unexpected().into()),
                }
            }
            demo::run(&opts)
        }
        Some("test") => {
            let mut long = false;
            while let Some(arg) = args.next()? {
                match arg {
                    Long("long") => long = true,
                    other => return Err(other.unexpected().into()),
                }
            }
            test::run(long)
        }
        Some("run") => {
            let mut host = None;
            let mut job = host::Job::default();
            while let Some(arg) = args.next()? {
                match arg {
                    Long("host") => host = Some(host::Host::parse(&args.value()?.string()?)?),
                    Long("until") => job.until = Some(args.value()?.string()?),
                    Long("type") => job.typed = Some(args.value()?.string()?),
                    Long("timeout") => job.timeout = Some(Duration::from_secs_f64(args.value()?.parse()?)),
                    Long("code") => job.code = Some(host::code_limits(&args.value()?.string()?)?),
                    Long("stats") => job.stats = Some(args.value()?.into()),
                    Long("screenshot") => job.screenshot = Some(args.value()?.into()),
                    // `--` ends our options; what follows is the guest's, to be passed on untouched
                    Value(first) => {
                        job.options.push(first.string()?);
                        for rest in args.raw_args()? {
                            job.options.push(rest.string()?);
                        }
                    }
                    other => return Err(other.unexpected().into()),
                }
            }
            let Some(host) = host else { bail!("run: --host chromium|firefox|node|qemu is missing") };
            if job.options.is_empty() {
                bail!("run: no OPTIONS; for example: -- -m 512 -nographic -kernel vmlinuz -initrd initrd.gz")
            }
            host.prepare()?;
            std::process::exit(host::run(host, &job)?)
        }
        Some("boot") => {
            let (mut names, mut guest, mut host) = (Vec::new(), guest::DEFAULT.to_owned(), host::Host::Node);
            let mut code = None;
            while let Some(arg) = args.next()? {
                match arg {
                    Value(name) => names.push(name.string()?),
                    Long("guest") => guest = args.value()?.string()?,
                    Long("code") => code = Some(host::code_limits(&args.value()?.string()?)?),
                    Long("host") => host = host::Host::parse(&args.value()?.string()?)?,
                    other => return Err(other.unexpected().into()),
                }
            }
            boot::by_hand(&names, &guest, host, code.as_ref())
        }
        Some("disks") => {
            let mut cuts = disks::CUTS;
            while let Some(arg) = args.next()? {
                match arg {
                    Long("cuts") => cuts = args.value()?.parse()?,
                    other => return Err(other.unexpected().into()),
                }
            }
            disks::run(cuts)
        }
        Some("bench") => {
            let mut opts = bench::Options::default();
            while let Some(arg) = args.next()? {
                match arg {
                    Value(name) => opts.names.push(name.string()?),
                    Long("peer") => opts.peers.push(bench::Place::peer(&args.value()?.string()?)?),
                    Long("guest") => opts.guest = args.value()?.string()?,
                    Long("rounds") => opts.rounds = args.value()?.parse()?,
                    Long("host") => opts.host = host::Host::parse(&args.value()?.string()?)?,
                    other => return Err(other.unexpected().into()),
                }
            }
            bench::run(&opts)
        }
        Some("guest") => {
            let mut names = Vec::new();
            while let Some(arg) = args.next()? {
                match arg {
                    Value(name) => names.push(name.string()?),
                    other => return Err(other.unexpected().into()),
                }
            }
            if names.is_empty() {
                return guest::list();
            }
            for name in &names {
                println!("{}", guest::make(name)?.dir.display());
            }
            Ok(())
        }
        Some("build") => {
            if let Some(arg) = args.next()? {
                return Err(arg.unexpected().into());
            }
            build::run()
        }
        Some("help" | "-h" | "--help") => {
            println!("{USAGE}");
            Ok(())
        }
        other => bail!("no command {:?}\n{USAGE}", other.unwrap_or("?")),
    }
}
