//! The root of a guest that is an installed Debian: made by mmdebstrap, an ext4 file system on a disk without partitions.

use super::apt::Apt;
use super::{Files, boot_file, strings};
use crate::setup;
use crate::util::{output, say, size};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

/// The disk's image among the guest's files.
pub const IMAGE: &str = "root.img";

/// What a recipe says of its disk.
#[derive(Hash, Debug)]
pub struct Disk {
    /// Size of the file system. The image's file is sparse.
    mib: u32,
    /// What is installed besides Debian's essential packages, the kernel and what they all depend on.
    packages: Vec<String>,
    /// systemd units that are enabled.
    services: Vec<String>,
    /// Paths that dpkg shall not install, by its patterns (dpkg(1), `--path-exclude`).
    exclude: Vec<String>,
}

impl Disk {
    pub fn read(json: &Value) -> Result<Self> {
        let mib = json["mib"].as_u64().and_then(|mib| u32::try_from(mib).ok()).context("`disk` has no number `mib`")?;
        let packages = strings(&json["packages"]);
        if packages.is_empty() {
            bail!("`disk` has no list `packages`");
        }
        Ok(Self { mib, packages, services: strings(&json["services"]), exclude: strings(&json["exclude"]) })
    }

    /// Makes `vmlinuz`, `initrd.img` and [`IMAGE`] in `dir`: a system with the kernel package `kernel`, and `files` copied over it.
    pub fn make(&self, apt: &Apt, kernel: &str, files: &Files, dir: &Path) -> Result<()> {
        let mmdebstrap = apt.unpack("mmdebstrap")?.join("usr/bin");
        let tree = dir.join("tree");
        say(format!("installing {} packages and what they need (some minutes)", self.packages.len()));
        let installed = self.install(apt, kernel, &mmdebstrap, &tree).and_then(|()| self.finish(files, &tree, dir));
        // what root owns is root's to remove, also when it is of no use
        output(setup::as_root()?.args(["rm", "-rf", "--one-file-system"]).arg(&tree))?;
        installed
    }

    fn install(&self, apt: &Apt, kernel: &str, mmdebstrap: &Path, tree: &Path) -> Result<()> {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = setup::as_root()?;
        // mmdebstrap calls a program of its own by name
        command.arg(format!("PATH={}:/usr/sbin:/sbin:{path}", mmdebstrap.display()));
        command.args(["mmdebstrap", "--mode=root", "--format=directory", "--variant=minbase"]);
        command.arg(format!("--architectures={}", apt.architecture.name()));
        command.arg(format!("--include={},{kernel}", self.packages.join(",")));
        // what is lost in a power cut is made again
        command.arg("--dpkgopt=force-unsafe-io");
        command.args(self.exclude.iter().map(|pattern| format!("--dpkgopt=path-exclude={pattern}")));
        output(command.arg(&apt.suite).arg(tree).arg(apt.sources())).map(drop)
    }

    /// Makes of the system in `tree` the guest's files in `dir`.
    fn finish(&self, files: &Files, tree: &Path, dir: &Path) -> Result<()> {
        let over = dir.join("files");
        write_tree(files, &over)?;
        let run = |program: &str, args: &[&str]| {
            output(setup::as_root()?.arg("chroot").arg(tree).arg(program).args(args)).map(drop)
        };
        output(setup::as_root()?.args(["cp", "-rT", "--remove-destination"]).arg(&over).arg(tree))?;
        fs::remove_dir_all(&over)?;
        // an option of the installation, not of the system
        run("sed", &["-i", "/force-unsafe-io/d", "/etc/dpkg/dpkg.cfg.d/99mmdebstrap"])?;
        run("passwd", &["--quiet", "--delete", "root"])?;
        for service in &self.services {
            run("systemctl", &["--quiet", "enable", service])?;
        }
        let boot = tree.join("boot");
        fs::copy(boot_file(&boot, "vmlinuz-")?, dir.join("vmlinuz"))?;
        fs::copy(boot_file(&boot, "initrd.img-")?, dir.join("initrd.img"))?;
        let image = dir.join(IMAGE);
        let mut mke2fs = setup::as_root()?;
        mke2fs.arg(setup::mke2fs()?).args(["-q", "-F", "-t", "ext4", "-L", "root", "-m", "0"]);
        output(mke2fs.arg("-d").arg(tree).arg(&image).arg(format!("{}M", self.mib)))?;
        let made = fs::metadata(&image)?;
        say(format!("disk {}, of which {} are used", size(made.len()), size(made.blocks() * 512)));
        Ok(())
    }
}

/// Makes `image`, an ext4 file system of `mib` MiB with what is in the directory `tree`.
pub fn ext4(tree: &Path, image: &Path, mib: u32) -> Result<()> {
    let mut mke2fs = Command::new(setup::mke2fs()?);
    output(mke2fs.args(["-q", "-F", "-t", "ext4", "-d"]).arg(tree).arg(image).arg(format!("{mib}M"))).map(drop)
}

/// Writes `files` to the directory `to`.
pub fn write_tree(files: &Files, to: &Path) -> Result<()> {
    for (name, (mode, contents)) in files {
        let path = to.join(name);
        fs::create_dir_all(path.parent().expect("below `to`"))?;
        fs::write(&path, contents)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(*mode))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_disk_has_a_size_and_packages() {
        assert!(Disk::read(&json!({ "mib": 64, "packages": ["udev"] })).is_ok());
        for (bad, says) in [
            (json!({ "packages": ["udev"] }), "mib"),
            (json!({ "mib": -1, "packages": ["udev"] }), "mib"),
            (json!({ "mib": 64 }), "packages"),
        ] {
            assert!(Disk::read(&bad).unwrap_err().to_string().contains(says), "{bad}");
        }
    }
}
