//! The tests of generated code in a real WebAssembly engine: `tests/tiers`.

use crate::build::TARGET;
use crate::host::Host;
use crate::setup;
use crate::util::{root, run as run_command, target};
use anyhow::Result;
use std::process::Command;

/// Builds the tests' module and runs it in `host`; `count` cases of each kind instead of what is done in seconds.
pub fn run(host: Host, count: Option<&str>) -> Result<()> {
    setup::wasm_target()?;
    run_command(
        Command::new("cargo")
            .args(["build", "--quiet", "--package", "tiers", "--release", "--target", TARGET])
            .current_dir(root()),
    )?;
    let turn = |node: &[&str], args: &[&str]| {
        let mut command = Command::new(setup::node()?);
        command.args(node).arg(root().join("tests/tiers/run.mjs"));
        command.arg(target().join(TARGET).join("release/tiers.wasm")).args(["--host", host.name()]).args(args);
        match count {
            // the same cases each time, so that a failure is the change's; new ones are the long run's
            None => command.args(["--seed", "1"]),
            Some(count) => command.args(["--count", count]),
        };
        run_command(&mut command)
    };
    // Once with links, as the engine begins; once without, in Node with V8's optimiser, as it ends.
    let optimiser: &[&str] = if host == Host::Node { &["--no-liftoff", "--no-wasm-tier-up"] } else { &[] };
    turn(&[], &["--support", "linked"])?;
    turn(optimiser, &["--support", "unlinked"])
}
