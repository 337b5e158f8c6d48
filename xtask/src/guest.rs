//! Guests: a Debian kernel and a root, made from the Debian packages that a recipe in `guests/` names. The root is
//! busybox in an initramfs, or an installed Debian on a disk.

mod apt;
mod disk;
mod initramfs;

use crate::util::{root, say, size, target};
use anyhow::{Context, Result, bail};
use apt::Apt;
use disk::Disk;
pub use disk::{IMAGE, ext4, write_tree};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The guest of `demo` and of the benchmarks.
pub const DEFAULT: &str = "debian-cloud-6.1";

/// What the shell of every busybox guest prints when it waits for input.
pub const PROMPT: &str = "/ # ";

/// What an installed Debian asks at the end of its boot, behind its host's name.
const LOGIN: &str = " login: ";

/// Changes when the files made from one recipe change for a reason that is in this program.
const FORMAT: u32 = 2;

/// Where a guest's root is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Root {
    /// In the initramfs: a shell is its first program.
    Initramfs,
    /// On the first virtio disk, what is written to which is forgotten; the initramfs is Debian's own, and one logs in.
    Disk,
}

/// A guest as made.
pub struct Guest {
    pub dir: PathBuf,
    /// One line for people.
    pub about: String,
    pub append: String,
    pub root: Root,
}

impl Guest {
    /// One of its files.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The initramfs among them.
    pub fn initrd(&self) -> &'static str {
        match self.root {
            Root::Initramfs => "initrd.gz",
            Root::Disk => "initrd.img",
        }
    }

    /// What it writes when it is ready: the shell's prompt, or the one to log in.
    pub fn prompt(&self) -> &'static str {
        match self.root {
            Root::Initramfs => PROMPT,
            Root::Disk => LOGIN,
        }
    }

    /// The options that boot it, for this machine and for QEMU alike. `memory` in MiB.
    pub fn options(&self, memory: u32) -> Vec<String> {
        let file = |name| self.file(name).to_string_lossy().into_owned();
        let drive = match self.root {
            Root::Initramfs => None,
            Root::Disk => Some(("-drive", format!("file={},if=virtio,format=raw,snapshot=on", file(IMAGE)))),
        };
        [
            ("-m", memory.to_string()),
            ("-kernel", file("vmlinuz")),
            ("-initrd", file(self.initrd())),
            ("-append", self.append.clone()),
        ]
        .into_iter()
        .chain(drive)
        .flat_map(|(name, value)| [name.to_owned(), value])
        .chain(["-nographic".to_owned()])
        .collect()
    }
}

#[cfg(test)]
impl Guest {
    /// A guest whose files are in `dir`.
    pub fn at(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), about: String::new(), append: String::new(), root: Root::Initramfs }
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
    /// The root is an installed system on a disk, with the directories of `root` copied over it.
    disk: Option<Disk>,
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
        modules: strings(&json["modules"]),
        disk: match &json["disk"] {
            Value::Null => None,
            disk => Some(Disk::read(disk).with_context(|| path.display().to_string())?),
        },
        append: field("append")?,
    })
}

/// The strings of a list; none where there is no list.
fn strings(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
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

/// What a guest is made of, and where.
struct Plan {
    recipe: Recipe,
    /// What is copied over the root.
    files: Files,
    /// Of the recipe, its files and its programs.
    stamp: String,
    guest: Guest,
}

impl Plan {
    fn new(name: &str) -> Result<Self> {
        let recipe = recipe(name)?;
        let mut files = Files::new();
        for dir in &recipe.root {
            files.extend(read_tree(&root().join("guests").join(dir))?);
        }
        if let Some(set) = recipe.programs {
            files.extend(crate::bench::programs(set, recipe.architecture)?);
        }
        let mut hasher = DefaultHasher::new();
        let Recipe { suite, architecture, kernel, modules, append, disk, .. } = &recipe;
        (FORMAT, suite, architecture, kernel, modules, append, disk, &files).hash(&mut hasher);
        let guest = Guest {
            dir: target().join("guests").join(name),
            about: recipe.about.clone(),
            append: recipe.append.clone(),
            root: if recipe.disk.is_some() { Root::Disk } else { Root::Initramfs },
        };
        Ok(Self { recipe, files, stamp: format!("{:016x}\n", hasher.finish()), guest })
    }

    /// Holds the stamp of what is made, and is written last: what is there without it is unfinished.
    fn stamp_file(&self) -> PathBuf {
        self.guest.dir.join("stamp")
    }

    fn is_made(&self) -> bool {
        fs::read_to_string(self.stamp_file()).is_ok_and(|seen| seen == self.stamp)
    }
}

/// The guest `name` if it is made from the recipe as it is now.
pub fn made(name: &str) -> Result<Option<Guest>> {
    let plan = Plan::new(name)?;
    Ok(plan.is_made().then_some(plan.guest))
}

/// Makes the guest `name` under `target/guests`, or finds it made from the same recipe.
pub fn make(name: &str) -> Result<Guest> {
    let plan = Plan::new(name)?;
    if plan.is_made() {
        return Ok(plan.guest);
    }
    let stamp_file = plan.stamp_file();
    let Plan { recipe, files, stamp, guest } = plan;
    say(format!("guest {name}: {}", recipe.about));
    let _ = fs::remove_dir_all(&guest.dir);
    fs::create_dir_all(&guest.dir)?;
    let apt = Apt::new(&recipe.suite, recipe.architecture)?;
    let image = apt.real_package(&recipe.kernel)?;
    match &recipe.disk {
        None => small(&recipe, &apt, &image, files, &guest.dir)?,
        Some(disk) => disk.make(&apt, &image, &files, &guest.dir)?,
    }
    let length = |file| anyhow::Ok(size(fs::metadata(guest.dir.join(file))?.len()));
    say(format!("guest {name}: {image}, kernel {}, initrd {}", length("vmlinuz")?, length(guest.initrd())?));
    fs::write(stamp_file, stamp)?;
    Ok(guest)
}

/// Makes the kernel of the package `image` and an initramfs of busybox and `files` in `dir`.
fn small(recipe: &Recipe, apt: &Apt, image: &str, mut files: Files, dir: &Path) -> Result<()> {
    let kernel = apt.unpack(image)?;
    let boot = kernel.join("boot");
    fs::copy(boot_file(&boot, "vmlinuz-")?, dir.join("vmlinuz"))?;
    files.extend(crate::modules::files(&kernel, &recipe.modules)?);
    let busybox = apt.unpack("busybox-static")?;
    let busybox = ["usr/bin/busybox", "bin/busybox"].map(|path| busybox.join(path)).into_iter().find(|p| p.is_file());
    let busybox = busybox.context("no busybox in the package busybox-static")?;
    let sample = initramfs::sample();
    fs::write(dir.join("sample"), &sample)?;
    fs::write(dir.join("initrd.gz"), initramfs::make(&busybox, &files, &sample)?)?;
    Ok(())
}

/// The file of a kernel package's directory `boot` whose name begins with `prefix`; the rest is the kernel's version.
fn boot_file(boot: &Path, prefix: &str) -> Result<PathBuf> {
    fs::read_dir(boot)
        .with_context(|| boot.display().to_string())?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)))
        .with_context(|| format!("no {prefix}* in {}", boot.display()))
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
}
