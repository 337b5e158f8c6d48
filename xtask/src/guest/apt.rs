//! Debian packages for guests, by an apt with a root of its own under `target/`, so that neither the machine's suite nor
//! its packages matter and no privilege is needed.

use super::Architecture;
use crate::util::{output, say, target};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// An apt of our own for one suite and architecture: its lists, cache and (empty) set of installed packages are under `target/apt`.
pub struct Apt {
    dir: PathBuf,
    pub suite: String,
    pub architecture: Architecture,
}

impl Apt {
    pub fn new(suite: &str, architecture: Architecture) -> Result<Self> {
        let dir = match architecture {
            Architecture::Amd64 => suite.to_owned(),
            other => format!("{suite}-{}", other.name()),
        };
        let apt = Self { dir: target().join("apt").join(dir), suite: suite.to_owned(), architecture };
        for sub in ["lists/partial", "cache/archives/partial", "unpacked"] {
            fs::create_dir_all(apt.dir.join(sub))?;
        }
        fs::write(apt.dir.join("status"), "")?;
        fs::write(apt.sources(), sources(Path::new("/etc/apt"), suite)?)?;
        say(format!("reading the package list of Debian {suite}"));
        output(apt.command("apt-get").arg("update"))?;
        Ok(apt)
    }

    /// The file that says where packages come from.
    pub fn sources(&self) -> PathBuf {
        self.dir.join("sources.sources")
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
    pub fn real_package(&self, name: &str) -> Result<String> {
        let shown = String::from_utf8(output(self.command("apt-cache").args(["show", "--no-all-versions", name]))?)?;
        let depends = shown.lines().find_map(|line| line.strip_prefix("Depends: "));
        let first = depends.and_then(|list| list.split([' ', ',']).next());
        first
            .map(str::to_owned)
            .with_context(|| format!("Debian {}: the package {name} depends on nothing", self.suite))
    }

    /// Fetches the package `name` and unpacks it; returns where.
    pub fn unpack(&self, name: &str) -> Result<PathBuf> {
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

#[cfg(test)]
mod tests {
    use super::*;

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
