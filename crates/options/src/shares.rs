//! `-fsdev`, `-virtfs`, `-device virtio-9p-pci`: trees of files that the guest mounts.

use crate::devices::{self, Model};
use crate::properties::Properties;
use crate::{OptionError, Parser, Value};

/// A tree of files, as `-fsdev` describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    pub id: String,
    pub source: ShareSource,
    pub read_only: bool,
}

/// Where the files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShareSource {
    /// A directory of the host's, by a name that the host understands.
    Local { path: String, security: SecurityModel },
    /// In the machine's memory, put there and fetched from outside: pagevm's own.
    Memory {
        /// A cpio archive, by a name that the host understands, of what is there in the beginning.
        archive: Option<String>,
    },
}

/// What becomes of owners and permission bits: QEMU's `security_model`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecurityModel {
    /// They are the host's; that the host refuses an owner is an error.
    Passthrough,
    /// The same, and what the host refuses of owners is ignored.
    None,
    /// They are kept in files beside those that they are of, which have these permission bits on the host: QEMU's `fmode`
    /// and `dmode`.
    MappedFile { file_mode: u32, directory_mode: u32 },
}

/// Bytes of a mount tag at most: what Linux's client reads.
const TAG_MAX: usize = 255;
const FSDEV: &[&str] = &["local", "memory"];

/// `-fsdev DRIVER,id=ID,..`.
pub fn fsdev(p: &mut Parser, v: Value<'_>) -> Result<(), OptionError> {
    let mut keys = Properties::new(v, "fsdriver");
    let id = keys.need("id")?;
    let share = share(&mut keys, v, id)?;
    keys.finish()?;
    add(p, v, share).map(drop)
}

/// `-virtfs DRIVER,mount_tag=TAG,..`: an fsdev and its device.
pub fn virtfs(p: &mut Parser, v: Value<'_>) -> Result<(), OptionError> {
    let mut keys = Properties::new(v, "fsdriver");
    let mount_tag = tag(&mut keys)?;
    // QEMU names it by the tag where no id is given
    let id = keys.take("id").unwrap_or_else(|| mount_tag.clone());
    let share = share(&mut keys, v, id)?;
    keys.finish()?;
    let share = add(p, v, share)?;
    devices::plug(p, v, Model::P9 { share, mount_tag });
    Ok(())
}

/// `-device virtio-9p-pci,fsdev=ID,mount_tag=TAG`.
pub fn device(p: &mut Parser, keys: &mut Properties<'_>) -> Result<Model, OptionError> {
    let id = keys.need("fsdev")?;
    let mount_tag = tag(keys)?;
    let Some(share) = p.config.shares.iter().position(|s| s.id == id) else {
        return Err(keys.bad(format!("there is no fsdev `{id}`; give -fsdev local,id={id},path=DIR before")));
    };
    if p.plugged.iter().any(|d| matches!(d.model(), Model::P9 { share: other, .. } if *other == share)) {
        return Err(keys.bad(format!("fsdev `{id}` is in use")));
    }
    Ok(Model::P9 { share, mount_tag })
}

fn tag(keys: &mut Properties<'_>) -> Result<String, OptionError> {
    let tag = keys.need("mount_tag")?;
    if tag.len() > TAG_MAX { Err(keys.bad(format!("mount_tag has at most {TAG_MAX} bytes"))) } else { Ok(tag) }
}

fn share(keys: &mut Properties<'_>, v: Value<'_>, id: String) -> Result<Share, OptionError> {
    let driver = keys.need("fsdriver")?;
    let read_only = keys.switch("readonly")?.unwrap_or(false);
    let source = match &*driver {
        "local" => {
            let path = keys.need("path")?;
            // what no symbolic link or host process can widen is no matter of performance hints
            keys.choice("multidevs", &["remap", "warn"])?;
            ShareSource::Local { path, security: security(keys)? }
        }
        "memory" => ShareSource::Memory { archive: keys.take("archive").filter(|name| !name.is_empty()) },
        other => return Err(v.unsupported(other, FSDEV)),
    };
    Ok(Share { id, source, read_only })
}

fn security(keys: &mut Properties<'_>) -> Result<SecurityModel, OptionError> {
    let given = keys.take("security_model");
    let modes = [host_mode(keys, "fmode")?, host_mode(keys, "dmode")?];
    let model = match given.as_deref() {
        Some("passthrough") => SecurityModel::Passthrough,
        Some("none") => SecurityModel::None,
        Some("mapped-file") => {
            let [file, directory] = modes;
            return Ok(SecurityModel::MappedFile {
                file_mode: file.unwrap_or(0o600),
                directory_mode: directory.unwrap_or(0o700),
            });
        }
        Some(mapped @ ("mapped" | "mapped-xattr")) => {
            return Err(keys.bad(format!(
                "security_model={mapped} is not supported: neither Node nor browsers have extended attributes; give \
                 security_model=mapped-file"
            )));
        }
        Some(other) => {
            return Err(keys.bad(format!("`security_model={other}`: give mapped-file, none or passthrough")));
        }
        None => {
            return Err(
                keys.bad("give `security_model=none`, `security_model=mapped-file` or `security_model=passthrough`")
            );
        }
    };
    if modes.iter().any(Option::is_some) {
        return Err(keys.bad("fmode and dmode are for security_model=mapped-file"));
    }
    Ok(model)
}

/// Permission bits in octal, as QEMU takes them.
fn host_mode(keys: &mut Properties<'_>, key: &'static str) -> Result<Option<u32>, OptionError> {
    let Some(text) = keys.take(key) else { return Ok(None) };
    match u32::from_str_radix(&text, 8) {
        Ok(mode) if mode <= 0o777 => Ok(Some(mode)),
        _ => Err(keys.bad(format!("`{key}={text}`: give permission bits in octal, such as 0644"))),
    }
}

fn add(p: &mut Parser, v: Value<'_>, share: Share) -> Result<usize, OptionError> {
    if p.config.shares.iter().any(|s| s.id == share.id) {
        return Err(v.bad(format!("there are two fsdevs with id={}", share.id)));
    }
    p.config.shares.push(share);
    Ok(p.config.shares.len() - 1)
}
