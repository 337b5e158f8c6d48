//! Kernel modules for a guest's initramfs: the files, and `modules.dep` by which modprobe finds what each needs.

use crate::guest::Files;
use crate::util::output;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The list that init loads.
const LIST: &str = "etc/modules";

/// The modules `names` of the unpacked kernel package `kernel`, and all that they need.
pub fn files(kernel: &Path, names: &[String]) -> Result<Files> {
    let mut files = Files::new();
    if names.is_empty() {
        return Ok(files);
    }
    let tree = kernel.join("lib/modules");
    let version = fs::read_dir(&tree)?.next().with_context(|| format!("{} is empty", tree.display()))??.file_name();
    let version = version.to_string_lossy().into_owned();
    let there = find(&tree.join(&version))?;
    let mut needs: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut pending: Vec<String> = names.iter().map(|n| canonical(n)).collect();
    while let Some(name) = pending.pop() {
        if needs.contains_key(&name) {
            continue;
        }
        let path = there.get(&name).with_context(|| format!("the kernel has no module `{name}`"))?;
        let bytes = contents(path)?;
        let depends = depends(&bytes);
        pending.extend(depends.iter().cloned());
        files.insert(place(&version, &name), (0o644, bytes));
        needs.insert(name, depends);
    }
    let table: String = needs.keys().map(|name| format!("{name}.ko:{}\n", closure(&needs, name))).collect();
    files.insert(format!("lib/modules/{version}/modules.dep"), (0o644, table.into()));
    files.insert(LIST.into(), (0o644, names.iter().map(|n| format!("{n}\n")).collect::<String>().into()));
    Ok(files)
}

/// Module names know no difference between `-` and `_`.
fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

fn place(version: &str, name: &str) -> String {
    format!("lib/modules/{version}/{name}.ko")
}

/// All module files under `dir` by their canonical names.
fn find(dir: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let mut found = BTreeMap::new();
    let mut pending = vec![dir.to_owned()];
    while let Some(next) = pending.pop() {
        for entry in fs::read_dir(&next)? {
            let path = entry?.path();
            let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            if path.is_dir() && !path.is_symlink() {
                pending.push(path);
            } else if let Some(name) = name.strip_suffix(".xz").unwrap_or(&name).strip_suffix(".ko") {
                found.insert(canonical(name), path);
            }
        }
    }
    Ok(found)
}

fn contents(path: &Path) -> Result<Vec<u8>> {
    if path.extension().is_some_and(|e| e == "xz") {
        return output(Command::new("xz").arg("-dc").arg(path));
    }
    Ok(fs::read(path)?)
}

/// The field `depends=` of a module's `.modinfo` section: strings, each ended by a zero byte.
fn depends(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|w| w == KEY) else { return Vec::new() };
    let list = module[at + KEY.len()..].split(|b| *b == 0).next().unwrap_or_default();
    String::from_utf8_lossy(list).split(',').filter(|n| !n.is_empty()).map(canonical).collect()
}

/// All that `name` needs, with what that needs, as modules.dep lists it: the last is to be loaded first.
fn closure(needs: &BTreeMap<String, Vec<String>>, name: &str) -> String {
    let mut order: Vec<&str> = Vec::new();
    let mut pending: Vec<&str> = needs[name].iter().map(String::as_str).collect();
    while let Some(next) = pending.pop() {
        order.retain(|seen| *seen != next);
        order.push(next);
        pending.extend(needs[next].iter().map(String::as_str));
    }
    order.iter().map(|n| format!(" {n}.ko")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needs_are_listed_with_theirs_behind() {
        let needs: BTreeMap<_, _> = [("a", "b,c"), ("b", "c"), ("c", "")]
            .map(|(name, list)| (name.to_owned(), depends(format!("x=1\0depends={list}\0y=2\0").as_bytes())))
            .into();
        assert_eq!(closure(&needs, "a"), " b.ko c.ko");
        assert_eq!(closure(&needs, "c"), "");
    }

    #[test]
    fn dashes_are_underscores() {
        assert_eq!(depends(b"\0depends=virtio-rng,ring\0"), ["virtio_rng", "ring"]);
        assert!(depends(b"no such field").is_empty());
    }
}
