//! Guests: a Debian kernel and a root, made from the Debian packages that a recipe in `guests/` names, by apt with a
//! root of its own under `target/`, so that neither the machine's suite nor its packages matter and no privilege is needed.

use crate::cpio::{Archive, Kind};
use crate::util::{output, root, say, size, target};
use anyhow::{Context, Result, bail};
use flate2::{Compression, GzBuilder};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The guest of `demo` and of the benchmarks.
pub const DEFAULT: &str = "debian-cloud-6.1";

/// What the shell of every busybox guest prints when it waits for input.
pub const PROMPT: &str = "/ # ";

/// Changes when the files made from one recipe change for a reason that is in this program.
const FORMAT: u32 = 1;

/// Bytes of `/sample`, the file that boot tests take checksums of.
const SAMPLE_BYTES: usize = 300_000;

/// A guest as made.
pub struct Guest {
    pub dir: PathBuf,
    /// One line for people.
    pub about: String,
    pub append: String,
}

impl Guest {
    /// The options that boot it, for this machine and for QEMU alike. `memory` in MiB.
    pub fn options(&self, memory: u32) -> Vec<String> {
        let file = |name| self.dir.join(name).to_string_lossy().into_owned();
        [
            ("-m", memory.to_string()),
            ("-kernel", file("vmlinuz")),
            ("-initrd", file("initrd.gz")),
            ("-append", self.append.clone()),
        ]
        .into_iter()
        .flat_map(|(name, value)| [name.to_owned(), value])
        .chain(["-nographic".to_owned()])
        .collect()
    }
}

#[cfg(test)]
impl Guest {
    /// A guest whose files are in `dir`.
    pub fn at(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), about: String::new(), append: String::new() }
    }
}

/// Debian's names.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Architecture {
    Amd64,
    /// For other emulators only: what they are compared by.
    I386,
}

impl Architecture {
    pub fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::I386 => "i386",
        }
    }
}

struct Recipe {
    about: String,
    suite: String,
    architecture: Architecture,
    kernel: String,
    /// Directories of `guests/` whose files are in the root; later ones win.
    root: Vec<String>,
    /// Programs that are in the root.
    programs: Option<&'static crate::bench::Set>,
    /// Kernel modules that init loads, in this order; those that they need come along.
    modules: Vec<String>,
    append: String,
}

fn recipe(name: &str) -> Result<Recipe> {
    let path = root().join("guests").join(format!("{name}.json"));
    let Ok(text) = fs::read_to_string(&path) else {
        bail!("no guest `{name}`; there are: {}", names()?.join(", "));
    };
    let json: Value = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
    let field = |key: &str| {
        let value = json[key].as_str().with_context(|| format!("{}: no string `{key}`", path.display()))?;
        anyhow::Ok(value.to_owned())
    };
    let root = match &json["root"] {
        Value::Array(names) => names.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => vec![field("root")?],
    };
    let architecture = match json["architecture"].as_str() {
        None | Some("amd64") => Architecture::Amd64,
        Some("i386") => Architecture::I386,
        Some(other) => bail!("{}: no architecture `{other}`; there are: amd64, i386", path.display()),
    };
    let programs = match json["programs"].as_str() {
        None => None,
        Some(name) => Some(crate::bench::set(name).with_context(|| path.display().to_string())?),
    };
    Ok(Recipe {
        about: field("about")?,
        suite: field("suite")?,
        architecture,
        kernel: field("kernel")?,
        root,
        programs,
        modules: json["modules"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        append: field("append")?,
    })
}

/// The guests there are recipes for, in order.
pub fn names() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(root().join("guests"))? {
        let name = entry?.file_name();
        names.extend(name.to_str().and_then(|name| name.strip_suffix(".json")).map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

pub fn list() -> Result<()> {
    for name in names()? {
        println!("{name:22} {}", recipe(&name)?.about);
    }
    Ok(())
}

/// Makes the guest `name` under `target/guests`, or finds it made from the same recipe.
pub fn make(name: &str) -> Result<Guest> {
    let recipe = recipe(name)?;
    let mut overlay = Files::new();
    for dir in &recipe.root {
        overlay.extend(read_tree(&root().join("guests").join(dir))?);
    }
    if let Some(set) = recipe.programs {
        overlay.extend(crate::bench::programs(set, recipe.architecture)?);
    }
    let mut hasher = DefaultHasher::new();
    (FORMAT, &recipe.suite, recipe.architecture, &recipe.kernel, &recipe.modules, &recipe.append, &overlay)
        .hash(&mut hasher);
    let stamp = format!("{:016x}\n", hasher.finish());

    let dir = target().join("guests").join(name);
    let guest = Guest { dir: dir.clone(), about: recipe.about.clone(), append: recipe.append.clone() };
    let stamp_file = dir.join("stamp");
    if fs::read_to_string(&stamp_file).is_ok_and(|seen| seen == stamp) {
        return Ok(guest);
    }
    say(format!("guest {name}: {}", recipe.about));
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir)?;
    let apt = Apt::new(&recipe.suite, recipe.architecture)?;

    let image = apt.real_package(&recipe.kernel)?;
    let kernel = apt.unpack(&image)?;
    let boot = kernel.join("boot");
    let vmlinuz = fs::read_dir(&boot)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz-")))
        .with_context(|| format!("no vmlinuz in the package {image}"))?;
    fs::copy(&vmlinuz, dir.join("vmlinuz"))?;
    overlay.extend(crate::modules::files(&kernel, &recipe.modules)?);

    let busybox = apt.unpack("busybox-static")?;
    let busybox = ["usr/bin/busybox", "bin/busybox"].map(|path| busybox.join(path)).into_iter().find(|p| p.is_file());
    let busybox = busybox.context("no busybox in the package busybox-static")?;
    let sample = sample();
    fs::write(dir.join("sample"), &sample)?;
    let initrd = gzip(&busybox_root(&busybox, &overlay, &sample)?)?;
    fs::write(dir.join("initrd.gz"), &initrd)?;

    let kernel_bytes = fs::metadata(dir.join("vmlinuz"))?.len();
    say(format!("guest {name}: {image}, kernel {}, initrd {}", size(kernel_bytes), size(initrd.len() as u64)));
    fs::write(stamp_file, stamp)?; // last: what is there without it is unfinished
    Ok(guest)
}

/// An apt of our own for one suite and architecture: its lists, cache and (empty) set of installed packages are under `target/apt`.
struct Apt {
    dir: PathBuf,
    suite: String,
    architecture: Architecture,
}

impl Apt {
    fn new(suite: &str, architecture: Architecture) -> Result<Self> {
        let dir = match architecture {
            Architecture::Amd64 => suite.to_owned(),
            other => format!("{suite}-{}", other.name()),
        };
        let apt = Self { dir: target().join("apt").join(dir), suite: suite.to_owned(), architecture };
        for sub in ["lists/partial", "cache/archives/partial", "unpacked"] {
            fs::create_dir_all(apt.dir.join(sub))?;
        }
        fs::write(apt.dir.join("status"), "")?;
        fs::write(apt.dir.join("sources.sources"), sources(Path::new("/etc/apt"), suite)?)?;
        say(format!("reading the package list of Debian {suite}"));
        output(apt.command("apt-get").arg("update"))?;
        Ok(apt)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let dir = self.dir.display();
        command.args([
            format!("-oDir::State::lists={dir}/lists"),
            format!("-oDir::State::status={dir}/status"),
            format!("-oDir::Cache={dir}/cache"),
            format!("-oDir::Etc::sourcelist={dir}/sources.sources"),
            "-oDir::Etc::sourceparts=/dev/null".into(),
            "-oDir::Etc::preferencesparts=/dev/null".into(),
            format!("-oAPT::Architecture={}", self.architecture.name()),
            format!("-oAPT::Architectures={}", self.architecture.name()),
            "-oAPT::Sandbox::User=".into(), // as ourselves: apt's own user cannot read a private directory
            "-oAcquire::Languages=none".into(),
            "-oAcquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".into(),
            "-qq".into(),
        ]);
        command
    }

    /// The package that the metapackage `name` depends on: `linux-image-amd64` is a name for the newest kernel.
    fn real_package(&self, name: &str) -> Result<String> {
        let shown = String::from_utf8(output(self.command("apt-cache").args(["show", "--no-all-versions", name]))?)?;
        let depends = shown.lines().find_map(|line| line.strip_prefix("Depends: "));
        let first = depends.and_then(|list| list.split([' ', ',']).next());
        first
            .map(str::to_owned)
            .with_context(|| format!("Debian {}: the package {name} depends on nothing", self.suite))
    }

    /// Fetches the package `name` and unpacks it; returns where.
    fn unpack(&self, name: &str) -> Result<PathBuf> {
        let to = self.dir.join("unpacked").join(name);
        let archives = self.dir.join("cache/archives");
        // packages keep their version in the file name, so what is there of another version is left alone
        let uris = String::from_utf8(output(self.command("apt-get").args(["download", "--print-uris", name]))?)?;
        let file =
            uris.split_whitespace().nth(1).with_context(|| format!("apt knows no file of the package {name}"))?;
        let deb = archives.join(file);
        if !deb.is_file() {
            say(format!("fetching {name} of Debian {}", self.suite));
            output(self.command("apt-get").args(["download", name]).current_dir(&archives))?;
        }
        let _ = fs::remove_dir_all(&to);
        output(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(&to))?;
        Ok(to)
    }
}

/// A deb822 source of `suite`, by the machine's own sources in `etc` (`/etc/apt`): the same archive and keys.
fn sources(etc: &Path, suite: &str) -> Result<String> {
    let mut files = vec![etc.join("sources.list")];
    let mut parts: Vec<_> =
        fs::read_dir(etc.join("sources.list.d")).into_iter().flatten().filter_map(|e| Some(e.ok()?.path())).collect();
    parts.sort();
    files.extend(parts);
    for file in files {
        let Ok(text) = fs::read_to_string(&file) else { continue };
        let found = match file.extension().and_then(|e| e.to_str()) {
            Some("sources") => deb822_archive(&text),
            Some("list") => one_line_archive(&text),
            _ => None,
        };
        if let Some((uri, signed_by)) = found {
            let signed_by = signed_by.map(|keys| format!("Signed-By: {keys}\n")).unwrap_or_default();
            return Ok(format!("Types: deb\nURIs: {uri}\nSuites: {suite}\nComponents: main\n{signed_by}"));
        }
    }
    bail!("no Debian archive among the machine's apt sources ({}): guests are made of Debian packages", etc.display())
}

/// Whether `uri` is the main Debian archive, not its security archive or someone else's repository.
fn is_debian(uri: &str) -> bool {
    uri.trim_end_matches('/').ends_with("/debian")
}

/// URI and keyring of the first stanza for the main archive in a file of deb822 sources.
fn deb822_archive(text: &str) -> Option<(String, Option<String>)> {
    text.split("\n\n").find_map(|stanza| {
        let field = |name: &str| {
            stanza
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(|value| value.trim().to_owned()))
        };
        let uri = field("URIs")?.split_whitespace().find(|uri| is_debian(uri))?.to_owned();
        Some((uri, field("Signed-By").filter(|keys| keys.starts_with('/'))))
    })
}

/// URI and keyring of the first `deb` line for the main archive in a file of one-line sources.
fn one_line_archive(text: &str) -> Option<(String, Option<String>)> {
    text.lines().find_map(|line| {
        let rest = line.trim().strip_prefix("deb ")?.trim_start();
        let (options, rest) = match rest.strip_prefix('[') {
            Some(rest) => rest.split_once(']')?,
            None => ("", rest),
        };
        let uri = rest.split_whitespace().next().filter(|uri| is_debian(uri))?;
        let keys = options.split_whitespace().find_map(|option| option.strip_prefix("signed-by="));
        Some((uri.to_owned(), keys.map(str::to_owned)))
    })
}

/// Files by their path: permission bits and contents.
pub type Files = BTreeMap<String, (u32, Vec<u8>)>;

/// Files under `dir` by their path in it.
pub fn read_tree(dir: &Path) -> Result<Files> {
    let mut files = Files::new();
    let mut pending = vec![dir.to_owned()];
    while let Some(next) = pending.pop() {
        for entry in fs::read_dir(&next).with_context(|| next.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                pending.push(path);
            } else {
                let name = path.strip_prefix(dir).expect("found under it").to_string_lossy().into_owned();
                // git keeps the executable bit only; the rest is the umask of whoever cloned
                let mode = if fs::metadata(&path)?.permissions().mode() & 0o100 != 0 { 0o755 } else { 0o644 };
                files.insert(name, (mode, fs::read(&path)?));
            }
        }
    }
    Ok(files)
}

/// `/sample`: bytes of xorshift64* (Vigna, 2014), so that nothing about it compresses or repeats.
fn sample() -> Vec<u8> {
    let mut x = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(SAMPLE_BYTES);
    while bytes.len() < SAMPLE_BYTES {
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        bytes.push((x.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 56) as u8);
    }
    bytes
}

/// The initramfs: busybox with a link for each of its programs, the files of `overlay`, `/sample`.
fn busybox_root(busybox: &Path, overlay: &Files, sample: &[u8]) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    let dirs = ["bin", "dev", "etc", "proc", "root", "sbin", "sys", "tmp", "usr", "usr/bin", "usr/sbin", "var"];
    for dir in dirs {
        archive.add(dir, 0o755, &Kind::Dir);
    }
    archive.add("dev/console", 0o600, &Kind::Char(5, 1)); // the kernel opens it for init before devtmpfs is there
    archive.add("bin/busybox", 0o755, &Kind::File(&fs::read(busybox)?));
    let programs = String::from_utf8(output(Command::new(busybox).arg("--list-full"))?)?;
    for program in programs.lines().filter(|program| *program != "bin/busybox") {
        // `--list-full` may name directories of later Debian releases; ours are the classical ones
        if dirs.iter().any(|dir| Path::new(program).parent() == Some(Path::new(dir))) {
            archive.add(program, 0o777, &Kind::Symlink("/bin/busybox"));
        }
    }
    let mut made: BTreeSet<&str> = dirs.into();
    for (name, (mode, contents)) in overlay {
        for (at, _) in name.match_indices('/') {
            if made.insert(&name[..at]) {
                archive.add(&name[..at], 0o755, &Kind::Dir);
            }
        }
        archive.add(name, *mode, &Kind::File(contents));
    }
    archive.add("sample", 0o644, &Kind::File(sample));
    Ok(archive.finish())
}

/// gzip without a name or time in its header: the same bytes for the same contents.
fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut gz = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    gz.write_all(bytes)?;
    Ok(gz.finish()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_recipe_reads() {
        let names = names().unwrap();
        assert!(names.iter().any(|name| name == DEFAULT));
        for name in names {
            recipe(&name).unwrap();
        }
    }

    #[test]
    fn unknown_guest_names_the_known_ones() {
        let Err(e) = make("debian-cloud-9") else { panic!("made") };
        assert!(e.to_string().contains(DEFAULT), "{e}");
    }

    #[test]
    fn archive_in_deb822_sources() {
        let text = "Types: deb\nURIs: http://a.example/debian-security\nSuites: x-security\n\n\
                    Types: deb\nURIs: http://b.example/debian/\nSuites: x x-updates\nSigned-By: /k.gpg\n";
        assert_eq!(deb822_archive(text), Some(("http://b.example/debian/".into(), Some("/k.gpg".into()))));
        assert_eq!(deb822_archive("Types: deb\nURIs: http://a.example/other\n"), None);
    }

    #[test]
    fn archive_in_one_line_sources() {
        let text = "# deb http://no.example/debian x main\ndeb-src http://no.example/debian x main\n\
                    deb [arch=amd64 signed-by=/k.gpg] http://b.example/debian x main\n";
        assert_eq!(one_line_archive(text), Some(("http://b.example/debian".into(), Some("/k.gpg".into()))));
        assert_eq!(
            one_line_archive("deb http://b.example/debian x main"),
            Some(("http://b.example/debian".into(), None))
        );
        assert_eq!(one_line_archive("deb http://b.example/debian-security x main"), None);
    }
}
