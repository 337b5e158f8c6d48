//! From a drive's options to a disk: which format an image has, what it is backed by, where what is written goes.

use crate::chunked::{self, Chunked, Manifest, Objects};
use crate::disk::{Disk, Layer};
use crate::io::read_padded;
use crate::{
    BlockError, Cached, Executor, Hash, Identity, Io, Kept, Loader, Memory, Overlay, Qcow2, Ranges, Result, Source,
    Store, qcow2,
};
use std::rc::Rc;

/// Bytes of each image that comes from far away which are kept in memory.
const CACHE: u64 = 16 << 20;
/// Backing files of backing files, at most: what is more refers to itself.
const CHAIN: usize = 16;
/// Before the name of a file: what the host keeps of it, for us to read and write. Only [`Opener`] makes such names: what an option or
/// an image names so is refused.
pub const KEPT: &str = "kept:";
/// A longer identity is replaced by its hash.
const LONGEST_TAG: usize = 512;

/// What an image's bytes mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The disk's bytes, one after another.
    Raw,
    Qcow2,
    /// A manifest of the packer's.
    Chunked,
}

impl Format {
    /// By the names that QEMU gives them, and `chunked`.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "raw" => Some(Self::Raw),
            "qcow2" => Some(Self::Qcow2),
            "chunked" => Some(Self::Chunked),
            _ => None,
        }
    }

    /// What the first bytes look like.
    pub fn probe(first: &[u8]) -> Self {
        if first.starts_with(&qcow2::MAGIC) {
            Self::Qcow2
        } else if first.starts_with(chunked::MAGIC) {
            Self::Chunked
        } else {
            Self::Raw
        }
    }
}

/// An opened file.
pub struct File {
    pub layer: Layer,
    pub identity: Identity,
    /// Each read takes long.
    pub remote: bool,
    /// No two contents have the same identity.
    pub exact: bool,
}

/// What a file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Read,
    /// To be written too, if that is allowed.
    Write,
    /// To be written too, and made if there is none.
    Create,
}

/// Where images are found by name.
pub trait Files {
    /// Opens a file. A relative name is relative to `base`, which is the name of another file or empty. If it is to
    /// be written and cannot be, the layer says so.
    fn open<'a>(&'a self, name: &'a str, base: &'a str, access: Access) -> Io<'a, File>;

    /// All of a file, past any cache if `again`.
    fn fetch<'a>(&'a self, name: &'a str, base: &'a str, again: bool) -> Io<'a, Vec<u8>>;
}

/// A drive, as options describe it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drive {
    pub file: String,
    /// Nothing: by the first bytes. Then the guest may not write first bytes that mean something.
    pub format: Option<Format>,
    pub read_only: bool,
    /// What is written is forgotten in the end.
    pub snapshot: bool,
    /// The file that what is written goes to; it is made if there is none.
    pub overlay: Option<String>,
    /// What is fetched from far away is not kept for the next time.
    pub forget: bool,
}

/// An image to be opened.
struct Wanted<'a> {
    name: &'a str,
    /// The name of the file that names it, or empty.
    base: &'a str,
    format: Option<Format>,
    access: Access,
    keep: bool,
    /// How many images it is behind.
    depth: usize,
}

/// What images are opened with.
#[derive(Clone)]
pub struct Opener {
    pub files: Rc<dyn Files>,
    pub executor: Rc<Executor>,
}

impl Opener {
    /// Opens a drive's image, with what is between it and the guest.
    pub async fn drive(&self, drive: &Drive) -> Result<Disk> {
        let write = !drive.read_only && !drive.snapshot && drive.overlay.is_none();
        let access = if write { Access::Write } else { Access::Read };
        let (image, identity) = self.image(Wanted { access, keep: !drive.forget, ..Wanted::of(drive) }).await?;
        let mut kept = None;
        let layer = match (&drive.overlay, image) {
            (Some(name), image) => {
                given(name)?;
                let Layer::ReadWrite(store) = self.files.open(name, "", Access::Create).await?.layer else {
                    return Err(BlockError::ReadOnly {
                        image: name.clone(),
                        why: "the host does not let it be written",
                    });
                };
                let overlay = Rc::new(Overlay::open(store, image.source(), identity).await?);
                kept = Some(overlay.clone());
                if drive.read_only { Layer::ReadOnly(overlay) } else { Layer::ReadWrite(overlay) }
            }
            (None, image) if drive.read_only => Layer::ReadOnly(image.source()),
            (None, Layer::ReadOnly(base)) => {
                if !drive.snapshot {
                    log::warn!("{}: it can only be read here: what the guest writes is kept in memory", drive.file);
                }
                let memory = Rc::new(Memory::new(format!("what is written to {}", drive.file), Vec::new()));
                let overlay = Rc::new(Overlay::open(memory, base, identity).await?);
                kept = Some(overlay.clone());
                Layer::ReadWrite(overlay)
            }
            (None, image) => image,
        };
        Ok(Disk::new(layer, self.executor.clone()).with_overlay(kept))
    }

    /// What a drive's image holds, to be packed: nothing is written to it.
    pub async fn content(&self, drive: &Drive) -> Result<Rc<dyn Source>> {
        Ok(self.image(Wanted::of(drive)).await?.0.source())
    }

    /// Opens an image, and what it is backed by.
    fn image<'a>(&'a self, wanted: Wanted<'a>) -> Io<'a, (Layer, Identity)> {
        Box::pin(async move {
            given(wanted.name)?;
            let File { layer, identity, remote, exact } =
                self.files.open(wanted.name, wanted.base, wanted.access).await?;
            let probed = match wanted.format {
                Some(format) => format,
                None => probe(&*layer.source()).await?,
            };
            let keep = remote && wanted.keep;
            let layer = match layer {
                Layer::ReadOnly(source) if remote => {
                    // of a manifest, it is the chunks that are kept, by their hashes
                    let keep = keep && exact && probed != Format::Chunked;
                    self.cached(Rc::new(Ranges(source)), &wanted, keep, &identity).await
                }
                layer => layer,
            };
            match probed {
                Format::Raw if wanted.format.is_none() => Ok((guarded(layer), identity)),
                Format::Raw => Ok((layer, identity)),
                Format::Qcow2 => self.qcow2(layer, identity, wanted).await,
                Format::Chunked => self.chunked(layer, wanted, keep).await,
            }
        })
    }

    /// A cache over a loader; if `keep`, with what the host has kept of it, where there is something that tells versions apart.
    async fn cached(&self, loader: Rc<dyn Loader>, wanted: &Wanted<'_>, keep: bool, identity: &Identity) -> Layer {
        let kept =
            if keep && !identity.tag.is_empty() { self.kept(&loader, wanted, identity).await.ok() } else { None };
        Layer::ReadOnly(Rc::new(Cached::new(kept.unwrap_or(loader), self.executor.clone(), CACHE)))
    }

    async fn kept(&self, loader: &Rc<dyn Loader>, wanted: &Wanted<'_>, identity: &Identity) -> Result<Rc<dyn Loader>> {
        let name = format!("{KEPT}{}", wanted.name);
        match self.files.open(&name, wanted.base, Access::Create).await?.layer {
            Layer::ReadWrite(store) => Ok(Rc::new(Kept::open(loader.clone(), store, identity).await?)),
            Layer::ReadOnly(_) => Err(BlockError::ReadOnly { image: name, why: "the host does not let it be written" }),
        }
    }

    async fn qcow2(&self, file: Layer, identity: Identity, wanted: Wanted<'_>) -> Result<(Layer, Identity)> {
        let source = file.source();
        let mut tag = identity.tag;
        let backing = match Qcow2::backing(&*source).await? {
            None => None,
            Some(_) if wanted.depth >= CHAIN => {
                let what =
                    format!("more than {CHAIN} backing files, one behind another: they may go round in a circle");
                return Err(BlockError::unsupported(source.name(), what));
            }
            Some(backing) => {
                let format = match &backing.format {
                    None => None,
                    Some(format) => Some(Format::from_name(format).ok_or_else(|| {
                        BlockError::unsupported(source.name(), format!("a backing file in format `{format}`"))
                    })?),
                };
                let name = file_name(source.name(), &backing.name)?;
                let (access, keep, depth) = (Access::Read, wanted.keep, wanted.depth + 1);
                let backing = Wanted { name, base: source.name(), format, access, keep, depth };
                let (layer, behind) = self.image(backing).await?;
                tag = joined(&tag, &behind.tag);
                Some(layer.source())
            }
        };
        let write = matches!(file, Layer::ReadWrite(_));
        let image = Rc::new(Qcow2::open(file, backing).await?);
        let identity = Identity { size: image.size(), tag };
        Ok((if write { Layer::ReadWrite(image) } else { Layer::ReadOnly(image) }, identity))
    }

    async fn chunked(&self, file: Layer, wanted: Wanted<'_>, keep: bool) -> Result<(Layer, Identity)> {
        let source = file.source();
        let manifest = Manifest::read(&*source).await?;
        // the manifest has the hash of everything
        let identity = Identity { size: manifest.size, tag: Hash::of(&manifest.to_bytes()).to_string() };
        let objects = FileObjects { files: self.files.clone(), manifest: source.name().to_owned() };
        let image = Chunked::new(source.name(), manifest, objects);
        Ok((self.cached(Rc::new(image), &wanted, keep, &identity).await, identity))
    }
}

impl<'a> Wanted<'a> {
    /// To be read.
    fn of(drive: &'a Drive) -> Self {
        Self { name: &drive.file, base: "", format: drive.format, access: Access::Read, keep: false, depth: 0 }
    }
}

/// Refuses a name that is to be had from nobody.
fn given(name: &str) -> Result<()> {
    if name.starts_with(KEPT) {
        let what = format!("a name that begins with `{KEPT}`, which is for what is kept of a file: use another name");
        return Err(BlockError::unsupported(name, what));
    }
    Ok(())
}

/// A backing file's name without the protocol that QEMU lets it have.
fn file_name<'a>(image: &str, name: &'a str) -> Result<&'a str> {
    match name.strip_prefix("file:") {
        Some(rest) if !rest.starts_with("//") => Ok(rest),
        _ if name.starts_with("json:") => Err(BlockError::unsupported(
            image,
            "a backing file that is given as JSON; `qemu-img rebase -u` gives a name",
        )),
        _ => Ok(name),
    }
}

fn joined(tag: &str, behind: &str) -> String {
    let both = format!("{tag} on {behind}");
    if both.len() <= LONGEST_TAG { both } else { Hash::of(both.as_bytes()).to_string() }
}

/// What format an image seems to have.
pub async fn probe(source: &dyn Source) -> Result<Format> {
    let mut first = [0; 8];
    read_padded(source, 0, &mut first).await?;
    Ok(Format::probe(&first))
}

/// Objects beside a manifest: `chunks/ab/abcd..`.
struct FileObjects {
    files: Rc<dyn Files>,
    manifest: String,
}

impl Objects for FileObjects {
    fn get<'a>(&'a self, hash: &'a Hash, again: bool) -> Io<'a, Vec<u8>> {
        Box::pin(async move { self.files.fetch(&object_name(hash), &self.manifest, again).await })
    }
}

/// Where the chunk with this hash is, relative to the manifest.
pub fn object_name(hash: &Hash) -> String {
    let hash = hash.to_string();
    format!("chunks/{}/{hash}", &hash[..2])
}

fn guarded(layer: Layer) -> Layer {
    match layer {
        Layer::ReadWrite(store) => Layer::ReadWrite(Rc::new(Guarded(store))),
        layer => layer,
    }
}

/// A raw image that was taken to be one by its first bytes. A guest that wrote other first bytes could have the next
/// run open any file as its backing file, so it may not (QEMU does the same).
struct Guarded(Rc<dyn Store>);

impl Source for Guarded {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn size(&self) -> u64 {
        self.0.size()
    }

    fn read_at<'a>(&'a self, offset: u64, buf: &'a mut [u8]) -> Io<'a> {
        self.0.read_at(offset, buf)
    }
}

impl Store for Guarded {
    fn write_at<'a>(&'a self, offset: u64, data: &'a [u8]) -> Io<'a> {
        if offset == 0 && Format::probe(data) != Format::Raw {
            let image = self.name().to_owned();
            let why = "these first bytes would make it another format the next time; say format=raw if they may";
            return Box::pin(async move { Err(BlockError::ReadOnly { image, why }) });
        }
        self.0.write_at(offset, data)
    }

    fn flush(&self) -> Io<'_> {
        self.0.flush()
    }

    fn write_zeroes(&self, offset: u64, len: u64) -> Io<'_> {
        self.0.write_zeroes(offset, len)
    }

    fn discard(&self, offset: u64, len: u64) -> Io<'_> {
        self.0.discard(offset, len)
    }
}
