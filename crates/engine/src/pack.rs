//! What a packer asks of the engine: a drive's content in chunks, and the options with the names of what was packed.

use host_abi::Packing;
use options::{Config, Packed};
use std::cell::RefCell;
use std::rc::Rc;
use storage::{BlockError, Codec, Drive, Executor, Opener, Piece, object_name};

/// 128 KiB, what is fetched from an unpacked image too (decision 142).
const CHUNK_BITS: u32 = 17;
/// What hosts can make without more code of ours, and the engine unpacks.
const CODEC: Codec = Codec::Deflate;

/// What the host has not fetched yet.
type Next = Rc<RefCell<Option<Result<Piece, BlockError>>>>;

/// A packer's state: one drive at a time.
#[derive(Default)]
pub struct Packer {
    /// The options as they were given.
    args: Vec<String>,
    drive: Option<Open>,
    piece: (String, Vec<u8>),
    options: Vec<u8>,
}

/// A drive that is being packed.
struct Open {
    opener: Opener,
    drive: Drive,
    packer: Rc<RefCell<Option<storage::Packer>>>,
    next: Option<Next>,
}

impl Packer {
    pub fn configure(&mut self, args: &[&str]) {
        *self = Self { args: args.iter().map(|arg| (*arg).to_owned()).collect(), ..Self::default() };
    }

    pub fn open(&mut self, opener: Opener, drive: Drive) {
        self.drive = Some(Open { opener, drive, packer: Rc::default(), next: None });
    }

    /// Goes on; an error's text names the option and the file.
    pub fn next(&mut self) -> Result<Packing, String> {
        let drive = self.drive.as_mut().ok_or("pack_next: no drive is open")?;
        let Some(piece) = drive.next() else { return Ok(Packing::Pending) };
        match piece.map_err(|error| format!("-drive: {error}"))? {
            Piece::Chunk(hash, chunk) => {
                self.piece = (object_name(&hash), chunk);
                Ok(Packing::Chunk)
            }
            Piece::Manifest(manifest) => {
                self.drive = None;
                self.piece = (String::new(), manifest.to_bytes());
                Ok(Packing::Manifest)
            }
        }
    }

    /// Where what `next` has come to belongs, relative to the manifest, and its bytes.
    pub fn piece(&self) -> &(String, Vec<u8>) {
        &self.piece
    }

    /// The options with other names, each ended by a zero byte: those in `names`, each ended so too, for kernel, initrd, the
    /// drives and the shares; where one is empty the old name stays.
    pub fn options(&mut self, config: &Config, names: &str) -> &[u8] {
        let mut names = names.split('\0').map(|name| (!name.is_empty()).then(|| name.to_owned()));
        let mut next = || names.next().flatten();
        let packed = Packed {
            kernel: next(),
            initrd: next(),
            drives: config.drives.iter().map(|_| next()).collect(),
            shares: config.shares.iter().map(|_| next()).collect(),
        };
        let args = options::packed(&self.args, config, &packed);
        self.options = args.iter().flat_map(|arg| arg.bytes().chain([0])).collect();
        &self.options
    }
}

impl Open {
    /// Nothing while the host has to answer first.
    fn next(&mut self) -> Option<Result<Piece, BlockError>> {
        let executor: Rc<Executor> = self.opener.executor.clone();
        let next = self.next.take().unwrap_or_else(|| self.begin());
        executor.run();
        let piece = next.take();
        if piece.is_none() {
            self.next = Some(next);
        }
        piece
    }

    fn begin(&self) -> Next {
        let next = Next::default();
        let (to, packer) = (next.clone(), self.packer.clone());
        let (opener, drive) = (self.opener.clone(), self.drive.clone());
        self.opener.executor.spawn(async move {
            let piece = async {
                let there = packer.take();
                let mut packing = match there {
                    Some(packing) => packing,
                    None => storage::Packer::new(opener.content(&drive).await?, CODEC, CHUNK_BITS),
                };
                let piece = packing.next().await;
                packer.replace(Some(packing));
                piece
            };
            let piece = piece.await;
            to.replace(Some(piece));
        });
        next
    }
}
