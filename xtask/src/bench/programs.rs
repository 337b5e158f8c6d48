//! Programs for guests, made with the machine's gcc: the benchmarks, and those that look at shared files.

use crate::guest::{Architecture, Files, read_tree};
use crate::setup;
use crate::util::{output, root, say, target};
use anyhow::{Context, Result};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::process::Command;

/// No red zone: inline assembly calls. The rest: machine code as it was written, and nothing to load at run time.
const FLAGS: &[&str] =
    &["-O2", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-static", "-no-pie", "-fno-pie", "-mno-red-zone", "-s"];

/// 32 bits, with floating point in SSE as 64 bits have it.
const I386: &[&str] = &["-m32", "-msse2", "-mfpmath=sse"];

/// Programs that go into a guest together.
pub struct Set {
    name: &'static str,
    /// Directory of the sources.
    sources: &'static str,
    /// What becomes `/bin/NAME` of which sources, and for the linker.
    programs: &'static [(&'static str, &'static [&'static str], &'static [&'static str])],
}

const SETS: &[Set] = &[
    Set { name: super::suite::PROGRAMS, sources: "bench/guest", programs: BENCH },
    Set {
        name: "fs9p",
        sources: "tests/fs9p",
        programs: &[("errnos", &["errnos.c"], &[]), ("tree", &["tree.c"], &[])],
    },
];

const BENCH: &[(&str, &[&str], &[&str])] = &[
    (
        "bench",
        &["main.c", "hot.c", "memory.c", "math.c", "cold.c", "cold.S", "os.c", "code.c", "programs.c", "debian.c"],
        &["-lm"],
    ),
    ("bench-nothing", &["nothing.S"], &["-nostdlib"]),
];

/// The set of this name.
pub fn set(name: &str) -> Result<&'static Set> {
    let names = || SETS.iter().map(|set| set.name).collect::<Vec<_>>().join(", ");
    SETS.iter().find(|set| set.name == name).with_context(|| format!("no programs `{name}`; there are: {}", names()))
}

/// The programs of a set as files of a guest's root. Made anew when a source, a flag or the compiler is another.
pub fn programs(set: &Set, architecture: Architecture) -> Result<Files> {
    setup::programs(&[setup::GCC])?;
    let more = match architecture {
        Architecture::Amd64 => &[][..],
        Architecture::I386 => {
            setup::gcc_multilib()?;
            I386
        }
    };
    let flags = [FLAGS, more].concat();
    let sources = root().join(set.sources);
    let compiler = output(Command::new("gcc").arg("--version"))?;
    let mut hasher = DefaultHasher::new();
    (read_tree(&sources)?, &flags, set.programs, compiler).hash(&mut hasher);
    let stamp = format!("{:016x}\n", hasher.finish());

    let dir = target().join(set.name).join("programs").join(architecture.name());
    let stamp_file = dir.join("stamp");
    if !fs::read_to_string(&stamp_file).is_ok_and(|seen| seen == stamp) {
        say(format!("building the programs of {} for {}", set.sources, architecture.name()));
        fs::create_dir_all(&dir)?;
        for (name, files, link) in set.programs {
            build(&flags, &sources, files, link, &dir.join(name))?;
        }
        fs::write(stamp_file, stamp)?;
    }
    let file = |name: &str| {
        let path = dir.join(name);
        let contents = fs::read(&path).with_context(|| path.display().to_string())?;
        Ok((format!("bin/{name}"), (0o755, contents)))
    };
    set.programs.iter().map(|(name, ..)| file(name)).collect()
}

fn build(flags: &[&str], sources: &Path, files: &[&str], link: &[&str], to: &Path) -> Result<()> {
    let mut gcc = Command::new("gcc");
    gcc.args(flags).args(files.iter().map(|file| sources.join(file))).args(link).arg("-o").arg(to);
    output(&mut gcc).map(drop)
}
