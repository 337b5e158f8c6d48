//! What can be wrong with a disk, as messages that name the image and say what to do.

use thiserror::Error;

pub type Result<T> = core::result::Result<T, BlockError>;

/// Why a disk cannot be opened, or a request cannot be done.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BlockError {
    #[error("{image}: {reason}")]
    Io { image: String, reason: String },
    #[error("{image}: the image is damaged: {what}; get it anew, or try `qemu-img check -r all` on a copy")]
    Damaged { image: String, what: String },
    #[error("{image}: not supported: {what}")]
    Unsupported { image: String, what: String },
    #[error("{image}: it can only be read: {why}")]
    ReadOnly { image: String, why: &'static str },
    #[error("{image}: bytes {offset}..+{len} are not on the disk, which has {capacity}")]
    OutOfRange { image: String, offset: u64, len: u64, capacity: u64 },
    #[error("{image}: there is no memory for {len} bytes")]
    NoMemory { image: String, len: u64 },
    #[error(
        "{overlay}: it holds what was written to another image than {base} as it is now ({was}; now {is}): use that \
         image again, or begin a new overlay"
    )]
    OtherBase { overlay: String, base: String, was: String, is: String },
}

impl BlockError {
    pub(crate) fn damaged(image: &str, what: impl Into<String>) -> Self {
        Self::Damaged { image: image.to_owned(), what: what.into() }
    }

    pub(crate) fn unsupported(image: &str, what: impl Into<String>) -> Self {
        Self::Unsupported { image: image.to_owned(), what: what.into() }
    }

    pub(crate) fn io(image: &str, reason: impl Into<String>) -> Self {
        Self::Io { image: image.to_owned(), reason: reason.into() }
    }
}
