//! Options with other names of files: those that the packer has given what they name.

use crate::properties::{join, pairs};
use crate::{Config, ShareSource, dashed};

/// What takes the place of the names in options; nothing where a name stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    pub kernel: Option<String>,
    pub initrd: Option<String>,
    /// Manifests of chunks, in the order of the drives.
    pub drives: Vec<Option<String>>,
    /// Archives, in the order of the shares.
    pub shares: Vec<Option<String>>,
}

/// `args`, of which [`parse`](crate::parse) has made `config`, with the names of `packed`: drives become
/// `format=chunked`, and directories of the host trees in memory with what is in an archive.
pub fn packed<S: AsRef<str>>(args: &[S], config: &Config, packed: &Packed) -> Vec<String> {
    let mut drives = packed.drives.iter();
    let mut shares = packed.shares.iter().zip(&config.shares);
    let mut out = Vec::new();
    let mut args = args.iter().map(AsRef::as_ref);
    while let Some(arg) = args.next() {
        out.push(arg.to_owned());
        let name = arg.strip_prefix('-').map(dashed).unwrap_or_default();
        let new = match &*name {
            "-kernel" => packed.kernel.clone(),
            "-initrd" => packed.initrd.clone(),
            "-drive" => drives.next().and_then(Option::as_ref).zip(args.clone().next()).map(|(n, old)| drive(old, n)),
            "-fsdev" | "-virtfs" => {
                let next = shares.next().and_then(|(name, share)| Some((name.as_ref()?, share, args.clone().next()?)));
                next.map(|(name, share, old)| memory(old, name, &share.source))
            }
            _ => None,
        };
        // the value, which may look like an option: `-append -kernel`
        let flag = crate::OPTIONS.iter().any(|row| row.usage.is_empty() && row.names.contains(&&*name));
        if !flag && let Some(old) = args.next() {
            out.push(new.unwrap_or_else(|| old.to_owned()));
        }
    }
    out
}

fn drive(old: &str, manifest: &str) -> String {
    let mut keys = pairs(old, "");
    keys.retain(|(key, _)| key != "file" && key != "format");
    keys.insert(0, ("file".to_owned(), manifest.to_owned()));
    keys.insert(1, ("format".to_owned(), "chunked".to_owned()));
    join(&keys)
}

fn memory(old: &str, archive: &str, source: &ShareSource) -> String {
    let mut keys = pairs(old, "fsdriver");
    let local = matches!(source, ShareSource::Local { .. });
    keys.retain(|(key, _)| {
        key != "archive"
            && !(local && ["fsdriver", "path", "security_model", "fmode", "dmode", "multidevs"].contains(&&**key))
    });
    if local {
        keys.insert(0, ("fsdriver".to_owned(), "memory".to_owned()));
    }
    keys.push(("archive".to_owned(), archive.to_owned()));
    let text = join(&keys);
    // as it is usually written
    text.strip_prefix("fsdriver=").unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn names_change_and_nothing_else() {
        let mut args = words(
            "-m 256 --kernel a/vmlinuz -initrd b -no-reboot -drive file=x,,y.qcow2,if=none,id=d,format=qcow2,readonly=on \
             -device virtio-blk-pci,drive=d -drive if=virtio,file=http://host/z,snapshot=on \
             -virtfs local,path=/srv/www,mount_tag=www,security_model=mapped-file,fmode=644,readonly=on -fsdev memory,id=m \
             -device virtio-9p-pci,fsdev=m,mount_tag=m",
        );
        args.extend(["-append".to_owned(), "-kernel".to_owned()]);
        let config = parse(&args).unwrap();
        let some = |name: &str| Some(name.to_owned());
        let names = Packed {
            kernel: some("files/k"),
            initrd: some("files/i"),
            drives: vec![some("x,y.chunks"), None],
            shares: vec![some("files/t"), None],
        };
        let got = packed(&args, &config, &names);
        let mut want = words(
            "-m 256 --kernel files/k -initrd files/i -no-reboot -drive file=x,,y.chunks,format=chunked,if=none,id=d,readonly=on \
             -device virtio-blk-pci,drive=d -drive if=virtio,file=http://host/z,snapshot=on \
             -virtfs memory,mount_tag=www,readonly=on,archive=files/t -fsdev memory,id=m \
             -device virtio-9p-pci,fsdev=m,mount_tag=m",
        );
        want.extend(["-append".to_owned(), "-kernel".to_owned()]);
        assert_eq!(got, want);
        let again = parse(&got).unwrap();
        assert_eq!((&*again.kernel, &*again.append, &*again.drives[0].file), ("files/k", "-kernel", "x,y.chunks"));
        assert_eq!(again.shares[0].source, ShareSource::Memory { archive: some("files/t") });
        assert_eq!((again.devices, again.shares[0].read_only), (config.devices, true));
    }

    #[test]
    fn no_names_no_change() {
        let args = words("-kernel k -drive file=d,if=virtio -fsdev local,id=s,path=/,security_model=none");
        let config = parse(&args).unwrap();
        assert_eq!(packed(&args, &config, &Packed::default()), args);
    }
}
